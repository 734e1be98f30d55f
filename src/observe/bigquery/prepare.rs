//! What must be known of a table before it is queried: its columns, its partitions, and what a query would
//! read.

use std::sync::Arc;

use super::BigQuery;
use super::batch::Batch;
use super::columns::Columns;
use super::days::Days;
use super::settings::{Id, IdMatch, Predicate, Settings, TableName, TimeIs};
use super::sql::MARGIN;
use super::table::Table;
use crate::cloud::google::{BIGQUERY, Request};
use crate::domain::sighting::FailureKind;
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;

/// A clustered table is queried while a dry run says at most so many times what a poll may be billed. Should clustering
/// not help, a poll is billed twice as much at most, and [`super::overruns`] ends such polls.
const OF_CLUSTERED: u64 = 1_000;

/// What is known of a table, or of the tables of the days that matter.
#[derive(Debug)]
pub(super) struct Known {
    /// Those that exist, by name, oldest first; at least one.
    pub(super) tables: Vec<(String, Table)>,
    pub(super) columns: Columns,
    /// Whether tables of older days are left out.
    pub(super) is_truncated: bool,
    /// Bytes that a query would read, by a dry run. Of clustered tables, it reads fewer.
    pub(super) estimate: u64,
    checked_at: Timestamp,
}

impl Known {
    /// Where the tables lie.
    pub(super) fn location(&self) -> Option<String> {
        self.tables.last().and_then(|(_, table)| table.location.clone())
    }

    /// Whether the tables are clustered by the id and queries compare it as it is. What a dry run says is
    /// then an upper bound, because which blocks a query reads is known only after it ran (BigQuery
    /// documentation, "Estimate and control costs").
    pub(super) fn is_clustered(&self) -> bool {
        let Id::Column(column) = &self.columns.id else { return false };
        self.columns.id_match == IdMatch::Exact
            && self.tables.iter().all(|(_, table)| table.is_clustered_by(column))
    }

    /// Most bytes that BigQuery is told to bill a poll's query for. It refuses a query whose estimate is
    /// above that, whatever the query would read, so the limit of clustered tables with a larger estimate is
    /// twice that: they grow until they are described again.
    pub(super) fn bill_limit(&self, settings: &Settings) -> u64 {
        let (limit, expected) = (settings.bill_limit(self.tables.len()), self.expected_bill(settings));
        if expected > limit { expected.saturating_mul(2) } else { limit }
    }

    /// Most bytes that a poll's query may be expected to be billed for.
    pub(super) fn expected_bill(&self, settings: &Settings) -> u64 {
        let limit = settings.bill_limit(self.tables.len());
        if self.is_clustered() { limit.max(self.estimate) } else { limit }
    }
}

impl BigQuery {
    /// Describes the table, checks the settings against it and makes sure that querying it is affordable, if
    /// that was not done recently. The tables of days that did not exist are looked for at every poll.
    pub(super) async fn prepare(&mut self, batches: &[Batch]) -> Result<(), ObserveError> {
        let Some(first) = batches.first() else { return Ok(()) };
        let now = self.clock.now();
        let oldest = batches.iter().map(|batch| batch.since).min().unwrap_or(now);
        let days = Days::new(&self.settings.table, oldest - MARGIN, now);
        if self.is_known(&days, now).await? {
            return Ok(());
        }
        match self.describe(&days, first).await {
            Ok(known) => {
                self.known = Some(known);
                Ok(())
            }
            Err(error) => self.go_on_without(error, now),
        }
    }

    /// Goes on with what was known before the table could not be described, if that will do.
    fn go_on_without(&mut self, error: ObserveError, now: Timestamp) -> Result<(), ObserveError> {
        let may_go_on = match error.kind {
            // What is too expensive, gone or forbidden must not be queried.
            FailureKind::OverBudget | FailureKind::NotFound | FailureKind::Denied => false,
            FailureKind::Throttled
            | FailureKind::Unreachable
            | FailureKind::Timeout
            | FailureKind::Error
            | FailureKind::Garbled => true,
        };
        match &mut self.known {
            // Of the tables of days, one may be new, and must not be left out.
            Some(known) if may_go_on && !self.settings.table.is_sharded() => {
                known.checked_at = now;
                Ok(())
            }
            Some(_) | None => {
                self.known = None;
                Err(error)
            }
        }
    }

