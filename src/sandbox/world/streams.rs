//! Kinesis streams: shards that split, records in the order of their arrival, iterators that expire, and read
//! limits.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::super::clock::Micros;

/// GetRecords calls per shard and second (AWS Kinesis API reference).
const CALLS_PER_SECOND: usize = 5;
/// Bytes in one answer of GetRecords (AWS Kinesis API reference).
const PAGE_BYTES: usize = 10 << 20;
/// An iterator is valid for five minutes (AWS Kinesis API reference).
const ITERATOR_TTL: Duration = Duration::from_secs(300);

/// One record. Its sequence number is unique in the stream and increases.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub sequence: u64,
    pub arrived: Micros,
    pub partition_key: String,
    pub data: Bytes,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub id: String,
    pub parent: Option<String>,
    /// Inclusive bounds of the hash keys.
    pub range: (u128, u128),
    /// First sequence number that it can hold.
    pub start: u64,
    /// Last sequence number that it can hold; `None` while it is open.
    pub end: Option<u64>,
    pub created: Micros,
    pub closed_at: Option<Micros>,
    pub records: VecDeque<Record>,
    calls: VecDeque<Micros>,
}

/// One tenant's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub name: String,
    pub created: Micros,
    pub shards: Vec<Shard>,
    next_sequence: u64,
    /// Iterators of an older generation have expired.
    pub generation: u64,
}

/// A position in a shard: the next sequence number to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub shard: String,
    pub next: u64,
    pub issued: Micros,
    pub generation: u64,
}

/// Where to start reading.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    TrimHorizon,
    Latest,
    At(u64),
    After(u64),
    Time(Micros),
}

/// One answer of GetRecords.
#[derive(Debug)]
pub(crate) struct Page {
    pub records: Vec<Record>,
    /// `None` at the end of a closed shard.
    pub next: Option<Cursor>,
    pub behind: Duration,
    /// Children of a closed shard that was read to its end: id, parent's id, range of hash keys.
    pub children: Vec<(String, String, (u128, u128))>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    NoSuchShard,
    Expired,
    Throttled,
}

impl Stream {
    pub(crate) fn new(name: &str, shards: usize, created: Micros) -> Self {
        let count = shards.max(1) as u128;
        let width = u128::MAX / count;
        let shards = (0..count)
            .map(|n| {
                let last = if n + 1 == count { u128::MAX } else { width * (n + 1) - 1 };
                Shard::new(usize::try_from(n).unwrap_or(0), None, (width * n, last), 1, created)
            })
            .collect();
        Self { name: name.to_owned(), created, shards, next_sequence: 1, generation: 0 }
    }

    /// Stores a record in the open shard of its key, and returns the shard's id and the sequence number.
    pub(crate) fn put(
        &mut self,
        partition_key: String,
        data: Bytes,
        at: Micros,
        capacity: usize,
    ) -> (String, u64) {
        let key = u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into());
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let index = self
            .shards
            .iter()
            .position(|shard| shard.end.is_none() && shard.range.0 <= key && key <= shard.range.1)
            .unwrap_or(0);
        let shard = &mut self.shards[index];
        // A clock that was set back must not reorder the records of a shard.
        let arrived = shard.records.back().map_or(at, |last| last.arrived.max(at));
        shard.records.push_back(Record { sequence, arrived, partition_key, data });
        let per_shard = (capacity / self.shards.len()).max(1);
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
        let first = self.shards.len();
        for shard in self.shards.iter_mut().filter(|shard| shard.end.is_none()) {
            shard.end = Some(boundary);
            shard.closed_at = Some(at);
            let (low, high) = shard.range;
            let middle = low + (high - low) / 2;
            for range in [(low, middle), (middle + 1, high)] {
                let index = first + children.len();
                children.push(Shard::new(index, Some(shard.id.clone()), range, boundary + 1, at));
            }
        }
        self.shards.extend(children);
    }

    /// Removes old records, and empty shards that were closed before `horizon`.
    pub(crate) fn forget_before(&mut self, horizon: Micros) {
        for shard in &mut self.shards {
            while shard.records.front().is_some_and(|record| record.arrived < horizon) {
                shard.records.pop_front();
            }
        }
        self.shards.retain(|shard| {
            !shard.records.is_empty() || shard.closed_at.is_none_or(|closed| closed >= horizon)
        });
    }

    pub(crate) fn cursor(&self, shard_id: &str, start: Start, now: Micros) -> Result<Cursor, ReadError> {
        let shard = self.shards.iter().find(|shard| shard.id == shard_id).ok_or(ReadError::NoSuchShard)?;
        let next = match start {
            Start::TrimHorizon => shard.records.front().map_or(shard.start, |record| record.sequence),
            Start::Latest => shard.end.map_or(self.next_sequence, |end| end + 1),
            Start::At(sequence) => sequence,
            Start::After(sequence) => sequence.saturating_add(1),
            Start::Time(time) => {
                let found = shard.records.iter().find(|record| record.arrived >= time);
                found.map_or_else(|| shard.end.unwrap_or(self.next_sequence), |record| record.sequence)
            }
        };
        Ok(Cursor { shard: shard.id.clone(), next, issued: now, generation: self.generation })
    }

    /// Reads a page. With `blind`, it returns no records although there may be some, and the cursor stays.
    pub(crate) fn read(
        &mut self,
        cursor: &Cursor,
        limit: usize,
        blind: bool,
        now: Micros,
    ) -> Result<Page, ReadError> {
        if cursor.generation < self.generation || now.since(cursor.issued) > ITERATOR_TTL {
            return Err(ReadError::Expired);
        }
        let generation = self.generation;
        let index =
            self.shards.iter().position(|shard| shard.id == cursor.shard).ok_or(ReadError::NoSuchShard)?;
        let shard = &mut self.shards[index];
        let window = now.before(Duration::from_secs(1));
        while shard.calls.front().is_some_and(|call| *call <= window) {
            shard.calls.pop_front();
        }
        if shard.calls.len() >= CALLS_PER_SECOND {
            return Err(ReadError::Throttled);
        }
        shard.calls.push_back(now);
        let mut page = Page { records: Vec::new(), next: None, behind: Duration::ZERO, children: Vec::new() };
        let mut next = cursor.next;
        if !blind {
            let first = shard.records.partition_point(|record| record.sequence < cursor.next);
            let mut bytes = 0;
            for record in shard.records.range(first..).take(limit) {
                bytes += record.data.len() + record.partition_key.len();
                if bytes > PAGE_BYTES && !page.records.is_empty() {
                    break;
                }
                next = record.sequence + 1;
                page.records.push(record.clone());
            }
        }
        let waiting = shard.records.get(shard.records.partition_point(|record| record.sequence < next));
        if let Some(waiting) = waiting {
            page.behind = now.since(waiting.arrived).max(Duration::from_millis(1));
        }
        if waiting.is_none() && shard.end.is_some() && !blind {
            let id = shard.id.clone();
            page.children = self
                .shards
                .iter()
                .filter(|child| child.parent.as_ref() == Some(&id))
                .map(|child| (child.id.clone(), id.clone(), child.range))
                .collect();
        } else {
            page.next = Some(Cursor { shard: shard.id.clone(), next, issued: now, generation });
        }
        Ok(page)
    }
}

