use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use tokio_util::sync::CancellationToken;

use super::answerer::{Answerer, Endpoint};
use super::*;
use crate::cloud::account::Account;
use crate::cloud::aws::{Aws, AwsSettings};
use crate::cloud::calls::{CallResult, Calls};
use crate::cloud::google::{Auth, BIGQUERY, Google, GoogleSettings, Request};
use crate::domain::tag::TraceId;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::TenantId;
use crate::domain::tracker::PutResult;
use crate::inject::{CanaryLine, Injector, Retry};
use crate::observe::ObserveError;

fn answer(status: u16) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty())
}

fn meta(code: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).message("the message").build()
}

fn service(code: &str, status: u16) -> Failure {
    Failure::of_aws(&SdkError::service_error(GetRecordsError::generic(meta(code)), answer(status)))
}

#[test]
fn the_code_decides_and_the_text_names_the_call() {
    let failure = service("AccessDeniedException", 400).calling("GetRecords on stream logs-acme");
    assert_eq!((failure.kind, failure.effect), (FailureKind::Denied, Effect::Refused));
    assert_eq!(failure.text, "GetRecords on stream logs-acme: AccessDeniedException: the message");
    assert_eq!(service("com.amazonaws.kinesis#ExpiredTokenException", 400).kind, FailureKind::Denied);
    assert_eq!(service("SomethingNew", 429).kind, FailureKind::Throttled);
}

/// Somebody at a configured endpoint.
fn answerer(title: &'static str, host: &str) -> Answerer {
    let endpoint = Some(Endpoint::new("the.key", "http://me:hush@logs.example/x"));
    Answerer { title, host: Some(host.to_owned()), usual: "https://usual".to_owned(), endpoint }
}

#[test]
fn a_success_that_cannot_be_parsed_is_not_of_the_service_that_an_endpoint_should_be() {
    let mut raw = answer(200);
    raw.add_extension(answerer("Kinesis", "logs.example"));
    let failure = Failure::of_aws(&SdkError::<GetRecordsError>::response_error("html", raw));
    assert_eq!(failure.kind, FailureKind::Garbled);
    let expected = "the.key is \"http://…@logs.example/x\", which does not answer like Kinesis; it has to stand for https://usual: \
                    the answer cannot be parsed (HTTP 200 from logs.example)";
    assert!(failure.text.starts_with(expected), "{}", failure.text);
}

#[test]
fn an_answer_without_a_code_shows_status_host_and_operation() {
    let mut raw = answer(502);
    *raw.body_mut() = SdkBody::from("<html>bad gateway</html>");
    raw.add_extension(answerer("Kinesis", "logs.example"));
    let error = GetRecordsError::unhandled("not JSON");
    let failure = Failure::of_aws(&SdkError::service_error(error, raw)).calling("GetRecords on stream s");
    assert_eq!((failure.kind, failure.effect), (FailureKind::Error, Effect::Unknown));
    assert_eq!(
        failure.text,
        "GetRecords on stream s: HTTP 502 from logs.example without an error code: <html>bad gateway</html>"
    );
}

#[test]
fn a_denied_role_is_not_a_network_failure() {
    let denied: SdkError<AssumeRoleError> =
        SdkError::service_error(AssumeRoleError::generic(meta("AccessDenied")), answer(403));
    let error: SdkError<GetRecordsError> =
        SdkError::dispatch_failure(ConnectorError::other(denied.into(), None));
    let failure = Failure::of_aws(&error);
    assert_eq!((failure.kind, failure.effect), (FailureKind::Denied, Effect::NotSent));
    assert_eq!(failure.text, "AssumeRole: AccessDenied: the message");
}

#[test]
fn an_unreachable_token_service_is_named() {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let sts: SdkError<AssumeRoleError> = SdkError::dispatch_failure(ConnectorError::io(refused.into()));
    let credentials = CredentialsError::provider_error(sts);
    let error: SdkError<GetRecordsError> =
        SdkError::dispatch_failure(ConnectorError::other(credentials.into(), None));
    let failure = Failure::of_aws(&error);
    assert_eq!((failure.kind, failure.effect), (FailureKind::Unreachable, Effect::NotSent));
    assert!(failure.text.starts_with("AssumeRole: "), "{}", failure.text);
}

