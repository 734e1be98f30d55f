//! One run: a pipeline, observers and the tracker in virtual time, all drawn from one seed.
//!
//! At a restart the tracker is dropped, and a new one is restored from the store. As in the engine, the
//! conclusions of a round are committed before its effects happen. Without a store, the new one knows nothing, and
//! its history is one of its own: of the same canaries, but with a log that begins again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::canary::Integrity;
use traceprobe::domain::copies::Presence;
use traceprobe::domain::format::{self, Format, FoundIn, UnreadableReason};
use traceprobe::domain::incidents::Episode;
use traceprobe::domain::plan::{Plan, Slot};
use traceprobe::domain::schedule::Schedule;
use traceprobe::domain::sighting::{
    FailureKind, Locator, Poll, ReadStats, RecordOwner, Sighting, Stamp, UnreadableRecord,
};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{SourceId, StageId, TenantId, Topology};
use traceprobe::domain::trace::{Put, Trace};
use traceprobe::domain::tracker::{Changes, Event, Input, PutResult, SeenSource, Settings, Tracker};
use traceprobe::store::{LoadLimits, Store};

use super::history::*;
use super::observers::{Action, Fate, Observer};
use super::pipeline::{Pipeline, Window};
use super::recorded::Recorded;
use super::reloads::{self, Reload};
use super::restarts::{self, Cut, Restart};
use super::reviews::Reviews;
use super::rules::{self, name, tenant_id};
use super::sources::{self, Met};

#[path = "run/plans.rs"]
mod plans;
#[path = "run/sightings.rs"]
mod sightings;

use self::plans::{plans, slots};
pub use self::sightings::copy_at;

/// The time at which every run begins.
const EPOCH: Micros = 1_800_000_000 * SECOND;
/// The mean interval between two canaries. Faults are drawn over the whole time from the first to the last.
const MEAN_GAP: std::ops::Range<Micros> = 100 * MILLI..2 * SECOND;

/// `recheck_for` of the tracker: how long a seen canary stays in polls by id.
pub const RECHECK_FOR: Micros = 60 * SECOND;

/// Half of the 500 recently seen canaries that the tracker keeps. With more in one poll, it may have dropped
/// some between two polls.
const CROWDED: usize = 250;

/// The result of a run.
pub struct Outcome {
    pub history: History,
    pub tracker: Tracker,
    /// The tracker's events, by canary.
    pub recorded: Vec<Recorded>,
    /// The tracker's events about sources.
    pub met: Met,
    /// What the incidents said.
    pub reviews: Reviews,
    /// Sources with so many recently seen canaries that the tracker may have dropped some.
    pub crowded: HashSet<usize>,
    pub reloads: reloads::Counts,
}

/// Draws and executes a run with this many canaries. Returns one result, or one for each process if no store outlives
/// any.
pub fn run(seed: u64, canaries: usize) -> Vec<Outcome> {
    let mut rng = Rng::with_seed(seed);
    let gap = rng.i64(MEAN_GAP);
    let end = EPOCH + gap * i64::try_from(canaries).unwrap() + SECOND;
    let mut rules = rules::draw(&mut rng);
    let mut pipeline = Pipeline::draw(&mut rng, &rules, EPOCH, end);
    rules.is_kept = rng.u8(0..4) > 0;
    pipeline.second_sender =
        (0..rng.usize(0..3)).map(|_| Window::draw(&mut rng, EPOCH, end, 120 * SECOND)).collect();
    if !rules.is_kept && rng.bool() {
        // The first process replaces another one.
        pipeline.second_sender.push(Window::draw(&mut rng, EPOCH, EPOCH + SECOND, 300 * SECOND));
    }
    rules.handover = match rules.is_kept {
        // The first canary of another process is noticed, or none is.
        true if pipeline.second_sender.is_empty() => 0,
        true => 86_400 * SECOND,
        false => rng.i64(0..400 * SECOND),
    };
    let rules = rules;
    let keeps_objects = |source| rules.stages[rules.stage_of(source)].moves;
    let observers: Vec<_> = (0..rules.read_for.len())
        .map(|source| Observer::draw(&mut rng, keeps_objects(source), EPOCH, end))
        .collect();
    let restarts = restarts::draw(&mut rng, EPOCH, end, &rules);
    pipeline.draw_formats(&mut rng, &rules, &observers, (EPOCH, end));
    let others = pipeline.draw_others(&mut rng, &rules, &observers, (EPOCH, end), !restarts.is_empty());
    let tenants = rules.source_of.len();
    let reloads = reloads::draw(&mut rng, EPOCH, end, tenants);
    let lingers = [0, rng.i64(0..60 * SECOND), 120 * SECOND][rng.usize(0..3)];
    let mut run = Run::new(seed, rules, observers, restarts, plans(&mut rng, tenants, gap));
    run.add_reloads(reloads, lingers);
    run.add_others(others);
    for (number, (tenant, slot)) in slots(&run.plans).take(canaries).enumerate() {
        // Each canary has its own random numbers, so that a shorter run begins with the same canaries.
        let mut canary_rng = Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (id, planned) = (slot.trace.as_u128(), slot.planned_at.micros());
        let canary = pipeline.inject(&mut canary_rng, &run.history.rules, id, tenant, planned);
        run.add(canary);
    }
    run.run_to_end();
    run.archive();
    run.ended
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Plan(usize),
    Answer(usize),
    Poll {
        source: usize,
        plan: u64,
    },
    PollEnds {
        source: usize,
        run: usize,
    },
    Check {
        source: usize,
        plan: u64,
    },
    CheckEnds {
        source: usize,
        run: usize,
    },
    End(usize),
    Start,
    /// What is wrong is published.
    Review,
    Reload(usize),
    /// It is looked whether something is awaited of tenants that were removed.
    LetGo,
}

