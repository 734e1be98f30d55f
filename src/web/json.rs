//! The pages as JSON. Scripts rely on their shape: the comments on the fields are what `/openapi.json` and
//! `docs/api.md` say about them.
//!
//! Instants are RFC 3339 in UTC with microseconds; durations are seconds as numbers. A value that is not
//! known is `null`; a field is never left out.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use self::values::{HopState, InjectionState, IntegrityName, JudgementName, PresenceName, PutState};
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

mod values;

/// Raised whenever a field is renamed, removed or changes its meaning.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The answer of `/traces/recent`.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "RecentTraces")]
pub(crate) struct Recent {
    /// Version of the shape of the answers, see "What stays".
    schema_version: u32,
    /// The instant of the snapshot that the answer describes.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// The same instant in seconds since 1970.
    at_epoch_seconds: f64,
    /// Version of the probe.
    version: String,
    /// End-to-end threshold, in seconds.
    slo_seconds: f64,
    /// Time from the planned injection to the deadline, in seconds. A trace that is proven absent after it is
    /// lost.
    give_up_seconds: f64,
    /// Since when and why the store cannot be written, so that a restart would forget what is in flight.
    /// `null` if it can.
    not_kept: Option<String>,
    /// Whether the probe's own clock is synchronized, as ECS reports it. `null` if it is not reported.
    clock_synchronized: Option<bool>,
    /// Maximum error of the probe's own clock, in seconds, as ECS reports it. It is added to the
    /// `clock_allowance` of every stage.
    clock_error_bound_seconds: Option<f64>,
    /// Drills of the alert path. `null` if they are not enabled.
    drill: Option<DrillJson>,
    /// Everything that is wrong now, and notes of what was; the worst first, whatever the parameters.
    conditions: Vec<ConditionJson>,
    /// What was and is wrong, from when to when. Those that go on come first; at most 100.
    incidents: Vec<IncidentJson>,
    /// The tenants with their verdicts and figures; the worst verdict first.
    tenants: Vec<Tenant>,
    /// Number of remembered traces that match the parameters.
    matching: usize,
    /// Query of the page with older traces (`?outcome=lost&before=…`). `null` if there are none.
    next: Option<String>,
    /// Query of the page with newer traces. `null` if there are none.
    previous: Option<String>,
    /// When the oldest trace was planned since which every finished one is remembered. Older ones are remembered
    /// only if something is wrong with them, or if they are among the newest of their tenant.
    #[schemars(extend("format" = "date-time"))]
    known_since: Option<String>,
    /// The traces that match the parameters, newest first, at most `limit`.
    traces: Vec<TraceJson>,
    /// Traces with which something is wrong, by what and where; the worst first.
    matters: Vec<MatterJson>,
    /// Failed traces, kept separately so that successes cannot evict them; newest first, at most `limit`.
    failures: Vec<TraceJson>,
    /// Canaries that were found at another tenant; newest first.
    violations: Vec<ViolationJson>,
    /// What is polled, and how that goes.
    sources: Vec<Source>,
}

/// The answer of `/traces/{id}`.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "OneTrace")]
pub(crate) struct One {
    /// Version of the shape of the answers, see "What stays".
    schema_version: u32,
    /// The instant of the snapshot that the answer describes.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// The same instant in seconds since 1970.
    at_epoch_seconds: f64,
    /// The tag of the canary as it was sent.
    tag: String,
    /// What became of it, in one sentence.
    summary: String,
    /// Whether it met the end-to-end threshold; `null` if that is not decided or unknown.
    met_slo: Option<bool>,
    /// The trace.
    trace: TraceJson,
    /// What is wrong with it, the worst first.
    findings: Vec<FindingJson>,
    /// For the log group and for each stage, what looks it up there.
    evidence: Vec<EvidenceJson>,
    /// Where this canary was found at another tenant.
    violations: Vec<ViolationJson>,
}

/// Something that is wrong with a canary.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Finding")]
struct FindingJson {
    /// Which kind: `leaked`, `lost`, `dead_lettered`, `late`, `slow`, `unobserved`, `refused`, `overdue`, `blind`,
    /// `corrupted`, `duplicated`, `missing` or `skipped`.
    finding: &'static str,
    /// Where it shows; `null` if at no stage in particular.
    stage: Option<String>,
    /// The finding in a few words.
    title: String,
    /// What is known of it.
    facts: Vec<FactJson>,
    /// Locators of copies to compare.
    copies: Vec<String>,
    /// What it means for the client's events.
    meaning: String,
    /// What to do first.
    action: String,
    /// Address of the runbook's chapter.
    runbook: String,
}

