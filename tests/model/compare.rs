//! Holds what the tracker said against what the judge says, and both against the truth.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::trace::{FoundLate, Hop, Judgement, Trace};

use super::heard::{Entered, Entries, Heard};
use super::history::*;
use super::hops::Hopped;
use super::judge::{AfterAll, Ending, Judged, Verdict, is_at_home, judge};
use super::run::{self, RECHECK_FOR};

/// The first canary of a run about which anything is wrong, with all that is needed to see why.
pub fn first_fault(seed: u64, canaries: usize, tally: &mut Tally) -> Option<String> {
    let run = run::run(seed, canaries);
    tally.polls += run.history.log.iter().filter(|entry| matches!(entry.what, What::PollAnswered(_))).count();
    tally.restarts += run.history.restarts.len();
    for which in 0..run.history.canaries.len() {
        if run.history.canaries[which].registered.is_none() {
            tally.never_planned += 1;
            continue;
        }
        let verdict = judge(&run.history, which);
        let faults = Comparison { run: &run, which, verdict: &verdict }.faults();
        if !faults.is_empty() {
            return Some(report(seed, canaries, &run, which, &verdict, &faults));
        }
        tally.add(&run, &verdict);
    }
    None
}

/// How often there was something to be right about.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub canaries: usize,
    pub polls: usize,
    pub restarts: usize,
    /// The probe was down when they should have left.
    pub never_planned: usize,
    /// Seen by more than one life of the probe.
    pub survivors: usize,
    /// Of those, told of a put that no later life heard of.
    pub never_answered: usize,
    /// The probe had been down, and so waited for them longer than usual; and not in vain.
    pub waited_longer: usize,
    pub worth_the_wait: usize,
    /// Delivered, late, lost, dead-lettered, unobserved, refused.
    pub outcomes: [usize; 6],
    pub lost_in_a_hop_range: usize,
    /// Good, slow, overdue, unjudged, not judged.
    pub judged: [usize; 5],
    pub arrivals: usize,
    pub arrivals_by_honest_clocks: usize,
    /// A later look showed another copy that may have been stored before the first one.
    pub moved_back: usize,
    /// Open, overdue, measured, unjudged, inverted, inherited, skipped, missing.
    pub hops: [usize; 8],
    pub inversions: usize,
    /// Shown at the end after the outcome was given: in time, late.
    pub after_all: [usize; 2],
    pub duplicates: usize,
    pub corrupted: usize,
    pub violations: usize,
}

impl Tally {
    fn add(&mut self, run: &run::Outcome, verdict: &Verdict) {
        self.canaries += 1;
        let outcome = match verdict.outcome {
            Ending::Delivered => 0,
            Ending::Late => 1,
            Ending::Lost(first, last) => {
                self.lost_in_a_hop_range += usize::from(first != last);
                2
            }
            Ending::DeadLettered => 3,
            Ending::Unobserved => 4,
            Ending::Refused => 5,
            Ending::NotYet => unreachable!("the tracker leaves nothing open, so it cannot agree"),
        };
        self.outcomes[outcome] += 1;
        self.judged[verdict.judged as usize] += 1;
        for (stage, _) in verdict.arrivals.iter().enumerate().filter(|(_, arrived)| arrived.is_some()) {
            self.arrivals += 1;
            self.arrivals_by_honest_clocks += usize::from(is_honest(&run.history.rules.stages[stage]));
        }
        self.moved_back += verdict.arrivals.iter().flatten().filter(|arrived| arrived.moved_back).count();
        for hop in verdict.hops {
            let kind = match hop {
                Hopped::Open => 0,
                Hopped::Overdue => 1,
                Hopped::Measured { .. } => 2,
                Hopped::Unjudged => 3,
                Hopped::Inverted => 4,
                Hopped::Inherited => 5,
                Hopped::Skipped => 6,
                Hopped::Missing => 7,
            };
            self.hops[kind] += 1;
        }
        self.survivors += usize::from(verdict.survived);
        self.never_answered += usize::from(verdict.survived && verdict.answer.is_none());
        self.waited_longer += usize::from(verdict.waited_longer);
        self.worth_the_wait += usize::from(verdict.waited_longer && verdict.outcome != Ending::Unobserved);
        self.inversions += verdict.inversions.iter().sum::<usize>();
        if let Some(after_all) = verdict.after_all {
            self.after_all[after_all as usize] += 1;
        }
        self.duplicates += verdict.duplicates.iter().sum::<usize>();
        self.corrupted += verdict.corrupted.iter().sum::<usize>();
        let violations = |entries: &Entries| entries.violations.iter().sum::<usize>();
        self.violations += verdict.runs.values().map(violations).sum::<usize>();
    }

