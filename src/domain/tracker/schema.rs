//! Whether tables have the columns that they should have.
//!
//! The expected schema is configured, or learned: the first one that any run of the probe sees, since a
//! learned schema outlives a restart. So a change that happens while the probe is down is a drift like any
//! other, and a restart accepts nothing. People accept a new schema by its fingerprint: exactly what they
//! were shown, not what the table has become since.

use std::sync::Arc;

use super::{Drifted, Event};
use crate::domain::schema::{ExpectedSchema, Fingerprint, TableSchema};
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, Topology};

/// The schemas of all sources.
#[derive(Debug)]
pub(super) struct Schemas {
    /// By [`SourceId`].
    sources: Vec<SchemaState>,
}

/// The schema of one source.
#[derive(Clone, Debug, Default)]
struct SchemaState {
    expected: Option<Expected>,
    /// As it was last read.
    actual: Option<Arc<TableSchema>>,
    /// Schemas that may replace the learned one.
    accepted: Vec<Fingerprint>,
    /// How `actual` differs from `expected`; `None` until it was read.
    drifted: Option<Drifted>,
    /// Since when it has differed, as a previous run knew.
    restored_drift: Option<Timestamp>,
    /// The learned schema or the beginning of its drift changed since the store was last given them.
    changed: bool,
}

#[derive(Clone, Debug)]
enum Expected {
    Configured(Arc<TableSchema>),
    Learned(Arc<TableSchema>),
}

/// The first schema that was seen of a source, which is what it should have from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedSchema {
    /// The name of the source, which is that of the table.
    pub source: Arc<str>,
    pub schema: Arc<TableSchema>,
    /// Since when the source has had other columns; `None` while it has these.
    pub drifted_since: Option<Timestamp>,
}

impl Schemas {
    /// Nothing is expected or known of `sources` sources.
    pub(super) fn new(sources: usize) -> Self {
        Self { sources: vec![SchemaState::default(); sources] }
    }

    /// Sets what a source is compared with, whatever was or will be learned.
    pub(super) fn expect(&mut self, source: SourceId, expected: ExpectedSchema) {
        let state = self.state(source);
        match expected {
            ExpectedSchema::Configured(schema) => state.expected = Some(Expected::Configured(schema)),
            ExpectedSchema::Learned { accepted } => state.accepted = accepted,
        }
    }

    /// Takes over what a previous run learned; it replaces what was learned since. Sources that are no longer
    /// configured, or whose schema is configured, do not need it.
    pub(super) fn restore(
        &mut self,
        map: &Topology,
        learned: &[LearnedSchema],
        now: Timestamp,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for source in map.source_ids() {
            let name = &map.source(source).name;
            let Some(earlier) = learned.iter().find(|learned| learned.source == *name) else { continue };
            let state = self.state(source);
            if let None | Some(Expected::Learned(_)) = state.expected {
                state.expected = Some(Expected::Learned(earlier.schema.clone()));
                state.restored_drift = earlier.drifted_since;
                state.changed = false;
                events.extend(state.compare(source, now));
            }
        }
        events
    }

    /// Compares the schema of a source that was just read with the expected one.
    pub(super) fn read(&mut self, source: SourceId, schema: Arc<TableSchema>, now: Timestamp) -> Vec<Event> {
        let state = self.state(source);
        state.actual = Some(schema);
        state.compare(source, now)
    }

    /// How a source's schema differs from the expected one; `None` until it was read.
    pub(super) fn drifted(&self, source: SourceId) -> Option<&Drifted> {
        self.of(source).drifted.as_ref()
    }

    /// The learned schemas that changed since the last call.
    pub(super) fn take_changed(&mut self, map: &Topology) -> Vec<LearnedSchema> {
        let changed: Vec<_> =
            map.source_ids().map(|id| (id, self.of(id))).filter(|(_, state)| state.changed).collect();
        let taken = changed.iter().filter_map(|(source, state)| state.learned(map, *source)).collect();
        self.sources.iter_mut().for_each(|state| state.changed = false);
        taken
    }

    /// Every learned schema.
    pub(super) fn learned(&self, map: &Topology) -> Vec<LearnedSchema> {
        map.source_ids().filter_map(|source| self.of(source).learned(map, source)).collect()
    }

    /// Makes room for more sources.
    pub(super) fn grow(&mut self, sources: usize) {
        self.sources.resize(sources, SchemaState::default());
    }

    fn of(&self, source: SourceId) -> &SchemaState {
        &self.sources[source.0 as usize]
    }

    fn state(&mut self, source: SourceId) -> &mut SchemaState {
        &mut self.sources[source.0 as usize]
    }
}

impl SchemaState {
    fn learned(&self, map: &Topology, source: SourceId) -> Option<LearnedSchema> {
        match &self.expected {
            Some(Expected::Learned(schema)) => Some(LearnedSchema {
                source: map.source(source).name.clone(),
                schema: schema.clone(),
                // Until this run has read it, the previous run had the last word.
                drifted_since: self.drifted.as_ref().map_or(self.restored_drift, |drifted| drifted.since),
            }),
            Some(Expected::Configured(_)) | None => None,
        }
    }

    /// Compares the schema that was last read with the expected one, and learns it if none is expected.
    fn compare(&mut self, source: SourceId, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(actual) = self.actual.clone() else { return events };
        let (mut changes, accept) = match &self.expected {
            Some(Expected::Configured(expected)) => (expected.drift(&actual), None),
            Some(Expected::Learned(expected)) => (expected.drift(&actual), Some(actual.fingerprint())),
            None => (Arc::default(), None),
        };
        let accepted = !changes.is_empty() && accept.is_some_and(|of| self.accepted.contains(&of));
        if accepted || self.expected.is_none() {
            events.push(Event::SchemaLearned { source, schema: actual.clone() });
            self.expected = Some(Expected::Learned(actual));
            self.changed = true;
            changes = Arc::default();
        }
        let known_since = self.restored_drift.take().filter(|_| !changes.is_empty());
        let before = self.drifted.take().unwrap_or_default();
        let since = (!changes.is_empty()).then(|| before.since.or(known_since).unwrap_or(now));
        let learned = matches!(self.expected, Some(Expected::Learned(_)));
        self.changed |= learned && since != before.since.or(known_since);
        self.drifted = Some(Drifted { since, changes: changes.clone(), accept });
        match (before.changes.is_empty(), changes.is_empty()) {
            (true, true) => {}
            (false, true) => events.push(Event::SchemaRestored { source }),
            (_, false) if before.changes == changes => {}
            (_, false) => events.push(Event::SchemaDrifted { source, changes, accept }),
        }
        events
    }
}
