//! Figures over time: that each canary counts once wherever the probe is killed, and what is pruned.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::history::{self, *};
use super::*;
use crate::domain::aggregates::{
    self, Aggregates, Figures, History, Kept, KeptBucket, Selection, Series, Step as Length, Unsaved, series,
};
use crate::domain::outcome::Outcome;
use crate::domain::quantile::{Level, Quantile, Sample};
use crate::domain::trace::Judgement;
use crate::domain::tracker::tests::seen_everywhere;
use crate::domain::tracker::{Event, Input, Tracker};

/// A probe of which everything that is not in the store can be lost.
struct Probe {
    tracker: Tracker,
    figures: Aggregates,
}

impl Probe {
    /// A process that begins with what the store has.
    fn start(store: &mut Store, map: &Arc<Topology>, now: Timestamp) -> Self {
        let limits = aggregates::Settings { slo: s(30), give_up: s(GIVE_UP) };
        let mut figures = Aggregates::new(map.clone(), limits, now);
        let mut tracker = Tracker::new(map.clone(), history::settings(), now);
        let mut loaded = store.load(ALL).unwrap();
        figures.restore(std::mem::take(&mut loaded.aggregates), now);
        tracker.restore(loaded, now);
        Self { tracker, figures }
    }

    /// Commits as the engine does. The canaries that were settled are added to `settled`.
    fn commit(&mut self, store: &mut Store, now: Timestamp, settled: &mut Vec<Arc<Trace>>) {
        let mut changes = self.tracker.take_changes();
        changes.settled.iter().for_each(|trace| self.figures.settle(trace));
        self.figures.close(self.tracker.oldest_open(), now);
        self.figures.published();
        changes.aggregates = self.figures.unsaved();
        store.save(&changes).unwrap();
        self.figures.saved();
        settled.append(&mut changes.settled);
    }

    fn read(&self, map: &Topology, step: Length) -> History {
        let selection = Selection { tenants: map.tenant_ids().collect(), step, slots: 0..=i64::MAX };
        let open = self.tracker.snapshot(t(0)).open;
        self.figures.excerpt(&selection).with_open(open.iter().map(AsRef::as_ref))
    }
}

/// The counts of canaries, computed again from raw traces, and the sample of their latencies.
#[derive(Default)]
struct Expected {
    met: usize,
    lost: usize,
    missing: usize,
    sample: Sample,
}

impl Expected {
    fn of(map: &Topology, series: Series, traces: &[&Trace]) -> Self {
        let mut all = Self::default();
        for trace in traces {
            match series {
                Series::EndToEnd => all.end_to_end(map, trace),
                Series::Hop(stage) => all.hop(map, trace, stage),
            }
        }
        all
    }

    fn end_to_end(&mut self, map: &Topology, trace: &Trace) {
        let outcome = trace.ended.as_ref().map(|(outcome, _)| outcome);
        let is_lost = matches!(outcome, Some(Outcome::Lost(_) | Outcome::DeadLettered(_)));
        let is_given_up = is_lost || matches!(outcome, Some(Outcome::Unobserved(_)));
        if matches!(trace.judgement, Judgement::Pending | Judgement::Unjudged) {
            return;
        }
        match trace.arrival(map.end()).filter(|_| !is_given_up) {
            Some(at) => {
                self.met += usize::from(trace.judgement == Judgement::Good);
                self.sample.arrived(at.latest.since(trace.planned_at));
            }
            None => {
                let absent = trace.visit(map.end()).absent_until.unwrap_or(trace.planned_at);
                let proven = absent.since(trace.planned_at).max(s(30));
                self.absent(if is_given_up { s(GIVE_UP) } else { proven }, is_lost);
            }
        }
    }

    fn hop(&mut self, map: &Topology, trace: &Trace, stage: StageId) {
        let (visit, spec) = (trace.visit(stage), map.stage(stage));
        let parent = spec.parent.map(|parent| trace.arrival(parent).map(|at| at.latest));
        let Some(begun) = parent.unwrap_or(Some(trace.planned_at)) else { return };
        let over = |latency: Duration| spec.target.is_some_and(|target| latency > target);
        let later = map.main_path().iter().skip_while(|on_path| **on_path != stage).skip(1);
        let passed_unseen = later.clone().any(|later| trace.arrival(*later).is_some());
        let absent_for = visit.absent_until.map(|until| until.since(begun)).unwrap_or_default();
        let outcome = trace.ended.as_ref().map(|(outcome, _)| outcome);
        let given_up = visit.absent_until > Some(trace.planned_at + s(GIVE_UP))
            && matches!(outcome, Some(Outcome::Lost(_) | Outcome::Delivered | Outcome::Late));
        match (visit.hop, trace.arrival(stage)) {
            (Hop::Measured { latency, was_overdue }, Some(at)) => {
                self.met += usize::from(!was_overdue && !over(at.earliest.since(begun)));
                self.sample.arrived(latency);
            }
            (Hop::Inherited, Some(at)) => self.sample.arrived(at.latest.since(begun)),
            (Hop::Inherited, None) => self.absent(absent_for, given_up),
            (Hop::Overdue | Hop::NeverSeen, None) => self.absent(absent_for, false),
            (Hop::Missing, None) => self.absent(absent_for, true),
            (Hop::Open, None) if absent_for > spec.missing_after && trace.taken() && !passed_unseen => {
                self.absent(absent_for, false);
            }
            _ => {}
        }
    }

