//! Turns at calls that many readers, ours and others, share a quota of.
//!
//! A quota that counts all calls of an account is spent by each reader a little, and none of them sees the others. So
//! our own take limit, at a pace that leaves a share to everybody else. It must never be a queue of work: whoever is
//! dropped while it waits costs nobody a turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Turns at the calls of one account; clones share them.
#[derive(Clone, Debug, Default)]
pub struct RateLimit {
    // A mutex, because it is a fair queue by itself: whoever holds it waits out the pause after the turn before.
    next: Arc<Mutex<Option<Instant>>>,
}

impl RateLimit {
    /// Waits for a turn. The next one is given out `pause` later at the earliest.
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
    async fn calls_are_a_pause_apart_whoever_makes_them() {
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
        assert_eq!(start.elapsed(), Duration::from_secs(1), "the turn that was given up is free");
    }
}
