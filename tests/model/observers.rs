//! Observers with the limits of real ones: polls take time, fail, hang, are incomplete, and show old copies
//! again.
//!
//! Polls are paced like those of `observe::pace`: one every interval while something waits, early at
//! checkpoints but at most twice as often, with a backoff after failures. Which objects exist is checked after
//! each answered poll, and while nothing waits.

use std::collections::{BTreeSet, HashMap, VecDeque};

use std::sync::Arc;

use fastrand::Rng;
use traceprobe::domain::sighting::Wanted;

use super::history::*;
use super::pipeline::Window;

/// Longest time from the start of a poll or check until it is answered.
pub const LONGEST_ANSWER: Micros = 2 * SECOND;

/// How an observer reads its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// Queries the wanted canaries by id. Each poll shows all of their copies.
    ById,
    /// Reads everything from where it stopped, and sometimes a part of it again.
    Everything,
}

#[derive(Debug)]
pub struct Observer {
    pub reads: Reads,
    interval: Micros,
    timeout: Micros,
    /// A copy younger than this when a poll starts may not be shown yet.
    settle: Micros,
    longest_poll: Micros,
    outages: Vec<(FailureKind, Window)>,
    failure_probability: f64,
    shuffles: bool,
    /// While one holds, it may not know whether an object exists.
    denied: Vec<Window>,
    /// It polls at the instant of a checkpoint instead of after it, which proves nothing about that instant.
    polls_too_early: bool,
    /// The last list from the tracker.
    pub wanted: Wanted,
    last: Option<Micros>,
    covered: Option<Micros>,
    backing_off_until: Micros,
    backoff: Micros,
    pub polling: Option<Started>,
    checking: Option<Checking>,
    /// The last objects that were checked, and when that ended.
    last_checked: Option<(Arc<[Arc<str>]>, Micros)>,
    /// The number of the current plan. Polls planned before it are dropped.
    pub plan: u64,
    /// All copies in the source, by canary.
    copies: HashMap<usize, Vec<usize>>,
    /// Everything by the time it was stored.
    in_order: BTreeSet<Stored>,
    /// Whether it has a position to continue from. Without one it starts a little before the oldest wanted
    /// canary.
    has_position: bool,
    /// What was not read yet, by the time it was stored.
    not_yet_read: BTreeSet<Stored>,
    /// What was read in the last two minutes.
    read: VecDeque<Stored>,
}

/// Something in the source, and when it was stored.
type Stored = (Micros, Item);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Item {
    /// A copy of a canary, by their numbers.
    Copy(usize, usize),
    Other(usize),
}

/// A poll in progress.
#[derive(Clone, Debug)]
pub struct Started {
    pub at: Micros,
    pub after: usize,
    pub wanted: Wanted,
    pub ends: Micros,
    pub fate: Fate,
}

/// A check in progress whether objects exist.
#[derive(Clone, Debug)]
struct Checking {
    at: Micros,
    ends: Micros,
    objects: Arc<[Arc<str>]>,
    fate: Fate,
}

/// What an observer does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Poll,
    Check,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Fine,
    Incomplete,
    Fails,
    Hangs,
}

/// How the polls of a source fail during an outage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    Failing,
    Hanging,
    Incomplete,
}

