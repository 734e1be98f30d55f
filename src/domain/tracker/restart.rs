//! What outlives a restart: traces that the store remembers, and canaries that only their tag tells of.
//!
//! The counters of a new process begin at zero. So a trace that was counted before the restart is not counted again: it
//! keeps its judgement, and its arrival raises no bucket that has no count to go with it. See [`Hop::Inherited`].

use std::sync::Arc;

use super::{Event, Tracker};
use crate::domain::outcome::Outcome;
use crate::domain::sighting::WantedTrace;
use crate::domain::tag::{Purpose, Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;
use crate::domain::trace::{Hop, Judgement, Origin, Put, Trace};

impl Tracker {
    /// Takes over the traces that a store remembers: before anything is applied, or as soon as the store can be read.
    /// What is known already stays as it is.
    ///
    /// Each must have as many stages as the topology. Those of tenants that are not configured any more are dropped.
    pub fn restore(&mut self, traces: impl IntoIterator<Item = Trace>, now: Timestamp) {
        self.latest_now = self.latest_now.max(now);
        let unsaved = std::mem::take(&mut self.unsaved);
        let forgotten = std::mem::take(&mut self.forgotten);
        for mut trace in traces {
            let known = self.open.contains_key(&trace.id()) || self.finished.contains_key(&trace.id());
            // Tenants are numbered anew whenever the configuration changes; the tag is what stays.
            let tenant = self.topology.tenant_of(&trace.tag);
            let fits = trace.stages.len() == self.topology.stages().len();
            let Some(tenant) = tenant.filter(|_| fits && !known) else {
                continue;
            };
            trace.tenant = tenant;
            trace.origin = Origin::Restored;
            take_over(&mut trace);
            let over = self.is_complete(&trace, self.usual_expiry(trace.planned_at) <= now);
            let state = &mut self.tenants[usize::from(trace.tenant.0)];
            state.planned_at = state.planned_at.max(Some(trace.planned_at));
            if let Put::Accepted { at } = trace.put {
                state.accepted_at = state.accepted_at.max(Some(at));
            }
            let id = trace.id();
            self.recheck_again(&trace, now);
            self.follow(trace, now);
            if over {
                self.finish(id);
            }
        }
        // The store has these as they are.
        self.unsaved = unsaved;
        self.forgotten = forgotten;
    }

    /// Lets go of everything that is open, because time itself cannot be trusted any more: the system's clock was set.
    /// Traces without an outcome are unobserved, and no hop that is under way will ever be judged.
    pub fn abandon(&mut self, now: Timestamp) -> Vec<Event> {
        let now = now.max(self.latest_now);
        let mut events = Vec::new();
        let open: Vec<TraceId> = self.open.keys().copied().collect();
        for id in open {
            let Some(trace) = self.open.get_mut(&id).map(Arc::make_mut) else { continue };
            for visit in &mut trace.stages {
                if let Hop::Open | Hop::Overdue = visit.hop {
                    visit.hop = Hop::Unjudged;
                }
            }
            if trace.ended.is_none() {
                self.end(id, Outcome::Unobserved, now, &mut events);
            }
            self.finish(id);
        }
        events
    }

    /// The traces that changed since the last call, for the store, each with whether it is finished.
    pub fn take_unsaved(&mut self) -> Vec<(Arc<Trace>, bool)> {
        let ids = std::mem::take(&mut self.unsaved);
        let forgotten = std::mem::take(&mut self.forgotten);
        let find = |id: TraceId| {
            let open = self.open.get(&id).map(|trace| (trace.clone(), false));
            let finished = || self.finished.get(&id).or_else(|| forgotten.get(&id));
            let failed = || self.failures.iter().flatten().find(|trace| trace.id() == id);
            open.or_else(|| finished().or_else(failed).map(|trace| (trace.clone(), true)))
        };
        ids.into_iter().filter_map(find).collect()
    }

    /// Every trace that is remembered, each with whether it is finished: for a store that has lost count.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<Trace>, bool)> {
        let open = self.open.values().map(|trace| (trace.clone(), false));
        let failed = self.failures.iter().flatten().filter(|trace| !self.finished.contains_key(&trace.id()));
        open.chain(self.finished.values().chain(failed).map(|trace| (trace.clone(), true))).collect()
    }

    /// Follows a canary of ours that was planned before this process began and that no store remembers. Whether an
    /// earlier run counted it cannot be known, so it enters no latency series. Only a probe's canary is followed: what
    /// was sent for another purpose, or for one that we do not know, is not part of any schedule.
    pub(super) fn adopt(
        &mut self,
        tag: Tag,
        tenant: TenantId,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> bool {
        let planned_at = tag.trace.planned_at();
        let forgotten = self.usual_expiry(planned_at) <= now;
        let ours = tag.purpose() == Purpose::Probe
            && tag.instance == self.settings.instance
            && planned_at < self.began;
        if !ours || forgotten || self.in_flight >= self.settings.max_in_flight {
            return false;
        }
        let mut trace = Trace::new(tag, tenant, self.topology.stages().len(), Origin::Adopted);
        trace.put = Put::Accepted { at: planned_at };
        trace.judgement = Judgement::Unjudged;
        for visit in &mut trace.stages {
            visit.gap_since_poll = true;
            visit.hop = Hop::Inherited;
        }
        self.follow(trace, now);
        events.push(Event::Adopted { tenant, trace: tag.trace });
        true
    }

    /// Lets a trace that was seen a short while ago ride along in looks by id as it did before the restart, or a second
    /// copy that comes after it would not be found.
    fn recheck_again(&mut self, trace: &Trace, now: Timestamp) {
        let recent = WantedTrace { tag: trace.tag, planned_at: trace.planned_at };
        for stage in self.topology.stage_ids() {
            let Some(arrival) = &trace.visit(stage).arrival else { continue };
            let until = arrival.noticed_at + self.settings.recheck_for;
            if until > now {
                let source = self.topology.source_of(trace.tenant, stage);
                self.sources[source.0 as usize].seen(trace.id(), Some((until, recent)));
                self.changed.insert(source);
            }
        }
    }
}

/// Leaves behind what a trace was counted as before the restart. What comes of it must follow from what the store says
/// alone: it is not saved, and done again by the next process.
fn take_over(trace: &mut Trace) {
    if trace.ended.is_none() && trace.judgement == Judgement::Overdue {
        trace.judgement = Judgement::Slow;
    }
    for visit in &mut trace.stages {
        // While nobody looked, anything can have happened where it had not arrived.
        visit.gap_since_poll |= visit.arrival.is_none();
        if visit.hop == Hop::Overdue {
            visit.hop = Hop::Inherited;
        }
    }
}
