//! What the answer of a put, its lack, or its lateness does to a trace.

use super::*;
use crate::domain::trace::Put;

#[test]
fn a_canary_that_was_seen_before_its_last_try_was_refused_is_followed_to_its_end() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    let result = PutResult::Refused { reason: "throttled".into() };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(2));
    assert_eq!(w.outcome(canary(1)), None);
    w.poll(TABLE, t(5), vec![seen(canary(1), Stamp::None, t(5), "c")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn a_canary_that_was_seen_before_its_last_try_was_refused_counts_as_accepted_once() {
    for finished in [false, true] {
        let mut w = World::new();
        w.plan(canary(1), t(0));
        let stages: &[StageId] = if finished { &[STREAM, ARCHIVE, TRANSIT, TABLE] } else { &[STREAM] };
        for stage in stages {
            w.poll(*stage, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
        }
        let result = PutResult::Refused { reason: "throttled".into() };
        w.apply(Input::Put { trace: canary(1).trace, result }, t(2));
        assert_eq!(w.count(|event| matches!(event, Event::Accepted { .. })), 1);
        let other = |event: &Event| {
            matches!(event, Event::Ambiguous { .. } | Event::Ended { outcome: Outcome::Refused(_), .. })
        };
        assert_eq!(w.count(other), 0);
        let trace = w.tracker.trace(canary(1).trace).unwrap();
        assert_eq!((trace.put, trace.doubled_by_us), (Put::Accepted { at: t(2) }, true));
        let group = w.tracker.snapshot(t(2)).tenants[0].log_groups[0].clone();
        assert_eq!((group.accepted_at, group.refusing), (Some(t(2)), None));
    }
}

#[test]
fn a_second_copy_of_a_retried_put_is_not_charged_to_the_pipeline() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    let result = PutResult::Accepted { doubled: true };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(1));
    for copy in ["1", "2"] {
        w.poll(STREAM, t(2), vec![seen(canary(1), Stamp::Millis(ms(300)), t(2), copy)]);
    }
    assert_eq!(w.count(|event| matches!(event, Event::Duplicate { .. })), 0);
    assert_eq!(w.count(|event| matches!(event, Event::UnchargedCopy { .. })), 1);
}

#[test]
fn an_echo_that_overtakes_the_answer_of_the_put_finds_its_trace() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    w.poll(TABLE, t(1), vec![seen(canary(1), Stamp::None, t(1), "c")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(w.count(|event| matches!(event, Event::Stray { .. })), 0);
}

#[test]
fn a_refused_canary_is_not_wanted_and_enters_no_histogram() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    let result = PutResult::Refused { reason: "too old".into() };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Refused("too old".into())));
    assert!(w.tracker.wanted(w.tracker.topology.source_of(ACME, TABLE)).waiting.is_empty());
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    assert_eq!(w.count(|event| matches!(event, Event::Overdue { .. } | Event::GaveUp { .. })), 0);
}

#[test]
fn a_put_without_an_answer_stays_in_flight() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    let result = PutResult::ambiguous(false);
    w.apply(Input::Put { trace: canary(1).trace, result }, t(20));
    assert_eq!(w.tracker.in_flight(), 1);
    w.poll(TABLE, t(25), vec![seen(canary(1), Stamp::None, t(25), "c")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn a_put_without_an_answer_that_is_never_seen_is_unobserved_and_no_loss_of_the_pipeline() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    let result = PutResult::ambiguous(false);
    w.apply(Input::Put { trace: canary(1).trace, result }, t(20));
    for at in [SLO + 1, GIVE_UP + 1] {
        w.empty_poll_except_at(&[], t(at));
    }
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::AmbiguousPut)));
    let entered = |event: &Event| {
        matches!(
            event,
            Event::Overdue { .. }
                | Event::GaveUp { .. }
                | Event::HopOverdue { .. }
                | Event::HopMissing { .. }
        )
    };
    assert_eq!(w.count(entered), 0, "it may never have entered the pipeline");
}

