//! When no waiting trace has reached a stage yet, as far as can be told.

use super::*;

fn nothing_before(w: &World, stage: StageId) -> Option<Timestamp> {
    w.tracker.wanted(w.tracker.topology.source_of(ACME, stage)).nothing_before
}

fn all_far(w: &World, stage: StageId) -> bool {
    nothing_before(w, stage) == Some(Timestamp::MAX)
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

/// Lets canaries of the purpose pass through the stream 300 ms after their injection and reach the archive so many
/// milliseconds later, one each ten seconds.
fn learned(purpose: Purpose, stamp: impl Fn(Timestamp) -> Stamp, delays: &[u64]) -> World {
    let mut w = World::new();
    for (n, delay) in (1..).zip(delays) {
        let planned = t(u64::from(n) * 10);
        let tag = canary_for(purpose, "acme", n, planned);
        w.put(tag);
        let (left, arrived) = (planned + Duration::from_millis(300), Duration::from_millis(*delay));
        w.poll(
            STREAM,
            planned + s(1),
            vec![seen(tag, Stamp::Millis(left), planned + s(1), &format!("s{n}"))],
        );
        let late = planned + s(9);
        w.poll(ARCHIVE, late, vec![seen(tag, stamp(left + arrived), late, &format!("a{n}"))]);
    }
    w
}

/// Puts another canary at second 400, which passes through the stream as the others did.
fn put_at_400(w: &mut World, purpose: Purpose) {
    let tag = canary_for(purpose, "acme", 99, t(400));
    w.put(tag);
    w.poll(
        STREAM,
        t(401),
        vec![seen(tag, Stamp::Millis(t(400) + Duration::from_millis(300)), t(401), "last")],
    );
}

/// After how many milliseconds of that one the archive is expected to show it.
fn expected_after(purpose: Purpose, stamp: impl Fn(Timestamp) -> Stamp, delays: &[u64]) -> Option<u64> {
    let mut w = learned(purpose, stamp, delays);
    put_at_400(&mut w, purpose);
    let expected = nothing_before(&w, ARCHIVE)?;
    Some(u64::try_from(expected.since(t(400)).as_millis()).unwrap())
}

#[test]
fn the_first_poll_waits_for_as_long_as_most_canaries_took_from_the_stage_before() {
    let expected = |delays: &[u64]| expected_after(Purpose::Probe, Stamp::Millis, delays);
    // The arrival at the stream is known to a millisecond and the allowance of both clocks, 351 ms here.
    assert_eq!(expected(&[2_000, 2_000, 2_000]), Some(351 + 2_000));
    assert_eq!(expected(&[1_500, 3_000, 2_000]), Some(351 + 3_000), "of few, the slowest");
    let one_is_slow = [2_000, 2_000, 8_000, 2_100, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000];
    assert_eq!(expected(&one_is_slow), Some(351 + 2_100));
    let faster = [8_000; 5].into_iter().chain([2_000; 10]).collect::<Vec<_>>();
    assert_eq!(expected(&faster), Some(351 + 2_000), "the last ten");
    assert_eq!(expected(&[500; 5]), None, "it has probably arrived");
    assert_eq!(expected(&[2_000, 500, 2_000, 2_000]), None, "it may have arrived");
}

#[test]
fn the_first_poll_does_not_wait_while_little_is_known() {
    assert_eq!(expected_after(Purpose::Probe, Stamp::Millis, &[2_000, 2_000]), None);
}

#[test]
fn the_first_poll_does_not_wait_where_only_polls_say_by_when_a_canary_had_arrived() {
    let no_stamp: fn(Timestamp) -> Stamp = |_| Stamp::None;
    let of_another_clock: fn(Timestamp) -> Stamp = |at| Stamp::Millis(at + s(3_600));
    for stamp in [Stamp::NotBefore, no_stamp, of_another_clock] {
        assert_eq!(expected_after(Purpose::Probe, stamp, &[2_000; 10]), None);
    }
}

#[test]
fn the_first_poll_for_a_canary_of_a_check_or_a_load_does_not_wait() {
    for purpose in [Purpose::Check, Purpose::Load, Purpose::Drill] {
        assert_eq!(expected_after(purpose, Stamp::Millis, &[2_000; 10]), None, "{purpose:?}");
    }
}

#[test]
fn a_canary_that_is_due_is_not_kept_waiting_by_those_that_follow() {
    let mut w = learned(Purpose::Probe, Stamp::Millis, &[2_000; 3]);
    put_at_400(&mut w, Purpose::Probe);
    w.put(canary_at(100, t(402)));
    let expected = t(400) + Duration::from_millis(2_351);
    assert_eq!(nothing_before(&w, ARCHIVE), Some(expected));
    w.apply(Input::Tick, t(403));
    assert_eq!(nothing_before(&w, ARCHIVE), None);
}
