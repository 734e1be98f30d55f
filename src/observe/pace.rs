//! The loop that paces every observer, whatever its kind.
//!
//! It polls only while traces wait, at the source's interval, and early if a poll would prove something: at
//! the instant at which a waiting trace crosses a threshold or a deadline. The first poll for young traces waits
//! a little until one of them has probably arrived. It limits the time of each poll,
//! backs off after failures, and reports every poll. It must never run two polls of one source at a time, and
//! never decide what a poll means: the tracker does.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::blocking::Activity;
use super::{Observe, ObserveError};
use crate::cloud::budget::{Gate, LATE, Spent};
use crate::cloud::pending::{Pending, Unanswered};
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::{Decoding, FailureKind, Poll, ReadStats, Wanted};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::SourceId;
use crate::domain::tracker::Input;

/// The coarsest unit of a source's stamps: those of S3 are cut to the second.
const STAMP_UNIT: Duration = Duration::from_secs(1);
/// What is decoded for this long is shown on the page. Ordinary records take milliseconds.
const DECODING_SHOWN_AFTER: Duration = Duration::from_secs(2);

/// How often a source is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// From the start of one poll to the start of the next.
    pub interval: Duration,
    /// How long a poll may take.
    pub timeout: Duration,
    /// How long after an instant a poll must start to prove what had arrived by that instant.
    pub settle: Duration,
    /// How old a proof of absence may become. Between two of them, a poll may look only where new canaries are
    /// likely. Half of what makes a stage blind, or a healthy stage would be called so.
    pub proof_every: Duration,
}

impl Rhythm {
    /// For what the default of each kind does not say.
    pub(super) const USUAL: Self = Self {
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        settle: Duration::ZERO,
        proof_every: Duration::from_secs(15),
    };

    /// One early poll for this many regular ones.
    const REGULAR_PER_EARLY: u32 = 20;

    /// The longest pause after failed polls. Short enough to notice soon that a source can be read again.
    const MAX_BACKOFF: Duration = Duration::from_secs(15);

    /// The longest pause that a source may request. A proxy that answers `Retry-After: 86400`, or a value
    /// meant in milliseconds, must not make the stage blind for a day.
    const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

    /// The shortest average time between polls. Many traces in a stall cross a threshold every moment, and
    /// must not cost more calls than one.
    fn min_gap(&self) -> Duration {
        self.interval - self.interval / Self::REGULAR_PER_EARLY
    }

    /// Returns when to poll next, if the last poll began at `last`. A poll soon after `checkpoint` would prove
    /// something. Regular polls are `held` back until then.
    fn next_poll(
        &self,
        last: Option<Timestamp>,
        burst: Duration,
        checkpoint: Option<Timestamp>,
        held: Option<Timestamp>,
    ) -> Timestamp {
        // One microsecond later, since a poll proves what arrived *before* its watermark.
        let early = checkpoint.map(|at| at + self.settle + Duration::from_micros(1));
        let after_last = |gap| last.map_or(Timestamp::MIN, |last| last + gap);
        let regular = after_last(self.interval).max(held.unwrap_or(Timestamp::MIN));
        let soonest = after_last(self.min_gap().saturating_sub(burst));
        early.map_or(regular, |early| early.max(soonest).min(regular))
    }

    /// Returns the allowance for early polls after a poll that began `gap` after the previous one, or after the
    /// first.
    ///
    /// Each poll costs a little less than an interval. Time that earlier polls left over lets an early poll
    /// start at its exact instant, so that a proof is not delayed by a poll that happened to start just before.
    /// The allowance is capped at one poll; otherwise many traces in a stall would cause a burst of calls.
    fn burst(&self, burst: Duration, gap: Option<Duration>) -> Duration {
        let gap = gap.unwrap_or(self.min_gap() * 2);
        (burst + gap).saturating_sub(self.min_gap()).min(self.min_gap())
    }

    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBackoff {
            initial_interval: self.interval,
            current_interval: self.interval,
            multiplier: 2.0,
            randomization_factor: 0.2,
            max_interval: Self::MAX_BACKOFF.max(self.interval),
            // Polling never ends; only the sequence of delays is used here.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        }
    }
}

/// What connects a poll loop to the engine.
#[derive(Debug)]
pub struct Channels {
    pub source: SourceId,
    /// The traces to find.
    pub wanted: watch::Receiver<Wanted>,
    /// To the engine.
    pub reports: mpsc::Sender<Input>,
    /// Ends the loop.
    pub stop: CancellationToken,
}

