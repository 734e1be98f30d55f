//! Looks for canaries in a BigQuery table, with one query a poll for all of them.
//!
//! A query, and not a list of the table's data: that is free, but does not show rows in the streaming buffer,
//! which is where a fresh canary is. Each query costs at least 10 MB on paper, so there is one for all ids,
//! never one for each: calls and bytes do not grow with the traces that wait.
//!
//! A poll has three steps. `prepare` describes the table, checks the configured columns against it and asks
//! what a query would read; what was learned holds for a while. `run` sends the query and reads its rows.
//! `visibility` judges whether what was not found may be hidden from the probe.
//!
//! It must never send a query whose bytes are not bounded: the table's owner pays by the byte. And it must
//! never go on without a column that is configured, or over rows that are hidden: then it would say of what
//! it cannot see that it is not there.

mod advice;
mod batch;
mod bill;
mod columns;
mod days;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod id_range;
mod ledger;
mod overruns;
mod prepare;
mod proof;
mod query;
mod rows;
mod settings;
mod sql;
mod table;
mod table_name;
mod visibility;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use gcp_bigquery_client::model::data_format_options::DataFormatOptions;
use gcp_bigquery_client::model::job_reference::JobReference;
use gcp_bigquery_client::model::query_parameter::QueryParameter;
use gcp_bigquery_client::model::query_parameter_type::QueryParameterType;
use gcp_bigquery_client::model::query_parameter_value::QueryParameterValue;
use gcp_bigquery_client::model::query_request::QueryRequest;

use super::decode::Halt;
use super::{Decoder, Findings, Observe, ObserveError, Recognizer};
use crate::cloud::google::Google;
use crate::domain::schema::TableSchema;
use crate::domain::sighting::{FailureKind, Poll, ReadStats, Sighting, Wanted};
use crate::domain::tag::{Tag, TenantCode, TraceId};
use crate::domain::time::WallClock;

pub(super) use settings::SPEC;
pub use settings::{Id, IdIs, IdMatch, Predicate, Settings, TableName, TimeIs};

use batch::Batch;
use columns::{Columns, has_tenants_as_numbers};
use ledger::Ledger;
use prepare::Known;
use query::{JobMode, PAGE_ROWS};
use rows::{Reader, Row};
use sql::Search;
use visibility::Visibility;

/// Reads one table, or the tables of the days that matter.
#[derive(Debug)]
pub struct BigQuery {
    settings: Settings,
    name: String,
    google: Google,
    recognizer: Recognizer,
    decoder: Decoder,
    clock: WallClock,
    known: Option<Known>,
    /// The table's columns when it was last described, whatever became of the poll.
    schema: Option<Arc<TableSchema>>,
    ledger: Ledger,
    visibility: Visibility,
    /// What a poll found that failed afterwards.
    unreported: Findings,
}

/// What the queries of a poll found.
#[derive(Default)]
struct Found {
    sightings: Vec<Sighting>,
    stats: ReadStats,
    /// The job of the first query, where one was required.
    job: Option<JobReference>,
    /// Whether there were more rows than are read.
    is_truncated: bool,
}

impl BigQuery {
    /// An observer; it makes no call yet.
    #[must_use]
    pub fn new(settings: Settings, google: Google, recognizer: Recognizer, clock: WallClock) -> Self {
        Self {
            name: settings.table.to_string(),
            settings,
            google,
            recognizer,
            decoder: Decoder::default(),
            clock,
            known: None,
            schema: None,
            ledger: Ledger::default(),
            visibility: Visibility::default(),
            unreported: Findings::default(),
        }
    }

    /// The same, with what was billed for the table before.
    #[must_use]
    fn with_ledger(self, ledger: Ledger) -> Self {
        Self { ledger, ..self }
    }

    /// Whose canaries may be here, where the ids tell whose they are.
    fn owners(&self) -> Option<&[TenantCode]> {
        self.settings.owners.as_deref().filter(|_| self.settings.id_is == IdIs::Tag)
    }

    fn billing_project(&self) -> &str {
        self.settings.billing_project.as_deref().unwrap_or(&self.settings.table.project)
    }

    fn search<'a>(&'a self, known: &'a Known, batch: &Batch) -> Search<'a> {
        Search {
            columns: &known.columns,
            predicate: &self.settings.predicate,
            oldest: batch.since,
            id_is: self.settings.id_is,
            has_whole: !batch.whole().is_empty(),
            range: batch.range(),
            owners: self.owners().filter(|_| batch.finds_leaks),
        }
    }

