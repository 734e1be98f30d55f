//! The tracker's events about one canary, added up.
//!
//! Counters end with their process, so entries into series are kept by run. Events that occur once per canary
//! are not.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::domain::copies::UnchargedReason;
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::topology::StageId;
use traceprobe::domain::trace::Judgement;
use traceprobe::domain::tracker::Event;

use super::copies::Why;
use super::history::STAGES;

/// How often a canary was entered into a latency histogram: its count, and its sum with a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entered {
    pub count: usize,
    pub bucket: usize,
    pub given_up: usize,
    pub unjudged: usize,
    /// Events that claim an earlier count that did not happen.
    pub falsely_counted: usize,
    /// The value added to the sum on arrival.
    pub latency: Option<Duration>,
}

impl Entered {
    fn count(&mut self, counted_before: bool) {
        if counted_before {
            self.falsely_counted += usize::from(self.count == 0);
        } else {
            self.count += 1;
        }
    }

    fn give_up(&mut self, counted_before: bool) {
        self.count(counted_before);
        self.given_up += 1;
    }
}

/// What one run of the probe entered for a canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entries {
    pub end_to_end: Entered,
    pub hops: [Entered; STAGES],
    /// A leak that is read again in another run is reported again, because this test does not restore leaks.
    pub violations: [usize; STAGES],
}

/// By the number of the run, counted from 0. A run without entries is left out.
pub type Runs = BTreeMap<usize, Entries>;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recorded {
    pub planned: usize,
    pub accepted: usize,
    pub ambiguous: usize,
    pub ended: Vec<Outcome>,
    /// Of these, those that another process counts.
    pub left_to_another: usize,
    /// `Adopted`.
    pub adopted: usize,
    /// `LateDiscovery`: found after another outcome, but in time.
    pub found: usize,
    /// `LateArrival`: found after another outcome, and late.
    pub late: usize,
    pub arrived: [usize; STAGES],
    pub inversions: [usize; STAGES],
    /// `HopMissing`.
    pub missing_hops: [usize; STAGES],
    /// `HopNeverSeen`.
    pub never_seen: [usize; STAGES],
    pub duplicates: [usize; STAGES],
    /// By stage and reason.
    pub uncharged_copies: BTreeMap<(usize, Why), usize>,
    pub corrupted: [usize; STAGES],
    pub runs: Runs,
    /// For each instant at which it was checked: the stages at which it was missing.
    pub missing: Vec<[bool; STAGES]>,
}

