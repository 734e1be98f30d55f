//! The task in front of each log group: takes what the engine sends it, puts it in one call, reports back.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::engine::{Departure, PutReport};
use crate::domain::tag::TraceId;
use crate::inject::{CanaryLine, Injector};

/// Most canaries that leave together. What is due beyond it leaves with the next call.
const MOST_TOGETHER: usize = 1_000;

/// Puts canaries until the engine closes the queue. `cancel` ends the retries of a put that is under way.
pub async fn run(
    injector: Injector,
    mut departures: mpsc::Receiver<Departure>,
    reports: mpsc::Sender<PutReport>,
    cancel: CancellationToken,
) {
    let mut due = Vec::new();
    while departures.recv_many(&mut due, MOST_TOGETHER).await > 0 {
        let owners: Vec<_> = due.iter().map(|departure| (departure.trace, departure.tenant)).collect();
        let bytes = due.iter().map(|departure| departure.line.len() as u64).sum();
        let lines = due.drain(..).map(|Departure { trace, planned_at, line, .. }| CanaryLine {
            trace,
            planned_at,
            line,
        });
        let retried = |traces: Vec<TraceId>| async {
            // It fails only when the engine has ended, and nobody judges any more.
            let _ = reports.send(PutReport::Retried(traces)).await;
        };
        let report = injector.put(lines.collect(), retried, &cancel).await;
        let took: Duration = report.calls.iter().map(|call| call.took).sum();
        let owned = report.results.into_iter().filter_map(|(trace, result)| {
            let (_, tenant) = owners.iter().find(|(id, _)| *id == trace)?;
            Some((*tenant, trace, result))
        });
        if reports.send(PutReport::Done { results: owned.collect(), took, bytes }).await.is_err() {
            return;
        }
    }
}
