//! Putting canaries into a tenant's log group.
//!
//! One PutLogEvents call carries all canaries that are due. What is told apart is what the tracker must know: taken,
//! refused, or gone out without an answer. A canary without an answer may be in, so it is sent again as it was, and
//! when a later try is accepted, it is marked as possibly doubled by us: CloudWatch Logs does not de-duplicate.
//!
//! The SDK's retries are off here, because only who sees every try knows whether one of them went unanswered.
//! It must never reorder, delay or bundle what its caller hands over; the schedule is not its business.

mod answer;
mod batch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::SdkError;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use backoff::backoff::Backoff;
use tokio_util::sync::CancellationToken;

use crate::domain::cost::{BytePrice, Bytes, Costs, Operation};
use crate::domain::tag::TraceId;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::TenantId;
use crate::domain::tracker::PutResult;

use answer::Answer;

/// What injection calls, and what it costs.
pub const COSTS: Costs = Costs {
    operations: &[
        Operation { service: "logs", name: "PutLogEvents", permission: "logs:PutLogEvents", dollars: 0.0 },
        Operation {
            service: "logs",
            name: "CreateLogStream",
            permission: "logs:CreateLogStream",
            dollars: 0.0,
        },
    ],
    // Ingestion, standard class (CloudWatch pricing, $0.50 a GB).
    bytes: &[BytePrice { service: "logs", of: Bytes::Put, dollars: 0.50 / 1e9 }],
};

/// Where canaries go, and how hard to try.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The log group's name. It must exist.
    pub log_group: String,
    /// The log stream's name, created when it is missing.
    pub log_stream: String,
    /// When to try again.
    pub retry: Retry,
    /// Longest wait for the answer to one try.
    pub attempt_timeout: Duration,
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Before the second try, about.
    pub initial: Duration,
    /// Between any two tries, about.
    pub max: Duration,
    /// No further try begins after this.
    pub max_elapsed: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(5),
            max_elapsed: Duration::from_secs(20),
        }
    }
}

/// A canary that is ready to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryLine {
    /// Which trace.
    pub trace: TraceId,
    /// Whose.
    pub tenant: TenantId,
    /// When it was planned; becomes the timestamp of the log event, to the millisecond.
    pub planned_at: Timestamp,
    /// The message.
    pub line: String,
}

/// What became of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each canary that was handed over, in no particular order.
    pub results: Vec<(TraceId, PutResult)>,
    /// One for each batch and each tenant that has canaries in it.
    pub puts: Vec<TenantPut>,
}

/// Putting those canaries of a batch that are a tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantPut {
    /// Whose canaries.
    pub tenant: TenantId,
    /// From the first try to the result, the pauses between tries included.
    pub took: Duration,
    /// The bytes of their messages.
    pub bytes: u64,
}

/// Puts canaries into one log group.
#[derive(Clone, Debug)]
pub struct Injector {
    settings: Settings,
    client: Client,
    clock: WallClock,
}

impl Injector {
    /// An injector; it makes no call yet. `client` must not retry by itself.
    #[must_use]
    pub fn new(settings: Settings, client: Client, clock: WallClock) -> Self {
        Self { settings, client, clock }
    }

    /// Sends canaries and says what became of each.
    ///
    /// It takes at most about `max_elapsed` and `attempt_timeout` together. When `cancel` fires, no further try is made and what is known
    /// by then is reported; a call that is under way is not cut, because it may yet be answered.
    pub async fn put(&self, canaries: Vec<CanaryLine>, cancel: &CancellationToken) -> Report {
        let mut report = Report::default();
        let (batches, too_large) = batch::split(canaries);
        report.results.extend(too_large);
        for batch in batches {
            let started = self.clock.now();
            report.results.extend(self.put_batch(&batch, cancel).await);
            let took = self.clock.now().since(started);
            let bytes = bytes_by_tenant(&batch).into_iter();
            report.puts.extend(bytes.map(|(tenant, bytes)| TenantPut { tenant, took, bytes }));
        }
        report
    }

    /// Makes sure that the log stream is there, creating it when it is missing: for checking permissions without putting
    /// anything.
    ///
    /// # Errors
    ///
    /// Why it is not, in words.
    pub async fn reach(&self) -> Result<(), String> {
        match self.create_stream().await {
            Answer::Accepted(_) => Ok(()),
            Answer::Refused(reason)
            | Answer::NotFound(reason)
            | Answer::NotTaken(reason)
            | Answer::Unanswered(reason) => Err(reason.to_string()),
        }
    }