/// Polls until it is stopped.
pub async fn watch<O: Observe>(
    mut observer: O,
    rhythm: Rhythm,
    clock: WallClock,
    gate: Gate,
    mut channels: Channels,
) {
    let stop = channels.stop.clone();
    // Cancellation drops a poll in progress.
    let polling = poll_forever(&mut observer, rhythm, &clock, &gate, &mut channels);
    let _stopped = stop.run_until_cancelled(polling).await;
}

async fn poll_forever<O: Observe>(
    observer: &mut O,
    rhythm: Rhythm,
    clock: &WallClock,
    gate: &Gate,
    channels: &mut Channels,
) {
    let mut backoff = rhythm.backoff();
    let mut last: Option<Timestamp> = None;
    let mut burst = Duration::ZERO;
    let mut covered = None;
    let mut incomplete = false;
    let mut schema = None;
    loop {
        let wanted = channels.wanted.borrow_and_update().clone();
        if wanted.waiting.is_empty() {
            observer.on_idle();
            if gate.check(clock.now()).is_ok() && !check(observer, rhythm, &wanted, channels).await {
                return;
            }
            // Checks that were not answered are repeated; the answered ones lead to a new list.
            let pause = if wanted.checks.is_empty() { Duration::MAX } else { rhythm.interval };
            match tokio::time::timeout(pause, channels.wanted.changed()).await {
                Err(_) | Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
            }
        }
        // An early poll proves nothing while there is more to read than one poll can.
        let checkpoint = if incomplete { None } else { wanted.checkpoints.next(covered) };
        let held = held_until(&wanted, observer, rhythm, last);
        let due = rhythm.next_poll(last, burst, checkpoint, held);
        let due = final_poll(&wanted, last).map_or(due, |at| at.min(due));
        let pause = due.since(clock.now());
        if !pause.is_zero() {
            // Lists change without a notification while nothing gets urgent, so the list is taken again.
            match tokio::time::timeout(pause, channels.wanted.changed()).await {
                Err(_) | Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
            }
        }
        let started = clock.now();
        let spent = gate.check(started).err();
        if let Some(wait) = spent.as_ref().map(|spent| spent.wait)
            && wait <= LATE
        {
            // A poll that is late for a moment makes arrivals less certain, and is no failure.
            match tokio::time::timeout(wait, channels.wanted.changed()).await {
                Err(_) | Ok(Ok(())) => continue,
                Ok(Err(_)) => return,
            }
        }
        burst = rhythm.burst(burst, last.map(|last| started.since(last)));
        last = Some(started);
        let polled = match spent {
            Some(spent) => Err(over_budget(spent)),
            None => match poll_once(observer, rhythm, clock, &wanted, channels).await {
                Ok(polled) => polled,
                Err(EngineGone) => return,
            },
        };
        let (input, pause, at_least) = match polled {
            Ok(poll) => {
                backoff.reset();
                gate.note_bytes(taken(&poll.stats), poll.finished);
                covered = poll.watermark.or(covered);
                incomplete = poll.watermark.is_none();
                (Input::Polled { source: channels.source, poll }, Duration::ZERO, Duration::ZERO)
            }
            Err(error) => {
                let found = observer.take_unreported();
                if !found.is_empty() {
                    gate.note_bytes(taken(&found.stats), clock.now());
                    // A failed poll proves no absence, so its findings have no watermark.
                    let poll = found.into_poll(&wanted, started, clock.now(), None);
                    if channels.reports.send(Input::Polled { source: channels.source, poll }).await.is_err() {
                        return;
                    }
                }
                let delay = backoff.next_backoff().unwrap_or(Rhythm::MAX_BACKOFF);
                let retry_after = error.retry_after.unwrap_or_default().min(Rhythm::MAX_RETRY_AFTER);
                let ObserveError { kind, detail, .. } = error;
                (Input::PollFailed { source: channels.source, kind, detail }, delay, retry_after)
            }
        };
        let is_answered = matches!(input, Input::Polled { .. });
        if channels.reports.send(input).await.is_err() {
            return;
        }
        if is_answered && !check(observer, rhythm, &wanted, channels).await {
            return;
        }
        // Also after a failed poll: the missing column may be the one that the poll needs.
        let current = observer.schema();
        if current != schema
            && let Some(current) = &current
        {
            let input = Input::SchemaRead { source: channels.source, schema: current.clone() };
            if channels.reports.send(input).await.is_err() {
                return;
            }
            schema = Some(current.clone());
        }
        rest(pause, at_least, started, clock, &mut channels.wanted).await;
    }
}