impl Observer {
    /// Draws an observer. One whose source keeps objects reads everything.
    pub fn draw(rng: &mut Rng, reads_objects: bool, begin: Micros, end: Micros) -> Self {
        let interval = rng.i64(SECOND..8 * SECOND);
        let outages = (0..rng.usize(0..4))
            .map(|_| {
                let failure =
                    [FailureKind::Failing, FailureKind::Hanging, FailureKind::Incomplete][rng.usize(0..3)];
                (failure, Window::draw(rng, begin, end, 600 * SECOND))
            })
            .collect();
        let denied = (0..rng.usize(0..3)).map(|_| Window::draw(rng, begin, end, 600 * SECOND)).collect();
        Self {
            reads: if !reads_objects && rng.bool() { Reads::ById } else { Reads::Everything },
            interval,
            // Some are longer than `blind_after`.
            timeout: rng.i64(2 * SECOND..8 * SECOND) * [1, 1, 1, 4][rng.usize(0..4)],
            settle: [0, 0, rng.i64(0..10 * SECOND)][rng.usize(0..3)],
            longest_poll: rng.i64(20 * MILLI..LONGEST_ANSWER),
            outages,
            failure_probability: 0.05 * rng.f64() * rng.f64(),
            shuffles: rng.bool(),
            denied,
            polls_too_early: rng.u8(0..4) == 0,
            wanted: Wanted::default(),
            last: None,
            covered: None,
            backing_off_until: Micros::MIN,
            backoff: interval,
            polling: None,
            checking: None,
            last_checked: None,
            plan: 0,
            copies: HashMap::new(),
            in_order: BTreeSet::new(),
            has_position: false,
            not_yet_read: BTreeSet::new(),
            read: VecDeque::new(),
        }
    }

    /// Adds a copy that will be stored here at `stored`. No poll shows it before.
    pub fn add_copy(&mut self, canary: usize, copy: usize, stored: Micros) {
        self.copies.entry(canary).or_default().push(copy);
        if self.reads == Reads::Everything {
            self.in_order.insert((stored, Item::Copy(canary, copy)));
        }
    }

    /// Adds something else, which only an observer that reads everything finds.
    pub fn add_other(&mut self, other: usize, stored: Micros) {
        self.in_order.insert((stored, Item::Other(other)));
    }

    /// Removes a copy that was to be stored here.
    pub fn remove_copy(&mut self, canary: usize, copy: usize, stored: Micros) {
        self.copies.entry(canary).or_default().retain(|held| *held != copy);
        self.in_order.remove(&(stored, Item::Copy(canary, copy)));
        self.not_yet_read.remove(&(stored, Item::Copy(canary, copy)));
    }

    /// Forgets everything, with the poll in progress, as the end of the process does, or of what it reads for.
    pub fn restart(&mut self) {
        self.wanted = Wanted::default();
        self.last = None;
        self.covered = None;
        self.backing_off_until = Micros::MIN;
        self.backoff = self.interval;
        self.polling = None;
        self.checking = None;
        self.last_checked = None;
        self.plan += 1;
        self.has_position = false;
        self.not_yet_read.clear();
        self.read.clear();
    }

    pub fn poll_is_over(&self, now: Micros) -> bool {
        self.polling.as_ref().is_some_and(|poll| poll.ends <= now)
    }

    pub fn check_is_over(&self, now: Micros) -> bool {
        self.checking.as_ref().is_some_and(|check| check.ends <= now)
    }

    /// What it does next, and when; `None` while there is nothing to do or it is busy.
    pub fn next(&self, now: Micros) -> Option<(Micros, Action)> {
        if self.polling.is_some() || self.checking.is_some() {
            None
        } else if !self.wanted.waiting.is_empty() {
            Some((self.next_poll(now), Action::Poll))
        } else if !self.wanted.checks.is_empty() {
            // What was not answered is checked again.
            let same = self.last_checked.as_ref().filter(|(objects, _)| *objects == self.wanted.checks);
            Some((same.map_or(now, |(_, at)| now.max(at + self.interval)), Action::Check))
        } else {
            None
        }
    }

    fn next_poll(&self, now: Micros) -> Micros {
        let due = match self.last {
            None => now,
            Some(last) => {
                let checkpoints = self.wanted.checkpoints.iter().map(|at| at.micros());
                let unproven =
                    checkpoints.into_iter().find(|at| self.covered.is_none_or(|covered| covered <= *at));
                let regular = last + self.interval;
                let after = self.settle + Micros::from(!self.polls_too_early);
                unproven.map_or(regular, |at| (at + after).max(last + self.interval / 2).min(regular))
            }
        };
        due.max(self.backing_off_until).max(now)
    }

