//! Credentials of every type, in front of servers that record what they are received.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials as AwsCredentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::extract::{Request as Incoming, State};
use axum::http::{HeaderMap as Headers, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::*;
use crate::keys::secret::Secret;

const AWS_TOKEN: &str = "urn:ietf:params:aws:token-type:aws4_request";
const KEY: &str = include_str!("key.pem");

/// What a server was received.
#[derive(Clone)]
struct Received {
    path: String,
    headers: Headers,
    body: String,
}

impl Received {
    fn form(&self) -> HashMap<String, String> {
        let url = reqwest::Url::parse(&format!("http://x/?{}", self.body)).unwrap();
        url.query_pairs().into_owned().collect()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Every server of Google in one.
#[derive(Clone, Default)]
struct Stub {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Stub {
    async fn start() -> Self {
        crate::cloud::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stub = Self { url, ..Self::default() };
        let app = axum::Router::new().fallback(answer).with_state(stub.clone());
        #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        stub
    }

    fn host(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// All requests for a path.
    fn received(&self, path: &str) -> Vec<Received> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|received| received.path.split('?').next() == Some(path)).cloned().collect()
    }

    /// Settings whose services are this server.
    fn settings(&self, auth: Auth) -> GoogleSettings {
        GoogleSettings {
            services: vec![BIGQUERY],
            endpoints: [(BIGQUERY.name, self.url.clone())].into(),
            auth,
            aws: Some(aws()),
            ..GoogleSettings::default()
        }
    }

    /// Makes one call with the credentials of a file that `GOOGLE_APPLICATION_CREDENTIALS` names. Returns the token
    /// that the service saw.
    async fn token_of(&self, document: &Value) -> Result<String, String> {
        let path = file(&document.to_string());
        let variables =
            GoogleVariables { credentials_file: Some(path.clone()), ..GoogleVariables::default() };
        let settings = GoogleSettings { variables, ..self.settings(Auth::ApplicationDefault) };
        let token = self.token_with(&settings).await;
        std::fs::remove_file(path).unwrap();
        token
    }

    async fn token_with(&self, settings: &GoogleSettings) -> Result<String, String> {
        let google = Google::new(settings, Calls::default()).await.map_err(|error| error.to_string())?;
        let answer = google.send(Request::get(&BIGQUERY, "tables.get", "/service")).await;
        answer.map_err(|failure| failure.text.to_string())?;
        let received = self.received("/service").pop().unwrap();
        Ok(received.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned())
    }
}

async fn answer(State(stub): State<Stub>, request: Incoming) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let received = Received { path: parts.uri.to_string(), headers: parts.headers, body };
    stub.received.lock().unwrap().push(received);
    match parts.uri.path() {
        "/token" => axum::Json(json!({"access_token": "exchanged", "expires_in": 3600})).into_response(),
        "/impersonate" => {
            let body = json!({"accessToken": "impersonated", "expireTime": "2026-11-26T12:15:00Z"});
            // Another clock than ours.
            ([(header::DATE, "Thu, 26 Nov 2026 12:00:00 GMT")], axum::Json(body)).into_response()
        }
        "/identity" => "identity of a cloud\n".into_response(),
        "/identity.json" => axum::Json(json!({"value": "identity in JSON"})).into_response(),
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            axum::Json(json!({"access_token": "of the machine", "expires_in": 1800})).into_response()
        }
        "/service" => axum::Json(json!({})).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn aws() -> SdkConfig {
    let own = AwsCredentials::new("AKIA", "secret", Some("session".into()), None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(own))
        .build()
}

fn file(text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("traceprobe-google-{:016x}", fastrand::u64(..)));
    std::fs::write(&path, text).unwrap();
    path
}

/// A file for an AWS identity.
fn federation(stub: &Stub) -> Value {
    json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pool/p", "subject_token_type": AWS_TOKEN,
        "token_url": format!("{}/token", stub.url), "credential_source": {"environment_id": "aws1"},
    })
}

/// The same for an identity in another place.
fn federation_from(stub: &Stub, source: Value) -> Value {
    let mut document = federation(stub);
    document["subject_token_type"] = json!("urn:ietf:params:oauth:token-type:jwt");
    document["credential_source"] = source;
    document
}

