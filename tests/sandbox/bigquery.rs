//! BigQuery: queries, jobs and the table, with their faults.

use std::time::Duration;

use gcp_bigquery_client::model::query_parameter::QueryParameter;
use gcp_bigquery_client::model::query_parameter_type::QueryParameterType;
use gcp_bigquery_client::model::query_parameter_value::QueryParameterValue;
use gcp_bigquery_client::model::query_request::QueryRequest;
use serde_json::json;
use traceprobe::sandbox::{Drift, Fault, Settings, Stage};

use crate::clients::*;

#[tokio::test]
async fn bigquery_answers_the_crates_query_and_table_calls() {
    let (sandbox, clients) = start(Settings::brisk(1, 2)).await;
    clients.put(0, 1..2).await;
    clients.put(1, 1..2).await;
    let record = arrival(&sandbox, &token(0, 1), Stage::Bigquery).await;
    arrival(&sandbox, &token(1, 1), Stage::Bigquery).await;

    let value = |text: String| QueryParameterValue { value: Some(text), ..Default::default() };
    let mut request = QueryRequest::new(
        "SELECT trace_id, ingest_time, UNIX_MICROS(ingest_time) AS micros FROM `demo.logs.events` \
         WHERE trace_id IN UNNEST(@ids) AND (_PARTITIONTIME >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) OR _PARTITIONTIME IS NULL)",
    );
    request.parameter_mode = Some("NAMED".to_owned());
    request.timeout_ms = Some(5_000);
    request.maximum_bytes_billed = Some("20971520".to_owned());
    request.query_parameters = Some(vec![QueryParameter {
        name: Some("ids".to_owned()),
        parameter_type: Some(QueryParameterType {
            r#type: "ARRAY".to_owned(),
            array_type: Some(Box::new(QueryParameterType {
                r#type: "STRING".to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        }),
        parameter_value: Some(QueryParameterValue {
            array_values: Some(vec![value(token(0, 1))]),
            ..Default::default()
        }),
    }]);
    let answer = clients.bigquery.job().query("demo", request).await.unwrap();
    assert_eq!(answer.job_complete, Some(true));
    let mut rows = gcp_bigquery_client::model::query_response::ResultSet::new_from_query_response(answer);
    assert!(rows.next_row());
    assert_eq!(rows.get_string_by_name("trace_id").unwrap(), Some(token(0, 1)));
    let stored = record.arrived(Stage::Bigquery).unwrap();
    assert_eq!(rows.get_i64_by_name("micros").unwrap(), Some(stored.0));
    let seconds = rows.get_f64_by_name("ingest_time").unwrap().unwrap();
    assert_eq!((seconds * 1e6).round() as i64, stored.0);
    assert!(!rows.next_row());

    let table = clients.bigquery.table().get("demo", "logs", "events", None).await.unwrap();
    let columns: Vec<_> = table.schema.fields.unwrap().into_iter().map(|field| field.name).collect();
    assert_eq!(columns, ["trace_id", "tenant", "message", "ingest_time"]);
    assert!(table.streaming_buffer.is_some());
    assert!(clients.bigquery.table().get("demo", "logs", "other", None).await.is_err());
}

#[tokio::test]
async fn bigquery_reports_what_is_wrong_with_a_query() {
    let (_sandbox, clients) = start(Settings { history_bytes: 1 << 30, ..Settings::brisk(1, 1) }).await;
    let sql = "SELECT trace_id FROM `demo.logs.events` WHERE trace_id IN UNNEST(@ids)";
    let reason = |body: &serde_json::Value| {
        body["error"]["errors"][0]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let (status, body) = clients.query(ids_query("SELEC 1", &[])).await;
    assert_eq!((status, reason(&body).as_str()), (400, "invalidQuery"));
    let (status, body) = clients.query(ids_query(&sql.replace("events", "other"), &[])).await;
    assert_eq!((status, reason(&body).as_str()), (404, "notFound"));

    let mut query = ids_query(sql, &[]);
    query["dryRun"] = json!(true);
    let (status, body) = clients.query(query.clone()).await;
    assert_eq!((status, body["totalBytesProcessed"].as_str()), (200, Some("1073741824")));
    query["dryRun"] = json!(false);
    query["maximumBytesBilled"] = json!("20971520");
    let (status, body) = clients.query(query.clone()).await;
    assert_eq!((status, reason(&body).as_str()), (400, "bytesBilledLimitExceeded"));
    query["query"] = json!(format!(
        "{sql} AND (_PARTITIONTIME > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) OR _PARTITIONTIME IS NULL)"
    ));
    let (status, body) = clients.query(query).await;
    assert_eq!((status, body["totalBytesBilled"].as_str()), (200, Some("10485760")));
}

#[tokio::test]
async fn a_row_in_the_streaming_buffer_has_no_partition() {
    let (sandbox, clients) =
        start(Settings { streaming_buffer: Duration::from_secs(3), ..Settings::brisk(1, 1) }).await;
    clients.put(0, 1..2).await;
    arrival(&sandbox, &token(0, 1), Stage::Bigquery).await;
    let count = async |condition: &str| {
        let sql =
            format!("SELECT trace_id FROM demo.logs.events WHERE trace_id IN UNNEST(@ids) AND {condition}");
        let (status, body) = clients.query(ids_query(&sql, &[token(0, 1)])).await;
        assert_eq!(status, 200);
        body["totalRows"].as_str().unwrap().to_owned()
    };
    assert_eq!(count("_PARTITIONTIME IS NULL").await, "1");
    assert_eq!(count("_PARTITIONTIME > '2020-01-01'").await, "0");
    until("the row has left the streaming buffer", async || {
        (count("_PARTITIONTIME > '2020-01-01'").await == "1").then_some(())
    })
    .await;
    assert_eq!(count("_PARTITIONTIME IS NULL").await, "0");
    assert_eq!(count("(_PARTITIONTIME > '2020-01-01' OR _PARTITIONTIME IS NULL)").await, "1");
}

#[tokio::test]
async fn rows_skip_the_streaming_buffer_if_its_time_is_zero() {
    let (sandbox, clients) = start(Settings::brisk(1, 1)).await;
    clients.put(0, 1..2).await;
    arrival(&sandbox, &token(0, 1), Stage::Bigquery).await;
    let buffered = async || {
        let sql =
            "SELECT trace_id FROM demo.logs.events WHERE trace_id IN UNNEST(@ids) AND _PARTITIONTIME IS NULL";
        let (_, body) = clients.query(ids_query(sql, &[token(0, 1)])).await;
        body["totalRows"].as_str().unwrap().to_owned()
    };
    assert_eq!(buffered().await, "1");
    sandbox.fault(Fault::StreamingBuffer { ms: 0 });
    assert_eq!(buffered().await, "0");
}

#[tokio::test]
async fn get_query_results_returns_the_rows_of_a_slow_query() {
    let (sandbox, clients) = start(Settings::brisk(1, 1)).await;
    clients.put(0, 0..3).await;
    for number in 0..3 {
        arrival(&sandbox, &token(0, number), Stage::Bigquery).await;
    }
    sandbox.fault(Fault::SlowQuery { ms: 300 });
    let mut query = ids_query("SELECT ingest_time FROM demo.logs.events", &[]);
    query["timeoutMs"] = json!(10);
    query["maxResults"] = json!(2);
    let (status, body) = clients.query(query).await;
    assert_eq!((status, &body["jobComplete"], body.get("rows")), (200, &json!(false), None));
    let job = body["jobReference"]["jobId"].as_str().unwrap();
    let url = format!("{}/projects/demo/queries/{job}", clients.endpoints.bigquery);
    let more = format!("{url}?timeoutMs=5000&location=EU&maxResults=2&formatOptions.useInt64Timestamp=true");
    let page: serde_json::Value = clients.http.get(more).send().await.unwrap().json().await.unwrap();
    assert_eq!((&page["jobComplete"], page["rows"].as_array().unwrap().len()), (&json!(true), 2));
    assert!(page["rows"][0]["f"][0]["v"].as_str().unwrap().parse::<i64>().is_ok());
    let rest = format!("{url}?pageToken={}", page["pageToken"].as_str().unwrap());
    let page: serde_json::Value = clients.http.get(rest).send().await.unwrap().json().await.unwrap();
    assert_eq!((page["rows"].as_array().unwrap().len(), page.get("pageToken")), (1, None));
    assert!(page["rows"][0]["f"][0]["v"].as_str().unwrap().ends_with("E9"));
}

#[tokio::test]
async fn a_table_can_become_too_large_to_query() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    sandbox.fault(Fault::TableSize { bytes: 1 << 40 });
    let mut query = ids_query("SELECT trace_id FROM demo.logs.events WHERE trace_id IN UNNEST(@ids)", &[]);
    query["dryRun"] = json!(true);
    let (_, body) = clients.query(query).await;
    assert_eq!(body["totalBytesProcessed"].as_str(), Some("1099511627776"));
}

#[tokio::test]
async fn a_changed_schema_shows_in_the_table_and_in_queries() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    let schema = async || {
        let table = clients.bigquery.table().get("demo", "logs", "events", None).await.unwrap();
        let fields = table.schema.fields.unwrap().into_iter();
        fields.map(|field| format!("{} {:?}", field.name, field.r#type)).collect::<Vec<_>>().join(", ")
    };
    let drift = |column: &str, change| {
        sandbox.clear_all();
        sandbox.fault(Fault::SchemaDrift { column: column.to_owned(), change });
    };
    drift("level", Drift::Added);
    assert!(schema().await.ends_with("level String"));
    drift("ingest_time", Drift::Retyped);
    assert!(schema().await.ends_with("ingest_time Integer"));
    drift("ingest_time", Drift::Remoded);
    let table = clients.bigquery.table().get("demo", "logs", "events", None).await.unwrap();
    let field = table.schema.fields.unwrap().into_iter().find(|field| field.name == "ingest_time").unwrap();
    assert_eq!(field.mode.as_deref(), Some("REQUIRED"));
    drift("trace_id", Drift::Dropped);
    assert!(schema().await.starts_with("tenant"));
    let (status, body) = clients.query(ids_query("SELECT trace_id FROM demo.logs.events", &[])).await;
    assert_eq!((status, body["error"]["message"].as_str()), (400, Some("Unrecognized name: trace_id")));
}

#[tokio::test]
async fn a_policy_hides_rows_and_only_the_statistics_of_the_job_say_so() {
    let (sandbox, clients) = start(Settings::brisk(4, 2)).await;
    let tokens = [token(0, 1), token(1, 1)];
    clients.put(0, 1..2).await;
    clients.put(1, 1..2).await;
    for token in &tokens {
        arrival(&sandbox, token, Stage::Bigquery).await;
    }
    let run = async || {
        let sql = "SELECT trace_id, tenant FROM demo.logs.events WHERE trace_id IN UNNEST(@ids)";
        let (status, rows) = clients.query(ids_query(sql, &tokens)).await;
        let job = rows["jobReference"]["jobId"].as_str().unwrap();
        let url = format!("{}/projects/demo/jobs/{job}?location=EU", clients.endpoints.bigquery);
        let (_, job) = clients.try_get(&url).await.unwrap();
        (status, rows, job["statistics"].clone())
    };
    let (status, rows, statistics) = run().await;
    assert_eq!((status, &rows["totalRows"]), (200, &json!("2")));
    assert_eq!(statistics.get("rowLevelSecurityStatistics"), None);

    sandbox.fault(Fault::RowPolicy { visible: vec!["globex".to_owned()] });
    let (status, rows, statistics) = run().await;
    assert_eq!((status, &rows["totalRows"], rows.get("errors")), (200, &json!("1"), None));
    assert_eq!(statistics["rowLevelSecurityStatistics"]["rowLevelSecurityApplied"], true);

    sandbox.clear_all();
    sandbox.fault(Fault::Masking { column: "tenant".to_owned() });
    let (_, rows, statistics) = run().await;
    assert_eq!(rows["rows"][0]["f"][1]["v"], "");
    assert_eq!(statistics["dataMaskingStatistics"]["dataMaskingApplied"], true);
}

#[tokio::test]
async fn a_table_of_a_day_exists_while_it_holds_a_row() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    clients.put(0, 1..2).await;
    let stored = arrival(&sandbox, &token(0, 1), Stage::Bigquery).await.arrived(Stage::Bigquery).unwrap();
    let day = |micros: i64| {
        let day = traceprobe::domain::time::Timestamp::from_micros(micros).strftime("%Y%m%d");
        format!("demo.logs.events_{day}")
    };
    let select = |table: &str| format!("SELECT trace_id FROM `{table}` WHERE trace_id IN UNNEST(@ids)");
    let today = select(&day(stored.0));
    let twice = format!("{today} UNION ALL {today}");
    let (status, body) = clients.query(ids_query(&twice, &[token(0, 1)])).await;
    assert_eq!((status, &body["totalRows"]), (200, &json!("2")));
    let tomorrow = select(&day(stored.0 + 86_400_000_000));
    let (status, body) = clients.query(ids_query(&format!("{today} UNION ALL {tomorrow}"), &[])).await;
    assert_eq!((status, &body["error"]["errors"][0]["reason"]), (404, &json!("notFound")));
}
