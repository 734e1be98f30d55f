//! How bad a condition is, and whose fault.

/// How bad a condition is, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// Someone has to act now.
    Critical,
    /// It works, but not as well as it should.
    Warning,
    /// Information; it takes no OK away.
    Note,
}

impl Severity {
    /// Whether someone has to act.
    #[must_use]
    pub const fn is_problem(self) -> bool {
        match self {
            Self::Critical | Self::Warning => true,
            Self::Note => false,
        }
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Whose fault a condition is. The pipeline's come first: what the probe cannot see must not hide what it
/// does see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Blame {
    /// The pipeline's.
    Pipeline,
    /// That of the probe, its configuration, its permissions, or the injection path: the state of the
    /// pipeline is unknown.
    Probe,
}
