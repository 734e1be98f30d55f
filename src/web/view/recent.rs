//! `/traces/recent`: which tenant, which hop, since when; then everything that bears it out.

use std::sync::Arc;

use super::selection::Selection;
use super::source::Source;
use super::tenant::Tenant;
use super::trace::TraceView;
use super::verdict::{Heading, VerdictView};
use super::violation::Violation;
use crate::domain::time::{OwnClock, Timestamp};
use crate::domain::topology::TenantId;
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;
use crate::domain::verdict;
use crate::web::app::{App, Settings};
use crate::web::filter::Filter;

/// All that is said of the recent past.
#[derive(Clone, Debug)]
pub(crate) struct Recent<'a> {
    /// The instant that this describes.
    pub(crate) at: Timestamp,
    /// What does not change.
    pub(crate) settings: &'a Settings,
    /// What was asked for.
    pub(crate) filter: &'a Filter,
    /// It all in a line.
    pub(crate) heading: Heading,
    /// The verdict on each tenant, worst first, whatever the filter.
    pub(crate) verdicts: Vec<VerdictView>,
    /// The tenants that the filter admits, worst first.
    pub(crate) tenants: Vec<Tenant>,
    /// Traces that the filter admits, newest first, at most its limit.
    pub(crate) traces: Vec<TraceView<'a>>,
    /// How many traces it admits in all.
    pub(crate) matching: usize,
    /// Whether no canary has been planned yet.
    pub(crate) nothing_planned: bool,
    /// Failed ones of the filter's tenant, newest first, at most its limit.
    pub(crate) failures: Vec<TraceView<'a>>,
    /// Canaries of the filter's tenant that were found with another, newest first.
    pub(crate) violations: Vec<Violation>,
    /// Every source, in the order of the topology.
    pub(crate) sources: Vec<Source>,
    /// What the platform says of the probe's own clock.
    pub(crate) clock: Option<OwnClock>,
    /// Why nothing outlives a restart, where that is not as it should be.
    pub(crate) not_kept: Option<String>,
    /// The names that a filter takes for a tenant.
    pub(crate) tenant_names: Vec<Arc<str>>,
    /// The names that a filter takes for a stage.
    pub(crate) stage_names: Vec<Arc<str>>,
}

impl<'a> Recent<'a> {
    pub(crate) fn new(app: &'a App, snapshot: &'a Snapshot, filter: &'a Filter) -> Self {
        let settings = &*app.settings;
        let map = &snapshot.topology;
        let admits = |tenant: TenantId| filter.tenant.is_none_or(|only| only == tenant);
        let found = verdict::verdicts(snapshot, &settings.criteria);
        let verdicts: Vec<_> =
            found.iter().map(|verdict| VerdictView::new(verdict, snapshot, settings)).collect();
        let tenants =
            found.iter().zip(&verdicts).filter(|(verdict, _)| admits(verdict.tenant)).map(
                |(verdict, view)| Tenant::new(view.clone(), snapshot, &settings.criteria, verdict.tenant),
            );
        let selection = Selection::new(snapshot, filter);
        let traces =
            |of: Vec<&'a Trace>| of.into_iter().map(|trace| TraceView::new(trace, snapshot)).collect();
        let violations = snapshot
            .violations
            .iter()
            .rev()
            .filter(|seen| filter.tenant.is_none_or(|tenant| seen.concerns(tenant)));
        Self {
            at: snapshot.at,
            settings,
            filter,
            heading: Heading::new(&verdicts),
            tenants: tenants.collect(),
            verdicts,
            traces: traces(selection.traces),
            matching: selection.matching,
            nothing_planned: snapshot.open.is_empty() && snapshot.finished.is_empty(),
            failures: traces(selection.failures),
            violations: violations.map(|seen| Violation::new(seen, snapshot)).collect(),
            sources: snapshot.sources.iter().map(|view| Source::new(view, snapshot, filter)).collect(),
            clock: snapshot.clock,
            not_kept: (app.kept)().err(),
            tenant_names: map.tenants().iter().map(|tenant| tenant.name.clone()).collect(),
            stage_names: map.stages().iter().map(|stage| stage.name.clone()).collect(),
        }
    }
}
