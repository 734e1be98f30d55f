//! Writes to the store for the engine: on another thread, with a time limit, and able to do without the disk.
//!
//! This is a write-ahead store: what the engine is about to count or send is on disk first. A disk that fails
//! or hangs must not stop the measurement, so each commit has a time limit. After a failure the engine
//! continues in memory, and the writer retries periodically with the full state. One job runs at a time;
//! nothing queues behind a job that hangs.
//!
//! The writer has no task of its own. Each job runs on a blocking thread of the runtime, and none is left
//! running unless the disk hangs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use super::log_events;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::Topology;
use crate::domain::tracker::Changes;
use crate::store::{Instance, LoadLimits, Loaded, Naming, Opened, Store, StoreError};

/// Where the store is, and how it is maintained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The database file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// How many finished traces to keep: this many delivered ones, and as many failed ones.
    pub max_finished: usize,
    /// How long any trace is kept after its planned injection. Must far exceed `give_up` and `grace`.
    pub max_age: Duration,
    /// How long the engine waits for a commit.
    pub time_limit: Duration,
    /// The pause after a failure.
    pub retry_every: Duration,
    /// How often traces beyond `max_finished` and `max_age` are removed.
    pub prune_every: Duration,
}

impl Settings {
    /// Settings with the default time limit and intervals.
    #[must_use]
    pub const fn new(path: Option<PathBuf>, max_finished: usize, max_age: Duration) -> Self {
        Self {
            path,
            max_finished,
            max_age,
            time_limit: Duration::from_secs(2),
            retry_every: Duration::from_secs(15),
            prune_every: Duration::from_secs(60),
        }
    }
}

/// Whether the store can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// Everything is on disk.
    Healthy,
    /// The store cannot be written, and the engine continues in memory.
    Degraded {
        since: Timestamp,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// No store is configured.
    Memory,
}

/// The result of a commit.
#[derive(Debug)]
pub enum Commit {
    /// The changes are on disk, or no store is configured.
    Done,
    /// The changes are in memory only. The full state is written when the store can be written again.
    Degraded {
        /// Why, for people.
        reason: Arc<str>,
    },
    /// The changes are in memory only, and the store, which could not be read at the start, has been read
    /// now. What the previous run left there must be restored before the next commit.
    LateLoad(Loaded),
}

/// A store writer, and what its store held.
#[derive(Debug)]
pub struct OpenedStore {
    pub writer: StoreWriter,
    /// The name under which this process signs its canaries.
    pub instance: Instance,
    /// What the previous run left behind.
    pub loaded: Loaded,
}

/// Commits the engine's changes to the store, each within a time limit, and falls back to memory while the
/// store cannot be written.
#[derive(Debug)]
pub struct StoreWriter {
    settings: Settings,
    clock: WallClock,
    state: watch::Sender<StoreState>,
    reopen: Reopen,
    slot: Slot,
    /// Set while the previous run's store has not been read, which must happen before the first write.
    load_pending: Option<LoadLimits>,
    retry_at: Instant,
    prune_at: Instant,
}

type Open = dyn Fn(Timestamp) -> Result<Opened, StoreError> + Send + Sync;

/// What opening the database again after a failure needs.
#[derive(Clone)]
struct Reopen {
    open: Arc<Open>,
    instance: Instance,
}

impl std::fmt::Debug for Reopen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reopen").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// The database, or the job that has it.
#[derive(Debug)]
enum Slot {
    /// No job runs; `None` while the database is not open.
    Idle(Option<Store>),
    /// With a running job, which may have outlived its time limit.
    Busy(JoinHandle<JobEnd>),
}

/// What a job returns: the database if it can still be used, and what was loaded.
type JobEnd = (Option<Store>, Result<Option<Loaded>, StoreError>);

enum Job {
    /// [`Store::save`].
    Save(Changes),
    /// [`Store::save_all`].
    SaveAll(Changes),
    /// [`Store::load`].
    Load(LoadLimits),
    /// [`Store::prune`].
    Prune { max_finished: usize, older_than: Timestamp },
}

impl StoreWriter {
    /// A writer without a store: every commit succeeds and keeps nothing.
    #[must_use]
    pub fn memory(naming: &Naming, clock: WallClock) -> OpenedStore {
        let open = Arc::new(|_| Err(StoreError::NoFolder(PathBuf::new())));
        let instance = Instance::of(naming.name());
        let settings = Settings::new(None, 0, Duration::ZERO);
        let writer =
            Self::new(settings, Reopen { open, instance: instance.clone() }, StoreState::Memory, None, clock);
        OpenedStore { writer, instance, loaded: Loaded::default() }
    }

