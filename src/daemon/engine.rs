//! The engine: selects what happens next, lets the tracker decide, and carries out what follows.
//!
//! One task owns the tracker and the schedules. Observers and injectors send it what they saw and did; it hands the
//! events to the metrics and the log, tells each source's loop what to look for, and publishes a snapshot that the page
//! reads. Nothing in here waits for a client.
//!
//! The store is written ahead. One round takes every input that is ready, commits what changed, and only then counts,
//! sends and shows it: a canary is on disk before it can be put, and an outcome before it is counted, so a restart
//! neither forgets the one nor counts the other again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::log_events;
use super::store_writer::{Commit, StoreWriter};
use crate::domain::conditions::{Assessment, Criteria};
use crate::domain::schedule::Schedule;
use crate::domain::sighting::Wanted;
use crate::domain::steady::{Compared, Offset};
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};
use crate::domain::tracker::{Event, Input, PutResult, Snapshot, Tracker};
use crate::inject::{CanaryLine, Report};
use crate::metrics::Metrics;

/// What happened is published so soon after it, and the snapshot at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// The engine turns at least this often, so that a page can tell that it does.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A difference to the system's clock that changes by less than this at once is its usual noise.
const WORTH_TELLING: Duration = Duration::from_millis(10);
/// How late a canary may leave without being counted as missed. Its latency counts from the plan all the same.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Most inputs that one round takes before it commits. More would hold up the departures of a busy probe for longer than
/// a commit takes.
const GROUP: usize = 256;

/// What the engine does for one tenant.
#[derive(Debug)]
pub struct Lane {
    /// When canaries leave.
    pub schedule: Schedule,
    /// Their sizes in bytes, one after the other.
    pub sizes: Vec<u32>,
    /// To the injector of the tenant's log group.
    pub outbound: mpsc::Sender<CanaryLine>,
}

/// The one task that owns the tracker and the schedules: it decides what each input means and carries out what follows.
pub struct Engine {
    /// Decides.
    pub tracker: Tracker,
    /// The map.
    pub topology: Arc<Topology>,
    /// Keeps what outlives a restart.
    pub store: StoreWriter,
    /// Counts.
    pub metrics: Metrics,
    /// Signs tags.
    pub keys: Arc<Keyring>,
    /// What stands for this instance in tags.
    pub instance: InstanceCode,
    /// One for each tenant.
    pub lanes: Vec<Lane>,
    /// To each source's loop.
    pub wanted: Vec<watch::Sender<Wanted>>,
    /// To whoever shows what is.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// From the observers.
    pub inputs: mpsc::Receiver<Input>,
    /// From the injectors.
    pub puts: mpsc::Receiver<Report>,
    /// The wall clock, which never steps.
    pub clock: ProbeClock,
    /// Randomness for trace ids.
    pub random: fn() -> [u8; 10],
    /// How long traces in flight may still land after injection ended.
    pub stop_grace: Duration,
    /// By what conditions are judged.
    pub criteria: Criteria,
}

/// Why an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// The system's clock was set by this much. What services stamp contradicts ours from now on, and a new process must
    /// begin with the time as it is.
    ClockStepped(Offset),
}

/// What a round has decided, to be carried out once it is on disk.
#[derive(Default)]
struct Round {
    events: Vec<(Event, Timestamp)>,
    outbound: Vec<(mpsc::OwnedPermit<CanaryLine>, CanaryLine)>,
}

/// What woke the engine.
enum Wake {
    Input(Input),
    Put(Report),
    Time,
    Stop,
}

impl Engine {
    /// Runs until `stop`; then injects no more, waits for what is in flight to land, and says what did not. Ends sooner when
    /// the system's clock is set, and then gives up what is in flight.
    pub async fn run(mut self, stop: CancellationToken) -> End {
        let mut published = Timestamp::MIN;
        let mut publish_at = None;
        let mut offset = Offset::default();
        let mut drain_until = None;
        loop {
            let now = self.clock.now();
            if drain_until.is_some_and(|until| now >= until || self.tracker.in_flight() == 0) {
                break;
            }
            let wake = self.next_wake(now, drain_until, publish_at, &stop).await;
            let now = self.clock.now();
            let mut round = Round::default();
            match wake {
                Wake::Input(input) => self.apply(input, now, &mut round),
                Wake::Put(report) => self.put_reported(report, now, &mut round),
                Wake::Time => self.apply(Input::Tick, now, &mut round),
                Wake::Stop => {
                    // Dropping the lanes also closes the injectors' queues: what is in them still leaves.
                    self.lanes.clear();
                    drain_until = Some(now + self.stop_grace);
                    log_events::stopping(self.tracker.in_flight(), self.stop_grace);
                }
            }
            self.take_what_is_ready(&mut round);
            let now = self.clock.now();
            self.inject_what_is_due(now, &mut round);
            self.commit(&mut round).await;
            self.carry_out(round);
            self.tell_the_sources();
            if now.since(published) >= PUBLISH_EVERY {
                match self.clock.check() {
                    Some(Compared::Stepped(by)) => return self.give_up(by, &stop).await,
                    Some(Compared::Within(now)) => {
                        self.clock_compared(std::mem::replace(&mut offset, now), now)
                    }
                    None => {}
                }
                self.publish(now);
                published = now;
                publish_at = None;
            } else {
                publish_at = Some(published + PUBLISH_EVERY);
            }
        }
        let now = self.clock.now();
        self.publish(now);
        log_events::stopped(self.tracker.in_flight_traces(), &self.topology, now);
        self.store.close().await;
        End::Stopped
    }