    /// Whether everything that can happen did.
    pub fn everything_happened(&self) -> bool {
        let rest = [
            self.restarts,
            self.never_planned,
            self.survivors,
            self.never_answered,
            self.waited_longer,
            self.worth_the_wait,
            self.moved_back,
            self.inversions,
            self.lost_in_a_hop_range,
            self.duplicates,
            self.corrupted,
            self.violations,
            self.arrivals - self.arrivals_by_honest_clocks,
        ];
        self.outcomes
            .iter()
            .chain(&self.after_all)
            .chain(&self.judged)
            .chain(&self.hops)
            .chain(&rest)
            .all(|count| *count > 0)
    }
}

/// Whether the clock of a stage is as good as it is trusted to be.
fn is_honest(stage: &StageRules) -> bool {
    stage.offset.abs() <= stage.allowance
}

struct Comparison<'a> {
    run: &'a run::Outcome,
    which: usize,
    verdict: &'a Verdict,
}

impl Comparison<'_> {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let id = TraceId::from_u128(self.canary().id);
        let Some(trace) = self.run.tracker.trace(id) else {
            return vec!["the tracker does not know it any more".into()];
        };
        self.against_the_judge(trace, &mut faults);
        self.against_the_truth(trace, &mut faults);
        self.the_ledger(&mut faults);
        self.what_rode_along(trace, &mut faults);
        faults
    }

    fn canary(&self) -> &Canary {
        &self.run.history.canaries[self.which]
    }

    fn rules(&self) -> &Rules {
        &self.run.history.rules
    }

    fn against_the_judge(&self, trace: &Trace, faults: &mut Vec<String>) {
        let heard = &self.run.heard[self.which];
        let printed = trace.ended.as_ref().map(|(outcome, _)| self.ending(outcome));
        differ(faults, "outcome", printed, Some(self.verdict.outcome));
        let judged = match trace.judgement {
            Judgement::Pending => Judged::Not,
            Judgement::Good => Judged::Good,
            Judgement::Slow => Judged::Slow,
            Judgement::Overdue => Judged::Overdue,
            Judgement::Unjudged => Judged::Unjudged,
        };
        differ(faults, "judgement", judged, self.verdict.judged);
        let after_all = trace.found_late.map(|when| match when {
            FoundLate::InTime => AfterAll::InTime,
            FoundLate::Late => AfterAll::Late,
        });
        differ(faults, "after all", after_all, self.verdict.after_all);
        let told = |when| usize::from(self.verdict.after_all == Some(when));
        let must = (told(AfterAll::InTime), told(AfterAll::Late));
        differ(faults, "times told that it came after all", (heard.found, heard.late), must);
        for (stage, arrived) in self.verdict.arrivals.iter().enumerate() {
            let visit = &trace.stages[stage];
            let printed = visit.arrival.as_ref().map(|arrival| {
                let interval = arrival.interval;
                (interval.earliest.micros(), interval.latest.micros(), visit.copies[0].clone())
            });
            let must = arrived.map(|at| (at.earliest, at.latest, run::locator(at.copy)));
            differ(faults, &format!("arrival at {}", self.rules().stages[stage].name), printed, must);
        }
        for (stage, hop) in self.verdict.hops.iter().enumerate() {
            let printed = match trace.stages[stage].hop {
                Hop::Open => Hopped::Open,
                Hop::Overdue => Hopped::Overdue,
                Hop::Measured { latency, was_overdue } => Hopped::Measured { took: latency, was_overdue },
                Hop::Unjudged => Hopped::Unjudged,
                Hop::Inverted => Hopped::Inverted,
                Hop::Inherited => Hopped::Inherited,
                Hop::Skipped => Hopped::Skipped,
                Hop::Missing => Hopped::Missing,
            };
            differ(faults, &format!("hop to {}", self.rules().stages[stage].name), printed, *hop);
        }
        let none = [0; STAGES];
        let (theirs, ours) = match self.verdict.answer {
            // Whose doing they are is not known before the put is answered.
            None => (none, none),
            Some(answer) if answer.doubled() => (none, self.verdict.duplicates),
            Some(_) => (self.verdict.duplicates, none),
        };
        differ(faults, "duplicates", heard.duplicates, theirs);
        differ(faults, "duplicates of our own", heard.uncharged_copies, ours);
        differ(faults, "corrupted copies", heard.corrupted, self.verdict.corrupted);
        differ(faults, "clock inversions", heard.inversions, self.verdict.inversions);
        differ(faults, "what entered the series of each life", &heard.runs, &self.verdict.runs);
    }

    fn against_the_truth(&self, trace: &Trace, faults: &mut Vec<String>) {
        let (rules, canary) = (self.rules(), self.canary());
        let end = rules.end();
        let at_home = |stage: usize| {
            let copies = canary.copies.iter().enumerate();
            let there = copies.filter(move |(_, copy)| copy.stage == stage);
            there
                .filter(|(at, _)| is_at_home(&self.run.history, self.which, *at))
                .map(|(_, copy)| copy.stored)
        };
        let deadline = canary.planned + rules.give_up;
        if let Some((Outcome::Lost(_), _)) = trace.ended {
            if at_home(end).any(|stored| stored <= deadline) {
                faults.push("FALSE LOSS: it was at the end before its deadline".into());
            }
            if !canary.taken() {
                faults.push("FALSE LOSS: the pipeline never had it".into());
            }
        }
        if trace.judgement == Judgement::Overdue
            && at_home(end).any(|stored| stored <= canary.planned + rules.slo)
            && !matches!(trace.ended, Some((Outcome::DeadLettered(_), _)))
        {
            faults.push("said to be overdue, but was at the end in time".into());
        }
        for (stage, visit) in trace.stages.iter().enumerate() {
            let Some(arrival) = &visit.arrival else { continue };
            // It arrived with the first of its copies, whichever was seen first.
            let stored =
                visit.copies.iter().map(|copy| canary.copies[copy.0.parse::<usize>().unwrap()].stored);
            let truth = stored.min().unwrap();
            let (from, to) = (arrival.interval.earliest.micros(), arrival.interval.latest.micros());
            if is_honest(&rules.stages[stage]) && !(from..=to).contains(&truth) {
                let name = rules.stages[stage].name;
                faults.push(format!("arrived at {name} at {truth}, which is not within {from}..={to}"));
            }
        }
        if is_honest(&rules.stages[end])
            && let Some(copy) = trace.stages[end].copies.first()
        {
            let stored = canary.copies[copy.0.parse::<usize>().unwrap()].stored;
            let in_time = stored <= canary.planned + rules.slo;
            match trace.judgement {
                Judgement::Good if !in_time => faults.push("judged good, but it was not".into()),
                Judgement::Slow if in_time => faults.push("judged slow, but it was not".into()),
                _ => {}
            }
            if let (Some((Outcome::Late, _)), true) = (&trace.ended, stored <= deadline) {
                faults.push("said to be late, but was at the end before its deadline".into());
            }
        }
    }

    /// What the closing histograms rest on.
    fn the_ledger(&self, faults: &mut Vec<String>) {
        let heard = &self.run.heard[self.which];
        differ(faults, "times planned", heard.planned, 1);
        differ(faults, "times ended", heard.ended.len(), 1);
        let (answer, arrivals) = (self.verdict.answer, &self.verdict.arrivals);
        let accepted = matches!(answer, Some(Answer::Accepted | Answer::AcceptedDoubled));
        differ(faults, "times accepted", heard.accepted, usize::from(accepted));
        let ambiguous = matches!(answer, Some(Answer::Ambiguous | Answer::AmbiguousDoubled));
        differ(faults, "times ambiguous", heard.ambiguous, usize::from(ambiguous));
        let arrived = std::array::from_fn(|stage| usize::from(arrivals[stage].is_some()));
        differ(faults, "times arrived", heard.arrived, arrived);
        // Whatever the judge says, each series takes a canary once.
        let series = |of: &dyn Fn(&Entries) -> Entered| -> usize {
            heard.runs.values().map(of).filter(|entered| *entered != Entered::default()).count()
        };
        if series(&|entries| entries.end_to_end) > 1 {
            faults.push("it entered the end-to-end histograms of two runs".into());
        }
        for (hop, arrived) in arrivals.iter().enumerate() {
            let name = self.rules().stages[hop].name;
            if series(&|entries| entries.hops[hop]) > 1 {
                faults.push(format!("it entered the histograms of the hop to {name} of two runs"));
            }
            let sound = |entered: Entered| {
                entered.count <= 1
                    && entered.bucket + entered.given_up <= entered.count
                    && entered.falsely_counted == 0
            };
            if !heard.runs.values().all(|entries| sound(entries.hops[hop])) {
                faults.push(format!("the histogram of the hop to {name} does not add up"));
            }
            let missing = heard.runs.values().any(|entries| entries.hops[hop].given_up > 0);
            if missing && arrived.is_some_and(|at| at.latest <= self.deadline()) {
                faults.push(format!("the hop to {name} is missing although the stage had shown it in time"));
            }
        }
        self.hops_add_up(faults);
    }

    fn deadline(&self) -> Micros {
        self.canary().planned + self.rules().give_up
    }

    /// A copy that comes after the first, or after the canary was given up, must not be missed by looks by id.
    fn what_rode_along(&self, trace: &Trace, faults: &mut Vec<String>) {
        let history = &self.run.history;
        let shown: HashSet<usize> = history.shown_at[self.which]
            .iter()
            .flat_map(|poll| history.shown(*poll, self.which))
            .map(|shown| shown.copy)
            .collect();
        for (copy, unseen) in self.canary().copies.iter().enumerate() {
            let beside_many = self.run.crowded.contains(&unseen.source);
            if beside_many || shown.contains(&copy) || !is_at_home(history, self.which, copy) {
                continue;
            }
            let first_showing = |(place, entry): (usize, &Entry)| match &entry.what {
                What::PollAnswered(poll) => {
                    let shows_it = poll.source == unseen.source
                        && matches!(poll.result, PollResult::Complete { all_before } if unseen.stored < all_before);
                    let listed =
                        poll.recently_seen.is_some() && self.was_recently_seen(trace, unseen.stage, poll);
                    (shows_it && listed).then_some(place)
                }
                What::Planned(_) | What::Answered(_) | What::TimePassed | What::Restarted => None,
            };
            if let Some(place) = history.log.iter().enumerate().find_map(first_showing) {
                faults.push(format!("look {place} was not wanted there, and did not find copy {copy}"));
            }
        }
    }

    /// Whether a look that began then should have been asked for a canary that nobody waits for at this stage.
    fn was_recently_seen(&self, trace: &Trace, stage: usize, poll: &Poll) -> bool {
        let log = &self.run.history.log;
        // What was told at the very instant of the last entry before the look need not have reached the observer.
        let Some(told) = poll.started_after.checked_sub(1).map(|place| log[place].at) else { return false };
        let within =
            |from: Timestamp, length: Micros| from.micros() < told && poll.started < from.micros() + length;
        match (&trace.stages[stage].arrival, &trace.ended) {
            (Some(arrival), _) => within(arrival.noticed_at, RECHECK_FOR),
            (
                None,
                Some((Outcome::Lost(_) | Outcome::Unobserved | Outcome::Late | Outcome::DeadLettered(_), at)),
            ) => within(*at, self.rules().give_up),
            (None, Some((Outcome::Delivered | Outcome::Refused(_), _)) | None) => false,
        }
    }

    /// Where no hop ended before it began, the hops of the main path are the end-to-end latency.
    fn hops_add_up(&self, faults: &mut Vec<String>) {
        let heard = &self.run.heard[self.which];
        let hops = self.rules().main_path.iter().map(|hop| self.entered(heard, |entries| entries.hops[*hop]));
        let hops: Option<Vec<_>> = hops.collect();
        if let (Some(hops), Some(whole)) = (hops, self.entered(heard, |entries| entries.end_to_end))
            && hops.iter().all(|latency| !latency.is_zero())
        {
            differ(faults, "sum of the hops", hops.iter().sum::<Duration>(), whole);
        }
    }

    /// The latency that was entered, in whichever life.
    fn entered(&self, heard: &Heard, of: impl Fn(&Entries) -> Entered) -> Option<Duration> {
        heard.runs.values().find_map(|entries| of(entries).latency)
    }

    fn ending(&self, outcome: &Outcome) -> Ending {
        let place = |stage: u16| {
            self.rules()
                .main_path
                .iter()
                .position(|on_path| *on_path == usize::from(stage))
                .unwrap_or(usize::MAX)
        };
        match outcome {
            Outcome::Delivered => Ending::Delivered,
            Outcome::Late => Ending::Late,
            Outcome::Lost(hop_range) => Ending::Lost(place(hop_range.first.0), place(hop_range.last.0)),
            Outcome::DeadLettered(_) => Ending::DeadLettered,
            Outcome::Unobserved => Ending::Unobserved,
            Outcome::Refused(_) => Ending::Refused,
        }
    }
}

