//! What outlives a restart, and what is given to the store for it.

use super::*;
use crate::domain::copies::{CopyStanding, UnchargedReason};

/// All that a store that was given everything would bring back.
fn saved(world: &World) -> Vec<Trace> {
    world.tracker.everything().traces.into_iter().map(|(trace, _)| (*trace).clone()).collect()
}

/// A process that begins at an instant, with what another one left.
fn after(before: &World, at: Timestamp) -> World {
    let mut after = World::new();
    after.tracker.restore(saved(before), at);
    after
}

/// The stages at which somebody looks for acme's canaries.
fn wanted_at(world: &World) -> Vec<StageId> {
    let polls = |stage: &StageId| {
        let source = world.tracker.topology.source_of(ACME, *stage);
        !world.tracker.wanted(source).waiting.is_empty()
    };
    [STREAM, ARCHIVE, TRANSIT, TABLE, DEAD].into_iter().filter(polls).collect()
}

#[test]
fn a_canary_of_an_previous_run_is_adopted_and_enters_no_latency_series() {
    let mut w = World::new();
    w.tracker.began = t(20);
    for (stage, at) in [(TRANSIT, 21), (TABLE, 25)] {
        w.poll(stage, t(at), vec![seen(canary(1), Stamp::Millis(t(at - 1)), t(at), "a")]);
    }
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { .. })), 1);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(w.count(|event| matches!(event, Event::EndToEnd { .. } | Event::HopMeasured { .. })), 0);
}

#[test]
fn a_canary_of_version_1_is_adopted_and_wanted_as_it_was_written() {
    let mut w = World::new();
    w.tracker.began = t(20);
    w.poll(TRANSIT, t(21), vec![seen(old_canary(1), Stamp::Millis(t(20)), t(21), "a")]);
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { tenant: ACME, .. })), 1);
    let wanted = w.tracker.wanted(w.tracker.topology.source_of(ACME, TABLE));
    assert_eq!(wanted.waiting.iter().map(|trace| trace.tag).collect::<Vec<_>>(), [old_canary(1)]);
    // A tenant that is new to the configuration and fits, too, makes it nobody's.
    let mut after = World::new();
    after.tracker = Tracker::new(Arc::new(topology_with("t3737179")), settings(), t(22));
    after.tracker.restore(saved(&w), t(22));
    assert_eq!(after.tracker.in_flight(), 0);
}

#[test]
fn a_canary_planned_by_this_process_that_it_does_not_know_is_another_process_s() {
    let mut w = World::new();
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { .. })), 0);
    assert_eq!(w.tracker.in_flight(), 0);
}

