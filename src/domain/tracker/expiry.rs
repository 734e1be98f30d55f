//! How long a trace is kept open. Decided once, when it is first tracked.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Tracker};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;

/// A time for each of some traces.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    of: BTreeMap<TraceId, Timestamp>,
    in_order: BTreeSet<(Timestamp, TraceId)>,
}

impl Deadlines {
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

    /// The trace whose time comes first.
    pub(super) fn first(&self) -> Option<(Timestamp, TraceId)> {
        self.in_order.first().copied()
    }

    /// Whether the time of a trace has come. That of one that has none has.
    pub(super) fn is_over(&self, id: TraceId, now: Timestamp) -> bool {
        self.of.get(&id).is_none_or(|at| *at <= now)
    }
}

impl Tracker {
    /// When a trace expires that was tracked from its beginning: a blind end stage may become visible within
    /// the grace after the deadline.
    pub(super) fn usual_expiry(&self, planned_at: Timestamp) -> Timestamp {
        planned_at + self.settings.give_up + self.settings.grace
    }

    /// When a trace expires that is tracked from `since` on.
    ///
    /// A process that takes over a trace long after it was planned has not polled for it yet, so it gets the
    /// same grace as a source that was blind. A trace that has its outcome gets no more time than it would
    /// have had.
    pub(super) fn expiry(&self, trace: &Trace, since: Timestamp) -> Timestamp {
        let usual = self.usual_expiry(trace.planned_at);
        match trace.ended {
            None => usual.max(since + self.settings.grace),
            Some(_) => usual,
        }
    }

    /// Draws what follows from time alone: traces expire, and copies of other processes are no longer awaited.
    pub(super) fn expire(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        while let Some((_, id)) = self.expiries.first().filter(|(at, _)| *at <= now) {
            self.consider(id, now, events);
            self.expiries.remove(id);
        }
        while let Some((_, id)) = self.other_copies_until.first().filter(|(at, _)| *at <= now) {
            self.other_copies_until.remove(id);
            self.consider(id, now, events);
        }
    }
}
