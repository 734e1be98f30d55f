mod dead_letters;
mod evidence;
mod growth;
mod refusals;
mod stamps;
mod time_zones;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::domain::canary::{Integrity, Template};
use crate::domain::copies::Presence;
use crate::domain::format::UnreadableReason;
use crate::domain::sighting::WantedTrace;
use crate::domain::sighting::{FailureKind, Poll, Stamp, Wanted};
use crate::domain::tag::Tag;
use crate::domain::time::{Timestamp, WallClock};
use crate::observe::fixtures::{self, recognizer};
use crate::observe::object_store::{KeyLabels, KeyTemplate, Settings};
use crate::observe::{Gaps, Observe as _};

/// One second before a full hour.
const NOW: &str = "2026-11-22T04:59:59Z";

fn t(secs: i64) -> Timestamp {
    let now = Timestamp::parse_rfc3339(NOW).unwrap();
    Timestamp::from_micros(now.micros() + secs * 1_000_000)
}

fn tag(n: u8) -> Tag {
    fixtures::tag(n, t(-30))
}

fn canary(n: u8) -> String {
    Template::default().render(&tag(n), &recognizer().keys.sign(&tag(n))) + "\n"
}

fn wanted() -> Wanted {
    let planned_at = t(-30);
    Wanted { waiting: [WantedTrace { tag: tag(1), planned_at }].into(), ..Wanted::default() }
}

/// A bucket in memory. A page of a listing has two keys.
#[derive(Clone, Default)]
struct Bucket(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, (String, &'static str, Timestamp)>,
    calls: Vec<String>,
    /// GetObject of this key is never answered.
    stuck: Option<&'static str>,
    /// Listings tell that objects are so many bytes longer than they are.
    longer: usize,
    /// GetObject of these keys fails with this status and code.
    broken: BTreeMap<&'static str, (u16, &'static str)>,
    /// GetObject of this key is denied because it was deleted a moment before.
    vanishing: Option<&'static str>,
    /// Listings fail with this status and code.
    closed: Option<(u16, &'static str)>,
    /// Every page of a listing is empty, and names a next one.
    endless: bool,
    /// The header `Date` of answers.
    date: Option<Timestamp>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bucket")
    }
}

impl HttpConnector for Bucket {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut store = self.0.lock().unwrap();
        let (path, query) = request.uri().split_once('?').unwrap();
        let path = path.split_once("/archive").unwrap().1.trim_start_matches('/');
        if store.stuck == Some(path) {
            return HttpConnectorFuture::new(std::future::pending());
        }
        let range = request.headers().get("range").unwrap_or("bytes=0-");
        let (status, body) = if path.is_empty() { store.list(query) } else { store.get(path, range) };
        let status = StatusCode::try_from(status).unwrap();
        let mut answer = HttpResponse::new(status, SdkBody::from(body));
        if let Some(date) = store.date {
            answer.headers_mut().insert("date", date.strftime("%a, %d %b %Y %H:%M:%S GMT"));
        }
        HttpConnectorFuture::ready(Ok(answer))
    }
}

fn error(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>details</Message></Error>")
}

impl Store {
    fn list(&mut self, query: &str) -> (u16, String) {
        let query = query.replace("%2F", "/").replace("%3D", "=");
        let field = |name: &str| {
            let fields = query.split('&').filter_map(|field| field.split_once('='));
            fields.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        let prefix = field("prefix").unwrap();
        let after = field("continuation-token").or(field("start-after")).unwrap_or_default();
        self.calls.push(format!("LIST {prefix} after {after}"));
        if let Some((status, code)) = self.closed {
            return (status, error(code));
        }
        if self.endless {
            let next = "<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>";
            return (200, format!("<ListBucketResult>{next}</ListBucketResult>"));
        }
        let mut keys = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let mut body = String::from("<ListBucketResult>");
        let mut last = String::new();
        for (key, (text, etag, at)) in keys.by_ref().take(2) {
            let size = text.len() + self.longer;
            body += &format!(
                "<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents>"
            );
            last.clone_from(key);
        }
        if keys.next().is_some() {
            body += &format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"
            );
        }
        (200, body + "</ListBucketResult>")
    }

