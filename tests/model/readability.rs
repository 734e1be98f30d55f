//! What the polls of a run showed of each source: for whom it can be read, and whose canaries it has shown.
//!
//! A record that is not opened may hold any canary that was planned before it arrived. It holds none of a tenant
//! whose canaries are found as they were sent in records of that shape, or of whom a later one was found in a
//! record that can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::history::*;

/// What the log tells about sources. Computed once for all canaries.
#[derive(Debug)]
pub struct Readability {
    /// For each entry of the log that is an answered poll, and each tenant.
    after: Vec<Vec<State>>,
    /// For each tenant and stage: the place of the first poll that showed a readable canary of the tenant.
    first_shown: Vec<[Option<usize>; STAGES]>,
    /// For each source and tenant: the places at which it turned blind or visible.
    visibility: BTreeMap<(usize, usize), Vec<(usize, bool)>>,
    /// When the first and the last canary were planned that another process is known to have sent, from which place on.
    of_other: Vec<(usize, RangeInclusive<Micros>)>,
}

/// What is known about one tenant at one source, in one run of the probe.
#[derive(Clone, Copy, Debug)]
struct State {
    /// When the last record arrived that may hold its canaries.
    unreadable: Micros,
    /// When the newest canary was planned that was found in a readable record.
    readable: Micros,
}

/// What one run of the probe has met at one source.
#[derive(Default)]
struct Met {
    last: BTreeMap<(Option<usize>, Shape), Micros>,
    credited: BTreeSet<(usize, Shape)>,
    newest: BTreeMap<usize, Micros>,
}

impl Met {
    fn state(&self, tenant: usize) -> State {
        let may_hold = |((label, shape), _): &(&(Option<usize>, Shape), &Micros)| {
            label.is_none_or(|label| label == tenant) && !self.credited.contains(&(tenant, *shape))
        };
        let last = self.last.iter().filter(may_hold).map(|(_, arrived)| *arrived).max();
        let newest = self.newest.get(&tenant).copied();
        State { unreadable: last.unwrap_or(Micros::MIN), readable: newest.unwrap_or(Micros::MIN) }
    }
}

impl Readability {
    /// Reads the log.
    pub fn of(history: &History) -> Self {
        let tenants = history.rules.source_of.len();
        let mut met: BTreeMap<usize, Met> = BTreeMap::new();
        let mut first_shown = vec![[None; STAGES]; tenants];
        let mut visibility: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut after = Vec::new();
        for (place, entry) in history.log.iter().enumerate() {
            let mut states = Vec::new();
            match &entry.what {
                What::Restarted => {
                    met.clear();
                    visibility.values_mut().for_each(|changes: &mut Vec<_>| changes.push((place, false)));
                }
                What::Reloaded(reloaded) => {
                    met.retain(|source, _| !reloaded.closed.contains(source));
                    let closed =
                        visibility.iter_mut().filter(|((source, _), _)| reloaded.closed.contains(source));
                    closed.for_each(|(_, changes)| changes.push((place, false)));
                }
                What::PollAnswered(poll) if poll.result != PollResult::Failed => {
                    let met = met.entry(poll.source).or_default();
                    for (tenant, planned, written) in readable(history, poll) {
                        met.newest.entry(tenant).and_modify(|at| *at = planned.max(*at)).or_insert(planned);
                        let stage = history.rules.stage_of(poll.source);
                        first_shown[tenant][stage].get_or_insert(place);
                        met.credited.extend(written.shape().map(|shape| (tenant, shape)));
                    }
                    for record in &poll.unreadable {
                        // A label that no tenant has says nothing about whose it is.
                        let label = record.label.filter(|label| *label < tenants);
                        let last = met.last.entry((label, record.shape)).or_insert(record.arrived_by);
                        *last = record.arrived_by.max(*last);
                    }
                    states = (0..tenants).map(|tenant| met.state(tenant)).collect();
                }
                What::PollAnswered(_)
                | What::Planned(_)
                | What::Answered(_)
                | What::CopiesChecked(_)
                | What::TimePassed
                | What::ClockStepped
                | What::Stopped => {}
            }
            after.push(states);
            for change in history.visibility.iter().filter(|change| change.place == place) {
                let changes = visibility.entry((change.source, change.tenant)).or_default();
                changes.push((place, change.blind));
            }
        }
        Self { after, first_shown, visibility, of_other: of_other(history) }
    }

