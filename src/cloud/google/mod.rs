//! Calls to Google's REST APIs.
//!
//! [`Google`] holds what all services share: connections, credentials, timeouts and the call counter. A
//! [`Service`] is a constant, so that a new one needs no change here. Nothing is retried. Redirects are not
//! followed, because these APIs send none and a token must not go elsewhere. Nothing is decompressed, because
//! the bytes of an object are needed as they are stored.

mod aws_identity;
mod bigquery;
mod credentials;
mod error;
mod external_account;
mod fields;
mod identity;
mod impersonation;
mod metadata_server;
mod refresh_token;
mod service_account;
mod token_server;
mod variables;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::aws::http_date;
use super::calls::{CallResult, Calls};
use super::failure::answerer::{Answerer, Endpoint};
use super::failure::unreached::{Directory, Obstacle, authority};
use super::failure::{Effect, Failure, causes};
use super::pending;
use super::proxy::Proxy;
use crate::cloud::bounded;
use crate::domain::sighting::FailureKind;
use crate::domain::time::Timestamp;
use credentials::{DEFAULT_UNIVERSE, Found};
use identity::TokenProvider;

pub use bigquery::BIGQUERY;
pub use credentials::Document;
pub use error::GoogleError;
pub use identity::Auth;
pub use metadata_server::NO_FILE;
pub use variables::GoogleVariables;

/// Longest time that a streamed response may take from the first byte to the last.
const MAX_STREAM: Duration = Duration::from_hours(1);

/// Names the project whose quota a call is counted against (Google Cloud APIs, system parameters).
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// A Google API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// Name in the call counter, and key of its endpoint in the settings.
    pub name: &'static str,
    /// Name in error messages.
    pub title: &'static str,
    /// The base URL, without a slash at its end.
    pub base_url: &'static str,
    /// The OAuth scope that its tokens need.
    pub scope: &'static str,
}

/// How to reach Google.
#[derive(Clone, Debug, Default)]
pub struct GoogleSettings {
    /// The services in use; one token is valid for all of them.
    pub services: Vec<Service>,
    /// Replacements of base URLs by the name of the service, such as `http://127.0.0.1:9050/bigquery/v2`.
    pub endpoints: HashMap<&'static str, String>,
    /// Whether that of BigQuery is set by its short form, `gcp.endpoint`.
    pub is_short_endpoint: bool,
    /// Where credentials come from.
    pub auth: Auth,
    /// Time limits of every call.
    pub timeouts: GoogleTimeouts,
    /// What the environment says.
    pub variables: GoogleVariables,
    /// Our AWS identity; needed only for credentials that rest on it.
    pub aws: Option<SdkConfig>,
    /// How calls leave.
    pub proxy: Proxy,
}

impl GoogleSettings {
    /// The key that has the endpoint of a service.
    #[must_use]
    pub fn endpoint_key(&self, service: &str) -> String {
        if self.is_short_endpoint && service == BIGQUERY.name {
            return "gcp.endpoint".to_owned();
        }
        format!("gcp.endpoints.{service}")
    }

    /// Where the credentials are written: the key of the configuration, with the variable that sets it, or the variable of
    /// Google's own libraries. `None` if they are in no document.
    #[must_use]
    pub fn credentials_from(&self) -> Option<String> {
        let variables = &self.variables;
        let key = |key: &str, is_set: bool, variable: &str| {
            if is_set { format!("{variable}, which sets {key}") } else { key.to_owned() }
        };
        match &self.auth {
            Auth::None => None,
            Auth::ServiceAccount(document) | Auth::WorkloadIdentity(document) => Some(match document {
                Document::File(_) => key("gcp.credentials_file", variables.gives_file, variables::FILE),
                Document::Text(_) => key("gcp.credentials", variables.gives_text, variables::TEXT),
            }),
            Auth::ApplicationDefault if variables.credentials_file.is_some() => {
                Some("GOOGLE_APPLICATION_CREDENTIALS, since gcp.auth is \"adc\"".to_owned())
            }
            Auth::ApplicationDefault => {
                let gcloud = variables.gcloud_file.as_ref().filter(|path| path.exists())?;
                Some(format!("gcloud's file {}, since gcp.auth is \"adc\"", gcloud.display()))
            }
        }
    }
}