    fn get(&mut self, key: &str, range: &str) -> (u16, String) {
        let last: Option<usize> = range.strip_prefix("bytes=0-").unwrap().parse().ok();
        let upto = last.map_or_else(String::new, |last| format!(" up to {last}"));
        self.calls.push(format!("GET {key}{upto}"));
        if self.vanishing == Some(key) {
            self.objects.remove(key);
            return (403, error("AccessDenied"));
        }
        match (self.broken.get(key), self.objects.get(key)) {
            (Some((status, code)), _) => (*status, error(code)),
            (None, Some((text, _, _))) => (200, text[..last.map_or(text.len(), |last| last + 1)].to_owned()),
            (None, None) => (404, error("NoSuchKey")),
        }
    }
}

impl Bucket {
    fn put(&self, key: &str, text: impl Into<String>, etag: &'static str, at: Timestamp) {
        let mut store = self.0.lock().unwrap();
        store.objects.insert(key.to_owned(), (text.into(), etag, at));
    }

    fn calls(&self, verb: &str) -> Vec<String> {
        let mut store = self.0.lock().unwrap();
        let calls = std::mem::take(&mut store.calls);
        calls.into_iter().filter(|call| call.starts_with(verb)).collect()
    }

    fn s3(&self, settings: Settings) -> ObjectObserver<S3> {
        self.labelled(settings, None)
    }

    fn labelled(&self, settings: Settings, labels: Option<KeyLabels>) -> ObjectObserver<S3> {
        let connector = SharedHttpConnector::new(self.clone());
        observer(http_client_fn(move |_, _| connector.clone()), settings, labels)
    }
}

fn observer(http: SharedHttpClient, settings: Settings, labels: Option<KeyLabels>) -> ObjectObserver<S3> {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .http_client(http)
        .build();
    // The clock advances by a millisecond with each call.
    let millis = AtomicI64::new(0);
    let clock = WallClock::new(move || {
        let ticks = u64::try_from(millis.fetch_add(1, Ordering::Relaxed)).unwrap();
        t(0) + Duration::from_millis(ticks)
    });
    let store = S3::new(aws_sdk_s3::Client::from_conf(config), &settings.bucket);
    ObjectObserver::new(settings, store, labels, recognizer(), clock)
}

fn settings() -> Settings {
    let (slack, key_slack) = (Duration::from_secs(5), Duration::ZERO);
    Settings { slack, key_slack, ..Settings::new("archive", KeyTemplate::new("in/%H/")) }
}