/// A fact of a finding.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Fact")]
struct FactJson {
    /// What it is.
    name: &'static str,
    /// For people.
    value: String,
}

/// What looks a canary up at a stage, or in the log group.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Evidence")]
struct EvidenceJson {
    /// The stage; `null` for the log group.
    stage: Option<String>,
    /// The kind of the stage; `null` for the log group.
    kind: Option<&'static str>,
    /// The name of the source; `null` for the log group.
    source: Option<String>,
    /// Why polls of the source fail now; `null` while they do not.
    failing: Option<String>,
    /// Shell commands.
    commands: Vec<CommandJson>,
    /// Pages of the provider's console.
    links: Vec<LinkJson>,
}

/// A shell command.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Command")]
struct CommandJson {
    /// Locator of the stored copy that it fetches; `null` if it searches.
    copy: Option<String>,
    /// What it does.
    what: &'static str,
    /// The command, quoted for a POSIX shell.
    command: String,
}

/// A page of a provider's console.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Link")]
struct LinkJson {
    /// Locator of the stored copy that it shows; `null` if it shows where to search.
    copy: Option<String>,
    /// What it shows.
    what: &'static str,
    /// The address.
    url: String,
}

/// A tenant: its verdict and its figures.
#[derive(Serialize, JsonSchema, Debug)]
struct Tenant {
    /// The name of the tenant.
    name: String,
    /// The verdict on it.
    verdict: VerdictJson,
    /// Figures and conditions are of canaries that were planned within this time, in seconds.
    window_seconds: f64,
    /// Each hop of the main path, then side stages, then `end_to_end`.
    hops: Vec<HopJson>,
    /// End to end for each size of canary, from the same sample as the verdict, the smallest first. Not in
    /// the metrics, where a label would multiply every bucket of the latency histogram by the number of
    /// sizes.
    sizes: Vec<SizeJson>,
    /// The injection of its canaries.
    injection: InjectionJson,
}

/// The verdict on a tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Verdict")]
struct VerdictJson {
    /// Its worst problem, as in `conditions[]`; `ok` if it has none; `waiting` if no canary has been judged
    /// yet either.
    #[schemars(extend("enum" = values::verdicts()))]
    condition: &'static str,
    /// The stage, hop or hop range (`transit..bigquery`) that it is about.
    place: Option<String>,
    /// Since when. `null` if nothing is wrong.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The same instant in seconds since 1970.
    since_epoch_seconds: Option<f64>,
    /// The verdict as a sentence for people; beside OK, with its notes.
    text: String,
    /// Address of the runbook's chapter on it. `null` if there is nothing to do.
    runbook: Option<String>,
    /// Its other conditions, notes included.
    also: Vec<Also>,
}

/// A further condition of a tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "FurtherCondition")]
struct Also {
    /// The name of the condition.
    #[schemars(extend("enum" = values::conditions()))]
    condition: &'static str,
    /// How bad it is.
    #[schemars(extend("enum" = values::SEVERITIES))]
    severity: &'static str,
    /// The stage, hop or hop range.
    place: Option<String>,
    /// A sentence for people.
    text: String,
}

