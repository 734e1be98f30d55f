//! Whether the configured columns are there and of a type that can serve.
//!
//! A column that is left out silently makes the stage lie: without its tenant column it notices no leak, with
//! a time of type STRING it measures to the poll interval instead of the millisecond. So each fault makes the
//! stage blind.

use super::settings::{Id, IdMatch, Settings, TimeIs};
use super::table::{SchemaJson, Table};
use crate::domain::schema::{Column, TableSchema};
use crate::domain::sighting::FailureKind;
use crate::domain::tag::MARKER;
use crate::keys::fault::suggestion;
use crate::observe::ObserveError;

/// Columns that a fault lists where none is near.
const LISTED: usize = 8;

/// What a query selects of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) id: Id,
    pub(super) id_match: IdMatch,
    pub(super) time: Option<TimeColumn>,
    pub(super) tenant: Option<String>,
    pub(super) body: Option<String>,
}

/// The column that holds a row's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeColumn {
    pub(super) name: String,
    /// TIMESTAMP or DATETIME; empty where the table does not say.
    pub(super) kind: String,
    pub(super) is: TimeIs,
}

/// Where in a row each value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) id: usize,
    pub(super) time: Option<usize>,
    pub(super) tenant: Option<usize>,
    pub(super) body: Option<usize>,
}

impl Columns {
    /// Checks the settings against the table, and joins what both say. Every fault is in the error.
    pub(super) fn check(settings: &Settings, name: &str, table: &Table) -> Result<Self, ObserveError> {
        if !table.schema.columns.is_empty() {
            let faults = settings.configured_columns().filter_map(|(use_, column)| {
                use_.fault(column, &table.schema).map(|fault| {
                    let key = use_.key();
                    format!("{} ({key})", fault.text(column, name))
                })
            });
            reject(faults.collect())?;
        }
        let time = settings.time_column.as_ref().map(|column| TimeColumn {
            name: column.clone(),
            kind: table.schema.column(column).map_or_else(String::new, |column| column.kind.clone()),
            is: settings.time_is.unwrap_or_else(|| {
                if table.stamps_insertion(column) { TimeIs::Inserted } else { TimeIs::Written }
            }),
        });
        Ok(Self {
            id: settings.id.clone(),
            id_match: settings.id_match,
            time,
            tenant: settings.tenant_column.clone(),
            body: settings.body_column.clone(),
        })
    }

    pub(super) fn positions(&self) -> Positions {
        let mut next = 1;
        let mut position = |selected: bool| {
            selected.then(|| {
                next += 1;
                next - 1
            })
        };
        Positions {
            id: 0,
            time: position(self.time.is_some()),
            tenant: position(self.tenant.is_some()),
            body: position(self.body.is_some()),
        }
    }

    /// Checks the types that a dry run says the query selects. This covers an expression, and a view whose
    /// description has no columns.
    pub(super) fn check_result(&self, name: &str, result: &SchemaJson) -> Result<(), ObserveError> {
        let result = result.columns();
        let faults = Use::ALL.into_iter().filter_map(|use_| {
            let column = result.column(use_.alias())?;
            if !matches!(use_.type_fault(column), Some(Fault::Type { .. })) {
                return None;
            }
            let (selected, key, mend) = match (use_, &self.id) {
                (Use::Id, Id::Expression(expression)) => {
                    let mend = ": wrap it in CAST(… AS STRING), or in JSON_VALUE(…) where it is JSON";
                    (Some(expression), "id_expression", mend)
                }
                (Use::Id, Id::Column(column)) => (Some(column), use_.key(), ""),
                (Use::Time, _) => (self.time.as_ref().map(|time| &time.name), use_.key(), ""),
                (Use::Tenant, _) => (self.tenant.as_ref(), use_.key(), ""),
                (Use::Body, _) => (self.body.as_ref(), use_.key(), ""),
            };
            let (_, types) = use_.types();
            let mode = if column.mode == "REPEATED" { " REPEATED" } else { "" };
            Some(format!(
                "{} of {name} is {}{mode}; it must be {types}{mend} ({key})",
                selected?, column.kind
            ))
        });
        reject(faults.collect())
    }
}

