//! A sandbox, and the configuration of a daemon in front of it.
//!
//! The sandbox runs in the test process, so the test can inject faults and knows the truth. The daemon is a
//! separate process that has only the addresses. All tests share one configuration file and override keys in
//! the environment.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use traceprobe::sandbox::{Access, Sandbox, Settings, Stage, TruthRecord};

use super::daemon::Daemon;
use super::page::{Recent, Trace};

/// The stages that the configuration may name, as the sandbox names them.
const STAGES: [Stage; 7] = [
    Stage::LogGroup,
    Stage::TenantStream,
    Stage::Archive,
    Stage::Transit,
    Stage::Transfer,
    Stage::Bigquery,
    Stage::DeadLetter,
];

pub struct Stand {
    pub sandbox: Sandbox,
    folder: PathBuf,
    /// Lines appended to the configuration.
    more: String,
}

impl Stand {
    /// A calm pipeline that takes a quarter of a second end to end.
    pub async fn brisk(tenants: usize) -> Stand {
        Stand::with(Settings::brisk(7, tenants)).await
    }

    pub async fn with(settings: Settings) -> Stand {
        static STANDS: AtomicU32 = AtomicU32::new(0);
        let number = STANDS.fetch_add(1, Ordering::Relaxed);
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cannot make a folder");
        let sandbox = Sandbox::start(settings).await.expect("cannot start the sandbox");
        Stand { sandbox, folder, more: String::new() }
    }

    /// Adds tables to the configuration.
    pub fn configure(&mut self, more: &str) {
        self.more.push_str(more);
    }

    /// Writes the configuration and returns its path.
    pub fn config(&self) -> PathBuf {
        let path = self.folder.join("traceprobe.toml");
        let places = self.sandbox.probe_configuration(Access::TenantRoles, PROBE, &WATCHED);
        let text = format!("{places}{CANARY}{}", self.more);
        std::fs::write(&path, text).expect("cannot write the configuration");
        path
    }

    /// Starts a daemon with `keys` of the configuration overridden: `("PROBE_INTERVAL", "1s")`.
    pub async fn daemon(&self, keys: &[(&str, &str)]) -> Daemon {
        Daemon::start(&self.config(), variables(keys)).await
    }

    /// Starts a daemon that watches only one of the sandbox's tenants, as an instance with its own name.
    pub async fn daemon_of(&self, tenant: &str, keys: &[(&str, &str)]) -> Daemon {
        let text = std::fs::read_to_string(self.config()).expect("it was just written");
        let mut config: toml::Table = text.parse().expect("it is TOML");
        let tenants = config.get_mut("tenant").and_then(toml::Value::as_array_mut).expect("it has tenants");
        tenants.retain(|table| table.get("name").and_then(toml::Value::as_str) == Some(tenant));
        let path = self.folder.join(format!("{tenant}.toml"));
        std::fs::write(&path, config.to_string()).expect("cannot write the configuration");
        let name = format!("of-{tenant}");
        let keys = [keys, &[("PROBE_INSTANCE", &*name)]].concat();
        Daemon::start(&path, variables(&keys)).await
    }

    /// What truly happened to a trace.
    pub fn truth(&self, id: &str) -> TruthRecord {
        let records = self.sandbox.truth();
        let found = records.into_iter().find(|record| id_in(&record.token) == id);
        found.unwrap_or_else(|| panic!("the sandbox has never seen {id}"))
    }

    /// Fails unless every interval that the page gives for these traces holds the true arrival. Returns the
    /// number of intervals.
    pub fn assert_intervals_hold<'a>(&self, traces: impl IntoIterator<Item = &'a Trace>) -> usize {
        let truth = self.sandbox.truth();
        let mut checked = 0;
        for trace in traces {
            let record = truth.iter().find(|record| id_in(&record.token) == trace.id);
            let record = record.unwrap_or_else(|| panic!("the sandbox has never seen {}", trace.id));
            for arrival in trace.arrivals() {
                let Some(stage) = STAGES.into_iter().find(|stage| stage.name() == arrival.stage) else {
                    continue;
                };
                let arrived = record.arrived(stage);
                let arrived = arrived.unwrap_or_else(|| panic!("{} never reached {stage}", trace.id)).0;
                assert!(
                    (arrival.earliest..=arrival.latest).contains(&arrived),
                    "{} reached {stage} at {arrived}, but the page shows {} to {}",
                    trace.id,
                    arrival.earliest,
                    arrival.latest
                );
                checked += 1;
            }
        }
        checked
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // A folder that remains is below Cargo's folder for tests.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The trace id in a tag.
pub fn id_in(token: &str) -> &str {
    &token[5..37]
}

/// The traces of the page that were delivered.
pub fn delivered(recent: &Recent) -> impl Iterator<Item = &Trace> {
    recent.traces.iter().filter(|trace| trace.outcome == "delivered")
}

/// The daemon's whole environment: its tag key, and overridden keys of the configuration.
pub fn variables(keys: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all =
        vec![("TRACEPROBE_TAG_KEY".to_owned(), "a key that only the tests know: 0123456789".to_owned())];
    all.extend(keys.iter().map(|(key, value)| (format!("TRACEPROBE_{key}"), (*value).to_owned())));
    all
}

/// Short intervals and deadlines, so that a test takes seconds.
const PROBE: &str = r#"listen = "127.0.0.1:0"
instance = "test"
interval = "300ms"
slo = "3s"
critical = "3s"
give_up = "5s"
grace = "5s"
blind_after = "5s"
copy_recheck = "1s"
stop_grace = "2s"
"#;
const WATCHED: [(Stage, &str); 6] = [
    (Stage::LogGroup, "interval = \"500ms\"\nsettle = \"100ms\""),
    (Stage::TenantStream, "target = \"1s\"\ninterval = \"500ms\"\ntimeout = \"5s\"\nsettle = \"100ms\""),
    (Stage::Archive, "interval = \"500ms\"\ntimeout = \"5s\""),
    (Stage::DeadLetter, "interval = \"500ms\"\ntimeout = \"5s\""),
    (Stage::Transit, "interval = \"500ms\"\ntimeout = \"5s\""),
    (Stage::Bigquery, "body_column = \"message\"\ninterval = \"500ms\"\ntimeout = \"5s\""),
];
/// Small, because each poll of a log group reads a minute of them, in an unoptimized build.
const CANARY: &str = r#"
[canary]
sizes = ["100B", "500B"]
"#;
