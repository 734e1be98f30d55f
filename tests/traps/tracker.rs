//! Mistakes in deciding and counting, tested with a tracker and the metrics of its events.

use std::sync::Arc;
use std::time::Duration;

use traceprobe::domain::canary::{Integrity, Template};
use traceprobe::domain::format::FoundIn;
use traceprobe::domain::kind::Kind;
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::plan::Plan;
use traceprobe::domain::schedule::Schedule;
use traceprobe::domain::sighting::{FailureKind, Locator, Poll, ReadStats, Sighting, Stamp};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::{Interval, Timestamp};
use traceprobe::domain::topology::{
    Capabilities, Owner, Role, Source, SourceId, Stage, StageId, Tenant, TenantId, Topology,
};
use traceprobe::domain::trace::{Hop, Judgement, Standing, Trace};
use traceprobe::domain::tracker::{Event, Input, PutResult, Restored, SeenSource, Settings, Tracker};
use traceprobe::metrics::{BucketBounds, Format, Metrics, StageCosts};

const SLO: u64 = 30;
const GIVE_UP: u64 = 900;
const GRACE: u64 = 300;
const MAX_IN_FLIGHT: usize = 10_000;

const STREAM: StageId = StageId(0);
const ARCHIVE: StageId = StageId(1);
const TABLE: StageId = StageId(2);
const STAGES: [StageId; 3] = [STREAM, ARCHIVE, TABLE];

fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// This many seconds after the epoch of the tests.
fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000) + s(secs)
}

fn ms(millis: u64) -> Timestamp {
    t(0) + Duration::from_millis(millis)
}

/// `stream` -> { `archive`, `table` }, each shared by all tenants.
fn topology(tenants: &[&str]) -> Arc<Topology> {
    let tenant = |name: &&str| Tenant {
        name: (*name).into(),
        code: TenantCode::of(name),
        label: (*name).into(),
        log_groups: vec!["/app".into()],
        template: Template::default(),
        interval: Duration::from_secs(30),
    };
    let stage = |name: &str, parent, role| Stage {
        name: name.into(),
        kind: Kind::S3,
        capabilities: Capabilities::ABSENCE,
        parent,
        role,
        target: Some(s(5)),
        critical: None,
        missing_after: Duration::from_secs(30),
        clock_allowance: Duration::from_millis(50),
    };
    let all = (0..u16::try_from(tenants.len()).unwrap()).map(TenantId).collect();
    let source =
        |stage| Source { stage, name: "shared".into(), owner: Owner::Shared, tenants: Vec::clone(&all) };
    let stages = vec![
        stage("stream", None, Role::Way),
        stage("archive", Some(STREAM), Role::Way),
        stage("table", Some(STREAM), Role::End),
    ];
    Arc::new(Topology::new(tenants.iter().map(tenant).collect(), stages, STAGES.map(source).into()).unwrap())
}

fn canary_of(tenant: &str, n: u16, at: Timestamp) -> Tag {
    let mut random = [0; 10];
    random[8..].copy_from_slice(&n.to_be_bytes());
    let trace = TraceId::new(at, random);
    Tag::new(trace, TenantCode::of(tenant), InstanceCode::of("one"), 100, Purpose::Probe)
}

fn canary(n: u16) -> Tag {
    canary_of("acme", n, t(0))
}

fn seen(tag: Tag, stamp: Stamp, seen_by: Timestamp, copy: &str) -> Sighting {
    Sighting {
        tag,
        stamp,
        seen_by,
        locator: Locator::new(copy),
        label: None,
        integrity: Integrity::Intact,
        found_in: FoundIn::default(),
    }
}

/// A tracker whose events are counted, as in the daemon.
struct Probe {
    topology: Arc<Topology>,
    tracker: Tracker,
    metrics: Metrics,
    events: Vec<Event>,
}

impl Probe {
    fn new() -> Self {
        Self::of(&["acme", "globex"], "one", t(0))
    }

