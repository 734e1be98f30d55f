//! What survives a restart of the probe: all traces in flight, recently finished traces and leaks, the
//! learned schemas of tables, figures over time, and the name under which this instance signs its canaries.
//!
//! The store is one embedded SQLite file, written by one process. A batch is one transaction, so a crash at
//! any moment leaves a state that the probe really was in. Calls wait for the disk, so only the daemon's
//! store writer makes them, not the engine itself. The store must never delete what it cannot read: a damaged
//! file is renamed, and a file that a newer or another program wrote is refused and left unchanged.

mod aggregates;
mod drills;
mod episodes;
mod open_file;
mod proof_source;
mod record;
mod schema;
mod schemas;
mod seen;
#[cfg(test)]
pub(crate) mod tests;
mod violations;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use self::open_file::OpenFile;
use self::record::{Record, Unreadable};
use crate::domain::aggregates::Kept;
use crate::domain::drill::DrillProof;
use crate::domain::flaw::flaws;
use crate::domain::incidents::Episode;
use crate::domain::tag::{InstanceCode, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};
use crate::domain::trace::Trace;
use crate::domain::tracker::{Changes, LearnedSchema, Restored, SeenSource, Violation};

/// How long to wait for another process that holds the file, such as a predecessor that is shutting down.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Most rows of each kind that one call of [`Store::prune`] deletes, so that it does not delay the next
/// commit for long.
const MAX_PRUNED_ROWS: usize = 10_000;
/// Traces with which something is wrong that are kept of each tenant and outcome, whatever others have.
const KEPT_OF_OUTCOME: i64 = 100;
/// How many bytes of write-ahead log to keep for reuse after a burst. By default SQLite keeps the largest
/// size for ever.
const WAL_LIMIT: i64 = 16 << 20;

/// The columns of a trace, in the order in which [`trace_of`] reads them.
const COLUMNS: &str = "id, tenant, planned_at, known";

/// Traces, each with whether it is finished.
pub type Batch = Vec<(Arc<Trace>, bool)>;

#[derive(Debug)]
pub struct Store {
    connection: Connection,
    topology: Arc<Topology>,
    /// `None` if it is in memory, or cannot be told from others.
    file: Option<OpenFile>,
}

/// The result of [`Store::open`].
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// Set if the file was damaged and a new one was created.
    pub quarantine: Option<Quarantined>,
}

/// A damaged file that was renamed and replaced by a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The new path of the damaged file.
    pub path: PathBuf,
    /// What SQLite reports as damaged.
    pub damage: String,
}

/// What to load after a restart. Traces in flight are limited by `since` alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadLimits {
    /// Only traces that were planned, and violations that were noticed, at this instant or later.
    pub since: Timestamp,
    /// At most this many delivered traces, the newest first, besides those of `max_of_tenant`.
    pub max_delivered: usize,
    /// At most this many delivered traces of each tenant, and this many of each outcome with which something
    /// is wrong, the newest first.
    pub max_of_tenant: usize,
}

/// What was loaded after a restart.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The traces, oldest first, converted to the current topology.
    pub traces: Vec<Trace>,
    /// How many traces stay on disk because their tenant is no longer configured, by tenant name.
    pub unknown_tenants: BTreeMap<String, usize>,
    /// The learned schemas of all tables, including those that are no longer configured.
    pub schemas: Vec<LearnedSchema>,
    /// Isolation violations, in the order in which they were noticed.
    pub violations: Vec<Violation>,
    /// The sources that have shown a tenant's canaries, configured or not.
    pub seen: Vec<SeenSource>,
    /// Those of the traces that had not finished when they were saved.
    pub open: HashSet<TraceId>,
    /// Figures over time.
    pub aggregates: Kept,
    /// Episodes of conditions of tenants and stages that are configured.
    pub episodes: Vec<Episode>,
    /// The last drill of which a notification arrived.
    pub drill: Option<DrillProof>,
    /// Stages that occur in loaded traces but are no longer configured.
    pub dropped_stages: BTreeSet<String>,
    /// How many rows could not be read. They stay on disk.
    pub unreadable: usize,
}

impl From<Loaded> for Restored {
    fn from(loaded: Loaded) -> Self {
        let Loaded { traces, violations, schemas, seen, open, .. } = loaded;
        Self { traces, violations, schemas, seen, open }
    }
}

/// The name under which this instance signs its canaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub name: String,
    /// Stands for the instance in tags.
    pub code: InstanceCode,
}

impl Instance {
    /// An instance with the code that follows from `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), code: InstanceCode::of(name) }
    }
}

/// Where the instance name comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// From the configuration. It replaces a stored name.
    Configured(String),
    /// From the host name, which changes with every start of a container. A stored name takes precedence.
    Host(String),
}

