//! The BigQuery service, and the client of the BigQuery crate with our connections and tokens.
//!
//! The crate provides the client and the data types, but loses the HTTP status of every answer that is not
//! the JSON it expects (the page of a gateway, a bare 429), and with it the difference between "slow down"
//! and "broken". Calls whose failure matters therefore go through [`Google::send`].

use std::sync::Arc;

use async_trait::async_trait;
use gcp_bigquery_client::auth::Authenticator;
use gcp_bigquery_client::client_builder::ClientBuilder;
use gcp_bigquery_client::error::BQError;
use gcp_bigquery_client::yup_oauth2;

use super::error::GoogleError;
use super::identity::TokenProvider;
use super::{Google, Service};
use crate::cloud::failure::{Effect, Failure};
use crate::domain::sighting::FailureKind;

/// BigQuery (BigQuery API reference: base URL, OAuth scopes). The scope allows queries and table metadata.
pub const BIGQUERY: Service = Service {
    name: "bigquery",
    title: "BigQuery",
    base_url: "https://bigquery.googleapis.com/bigquery/v2",
    scope: "https://www.googleapis.com/auth/bigquery",
};

impl Google {
    /// Returns the client of the BigQuery crate. The caller must count its calls.
    ///
    /// # Errors
    ///
    /// The crate's own error. It makes no connection yet.
    pub async fn bigquery(&self) -> Result<gcp_bigquery_client::Client, BQError> {
        ClientBuilder::new()
            .with_v2_base_url(self.base_url(&BIGQUERY).to_owned())
            .with_client(self.http.clone())
            .build_from_authenticator(Arc::new(self.tokens.clone()))
            .await
    }
}

#[async_trait]
impl Authenticator for TokenProvider {
    async fn access_token(&self) -> Result<String, BQError> {
        match self.get().await {
            Ok(token) => Ok(token.unwrap_or_default()),
            Err(error) => {
                let kind = match &error {
                    GoogleError::TimedOut { .. } | GoogleError::TokenTimedOut(..) => {
                        std::io::ErrorKind::TimedOut
                    }
                    GoogleError::TokenDenied(_) | GoogleError::Credentials(_) => {
                        std::io::ErrorKind::PermissionDenied
                    }
                    GoogleError::TokenFetchFailed(_)
                    | GoogleError::InvalidRequest { .. }
                    | GoogleError::Unreachable { .. }
                    | GoogleError::ConnectionLost { .. }
                    | GoogleError::TooLarge { .. } => std::io::ErrorKind::Other,
                };
                let error = std::io::Error::new(kind, error);
                Err(yup_oauth2::Error::LowLevelError(error).into())
            }
        }
    }
}

/// Classifies an error of the crate's client.
impl From<&BQError> for Failure {
    fn from(error: &BQError) -> Self {
        let (kind, effect) = match error {
            BQError::ResponseError { error } => {
                let reason = error.error.errors.first().and_then(|first| first.get("reason"));
                let status = u16::try_from(error.error.code).unwrap_or(0);
                return Self::of_reason(status, reason.map_or("", String::as_str), &error.error.message);
            }
            BQError::RequestError(error) if error.is_connect() => (FailureKind::Unreachable, Effect::NotSent),
            BQError::RequestError(error) if error.is_timeout() => (FailureKind::Timeout, Effect::Unknown),
            BQError::RequestError(error) if error.is_decode() => (FailureKind::Garbled, Effect::Unknown),
            BQError::YupAuthError(yup_oauth2::Error::LowLevelError(error)) => match error.kind() {
                std::io::ErrorKind::TimedOut => (FailureKind::Timeout, Effect::NotSent),
                std::io::ErrorKind::PermissionDenied => (FailureKind::Denied, Effect::NotSent),
                _ => (FailureKind::Unreachable, Effect::NotSent),
            },
            _ => (FailureKind::Error, Effect::Unknown),
        };
        Self::new(kind, effect, error.to_string())
    }
}
