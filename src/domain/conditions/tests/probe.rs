//! Faults of the probe, of the injection path and of shared stages.

use std::sync::Arc;

use super::world::*;
use crate::domain::conditions::{Assessment, Blame, ConditionName, Detail, Severity, Subject};
use crate::domain::sighting::Drift;
use crate::domain::tag::TraceId;
use crate::domain::time::OwnClock;
use crate::domain::topology::HopRange;
use crate::domain::topology::fixture::*;
use crate::domain::tracker::{Drifted, HeldBack, Input, Namesake, PutResult, Snapshot};

fn shared(snapshot: &Snapshot) -> Vec<ConditionName> {
    Assessment::new(snapshot, &criteria()).shared.iter().map(|it| it.name).collect()
}

#[test]
fn a_stage_of_the_main_path_that_cannot_be_read_is_critical_and_no_canary_is_missing() {
    let mut world = World::new(|_| WELL).denied(|stage, at| stage == TABLE && (600..1_200).contains(&at));
    let (_, blind) = world.until_on(ConditionName::CannotSee, TABLE, 655);
    assert_eq!((blind.severity, blind.blame), (Severity::Critical, Blame::Probe));
    assert_eq!(blind.detail, Detail::Reason("denied".into()));
    assert_eq!(problems(&world.run_to(1_199).verdict()), ["cannot_see"]);
    world.until_off(ConditionName::CannotSee, TABLE, 1_202);
}

#[test]
fn a_side_stage_that_cannot_be_read_is_a_warning_of_the_same_name() {
    let mut world = World::new(|_| WELL).denied(|stage, at| stage == ARCHIVE && at >= 600);
    let (_, blind) = world.until_on(ConditionName::CannotSee, ARCHIVE, 655);
    assert_eq!(blind.severity, Severity::Warning);
}

#[test]
fn a_log_group_that_refuses_canaries_is_not_injecting_until_it_takes_one() {
    let refused = |planned| (600..900).contains(&planned);
    let mut world = World::new(move |at| Fate { put: Some(0).filter(|_| !refused(at)), ..WELL });
    let (on, not_injecting) = world.until_on(ConditionName::NotInjecting, None, 646);
    // One failed put is not an outage.
    assert!(on > 630, "{on}");
    assert_eq!(not_injecting.since, Some(t(600)));
    assert_eq!(problems(&world.run_to(899).verdict()), ["not_injecting"]);
    world.until_off(ConditionName::NotInjecting, None, 901);
}

#[test]
fn a_log_group_that_takes_canaries_late_makes_no_pipeline_slow() {
    let late = Fate { put: Some(28), ..WELL };
    let arrivals = late.arrivals.map(|at| at.map(|at| at + 28_000));
    let late = Fate { arrivals, ..late };
    let mut world = World::new(move |at| if (600..1_800).contains(&at) { late } else { WELL });
    // The third of them is taken at 688.
    let (_, condition) = world.until_on(ConditionName::LateInjection, None, 689);
    assert_eq!(condition.since, Some(t(600)));
    let verdict = world.run_to(1_200).verdict();
    assert_eq!(verdict.problem().unwrap().name, ConditionName::LateInjection, "{verdict:#?}");
    let slow = verdict.conditions.iter().find(|it| it.name == ConditionName::Slow).unwrap();
    assert_eq!((slow.blame, slow.subject), (Blame::Probe, Subject::tenant(ACME)));
    world.until_off(ConditionName::LateInjection, None, 1_862);
}

#[test]
fn a_canary_is_late_once_it_is_taken_and_not_before() {
    let arrivals = WELL.arrivals.map(|at| at.map(|at| at + 28_000));
    let late = Fate { put: Some(28), arrivals, ..WELL };
    let mut world = World::new(move |at| if at == 600 { late } else { WELL });
    let told =
        |world: &World| world.verdict().conditions.iter().any(|it| it.name == ConditionName::LateInjection);
    assert!(!told(world.run_to(627)), "it is not answered yet");
    assert!(told(world.run_to(628)));
}

