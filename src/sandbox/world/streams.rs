//! Kinesis streams: shards that split, records in order of arrival, iterators that expire, and read limits.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::super::clock::Micros;

/// The most GetRecords calls per second and shard (AWS Kinesis API reference).
const CALLS_PER_SECOND: usize = 5;
/// The most bytes in one response of GetRecords (AWS Kinesis API reference).
const PAGE_BYTES: usize = 10 << 20;
/// An iterator is valid for five minutes (AWS Kinesis API reference).
const ITERATOR_TTL: Duration = Duration::from_secs(300);

/// One record. Sequence numbers are unique in the stream and increase.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub sequence: u64,
    pub arrived_at: Micros,
    pub partition_key: String,
    pub data: Bytes,
}

/// One shard, open or closed.
#[derive(Debug)]
pub(crate) struct Shard {
    pub id: String,
    pub parent: Option<String>,
    /// First and last hash key, both inclusive.
    pub hash_keys: (u128, u128),
    /// The first sequence number that it can hold.
    pub first_sequence: u64,
    /// The last sequence number that it can hold; `None` while the shard is open.
    pub last_sequence: Option<u64>,
    pub created_at: Micros,
    pub closed_at: Option<Micros>,
    pub records: VecDeque<Record>,
    /// Times of the GetRecords calls of the last second, oldest first; for the read limit.
    recent_calls: VecDeque<Micros>,
}

/// One tenant's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub name: String,
    pub created_at: Micros,
    pub shards: Vec<Shard>,
    /// The sequence number of the next record.
    next_sequence: u64,
    /// Iterators that were issued in an older generation have expired; a fault increases it.
    pub generation: u64,
}

/// A shard iterator: a position in a shard, which expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    /// The shard's id.
    pub shard: String,
    /// The sequence number of the next record to read.
    pub next_sequence: u64,
    pub issued_at: Micros,
    pub generation: u64,
}

/// Where to start reading (`ShardIteratorType`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    TrimHorizon,
    Latest,
    AtSequence(u64),
    AfterSequence(u64),
    AtTime(Micros),
}

/// One response of GetRecords.
#[derive(Debug)]
pub(crate) struct Page {
    pub records: Vec<Record>,
    /// `None` at the end of a closed shard.
    pub next_iterator: Option<ShardIterator>,
    /// How long ago the next record after this page arrived; zero if there is none (`MillisBehindLatest`).
    pub behind: Duration,
    /// Where to continue after the end of a closed shard; empty on every other page.
    pub children: Vec<ChildShard>,
}

/// A shard into which a closed one was split (`ChildShard`).
#[derive(Debug)]
pub(crate) struct ChildShard {
    pub id: String,
    /// Id of the shard that was split.
    pub parent: String,
    /// First and last hash key, both inclusive.
    pub hash_keys: (u128, u128),
}

/// Why a shard cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StreamError {
    NoSuchShard,
    Expired,
    Throttled,
}

impl Stream {
    pub(crate) fn new(name: &str, shards: usize, created_at: Micros) -> Self {
        let count = shards.max(1) as u128;
        let width = u128::MAX / count;
        let shards = (0..count)
            .map(|n| {
                let last = if n + 1 == count { u128::MAX } else { width * (n + 1) - 1 };
                Shard::new(usize::try_from(n).unwrap_or(0), None, (width * n, last), 1, created_at)
            })
            .collect();
        Self { name: name.to_owned(), created_at, shards, next_sequence: 1, generation: 0 }
    }

