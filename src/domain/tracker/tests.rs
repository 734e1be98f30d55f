//! One fact each. Properties over arbitrary sequences stand in `properties`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::canary::Integrity;
use crate::domain::format::FoundIn;
use crate::domain::outcome::UnobservedReason;
use crate::domain::sighting::{Decoding, Sighting, Stamp};
use crate::domain::tag::{Claim, Purpose, TenantCode};
use crate::domain::topology::fixture::*;
use crate::domain::topology::{HopRange, Source, Stage};
use crate::domain::trace::{FoundLate, Hop, Standing};

mod copies;
mod far;
mod handover;
mod leaks;
mod memory;
mod presence;
mod properties;
mod put;
mod restart;
mod schema;
mod succession;
mod unproven;

const SLO: u64 = 30;
const GIVE_UP: u64 = 120;
const GRACE: u64 = 60;
const POLL_TAKES: Duration = Duration::from_millis(100);
const BLIND_AFTER: u64 = 20;
const COPY_RECHECK: u64 = 900;

fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// So many seconds after the tests' epoch; their first canary is planned at `t(0)`.
pub(super) fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000) + s(secs)
}

fn ms(millis: u64) -> Timestamp {
    t(0) + Duration::from_millis(millis)
}

pub(super) fn settings() -> Settings {
    Settings {
        slo: s(SLO),
        give_up: s(GIVE_UP),
        grace: s(GRACE),
        blind_after: s(BLIND_AFTER),
        recheck_for: s(60),
        copy_recheck: s(COPY_RECHECK),
        max_in_flight: 1_000,
        remember: 10_000,
        remember_of_tenant: 100,
        handover: Duration::ZERO,
        is_kept: true,
        instance: InstanceCode::of("me"),
    }
}

/// A canary of acme, told from others by `n`, planned at `at`.
pub(super) fn canary_at(n: u8, at: Timestamp) -> Tag {
    canary_of("acme", n, at)
}

fn canary_of(tenant: &str, n: u8, at: Timestamp) -> Tag {
    canary_for(Purpose::Probe, tenant, n, at)
}

fn canary_for(purpose: Purpose, tenant: &str, n: u8, at: Timestamp) -> Tag {
    Tag::new(TraceId::new(at, [n; 10]), TenantCode::of(tenant), InstanceCode::of("me"), 100, purpose)
}

/// The same canary as [`canary`], as a release that wrote version 1 would have tagged it.
fn old_canary(n: u8) -> Tag {
    let claim = Claim::V1 { tenant: TenantCode::of("acme").prefix() };
    Tag::remembered(canary(n).trace, claim, InstanceCode::of("me"), 100)
}

