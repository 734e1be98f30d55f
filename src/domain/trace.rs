//! The history of one canary, from planned injection to its outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use super::canary::Integrity;
use super::copies::{CopyStanding, StoredCopy};
use super::format::FoundIn;
use super::outcome::Outcome;
use super::sighting::{Stamp, WantedTrace};
use super::tag::{InstanceCode, Tag, TraceId};
use super::time::{Interval, Timestamp};
use super::topology::{LogGroupId, StageId, TenantId, Topology};

/// One trace. Only the tracker changes it; everything else reads it in snapshots.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    pub tag: Tag,
    /// The tenant whose canary it is.
    pub tenant: TenantId,
    /// The log group that it was put into; `None` if it is known only by its tag, or if the tenant does not have
    /// the log group any more.
    pub log_group: Option<LogGroupId>,
    /// The planned injection, from which latency counts.
    pub planned_at: Timestamp,
    /// The result of putting it into the log group.
    pub put: Put,
    /// The put was retried after a missing answer, so a second copy may be our own.
    pub doubled_by_us: bool,
    /// What is known about it at each stage, indexed by [`StageId`].
    pub stages: Vec<Visit>,
    /// Whether it met the end-to-end threshold.
    pub judgement: Judgement,
    /// The outcome and when it was decided; `None` while it is in flight.
    pub ended: Option<(Outcome, Timestamp)>,
    /// Set if it was seen at the end stage after it had been given up.
    pub found_late: Option<FoundLate>,
    /// How this process came to know it.
    pub origin: Origin,
}

impl Trace {
    /// A trace of which only the tag is known.
    #[must_use]
    pub fn new(tag: Tag, tenant: TenantId, stages: usize, origin: Origin) -> Self {
        Self {
            tag,
            tenant,
            log_group: None,
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

    #[must_use]
    pub const fn id(&self) -> TraceId {
        self.tag.trace
    }

    /// Whether it has a second copy that may have been moved, of which it will be checked whether both exist.
    #[must_use]
    pub fn has_unchecked_copy(&self) -> bool {
        let mut copies = self.stages.iter().flat_map(|visit| &visit.copies);
        copies.any(|copy| matches!(copy.standing, CopyStanding::Pending(_)))
    }

    /// What is known about it at one stage: nothing, if the stage was added after this was written.
    #[must_use]
    pub fn visit(&self, stage: StageId) -> &Visit {
        static NONE: Visit = Visit {
            arrival: None,
            absent_until: None,
            empty_polls: 0,
            gap_since_poll: false,
            withheld: false,
            copies: Vec::new(),
            hop: Hop::Open,
        };
        self.stages.get(usize::from(stage.0)).unwrap_or(&NONE)
    }

    /// Whether it certainly entered the pipeline: CloudWatch Logs accepted it, or it was seen at a stage. The
    /// absence of any other canary proves nothing.
    #[must_use]
    pub fn taken(&self) -> bool {
        matches!(self.put, Put::Accepted { .. }) || self.stages.iter().any(|visit| visit.arrival.is_some())
    }

    /// When the hop into a stage began: at the planned injection, or with the arrival at the parent stage.
    /// `None` if it was not seen at the parent stage.
    #[must_use]
    pub fn hop_start(&self, topology: &Topology, stage: StageId) -> Option<Interval> {
        match topology.stage(stage).parent {
            None => Some(Interval::exactly(self.planned_at)),
            Some(parent) => self.arrival(parent),
        }
    }

    /// The other processes that are known to have sent the same slot.
    pub fn other_senders(&self) -> BTreeSet<InstanceCode> {
        self.stages.iter().flat_map(|visit| &visit.copies).filter_map(|copy| copy.other_sender).collect()
    }

    /// What an observer needs to find it.
    #[must_use]
    pub const fn wanted(&self) -> WantedTrace {
        WantedTrace { tag: self.tag, planned_at: self.planned_at }
    }

    /// Whether the stage was read past the time by which it should have arrived, without it. It can still
    /// arrive.
    #[must_use]
    pub fn is_missing(&self, topology: &Topology, stage: StageId) -> bool {
        let visit = self.visit(stage);
        let Some(begun) = self.hop_start(topology, stage).filter(|_| self.taken()) else { return false };
        let due = begun.latest + topology.stage(stage).missing_after;
        visit.arrival.is_none() && visit.absent_until.is_some_and(|until| until > due)
    }

    /// Whether it has an outcome other than delivered.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.ended.as_ref().is_some_and(|(outcome, _)| outcome.is_failure())
    }

    /// When it arrived at a stage; `None` if it was not seen there.
    #[must_use]
    pub fn arrival(&self, stage: StageId) -> Option<Interval> {
        self.visit(stage).arrival.as_ref().map(|arrival| arrival.interval)
    }

    /// End-to-end latency: from the planned injection to the latest instant at which it can have reached the
    /// end stage.
    #[must_use]
    pub fn latency(&self, topology: &Topology) -> Option<Duration> {
        self.arrival(topology.end()).map(|at| at.latest.since(self.planned_at))
    }

    /// The hop it is on, as far as is known: the first on the main path after the last stage that has it.
    /// `None` once it has reached the end.
    #[must_use]
    pub fn next_stage(&self, topology: &Topology) -> Option<StageId> {
        let path = topology.main_path();
        let seen = path.iter().rposition(|stage| self.visit(*stage).arrival.is_some());
        path.get(seen.map_or(0, |at| at + 1)).copied()
    }

    /// The outcome as people should read it. A trace that was seen at the end after it had been given up is
    /// late, or delivered if it may have arrived in time while the stage could not be read.
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

/// When a trace that had been given up reached the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundLate {
    /// Before its deadline, or possibly before it, while the stage could not be read.
    InTime,
    /// After its deadline.
    Late,
}

/// How a trace came to be known to this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// Planned by this process.
    #[default]
    Planned,
    /// Planned by a previous run and loaded from the store. What that run counted is not counted again.
    Restored,
    /// Planned by another process that left no store, and known only by its tag.
    Adopted,
}

