//! What is still open of an incident that is over: canaries that have not arrived, and problems that follow from it.

use std::sync::Arc;

use super::condition::ConditionView;
use super::sent::Sent;
use super::trace::all_flaws;
use crate::domain::conditions::{Condition, ConditionName};
use crate::domain::flaw::Flaw;
use crate::domain::incidents::Incident;
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;

/// Problems that are named in a text.
const NAMED: usize = 3;

/// What is still open of an incident.
#[derive(Clone, Debug)]
pub(crate) struct Remaining<'a> {
    /// What follows from it or remains of it, and is a problem, worst first.
    pub(crate) problems: Vec<&'a Condition>,
    /// Canaries from its time that have not arrived.
    pub(crate) missing: usize,
    /// As text.
    pub(crate) text: String,
}

impl<'a> Remaining<'a> {
    /// `None` while the incident goes on, and if all is well.
    pub(crate) fn of(
        incident: &Incident,
        problems: &[&'a Condition],
        sent: &Sent<'_>,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Option<Self> {
        let (map, end) = (&*snapshot.topology, incident.end?);
        // What goes on by itself is told by itself.
        let goes_on = |problem: &Condition| {
            snapshot.episodes.iter().any(|other| other.end().is_none() && other.is_of(problem))
        };
        let is_of =
            |problem: &&&Condition| {
                !goes_on(problem)
                    && incident.episodes.iter().filter(|episode| !episode.has_ended()).any(|episode| {
                        episode.is_of(problem) || problem.follows_from(&episode.condition, map)
                    })
            };
        let mut problems: Vec<_> = problems.iter().filter(is_of).copied().collect();
        problems.sort_by_key(|problem| problem.precedence());
        let tenants = tenants(incident, snapshot);
        let missing =
            if is_about_arrival(incident.name) { missing(incident, &tenants, end, snapshot) } else { 0 };
        let mut texts = Vec::new();
        if missing > 0 {
            let whole = sent.between(&tenants, incident.beginning, end, missing);
            texts.push(format!("{missing} of {whole} canaries from that time have not arrived"));
        }
        let mut named: Vec<(String, Arc<str>, usize)> = Vec::new();
        for problem in &problems {
            let view = ConditionView::new(problem, snapshot, settings);
            match named.iter_mut().find(|(what, ..)| *what == view.what) {
                Some((.., count)) => *count += 1,
                None => named.push((view.what, view.tenant.unwrap_or_default(), 1)),
            }
        }
        texts.extend(named.into_iter().take(NAMED).map(|(what, tenant, count)| match count {
            1 if tenant.is_empty() => what,
            1 => format!("{tenant} {what}"),
            several => format!("{several} tenants {what}"),
        }));
        (!texts.is_empty()).then(|| Self { problems, missing, text: texts.join("; ") })
    }
}

/// The tenants that an incident concerns; all of them if it is of none in particular.
pub(crate) fn tenants(incident: &Incident, snapshot: &Snapshot) -> Vec<TenantId> {
    let own: Vec<_> = incident.tenants().collect();
    if own.is_empty() { snapshot.topology.real_tenants().collect() } else { own }
}

/// Whether canaries that do not arrive may be its consequence.
const fn is_about_arrival(name: ConditionName) -> bool {
    match name {
        ConditionName::TotalStall
        | ConditionName::Stuck
        | ConditionName::Losing
        | ConditionName::Missing
        | ConditionName::Slow
        | ConditionName::HopOverTarget
        | ConditionName::NeverSeen => true,
        ConditionName::Leaking
        | ConditionName::Corruption
        | ConditionName::Duplicates
        | ConditionName::DeadLettersWaiting
        | ConditionName::SchemaDrift
        | ConditionName::NotInjecting
        | ConditionName::CannotSee
        | ConditionName::LateInjection
        | ConditionName::Skipped
        | ConditionName::SameName
        | ConditionName::StoreDegraded
        | ConditionName::OverBudget
        | ConditionName::ReloadFailed
        | ConditionName::ClockUnsynchronized => false,
    }
}

/// Open canaries of its time and tenants that should be at a stage and are not.
fn missing(incident: &Incident, tenants: &[TenantId], end: Timestamp, snapshot: &Snapshot) -> usize {
    let in_its_time = snapshot.open.iter().filter(|trace| {
        (incident.beginning..end).contains(&trace.planned_at) && tenants.contains(&trace.tenant)
    });
    let is_missing =
        |trace: &_| all_flaws(trace, snapshot).iter().any(|(flaw, _)| matches!(flaw, Flaw::Missing));
    in_its_time.filter(|trace| is_missing(trace)).count()
}
