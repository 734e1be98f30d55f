//! Looks for canaries in a BigQuery table, with one query a look for all of them.
//!
//! A query, and not a list of the table's data: that is free, but does not show rows in the streaming buffer, which is
//! where a fresh canary is. Each query costs at least 10 MB on paper, so there is one for all ids, never one for each.
//!
//! The query itself is sent with our own HTTP client and the crate's models, because the crate's client loses the
//! status and the wish to be left alone of every answer that is not the JSON it expects.
//!
//! It must never send a query whose bytes are not bounded: the table's owner pays by the byte.

mod rows;
mod settings;
mod sql;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use gcp_bigquery_client::model::data_format_options::DataFormatOptions;
use gcp_bigquery_client::model::query_parameter::QueryParameter;
use gcp_bigquery_client::model::query_parameter_type::QueryParameterType;
use gcp_bigquery_client::model::query_parameter_value::QueryParameterValue;
use gcp_bigquery_client::model::query_request::QueryRequest;
use gcp_bigquery_client::model::query_response::QueryResponse;
use serde::{Deserialize, Serialize};

use super::{Findings, Observe, ObserveError, Recognizer};
use crate::cloud::calls::CallResult;
use crate::cloud::failure::Failure;
use crate::cloud::google::{BIGQUERY, Google, Request};
use crate::domain::schema::TableSchema;
use crate::domain::sighting::{FailureKind, Poll, ReadStats, Wanted, WantedTrace};
use crate::domain::tag::{Tag, TenantCode, TraceId};
use crate::domain::time::{Timestamp, WallClock};

pub(super) use settings::SPEC;
pub use settings::{IdIs, Predicate, Settings, TableName};

use rows::{Reader, Row};
use settings::MAX_WAITS;
use sql::Columns;
use table::Table;

/// Most canaries that one query asks for. Each stands in it twice, in lower and upper case; BigQuery takes requests of
/// up to 10 MB (BigQuery quotas), and this is less than half a megabyte.
const MAX_IDS: usize = 2_500;

/// Rows of a page that are asked for.
const PAGE_ROWS: i32 = 10_000;

/// What every query is billed for at least, in bytes (BigQuery pricing).
const MIN_BILLED: u64 = 10 << 20;

/// Reads one table.
#[derive(Debug)]
pub struct BigQuery {
    settings: Settings,
    name: String,
    google: Google,
    recognizer: Recognizer,
    clock: WallClock,
    known: Option<Known>,
    /// The table's columns when it was last described, whatever became of the look.
    schema: Option<Arc<TableSchema>>,
    spent: Spent,
}

/// What is known of the table.
#[derive(Debug)]
struct Known {
    table: Table,
    columns: Columns,
    checked_at: Timestamp,
}

/// Bytes that were billed.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    day: i64,
    /// On that day (UTC).
    bytes: u64,
    /// Not reported yet.
    unreported: u64,
    /// What the query may be billed for that was sent and not answered: it runs on when nobody waits for it any more.
    at_most: Option<u64>,
}

impl Spent {
    fn charge(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.unreported = self.unreported.saturating_add(bytes);
        self.at_most = None;
    }

    /// Charges a query that was given up with the most that it may be billed for, since nobody will say.
    fn charge_abandoned(&mut self) {
        if let Some(most) = self.at_most {
            self.charge(most);
        }
    }

    /// The query that was sent did not run, or not to an end that is billed.
    fn spare(&mut self) {
        self.at_most = None;
    }
}

/// What one query asks for.
#[derive(Debug)]
struct Asked {
    traces: Vec<WantedTrace>,
    /// When the oldest of those was planned that are worth a call.
    since: Timestamp,
    /// Whether it also asks for canaries that must not be here; one query of a look does.
    with_strangers: bool,
}

