//! The daemon in three steps: a [`Config`] holds values, a [`Daemon`] is built from it and runs nothing yet,
//! and a [`Running`] daemon holds what is needed to stop it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::clock::ProbeClock;
use super::engine::LaneChange;
use super::last_scrape::Scrapes;
use super::reload::{self, Again, Reloader, Reloading, Renewals};
use super::roster::{Next, Roster};
use super::supervisor::{Supervisor, Task};
use super::wire::{self, Channels, Common};
use super::{build, clock_error, engine, store_lock};
use crate::cloud::Clients;
use crate::cloud::budget::Budgets;
use crate::cloud::calls::Calls;
use crate::config::Config;
use crate::domain::steady::Offset;
use crate::metrics::{BucketBounds, Metrics, StageCosts};
use crate::web;

/// How long the engine may take beyond the grace period, to write what it knows. Only a store that hangs, or
/// tasks that leave it no processor, take longer.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// How long tasks may take to end after they were told to.
const ENDING: Duration = Duration::from_secs(3);
const ENGINE: &str = "engine";

/// A daemon that is built: its port and its store are open, and none of its tasks has been started.
#[derive(Debug)]
pub struct Daemon {
    scheme: &'static str,
    address: SocketAddr,
    /// Runs its tasks: the runtime in which it was built, because the port belongs to that.
    runtime: Handle,
    /// In the order in which they are started.
    tasks: Vec<Task>,
    handles: Handles,
}

/// A daemon whose tasks are running.
#[derive(Debug)]
pub struct Running {
    supervisor: Supervisor,
    handles: Handles,
}

/// What an orderly shutdown needs.
#[derive(Debug)]
struct Handles {
    /// Ends injection.
    stop: CancellationToken,
    /// Ends every task.
    end: CancellationToken,
    /// Receives why the engine ended.
    engine_end: oneshot::Receiver<engine::End>,
    scrapes: Arc<Scrapes>,
    stop_grace: Duration,
    reloader: Reloader,
    /// What a new configuration starts.
    new_tasks: mpsc::Receiver<Task>,
}

impl Daemon {
    /// Opens the port and the store, and builds every task. It starts no task and calls no watched service.
    ///
    /// # Errors
    ///
    /// If the port or the store cannot be opened, or credentials cannot be used. While another process holds the
    /// store, it waits for `store.lock_timeout`.
    pub async fn new(config: Config, clock: ProbeClock) -> anyhow::Result<Self> {
        Self::that_reloads(config, Again::Cannot("this daemon has no configuration file"), clock).await
    }

    /// The same for a daemon that may read its configuration again.
    ///
    /// # Errors
    ///
    /// As [`Daemon::new`].
    pub async fn that_reloads(config: Config, again: Again, clock: ProbeClock) -> anyhow::Result<Self> {
        crate::cloud::install_tls();
        let gate = Arc::new(gate(&config)?);
        let listen = config.probe.listen;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen} (probe.listen)"))?;
        let address = listener.local_addr().context("cannot read the address of the listening port")?;
        let calls = Calls::default();
        let clients = build::clients(&config.aws, &config.google, calls.clone()).await?;
        let budgets = Budgets::new(config.budgets.clone(), &calls);
        let clients = Clients { budgets: budgets.clone(), ..clients };
        let topology = Arc::new(config.topology());
        let bucket_bounds = BucketBounds::new(&config.probe.buckets);
        let costs = StageCosts {
            budgets: build::budgets_so_far(budgets, &clock),
            ..build::costs(&config.stages, &config)
        };
        let metrics = Metrics::new(topology.clone(), &bucket_bounds, build::calls_so_far(calls), costs)
            .context("cannot register the metrics")?;
        let recognizer = build::recognizer(&config.keyring, &topology);
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let common = Common { topology, clients, recognizer, clock, end: end.clone() };

