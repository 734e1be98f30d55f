//! What the queries on a table were billed. It outlasts the table's observer: one that replaces it, after a
//! reload, has no new budget of the day.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bill::Bill;
use super::overruns::Overruns;
use crate::domain::time::Timestamp;

/// The ledgers of all tables, as long as the process runs.
#[derive(Debug, Default)]
pub struct Ledgers(Mutex<HashMap<String, Ledger>>);

impl Ledgers {
    /// Returns the ledger of a table.
    pub(super) fn of(&self, table: &str) -> Ledger {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(table.to_owned()).or_default().clone()
    }
}

/// What the queries on one table were billed. Clones share it.
///
/// A mutex, because an observer that is replaced may have sent a query; it is held for no call.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<Entry>>);

impl Ledger {
    pub(super) fn entry(&self) -> MutexGuard<'_, Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) bill: Bill,
    pub(super) overruns: Overruns,
    /// What the query that was sent last may be billed for before it counts as an overrun.
    limit: u64,
}

impl Entry {
    /// A query is sent that is expected to be billed for so much at most.
    pub(super) fn open(&mut self, expected: u64, limit: u64, now: Timestamp) {
        self.give_up(now);
        self.bill.open(expected);
        self.limit = limit;
    }

    /// The query has ended. Where BigQuery does not say what it was billed, that counts as the most that was
    /// expected.
    pub(super) fn settle(&mut self, billed: Option<u64>, now: Timestamp) {
        let bytes = match billed {
            Some(bytes) => {
                self.bill.charge(bytes);
                bytes
            }
            None => self.bill.charge_most(),
        };
        self.overruns.take(bytes, self.limit, now);
    }

    /// Returns what was billed since this was last called. A query without an answer counts.
    pub(super) fn take_unreported(&mut self, now: Timestamp) -> u64 {
        self.give_up(now);
        self.bill.take_unreported()
    }

    /// The answer of the query that was sent last is no longer awaited.
    fn give_up(&mut self, now: Timestamp) {
        let most = self.bill.charge_most();
        if most > self.limit {
            self.overruns.give_up(most, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn an_observer_that_is_replaced_leaves_what_it_was_billed_to_the_next_one() {
        let all = Ledgers::default();
        let first = all.of("p.d.t");
        first.entry().open(100, 100, NOW);
        first.entry().settle(Some(70), NOW);
        // This one is never answered.
        first.entry().open(100, 100, NOW);
        drop(first);
        assert_eq!(all.of("p.d.t").entry().take_unreported(NOW), 170);
        assert_eq!(all.of("p.d.other").entry().take_unreported(NOW), 0);
    }
}
