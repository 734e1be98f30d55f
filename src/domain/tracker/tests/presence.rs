//! A stage whose polls tell presence only: what is not seen there may be there all the same.

use super::*;
use crate::domain::sighting::FailedBatch;
use crate::domain::topology::Capabilities;

/// Dead letters of which only presence can be told.
fn world() -> World {
    let map = topology();
    let stages = map.stages().iter().cloned().map(|mut stage| {
        if stage.role == Role::DeadLetter {
            stage.capabilities = Capabilities { absence: false, ..stage.capabilities };
        }
        stage
    });
    let map = Topology::new(map.tenants().to_vec(), stages.collect(), map.sources().to_vec()).unwrap();
    World::of(map, settings())
}

fn queue(world: &World) -> SourceId {
    world.tracker.topology.source_of(ACME, DEAD)
}

fn blind_since(world: &World) -> Option<Timestamp> {
    let queue = queue(world);
    world.tracker.snapshot(t(GIVE_UP)).sources[queue.0 as usize].blind_since
}

#[test]
fn a_source_that_answers_without_a_watermark_is_complete_and_never_blind() {
    let mut w = world();
    w.put(canary(1));
    let queue = queue(&w);
    for second in 1..GIVE_UP {
        let events = w.poll_at(queue, t(second), None, vec![]);
        assert!(matches!(events[0], Event::PollAnswered { complete: true, .. }), "{events:?}");
    }
    assert_eq!(blind_since(&w), None);
    let visit = &w.tracker.trace(canary(1).trace).unwrap().stages[usize::from(DEAD.0)];
    assert_eq!(visit.absent_until, None, "it proves nothing absent");
}

#[test]
fn a_source_that_stops_answering_is_blind_until_it_answers() {
    let mut w = world();
    w.put(canary(1));
    let queue = queue(&w);
    w.poll_at(queue, t(1), None, vec![]);
    for second in 2..=BLIND_AFTER + 2 {
        w.cannot_poll(DEAD, t(second));
    }
    assert_eq!(blind_since(&w), Some(t(1)));
    w.poll_at(queue, t(BLIND_AFTER + 3), None, vec![]);
    assert_eq!(blind_since(&w), None);
}

#[test]
fn a_canary_that_is_seen_there_is_dead_lettered() {
    let mut w = world();
    w.put(canary(1));
    let dead = seen(canary(1), Stamp::None, t(3), "message 1");
    w.poll_at(queue(&w), t(3), None, vec![dead]);
    for second in [4, GIVE_UP + 1] {
        w.empty_poll_except_at(&[DEAD], t(second));
    }
    assert_eq!(w.outcome(canary(1)), Some(Outcome::DeadLettered(DEAD)));
}

#[test]
fn a_loss_is_told_once_the_queue_was_read_past_the_deadline() {
    let mut w = world();
    w.put(canary(1));
    let queue = queue(&w);
    w.poll_at(queue, t(GIVE_UP), None, vec![]);
    w.empty_poll_except_at(&[DEAD], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), None, "the queue was read until the deadline");
    w.poll_at(queue, t(GIVE_UP + 2), None, vec![]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(STREAM))));
}

#[test]
fn a_queue_that_was_read_past_the_deadline_before_the_other_stages_delays_no_loss() {
    let mut w = world();
    w.put(canary(1));
    w.poll_at(queue(&w), t(GIVE_UP + 1), None, vec![]);
    w.empty_poll_except_at(&[DEAD], t(GIVE_UP + 2));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(STREAM))));
}

#[test]
fn a_dead_letter_that_is_found_by_the_poll_after_the_deadline_is_no_loss() {
    let mut w = world();
    w.put(canary(1));
    let queue = queue(&w);
    w.poll_at(queue, t(GIVE_UP), None, vec![]);
    w.empty_poll_except_at(&[DEAD], t(GIVE_UP + 1));
    let dead = seen(canary(1), Stamp::None, t(GIVE_UP + 2), "message 1");
    w.poll_at(queue, t(GIVE_UP + 2), None, vec![dead]);
    w.poll(TABLE, t(GIVE_UP + 3), vec![]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::DeadLettered(DEAD)));
}

