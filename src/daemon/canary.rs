//! Sends one canary into each log group, follows it through the pipeline, and tells what became of it.
//!
//! It uses the daemon's own parts, the injectors, the poll loops and the tracker, so that what it finds is what the
//! daemon would find. There is no schedule, no store, no page and no metric. The canaries have a purpose and an instance
//! of their own: a running daemon neither follows nor counts them, and this does not adopt the daemon's.

mod fate;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::supervisor::{Supervisor, Task};
use super::wire::{self, Common};
use super::{build, injecting, random};
use crate::cloud::Clients;
use crate::config::{Config, Source, Tenant};
use crate::domain::canary::Integrity;
use crate::domain::foreign::ForeignText;
use crate::domain::format::UnreadableReason;
use crate::domain::sighting::{FailureKind, Wanted};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, SourceId, StageId, TenantId, Topology};
use crate::domain::tracker::{self, Event, Input, Tracker};
use crate::inject::{CanaryLine, Report};
use crate::observe::{self, pace};

pub use self::fate::{Fate, Followed, State};

/// How often the state is told while nothing arrives.
const TICK: Duration = Duration::from_millis(500);
/// The tracker must not give up a canary before this ends.
const MARGIN: Duration = Duration::from_hours(1);
/// Most remarks that are kept of one canary.
const MAX_REMARKS: usize = 10;

/// What to send, and for how long to wait.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Whose log groups get a canary.
    pub tenants: Vec<TenantId>,
    /// How long to wait for all of them.
    pub timeout: Duration,
}

/// Follows canaries that were sent.
#[derive(Debug)]
struct Follower {
    tracker: Tracker,
    topology: Arc<Topology>,
    sent: Vec<Sent>,
    /// The last record of each source that could not be read.
    unreadable: HashMap<SourceId, ForeignText>,
    /// How many records were read of each source.
    records: HashMap<SourceId, u64>,
    /// The canaries whose content could not be checked where they were found.
    unchecked: HashSet<(TraceId, SourceId)>,
    /// The labels with which canaries were found that are not those of their tenants.
    mislabelled: HashMap<(TraceId, SourceId), ForeignText>,
    began: Timestamp,
}

/// One canary.
#[derive(Debug)]
struct Sent {
    trace: TraceId,
    tag: Tag,
    tenant: TenantId,
    log_group: Arc<str>,
    remarks: Vec<String>,
    /// Where it was found with another tenant.
    leaked: Option<ForeignText>,
}

/// Sends the canaries and follows them until all have ended, the time is over, or `stop`. Calls `show` whenever
/// something may have changed. Returns what became of each, in the order of the configuration.
///
/// # Errors
///
/// If the parts cannot be joined.
pub async fn run(
    config: &Config,
    clients: Clients,
    clock: ProbeClock,
    errand: &Errand,
    stop: &CancellationToken,
    mut show: impl FnMut(&[Followed]),
) -> anyhow::Result<Vec<Followed>> {
    let topology = Arc::new(config.topology());
    let recognizer = build::recognizer(&config.keyring, &topology);
    let end = CancellationToken::new();
    let common = Common { topology: topology.clone(), clients, recognizer, clock: clock.clone(), end };
    let now = clock.now();
    let mut follower = Follower::new(config, topology, errand, now);
    let (to_follower, mut inputs) = mpsc::channel(wire::INPUTS);
    let (reports, mut puts) = mpsc::channel(wire::INPUTS);
    let (observers, wanted) = observers(&common, &config.sources, &to_follower, &mut follower, now);
    let (injectors, queues) = injectors(&common, &config.tenants, &reports);
    let mut supervisor = Supervisor::new(Handle::current());
    observers.into_iter().chain(injectors).for_each(|task| supervisor.start(task));

    for (line, group) in follower.plan(config, errand, clock.now()) {
        if let Some(queue) = queues.get(&(line.tenant, group)) {
            // It cannot be full.
            let _sent = queue.try_send(line);
        }
    }
    let over = tokio::time::sleep(errand.timeout);
    let mut over = std::pin::pin!(over);
    loop {
        for source in follower.tracker.take_changed() {
            if let Some(Some(to_loop)) = wanted.get(source.0 as usize) {
                to_loop.send_replace(follower.tracker.wanted(source));
            }
        }
        let followed = follower.followed(clock.now(), Until::Now);
        show(&followed);
        if followed.iter().all(Followed::has_ended) {
            break;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = &mut over => break,
            Some(input) = inputs.recv() => follower.apply(input, clock.now()),
            Some(report) = puts.recv() => follower.put(report, clock.now()),
            () = tokio::time::sleep(TICK) => follower.apply(Input::Tick, clock.now()),
        }
    }
    common.end.cancel();
    supervisor.abort();
    let until = if stop.is_cancelled() { Until::Now } else { Until::TheEnd };
    Ok(follower.followed(clock.now(), until))
}