/// Something that is wrong: with a stage or a hop of a tenant, with a tenant, with a stage of all tenants, or
/// with the probe. Both `tenant` and `stage` are `null` for the probe.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Condition")]
struct ConditionJson {
    /// Its name. [conditions.md](conditions.md) defines each.
    #[schemars(extend("enum" = values::conditions()))]
    condition: &'static str,
    /// How bad it is: `critical` and `warning` are problems, a `note` takes no OK away.
    #[schemars(extend("enum" = values::SEVERITIES))]
    severity: &'static str,
    /// Whose it is. `null` if it is of all tenants or of the probe.
    tenant: Option<String>,
    /// Where it is, also a hop range (`transit..bigquery`). `null` if it is of a tenant as a whole or of the
    /// probe.
    stage: Option<String>,
    /// When the unbroken episode began, which does not move while it lasts. `null` if that is not known.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The same instant in seconds since 1970.
    since_epoch_seconds: Option<f64>,
    /// When the last affected canary was planned, for `same_name` the other process's; for `leaking`, when it
    /// was found. `null` for others that count no canaries.
    #[schemars(extend("format" = "date-time"))]
    last: Option<String>,
    /// Number of affected canaries. `null` if it does not count them.
    affected: Option<usize>,
    /// Number of canaries among which the affected ones are counted.
    of: Option<usize>,
    /// Whose fault it is: `pipeline` or `probe`.
    blame: &'static str,
    /// A sentence for people.
    text: String,
    /// What to do first, as a sentence. `null` for a note.
    first_step: Option<String>,
    /// Address of the runbook's chapter on it. `null` for a note.
    runbook: Option<String>,
}

/// Drills of the alert path, see [drill.md](drill.md).
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Drills")]
struct DrillJson {
    /// When the drill that goes on began. `null` if none does.
    #[schemars(extend("format" = "date-time"))]
    active_since: Option<String>,
    /// When the drill that goes on ends.
    #[schemars(extend("format" = "date-time"))]
    active_until: Option<String>,
    /// When the schedule begins the next one.
    #[schemars(extend("format" = "date-time"))]
    next: Option<String>,
    /// When the last drill whose notification arrived began.
    #[schemars(extend("format" = "date-time"))]
    last_began: Option<String>,
    /// When that notification arrived.
    #[schemars(extend("format" = "date-time"))]
    last_rang: Option<String>,
    /// When the last drill began if no notification of it arrived.
    #[schemars(extend("format" = "date-time"))]
    silent: Option<String>,
}

/// What was or is wrong at one place, from its beginning to its end. [conditions.md](conditions.md#incidents)
/// says when that is.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Incident")]
struct IncidentJson {
    /// Stays the same for as long as the incident is remembered.
    id: String,
    /// The name of its condition.
    #[schemars(extend("enum" = values::conditions()))]
    condition: &'static str,
    /// The worst severity so far.
    #[schemars(extend("enum" = values::SEVERITIES))]
    severity: &'static str,
    /// Where it is, as for `conditions[]`.
    stage: Option<String>,
    /// `ongoing`; `unproven`: no longer seen, but nothing proves that it is over, because a stage is blind or
    /// no canaries are sent; `over`: it may come back and would be the same incident; `ended`.
    #[schemars(extend("enum" = values::STATES))]
    state: &'static str,
    /// The beginning of the earliest episode.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// The same instant in seconds since 1970.
    since_epoch_seconds: f64,
    /// Whether it began before the probe could notice it.
    began_before: bool,
    /// When the last episode was over. `null` while one goes on.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// The same instant in seconds since 1970.
    until_epoch_seconds: Option<f64>,
    /// Number of different canaries that it affected. `null` if it does not count canaries.
    canaries: Option<usize>,
    /// Whether it concerns every tenant, or none in particular.
    of_all_tenants: bool,
    /// The `id` of another incident that goes on, from which this one follows for all its tenants.
    follows_from: Option<String>,
    /// Whose fault it is: `pipeline` or `probe`.
    blame: &'static str,
    /// How bad it is, for people.
    summary: String,
    /// What to do first, as a sentence.
    first_step: String,
    /// Lines of plain text to pass on, with links if `web.external_url` is set.
    report: String,
    /// One episode for each tenant.
    episodes: Vec<EpisodeJson>,
    /// A sentence for people.
    text: String,
    /// Address of the runbook's chapter on it.
    runbook: String,
}

/// A tenant's part of an incident.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Episode")]
struct EpisodeJson {
    /// Whose it is. `null` if it is of no tenant in particular.
    tenant: Option<String>,
    /// As of the incident.
    #[schemars(extend("enum" = values::STATES))]
    state: &'static str,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When it was over. `null` while it goes on.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// Number of affected canaries in the window.
    affected: Option<usize>,
    /// Number of canaries in the window among which they are counted.
    of: Option<usize>,
    /// Number of affected canaries in all.
    canaries: Option<usize>,
    /// Median time of the hop, or of the whole path, before it began, in seconds.
    usual_seconds: Option<f64>,
    /// Conditions that followed from it.
    consequences: Vec<&'static str>,
}

