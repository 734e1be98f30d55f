//! What may be wrong with the settings of a table in which a canary was not found: where in the table it is.
//!
//! One query counts, for each column that can hold text, the rows with the canary's tag or trace id in it. It is
//! bounded as polls are, in time and in bytes, and is made only for a canary that `check --canary` has sent.

use gcp_bigquery_client::model::query_parameter::QueryParameter;
use gcp_bigquery_client::model::query_parameter_type::QueryParameterType;
use gcp_bigquery_client::model::query_request::QueryRequest;

use super::batch::Batch;
use super::prepare::Known;
use super::query::JobMode;
use super::settings::{Id, IdIs, IdMatch, quoted_path};
use super::sql::{MARGIN, bound};
use super::{BigQuery, value};
use crate::domain::proof::Advice;
use crate::domain::schema::Column;
use crate::domain::sighting::WantedTrace;
use crate::domain::tag::Tag;
use crate::observe::ObserveError;

/// Most columns that are searched, in the order of the table.
const SEARCHED: usize = 40;
/// Most columns that are named where nothing was found.
const NAMED: usize = 8;
/// What is counted of each column.
const COUNTS: usize = 4;

/// How many rows have the canary in one column.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Holder {
    column: String,
    kind: String,
    tag: u64,
    tag_within: u64,
    id: u64,
    id_within: u64,
}

impl BigQuery {
    /// Searches the columns for a canary that was not found, and says which keys do not fit.
    pub(super) async fn advise(&mut self, tag: &Tag) -> Vec<Advice> {
        match self.holders(tag).await {
            Ok((rows, holders)) => self.advice(rows, &holders),
            Err(error) => {
                let text = format!("which column has the canary's tag is unknown: {error}");
                vec![Advice::new(text, None)]
            }
        }
    }

    async fn holders(&mut self, tag: &Tag) -> Result<(u64, Vec<Holder>), ObserveError> {
        let batch = Batch {
            traces: vec![WantedTrace { tag: *tag, planned_at: tag.trace.planned_at() }],
            waiting: 1,
            since: tag.trace.planned_at(),
            finds_leaks: false,
        };
        self.prepare(std::slice::from_ref(&batch)).await?;
        let Some(known) = &self.known else { return Ok((0, Vec::new())) };
        let Some((_, newest)) = known.tables.last() else { return Ok((0, Vec::new())) };
        let columns: Vec<_> = newest.schema.columns.iter().filter(|it| holds_text(it)).cloned().collect();
        let columns = &columns[..columns.len().min(SEARCHED)];
        let request = self.search_request(known, &batch, columns, tag);
        let mut rows = self.run(request, JobMode::Optional).await?.rows.into_iter();
        let counts: Vec<u64> = rows.next().unwrap_or_default().into_iter().map(count).collect();
        let (all, of_columns) = counts.split_first().map_or((0, &[][..]), |(all, rest)| (*all, rest));
        let holder = |(column, counts): (&Column, &[u64])| Holder {
            column: column.name.clone(),
            kind: column.kind.clone(),
            tag: counts[0],
            tag_within: counts[1],
            id: counts[2],
            id_within: counts[3],
        };
        Ok((all, columns.iter().zip(of_columns.chunks_exact(COUNTS)).map(holder).collect()))
    }

    fn search_request(&self, known: &Known, batch: &Batch, columns: &[Column], tag: &Tag) -> QueryRequest {
        let from = batch.since - MARGIN;
        let mut counts = vec!["COUNT(*)".to_owned()];
        for column in columns {
            let path = quoted_path(&column.name);
            let text = if column.kind == "JSON" { format!("TO_JSON_STRING({path})") } else { path };
            for id in ["@tag", "@trace"] {
                counts.push(format!("COUNTIF(LOWER({text}) = {id})"));
                counts.push(format!("COUNTIF(STRPOS(LOWER({text}), {id}) > 0)"));
            }
        }
        let named = counts.iter().enumerate().map(|(nth, count)| format!("{count} AS c{nth}"));
        let named = named.collect::<Vec<_>>().join(", ");
        // The newest table: the canary was sent just now.
        let (name, table) = known.tables.last().map_or(("", None), |(name, table)| (name, Some(table)));
        let bound = table.and_then(|table| bound(table, &self.settings.predicate, from));
        let bound = bound.map_or_else(String::new, |bound| format!(" WHERE {bound}"));
        let text = |name: &str, text: String| QueryParameter {
            name: Some(name.to_owned()),
            parameter_type: Some(QueryParameterType {
                r#type: "STRING".to_owned(),
                ..QueryParameterType::default()
            }),
            parameter_value: Some(value(Some(text), None)),
        };
        let tag_text = self.recognizer.keys.sign(tag).to_string();
        // It reads whole columns, clustered or not.
        let most = self.settings.bill_limit(1);
        QueryRequest {
            query_parameters: Some(vec![text("tag", tag_text), text("trace", tag.trace.to_string())]),
            ..self.bounded(known, format!("SELECT {named} FROM `{name}`{bound}"), most)
        }
    }

