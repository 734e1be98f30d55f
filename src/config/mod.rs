//! The configuration: a TOML file, environment variables that override it, and all faults of both at once.
//!
//! TOML tables are read by hand and not through `serde`, which stops at the first fault; a person who fixes a
//! configuration wants the whole list. A [`Config`] is checked, expanded and complete, so that no other
//! module has to validate a value again.
//!
//! This module makes no client and no connection: `traceprobe check` finds out whether a bucket exists. It
//! must never print a secret.
//!
//! `keys` lists every key, `config/traceprobe.toml` documents each of them, and a test compares the two. `reference`
//! reads what that file says of a key, for the JSON schema and `docs/configuration.md`.

mod budgets;
mod column_types;
mod drill;
mod duplicate_key;
mod endpoints;
mod in_flight;
mod keys;
mod kubernetes;
mod load;
mod otlp;
mod pipeline;
mod place;
mod reference;
mod restart;
mod route;
mod same_log_group;
mod schema;
mod sections;
mod settings;
mod short_interval;
mod show;
mod source;
mod stage;
mod tag_key;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use toml::Table;

pub use self::otlp::Otlp;
pub use self::place::{CONFIG_FILE, CONFIG_TEXT, DEFAULT_FILE, Place};
pub use self::schema::schema;
pub use self::sections::log_filter;
pub use self::settings::{
    Canary, Conditions, Drill, Load, Log, LogFormat, Probe, Source, Store, Tenant, Web,
};
pub use self::tag_key::{TAG_KEY, TAG_KEY_FILE, TAG_KEYS_ACCEPTED, keyring_from_env};
use crate::cloud::aws::AwsSettings;
use crate::cloud::budget::Budget;
use crate::cloud::google::{BIGQUERY, GoogleSettings};
use crate::domain::conditions::Criteria;
use crate::domain::pipeline::Pipeline;
use crate::domain::tag::{InstanceCode, Keyring};
use crate::domain::tool_endpoints::{AwsEndpoint, ToolEndpoints};
use crate::domain::topology::{Stage, Topology};
use crate::domain::tracker;
use crate::keys::fault::{Checked, Reported, not_toml, suggestion};
pub use crate::keys::fault::{Fault, Faults};
use crate::keys::reader::{Context, ShownTables, Variables};
use crate::keys::secret::masked_urls;

/// The variable with the address at which commands ask the daemon of this machine.
pub const DAEMON_ADDRESS: &str = "TRACEPROBE_HEALTHCHECK_ADDRESS";

/// Variables that do not override a key: the tag keys, where the configuration is, and where the daemon is.
pub const OTHER_VARIABLES: [&str; 6] =
    [TAG_KEY, TAG_KEY_FILE, TAG_KEYS_ACCEPTED, CONFIG_FILE, CONFIG_TEXT, DAEMON_ADDRESS];

const VARIABLES: Variables =
    Variables { prefix: "TRACEPROBE", others: &OTHER_VARIABLES, is_foreign: kubernetes::is_of_a_service };

/// How long polls by id still include a canary that was seen, to catch a second copy: twice the time within
/// which BigQuery itself drops copies with the same insert id (about a minute, best effort; BigQuery docs,
/// streaming inserts).
const RECHECK_FOR: Duration = Duration::from_secs(120);
/// The newest traces, and the last failed ones, remembered of each tenant in addition to `probe.remember`:
/// more failures than a person reads on one page, and three times the canaries of a window of conditions.
const REMEMBER_OF_TENANT: usize = 100;
/// Set by ECS for every container (task metadata endpoint version 4).
const ECS_METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";

