//! Another configuration while canaries are in flight.

use super::*;

const INITECH: TenantId = TenantId(2);

/// What follows if the configuration becomes `next`, whose sources have the names and owners of the fixture.
fn succeeded(before: &Topology, next: &Topology) -> Topology {
    let names = |map: &Topology, source: &Source| {
        let owner = source.owner.tenant().map(|tenant| map.tenant(tenant).name.clone());
        (map.stage(source.stage).name.clone(), source.name.clone(), owner)
    };
    let place = |source: &Source| {
        before.source_ids().find(|id| names(before, before.source(*id)) == names(next, source))
    };
    let same: Vec<_> = next.sources().iter().map(place).collect();
    before.succeeded_by(next, &same).unwrap().topology
}

impl World {
    fn becomes(&mut self, next: &Topology, at: Timestamp) -> Vec<Event> {
        let map = succeeded(&self.tracker.topology, next);
        self.succeeds(map, at)
    }

    fn succeeds(&mut self, map: Topology, at: Timestamp) -> Vec<Event> {
        let events = self.tracker.succeed(Arc::new(map), at);
        self.events.extend(events.iter().cloned());
        events
    }
}

/// Steps of a canary of acme that is delivered, and of one that is lost on the hop to the table.
fn steps(w: &mut World, step: usize) {
    match step {
        0 => w.put(canary(1)),
        1 => drop(w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")])),
        2 => w.put(canary_at(2, t(2))),
        3 => drop(w.poll(ARCHIVE, t(3), vec![seen(canary(1), Stamp::Seconds(t(2)), t(3), "b")])),
        4 => {
            let second = seen(canary_at(2, t(2)), Stamp::Seconds(t(3)), t(4), "d");
            w.poll(TRANSIT, t(4), vec![seen(canary(1), Stamp::Seconds(t(3)), t(4), "c"), second]);
        }
        5 => drop(w.cannot_poll(STREAM, t(20))),
        6 => drop(w.poll(TABLE, t(40), vec![seen(canary(1), Stamp::None, t(40), "e")])),
        7 => drop(w.poll(STREAM, t(60), vec![])),
        _ => w.empty_poll_except_at(&[], t(GIVE_UP + 10)),
    }
}

#[test]
fn tenants_that_come_and_go_change_nothing_for_the_others_whenever_they_do() {
    let undisturbed = {
        let mut w = World::new();
        (0..9).for_each(|step| steps(&mut w, step));
        w
    };
    assert_eq!(undisturbed.outcome(canary_at(2, t(2))), Some(Outcome::Lost(HopRange::one(TABLE))));
    let (both, three) = (topology(), topology_with("initech"));
    for at in 0..9 {
        let mut w = World::new();
        for step in 0..9 {
            if step == at {
                let now = w.tracker.latest_now;
                assert_eq!(w.becomes(&three, now), [], "before step {at}");
                assert_eq!(w.becomes(&both, now), [], "before step {at}");
                let without = w.tracker.topology.without(INITECH);
                assert_eq!(w.succeeds(without, now), [], "before step {at}");
            }
            steps(&mut w, step);
        }
        assert_eq!(w.events, undisturbed.events, "before step {at}");
    }
}

#[test]
fn a_canary_in_flight_of_a_tenant_that_was_removed_is_delivered() {
    let mut w = World::of(topology_with("initech"), settings());
    let tag = canary_of("initech", 1, t(0));
    w.put(tag);
    w.becomes(&topology(), t(1));
    assert!(w.tracker.awaits(INITECH));
    let source = w.tracker.topology.source_of(INITECH, TABLE);
    assert_eq!(w.tracker.wanted(source).waiting.len(), 1);
    w.poll_at(source, t(8), Some(t(8)), vec![seen(tag, Stamp::None, t(8), "c")]);
    assert_eq!(w.outcome(tag), Some(Outcome::Delivered));
}

#[test]
fn a_canary_in_flight_of_a_tenant_that_was_removed_is_lost_as_any_other() {
    let lost = |removed: bool| {
        let mut w = World::of(topology_with("initech"), settings());
        let tag = canary_of("initech", 1, t(0));
        w.put(tag);
        if removed {
            w.becomes(&topology(), t(1));
        }
        for stage in [STREAM, ARCHIVE, TRANSIT, TABLE, DEAD] {
            let source = w.tracker.topology.source_of(INITECH, stage);
            w.poll_at(source, t(GIVE_UP + 1), Some(t(GIVE_UP + 1)), vec![]);
        }
        assert!(!w.tracker.awaits(INITECH));
        w.outcome(tag)
    };
    assert!(matches!(lost(true), Some(Outcome::Lost(_))));
    assert_eq!(lost(true), lost(false));
}

#[test]
fn an_answer_of_a_source_that_is_gone_is_ignored() {
    let mut w = World::of(topology_with("initech"), settings());
    let source = w.tracker.topology.source_of(INITECH, STREAM);
    w.becomes(&topology(), t(1));
    let without = w.tracker.topology.without(INITECH);
    w.succeeds(without, t(2));
    assert_eq!(w.poll_at(source, t(3), Some(t(3)), vec![]), []);
}

#[test]
fn a_late_canary_of_a_tenant_that_is_gone_is_no_leak_where_it_belongs() {
    let mut w = World::new();
    let tag = canary_of("globex", 1, t(0));
    w.put(tag);
    let table = w.tracker.topology.source_of(GLOBEX, TABLE);
    w.becomes(&only_acme(), t(1));
    let without = w.tracker.topology.without(GLOBEX);
    w.succeeds(without, t(2));
    w.poll_at(table, t(8), Some(t(8)), vec![seen(tag, Stamp::None, t(8), "c")]);
    assert_eq!(w.count(|event| matches!(event, Event::IsolationViolation { .. })), 0);
}

/// The fixture's topology without globex.
fn only_acme() -> Topology {
    let all = topology();
    let own = |source: &&Source| source.tenants.contains(&ACME);
    let sources = all.sources().iter().filter(own).cloned();
    let sources = sources.map(|source| Source { tenants: vec![ACME], ..source });
    Topology::new(vec![all.tenant(ACME).clone()], all.stages().to_vec(), sources.collect()).unwrap()
}

/// The fixture's topology without its last stage, that of dead letters.
fn without_dead_letters() -> Topology {
    let all = topology();
    let sources = all.sources().iter().filter(|source| source.stage != DEAD).cloned();
    let stages = all.stages()[..usize::from(DEAD.0)].to_vec();
    Topology::new(all.tenants().to_vec(), stages, sources.collect()).unwrap()
}

#[test]
fn a_canary_waits_at_a_stage_that_was_added_as_after_a_restart() {
    let mut w = World::of(without_dead_letters(), settings());
    w.put(canary(1));
    w.becomes(&topology(), t(1));
    let dead = w.tracker.topology.source_of(ACME, DEAD);
    assert_eq!(w.tracker.wanted(dead).waiting.len(), 1);
    assert!(w.tracker.trace(canary(1).trace).unwrap().visit(DEAD).gap_since_poll);
    w.poll(DEAD, t(2), vec![seen(canary(1), Stamp::None, t(2), "x")]);
    w.empty_poll_except_at(&[DEAD], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::DeadLettered(DEAD)));
}

