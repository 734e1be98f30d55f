//! A pipeline second by second, in front of the real tracker: a canary of acme every 30 s, a poll of every
//! source every second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::canary::Integrity;
use crate::domain::conditions::{Assessment, Condition, ConditionName, Criteria, Severity, Verdict};
use crate::domain::format::{Format, FoundIn, Shape, Unreadable, UnreadableReason};
use crate::domain::sighting::{FailureKind, Locator, Poll, ReadStats, Sighting, Stamp, UnreadableRecord};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::fixture::*;
use crate::domain::topology::{HopRange, LogGroupId, SourceId, StageId, TenantId, Topology};
use crate::domain::tracker::{Input, PutResult, Restored, Settings, Snapshot, Tracker};

pub(in crate::domain) const INTERVAL: u64 = 30;
/// As long as the default window, like the default.
pub(in crate::domain) const GIVE_UP: u64 = 900;

pub(in crate::domain) fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(in crate::domain) fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000) + s(secs)
}

pub(in crate::domain) fn criteria() -> Criteria {
    Criteria::new(s(30))
}

fn settings() -> Settings {
    Settings {
        slo: s(30),
        give_up: s(GIVE_UP),
        grace: s(60),
        blind_after: s(20),
        recheck_for: s(60),
        copy_recheck: s(900),
        max_in_flight: 1_000,
        remember: 10_000,
        remember_of_tenant: 100,
        handover: Duration::ZERO,
        is_kept: true,
        instance: InstanceCode::of("me"),
    }
}

/// What becomes of one canary.
#[derive(Clone, Copy)]
pub(in crate::domain) struct Fate {
    /// How long CloudWatch Logs takes for it, in seconds; `None` if it refuses it.
    pub(in crate::domain) put: Option<u64>,
    /// When it arrives at each stage, in milliseconds after its planned injection.
    pub(in crate::domain) arrivals: [Option<u64>; 5],
    /// Where it is stored twice.
    pub(in crate::domain) doubled: Option<StageId>,
    /// Where it is cut.
    pub(in crate::domain) damaged: Option<StageId>,
    /// Where another copy of it is stored with globex.
    pub(in crate::domain) leaked: Option<StageId>,
    /// Where it is stored in a format that is not opened.
    pub(in crate::domain) unreadable: Option<StageId>,
    /// A canary of another process of this instance's name arrives together with it.
    pub(in crate::domain) has_namesake: bool,
}

pub(in crate::domain) const WELL: Fate = Fate {
    put: Some(0),
    arrivals: [Some(500), Some(2_000), Some(5_000), Some(10_000), None],
    doubled: None,
    damaged: None,
    leaked: None,
    unreadable: None,
    has_namesake: false,
};

impl Fate {
    /// It arrives at a stage after so many milliseconds, or not at all.
    pub(in crate::domain) fn at(mut self, stage: StageId, millis: impl Into<Option<u64>>) -> Self {
        self.arrivals[usize::from(stage.0)] = millis.into();
        self
    }

    /// How many seconds after its planned injection all has become of it.
    fn lasts(&self) -> u64 {
        let arrived = self.arrivals.iter().flatten().max().map_or(0, |millis| millis.div_ceil(1_000));
        arrived.max(self.put.unwrap_or_default())
    }

    /// It does not come out of transit.
    pub(in crate::domain) fn stopped() -> Self {
        WELL.at(TRANSIT, None).at(TABLE, None)
    }
}

pub(in crate::domain) struct World {
    map: Arc<Topology>,
    pub(in crate::domain) tracker: Tracker,
    script: Box<dyn Fn(TenantId, u64) -> Fate>,
    /// Whether a stage cannot be read at a second.
    denied: Box<dyn Fn(StageId, u64) -> bool>,
    /// What is reported at a second beside polls and puts.
    reports: Box<dyn Fn(u64) -> Vec<Input>>,
    sent: Vec<(Tag, u64, Fate)>,
    next: u64,
    interval: u64,
    /// The tenants whose canaries are planned.
    tenants: Vec<TenantId>,
    /// When each source was last read.
    read_at: BTreeMap<SourceId, u64>,
}