fn service_account(stub: &Stub) -> Value {
    json!({
        "type": "service_account", "client_email": "probe@p.iam.example", "private_key": KEY,
        "private_key_id": "k1", "token_uri": format!("{}/token", stub.url),
    })
}

fn login(stub: &Stub) -> Value {
    json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "token_uri": format!("{}/token", stub.url),
    })
}

/// The public key that belongs to [`KEY`], as algorithms take it.
fn public_key() -> Vec<u8> {
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    // What precedes the key of 2048 bits in its SubjectPublicKeyInfo (RFC 5280) has this length.
    key.public_key().unwrap()[24..].to_vec()
}

#[tokio::test]
async fn an_aws_identity_is_a_signed_request_without_a_body() {
    let stub = Stub::start().await;
    assert_eq!(stub.token_of(&federation(&stub)).await.unwrap(), "exchanged");
    let form = stub.received("/token")[0].form();
    assert_eq!(form["scope"], BIGQUERY.scope);
    let subject = &form["subject_token"];
    assert!(subject.starts_with("%7B%22"), "{subject}");
    let decoded = reqwest::Url::parse(&format!("http://x/?s={subject}")).unwrap();
    let decoded: Value = serde_json::from_str(&decoded.query_pairs().next().unwrap().1).unwrap();
    let mut keys: Vec<_> = decoded.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["headers", "method", "url"]);
    assert!(decoded["url"].as_str().unwrap().starts_with("https://sts.eu-central-1.amazonaws.com"));
    let headers = decoded["headers"].as_array().unwrap().iter();
    let headers: HashMap<_, _> =
        headers.map(|it| (it["key"].as_str().unwrap(), it["value"].as_str().unwrap())).collect();
    assert_eq!(headers["x-goog-cloud-target-resource"], "//iam.googleapis.com/pool/p");
    assert_eq!(headers["x-amz-security-token"], "session");
    let authorization = headers["authorization"];
    assert!(
        authorization
            .contains("SignedHeaders=host;x-amz-date;x-amz-security-token;x-goog-cloud-target-resource")
            && authorization.contains("/eu-central-1/sts/aws4_request"),
        "{authorization}"
    );
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_calls() {
    let stub = Stub::start().await;
    let auth = Auth::WorkloadIdentity(Document::Text(Secret::new(federation(&stub).to_string())));
    let google = Google::new(&stub.settings(auth), Calls::default()).await.unwrap();
    for _ in 0..3 {
        google.send(Request::get(&BIGQUERY, "tables.get", "/service")).await.unwrap();
    }
    assert_eq!((stub.received("/service").len(), stub.received("/token").len()), (3, 1));
}

#[tokio::test]
async fn a_service_account_is_impersonated_for_as_long_as_the_file_says() {
    let stub = Stub::start().await;
    let mut document = federation(&stub);
    document["service_account_impersonation_url"] = json!(format!("{}/impersonate", stub.url));
    document["service_account_impersonation"] = json!({"token_lifetime_seconds": 900});
    assert_eq!(stub.token_of(&document).await.unwrap(), "impersonated");
    assert!(stub.received("/token")[0].form()["scope"].ends_with("cloud-platform"));
    let received = &stub.received("/impersonate")[0];
    assert_eq!(received.header("authorization"), Some("Bearer exchanged"));
    assert_eq!(received.json(), json!({"scope": [BIGQUERY.scope], "lifetime": "900s"}));
}

#[tokio::test]
async fn a_token_lasts_until_the_time_that_its_server_says_whatever_our_clock_shows() {
    let stub = Stub::start().await;
    let document = json!({"service_account_impersonation_url": format!("{}/impersonate", stub.url)});
    let fields = crate::cloud::google::fields::Fields::new(document.as_object().unwrap());
    let impersonation = crate::cloud::google::impersonation::Impersonation::read(fields).unwrap().unwrap();
    let grant = impersonation.fetch(&reqwest::Client::new(), "own", &[]).await.unwrap();
    assert_eq!(grant.lasts, Duration::from_mins(15));
}