fn canary(n: u8) -> Tag {
    canary_at(n, t(0))
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

/// As if a previous run had found every tenant's canaries at every source.
pub(crate) fn seen_everywhere(map: &Topology) -> Vec<SeenSource> {
    let of_source = |source| {
        let source = map.source(source);
        source.tenants.iter().map(|tenant| SeenSource {
            stage: map.stage(source.stage).name.clone(),
            source: source.name.clone(),
            tenant: map.tenant(*tenant).name.clone(),
            at: t(0),
        })
    };
    map.source_ids().flat_map(of_source).collect()
}

/// The side stage of [`with_mirror`].
const MIRROR: StageId = StageId(5);

/// The fixture's topology with one more side stage.
fn with_mirror() -> Topology {
    let map = topology();
    let stage = Stage { name: "mirror".into(), ..map.stage(ARCHIVE).clone() };
    let source = Source { stage: MIRROR, ..map.source(map.source_of(ACME, TABLE)).clone() };
    let stages = map.stages().iter().cloned().chain([stage]).collect();
    let sources = map.sources().iter().cloned().chain([source]).collect();
    Topology::new(map.tenants().to_vec(), stages, sources).unwrap()
}

pub(super) struct World {
    pub(super) tracker: Tracker,
    pub(super) events: Vec<Event>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self::of(topology(), settings)
    }

    /// A tracker for which every tenant's canaries were found at every source before.
    fn of(map: Topology, settings: Settings) -> Self {
        let mut new = Self { tracker: Tracker::new(Arc::new(map), settings, t(0)), events: Vec::new() };
        let seen = seen_everywhere(&new.tracker.topology);
        new.tracker.restore(Restored { seen, ..Restored::default() }, t(0));
        new
    }

    /// A tracker for which no canary was ever found at any source.
    fn fresh() -> Self {
        Self { tracker: Tracker::new(Arc::new(topology()), settings(), t(0)), events: Vec::new() }
    }

    pub(super) fn apply(&mut self, input: Input, now: Timestamp) -> Vec<Event> {
        let events = self.tracker.apply(input, now);
        self.events.extend(events.iter().cloned());
        events
    }

    pub(super) fn plan(&mut self, tag: Tag, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let _may_be_sent = self.tracker.plan(tag, now, &mut events);
        self.events.extend(events.iter().cloned());
        events
    }

    fn put(&mut self, tag: Tag) {
        let at = tag.trace.planned_at();
        self.plan(tag, at);
        let result = PutResult::Accepted { doubled: false };
        self.apply(Input::Put { trace: tag.trace, result }, at + Duration::from_millis(20));
    }

    /// A poll of acme's source of a stage that shows these, and proves everything before it began.
    fn poll(&mut self, stage: StageId, at: Timestamp, sightings: Vec<Sighting>) -> Vec<Event> {
        self.poll_at(self.tracker.topology.source_of(ACME, stage), at, Some(at), sightings)
    }

    pub(super) fn poll_at(
        &mut self,
        source: SourceId,
        at: Timestamp,
        watermark: Option<Timestamp>,
        sightings: Vec<Sighting>,
    ) -> Vec<Event> {
        let finished = at + POLL_TAKES;
        let revision = self.tracker.wanted(source).revision;
        let stats = ReadStats::default();
        let poll = Poll {
            revision,
            started: at,
            finished,
            watermark,
            sightings,
            stats,
            unreadable: Vec::new(),
            failed_batches: Vec::new(),
        };
        self.apply(Input::Polled { source, poll }, finished)
    }

    fn cannot_poll(&mut self, stage: StageId, at: Timestamp) -> Vec<Event> {
        let source = self.tracker.topology.source_of(ACME, stage);
        self.apply(Input::PollFailed { source, kind: FailureKind::Denied, detail: "no".into() }, at)
    }

    /// A poll of every stage but these that shows nothing.
    fn empty_poll_except_at(&mut self, except: &[StageId], at: Timestamp) {
        for stage in [STREAM, ARCHIVE, TRANSIT, TABLE, DEAD] {
            if !except.contains(&stage) {
                self.poll(stage, at, vec![]);
            }
        }
    }

    fn outcome(&self, tag: Tag) -> Option<Outcome> {
        self.tracker.trace(tag.trace).and_then(|trace| trace.ended.clone()).map(|(outcome, _)| outcome)
    }

    fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
    }

    fn arrival(&self, tag: Tag, stage: StageId) -> Interval {
        self.tracker.trace(tag.trace).unwrap().arrival(stage).unwrap()
    }
}

#[test]
fn a_canary_seen_at_the_end_is_delivered() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.poll(TRANSIT, t(4), vec![seen(canary(1), Stamp::Seconds(t(3)), t(4), "b")]);
    w.poll(TABLE, t(8), vec![seen(canary(1), Stamp::None, t(8), "c")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn an_arrival_without_a_stamp_lies_between_the_polls() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(5), vec![]);
    w.poll(TABLE, t(10), vec![seen(canary(1), Stamp::None, ms(10_100), "c")]);
    assert_eq!(w.arrival(canary(1), TABLE), Interval { earliest: t(5), latest: ms(10_100) });
}

#[test]
fn a_stamp_to_the_millisecond_is_widened_by_the_clocks_allowance() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(5), vec![seen(canary(1), Stamp::Millis(ms(300)), t(5), "a")]);
    assert_eq!(w.arrival(canary(1), STREAM), Interval { earliest: ms(250), latest: ms(351) });
}

#[test]
fn a_stamp_to_the_second_is_narrowed_by_the_polls() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, ms(3_400), vec![]);
    w.poll(ARCHIVE, ms(3_600), vec![seen(canary(1), Stamp::Seconds(t(3)), ms(3_700), "a")]);
    assert_eq!(w.arrival(canary(1), ARCHIVE), Interval { earliest: ms(3_400), latest: ms(3_700) });
}

#[test]
fn the_stamp_of_a_multipart_object_is_only_a_lower_bound() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(ARCHIVE, t(60), vec![seen(canary(1), Stamp::NotBefore(t(3)), t(61), "a")]);
    assert_eq!(w.arrival(canary(1), ARCHIVE), Interval { earliest: ms(2_950), latest: t(61) });
}

