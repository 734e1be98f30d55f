//! The tracker: what is known of every canary, and what follows from it.
//!
//! A state machine without I/O. Inputs go in with the time at which they are applied, events come out. It
//! alone decides what was delivered, what is late and what is lost, so that these words mean the same in the
//! metrics, in the store and on the page. It must never call something lost that it merely could not see:
//! absence is proven by a source's watermark, trace by trace
//! ([`Visit::absent_until`](super::trace::Visit::absent_until)), never by the passing of time.

mod concern;
mod copies;
mod decide;
mod expiry;
mod failed_batches;
mod first_poll;
mod injection;
mod leaks;
mod memory;
mod namesake;
mod outbox;
mod put;
mod readability;
mod restart;
mod schema;
mod sighted;
mod snapshot;
mod sources;
mod stopping;
mod succession;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use self::copies::PendingCopies;
use self::expiry::Deadlines;
use self::injection::InjectionState;
pub use self::injection::LogGroupState;
use self::leaks::Leaks;
pub use self::leaks::{LeakEpisode, MAX_KNOWN_LEAKS};
use self::memory::Memory;
pub use self::namesake::{COPY_COMES_WITHIN, Namesake};
use self::outbox::Outbox;
pub use self::outbox::{Changes, SeenSource};
pub use self::readability::BlindTenant;
pub use self::restart::Restored;
pub use self::schema::LearnedSchema;
use self::schema::Schemas;
pub use self::snapshot::{
    Drifted, HeldBack, LeakedTenant, Queue, Snapshot, SourceView, TenantView, Violation,
};
pub use self::sources::Failing;
use self::sources::{Sources, VisibilityChange};
use super::canary::Integrity;
use super::copies::{Presence, UnchargedReason};
use super::format::UnreadableReason;
use super::outcome::Outcome;
use super::schema::{ExpectedSchema, Fingerprint, TableSchema};
use super::sighting::{
    Decoding, Drift, FailureKind, Locator, Poll, ReadStats, RecordOwner, Sighting, UnreadableRecord, Wanted,
};
use super::tag::{InstanceCode, Keyring, Tag, TraceId};
use super::time::{Interval, OwnClock, Timestamp};
use super::topology::{LogGroupId, Role, SourceId, StageId, TenantId, Topology};
use super::trace::{Judgement, Origin, Trace};
use crate::domain::foreign::ForeignText;

/// How the tracker judges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// End-to-end threshold: a trace that takes longer missed it.
    pub slo: Duration,
    /// After this a trace that is proven absent is lost.
    pub give_up: Duration,
    /// How long after the deadline a blind source may still come back before a trace is called unobserved.
    pub grace: Duration,
    /// A source whose watermark is older than this while traces wait is blind.
    pub blind_after: Duration,
    /// How long polls by id still include a trace after it was seen, to catch a second copy.
    pub recheck_for: Duration,
    /// How long after a second copy was found in objects that may be moved both must still exist to be a
    /// duplicate.
    pub copy_recheck: Duration,
    /// Maximum number of traces in flight; beyond it, no canary is sent.
    pub max_in_flight: usize,
    /// Number of finished traces that are kept.
    pub remember: usize,
    /// Number of the newest traces, and of the last failed ones, that are kept of each tenant besides.
    pub remember_of_tenant: usize,
    /// The code of this run in its tags.
    pub instance: InstanceCode,
    /// How long a process and the one that it replaces may run side by side.
    pub handover: Duration,
    /// Whether a store keeps for a successor what is in flight.
    pub is_kept: bool,
}

/// Something that happened, to be applied to the tracker.
#[derive(Clone, Debug)]
pub enum Input {
    /// Scheduled canaries that were never sent, because the process was stopped, starved or full.
    Missed { tenant: TenantId, count: u64 },
    /// The result of a put. Only the first one counts.
    Put { trace: TraceId, result: PutResult },
    /// A poll was answered.
    Polled { source: SourceId, poll: Poll },
    PollFailed {
        source: SourceId,
        kind: FailureKind,
        /// What happened, as text for people.
        detail: ForeignText,
    },
    /// What a poll in progress has been decoding for long; `None` if nothing any more.
    Decoding { source: SourceId, decoding: Option<Decoding> },
    /// The schema of a source was read.
    SchemaRead { source: SourceId, schema: Arc<TableSchema> },
    /// It was checked which records or objects exist, of those that [`Wanted::checks`] names. One that is not
    /// in `checked` is checked again.
    CopiesChecked { source: SourceId, checked: Vec<(Arc<str>, Presence)> },
    /// The platform reported the state of the host's clock.
    ClockChecked(OwnClock),
    /// The difference between the probe's clock and the system's.
    ClockCompared(Duration),
    /// Time passed.
    Tick,
}

