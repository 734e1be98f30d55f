//! Reads a Kinesis stream with one cursor for each shard, shared by all traces that wait there.
//!
//! The stream itself stamps arrivals, so more frequent reads would not be more precise. They would only take
//! reads from the pipeline, which shares five calls and 2 MiB a second of each shard with us. Therefore a
//! poll goes through the shards once, each within its `budget`. A poll that does not reach the tip of every
//! shard has no watermark, and the next poll continues. A shard that a poll does not call, because there is no
//! time left or the service throttles it, is covered up to the poll that reached its tip.
//!
//! The observer must never conclude anything from an empty answer: only `MillisBehindLatest == 0` says that
//! the tip was reached. A position moves only together with the sightings that were read up to it, so a poll
//! may be dropped at any `await`.
//!
//! With a registered consumer, a cursor has a subscription instead of an iterator, and a poll takes what has come.

mod fan_out;
mod get_records;
mod proof;
mod read_budget;
mod settings;
mod throttling;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ChildShard, Record, Shard, ShardFilter, ShardFilterType};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use self::fan_out::{ARRIVAL, NextEvent, Parked, RESUBSCRIBE, Subscription};
use self::get_records::{Answer, GetRecords, PageError, date, is_arn, is_invalid};
pub use self::read_budget::Pages;
use self::read_budget::{GAP, MAX_WAIT, ReadBudget, Room};
pub(super) use self::settings::SPEC;
pub use self::settings::Settings;
use self::throttling::Throttled;
use super::decode::Limits;
use super::failure::explain;
use super::pace::Rhythm;
use super::{Decoder, Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::cloud::aws::Aws;
use crate::domain::sighting::{FailureKind, Locator, Poll, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};

/// Shards that are read at the same time. An answer may have 10 MiB (Kinesis API reference, GetRecords).
const CONCURRENCY: usize = 4;
/// Most shards of a stream; an account's default quota is 20,000 in the largest regions (Kinesis quotas).
const MAX_SHARDS: usize = 20_000;
/// Shards on a page of ListShards (its default).
const SHARDS_PER_PAGE: i32 = 1_000;
/// Most pages of ListShards: twice as many as the shards fill. A page may be empty although more follow.
const MAX_SHARD_PAGES: usize = 40;
/// Most sightings that are held until the end of a poll.
const MAX_SIGHTINGS: usize = 100_000;

/// Reads one stream.
#[derive(Debug)]
pub struct Kinesis {
    settings: Settings,
    /// The ARN of the stream, once it is known. Calls that name it are subject to policies of endpoints and of the
    /// stream; GetRecords would have no resource without it.
    arn: Option<String>,
    /// What finds the ARN.
    aws: Option<Aws>,
    /// The ARN of the consumer whose name is configured, once it is known.
    consumer: Option<String>,
    /// Limits the answers in memory.
    room: Room,
    client: Client,
    recognizer: Recognizer,
    decoder: Decoder,
    clock: WallClock,
    /// By shard id.
    cursors: BTreeMap<String, Cursor>,
    /// How long a poll may list shards.
    list_time: Duration,
    /// How long a poll begins calls.
    read_time: Duration,
    /// A shard that is throttled for so long is why nothing more is proven.
    throttled_after: Duration,
    /// The latest watermark of all polls.
    proven: Option<Timestamp>,
    /// Whether the shards must be listed before the next read.
    unlisted: bool,
    /// Whether no trace waited since the last poll.
    idle: bool,
    /// Counts polls, so that shards alternate if one poll cannot read them all.
    poll_number: u64,
    /// What was read and not reported yet; a poll may be dropped before its report.
    unreported: Findings,
}

#[derive(Debug)]
struct Cursor {
    /// Shards that must be read to their end before this one.
    parents: Vec<String>,
    position: Position,
    /// A short-lived token for `position`.
    iterator: Option<String>,
    /// What comes from `position` on, with enhanced fan-out.
    subscription: Option<Subscription>,
    /// The same while nothing waits.
    parked: Option<Parked>,
    /// When the service takes another subscription; `None` if at once.
    subscribe_at: Option<Instant>,
    /// Everything that arrived from `begun` up to `reached` has been read, except what settles late.
    begun: Timestamp,
    reached: Timestamp,
    /// The start of the last poll that reached the tip.
    tip: Option<Timestamp>,
    /// The shard is closed and was read to its end.
    ended: bool,
    /// How far behind the tip the last answer was.
    behind: Option<Duration>,
    /// The number of the last poll that queued it.
    queued: u64,
    /// The number of the last poll that read it.
    requested: u64,
    /// Pages that the current poll has requested.
    pages: u8,
    budget: ReadBudget,
    /// Set while its calls are throttled.
    throttled: Option<Throttled>,
}

/// Where to continue in a shard. Unlike an iterator it does not expire.
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
            subscription: None,
            parked: None,
            subscribe_at: None,
            begun: start,
            reached: start,
            tip: None,
            ended: false,
            behind: None,
            queued: 0,
            requested: 0,
            pages: 0,
            budget: ReadBudget::default(),
            throttled: None,
        }
    }

    fn jump(&mut self, to: Timestamp) {
        self.position = Position::From(to);
        self.close();
        self.begun = to;
        self.reached = to;
    }

    /// Reads again from here on, also if it has ended.
    fn restart(&mut self, from: Timestamp) {
        self.jump(from);
        self.tip = None;
        self.behind = None;
        self.ended = false;
    }

    /// Reads from `position` again.
    fn close(&mut self) {
        self.iterator = None;
        self.subscription = None;
    }

    /// The poll with this number requests another page.
    fn begin_page(&mut self, poll_number: u64) {
        self.pages += 1;
        self.requested = poll_number;
    }

    /// Its subscription. Without one, another is to be opened, at this instant if one is named.
    fn take_subscription(&mut self) -> (Option<Subscription>, Option<Instant>) {
        let (subscription, not_before) = (self.subscription.take(), self.subscribe_at);
        if subscription.is_none() {
            let now = Instant::now();
            self.subscribe_at = Some(not_before.map_or(now, |at| at.max(now)) + RESUBSCRIBE);
        }
        (subscription, not_before)
    }

    /// Whether it can be read in a poll that begins now.
    fn is_due(&self, fanned_out: bool) -> bool {
        if !fanned_out {
            return self.budget.is_due();
        }
        self.subscription.is_some() || self.subscribe_at.is_none_or(|at| at <= Instant::now() + MAX_WAIT)
    }

    /// Whether its subscription has to be kept, because another one would be refused.
    fn is_held(&self) -> bool {
        self.subscription.is_some() && self.subscribe_at.is_some_and(|at| at > Instant::now())
    }

    /// Notes how far behind the tip a page ended that is complete up to `at` if it reached the tip. Returns whether
    /// it did.
    fn take_tip(&mut self, millis_behind: Option<i64>, at: Timestamp, settle: Duration) -> bool {
        let millis = millis_behind.and_then(|millis| u64::try_from(millis).ok());
        self.behind = millis.map(Duration::from_millis);
        let at_tip = millis_behind.is_some_and(|millis| millis <= 0);
        if at_tip {
            self.tip = Some(at);
            self.reached = self.reached.max(at - settle);
        }
        at_tip
    }
}

