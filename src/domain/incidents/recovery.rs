//! What proves that an episode is over, and what was usual before it.

use std::time::Duration;

use super::episode::Episode;
use crate::domain::canary::Integrity;
use crate::domain::conditions::{Condition, ConditionName, Subject};
use crate::domain::copies::{CopyStanding, StoredCopy};
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, Role, StageId, Topology};
use crate::domain::trace::{Hop, Judgement, Put, Trace};
use crate::domain::tracker::{LogGroupState, Snapshot, SourceView};

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
        | ConditionName::Leaking
        | ConditionName::LateInjection
        // Where our own canaries were found, the other process's would have been.
        | ConditionName::SameName => {
            let good = |trace: &&Trace| trace.planned_at > last && is_good(condition.name, map, trace, stage);
            concerned(snapshot, condition).filter(good).map(|trace| trace.planned_at).min()
        }
        ConditionName::TotalStall => first_passage(snapshot, condition, &[map.end()], last),
        ConditionName::Stuck => {
            let path = map.main_path();
            let at = path.iter().position(|on_path| *on_path == stage).unwrap_or_default();
            first_passage(snapshot, condition, &path[at..], last)
        }
        ConditionName::NeverSeen => first_passage(snapshot, condition, &[stage], last),
        ConditionName::NotInjecting => {
            let tenant = condition.subject.tenant?;
            let groups = &snapshot.tenants.get(usize::from(tenant.0))?.log_groups;
            let concerned = |(group, _): &(LogGroupId, &LogGroupState)| condition.concerns(*group);
            let answers = (0..).map(LogGroupId).zip(groups).filter(concerned);
            let accepted: Option<Vec<_>> = answers.map(|(_, group)| group.accepted_at).collect();
            accepted?.into_iter().min().filter(|at| *at > episode.beginning)
        }
        ConditionName::CannotSee => {
            let view = snapshot
                .sources
                .get(map.source_of(condition.subject.tenant?, stage_of(condition)?).0 as usize)?;
            let is_read = view.watermark.is_some() || (view.last_answer.is_some() && view.failing.is_none());
            is_read.then_some(snapshot.at)
        }
        ConditionName::SchemaDrift => {
            let stage = stage_of(condition)?;
            let of_it = |view: &&SourceView| {
                let source = map.source(view.source);
                source.stage == stage && source.owner.tenant() == condition.subject.tenant
            };
            // After a restart the columns are unknown until they are read.
            snapshot.read_sources().filter(of_it).all(|view| view.drifted.is_some()).then_some(snapshot.at)
        }
        ConditionName::DeadLettersWaiting => {
            let stage = stage_of(condition)?;
            let of_it = |view: &&SourceView| {
                let source = map.source(view.source);
                source.stage == stage && source.owner.tenant() == condition.subject.tenant
            };
            let is_empty = |view: &SourceView| view.queue.is_some_and(|queue| queue.messages == 0);
            snapshot.read_sources().filter(of_it).all(is_empty).then_some(snapshot.at)
        }
        ConditionName::ClockUnsynchronized => snapshot.clock.map(|_| snapshot.at),
        ConditionName::StoreDegraded | ConditionName::OverBudget | ConditionName::ReloadFailed => {
            Some(snapshot.at)
        }
    }
}

/// Whether a canary shows that what a condition counts did not happen to it.
fn is_good(name: ConditionName, map: &Topology, trace: &Trace, stage: StageId) -> bool {
    let visit = trace.visit(stage);
    match name {
        // A canary that is lost at a later hop is not well.
        ConditionName::Losing => trace.arrival(map.end()).is_some(),
        ConditionName::Slow => trace.judgement == Judgement::Good,
        ConditionName::HopOverTarget => {
            let is_judged = matches!(visit.hop, Hop::Measured { .. } | Hop::Inherited);
            let took = trace.arrival(stage).zip(trace.hop_start(map, stage)).filter(|_| is_judged);
            took.zip(map.stage(stage).target)
                .is_some_and(|((end, start), target)| end.earliest.since(start.latest) <= target)
        }
        ConditionName::Duplicates => {
            let is_one = |copy: &StoredCopy| {
                !matches!(
                    copy.standing,
                    CopyStanding::Duplicate | CopyStanding::AwaitsPut | CopyStanding::Pending(_)
                )
            };
            visit.arrival.is_some() && visit.copies.iter().all(is_one)
        }
        ConditionName::Corruption => {
            visit.arrival.as_ref().is_some_and(|arrival| arrival.integrity == Integrity::Intact)
        }
        ConditionName::LateInjection => matches!(trace.put, Put::Accepted { .. }),
        ConditionName::Missing
        | ConditionName::Skipped
        | ConditionName::Leaking
        | ConditionName::TotalStall
        | ConditionName::Stuck
        | ConditionName::NeverSeen
        | ConditionName::DeadLettersWaiting
        | ConditionName::SchemaDrift
        | ConditionName::NotInjecting
        | ConditionName::CannotSee
        | ConditionName::SameName
        | ConditionName::StoreDegraded
        | ConditionName::OverBudget
        | ConditionName::ReloadFailed
        | ConditionName::ClockUnsynchronized => visit.arrival.is_some(),
    }
}

/// When something first arrived at one of these stages after the last affected canary was planned. What
/// arrived before that left while others waited already.
fn first_passage(
    snapshot: &Snapshot,
    condition: &Condition,
    stages: &[StageId],
    last: Timestamp,
) -> Option<Timestamp> {
    let passage = |trace: &Trace| stages.iter().find_map(|stage| trace.arrival(*stage));
    concerned(snapshot, condition).filter_map(passage).map(|at| at.latest).filter(|at| *at > last).min()
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

fn stage_of(condition: &Condition) -> Option<StageId> {
    condition.subject.place.map(|place| place.last)
}

/// The stage at which canaries show that a place is well. What was dead-lettered would have reached the end.
fn end_of_place(map: &Topology, subject: Subject) -> StageId {
    let place = subject.place.map(|place| place.last);
    place.filter(|stage| map.stage(*stage).role != Role::DeadLetter).unwrap_or_else(|| map.end())
}

/// The canaries that a condition could concern: of its tenant, or of all, and of its log groups.
fn concerned<'a>(snapshot: &'a Snapshot, condition: &'a Condition) -> impl Iterator<Item = &'a Trace> {
    let all = snapshot.finished.iter().chain(&snapshot.open).map(AsRef::as_ref);
    all.filter(|trace: &&Trace| {
        condition.subject.tenant.is_none_or(|tenant| tenant == trace.tenant)
            && trace.log_group.is_none_or(|group| condition.concerns(group))
    })
}
