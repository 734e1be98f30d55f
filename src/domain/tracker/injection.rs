//! What the tracker knows about a tenant's injection.

use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;

/// How a tenant's injection is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InjectionState {
    /// For when the latest canary was planned; `None` before the first one.
    pub(super) planned_at: Option<Timestamp>,
    /// When a put was last accepted; `None` before the first time.
    pub(super) accepted_at: Option<Timestamp>,
    /// When puts began to be refused, and why the last one was; `None` if the last one was accepted.
    pub(super) refused_since: Option<(Timestamp, ForeignText)>,
    /// How many canaries were planned but never sent, since the start.
    pub(super) missed_count: u64,
    /// When a canary was last missed; `None` if none was.
    pub(super) missed_at: Option<Timestamp>,
}

impl InjectionState {
    pub(super) fn record_accepted(&mut self, now: Timestamp) {
        self.accepted_at = Some(now);
        self.refused_since = None;
    }

    pub(super) fn record_refused(&mut self, reason: ForeignText, now: Timestamp) {
        let since = self.refused_since.as_ref().map_or(now, |(since, _)| *since);
        self.refused_since = Some((since, reason));
    }

    pub(super) fn record_missed(&mut self, count: u64, now: Timestamp) {
        self.missed_count = self.missed_count.saturating_add(count);
        self.missed_at = Some(now);
    }
}
