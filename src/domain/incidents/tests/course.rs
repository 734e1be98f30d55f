//! How an incident goes on: what belongs to it, what ends it, and what it remembers.

use std::time::Duration;

use super::night::*;
use crate::domain::conditions::ConditionName;
use crate::domain::conditions::tests::world::*;
use crate::domain::incidents::{AffectedCanaries, Episode, Incident, Incidents, State, Step};
use crate::domain::topology::fixture::*;

#[test]
fn what_a_stall_loses_belongs_to_it() {
    let lost = |planned| if (1_200..4_800).contains(&planned) { Fate::stopped() } else { WELL };
    let mut night = Night::new(World::new(lost));
    let all = night.run(0, 7_200).list();
    assert_eq!(all.len(), 1, "{:?}", told(&all));
    assert_eq!((all[0].name, all[0].canaries), (ConditionName::Stuck, Some(120)));
    assert!(
        all[0].has_ended
            && all[0].episodes[0].consequences.keys().any(|(name, _)| *name == ConditionName::Losing)
    );
}

#[test]
fn a_hop_that_becomes_slow_is_one_incident_although_it_seems_stuck_at_first() {
    let mut night = Night::new(World::new(|planned| {
        if (1_200..3_000).contains(&planned) { WELL.at(TABLE, 100_000) } else { WELL }
    }));
    let all = night.run(0, 3_600).list();
    assert_eq!(all.len(), 1, "{:?}", told(&all));
    let names: Vec<_> = night.steps.iter().map(|(_, episode, _)| episode.condition.name).collect();
    assert_eq!((names.first(), names.last()), (Some(&ConditionName::Stuck), Some(&ConditionName::Slow)));
    let stuck = ConditionName::Stuck;
    assert_eq!(names_in(&night), [(stuck, Step::Began), (ConditionName::Slow, Step::Became { was: stuck })]);
    assert_within(all[0].beginning, 1_200, 0);
}

#[test]
fn the_beginning_does_not_move_while_the_incident_lasts() {
    // Every third is lost, for three hours: far longer than the window, and than traces are remembered.
    let script = |planned: u64| {
        if planned >= 600 && (planned / INTERVAL).is_multiple_of(3) { Fate::stopped() } else { WELL }
    };
    let mut night = Night::new(World::new(script));
    night.run(0, 900);
    let mut seen = std::collections::BTreeSet::new();
    for from in (900..HOURS).step_by(60) {
        night.run(from, from + 60);
        let found = night.found.as_ref().expect("it has run");
        let acme = found.verdicts.iter().find(|verdict| verdict.tenant == ACME).expect("acme is configured");
        seen.extend(acme.problem().map(|problem| problem.since));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [Some(t(630))]);
    assert_eq!(night.list().len(), 1, "{:?}", night.list());
}

#[test]
fn what_comes_back_within_the_time_is_the_same_incident() {
    let fault = |second: u64| (1_200..1_500).contains(&second) || (1_650..1_950).contains(&second);
    let mut night =
        Night::new(World::new(move |planned| if fault(planned) { WELL.at(ARCHIVE, None) } else { WELL }));
    let all = night.run(0, 3_000).list();
    assert_eq!(all.len(), 1);
    assert_within(all[0].beginning, 1_200, 0);
    assert_within(all[0].end.expect("it is over"), 1_950, INTERVAL);
}

#[test]
fn what_comes_back_after_the_time_is_another_incident() {
    let fault = |second: u64| (1_200..1_500).contains(&second) || (2_100..2_400).contains(&second);
    let mut night =
        Night::new(World::new(move |planned| if fault(planned) { WELL.at(ARCHIVE, None) } else { WELL }));
    let all = night.run(0, 3_300).list();
    assert_eq!(all.iter().map(|it| it.beginning).collect::<Vec<_>>(), [t(1_200), t(2_100)]);
}

#[test]
fn nothing_is_over_only_because_it_cannot_be_seen_any_more() {
    let world = World::new(|planned| if planned < 1_200 { WELL } else { Fate::stopped() })
        .denied(|stage, second| stage != DEAD && second >= 1_500);
    let mut night = Night::new(world);
    night.run(0, 3_600);
    let stuck = night.list().into_iter().find(|it| it.name == ConditionName::Stuck).expect("it is known");
    assert_eq!(stuck.end, None);
    assert!(stuck.episodes.iter().all(|episode| episode.state == State::Unproven));
}

#[test]
fn one_lost_canary_is_no_incident() {
    let mut night = Night::new(World::new(|planned| if planned == 3_000 { Fate::stopped() } else { WELL }));
    assert_eq!(night.run(0, 6_000).list(), []);
}

