//! Measures the accuracy of arrivals: the real daemon in front of a sandbox with changing faults, and
//! afterwards the intervals on its page compared with the truth.
//!
//! Shared by the test and the benchmark, which differ only in the number of canaries. Two rounds cover all
//! kinds of evidence, because the table either has a time column or has none.

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use traceprobe::config::Config;
use traceprobe::daemon::clock;
use traceprobe::daemon::run::Daemon;
use traceprobe::sandbox::{
    Access, Distribution, Fault, Pace, SRE_ACCOUNT, Sandbox, Service, ServiceEffect, Settings, Stage,
    StageEffect, TenantSpec, TruthRecord,
};

use self::support::client::Client;
use self::support::process::Printed;

/// The `clock_allowance` of every stage.
const ALLOWANCE: Duration = Duration::from_millis(5);
/// The true clock offsets, all within the allowance.
const OFFSETS_MS: [(Service, i64); 4] =
    [(Service::Logs, 3), (Service::Kinesis, -4), (Service::S3, 5), (Service::Bigquery, 4)];
/// The poll interval of the table.
const TABLE_INTERVAL: Duration = Duration::from_millis(500);
/// The longest time that a query takes.
const SLOW_QUERY: Duration = Duration::from_millis(300);
/// Added to a query by its transport: a thousand ids, and the rows, on a busy machine.
const TRANSPORT: Duration = Duration::from_millis(100);
/// The interval between two changes of the faults.
const FAULT_EVERY: Duration = Duration::from_secs(1);
/// How long it may take until every copy of the last canaries has been seen.
const SETTLE_WITHIN: Duration = Duration::from_secs(45);
/// Traces per page of the JSON answer; its maximum.
const PAGE: usize = 1_000;

/// The size of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub tenants: usize,
    /// The total of both rounds.
    pub traces: usize,
    /// Between two canaries of a tenant.
    pub interval: Duration,
}

/// The evidence that a stage gives of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A stamp in ms, of a clock with this offset.
    Millis { offset_ms: i64 },
    /// A stamp in s, or only a lower bound.
    Seconds,
    /// No stamp, so only polls count.
    None,
}

/// The results at one stage.
#[derive(Debug)]
pub struct StageReport {
    pub stage: &'static str,
    pub evidence: Evidence,
    /// The latest instant of the interval minus the true arrival, in µs.
    pub errors: Vec<i64>,
    /// The middle of the interval minus the true arrival, in µs.
    pub middles: Vec<i64>,
    /// The widths of the intervals, in µs.
    pub widths: Vec<i64>,
    /// The widths of intervals during which BigQuery always answered, in µs.
    pub undisturbed_widths: Vec<i64>,
    /// The error if the arrival were the instant at which it was noticed, in µs.
    pub naive: Vec<i64>,
    /// Descriptions of the true arrivals outside their interval.
    pub outside: Vec<String>,
    /// Descriptions of the arrivals that were never reported.
    pub unseen: Vec<String>,
}

/// Runs both rounds.
pub async fn run(plan: Plan) -> Vec<StageReport> {
    let mut reports = measure_once(plan, true).await;
    for report in measure_once(Plan { seed: plan.seed + 1, ..plan }, false).await {
        match reports
            .iter_mut()
            .find(|known| (known.stage, known.evidence) == (report.stage, report.evidence))
        {
            Some(known) => known.join(report),
            None => reports.push(report),
        }
    }
    reports.sort_by_key(|report| report.stage);
    reports
}

/// Violations of what must hold on any machine, however busy.
pub fn broken(reports: &[StageReport]) -> Vec<String> {
    reports.iter().flat_map(StageReport::broken).collect()
}

/// Stages without stamps whose intervals are wider than the interval and the length of polls explain. On a
/// busy machine polls take longer, so only the benchmark checks this.
#[allow(dead_code, reason = "the test does not use it")]
pub fn too_wide(reports: &[StageReport]) -> Vec<String> {
    reports.iter().filter_map(StageReport::too_wide).collect()
}

pub fn sightings(reports: &[StageReport]) -> usize {
    reports.iter().map(|report| report.errors.len()).sum()
}

