//! Canaries that were stored twice, cut or changed.

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, Found, History, Sample};
use super::name::{ConditionName, Subject};
use crate::domain::canary::Integrity;
use crate::domain::copies::{CopyStanding, UnchargedReason};
use crate::domain::topology::StageId;

/// Second stored copies, and damaged ones, at every stage.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let limits = &criteria.thresholds;
    for stage in history.snapshot.topology.stage_ids() {
        let subject = Subject::at(history.tenant, stage);
        let damaged = history.judge(limits.corruption, |canary| damaged(canary, stage));
        found.extend(damaged.map(|it| {
            it.condition(ConditionName::Corruption, history, subject, fewest_kept(history, stage))
        }));
        let doubled = doubled(history, criteria, stage);
        found.extend(
            doubled.map(|it| it.condition(ConditionName::Duplicates, history, subject, Detail::None)),
        );
    }
}

/// Canaries that count as duplicates, where that may take until copies are checked again.
fn doubled(history: &History<'_>, criteria: &Criteria, stage: StageId) -> Option<Found> {
    let moves = history.snapshot.topology.stage(stage).capabilities.moves;
    let from = if moves { history.from - criteria.copy_recheck } else { history.from };
    let is_pending = |canary: &&Canary<'_>| copies(canary, stage) == Some(Sample::Pending);
    let pending_since = history.since(from).iter().find(is_pending).map(|canary| canary.trace.planned_at);
    history.judge_since(from, criteria.thresholds.duplicates, |canary| {
        // A canary without a second copy is known to be good long before one with a second copy is judged.
        let too_early = pending_since.is_some_and(|since| canary.trace.planned_at > since);
        copies(canary, stage).filter(|sample| !(too_early && *sample == Sample::Good))
    })
}

/// What the copies of a canary say. One that the probe may have made, or that may not be one, says nothing.
fn copies(canary: &Canary<'_>, stage: StageId) -> Option<Sample> {
    let visit = canary.trace.visit(stage);
    visit.arrival.as_ref()?;
    let any = |is: fn(&CopyStanding) -> bool| visit.copies.iter().any(|copy| is(&copy.standing));
    if any(|it| matches!(it, CopyStanding::Duplicate)) {
        Some(Sample::Affected)
    } else if any(|it| matches!(it, CopyStanding::AwaitsPut | CopyStanding::Pending(_))) {
        Some(Sample::Pending)
    } else {
        let unknown = |it: &CopyStanding| {
            matches!(it, CopyStanding::Uncharged(UnchargedReason::RetriedPut | UnchargedReason::Unknown))
        };
        (!any(unknown)).then_some(Sample::Good)
    }
}

fn integrity(canary: &Canary<'_>, stage: StageId) -> Option<Integrity> {
    canary.trace.visit(stage).arrival.as_ref().map(|arrival| arrival.integrity)
}

fn damaged(canary: &Canary<'_>, stage: StageId) -> Option<Sample> {
    match integrity(canary, stage)? {
        Integrity::Intact => Some(Sample::Good),
        Integrity::Corrupted { .. } => Some(Sample::Affected),
        Integrity::Unchecked => None,
    }
}

fn fewest_kept(history: &History<'_>, stage: StageId) -> Detail {
    let kept = history.recent().iter().filter_map(|canary| match integrity(canary, stage)? {
        Integrity::Corrupted { kept_bytes, sent_bytes } => Some((kept_bytes, sent_bytes)),
        Integrity::Intact | Integrity::Unchecked => None,
    });
    kept.min_by_key(|(kept, sent)| kept * 1_000 / (*sent).max(1))
        .map_or(Detail::None, |(kept, sent)| Detail::Kept { kept, sent })
}
