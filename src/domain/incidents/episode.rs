//! One unbroken episode of a condition of one tenant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::canaries::AffectedCanaries;
use super::recovery;
use crate::domain::conditions::{Condition, ConditionName, Severity, Subject};
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, LogGroupId, Topology};
use crate::domain::tracker::Snapshot;

/// How long a condition must name another place before its episode does.
const PLACE_SETTLES: Duration = Duration::from_mins(1);

/// Names an incident, and an episode. Larger is later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IncidentId(pub u64);

/// Whether an episode goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The condition is a problem.
    Ongoing,
    /// The condition is no problem any more, but nothing proves that all is well: a stage is blind, or no
    /// canaries are sent.
    Unproven,
    /// It is over, but may come back.
    Over {
        /// When it was over.
        since: Timestamp,
        /// Since when nothing of it has been seen.
        well_from: Timestamp,
    },
    /// It is over.
    Ended {
        /// When it was over.
        at: Timestamp,
    },
    /// Its tenant or stage was removed from the configuration before anything proved that it is over.
    Gone {
        /// When it was watched last.
        at: Timestamp,
    },
}

/// The unbroken time in which a condition of one tenant, of a stage of all tenants or of the probe is a
/// problem.
#[derive(Clone, PartialEq, Debug)]
pub struct Episode {
    pub id: IncidentId,
    /// The incident that it is part of: episodes of one condition at one place.
    pub incident: IncidentId,
    /// The condition as it was last seen as a problem; without its canaries.
    pub condition: Condition,
    /// The first failure, such as the planned injection of the first affected canary. It never moves later.
    pub beginning: Timestamp,
    /// Whether the beginning is only known to be no later: it was a problem when it was first seen.
    pub began_before: bool,
    /// When it was noticed.
    pub noticed_at: Timestamp,
    pub state: State,
    /// The worst severity so far.
    pub worst: Severity,
    /// The different canaries that it has affected so far.
    pub canaries: AffectedCanaries,
    /// The median time that the hop, or the whole path, took before it began.
    pub usual: Option<Duration>,
    /// Since when the condition names another place.
    pub elsewhere_since: Option<Timestamp>,
    /// The problems that followed from it, and when each that still does began, as far as is known.
    pub consequences: BTreeMap<(ConditionName, Subject), Option<Timestamp>>,
}

impl Episode {
    /// The episode of a problem that has just been noticed, and began at `since` if that is known.
    pub(super) fn new(
        id: IncidentId,
        problem: &Condition,
        since: Option<Timestamp>,
        snapshot: &Snapshot,
    ) -> Self {
        let beginning = since.unwrap_or(snapshot.at);
        let mut canaries = AffectedCanaries::default();
        canaries.add(&problem.canaries, beginning);
        Self {
            id,
            incident: id,
            condition: Condition { canaries: Vec::new(), ..problem.clone() },
            beginning,
            began_before: since.is_none(),
            noticed_at: snapshot.at,
            state: State::Ongoing,
            worst: problem.severity,
            canaries,
            usual: recovery::usual(snapshot, problem.subject, beginning),
            elsewhere_since: None,
            consequences: BTreeMap::new(),
        }
    }

    /// Takes in the condition as it is now.
    pub(super) fn update(&mut self, problem: &Condition, now: Timestamp) {
        self.state = State::Ongoing;
        self.worst = self.worst.min(problem.severity);
        self.canaries.add(&problem.canaries, self.beginning);
        let place = self.settled_place(problem, now);
        // What was affected and has arrived since is no proof that all was well when it was planned.
        let last = self.condition.last.max(problem.last);
        self.condition = Condition { canaries: Vec::new(), last, ..problem.clone() };
        self.condition.subject.place = place;
    }

    /// The place, which changes only if it is another one for a while: when a stall is cleared, the backlog
    /// waits for each of the later hops for a moment.
    fn settled_place(&mut self, problem: &Condition, now: Timestamp) -> Option<HopRange> {
        let (place, new) = (self.condition.subject.place, problem.subject.place);
        if problem.name != self.condition.name || new == place {
            self.elsewhere_since = None;
            return new;
        }
        let since = *self.elsewhere_since.get_or_insert(now);
        if now.since(since) < PLACE_SETTLES { place } else { new }
    }

