//! Canaries in batches of which a dead letter gives only the sequence numbers.

use super::Tracker;
use crate::domain::canary::Integrity;
use crate::domain::format::FoundIn;
use crate::domain::sighting::{FailedBatch, Locator, Sighting};
use crate::domain::topology::SourceId;
use crate::domain::trace::Trace;

impl Tracker {
    /// The sightings at a dead-letter stage that a failed batch proves: of canaries that wait there, were seen
    /// in the batch's records and at no later stage of the main path. A letter that was there before a canary was
    /// planned cannot be about it.
    pub(super) fn in_batch(&self, letters: SourceId, batch: &FailedBatch) -> Vec<Sighting> {
        let stage = self.topology.source(batch.source).stage;
        let allowance = self.allowance(self.topology.source(letters).stage);
        let sent_by = batch.stamp.interval().map(|sent| sent.widen(allowance).latest);
        let sent_by = sent_by.map_or(batch.seen_by, |sent| sent.min(batch.seen_by));
        let path = self.topology.main_path();
        let later = path.iter().position(|on_path| *on_path == stage).map_or(path.len(), |at| at + 1);
        let waiting = self.sources[letters].waiting.iter();
        let waiting = waiting.filter_map(|trace| self.open.get(&trace.tag.trace));
        let waiting = waiting.filter(|trace| trace.planned_at <= sent_by);
        let got_through = |trace: &Trace| path[later..].iter().any(|stage| trace.arrival(*stage).is_some());
        let named = waiting.filter_map(|trace| {
            let is_read_there = self.topology.source_of(trace.tenant, stage) == batch.source;
            let copies = trace.visit(stage).copies.iter().filter(|_| is_read_there && !got_through(trace));
            let copy = copies.map(|copy| copy.locator.record()).find(|record| batch.holds(record))?;
            Some(Sighting {
                tag: trace.tag,
                stamp: batch.stamp,
                seen_by: batch.seen_by,
                locator: Locator::within(&batch.letter, copy),
                label: None,
                integrity: Integrity::Unchecked,
                found_in: FoundIn { decoded: false, verbatim: false, ..FoundIn::default() },
            })
        });
        named.collect()
    }
}
