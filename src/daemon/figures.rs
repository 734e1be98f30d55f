//! Figures over time, which the engine writes and the pages read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::aggregates::{Aggregates, History, Kept, Selection, Unsaved};
use crate::domain::conditions::Assessment;
use crate::domain::time::Timestamp;
use crate::domain::topology::Topology;
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;

/// The buckets of all tenants, with a lock.
///
/// Everything else that pages show is in the snapshot. These buckets are not, because they take megabytes and
/// change every second, so that each snapshot would copy them. The engine holds the lock to add what changed,
/// and a reader to copy what it selected, which the pages limit; neither waits for anything meanwhile.
#[derive(Clone, Debug)]
pub struct SharedFigures(Arc<Mutex<Aggregates>>);

impl SharedFigures {
    /// Shares these buckets.
    #[must_use]
    pub fn new(aggregates: Aggregates) -> Self {
        Self(Arc::new(Mutex::new(aggregates)))
    }

    /// Counts the canaries that were settled.
    pub fn settle(&self, settled: &[Arc<Trace>], oldest_open: Option<Timestamp>, now: Timestamp) {
        let mut aggregates = self.lock();
        settled.iter().for_each(|trace| aggregates.settle(trace));
        aggregates.close(oldest_open, now);
    }

    /// What changed since it was last saved.
    #[must_use]
    pub fn unsaved(&self) -> Unsaved {
        self.lock().unsaved()
    }

    /// Everything that is kept, for a store that may lack any of it.
    #[must_use]
    pub fn everything(&self) -> Unsaved {
        self.lock().everything()
    }

    /// Says that what [`unsaved`](Self::unsaved) returned is on disk, or will never be.
    pub fn saved(&self) {
        self.lock().saved();
    }

    /// Takes over what a previous run left.
    pub fn restore(&self, kept: Kept, now: Timestamp) {
        self.lock().restore(kept, now);
    }

    /// Takes over a topology that succeeds the present one.
    pub fn succeed(&self, topology: Arc<Topology>) {
        self.lock().succeed(topology);
    }

    /// Says that a snapshot was published, with this assessment.
    pub fn published(&self, assessment: &Assessment, now: Timestamp) {
        let mut aggregates = self.lock();
        aggregates.judge(assessment, now);
        aggregates.published();
    }

    /// Reads buckets; open canaries are those of the last published snapshot.
    #[must_use]
    pub fn read(&self, selection: &Selection, snapshots: &watch::Receiver<Arc<Snapshot>>) -> History {
        let (excerpt, snapshot) = {
            let aggregates = self.lock();
            // With the lock held, so that no canary is open in the snapshot, and settled and forgotten here.
            (aggregates.excerpt(selection), snapshots.borrow().clone())
        };
        excerpt.with_open(snapshot.open.iter().map(AsRef::as_ref))
    }

    fn lock(&self) -> MutexGuard<'_, Aggregates> {
        // Each bucket is whole after every step, so what a panic left can be used.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
