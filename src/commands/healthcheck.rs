//! `traceprobe healthcheck`: the health check of the container, which has neither a shell nor curl.

use std::process::ExitCode;

use clap::Args;

use super::local_daemon::LocalDaemon;
use super::output::complain;

/// Ask the daemon on this machine whether its engine is running; exit code 0 if it is, else 1.
///
/// Requests /healthz and waits at most four seconds. For the health checks of Docker and ECS: the container
/// image has neither a shell nor curl. The address is that of the daemon's configuration, with its variables
/// (TRACEPROBE_PROBE_LISTEN), unless --address or its variable names another.
#[derive(Debug, Args)]
pub struct Healthcheck {
    #[command(flatten)]
    daemon: LocalDaemon,
}

impl Healthcheck {
    /// Requests `/healthz`. Waits at most four seconds, because ECS allows five by default.
    pub async fn run(&self) -> ExitCode {
        crate::cloud::install_tls();
        let url = match self.daemon.url() {
            Ok(url) => format!("{url}/healthz"),
            Err(error) => {
                complain!("{error}");
                return ExitCode::FAILURE;
            }
        };
        let client = match LocalDaemon::client() {
            Ok(client) => client,
            Err(error) => {
                complain!("{error}");
                return ExitCode::FAILURE;
            }
        };
        match client.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => ExitCode::SUCCESS,
            Ok(answer) if matches!(answer.status().as_u16(), 401 | 403) => {
                complain!("{url}: {}: let /healthz be one of web.open", answer.status());
                ExitCode::FAILURE
            }
            Ok(answer) => {
                complain!("{url}: {}", answer.status());
                ExitCode::FAILURE
            }
            Err(error) => {
                let reason = crate::cloud::failure::causes(&error);
                complain!("{url}: {reason}; is this the daemon's address? See --config and --address");
                ExitCode::FAILURE
            }
        }
    }
}