impl Asked {
    /// As many queries as the waiting traces need. Riders come along where there is room, and the bounds on time are
    /// not theirs: a lost trace rides for days after a restart, and the partitions of days would be paid for at every
    /// look. One that turns up in an old partition after all is not noticed then.
    fn all(wanted: &Wanted, now: Timestamp) -> Vec<Self> {
        let mut all: Vec<_> = wanted
            .waiting
            .chunks(MAX_IDS)
            .enumerate()
            .map(|(nth, traces)| {
                let since = traces.iter().map(|trace| trace.planned_at).min().unwrap_or(now);
                Self { traces: traces.to_vec(), since, with_strangers: nth == 0 }
            })
            .collect();
        if let Some(last) = all.last_mut() {
            let room = MAX_IDS - last.traces.len();
            last.traces.extend(wanted.recently_seen.iter().rev().take(room));
        }
        all
    }
}

/// jobs.query as the API takes it now; the crate's model lacks the last two.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ask {
    #[serde(flatten)]
    query: QueryRequest,
    job_timeout_ms: String,
    job_creation_mode: &'static str,
}

/// The answer of jobs.query and of jobs.getQueryResults; the crate's model lacks what was billed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    #[serde(flatten)]
    response: QueryResponse,
    total_bytes_billed: Option<String>,
}

impl BigQuery {
    /// An observer; it makes no call yet.
    #[must_use]
    pub fn new(settings: Settings, google: Google, recognizer: Recognizer, clock: WallClock) -> Self {
        let name = settings.table.to_string();
        let spent = Spent::default();
        Self { settings, name, google, recognizer, clock, known: None, schema: None, spent }
    }

    /// Columns that the settings name and the table does not have, once a look has succeeded. Looks go on without them.
    #[must_use]
    pub fn missing_columns(&self) -> Vec<&str> {
        let wanted = [&self.settings.time_column, &self.settings.tenant_column, &self.settings.body_column];
        let has =
            |name: &str| self.known.as_ref().is_none_or(|known| known.table.schema.column(name).is_some());
        wanted.into_iter().flatten().map(String::as_str).filter(|name| !has(name)).collect()
    }

    /// Whose canaries may be here, where the ids tell whose they are.
    fn owners(&self) -> Option<&[TenantCode]> {
        self.settings.owners.as_deref().filter(|_| self.settings.id_is == IdIs::Tag)
    }

    fn billing_project(&self) -> &str {
        self.settings.billing_project.as_deref().unwrap_or(&self.settings.table.project)
    }

    /// Describes the table and makes sure that asking it is affordable, if that was not done a short while ago.
    async fn prepare(&mut self, asked: &Asked) -> Result<(), ObserveError> {
        let now = self.clock.now();
        if let Some(known) = &self.known
            && now.since(known.checked_at) < self.settings.refresh
        {
            return Ok(());
        }
        match self.describe(asked).await {
            Ok(known) => self.known = Some(known),
            // What is dear, gone or forbidden must not be asked; for the rest, what was true an hour ago will do.
            Err(error) => match (&mut self.known, error.kind) {
                (None, _) | (_, FailureKind::OverBudget | FailureKind::NotFound | FailureKind::Denied) => {
                    self.known = None;
                    return Err(error);
                }
                (Some(known), _) => known.checked_at = now,
            },
        }
        Ok(())
    }

    async fn describe(&mut self, look: &Asked) -> Result<Known, ObserveError> {
        let TableName { project, dataset, table } = &self.settings.table;
        let asked = format!("tables.get of `{}`", self.name);
        let path = format!("/projects/{project}/datasets/{dataset}/tables/{table}");
        let request = Request::get(&BIGQUERY, "tables.get", path);
        let table = self.google.read(request, Table::parse).await.map_err(|error| error.calling(&asked))?;
        // Before anything that may fail because of a change.
        self.schema = Some(Arc::new(table.schema.clone()));
        let id = &self.settings.id_column;
        if table.schema.column(id).is_none() {
            return Err(ObserveError::new(
                FailureKind::NotFound,
                format!("`{}` has no column `{id}`", self.name),
            ));
        }
        let present = |name: &Option<String>| name.clone().filter(|name| table.schema.column(name).is_some());
        let columns = Columns {
            id: id.clone(),
            time: present(&self.settings.time_column),
            tenant: present(&self.settings.tenant_column),
            body: present(&self.settings.body_column),
        };
        let known = Known { table, columns, checked_at: self.clock.now() };
        self.check_price(&known, look).await?;
        Ok(known)
    }

