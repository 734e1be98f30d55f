use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::*;
use crate::cloud::calls::Calls;
use crate::cloud::google::{Auth, GoogleSettings};
use crate::domain::canary::{Integrity, Template};
use crate::domain::sighting::{Locator, Stamp};
use crate::domain::tag::{Claim, InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId, Version};

const NOW: i64 = 1_795_321_800;

type Reply = (u16, Value);

/// The far end: a list of answers, and what it was asked.
#[derive(Clone, Default)]
struct FarEnd {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FarEnd {
    async fn start(replies: Vec<Reply>) -> (Self, String) {
        let far_end = Self { replies: Arc::new(Mutex::new(replies.into())), asked: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v2", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(far_end.clone());
        #[expect(clippy::disallowed_methods, reason = "a far end that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (far_end, url)
    }

    fn asked(&self, n: usize) -> (String, Value) {
        self.asked.lock().unwrap()[n].clone()
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn answer(State(far_end): State<FarEnd>, uri: Uri, body: Bytes) -> impl IntoResponse {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    far_end.asked.lock().unwrap().push((uri.to_string(), body));
    let (status, reply) =
        far_end.replies.lock().unwrap().pop_front().expect("a call that no answer was prepared for");
    let mut headers = HeaderMap::new();
    if status == 429 {
        headers.insert("retry-after", "7".parse().unwrap());
    }
    if reply == "never" {
        std::future::pending::<()>().await;
    }
    // A text stands for a page that is not JSON.
    let reply = reply.as_str().map_or_else(|| reply.to_string(), str::to_owned);
    (StatusCode::from_u16(status).unwrap(), headers, reply)
}

fn keys() -> Keyring {
    Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new())
}

fn tag() -> Tag {
    Tag::new(
        TraceId::new(Timestamp::from_secs(NOW - 5), [3; 10]),
        TenantCode::of("acme"),
        InstanceCode::of("p"),
        300,
        Purpose::Probe,
    )
}

/// The same canary as a release that wrote version 1 would have tagged it.
fn old(tag: Tag) -> Tag {
    let claim = match tag.claim() {
        Claim::V1 { tenant } => Claim::V1 { tenant },
        Claim::V2 { tenant, .. } => Claim::V1 { tenant: tenant.prefix() },
    };
    Tag::remembered(tag.trace, claim, tag.instance, tag.size)
}

fn text() -> String {
    keys().sign(&tag()).to_string()
}

fn wanted() -> Wanted {
    let waiting = WantedTrace { tag: tag(), planned_at: Timestamp::from_secs(NOW - 5) };
    Wanted { revision: 7, waiting: [waiting].into(), ..Wanted::default() }
}

fn settings() -> Settings {
    Settings {
        time_column: Some("ingest_time".into()),
        tenant_column: Some("tenant".into()),
        body_column: Some("message".into()),
        billing_project: Some("payer".into()),
        ..Settings::new(TableName::parse("p.d.t").unwrap(), "trace_id")
    }
}

async fn observer(replies: Vec<Reply>, settings: Settings) -> (BigQuery, FarEnd) {
    let (far_end, url) = FarEnd::start(replies).await;
    let endpoints = [(BIGQUERY.name, url)].into();
    let google = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
    let google = Google::new(&google, Calls::default()).await.unwrap();
    let recognizer = Recognizer {
        keys: Arc::new(keys()),
        templates: [(TenantCode::of("acme"), Template::default())].into(),
    };
    let clock = WallClock::new(|| Timestamp::from_secs(NOW));
    (BigQuery::new(settings, google, recognizer, clock), far_end)
}

fn described(columns: &[(&str, &str)]) -> Reply {
    let fields: Vec<Value> =
        columns.iter().map(|(name, kind)| json!({"name": name, "type": kind, "mode": "NULLABLE"})).collect();
    (200, json!({"schema": {"fields": fields}, "timePartitioning": {"type": "DAY"}, "location": "EU"}))
}

fn table() -> Reply {
    described(&[
        ("trace_id", "STRING"),
        ("tenant", "STRING"),
        ("message", "STRING"),
        ("ingest_time", "TIMESTAMP"),
    ])
}

fn dry_run(bytes: u64) -> Reply {
    (200, json!({"jobComplete": true, "totalBytesProcessed": bytes.to_string()}))
}

fn cells(cells: &[Value]) -> Value {
    json!({"f": cells.iter().map(|cell| json!({"v": cell})).collect::<Vec<_>>()})
}

/// Rows of id, time, tenant, message.
fn rows(rows: &[[Value; 4]]) -> Reply {
    let rows: Vec<Value> = rows.iter().map(|row| cells(row)).collect();
    (
        200,
        json!({
            "jobComplete": true, "rows": rows, "totalRows": rows.len().to_string(),
            "schema": {"fields": [{"name": "probe_id", "type": "STRING"}]},
            "totalBytesProcessed": "1000", "totalBytesBilled": "10485760",
        }),
    )
}

fn row(micros: i64) -> [Value; 4] {
    [
        json!(text()),
        json!(micros.to_string()),
        json!("acme"),
        json!(Template::default().render(&tag(), &keys().sign(&tag()))),
    ]
}

fn refused(reason: &str, message: &str) -> Value {
    json!({"error": {"code": 400, "message": message, "errors": [{"reason": reason, "message": message}], "status": "X"}})
}

#[tokio::test]
async fn a_canary_is_seen_with_its_stamp_tenant_and_integrity() {
    let micros = (NOW - 2) * 1_000_000 + 345_678;
    let (mut observer, far_end) =
        observer(vec![table(), dry_run(1_000), rows(&[row(micros)])], settings()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    let [sighting] = poll.sightings.as_slice() else { panic!("{poll:?}") };
    assert_eq!(sighting.tag, tag());
    assert_eq!(sighting.stamp, Stamp::Millis(Timestamp::from_millis((NOW - 2) * 1_000 + 345)));
    assert_eq!(sighting.label.as_deref(), Some("acme"));
    assert_eq!(sighting.integrity, Integrity::Intact);
    assert_eq!(sighting.locator, Locator::new("p.d.t row 1 of acme"));
    assert_eq!((poll.revision, poll.watermark), (7, Some(Timestamp::from_secs(NOW))));
    assert_eq!(poll.stats.billed_bytes, 10 << 20);
    assert_eq!(
        far_end.paths(),
        ["/v2/projects/p/datasets/d/tables/t", "/v2/projects/payer/queries", "/v2/projects/payer/queries"]
    );
    let (_, dry) = far_end.asked(1);
    assert_eq!(dry["dryRun"], true);
    let (_, asked) = far_end.asked(2);
    assert_eq!(asked["useLegacySql"], false);
    assert_eq!(asked["useQueryCache"], false);
    assert_eq!(asked["maximumBytesBilled"], (100 << 20).to_string());
    assert_eq!(asked["location"], "EU");
    let ids = &asked["queryParameters"][0]["parameterValue"]["arrayValues"];
    assert_eq!(ids, &json!([{"value": text().to_uppercase()}, {"value": text()}]));
    let sql = asked["query"].as_str().unwrap();
    assert!(
        sql.ends_with("(_PARTITIONTIME >= TIMESTAMP '2026-11-22 00:00:00+00:00' OR _PARTITIONTIME IS NULL)"),
        "{sql}"
    );
    assert_eq!(observer.schema().unwrap().columns.len(), 4);
    let counted: Vec<_> = observer
        .google
        .calls()
        .snapshot()
        .into_iter()
        .map(|(_, operation, result, count)| (operation, result, count))
        .collect();
    assert_eq!(
        counted,
        [("jobs.query".to_owned(), CallResult::Ok, 2), ("tables.get".to_owned(), CallResult::Ok, 1)]
    );
}

#[tokio::test]
async fn a_second_row_is_another_copy_and_a_second_look_is_not() {
    let (early, late) = (row(NOW * 1_000_000 - 9), row(NOW * 1_000_000));
    let replies = vec![table(), dry_run(0), rows(&[late.clone(), early.clone()]), rows(&[early, late])];
    let (mut observer, _) = observer(replies, settings()).await;
    let mut looks = Vec::new();
    for _ in 0..2 {
        looks.push(observer.poll(&wanted()).await.unwrap().sightings);
    }
    assert_eq!(looks[0], looks[1]);
    assert_eq!(looks[0][1].locator, Locator::new("p.d.t row 2 of acme"));
}

#[tokio::test]
async fn canaries_that_must_not_be_in_the_table_are_found_without_being_asked_for() {
    let of = |tenant: &str, n: u8| {
        let trace = TraceId::new(Timestamp::from_secs(NOW - 9), [n; 10]);
        let tag = Tag::new(trace, TenantCode::of(tenant), InstanceCode::of("p"), 300, Purpose::Probe);
        let tag = if n > 3 { old(tag) } else { tag };
        let mut found = row(NOW * 1_000_000);
        found[0] = json!(keys().sign(&tag).to_string());
        (tag, found)
    };
    let (leaked, ours, theirs) = (of("globex", 1), of("acme", 2), of("somebody", 3));
    let (old_leaked, old_ours, old_theirs) = (of("globex", 4), of("acme", 5), of("somebody", 6));
    let mut forged = row(NOW * 1_000_000);
    forged[0] = json!(text().replace("zqtp2", "zqtp20"));
    let found = rows(&[
        leaked.1,
        ours.1,
        theirs.1,
        old_leaked.1,
        old_ours.1,
        old_theirs.1,
        forged,
        row(NOW * 1_000_000),
    ]);
    let settings = Settings { owners: Some(vec![TenantCode::of("acme")]), ..settings() };
    let (mut observer, far_end) = observer(vec![table(), dry_run(0), found], settings).await;
    let templates = ["acme", "globex"].map(|name| (TenantCode::of(name), Template::default()));
    observer.recognizer.templates = templates.into();
    let poll = observer.poll(&wanted()).await.unwrap();
    let tags: Vec<_> = poll.sightings.iter().map(|seen| seen.tag).collect();
    assert_eq!(
        tags,
        [leaked.0, old_leaked.0, tag()],
        "and neither what has its place here, nor what is not ours"
    );
    assert_eq!((poll.stats.foreign_tags, poll.stats.decode_errors), (0, 0));
    // The window begins an hour before the oldest that waits, at 2026-11-22T03:29:55Z.
    let acme = TenantCode::of("acme").to_string();
    let from = (NOW - 3_605) * 1_000;
    let expected = format!(
        "WHERE (`trace_id` IN UNNEST(@ids) \
         OR (`trace_id` BETWEEN 'zqtp1{from:012x}' AND 'zqtp1g' AND SUBSTR(`trace_id`, 38, 4) NOT IN ('{}')) \
         OR (`trace_id` BETWEEN 'zqtp2{from:012x}' AND 'zqtp2g' AND SUBSTR(`trace_id`, 38, 8) NOT IN ('{acme}')) \
         OR (`trace_id` BETWEEN 'ZQTP1{from:012X}' AND 'ZQTP1G' AND SUBSTR(`trace_id`, 38, 4) NOT IN ('{}')) \
         OR (`trace_id` BETWEEN 'ZQTP2{from:012X}' AND 'ZQTP2G' AND SUBSTR(`trace_id`, 38, 8) NOT IN ('{}'))) \
         AND (_PARTITIONTIME",
        &acme[..4],
        acme[..4].to_uppercase(),
        acme.to_uppercase()
    );
    for n in [1, 2] {
        let (_, asked) = far_end.asked(n);
        assert!(asked["query"].as_str().unwrap().contains(&expected), "{}", asked["query"]);
    }
    assert_eq!(text()[Version::V2.tenant()], acme);
    assert_eq!(keys().sign(&old(tag())).as_str()[Version::V1.tenant()], acme[..4]);
}

#[tokio::test]
async fn a_canary_of_version_1_is_asked_for_and_compared_as_it_was_written() {
    let (old, text) = (old(tag()), keys().sign(&old(tag())));
    assert!(text.as_str().starts_with("zqtp1"));
    let mut found = row(NOW * 1_000_000);
    found[0] = json!(text.to_string());
    found[3] = json!(Template::default().render(&old, &text));
    let waiting = WantedTrace { tag: old, planned_at: old.trace.planned_at() };
    let wanted = Wanted { waiting: [waiting].into(), ..wanted() };
    let (mut observer, far_end) = observer(vec![table(), dry_run(0), rows(&[found])], settings()).await;
    let poll = observer.poll(&wanted).await.unwrap();
    let [sighting] = poll.sightings.as_slice() else { panic!("{poll:?}") };
    assert_eq!((sighting.tag, sighting.integrity), (old, Integrity::Intact));
    let (_, asked) = far_end.asked(2);
    let ids = &asked["queryParameters"][0]["parameterValue"]["arrayValues"];
    assert_eq!(ids, &json!([{"value": text.to_string().to_uppercase()}, {"value": text.to_string()}]));
}

#[tokio::test]
async fn a_canary_of_version_1_that_may_be_of_two_tenants_is_no_leak_of_either() {
    // The codes of acme and of this one begin with the same 20 bits.
    let twin = "t3737179";
    let mut found = row(NOW * 1_000_000);
    found[0] = json!(keys().sign(&old(tag())).to_string());
    let settings = Settings { owners: Some(vec![TenantCode::of("globex")]), ..settings() };
    let (mut observer, _) = observer(vec![table(), dry_run(0), rows(&[found])], settings).await;
    let templates = ["acme", "globex", twin].map(|name| (TenantCode::of(name), Template::default()));
    observer.recognizer.templates = templates.into();
    let mut unrelated = tag();
    unrelated.trace = TraceId::from_u128(7);
    let waiting = WantedTrace { tag: unrelated, planned_at: Timestamp::from_secs(NOW - 5) };
    let poll = observer.poll(&Wanted { waiting: [waiting].into(), ..wanted() }).await.unwrap();
    assert_eq!(poll.sightings, []);
}

#[tokio::test]
async fn a_row_keeps_its_name_when_a_leaked_or_a_changed_one_comes_before_it() {
    let own = row(NOW * 1_000_000);
    let mut leaked = row(NOW * 1_000_000 - 9);
    leaked[2] = json!("globex");
    let mut cut = row(NOW * 1_000_000 - 5);
    cut[3] = json!(&cut[3].as_str().unwrap()[..150]);
    let replies = vec![
        table(),
        dry_run(0),
        rows(std::slice::from_ref(&own)),
        rows(&[leaked.clone(), own.clone()]),
        rows(&[cut, own, leaked]),
    ];
    let (mut observer, _) = observer(replies, settings()).await;
    let mut looks = Vec::new();
    for _ in 0..3 {
        let seen = observer.poll(&wanted()).await.unwrap().sightings.into_iter();
        let mut names: Vec<_> = seen.map(|seen| seen.locator.to_string()).collect();
        names.sort_unstable();
        looks.push(names);
    }
    assert_eq!(looks[0], ["p.d.t row 1 of acme"]);
    assert_eq!(looks[1], ["p.d.t row 1 of acme", "p.d.t row 1 of globex"]);
    assert_eq!(looks[2], ["p.d.t changed row 1 of acme", "p.d.t row 1 of acme", "p.d.t row 1 of globex"]);
}

fn unfinished() -> Reply {
    (200, json!({"jobComplete": false, "jobReference": {"projectId": "payer", "jobId": "j"}}))
}

#[tokio::test]
async fn a_query_that_is_given_up_is_charged_with_the_most_that_it_may_be_billed_for() {
    let mut replies = vec![table(), dry_run(0)];
    replies.extend(std::iter::repeat_with(unfinished).take(4));
    let settings = Settings { daily_bytes_billed: Some(100 << 20), ..settings() };
    let (mut observer, far_end) = observer(replies, settings.within(Duration::from_secs(30))).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::Timeout);
    assert_eq!(observer.take_unreported().stats.billed_bytes, 100 << 20);
    assert!(observer.take_unreported().is_empty(), "it is charged once");
    assert_eq!(far_end.asked(2).1["jobTimeoutMs"], "24000", "BigQuery stops it before the look is over");
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::OverBudget, "of the day");
}

#[tokio::test]
async fn a_look_that_is_dropped_leaves_its_query_behind_and_the_bill() {
    let replies = vec![table(), dry_run(0), (200, json!("never")), rows(&[])];
    let (mut observer, far_end) = observer(replies, settings()).await;
    let wanted = wanted();
    {
        let mut look = std::pin::pin!(observer.poll(&wanted));
        while far_end.paths().len() < 3 {
            let wait = tokio::time::timeout(Duration::from_millis(5), look.as_mut());
            assert!(wait.await.is_err());
        }
    }
    let poll = observer.poll(&wanted).await.unwrap();
    assert_eq!(poll.stats.billed_bytes, (100 << 20) + (10 << 20), "with the next report at the latest");
}

#[tokio::test]
async fn a_query_that_is_not_taken_or_fails_is_not_charged() {
    let refused = |reason: &str| {
        (400, json!({"error": {"code": 400, "message": "", "errors": [{"reason": reason, "message": ""}]}}))
    };
    let failed = (
        200,
        json!({"jobComplete": true, "errors": [{"reason": "invalidQuery", "message": "Syntax error"}]}),
    );
    for reply in [refused("bytesBilledLimitExceeded"), refused("rateLimitExceeded"), failed] {
        let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings()).await;
        observer.poll(&wanted()).await.unwrap_err();
        assert!(observer.take_unreported().is_empty());
    }
}

#[tokio::test]
async fn riders_are_asked_for_but_do_not_reach_back_to_older_partitions() {
    let week_old = Timestamp::from_secs(NOW - 7 * 86_400);
    let lost = WantedTrace {
        tag: Tag::remembered(TraceId::new(week_old, [4; 10]), tag().claim(), tag().instance, 300),
        planned_at: week_old,
    };
    let wanted = Wanted { recently_seen: [lost].into(), ..wanted() };
    let (mut observer, far_end) = observer(vec![table(), dry_run(0), rows(&[])], settings()).await;
    observer.poll(&wanted).await.unwrap();
    for n in [1, 2] {
        let (_, asked) = far_end.asked(n);
        let sql = asked["query"].as_str().unwrap();
        assert!(sql.contains("_PARTITIONTIME >= TIMESTAMP '2026-11-22 00:00:00+00:00'"), "{sql}");
        let ids = asked["queryParameters"][0]["parameterValue"]["arrayValues"].as_array().unwrap();
        assert_eq!(ids.len(), 4);
    }
}

#[test]
fn riders_cost_no_query_of_their_own() {
    let waiting: Vec<_> = vec![wanted().waiting[0]; MAX_IDS + 1];
    let recently_seen = vec![wanted().waiting[0]; MAX_IDS];
    let wanted = Wanted { waiting: waiting.into(), recently_seen: recently_seen.into(), ..wanted() };
    let sizes = Asked::all(&wanted, Timestamp::from_secs(NOW)).into_iter().map(|asked| asked.traces.len());
    assert_eq!(sizes.collect::<Vec<_>>(), [MAX_IDS, MAX_IDS]);
}

#[tokio::test]
async fn an_id_in_upper_case_and_a_message_that_was_parsed_are_still_ours() {
    let mut found = row(NOW * 1_000_000);
    let line: Value = serde_json::from_str(found[3].as_str().unwrap()).unwrap();
    found[0] = json!(text().to_uppercase());
    found[3] = line["message"].clone();
    let (mut observer, _) = observer(vec![table(), dry_run(0), rows(&[found])], settings()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings[0].tag, poll.sightings[0].integrity), (tag(), Integrity::Intact));
}

