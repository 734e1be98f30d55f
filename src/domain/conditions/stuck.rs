//! Nothing passes a hop of the main path any more.

use std::time::Duration;

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::History;
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::StageId;
use crate::domain::trace::{Judgement, Trace};

/// Number of recent passages that define how long a hop usually takes.
const RECENT_PASSAGES: usize = 5;

/// The first hop of the main path that nothing passes, although something should have.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    // Also traces from before the window: a hop that stopped hours ago has already lost the first ones.
    let traces: Vec<&Trace> = history.canaries.iter().map(|canary| canary.trace).collect();
    // Stages that have never shown the tenant's canaries prove nothing about the pipeline.
    let path = history.snapshot.topology.main_path().iter().copied();
    let path: Vec<StageId> = path.filter(|stage| history.has_seen(*stage)).collect();
    found.extend((0..path.len()).find_map(|hop| stuck_at(history, criteria, &traces, &path, hop)));
}

/// Whether a hop has stopped, judged by a tenant's traces in the order of their planned injection.
///
/// A single missing canary may be lost, and in a slow hop old ones wait although all are moving. So it takes
/// two that no later one has overtaken. Either both have waited clearly longer than recent ones took, or the
/// hop has shown nothing for so long that even slow ones would have arrived.
fn stuck_at(
    history: &History<'_>,
    criteria: &Criteria,
    traces: &[&Trace],
    path: &[StageId],
    at: usize,
) -> Option<Condition> {
    let (hop, now) = (path[at], history.snapshot.at);
    if history.is_blind(hop) {
        return None;
    }
    let before = at.checked_sub(1).map(|before| path[before]);
    let began = |trace: &Trace| {
        before.and_then(|stage| trace.arrival(stage)).map_or(trace.planned_at, |at| at.latest)
    };
    let passed = |trace: &Trace| path[at..].iter().any(|stage| trace.arrival(*stage).is_some());
    let stopped = &traces[traces.iter().rposition(|trace| passed(trace)).map_or(0, |at| at + 1)..];
    let passages: Vec<(Duration, Timestamp)> = traces
        .iter()
        .rev()
        .filter_map(|trace| trace.arrival(hop).map(|at| (at.latest.since(began(trace)), at.latest)))
        .take(RECENT_PASSAGES)
        .collect();
    let usual = passages.iter().map(|(took, _)| *took).max();
    // Half as long again as the slowest of them, and a second for polls and clocks.
    let patience = usual.map_or(criteria.slo, |usual| usual * 3 / 2 + Duration::from_secs(1));
    let here = |trace: &&&Trace| {
        let last = path.iter().rposition(|stage| trace.arrival(*stage).is_some());
        trace.taken() && last.map_or(0, |last| last + 1) == at
    };
    let waiting: Vec<&&Trace> = stopped
        .iter()
        .filter(|trace| trace.ended.is_none() && trace.judgement != Judgement::Unjudged)
        .filter(here)
        .collect();
    let overdue = waiting.iter().filter(|trace| now.since(trace.planned_at) > criteria.slo).count();
    let impatient = waiting.iter().filter(|trace| now.since(began(trace)) > patience).count();
    let silence = criteria.slo.max(history.interval * 2);
    let silent = passages.iter().map(|(_, at)| *at).max().is_none_or(|last| now.since(last) > silence);
    if overdue == 0 || !(impatient >= 2 || silent && overdue >= 2) {
        return None;
    }
    let lost = |trace: &Trace| matches!(trace.ended, None | Some((Outcome::Lost(_), _)));
    let since = stopped.iter().filter(here).find(|trace| lost(trace)).map(|trace| trace.planned_at)?;
    let subject = Subject::at(history.tenant, hop);
    let stuck =
        Condition::fault(ConditionName::Stuck, subject, Severity::Critical, Some(since), Detail::None);
    Some(Condition { affected: Some(overdue), ..stuck })
}
