//! The metric table of the documentation, made from the registry so that it cannot name what does not exist.

use std::fmt::Write;

use super::Described;

/// One row a metric, in the order of their names.
pub(super) fn markdown(described: &[Described]) -> String {
    let mut rows: Vec<_> = described.iter().collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = String::from("| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n");
    for row in rows {
        let help = row.help.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {} | {} | {help} |", row.name, row.kind, row.labels.join(", "));
    }
    out
}
