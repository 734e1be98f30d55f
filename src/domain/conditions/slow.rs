//! Canaries that take too long, end to end or over one hop.

use std::time::Duration;

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, History, Sample, median};
use super::injection::delay;
use super::latency;
use super::missing::later;
use super::name::{ConditionName, Subject};
use super::severity::Blame;
use crate::domain::quantile::{Level, Quantile};
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, Role, StageId, Topology};
use crate::domain::trace::{Hop, Judgement, Trace};

/// What is over the threshold end to end, and over the target at each hop.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    slow(history, criteria, found);
    let map = &history.snapshot.topology;
    for stage in map.stage_ids().filter(|stage| map.stage(*stage).role != Role::DeadLetter) {
        // What a source that never showed the tenant does not show says nothing about the hop.
        if let Some(target) = map.stage(stage).target.filter(|_| history.has_seen(stage)) {
            over_target(history, criteria, stage, target, found);
        }
    }
}

fn slow(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let snapshot = history.snapshot;
    let (map, now) = (&*snapshot.topology, snapshot.at);
    // An end stage that has never shown the tenant's canaries proves nothing about the pipeline.
    if !history.has_seen(map.end()) {
        return;
    }
    // What does not arrive is told as missing or losing. The others may be as fast as ever.
    let is_told = |name| found.iter().any(|it: &Condition| it.name == name);
    let (missing, losing) = (is_told(ConditionName::Missing), is_told(ConditionName::Losing));
    let end_to_end = |canary: &Canary<'_>| {
        let trace = canary.trace;
        let elsewhere = missing && map.main_path().iter().any(|stage| trace.is_missing(map, *stage))
            || losing && !canary.open;
        end_to_end(canary).filter(|_| !elsewhere || trace.arrival(map.end()).is_some())
    };
    let Some(it) = history.judge(criteria.thresholds.slow, end_to_end) else { return };
    let recent: Vec<&Trace> = history.recent().iter().map(|canary| canary.trace).collect();
    let Some(judged) = latency::end_to_end(snapshot, &recent).quantile(Level::JUDGED) else { return };
    let affected = history.recent().iter().filter(|it| end_to_end(it) == Some(Sample::Affected));
    let affected: Vec<&Trace> = affected.map(|canary| canary.trace).collect();
    // A few that have not arrived are a note of their own: lost or missing.
    if !it.is_problem && affected.iter().all(|trace| trace.latency(map).is_none()) {
        return;
    }
    let injection = affected.iter().filter_map(|trace| delay(trace, now)).max();
    let place = slowest_hop(map, &affected, now);
    let injected_late =
        affected.iter().filter(|it| excused(it, criteria, map.end(), criteria.slo, now)).count();
    let is_injection = injected_late * 2 > affected.len();
    let place = place.filter(|_| !is_injection);
    let detail = Detail::Slow {
        judged,
        hop: place.and_then(|(_, took)| took),
        injected_late,
        injection: injection.unwrap_or_default(),
    };
    let subject =
        Subject { tenant: Some(history.tenant), place: place.map(|(stage, _)| HopRange::one(stage)) };
    let mut condition = it.condition(ConditionName::Slow, history, subject, detail);
    if is_injection {
        condition.blame = Blame::Probe;
    }
    found.push(condition);
}

fn end_to_end(canary: &Canary<'_>) -> Option<Sample> {
    match canary.trace.judgement {
        Judgement::Good => Some(Sample::Good),
        Judgement::Slow | Judgement::Overdue => Some(Sample::Affected),
        Judgement::Pending if canary.open && canary.trace.taken() => Some(Sample::Pending),
        Judgement::Pending | Judgement::Unjudged => None,
    }
}

/// Whether a trace would have reached a stage within a limit without the time until CloudWatch Logs took it,
/// which was late.
fn excused(trace: &Trace, criteria: &Criteria, stage: StageId, limit: Duration, now: Timestamp) -> bool {
    let took = trace.arrival(stage).map_or(now, |at| at.earliest).since(trace.planned_at);
    delay(trace, now).is_some_and(|delay| delay > criteria.late_after && took.saturating_sub(delay) <= limit)
}

