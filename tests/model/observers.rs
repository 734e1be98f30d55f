//! Observers that see no better than real ones: looks take time, fail, hang, break off, and show old copies again.
//!
//! Their rhythm is that of `observe::pace`: a look every interval while something waits, early at checkpoints, at most
//! twice as often, and backing off when looks fail.

use std::collections::{BTreeSet, HashMap, VecDeque};

use fastrand::Rng;
use traceprobe::domain::sighting::Wanted;

use super::history::*;
use super::pipeline::Window;

/// How an observer of this kind reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// Asks for the wanted canaries by their ids, and is shown all their copies each time.
    ById,
    /// Reads on from where it stopped, whatever stands there; sometimes some of it again.
    Everything,
}

#[derive(Debug)]
pub struct Observer {
    pub reads: Reads,
    interval: Micros,
    timeout: Micros,
    /// What is younger than this when a look starts may not be shown yet.
    settle: Micros,
    longest_poll: Micros,
    outages: Vec<(FailureKind, Window)>,
    odds_of_failure: f64,
    shuffles: bool,
    /// It looks at the very instant that it should look after, which proves nothing yet about that instant.
    hasty: bool,
    /// What the tracker asked for last.
    pub wanted: Wanted,
    last: Option<Micros>,
    covered: Option<Micros>,
    backing_off_until: Micros,
    backoff: Micros,
    pub polling: Option<Started>,
    /// Tells a planned look from one that was planned before it.
    pub plan: u64,
    /// Every copy in here, by its canary.
    copies: HashMap<usize, Vec<usize>>,
    /// The same by when they were stored.
    in_order: BTreeSet<(Micros, usize, usize)>,
    /// It knows where to go on. One that has just begun reads from a little before what it is asked for.
    has_a_place: bool,
    /// Those not read yet, by when they were stored.
    unreadable: BTreeSet<(Micros, usize, usize)>,
    /// Those read a short while ago.
    read: VecDeque<(Micros, usize, usize)>,
}

/// A look that is under way.
#[derive(Clone, Debug)]
pub struct Started {
    pub at: Micros,
    pub after: usize,
    pub wanted: Wanted,
    pub ends: Micros,
    pub fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Fine,
    BreaksOff,
    Fails,
    Hangs,
}

/// What is wrong with a source for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    Failing,
    Hanging,
    Incomplete,
}

impl Observer {
    pub fn draw(rng: &mut Rng, begin: Micros, end: Micros) -> Self {
        let interval = rng.i64(SECOND..8 * SECOND);
        let outages = (0..rng.usize(0..4))
            .map(|_| {
                let failure =
                    [FailureKind::Failing, FailureKind::Hanging, FailureKind::Incomplete][rng.usize(0..3)];
                (failure, Window::draw(rng, begin, end, 600 * SECOND))
            })
            .collect();
        Self {
            reads: if rng.bool() { Reads::ById } else { Reads::Everything },
            interval,
            // Some hang for longer than it takes to be called blind.
            timeout: rng.i64(2 * SECOND..8 * SECOND) * [1, 1, 1, 4][rng.usize(0..4)],
            settle: [0, 0, rng.i64(0..10 * SECOND)][rng.usize(0..3)],
            longest_poll: rng.i64(20 * MILLI..2 * SECOND),
            outages,
            odds_of_failure: 0.05 * rng.f64() * rng.f64(),
            shuffles: rng.bool(),
            hasty: rng.u8(0..4) == 0,
            wanted: Wanted::default(),
            last: None,
            covered: None,
            backing_off_until: Micros::MIN,
            backoff: interval,
            polling: None,
            plan: 0,
            copies: HashMap::new(),
            in_order: BTreeSet::new(),
            has_a_place: false,
            unreadable: BTreeSet::new(),
            read: VecDeque::new(),
        }
    }

    /// A copy that will be stored here; no look shows it before it is.
    pub fn will_hold(&mut self, canary: usize, copy: usize, stored: Micros) {
        self.copies.entry(canary).or_default().push(copy);
        if self.reads == Reads::Everything {
            self.in_order.insert((stored, canary, copy));
        }
    }

    /// A copy that was to be stored here never will be.
    pub fn will_not_hold(&mut self, canary: usize, copy: usize, stored: Micros) {
        self.copies.entry(canary).or_default().retain(|held| *held != copy);
        self.in_order.remove(&(stored, canary, copy));
        self.unreadable.remove(&(stored, canary, copy));
    }

    /// The process ended, and with it the look that was under way and all that it remembers.
    pub fn begin_again(&mut self) {
        self.wanted = Wanted::default();
        self.last = None;
        self.covered = None;
        self.backing_off_until = Micros::MIN;
        self.backoff = self.interval;
        self.polling = None;
        self.plan += 1;
        self.has_a_place = false;
        self.unreadable.clear();
        self.read.clear();
    }

