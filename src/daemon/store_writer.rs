//! The engine's way to the store: off its thread, bounded in time, and dispensable.
//!
//! The store is written ahead: what the engine is about to count or send is on disk first. A disk that fails or hangs
//! must not stop the measuring, so a commit has a time limit, and after a failure the engine goes on in memory while
//! the writer tries again every now and then, with all that is known. One job is under way at a time: while one
//! hangs, nothing queues up behind it.
//!
//! It has no task of its own: each job runs on a blocking thread of the runtime, and opening it leaves nothing running
//! unless the disk hangs.

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

/// How the store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the database is; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Finished traces that are kept, of those that went well and of those that did not.
    pub keep: usize,
    /// How long after its planned injection any trace is kept. Must be much longer than `give_up` and `grace`.
    pub keep_for: Duration,
    /// How long the engine waits for a commit.
    pub time_limit: Duration,
    /// How long after a failure to try again.
    pub retry_every: Duration,
    /// How often what is too old or too much is removed.
    pub prune_every: Duration,
}

impl Settings {
    /// A database with the usual rhythm, or none.
    #[must_use]
    pub const fn new(path: Option<PathBuf>, keep: usize, keep_for: Duration) -> Self {
        Self {
            path,
            keep,
            keep_for,
            time_limit: Duration::from_secs(2),
            retry_every: Duration::from_secs(15),
            prune_every: Duration::from_secs(60),
        }
    }
}

/// How the store is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// Everything is on disk.
    Healthy,
    /// The engine goes on in memory.
    Degraded {
        /// Since when.
        since: Timestamp,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// There is no store.
    Memory,
}

/// What became of a commit.
#[derive(Debug)]
pub enum Commit {
    /// It is on disk, or there is no disk to write.
    Done,
    /// It is in memory only; all of it is written when the store can be written again.
    Degraded {
        /// Why, for people.
        reason: Arc<str>,
    },
    /// It is in memory only, and the store, which could not be read when the probe began, can be read now: what a
    /// previous run left there, to be restored before the next commit.
    LateLoad(Loaded),
}

/// A store writer, and what its store held.
#[derive(Debug)]
pub struct OpenedStore {
    /// Writes what happens from now on.
    pub writer: StoreWriter,
    /// The name under which this process signs.
    pub instance: Instance,
    /// What a previous run left behind.
    pub loaded: Loaded,
}

/// Writes what the engine decided to the store, each commit within a time limit, and goes on in memory while the store
/// cannot be written.
#[derive(Debug)]
pub struct StoreWriter {
    settings: Settings,
    clock: WallClock,
    state: watch::Sender<StoreState>,
    reopen: Reopen,
    slot: Slot,
    /// What is still to be read of a previous run, before anything is written over it.
    load_pending: Option<LoadLimits>,
    retry_at: Instant,
    prune_at: Instant,
}

/// Opens the database.
type Open = dyn Fn(Timestamp) -> Result<Opened, StoreError> + Send + Sync;

/// What it takes to open the database again after a failure.
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

/// Where the database is.
#[derive(Debug)]
enum Slot {
    /// Here; `None` while it is not open.
    Idle(Option<Store>),
    /// With a job that may take its time.
    InUse(JoinHandle<Returned>),
}

/// What a job gives back: the database, only if it can still be used, and what was loaded.
type Returned = (Option<Store>, Result<Option<Loaded>, StoreError>);

enum Job {
    /// Write these over what is known.
    Changes(Changes),
    /// Write everything that is known, in place of what the file holds in flight.
    Replace(Changes),
    Load(LoadLimits),
    Prune {
        keep: usize,
        older_than: Timestamp,
    },
}

impl StoreWriter {
    /// Keeps nothing.
    #[must_use]
    pub fn memory(naming: &Naming, clock: WallClock) -> OpenedStore {
        let open = Arc::new(|_| Err(StoreError::NoFolder(PathBuf::new())));
        let instance = Instance::of(naming.name());
        let settings = Settings::new(None, 0, Duration::ZERO);
        let writer =
            Self::new(settings, Reopen { open, instance: instance.clone() }, StoreState::Memory, None, clock);
        OpenedStore { writer, instance, loaded: Loaded::default() }
    }

    /// Opens the store and reads what a previous run left there. When that fails for a reason that may pass, the
    /// writer begins degraded, with nothing loaded.
    ///
    /// # Errors
    ///
    /// When only another configuration or program can help: [`StoreError::is_a_fault_of_configuration`].
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
        let (now, opener, wish) = (clock.now(), open.clone(), naming.clone());
        let first = spawn_blocking(move || {
            let mut store = opened((*opener)(now)?);
            let instance = store.instance(&wish)?;
            let loaded = store.load(limits)?;
            Ok::<_, StoreError>((store, instance, loaded))
        });
        // The first answer may take longer than a commit: a large file is checked and read.
        let reason: Arc<str> = match timeout(10 * settings.time_limit, first).await {
            Ok(Ok(Ok((store, instance, loaded)))) => {
                log_events::store_loaded(&loaded);
                let reopen = Reopen { open, instance: instance.clone() };
                let writer = Self::new(settings, reopen, StoreState::Healthy, Some(store), clock);
                return Ok(OpenedStore { writer, instance, loaded });
            }
            Ok(Ok(Err(error))) if error.is_a_fault_of_configuration() => return Err(error),
            Ok(Ok(Err(error))) => in_words(&error).into(),
            Ok(Err(panic)) => format!("opening the store broke off: {panic}").into(),
            Err(_) => no_answer_within(10 * settings.time_limit),
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

    /// How the store is doing, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<StoreState> {
        self.state.subscribe()
    }

