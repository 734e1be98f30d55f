//! The order of conditions and tenants, and what a condition can belong to.

use std::collections::BTreeSet;

use super::world::*;
use crate::domain::conditions::{Assessment, ConditionName};
use crate::domain::topology::fixture::*;
use crate::domain::tracker::LogGroupState;

#[test]
fn a_fault_of_the_probe_does_not_hide_one_of_the_pipeline() {
    let mut world = World::new(|planned| if planned < 600 { WELL } else { Fate::stopped() });
    let mut snapshot = world.run_to(662).snapshot();
    snapshot.tenants[usize::from(ACME.0)].log_groups[0].refusing = Some((t(500), "denied".into()));
    assert_eq!(problems(&of_acme(&snapshot)), ["stuck", "not_injecting"]);
}

#[test]
fn of_equal_conditions_the_latest_comes_first_and_tenants_without_a_problem_last() {
    let mut snapshot = World::new(|_| WELL).run_to(900).snapshot();
    let order = |snapshot: &_| {
        let verdicts = Assessment::new(snapshot, &criteria()).verdicts;
        verdicts.iter().map(|verdict| verdict.tenant).collect::<Vec<_>>()
    };
    // Globex still waits for its first canary.
    assert_eq!(order(&snapshot), [GLOBEX, ACME]);
    for (since, tenant) in [(300, ACME), (600, GLOBEX)] {
        let refusing = Some((t(since), "denied".into()));
        snapshot.tenants[usize::from(tenant.0)].log_groups =
            vec![LogGroupState { accepted_at: None, refusing }];
        assert_eq!(order(&snapshot)[0], tenant);
    }
}

#[test]
fn what_follows_from_a_stop_does_not_need_to_be_read() {
    let verdict = after(700, |planned| if planned < 600 { WELL } else { Fate::stopped() });
    let stuck = verdict.problem().unwrap();
    assert_eq!(stuck.name, ConditionName::Stuck);
    let map = topology();
    let follows = verdict.conditions.iter().filter(|it| it.follows_from(stuck, &map));
    let follows: Vec<_> = follows.map(|it| it.name.as_str()).collect();
    assert_eq!(follows, ["missing", "hop_over_target"]);
}

#[test]
fn every_condition_that_is_found_has_a_subject_that_was_foreseen() {
    let map = topology();
    let foreseen: BTreeSet<_> = ConditionName::ALL
        .into_iter()
        .flat_map(|name| name.subjects(&map).into_iter().map(move |it| (name, it)))
        .collect();
    let scripts: [fn(u64) -> Fate; 5] = [
        |planned| if planned < 600 { WELL } else { Fate::stopped() },
        |_| Fate { doubled: Some(ARCHIVE), damaged: Some(STREAM), ..WELL },
        |_| WELL.at(TABLE, 45_000).at(ARCHIVE, None),
        |_| Fate { put: Some(40), ..WELL }.at(TABLE, 60_000),
        |_| WELL.at(DEAD, 1_500).at(TRANSIT, None).at(TABLE, None),
    ];
    for script in scripts {
        for second in [300, 1_700, 3_000] {
            for condition in after(second, script).conditions {
                assert!(foreseen.contains(&(condition.name, condition.subject)), "{condition:?}");
            }
        }
    }
}
