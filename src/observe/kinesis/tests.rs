mod fan_out;
mod many_shards;
mod throttling;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::cloud::account::Account;
use crate::domain::canary::{Integrity, Template};
use crate::domain::format::UnreadableReason;
use crate::domain::sighting::WantedTrace;
use crate::domain::tag::Tag;
use crate::observe::fixtures::{self, recognizer};

const NOW: i64 = 1_795_321_781;

fn t(secs: i64) -> Timestamp {
    Timestamp::from_secs(NOW + secs)
}

fn tag(n: u8) -> Tag {
    fixtures::tag(n, t(-5))
}

fn wanted_from(planned_at: Timestamp) -> Wanted {
    let tag = tag(1);
    Wanted { revision: 7, waiting: [WantedTrace { tag, planned_at }].into(), ..Wanted::default() }
}

fn wanted() -> Wanted {
    wanted_from(t(-5))
}

fn record(n: u8, sequence: &str) -> Value {
    let line = Template::default().render(&tag(n), &recognizer().keys.sign(&tag(n)));
    // Without a partition key: records of a service-managed stream need not have one.
    json!({
        "SequenceNumber": sequence,
        "ApproximateArrivalTimestamp": NOW as f64 - 3.25,
        "Data": STANDARD.encode(line),
    })
}

fn shards(ids: &[&str]) -> Value {
    let shard = |id: &&str| {
        json!({
            "ShardId": id,
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        })
    };
    json!({"Shards": ids.iter().map(shard).collect::<Vec<_>>()})
}

/// The same list, in which these shards are closed.
fn closing(mut list: Value, ids: &[&str]) -> Value {
    for shard in list["Shards"].as_array_mut().unwrap() {
        if ids.iter().any(|id| shard["ShardId"] == *id) {
            shard["SequenceNumberRange"]["EndingSequenceNumber"] = json!("19");
        }
    }
    list
}

fn page(records: &[Value], next: Option<&str>, behind: i64) -> Value {
    json!({"Records": records, "NextShardIterator": next, "MillisBehindLatest": behind})
}

fn error(code: &str) -> Value {
    json!({"__type": code, "message": "details"})
}

/// A fake Kinesis. It answers GetRecords from a script for each shard, and records all calls.
#[derive(Clone, Default)]
struct Service {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lists: VecDeque<Value>,
    pages: std::collections::HashMap<String, VecDeque<Value>>,
    calls: Vec<(String, Value)>,
    /// Answers of SubscribeToShard, by shard.
    subscriptions: std::collections::HashMap<String, VecDeque<SdkBody>>,
    /// What DescribeStreamConsumer answers.
    consumer: Value,
    /// GetShardIterator behind this sequence number is refused.
    lost: Option<&'static str>,
    /// GetRecords with this iterator is never answered.
    stuck: Option<&'static str>,
    /// GetRecords is never answered.
    hangs: bool,
    /// How long every other answer takes, except those of SubscribeToShard.
    delay: Duration,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.rsplit('.').next().unwrap();
        let sent: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let iterator = sent["ShardIterator"].as_str();
        let state = || self.state.lock().unwrap();
        if iterator.is_some() && (state().hangs || iterator == state().stuck) {
            return HttpConnectorFuture::new(std::future::pending());
        }
        if operation == "SubscribeToShard" {
            let mut state = state();
            state.calls.push((operation.to_owned(), sent.clone()));
            let queued = state.subscriptions.get_mut(sent["ShardId"].as_str().unwrap());
            let body =
                queued.and_then(VecDeque::pop_front).expect("it is subscribed to more often than expected");
            let status = StatusCode::try_from(200).unwrap();
            return HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body)));
        }
        let answer = self.answer(operation, &sent);
        let status = if answer.get("__type").is_some() { 400 } else { 200 };
        let status = StatusCode::try_from(status).unwrap();
        let body = SdkBody::from(answer.to_string());
        let delay = state().delay;
        if delay.is_zero() {
            return HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body)));
        }
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(delay).await;
            Ok(HttpResponse::new(status, body))
        })
    }
}

