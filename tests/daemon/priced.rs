//! The formulas of `docs/cost.md`, computed for a pipeline in front of the sandbox and compared with what the probe counts
//! itself. `make cost` does so for the setting of that page.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::sandbox::{Access, Distribution, Pace, Sandbox, Settings, Stage};

use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::stand::variables;

/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// Dollars for each byte that BigQuery bills ($6.25 a TiB).
const BYTE: f64 = 6.25 / 1_099_511_627_776.0;
/// BigQuery bills at least this for a query of a table.
const LEAST_BILLED: f64 = 10_485_760.0;

/// What is known of a probe and of the pipeline before it runs. Times are in seconds.
struct Setting {
    tenants: usize,
    interval: f64,
    /// Time between two polls.
    stream_interval: f64,
    object_interval: f64,
    table_interval: f64,
    shards: usize,
    /// From the planned injection to the arrival, on average.
    to_stream: f64,
    to_archive: f64,
    to_transit: f64,
    to_table: f64,
    /// Time between two objects of a tenant's archive, and of the transit of all.
    archive_batch: f64,
    transit_batch: f64,
    /// Log lines of a tenant per second that are no canaries.
    foreign: f64,
    /// How long the pipeline has written objects when counting begins, and how long is counted.
    warm_up: f64,
    counted: f64,
}

/// The setting of `docs/cost.md`: shipped defaults.
const SHIPPED: Setting = Setting {
    tenants: 50,
    interval: 30.0,
    stream_interval: 1.0,
    object_interval: 5.0,
    table_interval: 5.0,
    shards: 2,
    to_stream: 0.05,
    to_archive: 3.0,
    to_transit: 5.0,
    to_table: 7.0,
    archive_batch: 2.0,
    transit_batch: 0.5,
    foreign: 5.0,
    warm_up: 60.0,
    counted: 240.0,
};

/// The same with times that a test can wait for.
const SHORT: Setting = Setting {
    tenants: 10,
    interval: 6.0,
    stream_interval: 1.0,
    object_interval: 1.0,
    table_interval: 1.0,
    to_archive: 0.6,
    to_transit: 1.0,
    to_table: 1.4,
    archive_batch: 0.4,
    transit_batch: 0.2,
    foreign: 20.0,
    warm_up: 8.0,
    counted: 30.0,
    ..SHIPPED
};

impl Setting {
    fn canaries(&self) -> f64 {
        self.tenants as f64 / self.interval
    }

    /// Polls per second of a source of one tenant. The first begins with the canary, and the one that finds it is on
    /// average half an interval after the arrival.
    fn polls_of_one(&self, wait: f64, interval: f64) -> f64 {
        ((wait / interval + 1.5) / self.interval).min(1.0 / interval)
    }

    /// Polls per second of a source of all tenants: with so many canaries, one always waits.
    fn polls_of_all(interval: f64) -> f64 {
        1.0 / interval
    }

    /// Calls and dollars per second, by service.
    fn computed(&self) -> BTreeMap<&'static str, (f64, f64)> {
        let tenants = self.tenants as f64;
        let puts = self.canaries();
        let get_records =
            tenants * self.shards as f64 * self.polls_of_one(self.to_stream, self.stream_interval);
        let archive_polls = tenants * self.polls_of_one(self.to_archive, self.object_interval);
        let transit_polls = Self::polls_of_all(self.object_interval);
        // Pages of a thousand keys, of all objects of the hour.
        let written = self.warm_up + self.counted / 2.0;
        let pages = |batch: f64| (written / batch / 1_000.0).ceil();
        let lists = archive_polls * pages(self.archive_batch) + transit_polls * pages(self.transit_batch);
        // What is written while a canary waits is read, and what was written during the interval before.
        let read_ratio = ((self.to_archive + self.object_interval / 2.0) / self.interval).min(1.0);
        let gets = tenants * read_ratio / self.archive_batch + 1.0 / self.transit_batch;
        let queries = Self::polls_of_all(self.table_interval);
        [
            ("logs", (puts, 0.0)),
            ("kinesis", (get_records, 0.0)),
            ("s3", (lists + gets, lists * 5e-6 + gets * 4e-7)),
            ("bigquery", (queries, queries * LEAST_BILLED * BYTE)),
        ]
        .into()
    }

    fn settings(&self) -> Settings {
        let fixed = |seconds: f64| Distribution::Fixed { ms: seconds * 1e3 };
        let pace = Pace {
            forward: fixed(self.to_stream),
            archive: fixed(self.to_archive - self.to_stream),
            export: fixed(self.to_transit - self.to_stream),
            transfer: fixed(self.to_table - self.to_transit),
            copy: fixed(0.1),
            archive_batch: Duration::from_secs_f64(self.archive_batch),
            transit_batch: Duration::from_secs_f64(self.transit_batch),
            query: fixed(0.01),
        };
        Settings {
            pace,
            noise_per_second: self.foreign,
            shards_per_stream: self.shards,
            history_bytes: 0,
            // Everything of the run is kept.
            capacity: 1_000_000,
            ..Settings::brisk(11, self.tenants)
        }
    }

    fn configuration(&self, sandbox: &Sandbox) -> String {
        let probe = format!("listen = \"127.0.0.1:0\"\ninterval = \"{}s\"", self.interval);
        let every = |seconds: f64| format!("interval = \"{seconds}s\"");
        let (stream, object, table) =
            (every(self.stream_interval), every(self.object_interval), every(self.table_interval));
        let stages = [
            (Stage::TenantStream, &*stream),
            (Stage::Archive, &*object),
            (Stage::Transit, &*object),
            (Stage::Bigquery, &*table),
        ];
        sandbox.probe_configuration(Access::TenantRoles, &probe, &stages)
    }
}

