//! Ids inside texts and expressions, tables of each day, and times that a writer fills.

use super::*;

fn contains() -> Settings {
    Settings {
        id: Id::Column("message".into()),
        id_match: IdMatch::Contains,
        tenant_column: None,
        body_column: None,
        ..settings()
    }
}

/// Rows of text and time.
fn texts(texts: &[&str]) -> Reply {
    let rows: Vec<Value> =
        texts.iter().map(|text| cells(&[json!(text), json!(((NOW - 1) * 1_000_000).to_string())])).collect();
    let fields =
        [json!({"name": "probe_id", "type": "STRING"}), json!({"name": "probe_time", "type": "TIMESTAMP"})];
    let total = rows.len().to_string();
    (
        200,
        json!({
            "jobComplete": true, "rows": rows, "totalRows": total, "schema": {"fields": fields},
            "totalBytesBilled": "0",
        }),
    )
}

#[tokio::test]
async fn a_tag_inside_a_message_is_found() {
    let line = format!("2026-11-22 INFO canary {} (padding)", text());
    let (mut observer, server) = observer(vec![table(), dry_run(0), texts(&[&line])], contains()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!(poll.sightings.iter().map(|seen| seen.tag).collect::<Vec<_>>(), [tag()]);
    let (_, request) = server.request(2);
    let ids = &request["queryParameters"][0]["parameterValue"]["arrayValues"];
    assert_eq!(ids, &json!([{"value": text()}]));
}

#[tokio::test]
async fn a_tag_inside_a_message_that_no_key_of_ours_signed_is_foreign() {
    let last = if text().ends_with('0') { '1' } else { '0' };
    let forged = format!("id={}{last}", &text()[..text().len() - 1]);
    let (mut observer, _) = observer(vec![table(), dry_run(0), texts(&[&forged])], contains()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.stats.foreign_tags), (0, 1));
}

#[tokio::test]
async fn a_message_that_names_its_canary_twice_is_one_copy() {
    let line = format!("{{\"trace_id\":\"{0}\",\"msg\":\"id {0}\"}}", text());
    let (mut observer, _) = observer(vec![table(), dry_run(0), texts(&[&line])], contains()).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap().sightings.len(), 1);
}

#[tokio::test]
async fn a_search_inside_texts_without_any_bound_is_not_sent() {
    let plain = (200, json!({"schema": {"fields": [{"name": "message", "type": "STRING"}]}}));
    let settings = Settings { time_column: None, ..contains() };
    let (mut observer, server) = observer(vec![plain], settings).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::OverBudget);
    assert!(error.detail.contains("set time_column"), "{error}");
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn an_expression_that_bigquery_does_not_take_is_told_in_its_words() {
    let settings = Settings { id: Id::Expression("JSON_VAL(p)".into()), ..settings() };
    let wrong =
        (400, refused("invalidQuery", "Function not found: JSON_VAL; Did you mean json_value? at [1:8]"));
    let (mut observer, _) = observer(vec![table(), wrong], settings).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(
        &*error.detail,
        "dry run of a query on `p.d.t`: HTTP 400: invalidQuery: Function not found: JSON_VAL; Did you mean json_value? \
         at [1:8] (with id_expression = \"JSON_VAL(p)\")"
    );
}

#[tokio::test]
async fn a_time_that_the_writer_fills_is_a_lower_bound() {
    let settings = Settings { time_is: Some(TimeIs::Written), ..settings() };
    let (mut observer, _) =
        observer(vec![table(), dry_run(0), rows(&[row(NOW * 1_000_000)])], settings).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!(poll.sightings[0].stamp, Stamp::NotBefore(Timestamp::from_secs(NOW)));
}

/// 2026-11-22T04:30:00Z is the test's time.
fn sharded() -> Settings {
    Settings { table: TableName::parse("p.d.t_%Y%m%d").unwrap(), ..settings() }
}

fn no_table() -> Reply {
    (404, json!({"error": {"code": 404, "message": "Not found", "errors": [{"reason": "notFound"}]}}))
}

/// A time at which yesterday's table may still matter.
fn after_midnight(observer: &mut BigQuery) -> Wanted {
    at(observer, "2026-11-22T00:10:00Z")
}

