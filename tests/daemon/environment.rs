//! `traceprobe check` where not the pipeline is wrong, but what the probe was given: credentials, files, regions.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::commands::program;
use crate::support::stand::{Stand, variables};

const SERVICES: [&str; 4] =
    ["AWS_ENDPOINTS_STS", "AWS_ENDPOINTS_LOGS", "AWS_ENDPOINTS_KINESIS", "AWS_ENDPOINTS_S3"];

/// How the services of AWS answer: each protocol with its own code for the same thing.
#[derive(Clone, Copy)]
struct Answer {
    status: StatusCode,
    json: &'static str,
    xml: &'static str,
    /// Where the bucket is, for S3.
    bucket_region: Option<&'static str>,
}

const EXPIRED: Answer = Answer {
    status: StatusCode::BAD_REQUEST,
    json: "ExpiredTokenException",
    xml: "ExpiredToken",
    bucket_region: None,
};
const ABSENT: Answer = Answer {
    status: StatusCode::BAD_REQUEST,
    json: "ResourceNotFoundException",
    xml: "NoSuchBucket",
    bucket_region: None,
};
const MOVED: Answer = Answer {
    status: StatusCode::MOVED_PERMANENTLY,
    json: "ResourceNotFoundException",
    xml: "PermanentRedirect",
    bucket_region: Some("us-west-2"),
};

/// Answers every call like this. Returns its address.
async fn serve(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(async move |headers: HeaderMap| {
        let Answer { status, json, xml, bucket_region } = answer;
        if headers.contains_key("x-amz-target") {
            let body = serde_json::json!({"__type": json, "message": "no"}).to_string();
            return (status, body).into_response();
        }
        let body = format!("<Error><Code>{xml}</Code><Message>no</Message></Error>");
        let region = bucket_region.map(|region| [("x-amz-bucket-region", region)]);
        match region {
            Some(header) => (status, header, body).into_response(),
            None => (status, body).into_response(),
        }
    });
    #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Names with their values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Runs `check --json` with these keys of the configuration, and these variables besides.
async fn check(stand: &Stand, keys: Pairs<'_>, besides: Pairs<'_>) -> Value {
    let config = stand.config();
    let mut environment = variables(keys);
    environment.extend(besides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let output = program(&["check", "--json", "--config", config.to_str().unwrap()], &environment).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(output.status.code(), Some(1), "{document:#}");
    document
}

fn with_mark<'a>(document: &'a Value, mark: &str) -> Vec<&'a Value> {
    document["findings"].as_array().unwrap().iter().filter(|finding| finding["mark"] == mark).collect()
}

fn the<'a>(document: &'a Value, what: &str) -> &'a Value {
    let findings = document["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["what"] == what);
    found.unwrap_or_else(|| panic!("no {what}: {document:#}"))
}

fn detail(finding: &Value) -> &str {
    finding["detail"].as_str().unwrap()
}