/// What a round applies to the tracker.
enum Change {
    Plan(Tag),
    Input(Input),
    Abandon,
    Handover,
    Succeed,
}

/// How far a round got.
#[derive(PartialEq, Eq)]
enum Round {
    Done,
    Committed,
    Lost,
}

struct Run {
    rng: Rng,
    history: History,
    tracker: Tracker,
    topology: Arc<Topology>,
    /// With all tenants.
    complete: Arc<Topology>,
    reloads: Vec<Reload>,
    reload_counts: reloads::Counts,
    /// For each tenant, since when it is configured.
    configured: Vec<Option<Micros>>,
    /// How long a tenant that was removed stays after its last canary.
    lingers: Micros,
    /// When the last canary of a tenant that leaves was closed.
    quiet_since: BTreeMap<TenantId, Micros>,
    settings: Settings,
    recorded: Vec<Recorded>,
    observers: Vec<Observer>,
    number: HashMap<u128, usize>,
    /// When each object is stored and deleted, by name.
    objects: HashMap<String, Copy>,
    schedule: BinaryHeap<Reverse<(Micros, u64, Next)>>,
    entered: u64,
    now: Micros,
    restarts: Vec<Restart>,
    store: Store,
    /// What was committed. It is written to the store at a restart, because nothing reads it before.
    committed: BTreeMap<TraceId, (Arc<Trace>, bool)>,
    committed_seen: Vec<SeenSource>,
    met: Met,
    reviews: Reviews,
    /// The process ends within the next round.
    pending_end: Option<Restart>,
    is_down: bool,
    began: Micros,
    /// How many processes have begun.
    processes: usize,
    plans: Vec<Plan>,
    /// The process that registered each canary, as in its tag.
    senders: Vec<InstanceCode>,
    /// The results of the processes that have ended without a store.
    ended: Vec<Outcome>,
}

