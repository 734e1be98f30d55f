//! Which traces a page shows.

use std::cmp::Reverse;

use super::trace::all_flaws;
use crate::domain::tag::TraceId;
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;
use crate::web::filter::Filter;

/// The traces that match a filter.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// Newest first, at most the limit, from the filter's cursor on.
    pub(crate) traces: Vec<&'a Trace>,
    /// Number of all traces that match, whatever the cursor.
    pub(crate) matching: usize,
    /// Number of them that are newer than those in `traces`.
    pub(crate) newer: usize,
    /// The cursor of older traces; `None` if none matches.
    pub(crate) older_than: Option<TraceId>,
    /// The cursor of newer traces; `None` if none matches.
    pub(crate) newer_than: Option<TraceId>,
    /// Failed traces of the filter's tenant, newest first, at most the limit.
    pub(crate) failures: Vec<&'a Trace>,
    /// All traces of the filter's tenant and time, newest first.
    pub(crate) of_tenant: Vec<&'a Trace>,
}

impl<'a> Selection<'a> {
    /// Applies a filter to a snapshot.
    #[must_use]
    pub(crate) fn new(snapshot: &'a Snapshot, filter: &Filter) -> Self {
        let map = &snapshot.topology;
        // The tenant of drills is shown to who asks for it.
        let drill = map.drill().filter(|drill| filter.tenant != Some(*drill));
        let is_shown = |trace: &&Trace| drill != Some(trace.tenant);
        let open_and_finished = snapshot.finished.iter().chain(&snapshot.open).map(AsRef::as_ref);
        let mut of_tenant: Vec<&Trace> =
            open_and_finished.filter(is_shown).filter(|trace| filter.is_of(trace)).collect();
        of_tenant.sort_unstable_by_key(|trace| Reverse(trace.id()));
        let found = |trace: &Trace| all_flaws(trace, snapshot);
        let all: Vec<&Trace> =
            of_tenant.iter().copied().filter(|trace| filter.admits(trace, found, map)).collect();
        let (from, to) = match (filter.before, filter.after) {
            (Some(before), _) => {
                let from = all.partition_point(|trace| trace.id() >= before);
                (from, all.len().min(from.saturating_add(filter.limit)))
            }
            (None, Some(after)) => {
                let to = all.partition_point(|trace| trace.id() > after);
                (to.saturating_sub(filter.limit), to)
            }
            (None, None) => (0, all.len().min(filter.limit)),
        };
        let traces = all[from..to].to_vec();
        let failures = snapshot.finished.iter().rev().map(AsRef::as_ref).filter(is_shown);
        let failures = failures.filter(|trace| filter.tenant.is_none_or(|tenant| tenant == trace.tenant));
        Self {
            matching: all.len(),
            newer: from,
            older_than: traces.last().filter(|_| to < all.len()).map(|trace| trace.id()),
            newer_than: traces.first().filter(|_| from > 0).map(|trace| trace.id()),
            traces,
            failures: failures.filter(|trace| trace.is_failure()).take(filter.limit).collect(),
            of_tenant,
        }
    }
}
