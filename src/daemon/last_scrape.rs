//! The last scrape: what was counted during shutdown must still reach Prometheus.
//!
//! A restarted probe does not count again what the previous run counted, so a loss that was decided after the
//! last scrape would appear in no series. A daemon that is about to end therefore waits for one more scrape,
//! if it is scraped at all, for as long as the scrape interval.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How much later than the scrape interval the next scrape may be.
const JITTER: Duration = Duration::from_secs(1);

/// When the metrics were scraped.
#[derive(Debug)]
pub struct Scrapes(watch::Sender<Seen>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    last: Option<Instant>,
    /// The time between the last two.
    interval: Option<Duration>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self(watch::Sender::new(Seen::default()))
    }
}

impl Scrapes {
    /// Records that the metrics were read just now.
    pub fn note(&self) {
        let now = Instant::now();
        self.0.send_modify(|seen| {
            *seen = Seen { last: Some(now), interval: seen.last.map(|last| now - last) };
        });
    }

    /// Waits for one more scrape until `deadline`. Returns at once if the scrape interval is unknown.
    pub async fn wait_for_one(&self, deadline: Instant) {
        let mut scrapes = self.0.subscribe();
        let Seen { last: Some(last), interval: Some(interval) } = *scrapes.borrow_and_update() else {
            return;
        };
        let due = (last + interval + JITTER).min(deadline);
        // Scraped or not, the daemon ends.
        let _scraped = timeout(due.saturating_duration_since(Instant::now()), scrapes.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    async fn scraped_every(secs: u64, times: usize) -> Scrapes {
        let scrapes = Scrapes::default();
        for _ in 0..times {
            sleep(s(secs)).await;
            scrapes.note();
        }
        scrapes
    }

    async fn waits(scrapes: &Scrapes, at_most: Duration) -> Duration {
        let began = Instant::now();
        scrapes.wait_for_one(began + at_most).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_scrape_if_none_is_expected() {
        assert_eq!(waits(&scraped_every(15, 0).await, s(60)).await, s(0));
        assert_eq!(waits(&scraped_every(15, 1).await, s(60)).await, s(0));
        let long_ago = scraped_every(15, 2).await;
        sleep(s(300)).await;
        assert_eq!(waits(&long_ago, s(60)).await, s(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_scrape_or_when_it_is_overdue_or_at_the_deadline() {
        let scrapes = Arc::new(scraped_every(15, 2).await);
        let next = async {
            sleep(s(9)).await;
            scrapes.note();
        };
        let (waited, ()) = tokio::join!(waits(&scrapes, s(60)), next);
        assert_eq!(waited, s(9));
        assert_eq!(waits(&scraped_every(15, 2).await, s(60)).await, s(16));
        assert_eq!(waits(&scraped_every(15, 2).await, s(5)).await, s(5));
    }
}
