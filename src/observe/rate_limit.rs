//! A rate limit for calls that count against a quota of the whole account.
//!
//! Many readers spend such a quota, and none of them sees the others. The probe's own readers therefore share
//! a rate limit that leaves most of the quota to other users. It must never become a queue of work: a caller
//! that is dropped while it waits uses up no slot.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The rate limit of one account; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RateLimit {
    // tokio's mutex is a fair queue: the caller that holds it waits out the pause after the last call.
    next: Arc<Mutex<Option<Instant>>>,
}

impl RateLimit {
    /// Waits until a call may be made. The next one may be made `pause` later at the earliest.
    pub async fn take(&self, pause: Duration) {
        let mut next = self.next.lock().await;
        if let Some(next) = *next {
            tokio::time::sleep_until(next).await;
        }
        *next = Some(Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_of_all_clones_are_a_pause_apart() {
        let (start, limit) = (Instant::now(), RateLimit::default());
        let other = limit.clone();
        let pause = Duration::from_millis(500);
        let third = tokio::time::timeout(Duration::from_millis(700), async {
            limit.take(pause).await;
            other.take(pause).await;
            limit.take(pause).await;
        });
        assert!(third.await.is_err());
        assert_eq!(start.elapsed(), Duration::from_millis(700));
        other.take(pause).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1), "a caller that was dropped uses up no slot");
    }
}