    /// Asks what a look would read, which costs nothing.
    async fn check_price(&self, known: &Known, look: &Asked) -> Result<(), ObserveError> {
        let asked = format!("dry run of a query on `{}`", self.name);
        let mut request = self.request(known, look);
        request.dry_run = Some(true);
        // Without a limit the answer is the number, so that it can be told.
        request.maximum_bytes_billed = None;
        let answer =
            async { self.google.bigquery().await?.job().query(self.billing_project(), request).await }.await;
        let answer = answer.map_err(|error| Failure::from(&error).calling(&asked));
        self.google.calls().count(BIGQUERY.name, "jobs.query", CallResult::of(&answer));
        let answer = answer?;
        if let Some(error) = fatal(&asked, &answer) {
            return Err(error);
        }
        let bytes = number(answer.total_bytes_processed.as_deref());
        let limit = self.settings.max_bytes_billed;
        if bytes > limit {
            return Err(ObserveError::new(
                FailureKind::OverBudget,
                format!(
                    "one look at `{}` would read {} MB, more than max_bytes_billed allows ({} MB): partition the table by time, \
                     cluster it by `{}`, or bound the query with a predicate",
                    self.name,
                    bytes >> 20,
                    limit >> 20,
                    self.settings.id_column
                ),
            ));
        }
        Ok(())
    }