/// The state of one poll, apart from what it found.
struct Progress {
    /// When the poll began.
    started: Timestamp,
    /// The same, to measure how long it takes.
    begun: Instant,
    /// Records that arrived before this are of no interest.
    start: Timestamp,
    queue: VecDeque<String>,
    calls: usize,
    bytes: u64,
    /// Set if a shard was not read to its tip.
    incomplete: bool,
    failure: Option<ObserveError>,
}

impl Kinesis {
    /// Makes an observer of a stream. The client must not retry: the poll loop does.
    #[must_use]
    pub fn new(
        settings: Settings,
        room: Pages,
        client: Client,
        recognizer: Recognizer,
        clock: WallClock,
    ) -> Self {
        let arn = is_arn(&settings.stream).then(|| settings.stream.clone());
        Self {
            settings,
            arn,
            aws: None,
            consumer: None,
            room: room.of_stream(),
            client,
            recognizer,
            decoder: Decoder::default(),
            clock,
            cursors: BTreeMap::new(),
            list_time: Duration::MAX,
            read_time: Duration::MAX,
            throttled_after: Rhythm::USUAL.proof_every,
            proven: None,
            unlisted: true,
            idle: false,
            poll_number: 0,
            unreported: Findings::default(),
        }
    }

    /// Names the stream by its ARN, although only its name is configured.
    pub(super) fn naming(self, aws: Aws) -> Self {
        Self { aws: Some(aws), ..self }
    }

