//! How many different canaries an episode has affected.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// A canary that was planned so long before the oldest affected one of the window is not reported again.
const LEFT_THE_WINDOW: Duration = Duration::from_hours(1);

/// The number of different canaries that an episode has affected. Conditions report the same canary for as
/// long as it is in their window.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AffectedCanaries {
    /// Those that are not reported any more.
    settled: usize,
    /// Those that may be reported again.
    recent: BTreeSet<TraceId>,
    /// A previous run has counted the canaries that were planned up to this instant.
    counted_before: Option<Timestamp>,
    /// When the last of all was planned.
    last: Option<Timestamp>,
}

impl AffectedCanaries {
    /// Takes over what a previous run counted, and when the last of them was planned.
    #[must_use]
    pub const fn restored(count: usize, last: Option<Timestamp>) -> Self {
        Self { settled: count, recent: BTreeSet::new(), counted_before: last, last }
    }

    /// Counts the canaries of `reported`, oldest first, that were planned at `from` or later.
    pub(super) fn add(&mut self, reported: &[TraceId], from: Timestamp) {
        let is_new = |id: &&TraceId| {
            id.planned_at() >= from && self.counted_before.is_none_or(|last| id.planned_at() > last)
        };
        let new: Vec<TraceId> = reported.iter().filter(is_new).copied().collect();
        self.last = self.last.max(new.iter().map(|id| id.planned_at()).max());
        self.recent.extend(new);
        if let Some(oldest) = reported.first() {
            let gone = oldest.planned_at() - LEFT_THE_WINDOW;
            while self.recent.first().is_some_and(|id| id.planned_at() < gone) {
                self.recent.pop_first();
                self.settled += 1;
            }
        }
    }

    /// Takes over what another episode has counted and may still be reported.
    pub(super) fn join(&mut self, other: &Self, from: Timestamp) {
        let others: Vec<TraceId> = other.recent.iter().copied().collect();
        self.add(&others, from);
    }

    /// When the last of them was planned.
    #[must_use]
    pub const fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.settled + self.recent.len()
    }
}
