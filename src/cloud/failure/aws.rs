//! What an error of the AWS SDK means.
//!
//! The error code of the service decides, because the typed variants differ from operation to operation. Two
//! errors are not where one expects them: a denied AssumeRole arrives as a failure to dispatch the request,
//! and an answer that cannot be parsed hides its HTTP status in the raw response.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::answerer::{Answerer, is_of_another};
use super::unreached::Unreached;
use super::{Effect, Failure, by_status, causes, effect_of, find, sources, without_code, without_code_kind};
use crate::cloud::pending;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::FailureKind;

/// Largest error document that is searched for its code, in bytes. A larger body is the page of a proxy.
const MAX_DOCUMENT: usize = 64 << 10;

/// How the text of a failure begins, behind the call, if there are no credentials of our own to sign it with. What was
/// tried to find some follows; it is long, so that texts may be cut at different places.
pub(crate) const NO_CREDENTIALS: &str = "no credentials of AWS";

// It is stored with the answer, because errors of the SDK do not name the host.
impl Storable for Answerer {
    type Storer = StoreReplace<Self>;
}

impl Failure {
    /// Classifies an error of the SDK.
    #[must_use]
    pub fn of_aws<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let mut failure = match error {
            SdkError::ServiceError(service) => answered(service.err(), service.raw()),
            SdkError::ResponseError(response) => unreadable(error, response.raw()),
            SdkError::TimeoutError(_) => {
                let to = pending::last().map(|(call, from)| format!(" to {call} {from}"));
                let text = format!("no answer in time{}", to.unwrap_or_default());
                Self::new(FailureKind::Timeout, Effect::Unknown, text)
            }
            SdkError::DispatchFailure(failure) => undispatched(error, failure.as_connector_error()),
            SdkError::ConstructionFailure(_) => Self::new(FailureKind::Error, Effect::NotSent, causes(error)),
            // `SdkError` is non-exhaustive.
            other => Self::new(FailureKind::Error, Effect::Unknown, causes(other)),
        };
        if let Some(raw) = error.raw_response() {
            failure.status = Some(raw.status().as_u16());
            failure.retry_after = retry_after(raw);
        }
        failure
    }
}

fn answered<E: ProvideErrorMetadata>(error: &E, raw: &HttpResponse) -> Failure {
    let status = raw.status().as_u16();
    let code = code_of(raw).or_else(|| error.code().map(bare));
    let kind = kind(code, status);
    let text = match (code, error.message()) {
        (Some(code), Some(message)) => ForeignText::new(&format!("{code}: {message}")),
        (Some(code), None) => ForeignText::new(&format!("{code} (HTTP {status})")),
        (None, message) => {
            let body = raw.body().bytes().unwrap_or_default();
            let text = without_code(status, host(raw), message.map_or(body, str::as_bytes));
            elsewhere(raw).map_or_else(|| text.clone(), |answerer| answerer.unlike(&text))
        }
    };
    let code = code.map(ForeignText::new);
    Failure { code, ..Failure::new(kind, effect_of(kind, status), text) }
}

