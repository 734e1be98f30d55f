//! Which table a stage reads, and within which bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use toml::Value;

use super::BigQuery;
use crate::cloud::google::BIGQUERY;
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{BytePrice, Bytes, Costs, Operation};
use crate::domain::evidence::{Evidence, Lookup, Question};
use crate::domain::schema::{Column, ExpectedSchema, Fingerprint, TableSchema};
use crate::domain::tag::TenantCode;
use crate::domain::topology::Capabilities;
use crate::keys::fault::Checked;
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value::{self, Parsed, text};
use crate::observe::kinds::{Attribution, KindSettings, Scope, Site, Spec, seconds};
use crate::observe::pace::Rhythm;

/// BigQuery bills at least 10 MB for each table of a query and takes no smaller `maximumBytesBilled`.
const MIN_BYTES_BILLED: u64 = 10 << 20;
/// Beyond this a slip of the pen would cost more than the probe is worth: 1 TB is about 6 dollars a look.
const MAX_BYTES_BILLED: u64 = 1 << 40;
/// A day of the dearest looks.
const MAX_DAILY_BYTES_BILLED: u64 = 1 << 50;

static KEYS: [Key; 13] = [
    Key::text("table").required(),
    Key::text("id_column").required(),
    Key::text("id_is").or("tag"),
    Key::text("time_column"),
    Key::text("tenant_column"),
    Key::text("body_column"),
    Key::text("location"),
    Key::text("partition").or("auto"),
    Key::text("max_bytes_billed").or("100MB"),
    Key::text("daily_bytes_billed"),
    Key::new("schema", Shape::List),
    Key::new("schema_accepted", Shape::List),
    Key::text("schema_refresh").or("5m"),
];

/// What is the same for all tables.
pub(in crate::observe) static SPEC: Spec = Spec {
    keys: &KEYS,
    // A look costs money; a row can be queried once it was acknowledged.
    rhythm: Rhythm { interval: seconds(5), timeout: seconds(30), settle: seconds(0) },
    provider: Provider::Google(BIGQUERY),
    capabilities: Capabilities { schema: true, billed_bytes: true, ..Capabilities::ABSENCE },
    costs: Costs {
        operations: &[
            operation("tables.get", "bigquery.tables.get"),
            operation("jobs.query", "bigquery.jobs.create"),
            operation("jobs.getQueryResults", "bigquery.tables.getData"),
        ],
        // On-demand analysis (BigQuery pricing, $6.25 a TiB).
        bytes: &[BytePrice { service: "bigquery", of: Bytes::Billed, dollars: 6.25 / 1_099_511_627_776.0 }],
    },
    permissions: include_str!("permissions.json"),
};

const fn operation(name: &'static str, permission: &'static str) -> Operation {
    Operation { service: "bigquery", name, permission, dollars: 0.0 }
}

/// How often an unfinished query is asked for its result before the look ends as timed out.
pub(super) const MAX_WAITS: u32 = 3;

/// Which table, and how to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// What the table's columns are held against.
    pub expected_schema: ExpectedSchema,
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
            expected_schema: ExpectedSchema::default(),
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

impl KindSettings for Settings {
    type Observer = BigQuery;
    type Shared = ();

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        let table = read.get("table", scope.expanded(check_table));
        let id_column = read.get("id_column", column);
        let id_is = read.get("id_is", value::choice(&[("tag", IdIs::Tag), ("trace_id", IdIs::TraceId)]));
        let time_column = read.find("time_column", column);
        let tenant_column = read.find("tenant_column", column);
        let body_column = read.find("body_column", column);
        let location = read.find("location", location);
        let partition = read.get("partition", |value| {
        Ok(match value::text(value)?.as_str() {
            "auto" => Predicate::Auto,
            "none" => Predicate::None,
            predicate if predicate.contains([' ', '(', '=', '<', '>']) => {
                Predicate::Custom(predicate.to_owned())
            }
            other => {
                return Err(format!(
                    "\"{other}\" is neither \"auto\", \"none\" nor a predicate such as \"day >= CURRENT_DATE() - 1\""
                ));
            }
        })
    });
        let max_bytes_billed = read.get(
            "max_bytes_billed",
            value::size_within(MIN_BYTES_BILLED, MAX_BYTES_BILLED, "; BigQuery bills at least 10MB a query"),
        );
        let daily_bytes_billed =
            read.find("daily_bytes_billed", value::size_within(MIN_BYTES_BILLED, MAX_DAILY_BYTES_BILLED, ""));
        let schema = read.find("schema", value::list(table_column));
        let schema_accepted = read.find("schema_accepted", value::list(fingerprint));
        let schema_refresh = read.get(
            "schema_refresh",
            value::duration_within(Duration::from_secs(1), Duration::from_secs(86_400), ""),
        );
        let expected_schema = match schema? {
            Some(columns) => ExpectedSchema::Configured(Arc::new(TableSchema { columns })),
            None => ExpectedSchema::Learned { accepted: schema_accepted?.unwrap_or_default() },
        };
        Ok(Self {
            billing_project: scope.project.clone()?,
            location: location?,
            id_is: id_is?,
            time_column: time_column?,
            tenant_column: tenant_column?,
            body_column: body_column?,
            predicate: partition?,
            max_bytes_billed: max_bytes_billed?,
            daily_bytes_billed: daily_bytes_billed?,
            expected_schema,
            refresh: schema_refresh?,
            ..Self::new(table?, id_column?)
        })
    }

    fn resource(&self) -> String {
        self.table.to_string()
    }

    fn identity(&self) -> String {
        self.table.to_string()
    }

    fn attribution(&self) -> Attribution {
        Attribution {
            labelled: self.tenant_column.is_some(),
            by_tag: self.id_is == IdIs::Tag,
            remedy: "; set tenant_column if rows say whose they are",
        }
    }

    fn expected_schema(&self) -> ExpectedSchema {
        self.expected_schema.clone()
    }

    fn observer(&self, site: &Site<'_>, (): &()) -> Result<BigQuery, NoClient> {
        let settings = Self { owners: site.owners(), ..self.clone().within(site.rhythm.timeout) };
        let google = site.clients.google()?.clone();
        Ok(BigQuery::new(settings, google, site.recognizer.clone(), site.clock.clone()))
    }
}

