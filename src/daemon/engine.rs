//! The engine: selects what happens next, lets the tracker decide, and carries out what follows.
//!
//! One task owns the tracker and the schedules. Observers and injectors send it their results; it hands the
//! events to the metrics and the log, gives each observer its list of wanted traces, and publishes a snapshot
//! for the page. It never waits for a client.
//!
//! The store is written ahead. One round takes every input that is ready, commits what changed, and only then
//! counts, sends and shows it: a canary is on disk before it can be put, and an outcome before it is counted,
//! so a restart neither forgets the one nor counts the other again.

mod agenda;
mod succession;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::agenda::Agenda;
pub use self::succession::{Change, LaneChange};
use super::clock::ProbeClock;
use super::figures::SharedFigures;
use super::hold::{Outbound, Polled};
use super::last_scrape::Scrapes;
use super::log_events::{self, EventLog};
use super::reload::Reloads;
use super::store_writer::{CommitOutcome, StoreWriter};
use crate::cloud::budget::Budgets;
use crate::domain::conditions::{Assessment, Criteria};
use crate::domain::drill::Drills;
use crate::domain::incidents::{Episode, Incidents, Step};
use crate::domain::plan::{Plan, Slot};
use crate::domain::schedule::Schedule;
use crate::domain::sighting::Wanted;
use crate::domain::steady::{Compared, Offset};
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag};
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, SourceId, TenantId, Topology};
use crate::domain::tracker::{Changes, Event, Input, PutResult, Snapshot, Tracker};
use crate::export::Exporter;
use crate::inject::{CanaryLine, Report};
use crate::metrics::Metrics;

/// Minimum interval between two published snapshots, and between two comparisons of the clocks.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// Where snapshots take long, this many times as long lies between two of them, so that they take half a percent of a
/// core.
const PUBLISH_SPARES: u32 = 200;
/// Maximum interval between two published snapshots while something changes.
const PUBLISH_WITHIN: Duration = Duration::from_secs(1);
/// Maximum interval between two rounds, so that `/healthz` can tell that the engine runs.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Smallest change of the clock offset that is logged; smaller ones are noise.
const LOGGED_CHANGE: Duration = Duration::from_millis(10);
/// How long before the end of the grace period the last poll of every source begins at the latest: long enough
/// for most answers, and at most a fifth of the period.
const FINAL_POLL: Duration = Duration::from_secs(5);
/// How late a canary may be put without being counted as missed. Its latency counts from the planned
/// injection.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Minimum time from one round to the next: what comes within it shares a commit, and the lists of what is wanted change
/// once. Arrivals are measured by observers and not by when the engine takes them, so nothing gets less exact.
const GATHER: Duration = Duration::from_millis(4);

/// So many canaries that were absent for longer, and to which nothing else happened, are written at once.
const FEW_PROOFS: usize = 500;
/// How often more of them are. In between, nothing is counted that is not on disk, and what a crash takes is at most so
/// much of a proof.
const SAVE_PROOFS_EVERY: Duration = Duration::from_secs(5);

/// Maximum number of inputs of one round. More would delay puts for longer than a commit takes.
const MAX_INPUTS: usize = 256;

/// What the engine does for one tenant.
#[derive(Debug)]
pub struct Lane {
    /// When canaries are put.
    pub schedule: Schedule,
    /// Their sizes in bytes, used in turn.
    pub sizes: Vec<u32>,
    /// To the injectors of the tenant's log groups, used in turn.
    pub outbound: Vec<Outbound>,
}

impl Lane {
    #[must_use]
    pub fn new(schedule: Schedule, sizes: Vec<u32>, outbound: Vec<Outbound>) -> Self {
        Self { schedule, sizes, outbound }
    }

    /// The size and the log group of the canary of a slot.
    fn size_and_log_group(&self, slot: &Slot) -> (u32, LogGroupId) {
        let groups = self.outbound.len();
        let size = self.sizes.get(slot.size(self.sizes.len(), groups)).copied().unwrap_or_default();
        (size, slot.log_group(groups))
    }
}