#[tokio::test]
async fn an_identity_is_read_from_a_file_for_each_exchange() {
    let stub = Stub::start().await;
    let identity = file("{\"token\": \"identity in a file\"}");
    let format = json!({"type": "json", "subject_token_field_name": "token"});
    let source = json!({"file": identity, "format": format});
    let token = stub.token_of(&federation_from(&stub, source)).await;
    std::fs::remove_file(identity).unwrap();
    assert_eq!(token.unwrap(), "exchanged");
    assert_eq!(stub.received("/token")[0].form()["subject_token"], "identity in a file");
}

#[tokio::test]
async fn an_identity_is_fetched_from_a_url_with_the_headers_of_the_file() {
    let stub = Stub::start().await;
    for (path, format, identity) in [
        ("/identity", json!({"type": "text"}), "identity of a cloud"),
        ("/identity.json", json!({"type": "json", "subject_token_field_name": "value"}), "identity in JSON"),
    ] {
        let url = format!("{}{path}", stub.url);
        let source = json!({"url": url, "headers": {"Metadata": "True"}, "format": format});
        stub.token_of(&federation_from(&stub, source)).await.unwrap();
        assert_eq!(stub.received(path)[0].header("metadata"), Some("True"));
        assert_eq!(stub.received("/token").pop().unwrap().form()["subject_token"], identity);
    }
}

#[tokio::test]
async fn a_service_account_key_signs_a_statement_for_its_token_server() {
    let stub = Stub::start().await;
    assert_eq!(stub.token_of(&service_account(&stub)).await.unwrap(), "exchanged");
    let form = stub.received("/token")[0].form();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let part = |index: usize| {
        let part = form["assertion"].split('.').nth(index).unwrap().to_owned();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
    };
    let header: Value = serde_json::from_slice(&part(0)).unwrap();
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims: Value = serde_json::from_slice(&part(1)).unwrap();
    assert_eq!(claims["iss"], "probe@p.iam.example");
    assert_eq!(claims["aud"], format!("{}/token", stub.url));
    assert_eq!(claims["scope"], BIGQUERY.scope);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3_600);
    let signed = form["assertion"].rsplit_once('.').unwrap().0;
    let (key, algorithms) = (public_key(), rustls::crypto::aws_lc_rs::default_provider());
    let rs256 = algorithms.signature_verification_algorithms.mapping.iter();
    let rs256 = rs256.filter(|(scheme, _)| *scheme == rustls::SignatureScheme::RSA_PKCS1_SHA256);
    let verified = rs256.flat_map(|(_, algorithms)| algorithms.iter());
    let mut verified = verified.map(|it| it.verify_signature(&key, signed.as_bytes(), &part(2)));
    assert!(verified.any(|verified| verified.is_ok()));
}

#[tokio::test]
async fn a_login_is_exchanged_with_its_client_in_the_form() {
    let stub = Stub::start().await;
    assert_eq!(stub.token_of(&login(&stub)).await.unwrap(), "exchanged");
    let form = stub.received("/token")[0].form();
    for (key, value) in
        [("grant_type", "refresh_token"), ("refresh_token", "r"), ("client_id", "c"), ("client_secret", "s")]
    {
        assert_eq!(form[key], value);
    }
}

#[tokio::test]
async fn a_login_of_a_workforce_pool_is_exchanged_with_its_client_in_a_header() {
    let stub = Stub::start().await;
    let mut document = login(&stub);
    document["type"] = json!("external_account_authorized_user");
    document["token_url"] = json!(format!("{}/token", stub.url));
    assert_eq!(stub.token_of(&document).await.unwrap(), "exchanged");
    let received = &stub.received("/token")[0];
    assert_eq!(received.header("authorization"), Some("Basic Yzpz"));
    assert!(!received.body.contains("client_secret"), "{}", received.body);
}

#[tokio::test]
async fn an_impersonated_account_has_a_source_of_any_other_type_and_delegates() {
    let stub = Stub::start().await;
    for source in [login(&stub), service_account(&stub), federation(&stub)] {
        let document = json!({
            "type": "impersonated_service_account", "source_credentials": source,
            "service_account_impersonation_url": format!("{}/impersonate", stub.url),
            "delegates": ["projects/-/serviceAccounts/between@p"],
        });
        assert_eq!(stub.token_of(&document).await.unwrap(), "impersonated");
        let received = stub.received("/impersonate").pop().unwrap();
        assert_eq!(received.header("authorization"), Some("Bearer exchanged"));
        assert_eq!(received.json()["delegates"], json!(["projects/-/serviceAccounts/between@p"]));
        assert_eq!(received.json()["lifetime"], "3600s");
    }
}

