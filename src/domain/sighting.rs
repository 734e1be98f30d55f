//! What an observer brings back from one look at a source.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::canary::Integrity;
use super::format::{FoundIn, Unreadable};
use super::tag::Tag;
use super::time::{Interval, Timestamp};

/// The stage's own word on when an event arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// To the millisecond, cut off: Kinesis ApproximateArrivalTimestamp, CloudWatch Logs ingestionTime, a BigQuery
    /// column with a server default.
    Millis(Timestamp),
    /// To the second, cut off: S3 LastModified.
    Seconds(Timestamp),
    /// Not before this: the LastModified of a multipart object is when its upload began.
    NotBefore(Timestamp),
    /// The stage does not say.
    None,
}

impl Stamp {
    /// When it can have arrived, by the stage's clock alone; `None` where the stamp says nothing.
    #[must_use]
    pub fn interval(self) -> Option<Interval> {
        let spanning = |at: Timestamp, unit| Interval { earliest: at, latest: at + unit };
        match self {
            Self::Millis(at) => Some(spanning(at, Duration::from_millis(1))),
            Self::Seconds(at) => Some(spanning(at, Duration::from_secs(1))),
            Self::NotBefore(at) => Some(Interval { earliest: at, latest: Timestamp::MAX }),
            Self::None => None,
        }
    }
}

/// Which stored copy was seen: shard and sequence number, object key and place, row. Two reads of one copy have the
/// same locator, two copies never do.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Locator(pub Arc<str>);

impl Locator {
    /// From whatever identifies a copy at its source.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One canary seen in one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// What its tag says; the tag has been verified.
    pub tag: Tag,
    /// When the stage says it arrived.
    pub stamp: Stamp,
    /// By when it had certainly arrived by our own clock: the end of the answer that showed it.
    pub seen_by: Timestamp,
    /// Which copy.
    pub locator: Locator,
    /// The tenant that the row or key is labelled with, where it is labelled.
    pub label: Option<Arc<str>>,
    /// How the copy compares with what was sent.
    pub integrity: Integrity,
    /// In what kind of record it was found.
    pub found_in: FoundIn,
}

impl Sighting {
    /// By when the copy had arrived, if the stage's clock is within its allowance of ours.
    #[must_use]
    pub fn certainly_by(&self, allowance: Duration) -> Timestamp {
        self.stamp
            .interval()
            .map_or(self.seen_by, |stamped| stamped.widen(allowance).latest.min(self.seen_by))
    }
}

/// What a sweep read, for the probe's own accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStats {
    /// Bytes that came over the wire.
    pub bytes: u64,
    /// Records, objects or rows that were looked into.
    pub records: u64,
    /// Records that could not be decoded, or only in part: garbage, truncated, too deep, too large.
    pub decode_errors: u64,
    /// Texts that began like a tag but were signed with none of our keys.
    pub foreign_tags: u64,
    /// Bytes that BigQuery says it billed.
    pub billed_bytes: u64,
    /// How far behind the newest record the read ended, where the stage says so (Kinesis MillisBehindLatest).
    pub behind: Option<Duration>,
}

/// One look at a source.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The list of wanted traces that this look served: [`Wanted::revision`].
    pub revision: u64,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Everything that arrived at the source before this has been read; `None` when the look did not get so far.
    pub watermark: Option<Timestamp>,
    /// What was seen, each stored copy with its locator; the same copy may be reported again in a later sweep.
    pub sightings: Vec<Sighting>,
    /// What it cost.
    pub stats: ReadStats,
    /// Records that could not be read; a canary may be in each of them.
    pub unreadable: Vec<UnreadableRecord>,
}

/// A record or object that could not be read, or several of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableRecord {
    /// By when the last of them had certainly arrived, on our own clock.
    pub arrived_by: Timestamp,
    /// What it is, and why it could not be read.
    pub part: Unreadable,
    /// How many there are.
    pub count: u64,
    /// The tenant that it is labelled with, if it is labelled.
    pub label: Option<Arc<str>>,
    /// What it is and where, as text for people: `s3://archive/2026/11/26/a.orc is ORC, which traceprobe does not open`.
    pub text: Arc<str>,
}

/// A column of a table that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drift {
    /// Its name, `record.column` inside records.
    pub column: Arc<str>,
    /// Its type, with the mode where that is not NULLABLE, as it should be: `STRING`, `STRING REPEATED`. `None` where
    /// there should be no such column.
    pub from: Option<Arc<str>>,
    /// The same as it is; `None` where the column is gone.
    pub to: Option<Arc<str>>,
}

impl Drift {
    /// What happened to the column, in a word: `added`, `removed`, `retyped`, `remoded`.
    #[must_use]
    pub fn change(&self) -> &'static str {
        let kind = |text: &'_ Option<Arc<str>>| {
            text.as_deref().and_then(|text| text.split(' ').next()).map(str::to_owned)
        };
        match (&self.from, &self.to) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) if kind(&self.from) != kind(&self.to) => "retyped",
            (Some(_), Some(_)) => "remoded",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) => write!(f, "column {column} changed from {from} to {to}"),
            (None, Some(to)) => write!(f, "column {column} added ({to})"),
            (Some(from), None) => write!(f, "column {column} removed ({from})"),
            (None, None) => write!(f, "column {column}"),
        }
    }
}

/// Several changes as one line for people. A table that was replaced by another one has too many to list.
#[must_use]
pub fn list_drift(changes: &[Drift]) -> String {
    const SHOWN: usize = 10;
    let mut all: Vec<_> = changes.iter().take(SHOWN).map(ToString::to_string).collect();
    if changes.len() > SHOWN {
        all.push(format!("and {} more", changes.len() - SHOWN));
    }
    all.join(", ")
}

/// Why a source could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// We ask too often; ours to yield.
    Throttled,
    /// Not allowed.
    Denied,
    /// The stream, bucket, table or log group does not exist.
    NotFound,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// It answered with an error of its own.
    Error,
    /// Its answer makes no sense.
    Garbled,
    /// Reading on would break a limit that we set ourselves.
    OverBudget,
}

impl FailureKind {
    /// All kinds, for series that are born at zero.
    pub const ALL: [Self; 8] = [
        Self::Throttled,
        Self::Denied,
        Self::NotFound,
        Self::Unreachable,
        Self::Timeout,
        Self::Error,
        Self::Garbled,
        Self::OverBudget,
    ];

    /// As a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Garbled => "garbled",
            Self::OverBudget => "over_budget",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A trace that waits at a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WantedTrace {
    /// Its tag.
    pub tag: Tag,
    /// When it was planned to be injected.
    pub planned_at: Timestamp,
}

/// What an observer is asked to look for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Grows whenever the lists change; a sweep names the one it served.
    pub revision: u64,
    /// The traces that wait here. When it is empty, no call is made.
    pub waiting: Arc<[WantedTrace]>,
    /// Traces that were seen or given up a short while ago. They are worth no call of their own, but where a look by
    /// id happens anyway they ride along, so that a second copy or a late arrival is noticed. They must not make that
    /// look dearer, such as by reaching further back.
    pub recently_seen: Arc<[WantedTrace]>,
    /// Instants up to which an early look would prove something: thresholds and deadlines of waiting traces, in order.
    pub checkpoints: Arc<[Timestamp]>,
}

impl Wanted {
    /// When the oldest waiting trace was planned.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|trace| trace.planned_at).min()
    }
}
