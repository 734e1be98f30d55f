//! Writes the engine's state to the store on another thread, within a time limit, and carries on in memory if
//! the disk fails.
//!
//! This is a write-ahead store: what the engine is about to count or send is on disk first. A disk that fails
//! or hangs must not stop the measurement, so each commit has a time limit. After a failure the engine
//! continues in memory, and the writer retries periodically with the full state. One job runs at a time. A
//! commit waits for the running job at most until its time limit, so no jobs pile up behind a hung one.
//!
//! The writer has no task of its own. Each job runs on a blocking thread of the runtime. After the writer is
//! closed, a job still runs only if the disk hangs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use super::log_events;
use crate::domain::foreign::ForeignText;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::Topology;
use crate::domain::tracker::Changes;
use crate::store::{Instance, LoadLimits, Loaded, Naming, Opened, Store, StoreError};

/// Where the store is, and how it is maintained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The database file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// How many finished traces to keep: this many delivered ones, and as many that failed.
    pub max_finished: usize,
    /// How long any trace is kept after its planned injection. Must be much longer than
    /// [`give_up`](crate::domain::tracker::Settings::give_up) and
    /// [`grace`](crate::domain::tracker::Settings::grace) together, because a trace may still be open until
    /// then.
    pub max_age: Duration,
    /// How long the engine waits for a commit. Afterwards it continues in memory.
    pub commit_timeout: Duration,
    /// How long to wait after a failure before the next retry.
    pub retry_delay: Duration,
    /// How often traces beyond `max_finished` and `max_age` are removed, and it is checked that the file is
    /// still at its path.
    pub prune_every: Duration,
}

impl Settings {
    /// Returns settings with the default timeout and intervals.
    #[must_use]
    pub const fn new(path: Option<PathBuf>, max_finished: usize, max_age: Duration) -> Self {
        Self {
            path,
            max_finished,
            max_age,
            commit_timeout: Duration::from_secs(2),
            retry_delay: Duration::from_secs(15),
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
        /// Why it cannot be written, as text for the log and the page.
        reason: ForeignText,
    },
    /// No store is configured; everything is in memory only.
    NotConfigured,
}

/// The result of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// The changes are on disk, or no store is configured.
    Done,
    /// The changes are in memory only. The full state is written once the store can be written again.
    Degraded {
        /// Why the store cannot be written, as text for the log and the page.
        reason: ForeignText,
    },
    /// The store could not be read at the start and has been read only now. The changes are still in memory
    /// only. What the previous run left in the store must be restored before the next commit.
    LateLoad(Box<Loaded>),
}

/// A store writer, and what was in its store when it was opened.
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
    reopener: Reopener,
    slot: Slot,
    /// How much to load, as long as the store of the previous run has not been read. It must be read before
    /// the first write.
    pending_load: Option<LoadLimits>,
    /// Whether a topology has succeeded since the last job began: what that loads is not converted to it.
    succeeded: bool,
    retry_at: Instant,
    prune_at: Instant,
}

/// Opens the database; the argument is the current time.
type OpenFn = dyn Fn(Timestamp) -> Result<Opened, StoreError> + Send + Sync;

/// Opens the database again after a failure.
#[derive(Clone)]
struct Reopener {
    open: Arc<OpenFn>,
    instance: Instance,
    /// The topology that has succeeded the one with which the store was opened.
    topology: Option<Arc<Topology>>,
}

impl std::fmt::Debug for Reopener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reopener").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// The database, or the job that has it.
#[derive(Debug)]
enum Slot {
    /// No job runs; `None` while the database is not open.
    Idle(Option<Store>),
    /// A running job has it. The commit that started the job may have timed out meanwhile.
    Busy(JoinHandle<JobResult>),
}

/// What a [`Slot`] had once its job was over.
struct Taken {
    /// `None` if the database is not open.
    store: Option<Store>,
    /// What the job loaded.
    loaded: Option<Loaded>,
    /// Why the job failed.
    failure: Option<ForeignText>,
}

/// What a job returns: the database if it can still be used, and what was loaded. Only [`Job::Load`] loads.
type JobResult = (Option<Store>, Result<Option<Loaded>, StoreError>);