fn locators(poll: &Poll) -> Vec<&str> {
    let mut all: Vec<_> = poll.sightings.iter().map(|seen| seen.locator.as_str()).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn a_new_object_is_read_once_and_both_hours_are_listed_completely() {
    let bucket = Bucket::default();
    for key in ["in/04/a", "in/04/b", "in/04/c", "in/05/a", "in/06/a"] {
        bucket.put(key, "noise\n".to_owned() + &canary(1) + &canary(1), "e", t(-2));
    }
    let mut s3 = bucket.s3(settings());
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(poll.sightings.len(), 8);
    assert_eq!(locators(&poll)[..2], ["s3://archive/in/04/a#0", "s3://archive/in/04/a#1"]);
    let seen = poll.sightings.iter().find(|seen| seen.locator.as_str() == "s3://archive/in/04/a#0").unwrap();
    assert_eq!((seen.stamp, seen.integrity), (Stamp::Seconds(t(-2)), Integrity::Intact));
    // The first call of the clock was for the start of the poll, the second for the end of the first answer.
    assert_eq!((poll.watermark, poll.started), (Some(t(0)), t(0)));
    assert_eq!(seen.seen_by, t(0) + Duration::from_millis(1));
    assert_eq!((poll.stats.records, poll.stats.bytes), (4, 4 * 408));
    let poll = s3.poll(&wanted()).await.unwrap();
    assert!(poll.sightings.is_empty() && poll.watermark.is_some());
    assert_eq!(bucket.calls("GET").len(), 4, "known objects are not fetched again");
    bucket.put("in/04/a", canary(2), "e2", t(0));
    assert_eq!(s3.poll(&wanted()).await.unwrap().sightings[0].tag, tag(2));
}

#[tokio::test]
async fn an_object_older_than_all_waiting_traces_is_not_read_unless_its_stamp_dates_from_the_start_of_its_upload()
 {
    let bucket = Bucket::default();
    bucket.put("in/04/old", canary(1), "e", t(-40));
    bucket.put("in/04/parts", canary(1), "e-12", t(-400));
    let mut s3 = bucket.s3(settings());
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/parts#0"]);
    assert_eq!(poll.sightings[0].stamp, Stamp::NotBefore(t(-400)));
    assert_eq!(bucket.calls("GET"), ["GET in/04/parts"]);
    let older = WantedTrace { tag: tag(2), planned_at: t(-60) };
    let wanted = Wanted { waiting: [older].into(), ..Wanted::default() };
    let poll = s3.poll(&wanted).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/old#0"]);
}

#[tokio::test]
async fn with_key_slack_an_object_is_found_under_the_hour_of_its_oldest_record() {
    let bucket = Bucket::default();
    bucket.put("in/03/a", canary(1), "e", t(-2));
    // The canary of 04:59:29 is in one object with a record of 03:59.
    for (key_slack, found) in [(Duration::ZERO, 0), (Duration::from_secs(3_600), 1)] {
        let mut s3 = bucket.s3(Settings { key_slack, ..settings() });
        assert_eq!(s3.poll(&wanted()).await.unwrap().sightings.len(), found);
    }
}

#[tokio::test]
async fn objects_of_a_gap_are_read_only_if_gaps_are_read() {
    for (gaps, found) in [(Gaps::Skip, 0), (Gaps::Read, 1)] {
        let bucket = Bucket::default();
        let mut s3 = bucket.s3(Settings { gaps, max_prefixes: 3, ..settings() });
        s3.poll(&wanted()).await.unwrap();
        s3.on_idle();
        bucket.put("in/05/a", canary(2), "e", t(60));
        s3.clock = WallClock::new(|| t(600));
        let poll = s3.poll(&waiting_for(3, t(599))).await.unwrap();
        assert_eq!((poll.sightings.len(), poll.watermark), (found, Some(t(600))));
        // A gap of days has too many prefixes and is skipped.
        s3.clock = WallClock::new(|| t(86_400 * 5));
        assert!(s3.poll(&waiting_for(4, t(86_400 * 5))).await.unwrap().watermark.is_some());
    }
}

#[tokio::test]
async fn a_key_that_names_the_tenant_labels_the_sightings_of_its_object() {
    let bucket = Bucket::default();
    for key in ["in/04/acme-1", "in/04/globex-1", "in/04/manifest"] {
        bucket.put(key, canary(1), "e", t(-2));
    }
    let names = ["acme", "globex"].map(|name| (name.into(), name.to_uppercase().into()));
    let labels = Some(KeyLabels::new("-", names));
    let poll = bucket.labelled(settings(), labels).poll(&wanted()).await.unwrap();
    let mut labels: Vec<_> = poll.sightings.iter().map(|seen| seen.label.clone().unwrap()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["ACME", "GLOBEX"]);
    assert_eq!(bucket.calls("GET").len(), 2);
    assert!(poll.watermark.is_some());
}

#[tokio::test]
async fn an_object_whose_key_fits_two_tenants_is_read_and_labelled_with_neither() {
    let bucket = Bucket::default();
    for key in ["in/04/acme-1", "in/04/acme-eu-west-1-0017.gz", "in/04/globex-1"] {
        bucket.put(key, canary(1), "e", t(-2));
    }
    let names = ["acme", "acme-eu", "globex"].map(|name| (name.into(), name.into()));
    let poll = bucket.labelled(settings(), Some(KeyLabels::new("-", names))).poll(&wanted()).await.unwrap();
    let mut found: Vec<_> =
        poll.sightings.iter().map(|seen| (seen.locator.as_str(), seen.label.as_deref())).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("s3://archive/in/04/acme-1#0", Some("acme")),
            ("s3://archive/in/04/acme-eu-west-1-0017.gz#0", None),
            ("s3://archive/in/04/globex-1#0", Some("globex")),
        ]
    );
}

