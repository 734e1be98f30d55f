//! Draws a run again at random, in blocks of consecutive slices of time.
//!
//! Canaries of one batch arrive together, and a pipeline that is slow now is slow a slice later, so single slices are not
//! independent of each other, and an interval from draws of single slices would be too narrow. Blocks that are longer than
//! what lasts nearly are (H. R. Künsch, The jackknife and the bootstrap for general stationary observations, Annals of
//! Statistics 17, 1989, 1217-1241). Blocks go on at the beginning of the run where they reach its end, so that every
//! slice is drawn equally often (D. N. Politis and J. P. Romano, A circular block-resampling procedure for stationary
//! data, in: Exploring the limits of bootstrap, 1992, 263-270).

use std::iter::once;

use crate::domain::aggregates::sketch::Sketch;
use crate::load::latencies::Latencies;

/// Shortest block. Batches, scaling and polls last seconds, and seldom a minute.
const LEAST_SECONDS: f64 = 60.0;
/// Fewer blocks say too little of how much they vary.
pub(super) const LEAST_BLOCKS: usize = 8;

/// How many slices a block has: those of a minute, or the cube root of their number if that is more, as the variance
/// needs it (P. Hall, J. L. Horowitz and B.-Y. Jing, On blocking rules for the bootstrap with dependent data, Biometrika
/// 82, 1995, 561-574).
#[must_use]
pub(super) fn length(slices: usize, slice_seconds: f64) -> usize {
    let of_minute = (LEAST_SECONDS / slice_seconds.max(0.0)).ceil() as usize;
    of_minute.max((slices as f64).cbrt().ceil() as usize).max(1)
}

/// How many blocks of this length so many slices are.
#[must_use]
pub(super) const fn count(slices: usize, length: usize) -> usize {
    // To the nearest: a slice in which nothing was known must not cost a run its last block.
    slices.saturating_add(length / 2) / length
}

/// A run as blocks of slices.
pub(super) struct Blocks {
    /// The latencies in seconds that occur, the longest first; infinite for those that never arrived.
    values: Vec<f64>,
    /// How often each value occurs, by the slice with which a block begins.
    counts: Vec<Vec<u64>>,
    /// How many canaries each of these blocks has.
    totals: Vec<u64>,
    /// How many blocks are a run.
    drawn: usize,
}

impl Blocks {
    /// Makes blocks of so many slices of each other. There must be a slice.
    pub(super) fn new(slices: &[Latencies], length: usize) -> Self {
        let mut all = Latencies::default();
        slices.iter().for_each(|slice| all.merge(slice));
        let bins: Vec<u16> = all.arrived.bins().iter().rev().map(|(bin, _)| *bin).collect();
        let of_block = |start: usize| {
            let mut counts = vec![0; bins.len() + 1];
            for at in start..start + length {
                let slice = &slices[at % slices.len()];
                counts[0] += slice.missing;
                for (bin, count) in slice.arrived.bins() {
                    // In descending order.
                    if let Ok(at) = bins.binary_search_by(|it| bin.cmp(it)) {
                        counts[at + 1] += u64::from(*count);
                    }
                }
            }
            counts
        };
        let counts: Vec<Vec<u64>> = (0..slices.len()).map(of_block).collect();
        Self {
            values: once(f64::INFINITY).chain(bins.iter().map(|bin| seconds(*bin))).collect(),
            totals: counts.iter().map(|block| block.iter().sum()).collect(),
            counts,
            drawn: count(slices.len(), length).max(1),
        }
    }

    /// The P95 of a run that is drawn again.
    pub(super) fn p95(&self, random: &mut fastrand::Rng) -> f64 {
        let starts: Vec<usize> = (0..self.drawn).map(|_| random.usize(0..self.counts.len())).collect();
        let all: u64 = starts.iter().map(|start| self.totals[*start]).sum();
        // The nearest rank. So many are longer.
        let above = all - (all * 95).div_ceil(100);
        let mut reached = 0;
        for (at, value) in self.values.iter().enumerate() {
            for start in &starts {
                reached += self.counts[*start][at];
            }
            if reached > above {
                return *value;
            }
        }
        0.0
    }
}

/// The middle of a bin.
fn seconds(bin: u16) -> f64 {
    let sketch = Sketch::of_bins(vec![(bin, 1)]);
    sketch.and_then(|of| of.longest()).map_or(0.0, |bin| f64::from(bin.middle()) / 1e3)
}