    /// Finds the ARN of the stream. Without it, calls have the name.
    async fn find_arn(&mut self) {
        if let (None, Some(aws)) = (&self.arn, &self.aws) {
            let resource = format!("stream/{}", self.settings.stream);
            self.arn = aws.arn("kinesis", &self.settings.account, &resource).await;
        }
    }

    /// Limits listings to most of the time that a poll may take, and the start of calls to half of it, which leaves
    /// the last of them time to be answered. A poll that is dropped at its timeout could not say that the service
    /// answered all the time.
    pub(super) fn within(self, rhythm: Rhythm) -> Self {
        let (list_time, read_time) = (rhythm.timeout * 9 / 10, rhythm.timeout / 2);
        Self { list_time, read_time, throttled_after: rhythm.proof_every, ..self }
    }

    /// How many shards are known.
    fn shards(&self) -> usize {
        self.cursors.len()
    }

    async fn read_source(
        &mut self,
        started: Timestamp,
        begun: Instant,
        oldest: Timestamp,
    ) -> Result<Progress, ObserveError> {
        let mut start = self.start(oldest);
        self.find_arn().await;
        let consumer = self.find_consumer().await?;
        // A shard that the last list left out, because it had ended too early, may hold an older trace.
        let older = self.cursors.values().any(|cursor| start < cursor.begun);
        if self.unlisted || older {
            let shards = self.list(started, start).await?;
            self.adopt(shards, start);
            // A shard that is read again may hold it back.
            start = self.start(oldest);
        }
        self.poll_number += 1;
        for cursor in self.cursors.values_mut() {
            cursor.subscription = cursor.parked.take().and_then(Parked::take).or(cursor.subscription.take());
        }
        self.aim(start);
        if self.cursors.values().any(|cursor| cursor.subscription.is_some()) {
            tokio::time::sleep(ARRIVAL).await;
        }
        let mut progress = Progress {
            started,
            begun,
            start,
            queue: VecDeque::new(),
            calls: 0,
            bytes: 0,
            incomplete: false,
            failure: None,
        };
        self.enqueue(&mut progress);
        let mut answers = FuturesUnordered::new();
        loop {
            while answers.len() < CONCURRENCY && self.is_within_limits(&progress) {
                let Some(shard) = progress.queue.pop_front() else {
                    break;
                };
                progress.calls += 1;
                let request = match &consumer {
                    Some(consumer) => {
                        self.next_event(shard, consumer, progress.started).map(|it| it.send().left_future())
                    }
                    None => self.get_records(shard).map(|it| it.send().right_future()),
                };
                answers.extend(request);
            }
            match answers.next().await {
                Some(answer) => self.take(answer, &mut progress).await,
                None => return Ok(progress),
            }
        }
    }

    /// The request for the next event of a shard; `None` if it is not known any more.
    fn next_event(&mut self, shard: String, consumer: &str, started: Timestamp) -> Option<NextEvent> {
        let cursor = self.cursors.get_mut(&shard)?;
        cursor.begin_page(self.poll_number);
        let (subscription, not_before) = cursor.take_subscription();
        Some(NextEvent {
            client: self.client.clone(),
            stream: self.settings.stream.clone(),
            consumer: consumer.to_owned(),
            shard,
            position: cursor.position.clone(),
            subscription,
            not_before,
            started,
            room: self.room.clone(),
            clock: self.clock.clone(),
        })
    }

