//! The pages as JSON. Scripts rely on their shape, which `docs/api.md` describes.
//!
//! Instants are RFC 3339 in UTC with microseconds; durations are seconds as numbers. A value that is not
//! known is `null`; a field is never left out.

use std::sync::Arc;

use serde::Serialize;

use super::view::{
    self, ConditionView, EpisodeView, Finding, HopFigures, IncidentView, Injection, Lane, Lookups, Matter,
    Presence, SizeFigures, StageSource, TraceView, VerdictView,
};
use crate::domain::canary::Integrity;
use crate::domain::copies::uncharged;
use crate::domain::drill::Drills;
use crate::domain::flaw::Flaw;
use crate::domain::foreign::ForeignText;
use crate::domain::outcome::Outcome;
use crate::domain::quantile::Quantile;
use crate::domain::sighting::{Drift, Stamp};
use crate::domain::time::Timestamp;
use crate::domain::trace::{Hop, Judgement, Put};

/// `/traces/recent`.
#[derive(Serialize, Debug)]
pub(crate) struct Recent {
    at: String,
    at_epoch_seconds: f64,
    version: String,
    slo_seconds: f64,
    give_up_seconds: f64,
    not_kept: Option<String>,
    clock_synchronized: Option<bool>,
    clock_error_bound_seconds: Option<f64>,
    drill: Option<DrillJson>,
    conditions: Vec<ConditionJson>,
    incidents: Vec<IncidentJson>,
    tenants: Vec<Tenant>,
    matching: usize,
    next: Option<String>,
    previous: Option<String>,
    known_since: Option<String>,
    traces: Vec<TraceJson>,
    matters: Vec<MatterJson>,
    failures: Vec<TraceJson>,
    violations: Vec<ViolationJson>,
    sources: Vec<Source>,
}

/// `/traces/{id}`.
#[derive(Serialize, Debug)]
pub(crate) struct One {
    at: String,
    at_epoch_seconds: f64,
    tag: String,
    /// What became of it, in one sentence.
    summary: String,
    met_slo: Option<bool>,
    trace: TraceJson,
    findings: Vec<FindingJson>,
    evidence: Vec<EvidenceJson>,
    violations: Vec<ViolationJson>,
}

#[derive(Serialize, Debug)]
struct FindingJson {
    finding: &'static str,
    stage: Option<String>,
    title: String,
    facts: Vec<FactJson>,
    copies: Vec<String>,
    meaning: String,
    action: String,
    runbook: String,
}

#[derive(Serialize, Debug)]
struct FactJson {
    name: &'static str,
    value: String,
}

/// What looks the canary up at a stage.
#[derive(Serialize, Debug)]
struct EvidenceJson {
    /// `None` for the log group.
    stage: Option<String>,
    kind: Option<&'static str>,
    source: Option<String>,
    failing: Option<String>,
    commands: Vec<CommandJson>,
    links: Vec<LinkJson>,
}

#[derive(Serialize, Debug)]
struct CommandJson {
    /// The stored copy that it fetches; `None` if it searches.
    copy: Option<String>,
    what: &'static str,
    command: String,
}

#[derive(Serialize, Debug)]
struct LinkJson {
    copy: Option<String>,
    what: &'static str,
    url: String,
}

#[derive(Serialize, Debug)]
struct Tenant {
    name: String,
    verdict: VerdictJson,
    window_seconds: f64,
    hops: Vec<HopJson>,
    sizes: Vec<SizeJson>,
    injection: InjectionJson,
}

#[derive(Serialize, Debug)]
struct VerdictJson {
    condition: &'static str,
    place: Option<String>,
    since: Option<String>,
    since_epoch_seconds: Option<f64>,
    text: String,
    runbook: Option<String>,
    also: Vec<Also>,
}

#[derive(Serialize, Debug)]
struct Also {
    condition: &'static str,
    severity: &'static str,
    place: Option<String>,
    text: String,
}

#[derive(Serialize, Debug)]
struct ConditionJson {
    condition: &'static str,
    severity: &'static str,
    tenant: Option<String>,
    stage: Option<String>,
    since: Option<String>,
    since_epoch_seconds: Option<f64>,
    last: Option<String>,
    affected: Option<usize>,
    of: Option<usize>,
    blame: &'static str,
    text: String,
    first_step: Option<String>,
    runbook: Option<String>,
}

#[derive(Serialize, Debug)]
struct DrillJson {
    active_since: Option<String>,
    active_until: Option<String>,
    next: Option<String>,
    last_began: Option<String>,
    last_rang: Option<String>,
    silent: Option<String>,
}