#[test]
fn a_restart_keeps_what_is_in_flight_and_counts_nothing_twice() {
    let mut before = World::new();
    before.put(canary(1));
    before.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    before.poll(TABLE, t(SLO + 1), vec![]);
    assert_eq!(before.count(|event| matches!(event, Event::Overdue { .. })), 1);
    let saved: Vec<Trace> =
        before.tracker.take_changes().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    assert!(before.tracker.take_changes().traces.is_empty());
    let mut after = World::new();
    after.tracker.restore(saved, t(SLO + 5));
    assert_eq!(after.tracker.in_flight(), 1);
    after.poll(STREAM, t(SLO + 6), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    after.poll(TABLE, t(SLO + 9), vec![seen(canary(1), Stamp::None, t(SLO + 9), "c")]);
    assert_eq!(after.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(after.count(|event| matches!(event, Event::Duplicate { .. })), 0);
    assert_eq!(after.count(|event| matches!(event, Event::EndToEnd { .. } | Event::Overdue { .. })), 0);
}

#[test]
fn a_trace_seen_shortly_before_a_restart_stays_in_the_recently_seen_list() {
    let mut before = World::new();
    before.put(canary(1));
    before.poll(TABLE, t(5), vec![seen(canary(1), Stamp::None, t(5), "a")]);
    let recently_seen_after = |at| {
        let mut after = World::new();
        after.tracker.restore(
            before
                .tracker
                .everything()
                .traces
                .into_iter()
                .map(|(trace, _)| (*trace).clone())
                .collect::<Vec<_>>(),
            at,
        );
        after.tracker.wanted(after.tracker.topology.source_of(ACME, TABLE)).recently_seen.len()
    };
    assert_eq!(recently_seen_after(t(10)), 1);
    assert_eq!(recently_seen_after(t(70)), 0);
}

#[test]
fn a_store_that_can_be_read_only_later_adds_to_what_is_known() {
    let mut before = World::new();
    before.put(canary(1));
    before.put(canary(2));
    let saved: Vec<Trace> =
        before.tracker.take_changes().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    let mut after = World::new();
    after.put(canary(2));
    after.put(canary(3));
    after.poll(STREAM, t(1), vec![seen(canary(2), Stamp::Millis(ms(300)), t(1), "a")]);
    after.tracker.restore(saved, t(5));
    assert_eq!(after.tracker.in_flight(), 3);
    assert!(after.tracker.trace(canary(2).trace).unwrap().arrival(STREAM).is_some());
    let unsaved: Vec<_> = after.tracker.take_changes().traces.iter().map(|(trace, _)| trace.id()).collect();
    assert_eq!(unsaved, [canary(2).trace, canary(3).trace]);
}

#[test]
fn a_canary_that_may_never_have_been_put_is_unobserved_not_lost() {
    let mut before = World::new();
    before.plan(canary(1), t(0));
    let saved: Vec<Trace> =
        before.tracker.take_changes().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    let mut after = World::new();
    after.tracker.restore(saved, t(5));
    after.empty_poll_except_at(&[], t(GIVE_UP + 1));
    after.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert_eq!(after.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::AmbiguousPut)));
}

#[test]
fn what_became_of_a_put_is_for_the_store() {
    let mut w = World::new();
    w.plan(canary(1), t(0));
    w.tracker.take_changes();
    let result = PutResult::ambiguous(true);
    w.apply(Input::Put { trace: canary(1).trace, result }, t(1));
    assert_eq!(w.tracker.take_changes().traces.len(), 1);
}

#[test]
fn a_trace_that_is_forgotten_as_soon_as_it_is_finished_is_still_for_the_store() {
    let mut w = World::with(Settings { remember: 0, remember_of_tenant: 0, ..settings() });
    w.put(canary(1));
    for (stage, copy) in [(STREAM, "a"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
        w.poll(stage, t(2), vec![seen(canary(1), Stamp::None, t(2), copy)]);
    }
    assert_eq!(w.tracker.trace(canary(1).trace), None);
    let unsaved = w.tracker.take_changes().traces;
    assert!(matches!(unsaved.as_slice(), [(trace, true)] if trace.ended.is_some()), "{unsaved:?}");
    assert!(w.tracker.take_changes().traces.is_empty());
}

#[test]
fn a_trace_that_is_closed_after_its_outcome_is_for_the_store_again() {
    let mut w = World::new();
    w.put(canary(1));
    for (stage, copy) in [(STREAM, "a"), (TRANSIT, "c"), (TABLE, "d")] {
        w.poll(stage, t(2), vec![seen(canary(1), Stamp::None, t(2), copy)]);
    }
    assert!(matches!(w.tracker.take_changes().traces.as_slice(), [(_, false)]));
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert!(matches!(w.tracker.take_changes().traces.as_slice(), [(_, true)]));
}

#[test]
fn a_restored_trace_belongs_to_the_tenant_that_its_tag_names() {
    let mut before = World::new();
    before.put(canary(1));
    let mut saved: Vec<Trace> =
        before.tracker.take_changes().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    saved[0].tenant = GLOBEX;
    saved.push(Trace { tag: canary_of("gone", 2, t(0)), ..saved[0].clone() });
    let mut after = World::new();
    after.tracker.restore(saved, t(5));
    assert_eq!(after.tracker.trace(canary(1).trace).unwrap().tenant, ACME);
    assert_eq!(after.tracker.in_flight(), 1, "whoever is not configured any more is not followed");
}

/// After which a trace of `t(0)` is over for a process that was there all the time.
const OVER: u64 = GIVE_UP + GRACE;

#[test]
fn a_trace_that_is_taken_over_past_its_time_can_still_be_delivered() {
    let mut before = World::new();
    before.put(canary(1));
    let mut w = after(&before, t(OVER + 1_000));
    w.apply(Input::Tick, t(OVER + 1_001));
    assert_eq!(w.tracker.in_flight(), 1);
    w.poll(TABLE, t(OVER + 1_005), vec![seen(canary(1), Stamp::Millis(t(9)), t(OVER + 1_005), "c")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn a_trace_that_is_taken_over_past_its_time_can_still_be_proven_lost() {
    let mut before = World::new();
    before.put(canary(1));
    let mut w = after(&before, t(OVER + 1_000));
    w.empty_poll_except_at(&[], t(OVER + 1_005));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(STREAM))));
}

#[test]
fn a_trace_that_is_taken_over_past_its_time_is_waited_for_no_longer_than_a_blind_source() {
    let mut before = World::new();
    before.put(canary(1));
    let mut w = after(&before, t(OVER + 1_000));
    w.apply(Input::Tick, t(OVER + 1_000 + GRACE - 1));
    assert_eq!(w.outcome(canary(1)), None);
    assert_eq!(w.tracker.next_deadline(), Some(t(OVER + 1_000 + GRACE)));
    w.apply(Input::Tick, t(OVER + 1_000 + GRACE));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::Blind)));
    assert_eq!(w.tracker.next_deadline(), None);
}

