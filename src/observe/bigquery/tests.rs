mod billing;
mod forms;
mod visibility;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::batch::{MAX_WAITING, MAX_WHOLE};
use super::*;
use crate::cloud::calls::{CallResult, Calls};
use crate::cloud::google::{Auth, BIGQUERY, GoogleSettings};
use crate::domain::canary::{Integrity, Template};
use crate::domain::sighting::{Locator, Stamp, WantedTrace};
use crate::domain::tag::{Claim, InstanceCode, Keyring, Purpose, TagKey, Version};
use crate::domain::time::Timestamp;

const NOW: i64 = 1_795_321_800;

pub(super) type Reply = (u16, Value);

/// A server with a list of answers, and the requests that it got.
#[derive(Clone, Default)]
pub(super) struct Server {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Server {
    async fn start(replies: Vec<Reply>) -> (Self, String) {
        let server = Self { replies: Arc::new(Mutex::new(replies.into())), requests: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v2", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(server.clone());
        #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (server, url)
    }

    fn request(&self, n: usize) -> (String, Value) {
        self.requests.lock().unwrap()[n].clone()
    }

    fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn answer(State(server): State<Server>, uri: Uri, body: Bytes) -> Response {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    server.requests.lock().unwrap().push((uri.to_string(), body));
    let (status, reply) =
        server.replies.lock().unwrap().pop_front().expect("a call that no answer was prepared for");
    let mut headers = HeaderMap::new();
    if status == 429 {
        headers.insert("retry-after", "7".parse().unwrap());
    }
    if reply == "cut" {
        // A body that breaks off.
        let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
        return Response::new(axum::body::Body::from_stream(broken));
    }
    if reply == "never" {
        std::future::pending::<()>().await;
    }
    // A text stands for a page that is not JSON.
    let reply = reply.as_str().map_or_else(|| reply.to_string(), str::to_owned);
    (StatusCode::from_u16(status).unwrap(), headers, reply).into_response()
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

pub(super) fn settings() -> Settings {
    Settings {
        time_column: Some("ingest_time".into()),
        tenant_column: Some("tenant".into()),
        body_column: Some("message".into()),
        billing_project: Some("payer".into()),
        ..Settings::new(TableName::parse("p.d.t").unwrap(), "trace_id")
    }
}

pub(super) async fn observer(replies: Vec<Reply>, settings: Settings) -> (BigQuery, Server) {
    let (server, url) = Server::start(replies).await;
    let endpoints = [(BIGQUERY.name, url)].into();
    let google = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
    let google = Google::new(&google, Calls::default()).await.unwrap();
    let recognizer = Recognizer {
        keys: Arc::new(keys()),
        templates: [(TenantCode::of("acme"), Template::default())].into(),
    };
    let clock = WallClock::new(|| Timestamp::from_secs(NOW));
    (BigQuery::new(settings, google, recognizer, clock), server)
}

fn described(columns: &[(&str, &str)]) -> Reply {
    let fields = columns.iter().map(|(name, kind)| {
        let default = (*name == "ingest_time").then_some("CURRENT_TIMESTAMP()");
        json!({"name": name, "type": kind, "mode": "NULLABLE", "defaultValueExpression": default})
    });
    let fields: Vec<Value> = fields.collect();
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
    let fields = [json!({"name": "probe_id", "type": "STRING"})];
    (
        200,
        json!({"jobComplete": true, "schema": {"fields": fields}, "totalBytesProcessed": bytes.to_string()}),
    )
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
    let (mut observer, server) =
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
        server.paths(),
        ["/v2/projects/p/datasets/d/tables/t", "/v2/projects/payer/queries", "/v2/projects/payer/queries"]
    );
    let (_, dry) = server.request(1);
    assert_eq!(dry["dryRun"], true);
    let (_, request) = server.request(2);
    assert_eq!(request["useLegacySql"], false);
    assert_eq!(request["useQueryCache"], false);
    assert_eq!(request["maximumBytesBilled"], (100 << 20).to_string());
    assert_eq!(request["location"], "EU");
    let ids = &request["queryParameters"][0]["parameterValue"]["arrayValues"];
    assert_eq!(ids, &json!([{"value": text().to_uppercase()}, {"value": text()}]));
    let sql = request["query"].as_str().unwrap();
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
async fn a_second_row_is_another_copy_and_a_second_poll_is_not() {
    let (early, late) = (row(NOW * 1_000_000 - 9), row(NOW * 1_000_000));
    let replies = vec![table(), dry_run(0), rows(&[late.clone(), early.clone()]), rows(&[early, late])];
    let (mut observer, _) = observer(replies, settings()).await;
    let mut polls = Vec::new();
    for _ in 0..2 {
        polls.push(observer.poll(&wanted()).await.unwrap().sightings);
    }
    assert_eq!(polls[0], polls[1]);
    assert_eq!(polls[0][1].locator, Locator::new("p.d.t row 2 of acme"));
}

#[tokio::test]
async fn canaries_that_must_not_be_in_the_table_are_found_without_their_ids() {
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
    let (mut observer, server) = observer(vec![table(), dry_run(0), found], settings).await;
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
        let (_, request) = server.request(n);
        assert!(request["query"].as_str().unwrap().contains(&expected), "{}", request["query"]);
    }
    assert_eq!(text()[Version::V2.tenant()], acme);
    assert_eq!(keys().sign(&old(tag())).as_str()[Version::V1.tenant()], acme[..4]);
}

#[tokio::test]
async fn a_canary_of_version_1_is_queried_and_compared_as_it_was_written() {
    let (old, text) = (old(tag()), keys().sign(&old(tag())));
    assert!(text.as_str().starts_with("zqtp1"));
    let mut found = row(NOW * 1_000_000);
    found[0] = json!(text.to_string());
    found[3] = json!(Template::default().render(&old, &text));
    let waiting = WantedTrace { tag: old, planned_at: old.trace.planned_at() };
    let wanted = Wanted { waiting: [waiting].into(), ..wanted() };
    let (mut observer, server) = observer(vec![table(), dry_run(0), rows(&[found])], settings()).await;
    let poll = observer.poll(&wanted).await.unwrap();
    let [sighting] = poll.sightings.as_slice() else { panic!("{poll:?}") };
    assert_eq!((sighting.tag, sighting.integrity), (old, Integrity::Intact));
    let (_, request) = server.request(2);
    let ids = &request["queryParameters"][0]["parameterValue"]["arrayValues"];
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
    let mut polls = Vec::new();
    for _ in 0..3 {
        let seen = observer.poll(&wanted()).await.unwrap().sightings.into_iter();
        let mut names: Vec<_> = seen.map(|seen| seen.locator.to_string()).collect();
        names.sort_unstable();
        polls.push(names);
    }
    assert_eq!(polls[0], ["p.d.t row 1 of acme"]);
    assert_eq!(polls[1], ["p.d.t row 1 of acme", "p.d.t row 1 of globex"]);
    assert_eq!(polls[2], ["p.d.t changed row 1 of acme", "p.d.t row 1 of acme", "p.d.t row 1 of globex"]);
}

#[tokio::test]
async fn recently_seen_traces_are_queried_within_the_partitions_of_waiting_ones() {
    let week_old = Timestamp::from_secs(NOW - 7 * 86_400);
    let lost = WantedTrace {
        tag: Tag::remembered(TraceId::new(week_old, [4; 10]), tag().claim(), tag().instance, 300),
        planned_at: week_old,
    };
    let wanted = Wanted { recently_seen: [lost].into(), ..wanted() };
    let (mut observer, server) = observer(vec![table(), dry_run(0), rows(&[])], settings()).await;
    observer.poll(&wanted).await.unwrap();
    for n in [1, 2] {
        let (_, request) = server.request(n);
        let sql = request["query"].as_str().unwrap();
        assert!(sql.contains("_PARTITIONTIME >= TIMESTAMP '2026-11-22 00:00:00+00:00'"), "{sql}");
        let ids = request["queryParameters"][0]["parameterValue"]["arrayValues"].as_array().unwrap();
        assert_eq!(ids.len(), 4);
    }
}

/// As many waiting traces, of which that of [`wanted`] is the newest.
fn many(waiting: usize) -> Wanted {
    let others = (1..u128::try_from(waiting).unwrap()).map(|nth| {
        let planned_at = Timestamp::from_secs(NOW - 600);
        let trace = TraceId::from_u128(TraceId::new(planned_at, [0; 10]).as_u128() + nth);
        let code = TenantCode::of("acme");
        WantedTrace { tag: Tag::new(trace, code, InstanceCode::of("p"), 300, Purpose::Probe), planned_at }
    });
    let waiting = others.chain(wanted().waiting.iter().copied()).collect();
    Wanted { waiting, ..wanted() }
}

#[test]
fn recently_seen_traces_cost_no_query_of_their_own() {
    let recent: Vec<_> = many(500).waiting.iter().copied().collect();
    let wanted = Wanted { recently_seen: recent.into(), ..many(MAX_WAITING) };
    let sizes = Batch::all(&wanted, Timestamp::from_secs(NOW)).into_iter().map(|batch| batch.traces.len());
    assert_eq!(sizes.collect::<Vec<_>>(), [MAX_WAITING + 500]);
}

#[tokio::test]
async fn a_hundred_thousand_traces_are_one_query_and_each_of_them_is_found() {
    let answer = rows(&[row(NOW * 1_000_000)]);
    let (mut observer, server) = observer(vec![table(), dry_run(0), answer], settings()).await;
    let poll = observer.poll(&many(100_000)).await.unwrap();
    assert_eq!(poll.sightings.iter().map(|seen| seen.tag).collect::<Vec<_>>(), [tag()]);
    assert_eq!(poll.watermark, Some(Timestamp::from_secs(NOW)));
    let (_, request) = server.request(2);
    let ends = request["queryParameters"][0]["parameterValue"]["value"].as_str().unwrap();
    assert_eq!(ends.split(',').count(), 100_000);
}

#[tokio::test]
async fn a_query_for_many_traces_is_bounded_by_the_oldest_and_the_newest() {
    let (mut observer, server) = observer(vec![table(), dry_run(0), rows(&[])], settings()).await;
    let wanted = many(MAX_WHOLE + 1);
    observer.poll(&wanted).await.unwrap();
    let (_, request) = server.request(2);
    let ids: Vec<_> = wanted.waiting.iter().map(|trace| trace.tag.trace).collect();
    let (oldest, newest) = (ids[0], ids[MAX_WHOLE]);
    let range = format!("`trace_id` BETWEEN 'zqtp2{oldest}' AND 'zqtp2{newest}z'");
    assert!(request["query"].as_str().unwrap().contains(&range), "{request}");
}

#[tokio::test]
async fn a_trace_that_was_seen_is_named_by_its_whole_id_beside_many_that_wait() {
    let lost =
        WantedTrace { planned_at: Timestamp::from_secs(NOW - 86_400), ..*wanted().waiting.first().unwrap() };
    let wanted = Wanted { recently_seen: [lost].into(), ..many(MAX_WHOLE + 1) };
    let (mut observer, server) = observer(vec![table(), dry_run(0), rows(&[])], settings()).await;
    observer.poll(&wanted).await.unwrap();
    let (_, request) = server.request(2);
    assert!(request["query"].as_str().unwrap().contains("`trace_id` IN UNNEST(@ids) OR (("), "{request}");
    let ids = &request["queryParameters"][0]["parameterValue"]["arrayValues"];
    assert_eq!(ids, &json!([{"value": text().to_uppercase()}, {"value": text()}]));
}

#[tokio::test]
async fn a_row_that_has_only_the_end_in_common_with_a_waiting_trace_is_not_a_canary_of_ours() {
    let other = TraceId::from_u128(tag().trace.as_u128() ^ (1 << 60));
    let settings = Settings {
        id_is: IdIs::TraceId,
        tenant_column: None,
        body_column: None,
        time_column: None,
        ..settings()
    };
    let mut answer = rows(&[]);
    answer.1["rows"] = json!([cells(&[json!(other.to_string())])]);
    let (mut observer, _) = observer(vec![table(), dry_run(0), answer], settings).await;
    assert_eq!(observer.poll(&many(MAX_WHOLE + 1)).await.unwrap().sightings, []);
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
async fn a_column_of_trace_ids_is_matched_with_the_waiting_traces() {
    let settings =
        Settings { id_is: IdIs::TraceId, ..Settings::new(TableName::parse("p.d.t").unwrap(), "trace_id") };
    let reply = (
        200,
        json!({"jobComplete": true, "rows": [cells(&[json!(tag().trace.to_string().to_uppercase())])], "totalRows": "1", "schema": {"fields": [{"name": "a", "type": "STRING"}]}}),
    );
    let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings[0].tag, poll.sightings[0].stamp), (tag(), Stamp::None));
}

#[tokio::test]
async fn an_unfinished_query_is_waited_for_and_its_pages_are_read() {
    let waiting = (
        200,
        json!({"jobComplete": false, "jobReference": {"projectId": "payer", "jobId": "j1", "location": "EU"}}),
    );
    let mut first = rows(&[row(NOW * 1_000_000)]);
    first.1["pageToken"] = json!("p2");
    first.1["jobReference"] = json!({"projectId": "payer", "jobId": "j1", "location": "EU"});
    let mut second = rows(&[row(NOW * 1_000_000)]);
    for page in [&mut first, &mut second] {
        page.1["totalRows"] = json!("2");
    }
    let (mut observer, server) =
        observer(vec![table(), dry_run(0), waiting, first, second], settings()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.stats.billed_bytes), (2, 10 << 20));
    let (path, _) = server.request(4);
    assert!(
        path.starts_with("/v2/projects/payer/queries/j1?")
            && path.contains("pageToken=p2")
            && path.contains("location=EU"),
        "{path}"
    );
}

#[tokio::test]
async fn an_answer_that_lacks_a_part_is_a_failure_and_not_an_empty_table() {
    let mut first = rows(&[row(NOW * 1_000_000)]);
    first.1["pageToken"] = json!("p2");
    first.1["jobReference"] = json!({"projectId": "payer", "jobId": "j1"});
    let mut short = rows(&[]);
    short.1["totalRows"] = json!("1");
    let unfinished = (200, json!({"jobComplete": false}));
    for (replies, text) in [
        (vec![(200, json!({}))], "the answer is incomplete and names no job"),
        (vec![(200, json!({"jobComplete": true}))], "the answer has no schema"),
        (vec![short], "the answer has 0 of 1 rows"),
        (vec![first.clone(), unfinished], "a further page does not say that the query is done"),
        (vec![first, (200, json!({}))], "a further page does not say that the query is done"),
    ] {
        let replies = [table(), dry_run(0)].into_iter().chain(replies).collect();
        let (mut observer, _) = observer(replies, settings()).await;
        let error = observer.poll(&wanted()).await.unwrap_err();
        assert_eq!(
            (error.kind, &*error.detail),
            (FailureKind::Garbled, &*format!("query on `p.d.t`: {text}"))
        );
    }
}

#[tokio::test]
async fn a_result_with_too_many_pages_proves_no_absence() {
    let mut endless = rows(&[row(NOW * 1_000_000)]);
    endless.1["pageToken"] = json!("next");
    endless.1["jobReference"] = json!({"projectId": "payer", "jobId": "j1"});
    let settings = Settings { max_pages: 1, ..settings() };
    let (mut observer, _) = observer(vec![table(), dry_run(0), endless], settings).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (1, None));
}

