//! A step of the system clock makes the traces in flight unobserved and must not produce a wrong outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use traceprobe::config::Config;
use traceprobe::daemon::clock::{self, ProbeClock};
use traceprobe::daemon::run::{ClockStepped, Daemon};
use traceprobe::domain::outcome::Outcome;
use traceprobe::sandbox::{Fault, Stage, StageEffect};

use super::probe::Probe;
use super::scene::{Scene, TAG_KEY};
use super::support::SOON;
use super::support::page::Recent;

/// Longer than any deadline of these tests.
const WRONG_BY: Duration = Duration::from_secs(20 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_step_ends_the_probe_and_no_canary_counts_as_lost() {
    let scene = Scene::set("clock-set", 1).await;
    let stall = scene.sandbox.fault(Fault::stage(Stage::Transit, StageEffect::Stall)).unwrap();
    let files = scene.files("probe", "200ms");
    // The system clock is behind when the probe starts, and is corrected while canaries are in flight.
    let corrected = Arc::new(AtomicBool::new(false));
    let (is_corrected, truth, running) = (corrected.clone(), clock::system(), clock::system());
    let started = running.now();
    let system = move || {
        let behind = if is_corrected.load(Ordering::Relaxed) { Duration::ZERO } else { WRONG_BY };
        truth.now() - behind
    };
    let wrong = ProbeClock::new(move || running.now().since(started), system);
    let variables = [(TAG_KEY.0.to_owned(), TAG_KEY.1.to_owned())];
    let config = Config::load(&files.config, variables).unwrap_or_else(|faults| panic!("{faults}"));
    let daemon = Daemon::new(config, wrong).await.unwrap();
    let never = CancellationToken::new();
    let correct_clock = async {
        while scene.truth().len() < 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        corrected.store(true, Ordering::Relaxed);
    };
    let running = tokio::time::timeout(SOON, daemon.run(never.cancelled()));
    let (ended, ()) = tokio::join!(running, correct_clock);
    let error = ended.expect("the probe did not end").unwrap_err();
    let ClockStepped(by) = error.downcast_ref().unwrap_or_else(|| panic!("{error:#}"));
    assert!((by.as_secs_f64() - WRONG_BY.as_secs_f64()).abs() < 1.0, "{by:?}");
    let first_run = files.kept();
    assert!(first_run.len() >= 10);
    let unobserved = |outcome: &Outcome| matches!(outcome, Outcome::Unobserved(_));
    for trace in first_run.values() {
        assert!(trace.ended.as_ref().is_some_and(|(outcome, _)| unobserved(outcome)), "{trace:?}");
    }

    // By the corrected clock they are all past their deadline, so a poll would prove them absent.
    let probe = Probe::start(&files).await;
    let new = |recent: &Recent| {
        let new = recent.traces.iter().filter(|row| !first_run.keys().any(|id| id.to_string() == row.id));
        new.filter(|row| row.stages.iter().any(|at| at.presence == "seen")).count()
    };
    probe.until("canaries of the next run are seen", SOON, |recent| new(recent) >= 5).await;
    scene.sandbox.clear(stall);
    probe.until("canaries arrive", SOON, |recent| recent.ended("delivered") >= 5).await;
    probe.finish().await;
    let kept = files.kept();
    for id in first_run.keys() {
        assert!(kept[id].ended.as_ref().is_some_and(|(outcome, _)| unobserved(outcome)), "{:?}", kept[id]);
    }
    scene.sandbox.stop().await;
}
