//! An incident as text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::condition::ConditionView;
use super::mark::Mark;
use crate::domain::conditions::{Condition, ConditionName, Severity};
use crate::domain::incidents::{Episode, Incident, State};
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;
use crate::web::words;

/// With at most this many tenants, all are named in the text.
const TENANTS_NAMED: usize = 3;

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
    pub(crate) place: Option<String>,
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
    pub(crate) fn new(incident: &Incident, snapshot: &Snapshot, settings: &Settings) -> Option<Self> {
        let map = &*snapshot.topology;
        let worst = incident.worst()?;
        let condition = Condition { severity: incident.severity, ..worst.condition.clone() };
        let view = ConditionView::new(&condition, snapshot, settings);
        let name = |tenant: TenantId| map.tenant(tenant).name.clone();
        let tenants: Vec<_> = incident.tenants().map(name).collect();
        let state = state(incident);
        Some(Self {
            id: format!("{:x}", incident.id.0),
            key: view.key,
            severity: incident.severity,
            mark: if incident.end.is_some() { Mark::Well } else { view.mark },
            text: text(incident, state, &tenants, &view, snapshot.at),
            place: view.place,
            state,
            beginning: incident.beginning,
            began_before: worst.began_before,
            end: incident.end,
            canaries: incident.canaries,
            of_all: incident.of_all,
            episodes: incident.episodes.iter().map(|it| EpisodeView::new(it, name)).collect(),
            runbook: settings.chapter(condition.name.profile().chapter),
        })
    }
}

impl EpisodeView {
    fn new(episode: &Episode, name: impl Fn(TenantId) -> Arc<str>) -> Self {
        let condition = &episode.condition;
        Self {
            tenant: condition.subject.tenant.map(name),
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
        State::Ended { .. } => "ended",
    }
}

/// The state of an incident: that of the episode that is furthest from its end.
fn state(incident: &Incident) -> &'static str {
    let states: Vec<_> = incident.episodes.iter().map(|episode| state_of(episode)).collect();
    ["ongoing", "unproven", "over"].into_iter().find(|state| states.contains(state)).unwrap_or("ended")
}

/// `acme STUCK at transit since 03:10:02 UTC (12 min): 24 canaries did not get through`, or `acme LOSING at transit from
/// 03:10:02 to 03:25:10 UTC (15 min): recovered, 31 canaries affected`.
fn text(
    incident: &Incident,
    state: &str,
    tenants: &[Arc<str>],
    view: &ConditionView,
    now: Timestamp,
) -> String {
    let who = match tenants {
        [] => String::new(),
        [one] => format!("{one} "),
        all if incident.of_all => format!("All {} tenants: ", all.len()),
        some if some.len() <= TENANTS_NAMED => format!("{}: ", some.join(", ")),
        some => format!("{} tenants ({}, …): ", some.len(), some[..TENANTS_NAMED].join(", ")),
    };
    let (begin, what) = (incident.beginning, &view.what);
    let canaries = match incident.canaries {
        Some(all) => format!(", {} affected", words::count(all, "canary", "canaries")),
        None => String::new(),
    };
    if let Some(end) = incident.end {
        let (from, to) = (words::clock(begin, now), words::clock(end, now));
        let lasted = words::age(end.since(begin));
        return format!("{who}{what} from {from} to {to} ({lasted}): recovered{canaries}");
    }
    let since = format!("since {} ({})", words::clock(begin, now), words::age(now.since(begin)));
    if state == "unproven" {
        return format!("{who}{what} {since}: no longer seen, but nothing proves that it is over{canaries}");
    }
    // The numbers of one tenant are not those of all.
    let summary = if tenants.len() > 1 && incident.canaries.is_some() {
        format!("{} affected", words::count(incident.canaries.unwrap_or_default(), "canary", "canaries"))
    } else {
        view.summary.clone()
    };
    format!("{who}{what} {since}: {summary}")
}