    async fn put_batch(&self, batch: &[CanaryLine], cancel: &CancellationToken) -> Vec<(TraceId, PutResult)> {
        let events: Vec<InputLogEvent> = batch.iter().filter_map(event).collect();
        // Only the sequence of delays is used: its own loop reads the real clock, which stands still in tests and
        // does not stop for a shutdown.
        let mut delays = backoff::ExponentialBackoff {
            current_interval: self.settings.retry.initial,
            initial_interval: self.settings.retry.initial,
            max_interval: self.settings.retry.max,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        };
        let give_up = tokio::time::sleep(self.settings.retry.max_elapsed);
        tokio::pin!(give_up);
        let mut unanswered = 0_u32;
        let mut stream_created = false;
        let reason = loop {
            let reason: Arc<str> = match self.call(events.clone()).await {
                Answer::Accepted(rejected) => {
                    let accepted = PutResult::Accepted { doubled: unanswered > 0 };
                    let results = batch.iter().enumerate().map(|(index, canary)| {
                        let result = rejected.reason(index).map_or_else(
                            || accepted.clone(),
                            |reason| PutResult::Refused { reason: reason.into() },
                        );
                        (canary.trace, result)
                    });
                    return results.collect();
                }
                Answer::Refused(reason) => break reason,
                Answer::NotFound(reason) if stream_created => reason,
                Answer::NotFound(_) => match self.create_stream().await {
                    Answer::Accepted(_) => {
                        stream_created = true;
                        continue;
                    }
                    Answer::Refused(reason) => break reason,
                    // Creating a stream twice does no harm.
                    Answer::NotFound(reason) | Answer::NotTaken(reason) | Answer::Unanswered(reason) => {
                        reason
                    }
                },
                Answer::NotTaken(reason) => reason,
                Answer::Unanswered(reason) => {
                    unanswered += 1;
                    reason
                }
            };
            let delay = delays.next_backoff().unwrap_or(self.settings.retry.max);
            tokio::select! {
                biased;
                () = cancel.cancelled() => break reason,
                () = &mut give_up => break reason,
                () = tokio::time::sleep(delay) => {}
            }
        };
        let result = match unanswered {
            0 => PutResult::Refused { reason },
            // Whatever a later try was told, an earlier one may be in.
            tries => PutResult::Ambiguous { doubled: tries > 1 },
        };
        batch.iter().map(|canary| (canary.trace, result.clone())).collect()
    }

    async fn call(&self, events: Vec<InputLogEvent>) -> Answer {
        let request = self
            .client
            .put_log_events()
            .log_group_name(&self.settings.log_group)
            .log_stream_name(&self.settings.log_stream)
            .set_log_events(Some(events));
        match tokio::time::timeout(self.settings.attempt_timeout, request.send()).await {
            Ok(Ok(output)) => Answer::Accepted(output.rejected_log_events_info.into()),
            Ok(Err(error)) => answer::of_error("PutLogEvents", &error),
            Err(_) => Answer::Unanswered(self.no_answer()),
        }
    }

    /// [`Answer::Accepted`] when the stream is there now, [`Answer::Refused`] when it cannot be.
    async fn create_stream(&self) -> Answer {
        let request = self
            .client
            .create_log_stream()
            .log_group_name(&self.settings.log_group)
            .log_stream_name(&self.settings.log_stream);
        let answer = tokio::time::timeout(self.settings.attempt_timeout, request.send()).await;
        let Ok(answer) = answer else {
            return Answer::Unanswered(self.no_answer());
        };
        let Err(error) = answer else {
            return Answer::Accepted(answer::Rejected::default());
        };
        match &error {
            SdkError::ServiceError(error) if error.err().is_resource_already_exists_exception() => {
                Answer::Accepted(answer::Rejected::default())
            }
            _ => match answer::of_error("CreateLogStream", &error) {
                Answer::NotFound(_) => {
                    Answer::Refused(format!("there is no log group `{}`", self.settings.log_group).into())
                }
                Answer::Refused(reason) => Answer::Refused(
                    format!(
                        "the log stream `{}` is missing and cannot be created: {reason}",
                        self.settings.log_stream
                    )
                    .into(),
                ),
                other => other,
            },
        }
    }

    fn no_answer(&self) -> Arc<str> {
        format!("no answer from CloudWatch Logs within {:?}", self.settings.attempt_timeout).into()
    }
}

fn bytes_by_tenant(batch: &[CanaryLine]) -> BTreeMap<TenantId, u64> {
    let mut bytes = BTreeMap::new();
    for canary in batch {
        *bytes.entry(canary.tenant).or_default() += canary.line.len() as u64;
    }
    bytes
}

fn event(canary: &CanaryLine) -> Option<InputLogEvent> {
    InputLogEvent::builder()
        .timestamp(canary.planned_at.millis())
        .message(&canary.line)
        .build()
        // It fails when a field is missing, and none is.
        .ok()
}

#[cfg(test)]
mod tests;
