//! Our budget of a shard, and of the process's memory.
//!
//! A shard gives all its readers together five answers and 2 MiB a second; an answer of 10 MiB is paid off by all of
//! them, for up to five seconds (Kinesis API reference, GetRecords). The pipeline's own consumer is one of them. So each
//! shard is requested once a second at most, for as many records as our budget of a second probably is, and when they turn
//! out to be more, not again before they are paid for. It holds across looks, however long or often they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// From one call of GetRecords on a shard to the next: a fifth of what it answers in a second (Kinesis quotas).
pub(super) const GAP: Duration = Duration::from_secs(1);
/// What a call may be later in a look than the one before was in its own: a look of one a second must not find that it is
/// a millisecond too early. Longer waits would make looks overlap with the next one's time.
const PATIENCE: Duration = Duration::from_millis(250);
/// Records of the first answer, before their size is known: 10 MiB at worst, since a record has up to 1 MiB, but most
/// are far smaller.
const UNKNOWN: u64 = 100;

/// What one shard was requested for and has given.
#[derive(Debug, Default)]
pub(super) struct ReadBudget {
    last: Option<Instant>,
    next: Option<Instant>,
    /// Of the last answer with any, in bytes, at least 1.
    bytes_a_record: Option<u64>,
}

impl ReadBudget {
    /// Whether it may be requested now, or so soon that a look that is in step stays in step.
    pub(super) fn is_due(&self) -> bool {
        self.is_due_within(PATIENCE)
    }

    /// Whether it may be requested after such a wait at the latest.
    pub(super) fn is_due_within(&self, wait: Duration) -> bool {
        self.next.is_none_or(|next| next <= Instant::now() + wait)
    }

    /// Takes the next turn, and says when it comes.
    pub(super) fn take_slot(&mut self) -> Instant {
        let now = Instant::now();
        let at = self.next.map_or(now, |next| next.max(now));
        self.last = Some(at);
        self.next = Some(at + GAP);
        at
    }

    /// Gives the last turn back: a call that failed brought nothing to pay for, and the loop waits after failures. A look
    /// that requested nobody meanwhile would progress for one that was answered.
    pub(super) fn refund(&mut self) {
        self.next = None;
    }

    /// How many records probably make up our budget of a second, at most `most`.
    pub(super) fn limit(&self, most: i32, bytes_a_second: u64) -> i32 {
        let records = self.bytes_a_record.map_or(UNKNOWN, |bytes| bytes_a_second / bytes);
        i32::try_from(records).unwrap_or(i32::MAX).clamp(1, most.max(1))
    }

    /// Charges an answer.
    pub(super) fn charge(&mut self, records: u64, bytes: u64, bytes_a_second: u64) {
        // An empty answer says nothing of sizes.
        self.bytes_a_record = bytes.checked_div(records).map(|bytes| bytes.max(1)).or(self.bytes_a_record);
        let paid = Duration::from_millis(bytes.saturating_mul(1_000) / bytes_a_second.max(1));
        let free = self.last.map(|last| last + paid.max(GAP));
        self.next = self.next.max(free);
    }
}

/// Room for answers of GetRecords in memory, of all streams of a process; clones budget it.
#[derive(Clone, Debug)]
pub struct Pages(Arc<Semaphore>);

impl Pages {
    /// Answers at a time. An answer has as many bytes as our budget of a second, and 10 MiB when records have suddenly
    /// become larger; as it arrives, in base64, a third more.
    const MOST: usize = 16;

    /// Waits for room, which is free again when the permit is dropped.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.0.clone().acquire_owned().await.ok()
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Self::MOST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_read_once_a_second_at_most() {
        let start = Instant::now();
        let mut budget = ReadBudget::default();
        assert_eq!(budget.take_slot(), start);
        assert!(!budget.is_due() && budget.is_due_within(GAP));
        tokio::time::advance(Duration::from_millis(900)).await;
        assert!(budget.is_due());
        assert_eq!(budget.take_slot(), start + GAP);
        assert!(!budget.is_due_within(GAP));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(
            budget.take_slot(),
            start + Duration::from_millis(10_900),
            "what was not used is not saved up"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_response_delays_the_next_request() {
        let start = Instant::now();
        let mut budget = ReadBudget::default();
        budget.take_slot();
        budget.charge(10, 5_000, 1_000);
        assert!(!budget.is_due());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!budget.is_due() && budget.is_due_within(GAP));
        assert_eq!(budget.take_slot(), start + Duration::from_secs(5));
        budget.charge(10, 0, 1_000);
        assert_eq!(budget.take_slot(), start + Duration::from_secs(6));
    }

    #[test]
    fn as_many_records_are_requested_as_the_budget_of_a_second_allows() {
        let mut budget = ReadBudget::default();
        assert_eq!(budget.limit(10_000, 512 << 10), 100);
        budget.charge(100, 100 << 10, 512 << 10);
        assert_eq!(budget.limit(10_000, 512 << 10), 512);
        assert_eq!(budget.limit(300, 512 << 10), 300);
        budget.charge(0, 0, 512 << 10);
        assert_eq!(budget.limit(10_000, 512 << 10), 512, "an empty answer says nothing of sizes");
        budget.charge(1, 1 << 20, 512 << 10);
        assert_eq!(budget.limit(10_000, 512 << 10), 1);
    }
}
