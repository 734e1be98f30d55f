//! How true the daemon's arrivals are: a sandbox that misbehaves, the real daemon in front of it, and afterwards what the
//! daemon says on its page against what the sandbox knows.
//!
//! Shared by the test and the benchmark, which differ in the number of canaries only. Two passes are needed to see all
//! kinds of evidence: a table has a time column or it has none, and one table may be the end of one route only.

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

/// What the configuration declares that a service's clock and ours may be apart.
const ALLOWANCE: Duration = Duration::from_millis(5);
/// What they are apart. All within the allowance.
const OFFSETS_MS: [(Service, i64); 4] =
    [(Service::Logs, 3), (Service::Kinesis, -4), (Service::S3, 5), (Service::Bigquery, 4)];
/// How often the table is asked.
const TABLE_INTERVAL: Duration = Duration::from_millis(500);
/// The longest that a query takes.
const SLOW_QUERY: Duration = Duration::from_millis(300);
/// What asking and answering add to it: a thousand ids out, rows back, on a busy machine.
const TRANSPORT: Duration = Duration::from_millis(100);
/// From one change of the weather to the next.
const FAULT_EVERY: Duration = Duration::from_secs(1);
/// How long the last canaries may take until everything that is anywhere has been seen there.
const SETTLE_WITHIN: Duration = Duration::from_secs(45);
/// Traces on one page of the answer; its maximum.
const PAGE: usize = 1_000;

/// How much to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub tenants: usize,
    /// Of both passes together.
    pub traces: usize,
    /// Between two canaries of a tenant.
    pub interval: Duration,
}

/// What a stage says of when something arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A stamp in ms, of a clock that is off by so much.
    Millis { offset_ms: i64 },
    /// A stamp in s, or only a lower bound.
    Seconds,
    /// Nothing, so that only our own looks count.
    None,
}

/// What was found at one stage.
#[derive(Debug)]
pub struct StageReport {
    pub stage: &'static str,
    pub evidence: Evidence,
    /// The latest instant reported minus the true arrival, in µs.
    pub errors: Vec<i64>,
    /// The same of the middle of the interval.
    pub middles: Vec<i64>,
    /// In µs.
    pub widths: Vec<i64>,
    /// Of those during which the table's service answered all the time.
    pub undisturbed_widths: Vec<i64>,
    /// The error if the arrival were the instant at which it was noticed, in µs.
    pub naive: Vec<i64>,
    /// Arrivals outside of the reported interval, in words.
    pub outside: Vec<String>,
    /// Arrivals that were never reported.
    pub unseen: Vec<String>,
}

/// Runs both passes.
pub async fn run(plan: Plan) -> Vec<StageReport> {
    let mut reports = run_plan(plan, true).await;
    for report in run_plan(Plan { seed: plan.seed + 1, ..plan }, false).await {
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

/// Everything that must hold on any machine, however busy, and does not.
pub fn broken(reports: &[StageReport]) -> Vec<String> {
    reports.iter().flat_map(StageReport::broken).collect()
}

/// Stages without stamps whose intervals are wider than rhythm and length of the looks explain. On a machine that is busy
/// with other things a look takes as long as it takes, so this is for benchmarks only.
#[allow(dead_code, reason = "the test is one of two users")]
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
        // A stamp in ms is cut off, and read on a clock that may be off by what is allowed for and is by what it is.
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

    /// A line of the table.
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

/// The heads of [`StageReport::row`].
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

/// Nearest rank; 0 of nothing.
pub fn quantile(of: &[i64], q: f64) -> i64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// One daemon in front of one sandbox.
async fn run_plan(plan: Plan, stamped: bool) -> Vec<StageReport> {
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
    // One account, so that a stage can read the tenants' log groups without a role for each.
    for tenant in &mut tenants {
        *tenant = TenantSpec { account: SRE_ACCOUNT.to_owned(), ..tenant.clone() };
    }
    let pace = Pace {
        // Objects of several lines: one for each line would measure how fast we fetch objects.
        archive: Distribution::Fixed { ms: 150.0 },
        export: Distribution::Fixed { ms: 150.0 },
        archive_batch: Duration::from_millis(100),
        transit_batch: Duration::from_millis(100),
        query: Distribution::Uniform { min_ms: 20.0, max_ms: 60.0 },
        ..Pace::brisk()
    };
    Settings { tenants, pace, ..Settings::brisk(plan.seed, plan.tenants) }
}

/// Injects until there are enough, waits until all of them have come to rest, and compares.
async fn measure(sandbox: &Sandbox, page: &Client, plan: Plan, stamped: bool) -> Vec<StageReport> {
    let mut weather = Weather::begin(sandbox);
    // The very first canaries leave while connections are made; they count like all others.
    let enough = plan.traces.div_ceil(2);
    while sandbox.truth().len() < enough {
        weather.change();
        sleep(FAULT_EVERY).await;
    }
    let chosen: HashSet<String> = sandbox.truth().into_iter().map(|record| record.token).collect();
    sandbox.clear_all();
    weather.steady();
    let give_up = Instant::now() + SETTLE_WITHIN;
    loop {
        sleep(FAULT_EVERY).await;
        let seen = arrivals(page, sandbox.tenants()).await;
        let truth: Vec<_> =
            sandbox.truth().into_iter().filter(|record| chosen.contains(&record.token)).collect();
        let at_rest = truth.iter().all(|record| record.under_way() == 0);
        let reports = compare(&truth, &seen, &weather.disturbed, stamped);
        let all_seen = reports.iter().all(|report| report.unseen.is_empty());
        if (at_rest && all_seen) || Instant::now() > give_up {
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
                report.unseen.push(format!("{stage}: {id} arrived and was not reported"));
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

/// Switches faults on and off, one after the other, so that each meets canaries in every state.
struct Weather<'a> {
    sandbox: &'a Sandbox,
    changes: usize,
    /// When the table's service did not answer, in µs.
    disturbed: Vec<(i64, i64)>,
}

impl<'a> Weather<'a> {
    fn begin(sandbox: &'a Sandbox) -> Self {
        let weather = Self { sandbox, changes: 0, disturbed: Vec::new() };
        weather.steady();
        for stage in [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery] {
            sandbox.fault(Fault::stage(stage, StageEffect::Duplicate { probability: 0.03 }));
            sandbox.fault(Fault::stage(stage, StageEffect::Reorder { spread_ms: 200 }));
        }
        for stage in [Stage::Archive, Stage::Transit, Stage::Bigquery] {
            sandbox.fault(Fault::stage(stage, StageEffect::Lose { probability: 0.01 }));
        }
        sandbox.fault(Fault::stage(Stage::Transit, StageEffect::DeadLetter { probability: 0.02 }));
        weather
    }

    /// The clocks are off from beginning to end.
    fn steady(&self) {
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

/// What the page says of one arrival, in µs.
#[derive(Debug)]
struct Reported {
    earliest: i64,
    latest: i64,
    noticed_at: i64,
    #[expect(dead_code, reason = "shown where an arrival is outside")]
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

/// The daemon's configuration. Its stages bear the names that the sandbox gives them.
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
    // The sandbox's table has a column that is a stamp; without its name there is none to the probe.
    if stamped { text } else { text.replace("time_column = \"ingest_time\"\n", "") }
}
