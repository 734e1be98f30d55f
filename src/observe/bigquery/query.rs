//! One query on the wire: jobs.query, jobs.getQueryResults until it is done and read, jobs.get for what was
//! hidden.
//!
//! It is sent with our own HTTP client and some of the crate's models. The crate's client loses the status
//! and the `Retry-After` of every answer that is not the JSON it expects, and its models cannot read a column
//! of a type that is newer than the crate.

use gcp_bigquery_client::model::error_proto::ErrorProto;
use gcp_bigquery_client::model::job_reference::JobReference;
use gcp_bigquery_client::model::query_request::QueryRequest;
use gcp_bigquery_client::model::table_row::TableRow;
use serde::{Deserialize, Serialize};

use super::BigQuery;
use super::prepare::Known;
use super::rows::Row;
use super::settings::MIN_BYTES_BILLED;
use super::table::SchemaJson;
use super::visibility::Applied;
use crate::cloud::failure::{Effect, Failure};
use crate::cloud::google::{Answer, BIGQUERY, Request};
use crate::domain::sighting::FailureKind;
use crate::observe::ObserveError;

/// Rows of a page that are requested.
pub(super) const PAGE_ROWS: i32 = 10_000;

/// Whether BigQuery must make a job of a query. Without one it is faster, and nothing tells what was hidden
/// from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JobMode {
    Optional,
    Required,
}

/// jobs.query as the API takes it now; the crate's model lacks the last two.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobsQuery {
    #[serde(flatten)]
    query: QueryRequest,
    job_timeout_ms: String,
    job_creation_mode: &'static str,
}

/// The answer of jobs.query and of jobs.getQueryResults.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryAnswer {
    job_complete: Option<bool>,
    job_reference: Option<JobReference>,
    page_token: Option<String>,
    rows: Option<Vec<TableRow>>,
    total_rows: Option<String>,
    #[serde(default)]
    pub(super) schema: SchemaJson,
    errors: Option<Vec<ErrorProto>>,
    status: Option<JobStatus>,
    total_bytes_processed: Option<String>,
    total_bytes_billed: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobStatus {
    error_result: Option<ErrorProto>,
}

