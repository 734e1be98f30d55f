//! What must hold for any sequence of inputs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::canary::Integrity;
use crate::domain::sighting::Sighting;

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Step {
    Plan(u8),
    Accept(u8),
    Refuse(u8),
    Lose(u8),
    /// A poll of a source; shows the canaries whose bit is set, and proves what its lag leaves of the time
    /// before it.
    Poll {
        source: u32,
        shows: u16,
        lag: Option<u8>,
        copy: u8,
    },
    Fail(u32),
    Wait(u8),
    /// The process ends, and another one takes over what was saved.
    Restart(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..16).prop_map(Step::Plan),
        3 => (0_u8..16).prop_map(Step::Accept),
        1 => (0_u8..16).prop_map(Step::Refuse),
        1 => (0_u8..16).prop_map(Step::Lose),
        12 => (0_u32..7, any::<u16>(), prop::option::weighted(0.8, 0_u8..5), 0_u8..3)
            .prop_map(|(source, shows, lag, copy)| Step::Poll { source, shows, lag, copy }),
        2 => (0_u32..7).prop_map(Step::Fail),
        4 => (1_u8..40).prop_map(Step::Wait),
        1 => (0_u8..240).prop_map(Step::Restart),
    ]
}

/// A histogram's share of one trace: end to end, or of a hop.
type Series = (TraceId, Option<StageId>);

/// What the events said so far.
#[derive(Default)]
struct Ledger {
    planned: usize,
    outcomes: BTreeMap<TraceId, usize>,
    /// How often each trace entered `_count` and raised a bucket, in all lives together.
    counted: BTreeMap<Series, usize>,
    buckets: BTreeMap<Series, usize>,
    /// What this life counted: whatever is said to have been counted before must be in it.
    by_this_run: BTreeSet<Series>,
    falsely_counted: usize,
    /// How often each hop was missing, in all runs together.
    missing: BTreeMap<Series, usize>,
}

