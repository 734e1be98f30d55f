//! What an answer of CloudWatch Logs says about the canaries that were sent: in, not in, or maybe in.
//!
//! The doubtful case is kept wide on purpose. Taking a canary for refused that is in would make the probe see a trace
//! that it has written off; taking one for maybe in that is not only makes it wait.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;

use crate::cloud::failure::{Effect, Failure};
use crate::domain::sighting::FailureKind;

/// What an answer says.
#[derive(Debug)]
pub(super) enum Answer {
    /// Taken, but for those that are listed.
    Accepted(Rejected),
    /// Not taken, and trying again is no use.
    Refused(Arc<str>),
    /// Not taken, because the log stream or the log group is missing.
    NotFound(Arc<str>),
    /// Certainly not taken; a later try may be.
    NotTaken(Arc<str>),
    /// It went out and nothing certain came back.
    Unanswered(Arc<str>),
}

/// Events of an accepted call that were dropped, by their place in the call.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    too_old_before: usize,
    expired_before: usize,
    too_new_from: Option<usize>,
}

impl Rejected {
    /// Why the event at `index` was dropped, if it was.
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

/// Reads an error.
pub(super) fn of_error<E>(operation: &str, error: &SdkError<E>) -> Answer
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let failure = Failure::of_aws(error);
    // A code says enough to whoever reads why a canary was refused; without one, what was called must be named.
    let failure = if failure.code.is_some() { failure } else { failure.calling(operation) };
    let text = Arc::from(failure.text.as_str());
    match failure.code.as_deref() {
        // Of the days of sequence tokens: an earlier try is in.
        Some("DataAlreadyAcceptedException") => return Answer::Accepted(Rejected::default()),
        // Not taken, whatever the status.
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
        Effect::NotSent if never_will_be(&failure) => Answer::Refused(text),
        Effect::NotSent => Answer::NotTaken(text),
        Effect::Refused if failure.kind == FailureKind::Throttled || failure.status == Some(503) => {
            Answer::NotTaken(text)
        }
        // Without a code it is not the service that misses something, but a gateway that has no such page.
        Effect::Refused if failure.kind == FailureKind::NotFound && failure.code.is_some() => {
            Answer::NotFound(text)
        }
        Effect::Refused => Answer::Refused(text),
    }
}

/// Whether a request that was not sent will not be at a later try either.
fn never_will_be(failure: &Failure) -> bool {
    match (&failure.code, failure.status) {
        // AssumeRole was answered with an error of its own. A busy or broken STS may do it later.
        (Some(_), status) => {
            let may_pass = matches!(
                failure.kind,
                FailureKind::Throttled | FailureKind::Timeout | FailureKind::Unreachable
            );
            !may_pass && status.is_none_or(|status| status < 500)
        }
        // A gateway before STS.
        (None, Some(_)) => false,
        // The request cannot be written. A missing connection or identity may come.
        (None, None) => failure.kind == FailureKind::Error,
    }
}
