//! The latencies of a tenant's hops, as the page and the JSON show them.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::conditions::{Criteria, latency};
use crate::domain::quantile::{Level, Quantile, Sample};
use crate::domain::time::Timestamp;
use crate::domain::topology::{Role, StageId, TenantId};
use crate::domain::trace::{Judgement, Trace};
use crate::domain::tracker::Snapshot;

/// Latencies of one hop, or end to end, within the criteria's window.
#[derive(Clone, Debug)]
pub(crate) struct HopFigures {
    /// The hop; `None` for end to end.
    pub(crate) stage: Option<StageId>,
    /// Its name, or `end to end`.
    pub(crate) name: Arc<str>,
    /// Whether it leads to a side stage.
    pub(crate) side: bool,
    /// At the shown levels; `None` if nothing has been measured.
    pub(crate) quantiles: Option<[Quantile; 3]>,
    /// At the judged level; `None` if nothing has been measured.
    pub(crate) judged_quantile: Option<Quantile>,
    /// Number of traces in the sample: those that arrived, and those that are proven not to have arrived yet.
    pub(crate) judged: usize,
    /// Number of traces in the sample that have not arrived.
    pub(crate) missing: usize,
    /// How uncertain the latencies are: the 95th percentile of the widths of the arrival intervals. `None`
    /// without arrivals.
    pub(crate) error: Option<Duration>,
    /// Limit for the judged quantile; `None` without a target.
    pub(crate) target: Option<Duration>,
    /// Since when the hop's stage has been blind, so that the figures are from before that; `None` if it is
    /// not blind.
    pub(crate) blind_since: Option<Timestamp>,
}

impl HopFigures {
    /// Whether a quantile is over the target.
    #[must_use]
    pub(crate) fn over(&self, quantile: Quantile) -> bool {
        self.target.is_some_and(|target| match quantile {
            Quantile::Exactly(duration) => duration > target,
            Quantile::MoreThan(duration) => duration >= target,
        })
    }

    /// Whether the judged quantile is over the target; `None` if nothing has been measured or there is no
    /// target.
    #[must_use]
    pub(crate) fn is_over(&self) -> Option<bool> {
        self.target?;
        self.judged_quantile.map(|quantile| self.over(quantile))
    }
}

/// Computes the figures of a tenant's hops from its traces: the main path first, then side stages, then end
/// to end.
///
/// The sample is the same as in the histograms: traces that have not arrived are part of it.
#[must_use]
pub(crate) fn hops(
    snapshot: &Snapshot,
    criteria: &Criteria,
    tenant: TenantId,
    traces: &[&Trace],
) -> Vec<HopFigures> {
    let topology = &snapshot.topology;
    let path = topology.main_path();
    let side_stages = topology.stage_ids().filter(|stage| !path.contains(stage));
    let mut figures: Vec<_> = path
        .iter()
        .copied()
        .chain(side_stages)
        .filter(|stage| match topology.stage(*stage).role {
            Role::Way | Role::End => true,
            Role::DeadLetter => false,
        })
        .map(|stage| one_hop(snapshot, tenant, stage, traces))
        .collect();
    let mut sample = latency::end_to_end(snapshot, traces);
    let overdue = |trace: &&&Trace| trace.judgement == Judgement::Overdue;
    figures.push(HopFigures {
        stage: None,
        name: "end to end".into(),
        side: false,
        quantiles: sample.quantiles(Level::SHOWN),
        judged_quantile: sample.quantile(Level::JUDGED),
        judged: sample.len(),
        missing: traces.iter().filter(overdue).count(),
        error: error(traces, topology.end()),
        target: Some(criteria.slo),
        blind_since: blind_since(snapshot, tenant, topology.end()),
    });
    figures
}

fn one_hop(snapshot: &Snapshot, tenant: TenantId, stage: StageId, traces: &[&Trace]) -> HopFigures {
    let topology = &snapshot.topology;
    let spec = topology.stage(stage);
    let (mut sample, missing) = latency::of_hop(snapshot, stage, traces);
    HopFigures {
        stage: Some(stage),
        name: spec.name.clone(),
        side: !topology.main_path().contains(&stage),
        quantiles: sample.quantiles(Level::SHOWN),
        judged_quantile: sample.quantile(Level::JUDGED),
        judged: sample.len(),
        missing,
        error: error(traces, stage),
        target: spec.target,
        blind_since: blind_since(snapshot, tenant, stage),
    }
}

fn blind_since(snapshot: &Snapshot, tenant: TenantId, stage: StageId) -> Option<Timestamp> {
    let source = snapshot.topology.source_of(tenant, stage);
    snapshot.sources[source.0 as usize].blind_for(tenant).map(|(since, _)| since)
}

/// The uncertainty of the latencies at a stage: the 95th percentile of the widths of its arrival intervals.
fn error(traces: &[&Trace], stage: StageId) -> Option<Duration> {
    let mut widths = Sample::default();
    for arrival in traces.iter().filter_map(|trace| trace.arrival(stage)) {
        widths.arrived(arrival.width());
    }
    match widths.quantile(Level::P95)? {
        Quantile::Exactly(width) | Quantile::MoreThan(width) => Some(width),
    }
}
