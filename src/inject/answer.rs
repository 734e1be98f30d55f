//! What an answer of CloudWatch Logs means for the canaries sent: stored, not stored, or perhaps stored.
//!
//! Doubtful answers count as "perhaps". If a stored canary were called refused, it would later be seen
//! although its trace has ended; if a canary that was not stored is called perhaps stored, the probe only
//! waits for it.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;

use crate::cloud::failure::{Effect, Failure};
use crate::domain::sighting::FailureKind;

/// The meaning of an answer for all canaries of a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// Stored, except for the listed events.
    Accepted(Rejected),
    /// Not stored, and a retry would not help.
    Refused(Arc<str>),
    /// Not stored, because the log stream or the log group does not exist.
    NotFound(Arc<str>),
    /// Certainly not stored, but a retry may succeed.
    NotTaken(Arc<str>),
    /// Sent, but without a conclusive answer: perhaps stored.
    Unanswered(Arc<str>),
}

/// The events of an accepted call that were rejected, by their index in the call.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    too_old_before: usize,
    expired_before: usize,
    too_new_from: Option<usize>,
}

impl Rejected {
    /// Returns why the event at `index` was rejected, if it was.
    pub(super) fn reason(&self, index: usize) -> Option<&'static str> {
        if index < self.expired_before {
            Some("older than the retention of the log group")
        } else if index < self.too_old_before {
            Some("more than 14 days old")
        } else if self.too_new_from.is_some_and(|from| index >= from) {
            Some("more than 2 hours in the future: is the clock right?")
        } else {
            None
        }
    }
}

impl From<Option<RejectedLogEventsInfo>> for Rejected {
    fn from(info: Option<RejectedLogEventsInfo>) -> Self {
        let index = |index: Option<i32>| index.and_then(|index| usize::try_from(index).ok());
        info.map_or_else(Self::default, |info| Self {
            too_old_before: index(info.too_old_log_event_end_index).unwrap_or(0),
            expired_before: index(info.expired_log_event_end_index).unwrap_or(0),
            too_new_from: index(info.too_new_log_event_start_index),
        })
    }
}

/// Classifies an error of `operation`.
pub(super) fn of_error<E>(operation: &str, error: &SdkError<E>) -> Answer
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let failure = Failure::of_aws(error);
    // An error code is enough to understand the failure; without one, the operation is named.
    let failure = if failure.code.is_some() { failure } else { failure.calling(operation) };
    let text = Arc::from(failure.text.as_str());
    match failure.code.as_deref() {
        // From the time of sequence tokens: an earlier attempt was stored.
        Some("DataAlreadyAcceptedException") => return Answer::Accepted(Rejected::default()),
        // Not stored, whatever the status.
        Some(
            "InvalidSequenceTokenException"
            | "OperationAbortedException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException",
        ) if failure.effect != Effect::NotSent => return Answer::NotTaken(text),
        Some(_) | None => {}
    }
    match failure.effect {
        Effect::Unknown => Answer::Unanswered(text),
        Effect::NotSent if is_final(&failure) => Answer::Refused(text),
        Effect::NotSent => Answer::NotTaken(text),
        Effect::Refused if failure.kind == FailureKind::Throttled || failure.status == Some(503) => {
            Answer::NotTaken(text)
        }
        // Without a code, the 404 comes from a gateway and not from the service.
        Effect::Refused if failure.kind == FailureKind::NotFound && failure.code.is_some() => {
            Answer::NotFound(text)
        }
        Effect::Refused => Answer::Refused(text),
    }
}

/// Whether a retry of a request that was not sent would fail, too.
fn is_final(failure: &Failure) -> bool {
    match (&failure.code, failure.status) {
        // AssumeRole failed with an error code. A busy or broken STS may recover.
        (Some(_), status) => {
            let transient = matches!(
                failure.kind,
                FailureKind::Throttled | FailureKind::Timeout | FailureKind::Unreachable
            );
            !transient && status.is_none_or(|status| status < 500)
        }
        // A gateway in front of STS answered.
        (None, Some(_)) => false,
        // A request that cannot be serialized fails again; a missing connection or identity may be transient.
        (None, None) => failure.kind == FailureKind::Error,
    }
}
