//! What outlives a restart of the probe: every trace in flight, the finished ones and the leaks for a while, the columns
//! that tables were found to have, and the name under which this instance signs its canaries.
//!
//! One embedded SQLite file and one process that writes it; a whole batch is one transaction, so that a crash at any
//! moment leaves a state that the probe was in. It waits for the disk, so only the daemon's store writer calls it, off the
//! engine's path. It must never delete what it cannot read: a damaged file is moved aside, and a file that a newer or
//! another program wrote is refused untouched.

mod record;
mod schema;
mod schemas;
mod seen;
#[cfg(test)]
pub(crate) mod tests;
mod violations;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use self::record::{Record, Unreadable};
use crate::domain::tag::{InstanceCode, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::Topology;
use crate::domain::trace::Trace;
use crate::domain::tracker::{Changes, LearnedSchema, Restored, SeenSource, Violation};

/// How long to wait for another process that holds the file, such as our predecessor on its way out.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Most rows that one call of [`Store::prune`] removes of each kind, so that it never holds up what comes after it.
const PRUNE_AT_MOST: usize = 10_000;
/// Bytes of write-ahead log that are kept for reuse after a burst; SQLite would keep its largest size for ever.
const WAL_LIMIT: i64 = 16 << 20;

/// Traces, each with whether it is finished.
pub type Batch = Vec<(Arc<Trace>, bool)>;

/// An open database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    topology: Arc<Topology>,
}

/// A database that was opened.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub store: Store,
    /// The damaged file that was in its place, if there was one.
    pub quarantine: Option<Quarantined>,
}

/// A damaged file that made way for a fresh one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub damage: String,
}

/// What to bring back after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadLimits {
    /// Only traces that were planned at this instant or later, and violations that were noticed then.
    pub since: Timestamp,
    /// Most finished traces that went well, the newest first.
    pub delivered: usize,
    /// Most finished traces that did not, of each tenant, the newest first.
    pub failures: usize,
}

/// What was brought back.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The traces, oldest first, on today's map.
    pub traces: Vec<Trace>,
    /// How many traces stay on disk because their tenant is not configured any more, by its name.
    pub unknown_tenants: BTreeMap<String, usize>,
    /// What tables were found to look like, whether they are configured or not.
    pub schemas: Vec<LearnedSchema>,
    /// Isolation violations, in the order in which they were noticed.
    pub violations: Vec<Violation>,
    /// Which sources have shown which tenants' canaries, whether they are configured or not.
    pub seen: Vec<SeenSource>,
    /// Stages that traces have been at and that are not configured any more.
    pub dropped_stages: BTreeSet<String>,
    /// How many rows make no sense, and stay on disk.
    pub unreadable: usize,
}

impl From<Loaded> for Restored {
    fn from(loaded: Loaded) -> Self {
        let Loaded { traces, violations, schemas, seen, .. } = loaded;
        Self { traces, violations, schemas, seen }
    }
}

/// The name under which this instance signs its canaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// For people.
    pub name: String,
    /// In tags.
    pub code: InstanceCode,
}

impl Instance {
    /// An instance that has no past.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), code: InstanceCode::of(name) }
    }
}

/// Where a name for this instance comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// From the configuration: it is what the store is called from now on.
    Configured(String),
    /// From the host, which in a container changes with every start: a store that has a name keeps it.
    Host(String),
}

impl Naming {
    /// The name itself.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Configured(name) | Self::Host(name) => name,
        }
    }
}

