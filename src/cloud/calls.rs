//! How many calls were made to which operation of which service, and how they ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum CallResult {
    /// Answered as asked.
    Ok,
    /// We asked too often.
    Throttled,
    /// Not allowed.
    Denied,
    /// No answer in time.
    Timeout,
    /// Any other error answer, or no connection.
    Error,
}

impl CallResult {
    /// All of them, for series that are born at zero.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Throttled, Self::Denied, Self::Timeout, Self::Error];

    /// As a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }

    /// From the HTTP status and what names the error: the start of the body, or a header.
    ///
    /// AWS sends throttling and denial as 400 with a code in the text, Google sends a spent quota as 403.
    #[must_use]
    pub fn of_answer(status: u16, error: &str) -> Self {
        const THROTTLED: [&str; 8] = [
            "Throttl",
            "ThroughputExceeded",
            "LimitExceeded",
            "RequestLimit",
            "TooManyRequests",
            "SlowDown",
            "rateLimitExceeded",
            "quotaExceeded",
        ];
        const DENIED: [&str; 6] = [
            "AccessDenied",
            "NotAuthorized",
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "ExpiredToken",
            "SignatureDoesNotMatch",
        ];
        let names = |codes: &[&str]| codes.iter().any(|code| error.contains(code));
        match status {
            200..=399 => Self::Ok,
            429 => Self::Throttled,
            _ if names(&THROTTLED) => Self::Throttled,
            401 | 403 => Self::Denied,
            _ if names(&DENIED) => Self::Denied,
            _ => Self::Error,
        }
    }
}

impl fmt::Display for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Counts = BTreeMap<(&'static str, String, CallResult), u64>;

/// A counter of calls that all clients share; clones count into the same one.
///
/// A mutex, because calls end on any thread and a scrape reads them all at once; it is held for one look-up, a few
/// times a second.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Counts>>);

impl Calls {
    /// Counts one call.
    pub fn count(&self, service: &'static str, operation: &str, result: CallResult) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((service, operation.to_owned(), result)).or_default() += 1;
    }

    /// All counts so far, in order of service, operation and result.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, String, CallResult, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((service, operation, result), count)| (*service, operation.clone(), *result, *count))
            .collect()
    }
}

/// Feeds [`Calls`] with every attempt of an SDK client.
#[derive(Debug)]
pub struct CountCalls {
    pub(super) service: &'static str,
    pub(super) calls: Calls,
}

impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let result = match context.output_or_error() {
            Some(Ok(_)) => CallResult::Ok,
            None => CallResult::Error,
            // Nothing was sent: what is missing is counted where the credentials come from.
            Some(Err(error)) if is_without_credentials(error) => return Ok(()),
            Some(Err(error)) => {
                let in_time = !error.is_timeout_error()
                    && error.as_connector_error().is_none_or(|error| !error.is_timeout());
                match context.response() {
                    _ if !in_time => CallResult::Timeout,
                    Some(response) => {
                        let body = response.body().bytes().unwrap_or_default();
                        // Error documents name their code at once; a larger body is a proxy's page.
                        let head = String::from_utf8_lossy(&body[..body.len().min(2_048)]);
                        let code = response.headers().get("x-amzn-errortype").unwrap_or("");
                        match CallResult::of_answer(response.status().as_u16(), &format!("{code} {head}")) {
                            // An answer that the client could not read is no success.
                            CallResult::Ok => CallResult::Error,
                            other => other,
                        }
                    }
                    None => CallResult::Error,
                }
            }
        };
        let operation = config.load::<Metadata>().map_or("unknown", Metadata::name);
        self.calls.count(self.service, operation, result);
        Ok(())
    }
}

fn is_without_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| {
        let error: &(dyn std::error::Error + 'static) = *error;
        error.source()
    })
    .any(|cause| cause.is::<CredentialsError>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_quota_is_throttling_whatever_the_status() {
        for (status, error) in [
            (400, r#"{"__type":"ProvisionedThroughputExceededException"}"#),
            (400, r#"{"__type":"ThrottlingException"}"#),
            (403, r#"{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}"#),
            (503, "<Error><Code>SlowDown</Code></Error>"),
            (429, ""),
        ] {
            assert_eq!(CallResult::of_answer(status, error), CallResult::Throttled);
        }
    }

    #[test]
    fn a_denial_is_told_from_other_faults() {
        assert_eq!(CallResult::of_answer(400, r#"{"__type":"AccessDeniedException"}"#), CallResult::Denied);
        assert_eq!(CallResult::of_answer(401, ""), CallResult::Denied);
        assert_eq!(
            CallResult::of_answer(400, r#"{"__type":"ResourceNotFoundException"}"#),
            CallResult::Error
        );
    }

    #[test]
    fn clones_count_into_the_same_counter() {
        let calls = Calls::default();
        calls.clone().count("kinesis", "GetRecords", CallResult::Ok);
        calls.count("kinesis", "GetRecords", CallResult::Ok);
        assert_eq!(calls.snapshot(), [("kinesis", "GetRecords".to_owned(), CallResult::Ok, 2)]);
    }
}
