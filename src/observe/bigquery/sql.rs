//! The one query: which rows hold these ids.
//!
//! Bounds on time stand in it as literals, because only those are sure to keep BigQuery from reading old partitions.
//! The ids are a parameter.

use std::time::Duration;

use super::Predicate;
use super::table::{Partitioning, Table, Unit};
use crate::domain::tag::{MARKER, TenantCode, Version};
use crate::domain::time::Timestamp;

/// How far before the oldest canary the oldest partition may begin: a stage's own timestamps may be early.
const MARGIN: Duration = Duration::from_hours(1);

/// The columns that a query asks for, as far as the table has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) id: String,
    pub(super) time: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) body: Option<String>,
}

impl Columns {
    /// Where in a row each column stands: id, time, tenant, body.
    pub(super) fn places(&self) -> [Option<usize>; 4] {
        let mut next = 1;
        let mut place = |column: &Option<String>| {
            column.as_ref().map(|_| {
                next += 1;
                next - 1
            })
        };
        [Some(0), place(&self.time), place(&self.tenant), place(&self.body)]
    }
}

/// What a query is for, besides the ids in its parameter.
pub(super) struct Aim<'a> {
    pub(super) predicate: &'a Predicate,
    /// When the oldest canary was planned that must be found.
    pub(super) oldest: Timestamp,
    /// Whose canaries may be in the table, where all others are to be found, too.
    pub(super) owners: Option<&'a [TenantCode]>,
}

/// The text of the query.
pub(super) fn query(name: &str, table: &Table, columns: &Columns, aim: &Aim<'_>) -> String {
    let named = [
        (Some(&columns.id), "id"),
        (columns.time.as_ref(), "time"),
        (columns.tenant.as_ref(), "tenant"),
        (columns.body.as_ref(), "body"),
    ];
    let items: Vec<String> = named
        .iter()
        .filter_map(|(column, name)| Some(format!("{} AS probe_{name}", quoted(column.as_ref()?))))
        .collect();
    let from = aim.oldest - MARGIN;
    let bound = bound(table, aim.predicate, from).map_or_else(String::new, |bound| format!(" AND ({bound})"));
    let id = quoted(&columns.id);
    let asked = format!("{id} IN UNNEST(@ids)");
    let condition = aim.owners.map_or_else(
        || asked.clone(),
        |owners| {
            let cases = [str::to_ascii_lowercase, str::to_ascii_uppercase];
            let ranges = cases
                .iter()
                .flat_map(|cased| Version::ALL.map(|version| strangers(&id, owners, from, version, *cased)));
            let ranges: Vec<_> = ranges.collect();
            format!("({asked} OR {})", ranges.join(" OR "))
        },
    );
    format!("SELECT {} FROM `{name}` WHERE {condition}{bound}", items.join(", "))
}

/// Tags of others than the owners, of one version. Such a tag begins with when its canary was planned, so they are one
/// range of a clustered table, and a function of the column, which would make BigQuery read it whole, is only asked for
/// within that range. Both versions in one range would be all tags there are, since the version stands before the instant.
fn strangers(
    id: &str,
    owners: &[TenantCode],
    from: Timestamp,
    version: Version,
    cased: fn(&str) -> String,
) -> String {
    let millis = u64::try_from(from.millis()).unwrap_or(0);
    let first = cased(&format!("{MARKER}{version}{millis:012x}"));
    // `g` comes after all hexadecimal digits.
    let last = cased(&format!("{MARKER}{version}g"));
    let digits = |code: &TenantCode| match version {
        Version::V1 => code.prefix().to_string(),
        Version::V2 => code.to_string(),
    };
    let owners: Vec<String> = owners.iter().map(|code| format!("'{}'", cased(&digits(code)))).collect();
    // SQL counts from 1.
    let (at, len) = (version.tenant().start + 1, version.tenant().len());
    format!(
        "({id} BETWEEN '{first}' AND '{last}' AND SUBSTR({id}, {at}, {len}) NOT IN ({}))",
        owners.join(", ")
    )
}

fn quoted(path: &str) -> String {
    let parts: Vec<String> = path.split('.').map(|part| format!("`{part}`")).collect();
    parts.join(".")
}