/// Classifies an answer that cannot be parsed as one of the operation.
fn unreadable(error: &(dyn Error + 'static), raw: &HttpResponse) -> Failure {
    let status = raw.status().as_u16();
    let from = host(raw).map(|host| format!(" from {host}")).unwrap_or_default();
    let text =
        ForeignText::new(&format!("the answer cannot be parsed (HTTP {status}{from}): {}", causes(error)));
    let text = elsewhere(raw).map_or_else(|| text.clone(), |answerer| answerer.unlike(&text));
    let effect = if matches!(status, 429 | 503) { Effect::Refused } else { Effect::Unknown };
    Failure::new(kind(code_of(raw), status), effect, text)
}

fn undispatched(error: &(dyn Error + 'static), connector: Option<&ConnectorError>) -> Failure {
    let of_role = match find::<SdkError<AssumeRoleError>>(error) {
        Some(role) => Some(Failure::of_aws(role)),
        None => find::<AssumeRoleError>(error).and_then(without_answer),
    };
    if let Some(failure) = of_role {
        // However AssumeRole failed, the call that needed the role was never sent.
        return Failure { effect: Effect::NotSent, ..failure.calling("AssumeRole") };
    }
    if let Some(text) = without_credentials_in_time(error) {
        return Failure::new(FailureKind::Timeout, Effect::NotSent, text);
    }
    let without_identity = find::<CredentialsError>(error).is_some();
    let kind = match connector {
        _ if without_identity => FailureKind::Denied,
        Some(connector) => of_connector(connector),
        None => FailureKind::Unreachable,
    };
    let never_sent = without_identity
        || connector.is_some_and(ConnectorError::is_user)
        || sources(error).any(is_failed_connect);
    let effect = if never_sent { Effect::NotSent } else { Effect::Unknown };
    // Without credentials, the host is one of several that were asked for some.
    let text = match find::<Unreached>(error) {
        _ if without_identity => format!("{NO_CREDENTIALS}: {}", causes(error)),
        Some(unreached) => unreached.to_string(),
        None => causes(error),
    };
    Failure::new(kind, effect, text)
}

/// The SDK's cache of credentials waits for so long, and then says only "identity resolver timed out". The call for them
/// is named if it is ours; another task may have made it.
fn without_credentials_in_time(error: &(dyn Error + 'static)) -> Option<String> {
    const TIMED_OUT: &str = "identity resolver timed out after ";
    let said = sources(error).map(ToString::to_string).find(|text| text.contains(TIMED_OUT))?;
    let after = said.split_once(TIMED_OUT).map_or("", |(_, after)| after);
    Some(match pending::last() {
        Some((call, from)) => format!("{call}: no answer within {after} {from}"),
        None => format!(
            "no credentials within {after}: what gives them does not answer; look at aws.endpoints.sts, and at the way to STS"
        ),
    })
}

/// Classifies a refused AssumeRole whose raw answer is not available.
fn without_answer(error: &AssumeRoleError) -> Option<Failure> {
    let code = error.code()?;
    let text = format!("{code}: {}", error.message().unwrap_or_default());
    let kind = by_code(code).unwrap_or(FailureKind::Denied);
    Some(Failure { code: Some(code.into()), ..Failure::new(kind, Effect::Refused, text) })
}

/// Classifies the failure of a connection.
pub(in crate::cloud) fn of_connector(error: &ConnectorError) -> FailureKind {
    if error.is_timeout() { FailureKind::Timeout } else { FailureKind::Unreachable }
}

/// Classifies an answer that the client treated as an error.
pub(in crate::cloud) fn of_response(raw: &HttpResponse) -> FailureKind {
    kind(code_of(raw), raw.status().as_u16())
}

/// Returns the kind of failure for an error code and an HTTP status.
fn kind(code: Option<&str>, status: u16) -> FailureKind {
    match (code, status) {
        // A success that the client could not parse.
        (None, 200..=299) => FailureKind::Garbled,
        (None, status) => without_code_kind(status),
        (Some(code), status) => by_code(code).unwrap_or_else(|| by_status(status)),
    }
}

/// Whether an answer refuses the credentials themselves, as expired, revoked or unknown, so that new ones may
/// help.
///
/// A session is revoked by a policy that denies everything to sessions issued before an instant (IAM user guide,
/// "Revoke IAM role temporary security credentials"). Services name that as an explicit deny. A missing permission is
/// described otherwise: "because no identity-based policy allows". Where S3 says no more than "Access Denied", as it
/// does across organizations, the two cannot be told apart.
pub(in crate::cloud) fn refuses_credentials(raw: &HttpResponse) -> bool {
    let body = raw.body().bytes().filter(|body| body.len() <= MAX_DOCUMENT).unwrap_or_default();
    code_of(raw).is_some_and(|code| names_refused_credentials(code, body))
}

/// The codes of credentials that have expired or are unknown.
const EXPIRED_OR_UNKNOWN: [&str; 7] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];
/// The codes of a signature that was made with another secret key.
const WRONG_SIGNATURE: [&str; 2] = ["SignatureDoesNotMatch", "InvalidSignatureException"];

/// Whether the text of a failure has the code of a service that refuses the credentials themselves, whatever was called:
/// `ListShards on stream s: ExpiredTokenException: …`.
pub(crate) fn has_code_of_refused_credentials(text: &str) -> bool {
    // A code without a message is followed by the status: `ExpiredToken (HTTP 403)`.
    let mut codes = text.split(": ").filter_map(|part| part.split(' ').next());
    codes.any(|code| EXPIRED_OR_UNKNOWN.contains(&code) || WRONG_SIGNATURE.contains(&code))
}

/// The same for an error's code and the text that comes with it.
pub(crate) fn names_refused_credentials(code: &str, text: &[u8]) -> bool {
    match code {
        _ if EXPIRED_OR_UNKNOWN.contains(&code) => true,
        "AccessDenied" | "AccessDeniedException" => {
            memchr::memmem::find(text, b"explicit deny in an identity-based policy").is_some()
        }
        _ => false,
    }
}

/// Error codes of Kinesis, S3, CloudWatch Logs and STS ("Common Errors" and operations in their API
/// references).
fn by_code(code: &str) -> Option<FailureKind> {
    Some(match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "KMS.ThrottlingException"
        | "KmsThrottled"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => FailureKind::Throttled,
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
        | "KmsAccessDenied"
        | "KmsOptInRequired"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "NotSignedUp"
        | "OptInRequired"
        | "RegionDisabledException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "TokenRefreshRequired"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => FailureKind::Denied,
        "ResourceNotFoundException"
        | "NoSuchBucket"
        | "NoSuchKey"
        | "NotFound"
        | "KMSNotFoundException"
        | "KmsNotFound" => FailureKind::NotFound,
        "RequestTimeout" | "RequestTimeoutException" => FailureKind::Timeout,
        _ => return None,
    })
}

/// Returns the error code of an answer: from its header, or from the error document in JSON or XML.
fn code_of(raw: &HttpResponse) -> Option<&str> {
    if let Some(code) = raw.headers().get("x-amzn-errortype") {
        return Some(bare(code));
    }
    let body = raw.body().bytes().filter(|body| body.len() <= MAX_DOCUMENT)?;
    let text = std::str::from_utf8(body).ok()?;
    if text.trim_start().starts_with('{') {
        #[derive(serde::Deserialize)]
        struct Document<'a> {
            code: Option<&'a str>,
            __type: Option<&'a str>,
        }
        let document: Document<'_> = serde_json::from_str(text).ok()?;
        document.code.or(document.__type).map(bare)
    } else {
        let (_, rest) = text.split_once("<Code>")?;
        rest.split_once("</Code>").map(|(code, _)| code.trim())
    }
}