/// The state of a trace, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing<'a> {
    /// No outcome yet.
    InFlight,
    /// It has this outcome.
    Ended(&'a Outcome),
}

impl Standing<'_> {
    /// The name in filters and JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Ended(outcome) => outcome.label(),
        }
    }
}

/// The result of putting a canary into its log group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// No result yet.
    Planned,
    /// CloudWatch Logs accepted it.
    Accepted {
        /// When the answer arrived.
        at: Timestamp,
    },
    /// There was no answer: it may or may not have been accepted.
    Ambiguous {
        /// When we stopped waiting for the answer.
        at: Timestamp,
    },
    /// CloudWatch Logs refused it.
    Refused {
        /// When the refusal was known.
        at: Timestamp,
    },
}

/// What is known about a trace at one stage.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Visit {
    /// Arrival of the first copy. Its interval is widened to the left if an older copy is found later.
    // In a box, because most stages of a trace in flight have none.
    pub arrival: Option<Box<Arrival>>,
    /// It is proven absent before this instant: the watermark of the last poll without it.
    pub absent_until: Option<Timestamp>,
    /// Number of polls that proved it absent.
    pub empty_polls: u32,
    /// Whether the source could not be read at some time since the last poll without it.
    pub gap_since_poll: bool,
    /// Whether the last poll that covered it met unreadable records that may hold it, and so proved nothing.
    pub withheld: bool,
    /// Every stored copy that was seen, in the order of the sightings.
    pub copies: Vec<StoredCopy>,
    /// The state of the hop that leads here.
    pub hop: Hop,
}

impl Visit {
    /// Whether it is proven not to have arrived by `deadline`.
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
    /// When a poll showed it. The delay is not part of the latency.
    pub noticed_at: Timestamp,
    /// How the first copy that was seen compares with what was sent.
    pub integrity: Integrity,
    /// The service's own record of when that copy arrived.
    pub stamp: Stamp,
    /// In what kind of record it was found; `None` if a previous run found it.
    pub found_in: Option<FoundIn>,
}

/// The state of one hop of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hop {
    /// Not begun, or in progress.
    #[default]
    Open,
    /// In progress, and proven to have exceeded its target.
    Overdue,
    /// Complete.
    Measured {
        /// From the parent's arrival to this stage's, both at their latest.
        latency: Duration,
        /// Whether it was overdue before it was complete.
        was_overdue: bool,
    },
    /// Unknown whether the target was met: the stage was blind at the time.
    Unjudged,
    /// It arrived before its parent, by more than the clocks may differ.
    Inverted,
    /// A previous run counted it, or may have, or a histogram that a reload has begun again, so it enters none.
    Inherited,
    /// Seen at this stage although the parent stage never showed it.
    Skipped,
    /// Proven absent from this stage at the deadline.
    Missing,
    /// Not found by the deadline, at a source that has never shown a canary of this tenant.
    NeverSeen,
}

/// Whether a trace met the end-to-end threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Not decided yet.
    Pending,
    /// It arrived in time.
    Good,
    /// It arrived after the threshold.
    Slow,
    /// It is proven to have missed the threshold, whether or not it arrived later.
    Overdue,
    /// Unknown: its arrival interval includes the threshold.
    Unjudged,
}
