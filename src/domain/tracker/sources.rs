//! What is known of the sources: which traces wait at each, how far it was read, and whether it is visible.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::first_poll::Delays;
use super::readability::Readability;
use super::snapshot::{Queue, why_blind};
use crate::domain::checkpoints::{Checkpoints, HopDue};
use crate::domain::foreign::ForeignText;
use crate::domain::shared_list::SharedList;
use crate::domain::sighting::{Decoding, FailureKind, ReadStats, WantedTrace};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Capabilities, SourceId, TenantId, Topology};

/// Most recently seen traces that a poll by id includes. A trace is included for two minutes after it was seen, so eight
/// canaries a second reach this number.
const MAX_RECENTLY_SEEN: usize = 1_000;

/// All sources, and which lists of wanted traces changed.
#[derive(Debug)]
pub(super) struct Sources {
    /// By [`SourceId`].
    states: Vec<SourceState>,
    /// Grows with every change of any list.
    revision: u64,
    /// Sources whose list changed since it was last taken.
    changed: BTreeSet<SourceId>,
    visibility: Visibilities,
}

/// When sources turn blind if nothing happens. Kept up to date for those to which something happened, so that an input
/// costs the same however many sources there are.
#[derive(Debug, Default)]
struct Visibilities {
    blind_at: BTreeSet<(Timestamp, SourceId)>,
    /// By [`SourceId`]: what is in `blind_at`.
    of: Vec<Option<Timestamp>>,
    /// Those of which something may have changed since.
    touched: BTreeSet<SourceId>,
}

impl Index<SourceId> for Sources {
    type Output = SourceState;

    fn index(&self, source: SourceId) -> &SourceState {
        &self.states[source.0 as usize]
    }
}

impl IndexMut<SourceId> for Sources {
    fn index_mut(&mut self, source: SourceId) -> &mut SourceState {
        self.visibility.touched.insert(source);
        &mut self.states[source.0 as usize]
    }
}

impl Sources {
    /// The sources of a topology; nothing waits and nothing was read.
    pub(super) fn new(map: &Topology) -> Self {
        let new = |source| SourceState::new(map.stage(map.source(source).stage).capabilities);
        let states: Vec<_> = map.source_ids().map(new).collect();
        let visibility = Visibilities { of: vec![None; states.len()], ..Visibilities::default() };
        Self { states, revision: 0, changed: BTreeSet::new(), visibility }
    }

    /// Makes room for the sources that a topology has in addition.
    pub(super) fn grow(&mut self, map: &Topology) {
        let new = map.sources().iter().skip(self.states.len());
        self.states.extend(new.map(|source| SourceState::new(map.stage(source.stage).capabilities)));
        self.visibility.of.resize(self.states.len(), None);
    }

