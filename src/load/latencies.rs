//! Latencies of canaries, among them those that never arrived, and those of which nothing is known.

use std::time::Duration;

use super::threshold::Span;
use crate::domain::aggregates::sketch::Sketch;

/// A sample of latencies. Each is known to lie in an interval; its later end is what the daemon's histograms take.
/// Values are within 0.4 % and one millisecond of these ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// The later ends.
    pub arrived: Sketch,
    /// The earlier ends.
    pub least: Sketch,
    /// Canaries that provably never arrived: longer than all others.
    pub missing: u64,
}

impl Latencies {
    /// Adds one that took at least and at most so long.
    pub fn add(&mut self, least: Duration, most: Duration) {
        self.least.add(least.min(most));
        self.arrived.add(most);
    }

    pub fn merge(&mut self, other: &Self) {
        self.arrived.merge(&other.arrived);
        self.least.merge(&other.least);
        self.missing += other.missing;
    }

    /// How many are known.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.arrived.len() as u64 + self.missing
    }

    /// Between what seconds a percentile lies, by the nearest-rank definition, while the latencies of
    /// `unknown` more canaries are not known: they may be the shortest or the longest of all. Infinite where
    /// it falls on one that never arrived. `None` of no canary.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run has far fewer than 2^52 events, and the product is not negative"
    )]
    pub fn percentile(&self, percent: f64, unknown: u64) -> Option<Span> {
        let all = self.known() + unknown;
        if all == 0 {
            return None;
        }
        let index = ((percent * all as f64 / 100.0).ceil() as u64).clamp(1, all) - 1;
        let low = if index < unknown { 0.0 } else { self.nth(index - unknown) };
        Some(Span { low, high: self.nth(index) })
    }

    /// Between what seconds a percentile lies, whatever is not known: of the canaries that arrived, the true latency
    /// within its interval. A percentile of the true latencies is neither below that of the earlier ends nor above
    /// that of the later ones.
    #[must_use]
    pub fn between(&self, percent: f64, unknown: u64) -> Option<Span> {
        let least = Self { arrived: self.least.clone(), missing: self.missing, ..Self::default() };
        let (least, most) = (least.percentile(percent, unknown)?, self.percentile(percent, unknown)?);
        Some(Span { low: least.low, high: most.high })
    }

    /// A percentile of what is known, in seconds; infinite if it falls on one that never arrived.
    #[must_use]
    pub fn at(&self, percent: f64) -> Option<f64> {
        self.percentile(percent, 0).map(|span| span.high)
    }

    /// Between what seconds the longest lies.
    #[must_use]
    pub fn longest(&self, unknown: u64) -> Option<Span> {
        self.percentile(100.0, unknown).map(|span| {
            let longest = self.least.longest().map_or(0.0, seconds);
            let low = if self.missing > 0 { f64::INFINITY } else { longest };
            Span { low, high: if unknown > 0 { f64::INFINITY } else { span.high } }
        })
    }

    fn nth(&self, index: u64) -> f64 {
        usize::try_from(index).ok().and_then(|index| self.arrived.nth(index)).map_or(f64::INFINITY, seconds)
    }
}

fn seconds(bin: crate::domain::aggregates::sketch::Bin) -> f64 {
    f64::from(bin.middle()) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: impl IntoIterator<Item = u64>, missing: u64) -> Latencies {
        let mut sample = Latencies { missing, ..Latencies::default() };
        for millis in millis {
            let latency = Duration::from_millis(millis);
            sample.add(latency, latency);
        }
        sample
    }

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
        let sample = sample(1..=100, 0);
        assert_eq!(
            [50.0, 95.0, 99.0, 100.0].map(|percent| sample.at(percent)),
            [0.05, 0.095, 0.099, 0.1].map(Some)
        );
    }

    #[test]
    fn what_never_arrived_is_longer_than_all_others() {
        assert_eq!(sample(1..=95, 5).at(95.0), Some(0.095));
        assert_eq!(sample(1..=94, 6).at(95.0), Some(f64::INFINITY));
    }

    #[test]
    fn what_is_not_known_widens_a_percentile_to_both_sides() {
        let span = sample(1..=90, 0).percentile(50.0, 10).unwrap();
        assert_eq!(span, Span { low: 0.04, high: 0.05 });
        let span = sample(1..=90, 0).percentile(95.0, 10).unwrap();
        assert_eq!(span, Span { low: 0.085, high: f64::INFINITY });
        let span = sample([], 0).percentile(95.0, 10).unwrap();
        assert_eq!(span, Span { low: 0.0, high: f64::INFINITY });
    }

    #[test]
    fn a_percentile_lies_between_those_of_the_ends_of_the_intervals() {
        let mut sample = Latencies::default();
        for millis in 1..=100 {
            sample.add(Duration::from_millis(millis), Duration::from_millis(millis + 2_000));
        }
        let Span { low, high } = sample.between(95.0, 0).unwrap();
        assert!((low - 0.095).abs() < 0.001 && (high - 2.095).abs() < 0.01, "{low} to {high}");
        assert_eq!(sample.between(95.0, 10).unwrap().high, f64::INFINITY);
        let Span { low, high } = sample.longest(0).unwrap();
        assert!((low - 0.1).abs() < 0.001 && (high - 2.1).abs() < 0.01, "{low} to {high}");
    }

    #[test]
    fn the_longest_is_not_known_while_one_is_in_flight() {
        assert_eq!(sample([5, 9], 0).longest(0), Some(Span::exactly(0.009)));
        assert_eq!(sample([5, 9], 0).longest(1), Some(Span { low: 0.009, high: f64::INFINITY }));
        assert_eq!(sample([5, 9], 1).longest(0), Some(Span::exactly(f64::INFINITY)));
        assert_eq!(sample([], 0).longest(0), None);
    }
}
