//! How well a tenant was within a bucket's time: the worst verdict on it.

use crate::domain::conditions::{ConditionName, Severity, Verdict};

/// How well a tenant was, best first. What the probe cannot see comes before problems that it does see, so
/// that the worst of several never hides one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Health {
    /// No condition.
    Ok,
    /// Notes only.
    Note,
    /// It cannot be told: a stage could not be read, or no canary had been judged.
    Unknown,
    /// The worst problem was a warning.
    Warning,
    /// The worst problem was critical.
    Critical,
}

impl Health {
    pub const ALL: [Self; 5] = [Self::Ok, Self::Note, Self::Unknown, Self::Warning, Self::Critical];

    /// What a verdict says.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        let conditions = verdict.conditions.iter().map(|condition| match condition.severity {
            Severity::Note => Self::Note,
            Severity::Critical | Severity::Warning if condition.name == ConditionName::CannotSee => {
                Self::Unknown
            }
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        });
        let measured = if verdict.judged.is_some() { Self::Ok } else { Self::Unknown };
        conditions.fold(measured, Self::max)
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The number that stands for it in the store. It must never change.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Ok => 1,
            Self::Note => 2,
            Self::Unknown => 3,
            Self::Warning => 4,
            Self::Critical => 5,
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|health| health.code() == code)
    }
}
