//! Holds what the tracker said against what the judge says, and both against the truth.

use std::fmt::Write;
use std::time::Duration;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::trace::{Judgement, Trace};

use super::heard::Entered;
use super::history::*;
use super::judge::{Ending, Judged, Verdict, is_at_home, judge};
use super::run;

/// The first canary of a run about which anything is wrong, with all that is needed to see why.
pub fn first_fault(seed: u64, canaries: usize, tally: &mut Tally) -> Option<String> {
    let run = run::run(seed, canaries);
    tally.looks += run.history.log.iter().filter(|entry| matches!(entry.what, What::Looked(_))).count();
    for which in 0..run.history.canaries.len() {
        let verdict = judge(&run.history, which);
        tally.add(&run, &verdict);
        let faults = Comparison { run: &run, which, verdict: &verdict }.faults();
        if !faults.is_empty() {
            return Some(report(seed, canaries, &run, which, &verdict, &faults));
        }
    }
    None
}

/// How often there was something to be right about.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub canaries: usize,
    pub looks: usize,
    /// Delivered, late, lost, dead-lettered, unobserved, refused.
    pub outcomes: [usize; 6],
    pub lost_in_a_stretch: usize,
    /// Good, slow, overdue, unjudged, not judged.
    pub judged: [usize; 5],
    pub arrivals: usize,
    pub arrivals_by_honest_clocks: usize,
    pub late_after_all: usize,
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
                self.lost_in_a_stretch += usize::from(first != last);
                2
            }
            Ending::DeadLettered => 3,
            Ending::Unobserved => 4,
            Ending::Refused => 5,
        };
        self.outcomes[outcome] += 1;
        self.judged[verdict.judged as usize] += 1;
        for (stage, _) in verdict.arrivals.iter().enumerate().filter(|(_, arrived)| arrived.is_some()) {
            self.arrivals += 1;
            self.arrivals_by_honest_clocks += usize::from(is_honest(&run.history.rules.stages[stage]));
        }
        self.late_after_all += usize::from(verdict.late_after_all);
        self.duplicates += verdict.duplicates.iter().sum::<usize>();
        self.corrupted += verdict.corrupted.iter().sum::<usize>();
        self.violations += verdict.violations.iter().sum::<usize>();
    }

    /// Whether everything that can happen did.
    pub fn everything_happened(&self) -> bool {
        let rest = [
            self.lost_in_a_stretch,
            self.late_after_all,
            self.duplicates,
            self.corrupted,
            self.violations,
            self.arrivals - self.arrivals_by_honest_clocks,
        ];
        self.outcomes.iter().chain(&self.judged).chain(&rest).all(|count| *count > 0)
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
        self.the_books(trace, &mut faults);
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
        let said = trace.ended.as_ref().map(|(outcome, _)| self.ending(outcome));
        differ(faults, "outcome", said, Some(self.verdict.outcome));
        let judged = match trace.judgement {
            Judgement::Pending => Judged::Not,
            Judgement::Good => Judged::Good,
            Judgement::Slow => Judged::Slow,
            Judgement::Overdue => Judged::Overdue,
            Judgement::Unjudged => Judged::Unjudged,
        };
        differ(faults, "judgement", judged, self.verdict.judged);
        differ(faults, "late after all", (trace.came_late, heard.late), {
            let late = self.verdict.late_after_all;
            (late, usize::from(late))
        });
        for (stage, arrived) in self.verdict.arrivals.iter().enumerate() {
            let visit = &trace.stages[stage];
            let said = visit.arrival.as_ref().map(|arrival| {
                let interval = arrival.interval;
                (interval.earliest.micros(), interval.latest.micros(), visit.copies[0].clone())
            });
            let must = arrived.map(|at| (at.earliest, at.latest, run::locator(at.copy)));
            differ(faults, &format!("arrival at {}", self.rules().stages[stage].name), said, must);
        }
        let doubled = self.canary().answer.doubled();
        let none = vec![0; self.verdict.duplicates.len()];
        let (theirs, ours) =
            if doubled { (&none, &self.verdict.duplicates) } else { (&self.verdict.duplicates, &none) };
        differ(faults, "duplicates", &heard.duplicates[..], &theirs[..]);
        differ(faults, "duplicates of our own", &heard.own_duplicates[..], &ours[..]);
        differ(faults, "corrupted copies", &heard.corrupted[..], &self.verdict.corrupted[..]);
        differ(faults, "isolation violations", &heard.violations[..], &self.verdict.violations[..]);
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
            if !canary.taken {
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
            let copy: usize = visit.copies[0].0.parse().unwrap();
            let truth = canary.copies[copy].stored;
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
    fn the_books(&self, trace: &Trace, faults: &mut Vec<String>) {
        let (heard, canary) = (&self.run.heard[self.which], self.canary());
        differ(faults, "times planned", heard.planned, 1);
        differ(faults, "times ended", heard.ended.len(), 1);
        let accepted = matches!(canary.answer, Answer::Accepted | Answer::AcceptedDoubled);
        differ(faults, "times accepted", heard.accepted, usize::from(accepted));
        let ambiguous = matches!(canary.answer, Answer::Ambiguous | Answer::AmbiguousDoubled);
        differ(faults, "times ambiguous", heard.ambiguous, usize::from(ambiguous));
        let arrived = matches!(self.verdict.judged, Judged::Good | Judged::Slow);
        let latency = trace.stages[self.rules().end()].arrival.as_ref().map(|at| at.interval.latest);
        let must = Entered {
            count: usize::from(arrived || self.verdict.judged == Judged::Overdue),
            bucket: usize::from(arrived),
            given_up: usize::from(self.verdict.judged == Judged::Overdue),
            unjudged: usize::from(self.verdict.judged == Judged::Unjudged),
            falsely_counted: 0,
            latency: latency.filter(|_| arrived).map(|at| at.since(trace.planned_at)),
        };
        differ(faults, "end-to-end histogram", heard.end_to_end, must);
        for (hop, entered) in heard.hops.iter().enumerate() {
            let sound = entered.count <= 1
                && entered.bucket + entered.given_up <= entered.count
                && entered.falsely_counted == 0;
            if !sound {
                faults.push(format!("histogram of hop {}: {entered:?}", self.rules().stages[hop].name));
            }
            if let Some(latency) = entered.latency {
                differ(faults, "latency of a hop", Some(latency), self.hop_latency(hop));
            }
            if entered.given_up > 0
                && self.verdict.arrivals[hop].is_some_and(|at| at.latest <= self.deadline())
            {
                faults.push("a hop is missing although the stage had shown it in time".into());
            }
        }
        self.hops_add_up(faults);
    }

    fn deadline(&self) -> Micros {
        self.canary().planned + self.rules().give_up
    }

    /// From the latest arrival at the stage before to the latest arrival here.
    fn hop_latency(&self, hop: usize) -> Option<Duration> {
        let began = match self.rules().stages[hop].parent {
            None => self.canary().planned,
            Some(parent) => self.verdict.arrivals[parent]?.latest,
        };
        let took = self.verdict.arrivals[hop]?.latest - began;
        Some(Duration::from_micros(u64::try_from(took).unwrap_or(0)))
    }

    /// Where no hop ended before it began, the hops of the main path are the end-to-end latency.
    fn hops_add_up(&self, faults: &mut Vec<String>) {
        let heard = &self.run.heard[self.which];
        let hops: Option<Vec<_>> =
            self.rules().main_path.iter().map(|hop| heard.hops[*hop].latency).collect();
        if let (Some(hops), Some(whole)) = (hops, heard.end_to_end.latency)
            && hops.iter().all(|latency| !latency.is_zero())
        {
            differ(faults, "sum of the hops", hops.iter().sum::<Duration>(), whole);
        }
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
            Outcome::Lost(stretch) => Ending::Lost(place(stretch.first.0), place(stretch.last.0)),
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
    line(format!("Truth: taken {}, answered {:?} at {answered}", canary.taken, canary.answer));
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
    for (place, entry) in history.log.iter().enumerate().skip(canary.registered) {
        let at = after(entry.at);
        match &entry.what {
            What::Planned(other) if *other == which => line(format!("  {place} {at} planned")),
            What::Answered(other) if *other == which => line(format!("  {place} {at} put answered")),
            What::Looked(look) => {
                let shown: Vec<_> = history.shown(place, which).collect();
                let stage = sources.iter().position(|source| *source == look.source);
                if shown.is_empty() && (stage.is_none() || entry.at > until) {
                    continue;
                }
                let name = stage.map_or("another tenant's", |stage| rules.stages[stage].name);
                let result = match look.result {
                    LookResult::Complete { all_before } => format!("complete up to {}", after(all_before)),
                    LookResult::Incomplete => "incomplete".into(),
                    LookResult::Failed => "failed".into(),
                };
                let shown: Vec<_> =
                    shown.iter().map(|shown| format!("{} by {}", shown.copy, after(shown.seen_by))).collect();
                let asked = if canary.registered < look.started_after { "" } else { ", not asked for it" };
                line(format!(
                    "  {place} {at} {name}: from {}, {result}{asked}, shows {shown:?}",
                    after(look.started)
                ));
            }
            What::Planned(_) | What::Answered(_) | What::TimePassed => {}
        }
    }
    line(format!("The judge: {verdict:#?}"));
    line(format!("The tracker: {:#?}", run.tracker.trace(TraceId::from_u128(canary.id))));
    line(format!("Its events: {:#?}", run.heard[which]));
    text
}