#[test]
fn a_fifth_that_does_not_arrive_is_missing_and_then_lost_and_one_incident() {
    let script = |planned: u64| {
        let hit = (1_200..6_000).contains(&planned) && (planned / INTERVAL).is_multiple_of(5);
        if hit { Fate::stopped() } else { WELL }
    };
    let mut night = Night::new(World::new(script));
    let name = |night: &Night| night.list().last().map(|incident| incident.name);
    night.run(0, 1_700);
    assert_eq!(name(&night), Some(ConditionName::Missing));
    night.run(1_700, 6_000);
    assert_eq!(name(&night), Some(ConditionName::Losing));
    let all = night.list();
    assert_eq!(all.len(), 1, "{:?}", told(&all));
    assert_within(all[0].beginning, 1_200, 0);
    let slow = |(_, episode, _): &&(u64, Episode, Step)| episode.condition.name == ConditionName::Slow;
    assert_eq!(night.steps.iter().filter(slow).count(), 0);
    let missing = ConditionName::Missing;
    let losing = (ConditionName::Losing, Step::Became { was: missing });
    assert_eq!(names_in(&night), [(missing, Step::Began), losing]);
}

/// Under which names the incidents of a night began and went on.
fn names_in(night: &Night) -> Vec<(ConditionName, Step)> {
    let steps = night.steps.iter().filter(|(.., step)| matches!(step, Step::Began | Step::Became { .. }));
    steps.map(|(_, episode, step)| (episode.condition.name, *step)).collect()
}

#[test]
fn a_restart_goes_on_with_what_was_open() {
    let mut night = Night::new(faulty(WELL.at(ARCHIVE, None)));
    night.run(0, 2_000);
    let stored: Vec<Episode> = night.incidents.all().cloned().collect();
    night.incidents = Incidents::new(s(OVER_AFTER));
    night.incidents.restore(stored);
    let all = night.run(2_000, 3_600).list();
    assert_eq!(all.len(), 1);
    assert_within(all[0].beginning, 1_200, 0);
    assert_within(all[0].end.expect("it is over"), 2_400, INTERVAL + STEP as u64);
}

#[test]
fn what_was_usual_before_is_told() {
    let mut night = Night::new(faulty(WELL.at(TABLE, 42_000)));
    let all = night.run(0, 2_400).list();
    assert_eq!(all[0].episodes[0].usual, Some(Duration::from_secs(5)));
}

#[test]
fn a_restart_counts_no_canary_of_a_stall_twice() {
    let mut night = Night::new(World::new(stalled));
    night.run(0, 2_000);
    let stored = night.incidents.all().cloned().map(|episode| {
        let canaries = AffectedCanaries::restored(episode.canaries.count(), episode.canaries.last());
        Episode { canaries, ..episode }
    });
    let stored: Vec<Episode> = stored.collect();
    night.incidents = Incidents::new(s(OVER_AFTER));
    night.incidents.restore(stored);
    assert_eq!(night.run(2_000, 3_600).list()[0].canaries, Some(40));
}

#[test]
fn while_something_lingers_not_every_update_is_news() {
    let lost = |planned| if (1_200..4_800).contains(&planned) { Fate::stopped() } else { WELL };
    let mut night = Night::new(World::new(lost));
    night.run(0, 4_900);
    night.steps.clear();
    // Until the last loss is decided.
    night.step = 10;
    night.run(4_900, 5_600);
    assert!(night.steps.len() < 70 / 2, "{} changes in 70 updates", night.steps.len());
}

#[test]
fn a_good_canary_between_affected_ones_that_arrived_after_all_is_not_the_end() {
    // Every fifth is over a minute late at the archive, so that it is missing for a while.
    let script = |planned: u64| {
        let hit = (1_200..3_000).contains(&planned) && (planned / INTERVAL).is_multiple_of(5);
        if hit { WELL.at(ARCHIVE, 130_000) } else { WELL }
    };
    let mut night = Night::new(World::new(script));
    for incident in night.run(0, 5_000).list() {
        let last = incident.episodes[0].condition.last.expect("it counts canaries");
        assert!(incident.end.is_none_or(|end| end > last), "{incident:?}");
    }
}

#[test]
fn what_remains_of_a_stall_does_not_hide_what_begins_later() {
    // The losses are proven until minute 55, long after the stall.
    let script = |planned: u64| match planned {
        1_200..2_400 => Fate::stopped(),
        2_760..3_240 => WELL.at(TABLE, 42_000),
        _ => WELL,
    };
    let mut night = Night::new(World::new(script));
    let all = night.run(0, 3_240).list();
    assert!(
        all.iter().any(|it| it.name == ConditionName::Slow && it.beginning == t(2_760)),
        "{:?}",
        told(&all)
    );
}

#[test]
fn what_has_ended_last_comes_first_of_what_has_ended() {
    // Everything is cut for a while; later few are lost, which is the worse condition and the smaller ratio.
    let mut night = Night::new(World::new(|planned| match planned {
        1_200..2_400 => Fate { damaged: Some(STREAM), ..WELL },
        4_800..6_000 if (planned / INTERVAL).is_multiple_of(4) => WELL.at(ARCHIVE, None),
        _ => WELL,
    }));
    night.run(0, HOURS);
    let all = Incident::group(&night.incidents.shown(), &topology());
    assert!(all.len() >= 2 && all.iter().all(|it| it.has_ended), "{:?}", told(&all));
    let ends: Vec<_> = all.iter().map(|it| it.end).collect();
    assert!(ends.is_sorted_by(|a, b| a >= b), "{:?}", told(&all));
}