    /// Opens the store and loads what the previous run left there. If that fails for a reason that may be
    /// temporary, the writer starts degraded, with nothing loaded.
    ///
    /// # Errors
    ///
    /// If only a change of configuration or program can help: [`StoreError::is_permanent`].
    pub async fn open(
        settings: Settings,
        topology: Arc<Topology>,
        naming: Naming,
        limits: LoadLimits,
        clock: WallClock,
    ) -> Result<OpenedStore, StoreError> {
        let Some(path) = settings.path.clone() else {
            return Ok(Self::memory(&naming, clock));
        };
        let open = Arc::new(move |now| Store::open(&path, topology.clone(), now));
        Self::open_with(open, settings, naming, limits, clock).await
    }

    async fn open_with(
        open: Arc<Open>,
        settings: Settings,
        naming: Naming,
        limits: LoadLimits,
        clock: WallClock,
    ) -> Result<OpenedStore, StoreError> {
        let (now, open_file, wanted_name) = (clock.now(), open.clone(), naming.clone());
        let first_load = spawn_blocking(move || {
            let mut store = report_quarantine((*open_file)(now)?);
            let instance = store.instance(&wanted_name)?;
            let loaded = store.load(limits)?;
            Ok::<_, StoreError>((store, instance, loaded))
        });
        // Longer than a commit may take, because a large file is checked and read.
        let reason: Arc<str> = match timeout(10 * settings.time_limit, first_load).await {
            Ok(Ok(Ok((store, instance, loaded)))) => {
                log_events::store_loaded(&loaded);
                let reopen = Reopen { open, instance: instance.clone() };
                let writer = Self::new(settings, reopen, StoreState::Healthy, Some(store), clock);
                return Ok(OpenedStore { writer, instance, loaded });
            }
            Ok(Ok(Err(error))) if error.is_permanent() => return Err(error),
            Ok(Ok(Err(error))) => with_cause(&error).into(),
            Ok(Err(panic)) => format!("opening the store panicked: {panic}").into(),
            Err(_) => timed_out(10 * settings.time_limit),
        };
        let instance = Instance::of(naming.name());
        let reopen = Reopen { open, instance: instance.clone() };
        let mut writer = Self::new(settings, reopen, StoreState::Healthy, None, clock);
        writer.load_pending = Some(limits);
        writer.degrade(reason);
        Ok(OpenedStore { writer, instance, loaded: Loaded::default() })
    }

    fn new(
        settings: Settings,
        reopen: Reopen,
        state: StoreState,
        store: Option<Store>,
        clock: WallClock,
    ) -> Self {
        let now = Instant::now();
        let prune_at = now + settings.prune_every;
        let (state, slot) = (watch::Sender::new(state), Slot::Idle(store));
        Self { settings, clock, state, reopen, slot, load_pending: None, retry_at: now, prune_at }
    }

    /// Subscribes to the state of the store.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Since when and why the store cannot be written, although it is configured.
    #[must_use]
    pub fn degraded(&self) -> Option<(Timestamp, Arc<str>)> {
        match &*self.state.borrow() {
            StoreState::Degraded { since, reason } => Some((*since, reason.clone())),
            StoreState::Healthy | StoreState::Memory => None,
        }
    }

    /// Writes what changed. Returns when it is on disk or the time limit is over.
    ///
    /// After a failure, commits do nothing until the next retry is due. The retry calls `all`, which must
    /// return the full state, including `changes`.
    pub async fn commit(&mut self, changes: Changes, all: impl FnOnce() -> Changes) -> Commit {
        let state = self.state.borrow().clone();
        match state {
            StoreState::Memory => return Commit::Done,
            StoreState::Healthy => {
                if !changes.is_empty() {
                    self.perform(Job::Save(changes)).await;
                }
            }
            StoreState::Degraded { reason, .. } => {
                let hangs = matches!(&self.slot, Slot::Busy(job) if !job.is_finished());
                if hangs || Instant::now() < self.retry_at {
                    return Commit::Degraded { reason };
                }
                let job = self.load_pending.map_or_else(|| Job::SaveAll(all()), Job::Load);
                if let Some(loaded) = self.perform(job).await {
                    log_events::store_loaded(&loaded);
                    self.load_pending = None;
                    self.retry_at = Instant::now();
                    return Commit::LateLoad(loaded);
                }
            }
        }
        let state = self.state.borrow().clone();
        match state {
            StoreState::Degraded { reason, .. } => Commit::Degraded { reason },
            StoreState::Healthy | StoreState::Memory => {
                self.prune_if_due();
                Commit::Done
            }
        }
    }

    /// Closes the database, unless the disk hangs for longer than the time limit.
    pub async fn close(mut self) {
        let limit = self.settings.time_limit;
        let closing = async {
            if let Some(store) = self.take_store().await {
                // Closing the last connection checkpoints the write-ahead log, which waits for the disk.
                let _ = spawn_blocking(move || drop(store)).await;
            }
        };
        if timeout(limit, closing).await.is_err() {
            log_events::store_left_open(limit);
        }
    }

