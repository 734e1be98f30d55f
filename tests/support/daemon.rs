//! The daemon as a process: started from its binary, watched over HTTP, ended by a signal.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::client::Client;
use super::process::{PROGRAM, Process, Said};

const LISTEN_EVERY: Duration = Duration::from_millis(30);

/// One that listens, and can be asked like its [`Client`].
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
    /// Runs the daemon on the configuration at `config`, with no environment but `variables`.
    pub async fn start(config: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Daemon {
        Daemon::spawn(&["run".as_ref(), "--config".as_ref(), config.as_os_str()], variables).await
    }

    /// Runs the program with these arguments, and waits until it listens.
    pub async fn spawn(
        arguments: &[&OsStr],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Daemon {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().envs(variables);
        let mut process = Process::spawn(&mut command, Said::in_memory());
        let client = process.listening().await;
        Daemon { process, client }
    }

    /// Sends SIGTERM, and returns how it ended and everything that it had printed.
    pub async fn terminate(self, within: Duration) -> (ExitStatus, String) {
        self.signal("TERM").await;
        self.ended(within).await
    }

    pub async fn signal(&self, name: &str) {
        self.process.signal(name).await;
    }

    /// Waits until it has printed this.
    pub async fn until_said(&self, what: &str, within: Duration) {
        let listening = async {
            while !self.said().contains(what) {
                tokio::time::sleep(LISTEN_EVERY).await;
            }
        };
        if timeout(within, listening).await.is_err() {
            panic!("not said within {within:?}: {what}; the daemon said: {}", self.said());
        }
    }

    /// Waits until it has ended, and returns how, and everything that it had printed.
    pub async fn ended(mut self, within: Duration) -> (ExitStatus, String) {
        let status = self.process.ended(within).await;
        (status, self.said())
    }
}
