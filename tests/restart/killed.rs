//! A probe that is killed repeatedly in front of a pipeline that loses and duplicates canaries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::trace::Trace;
use traceprobe::sandbox::{Distribution, Fault, Pace, Settings, Stage, StageEffect};

use super::probe::Probe;
use super::runs::{Run, Runs, StoreWatch};
use super::scene::{Files, Scene, TENANTS};
use super::support::client::Client;
use super::verdict::{Judge, Reference, Tally};

/// How long a probe runs until it is killed.
#[derive(Clone, Copy, Debug)]
pub enum RunLength {
    /// Up to 1 s. Every other run is killed while it starts and restores its traces, the others once they
    /// listen.
    Short,
    /// At least 3 s and until every source was read and [`ENDED`] canaries have an outcome, then up to 1 s
    /// more.
    Long,
}

const MAX_DELAY_MS: u64 = 1_000;
const LONG: Duration = Duration::from_secs(3);
/// The minimum number of outcomes of a long run.
const ENDED: usize = 5;
/// A few seconds, and many times that on a busy machine.
const AT_WORK_WITHIN: Duration = Duration::from_secs(60);

/// One probe and its pipeline.
pub struct Lane {
    run_length: RunLength,
    scene: Scene,
    files: Files,
    random: fastrand::Rng,
    runs: Runs,
    watch: StoreWatch,
}

/// Where the lanes wait until all kills are done.
pub struct Rendezvous {
    all_killed: Barrier,
    /// The largest number of canaries that any pipeline took of one tenant.
    most_canaries: AtomicUsize,
}

impl Rendezvous {
    pub fn of(lanes: usize) -> Self {
        Self { all_killed: Barrier::new(lanes), most_canaries: AtomicUsize::new(0) }
    }
}

impl Lane {
    /// All lanes of one seed have identical pipelines.
    pub async fn set(name: &str, seed: u64, run_length: RunLength) -> Self {
        let hop = |min_ms, max_ms| Distribution::Uniform { min_ms, max_ms };
        let (batch, pace) = (Duration::from_millis(500), Pace::brisk());
        // Slow, so that many canaries are in flight at every kill and copies of one canary arrive far apart.
        let pace = Pace { archive: hop(500.0, 2_500.0), export: hop(500.0, 2_500.0), ..pace };
        let pace = Pace { transfer: hop(20.0, 500.0), archive_batch: batch, transit_batch: batch, ..pace };
        let grace = match run_length {
            RunLength::Short => Duration::from_secs(8),
            // Long enough that even on a busy machine some run polls before a canary expires.
            RunLength::Long => Duration::from_secs(15),
        };
        // No evidence may expire during the test, because an expired canary would be proven absent. Each run
        // waits for `grace` again, and on a busy machine several short runs may end before any of them polls
        // a stage.
        let retention = Duration::from_secs(60 * 60);
        let settings = Settings { pace, retention, ..Settings::brisk(seed, TENANTS) };
        let mut scene = Scene::with(&format!("killed-{seed}-{name}"), settings).await;
        scene.grace = grace;
        // Longer than any poll takes. Blindness is tested elsewhere.
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
        Self { run_length, scene, files, random, runs: Runs::default(), watch: StoreWatch::default() }
    }

    /// Kills the probe `times` times. Once all lanes have done so, lets it finish and judges its outcomes.
    pub async fn run(mut self, times: u64, rendezvous: &Rendezvous) -> (Tally, Reference) {
        for nth in 0..times {
            let mut run = Run::begin();
            let mut probe = Probe::spawn(&self.files);
            self.run_for_a_while(nth, &mut run, &mut probe).await;
            probe.kill().await;
            self.end(run).await;
        }
        rendezvous.most_canaries.fetch_max(self.reference().longest(), Ordering::SeqCst);
        let mut run = Run::begin();
        let mut probe = Probe::start(&self.files).await;
        let client = Client::clone(&probe);
        tokio::select! {
            never = run.listen(&client) => match never {},
            () = self.wait(times, rendezvous) => probe.terminate().await,
        }
        tokio::select! {
            never = run.listen(&client) => match never {},
            () = probe.finished() => {}
        }
        let kept = self.end(run).await;
        self.runs.assert_counted_once(&kept, self.files.map());
        let truth = self.scene.truth();
        let judge = Judge { truth: &truth, runs: &self.runs, map: self.files.map(), grace: self.scene.grace };
        let tally = judge.judge(&kept);
        let reference = self.reference();
        self.scene.sandbox.stop().await;
        (tally, reference)
    }

    async fn wait(&self, times: u64, rendezvous: &Rendezvous) {
        rendezvous.all_killed.wait().await;
        // The undisturbed lane continues until it has as many canaries as any other, to compare them all.
        while times == 0 && self.reference().shortest() < rendezvous.most_canaries.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Checks the store that a killed run left on disk. Returns its traces.
    async fn end(&mut self, mut run: Run) -> BTreeMap<TraceId, Trace> {
        run.end();
        let files = self.files.clone();
        let kept = tokio::task::spawn_blocking(move || files.kept()).await.unwrap();
        run.assert_counts_are_stored(&kept, self.files.map());
        self.watch.read(&kept);
        self.runs.add(run);
        kept
    }

    async fn run_for_a_while(&mut self, nth: u64, run: &mut Run, probe: &mut Probe) {
        let delay = Duration::from_millis(self.random.u64(0..MAX_DELAY_MS));
        match self.run_length {
            RunLength::Short if nth.is_multiple_of(2) => return sleep(delay).await,
            RunLength::Short => probe.listening().await,
            RunLength::Long => {
                probe.listening().await;
                let at_work = run.listen_until_at_work(probe, self.files.map(), ENDED);
                let (at_work, ()) = tokio::join!(timeout(AT_WORK_WITHIN, at_work), sleep(LONG));
                at_work.unwrap_or_else(|_| {
                    panic!("it did not read every source; it printed: {}", probe.printed())
                });
            }
        }
        // Ends by the timeout only.
        let _ = timeout(delay, run.listen(probe)).await;
        if self.random.bool() {
            // Killed right after it has shown its counts: all of them must be on disk.
            run.read_pages(probe).await;
        }
    }

    /// What the pipeline has done with the canaries so far.
    fn reference(&self) -> Reference {
        Reference::new(self.scene.sandbox.truth())
    }
}
