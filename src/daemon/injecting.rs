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

/// Which canaries are not put any more.
pub struct Freshness {
    /// How long ago the planned time of a canary may be when its first put begins.
    pub within: Duration,
    /// Gets those that are older.
    pub late: mpsc::Sender<Vec<CanaryLine>>,
}

/// Puts canaries until the engine closes the queue. `cancel` ends the retries of puts in progress.
pub async fn run(
    injector: Injector,
    outbound: mpsc::Receiver<CanaryLine>,
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
) {
    put_all(injector, outbound, reports, None, cancel).await;
}

/// Does the same, but puts no canary that is older than `freshness` allows: a load must not charge the pipeline for what
/// waits here until earlier puts are answered.
pub async fn run_fresh(
    injector: Injector,
    outbound: mpsc::Receiver<CanaryLine>,
    reports: mpsc::Sender<Report>,
    freshness: Freshness,
    cancel: CancellationToken,
) {
    put_all(injector, outbound, reports, Some(freshness), cancel).await;
}

async fn put_all(
    injector: Injector,
    mut outbound: mpsc::Receiver<CanaryLine>,
    reports: mpsc::Sender<Report>,
    freshness: Option<Freshness>,
    cancel: CancellationToken,
) {
    let within = freshness.as_ref().map_or(Duration::MAX, |freshness| freshness.within);
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
            puts.push(injector.put_fresh(std::mem::take(&mut due), within, &cancel));
            continue;
        }
        let room = MAX_BATCH.saturating_sub(due.len());
        tokio::select! {
            Some((report, late)) = puts.next() => {
                if let Some(freshness) = freshness.as_ref().filter(|_| !late.is_empty())
                    && freshness.late.send(late).await.is_err()
                {
                    return;
                }
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
    use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_types::body::SdkBody;

    use super::*;
    use crate::domain::tag::TraceId;
    use crate::domain::time::{Timestamp, WallClock};
    use crate::domain::topology::TenantId;
    use crate::inject::tests::injector_of;

    /// A fake of CloudWatch Logs that answers every put after three seconds.
    #[derive(Clone, Debug)]
    struct Slow;

    impl HttpConnector for Slow {
        fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                let answer = http::Response::builder().status(200).body(SdkBody::from("{}")).unwrap();
                Ok(answer.try_into().unwrap())
            })
        }
    }

    /// A clock that follows the paused one.
    fn clock() -> WallClock {
        let start = Instant::now();
        WallClock::new(move || Timestamp::from_secs(1_795_321_781) + start.elapsed())
    }

    fn slow_injector(clock: &WallClock) -> Injector {
        injector_of(Slow, clock.clone())
    }

    /// Sends 60 canaries a second for ten seconds, in time.
    async fn send(clock: &WallClock, queue: mpsc::Sender<CanaryLine>) {
        for _ in 0..600 {
            let planned_at = clock.now().floor_to_millis();
            let trace = TraceId::new(planned_at, [0; 10]);
            let line = CanaryLine { trace, tenant: TenantId(0), planned_at, line: "canary".to_owned() };
            queue.try_send(line).unwrap();
            tokio::time::sleep(Duration::from_millis(1_000) / 60).await;
        }
    }

    fn received<T>(from: &mut mpsc::Receiver<T>) -> Vec<T> {
        std::iter::from_fn(|| from.try_recv().ok()).collect()
    }

    fn results(reports: &mut mpsc::Receiver<Report>) -> usize {
        received(reports).iter().map(|report| report.results.len()).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_too_long_behind_slow_puts_is_told_and_not_put() {
        let clock = clock();
        let ((queue, due), (reports, mut told)) = (mpsc::channel(1_000), mpsc::channel(1_000));
        let (late, mut missed) = mpsc::channel(1_000);
        let freshness = Freshness { within: Duration::from_secs(1), late };
        let injecting = run_fresh(slow_injector(&clock), due, reports, freshness, CancellationToken::new());
        tokio::join!(injecting, send(&clock, queue));
        let missed: Vec<_> = received(&mut missed).into_iter().flatten().collect();
        assert!(missed.len() > 60, "{} were missed", missed.len());
        assert_eq!(results(&mut told) + missed.len(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn the_daemons_own_canaries_are_put_however_long_they_waited() {
        let clock = clock();
        let ((queue, due), (reports, mut told)) = (mpsc::channel(1_000), mpsc::channel(1_000));
        let injecting = run(slow_injector(&clock), due, reports, CancellationToken::new());
        tokio::join!(injecting, send(&clock, queue));
        assert_eq!(results(&mut told), 600);
    }

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