    fn advice(&self, rows: u64, holders: &[Holder]) -> Vec<Advice> {
        let table = &self.name;
        if rows == 0 {
            let text = format!(
                "{table} has no row of that time: nothing is loaded into it, or table is another one"
            );
            return vec![Advice::new(text, Some("table"))];
        }
        let configured = match &self.settings.id {
            Id::Column(column) => Some(column.as_str()),
            Id::Expression(_) => None,
        };
        let is_configured =
            |holder: &&Holder| configured.is_some_and(|column| column.eq_ignore_ascii_case(&holder.column));
        let mut advice = Vec::new();
        if let Some(column) = &self.settings.body_column {
            let with = |holder: &&Holder| holder.tag_within > 0 && !is_configured(holder);
            let is_body = |holder: &&Holder| holder.column.eq_ignore_ascii_case(column);
            let body = holders.iter().find(is_body);
            if let (Some(other), Some(0)) = (holders.iter().find(with), body.map(|body| body.tag_within)) {
                let text = format!(
                    "body_column is `{column}`, which does not have the canary's line; `{}` has its tag, so write body_column = \"{}\"",
                    other.column, other.column
                );
                advice.push(Advice::new(text, Some("body_column")));
            }
        }
        let is_exact = |holder: &&Holder| holder.tag > 0 && !is_configured(holder);
        // A column that is the tag and nothing else is searched at less cost than a longer text.
        let better = holders.iter().find(is_exact);
        if let Some(own) = holders.iter().find(is_configured)
            && better.is_none()
            && let Some(fault) = self.fault_of(own)
        {
            advice.push(fault);
            return advice;
        }
        if holders.iter().filter(is_configured).any(|own| self.is_found(own)) {
            return advice;
        }
        let best =
            holders.iter().max_by_key(|holder| (holder.tag, holder.id, holder.tag_within, holder.id_within));
        let found = best.filter(|holder| holder.tag_within + holder.id_within > 0);
        advice.push(match found {
            Some(holder) => Advice::found(self.told(configured, holder), key_of(&self.settings.id)),
            None => {
                let names: Vec<_> = holders.iter().take(NAMED).map(|holder| holder.column.as_str()).collect();
                let more = if holders.len() > NAMED { ", …" } else { "" };
                Advice::new(
                    format!(
                        "none of the {rows} rows of that time has the canary's tag in a column with text ({}{more}): its row is not \
                         there, or what writes the rows dropped the field with the tag; compare the template with a line of the client",
                        names.join(", ")
                    ),
                    None,
                )
            }
        });
        advice
    }

    /// Whether a poll finds the canary in its configured column.
    fn is_found(&self, own: &Holder) -> bool {
        let (whole, within) = match self.settings.id_is {
            IdIs::Tag => (own.tag, own.tag_within),
            IdIs::TraceId => (own.id, own.id_within),
        };
        match self.settings.id_match {
            IdMatch::Exact => whole > 0,
            IdMatch::Contains => within > 0,
        }
    }

    /// What keeps a poll from finding the canary in its configured column; `None` if that is not why.
    fn fault_of(&self, own: &Holder) -> Option<Advice> {
        let column = &own.column;
        if self.is_found(own) {
            return None;
        }
        let (key, what) = match (self.settings.id_is, self.settings.id_match) {
            (IdIs::Tag, IdMatch::Exact) if own.tag_within > 0 => {
                ("id_match", "has the tag within a longer text; write id_match = \"contains\"")
            }
            (IdIs::Tag, _) if own.id_within > 0 => {
                ("id_is", "has the trace id, not the tag; write id_is = \"trace_id\"")
            }
            (IdIs::TraceId, _) if own.tag_within > 0 => ("id_is", "has the whole tag; write id_is = \"tag\""),
            _ => return None,
        };
        Some(Advice::found(format!("`{column}` {what}"), key))
    }

