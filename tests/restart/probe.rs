//! The probe as a process that can be killed at any instant, before it listens too.

use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use super::scene::{Files, TAG_KEY};
use super::support::client::Client;
use super::support::process::{PROGRAM, Process, Said};

/// A few seconds; a busy machine takes many times that.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// One life of a probe. Once it was waited for, it can be asked like its [`Client`].
pub struct Probe {
    process: Process,
    client: Option<Client>,
}

impl Deref for Probe {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it was not waited for")
    }
}

impl Probe {
    /// Starts it and does not wait for anything. It logs to a file, after its earlier lives.
    pub fn spawn(files: &Files) -> Self {
        // Writing beyond a limit on file sizes is then an error, as on a full disk, and not the end of the process.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, PROGRAM, "run", "--config"])
            .arg(&files.config)
            .env_clear()
            .env(TAG_KEY.0, TAG_KEY.1);
        Self { process: Process::spawn(&mut command, Said::File(files.log.clone())), client: None }
    }

    /// Starts it and waits until it listens.
    pub async fn start(files: &Files) -> Self {
        let mut probe = Self::spawn(files);
        probe.listening().await;
        probe
    }

    pub async fn listening(&mut self) {
        self.client = Some(self.process.listening().await);
    }

    /// SIGKILL, and nothing else may have ended it.
    pub async fn kill(mut self) {
        self.process.start_kill();
        let status = self.ended().await;
        let said = || self.process.said();
        assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself: {status}; it said: {}", said());
    }

    /// SIGTERM: it injects no more, lets everything land, and ends.
    pub async fn land(mut self) {
        self.terminate().await;
        self.landed().await;
    }

    pub async fn terminate(&self) {
        self.process.signal("TERM").await;
    }

    /// Returns when it has ended in good order.
    pub async fn landed(&mut self) {
        let status = self.ended().await;
        assert!(status.success(), "{status}; it said: {}", self.process.said());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended(ENDS_WITHIN).await
    }

    /// Lets it write files up to this many bytes only; `unlimited` mends that. Beyond, every write fails.
    pub async fn limit_files_to(&self, bytes: &str) {
        let limit = format!("--fsize={bytes}:unlimited");
        let prlimit = Command::new("prlimit").args(["--pid", &self.process.id(), &limit]).status().await;
        assert!(prlimit.expect("prlimit of util-linux is needed").success());
    }

    /// Everything that it and its earlier lives logged.
    pub fn said(&self) -> String {
        self.process.said()
    }
}
