//! Owns every task of the daemon. Each has a name, and none can die unnoticed.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::domain::foreign::ForeignText;

/// A named task that has not been started.
pub struct Task {
    name: String,
    work: BoxFuture<'static, ()>,
    dismissed: Option<CancellationToken>,
}

impl Task {
    /// Gives `work` a name. It does not run before [`Supervisor::start`].
    pub fn new(name: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name: name.into(), work: Box::pin(work), dismissed: None }
    }

    /// The same for a task that may end before the daemon does: once the token is cancelled.
    #[must_use]
    pub fn until(self, dismissed: CancellationToken) -> Self {
        Self { dismissed: Some(dismissed), ..self }
    }

    /// What the task does, for people: `observe kinesis logs-acme`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The running tasks and their names. Dropping it aborts them.
#[derive(Debug)]
pub struct Supervisor {
    runtime: Handle,
    tasks: JoinSet<()>,
    names: HashMap<Id, (String, Option<CancellationToken>)>,
}

/// How a task ended.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The name of the task.
    pub task: String,
    /// The panic message; `None` if it returned.
    pub panic: Option<ForeignText>,
    /// Whether it was allowed to end.
    pub dismissed: bool,
}

impl Supervisor {
    /// A supervisor that runs its tasks on this runtime.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, tasks: JoinSet::new(), names: HashMap::new() }
    }

    pub fn start(&mut self, task: Task) {
        let handle = self.tasks.spawn_on(task.work, &self.runtime);
        self.names.insert(handle.id(), (task.name, task.dismissed));
    }

    /// Waits until any task ends. Returns `None` if no task is left.
    pub async fn next_end(&mut self) -> Option<End> {
        let (id, panic) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(panic_message(error))),
        };
        let (task, dismissed) = self.names.remove(&id).unwrap_or_default();
        Some(End { task, panic, dismissed: dismissed.is_some_and(|token| token.is_cancelled()) })
    }

    /// Returns the names of the tasks that still run.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(|(name, _)| name.as_str())
    }

    /// Aborts all tasks at their next `await`, and does not wait for it: a task that computes has none.
    pub fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

/// The message may quote what was being read.
fn panic_message(error: tokio::task::JoinError) -> ForeignText {
    let Ok(panic) = error.try_into_panic() else {
        return "aborted".into();
    };
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_named() {
        let mut supervisor = Supervisor::new(Handle::current());
        supervisor.start(Task::new("waits", std::future::pending()));
        supervisor.start(Task::new("breaks", async { panic!("no more stack") }));
        let end = supervisor.next_end().await.unwrap();
        let panic = Some("no more stack".into());
        assert_eq!(end, End { task: "breaks".into(), panic, dismissed: false });
        assert_eq!(supervisor.running().collect::<Vec<_>>(), ["waits"]);
    }

    #[tokio::test]
    async fn a_task_that_was_dismissed_may_end() {
        let mut supervisor = Supervisor::new(Handle::current());
        let token = CancellationToken::new();
        token.cancel();
        supervisor.start(Task::new("leaves", async {}).until(token));
        assert!(supervisor.next_end().await.unwrap().dismissed);
    }
}
