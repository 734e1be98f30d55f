//! Compares the tracker with the judge, and both with the truth.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use traceprobe::domain::copies::{CopyStanding, StoredCopy};
use traceprobe::domain::outcome::{Outcome, UnobservedReason};
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::trace::{FoundLate, Hop, Judgement, Trace};

use super::copies::{Found, Standing};
use super::handover;
use super::history::*;
use super::hops::HopState;
use super::incidents;
use super::judge::{Ending, FoundAfterwards, Judged, Reason, Verdict, is_in_own_source, judge};
use super::readability::Readability;
use super::recorded::{Entered, Entries, Recorded, why};
use super::reloads;
use super::run::{self, RECHECK_FOR};
use super::sources;
use super::truth::{self, is_honest};

/// A report on the first canary of a run with a disagreement; `None` if there is none.
pub fn first_fault(seed: u64, canaries: usize, tally: &mut Tally) -> Option<String> {
    let runs = run::run(seed, canaries);
    let is_kept = runs[0].history.rules.is_kept;
    for (number, run) in runs.iter().enumerate() {
        let is_cut = number + 1 < runs.len();
        if let Some(report) = first_fault_of(run, seed, canaries, is_cut, tally) {
            return Some(format!("process {number} of {}: {report}", runs.len()));
        }
    }
    if is_kept {
        return None;
    }
    tally.restarts_without_store += runs.len() - 1;
    let faults = handover::faults(&runs, tally);
    (!faults.is_empty()).then(|| format!("seed {seed}, {canaries} canaries: {}", faults.join("\n")))
}

/// The same of one history. `is_cut`: its process was ended, and what was in flight then has no outcome in it.
fn first_fault_of(
    run: &run::Outcome,
    seed: u64,
    canaries: usize,
    is_cut: bool,
    tally: &mut Tally,
) -> Option<String> {
    tally.polls += run.history.log.iter().filter(|entry| matches!(entry.what, What::PollAnswered(_))).count();
    tally.restarts += run.history.restarts.len();
    let readability = Readability::of(&run.history);
    let mut verdicts = Vec::new();
    for which in 0..run.history.canaries.len() {
        if run.history.canaries[which].registered.is_none() {
            tally.never_planned += usize::from(run.history.rules.is_kept);
            continue;
        }
        let verdict = judge(&run.history, &readability, which);
        let faults = Comparison { run, which, verdict: &verdict, is_cut }.faults();
        if !faults.is_empty() {
            return Some(report(seed, canaries, run, which, &verdict, &faults));
        }
        if verdict.outcome == Ending::NotYet {
            tally.killed += 1;
        } else {
            tally.add(run, &readability, which, &verdict);
        }
        verdicts.push((which, verdict));
    }
    tally.add_sources(run);
    let mut faults = sources::faults(&run.history, &readability, &run.met, &verdicts);
    if run.history.rules.is_kept {
        faults.extend(incidents::faults(run, &verdicts, &mut tally.incidents));
    }
    (!faults.is_empty()).then(|| format!("seed {seed}, {canaries} canaries: {}", faults.join("\n")))
}