impl Run {
    fn new(
        seed: u64,
        rules: Rules,
        observers: Vec<Observer>,
        restarts: Vec<Restart>,
        plans: Vec<Plan>,
    ) -> Self {
        let tenants = rules.source_of.len();
        let topology = Arc::new(rules::topology(&rules, &vec![true; tenants]));
        let micros = |micros| Duration::from_micros(u64::try_from(micros).unwrap());
        let settings = Settings {
            slo: micros(rules.slo),
            give_up: micros(rules.give_up),
            grace: micros(rules.grace),
            blind_after: micros(rules.blind_after),
            recheck_for: micros(RECHECK_FOR),
            copy_recheck: micros(rules.copy_recheck),
            max_in_flight: usize::MAX,
            remember: usize::MAX,
            remember_of_tenant: 10,
            handover: micros(rules.handover),
            is_kept: rules.is_kept,
            instance: InstanceCode::of_run("me", time(EPOCH)),
        };
        let mut store = Store::open(Path::new(":memory:"), topology.clone(), time(EPOCH)).unwrap().store;
        store.save(&Changes { seen: rules::seen_before(&topology, &rules), ..Changes::default() }).unwrap();
        let history = History {
            rules,
            canaries: Vec::new(),
            others: Vec::new(),
            log: Vec::new(),
            began: EPOCH,
            shown_at: Vec::new(),
            restarts: Vec::new(),
            visibility: Vec::new(),
            checked_at: Vec::new(),
            objects_checked_at: vec![Vec::new(); observers.len()],
            closed_at: vec![Vec::new(); observers.len()],
        };
        let mut reviews = Reviews::new(seed, &history.rules, topology.clone());
        // Each process begins with none.
        reviews.are_taken &= history.rules.is_kept;
        let mut run = Self {
            rng: Rng::with_seed(!seed),
            tracker: restored(&mut store, &topology, settings, time(EPOCH)).0,
            store,
            complete: topology.clone(),
            topology,
            reloads: Vec::new(),
            reload_counts: reloads::Counts::default(),
            configured: vec![Some(EPOCH); tenants],
            lingers: 0,
            quiet_since: BTreeMap::new(),
            settings,
            history,
            recorded: Vec::new(),
            observers,
            number: HashMap::new(),
            objects: HashMap::new(),
            schedule: BinaryHeap::new(),
            entered: 0,
            now: EPOCH,
            restarts: Vec::new(),
            committed: BTreeMap::new(),
            committed_seen: Vec::new(),
            met: Met::default(),
            reviews,
            pending_end: None,
            is_down: false,
            began: EPOCH,
            processes: 1,
            plans,
            senders: Vec::new(),
            ended: Vec::new(),
        };
        for (number, restart) in restarts.iter().enumerate() {
            run.schedule(restart.at, Next::End(number));
        }
        run.restarts = restarts;
        run
    }

    fn add(&mut self, canary: Canary) {
        let number = self.history.canaries.len();
        for (at, copy) in canary.copies.iter().enumerate() {
            self.observers[copy.source].add_copy(number, at, copy.stored);
        }
        self.number.insert(canary.id, number);
        self.schedule(canary.leaves, Next::Plan(number));
        self.schedule(canary.answered, Next::Answer(number));
        self.reviews.until = self.reviews.until.max(canary.planned + self.history.rules.give_up);
        self.history.canaries.push(canary);
        self.senders.push(self.settings.instance);
        self.history.shown_at.push(Vec::new());
        self.history.checked_at.push(Vec::new());
        self.recorded.push(Recorded::default());
        for (at, copy) in self.history.canaries[number].copies.iter().enumerate() {
            self.objects.insert(self.history.object(number, at), *copy);
        }
    }

    fn add_reloads(&mut self, reloads: Vec<Reload>, lingers: Micros) {
        for (number, reload) in reloads.iter().enumerate() {
            self.schedule(reload.at, Next::Reload(number));
        }
        // What is wrong with tenants that come and go is tested beside the incidents.
        self.reviews.are_taken &= reloads.is_empty();
        (self.reloads, self.lingers) = (reloads, lingers);
    }

    fn add_others(&mut self, others: Vec<Other>) {
        for (number, other) in others.iter().enumerate() {
            self.observers[other.source].add_other(number, other.stored);
        }
        self.history.others = others;
    }

    fn schedule(&mut self, at: Micros, next: Next) {
        self.entered += 1;
        self.schedule.push(Reverse((at, self.entered, next)));
    }

    /// Runs until nothing is scheduled.
    fn run_to_end(&mut self) {
        if self.reviews.are_taken {
            self.schedule(self.now + self.reviews.every, Next::Review);
        }
        loop {
            let next = self.schedule.peek().map(|Reverse((at, ..))| *at);
            let deadline = self.tracker.next_deadline().filter(|_| !self.is_down);
            match (next, deadline.map(Timestamp::micros)) {
                (None, None) => break,
                (next, Some(wake)) if next.is_none_or(|next| wake <= next) => {
                    self.now = self.now.max(wake);
                    if self.round(What::TimePassed, Change::Input(Input::Tick)) == Round::Done {
                        let again = self.tracker.next_deadline().map(Timestamp::micros);
                        assert!(
                            again.is_none_or(|again| again > self.now),
                            "a tick did not handle its deadline"
                        );
                    }
                }
                (Some(_), _) => {
                    let Some(Reverse((at, _, next))) = self.schedule.pop() else { break };
                    self.now = self.now.max(at);
                    self.handle(next);
                }
                (None, Some(_)) => unreachable!("without a scheduled event the deadline is next"),
            }
        }
        assert_eq!(self.tracker.in_flight(), 0, "every trace ends in the end");
    }