#[tokio::test]
async fn an_object_that_vanished_after_it_was_listed_is_no_failure_and_was_not_read() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    bucket.0.lock().unwrap().broken.insert("in/04/a", (404, "NoSuchKey"));
    let mut s3 = bucket.s3(settings());
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(t(0))));
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!(record.part.reason, UnreadableReason::Deleted);
    assert_eq!(&*record.text, "s3://archive/in/04/a was deleted before it could be read");
    assert!(s3.poll(&wanted()).await.unwrap().unreadable.is_empty(), "it is told once");
}

#[tokio::test]
async fn an_object_that_could_not_be_read_is_read_again_by_the_next_poll() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    bucket.put("in/04/b", canary(2), "e", t(-2));
    bucket.0.lock().unwrap().broken.insert("in/04/a", (403, "AccessDenied"));
    let mut s3 = bucket.s3(settings());
    let failure = s3.poll(&wanted()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied);
    assert_eq!(s3.take_unreported().sightings[0].locator.as_str(), "s3://archive/in/04/b#0");
    assert_eq!(&*failure.detail, "GetObject on s3://archive/in/04/a: AccessDenied: details");
    bucket.0.lock().unwrap().broken.clear();
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/a#0"]);
    assert!(poll.watermark.is_some());
    assert_eq!(poll.sightings[0].seen_by, t(0) + Duration::from_millis(1), "the answer that first listed it");
}

#[tokio::test]
async fn an_object_that_is_gone_before_it_was_fetched_was_not_read() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", "noise", "e", t(-2));
    bucket.put("in/04/b", canary(1), "e", t(-2));
    let mut s3 = bucket.s3(Settings { max_objects_per_poll: 1, ..settings() });
    assert_eq!(s3.poll(&wanted()).await.unwrap().watermark, None);
    bucket.0.lock().unwrap().objects.clear();
    let poll = s3.poll(&wanted()).await.unwrap();
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!(record.part.reason, UnreadableReason::Deleted);
    assert_eq!(&*record.text, "s3://archive/in/04/b was deleted before it could be read");
    assert!(s3.poll(&wanted()).await.unwrap().unreadable.is_empty(), "it is told once");
}

#[tokio::test]
async fn keys_that_come_and_go_while_polls_fail_are_not_remembered_for_ever() {
    let failing = Bucket::default();
    failing.0.lock().unwrap().broken.insert("in/04/a", (503, "SlowDown"));
    let crowded = Bucket::default();
    for (bucket, settings) in
        [(failing, settings()), (crowded, Settings { max_keys_per_poll: 2, ..settings() })]
    {
        let mut s3 = bucket.s3(settings);
        for round in 0..40 {
            bucket.0.lock().unwrap().objects.clear();
            for key in ["in/04/a".to_owned(), format!("in/04/b{round}"), format!("in/04/c{round}")] {
                bucket.put(&key, "noise", "e", t(-2));
            }
            s3.poll(&wanted()).await.unwrap_err();
        }
        assert!(s3.known_objects() <= 8, "{}", s3.known_objects());
    }
}

#[tokio::test]
async fn an_object_whose_body_is_shorter_than_listed_was_not_read() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", "noise", "e", t(-2));
    bucket.0.lock().unwrap().longer = 7;
    let mut s3 = bucket.s3(settings());
    for _ in 0..2 {
        let failure = s3.poll(&wanted()).await.unwrap_err();
        let text = "reading s3://archive/in/04/a: the body ended after 5 of 12 bytes";
        assert_eq!((failure.kind, &*failure.detail), (FailureKind::Garbled, text));
    }
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(poll.unreadable.len(), 1, "one object does not make the stage blind for ever");
    bucket.put("in/04/a", canary(1), "another", t(-2));
    let poll = bucket.s3(Settings { max_object_bytes: 200, ..settings() }).poll(&wanted()).await.unwrap();
    assert_eq!(poll.unreadable[0].part.reason, UnreadableReason::OverLimit, "what was requested has come");
}

