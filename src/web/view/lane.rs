//! What can be said of a trace at each stage, at the instant of a snapshot.
//!
//! The waterfall, the JSON and the page of one trace all read this, so they cannot disagree. It keeps three things
//! apart that look alike from afar: not there yet, provably never there, and nobody could look.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::outcome::Outcome;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::topology::{Role, StageId};
use crate::domain::trace::{Hop, Judgement, Put, Trace, Visit};
use crate::domain::tracker::Snapshot;

/// One stage in the life of one trace.
#[derive(Clone, Debug)]
pub(crate) struct Lane<'a> {
    /// Which stage.
    pub(crate) stage: StageId,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// It is beside the way from injection to the end.
    pub(crate) side: bool,
    /// When its hop began, as far as is known: at the planned injection, or with the parent's arrival.
    pub(crate) begun: Option<Interval>,
    /// What is known of its being there.
    pub(crate) presence: Presence,
    /// How long the hop may take.
    pub(crate) target: Option<Duration>,
    /// All that the tracker knows.
    pub(crate) visit: &'a Visit,
}

/// What is known of a trace's being at a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Presence {
    /// It was seen.
    Seen(Interval),
    /// On its way, and nothing is wrong so far.
    Waiting {
        /// Since its hop began.
        age: Duration,
    },
    /// On its way, and proven to have passed the hop's target or the end-to-end threshold.
    Overdue {
        /// Since its hop began; where the stage cannot be read any more, up to when it was last read.
        age: Duration,
    },
    /// The stage cannot be read, so nobody can say.
    Blind {
        /// Since when.
        since: Timestamp,
    },
    /// Proven absent: it never came.
    Never {
        /// Proven up to this.
        until: Timestamp,
    },
    /// It was not seen, and its absence could not be proven either.
    Unproven,
    /// It has not come to the stage before.
    NotReached,
}

impl Lane<'_> {
    /// How long its hop took.
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

/// What can be said of a trace at each stage: the main path first, then what lies beside it. Dead-letter stages are
/// left out unless they have it.
#[must_use]
pub(crate) fn lanes<'a>(trace: &'a Trace, snapshot: &Snapshot) -> Vec<Lane<'a>> {
    let map = &snapshot.topology;
    let path = map.main_path();
    let beside = map.stage_ids().filter(|stage| !path.contains(stage));
    let shown = |stage: &StageId| match map.stage(*stage).role {
        Role::Way | Role::End => true,
        Role::DeadLetter => trace.arrival(*stage).is_some(),
    };
    path.iter()
        .copied()
        .chain(beside)
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
        // The last hop of a stretch is the one whose end was proven not to have it.
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
    // A trace may have its outcome while a side branch is still watched; on the main path nothing more is waited for.
    let on_main_path = map.main_path().contains(&stage);
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
