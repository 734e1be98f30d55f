//! What an observer returns from one poll of a source.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::canary::Integrity;
use super::checkpoints::Checkpoints;
use super::foreign::ForeignText;
use super::format::{FoundIn, Unreadable};
use super::shared_list::{Keyed, SharedList};
use super::tag::{Tag, TraceId};
use super::time::{Interval, Timestamp};
use super::topology::SourceId;

/// The stage's own record of when an event arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// Truncated to milliseconds: Kinesis ApproximateArrivalTimestamp, CloudWatch Logs ingestionTime, a
    /// BigQuery column with a server default.
    Millis(Timestamp),
    /// Truncated to seconds: S3 LastModified.
    Seconds(Timestamp),
    /// A lower bound: the LastModified of a multipart object is when its upload began.
    NotBefore(Timestamp),
    /// The stage has no stamp.
    None,
}

impl Stamp {
    /// When the event can have arrived, by the stage's clock alone; `None` without a stamp.
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

/// Identifies a stored copy: shard and sequence number, object key and position, row. Two reads of one copy
/// have the same locator; two copies never do.
#[derive(Clone, Debug)]
pub struct Locator {
    text: Arc<str>,
    /// Length of the part of the text that names the record.
    record_bytes: usize,
}

impl Locator {
    /// No service has longer names: a key in S3 or Cloud Storage has at most 1,024 bytes. A longer one is cut
    /// and hashed, and can then no longer be looked up.
    const MAX_BYTES: usize = 2_048;

    /// A copy that is a record of its own.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let text =
            if text.len() > Self::MAX_BYTES { ForeignText::label(&text).as_str().into() } else { text };
        Self { record_bytes: text.len(), text }
    }

    /// A copy within a record or object that may hold several.
    #[must_use]
    pub fn within(record: &str, place: impl fmt::Display) -> Self {
        let cut = (record.len() > Self::MAX_BYTES).then(|| ForeignText::label(record));
        let record = cut.as_deref().unwrap_or(record);
        Self { text: format!("{record}#{place}").into(), record_bytes: record.len() }
    }

    /// What [`Self::as_str`] and [`Self::record`] returned before.
    pub fn remembered(text: impl Into<Arc<str>>, record_bytes: usize) -> Self {
        Self { text: text.into(), record_bytes }
    }

    /// The name as the service has it, to look the copy up. Where people read it, use `Display`, which cuts and
    /// cleans it: the name of an object may hold control characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The record or object that holds the copy.
    #[must_use]
    pub fn record(&self) -> &str {
        self.text.get(..self.record_bytes).unwrap_or(&self.text)
    }
}

// The text alone identifies a copy: which part of it names the record is not known of every copy that is
// remembered.

impl PartialEq for Locator {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Locator {}

impl PartialOrd for Locator {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Locator {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Locator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ForeignText::label(&self.text))
    }
}

/// One canary seen at one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Its tag, whose signature has been verified.
    pub tag: Tag,
    /// When it arrived by the stage's clock.
    pub stamp: Stamp,
    /// By when it had certainly arrived, by our own clock: the end of the answer that showed it.
    pub seen_by: Timestamp,
    /// Which stored copy it is.
    pub locator: Locator,
    /// The tenant label of the row or key; `None` if the source has no labels.
    pub label: Option<ForeignText>,
    /// How the copy compares with what was sent.
    pub integrity: Integrity,
    /// In what kind of record it was found.
    pub found_in: FoundIn,
}

impl Sighting {
    /// By when the copy had arrived, provided that the stage's clock is within `allowance` of ours.
    #[must_use]
    pub fn certainly_by(&self, allowance: Duration) -> Timestamp {
        self.stamp
            .interval()
            .map_or(self.seen_by, |stamped| stamped.widen(allowance).latest.min(self.seen_by))
    }
}

/// How much a poll read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStats {
    /// Bytes received.
    pub bytes: u64,
    /// Records, objects or rows scanned.
    pub records: u64,
    /// Records that could not be decoded, or only in part: garbage, truncated, nested too deeply, too large.
    pub decode_errors: u64,
    /// Well-formed tags that none of our keys signed.
    pub foreign_tags: u64,
    /// Bytes that BigQuery reported as billed.
    pub billed_bytes: u64,
    /// How far behind the newest record the poll ended; `None` unless the stage reports it (Kinesis
    /// MillisBehindLatest).
    pub behind: Option<Duration>,
    /// How many messages are in the queue; `None` unless the stage is one.
    pub queued: Option<u64>,
}

