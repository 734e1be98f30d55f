//! The one loop that paces every observer, whatever its kind.
//!
//! It looks only while something waits, at the source's rhythm, and early when a look would prove something: at the
//! instant that a waiting trace crosses a threshold or a deadline. It gives a look its time limit, backs off when looks
//! fail, and reports each of them. It must never make two calls at once to one source, and never decide what a look
//! means: that is the tracker's.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Observe, ObserveError};
use crate::domain::sighting::{FailureKind, Wanted};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::SourceId;
use crate::domain::tracker::Input;

/// How often a source is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// From the start of one look to the start of the next.
    pub interval: Duration,
    /// How long a look may take.
    pub timeout: Duration,
    /// How long after an instant a look must begin to prove what had arrived by it.
    pub settle: Duration,
}

impl Rhythm {
    /// The longest pause after failed looks. Short enough that a source that came back is seen again soon.
    const MAX_BACKOFF: Duration = Duration::from_secs(15);

    /// The longest that a source is left alone because it asks for it. A proxy that answers `Retry-After: 86400`, or a
    /// number that is meant in milliseconds, must not end the watch for a day.
    const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

    /// The shortest time from look to look on average: early looks may at most double the calls.
    fn min_gap(&self) -> Duration {
        self.interval / 2
    }

    /// When to look next, if the last look began at `last` and proved everything up to `covered`.
    fn next_poll(
        &self,
        last: Option<Timestamp>,
        burst: Duration,
        covered: Option<Timestamp>,
        checkpoints: &[Timestamp],
    ) -> Timestamp {
        let Some(last) = last else {
            return Timestamp::MIN;
        };
        let unproven = checkpoints.iter().find(|at| covered.is_none_or(|covered| covered <= **at));
        // One microsecond more, since a look proves what arrived *before* its watermark.
        let early = unproven.map(|at| *at + self.settle + Duration::from_micros(1));
        let regular = last + self.interval;
        let soonest = last + self.min_gap().saturating_sub(burst);
        early.map_or(regular, |early| early.max(soonest).min(regular))
    }

    /// What is left to be spent on early looks after one that began `gap` after the look before.
    ///
    /// Each look uses up half an interval; what the looks before left of that lets an early one come at its very
    /// instant, so that a proof is not held up by a look that happens to have begun just before. Two such looks can be
    /// saved up, and no more, or many traces in a stall would make a burst of calls.
    fn burst(&self, burst: Duration, gap: Duration) -> Duration {
        (burst + gap).saturating_sub(self.min_gap()).min(self.min_gap() * 2)
    }

    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBackoff {
            initial_interval: self.interval,
            current_interval: self.interval,
            multiplier: 2.0,
            randomization_factor: 0.2,
            max_interval: Self::MAX_BACKOFF.max(self.interval),
            // The daemon never stops looking; only the sequence of delays is used here.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        }
    }
}

/// Where a loop reads what it is asked for, and where it sends what it found.
#[derive(Debug)]
pub struct Channels {
    /// Which source this is.
    pub source: SourceId,
    /// What to look for.
    pub wanted: watch::Receiver<Wanted>,
    /// To the engine.
    pub reports: mpsc::Sender<Input>,
    /// Ends the loop.
    pub stop: CancellationToken,
}

/// Looks until it is stopped.
pub async fn watch<O: Observe>(mut observer: O, rhythm: Rhythm, clock: WallClock, mut ends: Channels) {
    let stop = ends.stop.clone();
    // `None` only when it was stopped: whatever the loop was waiting for is dropped with it.
    let _stopped = stop.run_until_cancelled(poll_forever(&mut observer, rhythm, &clock, &mut ends)).await;
}

