//! The episodes of one condition at one stage, as people read them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::episode::{Episode, IncidentId, State};
use crate::domain::conditions::{ConditionName, Severity};
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, TenantId, Topology};

/// One cause: the episodes of one condition at one place, of one or several tenants.
#[derive(Clone, PartialEq, Debug)]
pub struct Incident {
    pub id: IncidentId,
    pub name: ConditionName,
    /// Where it is; `None` for what has no place.
    pub place: Option<HopRange>,
    /// The worst severity so far.
    pub severity: Severity,
    /// When the first episode began.
    pub beginning: Timestamp,
    /// When the last one was over; `None` while one goes on.
    pub end: Option<Timestamp>,
    /// Whether every episode has ended, so that it will not go on.
    pub has_ended: bool,
    /// Number of different canaries that it affected; `None` if it does not count them.
    pub canaries: Option<usize>,
    /// Its episodes, the earliest first.
    pub episodes: Vec<Arc<Episode>>,
    /// Whether it concerns every tenant.
    pub of_all: bool,
}

impl Incident {
    /// Groups episodes by their incident. Those that go on come first, by severity, the larger ratio of affected
    /// canaries, and what happened last; then those that have ended, the last one first.
    #[must_use]
    pub fn group(episodes: &[Arc<Episode>], map: &Topology) -> Vec<Self> {
        let mut groups: BTreeMap<IncidentId, Vec<Arc<Episode>>> = BTreeMap::new();
        for episode in episodes {
            groups.entry(episode.incident).or_default().push(episode.clone());
        }
        let mut all: Vec<_> = groups.into_iter().filter_map(|(id, of)| Self::new(id, of, map)).collect();
        all.sort_by_key(|incident| {
            let recency = Reverse(incident.end.unwrap_or(incident.beginning));
            let weight = (incident.severity, Reverse(incident.affected_millionths()));
            (incident.has_ended, Some(weight).filter(|_| !incident.has_ended), recency)
        });
        all
    }

    fn new(id: IncidentId, mut episodes: Vec<Arc<Episode>>, map: &Topology) -> Option<Self> {
        episodes.sort_by_key(|episode| (episode.beginning, episode.condition.subject.tenant));
        let (first, last) = (episodes.first()?, episodes.last()?);
        let goes_on = episodes.iter().any(|episode| episode.end().is_none());
        let mut tenants: Vec<TenantId> =
            episodes.iter().filter_map(|episode| episode.condition.subject.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let no_tenant = episodes.iter().any(|episode| episode.condition.subject.tenant.is_none());
        Some(Self {
            id,
            name: last.condition.name,
            place: last.condition.subject.place,
            severity: episodes.iter().map(|episode| episode.worst).min()?,
            beginning: first.beginning,
            end: if goes_on { None } else { episodes.iter().filter_map(|episode| episode.end()).max() },
            has_ended: episodes.iter().all(|episode| episode.has_ended()),
            canaries: episodes.iter().filter_map(|episode| episode.affected()).reduce(|a, b| a + b),
            of_all: no_tenant || tenants.len() == map.real_tenants().count(),
            episodes,
        })
    }

    /// The tenants concerned, each once, in the order in which it began for them.
    pub fn tenants(&self) -> impl Iterator<Item = TenantId> + '_ {
        let mut seen = Vec::new();
        let tenants = self.episodes.iter().filter_map(|episode| episode.condition.subject.tenant);
        tenants.filter(move |tenant| {
            let is_new = !seen.contains(tenant);
            seen.push(*tenant);
            is_new
        })
    }

    /// The episode that is told if only one is: the one that goes on with the largest ratio.
    #[must_use]
    pub fn worst(&self) -> Option<&Episode> {
        let weight = |episode: &&Arc<Episode>| {
            let goes_on = matches!(episode.state, State::Ongoing);
            (goes_on, episode.condition.affected_millionths(), Reverse(episode.beginning))
        };
        self.episodes.iter().max_by_key(weight).map(AsRef::as_ref)
    }

    /// Whether it has ended, and one of its episodes only because its tenant or stage is not watched any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.has_ended && self.episodes.iter().any(|episode| episode.is_gone())
    }

    /// The largest ratio of affected canaries among its episodes, in millionths.
    #[must_use]
    pub fn affected_millionths(&self) -> usize {
        self.episodes.iter().map(|episode| episode.condition.affected_millionths()).max().unwrap_or_default()
    }
}
