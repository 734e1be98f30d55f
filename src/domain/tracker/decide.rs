//! Decides what follows for one trace: its hops, its judgement, its outcome.

use std::sync::Arc;

use super::namesake::COPY_COMES_WITHIN;
use super::{Event, Tracker, on_the_way};
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::tag::TraceId;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::topology::{HopRange, Role, StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Judgement, Origin, Trace};

impl Tracker {
    /// Draws every conclusion that the knowledge about a trace allows.
    pub(super) fn consider(&mut self, id: TraceId, now: Timestamp, events: &mut Vec<Event>) {
        let Some(shared) = self.open.get_mut(&id) else {
            return;
        };
        // Most polls change nothing of most traces. Those are not copied, although snapshots share them.
        let hops: Vec<_> = judge_hops(shared, &self.topology, events).collect();
        let threshold = shared.planned_at + self.settings.slo;
        let end_to_end = judge_end_to_end(shared, &self.topology, threshold, events);
        if !hops.is_empty() || end_to_end.is_some() {
            let trace = Arc::make_mut(shared);
            for (stage, hop) in hops {
                trace.stages[usize::from(stage.0)].hop = hop;
            }
            trace.judgement = end_to_end.unwrap_or(trace.judgement);
            self.outbox.note_changed(id);
        }
        let is_in_flight = self.open.get(&id).is_some_and(|trace| trace.ended.is_none());
        if is_in_flight && let Some(outcome) = self.outcome(id, now) {
            self.end(id, outcome, now, events);
        }
        self.count_unless_withheld(id, now, events);
        let expired = self.expiries.is_over(id, now);
        if self.open.get(&id).is_some_and(|trace| self.is_complete(trace, expired)) {
            if expired {
                self.note_unobserved_hops(id, events);
            }
            self.close(id, events);
        }
    }

    /// Reports the stages of a trace at which it expires without a proof. A trace that closes before that expects nothing
    /// of the stages that are left.
    fn note_unobserved_hops(&self, id: TraceId, events: &mut Vec<Event>) {
        let Some(trace) = self.open.get(&id).filter(|trace| trace.taken()) else { return };
        let open = self.topology.stage_ids().filter(|stage| !self.is_settled(trace, *stage));
        events.extend(open.map(|hop| Event::HopUnobserved { tenant: trace.tenant, hop, trace: id }));
    }

    /// When a trace passes the target of the hop to a stage, if a poll then would prove something.
    pub(super) fn hop_due(&self, trace: &Trace, stage: StageId) -> Option<Timestamp> {
        self.hop_target_at(trace, stage).filter(|_| trace.visit(stage).hop == Hop::Open)
    }

    /// When a trace passes the target of the hop to a stage, once it has begun.
    pub(super) fn hop_target_at(&self, trace: &Trace, stage: StageId) -> Option<Timestamp> {
        let target = self.topology.stage(stage).target?;
        Some(trace.hop_start(&self.topology, stage)?.latest + target)
    }

