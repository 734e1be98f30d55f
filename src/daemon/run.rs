//! The running daemon: which tasks there are, how they are wired, and how it stops.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::build;
use super::clock::ProbeClock;
use super::engine::{self, Engine, Lane};
use super::last_scrape::Scrapes;
use super::store_writer::{self, StoreWriter};
use super::supervisor::Supervisor;
use super::{clock_error, injecting, readiness};
use crate::cloud::calls::Calls;
use crate::config::Config;
use crate::domain::steady::Offset;
use crate::domain::tag::TenantCode;
use crate::domain::time::WallClock;
use crate::domain::topology::Topology;
use crate::domain::tracker::{self, Tracker};
use crate::domain::verdict::Criteria;
use crate::metrics::{self, Ladder, Metrics};
use crate::observe::{self, pace};
use crate::store::{LoadLimits, Naming};
use crate::web;

/// Inputs that may wait for the engine. Observers wait when it is full, which shows as the age of their watermarks.
const INPUTS: usize = 1_024;
/// Canaries that may wait for an injector; beyond it they are refused, and counted.
const DEPARTURES: usize = 1_000;
/// Only traces that were planned within this time count for a verdict.
const VERDICT_WINDOW: Duration = Duration::from_secs(15 * 60);
/// How old the last snapshot may be before `/healthz` fails: the engine publishes every second.
const STALE_AFTER: Duration = Duration::from_secs(10);
/// How long tasks may take to end once there is nothing left to do.
const ENDING: Duration = Duration::from_secs(3);

/// A daemon that is built: its port is open, nothing runs yet.
pub struct Daemon {
    config: Config,
    clock: ProbeClock,
    listener: TcpListener,
    address: SocketAddr,
    engine: Engine,
    supervisor: Supervisor,
    /// Ends injection.
    stop: CancellationToken,
    /// Ends everything.
    end: CancellationToken,
}

