//! The sandbox's tasks. Only this module spawns, so every task has a name and ends with the sandbox.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long tasks may take to end before they are aborted.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Owns every task of one sandbox. Dropping it aborts them.
pub(crate) struct Tasks {
    set: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { set: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Cancelled when the sandbox stops; every wait in a task must select on it.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Stops all tasks and waits until they have ended, aborting those that do not.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
            self.set.shutdown().await;
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // The HTTP server's connection tasks are not in the set; they end with this token.
        self.stop.cancel();
    }
}
