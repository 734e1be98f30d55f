//! Tenants with several log groups: each fault begins at second 600 and ends at second 1,800.

use super::world::*;
use crate::domain::conditions::{Blame, Condition, ConditionName};
use crate::domain::incidents::Incidents;
use crate::domain::topology::LogGroupId;
use crate::domain::topology::fixture::*;

const BEGIN: u64 = 600;
const END: u64 = 1_800;
const SECOND: LogGroupId = LogGroupId(1);

/// A script in which the canaries of one of `groups` log groups meet `fate` during the fault.
fn of_group(group: LogGroupId, groups: u64, fate: Fate) -> impl Fn(u64) -> Fate + 'static {
    move |planned| {
        let is_hit = planned / INTERVAL % groups == u64::from(group.0);
        if (BEGIN..END).contains(&planned) && is_hit { fate } else { WELL }
    }
}

fn nothing_arrives() -> Fate {
    Fate { arrivals: [None; 5], ..WELL }
}

fn named(world: &World, name: ConditionName) -> Option<Condition> {
    world.verdict().conditions.into_iter().find(|it| it.name == name && it.is_problem())
}

#[test]
fn a_log_group_that_loses_its_filter_is_stuck_and_named() {
    let mut world = World::new(of_group(SECOND, 3, nothing_arrives())).with_log_groups(3);
    // Its canaries are 90 s apart: those of 660 and 750, the second of which is overdue at 780.
    let (_, stuck) = world.until_on(ConditionName::Stuck, STREAM, 785);
    assert_eq!((stuck.log_groups, stuck.since), (vec![SECOND], Some(t(660))));
    for second in 785..END {
        world.run_to(second);
        for problem in world.verdict().conditions.iter().filter(|it| it.is_problem()) {
            assert_eq!(problem.log_groups, [SECOND], "after {second} s: {problem:?}");
        }
    }
    assert!(world.until_off(ConditionName::Stuck, STREAM, END + 90) >= END);
}

#[test]
fn one_silent_log_group_of_many_is_a_problem() {
    let mut world = World::new(of_group(SECOND, 24, nothing_arrives())).with_log_groups(24);
    let stuck = world.run_to(END).verdict();
    let stuck = stuck.conditions.iter().find(|it| it.name == ConditionName::Stuck).unwrap();
    assert_eq!((stuck.log_groups.as_slice(), stuck.affected), ([SECOND].as_slice(), Some(2)));
}

#[test]
fn canaries_are_counted_among_those_of_the_log_group() {
    // Every second canary of one of two log groups does not reach the archive.
    let script = |planned: u64| match planned / INTERVAL % 4 {
        1 if (BEGIN..END).contains(&planned) => WELL.at(ARCHIVE, None),
        _ => WELL,
    };
    let mut world = World::new(script).with_log_groups(2);
    world.run_to(1_790);
    let missing = named(&world, ConditionName::Missing).unwrap();
    assert_eq!(missing.log_groups, [SECOND]);
    // Its canaries are 60 s apart, so that the window holds 30 of it in 30 minutes, 20 of them since the fault.
    assert_eq!((missing.affected, missing.of), (Some(10), Some(30)));
}

#[test]
fn a_fault_of_all_log_groups_names_none() {
    let stops = |planned| if planned < BEGIN { WELL } else { Fate::stopped() };
    let mut world = World::new(stops).with_log_groups(3);
    let (_, stuck) = world.until_on(ConditionName::Stuck, TRANSIT, 670);
    assert_eq!(stuck.log_groups, []);
    let verdict = world.run_to(1_500).verdict();
    let named: Vec<_> = verdict.conditions.iter().filter(|it| it.is_problem()).collect();
    assert!(named.iter().all(|it| it.log_groups.is_empty()), "{named:?}");
}

#[test]
fn a_log_group_that_refuses_canaries_is_named_although_the_others_take_them() {
    let refused = Fate { put: None, ..WELL };
    let mut world = World::new(of_group(SECOND, 3, refused)).with_log_groups(3);
    // The first was refused at 660. After the time in which the next one should have been taken, it is one.
    world.run_to(800);
    let refusing = named(&world, ConditionName::NotInjecting).unwrap();
    assert_eq!((refusing.log_groups, refusing.since), (vec![SECOND], Some(t(660))));
    assert_eq!(problems(&world.verdict()), ["not_injecting"]);
    world.run_to(END + 60);
    assert_eq!(problems(&world.verdict()), [""; 0]);
}

#[test]
fn a_log_group_that_was_away_is_told_as_late_injection_and_not_as_a_slow_pipeline() {
    let late = |millis: Option<u64>| millis.map(|millis| millis + 40_000);
    let away = Fate { put: Some(40), arrivals: WELL.arrivals.map(late), ..WELL };
    let mut world = World::new(of_group(SECOND, 2, away)).with_log_groups(2);
    for second in BEGIN..END {
        world.run_to(second);
        let blamed = world.verdict().conditions.into_iter();
        let blamed: Vec<_> = blamed.filter(|it| it.is_problem() && it.blame == Blame::Pipeline).collect();
        assert!(blamed.is_empty(), "after {second} s: {blamed:?}");
    }
    let late = named(&world, ConditionName::LateInjection).unwrap();
    assert_eq!(late.log_groups, [SECOND]);
}

#[test]
fn an_incident_of_one_log_group_is_over_when_that_one_is_well() {
    let mut world = World::new(of_group(SECOND, 3, nothing_arrives())).with_log_groups(3);
    let mut incidents = Incidents::new(s(300));
    let mut ended = Vec::new();
    for second in 0..END + 1_500 {
        let mut snapshot = world.run_to(second).snapshot();
        snapshot.episodes = incidents.shown();
        let found = crate::domain::conditions::Assessment::new(&snapshot, &criteria());
        incidents.update(&found, &snapshot);
        for episode in incidents.shown().iter().filter(|it| it.condition.name == ConditionName::Stuck) {
            assert_eq!(episode.condition.log_groups, [SECOND], "after {second} s");
            ended.extend(episode.end());
        }
    }
    // Its first canary after the fault is planned at 1,830.
    let end = ended.iter().max().copied();
    assert!(end.is_some_and(|end| end >= t(1_830) && end < t(1_832)), "{end:?}");
}