impl Shard {
    fn new(index: usize, parent: Option<String>, range: (u128, u128), start: u64, created: Micros) -> Self {
        Self {
            id: format!("shardId-{index:012}"),
            parent,
            range,
            start,
            end: None,
            created,
            closed_at: None,
            records: VecDeque::new(),
            calls: VecDeque::new(),
        }
    }
}

/// A sequence number as Kinesis prints it: 56 digits.
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
        let cursor = stream.cursor("shardId-000000000000", Start::TrimHorizon, t(1)).unwrap();
        stream.reshard(t(2));
        let child = put(&mut stream, 2, t(3));
        let page = stream.read(&cursor, 10, false, t(3)).unwrap();
        assert_eq!(page.records.len(), 1);
        assert_eq!(page.next, None);
        assert_eq!(page.children.len(), 2);
        assert!(page.children.iter().any(|(id, _, _)| *id == child));
    }

    #[test]
    fn only_the_last_page_is_not_behind() {
        let mut stream = Stream::new("s", 1, t(0));
        put(&mut stream, 1, t(1));
        put(&mut stream, 2, t(2));
        let cursor = stream.cursor("shardId-000000000000", Start::TrimHorizon, t(2)).unwrap();
        let page = stream.read(&cursor, 1, false, t(10)).unwrap();
        assert_eq!((page.records.len(), page.behind), (1, Duration::from_secs(8)));
        let page = stream.read(&page.next.unwrap(), 1, false, t(12)).unwrap();
        assert_eq!((page.records.len(), page.behind), (1, Duration::ZERO));
    }

    #[test]
    fn the_sixth_call_in_a_second_is_throttled() {
        let mut stream = Stream::new("s", 1, t(0));
        let cursor = stream.cursor("shardId-000000000000", Start::Latest, t(1)).unwrap();
        for _ in 0..5 {
            assert!(stream.read(&cursor, 1, false, t(1)).is_ok());
        }
        assert_eq!(stream.read(&cursor, 1, false, t(1)).unwrap_err(), ReadError::Throttled);
        assert!(stream.read(&cursor, 1, false, t(2)).is_ok());
    }

    #[test]
    fn an_iterator_expires_by_age_and_by_generation() {
        let mut stream = Stream::new("s", 1, t(0));
        let cursor = stream.cursor("shardId-000000000000", Start::Latest, t(1)).unwrap();
        assert_eq!(stream.read(&cursor, 1, false, t(302)).unwrap_err(), ReadError::Expired);
        stream.generation += 1;
        assert_eq!(stream.read(&cursor, 1, false, t(2)).unwrap_err(), ReadError::Expired);
    }

    #[test]
    fn at_timestamp_starts_at_the_first_record_not_older() {
        let mut stream = Stream::new("s", 1, t(0));
        for n in 1..=3 {
            put(&mut stream, n, t(n as i64));
        }
        let cursor = stream.cursor("shardId-000000000000", Start::Time(t(2)), t(4)).unwrap();
        assert_eq!(stream.read(&cursor, 10, false, t(4)).unwrap().records.len(), 2);
    }

    #[test]
    fn a_sequence_number_prints_and_parses() {
        assert_eq!(sequence_text(7).len(), 56);
        assert_eq!(sequence_number(&sequence_text(7)), Some(7));
        assert_eq!(sequence_number("12"), None);
    }
}
