//! The last drill of which a notification arrived, on disk.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::StoreError;
use crate::domain::drill::DrillProof;
use crate::domain::time::Timestamp;

pub(super) fn save(to: &Transaction<'_>, proof: Option<DrillProof>) -> Result<(), StoreError> {
    if let Some(DrillProof { began, rang }) = proof {
        let sql = "INSERT INTO drill (only, began, rang) VALUES (1, ?1, ?2)
                   ON CONFLICT (only) DO UPDATE SET began = excluded.began, rang = excluded.rang";
        to.execute(sql, params![began.micros(), rang.micros()])?;
    }
    Ok(())
}

pub(super) fn load(from: &Connection) -> Result<Option<DrillProof>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        let at = |column| row.get(column).map(Timestamp::from_micros);
        Ok(DrillProof { began: at(0)?, rang: at(1)? })
    };
    Ok(from.query_row("SELECT began, rang FROM drill", [], read).optional()?)
}
