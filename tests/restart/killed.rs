//! A probe that is killed again and again in front of a pipeline that loses and doubles canaries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::trace::Trace;
use traceprobe::sandbox::{Distribution, Fault, Pace, Settings, Stage, StageEffect};

use super::probe::Probe;
use super::runs::{Run, Runs, Watch};
use super::scene::{Files, Scene, TENANTS};
use super::support::client::Client;
use super::verdict::{Judge, Reference, Tally};

/// How a probe lives until it is killed.
#[derive(Clone, Copy, Debug)]
pub enum Lived {
    /// Up to a second. Every other life ends around its start, which is when it restores; the rest when it is at work.
    Shortly,
    /// Until it has read everything and ended some canaries, three seconds at least, and up to a second more.
    Long,
}

const A_MOMENT: u64 = 1_000;
const LONG: Duration = Duration::from_secs(3);
/// Canaries that a long life ends at least.
const ENDED: usize = 5;
/// A few seconds; a busy machine takes many times that.
const AT_WORK_WITHIN: Duration = Duration::from_secs(60);

/// One probe, and the pipeline in front of which it lives.
pub struct Lane {
    lived: Lived,
    scene: Scene,
    files: Files,
    random: fastrand::Rng,
    runs: Runs,
    watch: Watch,
}

/// Where probes that are killed beside each other wait until all have been.
pub struct Meeting {
    all_killed: Barrier,
    /// Most canaries that any pipeline took of a tenant.
    most: AtomicUsize,
}

impl Meeting {
    pub fn of(lanes: usize) -> Self {
        Self { all_killed: Barrier::new(lanes), most: AtomicUsize::new(0) }
    }
}

impl Lane {
    /// All lanes of a seed have the same pipeline.
    pub async fn set(name: &str, seed: u64, lived: Lived) -> Self {
        let hop = |min_ms, max_ms| Distribution::Uniform { min_ms, max_ms };
        let (batch, pace) = (Duration::from_millis(500), Pace::brisk());
        // So long that many canaries are on their way whenever the probe is killed, and copies of one far apart.
        let pace = Pace { archive: hop(500.0, 2_500.0), export: hop(500.0, 2_500.0), ..pace };
        let pace = Pace { transfer: hop(20.0, 500.0), archive_batch: batch, transit_batch: batch, ..pace };
        let grace = match lived {
            Lived::Shortly => Duration::from_secs(8),
            // So long that on a busy machine, too, some life has looked before a canary's time is over.
            Lived::Long => Duration::from_secs(15),
        };
        // No evidence expires while the test runs: each life waits for `grace` again, and of short ones on a busy machine
        // none may get to look at a stage for minutes. What has expired would be proven absent.
        let retention = Duration::from_secs(60 * 60);
        let settings = Settings { pace, retention, ..Settings::brisk(seed, TENANTS) };
        let mut scene = Scene::with(&format!("killed-{seed}-{name}"), settings).await;
        scene.grace = grace;
        // No look takes that long: that a source is blind is another test's matter.
        scene.blind_after = Duration::from_secs(60);
        for (stage, effect) in [
            (Stage::TenantStream, StageEffect::Lose { probability: 0.05 }),
            (Stage::Transit, StageEffect::Lose { probability: 0.1 }),
            (Stage::Bigquery, StageEffect::Lose { probability: 0.1 }),
            (Stage::Archive, StageEffect::Lose { probability: 0.1 }),
            (Stage::TenantStream, StageEffect::Duplicate { probability: 0.1 }),
            (Stage::Bigquery, StageEffect::Duplicate { probability: 0.1 }),
        ] {
            scene.sandbox.fault(Fault::stage(stage, effect));
        }
        let files = scene.files("probe", "250ms");
        let random =
            fastrand::Rng::with_seed(name.bytes().fold(seed, |sum, byte| sum * 31 + u64::from(byte)));
        Self { lived, scene, files, random, runs: Runs::default(), watch: Watch::default() }
    }

    /// Kills the probe so many times, lets everything land once all others are done as well, and judges it.
    pub async fn run(mut self, times: u64, meeting: &Meeting) -> (Tally, Reference) {
        for nth in 0..times {
            let mut run = Run::begin();
            let mut probe = Probe::spawn(&self.files);
            self.live(nth, &mut run, &mut probe).await;
            probe.kill().await;
            self.end(run).await;
        }
        meeting.most.fetch_max(self.reference().longest(), Ordering::SeqCst);
        let mut run = Run::begin();
        let mut probe = Probe::start(&self.files).await;
        let client = Client::clone(&probe);
        tokio::select! {
            never = run.listen(&client) => match never {},
            () = self.wait(times, meeting) => probe.terminate().await,
        }
        tokio::select! {
            never = run.listen(&client) => match never {},
            () = probe.landed() => {}
        }
        let kept = self.end(run).await;
        self.runs.counted_each_once(&kept, self.files.map());
        let truth = self.scene.truth();
        let judge = Judge { truth: &truth, runs: &self.runs, map: self.files.map(), grace: self.scene.grace };
        let tally = judge.judge(&kept);
        let reference = self.reference();
        self.scene.sandbox.stop().await;
        (tally, reference)
    }

    async fn wait(&self, times: u64, meeting: &Meeting) {
        meeting.all_killed.wait().await;
        // Who is not disturbed has as many canaries as any other.
        while times == 0 && self.reference().shortest() < meeting.most.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Looks at what a life has left on disk.
    async fn end(&mut self, mut run: Run) -> BTreeMap<TraceId, Trace> {
        run.end();
        let files = self.files.clone();
        let kept = tokio::task::spawn_blocking(move || files.kept()).await.unwrap();
        run.left_on_disk_what_it_counted(&kept, self.files.map());
        self.watch.read(&kept);
        self.runs.add(run);
        kept
    }

    async fn live(&mut self, nth: u64, run: &mut Run, probe: &mut Probe) {
        let moment = Duration::from_millis(self.random.u64(0..A_MOMENT));
        match self.lived {
            Lived::Shortly if nth.is_multiple_of(2) => return sleep(moment).await,
            Lived::Shortly => probe.listening().await,
            Lived::Long => {
                probe.listening().await;
                let at_work = run.listen_until_at_work(probe, self.files.map(), ENDED);
                let (at_work, ()) = tokio::join!(timeout(AT_WORK_WITHIN, at_work), sleep(LONG));
                at_work.unwrap_or_else(|_| panic!("it is not at work; it said: {}", probe.said()));
            }
        }
        // It never ends by itself.
        let _ = timeout(moment, run.listen(probe)).await;
        if self.random.bool() {
            // Killed just when it has told what it counted: all of that must be on disk.
            run.read_pages(probe).await;
        }
    }

    /// What the pipeline has done to the canaries so far.
    fn reference(&self) -> Reference {
        Reference::new(self.scene.sandbox.truth())
    }
}
