//! The one query: which rows hold these ids.
//!
//! Bounds on time stand in it as literals, because only those are sure to keep BigQuery from reading old
//! partitions. The ids are parameters: `ids` are whole ones, `ends` those of an [`IdRange`].

use std::time::Duration;

use super::Predicate;
use super::columns::{Columns, Use};
use super::id_range::IdRange;
use super::settings::{IdIs, IdMatch, quoted_path};
use super::table::{Partitioning, Table, Unit};
use crate::domain::tag::{MARKER, TenantCode, Version};
use crate::domain::time::Timestamp;

/// How far before the oldest canary the oldest partition may begin: a stage's own timestamps may be early.
pub(super) const MARGIN: Duration = Duration::from_hours(1);

/// How far a local time may be behind UTC, which is UTC-12:00. DATETIME and DATE have no time zone, and a writer
/// may fill them in its own.
const BEHIND_UTC: Duration = Duration::from_hours(12);

/// What a query is for, besides the ids in its parameters.
pub(super) struct Search<'a> {
    /// What the id of a row is.
    pub(super) id_is: IdIs,
    /// Whether there are whole ids.
    pub(super) has_whole: bool,
    /// Where those lie of which only the ends are given.
    pub(super) range: Option<IdRange>,
    pub(super) columns: &'a Columns,
    pub(super) predicate: &'a Predicate,
    /// When the oldest canary was planned that must be found.
    pub(super) oldest: Timestamp,
    /// Whose canaries may be in the table, where all others are to be found, too.
    pub(super) owners: Option<&'a [TenantCode]>,
}

impl Search<'_> {
    /// The text of the query over these tables, by their names.
    pub(super) fn query<'t>(&self, tables: impl IntoIterator<Item = (&'t str, &'t Table)>) -> String {
        let selects: Vec<String> = tables.into_iter().map(|(name, table)| self.select(name, table)).collect();
        selects.join(" UNION ALL ")
    }

    fn select(&self, name: &str, table: &Table) -> String {
        let Columns { id, id_match: _, time, tenant, body } = self.columns;
        let time = time.as_ref().map(|time| &time.name);
        let mut items = vec![format!("{} AS {}", id.sql(), Use::Id.alias())];
        for (use_, column) in [(Use::Time, time), (Use::Tenant, tenant.as_ref()), (Use::Body, body.as_ref())]
        {
            items.extend(column.map(|column| format!("{} AS {}", quoted_path(column), use_.alias())));
        }
        let mut conditions = vec![self.condition()];
        conditions.extend(self.time_bound().map(|bound| format!("({bound})")));
        conditions.extend(bound(table, self.predicate, self.from()).map(|bound| format!("({bound})")));
        format!("SELECT {} FROM `{name}` WHERE {}", items.join(", "), conditions.join(" AND "))
    }

    fn from(&self) -> Timestamp {
        self.oldest - MARGIN
    }

    fn condition(&self) -> String {
        let id = self.columns.id.sql();
        let id_match = self.columns.id_match;
        let whole = self.has_whole.then(|| match id_match {
            IdMatch::Exact => format!("{id} IN UNNEST(@ids)"),
            IdMatch::Contains => {
                format!("EXISTS(SELECT 1 FROM UNNEST(@ids) AS id WHERE STRPOS(LOWER({id}), id) > 0)")
            }
        });
        let range = self.range.as_ref().map(|range| range.condition(&id, id_match, self.id_is));
        let leaked = self.owners.map(|owners| match id_match {
            IdMatch::Exact => leaked(&id, owners, self.from()),
            IdMatch::Contains => leaked_within(&id, owners),
        });
        let ways: Vec<String> = [whole, range, leaked].into_iter().flatten().collect();
        let found = if let [only] = &ways[..] { only.clone() } else { format!("({})", ways.join(" OR ")) };
        match id_match {
            IdMatch::Exact => found,
            // The marker comes first, because looking for it is cheap and most rows do not have it.
            IdMatch::Contains => format!("STRPOS(LOWER({id}), '{MARKER}') > 0 AND {found}"),
        }
    }

    /// A search inside texts is bounded by the rows' own time, too. A row without one may have arrived all
    /// the same.
    fn time_bound(&self) -> Option<String> {
        let time = self.columns.time.as_ref().filter(|_| self.columns.id_match == IdMatch::Contains)?;
        let literal = literal(&time.kind, Unit::Hour, self.from())?;
        let column = quoted_path(&time.name);
        Some(format!("{column} >= {literal} OR {column} IS NULL"))
    }

    /// Whether something keeps a search inside texts from reading every row of `table`.
    pub(super) fn is_bounded(&self, table: &Table, is_sharded: bool) -> bool {
        is_sharded || self.time_bound().is_some() || bound(table, self.predicate, self.from()).is_some()
    }

    /// The ids as they are compared.
    pub(super) fn ids(&self, id: String) -> Vec<String> {
        match self.columns.id_match {
            // Comparing the column in lower case would make BigQuery read it whole, clustered or not.
            IdMatch::Exact => vec![id.to_ascii_uppercase(), id],
            IdMatch::Contains => vec![id],
        }
    }
}

