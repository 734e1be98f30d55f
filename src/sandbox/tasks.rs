//! The sandbox's tasks: the only place in it that spawns, so that every task has a name and ends with the sandbox.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long tasks may take to end by themselves before they are aborted.
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

    /// Cancelled when the sandbox stops; every wait in a task must end with it.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Asks all tasks to end and waits until they have, aborting those that do not.
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
        // Connections are served by tasks of the HTTP server; they end with this token and not with the set.
        self.stop.cancel();
    }
}