#[test]
fn hop_latencies_along_the_main_path_add_up_to_the_end_to_end_latency() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(310)), t(1), "a")]);
    w.poll(TABLE, t(9), vec![seen(canary(1), Stamp::None, t(9), "c")]);
    w.poll(TRANSIT, t(10), vec![seen(canary(1), Stamp::Seconds(t(3)), t(10), "b")]);
    let hops: Duration = w
        .events
        .iter()
        .filter_map(|event| match event {
            Event::HopMeasured { latency, .. } => Some(*latency),
            _ => None,
        })
        .sum();
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(Some(hops), trace.latency(&w.tracker.topology));
}

#[test]
fn a_canary_that_never_comes_is_lost_only_once_every_poll_has_passed_its_deadline() {
    let mut w = World::new();
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP));
    assert_eq!(
        w.outcome(canary(1)),
        None,
        "a poll that began at the deadline proves nothing about the deadline"
    );
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(STREAM))));
}

#[test]
fn a_lost_canary_names_the_hop_after_the_last_stage_that_had_it() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.empty_poll_except_at(&[STREAM], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(TRANSIT))));
    assert_eq!(w.count(|event| matches!(event, Event::HopMissing { hop: ARCHIVE, .. })), 1);
}

#[test]
fn where_a_stage_between_was_blind_the_hop_range_of_hops_is_named() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.cannot_poll(TRANSIT, t(100));
    w.empty_poll_except_at(&[STREAM, TRANSIT], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange { first: TRANSIT, last: TABLE })));
}

#[test]
fn a_stage_that_sees_again_is_waited_for_to_name_the_hop() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.poll(TRANSIT, t(GIVE_UP - BLIND_AFTER + 2), vec![]);
    w.empty_poll_except_at(&[STREAM, TRANSIT], t(GIVE_UP + 1));
    let transit = w.tracker.topology.source_of(ACME, TRANSIT);
    w.apply(Input::Tick, t(GIVE_UP + 2));
    assert!(w.tracker.snapshot(t(GIVE_UP + 2)).sources[transit.0 as usize].blind_since.is_some());
    w.poll_at(transit, t(GIVE_UP + 3), Some(t(GIVE_UP - 1)), vec![]);
    assert_eq!(w.outcome(canary(1)), None, "its next poll will tell");
    w.poll(TRANSIT, t(GIVE_UP + 8), vec![]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Lost(HopRange::one(TRANSIT))));
}

#[test]
fn a_blind_stage_is_not_a_lost_canary() {
    let mut w = World::new();
    w.put(canary(1));
    for at in (5..GIVE_UP + GRACE).step_by(5) {
        w.cannot_poll(TABLE, t(at));
        w.empty_poll_except_at(&[TABLE], t(at));
    }
    assert_eq!(w.outcome(canary(1)), None);
    assert_eq!(w.count(|event| matches!(event, Event::WentBlind { .. })), 1);
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::Blind)));
    assert_eq!(w.count(|event| matches!(event, Event::Overdue { .. } | Event::GaveUp { .. })), 0);
}

#[test]
fn what_is_being_decoded_is_shown_until_the_poll_ends_and_explains_a_blind_stage() {
    let mut w = World::new();
    w.put(canary(1));
    let source = w.tracker.topology.source_of(ACME, TABLE);
    let decoding = Decoding { name: "s3://bucket/key".into(), since: t(1) };
    w.apply(Input::Decoding { source, decoding: Some(decoding.clone()) }, t(3));
    w.apply(Input::Tick, t(BLIND_AFTER + 1));
    let view = w.tracker.snapshot(t(BLIND_AFTER + 1)).sources[source.0 as usize].clone();
    assert_eq!(view.blind_for(ACME).unwrap().1, "decoding s3://bucket/key");
    assert_eq!(view.decoding, Some(decoding));
    w.poll(TABLE, t(BLIND_AFTER + 2), vec![]);
    assert_eq!(w.tracker.snapshot(t(BLIND_AFTER + 2)).sources[source.0 as usize].decoding, None);
}

#[test]
fn a_poll_that_did_not_reach_the_end_of_the_source_proves_nothing() {
    let mut w = World::new();
    w.put(canary(1));
    let table = w.tracker.topology.source_of(ACME, TABLE);
    w.poll_at(table, t(GIVE_UP + 1), None, vec![]);
    w.empty_poll_except_at(&[TABLE], t(GIVE_UP + 1));
    assert_eq!(w.outcome(canary(1)), None);
}

