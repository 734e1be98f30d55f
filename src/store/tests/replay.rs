//! Whatever happens, and wherever the probe is cut down, it goes on as if nothing had been.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::history::*;
use super::*;
use crate::domain::trace::{Judgement, Standing};
use crate::domain::tracker::tests::seen_everywhere;
use crate::domain::tracker::{Event, Input, Restored, Tracker};

/// How many times each trace ended.
type Endings = BTreeMap<TraceId, usize>;
/// How many times each trace entered the count of a histogram: end to end, or of a hop.
type Counts = BTreeMap<(TraceId, Option<StageId>), usize>;

fn enter(events: &[Event], ends: &mut Endings, counts: &mut Counts) {
    for event in events {
        let entered = match event {
            Event::Ended { trace, .. } => {
                *ends.entry(*trace).or_default() += 1;
                continue;
            }
            Event::EndToEnd { judgement: Judgement::Unjudged, .. } => continue,
            Event::Overdue { trace, .. }
            | Event::EndToEnd { trace, counted: false, .. }
            | Event::GaveUp { trace, counted: false, .. } => (*trace, None),
            Event::HopOverdue { trace, hop, .. }
            | Event::HopMeasured { trace, hop, counted: false, .. }
            | Event::HopMissing { trace, hop, counted: false, .. } => (*trace, Some(*hop)),
            _ => continue,
        };
        *counts.entry(entered).or_default() += 1;
    }
}

/// A tracker for which every tenant's canaries were found at every source before.
fn seen(map: Arc<Topology>, now: Timestamp) -> Tracker {
    let seen = seen_everywhere(&map);
    let mut tracker = Tracker::new(map, settings(), now);
    tracker.restore(Restored { seen, ..Restored::default() }, now);
    tracker
}

/// Of each trace, its outcome as it was counted and where it stands for people.
fn standings(tracker: &Tracker) -> BTreeMap<TraceId, [&'static str; 2]> {
    let counted = |trace: &Trace| trace.ended.as_ref().map_or("in_flight", |(outcome, _)| outcome.label());
    tracker
        .everything()
        .traces
        .iter()
        .map(|(trace, _)| (trace.id(), [counted(trace), trace.standing().label()]))
        .collect()
}

fn remaining_time(world: &mut World, tracker: &mut Tracker) -> Vec<Event> {
    world.now = world.now + s(GIVE_UP + GRACE + 1);
    tracker.apply(Input::Tick, world.now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_trace_comes_back_as_it_was(steps in steps(), saves in 1_usize..7) {
        let mut tracker = seen(Arc::new(topology()), t(0));
        let mut store = in_memory();
        let mut world = World::new();
        for (n, step) in steps.iter().enumerate() {
            world.step(step, &mut tracker);
            if n % saves == 0 {
                store.save(&tracker.take_changes()).unwrap();
            }
        }
        store.save(&tracker.take_changes()).unwrap();
        let mut traces: Vec<_> = tracker.everything().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
        traces.sort_by_key(Trace::id);
        // A look that fails marks the gap only in memory: after a restart everything is marked.
        let blank = |traces: &mut Vec<Trace>| traces.iter_mut().flat_map(|trace| &mut trace.stages).for_each(|visit| visit.gap_since_poll = false);
        let mut loaded = store.load(ALL).unwrap();
        blank(&mut traces);
        blank(&mut loaded.traces);
        prop_assert_eq!(loaded.traces, traces);
        prop_assert_eq!(loaded.unreadable, 0);
        let again = tracker.everything().traces;
        store.save_all(&again.clone().into()).unwrap();
        let exact: BTreeMap<_, _> = again.iter().map(|(trace, _)| (trace.id(), (**trace).clone())).collect();
        let loaded = store.load(ALL).unwrap().traces;
        prop_assert_eq!(loaded.into_iter().map(|trace| (trace.id(), trace)).collect::<BTreeMap<_, _>>(), exact);
    }

    #[test]
    fn a_restart_anywhere_changes_no_outcome_and_counts_nothing_twice(steps in steps(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(steps.len());
        let map = Arc::new(topology());
        let (mut undisturbed, mut world) = (seen(map.clone(), t(0)), World::new());
        steps.iter().for_each(|step| drop(world.step(step, &mut undisturbed)));
        remaining_time(&mut world, &mut undisturbed);

        let (mut tracker, mut world) = (seen(map.clone(), t(0)), World::new());
        let mut store = in_memory();
        let (mut ends, mut counted) = (Endings::new(), Counts::new());
        for step in &steps[..cut] {
            let events = world.step(step, &mut tracker);
            store.save(&tracker.take_changes()).unwrap();
            enter(&events, &mut ends, &mut counted);
        }
        let mut tracker = seen(map, world.now);
        tracker.restore(store.load(ALL).unwrap().traces, world.now);
        for step in &steps[cut..] {
            enter(&world.step(step, &mut tracker), &mut ends, &mut counted);
        }
        enter(&remaining_time(&mut world, &mut tracker), &mut ends, &mut counted);

        prop_assert!(ends.values().all(|times| *times == 1), "ended twice: {ends:?}");
        prop_assert!(counted.values().all(|times| *times == 1), "counted twice: {counted:?}");
        prop_assert_eq!(tracker.in_flight(), 0);
        let (expected, found) = (standings(&undisturbed), standings(&tracker));
        prop_assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (id, expected) in expected {
            prop_assert!(justified(expected, found[&id]), "{id}: {expected:?} became {:?}", found[&id]);
        }
    }
}

/// Whether a restart may make one outcome of another. That a source could not be read is not remembered, so a loss may
/// wait for one more look at a stage between; what that look shows is true as well.
/// And a trace that is taken over late is waited for longer, so that what nobody could say may be seen after all; and what
/// was found only after it had been given up may have been looked for in vain in between, and so be known to be late.
fn justified([counted, stands]: [&str; 2], restarted: [&str; 2]) -> bool {
    stands == restarted[1]
        || counted == "unobserved"
        || (counted != stands && restarted[1] == "late")
        || (stands == "lost" && ["late", "dead_lettered"].contains(&restarted[1]))
}

#[test]
fn a_trace_in_flight_is_in_flight_after_the_restart() {
    let mut tracker = seen(Arc::new(topology()), t(0));
    let mut store = in_memory();
    tracker.plan(canary(1), t(0), &mut Vec::new()).unwrap();
    store.save(&tracker.take_changes()).unwrap();
    let mut tracker = seen(Arc::new(topology()), t(5));
    tracker.restore(store.load(ALL).unwrap().traces, t(5));
    assert_eq!(tracker.trace(canary(1).trace).unwrap().standing(), Standing::InFlight);
}
