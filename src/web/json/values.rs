//! The values of fields that take one of a few words.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::conditions::{ConditionName, Severity};
use crate::domain::copies::UnchargedReason;
use crate::domain::kind::Kind;
use crate::domain::outcome::Outcome;
use crate::domain::sighting::FailureKind;
use crate::domain::trace::Standing;

/// What became of the put of a canary.
#[derive(Serialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum PutState {
    /// No result yet.
    Planned,
    /// CloudWatch Logs has taken it.
    Accepted,
    /// There was no answer: it may have been taken.
    Ambiguous,
    /// It was not taken.
    Refused,
}

/// Whether a trace met the end-to-end threshold.
#[derive(Serialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Judgement")]
pub(super) enum JudgementName {
    /// Not yet known.
    Pending,
    /// It met the threshold.
    Good,
    /// It arrived after the threshold.
    Slow,
    /// It has not arrived and is proven to have missed the threshold.
    Overdue,
    /// The arrival interval includes the threshold.
    Unjudged,
}

/// Whether a canary was found at a stage.
#[derive(Serialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Presence")]
pub(super) enum PresenceName {
    /// It was found there.
    Seen,
    /// It was not found, and is not late so far.
    Waiting,
    /// It was not found, and is proven to have exceeded the target or the threshold.
    Overdue,
    /// The stage cannot be read.
    Blind,
    /// It is proven absent.
    Never,
    /// It was neither found nor proven absent.
    Unproven,
    /// It was not found at the stage before.
    NotReached,
}

/// What is known of a hop.
#[derive(Serialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum HopState {
    /// It has not ended.
    Open,
    /// It has not ended and is proven to have exceeded its target.
    Overdue,
    /// It has ended, and its duration is known.
    Measured,
    /// The arrival interval includes the target.
    Unjudged,
    /// The clocks disagree: it arrived before it was at the stage before.
    Inverted,
    /// Counted by a previous run, or before a reload that changed the target, so not by this one.
    Inherited,
    /// It was seen although the stage before never showed it.
    Skipped,
    /// It is proven absent.
    Missing,
    /// It was not found, at a source that has never shown a canary of this tenant.
    NeverSeen,
}

/// Whether the content of a canary is the one that was sent.
#[derive(Serialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Integrity")]
pub(super) enum IntegrityName {
    /// It is.
    Intact,
    /// The stage does not show the content.
    Unchecked,
    /// It was cut or changed.
    Corrupted,
}

/// How the canaries of a tenant are taken.
#[derive(Serialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum InjectionState {
    /// None has been planned.
    NotBegun,
    /// The last one was not answered.
    Unanswered,
    /// The last one was taken.
    Accepted,
    /// They are refused.
    Refusing,
}

pub(super) const SEVERITIES: [&str; 3] =
    [Severity::Critical.as_str(), Severity::Warning.as_str(), Severity::Note.as_str()];
pub(super) const STATES: [&str; 4] = ["ongoing", "unproven", "over", "ended"];
pub(super) const POLLING: [&str; 5] = ["blind", "failing", "starting", "polling", "idle"];
pub(super) const CHANGES: [&str; 4] = ["added", "removed", "retyped", "remoded"];

pub(super) fn conditions() -> Vec<&'static str> {
    ConditionName::ALL.into_iter().map(ConditionName::as_str).collect()
}

/// The conditions, and what a verdict is without one.
pub(super) fn verdicts() -> Vec<&'static str> {
    ["ok", "waiting"].into_iter().chain(conditions()).collect()
}

pub(super) fn outcomes() -> Vec<&'static str> {
    std::iter::once(Standing::InFlight.label()).chain(Outcome::LABELS).collect()
}

pub(super) fn uncharged() -> Vec<&'static str> {
    std::iter::once("pending").chain(UnchargedReason::ALL.into_iter().map(UnchargedReason::as_str)).collect()
}

pub(super) fn kinds() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.name()).collect()
}

/// The kinds of failures, and `null` for none.
pub(super) fn failures() -> Vec<Option<&'static str>> {
    FailureKind::ALL.into_iter().map(|kind| Some(kind.as_str())).chain([None]).collect()
}
