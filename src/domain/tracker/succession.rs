//! A change of the configuration while traces are in flight.
//!
//! Nothing is forgotten that still means something. Ids stay what they are, so most of the state needs only room
//! for what is new. What a trace waits for follows the new topology, as after a restart: it waits at stages that
//! were added, at the source that its tenant has now, and no longer at stages that are gone. It may have arrived
//! there while nobody looked, which the next poll that reads back shows.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::injection::InjectionState;
use super::{Event, Tracker, on_the_way};
use crate::domain::checkpoints::HopDue;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Trace, Visit};

/// The new places of the log groups of tenants that have other ones now.
type Regrouped = Vec<(TenantId, Vec<Option<LogGroupId>>)>;

impl Tracker {
    /// Takes over a topology that succeeds its own. Returns what follows.
    pub fn succeed(&mut self, topology: Arc<Topology>, now: Timestamp) -> Vec<Event> {
        let now = self.advance(now);
        let mut events = Vec::new();
        let before = std::mem::replace(&mut self.topology, topology.clone());
        let map = &*topology;
        let regrouped = self.make_room(&before, map);
        let gone: Vec<StageId> = before.stage_ids().filter(|stage| !map.has_stage(*stage)).collect();
        let is_recounted = |stage: &StageId| before.has_stage(*stage) && is_recounted(&before, map, *stage);
        let recounted: Vec<StageId> = map.stage_ids().filter(is_recounted).collect();
        let open: Vec<_> = self.open.keys().copied().collect();
        for id in &open {
            let Some(mut trace) = self.open.get(id).cloned() else { continue };
            let tenant = trace.tenant;
            let mut moved = BTreeSet::new();
            for stage in map.stages().iter().enumerate().filter_map(|(at, _)| u16::try_from(at).ok()) {
                let stage = StageId(stage);
                let was = before.has_stage(stage).then(|| before.source_of(tenant, stage));
                let is = (map.has_stage(stage) && map.is_observed(tenant, stage))
                    .then(|| map.source_of(tenant, stage));
                if was == is {
                    continue;
                }
                if let Some(source) = was {
                    self.sources.stop_waiting(source, *id, None, None);
                }
                if let Some(source) = is.filter(|_| trace.visit(stage).arrival.is_none()) {
                    self.sources.wait(source, trace.wanted(), None, now);
                    moved.insert(stage);
                }
            }
            let is_amended = amend(&mut trace, map, &gone, &moved, &regrouped);
            let inherits = inherit(&mut trace, &recounted);
            if is_amended || inherits {
                self.outbox.note_changed(*id);
            }
            self.open.insert(*id, trace);
        }
        for id in self.finished.ids() {
            if let Some(trace) = self.finished.get_mut(id) {
                amend(trace, map, &gone, &BTreeSet::new(), &regrouped);
            }
        }
        self.leave_checks(&before, map);
        for source in before.source_ids().filter(|source| !map.has_source(*source)) {
            self.sources.reset(source, map);
        }
        self.find_hops_due();
        for id in open {
            self.consider(id, now, &mut events);
        }
        events
    }

    /// Raises how many traces may be in flight. It is not lowered: more may be in flight already, and then no tenant's
    /// canaries would be sent until they have ended.
    pub fn raise_max_in_flight(&mut self, most: usize) {
        self.settings.max_in_flight = self.settings.max_in_flight.max(most);
    }

    /// Finds out again when hops pass their targets, which may be others now.
    fn find_hops_due(&mut self) {
        self.sources.forget_hops();
        for trace in self.open.values() {
            for stage in self.topology.stage_ids().filter(|stage| trace.visit(*stage).arrival.is_none()) {
                if let Some(at) = self.hop_due(trace, stage) {
                    let source = self.topology.source_of(trace.tenant, stage);
                    self.sources.hop_begins(source, HopDue { at, trace: trace.id() });
                }
            }
        }
    }

    /// Whether more may be learned of a tenant's canaries: one is open, or a copy of one awaits a check.
    #[must_use]
    pub fn awaits(&self, tenant: TenantId) -> bool {
        let of_tenant = |id: TraceId| self.trace(id).is_some_and(|trace| trace.tenant == tenant);
        self.open.values().any(|trace| trace.tenant == tenant) || self.pending.traces().any(of_tenant)
    }

    fn make_room(&mut self, before: &Topology, map: &Topology) -> Regrouped {
        self.finished.grow(map.tenants().len());
        self.sources.grow(map);
        self.schemas.grow(map.sources().len());
        let mut regrouped = Vec::new();
        for (at, tenant) in map.tenants().iter().enumerate() {
            match (self.injections.get_mut(at), before.tenants().get(at)) {
                (Some(state), Some(earlier)) if earlier.log_groups != tenant.log_groups => {
                    let id = TenantId(u16::try_from(at).unwrap_or(u16::MAX));
                    regrouped.push((id, state.regroup(earlier, tenant)));
                }
                (Some(_), _) => {}
                (None, _) => self.injections.push(InjectionState::new(tenant)),
            }
        }
        regrouped
    }
}

/// Fits a trace to a topology. Returns whether it changed other than in its length.
fn amend(
    trace: &mut Arc<Trace>,
    map: &Topology,
    gone: &[StageId],
    moved: &BTreeSet<StageId>,
    regrouped: &Regrouped,
) -> bool {
    let stages = map.stages().len();
    let group = regrouped.iter().find(|(tenant, _)| *tenant == trace.tenant);
    let forgets = gone.iter().any(|stage| *trace.visit(*stage) != Visit::default());
    if trace.stages.len() == stages && group.is_none() && !forgets && moved.is_empty() {
        return false;
    }
    let trace = Arc::make_mut(trace);
    trace.stages.resize(stages, Visit::default());
    for stage in gone {
        trace.stages[usize::from(stage.0)] = Visit::default();
    }
    for stage in moved {
        // What was read of the source that it had before proves nothing of the one that it has now. What decided an
        // outcome stays.
        let has_decided = trace.ended.is_some() && map.main_path().contains(stage);
        let visit = &mut trace.stages[usize::from(stage.0)];
        if !has_decided {
            (visit.absent_until, visit.empty_polls, visit.withheld) = (None, 0, false);
        }
        visit.gap_since_poll = true;
    }
    if let Some((_, places)) = group {
        let place = |group: LogGroupId| places.get(usize::from(group.0)).copied().flatten();
        trace.log_group = trace.log_group.and_then(place);
    }
    forgets || group.is_some() || !moved.is_empty()
}

/// Whether the histogram of the hop to a stage begins again from 0, because it is compared with other thresholds or
/// was not there.
fn is_recounted(before: &Topology, map: &Topology, stage: StageId) -> bool {
    let of = |map: &Topology| {
        let stage = map.stage(stage);
        let thresholds: Vec<_> = stage.target.into_iter().chain(stage.critical).collect();
        (thresholds, on_the_way(stage.role))
    };
    of(before) != of(map)
}

/// Marks the hops of an open trace that histograms counted which begin again from 0, as at a restart. Returns whether
/// there are any.
fn inherit(trace: &mut Arc<Trace>, recounted: &[StageId]) -> bool {
    let is_counted = |stage: &&StageId| trace.visit(**stage).hop == Hop::Overdue;
    let counted: Vec<StageId> = recounted.iter().filter(is_counted).copied().collect();
    for stage in &counted {
        Arc::make_mut(trace).stages[usize::from(stage.0)].hop = Hop::Inherited;
    }
    !counted.is_empty()
}