    /// Whether a poll proved nothing about a canary that it did not show, because it may be in what was not read.
    pub fn withholds(&self, place: usize, tenant: usize, planned: Micros) -> bool {
        let state = self.after[place][tenant];
        state.readable <= planned && state.unreadable >= planned
    }

    /// The place of the first poll that showed a canary of a tenant in a readable record at a stage.
    pub fn first_shown(&self, tenant: usize, stage: usize) -> Option<usize> {
        self.first_shown[tenant][stage]
    }

    /// Whether a tenant's canaries had been found at a stage by this place of the log.
    pub fn has_seen(&self, rules: &Rules, tenant: usize, stage: usize, place: usize) -> bool {
        rules.seen_before[tenant][stage]
            || self.first_shown[tenant][stage].is_some_and(|first| first <= place)
    }

    /// When the first canary was planned that another process is known to have sent by this place of the log.
    pub fn first_of_other(&self, place: usize) -> Option<Micros> {
        self.of_other(place).map(|planned| *planned.start())
    }

    /// The same of the last one.
    pub fn last_of_other(&self, place: usize) -> Option<Micros> {
        self.of_other(place).map(|planned| *planned.end())
    }

    fn of_other(&self, place: usize) -> Option<&RangeInclusive<Micros>> {
        let known = self.of_other.partition_point(|(at, _)| *at <= place);
        known.checked_sub(1).map(|last| &self.of_other[last].1)
    }

    /// Whether the tracker took a source to be blind for a tenant.
    pub fn is_blind(&self, source: usize, tenant: usize, place: usize) -> bool {
        let Some(changes) = self.visibility.get(&(source, tenant)) else { return false };
        let later = changes.partition_point(|(at, _)| *at <= place);
        later.checked_sub(1).is_some_and(|last| changes[last].1)
    }
}

fn of_other(history: &History) -> Vec<(usize, RangeInclusive<Micros>)> {
    let mut known: Vec<(usize, RangeInclusive<Micros>)> = Vec::new();
    for (place, entry) in history.log.iter().enumerate() {
        let What::PollAnswered(poll) = &entry.what else { continue };
        let shared = poll.shown.iter().filter(|shown| {
            let copy = history.canaries[shown.canary].copies[shown.copy];
            copy.by_other && super::judge::is_in_own_source(history, shown.canary, shown.copy)
        });
        let shared = shared.map(|shown| history.canaries[shown.canary].planned);
        let others = poll.others.iter().filter_map(|(other, _)| match history.others[*other].kind {
            OtherKind::SameName { planned, .. } => Some(planned),
            OtherKind::Record(_) | OtherKind::UnknownTenant => None,
        });
        for planned in shared.chain(others) {
            let before = known.last().map_or(planned..=planned, |(_, before)| before.clone());
            known.push((place, planned.min(*before.start())..=planned.max(*before.end())));
        }
    }
    known
}

/// The canaries that a poll showed where they belong and in records that can be read: whose, when each was planned,
/// and how it was written.
pub fn readable<'a>(
    history: &'a History,
    poll: &'a Poll,
) -> impl Iterator<Item = (usize, Micros, Written)> + 'a {
    let ours = poll.shown.iter().filter_map(move |shown| {
        let canary = &history.canaries[shown.canary];
        let written = canary.copies[shown.copy].written;
        let counts =
            super::judge::is_in_own_source(history, shown.canary, shown.copy) && written.is_readable();
        counts.then_some((canary.tenant, canary.planned, written))
    });
    let others = poll.others.iter().filter_map(move |(other, _)| match history.others[*other].kind {
        OtherKind::SameName { tenant, planned } => Some((tenant, planned, Written::Text)),
        OtherKind::Record(_) | OtherKind::UnknownTenant => None,
    });
    ours.chain(others)
}
