//! When canaries leaked, were dead-lettered, cut or stored twice: what a strip that shows only who was in time would
//! hide.
//!
//! Figures over time do not count it, so it is read from the remembered traces, which hold such canaries longer than
//! others, and in hours that traces may have left, from the incidents.

use std::collections::BTreeMap;

use crate::domain::aggregates::{Series, Step};
use crate::domain::canary::Integrity;
use crate::domain::conditions::ConditionName;
use crate::domain::copies::CopyStanding;
use crate::domain::flaw::Flaw;
use crate::domain::incidents::Episode;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Role, StageId, TenantId, Topology};
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;

/// The flaws that a strip marks, the worst first. Late and missing canaries are in its figures.
pub(crate) const MARKED: [Flaw; 4] = [Flaw::Leaked, Flaw::DeadLettered, Flaw::Corrupted, Flaw::Duplicated];

/// A set of [`MARKED`] flaws.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flaws(u8);

/// From when to when canaries of a tenant were flawed at a stage.
#[derive(Clone, Copy, Debug)]
struct Span {
    flaw: Flaw,
    stage: StageId,
    from: Timestamp,
    to: Timestamp,
}

/// The times of all tenants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flawed {
    /// Of single canaries, when they were planned.
    canaries: BTreeMap<TenantId, Vec<Span>>,
    /// Of incidents.
    incidents: BTreeMap<TenantId, Vec<Span>>,
}

impl Flaws {
    fn bit(flaw: Flaw) -> u8 {
        MARKED.iter().position(|marked| *marked == flaw).map_or(0, |at| 1 << at)
    }

    pub(crate) fn insert(&mut self, flaw: Flaw) {
        self.0 |= Self::bit(flaw);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn contains(self, flaw: Flaw) -> bool {
        self.0 & Self::bit(flaw) != 0
    }
}

impl Flawed {
    /// Those of canaries that were planned since `from`.
    pub(crate) fn since(from: Timestamp, snapshot: &Snapshot) -> Self {
        let map = &*snapshot.topology;
        let mut all = Self::default();
        let mut add = |tenant: TenantId, flaw, stage, at| {
            let of_tenant = all.canaries.entry(tenant).or_default();
            of_tenant.push(Span { flaw, stage, from: at, to: at });
        };
        let traces = snapshot.finished.iter().chain(&snapshot.open);
        for trace in traces.filter(|trace| trace.planned_at >= from) {
            if let Some((Outcome::DeadLettered(dead), _)) = &trace.ended {
                add(trace.tenant, Flaw::DeadLettered, *dead, trace.planned_at);
                // The hop that gave up, too: it looks well otherwise, because it never had the canary.
                if let Some(next) = trace.next_stage(map) {
                    add(trace.tenant, Flaw::DeadLettered, next, trace.planned_at);
                }
            }
            for stage in map.stage_ids() {
                at_stage(trace, stage, |flaw| add(trace.tenant, flaw, stage, trace.planned_at));
            }
        }
        for seen in snapshot.violations.iter().filter(|seen| seen.trace.planned_at() >= from) {
            let concerned =
                [seen.concerned(), seen.found_with.filter(|with| seen.concerned() != Some(*with))];
            for tenant in concerned.into_iter().flatten() {
                add(tenant, Flaw::Leaked, seen.stage, seen.trace.planned_at());
            }
        }
        for episode in snapshot.episodes.iter() {
            let Some(tenant) = episode.condition.subject.tenant else { continue };
            let spans = spans(episode, map, snapshot.at).into_iter().filter(|span| span.to >= from);
            all.incidents.entry(tenant).or_default().extend(spans);
        }
        all
    }

    /// The flaws of a tenant in each slot of a step, of which `first` is the first. End to end, those of all stages.
    pub(crate) fn in_slots(
        &self,
        tenant: TenantId,
        series: Series,
        step: Step,
        first: i64,
        slots: usize,
    ) -> Vec<Flaws> {
        let mut found = vec![Flaws::default(); slots];
        let of_incidents = self.incidents.get(&tenant).filter(|_| step == Step::Hour);
        let of_canaries = self.canaries.get(&tenant);
        for span in of_canaries.into_iter().chain(of_incidents).flatten() {
            if !matches!(series, Series::Hop(stage) if stage != span.stage) {
                let at =
                    |instant| usize::try_from((step.slot_of(instant) - first).max(0)).unwrap_or(usize::MAX);
                let is_before = step.slot_of(span.to) < first;
                let within = if is_before { 0..0 } else { at(span.from)..at(span.to).saturating_add(1) };
                found
                    .iter_mut()
                    .take(within.end)
                    .skip(within.start)
                    .for_each(|flaws| flaws.insert(span.flaw));
            }
        }
        found
    }
}

/// What is wrong with a canary at a stage.
fn at_stage(trace: &Trace, stage: StageId, mut found: impl FnMut(Flaw)) {
    let visit = trace.visit(stage);
    if visit.copies.iter().any(|copy| copy.standing == CopyStanding::Duplicate) {
        found(Flaw::Duplicated);
    }
    let integrity = visit.arrival.as_ref().map(|arrival| arrival.integrity);
    if matches!(integrity, Some(Integrity::Corrupted { .. })) {
        found(Flaw::Corrupted);
    }
}

/// The times of an episode. What is still counted as a problem may have happened last a while ago.
fn spans(episode: &Episode, map: &Topology, now: Timestamp) -> Vec<Span> {
    let condition = &episode.condition;
    let Some(place) = condition.subject.place else { return Vec::new() };
    let stage = map.stage(place.first);
    let flaw = match condition.name {
        ConditionName::Leaking => Flaw::Leaked,
        ConditionName::Corruption => Flaw::Corrupted,
        ConditionName::Duplicates => Flaw::Duplicated,
        ConditionName::Losing if stage.role == Role::DeadLetter => Flaw::DeadLettered,
        _ => return Vec::new(),
    };
    let to = condition.last.or(episode.end()).unwrap_or(now).max(episode.beginning);
    let gave_up = map.main_path().iter().copied().find(|hop| map.stage(*hop).parent == stage.parent);
    let gave_up = gave_up.filter(|_| flaw == Flaw::DeadLettered);
    let span = |stage| Span { flaw, stage, from: episode.beginning, to };
    std::iter::once(place.first).chain(gave_up).map(span).collect()
}
