//! Writes queries for Grafana's data source for CloudWatch.

use serde_json::{Map, Value, json};

use super::cloudwatch::{DRAWN, letter_of, search, worst};
use super::query::{Lines, Meter, Place, Query};

/// What asks CloudWatch: the variable of the dashboard that holds the data source.
fn source() -> Value {
    json!({ "type": "cloudwatch", "uid": "${cloudwatch}" })
}

/// Queries of a panel. Those that only others refer to are hidden.
pub(crate) fn targets(queries: &[Query]) -> Vec<Value> {
    let mut targets = Vec::new();
    for (number, query) in queries.iter().enumerate() {
        match query {
            Query::Lines(lines) => lines_of(lines, number, &mut targets),
            Query::Search { meter, dimensions, region } => {
                let label = "${PROP('Dim.LogGroupName')}";
                targets.push(math(&format!("s{number}"), &search(meter, dimensions), region, label, false));
            }
        }
    }
    for (number, target) in targets.iter_mut().enumerate() {
        target["refId"] = format!("Q{number}").into();
    }
    targets
}

fn lines_of(lines: &Lines, number: usize, targets: &mut Vec<Value>) {
    let draws_all = lines.places.len() <= DRAWN;
    let mut sums = Vec::new();
    for (letter, meter) in lines.meters.iter().enumerate() {
        let id = |index: usize| format!("o{number}x{index}{}", letter_of(letter));
        for (index, place) in meter.own.iter().enumerate() {
            targets.push(metric(meter, place, &id(index), "", true));
        }
        let ids: Vec<_> = (0..meter.own.len()).map(id).collect();
        sums.push(match ids.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("SUM([{}])", several.join(","))),
        });
    }
    let mut ids = Vec::new();
    for (index, place) in lines.places.iter().enumerate() {
        let id = |letter: usize| {
            sums[letter].clone().unwrap_or_else(|| format!("m{number}x{index}{}", letter_of(letter)))
        };
        let label = lines.label(place);
        for (letter, meter) in lines.meters.iter().enumerate().filter(|(letter, _)| sums[*letter].is_none()) {
            let hidden = !draws_all || !lines.is_plain();
            targets.push(metric(meter, place, &id(letter), &label, hidden));
        }
        if lines.is_plain() {
            ids.push(id(0));
        } else {
            let line = format!("e{number}x{index}");
            targets.push(math(&line, &lines.with(id), &place.region, &label, !draws_all));
            ids.push(line);
        }
    }
    if let Some(first) = lines.places.first().filter(|_| !draws_all) {
        let expression = worst(&ids, lines.worst);
        targets.push(math(&format!("w{number}"), &expression, &first.region, "${LABEL}", false));
    }
}

/// A metric, in the mode of the builder (`metricEditorMode` 0).
fn metric(meter: &Meter, place: &Place, id: &str, label: &str, hidden: bool) -> Value {
    let dimensions: Map<String, Value> =
        place.dimensions.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect();
    let mut target = json!({
        "datasource": source(),
        "queryMode": "Metrics",
        "metricQueryType": 0,
        "metricEditorMode": 0,
        "namespace": meter.namespace,
        "metricName": meter.metric,
        "dimensions": dimensions,
        "matchExact": true,
        "statistic": meter.stat.as_str(),
        "period": meter.period.to_string(),
        "region": place.region,
        "id": id,
        "label": label,
        "hide": hidden,
    });
    if let Some(account) = &place.account {
        target["accountId"] = account.clone().into();
    }
    target
}

/// An expression, in the mode of the code editor (`metricEditorMode` 1).
fn math(id: &str, expression: &str, region: &str, label: &str, hidden: bool) -> Value {
    json!({
        "datasource": source(),
        "queryMode": "Metrics",
        "metricQueryType": 0,
        "metricEditorMode": 1,
        "namespace": "",
        "metricName": "",
        "dimensions": {},
        "statistic": "Sum",
        "period": "",
        "region": region,
        "expression": expression,
        "id": id,
        "label": label,
        "hide": hidden,
    })
}
