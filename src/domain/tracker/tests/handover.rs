//! One process replaces another: what each of them counts, and what they make of each other's canaries.

use super::*;
use crate::domain::copies::UnchargedReason;
use crate::domain::tag::{Keyring, TagKey};
use crate::domain::tracker::namesake::COPY_COMES_WITHIN;

const HANDOVER: u64 = 600;

/// A process without a store, which begins at `t(0)`.
fn unkept() -> World {
    World::with(Settings {
        instance: InstanceCode::of_run("me", t(0)),
        handover: s(HANDOVER),
        is_kept: false,
        ..settings()
    })
}

/// The canary as the process of this name sends it that began at `t(0) - age`.
fn by(name: &str, age: u64, canary: Tag) -> Tag {
    let instance = InstanceCode::of_run(name, t(0) - s(age));
    Tag::new(canary.trace, TenantCode::of("acme"), instance, 100, canary.purpose())
}

fn own(n: u8, at: Timestamp) -> Tag {
    by("me", 0, canary_at(n, at))
}

/// A poll of a stage that shows this copy.
fn show(w: &mut World, stage: StageId, at: u64, tag: Tag, copy: &str) {
    w.poll(stage, t(at), vec![seen(tag, Stamp::Millis(t(at)), t(at), copy)]);
}

/// Polls of every stage of the main path show ours.
fn arrives(w: &mut World, at: u64, tag: Tag) {
    for (stage, at) in [(STREAM, at), (TRANSIT, at + 1), (TABLE, at + 3)] {
        show(w, stage, at, tag, "ours");
    }
}

/// When it is told who counts a canary that a poll found at the last stage.
fn told_at(poll: u64) -> Timestamp {
    t(poll) + POLL_TAKES + COPY_COMES_WITHIN
}

/// Every outcome that was told, and whether it is one that another process counts.
fn ended(w: &World) -> Vec<(Outcome, bool)> {
    let ended = w.events.iter().filter_map(|event| match event {
        Event::Ended { outcome, adopted, .. } => Some((outcome.clone(), *adopted)),
        _ => None,
    });
    ended.collect()
}