#[test]
fn a_canary_no_longer_waits_at_a_stage_that_was_removed() {
    let mut w = World::new();
    w.put(canary(1));
    for (stage, copy) in [(STREAM, "a"), (ARCHIVE, "b"), (TRANSIT, "c"), (TABLE, "d")] {
        w.poll(stage, t(8), vec![seen(canary(1), Stamp::None, t(8), copy)]);
    }
    w.becomes(&without_dead_letters(), t(9));
    assert!(w.tracker.wanted(w.tracker.topology.source_of(ACME, STREAM)).waiting.is_empty());
    assert_eq!(w.tracker.oldest_open(), None, "nothing more is to be learned of it");
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn what_is_known_of_a_log_group_moves_with_it() {
    let mut w = World::of(topology_with_log_groups(2), settings());
    let mut events = Vec::new();
    w.tracker.plan_for(LogGroupId(1), canary(1), t(0), &mut events).unwrap();
    let refused = PutResult::Refused { reason: "no".into() };
    w.apply(Input::Put { trace: canary(1).trace, result: refused }, t(1));
    let mut tenants = topology_with_log_groups(2).tenants().to_vec();
    tenants[0].log_groups = vec!["/acme/2".into()];
    let all = topology();
    let next = Topology::new(tenants, all.stages().to_vec(), all.sources().to_vec()).unwrap();
    w.becomes(&next, t(2));
    let view = &w.tracker.snapshot(t(2)).tenants[0];
    assert_eq!(view.log_groups.len(), 1);
    assert!(view.log_groups[0].refusing.is_some());
    assert_eq!(w.tracker.trace(canary(1).trace).unwrap().log_group, Some(LogGroupId(0)));
}

#[test]
fn a_new_limit_of_canaries_in_flight_takes_effect_at_once_and_is_not_lowered() {
    let mut w = World::new();
    w.tracker.settings.max_in_flight = 1;
    w.put(canary(1));
    let mut events = Vec::new();
    assert_eq!(w.tracker.plan(canary(2), t(0), &mut events), Err(NotPlanned::Full));
    w.tracker.raise_max_in_flight(2);
    assert_eq!(w.tracker.plan(canary(2), t(0), &mut events), Ok(()));
    w.tracker.raise_max_in_flight(1);
    assert_eq!(w.tracker.plan(canary(3), t(0), &mut events), Err(NotPlanned::Full));
    w.tracker.raise_max_in_flight(3);
    assert_eq!(w.tracker.plan(canary(3), t(0), &mut events), Ok(()));
}

/// The fixture's topology with another target of the hop to the archive.
fn with_target_of_archive(secs: u64) -> Topology {
    let all = topology();
    let mut stages = all.stages().to_vec();
    stages[usize::from(ARCHIVE.0)].target = Some(s(secs));
    Topology::new(all.tenants().to_vec(), stages, all.sources().to_vec()).unwrap()
}

/// A canary that is proven to be over the target of the hop to the archive.
fn overdue_at_the_archive() -> World {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.poll(ARCHIVE, t(20), vec![]);
    assert_eq!(w.count(|event| matches!(event, Event::HopOverdue { hop: ARCHIVE, .. })), 1);
    w
}

fn hop_to_archive(w: &World) -> Hop {
    w.tracker.trace(canary(1).trace).unwrap().visit(ARCHIVE).hop
}

#[test]
fn a_hop_that_was_overdue_by_another_target_raises_no_bucket() {
    // The histogram of a hop begins again from 0 when the target changes.
    for (secs, measured) in [(10, 1), (30, 0), (5, 0)] {
        let mut w = overdue_at_the_archive();
        w.tracker.take_changes();
        assert_eq!(w.becomes(&with_target_of_archive(secs), t(21)), []);
        assert_eq!(w.tracker.take_changes().traces.len(), 1 - measured, "{secs} s");
        w.poll(ARCHIVE, t(25), vec![seen(canary(1), Stamp::Millis(t(24)), t(25), "b")]);
        let raised = |event: &Event| matches!(event, Event::HopMeasured { hop: ARCHIVE, .. });
        assert_eq!(w.count(raised), measured, "{secs} s");
        assert_eq!(hop_to_archive(&w) == Hop::Inherited, measured == 0, "{secs} s");
    }
}

#[test]
fn a_hop_that_was_overdue_by_another_target_and_never_happens_is_missing_once() {
    let mut w = overdue_at_the_archive();
    w.becomes(&with_target_of_archive(30), t(21));
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    let missing = |event: &Event| matches!(event, Event::HopMissing { hop: ARCHIVE, .. });
    assert_eq!(w.count(missing), 1);
    let in_no_histogram =
        |event: &Event| matches!(event, Event::HopMissing { hop: ARCHIVE, waited: None, .. });
    assert_eq!(w.count(in_no_histogram), 1);
    assert_eq!(hop_to_archive(&w), Hop::Missing);
}

/// The fixture's topology with another source of acme's canaries at a stage.
fn with_another_source(stage: StageId) -> Topology {
    let all = topology();
    let sources = all.sources().iter().cloned().map(|source| {
        let is_other = source.stage == stage && source.tenants.contains(&ACME);
        Source { name: if is_other { "corrected".into() } else { source.name.clone() }, ..source }
    });
    Topology::new(all.tenants().to_vec(), all.stages().to_vec(), sources.collect()).unwrap()
}

#[test]
fn what_was_read_of_another_source_proves_nothing_absent() {
    for stage in [STREAM, ARCHIVE, TABLE] {
        let mut w = World::new();
        w.put(canary(1));
        w.poll(stage, t(20), vec![]);
        w.becomes(&with_another_source(stage), t(21));
        let visit = w.tracker.trace(canary(1).trace).unwrap().visit(stage);
        assert_eq!((visit.absent_until, visit.empty_polls, visit.gap_since_poll), (None, 0, true));
        w.poll(stage, t(25), vec![seen(canary(1), Stamp::Millis(t(1)), t(25), "a")]);
        assert_eq!(w.count(|event| matches!(event, Event::ClockInversion { .. })), 0, "{stage:?}");
        assert_eq!(w.arrival(canary(1), stage), Interval { earliest: ms(950), latest: ms(1_051) });
    }
}

#[test]
fn a_hop_that_was_overdue_by_another_source_is_in_time_and_counted_once() {
    let mut w = overdue_at_the_archive();
    w.becomes(&with_another_source(ARCHIVE), t(21));
    w.poll(ARCHIVE, t(25), vec![seen(canary(1), Stamp::Millis(t(1)), t(25), "b")]);
    let measured = |event: &Event| matches!(event, Event::HopMeasured { hop: ARCHIVE, counted: true, .. });
    assert_eq!(w.count(measured), 1);
    let latency = Duration::from_millis(700);
    assert_eq!(hop_to_archive(&w), Hop::Measured { latency, was_overdue: false });
}

#[test]
fn a_canary_of_a_tenant_that_leaves_as_a_stage_is_added_is_closed() {
    let mut w = World::of(topology_with("initech"), settings());
    let tag = canary_of("initech", 1, t(0));
    w.put(tag);
    w.becomes(&with_mirror(), t(1));
    for stage in [STREAM, ARCHIVE, TRANSIT, TABLE, DEAD] {
        let source = w.tracker.topology.source_of(INITECH, stage);
        w.poll_at(source, t(GIVE_UP + 1), Some(t(GIVE_UP + 1)), vec![]);
    }
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert!(matches!(w.outcome(tag), Some(Outcome::Lost(_))));
    assert!(!w.tracker.awaits(INITECH));
}