impl Naming {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Configured(name) | Self::Host(name) => name,
        }
    }
}

/// Why the store cannot be opened, read or written. The messages are for the log and the page.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the folder {} does not exist", .0.display())]
    NoFolder(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "the store has version {found}, but this program supports versions up to {known}: the file was not changed; run the newer program, or set another path"
    )]
    Newer { found: i64, known: i64 },
    #[error("the file is another program's database: it was not changed")]
    NotOurs,
    #[error("{} is a text file and not a store: it was not changed; set another path", .0.display())]
    Text(PathBuf),
    #[error("another process has locked the store")]
    Locked(#[source] rusqlite::Error),
    #[error("the disk is full")]
    Full(#[source] rusqlite::Error),
    #[error("the store cannot be written")]
    ReadOnly(#[source] rusqlite::Error),
    #[error("{} was deleted or replaced while it was open", .0.display())]
    Replaced(PathBuf),
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    #[error("cannot rename the damaged store to {}", .to.display())]
    QuarantineFailed { to: PathBuf, source: std::io::Error },
    #[error("a trace cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("cannot read or write the store")]
    Other(#[source] rusqlite::Error),
}

impl StoreError {
    /// Whether retries are useless until someone changes the configuration or the program.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::NoFolder(_) | Self::NotAFile(_) | Self::Newer { .. } | Self::NotOurs | Self::Text(_) => {
                true
            }
            Self::Locked(_)
            | Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Replaced(_)
            | Self::Corrupt(_)
            | Self::QuarantineFailed { .. }
            | Self::Json(_)
            | Self::Other(_) => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(error),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(error),
            _ => Self::Other(error),
        }
    }
}

