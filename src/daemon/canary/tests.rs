use super::*;
use crate::domain::canary::Integrity;
use crate::domain::format::{FoundIn, Shape, Unreadable};
use crate::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp, UnreadableRecord};
use crate::domain::tag::TenantCode;
use crate::domain::topology::fixture::*;
use crate::domain::tracker::PutResult;

/// So many seconds after the canary was planned.
fn t(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

/// A canary of acme that was accepted.
struct World {
    follower: Follower,
    tag: Tag,
}

impl World {
    fn new() -> Self {
        Self::answered(PutResult::Accepted { doubled: false })
    }

    fn answered(result: PutResult) -> Self {
        let topology = Arc::new(topology());
        let seconds = Duration::from_secs;
        let settings = tracker::Settings {
            slo: seconds(30),
            give_up: seconds(4_000),
            grace: seconds(60),
            blind_after: seconds(20),
            recheck_for: seconds(60),
            copy_recheck: seconds(900),
            max_in_flight: 10,
            remember: 10,
            remember_of_tenant: 10,
            instance: InstanceCode::of("me/check"),
            handover: Duration::ZERO,
            is_kept: false,
        };
        let tracker = Tracker::new(topology.clone(), settings, t(0));
        let trace = TraceId::new(t(0), [1; 10]);
        let tag = Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("me/check"), 100, Purpose::Check);
        let (log_group, remarks) = ("/acme".into(), Vec::new());
        let sent = Sent { trace, tag, tenant: ACME, log_group, remarks, leaked: None };
        let mut follower = {
            let (unreadable, records, unchecked, mislabelled) = Default::default();
            let (sent, began) = (vec![sent], t(0));
            Follower { tracker, topology, sent, unreadable, records, unchecked, mislabelled, began }
        };
        follower.tracker.plan(tag, t(0), &mut Vec::new()).unwrap();
        follower.apply(Input::Put { trace, result }, t(0));
        Self { follower, tag }
    }

    fn source(&self, stage: StageId) -> SourceId {
        self.follower.topology.source_of(ACME, stage)
    }

    /// A poll of a stage that read everything up to `at`.
    fn poll(&mut self, stage: StageId, at: i64, found: Vec<Sighting>, unreadable: Vec<UnreadableRecord>) {
        let decode_errors = unreadable.len() as u64;
        let poll = Poll {
            revision: self.follower.tracker.wanted(self.source(stage)).revision,
            started: t(at),
            finished: t(at),
            watermark: Some(t(at)),
            sightings: found,
            stats: ReadStats { records: decode_errors, decode_errors, ..ReadStats::default() },
            unreadable,
            failed_batches: Vec::new(),
        };
        let source = self.source(stage);
        self.follower.apply(Input::Polled { source, poll }, t(at));
    }

    fn arrives(&mut self, stage: StageId, at: i64) {
        self.arrives_as(stage, at, None);
    }

    fn arrives_as(&mut self, stage: StageId, at: i64, label: Option<&str>) {
        let sighting = Sighting {
            tag: self.tag,
            stamp: Stamp::None,
            seen_by: t(at),
            locator: Locator::new(format!("copy at {}", stage.0)),
            label: label.map(Into::into),
            integrity: Integrity::Intact,
            found_in: FoundIn::default(),
        };
        self.poll(stage, at, vec![sighting], Vec::new());
    }

    fn at(&self, now: i64, until: Until) -> Followed {
        self.follower.followed(t(now), until).remove(0)
    }
}

fn state(canary: &Followed, stage: StageId) -> &State {
    &canary.stages[usize::from(stage.0)]
}

#[test]
fn a_canary_that_is_everywhere_has_ended() {
    let mut world = World::new();
    for (stage, at) in [(STREAM, 1), (ARCHIVE, 2), (TRANSIT, 3)] {
        world.arrives(stage, at);
        assert!(!world.at(at, Until::Now).has_ended());
    }
    world.arrives(TABLE, 4);
    let canary = world.at(4, Until::Now);
    assert!(canary.has_ended(), "{canary:?}");
    assert_eq!(canary.fate, Fate::Delivered(Duration::from_secs(4)));
    assert_eq!(*state(&canary, DEAD), State::NotGivenUp);
}

#[test]
fn a_label_that_is_not_of_its_tenant_is_kept_for_the_stage_where_it_was_found() {
    let mut world = World::new();
    world.arrives_as(STREAM, 1, Some("acme"));
    world.arrives_as(TABLE, 4, Some("acmecorp"));
    let canary = world.at(5, Until::TheEnd);
    let labels: Vec<_> = canary.mislabelled.iter().flatten().map(|label| label.as_str()).collect();
    assert_eq!(labels, ["acmecorp"]);
    assert_eq!(canary.mislabelled[usize::from(TABLE.0)].as_deref(), Some("acmecorp"));
    assert!(matches!(state(&canary, TABLE), State::Missing(_)), "{canary:?}");
}

