//! The log pipeline on third-party emulators.
//!
//! `tests/emulators/pipeline.py` runs it and describes it in one line of JSON. No test is skipped: if
//! something cannot start, the test fails with the reason. Dropping a [`Pipeline`] closes its stdin, which
//! ends it with all its children; so does any end of this process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The very first run downloads some 90 packages.
const SETUP_WITHIN: Duration = Duration::from_secs(600);
/// Usually 5 s; a busy machine takes several times that.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Stopping and starting a program takes about 2 s each.
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// The line that the pipeline prints when it is ready.
#[derive(Debug, Deserialize)]
pub struct About {
    pub aws_endpoint: String,
    /// With `/bigquery/v2`.
    pub bigquery_endpoint: String,
    pub region: String,
    /// Environment variables that lead to the credentials of the probe's task role.
    pub credentials: HashMap<String, String>,
    /// The same of whoever owns everything in the SRE account.
    pub root_credentials: HashMap<String, String>,
    pub dead_letter_queue_url: String,
    /// Where the function that writes the transit objects also puts them.
    pub export_log_group: String,
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
    pub log_groups: Vec<String>,
}

/// What a test can make the pipeline do.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    StopBigQuery,
    StartBigQuery,
    /// That of the first tenant's second log group.
    RemoveFilter,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::StopBigQuery => "stop-bigquery",
            Action::StartBigQuery => "start-bigquery",
            Action::RemoveFilter => "remove-filter",
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

/// The position of the trace id in a tag.
pub const ID_IN_TAG: std::ops::Range<usize> = 5..37;

impl Truth {
    /// The arrivals of a trace, by its id, at a stage.
    pub fn of(&self, id: &str, stage: &str) -> &[Between] {
        let key = (id.to_owned(), stage.to_owned());
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The first arrival of each trace at a stage, with the trace's id.
    pub fn first_at<'a>(&'a self, stage: &'a str) -> impl Iterator<Item = (&'a str, Between)> {
        let at = self.0.iter().filter(move |((_, at), _)| at == stage);
        at.filter_map(|((id, _), between)| Some((id.as_str(), *between.first()?)))
    }

    /// Every arrival at a stage.
    pub fn at(&self, stage: &str) -> Vec<Between> {
        self.0.iter().filter(|((_, at), _)| at == stage).flat_map(|(_, between)| between).copied().collect()
    }
}

pub struct Pipeline {
    pub about: About,
    driver: Driver,
}

/// A driver of `tests/emulators`, which is ready. When dropped, its stdin closes, and it ends its children.
pub struct Driver {
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    home: PathBuf,
    // Not killed when dropped, so that it can end its children in order.
    _process: Child,
}

impl Driver {
    /// Installs the emulators if necessary and runs `script`. Returns the line that it prints when it is
    /// ready. Data and logs are in a folder named `name` below Cargo's folder for tests.
    pub async fn start<T: DeserializeOwned>(script: &str, name: &str, arguments: &[&str]) -> (Driver, T) {
        let python = set_up().await;
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pipeline").join(name);
        if home.exists() {
            std::fs::remove_dir_all(&home).expect("cannot remove the data of the last run");
        }
        std::fs::create_dir_all(&home).expect("cannot create the folder of the pipeline");
        let log =
            std::fs::File::create(home.join("pipeline.log")).expect("cannot create the log of the pipeline");
        let mut process = Command::new(python)
            .arg(scripts().join(script))
            .args(arguments)
            .arg("--dir")
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {script}: {error}"));
        let stdin = process.stdin.take().expect("stdin is piped");
        let mut stdout = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let about = answer(&mut stdout, &home, READY_WITHIN).await;
        (Driver { stdin, stdout, home, _process: process }, about)
    }

    /// Sends a command. Returns when it is done.
    pub async fn execute(&mut self, command: &str) {
        #[derive(Deserialize)]
        struct Done {
            event: String,
        }
        let Driver { stdin, stdout, home, .. } = self;
        let line = format!("{command}\n");
        stdin.write_all(line.as_bytes()).await.expect("the pipeline no longer reads commands");
        let done: Done = answer(stdout, home, DONE_WITHIN).await;
        assert_eq!(done.event, command, "the pipeline could not do it; see {}", home.display());
    }
}

impl Pipeline {
    /// Installs the emulators if necessary, deploys the pipeline and sends a line through it.
    pub async fn start(name: &str, tenants: usize) -> Pipeline {
        let arguments = ["--tenants", &tenants.to_string()];
        let (driver, about) = Driver::start("pipeline.py", name, &arguments).await;
        Pipeline { about, driver }
    }

    /// The same, which gives up on three of ten canaries in these forms.
    pub async fn start_giving_up(name: &str, tenants: usize, forms: &[&str]) -> Pipeline {
        let arguments = ["--tenants", &tenants.to_string(), "--dead-letters", &forms.join(",")];
        let (driver, about) = Driver::start("pipeline.py", name, &arguments).await;
        Pipeline { about, driver }
    }

    /// Returns when the pipeline has done it.
    pub async fn execute(&mut self, action: Action) {
        self.driver.execute(action.name()).await;
    }

    /// Puts one fault of `tests/emulators/faults.py`.
    pub async fn put_fault(&mut self, name: &str) {
        self.driver.execute(&format!("fault {name}")).await;
    }

    /// Ends every fault.
    pub async fn mend(&mut self) {
        self.driver.execute("mend").await;
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

pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulators")
}

/// Runs `setup.sh`. Returns the Python interpreter that has the emulators.
pub async fn set_up() -> PathBuf {
    let run = Command::new(scripts().join("setup.sh")).kill_on_drop(true).output();
    let output =
        timeout(SETUP_WITHIN, run).await.expect("setup.sh takes too long").expect("cannot start setup.sh");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "setup.sh failed: {stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    PathBuf::from(stdout.lines().last().expect("setup.sh names no Python"))
}

/// Parses the pipeline's next line. The test fails if there is none in time or it has another form.
async fn answer<T: DeserializeOwned>(
    stdout: &mut Lines<BufReader<ChildStdout>>,
    home: &Path,
    within: Duration,
) -> T {
    let log = || {
        let path = home.join("pipeline.log");
        std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
    };
    let line = match timeout(within, stdout.next_line()).await {
        Ok(Ok(Some(line))) => line,
        Ok(end) => panic!("the pipeline ended ({end:?}): {}", log()),
        Err(_) => panic!("the pipeline printed nothing within {within:?}: {}", log()),
    };
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}; {}", log()))
}