/// One answered poll of a source.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The list of wanted traces that this poll served: [`Wanted::revision`].
    pub revision: u64,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Everything that arrived at the source before this has been read; `None` if the poll did not reach its
    /// end.
    pub watermark: Option<Timestamp>,
    /// What was seen. Later polls may report the same copy again.
    pub sightings: Vec<Sighting>,
    /// How much it read.
    pub stats: ReadStats,
    /// Records that could not be read; a canary may be in each of them.
    pub unreadable: Vec<UnreadableRecord>,
    /// Batches that a consumer gave up on. Later polls may report the same ones again.
    pub failed_batches: Vec<FailedBatch>,
}

/// A batch of a stream's records that its consumer gave up on, as a dead letter without content names it: by
/// shard and sequence numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedBatch {
    /// The source that reads the stream.
    pub source: SourceId,
    /// The shard.
    pub shard: Arc<str>,
    /// Sequence number of the first record: decimal digits.
    pub first: Arc<str>,
    /// Sequence number of the last record.
    pub last: Arc<str>,
    /// When the dead letter arrived.
    pub stamp: Stamp,
    /// By when it had certainly arrived, by our own clock.
    pub seen_by: Timestamp,
    /// The dead letter.
    pub letter: Arc<str>,
}

impl FailedBatch {
    /// Whether it holds a record, named as in a [`Locator`]: `shardId-000000000000/49590338`.
    #[must_use]
    pub fn holds(&self, record: &str) -> bool {
        let Some((shard, number)) = record.rsplit_once('/') else { return false };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = magnitude(number);
        shard == &*self.shard
            && is_number
            && magnitude(&self.first) <= number
            && number <= magnitude(&self.last)
    }
}

/// Orders decimal numbers, which have up to 129 digits (AWS Kinesis API reference, SequenceNumber).
fn magnitude(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
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
    /// Whose it is; `None` if it may be anybody's.
    pub owner: Option<RecordOwner>,
    /// What it is and where, as text for people: `s3://archive/2026/11/26/a.orc is ORC, which traceprobe does
    /// not open`.
    pub text: ForeignText,
}

/// Whose a record is that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordOwner {
    /// The tenant that it is labelled with.
    Label(ForeignText),
    /// The tenant of this tag.
    Tag(Tag),
}

/// A column of a table that differs from the expected schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drift {
    /// The column's name, `record.column` inside records.
    pub column: ForeignText,
    /// The expected type, with the mode unless it is NULLABLE: `STRING`, `STRING REPEATED`. `None` for an
    /// added column.
    pub from: Option<ForeignText>,
    /// The actual type; `None` for a removed column.
    pub to: Option<ForeignText>,
}

impl Drift {
    /// What happened to the column: `added`, `removed`, `retyped` or `remoded`.
    #[must_use]
    pub fn change(&self) -> &'static str {
        let kind = |text: &Option<ForeignText>| {
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

/// Lists changes in one line for people, at most ten: a table that was replaced has too many.
#[must_use]
pub fn list_drift(changes: &[Drift]) -> String {
    const SHOWN: usize = 10;
    let mut all: Vec<_> = changes.iter().take(SHOWN).map(ToString::to_string).collect();
    if changes.len() > SHOWN {
        all.push(format!("and {} more", changes.len() - SHOWN));
    }
    all.join(", ")
}

/// Why a source could not be polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// We call too often, and have to yield.
    Throttled,
    /// A permission is missing.
    Denied,
    /// The stream, bucket, table or log group does not exist.
    NotFound,
    /// No connection could be made, or what answered is not the service.
    Unreachable,
    /// There was no answer in time.
    Timeout,
    /// The service answered with any other error.
    Error,
    /// The answer could not be parsed.
    Garbled,
    /// Reading on would exceed a budget that we set ourselves.
    OverBudget,
}

impl FailureKind {
    /// All kinds, to initialise the series.
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

/// A record or object that has been decoded for long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoding {
    /// What it is, as text for people: `s3://archive/2026/11/26/a.gz`.
    pub name: ForeignText,
    pub since: Timestamp,
}

/// A trace that an observer should find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WantedTrace {
    pub tag: Tag,
    /// When it was planned to be injected.
    pub planned_at: Timestamp,
}

impl Keyed for WantedTrace {
    type Key = TraceId;

    fn key(&self) -> TraceId {
        self.tag.trace
    }
}

