//! One pipeline for each condition, with its three faults in three hours: each is one incident, with the
//! beginning, the end and the number of canaries that it truly had.

use std::sync::Arc;

use super::night::*;
use crate::domain::conditions::ConditionName;
use crate::domain::conditions::tests::world::*;
use crate::domain::schema::{Column, TableSchema};
use crate::domain::sighting::{Poll, ReadStats};
use crate::domain::time::OwnClock;
use crate::domain::topology::StageId;
use crate::domain::topology::fixture::*;
use crate::domain::tracker::{HeldBack, Input};

/// The canaries of acme that are planned meanwhile.
const PLANNED: [usize; 3] = [40, 40, 20];

/// What is done to a pipeline, and what incidents should say of it.
struct Hours {
    night: Night,
    place: Option<StageId>,
    faults: &'static [(u64, u64)],
    /// By how much a beginning may be late, in seconds: what it takes to notice something that has no canary
    /// by which it is dated.
    noticed_within: u64,
    /// Number of affected canaries; `None` for what counts none.
    canaries: Option<&'static [usize]>,
    of_all: bool,
}

impl Hours {
    fn new(night: Night, place: impl Into<Option<StageId>>) -> Self {
        let (place, canaries) = (place.into(), Some(&PLANNED[..]));
        Self { night, place, faults: &FAULTS, noticed_within: 0, canaries, of_all: false }
    }

    /// The canaries of the faults' times meet `fate`.
    fn of(fate: Fate, place: impl Into<Option<StageId>>) -> Self {
        Self::new(Night::new(faulty(fate)), place)
    }

    /// Nothing is dated or counted by canaries.
    fn noticed_within(self, seconds: u64) -> Self {
        Self { noticed_within: seconds, canaries: None, ..self }
    }

    /// Asserts that there is one incident for each fault, from its first affected canary to the first good
    /// one after it, with an error of one canary and an update.
    #[track_caller]
    fn assert(mut self, name: ConditionName) {
        let all = self.night.run(0, HOURS).list();
        let told = told(&all);
        let places: Vec<_> = all.iter().map(|it| (it.name, it.place.map(|place| place.last))).collect();
        assert_eq!(places, vec![(name, self.place); self.faults.len()], "{told:?}");
        for (incident, (begin, end)) in all.iter().zip(self.faults) {
            assert_within(incident.beginning, *begin, self.noticed_within);
            assert_within(incident.end.expect("it is over"), *end, INTERVAL + STEP as u64);
            // The state of a clock is reported without since when it has it.
            let is_dated = name != ConditionName::ClockUnsynchronized;
            assert_eq!(incident.worst().expect("it has an episode").since().is_some(), is_dated, "{told:?}");
        }
        let canaries: Vec<_> = all.iter().map(|it| it.canaries).collect();
        let count = |at| self.canaries.map(|canaries| canaries[at]);
        assert_eq!(canaries, (0..self.faults.len()).map(count).collect::<Vec<_>>(), "{told:?}");
        assert!(all.iter().all(|incident| incident.of_all == self.of_all), "{told:?}");
    }
}

/// A table whose column `level` has another type during the faults.
fn drifting(second: u64) -> Vec<Input> {
    let kind = if fault_at(second).is_some() { "INTEGER" } else { "STRING" };
    let level = Column { name: "level".into(), kind: kind.into(), mode: "NULLABLE".into() };
    let schema = Arc::new(TableSchema { columns: vec![level] });
    let source = topology().source_of(ACME, TABLE);
    Vec::from_iter(second.is_multiple_of(60).then_some(Input::SchemaRead { source, schema }))
}

