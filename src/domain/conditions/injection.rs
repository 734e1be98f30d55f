//! CloudWatch Logs takes no canaries, or takes them late.

use std::time::Duration;

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, History, Sample};
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::time::Timestamp;
use crate::domain::trace::{Origin, Put, Trace};

/// Canaries that were refused, not sent, or taken late.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let subject = Subject::tenant(history.tenant);
    if let Some((since, reason)) = not_injecting(history) {
        let detail = Detail::Reason(reason.into());
        let name = ConditionName::NotInjecting;
        found.push(Condition::fault(name, subject, Severity::Critical, Some(since), detail));
    }
    let now = history.snapshot.at;
    let late = history.judge(criteria.thresholds.late_injection, |canary| late(canary, criteria, now));
    found.extend(late.map(|it| {
        let delays = history.recent().iter().filter_map(|canary| delay(canary.trace, now));
        let longest = delays.max().unwrap_or_default();
        it.condition(ConditionName::LateInjection, history, subject, Detail::Injection(longest))
    }));
}

fn not_injecting(history: &History<'_>) -> Option<(Timestamp, String)> {
    let now = history.snapshot.at;
    let view = &history.snapshot.tenants[usize::from(history.tenant.0)];
    if let Some((since, reason)) = &view.refusing {
        // One failed put is not an outage; the next one, after an interval, decides.
        let for_long = now.since(*since) > history.interval * 3 / 2;
        return (for_long || view.accepted_at.is_none()).then(|| (*since, reason.to_string()));
    }
    // Nothing was refused, but nothing is sent either: the process is starved, or too many traces are in
    // flight.
    let silent_since = view.accepted_at.or(view.missed_at)?;
    let silent = now.since(silent_since) > history.interval * 3;
    let reason =
        || format!("{} scheduled canaries were not sent: the probe itself could not keep up", view.missed);
    (silent && view.missed_at.is_some_and(|at| at >= silent_since)).then(|| (silent_since, reason()))
}

fn late(canary: &Canary<'_>, criteria: &Criteria, now: Timestamp) -> Option<Sample> {
    let is_late = delay(canary.trace, now)? > criteria.late_after;
    match canary.trace.put {
        _ if is_late => Some(Sample::Affected),
        Put::Planned => Some(Sample::Pending),
        Put::Accepted { .. } => Some(Sample::Good),
        Put::Ambiguous { .. } | Put::Refused { .. } => None,
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
