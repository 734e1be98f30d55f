//! Tests of whole configurations: the shipped file, and every fault that a file can have.

mod document;
mod faulty;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::{Table, Value};

use super::*;
use crate::domain::kind::Kind;
use crate::domain::tag::{InstanceCode, MARKER, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{Role, StageId, TenantId};
use crate::keys::key::Fallback;
use crate::observe::{SourceSettings, spec};

const SHIPPED: &str = include_str!("../../config/traceprobe.toml");
const KEY: &str = "0123456789abcdef";

/// A small valid configuration, into which tests put faults.
const GOOD: &str = r#"
[probe]
slo = "30s"
[log]
[canary]
[aws]
region = "eu-central-1"
[gcp]
[[tenant]]
name = "acme"
log_group = "/acme"
[[tenant]]
name = "globex"
log_group = "/globex"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{tenant}"
[[stage]]
name = "archive"
kind = "s3"
after = "stream"
bucket = "archive"
key = "{tenant}/%Y/%m/%d/"
[[stage]]
name = "table"
kind = "bigquery"
after = "stream"
table = "p.d.t"
id_column = "trace_id"
end = true
"#;

fn env(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [(TAG_KEY, KEY), ("HOSTNAME", "probe-1")];
    base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn faults(text: &str, more: &[(&str, &str)]) -> Vec<String> {
    match Config::parse(text, env(more)) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.list.iter().map(ToString::to_string).collect(),
    }
}

/// Returns [`GOOD`] with one passage replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn good(more: &[(&str, &str)]) -> Config {
    Config::parse(GOOD, env(more)).unwrap()
}

#[test]
fn the_shipped_file_loads_with_the_sources_of_its_example() {
    let config = Config::parse(SHIPPED, env(&[])).unwrap();
    let names: Vec<_> = config.sources.iter().map(|source| &*source.name).collect();
    assert_eq!(
        names,
        [
            "kinesis logs-acme",
            "kinesis logs-globex",
            "s3 sre-archive/archive/tenant=acme/…",
            "s3 sre-archive/archive/tenant=globex/…",
            "s3 sre-transit/transit/…",
            "bigquery my-project.logs.events",
        ]
    );
    assert_eq!(config.tenants[0].log_stream, "traceprobe/probe-1");
    assert_eq!(config.topology().main_path().len(), 3);
    assert_eq!(config.tracker_settings().slo, Duration::from_secs(30));
}

/// The keys in the shipped file under each header, with whether they are commented out and their values.
fn documented() -> BTreeMap<String, BTreeMap<String, Vec<(bool, Value)>>> {
    let mut tables: BTreeMap<String, BTreeMap<String, Vec<_>>> = BTreeMap::new();
    let mut header = String::new();
    for line in SHIPPED.lines() {
        let comment = line.starts_with('#');
        let line = line.trim_start_matches('#').trim();
        if line.starts_with('[') && line.ends_with(']') {
            header = line.to_owned();
        } else if let Some((name, _)) = line.split_once(" = ")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            let parsed: Table = line.parse().unwrap_or_else(|_| panic!("not valid TOML: {line}"));
            let values = tables.entry(header.clone()).or_default();
            values.entry(name.to_owned()).or_default().push((comment, parsed[name].clone()));
        }
    }
    tables
}

#[test]
fn the_shipped_file_documents_every_key_with_its_default() {
    let documented = documented();
    for (header, keys) in keys::all() {
        let table = documented.get(header).cloned().unwrap_or_default();
        let known: BTreeSet<_> = keys.iter().map(|key| key.name).collect();
        let mentioned: BTreeSet<_> = table.keys().map(String::as_str).collect();
        assert_eq!(mentioned, known, "{header}");
        for key in keys {
            if let Fallback::Value(text) = key.fallback {
                let default = (true, key.shape.read(text));
                assert!(
                    table[key.name].contains(&default),
                    "{header} {}: the file must show `# {} = {}`",
                    key.name,
                    key.name,
                    default.1
                );
            }
        }
    }
}