    /// Whether all that is needed of these tables is known.
    async fn is_known(&mut self, days: &Days, now: Timestamp) -> Result<bool, ObserveError> {
        let Some(known) = &mut self.known else { return Ok(false) };
        if now.since(known.checked_at) >= self.settings.refresh {
            return Ok(false);
        }
        let all = days.all(&known.tables);
        known.tables.retain(|(name, _)| all.iter().any(|table| table.to_string() == *name));
        known.is_truncated = days.range.is_truncated;
        if known.tables.is_empty() {
            return Ok(false);
        }
        let names: Vec<String> = known.tables.iter().map(|(name, _)| name.clone()).collect();
        for table in all.iter().filter(|table| !names.contains(&table.to_string())) {
            if self.get(table).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn describe(&mut self, days: &Days, batch: &Batch) -> Result<Known, ObserveError> {
        let checked_at = self.clock.now();
        let mut tables = Vec::new();
        for name in &days.range.tables {
            tables.extend(self.find(name).await?);
        }
        let (before, after) = (days.before(&tables), days.after(&tables));
        if let Some(before) = before
            && let Some(found) = self.find(&before).await?
        {
            tables.insert(0, found);
        }
        if let Some(after) = after {
            tables.extend(self.find(&after).await?);
        }
        let Some((name, newest)) = tables.last() else { return Err(none_exists(&days.range.tables)) };
        // Before anything that may fail because of a change.
        self.schema = (!newest.schema.columns.is_empty()).then(|| Arc::new(newest.schema.clone()));
        let mut columns = Columns::check(&self.settings, name, newest)?;
        for (name, table) in &tables {
            let of_table = Columns::check(&self.settings, name, table)?;
            // A stamp is an arrival only where every table says so.
            if let (Some(time), Some(of_table)) = (&mut columns.time, of_table.time)
                && of_table.is == TimeIs::Written
            {
                time.is = TimeIs::Written;
            }
        }
        let is_truncated = days.range.is_truncated;
        let mut known = Known { tables, columns, is_truncated, estimate: 0, checked_at };
        known.estimate = self.check_query(&known, batch).await?;
        Ok(known)
    }

    /// A table with its name, if it exists.
    async fn find(&self, name: &TableName) -> Result<Option<(String, Table)>, ObserveError> {
        Ok(self.get(name).await?.map(|table| (name.to_string(), table)))
    }

    /// Describes a table. `None` where the table of a day does not exist.
    async fn get(&self, name: &TableName) -> Result<Option<Table>, ObserveError> {
        let call = format!("tables.get of `{name}`");
        let TableName { project, dataset, table } = name;
        let path = format!("/projects/{project}/datasets/{dataset}/tables/{table}");
        let request = Request::get(&BIGQUERY, "tables.get", path);
        match self.google.read(request, Table::parse).await {
            Ok(table) => Ok(Some(table)),
            Err(failure) if failure.kind == FailureKind::NotFound && self.settings.table.is_sharded() => {
                Ok(None)
            }
            Err(failure) => Err(failure.calling(&call).into()),
        }
    }

    /// Asks what a query would select and read, which costs nothing. Returns the bytes, and fails if they are
    /// too many. If they are only an upper bound, what polls are billed decides ([`super::overruns`]), unless
    /// one poll could cost more than any may.
    async fn check_query(&self, known: &Known, batch: &Batch) -> Result<u64, ObserveError> {
        let search = self.search(known, batch);
        let is_sharded = self.settings.table.is_sharded();
        if self.settings.id_match == IdMatch::Contains
            && let Some((name, _)) =
                known.tables.iter().find(|(_, table)| !search.is_bounded(table, is_sharded))
        {
            let text = format!(
                "id_match = \"contains\" would search every row of `{name}`, which has no partitions by time: set time_column, \
                 or partition to a predicate"
            );
            return Err(ObserveError::new(FailureKind::OverBudget, text));
        }
        let answer =
            self.dry_run(self.request(known, batch)).await.map_err(|error| self.with_own_sql(error))?;
        known.columns.check_result(&self.name, &answer.schema)?;
        let (bytes, limit) = (answer.bytes_processed(), self.settings.max_bytes_billed);
        let is_bound = known.is_clustered();
        let day = self.settings.daily_bytes_billed.unwrap_or(u64::MAX);
        let most = if is_bound { limit.saturating_mul(OF_CLUSTERED).min(day) } else { limit };
        if bytes <= most {
            return Ok(bytes);
        }
        let reads = if is_bound { "may read up to" } else { "would read" };
        let allowed = match is_bound {
            true if most == day => format!("more than daily_bytes_billed allows ({} MB)", day >> 20),
            true => {
                format!("more than {OF_CLUSTERED} times what max_bytes_billed allows ({} MB)", limit >> 20)
            }
            false => format!("more than max_bytes_billed allows ({} MB)", limit >> 20),
        };
        let cluster = match &self.settings.id {
            Id::Column(column) if !is_bound => format!("cluster it by `{column}`, "),
            Id::Column(_) | Id::Expression(_) => String::new(),
        };
        let text = format!(
            "one poll of `{}` {reads} {} MB, {allowed}: partition the table by time, {cluster}or bound the query with a \
             predicate",
            self.name,
            bytes >> 20,
        );
        Err(ObserveError::new(FailureKind::OverBudget, text))
    }

    /// An error with the SQL of the settings beside it, which it may be about.
    fn with_own_sql(&self, error: ObserveError) -> ObserveError {
        if !matches!(error.kind, FailureKind::Error | FailureKind::NotFound) {
            return error;
        }
        let mut detail = error.detail.to_string();
        if let Id::Expression(expression) = &self.settings.id {
            detail.push_str(&format!(" (with id_expression = \"{expression}\")"));
        }
        if let Predicate::Custom(predicate) = &self.settings.predicate {
            detail.push_str(&format!(" (with partition = \"{predicate}\")"));
        }
        ObserveError { detail: detail.into(), ..error }
    }
}

fn none_exists(tables: &[TableName]) -> ObserveError {
    let names: Vec<_> = tables.iter().map(|table| format!("`{table}`")).collect();
    let text = format!("none of the tables {} exists, nor that of the day before", names.join(", "));
    ObserveError::new(FailureKind::NotFound, text)
}
