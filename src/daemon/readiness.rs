//! Whether the daemon is ready, and whether what happens is kept. Whether it is alive is told by the age of its last
//! snapshot, which `web` knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::store_writer::StoreState;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tracker::Snapshot;

type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// What happens is on disk, or is not meant to be.
pub fn kept(state: watch::Receiver<StoreState>) -> impl Fn() -> Result<(), String> {
    move || match &*state.borrow() {
        StoreState::Healthy | StoreState::Memory => Ok(()),
        StoreState::Degraded { since, reason } => Err(format!("since {since}: {reason}")),
    }
}

/// Every source has been read once, or the warm-up is over.
pub fn ready(
    snapshots: Snapshots,
    clock: WallClock,
    began: Timestamp,
    warm_up: Duration,
) -> impl Fn() -> Result<(), String> {
    move || {
        let snapshot = snapshots.borrow().clone();
        let unreadable = snapshot.sources.iter().filter(|view| view.last_answer.is_none());
        let names: Vec<_> =
            unreadable.map(|view| snapshot.topology.source(view.source).name.to_string()).collect();
        if names.is_empty() || clock.now().since(began) >= warm_up {
            return Ok(());
        }
        Err(format!("not read yet: {}", names.join(", ")))
    }
}
