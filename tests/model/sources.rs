//! What the tracker said of sources and of canaries that are not its own, compared with the log.

use std::collections::{BTreeMap, BTreeSet};

use traceprobe::domain::topology::{SourceId, StageId, TenantId};
use traceprobe::domain::tracker::Event;

use super::history::*;
use super::judge::{Verdict, is_in_own_source};
use super::readability::{self, Readability};

/// The events of one run about sources, and about canaries that are not tracked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Met {
    /// The place of the poll, the source and the tenant.
    first_seen: Vec<(usize, usize, usize)>,
    /// By run of the probe and source: records that could not be read, and shapes that were new.
    unreadable: BTreeMap<(usize, usize), [usize; 2]>,
    /// By run and stage: leaks of tenants that are not configured, strays of such tenants, strays of our own.
    strangers: BTreeMap<(usize, usize), [usize; 3]>,
    same_name: BTreeMap<usize, usize>,
}

impl Met {
    /// Adds an event that is about none of our canaries.
    pub fn record(&mut self, event: &Event, place: usize, run: usize) {
        let at = |stage: &StageId| usize::from(stage.0);
        match event {
            Event::FirstSeen { source: SourceId(source), tenant: TenantId(tenant) } => {
                self.first_seen.push((place, *source as usize, usize::from(*tenant)));
            }
            Event::Unreadable { source: SourceId(source), count, new_shape, .. } => {
                let [records, shapes] = self.unreadable.entry((run, *source as usize)).or_default();
                *records += usize::try_from(*count).unwrap();
                *shapes += usize::from(new_shape.is_some());
            }
            Event::IsolationViolation { stage, tenant, .. } => {
                assert_eq!(tenant.known(), None, "a leak of a canary that nobody sent");
                self.strangers.entry((run, at(stage))).or_default()[0] += 1;
            }
            Event::Stray { stage, tenant, other_instance } => {
                assert_eq!(
                    tenant.is_none(),
                    *other_instance,
                    "a stray of ours is of another process: {event:?}"
                );
                let kind = if tenant.is_none() { 1 } else { 2 };
                self.strangers.entry((run, at(stage))).or_default()[kind] += 1;
            }
            Event::SameName { .. } => *self.same_name.entry(run).or_default() += 1,
            _ => {}
        }
    }

    /// What the log says that it should be.
    fn judged(history: &History, readability: &Readability) -> Self {
        let rules = &history.rules;
        let mut judged = Self::default();
        let mut adopted = BTreeSet::new();
        let mut shapes = BTreeSet::<(usize, usize, Option<usize>, Shape)>::new();
        let mut leaked = BTreeSet::new();
        let mut gone: &[usize] = &[];
        for (place, entry) in history.log.iter().enumerate() {
            let poll = match &entry.what {
                What::PollAnswered(poll) => poll,
                What::Reloaded(reloaded) => {
                    gone = &reloaded.gone;
                    shapes.retain(|(_, source, ..)| !reloaded.closed.contains(source));
                    continue;
                }
                What::Restarted => {
                    gone = &[];
                    continue;
                }
                _ => continue,
            };
            let run = history.run_at(place);
            for record in &poll.unreadable {
                let label = record.label.filter(|label| *label < rules.source_of.len());
                let [records, new] = judged.unreadable.entry((run, poll.source)).or_default();
                *records += 1;
                *new += usize::from(shapes.insert((run, poll.source, label, record.shape)));
            }
            let stage = rules.stage_of(poll.source);
            for shown in &poll.shown {
                let canary = &history.canaries[shown.canary];
                let is_own = is_in_own_source(history, shown.canary, shown.copy);
                if canary.registered.is_some() || !is_own || adopted.contains(&shown.canary) {
                    continue;
                }
                // A canary of a process before this one, which left no store. It is followed unless it is too old or of
                // a tenant that is gone.
                let is_gone = gone.contains(&canary.tenant);
                if canary.planned + rules.give_up + rules.grace > entry.at && !is_gone {
                    adopted.insert(shown.canary);
                } else {
                    let [.., ours] = judged.strangers.entry((run, stage)).or_default();
                    *ours += 1;
                }
            }
            for (number, _) in &poll.others {
                let other = history.others[*number];
                let of_one_tenant = rules.read_for[poll.source].len() == 1;
                let labelled_as_ours = other.label.is_some_and(|label| label < rules.source_of.len());
                let [leaks, unknown, ours] = judged.strangers.entry((run, stage)).or_default();
                match other.kind {
                    OtherKind::UnknownTenant if of_one_tenant || labelled_as_ours => {
                        *leaks += usize::from(leaked.insert((run, *number)));
                    }
                    OtherKind::UnknownTenant => *unknown += 1,
                    OtherKind::SameName { .. } => {
                        *ours += 1;
                        if rules.handover == 0 {
                            judged.same_name.insert(run, 1);
                        }
                    }
                    OtherKind::Record(_) => unreachable!("it is not a canary"),
                }
            }
        }
        for (tenant, row) in rules.source_of.iter().enumerate() {
            for (stage, source) in
                row.iter().enumerate().filter(|(stage, _)| !rules.seen_before[tenant][*stage])
            {
                let place = readability.first_shown(tenant, stage);
                judged.first_seen.extend(place.map(|place| (place, *source, tenant)));
            }
        }
        judged.first_seen.sort_unstable();
        judged
    }