/// What an observer should find at its source. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Grows whenever the lists change; a poll names the revision that it served.
    pub revision: u64,
    /// The traces that wait here. If there are none, no call is made.
    pub waiting: SharedList<WantedTrace>,
    /// Traces that were seen or given up recently. They are not worth a call of their own, but a query by id
    /// includes them, to notice second copies and late arrivals. They must not make that query more
    /// expensive, for instance by reaching further back.
    pub recently_seen: SharedList<WantedTrace>,
    /// Thresholds and deadlines of waiting traces: a poll soon after one of them proves something.
    pub checkpoints: Checkpoints,
    /// Records or objects ([`Locator::record`]) of which it has to be known now whether they still exist.
    /// Empty unless the kind can tell, at most [`MAX_CHECKED_RECORDS`](super::copies::MAX_CHECKED_RECORDS).
    pub checks: Arc<[Arc<str>]>,
    /// Until when none of those that wait is likely to have arrived here, if that is known. The first poll may wait
    /// for that a little. [`Timestamp::MAX`] if none was seen at the stage before, and that stage is read.
    pub nothing_before: Option<Timestamp>,
    /// When the probe is stopping: by then a last poll has to begin, so that it is answered before the end.
    pub final_poll: Option<Timestamp>,
}

impl Wanted {
    /// When the oldest waiting trace was planned.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|trace| trace.planned_at).min()
    }

    /// Whether an observer that knows `before` must hear of this at once: it would begin to poll, end, poll or
    /// check earlier. Whatever else changed is soon enough when it polls.
    #[must_use]
    pub fn is_urgent_after(&self, before: &Self) -> bool {
        let proven = self.checkpoints.proven;
        let is_earlier = |next: Timestamp| before.checkpoints.next(proven).is_none_or(|then| next < then);
        self.waiting.is_empty() != before.waiting.is_empty()
            || self.nothing_before < before.nothing_before
            || self.checks != before.checks
            || self.final_poll != before.final_poll
            || self.checkpoints.next(proven).is_some_and(is_earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tag::{InstanceCode, Purpose, TenantCode};

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A list of traces that wait, and of checkpoints.
    fn wanted(planned: &[i64], checkpoints: &[i64]) -> Wanted {
        let trace = |secs: &i64| {
            let id = TraceId::new(t(*secs), [1; 10]);
            let tag = Tag::new(id, TenantCode::of("a"), InstanceCode::of("b"), 100, Purpose::Probe);
            WantedTrace { tag, planned_at: t(*secs) }
        };
        let checkpoints = checkpoints.iter().copied().map(t).collect::<Vec<_>>().into();
        Wanted { waiting: planned.iter().map(trace).collect(), checkpoints, ..Wanted::default() }
    }

    #[test]
    fn an_observer_is_woken_by_the_first_trace_and_by_the_end_of_the_last() {
        assert!(wanted(&[1], &[]).is_urgent_after(&Wanted::default()));
        assert!(Wanted::default().is_urgent_after(&wanted(&[1], &[])));
    }

    #[test]
    fn one_more_trace_wakes_an_observer_only_if_it_is_worth_an_earlier_poll() {
        let before = wanted(&[1], &[30]);
        assert!(!wanted(&[1, 2], &[30, 31]).is_urgent_after(&before));
        assert!(wanted(&[1, 2], &[29, 30]).is_urgent_after(&before));
        assert!(!wanted(&[2], &[31]).is_urgent_after(&before), "it looks again when the earlier one is due");
    }

    #[test]
    fn an_observer_hears_at_once_that_a_trace_comes_sooner_and_not_that_it_comes_later() {
        let from = |nothing_before| Wanted { nothing_before, ..wanted(&[1], &[]) };
        let [now, soon, later] = [None, Some(t(5)), Some(Timestamp::MAX)].map(from);
        for (before, after, urgent) in [
            (&later, &soon, true),
            (&later, &now, true),
            (&soon, &now, true),
            (&now, &soon, false),
            (&soon, &later, false),
            (&soon, &soon, false),
        ] {
            assert_eq!(after.is_urgent_after(before), urgent, "{before:?}, then {after:?}");
        }
    }

    #[test]
    fn after_a_proof_the_next_threshold_is_compared() {
        let mut after = wanted(&[1, 2], &[30, 31]);
        after.checkpoints.proven = Some(t(31));
        assert!(!after.is_urgent_after(&wanted(&[1], &[30, 31])), "it knew of it");
        assert!(after.is_urgent_after(&wanted(&[1], &[30])));
    }
}
