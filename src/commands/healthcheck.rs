//! `traceprobe healthcheck`: for the container, which has no shell and no curl.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

/// Ask a running daemon on this machine whether its engine turns; exit code 0 if it does.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:9464", env = "TRACEPROBE_HEALTHCHECK_ADDRESS")]
    address: String,
}

impl Healthcheck {
    /// Asks `/healthz`, for at most four seconds: ECS allows five by default.
    pub async fn run(&self) -> ExitCode {
        crate::cloud::install_tls();
        let url = format!("http://{}/healthz", self.address);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(4)).build();
        let answer = match client {
            Ok(client) => client.get(&url).send().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.status().is_success() => ExitCode::SUCCESS,
            Ok(answer) => {
                eprintln!("{url}: {}", answer.status());
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("{url}: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
