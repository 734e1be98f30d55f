//! Proves that a table can be queried: its columns and their types, the price of a poll, the rows, and who
//! BigQuery takes us for. The price is that of a dry run; of clustered tables, for which a dry run says only
//! the most, it is what the poll was billed.

use std::time::Duration;

use gcp_bigquery_client::model::query_request::QueryRequest;

use super::BigQuery;
use super::batch::Batch;
use super::columns::Use;
use super::ledger::Ledgers;
use super::overruns::too_much;
use super::query::JobMode;
use super::settings::{MIN_BYTES_BILLED, SPEC, Settings};
use crate::cloud::NoClient;
use crate::domain::count::counted_len;
use crate::domain::proof::{Proof, Refusal};
use crate::domain::sighting::{FailureKind, Wanted};
use crate::observe::ObserveError;
use crate::observe::kinds::{KindSettings, Site};
use crate::observe::proving::{in_time, polled, refusal};

const COLUMNS: &str = "columns";
const PRICE: &str = "price of a poll";
const POLL: &str = "poll";
const MB: u64 = 1 << 20;
const DAY: f64 = 86_400.0;

/// What a dry run says of a poll's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Estimate {
    /// These are billed.
    Exact(u64),
    /// Only the poll itself shows them: at least so many.
    AtLeast(u64),
}

/// Describes the table and checks its columns, asks for the price, then polls as the daemon does.
pub(super) async fn prove(
    settings: &Settings,
    site: &Site<'_>,
    wanted: &Wanted,
) -> Result<Vec<Proof>, NoClient> {
    let mut observer = settings.observer(site, &Ledgers::default())?;
    let name = settings.table.to_string();
    let batches = Batch::all(wanted, site.clock.now());
    let prepared = in_time(site.rhythm.timeout, observer.prepare(&batches)).await;
    if let Err(error) = prepared {
        let failed = Proof::failed(COLUMNS, refusal(&SPEC, &name, &error));
        return Ok(vec![
            failed,
            Proof::not_tried(PRICE, "see columns"),
            Proof::not_tried(POLL, "see columns"),
        ]);
    }
    let columns = Proof::ok(COLUMNS, observer.describe_columns());
    let interval = site.rhythm.interval;
    let price = match in_time(site.rhythm.timeout, observer.estimate(&batches)).await {
        Err(error) => Proof::failed(PRICE, refusal(&SPEC, &name, &error)),
        Ok(None) => Proof::not_tried(PRICE, "nothing is queried"),
        Ok(Some(Estimate::Exact(bytes))) => price(settings, interval, bytes),
        Ok(Some(Estimate::AtLeast(least))) => {
            let (poll, answer) = polled(&mut observer, site, &SPEC, &name, wanted).await;
            let billed = answer.map(|answer| answer.stats.billed_bytes);
            return Ok(vec![columns, price_of_poll(settings, interval, least, billed), poll]);
        }
    };
    if price.is_silence() {
        return Ok(vec![columns, price, Proof::not_tried(POLL, "no answer before")]);
    }
    let (poll, _) = polled(&mut observer, site, &SPEC, &name, wanted).await;
    Ok(vec![columns, price, poll])
}

/// Compares what a poll was billed with what one may be, and the price of a day with its budget. At least
/// `least` is billed once there are rows to read. `billed` is `None` if the poll failed.
fn price_of_poll(settings: &Settings, interval: Duration, least: u64, billed: Option<u64>) -> Proof {
    let Some(billed) = billed else { return Proof::not_tried(PRICE, "see poll") };
    if billed <= settings.max_bytes_billed.max(least) {
        return price(settings, interval, billed.max(least));
    }
    let refusal = Refusal {
        kind: FailureKind::OverBudget,
        permission: None,
        resource: settings.table.to_string(),
        text: too_much(settings, billed).into(),
        key: Some("max_bytes_billed"),
    };
    Proof::failed(PRICE, refusal)
}

