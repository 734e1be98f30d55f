//! Generates arbitrary histories of a tracker.

use std::time::Duration;

use proptest::prelude::*;

use crate::domain::canary::Integrity;
use crate::domain::sighting::{FailureKind, Locator, Poll, ReadStats, Sighting, Stamp};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::SourceId;
use crate::domain::tracker::{Event, Input, PutResult, Settings, Tracker};

pub(super) const GIVE_UP: u64 = 120;
pub(super) const GRACE: u64 = 60;

pub(super) fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(in crate::store) fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000) + s(secs)
}

pub(in crate::store) fn settings() -> Settings {
    Settings {
        slo: s(30),
        give_up: s(GIVE_UP),
        grace: s(GRACE),
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

/// Canary `n`, planned at `t(0)`.
pub(in crate::store) fn canary(n: u8) -> Tag {
    canary_at(n, t(0))
}

pub(super) fn canary_at(n: u8, at: Timestamp) -> Tag {
    let tenant = TenantCode::of(if n.is_multiple_of(3) { "globex" } else { "acme" });
    Tag::new(TraceId::new(at, [n; 10]), tenant, InstanceCode::of("me"), 100 + u32::from(n), Purpose::Probe)
}

/// One step of a history.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Plan(u8),
    Accept(u8),
    Refuse(u8),
    Lose(u8),
    Poll { source: u32, shows: u16, lag: Option<u8>, copy: u8 },
    Fail(u32),
    Wait(u8),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u8..16).prop_map(Step::Plan),
        3 => (0_u8..16).prop_map(Step::Accept),
        1 => (0_u8..16).prop_map(Step::Refuse),
        1 => (0_u8..16).prop_map(Step::Lose),
        12 => (0_u32..7, any::<u16>(), prop::option::weighted(0.8, 0_u8..5), 0_u8..3)
            .prop_map(|(source, shows, lag, copy)| Step::Poll { source, shows: shows & shows >> 3, lag, copy }),
        2 => (0_u32..7).prop_map(Step::Fail),
        4 => (1_u8..40).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..100)
}

/// The clock and the canaries of a history, which continue across a restart of the probe.
#[derive(Clone)]
pub(super) struct World {
    pub(super) now: Timestamp,
    tags: Vec<Option<Tag>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self { now: t(0), tags: vec![None; 16] }
    }

    /// Applies one step to a tracker.
    pub(super) fn step(&mut self, step: &Step, tracker: &mut Tracker) -> Vec<Event> {
        self.now = self.now + Duration::from_millis(100);
        let put = |tag: Option<Tag>, result| Some(Input::Put { trace: tag?.trace, result });
        let tag = |n: u8| self.tags[usize::from(n)];
        let input = match *step {
            Step::Plan(n) => {
                let tag = *self.tags[usize::from(n)].get_or_insert(canary_at(n, self.now));
                let mut events = Vec::new();
                let _sent_or_not = tracker.plan(tag, self.now + Duration::from_millis(60), &mut events);
                return events;
            }
            Step::Accept(n) => put(tag(n), PutResult::Accepted { doubled: n % 5 == 0 }),
            Step::Refuse(n) => put(tag(n), PutResult::Refused { reason: "no \"room\"\n".into() }),
            Step::Lose(n) => put(tag(n), PutResult::ambiguous(n % 2 == 0)),
            Step::Poll { source, shows, lag, copy } => {
                let shown = self.tags.iter().enumerate().filter(|(n, _)| shows >> n & 1 == 1);
                let sightings = shown.filter_map(|(n, tag)| Some(self.sighting((*tag)?, n, source, copy)));
                let source = SourceId(source);
                let watermark = lag.map(|lag| self.now - s(u64::from(lag)));
                Some(Input::Polled {
                    source,
                    poll: Poll {
                        revision: tracker.wanted(source).revision,
                        started: self.now,
                        finished: self.now + Duration::from_millis(50),
                        watermark,
                        sightings: sightings.collect(),
                        stats: ReadStats::default(),
                        unreadable: Vec::new(),
                        failed_batches: Vec::new(),
                    },
                })
            }
            Step::Fail(source) => Some(Input::PollFailed {
                source: SourceId(source),
                kind: FailureKind::Error,
                detail: "no".into(),
            }),
            Step::Wait(secs) => {
                self.now = self.now + s(u64::from(secs));
                Some(Input::Tick)
            }
        };
        input.map(|input| tracker.apply(input, self.now + Duration::from_millis(60))).unwrap_or_default()
    }

    /// Forgets a canary that was not committed. It was never sent, so no later one has its id.
    pub(super) fn forget(&mut self, trace: TraceId) {
        self.tags
            .iter_mut()
            .filter(|tag| tag.is_some_and(|tag| tag.trace == trace))
            .for_each(|tag| *tag = None);
    }

    fn sighting(&self, tag: Tag, n: usize, source: u32, copy: u8) -> Sighting {
        Sighting {
            tag,
            stamp: match n % 3 {
                0 => Stamp::Millis(self.now - s(1)),
                1 => Stamp::Seconds(self.now - s(3)),
                _ => Stamp::None,
            },
            seen_by: self.now,
            locator: Locator::new(format!("{source}/'{copy}'")),
            label: None,
            found_in: crate::domain::format::FoundIn::default(),
            integrity: match (n + usize::from(copy)) % 4 {
                0 => Integrity::Corrupted { kept_bytes: n, sent_bytes: 100 },
                1 => Integrity::Unchecked,
                _ => Integrity::Intact,
            },
        }
    }
}
