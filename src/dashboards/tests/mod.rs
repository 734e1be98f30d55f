//! The dashboards of several configurations, checked against what others say of their formats.
//!
//! `tests/dashboards/` has the schemas and the lists of metrics. Each check is also shown something wrong.

mod cloudwatch;
mod exporters;
mod google;
mod grafana;
mod indicators;
mod lint;
mod schema;
mod yaml;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::commands::dashboards::settings;
use crate::config::Config;

const EXAMPLE: &str = include_str!("../../../config/traceprobe.toml");
const FIREHOSE: &str = include_str!("../../../config/recipes/firehose.toml");
const TRANSFER: &str = include_str!("../../../config/recipes/storage-transfer.toml");

fn of(text: &str) -> Settings {
    let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
    settings(&Config::parse(text, key).unwrap_or_else(|faults| panic!("{faults}")), "traceprobe")
}

fn example() -> Settings {
    of(EXAMPLE)
}

/// The example with fifty tenants, each with a stream.
fn fifty() -> Settings {
    let tenants = (0..50).map(|number| {
        format!(
            "[[tenant]]\nname = \"t{number}\"\nlog_group = \"/t{number}\"\nrole_arn = \
            \"arn:aws:iam::{:012}:role/inject\"\n",
            100 + number
        )
    });
    let first = EXAMPLE.find("[[tenant]]\nname = \"acme\"").unwrap();
    let stages = EXAMPLE[first..].find("[[stage]]").unwrap() + first;
    of(&format!("{}{}{}", &EXAMPLE[..first], tenants.collect::<String>(), &EXAMPLE[stages..]))
}

/// A recipe with names of everything that it uses.
fn named(recipe: &str, pipeline: &str) -> Settings {
    of(&format!("{recipe}\n[pipeline]\n{pipeline}\n"))
}

/// A configuration with what is printed for it.
struct Case {
    name: &'static str,
    settings: Settings,
    grafana: Vec<(&'static str, Value)>,
    cloudwatch: Value,
    google: Value,
}

/// Configurations with different stages, names and numbers of tenants.
static ALL: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let jobs = "transfer_jobs = [\"transferJobs/1\"]\ninterconnect_attachments = [\"vlan\"]";
    let alarm = "arn:aws:cloudwatch:eu-central-1:222222222222:alarm:probe";
    let names =
        format!("firehose = \"logs-{{tenant}}\"\narchive_metrics = \"Entire\"\nalarms = [\"{alarm}\"]");
    let all = [
        ("example", example()),
        ("fifty tenants", fifty()),
        ("firehose without names", of(FIREHOSE)),
        ("firehose", named(FIREHOSE, &names)),
        ("storage transfer without names", of(TRANSFER)),
        ("storage transfer", named(TRANSFER, jobs)),
    ];
    let case = |(name, settings)| Case {
        name,
        grafana: dashboards(&settings, Target::Grafana),
        cloudwatch: dashboards(&settings, Target::CloudWatch).remove(0).1,
        google: dashboards(&settings, Target::Google).remove(0).1,
        settings,
    };
    all.into_iter().map(case).collect()
});

/// The dashboards of a target, by name.
fn dashboards(settings: &Settings, target: Target) -> Vec<(&'static str, Value)> {
    let json = files(settings, target).into_iter().filter(|file| file.name.ends_with(".json"));
    json.map(|file| (file.name, serde_json::from_str(&file.text).unwrap())).collect()
}

/// The panels of a Grafana dashboard, also those in closed rows.
fn panels(dashboard: &Value) -> Vec<Value> {
    let all = dashboard["panels"].as_array().unwrap();
    let inner = all.iter().flat_map(|panel| panel["panels"].as_array().cloned().unwrap_or_default());
    let open = all.iter().filter(|panel| panel["type"] != "row").cloned();
    open.chain(inner).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is not a text in {value}"))
}

/// Every string of a JSON document.
fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn the_shipped_files_are_those_of_the_shipped_configuration() {
    let settings = example();
    let folders = [
        ("dashboards/grafana", Target::Grafana),
        ("dashboards/cloudwatch", Target::CloudWatch),
        ("dashboards/google", Target::Google),
        ("dashboards/exporters", Target::Exporters),
    ];
    for (folder, target) in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let printed = files(&settings, target);
        for file in &printed {
            let shipped = fs::read_to_string(folder.join(file.name)).unwrap_or_default();
            assert!(
                shipped == file.text,
                "run `make dashboards-files` to write {}/{} again",
                folder.display(),
                file.name
            );
        }
        let shipped = fs::read_dir(&folder).unwrap().count();
        assert_eq!(shipped, printed.len(), "{} has files that nothing prints", folder.display());
    }
}

#[test]
fn a_panel_without_a_name_says_which_key_would_name_it() {
    let settings = of(TRANSFER);
    for (target, keys) in [
        (
            Target::CloudWatch,
            vec!["forwarder", "export", "vpn_connections", "nat_gateways", "archive_metrics", "alarms"],
        ),
        (Target::Google, vec!["google_vpn_tunnels", "interconnect_attachments", "transfer_jobs", "slots"]),
    ] {
        let text = files(&settings, target).remove(0).text;
        for key in keys {
            assert!(text.contains(&format!("set `pipeline.{key}`")), "{key}: {text}");
        }
    }
}

#[test]
fn no_panel_lacks_a_name_in_the_shipped_dashboards_but_those_of_what_few_have() {
    let optional = ["alarms", "interconnect_attachments", "transfer_jobs"];
    for target in [Target::Grafana, Target::CloudWatch, Target::Google] {
        for file in files(&example(), target) {
            let missing = file.text.split("set `pipeline.").skip(1);
            let missing: Vec<_> = missing.filter_map(|rest| rest.split('`').next()).collect();
            let unexpected: Vec<_> = missing.iter().filter(|key| !optional.contains(key)).collect();
            assert!(unexpected.is_empty(), "{}: {unexpected:?}", file.name);
        }
    }
}

#[test]
fn thresholds_are_those_of_the_configuration() {
    let changed = of(&EXAMPLE
        .replace("# slo = \"30s\"", "slo = \"20s\"")
        .replace("# critical = \"60s\"", "critical = \"45s\""));
    let overview = dashboards(&changed, Target::Grafana).remove(0).1;
    let p95 = panels(&overview)
        .into_iter()
        .find(|panel| panel["title"] == "P95 end to end, the 8 worst tenants")
        .unwrap();
    let steps = &p95["fieldConfig"]["defaults"]["thresholds"]["steps"];
    assert_eq!((&steps[1]["value"], &steps[2]["value"]), (&20.0.into(), &45.0.into()));
}