/// How often each case occurred.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub canaries: usize,
    pub polls: usize,
    pub restarts: usize,
    pub restarts_without_store: usize,
    /// In flight when their process was killed, without a store.
    pub killed: usize,
    /// Left to another process that had sent them too.
    pub left_to_another: usize,
    /// Followed by a process that did not send them, and those of them that got an outcome.
    pub adopted: [usize; 2],
    /// Not planned, because the probe was down.
    pub never_planned: usize,
    /// In flight during more than one run of the probe.
    pub survivors: usize,
    /// Of the survivors, those whose put was never answered.
    pub never_answered: usize,
    /// Waited for longer than usual because the probe had been down, and those of them that got another
    /// outcome than unobserved.
    pub waited_longer: usize,
    pub resolved_by_waiting_longer: usize,
    /// Delivered, late, lost, dead-lettered, unobserved, refused.
    pub outcomes: [usize; 6],
    /// Blind, unreadable, never seen, ambiguous put, clock stepped, handed over.
    pub unobserved: [usize; 6],
    /// Was at the end in time, in a record that was not opened.
    pub unreadable_but_there: usize,
    pub lost_in_a_hop_range: usize,
    /// Of the hop ranges, those with a stage that had never shown the tenant.
    pub lost_past_a_stage_never_seen: usize,
    pub dead_lettered_with_an_end_never_seen: usize,
    /// Counted as overdue at an end that had never shown the tenant.
    pub overdue_though_never_seen: usize,
    /// Polls that proved nothing, and those after them that did.
    pub withheld: usize,
    pub lifted: usize,
    /// Text, hidden, lucky, verbatim, elsewhere.
    pub written: [usize; 5],
    /// Sources that turned blind for one tenant, and visible again.
    pub visibility: [usize; 2],
    /// First sightings, leaks of tenants that are not configured, their strays, our own, other processes.
    pub others: [usize; 5],
    /// Times that it was checked where a canary is missing, those at which it was, and those at a side stage.
    pub missing: [usize; 3],
    /// Good, slow, overdue, unjudged, not judged.
    pub judged: [usize; 5],
    pub arrivals: usize,
    pub arrivals_by_honest_clocks: usize,
    /// A later poll showed another copy that may have been stored before the first one.
    pub moved_back: usize,
    /// Open, overdue, measured, unjudged, inverted, inherited, skipped, missing, never seen.
    pub hops: [usize; 9],
    pub inversions: usize,
    /// Found at the end stage after they had another outcome: in time, late.
    pub found_afterwards: [usize; 2],
    pub duplicates: usize,
    /// Retried put, same object, mention, moved, unknown, second sender.
    pub uncharged: [usize; 6],
    /// Mentions that were found before what they mention.
    pub demoted: usize,
    /// Checks of copies that were denied, and that were not answered in time.
    pub unknown: [usize; 2],
    /// Charged after both copies were checked twice.
    pub checked_twice: usize,
    /// Compared with a third copy, because the first was deleted.
    pub compared_again: usize,
    pub awaited_over_restarts: usize,
    pub corrupted: usize,
    pub violations: usize,
    pub reloads: reloads::Counts,
    pub incidents: incidents::Tally,
}

impl Tally {
    fn add(&mut self, run: &run::Outcome, readability: &Readability, which: usize, verdict: &Verdict) {
        let (rules, canary) = (&run.history.rules, &run.history.canaries[which]);
        self.canaries += 1;
        self.withheld += verdict.withheld;
        self.lifted += verdict.lifted;
        self.dead_lettered_with_an_end_never_seen += usize::from(verdict.end_never_seen);
        for copy in &canary.copies {
            let kind = match copy.written {
                Written::Text => 0,
                Written::Hidden(_) => 1,
                Written::Lucky(_) => 2,
                Written::Verbatim(_) => 3,
                Written::Elsewhere => 4,
            };
            self.written[kind] += 1;
        }
        for missing in &verdict.missing {
            self.missing[0] += 1;
            self.missing[1] += usize::from(missing.contains(&true));
            let side = (0..STAGES).any(|stage| missing[stage] && !rules.main_path.contains(&stage));
            self.missing[2] += usize::from(side);
        }
        let outcome = match verdict.outcome {
            Ending::Delivered => 0,
            Ending::Late => 1,
            Ending::Lost(first, last) => {
                self.lost_in_a_hop_range += usize::from(first != last);
                let never = |stage: &usize| {
                    !rules.seen_before[canary.tenant][*stage]
                        && readability.first_shown(canary.tenant, *stage).is_none()
                };
                self.lost_past_a_stage_never_seen +=
                    usize::from(rules.main_path[first..last].iter().any(never));
                2
            }
            Ending::DeadLettered => 3,
            Ending::Unobserved(reason) => {
                self.unobserved[reason as usize] += 1;
                let is_there =
                    |copy: &Copy| copy.stage == rules.end() && copy.stored <= canary.planned + rules.give_up;
                self.unreadable_but_there +=
                    usize::from(reason == Reason::Unreadable && canary.copies.iter().any(is_there));
                self.overdue_though_never_seen +=
                    usize::from(reason == Reason::NeverSeen && verdict.judged == Judged::Overdue);
                4
            }
            Ending::Refused => 5,
            Ending::NotYet => unreachable!("the tracker ends every trace, so the comparison has failed"),
        };
        self.outcomes[outcome] += 1;
        self.left_to_another += usize::from(verdict.is_left_to_another);
        self.judged[verdict.judged as usize] += 1;
        for (stage, _) in verdict.arrivals.iter().enumerate().filter(|(_, arrived)| arrived.is_some()) {
            self.arrivals += 1;
            self.arrivals_by_honest_clocks += usize::from(is_honest(&run.history.rules.stages[stage]));
        }
        self.moved_back += verdict.arrivals.iter().flatten().filter(|arrived| arrived.moved_back).count();
        for hop in verdict.hops {
            let kind = match hop {
                HopState::Open => 0,
                HopState::Overdue => 1,
                HopState::Measured { .. } => 2,
                HopState::Unjudged => 3,
                HopState::Inverted => 4,
                HopState::Inherited => 5,
                HopState::Skipped => 6,
                HopState::Missing => 7,
                HopState::NeverSeen => 8,
            };
            self.hops[kind] += 1;
        }
        self.survivors += usize::from(verdict.survived);
        self.never_answered += usize::from(verdict.survived && verdict.answer.is_none());
        self.waited_longer += usize::from(verdict.waited_longer);
        self.resolved_by_waiting_longer +=
            usize::from(verdict.waited_longer && !matches!(verdict.outcome, Ending::Unobserved(_)));
        self.inversions += verdict.inversions.iter().sum::<usize>();
        if let Some(found_afterwards) = verdict.found_afterwards {
            self.found_afterwards[found_afterwards as usize] += 1;
        }
        let copies = &verdict.copies;
        self.duplicates += copies.charged.iter().sum::<usize>();
        for ((_, why), count) in &copies.uncharged {
            self.uncharged[*why as usize] += count;
        }
        self.demoted += copies.demoted;
        self.unknown.iter_mut().zip(copies.unknown).for_each(|(sum, count)| *sum += count);
        self.checked_twice += copies.checked_twice;
        self.compared_again += copies.compared_again;
        self.awaited_over_restarts += copies.awaited_over_restarts;
        self.corrupted += copies.corrupted.iter().sum::<usize>();
        let violations = |entries: &Entries| entries.violations.iter().sum::<usize>();
        self.violations += verdict.runs.values().map(violations).sum::<usize>();
    }

