//! When no waiting trace can have reached a stage yet.

use super::*;

fn all_far(w: &World, stage: StageId) -> bool {
    w.tracker.wanted(w.tracker.topology.source_of(ACME, stage)).all_far
}

#[test]
fn a_trace_is_far_from_a_stage_until_it_is_seen_at_the_one_before() {
    let mut w = World::new();
    w.put(canary(1));
    assert!(all_far(&w, TRANSIT) && all_far(&w, ARCHIVE));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    assert!(!all_far(&w, TRANSIT) && !all_far(&w, ARCHIVE));
    assert!(all_far(&w, TABLE), "it has not reached the stage before that");
}

#[test]
fn every_source_behind_a_stage_hears_when_a_trace_is_near_with_and_without_a_target() {
    let mut w = World::new();
    w.put(canary(1));
    let _before = w.tracker.take_changed();
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    let changed: Vec<_> = w.tracker.take_changed().collect();
    for stage in [TRANSIT, ARCHIVE] {
        assert!(changed.contains(&w.tracker.topology.source_of(ACME, stage)), "{stage:?} is not told");
    }
}

#[test]
fn no_trace_is_far_from_the_first_stage() {
    let mut w = World::new();
    w.put(canary(1));
    assert!(!all_far(&w, STREAM));
}

#[test]
fn behind_a_stage_that_cannot_be_read_no_trace_is_far() {
    let mut w = World::new();
    w.put(canary(1));
    w.cannot_poll(STREAM, t(1));
    assert!(!all_far(&w, TRANSIT));
}

#[test]
fn behind_a_stage_that_never_showed_a_canary_of_the_tenant_no_trace_is_far() {
    let mut w = World::fresh();
    w.put(canary(1));
    assert!(!all_far(&w, TRANSIT));
}

#[test]
fn a_trace_that_has_been_in_flight_for_long_is_not_far() {
    let mut w = World::new();
    w.put(canary(1));
    w.apply(Input::Tick, t(90));
    assert!(!all_far(&w, TRANSIT));
}
