//! `docs/indicators.md` against the dashboards and the alerts.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const TABLE: &str = include_str!("../../../docs/indicators.md");
/// How the table names a dashboard: the file, the words of its link.
const NAMES: [(&str, &str, Target); 7] = [
    ("overview.json", "overview", Target::Grafana),
    ("tenant.json", "tenant", Target::Grafana),
    ("hops.json", "hops", Target::Grafana),
    ("probe.json", "probe", Target::Grafana),
    ("pipeline.json", "pipeline", Target::Grafana),
    ("pipeline.json", "CloudWatch", Target::CloudWatch),
    ("pipeline.json", "Google", Target::Google),
];

/// What the pipeline's owners asked to be shown, by the start of a row.
const INDICATORS: [&str; 34] = [
    "End-to-end latency, P95",
    "Client log forwarder success",
    "BigQuery insert success",
    "Cross-cloud transfer success",
    "Tenant stream processing lag",
    "Cross-tenant leakage",
    "Table schema drift",
    "Daily cost per million records",
    "S3 archive write",
    "Subscription filter to Lambda",
    "Export Lambda duration",
    "Forwarder invocations",
    "Forwarder throttles",
    "Forwarder duration",
    "PutRecords success",
    "Subscription filter delivery",
    "Tenant stream records in and processed",
    "Tenant stream write throttling",
    "Aggregation batch size",
    "Aggregation duration",
    "Aggregation memory",
    "Dead-letter queue depth",
    "Dead-letter share",
    "S3 requests",
    "Export Lambda errors",
    "VPN tunnel state",
    "VPN traffic",
    "NAT gateway throughput and drops",
    "Egress bytes",
    "Streaming insert rate and latency",
    "Query time and slots",
    "Storage growth and bytes inserted",
    "VPN and Interconnect latency",
    "Packet loss",
];

/// The rows: indicator, target, where measured, panels, alert.
fn rows() -> Vec<Vec<String>> {
    let lines = TABLE.lines().filter(|line| {
        line.starts_with("| ") && !line.starts_with("| indicator") && !line.starts_with("| ---")
    });
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The titles of the panels of each dashboard.
fn titles(settings: &Settings) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (file, name, target) in NAMES {
        let (_, dashboard) = dashboards(settings, target).into_iter().find(|(it, _)| *it == file).unwrap();
        let mut titles = Vec::new();
        match target {
            Target::Grafana => {
                titles.extend(panels(&dashboard).iter().map(|panel| text(panel, "title").to_owned()))
            }
            Target::CloudWatch | Target::Google | Target::Exporters => strings(&dashboard, &mut titles),
        }
        // The title of a panel without a chart begins its text.
        let bold: Vec<_> = titles
            .iter()
            .filter_map(|text| Some(text.strip_prefix("**")?.split("**").next()?.to_owned()))
            .collect();
        all.insert(name, titles.into_iter().chain(bold).collect());
    }
    all
}

#[test]
fn every_indicator_has_a_row() {
    let rows = rows();
    for indicator in INDICATORS {
        assert!(
            rows.iter().any(|row| row[0].starts_with(indicator)),
            "docs/indicators.md has no row for {indicator}"
        );
    }
}

#[test]
fn every_row_has_a_panel_that_exists() {
    let titles = titles(&example());
    for row in rows() {
        assert_eq!(row.len(), 5, "{row:?}");
        let mut found = 0;
        for panel in row[3].split("; ") {
            let (dashboard, title) =
                panel.split_once(": ").unwrap_or_else(|| panic!("{panel} is not \"dashboard: panel\""));
            let known = titles.get(dashboard).unwrap_or_else(|| panic!("there is no dashboard {dashboard}"));
            assert!(known.contains(title), "{}: {dashboard} has no panel {title:?}", row[0]);
            found += 1;
        }
        assert!(found > 0, "{row:?}");
    }
}

#[test]
fn every_alert_of_the_table_exists() {
    let rules = include_str!("../../../config/prometheus/rules.yml");
    for row in rows() {
        for alert in row[4].split(['`', ' ', ',']).filter(|word| word.starts_with("Traceprobe")) {
            let exists = rules.contains(&format!("- alert: {alert}\n")) || alert == "TraceprobeHopCritical";
            assert!(exists, "{}: there is no alert {alert}", row[0]);
        }
    }
}
