//! The verdict on each tenant: what is wrong, where, and since when.
//!
//! A pure function of a snapshot, so that page, JSON and tests cannot disagree.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::Outcome;
use super::quantile::{Quantile, Sample};
use super::time::Timestamp;
use super::topology::{HopRange, SourceId, StageId, TenantId};
use super::trace::{FoundLate, Judgement, Trace};
use super::tracker::Snapshot;

/// The thresholds and windows by which tenants are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Criteria {
    /// End-to-end threshold.
    pub slo: Duration,
    /// How far back traces count, by planned injection; losses count by the time of their outcome.
    pub window: Duration,
    /// Time between two canaries of a tenant.
    pub interval: Duration,
}

/// The state of a tenant. [`Condition::profile`] is the table of the fixed properties of each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Its canaries were found at another tenant.
    Leaking {
        /// The stage of that source.
        stage: StageId,
        /// The name of the source.
        found_in: Arc<str>,
    },
    /// Nothing passes this hop.
    Stuck {
        /// The hop, named by the stage it leads to.
        hop: StageId,
        /// Number of canaries that have waited there beyond the threshold.
        waiting: usize,
    },
    /// Some canaries do not arrive.
    Losing {
        /// The hop or hop range that lost most of them.
        hop: HopRange,
        /// Number of lost and dead-lettered canaries.
        lost: usize,
        /// Number of canaries that ended in the window.
        of: usize,
    },
    /// Its log group does not accept canaries, so nothing is known about its pipeline.
    NotInjecting {
        /// Why, for people.
        reason: Arc<str>,
    },
    /// A stage of the main path cannot be read, so nothing is known about it.
    CannotSee {
        /// The stage that cannot be read.
        stage: StageId,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// More than 5 % of its canaries took longer than the threshold.
    Slow {
        /// The 95th percentile.
        p95: Quantile,
    },
    /// A side stage cannot be read.
    CannotSeeSideStage {
        /// The stage that cannot be read.
        stage: StageId,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// No canary has been judged yet.
    Waiting,
    /// All is well.
    Ok {
        /// The 95th percentile.
        p95: Quantile,
    },
}

/// How bad a condition is, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Someone has to act now.
    Critical,
    /// It works, but not as well as it should.
    Warning,
    /// Information; nothing to do.
    Note,
    /// All is well.
    Ok,
}

impl Severity {
    /// Whether someone has to act.
    #[must_use]
    pub const fn is_problem(self) -> bool {
        match self {
            Self::Critical | Self::Warning => true,
            Self::Note | Self::Ok => false,
        }
    }
}

/// Whose fault a condition is. The pipeline's come first: what the probe cannot see must not hide what it
/// does see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Blame {
    /// The pipeline's.
    Pipeline,
    /// The probe's or its permissions': the state of the pipeline is unknown.
    Probe,
}

/// The fixed properties of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// The name in JSON.
    pub key: &'static str,
    /// The name on the page.
    pub word: &'static str,
    /// Comes between word and place: `STUCK at transit`, but `CANNOT SEE bigquery`.
    pub preposition: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Whose fault it is; `None` if it is not a problem.
    pub blame: Option<Blame>,
    /// Position among conditions of the same severity and blame, worst first.
    pub order: u8,
    /// The anchor of its chapter in the runbook; `None` if there is nothing to do.
    pub chapter: Option<&'static str>,
}

impl Condition {
    /// The table of conditions, worst first.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        use Severity::{Critical, Note, Warning};

        const PIPELINE: Option<Blame> = Some(Blame::Pipeline);
        const PROBE: Option<Blame> = Some(Blame::Probe);
        const BLIND: Option<&str> = Some("traceprobestageblind");
        const fn row(
            key: &'static str,
            word: &'static str,
            severity: Severity,
            blame: Option<Blame>,
            order: u8,
            chapter: Option<&'static str>,
        ) -> Profile {
            Profile { key, word, preposition: "at ", severity, blame, order, chapter }
        }

