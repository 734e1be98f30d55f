//! The record of a run: its windows, and what came of the canaries that were planned in each.
//!
//! A canary belongs to the window and to the slice of time in which its injection was planned, however long
//! it takes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::figures::{Beside, Figures, Group};
use super::threshold::{Judged, Span, Threshold};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId, Topology};
use crate::domain::trace::Trace;
use crate::domain::tracker::{Event, Tracker};

/// Most slices of a window, so that a run of days takes no more memory than one of minutes.
const MAX_SLICES: u32 = 120;

/// What a window is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its canaries are followed, and not judged.
    WarmUp,
    Judged,
}

/// A part of a run.
#[derive(Clone, Debug)]
pub struct Window {
    pub purpose: Purpose,
    pub from: Timestamp,
    pub until: Timestamp,
    /// The highest rate in it, in events per second.
    pub rate: f64,
    pub figures: Figures,
    /// Calls of PutLogEvents until it was judged, and how many of them were throttled. Not of the warm-up.
    pub puts: Puts,
    /// Those planned in its first and in its last third.
    thirds: [Group; 2],
    pub slices: Vec<Slice>,
    slice_length: Duration,
}

/// Calls of PutLogEvents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Puts {
    pub throttled: u64,
    pub all: u64,
}

/// A part of a window.
#[derive(Clone, Debug)]
pub struct Slice {
    pub from: Timestamp,
    pub length: Duration,
    pub figures: Figures,
}

impl Window {
    fn new(topology: &Topology, purpose: Purpose, from: Timestamp, until: Timestamp, rate: f64) -> Self {
        let length = (until.since(from) / MAX_SLICES).max(Duration::from_secs(1));
        let length = Duration::from_secs(length.as_secs_f64().ceil() as u64);
        let figures = Figures::new(topology);
        let thirds = [Group::default(), Group::default()];
        let puts = Puts::default();
        Self { purpose, from, until, rate, figures, puts, thirds, slices: Vec::new(), slice_length: length }
    }

    /// Lets `change` see everything that an event planned at this time belongs to.
    fn at(&mut self, planned: Timestamp, topology: &Topology, mut change: impl FnMut(&mut Figures)) {
        change(&mut self.figures);
        let after = planned.since(self.from);
        let index = after.as_micros() / self.slice_length.as_micros().max(1);
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(MAX_SLICES as usize);
        while self.slices.len() <= index {
            let before = self.slice_length * u32::try_from(self.slices.len()).unwrap_or(u32::MAX);
            let from = self.from + before;
            self.slices.push(Slice { from, length: self.slice_length, figures: Figures::new(topology) });
        }
        change(&mut self.slices[index].figures);
    }

    /// Which third an instant lies in: the first is 0, the last is 1.
    fn third(&self, planned: Timestamp) -> Option<usize> {
        let third = self.until.since(self.from) / 3;
        if planned < self.from + third {
            Some(0)
        } else if planned >= self.from + third * 2 {
            Some(1)
        } else {
            None
        }
    }

    /// What is known of a trial beside its canaries. Whether a stage could be read to the end of the run is judged once,
    /// for the run.
    #[must_use]
    pub fn beside(&self, cut_searches: u64) -> Beside {
        let Puts { throttled, all } = self.puts;
        Beside { blind: false, cut_searches, throttled, calls: all, growth: self.growth() }
    }