    /// Ends because the time before and the time after a step of the system's clock have nothing to do with each other:
    /// no latency, no absence and no deadline can be told across it.
    async fn give_up(mut self, by: Offset, stop: &CancellationToken) -> End {
        // The injectors end with the engine, and whoever watches over them must know why.
        stop.cancel();
        let now = self.clock.now();
        log_events::clock_stepped(by, self.tracker.in_flight());
        let events = self.tracker.abandon(now);
        self.commit(&mut Round::default()).await;
        events.iter().for_each(|event| self.metrics.record(event, now));
        self.publish(now);
        self.store.close().await;
        End::ClockStepped(by)
    }

    fn clock_compared(&mut self, before: Offset, offset: Offset) {
        self.metrics.clock_offset(offset);
        // What is smaller is the noise of reading two clocks, and no clock of a service is allowed so little.
        let significant =
            |offset: Offset| Duration::from_millis(u64::try_from(offset.abs().as_millis()).unwrap_or(0));
        if significant(before) != significant(offset) {
            let _no_events = self.tracker.apply(Input::ClockCompared(offset.abs()), self.clock.now());
        }
        if offset.apart(before) > WORTH_TELLING {
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
        let canary = self.lanes.iter().map(|lane| lane.schedule.next_at()).min();
        let deadlines = [canary, self.tracker.next_deadline(), drain_until, publish_at];
        let next = deadlines.into_iter().flatten().fold(now + HEARTBEAT, Timestamp::min);
        tokio::select! {
            () = stop.cancelled(), if drain_until.is_none() => Wake::Stop,
            Some(report) = self.puts.recv() => Wake::Put(report),
            Some(input) = self.inputs.recv() => Wake::Input(input),
            () = tokio::time::sleep(next.since(now)) => Wake::Time,
        }
    }

    fn take_what_is_ready(&mut self, round: &mut Round) {
        for _ in 1..GROUP {
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

    /// Returns when what changed is on disk, or when the disk has had its chance.
    async fn commit(&mut self, round: &mut Round) {
        let tracker = &mut self.tracker;
        let changes = tracker.take_changes();
        match self.store.commit(changes, || tracker.everything()).await {
            // Degraded, the engine goes on: the writer has said so, and will be given everything later.
            Commit::Done | Commit::Degraded { .. } => {}
            Commit::LateLoad(loaded) => {
                let now = self.clock.now();
                let events = tracker.restore(loaded, now);
                round.events.extend(events.into_iter().map(|event| (event, now)));
            }
        }
    }

    fn carry_out(&self, round: Round) {
        for (event, at) in &round.events {
            self.metrics.record(event, *at);
            log_events::write(event, &self.topology);
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

    fn inject_what_is_due(&mut self, now: Timestamp, round: &mut Round) {
        let tenants = self.topology.tenant_ids();
        for (tenant, at) in tenants.zip(0..self.lanes.len()) {
            let due = self.lanes[at].schedule.take_due(now);
            if due.missed > 0 {
                self.apply(Input::Missed { tenant, count: due.missed }, now, round);
            }
            for (number, planned_at) in due.planned {
                let sizes = &self.lanes[at].sizes;
                let size = usize::try_from(number).unwrap_or(0) % sizes.len().max(1);
                let size = sizes.get(size).copied().unwrap_or_default();
                self.inject(tenant, planned_at, size, now, round);
            }
        }
    }

    fn inject(
        &mut self,
        tenant: TenantId,
        planned_at: Timestamp,
        size: u32,
        now: Timestamp,
        round: &mut Round,
    ) {
        let spec = self.topology.tenant(tenant);
        let trace = TraceId::new(planned_at, (self.random)());
        let tag = Tag::new(trace, spec.code, self.instance, size, Purpose::Probe);
        let line = spec.template.render(&tag, &self.keys.sign(&tag));
        // The tracker knows the canary before anyone can send it, so that no echo overtakes the registration.
        let mut events = Vec::new();
        let planned = self.tracker.plan(tag, now, &mut events);
        round.events.extend(events.into_iter().map(|event| (event, now)));
        if planned.is_err() {
            return;
        }
        // Its place in the queue is taken now, so that what becomes of it is settled before the commit.
        match self.lanes[usize::from(tenant.0)].outbound.clone().try_reserve_owned() {
            Ok(place) => round.outbound.push((place, CanaryLine { trace, tenant, planned_at, line })),
            Err(_) => {
                let reason = "the probe's own queue to the log group is full: earlier puts hang".into();
                self.apply(Input::Put { trace, result: PutResult::Refused { reason } }, now, round);
            }
        }
    }

    fn tell_the_sources(&mut self) {
        for source in self.tracker.take_changed() {
            self.wanted[source.0 as usize].send_replace(self.tracker.wanted(source));
        }
    }

    fn publish(&self, now: Timestamp) {
        let snapshot = Snapshot { not_stored: self.store.degraded(), ..self.tracker.snapshot(now) };
        self.metrics.show(&snapshot);
        self.metrics.show_conditions(&Assessment::new(&snapshot, &self.criteria));
        self.metrics.store_degraded(snapshot.not_stored.is_some());
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}

/// A schedule that starts now.
#[must_use]
pub fn schedule(start: Timestamp, interval: Duration, seed: u64) -> Schedule {
    Schedule::new(start, interval, TOLERANCE, seed)
}

#[cfg(test)]
mod tests;
