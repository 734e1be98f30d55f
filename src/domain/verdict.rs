//! One line for each tenant that says what is wrong, where, and since when.
//!
//! A pure function of a snapshot, so that the page, the JSON and the tests can never disagree about it.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::Outcome;
use super::quantile::{Quantile, Sample};
use super::time::Timestamp;
use super::topology::{SourceId, StageId, Stretch, TenantId};
use super::trace::{Judgement, Trace};
use super::tracker::Snapshot;

/// How a verdict is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Criteria {
    /// End-to-end threshold.
    pub slo: Duration,
    /// Only traces that were planned within this time count.
    pub window: Duration,
    /// How often a canary is planned for each tenant.
    pub interval: Duration,
}

/// What can be said of a tenant. The order is that of severity, worst first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Its canaries were found where they must not be.
    Leaking {
        /// At which stage.
        stage: StageId,
        /// In which source.
        found_in: Arc<str>,
    },
    /// Canaries do not get into its log group, so nothing is known of its pipeline.
    NotInjecting {
        /// Why.
        reason: Arc<str>,
    },
    /// A stage on the way to the end cannot be read, so nothing is known of what lies behind it.
    CannotSee {
        /// Which stage.
        stage: StageId,
        /// Why.
        reason: Arc<str>,
    },
    /// Nothing passes this hop.
    Stuck {
        /// Which hop.
        hop: StageId,
        /// How many canaries wait there beyond the threshold.
        waiting: usize,
    },
    /// Some canaries do not arrive.
    Losing {
        /// Where most are lost.
        hop: Stretch,
        /// How many were lost.
        lost: usize,
        /// Of how many that ended.
        of: usize,
    },
    /// More than one in twenty took longer than the threshold.
    Slow {
        /// The 95th percentile.
        p95: Quantile,
    },
    /// A stage beside the main path cannot be read.
    CannotSeeBranch {
        /// Which stage.
        stage: StageId,
        /// Why.
        reason: Arc<str>,
    },
    /// No canary has ended yet.
    Waiting,
    /// All is well.
    Ok {
        /// The 95th percentile.
        p95: Quantile,
    },
}

impl Condition {
    /// The word that stands on the page, and in JSON in lower case.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Leaking { .. } => "LEAKING",
            Self::NotInjecting { .. } => "NOT INJECTING",
            Self::CannotSee { .. } | Self::CannotSeeBranch { .. } => "CANNOT SEE",
            Self::Stuck { .. } => "STUCK",
            Self::Losing { .. } => "LOSING",
            Self::Slow { .. } => "SLOW",
            Self::Waiting => "WAITING",
            Self::Ok { .. } => "OK",
        }
    }
}

/// The verdict on one tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Which tenant.
    pub tenant: TenantId,
    /// The worst that can be said.
    pub condition: Condition,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What else can be said, in order of severity.
    pub also: Vec<Condition>,
}

/// The verdict on each tenant, in their order.
#[must_use]
pub fn verdicts(snapshot: &Snapshot, criteria: &Criteria) -> Vec<Verdict> {
    snapshot.topology.tenant_ids().map(|tenant| verdict(snapshot, criteria, tenant)).collect()
}

fn verdict(snapshot: &Snapshot, criteria: &Criteria, tenant: TenantId) -> Verdict {
    let from = snapshot.at - criteria.window;
    let traces: Vec<&Trace> = snapshot
        .finished
        .iter()
        .chain(&snapshot.open)
        .map(AsRef::as_ref)
        .filter(|trace| trace.tenant == tenant && trace.planned_at >= from)
        .collect();
    let found = [
        leaking(snapshot, tenant, from),
        not_injecting(snapshot, criteria, tenant),
        cannot_see(snapshot, tenant),
        stuck(snapshot, criteria, &traces),
        losing(&traces),
        slow(snapshot, criteria, &traces),
        cannot_see_branch(snapshot, tenant),
    ];
    let mut found = found.into_iter().flatten();
    match found.next() {
        Some((condition, since)) => Verdict {
            tenant,
            condition,
            since: Some(since),
            also: found.map(|(condition, _)| condition).collect(),
        },
        None => {
            let p95 = sample(snapshot, &traces).quantiles([0.95]);
            let condition = p95.map_or(Condition::Waiting, |[p95]| Condition::Ok { p95 });
            Verdict { tenant, condition, since: None, also: Vec::new() }
        }
    }
}

type Finding = Option<(Condition, Timestamp)>;

fn leaking(snapshot: &Snapshot, tenant: TenantId, from: Timestamp) -> Finding {
    let first = snapshot.violations.iter().find(|seen| seen.tenant == tenant && seen.at >= from)?;
    Some((Condition::Leaking { stage: first.stage, found_in: first.found_in.clone() }, first.at))
}

