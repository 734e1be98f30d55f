//! The verdict on a tenant in words, and the heading that names the worst of them.

use std::sync::Arc;

use super::mark::Mark;
use crate::domain::time::Timestamp;
use crate::domain::tracker::Snapshot;
use crate::domain::verdict::{Condition, Criteria, Severity, Verdict};
use crate::web::app::Settings;
use crate::web::words;

/// A condition in words.
#[derive(Clone, Debug)]
pub(crate) struct ConditionView {
    /// As in JSON.
    pub(crate) key: &'static str,
    /// As on the page.
    pub(crate) word: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Its colour and sign.
    pub(crate) mark: Mark,
    /// Where it is wrong: `transit`, `archive..bigquery`; nothing for conditions without a place.
    pub(crate) place: Option<String>,
    /// The word and the place: `STUCK at transit`, `CANNOT SEE bigquery`, `SLOW`.
    pub(crate) what: String,
    /// What is the summary, after the place and the time.
    pub(crate) summary: String,
}

/// The verdict on a tenant.
#[derive(Clone, Debug)]
pub(crate) struct VerdictView {
    /// Its name.
    pub(crate) tenant: Arc<str>,
    /// The worst that can be said.
    pub(crate) worst: ConditionView,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// The whole sentence: `STUCK at transit since 02:41:10 UTC (18 min): 36 canaries wait`.
    pub(crate) text: String,
    /// The chapter of the runbook, where something is to be done.
    pub(crate) runbook: Option<String>,
    /// What else can be said, worst first.
    pub(crate) also: Vec<ConditionView>,
}

/// The whole page in a line.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    /// It is read in a row of tabs, so the worst tenant stands first.
    pub(crate) text: String,
    /// Of the condition that the text names.
    pub(crate) mark: Mark,
}

impl ConditionView {
    fn new(condition: &Condition, snapshot: &Snapshot, criteria: &Criteria) -> Self {
        let profile = condition.profile();
        let place = condition.place().map(|place| place.display(&snapshot.topology).to_string());
        Self {
            key: profile.key,
            word: profile.word,
            severity: profile.severity,
            mark: Mark::of(condition),
            what: match &place {
                Some(place) => format!("{} {}{place}", profile.word, profile.preposition),
                None => profile.word.to_owned(),
            },
            place,
            summary: summary(condition, criteria),
        }
    }
}

impl VerdictView {
    pub(crate) fn new(verdict: &Verdict, snapshot: &Snapshot, settings: &Settings) -> Self {
        let condition = |of| ConditionView::new(of, snapshot, &settings.criteria);
        let worst = condition(&verdict.condition);
        let since = verdict.since.map_or_else(String::new, |since| {
            let age = words::age(snapshot.at.since(since));
            format!(" since {} ({age})", words::clock(since, snapshot.at))
        });
        Self {
            tenant: snapshot.topology.tenant(verdict.tenant).name.clone(),
            text: format!("{}{since}: {}", worst.what, worst.summary),
            worst,
            since: verdict.since,
            runbook: settings.runbook(&verdict.condition),
            also: verdict.also.iter().map(condition).collect(),
        }
    }
}

impl Heading {
    /// That of verdicts, worst first: words, colour and sign are all of the first.
    pub(crate) fn new(verdicts: &[VerdictView]) -> Self {
        let Some(first) = verdicts.first() else {
            return Self { text: "No tenant is configured".to_owned(), mark: Mark::Pending };
        };
        let troubled = verdicts.iter().filter(|verdict| verdict.worst.severity.is_problem()).count();
        let text = match (first.worst.severity, verdicts.len()) {
            (Severity::Critical | Severity::Warning, _) => {
                let more = match troubled - 1 {
                    0 => String::new(),
                    1 => "; 1 more tenant in trouble".to_owned(),
                    more => format!("; {more} more tenants in trouble"),
                };
                format!("{} {}{more}", first.tenant, first.worst.what)
            }
            (Severity::Note, _) => "Waiting for the first canaries".to_owned(),
            (Severity::Ok, 1) => "The tenant is OK".to_owned(),
            (Severity::Ok, all) => format!("All {all} tenants are OK"),
        };
        Self { text, mark: first.worst.mark }
    }
}

/// What is the summary, after the place and the time.
fn summary(condition: &Condition, criteria: &Criteria) -> String {
    match condition {
        Condition::Leaking { found_in, .. } => format!("its canaries were found in {found_in}"),
        Condition::NotInjecting { reason } => reason.to_string(),
        Condition::CannotSee { reason, .. } => reason.to_string(),
        Condition::CannotSeeSideStage { reason, .. } => {
            format!("{reason} (beside the way: end to end is not affected)")
        }
        Condition::Stuck { waiting, .. } => {
            let verb = if *waiting == 1 { "waits" } else { "wait" };
            format!("{} {verb}", words::count(*waiting, "canary", "canaries"))
        }
        Condition::Losing { lost, of, .. } => format!("{lost} of {of} did not arrive"),
        Condition::Slow { p95 } => {
            format!("P95 {}, target {}", words::quantile(*p95), words::short(criteria.slo))
        }
        Condition::Waiting => {
            format!("no canary has been judged yet; one leaves every {}", words::short(criteria.interval))
        }
        Condition::Ok { p95 } => format!("P95 {}", words::quantile(*p95)),
    }
}