/// Strips the namespace and the URL around a code: `com.amazonaws.logs#ThrottlingException:http://…`.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.rsplit('#').next().unwrap_or(code).trim()
}

/// Who should have answered, if a failed call was answered by something else: with a status that no service sends without a
/// code, or, at a configured endpoint, with a success that cannot be parsed.
fn elsewhere(raw: &HttpResponse) -> Option<&Answerer> {
    let status = raw.status().as_u16();
    let answerer = answerer(raw).filter(|_| code_of(raw).is_none())?;
    let is_success = matches!(status, 200..=299) && answerer.endpoint.is_some();
    (is_of_another(status) || is_success).then_some(answerer)
}

fn answerer(raw: &HttpResponse) -> Option<&Answerer> {
    raw.extension::<Answerer>()
}

fn host(raw: &HttpResponse) -> Option<&str> {
    answerer(raw)?.host.as_deref()
}

/// Returns the `Retry-After` of an answer if it is given in seconds.
fn retry_after(raw: &HttpResponse) -> Option<Duration> {
    raw.headers().get("retry-after")?.parse().ok().map(Duration::from_secs)
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
    // The error types behind these texts are private to the HTTP client.
    let text = error.to_string();
    refused
        || text.starts_with("dns error")
        || text.starts_with("tcp connect error")
        || text.starts_with("HTTP connect timeout")
        || text.starts_with("client error (Connect)")
}
