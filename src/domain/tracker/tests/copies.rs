//! Several stored copies of one canary.

use super::*;

#[test]
fn of_several_copies_in_one_poll_the_first_to_arrive_is_the_arrival() {
    let mut w = World::new();
    w.put(canary(1));
    let copies = [(8, "a"), (3, "b")].map(|(at, copy)| seen(canary(1), Stamp::Millis(t(at)), t(9), copy));
    w.poll(STREAM, t(9), copies.into());
    assert_eq!(w.arrival(canary(1), STREAM), Interval { earliest: ms(2_950), latest: ms(3_051) });
}

#[test]
fn one_copy_read_twice_is_no_duplicate_but_a_second_copy_is() {
    let mut w = World::new();
    w.put(canary(1));
    let sighting = |copy| vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), copy)];
    w.poll(STREAM, t(1), sighting("shard-0/1"));
    w.poll(STREAM, t(2), sighting("shard-0/1"));
    assert_eq!(w.count(|event| matches!(event, Event::Duplicate { .. })), 0);
    w.poll(STREAM, t(3), sighting("shard-0/2"));
    w.poll(STREAM, t(4), sighting("shard-0/2"));
    assert_eq!(w.count(|event| matches!(event, Event::Duplicate { .. })), 1);
}

#[test]
fn of_several_copies_in_one_poll_any_that_may_be_the_first_is_allowed_for() {
    let mut w = World::new();
    w.put(canary(1));
    let copies = [(Stamp::Seconds(t(8)), "a"), (Stamp::NotBefore(t(3)), "b")];
    let copies = copies.map(|(stamp, copy)| seen(canary(1), stamp, t(10), copy));
    w.poll(ARCHIVE, t(10), copies.into());
    let expected = Interval { earliest: ms(2_950), latest: ms(9_050) };
    assert_eq!(w.arrival(canary(1), ARCHIVE), expected);
    let told = |event: &Event| matches!(event, Event::Arrived { interval, .. } if *interval == expected);
    assert_eq!(w.count(told), 1);
}

/// Reads the newer copy of two in a poll that did not get through, and the older one in the next.
fn newer_copy_first(w: &mut World, stage: StageId, newer: Stamp, older: Stamp, at: u64) {
    let source = w.tracker.topology.source_of(ACME, stage);
    w.poll_at(source, t(at), None, vec![seen(canary(1), newer, t(at), "shard-1/7")]);
    w.poll(stage, t(at + 1), vec![seen(canary(1), older, t(at + 1), "shard-0/3")]);
}

#[test]
fn an_older_copy_in_a_later_poll_moves_the_beginning_of_the_arrival_back_but_not_its_end() {
    let mut w = World::new();
    w.put(canary(1));
    newer_copy_first(&mut w, STREAM, Stamp::Millis(t(8)), Stamp::Millis(t(3)), 9);
    assert_eq!(w.arrival(canary(1), STREAM), Interval { earliest: ms(2_950), latest: ms(8_051) });
    assert_eq!(w.count(|event| matches!(event, Event::Duplicate { .. })), 1);
}

#[test]
fn no_copy_moves_an_arrival_to_before_what_our_own_polls_prove() {
    for older in [Stamp::NotBefore(t(3)), Stamp::None, Stamp::Millis(t(2))] {
        let mut w = World::new();
        w.put(canary(1));
        w.poll(STREAM, t(5), vec![]);
        newer_copy_first(&mut w, STREAM, Stamp::Millis(t(8)), older, 9);
        assert_eq!(w.arrival(canary(1), STREAM).earliest, t(5), "{older:?}");
    }
}

#[test]
fn a_newer_copy_in_a_later_poll_changes_no_arrival() {
    let mut w = World::new();
    w.put(canary(1));
    newer_copy_first(&mut w, STREAM, Stamp::Millis(t(3)), Stamp::Millis(t(8)), 9);
    assert_eq!(w.arrival(canary(1), STREAM), Interval { earliest: ms(2_950), latest: ms(3_051) });
}

#[test]
fn an_older_copy_changes_nothing_that_was_judged() {
    let mut w = World::new();
    w.put(canary(1));
    newer_copy_first(&mut w, TABLE, Stamp::Millis(t(SLO + 5)), Stamp::Millis(t(SLO - 5)), SLO + 9);
    assert!(w.arrival(canary(1), TABLE).earliest < t(SLO));
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(trace.judgement, Judgement::Slow);
    assert_eq!(w.count(|event| matches!(event, Event::EndToEnd { .. })), 1);
}

#[test]
fn a_copy_found_after_a_failure_is_recorded_with_it() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    w.poll(STREAM, t(GIVE_UP + 2), vec![seen(canary(1), Stamp::Millis(ms(200)), t(GIVE_UP + 2), "b")]);
    let snapshot = w.tracker.snapshot(t(GIVE_UP + 3));
    let failure = snapshot.failures_of(ACME).next().unwrap();
    assert_eq!(failure.visit(STREAM).copies.len(), 2);
    assert_eq!(failure.arrival(STREAM).unwrap().earliest, ms(150));
}