#[derive(Clone, Debug)]
pub struct Config {
    /// The probe itself: its address, schedule and thresholds.
    pub probe: Probe,
    /// What clients of the pages and of /metrics may do.
    pub web: Web,
    /// When canaries of a tenant that does not exist are withheld; `None` if never.
    pub drill: Option<Drill>,
    pub log: Log,
    /// Sizes and template of canaries, unless a tenant has its own.
    pub canary: Canary,
    /// How to reach AWS: region, endpoints, credentials.
    pub aws: AwsSettings,
    /// How to reach Google Cloud; holds only the services that a stage uses.
    pub google: GoogleSettings,
    /// What polls may take of each service in a day.
    pub budgets: Vec<Budget>,
    /// Where finished traces are exported; `None` for nowhere.
    pub otlp: Option<Otlp>,
    /// What `traceprobe load` may do.
    pub load: Load,
    /// Where state is kept across restarts.
    pub store: Store,
    /// What is a problem, and what is only a note.
    pub conditions: Conditions,
    /// Names of the parts of the pipeline that are not polled, for dashboards and the runbook.
    pub pipeline: Pipeline,
    /// The tenants, in the order of the file; a [`TenantId`](crate::domain::topology::TenantId) is an index.
    pub tenants: Vec<Tenant>,
    /// The stages, parents first; a [`StageId`](crate::domain::topology::StageId) is an index.
    pub stages: Vec<Stage>,
    /// What observers poll; a [`SourceId`](crate::domain::topology::SourceId) is an index.
    pub sources: Vec<Source>,
    /// The keys that sign and verify tags.
    pub keyring: Keyring,
    /// Remarks about a valid configuration, one sentence each, such as leaks that could not be detected.
    pub notes: Vec<String>,
    /// Address of the ECS task metadata in an ECS task. Not a key: ECS sets it in the environment.
    pub ecs_metadata: Option<String>,
    topology: Topology,
    shown: ShownTables,
}

/// Returns the variables of the environment of this process, with U+FFFD for what is not Unicode. Those of ours that have
/// one are faults.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

impl Config {
    /// Reads a file and the environment variables that override it.
    ///
    /// # Errors
    ///
    /// [`Faults`], all of them at once.
    pub fn load(path: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        Place::File(path.to_owned()).load(env.into_iter().collect())
    }

    /// Reads a TOML text and the environment variables that override it.
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
                let message = not_toml(text, &error) + &duplicate_key::named(text, &error);
                Err(context.faults.report(file, message))
            }
        };
        match read {
            Ok(config) if context.faults.is_empty() => Ok(Self { shown: context.shown, ..config }),
            _ => Err(Faults { file: file.to_owned(), list: context.faults.list() }),
        }
    }

    /// Returns the topology of tenants, stages and sources; its ids are indices into the lists here.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology.clone()
    }

    /// Returns the thresholds and limits by which the tracker judges traces.
    #[must_use]
    pub fn tracker_settings(&self) -> tracker::Settings {
        tracker::Settings {
            slo: self.probe.slo,
            give_up: self.probe.give_up,
            grace: self.probe.grace,
            blind_after: self.probe.blind_after,
            recheck_for: RECHECK_FOR,
            copy_recheck: self.probe.copy_recheck,
            max_in_flight: self.max_in_flight(),
            remember: self.probe.remember,
            remember_of_tenant: REMEMBER_OF_TENANT,
            instance: InstanceCode::of(&self.probe.instance),
            handover: self.probe.handover,
            is_kept: self.store.path.is_some(),
        }
    }

    /// Returns how many canaries may be in flight: as many as a total stall takes, unless it is set.
    #[must_use]
    pub fn max_in_flight(&self) -> usize {
        in_flight::limit(&self.probe, self.intervals())
    }

    /// Says what a total stall will take.
    #[must_use]
    pub fn total_stall(&self) -> String {
        in_flight::total_stall(&self.probe, self.intervals())
    }

    fn intervals(&self) -> impl Iterator<Item = Duration> + Clone {
        self.topology.tenants().iter().map(|tenant| tenant.interval)
    }

    /// Returns what the clouds' own tools must be told to reach services that are not at their usual address.
    #[must_use]
    pub fn tool_endpoints(&self) -> ToolEndpoints {
        let AwsSettings { region, endpoint, endpoints, regional_endpoints, .. } = &self.aws;
        let at = |service: Option<&str>, region: Option<&String>, url: &str| AwsEndpoint {
            service: service.map(str::to_owned),
            region: region.cloned(),
            url: masked_urls(url).into_owned(),
        };
        let regional = regional_endpoints.iter().flat_map(|(region, of_region)| {
            of_region.iter().map(move |(service, url)| at(Some(service), Some(region), url))
        });
        let of_service = endpoints.iter().map(|(service, url)| at(Some(service), None, url));
        let of_all = endpoint.iter().map(|url| at(None, None, url));
        let bigquery = self.google.endpoints.get(BIGQUERY.name).map(|url| masked_urls(url));
        ToolEndpoints::new(
            regional.chain(of_service).chain(of_all).collect(),
            region.clone(),
            bigquery.as_deref(),
        )
    }

    /// Returns the effective configuration as TOML, with the origin of each value as a comment. It contains
    /// no tag keys, and external ids are shown as `…`.
    #[must_use]
    pub fn to_toml_without_secrets(&self) -> String {
        show::to_toml(&self.shown, &self.tenants, &self.sources)
    }

    /// Returns the same values as JSON, for `/config`.
    #[must_use]
    pub fn to_json_without_secrets(&self) -> serde_json::Value {
        show::to_json(&self.shown)
    }

    /// Returns the criteria by which conditions are judged.
    #[must_use]
    pub fn criteria(&self) -> Criteria {
        Criteria {
            slo: self.probe.slo,
            window: self.conditions.window,
            late_after: self.conditions.late_after,
            over_after: self.conditions.over_after,
            copy_recheck: self.probe.copy_recheck,
            thresholds: self.conditions.thresholds,
        }
    }
}