async fn poll_forever<O: Observe>(observer: &mut O, rhythm: Rhythm, clock: &WallClock, ends: &mut Channels) {
    let mut backoff = rhythm.backoff();
    let mut last: Option<Timestamp> = None;
    let mut burst = Duration::ZERO;
    let mut covered = None;
    let mut incomplete = false;
    let mut schema = None;
    loop {
        let wanted = ends.wanted.borrow_and_update().clone();
        if wanted.waiting.is_empty() {
            observer.rest();
            if ends.wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        // A look that comes early proves nothing while there is more to read than one look can.
        let checkpoints = if incomplete { &[][..] } else { &wanted.checkpoints[..] };
        let due = rhythm.next_poll(last, burst, covered, checkpoints);
        let pause = due.since(clock.now());
        if !pause.is_zero() {
            // A changed list may bring a checkpoint that is due sooner.
            match tokio::time::timeout(pause, ends.wanted.changed()).await {
                Err(_) => {}
                Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
            }
        }
        let started = clock.now();
        burst = last.map_or(Duration::ZERO, |last| rhythm.burst(burst, started.since(last)));
        last = Some(started);
        let polled = match tokio::time::timeout(rhythm.timeout, observer.poll(&wanted)).await {
            Ok(polled) => polled,
            Err(_) => Err(timed_out(rhythm.timeout)),
        };
        let (input, pause) = match polled {
            Ok(poll) => {
                backoff.reset();
                covered = poll.watermark.or(covered);
                incomplete = poll.watermark.is_none();
                (Input::Polled { source: ends.source, poll }, Duration::ZERO)
            }
            Err(error) => {
                let found = observer.take_unreported();
                if !found.is_empty() {
                    // What a look found that did not end well proves no absence.
                    let poll = found.into_poll(&wanted, started, clock.now(), None);
                    if ends.reports.send(Input::Polled { source: ends.source, poll }).await.is_err() {
                        return;
                    }
                }
                let delay = backoff.next_backoff().unwrap_or(Rhythm::MAX_BACKOFF);
                let retry_after = error.retry_after.unwrap_or_default().min(Rhythm::MAX_RETRY_AFTER);
                let delay = retry_after.max(delay);
                let ObserveError { kind, detail, .. } = error;
                (Input::PollFailed { source: ends.source, kind, detail }, delay)
            }
        };
        if ends.reports.send(input).await.is_err() {
            return;
        }
        // Also after a look that failed: the column that it looks for may be the one that is gone.
        let read = observer.schema();
        if read != schema
            && let Some(read) = &read
        {
            let input = Input::SchemaRead { source: ends.source, schema: read.clone() };
            if ends.reports.send(input).await.is_err() {
                return;
            }
            schema = Some(read.clone());
        }
        tokio::time::sleep(pause).await;
    }
}

fn timed_out(limit: Duration) -> ObserveError {
    ObserveError::new(FailureKind::Timeout, format!("no answer within {} s", limit.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::domain::schema::{Column, TableSchema};
    use crate::domain::sighting::{Poll, WantedTrace};
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
    use crate::observe::Findings;

    const RHYTHM: Rhythm =
        Rhythm { interval: Duration::from_secs(10), timeout: Duration::from_secs(5), settle: Duration::ZERO };

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A wall clock that follows tokio's paused time.
    fn clock() -> WallClock {
        let start = tokio::time::Instant::now();
        WallClock::new(move || t(1_000) + start.elapsed())
    }

    fn wanted(revision: u64, ids: u128) -> Wanted {
        let trace = |id| WantedTrace {
            tag: Tag::new(
                TraceId::from_u128(id),
                TenantCode::of("a"),
                InstanceCode::of("b"),
                100,
                Purpose::Probe,
            ),
            planned_at: t(1_000),
        };
        Wanted { revision, waiting: (0..ids).map(trace).collect(), ..Wanted::default() }
    }

    enum Answer {
        Fine,
        Incomplete,
        Fails,
        RetryAfter(Duration),
        Hangs,
    }

    struct Scripted {
        clock: WallClock,
        polls: Arc<Mutex<Vec<Timestamp>>>,
        answer: fn(usize) -> Answer,
        found: Findings,
    }

    fn incomplete(wanted: &Wanted, at: Timestamp) -> Poll {
        Findings::default().into_poll(wanted, at, at, None)
    }

    impl Observe for Scripted {
        async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
            let now = self.clock.now();
            let nth = {
                let mut polls = self.polls.lock().unwrap();
                polls.push(now);
                polls.len()
            };
            match (self.answer)(nth) {
                Answer::Fine => Ok(Poll { watermark: Some(now), ..incomplete(wanted, now) }),
                Answer::Incomplete => Ok(incomplete(wanted, now)),
                Answer::Fails => Err(ObserveError::new(FailureKind::Error, "scripted")),
                Answer::RetryAfter(pause) => {
                    let error = ObserveError::new(FailureKind::Throttled, "scripted");
                    Err(ObserveError { retry_after: Some(pause), ..error })
                }
                Answer::Hangs => {
                    self.found.stats.records += 3;
                    std::future::pending().await
                }
            }
        }

        fn take_unreported(&mut self) -> Findings {
            std::mem::take(&mut self.found)
        }

        /// From the third look on, a column is gone.
        fn schema(&self) -> Option<Arc<TableSchema>> {
            let id = Column { name: "id".into(), kind: "STRING".into(), mode: "NULLABLE".into() };
            let columns = if self.polls.lock().unwrap().len() < 3 { vec![id] } else { Vec::new() };
            Some(Arc::new(TableSchema { columns }))
        }
    }

    /// Runs a loop for so many seconds of paused time and returns the seconds at which it looked, and what it reported.
    async fn polls_during(secs: u64, wanted: Wanted, answer: fn(usize) -> Answer) -> (Vec<i64>, Vec<Input>) {
        let clock = clock();
        let polls = Arc::new(Mutex::new(Vec::new()));
        let (_keep, wanted) = watch::channel(wanted);
        let (reports, mut received) = mpsc::channel(1_000);
        let stop = CancellationToken::new();
        let ends = Channels { source: SourceId(0), wanted, reports, stop: stop.clone() };
        let observer =
            Scripted { clock: clock.clone(), polls: polls.clone(), answer, found: Findings::default() };
        let polling = watch(observer, RHYTHM, clock, ends);
        let ending = async {
            tokio::time::sleep(Duration::from_secs(secs)).await;
            stop.cancel();
        };
        tokio::join!(polling, ending);
        let mut reported = Vec::new();
        while let Ok(input) = received.try_recv() {
            reported.push(input);
        }
        let at = polls.lock().unwrap().iter().map(|at| at.since(t(1_000)).as_secs() as i64).collect();
        (at, reported)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_outstanding_costs_no_poll() {
        assert!(polls_during(3_600, wanted(1, 0), |_| Answer::Fine).await.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn five_hundred_traces_cost_as_many_polls_as_one() {
        let one = polls_during(95, wanted(1, 1), |_| Answer::Fine).await.0;
        let many = polls_during(95, wanted(1, 500), |_| Answer::Fine).await.0;
        assert_eq!(one, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        assert_eq!(one, many);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_comes_early_at_the_instant_it_can_prove_something() {
        let wanted = Wanted { checkpoints: vec![t(1_017)].into(), ..wanted(1, 1) };
        assert_eq!(polls_during(40, wanted, |_| Answer::Fine).await.0, [0, 10, 17, 27, 37]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_checkpoints_at_most_double_the_polls() {
        let checkpoints: Vec<_> = (1_000..1_100).map(t).collect();
        let wanted = Wanted { checkpoints: checkpoints.into(), ..wanted(1, 100) };
        let polls = polls_during(99, wanted, |_| Answer::Fine).await.0;
        assert!(polls.len() <= 20, "{polls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_not_held_up_by_a_poll_that_began_just_before() {
        let wanted = Wanted { checkpoints: vec![t(1_021), t(1_023), t(1_024)].into(), ..wanted(1, 1) };
        // Two early looks were saved up; the third comes as soon as the time since has paid for it.
        assert_eq!(polls_during(50, wanted, |_| Answer::Fine).await.0, [0, 10, 20, 21, 23, 25, 35, 45]);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_polls_back_off_and_a_good_one_restores_the_rhythm() {
        let (polls, reported) =
            polls_during(200, wanted(1, 1), |nth| if nth <= 4 { Answer::Fails } else { Answer::Fine }).await;
        let pauses: Vec<_> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[..4].iter().all(|pause| (8..=18).contains(pause)), "{pauses:?}");
        assert!(pauses[4..].iter().all(|pause| *pause == 10), "{pauses:?}");
        assert!(matches!(reported[0], Input::PollFailed { kind: FailureKind::Error, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_hangs_is_reported_and_does_not_hold_up_the_next() {
        let (polls, reported) = polls_during(60, wanted(1, 1), |_| Answer::Hangs).await;
        assert!(polls.len() >= 3, "{polls:?}");
        assert!(matches!(reported[1], Input::PollFailed { kind: FailureKind::Timeout, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_poll_found_before_it_hung_is_reported_before_its_failure() {
        let (_, reported) = polls_during(8, wanted(9, 1), |_| Answer::Hangs).await;
        let [Input::Polled { poll, .. }, Input::PollFailed { .. }, ..] = reported.as_slice() else {
            panic!("{reported:?}")
        };
        assert_eq!((poll.revision, poll.watermark, poll.stats.records), (9, None, 3));
        assert_eq!((poll.started, poll.finished), (t(1_000), t(1_005)));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_up_to_a_minute() {
        let patient = |nth| if nth == 1 { Answer::RetryAfter(Duration::from_secs(40)) } else { Answer::Fine };
        assert_eq!(polls_during(65, wanted(1, 1), patient).await.0, [0, 40, 50, 60]);
        let deaf = |nth| if nth == 1 { Answer::RetryAfter(Duration::MAX) } else { Answer::Fine };
        assert_eq!(polls_during(75, wanted(1, 1), deaf).await.0, [0, 60, 70]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_could_not_read_all_is_followed_by_none_before_its_time() {
        let wanted = Wanted { checkpoints: vec![t(1_003), t(1_017)].into(), ..wanted(1, 1) };
        let polls =
            polls_during(45, wanted, |nth| if nth < 3 { Answer::Incomplete } else { Answer::Fine }).await.0;
        assert_eq!(polls, [0, 10, 20, 30, 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_is_reported_when_it_changes_and_also_if_the_polls_fail() {
        for answer in [|_| Answer::Fine, |_| Answer::Fails] {
            let (polls, reported) = polls_during(120, wanted(1, 1), answer).await;
            assert!(polls.len() > 4, "{polls:?}");
            let columns = reported.iter().filter_map(|input| match input {
                Input::SchemaRead { schema, .. } => Some(schema.columns.len()),
                _ => None,
            });
            assert_eq!(columns.collect::<Vec<_>>(), [1, 0]);
        }
    }
}