    /// How a poll or check that starts now ends, and when.
    fn draw_fate(&self, rng: &mut Rng, now: Micros) -> (Fate, Micros) {
        let failure = self.outages.iter().find(|(_, window)| window.holds(now)).map(|(failure, _)| *failure);
        let fate = match failure {
            Some(FailureKind::Failing) => Fate::Fails,
            Some(FailureKind::Hanging) => Fate::Hangs,
            Some(FailureKind::Incomplete) => Fate::Incomplete,
            None if rng.f64() < self.failure_probability => {
                [Fate::Fails, Fate::Hangs, Fate::Incomplete][rng.usize(0..3)]
            }
            None => Fate::Fine,
        };
        let length = match fate {
            Fate::Hangs => self.timeout,
            Fate::Fine | Fate::Incomplete | Fate::Fails => rng.i64(MILLI..=self.longest_poll),
        };
        (fate, now + length)
    }

    /// Starts to check whether objects exist. Returns when that ends.
    pub fn start_check(&mut self, rng: &mut Rng, now: Micros, objects: Arc<[Arc<str>]>) -> Micros {
        let (fate, ends) = self.draw_fate(rng, now);
        self.plan += 1;
        self.checking = Some(Checking { at: now, ends, objects, fate });
        ends
    }

    /// Ends the check in progress and returns its answers; `exists` is the truth.
    pub fn finish_check(
        &mut self,
        rng: &mut Rng,
        exists: impl Fn(&str, Micros) -> bool,
    ) -> Vec<(String, Existence)> {
        let Checking { at, ends, objects, fate } = self.checking.take().expect("a check is in progress");
        self.last_checked = Some((objects.clone(), ends));
        let answered = |rng: &mut Rng| match fate {
            Fate::Fine => true,
            Fate::Incomplete => rng.bool(),
            Fate::Fails | Fate::Hangs => false,
        };
        let mut answers = Vec::new();
        for object in objects.iter() {
            if !answered(rng) {
                continue;
            }
            let checked_at = rng.i64(at..=ends);
            let existence = match exists(object, checked_at) {
                _ if self.denied.iter().any(|window| window.holds(checked_at)) => Existence::Denied,
                true => Existence::There,
                false => Existence::Deleted,
            };
            answers.push((object.to_string(), existence));
        }
        answers
    }

    /// Starts a poll. Returns when it ends.
    pub fn start(&mut self, rng: &mut Rng, now: Micros, after: usize) -> Micros {
        let (fate, ends) = self.draw_fate(rng, now);
        if !self.has_position {
            self.has_position = true;
            let oldest = self.wanted.oldest().map_or(now, |at| at.micros());
            let from = oldest - rng.i64(0..10 * SECOND);
            self.not_yet_read = self.in_order.range((from, Item::Copy(0, 0))..).copied().collect();
        }
        self.last = Some(now);
        self.polling = Some(Started { at: now, after, wanted: self.wanted.clone(), ends, fate });
        ends
    }

