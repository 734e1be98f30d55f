//! What proves that an episode is over, and what was usual before it.

use std::time::Duration;

use super::episode::Episode;
use crate::domain::conditions::{ConditionName, Subject};
use crate::domain::time::Timestamp;
use crate::domain::topology::{Role, StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Put, Trace};
use crate::domain::tracker::Snapshot;

/// Number of canaries before an episode that define what was usual.
const USUAL_OF: usize = 30;

/// When the episode was over, as far as anything proves that it is: `None` if nothing does.
///
/// For conditions that count canaries, that is the planned injection of the first good one after the last
/// affected one, just as their beginning is that of the first affected one.
pub(super) fn since(episode: &Episode, snapshot: &Snapshot) -> Option<Timestamp> {
    let (map, condition) = (&*snapshot.topology, &episode.condition);
    let stage = end_of_place(map, condition.subject);
    let last = condition.last.unwrap_or(episode.beginning).max(episode.beginning);
    match condition.name {
        ConditionName::Missing
        | ConditionName::Losing
        | ConditionName::Slow
        | ConditionName::HopOverTarget
        | ConditionName::Skipped
        | ConditionName::Duplicates
        | ConditionName::Corruption
        | ConditionName::Leaking => {
            let good = |trace: &&Trace| trace.planned_at > last && trace.arrival(stage).is_some();
            of_tenant(snapshot, condition.subject.tenant).filter(good).map(|trace| trace.planned_at).min()
        }
        ConditionName::TotalStall | ConditionName::Stuck | ConditionName::NeverSeen => {
            let passed = of_tenant(snapshot, condition.subject.tenant)
                .filter(|trace| trace.planned_at >= episode.beginning)
                .filter_map(|trace| trace.arrival(stage));
            passed.map(|at| at.latest).min()
        }
        ConditionName::LateInjection => {
            let taken = |trace: &&Trace| trace.planned_at > last && matches!(trace.put, Put::Accepted { .. });
            of_tenant(snapshot, condition.subject.tenant).filter(taken).map(|trace| trace.planned_at).min()
        }
        ConditionName::NotInjecting => {
            let tenant = condition.subject.tenant?;
            let accepted_at = snapshot.tenants.get(usize::from(tenant.0))?.accepted_at;
            accepted_at.filter(|at| *at >= episode.beginning).map(|_| snapshot.at)
        }
        ConditionName::SchemaDrift
        | ConditionName::CannotSee
        | ConditionName::SameName
        | ConditionName::StoreDegraded
        | ConditionName::ClockUnsynchronized => Some(snapshot.at),
    }
}

/// The median time that the hop to a place took for the canaries before an instant; end to end for what has
/// no place. `None` if there were none, and for what is no tenant's.
pub(super) fn usual(snapshot: &Snapshot, subject: Subject, before: Timestamp) -> Option<Duration> {
    let (map, tenant) = (&*snapshot.topology, subject.tenant?);
    let mut earlier: Vec<&Trace> =
        snapshot.traces_of(tenant).filter(|trace| trace.planned_at < before).collect();
    earlier.sort_by_key(|trace| trace.planned_at);
    let took = |trace: &Trace| match subject.place {
        Some(place) => match trace.visit(place.last).hop {
            Hop::Measured { latency, .. } => Some(latency),
            Hop::Open
            | Hop::Overdue
            | Hop::Unjudged
            | Hop::Inverted
            | Hop::Inherited
            | Hop::Skipped
            | Hop::Missing
            | Hop::NeverSeen => None,
        },
        None => trace.latency(map),
    };
    let mut took: Vec<_> = earlier.iter().rev().filter_map(|trace| took(trace)).take(USUAL_OF).collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// The stage at which canaries show that a place is well. What was dead-lettered would have reached the end.
fn end_of_place(map: &Topology, subject: Subject) -> StageId {
    let place = subject.place.map(|place| place.last);
    place.filter(|stage| map.stage(*stage).role != Role::DeadLetter).unwrap_or_else(|| map.end())
}

fn of_tenant(snapshot: &Snapshot, tenant: Option<TenantId>) -> impl Iterator<Item = &Trace> {
    let all = snapshot.finished.iter().chain(&snapshot.open).map(AsRef::as_ref);
    all.filter(move |trace: &&Trace| tenant.is_none_or(|tenant| tenant == trace.tenant))
}
