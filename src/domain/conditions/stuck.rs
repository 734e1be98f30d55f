//! Nothing passes a hop of the main path any more: for one tenant, or for all.

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::History;
use super::missing::RECENT_PASSAGES;
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, StageId, Topology};
use crate::domain::trace::{Judgement, Trace};

/// Fewest overdue canaries of one tenant in a row. A single one may be lost.
const OVERDUE_OF_TENANT: usize = 2;
/// Fewest tenants with an overdue canary. With fewer, each is told by itself.
const STALLED_TENANTS: usize = 3;

/// The first hop of the main path that nothing passes, although something should have.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    // Also traces from before the window: a hop that stopped hours ago has already lost the first ones.
    let traces: Vec<&Trace> = history.canaries.iter().map(|canary| canary.trace).collect();
    // A stage that has never shown the tenant's canaries, or cannot be read, proves nothing about the pipeline.
    let path = history.snapshot.topology.main_path().iter().copied();
    let path: Vec<StageId> = path.filter(|stage| can_tell(history, *stage)).collect();
    found.extend((0..path.len()).find_map(|hop| stuck_at(history, criteria, &traces, &path, hop)));
}

/// Whether a hop has stopped, judged by a tenant's traces in the order of their planned injection.
///
/// It has if two canaries in a row are overdue, and nothing has passed the hop since the first of them was
/// planned. In a slow hop canaries wait too, but others pass meanwhile. One that empties in long intervals
/// gets as long as its last passages took.
fn stuck_at(
    history: &History<'_>,
    criteria: &Criteria,
    traces: &[&Trace],
    path: &[StageId],
    at: usize,
) -> Option<Condition> {
    let (hop, now) = (path[at], history.snapshot.at);
    let before = at.checked_sub(1).map(|before| path[before]);
    let began = |trace: &Trace| {
        before.and_then(|stage| trace.arrival(stage)).map_or(trace.planned_at, |at| at.latest)
    };
    let passage = |trace: &&Trace| path[at..].iter().find_map(|stage| trace.arrival(*stage));
    let passages = traces.iter().filter_map(|trace| Some((trace, passage(trace)?.latest)));
    let last_passage = passages.clone().map(|(_, at)| at).max();
    let took = passages.rev().take(RECENT_PASSAGES).map(|(trace, at)| at.since(began(trace)));
    // The backlog of an earlier stall must not hide the next one.
    let usual = took.max().unwrap_or_default().min(criteria.slo * 2);
    let here = |trace: &Trace| {
        let last = path.iter().rposition(|stage| trace.arrival(*stage).is_some());
        trace.taken() && last.map_or(0, |last| last + 1) == at
    };
    let is_overdue = |trace: &Trace| {
        let (threshold, visit) = (trace.planned_at + criteria.slo, trace.visit(hop));
        trace.judgement == Judgement::Overdue || visit.absent_until.is_some_and(|until| until > threshold)
    };
    let stopped = traces.iter().filter(|trace| here(trace) && trace.judgement != Judgement::Unjudged);
    let overdue = stopped
        .clone()
        .filter(|trace| may_be_lost(trace) && is_overdue(trace))
        .filter(|trace| last_passage.is_none_or(|last| trace.planned_at > last));
    let canaries: Vec<_> = overdue.clone().map(|trace| trace.id()).collect();
    let waited = overdue.map(|trace| now.since(began(trace))).max().unwrap_or_default();
    if canaries.len() < OVERDUE_OF_TENANT || waited <= usual {
        return None;
    }
    let behind = traces.iter().rposition(|trace| passage(trace).is_some()).map_or(0, |at| at + 1);
    let since = traces[behind..].iter().find(|trace| here(trace) && may_be_lost(trace))?.planned_at;
    // Those that are not due yet are among them.
    let sent = traces.iter().filter(|trace| trace.planned_at >= since && trace.taken()).count();
    let subject = Subject::at(history.tenant, hop);
    let up_to_it = history.snapshot.topology.main_path().iter().copied().take_while(|stage| *stage != hop);
    let unseen: Vec<StageId> = match before {
        Some(before) => up_to_it.skip_while(|stage| *stage != before).skip(1).collect(),
        None => up_to_it.collect(),
    };
    let detail = if unseen.is_empty() { Detail::None } else { Detail::Unseen(unseen) };
    let stuck = Condition::fault(ConditionName::Stuck, subject, Severity::Critical, Some(since), detail);
    let last = canaries.iter().map(|id| id.planned_at()).max();
    Some(Condition { last, affected: Some(canaries.len()), of: Some(sent), canaries, ..stuck })
}

