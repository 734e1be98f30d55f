//! Which traces a page shows.

use std::collections::BTreeMap;

use crate::domain::tag::TraceId;
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
        // A failure may be in both lists, of finished traces and of failures.
        let all: BTreeMap<TraceId, &Trace> = snapshot
            .failures
            .iter()
            .flatten()
            .chain(&snapshot.finished)
            .chain(&snapshot.open)
            .filter(|trace| filter.admits(trace, &snapshot.topology))
            .map(|trace| (trace.id(), trace.as_ref()))
            .collect();
        let failures: BTreeMap<TraceId, &Trace> = snapshot
            .failures
            .iter()
            .flatten()
            .filter(|trace| filter.tenant.is_none_or(|tenant| tenant == trace.tenant))
            .map(|trace| (trace.id(), trace.as_ref()))
            .collect();
        Self {
            matching: all.len(),
            traces: all.into_values().rev().take(filter.limit).collect(),
            failures: failures.into_values().rev().take(filter.limit).collect(),
        }
    }
}
