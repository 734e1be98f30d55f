//! Which table a stage reads, and within which bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use toml::Value;

use super::columns::Use;
pub use super::id::{Id, IdIs, IdMatch};
use super::id::{check_sql, read_id};
use super::ledger::Ledgers;
pub use super::table_name::TableName;
use super::{BigQuery, proof};
use crate::cloud::google::BIGQUERY;
use crate::cloud::pending::within;
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{BytePrice, Bytes, Costs, Operation};
use crate::domain::evidence::{Evidence, Link, Lookup, NamedPlace, Question, SAME_QUERY};
use crate::domain::proof::{Advice, Doubt, Proof};
use crate::domain::schema::{Column, ExpectedSchema, Fingerprint, TableSchema};
use crate::domain::shell::quoted;
use crate::domain::sighting::Wanted;
use crate::domain::tag::{Tag, TenantCode};
use crate::domain::time::Timestamp;
use crate::domain::topology::{Capabilities, Topology};
use crate::keys::fault::Checked;
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value::{self, Parsed, text};
use crate::observe::kinds::{Attribution, KindSettings, LabelPlace, Scope, Site, Spec, seconds};
use crate::observe::pace::Rhythm;
use crate::observe::proving::in_time;
use crate::observe::{ObserveError, console};

/// BigQuery bills at least 10 MB for each table of a query and takes no smaller `maximumBytesBilled`.
pub(super) const MIN_BYTES_BILLED: u64 = 10 << 20;
/// Beyond this a slip of the pen would cost more than the probe is worth: 1 TB is about 6 dollars a poll.
const MAX_BYTES_BILLED: u64 = 1 << 40;
/// A day of the most expensive polls.
const MAX_DAILY_BYTES_BILLED: u64 = 1 << 50;

static KEYS: [Key; 16] = [
    Key::text("table").required(),
    Key::text("id_column"),
    Key::text("id_expression"),
    Key::text("id_is").or("tag"),
    Key::text("id_match").or("exact"),
    Key::text("time_column"),
    Key::text("time_is"),
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
    // A poll costs money; a row can be queried once it was acknowledged.
    rhythm: Rhythm { interval: seconds(5), timeout: seconds(30), settle: seconds(0), ..Rhythm::USUAL },
    provider: Provider::Google(BIGQUERY),
    capabilities: Capabilities { schema: true, billed_bytes: true, ..Capabilities::ABSENCE },
    costs: Costs {
        operations: &[
            operation("tables.get", "bigquery.tables.get"),
            operation("jobs.query", "bigquery.jobs.create"),
            operation("jobs.getQueryResults", "bigquery.tables.getData"),
            // Whoever creates a job may get it, without a right of its own (BigQuery, introduction to jobs).
            operation("jobs.get", "bigquery.jobs.create"),
        ],
        // On-demand analysis (BigQuery pricing, $6.25 a TiB).
        bytes: &[BytePrice { service: "bigquery", of: Bytes::Billed, dollars: 6.25 / 1_099_511_627_776.0 }],
    },
    permissions: include_str!("permissions.json"),
};

const fn operation(name: &'static str, permission: &'static str) -> Operation {
    Operation { service: "bigquery", name, permission, dollars: 0.0 }
}

/// Longest time that one call waits for its query to end. The HTTP client gives a call up after 20 s
/// ([`crate::cloud::google::GoogleTimeouts`]), and an answer takes a while to be read.
const MAX_QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// A query may take all of these parts of a poll's time but one, which is left for what comes before the
/// query, and for the way.
const PARTS: u32 = 5;

