//! The sources that have shown a tenant's canaries, on disk, and the conversion in both directions.

use rusqlite::{Connection, Transaction, params};

use super::{Loaded, StoreError};
use crate::domain::time::Timestamp;
use crate::domain::tracker::SeenSource;

pub(super) fn insert(to: &Transaction<'_>, seen: &[SeenSource]) -> Result<(), StoreError> {
    // A stored row keeps the time of the first canary.
    let mut insert = to.prepare(
        "INSERT INTO seen (stage, source, tenant, at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    for SeenSource { stage, source, tenant, at } in seen {
        insert.execute(params![&**stage, &**source, &**tenant, at.micros()])?;
    }
    Ok(())
}

/// Loads all rows, including those of sources and tenants that are no longer configured.
pub(super) fn load(from: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut select = from.prepare("SELECT stage, source, tenant, at FROM seen")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (stage, source, tenant): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (stage, source, tenant) = (stage.into(), source.into(), tenant.into());
        let at = Timestamp::from_micros(row.get(3)?);
        loaded.seen.push(SeenSource { stage, source, tenant, at });
    }
    Ok(())
}
