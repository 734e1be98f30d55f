use std::collections::VecDeque;
use std::sync::Mutex;

use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::domain::canary::MAX_MESSAGE;

/// What the far end does with one request.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u16, &'static str),
    Hang,
    RefuseConnection,
    CutConnection,
}

const OK: Does = Does::Answer(200, "{}");
const THROTTLED: Does = Does::Answer(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
const MISSING: Does = Does::Answer(
    400,
    r#"{"__type":"ResourceNotFoundException","message":"The specified log stream does not exist."}"#,
);
const EXISTS: Does = Does::Answer(400, r#"{"__type":"ResourceAlreadyExistsException","message":"it does"}"#);
const DENIED: Does =
    Does::Answer(400, r#"{"__type":"AccessDeniedException","message":"User: x is not authorized"}"#);

/// The far end: follows a script and keeps what it was sent.
#[derive(Clone, Debug, Default)]
struct FarEnd {
    script: Arc<Mutex<VecDeque<Does>>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl FarEnd {
    fn new(script: &[Does]) -> Self {
        Self { script: Arc::new(Mutex::new(script.iter().copied().collect())), requests: Arc::default() }
    }

    fn operations(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(operation, _)| operation.clone()).collect()
    }

    fn bodies(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    fn injector(&self) -> Injector {
        let far_end = self.clone();
        let config = aws_sdk_cloudwatchlogs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(far_end.clone())))
            .build();
        let settings = Settings {
            log_group: "/acme/app".into(),
            log_stream: "traceprobe/1".into(),
            retry: Retry::default(),
            attempt_timeout: Duration::from_secs(5),
        };
        let start = tokio::time::Instant::now();
        let clock = WallClock::new(move || Timestamp::from_secs(1_795_321_781) + start.elapsed());
        Injector::new(settings, aws_sdk_cloudwatchlogs::Client::from_conf(config), clock)
    }

    async fn put(&self, count: u8) -> Report {
        self.injector().put(canaries(count), &CancellationToken::new()).await
    }
}

impl HttpConnector for FarEnd {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = String::from_utf8(request.body().bytes().unwrap_or_default().to_vec()).unwrap();
        self.requests.lock().unwrap().push((operation, body));
        // A script that has run out is a service that works.
        let does = self.script.lock().unwrap().pop_front().unwrap_or(OK);
        HttpConnectorFuture::new(async move {
            let io = |kind: std::io::ErrorKind| Err(ConnectorError::io(std::io::Error::from(kind).into()));
            match does {
                Does::Answer(status, body) => {
                    let answer = http::Response::builder().status(status).body(SdkBody::from(body)).unwrap();
                    Ok(answer.try_into().unwrap())
                }
                Does::Hang => std::future::pending().await,
                Does::RefuseConnection => io(std::io::ErrorKind::ConnectionRefused),
                Does::CutConnection => io(std::io::ErrorKind::ConnectionReset),
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
async fn all_canaries_go_in_one_call() {
    let far_end = FarEnd::new(&[]);
    let report = far_end.put(3).await;
    assert_eq!(far_end.operations(), ["PutLogEvents"]);
    assert_eq!(report.results.len(), 3);
    assert_eq!(only(&report), &PutResult::Accepted { doubled: false });
    let body: serde_json::Value = serde_json::from_str(&far_end.bodies()[0]).unwrap();
    assert_eq!(body["logGroupName"], "/acme/app");
    assert_eq!(
        body["logEvents"][2],
        serde_json::json!({"timestamp": 1_795_321_781_002_i64, "message": "canary 2"})
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_to_send_makes_no_call() {
    let far_end = FarEnd::new(&[]);
    assert_eq!(far_end.put(0).await, Report::default());
    assert!(far_end.operations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missing_log_stream_is_created_and_the_canary_is_not_doubled() {
    let far_end = FarEnd::new(&[MISSING, OK, OK]);
    assert_eq!(only(&far_end.put(1).await), &PutResult::Accepted { doubled: false });
    assert_eq!(far_end.operations(), ["PutLogEvents", "CreateLogStream", "PutLogEvents"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_stream_that_another_instance_created_meanwhile_is_fine() {
    let far_end = FarEnd::new(&[MISSING, EXISTS, OK]);
    assert_eq!(only(&far_end.put(1).await), &PutResult::Accepted { doubled: false });
}

#[tokio::test(start_paused = true)]
async fn a_missing_log_group_is_refused_in_words() {
    let far_end = FarEnd::new(&[MISSING, MISSING]);
    assert_eq!(reason(only(&far_end.put(1).await)), "there is no log group `/acme/app`");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_not_be_created_is_refused_with_its_name() {
    let report = FarEnd::new(&[MISSING, DENIED]).put(1).await;
    let reason = reason(only(&report));
    assert!(reason.contains("`traceprobe/1`") && reason.contains("AccessDeniedException"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn events_that_a_good_answer_lists_as_rejected_are_refused_and_the_rest_is_taken() {
    let rejected = r#"{"rejectedLogEventsInfo":{"tooNewLogEventStartIndex":3,"tooOldLogEventEndIndex":2,"expiredLogEventEndIndex":1}}"#;
    let report = FarEnd::new(&[Does::Answer(200, rejected)]).put(4).await;
    let reasons: Vec<&str> = [0, 1, 3].map(|n| reason(&report.results[n].1)).to_vec();
    assert!(
        reasons[0].contains("retention") && reasons[1].contains("14 days") && reasons[2].contains("2 hours")
    );
    assert_eq!(report.results[2].1, PutResult::Accepted { doubled: false });
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_and_says_why() {
    let far_end = FarEnd::new(&[DENIED]);
    let report = far_end.put(2).await;
    assert!(reason(only(&report)).starts_with("AccessDeniedException: User: x"), "{report:?}");
    assert_eq!(far_end.operations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn throttling_and_a_refused_connection_are_tried_again_without_suspicion() {
    let far_end = FarEnd::new(&[THROTTLED, Does::RefuseConnection, Does::Answer(503, "<html>")]);
    assert_eq!(only(&far_end.put(1).await), &PutResult::Accepted { doubled: false });
    assert_eq!(far_end.operations().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_try_is_sent_again_as_it_was_and_marks_the_canary_as_maybe_doubled() {
    for first in [
        Does::Hang,
        Does::CutConnection,
        Does::Answer(500, r#"{"__type":"InternalFailure"}"#),
        Does::Answer(502, "<html>"),
    ] {
        let far_end = FarEnd::new(&[first]);
        assert_eq!(only(&far_end.put(2).await), &PutResult::Accepted { doubled: true }, "{first:?}");
        assert_eq!(far_end.bodies()[0], far_end.bodies()[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_takes_from_its_first_try_to_its_result_with_the_pauses_between_them() {
    let started = tokio::time::Instant::now();
    let far_end = FarEnd::new(&[THROTTLED, Does::Hang, THROTTLED, MISSING, THROTTLED]);
    let report = far_end.put(1).await;
    assert_eq!(report.puts.len(), 1);
    assert_eq!(report.puts[0].took.as_micros(), started.elapsed().as_micros());
    // One try hung for 5 s, and after each of four the injector paused for at least half of 200 ms.
    assert!(report.puts[0].took > Duration::from_millis(5_400), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_took_all_the_time_that_it_was_tried() {
    let report = FarEnd::new(&[THROTTLED; 500]).put(1).await;
    assert_eq!(report.puts[0].took, Retry::default().max_elapsed, "no try takes any time");
}

#[tokio::test(start_paused = true)]
async fn each_tenant_of_a_call_is_reported_with_the_bytes_of_its_own_canaries() {
    let far_end = FarEnd::new(&[Does::Hang]);
    let [first, second, third] = canaries(3).try_into().unwrap();
    let second = CanaryLine { tenant: TenantId(1), line: "twelve bytes".into(), ..second };
    let report = far_end.injector().put(vec![first, second, third], &CancellationToken::new()).await;
    assert_eq!(report.results.len(), 3);
    assert_eq!(far_end.operations().len(), 2, "one call, tried twice");
    let puts: Vec<_> = report.puts.iter().map(|put| (put.tenant, put.bytes)).collect();
    assert_eq!(puts, [(TenantId(0), 16), (TenantId(1), 12)]);
    assert!(report.puts.iter().all(|put| put.took > Duration::from_secs(5)), "{report:?}");
    assert_eq!(report.puts[0].took, report.puts[1].took);
}

#[tokio::test(start_paused = true)]
async fn what_no_call_can_carry_was_not_put() {
    let far_end = FarEnd::new(&[]);
    let mut too_large = canaries(1);
    too_large[0].line = "x".repeat(MAX_MESSAGE + 1);
    let report = far_end.injector().put(too_large, &CancellationToken::new()).await;
    assert_eq!((report.results.len(), report.puts.len()), (1, 0));
    assert!(far_end.operations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_never_answered_is_ambiguous_and_given_up_in_time() {
    let started = tokio::time::Instant::now();
    let report = FarEnd::new(&[Does::Hang; 50]).put(1).await;
    assert_eq!(only(&report), &PutResult::Ambiguous { doubled: true });
    assert!(started.elapsed() <= Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_always_throttled_is_refused_in_the_end() {
    let report = FarEnd::new(&[THROTTLED; 500]).put(1).await;
    assert_eq!(reason(only(&report)), "ThrottlingException: Rate exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unanswered_try_leaves_it_in_doubt() {
    let report = FarEnd::new(&[Does::Hang, DENIED]).put(1).await;
    assert_eq!(only(&report), &PutResult::Ambiguous { doubled: false });
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_tries_and_reports_what_is_known() {
    let far_end = FarEnd::new(&[Does::Hang]);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let report = far_end.injector().put(canaries(1), &cancel).await;
    assert_eq!(only(&report), &PutResult::Ambiguous { doubled: false });
    assert_eq!(far_end.operations().len(), 1);
}

/// What the injector makes of a put whose role could not be assumed: STS answered with `code` and `status`.
fn without_role(code: &str, status: u16) -> Answer {
    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_sts::operation::assume_role::AssumeRoleError;
    use aws_smithy_runtime_api::http::{Response, StatusCode};
    let meta = aws_smithy_types::error::ErrorMetadata::builder().code(code).message("m").build();
    let raw = Response::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
    let sts = SdkError::service_error(AssumeRoleError::generic(meta), raw);
    let cause = ConnectorError::other(CredentialsError::provider_error(sts).into(), None);
    let error: SdkError<aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsError> =
        SdkError::dispatch_failure(cause);
    answer::of_error("PutLogEvents", &error)
}

#[test]
fn a_denied_role_is_final_and_a_busy_token_service_is_not() {
    for code in ["AccessDenied", "RegionDisabledException", "ValidationError"] {
        let answer = without_role(code, 403);
        let Answer::Refused(reason) = &answer else { panic!("{code}: {answer:?}") };
        assert_eq!(&**reason, format!("AssumeRole: {code}: m"));
    }
    for (code, status) in [("Throttling", 400), ("InternalFailure", 500), ("ServiceUnavailable", 503)] {
        let answer = without_role(code, status);
        assert!(matches!(answer, Answer::NotTaken(_)), "{code}: {answer:?}");
    }
}
