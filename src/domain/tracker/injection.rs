//! What is known of a tenant's injection.

use std::sync::Arc;

use crate::domain::time::Timestamp;

/// How a tenant's injection is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InjectionState {
    /// When the last canary was planned.
    pub(super) planned_at: Option<Timestamp>,
    /// When the last put was accepted.
    pub(super) accepted_at: Option<Timestamp>,
    /// Since when no put has been accepted, and why the last one was not.
    pub(super) refusing: Option<(Timestamp, Arc<str>)>,
    pub(super) missed_count: u64,
    pub(super) missed_at: Option<Timestamp>,
}

impl InjectionState {
    pub(super) fn accepted(&mut self, now: Timestamp) {
        self.accepted_at = Some(now);
        self.refusing = None;
    }

    pub(super) fn refused(&mut self, reason: Arc<str>, now: Timestamp) {
        let since = self.refusing.as_ref().map_or(now, |(since, _)| *since);
        self.refusing = Some((since, reason));
    }

    pub(super) fn missed(&mut self, count: u64, now: Timestamp) {
        self.missed_count = self.missed_count.saturating_add(count);
        self.missed_at = Some(now);
    }
}
