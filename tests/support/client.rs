//! An HTTP client for a running probe: the page, its JSON and the metrics.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::Metrics;
use super::page::Recent;
use super::process::Printed;

const POLL_EVERY: Duration = Duration::from_millis(300);

/// A request that fails is a failed test, which shows what the probe has logged.
#[derive(Clone)]
pub struct Client {
    address: String,
    http: reqwest::Client,
    printed: Printed,
}

/// A client for servers on this machine; ignores proxies.
pub fn http() -> reqwest::Client {
    // The crate's TLS has no default provider, and the client needs one even for plain HTTP. Fails if another
    // test of this binary has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client without TLS roots can be built")
}

impl Client {
    /// `address` has the scheme.
    pub fn new(address: String, printed: Printed) -> Client {
        Client { address, http: http(), printed }
    }

    /// With the scheme.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn get(&self, path: &str) -> String {
        self.got(path, self.try_get(path, None).await)
    }

    /// The answer to a request that accepts this media type.
    pub async fn get_as(&self, path: &str, accept: &str) -> String {
        self.got(path, self.try_get(path, Some(accept)).await)
    }

    /// The status of the answer to a POST with this JSON.
    pub async fn post(&self, path: &str, body: String) -> u16 {
        let request = self.http.post(format!("{}{path}", self.address)).body(body);
        let answer = request.header("content-type", "application/json").send().await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}")).status().as_u16()
    }

    /// The status and the text of the answer to a POST without a body.
    pub async fn post_without_body(&self, path: &str) -> (u16, String) {
        let answer = self.http.post(format!("{}{path}", self.address)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    fn got(&self, path: &str, answer: reqwest::Result<String>) -> String {
        answer.unwrap_or_else(|error| panic!("{path}: {error}; the daemon printed: {}", self.printed()))
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

    /// The page's JSON, filtered by `parameters` of the query.
    pub async fn recent_of(&self, parameters: &str) -> Recent {
        let text = self.get(&format!("/traces/recent?format=json&{parameters}")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("/traces/recent: {error} in {text}"))
    }

    /// The page as HTML.
    pub async fn html(&self) -> String {
        self.get("/traces/recent").await
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").await)
    }

    /// The page, with its newest trace only, and the metrics; `None` if a request fails, as while the probe
    /// ends.
    pub async fn poll(&self) -> Option<(Recent, Metrics)> {
        let recent = self.try_get("/traces/recent?format=json&limit=1", None).await.ok()?;
        let metrics = self.try_get("/metrics", None).await.ok()?;
        Some((serde_json::from_str(&recent).ok()?, Metrics::parse(&metrics)))
    }

    /// Polls the page until `is_so` is true of it, and returns it.
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
            Err(_) => panic!("not within {within:?}: {what}; the daemon printed: {}", self.printed()),
        }
    }

    /// Polls page and metrics until `is_so` is true of them, and returns both.
    pub async fn until_seen(
        &self,
        what: &str,
        within: Duration,
        is_so: impl Fn(&Recent, &Metrics) -> bool,
    ) -> (Recent, Metrics) {
        let mut last = String::new();
        let poll = async {
            loop {
                // The page is fetched second, so that it shows every state that the metrics show.
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
                panic!(
                    "not within {within:?}: {what}; sources: {last}; the daemon printed: {}",
                    self.printed()
                )
            }
        }
    }

    /// Everything that the probe has printed so far.
    pub fn printed(&self) -> String {
        self.printed.text()
    }
}
