//! What an error of the AWS SDK means for an observer, in words.
//!
//! The service's error code is the one rule, because the typed variants differ from operation to operation. Two things
//! are not where one would look: an AssumeRole that was denied arrives as a failure to dispatch the request, and an
//! answer that cannot be parsed hides its HTTP status in the raw response.

use std::error::Error;
use std::time::Duration;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;

use super::ObserveError;
use crate::domain::sighting::Trouble;

/// Longest text of an error that is passed on, in bytes.
const MAX_WORDS: usize = 600;

/// What became of `asked`, such as `GetRecords on stream logs-acme`.
pub fn explain<E>(asked: &str, error: &SdkError<E>) -> ObserveError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (trouble, words) = classify(error);
    let mut detail = format!("{asked}: {words}");
    if detail.len() > MAX_WORDS {
        let end = (0..=MAX_WORDS).rev().find(|at| detail.is_char_boundary(*at));
        detail.truncate(end.unwrap_or(0));
        detail.push('…');
    }
    ObserveError { retry_after: retry_after(error), ..ObserveError::new(trouble, detail) }
}

fn classify<E>(error: &SdkError<E>) -> (Trouble, String)
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    match error {
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            let trouble = meta
                .code()
                .and_then(by_code)
                .or_else(|| status.and_then(by_status))
                .unwrap_or(Trouble::Failing);
            let code = meta.code().unwrap_or("an error without a code");
            let words = match meta.message() {
                Some(message) => format!("{code}: {message}"),
                None => match status {
                    Some(status) => format!("{code} (HTTP {status})"),
                    None => code.to_owned(),
                },
            };
            (trouble, words)
        }
        SdkError::TimeoutError(_) => (Trouble::TimedOut, "no answer in time".to_owned()),
        SdkError::ResponseError(_) => {
            let status = status.unwrap_or(0);
            let trouble = match status {
                200..=299 => Trouble::Garbled,
                other => by_status(other).unwrap_or(Trouble::Failing),
            };
            let words = format!("an answer that makes no sense (HTTP {status})");
            (trouble, format!("{words}: {}", causes(error)))
        }
        SdkError::DispatchFailure(failure) => {
            if let Some(denied) = find_cause::<SdkError<AssumeRoleError>>(error) {
                let (trouble, words) = classify(denied);
                return (trouble, format!("AssumeRole: {words}"));
            }
            if let Some(denied) = find_cause::<AssumeRoleError>(error) {
                let meta = denied.meta();
                let code = meta.code().unwrap_or("an error without a code");
                let trouble = by_code(code).unwrap_or(Trouble::Denied);
                let message = meta.message().unwrap_or_default();
                return (trouble, format!("AssumeRole: {code}: {message}"));
            }
            let words = causes(error);
            let trouble = if failure.is_timeout() {
                Trouble::TimedOut
            } else if !failure.is_io() && words.contains("credential") {
                // No identity to sign with: nothing was sent.
                Trouble::Denied
            } else {
                Trouble::Unreachable
            };
            (trouble, words)
        }
        SdkError::ConstructionFailure(_) => (Trouble::Failing, causes(error)),
        // The SDK may add kinds.
        other => (Trouble::Failing, causes(other)),
    }
}

/// Error codes of Kinesis, S3, CloudWatch Logs, STS and what they share ("Common Errors" of their API references).
fn by_code(code: &str) -> Option<Trouble> {
    Some(match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => Trouble::Throttled,
        "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "InvalidToken"
        | "KMSAccessDeniedException"
        | "KMSOptInRequired"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "NotSignedUp"
        | "OptInRequired"
        | "RegionDisabledException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => Trouble::Denied,
        "ResourceNotFoundException" | "NoSuchBucket" | "NoSuchKey" | "NotFound" | "KMSNotFoundException" => {
            Trouble::Missing
        }
        "RequestTimeout" | "RequestTimeoutException" => Trouble::TimedOut,
        _ => return None,
    })
}

fn by_status(status: u16) -> Option<Trouble> {
    match status {
        401 | 403 => Some(Trouble::Denied),
        404 => Some(Trouble::Missing),
        408 => Some(Trouble::TimedOut),
        429 => Some(Trouble::Throttled),
        _ => None,
    }
}

/// The `Retry-After` of the answer, where it is in seconds.
fn retry_after<E>(error: &SdkError<E>) -> Option<Duration> {
    let seconds = error.raw_response()?.headers().get("retry-after")?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // The bound is against a chain that bites its tail.
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source()).take(16)
}

fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).skip(1).find_map(|cause| cause.downcast_ref())
}

/// An error and what is behind it, without repetitions.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = chain(error).map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::operation::get_records::GetRecordsError;
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

    fn answer(status: u16) -> HttpResponse {
        HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty())
    }

    fn meta(code: &str) -> ErrorMetadata {
        ErrorMetadata::builder().code(code).message("the words").build()
    }

    fn service(code: &str, status: u16) -> ObserveError {
        let error = SdkError::service_error(GetRecordsError::generic(meta(code)), answer(status));
        explain("GetRecords on stream logs-acme", &error)
    }

    #[test]
    fn the_code_decides_and_the_words_say_what_was_asked() {
        let error = service("AccessDeniedException", 400);
        assert_eq!(error.trouble, Trouble::Denied);
        assert_eq!(&*error.detail, "GetRecords on stream logs-acme: AccessDeniedException: the words");
        assert_eq!(service("ProvisionedThroughputExceededException", 400).trouble, Trouble::Throttled);
        assert_eq!(service("ResourceNotFoundException", 400).trouble, Trouble::Missing);
        assert_eq!(service("InternalFailure", 500).trouble, Trouble::Failing);
        assert_eq!(service("SomethingNew", 429).trouble, Trouble::Throttled);
    }

    #[test]
    fn a_role_that_was_denied_is_not_a_network_fault() {
        let denied: SdkError<AssumeRoleError> =
            SdkError::service_error(AssumeRoleError::generic(meta("AccessDenied")), answer(403));
        let error: SdkError<GetRecordsError> =
            SdkError::dispatch_failure(ConnectorError::other(denied.into(), None));
        let error = explain("GetRecords on stream logs-acme", &error);
        assert_eq!(error.trouble, Trouble::Denied);
        assert!(error.detail.contains("AssumeRole: AccessDenied: the words"), "{error}");
    }

    #[test]
    fn no_connection_no_answer_and_nonsense_are_different_troubles() {
        let io = ConnectorError::io("refused".into());
        let of = |error: SdkError<GetRecordsError>| explain("GetRecords", &error).trouble;
        assert_eq!(of(SdkError::dispatch_failure(io)), Trouble::Unreachable);
        assert_eq!(of(SdkError::timeout_error("slow")), Trouble::TimedOut);
        assert_eq!(of(SdkError::response_error("not json", answer(200))), Trouble::Garbled);
        assert_eq!(of(SdkError::response_error("html", answer(503))), Trouble::Failing);
    }

    #[test]
    fn the_hint_when_to_come_back_is_passed_on() {
        let mut raw = answer(503);
        raw.headers_mut().insert("retry-after", "7");
        let error = SdkError::service_error(GetRecordsError::generic(meta("SlowDown")), raw);
        assert_eq!(explain("x", &error).retry_after, Some(Duration::from_secs(7)));
    }
}