#[tokio::test]
async fn a_column_of_trace_ids_is_matched_with_what_was_asked() {
    let settings =
        Settings { id_is: IdIs::TraceId, ..Settings::new(TableName::parse("p.d.t").unwrap(), "trace_id") };
    let reply = (
        200,
        json!({"jobComplete": true, "rows": [cells(&[json!(tag().trace.to_string().to_uppercase())])], "schema": {"fields": [{"name": "a", "type": "STRING"}]}}),
    );
    let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings[0].tag, poll.sightings[0].stamp), (tag(), Stamp::None));
}

#[tokio::test]
async fn a_table_that_is_too_dear_is_never_queried() {
    let (mut observer, far_end) = observer(vec![table(), dry_run(147 << 30)], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::OverBudget);
    assert!(error.detail.contains("150528 MB") && error.detail.contains("100 MB"), "{error}");
    assert_eq!(far_end.paths().len(), 2);
}

#[tokio::test]
async fn the_budget_of_a_day_ends_the_looks_until_midnight() {
    let settings = Settings { daily_bytes_billed: Some(10 << 20), ..settings() };
    let (mut observer, far_end) = observer(vec![table(), dry_run(0), rows(&[])], settings).await;
    observer.poll(&wanted()).await.unwrap();
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::OverBudget);
    assert_eq!(
        Timestamp::from_secs(NOW) + error.retry_after.unwrap(),
        Timestamp::parse_rfc3339("2026-11-23T00:00:00Z").unwrap()
    );
    assert_eq!(far_end.paths().len(), 3);
}

