//! Which table a stage reads: a single one, or one per day.

use std::fmt;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// The name of a date-sharded table contains each of these exactly once.
const DAY_FIELDS: [&str; 3] = ["%Y", "%m", "%d"];

/// How far the clock of the writer may be ahead of ours. The writer's clock decides into which day's table a
/// row goes.
const MAX_WRITER_CLOCK_LEAD: Duration = Duration::from_mins(5);

/// How far the local time of a writer may be ahead of UTC, which is UTC+14:00.
const AHEAD_OF_UTC: Duration = Duration::from_hours(14);

/// The largest number of daily tables that one query reads. BigQuery bills at least 10 MB for each (BigQuery
/// pricing).
const MAX_DAYS_PER_QUERY: usize = 8;

const DAY: Duration = Duration::from_hours(24);

/// The name of a table, `project.dataset.table`, or of date-sharded tables, `project.dataset.table_%Y%m%d`:
/// one for each day in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The id of the project.
    pub project: String,
    /// The id of the dataset.
    pub dataset: String,
    /// The id of the table; that of date-sharded tables contains `%Y`, `%m` and `%d`.
    pub table: String,
}

/// The tables that may contain the rows of a period.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TablesInRange {
    /// Oldest first. Not all of them need exist.
    pub(super) tables: Vec<TableName>,
    /// Whether tables of older days were left out, because the period has too many days.
    pub(super) is_truncated: bool,
}

impl TableName {
    /// Parses `project.dataset.table`. The project may have a domain, as in `example.com:project`. Returns
    /// `None` if a part is missing or has an invalid character, or if the table has some fields of a day but
    /// not each once.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '.');
        let (table, dataset, project) = (parts.next()?, parts.next()?, parts.next()?);
        let consists_of = |part: &str, extra_chars: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || extra_chars.contains(c))
        };
        // None of these characters can end a quoted name in a query.
        let parts_are_valid =
            consists_of(project, "-_.:") && consists_of(dataset, "_") && consists_of(table, "_-%");
        let name = Self { project: project.to_owned(), dataset: dataset.to_owned(), table: table.to_owned() };
        (parts_are_valid && (!name.is_sharded() || name.has_each_day_field_once())).then_some(name)
    }

    /// Whether there is one table per day.
    #[must_use]
    pub fn is_sharded(&self) -> bool {
        self.table.contains('%')
    }

    fn has_each_day_field_once(&self) -> bool {
        let has_each_once = DAY_FIELDS.iter().all(|field| self.table.matches(field).count() == 1);
        has_each_once && self.table.matches('%').count() == DAY_FIELDS.len()
    }

    /// Returns the table for the day of `at`; the single table unless it is sharded.
    #[must_use]
    pub fn table_on(&self, at: Timestamp) -> Self {
        if self.is_sharded() {
            Self { table: at.strftime(&self.table), ..self.clone() }
        } else {
            self.clone()
        }
    }

    /// Returns the tables that may contain a row that was written between `from` and `until`; just the single
    /// table unless it is sharded.
    pub(super) fn tables_between(&self, from: Timestamp, until: Timestamp) -> TablesInRange {
        if !self.is_sharded() {
            return TablesInRange { tables: vec![self.clone()], is_truncated: false };
        }
        let until = until.max(from) + MAX_WRITER_CLOCK_LEAD;
        // Goes backwards in time, so that the newest days are kept. The last step may go beyond `from`, but
        // not beyond its day.
        let first = self.table_on(from);
        let mut at = until;
        let mut tables = vec![self.table_on(at)];
        while tables.last() != Some(&first) && tables.len() < MAX_DAYS_PER_QUERY {
            at = at - DAY;
            tables.push(self.table_on(at));
        }
        tables.reverse();
        TablesInRange { is_truncated: tables.first() != Some(&first), tables }
    }

    /// Returns the table for the day before that of `at`.
    pub(super) fn table_on_day_before(&self, at: Timestamp) -> Self {
        self.table_on(at - DAY)
    }

    /// Returns the table for the newest day that has begun anywhere at `at`.
    pub(super) fn table_on_newest_day(&self, at: Timestamp) -> Self {
        self.table_on(at + AHEAD_OF_UTC)
    }
}