#[test]
fn a_poll_that_began_before_a_canary_was_wanted_proves_nothing_about_it() {
    let mut w = World::new();
    w.put(canary(1));
    let table = w.tracker.topology.source_of(ACME, TABLE);
    let before = w.tracker.wanted(table).revision;
    w.put(canary_at(2, t(1)));
    let stats = ReadStats::default();
    let (started, watermark) = (t(GIVE_UP + 2), Some(t(GIVE_UP + 2)));
    let poll = Poll {
        revision: before,
        started,
        finished: started,
        watermark,
        sightings: vec![],
        stats,
        unreadable: Vec::new(),
        failed_batches: Vec::new(),
    };
    w.empty_poll_except_at(&[TABLE], t(GIVE_UP + 2));
    w.apply(Input::Polled { source: table, poll }, started);
    assert!(matches!(w.outcome(canary(1)), Some(Outcome::Lost(_))));
    assert_eq!(w.outcome(canary_at(2, t(1))), None);
}

#[test]
fn a_total_stall_makes_a_canary_overdue_with_the_first_poll_after_the_threshold() {
    let mut w = World::new();
    w.put(canary(1));
    assert!(!w.poll(TABLE, t(SLO), vec![]).iter().any(|event| matches!(event, Event::Overdue { .. })));
    let events = w.poll(TABLE, t(SLO) + Duration::from_micros(1), vec![]);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Overdue { .. })).count(), 1);
}

#[test]
fn a_source_is_polled_when_its_traces_cross_a_threshold() {
    let mut w = World::new();
    w.put(canary(1));
    let table = w.tracker.topology.source_of(ACME, TABLE);
    assert!(w.tracker.wanted(table).checkpoints.iter().eq([t(SLO), t(GIVE_UP)]));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    let transit = w.tracker.topology.source_of(ACME, TRANSIT);
    assert!(w.tracker.wanted(transit).checkpoints.iter().eq([ms(10_351), t(GIVE_UP)]));
}

#[test]
fn an_overdue_canary_that_arrives_is_counted_once() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(SLO + 1), vec![]);
    let events = w.poll(TABLE, t(45), vec![seen(canary(1), Stamp::None, t(45), "c")]);
    let counted =
        |event: &&Event| matches!(event, Event::EndToEnd { counted: true, judgement: Judgement::Slow, .. });
    assert_eq!(events.iter().filter(counted).count(), 1);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn a_canary_whose_arrival_straddles_the_threshold_is_not_judged() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(10), vec![]);
    w.cannot_poll(TABLE, t(20));
    let events = w.poll(TABLE, t(40), vec![seen(canary(1), Stamp::None, t(40), "c")]);
    assert!(
        events.iter().any(|event| matches!(event, Event::EndToEnd { judgement: Judgement::Unjudged, .. }))
    );
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
}

#[test]
fn a_canary_that_arrived_after_its_deadline_is_late() {
    let mut w = World::new();
    w.put(canary(1));
    w.cannot_poll(TABLE, t(20));
    w.poll(
        TABLE,
        t(GIVE_UP + 30),
        vec![seen(canary(1), Stamp::Millis(t(GIVE_UP + 10)), t(GIVE_UP + 30), "c")],
    );
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Late));
}

#[test]
fn late_after_lost_is_counted_once_and_keeps_the_first_outcome() {
    let mut w = World::new();
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    for copy in ["c", "c"] {
        w.poll(TABLE, t(GIVE_UP + 9), vec![seen(canary(1), Stamp::None, t(GIVE_UP + 9), copy)]);
    }
    assert_eq!(w.count(|event| matches!(event, Event::LateArrival { .. })), 1);
    assert_eq!(w.count(|event| matches!(event, Event::Ended { .. })), 1);
    assert_eq!(
        w.count(|event| matches!(event, Event::EndToEnd { .. })),
        0,
        "it entered the histogram when it was lost"
    );
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(trace.standing(), Standing::Ended(&Outcome::Late));
}

#[test]
fn a_given_up_trace_stays_in_the_recently_seen_list() {
    let mut w = World::new();
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    let table = w.tracker.topology.source_of(ACME, TABLE);
    let wanted = w.tracker.wanted(table);
    assert!(wanted.waiting.is_empty(), "it is worth no call of its own");
    assert_eq!(wanted.recently_seen.len(), 1);
}

#[test]
fn a_given_up_trace_that_is_found_is_listed_once() {
    let mut w = World::new();
    w.put(canary(1));
    w.empty_poll_except_at(&[], t(GIVE_UP + 1));
    w.poll(TABLE, t(GIVE_UP + 9), vec![seen(canary(1), Stamp::None, t(GIVE_UP + 9), "c")]);
    assert_eq!(w.tracker.wanted(w.tracker.topology.source_of(ACME, TABLE)).recently_seen.len(), 1);
}