    /// How many first sightings, leaks of unknown tenants, strays, and other processes there were.
    pub fn counts(&self) -> [usize; 5] {
        let strangers = |kind: usize| self.strangers.values().map(|counts| counts[kind]).sum();
        let same_name = self.same_name.values().sum();
        [self.first_seen.len(), strangers(0), strangers(1), strangers(2), same_name]
    }
}

/// The change that an event reports.
pub fn visibility_change(event: &Event, place: usize) -> Option<VisibilityChange> {
    let (source, tenant, blind) = match event {
        Event::WentBlind { source, tenant: Some(tenant), .. } => (source, tenant, true),
        Event::SawAgain { source, tenant: Some(tenant), .. } => (source, tenant, false),
        _ => return None,
    };
    Some(VisibilityChange { place, source: source.0 as usize, tenant: usize::from(tenant.0), blind })
}

/// Compares what was said of sources with the log and the truth.
pub fn faults(
    history: &History,
    readability: &Readability,
    met: &Met,
    verdicts: &[(usize, Verdict)],
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut said = met.clone();
    said.first_seen.sort_unstable();
    let mut judged = Met::judged(history, readability);
    judged.strangers.retain(|_, counts| *counts != [0; 3]);
    if !history.rules.is_kept {
        // When another process has stayed for long enough is tested beside the tracker.
        said.same_name.clear();
        judged.same_name.clear();
    }
    if said != judged {
        faults.push(format!("the tracker says of sources {said:#?}, the judge says {judged:#?}"));
    }
    let mut said = history.visibility.clone();
    said.sort_unstable();
    let judged = judged_visibility(history, verdicts);
    // Adopted canaries wait as well, and are not judged here.
    if said != judged && history.rules.is_kept {
        let at = said.iter().zip(&judged).position(|(said, judged)| said != judged);
        let at = at.unwrap_or(said.len().min(judged.len()));
        faults.push(format!(
            "visibility: the tracker says {:?}, the judge says {:?}",
            said.get(at),
            judged.get(at)
        ));
    }
    faults.extend(
        history.visibility.iter().filter(|change| change.blind).filter_map(|change| shows(history, *change)),
    );
    faults
}

/// When each source should have turned blind for a tenant, and visible again.
fn judged_visibility(history: &History, verdicts: &[(usize, Verdict)]) -> Vec<VisibilityChange> {
    let mut overlooked = BTreeSet::new();
    for (which, verdict) in verdicts {
        let tenant = history.canaries[*which].tenant;
        overlooked.extend(verdict.overlooked.iter().map(|(place, _)| (*place, tenant)));
    }
    let mut blind = BTreeSet::new();
    let mut changes = Vec::new();
    for (place, entry) in history.log.iter().enumerate() {
        match &entry.what {
            What::Restarted => blind.clear(),
            What::Reloaded(reloaded) => blind.retain(|(source, _)| !reloaded.closed.contains(source)),
            What::PollAnswered(poll) if poll.result != PollResult::Failed => {
                let source = poll.source;
                for tenant in 0..history.rules.source_of.len() {
                    let is = overlooked.contains(&(place, tenant));
                    let was =
                        if is { !blind.insert((source, tenant)) } else { blind.remove(&(source, tenant)) };
                    if is != was {
                        changes.push(VisibilityChange { place, source, tenant, blind: is });
                    }
                }
            }
            What::PollAnswered(_)
            | What::Planned(_)
            | What::Answered(_)
            | What::CopiesChecked(_)
            | What::TimePassed
            | What::ClockStepped
            | What::Stopped => {}
        }
    }
    changes.sort_unstable();
    changes
}

/// A source that shows recent canaries of a tenant must not be called blind for it.
fn shows(history: &History, change: VisibilityChange) -> Option<String> {
    let VisibilityChange { place, source, tenant, .. } = change;
    let missing_after = history.rules.stages[history.rules.stage_of(source)].missing_after;
    let recent = history.log[place].at - missing_after;
    let run = history.run_at(place);
    let polls =
        history.log[..=place].iter().enumerate().rev().take_while(|(at, _)| history.run_at(*at) == run);
    let shown = polls
        .filter_map(|(_, entry)| match &entry.what {
            What::PollAnswered(poll) if poll.source == source => Some(poll),
            _ => None,
        })
        .flat_map(|poll| readability::readable(history, poll))
        .any(|(of, planned, _)| of == tenant && planned >= recent);
    shown.then(|| format!("BLIND at {place}, but source {source} shows recent canaries of tenant {tenant}"))
}