/// The one task that owns the tracker and the schedules: it decides what each input means and carries out
/// what follows.
pub struct Engine {
    pub tracker: Tracker,
    pub topology: Arc<Topology>,
    pub store: StoreWriter,
    pub metrics: Metrics,
    pub keys: Arc<Keyring>,
    /// The code of this run in tags.
    pub instance: InstanceCode,
    /// Of each tenant that is configured. Dropping a lane ends the injectors that no other one uses.
    pub lanes: BTreeMap<TenantId, Lane>,
    /// When canaries of the lanes are due.
    pub agenda: Agenda,
    /// The observers, and what each should find. Dropping one ends it.
    pub polled: BTreeMap<SourceId, Polled>,
    /// For the page.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// From the observers.
    pub inputs: mpsc::Receiver<Input>,
    /// From the injectors.
    pub puts: mpsc::Receiver<Report>,
    /// From who reads the configuration again.
    pub changes: mpsc::Receiver<Change>,
    /// What came of reading the configuration again.
    pub reloads: watch::Receiver<Reloads>,
    /// What polls may take, to tell of those that are held back.
    pub budgets: Budgets,
    /// Waits for the first snapshot of a new configuration.
    pub in_force: Option<oneshot::Sender<bool>>,
    /// When the last canary of a tenant that leaves was closed, or the tenant left.
    pub quiet_since: BTreeMap<TenantId, Timestamp>,
    /// Never steps.
    pub clock: ProbeClock,
    /// How long the engine waits for traces in flight after injection has ended.
    pub stop_grace: Duration,
    /// When the metrics are read.
    pub scrapes: Arc<Scrapes>,
    /// By what conditions are judged.
    pub criteria: Criteria,
    /// Figures over time.
    pub figures: SharedFigures,
    /// What was and is wrong.
    pub incidents: Incidents,
    /// Takes finished traces; `None` if they are not exported.
    pub exporter: Option<Exporter>,
    /// What is known of drills; `None` if there are none.
    pub drills: Option<watch::Receiver<Drills>>,
    /// Episodes that changed since the last commit. They follow from what is on disk, so they need not be
    /// there before they are shown.
    pub unsaved: Changes,
}

/// Why an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was stopped.
    Stopped,
    /// The system's clock was set by this much, so stamps of services contradict ours from now on. A new
    /// process must start with the new time.
    ClockStepped(Offset),
}

/// The effects of a round, which happen once it is on disk.
#[derive(Default)]
struct Round {
    events: Vec<(Event, Timestamp)>,
    outbound: Vec<(mpsc::OwnedPermit<CanaryLine>, CanaryLine)>,
}

/// What woke the engine.
enum Wake {
    Input(Input),
    Put(Report),
    Change(Box<Change>),
    Time,
    Stop,
}

