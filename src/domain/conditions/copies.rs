//! Canaries that were stored twice, cut or changed.

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::{Canary, History, Sample};
use super::name::{ConditionName, Subject};
use crate::domain::canary::Integrity;
use crate::domain::topology::StageId;
use crate::domain::trace::Put;

/// Second stored copies, and damaged ones, at every stage.
pub(super) fn find(history: &History<'_>, criteria: &Criteria, found: &mut Vec<Condition>) {
    let limits = &criteria.thresholds;
    for stage in history.snapshot.topology.stage_ids() {
        let subject = Subject::at(history.tenant, stage);
        let damaged = history.judge(limits.corruption, |canary| damaged(canary, stage));
        found.extend(damaged.map(|it| {
            it.condition(ConditionName::Corruption, history, subject, fewest_kept(history, stage))
        }));
        let doubled = history.judge(limits.duplicates, |canary| doubled(canary, stage));
        found.extend(
            doubled.map(|it| it.condition(ConditionName::Duplicates, history, subject, Detail::None)),
        );
    }
}

/// A copy that a retried put may have made is not charged to the pipeline.
fn doubled(canary: &Canary<'_>, stage: StageId) -> Option<Sample> {
    let (trace, visit) = (canary.trace, canary.trace.visit(stage));
    visit.arrival.as_ref()?;
    if visit.copies.len() < 2 {
        return Some(Sample::Good);
    }
    // Until the put is answered, it is not known whether it was retried.
    (!trace.doubled_by_us && trace.put != Put::Planned).then_some(Sample::Affected)
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