    /// Stores a record in the open shard of its partition key, and returns the shard's id and the sequence
    /// number. The stream keeps about `max_records` records and drops the oldest.
    pub(crate) fn put(
        &mut self,
        partition_key: String,
        data: Bytes,
        at: Micros,
        max_records: usize,
    ) -> (String, u64) {
        let hash_key = u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into());
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let index = self
            .shards
            .iter()
            .position(|shard| {
                shard.last_sequence.is_none()
                    && shard.hash_keys.0 <= hash_key
                    && hash_key <= shard.hash_keys.1
            })
            .unwrap_or(0);
        let shard = &mut self.shards[index];
        // A clock that was set back must not reorder the records of a shard.
        let arrived_at = shard.records.back().map_or(at, |last| last.arrived_at.max(at));
        shard.records.push_back(Record { sequence, arrived_at, partition_key, data });
        let per_shard = (max_records / self.shards.len()).max(1);
        while self.shards[index].records.len() > per_shard {
            self.shards[index].records.pop_front();
        }
        (self.shards[index].id.clone(), sequence)
    }

    /// Splits every open shard in two.
    pub(crate) fn reshard(&mut self, at: Micros) {
        let boundary = self.next_sequence;
        self.next_sequence += 1;
        let mut children = Vec::new();
        let first_index = self.shards.len();
        for shard in self.shards.iter_mut().filter(|shard| shard.last_sequence.is_none()) {
            shard.last_sequence = Some(boundary);
            shard.closed_at = Some(at);
            let (low, high) = shard.hash_keys;
            let middle = low + (high - low) / 2;
            for hash_keys in [(low, middle), (middle + 1, high)] {
                let index = first_index + children.len();
                children.push(Shard::new(index, Some(shard.id.clone()), hash_keys, boundary + 1, at));
            }
        }
        self.shards.extend(children);
    }

    /// Removes old records, and empty shards that were closed before `horizon`.
    pub(crate) fn forget_before(&mut self, horizon: Micros) {
        for shard in &mut self.shards {
            while shard.records.front().is_some_and(|record| record.arrived_at < horizon) {
                shard.records.pop_front();
            }
        }
        self.shards.retain(|shard| {
            !shard.records.is_empty() || shard.closed_at.is_none_or(|closed| closed >= horizon)
        });
    }

    /// Opens an iterator (GetShardIterator).
    pub(crate) fn iterator(
        &self,
        shard_id: &str,
        start: Start,
        now: Micros,
    ) -> Result<ShardIterator, StreamError> {
        let shard = self.shards.iter().find(|shard| shard.id == shard_id).ok_or(StreamError::NoSuchShard)?;
        let next_sequence = match start {
            Start::TrimHorizon => {
                shard.records.front().map_or(shard.first_sequence, |record| record.sequence)
            }
            Start::Latest => shard.last_sequence.map_or(self.next_sequence, |last| last + 1),
            Start::AtSequence(sequence) => sequence,
            Start::AfterSequence(sequence) => sequence.saturating_add(1),
            Start::AtTime(time) => {
                let found = shard.records.iter().find(|record| record.arrived_at >= time);
                found.map_or_else(
                    || shard.last_sequence.unwrap_or(self.next_sequence),
                    |record| record.sequence,
                )
            }
        };
        Ok(ShardIterator {
            shard: shard.id.clone(),
            next_sequence,
            issued_at: now,
            generation: self.generation,
        })
    }

    /// Reads a page (GetRecords). With `hide_records`, it returns no records even if there are some, and the
    /// next iterator has the same position.
    pub(crate) fn read(
        &mut self,
        iterator: &ShardIterator,
        limit: usize,
        hide_records: bool,
        now: Micros,
    ) -> Result<Page, StreamError> {
        if iterator.generation < self.generation || now.since(iterator.issued_at) > ITERATOR_TTL {
            return Err(StreamError::Expired);
        }
        let generation = self.generation;
        let index = self
            .shards
            .iter()
            .position(|shard| shard.id == iterator.shard)
            .ok_or(StreamError::NoSuchShard)?;
        let shard = &mut self.shards[index];
        let window_start = now.before(Duration::from_secs(1));
        while shard.recent_calls.front().is_some_and(|call| *call <= window_start) {
            shard.recent_calls.pop_front();
        }
        if shard.recent_calls.len() >= CALLS_PER_SECOND {
            return Err(StreamError::Throttled);
        }
        shard.recent_calls.push_back(now);
        let mut page =
            Page { records: Vec::new(), next_iterator: None, behind: Duration::ZERO, children: Vec::new() };
        let mut next_sequence = iterator.next_sequence;
        if !hide_records {
            let first = shard.records.partition_point(|record| record.sequence < iterator.next_sequence);
            let mut bytes = 0;
            for record in shard.records.range(first..).take(limit) {
                bytes += record.data.len() + record.partition_key.len();
                if bytes > PAGE_BYTES && !page.records.is_empty() {
                    break;
                }
                next_sequence = record.sequence + 1;
                page.records.push(record.clone());
            }
        }
        let next_record =
            shard.records.get(shard.records.partition_point(|record| record.sequence < next_sequence));
        if let Some(next_record) = next_record {
            page.behind = now.since(next_record.arrived_at).max(Duration::from_millis(1));
        }
        if next_record.is_none() && shard.last_sequence.is_some() && !hide_records {
            let id = shard.id.clone();
            page.children = self
                .shards
                .iter()
                .filter(|child| child.parent.as_ref() == Some(&id))
                .map(|child| ChildShard {
                    id: child.id.clone(),
                    parent: id.clone(),
                    hash_keys: child.hash_keys,
                })
                .collect();
        } else {
            page.next_iterator =
                Some(ShardIterator { shard: shard.id.clone(), next_sequence, issued_at: now, generation });
        }
        Ok(page)
    }
}

