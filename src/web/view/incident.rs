//! An incident as text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::condition::{ConditionView, names_of};
use super::mark::Mark;
use super::remaining::{self, Remaining};
use super::sent::Sent;
use crate::domain::conditions::{Condition, ConditionName, Precedence, Severity};
use crate::domain::incidents::{Episode, Incident, State};
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;
use crate::web::words;

/// With at most this many tenants, all are named in the text.
const TENANTS_NAMED: usize = 3;

/// Of what was removed from the configuration while it was a problem.
const NOT_WATCHED: &str = "no longer watched";

/// One cause: what was wrong, where, from when to when, for which tenants.
#[derive(Clone, Debug)]
pub(crate) struct IncidentView {
    /// Stays the same for as long as it is remembered.
    pub(crate) id: String,
    /// The name of its condition in JSON.
    pub(crate) key: &'static str,
    /// The worst severity so far.
    pub(crate) severity: Severity,
    pub(crate) mark: Mark,
    /// The condition's name on the page.
    pub(crate) word: &'static str,
    pub(crate) place: Option<String>,
    /// The place for people.
    pub(crate) site: Option<String>,
    /// The word and the place.
    pub(crate) what: String,
    /// Sorts what is worse now first.
    pub(crate) precedence: Precedence,
    /// What is still open although it is over.
    pub(crate) open: Option<String>,
    /// The tenants concerned, in the order in which it began for them.
    pub(crate) tenants: Vec<Arc<str>>,
    /// The tenants as text: `acme`, `All 50 tenants`; empty for what is no tenant's.
    pub(crate) who: String,
    /// How bad it is: numbers or a reason.
    pub(crate) summary: String,
    /// Whose fault it is: `pipeline` or `probe`.
    pub(crate) blame: &'static str,
    /// What to do first, as a sentence.
    pub(crate) first_step: String,
    /// Lines of plain text to pass on.
    pub(crate) report: String,
    /// `ongoing`, `unproven`, `over` or `ended`.
    pub(crate) state: &'static str,
    pub(crate) beginning: Timestamp,
    /// Whether it began before the probe could notice it.
    pub(crate) began_before: bool,
    /// When it was over.
    pub(crate) end: Option<Timestamp>,
    /// Number of different canaries that it affected.
    pub(crate) canaries: Option<usize>,
    /// Whether it concerns every tenant, or no tenant in particular.
    pub(crate) of_all: bool,
    /// What it means for each tenant.
    pub(crate) episodes: Vec<EpisodeView>,
    /// The id of an incident that goes on and from which this one follows.
    pub(crate) follows_from: Option<String>,
    /// The whole sentence.
    pub(crate) text: String,
    /// The address of the runbook's chapter.
    pub(crate) runbook: String,
}

/// What an incident means for one tenant.
#[derive(Clone, Debug)]
pub(crate) struct EpisodeView {
    /// `None` for what is no tenant's.
    pub(crate) tenant: Option<Arc<str>>,
    /// The tenant's log groups that are concerned; empty if all are, or if it is not known which.
    pub(crate) log_groups: Vec<Arc<str>>,
    pub(crate) state: &'static str,
    pub(crate) beginning: Timestamp,
    pub(crate) end: Option<Timestamp>,
    /// How many canaries of the window are affected, or were when it was last seen.
    pub(crate) affected: Option<usize>,
    /// Of how many.
    pub(crate) of: Option<usize>,
    /// Number of different canaries that it affected.
    pub(crate) canaries: Option<usize>,
    /// The median time that the hop, or the whole path, took before.
    pub(crate) usual: Option<Duration>,
    /// The names of conditions that followed from it.
    pub(crate) consequences: Vec<&'static str>,
}

