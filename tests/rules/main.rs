//! The rules of `traceprobe rules`, tested by promtool and amtool, for intervals of 5 s, 30 s and 5 min.
//!
//! The series come from a model of canaries with known fates ([`world`]), so that one description serves every
//! interval. `ALERTS` is queried instead of single alerts wherever possible: it lists everything that fires, so
//! a rule that fires for nothing fails the test like one that stays silent.
//!
//! `TRACEPROBE_PROMTOOL` is the path of another promtool, such as one of Prometheus 3.

mod alertmanager;
mod chance;
mod promtool;
mod scenario;
mod scenarios;
mod series;
mod world;

use std::time::Duration;

use serde_json::json;
use traceprobe::commands::rules::settings;
use traceprobe::config::Config;
use traceprobe::rules::{self, Settings};

use self::promtool::{Folder, run};
use self::scenario::Scenario;

/// Rules for this many tenants, `t0` to `tN`, of this interval.
pub fn rules_for(interval: f64, tenants: usize) -> Settings {
    let tenants =
        (0..tenants).map(|number| format!("[[tenant]]\nname = \"t{number}\"\nlog_group = \"/t{number}\"\n"));
    let text = format!(
        r#"
[probe]
interval = "{}ms"
[aws]
region = "eu-central-1"
{}
[[stage]]
name = "tenant_stream"
kind = "kinesis"
stream = "logs-{{tenant}}"
target = "1s"
critical = "5s"
[[stage]]
name = "archive"
after = "tenant_stream"
kind = "s3"
bucket = "archive"
key = "archive/{{tenant}}/%Y/%m/%d/"
[[stage]]
name = "transit"
after = "tenant_stream"
kind = "s3"
bucket = "transit"
key = "transit/%Y/%m/%d/"
[[stage]]
name = "bigquery"
after = "transit"
kind = "bigquery"
table = "p.d.t"
id_column = "trace_id"
end = true
"#,
        interval * 1e3,
        tenants.collect::<String>()
    );
    let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
    let config = Config::parse(&text, key).unwrap_or_else(|faults| panic!("{faults}"));
    settings(&config, "traceprobe", Duration::from_secs(15))
}

/// Tests a scenario against the rules of an interval.
fn test(interval: f64, tenants: usize, scenario: &Scenario) {
    let folder = Folder::new();
    let rules = folder.write("rules.yml", &rules::to_yaml(&rules_for(interval, tenants)));
    let tests = json!({
        "rule_files": [rules],
        "evaluation_interval": format!("{}s", scenario.step),
        "tests": [scenario.to_json()],
    });
    // JSON is valid YAML.
    let file = folder.write("tests.yml", &tests.to_string());
    println!("{} at an interval of {interval} s", scenario.name);
    run("promtool", &["test", "rules", &file.display().to_string()]);
}

#[test]
fn rules_of_every_interval_and_of_mixed_ones_are_valid() {
    let folder = Folder::new();
    for interval in [5.0, 30.0, 300.0] {
        let file = folder.write("rules.yml", &rules::to_yaml(&rules_for(interval, 50)));
        run("promtool", &["check", "rules", "--lint-fatal", &file.display().to_string()]);
    }
}

#[test]
fn the_shipped_files_are_valid() {
    run("promtool", &["check", "config", "config/prometheus/prometheus.yml"]);
    // Its rules are mounted beside it.
    run("promtool", &["check", "config", "--syntax-only", "config/compose/prometheus.yml"]);
    run("amtool", &["check-config", "config/prometheus/alertmanager.yml"]);
}