    fn request(&self, known: &Known, batch: &Batch) -> QueryRequest {
        let search = self.search(known, batch);
        let text = search.query(known.tables.iter().map(|(name, table)| (name.as_str(), table)));
        let most = known.bill_limit(&self.settings);
        let parameters = self.parameters(&search, batch);
        QueryRequest { query_parameters: Some(parameters), ..self.bounded(known, text, most) }
    }

    /// A query that may be billed for so many bytes at most, without its parameters.
    fn bounded(&self, known: &Known, text: String, most: u64) -> QueryRequest {
        let timeout = i32::try_from(self.settings.query_timeout.as_millis()).unwrap_or(i32::MAX);
        QueryRequest {
            parameter_mode: Some("NAMED".to_owned()),
            location: self.settings.location.clone().or_else(|| known.location()),
            max_results: Some(PAGE_ROWS),
            maximum_bytes_billed: Some(most.to_string()),
            timeout_ms: Some(timeout),
            // A cached answer would say that nothing has arrived since.
            use_query_cache: Some(false),
            labels: Some(HashMap::from([("traceprobe".to_owned(), "poll".to_owned())])),
            format_options: Some(DataFormatOptions { use_int64_timestamp: Some(true) }),
            ..QueryRequest::new(text)
        }
    }

    /// The ids: an array of whole ones, and one text with the ends of the others. Of a hundred thousand ends, an
    /// array would be twice as long.
    fn parameters(&self, search: &Search<'_>, batch: &Batch) -> Vec<QueryParameter> {
        let parameter = |name: &str, parameter_type, parameter_value| QueryParameter {
            name: Some(name.to_owned()),
            parameter_type: Some(parameter_type),
            parameter_value: Some(parameter_value),
        };
        let text = || QueryParameterType { r#type: "STRING".to_owned(), ..QueryParameterType::default() };
        let whole = search.has_whole.then(|| {
            let ids = batch.whole().iter().flat_map(|trace| search.ids(self.id(&trace.tag)));
            let ids = ids.map(|id| value(Some(id), None)).collect();
            let array = QueryParameterType {
                r#type: "ARRAY".to_owned(),
                array_type: Some(Box::new(text())),
                struct_types: None,
            };
            parameter("ids", array, value(None, Some(ids)))
        });
        let ends = search.range.is_some().then(|| {
            let ends = id_range::ends(batch.waiting_traces());
            parameter("ends", text(), value(Some(ends), None))
        });
        whole.into_iter().chain(ends).collect()
    }

    /// What stands in the table for a canary, in lower case. Its tag stands there in the version in which it
    /// was sent.
    fn id(&self, tag: &Tag) -> String {
        match self.settings.id_is {
            IdIs::Tag => self.recognizer.keys.sign(tag).to_string(),
            IdIs::TraceId => tag.trace.to_string(),
        }
    }

    /// Runs a query for each batch. What they find stays in `found` if one fails.
    async fn query_all(&mut self, batches: &[Batch], found: &mut Found) -> Result<(), ObserveError> {
        let mut mode =
            if self.visibility.needs_job(self.clock.now()) { JobMode::Required } else { JobMode::Optional };
        for batch in batches {
            let Some(known) = &self.known else { break };
            let request = self.request(known, batch);
            let result = self.run(request, mode).await;
            let Some(known) = &self.known else { break };
            // Its schema may have changed since it was described.
            let result = result
                .and_then(|result| known.columns.check_result(&self.name, &result.schema).map(|()| result));
            let result = match result {
                Ok(result) => result,
                Err(error) => {
                    if matches!(
                        error.kind,
                        FailureKind::NotFound | FailureKind::Error | FailureKind::OverBudget
                    ) {
                        self.known = None;
                    }
                    return Err(error);
                }
            };
            if mode == JobMode::Required {
                found.job = result.job;
                mode = JobMode::Optional;
            }
            found.is_truncated |= !result.is_complete;
            let columns = known.columns.clone();
            let labels = has_tenants_as_numbers(&result.schema).then(|| self.settings.padded_labels.clone());
            let (sightings, all) =
                self.read_rows(batch, columns, labels, result.rows, &mut found.stats).await;
            found.is_truncated |= !all;
            self.visibility.take_sightings(batch, &sightings);
            found.sightings.extend(sightings);
        }
        Ok(())
    }

    /// Reads rows. Returns the sightings in them, and whether there was time for all.
    async fn read_rows(
        &self,
        batch: &Batch,
        columns: Columns,
        padded_labels: Option<Arc<BTreeMap<String, Arc<str>>>>,
        rows: Vec<Row>,
        stats: &mut ReadStats,
    ) -> (Vec<Sighting>, bool) {
        let wanted: HashMap<TraceId, Tag> =
            batch.traces.iter().map(|trace| (trace.tag.trace, trace.tag)).collect();
        let (table, id_is) = (self.name.clone(), self.settings.id_is);
        let owners = self.owners().map(<[TenantCode]>::to_vec);
        let (recognizer, seen_by) = (self.recognizer.clone(), self.clock.now());
        let halt = Halt::default();
        let inner = halt.clone();
        let mut read_stats = std::mem::take(stats);
        let bytes = if rows.is_empty() { 0 } else { usize::MAX };
        let read = move || {
            let reader = Reader {
                table: &table,
                id_is,
                columns: &columns,
                recognizer: &recognizer,
                wanted: &wanted,
                owners: owners.as_deref(),
                padded_labels: padded_labels.as_deref(),
                halt: &inner,
            };
            let sightings = reader.read(&rows, seen_by, &mut read_stats);
            (sightings, read_stats, !inner.is_set())
        };
        let name = format!("rows of `{}`", self.name);
        let max_time = self.decoder.max_time();
        let (sightings, read_stats, all) =
            self.decoder.run(&name, bytes, &halt, max_time, Duration::ZERO, read).await;
        *stats = read_stats;
        (sightings, all)
    }

    /// Reads what the statistics of a job say was hidden from it.
    async fn check_visibility(&mut self, job: &JobReference, sightings: &[Sighting]) {
        let now = self.clock.now();
        match self.applied(job).await {
            Ok(applied) => self.visibility.take_statistics(now, applied, sightings),
            // The poll goes on without the statistics, so no one else would log the failure.
            Err(failure) => {
                if self.visibility.take_failure(now, &failure) {
                    let (table, reason) = (&self.name, &failure.text);
                    tracing::warn!(%table, "cannot see whether row access policies hide rows of {table}: {reason}");
                }
            }
        }
    }

    /// Keeps what a failed poll found, for [`Observe::take_unreported`].
    fn keep(&mut self, found: Found) {
        self.unreported.sightings = found.sightings;
        let ReadStats { bytes, records, decode_errors, foreign_tags, .. } = found.stats;
        let kept = &mut self.unreported.stats;
        kept.bytes += bytes;
        kept.records += records;
        kept.decode_errors += decode_errors;
        kept.foreign_tags += foreign_tags;
    }
}

impl Observe for BigQuery {
    fn schema(&self) -> Option<Arc<TableSchema>> {
        self.schema.clone()
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        Some(&mut self.decoder)
    }

