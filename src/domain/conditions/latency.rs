//! Right-censored latencies, end to end and of a hop.

use crate::domain::quantile::Sample;
use crate::domain::topology::StageId;
use crate::domain::trace::{Hop, Judgement, Trace};
use crate::domain::tracker::Snapshot;

/// End-to-end latencies of the judged traces: those that have not arrived count as longer than their age.
#[must_use]
pub fn end_to_end(snapshot: &Snapshot, traces: &[&Trace]) -> Sample {
    let mut sample = Sample::default();
    for trace in traces {
        match (trace.judgement, trace.latency(&snapshot.topology)) {
            (Judgement::Good | Judgement::Slow, Some(latency)) => sample.arrived(latency),
            (Judgement::Overdue, _) | (Judgement::Slow, None) => {
                sample.missing(snapshot.at.since(trace.planned_at))
            }
            (Judgement::Pending | Judgement::Unjudged | Judgement::Good, _) => {}
        }
    }
    sample
}

/// Latencies of the hop into a stage, and how many traces have not arrived: they count as longer than they
/// are proven absent.
#[must_use]
pub fn of_hop(snapshot: &Snapshot, stage: StageId, traces: &[&Trace]) -> (Sample, usize) {
    let (mut sample, mut missing) = (Sample::default(), 0);
    for trace in traces {
        let visit = trace.visit(stage);
        let begun = trace.hop_start(&snapshot.topology, stage).map(|start| start.latest);
        match (visit.hop, begun, visit.absent_until) {
            (Hop::Measured { latency, .. }, _, _) => sample.arrived(latency),
            // Only polls prove how long it has been absent; the passing of time does not.
            (Hop::Overdue | Hop::Missing | Hop::NeverSeen, Some(begun), Some(absent_until)) => {
                sample.missing(absent_until.since(begun));
                missing += 1;
            }
            (Hop::Overdue | Hop::Missing | Hop::NeverSeen, _, _)
            | (Hop::Open | Hop::Unjudged | Hop::Inverted | Hop::Inherited | Hop::Skipped, _, _) => {}
        }
    }
    (sample, missing)
}
