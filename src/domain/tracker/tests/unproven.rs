//! What proves no loss: records that could not be read, and sources that have never shown a tenant's
//! canaries.

use super::*;
use crate::domain::foreign::ForeignText;
use crate::domain::format::{Format, Shape, Unreadable};
use crate::domain::sighting::UnreadableRecord;
use crate::domain::topology::Capabilities;

const ORC: Shape = Shape::NONE.then(Format::Orc);
const BINARY: Shape = Shape::NONE.then(Format::Binary);
const MISSING_AFTER: u64 = 30;

fn record(part: Unreadable, at: u64) -> UnreadableRecord {
    UnreadableRecord {
        arrived_by: t(at),
        part,
        count: 1,
        owner: None,
        text: format!("an object is {part}").into(),
    }
}

/// Polls acme's source of a stage: what it shows, and an unreadable record that arrived just before.
fn poll_beside(w: &mut World, stage: StageId, at: u64, shape: Shape, sightings: Vec<Sighting>) -> Vec<Event> {
    let part = Unreadable { shape, reason: UnreadableReason::UnknownFormat };
    poll_beside_part(w, stage, at, part, sightings)
}

fn poll_beside_part(
    w: &mut World,
    stage: StageId,
    at: u64,
    part: Unreadable,
    sightings: Vec<Sighting>,
) -> Vec<Event> {
    let source = w.tracker.topology.source_of(ACME, stage);
    let poll = Poll {
        revision: w.tracker.wanted(source).revision,
        started: t(at),
        finished: t(at),
        watermark: Some(t(at)),
        sightings,
        stats: ReadStats::default(),
        unreadable: vec![record(part, at)],
        failed_batches: Vec::new(),
    };
    w.apply(Input::Polled { source, poll }, t(at))
}

fn everything_but_the_table(w: &mut World, at: u64) {
    w.empty_poll_except_at(&[TABLE], t(at));
}

fn blind(w: &World, at: u64) -> Option<(Timestamp, ForeignText)> {
    blind_at(w, TABLE, at)
}

fn blind_at(w: &World, stage: StageId, at: u64) -> Option<(Timestamp, ForeignText)> {
    let source = w.tracker.topology.source_of(ACME, stage);
    w.tracker.snapshot(t(at)).sources[source.0 as usize].blind_for(ACME)
}

#[test]
fn an_archive_that_cannot_be_read_loses_nothing() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TRANSIT, t(1), vec![seen(canary(1), Stamp::None, t(1), "a")]);
    for at in [5, SLO + 5, GIVE_UP + 5, GIVE_UP + GRACE + 5] {
        everything_but_the_table(&mut w, at);
        poll_beside(&mut w, TABLE, at, ORC, vec![]);
    }
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::Unreadable)));
    assert_eq!(w.count(|event| matches!(event, Event::Overdue { .. } | Event::GaveUp { .. })), 0);
    assert!(!w.tracker.trace(canary(1).trace).unwrap().is_missing(&w.tracker.topology, TABLE));
}

#[test]
fn the_stage_is_blind_once_a_canary_is_out_for_longer_than_it_may_be_missing() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TRANSIT, t(1), vec![seen(canary(1), Stamp::None, t(1), "a")]);
    poll_beside(&mut w, TABLE, MISSING_AFTER, ORC, vec![]);
    assert_eq!(blind(&w, MISSING_AFTER), None);
    let events = poll_beside(&mut w, TABLE, MISSING_AFTER + 2, ORC, vec![]);
    let (since, reason) = blind(&w, MISSING_AFTER + 2).unwrap();
    assert_eq!((since, &*reason), (t(MISSING_AFTER + 1), "an object is ORC, which traceprobe does not open"));
    assert!(
        events.iter().any(|event| matches!(event, Event::WentBlind { tenant: Some(ACME), .. })),
        "{events:?}"
    );
    let found = seen(canary(1), Stamp::None, t(MISSING_AFTER + 4), "b");
    let events = poll_beside(&mut w, TABLE, MISSING_AFTER + 4, ORC, vec![found]);
    assert_eq!(blind(&w, MISSING_AFTER + 4), None);
    assert!(
        events.iter().any(|event| matches!(event, Event::SawAgain { tenant: Some(ACME), .. })),
        "{events:?}"
    );
}

