//! What happens to the process: it is killed, stopped, starved, or one of its tasks panics.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use traceprobe::config::Config;
use traceprobe::daemon::clock::{self, ProbeClock};
use traceprobe::daemon::run::Daemon;
use traceprobe::sandbox::{Distribution, Pace, Settings, Stage, TRANSIT_BUCKET, TruthRecord};

use super::probe::Probe;
use super::row::Row;
use super::scene::{Scene, TAG_KEY, TENANTS};
use super::support::SOON;
use super::verdict::{self, Unobserved};

/// The memory of the shipped task, in KiB (`config/ecs/task-definition.json`).
const TASK_MEMORY_KIB: u64 = 512 << 10;

/// SIGKILL at random instants while many canaries are in flight.
pub async fn killed(times: u32) -> Row {
    let slow = Distribution::Uniform { min_ms: 3_000.0, max_ms: 9_000.0 };
    let pace = Pace { export: slow, archive: slow, ..Pace::brisk() };
    let mut scene = Scene::with("faults-killed", Settings { pace, ..Settings::brisk(1, TENANTS) }).await;
    // The longest times of the sandbox, and many runs that end before they have polled.
    (scene.give_up, scene.grace) = (Duration::from_secs(60), Duration::from_secs(60));
    let files = scene.files("probe", "50ms");
    let mut random = fastrand::Rng::with_seed(1);
    let (mut memory, mut in_flight) = (0, Vec::new());
    for nth in 0..times {
        let mut probe = Probe::spawn(&files);
        // Every third is killed while it starts and restores its traces.
        if nth % 3 != 2 {
            probe.listening().await;
        }
        sleep(Duration::from_millis(random.u64(200..2_500))).await;
        memory = memory.max(probe.peak_memory());
        probe.kill().await;
        let waiting = |record: &TruthRecord| record.arrived(Stage::Bigquery).is_none();
        in_flight.push(scene.truth().values().filter(|record| waiting(record)).count());
    }
    let probe = Probe::start(&files).await;
    probe.until("it delivers again", SOON, |recent| recent.ended("delivered") > 0).await;
    memory = memory.max(probe.peak_memory());
    probe.finish().await;
    in_flight.sort_unstable();
    let fault = format!("SIGKILL at {times} random instants");
    let row = verdict::row(&scene, &files, Unobserved::Never, fault);
    scene.sandbox.stop().await;
    let (median, most) = (in_flight[in_flight.len() / 2], in_flight[in_flight.len() - 1]);
    let remark = format!("median {median}, at most {most} in flight at a kill");
    Row { memory: Some(memory), remark, ..row }
}

/// SIGSTOP for longer than the deadline and the grace period.
pub async fn stopped(lasting: Duration) -> Row {
    let scene = Scene::set("faults-stopped", 1).await;
    let files = scene.files("probe", "200ms");
    let probe = Probe::start(&files).await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 5).await;
    probe.signal("STOP").await;
    sleep(lasting).await;
    probe.signal("CONT").await;
    let sent = scene.truth().len();
    let caught_up = |_: &_| scene.truth().len() >= sent + 10;
    probe.until("canaries leave again", SOON, caught_up).await;
    let missed = probe.metrics().await.sum("traceprobe_injections_total", &[("result", "missed")]);
    let memory = probe.peak_memory();
    probe.finish().await;
    let fault = format!("SIGSTOP for {} s", lasting.as_secs());
    let mut row = verdict::row(&scene, &files, Unobserved::Allowed, fault);
    scene.sandbox.stop().await;
    if missed == 0.0 {
        row.faults.push("no missed injection is counted".to_owned());
    }
    Row { memory: Some(memory), remark: format!("{missed} missed injections counted"), ..row }
}

