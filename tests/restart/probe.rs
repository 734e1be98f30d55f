//! The probe as a process that can be killed at any instant, even before it listens.

use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use super::scene::{Files, TAG_KEY};
use super::support::client::Client;
use super::support::process::{PROGRAM, Printed, Process};

/// A few seconds, and many times that on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;

/// One run of a probe. Dereferences to its [`Client`] once it listens.
pub struct Probe {
    process: Process,
    client: Option<Client>,
}

impl Deref for Probe {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("call `listening` first")
    }
}

impl Probe {
    /// Starts it without waiting. It appends its log to that of its previous runs.
    pub fn spawn(files: &Files) -> Self {
        Self::spawn_after(files, "")
    }

    /// The same, after shell commands that change what the process inherits: `ulimit -n 64`.
    pub fn spawn_after(files: &Files, commands: &str) -> Self {
        // With SIGXFSZ ignored, writing beyond the limit on file sizes fails, as on a full disk, and does not
        // kill it.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{commands}\ntrap \"\" XFSZ; exec \"$0\" \"$@\"")])
            .args([PROGRAM, "run", "--config"])
            .arg(&files.config)
            .env_clear()
            .env(TAG_KEY.0, TAG_KEY.1);
        Self { process: Process::spawn(&mut command, Printed::File(files.log.clone())), client: None }
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

    /// Sends SIGKILL. Fails if it ended for another reason.
    pub async fn kill(mut self) {
        self.process.start_kill();
        let status = self.ended().await;
        let printed = || self.process.printed();
        assert_eq!(
            status.signal(),
            Some(SIGKILL),
            "it was not ended by SIGKILL: {status}; it printed: {}",
            printed()
        );
    }

    /// Sends SIGTERM and waits until the canaries in flight have ended and it has exited with 0.
    pub async fn finish(mut self) {
        self.terminate().await;
        self.finished().await;
    }

    pub async fn terminate(&self) {
        self.process.signal("TERM").await;
    }

    /// Waits until it has exited with 0.
    pub async fn finished(&mut self) {
        let status = self.ended().await;
        assert!(status.success(), "{status}; it printed: {}", self.process.printed());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended(ENDS_WITHIN).await
    }

    pub async fn signal(&self, name: &str) {
        self.process.signal(name).await;
    }

    /// The most memory that it has had so far, in MiB (`VmHWM`, proc(5)).
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// Makes every write beyond this file size fail; `unlimited` lifts the limit.
    pub async fn limit_files_to(&self, bytes: &str) {
        let limit = format!("--fsize={bytes}:unlimited");
        let prlimit = Command::new("prlimit").args(["--pid", &self.process.id(), &limit]).status().await;
        assert!(prlimit.expect("prlimit of util-linux is needed").success());
    }

    /// Everything that it and its previous runs logged.
    pub fn printed(&self) -> String {
        self.process.printed()
    }
}
