//! Until when a trace is waited for.
//!
//! Decided once, when a trace is followed, and kept: whoever asks later gets the same answer.

use std::collections::{BTreeMap, BTreeSet};

use super::Tracker;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;

/// Until when each open trace is waited for.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    of: BTreeMap<TraceId, Timestamp>,
    in_order: BTreeSet<(Timestamp, TraceId)>,
}

impl Expiries {
    pub(super) fn insert(&mut self, id: TraceId, at: Timestamp) {
        self.remove(id);
        self.of.insert(id, at);
        self.in_order.insert((at, id));
    }

    pub(super) fn remove(&mut self, id: TraceId) {
        if let Some(at) = self.of.remove(&id) {
            self.in_order.remove(&(at, id));
        }
    }

    /// The one that is over first.
    pub(super) fn first(&self) -> Option<(Timestamp, TraceId)> {
        self.in_order.first().copied()
    }

    /// Whether a trace has been waited for long enough; so has one that nobody waits for.
    pub(super) fn is_over(&self, id: TraceId, now: Timestamp) -> bool {
        self.of.get(&id).is_none_or(|at| *at <= now)
    }
}

impl Tracker {
    /// Until when a trace is waited for by a process that was there from the beginning: a blind end stage may come back
    /// within the grace after the deadline.
    pub(super) fn usual_expiry(&self, planned_at: Timestamp) -> Timestamp {
        planned_at + self.settings.give_up + self.settings.grace
    }

    /// Until when a trace is waited for that is followed from `since` on.
    ///
    /// A process that takes over a trace long after it was planned has not had one look at it, and is as blind as a
    /// source that cannot be read: it is given the same grace, since the end stage may still tell. A trace whose outcome
    /// is out is worth no more time than it would have had.
    pub(super) fn expiry(&self, trace: &Trace, since: Timestamp) -> Timestamp {
        let usual = self.usual_expiry(trace.planned_at);
        match trace.ended {
            None => usual.max(since + self.settings.grace),
            Some(_) => usual,
        }
    }
}