        let (to_engine, inputs) = mpsc::channel(wire::INPUTS);
        let (reports, puts) = mpsc::channel(wire::INPUTS);
        let mut roster = Roster::new(to_engine.clone(), reports.clone());
        let tenants: Vec<_> = common.topology.tenant_ids().collect();
        let sources: Vec<_> = common.topology.source_ids().collect();
        let Next { current, mut tasks, polled, mut lanes } =
            roster.plan(&common, &config, None, &tenants, &sources)?;
        roster.advance(current);
        let mut polled: BTreeMap<_, _> = polled.into_iter().collect();
        let metadata = config.ecs_metadata.as_deref();
        tasks.extend(metadata.map(|base| clock_error::task(base, to_engine.clone(), end.clone())));
        let (store, listener) =
            store_lock::open(&config, &common, &metrics.connections(), gate.clone(), listener).await?;
        let proof = store.loaded.drill;
        let drill = wire::wire_drill(&common, config.drill.as_ref(), proof, reports, to_engine);
        let (mut drills, mut commands) = (None, None);
        if let Some(drill) = drill {
            tasks.push(drill.task);
            polled.extend(drill.polled);
            let lane = LaneChange::Is { sizes: vec![wire::DRILL_SIZE], outbound: vec![drill.outbound] };
            lanes.insert(drill.tenant, lane);
            (drills, commands) = (Some(drill.status), Some(drill.commands));
        }
        let (exporting, exporter) = wire::wire_export(&common, &config, &metrics);
        tasks.extend(exporting);
        let (reloading, ends) = reload::channels();
        let reload::Ends { reloader, changes, reloads, tasks: new_tasks } = ends;
        let channels = Channels { polled, lanes, inputs, puts, changes, reloads, drills };
        metrics.reloaded(Some(common.clock.now()));
        let scrapes = Arc::new(Scrapes::default());
        let engine =
            wire::wire_engine(&common, &config, metrics.clone(), store, scrapes.clone(), channels, exporter);
        let by_http = reloader.clone();
        let by_http = config.web.reload.then(|| -> web::Reload {
            Arc::new(move || {
                let reloader = by_http.clone();
                Box::pin(async move { reloader.reload().await })
            })
        });
        let app = wire::app(&config, &common.clock.wall(), &engine, &scrapes, &roster, commands, by_http);
        let (pages, apps) = wire::wire_pages(&common, &config, &engine, listener, gate.clone(), app);
        tasks.push(pages);
        let snapshots = engine.snapshots.subscribe();
        let stop_grace = config.probe.stop_grace;
        let renewals = Renewals::default();
        let reloading = Reloading {
            again,
            config,
            common,
            roster,
            metrics,
            snapshots,
            apps,
            channels: reloading,
            renewals,
        };
        tasks.push(Task::new("reload", reloading.run()));

        let (report_end, engine_end) = oneshot::channel();
        let running = engine.run(stop.clone());
        tasks.push(Task::new(ENGINE, async move {
            // The receiver is in the handles, which outlive the task.
            let _received = report_end.send(running.await);
        }));
        let handles = Handles { stop, end, engine_end, scrapes, stop_grace, reloader, new_tasks };
        let scheme = if gate.has_tls() { "https" } else { "http" };
        Ok(Self { scheme, address, runtime: Handle::current(), tasks, handles })
    }

    /// The address on which it listens, with the port that the system chose if the configured port is 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the port is spoken to: `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Starts every task.
    #[must_use = "dropping it aborts the tasks"]
    pub fn start(self) -> Running {
        let Self { scheme: _, address: _, runtime, tasks, handles } = self;
        let mut supervisor = Supervisor::new(runtime);
        for task in tasks {
            supervisor.start(task);
        }
        Running { supervisor, handles }
    }

    /// How long canaries in flight may still arrive after a signal.
    #[must_use]
    pub fn stop_grace(&self) -> Duration {
        self.handles.stop_grace
    }

    /// Asks for the configuration to be read again.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.handles.reloader.clone()
    }

    /// Starts the daemon and shuts it down after `signal`: see [`Running::until`].
    ///
    /// # Errors
    ///
    /// Those of [`Running::until`].
    pub async fn run(self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.start().until(signal).await
    }
}