impl StageReport {
    fn new(stage: &'static str, evidence: Evidence) -> Self {
        Self {
            stage,
            evidence,
            errors: Vec::new(),
            middles: Vec::new(),
            widths: Vec::new(),
            undisturbed_widths: Vec::new(),
            naive: Vec::new(),
            outside: Vec::new(),
            unseen: Vec::new(),
        }
    }

    fn join(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.middles.extend(other.middles);
        self.widths.extend(other.widths);
        self.undisturbed_widths.extend(other.undisturbed_widths);
        self.naive.extend(other.naive);
        self.outside.extend(other.outside);
        self.unseen.extend(other.unseen);
    }

    fn broken(&self) -> Vec<String> {
        let mut broken: Vec<String> = self.outside.iter().chain(&self.unseen).cloned().collect();
        if self.errors.is_empty() {
            broken.push(format!("{}: nothing was measured", self.stage));
        }
        // A stamp in ms is truncated and widened by 1 ms and by the allowance. The true offset adds to the
        // latest instant.
        if let Evidence::Millis { offset_ms } = self.evidence {
            let ahead = Duration::from_millis(offset_ms.max(0).unsigned_abs());
            let allowed = Duration::from_millis(2) + ALLOWANCE;
            let middles: Vec<i64> = self.middles.iter().map(|error| error.abs()).collect();
            for (what, errors, bound) in
                [("middle", &middles, allowed), ("latest instant", &self.errors, allowed + ahead)]
            {
                let p99 = quantile(errors, 0.99);
                if Duration::from_micros(p99.unsigned_abs()) > bound {
                    let stage = self.stage;
                    broken.push(format!(
                        "{stage}: p99 of the error of the {what} is {} ms, not within {bound:?}",
                        ms(p99)
                    ));
                }
            }
        }
        broken
    }

    fn too_wide(&self) -> Option<String> {
        let bound = TABLE_INTERVAL + SLOW_QUERY + TRANSPORT;
        let p99 = quantile(&self.undisturbed_widths, 0.99);
        let is = self.evidence == Evidence::None && Duration::from_micros(p99.unsigned_abs()) > bound;
        is.then(|| format!("{}: p99 of the width is {} ms, not within {bound:?}", self.stage, ms(p99)))
    }

    /// One row of the table.
    pub fn row(&self) -> String {
        let three = |of: &[i64]| {
            format!(
                "{:>8} {:>8} {:>8}",
                ms(quantile(of, 0.5)),
                ms(quantile(of, 0.99)),
                ms(of.iter().copied().max().unwrap_or(0))
            )
        };
        let evidence = match self.evidence {
            Evidence::Millis { offset_ms } => format!("ms stamp, clock {offset_ms:+} ms"),
            Evidence::Seconds => "s stamp or bound".to_owned(),
            Evidence::None => "no stamp".to_owned(),
        };
        let inside = self.errors.len() - self.outside.len();
        let percent = 100.0 * inside as f64 / self.errors.len().max(1) as f64;
        format!(
            "{:<14} {evidence:<22} {:>9} {percent:>8.3} | {} | {} | {} | {}",
            self.stage,
            self.errors.len(),
            three(&self.middles.iter().map(|error| error.abs()).collect::<Vec<_>>()),
            three(&self.errors),
            three(&self.widths),
            three(&self.naive)
        )
    }
}

/// The header of the table.
pub fn head() -> String {
    let three = format!("{:>8} {:>8} {:>8}", "p50", "p99", "max");
    format!(
        "{:<14} {:<22} {:>9} {:>8} | {:^26} | {:^26} | {:^26} | {:^26}\n{:<14} {:<22} {:>9} {:>8} | {three} | {three} | {three} | {three}",
        "",
        "",
        "",
        "inside",
        "error of middle, ms",
        "error of latest, ms",
        "width, ms",
        "error of naive poll, ms",
        "stage",
        "evidence",
        "sightings",
        "%",
    )
}

fn ms(micros: i64) -> String {
    format!("{:.1}", micros as f64 / 1_000.0)
}

