//! Incidents: what was wrong, where, from when to when.
//!
//! A condition is computed from each snapshot alone and forgets what has left its window. [`Incidents`]
//! remembers: an *episode* is the unbroken time in which a condition of one tenant is a problem, and an
//! *incident* is the episodes of one condition at one stage that overlap. An episode begins with the first
//! failure and that does not move. It is over when something proves that all is well, and it ends when all
//! has been well for a while. What follows from another problem belongs to the episode of that problem.

mod canaries;
mod episode;
mod incident;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use self::canaries::AffectedCanaries;
pub use self::episode::{Episode, IncidentId, State};
pub use self::incident::Incident;
use super::conditions::{Assessment, Condition, ConditionName};
use super::time::Timestamp;
use super::topology::Topology;
use super::tracker::Snapshot;

/// Ended episodes that are remembered.
pub const MAX_ENDED: usize = 1_000;
/// Ended episodes are forgotten after this time.
pub const KEPT_FOR: Duration = Duration::from_hours(30 * 24);

/// All episodes: those that go on, and the last ones that have ended.
#[derive(Debug)]
pub struct Incidents {
    /// How long all must have been well before an episode ends.
    over_after: Duration,
    open: Vec<Episode>,
    /// Oldest end first.
    ended: VecDeque<Arc<Episode>>,
    last_id: u64,
    /// Whether anything may have changed since the episodes were last shown.
    has_news: bool,
}

/// What happened to an episode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Began,
    /// Its condition turned out to be another one than this. Numbers, place and state may have changed, too.
    Became {
        was: ConditionName,
    },
    /// Its numbers, place or state changed.
    Changed,
    /// It turned out to follow from another one, and is part of that.
    Merged,
    Ended,
}

impl Incidents {
    /// Makes an empty list. An episode ends once all has been well for `over_after`.
    #[must_use]
    pub const fn new(over_after: Duration) -> Self {
        Self { over_after, open: Vec::new(), ended: VecDeque::new(), last_id: 0, has_news: false }
    }

    /// Takes over the episodes of a previous run, open or ended.
    pub fn restore(&mut self, episodes: Vec<Episode>) {
        for mut episode in episodes {
            self.last_id = self.last_id.max(episode.id.0).max(episode.incident.0);
            match episode.state {
                State::Ended { .. } | State::Gone { .. } => self.ended.push_back(Arc::new(episode)),
                State::Ongoing | State::Unproven | State::Over { .. } => {
                    // The store may be read late, when this run has noticed the same by itself.
                    let found = self.open.extract_if(.., |own| own.is_of(&episode.condition)).next();
                    if let Some(own) = found {
                        episode.continue_as(own);
                    }
                    self.open.push(episode);
                }
            }
        }
        self.ended.make_contiguous().sort_by_key(|episode| episode.end());
        self.has_news = true;
    }

    /// Takes in what is wrong now. Returns the episodes that changed, each with what happened.
    pub fn update(&mut self, found: &Assessment, snapshot: &Snapshot) -> Vec<(Episode, Step)> {
        let map = &*snapshot.topology;
        let before = self.open.clone();
        let problems: Vec<&Condition> = found.problems().collect();
        let mut seen = self.assign(&problems, snapshot);
        // An episode that explained one problem may have turned out to be that of another.
        seen.extend(self.assign(&problems, snapshot));
        for episode in &mut self.open {
            let was = before.iter().find(|old| old.id == episode.id).map(|old| &old.condition);
            episode.note_consequences(&problems, was, map);
            if seen.contains(&episode.id) {
                continue;
            }
            // What follows from another problem by now is still one, and may be merged below.
            match problems.iter().find(|problem| episode.is_of(problem)) {
                Some(problem) if episode.end().is_none() => episode.update(problem, snapshot.at),
                Some(_) => episode.note_absence(snapshot, true),
                None => {
                    let lingers = problems.iter().any(|problem| episode.explains(problem, map));
                    episode.note_absence(snapshot, lingers);
                }
            }
        }
        let merged = self.merge(&seen, map);
        if !merged.is_empty() {
            // What they explained need not follow from what they are part of now.
            self.assign(&problems, snapshot);
        }
        self.regroup();
        let (now, over_after) = (snapshot.at, self.over_after);
        let ended: Vec<_> =
            self.open.extract_if(.., |episode| episode.end_if_well(now, over_after)).collect();
        self.ended.extend(ended.iter().cloned().map(Arc::new));
        self.forget(now);
        let is_known = |episode: &Episode| before.iter().any(|old| old.id == episode.id);
        let merged = merged.into_iter().filter(is_known).map(|episode| (episode, Step::Merged));
        let ended = ended.into_iter().map(|episode| (episode, Step::Ended));
        // Figures of what goes on change without being told.
        self.has_news |= self.has_open() || !before.is_empty();
        changes(&before, &self.open).into_iter().chain(merged).chain(ended).collect()
    }

