//! Leaks, over several lives.

use super::*;

/// A look at globex's stream that shows these canaries of acme.
fn leak(w: &mut World, at: u64, copies: &[u8]) -> usize {
    let of_globex = w.tracker.topology.source_of(GLOBEX, STREAM);
    let copy = |n: &u8| seen(canary(*n), Stamp::Millis(t(1)), t(at), &format!("leak {n}"));
    let events = w.poll_at(of_globex, t(at), Some(t(at)), copies.iter().map(copy).collect());
    events.iter().filter(|event| matches!(event, Event::IsolationViolation { .. })).count()
}

#[test]
fn a_leak_outlives_a_restart_and_is_not_counted_a_second_time() {
    let mut w = World::new();
    assert_eq!(leak(&mut w, 2, &[1, 2]), 2);
    let saved = w.tracker.take_changes().violations;
    assert_eq!(saved.len(), 2);
    assert_eq!(w.tracker.take_changes().violations, []);
    let mut next = World::new();
    next.tracker.restore(Restored { violations: saved.clone(), ..Restored::default() }, t(3));
    assert_eq!(next.tracker.snapshot(t(3)).violations, saved);
    assert_eq!(next.tracker.take_changes().violations, [], "the store has them");
    assert_eq!(leak(&mut next, 4, &[1, 2, 3]), 1);
    assert_eq!(next.tracker.everything().violations.len(), 3);
}

#[test]
fn leaks_that_a_store_tells_of_late_take_their_place_in_time() {
    let mut w = World::new();
    leak(&mut w, 2, &[1, 2]);
    let earlier = w.tracker.everything().violations;
    let mut w = World::new();
    leak(&mut w, 9, &[2, 3]);
    w.tracker.restore(Restored { violations: earlier, ..Restored::default() }, t(3));
    let shown: Vec<_> = w.tracker.snapshot(t(10)).violations.iter().map(|seen| seen.trace).collect();
    assert_eq!(shown, [1, 2, 3].map(|n| canary(n).trace));
}