#[test]
fn a_side_stage_that_was_read_past_its_time_need_not_be_waited_for() {
    let mut world = World::new();
    [(STREAM, 1), (TRANSIT, 3), (TABLE, 4)].into_iter().for_each(|(stage, at)| world.arrives(stage, at));
    world.poll(ARCHIVE, 10, Vec::new(), Vec::new());
    assert!(!world.at(10, Until::Now).has_ended());
    world.poll(ARCHIVE, 40, Vec::new(), Vec::new());
    let canary = world.at(40, Until::Now);
    assert!(canary.has_ended());
    assert_eq!(*state(&canary, ARCHIVE), State::Missing(2));
}

#[test]
fn a_canary_is_missing_where_it_was_polled_for_until_the_end() {
    let mut world = World::new();
    world.arrives(STREAM, 1);
    world.poll(TRANSIT, 9, Vec::new(), Vec::new());
    world.poll(TABLE, 9, Vec::new(), Vec::new());
    assert_eq!(world.at(9, Until::Now).fate, Fate::Waiting);
    let canary = world.at(9, Until::TheEnd);
    assert_eq!((&canary.fate, state(&canary, TRANSIT)), (&Fate::Missing(TRANSIT), &State::Missing(1)));
}

#[test]
fn a_stage_that_cannot_be_read_is_not_missing_anything() {
    let mut world = World::new();
    world.arrives(STREAM, 1);
    world.arrives(TRANSIT, 2);
    let failed = Input::PollFailed {
        source: world.source(TABLE),
        kind: FailureKind::Denied,
        detail: "no right to query".into(),
    };
    world.follower.apply(failed, t(3));
    let canary = world.at(9, Until::TheEnd);
    assert_eq!(canary.fate, Fate::Unknown(TABLE));
    assert_eq!(*state(&canary, TABLE), State::Blind("no right to query".into()));
}

#[test]
fn a_record_that_cannot_be_opened_is_named() {
    let mut world = World::new();
    world.arrives(STREAM, 1);
    let record = |reason, text: &str| UnreadableRecord {
        arrived_by: t(3),
        part: Unreadable { shape: Shape::NONE, reason },
        count: 1,
        owner: None,
        text: text.into(),
    };
    world.poll(TRANSIT, 3, Vec::new(), vec![record(UnreadableReason::UnknownFormat, "a.orc is ORC")]);
    world.poll(TABLE, 3, Vec::new(), vec![record(UnreadableReason::Refused, "GetObject: AccessDenied")]);
    let canary = world.at(9, Until::TheEnd);
    assert_eq!(*state(&canary, TRANSIT), State::Unreadable("a.orc is ORC".into()));
    assert!(matches!(state(&canary, TABLE), State::Blind(_)), "what is refused is not a format: {canary:?}");
}

#[test]
fn a_canary_that_was_refused_or_given_up_has_ended() {
    let refused = World::answered(PutResult::Refused { reason: "AccessDenied".into() });
    let canary = refused.at(1, Until::Now);
    assert!(canary.has_ended());
    assert_eq!(canary.fate, Fate::Refused("AccessDenied".into()));
    let mut given_up = World::new();
    given_up.arrives(DEAD, 5);
    assert_eq!(given_up.at(5, Until::Now).fate, Fate::DeadLettered(DEAD));
    assert!(!given_up.at(5, Until::Now).has_ended(), "the stream may have it and was not polled");
    given_up.arrives(STREAM, 6);
    assert!(given_up.at(6, Until::Now).has_ended());
}

#[test]
fn of_a_canary_that_was_given_up_no_stage_is_called_blind_or_empty_that_was_not_waited_for() {
    let mut given_up = World::new();
    given_up.poll(TRANSIT, 1, Vec::new(), Vec::new());
    given_up.arrives(DEAD, 5);
    given_up.poll(STREAM, 6, Vec::new(), Vec::new());
    assert!(!given_up.at(6, Until::Now).has_ended());
    // The second poll that does not have it: the keys of the stage may be wrong, which must not take until the timeout.
    given_up.poll(STREAM, 7, Vec::new(), Vec::new());
    assert!(given_up.at(7, Until::Now).has_ended());
    let canary = given_up.at(7, Until::TheEnd);
    for stage in [STREAM, TRANSIT, TABLE] {
        assert_eq!(*state(&canary, stage), State::NotAwaited, "{canary:?}");
    }
}