fn bound(table: &Table, predicate: &Predicate, from: Timestamp) -> Option<String> {
    match predicate {
        Predicate::None => None,
        Predicate::Custom(text) => Some(text.replace("{from}", &literal("TIMESTAMP", Unit::Hour, from)?)),
        Predicate::Auto => match &table.partitioning {
            Partitioning::None => None,
            // Rows in the streaming buffer have no partition yet, and those are the rows that we wait for.
            Partitioning::Ingestion(unit) => Some(format!(
                "_PARTITIONTIME >= {} OR _PARTITIONTIME IS NULL",
                literal("TIMESTAMP", *unit, from)?
            )),
            // A row whose time could not be parsed has arrived all the same.
            Partitioning::Column { name, kind, unit } => {
                let column = quoted(name);
                Some(format!("{column} >= {} OR {column} IS NULL", literal(kind, *unit, from)?))
            }
        },
    }
}

/// The start of the partition that `at` lies in; `None` for a type that we cannot write.
fn literal(kind: &str, unit: Unit, at: Timestamp) -> Option<String> {
    let day = match unit {
        Unit::Hour | Unit::Day => "%Y-%m-%d",
        Unit::Month => "%Y-%m-01",
        Unit::Year => "%Y-01-01",
    };
    let hour = if unit == Unit::Hour { "%H:00:00" } else { "00:00:00" };
    let pattern = match kind {
        "TIMESTAMP" => format!("TIMESTAMP '{day} {hour}+00:00'"),
        "DATETIME" => format!("DATETIME '{day} {hour}'"),
        "DATE" => format!("DATE '{day}'"),
        _ => return None,
    };
    Some(at.strftime(&pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::TableSchema;

    fn sql(partitioning: Partitioning, predicate: &Predicate) -> String {
        let table = Table { schema: TableSchema::default(), partitioning, location: None };
        let columns = Columns {
            id: "payload.trace_id".into(),
            time: Some("ingest_time".into()),
            tenant: None,
            body: Some("message".into()),
        };
        // 2026-11-22T04:29:41Z
        let aim = Aim { predicate, oldest: Timestamp::from_secs(1_795_321_781), owners: None };
        query("p.d.t", &table, &columns, &aim)
    }

    const START: &str = "SELECT `payload`.`trace_id` AS probe_id, `ingest_time` AS probe_time, `message` AS probe_body \
                         FROM `p.d.t` WHERE `payload`.`trace_id` IN UNNEST(@ids)";

    #[test]
    fn a_table_without_partitions_is_asked_without_a_bound() {
        assert_eq!(sql(Partitioning::None, &Predicate::Auto), START);
        assert_eq!(sql(Partitioning::Ingestion(Unit::Day), &Predicate::None), START);
    }

    #[test]
    fn rows_in_the_streaming_buffer_are_let_through() {
        assert_eq!(
            sql(Partitioning::Ingestion(Unit::Hour), &Predicate::Auto),
            format!(
                "{START} AND (_PARTITIONTIME >= TIMESTAMP '2026-11-22 03:00:00+00:00' OR _PARTITIONTIME IS NULL)"
            )
        );
    }

    #[test]
    fn a_partition_column_is_bounded_in_its_own_type() {
        let by = |kind: &str, unit| {
            let sql =
                sql(Partitioning::Column { name: "at".into(), kind: kind.into(), unit }, &Predicate::Auto);
            sql.strip_prefix(START).unwrap().to_owned()
        };
        assert_eq!(by("DATE", Unit::Month), " AND (`at` >= DATE '2026-11-01' OR `at` IS NULL)");
        assert_eq!(
            by("DATETIME", Unit::Day),
            " AND (`at` >= DATETIME '2026-11-22 00:00:00' OR `at` IS NULL)"
        );
        assert_eq!(by("GEOGRAPHY", Unit::Day), "");
    }

    #[test]
    fn a_predicate_of_ones_own_gets_the_start_of_the_window() {
        assert_eq!(
            sql(Partitioning::None, &Predicate::Custom("dt >= DATE({from})".into())),
            format!("{START} AND (dt >= DATE(TIMESTAMP '2026-11-22 03:00:00+00:00'))")
        );
    }

    #[test]
    fn places_follow_the_columns_that_are_there() {
        let columns =
            Columns { id: "a".into(), time: None, tenant: Some("b".into()), body: Some("c".into()) };
        assert_eq!(columns.places(), [Some(0), None, Some(1), Some(2)]);
    }
}