        match self {
            Self::Leaking { .. } => {
                row("leaking", "LEAKING", Critical, PIPELINE, 0, Some("traceprobeisolationviolation"))
            }
            Self::Stuck { .. } => {
                row("stuck", "STUCK", Critical, PIPELINE, 1, Some("traceprobelatencycritical"))
            }
            Self::Losing { .. } => row("losing", "LOSING", Critical, PIPELINE, 2, Some("traceprobelosing")),
            Self::NotInjecting { .. } => {
                row("not_injecting", "NOT INJECTING", Critical, PROBE, 0, Some("traceprobenotinjecting"))
            }
            Self::CannotSee { .. } => {
                Profile { preposition: "", ..row("cannot_see", "CANNOT SEE", Critical, PROBE, 1, BLIND) }
            }
            Self::Slow { .. } => row("slow", "SLOW", Warning, PIPELINE, 0, Some("traceprobelatencyhigh")),
            Self::CannotSeeSideStage { .. } => Profile {
                preposition: "",
                ..row("cannot_see_side_stage", "CANNOT SEE", Warning, PROBE, 0, BLIND)
            },
            Self::Waiting => row("waiting", "WAITING", Note, None, 0, None),
            Self::Ok { .. } => row("ok", "OK", Severity::Ok, None, 0, None),
        }
    }

    /// Where it is wrong; `None` for conditions of the whole pipeline.
    #[must_use]
    pub const fn place(&self) -> Option<HopRange> {
        match self {
            Self::Leaking { stage, .. }
            | Self::CannotSee { stage, .. }
            | Self::CannotSeeSideStage { stage, .. }
            | Self::Stuck { hop: stage, .. } => Some(HopRange::one(*stage)),
            Self::Losing { hop, .. } => Some(*hop),
            Self::NotInjecting { .. } | Self::Slow { .. } | Self::Waiting | Self::Ok { .. } => None,
        }
    }

    /// Sort key: severity, then the pipeline's faults before the probe's own.
    const fn rank(&self) -> (Severity, Option<Blame>, u8) {
        let Profile { severity, blame, order, .. } = self.profile();
        (severity, blame, order)
    }

    /// The ratio of affected canaries in millionths; 1,000,000 for conditions that do not count them.
    fn affected_millionths(&self) -> usize {
        match self {
            Self::Losing { lost, of, .. } => lost.saturating_mul(1_000_000) / (*of).max(1),
            Self::Leaking { .. }
            | Self::Stuck { .. }
            | Self::NotInjecting { .. }
            | Self::CannotSee { .. }
            | Self::Slow { .. }
            | Self::CannotSeeSideStage { .. }
            | Self::Waiting
            | Self::Ok { .. } => 1_000_000,
        }
    }
}

/// The verdict on one tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The tenant.
    pub tenant: TenantId,
    /// Its worst condition.
    pub condition: Condition,
    /// Since when that has been so, as far as traces are remembered; `None` if nothing is wrong.
    pub since: Option<Timestamp>,
    /// Its other conditions, worst first.
    pub also: Vec<Condition>,
}

/// Judges each tenant. The order is the same everywhere: severity, the pipeline's faults before the probe's
/// own, the larger ratio of affected canaries, what began last, and the name.
#[must_use]
pub fn verdicts(snapshot: &Snapshot, criteria: &Criteria) -> Vec<Verdict> {
    let map = &snapshot.topology;
    let mut verdicts: Vec<_> = map.tenant_ids().map(|tenant| verdict(snapshot, criteria, tenant)).collect();
    verdicts.sort_by_cached_key(|Verdict { tenant, condition, since, .. }| {
        (
            condition.rank(),
            Reverse(condition.affected_millionths()),
            Reverse(*since),
            map.tenant(*tenant).name.clone(),
        )
    });
    verdicts
}