/// Time limits of a call.
#[derive(Clone, Copy, Debug)]
pub struct GoogleTimeouts {
    /// Time to connect, including TLS.
    pub connect: Duration,
    /// Time of one call from start to end, or to the first byte of a streamed response. Must be longer than a
    /// query may wait for its result.
    pub request: Duration,
    /// Time between two chunks of a streamed response.
    pub idle: Duration,
    /// Time to fetch a token.
    pub token: Duration,
}

impl Default for GoogleTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(20),
            idle: Duration::from_secs(10),
            token: Duration::from_secs(10),
        }
    }
}

/// One call to a service.
#[derive(Debug)]
pub struct Request<'a> {
    service: &'a Service,
    operation: &'a str,
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    headers: HeaderMap,
    body: Option<Result<Vec<u8>, serde_json::Error>>,
}

impl<'a> Request<'a> {
    /// Returns a GET request, counted as `operation`. `path` begins with a slash and is appended to the base
    /// URL; its parts must be percent-encoded already, as by [`path_of`].
    #[must_use]
    pub fn get(service: &'a Service, operation: &'a str, path: impl Into<String>) -> Self {
        Self {
            service,
            operation,
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// Returns a POST request with a JSON body; see [`Request::get`].
    #[must_use]
    pub fn post<B: Serialize>(
        service: &'a Service,
        operation: &'a str,
        path: impl Into<String>,
        body: &B,
    ) -> Self {
        Self {
            method: Method::POST,
            body: Some(serde_json::to_vec(body)),
            ..Self::get(service, operation, path)
        }
    }

    /// Adds query parameters, which are encoded here.
    #[must_use]
    pub fn query(mut self, query: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        self.query.extend(query);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Joins parts to a path and percent-encodes each of them, such as an object name with slashes in it.
#[must_use]
pub fn path_of<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    parts.into_iter().flat_map(|part| ["/".to_owned(), percent_encoded(part)]).collect()
}

/// A successful response (2xx) with its whole body.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// Parses the body.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it makes no sense.
    pub fn parse<T, E: std::error::Error>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, Failure> {
        parse(&self.body).map_err(|error| {
            let text = format!("the answer makes no sense: {error}");
            let failure = Failure::new(FailureKind::Garbled, Effect::Unknown, text);
            Failure { status: Some(self.status), ..failure }
        })
    }

    /// When it was answered by the service's clock, cut to the second; `None` if it does not say.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        http_date(self.headers.get(DATE)?.to_str().ok()?)
    }
}

/// A successful response (2xx) whose body is read chunk by chunk.
#[derive(Debug)]
pub struct Stream {
    /// The HTTP status.
    pub status: u16,
    pub headers: HeaderMap,
    response: reqwest::Response,
    service: &'static str,
    directory: Arc<Directory>,
    idle: Duration,
}

impl Stream {
    /// Returns the next chunk as it was received; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Failure`] if nothing arrives within the idle timeout, or the body ends early.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let error = match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => GoogleError::from_request_error(self.service, &self.directory, &error),
            Err(_) => {
                GoogleError::TimedOut { service: self.service, cause: format!("no data for {:?}", self.idle) }
            }
        };
        Err(error.into())
    }
}

/// Calls Google services. Clones share connections, tokens and counters.
#[derive(Clone)]
pub struct Google {
    http: reqwest::Client,
    /// The quota project and the universe of the credentials.
    scope: Arc<str>,
    // Behind an `Arc`, because every observer has a clone.
    endpoints: Arc<HashMap<&'static str, String>>,
    /// Those that are configured, with their keys.
    configured: Arc<HashMap<&'static str, Endpoint>>,
    timeouts: GoogleTimeouts,
    tokens: TokenProvider,
    calls: Calls,
    /// Which keys name which hosts.
    directory: Arc<Directory>,
}