fn has_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_of_google_credentials_is_named_with_where_its_path_is_set_and_what_is_right() {
    const PATH: &str = "/no/such/google.json";
    let file = ("GCP_CREDENTIALS_FILE", PATH);
    let cases: [(Pairs<'_>, Pairs<'_>, &str); 3] = [
        (
            &[("GCP_AUTH", "adc")],
            &[("GOOGLE_APPLICATION_CREDENTIALS", PATH)],
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        (&[("GCP_AUTH", "service_account"), file], &[], "gcp.credentials_file"),
        (&[("GCP_AUTH", "workload_identity"), file], &[], "gcp.credentials_file"),
    ];
    for (keys, besides, named) in cases {
        // Three checks of one stream would exceed the reads that a shard allows.
        let stand = Stand::brisk(1).await;
        let document = check(&stand, keys, besides).await;
        let failed = with_mark(&document, "fail");
        assert_eq!(failed.len(), 1, "{failed:#?}");
        has_all(
            detail(failed[0]),
            &[PATH, named, "No such file", "name a JSON file that this process may read"],
        );
        has_all(&failed[0]["mend"].to_string(), &[named, "docs/google.md"]);
        // The table is in the configuration, so nothing may say that there is none.
        let who = detail(the(&document, "who am I, Google"));
        assert_eq!(who, "its credentials cannot be used; see \"Google's credentials\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_google_file_the_metadata_server_is_told_with_what_to_set_on_ecs() {
    let stand = Stand::brisk(1).await;
    let keys = [("GCP_AUTH", "adc")];
    let document = check(&stand, &keys, &[("GCE_METADATA_HOST", "metadata.invalid")]).await;
    let failed = with_mark(&document, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["what"], "who am I, Google");
    let columns = the(&document, "columns");
    let why = "the probe's Google credentials cannot be used; see \"who am I, Google\"";
    assert_eq!((&columns["mark"], detail(columns)), (&Value::from("not_tried"), why));
    has_all(
        detail(failed[0]),
        &[
            "no Google credentials file was found",
            "metadata server of Google Compute Engine",
            "metadata.invalid",
        ],
    );
    has_all(
        &failed[0]["mend"].to_string(),
        &["on ECS, GOOGLE_APPLICATION_CREDENTIALS names the federation file", "docs/google.md", "gcp.auth"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_aws_refuses_are_told_once_and_what_needs_them_is_not_tried() {
    const TENANTS: usize = 3;
    let stand = Stand::brisk(TENANTS).await;
    let url = format!("http://{}", serve(EXPIRED).await);
    let document = check(&stand, &SERVICES.map(|key| (key, &*url)), &[]).await;
    let failed = with_mark(&document, "fail");
    let what: Vec<_> = failed.iter().map(|finding| &finding["what"]).collect();
    assert_eq!(what, ["who am I, AWS"], "{failed:#?}");
    has_all(&failed[0].to_string(), &["ExpiredToken", "AWS_SESSION_TOKEN", "the role of the task"]);
    let why = "the credentials were refused; see \"who am I, AWS\"";
    let dependent: Vec<_> =
        with_mark(&document, "not_tried").into_iter().filter(|it| detail(it) == why).collect();
    let of_tenant = |tenant: &str| {
        dependent
            .iter()
            .filter(|it| it["tenants"].as_array().unwrap().iter().any(|one| one == tenant))
            .count()
    };
    for tenant in ["acme", "globex", "initech"] {
        assert!(of_tenant(tenant) > 3, "{tenant}: {dependent:#?}");
    }
    assert!(dependent.iter().all(|finding| finding["mend"].is_null()), "{dependent:#?}");
    let notes = document["notes"].to_string();
    assert!(!notes.contains("the region may be wrong"), "nobody could look there: {notes}");
    // Google has credentials of its own.
    assert_eq!(the(&document, "columns")["mark"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sts_refused_credentials_are_told_by_the_first_who_refuses_them() {
    let stand = Stand::brisk(2).await;
    let refusing = format!("http://{}", serve(EXPIRED).await);
    let closed = "http://127.0.0.1:1";
    let keys = [
        (SERVICES[0], closed),
        (SERVICES[1], &*refusing),
        (SERVICES[2], &refusing),
        (SERVICES[3], &refusing),
    ];
    let document = check(&stand, &keys, &[]).await;
    let refused = |finding: &&Value| detail(finding).contains("ExpiredToken");
    let told: Vec<_> = with_mark(&document, "fail").into_iter().filter(refused).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    let command = format!("aws --endpoint-url {closed} sts get-caller-identity");
    has_all(&told[0]["mend"].to_string(), &["AWS_SESSION_TOKEN", &command]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_in_which_nothing_is_found_is_doubted_once_before_all_that_is_missing() {
    let stand = Stand::brisk(2).await;
    let url = format!("http://{}", serve(ABSENT).await);
    let keys = [("AWS_AUTH", "default"), (SERVICES[1], &*url), (SERVICES[2], &url), (SERVICES[3], &url)];
    let own = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let document = check(&stand, &keys, &own).await;
    has_all(detail(the(&document, "who am I, AWS")), &["assumed-role/sandbox/session in account"]);
    let of_region = |note: &&Value| note.as_str().unwrap().contains("the region may be wrong");
    let notes: Vec<_> = document["notes"].as_array().unwrap().iter().filter(of_region).collect();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    has_all(notes[0].as_str().unwrap(), &["eu-central-1", "kinesis", "logs", "s3", "aws.region"]);

    // As people read it: before the first thing that is missing.
    let config = stand.config();
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let output =
        program(&["check", "--config", config.to_str().unwrap()], &[variables(&keys), own.to_vec()].concat())
            .await;
    let said = String::from_utf8_lossy(&output.stdout);
    let at = |part: &str| said.lines().position(|line| line.contains(part)).unwrap_or(usize::MAX);
    let (note, first) = (at("the region may be wrong"), at("FAIL "));
    assert!(note < first && first < usize::MAX, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_no_account_is_shown_and_no_region_is_doubted() {
    let stand = Stand::brisk(2).await;
    let url = format!("http://{}", serve(ABSENT).await);
    let keys = [("AWS_AUTH", "none"), (SERVICES[1], &*url), (SERVICES[2], &url), (SERVICES[3], &url)];
    let document = check(&stand, &keys, &[]).await;
    let who = the(&document, "who am I, AWS");
    assert_eq!(who["mark"], "not_tried", "{who:#}");
    has_all(detail(who), &["aws.auth is \"none\"", "no account is known"]);
    let notes = document["notes"].to_string();
    assert!(!notes.contains("the region may be wrong"), "{notes}");
    let of_stream = with_mark(&document, "fail").into_iter().find(|it| it["stage"] == "tenant_stream");
    has_all(&of_stream.unwrap()["mend"].to_string(), &["the emulator gives to dummy credentials"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_another_region_is_listed_there_and_the_key_to_set_is_named() {
    let stand = Stand::brisk(1).await;
    let url = format!("http://{}", serve(MOVED).await);
    let document = check(&stand, &[(SERVICES[3], &*url)], &[]).await;
    let failed = with_mark(&document, "fail");
    assert!(!failed.is_empty(), "{document:#}");
    for finding in failed {
        let mend = &finding["mend"];
        let key = format!("stage.{}.region", finding["stage"].as_str().unwrap());
        assert_eq!(mend["key"], *key, "{finding:#}");
        let expected = format!("aws --endpoint-url {url} s3 ls --region us-west-2 ");
        has_all(mend["command"].as_str().unwrap(), &[&expected]);
        has_all(
            mend["possibilities"][0].as_str().unwrap(),
            &[&format!("{key}, or else aws.region, is \"us-west-2\"")],
        );
    }
    let notes = document["notes"].to_string();
    assert!(!notes.contains("the region may be wrong"), "the others are found: {notes}");
}
