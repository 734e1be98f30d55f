//! Several stored copies of one canary.

use super::*;
use crate::domain::copies::{MAX_CHECKED_RECORDS, Presence};
use crate::domain::topology::Capabilities;

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

/// A pipeline whose archive keeps objects that may be moved.
fn moving() -> World {
    World::of(moving_topology(), settings())
}

fn moving_topology() -> Topology {
    let map = topology();
    let stages = (0..).map(StageId).zip(map.stages().iter().cloned()).map(|(id, mut stage)| {
        if id == ARCHIVE {
            stage.capabilities = Capabilities::OBJECTS;
        }
        stage
    });
    Topology::new(map.tenants().to_vec(), stages.collect(), map.sources().to_vec()).unwrap()
}

fn in_object(key: &str, place: u32) -> Sighting {
    Sighting { locator: Locator::within(key, place), ..seen(canary(1), Stamp::Millis(ms(300)), t(1), "") }
}

fn undecoded(key: &str, place: u32) -> Sighting {
    let found_in = FoundIn { decoded: false, verbatim: false, ..FoundIn::default() };
    let integrity = Integrity::Corrupted { kept_bytes: 76, sent_bytes: 500 };
    Sighting { found_in, integrity, ..in_object(key, place) }
}

fn duplicates(w: &World) -> usize {
    w.count(|event| matches!(event, Event::Duplicate { .. }))
}

/// The reasons of all copies that were not charged.
fn uncharged(w: &World) -> Vec<UnchargedReason> {
    let reasons = w.events.iter().filter_map(|event| match event {
        Event::UnchargedCopy { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

fn archive(w: &World) -> SourceId {
    w.tracker.topology.source_of(ACME, ARCHIVE)
}

/// The objects that the observer of the archive should check.
fn checks(w: &World) -> Vec<String> {
    w.tracker.wanted(archive(w)).checks.iter().map(ToString::to_string).collect()
}

fn answer(w: &mut World, at: Timestamp, checked: &[(&str, Presence)]) {
    let checked = checked.iter().map(|(record, presence)| ((*record).into(), *presence)).collect();
    let source = archive(w);
    w.apply(Input::CopiesChecked { source, checked }, at);
}

/// A canary that was found in these objects, one after the other, a second apart.
fn archived_in(objects: &[&str]) -> World {
    let mut w = moving();
    w.put(canary(1));
    for (at, object) in (1..).zip(objects) {
        w.poll(ARCHIVE, t(at), vec![in_object(object, 0)]);
    }
    w
}

/// Just after both copies are checked again, if the second one was found with the second poll.
const RECHECKED: u64 = COPY_RECHECK + 5;

#[test]
fn a_canary_counts_as_a_duplicate_once_whatever_the_number_of_its_copies() {
    let mut w = World::new();
    w.put(canary(1));
    for copy in 0..9 {
        w.poll(STREAM, t(1), vec![in_object(&format!("shard-0/{copy}"), 0)]);
    }
    assert_eq!((duplicates(&w), uncharged(&w)), (1, vec![]));
}

#[test]
fn a_second_copy_in_the_same_record_is_not_charged() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), (0..5).map(|place| in_object("shard-0/1", place)).collect());
    w.poll(STREAM, t(2), (0..5).map(|place| in_object("shard-0/1", place)).collect());
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::SameRecord]));
}

#[test]
fn a_record_that_holds_a_canary_many_times_does_not_hide_a_copy_in_another() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), (0..50).map(|place| in_object("shard-0/1", place)).collect());
    w.poll(STREAM, t(2), vec![in_object("shard-0/2", 0)]);
    assert_eq!(duplicates(&w), 1);
}

#[test]
fn a_part_of_a_canary_beside_it_in_the_same_record_is_no_corruption() {
    let mut w = World::new();
    w.put(canary(1));
    let integrity = Integrity::Corrupted { kept_bytes: 76, sent_bytes: 500 };
    w.poll(STREAM, t(1), vec![in_object("a", 0), Sighting { integrity, ..in_object("a", 1) }]);
    assert_eq!(w.count(|event| matches!(event, Event::Corrupted { .. })), 0);
}

#[test]
fn a_log_line_that_mentions_only_the_tag_is_neither_a_duplicate_nor_corruption() {
    let mut w = World::new();
    w.put(canary(1));
    let integrity = Integrity::Corrupted { kept_bytes: 76, sent_bytes: 500 };
    w.poll(STREAM, t(1), vec![in_object("shard-0/1", 0)]);
    w.poll(STREAM, t(2), vec![Sighting { integrity, ..in_object("shard-0/2", 0) }]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Mention]));
    assert_eq!(w.count(|event| matches!(event, Event::Corrupted { .. })), 0);
}

