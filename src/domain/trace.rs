//! The life of one canary, from planned injection to its outcome, as everyone may read it.

use std::time::Duration;

use super::canary::Integrity;
use super::outcome::Outcome;
use super::sighting::{Locator, WantedTrace};
use super::tag::{Tag, TraceId};
use super::time::{Interval, Timestamp};
use super::topology::{StageId, TenantId, Topology};

/// One trace. Written by the tracker only.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// What its tag says.
    pub tag: Tag,
    /// Whose canary it is.
    pub tenant: TenantId,
    /// When it was planned to be injected: latency counts from here.
    pub planned_at: Timestamp,
    /// What became of putting it into the log group.
    pub put: Put,
    /// The put was retried after an answer went missing, so a second copy may be our own doing.
    pub doubled_by_us: bool,
    /// What is known of it at each stage, by [`StageId`].
    pub stages: Vec<Visit>,
    /// Whether it met the end-to-end threshold.
    pub judgement: Judgement,
    /// How it ended and when that was decided; `None` while it is in flight.
    pub ended: Option<(Outcome, Timestamp)>,
    /// It was seen at the end after it had been given up.
    pub found_late: Option<FoundLate>,
    /// How it came to be known.
    pub origin: Origin,
}

impl Trace {
    /// A trace of which nothing is known but its tag.
    #[must_use]
    pub fn new(tag: Tag, tenant: TenantId, stages: usize, origin: Origin) -> Self {
        Self {
            tag,
            tenant,
            planned_at: tag.trace.planned_at(),
            put: Put::Planned,
            doubled_by_us: false,
            stages: vec![Visit::default(); stages],
            judgement: Judgement::Pending,
            ended: None,
            found_late: None,
            origin,
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> TraceId {
        self.tag.trace
    }

    /// What is known of it at one stage.
    #[must_use]
    pub fn visit(&self, stage: StageId) -> &Visit {
        &self.stages[usize::from(stage.0)]
    }

    /// Whether it is known to have entered the pipeline: CloudWatch Logs said so, or it was seen at a stage. Of any
    /// other canary nothing can be said by its absence.
    #[must_use]
    pub fn taken(&self) -> bool {
        matches!(self.put, Put::Accepted { .. }) || self.stages.iter().any(|visit| visit.arrival.is_some())
    }

    /// When the hop into a stage began: at the planned injection, or with the arrival at the stage before.
    #[must_use]
    pub fn hop_start(&self, topology: &Topology, stage: StageId) -> Option<Interval> {
        match topology.stage(stage).parent {
            None => Some(Interval::exactly(self.planned_at)),
            Some(parent) => self.arrival(parent),
        }
    }

    /// What observers are told of it.
    #[must_use]
    pub const fn wanted(&self) -> WantedTrace {
        WantedTrace { tag: self.tag, planned_at: self.planned_at }
    }

    /// Whether the stage was read past the time by which it should have been there, without it. It can still arrive.
    #[must_use]
    pub fn is_missing(&self, topology: &Topology, stage: StageId) -> bool {
        let visit = self.visit(stage);
        let Some(begun) = self.hop_start(topology, stage).filter(|_| self.taken()) else { return false };
        let due = begun.latest + topology.stage(stage).missing_after;
        visit.arrival.is_none() && visit.absent_until.is_some_and(|until| until > due)
    }

    /// Whether it ended otherwise than delivered in time.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.ended.as_ref().is_some_and(|(outcome, _)| outcome.is_failure())
    }

    /// When it arrived at a stage, if it was seen there.
    #[must_use]
    pub fn arrival(&self, stage: StageId) -> Option<Interval> {
        self.visit(stage).arrival.as_ref().map(|arrival| arrival.interval)
    }

    /// End-to-end latency: from the planned injection to the latest instant at which it can have reached the end.
    #[must_use]
    pub fn latency(&self, topology: &Topology) -> Option<Duration> {
        self.arrival(topology.end()).map(|at| at.latest.since(self.planned_at))
    }

    /// The hop it is on, as far as is known: the first one on the main path after the last stage that has it. `None`
    /// once it has reached the end.
    #[must_use]
    pub fn next_stage(&self, topology: &Topology) -> Option<StageId> {
        let path = topology.main_path();
        let seen = path.iter().rposition(|stage| self.visit(*stage).arrival.is_some());
        path.get(seen.map_or(0, |at| at + 1)).copied()
    }

    /// The outcome as people should read it: a trace that turned up after it had been given up is late, or delivered
    /// where it had come in time and merely nobody could see it.
    #[must_use]
    pub fn standing(&self) -> Standing<'_> {
        match (&self.ended, self.found_late) {
            (None, _) => Standing::InFlight,
            (Some((Outcome::Lost(_) | Outcome::Unobserved(_) | Outcome::DeadLettered(_), _)), Some(when)) => {
                Standing::Ended(match when {
                    FoundLate::InTime => &Outcome::Delivered,
                    FoundLate::Late => &Outcome::Late,
                })
            }
            (Some((outcome, _)), _) => Standing::Ended(outcome),
        }
    }
}

