//! `traceprobe drill`: begins a drill and waits for the pager.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::local_daemon::LocalDaemon;
use super::output::{complain, say};
use crate::cloud::failure::causes;
use crate::keys::secret::masked_urls;

/// How often the daemon is asked how the drill is going.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// How often the wait is told.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Begin a drill on the daemon of this machine, and wait until its notification arrives.
///
/// The daemon withholds the canaries of the tenant "drill", which does not exist, so that the alert on a stuck
/// tenant takes the real way through Prometheus and Alertmanager. Alertmanager must notify the daemon of alerts
/// with the label tenant="drill" (docs/drill.md). Needs drill.enabled. Exit code 0 if the notification arrives,
/// 1 if the drill ends without it. The daemon must be on this machine; its address is found as by healthcheck.
#[derive(Debug, Args)]
pub struct Drill {
    #[command(flatten)]
    daemon: LocalDaemon,
}

impl Drill {
    /// Begins it, tells how it goes, and returns whether the notification arrived.
    pub async fn run(&self) -> ExitCode {
        crate::cloud::install_tls();
        match self.wait_for_the_pager().await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                complain!("{error}");
                ExitCode::FAILURE
            }
        }
    }

    async fn wait_for_the_pager(&self) -> Result<bool, String> {
        let client = LocalDaemon::client()?;
        let daemon = self.daemon.url()?;
        let url = format!("{daemon}/-/drill");
        let failed = |error| unreachable(&daemon, error);
        let before = state(&client, &daemon).await?;
        let answer = client.post(&url).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            return Err(format!("{}: {status}: {}", masked_urls(&url), text.trim()));
        }
        let begun = Instant::now();
        say!("the drill begins: canaries of the tenant \"drill\" are withheld; waiting for the notification");
        let mut told = begun;
        let mut was_active = false;
        loop {
            sleep(POLL_EVERY).await;
            let now = state(&client, &daemon).await?;
            if now["last_rang"] != before["last_rang"] {
                say!("the pager rings: the notification arrived after {} s", begun.elapsed().as_secs());
                return Ok(true);
            }
            let is_active = !now["active_since"].is_null();
            if was_active && !is_active {
                complain!("the drill ended without a notification: nothing proves that the pager rings");
                return Ok(false);
            }
            was_active = is_active;
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let until = now["active_until"].as_str().unwrap_or("?");
                say!("{} s: no notification yet; the drill ends at {until}", begun.elapsed().as_secs());
            }
        }
    }
}

/// That the daemon does not answer, and why.
fn unreachable(daemon: &str, error: reqwest::Error) -> String {
    let reason = causes(&error.without_url());
    format!("cannot reach the daemon at {}: {reason}; see --config and --address", masked_urls(daemon))
}

/// What the daemon knows of drills.
async fn state(client: &reqwest::Client, daemon: &str) -> Result<Value, String> {
    let url = format!("{daemon}/traces/recent?format=json&limit=1");
    let failed = |error| unreachable(daemon, error);
    let text = client.get(&url).send().await.map_err(failed)?.text().await.map_err(failed)?;
    let mut state: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", masked_urls(&url)))?;
    Ok(state["drill"].take())
}
