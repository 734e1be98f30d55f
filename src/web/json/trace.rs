//! One canary.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::rfc3339;
use super::values::{self, HopState, IntegrityName, JudgementName, PresenceName, PutState};
use crate::domain::canary::Integrity;
use crate::domain::copies::uncharged;
use crate::domain::flaw::Flaw;
use crate::domain::outcome::Outcome;
use crate::domain::sighting::Stamp;
use crate::domain::trace::{Hop, Judgement, Put};
use crate::web::view::{Lane, Presence, TraceView};

/// One canary: its history from planned injection to outcome.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Trace")]
pub(super) struct TraceJson {
    /// The trace id: 32 hexadecimal digits.
    id: String,
    /// Its tenant.
    tenant: String,
    /// The log group into which it was put. `null` if it is known only by its tag, or if the tenant does not
    /// have the log group any more.
    log_group: Option<String>,
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
    /// `never_seen`, `ambiguous_put`, `clock_stepped` or `handed_over`.
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

/// A copy that does not count as a duplicate.
#[derive(Serialize, JsonSchema, Debug)]
struct UnchargedCopy {
    /// Where the copy is.
    locator: String,
    /// Why it does not count ([what they mean](runbook.md#duplicates)); `pending` while that is not decided.
    #[schemars(extend("enum" = values::uncharged()))]
    reason: &'static str,
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

impl TraceJson {
    pub(super) fn new(view: &TraceView<'_>) -> Self {
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
            log_group: view.log_group.as_deref().map(str::to_owned),
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

impl FlawJson {
    fn new((flaw, stage): &(Flaw, Option<Arc<str>>)) -> Self {
        Self { flaw: flaw.as_str(), stage: stage.as_deref().map(str::to_owned) }
    }
}
