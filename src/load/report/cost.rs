//! What a run cost, as far as it is known.

use serde::{Deserialize, Serialize};

use crate::load::prices::{Item, Prices};
use crate::load::record::Record;

/// Bytes that CloudWatch Logs counts for each event in addition to its message (AWS Logs API reference).
const EVENT_OVERHEAD: f64 = 26.0;

/// A part of the cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostLine {
    pub what: String,
    /// How it was computed; why not, if it could not be read.
    pub formula: String,
    /// Where the price is from.
    pub source: String,
    /// US dollars; `null` if it could not be read.
    pub dollars: Option<f64>,
    /// The same for a million events.
    pub dollars_per_million: Option<f64>,
}

/// What the run itself knows: the bytes that it put. The rest of the pipeline shows its own use in CloudWatch and Cloud
/// Monitoring, which are not read.
pub(super) fn known(bytes: u64, record: &Record, prices: &Prices) -> Vec<CostLine> {
    let events: u64 = record.windows.iter().map(|window| window.figures.accepted).sum();
    let price = prices.of(Item::LogsIngest);
    let gigabytes = (bytes as f64 + EVENT_OVERHEAD * events as f64) / 1e9;
    let dollars = gigabytes * price.dollars;
    let ingest = CostLine {
        what: "ingestion into the log groups".to_owned(),
        formula: format!(
            "({bytes} B put + {EVENT_OVERHEAD} B x {events} events) / 1e9 x ${} per {}",
            price.dollars, price.per
        ),
        source: price.source.clone(),
        dollars: Some(dollars),
        dollars_per_million: (events > 0).then(|| dollars / events as f64 * 1e6),
    };
    let unread = |what: &str| CostLine {
        what: what.to_owned(),
        formula: "not read: the metrics of the pipeline's own services are needed".to_owned(),
        source: String::new(),
        dollars: None,
        dollars_per_million: None,
    };
    vec![ingest, unread("streams"), unread("functions"), unread("objects"), unread("inserts into the table"), unread("egress")]
}
