//! Sends a load and follows every canary of it.
//!
//! It uses the daemon's own parts, the injectors, the poll loops and the tracker, so that what it says is
//! lost, late or blind is what the daemon would call so. There is no store and no page. The canaries have a
//! purpose and an instance of their own: a running daemon neither follows nor counts them.
//!
//! One task owns the tracker and the arrivals, and waits for nothing: a slow put or poll delays no other
//! event.

mod exposition;
mod guard;
mod sender;
pub mod usage;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::guard::Guard;
use self::sender::Sender;
use super::build;
use super::clock::ProbeClock;
use super::injecting::{self, Freshness};
use super::supervisor::{Supervisor, Task};
use super::wire::{self, Common};
use crate::cloud::Clients;
use crate::cloud::calls::{CallResult, Calls};
use crate::config::Config;
use crate::domain::sighting::{FailureKind, Wanted};
use crate::domain::steady::Compared;
use crate::domain::tag::InstanceCode;
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, Topology};
use crate::domain::tracker::{self, Event, Input, Tracker};
use crate::inject::{CanaryLine, Report};
use crate::load::arrivals::{Arrivals, Phase, TOLERANCE};
use crate::load::figures::Beside;
use crate::load::plan::{Ceilings, Plan};
use crate::load::profile::Shape;
use crate::load::record::{Purpose, Puts, Record, Window};
use crate::load::search::Search;
use crate::load::threshold::Judged;
use crate::observe::{self, pace};

/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often the poll loops get new lists of what to find, at most.
const UPDATE_EVERY: Duration = Duration::from_millis(100);
/// Updating the lists takes at most one part in this many of the time.
const UPDATE_RATIO: u32 = 10;
/// How often a trial that is over is judged.
const JUDGE_EVERY: Duration = Duration::from_millis(250);
/// Most inputs before the next event is sent.
const MAX_INPUTS: usize = 256;
/// Most canaries in flight: at 0.8 KB each, 0.8 GB.
const MAX_IN_FLIGHT: usize = 1_000_000;
/// For how long second copies and leaks of a canary are counted, unless more than [`MAX_IN_FLIGHT`] are sent in it: a bit
/// longer than it takes to check whether an object was moved.
const REMEMBER: Duration = Duration::from_mins(20);
/// How much longer than the grace period a run waits for outcomes, which the tracker gives by then.
const MARGIN: Duration = Duration::from_secs(5);
/// Before the first canary: the poll loops begin to read.
const HEAD_START: Duration = Duration::from_millis(500);

/// What ends a run, and who is told.
#[derive(Debug, Default)]
pub struct Controls {
    /// Ends sending; canaries in flight are followed to their outcomes.
    pub stop: CancellationToken,
    /// Ends everything at once.
    pub at_once: CancellationToken,
    /// Watches the tenants.
    pub guard: Option<Guard>,
    /// The port at which metrics of the run are served while it lasts.
    pub metrics: Option<TcpListener>,
}

/// Why sending ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was sent.
    Complete,
    /// A signal.
    Stopped,
    /// A threshold broke that ends the run.
    Aborted(String),
    /// A tenant suffers, or it is not known whether one does.
    Guarded(String),
    /// A ceiling of the configuration was reached.
    Ceiling(&'static str),
    /// The system's clock was set, so no latency can be measured across it.
    ClockStepped,
}

/// What a run does now.
#[derive(Clone, Debug, PartialEq)]
pub enum Doing {
    WarmUp,
    Sending,
    /// At this rate.
    Trial(f64),
    /// Waits for the outcomes of a trial.
    Judging(f64),
    /// Waits until what a trial queued up is gone.
    Recovering,
    /// Waits for the outcomes of everything.
    Draining,
}

