//! The readiness checks: whether the sources have been polled, and whether the store can be written. Liveness
//! follows from the age of the last snapshot, which `web` checks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::store_writer::StoreState;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tracker::Snapshot;

type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// Returns a check that passes while traces are written to disk, or no store is configured. The error says
/// since when and why they are not.
pub fn stored(state: watch::Receiver<StoreState>) -> impl Fn() -> Result<(), String> {
    move || match &*state.borrow() {
        StoreState::Healthy | StoreState::NotConfigured => Ok(()),
        StoreState::Degraded { since, reason } => Err(format!("since {since}: {reason}")),
    }
}

/// Returns a check that passes once every source has answered a poll, or the warm-up is over.
pub fn ready(
    snapshots: Snapshots,
    clock: WallClock,
    began: Timestamp,
    warm_up: Duration,
) -> impl Fn() -> Result<(), String> {
    move || {
        let snapshot = snapshots.borrow().clone();
        let unpolled = snapshot.sources.iter().filter(|view| view.last_answer.is_none());
        let names: Vec<_> =
            unpolled.map(|view| snapshot.topology.source(view.source).name.to_string()).collect();
        if names.is_empty() || clock.now().since(began) >= warm_up {
            return Ok(());
        }
        Err(format!("no answer yet from {}", names.join(", ")))
    }
}
