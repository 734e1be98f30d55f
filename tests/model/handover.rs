//! What several processes without a store say of one canary: the one that sent it, and those after it.

use std::collections::HashSet;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::trace::Origin;

use super::compare::Tally;
use super::judge::is_in_own_source;
use super::recorded::Entered;
use super::run;

/// What the processes say that cannot be true of all of them.
pub fn faults(runs: &[run::Outcome], tally: &mut Tally) -> Vec<String> {
    let canaries = runs[0].history.canaries.len();
    (0..canaries).filter_map(|which| fault(runs, which, tally)).collect()
}

fn fault(runs: &[run::Outcome], which: usize, tally: &mut Tally) -> Option<String> {
    let rules = &runs[0].history.rules;
    let fails = |what: &str| Some(format!("canary {which}: {what}"));
    let mut counted = 0;
    for (number, run) in runs.iter().enumerate() {
        let (recorded, canary) = (&run.recorded[which], &run.history.canaries[which]);
        counted += recorded.ended.len() - recorded.left_to_another;
        if canary.registered.is_some() {
            let next = runs.get(number + 1).map(|next| next.history.began);
            let is_killed = recorded.ended.is_empty();
            // It was in flight when its process was killed, so it was planned shortly before.
            let ended = run.history.log.last().map_or(run.history.began, |entry| entry.at);
            if is_killed && (next.is_none() || canary.planned + rules.give_up + rules.grace < ended) {
                return fails("it has no outcome, but was not in flight when its process was killed");
            }
            continue;
        }
        let Some(trace) = run.tracker.trace(TraceId::from_u128(canary.id)) else {
            if recorded.adopted > 0 {
                return fails("it was adopted and is not known");
            }
            continue;
        };
        tally.adopted[0] += 1;
        tally.adopted[1] += recorded.ended.len();
        if trace.origin != Origin::Adopted || recorded.adopted != 1 || canary.planned >= run.history.began {
            return fails("it was not sent by this process, and not adopted before");
        }
        if recorded.ended.len() > 1 || recorded.left_to_another != recorded.ended.len() {
            return fails("an adopted canary was counted, or ended twice");
        }
        let entered = recorded.runs.values();
        let is_entered = |entered: &Entered| *entered != Entered::default();
        if entered.into_iter().any(|run| is_entered(&run.end_to_end) || run.hops.iter().any(is_entered)) {
            return fails("an adopted canary entered a latency series");
        }
        // It is followed as that process sent it whose copy was found first.
        let by_other = trace.tag.instance == run::another_process();
        let at_end = canary.copies.iter().enumerate().filter(|(at, copy)| {
            let is_followed = copy.by_other == by_other && copy.stage == rules.end();
            is_followed && is_in_own_source(&run.history, which, *at)
        });
        let stored: Vec<_> = at_end.map(|(_, copy)| copy.stored).collect();
        let deadline = canary.planned + rules.give_up;
        match &trace.ended {
            Some((Outcome::Lost(_), _)) if stored.iter().any(|at| *at <= deadline) => {
                return fails("FALSE LOSS of an adopted canary");
            }
            Some((Outcome::Delivered | Outcome::Late, _)) if stored.is_empty() => {
                return fails("an adopted canary was delivered that was never at the end");
            }
            _ => {}
        }
    }
    if counted > 1 {
        return fails("its outcome is counted by two processes");
    }
    let instances: HashSet<_> = runs
        .iter()
        .filter(|run| run.history.canaries[which].registered.is_some())
        .map(|run| run.history.began)
        .collect();
    if instances.len() > 1 {
        return fails("two processes sent it");
    }
    None
}
