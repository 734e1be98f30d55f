//! How a trace ends.

use std::sync::Arc;

use super::topology::{HopRange, StageId};

/// How a trace ended. Every planned canary ends in exactly one of these.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Outcome {
    /// Seen at the end stage before its deadline.
    Delivered,
    /// Seen at the end stage, after its deadline.
    Late,
    /// Proven absent from the end stage at its deadline, with the hop that lost it, or the hop range that
    /// did.
    Lost(HopRange),
    /// Seen in this dead-letter stage.
    DeadLettered(StageId),
    /// Unknown: the end stage could not be read up to the deadline, nor for a grace period after it, or the
    /// system clock was set while the canary was in flight.
    Unobserved,
    /// CloudWatch Logs refused it, with the reason.
    Refused(Arc<str>),
}

impl Outcome {
    /// All label values, to initialise the series.
    pub const LABELS: [&'static str; 6] =
        ["delivered", "late", "lost", "dead_lettered", "unobserved", "refused"];

    /// As a label value.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Late => "late",
            Self::Lost(_) => "lost",
            Self::DeadLettered(_) => "dead_lettered",
            Self::Unobserved => "unobserved",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether it is kept apart from successes, which would otherwise evict it.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Delivered)
    }
}