/// Tags of others than the owners, which are ranges.
fn leaked(id: &str, owners: &[TenantCode], from: Timestamp) -> String {
    let cases = [str::to_ascii_lowercase, str::to_ascii_uppercase];
    let ranges: Vec<_> = cases
        .iter()
        .flat_map(|cased| Version::ALL.map(|version| of_other_tenants(id, owners, from, version, *cased)))
        .collect();
    ranges.join(" OR ")
}

/// Texts with a tag of another tenant than the owners; only the first tag of a text counts.
fn leaked_within(text: &str, owners: &[TenantCode]) -> String {
    let others = Version::ALL.map(|version| {
        let code = "[0-9a-v]".repeat(version.tenant().len());
        let codes: Vec<_> = owners.iter().map(|owner| format!("'{}'", digits(owner, version))).collect();
        let extract = format!("REGEXP_EXTRACT(LOWER({text}), '{MARKER}{version}[0-9a-f]{{32}}({code})')");
        format!("{extract} NOT IN ({})", codes.join(", "))
    });
    others.join(" OR ")
}

/// The tenant's code as it stands in a tag of this version.
fn digits(code: &TenantCode, version: Version) -> String {
    match version {
        Version::V1 => code.prefix().to_string(),
        Version::V2 => code.to_string(),
    }
}

/// Tags of others than the owners, of one version. Such a tag begins with when its canary was planned, so
/// they are one range of a clustered table. A function of the column would make BigQuery read it whole, so it
/// is applied within that range only. Both versions in one range would be all tags there are, since the
/// version stands before the instant.
fn of_other_tenants(
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
    let owners: Vec<String> =
        owners.iter().map(|code| format!("'{}'", cased(&digits(code, version)))).collect();
    // SQL counts from 1.
    let (at, len) = (version.tenant().start + 1, version.tenant().len());
    format!(
        "({id} BETWEEN '{first}' AND '{last}' AND SUBSTR({id}, {at}, {len}) NOT IN ({}))",
        owners.join(", ")
    )
}

pub(super) fn bound(table: &Table, predicate: &Predicate, from: Timestamp) -> Option<String> {
    match predicate {
        Predicate::None => None,
        Predicate::Custom(text) => Some(text.replace("{from}", &literal("TIMESTAMP", Unit::Hour, from)?)),
        Predicate::Auto => match &table.partitioning {
            Partitioning::None => None,
            // Rows in the streaming buffer have no partition yet, and those are the rows that are waited for.
            Partitioning::Ingestion(unit) => Some(format!(
                "_PARTITIONTIME >= {} OR _PARTITIONTIME IS NULL",
                literal("TIMESTAMP", *unit, from)?
            )),
            // A row whose time could not be parsed has arrived all the same.
            Partitioning::Column { name, kind, unit } => {
                let column = quoted_path(name);
                Some(format!("{column} >= {} OR {column} IS NULL", literal(kind, *unit, from)?))
            }
        },
    }
}

