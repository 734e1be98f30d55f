//! What keeps the task of an observer or an injector running: it may end once nothing holds it any more.

use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::sighting::Wanted;
use crate::inject::CanaryLine;

/// An observer, for the engine. Dropping it ends the observer.
#[derive(Debug)]
pub struct Polled {
    /// What it should find.
    pub wanted: watch::Sender<Wanted>,
    /// `None` if it ends by itself with the daemon.
    _guard: Option<DropGuard>,
}

impl Polled {
    /// `stop` is cancelled when this is dropped.
    #[must_use]
    pub fn new(wanted: watch::Sender<Wanted>, stop: CancellationToken) -> Self {
        Self { wanted, _guard: Some(stop.drop_guard()) }
    }

    /// What the drill shows instead of an observer.
    #[must_use]
    pub const fn of_drill(wanted: watch::Sender<Wanted>) -> Self {
        Self { wanted, _guard: None }
    }
}

/// The queue of an injector, which all tenants share that put into its log group. When the last one is dropped,
/// the injector puts what is in the queue, and ends.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub queue: mpsc::Sender<CanaryLine>,
    guard: Arc<DropGuard>,
}

/// The same, without keeping the injector running.
#[derive(Clone, Debug)]
pub struct WeakOutbound {
    queue: mpsc::WeakSender<CanaryLine>,
    guard: Weak<DropGuard>,
}

impl Outbound {
    /// `unused` is cancelled when the last clone is dropped: the injector's task may end from then on.
    #[must_use]
    pub fn new(queue: mpsc::Sender<CanaryLine>, unused: CancellationToken) -> Self {
        Self { queue, guard: Arc::new(unused.drop_guard()) }
    }

    #[must_use]
    pub fn downgrade(&self) -> WeakOutbound {
        WeakOutbound { queue: self.queue.downgrade(), guard: Arc::downgrade(&self.guard) }
    }
}

impl WeakOutbound {
    /// `None` if the injector ends.
    #[must_use]
    pub fn upgrade(&self) -> Option<Outbound> {
        Some(Outbound { queue: self.queue.upgrade()?, guard: self.guard.upgrade()? })
    }
}
