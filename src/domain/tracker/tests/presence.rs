//! A stage whose polls tell presence only: what is not seen there may be there all the same.

use super::*;
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