#[tokio::test]
async fn a_listing_that_lacks_a_part_is_a_failure() {
    let object = "<Contents><Key>in/04/a</Key><LastModified>2026-11-22T04:59:57Z</LastModified></Contents>";
    for (answer, text) in [
        (
            format!("{object}<IsTruncated>true</IsTruncated>"),
            "more keys follow, but the answer has no token for them",
        ),
        (object.replace("<Key>in/04/a</Key>", ""), "an object has no key or no time"),
        (
            object.replace("<LastModified>2026-11-22T04:59:57Z</LastModified>", ""),
            "an object has no key or no time",
        ),
    ] {
        let body = format!("<ListBucketResult>{answer}</ListBucketResult>");
        let http = infallible_client_fn(move |_| http::Response::new(SdkBody::from(body.clone())));
        let failure = observer(http, settings(), None).poll(&wanted()).await.unwrap_err();
        let text = format!("ListObjectsV2 on s3://archive/in/04/: {text}");
        assert_eq!((failure.kind, &*failure.detail), (FailureKind::Garbled, &*text));
    }
}

#[tokio::test]
async fn a_failed_listing_names_the_prefix_and_the_error() {
    for (status, code, kind) in [
        (403, "AccessDenied", FailureKind::Denied),
        (404, "NoSuchBucket", FailureKind::NotFound),
        (503, "SlowDown", FailureKind::Throttled),
    ] {
        let bucket = Bucket::default();
        bucket.0.lock().unwrap().closed = Some((status, code));
        let failure = bucket.s3(settings()).poll(&wanted()).await.unwrap_err();
        assert_eq!(failure.kind, kind);
        assert_eq!(*failure.detail, format!("ListObjectsV2 on s3://archive/in/04/: {code}: details"));
    }
}

#[tokio::test]
async fn a_bucket_in_another_region_is_named_with_its_region() {
    let moved = "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>";
    let signed = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>us-west-2</Region></Error>";
    for (status, header, body) in [(301, Some("us-west-2"), moved), (400, None, signed)] {
        let http = infallible_client_fn(move |_| {
            let answer = http::Response::builder().status(status);
            let answer =
                header.into_iter().fold(answer, |it, region| it.header("x-amz-bucket-region", region));
            answer.body(SdkBody::from(body)).unwrap()
        });
        let failure = observer(http, settings(), None).poll(&wanted()).await.unwrap_err();
        let hint =
            "the bucket is in us-west-2, not in eu-central-1; set region of the stage to \"us-west-2\": ";
        assert!(failure.detail.contains(hint), "{}", failure.detail);
    }
    let foreign = "<Error><Code>PermanentRedirect</Code><Message>m</Message><Region>a b</Region></Error>";
    let http = infallible_client_fn(move |_| {
        http::Response::builder().status(301).body(SdkBody::from(foreign)).unwrap()
    });
    let failure = observer(http, settings(), None).poll(&wanted()).await.unwrap_err();
    assert!(
        !failure.detail.contains("set region"),
        "what is not a region is not repeated: {}",
        failure.detail
    );
}

#[tokio::test]
async fn objects_beyond_the_limit_of_a_poll_are_read_by_the_next() {
    let bucket = Bucket::default();
    for key in ["in/04/a", "in/04/b", "in/04/c"] {
        bucket.put(key, canary(1), "e", t(-2));
    }
    let mut s3 = bucket.s3(Settings { max_objects_per_poll: 2, ..settings() });
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (2, None));
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (1, Some(poll.started)));
}

#[tokio::test]
async fn too_many_keys_or_prefixes_are_over_budget() {
    let bucket = Bucket::default();
    for key in ["in/04/a", "in/04/b", "in/04/c"] {
        bucket.put(key, "noise", "e", t(-2));
    }
    for settings in
        [Settings { max_keys_per_poll: 2, ..settings() }, Settings { max_prefixes: 1, ..settings() }]
    {
        let failure = bucket.s3(settings).poll(&wanted()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::OverBudget);
        let texts =
            ["more than max_keys (2) in one poll; raise it, set ordered_keys", "more than 1 prefixes"];
        assert!(texts.iter().any(|text| failure.detail.contains(text)), "{failure}");
    }
}

