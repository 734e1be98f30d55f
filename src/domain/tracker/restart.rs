//! What outlives a restart: traces that the store kept, and canaries that are known only by their tag.
//!
//! The counters of a new process start at 0. So a trace that was counted before the restart is not counted
//! again: it keeps its judgement, and its arrival raises no bucket without a count to go with it. See
//! [`Hop::Inherited`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, LearnedSchema, SeenSource, Tracker, Violation};
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::plan::Slot;
use crate::domain::tag::{Purpose, Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;
use crate::domain::trace::{Hop, Judgement, Origin, Put, Trace, Visit};

/// After this time, a source may have dropped records that were never read. Half of the 24 hours that a
/// Kinesis stream keeps at least (Kinesis API reference, IncreaseStreamRetentionPeriod); S3 lifecycles and
/// log groups keep a day at least.
const SHORTEST_RETENTION: Duration = Duration::from_secs(12 * 3_600);

/// What the store kept of previous runs.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Traces, oldest first.
    pub traces: Vec<Trace>,
    /// Isolation violations; their tenants and stages must be those of the topology.
    pub violations: Vec<Violation>,
    /// Schemas of sources, whether they are still configured or not.
    pub schemas: Vec<LearnedSchema>,
    /// Sources at which tenants' canaries were found.
    pub seen: Vec<SeenSource>,
    /// Those of the traces that the store has as open. Those of them that are over by now finish again. The others have
    /// finished if they have an outcome, and stay so.
    pub open: HashSet<TraceId>,
}

impl From<Vec<Trace>> for Restored {
    fn from(traces: Vec<Trace>) -> Self {
        Self { traces, ..Self::default() }
    }
}

impl Tracker {
    /// Takes over what a previous run left: before anything is applied, or as soon as the store can be read.
    /// What is known already stays as it is.
    ///
    /// Each trace must have the stages of the topology, or of one that it succeeded. Traces of tenants that are no
    /// longer configured are dropped.
    pub fn restore(&mut self, restored: impl Into<Restored>, now: Timestamp) -> Vec<Event> {
        let Restored { traces, violations, schemas, seen, open } = restored.into();
        self.advance(now);
        let unanswered: Vec<TraceId> =
            traces.iter().filter(|trace| trace.put == Put::Planned).map(Trace::id).collect();
        // The store has these as they are.
        let outbox = std::mem::take(&mut self.outbox);
        for trace in traces {
            self.restore_trace(trace, &open, now);
        }
        let of_restored = std::mem::replace(&mut self.outbox, outbox);
        self.outbox.take_finished(of_restored, &open);
        // After the outbox is back: what these become is new to the store.
        let mut events = Vec::new();
        self.give_up_old(now, &mut events);
        for id in unanswered {
            self.judge_copies_that_overtook_the_answer(id, now, &mut events);
        }
        self.leaks.restore(violations, &self.topology);
        for seen in seen {
            let map = &self.topology;
            let source = map.source_ids().find(|id| {
                let source = map.source(*id);
                source.name == seen.source && map.stage(source.stage).name == seen.stage
            });
            let tenant = self.topology.tenant_by_name(&seen.tenant);
            if let Some((source, tenant)) = source.zip(tenant) {
                let at = self.sources[source].seen.entry(tenant).or_insert(seen.at);
                *at = seen.at.min(*at);
            }
        }
        events.extend(self.schemas.restore(&self.topology, &schemas, now));
        events
    }

    /// Gives up traces so old that their sources may have dropped what would show them: a poll that does not
    /// find them proves nothing.
    fn give_up_old(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        let is_old =
            |trace: &&Arc<Trace>| trace.ended.is_none() && now.since(trace.planned_at) > SHORTEST_RETENTION;
        let old: Vec<TraceId> = self.open.values().filter(is_old).map(|trace| trace.id()).collect();
        for id in old {
            self.end(id, Outcome::Unobserved(UnobservedReason::Blind), now, events);
            self.count(id, events);
            self.finish(id);
        }
    }

    fn restore_trace(&mut self, mut trace: Trace, open: &HashSet<TraceId>, now: Timestamp) {
        // Tenants are numbered by the configuration; the tag is what stays.
        let tenant = self.topology.tenant_of(&trace.tag);
        let stages = self.topology.stages().len();
        let fits = trace.stages.len() <= stages;
        let may_follow =
            |tenant: &TenantId| fits && !self.topology.is_gone(*tenant) && !self.is_known(trace.id());
        let Some(tenant) = tenant.filter(may_follow) else {
            return;
        };
        trace.stages.resize(stages, Visit::default());
        trace.tenant = tenant;
        if trace.origin == Origin::Planned {
            trace.origin = Origin::Restored;
        }
        let is_open = trace.ended.is_none() && trace.arrival(self.topology.end()).is_none();
        if trace.origin == Origin::Restored && trace.judgement == Judgement::Unjudged && is_open {
            // An earlier version did not keep that it was adopted.
            trace.origin = Origin::Adopted;
        }
        take_over(&mut trace);
        // One that has finished is not finished again, whatever stages and deadlines there are now.
        let has_finished = trace.ended.is_some() && !open.contains(&trace.id());
        let over = has_finished || self.is_complete(&trace, self.usual_expiry(trace.planned_at) <= now);
        let state = &mut self.injections[usize::from(trace.tenant.0)];
        state.planned_at = state.planned_at.max(Some(trace.planned_at));
        if let Put::Accepted { at } = trace.put {
            // The clock may have been set back since.
            state.restore_accepted(trace.log_group, at.min(now));
        }
        let id = trace.id();
        self.recheck_again(&trace, now);
        self.follow(trace, now);
        self.resume_checks(id, now);
        if over {
            self.finish(id);
        }
    }

