//! Second stored copies: which are duplicates, and which are somebody else's doing.
//!
//! Only decoded copies count. A copy in another record is a duplicate at once where records never change.
//! Objects may be moved or merged, with the first one deleted later, so there both copies must exist: the
//! first one is checked at once and both again after
//! [`Settings::copy_recheck`](super::Settings::copy_recheck). A canary counts as a duplicate once per stage,
//! whatever the number of its copies. A log line that mentions only the tag is no copy, whether it is found
//! before the whole canary or after it, so a client that repeats the tags of its own log raises no duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Event, Tracker};
use crate::domain::canary::Integrity;
use crate::domain::copies::{
    Check, CopyStanding, MAX_CHECKED_RECORDS, Presence, Round, StoredCopy, UnchargedReason,
};
use crate::domain::sighting::{Locator, Sighting};
use crate::domain::tag::{InstanceCode, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, StageId, Topology};
use crate::domain::trace::{Origin, Put, Trace, Visit};

/// Most copies of one canary that are told apart at one stage. A pipeline that stores more than this of one
/// event has been noticed long before.
const MAX_COPIES: usize = 16;

/// Most copies that await a check. A stage that moves everything it stores for fifteen minutes, at three
/// canaries a second, has 2,700.
const MAX_PENDING: usize = 4_096;

/// A second copy that awaits a check.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct PendingCopy {
    source: SourceId,
    trace: TraceId,
    locator: Locator,
}

/// All second copies that await a check.
#[derive(Debug, Default)]
pub(super) struct PendingCopies {
    /// Those whose check is not due yet, by when it is.
    scheduled: BTreeSet<(Timestamp, PendingCopy)>,
    /// Those that the observer should check now, by when it is too late for an answer.
    due: BTreeMap<SourceId, BTreeSet<(Timestamp, PendingCopy)>>,
}

impl PendingCopies {
    fn len(&self) -> usize {
        self.scheduled.len() + self.due.values().map(BTreeSet::len).sum::<usize>()
    }

    /// The traces whose copies await a check.
    pub(super) fn traces(&self) -> impl Iterator<Item = TraceId> {
        let due = self.due.values().flatten();
        self.scheduled.iter().chain(due).map(|(_, copy)| copy.trace)
    }

    /// When the next check becomes due, or the next answer is too late.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let scheduled = self.scheduled.first().map(|(at, _)| *at);
        let due = self.due.values().filter_map(|due| due.first()).map(|(at, _)| *at).min();
        [scheduled, due].into_iter().flatten().min()
    }

    fn take_scheduled(&mut self, now: Timestamp) -> Option<PendingCopy> {
        let first = self.scheduled.first().filter(|(at, _)| *at <= now).cloned()?;
        self.scheduled.remove(&first);
        Some(first.1)
    }

    fn expired(&self, now: Timestamp) -> Vec<PendingCopy> {
        let of_source = |due: &BTreeSet<(Timestamp, PendingCopy)>| {
            due.iter().take_while(|(at, _)| *at <= now).map(|(_, copy)| copy.clone()).collect::<Vec<_>>()
        };
        self.due.values().flat_map(of_source).collect()
    }

    /// Forgets the checks at sources that do not fit, and returns the copies.
    fn leave(&mut self, fits: impl Fn(SourceId) -> bool) -> Vec<PendingCopy> {
        let all = self.scheduled.iter().chain(self.due.values().flatten());
        let left = all.map(|(_, copy)| copy).filter(|copy| !fits(copy.source)).cloned().collect();
        self.scheduled.retain(|(_, copy)| fits(copy.source));
        self.due.retain(|source, _| fits(*source));
        left
    }

    fn due_at(&self, source: SourceId) -> impl Iterator<Item = &PendingCopy> {
        self.due.get(&source).into_iter().flatten().map(|(_, copy)| copy)
    }

    /// Removes a copy whose check is due.
    fn remove_due(&mut self, copy: &PendingCopy) {
        if let Some(due) = self.due.get_mut(&copy.source) {
            due.retain(|(_, known)| known != copy);
            if due.is_empty() {
                self.due.remove(&copy.source);
            }
        }
    }
}