/// The tables that a file may have.
const SECTIONS: [&str; 15] = [
    "probe",
    "web",
    "log",
    "canary",
    "aws",
    "gcp",
    "store",
    "conditions",
    "drill",
    "budgets",
    "pipeline",
    "otlp",
    "load",
    "tenant",
    "stage",
];

fn read(context: &mut Context, root: &Table) -> Checked<Config> {
    for name in root.keys().filter(|name| !SECTIONS.contains(&name.as_str())) {
        let near = suggestion(name, SECTIONS);
        context.faults.report(name.clone(), format!("unknown table{near}"));
    }
    let host = host_name(&context.env);
    let probe = sections::probe(context, root, &host);
    let web = sections::web(context, root);
    let log = sections::log(context, root);
    let canary = sections::canary(context, root);
    let (aws, region) = sections::aws(context, root);
    let (gcp, project) = sections::gcp(context, root);
    let store = sections::store(context, root, &probe.probe);
    let conditions = sections::conditions(context, root);
    let drill = drill::drill(context, root);
    let budgets = budgets::budgets(context, root);
    let pipeline = pipeline::pipeline(context, root);
    let otlp = otlp::otlp(context, root);
    let load = load::load(context, root);
    let defaults = tenant::Defaults {
        canary: &canary,
        interval: probe.interval,
        region: &region,
        instance: &probe.instance,
    };
    let tenants = tenant::read(context, root, &defaults);
    load::check_names(&mut context.faults, &load, &tenants);
    sections::check_window(&mut context.faults, &conditions, &tenants);
    let stages = stage::read(context, root, &probe);
    let placed = route::order(&mut context.faults, &stages);
    // Sources are read in any case, so that their faults are reported together with those of the stage order.
    let order: Vec<usize> = match &placed {
        Ok(placed) => placed.iter().map(|(index, _)| *index).collect(),
        Err(Reported) => (0..stages.len()).collect(),
    };
    let sources = source::read(context, &stages, &order, &tenants, &region, &project);
    if let Ok(sources) = &sources {
        column_types::check(&mut context.faults, &stages, &order, sources);
        same_log_group::check(&mut context.faults, &tenants, sources);
    }
    if let (Ok(sources), Ok(probe)) = (&sources, &probe.probe) {
        source::check_prefixes(&mut context.faults, &stages, &order, sources, probe);
    }
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
    let (probe, drill) = (probe.probe?, drill?);
    let notes = [notes, short_interval::notes(probe.interval, &tenants)].concat();
    let topology = match &drill {
        Some(_) => topology.with_drill(probe.interval),
        None => topology,
    };
    Ok(Config {
        probe,
        drill,
        otlp: otlp?,
        load: load?,
        web: web?,
        log: log?,
        canary: canary.settings()?,
        aws: aws?,
        google: GoogleSettings { services, ..gcp? },
        budgets: budgets?,
        store: store?,
        conditions: conditions?,
        pipeline: pipeline?,
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

/// Returns the host's name: `HOSTNAME`, which containers set, or the kernel's host name.
fn host_name(env: &BTreeMap<String, String>) -> String {
    env.get("HOSTNAME")
        .cloned()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "traceprobe".to_owned())
}
