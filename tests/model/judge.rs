//! The judge: what must be said of a canary, from the truth and the log of looks alone.
//!
//! It shares no code with the tracker and works the other way round: not by reacting to inputs for all canaries at
//! once, but by reading the whole log for one canary, again from its beginning for every canary. It is slow and plain.
//!
//! Everything follows from three sentences:
//!
//! * A look that shows a copy proves that it was stored by the time of the answer.
//! * A complete look that shows none proves that none was stored before what it covers.
//! * Nothing else proves anything.

use std::collections::BTreeSet;
use std::time::Duration;

use super::heard::Runs;
use super::history::*;
use super::hops::{self, Hopped};

/// What must be said of one canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub outcome: Ending,
    pub judged: Judged,
    /// For each stage: when it arrived there as far as can be known, if it was ever shown there.
    pub arrivals: Vec<Option<Arrived>>,
    /// For each stage: how the hop that leads to it went.
    pub hops: [Hopped; STAGES],
    /// What enters which series, in each life of the probe.
    pub runs: Runs,
    /// What the probe was told became of the put; after a restart nobody is told any more.
    pub answer: Option<Answer>,
    /// For each stage: further copies that were shown.
    pub duplicates: [usize; STAGES],
    /// For each stage: copies shown that were damaged.
    pub corrupted: [usize; STAGES],
    /// For each stage: how often two clocks said what cannot both be.
    pub inversions: [usize; STAGES],
    /// It was shown at the end after its outcome had been given: by then it was late, or it had come in time.
    pub after_all: Option<AfterAll>,
    /// More than one life of the probe waited for it.
    pub survived: bool,
    /// It was waited for beyond the usual time, since the probe had been down.
    pub waited_longer: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Delivered,
    Late,
    /// Places on the main path: the first and the last hop that may have lost it.
    Lost(usize, usize),
    DeadLettered,
    Unobserved,
    Refused,
    /// The log ends before anything can be said.
    NotYet,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterAll {
    InTime,
    Late,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    Good,
    Slow,
    Overdue,
    Unjudged,
    /// It never entered: refused, or nobody could say anything of it.
    Not,
}

/// An arrival: not before the one, by the other for certain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    pub earliest: Micros,
    pub latest: Micros,
    /// The copy that was shown first.
    pub copy: usize,
    /// A later look showed another copy that may have been stored before that one.
    pub moved_back: bool,
}

/// What the log has told of one stage so far.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub arrived: Option<Arrived>,
    /// It had not been stored before this.
    pub absent_before: Micros,
    /// Since the last complete look that did not show it, something may have happened unseen.
    pub gap: bool,
    /// The last look at its source did not get through.
    last_poll_failed: bool,
    /// The latest instant up to which this life of the probe read its source.
    read_up_to: Micros,
}

/// Reads the log for one canary.
pub fn judge(history: &History, which: usize) -> Verdict {
    let mut case = Case::new(history, which);
    let (mut outcome, mut judged, mut after_all) = (None, Judged::Not, None);
    for (place, entry) in history.log.iter().enumerate().skip(case.canary().registered.unwrap()) {
        // Nothing is learned between here and an answer or a later look that shows it once more.
        let shown_again = history.shown_at[which].last().is_some_and(|last| *last >= place);
        if case.over && !shown_again && entry.at > case.canary().answered {
            if history.restarts.last().is_some_and(|last| *last >= place) {
                hops::inherit(&mut case.hops);
            }
            break;
        }
        if let What::Restarted = entry.what {
            case.begin_again(entry.at, outcome, &mut judged);
        }
        if !case.learn(place, entry) {
            continue;
        }
        if !case.over {
            hops::judge(&mut case);
        }
        if outcome.is_none() {
            let before = judged;
            judged = case.judged(before);
            outcome = case.ending(entry.at);
            if let (Some(Ending::Lost(..) | Ending::DeadLettered), Judged::Not) = (outcome, judged) {
                judged = Judged::Overdue;
            }
            case.enter(before, judged, outcome);
        } else if let Some(Ending::Lost(..) | Ending::Unobserved | Ending::DeadLettered) = outcome {
            let arrived = case.known[history.rules.end()].arrived;
            after_all = after_all.or(arrived
                .map(|at| if at.earliest > case.deadline() { AfterAll::Late } else { AfterAll::InTime }));
        }
        if !case.over && outcome.is_some_and(|outcome| case.nothing_is_left_to_wait_for(outcome, entry.at)) {
            case.over = true;
            hops::close(&mut case);
        }
    }
    let canary = case.canary();
    let shown: BTreeSet<usize> = history.shown_at[which]
        .iter()
        .flat_map(|poll| history.shown(*poll, which))
        .map(|shown| shown.copy)
        .filter(|copy| is_at_home(history, which, *copy))
        .collect();
    let count = |of: &dyn Fn(usize) -> bool| -> [usize; STAGES] {
        let at =
            |stage| shown.iter().filter(|copy| canary.copies[**copy].stage == stage && of(**copy)).count();
        std::array::from_fn(at)
    };
    Verdict {
        outcome: outcome.unwrap_or(Ending::NotYet),
        judged,
        arrivals: case.known.iter().map(|known| known.arrived).collect(),
        hops: case.hops,
        answer: case.answer,
        duplicates: count(&|_| true).map(|copies| copies.saturating_sub(1)),
        corrupted: count(&|copy| canary.copies[copy].corrupted),
        inversions: case.inversions,
        after_all,
        survived: case.survived,
        waited_longer: case.waited_longer,
        runs: leaks(history, which, case.runs),
    }
}

