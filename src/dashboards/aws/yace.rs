//! Writes queries on the metrics of YACE, an exporter of CloudWatch's metrics for Prometheus.

use std::collections::BTreeSet;

use super::cloudwatch::{DRAWN, letter_of};
use super::query::{Lines, Meter, Place, Query};
use crate::dashboards::limits::Bad;
use crate::dashboards::promql::{matcher, ranked};

/// The expressions of a panel, each with its legend.
pub(crate) fn targets(queries: &[Query]) -> Vec<(String, String)> {
    queries.iter().map(one).collect()
}

fn one(query: &Query) -> (String, String) {
    match query {
        Query::Lines(lines) => lines_of(lines),
        Query::Search { meter, dimensions, .. } => {
            let by: Vec<_> = dimensions.iter().map(|name| format!("dimension_{name}")).collect();
            let by = by.join(", ");
            let expression = format!("sum by ({by}) ({})", metric(meter));
            (
                worst(&expression, &by, Bad::Above),
                "{{dimension_LogGroupName}} {{dimension_FilterName}}".to_owned(),
            )
        }
    }
}

fn lines_of(lines: &Lines) -> (String, String) {
    let pooled = lines.meters.iter().any(|meter| !meter.own.is_empty());
    let mut by: Vec<String> = lines
        .places
        .first()
        .map(|place| place.dimensions.iter().map(|(name, _)| format!("dimension_{name}")).collect())
        .unwrap_or_default();
    let names: BTreeSet<_> = lines.places.iter().map(|place| &place.dimensions).collect();
    if names.len() < lines.places.len() {
        by.push("account_id".to_owned());
    }
    let legend = match (pooled, by.last()) {
        (true, _) | (false, None) => lines.what.to_owned(),
        (false, Some(last)) => {
            let label = by.first().filter(|_| last != "account_id").unwrap_or(last);
            format!("{} {{{{{label}}}}}", lines.what).trim().to_owned()
        }
    };
    let by = by.join(", ");
    let term = |letter: usize| {
        let Some(meter) = lines.meters.get(letter) else { return "0".to_owned() };
        let places = if meter.own.is_empty() { &lines.places } else { &meter.own };
        let series = format!("{}{{{}}}", metric(meter), matchers(places));
        let function = match meter.stat {
            super::Stat::Sum => "sum",
            super::Stat::Maximum | super::Stat::P95 => "max",
            super::Stat::Minimum => "min",
        };
        let by = if pooled { String::new() } else { format!(" by ({by}) ") };
        // The exporter has the sums of minutes.
        let minutes = f64::from(meter.period / super::PERIOD);
        let whole = match (meter.stat, meter.period > super::PERIOD) {
            (super::Stat::Sum, true) => {
                let sum = format!("{minutes} * {function}{by}(avg_over_time({series}[{}s]))", meter.period);
                // Behind a `/`, only the number would be divided by.
                if lines.is_plain() { sum } else { format!("({sum})") }
            }
            _ => format!("{function}{by}({series})"),
        };
        // What a value grew by within its period is a function of metric math, and a difference in PromQL.
        match lines.formula.contains(&format!("DIFF({})", letter_of(letter))) {
            true => format!("{whole} - {function}{by}({series} offset {}s)", meter.period),
            false => whole,
        }
    };
    let expression = lines.with(term).replace("DIFF", "");
    if lines.places.len() > DRAWN {
        (worst(&format!("({expression})"), &by, lines.worst), legend)
    } else {
        (expression, legend)
    }
}

fn worst(expression: &str, by: &str, bad: Bad) -> String {
    let (over, choose) = match bad {
        Bad::Above => ("max_over_time", "topk"),
        Bad::Below => ("min_over_time", "bottomk"),
    };
    let order = format!("{over}({expression}[$__range:5m] @ end())");
    ranked(expression, by, choose, DRAWN, &order)
}

fn matchers(places: &[Place]) -> String {
    let names =
        places.first().map(|place| place.dimensions.iter().map(|(name, _)| *name)).into_iter().flatten();
    let of = |name: &'static str| {
        let values = places.iter().flat_map(|place| &place.dimensions).filter(|(it, _)| *it == name);
        let values: BTreeSet<String> = values.map(|(_, value)| value.clone()).collect();
        matcher(&format!("dimension_{name}"), &values.into_iter().collect::<Vec<_>>())
    };
    names.map(of).collect::<Vec<_>>().join(",")
}

/// The name that the exporter gives a statistic of a metric: `aws_lambda_errors_sum`.
fn metric(meter: &Meter) -> String {
    let namespace = prometheus(&meter.namespace.to_lowercase());
    let prefix = if namespace.starts_with("aws") { "" } else { "aws_" };
    format!("{prefix}{namespace}_{}_{}", prometheus(meter.metric), meter.stat.as_str().to_lowercase())
}

/// A name in lower case with `_` between its words.
fn prometheus(name: &str) -> String {
    let (mut text, mut before) = (String::new(), '_');
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
                text.push('_');
            }
            text.push(c.to_ascii_lowercase());
        } else {
            text.push('_');
        }
        before = c;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Stat;
    use super::*;

    fn place(name: &str) -> Place {
        let dimensions = vec![("StreamName", name.to_owned())];
        Place { label: name.to_owned(), dimensions, region: "eu-central-1".to_owned(), account: None }
    }

    #[test]
    fn a_formula_divides_by_all_of_the_sum_of_a_day() {
        let charges = Meter::new("AWS/Billing", "EstimatedCharges", Stat::Maximum).every(86_400);
        let records = Meter::new("AWS/Kinesis", "IncomingRecords", Stat::Sum).every(86_400);
        let of = |formula, meters| lines_of(&Lines::new(formula, meters, &[place("s")])).0;
        let records_of_a_day = "1440 * sum by (dimension_StreamName) \
                                (avg_over_time(aws_kinesis_incoming_records_sum{dimension_StreamName=\"s\"}[86400s]))";
        assert_eq!(of("a", vec![records.clone()]), records_of_a_day);
        let ratio = of("1000000 * DIFF(a) / b", vec![charges, records]);
        assert!(ratio.ends_with(&format!(" / ({records_of_a_day})")), "{ratio}");
        assert!(ratio.starts_with("1000000 * (max by (dimension_StreamName) ("), "{ratio}");
    }

    #[test]
    fn metrics_are_named_as_the_exporter_names_them() {
        let name = |namespace, name, stat| metric(&Meter::new(namespace, name, stat));
        assert_eq!(name("AWS/Lambda", "Errors", Stat::Sum), "aws_lambda_errors_sum");
        assert_eq!(
            name("AWS/NATGateway", "BytesOutToDestination", Stat::Sum),
            "aws_natgateway_bytes_out_to_destination_sum"
        );
        let age = name("AWS/Kinesis", "GetRecords.IteratorAgeMilliseconds", Stat::Maximum);
        assert_eq!(age, "aws_kinesis_get_records_iterator_age_milliseconds_maximum");
        assert_eq!(name("AWS/S3", "5xxErrors", Stat::Sum), "aws_s3_5xx_errors_sum");
        assert_eq!(
            name("LambdaInsights", "memory_utilization", Stat::Maximum),
            "aws_lambdainsights_memory_utilization_maximum"
        );
    }
}