    fn handle(&mut self, next: Next) {
        match next {
            Next::Plan(which) => self.plan(which),
            Next::Answer(which) => self.answer(which),
            Next::Poll { source, plan } => {
                if plan == self.observers[source].plan && !self.is_down {
                    let after = self.history.log.len();
                    let ends = self.observers[source].start(&mut self.rng, self.now, after);
                    self.schedule(ends, Next::PollEnds { source, run: self.processes });
                }
            }
            Next::PollEnds { source, run } => {
                let is_over = self.observers[source].poll_is_over(self.now);
                if run == self.processes && !self.is_down && is_over {
                    self.poll_ends(source);
                }
            }
            Next::Check { source, plan } => {
                if plan == self.observers[source].plan && !self.is_down {
                    let objects = self.observers[source].wanted.checks.clone();
                    self.start_check(source, objects);
                }
            }
            Next::CheckEnds { source, run } => {
                let is_over = self.observers[source].check_is_over(self.now);
                if run == self.processes && !self.is_down && is_over {
                    self.check_ends(source);
                }
            }
            Next::End(number) => {
                let restart = self.restarts[number];
                match restart.cut {
                    _ if self.is_down => {}
                    Cut::BetweenRounds => self.end(restart),
                    Cut::BeforeCommit | Cut::BeforeEffects => self.pending_end = Some(restart),
                    Cut::ClockStep => {
                        self.pending_end = None;
                        self.round(What::ClockStepped, Change::Abandon);
                        self.end(restart);
                    }
                    Cut::Stop => {
                        self.pending_end = None;
                        self.round(What::Stopped, Change::Handover);
                        self.end(restart);
                    }
                }
            }
            Next::Start => self.start_up(),
            Next::Reload(number) => self.reload(number),
            Next::LetGo => self.let_go(),
            Next::Review => {
                if !self.is_down {
                    self.reviews.review(&self.tracker, time(self.now), self.history.log.len());
                }
                if self.now < self.reviews.until + 2 * self.reviews.longest {
                    self.schedule(self.now + self.reviews.every, Next::Review);
                }
            }
        }
    }

    fn run(&self) -> usize {
        self.history.restarts.len()
    }

    fn plan(&mut self, which: usize) {
        // A new process does not send canaries that were due before it started.
        let Canary { tenant, planned, .. } = self.history.canaries[which];
        let is_sent = self.configured[tenant].is_some_and(|since| planned >= since);
        let is_dropped = self.is_down || planned < self.began || !is_sent;
        self.reload_counts.not_sent += usize::from(!self.is_down && !is_sent);
        let place = self.history.log.len();
        self.senders[which] = self.settings.instance;
        let tag = self.tag(which);
        let round =
            if is_dropped { Round::Lost } else { self.round(What::Planned(which), Change::Plan(tag)) };
        if round != Round::Lost {
            self.history.canaries[which].registered = Some(place);
        }
        if round == Round::Lost {
            self.drop_copies(which, |_| true);
        } else if round != Round::Done {
            self.drop_tries(which, Micros::MIN);
        }
    }

    fn answer(&mut self, which: usize) {
        let canary = &self.history.canaries[which];
        // Only the process that sent the put gets its answer.
        let has_sender = canary.registered.is_some_and(|place| self.history.run_at(place) == self.run());
        if self.is_down || !has_sender {
            return;
        }
        let result = match canary.answer {
            Answer::Accepted => PutResult::Accepted { doubled: false },
            Answer::AcceptedDoubled => PutResult::Accepted { doubled: true },
            Answer::Ambiguous => PutResult::Ambiguous { doubled: false, reason: "no answer".into() },
            Answer::AmbiguousDoubled => PutResult::Ambiguous { doubled: true, reason: "no answer".into() },
            Answer::Refused => PutResult::Refused { reason: "no".into() },
        };
        let input = Input::Put { trace: self.tag(which).trace, result };
        let place = self.history.log.len();
        if self.round(What::Answered(which), Change::Input(input)) != Round::Lost {
            self.history.canaries[which].answered_at = Some(place);
        }
    }