    fn absent(&mut self, at_least: Duration, lost: bool) {
        self.missing += 1;
        self.lost += usize::from(lost);
        self.sample.missing(at_least);
    }

    fn check(mut self, found: &Figures) -> Result<(), TestCaseError> {
        let counts = [found.judged, found.met, found.missing, found.lost].map(|count| count as usize);
        prop_assert_eq!(counts, [self.sample.len(), self.met, self.missing, self.lost]);
        let expected = self.sample.quantiles([Level::P50, Level::P95]);
        prop_assert_eq!(expected.is_some(), found.quantiles.is_some());
        for (expected, found) in expected.into_iter().flatten().zip(found.quantiles.into_iter().flatten()) {
            let (expected, found) = match (expected, found) {
                (Quantile::Exactly(expected), Quantile::Exactly(found)) => (expected, found),
                (Quantile::MoreThan(expected), Quantile::MoreThan(found)) => {
                    prop_assert!(found <= expected, "a lower bound: {:?}, {:?}", found, expected);
                    // The whole width of a bin.
                    (expected, found + expected / 256)
                }
                _ => return Err(TestCaseError::fail(format!("{found:?} is not {expected:?}"))),
            };
            let tolerance = expected / 250 + Duration::from_millis(1);
            prop_assert!(expected.abs_diff(found) <= tolerance, "{:?} is not {:?}", found, expected);
        }
        Ok(())
    }
}