/// When a trace that had been given up was at the end after all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundLate {
    /// Before its deadline, or it may have been: we could not see it then.
    InTime,
    /// After its deadline.
    Late,
}

/// How a trace came to be known to this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// Planned by it.
    #[default]
    Planned,
    /// Planned before a restart and remembered by the store. What it was counted as then is not counted again.
    Restored,
    /// Planned before a restart that the store did not survive, and known from its tag alone.
    Adopted,
}

/// Where a trace stands, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing<'a> {
    /// No outcome yet.
    InFlight,
    /// The outcome.
    Ended(&'a Outcome),
}

impl Standing<'_> {
    /// As in filters and JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Ended(outcome) => outcome.label(),
        }
    }
}

/// What became of putting a canary into its log group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// Not heard of yet.
    Planned,
    /// CloudWatch Logs took it.
    Accepted {
        /// When the answer came.
        at: Timestamp,
    },
    /// No answer: it may or may not be in.
    Ambiguous {
        /// When we stopped waiting for the answer.
        at: Timestamp,
    },
    /// CloudWatch Logs did not take it.
    Refused {
        /// When we knew.
        at: Timestamp,
    },
}

/// What is known of a trace at one stage.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Visit {
    /// With its first copy. Where a later look shows another one that may have been stored before the one that was seen
    /// first, its interval begins earlier from then on.
    pub arrival: Option<Arrival>,
    /// It had not arrived before this instant: the watermark of the last look in vain.
    pub absent_until: Option<Timestamp>,
    /// How many looks in vain there were.
    pub empty_polls: u32,
    /// Since the last look in vain the source could not be read.
    pub gap_since_poll: bool,
    /// The last poll that covered it met records that could not be read and may hold it, so it proved nothing.
    pub withheld: bool,
    /// Every stored copy that was seen, the one that was seen first being the first.
    pub copies: Vec<Locator>,
    /// How its hop went.
    pub hop: Hop,
}

impl Visit {
    /// Whether it is proven that it had not arrived by `deadline`.
    #[must_use]
    pub fn absent_at(&self, deadline: Timestamp) -> bool {
        self.arrival.is_none() && self.absent_until.is_some_and(|until| until > deadline)
    }
}

/// The arrival of a canary at a stage.
#[derive(Clone, PartialEq, Debug)]
pub struct Arrival {
    /// When it arrived.
    pub interval: Interval,
    /// When we noticed. The delay is ours and no part of the latency.
    pub noticed_at: Timestamp,
    /// How the copy that was seen first compares with what was sent.
    pub integrity: Integrity,
}

/// How one hop of a trace went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hop {
    /// Not begun, or under way.
    #[default]
    Open,
    /// Under way, and proven to have passed its target.
    Overdue,
    /// Done.
    Measured {
        /// From the parent's arrival to this stage's, both at their latest.
        latency: Duration,
        /// It was proven overdue before it was done.
        was_overdue: bool,
    },
    /// The stage was blind around its target, so nobody can say whether it was met.
    Unjudged,
    /// It arrived before its parent, by more than the clocks may disagree.
    Inverted,
    /// It was counted, or may have been, before a restart, so it enters no series of this process.
    Inherited,
    /// The stage has it although the stage before never showed it.
    Skipped,
    /// It never came this way: proven absent at the deadline.
    Missing,
    /// Not found by the deadline, at a source that has never shown a canary of this tenant.
    NeverSeen,
}

/// Whether a trace met the end-to-end threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Not decided.
    Pending,
    /// It arrived in time.
    Good,
    /// It arrived, but not in time.
    Slow,
    /// It is proven to have missed the threshold, whether it arrived later or not.
    Overdue,
    /// Nobody can say: the end stage was blind when it mattered.
    Unjudged,
}
