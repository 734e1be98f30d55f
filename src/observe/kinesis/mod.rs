//! Reads a Kinesis stream: one cursor for each shard, shared by all traces that wait there.
//!
//! Arrival is stamped by the stream itself, so reading more often would add nothing to the precision and only take
//! reads from the pipeline, which shares five calls and 2 MiB a second of each shard with us. So a look is one progress
//! over the shards, each within its `budget`; a look that did not reach the tip gives no watermark and leaves the rest
//! to the next.
//!
//! It must never conclude anything from an empty answer: only `MillisBehindLatest == 0` says that the tip was reached.
//! A position moves only together with the sightings that were read up to it, so a look may be dropped at any `await`.

mod get_records;
mod read_budget;
mod settings;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, Shard, ShardFilter, ShardFilterType};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use self::get_records::{GetRecords, Page, Refusal, date, is_arn, is_invalid};
pub use self::read_budget::Pages;
use self::read_budget::{GAP, ReadBudget};
pub(super) use self::settings::SPEC;
pub use self::settings::Settings;
use super::blocking::run_blocking;
use super::decode::{Limits, scan_record};
use super::failure::explain;
use super::unreadable::Unreadable;
use super::{Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::format::FoundIn;
use crate::domain::sighting::{FailureKind, Locator, Poll, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};

/// Shards that are read at the same time. Each answer may take 10 MiB (Kinesis API reference, GetRecords).
const CONCURRENCY: usize = 4;
/// Shards that are followed; the default quota of an account is 20,000 in the largest regions (Kinesis quotas).
const MAX_SHARDS: usize = 20_000;
/// Shards on a page of ListShards (its default).
const SHARDS_A_PAGE: i32 = 1_000;
/// Sightings that may wait for the end of a look.
const MAX_SIGHTINGS: usize = 100_000;

/// Reads one stream.
#[derive(Debug)]
pub struct Kinesis {
    settings: Settings,
    /// Room for answers, which all streams budget.
    room: Pages,
    client: Client,
    recognizer: Recognizer,
    clock: WallClock,
    cursors: BTreeMap<String, Cursor>,
    /// Whether the list of shards must be fetched (again).
    unlisted: bool,
    /// Whether nothing waited since the last look.
    rested: bool,
    /// Counts looks, so that shards take turns when a look cannot read them all.
    poll_number: u64,
    /// What was read and not reported yet: a look may be dropped.
    unreported: Findings,
    unreadable: Unreadable,
}

#[derive(Debug)]
struct Cursor {
    /// They are read to their end before this one is begun.
    parents: Vec<String>,
    position: Position,
    /// A short-lived token for `position`.
    iterator: Option<String>,
    /// What arrived at this shard from `begun` up to `reached` has been read, except for what settles late.
    begun: Timestamp,
    reached: Timestamp,
    /// When the look began in which the tip was reached last.
    tip: Option<Timestamp>,
    /// The shard was closed, and read to its end.
    ended: bool,
    /// How far behind the tip the latest answer was.
    behind: Option<Duration>,
    /// The look in which it was put in line last.
    queued: u64,
    /// The look in which it was read last.
    requested: u64,
    pages: u8,
    budget: ReadBudget,
}

/// Where to go on in a shard; it outlives iterators.
#[derive(Clone, Debug)]
enum Position {
    From(Timestamp),
    After(String),
}

impl Cursor {
    fn new(parents: Vec<String>, start: Timestamp) -> Self {
        Self {
            parents,
            position: Position::From(start),
            iterator: None,
            begun: start,
            reached: start,
            tip: None,
            ended: false,
            behind: None,
            queued: 0,
            requested: 0,
            pages: 0,
            budget: ReadBudget::default(),
        }
    }

    fn jump(&mut self, to: Timestamp) {
        self.position = Position::From(to);
        self.iterator = None;
        self.begun = to;
        self.reached = to;
    }
}

/// What one look came to, apart from what it found.
struct Progress {
    started: Timestamp,
    start: Timestamp,
    queue: VecDeque<String>,
    calls: usize,
    bytes: u64,
    /// A shard was looked at and not read to its tip.
    short: bool,
    failure: Option<ObserveError>,
}

impl Kinesis {
    /// An observer of a stream. The client must not retry: the loop that calls the observer does.
    #[must_use]
    pub fn new(
        settings: Settings,
        room: Pages,
        client: Client,
        recognizer: Recognizer,
        clock: WallClock,
    ) -> Self {
        Self {
            settings,
            room,
            client,
            recognizer,
            clock,
            cursors: BTreeMap::new(),
            unlisted: true,
            rested: false,
            poll_number: 0,
            unreported: Findings::default(),
            unreadable: Unreadable::default(),
        }
    }

    async fn read_source(&mut self, started: Timestamp, start: Timestamp) -> Result<Progress, ObserveError> {
        // A shard that had ended before the oldest trace of then may be of interest to an older one.
        let older = self.cursors.values().any(|cursor| start < cursor.begun);
        if self.unlisted || older {
            let shards = self.list(start).await?;
            self.adopt(shards, start);
        }
        self.poll_number += 1;
        self.aim(start);
        let mut progress = Progress {
            started,
            start,
            queue: VecDeque::new(),
            calls: 0,
            bytes: 0,
            short: false,
            failure: None,
        };
        self.enqueue(&mut progress);
        let mut answers = FuturesUnordered::new();
        loop {
            while answers.len() < CONCURRENCY && self.may_go_on(&progress) {
                let Some(shard) = progress.queue.pop_front() else {
                    break;
                };
                let Some(cursor) = self.cursors.get_mut(&shard) else {
                    continue;
                };
                cursor.pages += 1;
                cursor.requested = self.poll_number;
                progress.calls += 1;
                let request = GetRecords {
                    client: self.client.clone(),
                    stream: self.settings.stream.clone(),
                    limit: cursor
                        .budget
                        .limit(self.settings.max_records_per_call, self.settings.max_bytes_per_second),
                    not_before: cursor.budget.take_slot(),
                    pages: self.room.clone(),
                    shard,
                    position: cursor.position.clone(),
                    iterator: cursor.iterator.clone(),
                    clock: self.clock.clone(),
                };
                answers.push(request.send());
            }
            match answers.next().await {
                Some(answer) => self.take(answer, &mut progress),
                None => return Ok(progress),
            }
        }
    }

    fn may_go_on(&self, progress: &Progress) -> bool {
        progress.calls < self.settings.max_calls_per_poll
            && progress.bytes < self.settings.max_bytes_per_poll
            && self.unreported.sightings.len() < MAX_SIGHTINGS
    }

    /// All shards that can hold something since `start`.
    async fn list(&self, start: Timestamp) -> Result<Vec<Shard>, ObserveError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        let mut filtered = true;
        loop {
            let mut request = self.client.list_shards().max_results(SHARDS_A_PAGE);
            request = match token.take() {
                // A token stands for the stream and the filter too; to name them again is an error.
                Some(token) => request.next_token(token),
                None => {
                    let filter = ShardFilter::builder()
                        .r#type(ShardFilterType::FromTimestamp)
                        .timestamp(date(start))
                        .build()
                        .ok()
                        .filter(|_| filtered);
                    let request = request.set_shard_filter(filter);
                    match self.arn() {
                        Some(arn) => request.stream_arn(arn),
                        None => request.stream_name(&self.settings.stream),
                    }
                }
            };
            let page = match request.send().await {
                Ok(page) => page,
                // A timestamp before the stream was made is refused; then all of its shards are of interest.
                Err(error) if filtered && is_invalid(error.code()) => {
                    filtered = false;
                    shards.clear();
                    continue;
                }
                Err(error) => return Err(explain(&self.requested("ListShards"), &error)),
            };
            shards.extend(page.shards.unwrap_or_default());
            if shards.len() > MAX_SHARDS {
                let words = format!("{}: more than {MAX_SHARDS} shards", self.requested("ListShards"));
                return Err(ObserveError::new(FailureKind::OverBudget, words));
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Takes over a list of shards: known ones keep their cursors.
    fn adopt(&mut self, shards: Vec<Shard>, start: Timestamp) {
        let mut known = std::mem::take(&mut self.cursors);
        for shard in shards {
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
            let cursor = known
                .remove(&shard.shard_id)
                .unwrap_or_else(|| Cursor::new(parents.into_iter().flatten().collect(), start));
            self.cursors.insert(shard.shard_id, cursor);
        }
        // A list may lag behind what GetRecords said of children; a shard that is gone will say so itself.
        known.retain(|_, cursor| !cursor.ended);
        self.cursors.append(&mut known);
        self.unlisted = false;
    }

    /// From when on records are of interest. Where gaps are read, that is from where the slowest cursor stands: then no
    /// cursor is moved up to what is waited for, and shards that were opened since are begun early enough.
    fn start(&self, oldest: Timestamp) -> Timestamp {
        let waited_for = oldest - self.settings.lookback;
        match self.settings.gaps {
            Gaps::Skip => waited_for,
            Gaps::Read => {
                let open = self.cursors.values().filter(|cursor| !cursor.ended);
                open.map(|cursor| cursor.reached).fold(waited_for, Timestamp::min)
            }
        }
    }

    /// Moves cursors that stand before everything of interest up to it, so that nobody pays for what nobody waits for,
    /// and those back that were begun too late.
    fn aim(&mut self, start: Timestamp) {
        let spare = if self.rested { Duration::ZERO } else { self.settings.lookback };
        self.rested = false;
        for cursor in self.cursors.values_mut() {
            if start < cursor.begun {
                // An older trace came to be waited for; nobody has read what arrived before the others were planned.
                cursor.jump(start);
                cursor.tip = None;
                cursor.ended = false;
            } else if cursor.reached + spare < start && !cursor.ended {
                cursor.jump(start);
            }
        }
    }

    /// Puts all shards in line that can be read and were not yet in this turn, those first that waited longest.
    fn enqueue(&mut self, progress: &mut Progress) {
        let ready = |cursor: &Cursor| {
            let mut parents = cursor.parents.iter();
            // A parent that is not listed ended before everything of interest.
            !cursor.ended && parents.all(|id| self.cursors.get(id).is_none_or(|it| it.ended))
        };
        let fresh = |cursor: &Cursor| cursor.queued < self.poll_number && ready(cursor);
        let readable = self.cursors.iter().filter(|(_, cursor)| fresh(cursor));
        let (due, paying): (Vec<_>, Vec<_>) = readable.partition(|(_, cursor)| cursor.budget.is_due());
        // One at its tip vouches for what was read up to then; the others have more to read.
        progress.short |= paying.iter().any(|(_, cursor)| cursor.behind != Some(Duration::ZERO));
        let mut line: Vec<(u64, String)> =
            due.into_iter().map(|(id, cursor)| (cursor.requested, id.clone())).collect();
        line.sort();
        for (_, id) in line {
            if let Some(cursor) = self.cursors.get_mut(&id) {
                cursor.queued = self.poll_number;
                cursor.pages = 0;
            }
            progress.queue.push_back(id);
        }
    }

    fn take(&mut self, answer: Page, progress: &mut Progress) {
        let Some(cursor) = self.cursors.get_mut(&answer.shard) else {
            return;
        };
        cursor.iterator = answer.iterator;
        let page = match answer.page {
            Ok(page) => page,
            Err(Refusal::Gone) => {
                // It expired, or the stream was made anew: the list will tell.
                self.cursors.remove(&answer.shard);
                self.unlisted = true;
                progress.short = true;
                return;
            }
            Err(Refusal::Lost) => {
                // What arrived since the last record is read, and a little twice.
                let begun = cursor.begun;
                cursor.jump((cursor.reached - self.settings.lookback).max(progress.start));
                cursor.begun = begun.min(cursor.begun);
                progress.short = true;
                return;
            }
            Err(Refusal::Failed(failure)) => {
                cursor.budget.refund();
                progress.short = true;
                progress.failure.get_or_insert(failure);
                return;
            }
        };
        let stats = &mut self.unreported.stats;
        let records = page.records.len() as u64;
        let bytes = page.records.iter().map(|record| record.data.as_ref().len()).sum();
        let scan = |record: &Record| scan_record(&self.recognizer, Limits::RECORD, record.data.as_ref());
        let scans: Vec<_> = run_blocking(bytes, || page.records.iter().map(scan).collect());
        for (record, scan) in page.records.into_iter().zip(scans) {
            let data = record.data.as_ref();
            stats.records += 1;
            stats.bytes += data.len() as u64;
            progress.bytes += data.len() as u64;
            stats.decode_errors += u64::from(scan.decode_errors > 0);
            stats.foreign_tags += scan.foreign_tags;
            let arrived = record.approximate_arrival_timestamp.as_ref().map(instant);
            if scan.cut {
                let by = arrived.map_or(answer.ended, |at| answer.ended.min(at + self.settings.lookback));
                let (at, shard) = (&record.sequence_number, &answer.shard);
                self.unreadable
                    .note(by, || format!("record {at} in {shard} of stream {}", self.settings.stream));
            }
            for found in scan.found {
                let at = &record.sequence_number;
                self.unreported.sightings.push(Sighting {
                    tag: found.tag,
                    stamp: arrived.map_or(Stamp::None, Stamp::Millis),
                    seen_by: answer.ended,
                    locator: Locator::new(format!("{}/{at}#{}", answer.shard, found.place)),
                    label: None,
                    integrity: found.integrity,
                    found_in: FoundIn::default(),
                });
            }
            cursor.reached = cursor.reached.max(arrived.unwrap_or(cursor.reached));
            cursor.position = Position::After(record.sequence_number);
        }
        cursor.budget.charge(records, bytes as u64, self.settings.max_bytes_per_second);
        let behind = page.millis_behind_latest;
        let millis = behind.and_then(|millis| u64::try_from(millis).ok());
        cursor.behind = millis.map(Duration::from_millis);
        let at_tip = behind.is_some_and(|millis| millis <= 0);
        if at_tip {
            cursor.tip = Some(progress.started);
            cursor.reached = cursor.reached.max(progress.started - self.settings.settle);
        }
        cursor.iterator = page.next_shard_iterator;
        if cursor.iterator.is_none() {
            cursor.ended = true;
            let children = page.child_shards.unwrap_or_default();
            // The list is the better word on who the parents are, and the only one where the answer names no child.
            self.unlisted = true;
            progress.short |= children.is_empty();
            for child in children {
                let new = || Cursor::new(child.parent_shards, progress.start);
                self.cursors.entry(child.shard_id).or_insert_with(new);
            }
            self.enqueue(progress);
        } else if !at_tip {
            if cursor.pages < self.settings.pages_per_poll && cursor.budget.is_due_within(GAP) {
                progress.queue.push_back(answer.shard);
            } else {
                progress.short = true;
            }
        }
    }

    /// The instant up to which all shards were read.
    fn watermark(&self, progress: &Progress) -> Option<Timestamp> {
        let mut open = self.cursors.values().filter(|cursor| !cursor.ended);
        // A shard that waits for its turn still vouches for what it was read up to in an earlier one.
        let oldest =
            open.try_fold(progress.started, |oldest, cursor| cursor.tip.map(|tip| oldest.min(tip)))?;
        let unreadable =
            progress.queue.iter().any(|id| self.cursors.get(id).is_some_and(|cursor| cursor.pages > 0));
        (!progress.short && !unreadable && !self.cursors.is_empty()).then_some(oldest - self.settings.settle)
    }

    fn arn(&self) -> Option<&str> {
        is_arn(&self.settings.stream).then_some(self.settings.stream.as_str())
    }

    fn requested(&self, operation: &str) -> String {
        format!("{operation} on stream {}", self.settings.stream)
    }
}

impl Observe for Kinesis {
    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let started = self.clock.now();
        let oldest = wanted.oldest().unwrap_or(started).min(started);
        let start = self.start(oldest);
        let mut progress = self.read_source(started, start).await?;
        if let Some(failure) = progress.failure.take() {
            return Err(failure);
        }
        let watermark =
            self.unreadable.allows(self.watermark(&progress), wanted, &self.unreported.sightings)?;
        Ok(self.take_unreported().into_poll(wanted, started, self.clock.now(), watermark))
    }

    fn take_unreported(&mut self) -> Findings {
        let mut found = std::mem::take(&mut self.unreported);
        let open = self.cursors.values().filter(|cursor| !cursor.ended);
        found.stats.behind = open.filter_map(|cursor| cursor.behind).max();
        found
    }

    fn rest(&mut self) {
        self.rested = true;
    }
}

/// To the nearest millisecond: the wire has milliseconds as a fraction of seconds, which a double holds only nearly, so
/// that rounding down would take every other stamp for the millisecond before.
fn instant(date: &DateTime) -> Timestamp {
    const HALF: i128 = 500_000;
    let millis = (date.as_nanos() + HALF).div_euclid(2 * HALF);
    i64::try_from(millis).map_or(Timestamp::MIN, Timestamp::from_millis)
}

#[cfg(test)]
mod tests;