impl Google {
    /// Reads the credentials. The first token is fetched with the first call.
    ///
    /// # Errors
    ///
    /// [`GoogleError::Credentials`] if the file cannot be read or its type is not supported.
    pub async fn new(settings: &GoogleSettings, calls: Calls) -> Result<Self, GoogleError> {
        super::install_tls();
        let Found { credentials, quota_project, universe } = credentials::find(settings).await?;
        let mut headers = HeaderMap::new();
        let scope = format!("{} in {universe}", quota_project.as_deref().unwrap_or_default());
        if let Some(project) = quota_project {
            let value = HeaderValue::try_from(&project).map_err(|_| {
                GoogleError::Credentials(format!(
                    "their quota project {project:?} is not the id of a project"
                ))
            })?;
            headers.insert(QUOTA_PROJECT, value);
        }
        // No token leaves unencrypted. An emulator's endpoint is configured as http.
        let https_only = settings.endpoints.values().all(|url| is_https(url));
        let http = client(settings, https_only, headers)?;
        // `check_token_url` has seen its URLs, and may have found one on this machine.
        let token_http = client(settings, false, HeaderMap::new())?;
        let of_universe = settings
            .services
            .iter()
            .map(|service| (service.name, service.base_url.replace(DEFAULT_UNIVERSE, &universe)));
        let keys = settings.endpoints.iter().map(|(name, url)| (url.clone(), settings.endpoint_key(name)));
        let directory = Arc::new(Directory::new(keys, settings.proxy.is_set()));
        let of_keys = settings.endpoints.iter();
        let of_keys = of_keys.map(|(name, url)| (*name, Endpoint::new(settings.endpoint_key(name), url)));
        let configured = settings.endpoints.iter();
        let configured = configured.map(|(name, url)| (*name, url.trim_end_matches('/').to_owned()));
        Ok(Self {
            endpoints: Arc::new(of_universe.chain(configured).collect()),
            configured: Arc::new(of_keys.collect()),
            timeouts: settings.timeouts,
            tokens: TokenProvider::new(settings, credentials, token_http),
            http,
            scope: scope.into(),
            calls,
            directory,
        })
    }

    /// Returns the counter of calls.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What calls take from the credentials besides tokens, as text: [`Google::in_place_of`] does not change it.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Has all clones of `present` use the credentials of this one, and shares them from then on.
    #[must_use]
    pub fn in_place_of(self, present: &Self) -> Self {
        Self { tokens: self.tokens.in_place_of(&present.tokens), ..self }
    }

    fn base_url(&self, service: &Service) -> &str {
        self.endpoints.get(service.name).map_or(service.base_url, String::as_str)
    }

