use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use serde_json::{Value, json};

use super::*;
use crate::cloud::account::Account;
use crate::domain::canary::{Integrity, Template};
use crate::domain::sighting::WantedTrace;
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};

const NOW: i64 = 1_795_321_800;
const URL: &str = "https://sqs.eu-central-1.amazonaws.com/999999999999/dead-letters";

fn tag() -> Tag {
    let trace = TraceId::new(Timestamp::from_secs(NOW - 60), [3; 10]);
    Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("p"), 200, Purpose::Probe)
}

fn keys() -> Keyring {
    Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new())
}

fn line() -> String {
    Template::default().render(&tag(), &keys().sign(&tag()))
}

fn wanted() -> Wanted {
    let waiting = WantedTrace { tag: tag(), planned_at: Timestamp::from_secs(NOW - 60) };
    Wanted { revision: 7, waiting: [waiting].into(), ..Wanted::default() }
}

type Sent = Arc<Mutex<Vec<(String, Value)>>>;

/// An observer in front of a service that gives these answers. What it is asked is recorded, by operation.
fn observer(settings: Settings, answers: Vec<Value>) -> (Sqs, Sent) {
    let answers = Mutex::new(VecDeque::from(answers));
    let sent = Sent::default();
    let log = sent.clone();
    let http = infallible_client_fn(move |request: http::Request<SdkBody>| {
        let operation = request.headers()["x-amz-target"].to_str().unwrap().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        log.lock().unwrap().push((operation, body));
        let body = answers.lock().unwrap().pop_front().unwrap();
        http::Response::builder().status(200).body(SdkBody::from(body.to_string())).unwrap()
    });
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(http)
        .build();
    let recognizer = Recognizer {
        keys: Arc::new(keys()),
        templates: [(TenantCode::of("acme"), Template::default())].into(),
    };
    let clock = WallClock::new(|| Timestamp::from_secs(NOW));
    let streams = vec![("mystream".to_owned(), SourceId(4)), ("other".to_owned(), SourceId(5))];
    (Sqs::new(settings, streams, Client::from_conf(config), recognizer, clock), sent)
}

fn settings() -> Settings {
    Settings::new(Account::in_region("eu-central-1"), URL)
}

fn peeking() -> Settings {
    Settings { peek: true, ..settings() }
}

fn depth(visible: u64, hidden: u64) -> Value {
    json!({"Attributes": {
        "ApproximateNumberOfMessages": visible.to_string(),
        "ApproximateNumberOfMessagesNotVisible": hidden.to_string(),
        "ApproximateNumberOfMessagesDelayed": "0",
    }})
}

fn messages(bodies: &[String]) -> Value {
    let message = |(number, body): (usize, &String)| {
        let sent = ((NOW - 5) * 1_000).to_string();
        json!({"MessageId": format!("m{number}"), "ReceiptHandle": "r", "Body": body,
               "Attributes": {"SentTimestamp": sent}})
    };
    json!({"Messages": bodies.iter().enumerate().map(message).collect::<Vec<_>>()})
}

