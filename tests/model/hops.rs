//! The judge of hops: DESIGN's rule for the whole way, with the parent's arrival as the start and the stage's own target
//! as the threshold.

use std::time::Duration;

use super::heard::Entered;
use super::history::*;
use super::judge::{Case, micros};

/// How one hop of a canary went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hopped {
    /// Not begun, under way, or nobody can say.
    Open,
    /// Proven to have taken longer than its target; it is in the count.
    Overdue,
    Measured {
        took: Duration,
        was_overdue: bool,
    },
    /// It was over within the target or not; nobody could see.
    Unjudged,
    /// It ended before it began.
    Inverted,
    /// An earlier life counted it.
    Inherited,
    /// It ended, but nobody saw it begin.
    Skipped,
    /// It never ended.
    Missing,
}

/// Says of every hop what can be said by now.
pub fn judge(case: &mut Case<'_>) {
    for stage in case.history.rules.on_the_way() {
        let overdue = case.hops[stage] == Hopped::Overdue;
        if !overdue && case.hops[stage] != Hopped::Open {
            continue;
        }
        let Some((began_earliest, began_latest)) = began(case, stage) else { continue };
        let target = began_latest + case.history.rules.stages[stage].target;
        let known = case.known[stage];
        let Some(arrived) = known.arrived else {
            // What was never let in is not slow.
            if !overdue && known.absent_before > target && case.taken() {
                case.hops[stage] = Hopped::Overdue;
                entered(case, stage).count += 1;
            }
            continue;
        };
        let either_side = arrived.earliest <= target && arrived.latest > target;
        case.hops[stage] = if arrived.latest < began_earliest {
            case.inversions[stage] += 1;
            Hopped::Inverted
        } else if either_side && known.gap && !overdue {
            Hopped::Unjudged
        } else {
            // Of two instants that may be either way round, the hop between them took no time.
            let took = micros(arrived.latest - began_latest);
            let series = entered(case, stage);
            series.count += usize::from(!overdue);
            series.bucket += 1;
            series.latency = Some(took);
            Hopped::Measured { took, was_overdue: overdue }
        };
    }
}

/// Nobody waits any longer: whatever has not ended by now did not.
pub fn close(case: &mut Case<'_>) {
    for stage in case.history.rules.on_the_way() {
        let overdue = case.hops[stage] == Hopped::Overdue;
        if !overdue && case.hops[stage] != Hopped::Open {
            continue;
        }
        let known = case.known[stage];
        if known.arrived.is_some() {
            case.hops[stage] = Hopped::Skipped;
        } else if let Some((_, began)) = began(case, stage).filter(|_| case.taken()) {
            // One that began late may have been within its target yet when the whole was given up.
            let due = case.deadline().max(began + case.history.rules.stages[stage].target);
            if known.absent_before <= due {
                continue;
            }
            case.hops[stage] = Hopped::Missing;
            let series = entered(case, stage);
            series.count += usize::from(!overdue);
            series.given_up += 1;
        }
    }
}

/// Another life of the probe knows them: what an earlier one counted is in no series of this one.
pub fn inherit(hops: &mut [Hopped; STAGES]) {
    for hop in hops.iter_mut().filter(|hop| **hop == Hopped::Overdue) {
        *hop = Hopped::Inherited;
    }
}

/// When it was at the stage before, at the earliest and at the latest.
fn began(case: &Case<'_>, stage: usize) -> Option<(Micros, Micros)> {
    match case.history.rules.stages[stage].parent {
        None => Some((case.canary().planned, case.canary().planned)),
        Some(parent) => case.known[parent].arrived.map(|at| (at.earliest, at.latest)),
    }
}

fn entered<'a>(case: &'a mut Case<'_>, stage: usize) -> &'a mut Entered {
    &mut case.runs.entry(case.run).or_default().hops[stage]
}