/// The answer of jobs.get, as far as it says what was hidden (BigQuery REST reference, JobStatistics).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobAnswer {
    #[serde(default)]
    statistics: JobStatistics,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobStatistics {
    #[serde(default)]
    row_level_security_statistics: RowLevelSecurityStatistics,
    #[serde(default)]
    data_masking_statistics: DataMaskingStatistics,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RowLevelSecurityStatistics {
    #[serde(default)]
    row_level_security_applied: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataMaskingStatistics {
    #[serde(default)]
    data_masking_applied: bool,
}

/// All that a query returned.
pub(super) struct ResultSet {
    pub(super) rows: Vec<Row>,
    pub(super) schema: SchemaJson,
    /// Whether these are all rows.
    pub(super) is_complete: bool,
    /// Where BigQuery made a job of it.
    pub(super) job: Option<JobReference>,
}

impl QueryAnswer {
    /// Reads an answer. An error inside a good one is a failure, also for the count of calls.
    fn read(answer: &Answer) -> Result<Self, Failure> {
        let read: Self = parse(answer)?;
        match read.error() {
            Some(error) => {
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                Err(Failure::of_reason(answer.status, &part(&error.reason), &part(&error.message)))
            }
            None => Ok(read),
        }
    }

    /// The error that ended the query. Warnings stand in the same place, beside a result.
    fn error(&self) -> Option<&ErrorProto> {
        let ended = self.status.as_ref().and_then(|status| status.error_result.as_ref());
        let first = self.errors.as_deref().and_then(<[ErrorProto]>::first);
        ended.or(first.filter(|_| self.schema.is_empty()))
    }

    /// Whether it says that the query is done. An answer that does not say so is not a result.
    fn is_done(&self) -> bool {
        self.job_complete == Some(true)
    }

    pub(super) fn bytes_processed(&self) -> u64 {
        number(self.total_bytes_processed.as_deref())
    }

    /// What it was billed. Where the answer does not say, what the price list says: nothing for nothing, else
    /// 10 MB at least. `None` if it shows neither number, as of a table with a row access policy (BigQuery
    /// documentation, "Best practices for row-level security").
    pub(super) fn bytes_billed(&self) -> Option<u64> {
        match (self.total_bytes_billed.as_deref(), self.total_bytes_processed.as_deref()) {
            (Some(billed), _) => Some(number(Some(billed))),
            (None, Some("0")) => Some(0),
            (None, Some(processed)) => Some(number(Some(processed)).max(MIN_BYTES_BILLED)),
            (None, None) => None,
        }
    }

    pub(super) fn take_rows(&mut self) -> impl Iterator<Item = Row> + use<> {
        self.rows.take().unwrap_or_default().into_iter().map(|row| {
            let cells = row.columns.unwrap_or_default().into_iter();
            cells.map(|cell| cell.value.filter(|value| !value.is_null())).collect()
        })
    }
}

impl BigQuery {
    /// Runs one query to its end and reads its rows.
    pub(super) async fn run(
        &mut self,
        request: QueryRequest,
        mode: JobMode,
    ) -> Result<ResultSet, ObserveError> {
        let location = request.location.clone();
        let first = self.start(request, mode).await?;
        let done = self.wait_until_done(first, location.as_deref()).await?;
        self.ledger.entry().settle(done.bytes_billed(), self.clock.now());
        self.read_pages(done, location.as_deref()).await
    }

    /// Asks what a query would read, which costs nothing.
    pub(super) async fn dry_run(&self, request: QueryRequest) -> Result<QueryAnswer, ObserveError> {
        // Without a limit the answer is the number, so that it can be told.
        let query = QueryRequest { dry_run: Some(true), maximum_bytes_billed: None, ..request };
        let call = format!("dry run of a query on `{}`", self.name);
        let answer = self.send(&query, JobMode::Optional).await;
        answer.map_err(|failure| failure.calling(&call).into())
    }

    async fn start(&mut self, request: QueryRequest, mode: JobMode) -> Result<QueryAnswer, ObserveError> {
        // With the same id, BigQuery would give the answer of an earlier query.
        let request_id = Some(format!("traceprobe-{:016x}", fastrand::u64(..)));
        let expected = self.known.as_ref().map_or(0, |known| known.expected_bill(&self.settings));
        let most = number(request.maximum_bytes_billed.as_deref());
        let limit = self.known.as_ref().map_or(most, |known| self.settings.bill_limit(known.tables.len()));
        self.ledger.entry().open(expected.clamp(limit.min(most), most), limit, self.clock.now());
        let answer = self.send(&QueryRequest { request_id, ..request }, mode).await;
        answer.map_err(|failure| self.failed(failure))
    }

    /// What a failed call says about the query. Settles its bill unless it may have run to an end that is
    /// billed.
    fn failed(&mut self, failure: Failure) -> ObserveError {
        let is_cut = failure.status.is_none() && failure.effect == Effect::Unknown;
        // An error answer is not billed, but a query that was stopped may be (BigQuery pricing).
        if !is_cut && !matches!(failure.kind, FailureKind::Timeout | FailureKind::Garbled) {
            self.ledger.entry().bill.cancel();
        }
        failure.calling(&self.call_name()).into()
    }

    async fn wait_until_done(
        &mut self,
        mut answer: QueryAnswer,
        location: Option<&str>,
    ) -> Result<QueryAnswer, ObserveError> {
        for _ in 0..self.settings.max_waits() {
            if answer.is_done() {
                return Ok(answer);
            }
            answer = self.next(&answer, location).await?;
        }
        if answer.is_done() {
            return Ok(answer);
        }
        let text = format!("{}: not done within {:?}", self.call_name(), self.settings.job_timeout);
        Err(ObserveError::new(FailureKind::Timeout, text))
    }

    /// Reads the pages of a query that is done. An answer that lacks a part is a failure: rows that it left out would
    /// count as absent.
    async fn read_pages(
        &mut self,
        mut answer: QueryAnswer,
        location: Option<&str>,
    ) -> Result<ResultSet, ObserveError> {
        let mut rows: Vec<Row> = answer.take_rows().collect();
        let schema = std::mem::take(&mut answer.schema);
        if schema.is_empty() {
            return Err(self.garbled("the answer has no schema"));
        }
        let total = number(answer.total_rows.as_deref());
        // Further pages name the job as well, but the real ones need not.
        let job = answer.job_reference.clone().filter(|job| job.job_id.is_some());
        let mut pages = 1;
        while answer.page_token.is_some() {
            if pages >= self.settings.max_pages {
                return Ok(ResultSet { rows, schema, is_complete: false, job });
            }
            answer.job_reference = answer.job_reference.or_else(|| job.clone());
            answer = self.next(&answer, location).await?;
            if !answer.is_done() {
                return Err(self.garbled("a further page does not say that the query is done"));
            }
            rows.extend(answer.take_rows());
            pages += 1;
        }
        if (rows.len() as u64) < total {
            return Err(self.garbled(&format!("the answer has {} of {total} rows", rows.len())));
        }
        Ok(ResultSet { rows, schema, is_complete: true, job })
    }

    /// The next answer for the same query: its end, or its next page.
    async fn next(
        &mut self,
        answer: &QueryAnswer,
        location: Option<&str>,
    ) -> Result<QueryAnswer, ObserveError> {
        let Some(JobReference { job_id: Some(id), project_id, location: at }) = &answer.job_reference else {
            return Err(self.garbled("the answer is incomplete and names no job"));
        };
        let mut query = vec![
            ("maxResults", PAGE_ROWS.to_string()),
            ("timeoutMs", self.settings.query_timeout.as_millis().to_string()),
            ("formatOptions.useInt64Timestamp", "true".to_owned()),
        ];
        query.extend(at.as_deref().or(location).map(|location| ("location", location.to_owned())));
        query.extend(answer.page_token.clone().map(|token| ("pageToken", token)));
        let project = project_id.as_deref().unwrap_or(self.billing_project());
        let path = format!("/projects/{project}/queries/{id}");
        let request = Request::get(&BIGQUERY, "jobs.getQueryResults", path).query(query);
        let answer = self.google.interpret(request, |answer| QueryAnswer::read(&answer)).await;
        answer.map_err(|failure| self.failed(failure))
    }

    /// What BigQuery hid from the job of a query.
    pub(super) async fn applied(&self, job: &JobReference) -> Result<Applied, Failure> {
        let project = job.project_id.as_deref().unwrap_or(self.billing_project());
        let path = format!("/projects/{project}/jobs/{}", job.job_id.as_deref().unwrap_or_default());
        let known = || self.known.as_ref().and_then(Known::location);
        let location = job.location.clone().or_else(|| self.settings.location.clone()).or_else(known);
        let location = location.map(|location| ("location", location));
        let request = Request::get(&BIGQUERY, "jobs.get", path).query(location);
        let answer: JobAnswer = self.google.interpret(request, |answer| parse(&answer)).await?;
        Ok(Applied {
            row_policy: answer.statistics.row_level_security_statistics.row_level_security_applied,
            masking: answer.statistics.data_masking_statistics.data_masking_applied,
        })
    }

    pub(super) async fn send(&self, query: &QueryRequest, mode: JobMode) -> Result<QueryAnswer, Failure> {
        let body = JobsQuery {
            query: query.clone(),
            job_timeout_ms: self.settings.job_timeout.as_millis().to_string(),
            job_creation_mode: match mode {
                JobMode::Optional => "JOB_CREATION_OPTIONAL",
                JobMode::Required => "JOB_CREATION_REQUIRED",
            },
        };
        let path = format!("/projects/{}/queries", self.billing_project());
        let request = Request::post(&BIGQUERY, "jobs.query", path, &body);
        self.google.interpret(request, |answer| QueryAnswer::read(&answer)).await
    }

    fn garbled(&self, what: &str) -> ObserveError {
        ObserveError::new(FailureKind::Garbled, format!("{}: {what}", self.call_name()))
    }

    fn call_name(&self) -> String {
        format!("query on `{}`", self.name)
    }
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let text = format!("the answer makes no sense: {error}");
        Failure { status: Some(answer.status), ..Failure::new(FailureKind::Garbled, Effect::Unknown, text) }
    })
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
