//! A histogram that a stall cannot silence.
//!
//! A latency histogram of arrivals alone goes silent in a total stall: nothing arrives, `rate()` is 0,
//! `histogram_quantile` is NaN, and its alert does not fire. This one counts a trace as soon as it is
//! *proven* to have missed the threshold: in `_count` and `+Inf` at once, and in the finite buckets only when
//! it arrives. An overdue trace can no longer fall into a bucket at or below the threshold, so every series
//! is a true counter, and `le="<threshold>"` divided by `_count` is always the ratio of judged traces that
//! met the threshold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// The upper bounds of the buckets in seconds, in ascending order, without `+Inf`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder(Arc<[f64]>);

impl Ladder {
    /// `bounds` must be in ascending order.
    #[must_use]
    pub fn new(bounds: &[Duration]) -> Self {
        Self(bounds.iter().map(Duration::as_secs_f64).collect())
    }

    #[must_use]
    pub fn seconds(&self) -> &[f64] {
        &self.0
    }
}

/// The last trace that fell into a bucket, so that a point on a graph links to the page of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    pub trace: TraceId,
    /// Its latency in seconds.
    pub value: f64,
    /// When it was counted.
    pub at: Timestamp,
}

/// What happened to a trace, as a histogram counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It arrived and was not counted before.
    Arrived,
    /// It arrived after it was counted as overdue.
    ArrivedOverdue,
    /// It is proven overdue.
    Overdue,
    /// It was given up and was not counted before.
    GivenUp,
    /// It was given up after it was counted as overdue.
    GivenUpOverdue,
}

/// A family of histograms that count overdue traces before they arrive.
#[derive(Clone, Debug)]
pub struct ClosingHistogram {
    name: &'static str,
    desc: Desc,
    labels: &'static [&'static str],
    ladder: Ladder,
    /// The engine adds to one series, a scrape reads all of them; both hold the lock for microseconds.
    series: Arc<Mutex<BTreeMap<Vec<String>, ClosingSeries>>>,
}

/// One histogram of a family. Clones share the same numbers.
#[derive(Clone, Debug)]
pub struct ClosingSeries {
    ladder: Ladder,
    /// Locked like the series of the family.
    numbers: Arc<Mutex<Numbers>>,
}

#[derive(Clone, Debug)]
struct Numbers {
    /// Not cumulative; one for each bound, and one for `+Inf`.
    buckets: Vec<u64>,
    exemplars: Vec<Option<Exemplar>>,
    count: u64,
    sum: f64,
}

impl ClosingHistogram {
    /// Makes a family without series.
    ///
    /// # Errors
    ///
    /// If Prometheus does not allow a name.
    pub fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        ladder: Ladder,
    ) -> prometheus::Result<Self> {
        let names = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, std::collections::HashMap::new())?;
        Ok(Self { name, desc, labels, ladder, series: Arc::default() })
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the series with these label values, and creates it at zero if it is new.
    pub fn with_labels(&self, values: &[impl AsRef<str>]) -> ClosingSeries {
        lock(&self.series).entry(owned(values)).or_insert_with(|| ClosingSeries::new(&self.ladder)).clone()
    }

    /// Returns the exemplar of each bucket of a series, `+Inf` last. Empty if there is no such series.
    #[must_use]
    pub fn exemplars(&self, labels: &[&str]) -> Vec<Option<Exemplar>> {
        let all = lock(&self.series);
        all.get(&owned(labels)).map(|series| lock(&series.numbers).exemplars.clone()).unwrap_or_default()
    }
}

impl ClosingSeries {
    fn new(ladder: &Ladder) -> Self {
        let buckets = ladder.0.len() + 1;
        let numbers =
            Numbers { buckets: vec![0; buckets], exemplars: vec![None; buckets], count: 0, sum: 0.0 };
        Self { ladder: ladder.clone(), numbers: Arc::new(Mutex::new(numbers)) }
    }