/// The result of a put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PutResult {
    /// CloudWatch Logs took it.
    Accepted {
        /// An earlier attempt was not answered, so it may be stored twice.
        doubled: bool,
    },
    /// No attempt was answered: it may have been taken.
    Ambiguous {
        /// Several attempts were not answered, so it may be stored twice.
        doubled: bool,
        /// What came of the last attempt, as text for people.
        reason: ForeignText,
    },
    /// CloudWatch Logs did not take it.
    Refused {
        /// Why, as text for people.
        reason: ForeignText,
    },
}

/// Why a canary must not be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotPlanned {
    /// As many traces are in flight as [`Settings::max_in_flight`] allows.
    #[error("too many traces are in flight")]
    Full,
    /// Its tenant is not in the topology.
    #[error("the tenant is not configured")]
    UnknownTenant,
    /// A trace has this id already.
    #[error("the trace is known already")]
    Known,
}

/// What follows from an input.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the fields are tenant, stage, trace throughout")]
pub enum Event {
    /// A canary was registered and may be put.
    Planned {
        tenant: TenantId,
        trace: TraceId,
    },
    /// The limit of traces in flight is reached, so a canary was not sent.
    Full {
        tenant: TenantId,
    },
    /// Scheduled canaries were never sent.
    Missed {
        tenant: TenantId,
        count: u64,
    },
    /// CloudWatch Logs took it.
    Accepted {
        tenant: TenantId,
        trace: TraceId,
    },
    /// Whether CloudWatch Logs took it is unknown.
    Ambiguous {
        tenant: TenantId,
        trace: TraceId,
        reason: ForeignText,
    },
    /// A canary was seen at a stage for the first time.
    Arrived {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
        interval: Interval,
        noticed_after: Duration,
    },
    /// A hop was measured. `counted`: it was counted as overdue before.
    HopMeasured {
        tenant: TenantId,
        hop: StageId,
        trace: TraceId,
        latency: Duration,
        counted: bool,
    },
    /// A hop is proven to have passed its target.
    HopOverdue {
        tenant: TenantId,
        hop: StageId,
        trace: TraceId,
    },
    /// A canary reached the parent and provably never this stage. `waited`: from the parent to the deadline; `None` if
    /// a histogram that is no longer there counted it as overdue, so that it enters none.
    HopMissing {
        tenant: TenantId,
        hop: StageId,
        trace: TraceId,
        waited: Option<Duration>,
        counted: bool,
    },
    /// The same at a source that has never shown a canary of this tenant, which proves nothing lost.
    HopNeverSeen {
        tenant: TenantId,
        hop: StageId,
        trace: TraceId,
        waited: Option<Duration>,
        counted: bool,
    },
    /// A canary was given up at a stage that showed neither the canary nor its absence, because it could not be read.
    HopUnobserved {
        tenant: TenantId,
        hop: StageId,
        trace: TraceId,
    },
    /// It reached the end stage. `counted`: it was counted as overdue before. `Unjudged` enters no histogram.
    EndToEnd {
        tenant: TenantId,
        trace: TraceId,
        latency: Duration,
        judgement: Judgement,
        counted: bool,
    },
    /// It is proven to have missed the end-to-end threshold.
    Overdue {
        tenant: TenantId,
        trace: TraceId,
    },
    /// It was given up at its deadline. `counted`: it was counted as overdue before.
    GaveUp {
        tenant: TenantId,
        trace: TraceId,
        waited: Duration,
        counted: bool,
    },
    /// The trace has its outcome. `adopted`: another process may have given it one.
    Ended {
        tenant: TenantId,
        trace: TraceId,
        outcome: Outcome,
        adopted: bool,
    },
    /// It reached the end stage in time, or may have, but was found only after it had been given up.
    LateDiscovery {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
    },
    /// It reached the end stage after its deadline, and after it had been given up.
    LateArrival {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
    },
    /// A second stored copy, the first one of this canary at this stage.
    Duplicate {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
        locator: Locator,
    },
    /// A second stored copy that is not charged to the pipeline.
    UnchargedCopy {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
        reason: UnchargedReason,
    },
    /// A copy that was cut or changed.
    Corrupted {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
    },
    /// A canary was found with another tenant.
    IsolationViolation {
        tenant: LeakedTenant,
        stage: StageId,
        trace: TraceId,
        found_in: ForeignText,
    },
    /// Tags that none of our keys signed.
    ForeignTags {
        stage: StageId,
        source: SourceId,
        count: u64,
    },
    /// A canary of a previous run, known only by its tag, is tracked from now on.
    Adopted {
        tenant: TenantId,
        trace: TraceId,
    },
    /// A valid tag of a trace that is not tracked: another instance's, or one that was forgotten.
    Stray {
        stage: StageId,
        tenant: Option<TenantId>,
        other_instance: bool,
    },
    /// Another process sends canaries under this instance's name, and has for longer than one that replaces
    /// another would.
    SameName {
        stage: StageId,
        trace: TraceId,
    },
    /// The clocks of two stages, or a stage's and the probe's, disagree by more than the allowance.
    ClockInversion {
        tenant: TenantId,
        stage: StageId,
        trace: TraceId,
    },
    /// A poll was answered.
    PollAnswered {
        source: SourceId,
        complete: bool,
        took: Duration,
        stats: ReadStats,
    },
    PollFailed {
        source: SourceId,
        kind: FailureKind,
    },
    /// A source turned blind: for one tenant because its records cannot be read, or for all that it serves.
    WentBlind {
        source: SourceId,
        tenant: Option<TenantId>,
        reason: ForeignText,
    },
    /// It is visible again.
    SawAgain {
        source: SourceId,
        tenant: Option<TenantId>,
        blind_for: Duration,
    },
    /// Records could not be read. `new_shape` describes the first one of a shape that was not met before.
    Unreadable {
        stage: StageId,
        source: SourceId,
        reason: UnreadableReason,
        count: u64,
        new_shape: Option<ForeignText>,
    },
    /// A tenant's canary was found at a source for the first time ever.
    FirstSeen {
        source: SourceId,
        tenant: TenantId,
    },
    /// The schema of a source was learned, and is expected from now on.
    SchemaLearned {
        source: SourceId,
        schema: Arc<TableSchema>,
    },
    /// The schema of a source differs from the expected one. `accept` is the fingerprint of the actual
    /// schema, if the expected one is learned and not configured.
    SchemaDrifted {
        source: SourceId,
        changes: Arc<[Drift]>,
        accept: Option<Fingerprint>,
    },
    /// The schema of a source is as expected again.
    SchemaRestored {
        source: SourceId,
    },
    /// The host's clock is no longer synchronized.
    ClockAdrift {
        error_bound: Option<Duration>,
    },
    /// The host's clock is synchronized again.
    ClockInStep {
        error_bound: Option<Duration>,
    },
}

