//! One thing that is wrong now, or was a moment ago.

use std::sync::Arc;
use std::time::Duration;

use super::name::{ConditionName, Subject};
use super::severity::{Blame, Severity};
use crate::domain::foreign::ForeignText;
use crate::domain::quantile::Quantile;
use crate::domain::sighting::Drift;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, Role, StageId, Topology};

/// One thing that is wrong now, or was within the window: then it is a note.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// What.
    pub name: ConditionName,
    /// How bad it is.
    pub severity: Severity,
    /// Whose fault it is.
    pub blame: Blame,
    /// Whose it is, and where.
    pub subject: Subject,
    /// When the unbroken episode began; `None` if that is unknown.
    pub since: Option<Timestamp>,
    /// When the last affected canary was planned, or the other process's; when the last leaked copy was noticed.
    /// `None` for others that do not count canaries.
    pub last: Option<Timestamp>,
    /// The affected canaries, as far as the condition names them.
    pub canaries: Vec<TraceId>,
    /// How many canaries are affected; `None` for conditions that do not count them.
    pub affected: Option<usize>,
    /// Of how many; `None` if there is nothing to compare them with.
    pub of: Option<usize>,
    /// The tenant's log groups that are concerned; empty if all are, or if it is not known which are.
    pub log_groups: Vec<LogGroupId>,
    /// What people need to know in addition.
    pub detail: Detail,
}

/// [`Condition::precedence`].
pub type Precedence = (Severity, Blame, bool, ConditionName);

/// What people need to know of a condition in addition to its numbers.
#[derive(Clone, PartialEq, Debug)]
pub enum Detail {
    /// Nothing.
    None,
    /// Why: a service's error, for people.
    Reason(ForeignText),
    /// How long the hop takes for those that have made it: the median.
    Others(Duration),
    /// How many tenants are affected, of how many.
    Tenants {
        /// Affected tenants.
        affected: usize,
        /// All tenants.
        of: usize,
    },
    /// The name of the source that holds leaked canaries.
    FoundIn(ForeignText),
    /// Stages of the main path right before the place that cannot be read or have never shown anything: it may have
    /// stopped in front of them.
    Unseen(Vec<StageId>),
    /// How many of those that did not arrive are in the dead letters, and how many are lost.
    NotArrived {
        /// They can be replayed.
        dead_lettered: usize,
        /// They are nowhere.
        lost: usize,
    },
    /// The judged quantile of a hop, and its target.
    OverTarget {
        /// Right-censored, like the figures of the hops.
        judged: Quantile,
        /// The hop's target.
        target: Duration,
    },
    /// Where the time goes, end to end.
    Slow {
        /// The judged quantile end to end.
        judged: Quantile,
        /// How long the named hop takes: the median of the affected canaries that have made it.
        hop: Option<Duration>,
        /// Of the affected canaries, how many CloudWatch Logs took late.
        injected_late: usize,
        /// The longest that it took for one of them.
        injection: Duration,
    },
    /// The longest that CloudWatch Logs took for an affected canary.
    Injection(Duration),
    /// Fewest bytes that are left of an affected canary, and how many there were.
    Kept {
        /// Unchanged bytes.
        kept: usize,
        /// Bytes that were sent.
        sent: usize,
    },
    /// Number of messages in a queue.
    Messages(u64),
    /// Columns that differ.
    Drift(Arc<[Drift]>),
    /// Maximum error of the probe's own clock, if it is reported.
    ErrorBound(Option<Duration>),
}

impl Condition {
    /// A problem that does not count canaries.
    pub(super) fn fault(
        name: ConditionName,
        subject: Subject,
        severity: Severity,
        since: Option<Timestamp>,
        detail: Detail,
    ) -> Self {
        let blame = name.profile().blame;
        Self {
            name,
            severity,
            blame,
            subject,
            since,
            last: None,
            canaries: Vec::new(),
            affected: None,
            of: None,
            log_groups: Vec::new(),
            detail,
        }
    }

    /// Whether canaries of a log group of its tenant are concerned, as far as is known.
    #[must_use]
    pub fn concerns(&self, group: LogGroupId) -> bool {
        self.log_groups.is_empty() || self.log_groups.contains(&group)
    }

    /// The anchor of its chapter in the runbook. What is in the dead letters can be replayed, so it has its own.
    #[must_use]
    pub fn chapter(&self, map: &Topology) -> &'static str {
        let dead = self.subject.place.is_some_and(|place| map.stage(place.first).role == Role::DeadLetter);
        match self.name {
            ConditionName::Losing if dead => "dead-lettered",
            name => name.profile().chapter,
        }
    }

    /// Whether someone has to act.
    #[must_use]
    pub const fn is_problem(&self) -> bool {
        self.severity.is_problem()
    }

    /// The ratio of affected canaries in millionths; 1,000,000 for conditions that have none.
    #[must_use]
    pub fn affected_millionths(&self) -> usize {
        match (self.affected, self.of) {
            (Some(affected), Some(of)) => affected.saturating_mul(1_000_000) / of.max(1),
            (None, _) | (_, None) => 1_000_000,
        }
    }

    /// Sort key: severity, then the pipeline's faults before the probe's own, then the order of names. What
    /// another cause explains comes after that cause.
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        (self.severity, self.blame, self.blame != self.name.profile().blame, self.name)
    }
}