#[test]
fn a_side_stage_is_open_until_every_canary_is_found_there() {
    let mut w = World::new();
    w.put(canary(1));
    assert!(w.tracker.open_side_stages().is_empty(), "without an outcome, it is in flight");
    for (stage, object) in [(TABLE, "a"), (STREAM, "b"), (TRANSIT, "c")] {
        w.poll(stage, t(3), vec![seen(canary(1), Stamp::None, t(2), object)]);
    }
    assert_eq!(w.tracker.open_side_stages(), [ARCHIVE].into());
    w.poll(ARCHIVE, t(4), vec![seen(canary(1), Stamp::None, t(3), "d")]);
    assert!(w.tracker.open_side_stages().is_empty());
}

#[test]
fn a_side_stage_that_cannot_be_read_is_blind_although_all_arrive_at_the_end() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(2), vec![seen(canary(1), Stamp::None, t(2), "a")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    w.poll(STREAM, t(3), vec![seen(canary(1), Stamp::None, t(1), "b")]);
    poll_beside(&mut w, ARCHIVE, 10, ORC, vec![]);
    assert_eq!(blind_at(&w, ARCHIVE, 10), None);
    poll_beside(&mut w, ARCHIVE, MISSING_AFTER + 2, ORC, vec![]);
    assert!(blind_at(&w, ARCHIVE, MISSING_AFTER + 2).is_some());
}

#[test]
fn a_source_that_always_carries_binary_records_still_proves_a_loss() {
    let mut w = World::new();
    w.put(canary(1));
    let later = canary_at(2, t(30));
    w.put(later);
    for at in [10, 20] {
        poll_beside(&mut w, TABLE, at, BINARY, vec![]);
    }
    poll_beside(&mut w, TABLE, 31, BINARY, vec![seen(later, Stamp::None, t(31), "a")]);
    everything_but_the_table(&mut w, GIVE_UP + 5);
    let events = poll_beside(&mut w, TABLE, GIVE_UP + 5, BINARY, vec![]);
    assert!(matches!(w.outcome(canary(1)), Some(Outcome::Lost(_))), "{events:?}");
    assert_eq!(w.count(|event| matches!(event, Event::WentBlind { tenant: Some(_), .. })), 0);
}

#[test]
fn a_canary_that_may_be_in_what_was_not_read_of_an_object_is_not_lost() {
    let reasons = [
        UnreadableReason::OverLimit,
        UnreadableReason::Truncated,
        UnreadableReason::Refused,
        UnreadableReason::Deleted,
    ];
    for reason in reasons {
        let mut w = World::new();
        w.put(canary(1));
        let later = canary_at(2, t(30));
        w.put(later);
        for (at, sightings) in [(20, vec![]), (31, vec![seen(later, Stamp::None, t(31), "a")])] {
            poll_beside_part(&mut w, TABLE, at, Unreadable { shape: Shape::NONE, reason }, sightings);
        }
        for at in [GIVE_UP + 5, GIVE_UP + GRACE + 5] {
            everything_but_the_table(&mut w, at);
            w.poll(TABLE, t(at), vec![]);
        }
        let outcome = w.outcome(canary(1));
        assert_eq!(outcome, Some(Outcome::Unobserved(UnobservedReason::Unreadable)), "{reason}");
    }
}

