//! Decides from the answer to a call whether CloudWatch Logs stored the canaries: yes, no, or perhaps.
//!
//! Every doubtful answer counts as "perhaps". If the probe took a stored canary for refused, its trace would
//! end and the canary would still turn up downstream. If the probe takes a canary that was not stored for
//! perhaps stored, it only waits for it.

use std::error::Error;

use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;

use crate::cloud::failure::aws::names_refused_credentials;
use crate::cloud::failure::{Effect, Failure};
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::FailureKind;

/// What a call did to the canaries in it. CreateLogStream is classified in the same way, with the log stream
/// in place of the canaries.
#[derive(Debug)]
pub(super) enum PutOutcome {
    /// The service stored all canaries, except for the rejected ones.
    Accepted(Rejected),
    /// The service stored none, and a retry would fail, too.
    Refused {
        /// Why, as text for the log and the page.
        reason: ForeignText,
    },
    /// The service stored none, because the log stream or the log group does not exist.
    NotFound {
        /// Why, as text for the log and the page.
        reason: ForeignText,
    },
    /// The service certainly stored none, but a retry may succeed.
    Retryable {
        /// Why, as text for the log and the page.
        reason: ForeignText,
    },
    /// The service stored none, because the credentials have expired or were revoked. The client fetches new ones
    /// for the next call.
    CredentialsRefused {
        /// Why, as text for the log and the page.
        reason: ForeignText,
    },
    /// The call was sent, but no answer came that says whether the canaries were stored. They may have been.
    Inconclusive {
        /// Why, as text for the log and the page.
        reason: ForeignText,
    },
}

/// Which events of an accepted call were rejected. The service names them by indices into the call, whose
/// events are in the order of their timestamps (AWS Logs API reference, RejectedLogEventsInfo).
#[derive(Debug, Default)]
pub(super) struct Rejected {
    /// The events before this index are too old.
    too_old_end: usize,
    /// The events before this index are older than the log group retains events.
    expired_end: usize,
    /// The events from this index on are too far in the future.
    too_new_start: Option<usize>,
}

impl Rejected {
    /// Returns why the event at `index` of the call was rejected; `None` if it was stored.
    pub(super) fn reason(&self, index: usize) -> Option<&'static str> {
        if index < self.expired_end {
            Some("older than the retention of the log group")
        } else if index < self.too_old_end {
            Some("more than 14 days old")
        } else if self.too_new_start.is_some_and(|start| index >= start) {
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
            too_old_end: index(info.too_old_log_event_end_index).unwrap_or(0),
            expired_end: index(info.expired_log_event_end_index).unwrap_or(0),
            too_new_start: index(info.too_new_log_event_start_index),
        })
    }
}

/// Decides from an error of `operation` whether a retry may succeed and whether the canaries may have been
/// stored.
pub(super) fn classify_error<E>(operation: &str, error: &SdkError<E>) -> PutOutcome
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let failure = Failure::of_aws(error);
    // The text of an error code explains the failure by itself. Without a code, the text has to name the
    // operation.
    let failure = if failure.code.is_some() { failure } else { failure.calling(operation) };
    let reason = failure.text.clone();
    match failure.code.as_deref() {
        // The service stored an earlier attempt. It returned this when calls still needed sequence tokens.
        Some("DataAlreadyAcceptedException") => return PutOutcome::Accepted(Rejected::default()),
        // With these codes the service stored nothing, whatever the HTTP status is.
        Some("InvalidSequenceTokenException" | "OperationAbortedException")
            if failure.effect != Effect::NotSent =>
        {
            return PutOutcome::Retryable { reason };
        }
        // A part of the service did not answer another one, which may have stored them.
        Some("ServiceUnavailable" | "ServiceUnavailableException") if failure.effect != Effect::NotSent => {
            return PutOutcome::Inconclusive { reason };
        }
        Some(code) if names_refused_credentials(code, error.message().unwrap_or_default().as_bytes()) => {
            return PutOutcome::CredentialsRefused { reason };
        }
        Some(_) | None => {}
    }
    match failure.effect {
        Effect::Unknown => PutOutcome::Inconclusive { reason },
        Effect::NotSent if is_final(&failure) => PutOutcome::Refused { reason },
        Effect::NotSent => PutOutcome::Retryable { reason },
        Effect::Refused if failure.kind == FailureKind::Throttled => PutOutcome::Retryable { reason },
        // Without a code of throttling, it may come from a gateway that had passed the call on.
        Effect::Refused if failure.status == Some(503) => PutOutcome::Inconclusive { reason },
        // A 404 without an error code comes from a gateway and not from the service.
        Effect::Refused if failure.kind == FailureKind::NotFound && failure.code.is_some() => {
            PutOutcome::NotFound { reason }
        }
        Effect::Refused => PutOutcome::Refused { reason },
    }
}

/// Whether a retry of a call that was not sent would certainly fail, too.
fn is_final(failure: &Failure) -> bool {
    match (&failure.code, failure.status) {
        // AssumeRole failed with an error code. If STS is overloaded or out of order, it may recover.
        (Some(_), status) => {
            let is_transient = matches!(
                failure.kind,
                FailureKind::Throttled | FailureKind::Timeout | FailureKind::Unreachable
            );
            !is_transient && status.is_none_or(|status| status < 500)
        }
        // The answer is from a gateway in front of STS, which may recover.
        (None, Some(_)) => false,
        // A request that cannot be serialised fails again. A failed connection or missing credentials may be
        // transient.
        (None, None) => failure.kind == FailureKind::Error,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsError;
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    /// The outcome of a put that was answered with this code, if any, and status.
    fn outcome(code: &str, status: u16) -> PutOutcome {
        let metadata = ErrorMetadata::builder();
        let metadata = if code.is_empty() { metadata } else { metadata.code(code) };
        let raw = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from("<html>"));
        let error = SdkError::service_error(PutLogEventsError::generic(metadata.build()), raw);
        classify_error("PutLogEvents", &error)
    }

    #[test]
    fn an_unavailable_service_may_have_stored_the_canaries() {
        for (code, status) in [("", 503), ("ServiceUnavailableException", 503), ("ServiceUnavailable", 500)] {
            let outcome = outcome(code, status);
            assert!(matches!(outcome, PutOutcome::Inconclusive { .. }), "{code} {status}: {outcome:?}");
        }
    }

    #[test]
    fn a_service_that_throttles_has_stored_nothing() {
        for (code, status) in [("ThrottlingException", 400), ("SlowDown", 503), ("", 429)] {
            let outcome = outcome(code, status);
            assert!(matches!(outcome, PutOutcome::Retryable { .. }), "{code} {status}: {outcome:?}");
        }
    }
}