#[test]
fn a_mention_that_is_found_before_the_whole_canary_is_no_copy_either() {
    for integrity in [Integrity::Corrupted { kept_bytes: 76, sent_bytes: 500 }, Integrity::Unchecked] {
        let mut w = World::new();
        w.put(canary(1));
        let mention = |record: &str| Sighting { integrity, ..in_object(record, 0) };
        w.poll(STREAM, t(1), vec![mention("shard-0/1")]);
        w.poll(STREAM, t(2), vec![in_object("shard-0/2", 0), mention("shard-0/3")]);
        assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Mention; 2]));
        let visit = w.tracker.trace(canary(1).trace).unwrap().visit(STREAM).clone();
        assert_eq!(visit.arrival.unwrap().integrity, Integrity::Intact);
        // A second whole one is a duplicate.
        w.poll(STREAM, t(3), vec![in_object("shard-0/4", 0)]);
        assert_eq!(duplicates(&w), 1);
    }
}

#[test]
fn a_mention_in_the_same_poll_is_neither_the_arrival_nor_corruption() {
    let mut w = World::new();
    w.put(canary(1));
    let integrity = Integrity::Corrupted { kept_bytes: 76, sent_bytes: 500 };
    let at = |secs, record| Sighting { stamp: Stamp::Millis(t(secs)), seen_by: t(5), ..in_object(record, 0) };
    let mention = Sighting { integrity, ..at(1, "shard-0/1") };
    let whole = at(3, "shard-0/2");
    w.poll(STREAM, t(5), vec![mention, whole]);
    let arrival = w.tracker.trace(canary(1).trace).unwrap().arrival(STREAM).unwrap();
    assert!(arrival.earliest > t(2), "{arrival:?}");
    assert_eq!(w.count(|event| matches!(event, Event::Corrupted { .. })), 0);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Mention]));
}

#[test]
fn a_stage_that_keeps_only_tags_does_not_take_a_known_mention_for_a_duplicate() {
    let mut w = World::new();
    w.put(canary(1));
    let only_tag = |row: &str| Sighting { integrity: Integrity::Unchecked, ..in_object(row, 0) };
    w.poll(STREAM, t(1), vec![in_object("shard-0/1", 0)]);
    w.poll(TABLE, t(2), vec![only_tag("row 1")]);
    w.poll(STREAM, t(3), vec![only_tag("shard-0/2")]);
    w.poll(TABLE, t(4), vec![only_tag("row 2")]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Mention; 2]));
}

#[test]
fn a_mention_counts_once_even_if_the_whole_canary_is_found_after_it() {
    let mut w = World::new();
    w.put(canary(1));
    let only_tag = |row: &str| Sighting { integrity: Integrity::Unchecked, ..in_object(row, 0) };
    w.poll(STREAM, t(1), vec![in_object("shard-0/1", 0)]);
    w.poll(STREAM, t(2), vec![only_tag("shard-0/2")]);
    w.poll(TABLE, t(3), vec![only_tag("row 1")]);
    w.poll(TABLE, t(4), vec![only_tag("row 2")]);
    w.poll(TABLE, t(5), vec![in_object("row 3", 0)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Mention; 3]));
}

#[test]
fn a_hit_in_undecoded_bytes_is_an_arrival_without_integrity() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, t(1), vec![undecoded("a", 0)]);
    assert_eq!(w.count(|event| matches!(event, Event::Arrived { .. })), 1);
    assert_eq!(w.count(|event| matches!(event, Event::Corrupted { .. })), 0);
    let visit = w.tracker.trace(canary(1).trace).unwrap().visit(ARCHIVE).clone();
    assert_eq!(visit.arrival.unwrap().integrity, Integrity::Unchecked);
}

#[test]
fn several_hits_in_undecoded_bytes_of_one_record_are_one() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, t(1), (0..9).map(|place| undecoded("a", place)).collect());
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![]));
}

#[test]
fn undecoded_copies_in_other_records_are_not_charged() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, t(1), ["a", "b", "c"].map(|key| undecoded(key, 0)).into());
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Unknown; 2]));
}

