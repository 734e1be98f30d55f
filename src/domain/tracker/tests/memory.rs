//! Which finished traces are remembered.

use super::*;
use crate::domain::topology::Capabilities;

#[test]
fn failures_are_kept_when_successes_have_pushed_out_everything_else() {
    let mut w = World::with(Settings { remember: 5, remember_of_tenant: 1, ..settings() });
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    for n in 2..40 {
        let tag = canary_at(n, t(GIVE_UP + u64::from(n)));
        w.put(tag);
        let at = tag.trace.planned_at() + s(1);
        for (stage, copy) in [(STREAM, "a"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
            w.poll(stage, at, vec![seen(tag, Stamp::None, at, copy)]);
        }
    }
    let snapshot = w.tracker.snapshot(t(1_000));
    assert_eq!(snapshot.finished.len(), 6, "the newest five, and the failure");
    assert_eq!(snapshot.complete_since, Some(snapshot.finished[1].planned_at));
    assert_eq!(snapshot.failures_of(ACME).count(), 1);
    assert!(w.tracker.trace(canary(1).trace).is_some());
}

#[test]
fn the_successes_of_a_tenant_with_few_canaries_outlast_those_of_one_with_many() {
    let mut w = World::with(Settings { remember: 5, remember_of_tenant: 3, ..settings() });
    let few = (1..5).map(|n| (GLOBEX, canary_of("globex", n, t(n.into()))));
    for (tenant, tag) in few.chain((5..40).map(|n| (ACME, canary_at(n, t(n.into()))))) {
        w.put(tag);
        let at = tag.trace.planned_at() + s(1);
        for (stage, copy) in [(STREAM, "a"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
            let source = w.tracker.topology.source_of(tenant, stage);
            w.poll_at(source, at, Some(at), vec![seen(tag, Stamp::None, at, copy)]);
        }
    }
    let snapshot = w.tracker.snapshot(t(1_000));
    assert_eq!(snapshot.traces_of(GLOBEX).count(), 3);
    assert_eq!(snapshot.traces_of(ACME).count(), 5);
}

#[test]
fn a_failure_that_successes_have_pushed_out_can_still_come_late() {
    let mut w = World::with(Settings { remember: 0, remember_of_tenant: 1, ..settings() });
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    w.tracker.take_changes();
    for _ in 0..2 {
        w.poll(TABLE, t(GIVE_UP + 9), vec![seen(canary(1), Stamp::None, t(GIVE_UP + 9), "c")]);
    }
    assert_eq!(w.count(|event| matches!(event, Event::LateArrival { .. })), 1);
    assert_eq!(w.count(|event| matches!(event, Event::Stray { .. })), 0);
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(trace.standing(), Standing::Ended(&Outcome::Late));
    assert!(
        w.tracker
            .take_changes()
            .traces
            .iter()
            .any(|(trace, finished)| trace.found_late == Some(FoundLate::Late) && *finished)
    );
}

#[test]
fn what_was_stored_twice_is_kept_when_later_losses_have_pushed_out_everything_else() {
    let mut w = World::with(Settings { remember: 1, remember_of_tenant: 2, ..settings() });
    let doubled = canary(1);
    w.put(doubled);
    let at = doubled.trace.planned_at() + s(1);
    for (stage, copy) in [(STREAM, "a"), (STREAM, "z"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
        w.poll(stage, at, vec![seen(doubled, Stamp::None, at, copy)]);
    }
    w.tracker.take_changes();
    for n in 2..9 {
        w.put(canary_at(n, t(n.into())));
    }
    w.empty_poll_except_at(&[], t(GIVE_UP + 10));
    assert!(w.tracker.trace(canary_at(8, t(8)).trace).is_some());
    assert!(w.tracker.trace(doubled.trace).is_some());
}

#[test]
fn a_lost_canary_stays_in_polls_by_id_while_a_thousand_others_are_seen() {
    let map = topology();
    let mut stages = map.stages().to_vec();
    stages[usize::from(TABLE.0)].capabilities = Capabilities { schema: true, ..Capabilities::ABSENCE };
    let map = Topology::new(map.tenants().to_vec(), stages, map.sources().to_vec()).unwrap();
    let mut w = World::of(map, Settings { max_in_flight: 2_000, ..settings() });
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    let table = w.tracker.topology.source_of(ACME, TABLE);
    let at = t(GIVE_UP + 3);
    let planned = |batch| t(GIVE_UP + 2) + Duration::from_millis(batch);
    let others: Vec<_> =
        (0..11).flat_map(|batch| (2..102).map(move |n| canary_at(n, planned(batch)))).collect();
    others.iter().for_each(|tag| w.put(*tag));
    w.poll(TABLE, at, others.iter().map(|tag| seen(*tag, Stamp::None, at, "a")).collect());
    let recent: Vec<_> = w.tracker.wanted(table).recently_seen.iter().map(|it| it.tag.trace).collect();
    assert_eq!((recent.len(), recent.contains(&canary(1).trace)), (1_000, true));
    assert_eq!(w.tracker.cut_searches().collect::<Vec<_>>(), [(table, 101)]);
}
