//! The signed request that shows the AWS identity of the probe to Google, sent to the STS of MiniStack, which checks
//! signatures, as Google sends it to AWS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use traceprobe::cloud::calls::Calls;
use traceprobe::cloud::google::{BIGQUERY, Google, GoogleSettings, Request};
use traceprobe::config::Config;

use super::Scene;

/// What STS answered to each request that it was sent.
type Answers = Arc<Mutex<Vec<(u16, String)>>>;

/// Google's token server: it exchanges the identity for a token if STS knows who signed it.
async fn exchange(State(answers): State<Answers>, body: String) -> Response {
    let form = reqwest::Url::parse(&format!("http://x/?{body}")).expect("a form is a query");
    let form: HashMap<String, String> = form.query_pairs().into_owned().collect();
    // The token is percent-encoded once more than the form.
    let subject =
        reqwest::Url::parse(&format!("http://x/?s={}", form["subject_token"])).expect("it is encoded");
    let subject = subject.query_pairs().next().expect("there is one").1.into_owned();
    let subject: Value = serde_json::from_str(&subject).expect("the token is JSON");
    let mut request = reqwest::Client::new().post(text_of(&subject["url"]));
    for header in subject["headers"].as_array().expect("it is a list") {
        request = request.header(text_of(&header["key"]), text_of(&header["value"]));
    }
    let answer = request.send().await.expect("STS answers");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("the answer is text");
    answers.lock().unwrap().push((status, text));
    if status == 200 {
        Json(json!({"access_token": "for AWS", "expires_in": 3600})).into_response()
    } else {
        StatusCode::BAD_REQUEST.into_response()
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("it is text").to_owned()
}

async fn service(headers: HeaderMap) -> Response {
    if headers["authorization"] == "Bearer for AWS" {
        Json(json!({})).into_response()
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sts_tells_google_who_the_probe_is() {
    let scene = Scene::set("identity").await;
    let answers = Answers::default();
    let app = Router::new().route("/token", post(exchange)).route("/x", get(service));
    let app = app.with_state(answers.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, app).await });
    let sts = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", scene.pipeline.about.aws_endpoint);
    let credentials = json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pool/p", "token_url": format!("{url}/token"),
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "credential_source": {"environment_id": "aws1", "regional_cred_verification_url": sts},
    });
    let google = [
        ("TRACEPROBE_GCP_AUTH", "workload_identity".to_owned()),
        ("TRACEPROBE_GCP_CREDENTIALS", credentials.to_string()),
        ("TRACEPROBE_GCP_ENDPOINT", url),
    ];
    let google = google.map(|(name, value)| (name.to_owned(), value));
    let config = Config::load(&scene.config, scene.variables().chain(google)).expect("it is valid");
    let about = &scene.pipeline.about;
    let task = about.credentials["AWS_CONTAINER_CREDENTIALS_FULL_URI"].as_str();
    let task = reqwest::get(task).await.expect("ECS answers").json::<Value>().await.expect("it is JSON");
    let of = |name: &str| text_of(&task[name]);
    let own =
        Credentials::new(of("AccessKeyId"), of("SecretAccessKey"), Some(of("Token")), None, "the task role");
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(about.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(own))
        .build();
    let settings = GoogleSettings { aws: Some(aws), ..config.google };

    let google = Google::new(&settings, Calls::default()).await.expect("the credentials are usable");
    let answer = google.send(Request::get(&BIGQUERY, "tables.get", "/x")).await;

    let answers = answers.lock().unwrap().clone();
    assert!(answers.iter().any(|(_, text)| text.contains(":assumed-role/traceprobe-task/")), "{answers:?}");
    assert_eq!(answer.map(|answer| answer.status), Ok(200));
}