/// Whether the result of a query shows tenants as numbers, which have no leading zeros.
pub(super) fn has_tenants_as_numbers(result: &SchemaJson) -> bool {
    let result = result.columns();
    let tenant = result.column(Use::Tenant.alias());
    tenant.is_some_and(|column| matches!(column.kind.as_str(), "INTEGER" | "INT64"))
}

fn reject(faults: Vec<String>) -> Result<(), ObserveError> {
    if faults.is_empty() { Ok(()) } else { Err(ObserveError::new(FailureKind::NotFound, faults.join("; "))) }
}

/// What a configured column is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Id,
    Time,
    Tenant,
    Body,
}

/// Why a column cannot serve.
enum Fault {
    /// There is none of that name; what there is instead.
    Absent(String),
    /// It is of this type, and what would do.
    Type { kind: String, mend: String },
}

impl Fault {
    fn text(&self, column: &str, table: &str) -> String {
        match self {
            Self::Absent(instead) => format!("column {column} of {table} does not exist; {instead}"),
            Self::Type { kind, mend } => format!("{column} of {table} is {kind}; {mend}"),
        }
    }
}

impl Use {
    const ALL: [Self; 4] = [Self::Id, Self::Time, Self::Tenant, Self::Body];

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Id => "id_column",
            Self::Time => "time_column",
            Self::Tenant => "tenant_column",
            Self::Body => "body_column",
        }
    }

    /// What the query calls it.
    pub(super) const fn alias(self) -> &'static str {
        match self {
            Self::Id => "probe_id",
            Self::Time => "probe_time",
            Self::Tenant => "probe_tenant",
            Self::Body => "probe_body",
        }
    }

    /// The accepted types, and the same as text.
    const fn types(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Id | Self::Body => (&["STRING"], "STRING"),
            Self::Time => (&["TIMESTAMP", "DATETIME"], "TIMESTAMP or DATETIME"),
            // An account number is as good a name as any.
            Self::Tenant => (&["STRING", "INTEGER", "INT64"], "STRING or INTEGER"),
        }
    }

    fn fault(self, path: &str, schema: &TableSchema) -> Option<Fault> {
        let ancestors = path.match_indices('.').map(|(end, _)| &path[..end]);
        for ancestor in ancestors {
            let Some(column) = schema.column(ancestor) else { break };
            if column.kind == "JSON" {
                let rest = &path[ancestor.len()..];
                return Some(Fault::Type {
                    kind: format!("inside {ancestor}, which is JSON"),
                    mend: self.mend(&format!("JSON_VALUE({ancestor}, '${rest}')")),
                });
            }
            if column.mode.eq_ignore_ascii_case("REPEATED") {
                let rest = &path[ancestor.len() + 1..];
                return Some(Fault::Type {
                    kind: format!("inside {ancestor}, which is REPEATED"),
                    mend: self.mend(&self.one_of(ancestor, &format!("item.{rest}"))),
                });
            }
        }
        match schema.column(path) {
            None => Some(Fault::Absent(nearest(path, schema))),
            Some(column) => self.type_fault(column),
        }
    }

    fn type_fault(self, column: &Column) -> Option<Fault> {
        let (types, in_words) = self.types();
        let name = &column.name;
        if column.mode.eq_ignore_ascii_case("REPEATED") {
            let mend = self.mend(&self.one_of(name, "item"));
            return Some(Fault::Type { kind: format!("{} REPEATED", column.kind), mend });
        }
        if types.contains(&column.kind.as_str()) {
            return None;
        }
        let mend = match (self, column.kind.as_str()) {
            (Self::Id | Self::Tenant | Self::Body, "JSON") => {
                self.mend(&format!("JSON_VALUE({name}, '$.field')"))
            }
            (Self::Id | Self::Tenant | Self::Body, "RECORD" | "STRUCT") => {
                format!("name a column inside it, as in {name}.field")
            }
            (Self::Id | Self::Tenant | Self::Body, _) => self.mend(&format!("CAST({name} AS STRING)")),
            (Self::Time, _) => {
                "leave the key out, name a column of one of these types, or read a view that converts it"
                    .to_owned()
            }
        };
        Some(Fault::Type { kind: column.kind.clone(), mend: format!("it must be {in_words}: {mend}") })
    }

    /// An expression for one value of a repeated column: the tag among them, where it is the id.
    fn one_of(self, repeated: &str, value: &str) -> String {
        let tags = match self {
            Self::Id => format!(" WHERE STARTS_WITH(LOWER({value}), '{MARKER}')"),
            Self::Time | Self::Tenant | Self::Body => String::new(),
        };
        format!("(SELECT MAX({value}) FROM UNNEST({repeated}) AS item{tags})")
    }

    /// Where an expression would do instead.
    fn mend(self, expression: &str) -> String {
        match self {
            Self::Id => format!("write id_expression = \"{expression}\" instead of id_column"),
            Self::Time | Self::Tenant | Self::Body => {
                format!("read a view that has {expression} as a column of its own")
            }
        }
    }
}