    fn add_sources(&mut self, run: &run::Outcome) {
        self.reloads.add(run.reloads);
        for change in &run.history.visibility {
            self.visibility[usize::from(!change.blind)] += 1;
        }
        for (sum, count) in self.others.iter_mut().zip(run.met.counts()) {
            *sum += count;
        }
    }

    /// Whether every case occurred.
    pub fn everything_happened(&self) -> bool {
        let rest = [
            self.restarts,
            self.restarts_without_store,
            self.killed,
            self.left_to_another,
            self.adopted[0],
            self.adopted[1],
            self.never_planned,
            self.survivors,
            self.never_answered,
            self.waited_longer,
            self.resolved_by_waiting_longer,
            self.moved_back,
            self.inversions,
            self.lost_in_a_hop_range,
            self.lost_past_a_stage_never_seen,
            self.dead_lettered_with_an_end_never_seen,
            self.overdue_though_never_seen,
            self.unreadable_but_there,
            self.withheld,
            self.lifted,
            self.duplicates,
            self.demoted,
            self.checked_twice,
            self.compared_again,
            self.awaited_over_restarts,
            self.corrupted,
            self.violations,
            self.arrivals - self.arrivals_by_honest_clocks,
        ];
        self.outcomes
            .iter()
            .chain(&self.found_afterwards)
            .chain(&self.judged)
            .chain(&self.hops)
            .chain(&self.unobserved)
            .chain(&self.written)
            .chain(&self.visibility)
            .chain(&self.others)
            .chain(&self.missing)
            .chain(&self.uncharged)
            .chain(&self.unknown)
            .chain(&rest)
            .all(|count| *count > 0)
            && self.reloads.everything_happened()
            && self.incidents.everything_happened()
    }
}

struct Comparison<'a> {
    run: &'a run::Outcome,
    which: usize,
    verdict: &'a Verdict,
    is_cut: bool,
}

