//! The columns of a table, and how they differ from the expected ones.
//!
//! BigQuery refuses rows that do not fit a changed table, and no one may notice. The order of columns and the
//! case of their names have no meaning there, so they have none here.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::sighting::Drift;
use crate::domain::foreign::ForeignText;

/// One column; a nested one has its path as its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// `trace_id`, or `payload.trace_id` inside a record.
    pub name: String,
    /// The type as tables.get names it: `STRING`, `INTEGER`, `TIMESTAMP`, `RECORD`, ...
    pub kind: String,
    /// `NULLABLE`, `REQUIRED` or `REPEATED`.
    pub mode: String,
}

/// The columns of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSchema {
    /// All columns in the table's order, each record before its fields.
    pub columns: Vec<Column>,
}

impl TableSchema {
    /// The column with this name, ignoring case as SQL does.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// How the actual columns `is` differ from these expected ones: changes in the order of these columns,
    /// then additions.
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

    /// A hash of the columns: two schemas have the same one if neither is a drift of the other.
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
    /// The type, with the mode unless it is NULLABLE.
    fn described(&self) -> Arc<str> {
        let kind = canonical(&self.kind);
        match self.mode.to_ascii_uppercase().as_str() {
            "NULLABLE" | "" => kind.into(),
            mode => format!("{kind} {mode}").into(),
        }
    }
}

fn drift(column: &Column, from: Option<Arc<str>>, to: Option<Arc<str>>) -> Drift {
    let [from, to] = [from, to].map(|kind| kind.map(ForeignText::from));
    Drift { column: column.name.as_str().into(), from, to }
}

/// The name that tables.get uses for a type, given any of SQL's names for it (BigQuery, data types).
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

/// A hash of the columns of a table, eight hexadecimal digits: short enough to type, so that a person accepts
/// exactly the schema that the page shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint(u32);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What the schema of a source is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExpectedSchema {
    /// The first one that is read, until one with an accepted fingerprint replaces it.
    Learned {
        /// Fingerprints that may replace the learned schema, as configured.
        accepted: Vec<Fingerprint>,
    },
    Configured(Arc<TableSchema>),
}

impl Default for ExpectedSchema {
    fn default() -> Self {
        Self::Learned { accepted: Vec::new() }
    }
}

/// A text that is not a valid fingerprint.
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
    fn each_kind_of_change_has_its_own_name() {
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
        let changes: Vec<_> = drift.iter().map(|drift| (drift.change(), drift.to_string())).collect();
        assert_eq!(changes, expected.map(|(change, text)| (change, text.to_owned())));
        assert_ne!(should.fingerprint(), is.fingerprint());
    }

    #[test]
    fn order_case_and_aliases_of_a_type_are_not_a_change() {
        let should =
            schema(&[("a", "INT64", "NULLABLE"), ("b", "struct", "nullable"), ("b.c", "BOOL", "NULLABLE")]);
        let is = schema(&[("B", "RECORD", "NULLABLE"), ("b.C", "BOOLEAN", "NULLABLE"), ("A", "INTEGER", "")]);
        assert!(should.drift(&is).is_empty());
        assert_eq!(should.fingerprint(), is.fingerprint());
    }

    #[test]
    fn a_fingerprint_parses_and_never_changes() {
        let fingerprint = schema(&[("trace_id", "STRING", "NULLABLE")]).fingerprint();
        assert_eq!(fingerprint.to_string(), "f76d6ebb");
        assert_eq!("f76d6ebb".parse(), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().to_uppercase().parse(), Ok(fingerprint));
        for bad in ["", "0", "0123456789", "+1234567", "0x123456", "fingerpr"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(NoFingerprint), "{bad}");
        }
    }
}