#[derive(Serialize, Debug)]
struct IncidentJson {
    id: String,
    condition: &'static str,
    severity: &'static str,
    stage: Option<String>,
    state: &'static str,
    since: String,
    since_epoch_seconds: f64,
    began_before: bool,
    until: Option<String>,
    until_epoch_seconds: Option<f64>,
    canaries: Option<usize>,
    of_all_tenants: bool,
    follows_from: Option<String>,
    blame: &'static str,
    summary: String,
    first_step: String,
    report: String,
    episodes: Vec<EpisodeJson>,
    text: String,
    runbook: String,
}

#[derive(Serialize, Debug)]
struct EpisodeJson {
    tenant: Option<String>,
    state: &'static str,
    since: String,
    until: Option<String>,
    affected: Option<usize>,
    of: Option<usize>,
    canaries: Option<usize>,
    usual_seconds: Option<f64>,
    consequences: Vec<&'static str>,
}

#[derive(Serialize, Debug)]
struct HopJson {
    stage: String,
    side: bool,
    p50: Option<QuantileJson>,
    p95: Option<QuantileJson>,
    p99: Option<QuantileJson>,
    judged: usize,
    missing: usize,
    uncertainty_seconds: Option<f64>,
    target_seconds: Option<f64>,
    over_target: Option<bool>,
    blind_since: Option<String>,
}

#[derive(Serialize, Debug)]
struct SizeJson {
    size_bytes: u32,
    p50: Option<QuantileJson>,
    p95: Option<QuantileJson>,
    p99: Option<QuantileJson>,
    judged: usize,
    missing: usize,
}

#[derive(Serialize, Debug)]
pub(super) struct QuantileJson {
    seconds: f64,
    /// The quantile falls on traces that have not arrived: it is greater than `seconds`.
    more_than: bool,
}

#[derive(Serialize, Debug)]
struct InjectionJson {
    state: &'static str,
    since: Option<String>,
    reason: Option<String>,
    missed: u64,
}

#[derive(Serialize, Debug)]
struct TraceJson {
    id: String,
    tenant: String,
    size_bytes: u32,
    planned_at: String,
    planned_at_epoch_seconds: f64,
    put: &'static str,
    put_at: Option<String>,
    outcome: &'static str,
    ended_at: Option<String>,
    lost_at: Option<String>,
    reason: Option<String>,
    next_stage: Option<String>,
    latency_seconds: Option<f64>,
    uncertainty_seconds: Option<f64>,
    judgement: &'static str,
    doubled_by_us: bool,
    flaws: Vec<FlawJson>,
    stages: Vec<Stage>,
}

#[derive(Serialize, Debug)]
struct Stage {
    stage: String,
    side: bool,
    presence: &'static str,
    earliest: Option<String>,
    latest: Option<String>,
    width_seconds: Option<f64>,
    noticed_at: Option<String>,
    hop_state: &'static str,
    hop_latency_seconds: Option<f64>,
    target_seconds: Option<f64>,
    age_seconds: Option<f64>,
    copies: Vec<String>,
    uncharged_copies: Vec<UnchargedCopy>,
    stamp: Option<String>,
    stamp_means: Option<&'static str>,
    found_in: Option<String>,
    integrity: Option<&'static str>,
    kept_bytes: Option<usize>,
    empty_polls: u32,
    absent_until: Option<String>,
}

#[derive(Serialize, Debug)]
struct FlawJson {
    flaw: &'static str,
    stage: Option<String>,
}

#[derive(Serialize, Debug)]
struct MatterJson {
    flaw: &'static str,
    stage: Option<String>,
    count: usize,
    newest: String,
    tenants: Vec<MatterOfTenant>,
    newest_traces: Vec<String>,
}

#[derive(Serialize, Debug)]
struct MatterOfTenant {
    tenant: String,
    count: usize,
}

#[derive(Serialize, Debug)]
struct UnchargedCopy {
    locator: String,
    reason: &'static str,
}

#[derive(Serialize, Debug)]
struct ViolationJson {
    at: String,
    tenant: String,
    stage: String,
    trace: String,
    found_in: String,
    locator: String,
}

#[derive(Serialize, Debug)]
struct Source {
    source: String,
    stage: String,
    kind: &'static str,
    owner: String,
    state: &'static str,
    since: Option<String>,
    failure: Option<&'static str>,
    reason: Option<String>,
    failed_polls: u64,
    waiting: usize,
    watermark: Option<String>,
    watermark_age_seconds: f64,
    last_answer: Option<String>,
    behind_seconds: Option<f64>,
    drift: Option<Vec<DriftJson>>,
    drift_since: Option<String>,
    drift_accept: Option<String>,
}