/// Whether a sighting tells nothing that the copies seen before it do not tell. `is_ours`: it is of a copy that the
/// process sent which the tag of the trace names.
pub(super) fn is_known(visit: &Visit, sighting: &Sighting, is_ours: bool) -> bool {
    let of_sender = || visit.copies.iter().filter(move |copy| copy.other_sender.is_none() == is_ours);
    let mut same_record = of_sender().filter(|copy| copy.locator.record() == sighting.locator.record());
    of_sender().count() >= MAX_COPIES
        || visit.copies.iter().any(|copy| copy.locator == sighting.locator)
        // All hits in undecoded bytes of one record are one, and all further copies in it are one.
        || same_record.any(|copy| {
            !sighting.found_in.decoded || copy.standing == CopyStanding::Uncharged(UnchargedReason::SameRecord)
        })
}

/// Whether the process that the tag of the trace names sent it.
fn is_ours(copy: &StoredCopy) -> bool {
    copy.other_sender.is_none()
}

fn is_mention(copy: &StoredCopy) -> bool {
    copy.standing == CopyStanding::Uncharged(UnchargedReason::Mention)
}

/// Whether the put has no result yet and may get one. The result of a put by a previous run is lost.
fn may_be_answered(trace: &Trace) -> bool {
    trace.put == Put::Planned && trace.origin == Origin::Planned
}

/// The first copy of a canary at a stage.
pub(super) fn first_copy(sighting: &Sighting) -> StoredCopy {
    let standing = if sighting.found_in.decoded { CopyStanding::First } else { CopyStanding::Undecoded };
    StoredCopy::new(sighting.locator.clone(), None, standing)
}

/// The run that sent a copy, if it is not the one in the tag of the trace.
pub(super) fn other_sender(trace: &Trace, sighting: &Sighting) -> Option<InstanceCode> {
    let sender = sighting.tag.instance;
    (sender != trace.tag.instance).then_some(sender)
}

/// The existing copy that others are compared with.
fn first_existing(visit: &Visit) -> Option<&StoredCopy> {
    visit.copies.iter().rfind(|copy| {
        let is_first = match copy.standing {
            CopyStanding::First
            | CopyStanding::Uncharged(UnchargedReason::Moved | UnchargedReason::SecondSender) => true,
            CopyStanding::Undecoded
            | CopyStanding::AwaitsPut
            | CopyStanding::Pending(_)
            | CopyStanding::Duplicate
            | CopyStanding::Uncharged(
                UnchargedReason::RetriedPut
                | UnchargedReason::SameRecord
                | UnchargedReason::Mention
                | UnchargedReason::Unknown,
            ) => false,
        };
        is_first && !copy.gone && is_ours(copy)
    })
}