impl Comparison<'_> {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let id = TraceId::from_u128(self.canary().id);
        let Some(trace) = self.run.tracker.trace(id) else {
            return vec!["the tracker no longer knows it".into()];
        };
        self.compare_with_judge(trace, &mut faults);
        truth::compare(self.run, self.which, trace, self.verdict, &mut faults);
        self.check_counts(&mut faults);
        self.check_recently_seen(trace, &mut faults);
        faults
    }

    fn canary(&self) -> &Canary {
        &self.run.history.canaries[self.which]
    }

    fn rules(&self) -> &Rules {
        &self.run.history.rules
    }

    fn compare_with_judge(&self, trace: &Trace, faults: &mut Vec<String>) {
        let recorded = &self.run.recorded[self.which];
        let actual = trace.ended.as_ref().map_or(Ending::NotYet, |(outcome, _)| self.ending(outcome));
        compare(faults, "outcome", actual, self.verdict.outcome);
        let is_left = usize::from(self.verdict.is_left_to_another);
        compare(faults, "times left to another process", recorded.left_to_another, is_left);
        let ended_at = trace.ended.as_ref().map(|(_, at)| at.micros());
        compare(faults, "time of the outcome", ended_at, self.verdict.ended_at);
        let judged = match trace.judgement {
            Judgement::Pending => Judged::Not,
            Judgement::Good => Judged::Good,
            Judgement::Slow => Judged::Slow,
            Judgement::Overdue => Judged::Overdue,
            Judgement::Unjudged => Judged::Unjudged,
        };
        compare(faults, "judgement", judged, self.verdict.judged);
        let found_afterwards = trace.found_late.map(|when| match when {
            FoundLate::InTime => FoundAfterwards::InTime,
            FoundLate::Late => FoundAfterwards::Late,
        });
        compare(faults, "found afterwards", found_afterwards, self.verdict.found_afterwards);
        let times = |when| usize::from(self.verdict.found_afterwards == Some(when));
        let expected = (times(FoundAfterwards::InTime), times(FoundAfterwards::Late));
        compare(faults, "events that it was found afterwards", (recorded.found, recorded.late), expected);
        for (stage, arrived) in self.verdict.arrivals.iter().enumerate() {
            let visit = &trace.stages[stage];
            let actual = visit.arrival.as_ref().map(|arrival| {
                let interval = arrival.interval;
                (interval.earliest.micros(), interval.latest.micros(), run::copy_at(&visit.copies[0].locator))
            });
            let expected = arrived.map(|at| (at.earliest, at.latest, at.copy));
            compare(faults, &format!("arrival at {}", self.rules().stages[stage].name), actual, expected);
        }
        for (stage, hop) in self.verdict.hops.iter().enumerate() {
            let actual = match trace.stages[stage].hop {
                Hop::Open => HopState::Open,
                Hop::Overdue => HopState::Overdue,
                Hop::Measured { latency, was_overdue } => HopState::Measured { took: latency, was_overdue },
                Hop::Unjudged => HopState::Unjudged,
                Hop::Inverted => HopState::Inverted,
                Hop::Inherited => HopState::Inherited,
                Hop::Skipped => HopState::Skipped,
                Hop::Missing => HopState::Missing,
                Hop::NeverSeen => HopState::NeverSeen,
            };
            compare(faults, &format!("hop to {}", self.rules().stages[stage].name), actual, *hop);
        }
        let never_seen = self.verdict.hops.map(|hop| usize::from(hop == HopState::NeverSeen));
        compare(faults, "hops to a stage never seen", recorded.never_seen, never_seen);
        let missing = self.verdict.hops.map(|hop| usize::from(hop == HopState::Missing));
        compare(faults, "missing hops", recorded.missing_hops, missing);
        compare(faults, "where it is missing", &recorded.missing, &self.verdict.missing);
        let copies = &self.verdict.copies;
        compare(faults, "duplicates", recorded.duplicates, copies.charged);
        compare(faults, "uncharged copies", &recorded.uncharged_copies, &copies.uncharged);
        compare(faults, "corrupted copies", recorded.corrupted, copies.corrupted);
        for (stage, found) in copies.found.iter().enumerate() {
            let actual = trace.stages[stage].copies.iter().map(found_copy).collect();
            let mut found = found.clone();
            if self.is_cut {
                // The process that would have checked them has ended.
                let awaits = found.iter_mut().filter(|found| matches!(found.standing, Standing::Awaits(_)));
                awaits.for_each(|found| found.standing = Standing::AwaitsAnswer);
            }
            compare(faults, &format!("copies at {}", self.rules().stages[stage].name), &actual, &found);
        }
        compare(faults, "clock inversions", recorded.inversions, self.verdict.inversions);
        compare(faults, "entries into the series of each run", &recorded.runs, &self.verdict.runs);
    }

    /// Each canary is counted once in every counter and histogram.
    fn check_counts(&self, faults: &mut Vec<String>) {
        let recorded = &self.run.recorded[self.which];
        compare(faults, "times planned", recorded.planned, 1);
        compare(faults, "times ended", recorded.ended.len(), usize::from(self.verdict.is_counted));
        if !self.is_cut && !self.verdict.is_counted {
            faults.push("its outcome was not counted".into());
        }
        let (answer, arrivals) = (self.verdict.answer, &self.verdict.arrivals);
        let accepted = matches!(answer, Some(Answer::Accepted | Answer::AcceptedDoubled));
        compare(faults, "times accepted", recorded.accepted, usize::from(accepted));
        let ambiguous = matches!(answer, Some(Answer::Ambiguous | Answer::AmbiguousDoubled));
        compare(faults, "times ambiguous", recorded.ambiguous, usize::from(ambiguous));
        let arrived = std::array::from_fn(|stage| usize::from(arrivals[stage].is_some()));
        compare(faults, "times arrived", recorded.arrived, arrived);
        // Independent of the judge: no series takes a canary twice.
        let series = |of: &dyn Fn(&Entries) -> Entered| -> usize {
            recorded.runs.values().map(of).filter(|entered| *entered != Entered::default()).count()
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
            if !recorded.runs.values().all(|entries| sound(entries.hops[hop])) {
                faults.push(format!("the histogram of the hop to {name} does not add up"));
            }
            let missing = recorded.runs.values().any(|entries| entries.hops[hop].given_up > 0);
            if missing && arrived.is_some_and(|at| at.latest <= self.deadline()) {
                faults.push(format!("the hop to {name} is missing although the stage had shown it in time"));
            }
        }
        self.hops_add_up(faults);
    }

    fn deadline(&self) -> Micros {
        self.canary().planned + self.rules().give_up
    }

    /// Polls by id must also find copies that are stored after the first one, or after the canary was given
    /// up.
    fn check_recently_seen(&self, trace: &Trace, faults: &mut Vec<String>) {
        let history = &self.run.history;
        let shown: HashSet<usize> = history.shown_at[self.which]
            .iter()
            .flat_map(|poll| history.shown(*poll, self.which))
            .map(|shown| shown.copy)
            .collect();
        for (copy, unseen) in self.canary().copies.iter().enumerate() {
            let is_crowded = self.run.crowded.contains(&unseen.source);
            let is_elsewhere = unseen.written == Written::Elsewhere;
            if is_crowded
                || is_elsewhere
                || shown.contains(&copy)
                || !is_in_own_source(history, self.which, copy)
            {
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
                What::Planned(_)
                | What::Answered(_)
                | What::CopiesChecked(_)
                | What::TimePassed
                | What::ClockStepped
                | What::Stopped
                | What::Reloaded(_)
                | What::Restarted => None,
            };
            // What is not read any more is not looked for either.
            let until =
                history.closed_at[unseen.source].iter().find(|at| Some(**at) >= self.canary().registered);
            let until = until.copied().unwrap_or(history.log.len());
            if let Some(place) = history.log[..until].iter().enumerate().find_map(first_showing) {
                faults.push(format!(
                    "poll {place} should have been looking for copy {copy}, and did not show it"
                ));
            }
        }
    }

    /// Whether the poll should have had this canary, which no longer waits at the stage, among the recently
    /// seen.
    fn was_recently_seen(&self, trace: &Trace, stage: usize, poll: &Poll) -> bool {
        let log = &self.run.history.log;
        // What the last entry before the poll changed need not have reached the observer.
        let Some(informed) = poll.started_after.checked_sub(1).map(|place| log[place].at) else {
            return false;
        };
        let within = |from: Timestamp, length: Micros| {
            from.micros() < informed && poll.started < from.micros() + length
        };
        match (&trace.stages[stage].arrival, &trace.ended) {
            (Some(arrival), _) => within(arrival.noticed_at, RECHECK_FOR),
            (
                None,
                Some((
                    Outcome::Lost(_) | Outcome::Unobserved(_) | Outcome::Late | Outcome::DeadLettered(_),
                    at,
                )),
            ) => within(*at, self.rules().give_up),
            (None, Some((Outcome::Delivered | Outcome::Refused(_), _)) | None) => false,
        }
    }

    /// If no hop was cut to zero, the hops of the main path add up to the end-to-end latency.
    fn hops_add_up(&self, faults: &mut Vec<String>) {
        let recorded = &self.run.recorded[self.which];
        let hops =
            self.rules().main_path.iter().map(|hop| self.entered(recorded, |entries| entries.hops[*hop]));
        let hops: Option<Vec<_>> = hops.collect();
        if let (Some(hops), Some(whole)) = (hops, self.entered(recorded, |entries| entries.end_to_end))
            && hops.iter().all(|latency| !latency.is_zero())
        {
            compare(faults, "sum of the hops", hops.iter().sum::<Duration>(), whole);
        }
    }

    /// The latency that was entered in any run.
    fn entered(&self, recorded: &Recorded, of: impl Fn(&Entries) -> Entered) -> Option<Duration> {
        recorded.runs.values().find_map(|entries| of(entries).latency)
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
            Outcome::Unobserved(reason) => Ending::Unobserved(match reason {
                UnobservedReason::Blind => Reason::Blind,
                UnobservedReason::Unreadable => Reason::Unreadable,
                UnobservedReason::NeverSeen => Reason::NeverSeen,
                UnobservedReason::AmbiguousPut => Reason::AmbiguousPut,
                UnobservedReason::ClockStepped => Reason::ClockStepped,
                UnobservedReason::HandedOver => Reason::HandedOver,
            }),
            Outcome::Refused(_) => Ending::Refused,
        }
    }
}