#[derive(Serialize, Debug)]
struct DriftJson {
    column: String,
    change: &'static str,
    from: Option<String>,
    to: Option<String>,
}

/// The error of a request.
#[derive(Serialize, Debug)]
pub(crate) struct Failure {
    /// A sentence for people.
    pub(crate) error: String,
}

impl Recent {
    /// Prints the view.
    #[must_use]
    pub(crate) fn new(view: &view::Recent<'_>) -> Self {
        let settings = view.settings;
        Self {
            at: rfc3339(view.at),
            at_epoch_seconds: view.at.as_secs_f64(),
            version: settings.version.clone(),
            slo_seconds: settings.criteria.slo.as_secs_f64(),
            give_up_seconds: settings.give_up.as_secs_f64(),
            not_kept: view.not_kept.clone(),
            clock_synchronized: view.clock.map(|clock| clock.synchronized),
            clock_error_bound_seconds: view
                .clock
                .and_then(|clock| clock.error_bound)
                .map(|bound| bound.as_secs_f64()),
            drill: view.drills.as_ref().map(DrillJson::new),
            conditions: view.conditions.iter().map(ConditionJson::new).collect(),
            incidents: view.incidents.iter().map(IncidentJson::new).collect(),
            tenants: view.tenants.iter().map(Tenant::new).collect(),
            matching: view.matching,
            next: view.next.clone(),
            previous: view.previous.clone(),
            known_since: view.known_since.map(rfc3339),
            matters: view.matters.iter().map(MatterJson::new).collect(),
            traces: view.traces.iter().map(TraceJson::new).collect(),
            failures: view.failures.iter().map(TraceJson::new).collect(),
            violations: view.violations.iter().map(ViolationJson::new).collect(),
            sources: view.sources.iter().map(Source::new).collect(),
        }
    }
}

impl One {
    /// Prints the view of one trace.
    #[must_use]
    pub(crate) fn new(view: &view::One<'_>) -> Self {
        let stages = view.trace.lanes.iter().zip(&view.sources);
        Self {
            at: rfc3339(view.at),
            at_epoch_seconds: view.at.as_secs_f64(),
            tag: view.tag.clone(),
            summary: view.fate.sentence.clone(),
            met_slo: view.fate.met_slo,
            trace: TraceJson::new(&view.trace),
            findings: view.fate.findings.iter().map(FindingJson::new).collect(),
            evidence: std::iter::once(EvidenceJson::of_log_group(&view.log_group))
                .chain(stages.map(|(lane, source)| EvidenceJson::of_stage(lane, source)))
                .collect(),
            violations: view.violations.iter().map(ViolationJson::new).collect(),
        }
    }
}

impl FindingJson {
    fn new(finding: &Finding) -> Self {
        let fact = |(name, value): &(&'static str, String)| FactJson { name, value: value.clone() };
        Self {
            finding: finding.key,
            stage: finding.stage.as_deref().map(str::to_owned),
            title: finding.title.clone(),
            facts: finding.facts.iter().map(fact).collect(),
            copies: finding.copies.clone(),
            meaning: finding.meaning.clone(),
            action: finding.action.clone(),
            runbook: finding.runbook.clone(),
        }
    }
}

impl EvidenceJson {
    fn of_stage(lane: &Lane<'_>, source: &StageSource) -> Self {
        let of_copies = source.copies.iter().map(|copy| (Some(copy.locator.clone()), &copy.lookups));
        let all: Vec<_> = of_copies.chain([(None, &source.lookups)]).collect();
        Self {
            stage: Some(lane.name.to_string()),
            kind: Some(source.kind),
            source: Some(source.name.to_string()),
            failing: source.failing.clone(),
            ..Self::new(&all)
        }
    }

    fn of_log_group(lookups: &Lookups) -> Self {
        Self::new(&[(None, lookups)])
    }