impl Store {
    /// Opens the database at `path`, or creates it. A damaged file is renamed to `<path>.corrupt-<now>`,
    /// never deleted, and replaced by a new one. A text is refused.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or must not be written. A refused file is not changed.
    pub fn open(path: &Path, topology: Arc<Topology>, now: Timestamp) -> Result<Opened, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(StoreError::NoFolder(folder.to_owned()));
        }
        // Opening a device or a pipe may block for ever, and neither must be renamed.
        if path.exists() && !path.is_file() {
            return Err(StoreError::NotAFile(path.to_owned()));
        }
        let damage = match Self::try_open(path, topology.clone()) {
            Err(StoreError::Corrupt(_)) if is_text(path) => return Err(StoreError::Text(path.to_owned())),
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
        let store = Self::set_up(Connection::open_with_flags(path, flags)?, topology)?;
        Ok(Self { file: OpenFile::at(path), ..store })
    }

    fn set_up(mut connection: Connection, topology: Arc<Topology>) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // One process holds the lock for as long as it runs: two probes with one identity would overwrite
        // each other's rows. Without shared memory, the write-ahead log also works on a network file system.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // A read error in a mapped file is a signal that kills the process; otherwise it is an error code.
        connection.pragma_update(None, "mmap_size", 0)?;
        // Containers often have no writable folder for temporary files.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // The schema in a file must not make SQLite run functions with side effects.
        connection.pragma_update(None, "trusted_schema", false)?;
        schema::inspect(&connection)?;
        let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if health != "ok" {
            return Err(StoreError::Corrupt(health));
        }
        // Not for concurrent readers: with it a commit is one append, and no journal file has to be deleted.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Saves a flush per commit. A commit survives a crash of the process at once, and one of the machine
        // from the next checkpoint on. After a power cut, the last seconds are only decided a second time.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection, topology, file: None })
    }

    /// Checks that the file that is open is still the one at its path.
    ///
    /// # Errors
    ///
    /// [`StoreError::Replaced`]. Then close the store and open it again: nothing finds what is written to it.
    pub fn check_file(&self) -> Result<(), StoreError> {
        match &self.file {
            Some(file) if file.is_gone() => {
                // The log keeps its name, and SQLite does not delete it if the file was moved. It must not be
                // applied to the file that is now at the path. If this fails, that is checked for damage.
                let empty_log = "PRAGMA wal_checkpoint(TRUNCATE)";
                let _emptied = self.connection.query_row(empty_log, [], |_| Ok(()));
                Err(StoreError::Replaced(file.path().to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes over a topology that succeeds the present one.
    pub fn succeed(&mut self, topology: Arc<Topology>) {
        self.topology = topology;
    }

    /// Returns the name of this instance and stores it if it is new: see [`Naming`].
    ///
    /// # Errors
    ///
    /// If the database cannot be read or written.
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

    /// Stores the name of the instance that writes to the store.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
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
            .ok_or_else(|| StoreError::Corrupt("the instance code is out of range".into()))?;
        Ok(Some(Instance { name, code }))
    }

    /// Inserts or updates everything in `changes`, in one transaction.
    ///
    /// # Errors
    ///
    /// If the database cannot be written; then none of the changes is.
    pub fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, changes, &self.topology)?;
        Ok(transaction.commit()?)
    }

    /// Writes the full state, after a time in which changes were not saved. Traces that are in flight in the
    /// file but are not in `all` ended in that time and are deleted: restored, they would end a second time. So
    /// are episodes that go on in the file: restored, they would be incidents of their own. Traces that cannot
    /// be read stay: they were not restored either.
    ///
    /// # Errors
    ///
    /// If the database cannot be written; then nothing is changed.
    pub fn save_all(&mut self, all: &Changes) -> Result<(), StoreError> {
        let known: HashSet<TraceId> = all.traces.iter().map(|(trace, _)| trace.id()).collect();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut stale, mut dropped_stages) = (Vec::new(), BTreeSet::new());
        {
            let open = format!("SELECT {COLUMNS} FROM trace WHERE finished = 0");
            let mut select = transaction.prepare(&open)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let (id, tenant): (TraceId, String) = (id_of(row)?, row.get(1)?);
                let Some(tenant) = self.topology.tenant_by_name(&tenant) else { continue };
                if !known.contains(&id) && trace_of(row, tenant, &self.topology, &mut dropped_stages).is_ok()
                {
                    stale.push(id);
                }
            }
            let mut delete = transaction.prepare("DELETE FROM trace WHERE id = ?1")?;
            for id in stale {
                delete.execute([id.as_u128().to_be_bytes()])?;
            }
        }
        episodes::delete_merged(&transaction, &all.episodes, &self.topology)?;
        write(&transaction, all, &self.topology)?;
        Ok(transaction.commit()?)
    }

    /// Loads what a restarted probe needs.
    ///
    /// # Errors
    ///
    /// If the database cannot be read. A single unreadable row is not an error; it is counted in
    /// [`Loaded::unreadable`].
    pub fn load(&mut self, limits: LoadLimits) -> Result<Loaded, StoreError> {
        let rows = |max: usize| i64::try_from(max).unwrap_or(i64::MAX);
        let since = limits.since.micros();
        let mut loaded = Loaded::default();
        let open = format!("SELECT {COLUMNS} FROM trace WHERE finished = 0 AND planned_at >= ?1");
        let delivered = format!(
            "SELECT {COLUMNS} FROM (
                 SELECT {COLUMNS}, row_number() OVER (ORDER BY id DESC) AS nth,
                     row_number() OVER (PARTITION BY tenant ORDER BY id DESC) AS nth_of_tenant
                 FROM trace WHERE finished = 1 AND failed = 0 AND planned_at >= ?1)
             WHERE nth <= ?2 OR nth_of_tenant <= ?3"
        );
        let failed = format!(
            "SELECT {COLUMNS} FROM (
                 SELECT {COLUMNS}, row_number() OVER (PARTITION BY tenant, outcome ORDER BY id DESC) AS nth
                 FROM trace WHERE finished = 1 AND failed = 1 AND planned_at >= ?1)
             WHERE nth <= ?2"
        );
        self.load_rows(&open, params![since], &mut loaded)?;
        loaded.open = loaded.traces.iter().map(Trace::id).collect();
        let of_tenant = rows(limits.max_of_tenant);
        self.load_rows(&delivered, params![since, rows(limits.max_delivered), of_tenant], &mut loaded)?;
        self.load_rows(&failed, params![since, of_tenant], &mut loaded)?;
        loaded.traces.sort_unstable_by_key(Trace::id);
        schemas::load(&self.connection, &mut loaded)?;
        violations::load(&self.connection, &self.topology, &limits, &mut loaded)?;
        seen::load(&self.connection, &mut loaded)?;
        aggregates::load(&self.connection, &self.topology, &mut loaded)?;
        episodes::load(&self.connection, &self.topology, &mut loaded)?;
        loaded.drill = drills::load(&self.connection)?;
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
            match trace_of(row, tenant_id, &self.topology, &mut loaded.dropped_stages) {
                Ok(trace) => loaded.traces.push(trace),
                Err(Unreadable::Json(_) | Unreadable::Code | Unreadable::Stage | Unreadable::Row(_)) => {
                    loaded.unreadable += 1;
                }
            }
        }
        Ok(())
    }

    /// Deletes finished traces beyond the newest `max_finished` with which nothing is wrong and the newest
    /// `max_finished` others, every trace that was planned before `older_than`, and violations that were
    /// noticed before it. Of the others, the newest 100 of each tenant and outcome are not
    /// deleted for being too many, so that the failures of one tenant do not evict those of another. Returns
    /// the number of deleted traces, which is limited, so that a call takes little time.
    ///
    /// `older_than` must be so long ago that traces planned before it have passed their deadline.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub fn prune(&mut self, max_finished: usize, older_than: Timestamp) -> Result<usize, StoreError> {
        let max_rows = i64::try_from(MAX_PRUNED_ROWS).unwrap_or(i64::MAX);
        let keep = i64::try_from(max_finished).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let too_old =
            "DELETE FROM trace WHERE rowid IN (SELECT rowid FROM trace WHERE planned_at < ?1 LIMIT ?2)";
        let mut pruned = transaction.execute(too_old, params![older_than.micros(), max_rows])?;
        let too_many = "DELETE FROM trace WHERE rowid IN (
                        SELECT rowid FROM trace WHERE finished = 1 AND failed = 0
                        ORDER BY id DESC LIMIT ?1 OFFSET ?2)";
        pruned += transaction.execute(too_many, params![max_rows, keep])?;
        let flawed = "SELECT count(*) FROM trace WHERE finished = 1 AND failed = 1";
        if transaction.query_row(flawed, [], |row| row.get::<_, i64>(0))? > keep {
            let too_many = "DELETE FROM trace WHERE rowid IN (
                            SELECT number FROM (
                                SELECT rowid AS number, row_number() OVER (ORDER BY id DESC) AS nth,
                                    row_number() OVER (PARTITION BY tenant, outcome ORDER BY id DESC) AS nth_alike
                                FROM trace WHERE finished = 1 AND failed = 1)
                            WHERE nth > ?1 AND nth_alike > ?2 LIMIT ?3)";
            pruned += transaction.execute(too_many, params![keep, KEPT_OF_OUTCOME.min(keep), max_rows])?;
        }
        violations::prune(&transaction, older_than, max_rows)?;
        episodes::prune(&transaction, max_rows)?;
        transaction.commit()?;
        Ok(pruned)
    }

    /// Deletes figures over time that are not kept any longer. Returns the number of deleted buckets, which
    /// is limited like that of [`prune`](Self::prune).
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub fn prune_aggregates(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let max_rows = i64::try_from(MAX_PRUNED_ROWS).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pruned = aggregates::prune(&transaction, now, max_rows)?;
        transaction.commit()?;
        Ok(pruned)
    }
}

