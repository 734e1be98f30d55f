//! Counts calls by service, operation and result.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use super::aws::Session;
use super::bounded::bound;
use super::failure::answerer::Answerer;
use super::failure::aws::{of_connector, of_response, refuses_credentials};
use super::failure::unreached::{Directory, Obstacle, authority};
use super::failure::{Failure, find};
use super::pending;
use crate::domain::sighting::FailureKind;

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum CallResult {
    Ok,
    /// The call failed, with the kind of failure that the page also shows.
    Failed(FailureKind),
}

impl CallResult {
    /// Returns the result of a call from the value that its caller received.
    #[must_use]
    pub fn of<T>(result: &Result<T, Failure>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(failure) => Self::Failed(failure.kind),
        }
    }

    /// Returns the value of the metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => kind.as_str(),
        }
    }
}

impl fmt::Display for CallResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Counts = BTreeMap<(&'static str, String, CallResult), u64>;

/// A counter of calls. Clones share one counter.
///
/// A mutex, because calls end on any thread and a scrape reads them all at once; it is held for one lookup, a
/// few times a second.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<Counts>>);

impl Calls {
    /// Counts one call.
    pub fn count(&self, service: &'static str, operation: &str, result: CallResult) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((service, operation.to_owned(), result)).or_default() += 1;
    }

    /// Returns how often these operations of a service were called so far, whatever the result.
    #[must_use]
    pub fn total(&self, service: &str, operations: &[&str]) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_service = counts
            .iter()
            .filter(|((name, operation, _), _)| *name == service && operations.contains(&operation.as_str()));
        of_service.map(|(_, count)| count).sum()
    }

    /// Returns all counts so far, ordered by service, operation and result.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, String, CallResult, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((service, operation, result), count)| (*service, operation.clone(), *result, *count))
            .collect()
    }
}

/// Counts every attempt of an SDK client in [`Calls`]. It sees every answer, so it also bounds them, and has credentials
/// replaced that were refused.
#[derive(Debug)]
pub struct CountCalls {
    pub(super) service: &'static str,
    pub(super) calls: Calls,
    /// Whether the endpoint of the service is configured as http.
    pub(super) plain_http: bool,
    /// Who should answer; the host is known when a call is made.
    pub(super) answerer: Answerer,
    /// The credentials that sign the calls.
    pub(super) session: Session,
    /// Which keys name which hosts.
    pub(super) directory: Arc<Directory>,
}

/// A call would have left unencrypted. The SDK reads endpoints of single services from variables and profiles,
/// too. Its clients of metadata and container credentials, which are plain http on the machine itself, do not
/// come here.
#[derive(Debug, thiserror::Error)]
#[error("{host} is not reached over https; if that is intended, set it as aws.endpoints.{service}")]
struct NotEncrypted {
    host: String,
    service: &'static str,
}

impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    // The host is stored now, because the request is no longer available when the answer arrives.
    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let address = reqwest::Url::parse(context.request().uri()).ok();
        if let Some(address) = &address
            && address.scheme() == "http"
            && !self.plain_http
        {
            let host = address.host_str().unwrap_or_default().to_owned();
            return Err(NotEncrypted { host, service: self.service }.into());
        }
        let operation = config.load::<Metadata>().map_or("unknown", Metadata::name).to_owned();
        if let Some(host) = authority(context.request().uri()) {
            pending::sent(&operation, &host, || self.directory.advice(&host, Obstacle::Unanswered));
        }
        if let Some(host) = address.as_ref().and_then(reqwest::Url::host_str) {
            let host = Some(host.to_owned());
            config.interceptor_state().store_put(Answerer { host, ..self.answerer.clone() });
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answerer: Option<Answerer> = config.load::<Answerer>().cloned();
        if let Some(answerer) = answerer {
            context.response_mut().add_extension(answerer);
        }
        let operation = config.load::<Metadata>().map_or("unknown", Metadata::name);
        bound(context.response_mut(), operation);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("unknown", Metadata::name);
        // Whoever tells of a call that was not answered still needs to know to whom it went.
        if context.response().is_some() {
            pending::ended(operation);
        }
        let result = match context.output_or_error() {
            Some(Ok(_)) => CallResult::Ok,
            None => CallResult::Failed(FailureKind::Error),
            // Nothing was sent; the failed call for credentials is counted where it was made.
            Some(Err(error)) if find::<CredentialsError>(error).is_some() => return Ok(()),
            Some(Err(error)) if error.is_timeout_error() => CallResult::Failed(FailureKind::Timeout),
            Some(Err(error)) => CallResult::Failed(match (error.as_connector_error(), context.response()) {
                (Some(connector), _) => of_connector(connector),
                (None, Some(response)) => of_response(response),
                (None, None) => FailureKind::Error,
            }),
        };
        if context.response().is_some_and(refuses_credentials) {
            self.session.refused();
        }
        self.calls.count(self.service, operation, result);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_use_the_same_counter() {
        let calls = Calls::default();
        calls.clone().count("kinesis", "GetRecords", CallResult::Ok);
        calls.count("kinesis", "GetRecords", CallResult::Ok);
        assert_eq!(calls.snapshot(), [("kinesis", "GetRecords".to_owned(), CallResult::Ok, 2)]);
    }
}
