//! A hop that nothing passes.

use super::world::*;
use crate::domain::conditions::{Assessment, ConditionName, Detail};
use crate::domain::topology::TenantId;
use crate::domain::topology::fixture::*;

/// From second 600 on nothing arrives at transit.
fn stalls(planned: u64) -> Fate {
    if planned < 600 { WELL } else { Fate::stopped() }
}

fn stuck_at(
    second: u64,
    script: impl Fn(u64) -> Fate + 'static,
) -> Option<crate::domain::conditions::Condition> {
    let problem = after(second, script).problem().cloned();
    problem.filter(|it| it.name == ConditionName::Stuck)
}

#[test]
fn a_hop_that_two_canaries_should_have_passed_is_stuck() {
    let mut world = World::new(stalls);
    let (_, stuck) = world.until_on(ConditionName::Stuck, TRANSIT, 662);
    assert_eq!((stuck.affected, stuck.since), (Some(2), Some(t(600))));
}

#[test]
fn a_hop_is_no_longer_stuck_once_a_canary_gets_through() {
    let mut world = World::new(|at| if (600..900).contains(&at) { Fate::stopped() } else { WELL });
    world.until_on(ConditionName::Stuck, TRANSIT, 662);
    world.until_off(ConditionName::Stuck, TRANSIT, 906);
}

#[test]
fn one_missing_canary_does_not_make_a_hop_stuck() {
    let mut world = World::new(|planned| if planned == 600 { Fate::stopped() } else { WELL });
    for second in 600..900 {
        assert_eq!(problems(&world.run_to(second).verdict()), [""; 0], "at {second}");
    }
}

#[test]
fn canaries_that_the_log_group_may_not_have_taken_make_no_hop_stuck() {
    let unanswered = Fate { put: Some(u64::from(u32::MAX)), arrivals: [None; 5], ..WELL };
    let mut world = World::new(move |planned| if planned < 600 { WELL } else { unanswered });
    for second in 600..900 {
        assert_eq!(world.run_to(second).problem(ConditionName::Stuck, STREAM), None, "at {second}");
    }
}

#[test]
fn a_stage_that_has_never_shown_a_canary_hides_no_stall_behind_it() {
    let well = WELL.at(TRANSIT, None);
    let mut world = World::unseen(move |planned| if planned < 600 { well } else { Fate::stopped() });
    let (_, stuck) = world.until_on(ConditionName::Stuck, TABLE, 662);
    assert_eq!(stuck.since, Some(t(600)));
}

#[test]
fn a_stall_began_with_the_first_canary_that_it_stopped_even_if_that_is_lost_by_now() {
    for second in [800, 600 + GIVE_UP + 10, 600 + 2 * GIVE_UP, 600 + 1_800] {
        let stuck = stuck_at(second, stalls).unwrap_or_else(|| panic!("at {second}"));
        assert_eq!(stuck.since, Some(t(600)), "after {second} s");
        assert_eq!(stuck.subject.place, Some(crate::domain::topology::HopRange::one(TRANSIT)));
    }
}

#[test]
fn a_stuck_hop_that_loses_canaries_is_also_losing() {
    let names = problems(&after(600 + GIVE_UP + 70, stalls));
    assert_eq!(names[..2], ["stuck", "losing"], "{names:?}");
}

#[test]
fn a_pipeline_where_every_canary_misses_the_threshold_is_slow_and_not_stuck() {
    let mut world = World::new(|_| WELL.at(TABLE, 42_000));
    for second in 700..760 {
        let verdict = world.run_to(second).verdict();
        assert_eq!(problems(&verdict), ["slow", "hop_over_target"], "after {second} s");
    }
}

#[test]
fn a_slow_hop_that_stops_is_stuck() {
    let script = |planned| WELL.at(TRANSIT, 2_000).at(TABLE, Some(100_000).filter(|_| planned < 600));
    // The last one arrives at 670, and later ones had as long as these took, but no longer than twice the SLO.
    assert!(stuck_at(690, script).is_none());
    assert_eq!(stuck_at(755, script).unwrap().since, Some(t(600)));
}

#[test]
fn a_canary_missing_at_a_later_stage_does_not_hide_a_stuck_hop() {
    assert!(stuck_at(700, |at| if at == 540 { WELL.at(TABLE, None) } else { stalls(at) }).is_some());
}

/// Three tenants of which the first so many meet a stall at second 600.
fn total_stall(second: u64, world: World) -> Option<crate::domain::conditions::Condition> {
    let mut world = world;
    let snapshot = world.run_to(second).snapshot();
    Assessment::new(&snapshot, &criteria()).shared.into_iter().find(|it| it.name == ConditionName::TotalStall)
}

#[test]
fn a_stall_of_three_tenants_is_one_of_all_as_soon_as_each_has_an_overdue_canary() {
    assert_eq!(total_stall(630, World::of_three(stalls)), None);
    let stall = total_stall(632, World::of_three(stalls)).expect("all are overdue");
    assert_eq!((stall.since, stall.affected), (Some(t(600)), Some(3)));
    assert_eq!(stall.subject.place, Some(crate::domain::topology::HopRange::one(TRANSIT)));
}

#[test]
fn a_stall_of_all_is_over_with_the_first_delivery() {
    let script = |at| if (600..900).contains(&at) { Fate::stopped() } else { WELL };
    assert!(total_stall(905, World::of_three(script)).is_some());
    assert_eq!(total_stall(911, World::of_three(script)), None);
}

#[test]
fn canaries_that_two_tenants_lack_are_no_stall_of_all() {
    assert_eq!(total_stall(700, World::of_three(stalls).of_the_first(2)), None);
    assert!(total_stall(700, World::of_three(stalls).of_the_first(3)).is_some());
}

#[test]
fn canaries_that_a_single_tenant_lacks_are_no_stall_of_all() {
    assert_eq!(total_stall(700, World::new(stalls)), None);
}

#[test]
fn a_pipeline_that_shows_nothing_is_stuck_after_two_overdue_canaries() {
    // The stream has the canaries, so the stuck hop is the one to transit.
    assert!(stuck_at(45, |_| Fate::stopped()).is_none());
    assert!(stuck_at(65, |_| Fate::stopped()).is_some());
}

#[test]
fn a_stage_that_cannot_be_read_hides_no_stall_behind_it() {
    let mut world = World::new(stalls).denied(|stage, second| stage == TRANSIT && second >= 300);
    let (_, stuck) = world.until_on(ConditionName::Stuck, TABLE, 662);
    assert_eq!((stuck.since, stuck.detail), (Some(t(600)), Detail::Unseen(vec![TRANSIT])));
}

#[test]
fn a_stall_of_all_does_not_begin_with_an_earlier_one_of_a_single_tenant() {
    // Acme has been stuck for an hour when everything stops.
    let script = |tenant: TenantId, planned: u64| {
        let begins = if tenant == ACME { 600 } else { 4_200 };
        if planned < begins { WELL } else { Fate::stopped() }
    };
    let mut world = World::of_three(|_| WELL).by_tenant(script);
    let snapshot = world.run_to(4_300).snapshot();
    let all = Assessment::new(&snapshot, &criteria()).shared;
    let stall = all.iter().find(|it| it.name == ConditionName::TotalStall).expect("all are overdue");
    let detail = &stall.detail;
    assert!(matches!(detail, Detail::Tenants { affected: 3, of: 3 }), "{detail:?}");
    // The canaries of acme that were in flight when the others' last ones passed are part of it.
    let since = stall.since.expect("it is known");
    assert!((t(4_170)..=t(4_200)).contains(&since), "{since}");
}