    fn of(tenants: &[&str], instance: &str, began: Timestamp) -> Self {
        let settings = Settings {
            slo: s(SLO),
            give_up: s(GIVE_UP),
            grace: s(GRACE),
            blind_after: s(30),
            recheck_for: s(60),
            copy_recheck: s(900),
            max_in_flight: MAX_IN_FLIGHT,
            remember: 10_000,
            remember_of_tenant: 100,
            handover: Duration::ZERO,
            is_kept: true,
            instance: InstanceCode::of(instance),
        };
        let topology = topology(tenants);
        let bounds = BucketBounds::new(&[1, 5, 10, SLO, 60, 300, 900].map(s));
        let metrics =
            Metrics::new(topology.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
        let mut tracker = Tracker::new(topology.clone(), settings, began);
        tracker.restore(seen_everywhere(&topology), began);
        Self { topology, tracker, metrics, events: Vec::new() }
    }

    fn apply(&mut self, input: Input, now: Timestamp) -> Vec<Event> {
        let events = self.tracker.apply(input, now);
        for event in &events {
            self.metrics.record(event, now);
        }
        self.events.extend(events.iter().cloned());
        events
    }

    fn plan(&mut self, tag: Tag) {
        let (now, mut events) = (tag.trace.planned_at(), Vec::new());
        let _may_be_sent = self.tracker.plan(tag, now, &mut events);
        events.iter().for_each(|event| self.metrics.record(event, now));
        self.events.append(&mut events);
    }

    fn put(&mut self, tag: Tag) {
        self.plan(tag);
        let result = PutResult::Accepted { doubled: false };
        let now = tag.trace.planned_at() + Duration::from_millis(20);
        self.apply(Input::Put { trace: tag.trace, result }, now);
    }

    /// A poll that starts and ends at one instant and covers everything before it.
    fn poll(&mut self, stage: StageId, at: Timestamp, sightings: Vec<Sighting>) {
        let source = self.topology.source_of(TenantId(0), stage);
        let revision = self.tracker.wanted(source).revision;
        let stats = ReadStats::default();
        let poll = Poll {
            revision,
            started: at,
            finished: at,
            watermark: Some(at),
            sightings,
            stats,
            unreadable: Vec::new(),
            failed_batches: Vec::new(),
        };
        self.apply(Input::Polled { source, poll }, at);
    }

    fn empty_poll(&mut self, at: Timestamp) {
        for stage in STAGES {
            self.poll(stage, at, vec![]);
        }
    }

    fn fail_poll(&mut self, stage: StageId, at: Timestamp) {
        let source = self.topology.source_of(TenantId(0), stage);
        self.apply(Input::PollFailed { source, kind: FailureKind::Error, detail: "503".into() }, at);
    }

    /// Polls every stage; each poll shows the canary.
    fn arrive_everywhere(&mut self, tag: Tag, at: Timestamp) {
        for stage in STAGES {
            self.poll(stage, at, vec![seen(tag, Stamp::None, at, "1")]);
        }
    }

    fn restart(&mut self, tenants: &[&str], at: Timestamp) -> Self {
        let saved: Vec<Trace> =
            self.tracker.take_changes().traces.into_iter().map(|(trace, _)| (*trace).clone()).collect();
        let mut next = Self::of(tenants, "one", at);
        next.tracker.restore(saved, at);
        next
    }

    fn trace(&self, tag: Tag) -> &Trace {
        self.tracker.trace(tag.trace).unwrap()
    }

    fn outcome(&self, tag: Tag) -> Option<&Outcome> {
        self.trace(tag).ended.as_ref().map(|(outcome, _)| outcome)
    }

    fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
    }

    /// The count of the end-to-end latency histogram of `acme`.
    fn end_to_end_count(&self) -> u64 {
        self.series(r#"traceprobe_e2e_latency_seconds_count{tenant="acme"} "#)
    }

    fn series(&self, start: &str) -> u64 {
        let text = self.metrics.render(Format::Text);
        let line = text.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start} is not in {text}"))[start.len()..].parse().unwrap()
    }
}