impl Engine {
    /// Runs until `stop`; then ends injection, waits for traces that are open, has every source polled once more
    /// before the grace period is over, and logs what remains. Ends at once if the system's clock is set, and gives up what is in flight.
    pub async fn run(mut self, stop: CancellationToken) -> End {
        let (mut published, mut compared) = (Timestamp::MIN, Timestamp::MIN);
        let mut publish_every = PUBLISH_EVERY;
        let mut publish_at = None;
        let mut offset = Offset::default();
        let mut drain_until = None;
        let mut final_poll = None;
        let mut log = EventLog::default();
        let mut next_round = Instant::now();
        let mut save_proofs_at = Instant::now();
        loop {
            let now = self.clock.now();
            if drain_until.is_some_and(|until| now >= until || !self.tracker.awaits_sightings()) {
                break;
            }
            tokio::time::sleep_until(next_round).await;
            let wake = self.next_wake(self.clock.now(), drain_until, publish_at, &stop).await;
            next_round = Instant::now() + GATHER;
            let now = self.clock.now();
            let mut round = Round::default();
            match wake {
                Wake::Input(input) => self.apply(input, now, &mut round),
                Wake::Put(report) => self.put_reported(report, now, &mut round),
                Wake::Change(change) => self.succeed(*change, now, &mut round),
                Wake::Time => self.apply(Input::Tick, now, &mut round),
                Wake::Stop => {
                    // Dropping the lanes closes the injectors' queues; what is in them is still put.
                    self.lanes.clear();
                    let grace = self.drain();
                    drain_until = Some(now + grace);
                    final_poll = Some(now + grace.saturating_sub(FINAL_POLL.min(grace / 5)));
                    let polled = self.polled.values();
                    polled.for_each(|it| it.wanted.send_modify(|it| it.final_poll = final_poll));
                    log_events::stopping(self.tracker.in_flight(), grace);
                }
            }
            self.take_ready(&mut round);
            let now = self.clock.now();
            self.inject_due(now, &mut round);
            let publishes = self.in_force.is_some() || now.since(published) >= publish_every;
            if publishes {
                self.let_go(now, &mut round);
            }
            let with_proofs = drain_until.is_some()
                || self.tracker.unsaved_proofs() <= FEW_PROOFS
                || Instant::now() >= save_proofs_at;
            if with_proofs {
                save_proofs_at = Instant::now() + SAVE_PROOFS_EVERY;
            }
            self.commit(&mut round, with_proofs).await;
            self.carry_out(round, &mut log);
            log.summarise(now);
            self.update_observers(final_poll);
            if now.since(compared) >= PUBLISH_EVERY {
                match self.clock.check() {
                    Some(Compared::Stepped(by)) => return self.give_up(by, &stop).await,
                    Some(Compared::Within(now)) => {
                        self.clock_compared(std::mem::replace(&mut offset, now), now)
                    }
                    None => {}
                }
                compared = now;
            }
            if publishes {
                let began = Instant::now();
                self.publish(now);
                publish_every = (began.elapsed() * PUBLISH_SPARES).clamp(PUBLISH_EVERY, PUBLISH_WITHIN);
                // Whoever asked may not wait any more.
                let _told = self.in_force.take().map(|waits| waits.send(true));
                published = now;
                publish_at = None;
            } else {
                publish_at = Some(published + publish_every);
            }
        }
        let now = self.clock.now();
        log.finish();
        log_events::stopped(&self.tracker, &self.topology, now);
        if !self.store.is_configured() {
            let events = self.tracker.handover(now);
            events.iter().for_each(|event| self.metrics.record(event, now));
        }
        self.publish(now);
        self.store.close().await;
        End::Stopped
    }

    /// How long to wait for traces in flight. What ends meanwhile is counted by this process or by none, with a store
    /// or without, so there must be time for one more scrape after it. If scrapes are too rare for that, it takes half
    /// of the time.
    fn drain(&self) -> Duration {
        let wait = self.scrapes.longest_wait().unwrap_or_default();
        self.stop_grace.checked_sub(wait).unwrap_or(self.stop_grace / 2)
    }

    /// Ends because of a step of the system's clock: no latency, absence or deadline can be measured across
    /// it.
    async fn give_up(mut self, by: Offset, stop: &CancellationToken) -> End {
        // The injectors end with the engine; the supervisor must know that this is intended.
        stop.cancel();
        let now = self.clock.now();
        log_events::clock_stepped(by, self.tracker.in_flight());
        let events = self.tracker.abandon(now);
        self.commit(&mut Round::default(), true).await;
        events.iter().for_each(|event| self.metrics.record(event, now));
        self.publish(now);
        self.store.close().await;
        End::ClockStepped(by)
    }

    fn clock_compared(&mut self, before: Offset, offset: Offset) {
        self.metrics.clock_offset(offset);
        // Less than a millisecond is the noise of reading two clocks.
        let significant =
            |offset: Offset| Duration::from_millis(u64::try_from(offset.abs().as_millis()).unwrap_or(0));
        if significant(before) != significant(offset) {
            let _no_events = self.tracker.apply(Input::ClockCompared(offset.abs()), self.clock.now());
        }
        if offset.apart(before) > LOGGED_CHANGE {
            log_events::clock_followed(offset);
        }
    }

