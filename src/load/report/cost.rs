//! What a run cost, line by line, each with its formula and the source of its price.

use serde::{Deserialize, Serialize};

use crate::load::estimate::EVENT_OVERHEAD;
use crate::load::prices::{Item, Prices};
use crate::load::record::Record;

/// A PUT payload unit in bytes (Amazon Kinesis Data Streams pricing).
const PUT_UNIT: f64 = 25_600.0;
/// Daily cost per million records: target and critical, in US dollars.
pub const TARGETS: (f64, f64) = (50.0, 100.0);

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

/// What a part of the pipeline used while the run lasted: the whole of it, other events included.
#[derive(Clone, Debug, PartialEq)]
pub enum Used {
    Stream {
        name: String,
        records: f64,
        bytes: f64,
    },
    Function {
        name: String,
        invocations: f64,
        /// Of all of them together.
        millis: f64,
        /// `None` if it could not be read.
        memory_mb: Option<f64>,
    },
    Objects {
        bucket: String,
        puts: f64,
        gets: f64,
    },
    Egress {
        name: String,
        bytes: f64,
    },
    /// What could not be read, and why.
    Unknown {
        what: String,
        why: String,
    },
}

/// What it costs: what the run itself knows, and what was read.
#[must_use]
pub fn lines(bytes: u64, record: &Record, used: &[Used], prices: &Prices) -> Vec<CostLine> {
    let events: u64 = record.windows.iter().map(|window| window.figures.accepted).sum();
    let quantity = (bytes + EVENT_OVERHEAD * events) as f64 / 1e9;
    let formula = format!("({bytes} B + {EVENT_OVERHEAD} B x {events} events) / 1e9");
    let priced = Priced { events: events as f64, prices };
    let ingest = priced.line("ingestion into the log groups".to_owned(), Item::LogsIngest, quantity, formula);
    std::iter::once(ingest).chain(used.iter().flat_map(|used| priced.lines(used))).collect()
}

/// What all lines that could be read cost for a million events. `None` if log groups accepted none.
#[must_use]
pub fn per_million(lines: &[CostLine]) -> Option<f64> {
    lines.iter().filter_map(|line| line.dollars_per_million).reduce(|all, line| all + line)
}

struct Priced<'a> {
    events: f64,
    prices: &'a Prices,
}

impl Priced<'_> {
    fn line(&self, what: String, item: Item, quantity: f64, formula: String) -> CostLine {
        let price = self.prices.of(item);
        let dollars = quantity * price.dollars;
        CostLine {
            what,
            formula: format!("{formula} x ${} per {}", price.dollars, price.per),
            source: price.source.clone(),
            dollars: Some(dollars),
            dollars_per_million: (self.events > 0.0).then(|| dollars / self.events * 1e6),
        }
    }

    fn lines(&self, used: &Used) -> Vec<CostLine> {
        match used {
            Used::Stream { name, records, bytes } => {
                // Every record is at least one unit, and the last unit of each may be nearly empty. Only sizes of single
                // records would tell how many units there were.
                let units = records.max((bytes / PUT_UNIT).ceil());
                let formula = format!("at least max({records} records, {bytes} B / {PUT_UNIT} B) / 1e6");
                let what = format!("puts into stream {name}, at least");
                vec![self.line(what, Item::KinesisPut, units / 1e6, formula)]
            }
            Used::Function { name, invocations, millis, memory_mb } => {
                let formula = format!("{invocations} invocations / 1e6");
                let requests = self.line(
                    format!("invocations of function {name}"),
                    Item::LambdaRequest,
                    invocations / 1e6,
                    formula,
                );
                let what = format!("run time of function {name}");
                let compute = match memory_mb {
                    Some(memory) => {
                        let formula = format!("{millis} ms / 1000 x {memory} MB / 1024");
                        self.line(what, Item::LambdaCompute, millis / 1e3 * memory / 1_024.0, formula)
                    }
                    None => unknown(what, "its memory could not be read (lambda:GetFunctionConfiguration)"),
                };
                vec![requests, compute]
            }
            Used::Objects { bucket, puts, gets } => vec![
                self.line(
                    format!("PUT requests of bucket {bucket}"),
                    Item::S3Put,
                    puts / 1e6,
                    format!("{puts} / 1e6"),
                ),
                self.line(
                    format!("GET requests of bucket {bucket}"),
                    Item::S3Get,
                    gets / 1e6,
                    format!("{gets} / 1e6"),
                ),
            ],
            Used::Egress { name, bytes } => {
                vec![self.line(
                    format!("egress over {name}"),
                    Item::Egress,
                    bytes / 1e9,
                    format!("{bytes} B / 1e9"),
                )]
            }
            Used::Unknown { what, why } => vec![unknown(what.clone(), why)],
        }
    }
}

