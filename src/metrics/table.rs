//! The metric table of the documentation, made from what is declared so that it cannot name what does not exist.

use std::fmt::Write;

/// What the documentation says of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its name.
    pub(super) name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub(super) kind: &'static str,
    /// Its labels, in order.
    pub(super) labels: &'static [&'static str],
    /// The help text.
    pub(super) help: &'static str,
}

/// One row a metric, in the order of their names.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| row.name);
    let mut out = String::from("| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let help = row.help.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {} | {} | {help} |", row.name, row.kind, row.labels.join(", "));
    }
    out
}