/// Shows a canary of second 0 in the dead letters, where it was put in second 8.
fn dead_letter(w: &mut World) {
    w.put(canary(1));
    w.poll(DEAD, t(9), vec![seen(canary(1), Stamp::Seconds(t(8)), t(9), "dlq/1")]);
}

#[test]
fn a_canary_delivered_before_its_batch_was_dead_lettered_is_delivered_whichever_is_seen_first() {
    let mut w = World::new();
    dead_letter(&mut w);
    assert_eq!(w.outcome(canary(1)), None);
    w.poll(TABLE, t(11), vec![seen(canary(1), Stamp::Millis(t(5)), t(11), "row")]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(w.tracker.trace(canary(1).trace).unwrap().judgement, Judgement::Good);
}

#[test]
fn a_dead_letter_is_final_when_the_end_cannot_be_read_for_long() {
    let mut w = World::new();
    dead_letter(&mut w);
    w.cannot_poll(TABLE, t(10));
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::DeadLettered(DEAD)));
    let back = t(GIVE_UP + GRACE + 1);
    w.poll(TABLE, back, vec![seen(canary(1), Stamp::Millis(t(5)), back, "row")]);
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(trace.standing(), Standing::Ended(&Outcome::Delivered));
    assert_eq!(w.count(|event| matches!(event, Event::LateArrival { .. })), 0);
}

#[test]
fn what_arrived_in_time_while_the_stage_was_blind_is_not_late() {
    let mut w = World::new();
    w.put(canary(1));
    w.empty_poll_except_at(&[TABLE], t(GIVE_UP + 1));
    w.cannot_poll(TABLE, t(5));
    w.apply(Input::Tick, t(GIVE_UP + GRACE));
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Unobserved(UnobservedReason::Blind)));
    let back = t(GIVE_UP + GRACE + 10);
    w.poll(TABLE, back, vec![seen(canary(1), Stamp::Millis(t(3)), back, "row")]);
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(trace.standing(), Standing::Ended(&Outcome::Delivered));
    assert_eq!(w.count(|event| matches!(event, Event::LateArrival { .. })), 0);
    assert_eq!(w.count(|event| matches!(event, Event::LateDiscovery { stage: TABLE, .. })), 1);
}

#[test]
fn a_hop_that_began_shortly_before_the_deadline_is_not_missing_at_the_deadline() {
    for (wanted_until, missing) in [(GIVE_UP + 1, 0), (GIVE_UP + 12, 1)] {
        let mut w = World::new();
        w.put(canary(1));
        let began = t(GIVE_UP - 1);
        w.poll(STREAM, began, vec![seen(canary(1), Stamp::Millis(began), began, "a")]);
        // The target of the archive is 10 s.
        w.poll(ARCHIVE, t(wanted_until), vec![]);
        w.poll(TRANSIT, t(GIVE_UP + 12), vec![]);
        w.poll(TABLE, t(GIVE_UP + 12), vec![]);
        w.poll(DEAD, t(GIVE_UP + 12), vec![]);
        let of_archive = |event: &Event| matches!(event, Event::HopMissing { hop: ARCHIVE, .. });
        assert_eq!(w.count(of_archive), missing, "read until {wanted_until}");
    }
}

#[test]
fn a_canary_in_the_dead_letters_is_not_lost() {
    let mut w = World::new();
    dead_letter(&mut w);
    w.poll(TABLE, t(10), vec![]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::DeadLettered(DEAD)));
    let hop = w.tracker.trace(canary(1).trace).unwrap().visit(DEAD).hop;
    assert_eq!(hop, Hop::Open, "the step into the dead letters does not count as a hop");
}

#[test]
fn a_canary_delivered_but_not_archived_has_a_missing_archive_hop() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.poll(TRANSIT, t(4), vec![seen(canary(1), Stamp::Seconds(t(3)), t(4), "b")]);
    w.poll(TABLE, t(8), vec![seen(canary(1), Stamp::None, t(8), "c")]);
    w.poll(ARCHIVE, t(GIVE_UP + 1), vec![]);
    assert_eq!(w.outcome(canary(1)), Some(Outcome::Delivered));
    assert_eq!(w.tracker.trace(canary(1).trace).unwrap().visit(ARCHIVE).hop, Hop::Missing);
}