/// How a run goes, about once a second.
#[derive(Clone, Debug)]
pub struct Progress {
    pub doing: Doing,
    /// Since the first event.
    pub elapsed: Duration,
    /// Events per second that are due.
    pub due: f64,
    /// Events per second that log groups accepted, since the last time.
    pub accepted: f64,
    pub in_flight: usize,
    pub planned: u64,
    pub missed: u64,
    pub refused: u64,
    pub arrived: u64,
    pub lost: u64,
    pub unobserved: u64,
    /// End to end, of the present window, in seconds; infinite if it falls on one that is lost.
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    /// The names of the sources that cannot be read.
    pub blind: Vec<Arc<str>>,
    /// The names of the stages for which it waits when everything has an outcome: most often side stages, which may show
    /// a canary later than the end stage.
    pub waits_for: Vec<Arc<str>>,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Run {
    pub record: Record,
    pub ended: Ended,
    /// Whether everything in flight was given up without waiting for it.
    pub cut_short: bool,
    pub search: Option<Search>,
    /// Sources that could not be read in the end, with the reason.
    pub blind: Vec<(Arc<str>, String)>,
    /// Tables at which second rows of so many canaries were not looked for as long as usual.
    pub cut_searches: Vec<(Arc<str>, u64)>,
    pub throttled: u64,
    pub put_calls: u64,
    /// All calls, by service, operation and result.
    pub calls: Vec<(String, String, String, u64)>,
    /// Bytes put into log groups, without what CloudWatch Logs adds, and without events that it refused.
    pub bytes: u64,
    /// Why a log group refused an event, once.
    pub refusal: Option<String>,
    pub began: Timestamp,
    pub finished: Timestamp,
    /// How far behind its instant an event was handed to its injector, at most.
    pub latest_send: Duration,
}

/// One run.
struct Loop<'a> {
    plan: &'a Plan,
    ceilings: &'a Ceilings,
    tracker: Tracker,
    topology: Arc<Topology>,
    sender: Sender,
    record: Record,
    search: Option<Search>,
    wanted: Vec<Option<watch::Sender<Wanted>>>,
    /// Sources whose list has to be sent to their loop.
    changed: BTreeSet<SourceId>,
    calls: Calls,
    /// Calls before the present window that is judged, throttled and all.
    calls_before: (u64, u64),
    doing: Doing,
    ended: Ended,
    /// When the present wait ends at the latest.
    wait_until: Timestamp,
    began: Timestamp,
    refusal: Option<String>,
    told: (Timestamp, u64),
    grace: Duration,
    /// Since when what is open waits only at sources that cannot be read.
    blind_since: Option<Timestamp>,
    /// For how long that may go on: a source that takes longer will hardly come back.
    patience: Duration,
}

