//! Properties of arbitrary histories: wherever the probe is killed, a restart changes no outcome and counts
//! nothing twice.

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

fn count(events: &[Event], ends: &mut Endings, counts: &mut Counts) {
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

/// A tracker that has already found every tenant's canaries at every source.
fn seen(map: Arc<Topology>, now: Timestamp) -> Tracker {
    let seen = seen_everywhere(&map);
    let mut tracker = Tracker::new(map, settings(), now);
    tracker.restore(Restored { seen, ..Restored::default() }, now);
    tracker
}

/// For each trace, the outcome that was counted and the standing that the page shows.
fn standings(tracker: &Tracker) -> BTreeMap<TraceId, [&'static str; 2]> {
    let counted = |trace: &Trace| trace.ended.as_ref().map_or("in_flight", |(outcome, _)| outcome.label());
    tracker
        .everything()
        .traces
        .iter()
        .map(|(trace, _)| (trace.id(), [counted(trace), trace.standing().label()]))
        .collect()
}

/// Moves the clock past all deadlines and grace periods.
fn expire_all(world: &mut World, tracker: &mut Tracker) -> Vec<Event> {
    world.now = world.now + s(GIVE_UP + GRACE + 1);
    tracker.apply(Input::Tick, world.now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_saved_trace_is_restored_exactly(steps in steps(), saves in 1_usize..7) {
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
        // A failed poll marks the gap in memory only; after a restart every visit is marked.
        let clear_gaps = |traces: &mut Vec<Trace>| traces.iter_mut().flat_map(|trace| &mut trace.stages).for_each(|visit| visit.gap_since_poll = false);
        // Formats are not stored.
        let without_formats = |mut trace: Trace| {
            trace.stages.iter_mut().filter_map(|visit| visit.arrival.as_mut()).for_each(|arrival| arrival.found_in = None);
            trace
        };
        let mut loaded = store.load(ALL).unwrap();
        clear_gaps(&mut traces);
        let traces: Vec<_> = traces.into_iter().map(without_formats).collect();
        clear_gaps(&mut loaded.traces);
        prop_assert_eq!(loaded.traces, traces);
        prop_assert_eq!(loaded.unreadable, 0);
        let all = tracker.everything().traces;
        store.save_all(&all.clone().into()).unwrap();
        let exact: BTreeMap<_, _> = all.iter().map(|(trace, _)| (trace.id(), without_formats((**trace).clone()))).collect();
        let loaded = store.load(ALL).unwrap().traces;
        prop_assert_eq!(loaded.into_iter().map(|trace| (trace.id(), trace)).collect::<BTreeMap<_, _>>(), exact);
    }

    #[test]
    fn a_restart_anywhere_changes_no_outcome_and_counts_nothing_twice(steps in steps(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(steps.len());
        let map = Arc::new(topology());
        let (mut undisturbed, mut world) = (seen(map.clone(), t(0)), World::new());
        steps.iter().for_each(|step| drop(world.step(step, &mut undisturbed)));
        expire_all(&mut world, &mut undisturbed);

        let (mut tracker, mut world) = (seen(map.clone(), t(0)), World::new());
        let mut store = in_memory();
        let (mut ends, mut counted) = (Endings::new(), Counts::new());
        for step in &steps[..cut] {
            let events = world.step(step, &mut tracker);
            store.save(&tracker.take_changes()).unwrap();
            count(&events, &mut ends, &mut counted);
        }
        let mut tracker = seen(map, world.now);
        tracker.restore(store.load(ALL).unwrap().traces, world.now);
        for step in &steps[cut..] {
            count(&world.step(step, &mut tracker), &mut ends, &mut counted);
        }
        count(&expire_all(&mut world, &mut tracker), &mut ends, &mut counted);

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

/// Whether a restart may turn one outcome into another.
///
/// * A restart forgets that a source could not be read, so a loss may wait for one more poll of a stage in
///   between. What that poll shows is true as well.
/// * A trace that is restored late is waited for longer, so that it may be seen after all instead of
///   unobserved.
/// * A trace that was found after it had been given up may, with a restart, have been polled for in between
///   without being found, and so be proven late.
fn justified([counted, standing]: [&str; 2], restarted: [&str; 2]) -> bool {
    standing == restarted[1]
        || counted == "unobserved"
        || (counted != standing && restarted[1] == "late")
        || (standing == "lost" && ["late", "dead_lettered"].contains(&restarted[1]))
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
