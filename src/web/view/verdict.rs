//! The verdicts as text, and the heading that names the worst problem.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::condition::ConditionView;
use super::incident::IncidentView;
use super::mark::Mark;
use crate::domain::conditions::{Condition, ConditionName, Severity, Verdict};
use crate::domain::quantile::Level;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Tenant, TenantId};
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;
use crate::web::words;

/// Other tenants that are named as those whose canaries a tenant holds.
const HOLDS_NAMED: usize = 3;

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
    /// How bad the worst problem is; `None` without one.
    pub(crate) severity: Option<Severity>,
    /// Whether the worst problem costs clients nothing yet, so that it competes with no other one.
    pub(crate) is_light: bool,
    /// The log groups that are concerned, if not all are or if it is about them.
    pub(crate) which: Option<String>,
    /// Whose canaries were found with this tenant: `holds copies of acme`.
    pub(crate) holds: Option<String>,
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
    /// What is wrong too, but less.
    pub(crate) lesser: Vec<String>,
}

impl VerdictView {
    pub(crate) fn new(verdict: &Verdict, snapshot: &Snapshot, settings: &Settings) -> Self {
        let view = |condition: &Condition| ConditionView::new(condition, snapshot, settings);
        let tenant = snapshot.topology.tenant(verdict.tenant);
        let all = &verdict.conditions;
        let Some(problem) = verdict.problem().map(view) else {
            let holds = holds(verdict.tenant, snapshot, settings);
            return Self::well(tenant, verdict, all.iter().map(view).collect(), holds);
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
            severity: Some(problem.severity),
            is_light: verdict.problem().is_some_and(|it| is_light(it.name)),
            which: problem.which,
            holds: holds(verdict.tenant, snapshot, settings),
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
    fn well(tenant: &Tenant, verdict: &Verdict, notes: Vec<ConditionView>, holds: Option<String>) -> Self {
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
            severity: None,
            is_light: false,
            which: None,
            holds,
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

/// Whether clients lose nothing by it and get nothing later than promised end to end.
const fn is_light(name: ConditionName) -> bool {
    matches!(name, ConditionName::HopOverTarget | ConditionName::LateInjection | ConditionName::Skipped)
}

/// Whose canaries were found with a tenant within the window: `holds copies of acme`.
fn holds(tenant: TenantId, snapshot: &Snapshot, settings: &Settings) -> Option<String> {
    let map = &snapshot.topology;
    let from = snapshot.at - settings.criteria.window(map.tenant(tenant).interval);
    let recent = snapshot.violations.iter().filter(|seen| seen.at >= from);
    let found = recent.filter(|seen| seen.found_with == Some(tenant) && seen.concerned() != Some(tenant));
    let names: BTreeSet<Arc<str>> = found.map(|seen| seen.tenant.name(map)).collect();
    let mut named: Vec<_> = names.iter().take(HOLDS_NAMED).map(|name| &**name).collect();
    if names.len() > HOLDS_NAMED {
        named.push("…");
    }
    (!named.is_empty()).then(|| format!("holds copies of {}", named.join(", ")))
}

impl Heading {
    /// The heading for verdicts and shared conditions, both worst first, and an incident of which nothing proves that
    /// all is well. What is less bad than the worst is beside the text, so that it does not compete.
    pub(crate) fn new(
        verdicts: &[VerdictView],
        shared: &[ConditionView],
        unsettled: Option<&IncidentView>,
    ) -> Self {
        let Some(first) = verdicts.first() else {
            let text = "No tenant is configured".to_owned();
            return Self { text, mark: Mark::Pending, since: None, lesser: Vec::new() };
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut lesser = Vec::new();
        if let Some(severity) = first.severity.filter(|severity| severity.is_problem()) {
            let (part, others) = Part::of_tenants(first, severity, verdicts);
            parts.push(part);
            lesser.extend(others);
        }
        parts.extend(shared.iter().filter(|it| it.severity.is_problem()).map(|it| Part {
            severity: it.severity,
            mark: it.mark,
            text: it.what.clone(),
            since: it.since,
        }));
        parts.extend(unsettled.map(Part::of_incident));
        // Of the same severity, tenants come first.
        parts.sort_by_key(|part| part.severity);
        let Some(worst) = parts.first() else {
            let text = match verdicts.len() {
                _ if first.key == "waiting" => "Waiting for the first canaries".to_owned(),
                1 => "The tenant is OK".to_owned(),
                all => format!("All {all} tenants are OK"),
            };
            return Self { text, mark: first.mark, since: None, lesser };
        };
        let (mark, since, severity) = (worst.mark, worst.since, worst.severity);
        let (told, less): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|it| it.severity == severity);
        let mut texts: Vec<String> = told.into_iter().map(|part| part.text).collect();
        lesser.splice(0..0, less.into_iter().map(|part| format!("less severe: {}", part.text)));
        let is_incident = unsettled.is_some();
        if verdicts.iter().all(|verdict| !verdict.is_problem) && first.key == "ok" && !is_incident {
            texts.push(match verdicts.len() {
                1 => "the tenant is OK".to_owned(),
                all => format!("all {all} tenants are OK"),
            });
        }
        Self { text: texts.join("; "), mark, since, lesser }
    }
}

/// A part of the heading.
struct Part {
    severity: Severity,
    mark: Mark,
    text: String,
    since: Option<Timestamp>,
}

impl Part {
    /// An incident that is not settled, although no condition may tell of it.
    fn of_incident(incident: &IncidentView) -> Self {
        let what = format!("{} {}", incident.who, incident.what);
        let since = (!incident.began_before).then_some(incident.beginning);
        let (severity, state, since) = match &incident.open {
            Some(open) => (Severity::Warning, format!(" is over, but {open}"), None),
            None => (incident.severity, ", not proven to be over".to_owned(), since),
        };
        Self { severity, mark: incident.mark, text: format!("{}{state}", what.trim()), since }
    }

    /// The tenants with the worst problem, and what else there is to say of others.
    fn of_tenants(
        first: &VerdictView,
        severity: Severity,
        verdicts: &[VerdictView],
    ) -> (Self, Option<String>) {
        let failing = || verdicts.iter().filter(|verdict| verdict.is_problem);
        let alike: Vec<_> = failing().filter(|verdict| verdict.what == first.what).collect();
        let who = match *alike {
            [one] => one.tenant.to_string(),
            [one, other] => format!("{}, {}:", one.tenant, other.tenant),
            _ if alike.len() == verdicts.len() => format!("All {} tenants:", alike.len()),
            _ => format!("{} tenants:", alike.len()),
        };
        let site = match (&*alike, &first.which) {
            ([_], Some(which)) if first.place.is_none() => format!(" into {which}"),
            ([_], Some(which)) => format!(", {which}"),
            _ => String::new(),
        };
        let is_as_bad = |it: &&&VerdictView| it.severity == Some(severity) && !it.is_light;
        let others: Vec<_> = failing().filter(|verdict| verdict.what != first.what).collect();
        let as_bad = others.iter().filter(is_as_bad).count();
        let more = match as_bad {
            0 => String::new(),
            1 => "; 1 more tenant with a problem".to_owned(),
            more => format!("; {more} more tenants with a problem"),
        };
        let part = Self {
            severity,
            mark: first.mark,
            text: format!("{who} {}{site}{more}", first.what),
            since: alike.iter().filter_map(|verdict| verdict.since).min(),
        };
        let lesser = match others.len() - as_bad {
            0 => None,
            less => Some(format!("{} with a warning", words::count(less, "other tenant", "other tenants"))),
        };
        (part, lesser)
    }
}
