//! The judge of copies: how often a canary was stored at each stage, and which copies are charged to the pipeline.
//!
//! Where records never change, a second copy is a duplicate. Objects may be merged into others and deleted, so there
//! the log must prove that the first copy existed once the second was found, and that both did a while later. What
//! mentions a canary that is whole elsewhere is no copy, and what is in the same object as another one is not charged.

use std::collections::{BTreeMap, BTreeSet};

use super::history::*;
use super::judge::{is_in_own_source, stamped_interval};

/// The copies of a canary that were shown.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Copies {
    /// In the order in which they were found.
    pub found: [Vec<Found>; STAGES],
    /// How often the canary was charged as a duplicate.
    pub charged: [usize; STAGES],
    /// How often copies were found not to be charged.
    pub uncharged: BTreeMap<(usize, Why), usize>,
    /// Damaged ones.
    pub corrupted: [usize; STAGES],
    /// The numbers of those that were no copies of their own when they were found.
    pub uncounted: BTreeSet<usize>,
    /// Mentions that were found before what they mention.
    pub demoted: usize,
    /// Unknown, because a check was denied, and because it was not answered.
    pub unknown: [usize; 2],
    /// Charged after both were checked twice.
    pub checked_twice: usize,
    /// Compared with another copy, because the one before was deleted.
    pub compared_again: usize,
    /// Awaited a check when the probe restarted.
    pub awaited_over_restarts: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    pub copy: usize,
    pub standing: Standing,
    /// It is known to have been deleted.
    pub gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    First,
    Undecoded,
    /// Who caused it is unknown until its put is answered.
    AwaitsAnswer,
    Awaits(Check),
    Duplicate,
    Uncharged(Why),
}

/// A check of whether copies exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// The second one, for which both must exist.
    is_last: bool,
    due: Micros,
    /// The place from which on it is asked for, if not the first one after it is due.
    requested_at: Option<usize>,
}

/// Why a copy is not charged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    RetriedPut,
    SameObject,
    Mention,
    Moved,
    Unknown,
    SecondSender,
}

const MENTION: Standing = Standing::Uncharged(Why::Mention);
const SAME_OBJECT: Standing = Standing::Uncharged(Why::SameObject);

impl Found {
    /// Whether it is a decoded copy, rather than a mention.
    fn counts(&self) -> bool {
        !matches!(self.standing, Standing::Undecoded | MENTION)
    }
}

impl Copies {
    /// Reads the log for one canary.
    pub fn of(history: &History, which: usize) -> Self {
        let mut judge = Judge {
            history,
            which,
            is_whole: [false; STAGES],
            answer: None,
            is_lost: false,
            told: Self::default(),
        };
        for place in judge.places() {
            judge.expire(place.checked_sub(1));
            match &history.log[place].what {
                What::PollAnswered(_) => judge.shown(place),
                What::Answered(_) => judge.answered(place),
                What::CopiesChecked(checked) => judge.checked(place, checked),
                What::Restarted => judge.restarted(place),
                What::Planned(_)
                | What::TimePassed
                | What::ClockStepped
                | What::Stopped
                | What::Reloaded(_) => {}
            }
            judge.expire(Some(place));
        }
        judge.expire(history.log.len().checked_sub(1));
        judge.told
    }
}

struct Judge<'a> {
    history: &'a History,
    which: usize,
    /// For each stage: a whole copy was shown.
    is_whole: [bool; STAGES],
    answer: Option<Answer>,
    /// The process that sent the put has ended, so it will not be answered any more.
    is_lost: bool,
    told: Copies,
}