impl Recorded {
    /// The trace that an event is about.
    pub fn about(event: &Event) -> Option<TraceId> {
        match event {
            Event::Planned { trace, .. }
            | Event::Accepted { trace, .. }
            | Event::Ambiguous { trace, .. }
            | Event::Arrived { trace, .. }
            | Event::HopMeasured { trace, .. }
            | Event::HopOverdue { trace, .. }
            | Event::HopMissing { trace, .. }
            | Event::HopNeverSeen { trace, .. }
            | Event::HopUnobserved { trace, .. }
            | Event::EndToEnd { trace, .. }
            | Event::Overdue { trace, .. }
            | Event::GaveUp { trace, .. }
            | Event::Ended { trace, .. }
            | Event::LateDiscovery { trace, .. }
            | Event::LateArrival { trace, .. }
            | Event::Duplicate { trace, .. }
            | Event::UnchargedCopy { trace, .. }
            | Event::Corrupted { trace, .. }
            | Event::IsolationViolation { trace, .. }
            | Event::Adopted { trace, .. }
            | Event::ClockInversion { trace, .. } => Some(*trace),
            Event::Full { .. } | Event::Missed { .. } => {
                panic!("there is room for all canaries: {event:?}")
            }
            Event::Stray { .. }
            | Event::ForeignTags { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::SchemaRestored { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. }
            | Event::PollAnswered { .. }
            | Event::Unreadable { .. }
            | Event::FirstSeen { .. }
            | Event::SameName { .. }
            | Event::PollFailed { .. }
            | Event::WentBlind { .. }
            | Event::SawAgain { .. } => None,
        }
    }

    /// Adds an event of the given run.
    pub fn record(&mut self, event: &Event, run: usize) {
        let at = |stage: &StageId| usize::from(stage.0);
        match event {
            Event::Planned { .. } => self.planned += 1,
            Event::Accepted { .. } => self.accepted += 1,
            Event::Ambiguous { .. } => self.ambiguous += 1,
            Event::HopMeasured { hop, latency, counted, .. } => {
                let hop = &mut self.run(run).hops[at(hop)];
                hop.count(*counted);
                hop.bucket += 1;
                hop.latency = Some(*latency);
            }
            Event::HopOverdue { hop, .. } => self.run(run).hops[at(hop)].count += 1,
            Event::HopMissing { hop, waited, counted, .. } => {
                self.missing_hops[at(hop)] += 1;
                self.gave_up(run, at(hop), *waited, *counted);
            }
            Event::HopNeverSeen { hop, waited, counted, .. } => {
                self.never_seen[at(hop)] += 1;
                self.gave_up(run, at(hop), *waited, *counted);
            }
            Event::EndToEnd { judgement: Judgement::Unjudged, .. } => {
                self.run(run).end_to_end.unjudged += 1;
            }
            Event::EndToEnd { latency, counted, .. } => {
                let end_to_end = &mut self.run(run).end_to_end;
                end_to_end.count(*counted);
                end_to_end.bucket += 1;
                end_to_end.latency = Some(*latency);
            }
            Event::Overdue { .. } => self.run(run).end_to_end.count += 1,
            Event::GaveUp { counted, .. } => self.run(run).end_to_end.give_up(*counted),
            Event::Ended { outcome, adopted, .. } => {
                self.ended.push(outcome.clone());
                self.left_to_another += usize::from(*adopted);
            }
            Event::Adopted { .. } => self.adopted += 1,
            Event::LateDiscovery { .. } => self.found += 1,
            Event::LateArrival { .. } => self.late += 1,
            Event::Duplicate { stage, .. } => self.duplicates[at(stage)] += 1,
            Event::UnchargedCopy { stage, reason, .. } => {
                *self.uncharged_copies.entry((at(stage), why(*reason))).or_default() += 1;
            }
            Event::Corrupted { stage, .. } => self.corrupted[at(stage)] += 1,
            Event::IsolationViolation { stage, .. } => self.run(run).violations[at(stage)] += 1,
            Event::Arrived { stage, .. } => self.arrived[at(stage)] += 1,
            Event::ClockInversion { stage, .. } => self.inversions[at(stage)] += 1,
            Event::Stray { .. }
            | Event::HopUnobserved { .. }
            | Event::Full { .. }
            | Event::Missed { .. }
            | Event::ForeignTags { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::SchemaRestored { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. }
            | Event::PollAnswered { .. }
            | Event::Unreadable { .. }
            | Event::FirstSeen { .. }
            | Event::SameName { .. }
            | Event::PollFailed { .. }
            | Event::WentBlind { .. }
            | Event::SawAgain { .. } => {}
        }
    }

    /// A hop was given up. Without `waited`, a previous run entered it.
    fn gave_up(&mut self, run: usize, hop: usize, waited: Option<Duration>, counted: bool) {
        if waited.is_some() {
            self.run(run).hops[hop].give_up(counted);
        }
    }

    fn run(&mut self, run: usize) -> &mut Entries {
        self.runs.entry(run).or_default()
    }
}

/// Why the tracker does not charge a copy.
pub fn why(reason: UnchargedReason) -> Why {
    match reason {
        UnchargedReason::RetriedPut => Why::RetriedPut,
        UnchargedReason::SameRecord => Why::SameObject,
        UnchargedReason::Mention => Why::Mention,
        UnchargedReason::Moved => Why::Moved,
        UnchargedReason::Unknown => Why::Unknown,
        UnchargedReason::SecondSender => Why::SecondSender,
    }
}
