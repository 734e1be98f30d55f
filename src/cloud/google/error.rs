//! Reasons why a Google API gave no answer.

use std::time::Duration;

use super::MAX_ANSWER;
use crate::cloud::failure::{Effect, Failure, causes};
use crate::domain::sighting::FailureKind;

/// Why a call to a Google API has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// The credentials cannot be used at all.
    #[error("cannot use the Google credentials: {0}")]
    Credentials(String),
    /// The token server refused.
    #[error("no access token: {0}")]
    TokenDenied(String),
    /// The token server could not be reached, or its answer cannot be parsed.
    #[error("cannot fetch an access token: {0}")]
    NoToken(String),
    /// The token server did not answer in time.
    #[error("no access token within {0:?}")]
    TokenTimedOut(Duration),
    /// The request could not be serialized; nothing was sent.
    #[error("the request to {service} cannot be serialized: {why}")]
    Unwritable {
        /// Title of the service.
        service: &'static str,
        /// The cause.
        why: String,
    },
    /// The request went out, and the answer did not come in time.
    #[error("no answer from {service} in time: {why}")]
    TimedOut {
        /// Title of the service.
        service: &'static str,
        /// The timeout that was exceeded.
        why: String,
    },
    /// No connection could be made; nothing was sent.
    #[error("cannot reach {service}: {why}")]
    Unreachable {
        /// Title of the service.
        service: &'static str,
        /// The cause.
        why: String,
    },
    /// The connection was cut after the request went out.
    #[error("lost the connection to {service}: {why}")]
    Cut {
        /// Title of the service.
        service: &'static str,
        /// The cause.
        why: String,
    },
    /// The answer is larger than any regular answer of a service.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
}

impl GoogleError {
    /// Classifies a failed request to `service`.
    pub(super) fn of_request(service: &'static str, error: &reqwest::Error) -> Self {
        let why = causes(error);
        if error.is_builder() {
            Self::Unwritable { service, why }
        } else if error.is_connect() {
            Self::Unreachable { service, why }
        } else if error.is_timeout() {
            Self::TimedOut { service, why }
        } else {
            Self::Cut { service, why }
        }
    }
}

impl From<GoogleError> for Failure {
    fn from(error: GoogleError) -> Self {
        let (kind, effect) = match &error {
            GoogleError::Credentials(_) | GoogleError::TokenDenied(_) => {
                (FailureKind::Denied, Effect::NotSent)
            }
            GoogleError::NoToken(_) | GoogleError::Unreachable { .. } => {
                (FailureKind::Unreachable, Effect::NotSent)
            }
            GoogleError::TokenTimedOut(_) => (FailureKind::Timeout, Effect::NotSent),
            GoogleError::Unwritable { .. } => (FailureKind::Error, Effect::NotSent),
            GoogleError::TimedOut { .. } => (FailureKind::Timeout, Effect::Unknown),
            GoogleError::Cut { .. } => (FailureKind::Unreachable, Effect::Unknown),
            GoogleError::TooLarge => (FailureKind::Garbled, Effect::Unknown),
        };
        Self::new(kind, effect, error.to_string())
    }
}
