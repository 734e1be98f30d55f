//! Joins the parts of a daemon. Each function takes what it needs from the configuration and returns parts
//! and tasks that have not been started.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::drill::{self, DrillSource};
use super::engine::{self, Engine, Lane};
use super::figures::SharedFigures;
use super::last_scrape::Scrapes;
use super::log_events::EventLog;
use super::store_writer::{OpenedStore, StoreWriter};
use super::supervisor::Task;
use super::{build, descriptors, injecting, log_level, random, readiness, store_writer};
use crate::cloud::Clients;
use crate::config::{self, Config, Source, Tenant};
use crate::domain::aggregates::{self, Aggregates};
use crate::domain::conditions::Assessment;
use crate::domain::drill::{DrillProof, Drills};
use crate::domain::evidence::Evidence;
use crate::domain::incidents::Incidents;
use crate::domain::sighting::Wanted;
use crate::domain::tag::InstanceCode;
use crate::domain::tag::TenantCode;
use crate::domain::time::WallClock;
use crate::domain::topology::{Role, Topology};
use crate::domain::tracker::{self, Changes, Input, Snapshot, Tracker};
use crate::export::{self, Exporter};
use crate::inject::{CanaryLine, Report};
use crate::metrics::Metrics;
use crate::observe::{self, Recognizer, cloudwatch_logs, pace};
use crate::store::{LoadLimits, Naming};
use crate::web;

/// Inputs that may wait for the engine. If it is full, observers wait, and their watermarks age.
pub(super) const INPUTS: usize = 1_024;
/// Size of the drill's canaries in bytes. They are never put anywhere.
const DRILL_SIZE: u32 = 500;
/// Commands that may wait for the drill.
const COMMANDS: usize = 16;
/// Canaries that may wait for an injector; more are refused and counted.
const OUTBOUND: usize = 1_000;
/// How old the last snapshot may be before `/healthz` fails. The engine publishes at least every second.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// How many finished traces the store keeps: this many delivered ones, and as many failed ones.
const MAX_FINISHED_TRACES: usize = 100_000;

/// What several parts need.
pub(super) struct Common {
    pub(super) topology: Arc<Topology>,
    pub(super) clients: Clients,
    pub(super) recognizer: Recognizer,
    pub(super) clock: ProbeClock,
    /// Ends every task.
    pub(super) end: CancellationToken,
}

/// The queues to the injectors of one tenant, by log group.
type LogGroupQueues = Vec<mpsc::Sender<CanaryLine>>;

/// The engine's ends of the channels to all other tasks.
pub(super) struct Channels {
    /// To the poll loops, by source.
    pub(super) wanted: Vec<watch::Sender<Wanted>>,
    /// To the injectors, by tenant.
    pub(super) outbound: Vec<LogGroupQueues>,
    /// From the observers.
    pub(super) inputs: mpsc::Receiver<Input>,
    /// From the injectors.
    pub(super) puts: mpsc::Receiver<Report>,
    /// To the drill.
    pub(super) drill: Option<mpsc::Sender<CanaryLine>>,
    /// What is known of drills.
    pub(super) drills: Option<watch::Receiver<Drills>>,
}

/// Makes one poll loop for each source, and the channel that carries its wanted traces.
pub(super) fn wire_observers(
    common: &Common,
    sources: &[Source],
    inputs: &mpsc::Sender<Input>,
) -> anyhow::Result<(Vec<Task>, Vec<watch::Sender<Wanted>>)> {
    let Common { topology, clients, recognizer, end, clock } = common;
    let clock = clock.wall();
    let shared = observe::Shared::default();
    let (mut tasks, mut wanted) = (Vec::new(), Vec::new());
    for (id, source) in topology.source_ids().zip(sources) {
        let (to_loop, at_loop) = watch::channel(Default::default());
        wanted.push(to_loop);
        let channels =
            pace::Channels { source: id, wanted: at_loop, reports: inputs.clone(), stop: end.clone() };
        let site =
            observe::Site { topology, source: id, rhythm: source.rhythm, clients, recognizer, clock: &clock };
        let polling = source.settings.watch(&site, &shared, channels)?;
        tasks.push(Task::new(format!("observe {}", source.name), polling));
    }
    Ok((tasks, wanted))
}

/// Makes one injecting task for each log group, and returns each tenant's queues to the injectors of its log
/// groups.
pub(super) fn wire_injectors(
    common: &Common,
    tenants: &[Tenant],
    puts: &mpsc::Sender<Report>,
) -> anyhow::Result<(Vec<Task>, Vec<LogGroupQueues>)> {
    let mut tasks = Vec::new();
    let mut queues: Vec<_> = tenants.iter().map(|tenant| vec![None; tenant.log_groups.len()]).collect();
    for destination in build::destinations(tenants, &common.clients, &common.clock.wall()) {
        let (outbound, due) = mpsc::channel(OUTBOUND);
        for (tenant, group) in destination.tenants {
            queues[usize::from(tenant.0)][usize::from(group.0)] = Some(outbound.clone());
        }
        let injecting = injecting::run(destination.injector, due, puts.clone(), common.end.clone());
        tasks.push(Task::new(destination.name, injecting));
    }
    let queues = queues.into_iter().map(|of_tenant| of_tenant.into_iter().collect::<Option<Vec<_>>>());
    let queues: Option<Vec<_>> = queues.collect();
    Ok((tasks, queues.context("a log group has no injector")?))
}

