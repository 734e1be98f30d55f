//! The probe's own calls and their cost, computed at each scrape.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::family::Declared;
use super::table::Row;
use crate::domain::cost::{Bytes, Costs};

/// How often an operation of a service was called, by result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// As in [`Operation`](crate::domain::cost::Operation): `kinesis`.
    pub service: String,
    /// As the service names it: `GetRecords`.
    pub operation: String,
    /// `ok`, or the kind of failure.
    pub result: String,
    pub count: u64,
}

/// Returns all calls since the start of the process.
pub type CallsSoFar = Arc<dyn Fn() -> Vec<Calls> + Send + Sync>;

/// How much of a budget has been used.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BudgetUsed {
    /// As in [`Calls`].
    pub service: &'static str,
    /// `calls` or `bytes`.
    pub of: &'static str,
    /// 1 if all of the day's budget is used.
    pub ratio: f64,
}

/// Returns how much of each budget has been used today; nothing by default.
#[derive(Clone, Default)]
pub struct BudgetsSoFar(Option<Arc<dyn Fn() -> Vec<BudgetUsed> + Send + Sync>>);

impl BudgetsSoFar {
    /// Asks at each scrape.
    pub fn new(ask: impl Fn() -> Vec<BudgetUsed> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }
}

impl std::fmt::Debug for BudgetsSoFar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BudgetsSoFar")
    }
}

static CALLS: Computed<3> = Computed {
    kind: Kind::Counter,
    name: "traceprobe_api_calls_total",
    labels: ["service", "operation", "result"],
    help: "Calls that the probe made, by result: ok, or the kind of failure as the page shows it (throttled, denied, not_found, unreachable, timeout, error, garbled, over_budget). What it takes of the quotas that it shares with the pipeline.",
};
static BUDGET: Computed<2> = Computed {
    kind: Kind::Gauge,
    name: "traceprobe_budget_used_ratio",
    labels: ["service", "budget"],
    help: "How much of the calls or bytes that the budgets of the configuration allow polls in a day (UTC) has been used. At 1, no poll is made until midnight; before that, polls wait for the share of the day so far.",
};
static COST: Computed<1> = Computed {
    kind: Kind::Counter,
    name: "traceprobe_estimated_cost_dollars_total",
    labels: ["service"],
    help: "What the probe's calls and bytes would cost at list prices (us-east-1, BigQuery on demand), by service. An estimate.",
};

/// The operations and prices of the parts of the probe.
#[derive(Clone, Debug, Default)]
pub struct StageCosts {
    /// Those of every kind of stage and of injection, configured or not: each of their services has a series.
    pub all: Vec<Costs>,
    /// Those of each configured stage.
    pub stages: Vec<Costs>,
    pub budgets: BudgetsSoFar,
}

/// Dollars that bytes have cost, by service. Clones share the same sums.
// A mutex, because polls are counted and scrapes are served on different threads; it is held for an addition.
#[derive(Clone, Debug, Default)]
pub(super) struct ByteCosts(Arc<Mutex<BTreeMap<&'static str, f64>>>);

impl ByteCosts {
    /// Adds the cost of `bytes` for each service that charges for them.
    pub(super) fn charge(&self, costs: &Costs, of: Bytes, bytes: u64) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for price in costs.of_byte(of) {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            let dollars = bytes as f64 * price.dollars;
            *sums.entry(price.service).or_default() += dollars;
        }
    }
}

/// The families of calls and dollars, computed at each scrape.
#[derive(Clone)]
pub(super) struct OwnCosts {
    calls: CallsSoFar,
    costs: Arc<StageCosts>,
    bytes: ByteCosts,
    descs: Arc<[Desc; 3]>,
}

impl OwnCosts {
    pub(super) fn declare(
        declared: &mut Declared,
        calls: CallsSoFar,
        costs: Arc<StageCosts>,
        bytes: ByteCosts,
    ) -> prometheus::Result<()> {
        let descs = Arc::new([CALLS.desc()?, COST.desc()?, BUDGET.desc()?]);
        declared.register(Self { calls, costs, bytes, descs }, [CALLS.row(), COST.row(), BUDGET.row()])
    }

    /// Returns the cost by service, including services that have cost nothing yet.
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
        let mut families =
            vec![CALLS.family(calls), COST.family(dollars.iter().map(|(name, value)| ([*name], *value)))];
        let used = self.costs.budgets.0.as_ref().map(|ask| ask()).unwrap_or_default();
        // A family without a series is none.
        if !used.is_empty() {
            families.push(BUDGET.family(used.iter().map(|used| ([used.service, used.of], used.ratio))));
        }
        families
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// A counter or gauge whose series are computed at each scrape.
struct Computed<const N: usize> {
    kind: Kind,
    name: &'static str,
    labels: [&'static str; N],
    help: &'static str,
}

impl<const N: usize> Computed<N> {
    fn row(&'static self) -> Row {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        Row { name: self.name, kind, labels: &self.labels, help: self.help }
    }

    fn desc(&self) -> prometheus::Result<Desc> {
        let labels = self.labels.map(str::to_owned).to_vec();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
    }

    fn family<'a>(&self, values: impl Iterator<Item = ([&'a str; N], f64)>) -> proto::MetricFamily {
        let metrics = values.map(|(label_values, value)| {
            let pairs = self.labels.iter().zip(label_values).map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.to_owned());
                pair
            });
            let mut metric = proto::Metric::default();
            metric.set_label(pairs.collect());
            match self.kind {
                Kind::Counter => {
                    let mut counter = proto::Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }
                Kind::Gauge => {
                    let mut gauge = proto::Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
            }
            metric
        });
        let mut family = proto::MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
        });
        family.set_metric(metrics.collect());
        family
    }
}