#[tokio::test]
async fn a_listing_of_ordered_keys_starts_after_the_last_key_that_was_read() {
    let bucket = Bucket::default();
    for key in ["in/04/a", "in/04/b", "in/04/c"] {
        bucket.put(key, canary(1), "e", t(-2));
    }
    bucket.0.lock().unwrap().broken.insert("in/04/c", (500, "InternalError"));
    let (slack, key_slack) = (Duration::from_secs(1), Duration::ZERO);
    let mut s3 = bucket.s3(Settings { ordered_keys: true, slack, key_slack, ..settings() });
    assert_eq!(s3.poll(&wanted()).await.unwrap_err().kind, FailureKind::Error);
    assert_eq!(s3.take_unreported().sightings.len(), 2);
    bucket.0.lock().unwrap().broken.clear();
    assert_eq!(s3.poll(&wanted()).await.unwrap().sightings.len(), 1);
    bucket.calls("");
    bucket.put("in/04/d", canary(2), "e", t(-1));
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/d#0"]);
    assert_eq!(bucket.calls("LIST")[0], "LIST in/04/ after in/04/c");
}

#[tokio::test]
async fn a_key_that_a_slow_writer_adds_before_others_is_still_listed() {
    let bucket = Bucket::default();
    bucket.put("in/04/1-old", canary(1), "e", t(-200));
    bucket.put("in/04/3-quick", canary(1), "e", t(-2));
    let key_slack = Duration::from_secs(100);
    let mut s3 = bucket.s3(Settings { ordered_keys: true, key_slack, ..settings() });
    s3.poll(&wanted()).await.unwrap();
    bucket.put("in/04/2-slow", canary(2), "e", t(-1));
    bucket.calls("");
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/2-slow#0"]);
    let calls = bucket.calls("");
    assert_eq!(calls[0], "LIST in/04/ after in/04/1-old", "older keys are not listed again");
    assert_eq!(
        calls.iter().filter(|call| call.starts_with("GET")).count(),
        1,
        "known objects are not read again"
    );
}

#[tokio::test]
async fn a_repeatedly_refused_object_is_reported_as_unreadable_and_retried_ever_less_often() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    bucket.0.lock().unwrap().broken.insert("in/04/a", (403, "InvalidObjectState"));
    let mut s3 = bucket.s3(Settings { key_slack: Duration::ZERO, ..settings() });
    for _ in 0..2 {
        assert_eq!(s3.poll(&wanted()).await.unwrap_err().kind, FailureKind::Denied);
    }
    // From now on polls continue without it.
    let poll = s3.poll(&wanted()).await.unwrap();
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!((record.part.reason, record.arrived_by < t(1)), (UnreadableReason::Refused, true));
    assert!(
        record.text.starts_with("GetObject on s3://archive/in/04/a: InvalidObjectState: details"),
        "{}",
        record.text
    );
    assert_eq!(poll.stats.decode_errors, 1);
    bucket.put("in/04/b", canary(2), "e", t(0));
    let poll = s3.poll(&waiting_for(2, t(5))).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/b#0"]);
    assert_eq!(poll.watermark, None, "the refusals may be over");
    assert_eq!(poll.stats.decode_errors, 0, "it is counted once");
    let poll = s3.poll(&waiting_for(3, t(5))).await.unwrap();
    assert_eq!(poll.watermark, Some(poll.started), "they are not");
    bucket.calls("");
    for _ in 0..64 {
        assert!(s3.poll(&waiting_for(3, t(5))).await.unwrap().watermark.is_some());
    }
    let tries = bucket.calls("GET").len();
    assert!((3..=8).contains(&tries), "tried {tries} times, at growing intervals");
    // It is read as soon as access is granted.
    bucket.0.lock().unwrap().broken.clear();
    let mut found = Vec::new();
    for _ in 0..64 {
        found.extend(s3.poll(&waiting_for(3, t(5))).await.unwrap().sightings);
    }
    assert_eq!(found.iter().map(|seen| seen.tag).collect::<Vec<_>>(), [tag(1)]);
}

