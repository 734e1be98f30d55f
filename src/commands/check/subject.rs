//! What is tried: a log group or a source, with all that is needed to say what is wrong with it.

use crate::cloud::account::{Account, log_group_names};
use crate::config::{Config, Source};
use crate::daemon::build::Destination;
use crate::domain::evidence::NamedPlace;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Role, TenantId};
use crate::observe::spec;

/// Whose objects are where: different statements allow to list them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The canaries of one tenant.
    OfTenant,
    /// The canaries of several tenants.
    Shared,
    /// What the pipeline gave up.
    DeadLetters,
}

/// One log group or source.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    /// For people: `stage archive: s3 sre-archive/…`.
    pub(super) name: String,
    pub(super) tenants: Vec<String>,
    /// `None` for a log group into which canaries are put.
    pub(super) stage: Option<String>,
    /// Where its keys are in the configuration: `stage.archive`.
    pub(super) keys: String,
    /// The service that is called, as in metrics.
    pub(super) service: &'static str,
    pub(super) place: Place,
    /// `None` in another cloud.
    pub(super) account: Option<&'a Account>,
    /// The names for commands.
    pub(super) names: Vec<NamedPlace>,
}

impl<'a> Subject<'a> {
    /// The log group of a destination.
    pub(super) fn of_destination(config: &'a Config, destination: &Destination) -> Self {
        let tenant = destination.tenants.first();
        let first = tenant.and_then(|(id, _)| config.tenants.get(usize::from(id.0)));
        let group = first.zip(tenant).and_then(|(of, (_, group))| of.log_groups.get(usize::from(group.0)));
        let group = group.map_or("", String::as_str);
        let account = first.map(|tenant| &tenant.account);
        Self {
            name: format!("log group {group}"),
            tenants: names(config, destination.tenants.iter().map(|(id, _)| *id)),
            stage: None,
            keys: first.map_or_else(|| "tenant".to_owned(), |tenant| format!("tenant.{}", tenant.name)),
            service: "logs",
            place: Place::OfTenant,
            account,
            names: account.map_or_else(Vec::new, |account| log_group_names(group, account)),
        }
    }

    /// A source of a stage.
    pub(super) fn of_source(config: &'a Config, source: &'a Source, now: Timestamp) -> Self {
        let stage = &config.stages[usize::from(source.stage.0)];
        let place = match stage.role {
            Role::DeadLetter => Place::DeadLetters,
            Role::Way | Role::End if source.single_tenant => Place::OfTenant,
            Role::Way | Role::End => Place::Shared,
        };
        let operation = spec(source.settings.kind()).costs.operations.first();
        Self {
            name: format!("stage {}: {}", stage.name, source.name),
            tenants: names(config, source.tenants.iter().copied()),
            stage: Some(stage.name.to_string()),
            keys: format!("stage.{}", stage.name),
            service: operation.map_or("", |operation| operation.service),
            place,
            account: source.settings.account(),
            names: source.settings.evidence().names(now),
        }
    }

    /// The name that stands for a placeholder of a command.
    pub(super) fn name_of(&self, placeholder: &str) -> Option<String> {
        self.names.iter().find(|(name, _)| *name == placeholder).map(|(_, value)| value.clone())
    }
}

fn names(config: &Config, ids: impl Iterator<Item = TenantId>) -> Vec<String> {
    let name = |id: TenantId| config.tenants.get(usize::from(id.0)).map(|tenant| tenant.name.to_string());
    ids.filter_map(name).collect()
}