    async fn next_wake(
        &mut self,
        now: Timestamp,
        drain_until: Option<Timestamp>,
        publish_at: Option<Timestamp>,
        stop: &CancellationToken,
    ) -> Wake {
        let canary = self.agenda.next_at(&self.lanes);
        let deadlines = [canary, self.tracker.next_deadline(), drain_until, publish_at];
        let next = deadlines.into_iter().flatten().fold(now + HEARTBEAT, Timestamp::min);
        tokio::select! {
            () = stop.cancelled(), if drain_until.is_none() => Wake::Stop,
            Some(report) = self.puts.recv() => Wake::Put(report),
            Some(input) = self.inputs.recv() => Wake::Input(input),
            Some(change) = self.changes.recv(), if drain_until.is_none() => Wake::Change(change.into()),
            () = tokio::time::sleep(next.since(now)) => Wake::Time,
        }
    }

    fn take_ready(&mut self, round: &mut Round) {
        for _ in 1..MAX_INPUTS {
            if let Ok(report) = self.puts.try_recv() {
                self.put_reported(report, self.clock.now(), round);
            } else if let Ok(input) = self.inputs.try_recv() {
                self.apply(input, self.clock.now(), round);
            } else {
                break;
            }
        }
    }

    fn apply(&mut self, input: Input, now: Timestamp, round: &mut Round) {
        round.events.extend(self.tracker.apply(input, now).into_iter().map(|event| (event, now)));
    }

    /// Writes what changed to the store. Returns when it is on disk, or when the store is degraded.
    async fn commit(&mut self, round: &mut Round, with_proofs: bool) {
        let (tracker, figures) = (&mut self.tracker, &self.figures);
        let Changes { episodes, merged_episodes, drill, .. } = std::mem::take(&mut self.unsaved);
        let changed = if with_proofs { tracker.take_changes() } else { tracker.take_verdicts() };
        let mut changes = Changes { episodes, merged_episodes, drill, ..changed };
        figures.settle(&changes.settled, tracker.oldest_open(), self.clock.now());
        if let Some(exporter) = &self.exporter {
            exporter.offer(&changes.settled, &self.topology);
        }
        if self.store.is_configured() {
            changes.aggregates = figures.unsaved();
        }
        let (incidents, drills) = (&self.incidents, &self.drills);
        let everything = || Changes {
            episodes: incidents.all().cloned().collect(),
            drill: drills.as_ref().and_then(|drills| drills.borrow().proof),
            aggregates: figures.everything(),
            ..tracker.everything()
        };
        match self.store.commit(changes, everything).await {
            CommitOutcome::Done => figures.saved(),
            // The engine goes on: the writer has logged it and gets everything later.
            CommitOutcome::Degraded { .. } => {}
            CommitOutcome::LateLoad(mut loaded) => {
                let now = self.clock.now();
                figures.restore(std::mem::take(&mut loaded.aggregates), now);
                self.incidents.restore(std::mem::take(&mut loaded.episodes));
                let events = tracker.restore(*loaded, now);
                round.events.extend(events.into_iter().map(|event| (event, now)));
            }
        }
    }

    fn carry_out(&self, round: Round, log: &mut EventLog) {
        for (event, at) in &round.events {
            self.metrics.record(event, *at);
            log.write(event, &self.topology, *at);
        }
        for (place, canary) in round.outbound {
            place.send(canary);
        }
    }

    fn put_reported(&mut self, report: Report, now: Timestamp, round: &mut Round) {
        for put in report.puts {
            self.metrics.put(put.tenant, put.took, put.bytes);
        }
        for (trace, result) in report.results {
            self.apply(Input::Put { trace, result }, now, round);
        }
    }

    fn inject_due(&mut self, now: Timestamp, round: &mut Round) {
        while let Some(tenant) = self.agenda.take_due(&self.lanes, now) {
            let Some(lane) = self.lanes.get_mut(&tenant) else { continue };
            let due = lane.schedule.take_due(now);
            self.agenda.add(tenant, lane.schedule.next_at());
            if due.missed > 0 {
                self.apply(Input::Missed { tenant, count: due.missed }, now, round);
            }
            for slot in due.planned {
                self.inject(tenant, slot, now, round);
            }
        }
    }

