//! The daemon as a process: started from its binary, read over HTTP, ended by a signal.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::client::Client;
use super::process::{PROGRAM, Printed, Process};

const CHECK_EVERY: Duration = Duration::from_millis(30);

/// A daemon that listens. Dereferences to its [`Client`].
pub struct Daemon {
    process: Process,
    client: Client,
}

impl Deref for Daemon {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Daemon {
    /// Runs the daemon on the configuration at `config`, with only `variables` in its environment.
    pub async fn start(config: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Daemon {
        Daemon::spawn(&["run".as_ref(), "--config".as_ref(), config.as_os_str()], variables).await
    }

    /// Runs the program with these arguments and waits until it listens.
    pub async fn spawn(
        arguments: &[&OsStr],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Daemon {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().envs(variables);
        let mut process = Process::spawn(&mut command, Printed::in_memory());
        let client = process.listening().await;
        Daemon { process, client }
    }

    /// Sends SIGTERM and waits for the end. Returns the exit status and everything that was printed.
    pub async fn terminate(self, within: Duration) -> (ExitStatus, String) {
        self.signal("TERM").await;
        self.ended(within).await
    }

    pub async fn signal(&self, name: &str) {
        self.process.signal(name).await;
    }

    /// Waits until it has printed `what`.
    pub async fn until_printed(&self, what: &str, within: Duration) {
        let listening = async {
            while !self.printed().contains(what) {
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        if timeout(within, listening).await.is_err() {
            panic!("not printed within {within:?}: {what}; the daemon printed: {}", self.printed());
        }
    }

    /// Waits until it has ended. Returns the exit status and everything that was printed.
    pub async fn ended(mut self, within: Duration) -> (ExitStatus, String) {
        let status = self.process.ended(within).await;
        (status, self.printed())
    }
}