/// A history has every bucket of these traces, and no canary twice.
fn compare(
    map: &Topology,
    traces: &[Arc<Trace>],
    history: &History,
    step: Length,
) -> Result<(), TestCaseError> {
    let mut expected: BTreeMap<(TenantId, i64), Vec<&Trace>> = BTreeMap::new();
    for trace in traces.iter().filter(|trace| trace.origin != Origin::Adopted) {
        expected.entry((trace.tenant, step.slot_of(trace.planned_at))).or_default().push(trace);
    }
    let mut found = 0;
    for (tenant, bucket) in
        history.tenants.iter().flat_map(|of| of.buckets.iter().map(|bucket| (of.tenant, bucket)))
    {
        let traces = expected.get(&(tenant, step.slot_of(bucket.start))).cloned().unwrap_or_default();
        prop_assert_eq!(bucket.canaries as usize, traces.len());
        for series in series(map) {
            let hop = bucket.hops.iter().find(|(of, _)| *of == series).map(|(_, figures)| *figures);
            Expected::of(map, series, &traces).check(&hop.unwrap_or_default())?;
        }
        found += 1;
    }
    prop_assert_eq!(found, expected.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn wherever_the_probe_is_killed_figures_are_those_of_the_raw_traces(
        steps in steps(),
        kills in prop::collection::vec((0_usize..100, any::<bool>(), 0_u8..240), 0..4),
    ) {
        let map = Arc::new(topology());
        let mut store = in_memory();
        let seen = seen_everywhere(&map);
        store.save(&Changes { seen, ..Changes::default() }).unwrap();
        let mut world = World::new();
        let mut probe = Probe::start(&mut store, &map, t(0));
        let (mut settled, mut planned) = (Vec::new(), Vec::new());
        for (at, step) in steps.iter().enumerate() {
            let events = world.step(step, &mut probe.tracker);
            let kill = kills.iter().find(|(kill, ..)| *kill == at);
            let just_planned = events.iter().filter_map(|event| match event {
                Event::Planned { trace, .. } => Some(*trace),
                _ => None,
            });
            if kill.is_none_or(|(_, committed, _)| *committed) {
                probe.commit(&mut store, world.now, &mut settled);
                planned.extend(just_planned);
            } else {
                just_planned.for_each(|trace| world.forget(trace));
            }
            if let Some((_, _, down)) = kill {
                world.now = world.now + s(u64::from(*down));
                probe = Probe::start(&mut store, &map, world.now);
            }
        }
        for expiry in [false, true] {
            if expiry {
                world.now = world.now + s(GIVE_UP + 2 * GRACE + 1);
                probe.tracker.apply(Input::Tick, world.now);
            }
            probe.commit(&mut store, world.now, &mut settled);
            let open = probe.tracker.snapshot(world.now).open;
            // Saved with the first bucket; until then, a new process knows from its start on.
            let since = probe.figures.known_since();
            let known: Vec<_> =
                settled.iter().chain(&open).filter(|trace| trace.planned_at >= since).cloned().collect();
            let own = known.iter().filter(|trace| trace.origin != Origin::Adopted);
            let mut own: Vec<_> = own.map(|trace| trace.id()).collect();
            own.sort_unstable();
            planned.retain(|trace| trace.planned_at() >= since);
            planned.sort_unstable();
            prop_assert_eq!(&own, &planned, "every canary that was planned is settled once, or open");
            for step in Length::ALL {
                compare(&map, &known, &probe.read(&map, step), step)?;
            }
        }
    }
}

fn bucket(step: Length, start: Timestamp) -> KeptBucket {
    // A final bucket without canaries.
    KeptBucket { tenant: ACME, step, start, bytes: [1, 1, 0].into() }
}

fn saved(buckets: Vec<KeptBucket>) -> Changes {
    Changes { aggregates: Unsaved { known_since: t(0), buckets }, ..Changes::default() }
}

#[test]
fn buckets_are_loaded_as_they_were_saved_last() {
    let mut store = in_memory();
    let (first, other) = (bucket(Length::Minute, t(0)), bucket(Length::Hour, t(0)));
    store.save(&saved(vec![first.clone(), other])).unwrap();
    let newer = KeptBucket { bytes: [1, 5, 0].into(), ..first };
    store
        .save(&Changes {
            aggregates: Unsaved { known_since: t(9), buckets: vec![newer.clone()] },
            ..Changes::default()
        })
        .unwrap();
    let Kept { known_since, buckets } = store.load(ALL).unwrap().aggregates;
    assert_eq!(known_since, Some(t(0)));
    assert_eq!(buckets.len(), 2);
    assert!(buckets.contains(&newer));
}

#[test]
fn a_bucket_that_the_file_has_is_not_written_again() {
    let mut store = in_memory();
    let buckets = saved(vec![bucket(Length::Minute, t(0)), bucket(Length::Hour, t(0))]);
    let written = |store: &mut Store| {
        store.save(&buckets).unwrap();
        store.connection.query_row("SELECT total_changes()", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let first = written(&mut store);
    assert_eq!(written(&mut store) - first, 1, "only since when buckets are known");
}

#[test]
fn minutes_older_than_a_day_and_hours_older_than_30_days_are_pruned() {
    let mut store = in_memory();
    let day = 86_400;
    let (now, minute, hour) = (t(40 * day), Length::Minute, Length::Hour);
    let kept = vec![bucket(minute, now - s(day)), bucket(hour, now - s(30 * day))];
    let old = vec![bucket(minute, now - s(day + 60)), bucket(hour, now - s(30 * day + 3_600))];
    let ahead = vec![bucket(minute, now + s(2 * day))];
    store.save(&saved([kept.clone(), old, ahead].concat())).unwrap();
    assert_eq!(store.prune_aggregates(now).unwrap(), 3);
    let left = store.load(ALL).unwrap().aggregates.buckets;
    assert_eq!(
        left.iter().map(|bucket| (bucket.step, bucket.step.slot_of(bucket.start))).collect::<Vec<_>>(),
        kept.iter().map(|bucket| (bucket.step, bucket.step.slot_of(bucket.start))).collect::<Vec<_>>()
    );
}

#[test]
fn a_damaged_bucket_is_counted_and_left() {
    let mut store = in_memory();
    let damaged = KeptBucket { bytes: [9, 9].into(), ..bucket(Length::Minute, t(0)) };
    store.save(&saved(vec![damaged, bucket(Length::Hour, t(0))])).unwrap();
    let loaded = store.load(ALL).unwrap();
    assert_eq!((loaded.unreadable, loaded.aggregates.buckets.len()), (1, 1));
    assert_eq!(store.load(ALL).unwrap().unreadable, 1);
}

#[test]
fn buckets_of_a_tenant_that_is_not_configured_any_more_stay_on_disk() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.file(), Arc::new(topology_with("initech")), t(0)).unwrap().store;
    let third = KeptBucket { tenant: TenantId(2), ..bucket(Length::Minute, t(0)) };
    store.save(&saved(vec![third])).unwrap();
    drop(store);
    assert_eq!(open(&folder.file()).unwrap().store.load(ALL).unwrap().aggregates.buckets, []);
    let mut store = Store::open(&folder.file(), Arc::new(topology_with("initech")), t(0)).unwrap().store;
    assert_eq!(store.load(ALL).unwrap().aggregates.buckets.len(), 1);
}