impl Daemon {
    /// Builds everything and opens the port.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened, or credentials cannot be used.
    pub async fn new(config: Config, probe_clock: ProbeClock) -> anyhow::Result<Self> {
        crate::cloud::install_tls();
        let clock = probe_clock.wall();
        let listen = config.probe.listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().context("the port that was opened has no address")?;
        let calls = Calls::default();
        let clients = build::clients(&config, calls.clone()).await?;
        let topology = Arc::new(config.topology());
        let ladder = Ladder::new(&config.probe.buckets);
        let metrics = Metrics::new(topology.clone(), &ladder, so_far(calls), build::costs(&config))
            .context("the metrics contradict each other")?;
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let mut supervisor = Supervisor::default();

        let (inputs_in, inputs) = mpsc::channel(INPUTS);
        let recognizer = build::recognizer(&config);
        let mut wanted = Vec::new();
        let shared = observe::Shared::default();
        for (id, source) in topology.source_ids().zip(&config.sources) {
            let (tell, told) = watch::channel(Default::default());
            wanted.push(tell);
            let ends = pace::Ends { source: id, wanted: told, reports: inputs_in.clone(), stop: end.clone() };
            let site = build::site(&config, &topology, id, &clients, &recognizer, &clock);
            let looking = source.settings.watch(&site, &shared, ends)?;
            supervisor.start(format!("observe {}", source.name), looking);
        }

        if let Some(address) = clock_error::address() {
            let asking = clock_error::watch(address, clock_error::EVERY, inputs_in.clone(), end.clone());
            supervisor.start("ask how far off the clock is", asking);
        }

        let (puts_in, puts) = mpsc::channel(INPUTS);
        let mut queues = vec![None; config.tenants.len()];
        for destination in build::destinations(&config, &clients, &clock) {
            let (departures, due) = mpsc::channel(DEPARTURES);
            for tenant in destination.tenants {
                queues[usize::from(tenant.0)] = Some(departures.clone());
            }
            let injecting = injecting::run(destination.injector, due, puts_in.clone(), end.clone());
            supervisor.start(destination.name, injecting);
        }
        let now = clock.now();
        let lanes = config.tenants.iter().zip(queues).map(|(tenant, departures)| {
            let departures = departures.context("a tenant has no log group")?;
            let seed = TenantCode::of(&tenant.name).value();
            let schedule = engine::schedule(now, tenant.interval, seed);
            Ok(Lane { schedule, sizes: tenant.sizes.clone(), departures })
        });
        let lanes = lanes.collect::<anyhow::Result<Vec<_>>>()?;

        let started = open_store(&config, &topology, &clock).await?;
        let instance = started.instance.code;
        let settings = tracker::Settings { instance, ..config.tracker_settings() };
        let mut tracker = Tracker::new(topology.clone(), settings, now);
        for (id, source) in topology.source_ids().zip(&config.sources) {
            tracker.expect_schema(id, source.settings.expected_schema());
        }
        tracker.restore(started.loaded.traces, now);
        tracker.restore_violations(started.loaded.violations);
        // Nothing was read yet, so nothing can differ.
        let _no_events = tracker.restore_schemas(&started.loaded.schemas, now);
        // Shown before the first scrape can come, so that gauges, too, are there from the start.
        let first = tracker.snapshot(now);
        metrics.show(&first);
        let (snapshots, _) = watch::channel(Arc::new(first));
        let engine = Engine {
            tracker,
            topology,
            metrics,
            keys: recognizer.keys,
            instance,
            store: started.writer,
            lanes,
            wanted,
            snapshots,
            inputs,
            puts,
            clock: probe_clock.clone(),
            random: os_random,
            stop_grace: config.probe.stop_grace,
        };
        Ok(Self { config, clock: probe_clock, listener, address, engine, supervisor, stop, end })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `signal`, then stops in order: injection at once, observation when nothing is in flight any more or the
    /// grace period is over, the page last, once Prometheus has read what it came to.
    ///
    /// # Errors
    ///
    /// When a task died, with its name, and [`ClockStepped`] when the system's clock was set.
    pub async fn run(self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { config, clock, listener, address: _, engine, mut supervisor, stop, end } = self;
        let scrapes = Arc::new(Scrapes::default());
        let app = web::router(app(&config, &clock.wall(), &engine, &scrapes));
        let stop_grace = config.probe.stop_grace;
        let mut signalled = Instant::now();
        let serving = end.clone();
        supervisor.start("serve pages", async move {
            let shutdown = serving.cancelled_owned();
            // An error here is one of accepting connections; axum goes on after those by itself.
            let _ended = axum::serve(listener, app).with_graceful_shutdown(shutdown).await;
        });
        let (tell, mut told) = oneshot::channel();
        let running = engine.run(stop.clone());
        supervisor.start(ENGINE, async move {
            // Whoever waits for it outlives it.
            let _received = tell.send(running.await);
        });
        tokio::pin!(signal);
        let mut stepped = None;
        loop {
            tokio::select! {
                () = &mut signal, if !stop.is_cancelled() => {
                    signalled = Instant::now();
                    stop.cancel();
                }
                ended = supervisor.next_end() => {
                    let ended = ended.ok_or_else(|| anyhow!("all tasks ended"))?;
                    if let Some(panic) = ended.panic {
                        return Err(anyhow!("task `{}` died: {panic}", ended.task));
                    }
                    if ended.task == ENGINE && let Ok(engine::End::ClockStepped(by)) = told.try_recv() {
                        stepped = Some(ClockStepped(by));
                        signalled = Instant::now();
                    }
                    if ended.task == ENGINE && stop.is_cancelled() {
                        break;
                    }
                    // Injectors end by themselves once injection has ended; nothing else may.
                    if !stop.is_cancelled() {
                        return Err(anyhow!("task `{}` ended, which it must not while the daemon runs", ended.task));
                    }
                }
            }
        }
        scrapes.one_more(signalled + stop_grace).await;
        end.cancel();
        let all_ended = async { while supervisor.next_end().await.is_some() {} };
        if tokio::time::timeout(ENDING, all_ended).await.is_err() {
            let left: Vec<_> = supervisor.running().collect();
            info!(tasks = ?left, "these tasks did not end in time and are dropped");
            supervisor.abort().await;
        }
        stepped.map_or(Ok(()), |stepped| Err(stepped.into()))
    }
}

/// The daemon ended because the system's clock was set; the next one will be right.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("ended because the system's clock was set by {:+.3} s: start it again", .0.as_secs_f64())]
pub struct ClockStepped(pub Offset);

const ENGINE: &str = "engine";

/// Most traces that the store keeps of those that went well, and of those that did not.
const KEEP_TRACES: usize = 100_000;

async fn open_store(
    config: &Config,
    topology: &Arc<Topology>,
    clock: &WallClock,
) -> anyhow::Result<store_writer::OpenedStore> {
    let probe = &config.probe;
    let name = probe.instance.clone();
    let naming = if probe.instance_is_the_host { Naming::Host(name) } else { Naming::Configured(name) };
    let settings = config.tracker_settings();
    let limits = LoadLimits {
        since: clock.now() - config.store.keep,
        delivered: settings.remember,
        failures: settings.remember_failures,
    };
    let settings = store_writer::Settings::new(config.store.path.clone(), KEEP_TRACES, config.store.keep);
    StoreWriter::open(settings, topology.clone(), naming, limits, clock.clone()).await.context("store.path")
}

fn app(config: &Config, clock: &WallClock, engine: &Engine, scrapes: &Arc<Scrapes>) -> web::App {
    let snapshot = engine.snapshots.subscribe();
    let (metrics, keys, scrapes) = (engine.metrics.clone(), engine.keys.clone(), scrapes.clone());
    let intervals = config.tenants.iter().map(|tenant| tenant.interval);
    let settings = web::Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runbook: config.probe.runbook.clone(),
        criteria: Criteria {
            slo: config.probe.slo,
            window: VERDICT_WINDOW,
            interval: intervals.max().unwrap_or(config.probe.interval),
        },
        give_up: config.probe.give_up,
        remember: config.probe.remember,
        stale_after: STALE_AFTER,
        evidence: config.sources.iter().map(|source| source.settings.evidence()).collect(),
    };
    let shown = toml::from_str(&config.to_toml_without_secrets());
    let ready = readiness::ready(snapshot.clone(), clock.clone(), clock.now(), config.probe.warm_up);
    web::App {
        snapshot,
        clock: clock.clone(),
        settings: Arc::new(settings),
        config: Arc::new(shown.unwrap_or_default()),
        ready: Arc::new(ready),
        kept: Arc::new(readiness::kept(engine.store.state())),
        scrape: Arc::new(move |format| {
            scrapes.note();
            metrics.render(format)
        }),
        sign: Arc::new(move |tag| keys.sign(tag)),
    }
}

/// The clients' call counter as the metrics read it.
fn so_far(calls: Calls) -> metrics::CallsSoFar {
    Arc::new(move || {
        let all = calls.snapshot().into_iter();
        let call =
            |(service, operation, result, count): (&str, String, crate::cloud::calls::CallResult, u64)| {
                metrics::Calls {
                    service: service.to_owned(),
                    operation,
                    result: result.as_str().to_owned(),
                    count,
                }
            };
        all.map(call).collect()
    })
}

fn os_random() -> [u8; 10] {
    let mut bytes = [0; 10];
    // Without randomness ids could collide, which is worse than not running at all; on Linux this cannot fail once the
    // machine is up (getrandom(2)).
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