    fn check_budget(&mut self, now: Timestamp) -> Result<(), ObserveError> {
        const DAY: i64 = 86_400_000;
        let today = now.millis().div_euclid(DAY);
        if self.spent.day != today {
            self.spent = Spent { day: today, bytes: 0, ..self.spent };
        }
        match self.settings.daily_bytes_billed {
            Some(budget) if self.spent.bytes >= budget => {
                let midnight = Timestamp::from_millis((today + 1) * DAY);
                let mut error = ObserveError::new(
                    FailureKind::OverBudget,
                    format!(
                        "queries on `{}` were billed {} MB today, and the budget of a day is {} MB; it goes on at midnight UTC",
                        self.name,
                        self.spent.bytes >> 20,
                        budget >> 20
                    ),
                );
                error.retry_after = Some(midnight.since(now));
                Err(error)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn request(&self, known: &Known, asked: &Asked) -> QueryRequest {
        let aim = sql::Aim {
            predicate: &self.settings.predicate,
            oldest: asked.since,
            owners: self.owners().filter(|_| asked.with_strangers),
        };
        let text = sql::query(&self.name, &known.table, &known.columns, &aim);
        let tags = asked.traces.iter().map(|trace| &trace.tag);
        let ids = tags.flat_map(|tag| self.ids(tag)).map(|id| value(Some(id), None)).collect();
        let timeout = i32::try_from(self.settings.query_timeout.as_millis()).unwrap_or(i32::MAX);
        QueryRequest {
            query_parameters: Some(vec![QueryParameter {
                name: Some("ids".to_owned()),
                parameter_type: Some(QueryParameterType {
                    r#type: "ARRAY".to_owned(),
                    array_type: Some(Box::new(QueryParameterType {
                        r#type: "STRING".to_owned(),
                        ..QueryParameterType::default()
                    })),
                    struct_types: None,
                }),
                parameter_value: Some(value(None, Some(ids))),
            }]),
            parameter_mode: Some("NAMED".to_owned()),
            location: self.settings.location.clone().or_else(|| known.table.location.clone()),
            max_results: Some(PAGE_ROWS),
            maximum_bytes_billed: Some(self.settings.max_bytes_billed.max(MIN_BILLED).to_string()),
            timeout_ms: Some(timeout),
            // An answer from memory would say that nothing has arrived since.
            use_query_cache: Some(false),
            labels: Some(HashMap::from([("traceprobe".to_owned(), "sweep".to_owned())])),
            format_options: Some(DataFormatOptions { use_int64_timestamp: Some(true) }),
            ..QueryRequest::new(text)
        }
    }

    /// What may stand in the id column for a canary, whose tag stands there in the version in which it was sent. Comparing the column in lower case instead would make BigQuery
    /// read it whole, clustered or not.
    fn ids(&self, tag: &Tag) -> [String; 2] {
        let id = match self.settings.id_is {
            IdIs::Tag => self.recognizer.keys.sign(tag).to_string(),
            IdIs::TraceId => tag.trace.to_string(),
        };
        [id.to_ascii_uppercase(), id]
    }

    /// Runs one query to its end. Its rows, and whether they are all.
    async fn rows(&mut self, request: QueryRequest) -> Result<(Vec<Row>, bool), ObserveError> {
        let asked = format!("query on `{}`", self.name);
        let job_timeout = self.settings.job_timeout();
        let path = format!("/projects/{}/queries", self.billing_project());
        let location = request.location.clone();
        let ask = Ask {
            // The same id would make BigQuery give the answer of an earlier query.
            query: QueryRequest {
                request_id: Some(format!("traceprobe-{:016x}", fastrand::u64(..))),
                ..request
            },
            job_timeout_ms: job_timeout.as_millis().to_string(),
            job_creation_mode: "JOB_CREATION_OPTIONAL",
        };
        self.spent.charge_abandoned();
        self.spent.at_most = Some(self.settings.max_bytes_billed.max(MIN_BILLED));
        let sent = self.call(&asked, Request::post(&BIGQUERY, "jobs.query", path, &ask)).await;
        // Any other failure is a query that was not taken.
        if let Err(error) = &sent
            && !matches!(error.kind, FailureKind::Timeout | FailureKind::Garbled)
        {
            self.spent.spare();
        }
        let mut answer = sent?;
        let mut rows = Vec::new();
        let mut waits = 0;
        let mut pages = 0;
        loop {
            let response = answer.response;
            if let Some(error) = fatal(&asked, &response) {
                // One that ended in an error is not billed, but one that was stopped may be (BigQuery pricing).
                if error.kind != FailureKind::Timeout {
                    self.spent.spare();
                }
                return Err(error);
            }
            let complete = response.job_complete.unwrap_or(true);
            if complete {
                if pages == 0 {
                    let billed = match &answer.total_bytes_billed {
                        Some(billed) => number(Some(billed)),
                        // Unless told, what the price list says: nothing for nothing, else 10 MB at least.
                        None => match number(response.total_bytes_processed.as_deref()) {
                            0 => 0,
                            processed => processed.max(MIN_BILLED),
                        },
                    };
                    self.spent.charge(billed);
                }
                pages += 1;
                let page = response.rows.unwrap_or_default().into_iter();
                rows.extend(page.map(|row| {
                    row.columns
                        .unwrap_or_default()
                        .into_iter()
                        .map(|cell| cell.value.filter(|value| !value.is_null()))
                        .collect()
                }));
                if response.page_token.is_none() {
                    return Ok((rows, true));
                }
                if pages >= self.settings.max_pages {
                    return Ok((rows, false));
                }
            } else {
                waits += 1;
                if waits > MAX_WAITS {
                    return Err(ObserveError::new(
                        FailureKind::Timeout,
                        format!("{asked}: not done within {job_timeout:?}"),
                    ));
                }
            }
            let job = response.job_reference.unwrap_or_default();
            let Some(id) = job.job_id else {
                return Err(ObserveError::new(
                    FailureKind::Garbled,
                    format!("{asked}: the answer is not whole and names no job"),
                ));
            };
            let mut query = vec![
                ("maxResults", PAGE_ROWS.to_string()),
                ("timeoutMs", self.settings.query_timeout.as_millis().to_string()),
                ("formatOptions.useInt64Timestamp", "true".to_owned()),
            ];
            query.extend(job.location.or_else(|| location.clone()).map(|location| ("location", location)));
            query.extend(response.page_token.map(|token| ("pageToken", token)));
            let path = format!(
                "/projects/{}/queries/{id}",
                job.project_id.as_deref().unwrap_or(self.billing_project())
            );
            answer =
                self.call(&asked, Request::get(&BIGQUERY, "jobs.getQueryResults", path).query(query)).await?;
        }
    }

    async fn call(&self, asked: &str, request: Request<'_>) -> Result<Answered, ObserveError> {
        let answered = self.google.read(request, |body| serde_json::from_slice(body)).await;
        answered.map_err(|failure| failure.calling(asked).into())
    }
}

impl Observe for BigQuery {
    fn schema(&self) -> Option<Arc<TableSchema>> {
        self.schema.clone()
    }

    /// What queries cost whose look failed or was dropped. What they found, the next look finds again.
    fn take_unreported(&mut self) -> Findings {
        self.spent.charge_abandoned();
        let billed_bytes = std::mem::take(&mut self.spent.unreported);
        Findings {
            sightings: Vec::new(),
            stats: ReadStats { billed_bytes, ..ReadStats::default() },
            ..Findings::default()
        }
    }

    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let looks = Asked::all(wanted, self.clock.now());
        self.check_budget(self.clock.now())?;
        if let Some(first) = looks.first() {
            self.prepare(first).await?;
        }
        let started = self.clock.now();
        let mut stats = ReadStats::default();
        let mut sightings = Vec::new();
        let mut whole = true;
        for look in &looks {
            let Some(known) = &self.known else { break };
            let request = self.request(known, look);
            let (rows, all) = match self.rows(request).await {
                Ok(answer) => answer,
                Err(error) => {
                    // The table may not be what it was.
                    if matches!(
                        error.kind,
                        FailureKind::NotFound | FailureKind::Error | FailureKind::OverBudget
                    ) {
                        self.known = None;
                    }
                    return Err(error);
                }
            };
            whole &= all;
            let Some(known) = &self.known else { break };
            let asked: HashMap<TraceId, Tag> =
                look.traces.iter().map(|trace| (trace.tag.trace, trace.tag)).collect();
            let reader = Reader {
                table: &self.name,
                id_is: self.settings.id_is,
                columns: &known.columns,
                recognizer: &self.recognizer,
                asked: &asked,
                owners: self.owners(),
            };
            sightings.extend(reader.read(&rows, self.clock.now(), &mut stats));
        }
        stats.billed_bytes = self.take_unreported().stats.billed_bytes;
        let found = Findings { sightings, stats, ..Findings::default() };
        Ok(found.into_poll(wanted, started, self.clock.now(), whole.then_some(started)))
    }
}

/// An error inside a good answer. Warnings stand in the same place, beside a result.
fn fatal(asked: &str, response: &QueryResponse) -> Option<ObserveError> {
    let errors = response.errors.as_deref().filter(|errors| !errors.is_empty())?;
    let has_result = response
        .schema
        .as_ref()
        .and_then(|schema| schema.fields.as_ref())
        .is_some_and(|fields| !fields.is_empty());
    let first = errors.first().filter(|_| !has_result)?;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    Some(Failure::of_reason(200, &part(&first.reason), &part(&first.message)).calling(asked).into())
}

fn value(value: Option<String>, array_values: Option<Vec<QueryParameterValue>>) -> QueryParameterValue {
    QueryParameterValue { array_values, struct_values: None, value }
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
