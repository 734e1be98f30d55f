//! Metric families whose labels are types.
//!
//! A family is declared once, with its name, kind, label set and help text. From then on it has every series
//! that its label set allows. Only this file passes label values to the `prometheus` crate; clippy forbids it
//! elsewhere.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::core::{AtomicF64, AtomicI64, AtomicU64, Collector, MetricVec, MetricVecBuilder};
use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry};

use super::closing::{BucketBounds, ClosingHistogram, ClosingSeries};
use super::exposition::{Scraped, kind_name};
use super::labels::{Labels, NoLabels};
use super::series::{Numbers, Sample, Series};
use super::table::Row;
use crate::domain::topology::Topology;

/// A number that only grows.
pub(super) type Counter<L> = Family<Numbers<AtomicU64>, L>;
pub(super) type Gauge<L> = Family<Numbers<AtomicF64>, L>;
/// A count that rises and falls, or a flag.
pub(super) type IntGauge<L> = Family<Numbers<AtomicI64>, L>;
/// A histogram of the probe's own durations: calls, interval widths, delays.
pub(super) type Timing<L> = Family<HistogramVec, L>;
/// A histogram of the pipeline's latencies that a stall cannot silence: see [`ClosingHistogram`].
pub(super) type Latency<L> = Family<ClosingHistogram, L>;

/// Buckets of [`Timing`], in seconds.
const OWN_SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Those of one with a series for each tenant.
const OWN_SECONDS_OF_TENANT: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The topology in force. Clones share it. A lock, because the engine replaces it while the web port counts its
/// connections; both hold it for microseconds.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<RwLock<Arc<Topology>>>);

impl Places {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        Self(Arc::new(RwLock::new(topology)))
    }

    pub(super) fn get(&self) -> Arc<Topology> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the topology and returns the former one.
    pub(super) fn replace(&self, topology: Arc<Topology>) -> Arc<Topology> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), topology)
    }
}

/// A metric with one series for each value of its label set.
#[derive(Clone, Debug)]
pub(super) struct Family<K, L> {
    metric: K,
    places: Places,
    labels: PhantomData<L>,
}

impl<K: Kind, L: Labels> Family<K, L> {
    /// Registers the family and creates every series of its label set.
    pub(super) fn declare(
        declared: &mut Declared,
        name: &'static str,
        help: &'static str,
    ) -> prometheus::Result<Self> {
        let row = Row { name, kind: K::NAME, labels: L::NAMES, help };
        let metric = K::new(&row, &declared.bucket_bounds)?;
        metric.register(declared, row)?;
        declared.closing.extend(metric.closing());
        let family = Self { metric, places: declared.places.clone(), labels: PhantomData };
        family.create(&declared.places.get());
        Ok(family)
    }

    /// Creates every series that there is from the start.
    fn create(&self, map: &Topology) {
        for labels in L::all(map).filter(|labels| labels.is_from_start()) {
            match labels.thresholds(map) {
                Some(thresholds) => self.metric.create(labels.values(map).as_ref(), &thresholds),
                None => drop(self.metric.series(labels.values(map).as_ref())),
            }
        }
    }

    /// Has the series of a topology that succeeds another: those of both go on, those of the former are removed.
    pub(super) fn succeed(&self, before: &Topology, now: &Topology) {
        let texts = |map: &Topology, labels: L| -> Vec<String> {
            labels.values(map).as_ref().iter().map(|value| value.clone().into_owned()).collect()
        };
        let wanted: BTreeSet<Vec<String>> = L::all(now).map(|labels| texts(now, labels)).collect();
        for gone in L::all(before).map(|labels| texts(before, labels)).filter(|of| !wanted.contains(of)) {
            self.metric.remove(&gone);
        }
        self.create(now);
    }

    /// Returns the series with these labels.
    pub(super) fn at(&self, labels: L) -> K::Series {
        self.metric.series(labels.values(&self.places.get()).as_ref())
    }
}

impl<K: Kind> Family<K, NoLabels> {
    /// Returns the only series of a family without labels.
    pub(super) fn only(&self) -> K::Series {
        self.at(NoLabels {})
    }
}

/// The metrics that have been declared.
pub(super) struct Declared {
    places: Places,
    bucket_bounds: BucketBounds,
    /// Those that the `prometheus` crate reads.
    pub(super) registry: Registry,
    /// The others.
    pub(super) sources: Vec<Source>,
    /// Their rows in the documentation.
    pub(super) rows: Vec<Row>,
    /// The families with exemplars.
    pub(super) closing: Vec<ClosingHistogram>,
}

impl Declared {
    /// An empty list. `bucket_bounds` holds the buckets of latency histograms.
    pub(super) fn new(places: Places, bucket_bounds: BucketBounds) -> Self {
        let (registry, sources) = (Registry::new(), Vec::new());
        Self { places, bucket_bounds, registry, sources, rows: Vec::new(), closing: Vec::new() }
    }