fn differ<T: PartialEq + std::fmt::Debug>(faults: &mut Vec<String>, what: &str, tracker: T, judge: T) {
    if tracker != judge {
        faults.push(format!("{what}: the tracker says {tracker:?}, the judge says {judge:?}"));
    }
}

/// Seed, truth, looks and both verdicts, in microseconds after the planned injection.
fn report(
    seed: u64,
    canaries: usize,
    run: &run::Outcome,
    which: usize,
    verdict: &Verdict,
    faults: &[String],
) -> String {
    let (history, mut text) = (&run.history, String::new());
    let (rules, canary) = (&history.rules, &history.canaries[which]);
    let after = |at: Micros| format!("{:+.6}", (at - canary.planned) as f64 / 1e6);
    let mut line = |part: String| writeln!(text, "{part}").unwrap();
    line(format!("seed {seed}, {canaries} canaries, canary {which} of tenant {}", canary.tenant));
    for fault in faults {
        line(format!("  * {fault}"));
    }
    line("Times are seconds after the planned injection.".into());
    line(format!("  planned at {}", canary.planned));
    line(format!(
        "  threshold {}, deadline {}, grace until {}, blind after {} s",
        after(canary.planned + rules.slo),
        after(canary.planned + rules.give_up),
        after(canary.planned + rules.give_up + rules.grace),
        rules.blind_after as f64 / 1e6,
    ));
    let answered = after(canary.answered);
    line(format!("Truth: taken {}, answered {:?} at {answered}", canary.taken(), canary.answer));
    for (number, copy) in canary.copies.iter().enumerate() {
        let stage = &rules.stages[copy.stage];
        line(format!(
            "  copy {number} at {} (source {}) stored {}, stamped {:?}, clock off by {} of {} us, home {}, corrupted {}",
            stage.name,
            copy.source,
            after(copy.stored),
            copy.stamp,
            stage.offset,
            stage.allowance,
            is_at_home(history, which, number),
            copy.corrupted,
        ));
    }
    line("What the tracker was told:".into());
    let sources = &rules.source_of[canary.tenant];
    let until = canary.planned + rules.give_up + rules.grace + 5 * SECOND;
    for (place, entry) in history.log.iter().enumerate().skip(canary.registered.unwrap_or_default()) {
        let at = after(entry.at);
        match &entry.what {
            What::Planned(other) if *other == which => line(format!("  {place} {at} planned")),
            What::Answered(other) if *other == which => line(format!("  {place} {at} put answered")),
            What::PollAnswered(poll) => {
                let shown: Vec<_> = history.shown(place, which).collect();
                let stage = sources.iter().position(|source| *source == poll.source);
                if shown.is_empty() && (stage.is_none() || entry.at > until) {
                    continue;
                }
                let name = stage.map_or("another tenant's", |stage| rules.stages[stage].name);
                let result = match poll.result {
                    PollResult::Complete { all_before } => format!("complete up to {}", after(all_before)),
                    PollResult::Incomplete => "incomplete".into(),
                    PollResult::Failed => "failed".into(),
                };
                let shown: Vec<_> =
                    shown.iter().map(|shown| format!("{} by {}", shown.copy, after(shown.seen_by))).collect();
                let unwanted =
                    if canary.registered < Some(poll.started_after) { "" } else { ", not wanted there" };
                line(format!(
                    "  {place} {at} {name}: from {}, {result}{unwanted}, shows {shown:?}",
                    after(poll.started)
                ));
            }
            What::Restarted => line(format!("  {place} {at} RESTARTED")),
            What::Planned(_) | What::Answered(_) | What::TimePassed => {}
        }
    }
    line(format!("The judge: {verdict:#?}"));
    line(format!("The tracker: {:#?}", run.tracker.trace(TraceId::from_u128(canary.id))));
    line(format!("Its events: {:#?}", run.heard[which]));
    text
}
