//! The cost of a trace: time in the tracker, memory while it is in flight, a snapshot, a scrape. Prints
//! medians; see `docs/benchmarks.md`.

#[path = "stopwatch/mod.rs"]
mod stopwatch;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;
use traceprobe::domain::aggregates::{self, Aggregates};
use traceprobe::domain::canary::{Integrity, Template};
use traceprobe::domain::kind::Kind;
use traceprobe::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{
    Capabilities, Owner, Role, Source, SourceId, Stage, StageId, Tenant, TenantId, Topology,
};
use traceprobe::domain::tracker::{Input, PutResult, Settings, Tracker};
use traceprobe::metrics::{BucketBounds, Format, Metrics, StageCosts};

/// That of the program (`src/main.rs`).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const START: Timestamp = Timestamp::from_secs(1_795_321_781);
const STAGES: u16 = 5;

/// Measure the tracker and the metrics.
#[derive(Debug, Parser)]
struct Options {
    /// Traces.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..))]
    traces: u32,
    /// Tenants.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    tenants: u16,
    /// Number of runs; the median is printed.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let (traces, runs) = (options.traces, options.runs);
    let map = Arc::new(topology(options.tenants));
    println!("median of {runs} runs; {traces} traces, {} tenants, {STAGES} stages", options.tenants);

    let seconds = stopwatch::median(runs, || {
        let mut tracker = tracker(&map);
        let events = deliver(&mut tracker, &map, traces);
        assert!(events > u64::from(traces) * u64::from(STAGES), "{events}");
        assert_eq!(tracker.in_flight(), 0);
        tracker
    });
    let per_second = f64::from(traces) / seconds;
    println!("whole traces through the tracker, without metrics        {per_second:>9.0} traces/s");

    for (what, with_figures) in [("without figures over time", false), ("with them", true)] {
        let seconds = stopwatch::median(runs, || {
            let mut tracker = tracker(&map);
            let limits =
                aggregates::Settings { slo: Duration::from_secs(30), give_up: Duration::from_secs(900) };
            let mut figures = Aggregates::new(map.clone(), limits, START);
            let rounds = deliver_with(&mut tracker, &map, traces, |tracker, now| {
                let changes = tracker.take_changes();
                if with_figures {
                    changes.settled.iter().for_each(|trace| figures.settle(trace));
                    figures.close(tracker.oldest_open(), now);
                    figures.published();
                    black_box(figures.unsaved());
                    figures.saved();
                }
            });
            (rounds, figures)
        });
        let per_second = f64::from(traces) / seconds;
        println!("the same, and what changed after each poll, {what:<26} {per_second:>9.0} traces/s");
    }

    let before = resident();
    let mut waiting = tracker(&map);
    let (began, count) = (Instant::now(), traces.max(100_000));
    wait_everywhere(&mut waiting, &map, count);
    let took = began.elapsed();
    let grown = resident().saturating_sub(before);
    assert_eq!(waiting.in_flight(), count as usize);
    println!(
        "in flight at every stage ({count} traces, planned in {took:.2?})   {:>9} bytes of RSS per trace",
        grown / u64::from(count)
    );
    drop(waiting);

    let mut tracker = tracker(&map);
    deliver(&mut tracker, &map, traces);
    plan(&mut tracker, &map, traces..traces + 1_000);
    let seconds = stopwatch::median(runs, || black_box(tracker.snapshot(START)));
    println!("snapshot with {traces} finished traces and 1000 in flight    {:>9.2} ms", seconds * 1e3);
    let snapshot = tracker.snapshot(START);
    let bounds = [
        5, 10, 25, 50, 100, 250, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 25_000,
        30_000,
    ]
    .into_iter()
    .chain([35_000, 45_000, 60_000, 90_000, 120_000, 180_000, 300_000, 600_000, 900_000]);
    let bounds: Vec<_> = bounds.map(Duration::from_millis).collect();
    let metrics =
        Metrics::new(map.clone(), &BucketBounds::new(&bounds), Arc::new(Vec::new), StageCosts::default())
            .expect("the metrics are valid");
    let seconds = stopwatch::median(runs, || metrics.show(&snapshot));
    println!("the same snapshot into the gauges                        {:>9.2} ms", seconds * 1e3);
    let mut length = 0;
    let seconds = stopwatch::median(runs, || length = metrics.render(Format::Text).len());
    println!(
        "a scrape of {} KiB                                      {:>9.2} ms",
        length >> 10,
        seconds * 1e3
    );
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

fn tag(map: &Topology, number: u32) -> Tag {
    let tenant = usize::try_from(number).unwrap_or(0) % map.tenants().len();
    let mut random = [0; 10];
    random[..4].copy_from_slice(&number.to_be_bytes());
    let planned = START + Duration::from_millis(u64::from(number));
    Tag::new(
        TraceId::new(planned, random),
        map.tenants()[tenant].code,
        InstanceCode::of("probe-1"),
        500,
        Purpose::Probe,
    )
}

fn plan(tracker: &mut Tracker, map: &Topology, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let tag = tag(map, number);
        let now = tag.trace.planned_at();
        tracker.plan(tag, now, &mut Vec::new()).expect("there is room");
        tracker.apply(Input::Put { trace: tag.trace, result: PutResult::Accepted { doubled: false } }, now);
    }
}

