//! Google's dashboard against the schema of its API and the list of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::schema::Schema;
use super::*;

static LIST: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let text = include_str!("../../../tests/dashboards/google-metrics.json");
    let all: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    all.into_iter().filter(|(name, _)| !name.starts_with('_')).collect()
});

/// The name of a metric type in PromQL of Cloud Monitoring: `vpn_googleapis_com:tunnel_established`.
fn in_promql(metric: &str) -> String {
    let (service, path) = metric.split_once('/').unwrap();
    format!("{}:{}", service.replace('.', "_"), path.replace(['/', '.'], "_"))
}

/// The faults of a dashboard.
fn faults(dashboard: &Value) -> Vec<String> {
    let schema = Schema::new(include_str!("../../../tests/dashboards/google-schema.json"));
    let mut faults = schema.faults(dashboard, "Dashboard", &BTreeMap::new());
    let columns = dashboard["mosaicLayout"]["columns"].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    for tile in dashboard["mosaicLayout"]["tiles"].as_array().unwrap() {
        let at = |name: &str| tile[name].as_u64().unwrap();
        for x in at("xPos")..at("xPos") + at("width") {
            for y in at("yPos")..at("yPos") + at("height") {
                if x >= columns || !taken.insert((x, y)) {
                    faults.push(format!("a tile overlaps or leaves the grid at {x}, {y}"));
                }
            }
        }
        // Neither a colour nor a direction may be in a chart (monitoring.v1, Threshold).
        for threshold in tile["widget"]["xyChart"]["thresholds"].as_array().into_iter().flatten() {
            if !threshold["value"].is_number() || threshold.get("color").is_some() {
                faults.push(format!("the threshold {threshold}"));
            }
        }
        for set in tile["widget"]["xyChart"]["dataSets"].as_array().into_iter().flatten() {
            let query = &set["timeSeriesQuery"];
            match query["prometheusQuery"].as_str() {
                Some(promql) => faults.extend(promql_faults(promql)),
                None => faults.extend(filter_faults(text(&query["timeSeriesFilter"], "filter"))),
            }
        }
    }
    faults
}

/// A filter is `metric.type="…" AND resource.type="…" AND resource.label.…="…"`.
fn filter_faults(filter: &str) -> Vec<String> {
    let parts: Vec<&str> = filter.split(" AND ").collect();
    let value =
        |prefix: &str| parts.iter().find_map(|part| part.strip_prefix(prefix)).map(|it| it.trim_matches('"'));
    let (Some(metric), Some(resource)) = (value("metric.type="), value("resource.type=")) else {
        return vec![format!("{filter} has no type")];
    };
    let labels = parts[2..].iter().filter_map(|part| {
        let name = part.split("label.").nth(1)?;
        name.split(['=', '!']).next()
    });
    series_faults(metric, resource, labels)
}

fn series_faults<'a>(metric: &str, resource: &str, labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let Some(known) = LIST.get(metric) else { return vec![format!("there is no metric {metric}")] };
    let mut faults = Vec::new();
    if known["resource"] != resource {
        faults.push(format!("{metric} is not measured of {resource}"));
    }
    let unknown = labels.filter(|label| !known["labels"].as_array().unwrap().contains(&(*label).into()));
    faults.extend(unknown.map(|label| format!("{metric} has no label {label}")));
    faults
}

