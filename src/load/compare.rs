//! Compares two runs hop by hop: better, worse, or not to be told apart.
//!
//! The slices of time of each run are drawn again at random, with repetition, many times (a block bootstrap:
//! H. R. Künsch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics
//! 17, 1989, 1217-1241). Canaries of one batch arrive together, so they are not independent, and an interval
//! that took them for independent would be too narrow; slices of time nearly are. The interval of the ratio
//! of the two P95 is that of the percentiles of the draws (Efron and Tibshirani, An introduction to the
//! bootstrap, 1993, chapter 13).

use std::time::Duration;

use super::estimate::short;
use super::latencies::Latencies;
use super::report::{Percentiles, Report, SliceLine};
use super::threshold::Judged;
use crate::domain::aggregates::sketch::Sketch;
use crate::domain::foreign::ForeignText;

/// Draws: enough for the 2.5th percentile to rest on 25 of them.
const DRAWS: usize = 1_000;
/// Fewer slices say nothing of how much they vary.
const LEAST_SLICES: usize = 5;

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Better,
    Worse,
    /// The interval includes no change, or all of it is within the tolerance.
    Same,
    /// One of the runs has too little, or it depends on canaries of which it is not known when they arrived.
    Unknown,
}

impl Change {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unknown => "unknown",
        }
    }
}

/// One hop of two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub name: ForeignText,
    /// P95 in seconds, before and after; infinite if it falls on a canary that never arrived.
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// The 95 % interval of after / before, wherever those lie that are not known.
    pub ratio: Option<(f64, f64)>,
    pub change: Change,
}

/// Compares the P95 of every hop and of the whole. A change of less than `tolerance` (0.05 is 5 %) is none. Of a search,
/// only the rates are compared that kept all thresholds in both runs: at others, P95 tells how much too much was sent.
#[must_use]
pub fn compare(before: &Report, after: &Report, tolerance: f64) -> Vec<Compared> {
    let mut names: Vec<Option<&str>> = vec![None];
    names.extend(before.hops.iter().map(|hop| Some(&*hop.name)));
    let is_new = |name: &&str| before.hops.iter().all(|hop| hop.name != **name);
    names.extend(after.hops.iter().map(|hop| &*hop.name).filter(is_new).map(Some));
    let slices = compared(before, after);
    names.into_iter().map(|hop| one(hop, &slices, tolerance)).collect()
}

/// The slices of both runs that are compared.
fn compared<'a>(before: &'a Report, after: &'a Report) -> [Vec<&'a SliceLine>; 2] {
    let shared = shared_rates(before, after);
    [before, after].map(|report| {
        let is_compared = |slice: &&SliceLine| {
            let is_shared =
                |shared: &Vec<f64>| good_rate(report, slice).is_some_and(|it| shared.contains(&it));
            slice.is_judged && shared.as_ref().is_none_or(is_shared)
        };
        report.slices.iter().filter(is_compared).collect()
    })
}

/// The rates that kept all thresholds in both runs; `None` if neither is a search.
fn shared_rates(before: &Report, after: &Report) -> Option<Vec<f64>> {
    if before.knee.is_none() && after.knee.is_none() {
        return None;
    }
    let [mut old, new] = [before, after].map(|report| -> Vec<f64> {
        report.slices.iter().filter_map(|slice| good_rate(report, slice)).collect()
    });
    old.retain(|rate| new.contains(rate));
    old.sort_unstable_by(f64::total_cmp);
    old.dedup();
    Some(old)
}

/// The rate of the trial that a slice is of, if it kept all thresholds.
fn good_rate(report: &Report, slice: &SliceLine) -> Option<f64> {
    let trial = report.trials.get(slice.trial?)?;
    (trial.judged == Judged::Kept.as_str()).then_some(trial.rate)
}

/// What makes a comparison doubtful, one sentence each.
#[must_use]
pub fn doubts(before: &Report, after: &Report) -> Vec<String> {
    let mut doubts = Vec::new();
    if before.profile != after.profile {
        let [old, new] = [before, after].map(|report| ForeignText::label(&report.profile));
        doubts.push(format!("the profiles differ: {old} and {new}"));
    }
    let [old, new] = [before, after].map(|report| report.totals.accepted_rate);
    match shared_rates(before, after) {
        None if (old - new).abs() > 0.1 * old.max(new) => {
            doubts.push(format!("the rates differ: {old:.1}/s and {new:.1}/s"));
        }
        None => {}
        Some(shared) => {
            let shared: Vec<_> = shared.into_iter().map(|rate| format!("{}/s", short(rate))).collect();
            let rates = if shared.is_empty() { "there are none".to_owned() } else { shared.join(", ") };
            doubts.push(format!(
                "of a search, only the rates that kept all thresholds in both runs are compared: {rates}"
            ));
        }
    }
    for (what, of) in [("tenants", tenants as fn(&Report) -> Vec<&str>), ("sizes", sizes)] {
        let [old, new] = [before, after].map(of);
        if old != new {
            let labels =
                |names: Vec<&str>| names.into_iter().map(ForeignText::label).collect::<Vec<_>>().join(", ");
            let (old, new) = (labels(old), labels(new));
            doubts.push(format!("the {what} differ: {old}; {new}"));
        }
    }
    let inconclusive = [("first", before), ("second", after)].into_iter();
    doubts.extend(inconclusive.filter(|(_, report)| report.totals.unknown > 0).map(|(which, report)| {
        format!("the outcome of {} canaries of the {which} run is not known", report.totals.unknown)
    }));
    doubts
}