/// Figures of a hop, or end to end.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Hop")]
struct HopJson {
    /// The stage that the hop leads to, or `end_to_end`.
    stage: String,
    /// Whether it leads to a side stage.
    side: bool,
    /// The median. `null` if nothing has been measured.
    p50: Option<QuantileJson>,
    /// The 95th percentile.
    p95: Option<QuantileJson>,
    /// The 99th percentile.
    p99: Option<QuantileJson>,
    /// Number of canaries in the sample.
    judged: usize,
    /// Number of those that have not arrived.
    missing: usize,
    /// 95th percentile of the widths of the arrival intervals, in seconds.
    uncertainty_seconds: Option<f64>,
    /// How long the hop may take, in seconds. `null` without a target.
    target_seconds: Option<f64>,
    /// Whether the 95th percentile is over the target.
    over_target: Option<bool>,
    /// Since when the stage has been blind; the figures are then older.
    #[schemars(extend("format" = "date-time"))]
    blind_since: Option<String>,
}

/// Figures of one size of canary.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Size")]
struct SizeJson {
    /// The size, in bytes.
    size_bytes: u32,
    /// The median, end to end.
    p50: Option<QuantileJson>,
    /// The 95th percentile.
    p95: Option<QuantileJson>,
    /// The 99th percentile.
    p99: Option<QuantileJson>,
    /// Number of canaries in the sample.
    judged: usize,
    /// Number of those that have not arrived.
    missing: usize,
}

/// A quantile of a latency.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Quantile")]
pub(super) struct QuantileJson {
    /// The quantile, in seconds.
    seconds: f64,
    /// The quantile falls on canaries that have not arrived: it is greater than `seconds`.
    more_than: bool,
}

/// The injection of a tenant's canaries.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Injection")]
struct InjectionJson {
    /// How the last canaries were taken.
    state: InjectionState,
    /// When a canary was last planned or accepted, or since when none was accepted.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Why they are refused.
    reason: Option<String>,
    /// Number of scheduled canaries that were never sent.
    missed: u64,
}

/// One canary: its history from planned injection to outcome.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Trace")]
struct TraceJson {
    /// The trace id: 32 hexadecimal digits.
    id: String,
    /// Its tenant.
    tenant: String,
    /// Size of the canary, in bytes.
    size_bytes: u32,
    /// The planned injection, from which latency counts.
    #[schemars(extend("format" = "date-time"))]
    planned_at: String,
    /// The same instant in seconds since 1970.
    planned_at_epoch_seconds: f64,
    /// What became of the put.
    put: PutState,
    /// When that was known.
    #[schemars(extend("format" = "date-time"))]
    put_at: Option<String>,
    /// How it ended. A trace that was seen at the end after it had been given up is `late`, or `delivered` if
    /// it may have arrived in time while the stage could not be read; the counters keep its first outcome.
    #[schemars(extend("enum" = values::outcomes()))]
    outcome: &'static str,
    /// When the outcome was decided.
    #[schemars(extend("format" = "date-time"))]
    ended_at: Option<String>,
    /// The hop or hop range that lost it, or the dead-letter stage that has it.
    lost_at: Option<String>,
    /// Why it was refused; of an `unobserved` trace, why its outcome is unknown: `blind`, `unreadable`,
    /// `never_seen`, `ambiguous_put` or `clock_stepped`.
    reason: Option<String>,
    /// The next stage of the main path that has not shown it. `null` once it has an outcome.
    next_stage: Option<String>,
    /// End to end, to the latest instant at which it can have arrived, in seconds.
    latency_seconds: Option<f64>,
    /// The latency may have been shorter by up to this, in seconds.
    uncertainty_seconds: Option<f64>,
    /// Whether it met the end-to-end threshold.
    judgement: JudgementName,
    /// Whether the put was retried after a missing answer, so that a second copy is not charged to the
    /// pipeline.
    doubled_by_us: bool,
    /// What is wrong with it.
    flaws: Vec<FlawJson>,
    /// The main path, then side stages.
    stages: Vec<Stage>,
}

