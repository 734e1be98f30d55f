//! From a configuration to parts that are ready to run. Nothing is called and nothing is started here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::cloud::Clients;
use crate::cloud::account::Account;
use crate::cloud::aws::Aws;
use crate::cloud::calls::Calls;
use crate::cloud::google::{Google, GoogleSettings};
use crate::config::Config;
use crate::domain::cost::Costs;
use crate::domain::kind::Kind;
use crate::domain::time::WallClock;
use crate::domain::topology::{SourceId, TenantId, Topology};
use crate::inject::{self, Injector, Retry};
use crate::metrics::StageCosts;
use crate::observe::{Recognizer, Site, spec};

/// Makes the clients that injectors and observers need. Credentials are read from where the tools of both clouds keep
/// them.
///
/// # Errors
///
/// When Google credentials are needed and cannot be used.
pub async fn clients(config: &Config, calls: Calls) -> anyhow::Result<Clients> {
    let aws = Aws::new(config.aws.clone(), calls.clone()).await;
    let google = if config.google.services.is_empty() {
        None
    } else {
        let settings = GoogleSettings { aws: Some(aws.for_role(None, None)), ..config.google.clone() };
        Some(Google::new(&settings, calls).await.context("gcp.auth")?)
    };
    Ok(Clients { aws, google })
}

/// A log group, and the tenants whose canaries go there.
pub struct Destination {
    /// For people: the name of the task in front of it.
    pub name: String,
    /// Puts canaries there.
    pub injector: Injector,
    /// Whose.
    pub tenants: Vec<TenantId>,
}

/// One injector for each log group, so that all canaries due for it leave in one call.
#[must_use]
pub fn destinations(config: &Config, clients: &Clients, clock: &WallClock) -> Vec<Destination> {
    let mut known: HashMap<(&Account, &str, &str), usize> = HashMap::new();
    let mut all: Vec<Destination> = Vec::new();
    for (index, tenant) in config.tenants.iter().enumerate() {
        let id = TenantId(u16::try_from(index).unwrap_or(u16::MAX));
        let key = (&tenant.account, &*tenant.log_group, &*tenant.log_stream);
        if let Some(at) = known.get(&key) {
            all[*at].tenants.push(id);
            continue;
        }
        known.insert(key, all.len());
        let settings = inject::Settings {
            log_group: tenant.log_group.clone(),
            log_stream: tenant.log_stream.clone(),
            retry: Retry::default(),
            attempt_timeout: Duration::from_secs(5),
        };
        let client = clients.aws.logs(&tenant.account);
        all.push(Destination {
            name: format!("inject {}", tenant.log_group),
            injector: Injector::new(settings, client, clock.clone()),
            tenants: vec![id],
        });
    }
    all
}

/// What every observer needs to tell our canaries from everything else.
#[must_use]
pub fn recognizer(config: &Config) -> Recognizer {
    let topology = config.topology();
    let templates = topology.tenants().iter().map(|tenant| (tenant.code, tenant.template.clone()));
    Recognizer { keys: Arc::new(config.keyring.clone()), templates: templates.collect() }
}

/// What the observer of a source is made of beside its settings.
#[must_use]
pub fn site<'a>(
    config: &Config,
    topology: &'a Topology,
    source: SourceId,
    clients: &'a Clients,
    recognizer: &'a Recognizer,
    clock: &'a WallClock,
) -> Site<'a> {
    let rhythm = config.sources[source.0 as usize].rhythm;
    Site { topology, source, rhythm, clients, recognizer, clock }
}

/// What injection and each stage call and cost.
#[must_use]
pub fn costs(config: &Config) -> StageCosts {
    let kinds = || Kind::ALL.iter().map(|kind| spec(*kind).costs);
    let all: Vec<Costs> = kinds().chain([inject::COSTS]).collect();
    StageCosts { all, stages: config.stages.iter().map(|stage| spec(stage.kind).costs).collect() }
}