    /// Counts a trace. `latency` is how long it took, or how long it was waited for; it is ignored for
    /// [`Count::Overdue`].
    pub fn count(&self, what: Count, latency: Duration, trace: TraceId, at: Timestamp) {
        let value = latency.as_secs_f64();
        let bounds = &self.ladder.0;
        let mut numbers = lock(&self.numbers);
        let exemplar = Some(Exemplar { trace, value, at });
        match what {
            Count::Arrived | Count::ArrivedOverdue => {
                let bucket = bounds.partition_point(|bound| *bound < value);
                numbers.buckets[bucket] += 1;
                numbers.exemplars[bucket] = exemplar;
                numbers.sum += value;
                numbers.count += u64::from(what == Count::Arrived);
            }
            Count::Overdue => numbers.count += 1,
            Count::GivenUp | Count::GivenUpOverdue => {
                numbers.exemplars[bounds.len()] = exemplar;
                numbers.sum += value;
                numbers.count += u64::from(what == Count::GivenUp);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers are added one by one, so a panic elsewhere cannot leave them inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned(labels: &[impl AsRef<str>]) -> Vec<String> {
    labels.iter().map(|label| label.as_ref().to_owned()).collect()
}

impl Collector for ClosingHistogram {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let all = lock(&self.series);
        let metrics = all.iter().map(|(values, series)| {
            let numbers = lock(&series.numbers);
            let pairs = self.labels.iter().zip(values).map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.clone());
                pair
            });
            let mut below = 0;
            let buckets = self.ladder.0.iter().zip(&numbers.buckets).map(|(bound, count)| {
                below += count;
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(below);
                bucket
            });
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(numbers.count);
            histogram.set_sample_sum(numbers.sum);
            let mut metric = proto::Metric::default();
            metric.set_label(pairs.collect());
            metric.set_histogram(histogram);
            metric
        });
        let mut family = proto::MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram() -> ClosingHistogram {
        let ladder = Ladder::new(&[1, 10, 30, 60, 300].map(Duration::from_secs));
        ClosingHistogram::new("latency_seconds", "help", &["tenant"], ladder).unwrap()
    }

    /// Cumulative buckets and the count.
    fn read(histogram: &ClosingHistogram) -> (Vec<u64>, u64) {
        let families = histogram.collect();
        let histogram = families[0].get_metric()[0].get_histogram();
        let buckets = histogram.get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        (buckets, histogram.get_sample_count())
    }

    fn count(histogram: &ClosingHistogram, what: Count, secs: u64) {
        let series = histogram.with_labels(&["acme"]);
        series.count(what, Duration::from_secs(secs), TraceId::from_u128(1), Timestamp::MIN);
    }

    #[test]
    fn a_total_stall_raises_the_count_and_no_bucket() {
        let h = histogram();
        count(&h, Count::Overdue, 0);
        count(&h, Count::Overdue, 0);
        assert_eq!(read(&h), (vec![0, 0, 0, 0, 0], 2));
    }

    #[test]
    fn a_latency_of_exactly_the_threshold_meets_it() {
        let h = histogram();
        count(&h, Count::Arrived, 30);
        assert_eq!(read(&h), (vec![0, 0, 1, 1, 1], 1));
    }

    #[test]
    fn an_overdue_trace_is_counted_once_when_it_arrives() {
        let h = histogram();
        count(&h, Count::Overdue, 0);
        count(&h, Count::ArrivedOverdue, 45);
        assert_eq!(read(&h), (vec![0, 0, 0, 1, 1], 1));
    }

    proptest! {
        #[test]
        fn the_count_is_never_below_a_bucket_and_both_only_grow(
            steps in prop::collection::vec((0_u8..3, 0_u64..400), 1..200)
        ) {
            let h = histogram();
            h.with_labels(&["acme"]);
            let mut overdue = 0;
            let mut before = read(&h);
            for (step, secs) in steps {
                // Like the tracker: an overdue trace arrives after the threshold.
                match step {
                    0 => count(&h, Count::Arrived, secs),
                    1 => { overdue += 1; count(&h, Count::Overdue, 0) }
                    _ if overdue > 0 => { overdue -= 1; count(&h, Count::ArrivedOverdue, secs.max(31)) }
                    _ => count(&h, Count::GivenUp, secs),
                }
                let after = read(&h);
                prop_assert!(after.0.iter().all(|bucket| *bucket <= after.1));
                prop_assert!(after.0.windows(2).all(|pair| pair[0] <= pair[1]));
                prop_assert!(before.1 <= after.1 && before.0.iter().zip(&after.0).all(|(b, a)| b <= a));
                before = after;
            }
        }
    }
}
