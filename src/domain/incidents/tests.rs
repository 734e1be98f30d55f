//! Incidents over hours of a simulated pipeline: what they say against what was done to it.

use std::time::Duration;

use super::{AffectedCanaries, Episode, Incident, Incidents, State, Step};
use crate::domain::conditions::tests::world::*;
use crate::domain::conditions::{Assessment, ConditionName};
use crate::domain::time::Timestamp;
use crate::domain::topology::StageId;
use crate::domain::topology::fixture::*;
use crate::domain::tracker::Snapshot;

const OVER_AFTER: u64 = 300;
/// Seconds between two updates.
const STEP: usize = 10;
/// When the faults begin and end, in seconds: three in three hours.
const FAULTS: [(u64, u64); 3] = [(1_200, 2_400), (4_800, 6_000), (8_400, 9_000)];
const HOURS: u64 = 3 * 3_600;

fn in_fault(second: u64) -> bool {
    FAULTS.iter().any(|(begin, end)| (*begin..*end).contains(&second))
}

/// Changes a snapshot at a second.
type Change = Box<dyn Fn(&mut Snapshot, u64)>;

/// A world, with what follows from it as in the daemon.
struct Night {
    world: World,
    incidents: Incidents,
    change: Change,
    steps: Vec<(u64, Episode, Step)>,
    found: Option<Assessment>,
}

impl Night {
    fn new(world: World) -> Self {
        let incidents = Incidents::new(s(OVER_AFTER));
        Self { world, incidents, change: Box::new(|_, _| {}), steps: Vec::new(), found: None }
    }

    /// Changes each snapshot, for what the tracker does not know.
    fn changed(self, change: impl Fn(&mut Snapshot, u64) + 'static) -> Self {
        Self { change: Box::new(change), ..self }
    }

    fn run(&mut self, from: u64, to: u64) -> &mut Self {
        for second in (from..to).step_by(STEP) {
            self.world.run_to(second);
            self.publish(second);
        }
        self
    }

    fn publish(&mut self, second: u64) {
        let mut snapshot = self.world.snapshot();
        (self.change)(&mut snapshot, second);
        snapshot.episodes = self.incidents.shown();
        let found = Assessment::new(&snapshot, &criteria());
        for (episode, step) in self.incidents.update(&found, &snapshot) {
            self.steps.push((second, episode, step));
        }
        self.found = Some(found);
    }

    /// The incidents of three hours, the first first.
    fn of_three_hours(world: World) -> Vec<Incident> {
        let mut night = Self::new(world);
        night.run(0, HOURS);
        night.list()
    }

    fn list(&self) -> Vec<Incident> {
        let mut all = Incident::group(&self.incidents.shown(), &topology_with("initech"));
        all.sort_by_key(|incident| incident.beginning);
        all
    }
}

/// Asserts that there is one incident for each fault, from its first affected canary to the first good one
/// after it, with an error of one canary and a poll.
#[track_caller]
fn assert_three(all: &[Incident], name: ConditionName, place: impl Into<Option<StageId>>) {
    let place = place.into();
    let told: Vec<_> = all.iter().map(|it| (it.name, it.place.map(|place| place.last), span(it))).collect();
    assert_eq!(all.len(), FAULTS.len(), "{told:?}");
    for (incident, (begin, end)) in all.iter().zip(FAULTS) {
        assert_eq!((incident.name, incident.place.map(|place| place.last)), (name, place), "{told:?}");
        assert_within(incident.beginning, begin, 0);
        assert_within(incident.end.expect("it is over"), end, INTERVAL + STEP as u64);
    }
}

/// Asserts an instant: at this second, or at most so many later.
#[track_caller]
fn assert_within(at: Timestamp, second: u64, later: u64) {
    assert!(at >= t(second) && at <= t(second + later), "{at} is not {} to {}", t(second), t(second + later));
}

fn span(incident: &Incident) -> (i64, Option<i64>) {
    let second = |at: Timestamp| at.as_secs_f64() as i64 - t(0).as_secs_f64() as i64;
    (second(incident.beginning), incident.end.map(second))
}

