//! One line for each tenant that says what is wrong, where, and since when.
//!
//! A pure function of a snapshot, so that the page, the JSON and the tests can never disagree about it.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::Outcome;
use super::quantile::{Quantile, Sample};
use super::time::Timestamp;
use super::topology::{HopRange, SourceId, StageId, TenantId};
use super::trace::{FoundLate, Judgement, Trace};
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

/// What can be said of a tenant. [`Condition::profile`] is the table of what is fixed for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Its canaries were found where they must not be.
    Leaking {
        /// At which stage.
        stage: StageId,
        /// In which source.
        found_in: Arc<str>,
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
        hop: HopRange,
        /// How many were lost.
        lost: usize,
        /// Of how many that ended.
        of: usize,
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
    /// More than one in twenty took longer than the threshold.
    Slow {
        /// The 95th percentile.
        p95: Quantile,
    },
    /// A stage beside the main path cannot be read.
    CannotSeeSideStage {
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

/// How bad a condition is, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Somebody has to act now.
    Critical,
    /// It works, but not as well as it should.
    Warning,
    /// Worth knowing, and nothing to do.
    Note,
    /// All is well.
    Ok,
}

impl Severity {
    /// Whether somebody should look at it.
    #[must_use]
    pub const fn is_problem(self) -> bool {
        match self {
            Self::Critical | Self::Warning => true,
            Self::Note | Self::Ok => false,
        }
    }
}

/// Whose fault a condition is. The pipeline's comes first, since what the probe cannot say must not hide what it can.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Blame {
    /// The pipeline fails its tenant.
    Pipeline,
    /// The probe cannot say how the pipeline does.
    Probe,
}

/// What is fixed for a condition, whatever its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// As in JSON.
    pub key: &'static str,
    /// As on the page.
    pub word: &'static str,
    /// What stands between the word and the place: `STUCK at transit`, but `CANNOT SEE bigquery`.
    pub preposition: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Whose fault it is, where it is one.
    pub blame: Option<Blame>,
    /// Its place among conditions of the same severity and blame, worst first.
    pub order: u8,
    /// The anchor of its chapter in the runbook, where something is to be done.
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

    /// Where it is wrong; nothing for conditions of the whole way.
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

    /// Where it stands among others: severity, then the pipeline's before the probe's own.
    const fn rank(&self) -> (Severity, Option<Blame>, u8) {
        let Profile { severity, blame, order, .. } = self.profile();
        (severity, blame, order)
    }

    /// The share of the canaries that it concerns, in millionths, where only some are.
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
    /// Which tenant.
    pub tenant: TenantId,
    /// The worst that can be said.
    pub condition: Condition,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What else can be said, worst first.
    pub also: Vec<Condition>,
}

/// The verdict on each tenant in the one order that everything has: by severity, the pipeline's faults before the
/// probe's own, then the larger share of canaries, what began last, and the name.
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
        // One put that goes wrong is no outage; the next, which is due after an interval, tells.
        let for_long = snapshot.at.since(*since) > criteria.interval * 3 / 2;
        return (for_long || view.accepted_at.is_none())
            .then(|| (Condition::NotInjecting { reason: reason.clone() }, *since));
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

fn cannot_see_side_stage(snapshot: &Snapshot, tenant: TenantId) -> Finding {
    let map = &snapshot.topology;
    map.stage_ids().filter(|stage| !map.main_path().contains(stage)).find_map(|stage| {
        let (since, reason) = blind(snapshot, map.source_of(tenant, stage))?;
        Some((Condition::CannotSeeSideStage { stage, reason }, since))
    })
}

/// How many of the last passages of a hop say how long it usually takes.
const RECENT_PASSAGES: usize = 5;

/// The first hop on the way to the end that nothing passes any more, although something should have.
fn stuck(snapshot: &Snapshot, criteria: &Criteria, tenant: TenantId) -> Finding {
    // Not only those of the window: a hop that has stood for hours has lost the traces that it stopped first.
    let mut traces: Vec<&Trace> = snapshot.traces_of(tenant).collect();
    traces.sort_by_key(|trace| (trace.planned_at, trace.id()));
    snapshot.topology.main_path().iter().find_map(|hop| stuck_at(snapshot, criteria, &traces, *hop))
}

