//! A model test of the tracker. A simulated pipeline with every kind of fault, observers with the limits of
//! real ones, a process that ends at random instants and restarts from the store, and a configuration whose tenants
//! come and go feed the tracker. A judge that shares no code with it computes the right result of each canary, and
//! both are compared.
//!
//! `TRACEPROBE_MODEL_TRACES=1000000 cargo test --release --test model` runs a million canaries;
//! `TRACEPROBE_MODEL_SEED` sets the first seed. A failure prints its seed and the smallest number of canaries
//! that shows it. Set both variables to these values to repeat it.

#[path = "model/compaction.rs"]
mod compaction;
#[path = "model/compare.rs"]
mod compare;
#[path = "model/copies.rs"]
mod copies;
#[path = "model/handover.rs"]
mod handover;
#[path = "model/history.rs"]
mod history;
#[path = "model/hops.rs"]
mod hops;
#[path = "model/incidents.rs"]
mod incidents;
#[path = "model/judge.rs"]
mod judge;
#[path = "model/observers.rs"]
mod observers;
#[path = "model/pipeline.rs"]
mod pipeline;
#[path = "model/readability.rs"]
mod readability;
#[path = "model/recorded.rs"]
mod recorded;
#[path = "model/reloads.rs"]
mod reloads;
#[path = "model/restarts.rs"]
mod restarts;
#[path = "model/reviews.rs"]
mod reviews;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/run.rs"]
mod run;
#[path = "model/sources.rs"]
mod sources;
#[path = "model/truth.rs"]
mod truth;

use self::compare::{Tally, first_fault};

/// Canaries per run: enough that every fault window has many, few enough to examine by hand.
const CANARIES_PER_RUN: usize = 1_000;
/// Takes about a minute of one core in a debug build.
const DEFAULT_CANARIES: usize = 40_000;
/// Seeds beyond the default ones of which a run once found a fault.
const ONCE_FAULTY: [u64; 1] = [441];

#[test]
fn the_tracker_agrees_with_the_judge_and_the_truth() {
    let first = from_environment("TRACEPROBE_MODEL_SEED").unwrap_or(1);
    let mut left =
        from_environment("TRACEPROBE_MODEL_TRACES").map_or(DEFAULT_CANARIES, |traces| traces as usize);
    let is_enough = left >= DEFAULT_CANARIES;
    let mut tally = Tally::default();
    let mut seed = first;
    while left > 0 {
        let canaries = left.min(CANARIES_PER_RUN);
        if let Some(report) = first_fault(seed, canaries, &mut tally) {
            panic!("{}", smallest(seed, canaries).unwrap_or(report));
        }
        left -= canaries;
        seed += 1;
    }
    println!("seeds {first}..{seed}: {tally:#?}");
    if is_enough {
        for seed in ONCE_FAULTY {
            let report = first_fault(seed, CANARIES_PER_RUN, &mut Tally::default());
            assert_eq!(report, None, "a fault of before is back");
        }
        assert!(
            tally.everything_happened(),
            "some kind of fault never happened, so nothing is proven about it: {tally:#?}"
        );
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} must be a number, but is {value}")))
}

/// The report of the smallest run with this seed that still shows a fault.
fn smallest(seed: u64, canaries: usize) -> Option<String> {
    let mut found = None;
    let mut size = 1;
    while size < canaries && found.is_none() {
        found = first_fault(seed, size, &mut Tally::default());
        size = (size + 1).max(size * 5 / 4);
    }
    found
}
