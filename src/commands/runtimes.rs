//! The two runtimes of the program.
//!
//! A task that computes for long keeps a thread from everything else, timers and signals included, and a small
//! container has a single thread for tasks. So the main thread has a runtime of its own, which runs no tasks:
//! it waits for signals and ends the process in time, whatever the tasks do.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How long to wait at the end for tasks that compute and for calls that block. A write to a disk that hangs
/// cannot be cancelled, and must not keep the process alive.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The runtime of all tasks, and that of the main thread.
#[derive(Debug)]
pub struct Runtimes {
    tasks: Runtime,
    main: Runtime,
}

impl Runtimes {
    /// Starts both.
    ///
    /// # Errors
    ///
    /// If the system refuses threads or descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            tasks: Builder::new_multi_thread().enable_all().build()?,
            main: Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Runs `work` on the main thread. What it opens or spawns belongs to the runtime of the tasks.
    pub fn among_tasks<T>(&self, work: impl Future<Output = T>) -> T {
        self.tasks.block_on(work)
    }

    /// Runs `work` as the task of a set. Dropping the set aborts it.
    pub fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
        let mut set = JoinSet::new();
        set.spawn_on(work, self.tasks.handle());
        set
    }

    /// Runs `work` on the main thread, which no task can hold up. It must spawn nothing.
    pub fn beside_tasks<T>(&self, work: impl Future<Output = T>) -> T {
        self.main.block_on(work)
    }

    /// Ends both after a short wait for tasks.
    pub fn shut_down(self) {
        self.tasks.shutdown_timeout(SHUTDOWN);
    }

    /// Ends both without waiting.
    pub fn shut_down_at_once(self) {
        self.tasks.shutdown_background();
    }
}