/// What is known of a canary at a stage.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "StageOfTrace")]
struct Stage {
    /// The name of the stage.
    stage: String,
    /// Whether it is a side stage.
    side: bool,
    /// Whether the canary was found there.
    presence: PresenceName,
    /// The earliest instant at which it can have arrived.
    #[schemars(extend("format" = "date-time"))]
    earliest: Option<String>,
    /// The latest instant at which it can have arrived.
    #[schemars(extend("format" = "date-time"))]
    latest: Option<String>,
    /// Time between the two, in seconds.
    width_seconds: Option<f64>,
    /// When a poll showed it; the delay is not part of the latency.
    #[schemars(extend("format" = "date-time"))]
    noticed_at: Option<String>,
    /// What is known of the hop that leads there.
    hop_state: HopState,
    /// How long the hop took, in seconds.
    hop_latency_seconds: Option<f64>,
    /// How long it may take, in seconds.
    target_seconds: Option<f64>,
    /// While `waiting` or `overdue`: time since the hop began; at a stage that can no longer be read, until
    /// it was last read. In seconds.
    age_seconds: Option<f64>,
    /// Locators of all stored copies.
    copies: Vec<String>,
    /// The copies that do not count as duplicates.
    uncharged_copies: Vec<UnchargedCopy>,
    /// The service's own time stamp of the first copy; `null` if the service has none.
    #[schemars(extend("format" = "date-time"))]
    stamp: Option<String>,
    /// What the time stamp proves: `arrived_within_1_ms`, `arrived_within_1_s` or `not_before`.
    stamp_means: Option<&'static str>,
    /// In which formats the first copy was found, from the outside in: `gzip > text`; `null` if a previous run
    /// found it.
    found_in: Option<String>,
    /// Whether the content is the one that was sent.
    integrity: Option<IntegrityName>,
    /// If `corrupted`: how many bytes of the message are unchanged.
    kept_bytes: Option<usize>,
    /// Number of polls that proved it absent.
    empty_polls: u32,
    /// The end of the proven absence.
    #[schemars(extend("format" = "date-time"))]
    absent_until: Option<String>,
}

/// What is wrong with a trace, and where.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Flaw")]
struct FlawJson {
    /// What: `leaked`, `lost`, `dead_lettered`, `missing`, `corrupted`, `duplicated`, `late`, `slow`, `refused` or
    /// `unobserved`.
    flaw: &'static str,
    /// The stage where it shows; `null` if at none in particular.
    stage: Option<String>,
}

/// Traces with the same flaw at the same stage.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Matter")]
struct MatterJson {
    /// What is wrong with them, as in `flaws[]`.
    flaw: &'static str,
    /// The stage where it shows; `null` if at none in particular.
    stage: Option<String>,
    /// Number of remembered traces.
    count: usize,
    /// When the newest was planned.
    #[schemars(extend("format" = "date-time"))]
    newest: String,
    /// Their number by tenant, the largest first.
    tenants: Vec<MatterOfTenant>,
    /// The ids of the newest.
    newest_traces: Vec<String>,
}

/// Number of traces of a tenant.
#[derive(Serialize, JsonSchema, Debug)]
struct MatterOfTenant {
    /// The name of the tenant.
    tenant: String,
    /// How many.
    count: usize,
}

/// A copy that does not count as a duplicate.
#[derive(Serialize, JsonSchema, Debug)]
struct UnchargedCopy {
    /// Where the copy is.
    locator: String,
    /// Why it does not count ([what they mean](runbook.md#duplicates)); `pending` while that is not decided.
    #[schemars(extend("enum" = values::uncharged()))]
    reason: &'static str,
}

/// A canary that was found at another tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Violation")]
struct ViolationJson {
    /// When it was found.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// Whose canary it is.
    tenant: String,
    /// The stage.
    stage: String,
    /// The trace id.
    trace: String,
    /// The tenant at which it was found.
    found_in: String,
    /// Where the copy is.
    locator: String,
}