/// A dead-letter queue that holds messages during the faults.
fn dead_letters(second: u64) -> Vec<Input> {
    let queued = Some(if fault_at(second).is_some() { 3 } else { 0 });
    let (source, at) = (topology().source_of(ACME, DEAD), t(second));
    let poll = Poll {
        revision: 0,
        started: at,
        finished: at,
        watermark: Some(at),
        sightings: Vec::new(),
        stats: ReadStats { queued, ..ReadStats::default() },
        unreadable: Vec::new(),
        failed_batches: Vec::new(),
    };
    Vec::from_iter(second.is_multiple_of(60).then_some(Input::Polled { source, poll }))
}

/// A clock that is not synchronized during the faults.
fn drifting_clock(second: u64) -> Vec<Input> {
    let clock = OwnClock { error_bound: None, synchronized: fault_at(second).is_none(), compared_at: None };
    Vec::from_iter(second.is_multiple_of(60).then_some(Input::ClockChecked(clock)))
}

/// Makes a test of each condition; does not compile while one has none.
macro_rules! three_hours {
    ($($name:ident, $test:ident: $hours:expr;)*) => {
        $(#[test] fn $test() { $hours.assert(ConditionName::$name); })*

        const _: fn(ConditionName) = |name| match name { $(ConditionName::$name => {})* };
    };
}

three_hours! {
    Leaking, canaries_that_are_found_with_another_tenant_are_one_incident: {
        Hours::of(Fate { leaked: Some(TABLE), ..WELL }, TABLE)
    };
    TotalStall, a_stall_of_all_tenants_is_one_incident: {
        let night = Night::new(World::of_three(stalled));
        Hours { of_all: true, canaries: Some(&[120, 120, 60]), ..Hours::new(night, TRANSIT) }
    };
    Stuck, a_stopped_hop_is_one_incident_from_its_first_canary_until_something_gets_through: {
        Hours::new(Night::new(World::new(stalled)), TRANSIT)
    };
    Losing, canaries_that_are_dead_lettered_are_one_incident: {
        Hours::of(WELL.at(DEAD, 1_500).at(TRANSIT, None).at(TABLE, None), DEAD)
    };
    Missing, a_stage_that_drops_canaries_is_one_incident: {
        Hours::of(WELL.at(ARCHIVE, None), ARCHIVE)
    };
    Corruption, canaries_that_are_cut_are_one_incident: {
        Hours::of(Fate { damaged: Some(TRANSIT), ..WELL }, TRANSIT)
    };
    Slow, a_slow_hop_is_one_incident: {
        Hours::of(WELL.at(TABLE, 42_000), TABLE)
    };
    HopOverTarget, a_hop_over_its_target_is_one_incident: {
        Hours::of(WELL.at(STREAM, 1_600), STREAM)
    };
    Duplicates, canaries_that_are_stored_twice_are_one_incident: {
        Hours::of(Fate { doubled: Some(TABLE), ..WELL }, TABLE)
    };
    DeadLettersWaiting, a_queue_of_dead_letters_is_one_incident: {
        let night = Night::new(World::new(|_| WELL).reporting(dead_letters));
        Hours { of_all: true, ..Hours::new(night, DEAD).noticed_within(60) }
    };
    SchemaDrift, a_table_with_another_type_is_one_incident: {
        let night = Night::new(World::new(|_| WELL).reporting(drifting));
        Hours { of_all: true, ..Hours::new(night, TABLE).noticed_within(0) }
    };
    NotInjecting, a_log_group_that_refuses_canaries_is_one_incident: {
        Hours::of(Fate { put: None, ..WELL }, None).noticed_within(0)
    };
    CannotSee, a_stage_that_cannot_be_read_is_one_incident: {
        let denied = |stage, second| stage == TABLE && fault_at(second).is_some();
        Hours::new(Night::new(World::new(|_| WELL).denied(denied)), TABLE).noticed_within(INTERVAL)
    };
    NeverSeen, a_source_that_has_not_shown_a_canary_yet_is_one_incident: {
        let world = World::unseen(|planned| if planned < 2_400 { WELL.at(ARCHIVE, None) } else { WELL });
        let once = Hours::new(Night::new(world), ARCHIVE);
        Hours { faults: &[(0, 2_400)], canaries: Some(&[80]), ..once }
    };
    LateInjection, canaries_that_are_taken_late_are_one_incident: {
        let late = Fate { put: Some(12), ..WELL };
        Hours::of(late.at(STREAM, 12_500).at(ARCHIVE, 13_000).at(TRANSIT, 17_000), None)
    };
    Skipped, a_stage_that_shows_nothing_of_what_later_ones_show_is_one_incident: {
        Hours::of(WELL.at(TRANSIT, None), TRANSIT)
    };
    SameName, another_process_of_the_same_name_is_one_incident: {
        let night = Night::new(faulty(Fate { has_namesake: true, ..WELL }));
        Hours { of_all: true, ..Hours::new(night, None).noticed_within(0) }
    };
    StoreDegraded, a_store_that_cannot_be_written_is_one_incident: {
        let night = Night::new(World::new(|_| WELL)).changed(move |snapshot, second| {
            snapshot.not_stored = fault_at(second).map(|(begin, _)| (t(begin), "the disk is full".into()));
        });
        Hours { of_all: true, ..Hours::new(night, None).noticed_within(0) }
    };
    OverBudget, a_budget_that_holds_polls_back_is_one_incident: {
        let night = Night::new(World::new(|_| WELL)).changed(move |snapshot, second| {
            let held = |begin| HeldBack { since: t(begin), text: "polls of kinesis".into(), leaves_out: true };
            snapshot.over_budget = fault_at(second).map(|(begin, _)| held(begin));
        });
        Hours { of_all: true, ..Hours::new(night, None).noticed_within(0) }
    };
    ReloadFailed, a_configuration_that_is_refused_is_one_incident: {
        let night = Night::new(World::new(|_| WELL)).changed(move |snapshot, second| {
            snapshot.reload_failed = fault_at(second).map(|(begin, _)| (t(begin), "1 fault".into()));
        });
        Hours { of_all: true, ..Hours::new(night, None).noticed_within(0) }
    };
    ClockUnsynchronized, a_clock_that_is_not_synchronized_is_one_incident: {
        let night = Night::new(World::new(|_| WELL).reporting(drifting_clock));
        Hours { of_all: true, ..Hours::new(night, None).noticed_within(STEP as u64) }
    };
}

#[test]
fn records_that_cannot_be_read_are_one_incident_although_their_canaries_are_missing_afterwards() {
    let mut night = Night::new(faulty(Fate { unreadable: Some(ARCHIVE), ..WELL }));
    let mut all = night.run(0, HOURS).list();
    all.retain(|incident| incident.name == ConditionName::CannotSee);
    assert_eq!(all.len(), FAULTS.len(), "{:?}", told(&all));
    for (incident, (begin, end)) in all.iter().zip(FAULTS) {
        // The first canary could be late for as long as any.
        assert_within(incident.beginning, begin, 30 + 1);
        assert_within(incident.end.expect("it is over"), end, STEP as u64);
    }
}

#[test]
fn one_cause_at_one_stage_is_one_incident_of_all_tenants() {
    let dropped = |planned| if fault_at(planned).is_some() { WELL.at(ARCHIVE, None) } else { WELL };
    let hours = Hours::new(Night::new(World::of_three(dropped)), ARCHIVE);
    Hours { of_all: true, canaries: Some(&[120, 120, 60]), ..hours }.assert(ConditionName::Missing);
}

#[test]
fn a_stage_of_the_main_path_that_has_not_shown_a_canary_yet_is_one_incident() {
    for place in [STREAM, TRANSIT, TABLE] {
        let world = World::unseen(move |planned| if planned < 2_400 { WELL.at(place, None) } else { WELL });
        let once = Hours::new(Night::new(world), place);
        Hours { faults: &[(0, 2_400)], canaries: Some(&[80]), ..once }.assert(ConditionName::NeverSeen);
    }
}