#[test]
fn a_trace_that_is_taken_over_in_time_is_waited_for_as_long_as_any_other() {
    let mut before = World::new();
    before.put(canary(1));
    let mut w = after(&before, t(GIVE_UP));
    w.apply(Input::Tick, t(OVER - 1));
    assert_eq!(w.outcome(canary(1)), None);
    w.apply(Input::Tick, t(OVER));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::Blind)));
}

#[test]
fn a_canary_that_is_adopted_shortly_before_its_time_is_over_is_given_the_grace_as_well() {
    let mut w = World::new();
    w.tracker.began = t(OVER - 2);
    w.poll(STREAM, t(OVER - 1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(OVER - 1), "a")]);
    w.apply(Input::Tick, t(OVER));
    assert_eq!(w.outcome(canary(1)), None);
    w.poll(TABLE, t(OVER + 5), vec![seen(canary(1), Stamp::Millis(t(9)), t(OVER + 5), "c")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn a_restart_makes_no_doubt_of_a_loss_whose_put_is_answered_a_second_time() {
    let mut before = World::new();
    before.put(canary(1));
    let mut after = after(&before, t(GIVE_UP - 5));
    // Without the restart every source but the table's is blind by now, and this look alone decides.
    for w in [&mut before, &mut after] {
        w.poll(TABLE, t(GIVE_UP + 1), vec![]);
        let result = PutResult::ambiguous(false);
        w.apply(Input::Put { trace: canary(1).trace, result }, t(GIVE_UP + 2));
        w.apply(Input::Tick, t(GIVE_UP + GRACE + 1));
    }
    let lost = Outcome::Lost(HopRange { first: STREAM, last: TABLE });
    assert_eq!(before.outcome(canary(1)), Some(lost.clone()));
    assert_eq!(after.outcome(canary(1)), Some(lost));
}

#[test]
fn what_was_over_before_a_restart_is_not_wanted_again() {
    let refused = PutResult::Refused { reason: "no".into() };
    let mut before = World::new();
    before.plan(canary(1), t(0));
    before.apply(Input::Put { trace: canary(1).trace, result: refused }, t(1));
    before.put(canary(2));
    before.poll(DEAD, t(2), vec![seen(canary(2), Stamp::Seconds(t(1)), t(2), "dlq/1")]);
    before.put(canary(3));
    for (stage, copy) in [(STREAM, "a"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
        before.poll(stage, t(3), vec![seen(canary(3), Stamp::None, t(3), copy)]);
    }
    assert_eq!(wanted_at(&before), []);
    assert_eq!(wanted_at(&after(&before, t(4))), []);
}

#[test]
fn what_was_judged_of_a_trace_that_was_over_before_a_restart_stays() {
    let mut before = World::new();
    before.put(canary(1));
    before.empty_poll_except_at(&[], t(GIVE_UP + 1));
    let w = after(&before, t(GIVE_UP + 2));
    let said = |w: &World| {
        let trace = w.tracker.trace(canary(1).trace).unwrap();
        let hops: Vec<_> = trace.stages.iter().map(|visit| visit.hop).collect();
        (trace.judgement, trace.ended.clone(), hops)
    };
    assert_eq!(said(&w), said(&before));
    assert_eq!(said(&w).0, Judgement::Overdue);
}

#[test]
fn an_arrival_that_was_seen_before_a_restart_is_judged_as_it_was_seen() {
    let mut before = World::new();
    before.put(canary(1));
    before.poll(TRANSIT, t(9), vec![]);
    before.poll(TRANSIT, t(12), vec![seen(canary(1), Stamp::None, t(12), "b")]);
    let mut w = after(&before, t(13));
    // The target of the hop lies within the interval, but nobody was blind.
    w.poll(STREAM, t(14), vec![seen(canary(1), Stamp::Millis(ms(300)), t(14), "a")]);
    let hop = w.tracker.trace(canary(1).trace).unwrap().visit(TRANSIT).hop;
    assert!(matches!(hop, Hop::Measured { was_overdue: false, .. }), "{hop:?}");
}

#[test]
fn an_old_loss_is_not_wanted_after_a_restart() {
    let mut before = World::new();
    before.put(canary(1));
    before.empty_poll_except_at(&[], t(GIVE_UP + 1));
    let recently_seen = |at| {
        let w = after(&before, at);
        w.tracker.wanted(w.tracker.topology.source_of(ACME, TABLE)).recently_seen.len()
    };
    assert_eq!(recently_seen(t(GIVE_UP + 5)), 1);
    assert_eq!(recently_seen(t(GIVE_UP + 1 + GIVE_UP + 1)), 0);
}

/// What a clock that was set leaves behind: canary 1 is on its way to the end, canary 2 is delivered and not
/// archived yet.
fn abandoned() -> (World, Vec<Trace>) {
    let mut w = World::new();
    w.put(canary(1));
    w.put(canary(2));
    let both = |copy| [1, 2].map(|n| seen(canary(n), Stamp::Millis(ms(300)), t(1), copy)).into();
    w.poll(STREAM, t(1), both("a"));
    w.poll(TABLE, t(2), vec![seen(canary(2), Stamp::None, t(2), "c")]);
    let events = w.tracker.abandon(t(3));
    assert_eq!(
        events,
        [Event::Ended {
            tenant: ACME,
            trace: canary(1).trace,
            outcome: Outcome::Unobserved(UnobservedReason::ClockStepped),
            adopted: false
        }]
    );
    assert_eq!((w.tracker.in_flight(), w.tracker.open.len()), (0, 0));
    let saved = w.tracker.take_changes().traces;
    assert!(saved.iter().all(|(_, finished)| *finished), "{saved:?}");
    (w, saved.into_iter().map(|(trace, _)| (*trace).clone()).collect())
}

#[test]
fn when_the_clock_was_set_what_is_in_flight_is_unobserved_and_no_hop_is_judged() {
    let (w, _) = abandoned();
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::ClockStepped)));
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
            after.poll(stage, at, vec![]);
            let copies = [1, 2].map(|n| seen(canary(n), Stamp::Millis(at), at + s(1), "late"));
            after.poll(stage, at + s(1), copies.into());
        }
        after.apply(Input::Tick, now + s(2 * (GIVE_UP + GRACE)));
        assert_eq!(after.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::ClockStepped)));
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
        let found = |event: &Event| matches!(event, Event::LateArrival { .. } | Event::LateDiscovery { .. });
        assert_eq!(after.count(found), 1);
    }
}