    fn poll_ends(&mut self, source: usize) {
        let observer = &mut self.observers[source];
        let History { canaries, others, .. } = &self.history;
        let (started, poll) = observer.finish(&mut self.rng, source, canaries, others, &self.number);
        let place = self.history.log.len();
        let mut shown: Vec<_> = poll.shown.iter().map(|shown| shown.canary).collect();
        shown.sort_unstable();
        shown.dedup();
        let id = SourceId(u32::try_from(source).unwrap());
        let input = match poll.result {
            PollResult::Failed => {
                let failure =
                    if started.fate == Fate::Hangs { FailureKind::Timeout } else { FailureKind::Error };
                Input::PollFailed { source: id, kind: failure, detail: "scripted".into() }
            }
            PollResult::Incomplete | PollResult::Complete { .. } => {
                let watermark = match poll.result {
                    PollResult::Complete { all_before } => Some(time(all_before)),
                    PollResult::Incomplete | PollResult::Failed => None,
                };
                let ours = poll.shown.iter().map(|shown| self.sighting(*shown));
                let others = poll.others.iter().map(|(other, seen_by)| self.other_sighting(*other, *seen_by));
                let poll = Poll {
                    revision: started.wanted.revision,
                    started: time(started.at),
                    finished: time(started.ends),
                    watermark,
                    sightings: ours.chain(others).collect(),
                    stats: ReadStats::default(),
                    unreadable: poll.unreadable.iter().map(|record| self.unreadable(record)).collect(),
                    failed_batches: Vec::new(),
                };
                Input::Polled { source: id, poll }
            }
        };
        let round = self.round(What::PollAnswered(poll), Change::Input(input));
        if round != Round::Lost {
            for canary in shown {
                self.history.shown_at[canary].push(place);
            }
        }
        if round != Round::Done {
            return;
        }
        let is_answered = matches!(started.fate, Fate::Fine | Fate::Incomplete);
        if is_answered && !started.wanted.checks.is_empty() {
            self.start_check(source, started.wanted.checks);
        } else {
            self.plan_next(source);
        }
    }

    fn start_check(&mut self, source: usize, objects: Arc<[Arc<str>]>) {
        let ends = self.observers[source].start_check(&mut self.rng, self.now, objects);
        self.schedule(ends, Next::CheckEnds { source, run: self.processes });
    }

    fn check_ends(&mut self, source: usize) {
        let exists = |name: &str, at| self.objects[name].exists(at);
        let answers = self.observers[source].finish_check(&mut self.rng, exists);
        if answers.is_empty() {
            self.plan_next(source);
            return;
        }
        let place = self.history.log.len();
        let presence = |existence| match existence {
            Existence::There => Presence::There,
            Existence::Deleted => Presence::Gone,
            Existence::Denied => Presence::Unknown,
        };
        let input = Input::CopiesChecked {
            source: SourceId(u32::try_from(source).unwrap()),
            checked: answers.iter().map(|(name, known)| (name.as_str().into(), presence(*known))).collect(),
        };
        let round = self.round(What::CopiesChecked(Checked { source, answers }), Change::Input(input));
        if round != Round::Lost {
            self.history.objects_checked_at[source].push(place);
        }
        if round == Round::Done {
            self.plan_next(source);
        }
    }

    /// One round of the engine: it decides, commits, and carries out.
    fn round(&mut self, what: What, change: Change) -> Round {
        let cut = self.pending_end.take();
        let now = time(self.now);
        let events = match change {
            Change::Plan(tag) => {
                let mut events = Vec::new();
                self.tracker.plan(tag, now, &mut events).expect("the model leaves room");
                events
            }
            Change::Input(input) => self.tracker.apply(input, now),
            Change::Abandon => self.tracker.abandon(now),
            Change::Handover => self.tracker.handover(now),
            Change::Succeed => self.tracker.succeed(self.topology.clone(), now),
        };
        if let Some(restart) = cut.filter(|restart| restart.cut == Cut::BeforeCommit) {
            self.end(restart);
            return Round::Lost;
        }
        self.history.log.push(Entry { at: self.now, what });
        let unsaved = self.tracker.take_changes();
        self.committed_seen.extend(unsaved.seen);
        self.reviews.commit();
        if !self.restarts.is_empty() && self.history.rules.is_kept {
            let traces = unsaved.traces.into_iter();
            self.committed.extend(traces.map(|(trace, finished)| (trace.id(), (trace, finished))));
        }
        for event in &events {
            self.record(event);
        }
        if let Some(restart) = cut {
            self.end(restart);
            return Round::Committed;
        }
        self.update_observers();
        self.check_missing();
        Round::Done
    }

