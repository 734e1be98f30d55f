//! Leaks, over several runs.

use super::*;

/// A poll of globex's stream that shows these canaries of acme.
fn leak(w: &mut World, at: u64, copies: &[u8]) -> usize {
    leak_of(w, at, copies, t(0))
}

/// The same of canaries that were planned at an instant.
fn leak_of(w: &mut World, at: u64, copies: &[u8], planned: Timestamp) -> usize {
    let of_globex = w.tracker.topology.source_of(GLOBEX, STREAM);
    let copy = |n: &u8| seen(canary_at(*n, planned), Stamp::Millis(t(at)), t(at), &format!("leak {n}"));
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

#[test]
fn a_leak_of_many_canaries_is_one_episode_and_hides_that_of_no_other_tenant() {
    let mut w = World::new();
    let of_acme = w.tracker.topology.source_of(ACME, STREAM);
    let theirs = seen(canary_of("globex", 1, t(0)), Stamp::Millis(t(1)), t(2), "theirs");
    w.poll_at(of_acme, t(2), Some(t(2)), vec![theirs]);
    for n in 0..=250 {
        leak_of(&mut w, 3 + u64::from(n), &[n], t(2 + u64::from(n)));
    }
    let check = |w: &World, since: u64, count| {
        let episodes = w.tracker.snapshot(t(300)).leaks;
        let [acme, globex] = &episodes[..] else { panic!("{episodes:?}") };
        assert_eq!((acme.tenant, acme.since, acme.count), (ACME, t(since), count));
        assert_eq!((globex.tenant, globex.since, globex.count), (GLOBEX, t(0), 1));
    };
    check(&w, 2, 251);
    let violations = w.tracker.everything().violations;
    let mut next = World::new();
    next.tracker.restore(Restored { violations, ..Restored::default() }, t(301));
    check(&next, 2, 251);
    // A quarter of an hour without one ends it.
    leak_of(&mut w, 254 + 900, &[251], t(254 + 899));
    check(&w, 254 + 899, 1);
}

#[test]
fn leaks_of_every_canary_are_one_episode_however_far_apart_the_canaries_are() {
    let map = topology_every(Duration::from_mins(20));
    let mut w = World::of(map, settings());
    for n in 0..3 {
        leak_of(&mut w, 2 + u64::from(n) * 1_200, &[n], t(u64::from(n) * 1_200));
    }
    let [episode] = &w.tracker.snapshot(t(2_500)).leaks[..] else { panic!() };
    assert_eq!((episode.since, episode.count), (t(0), 3));
}

/// A canary of a tenant that is not configured, signed with our key.
fn stranger(at: Timestamp) -> Tag {
    canary_of("initech", 9, at)
}

#[test]
fn a_canary_of_an_unknown_tenant_in_a_tenants_own_source_is_a_leak() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(2), vec![seen(stranger(t(0)), Stamp::Millis(t(1)), t(2), "a")]);
    let violations = w.tracker.snapshot(t(3)).violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].tenant, LeakedTenant::Unknown(stranger(t(0)).tenant_digits().into()));
    assert!(violations[0].concerns(ACME) && !violations[0].concerns(GLOBEX));
    assert_eq!(w.count(|event| matches!(event, Event::Stray { .. })), 0);
}

#[test]
fn a_canary_of_an_unknown_tenant_in_a_shared_source_is_a_leak_only_if_it_is_labelled_as_one_of_ours() {
    let mut w = World::new();
    w.put(canary(1));
    let row = |copy, label: Option<&str>| Sighting {
        label: label.map(Into::into),
        ..seen(stranger(t(0)), Stamp::None, t(2), copy)
    };
    w.poll(TABLE, t(2), vec![row("a", None), row("b", Some("initech"))]);
    assert_eq!(w.tracker.snapshot(t(3)).violations, []);
    assert_eq!(w.count(|event| matches!(event, Event::Stray { .. })), 2);
    let acme = w.tracker.topology.tenant(ACME).label.clone();
    w.poll(TABLE, t(4), vec![row("c", Some(&*acme))]);
    assert_eq!(w.tracker.snapshot(t(5)).violations.len(), 1);
}

#[test]
fn another_process_under_our_name_is_noticed_and_a_previous_run_is_not_taken_for_one() {
    let mut w = World::with(Settings { instance: InstanceCode::of_run("me", t(0)), ..settings() });
    w.put(canary(1));
    let of_run = |began: u64, n, planned| {
        let mut tag = canary_at(n, planned);
        tag.instance = InstanceCode::of_run("me", t(began));
        tag
    };
    let before = of_run(900, 2, t(0) - s(50));
    w.poll(STREAM, t(1), vec![seen(before, Stamp::Millis(t(1)), t(1), "a")]);
    assert_eq!(w.count(|event| matches!(event, Event::SameName { .. })), 0);
    assert!(w.tracker.trace(before.trace).is_some(), "a canary of a previous run is adopted");
    let beside = of_run(900, 3, t(5));
    w.poll(STREAM, t(6), vec![seen(beside, Stamp::Millis(t(6)), t(6), "b")]);
    assert_eq!(w.count(|event| matches!(event, Event::SameName { .. })), 1);
    assert_eq!(w.tracker.snapshot(t(7)).namesake, Some(Namesake { since: t(5), last: t(5) }));
}

#[test]
fn a_label_of_an_unknown_tenant_hides_no_leak_in_a_tenants_own_source() {
    let mut w = World::new();
    w.put(canary(1));
    let copy = Sighting { label: Some("initech".into()), ..seen(stranger(t(0)), Stamp::None, t(2), "a") };
    w.poll(STREAM, t(2), vec![copy]);
    assert_eq!(w.tracker.snapshot(t(3)).violations.len(), 1);
}

#[test]
fn a_copy_among_the_tenants_of_one_client_is_no_leak_and_no_arrival() {
    let mut w = World::of(topology().with_one_client(&[ACME, GLOBEX], "acme"), settings());
    w.put(canary(1));
    assert_eq!(leak(&mut w, 2, &[1]), 0);
    let arrived = w.events.iter().any(|event| matches!(event, Event::Arrived { .. }));
    assert!(!arrived, "{:?}", w.events);
    let table = w.tracker.topology.source_of(ACME, TABLE);
    let labelled = Sighting {
        label: Some("acme".into()),
        ..seen(canary_of("globex", 2, t(0)), Stamp::Millis(t(1)), t(2), "labelled as their client")
    };
    let events = w.poll_at(table, t(2), Some(t(2)), vec![labelled]);
    assert!(!events.iter().any(|event| matches!(event, Event::IsolationViolation { .. })), "{events:?}");
}

#[test]
fn a_row_of_another_client_is_a_leak_although_some_tenants_are_one_client() {
    let mut w = World::of(topology_with("initech").with_one_client(&[ACME, GLOBEX], "acme"), settings());
    let table = w.tracker.topology.source_of(ACME, TABLE);
    let labelled = Sighting {
        label: Some("initech".into()),
        ..seen(canary_of("globex", 2, t(0)), Stamp::Millis(t(1)), t(2), "labelled as another client")
    };
    let events = w.poll_at(table, t(2), Some(t(2)), vec![labelled]);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::IsolationViolation { .. })).count(), 1);
}
