//! Rules as values.

use std::time::Duration;

/// Rules that are evaluated one after the other.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// Time between two evaluations; `None` is that of the server. Only set for windows so long that
    /// evaluating them with every scrape would be a waste.
    pub interval: Option<Duration>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub enum Rule {
    Record(Record),
    Alert(Alert),
}

/// A series that other rules of the same group use.
#[derive(Clone, Debug)]
pub struct Record {
    /// Why it is as it is; empty for none.
    pub comment: String,
    pub name: String,
    pub expr: String,
}

/// What somebody is told.
#[derive(Clone, Debug)]
pub struct Alert {
    pub name: &'static str,
    /// Argues for threshold, window and guard; empty for none.
    pub comment: String,
    pub expr: String,
    /// How long the expression must hold before the alert fires.
    pub hold: Option<Duration>,
    /// How long the alert goes on after the expression has ceased to hold.
    pub keep: Option<Duration>,
    pub severity: Severity,
    pub cause: Cause,
    /// Labels that the expression does not give.
    pub labels: Vec<(&'static str, String)>,
    pub about: About,
    /// A template with the stage that the link to the runbook selects; the label `stage` if `None`.
    pub stage: Option<String>,
    /// One line: who, what, where, how much.
    pub summary: String,
    /// What to do first.
    pub description: String,
    /// Anchor of its chapter in the runbook.
    pub chapter: &'static str,
}

/// Who is told, and how soon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Wakes somebody.
    Critical,
    /// Is read by day.
    Warning,
    /// Only shown: what a healthy pipeline does now and then.
    Note,
    /// Always fires, so that its absence is noticed.
    None,
}

/// What goes wrong together. Alertmanager sends one notification for each cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Events arrive late or not at all.
    Delivery,
    /// Events arrive changed, or twice.
    Content,
    /// Events of tenants are mixed.
    Isolation,
    /// The probe cannot read a stage.
    Visibility,
    /// The probe cannot put canaries.
    Injection,
    /// The probe itself.
    Probe,
    /// Nothing is wrong.
    Watchdog,
}

/// What an alert is about, which decides where its links lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// A tenant of an instance.
    Tenant,
    /// An instance of the probe that answers.
    Instance,
    /// All instances, or one that is down: no label tells the address of one that answers.
    Job,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::None => "none",
        }
    }
}

impl Cause {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Content => "content",
            Self::Isolation => "isolation",
            Self::Visibility => "visibility",
            Self::Injection => "injection",
            Self::Probe => "probe",
            Self::Watchdog => "watchdog",
        }
    }
}

impl Group {
    pub(super) fn new(name: impl Into<String>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), interval: None, rules }
    }
}

impl Alert {
    /// An alert on a tenant's pipeline without `for`, with the chapter named like it.
    pub(super) fn warning(name: &'static str, chapter: &'static str, cause: Cause, expr: String) -> Self {
        Self {
            name,
            comment: String::new(),
            expr,
            hold: None,
            keep: None,
            severity: Severity::Warning,
            cause,
            labels: Vec::new(),
            about: About::Tenant,
            stage: None,
            summary: String::new(),
            description: String::new(),
            chapter,
        }
    }

    pub(super) fn critical(name: &'static str, chapter: &'static str, cause: Cause, expr: String) -> Self {
        Self { severity: Severity::Critical, ..Self::warning(name, chapter, cause, expr) }
    }
}

impl From<Alert> for Rule {
    fn from(alert: Alert) -> Self {
        Self::Alert(alert)
    }
}

impl From<Record> for Rule {
    fn from(record: Record) -> Self {
        Self::Record(record)
    }
}