#[tokio::test]
async fn without_a_file_the_metadata_server_is_called() {
    let stub = Stub::start().await;
    let variables = GoogleVariables { metadata_host: Some(stub.host()), ..GoogleVariables::default() };
    let settings = GoogleSettings { variables, ..stub.settings(Auth::ApplicationDefault) };
    assert_eq!(stub.token_with(&settings).await.unwrap(), "of the machine");
    let received = &stub.received("/computeMetadata/v1/instance/service-accounts/default/token")[0];
    assert_eq!(received.header("metadata-flavor"), Some("Google"));
}

#[tokio::test]
async fn outside_of_google_cloud_the_error_says_what_to_set() {
    let stub = Stub::start().await;
    let variables =
        GoogleVariables { metadata_host: Some("metadata.invalid".to_owned()), ..GoogleVariables::default() };
    let settings = GoogleSettings { variables, ..stub.settings(Auth::ApplicationDefault) };
    let error = stub.token_with(&settings).await.unwrap_err();
    let first = error.find(NO_FILE).unwrap_or_else(|| panic!("{error}"));
    assert!(error.contains("set GOOGLE_APPLICATION_CREDENTIALS to the federation file"), "{error}");
    assert!(error.contains("docs/google.md"), "{error}");
    let cause = error.find("metadata.invalid").unwrap_or_else(|| panic!("{error}"));
    assert!(first < cause, "advice on its DNS comes before what is to be set: {error}");
}

#[tokio::test]
async fn calls_name_the_quota_project_of_the_environment_or_else_of_the_file() {
    let stub = Stub::start().await;
    let mut document = login(&stub);
    document["quota_project_id"] = json!("of-the-file");
    for (variable, named) in [(None, "of-the-file"), (Some("of-the-environment"), "of-the-environment")] {
        let path = file(&document.to_string());
        let variables = GoogleVariables {
            credentials_file: Some(path.clone()),
            quota_project: variable.map(str::to_owned),
            ..GoogleVariables::default()
        };
        let settings = GoogleSettings { variables, ..stub.settings(Auth::ApplicationDefault) };
        stub.token_with(&settings).await.unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(stub.received("/service").pop().unwrap().header("x-goog-user-project"), Some(named));
    }
}

#[tokio::test]
async fn without_a_quota_project_calls_name_none() {
    let stub = Stub::start().await;
    stub.token_of(&login(&stub)).await.unwrap();
    assert_eq!(stub.received("/service")[0].header("x-goog-user-project"), None);
}

#[tokio::test]
async fn services_are_called_in_the_universe_of_the_credentials() {
    crate::cloud::install_tls();
    let mut document = login(&Stub { url: "http://127.0.0.1:1".to_owned(), ..Stub::default() });
    document["universe_domain"] = json!("apis-tpczero.example");
    let auth = Auth::ServiceAccount(Document::Text(Secret::new(document.to_string())));
    let settings =
        GoogleSettings { services: vec![BIGQUERY], auth: auth.clone(), ..GoogleSettings::default() };
    let google = Google::new(&settings, Calls::default()).await.unwrap();
    assert_eq!(google.base_url(&BIGQUERY), "https://bigquery.apis-tpczero.example/bigquery/v2");
    let endpoints = [(BIGQUERY.name, "https://private.example".to_owned())].into();
    let google =
        Google::new(&GoogleSettings { endpoints, ..settings.clone() }, Calls::default()).await.unwrap();
    assert_eq!(
        google.base_url(&BIGQUERY),
        "https://private.example",
        "a configured endpoint takes precedence"
    );
    let variables =
        GoogleVariables { universe_domain: Some("googleapis.com".to_owned()), ..GoogleVariables::default() };
    let error = Google::new(&GoogleSettings { variables, ..settings }, Calls::default()).await.unwrap_err();
    assert!(error.to_string().contains("GOOGLE_CLOUD_UNIVERSE_DOMAIN is googleapis.com"), "{error}");
}

