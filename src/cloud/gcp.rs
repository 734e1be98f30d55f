//! Calls to Google's REST APIs, of which the probe uses BigQuery's.
//!
//! The BigQuery crate makes the client and names the models, but loses the HTTP status of every answer that is not the
//! JSON it expects (a gateway's page, a bare 429), and with it the difference between "slow down" and "broken". So
//! calls whose failure matters go through [`Gcp::send`], with the same connections, token and counter.
//!
//! Every token fetch has a bound on its time: the token client of the crate has none, and would hang with a silent
//! token server for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use gcp_bigquery_client::auth::Authenticator;
use gcp_bigquery_client::client_builder::ClientBuilder;
use gcp_bigquery_client::error::BQError;
use gcp_bigquery_client::yup_oauth2;
use reqwest::Method;
use serde::Serialize;
use yup_oauth2::authenticator::{ApplicationDefaultCredentialsTypes, DefaultAuthenticator};
use yup_oauth2::authorized_user::AuthorizedUserSecret;

use super::calls::{CallResult, Calls};
use super::federation::Federation;

/// Where BigQuery's REST API lives (BigQuery API reference).
const BIGQUERY_URL: &str = "https://bigquery.googleapis.com/bigquery/v2";

/// What a token must allow: queries and reading table metadata (BigQuery API reference, OAuth scopes).
pub(super) const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/bigquery"];

/// Largest answer that is read, in bytes. BigQuery cuts a page of results at 20 MB at the latest.
const MAX_ANSWER: usize = 32 << 20;

/// How to reach Google.
#[derive(Clone, Debug, Default)]
pub struct GcpSettings {
    /// Replaces the base address of the BigQuery API, as in `http://127.0.0.1:9050/bigquery/v2`.
    pub endpoint: Option<String>,
    /// Who we are.
    pub auth: Auth,
    /// Bounds on every call.
    pub timeouts: GcpTimeouts,
    /// Our AWS identity, needed for [`Auth::WorkloadIdentity`] only.
    pub aws: Option<SdkConfig>,
}

/// Who we are to Google.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// What `GOOGLE_APPLICATION_CREDENTIALS` points to, else the file of `gcloud`, else the metadata server.
    #[default]
    ApplicationDefault,
    /// A credentials file: the key of a service account, or an authorized user's.
    ServiceAccountFile(PathBuf),
    /// Our AWS identity, which Google trusts as this file says (`external_account`). It holds no secret.
    WorkloadIdentity(PathBuf),
    /// Nobody, for emulators.
    None,
}

/// Bounds on a call.
#[derive(Clone, Copy, Debug)]
pub struct GcpTimeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// One call, start to end. Longer than a query may wait for its result.
    pub request: Duration,
    /// To fetch a token.
    pub token: Duration,
}

impl Default for GcpTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(20),
            token: Duration::from_secs(10),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GcpError {
    /// The credentials cannot be used at all.
    #[error("cannot use the Google credentials: {0}")]
    Credentials(String),
    /// The token server said no.
    #[error("no access token: {0}")]
    TokenDenied(String),
    /// The token server could not be reached, or made no sense.
    #[error("cannot fetch an access token: {0}")]
    NoToken(String),
    /// No token or no answer in time.
    #[error("no answer in time: {0}")]
    TimedOut(String),
    /// No connection, or it was cut.
    #[error("cannot reach BigQuery: {0}")]
    Unreachable(String),
    /// The answer is larger than anything that BigQuery sends.
    #[error("an answer of more than {MAX_ANSWER} bytes")]
    TooLarge,
}

/// An HTTP answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it said.
    pub body: Vec<u8>,
}

/// Speaks to BigQuery.
#[derive(Clone)]
pub struct Gcp {
    http: reqwest::Client,
    base_url: String,
    tokens: Tokens,
    calls: Calls,
}

