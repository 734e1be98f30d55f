//! CloudWatch Logs takes no canaries, or takes them late.

use std::time::Duration;

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, History, Sample};
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::domain::topology::LogGroupId;
use crate::domain::trace::{Origin, Put, Trace};

/// Log groups that take no canaries, or none that were sent.
pub(super) fn not_injecting(history: &History<'_>, found: &mut Vec<Condition>) {
    let name = ConditionName::NotInjecting;
    let subject = Subject::tenant(history.tenant);
    found.extend(refused_or_silent(history).map(|Silence { since, reason, log_groups }| {
        let detail = Detail::Reason(reason);
        Condition { log_groups, ..Condition::fault(name, subject, Severity::Critical, Some(since), detail) }
    }));
}

/// Canaries that were taken late.
pub(super) fn late(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let now = history.snapshot.at;
    let late = history.judge(criteria.thresholds.late_injection, |canary| was_late(canary, criteria, now));
    found.extend(late.map(|it| {
        let delays = history.recent().iter().filter_map(|canary| taken_after(canary.trace));
        let longest = delays.max().unwrap_or_default();
        let subject = Subject::tenant(history.tenant);
        it.condition(ConditionName::LateInjection, history, subject, Detail::Injection(longest))
    }));
}

/// Why a tenant's log groups take no canaries.
struct Silence {
    since: Timestamp,
    reason: ForeignText,
    /// Which of them; empty for all.
    log_groups: Vec<LogGroupId>,
}

fn refused_or_silent(history: &History<'_>) -> Option<Silence> {
    let now = history.snapshot.at;
    let view = &history.snapshot.tenants[usize::from(history.tenant.0)];
    let all = view.log_groups.len();
    if view.refusing().is_some() {
        // One failed put is not an outage; the next one into the same log group decides.
        let next = history.interval * u32::try_from(all).unwrap_or(u32::MAX);
        let refusing = (0..).map(LogGroupId).zip(&view.log_groups).filter_map(|(group, state)| {
            let (since, reason) = state.refusing.as_ref()?;
            let is_outage = now.since(*since) > next * 3 / 2 || state.accepted_at.is_none();
            is_outage.then_some((*since, group, reason))
        });
        let (since, _, reason) = refusing.clone().min_by_key(|(since, ..)| *since)?;
        let log_groups: Vec<_> = refusing.map(|(_, group, _)| group).collect();
        let log_groups = if log_groups.len() == all { Vec::new() } else { log_groups };
        return Some(Silence { since, reason: reason.clone(), log_groups });
    }
    // Nothing was refused, but nothing is sent either: the process is starved, or too many traces are in
    // flight.
    let silent_since = view.accepted_at().or(view.missed_at)?;
    let silent = now.since(silent_since) > history.interval * 3;
    let reason =
        || format!("{} scheduled canaries were not sent: the probe itself could not keep up", view.missed);
    (silent && view.missed_at.is_some_and(|at| at >= silent_since)).then(|| Silence {
        since: silent_since,
        reason: reason().into(),
        log_groups: Vec::new(),
    })
}

/// A canary that was not answered yet is not late: if no answer comes, it counts as refused, and the tenant as not
/// injecting.
fn was_late(canary: &Canary<'_>, criteria: &Criteria, now: Timestamp) -> Option<Sample> {
    match taken_after(canary.trace) {
        Some(took) if took > criteria.late_after => Some(Sample::Affected),
        Some(_) => Some(Sample::Good),
        None => delay(canary.trace, now).map(|_| Sample::Pending),
    }
}

/// How long CloudWatch Logs took for a canary, from the planned injection; `None` if it did not take it, or not yet.
fn taken_after(trace: &Trace) -> Option<Duration> {
    match trace.put {
        Put::Accepted { at } => Some(at.since(trace.planned_at)),
        Put::Planned | Put::Ambiguous { .. } | Put::Refused { .. } => None,
    }
}

/// How long CloudWatch Logs took for a canary, from the planned injection; so far, if it has not answered.
/// `None` if it did not take it, or if that is not known.
pub(super) fn delay(trace: &Trace, now: Timestamp) -> Option<Duration> {
    match trace.put {
        Put::Accepted { at } => Some(at.since(trace.planned_at)),
        Put::Planned if trace.origin == Origin::Planned && trace.ended.is_none() => {
            Some(now.since(trace.planned_at))
        }
        Put::Planned | Put::Ambiguous { .. } | Put::Refused { .. } => None,
    }
}
