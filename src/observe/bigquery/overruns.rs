//! Polls of clustered tables that were billed more than a poll may be.
//!
//! A dry run cannot say what a query on a clustered table is billed, so such a table is not refused before it
//! was queried. Its own polls decide: after [`TOLERATED`] that were billed too much it is refused, and one
//! more poll every [`PAUSE`] shows whether that is still so.

use std::time::Duration;

use super::BigQuery;
use super::settings::Settings;
use crate::domain::sighting::FailureKind;
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;

/// Polls in a row that may be billed too much. One may be chance: BigQuery sorts what was written only after
/// a while.
const TOLERATED: u32 = 2;

/// Queries in a row that were not answered and count as billed too much.
const UNANSWERED: u32 = 5;

/// How long the table is then refused.
const PAUSE: Duration = Duration::from_hours(6);

/// Queries in a row that were billed too much.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Overruns {
    in_a_row: u32,
    /// What the last of them was billed.
    bytes: u64,
    ended_at: Timestamp,
    /// Queries in a row that may have been billed too much and were not answered.
    unanswered: u32,
}

impl Overruns {
    /// Takes what a query that ended at `now` was billed.
    pub(super) fn take(&mut self, bytes: u64, limit: u64, now: Timestamp) {
        let in_a_row = if bytes > limit { self.in_a_row.saturating_add(1) } else { 0 };
        *self = Self { in_a_row, bytes, ended_at: now, unanswered: 0 };
    }

    /// Takes that a query that may have been billed for so much, which is too much, was not answered. One may
    /// be chance, such as a connection that was cut.
    pub(super) fn give_up(&mut self, bytes: u64, now: Timestamp) {
        self.unanswered += 1;
        if self.unanswered >= UNANSWERED {
            *self = Self { in_a_row: self.in_a_row.max(TOLERATED), bytes, ended_at: now, unanswered: 0 };
        }
    }

    /// Until when the table is refused.
    fn refused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.ended_at + PAUSE;
        (self.in_a_row >= TOLERATED && now < until).then_some(until)
    }
}

impl BigQuery {
    /// Fails if polls were billed too much of late and the next one may be, too.
    pub(super) fn check_overruns(&self, now: Timestamp) -> Result<(), ObserveError> {
        let limit = self.settings.max_bytes_billed;
        let may_exceed = self.known.as_ref().is_some_and(|known| known.estimate > limit);
        let overruns = self.ledger.entry().overruns;
        let Some(until) = overruns.refused_until(now).filter(|_| may_exceed) else { return Ok(()) };
        let why = too_much(&self.settings, overruns.bytes);
        let text = format!("{why}; the next poll is made at {} UTC", until.strftime("%H:%M"));
        Err(ObserveError::new(FailureKind::OverBudget, text))
    }
}

/// What a poll that was billed too much says of the table.
pub(super) fn too_much(settings: &Settings, billed: u64) -> String {
    format!(
        "one poll of `{}` was billed {} MB, more than max_bytes_billed allows ({} MB): partition the table by time, or \
         bound the query with a predicate",
        settings.table,
        billed >> 20,
        settings.max_bytes_billed >> 20,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 100;

    fn t(hours: i64) -> Timestamp {
        Timestamp::from_secs(hours * 3_600)
    }

    /// Until when a table is refused at `now`, after polls that were billed so much.
    fn refused(billed: &[u64], now: Timestamp) -> Option<Timestamp> {
        let mut overruns = Overruns::default();
        billed.iter().for_each(|bytes| overruns.take(*bytes, LIMIT, t(0)));
        overruns.refused_until(now)
    }

    #[test]
    fn two_polls_in_a_row_that_are_billed_too_much_refuse_the_table_for_six_hours() {
        assert_eq!(refused(&[101], t(0)), None);
        assert_eq!(refused(&[101, 100, 101], t(0)), None, "a cheap one was between them");
        assert_eq!(refused(&[101, 101], t(5)), Some(t(6)));
        assert_eq!(refused(&[101, 101], t(6)), None);
    }

    #[test]
    fn five_queries_in_a_row_that_are_not_answered_refuse_the_table_as_well() {
        let mut overruns = Overruns::default();
        for _ in 1..UNANSWERED {
            overruns.give_up(101, t(0));
        }
        assert_eq!(overruns.refused_until(t(0)), None);
        overruns.give_up(101, t(0));
        assert_eq!(overruns.refused_until(t(0)), Some(t(6)));
    }

    #[test]
    fn after_that_one_poll_that_is_billed_too_much_refuses_it_again() {
        assert_eq!(refused(&[101, 101, 101], t(1)), Some(t(6)));
        assert_eq!(refused(&[101, 101, 10], t(1)), None);
    }
}