fn write(to: &Transaction<'_>, changes: &Changes, map: &Topology) -> Result<(), StoreError> {
    upsert(to, &changes.traces, map)?;
    schemas::upsert(to, &changes.schemas)?;
    violations::insert(to, &changes.violations, map)?;
    seen::insert(to, &changes.seen)?;
    aggregates::upsert(to, &changes.aggregates, map)?;
    episodes::upsert(to, &changes.episodes, &changes.merged_episodes, map)?;
    drills::save(to, changes.drill)
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
            // What was delivered slowly, twice or changed is kept like what failed.
            trace.is_failure() || !flaws(trace, map).is_empty(),
            outcome.map(|outcome| outcome.label()),
            serde_json::to_string(&Record::of(trace, map))?,
        ])?;
    }
    Ok(())
}

/// The trace of a row with [`COLUMNS`].
fn trace_of(
    row: &Row<'_>,
    tenant: TenantId,
    map: &Topology,
    dropped_stages: &mut BTreeSet<String>,
) -> Result<Trace, Unreadable> {
    let planned_at = Timestamp::from_micros(row.get(2)?);
    let known: String = row.get(3)?;
    let record: Record = serde_json::from_str(&known)?;
    record.into_trace(id_of(row)?, tenant, planned_at, map, dropped_stages)
}

fn id_of(row: &Row<'_>) -> rusqlite::Result<TraceId> {
    Ok(TraceId::from_u128(u128::from_be_bytes(row.get(0)?)))
}

/// Whether a file begins as a text and not as a database, damaged or not: somebody's own file, under a path that was
/// written by mistake.
fn is_text(path: &Path) -> bool {
    /// Where a database has numbers and zeros.
    const HEAD: u64 = 256;
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    // A character may be cut at the end.
    let valid = head.utf8_chunks().next().map(|chunk| chunk.valid()).unwrap_or_default();
    let is_printed = |char: char| !char.is_control() || matches!(char, '\t' | '\n' | '\r');
    read.is_ok() && !valid.is_empty() && head.len() - valid.len() < 4 && valid.chars().all(is_printed)
}

/// Renames a damaged database and the journal files that belong to it.
fn quarantine(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let with_suffix = |base: &Path, suffix: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let to = with_suffix(path, &now.strftime(".corrupt-%Y%m%dT%H%M%S%.6fZ"));
    if to.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StoreError::QuarantineFailed { to, source });
    }
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let from = with_suffix(path, suffix);
        if from.exists() {
            let to = with_suffix(&to, suffix);
            std::fs::rename(from, &to).map_err(|source| StoreError::QuarantineFailed { to, source })?;
        }
    }
    Ok(to)
}