    /// Ends the poll in progress and returns its answer.
    pub fn finish(
        &mut self,
        rng: &mut Rng,
        source: usize,
        canaries: &[Canary],
        others: &[Other],
        number: &HashMap<u128, usize>,
    ) -> (Started, Poll) {
        let poll = self.polling.take().expect("a poll is in progress");
        let all_before = poll.at - self.settle;
        let result = match poll.fate {
            Fate::Fine => PollResult::Complete { all_before },
            Fate::Incomplete => PollResult::Incomplete,
            Fate::Fails | Fate::Hangs => PollResult::Failed,
        };
        let mut found = match poll.fate {
            Fate::Fails | Fate::Hangs => Vec::new(),
            Fate::Fine | Fate::Incomplete => self.find(rng, &poll, all_before, canaries, number),
        };
        // What was deleted before the poll is not listed.
        found.retain(|(_, item)| match *item {
            Item::Copy(canary, copy) => canaries[canary].copies[copy].deleted.is_none_or(|at| poll.at < at),
            Item::Other(_) => true,
        });
        if self.shuffles {
            rng.shuffle(&mut found);
        }
        match result {
            PollResult::Failed => {
                self.backing_off_until = poll.ends + self.backoff;
                self.backoff = (self.backoff * 2).min(15 * SECOND);
            }
            PollResult::Incomplete => self.backoff = self.interval,
            PollResult::Complete { all_before } => {
                self.backoff = self.interval;
                self.covered = Some(all_before);
            }
        }
        let recently_seen = (self.reads == Reads::ById).then_some(poll.wanted.recently_seen.len());
        let mut answer = Poll {
            source,
            started: poll.at,
            started_after: poll.after,
            recently_seen,
            result,
            shown: Vec::new(),
            unreadable: Vec::new(),
            others: Vec::new(),
        };
        for (stored, item) in found {
            let seen_by = rng.i64(stored.max(poll.at)..=poll.ends);
            let (shape, label) = match item {
                Item::Copy(canary, copy) => {
                    let spec = canaries[canary].copies[copy];
                    if !matches!(spec.written, Written::Hidden(_) | Written::Elsewhere) {
                        answer.shown.push(Shown { canary, copy, seen_by });
                    }
                    (spec.written.shape(), spec.label)
                }
                Item::Other(other) => match others[other].kind {
                    OtherKind::Record(shape) => (Some(shape), others[other].label),
                    OtherKind::UnknownTenant | OtherKind::SameName { .. } => {
                        answer.others.push((other, seen_by));
                        (None, None)
                    }
                },
            };
            answer.unreadable.extend(shape.map(|shape| Unreadable { arrived_by: seen_by, shape, label }));
        }
        (poll, answer)
    }

    fn find(
        &mut self,
        rng: &mut Rng,
        poll: &Started,
        all_before: Micros,
        canaries: &[Canary],
        number: &HashMap<u128, usize>,
    ) -> Vec<Stored> {
        // Copies not stored yet are not shown, those before the watermark of a complete poll are, and others
        // may be.
        let shows = |rng: &mut Rng, stored: Micros| match poll.fate {
            _ if stored > poll.ends => false,
            Fate::Fine if stored < all_before => true,
            Fate::Fine | Fate::Incomplete | Fate::Fails | Fate::Hangs => rng.bool(),
        };
        let mut found = Vec::new();
        match self.reads {
            Reads::ById => {
                let all = poll.wanted.waiting.iter().chain(poll.wanted.recently_seen.iter());
                let mut ids: Vec<_> = all.map(|wanted| wanted.tag.trace).collect();
                let length = ids.len();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), length, "an id is queried twice");
                for wanted in poll.wanted.waiting.iter().chain(poll.wanted.recently_seen.iter()) {
                    let canary = number[&wanted.tag.trace.as_u128()];
                    for &copy in self.copies.get(&canary).into_iter().flatten() {
                        let Copy { stored, written, .. } = canaries[canary].copies[copy];
                        if written != Written::Elsewhere && shows(rng, stored) {
                            found.push((stored, Item::Copy(canary, copy)));
                        }
                    }
                }
            }
            Reads::Everything => {
                while self.read.front().is_some_and(|(stored, ..)| *stored < poll.at - 120 * SECOND) {
                    self.read.pop_front();
                }
                if rng.u8(0..16) == 0 {
                    found.extend(&self.read);
                }
                let reachable: Vec<_> =
                    self.not_yet_read.range(..(poll.ends + 1, Item::Copy(0, 0))).copied().collect();
                for item in reachable {
                    if shows(rng, item.0) {
                        self.not_yet_read.remove(&item);
                        self.read.push_back(item);
                        found.push(item);
                    }
                }
            }
        }
        found
    }
}
