//! The colour and the sign of a condition or an outcome. They do not affect the order of anything.

use crate::domain::conditions::{Blame, Condition, Severity};

/// A colour, and a sign with the same meaning for readers who cannot distinguish the colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// The pipeline fails.
    Broken,
    /// The state of the pipeline is unknown.
    Unknown,
    /// It works, but not as well as it should.
    Poor,
    /// Nothing has been measured yet.
    Pending,
    /// All is well.
    Well,
}

impl Mark {
    /// The mark of a condition.
    #[must_use]
    pub(crate) const fn of(condition: &Condition) -> Self {
        match (condition.severity, condition.blame) {
            (Severity::Critical, Blame::Pipeline) => Self::Broken,
            (Severity::Critical, Blame::Probe) => Self::Unknown,
            (Severity::Warning, _) => Self::Poor,
            (Severity::Note, _) => Self::Well,
        }
    }

    /// The CSS class.
    #[must_use]
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Unknown => "unknown",
            Self::Poor => "poor",
            Self::Pending => "pending",
            Self::Well => "well",
        }
    }

    /// The sign. Signs differ in shape, not only in colour.
    #[must_use]
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Broken => "✖",
            Self::Unknown => "?",
            Self::Poor => "▲",
            Self::Pending => "…",
            Self::Well => "✔",
        }
    }
}
