//! What a table looks like, as far as a query for canaries depends on it.
//!
//! It is read with structures of our own: those of the BigQuery crate cannot read a table that has a column
//! of a type which is newer than the crate.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::schema::{Column, TableSchema};
use crate::domain::time::Timestamp;

/// How a table is cut into partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Partitioning {
    /// Not by time.
    None,
    /// By when a row left the streaming buffer; until then its partition is NULL.
    Ingestion(Unit),
    /// By a column of the given type.
    Column { name: String, kind: String, unit: Unit },
}

/// What a partition spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    Month,
    Year,
}

/// A table or view as tables.get describes it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Without columns where the service does not say: an emulator's view.
    pub(super) schema: TableSchema,
    pub(super) partitioning: Partitioning,
    pub(super) location: Option<String>,
    /// When it was created, where the service says so.
    pub(super) created: Option<Timestamp>,
    /// The columns by which it is clustered, the first one first.
    clustering: Vec<String>,
    /// Lower-case names of the columns that BigQuery fills with the time of the insertion.
    insertion_times: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TableJson {
    schema: Option<SchemaJson>,
    time_partitioning: Option<PartitioningJson>,
    clustering: Option<ClusteringJson>,
    location: Option<String>,
    /// Milliseconds since 1970, as a text (BigQuery REST reference, Table).
    creation_time: Option<Value>,
}

#[derive(Deserialize)]
struct ClusteringJson {
    fields: Option<Vec<String>>,
}

/// The schema of a table or of a query's result.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct SchemaJson {
    #[serde(default)]
    fields: Vec<FieldJson>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldJson {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    mode: Option<String>,
    default_value_expression: Option<String>,
    #[serde(default)]
    fields: Vec<FieldJson>,
}

#[derive(Deserialize)]
struct PartitioningJson {
    #[serde(rename = "type")]
    unit: Option<String>,
    field: Option<String>,
}

impl SchemaJson {
    /// All columns, nested ones with the path to them.
    pub(super) fn columns(&self) -> TableSchema {
        let mut schema = TableSchema::default();
        self.fields.iter().for_each(|field| add(&mut schema.columns, "", field));
        schema
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl FieldJson {
    /// `CURRENT_TIMESTAMP()` or `CURRENT_DATETIME()`, which is UTC without an argument (BigQuery, default
    /// values).
    fn is_insertion_time(&self) -> bool {
        let expression = self.default_value_expression.as_deref().unwrap_or_default();
        let name = expression.trim().trim_end_matches(['(', ')', ' ']);
        ["CURRENT_TIMESTAMP", "CURRENT_DATETIME"].iter().any(|function| name.eq_ignore_ascii_case(function))
    }
}

impl Table {
    /// Reads the answer of tables.get.
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let table: TableJson = serde_json::from_slice(json)?;
        let described = table.schema.unwrap_or_default();
        let schema = described.columns();
        let partitioning = table.time_partitioning.map_or(Partitioning::None, |by| {
            let unit = match by.unit.as_deref() {
                Some("HOUR") => Unit::Hour,
                Some("MONTH") => Unit::Month,
                Some("YEAR") => Unit::Year,
                _ => Unit::Day,
            };
            match by.field {
                None => Partitioning::Ingestion(unit),
                Some(name) => {
                    let kind = schema.column(&name).map(|column| column.kind.clone());
                    Partitioning::Column { name, kind: kind.unwrap_or_default(), unit }
                }
            }
        });
        // Only top-level columns can have a default (BigQuery, default values).
        let filled = described.fields.iter().filter(|field| field.is_insertion_time());
        let insertion_times = filled.map(|field| field.name.to_ascii_lowercase()).collect();
        let created = table.creation_time.as_ref().and_then(whole_number).map(Timestamp::from_millis);
        let clustering = table.clustering.and_then(|by| by.fields).unwrap_or_default();
        Ok(Self { schema, partitioning, location: table.location, created, clustering, insertion_times })
    }

    /// Whether it is clustered by this column before any other, so that a query for values of it reads few
    /// blocks.
    pub(super) fn is_clustered_by(&self, column: &str) -> bool {
        self.clustering.first().is_some_and(|first| first.eq_ignore_ascii_case(column))
    }

    /// Whether BigQuery fills this column with the time of the insertion, unless the writer sets it.
    pub(super) fn stamps_insertion(&self, column: &str) -> bool {
        self.insertion_times.contains(&column.to_ascii_lowercase())
    }
}

fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn add(columns: &mut Vec<Column>, within: &str, field: &FieldJson) {
    let name = format!("{within}{}", field.name);
    columns.push(Column {
        name: name.clone(),
        kind: field.kind.to_ascii_uppercase(),
        mode: field.mode.clone().unwrap_or_else(|| "NULLABLE".to_owned()),
    });
    for nested in &field.fields {
        add(columns, &format!("{name}."), nested);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(json: &serde_json::Value) -> Table {
        Table::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn nested_columns_and_unknown_types_are_kept() {
        let table = table(&json!({"schema": {"fields": [
            {"name": "span", "type": "RANGE", "rangeElementType": {"type": "DATE"}},
            {"name": "payload", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "Id", "type": "STRING"}]},
        ]}}));
        let names: Vec<&str> = table.schema.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["span", "payload", "payload.Id"]);
        assert_eq!(table.schema.column("PAYLOAD.id").unwrap().kind, "STRING");
        assert_eq!(table.partitioning, Partitioning::None);
    }

    #[test]
    fn partitioning_without_a_field_is_by_ingestion_time() {
        let by = |partitioning| {
            table(&json!({
                "schema": {"fields": [{"name": "at", "type": "TIMESTAMP"}]},
                "timePartitioning": partitioning,
            }))
            .partitioning
        };
        assert_eq!(by(json!({"type": "HOUR"})), Partitioning::Ingestion(Unit::Hour));
        assert_eq!(
            by(json!({"type": "DAY", "field": "at"})),
            Partitioning::Column { name: "at".into(), kind: "TIMESTAMP".into(), unit: Unit::Day }
        );
    }

    #[test]
    fn only_the_first_column_of_a_clustering_counts() {
        let by = |fields| table(&json!({"clustering": {"fields": fields}}));
        assert!(by(json!(["trace_id", "tenant"])).is_clustered_by("TRACE_ID"));
        assert!(!by(json!(["tenant", "trace_id"])).is_clustered_by("trace_id"));
        assert!(!table(&json!({})).is_clustered_by("trace_id"));
    }

    #[test]
    fn the_time_of_creation_is_read_as_text_and_as_number() {
        let created = |value| table(&json!({"creationTime": value})).created;
        let expected = Some(Timestamp::from_secs(1_795_321_800));
        assert_eq!(created(json!("1795321800000")), expected);
        assert_eq!(created(json!(1_795_321_800_000_i64)), expected);
        assert_eq!(created(json!("soon")), None);
    }

    #[test]
    fn a_column_that_defaults_to_the_current_time_is_stamped_at_insertion() {
        let stamps = |default: serde_json::Value| {
            table(&json!({"schema": {"fields": [
                {"name": "At", "type": "TIMESTAMP", "defaultValueExpression": default},
            ]}}))
            .stamps_insertion("at")
        };
        assert!(stamps(json!("CURRENT_TIMESTAMP()")));
        assert!(stamps(json!("current_timestamp")));
        assert!(stamps(json!("CURRENT_DATETIME()")));
        assert!(!stamps(json!("CURRENT_DATETIME('Asia/Tokyo')")));
        assert!(!stamps(json!("TIMESTAMP '2026-01-01'")));
        assert!(!stamps(serde_json::Value::Null));
    }
}
