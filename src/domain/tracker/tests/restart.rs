//! What outlives a restart, and what is given to the store for it.

use super::*;

#[test]
fn a_canary_of_an_earlier_life_is_adopted_and_enters_no_latency_series() {
    let mut w = World::new();
    w.tracker.began = t(20);
    for (stage, at) in [(TRANSIT, 21), (TABLE, 25)] {
        w.look(stage, t(at), vec![seen(canary(1), Stamp::Millis(t(at - 1)), t(at), "a")]);
    }
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { .. })), 1);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(w.count(|event| matches!(event, Event::EndToEnd { .. } | Event::HopMeasured { .. })), 0);
}

#[test]
fn a_canary_planned_by_this_process_that_it_does_not_know_is_another_process_s() {
    let mut w = World::new();
    w.look(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { .. })), 0);
    assert_eq!(w.tracker.in_flight(), 0);
}

#[test]
fn a_restart_keeps_what_is_in_flight_and_counts_nothing_twice() {
    let mut before = World::new();
    before.put(canary(1));
    before.look(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    before.look(TABLE, t(SLO + 1), vec![]);
    assert_eq!(before.count(|event| matches!(event, Event::Overdue { .. })), 1);
    let saved: Vec<Trace> =
        before.tracker.take_unsaved().iter().map(|(trace, _)| (**trace).clone()).collect();
    assert!(before.tracker.take_unsaved().is_empty());
    let mut after = World::new();
    after.tracker.restore(saved, t(SLO + 5));
    assert_eq!(after.tracker.in_flight(), 1);
    after.look(STREAM, t(SLO + 6), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    after.look(TABLE, t(SLO + 9), vec![seen(canary(1), Stamp::None, t(SLO + 9), "c")]);
    assert_eq!(after.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(after.count(|event| matches!(event, Event::Duplicate { .. })), 0);
    assert_eq!(after.count(|event| matches!(event, Event::EndToEnd { .. } | Event::Overdue { .. })), 0);
}

#[test]
fn a_trace_seen_shortly_before_a_restart_still_rides_along_in_looks_by_id() {
    let mut before = World::new();
    before.put(canary(1));
    before.look(TABLE, t(5), vec![seen(canary(1), Stamp::None, t(5), "a")]);
    let riders_after = |at| {
        let mut after = World::new();
        after.tracker.restore(before.tracker.all().into_iter().map(|(trace, _)| (*trace).clone()), at);
        after.tracker.wanted(after.tracker.topology.source_of(ACME, TABLE)).riders.len()
    };
    assert_eq!(riders_after(t(10)), 1);
    assert_eq!(riders_after(t(70)), 0);
}

#[test]
fn a_store_that_can_be_read_only_later_adds_to_what_is_known() {
    let mut before = World::new();
    before.put(canary(1));
    before.put(canary(2));
    let saved: Vec<Trace> =
        before.tracker.take_unsaved().iter().map(|(trace, _)| (**trace).clone()).collect();
    let mut after = World::new();
    after.put(canary(2));
    after.put(canary(3));
    after.look(STREAM, t(1), vec![seen(canary(2), Stamp::Millis(ms(300)), t(1), "a")]);
    after.tracker.restore(saved, t(5));
    assert_eq!(after.tracker.in_flight(), 3);
    assert!(after.tracker.trace(canary(2).trace).unwrap().arrival(STREAM).is_some());
    let unsaved: Vec<_> = after.tracker.take_unsaved().iter().map(|(trace, _)| trace.id()).collect();
    assert_eq!(unsaved, [canary(2).trace, canary(3).trace]);
}

#[test]
fn a_canary_of_which_nobody_knows_whether_it_was_ever_put_is_unobserved_not_lost() {
    let mut before = World::new();
    before.apply(Input::Planned { tag: canary(1) }, t(0));
    let saved: Vec<Trace> =
        before.tracker.take_unsaved().iter().map(|(trace, _)| (**trace).clone()).collect();
    let mut after = World::new();
    after.tracker.restore(saved, t(5));
    after.look_in_vain_but_at(&[], t(GIVE_UP + 1));
    after.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert_eq!(after.outcome(canary(1)), Some(Outcome::Unobserved));
}

#[test]
fn what_became_of_a_put_is_for_the_store() {
    let mut w = World::new();
    w.apply(Input::Planned { tag: canary(1) }, t(0));
    w.tracker.take_unsaved();
    let result = PutResult::Ambiguous { doubled: true };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(1));
    assert_eq!(w.tracker.take_unsaved().len(), 1);
}

#[test]
fn a_trace_that_is_forgotten_as_soon_as_it_is_finished_is_still_for_the_store() {
    let mut w = World::new();
    w.tracker.settings.remember = 0;
    w.put(canary(1));
    for (stage, copy) in [(STREAM, "a"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
        w.look(stage, t(2), vec![seen(canary(1), Stamp::None, t(2), copy)]);
    }
    assert_eq!(w.tracker.trace(canary(1).trace), None);
    let unsaved = w.tracker.take_unsaved();
    assert!(matches!(unsaved.as_slice(), [(trace, true)] if trace.ended.is_some()), "{unsaved:?}");
    assert!(w.tracker.take_unsaved().is_empty());
}

#[test]
fn a_trace_that_is_closed_after_its_outcome_is_for_the_store_again() {
    let mut w = World::new();
    w.put(canary(1));
    for (stage, copy) in [(STREAM, "a"), (TRANSIT, "c"), (TABLE, "d")] {
        w.look(stage, t(2), vec![seen(canary(1), Stamp::None, t(2), copy)]);
    }
    assert!(matches!(w.tracker.take_unsaved().as_slice(), [(_, false)]));
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert!(matches!(w.tracker.take_unsaved().as_slice(), [(_, true)]));
}

/// What a clock that was set leaves behind: canary 1 is on its way to the end, canary 2 is delivered and not archived yet.
fn abandoned() -> (World, Vec<Trace>) {
    let mut w = World::new();
    w.put(canary(1));
    w.put(canary(2));
    let both = |copy| [1, 2].map(|n| seen(canary(n), Stamp::Millis(ms(300)), t(1), copy)).into();
    w.look(STREAM, t(1), both("a"));
    w.look(TABLE, t(2), vec![seen(canary(2), Stamp::None, t(2), "c")]);
    let events = w.tracker.abandon(t(3));
    assert_eq!(events, [Event::Ended { tenant: ACME, trace: canary(1).trace, outcome: Outcome::Unobserved }]);
    assert_eq!((w.tracker.in_flight(), w.tracker.open.len()), (0, 0));
    let saved = w.tracker.take_unsaved();
    assert!(saved.iter().all(|(_, finished)| *finished), "{saved:?}");
    (w, saved.into_iter().map(|(trace, _)| (*trace).clone()).collect())
}

#[test]
fn when_the_clock_was_set_what_is_in_flight_is_unobserved_and_no_hop_is_judged() {
    let (w, _) = abandoned();
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved));
    assert_eq!(w.outcome(canary(2)), Some(Outcome::Delivered));
    for n in [1, 2] {
        assert_eq!(w.tracker.trace(canary(n).trace).unwrap().visit(ARCHIVE).hop, Hop::Unjudged);
    }
}

#[test]
fn after_the_clock_was_set_forward_or_back_nothing_is_lost_or_measured_across_it() {
    for now in [t(3_600), t(0) - s(3_600)] {
        let (_, saved) = abandoned();
        let mut after =
            World { tracker: Tracker::new(Arc::new(topology()), settings(), now), events: vec![] };
        after.tracker.restore(saved, now);
        assert_eq!(after.tracker.in_flight(), 0);
        for (stage, later) in [(ARCHIVE, 5), (TRANSIT, 6), (TABLE, 9)] {
            let at = now + s(later);
            after.look(stage, at, vec![]);
            let copies = [1, 2].map(|n| seen(canary(n), Stamp::Millis(at), at + s(1), "late"));
            after.look(stage, at + s(1), copies.into());
        }
        after.apply(Input::Tick, now + s(2 * (GIVE_UP + GRACE)));
        assert_eq!(after.outcome(canary(1)), Some(Outcome::Unobserved));
        let measured = |event: &&Event| {
            matches!(
                event,
                Event::HopMeasured { .. }
                    | Event::HopOverdue { .. }
                    | Event::HopMissing { .. }
                    | Event::EndToEnd { .. }
                    | Event::Overdue { .. }
                    | Event::GaveUp { .. }
                    | Event::Ended { .. }
            )
        };
        assert_eq!(after.events.iter().find(measured), None);
        assert_eq!(after.count(|event| matches!(event, Event::LateArrival { .. })), 1);
    }
}

#[test]
fn what_our_clock_differs_from_the_systems_is_added_to_the_allowance_of_a_stage() {
    let mut w = World::new();
    w.apply(Input::ClockCompared(Duration::from_millis(400)), t(0));
    w.put(canary(1));
    w.look(STREAM, t(2), vec![]);
    w.look(STREAM, t(9), vec![seen(canary(1), Stamp::Millis(t(5)), t(9), "1")]);
    let width = w.tracker.trace(canary(1).trace).unwrap().arrival(STREAM).unwrap().width();
    assert_eq!(width, Duration::from_millis(1 + 2 * (50 + 400)));
}