    /// Becomes the episode of a problem from which its own condition follows.
    pub(super) fn continue_under(&mut self, problem: &Condition, began: Timestamp, now: Timestamp) {
        self.consequences.insert(consequence(&self.condition), None);
        self.beginning = began.min(self.beginning);
        // It may be the same condition at an earlier stage, which is no place that has to settle.
        self.condition.subject = problem.subject;
        self.update(problem, now);
    }

    /// Takes over what this run has noticed of it. This one, from a previous run, began before.
    pub(super) fn continue_as(&mut self, own: Self) {
        let beginning = self.beginning.min(own.beginning);
        *self = Self { condition: own.condition, state: own.state, beginning, ..self.clone() };
    }

    /// Takes over the canaries of an episode that turned out to follow from it.
    pub(super) fn take_over(&mut self, merged: &Self) {
        self.canaries.join(&merged.canaries, self.beginning);
    }

    /// Notes the problems that follow from it. `was` is the condition that it was one of before. This one was said
    /// to go on since the episode began, and may have begun later.
    pub(super) fn note_consequences(
        &mut self,
        problems: &[&Condition],
        was: Option<&Condition>,
        map: &Topology,
    ) {
        let was = was.map(consequence);
        let mut present = BTreeSet::new();
        for problem in problems {
            if self.explains(problem, map) {
                self.canaries.add(&problem.canaries, self.beginning);
                let key = consequence(problem);
                let began = problem.since.filter(|_| was != Some(key));
                let since = self.consequences.entry(key).or_default();
                *since = since.or(began);
                present.insert(key);
            }
        }
        // What comes back later begins again.
        for (key, since) in &mut self.consequences {
            *since = since.filter(|_| present.contains(key));
        }
    }

    /// Since when a problem that follows from it has been one, if it is known to.
    pub(super) fn since_of(&self, problem: &Condition, map: &Topology) -> Option<Timestamp> {
        self.explains(problem, map)
            .then(|| self.consequences.get(&consequence(problem)).copied().flatten())?
    }

    /// Notes that the condition is no problem any more. `lingers` says that something which follows from it
    /// still is one.
    pub(super) fn note_absence(&mut self, snapshot: &Snapshot, lingers: bool) {
        let since = match self.state {
            State::Over { since, .. } => Some(since),
            State::Ongoing | State::Unproven | State::Ended { .. } | State::Gone { .. } => {
                recovery::since(self, snapshot)
            }
        };
        self.state = match (since, self.state) {
            (None, _) => State::Unproven,
            (Some(since), State::Over { well_from, .. }) if !lingers => State::Over { since, well_from },
            (Some(since), _) => State::Over { since, well_from: snapshot.at },
        };
    }

    /// Ends it if all has been well for so long; returns whether it has ended.
    pub(super) fn end_if_well(&mut self, now: Timestamp, over_after: Duration) -> bool {
        if let State::Over { since, well_from } = self.state
            && now.since(well_from) >= over_after
        {
            self.state = State::Ended { at: since };
        }
        self.has_ended()
    }

    /// Ends it if its tenant or its stage is gone; returns whether it has ended.
    pub(super) fn end_if_gone(&mut self, map: &Topology, now: Timestamp) -> bool {
        let Subject { tenant, place } = self.condition.subject;
        let lasts = |place: HopRange| map.has_stage(place.first) && map.has_stage(place.last);
        if tenant.is_some_and(|tenant| map.is_gone(tenant)) || !place.is_none_or(lasts) {
            self.state = self.end().map_or(State::Gone { at: now }, |at| State::Ended { at });
        }
        self.has_ended()
    }

    /// Numbers its log groups as a topology does that succeeds the one of `before`.
    pub(super) fn regroup(&mut self, before: &Topology, map: &Topology) {
        let Some(tenant) = self.condition.subject.tenant else { return };
        let groups = &before.tenant(tenant).log_groups;
        let place = |group: &LogGroupId| {
            let name = groups.get(usize::from(group.0))?;
            map.log_group_ids(tenant).find(|id| map.log_group(tenant, *id) == name)
        };
        self.condition.log_groups = self.condition.log_groups.iter().filter_map(place).collect();
    }