    /// Puts another configuration in force.
    fn reload(&mut self, number: usize) {
        let configured = self.reloads[number].configured.clone();
        let is_same = self.configured.iter().zip(&configured).all(|(since, is)| since.is_some() == *is);
        if self.is_down || is_same {
            return;
        }
        for (tenant, is) in configured.iter().enumerate() {
            let id = tenant_id(tenant);
            match (self.configured[tenant], is) {
                (None, true) => {
                    let counts = &mut self.reload_counts;
                    *if self.topology.is_gone(id) {
                        &mut counts.back_again
                    } else {
                        &mut counts.back_in_time
                    } += 1;
                    self.configured[tenant] = Some(self.now);
                }
                (Some(_), false) => {
                    self.reload_counts.removed += 1;
                    let snapshot = self.tracker.snapshot(time(self.now));
                    let is_in_flight = |trace: &&Arc<Trace>| trace.tenant == id && trace.ended.is_none();
                    self.reload_counts.in_flight += snapshot.open.iter().filter(is_in_flight).count();
                    self.configured[tenant] = None;
                }
                (Some(_), true) | (None, false) => {}
            }
        }
        let rules = &self.history.rules;
        let next = rules::topology(rules, &configured);
        let place = |source| Some(SourceId(u32::try_from(source).unwrap()));
        let same: Vec<_> = rules::sources_of(rules, &configured).map(place).collect();
        let successor = self.topology.succeeded_by(&next, &same).unwrap();
        let numbers: Vec<_> =
            (0..configured.len()).filter(|tenant| configured[*tenant]).map(tenant_id).collect();
        assert_eq!(successor.tenants, numbers, "a tenant has another number");
        self.succeed(successor.topology);
        self.quiet_since.clear();
        self.schedule(self.now, Next::LetGo);
    }

    /// Removes the tenants that leave and of which nothing is awaited any more.
    fn let_go(&mut self) {
        let leaving: Vec<TenantId> = self.topology.leaving().collect();
        for tenant in leaving {
            if self.is_down {
                return;
            }
            if self.tracker.awaits(tenant) {
                self.quiet_since.remove(&tenant);
                continue;
            }
            let since = *self.quiet_since.entry(tenant).or_insert(self.now);
            if self.now - since >= self.lingers {
                self.reload_counts.gone += 1;
                self.succeed(self.topology.without(tenant));
            }
        }
        if self.topology.leaving().next().is_some() {
            self.schedule(self.now + 5 * SECOND, Next::LetGo);
        }
    }

    fn succeed(&mut self, topology: Topology) {
        let before = std::mem::replace(&mut self.topology, Arc::new(topology));
        let number = |id: SourceId| id.0 as usize;
        let closed: Vec<_> =
            before.source_ids().filter(|id| !self.topology.has_source(*id)).map(number).collect();
        let tenants = 0..self.configured.len();
        let gone = tenants.filter(|tenant| self.topology.is_gone(tenant_id(*tenant))).collect();
        let place = self.history.log.len();
        closed.iter().for_each(|source| self.observers[*source].restart());
        let reloaded = Reloaded { gone, closed: closed.clone() };
        if self.round(What::Reloaded(reloaded), Change::Succeed) != Round::Lost {
            closed.iter().for_each(|source| self.history.closed_at[*source].push(place));
        }
    }