/// Each series in PromQL is `name{monitored_resource="…",label="…"}`.
fn promql_faults(promql: &str) -> Vec<String> {
    let names: BTreeMap<String, String> =
        LIST.keys().map(|metric| (in_promql(metric), metric.clone())).collect();
    let mut faults = Vec::new();
    for (at, _) in promql.match_indices('{') {
        let start = promql[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
            .map_or(0, |it| it + 1);
        let name = promql[start..at].trim_end_matches("_bucket");
        let matchers = promql[at + 1..].split('}').next().unwrap();
        let resource = matchers.split("monitored_resource=\"").nth(1).and_then(|it| it.split('"').next());
        let labels = matchers.split("\",").skip(1).filter_map(|it| it.split(['=', '!']).next());
        match names.get(name) {
            Some(metric) => faults.extend(series_faults(metric, resource.unwrap_or_default(), labels)),
            None => faults.push(format!("there is no metric {name}")),
        }
    }
    faults
}

#[test]
fn every_dashboard_fits_the_schema_of_the_api_and_names_metrics_that_exist() {
    for Case { name, google, .. } in &*ALL {
        let faults = faults(google);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn queries_of_grafana_on_cloud_monitoring_name_metrics_that_exist() {
    for Case { name, grafana, .. } in &*ALL {
        for (_, dashboard) in grafana {
            for target in panels(dashboard)
                .iter()
                .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
            {
                let faults = match (
                    target["promQLQuery"]["expr"].as_str(),
                    target["timeSeriesList"]["filters"].as_array(),
                ) {
                    (Some(promql), _) => promql_faults(promql),
                    (None, Some(filters)) => {
                        let parts: Vec<&str> = filters.iter().map(|it| it.as_str().unwrap()).collect();
                        let pairs: Vec<_> =
                            parts.chunks(4).map(|it| format!("{}={}", it[0], it[2])).collect();
                        filter_faults(&pairs.join(" AND "))
                    }
                    (None, None) => Vec::new(),
                };
                assert!(faults.is_empty(), "{name}: {faults:#?}");
            }
        }
    }
}

#[test]
fn alerting_policies_and_dashboards_query_a_metric_of_the_same_resource() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/google/alerting");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let policy = serde_json::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let mut texts = Vec::new();
        strings(&policy, &mut texts);
        for filter in texts.iter().filter(|text| text.contains("metric.type = ")) {
            let value = |name: &str| filter.split(&format!("{name} = \"")).nth(1)?.split('"').next();
            let (metric, resource) = (value("metric.type").unwrap(), value("resource.type").unwrap());
            assert_eq!(LIST[metric]["resource"], resource, "{metric}");
            seen += 1;
        }
    }
    assert!(seen > 2, "only {seen} filters");
}

#[test]
fn growth_is_taken_of_counts_and_percentiles_of_distributions() {
    for Case { settings, .. } in &*ALL {
        for section in crate::dashboards::google::sections(settings) {
            for panel in section.panels {
                let panel::Content::Google(queries) = panel.content else { continue };
                for series in queries.iter().flat_map(crate::dashboards::google::Query::series) {
                    let of = &LIST[series.metric];
                    let (kind, is_distribution) = (text(of, "kind"), of["value"] == "DISTRIBUTION");
                    let (align, _) = series.take.aggregation();
                    let right = match align {
                        "ALIGN_RATE" => kind == "DELTA" && !is_distribution,
                        "ALIGN_DELTA" => is_distribution,
                        _ => kind == "GAUGE",
                    };
                    assert!(right, "{}: {align}", series.metric);
                }
            }
        }
    }
}

#[test]
fn a_misnamed_metric_resource_label_or_field_is_found() {
    let body = files(&example(), Target::Google).remove(0).text;
    for (right, wrong) in [
        ("query/execution_times", "query/execution_time"),
        ("resource.type=\\\"bigquery_project\\\"", "resource.type=\\\"bigquery_projects\\\""),
        ("metric.label.tunnel_name=", "metric.label.tunnel="),
        ("serviceruntime_googleapis_com:api_request_count", "serviceruntime_googleapis_com:api_requests"),
        ("\"dataSets\"", "\"datasets\""),
        ("ALIGN_RATE", "ALIGN_RATES"),
    ] {
        let broken = body.replace(right, wrong);
        assert!(broken != body, "{right} is nowhere");
        assert!(!faults(&serde_json::from_str(&broken).unwrap()).is_empty(), "{wrong} is not found");
    }
}

#[test]
fn every_metric_of_the_list_has_a_source() {
    for (metric, of) in &*LIST {
        assert!(
            of["source"].as_str().is_some_and(|it| it.starts_with("https://cloud.google.com/")),
            "{metric}"
        );
    }
}
