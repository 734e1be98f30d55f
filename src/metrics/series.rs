//! Families whose series have a single number.
//!
//! A series of the `prometheus` crate's own types has copies of its family's name, help text and label names, and to read
//! it makes another set of them. Our help texts are long, and every tenant has hundreds of series.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{
    Atomic, AtomicF64, AtomicI64, AtomicU64, Metric, MetricVec, MetricVecBuilder, Number,
};
use prometheus::proto::MetricType;
use prometheus::{Opts, proto};

use super::table::Row;

/// The names and values of a series' labels, ordered by name.
pub(super) type LabelPairs = Arc<[(&'static str, Box<str>)]>;

/// A family of such series. Clones share them.
#[derive(Debug)]
pub(super) struct Numbers<A: Sample> {
    pub(super) row: Row,
    /// Finds a series by its label values.
    pub(super) by_values: MetricVec<Builder<A>>,
    all: All<A>,
}

/// All series of a family, in no order. A mutex, because the engine creates them and a scrape reads them; held for
/// microseconds.
type All<A> = Arc<Mutex<Vec<Series<A>>>>;

/// One series. Clones share its number.
#[derive(Debug)]
pub(super) struct Series<A> {
    number: Arc<A>,
    labels: LabelPairs,
}

/// A number, and what kind of metric it is.
pub(super) trait Sample: Atomic + std::fmt::Debug + 'static {
    const KIND: MetricType;
}

impl Sample for AtomicU64 {
    const KIND: MetricType = MetricType::COUNTER;
}

impl Sample for AtomicI64 {
    const KIND: MetricType = MetricType::GAUGE;
}

impl Sample for AtomicF64 {
    const KIND: MetricType = MetricType::GAUGE;
}

impl<A: Sample> Numbers<A> {
    /// A family without series.
    pub(super) fn new(row: Row) -> prometheus::Result<Self> {
        let all = All::default();
        let builder = Builder { label_names: row.labels, all: all.clone() };
        let names = row.labels.iter().map(|name| (*name).to_owned()).collect();
        let options = Opts::new(row.name, row.help).variable_labels(names);
        Ok(Self { row, by_values: MetricVec::create(A::KIND, builder, options)?, all })
    }

    /// Removes the series with these label values, if there is one.
    pub(super) fn remove(&self, values: &[String]) {
        if self.by_values.remove_label_values(values).is_ok() {
            let labels = label_pairs(self.row.labels, values);
            lock(&self.all).retain(|series| series.labels != labels);
        }
    }

    /// The numbers of all series now, in no order.
    pub(super) fn read(&self) -> Vec<(LabelPairs, f64)> {
        let all = lock(&self.all);
        all.iter().map(|series| (series.labels.clone(), series.number.get().into_f64())).collect()
    }
}

impl<A: Sample> Series<A> {
    pub(super) fn set(&self, value: A::T) {
        self.number.set(value);
    }

    pub(super) fn inc_by(&self, more: A::T) {
        self.number.inc_by(more);
    }

    pub(super) fn inc(&self) {
        self.number.inc_by(A::T::from_i64(1));
    }

    pub(super) fn dec(&self) {
        self.number.dec_by(A::T::from_i64(1));
    }
}

/// Makes the series of a family.
#[derive(Debug)]
pub(super) struct Builder<A> {
    label_names: &'static [&'static str],
    all: All<A>,
}

impl<A: Sample> MetricVecBuilder for Builder<A> {
    type M = Series<A>;
    type P = Opts;

    fn build<V: AsRef<str>>(&self, _: &Opts, values: &[V]) -> prometheus::Result<Series<A>> {
        let number = Arc::new(A::new(A::T::from_i64(0)));
        let series = Series { number, labels: label_pairs(self.label_names, values) };
        lock(&self.all).push(series.clone());
        Ok(series)
    }
}

/// For readers of the `prometheus` crate. Scrapes take [`Numbers::read`].
impl<A: Sample> Metric for Series<A> {
    fn metric(&self) -> proto::Metric {
        let pair = |(name, value): &(&'static str, Box<str>)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.to_string());
            pair
        };
        let value = self.number.get().into_f64();
        let mut metric = proto::Metric::default();
        metric.set_label(self.labels.iter().map(pair).collect());
        if A::KIND == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

// Derived, these would want the number to be `Clone`.

impl<A: Sample> Clone for Numbers<A> {
    fn clone(&self) -> Self {
        Self { row: self.row, by_values: self.by_values.clone(), all: self.all.clone() }
    }
}

impl<A> Clone for Series<A> {
    fn clone(&self) -> Self {
        Self { number: self.number.clone(), labels: self.labels.clone() }
    }
}

impl<A> Clone for Builder<A> {
    fn clone(&self) -> Self {
        Self { label_names: self.label_names, all: self.all.clone() }
    }
}

fn label_pairs(names: &[&'static str], values: &[impl AsRef<str>]) -> LabelPairs {
    let values = values.iter().map(|value| value.as_ref().into());
    let mut pairs: Vec<(&'static str, Box<str>)> = names.iter().copied().zip(values).collect();
    pairs.sort_unstable();
    pairs.into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds the lock can panic between two of its writes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
