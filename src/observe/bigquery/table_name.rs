//! Which table a stage reads: one, or one a day.

use std::fmt;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Each of these stands once in the name of a date-sharded table.
const DAY_FIELDS: [&str; 3] = ["%Y", "%m", "%d"];

/// How far the clock of the writer, which names the day's table, may be ahead of ours.
const LEAD: Duration = Duration::from_mins(5);

/// Most days of which one query reads the tables. Each is billed 10 MB at least.
const MAX_DAYS: usize = 8;

const DAY: Duration = Duration::from_hours(24);

/// `project.dataset.table`, or `project.dataset.table_%Y%m%d` for a table of each day in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Its project.
    pub project: String,
    /// Its dataset.
    pub dataset: String,
    /// Its own name, with the fields of a day where there is a table for each.
    pub table: String,
}

/// The tables of some days, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) tables: Vec<TableName>,
    /// There are older days, too many to read.
    pub(super) is_cut: bool,
}

impl TableName {
    /// Reads `project.dataset.table`; the project may have a domain, as in `example.com:project`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '.');
        let (table, dataset, project) = (parts.next()?, parts.next()?, parts.next()?);
        let made_of = |part: &str, others: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
        };
        // No character that could end a quoted name in a query.
        let good = made_of(project, "-_.:") && made_of(dataset, "_") && made_of(table, "_-%");
        let name = Self { project: project.to_owned(), dataset: dataset.to_owned(), table: table.to_owned() };
        (good && (!name.is_sharded() || name.names_a_day())).then_some(name)
    }

    /// Whether there is a table for each day.
    #[must_use]
    pub fn is_sharded(&self) -> bool {
        self.table.contains('%')
    }

    fn names_a_day(&self) -> bool {
        let fields = DAY_FIELDS.iter().all(|field| self.table.matches(field).count() == 1);
        fields && self.table.matches('%').count() == DAY_FIELDS.len()
    }

    /// The table of the day of `at`.
    #[must_use]
    pub fn on(&self, at: Timestamp) -> Self {
        if self.is_sharded() {
            Self { table: at.strftime(&self.table), ..self.clone() }
        } else {
            self.clone()
        }
    }

    /// The tables in which a row may be that was written between `from` and `until`: just the one unless it is sharded.
    pub(super) fn between(&self, from: Timestamp, until: Timestamp) -> Days {
        if !self.is_sharded() {
            return Days { tables: vec![self.clone()], is_cut: false };
        }
        let until = until.max(from) + LEAD;
        // Backwards, so that the newest days are kept. The last step may begin before `from`, but on its day.
        let first = self.on(from);
        let mut at = until;
        let mut tables = vec![self.on(at)];
        while tables.last() != Some(&first) && tables.len() < MAX_DAYS {
            at = at - DAY;
            tables.push(self.on(at));
        }
        tables.reverse();
        Days { is_cut: tables.first() != Some(&first), tables }
    }

    /// The table of the day before that of `at`.
    pub(super) fn day_before(&self, at: Timestamp) -> Self {
        self.on(at - DAY)
    }
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

    fn days(from: &str, until: &str) -> Vec<String> {
        let name = TableName::parse("p.d.events_%Y%m%d").unwrap();
        name.between(at(from), at(until)).tables.into_iter().map(|name| name.table).collect()
    }

    #[test]
    fn a_table_name_has_three_parts_and_nothing_that_could_end_a_quote() {
        assert_eq!(TableName::parse("example.com:p.d.t").unwrap().to_string(), "example.com:p.d.t");
        for bad in ["d.t", "p..t", "p.d.t`; DROP", "", "p.d.t u"] {
            assert_eq!(TableName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_fields_of_a_sharded_table_make_a_day() {
        assert!(TableName::parse("p.d.events_%Y_%m_%d_raw").unwrap().is_sharded());
        for bad in
            ["p.d.e_%Y%m", "p.d.e_%Y%m%d%H", "p.d.e_%Y%m%d%d", "p.d.e_%y%m%d", "p.d_%Y%m%d.e", "p.d.e%"]
        {
            assert_eq!(TableName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn both_days_are_read_around_midnight() {
        assert_eq!(days("2026-11-22T10:00:00Z", "2026-11-22T12:00:00Z"), ["events_20261122"]);
        let both = ["events_20261122", "events_20261123"];
        assert_eq!(days("2026-11-22T23:00:00Z", "2026-11-23T00:10:00Z"), both);
        assert_eq!(days("2026-11-22T23:50:00Z", "2026-11-22T23:57:00Z"), both, "the writer may be ahead");
    }

    #[test]
    fn a_month_that_ends_is_followed_by_the_next() {
        assert_eq!(
            days("2028-02-28T23:30:00Z", "2028-03-01T00:30:00Z"),
            ["events_20280228", "events_20280229", "events_20280301"]
        );
    }

    #[test]
    fn more_days_than_are_read_are_cut() {
        let name = TableName::parse("p.d.events_%Y%m%d").unwrap();
        let days = name.between(at("2026-01-01T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        assert_eq!((days.tables.len(), days.is_cut), (MAX_DAYS, true));
        assert_eq!(days.tables.last().unwrap().table, "events_20261122");
    }

    #[test]
    fn a_plain_table_is_the_same_on_every_day() {
        let name = TableName::parse("p.d.t").unwrap();
        let days = name.between(at("2026-01-01T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        assert_eq!(days, Days { tables: vec![name], is_cut: false });
    }
}
