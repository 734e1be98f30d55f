//! What the probe itself calls and costs, read when a scrape asks.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, proto};

/// How often an operation of a service was called, by result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// `logs`, `kinesis`, `s3`, `sts`, `bigquery`.
    pub service: String,
    /// As the service names it: `GetRecords`.
    pub operation: String,
    /// `ok`, or what went wrong.
    pub result: String,
    /// How often.
    pub count: u64,
}

/// Gives the calls so far.
pub type CallsSoFar = Arc<dyn Fn() -> Vec<Calls> + Send + Sync>;

/// List prices in US dollars, us-east-1 and BigQuery on demand, as of November 2026.
/// Real bills differ by region, discount and capacity mode; this is for seeing a change, not for accounting.
mod price {
    /// S3 LIST, a request (S3 pricing, requests).
    pub(super) const S3_LIST: f64 = 0.005 / 1e3;
    /// S3 GET, a request (S3 pricing, requests).
    pub(super) const S3_GET: f64 = 0.0004 / 1e3;
    /// BigQuery on-demand analysis, a byte billed (BigQuery pricing, $6.25 a TiB).
    pub(super) const BIGQUERY_BYTE: f64 = 6.25 / 1_099_511_627_776.0;
    /// Kinesis on-demand standard, a byte retrieved (Kinesis Data Streams pricing, $0.04 a GB).
    pub(super) const KINESIS_BYTE: f64 = 0.04 / 1e9;
    /// CloudWatch Logs ingestion, standard class, a byte (CloudWatch pricing, $0.50 a GB).
    pub(super) const LOGS_BYTE: f64 = 0.50 / 1e9;
}

pub(super) const CALLS_NAME: &str = "traceprobe_api_calls_total";
pub(super) const CALLS_HELP: &str = "Calls that the probe made, by result: ok, or the kind of failure as the page shows it (throttled, denied, not_found, unreachable, timeout, error, garbled, over_budget). What it takes of the quotas that it shares with the pipeline.";
pub(super) const CALLS_LABELS: [&str; 3] = ["service", "operation", "result"];
pub(super) const COST_NAME: &str = "traceprobe_estimated_cost_dollars_total";
pub(super) const COST_HELP: &str = "What the probe's calls and bytes would cost at list prices (us-east-1, BigQuery on demand), by service. An estimate.";
pub(super) const COST_LABELS: [&str; 1] = ["service"];

/// Bytes that cost something, by service, which the calls alone do not tell.
#[derive(Clone, Debug)]
pub(super) struct PaidBytes {
    /// Billed by BigQuery, by stage.
    pub(super) bigquery: IntCounterVec,
    /// Bytes put or read for other services, by service.
    pub(super) others: IntCounterVec,
}

/// Two families that are computed at each scrape.
#[derive(Clone)]
pub(super) struct OwnCosts {
    pub(super) calls: CallsSoFar,
    pub(super) bytes: PaidBytes,
    pub(super) descs: Arc<[Desc; 2]>,
}

impl OwnCosts {
    pub(super) fn new(calls: CallsSoFar, bytes: PaidBytes) -> prometheus::Result<Self> {
        let names = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        let calls_desc =
            Desc::new(CALLS_NAME.into(), CALLS_HELP.into(), names(&CALLS_LABELS), HashMap::new())?;
        let cost_desc = Desc::new(COST_NAME.into(), COST_HELP.into(), names(&COST_LABELS), HashMap::new())?;
        Ok(Self { calls, bytes, descs: Arc::new([calls_desc, cost_desc]) })
    }
}

impl Collector for OwnCosts {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let calls = (self.calls)();
        let mut dollars = [("bigquery", 0.0), ("kinesis", 0.0), ("logs", 0.0), ("s3", 0.0)];
        for (service, dollars) in &mut dollars {
            let bytes = sum(&self.bytes.others, "service", service);
            *dollars = match *service {
                "bigquery" => sum(&self.bytes.bigquery, "", "") * price::BIGQUERY_BYTE,
                "kinesis" => bytes * price::KINESIS_BYTE,
                "logs" => bytes * price::LOGS_BYTE,
                _ => 0.0,
            };
        }
        for call in calls.iter().filter(|call| call.service == "s3") {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            let count = call.count as f64;
            dollars[3].1 +=
                count * if call.operation.starts_with("List") { price::S3_LIST } else { price::S3_GET };
        }
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let calls =
            calls.iter().map(|call| ([&*call.service, &*call.operation, &*call.result], call.count as f64));
        vec![
            counters(CALLS_NAME, CALLS_HELP, CALLS_LABELS, calls),
            counters(
                COST_NAME,
                COST_HELP,
                COST_LABELS,
                dollars.iter().map(|(name, value)| ([*name], *value)),
            ),
        ]
    }
}

/// The sum over the series of a counter whose label has this value; over all when no label is named.
fn sum(counter: &IntCounterVec, label: &str, value: &str) -> f64 {
    let of_label = |metric: &&proto::Metric| {
        label.is_empty()
            || metric.get_label().iter().any(|pair| pair.name() == label && pair.value() == value)
    };
    let families = counter.collect();
    families
        .iter()
        .flat_map(proto::MetricFamily::get_metric)
        .filter(of_label)
        .map(|m| m.get_counter().get_value())
        .sum()
}

fn counters<'a, const N: usize>(
    name: &str,
    help: &str,
    labels: [&str; N],
    values: impl Iterator<Item = ([&'a str; N], f64)>,
) -> proto::MetricFamily {
    let metrics = values.map(|(label_values, value)| {
        let pairs = labels.iter().zip(label_values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut metric = proto::Metric::default();
        metric.set_label(pairs.collect());
        metric.set_counter(counter);
        metric
    });
    let mut family = proto::MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(proto::MetricType::COUNTER);
    family.set_metric(metrics.collect());
    family
}
