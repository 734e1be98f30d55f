//! Facts about whole configurations: the shipped file, and every fault that can be in one.

mod faulty;

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

/// A small sound configuration; tests put something wrong into it.
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

/// [`GOOD`] with one passage replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn good(more: &[(&str, &str)]) -> Config {
    Config::parse(GOOD, env(more)).unwrap()
}

#[test]
fn the_shipped_file_loads_and_shows_what_it_comes_to() {
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

/// The keys that the shipped file mentions under each header, commented out or not, with what stands behind `=`.
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
            let parsed: Table = line.parse().unwrap_or_else(|_| panic!("no TOML: {line}"));
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
        let told: BTreeSet<_> = table.keys().map(String::as_str).collect();
        assert_eq!(told, known, "{header}");
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
fn the_filter_pattern_finds_the_marker_of_tags_anywhere() {
    let pattern = spec(Kind::CloudWatchLogs).keys.iter().find(|key| key.name == "filter_pattern").unwrap();
    assert_eq!(pattern.fallback, Fallback::Value("%zqtp%"));
    assert_eq!(format!("%{MARKER}%"), "%zqtp%");
}

#[test]
fn six_faults_print_six_lines() {
    let text = GOOD
        .replace("slo = \"30s\"", "slo = 30\ngiveup = \"15m\"\nlisten = \"9464\"")
        .replace("{tenant}/%Y/%m/%d/", "archive/")
        .replace("after = \"stream\"\ntable", "after = \"strem\"\ntable")
        .replace("log_group = \"/globex\"", "external_id = \"abc\"");
    let text = text.replace("name = \"globex\"", "name = \"globex\"\nlog_group = \"/globex\"");
    let told = Config::parse(&text, env(&[])).unwrap_err().to_string();
    insta::assert_snapshot!(told, @r#"
    6 faults in the configuration:
      probe.giveup: unknown key; did you mean `give_up`?
      probe.listen: "9464" is no address with a port; write for example "0.0.0.0:9464" or "[::1]:9464"
      probe.slo: 30 has no unit; write "30s" if you mean seconds
      tenant.globex.external_id: is given without role_arn; it is only sent when a role is assumed, so add role_arn or leave it out
      stage.table.after: there is no stage "strem" to follow; did you mean `stream`?
      stage.archive.key: no time field (%Y, %m, %d, %H), so each look would list the whole bucket; add for example dt=%Y-%m-%d/hour=%H/
    "#);
}

#[test]
fn a_syntax_error_shows_its_place() {
    let told = Config::parse("[probe]\nslo = \n", env(&[])).unwrap_err().to_string();
    assert!(told.contains("line 2, column 7"), "{told}");
    assert!(told.contains('^'), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_one_fault() {
    let told = Config::load(Path::new("/nowhere/traceprobe.toml"), env(&[])).unwrap_err();
    assert!(told.to_string().starts_with("1 fault in /nowhere/traceprobe.toml:\n"), "{told}");
}

#[test]
fn every_fault_is_told_with_its_key_and_what_would_be_right() {
    assert_eq!(faults(GOOD, &[]), Vec::<String>::new());
    let mut wrong = Vec::new();
    for (from, to, key, says) in faulty::FAULTY {
        let told = faults(&with(from, to), &[]);
        let hit = |fault: &String| fault.starts_with(key) && fault.contains(says);
        // A wrong rhythm may be wrong for several stages; everything else is one fault and no more.
        if told.is_empty() || !told.iter().all(hit) {
            wrong.push(format!("{to}\n    wanted: {key} … {says}\n    told: {told:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whatever_is_wrong_there_is_a_fault_that_says_so() {
    // The shipped file without its comments on keys: every key at work, of every type.
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
fn a_configuration_without_tenants_stages_and_region_says_so() {
    assert_eq!(
        faults("", &[]).iter().map(|fault| fault.split(':').next().unwrap()).collect::<Vec<_>>(),
        ["tenant", "stage"]
    );
    let told = faults(&with("region = \"eu-central-1\"", ""), &[]);
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told.iter().all(|fault| fault.contains(".region: missing; set it here")), "{told:#?}");
    assert!(faults(&with("region = \"eu-central-1\"", ""), &[("AWS_REGION", "eu-west-1")]).is_empty());
}

#[test]
fn tenants_whose_codes_collide_are_refused() {
    // The hashes of these two names begin with the same 40 bits.
    let (a, b) = ("t210179", "t1692729");
    assert_eq!(TenantCode::of(a), TenantCode::of(b));
    let text = GOOD
        .replace("name = \"acme\"", &format!("name = \"{a}\""))
        .replace("name = \"globex\"", &format!("name = \"{b}\""));
    let told = faults(&text, &[]);
    assert!(told.len() == 1 && told[0].contains("same code inside a tag"), "{told:#?}");
}

#[test]
fn the_tag_key_is_needed_long_enough_and_never_quoted() {
    for (more, key, says) in [
        (vec![(TAG_KEY, "")], TAG_KEY, "is not set"),
        (vec![(TAG_KEY, "hush")], TAG_KEY, "4 bytes is too short"),
        (vec![(TAG_KEY_FILE, "/nowhere/key")], TAG_KEY_FILE, "is set as well"),
        (vec![(TAG_KEY, ""), (TAG_KEY_FILE, "/nowhere/key")], TAG_KEY_FILE, "cannot read /nowhere/key"),
        (vec![(TAG_KEYS_ACCEPTED, "0123456789abcdef,hush")], TAG_KEYS_ACCEPTED, "too short"),
    ] {
        let told = faults(GOOD, &more);
        assert!(told.len() == 1 && told[0].starts_with(key) && told[0].contains(says), "{told:#?}");
        assert!(!told[0].contains("hush"), "{told:#?}");
    }
}

#[test]
fn an_old_key_is_accepted_while_a_rotation_is_under_way() {
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
fn the_environment_goes_before_the_file() {
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
fn a_variable_that_overrides_nothing_or_two_things_is_a_fault() {
    let told = faults(GOOD, &[("TRACEPROBE_PROBE_LISTN", "x")]);
    assert_eq!(
        told,
        [
            "TRACEPROBE_PROBE_LISTN: matches no key of this configuration; did you mean `TRACEPROBE_PROBE_LISTEN`?"
        ]
    );
    let twins =
        GOOD.replace("name = \"acme\"", "name = \"a-b\"").replace("name = \"globex\"", "name = \"a_b\"");
    let told = faults(&twins, &[("TRACEPROBE_TENANT_A_B_LABEL", "x")]);
    assert!(
        told.iter().any(|fault| fault.contains("could mean tenant.a-b.label or tenant.a_b.label")),
        "{told:#?}"
    );
    let told = faults(GOOD, &[("TRACEPROBE_PROBE_SLO", "30")]);
    assert_eq!(
        told,
        ["probe.slo: \"30\" has no unit; write \"30s\" if you mean seconds (from TRACEPROBE_PROBE_SLO)"]
    );
}

#[test]
fn stages_are_sorted_so_that_parents_come_first() {
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
fn equal_sources_are_merged_and_sharing_that_hides_leaks_is_noted() {
    let config = good(&[]);
    let table = config.sources.last().unwrap();
    assert_eq!(table.tenants, [TenantId(0), TenantId(1)]);
    assert_eq!(config.notes.len(), 1);
    assert!(config.notes[0].starts_with("stage.table: 2 tenants share bigquery p.d.t"), "{:?}", config.notes);
    assert!(good(&[("TRACEPROBE_STAGE_TABLE_TENANT_COLUMN", "tenant")]).notes.is_empty());
}

#[test]
fn a_table_for_each_tenant_hides_leaks_only_where_its_ids_do_not_say_whose_they_are() {
    let own = ("TRACEPROBE_STAGE_TABLE_TABLE", "p.d.{tenant}");
    assert!(good(&[own]).notes.is_empty());
    let notes = good(&[own, ("TRACEPROBE_STAGE_TABLE_ID_IS", "trace_id")]).notes;
    assert_eq!(notes.len(), 2);
    assert!(
        notes[0].starts_with("stage.table: trace ids in bigquery p.d.acme do not say whose they are"),
        "{notes:?}"
    );
}

#[test]
fn a_tenant_after_the_time_in_a_key_makes_one_listing_that_says_whose_objects_are() {
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
    let told = faults(&with("{tenant}/%Y/%m/%d/", "%Y/%m/%d/{tenant}/{who}"), &[]);
    assert!(told.iter().all(|fault| fault.contains("unknown placeholder {who}")), "{told:?}");
}

#[test]
fn one_place_read_with_two_settings_is_refused() {
    let told = faults(GOOD, &[("TRACEPROBE_TENANT_ACME_STAGE_TABLE_ID_COLUMN", "other")]);
    assert!(told.len() == 1 && told[0].contains("with different settings"), "{told:#?}");
}

#[test]
fn the_configuration_in_force_is_shown_without_secrets_and_loads_again() {
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