/// What a subscription sends to a function.
fn subscription_event() -> Value {
    let envelope = json!({
        "messageType": "DATA_MESSAGE", "owner": "111111111111", "logGroup": "/ecs/acme/app", "logStream": "s",
        "subscriptionFilters": ["f"], "logEvents": [{"id": "1", "timestamp": 1, "message": line()}],
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, envelope.to_string().as_bytes()).unwrap();
    let data = base64::engine::general_purpose::STANDARD.encode(packed.finish().unwrap());
    json!({"awslogs": {"data": data}})
}

#[tokio::test]
async fn without_its_owners_consent_only_the_number_of_messages_is_read() {
    let (mut queue, sent) = observer(settings(), vec![depth(3, 2)]);
    let poll = queue.poll(&wanted()).await.unwrap();
    assert_eq!((poll.stats.queued, poll.watermark), (Some(5), None));
    assert_eq!((poll.sightings, poll.failed_batches), (vec![], vec![]));
    let operations: Vec<_> = sent.lock().unwrap().iter().map(|(operation, _)| operation.clone()).collect();
    assert_eq!(operations, ["AmazonSQS.GetQueueAttributes"]);
}

#[tokio::test]
async fn a_canary_is_found_in_every_form_of_dead_letter_that_has_content() {
    let event = subscription_event();
    let on_failure = json!({
        "version": "1.0", "timestamp": "2026-11-14T00:38:06.021Z",
        "requestContext": {"requestId": "r", "functionArn": "f", "condition": "RetriesExhausted",
                           "approximateInvokeCount": 3},
        "requestPayload": event.clone(),
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "boom"},
    });
    let forms = [
        ("the record", line()),
        ("the record in JSON", json!({"tenant": "acme", "reason": "boom", "content": line()}).to_string()),
        ("the event of an asynchronous invocation", event.to_string()),
        ("its on-failure destination", on_failure.to_string()),
        (
            "a notification of a topic",
            json!({"Type": "Notification", "Message": event.to_string()}).to_string(),
        ),
    ];
    for (name, body) in forms {
        let (mut queue, _) = observer(peeking(), vec![depth(1, 0), messages(&[body]), json!({})]);
        let poll = queue.poll(&wanted()).await.unwrap();
        let [seen] = poll.sightings.as_slice() else { panic!("{name}: {poll:?}") };
        assert_eq!((seen.tag, seen.integrity), (tag(), Integrity::Intact), "{name}");
        assert_eq!(seen.stamp, Stamp::Millis(Timestamp::from_secs(NOW - 5)), "{name}");
        assert_eq!(seen.locator, Locator::new("m0#0"), "{name}");
    }
}

#[tokio::test]
async fn a_message_that_was_moved_from_another_queue_arrived_some_time_after_it_was_sent() {
    let batch = include_str!("fixtures/kinesis-on-failure.json").to_owned();
    let mut answer = messages(&[line(), batch]);
    let from = "arn:aws:sqs:eu-central-1:999999999999:work";
    for message in answer["Messages"].as_array_mut().unwrap() {
        message["Attributes"]["DeadLetterQueueSourceArn"] = json!(from);
    }
    let (mut queue, sent) = observer(peeking(), vec![depth(2, 0), answer, json!({})]);
    let poll = queue.poll(&wanted()).await.unwrap();
    let not_before = Stamp::NotBefore(Timestamp::from_secs(NOW - 5));
    let ([seen], [failed]) = (&poll.sightings[..], &poll.failed_batches[..]) else { panic!("{poll:?}") };
    assert_eq!((seen.stamp, failed.stamp), (not_before, not_before));
    let sent = sent.lock().unwrap();
    let requested = json!(["SentTimestamp", "DeadLetterQueueSourceArn"]);
    assert_eq!(sent[1].1["MessageSystemAttributeNames"], requested);
}

#[tokio::test]
async fn a_peek_hides_few_messages_shortly_and_deletes_none() {
    let many: Vec<String> = (0..10).map(|n| format!("message {n}")).collect();
    let settings = Settings { max_messages: 15, ..peeking() };
    let answers = vec![depth(1_000, 0), messages(&many), messages(&many[..5])];
    let (mut queue, sent) = observer(settings, answers);
    queue.poll(&wanted()).await.unwrap();
    let sent = sent.lock().unwrap();
    let received: Vec<_> = sent[1..].iter().map(|(_, body)| body["MaxNumberOfMessages"].as_u64()).collect();
    assert_eq!(received, [Some(10), Some(5)]);
    for (operation, body) in &sent[1..] {
        assert_eq!(operation, "AmazonSQS.ReceiveMessage");
        assert_eq!((&body["VisibilityTimeout"], &body["WaitTimeSeconds"]), (&json!(2), &json!(0)));
    }
}

#[tokio::test]
async fn a_message_that_is_received_again_is_not_reported_twice() {
    let received = || [depth(1, 0), messages(&[line()]), json!({})];
    let (mut queue, _) = observer(peeking(), received().into_iter().chain(received()).collect());
    assert_eq!(queue.poll(&wanted()).await.unwrap().sightings.len(), 1);
    assert_eq!(queue.poll(&wanted()).await.unwrap().sightings, []);
}