    /// The outcome, if it is known by now.
    fn outcome(&self, id: TraceId, now: Timestamp) -> Option<Outcome> {
        let trace = self.open.get(&id)?;
        let end = self.topology.end();
        let deadline = trace.planned_at + self.settings.give_up;
        let expired = self.expiries.is_over(id, now);
        if let Some(arrived) = trace.arrival(end) {
            return Some(if arrived.earliest > deadline { Outcome::Late } else { Outcome::Delivered });
        }
        let dead = |stage: &StageId| {
            self.topology.stage(*stage).role == Role::DeadLetter && trace.visit(*stage).arrival.is_some()
        };
        if let Some(stage) = self.topology.stage_ids().find(dead) {
            // Part of a dead-lettered batch may have got through before, so the end stage has to be read past
            // it.
            let by_then = self.has_seen(trace.tenant, end)
                && trace.arrival(stage).is_some_and(|letter| trace.visit(end).absent_at(letter.latest));
            return (by_then || expired).then_some(Outcome::DeadLettered(stage));
        }
        // If the put was never answered, absence does not show whether the canary ever entered the pipeline.
        if !trace.taken() {
            return expired.then_some(Outcome::Unobserved(UnobservedReason::AmbiguousPut));
        }
        if !trace.visit(end).absent_at(deadline) {
            let reason = match trace.origin {
                Origin::Adopted => UnobservedReason::HandedOver,
                Origin::Planned | Origin::Restored if trace.visit(end).withheld => {
                    UnobservedReason::Unreadable
                }
                Origin::Planned | Origin::Restored => UnobservedReason::Blind,
            };
            return expired.then_some(Outcome::Unobserved(reason));
        }
        // It is lost, unless the end stage has never shown this tenant's canaries. The stages after the last
        // one that had it tell where. The next poll of a source that can be read will prove something, so it
        // is worth waiting for; a blind source is not.
        let path = self.topology.main_path();
        let after =
            path.iter().rposition(|stage| trace.visit(*stage).arrival.is_some()).map_or(0, |at| at + 1);
        let unproven = |stage: &&StageId| {
            !trace.visit(**stage).absent_at(deadline) || !self.has_seen(trace.tenant, **stage)
        };
        let dead_letters =
            self.topology.stage_ids().filter(|id| self.topology.stage(*id).role == Role::DeadLetter);
        let open_ends: Vec<_> = path[after..].iter().take_while(unproven).copied().collect();
        // A dead-letter stage is rarely seen at all; whether it was read is what counts.
        let is_read = |stage: &StageId| {
            let source = &self.sources[self.topology.source_of(trace.tenant, *stage)];
            trace.visit(*stage).absent_at(deadline) || source.has_answered_since(deadline)
        };
        let open_dead = dead_letters.filter(|stage| !is_read(stage));
        let awaited = |stage: &StageId| {
            let state = &self.sources[self.topology.source_of(trace.tenant, *stage)];
            match self.topology.stage(*stage).role {
                Role::DeadLetter => state.can_be_read(),
                Role::Way | Role::End => state.may_prove(trace.tenant),
            }
        };
        if !expired && open_ends.iter().copied().chain(open_dead).any(|stage| awaited(&stage)) {
            return None;
        }
        if !self.has_seen(trace.tenant, end) {
            return Some(Outcome::Unobserved(UnobservedReason::NeverSeen));
        }
        let last = path[after + open_ends.len()];
        Some(Outcome::Lost(HopRange { first: path[after], last }))
    }

    /// Whether a tenant's canaries were ever found at a stage.
    pub(super) fn has_seen(&self, tenant: TenantId, stage: StageId) -> bool {
        self.sources[self.topology.source_of(tenant, stage)].has_seen(tenant)
    }

    /// Gives a trace its outcome.
    pub(super) fn end(&mut self, id: TraceId, outcome: Outcome, now: Timestamp, events: &mut Vec<Event>) {
        let Some(trace) = self.open.get_mut(&id).map(Arc::make_mut) else {
            return;
        };
        let tenant = trace.tenant;
        trace.ended = Some((outcome.clone(), now));
        self.outbox.note_changed(id);
        self.in_flight -= 1;
        let waited = self.settings.give_up;
        match &outcome {
            Outcome::Lost(_) | Outcome::DeadLettered(_) => match trace.judgement {
                Judgement::Pending => {
                    trace.judgement = Judgement::Overdue;
                    events.push(Event::GaveUp { tenant, trace: id, waited, counted: false });
                }
                Judgement::Overdue => events.push(Event::GaveUp { tenant, trace: id, waited, counted: true }),
                // Arrived, or closed before a restart.
                Judgement::Good | Judgement::Slow | Judgement::Unjudged => {}
            },
            Outcome::Unobserved(_) => {
                if trace.judgement == Judgement::Overdue {
                    events.push(Event::GaveUp { tenant, trace: id, waited, counted: true });
                }
            }
            Outcome::Delivered | Outcome::Late | Outcome::Refused(_) => {}
        }
        self.uncounted.insert(id);
        if self.may_be_shared(id) {
            self.other_copies_until.insert(id, now + COPY_COMES_WITHIN);
        }
        self.count_unless_withheld(id, now, events);
    }

    fn count_unless_withheld(&mut self, id: TraceId, now: Timestamp, events: &mut Vec<Event>) {
        if self.open.get(&id).is_some_and(|trace| !self.is_withheld(trace, now)) {
            self.count(id, events);
        }
    }

    /// Reports the outcome of a trace, which is counted then, unless that was done.
    pub(super) fn count(&mut self, id: TraceId, events: &mut Vec<Event>) {
        let Some(trace) = self.open.get(&id).filter(|_| self.uncounted.contains(&id)) else { return };
        let Some((outcome, _)) = trace.ended.clone() else { return };
        let adopted = trace.origin == Origin::Adopted || self.is_left_to_predecessor(trace);
        events.push(Event::Ended { tenant: trace.tenant, trace: id, outcome, adopted });
        self.uncounted.remove(&id);
        self.other_copies_until.remove(id);
    }

    /// Whether the outcome is a predecessor's to count, because that sent the slot too. A probe of another name counts
    /// for itself, and so does a successor.
    fn is_left_to_predecessor(&self, trace: &Trace) -> bool {
        self.may_be_shared(trace.id())
            && trace.other_senders().iter().any(|sender| self.is_predecessor(*sender))
    }

