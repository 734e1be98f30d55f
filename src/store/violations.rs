//! Isolation violations on disk, and the conversion in both directions.

use rusqlite::{Connection, Transaction, params};

use super::record::stage_named;
use super::{LoadLimits, Loaded, StoreError, id_of};
use crate::domain::sighting::Locator;
use crate::domain::time::Timestamp;
use crate::domain::topology::Topology;
use crate::domain::tracker::{LeakedTenant, MAX_KNOWN_LEAKS, Violation};

pub(super) fn insert(to: &Transaction<'_>, found: &[Violation], map: &Topology) -> Result<(), StoreError> {
    // A violation that is already stored keeps the time at which it was first noticed.
    let mut insert = to.prepare(
        "INSERT INTO violation (trace, stage, locator, tenant, found_with, noticed_at, found_in)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
    )?;
    for seen in found {
        insert.execute(params![
            seen.trace.as_u128().to_be_bytes(),
            &*map.stage(seen.stage).name,
            seen.locator.as_str(),
            tenant_out(&seen.tenant, map),
            seen.found_with.map(|tenant| &*map.tenant(tenant).name),
            seen.at.micros(),
            &*seen.found_in,
        ])?;
    }
    Ok(())
}

/// Loads the newest violations, oldest first. Those of tenants and stages that are no longer configured stay
/// on disk.
pub(super) fn load(
    from: &Connection,
    map: &Topology,
    limits: &LoadLimits,
    loaded: &mut Loaded,
) -> Result<(), StoreError> {
    let mut select = from.prepare(
        "SELECT trace, tenant, stage, locator, noticed_at, found_in, found_with FROM violation WHERE noticed_at >= ?1
         ORDER BY noticed_at DESC LIMIT ?2",
    )?;
    let max = i64::try_from(MAX_KNOWN_LEAKS).unwrap_or(i64::MAX);
    let mut rows = select.query(params![limits.since.micros(), max])?;
    while let Some(row) = rows.next()? {
        let (tenant, stage, locator): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        let (Some(tenant), Some(stage)) = (tenant_in(&tenant, map), stage_named(&stage, map)) else {
            continue;
        };
        let (trace, at) = (id_of(row)?, Timestamp::from_micros(row.get(4)?));
        let found_in: String = row.get(5)?;
        let locator = Locator::new(locator);
        let found_with: Option<String> = row.get(6)?;
        let found_with = found_with.and_then(|name| map.tenant_by_name(&name));
        let found_in = found_in.into();
        loaded.violations.push(Violation { at, tenant, found_with, stage, trace, found_in, locator });
    }
    loaded.violations.reverse();
    Ok(())
}

/// Returns the name of a tenant, or `?` and the code of a tenant that is not configured. No name begins with
/// `?`.
fn tenant_out(tenant: &LeakedTenant, map: &Topology) -> String {
    match tenant {
        LeakedTenant::Known(tenant) => map.tenant(*tenant).name.to_string(),
        LeakedTenant::Unknown(code) => format!("?{code}"),
    }
}

fn tenant_in(text: &str, map: &Topology) -> Option<LeakedTenant> {
    match text.strip_prefix('?') {
        Some(code) => Some(LeakedTenant::Unknown(code.into())),
        None => map.tenant_by_name(text).map(LeakedTenant::Known),
    }
}

/// Deletes violations that were noticed before `older_than`, and the oldest beyond the number that is ever
/// loaded; at most `max_rows` of each.
pub(super) fn prune(from: &Transaction<'_>, older_than: Timestamp, max_rows: i64) -> Result<(), StoreError> {
    let keep = i64::try_from(MAX_KNOWN_LEAKS).unwrap_or(i64::MAX);
    from.execute(
        "DELETE FROM violation WHERE rowid IN (SELECT rowid FROM violation WHERE noticed_at < ?1 LIMIT ?2)",
        params![older_than.micros(), max_rows],
    )?;
    from.execute(
        "DELETE FROM violation WHERE rowid IN (
             SELECT rowid FROM violation ORDER BY noticed_at DESC LIMIT ?1 OFFSET ?2)",
        params![max_rows, keep],
    )?;
    Ok(())
}