/// Whether a stage can tell that something does not pass.
fn can_tell(history: &History<'_>, stage: StageId) -> bool {
    history.has_seen(stage) && !history.is_blind(stage)
}

fn may_be_lost(trace: &Trace) -> bool {
    matches!(trace.ended, None | Some((Outcome::Lost(_), _)))
}

/// Whether nothing of any tenant passes a hop any more: several tenants have an overdue canary that was planned
/// after anything last passed it. Behind the hop that has stopped, what had passed it still arrives for some
/// seconds, so each hop is judged by itself.
pub(super) fn total(histories: &[History<'_>], criteria: &Criteria) -> Option<Condition> {
    let path = histories.first()?.snapshot.topology.main_path();
    (0..path.len()).find_map(|at| stalled_at(histories, criteria, &path[at..]))
}

/// The same for the hop to the first of these stages, which what reaches a later one has passed.
///
/// What was overdue already when anything last passed belongs to an earlier fault of its tenant.
fn stalled_at(histories: &[History<'_>], criteria: &Criteria, from: &[StageId]) -> Option<Condition> {
    let snapshot = histories.first()?.snapshot;
    let (map, hop) = (&*snapshot.topology, *from.first()?);
    let real = || histories.iter().filter(|history| map.drill() != Some(history.tenant));
    let canaries = real().flat_map(|history| &history.canaries);
    let last_passage = canaries.filter_map(|canary| passage(canary.trace, from)).max();
    let is_part = |trace: &&Trace| last_passage.is_none_or(|last| trace.planned_at + criteria.slo > last);
    let stalled: Vec<Vec<&Trace>> = real()
        .filter(|history| can_tell(history, hop) && can_tell(history, map.end()))
        .map(|history| stopped_before(history, from).into_iter().filter(is_part).collect::<Vec<_>>())
        .filter(|stopped| {
            let is_new = |trace: &&Trace| last_passage.is_none_or(|last| trace.planned_at > last);
            stopped.iter().any(is_new)
        })
        .collect();
    if stalled.len() < STALLED_TENANTS {
        return None;
    }
    let stopped = || stalled.iter().flatten();
    let since: Option<Timestamp> = stopped().map(|trace| trace.planned_at).min();
    let stopped: Vec<&Trace> = stopped().copied().collect();
    let subject = Subject { tenant: None, place: Some(HopRange::one(most_wait_for(map, from, &stopped)?)) };
    let detail = Detail::Tenants { affected: stalled.len(), of: map.real_tenants().count() };
    let stall = Condition::fault(ConditionName::TotalStall, subject, Severity::Critical, since, detail);
    let mut canaries: Vec<_> = stopped.iter().map(|trace| trace.id()).collect();
    canaries.sort_unstable();
    let last = canaries.last().map(|id| id.planned_at());
    Some(Condition { last, affected: Some(canaries.len()), canaries, ..stall })
}

/// When a trace certainly had passed the hop to the first of these stages.
fn passage(trace: &Trace, from: &[StageId]) -> Option<Timestamp> {
    from.iter().find_map(|stage| trace.arrival(*stage)).map(|at| at.latest)
}

/// The overdue canaries of a tenant after the last one that passed a hop, oldest first.
fn stopped_before<'a>(history: &History<'a>, from: &[StageId]) -> Vec<&'a Trace> {
    let traces: Vec<&Trace> = history.canaries.iter().map(|canary| canary.trace).collect();
    let last = traces.iter().rposition(|trace| passage(trace, from).is_some());
    let behind = traces[last.map_or(0, |last| last + 1)..].iter().copied();
    behind
        .filter(|trace| trace.taken() && trace.judgement == Judgement::Overdue && may_be_lost(trace))
        .collect()
}

/// The hop that most traces wait for, of those that nothing passes; the first if several have as many. What waits
/// for an earlier one, which others pass or which cannot be read, waits for the first as well.
fn most_wait_for(map: &Topology, stalled: &[StageId], stopped: &[&Trace]) -> Option<StageId> {
    let waits_for = |trace: &Trace| trace.next_stage(map).filter(|next| stalled.contains(next));
    let first = stalled.first().copied()?;
    let count =
        |hop: StageId| stopped.iter().filter(|trace| waits_for(trace).unwrap_or(first) == hop).count();
    stalled.iter().copied().rev().max_by_key(|hop| count(*hop))
}
