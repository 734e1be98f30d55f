//! Watches the tenants while a load runs: a daemon beside it judges by its own canaries how they are doing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cloud::bounded::{MAX_ANSWER_BYTES, whole};
use crate::cloud::failure::causes;
use crate::domain::conditions::ConditionName;
use crate::domain::foreign::cleaned;

/// How often the daemon is called.
const EVERY: Duration = Duration::from_secs(2);
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So many calls in a row without an answer end the run: nobody would notice that a tenant suffers.
const MAX_FAILURES: u32 = 5;
/// Conditions that leave it unknown how a tenant is doing.
const BLINDING: [ConditionName; 3] =
    [ConditionName::NotInjecting, ConditionName::CannotSee, ConditionName::NeverSeen];

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

/// What is wrong with whom: with the pipeline, or with what shows how it is doing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Problem {
    condition: String,
    tenant: Option<String>,
    stage: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenant = self.tenant.as_deref().unwrap_or("all tenants");
        write!(f, "{}: {}", cleaned(tenant), cleaned(&self.condition))?;
        self.stage.iter().try_for_each(|stage| write!(f, " at {}", cleaned(stage)))
    }
}

impl Problem {
    /// Whether it leaves unknown how the tenant is doing.
    fn is_blinding(&self) -> bool {
        BLINDING.iter().any(|name| name.as_str() == self.condition)
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
    /// That it cannot be reached, that one of the tenants has a problem already, which a load would make worse, or that
    /// it cannot tell how some tenant is doing, which may be one that is not loaded.
    pub async fn begin(&mut self, tenants: &[&str]) -> Result<(), String> {
        self.before = self.problems().await?;
        self.may_begin(tenants)
    }

    fn may_begin(&self, tenants: &[&str]) -> Result<(), String> {
        let is_loaded = |it: &Problem| it.tenant.as_deref().is_none_or(|tenant| tenants.contains(&tenant));
        let mut of_pipeline = self.before.iter().filter(|it| !it.is_blinding() && is_loaded(it));
        if let Some(problem) = of_pipeline.next() {
            return Err(format!("{} says that there is a problem: {problem}", self.daemon));
        }
        let Some(problem) = self.before.iter().find(|it| it.is_blinding()) else { return Ok(()) };
        Err(format!(
            "{} cannot tell whether a tenant would suffer: {problem}; mend that first, or remove load.guard_url to load \
             without a guard",
            self.daemon
        ))
    }

    /// What ends the run, if any of these problems was not there before.
    fn ends_run(&self, now: &BTreeSet<Problem>) -> Option<String> {
        let new = || now.difference(&self.before);
        let of_pipeline = new().find(|it| !it.is_blinding()).map(ToString::to_string);
        of_pipeline.or_else(|| {
            let problem = new().next()?;
            Some(format!("{problem}; {} can no longer tell whether a tenant suffers", self.daemon))
        })
    }

    /// Watches until `stop`, and tells the first problem that was not there before.
    pub async fn watch(self, tell: mpsc::Sender<String>, stop: CancellationToken) {
        let mut failures = 0;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let told = match self.problems().await {
                Ok(problems) => {
                    failures = 0;
                    self.ends_run(&problems)
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
        let mut answer = answer.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let unlike = |why: &str| format!("{} cannot be read: its answer {why}", self.daemon);
        let too_large = || {
            unlike(&format!("is larger than {} MB, so it is not that of a daemon", MAX_ANSWER_BYTES >> 20))
        };
        let body = whole(&mut answer).await.map_err(failed)?.ok_or_else(too_large)?;
        let recent = serde_json::from_slice(&body)
            .map_err(|error| unlike(&format!("is not that of a daemon: {}", cleaned(&error.to_string()))))?;
        Ok(problems_of(recent))
    }
}

/// What of the conditions is a problem of the pipeline, or leaves unknown whether there is one.
fn problems_of(recent: Recent) -> BTreeSet<Problem> {
    let one = |Condition { condition, severity, tenant, stage, blame }| {
        let problem = Problem { condition, tenant, stage };
        (severity != "note" && (blame == "pipeline" || problem.is_blinding())).then_some(problem)
    };
    recent.conditions.into_iter().filter_map(one).collect()
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

    /// A guard that saw these conditions before the run.
    fn guard(conditions: &str) -> Guard {
        let before = problems(conditions);
        Guard { before, ..Guard::new("http://127.0.0.1:1", "http://127.0.0.1:1").unwrap() }
    }

    fn problems(conditions: &str) -> BTreeSet<Problem> {
        problems_of(serde_json::from_str(&format!("{{\"conditions\":[{conditions}]}}")).unwrap())
    }

    fn condition(condition: &str, severity: &str, blame: &str, tenant: &str) -> String {
        serde_json::json!({
            "condition": condition, "severity": severity, "blame": blame, "tenant": tenant, "stage": "archive",
        })
        .to_string()
    }

    #[test]
    fn a_guard_that_is_blind_for_a_tenant_lets_no_load_begin() {
        for name in ["cannot_see", "not_injecting", "never_seen"] {
            let reason =
                guard(&condition(name, "warning", "probe", "globex")).may_begin(&["acme"]).unwrap_err();
            assert!(reason.contains(&format!("suffer: globex: {name} at archive; mend that")), "{reason}");
        }
        let others = [("cannot_see", "note", "probe"), ("over_budget", "warning", "probe")];
        for (name, severity, blame) in others {
            assert_eq!(guard(&condition(name, severity, blame, "acme")).may_begin(&["acme"]), Ok(()));
        }
        assert_eq!(guard(&condition("slow", "warning", "pipeline", "globex")).may_begin(&["acme"]), Ok(()));
    }

    #[test]
    fn a_guard_that_becomes_blind_ends_the_run() {
        let guard = guard(&condition("slow", "warning", "pipeline", "globex"));
        let slow = condition("slow", "warning", "pipeline", "globex");
        let blind = condition("not_injecting", "critical", "probe", "acme");
        let stuck = condition("stuck", "critical", "pipeline", "globex");
        assert_eq!(guard.ends_run(&problems(&slow)), None);
        let reason = guard.ends_run(&problems(&format!("{slow},{blind}"))).unwrap();
        assert!(
            reason.starts_with("acme: not_injecting at archive; the daemon at load.guard_url"),
            "{reason}"
        );
        let reason = guard.ends_run(&problems(&format!("{slow},{blind},{stuck}"))).unwrap();
        assert_eq!(reason, "globex: stuck at archive", "what is known comes first");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_that_of_a_daemon_is_told() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let long = vec![b' '; MAX_ANSWER_BYTES + 1];
        for (body, expected) in [(&*long, "is larger than 32 MB"), (b"<html>", "is not that of a daemon: ")] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let answering = async {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 4_096];
                let _ = connection.read(&mut request).await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = connection.write_all(head.as_bytes()).await;
                // The guard leaves while it is written.
                let _ = connection.write_all(body).await;
            };
            let url = format!("http://{address}");
            let mut guard = Guard::new(&url, &url).unwrap();
            let (reason, ()) = tokio::join!(guard.begin(&["acme"]), answering);
            let reason = reason.unwrap_err();
            assert!(reason.contains(&format!("its answer {expected}")), "{reason}");
        }
    }
}
