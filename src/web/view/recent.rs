//! `/traces/recent`: which tenant, which hop, since when; then the evidence.

use std::sync::Arc;
use std::time::Duration;

use super::condition::ConditionView;
use super::incident::{self, IncidentView};
use super::matter::{Matter, matters};
use super::selection::Selection;
use super::sent::Sent;
use super::source::Source;
use super::tenant::{Tenant, recent_by_tenant};
use super::trace::TraceView;
use super::verdict::{Heading, VerdictView};
use super::violation::Violation;
use crate::domain::conditions::{Assessment, Condition};
use crate::domain::drill::Drills;
use crate::domain::incidents::{Incident, State};
use crate::domain::time::{Interval, OwnClock, Timestamp};
use crate::domain::topology::TenantId;
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;
use crate::web::app::{App, Settings};
use crate::web::filter::Filter;

/// Incidents that are shown at most.
const MAX_INCIDENTS: usize = 100;

/// The state of all tenants and recent traces.
#[derive(Clone, Debug)]
pub(crate) struct Recent<'a> {
    /// The instant of the snapshot.
    pub(crate) at: Timestamp,
    /// What does not change while the process runs.
    pub(crate) settings: &'a Settings,
    /// What was requested.
    pub(crate) filter: &'a Filter,
    pub(crate) heading: Heading,
    /// The verdict on each tenant, worst first, whatever the filter.
    pub(crate) verdicts: Vec<VerdictView>,
    /// Every condition, worst first, whatever the filter.
    pub(crate) conditions: Vec<ConditionView>,
    /// What is and was wrong, the most important first; those of the filter's tenant.
    pub(crate) incidents: Vec<IncidentView>,
    /// Problems that are part of no incident yet, worst first.
    pub(crate) uncovered: Vec<ConditionView>,
    /// The tenants that match the filter, worst first.
    pub(crate) tenants: Vec<Tenant>,
    /// Traces that match the filter, newest first, at most its limit.
    pub(crate) traces: Vec<TraceView<'a>>,
    /// Number of all traces that match.
    pub(crate) matching: usize,
    /// Number of matching traces that are newer than those in `traces`.
    pub(crate) newer: usize,
    /// The query of the next page, with older traces; `None` on the last page.
    pub(crate) next: Option<String>,
    /// The query of the previous page, with newer traces; `None` on the first page.
    pub(crate) previous: Option<String>,
    /// Since when every finished trace is known; `None` if there is none.
    pub(crate) known_since: Option<Timestamp>,
    /// Traces with which something is wrong, by what; those of the filter's tenant and time.
    pub(crate) matters: Vec<Matter>,
    /// Whether no canary has been planned yet.
    pub(crate) nothing_planned: bool,
    /// Shortest time between two canaries of a tenant.
    pub(crate) shortest_interval: Duration,
    /// Failed traces of the filter's tenant, newest first, at most its limit.
    pub(crate) failures: Vec<TraceView<'a>>,
    /// Canaries of the filter's tenant that were found at another, newest first.
    pub(crate) violations: Vec<Violation>,
    /// Every source, in the order of the topology.
    pub(crate) sources: Vec<Source>,
    /// The stages at which what arrives while nothing waits is read, too.
    pub(crate) gapless_stages: Vec<Arc<str>>,
    /// The state of the probe's own clock, if the platform reports it.
    pub(crate) clock: Option<OwnClock>,
    /// Why the store cannot be written; `None` while it can.
    pub(crate) not_kept: Option<String>,
    /// When canaries were planned that may have no outcome, because no store kept them; `None` if a store does.
    pub(crate) forgotten: Option<Interval>,
    /// What is known of drills; `None` if they are not enabled.
    pub(crate) drills: Option<Drills>,
    /// The names of all tenants, for the filter form.
    pub(crate) tenant_names: Vec<Arc<str>>,
    /// The names of all stages, for the filter form.
    pub(crate) stage_names: Vec<Arc<str>>,
}