    /// Forgets how far a source was read, because nothing waits there any more and it is not polled.
    pub(super) fn reset(&mut self, source: SourceId, map: &Topology) {
        let capabilities = map.stage(map.source(source).stage).capabilities;
        let seen = std::mem::take(&mut self[source].seen);
        self[source] = SourceState { seen, ..SourceState::new(capabilities) };
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SourceState> {
        self.states.iter()
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// A trace waits at a source from now on. `hop_due` is when it passes the target of the hop, if it is on it.
    pub(super) fn wait(
        &mut self,
        source: SourceId,
        trace: WantedTrace,
        hop_due: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.touch(source);
        let revision = self.revision;
        self[source].wait(trace, revision, now);
        if let Some(at) = hop_due {
            self[source].hops_due.insert(HopDue { at, trace: trace.tag.trace });
        }
    }

    /// A trace that waits at a source is on the hop there, and passes the target at this instant.
    pub(super) fn hop_begins(&mut self, source: SourceId, due: HopDue) {
        if self[source].waiting.contains(due.trace) && self[source].hops_due.insert(due) {
            self.touch(source);
        }
    }

    /// A trace that waits at a source was seen at the stage before.
    pub(super) fn comes_near(&mut self, source: SourceId, trace: TraceId) {
        if self[source].waiting.contains(trace) {
            self.touch(source);
        }
    }

    /// Forgets when hops pass their targets, because these are others now.
    pub(super) fn forget_hops(&mut self) {
        for source in (0..).map(SourceId).take(self.states.len()) {
            self[source].hops_due = SharedList::default();
            self[source].delays = Delays::default();
            self.touch(source);
        }
    }

    /// A trace no longer waits at a source. If `recent` says until when, polls by id still include it.
    pub(super) fn stop_waiting(
        &mut self,
        source: SourceId,
        id: TraceId,
        hop_due: Option<Timestamp>,
        recent: Option<(Timestamp, WantedTrace)>,
    ) {
        self.touch(source);
        if let Some(at) = hop_due {
            self[source].hops_due.remove((at, id));
        }
        self[source].stop_waiting(id, recent);
    }

    /// Notes that what is wanted at a source changed.
    pub(super) fn touch(&mut self, source: SourceId) {
        self.revision += 1;
        self.changed.insert(source);
    }

    /// The sources whose list of wanted traces changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<SourceId> {
        std::mem::take(&mut self.changed)
    }

    /// When the first source turns blind if nothing happens.
    pub(super) fn next_blind_at(&self, blind_after: Duration) -> Option<Timestamp> {
        let Visibilities { blind_at, touched, .. } = &self.visibility;
        let first = blind_at.iter().find(|(_, source)| !touched.contains(source)).map(|(at, _)| *at);
        touched.iter().filter_map(|source| self[*source].blind_at(blind_after)).chain(first).min()
    }

    /// Updates the visibility of every source. Returns those that changed.
    pub(super) fn update_visibility(
        &mut self,
        blind_after: Duration,
        now: Timestamp,
    ) -> Vec<(SourceId, VisibilityChange)> {
        let Visibilities { blind_at, of, touched } = &mut self.visibility;
        let is_due = |(at, _): &&(Timestamp, SourceId)| *at <= now;
        touched.extend(blind_at.iter().take_while(is_due).map(|(_, source)| *source));
        let mut changes = Vec::new();
        for source in std::mem::take(touched) {
            let at = source.0 as usize;
            let state = &mut self.states[at];
            changes.extend(state.update_visibility(blind_after, now).map(|change| (source, change)));
            let next = state.blind_at(blind_after);
            let before = std::mem::replace(&mut of[at], next);
            if before != next {
                before.map(|at| blind_at.remove(&(at, source)));
                next.map(|at| blind_at.insert((at, source)));
            }
        }
        changes
    }
}

/// What is known of one source.
#[derive(Debug, Default)]
pub(super) struct SourceState {
    /// Polls show presence only: none has a watermark, and each that is answered is complete.
    presence_only: bool,
    /// When the last such poll began.
    presence_read_at: Option<Timestamp>,
    /// The traces that wait here.
    pub(super) waiting: SharedList<WantedTrace>,
    /// When those of them that are on the hop to here pass its target.
    pub(super) hops_due: SharedList<HopDue>,
    /// Those that no poll has proven absent whose revision of the list they were in: since which one they are.
    new_since: BTreeMap<TraceId, u64>,
    /// The newest revision by which a poll proved absence.
    proven_revision: u64,
    /// Since when something has been waiting without a break.
    waiting_since: Option<Timestamp>,
    /// Traces that were seen or given up a short while ago.
    pub(super) recently_seen: SharedList<WantedTrace>,
    /// Until when polls by id include them.
    seen_until: BTreeSet<(Timestamp, TraceId)>,
    /// How many were left out before that, because there were too many.
    pub(super) left_out: u64,
    /// Everything that arrived before this has been read.
    pub(super) watermark: Option<Timestamp>,
    pub(super) last_answer: Option<Timestamp>,
    /// Set while the last poll failed or fell short.
    pub(super) failing: Option<Failing>,
    pub(super) blind_since: Option<Timestamp>,
    pub(super) behind: Option<Duration>,
    /// What is in the queue; `None` if it is none, or was not read yet.
    pub(super) queue: Option<Queue>,
    /// What the poll in progress has been decoding for long.
    pub(super) decoding: Option<Decoding>,
    /// When each tenant's canaries were first found here, in this run or a previous one.
    pub(super) seen: BTreeMap<TenantId, Timestamp>,
    pub(super) readability: Readability,
    /// How long canaries lately took to here from the stage before.
    pub(super) delays: Delays,
}

/// A series of failed polls.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// When the first of them failed.
    pub since: Timestamp,
    /// How many failed in a row.
    pub polls: u64,
    /// How the last one failed.
    pub kind: FailureKind,
    /// What happened, as text for people.
    pub detail: ForeignText,
}