/// Which table, and how to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub table: TableName,
    /// The project that pays for queries and in which the probe may run jobs; the table's own when absent.
    pub billing_project: Option<String>,
    /// Where queries run, as in `EU`; where the table lies when absent.
    pub location: Option<String>,
    /// Where the id stands.
    pub id: Id,
    /// What the id is.
    pub id_is: IdIs,
    /// Whether the id is all of that text.
    pub id_match: IdMatch,
    /// Whose canaries may be in the table, where it does not hold all tenants'. Those of the others are then
    /// looked for, too, to notice leaks. Only where whole tags stand in the table, which say whose they are.
    pub owners: Option<Vec<TenantCode>>,
    /// The column with the time of a row (TIMESTAMP, or DATETIME in UTC).
    pub time_column: Option<String>,
    /// What that time is; what the table's schema says when absent.
    pub time_is: Option<TimeIs>,
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
    /// Labels of tenants, by what a column of type INTEGER shows of them: numbers with leading zeros.
    pub padded_labels: Arc<BTreeMap<String, Arc<str>>>,
    /// How long one call waits for its query to end.
    pub query_timeout: Duration,
    /// When BigQuery stops a query. Calls wait for it until then.
    pub job_timeout: Duration,
    /// Most pages of one query's result.
    pub max_pages: usize,
    /// What the table's columns are held against.
    pub expected_schema: ExpectedSchema,
    /// How often the table is described again, to notice changed columns and a query that became expensive.
    /// That is free.
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
            id: Id::Column(id_column.into()),
            id_is: IdIs::Tag,
            id_match: IdMatch::Exact,
            owners: None,
            time_column: None,
            time_is: None,
            tenant_column: None,
            body_column: None,
            predicate: Predicate::Auto,
            max_bytes_billed: 100 << 20,
            daily_bytes_billed: None,
            padded_labels: Arc::default(),
            query_timeout: Duration::from_secs(10),
            job_timeout: Duration::from_secs(40),
            max_pages: 10,
            expected_schema: ExpectedSchema::default(),
            refresh: Duration::from_mins(5),
        }
    }

    /// With timeouts that fit into polls of at most so long. BigQuery then stops a query before the poll is
    /// given up; stopped later, it would be billed and its answer read by no one.
    #[must_use]
    pub fn within(self, poll: Duration) -> Self {
        let part = poll / PARTS;
        Self { query_timeout: part.min(MAX_QUERY_TIMEOUT), job_timeout: part * (PARTS - 1), ..self }
    }

    /// Most calls for the result of an unfinished query, after which the poll ends as timed out.
    pub(super) fn max_waits(&self) -> u32 {
        let calls = self.job_timeout.as_nanos().div_ceil(self.query_timeout.as_nanos().max(1));
        u32::try_from(calls).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// The columns that the settings name, and what for.
    pub(super) fn configured_columns(&self) -> impl Iterator<Item = (Use, &str)> {
        let id = match &self.id {
            Id::Column(column) => Some(column),
            Id::Expression(_) => None,
        };
        let all = [
            (Use::Id, id),
            (Use::Time, self.time_column.as_ref()),
            (Use::Tenant, self.tenant_column.as_ref()),
            (Use::Body, self.body_column.as_ref()),
        ];
        all.into_iter().filter_map(|(use_, column)| Some((use_, column?.as_str())))
    }

    /// See [`Settings::padded_labels`]. Labels that differ in leading zeros alone cannot be told apart, so
    /// none of them is among these.
    fn padded_labels_of(&self, topology: &Topology) -> BTreeMap<String, Arc<str>> {
        if self.tenant_column.is_none() {
            return BTreeMap::new();
        }
        padded(topology.tenants().iter().map(|tenant| &tenant.label))
    }

    /// Most bytes that BigQuery is told to bill one query of so many tables for: at least what it bills
    /// anyway, or the second table at midnight would make the stage blind.
    pub(super) fn bill_limit(&self, tables: usize) -> u64 {
        self.max_bytes_billed.max(MIN_BYTES_BILLED * tables.max(1) as u64)
    }
}

/// The labels that are numbers with leading zeros, by the same number without them.
fn padded<'a>(labels: impl Iterator<Item = &'a Arc<str>>) -> BTreeMap<String, Arc<str>> {
    let mut of_numbers: BTreeMap<String, BTreeSet<&Arc<str>>> = BTreeMap::new();
    for label in labels.filter(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())) {
        let digits = label.trim_start_matches('0');
        let number = if digits.is_empty() { "0" } else { digits };
        of_numbers.entry(number.to_owned()).or_default().insert(label);
    }
    let only = |(number, labels): (String, BTreeSet<&Arc<str>>)| {
        let mut labels = labels.into_iter();
        let (Some(label), None) = (labels.next(), labels.next()) else { return None };
        (**label != *number).then(|| (number, label.clone()))
    };
    of_numbers.into_iter().filter_map(only).collect()
}

/// What the time of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeIs {
    /// When BigQuery inserted it: the arrival.
    Inserted,
    /// When a program wrote it, before it could be seen: a lower bound of the arrival.
    Written,
}

/// A column in a query; each part of its path is quoted.
pub(super) fn quoted_path(path: &str) -> String {
    let parts: Vec<String> = path.split('.').map(identifier).collect();
    parts.join(".")
}

/// What keeps a query from reading old partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// What suits the table's partitioning by time, if it has one.
    Auto,
    /// Nothing.
    None,
    /// This SQL condition; `{from}` in it becomes a TIMESTAMP literal before the oldest canary that waits.
    Custom(String),
}

