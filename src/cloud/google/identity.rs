//! Access tokens for Google services, from the configured credentials.
//!
//! One token serves all services: it is requested with the scopes of all services in use. Every token fetch
//! has a timeout, because the token client has none of its own and could hang forever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gcp_bigquery_client::yup_oauth2;
use tokio::sync::Mutex;
use yup_oauth2::authenticator::{
    ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsTypes,
};
use yup_oauth2::authorized_user::AuthorizedUserSecret;

use super::error::GoogleError;
use super::federation::Federation;
use super::token_client::{TokenAuthenticator, token_client};
use super::{GoogleSettings, check_token_url};
use crate::cloud::failure::causes;
use crate::cloud::proxy::Proxy;
use crate::cloud::renewal::{Begin, Renewal};

/// Where credentials for Google come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// The file named by `GOOGLE_APPLICATION_CREDENTIALS`, else gcloud's credentials file, else the metadata
    /// server.
    #[default]
    ApplicationDefault,
    /// A credentials file: a service account key or authorized-user credentials.
    ServiceAccountFile(PathBuf),
    /// Our AWS identity, which Google trusts according to this `external_account` file (not a secret).
    WorkloadIdentity(PathBuf),
    /// No token, for emulators.
    None,
}

/// Whether a cached token may be returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cache {
    Use,
    Skip,
}