fn verdict(snapshot: &Snapshot, criteria: &Criteria, tenant: TenantId) -> Verdict {
    let from = snapshot.at - criteria.window;
    let traces: Vec<&Trace> = snapshot.traces_of(tenant).filter(|trace| trace.planned_at >= from).collect();
    let found = [
        leaking(snapshot, tenant, from),
        stuck(snapshot, criteria, tenant),
        losing(snapshot, tenant, from),
        not_injecting(snapshot, criteria, tenant),
        cannot_see(snapshot, tenant),
        slow(snapshot, criteria, &traces),
        cannot_see_side_stage(snapshot, tenant),
    ];
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_by_key(|(condition, _)| condition.rank());
    let mut found = found.into_iter();
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
    let first = snapshot.violations.iter().find(|seen| seen.concerns(tenant) && seen.at >= from)?;
    Some((Condition::Leaking { stage: first.stage, found_in: first.found_in.clone() }, first.at))
}

fn not_injecting(snapshot: &Snapshot, criteria: &Criteria, tenant: TenantId) -> Finding {
    let view = &snapshot.tenants[usize::from(tenant.0)];
    if let Some((since, reason)) = &view.refusing {
        // One failed put is not an outage; the next one, after an interval, decides.
        let for_long = snapshot.at.since(*since) > criteria.interval * 3 / 2;
        return (for_long || view.accepted_at.is_none())
            .then(|| (Condition::NotInjecting { reason: reason.clone() }, *since));
    }
    // Nothing was refused, but nothing is sent either: the process is starved, or too many traces are in
    // flight.
    let silent_since = view.accepted_at.or(view.missed_at)?;
    let silent = snapshot.at.since(silent_since) > criteria.interval * 3;
    let reason =
        || format!("{} scheduled canaries were not sent: the probe itself could not keep up", view.missed);
    (silent && view.missed_at.is_some_and(|at| at >= silent_since))
        .then(|| (Condition::NotInjecting { reason: reason().into() }, silent_since))
}

fn blind(snapshot: &Snapshot, source: SourceId, tenant: TenantId) -> Option<(Timestamp, Arc<str>)> {
    snapshot.sources[source.0 as usize].blind_for(tenant)
}

fn cannot_see(snapshot: &Snapshot, tenant: TenantId) -> Finding {
    let map = &snapshot.topology;
    map.main_path().iter().find_map(|&stage| {
        let (since, reason) = blind(snapshot, map.source_of(tenant, stage), tenant)?;
        Some((Condition::CannotSee { stage, reason }, since))
    })
}

fn cannot_see_side_stage(snapshot: &Snapshot, tenant: TenantId) -> Finding {
    let map = &snapshot.topology;
    map.stage_ids().filter(|stage| !map.main_path().contains(stage)).find_map(|stage| {
        let (since, reason) = blind(snapshot, map.source_of(tenant, stage), tenant)?;
        Some((Condition::CannotSeeSideStage { stage, reason }, since))
    })
}

/// Number of recent passages that define how long a hop usually takes.
const RECENT_PASSAGES: usize = 5;

/// The first hop of the main path that nothing passes any more, although something should have.
fn stuck(snapshot: &Snapshot, criteria: &Criteria, tenant: TenantId) -> Finding {
    // Also traces from before the window: a hop that stopped hours ago has already lost the first ones.
    let mut traces: Vec<&Trace> = snapshot.traces_of(tenant).collect();
    traces.sort_by_key(|trace| (trace.planned_at, trace.id()));
    snapshot.topology.main_path().iter().find_map(|hop| stuck_at(snapshot, criteria, &traces, *hop))
}

