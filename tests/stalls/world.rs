//! A pipeline in virtual time with the real schedule, tracker and conditions. Sources are polled as the pacing
//! does: in intervals, and at the instant at which a canary crosses a threshold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::canary::{Integrity, Template};
use traceprobe::domain::conditions::{Assessment, Criteria};
use traceprobe::domain::format::FoundIn;
use traceprobe::domain::kind::Kind;
use traceprobe::domain::plan::{Plan, Slot};
use traceprobe::domain::schedule::Schedule;
use traceprobe::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{
    Capabilities, Owner, Role, Source, SourceId, Stage, StageId, Tenant, TenantId, Topology,
};
use traceprobe::domain::tracker::{
    Event, Input, PutResult, Restored, SeenSource, Settings, Snapshot, Tracker,
};

/// When every world begins.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub const INTERVAL: Duration = Duration::from_secs(30);
pub const SLO: Duration = Duration::from_secs(30);
const TOLERANCE: Duration = Duration::from_secs(1);

pub const STREAM: StageId = StageId(0);
pub const TRANSIT: StageId = StageId(1);
pub const TABLE: StageId = StageId(2);

/// The main path: the time that a hop takes, and how its source is polled, with the defaults of Kinesis, S3 and
/// BigQuery.
const HOPS: [Hop; 3] = [
    Hop { name: "stream", took: (200, 900), every: 1, settle: 1, answer: (20, 300) },
    Hop { name: "transit", took: (2_000, 6_000), every: 5, settle: 0, answer: (100, 1_000) },
    Hop { name: "table", took: (1_000, 4_000), every: 5, settle: 0, answer: (500, 3_000) },
];

/// Milliseconds, least and most, and seconds.
struct Hop {
    name: &'static str,
    took: (u64, u64),
    every: u64,
    settle: u64,
    answer: (u64, u64),
}

/// What becomes of a canary.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fate {
    /// How many times as long as usual it takes.
    pub slower: u32,
    /// The hop that loses it.
    pub lost_at: Option<StageId>,
}

pub const WELL: Fate = Fate { slower: 1, lost_at: None };

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Plan(TenantId),
    Answer(TraceId),
    /// Unless it was planned again since.
    Poll(SourceId, u64),
    PollEnds(SourceId),
}

/// How a source is polled.
#[derive(Default)]
struct Polls {
    last: Option<Timestamp>,
    burst: Duration,
    covered: Option<Timestamp>,
    plan: u64,
    /// When the poll in progress began, and the revision that it is for.
    polling: Option<(Timestamp, u64)>,
    /// What is stored and not read yet.
    stored: BTreeMap<(Timestamp, TraceId), Tag>,
}

type Fates = dyn FnMut(TenantId, Timestamp) -> Fate;

pub struct World {
    pub map: Arc<Topology>,
    pub tracker: Tracker,
    /// Decides what becomes of each canary.
    fate: Box<Fates>,
    /// A hop through which nothing comes any more from an instant on, and whose canaries it stops; `None`: all.
    pub stall: Option<(StageId, Timestamp, Option<TenantId>)>,
    schedules: Vec<Schedule>,
    polls: Vec<Polls>,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Next)>>,
    entered: u64,
    pub planned: u64,
    /// When the last canary became late, or had an outcome other than delivered.
    pub last_failure: Option<Timestamp>,
    rng: Rng,
}

impl World {
    pub fn new(tenants: u16, seed: u64, fate: impl FnMut(TenantId, Timestamp) -> Fate + 'static) -> Self {
        let map = Arc::new(topology(tenants));
        let mut tracker = Tracker::new(map.clone(), settings(), START);
        tracker.restore(Restored { seen: seen(&map), ..Restored::default() }, START);
        let mut rng = Rng::with_seed(seed);
        let key = TagKey::new(format!("{:016x}", rng.u64(..))).expect("it is long enough");
        let plan = |tenant| Plan::new(key.clone(), map.tenant(tenant).code, INTERVAL);
        let schedule = |tenant| Schedule::new(plan(tenant), START, TOLERANCE);
        let schedules: Vec<_> = map.tenant_ids().map(schedule).collect();
        let polls = map.sources().iter().map(|_| Polls::default()).collect();
        let mut world = Self {
            tracker,
            fate: Box::new(fate),
            stall: None,
            schedules,
            polls,
            queue: BinaryHeap::new(),
            entered: 0,
            planned: 0,
            last_failure: None,
            rng,
            map: map.clone(),
        };
        for tenant in map.tenant_ids() {
            world.enter(world.schedules[usize::from(tenant.0)].next_at(), Next::Plan(tenant));
        }
        world
    }

