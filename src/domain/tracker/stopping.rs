//! What is still open when the probe stops.

use std::collections::BTreeSet;

use super::Tracker;
use crate::domain::topology::StageId;
use crate::domain::trace::Trace;

impl Tracker {
    /// Whether a poll may still show something of an open trace: it has no outcome yet, or a side stage is open
    /// whose source can be read and has shown the tenant's canaries. What waits only at other sources is not
    /// worth waiting for.
    #[must_use]
    pub fn awaits_sightings(&self) -> bool {
        self.in_flight > 0
            || self.open_at_side_stages().any(|(trace, stage)| {
                self.sources[self.topology.source_of(trace.tenant, stage)].may_prove(trace.tenant)
            })
    }

    /// The traces that have an outcome, with each stage at which they may still be found.
    pub fn open_at_side_stages(&self) -> impl Iterator<Item = (&Trace, StageId)> {
        let ended = self.open.values().map(AsRef::as_ref).filter(|trace| trace.ended.is_some());
        ended.flat_map(|trace| {
            let stages = self.topology.stage_ids().filter(|stage| !self.is_settled(trace, *stage));
            stages.map(move |stage| (trace, stage))
        })
    }
    /// The stages at which traces that have an outcome may still be found.
    #[must_use]
    pub fn open_side_stages(&self) -> BTreeSet<StageId> {
        self.open_at_side_stages().map(|(_, stage)| stage).collect()
    }
}