/// Sends what the plan says, and follows it. Calls `tell` about once a second.
///
/// # Errors
///
/// If the parts cannot be joined, or one of them fails.
pub async fn run(
    config: &Config,
    plan: &Plan,
    ceilings: &Ceilings,
    clients: Clients,
    clock: ProbeClock,
    controls: &Controls,
    mut tell: impl FnMut(&Progress),
) -> anyhow::Result<Run> {
    let topology = Arc::new(config.topology());
    let recognizer = build::recognizer(&config.keyring, &topology);
    let calls = clients.aws.calls().clone();
    let end = CancellationToken::new();
    let common = Common { topology: topology.clone(), clients, recognizer, clock: clock.clone(), end };
    let now = clock.now();
    // Another name than that of the daemon, which would take these canaries for its own.
    let instance = InstanceCode::of_run(&format!("{}/load", config.probe.instance), now);
    let settings = config.tracker_settings();
    let settings = tracker::Settings {
        instance,
        give_up: plan.profile.give_up.unwrap_or(settings.give_up),
        max_in_flight: MAX_IN_FLIGHT,
        remember: remembered(plan, ceilings).max(settings.remember),
        is_kept: false,
        handover: Duration::ZERO,
        ..settings
    };
    let grace = settings.give_up + settings.grace + MARGIN;
    let mut tracker = Tracker::new(topology.clone(), settings, now);
    for (id, source) in topology.source_ids().zip(&config.sources) {
        tracker.expect_schema(id, source.settings.expected_schema());
    }
    let mut supervisor = Supervisor::new(Handle::current());
    let (to_loop, mut inputs) = mpsc::channel(wire::INPUTS);
    let (reports, mut puts) = mpsc::channel(wire::INPUTS);
    let (late, mut missed) = mpsc::channel(wire::INPUTS);
    let (guard_says, mut guarded) = mpsc::channel(1);
    let (shown, for_metrics) = watch::channel(String::new());
    if let Some(port) = &controls.metrics {
        let serving = exposition::serve(port, for_metrics, common.end.clone());
        supervisor.start(serving.context("cannot serve metrics")?);
    }
    if let Some(guard) = controls.guard.clone() {
        supervisor.start(Task::new("guard", guard.watch(guard_says, common.end.clone())));
    }
    let wanted = observers(&common, config, &to_loop, &mut tracker, &mut supervisor, now);
    let queues = injectors(&common, config, plan, (&reports, &late), &mut supervisor);
    let start = (clock.now() + HEAD_START).floor_to_millis();
    let mut it = Loop {
        plan,
        ceilings,
        tracker,
        topology: topology.clone(),
        sender: Sender::new(plan, config.keyring.clone(), instance, queues),
        record: Record::new(topology),
        search: match &plan.shape {
            Shape::Search { rates, .. } => Some(Search::new(rates.clone())),
            Shape::Phases(_) => None,
        },
        wanted,
        changed: BTreeSet::new(),
        calls: calls.clone(),
        calls_before: (0, 0),
        doing: Doing::WarmUp,
        ended: Ended::Complete,
        wait_until: Timestamp::MAX,
        began: start,
        refusal: None,
        told: (start, 0),
        grace,
        blind_since: None,
        patience: settings.blind_after,
    };
    it.begin(start);
    let (mut update_at, mut tell_at, mut judge_at) = (start, start, start);
    let mut cut_short = false;
    loop {
        let now = clock.now();
        it.send_due(now);
        if now >= judge_at {
            judge_at = now + JUDGE_EVERY;
            if it.advance(now) {
                break;
            }
        }
        if now >= update_at {
            let took = it.update_observers();
            update_at = now + UPDATE_EVERY.max(took * UPDATE_RATIO);
        }
        if now >= tell_at {
            tell_at = now + TELL_EVERY;
            it.check_aborts(now);
            if let Some(Compared::Stepped(_)) = clock.check() {
                it.stop(Ended::ClockStepped, now);
                it.take_events(now, |tracker, now| tracker.abandon(now));
                break;
            }
            let progress = it.progress(now);
            // Nobody may be listening.
            let _listening = shown.send(exposition::text(&progress));
            tell(&progress);
        }
        let next = [it.sender.next_at(), it.tracker.next_deadline()].into_iter().flatten();
        let next = next.fold(update_at.min(tell_at).min(judge_at), Timestamp::min);
        tokio::select! {
            () = controls.at_once.cancelled() => {
                it.stop(Ended::Stopped, now);
                cut_short = true;
                break;
            }
            () = controls.stop.cancelled(), if it.ended == Ended::Complete && it.doing != Doing::Draining => {
                it.stop(Ended::Stopped, clock.now());
            }
            Some(reason) = guarded.recv() => it.stop(Ended::Guarded(reason), clock.now()),
            Some(ended) = supervisor.next_end() => {
                if let Some(panic) = ended.panic {
                    return Err(anyhow!("task `{}` panicked: {panic}", ended.task));
                }
            }
            Some(report) = puts.recv() => it.put(report, clock.now()),
            Some(lines) = missed.recv() => it.miss(&lines, clock.now()),
            Some(input) = inputs.recv() => it.apply(input, clock.now()),
            () = tokio::time::sleep(next.since(now)) => it.apply(Input::Tick, clock.now()),
        }
        for _ in 1..MAX_INPUTS {
            if let Ok(report) = puts.try_recv() {
                it.put(report, clock.now());
            } else if let Ok(lines) = missed.try_recv() {
                it.miss(&lines, clock.now());
            } else if let Ok(input) = inputs.try_recv() {
                it.apply(input, clock.now());
            } else {
                break;
            }
        }
    }
    it.record.leave_unchecked(&it.tracker.unchecked_copies().collect());
    it.record.leave_unobserved(it.tracker.open_at_side_stages());
    if it.search.is_none() {
        it.note_puts();
    }
    let finished = clock.now();
    tell(&it.progress(finished));
    common.end.cancel();
    supervisor.abort();
    let (throttled, put_calls) = put_calls(&calls);
    let snapshot = it.tracker.snapshot(finished);
    // One that nobody waits for any more is not polled, and stays as it was.
    let blind = snapshot.sources.iter().filter_map(|source| {
        let tenants = it.plan.lanes.iter().map(|lane| lane.tenant);
        let (_, reason) = tenants.filter_map(|tenant| source.blind_for(tenant)).next()?;
        Some((it.topology.source(source.source).name.clone(), reason.to_string()))
    });
    let blind = blind.collect();
    let cut_searches = it.tracker.cut_searches();
    let cut_searches = cut_searches.map(|(source, of)| (it.topology.source(source).name.clone(), of));
    let calls = calls.snapshot().into_iter();
    let calls = calls.map(|(service, operation, result, count)| {
        (service.to_owned(), operation, result.as_str().to_owned(), count)
    });
    Ok(Run {
        ended: it.ended,
        cut_short,
        search: it.search,
        blind,
        cut_searches: cut_searches.collect(),
        throttled,
        put_calls,
        calls: calls.collect(),
        bytes: it.sender.bytes,
        refusal: it.refusal,
        began: it.began,
        finished,
        latest_send: it.sender.latest,
        record: it.record,
    })
}

