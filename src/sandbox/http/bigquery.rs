//! BigQuery, REST: jobs.query, jobs.getQueryResults, jobs.get and tables.get, with the error shapes of the
//! real service.
//!
//! There is one table, `events`, which is partitioned. The same rows are in tables of each day,
//! `events_20261122`, of which only those exist that hold a row.
//!
//! A query sees the rows that are there when it starts, and answers when it has run its time, so what arrives
//! meanwhile is not in it. [`super::sql`] says what SQL is understood. Bytes processed are those of the
//! columns that the query names, in rows that have left the streaming buffer (bytes in the buffer are free),
//! plus the older bytes of the settings or of a fault when no condition bounds the partition. Billed are at
//! least the 10 MB that each query costs.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::clock::{self, Micros};
use super::super::fault::Drift;
use super::super::names::{Service, Stage};
use super::super::settings::TABLE;
use super::super::world::jobs::{Cell, Job};
use super::super::world::table::Row;
use super::super::world::{Shared, World};
use super::sql::{self, Column, Item, Parameters, Partition, Select};
use super::{Call, CallTarget, Failure, gateway_page, long_message, plain, server_status};

/// What a query is billed for at least (BigQuery pricing: 10 MB per table referenced).
const MINIMUM_BILLED: u64 = 10 << 20;
/// How long jobs.query waits when not told (BigQuery API reference).
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// Rows of a page when not told.
const PAGE_ROWS: usize = 100_000;
const LOCATION: &str = "EU";
const PREFIX: &str = "/bigquery/v2/";

fn path(call: &Call) -> Vec<&str> {
    call.uri.path().trim_start_matches(PREFIX).split('/').collect()
}

pub(super) fn identify(call: &Call) -> CallTarget {
    let path = path(call);
    let (operation, resource) = match (&call.method, path.as_slice()) {
        (&Method::POST, ["projects", project, "queries"]) => ("jobs.query", (*project).to_owned()),
        (&Method::GET, ["projects", project, "queries", _]) => {
            ("jobs.getQueryResults", (*project).to_owned())
        }
        (&Method::GET, ["projects", project, "jobs", _]) => ("jobs.get", (*project).to_owned()),
        (&Method::GET, ["projects", project, "datasets", dataset, "tables", table]) => {
            ("tables.get", format!("{project}.{dataset}.{table}"))
        }
        _ => ("unknown", String::new()),
    };
    CallTarget { operation: operation.to_owned(), resource, tenant: None }
}

pub(super) fn failure_response(failure: Failure) -> Response {
    match failure {
        Failure::Throttled => error(
            StatusCode::TOO_MANY_REQUESTS,
            "rateLimitExceeded",
            "RESOURCE_EXHAUSTED",
            "Exceeded rate limits: too many api requests per user per method for this user_method.",
        ),
        Failure::Denied => error(
            StatusCode::FORBIDDEN,
            "accessDenied",
            "PERMISSION_DENIED",
            "Access Denied: Project demo: User does not have bigquery.jobs.create permission in project demo.",
        ),
        Failure::Long(bytes) => {
            error(StatusCode::BAD_REQUEST, "invalid", "INVALID_ARGUMENT", &long_message(bytes))
        }
        Failure::Server(status) => {
            let status = server_status(status);
            let message = "An internal error occurred and the request could not be completed.";
            gateway_page(status).unwrap_or_else(|| error(status, "internalError", "INTERNAL", message))
        }
    }
}

fn error(status: StatusCode, reason: &str, state: &str, message: &str) -> Response {
    let body = json!({"error": {
        "code": status.as_u16(),
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": reason}],
        "status": state,
    }});
    plain(status, "application/json; charset=UTF-8", body.to_string())
}

fn invalid(reason: &str, message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, reason, "INVALID_ARGUMENT", message)
}

fn not_found(what: &str) -> Response {
    error(StatusCode::NOT_FOUND, "notFound", "NOT_FOUND", &format!("Not found: {what}"))
}

pub(super) async fn handle(shared: &Arc<Shared>, operation: &str, call: &Call) -> Response {
    match (operation, path(call).as_slice()) {
        ("jobs.query", [_, project, _]) => query(shared, project, call).await,
        ("jobs.getQueryResults", [_, project, _, id]) => results(shared, project, id, call).await,
        ("jobs.get", [_, project, _, id]) => job_get(shared, project, id),
        ("tables.get", [_, project, _, dataset, _, table]) => table_get(shared, project, dataset, table),
        _ => not_found(call.uri.path()),
    }
}

