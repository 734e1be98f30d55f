//! The log pipeline on emulators that others wrote, as a test sees it.
//!
//! `tests/emulators/pipeline.py` does the work and describes itself in one line of JSON; this file
//! turns that into types. Nothing here skips: what cannot start is a failed test, with the reason.
//! Dropping a [`Pipeline`] closes its stdin, on which it ends with all its children; so does the end
//! of this process, however it comes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The first run of all downloads some 90 packages.
const SETUP_WITHIN: Duration = Duration::from_secs(600);
/// Usually 5 s; a busy machine takes several times that.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Stopping and starting a program takes about 2 s each.
const OBEYS_WITHIN: Duration = Duration::from_secs(90);

/// What the pipeline says of itself when it is ready.
#[derive(Debug, Deserialize)]
pub struct About {
    pub aws_endpoint: String,
    /// With `/bigquery/v2`.
    pub bigquery_endpoint: String,
    pub region: String,
    /// Environment variables with the probe's own AWS credentials.
    pub credentials: HashMap<String, String>,
    pub tenants: Vec<Tenant>,
    /// Template with `{tenant}`.
    pub stream: String,
    pub archive_bucket: String,
    /// Template with `{tenant}` and time fields.
    pub archive_key: String,
    pub transit_bucket: String,
    /// Template with time fields; all tenants share it.
    pub transit_key: String,
    /// Without a path.
    pub gcs_endpoint: String,
    pub transfer_bucket: String,
    /// Template with time fields; all tenants share it.
    pub transfer_key: String,
    pub table: String,
    pub id_column: String,
    pub time_column: String,
    pub tenant_column: String,
    truth_file: PathBuf,
}

#[derive(Debug, Deserialize)]
pub struct Tenant {
    pub name: String,
    pub role_arn: String,
    pub external_id: String,
    pub log_group: String,
}

/// What a test may tell the pipeline to do.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    StopBigQuery,
    StartBigQuery,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Order::StopBigQuery => "stop-bigquery",
            Order::StartBigQuery => "start-bigquery",
        }
    }
}

/// When an event truly arrived at a stage: between the two instants, in µs of the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Between {
    pub before_us: i64,
    pub after_us: i64,
}

/// Every arrival that the pipeline itself knows of. A second copy is a second entry.
#[derive(Debug, Default)]
pub struct Truth(HashMap<(String, String), Vec<Between>>);

/// Where the trace's id stands in a tag.
const ID_IN_TAG: std::ops::Range<usize> = 5..37;

impl Truth {
    /// Of a trace, by its id, at a stage.
    pub fn of(&self, id: &str, stage: &str) -> &[Between] {
        let key = (id.to_owned(), stage.to_owned());
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }
}

pub struct Pipeline {
    pub about: About,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    home: PathBuf,
    // Not killed when dropped: it ends by itself, and in order.
    _process: Child,
}

impl Pipeline {
    /// Installs the emulators when they are not there yet, deploys, and sends a line through.
    /// Data and logs are in a folder named `name` below Cargo's folder for tests.
    pub async fn start(name: &str, tenants: usize) -> Pipeline {
        let python = set_up().await;
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipeline").join(name);
        if home.exists() {
            std::fs::remove_dir_all(&home).expect("cannot remove the data of the last run");
        }
        std::fs::create_dir_all(&home).expect("cannot make the folder of the pipeline");
        let log =
            std::fs::File::create(home.join("pipeline.log")).expect("cannot make the log of the pipeline");
        let mut process = Command::new(python)
            .arg(scripts().join("pipeline.py"))
            .args(["--tenants", &tenants.to_string(), "--dir"])
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("cannot start pipeline.py");
        let stdin = process.stdin.take().expect("stdin is piped");
        let mut stdout = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let about = answer(&mut stdout, &home, READY_WITHIN).await;
        Pipeline { about, stdin, stdout, home, _process: process }
    }

    /// Returns when it is done.
    pub async fn obey(&mut self, order: Order) {
        #[derive(Deserialize)]
        struct Done {
            event: String,
        }
        let line = format!("{}\n", order.word());
        self.stdin.write_all(line.as_bytes()).await.expect("the pipeline does not listen any more");
        let done: Done = answer(&mut self.stdout, &self.home, OBEYS_WITHIN).await;
        assert_eq!(done.event, order.word(), "the pipeline could not obey; see {}", self.home.display());
    }

    pub fn truth(&self) -> Truth {
        #[derive(Deserialize)]
        struct Entry {
            tag: String,
            stage: String,
            before_us: i64,
            after_us: i64,
        }
        let text = std::fs::read_to_string(&self.about.truth_file).expect("cannot read the truth");
        let mut truth = Truth::default();
        for line in text.lines() {
            let Entry { tag, stage, before_us, after_us } =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("truth line {line}: {error}"));
            truth
                .0
                .entry((tag[ID_IN_TAG].to_owned(), stage))
                .or_default()
                .push(Between { before_us, after_us });
        }
        truth
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulators")
}

/// The Python that has the emulators.
async fn set_up() -> PathBuf {
    let run = Command::new(scripts().join("setup.sh")).kill_on_drop(true).output();
    let output =
        timeout(SETUP_WITHIN, run).await.expect("setup.sh takes too long").expect("cannot start setup.sh");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "setup.sh failed: {stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    PathBuf::from(stdout.lines().last().expect("setup.sh names no Python"))
}

/// The next line of the pipeline; a failed test when there is none, or it says something else.
async fn answer<T: DeserializeOwned>(
    stdout: &mut Lines<BufReader<ChildStdout>>,
    home: &Path,
    within: Duration,
) -> T {
    let told = || {
        let log = home.join("pipeline.log");
        std::fs::read_to_string(&log).unwrap_or_else(|error| format!("{}: {error}", log.display()))
    };
    let line = match timeout(within, stdout.next_line()).await {
        Ok(Ok(Some(line))) => line,
        Ok(end) => panic!("the pipeline ended ({end:?}): {}", told()),
        Err(_) => panic!("the pipeline says nothing for {within:?}: {}", told()),
    };
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}; {}", told()))
}