/// The queue to each log group of each tenant.
type Queues = HashMap<(TenantId, LogGroupId), mpsc::Sender<CanaryLine>>;

/// Makes the injectors as tasks, and the queues that they serve.
fn injectors(common: &Common, tenants: &[Tenant], reports: &mpsc::Sender<Report>) -> (Vec<Task>, Queues) {
    let (mut tasks, mut queues) = (Vec::new(), Queues::new());
    // Room for every canary that there is, so that no queue can be full.
    let most = tenants.iter().map(|tenant| tenant.log_groups.len()).sum::<usize>().max(1);
    for destination in build::destinations(tenants, &common.clients, &common.clock.wall()) {
        let (outbound, due) = mpsc::channel(most);
        queues.extend(destination.tenants.into_iter().map(|of| (of, outbound.clone())));
        let injecting = injecting::run(destination.injector, due, reports.clone(), common.end.clone());
        tasks.push(Task::new(destination.name, injecting));
    }
    (tasks, queues)
}

/// Whether more may be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    Now,
    TheEnd,
}

/// The channels to the poll loops, by source; `None` if there is no loop.
type WantedBySource = Vec<Option<watch::Sender<Wanted>>>;

/// Makes the poll loops. A source without a client is not polled and says so.
fn observers(
    common: &Common,
    sources: &[Source],
    inputs: &mpsc::Sender<Input>,
    follower: &mut Follower,
    now: Timestamp,
) -> (Vec<Task>, WantedBySource) {
    let Common { topology, clients, recognizer, end, clock } = common;
    let clock = clock.wall();
    let shared = observe::Shared::default();
    let (mut tasks, mut wanted) = (Vec::new(), Vec::new());
    for (id, source) in topology.source_ids().zip(sources) {
        let (to_loop, at_loop) = watch::channel(Wanted::default());
        let channels =
            pace::Channels { source: id, wanted: at_loop, reports: inputs.clone(), stop: end.clone() };
        let site =
            observe::Site { topology, source: id, rhythm: source.rhythm, clients, recognizer, clock: &clock };
        match source.settings.watch(&site, &shared, channels) {
            Ok(polling) => {
                tasks.push(Task::new(format!("observe {}", source.name), polling));
                wanted.push(Some(to_loop));
            }
            Err(error) => {
                let detail = format!("{error}: its credentials cannot be used").into();
                follower.apply(Input::PollFailed { source: id, kind: FailureKind::Denied, detail }, now);
                wanted.push(None);
            }
        }
    }
    (tasks, wanted)
}

impl Follower {
    fn new(config: &Config, topology: Arc<Topology>, errand: &Errand, now: Timestamp) -> Self {
        // Another name than that of the daemon, which would take these canaries for those of its previous run.
        let instance = InstanceCode::of_run(&format!("{}/check", config.probe.instance), now);
        let settings = config.tracker_settings();
        let canaries: usize =
            errand.tenants.iter().map(|tenant| topology.log_group_ids(*tenant).count()).sum();
        let settings = tracker::Settings {
            instance,
            give_up: errand.timeout + MARGIN,
            max_in_flight: canaries,
            remember: settings.remember.max(canaries),
            ..settings
        };
        let mut tracker = Tracker::new(topology.clone(), settings, now);
        for (id, source) in topology.source_ids().zip(&config.sources) {
            tracker.expect_schema(id, source.settings.expected_schema());
        }
        let (sent, unreadable, records, unchecked, mislabelled) = Default::default();
        Self { tracker, topology, sent, unreadable, records, unchecked, mislabelled, began: now }
    }