#[test]
fn a_decoded_copy_after_undecoded_ones_is_the_first_that_counts() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, t(1), vec![undecoded("a", 0)]);
    w.poll(ARCHIVE, t(2), vec![in_object("b", 0)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Unknown]));
    let visit = w.tracker.trace(canary(1).trace).unwrap().visit(ARCHIVE).clone();
    assert_eq!(visit.arrival.unwrap().integrity, Integrity::Intact);
    w.poll(ARCHIVE, t(3), vec![in_object("c", 0)]);
    assert_eq!(duplicates(&w), 1);
}

#[test]
fn a_decoded_hit_beside_an_undecoded_one_in_the_same_record_is_the_same_copy() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, t(1), vec![undecoded("a", 0), in_object("a", 1), undecoded("a", 2)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![]));
}

#[test]
fn a_second_object_is_not_charged_before_both_are_checked_twice() {
    let mut w = archived_in(&["small", "merged"]);
    assert_eq!(checks(&w), ["small"]);
    answer(&mut w, t(3), &[("small", Presence::There)]);
    assert_eq!(checks(&w), [""; 0]);
    assert_eq!(w.tracker.next_deadline().map(|at| at <= t(3 + COPY_RECHECK)), Some(true));
    assert_eq!(duplicates(&w), 0);
    w.apply(Input::Tick, t(RECHECKED));
    assert_eq!(checks(&w), ["merged", "small"]);
    answer(&mut w, t(RECHECKED), &[("small", Presence::There), ("merged", Presence::There)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (1, vec![]));
    assert_eq!(checks(&w), [""; 0]);
}

#[test]
fn more_is_awaited_of_a_tenant_until_its_second_copies_are_judged() {
    let mut w = archived_in(&["small", "merged"]);
    answer(&mut w, t(3), &[("small", Presence::There)]);
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    w.apply(Input::Tick, t(RECHECKED));
    assert!(w.tracker.trace(canary(1).trace).unwrap().ended.is_some());
    assert!(w.tracker.awaits(ACME), "its sources would not be read any more");
    answer(&mut w, t(RECHECKED), &[("small", Presence::There), ("merged", Presence::There)]);
    assert!(!w.tracker.awaits(ACME));
}

#[test]
fn a_second_copy_is_judged_although_newer_canaries_have_pushed_out_its_own() {
    let mut w = World::of(moving_topology(), Settings { remember: 1, remember_of_tenant: 1, ..settings() });
    w.put(canary(1));
    for (stage, at) in [(STREAM, 1), (TRANSIT, 1), (TABLE, 1)] {
        w.poll(stage, t(at), vec![seen(canary(1), Stamp::None, t(at), "a")]);
    }
    w.poll(ARCHIVE, t(2), vec![in_object("a", 0)]);
    w.poll(ARCHIVE, t(3), vec![in_object("b", 0)]);
    for n in 2..5 {
        let tag = canary_at(n, t(n.into()));
        w.put(tag);
        for stage in [STREAM, ARCHIVE, TRANSIT, TABLE] {
            let at = t(u64::from(n) + 1);
            w.poll(stage, at, vec![seen(tag, Stamp::None, at, "a")]);
        }
    }
    w.tracker.take_changes();
    assert!(w.tracker.trace(canary(2).trace).is_none(), "a success is forgotten");
    assert_eq!(w.tracker.unchecked_copies().collect::<Vec<_>>(), [(canary(1).trace, ARCHIVE)]);
    answer(&mut w, t(10), &[("a", Presence::There)]);
    w.apply(Input::Tick, t(RECHECKED + 10));
    answer(&mut w, t(RECHECKED + 10), &[("a", Presence::There), ("b", Presence::Gone)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Moved]));
    w.tracker.take_changes();
    assert!(w.tracker.trace(canary(1).trace).is_none(), "nothing is left that keeps it");
}

#[test]
fn a_copy_whose_first_object_is_gone_was_moved() {
    let mut w = archived_in(&["small", "merged"]);
    answer(&mut w, t(3), &[("small", Presence::Gone)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Moved]));
    let arrival = w.arrival(canary(1), ARCHIVE);
    assert!(arrival.latest < t(1), "the arrival stays");
}

#[test]
fn small_objects_that_are_deleted_minutes_later_were_moved() {
    let mut w = archived_in(&["small", "merged"]);
    answer(&mut w, t(3), &[("small", Presence::There)]);
    w.apply(Input::Tick, t(RECHECKED));
    answer(&mut w, t(RECHECKED), &[("small", Presence::Gone), ("merged", Presence::There)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Moved]));
}