    /// The request for the next page of a shard; `None` if it is not known any more.
    fn get_records(&mut self, shard: String) -> Option<GetRecords> {
        let Settings { max_records_per_call, max_bytes_per_second, .. } = self.settings;
        let cursor = self.cursors.get_mut(&shard)?;
        cursor.begin_page(self.poll_number);
        Some(GetRecords {
            client: self.client.clone(),
            stream: self.settings.stream.clone(),
            arn: self.arn.clone(),
            limit: cursor.budget.limit(max_records_per_call, max_bytes_per_second),
            not_before: cursor.budget.take_slot(),
            room: self.room.clone(),
            shard,
            position: cursor.position.clone(),
            iterator: cursor.iterator.clone(),
            clock: self.clock.clone(),
        })
    }

    fn is_within_limits(&self, progress: &Progress) -> bool {
        // However long the shards took to list, some are read.
        let in_time = progress.calls < CONCURRENCY || progress.begun.elapsed() < self.read_time;
        in_time
            && progress.calls < self.settings.max_calls_per_poll
            && progress.bytes < self.settings.max_bytes_per_poll
            && self.unreported.sightings.len() < MAX_SIGHTINGS
    }

    /// Lists all shards that can hold records since `start`.
    async fn list(&self, started: Timestamp, start: Timestamp) -> Result<Vec<Shard>, ObserveError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        let mut filtered = true;
        let mut pages = 0;
        while pages < MAX_SHARD_PAGES && self.clock.now().since(started) < self.list_time {
            let mut request = self.client.list_shards().max_results(SHARDS_PER_PAGE);
            request = match token.take() {
                // A token implies the stream and the filter; sending them again is an error.
                Some(token) => request.next_token(token),
                None => {
                    let filter = ShardFilter::builder()
                        .r#type(ShardFilterType::FromTimestamp)
                        .timestamp(date(start))
                        .build()
                        .ok()
                        .filter(|_| filtered);
                    let request = request.set_shard_filter(filter);
                    match &self.arn {
                        Some(arn) => request.stream_arn(arn),
                        None => request.stream_name(&self.settings.stream),
                    }
                }
            };
            let answer = request.send().await;
            pages += 1;
            let page = match answer {
                Ok(page) => page,
                // A timestamp before the creation of the stream is refused; then list all shards.
                Err(error) if filtered && is_invalid(error.code()) => {
                    filtered = false;
                    shards.clear();
                    continue;
                }
                Err(error) => return Err(explain(&self.call("ListShards"), &error)),
            };
            shards.extend(page.shards.unwrap_or_default());
            if shards.len() > MAX_SHARDS {
                let text = format!("{}: more than {MAX_SHARDS} shards", self.call("ListShards"));
                return Err(ObserveError::new(FailureKind::OverBudget, text));
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
        let (call, found) = (self.call("ListShards"), shards.len());
        let secs = self.clock.now().since(started).as_secs();
        let text = format!("{call}: answered {pages} pages with {found} shards in {secs} s, more follow");
        Err(ObserveError::new(FailureKind::OverBudget, text))
    }

    /// Makes a cursor for each listed shard; known shards keep theirs. One that ended, is listed as open, and has no
    /// children is read again from `start` or a little before its end: an answer was wrong, or the stream was deleted
    /// and created again, and the ids of its shards, too. What is read twice has the same locators.
    fn adopt(&mut self, shards: Vec<Shard>, start: Timestamp) {
        let open: Vec<String> =
            shards.iter().filter(|shard| is_open(shard)).map(|shard| shard.shard_id.clone()).collect();
        let mut known = std::mem::take(&mut self.cursors);
        for shard in shards {
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
            let parents = parents.into_iter().flatten().collect();
            let cursor = match known.remove(&shard.shard_id) {
                Some(cursor) => Cursor { parents, ..cursor },
                None => Cursor::new(parents, start),
            };
            self.cursors.insert(shard.shard_id, cursor);
        }
        // The list may lag behind the children that GetRecords reported. Reads of shards that are gone fail.
        known.retain(|_, cursor| !cursor.ended);
        self.cursors.append(&mut known);
        let parents: HashSet<String> =
            self.cursors.values().flat_map(|cursor| &cursor.parents).cloned().collect();
        for id in open.iter().filter(|id| !parents.contains(*id)) {
            if let Some(cursor) = self.cursors.get_mut(id).filter(|cursor| cursor.ended) {
                cursor.restart(start.min(cursor.reached - self.settings.lookback));
            }
        }
        self.unlisted = false;
    }

    /// Returns the instant from which records are of interest. If gaps are read, it is at most the position
    /// of the slowest cursor. Then no cursor skips ahead, and shards that were opened since are read from
    /// early enough.
    fn start(&self, oldest: Timestamp) -> Timestamp {
        let waiting_since = oldest - self.settings.lookback;
        match self.settings.gaps {
            Gaps::Skip => waiting_since,
            Gaps::Read => {
                let open = self.cursors.values().filter(|cursor| !cursor.ended);
                open.map(|cursor| cursor.reached).fold(waiting_since, Timestamp::min)
            }
        }
    }

    /// Moves cursors that are too far back forward to `start`, so that records of no interest are not read,
    /// and moves cursors that began too late back to it.
    fn aim(&mut self, start: Timestamp) {
        let slack = if self.idle { Duration::ZERO } else { self.settings.lookback };
        self.idle = false;
        for cursor in self.cursors.values_mut() {
            if start < cursor.begun {
                // An older trace waits now, and what arrived before `begun` has not been read.
                cursor.restart(start);
            } else if cursor.reached + slack < start && !cursor.ended && !cursor.is_held() {
                cursor.jump(start);
            }
        }
    }

    /// Queues all shards that can be read and have not been queued in this poll, those first that were read
    /// longest ago.
    fn enqueue(&mut self, progress: &mut Progress) {
        let ready = |cursor: &Cursor| {
            let mut parents = cursor.parents.iter();
            // A parent that is not listed ended before `start`.
            !cursor.ended && parents.all(|id| self.cursors.get(id).is_none_or(|it| it.ended))
        };
        let fresh = |cursor: &Cursor| cursor.queued < self.poll_number && ready(cursor);
        let readable = self.cursors.iter().filter(|(_, cursor)| fresh(cursor));
        let fanned_out = self.settings.consumer.is_some();
        let (due, over_budget): (Vec<_>, Vec<_>) =
            readable.partition(|(_, cursor)| cursor.is_due(fanned_out));
        // A shard at its tip is covered up to the poll that reached it; the others have more to read.
        progress.incomplete |= over_budget.iter().any(|(_, cursor)| cursor.behind != Some(Duration::ZERO));
        let mut queue: Vec<(u64, String)> =
            due.into_iter().map(|(id, cursor)| (cursor.requested, id.clone())).collect();
        queue.sort();
        for (_, id) in queue {
            if let Some(cursor) = self.cursors.get_mut(&id) {
                cursor.queued = self.poll_number;
                cursor.pages = 0;
            }
            progress.queue.push_back(id);
        }
    }

    /// Processes one answer: its records, the position that it reached, and the shards that follow.
    async fn take(&mut self, answer: Answer, progress: &mut Progress) {
        let Some(cursor) = self.cursors.get_mut(&answer.shard) else {
            return;
        };
        cursor.iterator = answer.iterator;
        let page = match answer.page {
            Ok(Some(page)) => {
                cursor.throttled = None;
                page
            }
            Ok(None) => {
                cursor.throttled = None;
                cursor.subscription = answer.subscription;
                // A shard at its tip is covered up to when that was known.
                progress.incomplete |= cursor.behind != Some(Duration::ZERO);
                return;
            }
            Err(error) => return self.take_error(&answer.shard, error, progress),
        };
        let all = self.take_records(&answer.shard, page.records, answer.received_at, progress).await;
        let Some(cursor) = self.cursors.get_mut(&answer.shard) else {
            return;
        };
        if !all {
            // The next poll goes on behind the last record that was decoded in time.
            cursor.close();
            progress.incomplete = true;
            return;
        }
        let complete_up_to = page.complete_up_to.unwrap_or(progress.started);
        let at_tip = cursor.take_tip(page.millis_behind, complete_up_to, self.settings.settle);
        cursor.iterator = page.iterator;
        if let Some(sequence) = page.continuation {
            cursor.position = Position::After(sequence);
        }
        if let Some(children) = page.children {
            cursor.ended = true;
            self.take_children(children, progress);
        } else if let Some(subscription) = answer.subscription {
            // Until nothing more has come.
            cursor.subscription = Some(subscription);
            progress.queue.push_back(answer.shard);
        } else if !at_tip {
            if cursor.pages < self.settings.pages_per_poll && cursor.budget.is_due_within(GAP) {
                progress.queue.push_back(answer.shard);
            } else {
                progress.incomplete = true;
            }
        }
    }

    fn take_error(&mut self, shard: &str, error: PageError, progress: &mut Progress) {
        let Some(cursor) = self.cursors.get_mut(shard) else {
            progress.incomplete = true;
            return;
        };
        // A shard that is throttled at its tip is covered up to the poll that reached it, as one over its budget is.
        progress.incomplete |= !error.is_throttled() || cursor.behind != Some(Duration::ZERO);
        match error {
            PageError::Absent(failure) => {
                // The shard, for the same reasons, or the consumer, which may have been registered again.
                self.cursors.remove(shard);
                self.unlisted = true;
                self.consumer = None;
                progress.failure.get_or_insert(failure);
            }
            PageError::ShardGone => {
                // Its retention is over, or the stream was deleted and created again: list the shards again.
                self.cursors.remove(shard);
                self.unlisted = true;
            }
            PageError::PositionLost => {
                // Read again from a little before the last record. If the stream was deleted and created again, it may
                // have more shards now.
                let begun = cursor.begun;
                cursor.jump((cursor.reached - self.settings.lookback).max(progress.start));
                cursor.begun = begun.min(cursor.begun);
                self.unlisted = true;
            }
            PageError::Failed(failure) if failure.kind == FailureKind::Throttled => cursor.back_off(failure),
            PageError::Failed(failure) => {
                cursor.budget.refund();
                progress.failure.get_or_insert(failure);
            }
        }
    }

    /// Scans records for canaries, and moves the cursor behind them. Returns whether there was time for all.
    async fn take_records(
        &mut self,
        shard: &str,
        records: Vec<Record>,
        received_at: Timestamp,
        progress: &mut Progress,
    ) -> bool {
        let count = records.len();
        let (heads, data): (Vec<_>, Vec<_>) = records
            .into_iter()
            .map(|record| {
                let head = (record.sequence_number, record.approximate_arrival_timestamp);
                (head, record.data.into_inner())
            })
            .unzip();
        let lens: Vec<_> = data.iter().map(|data| data.len() as u64).collect();
        let bytes = lens.iter().sum();
        let name = format!("records in {shard} of stream {}", self.settings.stream);
        let scans = self.decoder.scan(&name, &self.recognizer, Limits::RECORD, data).await;
        let Some(cursor) = self.cursors.get_mut(shard) else {
            return false;
        };
        let all = scans.len() == count;
        self.unreported.stats.records += scans.len() as u64;
        self.unreported.stats.bytes += lens.iter().take(scans.len()).sum::<u64>();
        progress.bytes += bytes;
        for ((sequence, arrived), scan) in heads.into_iter().zip(scans) {
            let Findings { sightings, stats, .. } = &mut self.unreported;
            stats.decode_errors += u64::from(!scan.unreadable.is_empty());
            stats.foreign_tags += scan.foreign_tags;
            let remark = scan.remark();
            let arrived = arrived.as_ref().map(instant);
            sightings.extend(scan.found.into_iter().map(|found| Sighting {
                tag: found.tag,
                stamp: arrived.map_or(Stamp::None, Stamp::Millis),
                seen_by: received_at,
                locator: Locator::within(&format!("{shard}/{sequence}"), found.place),
                label: None,
                integrity: found.integrity,
                found_in: found.found_in,
            }));
            let by = arrived.map_or(received_at, |at| received_at.min(at + self.settings.lookback));
            let name = || format!("record {sequence} in {shard} of stream {}{remark}", self.settings.stream);
            self.unreported.note_unreadable(by, &scan.unreadable, None, name);
            cursor.reached = cursor.reached.max(arrived.unwrap_or(cursor.reached));
            cursor.position = Position::After(sequence);
        }
        cursor.budget.charge(count as u64, bytes, self.settings.max_bytes_per_second);
        all
    }

    /// Queues the children of a shard that was read to its end.
    fn take_children(&mut self, children: Vec<ChildShard>, progress: &mut Progress) {
        // The list is more reliable about parents, and the only source if the answer names no child.
        self.unlisted = true;
        progress.incomplete |= children.is_empty();
        for child in children {
            let new = || Cursor::new(child.parent_shards, progress.start);
            self.cursors.entry(child.shard_id).or_insert_with(new);
        }
        self.enqueue(progress);
    }

    /// Returns the instant up to which all shards were read; `None` if one was not read to its tip, or if none is
    /// open: a stream always has an open shard, which is then not known.
    fn watermark(&self, progress: &Progress) -> Option<Timestamp> {
        let mut open = self.cursors.values().filter(|cursor| !cursor.ended).peekable();
        open.peek()?;
        // A shard that this poll did not read is still covered up to an earlier poll that reached its tip.
        let oldest =
            open.try_fold(progress.started, |oldest, cursor| cursor.tip.map(|tip| oldest.min(tip)))?;
        let half_read =
            progress.queue.iter().any(|id| self.cursors.get(id).is_some_and(|cursor| cursor.pages > 0));
        let complete = !progress.incomplete && !half_read;
        complete.then_some(oldest - self.settings.settle)
    }

    /// Returns how far the slowest open shard is behind its tip.
    fn behind(&self) -> Option<Duration> {
        let open = self.cursors.values().filter(|cursor| !cursor.ended);
        open.filter_map(|cursor| cursor.behind).max()
    }

    /// Names a call for people.
    fn call(&self, operation: &str) -> String {
        format!("{operation} on stream {}", self.settings.stream)
    }
}

impl Observe for Kinesis {
    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let (started, begun) = (self.clock.now(), Instant::now());
        let oldest = wanted.oldest().unwrap_or(started).min(started);
        let mut progress = self.read_source(started, begun, oldest).await?;
        if let Some(failure) = progress.failure.take() {
            return Err(failure);
        }
        let (watermark, finished) = (self.watermark(&progress), self.clock.now());
        if let Some(failure) = self.why_throttled(watermark) {
            return Err(failure);
        }
        self.proven = self.proven.max(watermark);
        self.unreported.stats.behind = self.behind();
        Ok(std::mem::take(&mut self.unreported).into_poll(wanted, started, finished, watermark))
    }