    /// Whether a predecessor may send a slot too, and count it.
    fn may_be_shared(&self, id: TraceId) -> bool {
        !self.settings.is_kept && id.planned_at() < self.began + self.settings.handover
    }

    /// Whether it is not known yet if a predecessor sent the slot too: its copy may have been put later than ours, or a
    /// poll of the end stage found ours before one of an earlier stage has shown the other's. Once none of this name has
    /// shown up for our first slots, there is none to wait for.
    fn is_withheld(&self, trace: &Trace, now: Timestamp) -> bool {
        let is_read = |stage: &StageId| self.is_settled(trace, *stage);
        let planned_at = trace.planned_at;
        trace.origin != Origin::Adopted
            && self.may_be_shared(trace.id())
            && !self.is_left_to_predecessor(trace)
            && (planned_at < self.began + self.missed_intervals() || self.has_predecessor(planned_at))
            && !(self.other_copies_until.is_over(trace.id(), now)
                && self.topology.main_path().iter().all(is_read))
    }

    /// Whether a trace has its outcome and nothing more is expected of it: it expired, or every stage is
    /// settled and it is known who counts it.
    pub(super) fn is_complete(&self, trace: &Trace, expired: bool) -> bool {
        let Some((outcome, _)) = &trace.ended else {
            return false;
        };
        match outcome {
            Outcome::Refused(_) | Outcome::DeadLettered(_) => return true,
            Outcome::Unobserved(reason) if *reason != UnobservedReason::NeverSeen => return true,
            Outcome::Delivered | Outcome::Late | Outcome::Lost(_) | Outcome::Unobserved(_) => {}
        }
        let is_settled = |stage| self.is_settled(trace, stage);
        expired || !self.uncounted.contains(&trace.id()) && self.topology.stage_ids().all(is_settled)
    }

    /// Whether nothing more is expected of a trace at a stage.
    pub(super) fn is_settled(&self, trace: &Trace, stage: StageId) -> bool {
        let visit = trace.visit(stage);
        // Without an arrival, a hop is unjudged only if the trace was abandoned.
        visit.arrival.is_some()
            || visit.absent_at(trace.planned_at + self.settings.give_up)
            || visit.hop == Hop::Unjudged
            || !on_the_way(self.topology.stage(stage).role)
    }

    /// Closes the hops that did not happen, and moves the trace to the finished ones.
    fn close(&mut self, id: TraceId, events: &mut Vec<Event>) {
        let Some(trace) = self.open.get_mut(&id).map(Arc::make_mut) else {
            return;
        };
        let deadline = trace.planned_at + self.settings.give_up;
        let taken = trace.taken();
        for stage in self.topology.stage_ids() {
            let spec = self.topology.stage(stage);
            if !on_the_way(spec.role) {
                continue;
            }
            let begun = trace.hop_start(&self.topology, stage);
            let visit = &mut trace.stages[usize::from(stage.0)];
            // What another process counted of a canary that was adopted is not known.
            let is_inherited = visit.hop == Hop::Inherited && trace.origin != Origin::Adopted;
            if !is_inherited && !matches!(visit.hop, Hop::Open | Hop::Overdue) {
                continue;
            }
            // A hop that began shortly before the deadline may still be within its target then.
            let due = |begun: &Interval| deadline.max(begun.latest + spec.target.unwrap_or_default());
            let counted = is_inherited || visit.hop == Hop::Overdue;
            if visit.arrival.is_some() {
                if !is_inherited {
                    visit.hop = Hop::Skipped;
                }
            } else if let Some(begun) = begun.filter(|begun| taken && visit.absent_at(due(begun))) {
                let tenant = trace.tenant;
                let waited = (!is_inherited).then(|| deadline.since(begun.latest));
                let seen = self.sources[self.topology.source_of(tenant, stage)].has_seen(tenant);
                visit.hop = if seen { Hop::Missing } else { Hop::NeverSeen };
                events.push(if seen {
                    Event::HopMissing { tenant, hop: stage, trace: id, waited, counted }
                } else {
                    Event::HopNeverSeen { tenant, hop: stage, trace: id, waited, counted }
                });
            }
        }
        self.count(id, events);
        self.finish(id);
    }