#[test]
fn no_connection_no_answer_and_a_garbled_answer_are_different_failures() {
    let of = |error: SdkError<GetRecordsError>| {
        let failure = Failure::of_aws(&error);
        (failure.kind, failure.effect)
    };
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let failed = |error: std::io::Error| of(SdkError::dispatch_failure(ConnectorError::io(error.into())));
    assert_eq!(failed(refused), (FailureKind::Unreachable, Effect::NotSent));
    assert_eq!(failed(cut), (FailureKind::Unreachable, Effect::Unknown));
    assert_eq!(of(SdkError::timeout_error("slow")), (FailureKind::Timeout, Effect::Unknown));
    assert_eq!(of(SdkError::response_error("no", answer(200))), (FailureKind::Garbled, Effect::Unknown));
    assert_eq!(of(SdkError::response_error("html", answer(500))), (FailureKind::Error, Effect::Unknown));
    assert_eq!(of(SdkError::response_error("html", answer(503))), (FailureKind::Error, Effect::Refused));
}

#[test]
fn retry_after_is_passed_on() {
    let mut raw = answer(503);
    raw.headers_mut().insert("retry-after", "7");
    let error = SdkError::service_error(GetRecordsError::generic(meta("SlowDown")), raw);
    assert_eq!(Failure::of_aws(&error).retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_long_text_keeps_the_call_and_says_how_long_it_was() {
    let failure = Failure::new(FailureKind::Error, Effect::Unknown, "ä".repeat(100 << 10)).calling("x");
    assert!(failure.text.starts_with("x: ä") && failure.text.ends_with("ä... (200 KB)"), "{}", failure.text);
    assert!(failure.text.chars().count() < 330, "{}", failure.text);
}

fn google(status: u16, body: &str) -> FailureKind {
    Failure::of_google(status, &answerer("BigQuery", "h"), body.as_bytes(), None).kind
}

fn json(reason: &str, message: &str) -> String {
    serde_json::json!({"error": {"code": 0, "message": message, "errors": [{"reason": reason}]}}).to_string()
}

#[test]
fn the_reason_takes_precedence_over_the_status() {
    assert_eq!(google(403, &json("quotaExceeded", "")), FailureKind::Throttled);
    assert_eq!(google(403, &json("accessDenied", "")), FailureKind::Denied);
    assert_eq!(google(400, &json("bytesBilledLimitExceeded", "")), FailureKind::OverBudget);
    assert_eq!(google(400, &json("invalidQuery", "Unrecognized name: trace_id")), FailureKind::NotFound);
    assert_eq!(google(400, &json("invalidQuery", "Syntax error")), FailureKind::Error);
    assert_eq!(google(429, r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#), FailureKind::Throttled);
}

#[test]
fn the_page_of_a_gateway_keeps_its_status_host_and_retry_after() {
    let retry_after = Some(Duration::from_secs(9));
    let failure =
        Failure::of_google(503, &answerer("BigQuery", "bigquery.example"), b"<html>busy</html>", retry_after);
    assert_eq!((failure.kind, failure.retry_after), (FailureKind::Error, retry_after));
    assert_eq!(
        failure.calling("jobs.query").text,
        "jobs.query: HTTP 503 from bigquery.example without an error code: <html>busy</html>"
    );
}

#[test]
fn a_404_is_a_missing_table_only_in_the_words_of_google() {
    assert_eq!(google(404, &json("notFound", "")), FailureKind::NotFound);
    for body in ["404 page not found", "", "<html>", r#"{"detail":"Not Found"}"#] {
        let failure = Failure::of_google(404, &answerer("BigQuery", "h"), body.as_bytes(), None);
        assert_eq!((failure.kind, failure.effect), (FailureKind::Unreachable, Effect::Refused), "{body}");
        assert!(failure.text.contains("which does not answer like BigQuery"), "{}", failure.text);
        assert!(failure.text.contains("HTTP 404 from h without an error code"), "{}", failure.text);
    }
}

/// How the injector treats a failed put.
#[derive(PartialEq, Eq, Debug)]
enum Put {
    Refused,
    Retried,
    MaybeIn,
}

async fn aws(status: u16, body: String) -> Aws {
    let http = infallible_client_fn(move |_: http::Request<SdkBody>| {
        http::Response::builder().status(status).body(SdkBody::from(body.as_str())).unwrap()
    });
    let settings =
        AwsSettings { region: Some("eu-central-1".into()), anonymous: true, ..AwsSettings::default() };
    Aws::with_http_client(settings, Calls::default(), http).await
}

/// Returns the result of the calls so far, which must be the same for all.
fn counted(aws: &Aws) -> CallResult {
    let counts = aws.calls().snapshot();
    let (_, _, result, _) = counts[0];
    assert!(counts.iter().all(|(_, _, other, _)| *other == result), "{counts:?}");
    result
}

async fn put(aws: &Aws) -> Put {
    let settings = crate::inject::Settings {
        log_group: "g".into(),
        log_stream: "s".into(),
        retry: Retry { max_elapsed: Duration::from_secs(2), ..Retry::USUAL },
        attempt_timeout: Duration::from_secs(5),
    };
    let now = Timestamp::from_secs(1_795_321_781);
    let injector =
        Injector::new(settings, aws.logs(&Account::in_region("eu-central-1")), WallClock::new(move || now));
    let trace = TraceId::new(now, [1; 10]);
    let canary = CanaryLine { trace, tenant: TenantId(0), planned_at: now, line: "x".into() };
    let report = injector.put(vec![canary], &CancellationToken::new()).await;
    let calls = aws.calls().snapshot().into_iter().filter(|(_, operation, _, _)| operation == "PutLogEvents");
    match (&report.results[0].1, calls.map(|(_, _, _, count)| count).sum::<u64>()) {
        (PutResult::Refused { .. }, 1) => Put::Refused,
        (PutResult::Refused { .. }, _) => Put::Retried,
        (PutResult::Ambiguous { .. }, _) => Put::MaybeIn,
        (PutResult::Accepted { .. }, _) => panic!("accepted: {report:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn observer_injector_and_call_counter_agree_on_every_failure() {
    let table = [
        ("ThrottlingException", 400, FailureKind::Throttled, Put::Retried),
        ("ProvisionedThroughputExceededException", 400, FailureKind::Throttled, Put::Retried),
        ("RequestLimitExceeded", 503, FailureKind::Throttled, Put::Retried),
        ("SlowDown", 503, FailureKind::Throttled, Put::Retried),
        ("KMS.ThrottlingException", 400, FailureKind::Throttled, Put::Retried),
        ("AccessDeniedException", 400, FailureKind::Denied, Put::Refused),
        ("UnrecognizedClientException", 400, FailureKind::Denied, Put::Retried),
        ("IncompleteSignature", 400, FailureKind::Denied, Put::Refused),
        ("InvalidSignatureException", 400, FailureKind::Denied, Put::Refused),
        ("RequestExpired", 400, FailureKind::Denied, Put::Refused),
        ("ExpiredTokenException", 400, FailureKind::Denied, Put::Retried),
        ("ResourceNotFoundException", 400, FailureKind::NotFound, Put::Refused),
        ("RequestTimeout", 400, FailureKind::Timeout, Put::MaybeIn),
        ("InvalidParameterException", 400, FailureKind::Error, Put::Refused),
        ("ServiceUnavailableException", 503, FailureKind::Error, Put::MaybeIn),
        ("InternalFailure", 500, FailureKind::Error, Put::MaybeIn),
        ("", 403, FailureKind::Denied, Put::Refused),
        ("", 404, FailureKind::Unreachable, Put::Refused),
        ("", 429, FailureKind::Throttled, Put::Retried),
        ("", 502, FailureKind::Error, Put::MaybeIn),
        ("", 503, FailureKind::Error, Put::MaybeIn),
        ("", 504, FailureKind::Timeout, Put::MaybeIn),
    ];
    for (code, status, kind, injected) in table {
        let what = format!("{code} {status}");
        let (json, xml) = if code.is_empty() {
            ("<html>".to_owned(), "<html>".to_owned())
        } else {
            (
                serde_json::json!({"__type": format!("com.amazonaws#{code}"), "message": "m"}).to_string(),
                format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>"),
            )
        };
        let expected = (kind, CallResult::Failed(kind));

        let logs = aws(status, json.clone()).await;
        assert_eq!(put(&logs).await, injected, "{what}");
        assert_eq!(counted(&logs), expected.1, "put: {what}");

        let kinesis = aws(status, json).await;
        let account = Account::in_region("eu-central-1");
        let config = aws_sdk_kinesis::config::Builder::from(&kinesis.config("kinesis", &account))
            .interceptor(kinesis.counting("kinesis", &account));
        let client = aws_sdk_kinesis::Client::from_conf(config.build());
        let error = client.list_shards().stream_name("s").send().await.unwrap_err();
        let seen = ObserveError::from(Failure::of_aws(&error));
        assert_eq!((seen.kind, counted(&kinesis)), expected, "kinesis: {what}: {seen}");

        let s3 = aws(status, xml).await;
        let config = aws_sdk_s3::config::Builder::from(&s3.config("s3", &account))
            .interceptor(s3.counting("s3", &account));
        let client = aws_sdk_s3::Client::from_conf(config.build());
        let error = client.get_object().bucket("b").key("k").send().await.unwrap_err();
        let seen = ObserveError::from(Failure::of_aws(&error));
        assert_eq!((seen.kind, counted(&s3)), expected, "s3: {what}: {seen}");
        let names_host = seen.detail.contains("amazonaws.com");
        assert_eq!(names_host, code.is_empty(), "an answer without a code names its host: {seen}");
    }
}

/// Returns a client of a fake Google API that gives every call this answer.
async fn bigquery(status: u16, body: String) -> Google {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let app = axum::Router::new().fallback(async move || (status, body.clone()));
    #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let endpoints = [(BIGQUERY.name, url)].into();
    let settings = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
    Google::new(&settings, Calls::default()).await.unwrap()
}

#[tokio::test]
async fn observer_and_call_counter_agree_on_every_failure_of_google() {
    let table = [
        ("rateLimitExceeded", 403, FailureKind::Throttled),
        ("quotaExceeded", 403, FailureKind::Throttled),
        ("accessDenied", 403, FailureKind::Denied),
        ("authError", 401, FailureKind::Denied),
        ("notFound", 404, FailureKind::NotFound),
        ("bytesBilledLimitExceeded", 400, FailureKind::OverBudget),
        ("stopped", 400, FailureKind::Timeout),
        ("invalid", 400, FailureKind::Error),
        ("backendError", 503, FailureKind::Error),
        ("", 403, FailureKind::Denied),
        ("", 429, FailureKind::Throttled),
        ("", 502, FailureKind::Error),
        ("", 504, FailureKind::Timeout),
    ];
    for (reason, status, kind) in table {
        let body = if reason.is_empty() { "<html>".to_owned() } else { json(reason, "m") };
        let google = bigquery(status, body).await;
        let failure = google.send(Request::get(&BIGQUERY, "tables.get", "/x")).await.unwrap_err();
        let (_, _, counted, _) = google.calls().snapshot()[0];
        let seen = ObserveError::from(failure);
        assert_eq!((seen.kind, counted), (kind, CallResult::Failed(kind)), "{reason} {status}: {seen}");
        assert_eq!(seen.detail.contains("127.0.0.1"), reason.is_empty(), "{seen}");
    }
}

#[test]
fn results_of_calls_have_stable_labels() {
    let labels = FailureKind::ALL.map(|kind| CallResult::Failed(kind).as_str());
    let known =
        ["throttled", "denied", "not_found", "unreachable", "timeout", "error", "garbled", "over_budget"];
    assert_eq!(labels, known);
}