#[test]
fn a_stage_that_never_showed_what_later_stages_have_is_skipped_not_stuck() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![seen(canary(1), Stamp::Millis(ms(300)), t(1), "a")]);
    w.poll(TABLE, t(8), vec![seen(canary(1), Stamp::None, t(8), "c")]);
    assert_eq!(w.tracker.trace(canary(1).trace).unwrap().next_stage(&w.tracker.topology), None);
    w.empty_poll_except_at(&[STREAM, TABLE], t(GIVE_UP + 1));
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!((trace.visit(TRANSIT).hop, trace.visit(TABLE).hop), (Hop::Missing, Hop::Skipped));
}

#[test]
fn a_child_before_its_parent_by_more_than_the_clocks_allow_is_an_inversion_and_no_latency() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(1), vec![]);
    w.poll(TRANSIT, ms(1_500), vec![seen(canary(1), Stamp::None, ms(1_600), "b")]);
    w.poll(STREAM, t(9), vec![seen(canary(1), Stamp::Millis(t(8)), t(9), "a")]);
    let trace = w.tracker.trace(canary(1).trace).unwrap();
    assert_eq!(trace.visit(TRANSIT).hop, Hop::Inverted);
    assert_eq!(w.count(|event| matches!(event, Event::ClockInversion { stage: TRANSIT, .. })), 1);
    assert_eq!(w.count(|event| matches!(event, Event::HopMeasured { hop: TRANSIT, .. })), 0);
}

#[test]
fn a_stamp_that_our_own_polls_contradict_gives_way_to_them() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(5), vec![]);
    w.poll(STREAM, t(6), vec![seen(canary(1), Stamp::Millis(t(2)), t(6), "a")]);
    assert_eq!(w.arrival(canary(1), STREAM), Interval { earliest: t(5), latest: t(6) });
    assert_eq!(w.count(|event| matches!(event, Event::ClockInversion { stage: STREAM, .. })), 1);
}

#[test]
fn a_canary_in_another_tenants_source_is_a_violation_and_no_arrival() {
    let mut w = World::new();
    w.put(canary(1));
    let of_globex = w.tracker.topology.source_of(GLOBEX, STREAM);
    for _ in 0..2 {
        w.poll_at(of_globex, t(2), Some(t(2)), vec![seen(canary(1), Stamp::Millis(t(1)), t(2), "leak")]);
    }
    assert_eq!(
        w.count(|event| matches!(event, Event::IsolationViolation { tenant: LeakedTenant::Known(ACME), .. })),
        1
    );
    assert!(w.tracker.trace(canary(1).trace).unwrap().arrival(STREAM).is_none());
}

#[test]
fn a_canary_in_a_source_shared_by_others_is_a_violation_and_not_an_arrival() {
    let mut w = World::new();
    w.tracker = Tracker::new(Arc::new(topology_with("initech")), settings(), t(0));
    let of_initech = canary_of("initech", 1, t(0));
    w.put(of_initech);
    w.poll(TRANSIT, t(2), vec![seen(of_initech, Stamp::Millis(t(1)), t(2), "leak")]);
    assert_eq!(w.count(|event| matches!(event, Event::IsolationViolation { stage: TRANSIT, .. })), 1);
    assert!(w.tracker.trace(of_initech.trace).unwrap().arrival(TRANSIT).is_none());
}

#[test]
fn a_leak_of_many_canaries_that_is_read_again_is_counted_once_each() {
    let mut w = World::new();
    let of_globex = w.tracker.topology.source_of(GLOBEX, STREAM);
    let leaks: Vec<_> =
        (0..=200).map(|n| seen(canary(n), Stamp::Millis(t(1)), t(2), &format!("leak {n}"))).collect();
    for _ in 0..2 {
        w.poll_at(of_globex, t(2), Some(t(2)), leaks.clone());
    }
    assert_eq!(w.count(|event| matches!(event, Event::IsolationViolation { .. })), leaks.len());
    assert!(w.tracker.snapshot(t(3)).violations.len() <= super::leaks::MAX_SHOWN);
}

#[test]
fn a_row_labelled_with_another_tenant_is_a_violation() {
    let mut w = World::new();
    w.put(canary(1));
    let mut row = seen(canary(1), Stamp::None, t(8), "row 1");
    row.label = Some("globex".into());
    let events = w.poll(TABLE, t(8), vec![row]);
    assert!(events.iter().any(|event| matches!(event, Event::IsolationViolation { .. })));
    assert_eq!(w.outcome(canary(1)), None);
}

#[test]
fn another_instances_canary_is_counted_and_not_followed() {
    let mut w = World::new();
    let mut theirs = canary(1);
    theirs.instance = InstanceCode::of("another");
    w.poll(STREAM, t(1), vec![seen(theirs, Stamp::Millis(ms(300)), t(1), "a")]);
    assert!(matches!(w.events.last(), Some(Event::Stray { other_instance: true, .. })), "{:?}", w.events);
    assert_eq!(w.tracker.in_flight(), 0);
}

