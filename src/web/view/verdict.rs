//! The verdicts as text, and the heading that names the worst one.

use std::sync::Arc;

use super::mark::Mark;
use crate::domain::time::Timestamp;
use crate::domain::tracker::Snapshot;
use crate::domain::verdict::{Condition, Criteria, Severity, Verdict};
use crate::web::app::Settings;
use crate::web::words;

/// A condition as text.
#[derive(Clone, Debug)]
pub(crate) struct ConditionView {
    /// The name in JSON.
    pub(crate) key: &'static str,
    /// The name on the page.
    pub(crate) word: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Its colour and sign.
    pub(crate) mark: Mark,
    /// Where it is wrong: `transit`, `archive..bigquery`; `None` for conditions without a place.
    pub(crate) place: Option<String>,
    /// The word and the place: `STUCK at transit`, `CANNOT SEE bigquery`, `SLOW`.
    pub(crate) what: String,
    /// Numbers or reason, to follow place and time.
    pub(crate) summary: String,
}

/// The verdict on a tenant.
#[derive(Clone, Debug)]
pub(crate) struct VerdictView {
    /// The tenant's name.
    pub(crate) tenant: Arc<str>,
    /// Its worst condition.
    pub(crate) worst: ConditionView,
    /// Since when that is so.
    pub(crate) since: Option<Timestamp>,
    /// The whole sentence: `STUCK at transit since 02:41:10 UTC (18 min): 36 canaries wait`.
    pub(crate) text: String,
    /// The address of the runbook's chapter; `None` if there is nothing to do.
    pub(crate) runbook: Option<String>,
    /// Its other conditions, worst first.
    pub(crate) also: Vec<ConditionView>,
}

/// The summary of the page.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    /// The worst tenant comes first, because the text is also the title of a browser tab.
    pub(crate) text: String,
    /// The mark of the condition that the text names.
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
    /// The heading for verdicts in order: text, colour and sign are those of the first.
    pub(crate) fn new(verdicts: &[VerdictView]) -> Self {
        let Some(first) = verdicts.first() else {
            return Self { text: "No tenant is configured".to_owned(), mark: Mark::Pending };
        };
        let failing = verdicts.iter().filter(|verdict| verdict.worst.severity.is_problem()).count();
        let text = match (first.worst.severity, verdicts.len()) {
            (Severity::Critical | Severity::Warning, _) => {
                let more = match failing - 1 {
                    0 => String::new(),
                    1 => "; 1 more tenant with a problem".to_owned(),
                    more => format!("; {more} more tenants with a problem"),
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

/// Numbers or reason, to follow place and time.
fn summary(condition: &Condition, criteria: &Criteria) -> String {
    match condition {
        Condition::Leaking { found_in, .. } => format!("its canaries were found in {found_in}"),
        Condition::NotInjecting { reason } => reason.to_string(),
        Condition::CannotSee { reason, .. } => reason.to_string(),
        Condition::CannotSeeSideStage { reason, .. } => {
            format!("{reason} (side stage: end to end is not affected)")
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
