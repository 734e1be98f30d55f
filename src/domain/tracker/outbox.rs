//! What changed since the last update of the store.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{LearnedSchema, Tracker, Violation};
use crate::domain::aggregates::Unsaved;
use crate::domain::drill::DrillProof;
use crate::domain::incidents::{Episode, IncidentId};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, TenantId};
use crate::domain::trace::Trace;

/// Everything that changed since the last update of the store; to be written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Changed traces in their current state, each with whether it has finished.
    pub traces: Vec<(Arc<Trace>, bool)>,
    /// Schemas that were learned.
    pub schemas: Vec<LearnedSchema>,
    /// Isolation violations that were found.
    pub violations: Vec<Violation>,
    /// Sources that showed a tenant's canaries for the first time.
    pub seen: Vec<SeenSource>,
    /// Those of the traces that have just finished: of each trace, this is said once. Not for the store.
    pub settled: Vec<Arc<Trace>>,
    /// Buckets of figures that changed. The tracker does not know them; whoever settles the traces adds them.
    pub aggregates: Unsaved,
    /// Changed episodes of conditions. The tracker does not know them; whoever saves the changes adds them.
    pub episodes: Vec<Episode>,
    /// Episodes that have become part of another one.
    pub merged_episodes: Vec<IncidentId>,
    /// The last drill of which a notification arrived, if that is new.
    pub drill: Option<DrillProof>,
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
    /// When the first one was found there.
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
            && self.aggregates.buckets.is_empty()
            && self.episodes.is_empty()
            && self.merged_episodes.is_empty()
            && self.drill.is_none()
    }
}

impl From<Vec<(Arc<Trace>, bool)>> for Changes {
    fn from(traces: Vec<(Arc<Trace>, bool)>) -> Self {
        Self { traces, ..Self::default() }
    }
}

/// Collects what changes until the next call of [`Tracker::take_changes`].
#[derive(Debug, Default)]
pub(super) struct Outbox {
    changed_traces: BTreeSet<TraceId>,
    /// Those that a poll proved absent for longer, and to which nothing else happened.
    proven: BTreeSet<TraceId>,
    /// Those that finished.
    finished: BTreeSet<TraceId>,
    /// Last copies of the changed traces that the tracker has since forgotten.
    forgotten: BTreeMap<TraceId, Arc<Trace>>,
    violations: Vec<Violation>,
    seen: BTreeSet<(SourceId, TenantId)>,
}

impl Outbox {
    /// Notes that a trace changed.
    pub(super) fn note_changed(&mut self, id: TraceId) {
        self.changed_traces.insert(id);
    }

    /// Notes that a trace was proven absent for longer.
    pub(super) fn note_proven(&mut self, id: TraceId) {
        self.proven.insert(id);
    }

    /// Notes that a trace finished.
    pub(super) fn note_finished(&mut self, id: TraceId) {
        self.changed_traces.insert(id);
        self.finished.insert(id);
    }

    /// Takes what another outbox says of traces that finished and that `of` holds.
    pub(super) fn take_finished(&mut self, mut from: Self, of: &HashSet<TraceId>) {
        for id in from.finished.into_iter().filter(|id| of.contains(id)) {
            self.note_finished(id);
            if let Some(trace) = from.forgotten.remove(&id) {
                self.forgotten.insert(id, trace);
            }
        }
    }

    /// Keeps the last copy of a trace that the tracker forgets, if it changed.
    pub(super) fn keep_forgotten(&mut self, trace: Arc<Trace>) {
        if self.changed_traces.contains(&trace.id()) {
            self.forgotten.insert(trace.id(), trace);
        }
    }

    /// Notes that a violation was found.
    pub(super) fn note_violation(&mut self, found: Violation) {
        self.violations.push(found);
    }

    /// Notes that a source showed a tenant's canaries for the first time.
    pub(super) fn note_seen(&mut self, source: SourceId, tenant: TenantId) {
        self.seen.insert((source, tenant));
    }
}

impl Tracker {
    /// Takes everything that changed since the last call, for the store.
    pub fn take_changes(&mut self) -> Changes {
        let proven = std::mem::take(&mut self.outbox.proven);
        self.outbox.changed_traces.extend(proven);
        self.take_verdicts()
    }

    /// How many traces were proven absent for longer since the last call, and nothing else happened to them.
    #[must_use]
    pub fn unsaved_proofs(&self) -> usize {
        self.outbox.proven.len()
    }

    /// The same without the traces of which a poll proved no more than that they were absent for longer. That is the
    /// most frequent change by far. If it is lost, the next process knows less for certain, and counts nothing twice.
    pub fn take_verdicts(&mut self) -> Changes {
        for id in self.outbox.changed_traces.clone() {
            for trace in self.finished.changed(id, &self.topology) {
                self.outbox.keep_forgotten(trace);
            }
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        self.outbox.proven = std::mem::take(&mut outbox.proven);
        // They are taken as they are now.
        for id in &outbox.changed_traces {
            self.outbox.proven.remove(id);
        }
        let Outbox { changed_traces, finished, mut forgotten, violations, seen, .. } = outbox;
        let latest_copy = |id: TraceId| {
            let open = self.open.get(&id).map(|trace| (trace.clone(), false));
            open.or_else(|| Some((self.finished.get(id).cloned().or_else(|| forgotten.remove(&id))?, true)))
        };
        let traces: Vec<_> = changed_traces.into_iter().filter_map(latest_copy).collect();
        let settled = finished.into_iter().filter_map(|id| {
            let at = traces.binary_search_by_key(&id, |(trace, _)| trace.id()).ok()?;
            Some(traces[at].0.clone())
        });
        Changes {
            settled: settled.collect(),
            traces,
            schemas: self.schemas.take_changed(&self.topology),
            violations,
            seen: seen.into_iter().filter_map(|(source, tenant)| self.seen_source(source, tenant)).collect(),
            ..Changes::default()
        }
    }

    /// Everything the store should hold, to bring a store up to date that may have missed changes.
    #[must_use]
    pub fn everything(&self) -> Changes {
        let open = self.open.values().map(|trace| (trace.clone(), false));
        Changes {
            traces: open.chain(self.finished.iter().map(|trace| (trace.clone(), true))).collect(),
            schemas: self.schemas.learned(&self.topology),
            violations: self.leaks.known().cloned().collect(),
            seen: self.seen_sources(),
            ..Changes::default()
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
