//! The last scrape: what was counted during shutdown must still reach Prometheus.
//!
//! A restarted probe does not count again what the previous run counted, so a loss that was decided after the
//! last scrape would appear in no series. A daemon that is about to end therefore waits for the next scrape,
//! if scrapes come at a regular interval. A person who reads the metrics now and then delays no restart.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How much later than expected a scrape may be.
const JITTER: Duration = Duration::from_secs(1);
/// Most Prometheus servers whose scrapes are told apart. Two are common, so that one can be restarted.
const MAX_SCRAPERS: usize = 3;
/// Scrapes that are remembered: with so many, two intervals of every scraper are known.
const REMEMBERED: usize = 2 * MAX_SCRAPERS + 1;

/// When the metrics were scraped, oldest first.
#[derive(Debug)]
pub struct Scrapes(watch::Sender<VecDeque<Instant>>);

impl Default for Scrapes {
    fn default() -> Self {
        Self(watch::Sender::new(VecDeque::with_capacity(REMEMBERED)))
    }
}

impl Scrapes {
    /// Records that the metrics were read just now.
    pub fn note(&self) {
        let now = Instant::now();
        self.0.send_modify(|seen| {
            if seen.len() == REMEMBERED {
                seen.pop_front();
            }
            seen.push_back(now);
        });
    }

    /// How long after one scrape the next one has come at the latest, if they come at a regular interval.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        let seen = self.0.borrow();
        expected(&seen).and_then(|next| Some(next.saturating_duration_since(*seen.back()?) + JITTER))
    }

    /// Waits for the next scrape until `deadline`, and no longer than until it is overdue. Returns at once if
    /// none is expected.
    pub async fn wait_for_one(&self, deadline: Instant) {
        let mut scrapes = self.0.subscribe();
        let Some(expected) = expected(&scrapes.borrow_and_update()) else {
            return;
        };
        let due = (expected + JITTER).min(deadline);
        // Scraped or not, the daemon ends.
        let _scraped = timeout(due.saturating_duration_since(Instant::now()), scrapes.changed()).await;
    }
}

/// When the next scrape should come, if the last ones came at a regular interval.
///
/// With several scrapers, intervals between consecutive scrapes differ, but each scraper's own are equal: the
/// last scrape and the one before it of the same scraper are as far apart as the two before them.
fn expected(seen: &VecDeque<Instant>) -> Option<Instant> {
    let back = |steps: usize| seen.len().checked_sub(1 + steps).map(|at| seen[at]);
    (1..=MAX_SCRAPERS).find_map(|scrapers| {
        let intervals = |steps: usize| Some(back(steps)? - back(steps + scrapers)?);
        let (last, before) = (intervals(0)?, intervals(scrapers)?);
        // The scraper that is next scraped last `scrapers - 1` scrapes ago.
        (last.abs_diff(before) <= JITTER).then_some(back(scrapers - 1)? + last)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Scraped after each of these pauses, in seconds.
    async fn scraped_after(pauses: &[u64]) -> Scrapes {
        let scrapes = Scrapes::default();
        for pause in pauses {
            sleep(s(*pause)).await;
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
        assert_eq!(waits(&scraped_after(&[]).await, s(60)).await, s(0));
        assert_eq!(waits(&scraped_after(&[15, 15]).await, s(60)).await, s(0));
        let long_ago = scraped_after(&[15, 15, 15]).await;
        sleep(s(300)).await;
        assert_eq!(waits(&long_ago, s(60)).await, s(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_who_reads_the_metrics_now_and_then_delays_no_stop() {
        assert_eq!(waits(&scraped_after(&[3, 40, 9, 25]).await, s(60)).await, s(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_scrape_or_when_it_is_overdue_or_at_the_deadline() {
        let scrapes = Arc::new(scraped_after(&[15, 15, 15]).await);
        let next = async {
            sleep(s(9)).await;
            scrapes.note();
        };
        let (waited, ()) = tokio::join!(waits(&scrapes, s(60)), next);
        assert_eq!(waited, s(9));
        assert_eq!(waits(&scraped_after(&[15, 15, 15]).await, s(60)).await, s(16));
        assert_eq!(waits(&scraped_after(&[15, 15, 15]).await, s(5)).await, s(5));
    }

    #[tokio::test(start_paused = true)]
    async fn with_two_scrapers_the_one_that_is_next_decides() {
        // One at 0, 15, 30, 45 and one at 2, 17, 32: the next scrape comes at 47, 2 s after the last.
        assert_eq!(waits(&scraped_after(&[0, 2, 13, 2, 13, 2, 13]).await, s(60)).await, s(3));
    }
}
