//! What truly happened, and what was looked at: the two things that the judge may know.
//!
//! Plain numbers only. Times are microseconds of the probe's own clock, which in here is the true one.

/// How many stages there are.
pub const STAGES: usize = 5;

/// Microseconds of the true clock.
pub type Micros = i64;

pub const MILLI: Micros = 1_000;
pub const SECOND: Micros = 1_000_000;

/// The rules of one run: what DESIGN leaves to the configuration.
#[derive(Clone, Debug)]
pub struct Rules {
    pub slo: Micros,
    pub give_up: Micros,
    pub grace: Micros,
    pub blind_after: Micros,
    /// Parents first.
    pub stages: Vec<StageRules>,
    /// From injection to the end.
    pub main_path: Vec<usize>,
    pub dead_letters: usize,
    /// The source that is read for a tenant at a stage: `[tenant][stage]`.
    pub source_of: Vec<Vec<usize>>,
    /// The tenants whose canaries are looked for in each source.
    pub read_for: Vec<Vec<usize>>,
}

#[derive(Clone, Debug)]
pub struct StageRules {
    pub name: &'static str,
    pub parent: Option<usize>,
    pub target: Micros,
    /// By how much its clock is trusted to be off at most.
    pub allowance: Micros,
    /// By how much it is off.
    pub offset: Micros,
}

impl Rules {
    pub fn end(&self) -> usize {
        *self.main_path.last().unwrap()
    }

    /// The stages that a canary is meant to pass.
    pub fn on_the_way(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.stages.len()).filter(|stage| *stage != self.dead_letters)
    }
}

/// One canary: what was done with it, and every copy of it that was ever stored.
#[derive(Clone, Debug)]
pub struct Canary {
    pub id: u128,
    pub tenant: usize,
    pub planned: Micros,
    /// When it is registered and sent: a busy probe may be a little late.
    pub leaves: Micros,
    pub answer: Answer,
    pub answered: Micros,
    /// When each try was sent that CloudWatch Logs took, whatever it answered.
    pub tries: Vec<Micros>,
    /// In the order of the tries that they came from.
    pub copies: Vec<Copy>,
    /// Where in the log it was registered; `None` if it never was, since the probe was down when it should have been.
    pub registered: Option<usize>,
}

impl Canary {
    /// Whether CloudWatch Logs has it.
    pub fn taken(&self) -> bool {
        !self.tries.is_empty()
    }

    /// Takes back what came of the tries that had not been sent by now: whoever would have sent them is dead.
    pub fn forget_tries_after(&mut self, now: Micros) {
        self.tries.retain(|sent| *sent <= now);
        self.copies.retain(|copy| copy.sent <= now);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Accepted,
    Refused,
    Ambiguous,
    /// Accepted after a try without an answer, so it may be in twice.
    AcceptedDoubled,
    AmbiguousDoubled,
}

impl Answer {
    pub fn doubled(self) -> bool {
        matches!(self, Self::AcceptedDoubled | Self::AmbiguousDoubled)
    }
}

/// One stored copy.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub stage: usize,
    pub source: usize,
    /// When the try was sent that it comes from.
    pub sent: Micros,
    pub stored: Micros,
    pub stamp: Stamped,
    /// The tenant that its row is labelled with, where rows are labelled.
    pub label: Option<usize>,
    pub corrupted: bool,
}

/// What the stage says of the time of a copy.
#[derive(Clone, Copy, Debug)]
pub enum Stamped {
    /// Whole milliseconds.
    Millis(Micros),
    /// Whole seconds.
    Seconds(Micros),
    /// When its upload began, in whole seconds.
    NotBefore(Micros),
    Nothing,
}

/// What happened, in the order in which the tracker was told.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Micros,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Planned(usize),
    Answered(usize),
    PollAnswered(Poll),
    TimePassed,
    /// The probe began again, with nothing but what it had written down.
    Restarted,
}

/// One look at one source, reported when it ended.
#[derive(Clone, Debug)]
pub struct Poll {
    pub source: usize,
    pub started: Micros,
    /// How long the log was when it started: it can show and prove nothing about canaries registered after that.
    pub started_after: usize,
    /// Its source is asked by id, for so many canaries that nobody waits for any more.
    pub recently_seen: Option<usize>,
    pub result: PollResult,
    pub shown: Vec<Shown>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollResult {
    /// It showed everything that had been stored before this.
    Complete {
        all_before: Micros,
    },
    /// It showed something, but there may be more.
    Incomplete,
    Failed,
}

/// One copy in the answer of a look.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub canary: usize,
    pub copy: usize,
    /// When the answer with this copy in it was complete.
    pub seen_by: Micros,
}

/// All of it.
#[derive(Debug)]
pub struct History {
    pub rules: Rules,
    pub canaries: Vec<Canary>,
    pub log: Vec<Entry>,
    /// For each canary, the looks that showed it: places in the log.
    pub shown_at: Vec<Vec<usize>>,
    /// Where in the log the probe began again.
    pub restarts: Vec<usize>,
}

impl History {
    /// In which life of the probe an entry of the log was written.
    pub fn run_at(&self, place: usize) -> usize {
        self.restarts.partition_point(|restart| *restart < place)
    }

    pub fn poll(&self, at: usize) -> &Poll {
        match &self.log[at].what {
            What::PollAnswered(poll) => poll,
            What::Planned(_) | What::Answered(_) | What::TimePassed | What::Restarted => {
                unreachable!("{at} is no look")
            }
        }
    }

    /// The copies of a canary that a look showed, in the order in which it did.
    pub fn shown(&self, poll: usize, canary: usize) -> impl Iterator<Item = Shown> + '_ {
        self.poll(poll).shown.iter().copied().filter(move |shown| shown.canary == canary)
    }
}
