//! The proof that the tracker is right: a pipeline with every fault, observers that see no better than real ones, a
//! process that is cut down at any instant and begins again with what the store says, and a judge that shares no code
//! with the tracker, held against each other canary by canary.
//!
//! `TRACEPROBE_MODEL_TRACES=1000000 cargo test --release --test model` runs a million canaries;
//! `TRACEPROBE_MODEL_SEED` begins with another run. A disagreement names its seed and the smallest number of canaries
//! that shows it: `TRACEPROBE_MODEL_SEED=… TRACEPROBE_MODEL_TRACES=…` with these two runs it alone.

#[path = "model/compare.rs"]
mod compare;
#[path = "model/heard.rs"]
mod heard;
#[path = "model/history.rs"]
mod history;
#[path = "model/hops.rs"]
mod hops;
#[path = "model/judge.rs"]
mod judge;
#[path = "model/observers.rs"]
mod observers;
#[path = "model/pipeline.rs"]
mod pipeline;
#[path = "model/restarts.rs"]
mod restarts;
#[path = "model/run.rs"]
mod run;

use self::compare::{Tally, first_fault};

/// Canaries of one run: enough that every window of trouble has many, few enough to be gone through by hand.
const OF_ONE_RUN: usize = 1_000;
/// Canaries when nobody says how many: about a minute of one core in a debug build.
const USUALLY: usize = 40_000;

#[test]
fn the_tracker_agrees_with_the_truth_and_the_polls() {
    let first = from_environment("TRACEPROBE_MODEL_SEED").unwrap_or(1);
    let mut left = from_environment("TRACEPROBE_MODEL_TRACES").map_or(USUALLY, |traces| traces as usize);
    let mut tally = Tally::default();
    let mut seed = first;
    while left > 0 {
        let canaries = left.min(OF_ONE_RUN);
        if let Some(report) = first_fault(seed, canaries, &mut tally) {
            panic!("{}", smallest(seed, canaries).unwrap_or(report));
        }
        left -= canaries;
        seed += 1;
    }
    println!("seeds {first}..{seed}: {tally:#?}");
    if tally.canaries >= USUALLY {
        assert!(tally.everything_happened(), "a proof about faults that never happen is none: {tally:#?}");
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} must be a number, but is {value}")))
}

/// The report of the smallest run of a seed that still shows a fault.
fn smallest(seed: u64, canaries: usize) -> Option<String> {
    let mut found = None;
    let mut size = 1;
    while size < canaries && found.is_none() {
        found = first_fault(seed, size, &mut Tally::default());
        size = (size + 1).max(size * 5 / 4);
    }
    found
}