impl World {
    /// Every source has shown canaries before.
    pub(in crate::domain) fn new(script: impl Fn(u64) -> Fate + 'static) -> Self {
        let mut world = Self::unseen(script);
        let seen = crate::domain::tracker::tests::seen_everywhere(&world.map);
        world.tracker.restore(Restored { seen, ..Restored::default() }, t(0));
        world
    }

    /// No source has ever shown a canary.
    pub(in crate::domain) fn unseen(script: impl Fn(u64) -> Fate + 'static) -> Self {
        let map = Arc::new(topology());
        Self {
            tracker: Tracker::new(map.clone(), settings(), t(0)),
            map,
            script: Box::new(move |_, planned| script(planned)),
            denied: Box::new(|_, _| false),
            reports: Box::new(|_| Vec::new()),
            sent: Vec::new(),
            next: 0,
            interval: INTERVAL,
            tenants: vec![ACME],
            read_at: BTreeMap::new(),
        }
    }

    /// Three tenants, with the same fate.
    pub(in crate::domain) fn of_three(script: impl Fn(u64) -> Fate + 'static) -> Self {
        let map = Arc::new(topology_with("initech"));
        let mut tracker = Tracker::new(map.clone(), settings(), t(0));
        let seen = crate::domain::tracker::tests::seen_everywhere(&map);
        tracker.restore(Restored { seen, ..Restored::default() }, t(0));
        Self { tracker, tenants: map.tenant_ids().collect(), map, ..Self::unseen(script) }
    }

    /// What becomes of a canary depends on its tenant.
    pub(in crate::domain) fn by_tenant(self, script: impl Fn(TenantId, u64) -> Fate + 'static) -> Self {
        Self { script: Box::new(script), ..self }
    }

    /// Only the canaries of the first so many tenants are planned.
    pub(in crate::domain) fn of_the_first(mut self, tenants: usize) -> Self {
        self.tenants.truncate(tenants);
        self
    }

    /// A canary of acme is planned every so many seconds.
    pub(in crate::domain) fn every(self, interval: u64) -> Self {
        Self { interval, ..self.on(topology_every(s(interval))) }
    }

    /// Only so many finished traces are remembered, and of each tenant so many in any case.
    pub(in crate::domain) fn remembering(self, remember: usize, remember_of_tenant: usize) -> Self {
        let settings = Settings { remember, remember_of_tenant, ..settings() };
        let mut tracker = Tracker::new(self.map.clone(), settings, t(0));
        let seen = crate::domain::tracker::tests::seen_everywhere(&self.map);
        tracker.restore(Restored { seen, ..Restored::default() }, t(0));
        Self { tracker, ..self }
    }

    /// The canaries of acme are put into so many log groups in turn, the first at second 0.
    pub(in crate::domain) fn with_log_groups(self, count: usize) -> Self {
        self.on(topology_with_log_groups(count))
    }

    fn on(self, map: Topology) -> Self {
        let map = Arc::new(map);
        let mut tracker = Tracker::new(map.clone(), settings(), t(0));
        let seen = crate::domain::tracker::tests::seen_everywhere(&map);
        tracker.restore(Restored { seen, ..Restored::default() }, t(0));
        Self { map, tracker, ..self }
    }

    pub(in crate::domain) fn denied(self, denied: impl Fn(StageId, u64) -> bool + 'static) -> Self {
        Self { denied: Box::new(denied), ..self }
    }

    pub(in crate::domain) fn reporting(self, reports: impl Fn(u64) -> Vec<Input> + 'static) -> Self {
        Self { reports: Box::new(reports), ..self }
    }

    /// Runs up to and including a second.
    pub(in crate::domain) fn run_to(&mut self, second: u64) -> &mut Self {
        while self.next <= second {
            self.step(self.next);
            self.next += 1;
        }
        self
    }