/// Decides the outcome of every trace, its hops and its end-to-end judgement.
#[derive(Debug)]
pub struct Tracker {
    topology: Arc<Topology>,
    settings: Settings,
    /// Traces in flight, and those with an outcome while a side stage is still open.
    open: BTreeMap<TraceId, Arc<Trace>>,
    /// How many of `open` have no outcome.
    in_flight: usize,
    /// When each open trace is closed at the latest.
    expiries: Deadlines,
    finished: Memory,
    sources: Sources,
    schemas: Schemas,
    /// By [`TenantId`].
    injections: Vec<InjectionState>,
    leaks: Leaks,
    /// Second copies that may have been moved.
    pending: PendingCopies,
    outbox: Outbox,
    /// What the platform last reported of the host's clock.
    clock: Option<OwnClock>,
    /// How far the probe's clock and the system's differ.
    clock_offset: Duration,
    /// Another process that sends canaries under this instance's name.
    namesake: Option<Namesake>,
    /// Other runs of this name of which a canary was found. At most 256, because that many have different codes.
    other_runs: BTreeMap<InstanceCode, Namesake>,
    /// Open traces whose outcome is not reported yet, because it may be another process' to count.
    uncounted: BTreeSet<TraceId>,
    /// Until when another process' copy of an uncounted trace may still come.
    other_copies_until: Deadlines,
    /// The keys of the plan by which this probe and those before it send; `None` if it is not known.
    keys: Option<Arc<Keyring>>,
    /// When this process began to track.
    began: Timestamp,
    latest_now: Timestamp,
}