    /// By how many seconds the median latency grew in a second of the window. In front of a pipeline that
    /// takes `r` events a second when `R` are sent, the one sent after `t` seconds leaves after `R·t/r`, so
    /// latency grows by `R/r - 1`, however short it still is. `None` if a median may be that of a canary that never
    /// arrived.
    ///
    /// Where in its interval a canary arrived is chance, so a median is expected in the middle of those of the earlier
    /// and of the later ends. A third that holds several polls has canaries in all parts of their intervals alike, but
    /// for one poll that it may hold in part: by that ratio the median may be off.
    #[must_use]
    pub fn growth(&self) -> Option<Span> {
        let length = self.until.since(self.from).as_secs_f64();
        let median = |group: &Group| {
            let between = group.latency.between(50.0, group.untimed())?;
            let half = (between.high - between.low) / 2.0;
            let ratio = if group.untimed() == 0 { (half * 2.0 / (length / 3.0)).min(1.0) } else { 1.0 };
            let (middle, off) = (between.low + half, half * ratio);
            between.high.is_finite().then_some(Span { low: middle - off, high: middle + off })
        };
        let (first, last) = (median(&self.thirds[0])?, median(&self.thirds[1])?);
        // Between the middles of both thirds.
        let seconds = length * 2.0 / 3.0;
        let growth = |from: f64, to: f64| (to - from) / seconds;
        (seconds > 0.0)
            .then(|| Span { low: growth(first.high, last.low), high: growth(first.low, last.high) })
    }
}

/// The windows of a run, in order.
#[derive(Clone, Debug)]
pub struct Record {
    topology: Arc<Topology>,
    pub windows: Vec<Window>,
}

impl Record {
    #[must_use]
    pub const fn new(topology: Arc<Topology>) -> Self {
        Self { topology, windows: Vec::new() }
    }

    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Begins a window after those that there are, in whole milliseconds: the id of a canary has no more.
    pub fn begin(&mut self, purpose: Purpose, from: Timestamp, until: Timestamp, rate: f64) {
        self.windows.push(Window::new(&self.topology, purpose, from.floor_to_millis(), until, rate));
    }

    /// Ends the last window earlier than planned.
    pub fn end_at(&mut self, now: Timestamp) {
        if let Some(last) = self.windows.last_mut() {
            last.until = last.until.min(now).max(last.from);
        }
    }

    fn window(&mut self, planned: Timestamp) -> Option<(&mut Window, &Topology)> {
        let at = self.windows.iter().rposition(|window| window.from <= planned)?;
        self.windows.get_mut(at).map(|window| (window, &*self.topology))
    }

    /// A canary was handed to the injector.
    pub fn sent(&mut self, tenant: TenantId, size: u32, planned: Timestamp) {
        if let Some((window, topology)) = self.window(planned) {
            window.at(planned, topology, |figures| figures.sent(tenant, size));
            if let Some(third) = window.third(planned) {
                window.thirds[third].sent += 1;
            }
        }
    }

    /// A canary could not be sent in time.
    pub fn missed(&mut self, planned: Timestamp) {
        if let Some((window, topology)) = self.window(planned) {
            window.at(planned, topology, Figures::missed);
        }
    }

    /// A canary that was handed to the injector was too old when its put would have begun, so it was not sent.
    pub fn not_put(&mut self, tenant: TenantId, size: u32, planned: Timestamp) {
        if let Some((window, topology)) = self.window(planned) {
            window.at(planned, topology, |figures| {
                figures.missed += 1;
                let (sizes, tenants) = (&mut figures.sizes, &mut figures.tenants);
                let parts = [sizes.get_mut(&size), tenants.get_mut(&tenant), Some(&mut figures.whole)];
                parts.into_iter().flatten().for_each(|group| group.sent = group.sent.saturating_sub(1));
            });
            if let Some(third) = window.third(planned) {
                let group = &mut window.thirds[third];
                group.sent = group.sent.saturating_sub(1);
            }
        }
    }

    /// Takes what the tracker said.
    pub fn take(&mut self, event: &Event, tracker: &Tracker) {
        let Some(id) = trace_of(event) else { return };
        let planned = id.planned_at();
        // A leak may be of a canary that somebody else sent.
        let trace = tracker.trace(id);
        let Some((window, topology)) = self.window(planned).filter(|_| trace.is_some()) else { return };
        window.at(planned, topology, |figures| figures.take(event, trace, topology));
        // A third is all that the growth needs of them.
        if let Some(at) = window.third(planned)
            && matches!(event, Event::Ended { .. })
        {
            let mut one = Figures::new(topology);
            one.take(event, trace, topology);
            let third = &mut window.thirds[at];
            third.refused += one.whole.refused;
            third.latency.merge(&one.whole.latency);
        }
    }

