use std::sync::Arc;

use crate::config::Config;
use crate::domain::topology::Topology;

const KEY: &str = "0123456789abcdef";
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
    needs_of(&config(FILE, KEY), &config(next, KEY))
}

fn needs_of(before: &Config, next: &Config) -> Vec<String> {
    before.needs_restart(next, &before.topology())
}

fn changed(before: &str, next: &str) -> Vec<String> {
    config(before, KEY).changed_keys(&config(next, KEY))
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
    let needs = needs_of(&config(FILE, KEY), &config(FILE, "another secret: fedcba9876543210"));
    let [line] = needs.as_slice() else { panic!("{needs:?}") };
    assert!(line.starts_with("TRACEPROBE_TAG_KEY") && !line.contains("another secret"), "{line}");
}

#[test]
fn another_template_of_a_tenant_needs_one() {
    let next = FILE.replace(
        "log_group = \"/acme\"",
        "log_group = \"/acme\"\ntemplate = '{\"trace_id\":\"{tag}\",\"p\":\"{pad}\"}'",
    );
    assert_eq!(
        needs(&next),
        [
            r#"tenant.acme.template: the default template is in force, the file has "{\"trace_id\":\"{tag}\",\"p\":\"{pad}\"}"; what is in flight was written with the present one"#
        ]
    );
}

#[test]
fn another_template_of_all_tenants_is_told_once_with_its_key_and_both_values() {
    let of = |template: &str| {
        let globex = "[[tenant]]\nname = \"globex\"\nlog_group = \"/globex\"\n";
        let own = "[[tenant]]\nname = \"own\"\nlog_group = \"/own\"\ntemplate = \"{tag}\"\n";
        config(&format!("{FILE}{globex}{own}[canary]\ntemplate = \"{template}\"\n"), KEY)
    };
    assert_eq!(
        needs_of(&of("a {tag}"), &of("b {tag}")),
        [
            r#"canary.template: "a {tag}" is in force, the file has "b {tag}"; what is in flight was written with the present one"#
        ]
    );
}

#[test]
fn a_tenant_that_was_just_removed_cannot_come_back_with_another_template() {
    let globex = "[[tenant]]\nname = \"globex\"\nlog_group = \"/globex\"\n";
    let (both, one) = (config(&format!("{FILE}{globex}"), KEY), config(FILE, KEY));
    let again = |template: &str| config(&format!("{FILE}{globex}template = \"{template}\"\n"), KEY);
    let leaving = succeeded(&both.topology(), &one);
    let needs = one.needs_restart(&again("b {tag}"), &leaving);
    let [line] = needs.as_slice() else { panic!("{needs:?}") };
    assert!(line.starts_with("tenant.globex.template: the file has \"b {tag}\""), "{line}");
    assert!(line.contains("reload again once its canaries have ended"), "{line}");
    assert_eq!(one.needs_restart(&both, &leaving), [""; 0], "with the same one it can");
    let gone = leaving.without(leaving.leaving().next().unwrap());
    assert_eq!(one.needs_restart(&again("b {tag}"), &gone), [""; 0], "nothing is in flight any more");
}

/// What follows if the configuration becomes `next`, which has no source that was not there before.
fn succeeded(before: &Topology, next: &Config) -> Topology {
    let next = next.topology();
    let place = |name: &Arc<str>| before.source_ids().find(|id| before.source(*id).name == *name);
    let same: Vec<_> = next.sources().iter().map(|source| place(&source.name)).collect();
    before.succeeded_by(&next, &same).unwrap().topology
}

#[test]
fn another_secret_needs_one_and_is_not_shown() {
    let of = |secret: &str| {
        format!(
            "{FILE}[otlp]\nendpoint = \"https://me:{secret}@otlp\"\nheaders = \"api-key={secret}\"\n\
             [aws.endpoints]\nkinesis = \"https://me:{secret}@kinesis\"\n\
             [aws.endpoints.us-west-2]\nkinesis = \"https://west/?key={secret}\"\n"
        )
    };
    let needs = needs_of(&config(&of("hush"), KEY), &config(&of("quiet"), KEY));
    assert_eq!(
        needs,
        [
            r#"aws.endpoints.kinesis: "https://…@kinesis" is in force, the file has another "https://…@kinesis""#,
            r#"aws.endpoints.us-west-2.kinesis: "https://west/?…" is in force, the file has another "https://west/?…""#,
            r#"otlp.endpoint: "https://…@otlp" is in force, the file has another "https://…@otlp""#,
            r#"otlp.headers: "…" is in force, the file has another "…""#,
        ]
    );
    assert_eq!(needs_of(&config(&of("hush"), KEY), &config(&of("hush"), KEY)), [""; 0]);
}

#[test]
fn other_credentials_of_google_need_none_and_are_told() {
    let of = |key: &str| {
        format!("{FILE}[gcp]\nauth = \"service_account\"\ncredentials = '{{\"private_key\": \"{key}\"}}'\n")
    };
    assert_eq!(needs_of(&config(&of("hush"), KEY), &config(&of("quiet"), KEY)), [""; 0]);
    assert_eq!(changed(&of("hush"), &of("quiet")), ["gcp.credentials"]);
}

#[test]
fn changed_keys_are_told_by_tenant_and_stage() {
    let globex = "[[tenant]]\nname = \"globex\"\nlog_group = \"/globex\"\n";
    let before = format!("{FILE}{globex}");
    let next = before
        .replace("slo = \"30s\"", "interval = \"20s\"")
        .replace(
            "log_group = \"/acme\"",
            "log_group = \"/acme/app\"\n[tenant.stage.stream]\nstream = \"other\"",
        )
        .replace("stream = \"logs-{tenant}\"", "stream = \"logs-{tenant}\"\ntarget = \"10s\"");
    assert_eq!(
        changed(&before, &next),
        ["probe.interval", "stage.stream.target", "tenant.acme.log_group", "tenant.acme.stage.stream.stream"]
    );
    assert_eq!(changed(&before, &before), [""; 0]);
    assert_eq!(changed(FILE, &before), [""; 0], "a tenant that was added is told as such");
}

#[test]
fn other_stages_need_one_while_there_are_drills() {
    let drills = format!("{FILE}[drill]\nenabled = true\n");
    let more = "[[stage]]\nname = \"copy\"\nkind = \"kinesis\"\nstream = \"copy-{tenant}\"\n";
    let needs = needs_of(&config(&drills, KEY), &config(&format!("{drills}{more}"), KEY));
    let [line] = needs.as_slice() else { panic!("{needs:?}") };
    assert!(line.starts_with("stage: "), "{line}");
}
