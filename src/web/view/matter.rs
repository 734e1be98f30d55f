//! Traces that matter: those with which something is wrong, by what is wrong and where.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::trace::{Brief, all_flaws};
use crate::domain::flaw::Flaw;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId};
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;

/// Traces that are shown of one group.
const SHOWN: usize = 4;
/// Of those, traces of one tenant.
const SHOWN_OF_TENANT: usize = 2;

/// Traces with which the same is wrong at the same stage.
#[derive(Clone, Debug)]
pub(crate) struct Matter {
    pub(crate) flaw: Flaw,
    /// `None` for what never entered the pipeline.
    pub(crate) stage: Option<Arc<str>>,
    /// Number of remembered traces.
    pub(crate) count: usize,
    /// Of how many.
    pub(crate) of: usize,
    /// When the newest one was planned.
    pub(crate) newest: Timestamp,
    /// Tenants and how many traces each has, most first.
    pub(crate) tenants: Vec<(Arc<str>, usize)>,
    /// The newest ones.
    pub(crate) traces: Vec<Brief>,
}

/// Groups traces by what is wrong with them, the worst first. `traces` are newest first.
#[must_use]
pub(crate) fn matters(traces: &[&Trace], snapshot: &Snapshot) -> Vec<Matter> {
    let (map, all) = (&snapshot.topology, traces.len());
    let mut groups: BTreeMap<(Flaw, Option<StageId>), Vec<&Trace>> = BTreeMap::new();
    for trace in traces {
        for fault in all_flaws(trace, snapshot) {
            groups.entry(fault).or_default().push(trace);
        }
    }
    let group = |((flaw, stage), traces): ((Flaw, Option<StageId>), Vec<&Trace>)| {
        let mut of: BTreeMap<TenantId, usize> = BTreeMap::new();
        let mut shown = Vec::new();
        for trace in &traces {
            let count = of.entry(trace.tenant).or_default();
            *count += 1;
            if *count <= SHOWN_OF_TENANT && shown.len() < SHOWN {
                shown.push(Brief::new(trace, snapshot));
            }
        }
        let mut tenants: Vec<_> =
            of.into_iter().map(|(tenant, count)| (map.tenant(tenant).name.clone(), count)).collect();
        tenants.sort_by_key(|(_, count)| Reverse(*count));
        Some(Matter {
            flaw,
            stage: stage.map(|stage| map.stage(stage).name.clone()),
            count: traces.len(),
            of: all,
            newest: traces.first()?.planned_at,
            tenants,
            traces: shown,
        })
    };
    groups.into_iter().filter_map(group).collect()
}
