//! Credentials that are refused before they expire.

use aws_credential_types::provider::{ProvideCredentials, future::ProvideCredentials as Providing};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use tokio::time::Instant;

use super::*;

const EXPIRED: (u16, &str) = (
    400,
    r#"{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}"#,
);
const REVOKED: (u16, &str) = (
    400,
    r#"{"__type":"AccessDeniedException","message":"User: arn:aws:sts::111111111111:assumed-role/r/traceprobe is not authorized to perform: logs:PutLogEvents with an explicit deny in an identity-based policy"}"#,
);
const NOT_ALLOWED: (u16, &str) = (
    400,
    r#"{"__type":"AccessDeniedException","message":"User: arn:aws:sts::111111111111:assumed-role/r/traceprobe is not authorized to perform: logs:PutLogEvents because no identity-based policy allows the logs:PutLogEvents action"}"#,
);

/// A fake of STS and CloudWatch Logs. STS issues numbered sessions; CloudWatch Logs refuses those up to `revoked`.
struct Stub {
    aws: Aws,
    state: Arc<Mutex<State>>,
}

#[derive(Default, Debug)]
struct State {
    /// How many sessions were issued, by AssumeRole and to the probe itself.
    issued: usize,
    revoked: usize,
}

impl Stub {
    async fn new(refusal: (u16, &'static str)) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let service = state.clone();
        let http = infallible_client_fn(move |request: http::Request<SdkBody>| {
            let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
            let mut state = service.lock().unwrap();
            let (status, body) = if body.contains("Action=AssumeRole") {
                state.issued += 1;
                (200, GRANTED.replace("ASIA", &format!("ASIA{}", state.issued)))
            } else {
                let signed = request.headers()["authorization"].to_str().unwrap();
                let session = (1..=state.revoked).find(|n| signed.contains(&format!("ASIA{n}/")));
                let (status, body) = session.map_or((200, "{}"), |_| refusal);
                (status, body.to_owned())
            };
            http::Response::builder().status(status).body(SdkBody::from(body)).unwrap()
        });
        let settings = AwsSettings {
            region: Some("eu-central-1".into()),
            endpoint: Some("http://127.0.0.1:1".into()),
            ..AwsSettings::default()
        };
        let mut aws = Aws::with_http_client(settings, Calls::default(), http).await;
        let own = Credentials::new("AKIA", "s", None, None, "test");
        aws.base = aws.base.to_builder().credentials_provider(SharedCredentialsProvider::new(own)).build();
        Self { aws, state }
    }

    fn issued(&self) -> usize {
        self.state.lock().unwrap().issued
    }

    fn revoke(&self) {
        let mut state = self.state.lock().unwrap();
        state.revoked = state.issued;
    }

    fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        self.aws.logs(&Account { region: "eu-central-1".into(), role: Some(role()) })
    }
}

async fn put(logs: &aws_sdk_cloudwatchlogs::Client) -> bool {
    let event = InputLogEvent::builder().timestamp(0).message("canary").build().unwrap();
    logs.put_log_events().log_group_name("g").log_stream_name("s").log_events(event).send().await.is_ok()
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn canaries_are_accepted_again_within_seconds_of_a_revocation_for_one_assume_role() {
    for refusal in [EXPIRED, REVOKED] {
        let stub = Stub::new(refusal).await;
        let logs = stub.logs();
        let start = Instant::now();
        let mut refused = Vec::new();
        while start.elapsed() < Duration::from_secs(120) {
            if start.elapsed() == Duration::from_secs(25) {
                stub.revoke();
            }
            if !put(&logs).await {
                refused.push(start.elapsed().as_secs());
            }
            pause(5).await;
        }
        assert_eq!((refused, stub.issued()), (vec![25], 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_stays_refused_is_assumed_once_a_minute() {
    let stub = Stub::new(EXPIRED).await;
    stub.state.lock().unwrap().revoked = usize::MAX;
    let logs = stub.logs();
    for _ in 0..10 * 60 {
        assert!(!put(&logs).await);
        pause(1).await;
    }
    assert_eq!(stub.issued(), 1 + 10, "the first one, and one for each minute");
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_on_their_way_with_the_old_credentials_do_not_replace_the_new_ones() {
    let stub = Stub::new(EXPIRED).await;
    let logs = stub.logs();
    assert!(put(&logs).await);
    stub.revoke();
    let _ = futures::future::join_all((0..30).map(|_| put(&logs))).await;
    assert!(put(&logs).await);
    assert_eq!(stub.issued(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_needs_no_new_credentials() {
    let stub = Stub::new(NOT_ALLOWED).await;
    stub.state.lock().unwrap().revoked = usize::MAX;
    let logs = stub.logs();
    for _ in 0..5 {
        assert!(!put(&logs).await);
        pause(60).await;
    }
    assert_eq!(stub.issued(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_credentials_of_the_probe_itself_are_fetched_again_too() {
    #[derive(Debug)]
    struct Numbered(Arc<Mutex<State>>);

    impl ProvideCredentials for Numbered {
        fn provide_credentials<'a>(&'a self) -> Providing<'a>
        where
            Self: 'a,
        {
            let mut state = self.0.lock().unwrap();
            state.issued += 1;
            let key = format!("ASIA{}", state.issued);
            Providing::ready(Ok(Credentials::new(key, "s", None, None, "test")))
        }
    }

    let mut stub = Stub::new(EXPIRED).await;
    let provider = SharedCredentialsProvider::new(Numbered(stub.state.clone()));
    stub.aws.base = stub.aws.base.to_builder().credentials_provider(provider).build();
    let logs = stub.aws.logs(&Account::in_region("eu-central-1"));
    assert!(put(&logs).await);
    stub.revoke();
    assert!(!put(&logs).await);
    assert!(put(&logs).await);
    assert_eq!(stub.issued(), 2);
}