/// Sets the clock. What waits was planned a quarter of an hour before.
fn at(observer: &mut BigQuery, time: &str) -> Wanted {
    let now = Timestamp::parse_rfc3339(time).unwrap();
    observer.clock = WallClock::new(move || now);
    let mut tag = tag();
    tag.trace = TraceId::new(now - Duration::from_mins(15), [3; 10]);
    let waiting = WantedTrace { tag, planned_at: tag.trace.planned_at() };
    Wanted { waiting: [waiting].into(), ..Wanted::default() }
}

#[tokio::test]
async fn a_label_with_leading_zeros_is_recognised_in_a_column_of_numbers_only() {
    let label: Arc<str> = "012345678901".into();
    let of_type = async |kind: &str| {
        let mut found = row(NOW * 1_000_000);
        found[2] = json!("12345678901");
        let mut answer = rows(&[found]);
        let fields =
            [json!({"name": "probe_id", "type": "STRING"}), json!({"name": "probe_tenant", "type": kind})];
        answer.1["schema"] = json!({"fields": fields});
        let padded_labels = Arc::new([("12345678901".to_owned(), label.clone())].into());
        let settings = Settings { padded_labels, ..settings() };
        let (mut observer, _) = observer(vec![table(), dry_run(0), answer], settings).await;
        let poll = observer.poll(&wanted()).await.unwrap();
        poll.sightings[0].label.clone().unwrap().to_string()
    };
    assert_eq!(of_type("INTEGER").await, "012345678901");
    assert_eq!(of_type("STRING").await, "12345678901");
}

#[tokio::test]
async fn the_table_of_the_day_is_read() {
    let (mut observer, server) = observer(vec![table(), dry_run(0), rows(&[])], sharded()).await;
    observer.poll(&wanted()).await.unwrap();
    assert_eq!(server.paths()[0], "/v2/projects/p/datasets/d/tables/t_20261122");
    let sql = server.request(2).1["query"].to_string();
    assert!(sql.contains("FROM `p.d.t_20261122` WHERE") && !sql.contains("UNION"), "{sql}");
}

#[tokio::test]
async fn both_days_are_read_around_midnight() {
    let (mut observer, server) = observer(vec![table(), table(), dry_run(0), rows(&[])], sharded()).await;
    let wanted = after_midnight(&mut observer);
    let poll = observer.poll(&wanted).await.unwrap();
    assert!(poll.watermark.is_some());
    let sql = server.request(3).1["query"].to_string();
    assert!(sql.contains("FROM `p.d.t_20261121`") && sql.contains("UNION ALL"), "{sql}");
}

#[tokio::test]
async fn a_query_of_two_tables_may_be_billed_for_the_least_of_both() {
    let settings = Settings { max_bytes_billed: 10 << 20, ..sharded() };
    let (mut observer, server) = observer(vec![table(), table(), dry_run(0), rows(&[])], settings).await;
    let wanted = after_midnight(&mut observer);
    observer.poll(&wanted).await.unwrap();
    assert_eq!(server.request(3).1["maximumBytesBilled"], (20 << 20).to_string());
}

#[tokio::test]
async fn a_missing_daily_table_is_queried_again_at_every_poll() {
    let replies = vec![
        table(),
        no_table(),
        dry_run(0),
        rows(&[]),
        no_table(),
        rows(&[]),
        // The first row of the day has come.
        table(),
        table(),
        table(),
        dry_run(0),
        rows(&[]),
    ];
    let (mut observer, server) = observer(replies, sharded()).await;
    let wanted = after_midnight(&mut observer);
    for _ in 0..3 {
        assert!(observer.poll(&wanted).await.unwrap().watermark.is_some());
    }
    let reads = |n: usize| server.request(n).1["query"].to_string().contains("t_20261122");
    assert_eq!([3, 5, 10].map(reads), [false, false, true]);
}

/// A table that was created then.
fn created(time: &str) -> Reply {
    let (status, mut body) = table();
    let created = Timestamp::parse_rfc3339(time).unwrap();
    body["creationTime"] = json!(created.millis().to_string());
    (status, body)
}

/// The days of the tables that a request queries.
fn days(server: &Server, request: usize) -> Vec<String> {
    let sql = server.request(request).1["query"].to_string();
    sql.split("`p.d.t_").skip(1).map(|rest| rest[..8].to_owned()).collect()
}