    /// Runs one job after the current one and updates the state from its result, all within the time limit.
    async fn perform(&mut self, job: Job) -> Option<Loaded> {
        let limit = self.settings.time_limit;
        let until = Instant::now() + limit;
        let Ok(store) = timeout_at(until, self.take_store()).await else {
            self.degrade(timed_out(limit));
            return None;
        };
        if store.is_none() && matches!(job, Job::Save(_)) {
            // A job in the background failed and closed the database. The retry writes the full state, which
            // includes these changes.
            self.degrade("an earlier job on the store failed".into());
            return None;
        }
        let mut task = self.spawn_job(store, job);
        match timeout_at(until, &mut task).await {
            Ok(Ok((store, result))) => {
                self.slot = Slot::Idle(store);
                match result {
                    Ok(None) => self.recover(),
                    Ok(loaded) => return loaded,
                    Err(error) => self.degrade(with_cause(&error).into()),
                }
            }
            Ok(Err(panic)) => self.degrade(format!("writing the store panicked: {panic}").into()),
            Err(_) => {
                self.slot = Slot::Busy(task);
                self.degrade(timed_out(limit));
            }
        }
        None
    }

    /// Waits for the current job and takes the database; `None` if the job failed or the database is not
    /// open. Cancelling it loses neither the job nor the database.
    async fn take_store(&mut self) -> Option<Store> {
        if let Slot::Busy(job) = &mut self.slot {
            let store = match job.await {
                Ok((store, Ok(_))) => store,
                // Whoever started it no longer waits. The next job finds the database closed.
                Ok((_, Err(_))) | Err(_) => None,
            };
            self.slot = Slot::Idle(store);
        }
        match &mut self.slot {
            Slot::Idle(store) => store.take(),
            Slot::Busy(_) => None,
        }
    }

    fn spawn_job(&self, store: Option<Store>, job: Job) -> JoinHandle<JobEnd> {
        let (reopen, now) = (self.reopen.clone(), self.clock.now());
        spawn_blocking(move || match run_job(store, job, &reopen, now) {
            Ok((store, loaded)) => (Some(store), Ok(loaded)),
            // Close it: opening it again checks the file for damage.
            Err(error) => (None, Err(error)),
        })
    }

    /// Starts to remove old traces in the background. Only the next commit waits for it.
    fn prune_if_due(&mut self) {
        let now = Instant::now();
        if now < self.prune_at {
            return;
        }
        self.prune_at = now + self.settings.prune_every;
        if let Slot::Idle(store) = &mut self.slot
            && let Some(store) = store.take()
        {
            let older_than = self.clock.now() - self.settings.max_age;
            let job = Job::Prune { max_finished: self.settings.max_finished, older_than };
            self.slot = Slot::Busy(self.spawn_job(Some(store), job));
        }
    }

    fn degrade(&mut self, reason: Arc<str>) {
        self.retry_at = Instant::now() + self.settings.retry_every;
        let now = self.clock.now();
        self.state.send_modify(|state| {
            let since = match state {
                StoreState::Degraded { reason: before, .. } if *before == reason => return,
                StoreState::Degraded { since, .. } => *since,
                StoreState::Healthy | StoreState::Memory => now,
            };
            log_events::store_degraded(&reason);
            *state = StoreState::Degraded { since, reason };
        });
    }

    fn recover(&mut self) {
        let now = self.clock.now();
        self.state.send_if_modified(|state| match state {
            StoreState::Degraded { since, .. } => {
                log_events::store_recovered(now.since(*since));
                *state = StoreState::Healthy;
                true
            }
            StoreState::Healthy | StoreState::Memory => false,
        });
    }
}

fn run_job(
    store: Option<Store>,
    job: Job,
    reopen: &Reopen,
    now: Timestamp,
) -> Result<(Store, Option<Loaded>), StoreError> {
    let mut loaded = None;
    let mut store = match store {
        Some(store) => store,
        None => {
            let mut store = report_quarantine((*reopen.open)(now)?);
            store.set_instance(&reopen.instance)?;
            store
        }
    };
    match job {
        Job::Save(changes) => store.save(&changes)?,
        Job::SaveAll(all) => store.save_all(&all)?,
        Job::Load(limits) => loaded = Some(store.load(limits)?),
        Job::Prune { max_finished, older_than } => drop(store.prune(max_finished, older_than)?),
    }
    Ok((store, loaded))
}

/// Logs if a damaged file was replaced, and returns the store.
fn report_quarantine(opened: Opened) -> Store {
    if let Some(quarantined) = &opened.quarantine {
        log_events::store_quarantined(quarantined);
    }
    opened.store
}

fn timed_out(limit: Duration) -> Arc<str> {
    format!("the store's disk did not answer within {} s", limit.as_secs_f64()).into()
}

/// The error with its direct cause. Causes below that hold only SQLite's error number.
fn with_cause(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