impl Service {
    fn new(lists: &[Value], pages: &[(&str, &[Value])]) -> Self {
        let service = Self::default();
        {
            let mut state = service.state.lock().unwrap();
            state.lists = lists.iter().cloned().collect();
            for (shard, answers) in pages {
                let answers = answers.iter().cloned().collect();
                state.pages.insert((*shard).to_owned(), answers);
            }
        }
        service
    }

    fn answer(&self, operation: &str, sent: &Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.calls.push((operation.to_owned(), sent.clone()));
        match operation {
            "ListShards" if state.lists.len() > 1 => state.lists.pop_front().unwrap(),
            "ListShards" => state.lists.front().cloned().unwrap(),
            "GetShardIterator" if state.lost.is_some_and(|it| sent["StartingSequenceNumber"] == it) => {
                error("InvalidArgumentException")
            }
            // In these tests, an iterator is the id of its shard.
            "GetShardIterator" => json!({"ShardIterator": sent["ShardId"]}),
            "DescribeStreamConsumer" => state.consumer.clone(),
            "GetRecords" => {
                let shard = sent["ShardIterator"].as_str().unwrap();
                let pages = state.pages.get_mut(shard).unwrap();
                pages.pop_front().unwrap_or_else(|| page(&[], Some(shard), 0))
            }
            other => panic!("{other}"),
        }
    }

    fn kinesis(&self, settings: Settings) -> Kinesis {
        self.kinesis_in(settings, Pages::default())
    }

    fn kinesis_in(&self, settings: Settings, room: Pages) -> Kinesis {
        self.kinesis_with(settings, room, WallClock::new(|| t(0)))
    }

    /// Its clock goes with the runtime's.
    fn kinesis_in_time(&self, settings: Settings, room: Pages) -> Kinesis {
        let begun = Instant::now();
        self.kinesis_with(settings, room, WallClock::new(move || t(0) + begun.elapsed()))
    }

    fn kinesis_with(&self, settings: Settings, room: Pages, clock: WallClock) -> Kinesis {
        let service = SharedHttpConnector::new(self.clone());
        let http = http_client_fn(move |_, _| service.clone());
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(http)
            .build();
        Kinesis::new(settings, room, Client::from_conf(config), recognizer(), clock)
    }

    fn calls(&self, operation: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let calls = state.calls.iter().filter(|(name, _)| name == operation);
        calls.map(|(_, sent)| sent.clone()).collect()
    }
}

fn settings() -> Settings {
    Settings::new(Account::in_region("eu-central-1"), "logs-acme")
}

/// Polls when the read budget allows another call.
async fn poll_once(kinesis: &mut Kinesis, wanted: &Wanted) -> Result<Poll, ObserveError> {
    tokio::time::sleep(GAP).await;
    kinesis.poll(wanted).await
}

fn locators(poll: &Poll) -> Vec<&str> {
    poll.sightings.iter().map(|seen| seen.locator.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_reported_with_the_streams_stamp_and_the_sequence_number() {
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[page(&[record(1, "11")], Some("s-0"), 0)])]);
    let poll = service.kinesis(settings()).poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/11#0"]);
    let seen = &poll.sightings[0];
    assert_eq!(seen.tag, tag(1));
    assert_eq!(seen.stamp, Stamp::Millis(Timestamp::from_millis(NOW * 1000 - 3_250)));
    assert_eq!(seen.integrity, Integrity::Intact);
    assert_eq!(poll.revision, 7);
    assert_eq!(poll.watermark, Some(t(-1)));
    assert_eq!((poll.stats.records, poll.stats.bytes), (1, 200));
    assert_eq!(poll.stats.behind, Some(Duration::ZERO));
    let opened = &service.calls("GetShardIterator")[0];
    assert_eq!(opened["ShardIteratorType"], "AT_TIMESTAMP");
    assert_eq!(opened["Timestamp"].as_f64(), Some((NOW - 15) as f64));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_exceeds_a_limit_is_reported_as_unreadable() {
    let mut bomb = record(1, "11");
    let canary = STANDARD.decode(bomb["Data"].as_str().unwrap()).unwrap();
    // Nine layers, one more than are decoded.
    let wrapped = (0..9).fold(canary, |bytes, _| gzip(&bytes));
    bomb["Data"] = STANDARD.encode(wrapped).into();
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[page(&[bomb], Some("s-0"), 0)])]);
    let mut kinesis = service.kinesis(settings());
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!((poll.stats.records, poll.stats.decode_errors), (1, 1));
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!((record.part.reason, record.arrived_by), (UnreadableReason::OverLimit, t(0)));
    assert!(record.text.starts_with("record 11 in s-0 of stream logs-acme"), "{}", record.text);
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().unreadable, [], "it is reported once");
}

