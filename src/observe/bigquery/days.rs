//! Which tables of days may have the rows that a query must find.
//!
//! Tables are named after days in UTC. A writer that names them by its local time begins a day hours earlier
//! or later, and then rows of the range are in a table beside it. When tables are created shows that, so that
//! the probe needs no time zone. What it does not show: of tables that are created in advance, which one is
//! written to.

use super::table::Table;
use super::table_name::{TableName, TablesInRange, is_created_ahead, is_last_hour};
use crate::domain::time::Timestamp;

/// The tables of a period, which ends now.
#[derive(Debug)]
pub(super) struct Days {
    table: TableName,
    from: Timestamp,
    now: Timestamp,
    /// The tables of the period if days are in UTC.
    pub(super) range: TablesInRange,
}

impl Days {
    pub(super) fn new(table: &TableName, from: Timestamp, now: Timestamp) -> Self {
        Self { table: table.clone(), from, now, range: table.tables_between(from, now) }
    }

    /// Returns all tables that may have rows, oldest first, given those that are known to exist.
    pub(super) fn all(&self, found: &[(String, Table)]) -> Vec<TableName> {
        let (before, after) = (self.before(found), self.after(found));
        before.into_iter().chain(self.range.tables.iter().cloned()).chain(after).collect()
    }

    /// Returns the table of the day before the range, unless the first one of the range existed all the time:
    /// rows that were written before it was created are in the one before.
    pub(super) fn before(&self, found: &[(String, Table)]) -> Option<TableName> {
        if !self.table.is_sharded() || self.range.is_truncated {
            return None;
        }
        let first = find(found, self.range.tables.first()?);
        let has_all = first.is_some_and(|table| table.created.is_none_or(|created| created <= self.from));
        (!has_all).then(|| self.table.table_on_day_before(self.from))
    }

    /// Returns the table of the day that has begun in the east only, if today's was created that early, too. In the
    /// last hour of a day, that may be so since clocks were put forward.
    pub(super) fn after(&self, found: &[(String, Table)]) -> Option<TableName> {
        let created = find(found, &self.table.table_on(self.now)).and_then(|table| table.created);
        let next = self.table.table_on_newest_day(self.now);
        let is_beside = self.table.is_sharded() && !self.range.tables.contains(&next);
        let is_ahead = created.is_some_and(|created| is_created_ahead(self.now, created));
        (is_beside && (is_ahead || is_last_hour(self.now))).then_some(next)
    }
}

fn find<'a>(found: &'a [(String, Table)], name: &TableName) -> Option<&'a Table> {
    let name = name.to_string();
    found.iter().find(|(found, _)| *found == name).map(|(_, table)| table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    /// Which tables are read from `from` until `now`, given when those that exist were created.
    fn days(from: &str, now: &str, created: &[(&str, &str)]) -> Vec<String> {
        let found: Vec<_> = created
            .iter()
            .map(|(day, created)| {
                let json = json!({"creationTime": at(created).millis().to_string()});
                (format!("p.d.{day}"), Table::parse(json.to_string().as_bytes()).unwrap())
            })
            .collect();
        let days = Days::new(&TableName::parse("p.d.%Y%m%d").unwrap(), at(from), at(now));
        days.all(&found).into_iter().map(|name| name.table).collect()
    }

    #[test]
    fn days_in_utc_are_read_alone() {
        let created = [("20261122", "2026-11-22T00:00:02Z")];
        let read = days("2026-11-22T15:00:00Z", "2026-11-22T16:00:00Z", &created);
        assert_eq!(read, ["20261122"]);
    }

    #[test]
    fn until_todays_table_exists_the_one_before_is_read_as_well() {
        let yesterday = ("20261121", "2026-11-21T08:00:02Z");
        let read = days("2026-11-22T03:00:00Z", "2026-11-22T04:00:00Z", &[yesterday]);
        assert_eq!(read, ["20261121", "20261122"]);
    }

    #[test]
    fn rows_from_before_a_table_was_created_are_in_the_one_before() {
        let created = [("20261121", "2026-11-21T08:00:02Z"), ("20261122", "2026-11-22T08:00:02Z")];
        let read = days("2026-11-22T07:30:00Z", "2026-11-22T08:40:00Z", &created);
        assert_eq!(read, ["20261121", "20261122"]);
        let read = days("2026-11-22T08:30:00Z", "2026-11-22T09:40:00Z", &created);
        assert_eq!(read, ["20261122"]);
    }

    #[test]
    fn a_writer_in_the_east_may_have_begun_the_next_day() {
        let created = [("20261122", "2026-11-21T15:00:02Z")];
        let read = days("2026-11-22T14:30:00Z", "2026-11-22T15:40:00Z", &created);
        assert_eq!(read, ["20261122", "20261123"]);
        let read = days("2026-11-22T07:00:00Z", "2026-11-22T08:00:00Z", &created);
        assert_eq!(read, ["20261122"], "it has begun nowhere");
    }

    #[test]
    fn a_writer_whose_clocks_were_put_forward_today_begins_the_next_day_an_hour_early() {
        let created = [("20260329", "2026-03-29T00:00:02Z")];
        let read = days("2026-03-29T22:30:00Z", "2026-03-29T23:10:00Z", &created);
        assert_eq!(read, ["20260329", "20260330"]);
    }
}
