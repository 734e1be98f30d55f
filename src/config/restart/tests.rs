use crate::config::Config;

const FILE: &str = r#"
[probe]
slo = "30s"
[aws]
region = "eu-central-1"
[[tenant]]
name = "acme"
log_group = "/acme"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{tenant}"
end = true
"#;

fn config(text: &str, key: &str) -> Config {
    let env = [("TRACEPROBE_TAG_KEY".to_owned(), key.to_owned())];
    Config::parse(text, env).unwrap_or_else(|faults| panic!("{faults}"))
}

fn needs(next: &str) -> Vec<String> {
    config(FILE, "0123456789abcdef").needs_restart(&config(next, "0123456789abcdef"))
}

#[test]
fn tenants_stages_sizes_and_intervals_need_none() {
    let more = "[[tenant]]\nname = \"globex\"\nlog_group = \"/globex\"\ninterval = \"10s\"\n[[stage]]\nname = \
                \"archive\"\nkind = \"s3\"\nbucket = \"archive\"\nkey = \"{tenant}/%Y/%m/%d/%H/\"\n";
    let canary = "[canary]\nsizes = [\"200B\"]\n";
    let next = format!("{}{canary}{more}", FILE.replace("slo = \"30s\"", "interval = \"20s\""));
    assert_eq!(needs(&next), [""; 0]);
}

#[test]
fn every_other_key_is_named_with_both_values() {
    let next =
        FILE.replace("slo = \"30s\"", "slo = \"60s\"\nlisten = \"127.0.0.1:1\"") + "[store]\nkeep = \"9d\"\n";
    let needs = needs(&next);
    let of = |key: &str| {
        needs.iter().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {needs:?}"))
    };
    assert_eq!(of("probe.slo"), "probe.slo: \"30s\" is in force, the file has \"60s\"");
    assert!(of("probe.listen").ends_with("the file has \"127.0.0.1:1\""));
    assert!(of("store.keep").ends_with("the file has \"9d\""));
}

#[test]
fn another_tag_key_needs_one_and_is_not_shown() {
    let needs =
        config(FILE, "0123456789abcdef").needs_restart(&config(FILE, "another secret: fedcba9876543210"));
    let [line] = needs.as_slice() else { panic!("{needs:?}") };
    assert!(line.starts_with("TRACEPROBE_TAG_KEY") && !line.contains("another secret"), "{line}");
}

#[test]
fn another_template_of_a_tenant_needs_one() {
    let next = FILE.replace(
        "log_group = \"/acme\"",
        "log_group = \"/acme\"\ntemplate = '{\"trace_id\":\"{tag}\",\"p\":\"{pad}\"}'",
    );
    assert_eq!(needs(&next).len(), 1, "{:?}", needs(&next));
    assert!(needs(&next)[0].starts_with("tenant.acme.template"));
}

#[test]
fn other_stages_need_one_while_there_are_drills() {
    let drills = format!("{FILE}[drill]\nenabled = true\n");
    let more = "[[stage]]\nname = \"copy\"\nkind = \"kinesis\"\nstream = \"copy-{tenant}\"\n";
    let before = config(&drills, "0123456789abcdef");
    let needs = before.needs_restart(&config(&format!("{drills}{more}"), "0123456789abcdef"));
    let [line] = needs.as_slice() else { panic!("{needs:?}") };
    assert!(line.starts_with("stage: "), "{line}");
}
