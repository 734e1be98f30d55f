//! The shape of the database, and how an older one is brought to it.
//!
//! The number of steps that a file has been through stands in its `user_version`. A shape that was ever released is
//! never edited: a change is a new step at the end.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Marks the file as ours, so that another program's database is refused rather than written into. `zqtp` in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x7a71_7470;

/// The steps, each from the version that is its index to the next.
///
/// Tenants, stages and outcomes stand by name: their ids are places in a configuration, which changes. What is queried
/// has a column; the rest is JSON in `known`, where a stage more or less changes no schema. An id's 16 bytes begin
/// with the planned instant, so they sort by it.
pub(super) const STEPS: [&str; 5] = [
    "
    CREATE TABLE instance (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        name TEXT NOT NULL,
        code INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE trace (
        id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
        tenant TEXT NOT NULL,
        planned_at INTEGER NOT NULL,
        finished INTEGER NOT NULL CHECK (finished IN (0, 1)),
        failed INTEGER NOT NULL CHECK (failed IN (0, 1)),
        outcome TEXT,
        known TEXT NOT NULL
    ) STRICT;
    CREATE INDEX trace_by_age ON trace (planned_at);
    CREATE INDEX trace_by_end ON trace (finished, failed, id);
",
    "
    CREATE TABLE learned_schema (
        source TEXT NOT NULL PRIMARY KEY,
        columns TEXT NOT NULL,
        drifted_since INTEGER
    ) STRICT;
",
    "
    CREATE TABLE violation (
        trace BLOB NOT NULL CHECK (length(trace) = 16),
        stage TEXT NOT NULL,
        locator TEXT NOT NULL,
        tenant TEXT NOT NULL,
        noticed_at INTEGER NOT NULL,
        found_in TEXT NOT NULL,
        PRIMARY KEY (trace, stage, locator)
    ) STRICT;
    CREATE INDEX violation_by_age ON violation (noticed_at);
",
    // The tables stay. From here on `known` holds what a tag of version 2 says in a field that programs before this step do
    // not have: they would take every such trace for a damaged one, so they must refuse the file. What they wrote is read
    // as it is.
    "",
    "
    CREATE TABLE seen (
        stage TEXT NOT NULL,
        source TEXT NOT NULL,
        tenant TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (stage, source, tenant)
    ) STRICT;
",
];

/// The newest version that this program knows.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Refuses a file that this program must not write, without a change to it; says which version it is of.
///
/// # Errors
///
/// [`StoreError::Newer`] and [`StoreError::NotOurs`].
pub(super) fn inspect(connection: &Connection) -> Result<i64, StoreError> {
    let read = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let version = read("PRAGMA user_version")?;
    let owner = read("PRAGMA application_id")?;
    let fresh = owner == 0 && version == 0 && read("SELECT count(*) FROM sqlite_schema")? == 0;
    if owner != i64::from(APPLICATION_ID) && !fresh {
        return Err(StoreError::NotOurs);
    }
    if version > VERSION {
        return Err(StoreError::Newer { found: version, known: VERSION });
    }
    Ok(version)
}

/// Brings a database to [`VERSION`] in one transaction, or leaves it as it is.
///
/// # Errors
///
/// [`StoreError`].
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(inspect(&transaction)?).unwrap_or(0);
    if done < STEPS.len() {
        for step in &STEPS[done..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(transaction.commit()?)
}