async fn query(shared: &Arc<Shared>, project: &str, call: &Call) -> Response {
    let body = call.json();
    // Legacy SQL is what the real API assumes when it is not told otherwise; it knows no backticks and no
    // parameters.
    if body.get("useLegacySql").and_then(Value::as_bool) != Some(false) {
        return invalid("invalidQuery", "Legacy SQL is not understood here: set useLegacySql to false");
    }
    let text = body.get("query").and_then(Value::as_str).unwrap_or_default();
    let selects = match sql::parse(text, &parameters(&body)) {
        Ok(selects) => selects,
        Err(message) => return invalid("invalidQuery", &message),
    };
    for select in &selects {
        let dots = select.table.matches('.').count();
        let whole = if dots == 1 { format!("{project}.{}", select.table) } else { select.table.clone() };
        let parts: Vec<&str> = whole.split('.').collect();
        let known = match parts.as_slice() {
            [project, dataset, table] => rows_of(&shared.lock(), project, dataset, table).is_some(),
            _ => false,
        };
        if !known {
            let name = whole.replacen('.', ":", 1);
            return not_found(&format!("Table {name} was not found in location {LOCATION}"));
        }
    }
    let dry = body.get("dryRun").and_then(Value::as_bool) == Some(true);
    let (job, int_stamps) = {
        let mut world = shared.lock();
        let now = clock::now();
        let dropped = world.faults.drifts().find(|(name, change)| {
            let mut columns = selects.iter().flat_map(|select| &select.columns);
            *change == Drift::Dropped && columns.any(|column| column.name() == *name)
        });
        if let Some((name, _)) = dropped {
            return invalid("invalidQuery", &format!("Unrecognized name: {name}"));
        }
        let job = run(&mut world, project, &selects, now);
        if let Some(most) = number(&body, "maximumBytesBilled").filter(|most| *most < job.billed) {
            let message =
                format!("Query exceeded limit for bytes billed: {most}. {} or higher required.", job.billed);
            return invalid("bytesBilledLimitExceeded", &message);
        }
        let int_stamps = body
            .pointer("/formatOptions/useInt64Timestamp")
            .is_some_and(|value| value == true || value == "true");
        let job = Arc::new(job);
        if !dry {
            world.jobs.add(Arc::clone(&job));
        }
        (job, int_stamps)
    };
    if dry {
        return json_answer(&json!({
            "kind": "bigquery#queryResponse",
            "schema": schema_json(&job),
            "jobReference": {"projectId": project, "location": LOCATION},
            "totalBytesProcessed": job.processed.to_string(),
            "totalBytesBilled": "0",
            "jobComplete": true,
            "cacheHit": false,
        }));
    }
    wait(&job, number(&body, "timeoutMs")).await;
    let most = number(&body, "maxResults").and_then(|most| usize::try_from(most).ok());
    page(shared, "bigquery#queryResponse", &job, 0, most, int_stamps)
}

async fn results(shared: &Arc<Shared>, project: &str, id: &str, call: &Call) -> Response {
    let Some(job) = shared.lock().jobs.get(id).filter(|job| job.project == project) else {
        return not_found(&format!("Job {project}:{LOCATION}.{id}"));
    };
    if call.query("location").is_some_and(|location| !location.eq_ignore_ascii_case(LOCATION)) {
        return not_found(&format!("Job {project}:{id}"));
    }
    let parameter = |name: &str| call.query(name).and_then(|text| text.parse::<u64>().ok());
    wait(&job, parameter("timeoutMs")).await;
    let first = parameter("pageToken").or_else(|| parameter("startIndex")).unwrap_or(0);
    let int_stamps = call.query("formatOptions.useInt64Timestamp").as_deref() == Some("true");
    let most = parameter("maxResults").and_then(|most| usize::try_from(most).ok());
    page(
        shared,
        "bigquery#getQueryResultsResponse",
        &job,
        usize::try_from(first).unwrap_or(usize::MAX),
        most,
        int_stamps,
    )
}

/// Numbers of this API are often texts.
fn number(body: &Value, key: &str) -> Option<u64> {
    let value = body.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn parameters(body: &Value) -> Parameters {
    let list = body.get("queryParameters").and_then(Value::as_array);
    let texts = |value: &Value| -> Vec<String> {
        let one = |value: &Value| value.get("value").and_then(Value::as_str).map(str::to_owned);
        match value.get("arrayValues").and_then(Value::as_array) {
            Some(array) => array.iter().filter_map(one).collect(),
            None => one(value).into_iter().collect(),
        }
    };
    list.into_iter()
        .flatten()
        .filter_map(|parameter| {
            Some((parameter.get("name")?.as_str()?.to_owned(), texts(parameter.get("parameterValue")?)))
        })
        .collect()
}

/// Waits until the job has run its time, but no longer than the caller does.
async fn wait(job: &Job, timeout_ms: Option<u64>) {
    let left = job.ready.since(clock::now());
    tokio::time::sleep(left.min(Duration::from_millis(timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS)))).await;
}

