//! A restart must neither lose nor invent an outcome. The daemon's process is killed at random instants,
//! overlaps with its successor, loses its disk and fills it, in front of a sandbox that knows what truly
//! happened.
//!
//! `TRACEPROBE_RESTART_SEED` selects another sequence; `TRACEPROBE_RESTART_KILLS` sets the number of kills.

#[path = "restart/clock.rs"]
mod clock;
#[path = "restart/handover.rs"]
mod handover;
#[path = "restart/killed.rs"]
mod killed;
#[path = "restart/memory.rs"]
mod memory;
#[expect(dead_code, reason = "the faults tests use the rest")]
#[path = "restart/probe.rs"]
mod probe;
#[path = "restart/runs.rs"]
mod runs;
#[path = "restart/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;
#[path = "restart/verdict.rs"]
mod verdict;

use std::collections::BTreeSet;

use futures::future::join_all;
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::trace::{Origin, Trace};
use traceprobe::sandbox::{Fault, Stage, StageEffect};

use self::killed::{Lane, Rendezvous, RunLength};
use self::probe::Probe;
use self::scene::{Files, Scene};
use self::support::SOON;
use self::support::page::Recent;
use self::verdict::Tally;

const KILLS: u64 = 200;
/// This many of [`KILLS`] end a long run.
const LONG_OF: u64 = 16;
/// Probes with short runs, in parallel.
const SHORT_LANES: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_killed_at_any_instant_reaches_the_same_outcomes_as_an_undisturbed_one() {
    let seed = from_environment("TRACEPROBE_RESTART_SEED").unwrap_or(1);
    let kills = from_environment("TRACEPROBE_RESTART_KILLS").unwrap_or(KILLS);
    println!("TRACEPROBE_RESTART_SEED={seed} TRACEPROBE_RESTART_KILLS={kills}");
    let long = kills * LONG_OF / KILLS;
    let short = (kills - long) / SHORT_LANES;
    let mut lanes =
        vec![("undisturbed".to_owned(), RunLength::Long, 0), ("long".to_owned(), RunLength::Long, long)];
    lanes.extend((1..SHORT_LANES).map(|lane| (format!("short-{lane}"), RunLength::Short, short)));
    lanes.push(("short".to_owned(), RunLength::Short, kills - long - short * (SHORT_LANES - 1)));
    let rendezvous = Rendezvous::of(lanes.len());
    let runs = lanes.iter().map(async |(name, run_length, kills)| {
        Lane::set(name, seed, *run_length).await.run(*kills, &rendezvous).await
    });
    let runs = join_all(runs).await;

    for ((name, _, kills), (tally, reference)) in lanes.iter().zip(&runs) {
        println!("{name}, killed {kills} times: {tally:?}");
        runs[0].1.assert_same_fates(reference);
    }
    // A long run reads everything, unless the machine is too busy for it. Then some canaries cannot be
    // judged.
    for (long, _) in &runs[..2] {
        let unproven = long.down + long.hop_range + long.failing_hop_range;
        assert!(unproven * 10 <= long.planned, "too little is proven: {long:#?}");
    }
    let sum = |count: fn(&Tally) -> usize| runs[1..].iter().map(|(tally, _)| count(tally)).sum::<usize>();
    assert!(
        sum(|tally| tally.delivered) > 0 && sum(|tally| tally.lost) > 0 && sum(|tally| tally.doubled) > 0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_loses_no_canary_and_counts_none_twice() {
    let scene = Scene::set("lost-disk", 1).await;
    let stall = scene.sandbox.fault(Fault::stage(Stage::Transit, StageEffect::Stall)).unwrap();
    let files = scene.files("probe", "200ms");
    let probe = Probe::start(&files).await;
    probe.until("canaries are stuck", SOON, |recent| recent.seen_at("tenant_stream") >= 12).await;
    probe.kill().await;
    files.delete_store();
    let first_run: BTreeSet<TraceId> = scene.truth().into_keys().collect();

    let probe = Probe::start(&files).await;
    scene.sandbox.clear(stall);
    let delivered = |recent: &Recent, id: &TraceId| {
        recent.traces.iter().any(|row| row.id == id.to_string() && row.outcome == "delivered")
    };
    let adopted = |recent: &Recent| first_run.iter().all(|id| delivered(recent, id));
    probe.until("the canaries of the first run are delivered", SOON, adopted).await;
    let metrics = probe.metrics().await;
    let recent = probe.recent().await;
    let own = recent.traces.len() - first_run.len();
    // Only canaries planned by this run are counted. The page is newer than the scrape, so it shows at least
    // as many.
    let counted = metrics.sum("traceprobe_e2e_latency_seconds_count", &[]);
    assert!(counted <= own as f64, "{counted} are counted end to end, and {own} were planned by this run");
    for hop in ["tenant_stream", "archive", "transit", "bigquery"] {
        let counted = metrics.sum("traceprobe_hop_latency_seconds_count", &[("stage", hop)]);
        assert!(counted <= own as f64, "{counted} are counted at {hop}, and {own} were planned by this run");
    }
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
    let adopted = metrics.sum("traceprobe_adopted_traces_total", &[("outcome", "delivered")]);
    assert_eq!(adopted, first_run.len() as f64);
    let ended = metrics.sum("traceprobe_traces_total", &[]);
    assert!(ended <= own as f64, "{ended} outcomes are counted, and {own} were planned by this run");
    probe.finish().await;
    let kept = files.kept();
    assert!(kept.values().all(is_delivered), "{kept:?}");
    for id in &first_run {
        assert_eq!(kept[id].origin, Origin::Adopted, "{id}");
    }
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_path_without_its_folder_is_a_configuration_fault() {
    let scene = Scene::set("no-folder", 1).await;
    std::fs::write(scene.path("file"), "").unwrap();
    let files = scene.files_with_store("probe", "1s", scene.path("file").join("store.db"));
    let mut probe = Probe::spawn(&files);
    let status = probe.ended().await;
    assert_eq!(status.code(), Some(78), "{status}");
    let expected =
        format!("cannot start: store.path: the folder {} does not exist", scene.path("file").display());
    assert_eq!(probe.printed().lines().last(), Some(&*expected));
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_it_keeps_measuring_and_writes_everything_once_there_is_space() {
    let scene = Scene::set("full-disk", 1).await;
    let files = scene.files("probe", "300ms");
    let probe = Probe::start(&files).await;
    probe.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    assert_eq!(probe.metrics().await.sum("traceprobe_store_degraded", &[]), 0.0);
    probe.limit_files_to("1").await;
    let recent = probe.until("it reports the failure", SOON, |recent| recent.not_kept.is_some()).await;
    let why = recent.not_kept.as_deref().unwrap();
    assert!(why.contains("cannot read or write the store"), "{why}");
    let before = recent.ended("delivered");
    probe.until("it keeps measuring", SOON, |recent| recent.ended("delivered") >= before + 10).await;
    assert_eq!(probe.metrics().await.sum("traceprobe_store_degraded", &[]), 1.0);
    probe.limit_files_to("unlimited").await;
    probe.until("it writes again", SOON, |recent| recent.not_kept.is_none()).await;
    probe
        .until("its outcomes are still known", SOON, |recent| recent.ended("delivered") >= before + 10)
        .await;
    probe.finish().await;
    assert_all_delivered(&scene, &files);
    scene.sandbox.stop().await;
}

fn assert_all_delivered(scene: &Scene, files: &Files) {
    let kept = files.kept();
    for (id, record) in scene.truth() {
        let trace = kept.get(&id);
        assert!(trace.is_some_and(is_delivered), "{trace:?}, but the truth is {record:?}");
    }
}

fn is_delivered(trace: &Trace) -> bool {
    matches!(trace.ended, Some((Outcome::Delivered, _)))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
