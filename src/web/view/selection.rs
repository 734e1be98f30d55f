//! Which traces a page shows.

use std::cmp::Reverse;

use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;
use crate::web::filter::Filter;

/// The traces that match a filter.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// Newest first, at most the limit.
    pub(crate) traces: Vec<&'a Trace>,
    /// Number of all traces that match.
    pub(crate) matching: usize,
    /// Failed traces of the filter's tenant, newest first, at most the limit.
    pub(crate) failures: Vec<&'a Trace>,
}

impl<'a> Selection<'a> {
    /// Applies a filter to a snapshot.
    #[must_use]
    pub(crate) fn new(snapshot: &'a Snapshot, filter: &Filter) -> Self {
        // The tenant of drills is shown to who asks for it.
        let drill = snapshot.topology.drill().filter(|drill| filter.tenant != Some(*drill));
        let is_shown = |trace: &&Trace| drill != Some(trace.tenant);
        let admitted = |trace: &&Trace| is_shown(trace) && filter.admits(trace, &snapshot.topology);
        let open_and_finished = snapshot.finished.iter().chain(&snapshot.open).map(AsRef::as_ref);
        let mut all: Vec<&Trace> = open_and_finished.filter(admitted).collect();
        all.sort_unstable_by_key(|trace| Reverse(trace.id()));
        let of_tenant = |trace: &&Trace| filter.tenant.is_none_or(|tenant| tenant == trace.tenant);
        let failures = snapshot.finished.iter().rev().map(AsRef::as_ref).filter(of_tenant).filter(is_shown);
        Self {
            matching: all.len(),
            traces: all.into_iter().take(filter.limit).collect(),
            failures: failures.filter(|trace| trace.is_failure()).take(filter.limit).collect(),
        }
    }
}
