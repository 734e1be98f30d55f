//! Which traces one query looks for.

use crate::domain::sighting::{Wanted, WantedTrace};
use crate::domain::time::Timestamp;

/// Most traces that one query looks for. Each stands in it twice, in lower and upper case; BigQuery takes
/// requests of up to 10 MB (BigQuery quotas), and this is less than half a megabyte.
pub(super) const MAX_IDS: usize = 2_500;

/// The traces of one query.
#[derive(Debug)]
pub(super) struct Batch {
    /// The waiting ones first, then those that were seen or given up recently.
    pub(super) traces: Vec<WantedTrace>,
    /// How many of them wait.
    pub(super) waiting: usize,
    /// When the oldest waiting trace was planned. Bounds on time come from it alone.
    pub(super) since: Timestamp,
    /// Whether the query also looks for canaries of tenants that have no place in the table; one query of a
    /// poll does.
    pub(super) finds_leaks: bool,
}

impl Batch {
    /// As many batches as the waiting traces need. Recently seen traces fill up the last one. They do not
    /// move its bounds on time: a lost trace stays in queries for days after a restart, and each poll would
    /// pay for the partitions of those days. If one turns up in an old partition after all, that is not
    /// noticed.
    pub(super) fn all(wanted: &Wanted, now: Timestamp) -> Vec<Self> {
        let waiting: Vec<_> = wanted.waiting.iter().copied().collect();
        let mut all: Vec<_> = waiting
            .chunks(MAX_IDS)
            .enumerate()
            .map(|(nth, traces)| Self {
                traces: traces.to_vec(),
                waiting: traces.len(),
                since: traces.iter().map(|trace| trace.planned_at).min().unwrap_or(now),
                finds_leaks: nth == 0,
            })
            .collect();
        if let Some(last) = all.last_mut() {
            let room = MAX_IDS - last.traces.len();
            last.traces.extend(wanted.recently_seen.iter().rev().take(room));
        }
        all
    }
}