/// Whether a hop has stopped, judged by a tenant's traces in the order of their planned injection.
///
/// A single missing canary may be lost, and in a slow hop old ones wait although all are moving. So it takes
/// two that no later one has overtaken. Either both have waited clearly longer than recent ones took, or the
/// hop has shown nothing for so long that even slow ones would have arrived.
fn stuck_at(snapshot: &Snapshot, criteria: &Criteria, traces: &[&Trace], hop: StageId) -> Finding {
    let (map, now) = (&snapshot.topology, snapshot.at);
    let tenant = traces.first()?.tenant;
    if blind(snapshot, map.source_of(tenant, hop), tenant).is_some() {
        return None;
    }
    let path = map.main_path();
    let before = path.iter().position(|stage| *stage == hop).and_then(|at| path.get(at.checked_sub(1)?));
    let began = |trace: &Trace| {
        before.and_then(|stage| trace.arrival(*stage)).map_or(trace.planned_at, |at| at.latest)
    };
    let behind = &path[path.iter().position(|stage| *stage == hop)?..];
    let passed = |trace: &Trace| behind.iter().any(|stage| trace.arrival(*stage).is_some());
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
    let here = |trace: &&&Trace| trace.next_stage(map) == Some(hop);
    let waiting: Vec<&&Trace> = stopped
        .iter()
        .filter(|trace| trace.ended.is_none() && trace.judgement != Judgement::Unjudged)
        .filter(here)
        .collect();
    let overdue = waiting.iter().filter(|trace| now.since(trace.planned_at) > criteria.slo).count();
    let impatient = waiting.iter().filter(|trace| now.since(began(trace)) > patience).count();
    let silence = criteria.slo.max(criteria.interval * 2);
    let silent = passages.iter().map(|(_, at)| *at).max().is_none_or(|last| now.since(last) > silence);
    if overdue == 0 || !(impatient >= 2 || silent && overdue >= 2) {
        return None;
    }
    let lost = |trace: &Trace| matches!(trace.ended, None | Some((Outcome::Lost(_), _)));
    let since = stopped.iter().filter(here).find(|trace| lost(trace)).map(|trace| trace.planned_at)?;
    Some((Condition::Stuck { hop, waiting: overdue }, since))
}

/// The hop that lost most canaries whose outcome falls into the window. They were planned before it, since a
/// trace is given up only after its deadline.
fn losing(snapshot: &Snapshot, tenant: TenantId, from: Timestamp) -> Finding {
    let in_window = |trace: &&Trace| trace.ended.as_ref().is_some_and(|(_, at)| *at >= from);
    let ended: Vec<&Trace> = snapshot.traces_of(tenant).filter(in_window).collect();
    let of = ended.len();
    let mut lost: Vec<(Timestamp, HopRange)> = ended
        .iter()
        .filter(|trace| trace.found_late != Some(FoundLate::InTime))
        .filter_map(|trace| match &trace.ended {
            Some((Outcome::Lost(hop), _)) => Some((trace.planned_at, *hop)),
            Some((Outcome::DeadLettered(stage), _)) => Some((trace.planned_at, HopRange::one(*stage))),
            Some((Outcome::Delivered | Outcome::Late | Outcome::Unobserved(_) | Outcome::Refused(_), _))
            | None => None,
        })
        .collect();
    lost.sort_unstable();
    let (since, _) = *lost.first()?;
    let count = |hop: HopRange| lost.iter().filter(|(_, other)| *other == hop).count();
    let hop = lost.iter().map(|(_, hop)| *hop).max_by_key(|hop| count(*hop))?;
    Some((Condition::Losing { hop, lost: lost.len(), of }, since))
}

fn slow(snapshot: &Snapshot, criteria: &Criteria, traces: &[&Trace]) -> Finding {
    let is_slow = |trace: &&&Trace| matches!(trace.judgement, Judgement::Slow | Judgement::Overdue);
    let since = traces.iter().filter(is_slow).map(|trace| trace.planned_at).min()?;
    // One slow canary among fewer than twenty is above the 95th percentile only because there are so few.
    let good = traces.iter().any(|trace| trace.judgement == Judgement::Good);
    if good && traces.iter().filter(is_slow).count() < 2 {
        return None;
    }
    let [p95] = sample(snapshot, traces).quantiles([0.95])?;
    let exceeds = match p95 {
        Quantile::Exactly(p95) => p95 > criteria.slo,
        Quantile::MoreThan(_) => true,
    };
    exceeds.then_some((Condition::Slow { p95 }, since))
}