/// Whether a hop stands still, judged by a tenant's traces in order of their plan.
///
/// One canary that does not come may be lost, and a slow hop lets the old ones wait while all is on its way. So it takes
/// two that nothing younger has overtaken, and each must have waited clearly longer than the last ones took, or the hop
/// must have shown nothing for a time in which even slow ones would have come.
fn stuck_at(snapshot: &Snapshot, criteria: &Criteria, traces: &[&Trace], hop: StageId) -> Finding {
    let (map, now) = (&snapshot.topology, snapshot.at);
    let tenant = traces.first()?.tenant;
    if blind(snapshot, map.source_of(tenant, hop)).is_some() {
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
    // Half as long again as the slowest of them, and a second for looks and clocks.
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

/// Where most were lost of those whose outcome is of the window. By then they were planned before it: a trace is given up
/// only after its deadline.
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
    // One slow canary among fewer than twenty good ones is beyond the 95th percentile by their small number alone.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canary::Integrity;
    use crate::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp};
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode};
    use crate::domain::topology::fixture::*;
    use crate::domain::tracker::{Input, PutResult, Settings, Tracker};

    const INTERVAL: u64 = 30;
    /// As long as the window, as by default.
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

    /// When a canary that was planned at this second comes to transit and to the table, if it does.
    type Script = fn(u64) -> [Option<u64>; 2];

    fn healthy(planned: u64) -> [Option<u64>; 2] {
        [Some(planned + 5), Some(planned + 10)]
    }

    /// Acme's verdict after so many seconds of a canary every 30 s, with looks every second.
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

    fn words(verdict: &Verdict) -> Vec<&'static str> {
        std::iter::once(&verdict.condition).chain(&verdict.also).map(|it| it.profile().word).collect()
    }

    /// One of each condition, worst first.
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
    fn conditions_have_one_order_and_a_key_each() {
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
    fn what_the_probe_cannot_say_hides_no_fault_of_the_pipeline() {
        let mut snapshot = snapshot_after(645, stands);
        snapshot.tenants[usize::from(ACME.0)].refusing = Some((t(500), "denied".into()));
        assert_eq!(words(&of_acme(&snapshot)), ["STUCK", "NOT INJECTING"]);
    }

    #[test]
    fn among_tenants_with_the_same_condition_the_one_whose_began_last_comes_first() {
        let mut snapshot = Tracker::new(Arc::new(topology()), settings(), t(0)).snapshot(t(900));
        for (since, tenant) in [(300, ACME), (600, GLOBEX)] {
            snapshot.tenants[usize::from(tenant.0)].refusing = Some((t(since), "denied".into()));
        }
        let order: Vec<_> = verdicts(&snapshot, &CRITERIA).iter().map(|verdict| verdict.tenant).collect();
        assert_eq!(order, [GLOBEX, ACME]);
    }

    /// From second 600 on nothing comes to transit.
    fn stands(planned: u64) -> [Option<u64>; 2] {
        if planned < 600 { healthy(planned) } else { [None, None] }
    }

    #[test]
    fn a_hop_that_two_canaries_should_have_passed_is_stuck() {
        // The first is overdue, and the second has waited for more than the 4 s that it usually takes.
        let verdict = after(645, stands);
        assert_eq!(verdict.condition, Condition::Stuck { hop: TRANSIT, waiting: 1 });
        assert_eq!(verdict.since, Some(t(600)));
    }

    #[test]
    fn one_canary_that_does_not_come_does_not_stop_a_hop() {
        let verdict = after(634, |planned| if planned == 600 { [None, None] } else { healthy(planned) });
        assert_eq!(words(&verdict), ["OK"]);
    }

    #[test]
    fn one_slow_canary_among_a_few_good_ones_is_no_slow_tenant_but_two_are() {
        assert_eq!(
            words(&after(300, |planned| if planned == 90 {
                [Some(95), Some(130)]
            } else {
                healthy(planned)
            })),
            ["OK"]
        );
        assert_eq!(
            words(&after(300, |planned| if planned < 60 {
                [Some(planned + 5), Some(planned + 40)]
            } else {
                healthy(planned)
            })),
            ["SLOW"]
        );
    }

    #[test]
    fn a_stall_began_with_the_first_canary_that_it_stopped_even_when_that_is_lost_by_now() {
        for secs in [800, 600 + GIVE_UP + 10, 600 + 2 * GIVE_UP, 600 + 1_800] {
            let verdict = after(secs, stands);
            assert!(
                matches!(verdict.condition, Condition::Stuck { hop: TRANSIT, .. }),
                "{secs}: {verdict:?}"
            );
            assert_eq!(verdict.since, Some(t(600)), "after {secs} s");
        }
    }

    #[test]
    fn what_a_standing_hop_has_lost_is_said_beside_it() {
        assert_eq!(words(&after(600 + GIVE_UP + 60, stands)), ["STUCK", "LOSING", "SLOW"]);
    }

    #[test]
    fn one_put_that_goes_wrong_is_no_outage_but_a_second_or_the_first_of_all_is() {
        let verdict = |accepted_before: bool, secs: u64| {
            let mut snapshot = Tracker::new(Arc::new(topology()), settings(), t(0)).snapshot(t(60 + secs));
            snapshot.tenants[0].accepted_at = accepted_before.then(|| t(30));
            snapshot.tenants[0].refusing = Some((t(60), "denied".into()));
            words(&of_acme(&snapshot))[0]
        };
        assert_eq!(verdict(true, 29), "WAITING");
        assert_eq!(verdict(true, 46), "NOT INJECTING");
        assert_eq!(verdict(false, 1), "NOT INJECTING");
    }

    #[test]
    fn losses_are_said_when_they_are_proven_although_they_were_planned_before_the_window() {
        let one_in_five: Script = |planned| if planned % 150 == 0 { [None, None] } else { healthy(planned) };
        assert_eq!(words(&after(600, one_in_five)), ["SLOW"]);
        let verdict = after(GIVE_UP + 320, one_in_five);
        assert_eq!(words(&verdict), ["LOSING", "SLOW"]);
        assert_eq!(verdict.since, Some(t(0)));
        let Condition::Losing { hop, lost, of } = verdict.condition else { unreachable!() };
        // In a quarter of an hour 24 of 30 arrived, and the first three deadlines passed.
        assert_eq!((hop, lost, of), (HopRange::one(TRANSIT), 3, 27));
    }

    #[test]
    fn a_pipeline_in_which_every_canary_takes_longer_than_the_threshold_is_slow_and_not_stuck() {
        for secs in 700..760 {
            let verdict = after(secs, |planned| [Some(planned + 5), Some(planned + 42)]);
            assert_eq!(words(&verdict), ["SLOW"], "after {secs} s");
        }
    }

    #[test]
    fn a_slow_hop_that_shows_nothing_any_more_is_stuck() {
        let slow_then_none: Script = |planned| {
            if planned < 600 { [Some(planned + 2), Some(planned + 100)] } else { [Some(planned + 2), None] }
        };
        assert_eq!(words(&after(690, slow_then_none)), ["SLOW"]);
        let verdict = after(755, slow_then_none);
        assert!(matches!(verdict.condition, Condition::Stuck { hop: TABLE, .. }), "{verdict:?}");
        assert_eq!(verdict.since, Some(t(600)));
    }

    #[test]
    fn a_canary_that_is_missing_further_on_does_not_hide_a_hop_that_stands() {
        let verdict = after(700, |planned| match planned {
            540 => [Some(545), None],
            _ => stands(planned),
        });
        assert!(matches!(verdict.condition, Condition::Stuck { hop: TRANSIT, .. }), "{verdict:?}");
    }

    #[test]
    fn a_pipeline_that_never_showed_anything_is_stuck_at_its_first_hop_with_the_second_overdue_canary() {
        // Stream and archive have it, so the first hop that stands is the one to transit.
        let none: Script = |_| [None, None];
        assert_eq!(words(&after(45, none))[0], "SLOW");
        assert!(matches!(after(65, none).condition, Condition::Stuck { hop: TRANSIT, .. }));
    }
}
