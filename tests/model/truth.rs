//! Compares the tracker with what truly happened, whatever the log proves.

use std::collections::HashSet;

use traceprobe::domain::copies::{CopyStanding, UnchargedReason};
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::trace::{Judgement, Trace};

use super::history::*;
use super::judge::{Verdict, is_in_own_source};
use super::observers::LONGEST_ANSWER;
use super::run::{self, Outcome as Run};

/// Adds what the tracker says of a canary and cannot be true.
pub fn compare(run: &Run, which: usize, trace: &Trace, verdict: &Verdict, faults: &mut Vec<String>) {
    let truth = Truth { run, which, trace, verdict };
    truth.losses(faults);
    truth.arrivals(faults);
    truth.end_to_end(faults);
    truth.duplicates(faults);
}

/// Whether the clock of a stage is within its allowance.
pub fn is_honest(stage: &StageRules) -> bool {
    stage.offset.abs() <= stage.allowance
}

struct Truth<'a> {
    run: &'a Run,
    which: usize,
    trace: &'a Trace,
    verdict: &'a Verdict,
}

impl<'a> Truth<'a> {
    fn canary(&self) -> &'a Canary {
        &self.run.history.canaries[self.which]
    }

    fn rules(&self) -> &'a Rules {
        &self.run.history.rules
    }

    /// The copies of this process at a stage that are where they belong, with their numbers.
    fn at_home(&self, stage: usize) -> impl Iterator<Item = (usize, &'a Copy)> + 'a {
        let (history, which) = (&self.run.history, self.which);
        let copies = self.canary().copies.iter().enumerate();
        copies.filter(move |(at, copy)| {
            copy.stage == stage && !copy.by_other && is_in_own_source(history, which, *at)
        })
    }

    fn losses(&self, faults: &mut Vec<String>) {
        let (rules, canary) = (self.rules(), self.canary());
        let deadline = canary.planned + rules.give_up;
        if let Some((Outcome::Lost(_), _)) = self.trace.ended {
            if self.at_home(rules.end()).any(|(_, copy)| copy.stored <= deadline) {
                faults.push("FALSE LOSS: it was at the end stage before its deadline".into());
            }
            if !canary.taken() {
                faults.push("FALSE LOSS: CloudWatch Logs never took it".into());
            }
        }
        let threshold = canary.planned + rules.slo;
        // Where the probe does not look, it counts as overdue, so that the quantile rises.
        let was_in_time =
            |(_, copy): (usize, &Copy)| copy.stored <= threshold && copy.written != Written::Elsewhere;
        if self.trace.judgement == Judgement::Overdue
            && self.at_home(rules.end()).any(was_in_time)
            && !matches!(self.trace.ended, Some((Outcome::DeadLettered(_), _)))
        {
            faults.push("judged overdue, but was at the end stage in time".into());
        }
    }

    fn arrivals(&self, faults: &mut Vec<String>) {
        for (stage, visit) in self.trace.stages.iter().enumerate() {
            let Some(arrival) = &visit.arrival else { continue };
            // It arrived when its first copy was stored, whichever copy was seen first. A mention is no copy.
            let copies = visit.copies.iter().map(|copy| run::copy_at(&copy.locator));
            let stored = copies
                .filter(|copy| !self.verdict.copies.uncounted.contains(copy))
                .map(|copy| self.canary().copies[copy].stored);
            let truth = stored.min().unwrap();
            let (from, to) = (arrival.interval.earliest.micros(), arrival.interval.latest.micros());
            let stage = &self.rules().stages[stage];
            if is_honest(stage) && !(from..=to).contains(&truth) {
                faults
                    .push(format!("arrived at {} at {truth}, which is not within {from}..={to}", stage.name));
            }
        }
    }

    fn end_to_end(&self, faults: &mut Vec<String>) {
        let (rules, canary) = (self.rules(), self.canary());
        let end = rules.end();
        let visit = &self.trace.stages[end];
        let Some(copy) = visit.copies.first().filter(|_| visit.arrival.is_some()) else { return };
        if !is_honest(&rules.stages[end]) {
            return;
        }
        let stored = canary.copies[run::copy_at(&copy.locator)].stored;
        let in_time = stored <= canary.planned + rules.slo;
        match self.trace.judgement {
            Judgement::Good if !in_time => faults.push("judged good, but it was not".into()),
            Judgement::Slow if in_time => faults.push("judged slow, but it was not".into()),
            _ => {}
        }
        let deadline = canary.planned + rules.give_up;
        if let (Some((Outcome::Late, _)), true) = (&self.trace.ended, stored <= deadline) {
            faults.push("ended as late, but was at the end stage before its deadline".into());
        }
    }

    fn duplicates(&self, faults: &mut Vec<String>) {
        for (stage, charged) in self.run.recorded[self.which].duplicates.iter().enumerate() {
            let StageRules { name, moves, .. } = self.rules().stages[stage];
            // A check that is under way when it is due may have looked a little earlier.
            let enough = if moves { self.rules().copy_recheck - LONGEST_ANSWER } else { 0 };
            let copies: Vec<_> =
                self.at_home(stage).filter(|(_, copy)| copy.written == Written::Text).collect();
            let mut pairs = copies
                .iter()
                .enumerate()
                .flat_map(|(at, one)| copies[..at].iter().map(move |two| (one, two)))
                .filter(|(one, two)| !one.1.is_beside(two.1));
            let found = &self.trace.stages[stage].copies;
            if *charged > 0 {
                if !pairs.any(|(one, two)| existed_together(one.1, two.1, enough)) {
                    faults.push(format!("FALSE DUPLICATE: no two copies were at {name} for long enough"));
                }
            } else if found.iter().all(|copy| is_known(copy.standing, self.rules().is_kept)) {
                let shown: HashSet<_> = found.iter().map(|copy| run::copy_at(&copy.locator)).collect();
                let stays = |(number, copy): &(usize, &Copy)| {
                    shown.contains(number) && copy.is_whole() && copy.deleted.is_none()
                };
                if pairs.any(|(one, two)| stays(one) && stays(two)) {
                    faults.push(format!("MISSED DUPLICATE: two whole copies stay at {name}"));
                }
            }
        }
    }
}

/// Whether two copies existed at the same time, for so long.
fn existed_together(one: &Copy, two: &Copy, enough: Micros) -> bool {
    let end = one.deleted.into_iter().chain(two.deleted).min();
    end.is_none_or(|end| end - one.stored.max(two.stored) >= enough)
}

/// Whether a copy is known to be one, and not the probe's own doing. Without a store, a check that its process did not
/// live to see ends with it.
fn is_known(standing: CopyStanding, is_kept: bool) -> bool {
    match standing {
        CopyStanding::Pending(_) => is_kept,
        CopyStanding::Uncharged(
            UnchargedReason::RetriedPut | UnchargedReason::Unknown | UnchargedReason::SecondSender,
        )
        | CopyStanding::AwaitsPut => false,
        CopyStanding::First
        | CopyStanding::Undecoded
        | CopyStanding::Duplicate
        | CopyStanding::Uncharged(_) => true,
    }
}
