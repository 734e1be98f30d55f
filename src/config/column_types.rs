//! The types that `schema` of a stage in BigQuery may name.
//!
//! A type that BigQuery does not have would be reported as a difference for as long as the stage exists.

use super::settings::Source;
use super::stage::StageRead;
use crate::domain::schema::ExpectedSchema;
use crate::keys::fault::{Collector, suggestion};

/// As tables.get names them, and SQL's other names for the same (BigQuery, data types; REST reference,
/// TableFieldSchema).
const TYPES: [&str; 22] = [
    "BIGDECIMAL",
    "BIGNUMERIC",
    "BOOL",
    "BOOLEAN",
    "BYTES",
    "DATE",
    "DATETIME",
    "DECIMAL",
    "FLOAT",
    "FLOAT64",
    "GEOGRAPHY",
    "INT64",
    "INTEGER",
    "INTERVAL",
    "JSON",
    "NUMERIC",
    "RANGE",
    "RECORD",
    "STRING",
    "STRUCT",
    "TIME",
    "TIMESTAMP",
];

/// Reports types of columns that BigQuery does not have.
pub(super) fn check(faults: &mut Collector, stages: &[StageRead<'_>], order: &[usize], sources: &[Source]) {
    for source in sources {
        let ExpectedSchema::Configured(schema) = source.settings.expected_schema() else { continue };
        let stage = order.get(usize::from(source.stage.0)).and_then(|index| stages.get(*index));
        let Some(stage) = stage else { continue };
        for column in schema.columns.iter().filter(|column| !TYPES.contains(&column.kind.as_str())) {
            let near = suggestion(&column.kind, TYPES);
            let message = format!(
                "{} of column {} is not a type of BigQuery; it has {}{near}",
                column.kind,
                column.name,
                TYPES.join(", ")
            );
            faults.report(stage.key("schema"), message);
        }
    }
}