/// End-to-end latencies of the judged traces, right-censored: those that have not arrived count as longer
/// than their age.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canary::Integrity;
    use crate::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp};
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode};
    use crate::domain::topology::fixture::*;
    use crate::domain::tracker::{Input, PutResult, Settings, Tracker};

    const INTERVAL: u64 = 30;
    /// As long as the window, which is the default.
    const GIVE_UP: u64 = 900;

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000) + s(secs)
    }

    const CRITERIA: Criteria = Criteria {
        slo: Duration::from_secs(30),
        window: Duration::from_secs(900),
        interval: Duration::from_secs(INTERVAL),
    };

    fn settings() -> Settings {
        Settings {
            slo: s(30),
            give_up: s(GIVE_UP),
            grace: s(60),
            blind_after: s(20),
            recheck_for: s(60),
            max_in_flight: 1_000,
            remember: 10_000,
            remember_failures: 100,
            instance: InstanceCode::of("me"),
        }
    }

    #[test]
    fn a_stage_whose_records_cannot_be_read_is_one_that_cannot_be_seen() {
        let mut snapshot = snapshot_after(120, |_| [None, None]);
        let since = t(60);
        let blind = crate::domain::tracker::BlindTenant { since, reason: "an object is ORC".into() };
        let table = snapshot.topology.source_of(ACME, TABLE);
        snapshot.sources[table.0 as usize].blind_tenants.insert(ACME, blind);
        let verdict = of_acme(&snapshot);
        let told = verdict.also.iter().chain([&verdict.condition]);
        let reason: Arc<str> = "an object is ORC".into();
        assert_eq!(
            told.filter(|one| **one == Condition::CannotSee { stage: TABLE, reason: reason.clone() }).count(),
            1
        );
    }

    /// When a canary that was planned at this second arrives at transit and at the table, if it does.
    type Script = fn(u64) -> [Option<u64>; 2];

    fn healthy(planned: u64) -> [Option<u64>; 2] {
        [Some(planned + 5), Some(planned + 10)]
    }

    /// Acme's verdict after `secs` seconds with a canary every 30 s and a poll every second.
    fn after(secs: u64, script: Script) -> Verdict {
        of_acme(&snapshot_after(secs, script))
    }

    fn snapshot_after(secs: u64, script: Script) -> Snapshot {
        let map = Arc::new(topology());
        let mut tracker = Tracker::new(map.clone(), settings(), t(0));
        let seen = crate::domain::tracker::tests::seen_everywhere(&map);
        tracker.restore(crate::domain::tracker::Restored { seen, ..Default::default() }, t(0));
        let mut sent: Vec<(Tag, u64)> = Vec::new();
        for second in 0..=secs {
            if second % INTERVAL == 0 {
                let trace = crate::domain::tag::TraceId::new(t(second), [0; 10]);
                let tag =
                    Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("me"), 100, Purpose::Probe);
                tracker.plan(tag, t(second), &mut Vec::new()).unwrap();
                let result = PutResult::Accepted { doubled: false };
                tracker.apply(Input::Put { trace, result }, t(second));
                sent.push((tag, second));
            }
            for source in map.source_ids().filter(|source| map.source(*source).tenants.contains(&ACME)) {
                let arrives = |planned: u64| match map.source(source).stage {
                    STREAM | ARCHIVE => Some(planned + 1),
                    TRANSIT => script(planned)[0],
                    TABLE => script(planned)[1],
                    _ => None,
                };
                let here = sent.iter().filter(|(_, planned)| arrives(*planned) == Some(second));
                let sighting = |(tag, _): &(Tag, u64)| Sighting {
                    tag: *tag,
                    stamp: Stamp::Millis(t(second)),
                    seen_by: t(second) + Duration::from_millis(1),
                    locator: Locator::new("one"),
                    label: None,
                    integrity: Integrity::Intact,
                    found_in: crate::domain::format::FoundIn::default(),
                };
                let poll = Poll {
                    revision: tracker.wanted(source).revision,
                    started: t(second),
                    finished: t(second),
                    watermark: Some(t(second)),
                    sightings: here.map(sighting).collect(),
                    stats: ReadStats::default(),
                    unreadable: Vec::new(),
                };
                tracker.apply(Input::Polled { source, poll }, t(second));
            }
        }
        tracker.snapshot(t(secs))
    }

    fn of_acme(snapshot: &Snapshot) -> Verdict {
        let mut verdicts = verdicts(snapshot, &CRITERIA).into_iter();
        verdicts.find(|verdict| verdict.tenant == ACME).unwrap()
    }

    fn conditions(verdict: &Verdict) -> Vec<&'static str> {
        std::iter::once(&verdict.condition).chain(&verdict.also).map(|it| it.profile().word).collect()
    }

    /// Each condition, worst first.
    fn each() -> [Condition; 9] {
        let (stage, reason): (_, Arc<str>) = (TRANSIT, "denied".into());
        let p95 = Quantile::Exactly(s(5));
        [
            Condition::Leaking { stage, found_in: reason.clone() },
            Condition::Stuck { hop: stage, waiting: 1 },
            Condition::Losing { hop: HopRange::one(stage), lost: 1, of: 2 },
            Condition::NotInjecting { reason: reason.clone() },
            Condition::CannotSee { stage, reason: reason.clone() },
            Condition::Slow { p95 },
            Condition::CannotSeeSideStage { stage, reason },
            Condition::Waiting,
            Condition::Ok { p95 },
        ]
    }

    #[test]
    fn every_condition_has_its_rank_and_key() {
        let all = each();
        assert!(all.iter().map(Condition::rank).is_sorted_by(|a, b| a < b), "{all:?}");
        let keys: std::collections::BTreeSet<_> = all.iter().map(|it| it.profile().key).collect();
        assert_eq!(keys.len(), all.len());
        for profile in all.iter().map(Condition::profile) {
            let problem = profile.severity.is_problem();
            assert_eq!(profile.blame.is_some(), problem, "{profile:?}");
            assert_eq!(profile.chapter.is_some(), problem, "{profile:?}");
        }
    }

    #[test]
    fn a_fault_of_the_probe_does_not_hide_one_of_the_pipeline() {
        let mut snapshot = snapshot_after(645, stalls);
        snapshot.tenants[usize::from(ACME.0)].refusing = Some((t(500), "denied".into()));
        assert_eq!(conditions(&of_acme(&snapshot)), ["STUCK", "NOT INJECTING"]);
    }

    #[test]
    fn of_equal_conditions_the_latest_comes_first() {
        let mut snapshot = Tracker::new(Arc::new(topology()), settings(), t(0)).snapshot(t(900));
        for (since, tenant) in [(300, ACME), (600, GLOBEX)] {
            snapshot.tenants[usize::from(tenant.0)].refusing = Some((t(since), "denied".into()));
        }
        let order: Vec<_> = verdicts(&snapshot, &CRITERIA).iter().map(|verdict| verdict.tenant).collect();
        assert_eq!(order, [GLOBEX, ACME]);
    }

    /// From second 600 on nothing arrives at transit.
    fn stalls(planned: u64) -> [Option<u64>; 2] {
        if planned < 600 { healthy(planned) } else { [None, None] }
    }

    #[test]
    fn a_hop_that_two_canaries_should_have_passed_is_stuck() {
        // The first is overdue, and the second has waited longer than the hop usually takes.
        let verdict = after(645, stalls);
        assert_eq!(verdict.condition, Condition::Stuck { hop: TRANSIT, waiting: 1 });
        assert_eq!(verdict.since, Some(t(600)));
    }

    #[test]
    fn one_missing_canary_does_not_make_a_hop_stuck() {
        let verdict = after(634, |planned| if planned == 600 { [None, None] } else { healthy(planned) });
        assert_eq!(conditions(&verdict), ["OK"]);
    }

    #[test]
    fn two_slow_canaries_make_a_tenant_slow_and_one_does_not() {
        assert_eq!(
            conditions(&after(300, |planned| if planned == 90 {
                [Some(95), Some(130)]
            } else {
                healthy(planned)
            })),
            ["OK"]
        );
        assert_eq!(
            conditions(&after(300, |planned| if planned < 60 {
                [Some(planned + 5), Some(planned + 40)]
            } else {
                healthy(planned)
            })),
            ["SLOW"]
        );
    }

    #[test]
    fn a_stall_began_with_the_first_canary_that_it_stopped_even_if_that_is_lost_by_now() {
        for secs in [800, 600 + GIVE_UP + 10, 600 + 2 * GIVE_UP, 600 + 1_800] {
            let verdict = after(secs, stalls);
            assert!(
                matches!(verdict.condition, Condition::Stuck { hop: TRANSIT, .. }),
                "{secs}: {verdict:?}"
            );
            assert_eq!(verdict.since, Some(t(600)), "after {secs} s");
        }
    }

    #[test]
    fn a_stuck_hop_that_loses_canaries_is_also_losing() {
        assert_eq!(conditions(&after(600 + GIVE_UP + 60, stalls)), ["STUCK", "LOSING", "SLOW"]);
    }

    #[test]
    fn one_failed_put_is_an_outage_only_if_none_was_accepted_before() {
        let verdict = |accepted_before: bool, secs: u64| {
            let mut snapshot = Tracker::new(Arc::new(topology()), settings(), t(0)).snapshot(t(60 + secs));
            snapshot.tenants[0].accepted_at = accepted_before.then(|| t(30));
            snapshot.tenants[0].refusing = Some((t(60), "denied".into()));
            conditions(&of_acme(&snapshot))[0]
        };
        assert_eq!(verdict(true, 29), "WAITING");
        assert_eq!(verdict(true, 46), "NOT INJECTING");
        assert_eq!(verdict(false, 1), "NOT INJECTING");
    }

    #[test]
    fn a_loss_counts_when_it_is_proven_even_if_it_was_planned_before_the_window() {
        let one_in_five: Script = |planned| if planned % 150 == 0 { [None, None] } else { healthy(planned) };
        assert_eq!(conditions(&after(600, one_in_five)), ["SLOW"]);
        let verdict = after(GIVE_UP + 320, one_in_five);
        assert_eq!(conditions(&verdict), ["LOSING", "SLOW"]);
        assert_eq!(verdict.since, Some(t(0)));
        let Condition::Losing { hop, lost, of } = verdict.condition else { unreachable!() };
        // In the window 24 of 30 arrived, and three deadlines passed.
        assert_eq!((hop, lost, of), (HopRange::one(TRANSIT), 3, 27));
    }

    #[test]
    fn a_pipeline_where_every_canary_misses_the_threshold_is_slow_and_not_stuck() {
        for secs in 700..760 {
            let verdict = after(secs, |planned| [Some(planned + 5), Some(planned + 42)]);
            assert_eq!(conditions(&verdict), ["SLOW"], "after {secs} s");
        }
    }

    #[test]
    fn a_slow_hop_that_stops_is_stuck() {
        let slow_then_none: Script = |planned| {
            if planned < 600 { [Some(planned + 2), Some(planned + 100)] } else { [Some(planned + 2), None] }
        };
        assert_eq!(conditions(&after(690, slow_then_none)), ["SLOW"]);
        let verdict = after(755, slow_then_none);
        assert!(matches!(verdict.condition, Condition::Stuck { hop: TABLE, .. }), "{verdict:?}");
        assert_eq!(verdict.since, Some(t(600)));
    }

    #[test]
    fn a_canary_missing_at_a_later_stage_does_not_hide_a_stuck_hop() {
        let verdict = after(700, |planned| match planned {
            540 => [Some(545), None],
            _ => stalls(planned),
        });
        assert!(matches!(verdict.condition, Condition::Stuck { hop: TRANSIT, .. }), "{verdict:?}");
    }

    #[test]
    fn a_pipeline_that_never_showed_anything_is_stuck_after_two_overdue_canaries() {
        // The stream has the canaries, so the stuck hop is the one to transit.
        let none: Script = |_| [None, None];
        assert_eq!(conditions(&after(45, none))[0], "SLOW");
        assert!(matches!(after(65, none).condition, Condition::Stuck { hop: TRANSIT, .. }));
    }
}
