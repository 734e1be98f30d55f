//! The judge computes the right result for a canary from the truth and the log of polls.
//!
//! It shares no code with the tracker. Where the tracker reacts to each input for all canaries at once, the
//! judge reads the whole log again for every canary, which is slow and simple. It has three rules:
//!
//! * A poll that shows a copy proves that it was stored by the time of the answer.
//! * A complete poll that shows none proves that none was stored before its watermark.
//! * Nothing else proves anything. What was not read, and a source that has never shown a tenant's canaries,
//!   prove no loss.

use std::collections::BTreeSet;
use std::time::Duration;

use super::copies::Copies;
use super::history::*;
use super::hops::{self, HopState};
use super::readability::Readability;
use super::recorded::Runs;

/// Three intervals of each tenant in the topology. A process that sent none within them had not begun.
const MISSED_INTERVALS: Micros = 90 * SECOND;
/// Within so much time, another process' copy of a slot comes.
const COPY_COMES_WITHIN: Micros = 30 * SECOND;

/// The right result for one canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub outcome: Ending,
    /// When the outcome was known.
    pub ended_at: Option<Micros>,
    /// The outcome was counted, here or by another process.
    pub is_counted: bool,
    /// Another process counts the outcome: it was known by then that it had sent the slot, too, and began earlier.
    pub is_left_to_another: bool,
    pub judged: Judged,
    /// For each stage: the arrival interval, if a poll showed it there.
    pub arrivals: Vec<Option<Arrived>>,
    /// For each stage: the hop that leads to it.
    pub hops: [HopState; STAGES],
    /// The entries into series, by run of the probe.
    pub runs: Runs,
    /// The answer to the put; `None` if the probe ended before it.
    pub answer: Option<Answer>,
    pub copies: Copies,
    /// For each stage: the number of clock inversions.
    pub inversions: [usize; STAGES],
    /// It was shown at the end stage after it had another outcome.
    pub found_afterwards: Option<FoundAfterwards>,
    /// More than one run of the probe waited for it.
    pub survived: bool,
    /// It was waited for longer than usual, because the probe had been down.
    pub waited_longer: bool,
    /// It was dead-lettered, and the end stage had never shown its tenant.
    pub end_never_seen: bool,
    /// Polls that proved nothing about it, because of what they could not read.
    pub withheld: usize,
    /// Later polls proved what those did not.
    pub lifted: usize,
    /// The polls after which it was out for longer than it may be missing, and might be in what was not read: the
    /// place of each and the stage.
    pub overlooked: Vec<(usize, usize)>,
    /// For each instant at which it was checked: the stages at which it was missing.
    pub missing: Vec<[bool; STAGES]>,
    /// What was known of it, from which entry of the log on.
    pub facts: Vec<(usize, Facts)>,
}

/// What is known of a canary at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The arrival at each stage: earliest and latest.
    pub arrived: [Option<(Micros, Micros)>; STAGES],
    /// The stages that were read past the time by which it should have arrived, without it.
    pub missing: [bool; STAGES],
    pub hops: [HopState; STAGES],
    pub judged: Judged,
    pub outcome: Option<Ending>,
    pub found_afterwards: Option<FoundAfterwards>,
    pub taken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    Blind,
    Unreadable,
    NeverSeen,
    AmbiguousPut,
    ClockStepped,
    HandedOver,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Delivered,
    Late,
    /// The first and the last hop that may have lost it, as places on the main path.
    Lost(usize, usize),
    DeadLettered,
    Unobserved(Reason),
    Refused,
    /// The log ends before its outcome is known.
    NotYet,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundAfterwards {
    InTime,
    Late,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    Good,
    Slow,
    Overdue,
    Unjudged,
    /// In no series: refused, or unknown.
    Not,
}

/// An arrival interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    pub earliest: Micros,
    pub latest: Micros,
    /// The copy that was shown first.
    pub copy: usize,
    /// A later poll showed another copy that may have been stored before that one.
    pub moved_back: bool,
}

