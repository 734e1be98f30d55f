//! What the probe itself calls and costs, read when a scrape asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::domain::cost::{Bytes, Costs};

/// How often an operation of a service was called, by result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// As in [`Operation`](crate::domain::cost::Operation): `kinesis`.
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

pub(super) const CALLS_NAME: &str = "traceprobe_api_calls_total";
pub(super) const CALLS_HELP: &str = "Calls that the probe made, by result: ok, or the kind of failure as the page shows it (throttled, denied, not_found, unreachable, timeout, error, garbled, over_budget). What it takes of the quotas that it shares with the pipeline.";
pub(super) const CALLS_LABELS: [&str; 3] = ["service", "operation", "result"];
pub(super) const COST_NAME: &str = "traceprobe_estimated_cost_dollars_total";
pub(super) const COST_HELP: &str = "What the probe's calls and bytes would cost at list prices (us-east-1, BigQuery on demand), by service. An estimate.";
pub(super) const COST_LABELS: [&str; 1] = ["service"];

/// What the parts of the probe call and cost.
#[derive(Clone, Debug, Default)]
pub struct StageCosts {
    /// Of every part that may call anything, configured or not: their services have a series each.
    pub all: Vec<Costs>,
    /// Of each stage.
    pub stages: Vec<Costs>,
}

/// Dollars that bytes have cost, by service. Clones add to the same sums.
// A mutex, because polls are counted and scrapes served on different threads; it is held for an addition.
#[derive(Clone, Debug, Default)]
pub(super) struct ByteCosts(Arc<Mutex<BTreeMap<&'static str, f64>>>);

impl ByteCosts {
    /// Charges bytes with all prices that there are for them.
    pub(super) fn charge(&self, costs: &Costs, of: Bytes, bytes: u64) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for price in costs.of_byte(of) {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            let dollars = bytes as f64 * price.dollars;
            *sums.entry(price.service).or_default() += dollars;
        }
    }
}

/// Two families that are computed at each scrape.
#[derive(Clone)]
pub(super) struct OwnCosts {
    calls: CallsSoFar,
    costs: Arc<StageCosts>,
    bytes: ByteCosts,
    descs: Arc<[Desc; 2]>,
}

impl OwnCosts {
    pub(super) fn new(
        calls: CallsSoFar,
        costs: Arc<StageCosts>,
        bytes: ByteCosts,
    ) -> prometheus::Result<Self> {
        let names = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        let calls_desc =
            Desc::new(CALLS_NAME.into(), CALLS_HELP.into(), names(&CALLS_LABELS), HashMap::new())?;
        let cost_desc = Desc::new(COST_NAME.into(), COST_HELP.into(), names(&COST_LABELS), HashMap::new())?;
        Ok(Self { calls, costs, bytes, descs: Arc::new([calls_desc, cost_desc]) })
    }

    /// By service, those included that cost nothing so far.
    fn dollars(&self, calls: &[Calls]) -> BTreeMap<&'static str, f64> {
        let operations = || self.costs.all.iter().flat_map(|costs| costs.operations);
        let mut dollars = self.bytes.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for operation in operations() {
            dollars.entry(operation.service).or_default();
        }
        for call in calls {
            let price = operations().find(|of| of.service == call.service && of.name == call.operation);
            if let Some(price) = price {
                #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
                let cost = call.count as f64 * price.dollars;
                *dollars.entry(price.service).or_default() += cost;
            }
        }
        dollars
    }
}

impl Collector for OwnCosts {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let calls = (self.calls)();
        let dollars = self.dollars(&calls);
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