/// Which rows a table has: all, or those of a day. `None` if there is no such table.
fn rows_of(world: &World, project: &str, dataset: &str, table: &str) -> Option<Rows> {
    if (project, dataset) != (TABLE.0, TABLE.1) {
        return None;
    }
    if table == TABLE.2 {
        return Some(Rows::All);
    }
    let day = table.strip_prefix(TABLE.2)?.strip_prefix('_')?;
    let rows = Rows::OfDay(world.table.rows.iter().map(day_of).find(|of| name_of_day(*of) == day)?);
    Some(rows)
}

/// A selection of the rows that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    All,
    /// Of a day since 1970.
    OfDay(i64),
}

impl Rows {
    fn has(self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::OfDay(day) => day_of(row) == day,
        }
    }
}

fn day_of(row: &Row) -> i64 {
    row.ingest_time.seconds().div_euclid(86_400)
}

/// `20261122`.
fn name_of_day(day: i64) -> String {
    Micros::from_millis(day * 86_400_000).format("%Y%m%d")
}

/// Computes a query's result.
fn run(world: &mut World, project: &str, selects: &[Select], now: Micros) -> Job {
    let mut processed = 0;
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut masking = false;
    for select in selects {
        processed += read(world, select, now, &mut rows);
        masking |= select.columns.iter().any(|column| world.faults.masks(column.name()));
    }
    let id = world.jobs.next_id();
    let mut rng = fastrand::Rng::with_seed(world.settings.seed ^ id.len() as u64 ^ now.0.unsigned_abs());
    let takes = world
        .faults
        .query_ms()
        .map_or_else(|| world.settings.pace.query.draw(&mut rng), Duration::from_millis);
    let items = selects.first().map_or(&[][..], |select| &select.items);
    Job {
        id,
        project: project.to_owned(),
        ready: now.after(takes),
        columns: items.iter().map(|(name, item)| (name.clone(), kind(*item))).collect(),
        rows,
        processed,
        billed: processed.next_multiple_of(1 << 20).max(MINIMUM_BILLED),
        row_policy: world.faults.row_policy().is_some(),
        masking,
    }
}

/// Adds the rows of one part of a query, and says how many bytes it read for them.
fn read(world: &World, select: &Select, now: Micros, result: &mut Vec<Vec<Cell>>) -> u64 {
    let table = select.table.rsplit('.').next().unwrap_or_default();
    let of_table = rows_of(world, TABLE.0, TABLE.1, table);
    let stay = world.buffer();
    let mut processed = match (of_table, select.partition) {
        (Some(Rows::All), Partition::Unbounded) => {
            world.faults.table_size().unwrap_or(world.settings.history_bytes)
        }
        (None | Some(_), _) => 0,
    };
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut count = 0;
    for row in world.table.rows.iter().filter(|row| of_table.is_some_and(|of_table| of_table.has(row))) {
        let buffered = row.is_buffered(now, stay);
        let admitted = match select.partition {
            Partition::Unbounded | Partition::Either => true,
            Partition::Flushed => !buffered,
            Partition::Buffered => buffered,
        };
        let visible = world.faults.row_policy();
        if !admitted || visible.is_some_and(|tenants| tenants.iter().all(|tenant| **tenant != *row.tenant)) {
            continue;
        }
        if !buffered {
            processed += Column::SHOWN
                .iter()
                .filter(|column| select.columns.contains(column))
                .map(|column| size(row, *column))
                .sum::<u64>();
        }
        let matches = select.tests.iter().all(|test| test.holds(&|column| shown(world, row, column)));
        if matches {
            count += 1;
            let cells = select.items.iter().map(|(_, item)| cell(world, row, *item, buffered, now));
            rows.push(cells.collect());
        }
    }
    if select.items.iter().any(|(_, item)| *item == Item::Count) {
        rows = vec![vec![Cell::Whole(count)]];
    }
    if select.distinct {
        let mut kept: Vec<Vec<Cell>> = Vec::new();
        rows.retain(|row| {
            let new = !kept.contains(row);
            if new {
                kept.push(row.clone());
            }
            new
        });
    }
    rows.truncate(select.limit.unwrap_or(usize::MAX));
    result.extend(rows);
    processed
}