impl Tracker {
    /// A tracker without traces, which begins now.
    #[must_use]
    pub fn new(topology: Arc<Topology>, settings: Settings, now: Timestamp) -> Self {
        let tenants = topology.tenants().len();
        Self {
            settings,
            open: BTreeMap::new(),
            in_flight: 0,
            expiries: Deadlines::default(),
            finished: Memory::new(tenants, settings.remember, settings.remember_of_tenant),
            sources: Sources::new(&topology),
            schemas: Schemas::new(topology.sources().len()),
            injections: topology.tenants().iter().map(InjectionState::new).collect(),
            leaks: Leaks::default(),
            pending: PendingCopies::default(),
            outbox: Outbox::default(),
            clock: None,
            clock_offset: Duration::ZERO,
            namesake: None,
            other_runs: BTreeMap::new(),
            uncounted: BTreeSet::new(),
            other_copies_until: Deadlines::default(),
            keys: None,
            began: now,
            latest_now: Timestamp::MIN,
            topology,
        }
    }

    /// Lets the tracker recognise the canaries of earlier runs by their plan, whatever the names of those were.
    #[must_use]
    pub fn with_plan(self, keys: Arc<Keyring>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// When this process began to track. What was planned before belongs to others.
    #[must_use]
    pub const fn began(&self) -> Timestamp {
        self.began
    }

    /// Registers a canary that is about to be put into its tenant's first log group: see
    /// [`plan_for`](Self::plan_for).
    ///
    /// # Errors
    ///
    /// [`NotPlanned`]: it must not be sent.
    pub fn plan(&mut self, tag: Tag, now: Timestamp, events: &mut Vec<Event>) -> Result<(), NotPlanned> {
        self.plan_for(LogGroupId::FIRST, tag, now, events)
    }

    /// Registers a canary that is about to be put into a log group of its tenant, and returns whether it may
    /// be. It must be registered before it is put, so that no sighting can come before it. `events` gets what
    /// follows.
    ///
    /// # Errors
    ///
    /// [`NotPlanned`]: it must not be sent.
    pub fn plan_for(
        &mut self,
        log_group: LogGroupId,
        tag: Tag,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<(), NotPlanned> {
        let now = self.advance(now);
        let planned = self.planned(log_group, tag, now, events);
        self.time_passed(now, events);
        planned
    }

    /// Applies what happened and returns what follows.
    ///
    /// A `now` that runs backwards is taken as the latest one so far: a stepped clock must not undo a
    /// decision.
    pub fn apply(&mut self, input: Input, now: Timestamp) -> Vec<Event> {
        let now = self.advance(now);
        let mut events = Vec::new();
        // The answer was under way when the source left the configuration.
        if input.source().is_some_and(|source| !self.topology.has_source(source)) {
            return events;
        }
        match input {
            Input::Missed { tenant, count } => {
                self.injections[usize::from(tenant.0)].record_missed(count, now);
                events.push(Event::Missed { tenant, count });
            }
            Input::Put { trace, result } => self.put(trace, result, now, &mut events),
            Input::Polled { source, poll } => self.polled(source, poll, now, &mut events),
            Input::PollFailed { source, kind, detail } => {
                events.push(Event::PollFailed { source, kind });
                self.sources[source].failed(kind, detail, now);
                self.mark_unobserved(source);
                self.reconsider(source, now, &mut events);
            }
            Input::Decoding { source, decoding } => self.sources[source].decoding = decoding,
            Input::SchemaRead { source, schema } => events.extend(self.schemas.read(source, schema, now)),
            Input::CopiesChecked { source, checked } => {
                self.copies_checked(source, &checked, now, &mut events);
            }
            Input::ClockChecked(clock) => events.extend(self.clock_checked(clock)),
            Input::ClockCompared(offset) => self.clock_offset = offset,
            Input::Tick => {}
        }
        self.time_passed(now, &mut events);
        events
    }

    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.latest_now = self.latest_now.max(now);
        self.latest_now
    }

    fn time_passed(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        self.expire(now, events);
        self.check_copies(now, events);
        self.update_visibility(now, events);
    }

    /// When the passing of time alone will change something.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let [expiry, copy] =
            [&self.expiries, &self.other_copies_until].map(|of| of.first().map(|(at, _)| at));
        let blind = self.sources.next_blind_at(self.settings.blind_after);
        [expiry, copy, blind, self.pending.next_at()].into_iter().flatten().min()
    }

