//! What an answer of CloudWatch Logs says about the canaries that were sent: in, not in, or maybe in.
//!
//! The doubtful case is kept wide on purpose. Taking a canary for refused that is in would make the probe see a trace
//! that it has written off; taking one for maybe in that is not only makes it wait.

use std::error::Error;
use std::io;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatchlogs::types::RejectedLogEventsInfo;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::http::Response;

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

/// The name of an error answer, as in `ThrottlingException`.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> Option<&str> {
    // The prefix is there in older answers: `com.amazonaws…#ThrottlingException`.
    error.code().map(|code| code.rsplit('#').next().unwrap_or(code))
}

/// Reads an error.
pub(super) fn of_error<E>(error: &SdkError<E, Response>) -> Answer
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    match error {
        SdkError::ConstructionFailure(_) => Answer::Refused(words(error)),
        SdkError::DispatchFailure(failure) => {
            if let Some(denied) = denied_role(error) {
                return Answer::Refused(denied);
            }
            let never_sent = failure.is_user()
                || causes(error).any(|cause| cause.is::<CredentialsError>() || is_failed_connect(cause));
            if never_sent { Answer::NotTaken(words(error)) } else { Answer::Unanswered(words(error)) }
        }
        SdkError::ServiceError(_) => of_code(code(error).unwrap_or_default(), status, words(error)),
        // A gateway's page, an answer cut short, an attempt timeout of the SDK, and whatever variant comes next.
        _ if status == 429 || status == 503 => Answer::NotTaken(words(error)),
        _ => Answer::Unanswered(words(error)),
    }
}

fn of_code(code: &str, status: u16, words: Arc<str>) -> Answer {
    match code {
        "ResourceNotFoundException" => Answer::NotFound(words),
        // Of the days of sequence tokens: an earlier try is in.
        "DataAlreadyAcceptedException" => Answer::Accepted(Rejected::default()),
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "ServiceUnavailableException"
        | "ServiceUnavailable"
        | "OperationAbortedException"
        | "InvalidSequenceTokenException" => Answer::NotTaken(words),
        _ if status == 429 || status == 503 => Answer::NotTaken(words),
        // An internal error says nothing about how far it came.
        _ if status >= 500 => Answer::Unanswered(words),
        _ => Answer::Refused(words),
    }
}

/// The error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
}

/// A denied AssumeRole comes as a dispatch failure of the call that needed the credentials.
fn denied_role(error: &(dyn Error + 'static)) -> Option<Arc<str>> {
    let assume = causes(error).find_map(|cause| cause.downcast_ref::<AssumeRoleError>())?;
    let meta = assume.meta();
    let code = meta.code()?;
    let transient = ["Throttling", "ServiceUnavailable", "Internal", "Timeout"];
    if transient.iter().any(|word| code.contains(word)) {
        return None;
    }
    let message = meta.message().unwrap_or_default();
    Some(format!("cannot assume the role: {code}: {message}").into())
}

fn is_failed_connect(error: &(dyn Error + 'static)) -> bool {
    let refused = error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable
        )
    });
    // The types behind these two are private to the HTTP client.
    let text = error.to_string();
    refused
        || text.starts_with("dns error")
        || text.starts_with("tcp connect error")
        || text.starts_with("HTTP connect timeout")
        || text.starts_with("client error (Connect)")
}

/// `AccessDeniedException: User … is not authorized …`, or the whole chain where the service did not answer.
fn words<E>(error: &SdkError<E, Response>) -> Arc<str>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match (code(error), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}").into(),
        (Some(code), None) => code.into(),
        (None, _) => {
            let chain: Vec<String> = causes(error).map(ToString::to_string).collect();
            chain.join(": ").into()
        }
    }
}
