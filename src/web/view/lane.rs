//! The state of a trace at each stage, at the instant of a snapshot.
//!
//! The waterfall, the JSON and the page of one trace all read this, so they cannot disagree. It distinguishes
//! three states that are easily confused: not there yet, proven absent, and unknown because the stage could
//! not be read.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::outcome::Outcome;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::topology::{Role, StageId};
use crate::domain::trace::{Hop, Judgement, Put, Trace, Visit};
use crate::domain::tracker::Snapshot;

/// One stage of one trace.
#[derive(Clone, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) stage: StageId,
    pub(crate) name: Arc<str>,
    /// Whether it is a side stage.
    pub(crate) side: bool,
    /// When its hop began: at the planned injection, or with the parent's arrival. `None` if that is unknown.
    pub(crate) begun: Option<Interval>,
    /// What is known about its presence.
    pub(crate) presence: Presence,
    /// How long the hop may take.
    pub(crate) target: Option<Duration>,
    /// What the tracker knows.
    pub(crate) visit: &'a Visit,
}

/// What is known about the presence of a trace at a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    /// It was seen.
    Seen(Interval),
    /// Expected, and not late so far.
    Waiting {
        /// Time since its hop began.
        age: Duration,
    },
    /// Expected, and proven to have exceeded the hop's target or the end-to-end threshold.
    Overdue {
        /// Time since its hop began; if the stage can no longer be read, until it was last read.
        age: Duration,
    },
    /// Unknown, because the stage cannot be read.
    Blind {
        /// Since when it cannot be read.
        since: Timestamp,
    },
    /// Proven absent.
    Never {
        /// The end of the proven absence.
        until: Timestamp,
    },
    /// Neither seen nor proven absent.
    Unproven,
    /// Not seen at the stage before, or dead-lettered before it.
    NotReached,
}

impl Lane<'_> {
    /// The latency of its hop, if it was measured.
    #[must_use]
    pub(crate) fn latency(&self) -> Option<Duration> {
        match self.visit.hop {
            Hop::Measured { latency, .. } => Some(latency),
            Hop::Open
            | Hop::Overdue
            | Hop::Unjudged
            | Hop::Inverted
            | Hop::Inherited
            | Hop::Skipped
            | Hop::Missing
            | Hop::NeverSeen => None,
        }
    }

    /// Whether its hop took longer than its target.
    #[must_use]
    pub(crate) fn over_target(&self) -> bool {
        self.latency().zip(self.target).is_some_and(|(latency, target)| latency > target)
    }
}

/// The lanes of a trace: the main path first, then side stages. Dead-letter stages are left out unless the
/// trace was seen there.
#[must_use]
pub(crate) fn lanes<'a>(trace: &'a Trace, snapshot: &Snapshot) -> Vec<Lane<'a>> {
    let map = &snapshot.topology;
    let path = map.main_path();
    let side_stages = map.stage_ids().filter(|stage| !path.contains(stage));
    let shown = |stage: &StageId| match map.stage(*stage).role {
        Role::Way | Role::End => true,
        Role::DeadLetter => trace.arrival(*stage).is_some(),
    };
    path.iter()
        .copied()
        .chain(side_stages)
        .filter(shown)
        .map(|stage| {
            let spec = map.stage(stage);
            Lane {
                stage,
                name: spec.name.clone(),
                side: !path.contains(&stage),
                begun: trace.hop_start(map, stage),
                presence: presence(trace, stage, snapshot),
                target: spec.target,
                visit: trace.visit(stage),
            }
        })
        .collect()
}

fn presence(trace: &Trace, stage: StageId, snapshot: &Snapshot) -> Presence {
    let map = &snapshot.topology;
    let visit = trace.visit(stage);
    if let Some(arrived) = trace.arrival(stage) {
        return Presence::Seen(arrived);
    }
    let proven = visit.absent_until;
    if let (Some((Outcome::Lost(hops), _)), Some(until)) = (&trace.ended, proven) {
        // The last hop of a range is the one whose stage is proven not to have it.
        if hops.last == stage {
            return Presence::Never { until };
        }
    }
    let Some(begun) = trace.hop_start(map, stage) else {
        return Presence::NotReached;
    };
    let refused = matches!(trace.ended, Some((Outcome::Refused(_), _)));
    if refused || matches!(trace.put, Put::Refused { .. }) {
        return Presence::NotReached;
    }
    if let (Hop::Missing, Some(until)) = (visit.hop, proven) {
        return Presence::Never { until };
    }
    // Side stages are still watched after a trace has its outcome; the main path is not.
    let on_main_path = map.main_path().contains(&stage);
    // It is known where it went instead.
    if on_main_path && matches!(trace.ended, Some((Outcome::DeadLettered(_), _))) {
        return Presence::NotReached;
    }
    let settled = match &trace.ended {
        Some((Outcome::Lost(_) | Outcome::Unobserved(_), _)) => on_main_path,
        Some((Outcome::DeadLettered(_), _)) => true,
        Some((Outcome::Delivered | Outcome::Late | Outcome::Refused(_), _)) | None => false,
    };
    let open = snapshot.open.binary_search_by_key(&trace.id(), |open| open.id()).is_ok();
    if settled || !open {
        return Presence::Unproven;
    }
    let view = &snapshot.sources[map.source_of(trace.tenant, stage).0 as usize];
    let late_for_end = trace.judgement == Judgement::Overdue && trace.next_stage(map) == Some(stage);
    match (visit.hop == Hop::Overdue || late_for_end, view.blind_for(trace.tenant).map(|(since, _)| since)) {
        (true, None) => Presence::Overdue { age: snapshot.at.since(begun.latest) },
        (true, Some(_)) => Presence::Overdue { age: proven.unwrap_or(begun.latest).since(begun.latest) },
        (false, Some(since)) => Presence::Blind { since },
        (false, None) => Presence::Waiting { age: snapshot.at.since(begun.latest) },
    }
}
