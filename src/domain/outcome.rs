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
    /// Proven absent from the end stage at its deadline; the hop that lost it, or the hops one of which did.
    Lost(HopRange),
    /// Seen in a dead-letter stage.
    DeadLettered(StageId),
    /// The end stage could not be read up to the deadline, nor for a grace period after it, or the system's clock was set
    /// while it was in flight: nobody can say.
    Unobserved,
    /// CloudWatch Logs did not take it, and why.
    Refused(Arc<str>),
}

impl Outcome {
    /// All label values, for series that are born at zero.
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

    /// Whether it is worth keeping longer than the many that went well.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Delivered)
    }
}