/// What counts against a budget of bytes: those that were billed, where a service says so.
fn taken(stats: &ReadStats) -> u64 {
    if stats.billed_bytes > 0 { stats.billed_bytes } else { stats.bytes }
}

/// A poll that was not made, as a failure that says when the next one is.
fn over_budget(spent: Spent) -> ObserveError {
    let error = ObserveError::new(FailureKind::OverBudget, spent.text);
    ObserveError { retry_after: Some(spent.wait), ..error }
}

/// Until when regular polls are not worth a call: until a canary has probably arrived. What is asked for
/// then is soon enough, because the source says itself when a canary arrived. But not for long: a canary that
/// took another way is to be noticed, too, and a source that is not polled would be called blind. For a canary that
/// comes near, it is the first poll that waits, not those of a source where others wait. Polls that are more frequent
/// than the unit of a stamp say more than that, and do not wait.
fn held_until(
    wanted: &Wanted,
    observer: &impl Observe,
    rhythm: Rhythm,
    last: Option<Timestamp>,
) -> Option<Timestamp> {
    let oldest = wanted.oldest()?;
    let is_first = last.is_none_or(|last| last < oldest);
    let is_worth_it = |at: &Timestamp| *at == Timestamp::MAX || (is_first && rhythm.interval >= STAMP_UNIT);
    let nothing_before = wanted.nothing_before.filter(|_| observer.stamps_arrivals()).filter(is_worth_it)?;
    Some(nothing_before.min(oldest + rhythm.proof_every))
}

/// When the last poll before the end has to begin; `None` if the probe is not stopping or it has begun.
fn final_poll(wanted: &Wanted, last: Option<Timestamp>) -> Option<Timestamp> {
    wanted.final_poll.filter(|at| last.is_none_or(|last| last < *at))
}