    /// The sources whose list of wanted traces changed since the last call.
    pub fn take_changed(&mut self) -> impl Iterator<Item = SourceId> + use<> {
        self.sources.take_changed().into_iter()
    }

    /// Sets what the schema of a source is compared with, whatever was or will be learned.
    pub fn expect_schema(&mut self, source: SourceId, expected: ExpectedSchema) {
        self.schemas.expect(source, expected);
    }

    /// What an observer should find at a source.
    #[must_use]
    pub fn wanted(&self, source: SourceId) -> Wanted {
        let state = &self.sources[source];
        let spec = self.topology.stage(self.topology.source(source).stage);
        let slo = (spec.role == Role::End).then_some(self.settings.slo);
        Wanted {
            nothing_before: self.nothing_before(source),
            revision: self.sources.revision(),
            waiting: state.waiting.clone(),
            recently_seen: state.recently_seen.clone(),
            checkpoints: state.checkpoints([slo, Some(self.settings.give_up)]),
            checks: self.checks(source),
            final_poll: None,
        }
    }

    /// How many traces have no outcome yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// For when the oldest trace was planned of which more may be learned; `None` if there is none.
    #[must_use]
    pub fn oldest_open(&self) -> Option<Timestamp> {
        self.open.first_key_value().map(|(id, _)| id.planned_at())
    }

    /// The traces that have no outcome yet, oldest first.
    pub fn in_flight_traces(&self) -> impl Iterator<Item = &Trace> {
        self.open.values().map(AsRef::as_ref).filter(|trace| trace.ended.is_none())
    }

    /// A trace, open or finished, if it is still known.
    #[must_use]
    pub fn trace(&self, id: TraceId) -> Option<&Trace> {
        self.open.get(&id).or_else(|| self.finished.get(id)).map(AsRef::as_ref)
    }

    fn trace_mut(&mut self, id: TraceId) -> Option<&mut Trace> {
        self.open.get_mut(&id).or_else(|| self.finished.get_mut(id)).map(Arc::make_mut)
    }

    fn is_known(&self, id: TraceId) -> bool {
        self.open.contains_key(&id) || self.finished.contains(id)
    }

