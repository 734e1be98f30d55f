//! Puts canaries into a tenant's log group.
//!
//! One PutLogEvents call carries all due canaries. The result of each is what the tracker must know:
//! accepted, refused, or ambiguous because no answer came. A canary without an answer may have been stored,
//! so it is sent again unchanged; if a later attempt is accepted, the canary is marked as possibly duplicated
//! by us, because CloudWatch Logs does not de-duplicate.
//!
//! SDK retries are off, because every attempt must be seen to know whether one of them stayed unanswered. The
//! injector must not delay canaries; the schedule is up to its caller.

mod answer;
mod batch;
mod proof;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::SdkError;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use backoff::backoff::Backoff;
use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::cloud::pending::{Unanswered, within};
use crate::domain::cost::{BytePrice, Bytes, Costs, Operation};
use crate::domain::foreign::ForeignText;
use crate::domain::tag::TraceId;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::TenantId;
use crate::domain::tracker::PutResult;

use answer::PutOutcome;

/// Most calls at a time for canaries that do not fit into one.
const MAX_CALLS: usize = 4;

/// The operations that injection calls, and their costs.
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

/// Where canaries are put, and how often a put is retried.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or ARN of the log group, which must exist.
    pub log_group: String,
    /// Name of the log stream, which is created if it is missing.
    pub log_stream: String,
    /// When to retry.
    pub retry: Retry,
    /// Longest time to wait for the answer to one attempt.
    pub attempt_timeout: Duration,
}

/// When to retry a put.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Pause before the second attempt, before jitter.
    pub initial: Duration,
    /// Longest pause between two attempts, before jitter.
    pub max: Duration,
    /// No attempt begins later than this after the first.
    pub max_elapsed: Duration,
}

impl Retry {
    /// For puts of the probe.
    pub const USUAL: Self = Self {
        initial: Duration::from_millis(200),
        max: Duration::from_secs(5),
        max_elapsed: Duration::from_secs(20),
    };
}

/// A canary that is ready to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryLine {
    /// The trace of the canary.
    pub trace: TraceId,
    /// The tenant whose log group it goes to.
    pub tenant: TenantId,
    /// Planned time of injection; becomes the timestamp of the log event, to the millisecond.
    pub planned_at: Timestamp,
    /// The log line, which contains the tag.
    pub line: String,
}

/// The results of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One result per canary, in no particular order.
    pub results: Vec<(TraceId, PutResult)>,
    /// One entry per batch and tenant with canaries in it.
    pub puts: Vec<TenantPut>,
}

