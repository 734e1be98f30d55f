//! A month of 50 tenants in which canaries are lost and slow by chance alone.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::conditions::{Assessment, ConditionName, Severity};
use traceprobe::domain::incidents::{Incidents, Step};
use traceprobe::domain::time::Timestamp;

use super::world::*;
use super::{SCRAPE, is_long};

const TENANTS: u16 = 50;
const LOST: f64 = 0.001;
const SLOWER: f64 = 0.01;
const DAY: Duration = Duration::from_hours(24);
/// Conditions are judged for so long after a canary became late or was lost. Nothing else makes one a problem
/// here, and no hop takes longer than this.
const JUDGED_FOR: Duration = Duration::from_secs(90);

/// What became a problem.
#[derive(Default)]
struct Count {
    /// Critical incidents, by condition.
    critical: BTreeMap<ConditionName, usize>,
    /// Evaluations at which a condition was a problem.
    seen: BTreeMap<ConditionName, usize>,
    canaries: u64,
}

fn simulate(seed: u64, length: Duration) -> Count {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(TENANTS, seed, move |_, _| {
        let lost_at = (rng.f64() < LOST).then(|| [STREAM, TRANSIT, TABLE][rng.usize(0..3)]);
        Fate { slower: if rng.f64() < SLOWER { 3 } else { 1 }, lost_at }
    });
    let mut incidents = Incidents::new(criteria().over_after);
    let mut count = Count::default();
    let is_recent = |at: Timestamp, failure: Option<Timestamp>| {
        failure.is_some_and(|failure| at.since(failure) < JUDGED_FOR)
    };
    let scrapes = (1..).map(|number: u32| START + SCRAPE * number);
    for at in scrapes.take_while(|at| at.since(START) <= length) {
        world.run_to(at);
        if !is_recent(at, world.last_failure) && !incidents.has_open() {
            continue;
        }
        let mut snapshot = world.snapshot(at);
        snapshot.episodes = incidents.shown();
        let found = Assessment::new(&snapshot, &criteria());
        for problem in found.problems() {
            *count.seen.entry(problem.name).or_default() += 1;
        }
        for (episode, step) in incidents.update(&found, &snapshot) {
            if step == Step::Began && episode.worst == Severity::Critical {
                *count.critical.entry(episode.condition.name).or_default() += 1;
            }
        }
    }
    count.canaries = world.planned;
    count
}

#[test]
fn chance_alone_is_no_stall() {
    let length = if is_long() { DAY * 30 } else { Duration::from_hours(2) };
    let count = simulate(1, length);
    let of = |name: ConditionName| count.seen.get(&name).copied().unwrap_or_default();
    println!(
        "{TENANTS} tenants, {:.2} days, {} canaries, {}% lost, {}% three times slower",
        length.as_secs_f64() / DAY.as_secs_f64(),
        count.canaries,
        100.0 * LOST,
        100.0 * SLOWER
    );
    println!("{:20} {:>20} {:>30}", "condition", "critical incidents", "evaluations as a problem");
    let names = ConditionName::ALL.into_iter().filter(|name| {
        of(*name) > 0
            || matches!(name, ConditionName::Stuck | ConditionName::TotalStall | ConditionName::Losing)
    });
    for name in names {
        let critical = count.critical.get(&name).copied().unwrap_or_default();
        println!("{:20} {critical:>20} {:>30}", name.as_str(), of(name));
    }
    let critical = |name| count.critical.get(&name).copied().unwrap_or_default();
    assert_eq!(of(ConditionName::TotalStall), 0, "chance must never look like a stall of all tenants");
    let all: usize = count.critical.values().sum();
    assert!(all <= 10, "{all} critical incidents, {} of them stuck", critical(ConditionName::Stuck));
}
