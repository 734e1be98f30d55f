//! What is wrong, where, and since when: the one place that says what is broken, for the page, JSON, metrics
//! and alerts alike.
//!
//! A pure function of a snapshot. Each kind of fault has a file that finds it; `name` is the table of their
//! fixed properties, and `criteria` that of their thresholds. A condition is a problem or a note. OK means
//! that no condition is a problem; notes stand beside it. What is broken must never be OK.

mod cause;
mod condition;
mod copies;
mod criteria;
mod history;
mod injection;
pub mod latency;
mod leaking;
mod limit;
mod log_groups;
mod losing;
mod missing;
mod name;
mod severity;
mod shared;
mod slow;
mod stuck;
#[cfg(test)]
pub(super) mod tests;
mod verdict;
mod visibility;

use std::cmp::Reverse;

pub use self::condition::{Condition, Detail, Precedence};
pub use self::criteria::{Criteria, DEFAULT_LIMITS, Limits, Thresholds};
use self::history::History;
pub use self::limit::Limit;
pub use self::name::{ConditionName, Profile, Subject};
pub use self::severity::{Blame, Severity};
pub use self::verdict::Verdict;
use super::incidents;
use super::topology::Topology;
use super::tracker::Snapshot;

/// Everything that is wrong at one instant.
#[derive(Clone, PartialEq, Debug)]
pub struct Assessment {
    /// The verdict on each tenant, worst first.
    pub verdicts: Vec<Verdict>,
    /// Conditions of stages of all tenants, and of the probe, worst first.
    pub shared: Vec<Condition>,
}

impl Assessment {
    /// Judges every tenant, stage and the probe.
    ///
    /// The order is the same everywhere: severity, the pipeline's faults before the probe's own, the order of
    /// [`ConditionName`], the larger ratio of affected canaries, what began last, and the tenant's name.
    #[must_use]
    pub fn new(snapshot: &Snapshot, criteria: &Criteria) -> Self {
        let map = &*snapshot.topology;
        let mut shared = Vec::new();
        self::shared::find(snapshot, criteria, &mut shared);
        let (mut of_tenants, mut shared): (Vec<_>, Vec<_>) =
            shared.into_iter().partition(|condition| condition.subject.tenant.is_some());
        let histories = History::of_all(snapshot, criteria);
        shared.extend(stuck::total(&histories, criteria));
        incidents::settle(&mut shared, &snapshot.episodes, map);
        shared.sort_by_cached_key(|condition| order(map, condition));
        let verdict = |history: &History<'_>| {
            let mut found: Vec<_> =
                of_tenants.extract_if(.., |it| it.subject.tenant == Some(history.tenant)).collect();
            leaking::find(history, &mut found);
            found.extend(of_canaries(history, criteria));
            log_groups::narrow(history, criteria, |of_group| of_canaries(of_group, criteria), &mut found);
            injection::not_injecting(history, &mut found);
            visibility::find(history, &mut found);
            incidents::settle(&mut found, &snapshot.episodes, map);
            Verdict::new(history, found)
        };
        let mut verdicts: Vec<_> = histories.iter().map(verdict).collect();
        verdicts.sort_by_cached_key(|verdict| match verdict.problem() {
            Some(problem) => (Some(order(map, problem)), false, None),
            None => (None, verdict.judged.is_some(), Some(map.tenant(verdict.tenant).name.clone())),
        });
        // Tenants without a problem have no key, and would come first.
        let well = verdicts.iter().take_while(|verdict| verdict.problem().is_none()).count();
        verdicts.rotate_left(well);
        Self { verdicts, shared }
    }

    /// Every condition, worst first.
    #[must_use]
    pub fn all(&self, map: &Topology) -> Vec<&Condition> {
        let of_tenants = self.verdicts.iter().flat_map(|verdict| &verdict.conditions);
        let mut all: Vec<_> = of_tenants.chain(&self.shared).collect();
        all.sort_by_cached_key(|condition| order(map, condition));
        all
    }

    /// Every condition that is a problem, in no order.
    pub fn problems(&self) -> impl Iterator<Item = &Condition> {
        let of_tenants = self.verdicts.iter().flat_map(|verdict| &verdict.conditions);
        of_tenants.chain(&self.shared).filter(|condition| condition.is_problem())
    }
}

/// What the canaries of a history show.
fn of_canaries(history: &History<'_>, criteria: &Criteria) -> Vec<Condition> {
    let mut found = Vec::new();
    stuck::find(history, criteria, &mut found);
    losing::find(history, criteria, &mut found);
    missing::find(history, criteria, &mut found);
    copies::find(history, criteria, &mut found);
    slow::find(history, criteria, &mut found);
    injection::late(history, criteria, &mut found);
    found
}

/// The sort key of conditions of different subjects.
fn order(map: &Topology, condition: &Condition) -> impl Ord + use<> {
    let tenant = condition.subject.tenant.map(|tenant| map.tenant(tenant).name.clone());
    (
        condition.precedence(),
        Reverse(condition.affected_millionths()),
        Reverse(condition.since),
        tenant,
        condition.subject.place.map(|place| map.order(place)),
    )
}