#[test]
fn what_our_clock_differs_from_the_systems_is_added_to_the_allowance_of_a_stage() {
    let mut w = World::new();
    w.apply(Input::ClockCompared(Duration::from_millis(400)), t(0));
    w.put(canary(1));
    w.poll(STREAM, t(2), vec![]);
    w.poll(STREAM, t(9), vec![seen(canary(1), Stamp::Millis(t(5)), t(9), "1")]);
    let width = w.tracker.trace(canary(1).trace).unwrap().arrival(STREAM).unwrap().width();
    assert_eq!(width, Duration::from_millis(1 + 2 * (50 + 400)));
}

#[test]
fn a_hop_that_was_overdue_before_a_restart_is_inherited_whether_the_trace_is_over_or_not() {
    let mut before = World::new();
    before.put(canary(1));
    before.poll(STREAM, t(9), vec![]);
    before.poll(TABLE, t(10), vec![seen(canary(1), Stamp::None, t(10), "c")]);
    let hop = |w: &World| w.tracker.trace(canary(1).trace).unwrap().visit(STREAM).hop;
    assert_eq!(hop(&before), Hop::Overdue);
    // What a restart makes of a trace is not saved, so the next one finds it as it was.
    for at in [t(20), t(OVER + 1)] {
        assert_eq!(hop(&after(&before, at)), Hop::Inherited);
    }
}