enum Job {
    /// [`Store::save`].
    Save(Changes),
    /// [`Store::save_all`].
    SaveAll(Changes),
    /// [`Store::load`].
    Load(LoadLimits),
    /// [`Store::check_file`], [`Store::prune`] and [`Store::prune_aggregates`].
    Prune { max_finished: usize, older_than: Timestamp },
}

impl StoreWriter {
    /// Makes a writer without a store. Every commit succeeds, and nothing is written. `naming` gives the name
    /// of this instance.
    #[must_use]
    pub fn in_memory(naming: &Naming, clock: WallClock) -> OpenedStore {
        let open = Arc::new(|_| Err(StoreError::NoFolder(PathBuf::new())));
        let instance = Instance::of(naming.name());
        let settings = Settings::new(None, 0, Duration::ZERO);
        let writer = Self::new(
            settings,
            Reopener { open, instance: instance.clone(), topology: None },
            StoreState::NotConfigured,
            None,
            clock,
        );
        OpenedStore { writer, instance, loaded: Loaded::default() }
    }

    /// Opens the store and loads what the previous run left there, up to `load_limits`. If that fails for a
    /// reason that may be temporary, the writer starts degraded, with nothing loaded.
    ///
    /// `naming` gives the name of this instance. If it is a host name, a name in the store takes precedence
    /// ([`Naming`]).
    ///
    /// # Errors
    ///
    /// If only a change to the configuration or the program can help ([`StoreError::is_permanent`]), or if
    /// another process holds the file.
    pub async fn open(
        settings: Settings,
        topology: Arc<Topology>,
        naming: Naming,
        load_limits: LoadLimits,
        clock: WallClock,
    ) -> Result<OpenedStore, StoreError> {
        let Some(path) = settings.path.clone() else {
            return Ok(Self::in_memory(&naming, clock));
        };
        let open = Arc::new(move |now| Store::open(&path, topology.clone(), now));
        Self::open_with(open, settings, naming, load_limits, clock).await
    }

    async fn open_with(
        open: Arc<OpenFn>,
        settings: Settings,
        naming: Naming,
        load_limits: LoadLimits,
        clock: WallClock,
    ) -> Result<OpenedStore, StoreError> {
        let (now, open_database, job_naming) = (clock.now(), open.clone(), naming.clone());
        let first_load = spawn_blocking(move || {
            let mut store = log_quarantine((*open_database)(now)?);
            // May be another name than the configuration gives; see `Naming`.
            let instance = store.instance(&job_naming)?;
            let loaded = store.load(load_limits)?;
            Ok::<_, StoreError>((store, instance, loaded))
        });
        // Longer than a commit may take, because the whole file is checked and read, and it may be large.
        let load_timeout = 10 * settings.commit_timeout;
        let reason: ForeignText = match timeout(load_timeout, first_load).await {
            Ok(Ok(Ok((store, instance, loaded)))) => {
                log_events::store_loaded(&loaded);
                let reopener = Reopener { open, instance: instance.clone(), topology: None };
                let writer = Self::new(settings, reopener, StoreState::Healthy, Some(store), clock);
                return Ok(OpenedStore { writer, instance, loaded });
            }
            Ok(Ok(Err(error))) if error.is_permanent() || matches!(error, StoreError::Locked(_)) => {
                return Err(error);
            }
            Ok(Ok(Err(error))) => with_cause(&error).into(),
            Ok(Err(panic)) => format!("opening the store panicked: {panic}").into(),
            Err(_) => timed_out(load_timeout),
        };
        let instance = Instance::of(naming.name());
        let reopener = Reopener { open, instance: instance.clone(), topology: None };
        let mut writer = Self::new(settings, reopener, StoreState::Healthy, None, clock);
        writer.pending_load = Some(load_limits);
        writer.degrade(reason);
        Ok(OpenedStore { writer, instance, loaded: Loaded::default() })
    }