/// A world in which the canaries of the faults' times meet `fate`.
fn faulty(fate: Fate) -> World {
    World::new(move |planned| if in_fault(planned) { fate } else { WELL })
}

/// A stall in front of transit during the faults: everything comes out when it is cleared.
fn stalled(planned: u64) -> Fate {
    let end = FAULTS.iter().find(|(begin, end)| (*begin..*end).contains(&planned)).map(|(_, end)| *end);
    let late = |end: u64| (end - planned) * 1_000;
    end.map_or(WELL, |end| WELL.at(TRANSIT, late(end) + 2_000).at(TABLE, late(end) + 5_000))
}

#[test]
fn a_stopped_hop_is_one_incident_from_its_first_canary_until_something_gets_through() {
    let all = Night::of_three_hours(World::new(stalled));
    assert_three(&all, ConditionName::Stuck, TRANSIT);
    assert_eq!(all.iter().map(|it| it.canaries).collect::<Vec<_>>(), [Some(40), Some(40), Some(20)]);
}

#[test]
fn what_a_stall_loses_belongs_to_it() {
    let lost = |planned| if (1_200..4_800).contains(&planned) { Fate::stopped() } else { WELL };
    let mut night = Night::new(World::new(lost));
    let all = night.run(0, 7_200).list();
    assert_eq!(all.len(), 1, "{:?}", all.iter().map(|it| (it.name, span(it))).collect::<Vec<_>>());
    assert_eq!((all[0].name, all[0].canaries), (ConditionName::Stuck, Some(120)));
    assert!(
        all[0].has_ended
            && all[0].episodes[0].consequences.keys().any(|(name, _)| *name == ConditionName::Losing)
    );
}

#[test]
fn a_stage_that_drops_canaries_is_one_incident() {
    assert_three(&Night::of_three_hours(faulty(WELL.at(ARCHIVE, None))), ConditionName::Missing, ARCHIVE);
}

#[test]
fn a_slow_hop_is_one_incident() {
    assert_three(&Night::of_three_hours(faulty(WELL.at(TABLE, 42_000))), ConditionName::Slow, TABLE);
}

#[test]
fn a_hop_that_becomes_slow_is_one_incident_although_it_seems_stuck_at_first() {
    let mut night = Night::new(World::new(|planned| {
        if (1_200..3_000).contains(&planned) { WELL.at(TABLE, 100_000) } else { WELL }
    }));
    let all = night.run(0, 3_600).list();
    assert_eq!(all.len(), 1, "{:?}", all.iter().map(|it| (it.name, span(it))).collect::<Vec<_>>());
    let names: Vec<_> = night.steps.iter().map(|(_, episode, _)| episode.condition.name).collect();
    assert_eq!((names.first(), names.last()), (Some(&ConditionName::Stuck), Some(&ConditionName::Slow)));
    assert_within(all[0].beginning, 1_200, 0);
}

#[test]
fn a_hop_over_its_target_is_one_incident() {
    let slow = WELL.at(STREAM, 1_600);
    assert_three(&Night::of_three_hours(faulty(slow)), ConditionName::HopOverTarget, STREAM);
}

#[test]
fn canaries_that_are_stored_twice_are_one_incident() {
    let doubled = Fate { doubled: Some(TABLE), ..WELL };
    assert_three(&Night::of_three_hours(faulty(doubled)), ConditionName::Duplicates, TABLE);
}

#[test]
fn canaries_that_are_cut_are_one_incident() {
    let damaged = Fate { damaged: Some(TRANSIT), ..WELL };
    assert_three(&Night::of_three_hours(faulty(damaged)), ConditionName::Corruption, TRANSIT);
}

#[test]
fn a_stage_that_shows_nothing_of_what_later_ones_show_is_one_incident() {
    assert_three(&Night::of_three_hours(faulty(WELL.at(TRANSIT, None))), ConditionName::Skipped, TRANSIT);
}