/// Every purpose but a probe's.
fn other_purposes() -> impl Iterator<Item = Purpose> {
    (1..32).filter_map(Purpose::from_value)
}

#[test]
fn a_canary_that_was_sent_for_another_purpose_is_neither_followed_nor_counted() {
    for purpose in other_purposes() {
        let mut w = World::new();
        w.tracker.began = t(20);
        for tenant in ["acme", "somebody"] {
            let tag = canary_for(purpose, tenant, 1, t(0));
            w.poll(TABLE, t(21), vec![seen(tag, Stamp::Millis(t(20)), t(21), "a")]);
        }
        let theirs = canary_for(purpose, "acme", 2, t(20));
        w.poll(TABLE, t(22), vec![seen(theirs, Stamp::Millis(t(21)), t(22), "b")]);
        assert_eq!(w.count(|event| !matches!(event, Event::PollAnswered { .. })), 0, "{:?}", w.events);
        assert_eq!(w.tracker.in_flight(), 0);
    }
}

#[test]
fn a_canary_for_another_purpose_that_this_process_planned_is_followed() {
    for purpose in other_purposes() {
        let mut w = World::new();
        let tag = canary_for(purpose, "acme", 1, t(0));
        w.put(tag);
        w.poll(TABLE, t(8), vec![seen(tag, Stamp::Millis(t(7)), t(8), "a")]);
        assert_eq!(w.outcome(tag), Some(Outcome::Delivered));
    }
}

#[test]
fn a_leak_is_a_leak_whatever_its_purpose() {
    for purpose in other_purposes() {
        let mut w = World::new();
        let tag = canary_for(purpose, "acme", 1, t(0));
        let of_globex = w.tracker.topology.source_of(GLOBEX, STREAM);
        w.poll_at(of_globex, t(2), Some(t(2)), vec![seen(tag, Stamp::Millis(t(1)), t(2), "leak")]);
        assert_eq!(
            w.count(|event| matches!(
                event,
                Event::IsolationViolation { tenant: LeakedTenant::Known(ACME), .. }
            )),
            1
        );
    }
}

#[test]
fn a_leaked_canary_of_version_1_is_a_leak() {
    let mut w = World::new();
    let of_globex = w.tracker.topology.source_of(GLOBEX, STREAM);
    w.poll_at(of_globex, t(2), Some(t(2)), vec![seen(old_canary(1), Stamp::Millis(t(1)), t(2), "leak")]);
    assert_eq!(
        w.count(|event| matches!(event, Event::IsolationViolation { tenant: LeakedTenant::Known(ACME), .. })),
        1
    );
}

#[test]
fn a_canary_of_version_1_whose_code_fits_two_tenants_is_nobodys() {
    // The codes of acme and of this one begin with the same 20 bits.
    let twin = "t3737179";
    assert_eq!(TenantCode::of(twin).prefix(), TenantCode::of("acme").prefix());
    let mut w = World::new();
    w.tracker = Tracker::new(Arc::new(topology_with(twin)), settings(), t(20));
    w.poll(STREAM, t(21), vec![seen(old_canary(1), Stamp::Millis(t(20)), t(21), "a")]);
    assert!(
        matches!(w.events.last(), Some(Event::Stray { tenant: None, other_instance: true, .. })),
        "{:?}",
        w.events
    );
    w.poll(STREAM, t(22), vec![seen(canary(2), Stamp::Millis(t(21)), t(22), "a")]);
    assert_eq!(w.tracker.trace(canary(2).trace).unwrap().tenant, ACME, "version 2 tells them apart");
}

#[test]
fn a_full_tracker_refuses_a_canary_and_reports_it() {
    let mut w = World::new();
    w.tracker.settings.max_in_flight = 1;
    w.put(canary(1));
    let mut events = Vec::new();
    assert_eq!(w.tracker.plan(canary(2), t(0), &mut events), Err(NotPlanned::Full));
    assert_eq!(events, [Event::Full { tenant: ACME }]);
    assert_eq!(w.tracker.in_flight(), 1);
}

#[test]
fn a_clock_that_steps_back_undoes_nothing() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(10), vec![]);
    w.apply(Input::Tick, t(3));
    w.poll(STREAM, t(4), vec![seen(canary(1), Stamp::None, t(4), "a")]);
    let arrived = w.arrival(canary(1), STREAM);
    assert!(arrived.earliest <= arrived.latest);
    assert!(
        w.events.iter().all(|event| !matches!(event, Event::HopMeasured { latency, .. } if *latency > s(11)))
    );
}

