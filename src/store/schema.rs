//! The database schema and its migrations.
//!
//! A file's `user_version` is the number of migration steps that have been applied to it. A released step is
//! never edited: a change is a new step at the end.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Marks the file as ours, so that another program's database is refused. `zqtp` in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x7a71_7470;

/// The migration steps; each goes from the version that equals its index to the next.
///
/// Tenants, stages and outcomes are stored by name, because their ids are positions in a configuration, which
/// changes. What queries use has a column; everything else is JSON in `known`, so that another stage changes
/// no schema. The 16 bytes of an id begin with the planned instant, so ids sort by time.
pub(super) const STEPS: [&str; 8] = [
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
    // The tables do not change. From this version on, `known` holds the claim of a version 2 tag in a new
    // field. Older programs do not know it and would treat every such trace as damaged, so they must refuse
    // the file. Rows that they wrote can still be read.
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
    "ALTER TABLE violation ADD COLUMN found_with TEXT;",
    "
    CREATE TABLE episode (
        id INTEGER NOT NULL PRIMARY KEY,
        ended_at INTEGER,
        known TEXT NOT NULL
    ) STRICT;
    CREATE INDEX episode_by_end ON episode (ended_at);
    CREATE TABLE drill (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        began INTEGER NOT NULL,
        rang INTEGER NOT NULL
    ) STRICT;
",
    // Of a hundred thousand buckets, each holds the numbers of its tenant's name and of the list of its hops.
    // They are in the order in which they are written.
    "
    CREATE TABLE aggregate_known (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        since INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE aggregate_tenant (
        number INTEGER NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE aggregate_hops (
        number INTEGER NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE aggregate (
        step INTEGER NOT NULL CHECK (step IN (0, 1)),
        start INTEGER NOT NULL,
        tenant INTEGER NOT NULL,
        hops INTEGER NOT NULL,
        bucket BLOB NOT NULL,
        PRIMARY KEY (step, start, tenant)
    ) STRICT, WITHOUT ROWID;
",
];

/// The newest version that this program knows.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Returns the version of a file, or refuses a file that this program must not write. Changes nothing.
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

/// Migrates a database to [`VERSION`] in one transaction, or leaves it unchanged.
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
