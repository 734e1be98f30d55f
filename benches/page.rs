//! Size and processor time of `/traces/recent`: healthy, with one tenant stalled, and with all of them stalled.
//! Prints medians; see `docs/benchmarks.md`.

#[path = "stopwatch/mod.rs"]
mod stopwatch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use clap::Parser;
use tokio::sync::watch;
use tower::ServiceExt as _;
use traceprobe::domain::aggregates::{self, Aggregates};
use traceprobe::domain::canary::{Integrity, Template};
use traceprobe::domain::conditions::{Assessment, Criteria};
use traceprobe::domain::incidents::Incidents;
use traceprobe::domain::kind::Kind;
use traceprobe::domain::pipeline::Pipeline;
use traceprobe::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp};
use traceprobe::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::{Timestamp, WallClock};
use traceprobe::domain::topology::{
    Capabilities, Owner, Role, Source, Stage, StageId, Tenant, TenantId, Topology,
};
use traceprobe::domain::tracker::{Input, PutResult, Snapshot, Tracker};
use traceprobe::web::{App, Settings, router};

const START: Timestamp = Timestamp::from_secs(1_795_321_781);
const INTERVAL: Duration = Duration::from_secs(30);
const SLO: Duration = Duration::from_secs(30);
const GIVE_UP: Duration = Duration::from_secs(900);
const ARCHIVE: StageId = StageId(1);
const TRANSIT: StageId = StageId(2);
const TABLE: StageId = StageId(3);
/// Rounds before the end in which stalled tenants are.
const STALLED: u32 = 20;

/// Measure the page of recent traces.
#[derive(Debug, Parser)]
struct Options {
    /// Traces.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..))]
    traces: u32,
    /// Tenants.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [3, 50, 500])]
    tenants: Vec<u16>,
    /// Number of runs; the median is printed.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Folder into which the pages are written.
    #[arg(long, value_name = "FOLDER")]
    out: Option<std::path::PathBuf>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    println!("median of {} runs; {} traces", options.runs, options.traces);
    println!(
        "{:<30} {:>5} {:>10} {:>9} {:>11} {:>13}",
        "", "rows", "plain", "gzip", "ms plain", "ms with gzip"
    );
    for tenants in &options.tenants {
        for (what, stalled) in [("healthy", 0), ("one stalled", 1), ("all stalled", *tenants)] {
            let app = app(options.traces, *tenants, stalled);
            let get = |coding: &str| runtime.block_on(get(&app, coding));
            let (plain, packed) = (get("identity"), get("gzip"));
            let [ms, ms_packed] =
                ["identity", "gzip"].map(|coding| stopwatch::median(options.runs, || get(coding)) * 1e3);
            println!(
                "{:<30} {:>5} {:>10} {:>9} {ms:>11.1} {ms_packed:>13.1}",
                format!("{tenants} tenants, {what}"),
                rows(&plain),
                plain.len(),
                packed.len()
            );
            if let Some(folder) = &options.out {
                let file = folder.join(format!("{tenants}-{}.html", what.replace(' ', "-")));
                std::fs::write(file, plain).expect("the folder can be written");
            }
        }
    }
}

async fn get(app: &App, coding: &str) -> Vec<u8> {
    let request = Request::builder()
        .uri("/traces/recent")
        .header(header::ACCEPT, "text/html")
        .header(header::ACCEPT_ENCODING, coding)
        .body(Body::empty())
        .expect("the request is valid");
    let response = router(app.clone()).oneshot(request).await.expect("routes cannot fail");
    assert_eq!(response.status(), StatusCode::OK);
    to_bytes(response.into_body(), usize::MAX).await.expect("the page is whole").to_vec()
}

/// The number of recent traces on a page.
fn rows(page: &[u8]) -> usize {
    let page = String::from_utf8_lossy(page);
    page.matches("<th scope=\"row\" class=\"id\">").count()
}