#[test]
fn an_archive_that_changes_its_format_proves_nothing_from_then_on() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(2), vec![seen(canary(1), Stamp::None, t(2), "a")]);
    let second = canary_at(2, t(30));
    w.put(second);
    for at in [40, 30 + GIVE_UP + 5, 30 + GIVE_UP + GRACE + 5] {
        everything_but_the_table(&mut w, at);
        poll_beside(&mut w, TABLE, at, ORC, vec![]);
    }
    assert_eq!(w.outcome(second), Some(Outcome::Unobserved(UnobservedReason::Unreadable)));
}

#[test]
fn a_format_in_which_intact_canaries_were_found_proves_a_loss() {
    let mut w = World::new();
    w.put(canary(1));
    let found_in = FoundIn { shape: BINARY, decoded: false, verbatim: true };
    let first = Sighting { found_in, ..seen(canary(1), Stamp::None, t(2), "a") };
    poll_beside(&mut w, TABLE, 2, BINARY, vec![first]);
    let second = canary_at(2, t(30));
    w.put(second);
    everything_but_the_table(&mut w, 30 + GIVE_UP + 5);
    poll_beside(&mut w, TABLE, 30 + GIVE_UP + 5, BINARY, vec![]);
    assert!(matches!(w.outcome(second), Some(Outcome::Lost(_))));
}

#[test]
fn a_source_that_never_showed_a_tenant_proves_overdue_but_no_loss() {
    let mut w = World::fresh();
    w.put(canary(1));
    for stage in [STREAM, ARCHIVE, TRANSIT] {
        w.poll(stage, t(1), vec![seen(canary(1), Stamp::None, t(1), "a")]);
    }
    w.poll(TABLE, t(SLO + 1), vec![]);
    assert_eq!(w.count(|event| matches!(event, Event::Overdue { .. })), 1);
    for stage in [TABLE, DEAD] {
        w.poll(stage, t(GIVE_UP + 1), vec![]);
    }
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::NeverSeen)));
    assert_eq!(w.count(|event| matches!(event, Event::GaveUp { counted: true, .. })), 1);
    assert_eq!(w.count(|event| matches!(event, Event::HopMissing { .. })), 0);
    assert_eq!(w.count(|event| matches!(event, Event::HopNeverSeen { hop: TABLE, .. })), 1);
}

#[test]
fn a_side_stage_that_is_blind_until_a_canary_expires_leaves_it_unobserved_there() {
    let unobserved = |w: &World| w.count(|event| matches!(event, Event::HopUnobserved { hop: ARCHIVE, .. }));
    for (reads, expected) in [(true, 0), (false, 1)] {
        let mut w = World::new();
        w.put(canary(1));
        for stage in [STREAM, TRANSIT, TABLE] {
            w.poll(stage, t(1), vec![seen(canary(1), Stamp::None, t(1), "a")]);
        }
        if reads {
            w.poll(ARCHIVE, t(GIVE_UP + 1), vec![]);
        } else {
            w.cannot_poll(ARCHIVE, t(GIVE_UP + 1));
        }
        w.apply(Input::Tick, t(GIVE_UP + GRACE));
        assert_eq!((w.outcome(canary(1)), unobserved(&w)), (Some(Outcome::Delivered), expected));
        // It recovers too late.
        w.poll(ARCHIVE, t(GIVE_UP + GRACE + 1), vec![]);
        assert_eq!(w.count(|event| matches!(event, Event::HopUnobserved { .. })), expected);
    }
}

#[test]
fn a_stage_that_never_showed_a_tenant_is_not_named_as_the_one_that_lost_it() {
    let mut w = World::fresh();
    w.put(canary_at(9, t(0)));
    for stage in [STREAM, TABLE] {
        w.poll(stage, t(1), vec![seen(canary_at(9, t(0)), Stamp::None, t(1), "a")]);
    }
    w.put(canary(1));
    w.poll(STREAM, t(2), vec![seen(canary(1), Stamp::None, t(2), "b")]);
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange { first: TRANSIT, last: TABLE })));
}

