//! Shards whose calls are throttled.
//!
//! All readers of a shard use up its calls together, so that some shards are throttled while the others answer. The
//! others must not wait for them: only the shard has a pause, and it stays covered up to the poll that reached its tip.
//! If that lasts, nothing more is proven, and the poll fails, because its failure is the reason that people see.

use tokio::time::Instant;

use super::{Cursor, Kinesis};
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;

/// Calls of a shard that were throttled in a row.
#[derive(Debug)]
pub(super) struct Throttled {
    /// When the first of them was.
    since: Instant,
    /// How the last of them failed.
    failure: ObserveError,
}

impl Cursor {
    /// A call was throttled: the next one waits for longer.
    pub(super) fn back_off(&mut self, failure: ObserveError) {
        let next = self.budget.back_off();
        // With enhanced fan-out, the next call opens a subscription.
        self.subscribe_at = self.subscribe_at.max(Some(next));
        let since = self.throttled.as_ref().map_or_else(Instant::now, |before| before.since);
        self.throttled = Some(Throttled { since, failure });
    }
}

impl Kinesis {
    /// Returns why a poll with this watermark proves nothing more, if that is because of throttling: of all shards, or
    /// of one for long.
    pub(super) fn why_throttled(&self, watermark: Option<Timestamp>) -> Option<ObserveError> {
        let open = || self.cursors.values().filter(|cursor| !cursor.ended && cursor.requested > 0);
        let throttled = open().filter_map(|cursor| Some((cursor.tip, cursor.throttled.as_ref()?)));
        // The one that holds the watermark back, or that has no tip.
        let (_, longest) = throttled.clone().min_by_key(|(tip, throttled)| (*tip, throttled.since))?;
        let (shards, count) = (open().count(), throttled.count());
        let took = longest.since.elapsed();
        if watermark <= self.proven && took >= self.throttled_after {
            let detail = format!(
                "{}; throttled for {} s, and {count} of {shards} shards are",
                longest.failure.detail,
                took.as_secs()
            );
            return Some(ObserveError::new(longest.failure.kind, detail));
        }
        // Not even a poll that waits for the pauses of all may count as answered.
        (count == shards).then(|| ObserveError { retry_after: None, ..longest.failure.clone() })
    }
}