/// Why the store cannot do what it should.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("the folder {} does not exist", .0.display())]
    NoFolder(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "the store is of version {found}, and this program knows versions up to {known}: it was left as it is; run the newer program, or give this one another path"
    )]
    Newer { found: i64, known: i64 },
    #[error("the file is another program's database: it was left as it is")]
    NotOurs,
    #[error("another process holds the store")]
    Held(#[source] rusqlite::Error),
    #[error("the disk of the store is full")]
    Full(#[source] rusqlite::Error),
    #[error("the store cannot be written")]
    ReadOnly(#[source] rusqlite::Error),
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    #[error("could not move the damaged store aside to {}", .to.display())]
    Quarantined { to: PathBuf, source: std::io::Error },
    #[error("a trace cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("could not read or write the store")]
    Other(#[source] rusqlite::Error),
}

impl StoreError {
    /// Whether trying again is useless until someone changes the configuration or the program.
    #[must_use]
    pub const fn is_a_fault_of_configuration(&self) -> bool {
        match self {
            Self::NoFolder(_) | Self::NotAFile(_) | Self::Newer { .. } | Self::NotOurs => true,
            Self::Held(_)
            | Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Corrupt(_)
            | Self::Quarantined { .. }
            | Self::Json(_)
            | Self::Other(_) => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held(error),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(error),
            _ => Self::Other(error),
        }
    }
}

impl Store {
    /// Opens the database at `path`, or begins one. A damaged one is moved aside to `<path>.corrupt-<now>`, never
    /// deleted, and a fresh one takes its place.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; a file that is refused is not changed.
    pub fn open(path: &Path, topology: Arc<Topology>, now: Timestamp) -> Result<Opened, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(StoreError::NoFolder(folder.to_owned()));
        }
        // A device or a pipe may block for ever, and must not be renamed.
        if path.exists() && !path.is_file() {
            return Err(StoreError::NotAFile(path.to_owned()));
        }
        let damage = match Self::try_open(path, topology.clone()) {
            Err(StoreError::Corrupt(damage)) => damage,
            other => return other.map(|store| Opened { store, quarantine: None }),
        };
        let moved_to = quarantine(path, now)?;
        let store = Self::try_open(path, topology)?;
        Ok(Opened { store, quarantine: Some(Quarantined { path: moved_to, damage }) })
    }

    fn try_open(path: &Path, topology: Arc<Topology>) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        Self::set_up(Connection::open_with_flags(path, flags)?, topology)
    }

    fn set_up(mut connection: Connection, topology: Arc<Topology>) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // One process writes, so the lock is held from first to last: two probes with one identity would undo each
        // other's work, and without shared memory the write-ahead log also works on a network file system.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // A read error of a mapped file is a signal that ends the process; of a plain read it is an error.
        connection.pragma_update(None, "mmap_size", 0)?;
        // Containers often have no writable place for temporary files.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // What a file says must not make SQLite run functions with side effects.
        connection.pragma_update(None, "trusted_schema", false)?;
        schema::inspect(&connection)?;
        let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if health != "ok" {
            return Err(StoreError::Corrupt(health));
        }
        // Readers and writers apart is not what it is for here: a commit is one append and no journal file to delete.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit survives the end of the process at once, and the end of the machine from the next checkpoint on;
        // what a power cut takes is only that the last seconds are decided a second time. It saves a flush a commit.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection, topology })
    }

    /// The name of this instance: see [`Naming`].
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn instance(&mut self, naming: &Naming) -> Result<Instance, StoreError> {
        let stored = self.stored_instance()?;
        let instance = match (naming, stored) {
            (Naming::Configured(name), Some(stored)) if stored.name == *name => return Ok(stored),
            (Naming::Host(_), Some(stored)) => return Ok(stored),
            (Naming::Configured(name) | Naming::Host(name), _) => Instance::of(name),
        };
        self.set_instance(&instance)?;
        Ok(instance)
    }

    /// Gives the store the name of the instance that writes it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn set_instance(&mut self, instance: &Instance) -> Result<(), StoreError> {
        let sql = "INSERT INTO instance (only, name, code) VALUES (1, ?1, ?2)
                   ON CONFLICT (only) DO UPDATE SET name = excluded.name, code = excluded.code";
        self.connection.execute(sql, params![instance.name, instance.code.value()])?;
        Ok(())
    }

    fn stored_instance(&self) -> Result<Option<Instance>, StoreError> {
        let mut select = self.connection.prepare("SELECT name, code FROM instance")?;
        let mut rows = select.query([])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let (name, code): (String, u32) = (row.get(0)?, row.get(1)?);
        let code = InstanceCode::from_value(code)
            .ok_or_else(|| StoreError::Corrupt("the code is out of range".into()))?;
        Ok(Some(Instance { name, code }))
    }

    /// Writes changes over what is known, in one transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing of them is written then.
    pub fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, changes, &self.topology)?;
        Ok(transaction.commit()?)
    }

    /// Writes everything that is known, after a time in which changes were not saved. What the file holds in flight
    /// and nobody knows any more ended in that time, and goes: restored, it would end a second time.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing is changed then.
    pub fn save_all(&mut self, all: &Changes) -> Result<(), StoreError> {
        let known: HashSet<TraceId> = all.traces.iter().map(|(trace, _)| trace.id()).collect();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut stale = Vec::new();
        {
            let mut select = transaction.prepare("SELECT id, tenant FROM trace WHERE finished = 0")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let id = id_of(row)?;
                let tenant: String = row.get(1)?;
                if !known.contains(&id) && self.topology.tenant_by_name(&tenant).is_some() {
                    stale.push(id);
                }
            }
            let mut delete = transaction.prepare("DELETE FROM trace WHERE id = ?1")?;
            for id in stale {
                delete.execute([id.as_u128().to_be_bytes()])?;
            }
        }
        write(&transaction, all, &self.topology)?;
        Ok(transaction.commit()?)
    }

    /// Brings back what a restart should know.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. A single row that makes no sense is counted, and no error.
    pub fn load(&mut self, limits: LoadLimits) -> Result<Loaded, StoreError> {
        const COLUMNS: &str = "id, tenant, planned_at, known";
        let limit = |most: usize| i64::try_from(most).unwrap_or(i64::MAX);
        let since = limits.since.micros();
        let mut loaded = Loaded::default();
        let open = format!("SELECT {COLUMNS} FROM trace WHERE finished = 0 AND planned_at >= ?1");
        let delivered = format!(
            "SELECT {COLUMNS} FROM trace WHERE finished = 1 AND failed = 0 AND planned_at >= ?1
             ORDER BY id DESC LIMIT ?2"
        );
        let failed = format!(
            "SELECT {COLUMNS} FROM (
                 SELECT {COLUMNS}, row_number() OVER (PARTITION BY tenant ORDER BY id DESC) AS nth
                 FROM trace WHERE finished = 1 AND failed = 1 AND planned_at >= ?1)
             WHERE nth <= ?2"
        );
        self.load_rows(&open, params![since], &mut loaded)?;
        self.load_rows(&delivered, params![since, limit(limits.delivered)], &mut loaded)?;
        self.load_rows(&failed, params![since, limit(limits.failures)], &mut loaded)?;
        loaded.traces.sort_unstable_by_key(Trace::id);
        schemas::load(&self.connection, &mut loaded)?;
        violations::load(&self.connection, &self.topology, &limits, &mut loaded)?;
        seen::load(&self.connection, &mut loaded)?;
        Ok(loaded)
    }

    fn load_rows(
        &self,
        sql: &str,
        parameters: &[&dyn rusqlite::ToSql],
        loaded: &mut Loaded,
    ) -> Result<(), StoreError> {
        let mut select = self.connection.prepare(sql)?;
        let mut rows = select.query(parameters)?;
        while let Some(row) = rows.next()? {
            let tenant: String = row.get(1)?;
            let Some(tenant_id) = self.topology.tenant_by_name(&tenant) else {
                *loaded.unknown_tenants.entry(tenant).or_default() += 1;
                continue;
            };
            let planned_at = Timestamp::from_micros(row.get(2)?);
            let known: String = row.get(3)?;
            let trace = serde_json::from_str(&known).map_err(Unreadable::from).and_then(|record: Record| {
                let dropped = &mut loaded.dropped_stages;
                record.into_trace(id_of(row)?, tenant_id, planned_at, &self.topology, dropped)
            });
            match trace {
                Ok(trace) => loaded.traces.push(trace),
                Err(Unreadable::Json(_) | Unreadable::Code | Unreadable::Stage | Unreadable::Row(_)) => {
                    loaded.unreadable += 1;
                }
            }
        }
        Ok(())
    }

    /// Forgets finished traces beyond the newest `keep` that went well and the newest `keep` that did not, every
    /// trace that was planned before `older_than`, which must be long after its deadline, and violations that were
    /// noticed before that. At most a few thousand at once; says how many traces.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn prune(&mut self, keep: usize, older_than: Timestamp) -> Result<usize, StoreError> {
        let at_most = i64::try_from(PRUNE_AT_MOST).unwrap_or(i64::MAX);
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old = "DELETE FROM trace WHERE rowid IN (SELECT rowid FROM trace WHERE planned_at < ?1 LIMIT ?2)";
        let mut pruned = transaction.execute(old, params![older_than.micros(), at_most])?;
        let many = "DELETE FROM trace WHERE rowid IN (
                        SELECT rowid FROM trace WHERE finished = 1 AND failed = ?1
                        ORDER BY id DESC LIMIT ?2 OFFSET ?3)";
        for failed in [false, true] {
            pruned += transaction.execute(many, params![failed, at_most, keep])?;
        }
        violations::prune(&transaction, older_than, at_most)?;
        transaction.commit()?;
        Ok(pruned)
    }
}