/// What the log proves about one stage so far.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub arrived: Option<Arrived>,
    /// It had not been stored before this.
    pub absent_before: Micros,
    /// A poll failed, or the probe was down, since the last complete poll that did not show it.
    pub gap: bool,
    /// The last complete poll that was for it proved nothing, because of what it could not read.
    withheld: bool,
    /// The last poll of its source was not complete.
    last_poll_failed: bool,
    /// The latest watermark of its source in this run.
    read_up_to: Micros,
}

/// Reads the log for one canary.
pub fn judge(history: &History, readability: &Readability, which: usize) -> Verdict {
    let copies = Copies::of(history, which);
    let mut case = Case::new(history, readability, which, &copies);
    let (mut outcome, mut judged, mut found_afterwards) = (None, Judged::Not, None);
    let (mut ended_at, mut is_counted, mut is_left_to_another) = (None, false, false);
    let mut checks = history.checked_at[which].iter().peekable();
    let mut missing = Vec::new();
    let mut facts: Vec<(usize, Facts)> = Vec::new();
    for (place, entry) in history.log.iter().enumerate().skip(case.canary().registered.unwrap()) {
        while checks.next_if(|check| **check < place).is_some() {
            missing.push(case.missing());
        }
        // Once it is closed, only an answer or a poll that shows it again can change the result.
        let shown_again = history.shown_at[which].last().is_some_and(|last| *last >= place);
        if case.closed && !shown_again && entry.at > case.canary().answered {
            if history.restarts.last().is_some_and(|last| *last >= place) {
                hops::inherit(&mut case.hops);
            }
            break;
        }
        case.place = place;
        if let What::Restarted = entry.what {
            case.restart(entry.at, outcome, &mut judged);
        }
        let given_up = match entry.what {
            What::ClockStepped => Some(Reason::ClockStepped),
            What::Stopped => Some(Reason::HandedOver),
            _ => None,
        };
        if let Some(reason) = given_up.filter(|_| !case.closed) {
            hops::abandon(&mut case);
            if outcome.is_none() {
                outcome = Some(Ending::Unobserved(reason));
                ended_at = Some(entry.at);
                case.enter(judged, judged, outcome);
            }
            case.closed = true;
            if !is_counted {
                (is_counted, is_left_to_another) = (true, case.is_left_to_another());
            }
        }
        let is_told_now = !is_counted && case.told_at.is_some_and(|at| entry.at >= at);
        if !case.learn(entry, outcome) && !is_told_now {
            continue;
        }
        if !case.closed {
            hops::judge(&mut case);
        }
        if outcome.is_none() {
            let before = judged;
            judged = case.judged(before);
            outcome = case.ending(entry.at);
            ended_at = outcome.map(|_| entry.at);
            case.told_at = outcome.map(|_| entry.at + COPY_COMES_WITHIN);
            if let (Some(Ending::Lost(..) | Ending::DeadLettered), Judged::Not) = (outcome, judged) {
                judged = Judged::Overdue;
            }
            case.enter(before, judged, outcome);
        } else if let Some(Ending::Lost(..) | Ending::Unobserved(_) | Ending::DeadLettered) = outcome {
            let arrived = case.known[history.rules.end()].arrived;
            found_afterwards = found_afterwards.or(arrived.map(|at| {
                if at.earliest > case.deadline() { FoundAfterwards::Late } else { FoundAfterwards::InTime }
            }));
        }
        let is_known_whose = is_counted || case.is_to_be_counted(entry.at);
        if !case.closed && outcome.is_some_and(|outcome| case.is_settled(outcome, is_known_whose, entry.at)) {
            case.closed = true;
            hops::close(&mut case);
        }
        if outcome.is_some() && !is_counted && (is_known_whose || case.closed) {
            (is_counted, is_left_to_another) = (true, case.is_left_to_another());
        }
        let now = case.facts(judged, outcome, found_afterwards);
        if facts.last().is_none_or(|(_, before)| *before != now) {
            facts.push((place, now));
        }
    }
    missing.extend(checks.map(|_| case.missing()));
    Verdict {
        outcome: outcome.unwrap_or(Ending::NotYet),
        ended_at,
        is_counted,
        is_left_to_another,
        judged,
        arrivals: case.known.iter().map(|known| known.arrived).collect(),
        hops: case.hops,
        answer: case.answer,
        inversions: case.inversions,
        found_afterwards,
        survived: case.survived,
        waited_longer: case.waited_longer,
        end_never_seen: outcome == Some(Ending::DeadLettered) && !case.has_seen(history.rules.end()),
        withheld: case.withheld,
        lifted: case.lifted,
        overlooked: case.overlooked,
        missing,
        facts,
        runs: leaks(history, which, case.runs),
        copies,
    }
}

