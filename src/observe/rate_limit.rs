//! A rate limit for calls that count against a quota of the whole account.
//!
//! Many readers spend such a quota, and none of them sees the others. The probe's own readers therefore share
//! a rate limit that leaves most of the quota to other users. It must never become a queue of work: a caller
//! that is dropped while it waits uses up no slot.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The rate limit of one account; clones share it. One clone is kept to make the others, and each of them is a user.
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

    /// The same, but not beyond `until`. Returns whether a call may be made.
    pub async fn take_until(&self, until: Instant, pause: Duration) -> bool {
        tokio::time::timeout_at(until, self.take(pause)).await.is_ok()
    }

    /// How many users share it.
    #[must_use]
    pub fn users(&self) -> u32 {
        let others = Arc::strong_count(&self.next).saturating_sub(1).max(1);
        u32::try_from(others).unwrap_or(u32::MAX)
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

    #[tokio::test(start_paused = true)]
    async fn a_caller_waits_for_a_slot_only_as_long_as_it_has_time() {
        let (start, limit) = (Instant::now(), RateLimit::default());
        let pause = Duration::from_secs(1);
        let until = start + pause;
        assert!(limit.take_until(until, pause).await && limit.take_until(until, pause).await);
        assert!(!limit.take_until(until, pause).await);
        assert_eq!(start.elapsed(), pause);
    }

    #[test]
    fn users_are_the_clones_of_the_first() {
        let limit = RateLimit::default();
        let clones = [limit.clone(), limit.clone(), limit.clone()];
        assert_eq!((limit.users(), clones[0].users()), (3, 3));
        drop(clones);
        assert_eq!(limit.users(), 1);
    }
}