/// `did you mean tenant?`, or what there is where nothing is near.
fn nearest(path: &str, schema: &TableSchema) -> String {
    let names = || schema.columns.iter().map(|column| column.name.as_str());
    let lower = path.to_ascii_lowercase();
    let near = suggestion(
        &lower,
        names().map(str::to_ascii_lowercase).collect::<Vec<_>>().iter().map(String::as_str),
    );
    if let Some(near) = near.split('`').nth(1) {
        let name = names().find(|name| name.eq_ignore_ascii_case(near)).unwrap_or(near);
        return format!("did you mean {name}?");
    }
    let mut listed: Vec<&str> = names().take(LISTED).collect();
    let more = schema.columns.len().saturating_sub(LISTED);
    let more = format!("{more} more");
    if schema.columns.len() > LISTED {
        listed.push(&more);
    }
    format!("it has {}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::bigquery::TableName;

    fn table() -> Table {
        let json = json!({"schema": {"fields": [
            {"name": "trace_id", "type": "STRING"},
            {"name": "tenant", "type": "STRING"},
            {"name": "account", "type": "INTEGER"},
            {"name": "created", "type": "STRING"},
            {"name": "ingest_time", "type": "TIMESTAMP", "defaultValueExpression": "CURRENT_TIMESTAMP()"},
            {"name": "written_at", "type": "DATETIME"},
            {"name": "tags", "type": "STRING", "mode": "REPEATED"},
            {"name": "payload", "type": "JSON"},
            {"name": "line", "type": "RECORD", "fields": [{"name": "id", "type": "STRING"}]},
            {"name": "parts", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "id", "type": "STRING"}]},
        ]}});
        Table::parse(json.to_string().as_bytes()).unwrap()
    }

    fn settings(id: &str) -> Settings {
        Settings::new(TableName::parse("my-project.logs.events").unwrap(), id)
    }

    fn fault(settings: &Settings) -> String {
        Columns::check(settings, "my-project.logs.events", &table()).unwrap_err().detail.to_string()
    }

    #[test]
    fn a_misspelt_column_is_told_with_the_nearest_name() {
        let settings = Settings { tenant_column: Some("tennant".into()), ..settings("trace_id") };
        assert_eq!(
            fault(&settings),
            "column tennant of my-project.logs.events does not exist; did you mean tenant? (tenant_column)"
        );
    }

    #[test]
    fn a_column_with_no_near_name_is_told_with_what_there_is() {
        assert_eq!(
            fault(&settings("correlation")),
            "column correlation of my-project.logs.events does not exist; it has trace_id, tenant, account, created, \
             ingest_time, written_at, tags, payload, 4 more (id_column)"
        );
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let settings = Settings {
            time_column: Some("ingest_tme".into()),
            body_column: Some("mesage".into()),
            ..settings("trace_id")
        };
        let fault = fault(&settings);
        assert!(fault.contains("(time_column); column mesage"), "{fault}");
    }

    #[test]
    fn a_time_of_type_string_is_refused() {
        let settings = Settings { time_column: Some("created".into()), ..settings("trace_id") };
        assert_eq!(
            fault(&settings),
            "created of my-project.logs.events is STRING; it must be TIMESTAMP or DATETIME: leave the key out, name a \
             column of one of these types, or read a view that converts it (time_column)"
        );
    }

    #[test]
    fn an_id_that_is_no_plain_text_is_refused_with_an_expression_that_would_do() {
        for (id, expression) in [
            ("payload", "JSON_VALUE(payload, '$.field')"),
            ("payload.trace_id", "JSON_VALUE(payload, '$.trace_id')"),
            ("tags", "(SELECT MAX(item) FROM UNNEST(tags) AS item WHERE STARTS_WITH(LOWER(item), 'zqtp'))"),
            (
                "parts.id",
                "(SELECT MAX(item.id) FROM UNNEST(parts) AS item WHERE STARTS_WITH(LOWER(item.id), 'zqtp'))",
            ),
            ("account", "CAST(account AS STRING)"),
        ] {
            let fault = fault(&settings(id));
            assert!(fault.contains(&format!("write id_expression = \"{expression}\"")), "{fault}");
        }
        assert!(fault(&settings("line")).contains("as in line.field"));
    }

    #[test]
    fn nested_columns_account_numbers_and_names_in_another_case_serve() {
        let settings = Settings {
            tenant_column: Some("account".into()),
            time_column: Some("INGEST_TIME".into()),
            ..settings("line.id")
        };
        let columns = Columns::check(&settings, "t", &table()).unwrap();
        assert_eq!(columns.time.map(|time| time.is), Some(TimeIs::Inserted));
    }

    #[test]
    fn a_time_without_a_default_of_the_server_is_the_writers() {
        let of = |column: &str, time_is| {
            let settings = Settings { time_column: Some(column.into()), time_is, ..settings("trace_id") };
            Columns::check(&settings, "t", &table()).unwrap().time.unwrap().is
        };
        assert_eq!(of("written_at", None), TimeIs::Written);
        assert_eq!(of("written_at", Some(TimeIs::Inserted)), TimeIs::Inserted);
        assert_eq!(of("ingest_time", Some(TimeIs::Written)), TimeIs::Written);
    }

    #[test]
    fn an_expression_that_is_no_text_is_refused_by_its_result() {
        let settings = Settings { id: Id::Expression("SPAN(x)".into()), ..settings("x") };
        let columns = Columns::check(&settings, "t", &table()).unwrap();
        let result = |kind: &str| {
            let json = json!({"fields": [{"name": "probe_id", "type": kind}]});
            columns.check_result("t", &serde_json::from_value(json).unwrap())
        };
        assert!(result("STRING").is_ok());
        let fault = result("INTEGER").unwrap_err().detail.to_string();
        assert!(fault.starts_with("SPAN(x) of t is INTEGER; it must be STRING"), "{fault}");
        assert!(fault.ends_with("(id_expression)"), "{fault}");
    }

    #[test]
    fn values_follow_the_columns_that_are_selected() {
        let columns = Columns {
            id: Id::Column("a".into()),
            id_match: IdMatch::Exact,
            time: None,
            tenant: Some("b".into()),
            body: Some("c".into()),
        };
        let expected = Positions { id: 0, time: None, tenant: Some(1), body: Some(2) };
        assert_eq!(columns.positions(), expected);
    }
}