/// Three parts and no character that could end a quoted name in a query.
fn check_table(text: String) -> Result<TableName, String> {
    let wrong = || {
        format!("\"{text}\" is no table; write project.dataset.table, for example \"my-project.logs.events\"")
    };
    let TableName { project, dataset, table } = TableName::parse(&text).ok_or_else(wrong)?;
    let made_of = |part: &str, others: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    if made_of(&project, "-_.:") && made_of(&dataset, "_") && made_of(&table, "_-") {
        Ok(TableName { project, dataset, table })
    } else {
        Err(wrong())
    }
}

/// `name TYPE` or `name TYPE MODE`.
fn table_column(value: &Value) -> Result<Column, String> {
    let text = text(value)?;
    let wrong = || {
        format!(
            "\"{text}\" is no column of a table; write for example \"trace_id STRING\" or \"tags STRING REPEATED\" (modes NULLABLE, REQUIRED, REPEATED)"
        )
    };
    let mut words = text.split_whitespace();
    let (Some(name), Some(kind)) = (words.next(), words.next()) else { return Err(wrong()) };
    let mode = match words.next().map(str::to_ascii_uppercase).as_deref() {
        None | Some("NULLABLE") => "NULLABLE",
        Some("REQUIRED") => "REQUIRED",
        Some("REPEATED") => "REPEATED",
        Some(_) => return Err(wrong()),
    };
    if words.next().is_some() || !kind.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(wrong());
    }
    let name = column(&Value::String(name.to_owned()))?;
    Ok(Column { name, kind: kind.to_ascii_uppercase(), mode: mode.to_owned() })
}

fn fingerprint(value: &Value) -> Result<Fingerprint, String> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        format!(
            "\"{text}\" is no fingerprint of a schema; write the eight hexadecimal digits that the page shows"
        )
    })
}

fn location(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is no location; write for example \"EU\" or \"europe-west3\""))
    }
}

/// A BigQuery column; dots lead into records. Nothing else may pass: it is written into a query.
fn column(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if text.split('.').all(part) {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is no column; write for example \"trace_id\" (letters, digits and `_`, dots into records)"
        ))
    }
}

impl Evidence for Settings {
    fn lookups(&self, question: Question<'_>) -> Vec<Lookup> {
        let column = identifier(&self.id_column);
        let recent = self.time_column.as_ref().map_or_else(String::new, |time| {
            let from = question.planned_at.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!(" AND {} >= TIMESTAMP '{from}'", identifier(time))
        });
        vec![Lookup {
            what: "look for the row",
            command: format!(
                "SELECT * FROM {} WHERE LOWER({column}) = {}{recent} LIMIT 10",
                identifier(&self.table.to_string()),
                literal(question.tag),
            ),
        }]
    }

    fn search(&self, like: &str) -> Option<String> {
        Some(format!(
            "In BigQuery: SELECT * FROM {} WHERE LOWER({}) LIKE {}",
            identifier(&self.table.to_string()),
            identifier(&self.id_column),
            literal(like),
        ))
    }
}

/// For GoogleSQL.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', r"\\").replace('`', r"\`"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn what_goes_into_a_query_is_a_column_and_nothing_else() {
        assert!(column(&Value::from("trace_id")).is_ok());
        assert!(column(&Value::from("payload.trace_id")).is_ok());
        for text in ["a b", "a`", "1a", "a;", "a.", "x = 1 OR 1"] {
            assert!(column(&Value::from(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_row_is_looked_for_by_its_tag_within_its_partition() {
        let table = TableName::parse("p.logs.events").unwrap();
        let settings =
            Settings { time_column: Some("ingest_time".to_owned()), ..Settings::new(table, "trace_id") };
        let planned_at = Timestamp::from_millis(1_795_321_781_123);
        let said = settings.lookups(Question { copy: None, tag: "zqtp1abc", planned_at });
        assert_eq!(
            said[0].command,
            "SELECT * FROM `p.logs.events` WHERE LOWER(`trace_id`) = 'zqtp1abc' AND `ingest_time` >= TIMESTAMP '2026-11-22T04:29:41Z' LIMIT 10"
        );
    }
}
