//! Whether the machine let the test run. Probes and pipelines that are starved are late, and alerts rightly say so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::now;

const BEAT: Duration = Duration::from_millis(100);
/// A beat that comes this much later shows a busy machine: a process of lower luck waits many times as long.
const LATE: Duration = Duration::from_millis(400);
/// What a busy machine causes.
const CAUSED: [&str; 9] = [
    "TraceprobeLatencyHigh",
    "TraceprobeLatencyCritical",
    "TraceprobeHopOverTarget",
    "TraceprobeMissing",
    "TraceprobeLateInjection",
    "TraceprobeInjectionsFailing",
    "TraceprobeStageBlind",
    "TraceprobeUnobserved",
    "TraceprobeDown",
];

pub struct Pulse {
    /// When beats came late, in seconds since the epoch.
    late: Arc<Mutex<Vec<f64>>>,
    _beating: JoinHandle<()>,
}

impl Pulse {
    pub fn start() -> Self {
        let late = Arc::<Mutex<Vec<f64>>>::default();
        let into = Arc::clone(&late);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let beating = tokio::spawn(async move {
            loop {
                let due = Instant::now() + BEAT;
                tokio::time::sleep_until(due).await;
                if due.elapsed() > LATE {
                    into.lock().unwrap().push(now());
                }
            }
        });
        Self { late, _beating: beating }
    }

    /// Whether an alert may be the machine's fault: it is of a kind that a busy one causes, and it was busy between
    /// these instants.
    pub fn explains(&self, alert: &str, from: f64, to: f64) -> bool {
        let late = self.late.lock().unwrap();
        CAUSED.contains(&alert) && late.iter().any(|at| (from..=to).contains(at))
    }

    /// How many beats came late.
    pub fn late(&self) -> usize {
        self.late.lock().unwrap().len()
    }
}
