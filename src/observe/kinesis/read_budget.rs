//! Limits what the probe reads from a shard, and how many answers it holds in memory.
//!
//! A shard serves five answers and 2 MiB a second to all its readers together; after an answer of 10 MiB, all
//! of them are throttled for up to five seconds (Kinesis API reference, GetRecords). One of them is the
//! pipeline's own consumer. Therefore each shard is read at most once a second, with a record limit that
//! should fit our budget for a second. If the answer is larger, the next read waits until the budget has
//! recovered. The budget spans polls, however long and frequent they are. A shard that is throttled nevertheless
//! is called after a pause, which grows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// From one call of GetRecords on a shard to the next: a fifth of its calls per second (Kinesis quotas).
pub(super) const GAP: Duration = Duration::from_secs(1);
/// How long a call may wait for its slot within a poll: with one poll a second, a poll that is a millisecond
/// early must not skip the shard. Longer waits would run into the next poll.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(250);
/// The record limit of the first call, before sizes are known. A record has up to 1 MiB, but most are far
/// smaller, and an answer has 10 MiB at most.
const FIRST_LIMIT: u64 = 100;
/// From a call that was throttled to the next one of the shard. It doubles with each such call in a row, and is shorter
/// than what the loop waits after as many failures, so that a poll finds the shard due.
const PAUSE: Duration = Duration::from_millis(750);
/// How often the pause doubles, to 6 seconds.
const MAX_DOUBLINGS: u32 = 3;

/// The read budget of one shard.
#[derive(Debug, Default)]
pub(super) struct ReadBudget {
    /// When the last call was allowed.
    last: Option<Instant>,
    /// When the next call is allowed; `None` if at once.
    next: Option<Instant>,
    /// The mean of the last answer that had records, at least 1.
    bytes_per_record: Option<u64>,
    /// How many calls were throttled since the last answer.
    throttles: u32,
}

impl ReadBudget {
    /// Whether a call is allowed now, or soon enough that the current poll waits for it.
    pub(super) fn is_due(&self) -> bool {
        self.is_due_within(MAX_WAIT)
    }

    /// Whether a call is allowed within `wait`.
    pub(super) fn is_due_within(&self, wait: Duration) -> bool {
        self.next.is_none_or(|next| next <= Instant::now() + wait)
    }

    /// Reserves the next slot and returns when it starts.
    pub(super) fn take_slot(&mut self) -> Instant {
        let now = Instant::now();
        let at = self.next.map_or(now, |next| next.max(now));
        self.last = Some(at);
        self.next = Some(at + GAP);
        at
    }

    /// A call was throttled. Returns when the next one is allowed.
    pub(super) fn back_off(&mut self) -> Instant {
        let next = Instant::now() + PAUSE * 2_u32.pow(self.throttles.min(MAX_DOUBLINGS));
        self.throttles = self.throttles.saturating_add(1);
        self.next = self.next.max(Some(next));
        next
    }

    /// Returns the last slot: a failed call read nothing, and the loop waits after failures. Otherwise the
    /// next poll could skip the shard and count as answered without a call.
    pub(super) fn refund(&mut self) {
        self.next = None;
    }

    /// Returns how many records should fit into one second's budget, at most `max`.
    pub(super) fn limit(&self, max: i32, bytes_per_second: u64) -> i32 {
        let records = self.bytes_per_record.map_or(FIRST_LIMIT, |bytes| bytes_per_second / bytes);
        i32::try_from(records).unwrap_or(i32::MAX).clamp(1, max.max(1))
    }

    /// Charges an answer.
    pub(super) fn charge(&mut self, records: u64, bytes: u64, bytes_per_second: u64) {
        self.throttles = 0;
        let mean = bytes.checked_div(records).map(|bytes| bytes.max(1));
        self.bytes_per_record = mean.or(self.bytes_per_record);
        let recovery = Duration::from_millis(bytes.saturating_mul(1_000) / bytes_per_second.max(1));
        let recovered = self.last.map(|last| last + recovery.max(GAP));
        self.next = self.next.max(recovered);
    }
}

/// Limits the answers of GetRecords in memory, for all streams of the process; clones share the limit. Each stream has
/// room for one answer in addition: streams that do not answer must not hold up the others.
#[derive(Clone, Debug)]
pub struct Pages(Arc<Semaphore>);

impl Pages {
    /// Answers at a time, apart from one of each stream. An answer usually has one second's budget of bytes, but up to
    /// 10 MiB if records suddenly become larger, and a third more while it is received in base64.
    const MAX: usize = 16;

    /// The room of another stream.
    pub(super) fn of_stream(self) -> Room {
        Room { own: Arc::new(Semaphore::new(1)), pages: self }
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Self::MAX)))
    }
}

/// Room for the answers of one stream: for one at any time, and for more if there is room in [`Pages`]. Clones are of
/// the same stream.
#[derive(Clone, Debug)]
pub(super) struct Room {
    own: Arc<Semaphore>,
    pages: Pages,
}

impl Room {
    /// Waits for room, which is held until the permit is dropped.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        // No semaphore is ever closed, so this is always `Some`.
        tokio::select! {
            biased;
            permit = self.own.clone().acquire_owned() => permit.ok(),
            permit = self.pages.0.clone().acquire_owned() => permit.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_read_at_most_once_a_second() {
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
            "unused slots do not accumulate"
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

    #[tokio::test(start_paused = true)]
    async fn a_throttled_shard_is_called_after_a_pause_that_grows_until_it_answers() {
        let mut budget = ReadBudget::default();
        for pause in [750, 1_500, 3_000, 6_000, 6_000].map(Duration::from_millis) {
            let slot = budget.take_slot();
            tokio::time::sleep_until(slot).await;
            assert_eq!(budget.back_off(), slot + pause);
            // There is a second between two calls in any case.
            assert_eq!(budget.next, Some(slot + pause.max(GAP)));
        }
        budget.charge(0, 0, 1_000);
        tokio::time::sleep_until(budget.take_slot()).await;
        assert_eq!(budget.back_off(), Instant::now() + PAUSE);
    }

    #[test]
    fn a_stream_has_room_for_an_answer_whatever_the_others_hold() {
        let pages = Pages::default();
        let (one, other) = (pages.clone().of_stream(), pages.of_stream());
        let held: Vec<_> = std::iter::from_fn(|| one.take().now_or_never()).take(100).collect();
        assert_eq!(held.len(), Pages::MAX + 1);
        let own = other.take().now_or_never();
        assert!(own.is_some() && other.take().now_or_never().is_none());
        drop(held);
        assert!(other.take().now_or_never().is_some());
    }

    #[test]
    fn the_record_limit_follows_from_the_budget_and_the_last_record_sizes() {
        let mut budget = ReadBudget::default();
        assert_eq!(budget.limit(10_000, 512 << 10), 100);
        budget.charge(100, 100 << 10, 512 << 10);
        assert_eq!(budget.limit(10_000, 512 << 10), 512);
        assert_eq!(budget.limit(300, 512 << 10), 300);
        budget.charge(0, 0, 512 << 10);
        assert_eq!(budget.limit(10_000, 512 << 10), 512, "an empty answer has no record sizes");
        budget.charge(1, 1 << 20, 512 << 10);
        assert_eq!(budget.limit(10_000, 512 << 10), 1);
    }
}