#[test]
fn canaries_that_are_taken_late_are_one_incident() {
    let late = Fate { put: Some(12), ..WELL };
    let all = Night::of_three_hours(faulty(late.at(STREAM, 12_500).at(ARCHIVE, 13_000).at(TRANSIT, 17_000)));
    assert_three(&all, ConditionName::LateInjection, None);
}

#[test]
fn a_log_group_that_refuses_canaries_is_one_incident() {
    let refused = Fate { put: None, ..WELL };
    assert_three(&Night::of_three_hours(faulty(refused)), ConditionName::NotInjecting, None);
}

#[test]
fn dead_letters_are_one_incident() {
    let dead = WELL.at(DEAD, 1_500).at(TRANSIT, None).at(TABLE, None);
    let every_third = move |planned: u64| {
        let hit = in_fault(planned) && (planned / INTERVAL).is_multiple_of(3);
        if hit { dead } else { WELL }
    };
    let all = Night::of_three_hours(World::new(every_third));
    assert_eq!(all.len(), 3, "{:?}", all.iter().map(|it| (it.name, span(it))).collect::<Vec<_>>());
    for (incident, (begin, _)) in all.iter().zip(FAULTS) {
        assert_within(incident.beginning, begin, 2 * INTERVAL);
    }
}

#[test]
fn a_stage_that_cannot_be_read_is_one_incident() {
    let world = World::new(|_| WELL).denied(|stage, second| stage == TABLE && in_fault(second));
    let all = Night::of_three_hours(world);
    assert_eq!(all.len(), 3, "{:?}", all.iter().map(|it| (it.name, span(it))).collect::<Vec<_>>());
    for (incident, (begin, end)) in all.iter().zip(FAULTS) {
        assert_eq!(incident.name, ConditionName::CannotSee);
        assert_within(incident.beginning, begin - 1, INTERVAL);
        assert_within(incident.end.expect("it is over"), end, STEP as u64);
    }
}

#[test]
fn a_store_that_cannot_be_written_is_one_incident() {
    let begun = |second| FAULTS.iter().find(|(begin, end)| (*begin..*end).contains(&second));
    let mut night = Night::new(World::new(|_| WELL)).changed(move |snapshot, second| {
        snapshot.not_stored = begun(second).map(|(begin, _)| (t(*begin), "the disk is full".into()));
    });
    night.run(0, HOURS);
    assert_three(&night.list(), ConditionName::StoreDegraded, None);
}

#[test]
fn a_stall_of_all_tenants_is_one_incident() {
    let all = Night::of_three_hours(World::of_three(stalled));
    assert_three(&all, ConditionName::TotalStall, TRANSIT);
    assert!(all.iter().all(|incident| incident.of_all));
}

#[test]
fn one_cause_at_one_stage_is_one_incident_of_all_tenants() {
    let world = World::of_three(|planned| if in_fault(planned) { WELL.at(ARCHIVE, None) } else { WELL });
    let all = Night::of_three_hours(world);
    assert_three(&all, ConditionName::Missing, ARCHIVE);
    assert!(all.iter().all(|incident| incident.of_all && incident.episodes.len() == 3));
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
    let all =
        Night::of_three_hours(World::new(|planned| if planned == 3_000 { Fate::stopped() } else { WELL }));
    assert_eq!(all, []);
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
    assert_eq!(all.len(), 1, "{:?}", all.iter().map(|it| (it.name, span(it))).collect::<Vec<_>>());
    assert_within(all[0].beginning, 1_200, 0);
    let slow = |(_, episode, _): &&(u64, Episode, Step)| episode.condition.name == ConditionName::Slow;
    assert_eq!(night.steps.iter().filter(slow).count(), 0);
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
    night.run(4_900, 5_600);
    assert!(night.steps.len() < 70 / 2, "{} changes in 70 looks", night.steps.len());
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
    let told: Vec<_> = all.iter().map(|it| (it.name, span(it))).collect();
    assert!(all.iter().any(|it| it.name == ConditionName::Slow && it.beginning == t(2_760)), "{told:?}");
}