#[test]
fn a_hop_that_was_overdue_before_a_restart_and_never_happens_is_missing_once() {
    let mut before = World::new();
    before.put(canary(1));
    before.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    before.poll(ARCHIVE, t(20), vec![]);
    assert_eq!(before.count(|event| matches!(event, Event::HopOverdue { hop: ARCHIVE, .. })), 1);
    let mut w = after(&before, t(30));
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    let of_archive = |event: &Event| {
        matches!(event, Event::HopMissing { hop: ARCHIVE, .. } | Event::HopOverdue { hop: ARCHIVE, .. })
    };
    assert_eq!(w.count(of_archive), 1);
    let in_no_histogram =
        |event: &Event| matches!(event, Event::HopMissing { hop: ARCHIVE, waited: None, .. });
    assert_eq!(w.count(in_no_histogram), 1);
    assert_eq!(w.tracker.trace(canary(1).trace).unwrap().visit(ARCHIVE).hop, Hop::Missing);
    let mut next = after(&w, t(GIVE_UP + 2));
    next.empty_poll_except_at(&[], t(OVER + 1));
    assert_eq!(next.count(of_archive), 0);
}

#[test]
fn a_hop_that_was_overdue_at_a_source_never_seen_is_not_missing_after_a_restart() {
    let mut before = World::new();
    before.put(canary(1));
    before.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    before.poll(ARCHIVE, t(20), vec![]);
    let mut w = World::fresh();
    w.tracker.restore(saved(&before), t(30));
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    w.apply(Input::Tick, t(OVER));
    let never_seen = |event: &Event| matches!(event, Event::HopNeverSeen { hop: ARCHIVE, waited: None, .. });
    assert_eq!(w.count(never_seen), 1);
    assert_eq!(w.count(|event| matches!(event, Event::HopMissing { .. })), 0);
}

#[test]
fn a_canary_that_was_adopted_stays_so_after_a_restart() {
    let mut before = World::new();
    before.tracker.began = t(20);
    before.poll(STREAM, t(21), vec![seen(canary(1), Stamp::Millis(t(20)), t(21), "a")]);
    let mut w = after(&before, t(30));
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    w.apply(Input::Tick, t(OVER));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::HandedOver)));
    assert_eq!(w.count(|event| matches!(event, Event::Ended { adopted: true, .. })), 1);
    let missing = |event: &Event| matches!(event, Event::HopMissing { .. } | Event::HopNeverSeen { .. });
    assert_eq!(w.count(missing), 0, "what its process counted is not known");
}

/// A canary that is delivered, and not archived.
fn not_archived() -> World {
    let mut w = World::new();
    w.put(canary(1));
    for (stage, copy) in [(STREAM, "a"), (TRANSIT, "c"), (TABLE, "d")] {
        w.poll(stage, t(3), vec![seen(canary(1), Stamp::None, t(3), copy)]);
    }
    w
}

