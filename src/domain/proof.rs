//! What was tried before the probe runs, and what came of it.
//!
//! There are three results, because "it did not fail" is not "it works": what could not be tried says why.

use super::foreign::ForeignText;
use super::sighting::FailureKind;

/// One thing that was tried, or could not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// What it is, in a few words: `newest object`.
    pub what: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It works; what was seen.
    Ok(String),
    /// It does not work.
    Failed(Refusal),
    /// Unknown.
    NotTried {
        /// Why it was not tried.
        why: String,
        /// The permission that it needs, if a missing one is the reason.
        permission: Option<&'static str>,
        /// The key of the stage or tenant to compare, if one may be wrong.
        key: Option<&'static str>,
    },
}

/// Why something does not work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The permission that the call needs: `s3:GetObject`. `None` if no call failed.
    pub permission: Option<&'static str>,
    /// What was called.
    pub resource: String,
    /// The call and the sentence of the service.
    pub text: ForeignText,
    /// The key of the stage or tenant that may be wrong: `stream`.
    pub key: Option<&'static str>,
}

/// Why the settings of a source are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// A canary was not found by polls that read so many records.
    Missing { records: u64 },
    /// It was found cut or changed.
    Changed,
    /// It was found, but its content could not be checked.
    Unchecked,
}

/// What to look at, where something was not found and no call says why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    pub text: String,
    /// The key of the stage to compare, if one may be wrong.
    pub key: Option<&'static str>,
    /// Whether the canary was found after all, so that it was not lost on the way.
    pub is_found: bool,
}

impl Advice {
    /// What to look at, and the key.
    #[must_use]
    pub fn new(text: impl Into<String>, key: Option<&'static str>) -> Self {
        Self { text: text.into(), key, is_found: false }
    }

    /// Where the canary is, and the key that does not look there.
    #[must_use]
    pub fn found(text: impl Into<String>, key: &'static str) -> Self {
        Self { text: text.into(), key: Some(key), is_found: true }
    }
}

impl Proof {
    /// It works.
    #[must_use]
    pub fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ok(seen.into()) }
    }

    /// It does not work.
    #[must_use]
    pub const fn failed(what: &'static str, refusal: Refusal) -> Self {
        Self { what, verdict: Verdict::Failed(refusal) }
    }

    /// It could not be tried.
    #[must_use]
    pub fn not_tried(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::NotTried { why: why.into(), permission: None, key: None } }
    }

    /// It could not be tried, perhaps for lack of a permission.
    #[must_use]
    pub fn without(what: &'static str, permission: &'static str, why: impl Into<String>) -> Self {
        let verdict = Verdict::NotTried { why: why.into(), permission: Some(permission), key: None };
        Self { what, verdict }
    }

    /// Whether no answer came, so that further calls to the same service would only wait again.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(
            &self.verdict,
            Verdict::Failed(Refusal { kind: FailureKind::Timeout | FailureKind::Unreachable, .. })
        )
    }
}
