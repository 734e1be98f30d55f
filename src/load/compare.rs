//! Compares two runs hop by hop: better, worse, or not to be told apart.
//!
//! Each run is drawn again at random many times, in blocks of time, and the interval of the ratio of the two P95 is that
//! of the draws. What the runs lost is compared beside it.

mod blocks;
mod losses;

use std::time::Duration;

pub use self::losses::{Lost, losses};
use super::estimate::short;
use super::latencies::Latencies;
use super::report::{Percentiles, Report, SliceLine, Verdict};
use super::threshold::Judged;
use crate::domain::aggregates::sketch::Sketch;
use crate::domain::foreign::ForeignText;

/// How often one of all comparisons may be wrong where nothing has changed.
const LEVEL: f64 = 0.05;
/// Draws for each comparison: enough for either end of its interval to rest on 25 of them.
const DRAWS: usize = 1_000;
/// More draws take too long.
const MAX_DRAWS: usize = 20_000;

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Better,
    Worse,
    /// The interval includes a change within the tolerance.
    Same,
    /// One of the runs has too little, no P95 arrived in both, or it depends on canaries of which it is not known when they
    /// arrived.
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
    /// The interval of after / before, wherever those lie that are not known. Those of all comparisons hold together in
    /// 95 of 100 runs.
    pub ratio: Option<(f64, f64)>,
    pub change: Change,
    /// Why it is unknown.
    pub why: Option<String>,
}

/// Compares the P95 of every hop and of the whole. A change of less than `tolerance` (0.05 is 5 %) is none. Of a search,
/// only the rates are compared that kept all thresholds in both runs: at others, P95 tells how much too much was sent.
#[must_use]
pub fn compare(before: &Report, after: &Report, tolerance: f64) -> Vec<Compared> {
    let names = hop_names(before, after);
    let slices = compared(before, after);
    // Each of several comparisons may be wrong by chance, and one is enough for the exit code (Bonferroni's correction).
    let terms = Terms {
        tolerance,
        level: LEVEL / names.len() as f64,
        draws: DRAWS.saturating_mul(names.len()).min(MAX_DRAWS),
    };
    names.into_iter().map(|hop| one(hop, &slices, &terms)).collect()
}

/// The whole, which has no name, and the hops of both runs.
fn hop_names<'a>(before: &'a Report, after: &'a Report) -> Vec<Option<&'a str>> {
    let mut names: Vec<Option<&str>> = vec![None];
    names.extend(before.hops.iter().map(|hop| Some(&*hop.name)));
    let is_new = |name: &&str| before.hops.iter().all(|hop| hop.name != **name);
    names.extend(after.hops.iter().map(|hop| &*hop.name).filter(is_new).map(Some));
    names
}

/// What one comparison goes by.
struct Terms {
    tolerance: f64,
    /// How often it may be wrong.
    level: f64,
    draws: usize,
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
    for (which, report) in [("first", before), ("second", after)] {
        if report.verdict != Verdict::Passed {
            doubts.push(format!("the {which} run has not passed: it is {}", report.verdict.as_str()));
        }
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

fn one(hop: Option<&str>, [before, after]: &[Vec<&SliceLine>; 2], terms: &Terms) -> Compared {
    let name = ForeignText::label(hop.unwrap_or("end to end"));
    let p95 = |slices: &[&SliceLine]| merged(samples(slices, hop, Unknown::LeftOut).iter()).at(95.0);
    let (old, new) = (p95(before), p95(after));
    let unknown = |ratio, why| Compared {
        name: name.clone(),
        before: old,
        after: new,
        ratio,
        change: Change::Unknown,
        why,
    };
    // Those that are not known may have been faster than all others, or never have come.
    let pair = |of_before, of_after| [samples(before, hop, of_before), samples(after, hop, of_after)];
    let least = pair(Unknown::Never, Unknown::AtOnce);
    let most = pair(Unknown::AtOnce, Unknown::Never);
    let lengths = [length_of(before, least[0].len()), length_of(after, least[1].len())];
    let too_few = lengths.iter().zip(&least).find_map(|(length, slices)| too_few(slices.len(), *length));
    if let Some(why) = too_few {
        return unknown(None, Some(why));
    }
    let interval = |[old, new]: &[Vec<Latencies>; 2]| {
        let (old, new) = (blocks::Blocks::new(old, lengths[0]), blocks::Blocks::new(new, lengths[1]));
        blocks::interval(&old, &new, terms.draws, terms.level)
    };
    let if_least = interval(&least);
    let if_most = if least == most { if_least } else { interval(&most) };
    let ratio = Some((if_least.0, if_most.1));
    let [of_least, of_most] = [if_least, if_most].map(|ratio| change(ratio, terms.tolerance));
    match (of_least, of_most) {
        (Change::Unknown, _) | (_, Change::Unknown) => {
            unknown(ratio, Some("P95 never arrived in both".to_owned()))
        }
        (least, most) if least == most => {
            Compared { name, before: old, after: new, ratio, change: least, why: None }
        }
        _ => unknown(ratio, Some("it depends on canaries whose latency is not known".to_owned())),
    }
}

/// How many slices a block of a run has that has so many of them.
fn length_of(slices: &[&SliceLine], count: usize) -> usize {
    let seconds: f64 = slices.iter().map(|slice| slice.seconds.max(0.0)).sum();
    blocks::length(count, seconds / slices.len().max(1) as f64)
}

/// Why a run of so many slices is too short for blocks of this length.
fn too_few(slices: usize, length: usize) -> Option<String> {
    let (count, least) = (blocks::count(slices, length), blocks::LEAST_BLOCKS);
    (count < least).then(|| {
        format!(
            "too little to compare: a run has {count} blocks of at least a minute, and {least} are needed"
        )
    })
}

/// What follows from the interval of a ratio.
fn change((low, high): (f64, f64), tolerance: f64) -> Change {
    if low == 0.0 && high.is_infinite() {
        Change::Unknown
    } else if low > 1.0 + tolerance {
        Change::Worse
    } else if high < 1.0 - tolerance {
        Change::Better
    } else {
        Change::Same
    }
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
        None => Some(sample_of(&slice.end_to_end, unknown)),
        Some(hop) => slice.hops.get(hop).map(|of| sample_of(of, unknown)),
    };
    slices.iter().copied().filter_map(of).filter(|sample| sample.known() > 0).collect()
}

fn sample_of(of: &Percentiles, unknown: Unknown) -> Latencies {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_within_the_tolerance_is_none() {
        for (ratio, expected) in [
            ((1.06, 1.3), Change::Worse),
            ((1.01, 1.3), Change::Same),
            ((0.8, 1.04), Change::Same),
            ((0.7, 0.94), Change::Better),
            ((0.7, 0.99), Change::Same),
            ((f64::INFINITY, f64::INFINITY), Change::Worse),
            ((0.0, 0.0), Change::Better),
            ((0.0, f64::INFINITY), Change::Unknown),
        ] {
            assert_eq!(change(ratio, 0.05), expected, "{ratio:?}");
        }
    }

    #[test]
    fn a_run_of_fewer_than_ten_blocks_is_too_short() {
        assert_eq!(too_few(120, 12), None);
        let why = too_few(60, 12).unwrap();
        assert!(why.starts_with("too little to compare: a run has 5 blocks"), "{why}");
    }
}
