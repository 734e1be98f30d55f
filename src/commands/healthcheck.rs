//! `traceprobe healthcheck`: the health check of the container, which has neither a shell nor curl.

use std::process::ExitCode;

use clap::Args;

use super::configuration::EX_CONFIG;
use super::local_daemon::{LocalDaemon, NoAddress};
use super::output::complain;
use crate::cloud::failure::causes;
use crate::keys::secret::masked_urls;

/// Ask the daemon on this machine whether its engine is running; exit code 0 if it is, else 1.
///
/// Requests /healthz and waits at most four seconds. For the health checks of Docker and ECS: the container
/// image has neither a shell nor curl. The address is that of the daemon's configuration, with its variables
/// (TRACEPROBE_PROBE_LISTEN), unless --address or its variable names another. Exit code 78 if it has to be read from a
/// file that --config names, and that cannot be read.
#[derive(Debug, Args)]
pub struct Healthcheck {
    #[command(flatten)]
    daemon: LocalDaemon,
}

impl Healthcheck {
    /// Requests `/healthz`. Waits at most four seconds, because ECS allows five by default.
    pub async fn run(&self) -> ExitCode {
        let url = match self.daemon.url() {
            Ok(url) => url,
            Err(error) => {
                complain!("{error}");
                return match error {
                    NoAddress::Configuration(_) => ExitCode::from(EX_CONFIG),
                    NoAddress::NotNamed(_) => ExitCode::FAILURE,
                };
            }
        };
        match request(&url).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Requests `/healthz` of a daemon. The error is for people, without what is secret in the URL.
async fn request(daemon: &str) -> Result<(), String> {
    crate::cloud::install_tls();
    let url = format!("{daemon}/healthz");
    let shown = masked_urls(&url);
    let answer = LocalDaemon::client()?.get(&url).send().await.map_err(|error| {
        let reason = causes(&error);
        format!("{shown}: {reason}; is this the daemon's address? See --config and --address")
    })?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if matches!(status.as_u16(), 401 | 403) => {
            Err(format!("{shown}: {status}: let /healthz be one of web.open"))
        }
        status => Err(format!("{shown}: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_password_of_the_address_is_not_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let daemon = format!("http://probe:hush@{address}");
        let masked = |error: &str, what: &str| {
            let expected = format!("http://…@{address}/healthz: {what}");
            assert!(error.starts_with(&expected) && !error.contains("hush"), "{error}");
        };
        for status in ["401 Unauthorized", "503 Service Unavailable"] {
            let answering = async {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4_096]).await;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = connection.write_all(head.as_bytes()).await;
            };
            let (answer, ()) = tokio::join!(request(&daemon), answering);
            masked(&answer.unwrap_err(), status);
        }
        drop(listener);
        masked(&request(&daemon).await.unwrap_err(), "error sending request");
    }
}
