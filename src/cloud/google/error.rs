//! Why a call to a Google API failed.

use std::time::Duration;

use crate::cloud::bounded::MAX_ANSWER_BYTES;
use crate::cloud::failure::unreached::{Directory, Obstacle, authority, describe_obstacle};
use crate::cloud::failure::{Effect, Failure, causes};
use crate::domain::sighting::FailureKind;

/// Why a call to a Google API failed.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// The credentials cannot be used at all.
    #[error("cannot use the Google credentials: {0}")]
    Credentials(String),
    /// The token server refused to issue a token.
    #[error("no access token: {0}")]
    TokenDenied(String),
    /// The token server could not be reached, or its response contains no token.
    #[error("cannot fetch an access token: {0}")]
    TokenFetchFailed(String),
    /// The token server did not respond within this time. The text says why that server was asked, if it is not obvious.
    #[error("no access token within {0:?}{1}")]
    TokenTimedOut(Duration, &'static str),
    /// The request could not be serialized; nothing was sent.
    #[error("the request to {service} cannot be serialized: {cause}")]
    InvalidRequest {
        /// Title of the service.
        service: &'static str,
        /// What the HTTP client reports, with its sources.
        cause: String,
    },
    /// The request was sent, but no response arrived in time.
    #[error("{service}: {cause}")]
    TimedOut {
        /// Title of the service.
        service: &'static str,
        /// What the HTTP client reports, with its sources.
        cause: String,
    },
    /// No connection could be made; nothing was sent.
    #[error("{service}: {cause}")]
    Unreachable {
        /// Title of the service.
        service: &'static str,
        /// What the HTTP client reports, with its sources.
        cause: String,
    },
    /// The connection was lost after the request was sent.
    #[error("{service}: {cause}")]
    ConnectionLost {
        /// Title of the service.
        service: &'static str,
        /// What the HTTP client reports, with its sources.
        cause: String,
    },
    /// The response is larger than any regular response of a service.
    #[error("the response from {service} exceeds {MAX_ANSWER_BYTES} bytes")]
    TooLarge {
        /// Title of the service.
        service: &'static str,
    },
}

impl GoogleError {
    /// Classifies a failed request to `service`.
    pub(super) fn from_request_error(
        service: &'static str,
        directory: &Directory,
        error: &reqwest::Error,
    ) -> Self {
        if error.is_builder() {
            return Self::InvalidRequest { service, cause: causes(error) };
        }
        let cause = unreached(directory, error);
        if error.is_connect() {
            Self::Unreachable { service, cause }
        } else if error.is_timeout() {
            Self::TimedOut { service, cause }
        } else {
            Self::ConnectionLost { service, cause }
        }
    }
}

/// Says which host could not be reached, why, and where to look.
pub(super) fn unreached(directory: &Directory, error: &reqwest::Error) -> String {
    let host = error.url().and_then(|url| authority(url.as_str())).unwrap_or_else(|| "the server".to_owned());
    let obstacle = match (error.is_timeout(), error.is_connect()) {
        (true, true) => Obstacle::Silent,
        (true, false) => Obstacle::Unanswered,
        (false, _) => Obstacle::of(error),
    };
    describe_obstacle(&host, directory, obstacle, error)
}

impl From<GoogleError> for Failure {
    fn from(error: GoogleError) -> Self {
        let (kind, effect) = match &error {
            GoogleError::Credentials(_) | GoogleError::TokenDenied(_) => {
                (FailureKind::Denied, Effect::NotSent)
            }
            GoogleError::TokenFetchFailed(_) | GoogleError::Unreachable { .. } => {
                (FailureKind::Unreachable, Effect::NotSent)
            }
            GoogleError::TokenTimedOut(..) => (FailureKind::Timeout, Effect::NotSent),
            GoogleError::InvalidRequest { .. } => (FailureKind::Error, Effect::NotSent),
            GoogleError::TimedOut { .. } => (FailureKind::Timeout, Effect::Unknown),
            GoogleError::ConnectionLost { .. } => (FailureKind::Unreachable, Effect::Unknown),
            GoogleError::TooLarge { .. } => (FailureKind::Garbled, Effect::Unknown),
        };
        Self::new(kind, effect, error.to_string())
    }
}