#[tokio::test]
async fn what_was_refused_is_read_before_absence_is_proven_again() {
    let bucket = Bucket::default();
    let mut s3 = bucket.s3(Settings { key_slack: Duration::ZERO, ..settings() });
    for (number, key) in (1..).zip(["in/04/a", "in/04/b"]) {
        bucket.put(key, canary(number), "e", t(-2));
        bucket.0.lock().unwrap().broken.insert(key, (403, "AccessDenied"));
    }
    for _ in 0..12 {
        let _refused = s3.poll(&wanted()).await;
    }
    assert!(s3.poll(&wanted()).await.unwrap().watermark.is_some(), "polls go on without them");
    bucket.0.lock().unwrap().broken.clear();
    bucket.put("in/04/c", canary(3), "e", t(-1));
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec!["s3://archive/in/04/c#0"], None));
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/a#0", "s3://archive/in/04/b#0"]);
    assert_eq!(poll.watermark, Some(poll.started));
}

#[tokio::test]
async fn a_failing_or_throttling_service_does_not_count_as_a_refused_object() {
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequestsException")] {
        let bucket = Bucket::default();
        bucket.put("in/04/a", canary(1), "e", t(-2));
        bucket.0.lock().unwrap().broken.insert("in/04/a", (status, code));
        let mut s3 = bucket.s3(settings());
        for _ in 0..10 {
            s3.poll(&waiting_for(3, t(5))).await.unwrap_err();
        }
        assert_eq!(bucket.calls("GET").len(), 10);
    }
}

/// Wants canary `n` only, planned at `planned_at`.
fn waiting_for(n: u8, planned_at: Timestamp) -> Wanted {
    Wanted { waiting: [WantedTrace { tag: tag(n), planned_at }].into(), ..Wanted::default() }
}

#[tokio::test]
async fn an_object_over_the_size_limit_is_read_up_to_the_limit() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1) + &canary(2), "e", t(-2));
    let mut s3 = bucket.s3(Settings { max_object_bytes: 201, ..settings() });
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/a#0"]);
    assert_eq!((poll.stats.bytes, poll.stats.decode_errors), (201, 1));
    assert!(poll.watermark.is_some(), "the only waiting canary was found");
    assert_eq!(bucket.calls("GET"), ["GET in/04/a up to 200"]);
}

#[tokio::test]
async fn an_object_over_a_limit_is_reported_as_unreadable_with_the_limits() {
    let noise = "noise ".repeat(100);
    let limits = [
        Settings { max_object_bytes: 100, ..settings() },
        Settings { max_inflated_bytes: 100, ..settings() },
    ];
    for (settings, gzipped) in limits.into_iter().zip([false, true]) {
        let bucket = Bucket::default();
        let text = noise.clone() + &canary(1);
        let text = if gzipped { base64_gzip(&text) } else { text };
        bucket.put("in/04/a", text, "e", t(-2));
        let mut s3 = bucket.s3(settings);
        let poll = s3.poll(&wanted()).await.unwrap();
        let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
        assert_eq!(record.part.reason, UnreadableReason::OverLimit);
        assert!(record.text.starts_with("s3://archive/in/04/a (max_object is"), "{}", record.text);
        s3.poll(&wanted()).await.unwrap();
        assert_eq!(bucket.calls("GET").len(), 1, "it is read only once");
    }
}

#[tokio::test]
async fn an_object_that_takes_too_much_work_is_reported_once_and_the_others_are_read() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", recognizer().keys.sign(&tag(1)).as_str().repeat(20_000), "e", t(-2));
    bucket.put("in/04/b", canary(2), "e", t(-2));
    let mut s3 = bucket.s3(settings());
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/a#0", "s3://archive/in/04/b#0"]);
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert!(
        record.text.starts_with("s3://archive/in/04/a (decoding it takes too much work)"),
        "{}",
        record.text
    );
    assert!(poll.watermark.is_some());
    s3.poll(&wanted()).await.unwrap();
    assert_eq!(bucket.calls("GET").len(), 2, "each is read only once");
}