#[test]
fn echo_before_registration() {
    let mut probe = Probe::new();
    probe.plan(canary(1));
    probe.arrive_everywhere(canary(1), ms(10));
    let result = PutResult::Accepted { doubled: false };
    probe.apply(Input::Put { trace: canary(1).trace, result }, ms(500));
    assert_eq!(probe.outcome(canary(1)), Some(&Outcome::Delivered));
    assert_eq!(probe.count(|event| matches!(event, Event::Stray { .. })), 0);
    assert_eq!(probe.series(r#"traceprobe_injections_total{result="accepted",tenant="acme"} "#), 1);
}

#[test]
fn refused_put_counted_as_sent() {
    let mut probe = Probe::new();
    probe.plan(canary(1));
    probe.empty_poll(t(SLO + 1));
    let result = PutResult::Refused { reason: "too old".into() };
    probe.apply(Input::Put { trace: canary(1).trace, result }, t(SLO + 2));
    probe.empty_poll(t(GIVE_UP + 1));
    assert_eq!(probe.outcome(canary(1)), Some(&Outcome::Refused("too old".into())));
    assert_eq!(probe.series(r#"traceprobe_injections_total{result="accepted",tenant="acme"} "#), 0);
    assert_eq!(probe.series(r#"traceprobe_injections_total{result="refused",tenant="acme"} "#), 1);
    assert_eq!(probe.series(r#"traceprobe_traces_total{outcome="lost",tenant="acme"} "#), 0);
    assert_eq!(probe.end_to_end_count(), 0);
}

#[test]
fn late_after_lost_counted_twice() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    probe.empty_poll(t(GIVE_UP + 1));
    for at in [GIVE_UP + 10, GIVE_UP + 20] {
        probe.poll(TABLE, t(at), vec![seen(canary(1), Stamp::None, t(at), "row")]);
    }
    assert_eq!(probe.series(r#"traceprobe_traces_total{outcome="lost",tenant="acme"} "#), 1);
    assert_eq!(probe.series(r#"traceprobe_traces_total{outcome="late",tenant="acme"} "#), 0);
    assert_eq!(probe.series(r#"traceprobe_late_arrivals_total{stage="table",tenant="acme"} "#), 1);
    assert_eq!(probe.end_to_end_count(), 1);
    assert_eq!(probe.trace(canary(1)).standing(), Standing::Ended(&Outcome::Late));
}

#[test]
fn same_record_read_twice_after_reconnect() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    let again = || vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "shard-0/49590")];
    probe.poll(STREAM, t(1), again());
    probe.fail_poll(STREAM, t(2));
    probe.poll(STREAM, t(9), again());
    assert_eq!(probe.count(|event| matches!(event, Event::Duplicate { .. })), 0);
    assert_eq!(probe.count(|event| matches!(event, Event::Arrived { .. })), 1);
}

#[test]
fn two_copies_in_two_objects() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    let copy = |key, at| seen(canary(1), Stamp::Seconds(t(at)), t(9), key);
    probe.poll(ARCHIVE, t(9), vec![copy("a.gz#0", 7), copy("b.gz#4", 3)]);
    probe.poll(ARCHIVE, t(12), vec![copy("b.gz#4", 3), copy("a.gz#0", 7)]);
    assert_eq!(probe.series(r#"traceprobe_duplicates_total{stage="archive",tenant="acme"} "#), 1);
    let arrival = probe.trace(canary(1)).arrival(ARCHIVE).unwrap();
    assert_eq!(
        arrival,
        Interval { earliest: ms(2_950), latest: ms(4_050) },
        "the arrival is not that of the first copy"
    );
}

#[test]
fn clock_step_back() {
    let mut probe = Probe::new();
    let tag = canary_of("acme", 1, t(100));
    probe.put(tag);
    probe.empty_poll(t(104));
    probe.arrive_everywhere(tag, t(40));
    assert_eq!(probe.outcome(tag), Some(&Outcome::Delivered));
    assert_eq!(probe.count(|event| matches!(event, Event::ClockInversion { .. })), 3);
    assert_eq!(probe.end_to_end_count(), 0, "a latency was counted although it is unknown");
    assert_eq!(probe.count(|event| matches!(event, Event::HopMeasured { hop: STREAM | TABLE, .. })), 0);
    for stage in STAGES {
        let arrival = probe.trace(tag).arrival(stage).unwrap();
        assert!(t(100) <= arrival.earliest && arrival.earliest <= arrival.latest, "{arrival:?}");
    }
}

#[test]
fn poll_slower_than_hop() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    probe.poll(STREAM, t(60), vec![seen(canary(1), Stamp::Millis(ms(300)), t(60), "1")]);
    probe.poll(TABLE, t(60), vec![seen(canary(1), Stamp::Millis(ms(800)), t(60), "1")]);
    let trace = probe.trace(canary(1));
    assert_eq!(
        trace.latency(&probe.topology),
        Some(Duration::from_millis(851)),
        "the latency includes the 60 s of the poll"
    );
    assert_eq!(trace.judgement, Judgement::Good);
    assert_eq!(
        trace.visit(TABLE).hop,
        Hop::Measured { latency: Duration::from_millis(500), was_overdue: false }
    );
    // Without a stamp it arrived at an unknown time within these 60 s, so it is not judged.
    probe.put(canary(2));
    probe.poll(TABLE, t(60), vec![seen(canary(2), Stamp::None, t(60), "1")]);
    assert_eq!(probe.trace(canary(2)).judgement, Judgement::Unjudged);
}

#[test]
fn stage_query_failing_for_an_hour() {
    let mut probe = Probe::new();
    let hour: Vec<_> = (0..120).map(|n| canary_of("acme", n, t(u64::from(n) * 30))).collect();
    for tag in &hour {
        let planned = tag.trace.planned_at();
        probe.put(*tag);
        probe.poll(STREAM, planned + s(1), vec![seen(*tag, Stamp::Millis(planned), planned + s(1), "1")]);
        for after in [5, 15, 25] {
            probe.fail_poll(TABLE, planned + s(after));
        }
    }
    assert_eq!(probe.count(|event| matches!(event, Event::WentBlind { source: SourceId(2), .. })), 1);
    probe.poll(
        TABLE,
        t(3_600),
        hour.iter()
            .map(|tag| seen(*tag, Stamp::Millis(tag.trace.planned_at() + s(4)), t(3_600), "1"))
            .collect(),
    );
    assert_eq!(probe.count(|event| matches!(event, Event::SawAgain { source: SourceId(2), .. })), 1);
    assert_eq!(probe.series(r#"traceprobe_traces_total{outcome="lost",tenant="acme"} "#), 0);
    let unobserved = probe.series(r#"traceprobe_traces_total{outcome="unobserved",tenant="acme"} "#);
    let delivered = probe.series(r#"traceprobe_traces_total{outcome="delivered",tenant="acme"} "#);
    assert_eq!(
        (unobserved + delivered, unobserved),
        (120, 80),
        "canaries within their grace period are delivered"
    );
    assert_eq!(probe.end_to_end_count(), delivered, "an unobserved canary was counted");
}

#[test]
fn one_stage_down_while_later_stages_show_the_id() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    probe.fail_poll(STREAM, t(1));
    for stage in [ARCHIVE, TABLE] {
        probe.poll(stage, t(3), vec![seen(canary(1), Stamp::Millis(t(2)), t(3), "1")]);
    }
    assert_eq!(probe.outcome(canary(1)), Some(&Outcome::Delivered));
    assert_eq!(
        probe.trace(canary(1)).next_stage(&probe.topology),
        None,
        "the trace is stuck at the stage that is down"
    );
    probe.apply(Input::Tick, t(GIVE_UP + GRACE));
    let hops = STAGES.map(|stage| probe.trace(canary(1)).visit(stage).hop);
    assert_eq!(hops, [Hop::Open, Hop::Skipped, Hop::Skipped]);
    assert_eq!(
        probe.count(|event| matches!(event, Event::HopMissing { .. })),
        0,
        "blindness was counted as missing"
    );
}

#[test]
fn out_of_order_hops() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    probe.poll(TABLE, t(5), vec![seen(canary(1), Stamp::Millis(t(4)), t(5), "1")]);
    probe.poll(ARCHIVE, t(6), vec![seen(canary(1), Stamp::Millis(t(3)), t(6), "1")]);
    probe.poll(STREAM, t(7), vec![seen(canary(1), Stamp::Millis(t(1)), t(7), "1")]);
    let hops = STAGES.map(|stage| match probe.trace(canary(1)).visit(stage).hop {
        Hop::Measured { latency, .. } => latency.as_millis(),
        other => panic!("{other:?}"),
    });
    assert_eq!(hops, [1_051, 2_000, 3_000]);
}

#[test]
fn restart_with_100_in_flight() {
    let mut before = Probe::new();
    let tags: Vec<_> = (0..100).map(canary).collect();
    for tag in &tags {
        before.put(*tag);
    }
    let all = |at| tags.iter().map(|tag| seen(*tag, Stamp::None, at, "1")).collect::<Vec<_>>();
    before.poll(STREAM, t(2), all(t(2)));
    before.poll(TABLE, t(SLO + 1), vec![]);
    let mut after = before.restart(&["acme", "globex"], t(60));
    assert_eq!(after.tracker.in_flight(), 100);
    for stage in STAGES {
        after.poll(stage, t(70), all(t(70)));
    }
    assert_eq!(after.series(r#"traceprobe_traces_total{outcome="delivered",tenant="acme"} "#), 100);
    assert_eq!(after.tracker.in_flight(), 0);
    assert_eq!(after.count(|event| matches!(event, Event::Duplicate { .. })), 0);
    assert_eq!(before.end_to_end_count(), 100);
    assert_eq!(after.end_to_end_count(), 0, "counted again, although counted as overdue before the restart");
}

#[test]
fn two_instances_with_one_config() {
    let mut one = Probe::new();
    let mut two = Probe::of(&["acme", "globex"], "two", t(0));
    one.put(canary(1));
    for probe in [&mut one, &mut two] {
        probe.arrive_everywhere(canary(1), t(3));
        probe.empty_poll(t(GIVE_UP + 1));
    }
    assert_eq!(one.outcome(canary(1)), Some(&Outcome::Delivered));
    assert_eq!(two.count(|event| matches!(event, Event::Stray { other_instance: true, .. })), 3);
    assert_eq!((two.tracker.in_flight(), two.end_to_end_count()), (0, 0));
    assert_eq!(two.count(|event| matches!(event, Event::Ended { .. } | Event::Duplicate { .. })), 0);
}

#[test]
fn ticker_stalled_2_min() {
    let mut probe = Probe::new();
    let plan = Plan::new(TagKey::new("0123456789abcdef").unwrap(), TenantCode::of("acme"), s(10));
    let mut schedule = Schedule::new(plan, t(0), s(2));
    let (mut planned, mut missed) = (0, 0);
    for now in (0..60).chain(180..240).map(t) {
        let due = schedule.take_due(now);
        assert!(due.planned.len() <= 1, "a burst of canaries: {due:?}");
        planned += due.planned.len() as u64;
        missed += due.missed;
        if due.missed > 0 {
            probe.apply(Input::Missed { tenant: TenantId(0), count: due.missed }, now);
        }
    }
    // How many slots begin within four minutes depends on where in them those begin.
    assert!((23..=25).contains(&(planned + missed)), "every tick is served or missed: {planned} + {missed}");
    assert!((11..=13).contains(&missed), "{missed}");
    assert_eq!(probe.series(r#"traceprobe_injections_total{result="missed",tenant="acme"} "#), missed);
}

#[test]
fn zero_timestamp() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    let zero = Timestamp::from_micros(0);
    for (stage, stamp) in
        [(STREAM, Stamp::Millis(zero)), (ARCHIVE, Stamp::Seconds(zero)), (TABLE, Stamp::NotBefore(zero))]
    {
        probe.poll(stage, t(4), vec![seen(canary(1), stamp, t(4), "1")]);
        let arrival = probe.trace(canary(1)).arrival(stage);
        assert_eq!(
            arrival,
            Some(Interval { earliest: t(0), latest: t(4) }),
            "the interval is not that of the polls"
        );
    }
    assert_eq!(probe.count(|event| matches!(event, Event::ClockInversion { .. })), 2);
    let latencies = probe.events.iter().filter_map(|event| match event {
        Event::HopMeasured { latency, .. } | Event::EndToEnd { latency, .. } => Some(*latency),
        _ => None,
    });
    assert!(
        latencies.clone().count() == 4 && latencies.max() <= Some(s(4)),
        "a latency was computed from the zero stamp"
    );
}

#[test]
fn tenant_removed_from_config_with_traces_pending() {
    let mut before = Probe::new();
    let (of_acme, of_globex) = (canary(1), canary_of("globex", 2, t(0)));
    before.put(of_acme);
    before.put(of_globex);
    let mut after = before.restart(&["globex"], t(5));
    assert_eq!(after.tracker.in_flight(), 1, "traces of acme are still in flight");
    assert_eq!(after.trace(of_globex).tenant, TenantId(0), "the tenant was not renumbered");
    after.arrive_everywhere(of_acme, t(6));
    assert_eq!(after.count(|event| matches!(event, Event::Stray { tenant: None, .. })), 3);
    after.arrive_everywhere(of_globex, t(7));
    assert_eq!(after.series(r#"traceprobe_traces_total{outcome="delivered",tenant="globex"} "#), 1);
    after.empty_poll(t(GIVE_UP + 1));
    assert_eq!(after.series(r#"traceprobe_traces_total{outcome="lost",tenant="globex"} "#), 0);
}

#[test]
fn scrape_while_10000_traces_pending() {
    let mut probe = Probe::new();
    let scrape = |probe: &Probe, now| {
        probe.metrics.show(&probe.tracker.snapshot(now));
        let text = probe.metrics.render(Format::Text);
        let series = text.lines().filter(|line| !line.starts_with("process_")).count();
        (series, text)
    };
    let (idle, _) = scrape(&probe, t(0));
    let more = u16::try_from(MAX_IN_FLIGHT).unwrap() + 5;
    for n in 0..more {
        probe.plan(canary(n));
    }
    assert_eq!(probe.tracker.in_flight(), MAX_IN_FLIGHT);
    assert_eq!(probe.series(r#"traceprobe_injections_total{result="missed",tenant="acme"} "#), 5);
    let (busy, text) = scrape(&probe, t(1));
    assert_eq!(busy, idle, "the scrape grew with the number of traces");
    let gauge = r#"traceprobe_in_flight_traces{stage="stream",tenant="acme"} 10000"#;
    assert!(text.contains(gauge), "{text}");
}

#[test]
fn le_spelling() {
    let mut probe = Probe::new();
    probe.put(canary(1));
    probe.arrive_everywhere(canary(1), t(2));
    let bounds = |format| {
        let text = probe.metrics.render(format);
        let bounds = text.split("le=\"").skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned));
        bounds.collect::<std::collections::BTreeSet<_>>()
    };
    // A rule that matches one spelling must work whatever format Prometheus requested.
    assert_eq!(bounds(Format::Text), bounds(Format::OpenMetrics));
    for bound in ["30.0", "1.0", "+Inf"] {
        assert!(bounds(Format::Text).contains(bound), "{bound} is not among {:?}", bounds(Format::Text));
    }
}

/// As if a previous run had found every tenant's canaries at every source: absence proves a loss from the
/// beginning.
fn seen_everywhere(map: &Topology) -> Restored {
    let of_source = |source| {
        let source = map.source(source);
        source.tenants.iter().map(|tenant| SeenSource {
            stage: map.stage(source.stage).name.clone(),
            source: source.name.clone(),
            tenant: map.tenant(*tenant).name.clone(),
            at: Timestamp::MIN,
        })
    };
    let seen = map.source_ids().flat_map(of_source).collect();
    Restored { seen, ..Restored::default() }
}