/// Calls and dollars so far, by service.
fn counted(metrics: &Metrics) -> BTreeMap<&'static str, (f64, f64)> {
    let of = |service| {
        let calls = metrics.sum("traceprobe_api_calls_total", &[("service", service)]);
        (service, (calls, metrics.sum("traceprobe_estimated_cost_dollars_total", &[("service", service)])))
    };
    ["logs", "kinesis", "s3", "bigquery"].map(of).into()
}

/// Runs a probe and returns for each service computed and counted calls and dollars per second.
async fn compare(setting: &Setting) -> Vec<(&'static str, (f64, f64), (f64, f64))> {
    let sandbox = Sandbox::start(setting.settings()).await.expect("loopback has ports");
    let file = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "priced-{}-{}.toml",
        std::process::id(),
        setting.tenants
    ));
    std::fs::write(&file, setting.configuration(&sandbox)).expect("cannot write the configuration");
    let daemon = Daemon::start(&file, variables(&[])).await;
    tokio::time::sleep(Duration::from_secs_f64(setting.warm_up)).await;
    let (began, before) = (tokio::time::Instant::now(), daemon.metrics().await);
    tokio::time::sleep(Duration::from_secs_f64(setting.counted)).await;
    let (after, took) = (daemon.metrics().await, began.elapsed().as_secs_f64());
    if std::env::var_os("TRACEPROBE_COST").is_some() {
        by_operation(&before, &after, took);
    }
    let (before, after) = (self::counted(&before), self::counted(&after));
    let _removed = std::fs::remove_file(&file);
    let row = |(service, computed)| {
        let ((calls, dollars), (calls_before, dollars_before)) = (after[service], before[service]);
        (service, computed, ((calls - calls_before) / took, (dollars - dollars_before) / took))
    };
    setting.computed().into_iter().map(row).collect()
}

/// What was counted, call by call, for whoever looks for the reason of a difference.
fn by_operation(before: &Metrics, after: &Metrics, took: f64) {
    for (service, operation) in [
        ("logs", "PutLogEvents"),
        ("kinesis", "GetRecords"),
        ("kinesis", "GetShardIterator"),
        ("kinesis", "ListShards"),
        ("s3", "ListObjectsV2"),
        ("s3", "GetObject"),
        ("bigquery", "jobs.query"),
        ("bigquery", "tables.get"),
        ("bigquery", "jobs.get"),
    ] {
        let labels = [("service", service), ("operation", operation)];
        let of = |metrics: &Metrics| metrics.sum("traceprobe_api_calls_total", &labels);
        println!("{service:<10} {operation:<18} {:>9.3} a second", (of(after) - of(before)) / took);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_formulas_agree_with_the_counters_within_a_tenth() {
    let is_long = std::env::var_os("TRACEPROBE_COST").is_some_and(|value| value == "long");
    let rows = compare(if is_long { &SHIPPED } else { &SHORT }).await;
    println!("service    computed  counted calls a day   ratio   computed  counted dollars a day   ratio");
    let mut wrong = Vec::new();
    for (service, (calls, dollars), (counted_calls, counted_dollars)) in &rows {
        let ratio = counted_calls / calls;
        let of_dollars = if *dollars > 0.0 { counted_dollars / dollars } else { 1.0 };
        println!(
            "{service:<10} {:>8.0} {:>8.0} {ratio:>18.2} {:>10.3} {:>8.3} {of_dollars:>20.2}",
            calls * DAY,
            counted_calls * DAY,
            dollars * DAY,
            counted_dollars * DAY
        );
        if !(0.9..=1.1).contains(&ratio) || !(0.9..=1.1).contains(&of_dollars) {
            wrong.push(format!("{service}: {ratio:.2} of the calls, {of_dollars:.2} of the dollars"));
        }
    }
    assert!(wrong.is_empty(), "counted by computed: {wrong:#?}");
}