/// The highest rate that may be reached, in events per second.
fn peak(plan: &Plan) -> f64 {
    plan.at_most().iter().map(Phase::peak).fold(0.0, f64::max)
}

/// How many canaries are remembered after their outcome, at about 1.2 KB each.
fn remembered(plan: &Plan, ceilings: &Ceilings) -> usize {
    let most = usize::try_from(ceilings.events).unwrap_or(usize::MAX).min(MAX_IN_FLIGHT);
    ((peak(plan) * REMEMBER.as_secs_f64()) as usize).min(most)
}

/// Calls of PutLogEvents that were throttled, and all.
fn put_calls(calls: &Calls) -> (u64, u64) {
    let puts = calls
        .snapshot()
        .into_iter()
        .filter(|(service, operation, ..)| *service == "logs" && operation == "PutLogEvents");
    puts.fold((0, 0), |(throttled, all), (.., result, count)| {
        let is_throttled = result == CallResult::Failed(FailureKind::Throttled);
        (throttled + if is_throttled { count } else { 0 }, all + count)
    })
}

/// Makes the poll loops. A source without a client is not polled and says so.
fn observers(
    common: &Common,
    config: &Config,
    inputs: &mpsc::Sender<Input>,
    tracker: &mut Tracker,
    supervisor: &mut Supervisor,
    now: Timestamp,
) -> Vec<Option<watch::Sender<Wanted>>> {
    let Common { topology, clients, recognizer, end, clock } = common;
    let clock = clock.wall();
    let shared = observe::Shared::default();
    let mut all = Vec::new();
    for (id, source) in topology.source_ids().zip(&config.sources) {
        let (to_loop, wanted) = watch::channel(Wanted::default());
        let channels = pace::Channels { source: id, wanted, reports: inputs.clone(), stop: end.clone() };
        let site =
            observe::Site { topology, source: id, rhythm: source.rhythm, clients, recognizer, clock: &clock };
        match source.settings.watch(&site, &shared, channels) {
            Ok(polling) => {
                supervisor.start(Task::new(format!("observe {}", source.name), polling));
                all.push(Some(to_loop));
            }
            Err(error) => {
                let detail = format!("{error}: its credentials cannot be used").into();
                let failed = Input::PollFailed { source: id, kind: FailureKind::Denied, detail };
                // Nothing waits there yet, so nothing follows.
                let _no_events = tracker.apply(failed, now);
                all.push(None);
            }
        }
    }
    all
}