#[tokio::test]
async fn a_page_that_is_not_json_keeps_its_status_and_says_when_to_come_back() {
    let (mut observer, _) =
        observer(vec![table(), dry_run(0), (429, json!("<html>slow down</html>"))], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (FailureKind::Throttled, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn a_column_that_disappears_makes_the_next_poll_fail_with_its_name() {
    let fewer = described(&[("trace_id", "STRING"), ("tenant", "STRING"), ("ingest_time", "TIMESTAMP")]);
    let gone = (400, refused("invalidQuery", "Unrecognized name: message at [1:9]"));
    let (mut observer, _) = observer(vec![table(), dry_run(0), gone, fewer], settings()).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::NotFound);
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::NotFound);
    let expected =
        "column message of p.d.t does not exist; it has trace_id, tenant, ingest_time (body_column)";
    assert_eq!(&*error.detail, expected);
}

#[tokio::test]
async fn the_columns_are_reported_also_after_a_failed_poll() {
    let fewer = described(&[("trace_id", "STRING"), ("tenant", "STRING"), ("ingest_time", "INTEGER")]);
    let replies = vec![
        table(),
        dry_run(0),
        (400, refused("invalidQuery", "Unrecognized name: message at [1:9]")),
        fewer,
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
async fn the_columns_of_a_table_without_the_id_column_are_told_all_the_same() {
    let gone = described(&[("tenant", "STRING")]);
    let (mut observer, _) = observer(vec![gone], settings()).await;
    observer.poll(&wanted()).await.unwrap_err();
    let schema = observer.schema().unwrap();
    assert_eq!((schema.columns.len(), schema.column("trace_id")), (1, None));
}