/// 64 file descriptors, most of them taken by connections to the page that send nothing.
pub async fn few_descriptors() -> Row {
    let scene = Scene::set("faults-descriptors", 1).await;
    let files = scene.files("probe", "200ms");
    let mut probe = Probe::spawn_after(&files, "ulimit -n 64");
    probe.listening().await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    let address = probe.address().trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    while idle.len() < 100 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let sent = scene.truth().len();
    let delivered = || {
        let truth = scene.truth();
        truth.len() >= sent + 30
    };
    let going_on = async {
        while !delivered() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let is_going_on = timeout(SOON, going_on).await.is_ok();
    drop(idle);
    let memory = probe.peak_memory();
    probe.finish().await;
    let fault = "64 file descriptors and 100 idle connections to the page";
    let mut row = verdict::row(&scene, &files, Unobserved::Never, fault);
    scene.sandbox.stop().await;
    if !is_going_on {
        row.faults.push("injection stopped".to_owned());
    }
    Row { memory: Some(memory), remark: "injection and polls go on".to_owned(), ..row }
}

/// The memory of the shipped task, while bombs come through the pipeline and the page is read without pause.
pub async fn little_memory(bombs: usize) -> Row {
    const BOMB: usize = 16 << 20;
    let scene = Scene::set("faults-memory", 1).await;
    let files = scene.files("probe", "200ms");
    let mut probe = Probe::spawn_after(&files, &format!("ulimit -d {TASK_MEMORY_KIB}"));
    probe.listening().await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&vec![b' '; BOMB]).unwrap();
    let packed = packed.finish().unwrap();
    for nth in 0..bombs {
        scene.sandbox.put_record("acme", packed.clone());
        let hour = super::scene::now().strftime("transit/%Y/%m/%d/%H/");
        scene.sandbox.put_object(TRANSIT_BUCKET, &format!("{hour}bomb-{nth}"), packed.clone());
        for _ in 0..10 {
            probe.html().await;
            probe.metrics().await;
        }
    }
    let sent = scene.truth().len();
    probe.until("canaries leave", SOON, |_| scene.truth().len() >= sent + 10).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let fault = format!("RLIMIT_DATA of 512 MiB, {} bombs of {} MiB", 2 * bombs, BOMB >> 20);
    let mut row = verdict::row(&scene, &files, Unobserved::Allowed, fault);
    scene.sandbox.stop().await;
    if memory > TASK_MEMORY_KIB >> 10 {
        row.faults.push(format!("{memory} MiB"));
    }
    Row { memory: Some(memory), remark: "the page and the metrics answer meanwhile".to_owned(), ..row }
}

/// A stderr that is a full pipe, which nobody reads.
pub async fn blocked_stderr(canaries: usize) -> Row {
    let scene = Scene::set("faults-stderr", 1).await;
    let files = scene.files("probe", "200ms");
    let pipe = scene.path("stderr");
    let pipe = pipe.display();
    // The shell opens the pipe for reading, too, so that writing fails with no signal. A pipe holds 64 KiB
    // (pipe(7)).
    let commands = format!("mkfifo {pipe}; exec 2<>{pipe}; head -c 65536 /dev/zero >&2");
    let mut probe = Probe::spawn_after(&files, &commands);
    probe.listening().await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= canaries).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let row = verdict::row(&scene, &files, Unobserved::Never, "stderr is a full pipe that nobody reads");
    scene.sandbox.stop().await;
    Row { memory: Some(memory), remark: "log lines are dropped".to_owned(), ..row }
}

/// A task that panics ends the probe, and its successor goes on.
pub async fn panicked_task() -> Row {
    let scene = Scene::set("faults-panic", 1).await;
    let files = scene.files("probe", "200ms");
    let now = Arc::new(AtomicBool::new(false));
    let (panics, system) = (now.clone(), clock::system());
    let (running, started) = (clock::system(), clock::system().now());
    // Any task may read the clock, so any task may be the one.
    let system = move || {
        assert!(!panics.swap(false, Ordering::Relaxed), "this is the panic of the test");
        system.now()
    };
    let clock = ProbeClock::new(move || running.now().since(started), system);
    let variables = [(TAG_KEY.0.to_owned(), TAG_KEY.1.to_owned())];
    let config = Config::load(&files.config, variables).unwrap();
    let daemon = Daemon::new(config, clock).await.unwrap();
    let never = CancellationToken::new();
    let panic = async {
        while scene.truth().len() < 10 {
            sleep(Duration::from_millis(50)).await;
        }
        now.store(true, Ordering::Relaxed);
    };
    let running = timeout(SOON, daemon.run(never.cancelled()));
    let (ended, ()) = tokio::join!(running, panic);
    let error = ended.expect("it did not end").expect_err("it ended without a fault");
    let error = format!("{error:#}");
    let probe = Probe::start(&files).await;
    probe.until("it delivers again", SOON, |recent| recent.ended("delivered") >= 5).await;
    let memory = probe.peak_memory();
    probe.finish().await;
    let mut row = verdict::row(&scene, &files, Unobserved::Never, "a task panics");
    scene.sandbox.stop().await;
    if !(error.contains("panicked") && error.contains("this is the panic of the test")) {
        row.faults.push(error.clone());
    }
    Row { memory: Some(memory), remark: format!("ended with: {error}"), ..row }
}
