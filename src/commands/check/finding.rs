//! What came of one try, as it is printed.

use serde::Serialize;

use super::mend::{Mend, Symptom, mend};
use super::subject::Subject;
use super::who::{Identity, of_own_credentials};
use crate::cloud::failure::denial::Denial;
use crate::domain::foreign::ForeignText;
use crate::domain::proof::{Proof, Refusal, Verdict};
use crate::domain::sighting::FailureKind;

/// The three marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    Ok,
    Fail,
    NotTried,
}

impl Mark {
    /// As the line begins; all are equally wide.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Ok => "ok       ",
            Self::Fail => "FAIL     ",
            Self::NotTried => "not tried",
        }
    }
}

/// What came of one try. The fields are the JSON that docs/check.md documents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// What was looked at: `log group /ecs/acme/app`, `stage archive: s3 sre-archive/…`.
    pub(super) subject: String,
    /// What was tried: `right to put`.
    pub(super) what: String,
    /// `null` where it is no stage.
    pub(super) stage: Option<String>,
    pub(super) tenants: Vec<String>,
    /// What was seen, or why it was not tried, or the sentence of the service.
    pub(super) detail: String,
    /// `null` unless the mark is `fail`.
    pub(super) failure: Option<Failed>,
    /// `null` where nothing is to be done or known.
    pub(super) mend: Option<Mend>,
}

/// Why something does not work.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Failed {
    /// As in the metrics: `denied`, `not_found`, `timeout`.
    pub(super) kind: &'static str,
    /// Who made the call, as far as known.
    pub(super) principal: Option<String>,
    /// The permission that the call needs.
    pub(super) permission: Option<String>,
    /// What was called.
    pub(super) resource: String,
    /// What the service says.
    pub(super) sentence: String,
}

impl Finding {
    /// What is not about a log group or a source.
    pub(super) fn general(mark: Mark, what: &str, detail: impl Into<String>) -> Self {
        Self {
            mark,
            subject: "probe".to_owned(),
            what: what.to_owned(),
            stage: None,
            tenants: Vec::new(),
            detail: detail.into(),
            failure: None,
            mend: None,
        }
    }

    /// Says what is to be done.
    pub(super) fn with_mend(self, mend: Mend) -> Self {
        Self { mend: Some(mend), ..self }
    }

    /// What a proof says of its subject.
    pub(super) fn of(subject: &Subject<'_>, proof: Proof, identity: &Identity) -> Self {
        let Proof { what, verdict } = proof;
        let of = |mark, detail: String| Self {
            subject: subject.name.clone(),
            stage: subject.stage.clone(),
            tenants: subject.tenants.clone(),
            ..Self::general(mark, what, detail)
        };
        match verdict {
            Verdict::Ok(seen) => of(Mark::Ok, seen),
            Verdict::NotTried { why, permission, key } => {
                let symptom = Symptom { kind: None, permission, key, resource: None, text: &why };
                let mend = Some(mend(subject, symptom, identity)).filter(|mend| !mend.is_empty());
                Self { mend, ..of(Mark::NotTried, why) }
            }
            Verdict::Failed(refusal) => {
                let mend = match identity.explains_after_another(&refusal.text) {
                    // The only one that tells it, since STS could not be asked.
                    Some(_) if subject.account.is_some() => of_own_credentials(&refusal.text),
                    _ => mend(subject, symptom(&refusal), identity),
                };
                let mend = Some(mend).filter(|mend| !mend.is_empty());
                let detail = refusal.text.to_string();
                let failure = Some(failed(subject, &refusal, identity));
                Self { failure, mend, ..of(Mark::Fail, detail) }
            }
        }
    }
}

fn symptom(refusal: &Refusal) -> Symptom<'_> {
    let Refusal { kind, permission, key, resource, text } = refusal;
    Symptom { kind: Some(*kind), permission: *permission, key: *key, resource: Some(resource), text }
}

fn failed(subject: &Subject<'_>, refusal: &Refusal, identity: &Identity) -> Failed {
    let denial = Denial::read(&refusal.text);
    let is_denied = refusal.kind == FailureKind::Denied;
    let assumes = refusal.permission == Some("sts:AssumeRole");
    let role = || Some(subject.account?.role.as_ref()?.arn.as_str());
    // Who assumes a role is not the role yet.
    let of_role = || role().filter(|_| !assumes);
    let resource = role().filter(|_| assumes).unwrap_or(&refusal.resource);
    let own = || if subject.account.is_some() { identity.arn() } else { identity.google() };
    let principal = denial.principal.or_else(of_role).or_else(own);
    let named = |of_denial: Option<&str>| of_denial.filter(|_| is_denied).map(str::to_owned);
    Failed {
        kind: refusal.kind.as_str(),
        principal: principal.map(str::to_owned),
        permission: named(denial.action).or_else(|| refusal.permission.map(str::to_owned)),
        resource: named(denial.resource).unwrap_or_else(|| ForeignText::label(resource).to_string()),
        sentence: refusal.text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_equally_wide() {
        let widths: Vec<_> = [Mark::Ok, Mark::Fail, Mark::NotTried].map(|mark| mark.column().len()).into();
        assert_eq!(widths, [9, 9, 9]);
    }
}
