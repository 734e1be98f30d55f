//! What a system's clock that is set may cost: the traces in flight, and nothing that is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use traceprobe::config::Config;
use traceprobe::daemon::clock::{self, ProbeClock};
use traceprobe::daemon::run::{ClockStepped, Daemon};
use traceprobe::domain::outcome::Outcome;
use traceprobe::sandbox::{Fault, Stage, StageEffect};

use super::LANDS_WITHIN;
use super::probe::Probe;
use super::scene::{Scene, TAG_KEY};
use super::support::page::Recent;

/// Longer than any deadline of these tests.
const WRONG_BY: Duration = Duration::from_secs(20 * 60);

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_right_ends_the_probe_and_loses_no_canary() {
    let scene = Scene::set("clock-set", 1).await;
    let stall = scene.sandbox.fault(Fault::stage(Stage::Transit, StageEffect::Stall)).unwrap();
    let files = scene.files("probe", "200ms");
    // The host's clock is behind when the probe starts, and is set right while canaries are on their way.
    let right = Arc::new(AtomicBool::new(false));
    let (is_right, truth, running) = (right.clone(), clock::system(), clock::system());
    let started = running.now();
    let system = move || {
        let behind = if is_right.load(Ordering::Relaxed) { Duration::ZERO } else { WRONG_BY };
        truth.now() - behind
    };
    let wrong = ProbeClock::new(move || running.now().since(started), system);
    let variables = [(TAG_KEY.0.to_owned(), TAG_KEY.1.to_owned())];
    let config = Config::load(&files.config, variables).unwrap_or_else(|faults| panic!("{faults}"));
    let daemon = Daemon::new(config, wrong).await.unwrap();
    let never = CancellationToken::new();
    let setting = async {
        while scene.truth().len() < 10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        right.store(true, Ordering::Relaxed);
    };
    let running = tokio::time::timeout(LANDS_WITHIN, daemon.run(never.cancelled()));
    let (ended, ()) = tokio::join!(running, setting);
    let error = ended.expect("it goes on as if nothing had been").unwrap_err();
    let ClockStepped(by) = error.downcast_ref().unwrap_or_else(|| panic!("{error:#}"));
    assert!((by.as_secs_f64() - WRONG_BY.as_secs_f64()).abs() < 1.0, "{by:?}");
    let first_run = files.kept();
    assert!(first_run.len() >= 10);
    let unobserved = |outcome: &Outcome| matches!(outcome, Outcome::Unobserved(_));
    for trace in first_run.values() {
        assert!(trace.ended.as_ref().is_some_and(|(outcome, _)| unobserved(outcome)), "{trace:?}");
    }

    // By the right time they are all long overdue, and a look would prove that they are not there.
    let probe = Probe::start(&files).await;
    let new = |recent: &Recent| {
        let new = recent.traces.iter().filter(|row| !first_run.keys().any(|id| id.to_string() == row.id));
        new.filter(|row| row.stages.iter().any(|at| at.presence == "seen")).count()
    };
    probe.until("the next one is at work", LANDS_WITHIN, |recent| new(recent) >= 5).await;
    scene.sandbox.clear(stall);
    probe.until("canaries arrive", LANDS_WITHIN, |recent| recent.ended("delivered") >= 5).await;
    probe.land().await;
    let kept = files.kept();
    for id in first_run.keys() {
        assert!(kept[id].ended.as_ref().is_some_and(|(outcome, _)| unobserved(outcome)), "{:?}", kept[id]);
    }
    scene.sandbox.stop().await;
}