    fn new(
        settings: Settings,
        reopener: Reopener,
        state: StoreState,
        store: Option<Store>,
        clock: WallClock,
    ) -> Self {
        let now = Instant::now();
        let prune_at = now + settings.prune_every;
        let (state, slot) = (watch::Sender::new(state), Slot::Idle(store));
        Self {
            settings,
            clock,
            state,
            reopener,
            slot,
            pending_load: None,
            succeeded: false,
            retry_at: now,
            prune_at,
        }
    }

    /// Takes over a topology that succeeds the present one, from the next job on.
    pub fn succeed(&mut self, topology: Arc<Topology>) {
        self.reopener.topology = Some(topology);
        self.succeeded = true;
    }

    /// Subscribes to the state of the store.
    #[must_use]
    pub fn subscribe_state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Since when and why the store cannot be written, although it is configured.
    #[must_use]
    pub fn degraded(&self) -> Option<(Timestamp, ForeignText)> {
        match &*self.state.borrow() {
            StoreState::Degraded { since, reason } => Some((*since, reason.clone())),
            StoreState::Healthy | StoreState::NotConfigured => None,
        }
    }

    /// Whether a store is configured.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        match &*self.state.borrow() {
            StoreState::Healthy | StoreState::Degraded { .. } => true,
            StoreState::NotConfigured => false,
        }
    }

    /// Writes what changed. Returns once the changes are on disk or the time limit has passed.
    ///
    /// After a failure, commits do nothing until the next retry is due. The retry calls `full_state`, which
    /// must include `changes`.
    pub async fn commit(&mut self, changes: Changes, full_state: impl FnOnce() -> Changes) -> CommitOutcome {
        let state = self.state.borrow().clone();
        match state {
            StoreState::NotConfigured => return CommitOutcome::Done,
            StoreState::Healthy => {
                if !changes.is_empty() {
                    self.perform(Job::Save(changes)).await;
                }
            }
            StoreState::Degraded { reason, .. } => {
                let still_running = matches!(&self.slot, Slot::Busy(job) if !job.is_finished());
                if still_running || Instant::now() < self.retry_at {
                    return CommitOutcome::Degraded { reason };
                }
                let job = self.pending_load.map_or_else(|| Job::SaveAll(full_state()), Job::Load);
                if let Some(loaded) = self.perform(job).await {
                    log_events::store_loaded(&loaded);
                    self.pending_load = None;
                    self.retry_at = Instant::now();
                    return CommitOutcome::LateLoad(loaded.into());
                }
            }
        }
        let state = self.state.borrow().clone();
        match state {
            StoreState::Degraded { reason, .. } => CommitOutcome::Degraded { reason },
            StoreState::Healthy | StoreState::NotConfigured => {
                self.prune_if_due();
                CommitOutcome::Done
            }
        }
    }

    /// Closes the database. If the disk hangs, gives up after the time limit of a commit.
    pub async fn close(mut self) {
        let commit_timeout = self.settings.commit_timeout;
        let closing = async {
            if let Some(store) = self.take_store().await.store {
                // SQLite checkpoints its write-ahead log when the last connection closes, which waits for the
                // disk.
                let _ = spawn_blocking(move || drop(store)).await;
            }
        };
        if timeout(commit_timeout, closing).await.is_err() {
            log_events::store_left_open(commit_timeout);
        }
    }

    /// Waits for the running job, runs this one, and updates the state from its result, all within the time
    /// limit of a commit. Returns what a [`Job::Load`] loaded, without running this one if that was the one
    /// before, which ended too late for its commit; `None` after any other job and after a failure, which is
    /// then in the state.
    async fn perform(&mut self, job: Job) -> Option<Loaded> {
        let commit_timeout = self.settings.commit_timeout;
        let deadline = Instant::now() + commit_timeout;
        let Ok(Taken { store, loaded: late, failure }) = timeout_at(deadline, self.take_store()).await else {
            self.degrade(timed_out(commit_timeout));
            return None;
        };
        if late.is_some() && !self.succeeded {
            self.slot = Slot::Idle(store);
            return late;
        }
        if store.is_none() && matches!(job, Job::Save(_)) {
            // The previous job failed in the background and closed the database. The retry writes the full
            // state, which includes these changes.
            self.degrade(failure.unwrap_or_else(|| "an earlier job on the store failed".into()));
            return None;
        }
        self.succeeded = false;
        let mut task = self.spawn_job(store, job);
        match timeout_at(deadline, &mut task).await {
            Ok(Ok((store, result))) => {
                self.slot = Slot::Idle(store);
                match result {
                    Ok(None) => self.recover(),
                    Ok(loaded) => return loaded,
                    Err(error) => self.degrade(with_cause(&error).into()),
                }
            }
            Ok(Err(panic)) => self.degrade(panicked(&panic)),
            Err(_) => {
                self.slot = Slot::Busy(task);
                self.degrade(timed_out(commit_timeout));
            }
        }
        None
    }

    /// Waits for the running job and takes the database. A call that is cancelled loses neither the job nor
    /// the database.
    async fn take_store(&mut self) -> Taken {
        let (mut loaded, mut failure) = (None, None);
        if let Slot::Busy(job) = &mut self.slot {
            let store = match job.await {
                Ok((store, Ok(of_job))) => {
                    loaded = of_job;
                    store
                }
                // The commit that started the job no longer waits for it. The next job finds the database
                // closed.
                Ok((_, Err(error))) => {
                    failure = Some(with_cause(&error).into());
                    None
                }
                Err(panic) => {
                    failure = Some(panicked(&panic));
                    None
                }
            };
            self.slot = Slot::Idle(store);
        }
        let store = match &mut self.slot {
            Slot::Idle(store) => store.take(),
            Slot::Busy(_) => None,
        };
        Taken { store, loaded, failure }
    }

    fn spawn_job(&self, store: Option<Store>, job: Job) -> JoinHandle<JobResult> {
        let (reopener, now) = (self.reopener.clone(), self.clock.now());
        spawn_blocking(move || match run_job(store, job, &reopener, now) {
            Ok((store, loaded)) => (Some(store), Ok(loaded)),
            // Close the database, because opening it again checks the file for damage.
            Err(error) => (None, Err(error)),
        })
    }

    /// Starts to check the file and to remove old traces in the background if the time for it has come. Only
    /// the next commit waits.
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

    fn degrade(&mut self, reason: ForeignText) {
        self.retry_at = Instant::now() + self.settings.retry_delay;
        let now = self.clock.now();
        self.state.send_modify(|state| {
            let since = match state {
                StoreState::Degraded { reason: previous_reason, .. } if *previous_reason == reason => return,
                StoreState::Degraded { since, .. } => *since,
                StoreState::Healthy | StoreState::NotConfigured => now,
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
            StoreState::Healthy | StoreState::NotConfigured => false,
        });
    }
}

