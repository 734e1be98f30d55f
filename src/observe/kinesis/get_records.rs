//! One call of GetRecords, with what it takes to get an iterator for it.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_shard_iterator::GetShardIteratorError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Position;
use super::read_budget::Pages;
use crate::domain::sighting::FailureKind;
use crate::domain::time::{Timestamp, WallClock};
use crate::observe::ObserveError;
use crate::observe::failure::explain;

/// One call of GetRecords, and of GetShardIterator before it where that is needed.
pub(super) struct GetRecords {
    pub(super) client: Client,
    pub(super) stream: String,
    pub(super) limit: i32,
    pub(super) shard: String,
    pub(super) position: Position,
    pub(super) iterator: Option<String>,
    /// When it is our turn.
    pub(super) not_before: Instant,
    pub(super) pages: Pages,
    pub(super) clock: WallClock,
}

pub(super) struct Page {
    pub(super) shard: String,
    /// The iterator that is still good.
    pub(super) iterator: Option<String>,
    pub(super) page: Result<GetRecordsOutput, Refusal>,
    /// When the answer had been read.
    pub(super) ended: Timestamp,
    /// What the page takes up, until it is dropped.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

pub(super) enum Refusal {
    /// There is no such shard any more.
    Gone,
    /// The position is none in this shard any more.
    Lost,
    Failed(ObserveError),
}

impl GetRecords {
    pub(super) async fn send(mut self) -> Page {
        tokio::time::sleep_until(self.not_before).await;
        let room = self.pages.room().await;
        let page = self.page().await;
        Page { ended: self.clock.now(), shard: self.shard, iterator: self.iterator, page, _room: room }
    }

    async fn page(&mut self) -> Result<GetRecordsOutput, Refusal> {
        let mut fresh = self.iterator.is_none();
        loop {
            let iterator = match &self.iterator {
                Some(iterator) => iterator.clone(),
                None => self.open().await?,
            };
            self.iterator = Some(iterator.clone());
            let arn = is_arn(&self.stream).then(|| self.stream.clone());
            let requested =
                self.client.get_records().shard_iterator(iterator).set_stream_arn(arn).limit(self.limit);
            let error = match requested.send().await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            match error.code() {
                // Five minutes after it was given out; the position is still known.
                Some("ExpiredIteratorException") if !fresh => {
                    self.iterator = None;
                    fresh = true;
                }
                Some("ResourceNotFoundException") => {
                    self.iterator = None;
                    return Err(Refusal::Gone);
                }
                code => {
                    if is_invalid(code) || code == Some("ExpiredIteratorException") {
                        self.iterator = None;
                    }
                    let words = format!("GetRecords on {} of stream {}", self.shard, self.stream);
                    return Err(Refusal::Failed(explain(&words, &error)));
                }
            }
        }
    }

    async fn open(&self) -> Result<String, Refusal> {
        let request = self.client.get_shard_iterator().shard_id(&self.shard);
        let request = if is_arn(&self.stream) {
            request.stream_arn(&self.stream)
        } else {
            request.stream_name(&self.stream)
        };
        let request = match &self.position {
            Position::From(start) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(date(*start))
            }
            Position::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
        };
        let words = format!("GetShardIterator on {} of stream {}", self.shard, self.stream);
        match request.send().await {
            Ok(answer) => answer.shard_iterator.ok_or_else(|| {
                let words = format!("{words}: an answer without an iterator");
                Refusal::Failed(ObserveError::new(FailureKind::Garbled, words))
            }),
            Err(error) => Err(self.refusal(&words, &error)),
        }
    }

    fn refusal(&self, words: &str, error: &SdkError<GetShardIteratorError>) -> Refusal {
        match (error.code(), &self.position) {
            (Some("ResourceNotFoundException"), _) => Refusal::Gone,
            (code, Position::After(_)) if is_invalid(code) => Refusal::Lost,
            _ => Refusal::Failed(explain(words, error)),
        }
    }
}

pub(super) fn is_arn(stream: &str) -> bool {
    stream.starts_with("arn:")
}

pub(super) fn is_invalid(code: Option<&str>) -> bool {
    matches!(code, Some("InvalidArgumentException" | "ValidationException"))
}

/// Rounded down to the milliseconds of the wire.
pub(super) fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.millis())
}