/// A source turned blind, or visible again.
pub(super) enum VisibilityChange {
    /// And why.
    WentBlind(ForeignText),
    /// And how long it was blind.
    SawAgain(Duration),
}

impl SourceState {
    fn new(capabilities: Capabilities) -> Self {
        Self { presence_only: !capabilities.absence, ..Self::default() }
    }

    fn wait(&mut self, trace: WantedTrace, revision: u64, now: Timestamp) {
        self.waiting.insert(trace);
        self.new_since.insert(trace.tag.trace, revision);
        self.waiting_since.get_or_insert(now);
    }

    fn stop_waiting(&mut self, id: TraceId, recent: Option<(Timestamp, WantedTrace)>) {
        self.waiting.remove(id);
        self.new_since.remove(&id);
        if self.waiting.is_empty() {
            self.waiting_since = None;
        }
        if let Some((until, recent)) = recent {
            // A trace that was given up may be listed already.
            if !self.recently_seen.insert(recent) {
                self.seen_until.retain(|(_, known)| *known != id);
            }
            self.seen_until.insert((until, id));
            // One that was given up is included for longer than one that was seen, and stays.
            if self.seen_until.len() > MAX_RECENTLY_SEEN
                && let Some((_, id)) = self.seen_until.pop_first()
            {
                self.recently_seen.remove(id);
                self.left_out += 1;
            }
        }
    }

    pub(super) fn expire_recently_seen(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.seen_until.first().filter(|(until, _)| *until <= now).copied() {
            self.seen_until.pop_first();
            self.recently_seen.remove(id);
        }
    }

    /// The thresholds and deadlines of the waiting traces: each has one at these times after it was planned.
    pub(super) fn checkpoints(&self, after_planned: [Option<Duration>; 2]) -> Checkpoints {
        let (waiting, hops) = (self.waiting.clone(), self.hops_due.clone());
        Checkpoints { proven: self.watermark, after_planned, waiting, hops }
    }

    /// The waiting traces that were in the wanted list of this revision, by which a poll proves absence.
    pub(super) fn take_wanted_in(&mut self, revision: u64) -> Vec<TraceId> {
        // Of those that a later one proved absent, it is not known any more since when they are listed.
        if revision < self.proven_revision {
            return Vec::new();
        }
        self.proven_revision = revision;
        self.new_since.retain(|_, since| *since > revision);
        let ids = self.waiting.iter().map(|trace| trace.tag.trace);
        ids.filter(|id| !self.new_since.contains_key(id)).collect()
    }

