//! The columns of a table, and how they differ from those that it should have.
//!
//! A row that a changed table does not take is refused by BigQuery, far from anyone who would notice. The order of
//! columns and the case of their names mean nothing there, and so nothing here.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::sighting::Drift;

/// One column, nested ones with the path to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `trace_id`, or `payload.trace_id` inside a record.
    pub name: String,
    /// As tables.get names it: `STRING`, `INTEGER`, `TIMESTAMP`, `RECORD`, ...
    pub kind: String,
    /// `NULLABLE`, `REQUIRED` or `REPEATED`.
    pub mode: String,
}

/// The columns of a table, in its order, each record before its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSchema {
    /// All of them.
    pub columns: Vec<Column>,
}

impl TableSchema {
    /// The column of a name, in any case, as in SQL.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// How a table with the columns `is` differs from this, which it should be: in the order of these columns, and
    /// what was added last.
    #[must_use]
    pub fn drift(&self, is: &Self) -> Arc<[Drift]> {
        let changed = self.columns.iter().filter_map(|from| {
            let to = is.column(&from.name).map(Column::described);
            let from_text = from.described();
            (to.as_ref() != Some(&from_text)).then(|| drift(from, Some(from_text), to))
        });
        let added = is.columns.iter().filter(|column| self.column(&column.name).is_none());
        changed.chain(added.map(|column| drift(column, None, Some(column.described())))).collect()
    }

    /// What stands for these columns: two schemas have the same one if neither is a drift of the other.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let line = |column: &Column| format!("{} {}\n", column.name.to_ascii_lowercase(), column.described());
        let lines: BTreeSet<String> = self.columns.iter().map(line).collect();
        let mut hash = Sha256::new();
        lines.iter().for_each(|line| hash.update(line));
        let mut four = [0; 4];
        four.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Fingerprint(u32::from_be_bytes(four))
    }
}

impl Column {
    /// Its type, and its mode where that is not the usual one.
    fn described(&self) -> Arc<str> {
        let kind = canonical(&self.kind);
        match self.mode.to_ascii_uppercase().as_str() {
            "NULLABLE" | "" => kind.into(),
            mode => format!("{kind} {mode}").into(),
        }
    }
}

fn drift(column: &Column, from: Option<Arc<str>>, to: Option<Arc<str>>) -> Drift {
    Drift { column: column.name.as_str().into(), from, to }
}

/// A type as tables.get names it, for the names that SQL has for the same (BigQuery, data types).
fn canonical(kind: &str) -> String {
    let kind = kind.to_ascii_uppercase();
    match kind.as_str() {
        "INT64" => "INTEGER".to_owned(),
        "FLOAT64" => "FLOAT".to_owned(),
        "BOOL" => "BOOLEAN".to_owned(),
        "STRUCT" => "RECORD".to_owned(),
        "DECIMAL" => "NUMERIC".to_owned(),
        "BIGDECIMAL" => "BIGNUMERIC".to_owned(),
        _ => kind,
    }
}

/// Eight hexadecimal digits that stand for the columns of a table: short enough to be typed, by someone who accepts
/// what the page shows and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint(u32);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What the schema of a source is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExpectedSchema {
    /// The first one that is read, until one with an accepted fingerprint takes its place.
    Learned {
        /// The fingerprints.
        accepted: Vec<Fingerprint>,
    },
    /// This one.
    Configured(Arc<TableSchema>),
}

impl Default for ExpectedSchema {
    fn default() -> Self {
        Self::Learned { accepted: Vec::new() }
    }
}

/// Text that is no fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a fingerprint has eight hexadecimal digits")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u32::from_str_radix(text, 16).ok().filter(|_| digits);
        value.map(Self).ok_or(NoFingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, &str, &str)]) -> TableSchema {
        let column = |(name, kind, mode): &(&str, &str, &str)| Column {
            name: (*name).into(),
            kind: (*kind).into(),
            mode: (*mode).into(),
        };
        TableSchema { columns: columns.iter().map(column).collect() }
    }

    #[test]
    fn every_kind_of_change_is_told_apart() {
        let should = schema(&[
            ("id", "STRING", "REQUIRED"),
            ("size", "INTEGER", "NULLABLE"),
            ("level", "STRING", "NULLABLE"),
            ("tags", "STRING", "NULLABLE"),
        ]);
        let is = schema(&[
            ("id", "STRING", "REQUIRED"),
            ("size", "STRING", "NULLABLE"),
            ("tags", "STRING", "REPEATED"),
            ("host", "STRING", "NULLABLE"),
        ]);
        let expected = [
            ("retyped", "column size changed from INTEGER to STRING"),
            ("removed", "column level removed (STRING)"),
            ("remoded", "column tags changed from STRING to STRING REPEATED"),
            ("added", "column host added (STRING)"),
        ];
        let drift = should.drift(&is);
        let told: Vec<_> = drift.iter().map(|drift| (drift.change(), drift.to_string())).collect();
        assert_eq!(told, expected.map(|(change, text)| (change, text.to_owned())));
        assert_ne!(should.fingerprint(), is.fingerprint());
    }

    #[test]
    fn order_case_and_other_names_of_a_type_are_no_change() {
        let should =
            schema(&[("a", "INT64", "NULLABLE"), ("b", "struct", "nullable"), ("b.c", "BOOL", "NULLABLE")]);
        let is = schema(&[("B", "RECORD", "NULLABLE"), ("b.C", "BOOLEAN", "NULLABLE"), ("A", "INTEGER", "")]);
        assert!(should.drift(&is).is_empty());
        assert_eq!(should.fingerprint(), is.fingerprint());
    }

    #[test]
    fn a_fingerprint_reads_back_and_is_the_same_for_ever() {
        let fingerprint = schema(&[("trace_id", "STRING", "NULLABLE")]).fingerprint();
        assert_eq!(fingerprint.to_string(), "f76d6ebb");
        assert_eq!("f76d6ebb".parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().to_uppercase().parse(), Ok(fingerprint));
        for bad in ["", "0", "0123456789", "+1234567", "0x123456", "fingerpr"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(NoFingerprint), "{bad}");
        }
    }
}