#[tokio::test]
async fn an_unfinished_query_is_asked_again_and_its_pages_are_read() {
    let waiting = (
        200,
        json!({"jobComplete": false, "jobReference": {"projectId": "payer", "jobId": "j1", "location": "EU"}}),
    );
    let mut first = rows(&[row(NOW * 1_000_000)]);
    first.1["pageToken"] = json!("p2");
    first.1["jobReference"] = json!({"projectId": "payer", "jobId": "j1", "location": "EU"});
    let (mut observer, far_end) =
        observer(vec![table(), dry_run(0), waiting, first, rows(&[row(NOW * 1_000_000)])], settings()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.stats.billed_bytes), (2, 10 << 20));
    let (path, _) = far_end.asked(4);
    assert!(
        path.starts_with("/v2/projects/payer/queries/j1?")
            && path.contains("pageToken=p2")
            && path.contains("location=EU"),
        "{path}"
    );
}

#[tokio::test]
async fn a_result_with_too_many_pages_vouches_for_nothing() {
    let mut endless = rows(&[row(NOW * 1_000_000)]);
    endless.1["pageToken"] = json!("next");
    endless.1["jobReference"] = json!({"projectId": "payer", "jobId": "j1"});
    let settings = Settings { max_pages: 1, ..settings() };
    let (mut observer, _) = observer(vec![table(), dry_run(0), endless], settings).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (1, None));
}

