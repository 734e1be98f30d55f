//! What one canary says about a hop, or end to end.
//!
//! The same as in the histograms and on the page: a canary is part of the figures once it arrived or is
//! proven to be late. What a stage that cannot be read hides says nothing.

use std::time::Duration;

use super::Settings;
use crate::domain::outcome::Outcome;
use crate::domain::topology::{StageId, Topology};
use crate::domain::trace::{Hop, Judgement, Trace};

/// What one canary says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    /// Nothing, so far or for ever.
    Not,
    Arrived {
        latency: Duration,
        /// Whether it met the target.
        met: bool,
    },
    /// It has not arrived, and is proven to take longer than `longer_than`.
    Absent {
        longer_than: Duration,
        /// It never will.
        lost: bool,
    },
}

/// End to end.
pub(super) fn end_to_end(trace: &Trace, map: &Topology, settings: Settings) -> Judged {
    match trace.judgement {
        Judgement::Pending | Judgement::Unjudged => return Judged::Not,
        Judgement::Good | Judgement::Slow | Judgement::Overdue => {}
    }
    let longer_than = match &trace.ended {
        // An arrival after a trace was given up changes no figure.
        Some((Outcome::Lost(_) | Outcome::DeadLettered(_), _)) => {
            return Judged::Absent { longer_than: settings.give_up, lost: true };
        }
        Some((Outcome::Unobserved(_), _)) => settings.give_up,
        Some((Outcome::Delivered | Outcome::Late | Outcome::Refused(_), _)) | None => {
            if let Some(latency) = trace.latency(map) {
                return Judged::Arrived { latency, met: trace.judgement == Judgement::Good };
            }
            let proven = trace.visit(map.end()).absent_until.map(|until| until.since(trace.planned_at));
            proven.unwrap_or_default().max(settings.slo)
        }
    };
    Judged::Absent { longer_than, lost: false }
}

/// The hop into a stage.
pub(super) fn hop(trace: &Trace, map: &Topology, stage: StageId, settings: Settings) -> Judged {
    let Some(begun) = trace.hop_start(map, stage).map(|begun| begun.latest) else { return Judged::Not };
    let (visit, target) = (trace.visit(stage), map.stage(stage).target);
    let absent = |lost| {
        let longer_than = visit.absent_until.map(|until| until.since(begun)).unwrap_or_default();
        Judged::Absent { longer_than, lost }
    };
    match (visit.hop, trace.arrival(stage)) {
        (Hop::Measured { latency, was_overdue }, Some(arrived)) => {
            // How exactly the probe can tell must not make a hop look slow, as for its condition.
            let is_over = target.is_some_and(|target| arrived.earliest.since(begun) > target);
            Judged::Arrived { latency, met: !was_overdue && !is_over }
        }
        // The run that counted it knew that it was overdue.
        (Hop::Inherited, Some(arrived)) => {
            Judged::Arrived { latency: arrived.latest.since(begun), met: false }
        }
        (Hop::Inherited, None) => {
            let given_up =
                matches!(trace.ended, Some((Outcome::Lost(_) | Outcome::Delivered | Outcome::Late, _)));
            absent(given_up && visit.absent_at(trace.planned_at + settings.give_up))
        }
        (Hop::Overdue | Hop::NeverSeen, None) => absent(false),
        (Hop::Missing, None) => absent(true),
        // A hop without a target is never overdue, but may be missing. What a later stage shows passed this
        // one unseen.
        (Hop::Open, None) if trace.is_missing(map, stage) && !is_past(trace, map, stage) => absent(false),
        (Hop::Open | Hop::Unjudged | Hop::Inverted | Hop::Skipped, _)
        | (Hop::Measured { .. }, None)
        | (Hop::Overdue | Hop::Missing | Hop::NeverSeen, Some(_)) => Judged::Not,
    }
}

/// Whether a later stage of the main path has it.
fn is_past(trace: &Trace, map: &Topology, stage: StageId) -> bool {
    let path = map.main_path();
    let at = path.iter().position(|on_path| *on_path == stage);
    at.is_some_and(|at| path[at + 1..].iter().any(|later| trace.arrival(*later).is_some()))
}