/// What a copy counts as by the tracker.
fn found_copy(copy: &StoredCopy) -> Found {
    let standing = match copy.standing {
        CopyStanding::First => Standing::First,
        CopyStanding::Undecoded => Standing::Undecoded,
        // Every check ends in the end, so the judge says something else.
        CopyStanding::AwaitsPut | CopyStanding::Pending(_) => Standing::AwaitsAnswer,
        CopyStanding::Duplicate => Standing::Duplicate,
        CopyStanding::Uncharged(reason) => Standing::Uncharged(why(reason)),
    };
    Found { copy: run::copy_at(&copy.locator), standing, gone: copy.gone }
}

fn compare<T: PartialEq + std::fmt::Debug>(faults: &mut Vec<String>, what: &str, tracker: T, judge: T) {
    if tracker != judge {
        faults.push(format!("{what}: the tracker says {tracker:?}, the judge says {judge:?}"));
    }
}

/// Seed, truth, polls and both results, with times in seconds after the planned injection.
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
            "  copy {number}{} at {} (source {}) in {} stored {}, deleted {:?}, stamped {:?}, clock off by {} of {} us, own source {}, corrupted {}, in {:?}",
            if copy.by_other { " of another process" } else { "" },
            stage.name,
            copy.source,
            history.object(which, number),
            after(copy.stored),
            copy.deleted.map(after),
            copy.stamp,
            stage.offset,
            stage.allowance,
            is_in_own_source(history, which, number),
            copy.corrupted,
            copy.written,
        ));
    }
    line("Inputs of the tracker:".into());
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
                let unreadable: Vec<_> = poll
                    .unreadable
                    .iter()
                    .map(|record| {
                        format!("{} of {:?} by {}", record.shape, record.label, after(record.arrived_by))
                    })
                    .collect();
                let unreadable = match unreadable.is_empty() {
                    true => String::new(),
                    false => format!(", could not read {unreadable:?}"),
                };
                let unwanted =
                    if canary.registered < Some(poll.started_after) { "" } else { ", not wanted by it" };
                line(format!(
                    "  {place} {at} {name}: from {}, {result}{unwanted}, shows {shown:?}{unreadable}",
                    after(poll.started)
                ));
            }
            What::Restarted => line(format!("  {place} {at} RESTARTED")),
            What::Reloaded(reloaded) => line(format!("  {place} {at} {reloaded:?}")),
            What::ClockStepped => line(format!("  {place} {at} the clock stepped")),
            What::Stopped => line(format!("  {place} {at} STOPPED")),
            What::CopiesChecked(checked) => {
                let own = |name: &str| (0..canary.copies.len()).any(|at| history.object(which, at) == name);
                let answers: Vec<_> = checked.answers.iter().filter(|(name, _)| own(name)).collect();
                if !answers.is_empty() {
                    line(format!("  {place} {at} checked {answers:?}"));
                }
            }
            What::Planned(_) | What::Answered(_) | What::TimePassed => {}
        }
    }
    line(format!("The judge: {verdict:#?}"));
    line(format!("The tracker: {:#?}", run.tracker.trace(TraceId::from_u128(canary.id))));
    line(format!("Its events: {:#?}", run.recorded[which]));
    text
}