/// The hop of the main path on which slow canaries spent most time beyond its target, and the median time
/// that those that arrived spent there.
fn slowest_hop(map: &Topology, slow: &[&Trace], now: Timestamp) -> Option<(StageId, Option<Duration>)> {
    let times: Vec<_> = slow.iter().map(|trace| time_of_hops(map, trace, now)).collect();
    let of = |hop: StageId| times.iter().flatten().filter(move |(at, _)| *at == hop).map(|(_, took)| *took);
    let beyond = |hop: StageId| -> Duration {
        let target = map.stage(hop).target.unwrap_or_default();
        of(hop).map(|took| took.saturating_sub(target)).sum()
    };
    let hop = map.main_path().iter().copied().filter(|hop| of(*hop).next().is_some());
    let hop = hop.max_by_key(|hop| beyond(*hop))?;
    let arrived = slow.iter().zip(&times).filter(|(trace, _)| trace.arrival(hop).is_some());
    let took = arrived.flat_map(|(_, times)| times).filter(|(at, _)| *at == hop).map(|(_, took)| *took);
    Some((hop, median(took.collect())))
}

/// The time that a trace spent on each hop of the main path so far. The time before a stage that did not show
/// it is added to the next one that did. The first hop begins when CloudWatch Logs took it.
fn time_of_hops(map: &Topology, trace: &Trace, now: Timestamp) -> Vec<(StageId, Duration)> {
    let mut begun = trace.planned_at + delay(trace, now).unwrap_or_default();
    let mut times = Vec::new();
    for &stage in map.main_path() {
        if let Some(arrival) = trace.arrival(stage) {
            times.push((stage, arrival.latest.since(begun)));
            begun = begun.max(arrival.latest);
        }
    }
    times.extend(trace.next_stage(map).map(|stage| (stage, now.since(begun))));
    times
}

fn over_target(
    history: &History<'_>,
    criteria: &Criteria,
    stage: StageId,
    target: Duration,
    found: &mut Vec<Condition>,
) {
    let snapshot = history.snapshot;
    let map = &*snapshot.topology;
    let passed = history.canaries.iter().rev().find(|canary| canary.trace.arrival(stage).is_some());
    let passed = passed.map(|canary| canary.trace.planned_at);
    let sample = |canary: &Canary<'_>| hop(map, canary, stage, target, passed);
    let Some(it) = history.judge(criteria.thresholds.hop_over_target, sample) else { return };
    let recent: Vec<&Trace> = history.recent().iter().map(|canary| canary.trace).collect();
    let (mut sample, _) = latency::of_hop(snapshot, stage, &recent);
    let judged = sample.quantile(Level::JUDGED).unwrap_or(Quantile::MoreThan(target));
    let (subject, detail) = (Subject::at(history.tenant, stage), Detail::OverTarget { judged, target });
    let mut condition = it.condition(ConditionName::HopOverTarget, history, subject, detail);
    // The first hop begins with the planned injection.
    if map.stage(stage).parent.is_none() {
        let excused = |trace: &&&Trace| excused(trace, criteria, stage, target, snapshot.at);
        if recent.iter().filter(excused).count() * 2 > condition.affected.unwrap_or_default() {
            condition.blame = Blame::Probe;
        }
    }
    found.push(condition);
}

/// A canary is over the target only if it certainly is: how exactly the probe can tell must not make a hop
/// look slow. One that is not there although one planned later is (`passed`) may be lost, which is told as
/// missing. It counts here once it arrives.
fn hop(
    map: &Topology,
    canary: &Canary<'_>,
    stage: StageId,
    target: Duration,
    passed: Option<Timestamp>,
) -> Option<Sample> {
    let (trace, visit) = (canary.trace, canary.trace.visit(stage));
    let begun = trace.hop_start(map, stage)?;
    // What a later stage shows passed this one unseen.
    if visit.arrival.is_none() && later(map, trace, stage).is_some() {
        return None;
    }
    match visit.hop {
        Hop::Measured { .. } | Hop::Inherited => {
            let is_over = trace.arrival(stage)?.earliest.since(begun.latest) > target;
            Some(if is_over { Sample::Affected } else { Sample::Good })
        }
        Hop::Overdue | Hop::Missing if passed.is_some_and(|passed| trace.planned_at < passed) => {
            canary.open.then_some(Sample::Pending)
        }
        Hop::Overdue | Hop::Missing => Some(Sample::Affected),
        Hop::Open if canary.open && trace.taken() => Some(Sample::Pending),
        Hop::Open | Hop::Unjudged | Hop::Inverted | Hop::Skipped | Hop::NeverSeen => None,
    }
}