    /// Makes one call and reads the whole response. Counts the call and does not retry.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no response, or one that is not a success (2xx).
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let (service, operation) = (request.service.name, request.operation);
        let answer = self.try_send(request).await;
        self.calls.count(service, operation, CallResult::of(&answer));
        answer
    }

    /// [`Google::send`], and `parse` for the body of the answer: one that it cannot read is a failed call.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is no answer, any other than a success, or one that makes no sense.
    pub async fn read<T, E: std::error::Error>(
        &self,
        request: Request<'_>,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, Failure> {
        self.interpret(request, |answer| answer.parse(parse)).await
    }

    /// [`Google::send`], and `interpret` for the answer: one that it takes for a failure, such as an error
    /// inside a success, is a failed call.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is no answer, any other than a success, or one that is interpreted as a
    /// failure.
    pub async fn interpret<T>(
        &self,
        request: Request<'_>,
        interpret: impl FnOnce(Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (service, operation) = (request.service, request.operation);
        let answer = self.try_send(request).await.and_then(|answer| {
            let is_json = answer.body.trim_ascii_start().starts_with(b"{");
            let result = interpret(answer);
            result.map_err(|failure| if is_json { failure } else { self.of_endpoint(service, failure) })
        });
        self.calls.count(service.name, operation, CallResult::of(&answer));
        answer
    }

    /// Makes one call and returns the body as a stream, so that a large object need not fit into memory.
    /// Counts the call when its status is known, and does not retry.
    ///
    /// # Errors
    ///
    /// [`Failure`] if there is no response, or one that is not a success (2xx).
    pub async fn open(&self, request: Request<'_>) -> Result<Stream, Failure> {
        let (service, operation) = (*request.service, request.operation);
        let opening = tokio::time::timeout(self.timeouts.request, self.try_open(request));
        let opened = opening.await.unwrap_or_else(|_| {
            let cause = format!("no first byte within {:?}", self.timeouts.request);
            Err(GoogleError::TimedOut { service: service.title, cause }.into())
        });
        self.calls.count(service.name, operation, CallResult::of(&opened));
        opened
    }

    async fn try_send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let (of, service) = (request.service, request.service.title);
        let operation = request.operation.to_owned();
        let response = self.noted(&operation, self.prepare(request).await?).await;
        let response =
            response.map_err(|error| GoogleError::from_request_error(service, &self.directory, &error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if !response.status().is_success() {
            return Err(self.refused(of, response).await?);
        }
        let body = whole(service, response, &self.directory).await?;
        Ok(Answer { status, headers, body })
    }

    async fn try_open(&self, request: Request<'_>) -> Result<Stream, Failure> {
        let (of, service) = (request.service, request.service.title);
        let operation = request.operation.to_owned();
        let response = self.noted(&operation, self.prepare(request).await?.timeout(MAX_STREAM)).await;
        let response =
            response.map_err(|error| GoogleError::from_request_error(service, &self.directory, &error))?;
        if !response.status().is_success() {
            return Err(self.refused(of, response).await?);
        }
        Ok(Stream {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            response,
            service,
            directory: self.directory.clone(),
            idle: self.timeouts.idle,
        })
    }

    /// Sends a request, and notes it for whoever gives up waiting for its answer.
    async fn noted(
        &self,
        operation: &str,
        request: reqwest::RequestBuilder,
    ) -> reqwest::Result<reqwest::Response> {
        let (client, request) = request.build_split();
        let request = request?;
        let host = authority(request.url().as_str()).unwrap_or_default();
        pending::sent(operation, &host, || self.directory.advice(&host, Obstacle::Unanswered));
        let answer = client.execute(request).await;
        pending::ended(operation);
        answer
    }

    async fn prepare(&self, request: Request<'_>) -> Result<reqwest::RequestBuilder, GoogleError> {
        let Request { service, operation: _, method, path, query, headers, body } = request;
        let url = format!("{}{path}", self.base_url(service));
        let mut prepared = self.http.request(method, url).query(&query).headers(headers);
        if let Some(body) = body {
            let body = body.map_err(|error| GoogleError::InvalidRequest {
                service: service.title,
                cause: error.to_string(),
            })?;
            prepared = prepared.header(CONTENT_TYPE, "application/json").body(body);
        }
        if let Some(token) = self.tokens.get().await? {
            prepared = prepared.bearer_auth(token);
        }
        Ok(prepared)
    }

    /// Reads and classifies an error response. A refused token is fetched again by the next call.
    async fn refused(&self, service: &Service, response: reqwest::Response) -> Result<Failure, GoogleError> {
        let status = response.status().as_u16();
        // Of the error tables of both services, this is the status of a token that is not or no longer valid.
        if status == 401 {
            self.tokens.refused();
        }
        let host = response.url().host_str().map(str::to_owned);
        // Google does not use the other form, a date.
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = whole(service.title, response, &self.directory).await?;
        Ok(Failure::of_google(status, &self.answerer(service, host), &body, retry_after))
    }

    /// Who should answer the calls to a service.
    fn answerer(&self, service: &Service, host: Option<String>) -> Answerer {
        let endpoint = self.configured.get(service.name).cloned();
        Answerer { title: service.title, host, usual: service.base_url.to_owned(), endpoint }
    }

    /// A success of a configured endpoint that is no JSON is not an answer of the service.
    fn of_endpoint(&self, service: &Service, failure: Failure) -> Failure {
        if !self.configured.contains_key(service.name) {
            return failure;
        }
        Failure { text: self.answerer(service, None).unlike(&failure.text), ..failure }
    }
}

impl std::fmt::Debug for Google {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the endpoints: a URL may hold a password.
        f.debug_struct("Google").finish_non_exhaustive()
    }
}

/// Reads the whole body of a response, up to [`bounded::MAX_ANSWER_BYTES`].
async fn whole(
    service: &'static str,
    mut response: reqwest::Response,
    directory: &Directory,
) -> Result<Vec<u8>, GoogleError> {
    let body = bounded::whole(&mut response).await;
    let body = body.map_err(|error| GoogleError::from_request_error(service, directory, &error))?;
    body.ok_or(GoogleError::TooLarge { service })
}

/// Builds an HTTP client that follows no redirects.
fn client(
    settings: &GoogleSettings,
    https_only: bool,
    headers: HeaderMap,
) -> Result<reqwest::Client, GoogleError> {
    let client = settings.proxy.of_client(reqwest::Client::builder()).and_then(|client| {
        client
            .connect_timeout(settings.timeouts.connect)
            .timeout(settings.timeouts.request)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(https_only)
            .default_headers(headers)
            // Off by default, but another crate in the tree may enable the features.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .build()
    });
    client.map_err(|error| GoogleError::Credentials(causes(&error)))
}

/// Whether a URL is encrypted. Schemes are case-insensitive (RFC 3986, section 3.1).
fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Percent-encodes all characters except the unreserved ones of RFC 3986.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