/// Sleeps for `pause`, but not beyond the time of the final poll; in any case for `at_least`, which the source
/// asked for. `last` is when the last poll began.
async fn rest(
    pause: Duration,
    at_least: Duration,
    last: Timestamp,
    clock: &WallClock,
    wanted: &mut watch::Receiver<Wanted>,
) {
    let failed = clock.now();
    loop {
        let until = final_poll(&wanted.borrow_and_update(), Some(last));
        let until = until.map_or(failed + pause, |at| at.min(failed + pause)).max(failed + at_least);
        let left = until.since(clock.now());
        // The end may be announced meanwhile.
        if left.is_zero() || !matches!(tokio::time::timeout(left, wanted.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The engine has ended, so nothing can be reported.
struct EngineGone;

/// Polls once, at most for as long as a poll may take, and reports meanwhile what is being decoded.
async fn poll_once<O: Observe>(
    observer: &mut O,
    rhythm: Rhythm,
    clock: &WallClock,
    wanted: &Wanted,
    channels: &Channels,
) -> Result<Result<Poll, ObserveError>, EngineGone> {
    let activity = observer.decoder().map(|decoder| {
        decoder.set_timeout(rhythm.timeout);
        decoder.activity().clone()
    });
    let longest = || activity.as_ref().and_then(Activity::longest);
    let pending = Pending::default();
    // On the heap, because it is large, and most sources are not being polled at a time.
    let mut poll = Box::pin(pending.clone().noting(observer.poll(wanted)));
    let timeout = tokio::time::Instant::now() + rhythm.timeout;
    let mut reported: Option<ForeignText> = None;
    loop {
        let next = timeout.min(tokio::time::Instant::now() + DECODING_SHOWN_AFTER);
        if let Ok(polled) = tokio::time::timeout_at(next, poll.as_mut()).await {
            return Ok(polled);
        }
        if next == timeout {
            return Ok(Err(timed_out(&pending.unanswered(rhythm.timeout), rhythm.timeout, longest())));
        }
        let long = longest().filter(|(_, took)| *took >= DECODING_SHOWN_AFTER);
        let name = long.as_ref().map(|(name, _)| name.clone());
        if name != reported {
            let decoding = long.map(|(name, took)| Decoding { name, since: clock.now() - took });
            let input = Input::Decoding { source: channels.source, decoding };
            channels.reports.send(input).await.map_err(|_| EngineGone)?;
            reported = name;
        }
    }
}

/// Has the observer check which records exist, if any are to be checked. Returns false if the engine is gone.
async fn check<O: Observe>(observer: &mut O, rhythm: Rhythm, wanted: &Wanted, channels: &Channels) -> bool {
    if wanted.checks.is_empty() {
        return true;
    }
    // What was not answered in time is checked again.
    let checked = tokio::time::timeout(rhythm.timeout, Box::pin(observer.check(&wanted.checks))).await;
    match checked {
        Ok(checked) if !checked.is_empty() => {
            let input = Input::CopiesChecked { source: channels.source, checked };
            channels.reports.send(input).await.is_ok()
        }
        Ok(_) | Err(_) => true,
    }
}

/// `decoding` is what was being decoded when the time was up, and for how long.
fn timed_out(
    unanswered: &Unanswered,
    limit: Duration,
    decoding: Option<(ForeignText, Duration)>,
) -> ObserveError {
    let limit = limit.as_secs_f64();
    let text = match decoding {
        Some((name, took)) => {
            format!("not read within {limit} s: decoding {name} for {} s", took.as_secs())
        }
        None => unanswered.to_string(),
    };
    ObserveError::new(FailureKind::Timeout, text)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cloud::budget::{Budget, Budgets, Limits};
    use crate::cloud::calls::Calls;
    use crate::domain::copies::Presence;
    use crate::domain::schema::{Column, TableSchema};
    use crate::domain::sighting::WantedTrace;
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
    use crate::observe::{Decoder, Findings};

    const RHYTHM: Rhythm =
        Rhythm { interval: Duration::from_secs(10), timeout: Duration::from_secs(5), ..Rhythm::USUAL };

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

    fn wanted_checks(ids: u128) -> Wanted {
        Wanted { checks: ["object".into()].into(), ..wanted(1, ids) }
    }

    enum Answer {
        Fine,
        Incomplete,
        Fails,
        RetryAfter(Duration),
        Hangs,
        Decodes,
    }

    struct Scripted {
        clock: WallClock,
        polls: Arc<Mutex<Vec<Timestamp>>>,
        answer: fn(usize) -> Answer,
        found: Findings,
        checks: usize,
        decoder: Decoder,
    }

    fn incomplete(wanted: &Wanted, at: Timestamp) -> Poll {
        Findings::default().into_poll(wanted, at, at, None)
    }

    impl Scripted {
        fn new(clock: WallClock, polls: Arc<Mutex<Vec<Timestamp>>>, answer: fn(usize) -> Answer) -> Self {
            Self { clock, polls, answer, found: Findings::default(), checks: 0, decoder: Decoder::default() }
        }
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
                Answer::Decodes => {
                    let _entry = self.decoder.activity().begin("s3://archive/a.gz", Duration::ZERO);
                    std::future::pending().await
                }
            }
        }

        /// The third check is answered.
        async fn check(&mut self, records: &[Arc<str>]) -> Vec<(Arc<str>, Presence)> {
            self.checks += 1;
            let answered = if self.checks == 3 { records } else { &[] };
            answered.iter().map(|record| (record.clone(), Presence::There)).collect()
        }

        fn take_unreported(&mut self) -> Findings {
            std::mem::take(&mut self.found)
        }

        fn decoder(&mut self) -> Option<&mut Decoder> {
            Some(&mut self.decoder)
        }

        /// From the third poll on, the column is missing.
        fn schema(&self) -> Option<Arc<TableSchema>> {
            let id = Column { name: "id".into(), kind: "STRING".into(), mode: "NULLABLE".into() };
            let columns = if self.polls.lock().unwrap().len() < 3 { vec![id] } else { Vec::new() };
            Some(Arc::new(TableSchema { columns }))
        }
    }

    /// Runs a loop for `secs` of paused time. Returns the seconds at which it polled, and what it reported.
    async fn polls_during(secs: u64, wanted: Wanted, answer: fn(usize) -> Answer) -> (Vec<i64>, Vec<Input>) {
        polls_within(&Budgets::default().of("kinesis"), secs, wanted, answer).await
    }

    /// The same within a budget.
    async fn polls_within(
        gate: &Gate,
        secs: u64,
        wanted: Wanted,
        answer: fn(usize) -> Answer,
    ) -> (Vec<i64>, Vec<Input>) {
        polls_of(watch::Sender::new(wanted), gate, secs, answer).await
    }

    /// The same of a list that may change meanwhile.
    async fn polls_of(
        wanted: watch::Sender<Wanted>,
        gate: &Gate,
        secs: u64,
        answer: fn(usize) -> Answer,
    ) -> (Vec<i64>, Vec<Input>) {
        let clock = clock();
        let polls = Arc::new(Mutex::new(Vec::new()));
        let (_sender, wanted) = (wanted.clone(), wanted.subscribe());
        let (reports, mut received) = mpsc::channel(1_000);
        let stop = CancellationToken::new();
        let channels = Channels { source: SourceId(0), wanted, reports, stop: stop.clone() };
        let observer = Scripted::new(clock.clone(), polls.clone(), answer);
        let polling = watch(observer, RHYTHM, clock, gate.clone(), channels);
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

    /// A budget of 1,000 bytes a second, of which so much was used when the clock of the tests starts: then, the
    /// share of the day is 1,900,000.
    fn gate_after(used: u64) -> Gate {
        let limits = Limits { bytes: Some(86_400_000), calls: None };
        let budget = Budget { service: "kinesis", operations: Vec::new(), limits };
        let gate = Budgets::new(vec![budget], &Calls::default()).of("kinesis");
        gate.note_bytes(used, t(1_000));
        gate
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_would_exceed_the_budget_for_a_moment_is_late_and_no_failure() {
        let gate = gate_after(1_905_000);
        let (polls, reported) = polls_within(&gate, 30, wanted(1, 1), |_| Answer::Fine).await;
        assert_eq!(polls, [5, 15, 25]);
        assert!(!reported.iter().any(|input| matches!(input, Input::PollFailed { .. })), "{reported:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_whose_budget_is_used_up_says_so_and_is_not_polled_before_its_time() {
        let gate = gate_after(2_000_000);
        let (polls, reported) = polls_within(&gate, 130, wanted(1, 1), |_| Answer::Fine).await;
        assert!(polls.first().is_some_and(|first| (100..=115).contains(first)), "{polls:?}");
        let Some(Input::PollFailed { kind: FailureKind::OverBudget, detail, .. }) = reported.first() else {
            panic!("{reported:?}")
        };
        assert!(detail.to_string().contains("budgets.kinesis_bytes"), "{detail}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_where_nothing_waits_is_not_polled() {
        assert!(polls_during(3_600, wanted(1, 0), |_| Answer::Fine).await.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_checked_without_a_poll_and_again_until_there_is_an_answer() {
        let (polls, reported) = polls_during(25, wanted_checks(0), |_| Answer::Fine).await;
        assert!(polls.is_empty(), "{polls:?}");
        assert!(matches!(reported.as_slice(), [Input::CopiesChecked { .. }]), "{reported:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_checked_after_a_poll_that_was_answered() {
        let (polls, reported) = polls_during(25, wanted_checks(1), |_| Answer::Fine).await;
        assert_eq!(polls.len(), 3);
        let checked = reported.iter().filter(|input| matches!(input, Input::CopiesChecked { .. }));
        assert_eq!(checked.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn five_hundred_traces_cost_as_many_polls_as_one() {
        let one = polls_during(95, wanted(1, 1), |_| Answer::Fine).await.0;
        let many = polls_during(95, wanted(1, 500), |_| Answer::Fine).await.0;
        assert_eq!(one, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        assert_eq!(one, many);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_serves_the_newest_list_although_nothing_woke_the_loop() {
        let list = watch::Sender::new(wanted(1, 1));
        let changing = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            list.send_if_modified(|list| {
                *list = wanted(2, 2);
                false
            });
        };
        let gate = Budgets::default().of("kinesis");
        let (_, (_, reported)) = tokio::join!(changing, polls_of(list.clone(), &gate, 15, |_| Answer::Fine));
        let revisions = reported.iter().filter_map(|input| match input {
            Input::Polled { poll, .. } => Some(poll.revision),
            _ => None,
        });
        assert_eq!(revisions.collect::<Vec<_>>(), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_starts_early_when_it_can_prove_something() {
        let wanted = Wanted { checkpoints: vec![t(1_017)].into(), ..wanted(1, 1) };
        assert_eq!(polls_during(40, wanted, |_| Answer::Fine).await.0, [0, 10, 17, 27, 37]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_poll_waits_for_the_stage_before_but_not_for_long() {
        let wanted = Wanted { nothing_before: Some(Timestamp::MAX), ..wanted(1, 1) };
        assert_eq!(polls_during(40, wanted, |_| Answer::Fine).await.0, [15, 25, 35]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_poll_waits_until_a_canary_has_probably_arrived_and_then_polls_follow_as_usual() {
        let wanted = Wanted { nothing_before: Some(t(1_004)), ..wanted(1, 1) };
        assert_eq!(polls_during(30, wanted, |_| Answer::Fine).await.0, [4, 14, 24]);
        let wanted = Wanted { nothing_before: Some(t(1_040)), ..wanted_checks(1) };
        assert_eq!(polls_during(30, wanted, |_| Answer::Fine).await.0, [15, 25], "not for long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_canary_that_comes_near_does_not_delay_the_polls_of_a_source_where_others_wait() {
        let list = watch::Sender::new(wanted(1, 1));
        let changing = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            list.send_replace(Wanted { nothing_before: Some(t(1_013)), ..wanted(2, 2) });
        };
        let gate = Budgets::default().of("kinesis");
        let (_, (polls, _)) = tokio::join!(changing, polls_of(list.clone(), &gate, 25, |_| Answer::Fine));
        assert_eq!(polls, [0, 10, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_proves_something_does_not_wait_for_the_stage_before() {
        let wanted = Wanted {
            nothing_before: Some(Timestamp::MAX),
            checkpoints: vec![t(1_004)].into(),
            ..wanted(1, 1)
        };
        assert_eq!(polls_during(40, wanted, |_| Answer::Fine).await.0, [4, 15, 25, 35]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_stage_before_makes_the_first_poll_begin() {
        let clock = clock();
        let polls = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) =
            watch::channel(Wanted { nothing_before: Some(Timestamp::MAX), ..wanted(1, 1) });
        let (reports, _received) = mpsc::channel(1_000);
        let stop = CancellationToken::new();
        let channels = Channels { source: SourceId(0), wanted: receiver, reports, stop: stop.clone() };
        let observer = Scripted::new(clock.clone(), polls.clone(), |_| Answer::Fine);
        let gate = Budgets::default().of("kinesis");
        let polling = watch(observer, RHYTHM, clock, gate, channels);
        let seen = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            sender.send_replace(wanted(2, 1));
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.cancel();
        };
        tokio::join!(polling, seen);
        assert_eq!(polls.lock().unwrap()[..], [t(1_003)]);
    }

    /// How often a source is polled in ten minutes of a stall with so many traces in flight, a canary after the
    /// other. Each crosses three thresholds; the list holds the next ones, as the tracker's does.
    async fn polls_in_a_stall(traces: u32) -> usize {
        const IN_FLIGHT: Duration = Duration::from_mins(15);
        let spacing = IN_FLIGHT / traces;
        let listed = move |at: Timestamp| {
            let next = |threshold: u64| {
                let first = t(1_000) + Duration::from_secs(threshold) - IN_FLIGHT;
                let nth = u32::try_from(at.since(first).as_nanos() / spacing.as_nanos()).unwrap();
                (0..256).map(move |more| first + spacing * (nth + more))
            };
            let mut checkpoints: Vec<_> = [30, 120, 900].into_iter().flat_map(next).collect();
            checkpoints.sort_unstable();
            checkpoints.truncate(256);
            Wanted { checkpoints: checkpoints.into(), ..wanted(1, 1) }
        };
        let clock = clock();
        let polls = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = watch::channel(listed(t(1_000)));
        let (reports, _received) = mpsc::channel(1_000);
        let stop = CancellationToken::new();
        let channels = Channels { source: SourceId(0), wanted: receiver, reports, stop: stop.clone() };
        let observer = Scripted::new(clock.clone(), polls.clone(), |_| Answer::Fine);
        let gate = Budgets::default().of("kinesis");
        let polling = watch(observer, RHYTHM, clock.clone(), gate, channels);
        let stalled = async {
            for _ in 0..1_200 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                sender.send_replace(listed(clock.now()));
            }
            stop.cancel();
        };
        tokio::join!(polling, stalled);
        let polls = polls.lock().unwrap();
        polls.len()
    }

    #[tokio::test(start_paused = true)]
    async fn polls_in_a_stall_do_not_grow_with_the_traces_in_flight() {
        let one = polls_in_a_stall(1).await;
        for traces in [100, 10_000, 100_000] {
            let many = polls_in_a_stall(traces).await;
            assert!(
                one <= many && many * 10 <= one * 11,
                "{traces} in flight: {many} polls instead of {one}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_checkpoints_cost_at_most_a_tenth_more_polls() {
        let checkpoints: Vec<_> = (1_000..1_600).map(t).collect();
        let wanted = Wanted { checkpoints: checkpoints.into(), ..wanted(1, 100) };
        let polls = polls_during(599, wanted, |_| Answer::Fine).await.0;
        assert!((60..=66).contains(&polls.len()), "{polls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_not_delayed_by_a_poll_that_began_just_before() {
        let wanted = Wanted { checkpoints: vec![t(1_021), t(1_023), t(1_024)].into(), ..wanted(1, 1) };
        // The allowance covers one early poll; the second waits until the time since has paid for it.
        assert_eq!(polls_during(50, wanted, |_| Answer::Fine).await.0, [0, 10, 20, 21, 29, 39, 49]);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_polls_back_off_and_a_successful_one_restores_the_interval() {
        let (polls, reported) =
            polls_during(200, wanted(1, 1), |nth| if nth <= 4 { Answer::Fails } else { Answer::Fine }).await;
        let pauses: Vec<_> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[..4].iter().all(|pause| (8..=18).contains(pause)), "{pauses:?}");
        assert!(pauses[4..].iter().all(|pause| *pause == 10), "{pauses:?}");
        assert!(matches!(reported[0], Input::PollFailed { kind: FailureKind::Error, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_hangs_is_reported_and_does_not_block_the_next() {
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
    async fn what_is_decoded_for_long_is_reported_while_it_happens_and_named_in_the_failure() {
        let (_, reported) = polls_during(8, wanted(1, 1), |_| Answer::Decodes).await;
        let texts = reported.iter().filter_map(|input| match input {
            Input::Decoding { decoding: Some(decoding), .. } => {
                Some(format!("{} since {}", decoding.name, decoding.since.since(t(1_000)).as_secs()))
            }
            Input::PollFailed { detail, .. } => Some(detail.to_string()),
            _ => None,
        });
        assert_eq!(
            texts.collect::<Vec<_>>(),
            ["s3://archive/a.gz since 0", "not read within 5 s: decoding s3://archive/a.gz for 5 s"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_final_poll_before_the_end_comes_before_the_interval_is_over() {
        let wanted = Wanted { final_poll: Some(t(1_027)), ..wanted(1, 1) };
        assert_eq!(polls_during(40, wanted, |_| Answer::Fine).await.0, [0, 10, 20, 27, 37]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_final_poll_does_not_wait_for_the_pause_after_a_failure() {
        let wanted = Wanted { final_poll: Some(t(1_013)), ..wanted(1, 1) };
        let polls = polls_during(20, wanted, |_| Answer::Fails).await.0;
        assert!(polls.contains(&13), "{polls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_final_poll_is_not_earlier_than_the_source_allows() {
        let wanted = Wanted { final_poll: Some(t(1_013)), ..wanted(1, 1) };
        let later = |nth| if nth == 1 { Answer::RetryAfter(Duration::from_secs(40)) } else { Answer::Fine };
        assert_eq!(polls_during(45, wanted, later).await.0, [0, 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_up_to_a_minute() {
        let short = |nth| if nth == 1 { Answer::RetryAfter(Duration::from_secs(40)) } else { Answer::Fine };
        assert_eq!(polls_during(65, wanted(1, 1), short).await.0, [0, 40, 50, 60]);
        let endless = |nth| if nth == 1 { Answer::RetryAfter(Duration::MAX) } else { Answer::Fine };
        assert_eq!(polls_during(75, wanted(1, 1), endless).await.0, [0, 60, 70]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_poll_is_not_followed_by_an_early_one() {
        let wanted = Wanted { checkpoints: vec![t(1_003), t(1_017)].into(), ..wanted(1, 1) };
        let polls =
            polls_during(45, wanted, |nth| if nth < 3 { Answer::Incomplete } else { Answer::Fine }).await.0;
        assert_eq!(polls, [0, 10, 20, 30, 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_schema_is_reported_even_if_polls_fail() {
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