    /// Now and then, notes of some canaries at which stages they are missing.
    fn check_missing(&mut self) {
        if self.rng.u8(0..8) > 0 {
            return;
        }
        let place = self.history.log.len() - 1;
        for _ in 0..4 {
            let which = self.rng.usize(0..self.history.canaries.len());
            let canary = &self.history.canaries[which];
            let is_recent = (0..200 * SECOND).contains(&(self.now - canary.planned));
            if !is_recent || self.history.checked_at[which].last() == Some(&place) {
                continue;
            }
            let Some(trace) = self.tracker.trace(TraceId::from_u128(canary.id)) else { continue };
            let is_missing = |stage| trace.is_missing(&self.topology, StageId(u16::try_from(stage).unwrap()));
            self.recorded[which].missing.push(std::array::from_fn(is_missing));
            self.history.checked_at[which].push(place);
        }
    }

    /// Ends the process. What is not committed is lost.
    fn end(&mut self, restart: Restart) {
        self.is_down = true;
        for which in 0..self.history.canaries.len() {
            let canary = &self.history.canaries[which];
            if canary.registered.is_some() && canary.answered >= self.now {
                self.drop_tries(which, self.now);
            }
        }
        self.observers.iter_mut().for_each(Observer::restart);
        self.schedule(self.now + restart.down, Next::Start);
    }

    /// Starts a new process from the store, or without any.
    fn start_up(&mut self) {
        self.is_down = false;
        self.began = self.now;
        self.topology = self.complete.clone();
        self.configured = vec![Some(self.now); self.configured.len()];
        self.quiet_since.clear();
        self.processes += 1;
        self.check_plan();
        if !self.history.rules.is_kept {
            self.start_afresh();
            return;
        }
        let (episodes, merged_episodes) = self.reviews.committed();
        let committed = Changes {
            traces: std::mem::take(&mut self.committed).into_values().collect(),
            seen: std::mem::take(&mut self.committed_seen),
            episodes,
            merged_episodes,
            ..Changes::default()
        };
        self.store.save(&committed).unwrap();
        let (episodes, events);
        (self.tracker, episodes, events) =
            restored(&mut self.store, &self.topology, self.settings, time(self.now));
        self.reviews.restart(episodes);
        let changes = self.tracker.take_changes();
        // Those that are over by now finish again, and the copies of one whose put will not be answered any more
        // are judged without the answer. The store did not know either.
        let is_settled = |trace: &Trace| changes.settled.iter().any(|settled| settled.id() == trace.id());
        let is_news = |trace: &Trace| is_settled(trace) || trace.put == Put::Planned;
        assert!(changes.traces.iter().all(|(trace, _)| is_news(trace)), "the store has these as they are");
        self.committed.extend(changes.traces.into_iter().map(|(trace, over)| (trace.id(), (trace, over))));
        self.history.restarts.push(self.history.log.len());
        self.history.log.push(Entry { at: self.now, what: What::Restarted });
        // The others are of canaries that have ended, as a previous run has said.
        for event in events.iter().filter(|event| matches!(event, Event::UnchargedCopy { .. })) {
            self.record(event);
        }
        self.update_observers();
    }

    /// A process that begins knows which canaries are its own to send.
    fn check_plan(&self) {
        for (tenant, plan) in self.plans.iter().enumerate() {
            let next = Schedule::new(plan.clone(), time(self.now), Duration::from_secs(2)).next_at().micros();
            let of_tenant = self.history.canaries.iter().filter(|canary| canary.tenant == tenant);
            let first = of_tenant.map(|canary| canary.planned).find(|planned| *planned >= self.now);
            assert!(first.is_none_or(|first| first == next), "the plan of tenant {tenant} is another one");
        }
    }

    /// Ends the history of a process that left no store.
    fn archive(&mut self) {
        let polls = self.history.log.iter().filter_map(|entry| match &entry.what {
            What::PollAnswered(poll) => Some(poll),
            _ => None,
        });
        let crowded =
            polls.filter(|poll| poll.recently_seen >= Some(CROWDED)).map(|poll| poll.source).collect();
        let canaries = self.history.canaries.len();
        let empty = || vec![Vec::new(); canaries];
        let next = History {
            rules: self.history.rules.clone(),
            canaries: self.history.canaries.clone(),
            others: self.history.others.clone(),
            log: Vec::new(),
            began: self.now,
            shown_at: empty(),
            restarts: Vec::new(),
            visibility: Vec::new(),
            checked_at: empty(),
            objects_checked_at: vec![Vec::new(); self.observers.len()],
            closed_at: vec![Vec::new(); self.observers.len()],
        };
        let tracker = Tracker::new(self.topology.clone(), self.settings, time(self.now));
        let reviews = Reviews::new(0, &self.history.rules, self.topology.clone());
        self.ended.push(Outcome {
            history: std::mem::replace(&mut self.history, next),
            tracker: std::mem::replace(&mut self.tracker, tracker),
            recorded: std::mem::replace(&mut self.recorded, vec![Recorded::default(); canaries]),
            met: std::mem::take(&mut self.met),
            reviews: std::mem::replace(&mut self.reviews, reviews),
            crowded,
            reloads: std::mem::take(&mut self.reload_counts),
        });
    }

