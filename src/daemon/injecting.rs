//! The injecting task of a log group: puts the engine's canaries and reports the results.
//!
//! A canary leaves at once while few do. Beyond ten calls a second those that are due in the meantime leave together,
//! as the agents of log services do it: the calls of a load would cost more than its events, here and of the account's
//! quota (5,000 PutLogEvents a second and region, CloudWatch Logs quotas). A put that is not answered does not hold up
//! the next one. CloudWatch Logs takes puts into one stream in parallel since it ignores sequence tokens.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::inject::{CanaryLine, Injector, Report};

/// Most canaries in one put. Any more leave with the next one.
const MAX_BATCH: usize = 1_000;
/// Most puts that are not answered yet. Canaries that are due meanwhile wait.
const MAX_PUTS: usize = 8;

/// Puts canaries until the engine closes the queue. `cancel` ends the retries of puts in progress.
pub async fn run(
    injector: Injector,
    mut outbound: mpsc::Receiver<CanaryLine>,
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
) {
    let mut due = Vec::new();
    let mut puts = FuturesUnordered::new();
    let mut pace = Pace::new(Instant::now());
    let mut is_open = true;
    while is_open || !due.is_empty() || !puts.is_empty() {
        let now = Instant::now();
        let is_enough = due.len() >= MAX_BATCH || !is_open || pace.allows(now);
        let may_put = !due.is_empty() && puts.len() < MAX_PUTS;
        if may_put && is_enough {
            pace.take(now);
            puts.push(injector.put(std::mem::take(&mut due), &cancel));
            continue;
        }
        let room = MAX_BATCH.saturating_sub(due.len());
        tokio::select! {
            Some(report) = puts.next() => {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
            more = outbound.recv_many(&mut due, room), if is_open && room > 0 => {
                is_open = more > 0;
            }
            () = sleep_until(pace.next), if may_put => {}
        }
    }
}

/// How often a put may begin, on average.
struct Pace {
    /// When the next put may begin. It lies in the past after a pause, so that several may begin at once.
    next: Instant,
}

impl Pace {
    /// From the beginning of one put to the next.
    const BETWEEN: Duration = Duration::from_millis(100);
    /// How many may begin at once after a pause.
    const BURST: u32 = 5;

    /// A pace after a long pause.
    fn new(now: Instant) -> Self {
        Self { next: now }
    }

    fn allows(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// A put begins now.
    fn take(&mut self, now: Instant) {
        let saved = now.checked_sub(Self::BETWEEN * (Self::BURST - 1)).unwrap_or(now);
        self.next = self.next.max(saved) + Self::BETWEEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many puts begin in this time, if one is due all the time.
    fn begun_within(pace: &mut Pace, start: Instant, within: Duration) -> u32 {
        let mut begun = 0;
        for millis in 0..u64::try_from(within.as_millis()).unwrap() {
            let now = start + Duration::from_millis(millis);
            if pace.allows(now) {
                pace.take(now);
                begun += 1;
            }
        }
        begun
    }

    #[test]
    fn few_canaries_leave_at_once_and_many_ten_times_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((10..=15).contains(&begun_within(&mut pace, start, Duration::from_secs(1))));
        let later = start + Duration::from_secs(60);
        let all_at_once = (0..Pace::BURST).all(|_| {
            let allowed = pace.allows(later);
            pace.take(later);
            allowed
        });
        assert!(all_at_once && !pace.allows(later));
    }
}