/// Whether the day after that of `at` begins within an hour: the clocks of a writer whose day is that of UTC
/// may have been put forward today.
pub(super) fn is_last_hour(at: Timestamp) -> bool {
    start_of_day(at + Duration::from_hours(1)) != start_of_day(at)
}

/// Whether the table for the day of `at` was created at a time at which that day had begun in a time zone
/// ahead of UTC, and not yet in UTC.
pub(super) fn is_created_ahead(at: Timestamp, created: Timestamp) -> bool {
    let start = start_of_day(at);
    (start - AHEAD_OF_UTC..start - MAX_WRITER_CLOCK_LEAD).contains(&created)
}

fn start_of_day(at: Timestamp) -> Timestamp {
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.micros().div_euclid(day).saturating_mul(day))
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn tables(from: &str, until: &str) -> Vec<String> {
        let name = TableName::parse("p.d.events_%Y%m%d").unwrap();
        name.tables_between(at(from), at(until)).tables.into_iter().map(|name| name.table).collect()
    }

    #[test]
    fn a_table_name_has_three_parts_and_no_character_that_ends_a_quoted_name() {
        assert_eq!(TableName::parse("example.com:p.d.t").unwrap().to_string(), "example.com:p.d.t");
        for bad in ["d.t", "p..t", "p.d.t`; DROP", "", "p.d.t u"] {
            assert_eq!(TableName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sharded_table_name_contains_year_month_and_day_once_each() {
        assert!(TableName::parse("p.d.events_%Y_%m_%d_raw").unwrap().is_sharded());
        for bad in
            ["p.d.e_%Y%m", "p.d.e_%Y%m%d%H", "p.d.e_%Y%m%d%d", "p.d.e_%y%m%d", "p.d_%Y%m%d.e", "p.d.e%"]
        {
            assert_eq!(TableName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn around_midnight_the_tables_of_both_days_are_read() {
        assert_eq!(tables("2026-11-22T10:00:00Z", "2026-11-22T12:00:00Z"), ["events_20261122"]);
        let both = ["events_20261122", "events_20261123"];
        assert_eq!(tables("2026-11-22T23:00:00Z", "2026-11-23T00:10:00Z"), both);
        assert_eq!(
            tables("2026-11-22T23:50:00Z", "2026-11-22T23:57:00Z"),
            both,
            "the writer's clock may be ahead"
        );
    }

    #[test]
    fn a_range_may_extend_into_the_next_month() {
        assert_eq!(
            tables("2028-02-28T23:30:00Z", "2028-03-01T00:30:00Z"),
            ["events_20280228", "events_20280229", "events_20280301"]
        );
    }

    #[test]
    fn a_range_of_too_many_days_keeps_the_newest() {
        let name = TableName::parse("p.d.events_%Y%m%d").unwrap();
        let range = name.tables_between(at("2026-01-01T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        assert_eq!((range.tables.len(), range.is_truncated), (MAX_DAYS_PER_QUERY, true));
        assert_eq!(range.tables.last().unwrap().table, "events_20261122");
    }

    #[test]
    fn a_table_is_ahead_if_it_was_created_when_its_day_had_begun_in_the_east_only() {
        let is_ahead = |created| is_created_ahead(at("2026-11-22T16:00:00Z"), at(created));
        assert!(is_ahead("2026-11-21T15:00:02Z"), "midnight at UTC+9");
        assert!(!is_ahead("2026-11-22T00:00:02Z"), "midnight in UTC");
        assert!(!is_ahead("2026-11-21T23:57:00Z"), "a clock that is ahead");
        assert!(!is_ahead("2026-11-22T08:00:02Z"), "midnight at UTC-8");
        assert!(!is_ahead("2026-11-01T00:00:00Z"), "created with all tables of the month");
    }

    #[test]
    fn a_table_that_is_not_sharded_is_the_same_on_every_day() {
        let name = TableName::parse("p.d.t").unwrap();
        let range = name.tables_between(at("2026-01-01T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        assert_eq!(range, TablesInRange { tables: vec![name], is_truncated: false });
    }
}
