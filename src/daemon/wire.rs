//! Joins the parts of a daemon. Each function takes what it needs from the configuration and returns parts
//! and tasks that have not been started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::drill::{self, DrillSource};
use super::engine::{self, Agenda, Change, Engine, Lane, LaneChange};
use super::figures::SharedFigures;
use super::hold::{Outbound, Polled};
use super::last_scrape::Scrapes;
use super::log_events::EventLog;
use super::reload::Reloads;
use super::roster::Roster;
use super::store_writer::{OpenedStore, StoreWriter};
use super::supervisor::Task;
use super::{descriptors, log_level, readiness, store_writer};
use crate::cloud::Clients;
use crate::config::{self, Config};
use crate::domain::aggregates::{self, Aggregates};
use crate::domain::conditions::Assessment;
use crate::domain::drill::{DrillProof, Drills};
use crate::domain::incidents::Incidents;
use crate::domain::sighting::Wanted;
use crate::domain::tag::InstanceCode;
use crate::domain::time::WallClock;
use crate::domain::topology::{Role, SourceId, TenantId, Topology};
use crate::domain::tracker::{self, Changes, Input, Snapshot, Tracker};
use crate::export::{self, Exporter};
use crate::inject::Report;
use crate::metrics::Metrics;
use crate::observe::Recognizer;
use crate::store::{LoadLimits, Naming};
use crate::web::{self, App, Reload};

/// Inputs that may wait for the engine. If it is full, observers wait, and their watermarks age.
pub(super) const INPUTS: usize = 1_024;
/// Size of the drill's canaries in bytes. They are never put anywhere.
pub(super) const DRILL_SIZE: u32 = 500;
/// Commands that may wait for the drill.
const COMMANDS: usize = 16;
/// Canaries that may wait for an injector or the drill; more are refused and counted.
pub(super) const OUTBOUND: usize = 1_000;
/// How old the last snapshot may be before `/healthz` fails. The engine publishes at least every second.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// How many finished traces the store keeps: this many delivered ones, and as many failed ones.
const MAX_FINISHED_TRACES: usize = 100_000;

/// What several parts need.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) topology: Arc<Topology>,
    pub(super) clients: Clients,
    pub(super) recognizer: Recognizer,
    pub(super) clock: ProbeClock,
    /// Ends every task.
    pub(super) end: CancellationToken,
}

/// The engine's ends of the channels to all other tasks.
pub(super) struct Channels {
    /// The observers.
    pub(super) polled: BTreeMap<SourceId, Polled>,
    /// The tenants that get canaries.
    pub(super) lanes: BTreeMap<TenantId, LaneChange>,
    /// From the observers.
    pub(super) inputs: mpsc::Receiver<Input>,
    /// From the injectors.
    pub(super) puts: mpsc::Receiver<Report>,
    /// From who reads the configuration again.
    pub(super) changes: mpsc::Receiver<Change>,
    /// What came of that.
    pub(super) reloads: watch::Receiver<Reloads>,
    /// What is known of drills.
    pub(super) drills: Option<watch::Receiver<Drills>>,
}

/// The drill's pipeline as a task, its queue of canaries, the channels of its wanted traces, and what page
/// and metrics are told of it.
pub(super) struct DrillWires {
    pub(super) task: Task,
    pub(super) tenant: TenantId,
    pub(super) outbound: Outbound,
    pub(super) polled: Vec<(SourceId, Polled)>,
    pub(super) status: watch::Receiver<Drills>,
    pub(super) commands: mpsc::Sender<drill::Command>,
}