#[tokio::test(start_paused = true)]
async fn a_record_in_an_unknown_format_is_reported_with_its_format() {
    let mut opaque = record(1, "11");
    let mut rng = fastrand::Rng::with_seed(5);
    opaque["Data"] = STANDARD.encode((0..500).map(|_| rng.u8(..)).collect::<Vec<_>>()).into();
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[page(&[opaque], Some("s-0"), 0)])]);
    let mut kinesis = service.kinesis(settings());
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!((record.part.shape.to_string(), record.count), ("binary".to_owned(), 1));
    assert!(record.text.ends_with("binary, in a format that traceprobe does not know"), "{}", record.text);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_arn_is_sent_as_an_arn() {
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[])]);
    let arn = "arn:aws:kinesis:eu-central-1:111111111111:stream/logs-acme";
    let mut kinesis = service.kinesis(Settings::new(Account::in_region("eu-central-1"), arn));
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    for operation in ["ListShards", "GetShardIterator", "GetRecords"] {
        assert_eq!(service.calls(operation)[0]["StreamARN"], arn);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_behind_the_tip_proves_nothing() {
    let service = Service::new(
        &[shards(&["s-0", "s-1"])],
        &[("s-0", &[]), ("s-1", &[page(&[], Some("s-1"), 9_000), page(&[], Some("s-1"), 4_000)])],
    );
    let mut kinesis = service.kinesis(settings());
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!(poll.watermark, None);
    assert_eq!(poll.stats.behind, Some(Duration::from_secs(4)));
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
}

#[tokio::test(start_paused = true)]
async fn a_split_shard_is_read_to_its_end_before_its_children() {
    let split = json!({
        "Records": [record(1, "11")], "MillisBehindLatest": 0,
        "ChildShards": [
            {"ShardId": "s-1", "ParentShards": ["s-0"], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "4"}},
            {"ShardId": "s-2", "ParentShards": ["s-0"], "HashKeyRange": {"StartingHashKey": "5", "EndingHashKey": "9"}},
        ],
    });
    let service = Service::new(
        &[shards(&["s-0"]), closing(shards(&["s-0", "s-1", "s-2"]), &["s-0"])],
        &[
            ("s-0", &[split]),
            ("s-1", &[page(&[record(2, "21")], Some("s-1"), 0)]),
            ("s-2", &[page(&[record(3, "31")], Some("s-2"), 0)]),
        ],
    );
    let mut kinesis = service.kinesis(settings());
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/11#0", "s-1/21#0", "s-2/31#0"]);
    assert_eq!(poll.watermark, Some(t(-1)));
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(t(-1))));
    assert_eq!(service.calls("ListShards").len(), 2);
    let reads = service.calls("GetRecords").iter().filter(|sent| sent["ShardIterator"] == "s-0").count();
    assert_eq!(reads, 1, "a shard that was read to its end is not read again");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ended_and_is_listed_as_open_is_read_again() {
    for gaps in [Gaps::Skip, Gaps::Read] {
        // It names neither the next iterator nor children, for once.
        let odd = page(&[record(1, "11")], None, 0);
        let service = Service::new(
            &[shards(&["s-0"])],
            &[("s-0", &[odd, page(&[record(1, "11"), record(2, "12")], Some("s-0"), 0)])],
        );
        let mut kinesis = service.kinesis(Settings { gaps, ..settings() });
        let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
        assert_eq!((locators(&poll), poll.watermark), (vec!["s-0/11#0"], None));
        kinesis.on_idle();
        kinesis.clock = WallClock::new(|| t(600));
        let poll = poll_once(&mut kinesis, &wanted_from(t(599))).await.unwrap();
        assert_eq!((locators(&poll), poll.watermark), (vec!["s-0/11#0", "s-0/12#0"], Some(t(599))));
        let opened = &service.calls("GetShardIterator")[1];
        assert_eq!(opened["ShardIteratorType"], "AT_TIMESTAMP");
        // A little before its end, which a poll at 0 s proved up to a second before, or before the waiting canary.
        let from = if gaps == Gaps::Read { NOW - 11 } else { NOW + 589 };
        assert_eq!(opened["Timestamp"].as_f64(), Some(from as f64));
    }
}

