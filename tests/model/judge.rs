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

use super::history::*;

/// What must be said of one canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub outcome: Ending,
    pub judged: Judged,
    /// For each stage: when it arrived there as far as can be known, if it was ever shown there.
    pub arrivals: Vec<Option<Arrived>>,
    /// For each stage: further copies that were shown.
    pub duplicates: Vec<usize>,
    /// For each stage: copies shown that were damaged.
    pub corrupted: Vec<usize>,
    /// For each stage: copies shown that were in another tenant's source or under its label.
    pub violations: Vec<usize>,
    /// It was shown at the end after its outcome had been given.
    pub late_after_all: bool,
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
    /// Which copy it is.
    pub copy: usize,
}

/// What the log has told of one stage so far.
#[derive(Clone, Copy, Debug)]
struct Known {
    arrived: Option<Arrived>,
    /// It had not been stored before this.
    absent_before: Micros,
    /// The last look at its source did not get through.
    last_look_failed: bool,
    /// The latest instant up to which its source was ever read.
    read_up_to: Micros,
}

/// Reads the log for one canary.
pub fn judge(history: &History, which: usize) -> Verdict {
    let rules = &history.rules;
    let canary = &history.canaries[which];
    let nothing = Known {
        arrived: None,
        absent_before: canary.planned,
        last_look_failed: false,
        read_up_to: Micros::MIN,
    };
    let mut case =
        Case { history, which, known: vec![nothing; rules.stages.len()], answer: None, over: false };
    let (mut outcome, mut judged, mut late_after_all) = (None, Judged::Not, false);
    for (place, entry) in history.log.iter().enumerate().skip(canary.registered) {
        // Nothing is learned between here and a later look that shows it once more.
        let over = entry.at > canary.planned + rules.give_up + rules.grace;
        if over && history.shown_at[which].last().is_none_or(|last| *last < place) {
            break;
        }
        if !case.learn(place, entry) {
            continue;
        }
        if outcome.is_none() {
            judged = case.judged(judged);
            outcome = case.ending(entry.at);
            if let (Some(Ending::Lost(..) | Ending::DeadLettered), Judged::Not) = (outcome, judged) {
                judged = Judged::Overdue;
            }
        } else if let Some(Ending::Lost(..) | Ending::Unobserved | Ending::DeadLettered) = outcome {
            late_after_all |= case.known[rules.end()].arrived.is_some();
        }
        case.over |= outcome.is_some_and(|outcome| case.nothing_is_left_to_wait_for(outcome, entry.at));
    }
    let count = |of: &dyn Fn(usize) -> bool| -> Vec<usize> {
        let shown: BTreeSet<usize> = history.shown_at[which]
            .iter()
            .flat_map(|look| history.shown(*look, which))
            .map(|shown| shown.copy)
            .filter(|copy| of(*copy))
            .collect();
        let at = |stage| shown.iter().filter(|copy| canary.copies[**copy].stage == stage).count();
        (0..rules.stages.len()).map(at).collect()
    };
    let own = count(&|copy| is_at_home(history, which, copy));
    Verdict {
        outcome: outcome.expect("the log goes on until everything has ended"),
        judged,
        arrivals: case.known.iter().map(|known| known.arrived).collect(),
        duplicates: own.iter().map(|copies| copies.saturating_sub(1)).collect(),
        corrupted: count(&|copy| is_at_home(history, which, copy) && canary.copies[copy].corrupted),
        violations: count(&|copy| !is_at_home(history, which, copy)),
        late_after_all,
    }
}

/// Whether a copy is where, and labelled as, its tenant's copies may be.
pub fn is_at_home(history: &History, which: usize, copy: usize) -> bool {
    let canary = &history.canaries[which];
    let copy = canary.copies[copy];
    let home = Some(canary.tenant);
    history.rules.owner[copy.source].is_none_or(|owner| Some(owner) == home)
        && copy.label.is_none_or(|label| Some(label) == home)
}

/// One canary, and what the log has told of it so far.
struct Case<'a> {
    history: &'a History,
    which: usize,
    known: Vec<Known>,
    answer: Option<Answer>,
    /// Nobody waits for it any more, so that a look need not be asked for it, and proves nothing.
    over: bool,
}

impl Case<'_> {
    fn canary(&self) -> &Canary {
        &self.history.canaries[self.which]
    }

    fn deadline(&self) -> Micros {
        self.canary().planned + self.history.rules.give_up
    }

    /// Takes one entry to heart; `false` when it has nothing to do with this canary.
    fn learn(&mut self, place: usize, entry: &Entry) -> bool {
        match &entry.what {
            What::Planned(_) => false,
            // Nothing is decided by time alone but that it has been waited for long enough.
            What::TimePassed => entry.at >= self.deadline() + self.history.rules.grace,
            What::Answered(which) => {
                if *which == self.which {
                    self.answer = Some(self.canary().answer);
                }
                *which == self.which
            }
            What::Looked(look) => {
                let sources = &self.history.rules.source_of[self.canary().tenant];
                let Some(stage) = sources.iter().position(|source| *source == look.source) else {
                    return false;
                };
                let waited_here = self.known[stage].arrived.is_none();
                self.learn_from(look, place, stage);
                waited_here
            }
        }
    }

    fn learn_from(&mut self, look: &Look, place: usize, stage: usize) {
        let mut known = self.known[stage];
        if known.arrived.is_none() {
            let shown = self.history.shown_at[self.which].contains(&place);
            let shown = shown.then(|| self.history.shown(place, self.which)).into_iter().flatten();
            let own = shown.filter(|shown| is_at_home(self.history, self.which, shown.copy));
            // Of several, the one that had certainly arrived first.
            let first = own.min_by_key(|shown| self.by_when(*shown).1.min(shown.seen_by));
            known.arrived = first.map(|shown| self.arrival(shown, known.absent_before));
        }
        known.last_look_failed = !matches!(look.result, LookResult::Complete { .. });
        if let LookResult::Complete { all_before } = look.result {
            known.read_up_to = known.read_up_to.max(all_before);
            let asked_for = self.canary().registered < look.started_after && !self.over;
            if known.arrived.is_none() && asked_for {
                known.absent_before = known.absent_before.max(all_before);
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

    /// Between the last look that did not show it and the one that did, and not where the stage's clock excludes it.
    fn arrival(&self, shown: Shown, absent_before: Micros) -> Arrived {
        let (from, to) = self.by_when(shown);
        let (earliest, latest) = (absent_before.max(from), shown.seen_by.min(to));
        if earliest <= latest {
            Arrived { earliest, latest, copy: shown.copy }
        } else {
            // The stage's clock says what cannot be: then our own looks are all that is left.
            Arrived { earliest: absent_before, latest: shown.seen_by, copy: shown.copy }
        }
    }

    /// Whether it is known that CloudWatch Logs took it: it said so, or the canary was seen.
    fn taken(&self) -> bool {
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
            || now >= self.deadline() + rules.grace
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
        if self.known[rules.dead_letters].arrived.is_some() {
            return Some(Ending::DeadLettered);
        }
        let waited_enough = now >= deadline + rules.grace;
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
            !known.last_look_failed && now < known.read_up_to.saturating_add(rules.blind_after)
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
}