#[test]
fn a_put_without_an_answer_that_is_seen_on_the_way_can_be_lost() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    let result = PutResult::ambiguous(false);
    w.apply(Input::Put { trace: canary(1).trace, result }, t(20));
    w.poll(TABLE, t(SLO + 1), vec![]);
    let events = w.poll(STREAM, t(SLO + 2), vec![seen(canary(1), Stamp::None, t(SLO + 2), "a")]);
    assert!(events.iter().any(|event| matches!(event, Event::Overdue { .. })), "{events:?}");
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(TRANSIT))));
}

#[test]
fn a_put_that_is_refused_after_the_threshold_enters_no_histogram() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    w.empty_poll_except_at(&[], t(SLO + 1));
    let result = PutResult::Refused { reason: "throttled".into() };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(SLO + 2));
    assert_eq!(w.count(|event| matches!(event, Event::Overdue { .. } | Event::HopOverdue { .. })), 0);
}

#[test]
fn a_put_that_is_accepted_after_the_threshold_is_overdue_at_once() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    w.poll(TABLE, t(SLO + 1), vec![]);
    let result = PutResult::Accepted { doubled: false };
    let events = w.apply(Input::Put { trace: canary(1).trace, result }, t(SLO + 2));
    assert!(events.iter().any(|event| matches!(event, Event::Overdue { .. })), "{events:?}");
}

#[test]
fn the_answer_of_a_put_that_comes_when_everything_is_over_is_counted_all_the_same() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    for stage in [STREAM, ARCHIVE, TRANSIT, TABLE] {
        w.poll(stage, t(2), vec![seen(canary(1), Stamp::None, t(2), "a")]);
    }
    let result = PutResult::Accepted { doubled: true };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(5));
    assert_eq!(w.count(|event| matches!(event, Event::Accepted { .. })), 1);
    assert!(w.tracker.trace(canary(1).trace).unwrap().doubled_by_us);
}

#[test]
fn a_second_copy_that_overtakes_the_answer_of_the_put_waits_for_what_the_answer_says() {
    for (doubled, theirs, ours) in [(false, 1, 0), (true, 0, 1)] {
        let mut w = World::new();
        w.plan(canary(1), t(0));
        let sighting = |copy| seen(canary(1), Stamp::None, t(2), copy);
        w.poll(STREAM, t(2), vec![sighting("1"), sighting("2")]);
        let count = |w: &World| {
            let theirs = w.count(|event| matches!(event, Event::Duplicate { .. }));
            (theirs, w.count(|event| matches!(event, Event::UnchargedCopy { .. })))
        };
        assert_eq!(count(&w), (0, 0), "who stored it is not known yet");
        let result = PutResult::ambiguous(doubled);
        w.apply(Input::Put { trace: canary(1).trace, result }, t(5));
        assert_eq!(count(&w), (theirs, ours));
    }
}

#[test]
fn what_a_put_was_answered_first_stands_and_is_counted_once() {
    let first = [
        PutResult::Accepted { doubled: false },
        PutResult::ambiguous(false),
        PutResult::Refused { reason: "too old".into() },
    ];
    let second = [
        PutResult::Accepted { doubled: true },
        PutResult::ambiguous(true),
        PutResult::Refused { reason: "throttled".into() },
    ];
    for first in first {
        let mut w = World::new();
        w.plan(canary(1), t(0));
        w.apply(Input::Put { trace: canary(1).trace, result: first.clone() }, t(1));
        let answered = w.tracker.trace(canary(1).trace).unwrap().clone();
        for second in second.clone() {
            let events = w.apply(Input::Put { trace: canary(1).trace, result: second.clone() }, t(2));
            assert_eq!(events, [], "{first:?}, then {second:?}");
            assert_eq!(w.tracker.trace(canary(1).trace), Some(&answered), "{first:?}, then {second:?}");
        }
    }
}
