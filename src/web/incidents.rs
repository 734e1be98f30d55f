//! Incidents on the page: those that go on, and those that ended lately.

use super::page::{Moment, from_page};
use super::view::{ConditionView, EpisodeView, IncidentView, Mark, Recent, Source};
use super::words;
use crate::domain::conditions::Precedence;
use crate::domain::time::Timestamp;

/// Incidents that go on, on the page.
const ONGOING_SHOWN: usize = 12;
/// Incidents that are over, on the page.
const ENDED_SHOWN: usize = 8;
/// Tenants of an incident whose own numbers are shown.
const TENANTS_SHOWN: usize = 20;

/// The section of incidents.
pub(crate) struct Incidents {
    pub(crate) ongoing: Vec<IncidentLine>,
    /// Those that go on and follow from another one.
    pub(crate) following: Vec<FollowingLine>,
    /// Number of incidents that go on and are only in the JSON.
    pub(crate) more_ongoing: usize,
    pub(crate) ended: Vec<EndedLine>,
    /// Number of incidents that have ended and are only in the JSON.
    pub(crate) more_ended: usize,
}

/// One that goes on, or is over and may come back.
pub(crate) struct IncidentLine {
    pub(crate) id: String,
    pub(crate) mark: Mark,
    pub(crate) precedence: Precedence,
    pub(crate) word: &'static str,
    pub(crate) who: String,
    /// Where it is, after the word that leads to it.
    pub(crate) site: Option<(&'static str, String)>,
    pub(crate) since: Option<Moment>,
    pub(crate) age: String,
    /// Whether it began earlier than the probe could notice.
    pub(crate) began_before: bool,
    pub(crate) summary: String,
    pub(crate) blame: &'static str,
    /// Whether it is no longer seen, but nothing proves that it is over.
    pub(crate) is_unproven: bool,
    /// Since when it is over, and for how long.
    pub(crate) over: Option<(Moment, String)>,
    /// What is still open although it is over.
    pub(crate) open: Option<String>,
    pub(crate) first_step: String,
    pub(crate) runbook: String,
    pub(crate) traces: Option<String>,
    pub(crate) report: String,
    /// What it means for each of several tenants.
    pub(crate) tenants: Vec<TenantLine>,
    pub(crate) more_tenants: usize,
}

/// One that goes on and follows from another one.
pub(crate) struct FollowingLine {
    pub(crate) what: String,
    pub(crate) since: Moment,
    pub(crate) age: String,
    pub(crate) summary: String,
}

pub(crate) struct TenantLine {
    pub(crate) name: String,
    pub(crate) link: String,
    pub(crate) since: Moment,
    pub(crate) state: Option<&'static str>,
    pub(crate) numbers: String,
}

pub(crate) struct EndedLine {
    pub(crate) id: String,
    pub(crate) what: String,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
    pub(crate) lasted: String,
    pub(crate) summary: String,
    /// What is still open although it has ended.
    pub(crate) open: Option<String>,
    pub(crate) runbook: String,
    pub(crate) report: String,
}

impl Incidents {
    pub(crate) fn new(view: &Recent<'_>) -> Self {
        let now = view.at;
        let is_open = |incident: &&IncidentView| incident.state != "ended";
        let uncovered = view.uncovered.iter().enumerate();
        let uncovered = uncovered.map(|(number, it)| IncidentLine::of_condition(number, it, view));
        let own = |it: &&IncidentView| it.follows_from.is_none();
        let all = view.incidents.iter().filter(is_open).filter(own).map(|it| IncidentLine::new(it, view));
        let mut ongoing: Vec<_> = all.chain(uncovered).collect();
        // As the heading: the worst first, and last what is over.
        ongoing.sort_by_key(|it| (it.over.is_some() && it.open.is_none(), it.precedence));
        let more_ongoing = ongoing.len().saturating_sub(ONGOING_SHOWN);
        ongoing.truncate(ONGOING_SHOWN);
        let ended = || view.incidents.iter().filter(|it| !is_open(it));
        Self {
            ongoing,
            following: view
                .incidents
                .iter()
                .filter(|it| is_open(it) && !own(it))
                .take(ONGOING_SHOWN)
                .map(|it| FollowingLine::new(it, now))
                .collect(),
            more_ongoing,
            ended: ended().take(ENDED_SHOWN).filter_map(|it| EndedLine::new(it, now)).collect(),
            more_ended: ended().count().saturating_sub(ENDED_SHOWN),
        }
    }
}

impl IncidentLine {
    fn new(incident: &IncidentView, view: &Recent<'_>) -> Self {
        let now = view.at;
        let several = incident.tenants.len() > 1;
        let episodes = || incident.episodes.iter().filter(|it| several && it.tenant.is_some());
        Self {
            id: format!("i{}", incident.id),
            mark: incident.mark,
            word: incident.word,
            who: incident.who.clone(),
            site: site(incident.key, incident.site.as_deref()),
            precedence: incident.precedence,
            since: Some(Moment::new(incident.beginning, now)),
            age: words::age(incident.end.unwrap_or(now).since(incident.beginning)),
            began_before: incident.began_before,
            summary: without_site(&incident.summary, incident.site.as_deref()),
            blame: incident.blame,
            is_unproven: incident.state == "unproven",
            over: incident.end.map(|end| (Moment::new(end, now), words::age(now.since(end)))),
            open: incident.open.clone(),
            first_step: with_remedy(
                &incident.first_step,
                incident.key,
                incident.place.as_deref(),
                &view.sources,
            ),
            runbook: from_page(&incident.runbook),
            traces: traces(
                incident.key,
                incident.place.as_deref(),
                &incident.tenants,
                incident.canaries.is_some(),
            ),
            report: incident.report.clone(),
            tenants: episodes().take(TENANTS_SHOWN).map(|it| TenantLine::new(it, now)).collect(),
            more_tenants: episodes().count().saturating_sub(TENANTS_SHOWN),
        }
    }

