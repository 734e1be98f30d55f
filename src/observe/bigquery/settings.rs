//! Which table a stage reads, and within which bounds.

use std::fmt;
use std::time::Duration;

use crate::domain::tag::TenantCode;

/// How often an unfinished query is asked for its result before the look ends as timed out.
pub(super) const MAX_WAITS: u32 = 3;

/// Which table, and how to read it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The table.
    pub table: TableName,
    /// The project that pays for queries and in which the probe may run jobs; the table's own when absent.
    pub billing_project: Option<String>,
    /// Where queries run, as in `EU`; where the table lies when absent.
    pub location: Option<String>,
    /// The column that holds the id. Columns inside records are named `record.column`.
    pub id_column: String,
    /// What stands in it.
    pub id_is: IdIs,
    /// Whose canaries may be in the table, where it is not everybody's: those of all others are then looked for, too, to
    /// notice leaks. Only where whole tags stand in the id column, which say whose they are.
    pub owners: Option<Vec<TenantCode>>,
    /// A column that BigQuery fills with the time of arrival (TIMESTAMP, or DATETIME in UTC).
    pub time_column: Option<String>,
    /// A column that names the tenant.
    pub tenant_column: Option<String>,
    /// A column that holds the line or its message, to check it for truncation. Reading it is paid for.
    pub body_column: Option<String>,
    /// What keeps a query from reading old partitions.
    pub predicate: Predicate,
    /// Most bytes that one query may be billed for. BigQuery takes no less than 10 MiB.
    pub max_bytes_billed: u64,
    /// Most bytes that all queries of a day (UTC) may be billed for.
    pub daily_bytes_billed: Option<u64>,
    /// How long one call waits for its query to end.
    pub query_timeout: Duration,
    /// Most pages of one query's result.
    pub max_pages: usize,
    /// How often the table is described again, to notice changed columns and a query that became dear. That is free.
    pub refresh: Duration,
}

impl Settings {
    /// The usual settings for a table.
    #[must_use]
    pub fn new(table: TableName, id_column: impl Into<String>) -> Self {
        Self {
            table,
            billing_project: None,
            location: None,
            id_column: id_column.into(),
            id_is: IdIs::Tag,
            owners: None,
            time_column: None,
            tenant_column: None,
            body_column: None,
            predicate: Predicate::Auto,
            max_bytes_billed: 100 << 20,
            daily_bytes_billed: None,
            query_timeout: Duration::from_secs(10),
            max_pages: 10,
            refresh: Duration::from_mins(5),
        }
    }
}

impl Settings {
    /// With a query timeout that fits into looks of at most so long: BigQuery then stops a query before the look is given
    /// up, and not after, when it would be billed and nobody would read its answer. A part is left for what comes before
    /// the query, and for the way.
    #[must_use]
    pub fn within(self, look: Duration) -> Self {
        Self { query_timeout: look / (MAX_WAITS + 2), ..self }
    }

    /// When BigQuery stops a query.
    #[must_use]
    pub fn job_timeout(&self) -> Duration {
        self.query_timeout * (MAX_WAITS + 1)
    }
}

/// `project.dataset.table`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Its project.
    pub project: String,
    /// Its dataset.
    pub dataset: String,
    /// Its own name.
    pub table: String,
}

impl TableName {
    /// Reads `project.dataset.table`; the project may have a domain, as in `example.com:project`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good =
            |part: &str| !part.is_empty() && !part.contains(['`', '\\', '/', '?', '#', '%', '\n', ' ']);
        let mut parts = text.rsplitn(3, '.');
        let (table, dataset, project) = (parts.next()?, parts.next()?, parts.next()?);
        [table, dataset, project].into_iter().all(good).then(|| Self {
            project: project.to_owned(),
            dataset: dataset.to_owned(),
            table: table.to_owned(),
        })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

/// What stands in the id column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdIs {
    /// The whole tag.
    Tag,
    /// The trace id, 32 hexadecimal digits.
    TraceId,
}

/// What keeps a query from reading old partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// What suits the table's partitioning by time, if it has one.
    Auto,
    /// Nothing.
    None,
    /// This SQL condition; `{from}` in it becomes a TIMESTAMP literal before the oldest canary that is asked for.
    Custom(String),
}
