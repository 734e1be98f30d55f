//! The exporters' configurations against their formats, and against what the dashboard for Prometheus asks for.
//!
//! The format of YACE is that of its configuration file (prometheus-community/yet-another-cloudwatch-exporter,
//! docs/configuration.md); the flags are those of `stackdriver_exporter --help`, version 0.19.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ALL, Case, dashboards, files, panels, yaml};
use crate::dashboards::{Settings, Target};

const STATIC: [&str; 7] = ["name", "regions", "roles", "namespace", "customTags", "dimensions", "metrics"];
const CUSTOM: [&str; 7] =
    ["name", "namespace", "regions", "recentlyActiveOnly", "roles", "metrics", "dimensionNameRequirements"];
const METRIC: [&str; 4] = ["name", "statistics", "period", "length"];

fn printed(settings: &Settings, name: &str) -> String {
    files(settings, Target::Exporters).into_iter().find(|file| file.name == name).unwrap().text
}

fn only(value: &Value, known: &[&str], faults: &mut Vec<String>) {
    let fields = value.as_object().unwrap();
    faults.extend(
        fields
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .map(|key| format!("there is no key {key}")),
    );
}

/// The faults of a configuration of YACE, and the series that it exports: name and dimensions.
fn yace(text: &str) -> (Vec<String>, BTreeSet<(String, String)>) {
    let (mut faults, mut series) = (Vec::new(), BTreeSet::new());
    let mut names = BTreeSet::new();
    let config = yaml::read(text);
    only(&config, &["apiVersion", "sts-region", "static", "customNamespace"], &mut faults);
    for (kind, known) in [("static", &STATIC), ("customNamespace", &CUSTOM)] {
        for job in config[kind].as_array().into_iter().flatten() {
            only(job, known, &mut faults);
            let namespace = job["namespace"].as_str().unwrap_or_default();
            if !names.insert(job["name"].as_str().unwrap().to_owned()) || namespace.is_empty() {
                faults.push(format!("{}: not unique, or without a namespace", job["name"]));
            }
            let dimensions = job["dimensions"].as_array().into_iter().flatten();
            let dimensions: Vec<_> = dimensions
                .map(|it| {
                    format!(
                        "dimension_{}=\"{}\"",
                        it["name"].as_str().unwrap(),
                        it["value"].as_str().unwrap()
                    )
                })
                .collect();
            for metric in job["metrics"].as_array().unwrap() {
                only(metric, &METRIC, &mut faults);
                if metric["length"].as_u64() < metric["period"].as_u64() {
                    faults.push(format!("{}: length is less than period", metric["name"]));
                }
                for stat in metric["statistics"].as_array().unwrap() {
                    let name = exported(namespace, metric["name"].as_str().unwrap(), stat.as_str().unwrap());
                    if !series.insert((name.clone(), dimensions.join(","))) {
                        faults.push(format!("{name} is exported twice for {dimensions:?}"));
                    }
                }
            }
        }
    }
    (faults, series)
}

/// The name that YACE gives a statistic: words in lower case with `_` between them.
fn exported(namespace: &str, metric: &str, stat: &str) -> String {
    let namespace = namespace.to_lowercase().replace('/', "_");
    let namespace = if namespace.starts_with("aws") { namespace } else { format!("aws_{namespace}") };
    let chars: Vec<char> = metric.chars().collect();
    let mut name = String::new();
    for (index, c) in chars.iter().enumerate() {
        let after_small =
            index > 0 && (chars[index - 1].is_ascii_lowercase() || chars[index - 1].is_ascii_digit());
        if c.is_ascii_uppercase() && after_small {
            name.push('_');
        }
        name.push(if *c == '.' { '_' } else { c.to_ascii_lowercase() });
    }
    format!("{namespace}_{name}_{}", stat.to_lowercase())
}

/// The series that the dashboard for Prometheus asks for whose names begin so.
fn request(settings: &Settings, prefix: &str) -> BTreeSet<String> {
    let (_, dashboard) = dashboards(settings, Target::Grafana)
        .into_iter()
        .find(|(name, _)| *name == "pipeline-prometheus.json")
        .unwrap();
    let targets = panels(&dashboard)
        .into_iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let exprs = targets.filter_map(|target| target["expr"].as_str().map(str::to_owned));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    exprs
        .flat_map(|expr| {
            let names = expr.split(|c: char| !is_name(c)).filter(|word| word.starts_with(prefix));
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn yace_reads_its_configuration_and_exports_what_the_dashboard_queries() {
    for Case { name, settings, .. } in &*ALL {
        let (faults, series) = yace(&printed(settings, "yace.yml"));
        assert!(faults.is_empty(), "{name}: {faults:#?}");
        let names: BTreeSet<String> = series.into_iter().map(|(name, _)| name).collect();
        assert_eq!(request(settings, "aws_"), names, "{name}");
    }
}

#[test]
fn stackdriver_exporter_takes_its_flags_and_exports_what_the_dashboard_queries() {
    for Case { name, settings, .. } in &*ALL {
        let text = printed(settings, "stackdriver-exporter.flags");
        let mut metrics = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once('=') {
                Some(("--monitoring.metrics-prefixes", metric)) => {
                    metrics.extend([metric.replace(['.', '/'], "_")])
                }
                Some(("--google.project-ids", _)) => {}
                None if ["--monitoring.aggregate-deltas", "--monitoring.metrics-ingest-delay"]
                    .contains(&line) => {}
                _ => panic!("{name}: {line} is not a flag"),
            }
        }
        for series in request(settings, "stackdriver_") {
            let series = series.trim_end_matches("_bucket");
            assert!(
                metrics.iter().any(|metric| series.ends_with(metric.as_str())),
                "{name}: {series} is not exported"
            );
        }
    }
}

#[test]
fn a_misnamed_metric_or_key_is_found() {
    let settings = super::example();
    let text = printed(&settings, "yace.yml");
    let (_, series) = yace(&text.replace("name: Errors", "name: Error"));
    let names: BTreeSet<String> = series.into_iter().map(|(name, _)| name).collect();
    assert_ne!(request(&settings, "aws_"), names);
    assert_eq!(yace(&text.replacen("sts-region:", "stsRegion:", 1)).0, ["there is no key stsRegion"]);
}
