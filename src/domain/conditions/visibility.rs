//! A stage cannot be read.

use super::condition::{Condition, Detail};
use super::history::History;
use super::name::{ConditionName, Subject};

/// Every stage that is blind for a tenant, for whatever reason. On the main path it hides the pipeline;
/// beside it, only that stage.
pub(super) fn find(history: &History<'_>, found: &mut Vec<Condition>) {
    let (snapshot, tenant) = (history.snapshot, history.tenant);
    let map = &*snapshot.topology;
    for stage in map.stage_ids() {
        let view = &snapshot.sources[map.source_of(tenant, stage).0 as usize];
        if let Some((since, reason)) = view.blind_for(tenant) {
            let subject = Subject::at(tenant, stage);
            let name = ConditionName::CannotSee;
            let severity = name.severity(map, subject.place);
            found.push(Condition::fault(name, subject, severity, Some(since), Detail::Reason(reason)));
        }
    }
}
