//! Finished traces that are still known, and which of them are forgotten first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;

/// Finished traces by id. A trace is kept while it is among the newest of all tenants, or among the newest or
/// the last failures of its own tenant. Successes cannot evict failures, and tenants with many canaries do not
/// leave only the failures of one with few.
#[derive(Debug)]
pub(super) struct Memory {
    traces: BTreeMap<TraceId, Arc<Trace>>,
    /// Those kept because they are new. Ids are in the order of the planned injection.
    newest: BTreeSet<TraceId>,
    /// Those kept because they are the newest of their tenant.
    newest_of: Vec<BTreeSet<TraceId>>,
    /// Those kept because they failed, for each tenant in the order in which they ended.
    failures: Vec<VecDeque<TraceId>>,
    max_newest: usize,
    max_of_tenant: usize,
}

impl Memory {
    /// An empty memory that keeps `max_newest` traces, and of each tenant the newest `max_of_tenant` and as
    /// many failures.
    pub(super) fn new(tenants: usize, max_newest: usize, max_of_tenant: usize) -> Self {
        Self {
            traces: BTreeMap::new(),
            newest: BTreeSet::new(),
            newest_of: vec![BTreeSet::new(); tenants],
            failures: vec![VecDeque::new(); tenants],
            max_newest,
            max_of_tenant,
        }
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
    pub(super) fn insert(&mut self, trace: Arc<Trace>) -> Vec<Arc<Trace>> {
        let id = trace.id();
        let mut dropped = Vec::new();
        if trace.is_failure() {
            let failures = &mut self.failures[usize::from(trace.tenant.0)];
            failures.push_back(id);
            if failures.len() > self.max_of_tenant {
                dropped.extend(failures.pop_front());
            }
        }
        let newest_of = &mut self.newest_of[usize::from(trace.tenant.0)];
        newest_of.insert(id);
        if newest_of.len() > self.max_of_tenant {
            dropped.extend(newest_of.pop_first());
        }
        self.newest.insert(id);
        self.traces.insert(id, trace);
        while self.newest.len() > self.max_newest {
            dropped.extend(self.newest.pop_first());
        }
        dropped.into_iter().filter_map(|id| self.forget_unless_kept(id)).collect()
    }

    fn forget_unless_kept(&mut self, id: TraceId) -> Option<Arc<Trace>> {
        let trace = self.traces.get(&id)?;
        let tenant = usize::from(trace.tenant.0);
        let kept = self.newest.contains(&id)
            || self.newest_of[tenant].contains(&id)
            || self.failures[tenant].contains(&id);
        if kept { None } else { self.traces.remove(&id) }
    }
}