#[tokio::test]
async fn in_another_universe_a_key_needs_no_token_server() {
    let stub = Stub::start().await;
    let mut document = service_account(&stub);
    document["universe_domain"] = json!("apis-tpczero.example");
    let token = stub.token_of(&document).await.unwrap();
    assert_eq!(token.split('.').count(), 3, "{token}");
    assert_eq!(stub.received("/token").len(), 0);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason_and_no_value_is_shown() {
    let stub = Stub::start().await;
    let with = |change: fn(&mut Value)| {
        let mut document = federation(&stub);
        document["client_secret"] = json!("hush");
        change(&mut document);
        document
    };
    let impersonate = |it: &mut Value| it["service_account_impersonation_url"] = json!("https://x.example");
    for (document, reason) in [
        (json!({"type": "gdch_service_account"}), "`gdch_service_account` are not supported"),
        (with(|it| it["token_url"] = json!("http://sts.example/")), "sts.example is not reached over https"),
        (with(|it| it["token_url"] = json!(["hush"])), "`token_url` is not a text"),
        (with(|it| it["audience"] = Value::Null), "`audience` is missing"),
        (with(|it| it["subject_token_type"] = json!("jwt")), "its source is AWS"),
        (with(|it| it["credential_source"] = json!({"environment_id": "aws2"})), "only `aws1` is supported"),
        (
            with(|it| it["credential_source"] = json!({"executable": {"command": "hush"}})),
            "starts no others: let the program write",
        ),
        (with(|it| it["credential_source"] = json!({"certificate": {}})), "`credential_source.certificate`"),
        (with(|it| it["credential_source"] = json!({})), "names neither AWS, nor a file, nor a URL"),
        (
            with(|it| it["credential_source"] = json!({"url": "http://hush@x.example"})),
            "x.example is not reached over https",
        ),
        (
            with(|it| it["credential_source"] = json!({"file": "x", "format": {"type": "xml"}})),
            "`credential_source.format.type` is `xml`",
        ),
        (
            {
                let mut document = with(|_| ());
                impersonate(&mut document);
                document["service_account_impersonation"] = json!({"token_lifetime_seconds": 60});
                document
            },
            "token_lifetime_seconds` is 60; it must be from 600 to 43200",
        ),
        (
            json!({"type": "service_account", "private_key": "hush", "client_email": "x", "token_uri": "https://x"}),
            "`private_key` is not an RSA key",
        ),
        (
            json!({"type": "impersonated_service_account", "source_credentials":
                {"type": "impersonated_service_account"}}),
            "list the accounts between in `delegates`",
        ),
    ] {
        let error = stub.token_of(&document).await.unwrap_err();
        assert!(error.contains(reason) && !error.contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn each_auth_method_takes_the_types_that_it_is_for() {
    let stub = Stub::start().await;
    let document = |document: Value| Document::Text(Secret::new(document.to_string()));
    for (auth, reason) in [
        (
            Auth::ServiceAccount(document(federation(&stub))),
            "use \"workload_identity\" for `external_account`",
        ),
        (Auth::WorkloadIdentity(document(login(&stub))), "takes only `external_account`"),
    ] {
        let error = stub.token_with(&stub.settings(auth)).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_broken_file_is_named_and_not_shown() {
    let path = file("{\"private_key\": \"hush\", oops}");
    let auth = Auth::ServiceAccount(Document::File(path.clone()));
    let settings = GoogleSettings { auth, ..GoogleSettings::default() };
    let error = Google::new(&settings, Calls::default()).await.unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("line 1, column"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[tokio::test]
async fn a_token_server_on_this_machine_needs_no_https_though_the_services_do() {
    let stub = Stub::start().await;
    let auth = Auth::WorkloadIdentity(Document::Text(Secret::new(federation(&stub).to_string())));
    let settings = GoogleSettings { auth, aws: Some(aws()), ..GoogleSettings::default() };
    let google = Google::new(&settings, Calls::default()).await.unwrap();
    assert_eq!(google.tokens.get().await.unwrap().as_deref(), Some("exchanged"));
}