/// The put of one tenant's canaries in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantPut {
    /// The tenant whose canaries these are.
    pub tenant: TenantId,
    /// Time from the first attempt to the result, including the pauses between attempts.
    pub took: Duration,
    /// Total size of their messages in bytes.
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
    /// Returns an injector; it makes no call yet. `client` must not retry by itself.
    #[must_use]
    pub fn new(settings: Settings, client: Client, clock: WallClock) -> Self {
        Self { settings, client, clock }
    }

    /// Puts canaries and returns the result of each.
    ///
    /// A batch takes at most about `max_elapsed` and `attempt_timeout` together. When `cancel` fires, no
    /// further attempt is made and the results so far are returned; a call in progress is not cut off,
    /// because it may still be answered.
    pub async fn put(&self, canaries: Vec<CanaryLine>, cancel: &CancellationToken) -> Report {
        self.put_fresh(canaries, Duration::MAX, cancel).await.0
    }

    /// Puts canaries like [`put`](Self::put), but none whose planned time is longer ago than `within` when the first
    /// attempt at its batch begins. Those are returned, and have no result.
    pub async fn put_fresh(
        &self,
        canaries: Vec<CanaryLine>,
        within: Duration,
        cancel: &CancellationToken,
    ) -> (Report, Vec<CanaryLine>) {
        let (mut report, mut late) = (Report::default(), Vec::new());
        let (batches, too_large) = batch::split(canaries);
        report.results.extend(too_large);
        let putting = batches.into_iter().map(|batch| async move {
            let started = self.clock.now();
            let is_fresh = |canary: &CanaryLine| started.since(canary.planned_at) <= within;
            let (batch, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_fresh);
            let results = if batch.is_empty() { Vec::new() } else { self.put_batch(&batch, cancel).await };
            (results, self.clock.now().since(started), bytes_by_tenant(&batch), late)
        });
        let mut putting = std::pin::pin!(stream::iter(putting).buffered(MAX_CALLS));
        while let Some((results, took, bytes, too_late)) = putting.next().await {
            report.results.extend(results);
            late.extend(too_late);
            let bytes = bytes.into_iter();
            report.puts.extend(bytes.map(|(tenant, bytes)| TenantPut { tenant, took, bytes }));
        }
        (report, late)
    }

    async fn put_batch(&self, batch: &[CanaryLine], cancel: &CancellationToken) -> Vec<(TraceId, PutResult)> {
        let events: Vec<InputLogEvent> = batch.iter().filter_map(event).collect();
        // Only its sequence of delays is used. Its own loop reads the real clock, which does not follow the
        // paused clock of tests, and cannot be cancelled.
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
        let mut credentials_renewed = false;
        let reason = loop {
            let reason: ForeignText = match self.put_once(events.clone()).await {
                PutOutcome::Accepted(rejected) => {
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
                PutOutcome::Refused { reason } => break reason,
                PutOutcome::NotFound { reason } if stream_created => reason,
                PutOutcome::NotFound { .. } => match self.create_stream().await {
                    PutOutcome::Accepted(_) => {
                        stream_created = true;
                        continue;
                    }
                    PutOutcome::Refused { reason } => break reason,
                    PutOutcome::CredentialsRefused { reason } if credentials_renewed => break reason,
                    PutOutcome::CredentialsRefused { reason } => {
                        credentials_renewed = true;
                        reason
                    }
                    // Creating a stream twice is harmless.
                    PutOutcome::NotFound { reason }
                    | PutOutcome::Retryable { reason }
                    | PutOutcome::Inconclusive { reason } => reason,
                },
                // New ones that are refused as well will be refused again.
                PutOutcome::CredentialsRefused { reason } if credentials_renewed => break reason,
                PutOutcome::CredentialsRefused { reason } => {
                    credentials_renewed = true;
                    reason
                }
                PutOutcome::Retryable { reason } => reason,
                PutOutcome::Inconclusive { reason } => {
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
            // Whatever the later attempts returned, an earlier one may have been stored.
            attempts => PutResult::Ambiguous { doubled: attempts > 1, reason },
        };
        batch.iter().map(|canary| (canary.trace, result.clone())).collect()
    }

    async fn put_once(&self, events: Vec<InputLogEvent>) -> PutOutcome {
        let request = self
            .client
            .put_log_events()
            .log_group_name(&self.settings.log_group)
            .log_stream_name(&self.settings.log_stream)
            .set_log_events(Some(events));
        match within(self.settings.attempt_timeout, request.send()).await {
            Ok(Ok(output)) => PutOutcome::Accepted(output.rejected_log_events_info.into()),
            Ok(Err(error)) => answer::classify_error("PutLogEvents", &error),
            Err(unanswered) => PutOutcome::Inconclusive { reason: no_answer(&unanswered) },
        }
    }

    /// Creates the log stream. Returns [`PutOutcome::Accepted`] if it exists afterwards,
    /// [`PutOutcome::Refused`] if it cannot exist.
    async fn create_stream(&self) -> PutOutcome {
        let request = self
            .client
            .create_log_stream()
            .log_group_name(&self.settings.log_group)
            .log_stream_name(&self.settings.log_stream);
        let answer = match within(self.settings.attempt_timeout, request.send()).await {
            Ok(answer) => answer,
            Err(unanswered) => return PutOutcome::Inconclusive { reason: no_answer(&unanswered) },
        };
        let Err(error) = answer else {
            return PutOutcome::Accepted(answer::Rejected::default());
        };
        match &error {
            SdkError::ServiceError(error) if error.err().is_resource_already_exists_exception() => {
                PutOutcome::Accepted(answer::Rejected::default())
            }
            _ => match answer::classify_error("CreateLogStream", &error) {
                PutOutcome::NotFound { .. } => PutOutcome::Refused {
                    reason: format!("the log group `{}` does not exist", self.settings.log_group).into(),
                },
                PutOutcome::Refused { reason } => PutOutcome::Refused {
                    reason: format!(
                        "the log stream `{}` is missing and cannot be created: {reason}",
                        self.settings.log_stream
                    )
                    .into(),
                },
                other => other,
            },
        }
    }
}

fn no_answer(unanswered: &Unanswered) -> ForeignText {
    format!("CloudWatch Logs: {unanswered}").into()
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
        // Fails only if a required field is missing, and none is.
        .ok()
}

#[cfg(test)]
pub(crate) mod tests;