fn uncharged(w: &World) -> Vec<UnchargedReason> {
    let reasons = w.events.iter().filter_map(|event| match event {
        Event::UnchargedCopy { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn what_is_in_flight_at_the_end_is_handed_over_once() {
    let mut w = unkept();
    w.put(own(1, t(0)));
    w.put(own(2, t(1)));
    show(&mut w, TABLE, 4, own(2, t(1)), "a");
    let events = w.tracker.handover(t(5));
    w.events.extend(events);
    let handed_over = Outcome::Unobserved(UnobservedReason::HandedOver);
    assert_eq!(ended(&w), [(handed_over, false), (Outcome::Delivered, false)]);
    assert_eq!(w.tracker.in_flight(), 0);
}

#[test]
fn an_overdue_canary_that_is_handed_over_is_closed_in_the_histogram() {
    let mut w = unkept();
    w.put(own(1, t(0)));
    w.poll(TABLE, t(SLO + 1), vec![]);
    let events = w.tracker.handover(t(SLO + 2));
    assert!(events.iter().any(|event| matches!(event, Event::GaveUp { counted: true, .. })), "{events:?}");
}

#[test]
fn a_slot_that_a_predecessor_sent_too_is_counted_by_it() {
    let mut w = unkept();
    w.put(own(1, t(10)));
    show(&mut w, STREAM, 11, by("me", 900, own(1, t(10))), "theirs");
    arrives(&mut w, 11, own(1, t(10)));
    assert_eq!(ended(&w), [(Outcome::Delivered, true)]);
}

#[test]
fn a_probe_of_another_name_counts_its_slots_and_we_count_ours() {
    let mut w = unkept();
    w.put(own(1, t(10)));
    show(&mut w, STREAM, 11, by("another", 900, own(1, t(10))), "theirs");
    arrives(&mut w, 11, own(1, t(10)));
    w.apply(Input::Tick, told_at(14));
    assert_eq!(ended(&w), [(Outcome::Delivered, false)]);
}

#[test]
fn a_copy_that_a_predecessor_put_late_is_waited_for() {
    let told = told_at(14);
    for is_shared in [true, false] {
        let mut w = unkept();
        w.put(own(1, t(10)));
        arrives(&mut w, 11, own(1, t(10)));
        w.apply(Input::Tick, told - Duration::from_micros(1));
        assert_eq!(ended(&w), []);
        assert_eq!(w.tracker.next_deadline(), Some(told));
        if is_shared {
            show(
                &mut w,
                STREAM,
                14 + COPY_COMES_WITHIN.as_secs() - 1,
                by("me", 900, own(1, t(10))),
                "theirs",
            );
        }
        w.apply(Input::Tick, told);
        assert_eq!(ended(&w), [(Outcome::Delivered, is_shared)]);
    }
}

#[test]
fn a_slot_is_withheld_for_as_long_as_a_predecessor_may_have_sent_it() {
    let missed = u64::from(namesake::MISSED_INTERVALS) * topology().tenants()[0].interval.as_secs();
    let last = 2 * missed;
    for (n, at, may_be_shared) in [(1, last + missed, true), (2, last + missed + 1, false)] {
        let mut w = unkept();
        show(&mut w, STREAM, 1, by("me", 900, canary_at(3, t(0) - s(9))), "of before");
        show(&mut w, STREAM, last + 1, by("me", 900, canary_at(4, t(last))), "its last");
        w.put(own(n, t(at)));
        arrives(&mut w, at + 1, own(n, t(at)));
        let is_told = w.count(|event| matches!(event, Event::Ended { adopted: false, .. })) > 0;
        assert_eq!(is_told, !may_be_shared, "after {at} s");
    }
}

#[test]
fn what_is_withheld_when_the_process_stops_is_counted() {
    let mut w = unkept();
    w.put(own(1, t(10)));
    arrives(&mut w, 11, own(1, t(10)));
    let events = w.tracker.handover(t(15));
    w.events.extend(events);
    assert_eq!(ended(&w), [(Outcome::Delivered, false)]);
    assert_eq!(w.tracker.next_deadline(), None);
}

#[test]
fn a_copy_of_another_process_is_no_arrival_of_ours_and_hides_no_loss() {
    let mut w = unkept();
    w.put(own(1, t(0)));
    for (stage, at) in [(STREAM, 1), (TRANSIT, 2), (TABLE, 4)] {
        show(&mut w, stage, at, by("me", 900, own(1, t(0))), "theirs");
    }
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    assert_eq!(ended(&w), [(Outcome::Lost(HopRange::one(STREAM)), true)]);
}

#[test]
fn a_late_copy_of_ours_is_timed_by_itself_although_theirs_was_there_before() {
    let mut w = unkept();
    w.put(own(1, t(0)));
    show(&mut w, STREAM, 1, by("me", 900, own(1, t(0))), "theirs");
    show(&mut w, STREAM, 9, own(1, t(0)), "ours");
    assert!(w.arrival(own(1, t(0)), STREAM).earliest > t(8));
    let locator = &w.tracker.trace(canary(1).trace).unwrap().visit(STREAM).copies[0].locator;
    assert_eq!(locator.as_str(), "ours");
}

#[test]
fn a_slot_that_a_predecessor_sent_too_is_counted_here_if_a_store_is_kept() {
    let mut w = unkept();
    w.tracker.settings.is_kept = true;
    w.put(own(1, t(10)));
    show(&mut w, STREAM, 11, by("me", 900, own(1, t(10))), "theirs");
    arrives(&mut w, 11, own(1, t(10)));
    assert_eq!(ended(&w), [(Outcome::Delivered, false)]);
}

#[test]
fn a_slot_is_counted_once_every_stage_was_read_that_may_show_who_else_sent_it() {
    for is_shared in [true, false] {
        let mut w = unkept();
        w.put(own(1, t(10)));
        show(&mut w, TABLE, 14, own(1, t(10)), "ours");
        assert_eq!(w.outcome(own(1, t(10))), Some(Outcome::Delivered));
        assert_eq!(ended(&w), []);
        show(&mut w, TRANSIT, 15, own(1, t(10)), "ours");
        if is_shared {
            show(&mut w, STREAM, 16, by("me", 900, own(1, t(10))), "theirs");
        }
        w.apply(Input::Tick, told_at(14));
        assert_eq!(ended(&w).is_empty(), !is_shared);
        show(&mut w, STREAM, 15 + COPY_COMES_WITHIN.as_secs(), own(1, t(10)), "ours");
        assert_eq!(ended(&w), [(Outcome::Delivered, is_shared)]);
        w.empty_poll_except_at(&[], t(GIVE_UP + GRACE + 20));
        assert_eq!(ended(&w).len(), 1);
    }
}

#[test]
fn a_slot_that_a_successor_sends_too_is_counted_here_however_soon_it_begins() {
    let began = u64::from(namesake::MISSED_INTERVALS) * topology().tenants()[0].interval.as_secs();
    let mut w = unkept();
    for (n, at, is_successor) in [(1, began - 1, false), (2, began, true)] {
        let mut w = unkept();
        w.put(own(n, t(at)));
        show(&mut w, STREAM, at + 1, by("me", 900, own(n, t(at))), "theirs");
        arrives(&mut w, at + 1, own(n, t(at)));
        assert_eq!(ended(&w), [(Outcome::Delivered, !is_successor)], "after {at} s");
    }
    // One that sent before we began is a predecessor, whenever it was found.
    w.put(own(1, t(began + 9)));
    show(&mut w, STREAM, began + 9, by("me", 900, canary_at(3, t(0) - s(9))), "of before");
    show(&mut w, STREAM, began + 10, by("me", 900, own(1, t(began + 9))), "theirs");
    arrives(&mut w, began + 10, own(1, t(began + 9)));
    assert_eq!(ended(&w), [(Outcome::Delivered, true)]);
}

#[test]
fn a_process_that_has_run_for_long_counts_the_slots_that_its_successor_sends_too() {
    let mut w = unkept();
    w.put(own(1, t(HANDOVER)));
    show(&mut w, STREAM, HANDOVER + 1, by("me", 5, own(1, t(HANDOVER))), "theirs");
    show(&mut w, TABLE, HANDOVER + 4, own(1, t(HANDOVER)), "ours");
    assert_eq!(ended(&w), [(Outcome::Delivered, false)]);
}

#[test]
fn copies_of_other_senders_are_no_duplicates_however_many_there_are_and_two_of_ours_are() {
    let mut w = unkept();
    w.put(own(1, t(0)));
    for (at, tag, copy) in [
        (1, own(1, t(0)), "ours"),
        (2, by("me", 900, own(1, t(0))), "of the predecessor"),
        (3, by("another", 5, own(1, t(0))), "of another probe"),
        (4, by("another", 5, own(1, t(0))), "of another probe, again"),
    ] {
        show(&mut w, STREAM, at, tag, copy);
    }
    let duplicates = |w: &World| w.count(|event| matches!(event, Event::Duplicate { .. }));
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::SecondSender; 3]));
    show(&mut w, STREAM, 5, own(1, t(0)), "ours, again");
    assert_eq!(duplicates(&w), 1);
}

#[test]
fn a_stage_that_keeps_trace_ids_only_shows_no_duplicates_of_two_senders() {
    let mut w = unkept();
    w.put(own(1, t(0)));
    show(&mut w, STREAM, 1, own(1, t(0)), "ours");
    show(&mut w, STREAM, 1, by("me", 900, own(1, t(0))), "theirs");
    // Rows without a tag are taken for ours.
    for (at, row) in [(3, "row 1"), (4, "row 2")] {
        show(&mut w, TABLE, at, own(1, t(0)), row);
    }
    let duplicates = |w: &World| w.count(|event| matches!(event, Event::Duplicate { .. }));
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::SecondSender; 2]));
    show(&mut w, TABLE, 5, own(1, t(0)), "row 3");
    assert_eq!(duplicates(&w), 1, "there are more rows than senders");
}