/// By the nearest-rank definition; 0 if there are no values.
pub fn quantile(of: &[i64], q: f64) -> i64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    let nth = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(nth.saturating_sub(1)).copied().unwrap_or(0)
}

/// One round: one daemon in front of one sandbox.
async fn measure_once(plan: Plan, stamped: bool) -> Vec<StageReport> {
    let sandbox = Sandbox::start(settings(plan)).await.expect("loopback has ports");
    let environment = [("TRACEPROBE_TAG_KEY".to_owned(), "the benchmark's key is no secret".to_owned())];
    let config = Config::parse(&configuration(&sandbox, plan.interval, stamped), environment)
        .unwrap_or_else(|faults| panic!("{faults}"));
    let daemon = Daemon::new(config, clock::system()).await.expect("the daemon can be built");
    let page = Client::new(format!("http://{}", daemon.address()), Printed::in_memory());
    let (stop, stopped) = oneshot::channel::<()>();
    let measuring = async {
        let measured = measure(&sandbox, &page, plan, stamped).await;
        let _ = stop.send(());
        measured
    };
    let running = daemon.run(async {
        let _ = stopped.await;
    });
    let (reports, ended) = tokio::join!(measuring, running);
    ended.expect("no task of the daemon dies");
    sandbox.stop().await;
    reports
}

fn settings(plan: Plan) -> Settings {
    let mut tenants = Settings::brisk(plan.seed, plan.tenants).tenants;
    // All tenants are in one account, so that the log groups can be read without a role for each.
    for tenant in &mut tenants {
        *tenant = TenantSpec { account: SRE_ACCOUNT.to_owned(), ..tenant.clone() };
    }
    let pace = Pace {
        // Batches, because one object per line would measure how fast objects are fetched.
        archive: Distribution::Fixed { ms: 150.0 },
        export: Distribution::Fixed { ms: 150.0 },
        archive_batch: Duration::from_millis(100),
        transit_batch: Duration::from_millis(100),
        query: Distribution::Uniform { min_ms: 20.0, max_ms: 60.0 },
        ..Pace::brisk()
    };
    Settings { tenants, pace, ..Settings::brisk(plan.seed, plan.tenants) }
}

/// Injects canaries until there are enough, waits until all of them have arrived, and compares.
async fn measure(sandbox: &Sandbox, page: &Client, plan: Plan, stamped: bool) -> Vec<StageReport> {
    let mut rotation = FaultRotation::begin(sandbox);
    // The first canaries, which leave while connections are made, count like all others.
    let enough = plan.traces.div_ceil(2);
    while sandbox.truth().len() < enough {
        rotation.change();
        sleep(FAULT_EVERY).await;
    }
    let chosen: HashSet<String> = sandbox.truth().into_iter().map(|record| record.token).collect();
    sandbox.clear_all();
    rotation.offset_clocks();
    let give_up = Instant::now() + SETTLE_WITHIN;
    loop {
        sleep(FAULT_EVERY).await;
        let seen = arrivals(page, sandbox.tenants()).await;
        let truth: Vec<_> =
            sandbox.truth().into_iter().filter(|record| chosen.contains(&record.token)).collect();
        let all_arrived = truth.iter().all(|record| record.under_way() == 0);
        let reports = compare(&truth, &seen, &rotation.disturbed, stamped);
        let all_seen = reports.iter().all(|report| report.unseen.is_empty());
        if (all_arrived && all_seen) || Instant::now() > give_up {
            return reports;
        }
    }
}