    /// Notes the canaries that have an outcome, with each stage at which the end of the run no longer awaits them.
    pub fn leave_unobserved<'a>(&mut self, open: impl Iterator<Item = (&'a Trace, StageId)>) {
        for (trace, stage) in open {
            if let Some((window, topology)) = self.window(trace.planned_at) {
                window.at(trace.planned_at, topology, |figures| figures.not_observed(trace, stage));
            }
        }
    }

    /// Notes the canaries with second copies that the end of the run leaves unchecked.
    pub fn leave_unchecked(&mut self, copies: &BTreeSet<(TraceId, StageId)>) {
        for (id, stage) in copies {
            let planned = id.planned_at();
            if let Some((window, topology)) = self.window(planned) {
                window.at(planned, topology, |figures| figures.not_checked(*stage));
            }
        }
    }

    /// The figures of all windows that are judged.
    #[must_use]
    pub fn judged(&self) -> Figures {
        let mut all = Figures::new(&self.topology);
        self.windows.iter().filter(|it| it.purpose == Purpose::Judged).for_each(|it| all.merge(&it.figures));
        all
    }

    /// Judges thresholds on one trial of a search. `cut_searches` are those of the run, because it is not known of which
    /// trial they are.
    #[must_use]
    pub fn judge_trial(&self, window: &Window, thresholds: &[Threshold], cut_searches: u64) -> Judged {
        let beside = window.beside(cut_searches);
        Judged::of_all(
            thresholds
                .iter()
                .map(|threshold| threshold.judge(window.figures.measure(threshold, &beside, &self.topology))),
        )
    }
}

