//! Latency histograms that keep counting in a total stall.
//!
//! A histogram that counts only arrivals stops in a total stall: nothing arrives, `rate()` is 0,
//! `histogram_quantile` is NaN, and the alert on it does not fire. A *closing* histogram counts a trace
//! early: as soon as the trace is proven to have missed the threshold, the buckets up to the threshold are
//! closed to it. It then enters `_count` and `+Inf` at once, and a finite bucket above the threshold only
//! when it arrives. So every series is still a counter, and `le="<threshold>"` divided by `_count` is always
//! the ratio of judged traces that met the threshold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// The upper bounds of a histogram's buckets in seconds, in ascending order, without `+Inf`.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketBounds(Arc<[f64]>);

/// The usual targets in seconds, which queries of others may compare any hop with.
const USUAL: [f64; 5] = [1.0, 5.0, 10.0, 30.0, 60.0];
/// How many times the bound before a bound of a hop must be, unless it is a threshold or the last one. Every tenant
/// has a series for each bound of each hop, most of what a scrape takes.
const STEP: f64 = 1.8;

impl BucketBounds {
    /// Makes the bounds from durations, which must be in ascending order.
    #[must_use]
    pub fn new(bounds: &[Duration]) -> Self {
        Self(bounds.iter().map(Duration::as_secs_f64).collect())
    }

    /// The bounds in seconds.
    #[must_use]
    pub fn seconds(&self) -> &[f64] {
        &self.0
    }

    /// Fewer bounds: the thresholds, 1, 5, 10, 30 and 60 s, the first and the last one, and of the others those that are
    /// at least 1.8 times the one before.
    #[must_use]
    pub fn sparse(&self, thresholds: &[Duration]) -> Self {
        let is_threshold =
            |bound: f64| USUAL.contains(&bound) || thresholds.iter().any(|it| it.as_secs_f64() == bound);
        let mut kept: Vec<f64> = Vec::new();
        for (at, bound) in self.0.iter().copied().enumerate() {
            let is_far = kept.last().is_none_or(|last| bound >= last * STEP);
            if is_far || is_threshold(bound) || at + 1 == self.0.len() {
                kept.push(bound);
            }
        }
        Self(kept.into())
    }
}

/// The last trace that was counted in a bucket. With it, a point on a graph can link to the page of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    pub trace: TraceId,
    /// Its latency in seconds, or how long the probe waited for it.
    pub seconds: f64,
    /// When the trace was counted.
    pub at: Timestamp,
}

/// What happened to a trace, and whether the histogram has counted it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// It arrived, and was not counted as overdue before.
    Arrived,
    /// It arrived after it was counted as overdue.
    ArrivedOverdue,
    /// It is proven to have missed the threshold and has not arrived yet.
    Overdue,
    /// The probe gave it up, and it was not counted as overdue before.
    GivenUp,
    /// The probe gave it up after it was counted as overdue.
    GivenUpOverdue,
}

/// A family of histograms with the same name, each with its own label values, that count an overdue trace
/// before it arrives.
#[derive(Clone, Debug)]
pub struct ClosingHistogram {
    name: &'static str,
    desc: Desc,
    label_names: &'static [&'static str],
    bucket_bounds: BucketBounds,
    /// By label values, in the order of `label_names`. The engine writes to one series and a scrape reads all
    /// of them, so there is a lock; both hold it for microseconds.
    series: Arc<Mutex<BTreeMap<Vec<String>, ClosingSeries>>>,
}

/// One histogram of a family. Clones share their data.
#[derive(Clone, Debug)]
pub struct ClosingSeries {
    bucket_bounds: BucketBounds,
    /// Those that it was made for, if it was made for any.
    thresholds: Arc<[Duration]>,
    /// The engine writes it and a scrape reads it; both hold the lock for microseconds.
    data: Arc<Mutex<SeriesData>>,
}

#[derive(Clone, Debug)]
struct SeriesData {
    /// How many traces arrived between the previous bound and this one. One entry for each bound, and a last
    /// one for arrivals beyond all bounds. Scrapes get the cumulative numbers.
    buckets: Vec<u64>,
    /// The last trace of each bucket. Traces that were given up are in the last one.
    exemplars: Vec<Option<Exemplar>>,
    /// `_count`: all traces, including those that have not arrived.
    count: u64,
    /// `_sum`: the seconds that all traces took, or were waited for. An overdue trace adds to it only at its
    /// end.
    sum: f64,
}

impl ClosingHistogram {
    /// Makes a family without series.
    ///
    /// # Errors
    ///
    /// If Prometheus does not allow the name or a label name.
    pub fn new(
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
        bucket_bounds: BucketBounds,
    ) -> prometheus::Result<Self> {
        let no_constants = std::collections::HashMap::new();
        let desc = Desc::new(name.to_owned(), help.to_owned(), to_owned_labels(label_names), no_constants)?;
        Ok(Self { name, desc, label_names, bucket_bounds, series: Arc::default() })
    }

    /// The name of the family, without the suffixes of its series.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the series with these label values, and creates it with all numbers 0 if it is new.
    pub fn with_labels(&self, values: &[impl AsRef<str>]) -> ClosingSeries {
        lock(&self.series)
            .entry(to_owned_labels(values))
            .or_insert_with(|| ClosingSeries::new(&self.bucket_bounds))
            .clone()
    }

    /// Makes the series with these label values one with the [sparse](BucketBounds::sparse) bounds of these
    /// thresholds. It starts again from 0 if they change, because what would be in the new bounds is not known, and what
    /// was past the old ones is judged again.
    pub fn set_thresholds(&self, values: &[impl AsRef<str>], thresholds: &[Duration]) {
        let bounds = self.bucket_bounds.sparse(thresholds);
        let mut all = lock(&self.series);
        let make = || ClosingSeries { thresholds: thresholds.into(), ..ClosingSeries::new(&bounds) };
        let series = all.entry(to_owned_labels(values)).or_insert_with(make);
        if series.bucket_bounds != bounds || *series.thresholds != *thresholds {
            *series = make();
        }
    }