#[test]
fn the_shipped_file_names_every_kind_of_stage() {
    let (before, _) = SHIPPED.split_once("\n# kind = ").unwrap();
    let names = before.lines().last().unwrap();
    for kind in Kind::ALL {
        assert!(names.contains(&format!("\"{kind}\"")), "{kind} is not in: {names}");
    }
}

#[test]
fn the_default_filter_pattern_is_the_marker_of_tags() {
    let pattern = spec(Kind::CloudWatchLogs).keys.iter().find(|key| key.name == "filter_pattern").unwrap();
    assert_eq!(pattern.fallback, Fallback::Value("%zqtp%"));
    assert_eq!(format!("%{MARKER}%"), "%zqtp%");
}

#[test]
fn each_fault_is_printed_on_a_line_of_its_own() {
    let text = GOOD
        .replace("slo = \"30s\"", "slo = 30\ngiveup = \"15m\"\nlisten = \"9464\"")
        .replace("{tenant}/%Y/%m/%d/", "archive/")
        .replace("after = \"stream\"\ntable", "after = \"strem\"\ntable")
        .replace("log_group = \"/globex\"", "external_id = \"abc\"");
    let text = text.replace("name = \"globex\"", "name = \"globex\"\nlog_group = \"/globex\"");
    let printed = Config::parse(&text, env(&[])).unwrap_err().to_string();
    insta::assert_snapshot!(printed, @r#"
    6 faults in the configuration:
      probe.giveup: unknown key; did you mean `give_up`?
      probe.listen: "9464" is not a valid address; write an IP address and a port, for example "0.0.0.0:9464" or "[::1]:9464"
      probe.slo: 30 has no unit; write "30s" if you mean seconds
      tenant.globex.external_id: has no effect without role_arn, because it is only sent when a role is assumed; set role_arn, or remove external_id
      stage.table.after: there is no stage "strem"; did you mean `stream`?
      stage.archive.key: "archive/" has no time field (%Y, %m, %d, %H), so each poll would list everything below it; add for example dt=%Y-%m-%d/hour=%H/
    "#);
}

#[test]
fn a_syntax_error_shows_its_place() {
    let printed = Config::parse("[probe]\nslo = \n", env(&[])).unwrap_err().to_string();
    assert!(printed.contains("is not valid TOML at line 2, column 7: "), "{printed}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_printed() {
    for text in [
        with("[log]", "[otlp]\nheaders = \"api-key=hush\n[log]"),
        with("[log]", "[otlp]\nheaders = api-key=hush\n[log]"),
        with("[log]", "[otlp]\nheaders = \"api-key=hush\"\nheaders = \"api-key=hush\"\n[log]"),
        format!("otlp = \"api-key=hush\"\n{GOOD}"),
        with("[gcp]", "[gcp]\nendpoint = \"http://me:hush@host\n"),
        with("[aws]", "[aws]\nendpoints = \"https://me:hush@host\""),
        with("log_group = \"/globex\"", "log_group = \"/g\"\nstage = \"hush\""),
        with("log_group = \"/globex\"", "log_group = \"/g\"\n[tenant.stage]\nstream = \"hush\""),
    ] {
        let printed = Config::parse(&text, env(&[])).unwrap_err().to_string();
        assert!(!printed.contains("hush"), "{printed}");
    }
}

#[test]
fn a_missing_file_is_one_fault() {
    let faults = Config::load(Path::new("/missing/traceprobe.toml"), env(&[])).unwrap_err();
    assert!(faults.to_string().starts_with("1 fault in /missing/traceprobe.toml:\n"), "{faults}");
}

#[test]
fn every_fault_names_its_key_and_what_would_be_right() {
    assert_eq!(faults(GOOD, &[]), Vec::<String>::new());
    let mut wrong = Vec::new();
    for (from, to, key, part) in faulty::FAULTY {
        let found = faults(&with(from, to), &[]);
        let expected = |fault: &String| fault.starts_with(key) && fault.contains(part);
        // A wrong interval may be wrong for several stages; everything else is exactly one fault.
        if found.is_empty() || !found.iter().all(expected) {
            wrong.push(format!("{to}\n    expected: {key} … {part}\n    found: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_value_of_a_wrong_type_makes_the_reader_panic_or_fail_without_a_fault() {
    // Every key of the shipped file, also those that are commented out, with values of every type.
    let lines: Vec<&str> = SHIPPED.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        for value in
            ["", "1", "true", "\"\"", "\" \"", "\"{\"", "[]", "[1]", "{}", "{ a = 1 }", "1.5", "2026-11-22"]
        {
            let mut damaged = lines.clone();
            let changed = if value.is_empty() {
                String::new()
            } else {
                format!("{} = {value}", key.trim_start_matches("# "))
            };
            damaged[at] = &changed;
            if let Err(faults) = Config::parse(&damaged.join("\n"), env(&[])) {
                assert!(!faults.list.is_empty(), "{line} as {changed}");
            }
        }
    }
}

#[test]
fn missing_tenants_stages_and_regions_are_faults() {
    assert_eq!(
        faults("", &[]).iter().map(|fault| fault.split(':').next().unwrap()).collect::<Vec<_>>(),
        ["tenant", "stage"]
    );
    let found = faults(&with("region = \"eu-central-1\"", ""), &[]);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found.iter().all(|fault| fault.contains(".region: missing; set it here")), "{found:#?}");
    assert!(faults(&with("region = \"eu-central-1\"", ""), &[("AWS_REGION", "eu-west-1")]).is_empty());
}

#[test]
fn tenants_whose_codes_collide_are_a_fault() {
    // The hashes of these two names begin with the same 40 bits.
    let (a, b) = ("t210179", "t1692729");
    assert_eq!(TenantCode::of(a), TenantCode::of(b));
    let text = GOOD
        .replace("name = \"acme\"", &format!("name = \"{a}\""))
        .replace("name = \"globex\"", &format!("name = \"{b}\""));
    let found = faults(&text, &[]);
    assert!(found.len() == 1 && found[0].contains("same tenant code in tags"), "{found:#?}");
}

#[test]
fn a_missing_or_short_tag_key_is_a_fault_that_never_quotes_it() {
    for (more, key, part) in [
        (vec![(TAG_KEY, "")], TAG_KEY, "is not set"),
        (vec![(TAG_KEY, "hush")], TAG_KEY, "4 bytes is too short"),
        (vec![(TAG_KEY_FILE, "/missing/key")], TAG_KEY_FILE, "is set as well"),
        (vec![(TAG_KEY, ""), (TAG_KEY_FILE, "/missing/key")], TAG_KEY_FILE, "cannot read /missing/key"),
        (vec![(TAG_KEYS_ACCEPTED, "0123456789abcdef,hush")], TAG_KEYS_ACCEPTED, "too short"),
    ] {
        let found = faults(GOOD, &more);
        assert!(found.len() == 1 && found[0].starts_with(key) && found[0].contains(part), "{found:#?}");
        assert!(!found[0].contains("hush"), "{found:#?}");
    }
}

#[test]
fn an_old_key_is_accepted_during_a_rotation() {
    let tag = Tag::new(
        TraceId::new(Timestamp::from_secs(1), [1; 10]),
        TenantCode::of("acme"),
        InstanceCode::of("probe-1"),
        100,
        Purpose::Probe,
    );
    let old = good(&[]).keyring.sign(&tag);
    let rotated = good(&[(TAG_KEY, "fedcba9876543210"), (TAG_KEYS_ACCEPTED, KEY)]).keyring;
    assert_eq!(rotated.read(old.as_str().as_bytes()), Ok(tag));
}

#[test]
fn the_environment_overrides_the_file() {
    let config = good(&[
        ("TRACEPROBE_PROBE_LISTEN", "127.0.0.1:1"),
        ("TRACEPROBE_PROBE_REMEMBER", "7"),
        ("TRACEPROBE_CANARY_SIZES", "100B, 2KB"),
        ("TRACEPROBE_AWS_ENDPOINT", "http://127.0.0.1:4566"),
        ("TRACEPROBE_AWS_ENDPOINTS_S3", "http://127.0.0.1:4567"),
        ("TRACEPROBE_TENANT_ACME_ROLE_ARN", "arn:aws:iam::111111111111:role/x"),
        ("TRACEPROBE_TENANT_ACME_EXTERNAL_ID", "abc"),
        ("TRACEPROBE_STAGE_STREAM_TARGET", "5s"),
        ("TRACEPROBE_TENANT_GLOBEX_STAGE_STREAM_STREAM", "other"),
        ("TRACEPROBE_LOG_LEVEL", ""),
        ("TRACEPROBE_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
    ]);
    assert_eq!(config.probe.listen.port(), 1);
    assert_eq!(config.probe.remember, 7);
    assert_eq!(config.tenants[0].sizes, [100, 2048]);
    assert_eq!(config.aws.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!(config.aws.endpoints.get("s3").map(String::as_str), Some("http://127.0.0.1:4567"));
    let role = config.tenants[0].account.role.as_ref().unwrap();
    assert_eq!(role.external_id.as_ref().unwrap().expose(), "abc");
    assert_eq!(config.stages[0].target, Some(Duration::from_secs(5)));
    assert_eq!(&*config.sources[1].name, "kinesis other");
    assert_eq!(config.log.level, "info");
}

#[test]
fn a_variable_that_overrides_nothing_or_two_keys_is_a_fault() {
    let found = faults(GOOD, &[("TRACEPROBE_PROBE_LISTN", "x")]);
    assert_eq!(
        found,
        [
            "TRACEPROBE_PROBE_LISTN: matches no key of this configuration; did you mean `TRACEPROBE_PROBE_LISTEN`?"
        ]
    );
    let found = faults(
        GOOD,
        &[("TRACEPROBE_PROBE_INSTANCE", "a\u{fffd}"), ("TRACEPROBE_TAG_KEYS_ACCEPTED", "\u{fffd}")],
    );
    assert!(found.contains(&"TRACEPROBE_PROBE_INSTANCE: is not UTF-8".to_owned()), "{found:?}");
    assert!(found.contains(&"TRACEPROBE_TAG_KEYS_ACCEPTED: is not UTF-8".to_owned()), "{found:?}");
    let twins =
        GOOD.replace("name = \"acme\"", "name = \"a-b\"").replace("name = \"globex\"", "name = \"a_b\"");
    let found = faults(&twins, &[("TRACEPROBE_TENANT_A_B_LABEL", "x")]);
    assert!(
        found.iter().any(|fault| fault.contains("could mean tenant.a-b.label or tenant.a_b.label")),
        "{found:#?}"
    );
    let found = faults(GOOD, &[("TRACEPROBE_PROBE_SLO", "30")]);
    assert_eq!(
        found,
        ["probe.slo: \"30\" has no unit; write \"30s\" if you mean seconds (from TRACEPROBE_PROBE_SLO)"]
    );
}

#[test]
fn the_variables_of_services_of_kubernetes_are_ignored_unless_they_set_a_key() {
    let of_services = [
        ("TRACEPROBE_METRICS_SERVICE_HOST", "10.0.0.2"),
        ("TRACEPROBE_METRICS_SERVICE_PORT", "9464"),
        ("TRACEPROBE_METRICS_SERVICE_PORT_HTTP", "9464"),
        ("TRACEPROBE_METRICS_PORT", "tcp://10.0.0.2:9464"),
        ("TRACEPROBE_METRICS_PORT_9464_TCP_ADDR", "10.0.0.2"),
        ("TRACEPROBE_SERVICE_PORT", "9464"),
    ];
    assert_eq!(faults(GOOD, &of_services), Vec::<String>::new());
    let found = faults(GOOD, &[("TRACEPROBE_PROBE_PORT", "9464")]);
    assert!(found.len() == 1 && found[0].starts_with("TRACEPROBE_PROBE_PORT: matches no key"), "{found:?}");
}

#[test]
fn parents_come_before_their_stages() {
    let (before, stages) = GOOD.split_once("[[stage]]\n").unwrap();
    let mut stages: Vec<_> = stages.split("[[stage]]\n").collect();
    stages.reverse();
    let text = format!("{before}[[stage]]\n{}", stages.join("[[stage]]\n"));
    let config = Config::parse(&text, env(&[])).unwrap();
    let names: Vec<_> = config.stages.iter().map(|stage| &*stage.name).collect();
    assert_eq!(names, ["stream", "table", "archive"]);
    assert_eq!(config.stages[1].parent, Some(StageId(0)));
    assert_eq!(config.stages[1].role, Role::End);
    assert_eq!(config.sources.last().unwrap().stage, StageId(2));
}

#[test]
fn equal_sources_are_merged_and_undetectable_leaks_are_noted() {
    let config = good(&[]);
    let table = config.sources.last().unwrap();
    assert_eq!(table.tenants, [TenantId(0), TenantId(1)]);
    assert_eq!(config.notes.len(), 1);
    assert!(config.notes[0].starts_with("stage.table: 2 tenants share bigquery p.d.t"), "{:?}", config.notes);
    assert!(good(&[("TRACEPROBE_STAGE_TABLE_TENANT_COLUMN", "tenant")]).notes.is_empty());
}

#[test]
fn log_groups_that_exceed_their_rate_limit_together_are_noted() {
    let export = |rate| {
        let stage = format!(
            "[[stage]]\nname = \"export\"\nkind = \"cloudwatch_logs\"\nafter = \"stream\"\nlog_group = \"/export/{{tenant}}\"\nmax_calls_per_second = {rate}\ninterval = \"1s\"\n"
        );
        let notes = Config::parse(&format!("{GOOD}{stage}"), env(&[])).unwrap().notes;
        notes.into_iter().filter(|note| note.starts_with("stage.export: ")).collect::<Vec<_>>()
    };
    let [note] = &export(1)[..] else { panic!("not noted once") };
    let text = "2 log groups of one account and region share max_calls_per_second, so a round of polls takes 2 s, and interval is 1s;";
    assert!(note.contains(text), "{note}");
    assert_eq!(export(2), Vec::<String>::new());
}

#[test]
fn a_table_per_tenant_hides_leaks_only_if_its_ids_do_not_name_the_tenant() {
    let own = ("TRACEPROBE_STAGE_TABLE_TABLE", "p.d.{tenant}");
    assert!(good(&[own]).notes.is_empty());
    let notes = good(&[own, ("TRACEPROBE_STAGE_TABLE_ID_IS", "trace_id")]).notes;
    assert_eq!(notes.len(), 2);
    assert!(
        notes[0].starts_with("stage.table: trace ids in bigquery p.d.acme do not name the tenant"),
        "{notes:?}"
    );
}

#[test]
fn a_tenant_after_the_time_fields_of_a_key_makes_one_shared_listing() {
    let archive = |key| {
        let config = good(&[("TRACEPROBE_STAGE_ARCHIVE_KEY", key)]);
        let all = config.sources.iter().filter_map(|source| {
            let SourceSettings::S3(s3) = &source.settings else { return None };
            let objects = &s3.objects;
            Some((objects.key.to_string(), objects.after_tenant.clone(), source.tenants.len()))
        });
        (all.collect::<Vec<_>>(), config.notes.iter().any(|note| note.starts_with("stage.archive")))
    };
    let shared = |after: Option<&str>| vec![("in/%Y/%m/%d/".to_owned(), after.map(str::to_owned), 2)];
    assert_eq!(archive("in/%Y/%m/%d/{tenant}-"), (shared(Some("-")), false));
    assert_eq!(archive("in/%Y/%m/%d/"), (shared(None), true));
    let own = |name| (format!("{name}/%Y/%m/%d/"), None, 1);
    assert_eq!(archive("{tenant}/%Y/%m/%d/"), (vec![own("acme"), own("globex")], false));
    let found = faults(&with("{tenant}/%Y/%m/%d/", "%Y/%m/%d/{tenant}/{who}"), &[]);
    assert!(found.iter().all(|fault| fault.contains("unknown placeholder {who}")), "{found:?}");
}

#[test]
fn one_place_read_with_different_settings_is_a_fault() {
    let found = faults(GOOD, &[("TRACEPROBE_TENANT_ACME_STAGE_TABLE_ID_COLUMN", "other")]);
    assert!(found.len() == 1 && found[0].contains("with different settings"), "{found:#?}");
}

#[test]
fn the_effective_configuration_is_shown_without_secrets_and_loads_again() {
    let config = good(&[
        ("TRACEPROBE_TENANT_ACME_ROLE_ARN", "arn:aws:iam::111111111111:role/x"),
        ("TRACEPROBE_TENANT_ACME_EXTERNAL_ID", "half-a-lock"),
        ("TRACEPROBE_TENANT_GLOBEX_STAGE_STREAM_STREAM", "other"),
    ]);
    let shown = config.to_toml_without_secrets();
    assert!(!shown.contains("half-a-lock") && !shown.contains(KEY), "{shown}");
    assert!(shown.contains("external_id = \"…\"  # from TRACEPROBE_TENANT_ACME_EXTERNAL_ID"), "{shown}");
    assert!(shown.contains("interval = \"30s\"  # default"), "{shown}");
    assert!(shown.contains("# source bigquery p.d.t (for acme, globex)"), "{shown}");
    let json = config.to_json_without_secrets();
    assert_eq!(json, toml::from_str::<serde_json::Value>(&shown).unwrap());
    assert_eq!(json["tenant"][0]["external_id"], "…");
    assert_eq!(json["tenant"][1]["stage"]["stream"]["stream"], "other");
    let again = Config::parse(&shown.replace('…', "half-a-lock"), env(&[])).unwrap();
    assert_eq!(again.probe, config.probe);
    assert_eq!(again.tenants, config.tenants);
    assert_eq!(again.stages, config.stages);
    assert_eq!(again.sources, config.sources);
    let debug = format!("{config:?}");
    assert!(!debug.contains(KEY) && !debug.contains("half-a-lock"), "{debug}");
}

#[test]
fn the_secrets_of_urls_are_shown_neither_by_the_configuration_nor_by_a_fault() {
    let secret = [
        ("TRACEPROBE_AWS_ENDPOINT", "http://user:hush@127.0.0.1:4566/?token=hush"),
        ("TRACEPROBE_GCP_ENDPOINTS_BIGQUERY", "https://127.0.0.1/bigquery/v2?key=hush"),
        ("TRACEPROBE_PROBE_RUNBOOK", "https://wiki.example/probe?token=hush"),
    ];
    let config = good(&secret);
    for shown in [config.to_toml_without_secrets(), config.to_json_without_secrets().to_string()] {
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("http://…@127.0.0.1:4566/?…"), "{shown}");
    }
    assert_eq!(
        config.probe.runbook.as_deref(),
        Some("https://wiki.example/probe?token=hush"),
        "a link must work"
    );
    for url in ["ftp://user:hush@host", "user:hush@host/?hush", "http://user:hush@ho st/?hush"] {
        let found = faults(GOOD, &[("TRACEPROBE_AWS_ENDPOINT", url)]);
        assert!(found.len() == 1 && found[0].contains("host") || found[0].contains("ho st"), "{found:#?}");
        assert!(!found[0].contains("hush"), "{found:#?}");
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_a_fault_of_its_variable_without_its_password() {
    let socks = ("HTTPS_PROXY", "socks5://me:hush@proxy:1080");
    let expected = "HTTPS_PROXY: \"…@proxy:1080\" is not the URL of an HTTP proxy; write for example \"http://proxy.example.org:3128\"";
    assert_eq!(faults(GOOD, &[socks]), [expected]);
    assert!(faults(GOOD, &[("https_proxy", "proxy:3128")]).is_empty());
}

#[test]
fn the_region_of_an_arn_is_used_whatever_the_region_of_the_others() {
    let stream = with("logs-{tenant}", "arn:aws:kinesis:us-west-2:111111111111:stream/logs-{tenant}");
    let text = stream
        .replace(
            "log_group = \"/acme\"",
            "log_group = \"arn:aws:logs:eu-west-1:111111111111:log-group:/acme\"",
        )
        .replace(
            "bucket = \"archive\"",
            "bucket = \"arn:aws:s3:us-east-1:111111111111:accesspoint/archive\"",
        );
    let config = Config::parse(&text, env(&[])).unwrap();
    let region = |kind| {
        let source = config.sources.iter().find(|source| source.settings.kind() == kind).unwrap();
        source.settings.account().unwrap().region.as_str()
    };
    assert_eq!((region(Kind::Kinesis), region(Kind::S3)), ("us-west-2", "us-east-1"));
    let tenants: Vec<_> = config.tenants.iter().map(|tenant| tenant.account.region.as_str()).collect();
    assert_eq!(tenants, ["eu-west-1", "eu-central-1"]);
}

#[test]
fn endpoints_of_a_region_are_set_in_a_table_of_its_own_or_by_a_variable() {
    let text = with(
        "[gcp]",
        "[aws.endpoints]\nsts = \"https://a\"\n[aws.endpoints.us-west-2]\nsts = \"https://b\"\n[gcp]",
    );
    let more = [("TRACEPROBE_AWS_ENDPOINTS_US_WEST_2_KINESIS", "https://c")];
    let aws = Config::parse(&text, env(&more)).unwrap().aws;
    assert_eq!(aws.endpoints["sts"], "https://a");
    let regional = &aws.regional_endpoints["us-west-2"];
    assert_eq!((&*regional["sts"], &*regional["kinesis"]), ("https://b", "https://c"));
}

#[test]
fn commands_are_told_the_configured_endpoints_without_what_is_secret_in_them() {
    let text = with(
        "[gcp]",
        "[aws.endpoints]\nsts = \"https://me:hush@sts\"\n[aws.endpoints.us-west-2]\nkinesis = \"https://west\"\n[gcp]\nendpoint = \"https://b/bigquery/v2\"",
    );
    let more = [("TRACEPROBE_AWS_ENDPOINT", "http://all")];
    let endpoints = Config::parse(&text, env(&more)).unwrap().tool_endpoints();
    for (command, told) in [
        ("aws sts assume-role", "aws --endpoint-url 'https://…@sts' sts assume-role"),
        ("aws kinesis x --region us-west-2", "aws --endpoint-url https://west kinesis x --region us-west-2"),
        (
            "aws kinesis x --region eu-central-1",
            "aws --endpoint-url http://all kinesis x --region eu-central-1",
        ),
        ("bq ls", "bq --api https://b ls"),
    ] {
        assert_eq!(endpoints.told(command), told);
    }
    assert_eq!(Config::parse(GOOD, env(&[])).unwrap().tool_endpoints().told("aws s3 ls"), "aws s3 ls");
}
