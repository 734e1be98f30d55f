//! CloudWatch's dashboard against the structure of its body and the list of metrics.
//!
//! The structure is that of "Dashboard Body Structure and Syntax" in the Amazon CloudWatch API Reference.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::*;

const PROPERTIES: [&str; 18] = [
    "accountId",
    "annotations",
    "liveData",
    "legend",
    "metrics",
    "period",
    "region",
    "setPeriodToTimeRange",
    "singleValueFullPrecision",
    "sparkline",
    "stacked",
    "stat",
    "table",
    "timezone",
    "title",
    "trend",
    "view",
    "yAxis",
];
const OPTIONS: [&str; 11] = [
    "accountId",
    "color",
    "expression",
    "id",
    "label",
    "period",
    "region",
    "stat",
    "visible",
    "yAxis",
    "unit",
];

fn list() -> Value {
    serde_json::from_str(include_str!("../../../tests/dashboards/cloudwatch-metrics.json")).unwrap()
}

/// The faults of a body.
fn faults(body: &Value) -> Vec<String> {
    let list = list();
    let mut faults = Vec::new();
    let widgets = body["widgets"].as_array().unwrap();
    if widgets.len() > 500 {
        faults.push(format!("{} widgets", widgets.len()));
    }
    let mut drawn = 0;
    let mut taken = BTreeSet::new();
    for widget in widgets {
        place(widget, &mut taken, &mut faults);
        let properties = widget["properties"].as_object().unwrap();
        match text(widget, "type") {
            "text" => only(properties, &["markdown", "background"], "a text", &mut faults),
            "alarm" => {
                only(properties, &["alarms", "title", "sortBy", "states"], "an alarm", &mut faults);
                let arns = properties["alarms"].as_array().unwrap();
                let all_arns = arns.iter().all(|arn| arn.as_str().is_some_and(|it| it.starts_with("arn:")));
                if arns.is_empty() || arns.len() > 100 || !all_arns {
                    faults.push("an alarm widget lists 1 to 100 ARNs".to_owned());
                }
            }
            "metric" => drawn += metric_widget(properties, &list, &mut faults),
            other => faults.push(format!("there is no widget of type {other}")),
        }
    }
    if drawn > 2500 {
        faults.push(format!("{drawn} metrics on a dashboard"));
    }
    faults
}

fn only(fields: &Map<String, Value>, known: &[&str], of: &str, faults: &mut Vec<String>) {
    faults.extend(
        fields.keys().filter(|key| !known.contains(&key.as_str())).map(|key| format!("{of} has no {key}")),
    );
}

fn place(widget: &Value, taken: &mut BTreeSet<(u64, u64)>, faults: &mut Vec<String>) {
    let at = |name: &str| widget[name].as_u64().unwrap();
    let (x, y, width, height) = (at("x"), at("y"), at("width"), at("height"));
    if x + width > 24 || width == 0 || !(1..=1000).contains(&height) {
        faults.push(format!("a widget at {x}, {y} leaves the grid of 24 columns"));
    }
    for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
        if !taken.insert(cell) {
            faults.push(format!("two widgets are at {cell:?}"));
        }
    }
}

/// Checks a chart. Returns how many metrics it asks for.
fn metric_widget(properties: &Map<String, Value>, list: &Value, faults: &mut Vec<String>) -> usize {
    let title = properties["title"].as_str().unwrap_or_default();
    only(properties, &PROPERTIES, "a metric", faults);
    if !["timeSeries", "singleValue", "gauge", "bar", "pie", "table"]
        .contains(&properties["view"].as_str().unwrap())
    {
        faults.push(format!("{title}: view"));
    }
    period(&properties["period"], title, faults);
    for line in properties.get("annotations").and_then(|it| it["horizontal"].as_array()).into_iter().flatten()
    {
        if !line["value"].is_number() {
            faults.push(format!("{title}: a horizontal annotation has no value"));
        }
    }
    let metrics = properties["metrics"].as_array().unwrap();
    let (mut ids, mut visible) = (BTreeSet::new(), 0);
    if metrics.is_empty() || metrics.len() > 500 {
        faults.push(format!("{title}: {} metrics", metrics.len()));
    }
    for entry in metrics {
        let parts = entry.as_array().unwrap();
        let options = parts.last().and_then(Value::as_object).cloned().unwrap_or_default();
        only(&options, &OPTIONS, title, faults);
        let id = options.get("id").and_then(Value::as_str).unwrap_or_default();
        let fits = id.starts_with(|c: char| c.is_ascii_lowercase())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits || !ids.insert(id.to_owned()) {
            faults.push(format!("{title}: the id {id} is not valid, or not unique"));
        }
        if let Some(it) = options.get("period") {
            period(it, title, faults);
        }
        let is_shown = options.get("visible") != Some(&Value::Bool(false));
        match options.get("expression").and_then(Value::as_str) {
            Some(expression) => {
                visible += usize::from(is_shown) * if expression.starts_with("SORT(") { 10 } else { 1 };
                self::expression(expression, title, list, faults);
            }
            None => {
                visible += usize::from(is_shown);
                metric(parts, &options, list, faults);
            }
        }
    }
    // What an expression refers to exists.
    for expression in metrics.iter().filter_map(|entry| entry[0]["expression"].as_str()) {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric());
        let unknown = words.filter(|it| {
            it.starts_with(|c: char| "meo".contains(c)) && it[1..].starts_with(|c: char| c.is_ascii_digit())
        });
        faults.extend(
            unknown.filter(|it| !ids.contains(*it)).map(|it| format!("{title}: nothing has the id {it}")),
        );
    }
    if visible == 0 || visible > MOST_LINES {
        faults.push(format!("{title}: {visible} lines"));
    }
    metrics.len()
}

