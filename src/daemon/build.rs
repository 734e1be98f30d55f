//! Builds single parts from configuration values; `wire` joins them. It calls no service and starts no task.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::clock::ProbeClock;
use crate::cloud::Clients;
use crate::cloud::account::{self, Account};
use crate::cloud::aws::{Aws, AwsSettings};
use crate::cloud::budget::{self, Budgets};
use crate::cloud::calls::{CallResult, Calls};
use crate::cloud::google::{Google, GoogleSettings};
use crate::cloud::trust::check_roots;
use crate::config::{Config, Source, Tenant};
use crate::domain::cost::Costs;
use crate::domain::kind::Kind;
use crate::domain::tag::Keyring;
use crate::domain::time::WallClock;
use crate::domain::topology::{LogGroupId, Stage, TenantId, Topology};
use crate::domain::tracker::COPY_COMES_WITHIN;
use crate::inject::{self, Injector, Retry};
use crate::metrics::{self, StageCosts};
use crate::observe::{Recognizer, spec};

/// Makes the clients of injectors and observers. Credentials come from where the AWS CLI and gcloud keep
/// them.
///
/// # Errors
///
/// When Google credentials are needed and cannot be used, or this machine has no certificates.
pub async fn clients(aws: &AwsSettings, google: &GoogleSettings, calls: Calls) -> anyhow::Result<Clients> {
    check_roots()?;
    let aws = Aws::new(aws.clone(), calls.clone()).await;
    let google = self::google(&aws, google, calls).await?;
    Ok(Clients { aws, google, budgets: Budgets::default() })
}

/// Makes the client of Google services; `None` if no stage needs it.
///
/// # Errors
///
/// When its credentials cannot be used.
pub async fn google(aws: &Aws, google: &GoogleSettings, calls: Calls) -> anyhow::Result<Option<Google>> {
    if google.services.is_empty() {
        return Ok(None);
    }
    let settings = GoogleSettings { aws: Some(aws.for_role(None, None)), ..google.clone() };
    Ok(Some(Google::new(&settings, calls).await.context("gcp.auth")?))
}

/// Has credentials read again before the next call, and makes a client for Google if a stage needs one now.
///
/// # Errors
///
/// When Google credentials are needed and cannot be used.
pub async fn renew(clients: &mut Clients, google: &GoogleSettings) -> anyhow::Result<()> {
    // First what may fail.
    if let Some(new) = self::google(&clients.aws, google, clients.aws.calls().clone()).await? {
        clients.google = Some(match &clients.google {
            Some(present) => new.in_place_of(present),
            None => new,
        });
    }
    clients.aws.renew().await;
    Ok(())
}

/// A log group, and the tenants whose canaries go there.
pub struct Destination {
    /// The name of the injecting task, for people: `inject <log group>`.
    pub name: String,
    pub injector: Injector,
    /// The tenants, each with its id of the log group.
    pub tenants: Vec<(TenantId, LogGroupId)>,
}

/// Makes one injector for each log group, so that all canaries due for a group leave in one call.
#[must_use]
pub fn destinations(tenants: &[Tenant], clients: &Clients, clock: &WallClock) -> Vec<Destination> {
    let mut known: HashMap<(&Account, &str, &str), usize> = HashMap::new();
    let mut all: Vec<Destination> = Vec::new();
    for (index, tenant) in tenants.iter().enumerate() {
        let id = TenantId(u16::try_from(index).unwrap_or(u16::MAX));
        for (group, log_group) in (0..).map(LogGroupId).zip(&tenant.log_groups) {
            let key = (&tenant.account, log_group.as_str(), &*tenant.log_stream);
            if let Some(at) = known.get(&key) {
                all[*at].tenants.push((id, group));
                continue;
            }
            known.insert(key, all.len());
            all.push(Destination {
                name: format!("inject {log_group}"),
                injector: injector(tenant, log_group, clients, clock),
                tenants: vec![(id, group)],
            });
        }
    }
    all
}

/// Longest time to wait for the answer to one attempt of a put.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

const _: () = assert!(
    COPY_COMES_WITHIN.as_secs() > Retry::USUAL.max_elapsed.as_secs() + ATTEMPT_TIMEOUT.as_secs(),
    "the tracker would count a slot before another process has given up to put its copy"
);

/// Makes the injector of one of a tenant's log groups.
#[must_use]
pub fn injector(tenant: &Tenant, log_group: &str, clients: &Clients, clock: &WallClock) -> Injector {
    let settings = inject::Settings {
        log_group: account::log_group_name(log_group).to_owned(),
        log_stream: tenant.log_stream.clone(),
        retry: Retry::USUAL,
        attempt_timeout: ATTEMPT_TIMEOUT,
    };
    Injector::new(settings, clients.aws.logs(&tenant.account), clock.clone())
}

/// Makes the recognizer that lets every observer tell our canaries from other data.
#[must_use]
pub fn recognizer(keyring: &Keyring, topology: &Topology) -> Recognizer {
    let templates = topology.tenants().iter().map(|tenant| (tenant.code, tenant.template.clone()));
    Recognizer { keys: Arc::new(keyring.clone()), templates: templates.collect() }
}

/// Lists the operations and prices of injection and of each of these stages, as they are configured.
#[must_use]
pub fn costs(stages: &[Stage], config: &Config) -> StageCosts {
    let kinds = || Kind::ALL.iter().map(|kind| spec(*kind).costs);
    let all: Vec<Costs> = kinds().chain([inject::COSTS]).collect();
    let of_source = |stage: &Stage| {
        let same = |source: &&Source| {
            config.stages.get(usize::from(source.stage.0)).is_some_and(|it| it.name == stage.name)
        };
        config.sources.iter().find(same).map(|source| source.settings.costs())
    };
    let costs = |stage: &Stage| of_source(stage).unwrap_or_else(|| spec(stage.kind).costs);
    let stages = stages.iter().map(costs).collect();
    StageCosts { all, stages, ..StageCosts::default() }
}

/// Adapts the budgets for the metrics.
#[must_use]
pub fn budgets_so_far(budgets: Budgets, clock: &ProbeClock) -> metrics::BudgetsSoFar {
    let clock = clock.wall();
    let used =
        |used: budget::Used| metrics::BudgetUsed { service: used.service, of: used.of, ratio: used.ratio };
    metrics::BudgetsSoFar::new(move || budgets.used(clock.now()).into_iter().map(used).collect())
}

/// Adapts the clients' call counter for the metrics.
#[must_use]
pub fn calls_so_far(calls: Calls) -> metrics::CallsSoFar {
    let call = |(service, operation, result, count): (&str, String, CallResult, u64)| metrics::Calls {
        service: service.to_owned(),
        operation,
        result: result.as_str().to_owned(),
        count,
    };
    Arc::new(move || calls.snapshot().into_iter().map(call).collect())
}
