//! The cost of the store: commits of one trace and of many, a restart, pruning.
//!
//! The engine commits all inputs that are ready together. The baseline is one transaction per trace. The
//! database is in the folder for temporary files, or in `--folder`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;
use traceprobe::config::Config;
use traceprobe::domain::aggregates::{self, Aggregates, Step};
use traceprobe::domain::canary::Integrity;
use traceprobe::domain::copies::{CopyStanding, StoredCopy};
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::sighting::{Locator, Stamp};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use traceprobe::domain::time::{Interval, Timestamp};
use traceprobe::domain::topology::{HopRange, Owner, Source, Stage, StageId, Tenant, TenantId, Topology};
use traceprobe::domain::trace::{Arrival, Hop, Judgement, Origin, Put, Trace};
use traceprobe::domain::tracker::Changes;
use traceprobe::store::{Batch, LoadLimits, Store};

const START: Timestamp = Timestamp::from_secs(1_795_321_781);
/// The most traces that a busy engine commits together.
const GROUP: usize = 256;

/// Measure the store.
#[derive(Debug, Parser)]
struct Options {
    /// Traces.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    traces: u32,
    /// Folder in which the database is created and removed again.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let folder = options.folder.unwrap_or_else(std::env::temp_dir);
    let folder = folder.join(format!("traceprobe-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be created");
    // First, because the memory that the rest frees would hide what this takes.
    figures(&folder);
    let map = Arc::new(topology());
    let all: Batch = (0..options.traces).map(|n| (Arc::new(delivered(n, &map)), true)).collect();
    println!("{} traces, {} stages, in {}", all.len(), map.stages().len(), folder.display());

    let open = |name: &str| {
        Store::open(&folder.join(name), map.clone(), START).expect("the store can be opened").store
    };
    let mut alone = open("alone.db");
    let one_by_one = commits(&mut alone, &all, 1);
    println!("{}", one_by_one.line("one transaction per trace (baseline)"));
    drop(alone);
    let mut store = open("together.db");
    let together = commits(&mut store, &all, GROUP);
    println!("{}", together.line(&format!("{GROUP} traces in a transaction")));
    println!(
        "{:<44} {:>9.1} times",
        "traces/s, together compared with alone",
        together.per_second / one_by_one.per_second
    );

    let range = LoadLimits { since: Timestamp::MIN, max_delivered: 10_000, max_of_tenant: 1_000 };
    let (loaded, took) = timed(|| store.load(range).expect("the store can be read").traces.len());
    println!("{:<44} {:>9.1} ms", format!("restoring {loaded} traces"), took * 1e3);
    let everything = Changes::from(all.clone());
    let ((), took) = timed(|| store.save_all(&everything).expect("the store can be written"));
    println!("{:<44} {:>9.1} ms", "writing all of them after an outage", took * 1e3);
    let keep = all.len() / 2;
    let (pruned, took) = timed(|| store.prune(keep, Timestamp::MIN).expect("the store can be written"));
    println!("{:<44} {:>9.1} ms", format!("pruning {pruned} traces"), took * 1e3);
    drop(store);
    let bytes = std::fs::metadata(folder.join("together.db")).map_or(0, |file| file.len());
    let (_, took) = timed(|| open("together.db"));
    println!("{:<44} {:>9.1} ms", format!("opening and checking {} KiB", bytes >> 10), took * 1e3);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// A full history of 50 tenants and 5 stages with a canary every 30 s: a day by the minute, 30 days by the
/// hour. Of every hundred canaries one is lost and three are slow.
fn figures(folder: &Path) {
    const TENANTS: u16 = 50;
    let map = Arc::new(many_tenants(TENANTS));
    let open = || {
        Store::open(&folder.join("figures.db"), map.clone(), START).expect("the store can be opened").store
    };
    let limits = aggregates::Settings { slo: Duration::from_secs(30), give_up: Duration::from_secs(900) };
    let mut figures = Aggregates::new(map.clone(), limits, START);
    let mut store = open();
    let (mut commits, mut longest, before) = (0.0, 0_f64, resident());
    let (minutes, tail) = (Step::Hour.kept() as u32 * 60, Step::Minute.kept() as u32 + 60);
    for minute in 0..minutes {
        let now = START + Duration::from_secs(60 * u64::from(minute) + 40);
        for canary in 0..2 * u32::from(TENANTS) {
            let number = minute * 2 * u32::from(TENANTS) + canary;
            let planned = START + Duration::from_secs(60 * u64::from(minute) + 30 * u64::from(canary % 2));
            let tenant = TenantId((canary / 2) as u16);
            figures.settle(&settled(number, tenant, planned, &map));
        }
        figures.close(
            Some(START + Duration::from_secs(60 * u64::from(minute + 1))),
            now + Step::Minute.length(),
        );
        figures.published();
        // What is not kept at the end need not be written.
        if minute + tail >= minutes || minute % 60 == 59 {
            let changes = Changes { aggregates: figures.unsaved(), ..Changes::default() };
            let ((), took) = timed(|| store.save(&changes).expect("the store can be written"));
            (commits, longest) = (commits + 1.0, longest.max(took));
            figures.saved();
        }
        if minute % 60 == 59 {
            store.prune_aggregates(now).expect("the store can be written");
        }
    }
    let grown = resident().saturating_sub(before);
    let range = LoadLimits { since: Timestamp::MIN, max_delivered: 0, max_of_tenant: 0 };
    let (loaded, took) = timed(|| store.load(range).expect("the store can be read").aggregates.buckets.len());
    drop(store);
    let bytes = std::fs::metadata(folder.join("figures.db")).map_or(0, |file| file.len());
    let stages = map.stages().len();
    println!("figures of {TENANTS} tenants and {stages} stages, a day by the minute and 30 days by the hour");
    println!("{:<44} {:>9.1} MiB, {loaded} buckets", "  in the store", bytes as f64 / 1048576.0);
    println!("{:<44} {:>9.1} MiB of RSS", "  in memory", grown as f64 / 1048576.0);
    println!("{:<44} {:>9.1} ms", "  restoring them", took * 1e3);
    println!("{:<44} {:>9.1} ms", "  longest of the commits, one a minute or hour", longest * 1e3);
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// A canary that the tracker has closed.
fn settled(number: u32, tenant: TenantId, planned: Timestamp, map: &Topology) -> Trace {
    let mut random = [0; 10];
    random[..4].copy_from_slice(&number.to_be_bytes());
    let id = TraceId::new(planned, random);
    let tag = Tag::new(id, map.tenant(tenant).code, InstanceCode::of("bench"), 500, Purpose::Probe);
    let mut trace = Trace::new(tag, tenant, map.stages().len(), Origin::Planned);
    trace.put = Put::Accepted { at: planned };
    // Spread like latencies, without a generator of random numbers.
    let spread = u64::from(number.wrapping_mul(2_654_435_761) >> 16);
    let hop = Duration::from_millis(800 + spread % 1_700);
    let (is_lost, is_slow) = (number % 100 == 7, number % 33 == 5);
    for (at, visit) in (1_u32..).zip(&mut trace.stages) {
        if is_lost && at > 3 {
            visit.absent_until = Some(planned + Duration::from_secs(901));
            visit.hop = Hop::Missing;
            continue;
        }
        let latest = planned + at * hop + if is_slow { Duration::from_secs(40) } else { Duration::ZERO };
        let interval = Interval::exactly(latest);
        visit.arrival = Some(Box::new(Arrival {
            interval,
            noticed_at: latest,
            integrity: Integrity::Intact,
            stamp: Stamp::Millis(latest),
            found_in: None,
        }));
        visit.hop = Hop::Measured { latency: hop, was_overdue: false };
    }
    trace.judgement = if is_lost || is_slow { Judgement::Overdue } else { Judgement::Good };
    let lost = || Outcome::Lost(HopRange::one(map.end()));
    trace.ended = Some((if is_lost { lost() } else { Outcome::Delivered }, planned));
    trace
}

/// The four stages of the example and another archive, with this many tenants.
fn many_tenants(count: u16) -> Topology {
    let example = topology();
    let tenant = |number: u16| {
        let name = format!("tenant{number}");
        let code = TenantCode::of(&name);
        Tenant {
            name: name.as_str().into(),
            code,
            label: name.as_str().into(),
            ..example.tenants()[0].clone()
        }
    };
    let tenants: Vec<_> = (0..count).map(TenantId).collect();
    let source = |stage: StageId| Source {
        stage,
        name: format!("source {}", stage.0).into(),
        owner: Owner::Shared,
        tenants: tenants.clone(),
    };
    let mut stages = example.stages().to_vec();
    let archive = stages.iter().find(|stage| &*stage.name == "archive").expect("the example has an archive");
    stages.push(Stage { name: "second_archive".into(), ..archive.clone() });
    let sources = (0..stages.len() as u16).map(StageId).map(source).collect();
    Topology::new((0..count).map(tenant).collect(), stages, sources).expect("the topology is valid")
}

struct Commits {
    per_second: f64,
    median: f64,
    slowest: f64,
}

impl Commits {
    fn line(&self, what: &str) -> String {
        let Self { per_second, median, slowest } = self;
        let (median, slowest) = (median * 1e6, slowest * 1e6);
        format!("{what:<44} {per_second:>9.0} traces/s; a commit {median:.0} µs, the slowest {slowest:.0} µs")
    }
}

fn commits(store: &mut Store, all: &Batch, size: usize) -> Commits {
    let groups: Vec<Changes> = all.chunks(size).map(|traces| traces.to_vec().into()).collect();
    let commit = |changes: &Changes| timed(|| store.save(changes).expect("the store can be written")).1;
    let mut took: Vec<f64> = groups.iter().map(commit).collect();
    took.sort_by(f64::total_cmp);
    let total: f64 = took.iter().sum();
    Commits {
        per_second: all.len() as f64 / total,
        median: took[took.len() / 2],
        slowest: took.last().copied().unwrap_or_default(),
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed().as_secs_f64())
}

/// A trace with all evidence: seen at every stage.
fn delivered(n: u32, map: &Topology) -> Trace {
    let planned = START + Duration::from_millis(100 * u64::from(n));
    let mut random = [0; 10];
    random[..4].copy_from_slice(&n.to_be_bytes());
    let tag = Tag::new(
        TraceId::new(planned, random),
        map.tenant(TenantId(0)).code,
        InstanceCode::of("bench"),
        500,
        Purpose::Probe,
    );
    let mut trace = Trace::new(tag, TenantId(0), map.stages().len(), Origin::Planned);
    trace.put = Put::Accepted { at: planned };
    for (at, visit) in (1..).zip(&mut trace.stages) {
        let latest = planned + Duration::from_secs(at);
        visit.arrival = Some(Box::new(Arrival {
            interval: Interval { earliest: planned, latest },
            noticed_at: latest,
            integrity: Integrity::Intact,
            stamp: Stamp::Millis(latest),
            found_in: None,
        }));
        visit.absent_until = Some(planned);
        visit.empty_polls = 3;
        let locator = Locator::new(format!("shardId-000000000000/4965990{n:040}"));
        visit.copies = vec![StoredCopy::new(locator, None, CopyStanding::First)];
        visit.hop = Hop::Measured { latency: Duration::from_secs(1), was_overdue: false };
    }
    trace.ended = Some((Outcome::Delivered, planned + Duration::from_secs(5)));
    trace
}

fn topology() -> Topology {
    let variables = [("TRACEPROBE_TAG_KEY".to_owned(), "the key of the benchmark: 0123456789".to_owned())];
    let config = Config::parse(include_str!("../config/traceprobe.toml"), variables);
    config.expect("the example is sound").topology()
}