#[test]
fn an_arrival_before_the_planned_injection_is_a_clock_inversion_and_no_latency() {
    let mut w = World::new();
    let tag = canary_at(1, t(100));
    w.put(tag);
    for (stage, copy) in [(STREAM, "a"), (TABLE, "c")] {
        w.poll(stage, t(40), vec![seen(tag, Stamp::None, t(40), copy)]);
    }
    assert_eq!(w.count(|event| matches!(event, Event::ClockInversion { .. })), 2);
    let entered = |event: &Event| {
        matches!(event, Event::HopMeasured { .. })
            || matches!(event, Event::EndToEnd { judgement, .. } if *judgement != Judgement::Unjudged)
    };
    assert_eq!(w.count(entered), 0);
    assert_eq!(w.outcome(tag), Some(Outcome::Delivered));
}

#[test]
fn polls_that_contradict_each_other_are_a_clock_inversion() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(STREAM, t(10), vec![]);
    w.poll(STREAM, t(4), vec![seen(canary(1), Stamp::None, t(4), "a")]);
    assert_eq!(w.count(|event| matches!(event, Event::ClockInversion { stage: STREAM, .. })), 1);
}

#[test]
fn an_overdue_canary_that_is_seen_after_the_clock_was_set_back_stays_above_the_threshold() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(SLO + 1), vec![]);
    w.poll(TABLE, t(20), vec![seen(canary(1), Stamp::None, t(20), "c")]);
    let above = |event: &Event| matches!(event, Event::EndToEnd { latency, judgement: Judgement::Slow, counted: true, .. } if *latency > s(SLO));
    assert_eq!(w.count(above), 1);
}

#[test]
fn a_source_that_fails_for_a_while_goes_blind_and_sees_again_by_itself() {
    let mut w = World::new();
    w.put(canary(1));
    w.poll(TABLE, t(1), vec![]);
    for at in [5, 10, 15, 20, 22] {
        w.cannot_poll(TABLE, t(at));
    }
    let table = &w.tracker.snapshot(t(22)).sources[w.tracker.topology.source_of(ACME, TABLE).0 as usize];
    assert_eq!(table.blind_since, Some(t(1)));
    assert_eq!(table.failing.as_ref().map(|failing| (failing.polls, &*failing.detail)), Some((5, "no")));
    let events = w.poll(TABLE, t(25), vec![]);
    assert!(events.iter().any(|event| matches!(event, Event::SawAgain { .. })), "{events:?}");
}

#[test]
fn a_source_that_hangs_without_an_answer_goes_blind_too() {
    let mut w = World::new();
    w.put(canary(1));
    assert_eq!(w.tracker.next_deadline(), Some(t(BLIND_AFTER)));
    w.apply(Input::Tick, t(BLIND_AFTER));
    assert!(w.count(|event| matches!(event, Event::WentBlind { .. })) > 0);
}

#[test]
fn what_our_own_clock_may_be_off_is_added_to_the_allowance_of_a_stage() {
    let ms = Duration::from_millis;
    let width = |bound: Option<Duration>| {
        let mut w = World::new();
        let clock = OwnClock { error_bound: bound, synchronized: true, compared_at: None };
        assert_eq!(w.apply(Input::ClockChecked(clock), t(0)), []);
        w.put(canary(1));
        w.poll(STREAM, t(2), vec![]);
        w.poll(STREAM, t(9), vec![seen(canary(1), Stamp::Millis(t(5)), t(9), "1")]);
        w.tracker.trace(canary(1).trace).unwrap().arrival(STREAM).unwrap().width()
    };
    assert_eq!(width(None), ms(1 + 2 * 50));
    assert_eq!(width(Some(ms(20))), ms(1 + 2 * (50 + 20)));
}

#[test]
fn a_clock_that_is_not_kept_in_step_is_told_once_and_keeps_its_last_bound() {
    let mut w = World::new();
    let mut says = |synchronized, error_bound: Option<u64>| {
        let error_bound = error_bound.map(Duration::from_millis);
        let clock = OwnClock { error_bound, synchronized, compared_at: None };
        w.apply(Input::ClockChecked(clock), t(1))
    };
    let error_bound = Some(Duration::from_millis(3));
    assert_eq!(says(true, Some(3)), []);
    assert_eq!(says(false, None), [Event::ClockAdrift { error_bound }]);
    assert_eq!(says(false, None), []);
    assert_eq!(says(true, None), [Event::ClockInStep { error_bound }]);
}