/// A text as the probe sees it: the default masking value of a STRING is empty (BigQuery, data masking).
fn shown<'a>(world: &World, row: &'a Row, column: Column) -> Option<&'a str> {
    let text = text(row, column)?;
    Some(if world.faults.masks(column.name()) { "" } else { text })
}

fn job_get(shared: &Shared, project: &str, id: &str) -> Response {
    let Some(job) = shared.lock().jobs.get(id).filter(|job| job.project == project) else {
        return not_found(&format!("Job {project}:{LOCATION}.{id}"));
    };
    // Statistics of what did not apply are left out.
    let mut statistics = json!({"query": {"statementType": "SELECT"}});
    if job.row_policy {
        statistics["rowLevelSecurityStatistics"] = json!({"rowLevelSecurityApplied": true});
    }
    if job.masking {
        statistics["dataMaskingStatistics"] = json!({"dataMaskingApplied": true});
    }
    json_answer(&json!({
        "kind": "bigquery#job",
        "jobReference": {"projectId": job.project, "jobId": job.id, "location": LOCATION},
        "status": {"state": "DONE"},
        "statistics": statistics,
    }))
}

fn size(row: &Row, column: Column) -> u64 {
    match column {
        Column::IngestTime => 8,
        Column::PartitionTime => 0,
        Column::TraceId | Column::Tenant | Column::Message => {
            text(row, column).map_or(0, |text| text.len() as u64 + 2)
        }
    }
}

fn text(row: &Row, column: Column) -> Option<&Arc<str>> {
    match column {
        Column::TraceId => row.trace_id.as_ref(),
        Column::Tenant => Some(&row.tenant),
        Column::Message => Some(&row.message),
        Column::IngestTime | Column::PartitionTime => None,
    }
}

fn kind(item: Item) -> &'static str {
    match item {
        Item::Plain(Column::IngestTime | Column::PartitionTime) | Item::Now => "TIMESTAMP",
        Item::Plain(Column::TraceId | Column::Tenant | Column::Message) | Item::Lower(_) => "STRING",
        Item::UnixMicros(_) | Item::UnixMillis(_) | Item::Count => "INTEGER",
    }
}

fn cell(world: &World, row: &Row, item: Item, buffered: bool, now: Micros) -> Cell {
    let stamp = |column: Column| match column {
        Column::IngestTime => Some(world.stamp(Service::Bigquery, row.ingest_time)),
        // Days are the partitions.
        Column::PartitionTime if !buffered => {
            Some(Micros(row.ingest_time.seconds().div_euclid(86_400) * 86_400_000_000))
        }
        Column::PartitionTime | Column::TraceId | Column::Tenant | Column::Message => None,
    };
    let of_text = |column: Column| match text(row, column) {
        Some(_) if world.faults.masks(column.name()) => Cell::Text("".into()),
        Some(text) => Cell::Text(Arc::clone(text)),
        None => Cell::Null,
    };
    match item {
        Item::Plain(column @ (Column::IngestTime | Column::PartitionTime)) => {
            stamp(column).map_or(Cell::Null, Cell::Stamp)
        }
        Item::Plain(column) => of_text(column),
        Item::Lower(column) => match of_text(column) {
            Cell::Text(text) => Cell::Text(text.to_lowercase().into()),
            other @ (Cell::Null | Cell::Stamp(_) | Cell::Whole(_)) => other,
        },
        Item::UnixMicros(column) => stamp(column).map_or(Cell::Null, |at| Cell::Whole(at.0)),
        Item::UnixMillis(column) => stamp(column).map_or(Cell::Null, |at| Cell::Whole(at.millis())),
        Item::Now => Cell::Stamp(world.stamp(Service::Bigquery, now)),
        Item::Count => Cell::Null,
    }
}

