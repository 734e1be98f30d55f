//! Access tokens for Google services, from the configured credentials.
//!
//! One token serves all services: it is requested with the scopes of all services in use. Every token fetch
//! has a timeout, because the token client has none and would hang forever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gcp_bigquery_client::yup_oauth2;
use yup_oauth2::authenticator::{ApplicationDefaultCredentialsTypes, DefaultAuthenticator};
use yup_oauth2::authorized_user::AuthorizedUserSecret;

use super::GoogleSettings;
use super::error::GoogleError;
use super::federation::Federation;
use crate::cloud::failure::causes;

/// Where credentials for Google come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// The file in `GOOGLE_APPLICATION_CREDENTIALS`, else the file of `gcloud`, else the metadata server.
    #[default]
    ApplicationDefault,
    /// A credentials file: the key of a service account, or the credentials of an authorized user.
    ServiceAccountFile(PathBuf),
    /// Our AWS identity, which Google trusts according to this `external_account` file (not a secret).
    WorkloadIdentity(PathBuf),
    /// No token, for emulators.
    None,
}

/// Fetches tokens and caches them until shortly before they expire.
#[derive(Clone)]
pub(super) struct Tokens {
    source: Source,
    scopes: Arc<[&'static str]>,
    timeout: Duration,
}

#[derive(Clone)]
enum Source {
    Anonymous,
    Crate(DefaultAuthenticator),
    Federation(Arc<Federation>),
}

impl Tokens {
    /// Returns a source of tokens that are valid for all of `scopes`.
    pub(super) async fn new(
        settings: &GoogleSettings,
        scopes: Arc<[&'static str]>,
        http: &reqwest::Client,
    ) -> Result<Self, GoogleError> {
        let source = match &settings.auth {
            Auth::None => Source::Anonymous,
            Auth::ServiceAccountFile(path) => Source::Crate(from_file(path).await?),
            Auth::WorkloadIdentity(path) => {
                let federation =
                    Federation::new(path, settings.aws.clone(), scopes.clone(), http.clone()).await?;
                Source::Federation(Arc::new(federation))
            }
            Auth::ApplicationDefault => Source::Crate(match default_file() {
                Some(path) => from_file(&path).await?,
                None => from_metadata_server().await?,
            }),
        };
        Ok(Self { source, scopes, timeout: settings.timeouts.token })
    }

    /// Returns a valid token, cached or fetched; `None` if no token is needed.
    pub(super) async fn get(&self) -> Result<Option<String>, GoogleError> {
        tokio::time::timeout(self.timeout, self.fetch())
            .await
            .map_err(|_| GoogleError::TokenTimedOut(self.timeout))?
    }

    async fn fetch(&self) -> Result<Option<String>, GoogleError> {
        let source = match &self.source {
            Source::Anonymous => return Ok(None),
            Source::Federation(federation) => return federation.token().await.map(Some),
            Source::Crate(source) => source,
        };
        let token = source.token(&self.scopes).await.map_err(|error| match &error {
            yup_oauth2::Error::AuthError(denied) => GoogleError::TokenDenied(denied.to_string()),
            other => GoogleError::NoToken(causes(other)),
        })?;
        let token = token
            .token()
            .ok_or_else(|| GoogleError::NoToken("the answer of the token server contains none".to_owned()))?;
        Ok(Some(token.to_owned()))
    }
}

/// Returns the file of the application default credentials, if there is one.
fn default_file() -> Option<PathBuf> {
    let named = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    named.or_else(|| {
        let home = std::env::var_os("HOME")?;
        let file = Path::new(&home).join(".config/gcloud/application_default_credentials.json");
        file.exists().then_some(file)
    })
}

async fn from_file(path: &Path) -> Result<DefaultAuthenticator, GoogleError> {
    // Faults never quote the content, which is a secret.
    let fault = |what: String| GoogleError::Credentials(format!("{}: {what}", path.display()));
    let text = tokio::fs::read_to_string(path).await.map_err(|error| fault(error.to_string()))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| fault(format!("not JSON: {error}")))?;
    let built = match json.get("type").and_then(serde_json::Value::as_str) {
        Some("service_account") | None => {
            let key = yup_oauth2::parse_service_account_key(&text)
                .map_err(|error| fault(format!("not the key of a service account: {error}")))?;
            yup_oauth2::ServiceAccountAuthenticator::builder(key).build().await
        }
        Some("authorized_user") => {
            let secret: AuthorizedUserSecret = serde_json::from_value(json)
                .map_err(|error| fault(format!("not the credentials of an authorized user: {error}")))?;
            yup_oauth2::authenticator::AuthorizedUserAuthenticator::builder(secret).build().await
        }
        Some(other) => {
            return Err(fault(format!(
                "credentials of type `{other}` cannot be used with this auth method; use the key of a service account, or auth = \"workload_identity\""
            )));
        }
    };
    built.map_err(|error| fault(error.to_string()))
}

async fn from_metadata_server() -> Result<DefaultAuthenticator, GoogleError> {
    let options = yup_oauth2::ApplicationDefaultCredentialsFlowOpts::default();
    let built =
        match yup_oauth2::authenticator::ApplicationDefaultCredentialsAuthenticator::builder(options).await {
            ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => builder.build().await,
            ApplicationDefaultCredentialsTypes::ServiceAccount(builder) => builder.build().await,
        };
    built.map_err(|error| GoogleError::Credentials(error.to_string()))
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
