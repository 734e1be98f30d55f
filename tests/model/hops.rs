//! The judge of hops: the same rules as end to end, with the arrival at the parent as the start and the
//! stage's target as the threshold.

use std::time::Duration;

use super::history::*;
use super::judge::{Case, micros};
use super::recorded::Entered;

/// The state of one hop of a canary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HopState {
    /// Not begun, in progress, or unknown.
    Open,
    /// Proven to take longer than its target, and counted.
    Overdue,
    Measured {
        took: Duration,
        was_overdue: bool,
    },
    /// It ended, but whether within the target cannot be determined, because polls failed.
    Unjudged,
    /// Its end was before its start by more than the intervals explain.
    Inverted,
    /// A previous run counted it.
    Inherited,
    /// Its end was seen, but not its start.
    Skipped,
    /// Proven never to have ended.
    Missing,
    /// The same at a source that has never shown a canary of the tenant.
    NeverSeen,
}

/// Judges every hop by what is known so far.
pub fn judge(case: &mut Case<'_>) {
    for stage in case.history.rules.expected_stages() {
        let overdue = case.hops[stage] == HopState::Overdue;
        if !overdue && case.hops[stage] != HopState::Open {
            continue;
        }
        let Some((began_earliest, began_latest)) = began(case, stage) else { continue };
        let target = began_latest + case.history.rules.stages[stage].target;
        let known = case.known[stage];
        let Some(arrived) = known.arrived else {
            // A canary that CloudWatch Logs did not take is not slow.
            if !overdue && known.absent_before > target && case.taken() {
                case.hops[stage] = HopState::Overdue;
                entered(case, stage).count += 1;
            }
            continue;
        };
        let either_side = arrived.earliest <= target && arrived.latest > target;
        case.hops[stage] = if arrived.latest < began_earliest {
            case.inversions[stage] += 1;
            HopState::Inverted
        } else if either_side && known.gap && !overdue {
            HopState::Unjudged
        } else {
            // If the order of start and end is unknown, the latency is 0.
            let took = micros(arrived.latest - began_latest);
            let series = entered(case, stage);
            series.count += usize::from(!overdue);
            series.bucket += 1;
            series.latency = Some(took);
            HopState::Measured { took, was_overdue: overdue }
        };
    }
}

/// Judges the hops that are still open when the canary is no longer waited for.
pub fn close(case: &mut Case<'_>) {
    for stage in case.history.rules.expected_stages() {
        let overdue = case.hops[stage] == HopState::Overdue;
        let inherited = case.hops[stage] == HopState::Inherited;
        if !overdue && !inherited && case.hops[stage] != HopState::Open {
            continue;
        }
        let known = case.known[stage];
        if known.arrived.is_some() {
            if !inherited {
                case.hops[stage] = HopState::Skipped;
            }
        } else if let Some((_, began)) = began(case, stage).filter(|_| case.taken()) {
            // A hop that began late may have been within its target when the canary was given up.
            let due = case.deadline().max(began + case.history.rules.stages[stage].target);
            if known.absent_before <= due {
                continue;
            }
            case.hops[stage] = if case.has_seen(stage) { HopState::Missing } else { HopState::NeverSeen };
            // A previous run entered it.
            if inherited {
                continue;
            }
            let series = entered(case, stage);
            series.count += usize::from(!overdue);
            series.given_up += 1;
        }
    }
}

/// After a step of the clock: what is under way is not judged.
pub fn abandon(case: &mut Case<'_>) {
    for (hop, known) in case.hops.iter_mut().zip(&case.known) {
        if known.arrived.is_none() || matches!(hop, HopState::Open | HopState::Overdue) {
            *hop = HopState::Unjudged;
        }
    }
}

/// After a restart: what a previous run counted is in no series of this one.
pub fn inherit(hops: &mut [HopState; STAGES]) {
    for hop in hops.iter_mut().filter(|hop| **hop == HopState::Overdue) {
        *hop = HopState::Inherited;
    }
}

/// The interval of the arrival at the parent stage; `None` if it was not seen there.
pub fn began(case: &Case<'_>, stage: usize) -> Option<(Micros, Micros)> {
    match case.history.rules.stages[stage].parent {
        None => Some((case.canary().planned, case.canary().planned)),
        Some(parent) => case.known[parent].arrived.map(|at| (at.earliest, at.latest)),
    }
}

fn entered<'a>(case: &'a mut Case<'_>, stage: usize) -> &'a mut Entered {
    &mut case.runs.entry(case.run).or_default().hops[stage]
}