fn not_injecting(snapshot: &Snapshot, criteria: &Criteria, tenant: TenantId) -> Finding {
    let view = &snapshot.tenants[usize::from(tenant.0)];
    if let Some((since, reason)) = &view.refusing {
        return Some((Condition::NotInjecting { reason: reason.clone() }, *since));
    }
    // Nothing was refused, yet nothing leaves either: the process is starved, or its bound on traces is reached.
    let silent_since = view.accepted_at.or(view.missed_at)?;
    let silent = snapshot.at.since(silent_since) > criteria.interval * 3;
    let reason =
        || format!("{} scheduled canaries were not sent: the probe itself could not keep up", view.missed);
    (silent && view.missed_at.is_some_and(|at| at >= silent_since))
        .then(|| (Condition::NotInjecting { reason: reason().into() }, silent_since))
}

fn blind(snapshot: &Snapshot, source: SourceId) -> Option<(Timestamp, Arc<str>)> {
    let view = &snapshot.sources[source.0 as usize];
    let reason =
        view.failing.as_ref().map_or_else(|| "no look has been answered".into(), |f| f.detail.clone());
    view.blind_since.map(|since| (since, reason))
}

fn cannot_see(snapshot: &Snapshot, tenant: TenantId) -> Finding {
    let map = &snapshot.topology;
    map.main_path().iter().find_map(|&stage| {
        let (since, reason) = blind(snapshot, map.source_of(tenant, stage))?;
        Some((Condition::CannotSee { stage, reason }, since))
    })
}

fn cannot_see_branch(snapshot: &Snapshot, tenant: TenantId) -> Finding {
    let map = &snapshot.topology;
    map.stage_ids().filter(|stage| !map.main_path().contains(stage)).find_map(|stage| {
        let (since, reason) = blind(snapshot, map.source_of(tenant, stage))?;
        Some((Condition::CannotSeeBranch { stage, reason }, since))
    })
}

fn stuck(snapshot: &Snapshot, criteria: &Criteria, traces: &[&Trace]) -> Finding {
    let map = &snapshot.topology;
    let overdue = |trace: &&&Trace| {
        trace.ended.is_none()
            && snapshot.at.since(trace.planned_at) > criteria.slo
            && trace.judgement != Judgement::Unjudged
    };
    let mut waiting: Vec<&&Trace> = traces.iter().filter(overdue).collect();
    waiting.sort_by_key(|trace| trace.planned_at);
    let oldest = waiting.first()?;
    let hop = oldest.waiting_for(map)?;
    if blind(snapshot, map.source_of(oldest.tenant, hop)).is_some() {
        return None;
    }
    // Something younger came through: then it is not the hop that stands still, but this canary that is missing.
    let passed = |trace: &&&Trace| trace.planned_at > oldest.planned_at && trace.arrival(hop).is_some();
    if traces.iter().any(|trace| passed(&trace)) {
        return None;
    }
    let waiting = waiting.iter().filter(|trace| trace.waiting_for(map) == Some(hop)).count();
    Some((Condition::Stuck { hop, waiting }, oldest.planned_at))
}

fn losing(traces: &[&Trace]) -> Finding {
    let of = traces.iter().filter(|trace| trace.ended.is_some()).count();
    let mut lost: Vec<(Timestamp, Stretch)> = traces
        .iter()
        .filter_map(|trace| match &trace.ended {
            Some((Outcome::Lost(hop), _)) => Some((trace.planned_at, *hop)),
            Some((Outcome::DeadLettered(stage), _)) => Some((trace.planned_at, Stretch::one(*stage))),
            Some((Outcome::Delivered | Outcome::Late | Outcome::Unobserved | Outcome::Refused(_), _))
            | None => None,
        })
        .collect();
    lost.sort_unstable();
    let (since, _) = *lost.first()?;
    let count = |hop: Stretch| lost.iter().filter(|(_, other)| *other == hop).count();
    let hop = lost.iter().map(|(_, hop)| *hop).max_by_key(|hop| count(*hop))?;
    Some((Condition::Losing { hop, lost: lost.len(), of }, since))
}

fn slow(snapshot: &Snapshot, criteria: &Criteria, traces: &[&Trace]) -> Finding {
    let is_slow = |trace: &&&Trace| matches!(trace.judgement, Judgement::Slow | Judgement::Overdue);
    let since = traces.iter().filter(is_slow).map(|trace| trace.planned_at).min()?;
    let [p95] = sample(snapshot, traces).quantiles([0.95])?;
    let exceeds = match p95 {
        Quantile::Exactly(p95) => p95 > criteria.slo,
        Quantile::MoreThan(_) => true,
    };
    exceeds.then_some((Condition::Slow { p95 }, since))
}

/// End-to-end latencies of the judged traces: those that have not arrived count as longer than their age.
#[must_use]
pub fn sample(snapshot: &Snapshot, traces: &[&Trace]) -> Sample {
    let mut sample = Sample::default();
    for trace in traces {
        match (trace.judgement, trace.latency(&snapshot.topology)) {
            (Judgement::Good | Judgement::Slow, Some(latency)) => sample.arrived(latency),
            (Judgement::Overdue, _) | (Judgement::Slow, None) => {
                sample.missing(snapshot.at.since(trace.planned_at))
            }
            (Judgement::Pending | Judgement::Unjudged | Judgement::Good, _) => {}
        }
    }
    sample
}