fn write(to: &Transaction<'_>, changes: &Changes, map: &Topology) -> Result<(), StoreError> {
    upsert(to, &changes.traces, map)?;
    schemas::upsert(to, &changes.schemas)?;
    violations::insert(to, &changes.violations, map)?;
    seen::insert(to, &changes.seen)
}

fn upsert(to: &Transaction<'_>, batch: &[(Arc<Trace>, bool)], map: &Topology) -> Result<(), StoreError> {
    let mut upsert = to.prepare(
        "INSERT INTO trace (id, tenant, planned_at, finished, failed, outcome, known)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, planned_at = excluded.planned_at,
             finished = excluded.finished, failed = excluded.failed, outcome = excluded.outcome, known = excluded.known",
    )?;
    for (trace, finished) in batch {
        let outcome = trace.ended.as_ref().map(|(outcome, _)| outcome);
        upsert.execute(params![
            trace.id().as_u128().to_be_bytes(),
            &*map.tenant(trace.tenant).name,
            trace.planned_at.micros(),
            finished,
            outcome.is_some_and(|outcome| outcome.is_failure()),
            outcome.map(|outcome| outcome.label()),
            serde_json::to_string(&Record::of(trace, map))?,
        ])?;
    }
    Ok(())
}

fn id_of(row: &Row<'_>) -> rusqlite::Result<TraceId> {
    Ok(TraceId::from_u128(u128::from_be_bytes(row.get(0)?)))
}

/// Moves a damaged database aside, with the logs that belong to it.
fn quarantine(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let beside = |base: &Path, suffix: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let to = beside(path, &now.strftime(".corrupt-%Y%m%dT%H%M%S%.6fZ"));
    if to.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StoreError::Quarantined { to, source });
    }
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let from = beside(path, suffix);
        if from.exists() {
            let to = beside(&to, suffix);
            std::fs::rename(from, &to).map_err(|source| StoreError::Quarantined { to, source })?;
        }
    }
    Ok(to)
}