    /// A poll that began at `started` was answered.
    pub(super) fn answered(
        &mut self,
        started: Timestamp,
        watermark: Option<Timestamp>,
        stats: &ReadStats,
        now: Timestamp,
    ) {
        self.decoding = None;
        self.watermark = self.watermark.max(watermark);
        if let Some(proven) = self.watermark {
            self.hops_due.remove_before(|due| due.at < proven);
        }
        self.last_answer = Some(now);
        self.behind = stats.behind;
        if let Some(messages) = stats.queued {
            self.queue = Some(queue_with(messages, self.queue, started));
        }
        match watermark {
            Some(_) => self.failing = None,
            None if self.presence_only => {
                self.failing = None;
                self.presence_read_at = self.presence_read_at.max(Some(started));
            }
            None => {
                let detail = "it answers, but the poll did not reach the end of what it holds";
                self.failed(FailureKind::OverBudget, detail.into(), started);
            }
        }
    }

    pub(super) fn failed(&mut self, kind: FailureKind, detail: ForeignText, at: Timestamp) {
        self.decoding = None;
        let (since, polls) = self.failing.as_ref().map_or((at, 0), |before| (before.since, before.polls));
        self.failing = Some(Failing { since, polls: polls + 1, kind, detail });
    }

    /// Whether a tenant's canaries were ever found here.
    pub(super) fn has_seen(&self, tenant: TenantId) -> bool {
        self.seen.contains_key(&tenant)
    }

    /// Whether its last poll did not fail or fall short, and it is visible.
    pub(super) fn can_be_read(&self) -> bool {
        self.failing.is_none() && self.blind_since.is_none()
    }

    /// Whether the next poll may prove the absence of a tenant's canaries.
    pub(super) fn may_prove(&self, tenant: TenantId) -> bool {
        self.can_be_read() && !self.readability.blind().contains_key(&tenant) && self.has_seen(tenant)
    }

    /// Whether a poll that shows presence only, of a source that can prove no absence, began after an instant.
    pub(super) fn has_answered_since(&self, at: Timestamp) -> bool {
        self.presence_read_at.is_some_and(|began| began > at)
    }

    /// Until when the source was read, as far as its kind can tell.
    fn read_until(&self) -> Option<Timestamp> {
        self.watermark.max(self.presence_read_at)
    }

    /// Until when it was read for the traces that wait now; `None` while none do.
    fn covered_until(&self) -> Option<Timestamp> {
        self.waiting_since.map(|since| self.read_until().map_or(since, |mark| mark.max(since)))
    }

    /// When the source turns blind if nothing happens.
    fn blind_at(&self, blind_after: Duration) -> Option<Timestamp> {
        self.covered_until().filter(|_| self.blind_since.is_none()).map(|mark| mark + blind_after)
    }

    fn update_visibility(&mut self, blind_after: Duration, now: Timestamp) -> Option<VisibilityChange> {
        match self.blind_since {
            None if self.blind_at(blind_after).is_some_and(|at| at <= now) => {
                self.blind_since = self.covered_until();
                Some(VisibilityChange::WentBlind(self.reason()))
            }
            Some(since)
                if self.failing.is_none()
                    && self.read_until().is_some_and(|mark| mark + blind_after > now) =>
            {
                self.blind_since = None;
                Some(VisibilityChange::SawAgain(now.since(since)))
            }
            None | Some(_) => None,
        }
    }

    /// Why it cannot be read, as text for people.
    fn reason(&self) -> ForeignText {
        why_blind(self.decoding.as_ref(), self.failing.as_ref())
    }
}

/// The queue with this many messages, after it was as it was `before`.
fn queue_with(messages: u64, before: Option<Queue>, at: Timestamp) -> Queue {
    let since = match before {
        _ if messages == 0 => None,
        // It was not empty to begin with.
        None => None,
        Some(Queue { messages: 0, .. }) => Some(at),
        Some(queue) => queue.since,
    };
    Queue { messages, since }
}

impl super::Tracker {
    /// The sources that cannot be read, for all of their tenants or for some.
    pub fn blind_sources(&self) -> impl Iterator<Item = SourceId> + use<'_> {
        let is_blind = |source: &SourceId| {
            let state = &self.sources[*source];
            state.blind_since.is_some() || !state.readability.blind().is_empty()
        };
        self.topology.source_ids().filter(is_blind)
    }
}