    fn step(&mut self, second: u64) {
        if second.is_multiple_of(self.interval) {
            self.plan(second);
        }
        for (tag, planned, fate) in &self.sent {
            if fate.put.is_some_and(|after| planned + after == second) {
                let result = PutResult::Accepted { doubled: false };
                self.tracker.apply(Input::Put { trace: tag.trace, result }, t(second));
            }
        }
        for input in (self.reports)(second) {
            self.tracker.apply(input, t(second));
        }
        let polled: Vec<SourceId> = self.map.source_ids().filter(|source| self.is_polled(*source)).collect();
        for source in &polled {
            self.poll(*source, second);
        }
        // What has ended, or was shown everywhere, leaves no trace here.
        let read_until = polled.iter().map(|source| self.read_at.get(source).copied()).min().flatten();
        self.sent.retain(|(_, planned, fate)| {
            let is_shown = read_until.is_some_and(|read| planned + fate.lasts() <= read);
            planned + 2 * GIVE_UP > second && !is_shown
        });
    }

    fn is_polled(&self, source: SourceId) -> bool {
        self.map.source(source).tenants.iter().any(|tenant| self.tenants.contains(tenant))
    }

    fn plan(&mut self, second: u64) {
        for tenant in self.tenants.clone() {
            self.plan_of(tenant, second);
        }
    }

    fn plan_of(&mut self, tenant: TenantId, second: u64) {
        let random = [u8::try_from(tenant.0).unwrap(); 10];
        let (trace, fate) = (TraceId::new(t(second), random), (self.script)(tenant, second));
        let code = self.map.tenant(tenant).code;
        let tag = Tag::new(trace, code, InstanceCode::of("me"), 100, Purpose::Probe);
        let groups = u64::try_from(self.map.tenant(tenant).log_groups.len()).unwrap();
        let group = LogGroupId(u16::try_from(second / self.interval % groups).unwrap());
        self.tracker.plan_for(group, tag, t(second), &mut Vec::new()).unwrap();
        if fate.put.is_none() {
            let result = PutResult::Refused { reason: "denied".into() };
            self.tracker.apply(Input::Put { trace, result }, t(second));
            return;
        }
        self.sent.push((tag, second, fate));
    }

    fn poll(&mut self, source: SourceId, second: u64) {
        let stage = self.map.source(source).stage;
        if (self.denied)(stage, second) {
            let failed = Input::PollFailed { source, kind: FailureKind::Denied, detail: "denied".into() };
            self.tracker.apply(failed, t(second));
            return;
        }
        let read_at = self.read_at.insert(source, second);
        let (mut sightings, mut unreadable) = (Vec::new(), Vec::new());
        let is_here = |tag: &Tag| {
            let tenant = self.map.tenant_of(tag);
            tenant.is_some_and(|tenant| self.map.source_of(tenant, stage) == source)
        };
        for (tag, planned, fate) in &self.sent {
            let Some(after) = fate.arrivals[usize::from(stage.0)] else { continue };
            let at = t(*planned) + Duration::from_millis(after);
            let is_new = at <= t(second) && read_at.is_none_or(|read_at| at > t(read_at));
            if !is_new || !is_here(tag) {
                continue;
            }
            if fate.unreadable == Some(stage) {
                let part = Unreadable {
                    shape: Shape::NONE.then(Format::Orc),
                    reason: UnreadableReason::UnknownFormat,
                };
                let text = format!("it is {part}").into();
                unreadable.push(UnreadableRecord { arrived_by: at, part, count: 1, owner: None, text });
                continue;
            }
            let copies = if fate.doubled == Some(stage) { 2 } else { 1 };
            let integrity = if fate.damaged == Some(stage) {
                Integrity::Corrupted { kept_bytes: 66, sent_bytes: 100 }
            } else {
                Integrity::Intact
            };
            let copy = |name: &str| Sighting {
                tag: *tag,
                stamp: Stamp::Millis(at.floor_to_millis()),
                seen_by: t(second) + Duration::from_millis(1),
                locator: Locator::new(name.to_owned()),
                label: None,
                integrity,
                found_in: FoundIn { verbatim: true, ..FoundIn::default() },
            };
            sightings.extend((0..copies).map(|number| copy(&format!("copy {number}"))));
            if fate.leaked == Some(stage) {
                sightings.push(Sighting { label: Some("globex".into()), ..copy("leaked copy") });
            }
            if fate.has_namesake {
                let (trace, run) = (TraceId::new(t(*planned), [99; 10]), InstanceCode::of_run("me", t(0)));
                let code = self.map.tenant(ACME).code;
                let tag = Tag::new(trace, code, run, 100, Purpose::Probe);
                sightings.push(Sighting { tag, ..copy("the other's") });
            }
        }
        let poll = Poll {
            revision: self.tracker.wanted(source).revision,
            started: t(second),
            finished: t(second),
            watermark: Some(t(second)),
            sightings,
            stats: ReadStats::default(),
            unreadable,
            failed_batches: Vec::new(),
        };
        self.tracker.apply(Input::Polled { source, poll }, t(second));
    }

