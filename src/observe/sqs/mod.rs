//! Watches a dead-letter queue, and finds canaries in it if its owner allows that.
//!
//! GetQueueAttributes tells how many messages are in the queue, which says nothing of a single canary. To see
//! messages they must be received: a message is then hidden from everybody for some seconds and its receive
//! count grows. So that is done only with `peek`, for few messages per poll and a short time, and nothing is ever
//! deleted. A queue with a redrive policy of its own would move messages away that were received too often, so
//! it is not peeked at.
//!
//! A message shows presence. Its absence proves nothing: a queue returns messages in any order, and others take
//! some. What Lambda sends for a batch of a Kinesis stream has no content, but names the records
//! (`message`).

mod message;
mod settings;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};

use self::message::BatchInfo;
pub(super) use self::settings::SPEC;
pub use self::settings::Settings;
use super::decode::{Limits, Scan};
use super::failure::explain;
use super::{Decoder, Findings, Observe, ObserveError, Recognizer};
use crate::domain::sighting::{FailedBatch, FailureKind, Locator, Poll, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::SourceId;

/// ReceiveMessage returns at most this many messages (Amazon SQS API reference).
const MAX_PER_CALL: usize = 10;
/// Messages whose ids are remembered, so that one that is received again is not decoded again.
const MAX_KNOWN: usize = 10_000;
/// Failed batches that are reported with every poll: a canary may be sighted in its stream later.
const MAX_BATCHES: usize = 200;

/// Reads one queue.
#[derive(Debug)]
pub struct Sqs {
    settings: Settings,
    /// The streams that are read, by name or ARN.
    streams: Vec<(String, SourceId)>,
    client: Client,
    recognizer: Recognizer,
    decoder: Decoder,
    clock: WallClock,
    known: KnownMessages,
    batches: VecDeque<FailedBatch>,
    /// What was found and is not reported yet. It outlives a poll that fails.
    unreported: Findings,
}

/// Ids of the messages that have been decoded, of which the oldest are forgotten first.
#[derive(Debug, Default)]
struct KnownMessages {
    ids: HashSet<Arc<str>>,
    by_age: VecDeque<Arc<str>>,
}

impl KnownMessages {
    fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn note(&mut self, id: &str) {
        let id: Arc<str> = id.into();
        if self.ids.insert(id.clone()) {
            self.by_age.push_back(id);
        }
        if self.by_age.len() > MAX_KNOWN
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

impl Sqs {
    /// Makes an observer without calling the service. `client` must not retry, because the poll loop does.
    #[must_use]
    pub fn new(
        settings: Settings,
        streams: Vec<(String, SourceId)>,
        client: Client,
        recognizer: Recognizer,
        clock: WallClock,
    ) -> Self {
        Self {
            settings,
            streams,
            client,
            recognizer,
            decoder: Decoder::default(),
            clock,
            known: KnownMessages::default(),
            batches: VecDeque::new(),
            unreported: Findings::default(),
        }
    }

    /// Returns the number of messages, and whether the queue moves messages that were received too often.
    async fn measure(&self) -> Result<(u64, bool), ObserveError> {
        let url = &self.settings.queue_url;
        let mut request = self.client.get_queue_attributes().queue_url(url);
        for name in [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::RedrivePolicy,
        ] {
            request = request.attribute_names(name);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| explain(&format!("GetQueueAttributes of `{url}`"), &error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let number = |name: QueueAttributeName| -> Option<u64> { attributes.get(&name)?.parse().ok() };
        let visible = number(QueueAttributeName::ApproximateNumberOfMessages).ok_or_else(|| {
            let detail = format!(
                "the answer to GetQueueAttributes of `{url}` does not say how many messages there are"
            );
            ObserveError::new(FailureKind::Garbled, detail)
        })?;
        let others = [
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let all = others.into_iter().filter_map(number).fold(visible, u64::saturating_add);
        let moves =
            attributes.get(&QueueAttributeName::RedrivePolicy).is_some_and(|policy| !policy.is_empty());
        Ok((all, moves))
    }

    /// Receives messages until it has enough, time is up, or none comes.
    async fn peek(&mut self, started: Timestamp) -> Result<(), ObserveError> {
        let mut received = 0;
        while received < self.settings.max_messages {
            if received > 0 && self.clock.now().since(started) >= self.settings.poll_time_budget {
                return Ok(());
            }
            let most = (self.settings.max_messages - received).min(MAX_PER_CALL);
            let messages = self.receive(most).await?;
            let seen_by = self.clock.now();
            received += messages.len();
            if messages.is_empty() {
                return Ok(());
            }
            let without_id = messages.iter().any(|message| message.message_id.is_none());
            self.scan(messages, seen_by).await;
            if without_id {
                // Received again, it would be another one.
                let text = format!("ReceiveMessage from `{}`: a message has no id", self.settings.queue_url);
                return Err(ObserveError::new(FailureKind::Garbled, text));
            }
        }
        Ok(())
    }

    async fn receive(&self, most: usize) -> Result<Vec<Message>, ObserveError> {
        let url = &self.settings.queue_url;
        let hidden_for = i32::try_from(self.settings.hidden_for.as_secs()).unwrap_or(1);
        let answer = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(1))
            .visibility_timeout(hidden_for)
            .wait_time_seconds(0)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::DeadLetterQueueSourceArn)
            .send()
            .await;
        let answer = answer.map_err(|error| explain(&format!("ReceiveMessage from `{url}`"), &error))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Looks into the messages that are new, as many at a time as there is time for.
    async fn scan(&mut self, messages: Vec<Message>, seen_by: Timestamp) {
        let is_new = |id: &str| !self.known.contains(id);
        let is_new = |message: &Message| message.message_id().is_some_and(is_new);
        let mut new: VecDeque<Message> = messages.into_iter().filter(is_new).collect();
        while !new.is_empty() {
            let name = format!("messages of `{}`", self.settings.queue_url);
            let bodies = new.iter().map(|message| message.body().unwrap_or_default().as_bytes().to_vec());
            let scans = self.decoder.scan(&name, &self.recognizer, Limits::RECORD, bodies.collect()).await;
            for scan in scans {
                let Some(message) = new.pop_front() else { break };
                self.take(&message, scan, seen_by);
                self.known.note(message.message_id().unwrap_or_default());
            }
        }
    }

    fn take(&mut self, message: &Message, scan: Scan, seen_by: Timestamp) {
        let (id, body) = (message.message_id().unwrap_or_default(), message.body().unwrap_or_default());
        let stamp = stamp(message);
        let Findings { sightings, stats, .. } = &mut self.unreported;
        stats.records += 1;
        stats.bytes += body.len() as u64;
        stats.decode_errors += u64::from(!scan.unreadable.is_empty());
        stats.foreign_tags += scan.foreign_tags;
        let remark = scan.remark();
        sightings.extend(scan.found.into_iter().map(|copy| Sighting {
            tag: copy.tag,
            stamp,
            seen_by,
            locator: Locator::within(id, copy.place),
            label: None,
            integrity: copy.integrity,
            found_in: copy.found_in,
        }));
        let name = || format!("message {id} of `{}`{remark}", self.settings.queue_url);
        self.unreported.note_unreadable(seen_by, &scan.unreadable, None, name);
        self.take_batch(id, body, stamp, seen_by);
    }

    /// Remembers the records that a message names, if their stream is read.
    fn take_batch(&mut self, id: &str, body: &str, stamp: Stamp, seen_by: Timestamp) {
        let Some(info) = BatchInfo::parse(body) else { return };
        let mut named = self.streams.iter().filter(|(stream, _)| info.is_of(stream)).map(|(_, id)| *id);
        // Streams of one name in several accounts cannot be told apart, unless they are given by ARN.
        let (Some(source), None) = (named.next(), named.next()) else { return };
        if self.batches.len() >= MAX_BATCHES {
            self.batches.pop_front();
        }
        let text = |text: String| -> Arc<str> { text.into() };
        self.batches.push_back(FailedBatch {
            source,
            shard: text(info.shard),
            first: text(info.first),
            last: text(info.last),
            stamp,
            seen_by,
            letter: id.into(),
        });
    }
}

impl Observe for Sqs {
    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let started = self.clock.now();
        let (messages, moves) = self.measure().await?;
        self.unreported.stats.queued = Some(messages);
        if self.settings.peek && moves {
            let detail = format!(
                "`{}` has a redrive policy, so receiving its messages would move them; set peek = false, or remove the policy",
                self.settings.queue_url
            );
            return Err(ObserveError::new(FailureKind::Denied, detail));
        }
        if self.settings.peek && messages > 0 {
            self.peek(started).await?;
        }
        let poll = std::mem::take(&mut self.unreported).into_poll(wanted, started, self.clock.now(), None);
        Ok(Poll { failed_batches: self.batches.iter().cloned().collect(), ..poll })
    }

    fn take_unreported(&mut self) -> Findings {
        std::mem::take(&mut self.unreported)
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        Some(&mut self.decoder)
    }
}

/// When a message arrived in the queue, as far as SQS says so. If SQS moved it here from another queue, it
/// keeps the time at which it was sent to that one (Amazon SQS developer guide, "Using dead-letter queues in
/// Amazon SQS"), and arrived some time after that.
fn stamp(message: &Message) -> Stamp {
    let Some(attributes) = message.attributes() else { return Stamp::None };
    let millis = attributes.get(&MessageSystemAttributeName::SentTimestamp);
    let Some(sent) = millis.and_then(|millis| millis.parse().ok()).map(Timestamp::from_millis) else {
        return Stamp::None;
    };
    let is_moved = attributes.contains_key(&MessageSystemAttributeName::DeadLetterQueueSourceArn);
    if is_moved { Stamp::NotBefore(sent) } else { Stamp::Millis(sent) }
}

#[cfg(test)]
mod tests;