impl Tracker {
    /// Takes another copy of a canary that has arrived at this stage before. Returns whether it is a copy of
    /// its own: neither put beside another one into the same record, nor a mere mention of the canary.
    pub(super) fn another_copy(
        &mut self,
        source: SourceId,
        stage: StageId,
        sighting: &Sighting,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> bool {
        let id = sighting.tag.trace;
        self.demote_mentions(source, stage, sighting, events);
        let Some(trace) = self.trace_mut(id) else { return false };
        let (tenant, may_be_answered) = (trace.tenant, may_be_answered(trace));
        let others = trace.other_senders().len();
        let is_mentioned = trace.stages.iter().flat_map(|visit| &visit.copies).any(is_mention);
        let visit = &mut trace.stages[usize::from(stage.0)];
        let is_whole = visit.arrival.as_ref().is_some_and(|arrival| arrival.integrity == Integrity::Intact);
        let is_decoded = |copy: &&StoredCopy| copy.standing != CopyStanding::Undecoded && is_ours(copy);
        let in_same_record = |copy: &StoredCopy| copy.locator.record() == sighting.locator.record();
        let decoded = visit.copies.iter().filter(is_decoded).filter(|copy| !is_mention(copy));
        let uncharged = |reason| Event::UnchargedCopy { tenant, stage, trace: id, reason };
        let standing = if !sighting.found_in.decoded {
            events.push(uncharged(UnchargedReason::Unknown));
            CopyStanding::Undecoded
        } else if decoded.clone().next().is_none() {
            // The first one that counts. What was found in undecoded bytes of another record may be another
            // copy.
            let mut undecoded =
                visit.copies.iter().filter(|copy| copy.standing == CopyStanding::Undecoded).peekable();
            if undecoded.peek().is_some() && !undecoded.any(in_same_record) {
                events.push(uncharged(UnchargedReason::Unknown));
            }
            if let Some(arrival) = &mut visit.arrival {
                arrival.integrity = sighting.integrity;
            }
            CopyStanding::First
        } else if decoded.clone().any(in_same_record) {
            events.push(uncharged(UnchargedReason::SameRecord));
            CopyStanding::Uncharged(UnchargedReason::SameRecord)
        } else if sighting.integrity != Integrity::Intact && (is_whole || is_mentioned) {
            // A stage that keeps only tags cannot tell a mention from the canary, but an earlier one did.
            events.push(uncharged(UnchargedReason::Mention));
            CopyStanding::Uncharged(UnchargedReason::Mention)
        } else if visit.copies.iter().all(is_ours) && decoded.count() <= others {
            // Other stages have shown that others sent the slot, too. This one has not, so it may keep only trace
            // ids, and show the copies of all senders as ours.
            events.push(uncharged(UnchargedReason::SecondSender));
            CopyStanding::Uncharged(UnchargedReason::SecondSender)
        } else {
            // Before the put is answered, it is unknown whether it was retried, and so who caused the copy.
            CopyStanding::AwaitsPut
        };
        visit.copies.push(StoredCopy::new(sighting.locator.clone(), None, standing));
        if standing == CopyStanding::AwaitsPut && !may_be_answered {
            self.judge_copy(
                PendingCopy { source, trace: id, locator: sighting.locator.clone() },
                now,
                events,
            );
        }
        !matches!(standing, CopyStanding::Uncharged(UnchargedReason::SameRecord | UnchargedReason::Mention))
    }

    /// Once the whole canary is found, what was found of it before at the same stage was a mention.
    fn demote_mentions(
        &mut self,
        source: SourceId,
        stage: StageId,
        sighting: &Sighting,
        events: &mut Vec<Event>,
    ) {
        let id = sighting.tag.trace;
        let Some(trace) = self.trace_mut(id) else { return };
        let visit = &mut trace.stages[usize::from(stage.0)];
        let Some(arrival) = &mut visit.arrival else { return };
        if !sighting.found_in.decoded
            || sighting.integrity != Integrity::Intact
            || arrival.integrity == Integrity::Intact
        {
            return;
        }
        arrival.integrity = Integrity::Intact;
        let decoded =
            visit.copies.iter().filter(|copy| copy.standing != CopyStanding::Undecoded && is_ours(copy));
        // One that was a mention before is not counted again.
        let taken_for_copies = decoded.filter(|copy| !is_mention(copy));
        let mentions: Vec<_> = taken_for_copies
            .map(|copy| PendingCopy { source, trace: id, locator: copy.locator.clone() })
            .filter(|copy| copy.locator.record() != sighting.locator.record())
            .collect();
        for mention in mentions {
            self.settle(&mention, CopyStanding::Uncharged(UnchargedReason::Mention), events);
        }
    }

    /// Judges the copies that were seen before the put was answered.
    pub(super) fn judge_copies_that_overtook_the_answer(
        &mut self,
        id: TraceId,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let Some(trace) = self.trace(id).filter(|trace| !may_be_answered(trace)) else { return };
        let mut awaiting = Vec::new();
        for (stage, visit) in (0..).map(StageId).zip(&trace.stages) {
            let source = self.topology.source_of(trace.tenant, stage);
            let copies = visit.copies.iter().filter(|copy| copy.standing == CopyStanding::AwaitsPut);
            awaiting.extend(copies.map(|copy| PendingCopy {
                source,
                trace: id,
                locator: copy.locator.clone(),
            }));
        }
        for copy in awaiting {
            self.judge_copy(copy, now, events);
        }
    }

    /// Judges a second copy whose put was answered, or never will be.
    fn judge_copy(&mut self, copy: PendingCopy, now: Timestamp, events: &mut Vec<Event>) {
        let stage = self.topology.source(copy.source).stage;
        if self.trace(copy.trace).is_some_and(|trace| trace.put == Put::Planned) {
            self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::Unknown), events);
        } else if self.trace(copy.trace).is_some_and(|trace| trace.doubled_by_us) {
            self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::RetriedPut), events);
        } else if !self.topology.stage(stage).capabilities.moves {
            self.settle(&copy, CopyStanding::Duplicate, events);
        } else if self.pending.len() >= MAX_PENDING {
            self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::Unknown), events);
        } else {
            self.schedule_check(copy, Check { at: now, round: Round::First }, now, events);
        }
    }

    fn schedule_check(&mut self, copy: PendingCopy, check: Check, now: Timestamp, events: &mut Vec<Event>) {
        self.settle(&copy, CopyStanding::Pending(check), events);
        self.pending.scheduled.insert((check.at, copy));
        self.publish_due_checks(now);
    }

    /// Schedules the checks that a previous run left.
    pub(super) fn resume_checks(&mut self, id: TraceId, now: Timestamp) {
        let Some(trace) = self.trace(id) else { return };
        let mut resumed = Vec::new();
        for (stage, visit) in (0..).map(StageId).zip(&trace.stages) {
            let source = self.topology.source_of(trace.tenant, stage);
            for copy in &visit.copies {
                if let CopyStanding::Pending(check) = copy.standing {
                    let copy = PendingCopy { source, trace: id, locator: copy.locator.clone() };
                    resumed.push((check.at, copy));
                }
            }
        }
        self.pending.scheduled.extend(resumed);
        self.publish_due_checks(now);
    }

    /// Says what a copy counts as from now on. A copy that awaits nothing more is no longer checked.
    fn settle(&mut self, copy: &PendingCopy, standing: CopyStanding, events: &mut Vec<Event>) {
        let stage = self.topology.source(copy.source).stage;
        let Some(trace) = self.trace_mut(copy.trace) else {
            // It is not known any more.
            self.pending.remove_due(copy);
            return;
        };
        let tenant = trace.tenant;
        let copies = &mut trace.stages[usize::from(stage.0)].copies;
        let is_charged = copies.iter().any(|copy| copy.standing == CopyStanding::Duplicate);
        let Some(known) = copies.iter_mut().find(|known| known.locator == copy.locator) else { return };
        let before = std::mem::replace(&mut known.standing, standing);
        if let CopyStanding::Pending(Check { at, .. }) = before {
            self.pending.scheduled.remove(&(at, copy.clone()));
            self.pending.remove_due(copy);
            self.sources.touch(copy.source);
        }
        self.outbox.note_changed(copy.trace);
        let trace = copy.trace;
        match standing {
            CopyStanding::Duplicate if !is_charged => {
                events.push(Event::Duplicate { tenant, stage, trace, locator: copy.locator.clone() });
            }
            CopyStanding::Uncharged(reason) => {
                events.push(Event::UnchargedCopy { tenant, stage, trace, reason });
            }
            CopyStanding::Duplicate
            | CopyStanding::First
            | CopyStanding::Undecoded
            | CopyStanding::AwaitsPut
            | CopyStanding::Pending(_) => {}
        }
    }

    /// The records of a source of which it has to be known now whether they exist.
    pub(super) fn checks(&self, source: SourceId) -> Arc<[Arc<str>]> {
        let mut records = BTreeSet::new();
        for copy in self.pending.due_at(source) {
            if records.len() >= MAX_CHECKED_RECORDS {
                break;
            }
            let Some((first, round)) = self.compared(copy) else { continue };
            records.insert(first.record());
            if round == Round::Last {
                records.insert(copy.locator.record());
            }
        }
        records.into_iter().take(MAX_CHECKED_RECORDS).map(Arc::from).collect()
    }

    /// With which copy a pending one is compared, and in which round.
    fn compared(&self, copy: &PendingCopy) -> Option<(&Locator, Round)> {
        let stage = self.topology.source(copy.source).stage;
        let visit = self.trace(copy.trace)?.visit(stage);
        let known = visit.copies.iter().find(|known| known.locator == copy.locator)?;
        let CopyStanding::Pending(Check { round, .. }) = known.standing else { return None };
        Some((&first_existing(visit)?.locator, round))
    }

    /// Takes the answers of an observer that checked whether records exist.
    pub(super) fn copies_checked(
        &mut self,
        source: SourceId,
        checked: &[(Arc<str>, Presence)],
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let answer = |locator: &Locator| {
            let found = checked.iter().find(|(record, _)| **record == *locator.record());
            found.map(|(_, presence)| *presence)
        };
        let due: Vec<_> = self.pending.due_at(source).cloned().collect();
        for copy in due {
            let Some((first, round)) = self.compared(&copy) else {
                self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::Unknown), events);
                continue;
            };
            let first = first.clone();
            let second = if round == Round::Last { answer(&copy.locator) } else { Some(Presence::There) };
            match (answer(&first), second) {
                (Some(Presence::Gone), _) => self.moved(&copy, &first, now, events),
                (_, Some(Presence::Gone)) => self.moved(&copy, &copy.locator, now, events),
                (Some(Presence::Unknown), _) | (_, Some(Presence::Unknown)) => {
                    self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::Unknown), events);
                }
                (Some(Presence::There), Some(Presence::There)) => match round {
                    Round::First => {
                        let at = now + self.settings.copy_recheck;
                        self.schedule_check(copy, Check { at, round: Round::Last }, now, events);
                    }
                    Round::Last => self.settle(&copy, CopyStanding::Duplicate, events),
                },
                // Not checked yet.
                (None, _) | (_, None) => {}
            }
        }
    }

    /// One of two copies was deleted, so there is one canary. What else was compared with it is compared with
    /// the other one from now on.
    fn moved(&mut self, copy: &PendingCopy, gone: &Locator, now: Timestamp, events: &mut Vec<Event>) {
        self.settle(copy, CopyStanding::Uncharged(UnchargedReason::Moved), events);
        let stage = self.topology.source(copy.source).stage;
        let Some(trace) = self.trace_mut(copy.trace) else { return };
        let copies = &mut trace.stages[usize::from(stage.0)].copies;
        if let Some(gone) = copies.iter_mut().find(|known| known.locator == *gone) {
            gone.gone = true;
        }
        let is_pending = |known: &&StoredCopy| matches!(known.standing, CopyStanding::Pending(_));
        let others: Vec<_> = copies.iter().filter(is_pending).map(|known| known.locator.clone()).collect();
        for locator in others {
            let other = PendingCopy { locator, ..copy.clone() };
            self.schedule_check(other, Check { at: now, round: Round::First }, now, events);
        }
    }

    /// Publishes the checks whose time has come, and gives up those that were not answered in time.
    pub(super) fn check_copies(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        self.publish_due_checks(now);
        for copy in self.pending.expired(now) {
            self.settle(&copy, CopyStanding::Uncharged(UnchargedReason::Unknown), events);
        }
    }

    /// Gives up the checks at sources that do not exist any more; `before` is the topology that had them.
    pub(super) fn leave_checks(&mut self, before: &Topology, map: &Topology) {
        for copy in self.pending.leave(|source| map.has_source(source)) {
            let stage = before.source(copy.source).stage;
            let Some(trace) = self.trace_mut(copy.trace) else { continue };
            let copies = &mut trace.stages[usize::from(stage.0)].copies;
            if let Some(known) = copies.iter_mut().find(|known| known.locator == copy.locator) {
                known.standing = CopyStanding::Uncharged(UnchargedReason::Unknown);
            }
            self.outbox.note_changed(copy.trace);
        }
    }

    /// The canaries with a second copy of which it is not known yet whether both exist, and where.
    pub fn unchecked_copies(&self) -> impl Iterator<Item = (TraceId, StageId)> {
        let due = self.pending.due.values().flatten();
        let all = self.pending.scheduled.iter().chain(due);
        all.map(|(_, copy)| (copy.trace, self.topology.source(copy.source).stage))
    }

    /// At tables, which are read by id: how many canaries were looked for a second time for less than usual, because too
    /// many had been seen.
    pub fn cut_searches(&self) -> impl Iterator<Item = (SourceId, u64)> {
        let stage = move |source: SourceId| self.topology.stage(self.topology.source(source).stage);
        let is_table = move |source: &SourceId| stage(*source).capabilities.schema;
        let tables = self.topology.source_ids().filter(is_table);
        tables.map(|source| (source, self.sources[source].left_out)).filter(|(_, canaries)| *canaries > 0)
    }

    fn publish_due_checks(&mut self, now: Timestamp) {
        let too_late = now + self.settings.copy_recheck + self.settings.blind_after;
        while let Some(copy) = self.pending.take_scheduled(now) {
            self.sources.touch(copy.source);
            self.pending.due.entry(copy.source).or_default().insert((too_late, copy));
        }
    }
}
