//! Access tokens for Google services, from the configured credentials.
//!
//! One token serves all services: it is requested with the scopes of all services in use. It is fetched again shortly
//! before it expires. If that fails, the present one is used for as long as it is good, so that an outage of the token
//! server is not one of the services. Every fetch has a timeout, because a call waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::GoogleSettings;
use super::credentials::{Credentials, Document};
use super::error::GoogleError;
use super::token_server::Grant;
use crate::cloud::renewal::{Begin, Renewal};

/// A token is fetched again when it expires in less than this. The metadata server hands out the same token until about
/// 4 minutes before it expires (google-auth-library-python, REFRESH_THRESHOLD).
const RENEW_BEFORE: Duration = Duration::from_secs(225);
/// Time between two attempts to replace a token that is still good.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Where credentials for Google come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// The file named by `GOOGLE_APPLICATION_CREDENTIALS`, else gcloud's credentials file, else the metadata
    /// server.
    #[default]
    ApplicationDefault,
    /// A service account key, or the login of a person.
    ServiceAccount(Document),
    /// Our AWS identity, or another that Google trusts, according to this `external_account` document.
    WorkloadIdentity(Document),
    /// No token, for emulators.
    None,
}

/// Fetches tokens and caches them until shortly before they expire. Clones share the cache.
#[derive(Clone)]
pub(super) struct TokenProvider {
    /// `None` if calls need no token. A lock, because a reload replaces them; held to clone an `Arc`.
    credentials: Arc<RwLock<Option<Arc<Credentials>>>>,
    scopes: Arc<[&'static str]>,
    http: reqwest::Client,
    timeout: Duration,
    cache: Arc<Cache>,
}

#[derive(Default)]
struct Cache {
    // A mutex, because calls come from any thread; held to copy a token.
    token: Mutex<Option<Cached>>,
    // A tokio mutex, held while a token is fetched, so that concurrent callers share one fetch.
    fetching: tokio::sync::Mutex<()>,
    renewal: Renewal,
}

struct Cached {
    token: String,
    /// From then on, it is to be replaced.
    renew_at: Instant,
    /// From then on, it is not valid.
    until: Instant,
    /// Whether the log says that it cannot be replaced.
    is_told: bool,
}

impl TokenProvider {
    /// Returns a provider of tokens that are valid for all scopes of the services in use.
    pub(super) fn new(
        settings: &GoogleSettings,
        credentials: Option<Credentials>,
        http: reqwest::Client,
    ) -> Self {
        Self {
            credentials: Arc::new(RwLock::new(credentials.map(Arc::new))),
            scopes: settings.services.iter().map(|service| service.scope).collect(),
            http,
            timeout: settings.timeouts.token,
            cache: Arc::default(),
        }
    }

    /// Returns a valid token, cached or fetched; `None` if no token is needed.
    pub(super) async fn get(&self) -> Result<Option<String>, GoogleError> {
        let Some(credentials) = self.credentials() else { return Ok(None) };
        if let Some(token) = self.cache.fresh() {
            return Ok(Some(token));
        }
        let error = match tokio::time::timeout(self.timeout, self.fetch(&credentials)).await {
            Ok(Ok(token)) => return Ok(Some(token)),
            Ok(Err(error)) => error,
            Err(_) => GoogleError::TokenTimedOut(self.timeout, credentials.hint()),
        };
        self.cache.keep(&error).map(Some).ok_or(error)
    }

    /// Has all clones of `present` use the credentials of this one, and shares them from then on. The next call
    /// fetches a new token.
    pub(super) fn in_place_of(self, present: &Self) -> Self {
        *present.credentials.write().unwrap_or_else(PoisonError::into_inner) = self.credentials();
        *present.cache.token() = None;
        Self { credentials: present.credentials.clone(), ..self }
    }

    fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops a token that a service refused. The next call fetches a new one: at once, then at most once a minute.
    pub(super) fn refused(&self) {
        let Some(begin) = self.cache.renewal.begin() else { return };
        if begin == Begin::First {
            tracing::warn!("the Google access token was refused; a new one is fetched");
        }
        *self.cache.token() = None;
    }

    async fn fetch(&self, credentials: &Credentials) -> Result<String, GoogleError> {
        let _fetching = match self.cache.fetching.try_lock() {
            Ok(fetching) => fetching,
            Err(_) => match self.cache.good() {
                // Somebody else is fetching already, and nobody has to wait for it.
                Some(token) => return Ok(token),
                None => self.cache.fetching.lock().await,
            },
        };
        if let Some(token) = self.cache.fresh() {
            return Ok(token);
        }
        let requested = Instant::now();
        let Grant { token, lasts } = credentials.fetch(&self.http, &self.scopes).await?;
        let until = requested + lasts;
        // A token that lasts minutes only is not fetched for each call.
        let renew_at = until - RENEW_BEFORE.min(lasts / 4);
        *self.cache.token() = Some(Cached { token: token.clone(), renew_at, until, is_told: false });
        Ok(token)
    }
}

impl Cache {
    fn token(&self) -> MutexGuard<'_, Option<Cached>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the token unless it is to be replaced.
    fn fresh(&self) -> Option<String> {
        let now = Instant::now();
        self.token().as_ref().filter(|cached| now < cached.renew_at).map(|cached| cached.token.clone())
    }

