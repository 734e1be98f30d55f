//! What truly happened, and the polls: all that the judge may know.
//!
//! Plain numbers only. Times are in microseconds of the probe's clock, which is exact in this test.

/// The number of stages.
pub const STAGES: usize = 5;

/// Microseconds of the true clock.
pub type Micros = i64;

pub const MILLI: Micros = 1_000;
pub const SECOND: Micros = 1_000_000;

/// The configuration of one run.
#[derive(Clone, Debug)]
pub struct Rules {
    pub slo: Micros,
    pub give_up: Micros,
    pub grace: Micros,
    pub blind_after: Micros,
    /// How long after a second copy was found in objects that may be moved both must still exist.
    pub copy_recheck: Micros,
    /// How long a process and the one that it replaces may run side by side.
    pub handover: Micros,
    /// Whether a store outlives the process.
    pub is_kept: bool,
    /// Parents first.
    pub stages: Vec<StageRules>,
    /// From injection to the end.
    pub main_path: Vec<usize>,
    pub dead_letters: usize,
    /// The source that is read for a tenant at a stage: `[tenant][stage]`.
    pub source_of: Vec<Vec<usize>>,
    /// The tenants whose canaries each source is polled for.
    pub read_for: Vec<Vec<usize>>,
    /// For each tenant, the stages whose source had shown its canaries before the first run of the probe.
    pub seen_before: Vec<[bool; STAGES]>,
}

#[derive(Clone, Debug)]
pub struct StageRules {
    pub name: &'static str,
    pub parent: Option<usize>,
    pub target: Micros,
    /// From the parent's arrival until it counts as missing.
    pub missing_after: Micros,
    /// The clock allowance that the tracker is configured with.
    pub allowance: Micros,
    /// The true error of its clock.
    pub offset: Micros,
    /// It keeps objects, which may be merged into others and deleted.
    pub moves: bool,
}

impl Rules {
    pub fn end(&self) -> usize {
        *self.main_path.last().unwrap()
    }

    /// The stage that a source belongs to.
    pub fn stage_of(&self, source: usize) -> usize {
        let stage = |row: &Vec<usize>| row.iter().position(|of| *of == source);
        self.source_of.iter().find_map(stage).expect("every source belongs to a stage")
    }

    /// The stages that every canary should reach.
    pub fn expected_stages(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.stages.len()).filter(|stage| *stage != self.dead_letters)
    }
}

/// One canary: what was done with it, and every copy of it that was ever stored.
#[derive(Clone, Debug)]
pub struct Canary {
    pub id: u128,
    pub tenant: usize,
    pub planned: Micros,
    /// When it is registered and sent, which may be a little after the plan.
    pub leaves: Micros,
    pub answer: Answer,
    pub answered: Micros,
    /// When each put was sent that CloudWatch Logs took, whatever it answered.
    pub tries: Vec<Micros>,
    /// Those that another process sent, and then those of `tries` in their order.
    pub copies: Vec<Copy>,
    /// Its place in the log; `None` if it was never registered, because the probe was down.
    pub registered: Option<usize>,
    /// The place of the answer in the log.
    pub answered_at: Option<usize>,
}

impl Canary {
    /// Whether CloudWatch Logs has it of this process.
    pub fn taken(&self) -> bool {
        !self.tries.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Accepted,
    Refused,
    Ambiguous,
    /// Accepted after a try without an answer, so it may be stored twice.
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
    /// When its try was sent.
    pub sent: Micros,
    /// Another process sent it, for the same slot.
    pub by_other: bool,
    pub stored: Micros,
    /// When its object is deleted, if it ever is.
    pub deleted: Option<Micros>,
    pub object: Object,
    pub stamp: Stamped,
    /// The tenant column of its row; `None` if the stage has none.
    pub label: Option<usize>,
    pub corrupted: bool,
    pub written: Written,
}

impl Copy {
    /// Whether its object exists.
    pub fn exists(&self, at: Micros) -> bool {
        self.stored <= at && self.deleted.is_none_or(|deleted| at < deleted)
    }

    /// Whether one merged object holds both. Small objects hold one copy.
    pub fn is_beside(&self, other: &Self) -> bool {
        matches!(self.object, Object::Merged(_)) && self.object == other.object
    }

    /// Whether it was decoded and is as it was sent.
    pub fn is_whole(&self) -> bool {
        self.written == Written::Text && !self.corrupted
    }
}

/// What holds a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// Nothing else.
    Own,
    /// Copies of many canaries, which were merged into it.
    Merged(Merged),
}

/// A merged object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Merged {
    pub source: usize,
    /// 1: of small objects. 2: of merged ones.
    pub level: i64,
    /// The number of the time at which it was merged.
    pub number: i64,
    /// Several objects may be merged at a time.
    pub part: usize,
}

/// A format that is not opened.
pub type Shape = usize;

/// What kind of record a copy is stored in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    Text,
    /// Not opened: polls report the record, and do not show the copy.
    Hidden(Shape),
    /// Not opened, but polls show the copy by luck.
    Lucky(Shape),
    /// Where the probe does not look: polls neither show nor report it.
    Elsewhere,
    /// Not opened, but the canary is in it as it was sent, and polls show it.
    Verbatim(Shape),
}

impl Written {
    /// The format that is not opened.
    pub fn shape(self) -> Option<Shape> {
        match self {
            Self::Text | Self::Elsewhere => None,
            Self::Hidden(shape) | Self::Lucky(shape) | Self::Verbatim(shape) => Some(shape),
        }
    }