/// Plans so many canaries, of which none arrives anywhere. After each thousand, what changed is taken, and every source is
/// polled and proves them absent.
fn wait_everywhere(tracker: &mut Tracker, map: &Topology, count: u32) {
    for first in (0..count).step_by(1_000) {
        let numbers = first..count.min(first + 1_000);
        let now = START + Duration::from_millis(u64::from(numbers.end));
        plan(tracker, map, numbers);
        for source in map.source_ids() {
            let poll = Poll {
                revision: tracker.wanted(source).revision,
                started: now,
                finished: now,
                watermark: Some(now),
                sightings: Vec::new(),
                stats: ReadStats::default(),
                unreadable: Vec::new(),
                failed_batches: Vec::new(),
            };
            tracker.apply(Input::Polled { source, poll }, now);
        }
        black_box(tracker.take_changes());
    }
}

/// Rounds of 100 canaries: planned, accepted, then seen at each stage by a poll of each of its sources. Lists
/// of wanted traces are built when they change, as in the engine. Returns the number of events.
fn deliver(tracker: &mut Tracker, map: &Topology, traces: u32) -> u64 {
    deliver_with(tracker, map, traces, |_, _| {})
}

/// The same; `after` is called after each poll.
fn deliver_with(
    tracker: &mut Tracker,
    map: &Topology,
    traces: u32,
    mut after: impl FnMut(&mut Tracker, Timestamp),
) -> u64 {
    let mut events = 0;
    let numbers: Vec<u32> = (0..traces).collect();
    for round in numbers.chunks(100) {
        plan(tracker, map, round[0]..round[0] + round.len() as u32);
        let tags: Vec<Tag> = round.iter().map(|number| tag(map, *number)).collect();
        for (source, spec) in map.source_ids().zip(map.sources()) {
            for changed in tracker.take_changed() {
                black_box(tracker.wanted(changed));
            }
            let wanted = tracker.wanted(source);
            if wanted.waiting.is_empty() {
                continue;
            }
            let at = START + Duration::from_millis(u64::from(round[0]) + 1_000 * u64::from(spec.stage.0 + 1));
            let seen = tags
                .iter()
                .filter(|tag| map.tenant_of(tag).is_some_and(|tenant| spec.tenants.contains(&tenant)));
            let sightings = seen.map(|tag| sighting(tag, source, at)).collect();
            let poll = Poll {
                revision: wanted.revision,
                started: at,
                finished: at + Duration::from_millis(50),
                watermark: Some(at),
                sightings,
                stats: ReadStats::default(),
                unreadable: Vec::new(),
                failed_batches: Vec::new(),
            };
            events +=
                tracker.apply(Input::Polled { source, poll }, at + Duration::from_millis(50)).len() as u64;
            after(tracker, at + Duration::from_millis(50));
        }
    }
    events
}

fn sighting(tag: &Tag, source: SourceId, at: Timestamp) -> Sighting {
    Sighting {
        tag: *tag,
        stamp: Stamp::Millis(at.floor_to_millis()),
        seen_by: at + Duration::from_millis(50),
        locator: Locator::new(format!("{}/{:056}#0", source.0, tag.trace.planned_at().millis())),
        label: None,
        integrity: Integrity::Intact,
        found_in: traceprobe::domain::format::FoundIn::default(),
    }
}

fn tracker(map: &Arc<Topology>) -> Tracker {
    let settings = Settings {
        slo: Duration::from_secs(30),
        give_up: Duration::from_secs(900),
        grace: Duration::from_secs(300),
        blind_after: Duration::from_secs(30),
        recheck_for: Duration::from_secs(60),
        copy_recheck: Duration::from_secs(900),
        max_in_flight: 1_000_000,
        remember: 10_000,
        remember_of_tenant: 100,
        handover: Duration::ZERO,
        is_kept: true,
        instance: InstanceCode::of("probe-1"),
    };
    Tracker::new(map.clone(), settings, START)
}

/// A log group, a stream and an archive prefix per tenant, and a shared transit prefix and table.
fn topology(tenants: u16) -> Topology {
    let name = |index: u16| format!("tenant{index}");
    let tenant = |index| Tenant {
        name: name(index).into(),
        code: TenantCode::of(&name(index)),
        label: name(index).into(),
        log_groups: vec!["/app".into()],
        template: Template::default(),
        interval: Duration::from_secs(30),
    };
    let stage = |name: &str, parent: Option<u16>, role| Stage {
        name: name.into(),
        kind: Kind::Kinesis,
        capabilities: Capabilities::ABSENCE,
        parent: parent.map(StageId),
        role,
        target: Some(Duration::from_secs(10)),
        critical: None,
        missing_after: Duration::from_secs(30),
        clock_allowance: Duration::from_millis(50),
    };
    let mut sources = Vec::new();
    for index in 0..3 {
        sources.extend((0..tenants).map(|tenant| Source {
            stage: StageId(index),
            name: format!("source {index} of {}", name(tenant)).into(),
            owner: Owner::One(TenantId(tenant)),
            tenants: vec![TenantId(tenant)],
        }));
    }
    sources.extend((3..STAGES).map(|index| Source {
        stage: StageId(index),
        name: format!("source {index}").into(),
        owner: Owner::Shared,
        tenants: (0..tenants).map(TenantId).collect(),
    }));
    let stages = vec![
        stage("log_group", None, Role::Way),
        stage("tenant_stream", None, Role::Way),
        stage("archive", Some(1), Role::Way),
        stage("transit", Some(1), Role::Way),
        stage("bigquery", Some(3), Role::End),
    ];
    Topology::new((0..tenants).map(tenant).collect(), stages, sources).expect("the topology is valid")
}