/// Makes the injectors of the tenants of the plan, and returns the queues to their log groups. `late` gets the canaries
/// that are not put, because they waited too long for it.
fn injectors(
    common: &Common,
    config: &Config,
    plan: &Plan,
    (reports, late): (&mpsc::Sender<Report>, &mpsc::Sender<Vec<CanaryLine>>),
    supervisor: &mut Supervisor,
) -> sender::Queues {
    let mut queues = sender::Queues::new();
    let is_loaded = |tenant| plan.lanes.iter().any(|lane| lane.tenant == tenant);
    // What comes in the time that a put may take until it is given up.
    let room = (peak(plan) * 30.0).clamp(1_000.0, 100_000.0) as usize;
    for destination in build::destinations(&config.tenants, &common.clients, &common.clock.wall()) {
        if !destination.tenants.iter().any(|(tenant, _)| is_loaded(*tenant)) {
            continue;
        }
        let (outbound, due) = mpsc::channel(room);
        queues.extend(destination.tenants.into_iter().map(|of| (of, outbound.clone())));
        let freshness = Freshness { within: TOLERANCE, late: late.clone() };
        let (reports, end) = (reports.clone(), common.end.clone());
        let injecting = injecting::run_fresh(destination.injector, due, reports, freshness, end);
        supervisor.start(Task::new(destination.name, injecting));
    }
    queues
}