#[tokio::test]
async fn an_error_inside_a_good_answer_is_an_error() {
    let reply = (200, json!({"jobComplete": true, "errors": [{"reason": "accessDenied", "message": "no"}]}));
    let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!((error.kind, &*error.detail), (FailureKind::Denied, "query on `p.d.t`: accessDenied: no"));
}

#[tokio::test]
async fn a_page_that_is_not_json_keeps_its_status_and_says_when_to_come_back() {
    let (mut observer, _) =
        observer(vec![table(), dry_run(0), (429, json!("<html>slow down</html>"))], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (FailureKind::Throttled, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn a_column_that_disappears_is_left_out_at_the_next_look() {
    let fewer = described(&[("trace_id", "STRING"), ("tenant", "STRING")]);
    let gone = (400, refused("invalidQuery", "Unrecognized name: message at [1:9]"));
    let reply = (
        200,
        json!({"jobComplete": true, "rows": [cells(&[json!(text()), json!("acme")])], "schema": {"fields": [{"name": "a", "type": "STRING"}]}}),
    );
    let (mut observer, _) =
        observer(vec![table(), dry_run(0), gone, fewer, dry_run(0), reply], settings()).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::NotFound);
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings[0].stamp, poll.sightings[0].label.as_deref()), (Stamp::None, Some("acme")));
    assert_eq!(observer.missing_columns(), ["ingest_time", "message"]);
}