impl KindSettings for Settings {
    type Observer = BigQuery;
    type Shared = Ledgers;

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        let table = read.get("table", scope.expanded(check_table));
        let id = read_id(read);
        let id_is = read.get("id_is", value::choice(&[("tag", IdIs::Tag), ("trace_id", IdIs::TraceId)]));
        let id_match = read
            .get("id_match", value::choice(&[("exact", IdMatch::Exact), ("contains", IdMatch::Contains)]));
        let time_column = read.find("time_column", column);
        let time_is = read
            .find("time_is", value::choice(&[("inserted", TimeIs::Inserted), ("written", TimeIs::Written)]));
        let tenant_column = read.find("tenant_column", column);
        let body_column = read.find("body_column", column);
        let location = read.find("location", location);
        let partition = read.get("partition", predicate);
        let time_is = match (&time_column, time_is) {
            (Ok(None), Ok(Some(time_is))) => {
                let value = match time_is {
                    TimeIs::Inserted => "inserted",
                    TimeIs::Written => "written",
                };
                Err(read.report(
                    "time_is",
                    format!("\"{value}\" describes time_column, which is not set; set time_column, or remove time_is"),
                ))
            }
            (_, time_is) => time_is,
        };
        let id_match = check_match(read, id_match, id_is, &time_column, &partition, &table);
        let max_bytes_billed = read.get(
            "max_bytes_billed",
            value::size_within(
                MIN_BYTES_BILLED,
                MAX_BYTES_BILLED,
                ", because BigQuery bills at least 10MB per query",
            ),
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
            id: id?,
            id_is: id_is?,
            id_match: id_match?,
            time_column: time_column?,
            time_is: time_is?,
            tenant_column: tenant_column?,
            body_column: body_column?,
            predicate: partition?,
            max_bytes_billed: max_bytes_billed?,
            daily_bytes_billed: daily_bytes_billed?,
            expected_schema,
            refresh: schema_refresh?,
            ..Self::new(table?, String::new())
        })
    }

    fn spec() -> &'static Spec {
        &SPEC
    }

    async fn prove(&self, site: &Site<'_>, _: &Ledgers, wanted: &Wanted) -> Result<Vec<Proof>, NoClient> {
        proof::prove(self, site, wanted).await
    }

    async fn principal(&self, site: &Site<'_>, shared: &Ledgers) -> Option<Result<String, ObserveError>> {
        let observer = self.observer(site, shared).ok()?;
        Some(in_time(site.rhythm.timeout, observer.principal()).await)
    }

    async fn advise(&self, site: &Site<'_>, shared: &Ledgers, tag: &Tag, doubt: Doubt) -> Vec<Advice> {
        if doubt == Doubt::Unchecked && self.body_column.is_none() {
            return Vec::new();
        }
        let Ok(mut observer) = self.observer(site, shared) else { return Vec::new() };
        let found = within(site.rhythm.timeout, observer.advise(tag)).await;
        found.unwrap_or_else(|unanswered| {
            let text = format!("which column has the canary's tag is unknown: {unanswered}");
            vec![Advice::new(text, None)]
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

    fn label_place(&self) -> Option<LabelPlace> {
        let column = self.tenant_column.as_ref()?;
        Some(LabelPlace { key: "tenant_column", has: format!("column `{column}` has") })
    }

    fn expected_schema(&self) -> ExpectedSchema {
        self.expected_schema.clone()
    }

    fn context(&self, site: &Site<'_>) -> String {
        let owners = site.owners();
        // The tags of others are among the rows of a query for them, and are told only of tenants that are known.
        let tells = owners.is_some() && self.id_is == IdIs::Tag;
        let known = tells.then(|| site.topology.tenants().iter().map(|it| it.code).collect::<Vec<_>>());
        format!("{} {owners:?} {known:?} {:?}", site.google_scope(), self.padded_labels_of(site.topology))
    }

    fn observer(&self, site: &Site<'_>, shared: &Ledgers) -> Result<BigQuery, NoClient> {
        let settings = Self {
            owners: site.owners(),
            padded_labels: Arc::new(self.padded_labels_of(site.topology)),
            ..self.clone().within(site.rhythm.timeout)
        };
        let google = site.clients.google()?.clone();
        let ledger = shared.of(&self.table.to_string());
        let observer = BigQuery::new(settings, google, site.recognizer.clone(), site.clock.clone());
        Ok(observer.with_ledger(ledger))
    }
}

/// A search inside texts reads many rows, so it takes a bound on time; and it is by the marker, which only a
/// tag has.
fn check_match(
    read: &mut Reader<'_, '_>,
    id_match: Checked<IdMatch>,
    id_is: Checked<IdIs>,
    time_column: &Checked<Option<String>>,
    partition: &Checked<Predicate>,
    table: &Checked<TableName>,
) -> Checked<IdMatch> {
    if id_match? == IdMatch::Exact {
        return id_match;
    }
    if id_is == Ok(IdIs::TraceId) {
        return Err(read.report(
            "id_match",
            "\"contains\" can only find whole tags; set id_is = \"tag\", or set id_match = \"exact\" to match the trace id",
        ));
    }
    let is_sharded = table.as_ref().is_ok_and(TableName::is_sharded);
    if *time_column == Ok(None) && *partition == Ok(Predicate::None) && !is_sharded {
        return Err(read.report(
            "id_match",
            "\"contains\" would search every row of the table; set time_column, or set partition to \"auto\" or to an SQL condition such as \"day >= CURRENT_DATE() - 1\"",
        ));
    }
    id_match
}

fn predicate(value: &Value) -> Parsed<Predicate> {
    Ok(match text(value)?.as_str() {
        "auto" => Predicate::Auto,
        "none" => Predicate::None,
        predicate if predicate.contains([' ', '(', '=', '<', '>']) => {
            check_sql(predicate, "day >= CURRENT_DATE() - 1")?;
            Predicate::Custom(predicate.to_owned())
        }
        other => {
            return Err(format!(
                "\"{other}\" is neither \"auto\", \"none\" nor an SQL condition such as \"day >= CURRENT_DATE() - 1\""
            ));
        }
    })
}

/// Three parts, and a day where there are fields of a time.
fn check_table(text: String) -> Result<TableName, String> {
    TableName::parse(&text).ok_or_else(|| {
        if text.contains('%') {
            format!(
                "\"{text}\" does not contain a complete date; for one table per day, write %Y, %m and %d once each in the table's name, for example \"my-project.logs.events_%Y%m%d\""
            )
        } else if text.contains('`') {
            format!("\"{text}\" has a backtick; write project.dataset.table without quotes, for example \"my-project.logs.events\"")
        } else {
            format!("\"{text}\" is not a valid table; write project.dataset.table, for example \"my-project.logs.events\"")
        }
    })
}

/// `name TYPE` or `name TYPE MODE`.
fn table_column(value: &Value) -> Result<Column, String> {
    let text = text(value)?;
    let wrong = || {
        format!(
            "\"{text}\" is not a valid column of a schema; write for example \"trace_id STRING\" or \"tags STRING REPEATED\" (modes NULLABLE, REQUIRED, REPEATED)"
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
            "\"{text}\" is not a valid schema fingerprint; write the eight hexadecimal digits that the page shows"
        )
    })
}

fn location(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is not a valid location; write for example \"EU\" or \"europe-west3\""))
    }
}