fn run_job(
    store: Option<Store>,
    job: Job,
    reopener: &Reopener,
    now: Timestamp,
) -> Result<(Store, Option<Loaded>), StoreError> {
    let mut loaded = None;
    let mut store = match store {
        Some(store) => store,
        None => {
            let mut store = log_quarantine((*reopener.open)(now)?);
            store.set_instance(&reopener.instance)?;
            store
        }
    };
    if let Some(topology) = &reopener.topology {
        store.succeed(topology.clone());
    }
    match job {
        Job::Save(changes) => store.save(&changes)?,
        Job::SaveAll(full_state) => store.save_all(&full_state)?,
        Job::Load(load_limits) => loaded = Some(store.load(load_limits)?),
        Job::Prune { max_finished, older_than } => {
            store.check_file()?;
            store.prune(max_finished, older_than)?;
            store.prune_aggregates(now)?;
        }
    }
    Ok((store, loaded))
}

/// Logs it if a damaged file was replaced by a new one, and returns the store.
fn log_quarantine(opened: Opened) -> Store {
    if let Some(quarantined) = &opened.quarantine {
        log_events::store_quarantined(quarantined);
    }
    opened.store
}

fn timed_out(timeout: Duration) -> ForeignText {
    format!("the disk that holds the store did not respond within {} s", timeout.as_secs_f64()).into()
}

fn panicked(panic: &JoinError) -> ForeignText {
    format!("writing the store panicked: {panic}").into()
}

/// Returns the text of an error and of its direct cause. Deeper causes add only SQLite's error number.
fn with_cause(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