/// The start of the partition that `at` lies in, in any time zone; `None` for a type that we cannot write.
fn literal(kind: &str, unit: Unit, at: Timestamp) -> Option<String> {
    let at = if kind == "TIMESTAMP" { at } else { at - BEHIND_UTC };
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
    use serde_json::json;

    use super::*;
    use crate::observe::bigquery::columns::TimeColumn;
    use crate::observe::bigquery::settings::{Id, TimeIs};

    // 2026-11-22T04:29:41Z
    const OLDEST: Timestamp = Timestamp::from_secs(1_795_321_781);

    fn columns(id_match: IdMatch) -> Columns {
        let name = "ingest_time".into();
        Columns {
            id: Id::Column("payload.trace_id".into()),
            id_match,
            time: Some(TimeColumn { name, kind: "TIMESTAMP".into(), is: TimeIs::Inserted }),
            tenant: None,
            body: Some("message".into()),
        }
    }

    fn search<'a>(
        columns: &'a Columns,
        predicate: &'a Predicate,
        owners: Option<&'a [TenantCode]>,
    ) -> Search<'a> {
        let id_is = IdIs::Tag;
        Search { columns, predicate, oldest: OLDEST, owners, id_is, has_whole: true, range: None }
    }

    fn table(partitioning: Partitioning) -> Table {
        let mut table = Table::parse(json!({}).to_string().as_bytes()).unwrap();
        table.partitioning = partitioning;
        table
    }

    fn sql(partitioning: Partitioning, predicate: &Predicate) -> String {
        let columns = columns(IdMatch::Exact);
        let search = search(&columns, predicate, None);
        search.query([("p.d.t", &table(partitioning))])
    }

    const START: &str = "SELECT `payload`.`trace_id` AS probe_id, `ingest_time` AS probe_time, `message` AS probe_body \
                         FROM `p.d.t` WHERE `payload`.`trace_id` IN UNNEST(@ids)";

    #[test]
    fn a_table_without_partitions_is_queried_without_a_bound() {
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
            " AND (`at` >= DATETIME '2026-11-21 00:00:00' OR `at` IS NULL)"
        );
        // 2026-11-22 03:29 UTC, in a time zone that is as far behind as any.
        assert_eq!(
            by("DATETIME", Unit::Hour),
            " AND (`at` >= DATETIME '2026-11-21 15:00:00' OR `at` IS NULL)"
        );
        assert_eq!(by("DATE", Unit::Day), " AND (`at` >= DATE '2026-11-21' OR `at` IS NULL)");
        assert_eq!(by("GEOGRAPHY", Unit::Day), "");
    }

    #[test]
    fn an_own_predicate_gets_the_start_of_the_window() {
        assert_eq!(
            sql(Partitioning::None, &Predicate::Custom("dt >= DATE({from})".into())),
            format!("{START} AND (dt >= DATE(TIMESTAMP '2026-11-22 03:00:00+00:00'))")
        );
    }

    #[test]
    fn the_tables_of_several_days_are_one_query() {
        let columns = columns(IdMatch::Exact);
        let search = search(&columns, &Predicate::Auto, None);
        let table = table(Partitioning::None);
        let (first, second) = (START.replace("p.d.t", "p.d.t_1"), START.replace("p.d.t", "p.d.t_2"));
        assert_eq!(
            search.query([("p.d.t_1", &table), ("p.d.t_2", &table)]),
            format!("{first} UNION ALL {second}")
        );
    }

    #[test]
    fn a_search_inside_texts_is_bounded_by_the_marker_and_the_time() {
        let columns =
            Columns { id: Id::Expression("x || y".into()), body: None, ..columns(IdMatch::Contains) };
        let search = search(&columns, &Predicate::Auto, None);
        let table = table(Partitioning::None);
        assert_eq!(
            search.query([("p.d.t", &table)]),
            "SELECT (x || y) AS probe_id, `ingest_time` AS probe_time FROM `p.d.t` \
             WHERE STRPOS(LOWER((x || y)), 'zqtp') > 0 \
             AND EXISTS(SELECT 1 FROM UNNEST(@ids) AS id WHERE STRPOS(LOWER((x || y)), id) > 0) \
             AND (`ingest_time` >= TIMESTAMP '2026-11-22 03:00:00+00:00' OR `ingest_time` IS NULL)"
        );
        assert!(search.is_bounded(&table, false));
        assert_eq!(search.ids("zqtp2a".into()), ["zqtp2a"]);
    }

    #[test]
    fn a_search_inside_texts_of_an_unpartitioned_table_without_a_time_is_unbounded() {
        let columns = Columns { time: None, ..columns(IdMatch::Contains) };
        let search = search(&columns, &Predicate::Auto, None);
        assert!(!search.is_bounded(&table(Partitioning::None), false));
        assert!(search.is_bounded(&table(Partitioning::None), true));
        assert!(search.is_bounded(&table(Partitioning::Ingestion(Unit::Day)), false));
    }

    #[test]
    fn a_search_inside_texts_finds_the_tags_of_other_tenants() {
        let columns = Columns { id: Id::Column("m".into()), ..columns(IdMatch::Contains) };
        let owner = TenantCode::of("acme");
        let owners = [owner];
        let search = search(&columns, &Predicate::None, Some(&owners));
        let query = search.query([("p.d.t", &table(Partitioning::None))]);
        let code = "[0-9a-v]".repeat(8);
        let expected =
            format!("OR REGEXP_EXTRACT(LOWER(`m`), 'zqtp2[0-9a-f]{{32}}({code})') NOT IN ('{owner}'))");
        assert!(query.contains(&expected), "{query}");
    }
}