    /// Ends the episodes of tenants and stages that are gone from the topology, and returns them.
    pub fn succeed(&mut self, before: &Topology, map: &Topology, now: Timestamp) -> Vec<(Episode, Step)> {
        self.open.iter_mut().for_each(|episode| episode.regroup(before, map));
        self.ended.iter_mut().for_each(|episode| {
            if !episode.condition.log_groups.is_empty() {
                Arc::make_mut(episode).regroup(before, map);
            }
        });
        let gone: Vec<_> = self.open.extract_if(.., |episode| episode.end_if_gone(map, now)).collect();
        self.ended.extend(gone.iter().cloned().map(Arc::new));
        self.forget(now);
        self.has_news = true;
        gone.into_iter().map(|episode| (episode, Step::Ended)).collect()
    }

    /// Brings the episodes of all problems up to date, and returns which these are.
    fn assign(&mut self, problems: &[&Condition], snapshot: &Snapshot) -> BTreeSet<IncidentId> {
        let map = &*snapshot.topology;
        let mut seen = BTreeSet::new();
        for problem in problems {
            let is_cause = |other: &&&Condition| {
                problem.follows_from(other, map) && !self.is_remainder(other, problem, map)
            };
            let cause = problems.iter().find(is_cause).copied();
            if let Some(episode) = self.episode_of(problem, cause, snapshot) {
                seen.insert(episode.id);
            }
        }
        seen
    }

    /// Whether a problem is only what remains of something that is over, which does not explain another one.
    fn is_remainder(&self, problem: &Condition, other: &Condition, map: &Topology) -> bool {
        let is_over = |episode: &&Episode| episode.end().is_some();
        !self.open.iter().any(|episode| episode.is_of(problem))
            && self
                .open
                .iter()
                .filter(is_over)
                .any(|it| it.explains(problem, map) && !it.explains(other, map))
    }

    /// The open episode of a problem, brought up to date; it is begun if there is none. `None` for what
    /// belongs to another episode: it follows from a `cause`, or remains of what is over.
    fn episode_of(
        &mut self,
        problem: &Condition,
        cause: Option<&Condition>,
        snapshot: &Snapshot,
    ) -> Option<&Episode> {
        let map = &*snapshot.topology;
        let own = self.open.iter().position(|episode| episode.is_of(problem));
        if let Some(cause) = cause {
            // It goes on by itself if it was there before its present cause.
            let was_first = |episode: &Episode| cause.since.is_some_and(|since| episode.beginning < since);
            own.filter(|at| was_first(&self.open[*at]))?;
        }
        if let Some(at) = own {
            self.open[at].update(problem, snapshot.at);
            return Some(&self.open[at]);
        }
        if self.open.iter().any(|episode| episode.explains(problem, map)) {
            return None;
        }
        let floor = self
            .ended
            .iter()
            .filter(|episode| episode.is_of(problem))
            .filter_map(|episode| episode.end())
            .max();
        let since = episode::first_failure(problem, floor);
        let began = since.unwrap_or(snapshot.at);
        // What was missing may turn out to be slow.
        let milder = self.open.iter().position(|episode| {
            episode.was_milder_as(problem, map) && floor.is_none_or(|floor| episode.beginning >= floor)
        });
        if let Some(at) = milder {
            self.open[at].continue_under(problem, began, snapshot.at);
            return Some(&self.open[at]);
        }
        // What follows from it may have been noticed first.
        let first = self.open.iter().position(|episode| {
            let goes_on = episode.end().is_none() && episode.beginning >= began;
            goes_on && episode.condition.follows_from(problem, map)
        });
        if let Some(at) = first {
            self.open[at].continue_under(problem, began, snapshot.at);
            return Some(&self.open[at]);
        }
        self.last_id = self.last_id.max(u64::try_from(snapshot.at.micros()).unwrap_or(0)) + 1;
        self.open.push(Episode::new(IncidentId(self.last_id), problem, since, snapshot));
        self.open.last()
    }