fn tenants(report: &Report) -> Vec<&str> {
    report.tenants.iter().map(|of| &*of.name).collect()
}

fn sizes(report: &Report) -> Vec<&str> {
    report.sizes.iter().map(|of| &*of.name).collect()
}

fn one(hop: Option<&str>, [before, after]: &[Vec<&SliceLine>; 2], tolerance: f64) -> Compared {
    let name = ForeignText::label(hop.unwrap_or("end to end"));
    let p95 = |slices: &[&SliceLine]| merged(samples(slices, hop, Unknown::LeftOut).iter()).at(95.0);
    // Those that are not known may have been faster than all others, or never have come.
    let ratio = |of_before, of_after| {
        let (old, new) = (samples(before, hop, of_before), samples(after, hop, of_after));
        (old.len() >= LEAST_SLICES && new.len() >= LEAST_SLICES).then(|| interval(&old, &new))
    };
    let least = ratio(Unknown::Never, Unknown::AtOnce);
    let most = ratio(Unknown::AtOnce, Unknown::Never);
    let [if_least, if_most] = [least, most].map(|ratio| match ratio {
        None => Change::Unknown,
        Some((low, high)) if low > 1.0 && high > 1.0 + tolerance => Change::Worse,
        Some((low, high)) if high < 1.0 && low < 1.0 - tolerance => Change::Better,
        Some(_) => Change::Same,
    });
    let change = if if_least == if_most { if_least } else { Change::Unknown };
    let ratio = least.zip(most).map(|((low, _), (_, high))| (low, high));
    Compared { name, before: p95(before), after: p95(after), ratio, change }
}

/// Where canaries are counted of which it is not known when they arrived, or whether.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    LeftOut,
    AtOnce,
    Never,
}

/// The slices of a hop, or of the whole, that hold anything.
fn samples(slices: &[&SliceLine], hop: Option<&str>, unknown: Unknown) -> Vec<Latencies> {
    let of = |slice: &SliceLine| match hop {
        None => Some(sample(&slice.end_to_end, unknown)),
        Some(hop) => slice.hops.get(hop).map(|of| sample(of, unknown)),
    };
    slices.iter().copied().filter_map(of).filter(|sample| sample.known() > 0).collect()
}

fn sample(of: &Percentiles, unknown: Unknown) -> Latencies {
    let mut arrived = Sketch::of_bins(of.bins.clone()).unwrap_or_default();
    if unknown == Unknown::AtOnce {
        arrived.add_times(Duration::ZERO, u32::try_from(of.unknown).unwrap_or(u32::MAX));
    }
    let never = if unknown == Unknown::Never { of.unknown } else { 0 };
    Latencies { arrived, missing: of.missing.saturating_add(never), ..Latencies::default() }
}

fn merged<'a>(slices: impl Iterator<Item = &'a Latencies>) -> Latencies {
    slices.fold(Latencies::default(), |mut all, slice| {
        all.merge(slice);
        all
    })
}

/// The 95 % interval of the ratio of the P95 of two runs.
fn interval(before: &[Latencies], after: &[Latencies]) -> (f64, f64) {
    // The same every time, so that a comparison can be repeated.
    let mut random = fastrand::Rng::with_seed(1);
    let mut ratios: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn = |from: &[Latencies]| {
                let slices = (0..from.len()).filter_map(|_| from.get(random.usize(0..from.len())));
                merged(slices.collect::<Vec<_>>().into_iter()).at(95.0).unwrap_or_default()
            };
            let (old, new) = (drawn(before), drawn(after));
            match (old.is_infinite(), new.is_infinite()) {
                (true, true) => 1.0,
                (true, false) => 0.0,
                (false, _) => new / old.max(0.001),
            }
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| ratios.get((part * DRAWS as f64) as usize).copied().unwrap_or(1.0);
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many slices, each with canaries around its own median in milliseconds.
    fn slices(seed: u64, median: f64, count: usize) -> Vec<Latencies> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count)
            .map(|_| {
                let of_batch = median * (0.9 + 0.2 * random.f64());
                let mut sample = Latencies::default();
                (0..100).for_each(|_| {
                    let latency = Duration::from_secs_f64(of_batch * (0.9 + 0.2 * random.f64()) / 1e3);
                    sample.add(latency, latency);
                });
                sample
            })
            .collect()
    }

    #[test]
    fn a_slower_run_is_told_from_one_that_is_the_same() {
        let (low, high) = interval(&slices(1, 1_000.0, 30), &slices(2, 1_300.0, 30));
        assert!(low > 1.2 && high < 1.4, "{low} to {high}");
    }

    #[test]
    fn two_runs_of_one_pipeline_are_seldom_told_apart_although_their_batches_vary() {
        let covered = |seed: u64| {
            let (low, high) = interval(&slices(seed, 1_000.0, 30), &slices(seed + 1_000, 1_000.0, 30));
            (low..=high).contains(&1.0)
        };
        let covered = (0..40).filter(|seed| covered(*seed)).count();
        assert!(covered >= 35, "{covered} of 40");
    }

    #[test]
    fn losses_beyond_the_percentile_are_infinitely_worse() {
        let mut lossy = slices(1, 1_000.0, 10);
        lossy.iter_mut().for_each(|slice| slice.missing = 20);
        let (low, _) = interval(&slices(2, 1_000.0, 10), &lossy);
        assert!(low.is_infinite());
    }
}
