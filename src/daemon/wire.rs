//! Joins the parts of a daemon: each function takes what it needs of the configuration, and gives back parts and tasks
//! that have not been started.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::ProbeClock;
use super::engine::{self, Engine, Lane};
use super::last_scrape::Scrapes;
use super::store_writer::{OpenedStore, StoreWriter};
use super::supervisor::Task;
use super::{build, injecting, random, readiness, store_writer};
use crate::cloud::Clients;
use crate::config::{Config, Source, Tenant};
use crate::domain::sighting::Wanted;
use crate::domain::tag::TenantCode;
use crate::domain::time::WallClock;
use crate::domain::topology::Topology;
use crate::domain::tracker::{self, Input, Tracker};
use crate::inject::{CanaryLine, Report};
use crate::metrics::Metrics;
use crate::observe::{self, Recognizer, pace};
use crate::store::{LoadLimits, Naming};
use crate::web;

/// Inputs that may wait for the engine. Observers wait when it is full, which shows as the age of their watermarks.
pub(super) const INPUTS: usize = 1_024;
/// Canaries that may wait for an injector; beyond it they are refused, and counted.
const OUTBOUND: usize = 1_000;
/// How old the last snapshot may be before `/healthz` fails: the engine publishes every second.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// Most traces that the store keeps of those that went well, and of those that did not.
const KEEP_TRACES: usize = 100_000;

/// What every part is joined to.
pub(super) struct Common {
    pub(super) topology: Arc<Topology>,
    pub(super) clients: Clients,
    pub(super) recognizer: Recognizer,
    pub(super) clock: ProbeClock,
    /// Ends everything.
    pub(super) end: CancellationToken,
}

/// The engine's ends of the channels to all other tasks.
pub(super) struct Channels {
    /// To each source's loop.
    pub(super) wanted: Vec<watch::Sender<Wanted>>,
    /// To the injector of each tenant.
    pub(super) outbound: Vec<mpsc::Sender<CanaryLine>>,
    /// From the observers.
    pub(super) inputs: mpsc::Receiver<Input>,
    /// From the injectors.
    pub(super) puts: mpsc::Receiver<Report>,
}

/// One loop for each source, and what tells it what to look for.
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
        let (tell, told) = watch::channel(Default::default());
        wanted.push(tell);
        let ends = pace::Channels { source: id, wanted: told, reports: inputs.clone(), stop: end.clone() };
        let site =
            observe::Site { topology, source: id, rhythm: source.rhythm, clients, recognizer, clock: &clock };
        let polling = source.settings.watch(&site, &shared, ends)?;
        tasks.push(Task::new(format!("observe {}", source.name), polling));
    }
    Ok((tasks, wanted))
}

/// One injector for each log group, and the queue of each tenant to its own.
pub(super) fn wire_injectors(
    common: &Common,
    tenants: &[Tenant],
    puts: &mpsc::Sender<Report>,
) -> anyhow::Result<(Vec<Task>, Vec<mpsc::Sender<CanaryLine>>)> {
    let mut tasks = Vec::new();
    let mut queues = vec![None; tenants.len()];
    for destination in build::destinations(tenants, &common.clients, &common.clock.wall()) {
        let (outbound, due) = mpsc::channel(OUTBOUND);
        for tenant in destination.tenants {
            queues[usize::from(tenant.0)] = Some(outbound.clone());
        }
        let injecting = injecting::run(destination.injector, due, puts.clone(), common.end.clone());
        tasks.push(Task::new(destination.name, injecting));
    }
    let queues = queues.into_iter().map(|queue| queue.context("a tenant has no log group"));
    Ok((tasks, queues.collect::<anyhow::Result<_>>()?))
}

/// Opens the store and reads what a previous run left in it, which the tracker must know before it begins.
pub(super) async fn open_store(
    config: &Config,
    topology: &Arc<Topology>,
    clock: &WallClock,
) -> anyhow::Result<OpenedStore> {
    let probe = &config.probe;
    let name = probe.instance.clone();
    let naming = if probe.instance_is_the_host { Naming::Host(name) } else { Naming::Configured(name) };
    let tracker::Settings { remember, remember_failures, .. } = config.tracker_settings();
    let limits = LoadLimits {
        since: clock.now() - config.store.keep,
        delivered: remember,
        failures: remember_failures,
    };
    let settings = store_writer::Settings::new(config.store.path.clone(), KEEP_TRACES, config.store.keep);
    StoreWriter::open(settings, topology.clone(), naming, limits, clock.clone()).await.context("store.path")
}

/// The engine, with a tracker that knows what the store held and has been shown once.
pub(super) fn wire_engine(
    common: &Common,
    config: &Config,
    metrics: Metrics,
    store: OpenedStore,
    channels: Channels,
) -> Engine {
    let OpenedStore { writer, instance, loaded } = store;
    let Common { topology, recognizer, clock, .. } = common;
    let now = clock.now();
    let instance = instance.code;
    let settings = tracker::Settings { instance, ..config.tracker_settings() };
    let mut tracker = Tracker::new(topology.clone(), settings, now);
    for (id, source) in topology.source_ids().zip(&config.sources) {
        tracker.expect_schema(id, source.settings.expected_schema());
    }
    // Nothing was read yet, so no schema can differ.
    let _no_events = tracker.restore(loaded, now);
    // Shown before the first scrape can come, so that gauges, too, are there from the start.
    let first = tracker.snapshot(now);
    metrics.show(&first);
    let lanes = config.tenants.iter().zip(channels.outbound).map(|(tenant, outbound)| {
        let seed = TenantCode::of(&tenant.name).value();
        let schedule = engine::schedule(now, tenant.interval, seed);
        Lane { schedule, sizes: tenant.sizes.clone(), outbound }
    });
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
    }
}

/// The task that serves the pages on a port that is open already.
pub(super) fn wire_pages(
    common: &Common,
    config: &Config,
    engine: &Engine,
    scrapes: &Arc<Scrapes>,
    listener: TcpListener,
) -> Task {
    let app = web::router(app(config, &common.clock.wall(), engine, scrapes));
    let shutdown = common.end.clone().cancelled_owned();
    Task::new("serve pages", async move {
        // An error here is one of accepting connections; axum goes on after those by itself.
        let _ended = axum::serve(listener, app).with_graceful_shutdown(shutdown).await;
    })
}

fn app(config: &Config, clock: &WallClock, engine: &Engine, scrapes: &Arc<Scrapes>) -> web::App {
    let snapshot = engine.snapshots.subscribe();
    let (metrics, keys, scrapes) = (engine.metrics.clone(), engine.keys.clone(), scrapes.clone());
    let settings = web::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runbook: config.probe.runbook.clone(),
        criteria: config.criteria(),
        give_up: config.probe.give_up,
        remember: config.probe.remember,
        stale_after: STALE_AFTER,
        evidence: config.sources.iter().map(|source| source.settings.evidence()).collect(),
    };
    let ready = readiness::ready(snapshot.clone(), clock.clone(), clock.now(), config.probe.warm_up);
    web::App {
        snapshot,
        clock: clock.clone(),
        settings: Arc::new(settings),
        config: Arc::new(config.to_json_without_secrets()),
        ready: Arc::new(ready),
        kept: Arc::new(readiness::kept(engine.store.state())),
        scrape: Arc::new(move |format| {
            scrapes.note();
            metrics.render(format)
        }),
        sign: Arc::new(move |tag| keys.sign(tag)),
    }
}