    /// A problem that is part of no incident yet.
    fn of_condition(number: usize, condition: &ConditionView, view: &Recent<'_>) -> Self {
        let (now, key) = (view.at, condition.key);
        let who = condition.tenant.as_deref().unwrap_or_default().to_owned();
        let tenants: Vec<_> = condition.tenant.iter().cloned().collect();
        let place = condition.place.as_deref();
        Self {
            id: format!("c{number}"),
            mark: condition.mark,
            word: condition.word,
            site: site(key, condition.site.as_deref()),
            precedence: condition.precedence,
            since: condition.since.map(|at| Moment::new(at, now)),
            age: condition.since.map_or_else(String::new, |at| words::age(now.since(at))),
            began_before: false,
            summary: without_site(&condition.summary, condition.site.as_deref()),
            blame: condition.blame,
            is_unproven: false,
            over: None,
            open: None,
            first_step: with_remedy(&condition.first_step, key, place, &view.sources),
            runbook: condition.runbook.as_deref().map_or_else(String::new, from_page),
            traces: traces(key, place, &tenants, condition.affected.is_some()),
            report: format!("{who} {}", condition.text).trim().to_owned(),
            tenants: Vec::new(),
            more_tenants: 0,
            who,
        }
    }
}

/// Where it is, after the word that leads to it.
fn site(key: &str, site: Option<&str>) -> Option<(&'static str, String)> {
    let preposition = if key == "not_injecting" { "into" } else { "at" };
    site.map(|site| (preposition, site.to_owned()))
}

/// The summary, which need not repeat where it is.
fn without_site(summary: &str, site: Option<&str>) -> String {
    let rest = site.and_then(|site| summary.strip_prefix(site)?.strip_prefix(": "));
    rest.unwrap_or(summary).to_owned()
}

impl FollowingLine {
    fn new(incident: &IncidentView, now: Timestamp) -> Self {
        Self {
            what: format!("{} {}", incident.who, incident.what).trim().to_owned(),
            since: Moment::new(incident.beginning, now),
            age: words::age(now.since(incident.beginning)),
            summary: match &incident.open {
                Some(open) => format!("{}; still open: {open}", incident.summary),
                None => incident.summary.clone(),
            },
        }
    }
}

/// The first step, for a drifted schema with what accepts the change.
fn with_remedy(first: &str, key: &str, place: Option<&str>, sources: &[Source]) -> String {
    let drifted = |source: &&Source| key == "schema_drift" && place == Some(&*source.stage);
    match sources.iter().filter(drifted).find(|source| source.drift.is_some()) {
        Some(source) => {
            format!("{first} To accept it, set {} for the stage ({}).", source.drift_remedy, source.name)
        }
        None => first.to_owned(),
    }
}

/// The link to the traces that it affects.
fn traces(key: &str, place: Option<&str>, tenants: &[std::sync::Arc<str>], counts: bool) -> Option<String> {
    let tenant = match tenants {
        [one] => format!("tenant={}&", words::percent_encoded(one)),
        _ => String::new(),
    };
    // A hop range is no stage.
    let stage = match place.filter(|place| !place.contains("..")) {
        Some(stage) => format!("stage={}&", words::percent_encoded(stage)),
        None => String::new(),
    };
    counts.then(|| format!("?{tenant}{stage}condition={key}#traces"))
}

impl TenantLine {
    fn new(episode: &EpisodeView, now: Timestamp) -> Self {
        let name = episode.tenant.as_deref().unwrap_or_default();
        let numbers = match (episode.affected, episode.of) {
            (Some(affected), Some(of)) => format!("{affected} of {of}"),
            // Copies, not canaries.
            (Some(affected), None) => words::count(affected, "copy", "copies"),
            (None, _) => String::new(),
        };
        Self {
            link: format!("?tenant={}", words::percent_encoded(name)),
            name: name.to_owned(),
            since: Moment::new(episode.beginning, now),
            state: (episode.state != "ongoing").then_some(episode.state),
            numbers,
        }
    }
}

impl EndedLine {
    fn new(incident: &IncidentView, now: Timestamp) -> Option<Self> {
        let end = incident.end?;
        let what = [Some(incident.who.as_str()), Some(incident.word), incident.site.as_deref()];
        let what: Vec<_> = what.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        Some(Self {
            id: format!("i{}", incident.id),
            what: what.join(" "),
            from: Moment::new(incident.beginning, now),
            to: Moment::new(end, now),
            lasted: words::age(end.since(incident.beginning)),
            summary: incident.summary.clone(),
            open: incident.open.clone(),
            runbook: from_page(&incident.runbook),
            report: incident.report.clone(),
        })
    }
}