    /// Runs to an instant.
    pub fn run_to(&mut self, until: Timestamp) {
        loop {
            let next = self.queue.peek().map(|Reverse((at, ..))| *at).filter(|at| *at <= until);
            match (next, self.tracker.next_deadline().filter(|at| *at <= until)) {
                (None, None) => return,
                (next, Some(deadline)) if next.is_none_or(|next| deadline <= next) => {
                    self.apply(Input::Tick, deadline);
                }
                (Some(_), _) => {
                    let Some(Reverse((at, _, next))) = self.queue.pop() else { return };
                    self.handle(next, at);
                }
                (None, Some(_)) => unreachable!("without an event the deadline is next"),
            }
            for source in self.tracker.take_changed() {
                self.plan_poll(source, until);
            }
        }
    }

    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.tracker.snapshot(now)
    }

    pub fn assess(&self, now: Timestamp) -> Assessment {
        Assessment::new(&self.snapshot(now), &criteria())
    }

    fn enter(&mut self, at: Timestamp, next: Next) {
        self.entered += 1;
        self.queue.push(Reverse((at, self.entered, next)));
    }

    fn apply(&mut self, input: Input, now: Timestamp) {
        for event in self.tracker.apply(input, now) {
            let is_failure = match event {
                Event::Overdue { .. } => true,
                Event::Ended { outcome, .. } => outcome.is_failure(),
                _ => false,
            };
            if is_failure {
                self.last_failure = Some(now);
            }
        }
    }

    fn handle(&mut self, next: Next, now: Timestamp) {
        match next {
            Next::Plan(tenant) => self.plan(tenant, now),
            Next::Answer(trace) => {
                self.apply(Input::Put { trace, result: PutResult::Accepted { doubled: false } }, now);
            }
            Next::Poll(source, plan) => self.poll(source, plan, now),
            Next::PollEnds(source) => self.poll_ends(source, now),
        }
    }

    fn plan(&mut self, tenant: TenantId, now: Timestamp) {
        let at = usize::from(tenant.0);
        for Slot { planned_at: planned, .. } in self.schedules[at].take_due(now).planned {
            self.planned += 1;
            let random: [u8; 10] = std::array::from_fn(|_| self.rng.u8(..));
            let code = self.map.tenant(tenant).code;
            let tag =
                Tag::new(TraceId::new(planned, random), code, InstanceCode::of("me"), 100, Purpose::Probe);
            self.tracker.plan(tag, now, &mut Vec::new()).expect("there is room");
            let answered = now + Duration::from_millis(self.rng.u64(10..100));
            self.enter(answered, Next::Answer(tag.trace));
            self.send(tag, tenant, planned, now);
        }
        self.enter(self.schedules[at].next_at(), Next::Plan(tenant));
    }

    /// Stores a canary wherever it comes.
    fn send(&mut self, tag: Tag, tenant: TenantId, planned: Timestamp, now: Timestamp) {
        let (fate, mut at) = ((self.fate)(tenant, planned), now);
        for (hop, stage) in HOPS.iter().zip([STREAM, TRANSIT, TABLE]) {
            at = at + Duration::from_millis(self.rng.u64(hop.took.0..hop.took.1)) * fate.slower;
            let is_stopped = self.stall.is_some_and(|(stalled, from, of)| {
                stalled == stage && at >= from && of.is_none_or(|of| of == tenant)
            });
            if is_stopped || fate.lost_at == Some(stage) {
                return;
            }
            self.polls[usize::from(stage.0)].stored.insert((at, tag.trace), tag);
        }
    }

    /// Stops a hop from now on, for what is under way as well.
    pub fn stall(&mut self, stage: StageId, from: Timestamp, of: Option<TenantId>) {
        self.stall = Some((stage, from, of));
        let map = self.map.clone();
        let is_under_way =
            |tag: &Tag| of.is_none_or(|of| map.tenant_of(tag).is_some_and(|tenant| tenant == of));
        let at = usize::from(stage.0);
        let stopped: Vec<TraceId> = self.polls[at]
            .stored
            .extract_if(.., |(stored, _), tag| *stored >= from && is_under_way(tag))
            .map(|((_, trace), _)| trace)
            .collect();
        for later in &mut self.polls[at + 1..] {
            later.stored.retain(|(_, trace), _| !stopped.contains(trace));
        }
    }

    /// Plans the next poll of a source, by the rules of the pacing.
    fn plan_poll(&mut self, source: SourceId, now: Timestamp) {
        let (hop, wanted) = (&HOPS[source.0 as usize], self.tracker.wanted(source));
        let polls = &mut self.polls[source.0 as usize];
        polls.plan += 1;
        if polls.polling.is_some() || wanted.waiting.is_empty() {
            return;
        }
        let every = Duration::from_secs(hop.every);
        let due = polls.last.map_or(START, |last| {
            let unproven = wanted
                .checkpoints
                .iter()
                .find(|at| polls.covered.is_none_or(|covered| covered <= *at))
                .map(|at| at + Duration::from_secs(hop.settle) + Duration::from_micros(1));
            let soonest = last + (every / 2).saturating_sub(polls.burst);
            unproven.map_or(last + every, |early| early.max(soonest).min(last + every))
        });
        let plan = polls.plan;
        let due = due.max(self.latest().min(now));
        self.enter(due, Next::Poll(source, plan));
    }

    /// When the tracker last heard of anything.
    fn latest(&self) -> Timestamp {
        self.polls.iter().filter_map(|polls| polls.last).max().unwrap_or(START)
    }

    fn poll(&mut self, source: SourceId, plan: u64, now: Timestamp) {
        let (at, hop) = (source.0 as usize, &HOPS[source.0 as usize]);
        if self.polls[at].plan != plan || self.polls[at].polling.is_some() {
            return;
        }
        let revision = self.tracker.wanted(source).revision;
        let polls = &mut self.polls[at];
        let half = Duration::from_secs(hop.every) / 2;
        polls.burst = polls.last.map_or(Duration::ZERO, |last| {
            (polls.burst + now.since(last)).saturating_sub(half).min(half * 2)
        });
        polls.last = Some(now);
        polls.polling = Some((now, revision));
        let answer = Duration::from_millis(self.rng.u64(hop.answer.0..hop.answer.1));
        self.enter(now + answer, Next::PollEnds(source));
    }

    fn poll_ends(&mut self, source: SourceId, now: Timestamp) {
        let (at, hop) = (source.0 as usize, &HOPS[source.0 as usize]);
        let polls = &mut self.polls[at];
        let Some((started, revision)) = polls.polling.take() else { return };
        let watermark = started - Duration::from_secs(hop.settle);
        polls.covered = Some(watermark);
        let found = polls.stored.extract_if(.., |(stored, _), _| *stored <= started);
        let sightings = found.map(|((stored, _), tag)| Sighting {
            tag,
            stamp: Stamp::Millis(stored.floor_to_millis()),
            seen_by: now,
            locator: Locator::new("copy"),
            label: None,
            integrity: Integrity::Intact,
            found_in: FoundIn { verbatim: true, ..FoundIn::default() },
        });
        let poll = Poll {
            revision,
            started,
            finished: now,
            watermark: Some(watermark),
            sightings: sightings.collect(),
            stats: ReadStats::default(),
            unreadable: Vec::new(),
            failed_batches: Vec::new(),
        };
        self.apply(Input::Polled { source, poll }, now);
        self.plan_poll(source, now);
    }
}