#[tokio::test(start_paused = true)]
async fn shards_of_a_stream_that_was_created_again_are_read_although_their_ids_had_ended() {
    let split = json!({
        "Records": [], "MillisBehindLatest": 0,
        "ChildShards": [
            {"ShardId": "s-1", "ParentShards": ["s-0"], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"}},
        ],
    });
    let service = Service::new(
        &[shards(&["s-0"]), closing(shards(&["s-0", "s-1"]), &["s-0"]), shards(&["s-0", "s-1"])],
        &[
            ("s-0", &[split, page(&[record(2, "91")], Some("s-0"), 0)]),
            (
                "s-1",
                &[
                    page(&[], Some("s-1"), 0),
                    error("ResourceNotFoundException"),
                    page(&[record(3, "92")], Some("s-1"), 0),
                ],
            ),
        ],
    );
    let mut kinesis = service.kinesis(settings());
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, None, "the stream is deleted");
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    let mut found = locators(&poll);
    found.sort_unstable();
    assert_eq!((found, poll.watermark), (vec!["s-0/91#0", "s-1/92#0"], Some(t(-1))));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_behind_a_split_does_not_open_the_parent_again() {
    let split = json!({
        "Records": [], "MillisBehindLatest": 0,
        "ChildShards": [
            {"ShardId": "s-1", "ParentShards": ["s-0"], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"}},
        ],
    });
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[split]), ("s-1", &[])]);
    let mut kinesis = service.kinesis(settings());
    for _ in 0..3 {
        assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
    }
    let reads = service.calls("GetRecords").iter().filter(|sent| sent["ShardIterator"] == "s-0").count();
    assert_eq!(reads, 1);
}

#[tokio::test(start_paused = true)]
async fn shards_that_have_all_ended_prove_nothing() {
    let service = Service::new(
        &[shards(&["s-0"]), closing(shards(&["s-0"]), &["s-0"])],
        &[("s-0", &[page(&[], None, 0)])],
    );
    let mut kinesis = service.kinesis(settings());
    for _ in 0..3 {
        assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_is_not_read_while_its_parent_is_behind() {
    let mut list = shards(&["s-0", "s-1"]);
    list["Shards"][1]["ParentShardId"] = json!("s-0");
    let behind = page(&[], Some("s-0"), 5_000);
    let service = Service::new(&[list], &[("s-0", &[behind.clone(), behind]), ("s-1", &[])]);
    let poll = service.kinesis(settings()).poll(&wanted()).await.unwrap();
    assert_eq!(poll.watermark, None);
    assert!(service.calls("GetRecords").iter().all(|sent| sent["ShardIterator"] == "s-0"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_is_opened_again_after_the_last_record() {
    let service = Service::new(
        &[shards(&["s-0"])],
        &[(
            "s-0",
            &[
                page(&[record(1, "11")], Some("s-0"), 0),
                error("ExpiredIteratorException"),
                page(&[record(2, "12")], Some("s-0"), 0),
            ],
        )],
    );
    let mut kinesis = service.kinesis(settings());
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/12#0"]);
    assert_eq!(poll.watermark, Some(t(-1)));
    let opened = &service.calls("GetShardIterator")[1];
    assert_eq!(opened["ShardIteratorType"], "AFTER_SEQUENCE_NUMBER");
    assert_eq!(opened["StartingSequenceNumber"], "11");
}

#[tokio::test(start_paused = true)]
async fn a_poll_soon_after_a_failure_calls_the_shard_again() {
    let denied = || error("AccessDeniedException");
    let service =
        Service::new(&[shards(&["s-0"])], &[("s-0", &[page(&[], Some("s-0"), 0), denied(), denied()])]);
    let mut kinesis = service.kinesis(settings());
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap_err().kind, FailureKind::Denied);
    tokio::time::sleep(GAP / 2).await;
    assert_eq!(kinesis.poll(&wanted()).await.unwrap_err().kind, FailureKind::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_not_found() {
    let service = Service::new(&[error("ResourceNotFoundException")], &[]);
    let failure = service.kinesis(settings()).poll(&wanted()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(failure.detail.starts_with("ListShards on stream logs-acme: "), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn shards_are_listed_again_when_one_is_gone() {
    let service = Service::new(
        &[shards(&["s-0"]), shards(&["s-1"])],
        &[
            ("s-0", &[error("ResourceNotFoundException")]),
            ("s-1", &[page(&[record(1, "11")], Some("s-1"), 0)]),
        ],
    );
    let mut kinesis = service.kinesis(settings());
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (0, None));
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec!["s-1/11#0"], Some(t(-1))));
}

#[tokio::test(start_paused = true)]
async fn shards_are_listed_again_when_a_position_is_lost() {
    let service = Service::new(
        &[shards(&["s-0"]), shards(&["s-0", "s-1"])],
        &[
            ("s-0", &[page(&[record(1, "11")], Some("s-0"), 0), error("ExpiredIteratorException")]),
            ("s-1", &[page(&[record(2, "21")], Some("s-1"), 0)]),
        ],
    );
    service.state.lock().unwrap().lost = Some("11");
    let mut kinesis = service.kinesis(settings());
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, None);
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec!["s-1/21#0"], Some(t(-1))));
}

#[tokio::test(start_paused = true)]
async fn an_idle_cursor_skips_to_the_oldest_waiting_trace_and_a_busy_one_continues() {
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[])]);
    let mut kinesis = service.kinesis(settings());
    poll_once(&mut kinesis, &wanted_from(t(-600))).await.unwrap();
    poll_once(&mut kinesis, &wanted_from(t(-300))).await.unwrap();
    assert_eq!(service.calls("GetShardIterator").len(), 1);
    kinesis.on_idle();
    kinesis.clock = WallClock::new(|| t(300));
    poll_once(&mut kinesis, &wanted_from(t(299))).await.unwrap();
    let opened = &service.calls("GetShardIterator")[1];
    assert_eq!(opened["Timestamp"].as_f64(), Some((NOW + 289) as f64));
    assert_eq!(service.calls("ListShards").len(), 1);
}