fn compare(
    truth: &[TruthRecord],
    seen: &HashMap<(String, String), Reported>,
    disturbed: &[(i64, i64)],
    stamped: bool,
) -> Vec<StageReport> {
    let mut reports: BTreeMap<Stage, StageReport> = BTreeMap::new();
    for (stage, evidence) in stages(stamped) {
        reports.insert(stage, StageReport::new(stage.name(), evidence));
    }
    for record in truth {
        let id = &record.token[5..37];
        for (stage, report) in &mut reports {
            let Some(at) = record.arrived(*stage).map(|at| at.0) else { continue };
            let Some(reported) = seen.get(&(id.to_owned(), stage.name().to_owned())) else {
                report.unseen.push(format!("{stage}: {id} arrived but was not reported"));
                continue;
            };
            let (earliest, latest) = (reported.earliest, reported.latest);
            report.errors.push(latest - at);
            report.middles.push(earliest + (latest - earliest) / 2 - at);
            report.widths.push(latest - earliest);
            report.naive.push(reported.noticed_at - at);
            if !disturbed.iter().any(|(from, to)| earliest <= *to && *from <= latest) {
                report.undisturbed_widths.push(latest - earliest);
            }
            if !(earliest..=latest).contains(&at) {
                let copies: Vec<_> =
                    record.copies(*stage).map(|copy| format!("{} {}", copy.at.0, copy.locator)).collect();
                report.outside.push(format!(
                    "{stage}: {id} arrived {} µs after the earliest and {} µs before the latest instant; copies {copies:?}, reported {reported:?}, incidents {:?}",
                    at - earliest,
                    latest - at,
                    record.incidents
                ));
            }
        }
    }
    reports.into_values().collect()
}

fn stages(stamped: bool) -> [(Stage, Evidence); 6] {
    let millis = |service| {
        let offset = OFFSETS_MS.iter().find(|(of, _)| *of == service).map_or(0, |(_, ms)| *ms);
        Evidence::Millis { offset_ms: offset }
    };
    [
        (Stage::LogGroup, millis(Service::Logs)),
        (Stage::TenantStream, millis(Service::Kinesis)),
        (Stage::Archive, Evidence::Seconds),
        (Stage::Transit, Evidence::Seconds),
        (Stage::DeadLetter, Evidence::Seconds),
        (Stage::Bigquery, if stamped { millis(Service::Bigquery) } else { Evidence::None }),
    ]
}

/// Injects one fault after the other, so that each meets canaries in every state.
struct FaultRotation<'a> {
    sandbox: &'a Sandbox,
    changes: usize,
    /// The times at which BigQuery did not answer, in µs.
    disturbed: Vec<(i64, i64)>,
}

impl<'a> FaultRotation<'a> {
    fn begin(sandbox: &'a Sandbox) -> Self {
        let rotation = Self { sandbox, changes: 0, disturbed: Vec::new() };
        rotation.offset_clocks();
        for stage in [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery] {
            sandbox.fault(Fault::stage(stage, StageEffect::Duplicate { probability: 0.03 }));
            sandbox.fault(Fault::stage(stage, StageEffect::Reorder { spread_ms: 200 }));
        }
        for stage in [Stage::Archive, Stage::Transit, Stage::Bigquery] {
            sandbox.fault(Fault::stage(stage, StageEffect::Lose { probability: 0.01 }));
        }
        sandbox.fault(Fault::stage(Stage::Transit, StageEffect::DeadLetter { probability: 0.02 }));
        rotation
    }

    /// Sets the clock offsets, which hold all the time.
    fn offset_clocks(&self) {
        for (service, ms) in OFFSETS_MS {
            self.sandbox.fault(Fault::ClockOffset { service, ms });
        }
    }

