//! The observers and injectors that run for a configuration, and which of them go on when it changes.
//!
//! An observer goes on if it reads the same place for the same tenants in the same way, an injector if somebody
//! still puts into its log group. What goes on is not touched: neither its cursor nor its rhythm. An observer that
//! does not is replaced. What it was reading is read again, from the oldest canary that is awaited.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::engine::LaneChange;
use super::hold::{Outbound, Polled, WeakOutbound};
use super::supervisor::Task;
use super::wire::{Common, OUTBOUND};
use super::{build, injecting};
use crate::cloud::account::Account;
use crate::config::{Config, Source, Tenant};
use crate::domain::canary::Template;
use crate::domain::evidence::Evidence;
use crate::domain::kind::Kind;
use crate::domain::tag::TenantCode;
use crate::domain::topology::{SourceId, TenantId, Topology};
use crate::domain::tracker::Input;
use crate::inject::Report;
use crate::observe::pace::Rhythm;
use crate::observe::{self, SourceSettings, cloudwatch_logs, pace};

/// A log group with its log stream, as one injector serves it.
type Destination = (Account, String, String);
/// The stage, the kind and the identity of what is read.
type Place = (Arc<str>, Kind, String);

/// What an observer depends on.
#[derive(Clone, Debug)]
struct Observer {
    settings: SourceSettings,
    rhythm: Rhythm,
    tenants: Vec<TenantId>,
    context: String,
    /// Whose canaries it can tell, and how they are written, in the order of the topology, which only grows.
    templates: Arc<[(TenantCode, Template)]>,
}

impl Observer {
    /// Whether it does what `next` would do.
    ///
    /// It does not know tenants that were added since. It finds their canaries if they leak to its source, but cannot
    /// compare them with what was sent.
    fn goes_on_as(&self, next: &Self) -> bool {
        let Self { settings, rhythm, tenants, context, templates } = next;
        let are_alike = self.templates.iter().zip(templates.iter()).all(|(mine, theirs)| mine == theirs);
        self.settings == *settings
            && self.rhythm == *rhythm
            && self.tenants == *tenants
            && self.context == *context
            && are_alike
    }
}

/// What runs.
pub(super) struct Roster {
    inputs: mpsc::Sender<Input>,
    reports: mpsc::Sender<Report>,
    /// What observers of one kind share, as long as the process runs.
    shared: observe::Shared,
    current: Current,
}

/// What runs for one configuration.
#[derive(Clone, Default)]
pub(super) struct Current {
    /// Every source that was ever read, so that one that comes back gets its id back.
    places: BTreeMap<Place, SourceId>,
    observers: BTreeMap<SourceId, Observer>,
    injectors: HashMap<Destination, WeakOutbound>,
    evidence: BTreeMap<SourceId, Arc<dyn Evidence>>,
    log_groups: BTreeMap<TenantId, Vec<Arc<dyn Evidence>>>,
}

/// What has to begin for a configuration, before anything does.
pub(super) struct Next {
    pub(super) current: Current,
    pub(super) tasks: Vec<Task>,
    /// The observers that begin.
    pub(super) polled: Vec<(SourceId, Polled)>,
    /// Every tenant of the configuration.
    pub(super) lanes: BTreeMap<TenantId, LaneChange>,
}

impl Roster {
    /// Nothing runs yet. Observers will send to `inputs`, injectors to `reports`.
    pub(super) fn new(inputs: mpsc::Sender<Input>, reports: mpsc::Sender<Report>) -> Self {
        Self { inputs, reports, shared: observe::Shared::default(), current: Current::default() }
    }

    /// For each source of a configuration, the source of `topology` that reads the same events.
    pub(super) fn same(&self, config: &Config, topology: &Topology) -> Vec<Option<SourceId>> {
        let next = config.topology();
        let own =
            config.sources.iter().map(|source| self.current.places.get(&place(config, source)).copied());
        // The drill's sources come last; they have no settings.
        let of_drill = next.sources().iter().skip(config.sources.len()).map(|source| {
            let name = &next.stage(source.stage).name;
            let stage = topology.stage_ids().find(|id| topology.stage(*id).name == *name)?;
            Some(topology.source_of(topology.drill()?, stage))
        });
        own.chain(of_drill).collect()
    }