#[test]
fn a_trace_that_has_finished_is_not_finished_again_with_more_stages_or_a_later_deadline() {
    let mut before = not_archived();
    before.poll(ARCHIVE, t(GIVE_UP + 1), vec![]);
    assert_eq!(before.tracker.oldest_open(), None);
    let later = Settings { give_up: s(10 * GIVE_UP), ..settings() };
    for (map, settings) in [(with_mirror(), settings()), (topology(), later)] {
        let mut w = World::of(map, settings);
        let events = w.tracker.restore(saved(&before), t(GIVE_UP + 2));
        assert_eq!(events, []);
        assert_eq!(wanted_at(&w), []);
        let stages: Vec<_> = w.tracker.topology.stage_ids().collect();
        for stage in stages {
            w.poll(stage, t(10 * GIVE_UP + 1), vec![]);
        }
        w.apply(Input::Tick, t(10 * GIVE_UP + GRACE));
        assert!(w.tracker.take_changes().settled.is_empty());
        let judged = |event: &&Event| {
            matches!(
                event,
                Event::HopMissing { .. }
                    | Event::HopNeverSeen { .. }
                    | Event::HopOverdue { .. }
                    | Event::HopUnobserved { .. }
                    | Event::Ended { .. }
            )
        };
        assert_eq!(w.events.iter().find(judged), None);
    }
}

#[test]
fn a_trace_that_the_store_has_as_open_is_finished_once_by_the_next_run() {
    let mut w = World::new();
    let open = [canary(1).trace].into();
    w.tracker.restore(Restored { traces: saved(&not_archived()), open, ..Restored::default() }, t(4));
    w.poll(ARCHIVE, t(GIVE_UP + 1), vec![]);
    assert_eq!(w.count(|event| matches!(event, Event::HopMissing { hop: ARCHIVE, .. })), 1);
    assert_eq!(w.tracker.take_changes().settled.len(), 1);
}

#[test]
fn a_trace_that_its_sources_may_have_dropped_meanwhile_is_unobserved_and_not_lost() {
    let mut before = World::new();
    before.put(canary(1));
    let day = 24 * 3_600;
    let mut after = after(&before, t(day));
    assert_eq!(after.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::Blind)));
    let changes = after.tracker.take_changes().traces;
    assert!(
        changes.iter().any(|(trace, finished)| trace.id() == canary(1).trace && *finished),
        "{changes:?}"
    );
    after.empty_poll_except_at(&[], t(day + 1));
    assert_eq!(after.count(|event| matches!(event, Event::Ended { outcome: Outcome::Lost(_), .. })), 0);
}

#[test]
fn what_was_abandoned_at_a_step_of_the_clock_stays_closed_after_the_restart() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(2), vec![seen(canary(1), Stamp::None, t(2), "a")]);
    w.tracker.abandon(t(3));
    let saved: Vec<Trace> =
        w.tracker.everything().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    let mut next = World::new();
    next.tracker.restore(saved, t(4));
    let archive = next.tracker.topology.source_of(ACME, ARCHIVE);
    assert!(next.tracker.wanted(archive).waiting.is_empty());
}

/// What a process that ended before its put was answered left: a canary at the stream, and these copies.
fn unanswered(copies: &[&str]) -> World {
    let mut before = World::new();
    before.plan(canary(1), t(0));
    for copy in copies {
        before.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), copy)]);
    }
    before
}

/// What the copies at the stream count as.
fn standings(w: &World) -> Vec<CopyStanding> {
    let copies = &w.tracker.trace(canary(1).trace).unwrap().visit(STREAM).copies;
    copies.iter().map(|copy| copy.standing).collect()
}

const OF_UNKNOWN_SENDER: CopyStanding = CopyStanding::Uncharged(UnchargedReason::Unknown);

#[test]
fn a_second_copy_awaits_no_answer_that_was_lost_with_its_process() {
    let before = unanswered(&["a", "b"]);
    assert_eq!(standings(&before), [CopyStanding::First, CopyStanding::AwaitsPut]);
    let after = after(&before, t(2));
    assert_eq!(standings(&after), [CopyStanding::First, OF_UNKNOWN_SENDER]);
}

#[test]
fn a_second_copy_that_is_found_after_a_restart_awaits_no_answer_either() {
    let mut after = after(&unanswered(&["a"]), t(2));
    after.poll(STREAM, t(3), vec![seen(canary(1), Stamp::Millis(ms(300)), t(3), "b")]);
    assert_eq!(standings(&after), [CopyStanding::First, OF_UNKNOWN_SENDER]);
}
