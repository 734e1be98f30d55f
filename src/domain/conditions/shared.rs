//! What is wrong with a source as a whole, or with the probe itself.

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::topology::HopRange;
use crate::domain::tracker::Snapshot;

/// Drifted tables, queues with dead letters, and the probe's own faults.
pub(super) fn find(snapshot: &Snapshot, criteria: &Criteria, found: &mut Vec<Condition>) {
    schema_drift(snapshot, found);
    dead_letters(snapshot, found);
    let map = &*snapshot.topology;
    let mut held_back = None;
    let mut probe = |name: ConditionName, since, last, detail| {
        let fault = Condition::fault(name, Subject::PROBE, name.severity(map, None), since, detail);
        found.push(Condition { last, ..fault });
    };
    // It may be any tenant's.
    let longest = map.tenant_ids().map(|id| map.tenant(id).interval).max().unwrap_or_default();
    let window = snapshot.at - criteria.window(longest);
    if let Some(namesake) = snapshot.namesake.filter(|namesake| namesake.last >= window) {
        probe(ConditionName::SameName, Some(namesake.since), Some(namesake.last), Detail::None);
    }
    if let Some((since, reason)) = &snapshot.not_stored {
        probe(ConditionName::StoreDegraded, Some(*since), None, Detail::Reason(reason.clone()));
    }
    if let Some(held) = &snapshot.over_budget {
        // What is only late makes arrivals less certain; what is left out makes a stage blind.
        let severity =
            if held.leaves_out { ConditionName::OverBudget.profile().severity } else { Severity::Note };
        let detail = Detail::Reason(held.text.clone());
        let (name, since) = (ConditionName::OverBudget, Some(held.since));
        held_back = Some(Condition::fault(name, Subject::PROBE, severity, since, detail));
    }
    if let Some((since, reason)) = &snapshot.reload_failed {
        probe(ConditionName::ReloadFailed, Some(*since), None, Detail::Reason(reason.clone()));
    }
    if let Some(clock) = snapshot.clock.filter(|clock| !clock.synchronized) {
        probe(ConditionName::ClockUnsynchronized, None, None, Detail::ErrorBound(clock.error_bound));
    }
    found.extend(held_back);
}

fn schema_drift(snapshot: &Snapshot, found: &mut Vec<Condition>) {
    let map = &*snapshot.topology;
    for view in snapshot.read_sources() {
        let Some(drifted) = view.drifted.as_ref().filter(|drifted| !drifted.changes.is_empty()) else {
            continue;
        };
        let source = map.source(view.source);
        let subject = Subject { tenant: source.owner.tenant(), place: Some(HopRange::one(source.stage)) };
        let name = ConditionName::SchemaDrift;
        let severity = name.severity(map, subject.place);
        let detail = Detail::Drift(drifted.changes.clone());
        found.push(Condition::fault(name, subject, severity, drifted.since, detail));
    }
}

/// Queues of dead letters that are not empty. Nothing is known of what is in them.
fn dead_letters(snapshot: &Snapshot, found: &mut Vec<Condition>) {
    let map = &*snapshot.topology;
    for view in snapshot.read_sources() {
        let Some(queue) = view.queue.filter(|queue| queue.messages > 0) else { continue };
        let source = map.source(view.source);
        let subject = Subject { tenant: source.owner.tenant(), place: Some(HopRange::one(source.stage)) };
        let name = ConditionName::DeadLettersWaiting;
        let (severity, detail) = (name.severity(map, subject.place), Detail::Messages(queue.messages));
        found.push(Condition::fault(name, subject, severity, queue.since, detail));
    }
}