    /// Whether a copy that is found in it shows that the source can be read.
    pub fn is_readable(self) -> bool {
        matches!(self, Self::Text | Self::Verbatim(_))
    }
}

/// Something in a source that is not a copy of a canary of this probe.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    pub source: usize,
    pub stored: Micros,
    /// The tenant column of its row. A number that no tenant has stands for a tenant that is not configured.
    pub label: Option<usize>,
    pub kind: OtherKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherKind {
    /// A record of somebody else that is not opened.
    Record(Shape),
    /// A canary of a tenant that is not configured.
    UnknownTenant,
    /// A canary that another process sent under the name of this probe.
    SameName { tenant: usize, planned: Micros },
}

/// The stage's own time stamp of a copy.
#[derive(Clone, Copy, Debug)]
pub enum Stamped {
    /// Whole milliseconds.
    Millis(Micros),
    /// Whole seconds.
    Seconds(Micros),
    /// The begin of its upload, in whole seconds.
    NotBefore(Micros),
    Nothing,
}

/// One input of the tracker.
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
    CopiesChecked(Checked),
    TimePassed,
    /// The system's clock was set, so the probe gave up everything that was open, and ended.
    ClockStepped,
    /// The probe was stopped and keeps no store, so it gave up everything that was open.
    Stopped,
    /// The probe restarted with what it had committed.
    Restarted,
    /// Other tenants are configured.
    Reloaded(Reloaded),
}

/// What another configuration means.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// All tenants that are not configured, and of which nothing is awaited.
    pub gone: Vec<usize>,
    /// The sources that are not read any more.
    pub closed: Vec<usize>,
}

/// One poll of one source, logged when it ended.
#[derive(Clone, Debug)]
pub struct Poll {
    pub source: usize,
    pub started: Micros,
    /// The length of the log when it started. It proves nothing about canaries registered after that.
    pub started_after: usize,
    /// The number of recently seen canaries that it was for; `None` if the source is not read by id.
    pub recently_seen: Option<usize>,
    pub result: PollResult,
    pub shown: Vec<Shown>,
    /// The records that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// The others that it showed, by number.
    pub others: Vec<(usize, Micros)>,
}

/// The answers of an observer that checked whether objects exist.
#[derive(Clone, Debug)]
pub struct Checked {
    pub source: usize,
    /// By the names of the objects.
    pub answers: Vec<(String, Existence)>,
}

/// Whether an object exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existence {
    There,
    Deleted,
    /// The probe may not know.
    Denied,
}

/// A record that a poll could not read.
#[derive(Clone, Copy, Debug)]
pub struct Unreadable {
    /// By when it had certainly arrived.
    pub arrived_by: Micros,
    pub shape: Shape,
    pub label: Option<usize>,
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

/// One copy in the answer to a poll.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub canary: usize,
    pub copy: usize,
    /// When the answer that holds it had arrived.
    pub seen_by: Micros,
}

/// The truth and the log of one run.
#[derive(Debug)]
pub struct History {
    pub rules: Rules,
    pub canaries: Vec<Canary>,
    pub others: Vec<Other>,
    pub log: Vec<Entry>,
    /// When the first process of this history began.
    pub began: Micros,
    /// For each canary, the places in the log of the polls that showed it.
    pub shown_at: Vec<Vec<usize>>,
    /// The places of the restarts in the log.
    pub restarts: Vec<usize>,
    /// When the tracker called a source blind for a tenant and visible again, in order.
    pub visibility: Vec<VisibilityChange>,
    /// For each canary, the places after which it was checked where it is missing.
    pub checked_at: Vec<Vec<usize>>,
    /// For each source, the places at which it was checked whether objects exist.
    pub objects_checked_at: Vec<Vec<usize>>,
    /// For each source, the places from which on it was not read any more.
    pub closed_at: Vec<Vec<usize>>,
}

/// A source turned blind for a tenant, or visible again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VisibilityChange {
    /// The place in the log of the poll after which it did.
    pub place: usize,
    pub source: usize,
    pub tenant: usize,
    pub blind: bool,
}

impl History {
    /// The number of the run in which an entry of the log was written.
    pub fn run_at(&self, place: usize) -> usize {
        self.restarts.partition_point(|restart| *restart < place)
    }

    pub fn poll(&self, at: usize) -> &Poll {
        match &self.log[at].what {
            What::PollAnswered(poll) => poll,
            What::Planned(_)
            | What::Answered(_)
            | What::CopiesChecked(_)
            | What::TimePassed
            | What::ClockStepped
            | What::Stopped
            | What::Reloaded(_)
            | What::Restarted => {
                unreachable!("entry {at} is not a poll")
            }
        }
    }

    /// The name of the object that holds a copy.
    pub fn object(&self, canary: usize, copy: usize) -> String {
        let canary = &self.canaries[canary];
        match canary.copies[copy].object {
            Object::Own => format!("{:x}/{copy}", canary.id),
            Object::Merged(Merged { source, level, number, part }) => {
                format!("merged/{source}/{level}/{number}/{part}")
            }
        }
    }

    /// The copies of a canary that a poll showed, in their order in the answer.
    pub fn shown(&self, poll: usize, canary: usize) -> impl Iterator<Item = Shown> + '_ {
        self.poll(poll).shown.iter().copied().filter(move |shown| shown.canary == canary)
    }
}
