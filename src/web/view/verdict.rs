//! The verdicts as text, and the heading that names the worst problem.

use std::sync::Arc;

use super::condition::ConditionView;
use super::mark::Mark;
use crate::domain::conditions::{Condition, Severity, Verdict};
use crate::domain::quantile::Level;
use crate::domain::time::Timestamp;
use crate::domain::topology::Tenant;
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;
use crate::web::words;

/// The verdict on a tenant: its worst problem, OK, or waiting.
#[derive(Clone, Debug)]
pub(crate) struct VerdictView {
    /// The tenant's name.
    pub(crate) tenant: Arc<str>,
    /// The name of the worst problem, `ok` or `waiting`.
    pub(crate) key: &'static str,
    /// The same on the page.
    pub(crate) word: &'static str,
    /// Its colour and sign.
    pub(crate) mark: Mark,
    /// Whether it is a problem.
    pub(crate) is_problem: bool,
    /// Where it is wrong.
    pub(crate) place: Option<String>,
    /// The word and the place: `STUCK at transit`.
    pub(crate) what: String,
    /// Since when that is so.
    pub(crate) since: Option<Timestamp>,
    /// Numbers or reason, to follow place and time; beside OK, the notes.
    pub(crate) summary: String,
    /// The whole sentence.
    pub(crate) text: String,
    /// The address of the runbook's chapter; `None` if there is nothing to do.
    pub(crate) runbook: Option<String>,
    /// Its other conditions, worst first.
    pub(crate) also: Vec<ConditionView>,
    /// Those of `also` that people need to read, as text: not what follows from another one and is less severe than
    /// critical.
    pub(crate) also_texts: Vec<String>,
}

/// The summary of the page.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    /// The worst problem comes first, because the text is also the title of a browser tab.
    pub(crate) text: String,
    /// The mark of what the text names.
    pub(crate) mark: Mark,
    /// Since when the worst problem has been one.
    pub(crate) since: Option<Timestamp>,
}

impl VerdictView {
    pub(crate) fn new(verdict: &Verdict, snapshot: &Snapshot, settings: &Settings) -> Self {
        let view = |condition: &Condition| ConditionView::new(condition, snapshot, settings);
        let tenant = snapshot.topology.tenant(verdict.tenant);
        let all = &verdict.conditions;
        let Some(problem) = verdict.problem().map(view) else {
            return Self::well(tenant, verdict, all.iter().map(view).collect());
        };
        let others = &all[1..];
        let follows = |it: &Condition| all.iter().any(|other| it.follows_from(other, &snapshot.topology));
        let tells_more = |it: &&Condition| it.severity == Severity::Critical || !follows(it);
        let texts = others.iter().filter(tells_more).map(|condition| match view(condition) {
            note if !condition.is_problem() => note.text,
            problem => format!("{}: {}", problem.what, problem.summary),
        });
        Self {
            tenant: tenant.name.clone(),
            key: problem.key,
            word: problem.word,
            mark: problem.mark,
            is_problem: true,
            place: problem.place,
            what: problem.what,
            since: problem.since,
            summary: problem.summary,
            text: problem.text,
            runbook: problem.runbook,
            also_texts: texts.collect(),
            also: others.iter().map(view).collect(),
        }
    }

    /// The verdict on a tenant without a problem. Notes stand beside OK.
    fn well(tenant: &Tenant, verdict: &Verdict, notes: Vec<ConditionView>) -> Self {
        let (key, word, mark, figure) = match verdict.judged {
            Some(judged) => {
                ("ok", "OK", Mark::Well, format!("{} {}", Level::JUDGED, words::quantile(judged)))
            }
            None => (
                "waiting",
                "WAITING",
                Mark::Pending,
                format!("no canary has been judged yet; one leaves every {}", words::short(tenant.interval)),
            ),
        };
        let texts = std::iter::once(figure).chain(notes.iter().map(|note| note.text.clone()));
        let summary = texts.collect::<Vec<_>>().join("; ");
        Self {
            tenant: tenant.name.clone(),
            key,
            word,
            mark,
            is_problem: false,
            place: None,
            what: word.to_owned(),
            since: None,
            text: format!("{word}: {summary}"),
            summary,
            runbook: None,
            also: notes,
            also_texts: Vec::new(),
        }
    }
}

impl Heading {
    /// The heading for verdicts and shared conditions, both worst first. It names every shared problem, and
    /// the worst tenant unless all are well.
    pub(crate) fn new(verdicts: &[VerdictView], shared: &[ConditionView]) -> Self {
        let Some(first) = verdicts.first() else {
            let text = "No tenant is configured".to_owned();
            return Self { text, mark: Mark::Pending, since: None };
        };
        let problems: Vec<_> = shared.iter().filter(|it| it.severity.is_problem()).collect();
        let failing = verdicts.iter().filter(|verdict| verdict.is_problem).count();
        let alike: Vec<_> =
            verdicts.iter().filter(|verdict| verdict.is_problem && verdict.what == first.what).collect();
        let tenants = match (failing, verdicts.len()) {
            (0, _) if first.key == "waiting" => "Waiting for the first canaries".to_owned(),
            (0, 1) => "The tenant is OK".to_owned(),
            (0, all) => format!("All {all} tenants are OK"),
            (_, all) => {
                let who = match *alike {
                    [one] => one.tenant.to_string(),
                    [one, other] => format!("{}, {}:", one.tenant, other.tenant),
                    _ if alike.len() == all => format!("All {all} tenants:"),
                    _ => format!("{} tenants:", alike.len()),
                };
                let others = match failing - alike.len() {
                    0 => String::new(),
                    1 => "; 1 more tenant with a problem".to_owned(),
                    more => format!("; {more} more tenants with a problem"),
                };
                format!("{who} {}{others}", first.what)
            }
        };
        let since = alike.iter().filter_map(|verdict| verdict.since).min();
        let shared = || problems.iter().map(|it| it.what.clone());
        let (parts, mark): (Vec<_>, _) = match problems.first() {
            Some(worst) if failing == 0 => (shared().chain([tenants]).collect(), worst.mark),
            Some(_) | None => (std::iter::once(tenants).chain(shared()).collect(), first.mark),
        };
        Self { text: parts.join("; "), mark, since: since.or_else(|| problems.first()?.since) }
    }
}
