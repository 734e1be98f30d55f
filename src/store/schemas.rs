//! Learned schemas as they stand on disk, and the way there and back.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Loaded, StoreError};
use crate::domain::schema::{Column, TableSchema};
use crate::domain::tracker::LearnedSchema;

#[derive(Serialize, Deserialize)]
struct ColumnRecord {
    name: String,
    kind: String,
    mode: String,
}

pub(super) fn upsert(to: &Transaction<'_>, learned: &[LearnedSchema]) -> Result<(), StoreError> {
    let mut upsert = to.prepare(
        "INSERT INTO learned_schema (source, columns) VALUES (?1, ?2)
         ON CONFLICT (source) DO UPDATE SET columns = excluded.columns",
    )?;
    for LearnedSchema { source, schema } in learned {
        let record = |column: &Column| ColumnRecord {
            name: column.name.clone(),
            kind: column.kind.clone(),
            mode: column.mode.clone(),
        };
        let columns: Vec<_> = schema.columns.iter().map(record).collect();
        upsert.execute(params![&**source, serde_json::to_string(&columns)?])?;
    }
    Ok(())
}

/// Reads all of them; there are as many as tables were ever watched. One that makes no sense is learned anew.
pub(super) fn load(from: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut select = from.prepare("SELECT source, columns FROM learned_schema ORDER BY source")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (source, columns): (String, String) = (row.get(0)?, row.get(1)?);
        let column = |ColumnRecord { name, kind, mode }| Column { name, kind, mode };
        match serde_json::from_str::<Vec<ColumnRecord>>(&columns) {
            Ok(columns) => {
                let schema = TableSchema { columns: columns.into_iter().map(column).collect() };
                loaded.schemas.push(LearnedSchema { source: source.into(), schema: Arc::new(schema) });
            }
            Err(_) => loaded.unreadable += 1,
        }
    }
    Ok(())
}
