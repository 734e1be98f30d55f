//! What queries were billed, against the budget of a day.

use super::settings::Settings;
use crate::domain::sighting::FailureKind;
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;

const DAY_MILLIS: i64 = 86_400_000;

/// Bytes that were billed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bill {
    day: i64,
    /// On that day (UTC).
    bytes: u64,
    /// Not reported yet.
    unreported: u64,
    /// What the query may be billed for that was sent and not answered. It runs on when its answer is no
    /// longer awaited.
    pending: Option<u64>,
}

impl Bill {
    /// A query is sent that may be billed for so much at most.
    pub(super) fn open(&mut self, at_most: u64) {
        self.charge_most();
        self.pending = Some(at_most);
    }

    /// The query was billed for so much.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.unreported = self.unreported.saturating_add(bytes);
        self.pending = None;
    }

    /// The query did not run, or ended in an error, which is not billed (BigQuery pricing).
    pub(super) fn cancel(&mut self) {
        self.pending = None;
    }

    /// Charges a query that was given up, whose connection was cut, or whose answer does not say what it was
    /// billed, with the most that it may be billed for. Returns how much that is.
    pub(super) fn charge_most(&mut self) -> u64 {
        let most = self.pending.unwrap_or_default();
        self.charge(most);
        most
    }

    /// What was billed since this was last called.
    pub(super) fn take_unreported(&mut self) -> u64 {
        self.charge_most();
        std::mem::take(&mut self.unreported)
    }

    /// Fails when the day's budget is spent.
    pub(super) fn check_budget(
        &mut self,
        settings: &Settings,
        name: &str,
        now: Timestamp,
    ) -> Result<(), ObserveError> {
        let today = now.millis().div_euclid(DAY_MILLIS);
        if self.day != today {
            *self = Self { day: today, bytes: 0, ..*self };
        }
        let Some(budget) = settings.daily_bytes_billed.filter(|budget| self.bytes >= *budget) else {
            return Ok(());
        };
        let midnight = Timestamp::from_millis((today + 1) * DAY_MILLIS);
        let text = format!(
            "queries on `{name}` were billed {} MB today, and the budget of a day is {} MB; polling resumes at midnight UTC",
            self.bytes >> 20,
            budget >> 20
        );
        let error = ObserveError::new(FailureKind::OverBudget, text);
        Err(ObserveError { retry_after: Some(midnight.since(now)), ..error })
    }
}