/// Makes the pipeline of the tenant of drills; `None` if there is none.
pub(super) fn wire_drill(
    common: &Common,
    settings: Option<&config::Drill>,
    proof: Option<DrillProof>,
    puts: mpsc::Sender<Report>,
    inputs: mpsc::Sender<Input>,
) -> Option<DrillWires> {
    let map = &*common.topology;
    let (settings, tenant) = settings.zip(map.drill())?;
    let (mut polled, mut sources) = (Vec::new(), Vec::new());
    for stage in map.stage_ids() {
        let (to_task, at_task) = watch::channel(Wanted::default());
        let path = std::iter::successors(Some(stage), |stage| map.stage(*stage).parent);
        let hops = u32::try_from(path.count()).unwrap_or(u32::MAX);
        let (id, is_end) = (map.source_of(tenant, stage), map.end() == stage);
        let is_reached = map.stage(stage).role != Role::DeadLetter;
        polled.push((id, Polled::of_drill(to_task)));
        sources.push(DrillSource { id, hops, is_end, is_reached, wanted: at_task });
    }
    let (outbound, canaries) = mpsc::channel(OUTBOUND);
    let (commands, to_obey) = mpsc::channel(COMMANDS);
    let (status, shown) = watch::channel(Drills::restored(proof));
    let channels = drill::Channels { outbound: canaries, puts, inputs, commands: to_obey, status };
    let running = drill::run(settings.clone(), sources, channels, common.clock.wall(), common.end.clone());
    // Its task ends with the daemon.
    let outbound = Outbound::new(outbound, CancellationToken::new());
    let task = Task::new("drill", running);
    Some(DrillWires { task, tenant, outbound, polled, status: shown, commands })
}

/// Opens the store and loads what a previous run left in it, which the tracker must know before it starts.
pub(super) async fn open_store(
    config: &Config,
    topology: &Arc<Topology>,
    clock: &WallClock,
) -> anyhow::Result<OpenedStore> {
    let probe = &config.probe;
    let name = probe.instance.clone();
    let naming = if probe.instance_from_host { Naming::Host(name) } else { Naming::Configured(name) };
    let tracker::Settings { remember, remember_of_tenant, .. } = config.tracker_settings();
    let limits = LoadLimits {
        since: clock.now() - config.store.keep,
        max_delivered: remember,
        max_of_tenant: remember_of_tenant,
    };
    let settings =
        store_writer::Settings::new(config.store.path.clone(), MAX_FINISHED_TRACES, config.store.keep);
    StoreWriter::open(settings, topology.clone(), naming, limits, clock.clone()).await.context("store.path")
}

/// Builds the engine, with a tracker restored from the store and its first snapshot already in the metrics.
pub(super) fn wire_engine(
    common: &Common,
    config: &Config,
    metrics: Metrics,
    store: OpenedStore,
    scrapes: Arc<Scrapes>,
    channels: Channels,
    exporter: Option<Exporter>,
) -> Engine {
    let OpenedStore { writer, instance, mut loaded } = store;
    let Common { topology, clients, recognizer, clock, .. } = common;
    let now = clock.now();
    let instance = InstanceCode::of_run(&instance.name, now);
    let settings = tracker::Settings { instance, ..config.tracker_settings() };
    let keys = recognizer.keys.clone();
    let mut tracker = Tracker::new(topology.clone(), settings, now).with_plan(keys.clone());
    for (id, source) in topology.source_ids().zip(&config.sources) {
        tracker.expect_schema(id, source.settings.expected_schema());
    }
    let figures = aggregates::Settings { slo: settings.slo, give_up: settings.give_up };
    let mut figures = Aggregates::new(topology.clone(), figures, now);
    figures.restore(std::mem::take(&mut loaded.aggregates), now);
    let mut log = EventLog::default();
    let criteria = config.criteria();
    let mut incidents = Incidents::new(criteria.over_after);
    incidents.restore(std::mem::take(&mut loaded.episodes));
    for event in tracker.restore(loaded, now) {
        metrics.record(&event, now);
        log.write(&event, topology, now);
    }
    log.finish();
    // Before the first scrape can come, so that gauges have values from the start.
    let first = Snapshot { episodes: incidents.shown(), ..tracker.snapshot(now) };
    metrics.show(&first);
    metrics.show_conditions(&Assessment::new(&first, &criteria));
    let lanes = channels.lanes.into_iter().filter_map(|(tenant, lane)| match lane {
        LaneChange::Is { sizes, outbound } => {
            let spec = topology.tenant(tenant);
            let schedule = engine::schedule(now, keys.plan(spec.code, spec.interval));
            Some((tenant, Lane::new(schedule, sizes, outbound)))
        }
        // There is nothing before.
        LaneChange::Stays => None,
    });
    Engine {
        tracker,
        topology: topology.clone(),
        metrics,
        keys: keys.clone(),
        instance,
        store: writer,
        lanes: lanes.collect(),
        agenda: Agenda::default(),
        polled: channels.polled,
        snapshots: watch::Sender::new(Arc::new(first)),
        inputs: channels.inputs,
        puts: channels.puts,
        changes: channels.changes,
        reloads: channels.reloads,
        budgets: clients.budgets.clone(),
        in_force: None,
        quiet_since: BTreeMap::new(),
        clock: clock.clone(),
        stop_grace: config.probe.stop_grace,
        scrapes,
        criteria,
        figures: SharedFigures::new(figures),
        incidents,
        exporter,
        drills: channels.drills,
        unsaved: Changes::default(),
    }
}

