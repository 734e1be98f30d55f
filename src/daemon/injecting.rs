//! The injecting task of a log group: puts the engine's canaries in one call and reports the results.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::inject::{CanaryLine, Injector, Report};

/// Most canaries in one put. Any more leave with the next call.
const MAX_BATCH: usize = 1_000;

/// Puts canaries until the engine closes the queue. `cancel` ends the retries of a put in progress.
pub async fn run(
    injector: Injector,
    mut outbound: mpsc::Receiver<CanaryLine>,
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
) {
    let mut due = Vec::new();
    while outbound.recv_many(&mut due, MAX_BATCH).await > 0 {
        let report = injector.put(std::mem::take(&mut due), &cancel).await;
        if reports.send(report).await.is_err() {
            return;
        }
    }
}
