use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::*;
use crate::cloud::calls::{CallResult, Calls};
use crate::cloud::google::{Auth, Google, GoogleSettings};
use crate::domain::canary::{Integrity, Template};
use crate::domain::copies::Presence;
use crate::domain::format::UnreadableReason;
use crate::domain::sighting::{FailureKind, Locator, Stamp, Wanted, WantedTrace};
use crate::domain::tag::Tag;
use crate::domain::time::{Timestamp, WallClock};
use crate::observe::Observe as _;
use crate::observe::fixtures::{self, recognizer};
use crate::observe::object_store::{KeyTemplate, Settings as ObjectSettings};

/// One second before a full hour.
const NOW: &str = "2026-11-22T04:59:59Z";

fn t(secs: i64) -> Timestamp {
    let now = Timestamp::parse_rfc3339(NOW).unwrap();
    Timestamp::from_micros(now.micros() + secs * 1_000_000)
}

fn tag(n: u8) -> Tag {
    fixtures::tag(n, t(-30))
}

fn canary(n: u8) -> Vec<u8> {
    (Template::default().render(&tag(n), &recognizer().keys.sign(&tag(n))) + "\n").into_bytes()
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn wanted() -> Wanted {
    let waiting = (1..=9).map(|n| WantedTrace { tag: tag(n), planned_at: t(-30) });
    Wanted { waiting: waiting.collect(), ..Wanted::default() }
}

#[derive(Clone)]
struct Stored {
    generation: u64,
    created: &'static str,
    finalized: Option<&'static str>,
    body: Vec<u8>,
}

/// A fake of the JSON API, according to its reference.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Stored>,
    /// objects.get of these objects fails with this status.
    broken: HashMap<&'static str, StatusCode>,
    /// The header `Date` of listings.
    date: Option<Timestamp>,
    /// Listings fail with this status and reason.
    closed: Option<(StatusCode, &'static str)>,
    calls: Vec<String>,
}

type Shared = Arc<Mutex<Bucket>>;

fn refusal(status: StatusCode, reason: &str) -> Response {
    let error =
        json!({"error": {"code": status.as_u16(), "message": "details", "errors": [{"reason": reason}]}});
    (status, error.to_string()).into_response()
}

async fn list(State(bucket): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut bucket = bucket.lock().unwrap();
    let field = |name: &str| query.get(name).cloned().unwrap_or_default();
    let from = field("pageToken").max(field("startOffset"));
    bucket.calls.push(format!("LIST {} from {from:?}", field("prefix")));
    if let Some((status, reason)) = bucket.closed {
        return refusal(status, reason);
    }
    let mut names = bucket.objects.range(from..).filter(|(name, _)| name.starts_with(&field("prefix")));
    let most = field("maxResults").parse().unwrap();
    let items: Vec<_> = names
        .by_ref()
        .take(most)
        .map(|(name, it)| {
            let mut item = json!({
                "name": name, "generation": it.generation.to_string(),
                "size": it.body.len().to_string(), "timeCreated": it.created,
            });
            if let Some(finalized) = it.finalized {
                item["timeFinalized"] = finalized.into();
            }
            item
        })
        .collect();
    let next = names.next().map(|(name, _)| name.clone());
    let mut answer = json!({"items": items, "nextPageToken": next}).to_string().into_response();
    if let Some(date) = bucket.date {
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT");
        answer.headers_mut().insert("date", date.parse().unwrap());
    }
    answer
}

async fn object(
    State(bucket): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut bucket = bucket.lock().unwrap();
    let range = headers.get("range").map_or("all", |range| range.to_str().unwrap()).to_owned();
    bucket.calls.push(format!("GET {name} {range}"));
    assert_eq!(query["alt"], "media");
    assert_eq!(headers["accept-encoding"], "gzip", "otherwise the service decompresses gzip objects");
    if let Some(status) = bucket.broken.get(name.as_str()) {
        return refusal(*status, "forbidden");
    }
    let Some(stored) = bucket.objects.get(&name) else {
        return (StatusCode::NOT_FOUND, "No such object").into_response();
    };
    if query["ifGenerationMatch"] != stored.generation.to_string() {
        return refusal(StatusCode::PRECONDITION_FAILED, "conditionNotMet");
    }
    let last: Option<usize> = range.strip_prefix("bytes=0-").map(|last| last.parse().unwrap());
    let end = last.map_or(stored.body.len(), |last| (last + 1).min(stored.body.len()));
    ([("x-goog-generation", stored.generation.to_string())], stored.body[..end].to_vec()).into_response()
}

struct FakeServer {
    bucket: Shared,
    google: Google,
}

impl FakeServer {
    async fn start() -> Self {
        let bucket = Shared::default();
        let app = Router::new()
            .route("/storage/v1/b/transit/o", get(list))
            .route("/storage/v1/b/transit/o/{name}", get(object))
            .with_state(bucket.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let endpoints = [(STORAGE.name, url)].into();
        let settings = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
        Self { bucket, google: Google::new(&settings, Calls::default()).await.unwrap() }
    }

    fn put(&self, name: &str, generation: u64, body: Vec<u8>) {
        let stored = Stored { generation, created: "2026-11-22T04:59:57.123456Z", finalized: None, body };
        self.bucket.lock().unwrap().objects.insert(name.to_owned(), stored);
    }

    fn calls(&self, verb: &str) -> Vec<String> {
        let calls = std::mem::take(&mut self.bucket.lock().unwrap().calls);
        calls.into_iter().filter(|call| call.starts_with(verb)).collect()
    }

    fn observer(&self, objects: ObjectSettings) -> ObjectObserver<Gcs> {
        let store = Gcs::new(self.google.clone(), "transit", 2);
        ObjectObserver::new(objects, store, None, recognizer(), WallClock::new(|| t(0)))
    }
}

fn objects() -> ObjectSettings {
    let (slack, key_slack) = (Duration::from_secs(5), Duration::ZERO);
    ObjectSettings { slack, key_slack, ..ObjectSettings::new("transit", KeyTemplate::new("in/%H/")) }
}

#[tokio::test]
async fn every_object_is_read_once_whatever_its_name_and_compression() {
    let server = FakeServer::start().await;
    for (n, name) in
        ["in/04/a", "in/04/b b", "in/04/100%", "in/04/grün#1", "in/04/c+d&e=f?"].into_iter().enumerate()
    {
        let n = u8::try_from(n).unwrap() + 1;
        let body = if n % 2 == 0 { gzipped(&canary(n)) } else { canary(n) };
        server.put(name, 1_700_000_000_000_000 + u64::from(n), body);
    }
    let mut observer = server.observer(objects());
    let poll = observer.poll(&wanted()).await.unwrap();
    let mut seen: Vec<_> = poll.sightings.iter().map(|seen| (seen.tag, seen.locator.as_str())).collect();
    seen.sort_by_key(|(tag, _)| tag.trace);
    assert_eq!(
        seen,
        [
            (tag(1), "gs://transit/in/04/a#1700000000000001#0"),
            (tag(2), "gs://transit/in/04/b b#1700000000000002#0"),
            (tag(3), "gs://transit/in/04/100%#1700000000000003#0"),
            (tag(4), "gs://transit/in/04/grün#1#1700000000000004#0"),
            (tag(5), "gs://transit/in/04/c+d&e=f?#1700000000000005#0"),
        ]
    );
    assert!(poll.sightings.iter().all(|seen| seen.integrity == Integrity::Intact));
    let created = Timestamp::parse_rfc3339("2026-11-22T04:59:57.123Z").unwrap();
    assert!(poll.sightings.iter().all(|seen| seen.stamp == Stamp::Millis(created)));
    assert_eq!(poll.watermark, Some(poll.started));
    assert_eq!(server.calls("LIST").len(), 4, "three pages of one hour, one of the next");
    assert!(observer.poll(&wanted()).await.unwrap().sightings.is_empty());
    assert_eq!(server.calls("GET").len(), 0, "known objects are not fetched again");
    let counted = server.google.calls().snapshot();
    assert!(counted.contains(&("gcs", "objects.get".to_owned(), CallResult::Ok, 5)), "{counted:?}");
}

#[tokio::test]
async fn a_listing_of_ordered_keys_starts_after_the_last_key_that_was_read() {
    let server = FakeServer::start().await;
    for name in ["in/04/a", "in/04/b"] {
        server.put(name, 1, canary(1));
    }
    let slack = Duration::from_millis(1);
    let mut observer = server.observer(ObjectSettings { ordered_keys: true, slack, ..objects() });
    assert_eq!(observer.poll(&wanted()).await.unwrap().sightings.len(), 2);
    server.calls("");
    server.put("in/04/c", 2, canary(2));
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!(poll.sightings[0].locator, Locator::new("gs://transit/in/04/c#2#0"));
    assert_eq!(
        server.calls("LIST")[0],
        "LIST in/04/ from \"in/04/b\"",
        "startOffset includes the key itself"
    );
}

#[tokio::test]
async fn an_overwritten_object_is_another_copy() {
    let server = FakeServer::start().await;
    server.put("in/04/a", 1, canary(1));
    let mut observer = server.observer(objects());
    observer.poll(&wanted()).await.unwrap();
    server.put("in/04/a", 2, canary(1));
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!(poll.sightings[0].locator, Locator::new("gs://transit/in/04/a#2#0"));
}

#[tokio::test]
async fn an_object_that_was_appended_to_arrived_not_before_its_creation() {
    let server = FakeServer::start().await;
    server.put("in/04/a", 1, canary(1));
    server.bucket.lock().unwrap().objects.get_mut("in/04/a").unwrap().finalized =
        Some("2026-11-22T04:59:58.5Z");
    let poll = server.observer(objects()).poll(&wanted()).await.unwrap();
    let created = Timestamp::parse_rfc3339("2026-11-22T04:59:57.123Z").unwrap();
    assert_eq!(poll.sightings[0].stamp, Stamp::NotBefore(created));
}

#[tokio::test]
async fn an_object_that_was_complete_before_a_canary_was_planned_is_not_fetched() {
    for (clock, finalized, fetched) in [
        (Some(t(0)), None, 0),
        (Some(t(0)), Some("2026-11-22T04:59:58.5Z"), 1),
        (Some(t(-10)), None, 1),
        (Some(t(0)), Some("2026-11-22T04:59:09Z"), 0),
    ] {
        let server = FakeServer::start().await;
        server.bucket.lock().unwrap().date = clock;
        let mut observer = server.observer(ObjectSettings { slack: Duration::from_secs(60), ..objects() });
        observer.poll(&wanted()).await.unwrap();
        observer.prefixes_forgotten();
        // The canary was planned 30 s before 4:59:59.
        let created = "2026-11-22T04:59:09Z";
        let stored = Stored { generation: 1, created, finalized, body: canary(1) };
        server.bucket.lock().unwrap().objects.insert("in/04/a".to_owned(), stored);
        observer.poll(&wanted()).await.unwrap();
        assert_eq!(server.calls("GET").len(), fetched, "{clock:?} {finalized:?}");
    }
}

#[tokio::test]
async fn a_large_object_is_fetched_up_to_the_limit() {
    let server = FakeServer::start().await;
    server.put("in/04/a", 1, [canary(1), canary(2)].concat());
    let mut observer = server.observer(ObjectSettings { max_object_bytes: 201, ..objects() });
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!(poll.sightings.len(), 1);
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!(record.part.reason, UnreadableReason::OverLimit, "other canaries may be beyond the limit");
    assert_eq!(server.calls("GET"), ["GET in/04/a bytes=0-200"]);
}

#[tokio::test]
async fn a_deleted_object_does_not_stop_the_watermark_and_a_replaced_one_does() {
    for (status, proves) in [(StatusCode::NOT_FOUND, true), (StatusCode::PRECONDITION_FAILED, false)] {
        let server = FakeServer::start().await;
        server.put("in/04/a", 1, canary(1));
        server.bucket.lock().unwrap().broken.insert("in/04/a", status);
        let poll = server.observer(objects()).poll(&wanted()).await.unwrap();
        assert_eq!((poll.sightings.len(), poll.watermark.is_some()), (0, proves), "{status}");
    }
}

#[tokio::test]
async fn a_failed_call_names_its_prefix_or_object() {
    for (status, reason, kind) in [
        (StatusCode::FORBIDDEN, "forbidden", FailureKind::Denied),
        (StatusCode::NOT_FOUND, "notFound", FailureKind::NotFound),
        (StatusCode::TOO_MANY_REQUESTS, "rateLimitExceeded", FailureKind::Throttled),
        (StatusCode::SERVICE_UNAVAILABLE, "backendError", FailureKind::Error),
    ] {
        let server = FakeServer::start().await;
        server.bucket.lock().unwrap().closed = Some((status, reason));
        let failure = server.observer(objects()).poll(&wanted()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.detail.starts_with("objects.list on gs://transit/in/04/: HTTP "), "{failure}");
        assert!(failure.detail.contains(reason), "{failure}");
    }
    let server = FakeServer::start().await;
    server.put("in/04/a", 1, canary(1));
    server.put("in/04/b", 1, canary(2));
    server.bucket.lock().unwrap().broken.insert("in/04/a", StatusCode::FORBIDDEN);
    let mut observer = server.observer(objects());
    let failure = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(failure.detail.starts_with("objects.get on gs://transit/in/04/a: "), "{failure}");
    assert_eq!(observer.take_unreported().sightings.len(), 1, "the other object was read");
}

#[test]
fn a_copy_is_fetched_by_its_generation() {
    let settings = Settings::new(objects());
    let planned_at = t(0);
    let copy = Locator::within("gs://transit/in/04/it's #1.gz#1700000000000000", 17);
    let lookups = settings.lookups(Question { copy: Some(&copy), tag: "zqtp2", planned_at });
    let cat = r"gcloud storage cat 'gs://transit/in/04/it'\''s #1.gz#1700000000000000'";
    assert_eq!(lookups[0].command, format!("{cat} | gzip -dcf | grep -a -F zqtp2"));
    let url = "https://console.cloud.google.com/storage/browser/_details/transit/in/04/it%27s%20%231.gz";
    assert_eq!(settings.consoles(Question { copy: Some(&copy), tag: "zqtp2", planned_at })[0].url, url);
    let lookups = settings.lookups(Question { copy: None, tag: "zqtp2", planned_at });
    assert_eq!(lookups[0].command, "gcloud storage ls --long 'gs://transit/in/04/**'");
}

#[test]
fn the_hour_before_is_searched_as_well_where_the_writer_may_have_begun_in_it() {
    let settings = Settings::new(ObjectSettings { key_slack: Duration::from_secs(300), ..objects() });
    let lookups = settings.lookups(Question { copy: None, tag: "zqtp2", planned_at: t(121) });
    let commands: Vec<_> = lookups.iter().map(|lookup| lookup.command.as_str()).collect();
    let [list, list_before, search, search_before] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(list, "gcloud storage ls --long 'gs://transit/in/05/**'");
    assert_eq!(list_before, "gcloud storage ls --long 'gs://transit/in/04/**'");
    assert!(search.contains("in/05/**") && search_before.contains("in/04/**"), "{commands:?}");
}

#[test]
fn bucket_names_follow_the_rules_of_cloud_storage() {
    for name in ["sre-transit", "a_b", "0ab", "logs.example.com", &"a".repeat(63)] {
        assert!(check_bucket(name.to_owned()).is_ok(), "{name}");
    }
    for name in ["", "ab", "-ab", "ab-", "A-b", "a b", "gs://transit", "a..b", &"a".repeat(64)] {
        assert!(check_bucket(name.to_owned()).is_err(), "{name}");
    }
}

#[tokio::test]
async fn an_object_that_was_deleted_or_overwritten_is_gone() {
    let server = FakeServer::start().await;
    server.put("in/04/a", 1, canary(1));
    server.put("in/04/b#1", 2, canary(2));
    let mut observer = server.observer(objects());
    let copies = ["a#1", "a#2", "b#1#2", "c#1"].map(|copy| Arc::from(format!("gs://transit/in/04/{copy}")));
    let checked = observer.check(&copies).await;
    let presences: Vec<_> = checked.into_iter().map(|(_, presence)| presence).collect();
    assert_eq!(presences, [Presence::There, Presence::Gone, Presence::There, Presence::Gone]);
}

#[tokio::test]
async fn whether_an_object_exists_is_unknown_without_the_right_to_list() {
    let server = FakeServer::start().await;
    server.bucket.lock().unwrap().closed = Some((StatusCode::FORBIDDEN, "forbidden"));
    let mut observer = server.observer(objects());
    let copy: Arc<str> = "gs://transit/in/04/a#1".into();
    assert_eq!(observer.check(std::slice::from_ref(&copy)).await, [(copy, Presence::Unknown)]);
}
