//! How soon a stall is told, and that chance alone does not look like one. Prints tables.
//!
//! In virtual time, with the real schedule, tracker and conditions. `make stalls` runs the long form: more starts
//! and a month.

#[path = "stalls/month.rs"]
mod month;
#[path = "stalls/world.rs"]
mod world;

use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::conditions::{Assessment, ConditionName};
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{StageId, TenantId};

use self::world::*;

const TENANTS: u16 = 20;
/// Of the metrics by Prometheus, and of its rules.
const SCRAPE: Duration = Duration::from_secs(15);
/// By then every tenant has canaries at the end.
const WARM_UP: Duration = Duration::from_secs(120);
/// A stall that is not told by then is not told at all.
const TOO_LONG: Duration = Duration::from_secs(300);

fn is_long() -> bool {
    std::env::var_os("TRACEPROBE_STALLS").is_some_and(|form| form == "long")
}

/// Starts per hop of the main path, at random phase.
fn starts() -> u64 {
    if is_long() { 200 } else { 34 }
}

fn has(found: &Assessment, name: ConditionName) -> bool {
    found.problems().any(|problem| problem.name == name)
}

/// The time from a stall at a random phase to the first evaluation that sees a condition.
fn time_to_tell(seed: u64, stage: StageId, of: Option<TenantId>, name: ConditionName) -> Duration {
    let mut rng = Rng::with_seed(!seed);
    let mut world = World::new(TENANTS, seed, |_, _| WELL);
    let mut phase = |longest: Duration| Duration::from_micros(rng.u64(..longest.as_micros() as u64));
    let begin = START + WARM_UP + phase(INTERVAL * 2);
    let (scrape, evaluation) = (begin + phase(SCRAPE), begin + phase(SCRAPE));
    world.run_to(begin);
    world.stall(stage, begin, of);
    let scrapes = (0..).map(|number| scrape + SCRAPE * number);
    for at in scrapes.take_while(|at| at.since(begin) < TOO_LONG) {
        world.run_to(at);
        if has(&world.assess(at), name) {
            let seen = (0..).map(|number| evaluation + SCRAPE * number).find(|seen| *seen >= at);
            return seen.map_or(TOO_LONG, |seen| seen.since(begin));
        }
    }
    TOO_LONG
}

/// Seconds: the largest of all hops.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Times {
    median: f64,
    most: f64,
}

/// Prints the times of many starts.
fn table(what: &str, of: Option<TenantId>, name: ConditionName) -> Times {
    println!("{what}: seconds from the stall to the first evaluation that sees {}", name.as_str());
    println!(
        "{:12} {:>6} {:>7} {:>7} {:>7} {:>7}",
        "stalled hop", "starts", "least", "median", "P95", "most"
    );
    let mut worst = Times::default();
    for (stage, hop) in [(STREAM, "stream"), (TRANSIT, "transit"), (TABLE, "table")] {
        let time = |seed: u64| time_to_tell(seed + 1_000 * u64::from(stage.0), stage, of, name).as_secs_f64();
        let mut times: Vec<f64> = (0..starts()).map(time).collect();
        times.sort_by(f64::total_cmp);
        let at = |ratio: f64| times[((times.len() - 1) as f64 * ratio).round() as usize];
        println!(
            "{hop:12} {:>6} {:>7.1} {:>7.1} {:>7.1} {:>7.1}",
            times.len(),
            at(0.0),
            at(0.5),
            at(0.95),
            at(1.0)
        );
        worst = Times { median: worst.median.max(at(0.5)), most: worst.most.max(at(1.0)) };
    }
    worst
}

#[test]
fn a_stall_of_all_tenants_is_told_within_75_seconds() {
    let worst = table("all of 20 tenants", None, ConditionName::TotalStall);
    assert!(worst.median <= 55.0 && worst.most <= 75.0, "{worst:?}");
}

/// The second canary is planned up to two and a quarter intervals after the last one that passed, is overdue 30 s
/// later, and up to 30 s pass until the evaluation. So 128 s cannot be excluded, but none of 600 starts takes longer
/// than 120 s.
#[test]
fn a_stall_of_one_tenant_is_told_within_120_seconds() {
    let worst = table("one of 20 tenants", Some(TenantId(7)), ConditionName::Stuck);
    assert!(worst.median <= 95.0 && worst.most <= 120.0, "{worst:?}");
}

#[test]
fn one_overdue_canary_is_neither_stuck_nor_a_total_stall() {
    for (seed, stage) in [STREAM, TRANSIT, TABLE].into_iter().cycle().take(12).enumerate() {
        let lost = START + WARM_UP;
        let is_it = move |planned: Timestamp| planned >= lost && planned < lost + INTERVAL;
        let mut is_done = false;
        let mut world = World::new(TENANTS, seed as u64, move |tenant, planned| {
            if tenant == TenantId(7) && is_it(planned) && !is_done {
                is_done = true;
                return Fate { lost_at: Some(stage), ..WELL };
            }
            WELL
        });
        for second in 0..120 {
            let at = lost + Duration::from_secs(second);
            world.run_to(at);
            let found = world.assess(at);
            assert!(
                !has(&found, ConditionName::Stuck) && !has(&found, ConditionName::TotalStall),
                "seed {seed}, {second} s: {:?}",
                found.problems().collect::<Vec<_>>()
            );
        }
        assert!(world.last_failure.is_some(), "it was overdue");
    }
}
