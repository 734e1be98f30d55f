//! Canaries that a stage does not show: missing, never seen there, or skipped.

use std::time::Duration;

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, Found, History, Sample, median};
use super::name::{ConditionName, Subject};
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Role, StageId, Topology};
use crate::domain::trace::{Hop, Standing, Trace};

/// Number of recent passages that define how long a hop usually takes.
pub(super) const RECENT_PASSAGES: usize = 5;

/// Canaries that stages were read past without. A stage that is blind says nothing, and one that has never
/// shown a canary of the tenant proves nothing about the pipeline.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let map = &*history.snapshot.topology;
    for stage in map.stage_ids().filter(|stage| map.stage(*stage).role != Role::DeadLetter) {
        if history.is_blind(stage) {
            continue;
        }
        let limits = &criteria.thresholds;
        if history.has_seen(stage) {
            let usual = usual(history, stage);
            let missing = history.judge(limits.missing, |canary| missing(map, canary, stage, usual));
            found.extend(missing.map(|it| {
                let subject = Subject::at(history.tenant, stage);
                it.condition(ConditionName::Missing, history, subject, others(history, stage))
            }));
            let skipped = history.judge(limits.skipped, |canary| skipped(map, canary, stage));
            found.extend(skipped.map(|it| condition(history, ConditionName::Skipped, stage, it)));
        } else {
            let unseen = history.judge(limits.never_seen, |canary| never_seen(map, canary, stage));
            found.extend(unseen.map(|it| condition(history, ConditionName::NeverSeen, stage, it)));
        }
    }
}

fn condition(history: &History<'_>, name: ConditionName, stage: StageId, found: Found) -> Condition {
    found.condition(name, history, Subject::at(history.tenant, stage), Detail::None)
}

/// How long the hop takes for the canaries of the window that are not missing.
fn others(history: &History<'_>, stage: StageId) -> Detail {
    let took = history.recent().iter().filter_map(|canary| match canary.trace.visit(stage).hop {
        Hop::Measured { latency, .. } => Some(latency),
        Hop::Open
        | Hop::Overdue
        | Hop::Unjudged
        | Hop::Inverted
        | Hop::Inherited
        | Hop::Skipped
        | Hop::Missing
        | Hop::NeverSeen => None,
    });
    median(took.collect()).map_or(Detail::None, Detail::Others)
}

/// A canary that was lost on the main path is told as that. One that a later stage shows was skipped.
fn missing(map: &Topology, canary: &Canary<'_>, stage: StageId, usual: Duration) -> Option<Sample> {
    let trace = canary.trace;
    if trace.arrival(stage).is_some() {
        return Some(Sample::Good);
    }
    let gone = matches!(trace.standing(), Standing::Ended(Outcome::Lost(_) | Outcome::DeadLettered(_)));
    if !trace.taken() || (map.main_path().contains(&stage) && (gone || later(map, trace, stage).is_some())) {
        return None;
    }
    is_absent_for(map, trace, stage, usual)
        .then_some(Sample::Affected)
        .or((canary.open && trace.hop_start(map, stage).is_some()).then_some(Sample::Pending))
}

fn never_seen(map: &Topology, canary: &Canary<'_>, stage: StageId) -> Option<Sample> {
    let trace = canary.trace;
    let absent = trace.arrival(stage).is_none() && trace.taken() && is_absent(map, trace, stage);
    absent.then_some(Sample::Affected)
}

fn skipped(map: &Topology, canary: &Canary<'_>, stage: StageId) -> Option<Sample> {
    let later = later(map, canary.trace, stage)?;
    let visit = canary.trace.visit(stage);
    if visit.arrival.is_some() {
        return Some(Sample::Good);
    }
    // It passed the stage before it reached the later one, so reading past that instant should have shown it.
    let due = if canary.open { later + map.stage(stage).missing_after } else { later };
    let absent = visit.absent_until.is_some_and(|until| until > due);
    absent.then_some(Sample::Affected).or(canary.open.then_some(Sample::Pending))
}

/// The longest that the hop took for the last canaries that have made it, with an allowance. In a slow hop,
/// what has waited no longer than that is slow and not missing.
fn usual(history: &History<'_>, stage: StageId) -> Duration {
    let passed = history.canaries.iter().rev().filter_map(|canary| {
        let begun = canary.trace.hop_start(&history.snapshot.topology, stage)?.latest;
        Some(canary.trace.arrival(stage)?.latest.since(begun))
    });
    passed.take(RECENT_PASSAGES).max().unwrap_or_default() * 5 / 4
}

/// Whether a stage was read without a trace past the time by which it should have had it, and past what is
/// usual for the hop, or past the trace's deadline.
fn is_absent_for(map: &Topology, trace: &Trace, stage: StageId, usual: Duration) -> bool {
    let past_usual = || {
        let begun = trace.hop_start(map, stage).map(|start| start.latest + usual);
        begun.is_some_and(|due| trace.visit(stage).absent_at(due))
    };
    matches!(trace.visit(stage).hop, Hop::Missing | Hop::NeverSeen)
        || trace.is_missing(map, stage) && past_usual()
}

/// Whether a stage was read past the time by which it should have had a trace, or past the trace's deadline.
fn is_absent(map: &Topology, trace: &Trace, stage: StageId) -> bool {
    trace.is_missing(map, stage) || matches!(trace.visit(stage).hop, Hop::Missing | Hop::NeverSeen)
}

/// When the first later stage of the main path that shows a trace certainly had it; `None` for a side stage.
pub(super) fn later(map: &Topology, trace: &Trace, stage: StageId) -> Option<Timestamp> {
    let path = map.main_path();
    let at = path.iter().position(|on_path| *on_path == stage)?;
    path[at + 1..].iter().find_map(|later| trace.arrival(*later)).map(|arrival| arrival.latest)
}