/// Polls twice with a gap in between, in which nothing waited, a record arrived, and the iterator expired.
async fn after_a_gap(gaps: Gaps) -> (Poll, Value) {
    let service = Service::new(
        &[shards(&["s-0"])],
        &[(
            "s-0",
            &[
                page(&[record(1, "11")], Some("s-0"), 0),
                error("ExpiredIteratorException"),
                page(&[record(2, "12")], Some("s-0"), 0),
            ],
        )],
    );
    let mut kinesis = service.kinesis(Settings { gaps, ..settings() });
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    kinesis.on_idle();
    if gaps == Gaps::Skip {
        service.state.lock().unwrap().pages.get_mut("s-0").unwrap().clear();
    }
    kinesis.clock = WallClock::new(|| t(600));
    let poll = poll_once(&mut kinesis, &wanted_from(t(599))).await.unwrap();
    (poll, service.calls("GetShardIterator").pop().unwrap())
}

#[tokio::test(start_paused = true)]
async fn records_that_arrive_while_nothing_waits_are_skipped_unless_gaps_are_read() {
    let (poll, opened) = after_a_gap(Gaps::Skip).await;
    assert_eq!(opened["Timestamp"].as_f64(), Some((NOW + 589) as f64));
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(t(599))));
    let (poll, opened) = after_a_gap(Gaps::Read).await;
    assert_eq!(opened["StartingSequenceNumber"], "11");
    assert_eq!((locators(&poll), poll.watermark), (vec!["s-0/12#0"], Some(t(599))));
}