/// A dead letter for a batch of acme's stream, without its content.
fn failed_batch(w: &World, first: &str, last: &str) -> FailedBatch {
    FailedBatch {
        source: w.tracker.topology.source_of(ACME, STREAM),
        shard: "shardId-000000000000".into(),
        first: first.into(),
        last: last.into(),
        stamp: Stamp::Millis(t(8)),
        seen_by: t(9),
        letter: "message".into(),
    }
}

fn in_record_500(seen_by: Timestamp) -> Sighting {
    let locator = Locator::within("shardId-000000000000/500", 0);
    Sighting { locator, ..seen(canary(1), Stamp::Millis(t(1)), seen_by, "") }
}

/// Shows a canary in record 500 of acme's stream, and then a dead letter for records of that stream.
fn after_letter(w: &mut World, first: &str, last: &str) {
    w.put(canary(1));
    w.poll(STREAM, t(2), vec![in_record_500(t(2))]);
    let source = queue(w);
    let poll = Poll {
        revision: w.tracker.wanted(source).revision,
        started: t(9),
        finished: t(9),
        watermark: None,
        sightings: Vec::new(),
        stats: ReadStats::default(),
        unreadable: Vec::new(),
        failed_batches: vec![failed_batch(w, first, last)],
    };
    w.apply(Input::Polled { source, poll }, t(9));
}

#[test]
fn a_batch_that_holds_the_record_of_a_canary_proves_that_it_was_dead_lettered() {
    let mut w = world();
    after_letter(&mut w, "99", "1000");
    w.poll(TABLE, t(10), vec![]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::DeadLettered(DEAD)));
}

#[test]
fn a_batch_that_does_not_hold_its_record_proves_nothing() {
    for (first, last) in [("501", "1000"), ("99", "499"), ("5000", "6000")] {
        let mut w = world();
        after_letter(&mut w, first, last);
        w.poll(TABLE, t(10), vec![]);
        assert_eq!(w.outcome(canary(1)), None, "{first} to {last}");
    }
}

#[test]
fn a_canary_that_got_through_before_its_batch_was_given_up_is_not_dead_lettered() {
    let mut w = world();
    w.put(canary(1));
    w.poll(TRANSIT, t(5), vec![seen(canary(1), Stamp::Millis(t(4)), t(5), "object")]);
    w.poll(STREAM, t(6), vec![in_record_500(t(6))]);
    let batch = failed_batch(&w, "1", "1000");
    assert_eq!(w.tracker.in_batch(queue(&w), &batch), []);
}

#[test]
fn a_letter_that_was_there_before_a_canary_was_planned_is_not_about_it() {
    let mut w = world();
    w.put(canary(1));
    w.poll(STREAM, t(2), vec![in_record_500(t(2))]);
    let all = FailedBatch { stamp: Stamp::None, ..failed_batch(&w, "0", &"9".repeat(129)) };
    let planned_at = canary(1).trace.planned_at();
    let later = planned_at + Duration::from_secs(1);
    let before = planned_at - Duration::from_millis(1);
    let long_before = Stamp::Millis(planned_at - Duration::from_hours(1));
    for (seen_by, stamp, named) in
        [(later, Stamp::None, 1), (before, Stamp::None, 0), (later, long_before, 0)]
    {
        let batch = FailedBatch { seen_by, stamp, ..all.clone() };
        assert_eq!(w.tracker.in_batch(queue(&w), &batch).len(), named, "{seen_by:?} {stamp:?}");
    }
}

#[test]
fn the_number_of_dead_letters_is_known_and_since_when_there_are_some() {
    let mut w = world();
    let source = queue(&w);
    let mut read = |second, queued| {
        let poll = Poll {
            revision: 0,
            started: t(second),
            finished: t(second),
            watermark: None,
            sightings: Vec::new(),
            stats: ReadStats { queued: Some(queued), ..ReadStats::default() },
            unreadable: Vec::new(),
            failed_batches: Vec::new(),
        };
        w.apply(Input::Polled { source, poll }, t(second));
        w.tracker.snapshot(t(second)).sources[source.0 as usize].queue
    };
    assert_eq!(read(1, 4), Some(Queue { messages: 4, since: None }), "they were there before");
    assert_eq!(read(2, 0), Some(Queue { messages: 0, since: None }));
    assert_eq!(read(3, 2), Some(Queue { messages: 2, since: Some(t(3)) }));
    assert_eq!(read(4, 7), Some(Queue { messages: 7, since: Some(t(3)) }));
}