/// The drill's pipeline as a task, its queue of canaries, the channels of its wanted traces, and what page
/// and metrics are told of it.
pub(super) struct DrillWires {
    pub(super) task: Task,
    pub(super) outbound: mpsc::Sender<CanaryLine>,
    pub(super) wanted: Vec<watch::Sender<Wanted>>,
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
    let (mut wanted, mut sources) = (Vec::new(), Vec::new());
    for stage in map.stage_ids() {
        let (to_task, at_task) = watch::channel(Wanted::default());
        wanted.push(to_task);
        let path = std::iter::successors(Some(stage), |stage| map.stage(*stage).parent);
        let hops = u32::try_from(path.count()).unwrap_or(u32::MAX);
        let (id, is_end) = (map.source_of(tenant, stage), map.end() == stage);
        let is_reached = map.stage(stage).role != Role::DeadLetter;
        sources.push(DrillSource { id, hops, is_end, is_reached, wanted: at_task });
    }
    let (outbound, canaries) = mpsc::channel(OUTBOUND);
    let (commands, to_obey) = mpsc::channel(COMMANDS);
    let (status, shown) = watch::channel(Drills::restored(proof));
    let channels = drill::Channels { outbound: canaries, puts, inputs, commands: to_obey, status };
    let running = drill::run(settings.clone(), sources, channels, common.clock.wall(), common.end.clone());
    Some(DrillWires { task: Task::new("drill", running), outbound, wanted, status: shown, commands })
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
    channels: Channels,
    exporter: Option<Exporter>,
) -> Engine {
    let OpenedStore { writer, instance, mut loaded } = store;
    let Common { topology, recognizer, clock, .. } = common;
    let now = clock.now();
    let instance = InstanceCode::of_run(&instance.name, now);
    let settings = tracker::Settings { instance, ..config.tracker_settings() };
    let mut tracker = Tracker::new(topology.clone(), settings, now);
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
    let lanes = config.tenants.iter().zip(channels.outbound).map(|(tenant, outbound)| {
        let seed = TenantCode::of(&tenant.name).value();
        let schedule = engine::schedule(now, tenant.interval, seed);
        Lane::new(schedule, tenant.sizes.clone(), outbound)
    });
    let drill_lane = topology.drill().zip(channels.drill).map(|(tenant, outbound)| {
        let spec = topology.tenant(tenant);
        let schedule = engine::schedule(now, spec.interval, spec.code.value());
        Lane::new(schedule, vec![DRILL_SIZE], vec![outbound])
    });
    let lanes = lanes.chain(drill_lane);
    Engine {
        tracker,
        topology: topology.clone(),
        metrics,
        keys: recognizer.keys.clone(),
        instance,
        store: writer,
        lanes: lanes.collect(),
        wanted: channels.wanted,
        snapshots: watch::Sender::new(Arc::new(first)),
        inputs: channels.inputs,
        puts: channels.puts,
        clock: clock.clone(),
        random: random::for_trace_id,
        stop_grace: config.probe.stop_grace,
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

/// Makes the task that serves the pages on a port that is already open.
pub(super) fn wire_pages(
    common: &Common,
    config: &Config,
    engine: &Engine,
    scrapes: &Arc<Scrapes>,
    listener: TcpListener,
    gate: Arc<web::Gate>,
    drill: Option<mpsc::Sender<drill::Command>>,
) -> Task {
    let counters = engine.metrics.connections();
    let pages = web::router(app(config, &common.clock.wall(), engine, scrapes, drill));
    let pages = gate.clone().guard(pages, &counters);
    let pages = web::only_for_hosts(pages, &config.web.hosts, &counters);
    let most = config.web.max_connections.min(descriptors::limit() / 2);
    let limits = web::Limits::new(most, config.web.max_connections_per_peer);
    Task::new("serve pages", web::serve(listener, pages, gate, limits, counters, common.end.clone()))
}

fn app(
    config: &Config,
    clock: &WallClock,
    engine: &Engine,
    scrapes: &Arc<Scrapes>,
    drill: Option<mpsc::Sender<drill::Command>>,
) -> web::App {
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
    let settings = web::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runbook: config.probe.runbook.clone(),
        external_url: config.web.external_url.clone(),
        criteria: config.criteria(),
        give_up: config.probe.give_up,
        remember: config.probe.remember,
        stale_after: STALE_AFTER,
        evidence: config.sources.iter().map(|source| source.settings.evidence()).collect(),
        log_groups: config.tenants.iter().map(log_groups).collect(),
    };
    let (figures, snapshots) = (engine.figures.clone(), snapshot.clone());
    let ready = readiness::ready(snapshot.clone(), clock.clone(), clock.now(), config.probe.warm_up);
    web::App {
        snapshot,
        clock: clock.clone(),
        settings: Arc::new(settings),
        config: Arc::new(config.to_json_without_secrets()),
        ready: Arc::new(ready),
        history: Arc::new(move |selection| figures.read(selection, &snapshots)),
        scrape: Arc::new(move |format| {
            scrapes.note();
            metrics.render(format)
        }),
        sign: Arc::new(move |tag| keys.sign(tag)),
        drill,
        log_level: config.web.log_level.then(log_level::control).flatten(),
    }
}

/// What shows the canaries of a tenant where they were put.
fn log_groups(tenant: &Tenant) -> Vec<Arc<dyn Evidence>> {
    let evidence = |group: &String| -> Arc<dyn Evidence> {
        Arc::new(cloudwatch_logs::Settings::new(tenant.account.clone(), group.as_str()))
    };
    tenant.log_groups.iter().map(evidence).collect()
}