impl Gcp {
    /// Reads the credentials; the first token is fetched with the first call.
    ///
    /// # Errors
    ///
    /// [`GcpError::Credentials`] when the file cannot be read or is of a kind that we cannot use.
    pub async fn new(settings: &GcpSettings, calls: Calls) -> Result<Self, GcpError> {
        super::install_tls();
        let http = reqwest::Client::builder()
            .connect_timeout(settings.timeouts.connect)
            .timeout(settings.timeouts.request)
            .build()
            .map_err(|error| GcpError::Credentials(chain(&error)))?;
        let base_url = settings.endpoint.as_deref().unwrap_or(BIGQUERY_URL);
        Ok(Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            tokens: Tokens::new(settings, &http).await?,
            http,
            calls,
        })
    }

    /// The crate's client, over the same connections and token.
    ///
    /// # Errors
    ///
    /// The crate's own; it connects to nothing yet.
    pub async fn client(&self) -> Result<gcp_bigquery_client::Client, BQError> {
        ClientBuilder::new()
            .with_v2_base_url(self.base_url.clone())
            .with_client(self.http.clone())
            .build_from_authenticator(Arc::new(self.tokens.clone()))
            .await
    }

    /// The connections.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The count of calls. Those of [`Gcp::client`] count only when their caller counts them.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// A token that is valid now, from memory while it is; `None` where none is needed.
    ///
    /// # Errors
    ///
    /// [`GcpError`] when there is none to be had in time.
    pub async fn token(&self) -> Result<Option<String>, GcpError> {
        self.tokens.get().await
    }

    /// Makes one call and reads the whole answer. Counts it as `operation`; does not retry.
    ///
    /// `path` begins with a slash and is appended to the base address; its parts are escaped already.
    ///
    /// # Errors
    ///
    /// [`GcpError`] when there is no answer. An error answer is an [`Answer`].
    pub async fn send<B: Serialize + Sync>(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&B>,
    ) -> Result<Answer, GcpError> {
        let answer = self.try_send(method, path, query, body).await;
        let result = match &answer {
            Ok(answer) => {
                let head = &answer.body[..answer.body.len().min(4_096)];
                CallResult::of_answer(answer.status, &String::from_utf8_lossy(head))
            }
            Err(GcpError::TimedOut(_)) => CallResult::Timeout,
            Err(GcpError::TokenDenied(_) | GcpError::Credentials(_)) => CallResult::Denied,
            Err(GcpError::NoToken(_) | GcpError::Unreachable(_) | GcpError::TooLarge) => CallResult::Error,
        };
        self.calls.count("bigquery", operation, result);
        answer
    }

    async fn try_send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&B>,
    ) -> Result<Answer, GcpError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base_url)).query(query);
        if let Some(token) = self.tokens.get().await? {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| no_answer(&error))?;
        let status = response.status().as_u16();
        // The other form, a date, is not used by Google.
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(GcpError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, retry_after, body })
    }
}

impl std::fmt::Debug for Gcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gcp").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

fn no_answer(error: &reqwest::Error) -> GcpError {
    if error.is_timeout() && !error.is_connect() {
        GcpError::TimedOut(chain(error))
    } else {
        GcpError::Unreachable(chain(error))
    }
}

/// An error with all that caused it: `reqwest` says "error sending request" and keeps the reason below.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}

/// Fetches tokens and keeps them until shortly before they expire.
#[derive(Clone)]
struct Tokens {
    source: Source,
    timeout: Duration,
}

#[derive(Clone)]
enum Source {
    /// No token is needed.
    Nobody,
    Crate(DefaultAuthenticator),
    Federation(Arc<Federation>),
}

impl Tokens {
    async fn new(settings: &GcpSettings, http: &reqwest::Client) -> Result<Self, GcpError> {
        let source = match &settings.auth {
            Auth::None => Source::Nobody,
            Auth::ServiceAccountFile(path) => Source::Crate(from_file(path).await?),
            Auth::WorkloadIdentity(path) => {
                let federation = Federation::new(path, settings.aws.clone(), http.clone()).await?;
                Source::Federation(Arc::new(federation))
            }
            Auth::ApplicationDefault => Source::Crate(match default_file() {
                Some(path) => from_file(&path).await?,
                None => from_metadata_server().await?,
            }),
        };
        Ok(Self { source, timeout: settings.timeouts.token })
    }

    async fn get(&self) -> Result<Option<String>, GcpError> {
        tokio::time::timeout(self.timeout, self.fetch())
            .await
            .map_err(|_| GcpError::TimedOut(format!("no access token within {:?}", self.timeout)))?
    }

