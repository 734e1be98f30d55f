//! Learned schemas on disk, and the conversion in both directions.
//!
//! A changed schema is accepted in the configuration (`schema_accepted`), not by a command that writes into
//! the file: the daemon keeps the file locked while it runs, and in a container no command can run while it
//! does not.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Loaded, StoreError};
use crate::domain::schema::{Column, TableSchema};
use crate::domain::time::Timestamp;
use crate::domain::tracker::LearnedSchema;

#[derive(Serialize, Deserialize)]
struct ColumnRecord {
    name: String,
    kind: String,
    mode: String,
}

pub(super) fn upsert(to: &Transaction<'_>, learned: &[LearnedSchema]) -> Result<(), StoreError> {
    let mut upsert = to.prepare(
        "INSERT INTO learned_schema (source, columns, drifted_since) VALUES (?1, ?2, ?3)
         ON CONFLICT (source) DO UPDATE SET columns = excluded.columns, drifted_since = excluded.drifted_since",
    )?;
    for LearnedSchema { source, schema, drifted_since } in learned {
        let record = |column: &Column| ColumnRecord {
            name: column.name.clone(),
            kind: column.kind.clone(),
            mode: column.mode.clone(),
        };
        let columns: Vec<_> = schema.columns.iter().map(record).collect();
        upsert.execute(params![
            &**source,
            serde_json::to_string(&columns)?,
            drifted_since.map(Timestamp::micros)
        ])?;
    }
    Ok(())
}

/// Loads all learned schemas, one for each table that was ever watched. An unreadable one is skipped, and
/// learned again.
pub(super) fn load(from: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut select =
        from.prepare("SELECT source, columns, drifted_since FROM learned_schema ORDER BY source")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (source, columns): (String, String) = (row.get(0)?, row.get(1)?);
        let column = |ColumnRecord { name, kind, mode }| Column { name, kind, mode };
        match serde_json::from_str::<Vec<ColumnRecord>>(&columns) {
            Ok(columns) => {
                let schema = TableSchema { columns: columns.into_iter().map(column).collect() };
                let drifted_since = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_micros);
                let (source, schema) = (source.into(), Arc::new(schema));
                loaded.schemas.push(LearnedSchema { source, schema, drifted_since });
            }
            Err(_) => loaded.unreadable += 1,
        }
    }
    Ok(())
}