    /// Whether a problem is this one: the same condition of the same tenant at the same place, or one that
    /// names the place that is most to blame.
    #[must_use]
    pub fn is_of(&self, problem: &Condition) -> bool {
        let (own, other) = (self.condition.subject, problem.subject);
        self.condition.name == problem.name
            && own.tenant == other.tenant
            && (own.place == other.place || problem.name.has_one_place())
    }

    /// Whether a problem follows from it, or is what remains of it: all affected canaries were planned before
    /// it was over.
    pub(super) fn explains(&self, problem: &Condition, map: &Topology) -> bool {
        let remains = match self.state {
            State::Over { since, .. } => problem.last.is_some_and(|last| last < since),
            State::Ongoing | State::Unproven => true,
            State::Ended { .. } | State::Gone { .. } => false,
        };
        remains && !self.is_of(problem) && problem.follows_from(&self.condition, map)
    }

    /// Whether it differs from an older state in more than figures that change by the second. While something
    /// lingers, the instant since which all is well is one of them.
    pub(super) fn is_news_to(&self, old: &Self) -> bool {
        let proven = |episode: &Self| (matches!(episode.state, State::Unproven), episode.has_ended());
        let figures = |episode: &Self| {
            let Condition { name, severity, subject, affected, of, last, .. } = episode.condition;
            (name, severity, subject, affected, of, last, episode.condition.log_groups.clone())
        };
        figures(self) != figures(old)
            || (self.incident, self.beginning) != (old.incident, old.beginning)
            || (self.end(), proven(self)) != (old.end(), proven(old))
            || self.canaries.count() != old.canaries.count()
            || self.elsewhere_since != old.elsewhere_since
            || self.consequences != old.consequences
    }

    /// Whether it is over and a problem that followed from it goes on, which so is what it was all the time.
    /// What leaked or was lost stays what it was, and so does a stall of all tenants.
    pub(super) fn was_milder_as(&self, problem: &Condition, map: &Topology) -> bool {
        let State::Over { since, .. } = self.state else { return false };
        let only_took_long = matches!(
            self.condition.name,
            ConditionName::Stuck | ConditionName::Missing | ConditionName::Slow
        );
        only_took_long
            && self.consequences.contains_key(&consequence(problem))
            && problem.since.is_some_and(|began| began < since)
            && problem.follows_from(&self.condition, map)
    }

    /// Whether both are of one condition at one place.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.condition.name == other.condition.name
            && self.condition.subject.place == other.condition.subject.place
    }

    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. } | State::Gone { .. })
    }

    /// Whether it is not watched any more, although nothing proved that it is over.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone { .. })
    }

    /// When it was over; `None` while it goes on.
    #[must_use]
    pub const fn end(&self) -> Option<Timestamp> {
        match self.state {
            State::Ongoing | State::Unproven => None,
            State::Over { since, .. } => Some(since),
            State::Ended { at } | State::Gone { at } => Some(at),
        }
    }

    /// When it began, if that is known.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        (!self.began_before).then_some(self.beginning)
    }

    /// The number of different canaries that it has affected; `None` for conditions that do not count them.
    #[must_use]
    pub fn affected(&self) -> Option<usize> {
        self.condition.affected.map(|now| now.max(self.canaries.count()))
    }
}

/// What a problem that follows from another one is remembered by: its subject, without a place that may change.
fn consequence(problem: &Condition) -> (ConditionName, Subject) {
    let place = problem.subject.place.filter(|_| !problem.name.has_one_place());
    (problem.name, Subject { tenant: problem.subject.tenant, place })
}

/// When a problem began, if that is known. An earlier episode of it ended at `floor`.
pub(super) fn first_failure(problem: &Condition, floor: Option<Timestamp>) -> Option<Timestamp> {
    let is_after = |at: &Timestamp| floor.is_none_or(|floor| *at >= floor);
    let first = || problem.canaries.iter().map(|id| id.planned_at()).find(is_after);
    problem.since.filter(is_after).or_else(first)
}