    fn change(&mut self) {
        let tenants = self.sandbox.tenants();
        let name = tenants[self.changes % tenants.len()].name.clone();
        let tenant = Some(name.clone());
        let call = |service, operation: &str, effect| Fault::operation(service, operation, effect);
        let (short, long) = (Duration::from_millis(700), Duration::from_secs(3));
        let (fault, lasting) = match self.changes % 16 {
            0 => (Fault::Reshard { tenant: name }, short),
            1 => (call(Service::Kinesis, "GetRecords", ServiceEffect::Throttle), short),
            2 => (Fault::ExpireIterators { tenant: None }, short),
            3 => (Fault::BehindLatest { tenant, ms: 5_000 }, long),
            4 => (call(Service::S3, "ListObjectsV2", ServiceEffect::Slow { ms: 400 }), long),
            5 => (Fault::service(Service::S3, ServiceEffect::ServerError { status: 503 }), short),
            6 => (Fault::service(Service::Bigquery, ServiceEffect::Throttle), short),
            7 => (call(Service::Logs, "FilterLogEvents", ServiceEffect::Throttle), short),
            8 => (call(Service::Logs, "PutLogEvents", ServiceEffect::CutAfter), short / 2),
            9 => (Fault::SlowQuery { ms: u64::try_from(SLOW_QUERY.as_millis()).unwrap_or(0) }, long),
            10 => (Fault::Multipart { stage: Stage::Archive, early_ms: 1_500 }, long),
            11 => (Fault::service(Service::Kinesis, ServiceEffect::CutBefore), short),
            12 => (Fault::LateFilter { tenant: None, ms: 300 }, long),
            13 => (Fault::UnorderedKeys { stage: Stage::Transit }, long),
            14 => (Fault::service(Service::Kinesis, ServiceEffect::Slow { ms: 250 }), long),
            _ => (Fault::service(Service::Bigquery, ServiceEffect::CutAfter), short),
        };
        if matches!(
            fault,
            Fault::Service {
                service: Service::Bigquery,
                effect: ServiceEffect::Throttle | ServiceEffect::CutAfter,
                ..
            }
        ) {
            let now = clock::system().now();
            self.disturbed.push((now.micros(), (now + lasting).micros()));
        }
        self.sandbox.fault_for(fault, lasting);
        self.changes += 1;
    }
}

/// One arrival on the page, in µs.
#[derive(Debug)]
struct Reported {
    earliest: i64,
    latest: i64,
    noticed_at: i64,
    #[expect(dead_code, reason = "printed for an arrival outside its interval")]
    copies: Vec<String>,
}

/// Every arrival that the page shows, by trace and stage.
async fn arrivals(page: &Client, tenants: &[TenantSpec]) -> HashMap<(String, String), Reported> {
    let mut all = HashMap::new();
    for tenant in tenants {
        let mut until = String::new();
        loop {
            let recent = page.recent_of(&format!("limit={PAGE}&tenant={}{until}", tenant.name)).await;
            let full = recent.traces.len() == PAGE;
            if let Some(oldest) = recent.traces.last() {
                until = format!("&until={}", oldest.planned_at);
            }
            for trace in recent.traces {
                for at in trace.stages {
                    if let (Some(earliest), Some(latest), Some(noticed_at)) =
                        (at.earliest, at.latest, at.noticed_at)
                    {
                        let reported = Reported { earliest, latest, noticed_at, copies: at.copies };
                        all.insert((trace.id.clone(), at.stage), reported);
                    }
                }
            }
            if !full {
                break;
            }
        }
    }
    all
}

/// The daemon's configuration, with the sandbox's names of the stages.
fn configuration(sandbox: &Sandbox, interval: Duration, stamped: bool) -> String {
    let probe = format!(
        r#"listen = "127.0.0.1:0"
interval = "{}ms"
give_up = "60s"
grace = "5s"
stop_grace = "0s"
max_in_flight = 100000
remember = 100000"#,
        interval.as_millis()
    );
    let table_interval = format!("interval = \"{}ms\"", TABLE_INTERVAL.as_millis());
    let stages = [
        (Stage::LogGroup, "interval = \"1s\"\nsettle = \"500ms\""),
        (Stage::TenantStream, ""),
        (Stage::Archive, "interval = \"1s\""),
        (Stage::DeadLetter, "interval = \"1s\""),
        (Stage::Transit, "interval = \"500ms\""),
        (Stage::Bigquery, &*table_interval),
    ];
    let allowance = format!("clock_allowance = \"{}ms\"", ALLOWANCE.as_millis());
    let stages = stages.map(|(stage, keys)| (stage, format!("{keys}\n{allowance}")));
    let stages = stages.each_ref().map(|(stage, keys)| (*stage, &**keys));
    let text = sandbox.probe_configuration(Access::OwnAccount, &probe, &stages);
    // Without `time_column` the probe ignores the table's stamps.
    if stamped { text } else { text.replace("time_column = \"ingest_time\"\n", "") }
}
