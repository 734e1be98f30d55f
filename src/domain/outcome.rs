//! How a trace ends.

use super::topology::{HopRange, StageId};
use crate::domain::foreign::ForeignText;

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
    /// Unknown, for a reason that is the fault of the probe or the configuration and not of the pipeline.
    Unobserved(UnobservedReason),
    /// CloudWatch Logs refused it, with the reason.
    Refused(ForeignText),
}

/// Why the outcome of a trace is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum UnobservedReason {
    /// The end stage was not read up to the deadline, nor in the grace period after it.
    Blind,
    /// The canary may be in a record of the end stage that could not be read.
    Unreadable,
    /// The end stage has never shown a canary of this tenant: format, key, column or pattern may be wrong.
    NeverSeen,
    /// The put was not answered, and the canary was seen nowhere.
    AmbiguousPut,
    /// The system's clock was set while it was in flight.
    ClockStepped,
    /// The process that followed it was stopped and kept no store; or this is its successor, which did not find it
    /// any more: it may have come by in between.
    HandedOver,
}

impl UnobservedReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Blind,
        Self::Unreadable,
        Self::NeverSeen,
        Self::AmbiguousPut,
        Self::ClockStepped,
        Self::HandedOver,
    ];

    /// As in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Unreadable => "unreadable",
            Self::NeverSeen => "never_seen",
            Self::AmbiguousPut => "ambiguous_put",
            Self::ClockStepped => "clock_stepped",
            Self::HandedOver => "handed_over",
        }
    }

    /// The reason that is spelled so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
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
            Self::Unobserved(_) => "unobserved",
            Self::Refused(_) => "refused",
        }
    }

    /// Whether it is kept apart from successes, which would otherwise evict it.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Delivered)
    }
}
