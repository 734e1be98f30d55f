use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::domain::canary::MAX_MESSAGE_BYTES;

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Action {
    Answer(u16, &'static str),
    Hang,
    RefuseConnection,
    CutConnection,
}

const OK: Action = Action::Answer(200, "{}");
const THROTTLED: Action =
    Action::Answer(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
const MISSING: Action = Action::Answer(
    400,
    r#"{"__type":"ResourceNotFoundException","message":"The specified log stream does not exist."}"#,
);
const EXISTS: Action =
    Action::Answer(400, r#"{"__type":"ResourceAlreadyExistsException","message":"it does"}"#);
const DENIED: Action =
    Action::Answer(400, r#"{"__type":"AccessDeniedException","message":"User: x is not authorized"}"#);

/// A fake of CloudWatch Logs that follows a script and records the requests.
#[derive(Clone, Debug, Default)]
struct Server {
    script: Arc<Mutex<VecDeque<Action>>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

/// An injector whose calls this connector answers.
pub(crate) fn injector_of(server: impl HttpConnector + Clone + 'static, clock: WallClock) -> Injector {
    let config = aws_sdk_cloudwatchlogs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(server.clone())))
        .build();
    let settings = Settings {
        log_group: "/acme/app".into(),
        log_stream: "traceprobe/1".into(),
        retry: Retry::USUAL,
        attempt_timeout: Duration::from_secs(5),
    };
    Injector::new(settings, aws_sdk_cloudwatchlogs::Client::from_conf(config), clock)
}

impl Server {
    fn new(script: &[Action]) -> Self {
        Self { script: Arc::new(Mutex::new(script.iter().copied().collect())), requests: Arc::default() }
    }

    fn operations(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(operation, _)| operation.clone()).collect()
    }

    fn bodies(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    fn injector(&self) -> Injector {
        let start = tokio::time::Instant::now();
        let clock = WallClock::new(move || Timestamp::from_secs(1_795_321_781) + start.elapsed());
        injector_of(self.clone(), clock)
    }

    async fn put(&self, count: u8) -> Report {
        self.injector().put(canaries(count), &CancellationToken::new()).await
    }
}

impl HttpConnector for Server {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = String::from_utf8(request.body().bytes().unwrap_or_default().to_vec()).unwrap();
        self.requests.lock().unwrap().push((operation, body));
        // After the end of the script, every request succeeds.
        let action = self.script.lock().unwrap().pop_front().unwrap_or(OK);
        HttpConnectorFuture::new(async move {
            let io = |kind: std::io::ErrorKind| Err(ConnectorError::io(std::io::Error::from(kind).into()));
            match action {
                Action::Answer(status, body) => {
                    let answer = http::Response::builder().status(status).body(SdkBody::from(body)).unwrap();
                    Ok(answer.try_into().unwrap())
                }
                Action::Hang => std::future::pending().await,
                Action::RefuseConnection => io(std::io::ErrorKind::ConnectionRefused),
                Action::CutConnection => io(std::io::ErrorKind::ConnectionReset),
            }
        })
    }
}

fn canaries(count: u8) -> Vec<CanaryLine> {
    (0..count)
        .map(|n| {
            let planned_at = Timestamp::from_millis(1_795_321_781_000 + i64::from(n));
            let trace = TraceId::new(planned_at, [n; 10]);
            CanaryLine { trace, tenant: TenantId(0), planned_at, line: format!("canary {n}") }
        })
        .collect()
}

fn only(report: &Report) -> &PutResult {
    let (_, first) = &report.results[0];
    assert!(report.results.iter().all(|(_, result)| result == first), "{report:?}");
    first
}

fn reason(result: &PutResult) -> &str {
    match result {
        PutResult::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn all_canaries_go_into_one_call() {
    let server = Server::new(&[]);
    let report = server.put(3).await;
    assert_eq!(server.operations(), ["PutLogEvents"]);
    assert_eq!(report.results.len(), 3);
    assert_eq!(only(&report), &PutResult::Accepted { doubled: false });
    let body: serde_json::Value = serde_json::from_str(&server.bodies()[0]).unwrap();
    assert_eq!(body["logGroupName"], "/acme/app");
    assert_eq!(
        body["logEvents"][2],
        serde_json::json!({"timestamp": 1_795_321_781_002_i64, "message": "canary 2"})
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_to_send_makes_no_call() {
    let server = Server::new(&[]);
    assert_eq!(server.put(0).await, Report::default());
    assert!(server.operations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missing_log_stream_is_created_and_the_canary_is_not_doubled() {
    let server = Server::new(&[MISSING, OK, OK]);
    assert_eq!(only(&server.put(1).await), &PutResult::Accepted { doubled: false });
    assert_eq!(server.operations(), ["PutLogEvents", "CreateLogStream", "PutLogEvents"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_stream_that_another_instance_created_meanwhile_is_fine() {
    let server = Server::new(&[MISSING, EXISTS, OK]);
    assert_eq!(only(&server.put(1).await), &PutResult::Accepted { doubled: false });
}

#[tokio::test(start_paused = true)]
async fn a_missing_log_group_is_refused_with_its_name() {
    let server = Server::new(&[MISSING, MISSING]);
    assert_eq!(reason(only(&server.put(1).await)), "the log group `/acme/app` does not exist");
}

#[tokio::test(start_paused = true)]
async fn a_log_stream_that_must_not_be_created_is_refused_with_its_name() {
    let report = Server::new(&[MISSING, DENIED]).put(1).await;
    let reason = reason(only(&report));
    assert!(reason.contains("`traceprobe/1`") && reason.contains("AccessDeniedException"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn events_rejected_by_a_successful_answer_are_refused_and_the_others_accepted() {
    let rejected = r#"{"rejectedLogEventsInfo":{"tooNewLogEventStartIndex":3,"tooOldLogEventEndIndex":2,"expiredLogEventEndIndex":1}}"#;
    let report = Server::new(&[Action::Answer(200, rejected)]).put(4).await;
    let reasons: Vec<&str> = [0, 1, 3].map(|n| reason(&report.results[n].1)).to_vec();
    assert!(
        reasons[0].contains("retention") && reasons[1].contains("14 days") && reasons[2].contains("2 hours")
    );
    assert_eq!(report.results[2].1, PutResult::Accepted { doubled: false });
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_and_has_a_reason() {
    let server = Server::new(&[DENIED]);
    let report = server.put(2).await;
    assert!(reason(only(&report)).starts_with("AccessDeniedException: User: x"), "{report:?}");
    assert_eq!(server.operations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_meets_expired_or_revoked_credentials_is_repeated_once_with_new_ones() {
    const EXPIRED: Action = Action::Answer(400, r#"{"__type":"ExpiredTokenException","message":"expired"}"#);
    const REVOKED: Action = Action::Answer(
        400,
        r#"{"__type":"AccessDeniedException","message":"User: x is not authorized to perform: logs:PutLogEvents with an explicit deny in an identity-based policy"}"#,
    );
    for refusal in [EXPIRED, REVOKED] {
        let server = Server::new(&[refusal]);
        assert_eq!(only(&server.put(1).await), &PutResult::Accepted { doubled: false });
        let server = Server::new(&[refusal, refusal, refusal]);
        assert!(matches!(only(&server.put(1).await), PutResult::Refused { .. }));
        assert_eq!(server.operations().len(), 2, "the new ones are refused, too");
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_and_a_refused_connection_are_retried_without_a_possible_duplicate() {
    let server = Server::new(&[THROTTLED, Action::RefuseConnection]);
    assert_eq!(only(&server.put(1).await), &PutResult::Accepted { doubled: false });
    assert_eq!(server.operations().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_attempt_is_repeated_unchanged_and_marks_a_possible_duplicate() {
    for first in [
        Action::Hang,
        Action::CutConnection,
        Action::Answer(500, r#"{"__type":"InternalFailure"}"#),
        Action::Answer(502, "<html>"),
        Action::Answer(503, "<html>"),
    ] {
        let server = Server::new(&[first]);
        assert_eq!(only(&server.put(2).await), &PutResult::Accepted { doubled: true }, "{first:?}");
        assert_eq!(server.bodies()[0], server.bodies()[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_duration_of_a_put_includes_all_attempts_and_pauses() {
    let started = tokio::time::Instant::now();
    let server = Server::new(&[THROTTLED, Action::Hang, THROTTLED, MISSING, THROTTLED]);
    let report = server.put(1).await;
    assert_eq!(report.puts.len(), 1);
    assert_eq!(report.puts[0].took.as_micros(), started.elapsed().as_micros());
    // One attempt hung for 5 s, and the injector paused for at least half of 200 ms after each of four.
    assert!(report.puts[0].took > Duration::from_millis(5_400), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_given_up_took_the_whole_retry_time() {
    let report = Server::new(&[THROTTLED; 500]).put(1).await;
    assert_eq!(report.puts[0].took, Retry::USUAL.max_elapsed, "the attempts themselves take no time");
}

#[tokio::test(start_paused = true)]
async fn each_tenant_of_a_call_is_reported_with_its_own_bytes() {
    let server = Server::new(&[Action::Hang]);
    let [first, second, third] = canaries(3).try_into().unwrap();
    let second = CanaryLine { tenant: TenantId(1), line: "twelve bytes".into(), ..second };
    let report = server.injector().put(vec![first, second, third], &CancellationToken::new()).await;
    assert_eq!(report.results.len(), 3);
    assert_eq!(server.operations().len(), 2, "one call, attempted twice");
    let puts: Vec<_> = report.puts.iter().map(|put| (put.tenant, put.bytes)).collect();
    assert_eq!(puts, [(TenantId(0), 16), (TenantId(1), 12)]);
    assert!(report.puts.iter().all(|put| put.took > Duration::from_secs(5)), "{report:?}");
    assert_eq!(report.puts[0].took, report.puts[1].took);
}

#[tokio::test(start_paused = true)]
async fn a_canary_too_large_for_any_call_is_not_put() {
    let server = Server::new(&[]);
    let mut too_large = canaries(1);
    too_large[0].line = "x".repeat(MAX_MESSAGE_BYTES + 1);
    let report = server.injector().put(too_large, &CancellationToken::new()).await;
    assert_eq!((report.results.len(), report.puts.len()), (1, 0));
    assert!(server.operations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_put_without_any_answer_is_ambiguous_and_given_up_in_time() {
    let started = tokio::time::Instant::now();
    let report = Server::new(&[Action::Hang; 50]).put(1).await;
    assert!(matches!(only(&report), PutResult::Ambiguous { doubled: true, .. }), "{report:?}");
    assert!(started.elapsed() <= Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_always_throttled_is_refused_in_the_end() {
    let report = Server::new(&[THROTTLED; 500]).put(1).await;
    assert_eq!(reason(only(&report)), "ThrottlingException: Rate exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unanswered_attempt_is_ambiguous() {
    let report = Server::new(&[Action::Hang, DENIED]).put(1).await;
    let PutResult::Ambiguous { doubled: false, reason } = only(&report) else { panic!("{report:?}") };
    assert!(reason.contains("AccessDenied"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_attempts_and_reports_what_is_known() {
    let server = Server::new(&[Action::Hang]);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let report = server.injector().put(canaries(1), &cancel).await;
    assert!(matches!(only(&report), PutResult::Ambiguous { doubled: false, .. }), "{report:?}");
    assert_eq!(server.operations().len(), 1);
}

/// Returns how a put is classified whose role could not be assumed: STS answered `code` and `status`.
fn without_role(code: &str, status: u16) -> PutOutcome {
    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_sts::operation::assume_role::AssumeRoleError;
    use aws_smithy_runtime_api::http::{Response, StatusCode};
    let meta = aws_smithy_types::error::ErrorMetadata::builder().code(code).message("m").build();
    let raw = Response::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
    let sts = SdkError::service_error(AssumeRoleError::generic(meta), raw);
    let cause = ConnectorError::other(CredentialsError::provider_error(sts).into(), None);
    let error: SdkError<aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsError> =
        SdkError::dispatch_failure(cause);
    answer::classify_error("PutLogEvents", &error)
}

#[test]
fn a_denied_role_is_final_and_a_busy_token_service_is_not() {
    for code in ["AccessDenied", "RegionDisabledException", "ValidationError"] {
        let answer = without_role(code, 403);
        let PutOutcome::Refused { reason } = &answer else { panic!("{code}: {answer:?}") };
        assert_eq!(&**reason, format!("AssumeRole: {code}: m"));
    }
    for (code, status) in [("Throttling", 400), ("InternalFailure", 500), ("ServiceUnavailable", 503)] {
        let answer = without_role(code, status);
        assert!(matches!(answer, PutOutcome::Retryable { .. }), "{code}: {answer:?}");
    }
}