fn period(value: &Value, title: &str, faults: &mut Vec<String>) {
    let seconds = value.as_u64().unwrap_or(0);
    if ![1, 5, 10, 30].contains(&seconds) && (seconds == 0 || !seconds.is_multiple_of(60)) {
        faults.push(format!("{title}: a period of {seconds} s"));
    }
}

/// A metric is `[namespace, name, dimension, value, …, options]`.
fn metric(parts: &[Value], options: &Map<String, Value>, list: &Value, faults: &mut Vec<String>) {
    let texts: Vec<&str> = parts[..parts.len() - 1].iter().map(|part| part.as_str().unwrap()).collect();
    if texts.len() < 2 || !texts.len().is_multiple_of(2) {
        faults.push(format!("{texts:?} is not a namespace, a name, and pairs of dimensions"));
        return;
    }
    let dimensions: Vec<&str> = texts[2..].iter().copied().step_by(2).collect();
    let stat = options.get("stat").and_then(Value::as_str).unwrap_or_default();
    known(texts[0], texts[1], &dimensions, stat, list, faults);
}

fn known(
    namespace: &str,
    name: &str,
    dimensions: &[&str],
    stat: &str,
    list: &Value,
    faults: &mut Vec<String>,
) {
    let of = &list[namespace];
    let same = of["dimensions"]
        .as_array()
        .is_some_and(|all| all.iter().map(|it| it.as_str().unwrap()).eq(dimensions.iter().copied()));
    if !same {
        faults.push(format!("{namespace} has no metric by {dimensions:?}"));
    }
    match of["metrics"][name].as_array() {
        Some(stats) if stats.contains(&stat.into()) => {}
        Some(_) => faults.push(format!("{namespace} {name} has no statistic {stat}")),
        None => faults.push(format!("{namespace} has no metric {name}")),
    }
}

/// Functions of metric math and search that are used (CloudWatch User Guide).
fn expression(expression: &str, title: &str, list: &Value, faults: &mut Vec<String>) {
    if expression.len() > 2048 {
        faults.push(format!("{title}: an expression of {} characters", expression.len()));
    }
    if let Some((_, search)) = expression.split_once("SEARCH('{") {
        let (schema, rest) = search.split_once("} MetricName=\"").unwrap();
        let (name, rest) = rest.split_once("\"', '").unwrap();
        let (namespace, dimensions) = schema.split_once(',').unwrap();
        let dimensions: Vec<_> = dimensions.split(',').collect();
        known(namespace, name, &dimensions, rest.split('\'').next().unwrap(), list, faults);
        return;
    }
    let words = expression
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|it| it.starts_with(|c: char| c.is_ascii_uppercase()));
    let unknown = words.filter(|it| !["SORT", "MAX", "MIN", "SUM", "DESC", "ASC", "DIFF"].contains(it));
    faults.extend(unknown.map(|it| format!("{title}: {it} is not used elsewhere")));
}

/// The queries of Grafana's dashboards on CloudWatch, as entries of a metric widget.
fn grafana_faults(all: &[(&str, Value)]) -> Vec<String> {
    let list = list();
    let mut faults = Vec::new();
    for (_, dashboard) in all {
        for target in panels(dashboard)
            .iter()
            .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
        {
            if target["datasource"]["type"] != "cloudwatch" {
                continue;
            }
            match target["expression"].as_str() {
                Some(it) => expression(it, "Grafana", &list, &mut faults),
                None => {
                    let dimensions: Vec<&str> =
                        target["dimensions"].as_object().unwrap().keys().map(String::as_str).collect();
                    known(
                        text(&target, "namespace"),
                        text(&target, "metricName"),
                        &dimensions,
                        text(&target, "statistic"),
                        &list,
                        &mut faults,
                    );
                }
            }
        }
    }
    faults
}

#[test]
fn every_body_has_the_structure_that_cloudwatch_reads_and_names_metrics_that_exist() {
    for Case { name, cloudwatch, .. } in &*ALL {
        let faults = faults(cloudwatch);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn queries_of_grafana_on_cloudwatch_name_metrics_that_exist() {
    for Case { name, grafana, .. } in &*ALL {
        let faults = grafana_faults(grafana);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

#[test]
fn a_misnamed_metric_dimension_or_statistic_is_found_in_the_dashboards_of_every_configuration() {
    for Case { name, settings, .. } in ALL.iter().filter(|case| !case.name.ends_with("without names")) {
        let body = files(settings, Target::CloudWatch).remove(0).text;
        for (right, wrong) in [
            ("\"EstimatedCharges\"", "\"EstimatedCharge\""),
            ("\"Currency\"", "\"Currencies\""),
            ("\"Sum\"", "\"Total\""),
            ("'Sum'", "'Total'"),
            ("\"x\": 16", "\"x\": 17"),
        ] {
            if body.contains(right) {
                let broken: Value = serde_json::from_str(&body.replace(right, wrong)).unwrap();
                assert!(!faults(&broken).is_empty(), "{name}: {wrong} is not found");
            }
        }
        let renamed = body.replace("DeliveryErrors", "DeliveryError");
        assert!(renamed != body && !faults(&serde_json::from_str(&renamed).unwrap()).is_empty(), "{name}");
    }
}

#[test]
fn every_metric_of_the_list_has_a_source() {
    for (namespace, of) in list().as_object().unwrap().iter().filter(|(name, _)| !name.starts_with('_')) {
        assert!(
            of["source"].as_str().is_some_and(|it| it.starts_with("https://docs.aws.amazon.com/")),
            "{namespace}"
        );
    }
}
