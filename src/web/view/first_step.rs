//! What to do first about a condition, as one sentence. The runbook has the rest.

use crate::domain::conditions::{Condition, ConditionName, Detail};
use crate::domain::topology::{Role, Topology};

/// One sentence on what to do first.
#[must_use]
pub(crate) fn first_step(condition: &Condition, map: &Topology) -> String {
    let place = condition.subject.place;
    let stage = place.map_or_else(|| "the end".to_owned(), |place| place.display(map).to_string());
    let whose = condition
        .subject
        .tenant
        .map_or_else(|| "all tenants'".to_owned(), |tenant| format!("{}'s", map.tenant(tenant).name));
    match condition.name {
        ConditionName::Leaking => {
            let found = match &condition.detail {
                Detail::FoundIn(source) => format!(" into {source}"),
                _ => String::new(),
            };
            format!("Treat it as a data incident: stop what routes {whose} events{found} before {stage}.")
        }
        ConditionName::TotalStall => format!(
            "Check what all tenants have in common on the way to {stage}: its role, its quota, its last deployment."
        ),
        ConditionName::Stuck => format!(
            "Check what delivers {whose} events to {stage}: its errors, its throttles and its last success."
        ),
        ConditionName::Losing if place.is_some_and(|at| map.stage(at.first).role == Role::DeadLetter) => {
            format!("Read what the function that gave up logged at that minute; the events are in {stage}.")
        }
        ConditionName::Losing => format!(
            "Check rejected, expired and failed events on the way to {stage}; note what has to be replayed."
        ),
        ConditionName::Missing => format!(
            "Open a missing trace, and check errors and retries on the way to {stage} at its time."
        ),
        ConditionName::Corruption => format!(
            "Open a corrupted trace: if it is cut at a fixed length, a limit before {stage} is too low."
        ),
        ConditionName::Slow | ConditionName::HopOverTarget => format!(
            "Check the backlog on the way to {stage}: iterator age, queue depth, concurrency limits."
        ),
        ConditionName::Duplicates => format!(
            "Open a doubled trace and fetch its two copies: the time between them tells a retried write to {stage} from a batch that ran twice."
        ),
        ConditionName::DeadLettersWaiting => {
            format!("Ask the owner of {stage} whose messages these are; the function that gave up logged the error.")
        }
        ConditionName::SchemaDrift => {
            "Find out whether the change was intended: if so, accept it in the configuration; if not, revert it."
                .to_owned()
        }
        ConditionName::NotInjecting => {
            "Run `traceprobe check` with the probe's role: it names the call that is refused.".to_owned()
        }
        ConditionName::CannotSee => format!(
            "Run `traceprobe check`: the probe cannot read {stage}, which says nothing about the pipeline."
        ),
        ConditionName::NeverSeen => format!(
            "Check the source configured for {stage} with `traceprobe check --canary`: its format, key, column and pattern."
        ),
        ConditionName::LateInjection => {
            "Check throttling of PutLogEvents and whether the probe gets enough processor time.".to_owned()
        }
        ConditionName::Skipped => format!(
            "Check the source configured for {stage}: later stages have the canaries, so the pipeline delivers."
        ),
        ConditionName::SameName => {
            "Stop the other process, or give one of the two another `probe.instance`.".to_owned()
        }
        ConditionName::StoreDegraded => {
            "Make the store writable again before anyone restarts the probe.".to_owned()
        }
        ConditionName::OverBudget => {
            "Compare `[budgets]` with what polls take (`traceprobe_api_calls_total`), raise it, and reload.".to_owned()
        }
        ConditionName::ReloadFailed => {
            "Run `traceprobe check` on the file: it names every fault. Then reload again.".to_owned()
        }
        ConditionName::ClockUnsynchronized => {
            "Synchronize the clock of the host that the probe runs on.".to_owned()
        }
    }
}
