//! What is wrong with a trace, and at which stage: what people search for, and what is kept for them longer
//! than traces with which nothing is wrong.

use super::canary::Integrity;
use super::copies::CopyStanding;
use super::outcome::Outcome;
use super::topology::{Role, StageId, Topology};
use super::trace::{Hop, Judgement, Standing, Trace};

/// One thing that is wrong with a trace, the worst first. A trace may have several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Flaw {
    /// A copy was found with another tenant. The trace alone does not tell.
    Leaked,
    /// Given up at its deadline.
    Lost,
    /// Found in a dead-letter stage.
    DeadLettered,
    /// Not there although it should be: it is overdue, or a side stage was read past the time by which it should
    /// have it.
    Missing,
    /// Cut or changed.
    Corrupted,
    /// Stored twice, and not by the probe.
    Duplicated,
    /// Arrived after its deadline.
    Late,
    /// Took longer than the end-to-end threshold.
    Slow,
    /// CloudWatch Logs did not take it.
    Refused,
    /// Its outcome is unknown.
    Unobserved,
}

impl Flaw {
    pub const ALL: [Self; 10] = [
        Self::Leaked,
        Self::Lost,
        Self::DeadLettered,
        Self::Missing,
        Self::Corrupted,
        Self::Duplicated,
        Self::Late,
        Self::Slow,
        Self::Refused,
        Self::Unobserved,
    ];

    /// As in parameters and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::Lost => "lost",
            Self::DeadLettered => "dead_lettered",
            Self::Missing => "missing",
            Self::Corrupted => "corrupted",
            Self::Duplicated => "duplicated",
            Self::Late => "late",
            Self::Slow => "slow",
            Self::Refused => "refused",
            Self::Unobserved => "unobserved",
        }
    }

    /// The flaw that is spelled so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flaw| flaw.as_str() == text)
    }
}

/// Everything that is wrong with a trace, each with the stage or the hop to it; `None` if it never entered the
/// pipeline. Leaks are not among them.
#[must_use]
pub fn flaws(trace: &Trace, map: &Topology) -> Vec<(Flaw, Option<StageId>)> {
    let mut found = Vec::new();
    let end = map.end();
    match trace.standing() {
        Standing::Ended(Outcome::Lost(hops)) => found.push((Flaw::Lost, Some(hops.first))),
        Standing::Ended(Outcome::DeadLettered(stage)) => found.push((Flaw::DeadLettered, Some(*stage))),
        Standing::Ended(Outcome::Late) => found.push((Flaw::Late, Some(end))),
        Standing::Ended(Outcome::Refused(_)) => found.push((Flaw::Refused, None)),
        Standing::Ended(Outcome::Unobserved(_)) => {
            found.push((Flaw::Unobserved, Some(trace.next_stage(map).unwrap_or(end))));
        }
        Standing::Ended(Outcome::Delivered)
            if matches!(trace.judgement, Judgement::Slow | Judgement::Overdue) =>
        {
            found.push((Flaw::Slow, Some(slowest_hop(trace, map).unwrap_or(end))));
        }
        Standing::InFlight => {
            let next = trace.next_stage(map);
            let is_missing =
                |stage: &StageId| trace.judgement == Judgement::Overdue || trace.is_missing(map, *stage);
            found.extend(next.filter(is_missing).map(|stage| (Flaw::Missing, Some(stage))));
        }
        Standing::Ended(Outcome::Delivered) => {}
    }
    for stage in map.stage_ids() {
        let visit = trace.visit(stage);
        let is_side = || !map.main_path().contains(&stage);
        let is_absent = || matches!(visit.hop, Hop::Missing | Hop::NeverSeen) || trace.is_missing(map, stage);
        if visit.arrival.is_none() && is_side() && on_the_way(map, stage) && is_absent() {
            found.push((Flaw::Missing, Some(stage)));
        }
        if visit.copies.iter().any(|copy| copy.standing == CopyStanding::Duplicate) {
            found.push((Flaw::Duplicated, Some(stage)));
        }
        let integrity = visit.arrival.as_ref().map(|arrival| arrival.integrity);
        if matches!(integrity, Some(Integrity::Corrupted { .. })) {
            found.push((Flaw::Corrupted, Some(stage)));
        }
    }
    found
}

/// Whether canaries should be at a stage, unless something is wrong.
fn on_the_way(map: &Topology, stage: StageId) -> bool {
    map.stage(stage).role != Role::DeadLetter
}

/// The hop of the main path that took the longest.
fn slowest_hop(trace: &Trace, map: &Topology) -> Option<StageId> {
    let took = |stage: &StageId| match trace.visit(*stage).hop {
        Hop::Measured { latency, .. } => Some(latency),
        Hop::Open
        | Hop::Overdue
        | Hop::Unjudged
        | Hop::Inverted
        | Hop::Inherited
        | Hop::Skipped
        | Hop::Missing
        | Hop::NeverSeen => None,
    };
    map.main_path().iter().copied().filter(|stage| took(stage).is_some()).max_by_key(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flaw_is_spelled_as_it_is_read() {
        for flaw in Flaw::ALL {
            assert_eq!(Flaw::parse(flaw.as_str()), Some(flaw));
        }
        assert!(Flaw::ALL.is_sorted());
    }
}