/// Between what the ratio of the two P95 lies, with an error of `level`: the percentiles of the draws (Efron and
/// Tibshirani, An introduction to the bootstrap, 1993, chapter 13). Where the P95 of both never arrived, the ratio may be
/// anything.
pub(super) fn interval(before: &Blocks, after: &Blocks, draws: usize, level: f64) -> (f64, f64) {
    // The same every time, so that a comparison can be repeated.
    let mut random = fastrand::Rng::with_seed(1);
    let (mut lows, mut highs): (Vec<f64>, Vec<f64>) = (0..draws)
        .map(|_| match (before.p95(&mut random), after.p95(&mut random)) {
            (old, new) if old.is_infinite() && new.is_infinite() => (0.0, f64::INFINITY),
            (old, _) if old.is_infinite() => (0.0, 0.0),
            (old, new) => (new / old.max(0.001), new / old.max(0.001)),
        })
        .unzip();
    let at = |ratios: &mut Vec<f64>, part: f64| {
        ratios.sort_unstable_by(f64::total_cmp);
        let index = (part * draws as f64) as usize;
        ratios.get(index.min(draws.saturating_sub(1))).copied().unwrap_or(1.0)
    };
    (at(&mut lows, level / 2.0), at(&mut highs, 1.0 - level / 2.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::compare::{Change, change};

    /// A run of so many slices of ten seconds. The level of each minute has a standard deviation of 15 % around `median`,
    /// in milliseconds, and each canary is within 10 % of it.
    fn run(seed: u64, median: f64, slices: usize) -> Vec<Latencies> {
        let mut random = fastrand::Rng::with_seed(seed);
        let offset = random.usize(0..6);
        let mut level = 0.0;
        (0..slices)
            .map(|at| {
                if at == 0 || (at + offset).is_multiple_of(6) {
                    // Nearly normal: twelve uniform numbers have a variance of 1.
                    let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
                    level = median * (1.0 + 0.15 * normal).max(0.2);
                }
                let mut sample = Latencies::default();
                (0..20).for_each(|_| {
                    let latency = Duration::from_secs_f64(level * (0.9 + 0.2 * random.f64()) / 1e3);
                    sample.add(latency, latency);
                });
                sample
            })
            .collect()
    }

    fn compared(before: &[Latencies], after: &[Latencies]) -> ((f64, f64), Change) {
        let [before, after] = [before, after].map(|of| Blocks::new(of, length(of.len(), 10.0)));
        let ratio = interval(&before, &after, 1_000, 0.05);
        (ratio, change(ratio, 0.05))
    }

    #[test]
    fn two_runs_of_a_pipeline_whose_level_changes_every_minute_are_seldom_told_apart() {
        let is_told_apart = |seed: &u64| {
            let (_, change) = compared(&run(*seed, 1_000.0, 120), &run(*seed + 1_000, 1_000.0, 120));
            change != Change::Same
        };
        let told_apart = (0..40).filter(is_told_apart).count();
        assert!(told_apart <= 4, "{told_apart} of 40");
    }

    #[test]
    fn a_change_by_half_is_found_in_twenty_minutes() {
        for seed in 0..5 {
            let (slow, fast) = (run(seed, 1_500.0, 120), run(seed + 1_000, 1_000.0, 120));
            assert_eq!(compared(&fast, &slow).1, Change::Worse, "{seed}");
            assert_eq!(compared(&slow, &fast).1, Change::Better, "{seed}");
        }
    }

    #[test]
    fn losses_beyond_the_percentile_are_infinitely_worse() {
        let mut lossy = run(1, 1_000.0, 120);
        lossy.iter_mut().for_each(|slice| slice.missing = 4);
        let ((low, _), change) = compared(&run(2, 1_000.0, 120), &lossy);
        assert!(low.is_infinite());
        assert_eq!(change, Change::Worse);
    }

    #[test]
    fn two_percentiles_that_never_arrived_are_not_the_same() {
        let lossy = |missing: u64| {
            let mut slices = run(1, 1_000.0, 120);
            slices.iter_mut().for_each(|slice| slice.missing = missing);
            slices
        };
        // 13 % and 70 %.
        assert_eq!(compared(&lossy(3), &lossy(46)), ((0.0, f64::INFINITY), Change::Unknown));
    }

    #[test]
    fn a_draw_of_equal_slices_is_the_run() {
        let slices = vec![run(3, 1_000.0, 1).remove(0); 60];
        let blocks = Blocks::new(&slices, 6);
        let whole = slices.iter().fold(Latencies::default(), |mut all, slice| {
            all.merge(slice);
            all
        });
        assert_eq!(Some(blocks.p95(&mut fastrand::Rng::with_seed(1))), whole.at(95.0));
    }

    #[test]
    fn a_block_is_a_minute_or_the_cube_root_of_the_slices() {
        assert_eq!([length(120, 5.0), length(120, 10.0), length(120, 240.0)], [12, 6, 5]);
        assert_eq!([count(120, 12), count(119, 12), count(60, 60), count(0, 60)], [10, 10, 1, 0]);
        assert_eq!(count(10, length(10, 0.0)), 0);
    }
}