/// Adds the leaks: each copy once per run that was shown it.
fn leaks(history: &History, which: usize, mut runs: Runs) -> Runs {
    let mut reported = BTreeSet::new();
    for poll in &history.shown_at[which] {
        let run = history.run_at(*poll);
        for shown in history.shown(*poll, which) {
            if !is_in_own_source(history, which, shown.copy) && reported.insert((run, shown.copy)) {
                let stage = history.canaries[which].copies[shown.copy].stage;
                runs.entry(run).or_default().violations[stage] += 1;
            }
        }
    }
    runs
}

/// Whether a copy is in a source of its tenant and is labelled with it.
pub fn is_in_own_source(history: &History, which: usize, copy: usize) -> bool {
    let canary = &history.canaries[which];
    let copy = canary.copies[copy];
    history.rules.source_of[canary.tenant][copy.stage] == copy.source
        && copy.label.is_none_or(|label| label == canary.tenant)
}

/// The interval in which a copy was stored by the stage's stamp, widened by the clock allowance.
pub fn stamped_interval(rules: &Rules, copy: &Copy) -> (Micros, Micros) {
    let off = rules.stages[copy.stage].allowance;
    match copy.stamp {
        Stamped::Millis(at) => (at - off, at + MILLI + off),
        Stamped::Seconds(at) => (at - off, at + SECOND + off),
        Stamped::NotBefore(at) => (at - off, Micros::MAX),
        Stamped::Nothing => (Micros::MIN, Micros::MAX),
    }
}

/// One canary, and what the log proves about it so far.
pub struct Case<'a> {
    pub history: &'a History,
    readability: &'a Readability,
    which: usize,
    copies: &'a Copies,
    /// The place in the log.
    place: usize,
    pub known: Vec<Known>,
    pub hops: [HopState; STAGES],
    pub runs: Runs,
    pub inversions: [usize; STAGES],
    /// The number of the current run of the probe.
    pub run: usize,
    answer: Option<Answer>,
    /// A previous run counted it as overdue, so this one enters it into no series.
    counted_before: bool,
    /// When it is given up without an outcome.
    expiry: Micros,
    /// From when on no copy of another process is awaited; `None` while it has no outcome.
    told_at: Option<Micros>,
    waited_longer: bool,
    survived: bool,
    /// When this run began to wait for it.
    waiting_since: Micros,
    /// It is no longer waited for, so polls need not be for it and prove no absence.
    closed: bool,
    withheld: usize,
    lifted: usize,
    overlooked: Vec<(usize, usize)>,
}