    /// Returns the token if it is valid.
    fn good(&self) -> Option<String> {
        let now = Instant::now();
        self.token().as_ref().filter(|cached| now < cached.until).map(|cached| cached.token.clone())
    }

    /// Returns the token if it is still valid, although it could not be replaced. The next attempt comes later.
    fn keep(&self, error: &GoogleError) -> Option<String> {
        let now = Instant::now();
        let mut token = self.token();
        let cached = token.as_mut().filter(|cached| now < cached.until)?;
        if !cached.is_told {
            let left_seconds = (cached.until - now).as_secs();
            tracing::warn!(
                left_seconds,
                %error,
                "cannot renew the Google access token; the present one is used until it expires"
            );
        }
        cached.is_told = true;
        cached.renew_at = now + RETRY_AFTER;
        Some(cached.token.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::{IntoResponse as _, Response};
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::json;

    use super::*;
    use crate::cloud::calls::Calls;
    use crate::cloud::google::{BIGQUERY, Google, GoogleVariables, Request};

    /// What a metadata server does after its first token.
    #[derive(Clone, Copy, PartialEq)]
    enum After {
        Fails,
        Issues,
    }

    type Issued = (Arc<AtomicUsize>, After);

    async fn server(after: After) -> (String, Arc<AtomicUsize>) {
        crate::cloud::install_tls();
        let issued = Arc::new(AtomicUsize::new(0));
        let token = async |State((issued, after)): State<Issued>| -> Response {
            let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
            if number > 1 && after == After::Fails {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            Json(json!({"access_token": format!("token-{number}"), "expires_in": 3600})).into_response()
        };
        let service = async |headers: HeaderMap| {
            let revoked = headers["authorization"] == "Bearer token-1";
            if revoked { StatusCode::UNAUTHORIZED } else { StatusCode::OK }
        };
        let path = "/computeMetadata/v1/instance/service-accounts/default/token";
        let app = Router::new().route(path, get(token)).route("/x", get(service));
        let app = app.with_state((issued.clone(), after));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (host, issued)
    }

    async fn google(host: &str) -> Google {
        let settings = GoogleSettings {
            services: vec![BIGQUERY],
            endpoints: [(BIGQUERY.name, format!("http://{host}"))].into(),
            variables: GoogleVariables { metadata_host: Some(host.to_owned()), ..GoogleVariables::default() },
            ..GoogleSettings::default()
        };
        Google::new(&settings, Calls::default()).await.unwrap()
    }

    /// Lets the cached token be due, and valid for this much longer.
    fn make_due(tokens: &TokenProvider, left: Duration) {
        let mut cached = tokens.cache.token();
        let cached = cached.as_mut().unwrap();
        cached.renew_at = Instant::now();
        cached.until = Instant::now() + left;
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_renewed_is_used_for_as_long_as_it_is_good() {
        let (host, issued) = server(After::Fails).await;
        let tokens = google(&host).await.tokens;
        assert_eq!(tokens.get().await.unwrap().as_deref(), Some("token-1"));
        make_due(&tokens, Duration::from_mins(3));
        for _ in 0..3 {
            assert_eq!(tokens.get().await.unwrap().as_deref(), Some("token-1"));
        }
        assert_eq!(issued.load(Ordering::Relaxed), 2, "the next attempt comes later");
        make_due(&tokens, Duration::ZERO);
        assert!(matches!(tokens.get().await, Err(GoogleError::TokenFetchFailed(_))));
    }

    #[tokio::test]
    async fn every_clone_uses_credentials_that_take_the_place_of_others() {
        let (host, issued) = server(After::Issues).await;
        let (present, read_again) = (google(&host).await, google(&host).await);
        let clone = present.clone();
        assert_eq!(clone.tokens.get().await.unwrap().as_deref(), Some("token-1"));
        let new = read_again.in_place_of(&present);
        assert_eq!(
            clone.tokens.get().await.unwrap().as_deref(),
            Some("token-2"),
            "the old token is not used"
        );
        assert!(Arc::ptr_eq(&new.tokens.credentials, &clone.tokens.credentials));
        assert_eq!(issued.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_token_that_is_good_is_not_kept_waiting_by_another_callers_fetch() {
        let (host, issued) = server(After::Issues).await;
        let tokens = google(&host).await.tokens;
        tokens.get().await.unwrap();
        make_due(&tokens, Duration::from_mins(3));
        let fetching = tokens.cache.fetching.lock().await;
        assert_eq!(tokens.get().await.unwrap().as_deref(), Some("token-1"));
        drop(fetching);
        assert_eq!(tokens.get().await.unwrap().as_deref(), Some("token-2"));
        assert_eq!(issued.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_token_that_is_refused_is_replaced_by_the_next_call() {
        let (host, issued) = server(After::Issues).await;
        let google = google(&host).await;
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = google.send(Request::get(&BIGQUERY, "tables.get", "/x")).await;
            statuses.push(answer.map_or_else(|failure| failure.status, |answer| Some(answer.status)));
        }
        assert_eq!(statuses, [Some(401), Some(200), Some(200)]);
        assert_eq!(issued.load(Ordering::Relaxed), 2);
    }
}
