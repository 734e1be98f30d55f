//! Calls a minute at every service with few and many traces in flight that do not arrive, in front of a sandbox
//! for each number. See `docs/benchmarks.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Parser;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use traceprobe::cloud::calls::Calls;
use traceprobe::config::Config;
use traceprobe::daemon::{build, clock};
use traceprobe::domain::sighting::{Wanted, WantedTrace};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::observe::pace::Channels;
use traceprobe::observe::{Shared, Site};
use traceprobe::sandbox::{Access, Sandbox, Settings, Stage};

const IN_FLIGHT: [u32; 4] = [1, 100, 10_000, 100_000];
/// Tables are described, shards listed and old objects read once, which is not measured.
const WARM_UP: Duration = Duration::from_secs(30);
/// When a canary is given up, and when it crosses a threshold before (defaults).
const GIVE_UP: Duration = Duration::from_mins(15);
const THRESHOLD: Duration = Duration::from_secs(30);
/// How many of the next thresholds and deadlines a list names.
const CHECKPOINTS: usize = 256;

/// Count calls with few and many traces in flight.
#[derive(Debug, Parser)]
struct Options {
    /// Minutes to measure, after half a minute of warm-up.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    minutes: u8,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let counts = futures::future::join_all(IN_FLIGHT.map(|traces| calls(traces, options.minutes))).await;
    print!("{:<34}", "calls a minute, in flight:");
    IN_FLIGHT.iter().for_each(|traces| print!("{traces:>9}"));
    println!();
    let names: BTreeSet<_> = counts.iter().flat_map(BTreeMap::keys).collect();
    for name in names {
        print!("{name:<34}");
        for of_number in &counts {
            let calls = of_number.get(name).copied().unwrap_or(0);
            print!("{:>9.1}", calls as f64 / f64::from(options.minutes));
        }
        println!();
    }
}

/// Polls every source of a sandbox for so many traces. Returns the calls within the measured time.
async fn calls(traces: u32, minutes: u8) -> BTreeMap<String, u64> {
    let sandbox = Sandbox::start(Settings::demo(1, 1)).await.expect("loopback has ports");
    let stages =
        [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery].map(|stage| (stage, ""));
    let text = sandbox.probe_configuration(Access::TenantRoles, "", &stages);
    let key = ("TRACEPROBE_TAG_KEY".to_owned(), "the benchmark's key is no secret".to_owned());
    let config = Config::parse(&text, [key]).expect("the sandbox writes a sound configuration");
    let topology = config.topology();
    let recognizer = build::recognizer(&config.keyring, &topology);
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await;
    let clients = clients.expect("they need nothing");
    let clock = clock::system().wall();
    let (reports, mut received) = mpsc::channel(1_000);
    let stop = CancellationToken::new();
    let shared = Shared::default();
    let (mut polling, mut lists) = (Vec::new(), Vec::new());
    for (id, source) in topology.source_ids().zip(&config.sources) {
        let (to_loop, wanted) = watch::channel(Wanted::default());
        let channels = Channels { source: id, wanted, reports: reports.clone(), stop: stop.clone() };
        let site = Site {
            topology: &topology,
            source: id,
            rhythm: source.rhythm,
            clients: &clients,
            recognizer: &recognizer,
            clock: &clock,
        };
        polling.push(source.settings.watch(&site, &shared, channels).expect("the client was made"));
        lists.push(to_loop);
    }
    let draining = async { while received.recv().await.is_some() {} };
    let listing = async {
        loop {
            let wanted = wanted(topology.tenants()[0].code, traces, clock.now());
            lists.iter().for_each(|to_loop| drop(to_loop.send_replace(wanted.clone())));
            sleep(Duration::from_secs(1)).await;
        }
    };
    let measuring = async {
        sleep(WARM_UP).await;
        let before = count(&sandbox);
        sleep(Duration::from_mins(1) * u32::from(minutes)).await;
        let mut calls = count(&sandbox);
        calls.iter_mut().for_each(|(name, calls)| *calls -= before.get(name).copied().unwrap_or(0));
        calls
    };
    let calls = tokio::select! {
        calls = measuring => calls,
        _ = futures::future::join_all(polling) => unreachable!("nothing stops the loops"),
        () = draining => unreachable!("the loops report until the end"),
        () = listing => unreachable!("it is endless"),
    };
    sandbox.stop().await;
    calls
}

/// The traces in flight now, one planned after the other, oldest first.
fn wanted(code: TenantCode, traces: u32, now: Timestamp) -> Wanted {
    let micros = i64::try_from((GIVE_UP / traces).as_micros()).expect("it is at most 15 minutes");
    // The same trace has the same number in each list.
    let newest = now.micros() / micros;
    let trace = |back: u32| {
        let number = newest - i64::from(back);
        let planned_at = Timestamp::from_micros(number * micros);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = TraceId::new(planned_at, random);
        let tag = Tag::new(id, code, InstanceCode::of("absent"), 100, Purpose::Check);
        WantedTrace { tag, planned_at }
    };
    let waiting: Vec<WantedTrace> = (0..traces).rev().map(trace).collect();
    let next = |after: Duration| {
        waiting.iter().map(move |trace| trace.planned_at + after).filter(move |at| now <= *at)
    };
    let mut checkpoints: Vec<_> = [THRESHOLD, GIVE_UP].into_iter().flat_map(next).collect();
    checkpoints.sort_unstable();
    checkpoints.truncate(CHECKPOINTS);
    Wanted { waiting: waiting.into(), checkpoints: checkpoints.into(), ..Wanted::default() }
}

/// Calls that were made, by service and operation.
fn count(sandbox: &Sandbox) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for count in sandbox.calls() {
        *calls.entry(format!("{} {}", count.service, count.operation)).or_default() += count.calls;
    }
    calls
}