    fn new(all: &[(Option<String>, &Lookups)]) -> Self {
        let commands = all.iter().flat_map(|(copy, lookups)| {
            lookups.commands.iter().map(|lookup| CommandJson {
                copy: copy.clone(),
                what: lookup.what,
                command: lookup.command.clone(),
            })
        });
        let links = all.iter().flat_map(|(copy, lookups)| {
            lookups.links.iter().map(|link| LinkJson {
                copy: copy.clone(),
                what: link.what,
                url: link.url.clone(),
            })
        });
        Self {
            stage: None,
            kind: None,
            source: None,
            failing: None,
            commands: commands.collect(),
            links: links.collect(),
        }
    }
}

impl Tenant {
    fn new(view: &view::Tenant) -> Self {
        Self {
            name: view.verdict.tenant.to_string(),
            verdict: VerdictJson::new(&view.verdict),
            window_seconds: view.window.as_secs_f64(),
            hops: view.hops.iter().map(HopJson::new).collect(),
            sizes: view.sizes.iter().map(SizeJson::new).collect(),
            injection: InjectionJson::new(&view.injection, view.missed),
        }
    }
}

impl VerdictJson {
    fn new(view: &VerdictView) -> Self {
        let also = view.also.iter().map(|also| Also {
            condition: also.key,
            severity: also.severity.as_str(),
            place: also.place.clone(),
            text: also.summary.clone(),
        });
        Self {
            condition: view.key,
            place: view.place.clone(),
            since: view.since.map(rfc3339),
            since_epoch_seconds: view.since.map(Timestamp::as_secs_f64),
            text: view.text.clone(),
            runbook: view.runbook.clone(),
            also: also.collect(),
        }
    }
}

impl ConditionJson {
    fn new(view: &ConditionView) -> Self {
        Self {
            condition: view.key,
            severity: view.severity.as_str(),
            tenant: view.tenant.as_deref().map(str::to_owned),
            stage: view.place.clone(),
            since: view.since.map(rfc3339),
            since_epoch_seconds: view.since.map(Timestamp::as_secs_f64),
            last: view.last.map(rfc3339),
            affected: view.affected,
            of: view.of,
            blame: view.blame,
            text: view.text.clone(),
            first_step: view.severity.is_problem().then(|| view.first_step.clone()),
            runbook: view.runbook.clone(),
        }
    }
}

impl DrillJson {
    fn new(drills: &Drills) -> Self {
        Self {
            active_since: drills.active.map(|(since, _)| rfc3339(since)),
            active_until: drills.active.map(|(_, until)| rfc3339(until)),
            next: drills.next.map(rfc3339),
            last_began: drills.proof.map(|proof| rfc3339(proof.began)),
            last_rang: drills.proof.map(|proof| rfc3339(proof.rang)),
            silent: drills.silent.map(rfc3339),
        }
    }
}

impl IncidentJson {
    fn new(view: &IncidentView) -> Self {
        Self {
            id: view.id.clone(),
            condition: view.key,
            severity: view.severity.as_str(),
            stage: view.place.clone(),
            state: view.state,
            since: rfc3339(view.beginning),
            since_epoch_seconds: view.beginning.as_secs_f64(),
            began_before: view.began_before,
            until: view.end.map(rfc3339),
            until_epoch_seconds: view.end.map(Timestamp::as_secs_f64),
            canaries: view.canaries,
            of_all_tenants: view.of_all,
            blame: view.blame,
            follows_from: view.follows_from.clone(),
            summary: view.summary.clone(),
            first_step: view.first_step.clone(),
            report: view.report.clone(),
            episodes: view.episodes.iter().map(EpisodeJson::new).collect(),
            text: view.text.clone(),
            runbook: view.runbook.clone(),
        }
    }
}

impl EpisodeJson {
    fn new(view: &EpisodeView) -> Self {
        Self {
            tenant: view.tenant.as_deref().map(str::to_owned),
            state: view.state,
            since: rfc3339(view.beginning),
            until: view.end.map(rfc3339),
            affected: view.affected,
            of: view.of,
            canaries: view.canaries,
            usual_seconds: view.usual.map(|usual| usual.as_secs_f64()),
            consequences: view.consequences.clone(),
        }
    }
}

impl FlawJson {
    fn new((flaw, stage): &(Flaw, Option<Arc<str>>)) -> Self {
        Self { flaw: flaw.as_str(), stage: stage.as_deref().map(str::to_owned) }
    }
}

impl MatterJson {
    fn new(view: &Matter) -> Self {
        let of = |(tenant, count): &(Arc<str>, usize)| MatterOfTenant {
            tenant: tenant.to_string(),
            count: *count,
        };
        Self {
            flaw: view.flaw.as_str(),
            stage: view.stage.as_deref().map(str::to_owned),
            count: view.count,
            newest: rfc3339(view.newest),
            tenants: view.tenants.iter().map(of).collect(),
            newest_traces: view.traces.iter().map(|brief| brief.id.to_string()).collect(),
        }
    }
}

impl InjectionJson {
    fn new(injection: &Injection, missed: u64) -> Self {
        let (state, since, reason) = match injection {
            Injection::NotBegun => ("not_begun", None, None),
            Injection::Accepted(at) => ("accepted", Some(*at), None),
            Injection::Unanswered(at) => ("unanswered", Some(*at), None),
            Injection::Refusing(since, reason) => ("refusing", Some(*since), Some(reason.to_string())),
        };
        Self { state, since: since.map(rfc3339), reason, missed }
    }
}

impl HopJson {
    fn new(figures: &HopFigures) -> Self {
        let quantile = |index: usize| figures.quantiles.map(|all| QuantileJson::new(all[index]));
        Self {
            stage: match figures.stage {
                Some(_) => figures.name.to_string(),
                None => "end_to_end".to_owned(),
            },
            side: figures.side,
            p50: quantile(0),
            p95: quantile(1),
            p99: quantile(2),
            judged: figures.judged,
            missing: figures.missing,
            uncertainty_seconds: figures.error.map(|error| error.as_secs_f64()),
            target_seconds: figures.target.map(|target| target.as_secs_f64()),
            over_target: figures.is_over(),
            blind_since: figures.blind_since.map(rfc3339),
        }
    }
}

impl SizeJson {
    fn new(figures: &SizeFigures) -> Self {
        let quantile = |index: usize| figures.quantiles.map(|all| QuantileJson::new(all[index]));
        Self {
            size_bytes: figures.bytes,
            p50: quantile(0),
            p95: quantile(1),
            p99: quantile(2),
            judged: figures.judged,
            missing: figures.missing,
        }
    }
}

impl QuantileJson {
    pub(super) fn new(quantile: Quantile) -> Self {
        let (duration, more_than) = match quantile {
            Quantile::Exactly(duration) => (duration, false),
            Quantile::MoreThan(duration) => (duration, true),
        };
        Self { seconds: duration.as_secs_f64(), more_than }
    }
}

impl TraceJson {
    fn new(view: &TraceView<'_>) -> Self {
        let trace = view.trace;
        let (put, put_at) = match trace.put {
            Put::Planned => ("planned", None),
            Put::Accepted { at } => ("accepted", Some(at)),
            Put::Ambiguous { at } => ("ambiguous", Some(at)),
            Put::Refused { at } => ("refused", Some(at)),
        };
        let reason = match &trace.ended {
            Some((Outcome::Refused(reason), _)) => Some(reason.to_string()),
            Some((Outcome::Unobserved(reason), _)) => Some(reason.as_str().to_owned()),
            Some((Outcome::Delivered | Outcome::Late | Outcome::Lost(_) | Outcome::DeadLettered(_), _))
            | None => None,
        };
        Self {
            id: view.brief.id.to_string(),
            tenant: view.brief.tenant.to_string(),
            size_bytes: trace.tag.size,
            planned_at: rfc3339(trace.planned_at),
            planned_at_epoch_seconds: trace.planned_at.as_secs_f64(),
            put,
            put_at: put_at.map(rfc3339),
            outcome: trace.standing().label(),
            ended_at: trace.ended.as_ref().map(|(_, at)| rfc3339(*at)),
            lost_at: view.lost_at.clone(),
            reason,
            next_stage: view.next_stage.as_deref().map(str::to_owned),
            latency_seconds: view.latency.map(|latency| latency.as_secs_f64()),
            uncertainty_seconds: view.arrival.map(|at| at.width().as_secs_f64()),
            judgement: judgement(trace.judgement),
            doubled_by_us: trace.doubled_by_us,
            flaws: view.brief.flaws.iter().map(FlawJson::new).collect(),
            stages: view.lanes.iter().map(Stage::new).collect(),
        }
    }
}

impl Stage {
    fn new(lane: &Lane<'_>) -> Self {
        let visit = lane.visit;
        let arrival = visit.arrival.as_ref();
        let (presence, age) = match &lane.presence {
            Presence::Seen(_) => ("seen", None),
            Presence::Waiting { age } => ("waiting", Some(*age)),
            Presence::Overdue { age } => ("overdue", Some(*age)),
            Presence::Blind { .. } => ("blind", None),
            Presence::Never { .. } => ("never", None),
            Presence::Unproven => ("unproven", None),
            Presence::NotReached => ("not_reached", None),
        };
        let (integrity, kept_bytes) = match arrival.map(|arrival| arrival.integrity) {
            Some(Integrity::Intact) => (Some("intact"), None),
            Some(Integrity::Unchecked) => (Some("unchecked"), None),
            Some(Integrity::Corrupted { kept_bytes, .. }) => (Some("corrupted"), Some(kept_bytes)),
            None => (None, None),
        };
        let (stamp, stamp_means) = match arrival.map(|arrival| arrival.stamp) {
            Some(Stamp::Millis(at)) => (Some(at), Some("arrived_within_1_ms")),
            Some(Stamp::Seconds(at)) => (Some(at), Some("arrived_within_1_s")),
            Some(Stamp::NotBefore(at)) => (Some(at), Some("not_before")),
            Some(Stamp::None) | None => (None, None),
        };
        Self {
            stage: lane.name.to_string(),
            side: lane.side,
            presence,
            earliest: arrival.map(|arrival| rfc3339(arrival.interval.earliest)),
            latest: arrival.map(|arrival| rfc3339(arrival.interval.latest)),
            width_seconds: arrival.map(|arrival| arrival.interval.width().as_secs_f64()),
            noticed_at: arrival.map(|arrival| rfc3339(arrival.noticed_at)),
            hop_state: hop(visit.hop),
            hop_latency_seconds: lane.latency().map(|latency| latency.as_secs_f64()),
            target_seconds: lane.target.map(|target| target.as_secs_f64()),
            age_seconds: age.map(|age| age.as_secs_f64()),
            copies: visit.copies.iter().map(|copy| copy.locator.to_string()).collect(),
            uncharged_copies: uncharged(&visit.copies)
                .map(|(locator, reason)| UnchargedCopy {
                    locator: locator.to_string(),
                    reason: reason.as_str(),
                })
                .collect(),
            stamp: stamp.map(rfc3339),
            stamp_means,
            found_in: arrival.and_then(|it| it.found_in).map(|found| found.shape.to_string()),
            integrity,
            kept_bytes,
            empty_polls: visit.empty_polls,
            absent_until: visit.absent_until.map(rfc3339),
        }
    }
}

impl ViolationJson {
    fn new(seen: &view::Violation) -> Self {
        Self {
            at: rfc3339(seen.at),
            tenant: seen.tenant.to_string(),
            stage: seen.stage.to_string(),
            trace: seen.trace.to_string(),
            found_in: seen.found_in.to_string(),
            locator: seen.locator.to_string(),
        }
    }
}

impl Source {
    fn new(view: &view::Source) -> Self {
        let drifted = view.drifted.as_ref();
        Self {
            source: view.name.to_string(),
            stage: view.stage.to_string(),
            kind: view.kind,
            owner: view.owner.to_string(),
            state: view.state.word(),
            since: view.since.map(rfc3339),
            failure: view.failure,
            reason: (!view.reason.is_empty()).then(|| view.reason.clone()),
            failed_polls: view.failed_polls,
            waiting: view.waiting,
            watermark: view.watermark.map(rfc3339),
            watermark_age_seconds: view.watermark_age.as_secs_f64(),
            last_answer: view.last_answer.map(rfc3339),
            behind_seconds: view.behind.map(|behind| behind.as_secs_f64()),
            drift: drifted.map(|drifted| drifted.changes.iter().map(DriftJson::new).collect()),
            drift_since: drifted.and_then(|drifted| drifted.since).map(rfc3339),
            drift_accept: drifted.and_then(|drifted| drifted.accept).map(|of| of.to_string()),
        }
    }
}

impl DriftJson {
    fn new(drift: &Drift) -> Self {
        let text = |text: &Option<ForeignText>| text.as_deref().map(str::to_owned);
        Self {
            column: drift.column.to_string(),
            change: drift.change(),
            from: text(&drift.from),
            to: text(&drift.to),
        }
    }
}

fn judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Pending => "pending",
        Judgement::Good => "good",
        Judgement::Slow => "slow",
        Judgement::Overdue => "overdue",
        Judgement::Unjudged => "unjudged",
    }
}

fn hop(hop: Hop) -> &'static str {
    match hop {
        Hop::Open => "open",
        Hop::Overdue => "overdue",
        Hop::Measured { .. } => "measured",
        Hop::Unjudged => "unjudged",
        Hop::Inverted => "inverted",
        Hop::Inherited => "inherited",
        Hop::Skipped => "skipped",
        Hop::Missing => "missing",
        Hop::NeverSeen => "never_seen",
    }
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
}