impl Ledger {
    fn enter(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Planned { .. } => self.planned += 1,
                Event::Ended { trace, .. } => *self.outcomes.entry(*trace).or_default() += 1,
                Event::EndToEnd { judgement: Judgement::Unjudged, .. } => {}
                Event::Overdue { trace, .. } => self.count((*trace, None), false),
                Event::GaveUp { trace, counted, .. } => self.count((*trace, None), *counted),
                Event::EndToEnd { trace, counted, .. } => self.arrive((*trace, None), *counted),
                Event::HopOverdue { trace, hop, .. } => self.count((*trace, Some(*hop)), false),
                Event::HopMissing { trace, hop, waited, counted, .. } => {
                    let series = (*trace, Some(*hop));
                    *self.missing.entry(series).or_default() += 1;
                    // Without it, what is counted is in the histogram of a previous run.
                    if waited.is_some() {
                        self.count(series, *counted);
                    }
                }
                Event::HopMeasured { trace, hop, counted, .. } => self.arrive((*trace, Some(*hop)), *counted),
                _ => {}
            }
        }
    }

    fn count(&mut self, series: Series, counted_before: bool) {
        if counted_before {
            self.falsely_counted += usize::from(!self.by_this_run.contains(&series));
        } else {
            self.by_this_run.insert(series);
            *self.counted.entry(series).or_default() += 1;
        }
    }

    fn arrive(&mut self, series: Series, counted_before: bool) {
        self.count(series, counted_before);
        *self.buckets.entry(series).or_default() += 1;
    }

    fn count_holds_every_bucket(&self) -> bool {
        self.buckets.iter().all(|(series, raised)| self.counted.get(series) >= Some(raised))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn counts_balance_for_any_sequence(steps in prop::collection::vec(step(), 1..120)) {
        let mut w = World::new();
        let mut ledger = Ledger::default();
        let mut now = t(0);
        let mut tags: Vec<Option<Tag>> = vec![None; 16];
        let mut saved = BTreeMap::new();
        for step in steps {
            now = now + Duration::from_millis(100);
            let events = match step {
                Step::Plan(n) => {
                    let tag = tags[usize::from(n)].get_or_insert(canary_at(n, now)).to_owned();
                    w.plan(tag, now)
                }
                Step::Accept(n) => put(&mut w, tags[usize::from(n)], PutResult::Accepted { doubled: n % 5 == 0 }, now),
                Step::Refuse(n) => put(&mut w, tags[usize::from(n)], PutResult::Refused { reason: "no".into() }, now),
                Step::Lose(n) => put(&mut w, tags[usize::from(n)], PutResult::ambiguous(false), now),
                Step::Poll { source, shows, lag, copy } => {
                    let shown = tags.iter().enumerate().filter(|(n, _)| shows >> n & 1 == 1).filter_map(|(_, tag)| *tag);
                    let sightings = shown.map(|tag| seen(tag, Stamp::None, now, &format!("{source}/{copy}"))).collect();
                    let watermark = lag.map(|lag| now - s(u64::from(lag)));
                    w.poll_at(SourceId(source), now, watermark, sightings)
                }
                Step::Fail(source) => {
                    let source = SourceId(source);
                    w.apply(Input::PollFailed { source, kind: FailureKind::Error, detail: "no".into() }, now)
                }
                Step::Wait(secs) => {
                    now = now + s(u64::from(secs));
                    w.apply(Input::Tick, now)
                }
                Step::Restart(down) => {
                    now = now + s(u64::from(down));
                    w = World::new();
                    w.tracker.restore(restored(&saved), now);
                    ledger.by_this_run.clear();
                    w.apply(Input::Tick, now)
                }
            };
            saved.extend(w.tracker.take_changes().traces.into_iter().map(|saved| (saved.0.id(), saved)));
            ledger.enter(&events);
            let ended: usize = ledger.outcomes.values().sum();
            prop_assert_eq!(ledger.planned, ended + w.tracker.in_flight(), "planned = ended + in flight");
            prop_assert_eq!(w.tracker.in_flight(), w.tracker.in_flight_traces().count());
            prop_assert!(ledger.outcomes.values().all(|times| *times == 1), "an outcome is reached once");
            prop_assert!(ledger.counted.values().all(|times| *times <= 1), "a series counts a trace once, in whatever run");
            prop_assert!(ledger.missing.values().all(|times| *times <= 1), "a hop is missing once");
            prop_assert!(ledger.count_holds_every_bucket());
            prop_assert_eq!(ledger.falsely_counted, 0, "what is said to be counted was");
            for event in &events {
                if let Event::Ended { trace, outcome: Outcome::Lost(_), .. } = event {
                    let trace = w.tracker.trace(*trace).unwrap();
                    let deadline = trace.planned_at + s(GIVE_UP);
                    prop_assert!(trace.visit(TABLE).absent_until > Some(deadline), "lost without proof");
                    let source = w.tracker.topology.source_of(trace.tenant, TABLE);
                    let read_up_to = w.tracker.snapshot(now).sources[source.0 as usize].watermark;
                    prop_assert!(read_up_to.is_none_or(|watermark| watermark > deadline), "lost before its source was read");
                }
            }
        }
        // Given time, everything ends.
        ledger.enter(&w.apply(Input::Tick, now + s(GIVE_UP + GRACE)));
        prop_assert_eq!(w.tracker.in_flight(), 0);
        prop_assert_eq!(w.tracker.next_deadline(), None);
    }

    #[test]
    fn the_order_of_two_polls_before_the_deadline_does_not_change_the_outcome(
        first in 0_usize..5, second in 0_usize..5, at in 1_u64..GIVE_UP - 1, shows: [bool; 2],
    ) {
        let stages = [STREAM, ARCHIVE, TRANSIT, TABLE, DEAD];
        let outcome = |order: [usize; 2]| {
            let mut w = World::new();
            w.put(canary(1));
            for which in order {
                let (stage, shown) = [(stages[first], shows[0]), (stages[second], shows[1])][which];
                let sighting = Sighting {
                    integrity: Integrity::Unchecked,
                    ..seen(canary(1), Stamp::Millis(t(1)), t(at), &format!("{stage:?}"))
                };
                w.poll(stage, t(at), if shown { vec![sighting] } else { vec![] });
            }
            w.empty_poll_except_at(&[], t(GIVE_UP + 1));
            let last = w.outcome(canary(1));
            last.map(|outcome| outcome.label())
        };
        prop_assert_eq!(outcome([0, 1]), outcome([1, 0]));
    }
}

fn put(w: &mut World, tag: Option<Tag>, result: PutResult, now: Timestamp) -> Vec<Event> {
    tag.map(|tag| w.apply(Input::Put { trace: tag.trace, result }, now)).unwrap_or_default()
}

/// What a store brings back that was given these traces, each with whether it is finished.
fn restored(saved: &BTreeMap<TraceId, (Arc<Trace>, bool)>) -> Restored {
    let open = saved.iter().filter(|(_, (_, finished))| !finished).map(|(id, _)| *id).collect();
    let traces = saved.values().map(|(trace, _)| (**trace).clone()).collect();
    Restored { traces, open, ..Restored::default() }
}