    pub(in crate::domain) fn snapshot(&self) -> Snapshot {
        self.tracker.snapshot(t(self.next.saturating_sub(1)))
    }

    pub(in crate::domain) fn verdict(&self) -> Verdict {
        of_acme(&self.snapshot())
    }

    /// The problem of this name at this place, if there is one now.
    pub(in crate::domain) fn problem(
        &self,
        name: ConditionName,
        stage: impl Into<Option<StageId>>,
    ) -> Option<Condition> {
        let place = stage.into().map(HopRange::one);
        let mut all = self.verdict().conditions.into_iter();
        all.find(|it| it.name == name && it.is_problem() && it.subject.place == place)
    }

    /// Runs until the problem is there, and returns the second; fails if that is not before `by`.
    pub(in crate::domain) fn until_on(
        &mut self,
        name: ConditionName,
        stage: impl Into<Option<StageId>>,
        by: u64,
    ) -> (u64, Condition) {
        let stage = stage.into();
        while self.next <= by {
            self.run_to(self.next);
            if let Some(problem) = self.problem(name, stage) {
                return (self.next - 1, problem);
            }
        }
        panic!("{name:?} was not on by {by}: {:#?}", self.verdict());
    }

    /// Runs until the problem is over, and returns the second; fails if that is not before `by`.
    pub(in crate::domain) fn until_off(
        &mut self,
        name: ConditionName,
        stage: impl Into<Option<StageId>>,
        by: u64,
    ) -> u64 {
        let stage = stage.into();
        while self.next <= by {
            self.run_to(self.next);
            if self.problem(name, stage).is_none() {
                return self.next - 1;
            }
        }
        panic!("{name:?} was not off by {by}: {:#?}", self.verdict());
    }
}

/// Acme's verdict after `secs` seconds.
pub(in crate::domain) fn after(secs: u64, script: impl Fn(u64) -> Fate + 'static) -> Verdict {
    World::new(script).run_to(secs).verdict()
}

pub(in crate::domain) fn of_acme(snapshot: &Snapshot) -> Verdict {
    let mut verdicts = Assessment::new(snapshot, &criteria()).verdicts.into_iter();
    verdicts.find(|verdict| verdict.tenant == ACME).unwrap()
}

/// The names of the problems, worst first.
pub(in crate::domain) fn problems(verdict: &Verdict) -> Vec<&'static str> {
    let problems = verdict.conditions.iter().filter(|it| it.severity != Severity::Note);
    problems.map(|it| it.name.as_str()).collect()
}

/// The names of the notes.
pub(in crate::domain) fn notes(verdict: &Verdict) -> Vec<&'static str> {
    let notes = verdict.conditions.iter().filter(|it| it.severity == Severity::Note);
    notes.map(|it| it.name.as_str()).collect()
}