#[tokio::test]
async fn the_columns_are_told_as_they_are_now_also_after_a_look_that_failed() {
    let fewer = described(&[("trace_id", "STRING"), ("tenant", "STRING"), ("ingest_time", "INTEGER")]);
    let replies = vec![
        table(),
        dry_run(0),
        (400, refused("invalidQuery", "Unrecognized name: message at [1:9]")),
        fewer,
        dry_run(0),
        rows(&[]),
        table(),
        dry_run(0),
        rows(&[]),
    ];
    let (mut observer, _) = observer(replies, Settings { refresh: Duration::ZERO, ..settings() }).await;
    assert_eq!(observer.schema(), None);
    let mut told = Vec::new();
    for _ in 0..3 {
        let _failed_or_not = observer.poll(&wanted()).await;
        let schema = observer.schema().unwrap();
        told.push((schema.columns.len(), schema.column("ingest_time").unwrap().kind.clone()));
    }
    let expected = [(4, "TIMESTAMP"), (3, "INTEGER"), (4, "TIMESTAMP")];
    assert_eq!(told, expected.map(|(columns, kind)| (columns, kind.to_owned())));
}

#[tokio::test]
async fn the_columns_of_a_table_that_cannot_be_asked_for_an_id_are_told_all_the_same() {
    let gone = described(&[("tenant", "STRING")]);
    let (mut observer, _) = observer(vec![gone], settings()).await;
    observer.poll(&wanted()).await.unwrap_err();
    let schema = observer.schema().unwrap();
    assert_eq!((schema.columns.len(), schema.column("trace_id")), (1, None));
}

#[tokio::test]
async fn a_table_without_the_id_column_is_no_place_to_look() {
    let (mut observer, _) = observer(vec![described(&[("id", "STRING")])], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!((error.kind, &*error.detail), (FailureKind::NotFound, "`p.d.t` has no column `trace_id`"));
}

#[test]
fn a_table_name_has_three_parts_and_nothing_that_could_end_a_quote() {
    assert_eq!(TableName::parse("example.com:p.d.t").unwrap().to_string(), "example.com:p.d.t");
    for bad in ["d.t", "p..t", "p.d.t`; DROP", ""] {
        assert_eq!(TableName::parse(bad), None, "{bad}");
    }
}
