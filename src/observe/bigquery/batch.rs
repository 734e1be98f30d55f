//! Which traces one query looks for.

use super::id_range::IdRange;
use crate::domain::sighting::{Wanted, WantedTrace};
use crate::domain::time::Timestamp;

/// Most waiting traces whose ids stand in a query whole, in lower and upper case: 90 kB. More are looked for
/// by range and end, which takes a tenth of that for each.
pub(super) const MAX_WHOLE: usize = 500;

/// Most waiting traces of one query. Of each, 13 characters stand in it; BigQuery takes requests of up to
/// 10 MB (BigQuery quotas), and this is a third of it.
pub(super) const MAX_WAITING: usize = 250_000;

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
    /// One batch, or as many as the waiting traces need beyond [`MAX_WAITING`]. Recently seen traces are in
    /// the last one. They do not move its bounds on time: a lost trace stays in queries for days after a
    /// restart, and each poll would pay for the partitions of those days. If one turns up in an old partition
    /// after all, that is not noticed.
    pub(super) fn all(wanted: &Wanted, now: Timestamp) -> Vec<Self> {
        let waiting: Vec<_> = wanted.waiting.iter().copied().collect();
        let mut all: Vec<_> = waiting
            .chunks(MAX_WAITING)
            .enumerate()
            .map(|(nth, traces)| Self {
                traces: traces.to_vec(),
                waiting: traces.len(),
                since: traces.iter().map(|trace| trace.planned_at).min().unwrap_or(now),
                finds_leaks: nth == 0,
            })
            .collect();
        if let Some(last) = all.last_mut() {
            last.traces.extend(wanted.recently_seen.iter().rev());
        }
        all
    }

    /// The traces whose ids stand in the query whole.
    pub(super) fn whole(&self) -> &[WantedTrace] {
        match self.range() {
            Some(_) => self.traces.get(self.waiting..).unwrap_or_default(),
            None => &self.traces,
        }
    }

    /// Where the ids of the others lie; `None` if there are no others.
    pub(super) fn range(&self) -> Option<IdRange> {
        let waiting = self.waiting_traces();
        (waiting.len() > MAX_WHOLE).then(|| IdRange::of(waiting)).flatten()
    }

    /// The traces that wait.
    pub(super) fn waiting_traces(&self) -> &[WantedTrace] {
        self.traces.get(..self.waiting).unwrap_or_default()
    }
}