    /// Registers a canary of each log group, and returns what is to be put.
    fn plan(&mut self, config: &Config, errand: &Errand, now: Timestamp) -> Vec<(CanaryLine, LogGroupId)> {
        let instance = InstanceCode::of_run(&format!("{}/check", config.probe.instance), self.began);
        let topology = self.topology.clone();
        let mut lines = Vec::new();
        for tenant in &errand.tenants {
            let spec = topology.tenant(*tenant);
            let size =
                config.tenants.get(usize::from(tenant.0)).and_then(|it| it.sizes.iter().min().copied());
            for group in topology.log_group_ids(*tenant) {
                let trace = TraceId::new(now, random::for_trace_id());
                let tag = Tag::new(trace, spec.code, instance, size.unwrap_or_default(), Purpose::Check);
                let line = spec.template.render(&tag, &config.keyring.sign(&tag));
                let mut events = Vec::new();
                let planned = self.tracker.plan_for(group, tag, now, &mut events);
                let log_group = topology.log_group(*tenant, group).clone();
                let (tenant, remarks) = (*tenant, Vec::new());
                self.sent.push(Sent { trace, tag, tenant, log_group, remarks, leaked: None });
                self.take(events);
                if planned.is_ok() {
                    let planned_at = trace.planned_at();
                    lines.push((CanaryLine { trace, tenant, planned_at, line }, group));
                }
            }
        }
        lines
    }

    fn apply(&mut self, input: Input, now: Timestamp) {
        if let Input::Polled { source, poll } = &input {
            *self.records.entry(*source).or_default() += poll.stats.records;
            for sighting in &poll.sightings {
                let seen = (sighting.tag.trace, *source);
                match sighting.integrity {
                    Integrity::Unchecked => self.unchecked.insert(seen),
                    Integrity::Intact | Integrity::Corrupted { .. } => self.unchecked.remove(&seen),
                };
                let sent = self.sent.iter().find(|sent| sent.trace == sighting.tag.trace);
                if let (Some(sent), Some(label)) = (sent, &sighting.label)
                    && !label.is_label(&self.topology.tenant(sent.tenant).label)
                {
                    self.mislabelled.insert(seen, label.clone());
                }
            }
        }
        let events = self.tracker.apply(input, now);
        self.take(events);
    }

    fn put(&mut self, report: Report, now: Timestamp) {
        for (trace, result) in report.results {
            self.apply(Input::Put { trace, result }, now);
        }
    }

    /// Keeps what the traces themselves do not say.
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                // What was refused or is hidden is not a format.
                Event::Unreadable {
                    reason: UnreadableReason::Refused | UnreadableReason::Hidden, ..
                } => {}
                Event::Unreadable { source, new_shape: Some(text), .. } => {
                    self.unreadable.insert(source, text);
                }
                Event::Duplicate { stage, trace, .. } => self.remark(trace, stage, "a second copy"),
                Event::Corrupted { stage, trace, .. } => self.remark(trace, stage, "cut or changed"),
                Event::IsolationViolation { trace, found_in, .. } => {
                    if let Some(sent) = self.sent.iter_mut().find(|sent| sent.trace == trace) {
                        sent.leaked.get_or_insert(found_in);
                    }
                }
                _ => {}
            }
        }
    }

    fn remark(&mut self, trace: TraceId, stage: StageId, text: &str) {
        let name = &self.topology.stage(stage).name;
        let sent = self.sent.iter_mut().find(|sent| sent.trace == trace);
        if let Some(sent) = sent.filter(|sent| sent.remarks.len() < MAX_REMARKS) {
            sent.remarks.push(format!("{text} at stage {name}"));
        }
    }

    /// What is known of each canary.
    fn followed(&self, now: Timestamp, until: Until) -> Vec<Followed> {
        let snapshot = self.tracker.snapshot(now);
        let traces = snapshot.finished.iter().chain(&snapshot.open);
        let traces: BTreeMap<TraceId, _> = traces.map(|trace| (trace.id(), trace)).collect();
        let one = |sent: &Sent| {
            let trace = traces.get(&sent.trace).map(AsRef::as_ref);
            let mut followed = fate::of(sent, trace, &snapshot, &self.unreadable, until);
            for source in self.topology.stage_ids().map(|stage| self.topology.source_of(sent.tenant, stage)) {
                let at = (sent.trace, source);
                followed.records.push(self.records.get(&source).copied().unwrap_or_default());
                followed.unchecked.push(self.unchecked.contains(&at));
                followed.mislabelled.push(self.mislabelled.get(&at).cloned());
            }
            followed
        };
        self.sent.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests;