#[tokio::test(start_paused = true)]
async fn shards_that_were_opened_in_a_gap_are_read_from_their_start() {
    let split = json!({
        "Records": [], "MillisBehindLatest": 0,
        "ChildShards": [
            {"ShardId": "s-1", "ParentShards": ["s-0"], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "9"}},
        ],
    });
    let service = Service::new(
        &[shards(&["s-0"]), shards(&["s-1"])],
        &[("s-0", &[page(&[], Some("s-0"), 0), split]), ("s-1", &[page(&[record(2, "21")], Some("s-1"), 0)])],
    );
    let mut kinesis = service.kinesis(Settings { gaps: Gaps::Read, ..settings() });
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    kinesis.on_idle();
    kinesis.clock = WallClock::new(|| t(600));
    let poll = poll_once(&mut kinesis, &wanted_from(t(599))).await.unwrap();
    assert_eq!(locators(&poll), ["s-1/21#0"]);
    let opened = service.calls("GetShardIterator").pop().unwrap();
    // The parent was read up to a second before the first poll, because records take that long to settle.
    assert_eq!(opened["Timestamp"].as_f64(), Some((NOW - 1) as f64));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_is_moved_back_for_an_older_trace() {
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[])]);
    let mut kinesis = service.kinesis(settings());
    poll_once(&mut kinesis, &wanted_from(t(-60))).await.unwrap();
    for _ in 0..2 {
        let poll = poll_once(&mut kinesis, &wanted_from(t(-600))).await.unwrap();
        assert_eq!(poll.watermark, Some(t(-1)));
    }
    let opened = service.calls("GetShardIterator");
    assert_eq!(opened.len(), 2);
    assert_eq!(opened[1]["Timestamp"].as_f64(), Some((NOW - 610) as f64));
}