fn unknown(what: String, why: &str) -> CostLine {
    let formula = format!("not read: {why}");
    CostLine { what, formula, source: String::new(), dollars: None, dollars_per_million: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::domain::topology::fixture::topology;
    use crate::load::prices::SHIPPED;
    use crate::load::record::Purpose;

    /// A record of a million events that log groups accepted.
    fn million() -> Record {
        let mut record = Record::new(Arc::new(topology()));
        record.begin(Purpose::Judged, Timestamp::from_secs(0), Timestamp::from_secs(60), 1.0);
        record.windows[0].figures.accepted = 1_000_000;
        record
    }

    #[test]
    fn a_worked_sheet_is_met_to_the_cent() {
        let prices = Prices::parse("prices", SHIPPED).unwrap();
        let used = [
            Used::Stream { name: "central".to_owned(), records: 2_000_000.0, bytes: 80e9 },
            Used::Function {
                name: "export".to_owned(),
                invocations: 500_000.0,
                millis: 100e6,
                memory_mb: Some(512.0),
            },
            Used::Objects { bucket: "archive".to_owned(), puts: 20_000.0, gets: 1_000_000.0 },
            Used::Egress { name: "vpn-1".to_owned(), bytes: 10e9 },
            Used::Unknown { what: "BigQuery".to_owned(), why: "no rights".to_owned() },
        ];
        let lines = lines(974_000_000, &million(), &used, &prices);
        let cents: Vec<_> =
            lines.iter().map(|line| line.dollars.map(|dollars| (dollars * 100.0).round() as i64)).collect();
        // 1 GB at 0.50; 3,125,000 units of 25 KB at 0.014 a million; 0.5 million at 0.20; 50,000 GB-seconds
        // at 0.0000166667; 0.02 million at 5; 1 million at 0.40; 10 GB at 0.09.
        assert_eq!(cents, [Some(50), Some(4), Some(10), Some(83), Some(10), Some(40), Some(90), None]);
        assert_eq!((per_million(&lines).unwrap() * 100.0).round() as i64, 288);
        assert!(
            lines[1].what.ends_with(", at least") && lines[1].formula.starts_with("at least "),
            "{lines:?}"
        );
    }

    #[test]
    fn without_an_event_the_cost_for_a_million_is_not_known() {
        let prices = Prices::parse("prices", SHIPPED).unwrap();
        let lines = lines(0, &Record::new(Arc::new(topology())), &[], &prices);
        assert_eq!(per_million(&lines), None);
    }

    #[test]
    fn what_could_not_be_read_says_so_and_is_not_zero() {
        let prices = Prices::parse("prices", SHIPPED).unwrap();
        let used = [Used::Function { name: "f".to_owned(), invocations: 1.0, millis: 1.0, memory_mb: None }];
        let lines = lines(0, &million(), &used, &prices);
        assert_eq!(lines[2].dollars, None);
        assert!(lines[2].formula.contains("lambda:GetFunctionConfiguration"), "{}", lines[2].formula);
    }
}
