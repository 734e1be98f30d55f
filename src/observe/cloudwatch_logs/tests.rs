use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use serde_json::{Value, json};

use super::*;
use crate::cloud::account::Account;
use crate::domain::canary::{Integrity, Template};
use crate::domain::sighting::{FailureKind, ReadStats, WantedTrace};
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};

const NOW: i64 = 1_795_321_800;

fn keys(secret: &str) -> Keyring {
    Keyring::new(TagKey::new(secret).unwrap(), Vec::new())
}

fn tag() -> Tag {
    Tag::new(
        TraceId::new(Timestamp::from_secs(NOW - 5), [3; 10]),
        TenantCode::of("acme"),
        InstanceCode::of("p"),
        100,
        Purpose::Probe,
    )
}

fn line(secret: &str) -> String {
    Template::default().render(&tag(), &keys(secret).sign(&tag()))
}

fn wanted() -> Wanted {
    Wanted {
        revision: 7,
        waiting: [WantedTrace { tag: tag(), planned_at: Timestamp::from_secs(NOW - 5) }].into(),
        ..Wanted::default()
    }
}

type Sent = Arc<Mutex<Vec<Value>>>;

fn observer(answers: Vec<(u16, Value)>) -> (CloudWatchLogs, Sent) {
    observer_within(RateLimit::default(), answers)
}

