//! The colour and the sign of a condition or an outcome. They follow from it and order nothing.

use crate::domain::verdict::{Blame, Condition, Severity};

/// A colour, and a sign that says the same to eyes that cannot tell the colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// The pipeline fails its tenant.
    Broken,
    /// We cannot say how the pipeline does.
    Unknown,
    /// It works, but not as well as it should.
    Poor,
    /// Nothing has been measured yet.
    Pending,
    /// All is well.
    Well,
}

impl Mark {
    /// That of a condition.
    #[must_use]
    pub(crate) const fn of(condition: &Condition) -> Self {
        let profile = condition.profile();
        match (profile.severity, profile.blame) {
            (Severity::Critical, Some(Blame::Pipeline) | None) => Self::Broken,
            (Severity::Critical, Some(Blame::Probe)) => Self::Unknown,
            (Severity::Warning, _) => Self::Poor,
            (Severity::Note, _) => Self::Pending,
            (Severity::Ok, _) => Self::Well,
        }
    }

    /// As a class of the style sheet.
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

    /// A sign that differs in shape.
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
