//! Enhanced fan-out: the service sends what a shard gets to a registered consumer, which has 2 MiB a second of each
//! shard to itself (Kinesis quotas). So nothing is taken from what all other readers of the shard share.
//!
//! A subscription is one long answer. Nothing in it says when an event was sent. But what had not come yet when two
//! polls had taken all that had come, was sent after the first of them began: that bounds from below up to when an event
//! is complete. One poll is not enough, because an event may be on its way for longer than a poll takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::event_stream::RawMessage;
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::get_records::{Answer, Page, PageError, date, is_arn, is_invalid};
use super::read_budget::Room;
use super::{Kinesis, Position};
use crate::cloud::bounded::{Held, MAX_ANSWER_BYTES};
use crate::domain::sighting::FailureKind;
use crate::domain::time::{Timestamp, WallClock};
use crate::observe::ObserveError;
use crate::observe::failure::explain;

/// From one call of SubscribeToShard on a shard to the next. Within five seconds of a call that succeeded, the
/// service refuses another; after them, it takes the subscription from whoever has it (Kinesis API reference).
pub(super) const RESUBSCRIBE: Duration = Duration::from_secs(6);
/// How long a poll waits before it looks. What the machine received before is in the subscription by then, even
/// if the whole process stood still.
pub(super) const ARRIVAL: Duration = Duration::from_millis(100);
/// How long a poll that subscribes waits for the first event, which the service sends at once.
const FIRST_EVENT: Duration = Duration::from_millis(500);
/// A subscription without any event for so long is broken: the service also sends events without records. The
/// Kinesis Client Library gives up after 35 seconds, too.
const SILENCE: Duration = Duration::from_secs(35);
/// Most events of an unknown kind that are skipped at once.
const MAX_SKIPPED: usize = 16;

type Receiver = EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>;
type StreamError = SdkError<SubscribeToShardEventStreamError, RawMessage>;

/// An open subscription of one shard. It ends after five minutes at the latest (Kinesis API reference).
#[derive(Debug)]
pub(super) struct Subscription {
    receiver: Receiver,
    /// What has come of the next event.
    held: Held,
    /// What comes from now on was sent after this.
    sent_after: Timestamp,
    /// When the last poll began that had taken all that had come.
    quiet_at: Option<Timestamp>,
    /// When the last event came.
    heard: Instant,
}

/// A subscription that nothing waits for. It is closed when another one could be opened at once, and until then it is
/// taken back if something waits again.
#[derive(Debug)]
pub(super) struct Parked {
    slot: Arc<Mutex<Option<Subscription>>>,
    /// Closes it; ends with this.
    _closing: JoinSet<()>,
}

