//! What a run will take, told before it begins.

use super::plan::{Ceilings, Plan};
use super::prices::{Item, Prices};
use super::profile::Shape;

/// Bytes that CloudWatch Logs counts for each event in addition to its message (AWS Logs API reference).
pub const EVENT_OVERHEAD: u64 = 26;
/// A shard takes at most this many records a second (Amazon Kinesis Data Streams quotas).
const SHARD_RECORDS: f64 = 1_000.0;
/// A shard takes at most this many bytes a second (Amazon Kinesis Data Streams quotas).
const SHARD_BYTES: f64 = 1_048_576.0;
/// A PUT payload unit (Amazon Kinesis Data Streams pricing).
const PUT_UNIT: f64 = 25_600.0;
/// BigQuery bills a streamed row as at least this many bytes (BigQuery pricing).
const LEAST_ROW: f64 = 1_024.0;
/// PutLogEvents calls per second, account and region (CloudWatch Logs quotas).
const PUTS_PER_SECOND: f64 = 5_000.0;
/// More calls of PutLogEvents than an injector makes in a second: what is due meanwhile leaves together.
const PUTS_OF_LOG_GROUP: f64 = 50.0;

/// What a run will take. Of a search: at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// How long is sent, in seconds.
    pub seconds: f64,
    /// The highest rate, in events per second.
    pub peak: f64,
    pub events: f64,
    /// Messages and what CloudWatch Logs adds to each.
    pub bytes: f64,
    /// Calls of PutLogEvents.
    pub puts: f64,
    pub lines: Vec<Line>,
    /// What has to fit into quotas, one sentence each.
    pub quotas: Vec<String>,
}

/// A part of the cost that is known before.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub what: &'static str,
    /// How it was computed.
    pub formula: String,
    pub dollars: f64,
}

impl Estimate {
    #[must_use]
    pub fn new(plan: &Plan, prices: &Prices) -> Self {
        let phases = plan.at_most();
        let seconds: f64 = phases.iter().map(|phase| phase.duration.as_secs_f64()).sum();
        let events: f64 = phases.iter().map(super::arrivals::Phase::events).sum();
        let peak = phases.iter().map(super::arrivals::Phase::peak).fold(0.0, f64::max);
        let size = plan.mean_size();
        let bytes = events * (size + EVENT_OVERHEAD as f64);
        let log_groups: f64 = plan.lanes.iter().map(|lane| f64::from(lane.log_groups)).sum();
        let puts_per_second = peak.min(PUTS_OF_LOG_GROUP * log_groups);
        let units = plan.mean_of(|size| (size / PUT_UNIT).ceil());
        // Each row is at least so long, not only the mean of them.
        let row = plan.mean_of(|size| size.max(LEAST_ROW));
        let line = |what, item, quantity: f64, unit: &str| {
            let price = prices.of(item).dollars;
            let formula = format!("{} {unit} at ${price}", short(quantity));
            Line { what, formula, dollars: quantity * price }
        };
        let lines = vec![
            line("ingestion into the log groups", Item::LogsIngest, bytes / 1e9, "GB"),
            line(
                "puts into two streams, an event a record",
                Item::KinesisPut,
                2.0 * events * units / 1e6,
                "million",
            ),
            line("inserts into BigQuery", Item::BigqueryInsert, events * row / 1e9, "GB"),
        ];
        let mut quotas = vec![format!(
            "PutLogEvents: at most {} calls a second of {PUTS_PER_SECOND} for each account and region",
            short(puts_per_second)
        )];
        for lane in &plan.lanes {
            let rate = peak * plan.part_of(lane);
            let shards = (rate / SHARD_RECORDS).max(rate * size / SHARD_BYTES).ceil().max(1.0);
            quotas.push(format!(
                "stream of {}: {} records and {} KB a second if each event is a record; at least {shards} {}",
                lane.name,
                short(rate),
                short(rate * size / 1_024.0),
                if shards > 1.0 { "shards" } else { "shard" },
            ));
        }
        Self { seconds, peak, events, bytes, puts: (puts_per_second * seconds).min(events), lines, quotas }
    }

    /// What is known of the cost before, in US dollars.
    #[must_use]
    pub fn dollars(&self) -> f64 {
        self.lines.iter().map(|line| line.dollars).sum()
    }

    /// Every ceiling that it would exceed, by key, with what it would take.
    #[must_use]
    pub fn exceeds(&self, ceilings: &Ceilings) -> Vec<String> {
        let mut all = Vec::new();
        let mut check = |key: &str, takes: f64, most: f64, unit: &str| {
            if takes > most {
                let (takes, most) = (short(takes), short(most));
                all.push(format!(
                    "load.{key}: the run takes up to {takes} {unit}, and the configuration allows {most}"
                ));
            }
        };
        check("max_rate", self.peak, ceilings.rate, "events a second");
        check("max_events", self.events, ceilings.events as f64, "events");
        check("max_bytes", self.bytes, ceilings.bytes as f64, "bytes");
        check("max_dollars", self.dollars(), ceilings.dollars, "dollars");
        all
    }

