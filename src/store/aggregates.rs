//! Buckets of figures on disk, and the conversion in both directions.
//!
//! A row is a bucket of one tenant with all its hops, in the bytes in which the probe keeps it in memory:
//! there are a hundred thousand of them, and only the domain reads what they hold. Tenants and hops are
//! stored by name like everywhere in the store, but each name once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Loaded, StoreError};
use crate::domain::aggregates::{KeptBucket, Step, Unsaved, series, with_layout};
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};

/// A bucket that begins so much later than now was left by a clock that was ahead.
const AHEAD: Duration = Duration::from_secs(86_400);

/// The number that stands for a step in rows. It must never change.
const fn code(step: Step) -> u8 {
    match step {
        Step::Minute => 0,
        Step::Hour => 1,
    }
}

const TENANTS: &str = "aggregate_tenant";
const HOPS: &str = "aggregate_hops";

/// The names of the hops of this topology, as JSON.
fn layout(map: &Topology) -> Result<String, StoreError> {
    let names: Vec<_> = series(map).into_iter().map(|series| series.name(map).to_string()).collect();
    Ok(serde_json::to_string(&names)?)
}

pub(super) fn upsert(to: &Transaction<'_>, unsaved: &Unsaved, map: &Topology) -> Result<(), StoreError> {
    if unsaved.buckets.is_empty() {
        return Ok(());
    }
    to.execute(
        "INSERT INTO aggregate_known (only, since) VALUES (1, ?1)
         ON CONFLICT (only) DO UPDATE SET since = min(since, excluded.since)",
        [unsaved.known_since.micros()],
    )?;
    let hops = number(to, HOPS, &layout(map)?)?;
    let mut tenants: BTreeMap<TenantId, i64> = BTreeMap::new();
    // The full state is a hundred thousand buckets, which the file usually has: those cost no write.
    let mut upsert = to.prepare(
        "INSERT INTO aggregate (step, start, tenant, hops, bucket) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (step, start, tenant) DO UPDATE SET hops = excluded.hops, bucket = excluded.bucket
         WHERE hops != excluded.hops OR bucket != excluded.bucket",
    )?;
    for KeptBucket { tenant, step, start, bytes } in &unsaved.buckets {
        let number = match tenants.get(tenant) {
            Some(number) => *number,
            None => *tenants.entry(*tenant).or_insert(number(to, TENANTS, &map.tenant(*tenant).name)?),
        };
        upsert.execute(params![code(*step), step.slot_of(*start), number, hops, &**bytes])?;
    }
    Ok(())
}

/// The number of a name in a table, which gives it one if it is new.
fn number(to: &Transaction<'_>, table: &str, name: &str) -> Result<i64, StoreError> {
    let select = format!("SELECT number FROM {table} WHERE name = ?1");
    if let Some(number) = to.query_row(&select, [name], |row| row.get(0)).optional()? {
        return Ok(number);
    }
    to.execute(&format!("INSERT INTO {table} (name) VALUES (?1)"), [name])?;
    Ok(to.last_insert_rowid())
}

/// What the numbers of a table stand for.
fn names<T>(
    from: &Connection,
    table: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<BTreeMap<i64, T>, StoreError> {
    let mut select = from.prepare(&format!("SELECT number, name FROM {table}"))?;
    let mut rows = select.query([])?;
    let mut names = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (number, name): (i64, String) = (row.get(0)?, row.get(1)?);
        names.extend(read(&name).map(|name| (number, name)));
    }
    Ok(names)
}

/// Loads all buckets of configured tenants, oldest first. Those of other tenants stay on disk until they are
/// too old.
pub(super) fn load(from: &Connection, map: &Topology, loaded: &mut Loaded) -> Result<(), StoreError> {
    let known = from.query_row("SELECT since FROM aggregate_known", [], |row| row.get(0)).optional()?;
    loaded.aggregates.known_since = known.map(Timestamp::from_micros);
    let tenants = names(from, TENANTS, |name| map.tenant_by_name(name))?;
    let layouts = names(from, HOPS, |names| {
        let names: Vec<String> = serde_json::from_str(names).ok()?;
        Some(names.into_iter().map(Arc::from).collect::<Vec<Arc<str>>>())
    })?;
    let mut select =
        from.prepare("SELECT step, start, tenant, hops, bucket FROM aggregate ORDER BY step, start")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Some(tenant) = tenants.get(&row.get(2)?).copied() else { continue };
        let (step, start): (u8, i64) = (row.get(0)?, row.get(1)?);
        let step = Step::ALL.into_iter().find(|it| code(*it) == step);
        let bytes = row.get_ref(4)?.as_blob().ok();
        let bytes = layouts.get(&row.get(3)?).zip(bytes);
        match (step, bytes.and_then(|(names, bytes)| with_layout(bytes, names, map))) {
            (Some(step), Some(bytes)) => {
                let start = step.start(start);
                loaded.aggregates.buckets.push(KeptBucket { tenant, step, start, bytes });
            }
            (None, _) | (_, None) => loaded.unreadable += 1,
        }
    }
    Ok(())
}

/// Deletes buckets that are not kept any longer at `now`, at most `max_rows` of each step.
pub(super) fn prune(from: &Transaction<'_>, now: Timestamp, max_rows: i64) -> Result<usize, StoreError> {
    let mut pruned = 0;
    for step in Step::ALL {
        let (oldest, newest) = (step.slot_of(now) - step.kept(), step.slot_of(now + AHEAD));
        pruned += from.execute(
            "DELETE FROM aggregate WHERE (step, start, tenant) IN (
                 SELECT step, start, tenant FROM aggregate
                 WHERE step = ?1 AND (start < ?2 OR start > ?3) LIMIT ?4)",
            params![code(step), oldest, newest, max_rows],
        )?;
    }
    Ok(pruned)
}