fn keys() -> Arc<Keyring> {
    let old = TagKey::new("the key before the rotation").unwrap();
    Arc::new(Keyring::new(TagKey::new("0123456789abcdef").unwrap(), vec![old]))
}

/// The canary of the last slot before `t(0)`, under the first key or the one before it, as sent by a run of
/// this name.
fn of_the_plan(w: &World, key: usize, name: &str) -> (Tag, LogGroupId) {
    let acme = w.tracker.topology.tenant(ACME);
    let plan = keys().plans(acme.code, acme.interval).nth(key).unwrap();
    let slot = plan.slot(plan.first_from(t(0)).number - 1);
    let tag = Tag::new(slot.trace, acme.code, InstanceCode::of(name), 100, Purpose::Probe);
    (tag, slot.log_group(acme.log_groups.len()))
}

#[test]
fn a_canary_of_the_plan_is_adopted_whatever_the_name_of_its_sender_was() {
    for key in [0, 1] {
        let mut w = unkept();
        w.tracker = w.tracker.with_plan(keys());
        let (tag, group) = of_the_plan(&w, key, "the host of the old task");
        show(&mut w, STREAM, 1, tag, "a");
        assert_eq!(w.tracker.trace(tag.trace).map(|trace| trace.log_group), Some(Some(group)));
        show(&mut w, TABLE, 4, tag, "a");
        assert_eq!(ended(&w), [(Outcome::Delivered, true)]);
    }
}

