//! The task in front of each log group: takes what the engine sends it, puts it in one call, reports back.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::inject::{CanaryLine, Injector, Report};

/// Most canaries that leave together. What is due beyond it leaves with the next call.
const MOST_TOGETHER: usize = 1_000;

/// Puts canaries until the engine closes the queue. `cancel` ends the retries of a put that is under way.
pub async fn run(
    injector: Injector,
    mut outbound: mpsc::Receiver<CanaryLine>,
    reports: mpsc::Sender<Report>,
    cancel: CancellationToken,
) {
    let mut due = Vec::new();
    while outbound.recv_many(&mut due, MOST_TOGETHER).await > 0 {
        let report = injector.put(std::mem::take(&mut due), &cancel).await;
        if reports.send(report).await.is_err() {
            return;
        }
    }
}