    /// A slot comes whose canary is known. If a previous run sent it, the clock was set back since then, and nothing is
    /// sent at this time.
    pub(super) fn comes_again(
        &mut self,
        id: TraceId,
        tenant: TenantId,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        if self.trace(id).is_some_and(|known| known.origin == Origin::Restored) {
            self.injections[usize::from(tenant.0)].record_missed(1, now);
            events.push(Event::Missed { tenant, count: 1 });
        }
    }

    /// Gives up everything that is open, because the system's clock was set. Traces without an outcome are
    /// unobserved, and hops under way are never judged.
    pub fn abandon(&mut self, now: Timestamp) -> Vec<Event> {
        self.give_up_all(UnobservedReason::ClockStepped, now)
    }

    /// Gives up everything that is open, because the process ends and keeps no store: the outcome of each slot is
    /// counted once, and what became of it after this is shown by a successor.
    pub fn handover(&mut self, now: Timestamp) -> Vec<Event> {
        self.give_up_all(UnobservedReason::HandedOver, now)
    }

    fn give_up_all(&mut self, reason: UnobservedReason, now: Timestamp) -> Vec<Event> {
        let now = now.max(self.latest_now);
        let mut events = Vec::new();
        let open: Vec<TraceId> = self.open.keys().copied().collect();
        for id in open {
            let Some(trace) = self.open.get_mut(&id).map(Arc::make_mut) else { continue };
            for visit in &mut trace.stages {
                if visit.arrival.is_none() || matches!(visit.hop, Hop::Open | Hop::Overdue) {
                    visit.hop = Hop::Unjudged;
                }
            }
            if trace.ended.is_none() {
                self.end(id, Outcome::Unobserved(reason), now, &mut events);
            }
            self.count(id, &mut events);
            self.finish(id);
        }
        events
    }

    /// Adopts a canary of ours that was planned before this process began and is not in the store. A previous
    /// run has counted it, or counts it when it stops, so it enters no latency series. It is ours if a run of
    /// this name sent it, or one by this plan: a container that is replaced gets another host name. Canaries
    /// with another purpose than probe are not part of a schedule and are not adopted.
    pub(super) fn adopt(
        &mut self,
        tag: Tag,
        tenant: TenantId,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> bool {
        let planned_at = tag.trace.planned_at();
        let forgotten = self.usual_expiry(planned_at) <= now;
        let is_earlier =
            !self.topology.is_gone(tenant) && tag.purpose() == Purpose::Probe && planned_at < self.began;
        if !is_earlier || forgotten || self.in_flight >= self.settings.max_in_flight {
            return false;
        }
        let slot = self.slot_of(tag.trace, tenant);
        if slot.is_none() && !tag.instance.has_same_name_bits(self.settings.instance) {
            return false;
        }
        let mut trace = Trace::new(tag, tenant, self.topology.stages().len(), Origin::Adopted);
        trace.log_group = slot.map(|slot| slot.log_group(self.topology.tenant(tenant).log_groups.len()));
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

    /// The slot of the tenant's plan with this trace id, under any of the keys.
    fn slot_of(&self, trace: TraceId, tenant: TenantId) -> Option<Slot> {
        let tenant = self.topology.tenant(tenant);
        let mut plans = self.keys.as_ref()?.plans(tenant.code, tenant.interval);
        plans.find_map(|plan| plan.find(trace))
    }

    /// Lists a trace that was seen shortly before the restart in polls by id again, so that a later second
    /// copy is found.
    fn recheck_again(&mut self, trace: &Trace, now: Timestamp) {
        for stage in self.topology.stage_ids() {
            let Some(arrival) = &trace.visit(stage).arrival else { continue };
            let until = arrival.noticed_at + self.settings.recheck_for;
            if until > now {
                let source = self.topology.source_of(trace.tenant, stage);
                self.sources.stop_waiting(source, trace.id(), None, Some((until, trace.wanted())));
            }
        }
    }
}

/// Marks what was counted before the restart, so that it is not counted again. This depends on the stored
/// trace alone: it is not saved, and the next process does it again.
fn take_over(trace: &mut Trace) {
    if trace.ended.is_none() && trace.judgement == Judgement::Overdue {
        trace.judgement = Judgement::Slow;
    }
    for visit in &mut trace.stages {
        // It may have arrived unobserved while no process polled.
        visit.gap_since_poll |= visit.arrival.is_none();
        if visit.hop == Hop::Overdue {
            visit.hop = Hop::Inherited;
        }
    }
}