/// Compares the price of a day of polls with its budget. Polls are made only while canaries wait, so it is the most
/// that they cost.
fn price(settings: &Settings, interval: Duration, bytes: u64) -> Proof {
    let interval = interval.as_secs_f64();
    let polls = DAY / interval;
    let day = bytes as f64 * polls;
    let dollars: f64 = SPEC.costs.bytes.iter().map(|price| price.dollars * day).sum();
    let text = format!(
        "{} MB are billed; at one poll in {interval} s, a day costs at most {:.0} GB or ${dollars:.2}",
        bytes.div_ceil(MB),
        day / 1e9,
    );
    match settings.daily_bytes_billed {
        Some(budget) if (budget as f64) < day => {
            let hours = budget as f64 / day * 24.0;
            let text = format!(
                "{text}, but daily_bytes_billed allows {} MB: it may be spent after {hours:.1} h, and the stage is then \
                 blind until midnight UTC; raise it, or lengthen interval",
                budget / MB
            );
            let refusal = Refusal {
                kind: FailureKind::OverBudget,
                permission: None,
                resource: settings.table.to_string(),
                text: text.into(),
                key: Some("daily_bytes_billed"),
            };
            Proof::failed(PRICE, refusal)
        }
        _ => Proof::ok(PRICE, text),
    }
}

impl BigQuery {
    /// The configured columns with their types.
    fn describe_columns(&self) -> String {
        let Some(schema) = &self.schema else {
            return "the table or view shows no columns; a dry run accepted those that are configured"
                .to_owned();
        };
        let columns = self.settings.configured_columns().map(|(use_, name): (Use, &str)| {
            let kind = schema.column(name).map_or("", |column| column.kind.as_str());
            format!("{} = {name} {kind}", use_.key())
        });
        let listed = columns.collect::<Vec<_>>().join(", ");
        format!(
            "{}; {}",
            counted_len(schema.columns.len(), "column"),
            if listed.is_empty() { "id_expression" } else { &listed }
        )
    }

    /// What a poll is billed for, by a dry run; `None` if nothing is looked for.
    async fn estimate(&self, batches: &[Batch]) -> Result<Option<Estimate>, ObserveError> {
        let (Some(known), Some(batch)) = (&self.known, batches.first()) else { return Ok(None) };
        let answer = self.dry_run(self.request(known, batch)).await?;
        // For each table, at least this is billed (BigQuery pricing).
        let least = MIN_BYTES_BILLED * known.tables.len() as u64;
        let bytes = answer.bytes_processed();
        Ok(Some(if known.is_clustered() && bytes > least {
            Estimate::AtLeast(least)
        } else {
            Estimate::Exact(bytes.max(least))
        }))
    }

    /// Asks BigQuery who we are. The query reads no table, so it is free.
    pub(super) async fn principal(&self) -> Result<String, ObserveError> {
        let query = QueryRequest {
            location: self.settings.location.clone(),
            ..QueryRequest::new("SELECT SESSION_USER()")
        };
        let call = format!("query on `{}`", self.billing_project());
        let answer = self.send(&query, JobMode::Optional).await;
        let mut answer = answer.map_err(|failure| ObserveError::from(failure.calling(&call)))?;
        let cell = answer.take_rows().next().and_then(|row| row.into_iter().next().flatten());
        let name = cell.and_then(|cell| cell.as_str().map(str::to_owned));
        name.ok_or_else(|| {
            ObserveError::new(FailureKind::Garbled, format!("{call}: the answer names nobody"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::proof::Verdict;
    use crate::observe::bigquery::TableName;

    fn of_poll(billed: Option<u64>) -> Verdict {
        let settings = Settings {
            daily_bytes_billed: Some(1 << 40),
            ..Settings::new(TableName::parse("p.d.t").unwrap(), "trace_id")
        };
        price_of_poll(&settings, Duration::from_secs(10), MIN_BYTES_BILLED, billed).verdict
    }

    #[test]
    fn the_price_of_a_clustered_table_is_what_its_poll_was_billed() {
        let Verdict::Ok(text) = of_poll(Some(20 << 20)) else { panic!("20 MB may be billed") };
        assert!(text.starts_with("20 MB are billed; at one poll in 10 s"), "{text}");
    }

    #[test]
    fn a_poll_of_a_clustered_table_that_was_billed_too_much_fails() {
        let Verdict::Failed(refusal) = of_poll(Some(3 << 30)) else { panic!("3 GB may not be billed") };
        assert_eq!((refusal.kind, refusal.key), (FailureKind::OverBudget, Some("max_bytes_billed")));
        let text = "one poll of `p.d.t` was billed 3072 MB, more than max_bytes_billed allows (100 MB)";
        assert!(refusal.text.starts_with(text), "{}", refusal.text);
    }

    #[test]
    fn the_price_of_a_clustered_table_is_unknown_without_a_poll() {
        assert!(matches!(of_poll(None), Verdict::NotTried { .. }));
    }
}