/// Fetches tokens and caches them until shortly before they expire.
#[derive(Clone)]
pub(super) struct TokenProvider {
    source: TokenSource,
    scopes: Arc<[&'static str]>,
    timeout: Duration,
    refusal: Arc<Refusal>,
}

/// Whether the cached token was refused, although it has not expired.
#[derive(Default)]
struct Refusal {
    renewal: Renewal,
    /// Set until a new token was fetched.
    stale: AtomicBool,
    // A tokio mutex, held while a token is fetched, so that concurrent callers share one fetch.
    fetching: Mutex<()>,
}

/// Where a token comes from. The variants follow [`Auth`]; both kinds of file and the metadata server are
/// behind the crate's authenticator.
#[derive(Clone)]
enum TokenSource {
    None,
    Authenticator(TokenAuthenticator),
    Federation(Arc<Federation>),
}

impl TokenProvider {
    /// Returns a provider of tokens that are valid for all of `scopes`.
    pub(super) async fn new(
        settings: &GoogleSettings,
        scopes: Arc<[&'static str]>,
        http: &reqwest::Client,
    ) -> Result<Self, GoogleError> {
        let source = match &settings.auth {
            Auth::None => TokenSource::None,
            Auth::ServiceAccountFile(path) => TokenSource::Authenticator(from_file(path, settings).await?),
            Auth::WorkloadIdentity(path) => {
                let federation =
                    Federation::new(path, settings.aws.clone(), scopes.clone(), http.clone()).await?;
                TokenSource::Federation(Arc::new(federation))
            }
            Auth::ApplicationDefault => {
                TokenSource::Authenticator(match application_default_credentials_file() {
                    Some(path) => from_file(&path, settings).await?,
                    None => from_metadata_server().await?,
                })
            }
        };
        Ok(Self { source, scopes, timeout: settings.timeouts.token, refusal: Arc::default() })
    }

    /// Returns a valid token, cached or fetched; `None` if no token is needed.
    pub(super) async fn get(&self) -> Result<Option<String>, GoogleError> {
        tokio::time::timeout(self.timeout, self.fetch())
            .await
            .map_err(|_| GoogleError::TokenTimedOut(self.timeout))?
    }

    /// Notes that a service refused the token. The next call fetches a new one: at once, then at most once a minute.
    pub(super) fn refused(&self) {
        let Some(begin) = self.refusal.renewal.begin() else { return };
        if begin == Begin::First {
            tracing::warn!("the Google access token was refused; a new one is fetched");
        }
        self.refusal.stale.store(true, Ordering::Relaxed);
    }

    async fn fetch(&self) -> Result<Option<String>, GoogleError> {
        let stale = || self.refusal.stale.load(Ordering::Relaxed);
        if stale() {
            let _fetching = self.refusal.fetching.lock().await;
            if stale() {
                let token = self.token(Cache::Skip).await?;
                self.refusal.stale.store(false, Ordering::Relaxed);
                return Ok(token);
            }
        }
        self.token(Cache::Use).await
    }

    async fn token(&self, cache: Cache) -> Result<Option<String>, GoogleError> {
        let authenticator = match &self.source {
            TokenSource::None => return Ok(None),
            TokenSource::Federation(federation) => return federation.token(cache).await.map(Some),
            TokenSource::Authenticator(authenticator) => authenticator,
        };
        let token = match cache {
            Cache::Use => authenticator.token(&self.scopes).await,
            Cache::Skip => authenticator.force_refreshed_token(&self.scopes).await,
        };
        let token = token.map_err(|error| match &error {
            yup_oauth2::Error::AuthError(denied) => GoogleError::TokenDenied(denied.to_string()),
            other => GoogleError::TokenFetchFailed(causes(other)),
        })?;
        let token = token.token().ok_or_else(|| {
            GoogleError::TokenFetchFailed("the token server's response contains no token".to_owned())
        })?;
        Ok(Some(token.to_owned()))
    }
}

/// Returns the file with the application default credentials, if there is one.
fn application_default_credentials_file() -> Option<PathBuf> {
    let from_variable = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    from_variable.or_else(|| {
        let home = std::env::var_os("HOME")?;
        let file = Path::new(&home).join(".config/gcloud/application_default_credentials.json");
        file.exists().then_some(file)
    })
}

async fn from_file(path: &Path, settings: &GoogleSettings) -> Result<TokenAuthenticator, GoogleError> {
    // Error messages never quote the file's content, because it is secret.
    let unusable = |reason: String| GoogleError::Credentials(format!("{}: {reason}", path.display()));
    let text = tokio::fs::read_to_string(path).await.map_err(|error| unusable(error.to_string()))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unusable(format!("not JSON: {error}")))?;
    let client = token_client(&settings.proxy).map_err(|error| unusable(error.to_string()))?;
    let authenticator = match json.get("type").and_then(serde_json::Value::as_str) {
        Some("service_account") | None => {
            let key = yup_oauth2::parse_service_account_key(&text)
                .map_err(|error| unusable(format!("not a service account key: {error}")))?;
            check_token_url(&key.token_uri).map_err(&unusable)?;
            yup_oauth2::ServiceAccountAuthenticator::with_client(key, client).build().await
        }
        Some("authorized_user") => {
            let secret: AuthorizedUserSecret = serde_json::from_value(json)
                .map_err(|error| unusable(format!("not authorized-user credentials: {error}")))?;
            yup_oauth2::authenticator::AuthorizedUserAuthenticator::with_client(secret, client).build().await
        }
        Some(other) => {
            return Err(unusable(format!(
                "credentials of type `{other}` cannot be used with this auth method; use a service account key, or auth = \"workload_identity\""
            )));
        }
    };
    authenticator.map_err(|error| unusable(error.to_string()))
}

async fn from_metadata_server() -> Result<TokenAuthenticator, GoogleError> {
    let unusable = |error: std::io::Error| GoogleError::Credentials(error.to_string());
    let options = yup_oauth2::ApplicationDefaultCredentialsFlowOpts::default();
    // Never through a proxy: the server is on the machine itself.
    let client = token_client(&Proxy::default()).map_err(unusable)?;
    let found = ApplicationDefaultCredentialsAuthenticator::with_client(options, client).await;
    let authenticator = match found {
        ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => builder.build().await,
        ApplicationDefaultCredentialsTypes::ServiceAccount(builder) => builder.build().await,
    };
    authenticator.map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::calls::Calls;
    use crate::cloud::google::Google;

    #[tokio::test]
    async fn unusable_credentials_are_named_but_never_shown() {
        let path =
            std::env::temp_dir().join(format!("traceprobe-credentials-{:016x}.json", fastrand::u64(..)));
        std::fs::write(&path, r#"{"type": "external_account", "private_key": "hush"}"#).unwrap();
        let settings =
            GoogleSettings { auth: Auth::ServiceAccountFile(path.clone()), ..GoogleSettings::default() };
        let error = Google::new(&settings, Calls::default()).await.unwrap_err();
        std::fs::remove_file(&path).unwrap();
        let text = error.to_string();
        assert!(text.contains("`external_account`") && text.contains("traceprobe-credentials"));
        assert!(!text.contains("hush"), "{text}");
    }
}