/// Adds the leaks: each copy once in each life that was shown it.
fn leaks(history: &History, which: usize, mut runs: Runs) -> Runs {
    let mut told = BTreeSet::new();
    for poll in &history.shown_at[which] {
        let run = history.run_at(*poll);
        for shown in history.shown(*poll, which) {
            if !is_at_home(history, which, shown.copy) && told.insert((run, shown.copy)) {
                let stage = history.canaries[which].copies[shown.copy].stage;
                runs.entry(run).or_default().violations[stage] += 1;
            }
        }
    }
    runs
}

/// Whether a copy is where, and labelled as, its tenant's copies may be.
pub fn is_at_home(history: &History, which: usize, copy: usize) -> bool {
    let canary = &history.canaries[which];
    let copy = canary.copies[copy];
    history.rules.source_of[canary.tenant][copy.stage] == copy.source
        && copy.label.is_none_or(|label| label == canary.tenant)
}

/// One canary, and what the log has told of it so far.
pub struct Case<'a> {
    pub history: &'a History,
    which: usize,
    pub known: Vec<Known>,
    pub hops: [Hopped; STAGES],
    pub runs: Runs,
    pub inversions: [usize; STAGES],
    /// Which life of the probe it is.
    pub run: usize,
    answer: Option<Answer>,
    /// It was counted as overdue by an earlier life, so that whatever becomes of it is entered nowhere.
    counted_before: bool,
    /// When nobody waits any longer.
    patience: Micros,
    waited_longer: bool,
    survived: bool,
    /// When this life of the probe began to wait for it.
    waits_since: Micros,
    /// Nobody waits for it any more, so that a look need not be asked for it, and proves nothing.
    over: bool,
}

impl<'a> Case<'a> {
    fn new(history: &'a History, which: usize) -> Self {
        let (rules, canary) = (&history.rules, &history.canaries[which]);
        let registered = canary.registered.expect("of a canary that never was, nothing is said");
        let nothing = Known {
            arrived: None,
            absent_before: canary.planned,
            gap: false,
            last_poll_failed: false,
            read_up_to: Micros::MIN,
        };
        Self {
            history,
            which,
            known: vec![nothing; rules.stages.len()],
            hops: [Hopped::Open; STAGES],
            runs: Runs::new(),
            inversions: [0; STAGES],
            run: history.run_at(registered),
            answer: None,
            counted_before: false,
            patience: canary.planned + rules.give_up + rules.grace,
            waited_longer: false,
            survived: false,
            waits_since: canary.leaves,
            over: false,
        }
    }

