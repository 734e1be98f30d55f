//! How many canaries were sent in a time: the whole of which an incident's canaries are a part.

use std::fmt;

use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;
use crate::domain::tracker::Snapshot;

/// When the remembered canaries of each tenant were planned.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    snapshot: &'a Snapshot,
    /// Oldest first, indexed by the tenant's id.
    planned: Vec<Vec<Timestamp>>,
}

/// A number of canaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Whole {
    number: usize,
    /// Whether some were counted by the schedule, because not all traces are remembered.
    is_estimate: bool,
}

impl<'a> Sent<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let mut planned = vec![Vec::new(); snapshot.topology.tenants().len()];
        for trace in snapshot.finished.iter().chain(&snapshot.open) {
            if let Some(of_tenant) = planned.get_mut(usize::from(trace.tenant.0)) {
                of_tenant.push(trace.planned_at);
            }
        }
        planned.iter_mut().for_each(|of_tenant| of_tenant.sort_unstable());
        Self { snapshot, planned }
    }

    /// Canaries of these tenants that were planned from `from` until before `to`, of which so many are known to be some.
    pub(crate) fn between(
        &self,
        tenants: &[TenantId],
        from: Timestamp,
        to: Timestamp,
        known: usize,
    ) -> Whole {
        let is_complete = self.snapshot.complete_since.is_none_or(|since| since <= from);
        let of = |tenant: &TenantId| {
            let Some(planned) = self.planned.get(usize::from(tenant.0)) else { return 0 };
            let remembered =
                planned.partition_point(|at| *at < to) - planned.partition_point(|at| *at < from);
            if is_complete {
                return remembered;
            }
            let interval = self.snapshot.topology.tenant(*tenant).interval.as_millis().max(1);
            let scheduled = to.since(from).as_millis() / interval + 1;
            remembered.max(usize::try_from(scheduled).unwrap_or(usize::MAX))
        };
        let number = tenants.iter().map(of).fold(0, usize::saturating_add);
        Whole { number: number.max(known), is_estimate: !is_complete }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.is_estimate { "about " } else { "" };
        write!(f, "{about}{}", self.number)
    }
}