pub fn criteria() -> Criteria {
    Criteria::new(SLO)
}

fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        slo: SLO,
        give_up: seconds(900),
        grace: seconds(300),
        blind_after: seconds(30),
        recheck_for: seconds(60),
        copy_recheck: seconds(900),
        max_in_flight: 10_000,
        remember: 2_000,
        remember_of_tenant: 100,
        handover: Duration::ZERO,
        is_kept: true,
        instance: InstanceCode::of("me"),
    }
}

/// Shared sources, as one probe has them for all tenants.
fn topology(tenants: u16) -> Topology {
    let tenant = |number: u16| Tenant {
        name: format!("tenant-{number}").into(),
        code: TenantCode::of(&format!("tenant-{number}")),
        label: format!("tenant-{number}").into(),
        log_groups: vec!["/app".into()],
        template: Template::default(),
        interval: INTERVAL,
    };
    let stage = |(number, hop): (u16, &Hop)| Stage {
        name: hop.name.into(),
        kind: Kind::S3,
        capabilities: Capabilities::ABSENCE,
        parent: number.checked_sub(1).map(StageId),
        role: if StageId(number) == TABLE { Role::End } else { Role::Way },
        target: None,
        critical: None,
        missing_after: Duration::from_secs(30),
        clock_allowance: Duration::from_millis(100),
    };
    let source = |(number, hop): (u16, &Hop)| Source {
        stage: StageId(number),
        name: hop.name.into(),
        owner: Owner::Shared,
        tenants: (0..tenants).map(TenantId).collect(),
    };
    Topology::new(
        (0..tenants).map(tenant).collect(),
        (0..).zip(&HOPS).map(stage).collect(),
        (0..).zip(&HOPS).map(source).collect(),
    )
    .expect("it is consistent")
}

fn seen(map: &Topology) -> Vec<SeenSource> {
    let of_source = |source| {
        let source = map.source(source);
        source.tenants.iter().map(|tenant| SeenSource {
            stage: map.stage(source.stage).name.clone(),
            source: source.name.clone(),
            tenant: map.tenant(*tenant).name.clone(),
            at: START,
        })
    };
    map.source_ids().flat_map(of_source).collect()
}
