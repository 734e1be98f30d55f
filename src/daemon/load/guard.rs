//! Watches the tenants while a load runs: a daemon beside it judges by its own canaries how they are doing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cloud::failure::causes;

/// How often the daemon is called.
const EVERY: Duration = Duration::from_secs(2);
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So many calls in a row without an answer end the run: nobody would notice that a tenant suffers.
const MAX_FAILURES: u32 = 5;

/// A daemon that watches the same pipeline.
#[derive(Clone, Debug)]
pub struct Guard {
    client: reqwest::Client,
    url: String,
    /// The daemon, for people.
    daemon: String,
    /// Problems that there were before the run.
    before: BTreeSet<Problem>,
}

/// What is wrong with whom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Problem {
    condition: String,
    tenant: Option<String>,
    stage: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenant = self.tenant.as_deref().unwrap_or("all tenants");
        write!(f, "{tenant}: {}", self.condition)?;
        self.stage.iter().try_for_each(|stage| write!(f, " at {stage}"))
    }
}

/// What of `/traces/recent` is used.
#[derive(Deserialize)]
struct Recent {
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    condition: String,
    severity: String,
    tenant: Option<String>,
    stage: Option<String>,
    blame: String,
}

impl Guard {
    /// A guard that calls the daemon at this address, which `shown` tells without what is secret in it. Nothing is called
    /// yet.
    ///
    /// # Errors
    ///
    /// The client's own, as a text for people.
    pub fn new(url: &str, shown: &str) -> Result<Self, String> {
        crate::cloud::install_tls();
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| causes(&error))?;
        let daemon = format!("the daemon at load.guard_url, {shown},");
        let url = format!("{}/traces/recent?format=json&limit=1", url.trim_end_matches('/'));
        Ok(Self { client, url, daemon, before: BTreeSet::new() })
    }

    /// Calls the daemon for the first time.
    ///
    /// # Errors
    ///
    /// That it cannot be reached, or that one of the tenants has a problem already: a load would make it
    /// worse.
    pub async fn begin(&mut self, tenants: &[&str]) -> Result<(), String> {
        self.before = self.problems().await?;
        let is_loaded =
            |problem: &&Problem| problem.tenant.as_deref().is_none_or(|tenant| tenants.contains(&tenant));
        match self.before.iter().find(is_loaded) {
            None => Ok(()),
            Some(problem) => Err(format!("{} says that there is a problem: {problem}", self.daemon)),
        }
    }

    /// Watches until `stop`, and tells the first problem that was not there before.
    pub async fn watch(self, tell: mpsc::Sender<String>, stop: CancellationToken) {
        let mut failures = 0;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let told = match self.problems().await {
                Ok(problems) => {
                    failures = 0;
                    problems.difference(&self.before).next().map(ToString::to_string)
                }
                Err(reason) => {
                    failures += 1;
                    (failures >= MAX_FAILURES).then_some(reason)
                }
            };
            if let Some(told) = told {
                // The run may be over.
                let _received = tell.send(told).await;
                break;
            }
        }
        // A task that ends would look like a failure.
        stop.cancelled().await;
    }

    /// The pipeline's problems now.
    async fn problems(&self) -> Result<BTreeSet<Problem>, String> {
        let failed = |error: reqwest::Error| {
            format!("{} cannot be read: {}", self.daemon, causes(&error.without_url()))
        };
        let answer = self.client.get(&self.url).header("accept", "application/json").send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let recent: Recent = answer.json().await.map_err(failed)?;
        let is_problem = |it: &Condition| it.severity != "note" && it.blame == "pipeline";
        let problems = recent.conditions.into_iter().filter(is_problem);
        Ok(problems
            .map(|Condition { condition, tenant, stage, .. }| Problem { condition, tenant, stage })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_cannot_be_reached_is_named_with_the_reason() {
        // A port that was free just now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shown = format!("http://…@127.0.0.1:{port}");
        let mut guard = Guard::new(&format!("http://user:hush@127.0.0.1:{port}"), &shown).unwrap();
        let reason = guard.begin(&["acme"]).await.unwrap_err();
        let expected = format!("the daemon at load.guard_url, {shown}, cannot be read: ");
        assert!(reason.starts_with(&expected) && reason.contains("onnection refused"), "{reason}");
        assert!(!reason.contains("hush"), "{reason}");
    }
}