    fn stamps_arrivals(&self) -> bool {
        let time = self.known.as_ref().and_then(|known| known.columns.time.as_ref());
        time.is_some_and(|time| time.is == TimeIs::Inserted)
    }

    /// What polls cost and found that failed or were dropped.
    fn take_unreported(&mut self) -> Findings {
        let mut findings = std::mem::take(&mut self.unreported);
        findings.stats.billed_bytes += self.ledger.entry().take_unreported(self.clock.now());
        findings
    }

    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let now = self.clock.now();
        let batches = Batch::all(wanted, now);
        self.ledger.entry().bill.check_budget(&self.settings, &self.name, now)?;
        self.prepare(&batches).await?;
        self.check_overruns(now)?;
        // The table of a day that does not exist while it is looked for holds nothing that arrived before.
        let started = if self.settings.table.is_sharded() { now } else { self.clock.now() };
        let mut found = Found::default();
        let queried = self.query_all(&batches, &mut found).await;
        if let Some(job) = &found.job {
            self.check_visibility(job, &found.sightings).await;
        }
        let judged =
            queried.and_then(|()| self.visibility.judge(&self.name, &batches, &found.sightings, started));
        let unreadable = match judged {
            Ok(hidden) => hidden,
            Err(error) => {
                // What is masked is not what stands in the table.
                if !self.visibility.is_masked() {
                    self.keep(found);
                }
                return Err(error);
            }
        };
        let is_complete = !found.is_truncated
            && !self.visibility.is_in_doubt()
            && self.known.as_ref().is_some_and(|known| !known.is_truncated);
        found.stats.billed_bytes = self.ledger.entry().take_unreported(self.clock.now());
        let findings = Findings { sightings: found.sightings, stats: found.stats, unreadable };
        Ok(findings.into_poll(wanted, started, self.clock.now(), is_complete.then_some(started)))
    }
}

fn value(value: Option<String>, array_values: Option<Vec<QueryParameterValue>>) -> QueryParameterValue {
    QueryParameterValue { array_values, struct_values: None, value }
}

#[cfg(test)]
mod tests;
