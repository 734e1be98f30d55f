//! The distribution of durations in little memory: counts by bins of nearly equal relative width.
//!
//! A bin holds one millisecond below 256 ms, and at most 0.8 % of its value above. So a percentile is within
//! 0.4 % and one millisecond of the true one. Sketches can be added, unlike percentiles, so a bucket that
//! was begun by a previous run can go on.

use std::time::Duration;

/// Durations below this many milliseconds are exact.
const EXACT: u32 = 256;
/// Bins for each doubling from there on.
const BINS: u32 = EXACT / 2;
/// The number of bins of all durations that fit into 32 bits of milliseconds, 49 days.
pub const MAX_BINS: u16 = 3_328;

/// Counts of durations by bin, in ascending order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sketch {
    bins: Vec<(u16, u32)>,
}

impl Sketch {
    /// Adds a duration; one that is longer than 49 days counts as that.
    pub fn add(&mut self, duration: Duration) {
        self.add_times(duration, 1);
    }

    /// Adds a duration so many times.
    pub fn add_times(&mut self, duration: Duration, count: u32) {
        if count > 0 {
            self.add_to(bin_of(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)), count);
        }
    }

    /// Adds what another sketch holds.
    pub fn merge(&mut self, other: &Self) {
        other.bins.iter().for_each(|(bin, count)| self.add_to(*bin, *count));
    }

    fn add_to(&mut self, bin: u16, count: u32) {
        match self.bins.binary_search_by_key(&bin, |(at, _)| *at) {
            Ok(at) => self.bins[at].1 = self.bins[at].1.saturating_add(count),
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// How many durations it holds.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nothing needs to know")]
    pub fn len(&self) -> usize {
        self.bins.iter().map(|(_, count)| *count as usize).sum()
    }

    /// The bin that holds the duration at this index of the sorted ones; `None` beyond their end.
    #[must_use]
    pub fn nth(&self, index: usize) -> Option<Bin> {
        let mut before = 0;
        let found = self.bins.iter().find(|(_, count)| {
            before += *count as usize;
            before > index
        });
        found.map(|(bin, _)| Bin(*bin))
    }

    /// The bin of the longest duration.
    #[must_use]
    pub fn longest(&self) -> Option<Bin> {
        self.bins.last().map(|(bin, _)| Bin(*bin))
    }

    /// The bins and their counts, in ascending order.
    #[must_use]
    pub fn bins(&self) -> &[(u16, u32)] {
        &self.bins
    }

    /// The sketch with these bins, if they are in ascending order and exist.
    #[must_use]
    pub fn of_bins(bins: Vec<(u16, u32)>) -> Option<Self> {
        let ascending = bins.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let valid = bins.iter().all(|(bin, count)| *bin < MAX_BINS && *count > 0);
        (ascending && valid).then_some(Self { bins })
    }
}

/// One bin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bin(u16);

impl Bin {
    /// The shortest duration of the bin, in milliseconds.
    #[must_use]
    pub fn lower(self) -> u32 {
        let (mantissa, shift) = self.parts();
        mantissa << shift
    }

    /// Its middle, in milliseconds.
    #[must_use]
    pub fn middle(self) -> u32 {
        let (mantissa, shift) = self.parts();
        (mantissa << shift) + ((1 << shift) >> 1)
    }

    fn parts(self) -> (u32, u32) {
        let bin = u32::from(self.0);
        let shift = (bin / BINS).saturating_sub(1);
        (bin - shift * BINS, shift)
    }
}

fn bin_of(millis: u32) -> u16 {
    let shift = (u32::BITS - millis.leading_zeros()).saturating_sub(EXACT.trailing_zeros());
    u16::try_from(shift * BINS + (millis >> shift)).unwrap_or(MAX_BINS - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_duration_has_the_last_bin() {
        assert_eq!(bin_of(u32::MAX), MAX_BINS - 1);
    }

    #[test]
    fn bins_follow_each_other_without_a_gap() {
        for bin in 1..MAX_BINS {
            assert_eq!(bin_of(Bin(bin).lower()), bin);
            assert_eq!(bin_of(Bin(bin).lower() - 1), bin - 1);
        }
    }

    proptest! {
        #[test]
        fn the_middle_of_a_bin_is_within_half_a_percent(millis: u32) {
            let bin = Bin(bin_of(millis));
            prop_assert!(bin.lower() <= millis);
            let error = f64::from(bin.middle().abs_diff(millis)) / f64::from(millis.max(1));
            prop_assert!(error <= 1.0 / 256.0, "{error}");
        }
    }
}
