//! The configuration: a TOML file, the environment over it, and every fault of both at once.
//!
//! It reads TOML tables by hand and not through `serde`, which stops at the first fault: somebody who mends a
//! configuration at night wants the whole list. What comes out is checked, expanded and complete, so that nobody
//! behind it has to ask again whether a value makes sense.
//!
//! It names the settings of the parts that it configures and reads them by their own keys; it makes no client and no
//! connection: whether a bucket exists is for `traceprobe check` to find out. It must never print a secret.
//!
//! `keys` lists every key; `config/traceprobe.toml` documents each of them, and a test compares the two.

mod keys;
mod route;
mod sections;
mod settings;
mod show;
mod source;
mod stage;
mod tag_key;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Table;

pub use self::settings::{Canary, Log, LogFormat, Probe, Source, Store, Tenant};
pub use self::tag_key::{TAG_KEY, TAG_KEY_FILE, TAG_KEYS_ACCEPTED, keyring_from_env};
use crate::cloud::aws::AwsSettings;
use crate::cloud::google::GoogleSettings;
use crate::domain::tag::{InstanceCode, Keyring};
use crate::domain::topology::{Stage, Topology};
use crate::domain::tracker;
use crate::domain::verdict::Criteria;
use crate::keys::fault::{Checked, Reported, suggestion};
pub use crate::keys::fault::{Fault, Faults};
use crate::keys::reader::{Context, ShownTables, Variables};

/// Variables that are not overrides of keys: the tag keys, and where the file is.
pub const OTHER_VARIABLES: [&str; 4] = [TAG_KEY, TAG_KEY_FILE, TAG_KEYS_ACCEPTED, "TRACEPROBE_CONFIG"];

const VARIABLES: Variables = Variables {
    prefix: "TRACEPROBE",
    others: &OTHER_VARIABLES,
    // Kubernetes puts these into every container beside a service that is called `traceprobe`.
    foreign: &["TRACEPROBE_SERVICE_", "TRACEPROBE_PORT"],
};

/// How long a seen canary rides along in looks by id, to catch a second copy: twice the time within which BigQuery
/// itself drops copies with the same insert id (about a minute, by best effort; BigQuery docs, streaming inserts).
const RECHECK_FOR: Duration = Duration::from_secs(120);
/// Failed traces that are remembered for each tenant beside the finished ones: more than anybody reads on one page.
const REMEMBER_FAILURES: usize = 100;
/// Only traces that were planned within this time count for a verdict.
const VERDICT_WINDOW: Duration = Duration::from_secs(15 * 60);
/// Set by ECS for every container (task metadata endpoint version 4).
const ECS_METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// A sound configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The probe itself.
    pub probe: Probe,
    /// How it logs.
    pub log: Log,
    /// What canaries look like where a tenant does not say.
    pub canary: Canary,
    /// How to reach Amazon.
    pub aws: AwsSettings,
    /// How to reach Google, as far as stages need it.
    pub google: GoogleSettings,
    /// What outlives a restart.
    pub store: Store,
    /// The tenants, as in the file; a [`TenantId`](crate::domain::topology::TenantId) is an index.
    pub tenants: Vec<Tenant>,
    /// The stages, parents first; a [`StageId`](crate::domain::topology::StageId) is an index.
    pub stages: Vec<Stage>,
    /// What observers read; a [`SourceId`](crate::domain::topology::SourceId) is an index.
    pub sources: Vec<Source>,
    /// The keys that sign tags.
    pub keyring: Keyring,
    /// What is sound but worth knowing, one sentence each.
    pub notes: Vec<String>,
    /// Where ECS tells of our task, if the probe runs as one. Not a key: the environment of every container has it.
    pub ecs_metadata: Option<String>,
    topology: Topology,
    shown: ShownTables,
}

