//! How a table's columns differ from those that it should have.
//!
//! A row that a changed table does not take is refused by BigQuery, far from anyone who would notice. The order of
//! columns and the case of their names mean nothing there, and so nothing here.

use std::sync::Arc;

use super::table::{Column, TableSchema};
use crate::domain::sighting::Drift;

/// What differs, in the order of the columns as they should be, and what was added last.
pub(super) fn between(should: &TableSchema, is: &TableSchema) -> Arc<[Drift]> {
    let changed = should.columns.iter().filter_map(|from| {
        let to = is.column(&from.name).map(described);
        let from_text = described(from);
        (to.as_ref() != Some(&from_text)).then(|| drift(from, Some(from_text), to))
    });
    let added = is.columns.iter().filter(|column| should.column(&column.name).is_none());
    changed.chain(added.map(|column| drift(column, None, Some(described(column))))).collect()
}

fn drift(column: &Column, from: Option<Arc<str>>, to: Option<Arc<str>>) -> Drift {
    Drift { column: column.name.as_str().into(), from, to }
}

fn described(column: &Column) -> Arc<str> {
    let kind = canonical(&column.kind);
    match column.mode.to_ascii_uppercase().as_str() {
        "NULLABLE" | "" => kind.into(),
        mode => format!("{kind} {mode}").into(),
    }
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

    fn told(should: &[(&str, &str, &str)], is: &[(&str, &str, &str)]) -> Vec<(&'static str, String)> {
        let drift = between(&schema(should), &schema(is));
        drift.iter().map(|drift| (drift.change(), drift.to_string())).collect()
    }

    #[test]
    fn every_kind_of_change_is_told_apart() {
        let should = [
            ("id", "STRING", "REQUIRED"),
            ("size", "INTEGER", "NULLABLE"),
            ("level", "STRING", "NULLABLE"),
            ("tags", "STRING", "NULLABLE"),
        ];
        let is = [
            ("id", "STRING", "REQUIRED"),
            ("size", "STRING", "NULLABLE"),
            ("tags", "STRING", "REPEATED"),
            ("host", "STRING", "NULLABLE"),
        ];
        let expected = [
            ("retyped", "column size changed from INTEGER to STRING"),
            ("removed", "column level removed (STRING)"),
            ("remoded", "column tags changed from STRING to STRING REPEATED"),
            ("added", "column host added (STRING)"),
        ];
        assert_eq!(told(&should, &is), expected.map(|(change, text)| (change, text.to_owned())));
    }

    #[test]
    fn order_case_and_other_names_of_a_type_are_no_change() {
        let should = [("a", "INT64", "NULLABLE"), ("b", "struct", "nullable"), ("b.c", "BOOL", "NULLABLE")];
        let is = [("B", "RECORD", "NULLABLE"), ("b.C", "BOOLEAN", "NULLABLE"), ("A", "INTEGER", "NULLABLE")];
        assert!(told(&should, &is).is_empty());
    }
}
