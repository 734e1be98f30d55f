//! The last scrape: what was counted on the way out must still reach Prometheus.
//!
//! The store does not count again what an earlier life counted, so a loss that was decided after the last scrape of a
//! process would stand in no series at all. A daemon that has come to its end therefore waits for one more scrape, if
//! anybody scrapes it, for as long as the scrapes are apart.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// A scrape may be so much later than the one before was.
const JITTER: Duration = Duration::from_secs(1);

/// The scrapes so far.
#[derive(Debug)]
pub struct Scrapes(watch::Sender<Seen>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    last: Option<Instant>,
    /// How far apart the last two were.
    apart: Option<Duration>,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self(watch::Sender::new(Seen::default()))
    }
}

impl Scrapes {
    /// Somebody read the metrics just now.
    pub fn note(&self) {
        let now = Instant::now();
        self.0.send_modify(|seen| {
            *seen = Seen { last: Some(now), apart: seen.last.map(|last| now - last) };
        });
    }

    /// Waits for one more, at most until `deadline`; not at all where there is no rhythm of scrapes to go by.
    pub async fn one_more(&self, deadline: Instant) {
        let mut scrapes = self.0.subscribe();
        let Seen { last: Some(last), apart: Some(apart) } = *scrapes.borrow_and_update() else {
            return;
        };
        let due = (last + apart + JITTER).min(deadline);
        // Whether it came or not, there is nothing more to do.
        let _came = timeout(due.saturating_duration_since(Instant::now()), scrapes.changed()).await;
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
        scrapes.one_more(began + at_most).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_stop_does_not_wait_for_a_scrape_where_none_is_expected() {
        assert_eq!(waits(&scraped_every(15, 0).await, s(60)).await, s(0));
        assert_eq!(waits(&scraped_every(15, 1).await, s(60)).await, s(0));
        let long_ago = scraped_every(15, 2).await;
        sleep(s(300)).await;
        assert_eq!(waits(&long_ago, s(60)).await, s(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_scrape_when_it_is_overdue_or_at_the_deadline() {
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