impl<'a> Judge<'a> {
    fn canary(&self) -> &'a Canary {
        &self.history.canaries[self.which]
    }

    fn copy(&self, number: usize) -> Copy {
        self.canary().copies[number]
    }

    /// The places in the log that can change anything.
    fn places(&self) -> Vec<usize> {
        let (history, canary) = (self.history, self.canary());
        let mut places = history.shown_at[self.which].clone();
        places.extend(canary.answered_at);
        if canary.copies.iter().any(|copy| history.rules.stages[copy.stage].moves) {
            for source in &history.rules.source_of[canary.tenant] {
                places.extend(&history.objects_checked_at[*source]);
            }
        }
        places.extend(&history.restarts);
        places.retain(|place| Some(*place) >= canary.registered);
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Takes what a poll showed: whole copies before others, and of those the one that had certainly arrived first.
    fn shown(&mut self, place: usize) {
        let (history, canary) = (self.history, self.canary());
        let mut shown: Vec<_> = history.shown(place, self.which).collect();
        shown.sort_by_key(|shown| {
            let copy = &canary.copies[shown.copy];
            (!copy.is_whole(), stamped_interval(&history.rules, copy).1.min(shown.seen_by))
        });
        for shown in shown {
            if is_in_own_source(history, self.which, shown.copy) {
                self.take(place, shown.copy);
            }
        }
    }

    fn take(&mut self, place: usize, number: usize) {
        let copy = self.copy(number);
        let stage = copy.stage;
        let is_beside = |found: &&Found| self.copy(found.copy).is_beside(&copy);
        let known = &self.told.found[stage];
        if known.iter().any(|found| found.copy == number) {
            return;
        }
        if copy.by_other {
            // It is not charged, and no copy of ours.
            self.told.found[stage].push(Found {
                copy: number,
                standing: Standing::AwaitsAnswer,
                gone: false,
            });
            self.settle(stage, number, Standing::Uncharged(Why::SecondSender));
            self.told.uncounted.insert(number);
            return;
        }
        // All further copies in one object are one.
        if known.iter().filter(is_beside).any(|found| found.standing == SAME_OBJECT) {
            self.told.uncounted.insert(number);
            return;
        }
        if copy.is_whole() && !self.is_whole[stage] {
            self.is_whole[stage] = true;
            self.demote_all_but_in_object_of(copy);
        }
        let is_beside = |found: &Found| self.copy(found.copy).is_beside(&copy);
        let is_mentioned = || self.told.found.iter().flatten().any(|found| found.standing == MENTION);
        let is_ours = |found: &&Found| !self.copy(found.copy).by_other;
        let mut counted =
            self.told.found[stage].iter().filter(is_ours).filter(|found| found.counts()).peekable();
        let standing = if copy.written != Written::Text {
            Standing::Undecoded
        } else if counted.peek().is_none() {
            Standing::First
        } else if counted.any(is_beside) {
            SAME_OBJECT
        } else if !copy.is_whole() && (self.is_whole[stage] || is_mentioned()) {
            MENTION
        } else if self.is_of_second_sender(&copy) {
            Standing::Uncharged(Why::SecondSender)
        } else {
            Standing::AwaitsAnswer
        };
        if let SAME_OBJECT | MENTION = standing {
            self.told.uncounted.insert(number);
        } else {
            self.told.corrupted[stage] += usize::from(copy.corrupted);
        }
        let found = Found { copy: number, standing: Standing::AwaitsAnswer, gone: false };
        let is_first = self.told.found[stage].iter().all(|found| self.copy(found.copy).by_other);
        let at = if is_first { 0 } else { self.told.found[stage].len() };
        self.told.found[stage].insert(at, found);
        self.settle(stage, number, standing);
        if standing == Standing::AwaitsAnswer {
            self.judge(place, number);
        }
    }

    /// Whether a second copy may be of another sender. A stage that shows none of that, which other stages have shown,
    /// may not tell the senders apart.
    fn is_of_second_sender(&self, copy: &Copy) -> bool {
        let is_theirs = |found: &Found| self.copy(found.copy).by_other;
        let here = &self.told.found[copy.stage];
        let is_shared = self.told.found.iter().flatten().any(is_theirs);
        is_shared && !here.iter().any(is_theirs) && here.iter().filter(|found| found.counts()).count() == 1
    }

    /// Now that a whole copy is found, what was found before it at its stage is a mention.
    fn demote_all_but_in_object_of(&mut self, whole: Copy) {
        let is_ours = |found: &&Found| !self.copy(found.copy).by_other;
        let found = self.told.found[whole.stage].iter().filter(is_ours).filter(|found| found.counts());
        let numbers = found.map(|found| found.copy);
        let mentions: Vec<_> = numbers.filter(|number| !self.copy(*number).is_beside(&whole)).collect();
        for number in mentions {
            self.told.demoted += 1;
            self.settle(whole.stage, number, MENTION);
        }
    }

    fn answered(&mut self, place: usize) {
        self.answer = Some(self.canary().answer);
        self.judge_waiting(place);
    }

    /// Judges the second copies that were found before it was known whether the put was answered.
    fn judge_waiting(&mut self, place: usize) {
        let awaits = |found: &&Found| found.standing == Standing::AwaitsAnswer;
        let awaiting: Vec<_> =
            self.told.found.iter().flatten().filter(awaits).map(|found| found.copy).collect();
        for number in awaiting {
            self.judge(place, number);
        }
    }

    /// Judges a second copy, if its put was answered or never will be.
    fn judge(&mut self, place: usize, number: usize) {
        let stage = self.copy(number).stage;
        let Some(answer) = self.answer else {
            if self.is_lost {
                self.settle(stage, number, Standing::Uncharged(Why::Unknown));
            }
            return;
        };
        let standing = if answer.doubled() {
            Standing::Uncharged(Why::RetriedPut)
        } else if self.history.rules.stages[stage].moves {
            self.first_check(place)
        } else {
            Standing::Duplicate
        };
        self.settle(stage, number, standing);
    }

    fn first_check(&self, place: usize) -> Standing {
        Standing::Awaits(Check { is_last: false, due: self.history.log[place].at, requested_at: Some(place) })
    }

    fn settle(&mut self, stage: usize, number: usize, standing: Standing) {
        let found = &mut self.told.found[stage];
        let is_charged = found.iter().any(|found| found.standing == Standing::Duplicate);
        if let Some(found) = found.iter_mut().find(|found| found.copy == number) {
            found.standing = standing;
        }
        match standing {
            Standing::Duplicate if !is_charged => self.told.charged[stage] += 1,
            Standing::Uncharged(why) => *self.told.uncharged.entry((stage, why)).or_default() += 1,
            _ => {}
        }
    }

    /// The place from which on a check is asked for.
    fn requested_at(&self, check: Check) -> usize {
        let log = &self.history.log;
        check.requested_at.unwrap_or_else(|| log.partition_point(|entry| entry.at < check.due))
    }

    /// Takes the answers to checks that had been asked for.
    fn checked(&mut self, place: usize, checked: &Checked) {
        let rules = &self.history.rules;
        let of_source = |stage: &usize| rules.source_of[self.canary().tenant][*stage] == checked.source;
        let Some(stage) = (0..STAGES).find(of_source) else { return };
        let awaiting = self.told.found[stage].iter().filter_map(|found| match found.standing {
            Standing::Awaits(check) if self.requested_at(check) < place => {
                Some((self.requested_at(check), found.copy))
            }
            _ => None,
        });
        let mut awaiting: Vec<_> = awaiting.collect();
        awaiting
            .sort_by_key(|(requested_at, number)| (*requested_at, self.history.object(self.which, *number)));
        for (_, number) in awaiting {
            self.compare(place, stage, number, checked);
        }
    }

    /// Compares a second copy with the last one that is known to have existed, by the answers.
    fn compare(&mut self, place: usize, stage: usize, number: usize, checked: &Checked) {
        let found = &self.told.found[stage];
        let second = found.iter().find(|found| found.copy == number);
        let Some(Standing::Awaits(check)) = second.map(|found| found.standing) else { return };
        let is_first = |found: &&Found| {
            matches!(found.standing, Standing::First | Standing::Uncharged(Why::Moved | Why::SecondSender))
                && !self.copy(found.copy).by_other
        };
        let first = found.iter().filter(is_first).rfind(|found| !found.gone).map(|found| found.copy);
        let answer = |number: usize| {
            let object = self.history.object(self.which, number);
            checked.answers.iter().find(|(name, _)| *name == object).map(|(_, answer)| *answer)
        };
        let now = self.history.log[place].at;
        let both = [first.and_then(answer), if check.is_last { answer(number) } else { None }];
        if let Some(gone) = first.filter(|_| both[0] == Some(Existence::Deleted)) {
            self.moved(place, stage, number, gone);
        } else if both[1] == Some(Existence::Deleted) {
            self.moved(place, stage, number, number);
        } else if both.contains(&Some(Existence::Denied)) {
            self.told.unknown[0] += 1;
            self.settle(stage, number, Standing::Uncharged(Why::Unknown));
        } else if both == [Some(Existence::There); 2] {
            self.told.checked_twice += 1;
            self.settle(stage, number, Standing::Duplicate);
        } else if both[0] == Some(Existence::There) && !check.is_last {
            let due = now + self.history.rules.copy_recheck;
            self.settle(stage, number, Standing::Awaits(Check { is_last: true, due, requested_at: None }));
        }
    }

    /// One of two copies was deleted. All others that await a check are compared with what is left.
    fn moved(&mut self, place: usize, stage: usize, number: usize, gone: usize) {
        self.settle(stage, number, Standing::Uncharged(Why::Moved));
        let first_check = self.first_check(place);
        for found in &mut self.told.found[stage] {
            found.gone |= found.copy == gone;
            if let Standing::Awaits(_) = found.standing {
                found.standing = first_check;
                self.told.compared_again += 1;
            }
        }
    }

    /// A new process asks again for what it should have been told.
    fn restarted(&mut self, place: usize) {
        if self.answer.is_none() {
            self.is_lost = true;
            self.judge_waiting(place);
        }
        for stage in 0..STAGES {
            for at in 0..self.told.found[stage].len() {
                let Standing::Awaits(check) = self.told.found[stage][at].standing else { continue };
                self.told.awaited_over_restarts += 1;
                if self.requested_at(check) <= place {
                    let check = Check { requested_at: Some(place), ..check };
                    self.told.found[stage][at].standing = Standing::Awaits(check);
                }
            }
        }
    }

    /// Gives up the checks that had been asked for for too long by this place.
    fn expire(&mut self, place: Option<usize>) {
        let Some(place) = place else { return };
        let rules = &self.history.rules;
        let patience = rules.copy_recheck + rules.blind_after;
        let expired = self.told.found.iter().flatten().filter_map(|found| {
            let Standing::Awaits(check) = found.standing else { return None };
            let requested_at = self.requested_at(check);
            let is_over = requested_at <= place
                && self.history.log[requested_at].at + patience <= self.history.log[place].at;
            is_over.then_some(found.copy)
        });
        for number in expired.collect::<Vec<_>>() {
            self.told.unknown[1] += 1;
            self.settle(self.copy(number).stage, number, Standing::Uncharged(Why::Unknown));
        }
    }
}
