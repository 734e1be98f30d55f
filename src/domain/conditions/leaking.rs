//! A canary was found with another tenant.

use super::condition::{Condition, Detail};
use super::history::History;
use super::name::{ConditionName, Subject};
use super::severity::Severity;

/// Leaks within the window, by the stage at which they were found. One is enough.
pub(super) fn find(history: &History<'_>, found: &mut Vec<Condition>) {
    let recent = history
        .snapshot
        .leaks
        .iter()
        .filter(|leaks| leaks.tenant == history.tenant && leaks.last >= history.from);
    found.extend(recent.map(|leaks| Condition {
        affected: Some(leaks.count),
        last: Some(leaks.last),
        ..Condition::fault(
            ConditionName::Leaking,
            Subject::at(history.tenant, leaks.stage),
            Severity::Critical,
            Some(leaks.since),
            Detail::FoundIn(leaks.found_in.clone()),
        )
    }));
}