fn observer_within(rate_limit: RateLimit, answers: Vec<(u16, Value)>) -> (CloudWatchLogs, Sent) {
    let answers = Mutex::new(VecDeque::from(answers));
    let sent = Sent::default();
    let log = sent.clone();
    let http = infallible_client_fn(move |request| {
        let body = request.body().bytes().unwrap();
        log.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        let (status, body) = answers.lock().unwrap().pop_front().unwrap();
        http::Response::builder().status(status).body(SdkBody::from(body.to_string())).unwrap()
    });
    let config = aws_sdk_cloudwatchlogs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(http)
        .build();
    let recognizer = Recognizer {
        keys: Arc::new(keys("0123456789abcdef")),
        templates: [(TenantCode::of("acme"), Template::default())].into(),
    };
    let start = tokio::time::Instant::now();
    let clock = WallClock::new(move || Timestamp::from_secs(NOW) + start.elapsed());
    let mut settings = Settings::new(Account::in_region("eu-central-1"), "/export");
    settings.max_pages = 2;
    let client = Client::from_conf(config);
    (CloudWatchLogs::new(settings, rate_limit, client, recognizer, clock), sent)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn event(id: &str, message: &str) -> Value {
    json!({"eventId": id, "ingestionTime": (NOW - 3) * 1_000 + 7, "timestamp": NOW * 1_000, "message": message})
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_found_on_a_page_after_an_empty_one() {
    let message = line("0123456789abcdef");
    let (mut observer, sent) = observer(vec![
        (200, json!({"events": [], "nextToken": "t1"})),
        (200, json!({"events": [event("e1", &message)]})),
    ]);
    let poll = observer.poll(&wanted()).await.unwrap();
    let [sighting] = poll.sightings.as_slice() else { panic!("{poll:?}") };
    assert_eq!(sighting.tag, tag());
    assert_eq!(sighting.stamp, Stamp::Millis(Timestamp::from_millis((NOW - 3) * 1_000 + 7)));
    assert_eq!(sighting.integrity, Integrity::Intact);
    assert_eq!(sighting.locator, Locator::new("e1#0"));
    assert_eq!(poll.watermark, Some(Timestamp::from_secs(NOW - 10)));
    assert_eq!((poll.revision, poll.stats.records), (7, 1));
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0]["filterPattern"], "%zqtp%");
    assert_eq!(sent[0]["startTime"], (NOW - 65) * 1_000);
    assert_eq!(sent[1]["nextToken"], "t1");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_too_long_is_continued_in_the_next_poll() {
    let page = |token| (200, json!({"events": [], "nextToken": token}));
    let (mut observer, sent) = observer(vec![page("t1"), page("t2"), (200, json!({"events": []}))]);
    let first = observer.poll(&wanted()).await.unwrap();
    assert_eq!(first.watermark, None);
    let second = observer.poll(&wanted()).await.unwrap();
    assert_eq!(second.watermark, Some(Timestamp::from_secs(NOW - 10)));
    assert_eq!(sent.lock().unwrap()[2]["nextToken"], "t2");
}

#[tokio::test(start_paused = true)]
async fn events_of_a_gap_are_read_only_if_gaps_are_read() {
    for (gaps, from) in [(Gaps::Skip, NOW + 535), (Gaps::Read, NOW - 70)] {
        let page = (200, json!({"events": []}));
        let (mut observer, sent) = observer(vec![page.clone(), page]);
        observer.settings.gaps = gaps;
        observer.poll(&wanted()).await.unwrap();
        observer.on_idle();
        observer.clock = WallClock::new(|| Timestamp::from_secs(NOW + 600));
        let mut later = wanted();
        later.waiting =
            [WantedTrace { planned_at: Timestamp::from_secs(NOW + 595), ..*later.waiting.first().unwrap() }]
                .into();
        observer.poll(&later).await.unwrap();
        assert_eq!(sent.lock().unwrap()[1]["startTime"], from * 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_page_loses_neither_earlier_findings_nor_the_token() {
    let message = line("0123456789abcdef");
    let (mut observer, sent) = observer(vec![
        (200, json!({"events": [event("e1", &message)], "nextToken": "t1"})),
        (400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"})),
        (200, json!({"events": []})),
    ]);
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::Throttled);
    let found = observer.take_unreported();
    assert_eq!((found.sightings.len(), found.stats.records), (1, 1));
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(Timestamp::from_secs(NOW - 10))));
    let tokens: Vec<_> = sent.lock().unwrap().iter().map(|sent| sent["nextToken"].clone()).collect();
    assert_eq!(tokens, [Value::Null, json!("t1"), json!("t1")]);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_discarded_if_it_is_refused_and_kept_after_other_failures() {
    for (status, code, next) in
        [(503, "ServiceUnavailableException", json!("t1")), (400, "InvalidParameterException", Value::Null)]
    {
        let (mut observer, sent) = observer(vec![
            (200, json!({"events": [], "nextToken": "t1"})),
            (status, json!({"__type": code, "message": "why"})),
            (200, json!({"events": []})),
        ]);
        observer.poll(&wanted()).await.unwrap_err();
        observer.poll(&wanted()).await.unwrap();
        assert_eq!(sent.lock().unwrap()[2].get("nextToken").cloned().unwrap_or_default(), next);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_poll_continues_with_the_page_that_it_waited_for() {
    let message = line("0123456789abcdef");
    let (mut observer, sent) = observer(vec![
        (200, json!({"events": [event("e1", &message)], "nextToken": "t1"})),
        (200, json!({"events": []})),
    ]);
    let wanted = wanted();
    let poll = tokio::time::timeout(Duration::from_millis(100), observer.poll(&wanted));
    assert!(poll.await.is_err(), "the second page waits for the rate limit");
    assert_eq!(observer.take_unreported().sightings.len(), 1);
    assert!(observer.poll(&wanted).await.unwrap().watermark.is_some());
    assert_eq!(sent.lock().unwrap()[1]["nextToken"], "t1");
}

#[tokio::test(start_paused = true)]
async fn a_poll_reads_two_pages_a_second_until_its_time_budget_is_used_up() {
    let page = |token| (200, json!({"events": [], "nextToken": token}));
    let (mut observer, sent) = observer(vec![page("t1"), page("t2"), page("t3"), page("t4"), page("t5")]);
    observer.settings.max_pages = 100;
    observer.settings.poll_time_budget = Duration::from_secs(2);
    let start = tokio::time::Instant::now();
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.watermark, sent.lock().unwrap().len()), (None, 5));
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_the_rate_limit_leaves_no_call_says_so_and_calls_nothing() {
    let (limit, timeout) = (RateLimit::default(), Duration::from_secs(20));
    let groups = (0..60).map(|_| {
        let answers = vec![(200, json!({"events": []})); 20];
        observer_within(limit.clone(), answers)
    });
    let mut groups: Vec<_> = groups.collect();
    let wanted = wanted();
    let wanted = &wanted;
    let polls = groups.iter_mut().map(|(group, _)| async move {
        let (mut answered, mut failures) = (0, Vec::new());
        for _ in 0..5 {
            match tokio::time::timeout(timeout, group.poll(wanted)).await {
                Ok(Ok(_)) => answered += 1,
                Ok(Err(failure)) => failures.push(failure),
                Err(_) => panic!("it would be called a service that does not answer"),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        (answered, failures)
    });
    let polls = futures::future::join_all(polls).await;
    assert!(polls.iter().any(|(answered, _)| *answered > 0));
    let failures: Vec<_> = polls.into_iter().flat_map(|(_, failures)| failures).collect();
    assert!(!failures.is_empty());
    for failure in failures {
        assert_eq!(failure.kind, FailureKind::OverBudget);
        let text = "FilterLogEvents on `/export`: not called; 60 log groups of this account and region share \
                    max_calls_per_second = 2, so a round of polls takes at least 30 s: raise it, or interval";
        assert_eq!(&*failure.detail, text);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_in_overlapping_windows_is_counted_once() {
    let mut random = fastrand::Rng::with_seed(5);
    let opaque: String = (0..3_000).map(|_| random.char('\u{0}'..'\u{9f}')).collect();
    let wrapped = (0..9).fold(opaque.into_bytes(), |bytes, _| gzip(&bytes));
    let foreign = event("e1", &line("another key, sixteen+"));
    let unreadable = event("e2", &base64::engine::general_purpose::STANDARD.encode(wrapped));
    let page = (200, json!({"events": [foreign, unreadable]}));
    let (mut observer, _) = observer(vec![page.clone(), page.clone(), page]);
    let first = observer.poll(&wanted()).await.unwrap();
    assert_eq!((first.sightings.len(), first.stats.records, first.stats.foreign_tags), (0, 2, 1));
    assert_eq!((first.stats.decode_errors, first.unreadable.len()), (1, 1));
    for idle in [false, true] {
        if idle {
            observer.on_idle();
        }
        let again = observer.poll(&wanted()).await.unwrap();
        assert_eq!((again.stats, again.unreadable), (ReadStats::default(), vec![]));
    }
}

#[test]
fn events_are_remembered_as_long_as_windows_have_them() {
    let mut counted = CountedEvents::default();
    assert!(counted.note("old") && counted.note("e1") && !counted.note("e1"));
    for _ in 0..3 {
        counted.end_window();
        assert!(!counted.note("e1"));
    }
    assert_eq!(counted.last_window.len() + counted.this_window.len(), 2, "no window has the other any more");
}

#[tokio::test(start_paused = true)]
async fn an_event_without_an_id_or_a_message_proves_nothing_absent() {
    for field in ["eventId", "message"] {
        let mut odd = event("e2", &line("0123456789abcdef"));
        odd.as_object_mut().unwrap().remove(field);
        let page = json!({"events": [event("e1", &line("0123456789abcdef")), odd]});
        let (mut observer, _) = observer(vec![(200, page)]);
        let failure = observer.poll(&wanted()).await.unwrap_err();
        let text = "FilterLogEvents on `/export`: an event has no id or no message";
        assert_eq!((failure.kind, &*failure.detail), (FailureKind::Garbled, text));
        assert_eq!(observer.take_unreported().sightings.len(), 1, "the other is found");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_have_a_kind_and_name_the_call() {
    for (status, code, kind) in [
        (400, "ThrottlingException", FailureKind::Throttled),
        (400, "AccessDeniedException", FailureKind::Denied),
        (400, "ResourceNotFoundException", FailureKind::NotFound),
        (503, "ServiceUnavailableException", FailureKind::Error),
    ] {
        let (mut observer, _) = observer(vec![(status, json!({"__type": code, "message": "why"}))]);
        let error = observer.poll(&wanted()).await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert_eq!(&*error.detail, format!("FilterLogEvents on `/export`: {code}: why"));
    }
}