#[tokio::test]
async fn until_todays_table_exists_yesterdays_is_read_and_proves_what_is_absent() {
    // At UTC-8 it is the evening of the 21st.
    let yesterday = || created("2026-11-21T08:00:03Z");
    let replies =
        vec![no_table(), yesterday(), dry_run(0), rows(&[]), no_table(), rows(&[row(NOW * 1_000_000)])];
    let (mut observer, server) = observer(replies, sharded()).await;
    let poll = observer.poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(Timestamp::from_secs(NOW))));
    assert_eq!(observer.poll(&wanted()).await.unwrap().sightings.len(), 1);
    assert_eq!([3, 5].map(|n| days(&server, n)), [["20261121"], ["20261121"]]);
}

#[tokio::test]
async fn yesterdays_table_is_read_as_long_as_canaries_wait_from_before_todays_was_created() {
    let (today, yesterday) = (|| created("2026-11-22T08:00:03Z"), || created("2026-11-21T08:00:03Z"));
    let replies = vec![
        no_table(),
        yesterday(),
        dry_run(0),
        rows(&[]),
        // It is midnight at UTC-8.
        today(),
        today(),
        yesterday(),
        dry_run(0),
        rows(&[]),
        rows(&[]),
    ];
    let (mut observer, server) = observer(replies, sharded()).await;
    for time in ["2026-11-22T07:58:00Z", "2026-11-22T08:02:00Z", "2026-11-22T09:20:00Z"] {
        let wanted = at(&mut observer, time);
        // Each poll finds what is known.
        observer.settings.refresh = Duration::from_hours(24);
        assert!(observer.poll(&wanted).await.unwrap().watermark.is_some());
    }
    assert_eq!(days(&server, 3), ["20261121"]);
    assert_eq!(days(&server, 8), ["20261121", "20261122"]);
    assert_eq!(days(&server, 9), ["20261122"]);
}

#[tokio::test]
async fn tomorrows_table_is_read_where_todays_was_created_before_its_day_began_in_utc() {
    let replies = vec![
        // At UTC+9 it is the 23rd.
        created("2026-11-21T15:00:03Z"),
        created("2026-11-22T15:00:03Z"),
        dry_run(0),
        rows(&[]),
    ];
    let (mut observer, server) = observer(replies, sharded()).await;
    let wanted = at(&mut observer, "2026-11-22T16:00:00Z");
    observer.poll(&wanted).await.unwrap();
    assert_eq!(days(&server, 3), ["20261122", "20261123"]);
}

#[tokio::test]
async fn tomorrows_table_is_not_requested_where_days_begin_in_utc() {
    let replies = vec![created("2026-11-22T00:00:03Z"), dry_run(0), rows(&[])];
    let (mut observer, server) = observer(replies, sharded()).await;
    let wanted = at(&mut observer, "2026-11-22T16:00:00Z");
    observer.poll(&wanted).await.unwrap();
    assert_eq!((days(&server, 2), server.paths().len()), (vec!["20261122".to_owned()], 3));
}

#[tokio::test]
async fn a_name_that_fits_no_table_is_missing() {
    let (mut observer, _) = observer(vec![no_table(), no_table()], sharded()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(
        (error.kind, &*error.detail),
        (FailureKind::NotFound, "none of the tables `p.d.t_20261122` exists, nor that of the day before")
    );
}

#[tokio::test]
async fn a_view_without_columns_in_its_description_is_checked_by_the_dry_run() {
    let fields =
        [json!({"name": "probe_id", "type": "STRING"}), json!({"name": "probe_time", "type": "STRING"})];
    let dry = (200, json!({"jobComplete": true, "schema": {"fields": fields}}));
    let (mut observer, _) = observer(vec![(200, json!({"type": "VIEW"})), dry], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(
        &*error.detail,
        "ingest_time of p.d.t is STRING; it must be TIMESTAMP or DATETIME (time_column)"
    );
}

#[tokio::test]
async fn a_new_days_table_that_cannot_be_described_is_not_left_out() {
    let broken = || (500, refused("internalError", "try again"));
    let replies = vec![table(), no_table(), dry_run(0), rows(&[]), table(), table(), table(), broken()];
    let (mut observer, _) = observer(replies, sharded()).await;
    let wanted = after_midnight(&mut observer);
    observer.poll(&wanted).await.unwrap();
    assert_eq!(observer.poll(&wanted).await.unwrap_err().kind, FailureKind::Error);
}