impl IncidentView {
    /// `problems` are all that there are now.
    pub(crate) fn new(
        incident: &Incident,
        problems: &[&Condition],
        sent: &Sent<'_>,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Option<Self> {
        let map = &*snapshot.topology;
        let worst = incident.worst()?;
        let severity = present_severity(incident);
        let condition = Condition { severity, ..worst.condition.clone() };
        let view = ConditionView::new(&condition, snapshot, settings);
        let name = |tenant: TenantId| map.tenant(tenant).name.clone();
        let tenants: Vec<_> = incident.tenants().map(name).collect();
        let state = state(incident);
        let who = who(&tenants, incident.of_all);
        let remaining = Remaining::of(incident, problems, sent, snapshot, settings);
        let missing = remaining.as_ref().map_or(0, |it| it.missing);
        let extent = extent(incident, missing, sent, snapshot);
        let summary = match &extent {
            // The numbers of one tenant are not those of all.
            Some(extent) if tenants.len() > 1 || incident.end.is_some() => extent.clone(),
            Some(_) | None => view.summary.clone(),
        };
        let summary = if incident.is_gone() { format!("{NOT_WATCHED}; {summary}") } else { summary };
        let worst_left = remaining.as_ref().and_then(|it| it.problems.first().copied());
        let open = remaining.as_ref().map(|it| it.text.clone());
        let stage = condition.subject.place.map(|place| map.stage(place.first).name.clone());
        // The commands of a chapter are for one tenant; of several, for the one that has it worst.
        let runbook = settings.chapter_for(condition.chapter(map), view.tenant.as_deref(), stage.as_deref());
        let parts = Parts {
            who: &who,
            summary: &summary,
            extent: extent.as_deref(),
            open: open.as_deref(),
            view: &view,
        };
        Some(Self {
            report: report(incident, &parts, &runbook, snapshot.at, settings),
            word: view.word,
            blame: view.blame,
            first_step: view.first_step.clone(),
            id: id(incident),
            follows_from: None,
            key: view.key,
            severity: incident.severity,
            mark: match (incident.end, &remaining, worst_left) {
                (None, ..) => view.mark,
                (Some(_), _, Some(problem)) => Mark::of(problem),
                (Some(_), Some(_), None) => Mark::Poor,
                (Some(_), None, _) => Mark::Well,
            },
            precedence: match (incident.end, worst_left) {
                (None, _) => condition.precedence(),
                (Some(_), Some(problem)) => problem.precedence(),
                (Some(_), None) => Condition { severity: Severity::Note, ..condition.clone() }.precedence(),
            },
            text: text(incident, state, &parts, snapshot.at),
            open,
            who,
            summary,
            tenants,
            place: view.place,
            site: view.site,
            what: view.what,
            state,
            beginning: incident.beginning,
            began_before: worst.began_before,
            end: incident.end,
            canaries: incident.canaries,
            of_all: incident.of_all,
            episodes: incident.episodes.iter().map(|it| EpisodeView::new(it, map)).collect(),
            runbook,
        })
    }
}

/// How bad it is now: what was stuck and is only slow now does not look as bad as it was. The worst so far once
/// nothing tells.
fn present_severity(incident: &Incident) -> Severity {
    let goes_on = incident.episodes.iter().filter(|episode| episode.state == State::Ongoing);
    goes_on.map(|episode| episode.condition.severity).min().unwrap_or(incident.severity)
}

/// The name of an incident.
pub(crate) fn id(incident: &Incident) -> String {
    format!("{:x}", incident.id.0)
}

/// The incident, of those that go on, from which this one follows for every tenant.
pub(crate) fn cause<'a>(incident: &Incident, all: &'a [Incident], map: &Topology) -> Option<&'a Incident> {
    let open = |of: &'a Incident| of.episodes.iter().filter(|episode| episode.end().is_none());
    let follows = |cause: &'a Incident| {
        let mut own = incident.episodes.iter().filter(|episode| episode.end().is_none()).peekable();
        own.peek().is_some()
            && own.all(|it| open(cause).any(|other| it.condition.follows_from(&other.condition, map)))
    };
    all.iter().filter(|other| other.id != incident.id).find(|other| follows(other))
}

impl EpisodeView {
    fn new(episode: &Episode, map: &Topology) -> Self {
        let condition = &episode.condition;
        Self {
            tenant: condition.subject.tenant.map(|tenant| map.tenant(tenant).name.clone()),
            log_groups: names_of(condition, map),
            state: state_of(episode),
            beginning: episode.beginning,
            end: episode.end(),
            affected: condition.affected,
            of: condition.of,
            canaries: episode.affected(),
            usual: episode.usual,
            consequences: {
                let names: BTreeSet<_> = episode.consequences.keys().map(|(name, _)| *name).collect();
                names.into_iter().map(ConditionName::as_str).collect()
            },
        }
    }
}

const fn state_of(episode: &Episode) -> &'static str {
    match episode.state {
        State::Ongoing => "ongoing",
        State::Unproven => "unproven",
        State::Over { .. } => "over",
        State::Ended { .. } | State::Gone { .. } => "ended",
    }
}

/// The state of an incident: that of the episode that is furthest from its end.
fn state(incident: &Incident) -> &'static str {
    let states: Vec<_> = incident.episodes.iter().map(|episode| state_of(episode)).collect();
    ["ongoing", "unproven", "over"].into_iter().find(|state| states.contains(state)).unwrap_or("ended")
}