impl Parked {
    pub(super) fn until(closes_at: Instant, subscription: Subscription) -> Self {
        let slot = Arc::new(Mutex::new(Some(subscription)));
        let mut closing = JoinSet::new();
        let parked = slot.clone();
        closing.spawn(async move {
            tokio::time::sleep_until(closes_at).await;
            drop(parked.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        Self { slot, _closing: closing }
    }

    /// Returns it, unless it was closed.
    pub(super) fn take(self) -> Option<Subscription> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request for the next event of a shard.
pub(super) struct NextEvent {
    pub(super) client: Client,
    /// As configured.
    pub(super) stream: String,
    /// The ARN of the consumer.
    pub(super) consumer: String,
    pub(super) shard: String,
    pub(super) position: Position,
    /// The subscription; one is opened at the position if there is none.
    pub(super) subscription: Option<Subscription>,
    /// When the service takes another subscription.
    pub(super) not_before: Option<Instant>,
    /// When the poll began to look.
    pub(super) started: Timestamp,
    pub(super) room: Room,
    pub(super) clock: WallClock,
}

impl NextEvent {
    /// Takes the next event that has come. The page is `None` if there is none.
    pub(super) async fn send(mut self) -> Answer {
        let (mut subscription, patience) = match self.subscription.take() {
            Some(subscription) => (subscription, Duration::ZERO),
            None => match self.subscribe().await {
                Ok(subscription) => (subscription, FIRST_EVENT),
                Err(error) => return self.answer(None, Err(error)),
            },
        };
        let room = self.room.take().await;
        let page = match subscription.next(patience, self.started).await {
            None if subscription.heard.elapsed() >= SILENCE => {
                let text = format!("{}: no event for {} s", self.call(), SILENCE.as_secs());
                Err(PageError::Failed(ObserveError::new(FailureKind::Timeout, text)))
            }
            None => Ok(None),
            Some(Ok(Some(event))) => Ok(Some(page(event, subscription.sent_after))),
            // Its time is over. The next poll opens another one.
            Some(Ok(None)) => return self.answer(None, Ok(None)),
            Some(Err(_)) if subscription.held.is_too_much() => {
                let text = format!("{}: an event of more than {} MiB", self.call(), MAX_ANSWER_BYTES >> 20);
                Err(PageError::Failed(ObserveError::new(FailureKind::OverBudget, text)))
            }
            Some(Err(error)) => Err(self.failed(&as_answer(error))),
        };
        let open = page.is_ok().then_some(subscription);
        Answer { _room: room, ..self.answer(open, page) }
    }

    fn answer(self, subscription: Option<Subscription>, page: Result<Option<Page>, PageError>) -> Answer {
        let received_at = self.clock.now();
        Answer { shard: self.shard, iterator: None, subscription, page, received_at, _room: None }
    }

    async fn subscribe(&self) -> Result<Subscription, PageError> {
        if let Some(not_before) = self.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let position = match &self.position {
            Position::From(start) => {
                StartingPosition::builder().r#type(ShardIteratorType::AtTimestamp).timestamp(date(*start))
            }
            Position::After(sequence) => StartingPosition::builder()
                .r#type(ShardIteratorType::AfterSequenceNumber)
                .sequence_number(sequence),
        };
        let sent_after = self.clock.now();
        let request = self.client.subscribe_to_shard().consumer_arn(&self.consumer).shard_id(&self.shard);
        let request = request.set_starting_position(position.build().ok());
        let held = Held::default();
        match request.customize().interceptor(held.clone()).send().await {
            Ok(answer) => {
                let (receiver, heard) = (answer.event_stream, Instant::now());
                Ok(Subscription { receiver, held, sent_after, quiet_at: None, heard })
            }
            Err(error) if matches!(self.position, Position::After(_)) && is_invalid(error.code()) => {
                Err(PageError::PositionLost)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed<E>(&self, error: &SdkError<E>) -> PageError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let failure = explain(&self.call(), error);
        match error.code() {
            Some(NOT_FOUND) => PageError::Absent(failure),
            Some(IN_USE) => {
                let text = format!(
                    "{}; either another reader uses the same consumer: give each probe one of its own (consumer), \
                     or the consumer is not ACTIVE yet, or this probe was restarted within 5 s of its last \
                     subscription",
                    failure.detail
                );
                PageError::Failed(ObserveError::new(failure.kind, text))
            }
            _ => PageError::Failed(failure),
        }
    }

    fn call(&self) -> String {
        format!("SubscribeToShard on {} of stream {}", self.shard, self.stream)
    }
}

const NOT_FOUND: &str = "ResourceNotFoundException";
const IN_USE: &str = "ResourceInUseException";

impl Subscription {
    /// Returns the next event, if one comes in time. A call that is dropped loses nothing. `started` is when the poll
    /// began.
    async fn next(
        &mut self,
        patience: Duration,
        started: Timestamp,
    ) -> Option<Result<Option<SubscribeToShardEvent>, StreamError>> {
        let event = async {
            for _ in 0..MAX_SKIPPED {
                let event = self.receiver.recv().await;
                if event.is_ok() {
                    self.held.release();
                }
                match event {
                    Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => {
                        return Some(Ok(Some(event)));
                    }
                    // Of a kind that is newer than the SDK.
                    Ok(Some(_)) => {}
                    Ok(None) => return Some(Ok(None)),
                    Err(error) => return Some(Err(error)),
                }
            }
            None
        };
        // Otherwise the runtime may take its turn although an event has come. It ends, whatever the service sends: so
        // many events are skipped, and so many bytes of one are held.
        let event = tokio::task::unconstrained(event);
        let event = if patience.is_zero() {
            event.now_or_never()
        } else {
            tokio::time::timeout(patience, event).await.ok()
        };
        match event {
            // Nothing more has come. What was sent before this poll may still be on its way, but not what was sent
            // before the previous one.
            None => {
                let previous = self.quiet_at.replace(started);
                self.sent_after = previous.map_or(self.sent_after, |at| self.sent_after.max(at));
            }
            // Behind what was skipped, more may have come before the poll began.
            Some(None) => {}
            Some(Some(_)) => self.heard = Instant::now(),
        }
        event.flatten()
    }
}

fn page(event: SubscribeToShardEvent, sent_after: Timestamp) -> Page {
    let children = event.child_shards.unwrap_or_default();
    // The last event of a shard names its children (Kinesis API reference, SubscribeToShardEvent).
    let ended = !children.is_empty();
    let continuation = Some(event.continuation_sequence_number).filter(|number| !number.is_empty());
    Page {
        records: event.records,
        millis_behind: Some(event.millis_behind_latest),
        complete_up_to: Some(sent_after),
        continuation,
        iterator: None,
        children: ended.then_some(children),
    }
}

/// An error within a stream has no answer of its own, and a header of its message has its code.
fn as_answer(error: StreamError) -> SdkError<ErrorMetadata> {
    let answer = || HttpResponse::new(StatusCode::try_from(200).expect("it is a status"), SdkBody::empty());
    match error {
        SdkError::ServiceError(error) => {
            let mut metadata = ErrorMetadata::builder();
            if let Some(code) = error.err().code().map(str::to_owned).or_else(|| exception(error.raw())) {
                metadata = metadata.code(code);
            }
            if let Some(message) = error.err().message() {
                metadata = metadata.message(message);
            }
            SdkError::service_error(metadata.build(), answer())
        }
        SdkError::DispatchFailure(failure) => SdkError::DispatchFailure(failure),
        SdkError::TimeoutError(error) => SdkError::TimeoutError(error),
        SdkError::ConstructionFailure(error) => SdkError::ConstructionFailure(error),
        other => {
            let source = other.into_source();
            SdkError::response_error(source.unwrap_or_else(|error| error.to_string().into()), answer())
        }
    }
}

/// The kind of an exception in a stream (Amazon event stream encoding, `:exception-type`).
fn exception(message: &RawMessage) -> Option<String> {
    let RawMessage::Decoded(message) = message else { return None };
    let header = message.headers().iter().find(|header| header.name().as_str() == ":exception-type")?;
    header.value().as_string().ok().map(|code| code.as_str().to_owned())
}

impl Kinesis {
    /// Returns the ARN of the consumer; `None` if none is configured. Asks for it if only its name is known.
    pub(super) async fn find_consumer(&mut self) -> Result<Option<String>, ObserveError> {
        let Some(consumer) = &self.settings.consumer else { return Ok(None) };
        if is_arn(consumer) {
            return Ok(Some(consumer.clone()));
        }
        if self.consumer.is_none() {
            let call =
                format!("DescribeStreamConsumer on consumer {consumer} of stream {}", self.settings.stream);
            let Some(arn) = &self.arn else {
                let text = format!(
                    "{call}: the ARN of the stream is unknown, because GetCallerIdentity was not answered; write \
                     stream or consumer as an ARN (consumer)"
                );
                return Err(ObserveError::new(FailureKind::Error, text));
            };
            let request = self.client.describe_stream_consumer().stream_arn(arn).consumer_name(consumer);
            let answer = request.send().await.map_err(|error| {
                let absent = error.code() == Some(NOT_FOUND);
                let failure = explain(&call, &error);
                if absent {
                    let text = format!("{}; register it, or correct its name (consumer)", failure.detail);
                    return ObserveError::new(failure.kind, text);
                }
                failure
            })?;
            self.consumer = answer.consumer_description.map(|it| it.consumer_arn);
        }
        Ok(self.consumer.clone())
    }
}
