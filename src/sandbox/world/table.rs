//! The BigQuery table: rows with the time of their insertion, some of them still in the streaming buffer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::clock::Micros;

/// One row of `demo.logs.events`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The value of `trace_id` in the JSON of the line; NULL if the line is not JSON or has none.
    pub trace_id: Option<Arc<str>>,
    pub tenant: Arc<str>,
    pub message: Arc<str>,
    /// The column's default on the server: when the row was written.
    pub ingest_time: Micros,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub rows: VecDeque<Row>,
    inserted: u64,
}

impl Table {
    /// Stores a row and returns its number.
    pub(crate) fn insert(&mut self, row: Row, capacity: usize) -> u64 {
        self.rows.push_back(row);
        while self.rows.len() > capacity {
            self.rows.pop_front();
        }
        self.inserted += 1;
        self.inserted
    }

    pub(crate) fn forget_before(&mut self, horizon: Micros) {
        while self.rows.front().is_some_and(|row| row.ingest_time < horizon) {
            self.rows.pop_front();
        }
    }

    /// Number and bytes of the rows in the streaming buffer, and the time of the oldest.
    pub(crate) fn buffered(&self, now: Micros, stay: Duration) -> (usize, usize, Option<Micros>) {
        let fresh = self.rows.iter().filter(|row| row.is_buffered(now, stay));
        fresh.fold((0, 0, None), |(rows, bytes, oldest), row| {
            (rows + 1, bytes + row.bytes(), oldest.or(Some(row.ingest_time)))
        })
    }
}

impl Row {
    /// Whether `_PARTITIONTIME` is still NULL.
    pub(crate) fn is_buffered(&self, now: Micros, stay: Duration) -> bool {
        now.since(self.ingest_time) < stay
    }

    /// Size of the whole row by BigQuery's rule: 2 bytes and the text for a STRING, 8 for a TIMESTAMP.
    pub(crate) fn bytes(&self) -> usize {
        self.trace_id.as_ref().map_or(0, |text| text.len() + 2)
            + self.tenant.len()
            + 2
            + self.message.len()
            + 2
            + 8
    }
}