/// Makes the task that exports finished traces, and the engine's end of its queue; `None` if they are not exported.
pub(super) fn wire_export(
    common: &Common,
    config: &Config,
    metrics: &Metrics,
) -> (Option<Task>, Option<Exporter>) {
    let Some(config::Otlp { endpoint, headers, sample, proxy }) = config.otlp.clone() else {
        return (None, None);
    };
    let settings = export::Settings { endpoint, headers, sample, proxy };
    let source = export::Source {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: config.probe.instance.clone(),
    };
    let (exporter, queue) = Exporter::new(&settings, metrics.exports());
    let exporting = export::run(settings, source, queue, metrics.exports(), common.end.clone());
    (Some(Task::new("export traces", exporting)), Some(exporter))
}

/// Makes the task that serves the pages on a port that is already open, and what replaces their inputs when the
/// configuration changes.
pub(super) fn wire_pages(
    common: &Common,
    config: &Config,
    engine: &Engine,
    listener: TcpListener,
    gate: Arc<web::Gate>,
    app: App,
) -> (Task, watch::Sender<App>) {
    let counters = engine.metrics.connections();
    let apps = watch::Sender::new(app);
    let pages = web::router(web::Apps::new(apps.subscribe()));
    let pages = gate.clone().guard(pages, &counters);
    let pages = web::only_for_hosts(pages, &config.web.hosts, &counters);
    let most = config.web.max_connections.min(descriptors::limit() / 2);
    let limits = web::Limits::new(most, config.web.max_connections_per_peer);
    let serving = web::serve(listener, pages, gate, limits, counters, common.end.clone());
    (Task::new("serve pages", serving), apps)
}

/// The inputs of the pages.
pub(super) fn app(
    config: &Config,
    clock: &WallClock,
    engine: &Engine,
    scrapes: &Arc<Scrapes>,
    roster: &Roster,
    drill: Option<mpsc::Sender<drill::Command>>,
    reload: Option<Reload>,
) -> App {
    let tell = |command: drill::Command| {
        let commands = drill.clone();
        // A full queue has one of each waiting.
        move || {
            let _full = commands.as_ref().map(|commands| commands.try_send(command));
        }
    };
    let drill = drill.as_ref().map(|_| web::DrillControl {
        begin: Arc::new(tell(drill::Command::Begin)),
        rang: Arc::new(tell(drill::Command::Rang)),
    });
    let snapshot = engine.snapshots.subscribe();
    let (metrics, keys, scrapes) = (engine.metrics.clone(), engine.keys.clone(), scrapes.clone());
    let (figures, snapshots) = (engine.figures.clone(), snapshot.clone());
    let ready = readiness::ready(snapshot.clone(), clock.clone(), clock.now(), config.probe.warm_up);
    App {
        snapshot,
        clock: clock.clone(),
        settings: Arc::new(page_settings(config, roster)),
        config: Arc::new(config.to_json_without_secrets()),
        ready: Arc::new(ready),
        history: Arc::new(move |selection| figures.read(selection, &snapshots)),
        scrape: Arc::new(move |format| {
            scrapes.note();
            metrics.render(format)
        }),
        sign: Arc::new(move |tag| keys.sign(tag)),
        drill,
        reload,
        log_level: config.web.log_level.then(log_level::control).flatten(),
    }
}

/// What the pages take from a configuration.
pub(super) fn page_settings(config: &Config, roster: &Roster) -> web::Settings {
    web::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runbook: config.probe.runbook.clone(),
        external_url: config.web.external_url.clone(),
        criteria: config.criteria(),
        give_up: config.probe.give_up,
        remember: config.probe.remember,
        stale_after: STALE_AFTER,
        pipeline: config.pipeline.clone(),
        endpoints: config.tool_endpoints(),
        evidence: roster.evidence(),
        log_groups: roster.log_groups(),
    }
}