/// What is polled at a stage.
#[derive(Serialize, JsonSchema, Debug)]
struct Source {
    /// Its name.
    source: String,
    /// The stage that it belongs to.
    stage: String,
    /// The kind of the stage.
    #[schemars(extend("enum" = values::kinds()))]
    kind: &'static str,
    /// A tenant's name, or `shared`.
    owner: String,
    /// How its polls go; an `idle` one is not polled, because nothing waits there.
    #[schemars(extend("enum" = values::POLLING))]
    state: &'static str,
    /// Since when it has been blind or failing.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The kind of failure.
    #[schemars(extend("enum" = values::failures()))]
    failure: Option<&'static str>,
    /// An explanation, or what is being decoded for long.
    reason: Option<String>,
    /// Number of failed polls in a row.
    failed_polls: u64,
    /// Number of traces that wait there.
    waiting: usize,
    /// Everything that arrived before this has been read.
    #[schemars(extend("format" = "date-time"))]
    watermark: Option<String>,
    /// How far the watermark is behind now while traces wait here, in seconds; 0 while nothing waits.
    watermark_age_seconds: f64,
    /// When it last answered.
    #[schemars(extend("format" = "date-time"))]
    last_answer: Option<String>,
    /// How far behind the newest record the last poll ended, in seconds, if the service reports it.
    behind_seconds: Option<f64>,
    /// How the table's schema differs from the expected one. `null` if there is no schema, or it is not known
    /// yet.
    drift: Option<Vec<DriftJson>>,
    /// Since when it differs.
    #[schemars(extend("format" = "date-time"))]
    drift_since: Option<String>,
    /// The value for `schema_accepted` if the change is intended and `schema` is not set.
    drift_accept: Option<String>,
}

/// A column that changed.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "ColumnChange")]
struct DriftJson {
    /// The column.
    column: String,
    /// What changed.
    #[schemars(extend("enum" = values::CHANGES))]
    change: &'static str,
    /// The type before, with the mode unless it is NULLABLE. `null` for a new column.
    from: Option<String>,
    /// The type now. `null` for a removed column.
    to: Option<String>,
}

/// The error of a request.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Error")]
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
            schema_version: SCHEMA_VERSION,
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
            schema_version: SCHEMA_VERSION,
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
            Injection::NotBegun => (InjectionState::NotBegun, None, None),
            Injection::Accepted(at) => (InjectionState::Accepted, Some(*at), None),
            Injection::Unanswered(at) => (InjectionState::Unanswered, Some(*at), None),
            Injection::Refusing(since, reason) => {
                (InjectionState::Refusing, Some(*since), Some(reason.to_string()))
            }
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
            Put::Planned => (PutState::Planned, None),
            Put::Accepted { at } => (PutState::Accepted, Some(at)),
            Put::Ambiguous { at } => (PutState::Ambiguous, Some(at)),
            Put::Refused { at } => (PutState::Refused, Some(at)),
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
            Presence::Seen(_) => (PresenceName::Seen, None),
            Presence::Waiting { age } => (PresenceName::Waiting, Some(*age)),
            Presence::Overdue { age } => (PresenceName::Overdue, Some(*age)),
            Presence::Blind { .. } => (PresenceName::Blind, None),
            Presence::Never { .. } => (PresenceName::Never, None),
            Presence::Unproven => (PresenceName::Unproven, None),
            Presence::NotReached => (PresenceName::NotReached, None),
        };
        let (integrity, kept_bytes) = match arrival.map(|arrival| arrival.integrity) {
            Some(Integrity::Intact) => (Some(IntegrityName::Intact), None),
            Some(Integrity::Unchecked) => (Some(IntegrityName::Unchecked), None),
            Some(Integrity::Corrupted { kept_bytes, .. }) => {
                (Some(IntegrityName::Corrupted), Some(kept_bytes))
            }
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

fn judgement(judgement: Judgement) -> JudgementName {
    match judgement {
        Judgement::Pending => JudgementName::Pending,
        Judgement::Good => JudgementName::Good,
        Judgement::Slow => JudgementName::Slow,
        Judgement::Overdue => JudgementName::Overdue,
        Judgement::Unjudged => JudgementName::Unjudged,
    }
}

fn hop(hop: Hop) -> HopState {
    match hop {
        Hop::Open => HopState::Open,
        Hop::Overdue => HopState::Overdue,
        Hop::Measured { .. } => HopState::Measured,
        Hop::Unjudged => HopState::Unjudged,
        Hop::Inverted => HopState::Inverted,
        Hop::Inherited => HopState::Inherited,
        Hop::Skipped => HopState::Skipped,
        Hop::Missing => HopState::Missing,
        Hop::NeverSeen => HopState::NeverSeen,
    }
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
}