    /// Builds what a configuration needs and does not run yet, with the ids that its tenants and sources have in
    /// the topology of `common`. Nothing of it is started. `before` is the configuration in force with the engine's
    /// topology, if there is one.
    pub(super) fn plan(
        &self,
        common: &Common,
        config: &Config,
        before: Option<(&Config, &Topology)>,
        tenants: &[TenantId],
        sources: &[SourceId],
    ) -> anyhow::Result<Next> {
        let mut current = self.current.clone();
        // The engine drops those of a tenant that has left.
        let runs = |id: &SourceId| before.is_some_and(|(_, engine)| engine.has_source(*id));
        current.observers.retain(|id, _| runs(id) && common.topology.has_source(*id));
        let mut next = Next { current, tasks: Vec::new(), polled: Vec::new(), lanes: BTreeMap::new() };
        for (source, id) in config.sources.iter().zip(sources) {
            next.current.places.insert(place(config, source), *id);
            next.current.evidence.insert(*id, source.settings.evidence());
            self.observe(common, source, *id, &mut next)?;
        }
        let mut injectors = HashMap::new();
        for (tenant, id) in config.tenants.iter().zip(tenants) {
            let outbound = self.outbound(common, tenant, &mut injectors, &mut next.tasks);
            let same = |other: &Tenant| other.name == tenant.name && leaves_alike(other, tenant);
            let stays = before.is_some_and(|(before, _)| before.tenants.iter().any(same));
            let lane = if stays {
                LaneChange::Stays
            } else {
                LaneChange::Is { sizes: tenant.sizes.clone(), outbound }
            };
            next.lanes.insert(*id, lane);
            next.current.log_groups.insert(*id, log_groups(tenant));
        }
        next.current.injectors = injectors.into_iter().map(|(key, it)| (key, it.downgrade())).collect();
        Ok(next)
    }

    /// Says that what was planned runs now.
    pub(super) fn advance(&mut self, next: Current) {
        self.current = next;
    }

    /// What shows what sources hold, by their ids.
    pub(super) fn evidence(&self) -> BTreeMap<SourceId, Arc<dyn Evidence>> {
        self.current.evidence.clone()
    }

    /// What shows what log groups hold, by the ids of their tenants.
    pub(super) fn log_groups(&self) -> BTreeMap<TenantId, Vec<Arc<dyn Evidence>>> {
        self.current.log_groups.clone()
    }

    fn observe(&self, common: &Common, source: &Source, id: SourceId, next: &mut Next) -> anyhow::Result<()> {
        let Common { topology, clients, recognizer, end, clock } = common;
        let clock = clock.wall();
        let site =
            observe::Site { topology, source: id, rhythm: source.rhythm, clients, recognizer, clock: &clock };
        let observer = Observer {
            settings: source.settings.clone(),
            rhythm: source.rhythm,
            tenants: topology.source(id).tenants.clone(),
            context: source.settings.context(&site),
            templates: recognizer.templates.clone(),
        };
        if next.current.observers.get(&id).is_some_and(|present| present.goes_on_as(&observer)) {
            return Ok(());
        }
        let (to_loop, wanted) = watch::channel(Default::default());
        let stop = end.child_token();
        let channels =
            pace::Channels { source: id, wanted, reports: self.inputs.clone(), stop: stop.clone() };
        let polling = source.settings.watch(&site, &self.shared, channels)?;
        next.tasks.push(Task::new(format!("observe {}", source.name), polling).until(stop.clone()));
        next.polled.push((id, Polled::new(to_loop, stop)));
        next.current.observers.insert(id, observer);
        Ok(())
    }

    /// The queues to a tenant's log groups. Tenants that share a log group share its injector, so that all
    /// canaries that are due for it leave in one call.
    fn outbound(
        &self,
        common: &Common,
        tenant: &Tenant,
        injectors: &mut HashMap<Destination, Outbound>,
        tasks: &mut Vec<Task>,
    ) -> Vec<Outbound> {
        let mut all = Vec::new();
        for log_group in &tenant.log_groups {
            let key = (tenant.account.clone(), log_group.clone(), tenant.log_stream.clone());
            let running = || self.current.injectors.get(&key).and_then(WeakOutbound::upgrade);
            let outbound = match injectors.get(&key).cloned().or_else(running) {
                Some(outbound) => outbound,
                None => {
                    let (queue, due) = mpsc::channel(OUTBOUND);
                    let unused = CancellationToken::new();
                    let injector = build::injector(tenant, log_group, &common.clients, &common.clock.wall());
                    let work = injecting::run(injector, due, self.reports.clone(), common.end.clone());
                    tasks.push(Task::new(format!("inject {log_group}"), work).until(unused.clone()));
                    Outbound::new(queue, unused)
                }
            };
            injectors.insert(key, outbound.clone());
            all.push(outbound);
        }
        all
    }
}

fn place(config: &Config, source: &Source) -> Place {
    let stage = config.stages[usize::from(source.stage.0)].name.clone();
    (stage, source.settings.kind(), source.settings.identity())
}

/// Whether canaries of two tenants of the same name leave in the same way.
fn leaves_alike(a: &Tenant, b: &Tenant) -> bool {
    let of = |tenant: &Tenant| {
        (tenant.log_groups.clone(), tenant.log_stream.clone(), tenant.account.clone(), tenant.sizes.clone())
    };
    of(a) == of(b)
}

/// What shows the canaries of a tenant where they were put.
fn log_groups(tenant: &Tenant) -> Vec<Arc<dyn Evidence>> {
    let evidence = |group: &String| -> Arc<dyn Evidence> {
        Arc::new(cloudwatch_logs::Settings::new(tenant.account.clone(), group.as_str()))
    };
    tenant.log_groups.iter().map(evidence).collect()
}

#[cfg(test)]
mod tests;