    /// Whether there is a store and it cannot be written.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(*self.state.borrow(), StoreState::Degraded { .. })
    }

    /// Writes what changed, and returns when it is on disk or the time limit is over.
    ///
    /// After a failure nothing is tried for a while; then `all` is asked for, which must be everything that is known,
    /// the changes included.
    pub async fn commit(&mut self, changes: Changes, all: impl FnOnce() -> Changes) -> Commit {
        let state = self.state.borrow().clone();
        match state {
            StoreState::Memory => return Commit::Done,
            StoreState::Healthy => {
                if !changes.is_empty() {
                    self.perform(Job::Changes(changes)).await;
                }
            }
            StoreState::Degraded { reason, .. } => {
                let hangs = matches!(&self.slot, Slot::InUse(job) if !job.is_finished());
                if hangs || Instant::now() < self.retry_at {
                    return Commit::Degraded { reason };
                }
                let job = self.load_pending.map_or_else(|| Job::Replace(all()), Job::Load);
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

    /// Closes the database in good order, if it answers in time.
    pub async fn close(mut self) {
        let limit = self.settings.time_limit;
        let closing = async {
            if let Some(store) = self.take_store().await {
                // The last one to close the file empties the write-ahead log into it, which waits for the disk.
                let _ = spawn_blocking(move || drop(store)).await;
            }
        };
        if timeout(limit, closing).await.is_err() {
            log_events::store_left_open(limit);
        }
    }

    /// Does one job, after the one that is under way, and draws the conclusion. All of it within the time limit.
    async fn perform(&mut self, job: Job) -> Option<Loaded> {
        let limit = self.settings.time_limit;
        let until = Instant::now() + limit;
        let Ok(store) = timeout_at(until, self.take_store()).await else {
            self.degrade(no_answer_within(limit));
            return None;
        };
        if store.is_none() && matches!(job, Job::Changes(_)) {
            // The job before failed after it had been left alone; what changed is part of all that is known.
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
                    Err(error) => self.degrade(in_words(&error).into()),
                }
            }
            Ok(Err(panic)) => self.degrade(format!("writing the store broke off: {panic}").into()),
            Err(_) => {
                self.slot = Slot::InUse(task);
                self.degrade(no_answer_within(limit));
            }
        }
        None
    }

    /// Waits for the job that is under way and takes the database; `None` if that failed or nothing is open. Can be
    /// cancelled without losing either.
    async fn take_store(&mut self) -> Option<Store> {
        if let Slot::InUse(job) = &mut self.slot {
            let store = match job.await {
                Ok((store, Ok(_))) => store,
                // It was given up or nobody waited for it; whoever comes next finds no open database.
                Ok((_, Err(_))) | Err(_) => None,
            };
            self.slot = Slot::Idle(store);
        }
        match &mut self.slot {
            Slot::Idle(store) => store.take(),
            Slot::InUse(_) => None,
        }
    }

    fn spawn_job(&self, store: Option<Store>, job: Job) -> JoinHandle<Returned> {
        let (reopen, now) = (self.reopen.clone(), self.clock.now());
        spawn_blocking(move || match work(store, job, &reopen, now) {
            Ok((store, loaded)) => (Some(store), Ok(loaded)),
            // Opening it again checks what is left of it.
            Err(error) => (None, Err(error)),
        })
    }

    /// Begins to remove what is too old. Nobody waits for it but the next commit.
    fn prune_if_due(&mut self) {
        let now = Instant::now();
        if now < self.prune_at {
            return;
        }
        self.prune_at = now + self.settings.prune_every;
        if let Slot::Idle(store) = &mut self.slot
            && let Some(store) = store.take()
        {
            let older_than = self.clock.now() - self.settings.keep_for;
            let job = Job::Prune { keep: self.settings.keep, older_than };
            self.slot = Slot::InUse(self.spawn_job(Some(store), job));
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

fn work(
    store: Option<Store>,
    job: Job,
    reopen: &Reopen,
    now: Timestamp,
) -> Result<(Store, Option<Loaded>), StoreError> {
    let mut loaded = None;

    let mut store = match store {
        Some(store) => store,
        None => {
            let mut store = opened((*reopen.open)(now)?);
            store.set_instance(&reopen.instance)?;
            store
        }
    };
    match job {
        Job::Changes(changes) => store.save(&changes)?,
        Job::Replace(all) => store.save_all(&all)?,
        Job::Load(limits) => loaded = Some(store.load(limits)?),
        Job::Prune { keep, older_than } => drop(store.prune(keep, older_than)?),
    }
    Ok((store, loaded))
}

fn opened(opened: Opened) -> Store {
    if let Some(quarantined) = &opened.quarantine {
        log_events::store_quarantined(quarantined);
    }
    opened.store
}

fn no_answer_within(limit: Duration) -> Arc<str> {
    format!("the disk of the store gave no answer within {} s", limit.as_secs_f64()).into()
}

/// An error with what is behind it. What is behind that is only SQLite's number for it.
fn in_words(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
