//! Google tokens for an AWS identity, without a key file (workload identity federation).
//!
//! We sign a GetCallerIdentity request but do not send it. Google sends it, learns from AWS who signed it,
//! and exchanges it for a token. Google's own libraries find AWS credentials only in the environment and on
//! EC2, not in an ECS task, so the request is signed here with the credentials that the AWS SDK finds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::error::GoogleError;
use super::identity::Cache;
use super::{check_token_url, percent_encoded, whole};
use crate::cloud::failure::causes;
use crate::domain::foreign::ForeignText;

/// Type of the subject token (Google Cloud IAM, workload identity federation with AWS).
const AWS_TOKEN: &str = "urn:ietf:params:aws:token-type:aws4_request";
/// A token is replaced when it expires in less than this.
const REFRESH_BEFORE: Duration = Duration::from_mins(2);

/// The file that `gcloud iam workload-identity-pools create-cred-config --aws` writes.
#[derive(Deserialize)]
struct Config {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: CredentialSource,
}

#[derive(Deserialize)]
struct CredentialSource {
    regional_cred_verification_url: Option<String>,
}

/// Exchanges our AWS identity for Google tokens and caches them until shortly before they expire.
pub(super) struct Federation {
    config: Config,
    aws: SdkConfig,
    scopes: Arc<[&'static str]>,
    http: reqwest::Client,
    // A tokio mutex, held while a token is fetched, so that concurrent callers share one fetch.
    cached: Mutex<Option<(String, SystemTime)>>,
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
}

impl Federation {
    pub(super) async fn new(
        path: &Path,
        aws: Option<SdkConfig>,
        scopes: Arc<[&'static str]>,
        http: reqwest::Client,
    ) -> Result<Self, GoogleError> {
        let unusable = |reason: String| GoogleError::Credentials(format!("{}: {reason}", path.display()));
        let text = tokio::fs::read(path).await.map_err(|error| unusable(error.to_string()))?;
        let config: Config = serde_json::from_slice(&text)
            .map_err(|error| unusable(format!("not an `external_account` file for AWS: {error}")))?;
        if config.subject_token_type != AWS_TOKEN {
            return Err(unusable(format!(
                "its subject token is a `{}`; only AWS is supported",
                config.subject_token_type
            )));
        }
        for url in
            [Some(&config.token_url), config.service_account_impersonation_url.as_ref()].into_iter().flatten()
        {
            check_token_url(url).map_err(&unusable)?;
        }
        let aws = aws.ok_or_else(|| unusable("needs an AWS identity".to_owned()))?;
        Ok(Self { config, aws, scopes, http, cached: Mutex::new(None) })
    }

    pub(super) async fn token(&self, cache: Cache) -> Result<String, GoogleError> {
        let mut cached = self.cached.lock().await;
        let now = self.now();
        if let Some((token, until)) = cached.as_ref()
            && cache == Cache::Use
            && now + REFRESH_BEFORE < *until
        {
            return Ok(token.clone());
        }
        let subject = self.subject_token(now).await?;
        let exchanged = self.exchange(&subject).await?;
        let (token, lasts) = match &self.config.service_account_impersonation_url {
            None => (exchanged.access_token, Duration::from_secs(exchanged.expires_in)),
            Some(url) => (self.impersonate(url, &exchanged.access_token).await?, Duration::from_hours(1)),
        };
        *cached = Some((token.clone(), now + lasts));
        Ok(token)
    }

    fn now(&self) -> SystemTime {
        // The SDK always has a time source; without one, a token would be fetched for every call.
        self.aws.time_source().map_or(SystemTime::UNIX_EPOCH, |source| source.now())
    }

    /// Returns a signed but unsent request as percent-encoded JSON.
    async fn subject_token(&self, now: SystemTime) -> Result<String, GoogleError> {
        let unsigned = |reason: String| GoogleError::TokenFetchFailed(format!("our AWS identity: {reason}"));
        let provider =
            self.aws.credentials_provider().ok_or_else(|| unsigned("no credentials".to_owned()))?;
        let identity = provider.provide_credentials().await.map_err(|error| unsigned(causes(&error)))?.into();
        let region = self.aws.region().map(AsRef::as_ref);
        let region = region.ok_or_else(|| unsigned("no region".to_owned()))?;
        let source = &self.config.credential_source;
        let url = source
            .regional_cred_verification_url
            .as_deref()
            .unwrap_or("https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15");
        let url = reqwest::Url::parse(&url.replace("{region}", region))
            .map_err(|error| unsigned(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let mut headers =
            vec![("host", host.to_owned()), ("x-goog-cloud-target-resource", self.config.audience.clone())];
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("sts")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let plain = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let request = SignableRequest::new("POST", url.as_str(), plain, SignableBody::Bytes(&[]))
            .map_err(|error| unsigned(error.to_string()))?;
        let signed = sign(request, &params).map_err(|error| unsigned(error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        headers.extend(instructions.headers().map(|(name, value)| (name, value.to_owned())));
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| json!({"key": name, "value": value})).collect();
        let token = json!({"url": url.as_str(), "method": "POST", "headers": headers, "body": ""});
        Ok(percent_encoded(&token.to_string()))
    }

    async fn exchange(&self, subject: &str) -> Result<Exchanged, GoogleError> {
        // If a service account is impersonated, this token only serves to request the real one.
        let scope = if self.config.service_account_impersonation_url.is_some() {
            "https://www.googleapis.com/auth/cloud-platform".to_owned()
        } else {
            self.scopes.join(" ")
        };
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", self.config.audience.as_str()),
            ("scope", scope.as_str()),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", AWS_TOKEN),
            ("subject_token", subject),
        ];
        answer(self.http.post(&self.config.token_url).form(&form)).await
    }

    async fn impersonate(&self, url: &str, token: &str) -> Result<String, GoogleError> {
        let body = json!({"scope": &*self.scopes, "lifetime": "3600s"});
        let granted: Impersonated = answer(self.http.post(url).bearer_auth(token).json(&body)).await?;
        Ok(granted.access_token)
    }
}

async fn answer<T: for<'a> Deserialize<'a>>(request: reqwest::RequestBuilder) -> Result<T, GoogleError> {
    let response = request.send().await.map_err(|error| GoogleError::TokenFetchFailed(causes(&error)))?;
    let status = response.status();
    let host = response.url().host_str().unwrap_or_default().to_owned();
    let body = whole("the token server", response).await?;
    if status.is_success() {
        // The body is not quoted, because it may contain a token.
        return serde_json::from_slice(&body).map_err(|error| {
            GoogleError::TokenFetchFailed(format!("the token server's response cannot be parsed: {error}"))
        });
    }
    let text = format!("HTTP {} from {host}: {}", status.as_u16(), ForeignText::of_body(&body));
    Err(if status.is_client_error() && status.as_u16() != 429 {
        GoogleError::TokenDenied(text)
    } else {
        GoogleError::TokenFetchFailed(text)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use serde_json::Value;

    use super::*;
    use crate::cloud::calls::Calls;
    use crate::cloud::google::{Auth, BIGQUERY, Google, GoogleSettings, Request};

    type Requests = Arc<std::sync::Mutex<Vec<HashMap<String, String>>>>;

    async fn google() -> (String, Requests) {
        let requests = Requests::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let exchange = async |State(requests): State<Requests>, body: String| {
            let form = reqwest::Url::parse(&format!("http://x/?{body}")).unwrap();
            requests.lock().unwrap().push(form.query_pairs().into_owned().collect());
            Json(json!({"access_token": "federated", "expires_in": 3600, "token_type": "Bearer"}))
        };
        let impersonate = async |headers: HeaderMap| {
            assert_eq!(headers["authorization"], "Bearer federated");
            Json(json!({"accessToken": "impersonated", "expireTime": "2100-01-01T00:00:00Z"}))
        };
        let app = Router::new()
            .route("/token", post(exchange))
            .route("/impersonate", post(impersonate))
            .with_state(requests.clone());
        #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (url, requests)
    }

    fn aws() -> SdkConfig {
        let own = Credentials::new("AKIA", "secret", Some("session".into()), None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(own))
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            .build()
    }

    fn file(config: &Value) -> PathBuf {
        let path = std::env::temp_dir().join(format!("traceprobe-wif-{:016x}.json", fastrand::u64(..)));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    async fn federation(config: Value) -> Result<Federation, GoogleError> {
        crate::cloud::install_tls();
        let path = file(&config);
        let federation =
            Federation::new(&path, Some(aws()), ["scope-1", "scope-2"].into(), reqwest::Client::new()).await;
        std::fs::remove_file(&path).unwrap();
        federation
    }

    fn config(url: &str) -> Value {
        json!({
            "type": "external_account", "audience": "//iam.googleapis.com/pool/p", "subject_token_type": AWS_TOKEN,
            "token_url": format!("{url}/token"), "credential_source": {"environment_id": "aws1"},
        })
    }

    #[tokio::test]
    async fn a_signed_identity_request_is_exchanged_for_a_token_once() {
        let (url, requests) = google().await;
        let federation = federation(config(&url)).await.unwrap();
        for _ in 0..3 {
            assert_eq!(federation.token(Cache::Use).await.unwrap(), "federated");
        }
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0]["scope"], "scope-1 scope-2", "one token serves all services");
        let subject = &requests[0]["subject_token"];
        assert!(subject.starts_with("%7B%22"), "{subject}");
        let decoded = reqwest::Url::parse(&format!("http://x/?s={subject}")).unwrap();
        let decoded: Value = serde_json::from_str(&decoded.query_pairs().next().unwrap().1).unwrap();
        assert!(decoded["url"].as_str().unwrap().starts_with("https://sts.eu-central-1.amazonaws.com"));
        let headers: HashMap<_, _> = decoded["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| {
                (header["key"].as_str().unwrap().to_owned(), header["value"].as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(headers["x-goog-cloud-target-resource"], "//iam.googleapis.com/pool/p");
        assert_eq!(headers["x-amz-security-token"], "session");
        assert!(
            headers["authorization"]
                .contains("SignedHeaders=host;x-amz-date;x-amz-security-token;x-goog-cloud-target-resource"),
            "{headers:?}"
        );
        assert!(headers["authorization"].contains("/eu-central-1/sts/aws4_request"));
    }

    #[tokio::test]
    async fn a_service_account_is_impersonated_if_the_file_names_one() {
        let (url, requests) = google().await;
        let mut config = config(&url);
        config["service_account_impersonation_url"] = json!(format!("{url}/impersonate"));
        let federation = federation(config).await.unwrap();
        assert_eq!(federation.token(Cache::Use).await.unwrap(), "impersonated");
        assert!(requests.lock().unwrap()[0]["scope"].ends_with("cloud-platform"));
    }

    #[tokio::test]
    async fn a_token_server_on_this_machine_needs_no_https_though_the_services_do() {
        let (url, requests) = google().await;
        let path = file(&config(&url));
        let auth = Auth::WorkloadIdentity(path.clone());
        let settings = GoogleSettings { auth, aws: Some(aws()), ..GoogleSettings::default() };
        let google = Google::new(&settings, Calls::default()).await;
        std::fs::remove_file(&path).unwrap();
        assert_eq!(google.unwrap().tokens.get().await.unwrap().as_deref(), Some("federated"));
        assert_eq!(requests.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_token_server_without_https_is_refused() {
        let error = federation(config("http://sts.example:8080")).await.err().unwrap().to_string();
        assert!(error.contains("sts.example is not reached over https"), "{error}");
    }

    #[tokio::test]
    async fn a_file_for_another_cloud_is_refused() {
        let mut config = config("http://127.0.0.1:1");
        config["subject_token_type"] = json!("urn:ietf:params:oauth:token-type:jwt");
        let error = federation(config).await.err().unwrap().to_string();
        assert!(error.contains("only AWS is supported"), "{error}");
    }

    #[tokio::test]
    async fn a_token_that_is_refused_is_replaced_by_the_next_call() {
        let issued = Arc::new(AtomicUsize::new(0));
        let exchange = async |State(issued): State<Arc<AtomicUsize>>| {
            let token = format!("token-{}", issued.fetch_add(1, Ordering::Relaxed) + 1);
            Json(json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}))
        };
        let dataset = async |headers: HeaderMap| {
            let revoked = headers["authorization"] == "Bearer token-1";
            if revoked { StatusCode::UNAUTHORIZED } else { StatusCode::OK }
        };
        let app = Router::new().route("/token", post(exchange)).route("/x", get(dataset));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = app.with_state(issued.clone());
        #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let path = file(&config(&url));
        let settings = GoogleSettings {
            auth: Auth::WorkloadIdentity(path.clone()),
            aws: Some(aws()),
            endpoints: [(BIGQUERY.name, url)].into(),
            ..GoogleSettings::default()
        };
        let google = Google::new(&settings, Calls::default()).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = google.send(Request::get(&BIGQUERY, "tables.get", "/x")).await;
            statuses.push(answer.map_or_else(|failure| failure.status, |answer| Some(answer.status)));
        }
        assert_eq!(statuses, [Some(401), Some(200), Some(200)]);
        assert_eq!(issued.load(Ordering::Relaxed), 2);
    }
}