    /// Starts a process that knows nothing of those before it.
    fn start_afresh(&mut self) {
        let used = self.senders.iter().chain([&another_process()]).copied().collect::<HashSet<_>>();
        let codes = (0..).map(|after| InstanceCode::of_run("me", time(self.now + after)));
        // Two runs have the same code once in 256.
        self.settings.instance = codes.into_iter().find(|code| !used.contains(code)).unwrap();
        self.archive();
        self.reviews.are_taken = false;
        let rules = &mut self.history.rules;
        rules.seen_before.iter_mut().for_each(|seen| *seen = [false; STAGES]);
        for canary in &mut self.history.canaries {
            canary.registered = None;
            canary.answered_at = None;
        }
        self.update_observers();
    }

    /// Drops the tries of a canary that were not sent by `now`.
    fn drop_tries(&mut self, which: usize, now: Micros) {
        self.history.canaries[which].tries.retain(|sent| *sent <= now);
        self.drop_copies(which, |copy| !copy.by_other && copy.sent > now);
    }

    /// Drops copies of a canary, which must be the last ones: copies are known by their numbers.
    fn drop_copies(&mut self, which: usize, is_dropped: impl Fn(&Copy) -> bool) {
        let copies = &mut self.history.canaries[which].copies;
        let kept = copies.iter().take_while(|copy| !is_dropped(copy)).count();
        let dropped = copies.split_off(kept);
        assert!(dropped.iter().all(&is_dropped), "copies between others are dropped");
        for (at, copy) in dropped.iter().enumerate() {
            self.observers[copy.source].remove_copy(which, kept + at, copy.stored);
        }
    }

    fn update_observers(&mut self) {
        for source in self.tracker.take_changed() {
            if !self.topology.has_source(source) {
                continue;
            }
            let at = source.0 as usize;
            self.observers[at].wanted = self.tracker.wanted(source);
            self.plan_next(at);
        }
    }

    fn record(&mut self, event: &Event) {
        let run = self.run();
        let canary = Recorded::about(event).and_then(|trace| self.number.get(&trace.as_u128()));
        match canary {
            Some(number) => self.recorded[*number].record(event, run),
            None => self.met.record(event, self.history.log.len() - 1, run),
        }
        if let Some(change) = sources::visibility_change(event, self.history.log.len() - 1) {
            self.history.visibility.push(change);
        }
    }

    fn plan_next(&mut self, source: usize) {
        let observer = &mut self.observers[source];
        observer.plan += 1;
        if let Some((at, action)) = observer.next(self.now) {
            let plan = observer.plan;
            let next = match action {
                Action::Poll => Next::Poll { source, plan },
                Action::Check => Next::Check { source, plan },
            };
            self.schedule(at, next);
        }
    }
}

/// Another process of the same name.
pub fn another_process() -> InstanceCode {
    InstanceCode::of_run("me", time(EPOCH - SECOND))
}

fn time(micros: Micros) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Loads all.
pub const EVERYTHING: LoadLimits =
    LoadLimits { since: Timestamp::MIN, max_delivered: usize::MAX, max_of_tenant: usize::MAX };

/// A tracker that takes over what is in the store, and the episodes that are in it.
fn restored(
    store: &mut Store,
    map: &Arc<Topology>,
    settings: Settings,
    now: Timestamp,
) -> (Tracker, Vec<Episode>, Vec<Event>) {
    let mut loaded = store.load(EVERYTHING).unwrap();
    let episodes = std::mem::take(&mut loaded.episodes);
    assert_eq!(loaded.unreadable, 0);
    let mut tracker = Tracker::new(map.clone(), settings, now);
    let events = tracker.restore(loaded, now);
    (tracker, episodes, events)
}
