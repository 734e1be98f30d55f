//! The formulas of `docs/cost.md`, computed for a pipeline in front of the sandbox and compared with what the probe counts
//! itself. `make cost` does so for the setting of that page.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::interval;
use traceprobe::domain::time::Timestamp;
use traceprobe::sandbox::{
    ARCHIVE_BUCKET, Access, Distribution, Pace, Sandbox, Settings, Stage, TRANSIT_BUCKET,
};

use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::stand::variables;

/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// Dollars for each byte that BigQuery bills ($6.25 a TiB).
const BYTE: f64 = 6.25 / 1_099_511_627_776.0;
/// BigQuery bills at least this for a query of a table.
const LEAST_BILLED: f64 = 10_485_760.0;

/// An object is read if it was written at most so long before a waiting canary was planned (`docs/cost.md`): five
/// seconds, and half of the one to which its stamp is cut.
const BEFORE: f64 = 5.5;
/// A stamp of S3 says of nine arrivals in ten that they were at least so long after it, so the first poll is that much
/// later than most arrivals.
const CUT: f64 = 0.9;
/// A stream is read on where the last poll ended if that is not longer ago; otherwise each shard takes a call more.
const LOOKBACK: f64 = 10.0;
/// For so long after each full hour, the prefix of the hour before is listed as well (`key_slack`).
const KEY_SLACK: f64 = 300.0;
const HOUR: f64 = 3_600.0;

/// An object of others.
const LINE: &[u8] = b"{\"level\":\"INFO\",\"message\":\"an ordinary line\"}\n";

/// What is known of a probe and of the pipeline before it runs. Times are in seconds.
struct Setting {
    tenants: usize,
    interval: f64,
    /// Time between two polls.
    stream_interval: f64,
    object_interval: f64,
    table_interval: f64,
    shards: usize,
    /// From the planned injection to the arrival.
    to_stream: f64,
    to_archive: f64,
    to_transit: f64,
    to_table: f64,
    /// How long the exporter collects lines for one object of the transit.
    transit_batch: f64,
    /// Time between two objects of others below the prefix of each tenant, and below that of the transit.
    foreign_archive: f64,
    foreign_transit: f64,
    /// Keys of others below the transit's prefix of this hour when the probe starts.
    keys: usize,
    /// How long the probe runs before counting begins, so that each source has shown three canaries, and how long is
    /// counted.
    warm_up: f64,
    counted: f64,
}

/// The setting of `docs/cost.md`: 50 tenants and shipped defaults.
const SHIPPED: Setting = Setting {
    tenants: 50,
    interval: 30.0,
    stream_interval: 1.0,
    object_interval: 5.0,
    table_interval: 5.0,
    shards: 2,
    to_stream: 0.5,
    to_archive: 3.0,
    to_transit: 5.0,
    to_table: 9.0,
    transit_batch: 0.5,
    foreign_archive: 4.0,
    foreign_transit: 1.0,
    keys: 2_500,
    warm_up: 120.0,
    counted: 240.0,
};

/// The same with times that a test can wait for.
const SHORT: Setting = Setting {
    tenants: 40,
    interval: 12.0,
    object_interval: 1.0,
    table_interval: 1.0,
    shards: 1,
    to_archive: 2.5,
    to_transit: 2.5,
    to_table: 3.5,
    transit_batch: 0.2,
    foreign_archive: 2.0,
    foreign_transit: 0.5,
    keys: 0,
    warm_up: 40.0,
    counted: 36.0,
    ..SHIPPED
};

impl Setting {
    /// Canaries of all tenants per second.
    fn canaries(&self) -> f64 {
        self.tenants as f64 / self.interval
    }

    /// Polls of a source of one tenant for one canary: the first when it is `due`, the last after the arrival.
    fn polls_of_one(due: f64, arrival: f64, interval: f64) -> f64 {
        1.0 + ((arrival - due).max(0.0) / interval).ceil()
    }

    /// Polls per second of a source of all tenants. Without a waiting canary, the next one is waited for.
    fn polls_of_all(&self, due: f64, arrival: f64, interval: f64) -> f64 {
        let waits = (arrival - due).max(0.0) + interval / 2.0;
        let none = (-self.canaries() * waits).exp();
        1.0 / (interval + none / self.canaries())
    }