impl<'a> Case<'a> {
    fn new(history: &'a History, readability: &'a Readability, which: usize, copies: &'a Copies) -> Self {
        let (rules, canary) = (&history.rules, &history.canaries[which]);
        let registered = canary.registered.expect("only registered canaries are judged");
        let nothing = Known {
            arrived: None,
            absent_before: canary.planned,
            gap: false,
            withheld: false,
            last_poll_failed: false,
            read_up_to: Micros::MIN,
        };
        Self {
            history,
            readability,
            which,
            copies,
            place: registered,
            known: vec![nothing; rules.stages.len()],
            hops: [HopState::Open; STAGES],
            runs: Runs::new(),
            inversions: [0; STAGES],
            run: history.run_at(registered),
            answer: None,
            counted_before: false,
            expiry: canary.planned + rules.give_up + rules.grace,
            told_at: None,
            waited_longer: false,
            survived: false,
            waiting_since: canary.leaves,
            closed: false,
            withheld: 0,
            lifted: 0,
            overlooked: Vec::new(),
        }
    }

    /// Whether the tenant's canaries have been found at a stage.
    pub fn has_seen(&self, stage: usize) -> bool {
        self.readability.has_seen(&self.history.rules, self.canary().tenant, stage, self.place)
    }

    /// The stages that were read past the time by which it should have arrived, without it.
    fn missing(&self) -> [bool; STAGES] {
        std::array::from_fn(|stage| {
            let Some((_, began)) = hops::began(self, stage).filter(|_| self.taken()) else { return false };
            let known = self.known[stage];
            let due = began + self.history.rules.stages[stage].missing_after;
            known.arrived.is_none() && known.absent_before > due
        })
    }

    /// Whether another process may have sent the slot, too, and count its outcome.
    fn may_be_shared(&self) -> bool {
        let rules = &self.history.rules;
        !rules.is_kept && self.canary().planned < self.history.began + rules.handover
    }

    /// Whether a process of this name is known to have sent the first slots of this one.
    fn has_predecessor(&self) -> bool {
        let first = self.readability.first_of_other(self.place);
        first.is_some_and(|first| first < self.history.began + MISSED_INTERVALS)
    }

    /// Whether it is known who counts the outcome: another process' copy was found, or every stage that would show it
    /// was read and the time is over within which it may come, or nobody else sends.
    fn is_to_be_counted(&self, now: Micros) -> bool {
        let planned = self.canary().planned;
        let is_early = planned < self.history.began + MISSED_INTERVALS;
        let last = self.readability.last_of_other(self.place);
        let may_be_sent =
            self.has_predecessor() && last.is_some_and(|last| planned <= last + MISSED_INTERVALS);
        if !self.may_be_shared() || !(is_early || may_be_sent) || self.is_left_to_another() {
            return true;
        }
        let is_read = |stage: &usize| {
            let known = self.known[*stage];
            known.arrived.is_some() || known.absent_before > self.deadline()
        };
        self.told_at.is_some_and(|at| now >= at) && self.history.rules.main_path.iter().all(is_read)
    }

    /// Whether another process is known to have sent the slot, and is to count its outcome, because it sent the first
    /// ones of this process, too.
    fn is_left_to_another(&self) -> bool {
        let canary = self.canary();
        if !self.may_be_shared() || !self.has_predecessor() {
            return false;
        }
        let shown_at = self.history.shown_at[self.which].iter().filter(|at| **at <= self.place);
        let mut shown = shown_at.flat_map(|at| self.history.shown(*at, self.which));
        shown.any(|shown| {
            canary.copies[shown.copy].by_other && is_in_own_source(self.history, self.which, shown.copy)
        })
    }

    fn facts(
        &self,
        judged: Judged,
        outcome: Option<Ending>,
        found_afterwards: Option<FoundAfterwards>,
    ) -> Facts {
        let arrived = |stage: usize| self.known[stage].arrived.map(|at| (at.earliest, at.latest));
        Facts {
            arrived: std::array::from_fn(arrived),
            missing: self.missing(),
            hops: self.hops,
            judged,
            outcome,
            found_afterwards,
            taken: self.taken(),
        }
    }