    /// Which column has the canary, and what to write.
    fn told(&self, configured: Option<&str>, holder: &Holder) -> String {
        let Holder { column, kind, tag, id, tag_within, .. } = holder;
        let is_tag = *tag_within > 0;
        let what = if is_tag { "tag" } else { "trace id" };
        let instead = configured
            .map_or("id_expression does not give it".to_owned(), |name| format!("id_column is `{name}`"));
        let mut keys = match kind.as_str() {
            "JSON" => format!("id_expression = \"JSON_VALUE({column}, '$.…')\" with the field that has it"),
            _ => format!("id_column = \"{column}\""),
        };
        if kind != "JSON" && *tag == 0 && *id == 0 {
            keys.push_str(" and id_match = \"contains\"");
        }
        if !is_tag {
            keys.push_str(" and id_is = \"trace_id\"");
        }
        format!("the canary is in the table: column `{column}` has its {what}, but {instead}; write {keys}")
    }
}

/// Whether a column can hold a tag and can be compared with text.
fn holds_text(column: &Column) -> bool {
    // A column within a repeated record cannot be named by its path.
    matches!(column.kind.as_str(), "STRING" | "JSON")
        && column.mode != "REPEATED"
        && !column.name.contains('.')
}

fn key_of(id: &Id) -> &'static str {
    match id {
        Id::Column(_) => "id_column",
        Id::Expression(_) => "id_expression",
    }
}

fn count(cell: Option<serde_json::Value>) -> u64 {
    let text = cell.as_ref().and_then(serde_json::Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::bigquery::Settings;
    use crate::observe::bigquery::tests::{observer, settings};

    fn holder(column: &str, counts: [u64; 4]) -> Holder {
        let [tag, tag_within, id, id_within] = counts;
        Holder { column: column.to_owned(), kind: "STRING".to_owned(), tag, tag_within, id, id_within }
    }

    async fn told(rows: u64, holders: &[Holder]) -> Vec<String> {
        let (observer, _) = observer(Vec::new(), Settings { body_column: None, ..settings() }).await;
        observer.advice(rows, holders).into_iter().map(|advice| advice.text).collect()
    }

    #[tokio::test]
    async fn another_column_with_the_tag_is_named_with_what_to_write() {
        let holders =
            [holder("trace_id", [0; 4]), holder("correlation", [1, 1, 0, 1]), holder("line", [0, 1, 0, 1])];
        assert_eq!(
            told(9, &holders).await,
            [
                "the canary is in the table: column `correlation` has its tag, but id_column is `trace_id`; write id_column = \"correlation\""
            ]
        );
        let within = told(9, &[holder("trace_id", [0; 4]), holder("line", [0, 1, 0, 1])]).await;
        assert!(within[0].ends_with("write id_column = \"line\" and id_match = \"contains\""), "{within:?}");
    }

    #[tokio::test]
    async fn a_column_that_is_the_tag_is_better_than_one_that_contains_it() {
        let told = told(9, &[holder("trace_id", [0, 1, 0, 1]), holder("tag", [1, 1, 0, 1])]).await;
        assert!(told[0].contains("write id_column = \"tag\"") && told.len() == 1, "{told:?}");
    }

    #[tokio::test]
    async fn the_right_column_with_more_or_less_than_the_tag_names_the_key() {
        let within = told(9, &[holder("trace_id", [0, 1, 0, 1])]).await;
        assert!(within[0].contains("id_match = \"contains\""), "{within:?}");
        let id = told(9, &[holder("trace_id", [0, 0, 1, 1])]).await;
        assert!(id[0].contains("id_is = \"trace_id\""), "{id:?}");
    }

    #[tokio::test]
    async fn rows_without_the_tag_lead_to_the_template_and_no_rows_to_the_table() {
        let without = told(9, &[holder("trace_id", [0; 4])]).await;
        assert!(without[0].contains("none of the 9 rows") && without[0].contains("template"), "{without:?}");
        let empty = told(0, &[]).await;
        assert!(empty[0].contains("has no row of that time"), "{empty:?}");
    }
}