impl Loop<'_> {
    /// Begins with the warm-up, or with what follows it if there is none.
    fn begin(&mut self, start: Timestamp) {
        let warm_up = self.plan.warm_up();
        let judged_from = start + warm_up.duration;
        let mut phases = Vec::new();
        if !warm_up.duration.is_zero() {
            self.record.begin(Purpose::WarmUp, start, judged_from, warm_up.peak());
            phases.push(warm_up);
        }
        if let Shape::Phases(all) = &self.plan.shape {
            let until = all.iter().fold(judged_from, |at, phase| at + phase.duration);
            let peak = all.iter().map(Phase::peak).fold(0.0, f64::max);
            self.record.begin(Purpose::Judged, judged_from, until, peak);
            phases.extend(all);
        }
        self.send(&phases, start);
    }

    fn send(&mut self, phases: &[Phase], start: Timestamp) {
        // So that two runs of one plan have the same distances.
        const SEED: u64 = 1;
        self.sender.arrivals = Arrivals::new(phases, self.plan.profile.spacing, SEED, start);
    }

    /// Goes on to what follows. Returns whether everything is over.
    fn advance(&mut self, now: Timestamp) -> bool {
        let is_sent = self.sender.next_at().is_none();
        match self.doing.clone() {
            Doing::WarmUp if !is_sent => {
                let judged = self.record.windows.iter().find(|window| window.purpose == Purpose::Judged);
                if judged.is_some_and(|window| window.from <= now) {
                    self.doing = Doing::Sending;
                    self.calls_before = put_calls(&self.calls);
                }
            }
            Doing::WarmUp | Doing::Sending if is_sent => {
                // The distances of a phase end before it does.
                if self.record.windows.last().is_none_or(|window| window.until <= now) {
                    self.next_trial(now);
                }
            }
            Doing::WarmUp | Doing::Sending => {}
            Doing::Trial(rate) => {
                if is_sent && self.record.windows.last().is_none_or(|window| window.until <= now) {
                    self.doing = Doing::Judging(rate);
                    self.wait_until = now + self.grace;
                }
            }
            Doing::Judging(rate) => {
                let judged = self.judge_trial();
                if judged == Judged::Undecided && !self.is_settled(now) {
                    return false;
                }
                let growth = self.record.windows.last().and_then(Window::growth);
                if let Some(search) = &mut self.search {
                    search.take(rate, judged, growth);
                }
                if judged == Judged::Broken {
                    self.doing = Doing::Recovering;
                    self.wait_until = now + self.grace;
                } else {
                    self.next_trial(now);
                }
            }
            Doing::Recovering => {
                if self.tracker.in_flight() == 0 || now >= self.wait_until {
                    self.end_recovery();
                    self.next_trial(now);
                }
            }
            Doing::Draining => return self.is_settled(now),
        }
        false
    }

    /// Takes what is known of a bad trial when nothing of it is in flight any more, or will be waited for.
    fn end_recovery(&mut self) {
        let Some(window) = self.record.windows.last() else { return };
        // A dead letter has left the pipeline. What else did not arrive may only be late.
        let given_up = window.figures.lost.values().sum::<u64>() + window.figures.whole.unknown();
        if let Some(search) = &mut self.search {
            search.measure(window.growth());
            search.leave_behind(given_up);
        }
    }

    /// Whether nothing more will be known of what was sent. What waits at a source that cannot be read now
    /// may be found there soon.
    fn is_settled(&mut self, now: Timestamp) -> bool {
        if self.tracker.oldest_open().is_none() || now >= self.wait_until {
            return true;
        }
        if self.tracker.awaits_sightings() {
            self.blind_since = None;
            return false;
        }
        now.since(*self.blind_since.get_or_insert(now)) >= self.patience
    }

    /// Notes the calls of the last window.
    fn note_puts(&mut self) {
        let Beside { throttled, calls, .. } = self.beside();
        if let Some(window) = self.record.windows.last_mut() {
            window.puts = Puts { throttled, all: calls };
        }
    }

    /// Judges the last trial by what is known now. At the end of the run, it is judged again.
    fn judge_trial(&mut self) -> Judged {
        self.note_puts();
        let Some(window) = self.record.windows.last() else { return Judged::Undecided };
        self.record.judge_trial(window, &self.plan.thresholds, 0)
    }

    fn next_trial(&mut self, now: Timestamp) {
        let hold = match &self.plan.shape {
            Shape::Search { hold, .. } => *hold,
            Shape::Phases(_) => Duration::ZERO,
        };
        match self.search.as_ref().and_then(Search::next_rate) {
            Some(rate) => {
                let from = now.floor_to_millis() + Duration::from_millis(1);
                self.record.begin(Purpose::Judged, from, from + hold, rate);
                self.calls_before = put_calls(&self.calls);
                self.send(&[Phase::constant(rate, hold)], from);
                self.doing = Doing::Trial(rate);
            }
            None => self.drain(now),
        }
    }

    fn drain(&mut self, now: Timestamp) {
        if self.doing == Doing::WarmUp {
            // Nothing was sent that is judged.
            self.calls_before = put_calls(&self.calls);
        }
        self.doing = Doing::Draining;
        self.wait_until = now + self.grace;
    }

    /// Sends nothing more, and waits for what is in flight.
    fn stop(&mut self, why: Ended, now: Timestamp) {
        if self.ended != Ended::Complete {
            return;
        }
        self.ended = why;
        if self.doing != Doing::Draining {
            self.sender.arrivals.stop();
            self.record.end_at(now);
            self.drain(now);
        }
    }

    fn send_due(&mut self, now: Timestamp) {
        let topology = self.topology.clone();
        let mut events = Vec::new();
        self.sender.send_due(now, &topology, &mut self.tracker, &mut self.record, &mut events);
        self.take(&events);
        let planned: u64 = self.record.windows.iter().map(|window| window.figures.planned).sum();
        if planned >= self.ceilings.events && self.sender.next_at().is_some() {
            self.stop(Ended::Ceiling("load.max_events"), now);
        }
        if self.sender.billed() >= self.ceilings.bytes && self.sender.next_at().is_some() {
            self.stop(Ended::Ceiling("load.max_bytes"), now);
        }
    }

    fn put(&mut self, report: Report, now: Timestamp) {
        for (trace, result) in report.results {
            if let tracker::PutResult::Refused { reason } = &result {
                self.refusal.get_or_insert_with(|| reason.to_string());
                if let Some(trace) = self.tracker.trace(trace) {
                    self.sender.not_stored(trace.tag.size);
                }
            }
            self.apply(Input::Put { trace, result }, now);
        }
    }

    /// Takes canaries that waited so long for their put that they were not sent.
    fn miss(&mut self, lines: &[CanaryLine], now: Timestamp) {
        for line in lines {
            let id = line.trace;
            let Some(trace) = self.tracker.trace(id) else { continue };
            let (tenant, size) = (trace.tenant, trace.tag.size);
            self.sender.not_stored(size);
            self.record.not_put(tenant, size, line.planned_at);
            // For the tracker, it never was in the pipeline. No log group refused it, so that is not recorded.
            let reason = "not put in time".into();
            let input = Input::Put { trace: id, result: tracker::PutResult::Refused { reason } };
            let mut events = self.tracker.apply(input, now);
            events.retain(|event| !matches!(event, Event::Ended { trace, .. } if *trace == id));
            self.take(&events);
        }
    }

    fn apply(&mut self, input: Input, now: Timestamp) {
        self.take_events(now, |tracker, now| tracker.apply(input, now));
    }

    fn take_events(&mut self, now: Timestamp, of: impl FnOnce(&mut Tracker, Timestamp) -> Vec<Event>) {
        let events = of(&mut self.tracker, now);
        self.take(&events);
    }

    fn take(&mut self, events: &[Event]) {
        events.iter().for_each(|event| self.record.take(event, &self.tracker));
    }

    /// Tells the poll loops what to find, and returns how long that took.
    fn update_observers(&mut self) -> Duration {
        let began = Instant::now();
        self.changed.extend(self.tracker.take_changed());
        for source in std::mem::take(&mut self.changed) {
            if let Some(Some(to_loop)) = self.wanted.get(source.0 as usize) {
                to_loop.send_replace(self.tracker.wanted(source));
            }
        }
        // There is no store; what would go there is let go.
        drop(self.tracker.take_changes());
        began.elapsed()
    }

    fn beside(&self) -> Beside {
        let (throttled, calls) = put_calls(&self.calls);
        let (throttled_before, calls_before) = self.calls_before;
        Beside {
            blind: false,
            cut_searches: 0,
            throttled: throttled.saturating_sub(throttled_before),
            calls: calls.saturating_sub(calls_before),
            growth: None,
        }
    }

    /// Stops if a threshold that ends the run is broken.
    fn check_aborts(&mut self, now: Timestamp) {
        let judged_since =
            self.record.windows.iter().find(|it| it.purpose == Purpose::Judged).map(|it| it.from);
        let may_end = self.ended == Ended::Complete && self.doing != Doing::WarmUp;
        let Some(since) = judged_since.filter(|_| may_end) else { return };
        let mut aborting = self
            .plan
            .thresholds
            .iter()
            .filter(|threshold| threshold.abort_after.is_some_and(|delay| now >= since + delay));
        let broken = aborting.find(|threshold| {
            let measured = self.record.judged().measure(threshold, &self.beside(), &self.topology);
            threshold.judge(measured) == Judged::Broken
        });
        if let Some(broken) = broken {
            self.stop(Ended::Aborted(broken.to_string()), now);
        }
    }

    fn progress(&mut self, now: Timestamp) -> Progress {
        let windows = &self.record.windows;
        let sum =
            |of: fn(&crate::load::figures::Figures) -> u64| windows.iter().map(|it| of(&it.figures)).sum();
        let accepted = sum(|it| it.accepted);
        let (before, then) = (self.told.1, self.told.0);
        let seconds = now.since(then).as_secs_f64();
        self.told = (now, accepted);
        let present = windows.iter().rfind(|window| window.figures.whole.latency.known() > 0);
        let at = |percent| present.and_then(|window| window.figures.whole.latency.at(percent));
        // While events are sent, some stage is always open.
        let waits =
            matches!(self.doing, Doing::Draining | Doing::Judging(_)) && self.tracker.in_flight() == 0;
        let open = if waits { self.tracker.open_side_stages() } else { BTreeSet::new() };
        Progress {
            doing: self.doing.clone(),
            elapsed: now.since(self.began),
            due: self.sender.arrivals.rate_at(now),
            accepted: if seconds > 0.0 { accepted.saturating_sub(before) as f64 / seconds } else { 0.0 },
            in_flight: self.tracker.in_flight(),
            planned: sum(|it| it.planned),
            missed: sum(|it| it.missed),
            refused: sum(|it| it.whole.refused),
            arrived: sum(|it| it.whole.arrived),
            lost: sum(|it| it.whole.lost),
            unobserved: sum(|it| it.unobserved.values().sum()),
            p50: at(50.0),
            p95: at(95.0),
            blind: self.tracker.blind_sources().map(|it| self.topology.source(it).name.clone()).collect(),
            waits_for: open.into_iter().map(|stage| self.topology.stage(stage).name.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
