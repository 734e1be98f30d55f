//! What the tracker's events said of one canary, summed up.

use std::time::Duration;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::topology::StageId;
use traceprobe::domain::trace::Judgement;
use traceprobe::domain::tracker::Event;

const STAGES: usize = 5;

/// How often a canary entered a latency histogram, and how often its sum and a bucket were raised for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entered {
    pub count: usize,
    pub bucket: usize,
    pub given_up: usize,
    pub unjudged: usize,
    /// It was said to have been counted before, but it was not.
    pub falsely_counted: usize,
    /// What was entered into the sum on arrival.
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
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Heard {
    pub planned: usize,
    pub accepted: usize,
    pub ambiguous: usize,
    pub ended: Vec<Outcome>,
    pub end_to_end: Entered,
    pub hops: [Entered; STAGES],
    pub late: usize,
    pub duplicates: [usize; STAGES],
    pub own_duplicates: [usize; STAGES],
    pub corrupted: [usize; STAGES],
    pub violations: [usize; STAGES],
}

impl Heard {
    /// Which trace an event is about.
    pub fn about(event: &Event) -> Option<TraceId> {
        match event {
            Event::Planned { trace, .. }
            | Event::Accepted { trace, .. }
            | Event::Ambiguous { trace, .. }
            | Event::Arrived { trace, .. }
            | Event::HopMeasured { trace, .. }
            | Event::HopOverdue { trace, .. }
            | Event::HopMissing { trace, .. }
            | Event::EndToEnd { trace, .. }
            | Event::Overdue { trace, .. }
            | Event::GaveUp { trace, .. }
            | Event::Ended { trace, .. }
            | Event::LateArrival { trace, .. }
            | Event::Duplicate { trace, .. }
            | Event::OwnDuplicate { trace, .. }
            | Event::Corrupted { trace, .. }
            | Event::IsolationViolation { trace, .. }
            | Event::ClockInversion { trace, .. } => Some(*trace),
            Event::Stray { .. } | Event::Adopted { .. } | Event::Full { .. } | Event::Missed { .. } => {
                panic!("everything in here is ours, and there is room for it: {event:?}")
            }
            Event::ForeignTags { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::SchemaRestored { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. }
            | Event::Looked { .. }
            | Event::LookFailed { .. }
            | Event::WentBlind { .. }
            | Event::SawAgain { .. } => None,
        }
    }

    pub fn hear(&mut self, event: &Event) {
        let at = |stage: &StageId| usize::from(stage.0);
        match event {
            Event::Planned { .. } => self.planned += 1,
            Event::Accepted { .. } => self.accepted += 1,
            Event::Ambiguous { .. } => self.ambiguous += 1,
            Event::HopMeasured { hop, latency, counted, .. } => {
                let hop = &mut self.hops[at(hop)];
                hop.count(*counted);
                hop.bucket += 1;
                hop.latency = Some(*latency);
            }
            Event::HopOverdue { hop, .. } => self.hops[at(hop)].count += 1,
            Event::HopMissing { hop, counted, .. } => {
                let hop = &mut self.hops[at(hop)];
                hop.count(*counted);
                hop.given_up += 1;
            }
            Event::EndToEnd { judgement: Judgement::Unjudged, .. } => self.end_to_end.unjudged += 1,
            Event::EndToEnd { latency, counted, .. } => {
                self.end_to_end.count(*counted);
                self.end_to_end.bucket += 1;
                self.end_to_end.latency = Some(*latency);
            }
            Event::Overdue { .. } => self.end_to_end.count += 1,
            Event::GaveUp { counted, .. } => {
                self.end_to_end.count(*counted);
                self.end_to_end.given_up += 1;
            }
            Event::Ended { outcome, .. } => self.ended.push(outcome.clone()),
            Event::LateArrival { .. } => self.late += 1,
            Event::Duplicate { stage, .. } => self.duplicates[at(stage)] += 1,
            Event::OwnDuplicate { stage, .. } => self.own_duplicates[at(stage)] += 1,
            Event::Corrupted { stage, .. } => self.corrupted[at(stage)] += 1,
            Event::IsolationViolation { stage, .. } => self.violations[at(stage)] += 1,
            Event::Arrived { .. }
            | Event::ClockInversion { .. }
            | Event::Adopted { .. }
            | Event::Stray { .. }
            | Event::Full { .. }
            | Event::Missed { .. }
            | Event::ForeignTags { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::SchemaRestored { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. }
            | Event::Looked { .. }
            | Event::LookFailed { .. }
            | Event::WentBlind { .. }
            | Event::SawAgain { .. } => {}
        }
    }
}