    /// Calls and dollars per second, by service, if each listing is one of so many prefixes.
    fn computed(&self, prefixes: f64) -> BTreeMap<&'static str, (f64, f64)> {
        let (tenants, canaries) = (self.tenants as f64, self.canaries());
        let stream_polls = Self::polls_of_one(0.0, self.to_stream, self.stream_interval);
        // The poll that finds a canary in the stream lets the stages behind it be polled.
        let in_stream = (stream_polls - 1.0) * self.stream_interval;
        let is_idle = self.interval - in_stream > LOOKBACK;
        let kinesis = canaries * self.shards as f64 * (stream_polls + f64::from(u8::from(is_idle)));
        // Enough canaries have shown how long they take.
        let archive_due = in_stream.max(self.to_archive + CUT);
        let of_one = Self::polls_of_one(archive_due, self.to_archive, self.object_interval);
        let archive_polls = canaries * of_one;
        let transit_polls = self.polls_of_all(in_stream, self.to_transit, self.object_interval);
        let in_transit = self.to_transit + self.object_interval / 2.0;
        let queries = self.polls_of_all(in_transit, self.to_table, self.table_interval);
        // Canaries in the transit are packed; below a tenant's prefix, each has an object of its own.
        let transit = 1.0 / self.foreign_transit + 1.0 / (self.transit_batch + 1.0 / canaries);
        let last_poll = archive_due + (of_one - 1.0) * self.object_interval;
        let is_read = ((BEFORE + last_poll) / self.interval).min(1.0);
        let archive = tenants / self.foreign_archive * is_read + canaries;
        let gets = archive + transit;
        let lists = (archive_polls + transit_polls * self.pages(transit)) * prefixes;
        [
            ("logs", (canaries, 0.0)),
            ("kinesis", (kinesis, 0.0)),
            ("s3", (lists + gets, lists * 5e-6 + gets * 4e-7)),
            ("bigquery", (queries, queries * LEAST_BILLED * BYTE)),
        ]
        .into()
    }

    /// Pages of a thousand keys in a listing of the transit, on average while calls are counted.
    fn pages(&self, objects_per_second: f64) -> f64 {
        const STEPS: u32 = 1_000;
        let at = |step: u32| {
            let time = self.warm_up + self.counted * f64::from(step) / f64::from(STEPS);
            ((self.keys as f64 + objects_per_second * time) / 1_000.0).ceil()
        };
        (0..STEPS).map(at).sum::<f64>() / f64::from(STEPS)
    }

    fn settings(&self) -> Settings {
        let fixed = |seconds: f64| Distribution::Fixed { ms: seconds * 1e3 };
        let pace = Pace {
            forward: fixed(self.to_stream),
            archive: fixed(self.to_archive - self.to_stream),
            export: fixed(self.to_transit - self.to_stream),
            transfer: fixed(self.to_table - self.to_transit),
            copy: fixed(0.1),
            archive_batch: Duration::from_millis(10),
            transit_batch: Duration::from_secs_f64(self.transit_batch),
            query: fixed(0.01),
        };
        Settings {
            pace,
            shards_per_stream: self.shards,
            // Everything of the run is kept.
            capacity: 1_000_000,
            ..Settings::brisk(11, self.tenants)
        }
    }

    /// Writes the objects of others until it is dropped.
    async fn write_foreign_objects(&self, sandbox: &Sandbox) {
        let names: Vec<_> = sandbox.tenants().iter().map(|tenant| tenant.name.clone()).collect();
        let put_transit = |number: usize| {
            let folder = now().strftime("%Y/%m/%d/%H");
            let key = format!("transit/{folder}/0-{number:08}");
            sandbox.put_object(TRANSIT_BUCKET, &key, LINE.to_vec());
        };
        (0..self.keys).for_each(put_transit);
        let archive = async {
            let mut ticks = interval(Duration::from_secs_f64(self.foreign_archive));
            for number in 0_usize.. {
                ticks.tick().await;
                for name in &names {
                    let folder = now().strftime("dt=%Y-%m-%d/hour=%H");
                    let key = format!("archive/tenant={name}/{folder}/0-{number:08}");
                    sandbox.put_object(ARCHIVE_BUCKET, &key, LINE.to_vec());
                }
            }
        };
        let transit = async {
            let mut ticks = interval(Duration::from_secs_f64(self.foreign_transit));
            for number in self.keys.. {
                ticks.tick().await;
                put_transit(number);
            }
        };
        tokio::join!(archive, transit);
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

#[expect(clippy::disallowed_methods, reason = "the sandbox runs by the system clock")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// How many prefixes a listing covers on average between two instants.
fn prefixes(from: Timestamp, until: Timestamp) -> f64 {
    let seconds = |at: Timestamp| at.millis() as f64 / 1e3;
    let (from, until) = (seconds(from), seconds(until));
    let hour = (until / HOUR).floor() * HOUR;
    // Also the part after the full hour before, of a period that began in it.
    let both: f64 =
        [hour - HOUR, hour].iter().map(|at| (until.min(at + KEY_SLACK) - from.max(*at)).max(0.0)).sum();
    1.0 + both / (until - from)
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
    let counting = async {
        let daemon = Daemon::start(&file, variables(&[])).await;
        tokio::time::sleep(Duration::from_secs_f64(setting.warm_up)).await;
        let (began, before) = (now(), daemon.metrics().await);
        tokio::time::sleep(Duration::from_secs_f64(setting.counted)).await;
        (before, daemon.metrics().await, began, now())
    };
    let (before, after, began, ended) = tokio::select! {
        counted = counting => counted,
        () = setting.write_foreign_objects(&sandbox) => unreachable!("it never ends"),
    };
    let took = ended.since(began).as_secs_f64();
    if std::env::var_os("TRACEPROBE_COST").is_some() {
        by_operation(&before, &after, took);
    }
    let (before, after) = (self::counted(&before), self::counted(&after));
    let _removed = std::fs::remove_file(&file);
    let row = |(service, computed)| {
        let ((calls, dollars), (calls_before, dollars_before)) = (after[service], before[service]);
        (service, computed, ((calls - calls_before) / took, (dollars - dollars_before) / took))
    };
    setting.computed(prefixes(began, ended)).into_iter().map(row).collect()
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