    /// For people, line by line.
    #[must_use]
    pub fn lines(&self, plan: &Plan) -> Vec<String> {
        let names: Vec<_> = plan.lanes.iter().map(|lane| &*lane.name).collect();
        let most = if matches!(plan.shape, Shape::Search { .. }) { "at most " } else { "" };
        let sizes: Vec<_> = plan.profile.sizes.iter().map(|(size, _)| format!("{size} B")).collect();
        let mut lines = vec![
            format!("profile     {} {}", plan.profile.name, plan.profile.description),
            format!("tenants     {}", names.join(", ")),
            format!("sizes       {}", sizes.join(", ")),
            format!("rate        up to {} events a second", short(self.peak)),
            format!("sending     {most}{}, then until every canary has its outcome", minutes(self.seconds)),
            format!("events      {most}{}", short(self.events)),
            format!("bytes       {most}{} put into log groups", size(self.bytes)),
            format!("calls       {most}{} of PutLogEvents", short(self.puts)),
            format!(
                "dollars     {most}{:.2} that are known before; functions, requests for objects and egress come on top",
                self.dollars()
            ),
        ];
        lines.extend(
            self.lines
                .iter()
                .map(|line| format!("            {:>8.2}  {}: {}", line.dollars, line.what, line.formula)),
        );
        lines.extend(self.quotas.iter().map(|line| format!("quota       {line}")));
        let cannot_show = plan.cannot_show();
        lines.extend(plan.notes.iter().chain(&cannot_show).map(|line| format!("note        {line}")));
        lines
    }
}

/// A number for people: three digits, or a whole one.
#[must_use]
pub fn short(value: f64) -> String {
    match value {
        value if value == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => trimmed(&format!("{value:.1}")),
        value if value >= 0.01 => trimmed(&format!("{value:.2}")),
        value => format!("{value:.1e}"),
    }
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn size(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e6 => format!("{} KB", short(bytes / 1e3)),
        bytes if bytes < 1e9 => format!("{} MB", short(bytes / 1e6)),
        bytes => format!("{} GB", short(bytes / 1e9)),
    }
}

fn minutes(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} minutes", seconds / 60.0),
        seconds => format!("{:.1} hours", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::plan::tests::{CEILINGS, lane};
    use super::super::prices::SHIPPED;
    use super::super::profile::Profile;
    use super::*;
    use crate::domain::topology::fixture::topology as map;

    fn plan(text: &str) -> Plan {
        let lanes = vec![lane(0, "acme"), lane(1, "globex")];
        Plan::new(Profile::parse("own", text).unwrap(), lanes, &map(), Duration::from_secs(30), &CEILINGS)
            .unwrap()
    }

    fn estimate(plan: &Plan) -> Estimate {
        Estimate::new(plan, &Prices::parse("prices", SHIPPED).unwrap())
    }

    const TEXT: &str = "sizes = [\"974B\"]\nwarm_up = \"10s\"\n[[phase]]\nrate = 100\nduration = \"90s\"";

    #[test]
    fn a_worked_example_is_right_to_the_cent() {
        // 10,000 events of 974 + 26 bytes: 10 MB. 20,000 puts of one unit. 10,000 rows of at least 1,024
        // bytes.
        let found = estimate(&plan(TEXT));
        assert_eq!((found.events, found.bytes, found.peak, found.seconds), (10_000.0, 1e7, 100.0, 100.0));
        let dollars: Vec<_> = found.lines.iter().map(|line| line.dollars).collect();
        let expected = [0.01 * 0.50, 0.02 * 0.014, 0.01024 * 0.05];
        assert!(
            dollars.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9),
            "{dollars:?}"
        );
    }

    #[test]
    fn every_row_is_billed_as_at_least_so_many_bytes() {
        let text = "sizes = [\"100B\", \"2KB\"]\n[[phase]]\nrate = 100\nduration = \"100s\"";
        let found = estimate(&plan(text));
        // 5,000 rows of 1,024 bytes and 5,000 of 2,048 bytes at 0.05 a GB.
        assert!((found.lines[2].dollars - 0.01536 * 0.05).abs() < 1e-9, "{:?}", found.lines[2]);
    }

    #[test]
    fn what_a_run_is_too_small_to_show_is_told_before_it() {
        let plan = plan("[[phase]]\nrate = 10\nduration = \"30s\"");
        let lines = estimate(&plan).lines(&plan);
        let expected = "note        300 canaries cannot show a loss below 1.3 %; ";
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{lines:#?}");
    }

    #[test]
    fn what_a_run_would_exceed_is_named_by_its_key() {
        let found = estimate(&plan(TEXT));
        assert_eq!(found.exceeds(&CEILINGS), Vec::<String>::new());
        let low = Ceilings { rate: 50.0, events: 9_999, bytes: 1, dollars: 0.0001 };
        let keys: Vec<_> =
            found.exceeds(&low).iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(keys, ["load.max_rate", "load.max_events", "load.max_bytes", "load.max_dollars"]);
    }

    #[test]
    fn the_shards_that_a_tenants_stream_needs_are_told() {
        let found = estimate(&plan("sizes = [\"10KB\"]\n[[phase]]\nrate = 500\nduration = \"1m\""));
        // 250 records of 10 KB a second: 2.4 MB.
        assert!(
            found.quotas[1].contains("stream of acme") && found.quotas[1].contains("at least 3 shards"),
            "{:?}",
            found.quotas
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.0042, 0.5, 12.34, 1_234.5].map(short), ["0", "4.2e-3", "0.5", "12.3", "1234"]);
    }
}