/// The tenants as text; empty for what is no tenant's.
fn who(tenants: &[Arc<str>], of_all: bool) -> String {
    match tenants {
        [] => String::new(),
        [one] => one.to_string(),
        all if of_all => format!("All {} tenants", all.len()),
        some if some.len() <= TENANTS_NAMED => some.join(", "),
        some => format!("{} tenants ({}, …)", some.len(), some[..TENANTS_NAMED].join(", ")),
    }
}

/// How many canaries it affected, of all that were sent meanwhile; `None` if it does not count them. So many are known
/// to be missing, the last ones perhaps only since it is over.
fn extent(incident: &Incident, missing: usize, sent: &Sent<'_>, snapshot: &Snapshot) -> Option<String> {
    let affected = incident.canaries?.max(missing);
    if incident.name == ConditionName::Leaking {
        let copies = words::count(affected, "copy was", "copies were");
        return Some(format!("{copies} found with another tenant"));
    }
    let (tenants, until) = (remaining::tenants(incident, snapshot), incident.end.unwrap_or(snapshot.at));
    let whole = sent.between(&tenants, incident.beginning, until, affected);
    Some(format!("{affected} of {whole} canaries affected"))
}

/// What the sentence and the report are written from.
struct Parts<'a> {
    who: &'a str,
    summary: &'a str,
    /// How many canaries it affected.
    extent: Option<&'a str>,
    /// What is still open although it is over.
    open: Option<&'a str>,
    view: &'a ConditionView,
}

/// `acme STUCK at transit since 03:10:02 UTC (12 min): none of 25 canaries sent since then got through`, or
/// `acme LOSING at transit from 03:10:02 to 03:25:10 UTC (15 min): recovered, 31 of 45 canaries affected`.
fn text(incident: &Incident, state: &str, parts: &Parts<'_>, now: Timestamp) -> String {
    let who = match parts.who {
        "" => String::new(),
        one if incident.tenants().count() == 1 => format!("{one} "),
        several => format!("{several}: "),
    };
    let (begin, what) = (incident.beginning, &parts.view.what);
    let extent = parts.extent.map_or_else(String::new, |extent| format!(", {extent}"));
    if let Some(end) = incident.end {
        let (from, to) = (words::clock(begin, now), words::clock(end, now));
        let lasted = words::age(end.since(begin));
        let state = match parts.open {
            Some(open) => format!("nothing new since, but still open: {open}"),
            None if incident.is_gone() => NOT_WATCHED.to_owned(),
            None => "recovered".to_owned(),
        };
        return format!("{who}{what} from {from} to {to} ({lasted}): {state}{extent}");
    }
    let since = format!("since {} ({})", words::clock(begin, now), words::age(now.since(begin)));
    if state == "unproven" {
        return format!("{who}{what} {since}: no longer seen, but nothing proves that it is over{extent}");
    }
    format!("{who}{what} {since}: {}", parts.summary)
}

/// Lines of plain text for the channel in which people work on the incident.
fn report(
    incident: &Incident,
    parts: &Parts<'_>,
    runbook: &str,
    now: Timestamp,
    settings: &Settings,
) -> String {
    let view = parts.view;
    let (begin, full) = (incident.beginning, |at: Timestamp| at.strftime("%F %T UTC"));
    let when = match incident.end {
        Some(end) => format!("{} to {} ({})", full(begin), full(end), words::age(end.since(begin))),
        None => format!("since {} ({})", full(begin), words::age(now.since(begin))),
    };
    let who = if parts.who.is_empty() { "all tenants" } else { parts.who };
    let is_resolved = incident.end.is_some() && parts.open.is_none() && !incident.is_gone();
    let mut lines = vec![
        format!("{} {who}: {}", if is_resolved { "RESOLVED" } else { "INCIDENT" }, view.what),
        format!("when:   {when}"),
        format!("impact: {}", parts.summary),
        format!("cause:  the {}", view.blame),
    ];
    lines.extend(parts.open.map(|open| format!("open:   {open}")));
    if incident.is_gone() {
        lines.push(format!("open:   {NOT_WATCHED}, so nothing proves that it is over"));
    }
    if !is_resolved {
        lines.push(format!("first:  {}", view.first_step));
    }
    if let Some(base) = &settings.external_url {
        let base = base.trim_end_matches('/');
        let query = view
            .tenant
            .as_deref()
            .map_or_else(String::new, |tenant| format!("?tenant={}", words::percent_encoded(tenant)));
        lines.push(format!("page:   {base}/traces/recent{query}"));
        if runbook.starts_with('/') {
            lines.push(format!("guide:  {base}{runbook}"));
        }
    }
    if !runbook.starts_with('/') {
        lines.push(format!("guide:  {runbook}"));
    }
    lines.push(format!("as of {} by traceprobe", full(now)));
    lines.join("\n")
}