    pub fn canary(&self) -> &'a Canary {
        &self.history.canaries[self.which]
    }

    pub fn deadline(&self) -> Micros {
        self.canary().planned + self.history.rules.give_up
    }

    /// Another life of the probe takes over what the last one wrote down. Its counters are at zero, it has not looked
    /// anywhere yet, and nobody looked while it was down.
    fn begin_again(&mut self, now: Micros, outcome: Option<Ending>, judged: &mut Judged) {
        let rules = &self.history.rules;
        self.run += 1;
        self.waits_since = now;
        let usual = self.deadline() + rules.grace;
        hops::inherit(&mut self.hops);
        if self.over {
            return;
        }
        self.patience = match outcome {
            // One whose outcome is out is not worth more time than it would have had.
            Some(_) => usual,
            None => usual.max(now + rules.grace),
        };
        self.survived = true;
        self.waited_longer |= self.patience > usual;
        if outcome.is_some() && now >= usual {
            self.over = true;
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

    /// Takes one entry to heart; `false` when it has nothing to do with this canary.
    fn learn(&mut self, place: usize, entry: &Entry) -> bool {
        match &entry.what {
            What::Planned(_) | What::Restarted => false,
            // Nothing is decided by time alone but that it has been waited for long enough.
            What::TimePassed => entry.at >= self.patience,
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
                self.learn_from(poll, place, stage);
                waited_here
            }
        }
    }

    fn learn_from(&mut self, poll: &Poll, place: usize, stage: usize) {
        let mut known = self.known[stage];
        let was_here = known.arrived.is_some();
        let shown = self.history.shown_at[self.which].binary_search(&place).is_ok();
        let shown = shown.then(|| self.history.shown(place, self.which)).into_iter().flatten();
        let own: Vec<_> = shown.filter(|shown| is_at_home(self.history, self.which, shown.copy)).collect();
        if !was_here {
            // Of several, the one that had certainly arrived first.
            let first = own.iter().min_by_key(|shown| self.by_when(**shown).1.min(shown.seen_by));
            let first = first.map(|shown| self.arrival(*shown, known.absent_before));
            known.arrived = first.map(|(arrived, _)| arrived);
            self.inversions[stage] += usize::from(first.is_some_and(|(_, contradicted)| contradicted));
        }
        if let Some(arrived) = &mut known.arrived {
            // The first to be shown need not have been the first to be stored.
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
            let requested_in = self.canary().registered < Some(poll.started_after) && !self.over;
            if known.arrived.is_none() && requested_in {
                known.absent_before = known.absent_before.max(all_before);
                known.gap = false;
            }
        }
        self.known[stage] = known;
    }

    /// When a copy was stored by the stage's own word, give or take what its clock may be off.
    fn by_when(&self, shown: Shown) -> (Micros, Micros) {
        let copy = self.canary().copies[shown.copy];
        let off = self.history.rules.stages[copy.stage].allowance;
        match copy.stamp {
            Stamped::Millis(at) => (at - off, at + MILLI + off),
            Stamped::Seconds(at) => (at - off, at + SECOND + off),
            Stamped::NotBefore(at) => (at - off, Micros::MAX),
            Stamped::Nothing => (Micros::MIN, Micros::MAX),
        }
    }

    /// Between the last look that did not show it and the one that did, and not where the stage's clock excludes it;
    /// and whether that clock says what cannot be.
    fn arrival(&self, shown: Shown, absent_before: Micros) -> (Arrived, bool) {
        let (from, to) = self.by_when(shown);
        let (earliest, latest) = (absent_before.max(from), shown.seen_by.min(to));
        let copy = shown.copy;
        if earliest <= latest {
            (Arrived { earliest, latest, copy, moved_back: false }, false)
        } else {
            // Then our own looks are all that is left.
            let (earliest, latest) = (absent_before, shown.seen_by);
            (Arrived { earliest, latest, copy, moved_back: false }, true)
        }
    }

    /// Whether it is known that CloudWatch Logs took it: it said so, or the canary was seen.
    pub fn taken(&self) -> bool {
        matches!(self.answer, Some(Answer::Accepted | Answer::AcceptedDoubled))
            || self.known.iter().any(|known| known.arrived.is_some())
    }

    /// Whether its outcome, and what became of it on the side branches, is as clear as it will be.
    fn nothing_is_left_to_wait_for(&self, outcome: Ending, now: Micros) -> bool {
        let rules = &self.history.rules;
        let clear = |(stage, known): (usize, &Known)| {
            stage == rules.dead_letters || known.arrived.is_some() || known.absent_before > self.deadline()
        };
        matches!(outcome, Ending::Refused | Ending::DeadLettered)
            || now >= self.patience
            || self.known.iter().enumerate().all(clear)
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
        let waited_enough = now >= self.patience;
        if let Some(letter) = self.known[rules.dead_letters].arrived {
            // It may have come through before it was put letter.
            let read_past = self.known[rules.end()].absent_before > letter.latest;
            return (read_past || waited_enough).then_some(Ending::DeadLettered);
        }
        let never_had_it =
            |stage: usize| self.known[stage].arrived.is_none() && self.known[stage].absent_before > deadline;
        if !never_had_it(rules.end()) || !self.taken() {
            return waited_enough.then_some(Ending::Unobserved);
        }
        // Lost. The hop is the one after the last stage that had it, if the next stage provably never did.
        let path = &rules.main_path;
        let last_seen = path.iter().rposition(|stage| self.known[*stage].arrived.is_some());
        let first = last_seen.map_or(0, |place| place + 1);
        let last =
            (first..path.len()).find(|place| never_had_it(path[*place])).expect("the end never had it");
        let could_tell = |stage: usize| {
            let known = self.known[stage];
            let covered = known.read_up_to.max(self.waits_since);
            !known.last_poll_failed && now < covered + rules.blind_after
        };
        let dead = Some(rules.dead_letters).filter(|stage| !never_had_it(*stage));
        let mut silent = path[first..last].iter().copied().chain(dead);
        if !waited_enough && silent.any(could_tell) {
            return None;
        }
        Some(Ending::Lost(first, last))
    }

    /// Whether it met the threshold, as far as can be told; once proven overdue it stays so until it arrives.
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

    /// Enters what became of it into the end-to-end series of this life.
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
                Judged::Not => unreachable!("what was judged stays judged"),
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

/// A length of time; none where it is the wrong way round.
pub fn micros(length: Micros) -> Duration {
    Duration::from_micros(u64::try_from(length).unwrap_or(0))
}