impl Running {
    /// Runs until `signal`, then shuts down in order: injection ends at once, observation when nothing is in
    /// flight or the grace period is over, and the page last, after Prometheus has read the final counts. It
    /// ends within the grace period and a few seconds whatever the tasks do, if it is not polled by the
    /// threads that run them.
    ///
    /// # Errors
    ///
    /// If a task panicked or ended early, with its name, [`ClockStepped`] if the system clock was set, and if
    /// the engine stopped without a signal and did not end.
    pub async fn until(self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { mut supervisor, handles } = self;
        let Handles { stop, end, mut engine_end, scrapes, stop_grace, reloader: _, mut new_tasks } = handles;
        // When the stop was first observed. Without a signal, the engine stops itself if the clock is set.
        let (mut stopped_at, mut signalled) = (None, false);
        tokio::pin!(signal);
        loop {
            stopped_at = stopped_at.or_else(|| stop.is_cancelled().then(Instant::now));
            let abandon_at = stopped_at.unwrap_or_else(Instant::now) + stop_grace + LAST_COMMIT;
            tokio::select! {
                () = &mut signal, if !stop.is_cancelled() => {
                    signalled = true;
                    stop.cancel();
                }
                () = stop.cancelled(), if stopped_at.is_none() => {}
                () = sleep_until(abandon_at), if stopped_at.is_some() => break,
                Some(task) = new_tasks.recv(), if !stop.is_cancelled() => supervisor.start(task),
                ended = supervisor.next_end() => {
                    let ended = ended.ok_or_else(|| anyhow!("all tasks ended"))?;
                    if let Some(panic) = ended.panic {
                        return Err(anyhow!("task `{}` panicked: {panic}", ended.task));
                    }
                    if ended.dismissed {
                        continue;
                    }
                    if ended.task == ENGINE && stop.is_cancelled() {
                        break;
                    }
                    // After the stop, injectors end by themselves.
                    if !stop.is_cancelled() {
                        return Err(anyhow!("task `{}` ended while the daemon was running", ended.task));
                    }
                }
            }
        }
        // The engine may have ended at the moment at which it was to be abandoned.
        let engine = engine_end.try_recv().ok();
        if engine.is_none() {
            warn!("the engine did not end in time and is abandoned");
        }
        let stopped_at = stopped_at.unwrap_or_else(Instant::now);
        scrapes.wait_for_one(stopped_at + stop_grace).await;
        end.cancel();
        let all_ended = async { while supervisor.next_end().await.is_some() {} };
        if tokio::time::timeout(ENDING, all_ended).await.is_err() {
            let left: Vec<_> = supervisor.running().collect();
            info!(tasks = ?left, "tasks did not end in time and are aborted: {left:?}");
            supervisor.abort();
        }
        match engine {
            Some(engine::End::ClockStepped(by)) => Err(ClockStepped(by).into()),
            None if !signalled => Err(anyhow!("the engine stopped by itself and did not end in time")),
            Some(engine::End::Stopped) | None => Ok(()),
        }
    }
}

/// The web configuration file, or a file that it names, cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("web.config_file: {}", .0.join("; web.config_file: "))]
pub struct FaultyWebFile(pub Vec<String>);

/// Reads the web configuration file and the files that it names.
///
/// # Errors
///
/// [`FaultyWebFile`], with every fault.
pub fn gate(config: &Config) -> Result<web::Gate, FaultyWebFile> {
    match &config.web.config_file {
        Some(path) => web::Gate::read(path, &config.web.open).map_err(FaultyWebFile),
        None => Ok(web::Gate::default()),
    }
}

/// The daemon ended because the system clock was set. A restarted one takes the new time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system clock was set by {:+.3} s, so the probe must be restarted", .0.as_secs_f64())]
pub struct ClockStepped(pub Offset);

#[cfg(test)]
mod tests;
