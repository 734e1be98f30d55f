//! Tests of the rules as a whole.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::commands::rules::settings;
use crate::config::Config;

const RUNBOOK: &str = include_str!("../../docs/runbook.md");

fn config(change: impl FnOnce(String) -> String) -> Settings {
    let text = include_str!("../../config/traceprobe.toml").to_owned();
    let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
    let config = Config::parse(&change(text), key).unwrap_or_else(|faults| panic!("{faults}"));
    settings(&config, "traceprobe", Duration::from_secs(15))
}

fn example() -> Settings {
    config(|text| text)
}

/// The example with another interval, and one tenant that has its own.
fn with_intervals(all: &str, globex: &str) -> Settings {
    config(|text| {
        let text = text.replace(
            "# interval = \"30s\"\n# How long a canary",
            &format!("interval = \"{all}\"\n# How long a canary"),
        );
        text.replace("name = \"globex\"\n", &format!("name = \"globex\"\ninterval = \"{globex}\"\n"))
    })
}

fn alerts(settings: &Settings) -> Vec<Alert> {
    let rules = groups(settings).into_iter().flat_map(|group| group.rules);
    rules
        .filter_map(|rule| match rule {
            Rule::Alert(alert) => Some(alert),
            Rule::Record(_) => None,
        })
        .collect()
}

/// The expression of an alert.
fn expr(settings: &Settings, name: &str) -> String {
    let found = alerts(settings).into_iter().find(|alert| alert.name == name);
    found.unwrap_or_else(|| panic!("no alert {name}")).expr
}

#[test]
fn the_shipped_rules_are_those_of_the_shipped_configuration() {
    let shipped = include_str!("../../config/prometheus/rules.yml");
    assert!(
        shipped == to_yaml(&example()),
        "run `make rules-files` to write config/prometheus/rules.yml again"
    );
}

#[test]
fn the_shipped_alertmanager_configuration_is_that_of_the_shipped_configuration() {
    let shipped = include_str!("../../config/prometheus/alertmanager.yml");
    let same = shipped == to_alertmanager_yaml(&example());
    assert!(same, "run `make rules-files` to write config/prometheus/alertmanager.yml again");
}

#[test]
fn every_alert_links_to_a_chapter_of_the_runbook() {
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-");
    let chapters: BTreeSet<_> =
        RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
    for alert in alerts(&with_critical_hop()) {
        assert!(
            chapters.contains(alert.chapter),
            "{}: docs/runbook.md has no #{}",
            alert.name,
            alert.chapter
        );
        assert!(RUNBOOK.contains(alert.name), "docs/runbook.md does not name {}", alert.name);
    }
}

#[test]
fn every_silence_of_the_runbook_matches_on_labels_that_its_alerts_have() {
    let all = alerts(&with_critical_hop());
    let silences: Vec<_> = RUNBOOK.lines().filter(|line| line.starts_with("amtool silence add")).collect();
    assert!(silences.len() > 30, "{silences:?}");
    for silence in silences {
        let names = silence.split("alertname=").nth(1).unwrap().trim_start_matches(['~', '\'']);
        let first = names.split(['|', '\'', ' ', '.']).next().unwrap();
        let alert = all.iter().find(|alert| alert.name.starts_with(first));
        let alert = alert.unwrap_or_else(|| panic!("no alert {first}: {silence}"));
        for label in ["tenant", "stage"] {
            let has = alert.expr.contains(label) || alert.labels.iter().any(|(name, _)| *name == label);
            assert!(has || !silence.contains(&format!(" {label}=")), "{} has no {label}", alert.name);
        }
    }
}

fn with_critical_hop() -> Settings {
    config(|text| text.replace("\ntarget = \"1s\"", "\ntarget = \"1s\"\ncritical = \"5s\""))
}

#[test]
fn only_a_hop_with_a_critical_threshold_has_a_critical_alert() {
    let has =
        |settings: &Settings| alerts(settings).iter().any(|alert| alert.name == "TraceprobeHopCritical");
    assert!(!has(&example()) && has(&with_critical_hop()));
}

#[test]
fn every_expression_selects_the_job() {
    let settings = Settings { job: "other".to_owned(), ..example() };
    for alert in alerts(&settings) {
        let selectors = alert.expr.matches('{').count();
        assert_eq!(alert.expr.matches("job=\"other\"").count(), selectors, "{}: {}", alert.name, alert.expr);
    }
}

#[test]
fn a_longer_interval_widens_the_windows_and_a_shorter_one_does_not_narrow_them() {
    let window = |interval| expr(&with_intervals(interval, interval), "TraceprobeLatencyHigh");
    assert!(window("30s").contains("_bucket{job=\"traceprobe\"}[5m]"), "{}", window("30s"));
    assert!(window("5s").contains("_bucket{job=\"traceprobe\"}[5m]"), "{}", window("5s"));
    assert!(window("5m").contains("_bucket{job=\"traceprobe\"}[50m]"), "{}", window("5m"));
}