/// The canary that an event is about; `None` if it is about none of this run.
fn trace_of(event: &Event) -> Option<TraceId> {
    match event {
        Event::Accepted { trace, .. }
        | Event::Ambiguous { trace, .. }
        | Event::Arrived { trace, .. }
        | Event::HopMeasured { trace, .. }
        | Event::HopMissing { trace, .. }
        | Event::HopUnobserved { trace, .. }
        | Event::Ended { trace, .. }
        | Event::LateDiscovery { trace, .. }
        | Event::LateArrival { trace, .. }
        | Event::Duplicate { trace, .. }
        | Event::Corrupted { trace, .. }
        | Event::IsolationViolation { trace, .. } => Some(*trace),
        Event::HopNeverSeen { .. }
        | Event::Planned { .. }
        | Event::Full { .. }
        | Event::Missed { .. }
        | Event::HopOverdue { .. }
        | Event::EndToEnd { .. }
        | Event::Overdue { .. }
        | Event::GaveUp { .. }
        | Event::UnchargedCopy { .. }
        | Event::ForeignTags { .. }
        | Event::Adopted { .. }
        | Event::Stray { .. }
        | Event::SameName { .. }
        | Event::ClockInversion { .. }
        | Event::PollAnswered { .. }
        | Event::PollFailed { .. }
        | Event::WentBlind { .. }
        | Event::SawAgain { .. }
        | Event::Unreadable { .. }
        | Event::FirstSeen { .. }
        | Event::SchemaLearned { .. }
        | Event::SchemaDrifted { .. }
        | Event::SchemaRestored { .. }
        | Event::ClockAdrift { .. }
        | Event::ClockInStep { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topology::fixture::{ACME, topology};
    use crate::load::search::{Rates, Search};

    /// How latency grows in a minute of which the canaries of the first and the last third took at least and at most so
    /// many seconds, and so many never arrived.
    fn growth_between(thirds: [(u64, u64, u64); 2]) -> Option<Span> {
        let (from, until) = (Timestamp::from_secs(0), Timestamp::from_secs(60));
        let mut window = Window::new(&topology(), Purpose::Judged, from, until, 1.0);
        for (group, (least, most, missing)) in window.thirds.iter_mut().zip(thirds) {
            (0..3).for_each(|_| group.latency.add(Duration::from_secs(least), Duration::from_secs(most)));
            group.latency.missing = missing;
        }
        window.growth()
    }

    /// The same, where the latencies are known.
    fn growth([(first, of_first), (last, of_last)]: [(u64, u64); 2]) -> Option<Span> {
        growth_between([(first, first, of_first), (last, last, of_last)])
    }

    /// What a threshold says of a growth, and what a search takes for the throughput of 10/s that broke one.
    fn judged(growth: Option<Span>) -> (Judged, Option<f64>) {
        let judged = Threshold::parse("growth", "value<0.03").unwrap().judge(growth);
        let mut search = Search::new(Rates { rates: vec![10.0], precision: 0.1 });
        search.take(10.0, Judged::Broken, growth);
        (judged, search.throughput())
    }

    #[test]
    fn latency_grows_by_the_difference_of_the_medians() {
        let Span { low, high } = growth([(1, 0), (9, 2)]).unwrap();
        assert!((low - 0.2).abs() < 0.01 && (high - 0.2).abs() < 0.01, "{low} to {high}");
    }

    #[test]
    fn the_interval_of_the_polls_is_no_growth_of_the_pipeline() {
        // The table is polled every 13 seconds. Where a canary lies between two polls is chance.
        for (first, last) in [((1, 14), (1, 14)), ((2, 15), (5, 18)), ((5, 18), (2, 15))] {
            let growth = growth_between([(first.0, first.1, 0), (last.0, last.1, 0)]);
            let (judged, throughput) = judged(growth);
            assert_eq!(judged, Judged::Undecided, "{first:?}, {last:?}: {growth:?}");
            assert_eq!(throughput, None, "{first:?}, {last:?}: {growth:?}");
        }
    }

    #[test]
    fn polls_that_are_short_in_comparison_leave_the_growth_known() {
        let (judged, _) = judged(growth_between([(1, 4, 0), (1, 4, 0)]));
        assert_eq!(judged, Judged::Kept);
    }

    #[test]
    fn a_growth_beyond_the_interval_of_the_polls_is_broken() {
        let (judged, throughput) = judged(growth_between([(1, 3, 0), (21, 23, 0)]));
        assert_eq!(judged, Judged::Broken);
        // By half a second a second: 10/s leave at 10/1.5.
        assert!((throughput.unwrap() - 6.67).abs() < 0.1, "{throughput:?}");
    }

    #[test]
    fn a_median_that_never_arrived_says_nothing_of_the_growth() {
        assert_eq!(growth([(1, 9), (2, 0)]), None);
        assert_eq!(growth([(1, 0), (2, 9)]), None);
        assert_eq!(growth([(1, 9), (2, 9)]), None);
    }

    #[test]
    fn what_was_not_put_in_time_is_missed_and_was_not_sent() {
        let mut record = Record::new(Arc::new(topology()));
        let from = Timestamp::from_secs(0);
        record.begin(Purpose::Judged, from, from + Duration::from_secs(60), 1.0);
        (1..=2).for_each(|second| record.sent(ACME, 500, Timestamp::from_secs(second)));
        record.not_put(ACME, 500, Timestamp::from_secs(1));
        let window = &record.windows[0];
        let figures = &window.figures;
        assert_eq!((figures.planned, figures.missed, window.thirds[0].sent), (2, 1, 1));
        for group in [&figures.whole, &figures.sizes[&500], &figures.tenants[&ACME]] {
            assert_eq!((group.sent, group.refused, group.unknown()), (1, 0, 1));
        }
    }
}