#[test]
fn what_was_seen_once_is_seen_for_good() {
    let mut w = World::fresh();
    w.put(canary(1));
    let events = w.poll(TABLE, t(1), vec![seen(canary(1), Stamp::None, t(1), "a")]);
    assert!(events.iter().any(|event| matches!(event, Event::FirstSeen { tenant: ACME, .. })), "{events:?}");
    let saved = w.tracker.take_changes().seen;
    assert_eq!((saved.len(), saved[0].at), (1, t(1) + Duration::from_millis(100)));
    let mut next = World::fresh();
    next.tracker.restore(Restored { seen: saved, ..Restored::default() }, t(10));
    next.put(canary_at(2, t(20)));
    next.empty_poll_except_at(&[], t(20 + GIVE_UP + 1));
    assert!(matches!(next.outcome(canary_at(2, t(20))), Some(Outcome::Lost(_))));
    assert_eq!(next.tracker.take_changes().seen, []);
}

#[test]
fn a_tag_found_by_luck_is_a_sighting_but_shows_no_readable_source() {
    let mut w = World::fresh();
    w.put(canary(1));
    let found_in = FoundIn { shape: BINARY, decoded: false, verbatim: false };
    let sighting =
        Sighting { found_in, integrity: Integrity::Unchecked, ..seen(canary(1), Stamp::None, t(2), "a") };
    poll_beside(&mut w, TABLE, 2, BINARY, vec![sighting]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(w.tracker.take_changes().seen, []);
}

#[test]
fn a_source_that_was_configured_in_place_of_another_has_shown_nothing_after_a_restart() {
    let mut w = World::fresh();
    w.put(canary(1));
    w.poll(TABLE, t(2), vec![seen(canary(1), Stamp::None, t(2), "a")]);
    assert_eq!(w.tracker.everything().seen.len(), 1);
    let saved: Vec<Trace> =
        w.tracker.everything().traces.iter().map(|(trace, _)| (**trace).clone()).collect();
    let mut next = World::fresh();
    next.tracker.restore(saved, t(3));
    assert_eq!(next.tracker.everything().seen, []);
}

#[test]
fn a_dead_letter_queue_that_shows_presence_only_needs_no_sighting_before() {
    let map = topology();
    let stages = map.stages().iter().cloned().map(|mut stage| {
        if stage.role == Role::DeadLetter {
            stage.capabilities = Capabilities { absence: false, ..stage.capabilities };
        }
        stage
    });
    let map = Topology::new(map.tenants().to_vec(), stages.collect(), map.sources().to_vec()).unwrap();
    let mut w = World::of(map, settings());
    w.put(canary(1));
    w.empty_poll_except_at(&[DEAD], t(GIVE_UP + 1));
    w.apply(Input::Tick, t(GIVE_UP + GRACE + 1));
    assert!(matches!(w.outcome(canary(1)), Some(Outcome::Lost(_))));
}

#[test]
fn that_proof_was_withheld_is_saved() {
    let mut w = World::new();
    w.put(canary(1));
    w.tracker.take_changes();
    poll_beside(&mut w, TABLE, 5, ORC, vec![]);
    let saved = w.tracker.take_changes().traces;
    assert!(saved.iter().any(|(trace, _)| trace.visit(TABLE).withheld));
}

#[test]
fn that_a_canary_was_absent_for_longer_is_no_verdict_and_is_saved_with_the_next_proofs() {
    let mut w = World::new();
    w.put(canary(1));
    w.tracker.take_changes();
    w.poll(TABLE, t(5), vec![]);
    assert!(w.tracker.take_verdicts().traces.is_empty());
    let saved = w.tracker.take_changes().traces;
    assert!(saved.iter().any(|(trace, _)| trace.visit(TABLE).absent_until == Some(t(5))));
    w.poll(TABLE, t(SLO + 1), vec![]);
    assert_eq!(w.tracker.take_verdicts().traces.len(), 1, "it is overdue");
    assert!(w.tracker.take_changes().traces.is_empty(), "the proof was saved with the verdict");
}
