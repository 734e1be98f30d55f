//! Watches the tenants while a load runs: a daemon beside it judges by its own canaries how they are doing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
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
/// A daemon whose answer is that of the same instant for so long looks at nothing any more.
const MAX_AGE: Duration = Duration::from_secs(30);
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
    /// The tenants that are loaded.
    tenants: Vec<String>,
    /// Problems that there were before the run.
    before: BTreeSet<Problem>,
    /// The instant that the last answer describes, and when it was first given.
    latest: Option<(String, Instant)>,
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
    at: String,
    conditions: Vec<Condition>,
    tenants: Vec<Tenant>,
}

#[derive(Deserialize)]
struct Tenant {
    name: String,
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
        Ok(Self { client, url, daemon, tenants: Vec::new(), before: BTreeSet::new(), latest: None })
    }

    /// Calls the daemon for the first time.
    ///
    /// # Errors
    ///
    /// That it cannot be reached, that it does not watch one of the tenants, that one of them has a problem already, which
    /// a load would make worse, or that it cannot tell how some tenant is doing, which may be one that is not loaded.
    pub async fn begin(&mut self, tenants: &[&str]) -> Result<(), String> {
        self.tenants = tenants.iter().map(|name| (*name).to_owned()).collect();
        let recent = self.recent().await?;
        let recent = self.fresh(recent, Instant::now())?;
        if let Some(reason) = self.unwatched(&recent) {
            return Err(reason);
        }
        self.before = problems_of(recent);
        self.may_begin(tenants)
    }

    /// An answer, unless it has been that of the same instant for too long.
    fn fresh(&mut self, recent: Recent, now: Instant) -> Result<Recent, String> {
        let since = match &self.latest {
            Some((at, since)) if *at == recent.at => *since,
            _ => now,
        };
        if now.duration_since(since) >= MAX_AGE {
            return Err(format!("{} has had nothing new since {}", self.daemon, cleaned(&recent.at)));
        }
        self.latest = Some((recent.at.clone(), since));
        Ok(recent)
    }

    /// Which loaded tenant the daemon does not know.
    fn unwatched(&self, recent: &Recent) -> Option<String> {
        let is_watched = |name: &&String| recent.tenants.iter().any(|tenant| tenant.name == **name);
        let name = self.tenants.iter().find(|name| !is_watched(name))?;
        Some(format!("{} does not watch tenant {name}, so it cannot tell whether it suffers", self.daemon))
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
    pub async fn watch(mut self, tell: mpsc::Sender<String>, stop: CancellationToken) {
        let mut failures = 0;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let answer = self.recent().await;
            let told = match answer.and_then(|recent| self.fresh(recent, Instant::now())) {
                Ok(recent) => {
                    failures = 0;
                    self.unwatched(&recent).or_else(|| self.ends_run(&problems_of(recent)))
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

    /// What the daemon says now.
    async fn recent(&self) -> Result<Recent, String> {
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
        serde_json::from_slice(&body)
            .map_err(|error| unlike(&format!("is not that of a daemon: {}", cleaned(&error.to_string()))))
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
        problems_of(recent("2027-01-15T08:00:00Z", conditions))
    }

    /// The answer of a daemon that watches acme.
    fn recent(at: &str, conditions: &str) -> Recent {
        let tenants = "[{\"name\":\"acme\",\"hops\":[]}]";
        let text = format!("{{\"at\":\"{at}\",\"conditions\":[{conditions}],\"tenants\":{tenants}}}");
        serde_json::from_str(&text).unwrap()
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

    #[test]
    fn a_daemon_that_has_nothing_new_for_half_a_minute_does_not_answer() {
        let mut guard = guard("");
        let began = Instant::now();
        let mut answers = |at: &str, after: u64| {
            guard.fresh(recent(at, ""), began + Duration::from_secs(after)).map(|recent| recent.at)
        };
        assert_eq!(answers("08:00", 0), Ok("08:00".to_owned()));
        assert_eq!(answers("08:00", 29), Ok("08:00".to_owned()));
        let reason = answers("08:00", 30).unwrap_err();
        assert!(reason.ends_with("http://127.0.0.1:1, has had nothing new since 08:00"), "{reason}");
        assert_eq!(answers("08:00", 32), Err(reason));
        assert_eq!(answers("08:01", 34), Ok("08:01".to_owned()));
        assert_eq!(answers("08:01", 63), Ok("08:01".to_owned()));
    }

    /// What a guard says before the run if this is the answer at its address, which is returned, too.
    async fn begun(body: &[u8], tenants: &[&str]) -> (Result<(), String>, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = connection.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = connection.write_all(head.as_bytes()).await;
            // The guard leaves while it is written.
            let _ = connection.write_all(body).await;
        };
        let mut guard = Guard::new(&url, &url).unwrap();
        let (begun, ()) = tokio::join!(guard.begin(tenants), answering);
        (begun, url)
    }

    #[tokio::test]
    async fn an_answer_that_is_not_that_of_a_daemon_is_told() {
        let long = vec![b' '; MAX_ANSWER_BYTES + 1];
        for (body, expected) in [(&*long, "is larger than 32 MB"), (b"<html>", "is not that of a daemon: ")] {
            let reason = begun(body, &["acme"]).await.0.unwrap_err();
            assert!(reason.contains(&format!("its answer {expected}")), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_watch_a_loaded_tenant_lets_no_load_begin() {
        let body = br#"{"at":"2027-01-15T08:00:00Z","conditions":[],"tenants":[{"name":"acme"}]}"#;
        assert_eq!(begun(body, &["acme"]).await.0, Ok(()));
        let (begun, url) = begun(body, &["acme", "globex"]).await;
        let expected = format!(
            "the daemon at load.guard_url, {url}, does not watch tenant globex, so it cannot tell whether it suffers"
        );
        assert_eq!(begun, Err(expected));
    }
}