    pub fn canary(&self) -> &'a Canary {
        &self.history.canaries[self.which]
    }

    pub fn deadline(&self) -> Micros {
        self.canary().planned + self.history.rules.give_up
    }

    /// A new run takes over what the previous one committed. Its counters are 0, it has not polled yet, and
    /// nothing was polled while the probe was down.
    fn restart(&mut self, now: Micros, outcome: Option<Ending>, judged: &mut Judged) {
        let rules = &self.history.rules;
        self.run += 1;
        self.waiting_since = now;
        let usual = self.deadline() + rules.grace;
        hops::inherit(&mut self.hops);
        if self.closed {
            return;
        }
        self.expiry = match outcome {
            // One that has an outcome is not waited for any longer than without the restart.
            Some(_) => usual,
            None => usual.max(now + rules.grace),
        };
        self.survived = true;
        self.waited_longer |= self.expiry > usual;
        if outcome.is_some() && now >= usual {
            self.closed = true;
            return;
        }
        if outcome.is_none() && *judged == Judged::Overdue {
            *judged = Judged::Slow;
            self.counted_before = true;
        }
        for known in &mut self.known {
            known.gap |= known.arrived.is_none();
            known.last_poll_failed = false;
            known.read_up_to = Micros::MIN;
        }
    }

    /// Learns from one entry. Returns false if it is not about this canary.
    fn learn(&mut self, entry: &Entry, outcome: Option<Ending>) -> bool {
        match &entry.what {
            What::Planned(_)
            | What::CopiesChecked(_)
            | What::Restarted
            | What::ClockStepped
            | What::Stopped => false,
            // Every canary is considered again.
            What::Reloaded(_) => true,
            // Time alone decides only that it has expired.
            What::TimePassed => entry.at >= self.expiry,
            What::Answered(which) => {
                if *which == self.which {
                    self.answer = Some(self.canary().answer);
                }
                *which == self.which
            }
            What::PollAnswered(poll) => {
                let sources = &self.history.rules.source_of[self.canary().tenant];
                let Some(stage) = sources.iter().position(|source| *source == poll.source) else {
                    return false;
                };
                let waited_here = self.known[stage].arrived.is_none();
                self.learn_from(poll, stage);
                let is_expected = match outcome {
                    None => true,
                    Some(Ending::Delivered | Ending::Late) => stage != self.history.rules.dead_letters,
                    Some(_) => false,
                };
                if poll.result != PollResult::Failed && is_expected && !self.closed {
                    self.note_overlooked(stage, entry.at);
                }
                waited_here
            }
        }
    }

    /// Notes that it has been out for too long and may be in what was not read.
    fn note_overlooked(&mut self, stage: usize, now: Micros) {
        let known = self.known[stage];
        let Some((_, began)) = hops::began(self, stage) else { return };
        let is_late = began + self.history.rules.stages[stage].missing_after < now;
        if known.arrived.is_none() && known.withheld && is_late && self.is_withheld() {
            self.overlooked.push((self.place, stage));
        }
    }

    /// Whether this poll proves nothing about it, because of what it could not read.
    fn is_withheld(&self) -> bool {
        let canary = self.canary();
        self.readability.withholds(self.place, canary.tenant, canary.planned)
    }

    fn learn_from(&mut self, poll: &Poll, stage: usize) {
        let place = self.place;
        let mut known = self.known[stage];
        let was_here = known.arrived.is_some();
        let shown = self.history.shown_at[self.which].binary_search(&place).is_ok();
        let shown = shown.then(|| self.history.shown(place, self.which)).into_iter().flatten();
        // A mention is no arrival.
        let own: Vec<_> = shown
            .filter(|shown| is_in_own_source(self.history, self.which, shown.copy))
            .filter(|shown| !self.copies.uncounted.contains(&shown.copy))
            .collect();
        if !was_here {
            // Of several copies, the one that is known to have been stored by the earliest time.
            let first = own.iter().min_by_key(|shown| self.stamped(**shown).1.min(shown.seen_by));
            let first = first.map(|shown| self.arrival(*shown, known.absent_before));
            known.arrived = first.map(|(arrived, _)| arrived);
            self.inversions[stage] += usize::from(first.is_some_and(|(_, contradicted)| contradicted));
        }
        if let Some(arrived) = &mut known.arrived {
            // The copy that was shown first need not have been stored first.
            let may_be = own.iter().map(|shown| self.arrival(*shown, known.absent_before).0.earliest);
            let earliest = may_be.min().unwrap_or(arrived.earliest);
            arrived.moved_back |= was_here && earliest < arrived.earliest;
            arrived.earliest = arrived.earliest.min(earliest);
        }
        let complete = matches!(poll.result, PollResult::Complete { .. });
        known.last_poll_failed = !complete;
        known.gap |= !complete && known.arrived.is_none();
        if let PollResult::Complete { all_before } = poll.result {
            known.read_up_to = known.read_up_to.max(all_before);
            let requested_in = self.canary().registered < Some(poll.started_after) && !self.closed;
            if known.arrived.is_none() && requested_in {
                let before = std::mem::replace(&mut known.withheld, self.is_withheld());
                self.withheld += usize::from(known.withheld);
                self.lifted += usize::from(before && !known.withheld);
                known.gap = known.withheld;
                if !known.withheld {
                    known.absent_before = known.absent_before.max(all_before);
                }
            }
        }
        self.known[stage] = known;
    }

    fn stamped(&self, shown: Shown) -> (Micros, Micros) {
        stamped_interval(&self.history.rules, &self.canary().copies[shown.copy])
    }

    /// From the last poll without the copy to the one that showed it, narrowed by the stamp. Also returns
    /// whether the stamp contradicts the polls.
    fn arrival(&self, shown: Shown, absent_before: Micros) -> (Arrived, bool) {
        let (from, to) = self.stamped(shown);
        let (earliest, latest) = (absent_before.max(from), shown.seen_by.min(to));
        let copy = shown.copy;
        if earliest <= latest {
            (Arrived { earliest, latest, copy, moved_back: false }, false)
        } else {
            // The stamp is ignored.
            let (earliest, latest) = (absent_before, shown.seen_by);
            (Arrived { earliest, latest, copy, moved_back: false }, true)
        }
    }

    /// Whether CloudWatch Logs is known to have taken it: by its answer, or because the canary was seen.
    pub fn taken(&self) -> bool {
        matches!(self.answer, Some(Answer::Accepted | Answer::AcceptedDoubled))
            || self.known.iter().any(|known| known.arrived.is_some())
    }

    /// Whether nothing more will be learned about it, at side stages neither.
    fn is_settled(&self, outcome: Ending, is_known_whose: bool, now: Micros) -> bool {
        let rules = &self.history.rules;
        let clear = |(stage, known): (usize, &Known)| {
            stage == rules.dead_letters || known.arrived.is_some() || known.absent_before > self.deadline()
        };
        matches!(outcome, Ending::Refused | Ending::DeadLettered)
            || now >= self.expiry
            || (is_known_whose && self.known.iter().enumerate().all(clear))
    }

    fn ending(&self, now: Micros) -> Option<Ending> {
        let rules = &self.history.rules;
        let deadline = self.deadline();
        if self.answer == Some(Answer::Refused) {
            return Some(Ending::Refused);
        }
        if let Some(arrived) = self.known[rules.end()].arrived {
            return Some(if arrived.earliest > deadline { Ending::Late } else { Ending::Delivered });
        }
        let has_expired = now >= self.expiry;
        if let Some(dead_letter) = self.known[rules.dead_letters].arrived {
            // It may have reached the end stage before it was dead-lettered.
            let read_past =
                self.known[rules.end()].absent_before > dead_letter.latest && self.has_seen(rules.end());
            return (read_past || has_expired).then_some(Ending::DeadLettered);
        }
        let proven_absent =
            |stage: usize| self.known[stage].arrived.is_none() && self.known[stage].absent_before > deadline;
        if !self.taken() {
            return has_expired.then_some(Ending::Unobserved(Reason::AmbiguousPut));
        }
        if !proven_absent(rules.end()) {
            let withheld = self.known[rules.end()].withheld;
            let reason = if withheld { Reason::Unreadable } else { Reason::Blind };
            return has_expired.then_some(Ending::Unobserved(reason));
        }
        // Lost, if the end ever showed this tenant's canaries. The hop is the one after the last stage that had it, if
        // the next stage provably never did.
        let path = &rules.main_path;
        let last_seen = path.iter().rposition(|stage| self.known[*stage].arrived.is_some());
        let first = last_seen.map_or(0, |place| place + 1);
        let names_it = |stage: usize| proven_absent(stage) && self.has_seen(stage);
        let last = (first..path.len()).find(|place| names_it(path[*place])).unwrap_or(path.len());
        let can_be_read = |stage: usize| {
            let known = self.known[stage];
            let covered = known.read_up_to.max(self.waiting_since);
            !known.last_poll_failed && now < covered + rules.blind_after
        };
        let can_still_tell = |stage: usize| {
            let tenant = self.canary().tenant;
            let source = rules.source_of[tenant][stage];
            can_be_read(stage)
                && self.has_seen(stage)
                && !self.readability.is_blind(source, tenant, self.place)
        };
        // Dead letters are rare, so a source of them that never showed any can tell as well as another.
        let dead_letters_open = !proven_absent(rules.dead_letters) && can_be_read(rules.dead_letters);
        let undecided = path[first..last].iter().any(|stage| can_still_tell(*stage)) || dead_letters_open;
        if !has_expired && undecided {
            return None;
        }
        Some(match self.has_seen(rules.end()) {
            true => Ending::Lost(first, last),
            false => Ending::Unobserved(Reason::NeverSeen),
        })
    }

    /// Whether it met the threshold, as far as is known. Once overdue, it stays so until it arrives.
    fn judged(&self, before: Judged) -> Judged {
        if self.counted_before {
            return before;
        }
        let threshold = self.canary().planned + self.history.rules.slo;
        let end = self.known[self.history.rules.end()];
        match end.arrived {
            Some(arrived) if arrived.latest <= threshold => Judged::Good,
            Some(arrived) if arrived.earliest > threshold || before == Judged::Overdue => Judged::Slow,
            Some(_) => Judged::Unjudged,
            None if end.absent_before > threshold && self.taken() && self.answer != Some(Answer::Refused) => {
                Judged::Overdue
            }
            None => before,
        }
    }

    /// Enters it into the end-to-end series of this run.
    fn enter(&mut self, before: Judged, judged: Judged, outcome: Option<Ending>) {
        if self.counted_before {
            return;
        }
        let arrived = self.known[self.history.rules.end()].arrived;
        let took = arrived.map(|arrived| micros(arrived.latest - self.canary().planned));
        let mut entered = self.runs.get(&self.run).copied().unwrap_or_default();
        let series = &mut entered.end_to_end;
        if judged != before {
            match judged {
                Judged::Not => unreachable!("a judgement is never withdrawn"),
                Judged::Unjudged => series.unjudged += 1,
                Judged::Overdue => series.count += 1,
                Judged::Good | Judged::Slow => {
                    series.count += usize::from(before == Judged::Not);
                    series.bucket += 1;
                    series.latency = took;
                }
            }
        }
        series.given_up += usize::from(judged == Judged::Overdue && outcome.is_some());
        if entered != Default::default() {
            self.runs.insert(self.run, entered);
        }
    }
}

/// A duration; 0 if `length` is negative.
pub fn micros(length: Micros) -> Duration {
    Duration::from_micros(u64::try_from(length).unwrap_or(0))
}