    /// Removes the series with these label values, if there is one.
    pub fn remove(&self, values: &[String]) {
        lock(&self.series).remove(values);
    }

    /// Returns the exemplar of each bucket of the series with these label values, `+Inf` last. Empty if there
    /// is no such series.
    #[must_use]
    pub fn exemplars(&self, values: &[&str]) -> Vec<Option<Exemplar>> {
        let all = lock(&self.series);
        let series = all.get(&to_owned_labels(values));
        series.map(|series| lock(&series.data).exemplars.clone()).unwrap_or_default()
    }
}

impl ClosingSeries {
    fn new(bucket_bounds: &BucketBounds) -> Self {
        let buckets = bucket_bounds.0.len() + 1;
        let data =
            SeriesData { buckets: vec![0; buckets], exemplars: vec![None; buckets], count: 0, sum: 0.0 };
        let thresholds = Arc::default();
        Self { bucket_bounds: bucket_bounds.clone(), thresholds, data: Arc::new(Mutex::new(data)) }
    }

    /// Counts an event of a trace at time `at`. `latency` is how long the trace took, or how long the probe
    /// waited for it; it is ignored for [`TraceEvent::Overdue`].
    pub fn count(&self, event: TraceEvent, latency: Duration, trace: TraceId, at: Timestamp) {
        let seconds = latency.as_secs_f64();
        let bounds = &self.bucket_bounds.0;
        let mut data = lock(&self.data);
        let exemplar = Some(Exemplar { trace, seconds, at });
        match event {
            TraceEvent::Arrived | TraceEvent::ArrivedOverdue => {
                let bucket = bounds.partition_point(|bound| *bound < seconds);
                data.buckets[bucket] += 1;
                data.exemplars[bucket] = exemplar;
                data.sum += seconds;
                data.count += u64::from(event == TraceEvent::Arrived);
            }
            TraceEvent::Overdue => data.count += 1,
            TraceEvent::GivenUp | TraceEvent::GivenUpOverdue => {
                data.exemplars[bounds.len()] = exemplar;
                data.sum += seconds;
                data.count += u64::from(event == TraceEvent::GivenUp);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds a lock here can panic between two of its writes, so poisoned data is still
    // consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_owned_labels(labels: &[impl AsRef<str>]) -> Vec<String> {
    labels.iter().map(|label| label.as_ref().to_owned()).collect()
}

impl Collector for ClosingHistogram {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let all = lock(&self.series);
        let metrics = all.iter().map(|(values, series)| {
            let data = lock(&series.data);
            let pairs = self.label_names.iter().zip(values).map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.clone());
                pair
            });
            let mut cumulative = 0;
            let buckets = series.bucket_bounds.0.iter().zip(&data.buckets).map(|(bound, count)| {
                cumulative += count;
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(cumulative);
                bucket
            });
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(data.count);
            histogram.set_sample_sum(data.sum);
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
        let bucket_bounds = BucketBounds::new(&[1, 10, 30, 60, 300].map(Duration::from_secs));
        ClosingHistogram::new("latency_seconds", "help", &["tenant"], bucket_bounds).unwrap()
    }

    /// Returns the cumulative buckets, without `+Inf`, and the count.
    fn read(histogram: &ClosingHistogram) -> (Vec<u64>, u64) {
        let families = histogram.collect();
        let histogram = families[0].get_metric()[0].get_histogram();
        let buckets = histogram.get_bucket().iter().map(proto::Bucket::cumulative_count).collect();
        (buckets, histogram.get_sample_count())
    }

    fn count(histogram: &ClosingHistogram, event: TraceEvent, secs: u64) {
        let series = histogram.with_labels(&["acme"]);
        series.count(event, Duration::from_secs(secs), TraceId::from_u128(1), Timestamp::MIN);
    }

    #[test]
    fn overdue_traces_raise_the_count_and_no_finite_bucket() {
        let h = histogram();
        count(&h, TraceEvent::Overdue, 0);
        count(&h, TraceEvent::Overdue, 0);
        assert_eq!(read(&h), (vec![0, 0, 0, 0, 0], 2));
    }

    #[test]
    fn a_latency_equal_to_a_bound_is_counted_in_its_bucket() {
        let h = histogram();
        count(&h, TraceEvent::Arrived, 30);
        assert_eq!(read(&h), (vec![0, 0, 1, 1, 1], 1));
    }

    #[test]
    fn an_overdue_trace_that_arrives_is_not_counted_again() {
        let h = histogram();
        count(&h, TraceEvent::Overdue, 0);
        count(&h, TraceEvent::ArrivedOverdue, 45);
        assert_eq!(read(&h), (vec![0, 0, 0, 1, 1], 1));
    }

    proptest! {
        #[test]
        fn no_bucket_exceeds_the_count_and_no_number_decreases(
            steps in prop::collection::vec((0_u8..3, 0_u64..400), 1..200)
        ) {
            let h = histogram();
            h.with_labels(&["acme"]);
            let mut overdue = 0;
            let mut before = read(&h);
            for (step, secs) in steps {
                // Like the tracker: an overdue trace arrives after the threshold.
                match step {
                    0 => count(&h, TraceEvent::Arrived, secs),
                    1 => { overdue += 1; count(&h, TraceEvent::Overdue, 0) }
                    _ if overdue > 0 => { overdue -= 1; count(&h, TraceEvent::ArrivedOverdue, secs.max(31)) }
                    _ => count(&h, TraceEvent::GivenUp, secs),
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
