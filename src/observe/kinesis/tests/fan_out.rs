use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use tokio::sync::mpsc::{self, Receiver};

use super::*;

const ARN: &str = "arn:aws:kinesis:eu-central-1:111111111111:stream/logs-acme";
const CONSUMER: &str = "arn:aws:kinesis:eu-central-1:111111111111:stream/logs-acme/consumer/traceprobe:1";

/// Most events that wait in a subscription.
const EVENTS: usize = 32;

/// What the service sends into an open subscription.
type Sent = Result<Bytes, std::io::Error>;

/// Sends into a subscription, which ends when this is dropped.
struct Sender(mpsc::Sender<Sent>);

impl Sender {
    fn event(&self, records: &[Value], continuation: &str, behind: i64) {
        self.send(
            "SubscribeToShardEvent",
            &json!({
                "Records": records, "ContinuationSequenceNumber": continuation, "MillisBehindLatest": behind,
            }),
        );
    }

    fn send(&self, event: &str, payload: &Value) {
        self.message(&[(":message-type", "event"), (":event-type", event)], payload);
    }

    fn fail(&self, exception: &str) {
        let headers = [(":message-type", "exception"), (":exception-type", exception)];
        self.message(&headers, &json!({"message": "details"}));
    }

    fn message(&self, headers: &[(&'static str, &str)], payload: &Value) {
        let mut message = Message::new(payload.to_string().into_bytes())
            .add_header(Header::new(":content-type", HeaderValue::String("application/json".into())));
        for (name, value) in headers {
            message = message.add_header(Header::new(*name, HeaderValue::String((*value).to_owned().into())));
        }
        let mut frame = Vec::new();
        write_message_to(&message, &mut frame).unwrap();
        self.0.try_send(Ok(frame.into())).unwrap();
    }
}

fn body(mut received: Receiver<Sent>) -> SdkBody {
    let frames = futures::stream::poll_fn(move |context| received.poll_recv(context));
    let frames = frames.map(|bytes| bytes.map(hyper::body::Frame::data));
    SdkBody::from_body_1_x(BoxBody::new(StreamBody::new(frames)))
}

/// A stream with one shard, and an observer of it whose clock goes with the runtime's.
fn stream(settings: Settings) -> (Service, Kinesis) {
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[])]);
    let begun = Instant::now();
    let clock = WallClock::new(move || t(0) + begun.elapsed());
    let kinesis = service.kinesis_with(settings, Pages::default(), clock);
    (service, kinesis)
}

fn fanned_out() -> Settings {
    Settings { consumer: Some(CONSUMER.to_owned()), ..settings() }
}

