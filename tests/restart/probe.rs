//! The probe as a process that can be killed at any instant, before it listens too.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::Metrics;
use super::scene::{Files, TAG_KEY};

/// A start takes some 0.2 s; a busy machine takes many times that.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SIGKILL: i32 = 9;

pub struct Probe {
    process: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    page: Option<Page>,
    files: Files,
}

/// Where a probe that listens can be asked.
#[derive(Clone)]
pub struct Page {
    address: String,
    http: reqwest::Client,
}

/// What `/traces/recent?format=json` says, as far as these tests want it.
#[derive(Debug, Deserialize)]
pub struct Recent {
    pub not_kept: Option<String>,
    pub traces: Vec<Row>,
    pub tenants: Vec<Tenant>,
    pub violations: Vec<Violation>,
    pub sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
pub struct Tenant {
    pub name: String,
    pub verdict: Verdict,
}

#[derive(Debug, Deserialize)]
pub struct Verdict {
    pub condition: String,
}

#[derive(Debug, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub at: String,
    pub tenant: String,
    pub stage: String,
    pub trace: String,
    pub found_in: String,
    pub locator: String,
}

#[derive(Debug, Deserialize)]
pub struct Source {
    pub stage: String,
    /// A tenant, or `shared`.
    pub owner: String,
    pub watermark: Option<String>,
    pub drift: Option<Vec<Change>>,
    pub drift_accept: Option<String>,
    pub drift_since: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Change {
    pub column: String,
    pub change: String,
}

#[derive(Debug, Deserialize)]
pub struct Row {
    pub id: String,
    pub tenant: String,
    pub outcome: String,
    pub stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
pub struct Stage {
    pub stage: String,
    pub presence: String,
}

impl Recent {
    pub fn delivered(&self) -> usize {
        self.traces.iter().filter(|row| row.outcome == "delivered").count()
    }

    /// How many were seen at a stage.
    pub fn seen_at(&self, name: &str) -> usize {
        let seen = |row: &&Row| row.stages.iter().any(|at| at.stage == name && at.presence == "seen");
        self.traces.iter().filter(seen).count()
    }
}

impl Probe {
    /// Starts it and does not wait for anything.
    pub fn spawn(files: &Files) -> Self {
        // The crate's TLS has no provider of its own; the client wants one even for plain HTTP.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let log = OpenOptions::new().create(true).append(true).open(&files.log).unwrap();
        // Writing beyond a limit on file sizes is then an error, as on a full disk, and not the end of the process.
        let mut process = Command::new("/bin/sh")
            .args([
                "-c",
                r#"trap "" XFSZ; exec "$0" "$@""#,
                env!("CARGO_BIN_EXE_traceprobe"),
                "run",
                "--config",
            ])
            .arg(&files.config)
            .env_clear()
            .env(TAG_KEY.0, TAG_KEY.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, stdout, page: None, files: files.clone() }
    }

    /// Starts it and waits until it listens.
    pub async fn start(files: &Files) -> Self {
        let mut probe = Self::spawn(files);
        probe.listening().await;
        probe
    }

    pub async fn listening(&mut self) {
        let line = timeout(LISTENS_WITHIN, self.stdout.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("it does not listen; it said: {}", self.said()));
        let line =
            line.unwrap().unwrap_or_else(|| panic!("it ended before it listened; it said: {}", self.said()));
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        self.page = Some(Page { address, http: reqwest::Client::builder().no_proxy().build().unwrap() });
    }

    /// SIGKILL, and nothing else may have ended it.
    pub async fn kill(mut self) {
        self.process.start_kill().unwrap();
        let status = self.process.wait().await.unwrap();
        assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself: {status}; it said: {}", self.said());
    }

    /// SIGTERM: it injects no more, lets everything land, and ends.
    pub async fn land(mut self) {
        self.terminate().await;
        self.landed().await;
    }

    pub async fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.id()]).status().await;
        assert!(kill.unwrap().success());
    }

    /// Returns when it has ended in good order.
    pub async fn landed(&mut self) {
        let status = self.ended().await;
        assert!(status.success(), "{status}; it said: {}", self.said());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        match timeout(LISTENS_WITHIN, self.process.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it does not end; it said: {}", self.said()),
        }
    }

    /// Lets it write files up to this many bytes only; `unlimited` mends that. Beyond, every write fails.
    pub async fn limit_files_to(&self, bytes: &str) {
        let limit = format!("--fsize={bytes}:unlimited");
        let prlimit = Command::new("prlimit").args(["--pid", &self.id(), &limit]).status().await;
        assert!(prlimit.expect("prlimit of util-linux is needed").success());
    }

    fn id(&self) -> String {
        self.process.id().expect("it has ended already").to_string()
    }

    pub async fn recent(&self) -> Recent {
        let text = self.get("/traces/recent?format=json&limit=1000").await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// What people see.
    pub async fn html(&self) -> String {
        self.get("/traces/recent").await
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").await)
    }

    /// Looks at the page until it is as it should be.
    pub async fn until(&self, what: &str, within: Duration, is_so: impl Fn(&Recent) -> bool) -> Recent {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            loop {
                looks.tick().await;
                let recent = self.recent().await;
                if is_so(&recent) {
                    return recent;
                }
            }
        };
        match timeout(within, look).await {
            Ok(recent) => recent,
            Err(_) => panic!("not within {within:?}: {what}; it said: {}", self.said()),
        }
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.page().get(path).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}; it said: {}", self.said()))
    }

    pub fn page(&self) -> &Page {
        self.page.as_ref().expect("it was not waited for")
    }

    /// Everything that it and its earlier lives logged.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.files.log).unwrap_or_default()
    }
}

impl Page {
    /// What page and counters say now; `None` where there is no answer, as from a probe that is ending.
    pub async fn look(&self) -> Option<(Recent, Metrics)> {
        let recent = self.get("/traces/recent?format=json&limit=1").await.ok()?;
        let metrics = self.get("/metrics").await.ok()?;
        Some((serde_json::from_str(&recent).ok()?, Metrics::parse(&metrics)))
    }

    async fn get(&self, path: &str) -> reqwest::Result<String> {
        self.http.get(format!("{}{path}", self.address)).send().await?.error_for_status()?.text().await
    }
}