impl<'a> Recent<'a> {
    pub(crate) fn new(app: &'a App, snapshot: &'a Snapshot, filter: &'a Filter) -> Self {
        let settings = &*app.settings;
        let map = &snapshot.topology;
        // The tenant of drills is shown to who asks for it.
        let is_shown = |tenant: TenantId| map.drill() != Some(tenant) || filter.tenant == Some(tenant);
        let admits = |tenant: TenantId| is_shown(tenant) && filter.tenant.is_none_or(|only| only == tenant);
        let found = Assessment::new(snapshot, &settings.criteria);
        let condition = |condition| ConditionView::new(condition, snapshot, settings);
        let shared: Vec<_> = found.shared.iter().map(condition).collect();
        let recent = recent_by_tenant(snapshot, &settings.criteria);
        let shown: Vec<_> = found.verdicts.iter().filter(|verdict| is_shown(verdict.tenant)).collect();
        let verdicts: Vec<_> =
            shown.iter().map(|verdict| VerdictView::new(verdict, snapshot, settings)).collect();
        let tenants = shown.iter().zip(&verdicts).filter(|(verdict, _)| admits(verdict.tenant)).map(
            |(verdict, view)| {
                let traces = &recent[usize::from(verdict.tenant.0)];
                Tenant::new(view.clone(), snapshot, &settings.criteria, verdict.tenant, traces)
            },
        );
        let selection = Selection::new(snapshot, filter);
        let (incidents, unsettled) = incidents(&found, snapshot, settings, filter);
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
            heading: Heading::new(&verdicts, &shared, unsettled.as_ref()),
            conditions: found.all(map).into_iter().map(condition).collect(),
            incidents,
            uncovered: uncovered(&found, snapshot)
                .into_iter()
                .filter(|it| it.subject.tenant.is_none_or(admits))
                .map(condition)
                .collect(),
            matters: matters(&selection.of_tenant, snapshot),
            known_since: snapshot.complete_since,
            next: selection.older_than.map(|id| filter.link("before", &id.to_string())),
            previous: selection.newer_than.map(|id| filter.link("after", &id.to_string())),
            newer: selection.newer,
            tenants: tenants.collect(),
            verdicts,
            traces: traces(selection.traces),
            matching: selection.matching,
            nothing_planned: snapshot.open.is_empty() && snapshot.finished.is_empty(),
            shortest_interval: map.tenant_ids().map(|id| map.tenant(id).interval).min().unwrap_or_default(),
            failures: traces(selection.failures),
            violations: violations.map(|seen| Violation::new(seen, snapshot)).collect(),
            sources: snapshot.read_sources().map(|view| Source::new(view, snapshot, filter)).collect(),
            gapless_stages: map
                .stages()
                .iter()
                .filter(|stage| stage.capabilities.reads_gaps)
                .map(|stage| stage.name.clone())
                .collect(),
            clock: snapshot.clock,
            forgotten: snapshot.forgotten,
            not_kept: snapshot.not_stored.as_ref().map(|(since, why)| format!("since {since}: {why}")),
            drills: snapshot.drills.clone(),
            tenant_names: map.real_tenants().map(|tenant| map.tenant(tenant).name.clone()).collect(),
            stage_names: map.stage_ids().map(|id| map.stage(id).name.clone()).collect(),
        }
    }
}

/// The problems that are part of no incident that goes on.
fn uncovered<'a>(found: &'a Assessment, snapshot: &Snapshot) -> Vec<&'a Condition> {
    let open = || snapshot.episodes.iter().filter(|episode| !episode.has_ended());
    let is_covered = |problem: &Condition| {
        open().any(|episode| {
            episode.is_of(problem) || problem.follows_from(&episode.condition, &snapshot.topology)
        })
    };
    found.problems().filter(|problem| !is_covered(problem)).collect()
}

/// The incidents that go on, and the last ones that have ended. Also one of any tenant without which a heading that
/// tells of conditions would be too good: the worst of which nothing proves that it is over, unless a condition is as
/// bad, or one that is over but has something open, if there is no condition.
fn incidents(
    found: &Assessment,
    snapshot: &Snapshot,
    settings: &Settings,
    filter: &Filter,
) -> (Vec<IncidentView>, Option<IncidentView>) {
    let all = Incident::group(&snapshot.episodes, &snapshot.topology);
    let drill = snapshot.topology.drill().filter(|drill| filter.tenant != Some(*drill));
    let is_drill = |incident: &Incident| drill.is_some() && incident.tenants().eq(drill);
    let admits = |incident: &&Incident| {
        !is_drill(incident)
            && filter.tenant.is_none_or(|only| {
                let mut tenants = incident.tenants().peekable();
                tenants.peek().is_none() || tenants.any(|tenant| tenant == only)
            })
    };
    let problems: Vec<_> = found.problems().collect();
    let sent = Sent::new(snapshot);
    let view = |incident: &Incident| IncidentView::new(incident, &problems, &sent, snapshot, settings);
    let shown = all.iter().filter(admits).take(MAX_INCIDENTS);
    let with_cause = |incident: &Incident| {
        let cause = incident::cause(incident, &all, &snapshot.topology);
        Some(IncidentView { follows_from: cause.map(incident::id), ..view(incident)? })
    };
    let mut views: Vec<_> = shown.filter_map(with_cause).collect();
    // What goes on and explains others first, then what may come back, then what has ended.
    views.sort_by_key(|it| {
        let precedence = (it.state != "ended").then_some(it.precedence);
        (it.state == "ended", it.end.is_some() && it.open.is_none(), it.follows_from.is_some(), precedence)
    });
    let worst = problems.iter().map(|problem| problem.severity).min();
    let real = || all.iter().filter(|it| !is_drill(it));
    let goes_on = |it: &Incident| it.episodes.iter().any(|episode| episode.state == State::Ongoing);
    let unproven = real().filter(|it| it.end.is_none() && !goes_on(it)).min_by_key(|it| it.severity);
    let unproven = unproven.filter(|it| worst.is_none_or(|worst| it.severity <= worst)).and_then(view);
    // No canary is missing for longer: it is lost then.
    let is_recent = |end| snapshot.at.since(end) < settings.give_up;
    let over = || real().filter(|it| it.end.is_some_and(is_recent)).filter_map(view);
    let unsettled = unproven.or_else(|| over().find(|it| it.open.is_some()).filter(|_| worst.is_none()));
    (views, unsettled)
}