    /// Removes episodes that have turned out to follow from another one, and returns them.
    fn merge(&mut self, seen: &BTreeSet<IncidentId>, map: &Topology) -> Vec<Episode> {
        let causes: Vec<Episode> = self.open.iter().filter(|it| seen.contains(&it.id)).cloned().collect();
        let cause_of = |episode: &Episode| {
            let is_cause = |cause: &&Episode| {
                episode.beginning >= cause.beginning && episode.condition.follows_from(&cause.condition, map)
            };
            causes.iter().find(is_cause).map(|cause| cause.id)
        };
        let is_consequence = |episode: &mut Episode| {
            !seen.contains(&episode.id) && episode.end().is_none() && cause_of(episode).is_some()
        };
        let merged: Vec<Episode> = self.open.extract_if(.., is_consequence).collect();
        for episode in &merged {
            let cause = cause_of(episode);
            for cause in self.open.iter_mut().filter(|it| Some(it.id) == cause) {
                cause.take_over(episode);
            }
        }
        merged
    }

    /// Makes the episodes of one condition at one place one incident, which has the id of its first.
    fn regroup(&mut self) {
        for at in 0..self.open.len() {
            let first = self.open[..at].iter().find(|other| other.is_alike(&self.open[at]));
            let own = self.open[at].id;
            let alone = self.open[at].incident;
            // It may have moved to another place, away from the incident that it was part of.
            let left = self.open[..at]
                .iter()
                .any(|other| other.incident == alone && !other.is_alike(&self.open[at]));
            let incident = first.map_or(if left { own } else { alone }, |first| first.incident);
            self.open[at].incident = incident;
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let is_old = |episode: &Arc<Episode>| episode.end().is_some_and(|end| now.since(end) > KEPT_FOR);
        while self.ended.len() > MAX_ENDED || self.ended.front().is_some_and(is_old) {
            self.ended.pop_front();
        }
    }

    /// Every episode, to be shown.
    #[must_use]
    pub fn shown(&self) -> Arc<[Arc<Episode>]> {
        self.ended.iter().cloned().chain(self.open.iter().cloned().map(Arc::new)).collect()
    }

    /// The same if anything may have changed since the last call.
    pub fn take_news(&mut self) -> Option<Arc<[Arc<Episode>]>> {
        std::mem::take(&mut self.has_news).then(|| self.shown())
    }

    /// Whether anything goes on, or has not ended for good.
    #[must_use]
    pub const fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Every episode, for a store that may have missed changes.
    pub fn all(&self) -> impl Iterator<Item = &Episode> {
        self.ended.iter().map(AsRef::as_ref).chain(&self.open)
    }
}

/// Sets the beginning of every problem to what its episode, or that of its cause, remembers: it does not
/// move with the window.
pub(super) fn settle(found: &mut [Condition], episodes: &[Arc<Episode>], map: &Topology) {
    for problem in found.iter_mut().filter(|condition| condition.is_problem()) {
        let open = || episodes.iter().filter(|episode| !episode.has_ended());
        let own = open().find(|episode| episode.is_of(problem)).map(|episode| episode.since());
        let of_cause = || open().find_map(|episode| episode.since_of(problem, map)).map(Some);
        problem.since = own.or_else(of_cause).unwrap_or(problem.since);
    }
}

fn changes(before: &[Episode], now: &[Episode]) -> Vec<(Episode, Step)> {
    let step = |episode: &Episode| match before.iter().find(|old| old.id == episode.id) {
        None => Some(Step::Began),
        Some(old) if old.condition.name != episode.condition.name => {
            Some(Step::Became { was: old.condition.name })
        }
        Some(old) if episode.is_news_to(old) => Some(Step::Changed),
        Some(_) => None,
    };
    now.iter().filter_map(|episode| Some((episode.clone(), step(episode)?))).collect()
}
