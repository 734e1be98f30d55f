//! What the store has not been given yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{LearnedSchema, Tracker, Violation};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, TenantId};
use crate::domain::trace::Trace;

/// Everything that changed since the store was last given something, to be written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Traces as they are now, each with whether it is finished.
    pub traces: Vec<(Arc<Trace>, bool)>,
    /// Schemas that were learned.
    pub schemas: Vec<LearnedSchema>,
    /// Isolation violations that were found.
    pub violations: Vec<Violation>,
    /// Sources that showed a tenant's canaries for the first time.
    pub seen: Vec<SeenSource>,
}

/// A source at which a tenant's canaries were found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeenSource {
    /// The name of its stage.
    pub stage: Arc<str>,
    /// The name of the source.
    pub source: Arc<str>,
    /// The name of the tenant.
    pub tenant: Arc<str>,
    /// When the first one was found.
    pub at: Timestamp,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
            && self.schemas.is_empty()
            && self.violations.is_empty()
            && self.seen.is_empty()
    }
}

impl From<Vec<(Arc<Trace>, bool)>> for Changes {
    fn from(traces: Vec<(Arc<Trace>, bool)>) -> Self {
        Self { traces, ..Self::default() }
    }
}

/// Collects what changes between two calls of [`Tracker::take_changes`].
#[derive(Debug, Default)]
pub(super) struct Outbox {
    traces: BTreeSet<TraceId>,
    /// Of `traces`, those that have been forgotten since: the last copy of them is here.
    forgotten: BTreeMap<TraceId, Arc<Trace>>,
    violations: Vec<Violation>,
    seen: BTreeSet<(SourceId, TenantId)>,
}

impl Outbox {
    /// Notes that a trace changed.
    pub(super) fn trace(&mut self, id: TraceId) {
        self.traces.insert(id);
    }

    /// Keeps a trace that nothing else remembers any more, if it changed.
    pub(super) fn forgotten(&mut self, trace: Arc<Trace>) {
        if self.traces.contains(&trace.id()) {
            self.forgotten.insert(trace.id(), trace);
        }
    }

    /// Notes that a violation was found.
    pub(super) fn violation(&mut self, found: Violation) {
        self.violations.push(found);
    }

    /// Notes that a source showed a tenant's canaries for the first time.
    pub(super) fn seen(&mut self, source: SourceId, tenant: TenantId) {
        self.seen.insert((source, tenant));
    }
}

impl Tracker {
    /// Takes what changed since the last call, for the store.
    pub fn take_changes(&mut self) -> Changes {
        let Outbox { traces, mut forgotten, violations, seen } = std::mem::take(&mut self.outbox);
        let find = |id: TraceId| {
            let open = self.open.get(&id).map(|trace| (trace.clone(), false));
            open.or_else(|| Some((self.finished.get(id).cloned().or_else(|| forgotten.remove(&id))?, true)))
        };
        Changes {
            traces: traces.into_iter().filter_map(find).collect(),
            schemas: self.schemas.take_changed(&self.topology),
            violations,
            seen: seen.into_iter().filter_map(|(source, tenant)| self.seen_source(source, tenant)).collect(),
        }
    }

    /// Everything that a store should hold, for one that may have missed changes.
    #[must_use]
    pub fn everything(&self) -> Changes {
        let open = self.open.values().map(|trace| (trace.clone(), false));
        Changes {
            traces: open.chain(self.finished.iter().map(|trace| (trace.clone(), true))).collect(),
            schemas: self.schemas.learned(&self.topology),
            violations: self.leaks.known().cloned().collect(),
            seen: self.seen_sources(),
        }
    }

    fn seen_sources(&self) -> Vec<SeenSource> {
        let of_source = |source| {
            let tenants = self.sources[source].seen.keys();
            tenants.filter_map(move |tenant| self.seen_source(source, *tenant))
        };
        self.topology.source_ids().flat_map(of_source).collect()
    }

    fn seen_source(&self, source: SourceId, tenant: TenantId) -> Option<SeenSource> {
        let at = *self.sources[source].seen.get(&tenant)?;
        let source = self.topology.source(source);
        Some(SeenSource {
            stage: self.topology.stage(source.stage).name.clone(),
            source: source.name.clone(),
            tenant: self.topology.tenant(tenant).name.clone(),
            at,
        })
    }
}