fn page(
    shared: &Shared,
    kind: &str,
    job: &Job,
    first: usize,
    most: Option<usize>,
    int_stamps: bool,
) -> Response {
    let mut answer = json!({
        "kind": kind,
        "jobReference": {"projectId": job.project, "jobId": job.id, "location": LOCATION},
        "jobComplete": clock::now() >= job.ready,
    });
    // Errors of a fault that came up meanwhile are not the query's; only its readiness counts.
    if answer["jobComplete"] == false {
        return json_answer(&answer);
    }
    let drifted: Vec<String> = {
        let world = shared.lock();
        world
            .faults
            .drifts()
            .filter(|(_, change)| *change == Drift::Retyped)
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    let rows: Vec<Value> = job
        .rows
        .iter()
        .skip(first)
        .take(most.unwrap_or(PAGE_ROWS))
        .map(|row| json!({"f": row.iter().map(|cell| json!({"v": value(cell, int_stamps)})).collect::<Vec<_>>()}))
        .collect();
    let mut schema = schema_json(job);
    for field in schema["fields"].as_array_mut().into_iter().flatten() {
        if field["name"].as_str().is_some_and(|name| drifted.iter().any(|one| one == name)) {
            field["type"] = json!("INTEGER");
        }
    }
    let next = first.saturating_add(rows.len());
    if next < job.rows.len() {
        answer["pageToken"] = json!(next.to_string());
    }
    answer["schema"] = schema;
    answer["totalRows"] = json!(job.rows.len().to_string());
    answer["totalBytesProcessed"] = json!(job.processed.to_string());
    answer["totalBytesBilled"] = json!(job.billed.to_string());
    answer["cacheHit"] = json!(false);
    // An empty result has no rows at all in the real answer.
    if !rows.is_empty() {
        answer["rows"] = json!(rows);
    }
    json_answer(&answer)
}

/// A TIMESTAMP is seconds in scientific notation, unless whole microseconds were requested.
fn value(cell: &Cell, int_stamps: bool) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => json!(&**text),
        Cell::Whole(number) => json!(number.to_string()),
        Cell::Stamp(at) if int_stamps => json!(at.0.to_string()),
        Cell::Stamp(at) => json!(format!("{:E}", at.0 as f64 / 1e6)),
    }
}

fn schema_json(job: &Job) -> Value {
    let fields =
        job.columns.iter().map(|(name, kind)| json!({"name": name, "type": kind, "mode": "NULLABLE"}));
    json!({"fields": fields.collect::<Vec<_>>()})
}

fn table_get(shared: &Shared, project: &str, dataset: &str, table: &str) -> Response {
    let world = shared.lock();
    let Some(rows) = rows_of(&world, project, dataset, table) else {
        return not_found(&format!("Table {project}:{dataset}.{table}"));
    };
    let now = clock::now();
    let mut fields: Vec<Value> = Column::SHOWN
        .iter()
        .map(|column| {
            let mut field =
                json!({"name": column.name(), "type": kind(Item::Plain(*column)), "mode": "NULLABLE"});
            if *column == Column::IngestTime {
                field["defaultValueExpression"] = json!("CURRENT_TIMESTAMP()");
            }
            field
        })
        .collect();
    for (name, change) in world.faults.drifts() {
        match change {
            Drift::Added => fields.push(json!({"name": name, "type": "STRING", "mode": "NULLABLE"})),
            Drift::Dropped => fields.retain(|field| field["name"] != name),
            Drift::Remoded => {
                let drifted = fields.iter_mut().filter(|field| field["name"] == name);
                drifted.for_each(|field| field["mode"] = json!("REQUIRED"));
            }
            Drift::Retyped => {
                let drifted = fields.iter_mut().filter(|field| field["name"] == name);
                drifted.for_each(|field| field["type"] = json!("INTEGER"));
            }
        }
    }
    let history = world.faults.table_size().unwrap_or(world.settings.history_bytes);
    let (buffered, buffered_bytes, oldest) = world.table.buffered(now, world.buffer());
    let flushed: u64 =
        world.table.rows.iter().map(|row| row.bytes() as u64).sum::<u64>() - buffered_bytes as u64;
    let mut answer = json!({
        "kind": "bigquery#table",
        "id": format!("{project}:{dataset}.{table}"),
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
        "schema": {"fields": fields},
        "numRows": (world.table.rows.len() - buffered).to_string(),
        "numBytes": (flushed + history).to_string(),
        "type": "TABLE",
        "location": LOCATION,
        "description": format!("rows of the stage {}", Stage::Bigquery),
    });
    if rows == Rows::All {
        answer["timePartitioning"] = json!({"type": "DAY"});
    }
    if let Some(oldest) = oldest {
        answer["streamingBuffer"] = json!({
            "estimatedRows": buffered.to_string(),
            "estimatedBytes": buffered_bytes.to_string(),
            "oldestEntryTime": world.stamp(Service::Bigquery, oldest).millis().to_string(),
        });
    }
    json_answer(&answer)
}

fn json_answer(body: &Value) -> Response {
    plain(StatusCode::OK, "application/json; charset=UTF-8", body.to_string())
}