    /// When to look next; `None` while nothing waits, or while it looks.
    pub fn next_poll(&self, now: Micros) -> Option<Micros> {
        if self.polling.is_some() || self.wanted.waiting.is_empty() {
            return None;
        }
        let due = match self.last {
            None => now,
            Some(last) => {
                let checkpoints = self.wanted.checkpoints.iter().map(|at| at.micros());
                let unproven =
                    checkpoints.into_iter().find(|at| self.covered.is_none_or(|covered| covered <= *at));
                let regular = last + self.interval;
                let after = self.settle + Micros::from(!self.hasty);
                unproven.map_or(regular, |at| (at + after).max(last + self.interval / 2).min(regular))
            }
        };
        Some(due.max(self.backing_off_until).max(now))
    }

    pub fn start(&mut self, rng: &mut Rng, now: Micros, after: usize) -> Micros {
        let failure = self.outages.iter().find(|(_, window)| window.holds(now)).map(|(failure, _)| *failure);
        let fate = match failure {
            Some(FailureKind::Failing) => Fate::Fails,
            Some(FailureKind::Hanging) => Fate::Hangs,
            Some(FailureKind::Incomplete) => Fate::BreaksOff,
            None if rng.f64() < self.odds_of_failure => {
                [Fate::Fails, Fate::Hangs, Fate::BreaksOff][rng.usize(0..3)]
            }
            None => Fate::Fine,
        };
        let length = match fate {
            Fate::Hangs => self.timeout,
            Fate::Fine | Fate::BreaksOff | Fate::Fails => rng.i64(MILLI..=self.longest_poll),
        };
        if !self.has_a_place {
            self.has_a_place = true;
            let oldest = self.wanted.oldest().map_or(now, |at| at.micros());
            let from = oldest - rng.i64(0..10 * SECOND);
            self.unreadable = self.in_order.range((from, 0, 0)..).copied().collect();
        }
        self.last = Some(now);
        self.polling =
            Some(Started { at: now, after, wanted: self.wanted.clone(), ends: now + length, fate });
        now + length
    }

    /// Ends the look that is under way: what it brought.
    pub fn finish(
        &mut self,
        rng: &mut Rng,
        source: usize,
        canaries: &[Canary],
        number: &HashMap<u128, usize>,
    ) -> (Started, Poll) {
        let poll = self.polling.take().expect("a look that ends has started");
        let all_before = poll.at - self.settle;
        let result = match poll.fate {
            Fate::Fine => PollResult::Complete { all_before },
            Fate::BreaksOff => PollResult::Incomplete,
            Fate::Fails | Fate::Hangs => PollResult::Failed,
        };
        let mut shown = match poll.fate {
            Fate::Fails | Fate::Hangs => Vec::new(),
            Fate::Fine | Fate::BreaksOff => self.show(rng, &poll, all_before, canaries, number),
        };
        if self.shuffles {
            rng.shuffle(&mut shown);
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
        let started =
            Poll { source, started: poll.at, started_after: poll.after, recently_seen, result, shown };
        (poll, started)
    }

    fn show(
        &mut self,
        rng: &mut Rng,
        poll: &Started,
        all_before: Micros,
        canaries: &[Canary],
        number: &HashMap<u128, usize>,
    ) -> Vec<Shown> {
        // What must be shown, what may be, and what was not there yet.
        let shows = |rng: &mut Rng, stored: Micros| match poll.fate {
            _ if stored > poll.ends => false,
            Fate::Fine if stored < all_before => true,
            Fate::Fine | Fate::BreaksOff | Fate::Fails | Fate::Hangs => rng.bool(),
        };
        let mut found = Vec::new();
        match self.reads {
            Reads::ById => {
                let all = poll.wanted.waiting.iter().chain(poll.wanted.recently_seen.iter());
                let mut ids: Vec<_> = all.map(|wanted| wanted.tag.trace).collect();
                let length = ids.len();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), length, "an id is asked for once");
                for wanted in poll.wanted.waiting.iter().chain(poll.wanted.recently_seen.iter()) {
                    let canary = number[&wanted.tag.trace.as_u128()];
                    for &copy in self.copies.get(&canary).into_iter().flatten() {
                        let stored = canaries[canary].copies[copy].stored;
                        if shows(rng, stored) {
                            found.push((stored, canary, copy));
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
                    self.unreadable.range(..=(poll.ends, usize::MAX, usize::MAX)).copied().collect();
                for copy in reachable {
                    if shows(rng, copy.0) {
                        self.unreadable.remove(&copy);
                        self.read.push_back(copy);
                        found.push(copy);
                    }
                }
            }
        }
        let seen_by = |rng: &mut Rng, stored: Micros| rng.i64(stored.max(poll.at)..=poll.ends);
        found
            .into_iter()
            .map(|(stored, canary, copy)| Shown { canary, copy, seen_by: seen_by(rng, stored) })
            .collect()
    }
}
