//! Whether tables have the columns that they should have.
//!
//! What a table should have is configured, or it is learned: the first schema that the probe sees of it, in whatever
//! life, since one that is learned outlives a restart. So a change that happens while the probe is down is a drift like any
//! other, and a restart accepts nothing. People accept a new schema by its fingerprint: exactly what they were shown, and
//! not what the table has become since.

use std::sync::Arc;

use super::{Drifted, Event, Tracker};
use crate::domain::schema::{ExpectedSchema, Fingerprint, TableSchema};
use crate::domain::time::Timestamp;
use crate::domain::topology::SourceId;

/// What the schema of a source is held against.
#[derive(Clone, Debug, Default)]
pub(super) struct SchemaState {
    should: Option<Should>,
    /// As it was read last.
    is: Option<Arc<TableSchema>>,
    /// Schemas that may take the place of the learned one.
    accepted: Vec<Fingerprint>,
    /// Since when it has differed from the learned one, as an earlier life knew.
    drifted_since: Option<Timestamp>,
    /// The learned one, or since when it has not been kept to, changed since the store was last given them.
    unsaved: bool,
}

#[derive(Clone, Debug)]
enum Should {
    Configured(Arc<TableSchema>),
    Learned(Arc<TableSchema>),
}

/// A schema that was seen and taken for the one that a source should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedSchema {
    /// The name of the source, which for a table is its own.
    pub source: Arc<str>,
    /// Its columns.
    pub schema: Arc<TableSchema>,
    /// Since when the source has had others.
    pub drifted_since: Option<Timestamp>,
}

impl Tracker {
    /// Says what a source's schema is held against, whatever was or will be learned.
    pub fn expect_schema(&mut self, source: SourceId, expected: ExpectedSchema) {
        let state = &mut self.sources[source.0 as usize].schema;
        match expected {
            ExpectedSchema::Configured(schema) => state.should = Some(Should::Configured(schema)),
            ExpectedSchema::Learned { accepted } => state.accepted = accepted,
        }
    }

    /// Takes over what an earlier life learned, before anything is applied or as soon as the store can be read: it goes
    /// before what was learned since. Sources that are not configured any more, or whose schema is, have no use for it.
    pub fn restore_schemas(&mut self, learned: &[LearnedSchema], now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        for source in self.topology.source_ids() {
            let name = &self.topology.source(source).name;
            let Some(earlier) = learned.iter().find(|learned| learned.source == *name) else { continue };
            let state = &mut self.sources[source.0 as usize].schema;
            if let None | Some(Should::Learned(_)) = state.should {
                state.should = Some(Should::Learned(earlier.schema.clone()));
                state.drifted_since = earlier.drifted_since;
                state.unsaved = false;
                events.extend(self.compare_schema(source, now));
            }
        }
        events
    }

    /// The schemas that were learned since the last call, for the store.
    pub fn take_unsaved_schemas(&mut self) -> Vec<LearnedSchema> {
        let unsaved = |source: &SourceId| self.sources[source.0 as usize].schema.unsaved;
        let sources: Vec<_> = self.topology.source_ids().filter(unsaved).collect();
        let taken = sources.iter().filter_map(|source| self.learned_schema(*source)).collect();
        for source in sources {
            self.sources[source.0 as usize].schema.unsaved = false;
        }
        taken
    }

    /// Every schema that was learned: for a store that has lost count.
    #[must_use]
    pub fn learned_schemas(&self) -> Vec<LearnedSchema> {
        self.topology.source_ids().filter_map(|source| self.learned_schema(source)).collect()
    }

    pub(super) fn schema_read(
        &mut self,
        source: SourceId,
        schema: Arc<TableSchema>,
        now: Timestamp,
    ) -> Vec<Event> {
        self.sources[source.0 as usize].schema.is = Some(schema);
        self.compare_schema(source, now)
    }

    fn learned_schema(&self, source: SourceId) -> Option<LearnedSchema> {
        let state = &self.sources[source.0 as usize];
        match &state.schema.should {
            Some(Should::Learned(schema)) => Some(LearnedSchema {
                source: self.topology.source(source).name.clone(),
                schema: schema.clone(),
                // Until it is read in this life, what an earlier one knew is the last word.
                drifted_since: state.drifted.as_ref().map_or(state.schema.drifted_since, |now| now.since),
            }),
            Some(Should::Configured(_)) | None => None,
        }
    }

    /// Holds the schema of a source as it was read last against what it should be.
    fn compare_schema(&mut self, source: SourceId, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let state = &mut self.sources[source.0 as usize];
        let Some(is) = state.schema.is.clone() else { return events };
        let (mut changes, accept) = match &state.schema.should {
            Some(Should::Configured(should)) => (should.drift(&is), None),
            Some(Should::Learned(should)) => (should.drift(&is), Some(is.fingerprint())),
            None => (Arc::default(), None),
        };
        let accepted = !changes.is_empty() && accept.is_some_and(|of| state.schema.accepted.contains(&of));
        if accepted || state.schema.should.is_none() {
            events.push(Event::SchemaLearned { source, schema: is.clone() });
            state.schema.should = Some(Should::Learned(is));
            state.schema.unsaved = true;
            changes = Arc::default();
        }
        let known_since = state.schema.drifted_since.take().filter(|_| !changes.is_empty());
        let before = state.drifted.take().unwrap_or_default();
        let since = (!changes.is_empty()).then(|| before.since.or(known_since).unwrap_or(now));
        let learned = matches!(state.schema.should, Some(Should::Learned(_)));
        state.schema.unsaved |= learned && since != before.since.or(known_since);
        state.drifted = Some(Drifted { since, changes: changes.clone(), accept });
        match (before.changes.is_empty(), changes.is_empty()) {
            (true, true) => {}
            (false, true) => events.push(Event::SchemaRestored { source }),
            (_, false) if before.changes == changes => {}
            (_, false) => events.push(Event::SchemaDrifted { source, changes, accept }),
        }
        events
    }
}