impl Config {
    /// Reads a file, and the environment over it.
    ///
    /// # Errors
    ///
    /// [`Faults`], all of them at once.
    pub fn load(path: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Faults {
            file: file.clone(),
            list: vec![Fault { key: file.clone(), message: format!("cannot be read: {error}") }],
        })?;
        Self::parse_named(&file, &text, env.into_iter().collect())
    }

    /// Reads a text, and the environment over it.
    ///
    /// # Errors
    ///
    /// [`Faults`], all of them at once.
    pub fn parse(text: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        Self::parse_named("the configuration", text, env.into_iter().collect())
    }

    fn parse_named(file: &str, text: &str, env: BTreeMap<String, String>) -> Result<Self, Faults> {
        let mut context = Context::new(env, VARIABLES);
        let read = match text.parse::<Table>() {
            Ok(root) => read(&mut context, &root),
            Err(error) => {
                let message = format!("no TOML: {}", error.to_string().trim_end());
                // The excerpt with its caret stands on lines of its own.
                let message = message.replace('\n', "\n    ");
                Err(context.faults.report(file, message))
            }
        };
        match read {
            Ok(config) if context.faults.is_empty() => Ok(Self { shown: context.shown, ..config }),
            _ => Err(Faults { file: file.to_owned(), list: context.faults.list() }),
        }
    }

    /// The map of tenants, stages and sources; its ids are the indices of the lists here.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology.clone()
    }

    /// How the tracker judges.
    #[must_use]
    pub fn tracker_settings(&self) -> tracker::Settings {
        tracker::Settings {
            slo: self.probe.slo,
            give_up: self.probe.give_up,
            grace: self.probe.grace,
            blind_after: self.probe.blind_after,
            recheck_for: RECHECK_FOR,
            max_in_flight: self.probe.max_in_flight,
            remember: self.probe.remember,
            remember_failures: REMEMBER_FAILURES,
            instance: InstanceCode::of(&self.probe.instance),
        }
    }

    /// The configuration in force as TOML, with a note where each value comes from. Tag keys are not in it, and
    /// external ids show as `…`.
    #[must_use]
    pub fn to_toml_without_secrets(&self) -> String {
        show::to_toml(&self.shown, &self.tenants, &self.sources)
    }

    /// The same values as JSON, for `/config`.
    #[must_use]
    pub fn to_json_without_secrets(&self) -> serde_json::Value {
        show::to_json(&self.shown)
    }

    /// How verdicts are reached.
    #[must_use]
    pub fn criteria(&self) -> Criteria {
        let intervals = self.tenants.iter().map(|tenant| tenant.interval);
        Criteria {
            slo: self.probe.slo,
            window: VERDICT_WINDOW,
            interval: intervals.max().unwrap_or(self.probe.interval),
        }
    }
}

fn read(context: &mut Context, root: &Table) -> Checked<Config> {
    const SECTIONS: [&str; 8] = ["probe", "log", "canary", "aws", "gcp", "store", "tenant", "stage"];
    for name in root.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
        let near = suggestion(name, SECTIONS);
        context.faults.report(name.clone(), format!("unknown table{near}"));
    }
    let host = host_name(&context.env);
    let probe = sections::probe(context, root, &host);
    let log = sections::log(context, root);
    let canary = sections::canary(context, root);
    let (aws, region) = sections::aws(context, root);
    let (gcp, project) = sections::gcp(context, root);
    let store = sections::store(context, root, &probe.probe);
    let defaults = tenant::Defaults {
        canary: &canary,
        interval: probe.interval,
        region: &region,
        instance: &probe.instance,
    };
    let tenants = tenant::read(context, root, &defaults);
    let stages = stage::read(context, root, probe.blind_after, &probe.buckets);
    let placed = route::order(&mut context.faults, &stages);
    // Sources are read in any case, so that their faults are told together with those of the route.
    let order: Vec<usize> = match &placed {
        Ok(placed) => placed.iter().map(|(index, _)| *index).collect(),
        Err(Reported) => (0..stages.len()).collect(),
    };
    let sources = source::read(context, &stages, &order, &tenants, &region, &project);
    context.check_variables();
    let keyring = tag_key::keyring(&context.env, &mut context.faults);

    let sources = sources?;
    let notes = source::notes(&stages, &order, tenants.len(), &sources);
    let tenants: Vec<Tenant> = tenants.into_iter().map(|read| read.tenant).collect::<Checked<_>>()?;
    let stages = route::stages(&stages, &placed?)?;
    let mut services = Vec::new();
    for service in stages.iter().filter_map(|stage| keys::google_service(stage.kind)) {
        if !services.contains(&service) {
            services.push(service);
        }
    }
    let topology = route::topology(&tenants, &stages, &sources)
        .map_err(|error| context.faults.report("stage", error.to_string()))?;
    Ok(Config {
        probe: probe.probe?,
        log: log?,
        canary: canary.settings()?,
        aws: aws?,
        google: GoogleSettings { services, ..gcp? },
        store: store?,
        tenants,
        stages,
        sources,
        keyring: keyring?,
        notes,
        ecs_metadata: context.env.get(ECS_METADATA).filter(|address| !address.is_empty()).cloned(),
        topology,
        shown: ShownTables::new(),
    })
}

/// What the host calls itself: `HOSTNAME`, which containers set, or what the kernel says.
fn host_name(env: &BTreeMap<String, String>) -> String {
    env.get("HOSTNAME")
        .cloned()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "traceprobe".to_owned())
}
