//! A canary was found with another tenant.

use super::condition::{Condition, Detail};
use super::history::History;
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::topology::StageId;
use crate::domain::tracker::Violation;

/// Leaks within the window, by the stage at which they were found. One is enough.
pub(super) fn find(history: &History<'_>, found: &mut Vec<Condition>) {
    let snapshot = history.snapshot;
    for stage in snapshot.topology.stage_ids() {
        let here: Vec<_> = leaks(history, stage).collect();
        let Some(last) = here.last().filter(|last| last.at >= history.from) else { continue };
        // An episode begins with the first leak that came less than a window after the one before.
        let window = snapshot.at.since(history.from);
        let apart = |pair: &[&Violation]| pair[1].at.since(pair[0].at) > window;
        let first = here.windows(2).rposition(apart).map_or(0, |at| at + 1);
        let detail = Detail::FoundIn(last.found_in.clone());
        let subject = Subject::at(history.tenant, stage);
        let since = Some(here[first].at);
        let mut leaking =
            Condition::fault(ConditionName::Leaking, subject, Severity::Critical, since, detail);
        leaking.affected = Some(here.len() - first);
        leaking.last = Some(last.at);
        found.push(leaking);
    }
}

fn leaks<'a>(history: &History<'a>, stage: StageId) -> impl Iterator<Item = &'a Violation> {
    let tenant = history.tenant;
    history.snapshot.violations.iter().filter(move |seen| seen.stage == stage && seen.concerns(tenant))
}
