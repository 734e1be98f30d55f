//! Leaked canaries: those that were found with another tenant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Violation;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::Locator;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId, Topology};

/// Isolation violations that a snapshot shows.
pub(super) const MAX_SHOWN: usize = 100;
/// Leaked copies that are known, so that a copy that is read again is not counted again. Those of the oldest
/// canaries are forgotten first.
pub const MAX_KNOWN_LEAKS: usize = 10_000;

/// Leaks of a tenant's canaries at a stage are one episode while less than this passes between two of them:
/// the default window of conditions.
const EPISODE_GAP: Duration = Duration::from_mins(15);
/// The same in intervals of the tenant, whichever is longer.
const EPISODE_INTERVALS: u32 = 3;

/// The last unbroken row of leaks that concern one tenant at one stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeakEpisode {
    /// The tenant [concerned](Violation::concerns).
    pub tenant: TenantId,
    /// Where the canaries were found.
    pub stage: StageId,
    /// When the first canary of which a copy leaked was planned.
    pub since: Timestamp,
    /// When the last leaked copy was noticed.
    pub last: Timestamp,
    /// Number of leaked copies.
    pub count: usize,
    /// The source in which the last one was found, with the row's tenant label if there is one.
    pub found_in: ForeignText,
}

/// Isolation violations: the last ones to be shown, the last episode of each tenant and stage, and all that
/// are known, so that none is counted twice.
#[derive(Debug, Default)]
pub(super) struct Leaks {
    episodes: BTreeMap<(TenantId, StageId), LeakEpisode>,
    shown: VecDeque<Violation>,
    known: BTreeMap<(TraceId, StageId, Locator), Violation>,
    /// The canaries of `known`.
    traces: BTreeMap<TraceId, BTreeSet<StageId>>,
}

impl Leaks {
    /// Remembers a leaked copy. Returns whether it is new.
    pub(super) fn remember(&mut self, found: Violation, topology: &Topology) -> bool {
        let key = (found.trace, found.stage, found.locator.clone());
        if self.known.contains_key(&key) {
            return false;
        }
        self.known.insert(key, found.clone());
        self.traces.entry(found.trace).or_default().insert(found.stage);
        if self.known.len() > MAX_KNOWN_LEAKS
            && let Some(((oldest, ..), _)) = self.known.pop_first()
            && self.known.first_key_value().is_none_or(|((next, ..), _)| *next != oldest)
        {
            self.traces.remove(&oldest);
        }
        self.note_episode(&found, topology);
        self.shown.push_back(found);
        if self.shown.len() > MAX_SHOWN {
            self.shown.pop_front();
        }
        true
    }

    fn note_episode(&mut self, found: &Violation, topology: &Topology) {
        let Some(tenant) = found.concerned() else { return };
        let gap = EPISODE_GAP.max(topology.tenant(tenant).interval * EPISODE_INTERVALS);
        let (at, stage) = (found.at, found.stage);
        let planned = found.trace.planned_at().min(at);
        let found_in = || found.found_in.clone();
        let begin =
            || LeakEpisode { tenant, stage, since: planned, last: at, count: 0, found_in: found_in() };
        let episode = self.episodes.entry((tenant, stage)).or_insert_with(begin);
        if at.since(episode.last) > gap {
            *episode = begin();
        }
        episode.since = episode.since.min(planned);
        episode.last = at;
        episode.count += 1;
        episode.found_in = found_in();
    }

    /// Takes over violations of a previous run. Their tenants and stages must be those of the topology.
    pub(super) fn restore(&mut self, found: impl IntoIterator<Item = Violation>, topology: &Topology) {
        for violation in found {
            self.remember(violation, topology);
        }
        self.shown.make_contiguous().sort_by_key(|violation| violation.at);
        // They may be older than what this run has found.
        self.episodes.clear();
        let mut all: Vec<_> = self.known.values().cloned().collect();
        all.sort_by_key(|violation| violation.at);
        all.iter().for_each(|violation| self.note_episode(violation, topology));
    }

    /// The last episode of each tenant and stage.
    pub(super) fn episodes(&self) -> impl Iterator<Item = &LeakEpisode> {
        self.episodes.values()
    }

    /// The stages at which a canary was found with another tenant.
    pub(super) fn stages_of(&self, id: TraceId) -> impl Iterator<Item = StageId> {
        self.traces.get(&id).into_iter().flatten().copied()
    }

    /// The last ones, oldest first.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Violation> {
        self.shown.iter()
    }

    /// Every known leaked copy.
    pub(super) fn known(&self) -> impl Iterator<Item = &Violation> {
        self.known.values()
    }
}
