//! Where the daemon of this machine listens, for commands that ask it something.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::configuration::Configuration;
use crate::config::{DAEMON_ADDRESS, Faults, environment};

/// Why the address of the daemon is not known.
#[derive(Debug, thiserror::Error)]
pub enum NoAddress {
    /// The configuration that should name it cannot be read.
    #[error(transparent)]
    Configuration(#[from] Faults),
    /// The configuration names none.
    #[error("{0}")]
    NotNamed(String),
}

/// The daemon of this machine.
#[derive(Debug, Args)]
pub struct LocalDaemon {
    /// Address and port of the daemon, with https:// in front if it speaks TLS; default: where its configuration has
    /// it listen (probe.listen).
    #[arg(long, value_name = "ADDR", env = DAEMON_ADDRESS)]
    address: Option<String>,
    #[command(flatten)]
    configuration: Configuration,
}

impl LocalDaemon {
    /// The URL of its web port, without a path.
    ///
    /// # Errors
    ///
    /// [`NoAddress`].
    pub fn url(&self) -> Result<String, NoAddress> {
        match self.address.as_deref().filter(|address| !address.is_empty()) {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Ok(url.trim_end_matches('/').to_owned())
            }
            Some(address) => Ok(format!("http://{address}")),
            None => {
                let env = environment();
                let place = self.configuration.place(&env)?;
                let address = reached_at(place.listen(&env)?).map_err(NoAddress::NotNamed)?;
                let scheme = if place.has_tls(&env) { "https" } else { "http" };
                Ok(format!("{scheme}://{address}"))
            }
        }
    }

    /// A client that waits at most four seconds for an answer, because ECS allows a health check five by default.
    ///
    /// # Errors
    ///
    /// The client's own, as a text for people.
    pub fn client() -> Result<reqwest::Client, String> {
        reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(4))
            // The certificate names the daemon as others call it, and not this machine's own address. Nothing that is
            // secret goes there.
            .danger_accept_invalid_certs(true)
            .build()
            .map_err(|error| error.to_string())
    }
}

/// The address under which this machine reaches a daemon that listens there.
fn reached_at(listen: SocketAddr) -> Result<SocketAddr, String> {
    if listen.port() == 0 {
        return Err(format!(
            "the daemon chooses its port itself (probe.listen is {listen}); name the one that it printed with --address"
        ));
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(listen: &str) -> Result<String, String> {
        reached_at(listen.parse().unwrap()).map(|address| address.to_string())
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_reached_on_this_machine() {
        assert_eq!(reached("0.0.0.0:9464"), Ok("127.0.0.1:9464".to_owned()));
        assert_eq!(reached("[::]:80"), Ok("[::1]:80".to_owned()));
        assert_eq!(reached("10.0.0.7:9464"), Ok("10.0.0.7:9464".to_owned()));
    }

    #[test]
    fn a_port_that_the_daemon_chooses_is_not_guessed() {
        let error = reached("127.0.0.1:0").unwrap_err();
        assert!(error.contains("--address"), "{error}");
    }
}
