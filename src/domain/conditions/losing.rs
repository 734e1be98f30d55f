//! Canaries that were lost or dead-lettered.

use std::cmp::Reverse;

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, Found, History, Sample};
use super::name::{ConditionName, Subject};
use crate::domain::outcome::Outcome;
use crate::domain::topology::{HopRange, Role};

/// How many good canaries between two lost ones make them two episodes. A loss is proven minutes after it
/// happened, so there is no telling from few.
const APART: usize = 60;

/// The hop that lost most canaries whose outcome falls into the window, of several the first one. They were planned before it, since a
/// trace is given up only after its deadline; so this does not end before they leave the window.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let in_window =
        |canary: &Canary<'_>| canary.trace.ended.as_ref().is_some_and(|(_, at)| *at >= history.from);
    let ended: Vec<_> = history.canaries.iter().enumerate().filter(|(_, it)| in_window(it)).collect();
    let of = ended.iter().filter(|(_, canary)| sample(canary).is_some()).count();
    let lost: Vec<_> = ended.iter().filter_map(|(index, it)| Some((*index, lost_at(it)?))).collect();
    let Some(&(last, _)) = lost.last() else { return };
    let count = |hop: HopRange| lost.iter().filter(|(_, other)| *other == hop).count();
    let map = &*history.snapshot.topology;
    let hops = lost.iter().map(|(_, hop)| *hop);
    let Some(hop) = hops.min_by_key(|hop| (Reverse(count(*hop)), map.order(*hop))) else { return };
    let limits = criteria.thresholds.losing;
    let is_problem = limits.problem.is_reached(lost.len(), of);
    if is_problem || limits.note.is_reached(lost.len(), of) {
        let (first, _) = history.episode(last, APART, sample);
        let planned_at = |index: usize| history.canaries[index].trace.planned_at;
        let canaries = lost.iter().map(|(index, _)| history.canaries[*index].trace.id()).collect();
        let it = Found { is_problem, canaries, of, since: planned_at(first), last: planned_at(last) };
        let subject = Subject { tenant: Some(history.tenant), place: Some(hop) };
        let is_dead = |hop: HopRange| map.stage(hop.first).role == Role::DeadLetter;
        let dead_lettered = lost.iter().filter(|(_, hop)| is_dead(*hop)).count();
        let detail = Detail::NotArrived { dead_lettered, lost: lost.len() - dead_lettered };
        found.push(it.condition(ConditionName::Losing, history, subject, detail));
    }
}

/// Where the pipeline lost it; `None` if it did not. What was given up and came after all is late, which other
/// conditions tell.
fn lost_at(canary: &Canary<'_>) -> Option<HopRange> {
    if canary.trace.found_late.is_some() {
        return None;
    }
    match &canary.trace.ended {
        Some((Outcome::Lost(hop), _)) => Some(*hop),
        Some((Outcome::DeadLettered(stage), _)) => Some(HopRange::one(*stage)),
        Some((Outcome::Delivered | Outcome::Late | Outcome::Unobserved(_) | Outcome::Refused(_), _))
        | None => None,
    }
}

/// What is unobserved or refused says nothing about the pipeline.
fn sample(canary: &Canary<'_>) -> Option<Sample> {
    if lost_at(canary).is_some() {
        return Some(Sample::Affected);
    }
    match &canary.trace.ended {
        Some((Outcome::Delivered | Outcome::Late | Outcome::Lost(_) | Outcome::DeadLettered(_), _)) => {
            Some(Sample::Good)
        }
        Some((Outcome::Unobserved(_) | Outcome::Refused(_), _)) | None => None,
    }
}