#[tokio::test]
async fn an_object_that_takes_too_long_is_reported_once_and_the_others_are_read() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", "noise\n".repeat(1_000_000), "e", t(-2));
    bucket.put("in/04/b", canary(2), "e", t(-2));
    let mut s3 = bucket.s3(settings());
    s3.decoder().unwrap().set_timeout(Duration::ZERO);
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/b#0"]);
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert!(
        record.text.starts_with("s3://archive/in/04/a (decoding it takes too much work)"),
        "{}",
        record.text
    );
    assert!(poll.watermark.is_some());
    s3.poll(&wanted()).await.unwrap();
    assert_eq!(bucket.calls("GET").len(), 2, "each is read only once");
}

fn base64_gzip(text: &str) -> String {
    use base64::Engine as _;
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_half_way_loses_nothing() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    bucket.put("in/04/b", canary(2), "e", t(-2));
    bucket.0.lock().unwrap().stuck = Some("in/04/b");
    let mut s3 = bucket.s3(settings());
    let wanted = wanted();
    // The clock stands still while anything runs.
    assert!(tokio::time::timeout(Duration::from_secs(1), s3.poll(&wanted)).await.is_err());
    let found = s3.take_unreported();
    assert_eq!(
        found.sightings.len(),
        1,
        "an object that is never answered does not withhold findings of the other"
    );
    assert_eq!(found.sightings[0].tag, tag(1));
    assert!(s3.take_unreported().is_empty(), "findings are returned once");
    bucket.0.lock().unwrap().stuck = None;
    let poll = s3.poll(&wanted).await.unwrap();
    assert_eq!(locators(&poll), ["s3://archive/in/04/b#0"]);
    assert!(poll.watermark.is_some());
    assert_eq!(bucket.calls("GET"), ["GET in/04/a", "GET in/04/b"], "the first object is not read again");
    assert!(poll.sightings.iter().all(|seen| seen.seen_by == t(0) + Duration::from_millis(1)));
}

fn records(keys: &[&str]) -> Vec<Arc<str>> {
    keys.iter().map(|key| format!("s3://archive/{key}").into()).collect()
}

async fn presences(bucket: &Bucket, keys: &[&str]) -> Vec<Presence> {
    let checked = bucket.s3(settings()).check(&records(keys)).await;
    checked.into_iter().map(|(_, presence)| presence).collect()
}

#[tokio::test]
async fn a_deleted_object_is_gone_although_others_have_keys_that_begin_with_its() {
    let bucket = Bucket::default();
    for key in ["in/04/a", "in/04/a.gz", "in/04/bb"] {
        bucket.put(key, "x", "e", t(-2));
    }
    let found = presences(&bucket, &["in/04/a", "in/04/b", "in/04/c"]).await;
    assert_eq!(found, [Presence::There, Presence::Gone, Presence::Gone]);
    assert_eq!(bucket.calls("LIST").len(), 3);
    assert_eq!(bucket.calls("GET"), [""; 0]);
}

#[tokio::test]
async fn whether_an_object_exists_is_unknown_without_the_right_to_list() {
    let bucket = Bucket::default();
    bucket.0.lock().unwrap().closed = Some((403, "AccessDenied"));
    assert_eq!(presences(&bucket, &["in/04/a"]).await, [Presence::Unknown]);
}

#[tokio::test]
async fn a_check_that_fails_is_not_answered() {
    let bucket = Bucket::default();
    bucket.0.lock().unwrap().closed = Some((503, "SlowDown"));
    assert_eq!(presences(&bucket, &["in/04/a"]).await, []);
}

#[tokio::test]
async fn the_record_of_a_locator_is_what_is_checked() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    let mut s3 = bucket.s3(settings());
    let poll = s3.poll(&wanted()).await.unwrap();
    let record: Arc<str> = poll.sightings[0].locator.record().into();
    assert_eq!(s3.check(std::slice::from_ref(&record)).await, [(record, Presence::There)]);
}

#[tokio::test]
async fn a_listing_that_never_ends_is_given_up_and_says_why() {
    let bucket = Bucket::default();
    bucket.0.lock().unwrap().endless = true;
    let failure = bucket.s3(settings()).poll(&wanted()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::OverBudget);
    assert_eq!(
        &*failure.detail,
        "listing s3://archive/in/04/: answered 200 pages with 0 keys in 0 s, more follow"
    );
    assert_eq!(bucket.calls("LIST").len(), 200);
}