    fn inject(&mut self, tenant: TenantId, slot: Slot, now: Timestamp, round: &mut Round) {
        let Some(lane) = self.lanes.get(&tenant) else { return };
        let (size, group) = lane.size_and_log_group(&slot);
        let Slot { trace, planned_at, .. } = slot;
        let spec = self.topology.tenant(tenant);
        let purpose = if self.topology.drill() == Some(tenant) { Purpose::Drill } else { Purpose::Probe };
        let tag = Tag::new(trace, spec.code, self.instance, size, purpose);
        let line = spec.template.render(&tag, &self.keys.sign(&tag));
        // The tracker must know the canary before it can be put, so that no sighting comes before it. It refuses
        // one that a previous run has sent according to the store, which occurs after the clock was set back.
        let mut events = Vec::new();
        let planned = self.tracker.plan_for(group, tag, now, &mut events);
        round.events.extend(events.into_iter().map(|event| (event, now)));
        if planned.is_err() {
            return;
        }
        // Reserve its place in the queue now, so that a full queue is known before the commit.
        let outbound = self.lanes.get(&tenant).and_then(|lane| lane.outbound.get(usize::from(group.0)));
        match outbound.map(|outbound| outbound.queue.clone().try_reserve_owned()) {
            Some(Ok(place)) => round.outbound.push((place, CanaryLine { trace, tenant, planned_at, line })),
            Some(Err(_)) | None => {
                let reason =
                    "the probe's own queue to the log group is full: earlier puts are not answered".into();
                self.apply(Input::Put { trace, result: PutResult::Refused { reason } }, now, round);
            }
        }
    }

    fn update_observers(&mut self, final_poll: Option<Timestamp>) {
        for source in self.tracker.take_changed() {
            if let Some(polled) = self.polled.get(&source) {
                let wanted = Wanted { final_poll, ..self.tracker.wanted(source) };
                // An observer takes the list when it polls, and is woken only if that is to be earlier.
                polled.wanted.send_if_modified(|before| {
                    let is_urgent = wanted.is_urgent_after(before);
                    *before = wanted;
                    is_urgent
                });
            }
        }
    }

    fn publish(&mut self, now: Timestamp) {
        let episodes = self.snapshots.borrow().episodes.clone();
        let not_stored = self.store.degraded();
        let drills = self.drills.as_ref().map(|drills| drills.borrow().clone());
        let proof = drills.as_ref().and_then(|drills| drills.proof);
        let shown = self.snapshots.borrow().drills.as_ref().and_then(|drills| drills.proof);
        self.unsaved.drill = self.unsaved.drill.or(proof.filter(|_| proof != shown));
        let reload_failed = self.reloads.borrow().failed.clone();
        let over_budget = self.budgets.held_back(now);
        let snapshot = self.tracker.snapshot(now);
        let mut snapshot = Snapshot { not_stored, over_budget, reload_failed, episodes, drills, ..snapshot };
        let found = Assessment::new(&snapshot, &self.criteria);
        let changes = self.incidents.update(&found, &snapshot);
        if let Some(episodes) = self.incidents.take_news() {
            snapshot.episodes = episodes;
        }
        self.tell_of_incidents(changes);
        self.metrics.show(&snapshot);
        self.metrics.show_conditions(&found);
        self.metrics.store_degraded(snapshot.not_stored.is_some());
        self.snapshots.send_replace(Arc::new(snapshot));
        self.figures.published(&found, now);
    }
}

impl Engine {
    fn tell_of_incidents(&mut self, changes: Vec<(Episode, Step)>) {
        for (episode, step) in changes {
            self.metrics.incident(&episode, step);
            log_events::incident(&episode, step, &self.topology);
            match step {
                Step::Merged => self.unsaved.merged_episodes.push(episode.id),
                Step::Began | Step::Became { .. } | Step::Changed | Step::Ended => {
                    self.unsaved.episodes.push(episode);
                }
            }
        }
    }
}

/// The schedule of a tenant, which starts now.
#[must_use]
pub fn schedule(start: Timestamp, plan: Plan) -> Schedule {
    Schedule::new(plan, start, TOLERANCE)
}

#[cfg(test)]
mod tests;