/// A BigQuery column; dots lead into records. Nothing else may pass: it is written into a query.
pub(super) fn column(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if text.split('.').all(part) {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a valid column name; write letters, digits and `_`, with dots for fields inside records, for example \"trace_id\" or \"payload.trace_id\""
        ))
    }
}

impl Evidence for Settings {
    fn names(&self, at: Timestamp) -> Vec<NamedPlace> {
        let TableName { project, dataset, table } = self.table.table_on(at);
        let mut names = vec![("PROJECT", project), ("DATASET", dataset), ("TABLE", table)];
        names.extend(self.time_column.clone().map(|column| ("TIME_COLUMN", column)));
        names.extend(self.location.clone().map(|location| ("LOCATION", location.to_ascii_lowercase())));
        names
    }

    fn checks(&self) -> &'static str {
        "bigquery-table"
    }

    fn lookups(&self, question: Question<'_>) -> Vec<Lookup> {
        let recent = self.time_column.as_ref().map_or_else(String::new, |time| {
            let from = question.planned_at.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!(" AND {} >= TIMESTAMP '{from}'", quoted_path(time))
        });
        let id = format!("LOWER({})", self.id.sql());
        let tag = literal(question.tag);
        let condition = match self.id_match {
            IdMatch::Exact => format!("{id} = {tag}"),
            IdMatch::Contains => format!("STRPOS({id}, {tag}) > 0"),
        };
        let table = identifier(&self.table.table_on(question.planned_at).to_string());
        let query = format!("SELECT * FROM {table} WHERE {condition}{recent} LIMIT 10");
        let location =
            self.location.as_ref().map_or_else(String::new, |at| format!(" --location={}", quoted(at)));
        vec![
            Lookup {
                what: "query the row",
                command: format!(
                    "bq query --project_id={}{location} --use_legacy_sql=false --format=prettyjson {}",
                    quoted(&self.table.project),
                    quoted(&query)
                ),
            },
            Lookup { what: SAME_QUERY, command: query },
        ]
    }

    fn consoles(&self, question: Question<'_>) -> Vec<Link> {
        let table = self.table.table_on(question.planned_at);
        let url = console::table(&table.project, &table.dataset, &table.table);
        vec![Link { what: "table in the BigQuery console", url }]
    }

    fn search(&self, like: &str) -> Option<String> {
        let like = match self.id_match {
            IdMatch::Exact => like.to_owned(),
            IdMatch::Contains => format!("%{like}%"),
        };
        // A wildcard instead of the day.
        let table = match self.table.table.split_once('%') {
            Some((before, _)) => format!("{}.{}.{before}*", self.table.project, self.table.dataset),
            None => self.table.to_string(),
        };
        Some(format!(
            "In BigQuery: SELECT * FROM {} WHERE LOWER({}) LIKE {}",
            identifier(&table),
            self.id.sql(),
            literal(&like),
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

    #[test]
    fn what_goes_into_a_query_is_a_column_and_nothing_else() {
        assert!(column(&Value::from("trace_id")).is_ok());
        assert!(column(&Value::from("payload.trace_id")).is_ok());
        for text in ["a b", "a`", "1a", "a;", "a.", "x = 1 OR 1"] {
            assert!(column(&Value::from(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_call_waits_for_less_than_the_client_does_and_all_calls_for_most_of_the_poll() {
        let client = crate::cloud::google::GoogleTimeouts::default().request;
        for secs in [1, 30, 95, 120, 600, 86_400] {
            let poll = Duration::from_secs(secs);
            let settings = Settings::new(TableName::parse("p.d.t").unwrap(), "trace_id").within(poll);
            let waited = settings.query_timeout * (settings.max_waits() + 1);
            assert!(settings.query_timeout < client, "{secs} s");
            assert!(settings.job_timeout <= waited && settings.job_timeout < poll, "{secs} s");
        }
    }

    #[test]
    fn labels_with_leading_zeros_are_known_by_their_number() {
        let labels = ["012345678901", "987654321098", "acme", "", "007", "07", "000", "0x1"];
        let labels: Vec<Arc<str>> = labels.into_iter().map(Arc::from).collect();
        let twice = labels.iter().chain(&labels);
        let found = padded(twice).into_iter().map(|(number, label)| format!("{number} {label}"));
        // 7 may be either of two.
        assert_eq!(found.collect::<Vec<_>>(), ["0 000", "12345678901 012345678901"]);
    }

    #[test]
    fn a_row_is_queried_by_its_tag_within_its_partition() {
        let table = TableName::parse("p.logs.events").unwrap();
        let settings =
            Settings { time_column: Some("ingest_time".to_owned()), ..Settings::new(table, "trace_id") };
        let planned_at = Timestamp::from_millis(1_795_321_781_123);
        let said = settings.lookups(Question { copy: None, tag: "zqtp1abc", planned_at });
        assert_eq!(
            said[0].command,
            r"bq query --project_id=p --use_legacy_sql=false --format=prettyjson 'SELECT * FROM `p.logs.events` WHERE LOWER(`trace_id`) = '\''zqtp1abc'\'' AND `ingest_time` >= TIMESTAMP '\''2026-11-22T04:29:41Z'\'' LIMIT 10'"
        );
        assert_eq!(
            said[1].command,
            "SELECT * FROM `p.logs.events` WHERE LOWER(`trace_id`) = 'zqtp1abc' AND `ingest_time` >= TIMESTAMP '2026-11-22T04:29:41Z' LIMIT 10"
        );
    }

    #[test]
    fn a_row_of_a_daily_table_is_queried_in_that_days_table() {
        let table = TableName::parse("p.logs.events_%Y%m%d").unwrap();
        let settings = Settings { id_match: IdMatch::Contains, ..Settings::new(table, "message") };
        let planned_at = Timestamp::from_millis(1_795_321_781_123);
        let said = settings.lookups(Question { copy: None, tag: "zqtp1abc", planned_at });
        assert_eq!(
            said[1].command,
            "SELECT * FROM `p.logs.events_20261122` WHERE STRPOS(LOWER(`message`), 'zqtp1abc') > 0 LIMIT 10"
        );
        assert_eq!(
            settings.search("zqtp2%").unwrap(),
            "In BigQuery: SELECT * FROM `p.logs.events_*` WHERE LOWER(`message`) LIKE '%zqtp2%%'"
        );
    }
}
