//! What a probe that listens says over HTTP, to people, to scripts and to Prometheus.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::Metrics;
use super::page::Recent;
use super::process::Said;

const POLL_EVERY: Duration = Duration::from_millis(300);

/// Where a probe can be asked. A request that fails is a failed test, which shows what the probe has logged.
#[derive(Clone)]
pub struct Client {
    address: String,
    http: reqwest::Client,
    said: Said,
}

/// A client for servers of this machine.
pub fn http() -> reqwest::Client {
    // The crate's TLS has no provider of its own; the client wants one even for plain HTTP.
    // Another test of this binary may have been faster.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client without TLS roots can be built")
}

impl Client {
    /// `address` is that of the probe, with the scheme.
    pub fn new(address: String, said: Said) -> Client {
        Client { address, http: http(), said }
    }

    /// With the scheme.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn get(&self, path: &str) -> String {
        self.got(path, self.try_get(path, None).await)
    }

    /// The answer in a media type.
    pub async fn get_as(&self, path: &str, accept: &str) -> String {
        self.got(path, self.try_get(path, Some(accept)).await)
    }

    fn got(&self, path: &str, answer: reqwest::Result<String>) -> String {
        answer.unwrap_or_else(|error| panic!("{path}: {error}; the daemon said: {}", self.said()))
    }

    async fn try_get(&self, path: &str, accept: Option<&str>) -> reqwest::Result<String> {
        let mut request = self.http.get(format!("{}{path}", self.address));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        request.send().await?.error_for_status()?.text().await
    }

    pub async fn recent(&self) -> Recent {
        self.recent_of("limit=1000").await
    }

    /// The page, narrowed by parameters.
    pub async fn recent_of(&self, parameters: &str) -> Recent {
        let text = self.get(&format!("/traces/recent?format=json&{parameters}")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("/traces/recent: {error} in {text}"))
    }

    /// What people see.
    pub async fn html(&self) -> String {
        self.get("/traces/recent").await
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").await)
    }

    /// What page and counters say now, the page with its newest trace only; `None` where there is no answer, as from a
    /// probe that is ending.
    pub async fn poll(&self) -> Option<(Recent, Metrics)> {
        let recent = self.try_get("/traces/recent?format=json&limit=1", None).await.ok()?;
        let metrics = self.try_get("/metrics", None).await.ok()?;
        Some((serde_json::from_str(&recent).ok()?, Metrics::parse(&metrics)))
    }

    /// Looks at the page until `is_so`, and returns what it showed then.
    pub async fn until(&self, what: &str, within: Duration, is_so: impl Fn(&Recent) -> bool) -> Recent {
        let mut polls = interval(POLL_EVERY);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let poll = async {
            loop {
                polls.tick().await;
                let recent = self.recent().await;
                if is_so(&recent) {
                    return recent;
                }
            }
        };
        match timeout(within, poll).await {
            Ok(recent) => recent,
            Err(_) => panic!("not within {within:?}: {what}; the daemon said: {}", self.said()),
        }
    }

    /// Looks at page and metrics until `is_so`, and returns what they showed then.
    pub async fn until_seen(
        &self,
        what: &str,
        within: Duration,
        is_so: impl Fn(&Recent, &Metrics) -> bool,
    ) -> (Recent, Metrics) {
        let mut last = String::new();
        let poll = async {
            loop {
                // The page second: what the metrics say of a state, it then says too.
                let metrics = self.metrics().await;
                let recent = self.recent().await;
                if is_so(&recent, &metrics) {
                    return (recent, metrics);
                }
                last = format!("{:?}", recent.sources);
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        match timeout(within, poll).await {
            Ok(seen) => seen,
            Err(_) => {
                panic!("not within {within:?}: {what}; sources: {last}; the daemon said: {}", self.said())
            }
        }
    }

    /// Everything that the probe has printed so far.
    pub fn said(&self) -> String {
        self.said.text()
    }
}
