//! A pipeline in this process, which knows the truth, and the files of the probes in front of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use traceprobe::config::Config;
use traceprobe::daemon::clock;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::Topology;
use traceprobe::domain::trace::Trace;
use traceprobe::sandbox::{Access, Sandbox, Settings, Stage, TruthRecord};
use traceprobe::store::{LoadLimits, Store};

/// How long after its planned injection a canary that is proven absent is lost.
pub const GIVE_UP: Duration = Duration::from_secs(6);
/// Signs the tags of every probe of these tests.
pub const TAG_KEY: (&str, &str) = ("TRACEPROBE_TAG_KEY", "the key of the restart tests: 0123456789");
pub const TENANTS: usize = 2;
const ALL: LoadLimits =
    LoadLimits { since: Timestamp::MIN, max_delivered: usize::MAX, max_of_tenant: usize::MAX };

/// A sandbox and its folder.
pub struct Scene {
    pub sandbox: Sandbox,
    /// Sets `probe.give_up` of the configuration.
    pub give_up: Duration,
    /// Sets `probe.grace` of the configuration.
    pub grace: Duration,
    pub blind_after: Duration,
    folder: PathBuf,
}

/// One probe's files.
#[derive(Clone)]
pub struct Files {
    pub config: PathBuf,
    pub store: PathBuf,
    pub log: PathBuf,
    /// The configuration as first written.
    text: String,
    topology: Arc<Topology>,
}

impl Scene {
    /// A fast pipeline without faults.
    pub async fn set(name: &str, seed: u64) -> Self {
        Self::with(name, Settings::brisk(seed, TENANTS)).await
    }

    pub async fn with(name: &str, settings: Settings) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("restart").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        let sandbox = Sandbox::start(settings).await.unwrap();
        let (grace, blind_after) = (Duration::from_secs(8), Duration::from_secs(3));
        Self { sandbox, give_up: GIVE_UP, grace, blind_after, folder }
    }

    /// Writes the configuration of a probe whose canaries leave at this interval.
    pub fn files(&self, instance: &str, interval: &str) -> Files {
        let store = self.folder.join(format!("{instance}.db"));
        self.files_with_store(instance, interval, store)
    }

    /// The same, with the store at this path.
    pub fn files_with_store(&self, instance: &str, interval: &str, store: PathBuf) -> Files {
        let text = self.configuration(instance, interval, &store);
        let variables = [(TAG_KEY.0.to_owned(), TAG_KEY.1.to_owned())];
        let config = Config::parse(&text, variables).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let topology = Arc::new(config.topology());
        let path = self.folder.join(format!("{instance}.toml"));
        fs::write(&path, &text).unwrap();
        Files { config: path, store, log: self.folder.join(format!("{instance}.log")), text, topology }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What truly happened to every canary that CloudWatch Logs accepted.
    pub fn truth(&self) -> BTreeMap<TraceId, TruthRecord> {
        let records = self.sandbox.truth().into_iter();
        // The marker and the version take five characters, the id 32.
        records.map(|record| (TraceId::parse(&record.token[5..37]).unwrap(), record)).collect()
    }

    fn configuration(&self, instance: &str, interval: &str, store: &Path) -> String {
        let probe = format!(
            r#"listen = "127.0.0.1:0"
instance = "{instance}"
interval = "{interval}"
slo = "1s"
critical = "2s"
give_up = "{}s"
grace = "{}s"
blind_after = "{}s"
stop_grace = "30s"
"#,
            self.give_up.as_secs(),
            self.grace.as_secs(),
            self.blind_after.as_secs(),
        );
        let stages = [
            // A shard answers five times a second, and a new run continues where the previous one ended.
            (Stage::TenantStream, "interval = \"500ms\"\nsettle = \"0s\"\ntarget = \"1s\""),
            (Stage::Archive, "interval = \"200ms\"\ntarget = \"1s\""),
            (Stage::Transit, "interval = \"200ms\"\ntarget = \"1s\""),
            (Stage::Bigquery, "interval = \"200ms\"\ntarget = \"1s\""),
        ];
        let places = self.sandbox.probe_configuration(Access::TenantRoles, &probe, &stages);
        let store = store.display();
        format!("{places}\n[canary]\nsizes = [\"100B\", \"500B\"]\n\n[store]\npath = \"{store}\"\n")
    }
}

impl Files {
    /// Rewrites the configuration as it was first, with these lines added to one stage.
    pub fn add_to_stage(&self, stage: &str, lines: &str) {
        let head = format!("[[stage]]\nname = \"{stage}\"\n");
        fs::write(&self.config, self.text.replace(&head, &format!("{head}{lines}\n"))).unwrap();
    }

    /// The files of a process beside this one, on the same store, with these lines added to a table.
    pub fn beside(&self, table: &str, lines: &str) -> Self {
        let [config, log] = ["toml", "log"].map(|kind| self.config.with_extension(format!("beside.{kind}")));
        let head = format!("[{table}]\n");
        fs::write(&config, self.text.replace(&head, &format!("{head}{lines}\n"))).unwrap();
        Self { config, log, ..self.clone() }
    }

    pub fn map(&self) -> &Topology {
        &self.topology
    }

    /// All traces in the store. Read from a copy, so that the file stays as the probe left it.
    pub fn kept(&self) -> BTreeMap<TraceId, Trace> {
        if !self.store.exists() {
            return BTreeMap::new();
        }
        let copy = self.store.with_extension("copy");
        for suffix in ["", "-wal"] {
            let (from, to) = (with_suffix(&self.store, suffix), with_suffix(&copy, suffix));
            if to.exists() {
                fs::remove_file(&to).unwrap();
            }
            if from.exists() {
                fs::copy(from, to).unwrap();
            }
        }
        let opened = Store::open(&copy, self.topology.clone(), now()).unwrap();
        assert_eq!(opened.quarantine, None, "the store is damaged");
        let mut store = opened.store;
        let loaded = store.load(ALL).unwrap();
        assert_eq!(loaded.unreadable, 0, "unreadable rows");
        loaded.traces.into_iter().map(|trace| (trace.id(), trace)).collect()
    }

    pub fn delete_store(&self) {
        for suffix in ["", "-wal"] {
            let file = with_suffix(&self.store, suffix);
            if file.exists() {
                fs::remove_file(file).unwrap();
            }
        }
    }
}

/// By the clock that the probe and the sandbox share.
pub fn now() -> Timestamp {
    clock::system().now()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
