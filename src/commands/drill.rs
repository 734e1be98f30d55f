//! `traceprobe drill`: begins a drill and waits for the pager.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::StatusCode;
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
        let daemon = self.daemon.url().map_err(|error| error.to_string())?;
        let url = format!("{daemon}/-/drill");
        let failed = |error| unreachable(&daemon, error);
        let before = state(&client, &daemon).await?;
        accepted(&daemon, &url, client.post(&url).send().await.map_err(failed)?).await?;
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

/// An answer if it is a success; otherwise what it says.
async fn accepted(daemon: &str, url: &str, answer: reqwest::Response) -> Result<reqwest::Response, String> {
    let (status, url) = (answer.status(), masked_urls(url));
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::UNAUTHORIZED {
        let (scheme, rest) = daemon.split_once("://").unwrap_or(("http", daemon));
        let host = rest.rsplit('@').next().unwrap_or(rest);
        return Err(format!(
            "{url}: {status}: the port has a login (web.config_file); give a user of it, as in --address \
             {scheme}://USER:PASSWORD@{host}"
        ));
    }
    let text = answer.text().await.unwrap_or_default();
    Err(format!("{url}: {status}: {}", text.trim()))
}

/// What the daemon knows of drills.
async fn state(client: &reqwest::Client, daemon: &str) -> Result<Value, String> {
    let url = format!("{daemon}/traces/recent?format=json&limit=1");
    let failed = |error| unreachable(daemon, error);
    let answer = accepted(daemon, &url, client.get(&url).send().await.map_err(failed)?).await?;
    let text = answer.text().await.map_err(failed)?;
    let mut state: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", masked_urls(&url)))?;
    Ok(state["drill"].take())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_with_a_login_is_told_with_the_address_to_give() {
        crate::cloud::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for user in ["", "probe:hush@"] {
            let daemon = format!("http://{user}{address}");
            let answering = async {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4_096]).await;
                let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 6\r\n\r\nlogin?";
                let _ = connection.write_all(answer.as_bytes()).await;
            };
            let client = LocalDaemon::client().unwrap();
            let (told, ()) = tokio::join!(state(&client, &daemon), answering);
            let told = told.unwrap_err();
            assert!(told.contains("401 Unauthorized"), "{told}");
            assert!(told.ends_with(&format!("--address http://USER:PASSWORD@{address}")), "{told}");
            assert!(!told.contains("hush"), "{told}");
        }
    }
}