    async fn fetch(&self) -> Result<Option<String>, GcpError> {
        let source = match &self.source {
            Source::Nobody => return Ok(None),
            Source::Federation(federation) => return federation.token().await.map(Some),
            Source::Crate(source) => source,
        };
        let token = source.token(&SCOPES).await.map_err(|error| match &error {
            yup_oauth2::Error::AuthError(denied) => GcpError::TokenDenied(denied.to_string()),
            other => GcpError::NoToken(chain(other)),
        })?;
        let token = token
            .token()
            .ok_or_else(|| GcpError::NoToken("the token server's answer holds none".to_owned()))?;
        Ok(Some(token.to_owned()))
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn access_token(&self) -> Result<String, BQError> {
        match self.get().await {
            Ok(token) => Ok(token.unwrap_or_default()),
            Err(error) => {
                let kind = match &error {
                    GcpError::TimedOut(_) => std::io::ErrorKind::TimedOut,
                    GcpError::TokenDenied(_) | GcpError::Credentials(_) => {
                        std::io::ErrorKind::PermissionDenied
                    }
                    GcpError::NoToken(_) | GcpError::Unreachable(_) | GcpError::TooLarge => {
                        std::io::ErrorKind::Other
                    }
                };
                let error = std::io::Error::new(kind, error);
                Err(yup_oauth2::Error::LowLevelError(error).into())
            }
        }
    }
}

/// The file of the application default credentials, if there is one.
fn default_file() -> Option<PathBuf> {
    let named = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    named.or_else(|| {
        let home = std::env::var_os("HOME")?;
        let file = Path::new(&home).join(".config/gcloud/application_default_credentials.json");
        file.exists().then_some(file)
    })
}

async fn from_file(path: &Path) -> Result<DefaultAuthenticator, GcpError> {
    // Never the content: it is a secret.
    let fault = |what: String| GcpError::Credentials(format!("{}: {what}", path.display()));
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
                .map_err(|error| fault(format!("not an authorized user's: {error}")))?;
            yup_oauth2::authenticator::AuthorizedUserAuthenticator::builder(secret).build().await
        }
        Some(other) => {
            return Err(fault(format!(
                "credentials of type `{other}` cannot be used in this way; use a service account's key, or workload identity"
            )));
        }
    };
    built.map_err(|error| fault(error.to_string()))
}

async fn from_metadata_server() -> Result<DefaultAuthenticator, GcpError> {
    let options = yup_oauth2::ApplicationDefaultCredentialsFlowOpts::default();
    let built =
        match yup_oauth2::authenticator::ApplicationDefaultCredentialsAuthenticator::builder(options).await {
            ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => builder.build().await,
            ApplicationDefaultCredentialsTypes::ServiceAccount(builder) => builder.build().await,
        };
    built.map_err(|error| GcpError::Credentials(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one connection with `reply`, and says nothing when there is none.
    async fn server(reply: Option<&'static str>) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a far end that lives as long as the test")]
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = connection.read(&mut request).await;
            match reply {
                Some(reply) => connection.write_all(reply.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        format!("http://{address}/v2/")
    }

    async fn gcp(endpoint: String) -> Gcp {
        let settings = GcpSettings {
            endpoint: Some(endpoint),
            auth: Auth::None,
            timeouts: GcpTimeouts { request: Duration::from_millis(200), ..GcpTimeouts::default() },
            aws: None,
        };
        Gcp::new(&settings, Calls::default()).await.unwrap()
    }

    async fn get(gcp: &Gcp) -> Result<Answer, GcpError> {
        gcp.send::<()>("tables.get", Method::GET, "/x", &[], None).await
    }

    #[tokio::test]
    async fn an_error_answer_keeps_its_status_its_wish_and_its_text() {
        let reply =
            "HTTP/1.1 503 Busy\r\nretry-after: 4\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy";
        let gcp = gcp(server(Some(reply)).await).await;
        let answer = get(&gcp).await.unwrap();
        assert_eq!(
            (answer.status, answer.retry_after, answer.body.as_slice()),
            (503, Some(Duration::from_secs(4)), b"busy".as_slice())
        );
        assert_eq!(gcp.calls().snapshot(), [("bigquery", "tables.get".to_owned(), CallResult::Error, 1)]);
    }

    #[tokio::test]
    async fn silence_and_a_closed_port_are_different_faults() {
        let silent = gcp(server(None).await).await;
        assert!(matches!(get(&silent).await.unwrap_err(), GcpError::TimedOut(_)));
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = get(&gcp(format!("http://{address}")).await).await.unwrap_err();
        assert!(matches!(error, GcpError::Unreachable(_)));
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_used_are_named_but_never_shown() {
        let path =
            std::env::temp_dir().join(format!("traceprobe-credentials-{:016x}.json", fastrand::u64(..)));
        std::fs::write(&path, r#"{"type": "external_account", "private_key": "hush"}"#).unwrap();
        let settings = GcpSettings { auth: Auth::ServiceAccountFile(path.clone()), ..GcpSettings::default() };
        let error = Gcp::new(&settings, Calls::default()).await.unwrap_err();
        std::fs::remove_file(&path).unwrap();
        let words = error.to_string();
        assert!(words.contains("`external_account`") && words.contains("traceprobe-credentials"));
        assert!(!words.contains("hush"), "{words}");
    }
}