#[test]
fn a_second_object_that_is_gone_later_was_never_a_second_copy_that_stays() {
    let mut w = archived_in(&["final", "temporary"]);
    answer(&mut w, t(3), &[("final", Presence::There)]);
    w.apply(Input::Tick, t(RECHECKED));
    answer(&mut w, t(RECHECKED), &[("final", Presence::There), ("temporary", Presence::Gone)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Moved]));
    w.poll(ARCHIVE, t(RECHECKED + 1), vec![in_object("third", 0)]);
    assert_eq!(checks(&w), ["final"]);
}

#[test]
fn a_third_copy_is_compared_with_the_one_that_exists() {
    let mut w = archived_in(&["small", "hourly", "daily"]);
    answer(&mut w, t(4), &[("small", Presence::Gone)]);
    assert_eq!(checks(&w), ["hourly"], "it is compared with what the first was moved to");
    answer(&mut w, t(5), &[("hourly", Presence::Gone)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Moved; 2]));
    w.poll(ARCHIVE, t(6), vec![in_object("fourth", 0)]);
    assert_eq!(checks(&w), ["daily"]);
}

#[test]
fn where_the_check_is_denied_nothing_is_charged() {
    let mut w = archived_in(&["a", "b"]);
    answer(&mut w, t(3), &[("a", Presence::Unknown)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Unknown]));
    assert_eq!(checks(&w), [""; 0]);
}

#[test]
fn a_check_that_is_never_answered_is_given_up() {
    let mut w = archived_in(&["a", "b"]);
    let at = w.tracker.pending.next_at().unwrap();
    w.apply(Input::Tick, at);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Unknown]));
    assert_eq!(w.tracker.pending.next_at(), None);
}

#[test]
fn canaries_in_one_object_are_checked_together() {
    let mut w = moving();
    for n in 1..=40 {
        w.put(canary(n));
        for object in ["a", "b"] {
            w.poll(ARCHIVE, t(1), vec![Sighting { tag: canary(n), ..in_object(object, n.into()) }]);
        }
    }
    assert_eq!(checks(&w), ["a"]);
    answer(&mut w, t(3), &[("a", Presence::Gone)]);
    assert_eq!(uncharged(&w), [UnchargedReason::Moved; 40]);
}

#[test]
fn the_number_of_objects_that_are_checked_at_a_time_is_bounded() {
    let mut w = moving();
    for n in 1..=40 {
        w.put(canary(n));
        for object in ["small", "merged"] {
            let key = format!("{object}-{n:02}");
            w.poll(ARCHIVE, t(1), vec![Sighting { tag: canary(n), ..in_object(&key, 0) }]);
        }
    }
    assert_eq!(checks(&w).len(), MAX_CHECKED_RECORDS);
}

#[test]
fn a_source_with_nothing_but_checks_is_not_blind() {
    let mut w = archived_in(&["a", "b"]);
    w.poll(TABLE, t(3), vec![seen(canary(1), Stamp::None, t(3), "row")]);
    assert!(w.tracker.wanted(archive(&w)).waiting.is_empty());
    w.apply(Input::Tick, t(3 + 10 * BLIND_AFTER));
    let archive = archive(&w);
    let blind = |event: &Event| matches!(event, Event::WentBlind { source, .. } if *source == archive);
    assert_eq!(w.count(blind), 0);
}

#[test]
fn a_check_goes_on_after_a_restart() {
    let mut before = archived_in(&["small", "merged"]);
    answer(&mut before, t(3), &[("small", Presence::There)]);
    let traces: Vec<_> = before.tracker.everything().traces;
    let traces = traces.into_iter().map(|(trace, _)| (*trace).clone()).collect();
    let mut w = moving();
    w.tracker.restore(Restored { traces, ..Restored::default() }, t(60));
    assert_eq!(checks(&w), [""; 0]);
    w.apply(Input::Tick, t(RECHECKED));
    assert_eq!(checks(&w), ["merged", "small"]);
    answer(&mut w, t(RECHECKED), &[("small", Presence::Gone), ("merged", Presence::There)]);
    assert_eq!((duplicates(&w), uncharged(&w)), (0, vec![UnchargedReason::Moved]));
}

#[test]
fn a_copy_that_overtakes_the_answer_of_its_put_is_checked_after_it() {
    let mut w = moving();
    w.plan(canary(1), t(0));
    w.poll(ARCHIVE, t(1), vec![in_object("a", 0), in_object("b", 0)]);
    assert_eq!(checks(&w), [""; 0]);
    let result = PutResult::Accepted { doubled: false };
    w.apply(Input::Put { trace: canary(1).trace, result }, t(2));
    assert_eq!(checks(&w), ["a"]);
}
