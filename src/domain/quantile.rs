//! Quantiles of right-censored latencies: of some traces it is only known that they took longer than a value.
//!
//! A trace that has not arrived yet is part of the distribution. Leaving it out would make a stalled pipeline
//! look fast. It is censored at its age and, by convention, sorted after all that arrived.

use std::fmt;
use std::time::Duration;

/// The fraction of a sample that a quantile is taken at, in percent. Prints as `P95`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level(u8);

impl Level {
    pub const P50: Self = Self(50);
    pub const P95: Self = Self(95);
    pub const P99: Self = Self(99);
    /// The level that is judged: end to end against the threshold, and at each hop against its target.
    pub const JUDGED: Self = Self::P95;
    /// The levels that pages and JSON show.
    pub const SHOWN: [Self; 3] = [Self::P50, Self::P95, Self::P99];

    /// As a fraction of 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// The index of the quantile in a sorted sample of this length, by the nearest-rank definition; 0 for an
    /// empty sample.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sample has far fewer than 2^52 members, and the product is not negative"
    )]
    pub fn index_in(self, len: usize) -> usize {
        ((self.fraction() * len as f64).ceil() as usize).clamp(1, len.max(1)) - 1
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

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

    /// The quantile at one level; `None` for an empty sample.
    pub fn quantile(&mut self, level: Level) -> Option<Quantile> {
        self.quantiles([level]).map(|[quantile]| quantile)
    }

    /// The quantiles at several levels; `None` for an empty sample.
    pub fn quantiles<const N: usize>(&mut self, levels: [Level; N]) -> Option<[Quantile; N]> {
        if self.is_empty() {
            return None;
        }
        self.arrived.sort_unstable();
        self.missing.sort_unstable();
        let longest = self.arrived.last().copied().unwrap_or_default();
        Some(levels.map(|level| {
            let at = level.index_in(self.len());
            match self.arrived.get(at) {
                Some(latency) => Quantile::Exactly(*latency),
                // By convention, what is missing took longer than all that arrived.
                None => Quantile::MoreThan(self.missing[at - self.arrived.len()].max(longest)),
            }
        }))
    }
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
            sample.quantiles([Level::P50, Level(80), Level::P95]),
            Some([Quantile::Exactly(s(1)), Quantile::Exactly(s(1)), Quantile::MoreThan(s(40))])
        );
    }

    #[test]
    fn an_empty_sample_has_no_quantile() {
        assert_eq!(Sample::default().quantile(Level::P50), None);
    }
}