#[test]
fn tenants_with_different_intervals_have_rules_of_their_own() {
    let names: Vec<_> = groups(&with_intervals("30s", "5m")).into_iter().map(|group| group.name).collect();
    assert!(names.contains(&"traceprobe-latency-30s".to_owned()), "{names:?}");
    assert!(names.contains(&"traceprobe-latency-5m".to_owned()), "{names:?}");
    let slow = alerts(&with_intervals("30s", "5m"));
    let slow = slow.iter().rfind(|alert| alert.name == "TraceprobeLosing").unwrap();
    assert!(slow.expr.contains("tenant=~\"globex\"") && slow.expr.contains("[2h30m]"), "{}", slow.expr);
}

#[test]
fn a_shorter_window_of_conditions_shortens_all_windows() {
    let settings = Settings {
        window: Some(Duration::from_secs(90)),
        scrape_interval: Duration::from_secs(1),
        ..with_intervals("3s", "3s")
    };
    let high = expr(&settings, "TraceprobeLatencyHigh");
    assert!(high.contains("_bucket{job=\"traceprobe\"}[30s]"), "{high}");
    let down = alerts(&settings).into_iter().find(|alert| alert.name == "TraceprobeDown").unwrap();
    assert_eq!(down.hold, Some(Duration::from_secs(12)));
}

#[test]
fn what_pools_tenants_leaves_out_the_drill() {
    let settings = config(|text| {
        text.replace(
            "[[stage]]\nname = \"tenant_stream\"",
            "[[tenant]]\nname = \"initech\"\nlog_group = \"/i\"\n[[stage]]\nname = \"tenant_stream\"",
        )
    });
    let pooled: Vec<_> =
        alerts(&settings).into_iter().filter(|alert| alert.name.ends_with("Pooled")).collect();
    assert_eq!(pooled.len(), 4, "{pooled:?}");
    for alert in pooled {
        let selectors = alert.expr.matches('{').count();
        assert_eq!(alert.expr.matches("tenant!=\"drill\"").count(), selectors, "{}", alert.expr);
    }
}

#[test]
fn links_begin_with_the_external_address() {
    let links = Links { external_url: Some("https://probe.example.org/tp".to_owned()), ..Links::default() };
    let yaml = to_yaml(&Settings { links, ..example() });
    assert!(yaml.contains("https://probe.example.org/tp/runbook#probe-down\n"));
    assert!(yaml.contains("https://probe.example.org/tp/traces/recent?tenant={{ $labels.tenant }}\n"));
    assert!(yaml.contains(
        "https://probe.example.org/tp/runbook?tenant={{ $labels.tenant }}&stage={{ $labels.stage }}#stuck\n"
    ));
    assert!(!yaml.contains("docs/runbook.md#") && !yaml.contains("http://{{"));
}

#[test]
fn an_alert_on_what_is_down_does_not_link_to_it() {
    let chapters = ["probe-down", "tenant-missing", "restarting"];
    let all = alerts(&example());
    let down: Vec<_> = all.iter().filter(|alert| chapters.contains(&alert.chapter)).collect();
    assert_eq!(down.len(), 4, "{down:?}");
    for alert in down {
        let links = Links::default().annotations(alert);
        let is_to_it = links.iter().any(|(_, link)| link.contains("$labels.instance"));
        assert!(!is_to_it, "{}: {links:?}", alert.name);
    }
}

#[test]
fn links_to_the_dashboard_select_the_tenant() {
    let links =
        Links { dashboard: Some("https://grafana.example.org/d/tp?orgId=1".to_owned()), ..Links::default() };
    let yaml = to_yaml(&Settings { links, ..example() });
    assert!(yaml.contains("https://grafana.example.org/d/tp?orgId=1&var-tenant={{ $labels.tenant }}\n"));
}

#[test]
fn a_bound_matches_both_spellings() {
    assert_eq!(promql::bound(Duration::from_secs(30)), "le=~\"30(\\\\.0)?\"");
    assert_eq!(promql::bound(Duration::from_millis(7_500)), "le=~\"7\\\\.5\"");
}

#[test]
fn the_tenant_of_drills_is_alerted_on_and_routed_but_never_missed() {
    let settings = config(|text| text.replace("\n[drill]\n", "\n[drill]\nenabled = true\n"));
    assert!(!expr(&settings, "TraceprobeTenantMissing").contains("\"drill\""));
    assert!(expr(&settings, "TraceprobeStuck").starts_with("max by (job, instance, tenant, stage)"));
    let routes = to_alertmanager_yaml(&settings);
    assert!(
        routes.contains("tenant=\"drill\", severity=\"critical\"") && routes.contains("  - name: drill\n"),
        "{routes}"
    );
    let without = to_alertmanager_yaml(&example());
    assert!(!without.contains("drill") && !without.contains("DRILL"), "{without}");
}
