//! What one sighting tells: an arrival, another copy, a leak, or a canary that is not ours to follow.

use std::sync::Arc;
use std::time::Duration;

use super::copies::{first_copy, is_known, other_sender};
use super::{Event, LeakedTenant, Tracker, Violation};
use crate::domain::canary::Integrity;
use crate::domain::checkpoints::HopDue;
use crate::domain::copies::{CopyStanding, StoredCopy, UnchargedReason};
use crate::domain::foreign::ForeignText;
use crate::domain::format::FoundIn;
use crate::domain::sighting::Sighting;
use crate::domain::tag::{Purpose, Tag, TraceId};
use crate::domain::time::{Interval, Timestamp};
use crate::domain::topology::{SourceId, StageId, TenantId};
use crate::domain::trace::{Arrival, FoundLate, Hop, Judgement};

impl Tracker {
    /// Takes one sighting. The trace that it is of, if it is the first at this stage: it has
    /// [arrived](Self::arrived) there once all that the same look showed has been taken.
    pub(super) fn sighted(
        &mut self,
        source: SourceId,
        stage: StageId,
        mut sighting: Sighting,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Option<TraceId> {
        let id = sighting.tag.trace;
        let Some(tenant) = self.topology.tenant_of(&sighting.tag) else {
            if !self.leaked_from_unknown(source, stage, &sighting, now, events) {
                events.extend(stray(&sighting.tag, stage, None, true));
            }
            return None;
        };
        if self.leaked(source, stage, tenant, &sighting, now, events) {
            return None;
        }
        // It is with another tenant of its client, which says nothing about where it belongs.
        if !self.topology.source(source).tenants.contains(&tenant) {
            return None;
        }
        self.check_name(stage, &sighting, events);
        self.take_readable(source, tenant, &sighting, now, events);
        if !self.is_known(id) && !self.adopt(sighting.tag, tenant, now, events) {
            let other_instance = !sighting.tag.instance.has_same_name_bits(self.settings.instance);
            events.extend(stray(&sighting.tag, stage, Some(tenant), other_instance));
            return None;
        }
        let allowance = self.allowance(stage);
        let trace = self.open.get_mut(&id).or_else(|| self.finished.get_mut(id))?;
        let sender = other_sender(trace, &sighting);
        if is_known(trace.visit(stage), &sighting, sender.is_none()) {
            return None;
        }
        // What was found by luck in undecoded bytes is rarely whole.
        if !sighting.found_in.decoded {
            sighting.integrity = Integrity::Unchecked;
        }
        let trace = Arc::make_mut(trace);
        self.outbox.note_changed(id);
        if let Some(sender) = sender {
            // It proves that the slot was sent, and nothing about our own canary: that may be lost nevertheless.
            let reason = UnchargedReason::SecondSender;
            let standing = CopyStanding::Uncharged(reason);
            let copy = StoredCopy::new(sighting.locator, Some(sender), standing);
            trace.stages[usize::from(stage.0)].copies.push(copy);
            events.push(Event::UnchargedCopy { tenant, stage, trace: id, reason });
            return None;
        }
        let is_changed = matches!(sighting.integrity, Integrity::Corrupted { .. });
        let corrupted = is_changed.then_some(Event::Corrupted { tenant, stage, trace: id });
        let visit = &mut trace.stages[usize::from(stage.0)];
        let not_before = visit.absent_until.unwrap_or(trace.planned_at).max(trace.planned_at);
        let stored = Stored::tell(&sighting, not_before, allowance);
        if visit.arrival.is_some() {
            let is_mention = !self.another_copy(source, stage, &sighting, now, events);
            if !is_mention {
                events.extend(corrupted);
            }
            // The copy that was found first need not have been stored first: if one shard is behind another,
            // a later poll shows the older copy. That moves the beginning of the arrival back, and never its
            // end; judgements stay.
            let trace = self.trace_mut(id)?;
            if let Some(arrival) = trace.stages[usize::from(stage.0)].arrival.as_mut().filter(|_| !is_mention)
            {
                arrival.interval.earliest = arrival.interval.earliest.min(stored.interval.earliest);
            }
            return None;
        }
        events.extend(corrupted);
        // In front of those of other senders: the first copy is the one that arrived.
        visit.copies.insert(0, first_copy(&sighting));
        let Stored { interval, clocks } = stored;
        if clocks != Clocks::Agree {
            events.push(Event::ClockInversion { tenant, stage, trace: id });
        }
        if clocks == Clocks::SetBack {
            // How long it took is unknown, unless it is proven overdue.
            if visit.hop == Hop::Open {
                visit.hop = Hop::Inverted;
            }
            if stage == self.topology.end() && trace.judgement == Judgement::Pending && trace.ended.is_none()
            {
                trace.judgement = Judgement::Unjudged;
                let latency = interval.latest.since(trace.planned_at);
                let judgement = Judgement::Unjudged;
                events.push(Event::EndToEnd { tenant, trace: id, latency, judgement, counted: false });
            }
        }
        let visit = &mut trace.stages[usize::from(stage.0)];
        let Sighting { integrity, stamp, found_in, .. } = sighting;
        let found_in = Some(found_in);
        visit.arrival = Some(Box::new(Arrival { interval, noticed_at: now, integrity, stamp, found_in }));
        Some(id)
    }

    /// A canary of a tenant was found where it belongs: the source shows this tenant's canaries, and in a
    /// shape that can be read.
    fn take_readable(
        &mut self,
        source: SourceId,
        tenant: TenantId,
        sighting: &Sighting,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let state = &mut self.sources[source];
        state.readability.found(tenant, sighting.tag.trace.planned_at(), sighting.found_in);
        let FoundIn { decoded, verbatim, .. } = sighting.found_in;
        if (decoded || verbatim) && !state.has_seen(tenant) {
            state.seen.insert(tenant, now);
            self.outbox.note_seen(source, tenant);
            events.push(Event::FirstSeen { source, tenant });
        }
    }

    /// Says that a trace arrived at a stage, and draws the conclusions.
    pub(super) fn arrived(&mut self, id: TraceId, stage: StageId, now: Timestamp, events: &mut Vec<Event>) {
        let deadline = id.planned_at() + self.settings.give_up;
        let end = self.topology.end();
        let Some(trace) = self.trace_mut(id) else { return };
        let Some(interval) = trace.arrival(stage) else { return };
        let tenant = trace.tenant;
        if stage == end && trace.ended.is_some() {
            let in_time = interval.earliest <= deadline;
            trace.found_late = Some(if in_time { FoundLate::InTime } else { FoundLate::Late });
        }
        let found_late = trace.found_late.filter(|_| stage == end);
        let recent = trace.wanted();
        let noticed_after = now.since(interval.latest);
        events.push(Event::Arrived { tenant, stage, trace: id, interval, noticed_after });
        match found_late {
            Some(FoundLate::Late) => events.push(Event::LateArrival { tenant, stage, trace: id }),
            Some(FoundLate::InTime) => events.push(Event::LateDiscovery { tenant, stage, trace: id }),
            None => {}
        }
        let source = self.topology.source_of(tenant, stage);
        let due = self.trace(id).and_then(|trace| self.hop_target_at(trace, stage));
        self.sources.stop_waiting(source, id, due, Some((now + self.settings.recheck_for, recent)));
        self.note_delay(id, stage);
        self.consider(id, now, events);
        // The hops to the stages that follow begin here.
        let Some(trace) = self.open.get(&id) else { return };
        let begins = |child: &StageId| self.topology.stage(*child).parent == Some(stage);
        for child in self.topology.stage_ids().filter(begins) {
            let source = self.topology.source_of(tenant, child);
            match self.hop_due(trace, child) {
                Some(at) => self.sources.hop_begins(source, HopDue { at, trace: id }),
                // Without a target, nothing else tells the source that its first poll need not wait any more.
                None => self.sources.comes_near(source, id),
            }
        }
    }

    /// Whether a sighting is of a canary that must not be where it is. It then says nothing about its own
    /// arrival.
    fn leaked(
        &mut self,
        source: SourceId,
        stage: StageId,
        tenant: TenantId,
        sighting: &Sighting,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> bool {
        let map = &self.topology;
        // Among the tenants of one client nothing leaks.
        let is_of_client = |at: &TenantId| map.are_one_client(*at, tenant);
        let by_source = !map.source(source).tenants.iter().any(is_of_client);
        let by_label = sighting.label.as_ref().filter(|label| !label.is_label(&map.tenant(tenant).label));
        if !by_source && by_label.is_none() {
            return false;
        }
        let found_in: ForeignText = match by_label {
            Some(label) => format!("{} labelled {label}", map.source(source).name).into(),
            None => map.source(source).name.clone().into(),
        };
        let found_with = by_label.map(|label| self.topology.tenant_by_label(label));
        let found_with = found_with.unwrap_or_else(|| self.topology.source(source).owner.tenant());
        self.violation(LeakedTenant::Known(tenant), found_with, found_in, stage, sighting, now, events);
        true
    }

    /// Whether a sighting is of a canary of a tenant that is not configured, where only a configured tenant's
    /// may be: in that tenant's own source, or labelled as that tenant's. Anywhere else it may be where it
    /// belongs.
    fn leaked_from_unknown(
        &mut self,
        source: SourceId,
        stage: StageId,
        sighting: &Sighting,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> bool {
        let spec = self.topology.source(source);
        let (found_with, found_in) = match &sighting.label {
            Some(label) => (
                // If no configured tenant has the label, it was still found in the source's own tenant's data.
                self.topology.tenant_by_label(label).or(spec.owner.tenant()),
                format!("{} labelled {label}", spec.name).into(),
            ),
            None => (spec.owner.tenant(), spec.name.clone().into()),
        };
        // A tag of version 1 that fits several configured tenants is of one of them.
        let known = self.topology.tenants().iter().any(|tenant| sighting.tag.fits(tenant.code));
        if known || found_with.is_none() {
            return false;
        }
        let tenant = LeakedTenant::Unknown(sighting.tag.tenant_digits().into());
        self.violation(tenant, found_with, found_in, stage, sighting, now, events);
        true
    }

    #[expect(clippy::too_many_arguments, reason = "each is a field of the violation, or where to report it")]
    fn violation(
        &mut self,
        tenant: LeakedTenant,
        found_with: Option<TenantId>,
        found_in: ForeignText,
        stage: StageId,
        sighting: &Sighting,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let (trace, locator) = (sighting.tag.trace, sighting.locator.clone());
        let found = Violation { at: now, tenant, found_with, stage, trace, found_in, locator };
        // A record that is read again is the same violation, not another one.
        if self.leaks.remember(found.clone(), &self.topology) {
            let (tenant, found_in) = (found.tenant.clone(), found.found_in.clone());
            self.outbox.note_violation(found);
            if let Some(forgotten) = self.finished.leaked(trace, stage) {
                self.outbox.keep_forgotten(forgotten);
            }
            events.push(Event::IsolationViolation { tenant, stage, trace, found_in });
        }
    }
}

/// When one copy can have been stored.
struct Stored {
    interval: Interval,
    clocks: Clocks,
}

/// Whether the clocks that tell when a copy was stored can all be right.
#[derive(PartialEq, Eq)]
enum Clocks {
    Agree,
    /// The stage's stamp is excluded by our polls.
    Contradict,
    /// Ours was set back between two polls.
    SetBack,
}

impl Stored {
    /// The intersection of what our polls prove and what the stage's stamp says within the allowance. If the
    /// two contradict each other, our polls win, because latency is measured on our clock.
    fn tell(sighting: &Sighting, not_before: Timestamp, allowance: Duration) -> Self {
        let polled = Interval { earliest: not_before, latest: sighting.seen_by.max(not_before) };
        let stamped = sighting.stamp.interval().map(|stamped| stamped.widen(allowance));
        let both = stamped.map_or(Some(polled), |stamped| stamped.intersect(polled));
        let clocks = match both {
            _ if sighting.seen_by < not_before => Clocks::SetBack,
            Some(_) => Clocks::Agree,
            None => Clocks::Contradict,
        };
        Self { interval: both.unwrap_or(polled), clocks }
    }
}

/// A canary that we do not follow. It counts only if a probe sent it to measure the pipeline, because only
/// such a one is sent by a schedule that somebody ought to follow. What a check, a load or a drill sent, or
/// something with a purpose that a later release may know, is expected to be followed by nobody; where it
/// must not be it is a leak all the same.
fn stray(tag: &Tag, stage: StageId, tenant: Option<TenantId>, other_instance: bool) -> Option<Event> {
    match tag.purpose() {
        Purpose::Probe => Some(Event::Stray { stage, tenant, other_instance }),
        Purpose::Check | Purpose::Load | Purpose::Drill | Purpose::Reserved(_) => None,
    }
}