/// The next subscription of a shard.
fn accept(service: &Service, shard: &str) -> Sender {
    let (sender, received) = mpsc::channel(EVENTS);
    let mut state = service.state.lock().unwrap();
    state.subscriptions.entry(shard.to_owned()).or_default().push_back(body(received));
    Sender(sender)
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_is_reported_with_the_streams_stamp() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[record(1, "11")], "11", 0);
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/11#0"]);
    assert_eq!(poll.sightings[0].stamp, Stamp::Millis(Timestamp::from_millis(NOW * 1000 - 3_250)));
    assert_eq!(poll.watermark, Some(t(-1)));
    assert_eq!((poll.stats.records, poll.stats.behind), (1, Some(Duration::ZERO)));
    let [subscribed] = &service.calls("SubscribeToShard")[..] else { panic!("not subscribed once") };
    assert_eq!((&subscribed["ConsumerARN"], &subscribed["ShardId"]), (&json!(CONSUMER), &json!("s-0")));
    assert_eq!(subscribed["StartingPosition"]["Type"], "AT_TIMESTAMP");
    assert_eq!(subscribed["StartingPosition"]["Timestamp"].as_f64(), Some((NOW - 15) as f64));
    assert_eq!(service.calls("GetRecords").len(), 0);

    tokio::time::sleep(Duration::from_secs(1)).await;
    sender.event(&[record(2, "12")], "12", 0);
    assert_eq!(locators(&kinesis.poll(&wanted()).await.unwrap()), ["s-0/12#0"]);
    assert_eq!(service.calls("SubscribeToShard").len(), 1, "the subscription goes on");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_waiting_covers_only_what_two_earlier_polls_had_seen_the_end_of() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    assert_eq!(kinesis.poll(&wanted()).await.unwrap().watermark, Some(t(-1)));
    // It may have been sent at any time of these twenty seconds, for instance before the process was stopped.
    tokio::time::sleep(Duration::from_secs(20)).await;
    sender.event(&[], "10", 0);
    assert_eq!(kinesis.poll(&wanted_from(t(15))).await.unwrap().watermark, Some(t(-1)));
    tokio::time::sleep_until(Instant::now() + Duration::from_secs(4)).await;
    sender.event(&[], "10", 0);
    let watermark = kinesis.poll(&wanted_from(t(15))).await.unwrap().watermark;
    assert_eq!(watermark, Some(t(-1)), "what was sent before 20 s may have been on its way then");
    tokio::time::sleep_until(Instant::now() + Duration::from_secs(4)).await;
    sender.event(&[], "10", 0);
    let watermark = kinesis.poll(&wanted_from(t(15))).await.unwrap().watermark.unwrap();
    assert!((t(19)..t(20)).contains(&watermark), "the last poll but one began at 20 s: {watermark:?}");
    let quiet = kinesis.poll(&wanted_from(t(15))).await.unwrap().watermark;
    assert_eq!(quiet, Some(watermark), "silence proves nothing more");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_held_up_for_a_poll_does_not_cover_what_is_held_up_behind_it() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    // The first event is sent at 2 s, the other one right behind it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    kinesis.poll(&wanted()).await.unwrap();
    for (events, records) in [("first", record(1, "11")), ("second", record(2, "12"))] {
        sender.event(&[records], "12", 0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let poll = kinesis.poll(&wanted()).await.unwrap();
        assert_eq!(poll.sightings.len(), 1, "{events}");
        if events == "first" {
            assert!(poll.watermark <= Some(t(2)), "{:?}", poll.watermark);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_read_until_nothing_more_has_come() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[record(1, "11")], "11", 9_000);
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec!["s-0/11#0"], None));
    assert_eq!(poll.stats.behind, Some(Duration::from_secs(9)));
    sender.event(&[record(2, "12")], "12", 4_000);
    sender.event(&[record(3, "13")], "13", 0);
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/12#0", "s-0/13#0"]);
    assert_eq!(poll.watermark, Some(t(-1)));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_whose_time_is_over_is_renewed_where_it_ended() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[record(1, "11")], "17", 0);
    kinesis.poll(&wanted()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(sender);
    kinesis.poll(&wanted()).await.unwrap();
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!(service.calls("SubscribeToShard").len(), 1, "a call within five seconds would be refused");
    assert_eq!(poll.watermark, Some(t(-1)), "what was covered stays so");
    let sender = accept(&service, "s-0");
    sender.event(&[record(2, "18")], "18", 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/18#0"]);
    assert!(poll.watermark > Some(t(4)), "{:?}", poll.watermark);
    let position = &service.calls("SubscribeToShard")[1]["StartingPosition"];
    assert_eq!(
        (&position["Type"], &position["SequenceNumber"]),
        (&json!("AFTER_SEQUENCE_NUMBER"), &json!("17"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_another_reader_takes_is_a_failure_and_taken_back() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[record(1, "11")], "11", 0);
    kinesis.poll(&wanted()).await.unwrap();
    sender.fail("ResourceInUseException");
    tokio::time::sleep(Duration::from_secs(7)).await;
    let error = kinesis.poll(&wanted()).await.unwrap_err();
    let text = error.detail.as_str();
    assert!(
        text.starts_with("SubscribeToShard on s-0 of stream logs-acme: ResourceInUseException"),
        "{text}"
    );
    for cause in ["another reader uses the same consumer", "is not ACTIVE yet", "restarted within 5 s"] {
        assert!(text.contains(cause), "{text}");
    }
    accept(&service, "s-0").event(&[record(2, "12")], "12", 0);
    assert_eq!(locators(&kinesis.poll(&wanted()).await.unwrap()), ["s-0/12#0"]);
}

#[tokio::test(start_paused = true)]
async fn a_split_shard_is_followed() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[record(1, "11")], "11", 0);
    kinesis.poll(&wanted()).await.unwrap();
    let child = |id: &str| {
        json!({
            "ShardId": id, "ParentShards": ["s-0"],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "4"},
        })
    };
    sender.send(
        "SubscribeToShardEvent",
        &json!({
            "Records": [], "ContinuationSequenceNumber": "", "MillisBehindLatest": 0,
            "ChildShards": [child("s-1"), child("s-2")],
        }),
    );
    service.state.lock().unwrap().lists = [closing(shards(&["s-0", "s-1", "s-2"]), &["s-0"])].into();
    let (one, two) = (accept(&service, "s-1"), accept(&service, "s-2"));
    one.event(&[record(2, "21")], "21", 0);
    two.event(&[record(3, "31")], "31", 0);
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-1/21#0", "s-2/31#0"]);
    assert_eq!(service.calls("SubscribeToShard").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_silent_for_too_long_is_a_failure() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    kinesis.poll(&wanted()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let error = kinesis.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Timeout);
    assert_eq!(error.detail.as_str(), "SubscribeToShard on s-0 of stream logs-acme: no event for 35 s");
}

/// Begins an event that never ends.
fn send_without_end(sender: &Sender) {
    let mut chunk = vec![0; 4 << 20];
    // Its length.
    chunk[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    let chunk = Bytes::from(chunk);
    for _ in 0..9 {
        sender.0.try_send(Ok(chunk.clone())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_becomes_too_long_is_a_failure() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    send_without_end(&sender);
    let error = kinesis.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::OverBudget);
    let expected = "SubscribeToShard on s-0 of stream logs-acme: an event of more than 32 MiB";
    assert_eq!(error.detail.as_str(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_first_event_that_becomes_too_long_is_a_failure() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    send_without_end(&sender);
    let wanted = wanted();
    let poll = tokio::time::timeout(Duration::from_secs(60), kinesis.poll(&wanted)).await;
    let error = poll.expect("it waits for the end of the event").unwrap_err();
    assert!(error.detail.ends_with("it has more than 32 MiB"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn events_that_were_taken_are_not_counted_against_the_next_ones() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    let padding = "x".repeat(5 << 20);
    for _ in 0..7 {
        let event = json!({
            "Records": [], "ContinuationSequenceNumber": "10", "MillisBehindLatest": 0, "Padding": padding,
        });
        sender.send("SubscribeToShardEvent", &event);
        kinesis.poll(&wanted()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_an_unknown_kind_are_skipped_some_at_a_time_and_prove_nothing() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    for _ in 0..20 {
        sender.send("NewerEvent", &json!({}));
    }
    sender.event(&[record(2, "12")], "12", 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec![], Some(t(-1))));
    // It was sent before that poll began.
    let poll = kinesis.poll(&wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec!["s-0/12#0"], Some(t(-1))));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_nothing_waits() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    kinesis.on_idle();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(sender.0.is_closed(), "the subscription is still open");
    tokio::time::sleep(Duration::from_secs(53)).await;
    accept(&service, "s-0").event(&[record(2, "12")], "12", 0);
    assert_eq!(locators(&kinesis.poll(&wanted_from(t(55))).await.unwrap()), ["s-0/12#0"]);
    let position = &service.calls("SubscribeToShard")[1]["StartingPosition"];
    assert_eq!(position["Timestamp"].as_f64(), Some((NOW + 45) as f64));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_waits_soon_again_is_read_although_another_subscription_would_be_refused() {
    let (service, mut kinesis) = stream(fanned_out());
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    kinesis.on_idle();
    kinesis.on_idle();
    tokio::time::sleep(Duration::from_secs(3)).await;
    sender.event(&[record(2, "12")], "12", 0);
    assert_eq!(locators(&kinesis.poll(&wanted_from(t(3))).await.unwrap()), ["s-0/12#0"]);
    assert_eq!(service.calls("SubscribeToShard").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_named_is_described_once() {
    let settings = Settings {
        consumer: Some("traceprobe".to_owned()),
        ..Settings::new(Account::in_region("eu-central-1"), ARN)
    };
    let (service, mut kinesis) = stream(settings);
    let described = json!({
        "ConsumerARN": CONSUMER, "ConsumerName": "traceprobe", "ConsumerStatus": "ACTIVE",
        "ConsumerCreationTimestamp": NOW, "StreamARN": ARN,
    });
    service.state.lock().unwrap().consumer = json!({"ConsumerDescription": described});
    let sender = accept(&service, "s-0");
    sender.event(&[], "10", 0);
    kinesis.poll(&wanted()).await.unwrap();
    kinesis.poll(&wanted()).await.unwrap();
    let [described] = &service.calls("DescribeStreamConsumer")[..] else { panic!("not described once") };
    assert_eq!((&described["StreamARN"], &described["ConsumerName"]), (&json!(ARN), &json!("traceprobe")));
    assert_eq!(service.calls("SubscribeToShard")[0]["ConsumerARN"], CONSUMER);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_does_not_exist_is_named_with_its_key() {
    let settings = Settings {
        consumer: Some("other".to_owned()),
        ..Settings::new(Account::in_region("eu-central-1"), ARN)
    };
    let (service, mut kinesis) = stream(settings);
    service.state.lock().unwrap().consumer = error("ResourceNotFoundException");
    let text = kinesis.poll(&wanted()).await.unwrap_err().detail.to_string();
    assert!(
        text.starts_with(&format!("DescribeStreamConsumer on consumer other of stream {ARN}: ")),
        "{text}"
    );
    assert!(text.ends_with("; register it, or correct its name (consumer)"), "{text}");
}
