//! One tenant: its verdict, the latencies of its hops and sizes, and its injection.

use std::time::Duration;

use super::hop::{HopFigures, hops};
use super::size::{SizeFigures, sizes};
use super::verdict::VerdictView;
use crate::domain::conditions::Criteria;
use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;

#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    /// The verdict on it.
    pub(crate) verdict: VerdictView,
    /// The figures and conditions are of the canaries planned within this time.
    pub(crate) window: Duration,
    /// The main path first, then side stages, then end to end.
    pub(crate) hops: Vec<HopFigures>,
    /// End to end by size, the smallest first.
    pub(crate) sizes: Vec<SizeFigures>,
    /// The state of its injection.
    pub(crate) injection: Injection,
    /// Number of scheduled canaries that were not sent.
    pub(crate) missed: u64,
}

impl Tenant {
    pub(crate) fn new(
        verdict: VerdictView,
        snapshot: &Snapshot,
        criteria: &Criteria,
        tenant: TenantId,
        traces: &[&Trace],
    ) -> Self {
        let window = criteria.window(snapshot.topology.tenant(tenant).interval);
        let index = usize::from(tenant.0);
        Self {
            id: tenant,
            verdict,
            window,
            hops: hops(snapshot, criteria, tenant, traces),
            sizes: sizes(snapshot, traces),
            injection: injection(snapshot, tenant),
            missed: snapshot.tenants[index].missed,
        }
    }
}

/// The traces of every tenant that were planned within the criteria's window, indexed by the tenant's id.
pub(crate) fn recent_by_tenant<'a>(snapshot: &'a Snapshot, criteria: &Criteria) -> Vec<Vec<&'a Trace>> {
    let map = &snapshot.topology;
    let from: Vec<_> =
        map.tenants().iter().map(|tenant| snapshot.at - criteria.window(tenant.interval)).collect();
    let mut of = vec![Vec::new(); from.len()];
    for trace in snapshot.finished.iter().chain(&snapshot.open) {
        let index = usize::from(trace.tenant.0);
        if trace.planned_at >= from[index] {
            of[index].push(&**trace);
        }
    }
    of
}

/// The state of a tenant's injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Injection {
    /// Nothing has been planned yet.
    NotBegun,
    /// The last put was accepted, at this instant.
    Accepted(Timestamp),
    /// Planned at this instant, and no put has been answered yet.
    Unanswered(Timestamp),
    /// Nothing was accepted since this instant, with the reason.
    Refusing(Timestamp, ForeignText),
}

/// Derives the state of a tenant's injection.
fn injection(snapshot: &Snapshot, tenant: TenantId) -> Injection {
    let view = &snapshot.tenants[usize::from(tenant.0)];
    match (view.refusing(), view.accepted_at(), view.planned_at) {
        (Some((since, reason)), _, _) => Injection::Refusing(*since, reason.clone()),
        (None, Some(at), _) => Injection::Accepted(at),
        (None, None, Some(at)) => Injection::Unanswered(at),
        (None, None, None) => Injection::NotBegun,
    }
}