    /// Registers a collector, with the rows that the documentation shows for it.
    pub(super) fn register(
        &mut self,
        collector: impl Collector + 'static,
        rows: impl IntoIterator<Item = Row>,
    ) -> prometheus::Result<()> {
        self.rows.extend(rows);
        self.registry.register(Box::new(collector))
    }

    /// Has scrapes read a family of numbers.
    fn read<A: Sample>(&mut self, numbers: Numbers<A>, row: Row) -> prometheus::Result<()> {
        if self.rows.iter().any(|known| known.name == row.name) {
            return Err(prometheus::Error::AlreadyReg);
        }
        self.rows.push(row);
        let read = move || Scraped::Numbers { row, kind: A::KIND, series: numbers.read() };
        self.sources.push(Source(Box::new(read)));
        Ok(())
    }
}

/// Reads a family at a scrape.
pub(super) struct Source(Box<dyn Fn() -> Scraped + Send + Sync>);

impl Source {
    pub(super) fn read(&self) -> Scraped {
        (self.0)()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// A kind of metric.
pub(super) trait Kind: Clone + 'static {
    /// The type as Prometheus names it: `counter`.
    const NAME: &'static str;

    /// The handle that counts.
    type Series;

    /// Makes a metric without series.
    fn new(row: &Row, bucket_bounds: &BucketBounds) -> prometheus::Result<Self>;

    /// Has scrapes read it.
    fn register(&self, declared: &mut Declared, row: Row) -> prometheus::Result<()>;

    /// Returns the series with these label values, and creates it if it is new.
    fn series(&self, values: &[Cow<'_, str>]) -> Self::Series;

    /// Creates the series with these label values, which is compared with these thresholds alone.
    fn create(&self, values: &[Cow<'_, str>], _thresholds: &[Duration]) {
        self.series(values);
    }

    /// Removes the series with these label values, if there is one.
    fn remove(&self, values: &[String]);

    /// Returns itself if it has exemplars.
    fn closing(&self) -> Option<ClosingHistogram> {
        None
    }
}

impl<A: Sample> Kind for Numbers<A> {
    const NAME: &'static str = kind_name(A::KIND);
    type Series = Series<A>;

    fn new(row: &Row, _: &BucketBounds) -> prometheus::Result<Self> {
        Self::new(*row)
    }

    fn register(&self, declared: &mut Declared, row: Row) -> prometheus::Result<()> {
        declared.read(self.clone(), row)
    }

    fn series(&self, values: &[Cow<'_, str>]) -> Series<A> {
        child(&self.by_values, values)
    }

    fn remove(&self, values: &[String]) {
        Self::remove(self, values);
    }
}

impl Kind for HistogramVec {
    const NAME: &'static str = "histogram";
    type Series = Histogram;

    fn new(row: &Row, _: &BucketBounds) -> prometheus::Result<Self> {
        let bounds: &[f64] =
            if row.labels.contains(&"tenant") { &OWN_SECONDS_OF_TENANT } else { &OWN_SECONDS };
        let options = HistogramOpts::new(row.name, row.help).buckets(bounds.to_vec());
        Self::new(options, row.labels)
    }

    fn register(&self, declared: &mut Declared, row: Row) -> prometheus::Result<()> {
        declared.register(self.clone(), [row])
    }

    fn series(&self, values: &[Cow<'_, str>]) -> Histogram {
        child(self, values)
    }

    fn remove(&self, values: &[String]) {
        without(self, values);
    }
}

impl Kind for ClosingHistogram {
    const NAME: &'static str = "histogram";
    type Series = ClosingSeries;

    fn new(row: &Row, bucket_bounds: &BucketBounds) -> prometheus::Result<Self> {
        Self::new(row.name, row.help, row.labels, bucket_bounds.clone())
    }

    fn register(&self, declared: &mut Declared, row: Row) -> prometheus::Result<()> {
        declared.register(self.clone(), [row])
    }

    fn series(&self, values: &[Cow<'_, str>]) -> ClosingSeries {
        self.with_labels(values)
    }

    fn create(&self, values: &[Cow<'_, str>], thresholds: &[Duration]) {
        self.set_thresholds(values, thresholds);
    }

    fn remove(&self, values: &[String]) {
        Self::remove(self, values);
    }

    fn closing(&self) -> Option<ClosingHistogram> {
        Some(self.clone())
    }
}

fn without<T: MetricVecBuilder>(vec: &MetricVec<T>, values: &[String]) {
    // An error says that there is no such series.
    let _removed = vec.remove_label_values(values);
}

#[expect(clippy::disallowed_methods, reason = "the one place where a label set becomes label values")]
fn child<T: MetricVecBuilder>(vec: &MetricVec<T>, values: &[Cow<'_, str>]) -> T::M {
    vec.with_label_values(values)
}
