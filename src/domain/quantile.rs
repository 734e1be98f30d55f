//! Quantiles of latencies some of which are only known to be longer than something.
//!
//! A trace that has not arrived yet is as much a part of the distribution as one that has: leaving it out is what
//! makes a stalled pipeline look fast. It enters as "longer than its age", sorted to the end.

use std::time::Duration;

/// A quantile, by the nearest-rank definition: the smallest value that at least that share of the sample does not
/// exceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantile {
    /// It is this.
    Exactly(Duration),
    /// It lies among the traces that have not arrived; it is more than this.
    MoreThan(Duration),
}

/// Latencies of a number of traces.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    arrived: Vec<Duration>,
    /// Not arrived; they took at least so long.
    missing: Vec<Duration>,
}

impl Sample {
    /// A trace that took so long.
    pub fn arrived(&mut self, latency: Duration) {
        self.arrived.push(latency);
    }

    /// A trace that has not arrived and is of this age, or was given up at it.
    pub fn missing(&mut self, age: Duration) {
        self.missing.push(age);
    }

    /// How many traces it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrived.len() + self.missing.len()
    }

    /// Whether it holds none.
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
                // What is missing took longer than its age; and by convention longer than all that arrived.
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
    fn with_a_fifth_missing_the_95th_percentile_is_not_that_of_the_survivors() {
        let mut sample = Sample::default();
        (0..80).for_each(|_| sample.arrived(s(1)));
        (0..20).for_each(|_| sample.missing(s(40)));
        assert_eq!(
            sample.quantiles([0.5, 0.8, 0.95]),
            Some([Quantile::Exactly(s(1)), Quantile::Exactly(s(1)), Quantile::MoreThan(s(40))])
        );
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Sample::default().quantiles([0.5]), None);
    }
}