impl Shard {
    fn new(
        index: usize,
        parent: Option<String>,
        hash_keys: (u128, u128),
        first_sequence: u64,
        created_at: Micros,
    ) -> Self {
        Self {
            id: format!("shardId-{index:012}"),
            parent,
            hash_keys,
            first_sequence,
            last_sequence: None,
            created_at,
            closed_at: None,
            records: VecDeque::new(),
            recent_calls: VecDeque::new(),
        }
    }
}

/// Writes a sequence number as Kinesis does: with 56 digits.
pub(crate) fn sequence_text(sequence: u64) -> String {
    format!("49{sequence:054}")
}

/// Parses the output of [`sequence_text`].
pub(crate) fn sequence_number(text: &str) -> Option<u64> {
    text.strip_prefix("49").filter(|digits| digits.len() == 54)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    fn put(stream: &mut Stream, n: u64, at: Micros) -> String {
        stream.put(format!("key{n}"), Bytes::from(n.to_string()), at, 1_000).0
    }

    #[test]
    fn keys_spread_over_the_shards() {
        let mut stream = Stream::new("s", 2, t(0));
        for n in 0..100 {
            put(&mut stream, n, t(1));
        }
        assert!(stream.shards.iter().all(|shard| shard.records.len() > 20));
    }

    #[test]
    fn a_closed_shard_ends_with_its_children_and_without_an_iterator() {
        let mut stream = Stream::new("s", 1, t(0));
        put(&mut stream, 1, t(1));
        let iterator = stream.iterator("shardId-000000000000", Start::TrimHorizon, t(1)).unwrap();
        stream.reshard(t(2));
        let child = put(&mut stream, 2, t(3));
        let page = stream.read(&iterator, 10, false, t(3)).unwrap();
        assert_eq!(page.records.len(), 1);
        assert_eq!(page.next_iterator, None);
        assert_eq!(page.children.len(), 2);
        assert!(page.children.iter().any(|other| other.id == child));
    }

    #[test]
    fn only_the_last_page_is_not_behind() {
        let mut stream = Stream::new("s", 1, t(0));
        put(&mut stream, 1, t(1));
        put(&mut stream, 2, t(2));
        let iterator = stream.iterator("shardId-000000000000", Start::TrimHorizon, t(2)).unwrap();
        let page = stream.read(&iterator, 1, false, t(10)).unwrap();
        assert_eq!((page.records.len(), page.behind), (1, Duration::from_secs(8)));
        let page = stream.read(&page.next_iterator.unwrap(), 1, false, t(12)).unwrap();
        assert_eq!((page.records.len(), page.behind), (1, Duration::ZERO));
    }

    #[test]
    fn the_sixth_call_in_a_second_is_throttled() {
        let mut stream = Stream::new("s", 1, t(0));
        let iterator = stream.iterator("shardId-000000000000", Start::Latest, t(1)).unwrap();
        for _ in 0..5 {
            assert!(stream.read(&iterator, 1, false, t(1)).is_ok());
        }
        assert_eq!(stream.read(&iterator, 1, false, t(1)).unwrap_err(), StreamError::Throttled);
        assert!(stream.read(&iterator, 1, false, t(2)).is_ok());
    }

    #[test]
    fn an_iterator_expires_by_age_and_by_generation() {
        let mut stream = Stream::new("s", 1, t(0));
        let iterator = stream.iterator("shardId-000000000000", Start::Latest, t(1)).unwrap();
        assert_eq!(stream.read(&iterator, 1, false, t(302)).unwrap_err(), StreamError::Expired);
        stream.generation += 1;
        assert_eq!(stream.read(&iterator, 1, false, t(2)).unwrap_err(), StreamError::Expired);
    }

    #[test]
    fn at_timestamp_starts_at_the_first_record_not_older() {
        let mut stream = Stream::new("s", 1, t(0));
        for n in 1..=3 {
            put(&mut stream, n, t(n as i64));
        }
        let iterator = stream.iterator("shardId-000000000000", Start::AtTime(t(2)), t(4)).unwrap();
        assert_eq!(stream.read(&iterator, 10, false, t(4)).unwrap().records.len(), 2);
    }

    #[test]
    fn a_sequence_number_prints_and_parses() {
        assert_eq!(sequence_text(7).len(), 56);
        assert_eq!(sequence_number(&sequence_text(7)), Some(7));
        assert_eq!(sequence_number("12"), None);
    }
}
