//! Quantiles of right-censored latencies: of some traces it is only known that they took longer than a value.
//!
//! A trace that has not arrived yet is part of the distribution. Leaving it out would make a stalled pipeline
//! look fast. It is censored at its age and, by convention, sorted after all that arrived.

use std::time::Duration;

/// A quantile, by the nearest-rank definition: the smallest value that at least this fraction of the sample
/// does not exceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantile {
    /// The latency of a trace that arrived.
    Exactly(Duration),
    /// The rank falls on a trace that has not arrived; the quantile is greater than this.
    MoreThan(Duration),
}

/// A right-censored sample of latencies.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    arrived: Vec<Duration>,
    /// Ages of traces that have not arrived: lower bounds of their latencies.
    missing: Vec<Duration>,
}

impl Sample {
    /// Adds a trace that arrived.
    pub fn arrived(&mut self, latency: Duration) {
        self.arrived.push(latency);
    }

    /// Adds a trace that has not arrived at this age, or was given up at it.
    pub fn missing(&mut self, age: Duration) {
        self.missing.push(age);
    }

    /// The number of traces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrived.len() + self.missing.len()
    }

    /// Whether there are no traces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The quantiles at levels between 0 and 1; `None` for an empty sample.
    pub fn quantiles<const N: usize>(&mut self, levels: [f64; N]) -> Option<[Quantile; N]> {
        if self.is_empty() {
            return None;
        }
        self.arrived.sort_unstable();
        self.missing.sort_unstable();
        let longest = self.arrived.last().copied().unwrap_or_default();
        Some(levels.map(|level| {
            let rank = rank(level, self.len());
            match self.arrived.get(rank) {
                Some(latency) => Quantile::Exactly(*latency),
                // By convention, what is missing took longer than all that arrived.
                None => Quantile::MoreThan(self.missing[rank - self.arrived.len()].max(longest)),
            }
        }))
    }
}

/// The index of the nearest rank, counted from 0.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sample has far fewer than 2^52 members, and the product is not negative"
)]
fn rank(level: f64, len: usize) -> usize {
    ((level * len as f64).ceil() as usize).clamp(1, len) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn with_a_fifth_missing_the_95th_percentile_is_not_that_of_the_arrivals() {
        let mut sample = Sample::default();
        (0..80).for_each(|_| sample.arrived(s(1)));
        (0..20).for_each(|_| sample.missing(s(40)));
        assert_eq!(
            sample.quantiles([0.5, 0.8, 0.95]),
            Some([Quantile::Exactly(s(1)), Quantile::Exactly(s(1)), Quantile::MoreThan(s(40))])
        );
    }

    #[test]
    fn an_empty_sample_has_no_quantile() {
        assert_eq!(Sample::default().quantiles([0.5]), None);
    }
}