#[test]
fn a_canary_that_is_in_no_plan_of_ours_and_of_another_name_is_a_stray() {
    let mut w = unkept();
    w.tracker = w.tracker.with_plan(keys());
    show(&mut w, STREAM, 1, by("another", 900, canary_at(1, t(0) - s(5))), "a");
    assert_eq!(w.count(|event| matches!(event, Event::Stray { other_instance: true, .. })), 1);
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { .. })), 0);
}

#[test]
fn an_adopted_canary_that_is_not_found_any_more_is_neither_lost_nor_missing() {
    let mut w = unkept();
    w.tracker = w.tracker.with_plan(keys());
    let (tag, _) = of_the_plan(&w, 0, "me");
    // It may have reached the end before this process began to read there.
    show(&mut w, ARCHIVE, 1, tag, "a");
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    let missing = |w: &World| w.tracker.trace(tag.trace).unwrap().is_missing(&w.tracker.topology, STREAM);
    assert!(!missing(&w) && ended(&w).is_empty());
    w.apply(Input::Tick, t(GIVE_UP + GRACE + 1));
    assert_eq!(ended(&w), [(Outcome::Unobserved(UnobservedReason::HandedOver), true)]);
}

#[test]
fn a_check_is_no_slot_of_any_plan() {
    let mut w = unkept();
    w.tracker = w.tracker.with_plan(keys());
    let (slot, _) = of_the_plan(&w, 0, "me");
    let check = Tag::new(slot.trace, TenantCode::of("acme"), slot.instance, 100, Purpose::Check);
    show(&mut w, STREAM, 1, check, "a");
    assert_eq!(w.count(|event| matches!(event, Event::Adopted { .. })), 0);
}

#[test]
fn a_canary_that_the_store_has_is_not_planned_again() {
    let mut before = World::new();
    before.put(canary(1));
    let saved: Vec<Trace> =
        before.tracker.everything().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    // The clock was set back, and the slot comes again.
    let mut after = World::new();
    after.tracker.restore(saved, t(0) - s(5));
    let mut events = Vec::new();
    assert_eq!(after.tracker.plan(canary(1), t(0), &mut events), Err(NotPlanned::Known));
    assert_eq!(events, [Event::Missed { tenant: ACME, count: 1 }], "nothing is sent at this time");
    let tenants = after.tracker.snapshot(t(0)).tenants.clone();
    let of_acme = &tenants[usize::from(ACME.0)];
    assert!(of_acme.accepted_at().is_none_or(|at| at <= t(0)), "{of_acme:?}");
}

/// Shows one canary of a namesake for every 30 s of a time.
fn namesake(w: &mut World, age: u64, seconds: std::ops::RangeInclusive<u64>) {
    for at in seconds.step_by(30) {
        let tag = by("me", age, canary_at((at / 30 % 250) as u8, t(at)));
        show(w, STREAM, at + 1, tag, &format!("{at}"));
    }
}

fn reported(w: &World) -> bool {
    w.tracker.snapshot(t(5_000)).namesake.is_some()
}

#[test]
fn a_predecessor_that_stops_soon_is_no_namesake() {
    let mut w = unkept();
    namesake(&mut w, 900, 0..=300);
    assert!(!reported(&w));
    assert_eq!(w.count(|event| matches!(event, Event::SameName { .. })), 0);
}

#[test]
fn a_process_of_this_name_that_stays_is_reported_from_its_first_canary_on() {
    let mut w = unkept();
    namesake(&mut w, 900, 0..=900);
    let found = w.tracker.snapshot(t(1_000)).namesake;
    assert_eq!(found, Some(Namesake { since: t(0), last: t(900) }));
    assert_eq!(w.count(|event| matches!(event, Event::SameName { .. })), 1);
}

#[test]
fn two_deployments_are_no_process_that_stays() {
    let mut w = unkept();
    namesake(&mut w, 900, 0..=120);
    namesake(&mut w, 1, 1_200..=1_320);
    assert!(!reported(&w));
}
