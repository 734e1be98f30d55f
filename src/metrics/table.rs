//! The metric table of the documentation, generated from the declared metrics, so that the two cannot differ.

use std::fmt::Write;

/// One metric as the documentation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub(super) kind: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// Writes one row for each metric, ordered by name.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| row.name);
    let mut out = String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let help = row.help.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {} | {} | {help} |", row.name, row.kind, row.labels.join(", "));
    }
    out
}
