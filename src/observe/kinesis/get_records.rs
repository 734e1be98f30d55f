//! One call of GetRecords, and of GetShardIterator if it has no iterator yet.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_shard_iterator::GetShardIteratorError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ChildShard, Record, ShardIteratorType};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Position;
use super::fan_out::Subscription;
use super::read_budget::Room;
use crate::domain::sighting::FailureKind;
use crate::domain::time::{Timestamp, WallClock};
use crate::observe::ObserveError;
use crate::observe::failure::explain;

/// A request for one page of a shard.
pub(super) struct GetRecords {
    pub(super) client: Client,
    /// As configured.
    pub(super) stream: String,
    /// `None` while it is unknown.
    pub(super) arn: Option<String>,
    pub(super) limit: i32,
    pub(super) shard: String,
    pub(super) position: Position,
    pub(super) iterator: Option<String>,
    /// When the shard's read budget allows the call.
    pub(super) not_before: Instant,
    pub(super) room: Room,
    pub(super) clock: WallClock,
}

pub(super) struct Answer {
    pub(super) shard: String,
    /// The iterator that was used; `None` if it is no longer valid.
    pub(super) iterator: Option<String>,
    /// The subscription that goes on; `None` if there is none.
    pub(super) subscription: Option<Subscription>,
    /// `None` if nothing has come.
    pub(super) page: Result<Option<Page>, PageError>,
    /// When the whole answer had been received.
    pub(super) received_at: Timestamp,
    /// Held until the page is dropped.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What a shard has sent, or answered.
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    pub(super) millis_behind: Option<i64>,
    /// If the page reaches the tip, everything that arrived before this has been read; `None` for the start of the
    /// poll.
    pub(super) complete_up_to: Option<Timestamp>,
    /// Where to go on, if it is not behind the last record.
    pub(super) continuation: Option<String>,
    /// The iterator of the next page.
    pub(super) iterator: Option<String>,
    /// The shards that follow; `None` unless the shard was read to its end.
    pub(super) children: Option<Vec<ChildShard>>,
}

impl From<GetRecordsOutput> for Page {
    fn from(answer: GetRecordsOutput) -> Self {
        let ended = answer.next_shard_iterator.is_none();
        Self {
            records: answer.records,
            millis_behind: answer.millis_behind_latest,
            complete_up_to: None,
            continuation: None,
            iterator: answer.next_shard_iterator,
            children: ended.then(|| answer.child_shards.unwrap_or_default()),
        }
    }
}

/// Why a page was not read.
pub(super) enum PageError {
    /// The shard no longer exists.
    ShardGone,
    /// The shard or the consumer does not exist.
    Absent(ObserveError),
    /// The position is no longer valid in this shard.
    PositionLost,
    Failed(ObserveError),
}

impl PageError {
    pub(super) fn is_throttled(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.kind == FailureKind::Throttled)
    }
}

impl GetRecords {
    pub(super) async fn send(mut self) -> Answer {
        tokio::time::sleep_until(self.not_before).await;
        let mut room = None;
        let page = self.page(&mut room).await.map(|answer| Some(answer.into()));
        let received_at = self.clock.now();
        Answer {
            shard: self.shard,
            iterator: self.iterator,
            subscription: None,
            page,
            received_at,
            _room: room,
        }
    }

    /// Takes the room for the answer before it is requested, but not for the iterator, which needs none: that call may
    /// also wait for credentials.
    async fn page(&mut self, room: &mut Option<OwnedSemaphorePermit>) -> Result<GetRecordsOutput, PageError> {
        let mut fresh = self.iterator.is_none();
        loop {
            let iterator = match &self.iterator {
                Some(iterator) => iterator.clone(),
                None => self.open().await?,
            };
            self.iterator = Some(iterator.clone());
            if room.is_none() {
                *room = self.room.take().await;
            }
            let request = self.client.get_records().shard_iterator(iterator).limit(self.limit);
            let request = request.set_stream_arn(self.arn.clone());
            let error = match request.send().await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            match error.code() {
                // Iterators expire after five minutes; open a new one at the position.
                Some("ExpiredIteratorException") if !fresh => {
                    self.iterator = None;
                    *room = None;
                    fresh = true;
                }
                Some("ResourceNotFoundException") => {
                    self.iterator = None;
                    return Err(PageError::ShardGone);
                }
                code => {
                    if is_invalid(code) || code == Some("ExpiredIteratorException") {
                        self.iterator = None;
                    }
                    let call = format!("GetRecords on {} of stream {}", self.shard, self.stream);
                    return Err(PageError::Failed(explain(&call, &error)));
                }
            }
        }
    }

    /// Gets an iterator for the position.
    async fn open(&self) -> Result<String, PageError> {
        let request = self.client.get_shard_iterator().shard_id(&self.shard);
        let request = match &self.arn {
            Some(arn) => request.stream_arn(arn),
            None => request.stream_name(&self.stream),
        };
        let request = match &self.position {
            Position::From(start) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(date(*start))
            }
            Position::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
        };
        let call = format!("GetShardIterator on {} of stream {}", self.shard, self.stream);
        match request.send().await {
            Ok(answer) => answer.shard_iterator.ok_or_else(|| {
                let text = format!("{call}: an answer without an iterator");
                PageError::Failed(ObserveError::new(FailureKind::Garbled, text))
            }),
            Err(error) => Err(self.open_error(&call, &error)),
        }
    }

    fn open_error(&self, call: &str, error: &SdkError<GetShardIteratorError>) -> PageError {
        match (error.code(), &self.position) {
            (Some("ResourceNotFoundException"), _) => PageError::ShardGone,
            (code, Position::After(_)) if is_invalid(code) => PageError::PositionLost,
            _ => PageError::Failed(explain(call, error)),
        }
    }
}

pub(super) fn is_arn(stream: &str) -> bool {
    stream.starts_with("arn:")
}

pub(super) fn is_invalid(code: Option<&str>) -> bool {
    matches!(code, Some("InvalidArgumentException" | "ValidationException"))
}

/// Rounds down to the milliseconds of the wire format.
pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.millis())
}
