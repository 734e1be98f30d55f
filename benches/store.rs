//! The cost of the store: commits of one trace and of many, a restart, pruning.
//!
//! The engine commits all inputs that are ready together. The baseline is one transaction per trace. The
//! database is in the folder for temporary files, or in `--folder`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;
use traceprobe::config::Config;
use traceprobe::domain::canary::Integrity;
use traceprobe::domain::copies::{CopyStanding, StoredCopy};
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::sighting::Locator;
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TraceId};
use traceprobe::domain::time::{Interval, Timestamp};
use traceprobe::domain::topology::{TenantId, Topology};
use traceprobe::domain::trace::{Arrival, Hop, Origin, Put, Trace};
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
        visit.arrival = Some(Arrival {
            interval: Interval { earliest: planned, latest },
            noticed_at: latest,
            integrity: Integrity::Intact,
        });
        visit.absent_until = Some(planned);
        visit.empty_polls = 3;
        let locator = Locator::new(format!("shardId-000000000000/4965990{n:040}"));
        visit.copies = vec![StoredCopy::new(locator, false, CopyStanding::First)];
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