    fn take_unreported(&mut self) -> Findings {
        self.unreported.stats.behind = self.behind();
        std::mem::take(&mut self.unreported)
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        Some(&mut self.decoder)
    }

    fn on_idle(&mut self) {
        self.idle = true;
        // What nobody waits for need not be sent.
        for cursor in self.cursors.values_mut() {
            // While it is not called, nothing is known of it.
            cursor.throttled = None;
            let held = cursor.is_held();
            // The loop calls this again while nothing waits, and what is parked stays so.
            let Some(subscription) = cursor.subscription.take() else { continue };
            let subscription = Some(subscription).filter(|_| held);
            cursor.parked = subscription.zip(cursor.subscribe_at).map(|(it, at)| Parked::until(at, it));
        }
    }
}

/// Whether a listed shard still takes records: a closed one has the number at which it ended (Kinesis API reference,
/// SequenceNumberRange).
fn is_open(shard: &Shard) -> bool {
    shard.sequence_number_range.as_ref().is_none_or(|range| range.ending_sequence_number.is_none())
}

/// Rounds to the nearest millisecond. The wire format has milliseconds as a fraction of seconds, which a
/// double holds only approximately, so that rounding down would turn every other stamp into the millisecond
/// before.
fn instant(date: &DateTime) -> Timestamp {
    const HALF: i128 = 500_000;
    let millis = (date.as_nanos() + HALF).div_euclid(2 * HALF);
    i64::try_from(millis).map_or(Timestamp::MIN, Timestamp::from_millis)
}

#[cfg(test)]
mod tests;
