//! What happens to the host: its disk and its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use traceprobe::config::Config;
use traceprobe::daemon::clock::{self, ProbeClock};
use traceprobe::daemon::run::{ClockStepped, Daemon};
use traceprobe::domain::time::Timestamp;

use super::mount::Mount;
use super::probe::Probe;
use super::row::Row;
use super::scene::{Files, Scene, TAG_KEY};
use super::support::SOON;
use super::verdict::{self, Unobserved};

/// A disk that is full while this many canaries are delivered, and then has space again.
pub async fn full_disk(canaries: usize) -> Row {
    let scene = Scene::set("faults-full", 1).await;
    let mount = Mount::new(scene.path("disk"));
    let files = files_on(&scene, mount.as_ref());
    let probe = Probe::start(&files).await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    let filler = mount.as_ref().map(Mount::fill);
    if filler.is_none() {
        probe.limit_files_to("1").await;
    }
    let recent = probe.until("it reports the failure", SOON, |recent| recent.not_kept.is_some()).await;
    let before = recent.ended("delivered");
    probe
        .until("it keeps measuring", SOON * 3, |recent| recent.ended("delivered") >= before + canaries)
        .await;
    match filler {
        Some(filler) => std::fs::remove_file(filler).unwrap(),
        None => probe.limit_files_to("unlimited").await,
    }
    probe.until("it writes again", SOON, |recent| recent.not_kept.is_none()).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let how = if mount.is_some() { "a full tmpfs of 3 MiB" } else { "RLIMIT_FSIZE of 1 byte" };
    let row = verdict::row(&scene, &files, Unobserved::Never, format!("{how}, then space again"));
    scene.sandbox.stop().await;
    Row { memory: Some(memory), remark: format!("not kept meanwhile: {canaries} canaries"), ..row }
}

/// A store that cannot be written from the start until this many canaries are delivered.
pub async fn read_only_store(canaries: usize) -> Row {
    let scene = Scene::set("faults-read-only", 1).await;
    let mount = Mount::new(scene.path("disk"));
    let files = files_on(&scene, mount.as_ref());
    let Some(mount) = mount else {
        // For root, no permission of a file or folder makes a difference.
        return Row {
            remark: "not done: no permission to mount".to_owned(),
            ..healthy(&scene, &files).await
        };
    };
    mount.remount("ro");
    let probe = Probe::start(&files).await;
    let recent = probe
        .until("it measures without the store", SOON * 3, |recent| recent.ended("delivered") >= canaries)
        .await;
    let why = recent.not_kept.clone();
    mount.remount("rw");
    probe.until("it writes", SOON, |recent| recent.not_kept.is_none()).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let mut row = verdict::row(&scene, &files, Unobserved::Never, "a read-only store, then writable");
    scene.sandbox.stop().await;
    match why {
        Some(why) if why.contains("store") => row.remark = "the page shows the reason".to_owned(),
        Some(why) => row.faults.push(format!("the page shows: {why}")),
        None => row.faults.push("the page does not say that nothing is kept".to_owned()),
    }
    Row { memory: Some(memory), ..row }
}

/// Steps of the system clock by these seconds, one run each. The probe reads CLOCK_REALTIME, which steps, and
/// CLOCK_BOOTTIME, which does not; here the first is replaced in the process, because nobody else on the host
/// would bear the step.
pub async fn clock_steps(steps: &[i64]) -> Row {
    let scene = Scene::set("faults-clock", 1).await;
    let files = scene.files("probe", "200ms");
    let mut faults = Vec::new();
    for step in steps {
        if let Err(fault) = step_once(&scene, &files, *step).await {
            faults.push(format!("{step:+} s: {fault}"));
        }
    }
    let probe = Probe::start(&files).await;
    let sent = scene.truth().len();
    probe.until("canaries leave", SOON, |_| scene.truth().len() >= sent + 10).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let list: Vec<_> = steps.iter().map(|step| format!("{step:+} s")).collect();
    let fault = format!("CLOCK_REALTIME stepped by {}", list.join(", "));
    let row = verdict::row(&scene, &files, Unobserved::Allowed, fault);
    scene.sandbox.stop().await;
    let remark = "each ends its run with the step as the reason".to_owned();
    Row { memory: Some(memory), remark, faults: [row.faults, faults].concat(), ..row }
}

/// Runs a probe in this process until a step of the clock ends it.
async fn step_once(scene: &Scene, files: &Files, seconds: i64) -> Result<(), String> {
    let by = Arc::new(AtomicI64::new(0));
    let (added, truth, running) = (by.clone(), clock::system(), clock::system());
    let started = running.now();
    let system =
        move || Timestamp::from_micros(truth.now().micros() + added.load(Ordering::Relaxed) * 1_000_000);
    let clock = ProbeClock::new(move || running.now().since(started), system);
    let variables = [(TAG_KEY.0.to_owned(), TAG_KEY.1.to_owned())];
    let config = Config::load(&files.config, variables).map_err(|faults| faults.to_string())?;
    let daemon = Daemon::new(config, clock).await.map_err(|error| error.to_string())?;
    let never = CancellationToken::new();
    let sent = scene.truth().len();
    let step = async {
        while scene.truth().len() < sent + 10 {
            sleep(Duration::from_millis(50)).await;
        }
        by.store(seconds, Ordering::Relaxed);
    };
    let running = timeout(SOON, daemon.run(never.cancelled()));
    let (ended, ()) = tokio::join!(running, step);
    let error = match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => return Err("it ended without a reason".to_owned()),
        Err(_) => return Err("it did not end".to_owned()),
    };
    match error.downcast_ref() {
        Some(ClockStepped(found)) if (found.as_secs_f64() - seconds as f64).abs() < 1.0 => Ok(()),
        _ => Err(format!("{error:#}")),
    }
}

async fn healthy(scene: &Scene, files: &Files) -> Row {
    let probe = Probe::start(files).await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    probe.finish().await;
    verdict::row(scene, files, Unobserved::Never, "none")
}

fn files_on(scene: &Scene, mount: Option<&Mount>) -> Files {
    let folder = mount.map_or_else(|| scene.path(""), |mount| mount.path().to_owned());
    scene.files_with_store("probe", "200ms", folder.join("store.db"))
}
