//! Writes queries for Grafana's data source for Google Cloud Monitoring.

use serde_json::{Value, json};

use super::query::{Filter, Names, Query, Series};

/// Queries of a panel about a project.
pub(crate) fn targets(queries: &[Query], project: &str) -> Vec<Value> {
    let mut targets: Vec<Value> = queries.iter().map(|query| one(query, project)).collect();
    for (number, target) in targets.iter_mut().enumerate() {
        target["refId"] = format!("Q{number}").into();
        target["datasource"] = json!({ "type": "stackdriver", "uid": "${monitoring}" });
    }
    targets
}

fn one(query: &Query, project: &str) -> Value {
    let (expression, legend) = query.promql(Names::Monitoring);
    match query {
        Query::Series(series) => {
            let alias = series.by.map(|label| format!("{{{{{}}}}}", label.path()));
            let alias = format!("{} {}", series.what, alias.unwrap_or_default());
            json!({
                "queryType": "timeSeriesList",
                "aliasBy": alias.trim(),
                "timeSeriesList": list(series, project),
            })
        }
        Query::Formula { .. } => json!({
            "queryType": "promQL",
            "aliasBy": legend,
            "promQLQuery": { "projectName": project, "expr": expression, "step": "60s" },
        }),
    }
}

/// Filters are a flat list of label, operator, value and `AND`.
fn list(series: &Series, project: &str) -> Value {
    let mut filters = vec!["metric.type".to_owned(), "=".to_owned(), series.metric.to_owned()];
    let mut and = |label: String, operator: &str, value: String| {
        filters.extend(["AND".to_owned(), label, operator.to_owned(), value]);
    };
    and("resource.type".to_owned(), "=", series.resource.to_owned());
    for filter in &series.filters {
        match filter {
            Filter::OneOf(label, values) => match values.as_slice() {
                [one] => and(label.path(), "=", one.clone()),
                several => and(label.path(), "=~", several.join("|").replace('.', "\\.")),
            },
            Filter::Not(label, value) => and(label.path(), "!=", (*value).to_owned()),
        }
    }
    let (align, reduce) = series.take.aggregation();
    let by: Vec<_> = series.by.iter().map(|label| label.path()).collect();
    json!({
        "projectName": project,
        "filters": filters,
        "perSeriesAligner": align,
        "crossSeriesReducer": reduce,
        "alignmentPeriod": "+60s",
        "groupBys": by,
        "view": "FULL",
    })
}