/// All pages' inputs after so many traces. One in a hundred is stored twice.
fn app(traces: u32, tenants: u16, stalled: u16) -> App {
    let map = Arc::new(topology(tenants));
    let criteria = Criteria::new(SLO);
    let mut tracker = tracker(&map);
    let limits = aggregates::Settings { slo: SLO, give_up: GIVE_UP };
    let mut figures = Aggregates::new(map.clone(), limits, START);
    let mut incidents = Incidents::new(Duration::from_secs(120));
    let rounds = traces / u32::from(tenants);
    let mut now = START;
    let mut latest = tracker.snapshot(now);
    for round in 0..rounds {
        let begin = START + INTERVAL * round;
        let tags: Vec<Tag> = (0..tenants).map(|tenant| tag(&map, TenantId(tenant), begin, round)).collect();
        for tag in &tags {
            tracker.plan(*tag, begin, &mut Vec::new()).expect("there is room");
            let result = PutResult::Accepted { doubled: false };
            tracker.apply(Input::Put { trace: tag.trace, result }, begin);
        }
        for (source, spec) in map.source_ids().zip(map.sources()) {
            let at = begin + Duration::from_secs(u64::from(spec.stage.0) * 2 + 1);
            let reached = |tenant: TenantId| {
                let is_stalled = tenant.0 < stalled && round + STALLED >= rounds;
                spec.tenants.contains(&tenant) && !(is_stalled && matches!(spec.stage, TRANSIT | TABLE))
            };
            let seen = tags.iter().enumerate().filter(|(tenant, _)| reached(TenantId(*tenant as u16)));
            let copies = |number: usize| if (number + round as usize).is_multiple_of(100) { 2 } else { 1 };
            let sightings = seen
                .flat_map(|(number, tag)| (0..copies(number)).map(|copy| sighting(tag, at, copy)))
                .collect();
            now = at + Duration::from_millis(50);
            let poll = Poll {
                revision: tracker.wanted(source).revision,
                started: at,
                finished: now,
                watermark: Some(at),
                sightings,
                stats: ReadStats::default(),
                unreadable: Vec::new(),
                failed_batches: Vec::new(),
            };
            tracker.apply(Input::Polled { source, poll }, now);
        }
        tracker.apply(Input::Tick, now);
        tracker.take_changes().settled.iter().for_each(|trace| figures.settle(trace));
        if round + 2 * STALLED >= rounds {
            latest = tracker.snapshot(now);
            let found = Assessment::new(&latest, &criteria);
            incidents.update(&found, &latest);
            figures.judge(&found, now);
        }
        figures.close(tracker.oldest_open(), now);
        figures.published();
    }
    let snapshot = Snapshot { episodes: incidents.shown(), ..latest };
    let open = snapshot.open.clone();
    let (_, receiver) = watch::channel(Arc::new(snapshot));
    let keys = Keyring::new(TagKey::new("0123456789abcdef").expect("it is long enough"), Vec::new());
    App {
        snapshot: receiver,
        clock: WallClock::new(move || now),
        settings: Arc::new(Settings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runbook: None,
            external_url: None,
            criteria,
            give_up: GIVE_UP,
            remember: 10_000,
            stale_after: Duration::from_secs(30),
            pipeline: Pipeline::default(),
            endpoints: traceprobe::domain::tool_endpoints::ToolEndpoints::default(),
            evidence: BTreeMap::new(),
            log_groups: BTreeMap::new(),
        }),
        config: Arc::new(serde_json::Value::Null),
        ready: Arc::new(|| Ok(())),
        history: Arc::new(move |selection| {
            figures.excerpt(selection).with_open(open.iter().map(AsRef::as_ref))
        }),
        scrape: Arc::new(|_| String::new()),
        sign: Arc::new(move |tag| keys.sign(tag)),
        reload: None,
        drill: None,
        log_level: None,
    }
}

fn tag(map: &Topology, tenant: TenantId, planned: Timestamp, round: u32) -> Tag {
    let mut random = [0; 10];
    random[..4].copy_from_slice(&(round * 31 + 7).wrapping_mul(2_654_435_761).to_be_bytes());
    random[4..6].copy_from_slice(&tenant.0.to_be_bytes());
    let id = TraceId::new(planned, random);
    Tag::new(id, map.tenant(tenant).code, InstanceCode::of("probe-1"), 500, Purpose::Probe)
}

fn sighting(tag: &Tag, at: Timestamp, copy: u32) -> Sighting {
    Sighting {
        tag: *tag,
        stamp: Stamp::Millis(at.floor_to_millis()),
        seen_by: at + Duration::from_millis(50),
        locator: Locator::new(format!("{copy}/{:056}#0", tag.trace.planned_at().millis())),
        label: None,
        integrity: Integrity::Intact,
        found_in: traceprobe::domain::format::FoundIn::default(),
    }
}

fn tracker(map: &Arc<Topology>) -> Tracker {
    let settings = traceprobe::domain::tracker::Settings {
        slo: SLO,
        give_up: GIVE_UP,
        grace: Duration::from_secs(300),
        blind_after: Duration::from_secs(60),
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

/// A stream and an archive prefix per tenant, and a shared transit prefix and table.
fn topology(tenants: u16) -> Topology {
    let name = |index: u16| format!("tenant{index}");
    let tenant = |index| Tenant {
        name: name(index).into(),
        code: TenantCode::of(&name(index)),
        label: name(index).into(),
        log_groups: vec!["/app".into()],
        template: Template::default(),
        interval: INTERVAL,
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
    for stage in [StageId(0), ARCHIVE] {
        sources.extend((0..tenants).map(|tenant| Source {
            stage,
            name: format!("source {} of {}", stage.0, name(tenant)).into(),
            owner: Owner::One(TenantId(tenant)),
            tenants: vec![TenantId(tenant)],
        }));
    }
    sources.extend([TRANSIT, TABLE].map(|stage| Source {
        stage,
        name: format!("source {}", stage.0).into(),
        owner: Owner::Shared,
        tenants: (0..tenants).map(TenantId).collect(),
    }));
    let stages = vec![
        stage("tenant_stream", None, Role::Way),
        stage("archive", Some(0), Role::Way),
        stage("transit", Some(0), Role::Way),
        stage("bigquery", Some(2), Role::End),
    ];
    Topology::new((0..tenants).map(tenant).collect(), stages, sources).expect("the topology is valid")
}