    /// Moves a trace from the open ones to the finished ones.
    pub(super) fn finish(&mut self, id: TraceId) {
        let Some(trace) = self.open.remove(&id) else {
            return;
        };
        self.expiries.remove(id);
        // Polls by id include a trace that was given up for another `give_up`, in case it arrives after all.
        let recheck_until = match &trace.ended {
            Some((
                Outcome::Lost(_) | Outcome::Unobserved(_) | Outcome::Late | Outcome::DeadLettered(_),
                at,
            )) => Some(*at + self.settings.give_up).filter(|until| *until > self.latest_now),
            Some((Outcome::Delivered | Outcome::Refused(_), _)) | None => None,
        };
        let recent = recheck_until.map(|until| (until, trace.wanted()));
        for stage in self.topology.stage_ids() {
            let source = self.topology.source_of(trace.tenant, stage);
            if self.sources[source].waiting.contains(id) {
                let due = self.hop_target_at(&trace, stage);
                self.sources.stop_waiting(source, id, due, recent);
            }
        }
        self.outbox.note_finished(id);
        let leaked_at: Vec<_> = self.leaks.stages_of(id).collect();
        for trace in self.finished.insert(trace, &self.topology, &leaked_at) {
            self.outbox.keep_forgotten(trace);
        }
    }
}

/// The hops whose state changes, and the new states.
fn judge_hops(
    trace: &Trace,
    topology: &Topology,
    events: &mut Vec<Event>,
) -> impl Iterator<Item = (StageId, Hop)> {
    let hops = topology.stage_ids().filter(|hop| on_the_way(topology.stage(*hop).role));
    hops.filter_map(move |hop| Some((hop, judge_hop(trace, hop, topology, events)?)))
}

/// The new state of a hop; `None` if it stays as it is.
fn judge_hop(trace: &Trace, hop: StageId, topology: &Topology, events: &mut Vec<Event>) -> Option<Hop> {
    let (tenant, id) = (trace.tenant, trace.id());
    let visit = trace.visit(hop);
    let counted = match visit.hop {
        Hop::Open => false,
        Hop::Overdue => true,
        Hop::Measured { .. }
        | Hop::Unjudged
        | Hop::Inverted
        | Hop::Skipped
        | Hop::Missing
        | Hop::NeverSeen
        | Hop::Inherited => return None,
    };
    let begun = trace.hop_start(topology, hop)?;
    let target = topology.stage(hop).target.map(|target| begun.latest + target);
    let Some(arrived) = visit.arrival.as_ref().map(|arrival| arrival.interval) else {
        let proven = target.is_some_and(|target| visit.absent_until.is_some_and(|until| until > target));
        if !proven || counted || !trace.taken() {
            return None;
        }
        events.push(Event::HopOverdue { tenant, hop, trace: id });
        return Some(Hop::Overdue);
    };
    if arrived.latest < begun.earliest {
        events.push(Event::ClockInversion { tenant, stage: hop, trace: id });
        Some(Hop::Inverted)
    } else if !counted && visit.gap_since_poll && target.is_some_and(|at| straddles(arrived, at)) {
        Some(Hop::Unjudged)
    } else {
        let latency = arrived.latest.since(begun.latest);
        events.push(Event::HopMeasured { tenant, hop, trace: id, latency, counted });
        // The proof may be of a source in whose place a reload has put another one.
        let was_overdue = counted && target.is_some_and(|target| arrived.latest > target);
        Some(Hop::Measured { latency, was_overdue })
    }
}

/// The new judgement; `None` if it stays as it is.
fn judge_end_to_end(
    trace: &Trace,
    topology: &Topology,
    threshold: Timestamp,
    events: &mut Vec<Event>,
) -> Option<Judgement> {
    let (tenant, id) = (trace.tenant, trace.id());
    let visit = trace.visit(topology.end());
    let counted = match trace.judgement {
        Judgement::Pending => false,
        Judgement::Overdue => true,
        Judgement::Good | Judgement::Slow | Judgement::Unjudged => return None,
    };
    // A trace that was given up is closed in every series; what comes after that counts as a late arrival.
    if trace.ended.is_some() {
        return None;
    }
    let Some(arrived) = visit.arrival.as_ref().map(|arrival| arrival.interval) else {
        let proven = visit.absent_until.is_some_and(|until| until > threshold);
        if !proven || counted || !trace.taken() {
            return None;
        }
        events.push(Event::Overdue { tenant, trace: id });
        return Some(Judgement::Overdue);
    };
    let judgement = if arrived.latest <= threshold {
        Judgement::Good
    } else if counted || arrived.earliest > threshold {
        Judgement::Slow
    } else {
        Judgement::Unjudged
    };
    let latency = arrived.latest.since(trace.planned_at);
    events.push(Event::EndToEnd { tenant, trace: id, latency, judgement, counted });
    Some(judgement)
}

fn straddles(arrived: Interval, at: Timestamp) -> bool {
    arrived.earliest <= at && at < arrived.latest
}