#[tokio::test(start_paused = true)]
async fn shards_alternate_when_a_poll_cannot_read_them_all() {
    let service =
        Service::new(&[shards(&["s-0", "s-1", "s-2"])], &[("s-0", &[]), ("s-1", &[]), ("s-2", &[])]);
    let mut kinesis = service.kinesis(Settings { max_calls_per_poll: 2, ..settings() });
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, None);
    kinesis.clock = WallClock::new(|| t(1));
    // It reads the third shard and again the first; the second was last read in the first poll.
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
    let shards: Vec<_> =
        service.calls("GetRecords").iter().map(|sent| sent["ShardIterator"].clone()).collect();
    assert_eq!(shards, ["s-0", "s-1", "s-2", "s-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_half_way_loses_nothing() {
    let service = Service::new(
        &[shards(&["s-0", "s-1"])],
        &[
            ("s-0", &[page(&[record(1, "11")], Some("s-0"), 0)]),
            ("s-1", &[page(&[record(2, "21")], Some("s-1"), 0)]),
        ],
    );
    service.state.lock().unwrap().stuck = Some("s-1");
    let mut kinesis = service.kinesis(settings());
    let wanted = wanted();
    // The clock stands still while anything runs.
    assert!(tokio::time::timeout(Duration::from_secs(1), kinesis.poll(&wanted)).await.is_err());
    assert_eq!(service.calls("GetRecords").len(), 1, "the other shard was read");
    let found = kinesis.take_unreported();
    assert_eq!(
        found.sightings.len(),
        1,
        "a shard that never answers does not withhold findings of the other"
    );
    assert_eq!(found.sightings[0].locator.as_str(), "s-0/11#0");
    assert_eq!(found.stats.records, 1);
    assert!(kinesis.take_unreported().is_empty(), "findings are returned once");
    service.state.lock().unwrap().stuck = None;
    let poll = poll_once(&mut kinesis, &wanted).await.unwrap();
    assert_eq!(locators(&poll), ["s-1/21#0"]);
    assert_eq!(poll.stats.records, 1);
    assert_eq!(poll.watermark, Some(t(-1)));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_takes_too_long_is_reported_and_the_next_poll_goes_on_behind_it() {
    let slow = json!({"SequenceNumber": "11", "Data": STANDARD.encode("noise\n".repeat(1_000_000))});
    let both = page(&[slow, record(1, "12")], Some("s-0"), 0);
    let rest = page(&[record(1, "12")], Some("s-0"), 0);
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[both, rest])]);
    let mut kinesis = service.kinesis(settings());
    kinesis.decoder().unwrap().set_timeout(Duration::ZERO);
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert!(poll.sightings.is_empty() && poll.watermark.is_none());
    let [unreadable] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!(unreadable.part.reason, UnreadableReason::OverLimit);
    assert!(unreadable.text.starts_with("record 11 in s-0"), "{}", unreadable.text);
    kinesis.decoder().unwrap().set_timeout(Duration::from_secs(60));
    // The budget of bytes has to recover.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s-0/12#0"]);
    let after: Vec<_> =
        service.calls("GetShardIterator").iter().map(|sent| sent["StartingSequenceNumber"].clone()).collect();
    assert_eq!(after, [Value::Null, json!("11")]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_behind_is_read_within_one_budget_for_all_polls() {
    let full = page(&[record(1, "11"), record(2, "12")], Some("s-0"), 9_000);
    let pages = vec![full; 200];
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &pages)]);
    let mut kinesis = service.kinesis(Settings { max_bytes_per_second: 200, ..settings() });
    let start = tokio::time::Instant::now();
    let mut bytes = 0;
    while start.elapsed() < Duration::from_secs(60) {
        let poll = kinesis.poll(&wanted()).await.unwrap();
        assert_eq!(poll.watermark, None, "the tip was not reached");
        bytes += poll.stats.bytes;
        // More often than the poll loop does.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((11_000..=12_400).contains(&bytes), "{bytes} bytes in a minute");
    let limits: Vec<_> = service.calls("GetRecords").iter().map(|sent| sent["Limit"].clone()).collect();
    assert_eq!(limits[..2], [json!(100), json!(1)], "once sizes are known, the limit is one second's budget");
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_read_once_a_second_however_often_the_stream_is_polled() {
    let service = Service::new(&[shards(&["s-0", "s-1"])], &[("s-0", &[]), ("s-1", &[])]);
    let mut kinesis = service.kinesis(settings());
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        assert_eq!(kinesis.poll(&wanted()).await.unwrap().watermark, Some(t(-1)));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((20..=22).contains(&service.calls("GetRecords").len()), "{}", service.calls("GetRecords").len());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_exceeded_its_budget_stays_covered_up_to_its_last_read() {
    let service = Service::new(
        &[shards(&["s-0", "s-1"])],
        &[("s-0", &[page(&[record(1, "11"), record(2, "12")], Some("s-0"), 0)]), ("s-1", &[])],
    );
    let mut kinesis = service.kinesis(Settings { max_bytes_per_second: 100, ..settings() });
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
    kinesis.clock = WallClock::new(|| t(1));
    assert_eq!(
        poll_once(&mut kinesis, &wanted()).await.unwrap().watermark,
        Some(t(-1)),
        "the shard was not read again yet"
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    kinesis.clock = WallClock::new(|| t(5));
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(4)));
}

#[tokio::test(start_paused = true)]
async fn answers_of_all_streams_together_are_bounded() {
    let names: Vec<String> = (0..8).map(|n| format!("s-{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let pages = Pages::default();
    let mut streams: Vec<Kinesis> = (0..6)
        .map(|_| {
            let scripts: Vec<(&str, &[Value])> = ids.iter().map(|id| (*id, &[][..])).collect();
            let service = Service::new(&[shards(&ids)], &scripts);
            service.state.lock().unwrap().hangs = true;
            service.kinesis_in(settings(), pages.clone())
        })
        .collect();
    let wanted = wanted();
    let polls = futures::future::join_all(streams.iter_mut().map(|kinesis| kinesis.poll(&wanted)));
    let mut polls = std::pin::pin!(polls);
    for _ in 0..200 {
        assert!(polls.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let other = pages.of_stream();
    let own = other.take().now_or_never();
    assert!(own.is_some(), "each stream has room for one answer");
    assert!(other.take().now_or_never().is_none(), "sixteen answers fill the room for more");
}

#[test]
fn a_stamp_is_rounded_to_the_nearest_millisecond() {
    for millis in 1_795_321_781_000_i64..1_795_321_782_000 {
        let wire = millis as f64 / 1_000.0;
        assert_eq!(instant(&DateTime::from_secs_f64(wire)), Timestamp::from_millis(millis), "{wire}");
    }
    assert_eq!(instant(&DateTime::from_millis(-1)), Timestamp::from_millis(-1));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_shards_that_never_ends_is_given_up_and_says_why() {
    let service = Service::new(&[json!({"Shards": [], "NextToken": "more"})], &[]);
    let failure = service.kinesis(settings()).poll(&wanted()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::OverBudget);
    let expected = "ListShards on stream logs-acme: answered 40 pages with 0 shards in 0 s, more follow";
    assert_eq!(&*failure.detail, expected);
    assert_eq!(service.calls("ListShards").len(), 40);
}
