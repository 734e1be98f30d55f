//! The readiness check: whether the sources have been polled. Liveness follows from the age of the last
//! snapshot, which `web` checks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tracker::Snapshot;

type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// Returns a check that passes once every source has answered a poll, or the warm-up is over.
pub fn ready(
    snapshots: Snapshots,
    clock: WallClock,
    began: Timestamp,
    warm_up: Duration,
) -> impl Fn() -> Result<(), String> {
    move || {
        let snapshot = snapshots.borrow().clone();
        let unpolled = snapshot.read_sources().filter(|view| view.last_answer.is_none());
        let names: Vec<_> =
            unpolled.map(|view| snapshot.topology.source(view.source).name.to_string()).collect();
        if names.is_empty() || clock.now().since(began) >= warm_up {
            return Ok(());
        }
        Err(format!("no answer yet from {}", names.join(", ")))
    }
}
