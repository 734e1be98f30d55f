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
    /// A previous run has counted every canary up to this one.
    counted_before: Option<Timestamp>,
}

impl AffectedCanaries {
    /// Takes over what a previous run counted, and when the last of them was planned.
    #[must_use]
    pub const fn restored(count: usize, last: Option<Timestamp>) -> Self {
        Self { settled: count, recent: BTreeSet::new(), counted_before: last }
    }

    /// Counts the canaries of `reported`, oldest first, that were planned at `from` or later.
    pub(super) fn add(&mut self, reported: &[TraceId], from: Timestamp) {
        let is_new = |id: &&TraceId| {
            id.planned_at() >= from && self.counted_before.is_none_or(|last| id.planned_at() > last)
        };
        let new: Vec<TraceId> = reported.iter().filter(is_new).copied().collect();
        self.recent.extend(new);
        if let Some(oldest) = reported.first() {
            let gone = oldest.planned_at() - LEFT_THE_WINDOW;
            while self.recent.first().is_some_and(|id| id.planned_at() < gone) {
                self.recent.pop_first();
                self.settled += 1;
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.settled + self.recent.len()
    }
}