    fn planned(
        &mut self,
        log_group: LogGroupId,
        tag: Tag,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<(), NotPlanned> {
        let tenant = self.topology.tenant_of(&tag).ok_or(NotPlanned::UnknownTenant)?;
        if self.in_flight >= self.settings.max_in_flight {
            self.injections[usize::from(tenant.0)].record_missed(1, now);
            events.push(Event::Full { tenant });
            return Err(NotPlanned::Full);
        }
        if self.is_known(tag.trace) {
            self.comes_again(tag.trace, tenant, now, events);
            return Err(NotPlanned::Known);
        }
        let trace = Trace::new(tag, tenant, self.topology.stages().len(), Origin::Planned);
        self.follow(Trace { log_group: Some(log_group), ..trace }, now);
        self.injections[usize::from(tenant.0)].planned_at = Some(tag.trace.planned_at());
        events.push(Event::Planned { tenant, trace: tag.trace });
        Ok(())
    }

    /// Adds an open trace, which waits at every stage that has not shown it.
    fn follow(&mut self, trace: Trace, now: Timestamp) {
        let id = trace.id();
        self.in_flight += usize::from(trace.ended.is_none());
        self.expiries.insert(id, self.expiry(&trace, now));
        for stage in self.topology.stage_ids().filter(|stage| trace.visit(*stage).arrival.is_none()) {
            let due = self.hop_due(&trace, stage);
            self.sources.wait(self.topology.source_of(trace.tenant, stage), trace.wanted(), due, now);
        }
        self.outbox.note_changed(id);
        self.open.insert(id, Arc::new(trace));
    }

    fn polled(&mut self, source: SourceId, poll: Poll, now: Timestamp, events: &mut Vec<Event>) {
        let stage = self.topology.source(source).stage;
        events.push(Event::PollAnswered {
            source,
            complete: poll.watermark.is_some() || !self.topology.stage(stage).capabilities.absence,
            took: poll.finished.since(poll.started),
            stats: poll.stats,
        });
        if poll.stats.foreign_tags > 0 {
            events.push(Event::ForeignTags { stage, source, count: poll.stats.foreign_tags });
        }
        // Sources list copies in any order; the one that had certainly arrived first is the arrival. A log line
        // that mentions a canary is not.
        let allowance = self.allowance(stage);
        let mut sightings = poll.sightings;
        sightings.extend(poll.failed_batches.iter().flat_map(|batch| self.in_batch(source, batch)));
        let is_whole = |seen: &Sighting| seen.found_in.decoded && seen.integrity == Integrity::Intact;
        let whole: HashSet<_> =
            sightings.iter().filter(|seen| is_whole(seen)).map(|seen| seen.tag.trace).collect();
        sightings.sort_by_key(|seen| {
            (whole.contains(&seen.tag.trace) && !is_whole(seen), seen.certainly_by(allowance))
        });
        let mut arrived = Vec::new();
        for sighting in sightings {
            arrived.extend(self.sighted(source, stage, sighting, now, events));
        }
        // Only now: a copy that is listed later may have been stored earlier.
        for id in arrived {
            self.arrived(id, stage, now, events);
        }
        self.take_unreadable(source, stage, &poll.unreadable, events);
        let state = &mut self.sources[source];
        state.answered(poll.started, poll.watermark, &poll.stats, now);
        match poll.watermark {
            None if !self.topology.stage(stage).capabilities.absence => {}
            None => self.mark_unobserved(source),
            Some(watermark) => self.prove_absence(source, stage, watermark, poll.revision),
        }
        self.sources[source].expire_recently_seen(now);
        self.update_blind_tenants(source, stage, now, events);
        self.reconsider(source, now, events);
    }

    /// Everything that arrived at a source before `watermark` was read, and what was wanted was not found: it
    /// had not arrived, unless it may be in a record that could not be read.
    fn prove_absence(&mut self, source: SourceId, stage: StageId, watermark: Timestamp, revision: u64) {
        let wanted = self.sources[source].take_wanted_in(revision);
        let state = &self.sources[source];
        for id in wanted {
            // One of an earlier process may have come by before this one began to read.
            let Some(trace) = self.open.get_mut(&id).filter(|trace| trace.origin != Origin::Adopted) else {
                continue;
            };
            let trace = Arc::make_mut(trace);
            let withheld = state.readability.withholds(trace.tenant, trace.planned_at).is_some();
            let visit = &mut trace.stages[usize::from(stage.0)];
            let changed = std::mem::replace(&mut visit.withheld, withheld) != withheld;
            if withheld {
                visit.gap_since_poll = true;
                if changed {
                    self.outbox.note_changed(id);
                }
                continue;
            }
            visit.absent_until = visit.absent_until.max(Some(watermark));
            visit.empty_polls = visit.empty_polls.saturating_add(1);
            visit.gap_since_poll = false;
            if changed {
                self.outbox.note_changed(id);
            } else {
                self.outbox.note_proven(id);
            }
        }
    }

    fn take_unreadable(
        &mut self,
        source: SourceId,
        stage: StageId,
        records: &[UnreadableRecord],
        events: &mut Vec<Event>,
    ) {
        for record in records {
            let map = &self.topology;
            let owners: Vec<TenantId> = match &record.owner {
                Some(RecordOwner::Label(label)) => map.tenants_by_label(label).collect(),
                Some(RecordOwner::Tag(tag)) => map.tenant_of(tag).into_iter().collect(),
                None => Vec::new(),
            };
            let readability = &mut self.sources[source].readability;
            let mut new_shape = false;
            for owner in &owners {
                new_shape |= readability.unreadable(record, Some(*owner));
            }
            // If nobody is known to own it, it may be anybody's.
            new_shape |= owners.is_empty() && readability.unreadable(record, None);
            let UnreadableRecord { part, count, ref text, .. } = *record;
            let new_shape = new_shape.then(|| text.clone());
            events.push(Event::Unreadable { stage, source, reason: part.reason, count, new_shape });
        }
    }

    /// A source is blind for a tenant while canaries stay out for longer than they may be missing, and may be
    /// in what could not be read.
    fn update_blind_tenants(
        &mut self,
        source: SourceId,
        stage: StageId,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let spec = self.topology.stage(stage);
        let missing_after = spec.missing_after;
        let state = &self.sources[source];
        let mut blind: BTreeMap<TenantId, BlindTenant> = BTreeMap::new();
        // One that arrived at the end is expected at every other stage, but not among dead letters.
        let is_expected = |trace: &Trace| match trace.ended {
            None => true,
            Some((Outcome::Delivered | Outcome::Late, _)) => spec.role != Role::DeadLetter,
            Some(_) => false,
        };
        let waiting = state.waiting.iter().filter(|_| !state.readability.is_clear());
        let waiting = waiting.filter_map(|trace| self.open.get(&trace.tag.trace));
        for trace in waiting.filter(|trace| trace.visit(stage).withheld && is_expected(trace)) {
            let Some(begun) = trace.hop_start(&self.topology, stage) else { continue };
            let since = begun.latest + missing_after;
            let Some(reason) = state.readability.withholds(trace.tenant, trace.planned_at) else { continue };
            if since < now {
                let first = blind.entry(trace.tenant).or_insert(BlindTenant { since, reason });
                first.since = first.since.min(since);
            }
        }
        let (new, over) = self.sources[source].readability.update_blind(blind);
        for tenant in new {
            let reason = self.sources[source].readability.blind()[&tenant].reason.clone();
            events.push(Event::WentBlind { source, tenant: Some(tenant), reason });
        }
        for (tenant, since) in over {
            events.push(Event::SawAgain { source, tenant: Some(tenant), blind_for: now.since(since) });
        }
    }

    fn clock_checked(&mut self, mut clock: OwnClock) -> Option<Event> {
        let before = self.clock;
        // A bound that is no longer reported is more likely forgotten than zero.
        clock.error_bound = clock.error_bound.or_else(|| before.and_then(|before| before.error_bound));
        self.clock = Some(clock);
        let OwnClock { error_bound, synchronized, .. } = clock;
        match (before.is_none_or(|before| before.synchronized), synchronized) {
            (true, false) => Some(Event::ClockAdrift { error_bound }),
            (false, true) => Some(Event::ClockInStep { error_bound }),
            (true, true) | (false, false) => None,
        }
    }

    /// How far a stage's clock and the probe's may disagree: the stage's allowance, the error bound of the
    /// host's clock, and the difference between that and the probe's.
    fn allowance(&self, stage: StageId) -> Duration {
        let ours = self.clock.and_then(|clock| clock.error_bound).unwrap_or_default();
        self.topology.stage(stage).clock_allowance + ours + self.clock_offset
    }

    /// Notes for every trace that waits at a source that it may arrive there unobserved from now on.
    fn mark_unobserved(&mut self, source: SourceId) {
        let stage = self.topology.source(source).stage;
        for wanted in self.sources[source].waiting.iter() {
            if let Some(trace) = self.open.get_mut(&wanted.tag.trace)
                && !trace.visit(stage).gap_since_poll
            {
                Arc::make_mut(trace).stages[usize::from(stage.0)].gap_since_poll = true;
            }
        }
    }

    /// Considers every trace that waits at a source.
    fn reconsider(&mut self, source: SourceId, now: Timestamp, events: &mut Vec<Event>) {
        // Whether the next poll is worth waiting for depends on whether the source is visible now.
        self.update_visibility(now, events);
        let waiting = self.sources[source].waiting.clone();
        for trace in waiting.iter() {
            self.consider(trace.tag.trace, now, events);
        }
    }

    fn update_visibility(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        for (source, change) in self.sources.update_visibility(self.settings.blind_after, now) {
            events.push(match change {
                VisibilityChange::WentBlind(reason) => Event::WentBlind { source, tenant: None, reason },
                VisibilityChange::SawAgain(blind_for) => Event::SawAgain { source, tenant: None, blind_for },
            });
        }
    }
}

/// Whether traces pass a stage of this role, rather than end there as dead letters.
fn on_the_way(role: Role) -> bool {
    match role {
        Role::Way | Role::End => true,
        Role::DeadLetter => false,
    }
}
