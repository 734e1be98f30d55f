//! Finished traces that are still known, and which of them are forgotten first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::flaw::{Flaw, flaws};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId, Topology};
use crate::domain::trace::Trace;

/// What is wrong with a trace, and where.
type Fault = (Flaw, Option<StageId>);

/// Finished traces by id. A trace is kept while it is among the newest of all tenants, or among the newest of
/// its own tenant, or something is wrong with it and it is among the newest of its tenant with which the same
/// is wrong at the same stage, or it has a copy of which it is not known yet what it counts as. So neither successes nor another tenant's failures can evict a failure, and a
/// stage that loses everything does not evict the one copy that was cut at another.
#[derive(Debug)]
pub(super) struct Memory {
    traces: BTreeMap<TraceId, Arc<Trace>>,
    /// Those kept because they are new. Ids are in the order of the planned injection.
    newest: BTreeSet<TraceId>,
    /// Those kept because they are the newest of their tenant.
    newest_of: Vec<BTreeSet<TraceId>>,
    /// Those kept because something is wrong with them.
    flawed: Vec<BTreeMap<Fault, BTreeSet<TraceId>>>,
    max_newest: usize,
    max_of_tenant: usize,
}

impl Memory {
    /// An empty memory that keeps `max_newest` traces, and of each tenant the newest `max_of_tenant` and as
    /// many with which something is wrong.
    pub(super) fn new(tenants: usize, max_newest: usize, max_of_tenant: usize) -> Self {
        Self {
            traces: BTreeMap::new(),
            newest: BTreeSet::new(),
            newest_of: vec![BTreeSet::new(); tenants],
            flawed: vec![BTreeMap::new(); tenants],
            max_newest,
            max_of_tenant,
        }
    }

    /// Makes room for more tenants.
    pub(super) fn grow(&mut self, tenants: usize) {
        self.newest_of.resize(tenants, BTreeSet::new());
        self.flawed.resize(tenants, BTreeMap::new());
    }

    /// The ids of all of them.
    pub(super) fn ids(&self) -> Vec<TraceId> {
        self.traces.keys().copied().collect()
    }

    pub(super) fn contains(&self, id: TraceId) -> bool {
        self.traces.contains_key(&id)
    }

    pub(super) fn get(&self, id: TraceId) -> Option<&Arc<Trace>> {
        self.traces.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: TraceId) -> Option<&mut Arc<Trace>> {
        self.traces.get_mut(&id)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Trace>> {
        self.traces.values()
    }

    /// When the oldest trace was planned that is kept for being new: everything that was planned later and
    /// has finished is known.
    pub(super) fn complete_since(&self) -> Option<Timestamp> {
        self.newest.first().map(|id| id.planned_at())
    }

    /// Adds a finished trace. Returns those that are forgotten for it; the new one may be among them, if it
    /// is older than all that are kept.
    pub(super) fn insert(
        &mut self,
        trace: Arc<Trace>,
        map: &Topology,
        leaked_at: &[StageId],
    ) -> Vec<Arc<Trace>> {
        let (id, tenant) = (trace.id(), trace.tenant);
        let newest_of = &mut self.newest_of[usize::from(tenant.0)];
        newest_of.insert(id);
        let mut dropped = Vec::new();
        if newest_of.len() > self.max_of_tenant {
            dropped.extend(newest_of.pop_first());
        }
        self.newest.insert(id);
        self.traces.insert(id, trace);
        while self.newest.len() > self.max_newest {
            dropped.extend(self.newest.pop_first());
        }
        for stage in leaked_at {
            dropped.extend(self.keep(tenant, id, (Flaw::Leaked, Some(*stage))));
        }
        dropped.extend(self.keep_flawed(id, map));
        dropped.into_iter().filter_map(|id| self.forget_unless_kept(id)).collect()
    }

    /// Notes that a finished trace has changed: what is wrong with it may have. Returns those that are
    /// forgotten for it.
    pub(super) fn changed(&mut self, id: TraceId, map: &Topology) -> Vec<Arc<Trace>> {
        let dropped = self.keep_flawed(id, map);
        dropped.into_iter().filter_map(|id| self.forget_unless_kept(id)).collect()
    }

    /// Notes that a finished trace was found with another tenant.
    pub(super) fn leaked(&mut self, id: TraceId, stage: StageId) -> Option<Arc<Trace>> {
        let tenant = self.traces.get(&id)?.tenant;
        let dropped = self.keep(tenant, id, (Flaw::Leaked, Some(stage)))?;
        self.forget_unless_kept(dropped)
    }

    fn keep_flawed(&mut self, id: TraceId, map: &Topology) -> Vec<TraceId> {
        let Some(trace) = self.traces.get(&id) else { return Vec::new() };
        let (tenant, found) = (trace.tenant, flaws(trace, map));
        for (fault, of) in &mut self.flawed[usize::from(tenant.0)] {
            if fault.0 != Flaw::Leaked && !found.contains(fault) {
                of.remove(&id);
            }
        }
        let dropped = found.into_iter().filter_map(|fault| self.keep(tenant, id, fault));
        let dropped: Vec<_> = dropped.collect();
        // It may have been kept only for what has changed.
        dropped.into_iter().chain([id]).collect()
    }

    /// Keeps a trace for a fault. Returns the one that may be forgotten for it: the oldest of the fault that
    /// has the most.
    fn keep(&mut self, tenant: TenantId, id: TraceId, fault: Fault) -> Option<TraceId> {
        let flawed = self.flawed.get_mut(usize::from(tenant.0))?;
        flawed.entry(fault).or_default().insert(id);
        if flawed.values().map(BTreeSet::len).sum::<usize>() <= self.max_of_tenant {
            return None;
        }
        // Of equally many, the less severe.
        let (_, most) = flawed.iter_mut().max_by_key(|(fault, of)| (of.len(), fault.0, fault.1))?;
        most.pop_first()
    }

    fn forget_unless_kept(&mut self, id: TraceId) -> Option<Arc<Trace>> {
        let trace = self.traces.get(&id)?;
        let tenant = usize::from(trace.tenant.0);
        let kept = self.newest.contains(&id)
            || self.newest_of[tenant].contains(&id)
            || self.flawed[tenant].values().any(|of| of.contains(&id))
            || trace.has_unchecked_copy();
        if kept { None } else { self.traces.remove(&id) }
    }
}