#[test]
fn a_log_group_that_does_not_answer_is_not_injecting_and_not_late() {
    // The injector gives such a put up after 25 s.
    let given_up = |second: u64| -> Vec<Input> {
        let planned =
            second.checked_sub(25).filter(|planned| *planned >= 600 && planned.is_multiple_of(INTERVAL));
        let unanswered = |planned| Input::Put {
            trace: TraceId::new(t(planned), [0; 10]),
            result: PutResult::ambiguous(false),
        };
        planned.map(unanswered).into_iter().collect()
    };
    let silent = Fate { put: Some(u64::MAX / 2), arrivals: [None; 5], ..WELL };
    let mut world = World::new(move |at| if at >= 600 { silent } else { WELL }).reporting(given_up);
    let (_, not_injecting) = world.until_on(ConditionName::NotInjecting, None, 672);
    assert_eq!(not_injecting.since, Some(t(625)));
    assert!(world.verdict().conditions.iter().all(|it| it.name != ConditionName::LateInjection));
}

#[test]
fn an_end_that_has_never_shown_a_canary_is_blamed_on_the_probe() {
    let mut world = World::unseen(|_| WELL.at(TABLE, None));
    let (_, unseen) = world.until_on(ConditionName::NeverSeen, TABLE, 120);
    assert_eq!((unseen.severity, unseen.blame), (Severity::Critical, Blame::Probe));
    assert_eq!(problems(&world.run_to(2_400).verdict()), ["never_seen"]);
}

#[test]
fn a_tenant_with_few_canaries_is_not_injecting_after_more_than_one_of_its_own_intervals() {
    let refused = |planned| Fate { put: Some(0).filter(|_| planned < 6_000), ..WELL };
    let mut world = World::new(refused).every(600);
    let (on, _) = world.until_on(ConditionName::NotInjecting, None, 6_902);
    assert!(on > 6_900, "{on}");
}

#[test]
fn a_drifted_table_of_all_tenants_belongs_to_its_stage() {
    let mut snapshot = World::new(|_| WELL).run_to(60).snapshot();
    let table = snapshot.topology.source_of(ACME, TABLE);
    let changes: Arc<[Drift]> =
        [Drift { column: "level".into(), from: None, to: Some("INT64".into()) }].into();
    let drifted = Drifted { since: Some(t(50)), changes, accept: None };
    snapshot.sources[table.0 as usize].drifted = Some(drifted);
    let assessment = Assessment::new(&snapshot, &criteria());
    let [drift] = &assessment.shared[..] else { panic!("{assessment:?}") };
    let subject = Subject { tenant: None, place: Some(HopRange::one(TABLE)) };
    assert_eq!((drift.name, drift.subject, drift.since), (ConditionName::SchemaDrift, subject, Some(t(50))));
    snapshot.sources[table.0 as usize].drifted = Some(Drifted::default());
    assert_eq!(shared(&snapshot), []);
}

#[test]
fn the_probes_own_faults_belong_to_no_tenant() {
    let mut snapshot = World::new(|_| WELL).run_to(1_000).snapshot();
    assert_eq!(shared(&snapshot), []);
    snapshot.namesake = Some(Namesake { since: t(200), last: t(900) });
    snapshot.not_stored = Some((t(990), "disk full".into()));
    let held = HeldBack { since: t(980), text: "polls".into(), leaves_out: true };
    snapshot.over_budget = Some(held.clone());
    snapshot.reload_failed = Some((t(990), "1 fault".into()));
    snapshot.clock = Some(OwnClock { error_bound: None, synchronized: false, compared_at: None });
    use ConditionName::{ClockUnsynchronized, OverBudget, ReloadFailed, SameName, StoreDegraded};
    assert_eq!(shared(&snapshot), [SameName, StoreDegraded, OverBudget, ReloadFailed, ClockUnsynchronized]);
    assert_eq!(problems(&of_acme(&snapshot)), [""; 0]);
    snapshot.namesake = Some(Namesake { since: t(0), last: t(99) });
    snapshot.not_stored = None;
    snapshot.over_budget = Some(HeldBack { leaves_out: false, ..held });
    snapshot.reload_failed = None;
    snapshot.clock = Some(OwnClock { error_bound: None, synchronized: true, compared_at: None });
    let of_probe = Assessment::new(&snapshot, &criteria()).shared;
    let [note] = &of_probe[..] else { panic!("{of_probe:?}") };
    assert_eq!((note.name, note.is_problem()), (OverBudget, false), "polls that are late for seconds");
    snapshot.over_budget = None;
    assert_eq!(shared(&snapshot), []);
}