#[test]
fn the_oldest_of_too_many_known_messages_are_forgotten_and_no_others() {
    let mut known = KnownMessages::default();
    for number in 0..=MAX_KNOWN {
        known.note(&number.to_string());
        known.note(&number.to_string());
    }
    let forgotten: Vec<_> = (0..=MAX_KNOWN).filter(|number| !known.contains(&number.to_string())).collect();
    assert_eq!((forgotten, known.ids.len()), (vec![0], MAX_KNOWN));
}

#[tokio::test]
async fn a_message_without_an_id_is_a_failure_and_the_others_are_found() {
    let mut answer = messages(&[line(), line()]);
    answer["Messages"][1].as_object_mut().unwrap().remove("MessageId");
    let (mut queue, _) = observer(peeking(), vec![depth(2, 0), answer]);
    let failure = queue.poll(&wanted()).await.unwrap_err();
    let text = format!("ReceiveMessage from `{URL}`: a message has no id");
    assert_eq!((failure.kind, &*failure.detail), (FailureKind::Garbled, &*text));
    let found = queue.take_unreported();
    assert_eq!((found.sightings.len(), found.stats.records), (1, 1));
}

#[tokio::test]
async fn a_queue_that_would_move_its_messages_is_not_peeked_at() {
    let mut moves = depth(1, 0);
    moves["Attributes"]["RedrivePolicy"] = json!("{\"deadLetterTargetArn\":\"arn\",\"maxReceiveCount\":5}");
    let (mut queue, sent) = observer(peeking(), vec![moves]);
    let error = queue.poll(&wanted()).await.unwrap_err();
    assert!(error.to_string().contains("redrive policy"), "{error}");
    assert_eq!(sent.lock().unwrap().len(), 1);
    assert_eq!(queue.take_unreported().stats.queued, Some(1), "its depth is known all the same");
}

#[tokio::test]
async fn a_failed_batch_of_a_stream_is_reported_with_every_poll() {
    let letter = include_str!("fixtures/kinesis-on-failure.json").to_owned();
    let answers = vec![depth(1, 0), messages(&[letter]), json!({}), depth(0, 1), json!({})];
    let (mut queue, _) = observer(peeking(), answers);
    for poll in [queue.poll(&wanted()).await.unwrap(), queue.poll(&wanted()).await.unwrap()] {
        let [batch] = poll.failed_batches.as_slice() else { panic!("{poll:?}") };
        assert_eq!((batch.source, &*batch.letter), (SourceId(4), "m0"));
        let within = "shardId-000000000001/49601189658422359378836298522000000000000000000000000000";
        assert!(batch.holds(within));
        for other in [
            // Another shard, before, after, and no number.
            within.replace("0001/", "0002/"),
            within.replace("298522000", "298521827"),
            within.replace("298522000", "298522902999"),
            "shardId-000000000001/".to_owned(),
            "m0".to_owned(),
        ] {
            assert!(!batch.holds(&other), "{other}");
        }
    }
}

#[tokio::test]
async fn a_batch_of_a_stream_that_is_not_read_or_not_unique_says_nothing() {
    let letter = include_str!("fixtures/kinesis-on-failure.json");
    for (name, letter) in [
        ("a stream that is not read", letter.replace("stream/mystream", "stream/unknown")),
        ("no range", letter.replace("endSequenceNumber", "end")),
    ] {
        let (mut queue, _) = observer(peeking(), vec![depth(1, 0), messages(&[letter]), json!({})]);
        assert_eq!(queue.poll(&wanted()).await.unwrap().failed_batches, [], "{name}");
    }
    let (mut queue, _) = observer(peeking(), vec![depth(1, 0), messages(&[letter.to_owned()]), json!({})]);
    queue.streams.push(("mystream".to_owned(), SourceId(6)));
    assert_eq!(queue.poll(&wanted()).await.unwrap().failed_batches, [], "two accounts have such a stream");
}
