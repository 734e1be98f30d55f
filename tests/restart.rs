//! What a restart may cost: nothing that is true. The daemon's own process is killed at any instant, runs beside its
//! successor, loses its disk, and finds it full, in front of a sandbox that knows what really happened.
//!
//! `TRACEPROBE_RESTART_SEED` begins with another run; `TRACEPROBE_RESTART_KILLS` kills more often or less.

#[path = "restart/clock.rs"]
mod clock;
#[path = "restart/killed.rs"]
mod killed;
#[path = "restart/memory.rs"]
mod memory;
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
use std::time::Duration;

use futures::future::join_all;
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::{InstanceCode, TraceId};
use traceprobe::domain::trace::{Origin, Trace};
use traceprobe::sandbox::{Fault, Stage, StageEffect};

use self::killed::{Lane, Lived, Meeting};
use self::probe::Probe;
use self::scene::{Files, Scene};
use self::support::page::Recent;
use self::verdict::Tally;

/// As in the configuration of the scene, and half a minute for a busy machine.
const LANDS_WITHIN: Duration = Duration::from_secs(45);
const KILLS: u64 = 200;
/// So many of them end a long life.
const LONG_OF: u64 = 16;
/// Probes with short lives, beside each other.
const SHORT_LANES: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_instant_it_ends_every_canary_once_and_as_an_undisturbed_run_does() {
    let seed = from_environment("TRACEPROBE_RESTART_SEED").unwrap_or(1);
    let kills = from_environment("TRACEPROBE_RESTART_KILLS").unwrap_or(KILLS);
    println!("TRACEPROBE_RESTART_SEED={seed} TRACEPROBE_RESTART_KILLS={kills}");
    let long = kills * LONG_OF / KILLS;
    let short = (kills - long) / SHORT_LANES;
    let mut lanes = vec![("undisturbed".to_owned(), Lived::Long, 0), ("long".to_owned(), Lived::Long, long)];
    lanes.extend((1..SHORT_LANES).map(|lane| (format!("short-{lane}"), Lived::Shortly, short)));
    lanes.push(("short".to_owned(), Lived::Shortly, kills - long - short * (SHORT_LANES - 1)));
    let meeting = Meeting::of(lanes.len());
    let runs = lanes
        .iter()
        .map(async |(name, lived, kills)| Lane::set(name, seed, *lived).await.run(*kills, &meeting).await);
    let runs = join_all(runs).await;

    for ((name, _, kills), (tally, reference)) in lanes.iter().zip(&runs) {
        println!("{name}, killed {kills} times: {tally:?}");
        runs[0].1.assert_same_fates(reference);
    }
    // A long life reads everything. Only a machine that is too busy to let it leaves some canaries to doubt.
    for (long, _) in &runs[..2] {
        let doubtful = long.down + long.hop_range + long.failing_hop_range;
        assert!(doubtful * 10 <= long.planned, "nothing is proven: {long:#?}");
    }
    let sum = |count: fn(&Tally) -> usize| runs[1..].iter().map(|(tally, _)| count(tally)).sum::<usize>();
    assert!(
        sum(|tally| tally.delivered) > 0 && sum(|tally| tally.lost) > 0 && sum(|tally| tally.doubled) > 0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_at_once_leave_each_others_canaries_alone() {
    let scene = Scene::set("two", 1).await;
    let (old, new) = (scene.files("old", "300ms"), scene.files("new", "300ms"));
    let probes = [Probe::start(&old).await, Probe::start(&new).await];
    for probe in &probes {
        probe.until("both are at work", LANDS_WITHIN, |recent| recent.ended("delivered") >= 20).await;
    }
    for probe in &probes {
        let metrics = probe.metrics().await;
        assert!(metrics.sum("traceprobe_stray_tags_total", &[("origin", "other_instance")]) > 0.0);
        assert_eq!(metrics.sum("traceprobe_stray_tags_total", &[("origin", "previous_run")]), 0.0);
        assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
        assert_eq!(metrics.sum("traceprobe_uncharged_copies_total", &[]), 0.0);
    }
    join_all(probes.map(Probe::land)).await;
    let mut sent: BTreeSet<TraceId> = scene.truth().into_keys().collect();
    for (files, name) in [(&old, "old"), (&new, "new")] {
        for (id, trace) in files.kept() {
            assert_eq!(trace.tag.instance, InstanceCode::of(name), "{id} is not its own");
            assert!(is_delivered(&trace), "{trace:?}");
            assert!(sent.remove(&id), "{id} was never sent");
        }
    }
    assert_eq!(sent, BTreeSet::new(), "nobody knows of these");
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_costs_no_canary_and_measures_none_twice() {
    let scene = Scene::set("lost-disk", 1).await;
    let stall = scene.sandbox.fault(Fault::stage(Stage::Transit, StageEffect::Stall)).unwrap();
    let files = scene.files("probe", "200ms");
    let probe = Probe::start(&files).await;
    probe.until("canaries are stuck", LANDS_WITHIN, |recent| recent.seen_at("tenant_stream") >= 12).await;
    probe.kill().await;
    files.lose_the_disk();
    let of_the_first_run: BTreeSet<TraceId> = scene.truth().into_keys().collect();

    let probe = Probe::start(&files).await;
    scene.sandbox.clear(stall);
    let delivered = |recent: &Recent, id: &TraceId| {
        recent.traces.iter().any(|row| row.id == id.to_string() && row.outcome == "delivered")
    };
    let adopted = |recent: &Recent| of_the_first_run.iter().all(|id| delivered(recent, id));
    probe.until("the canaries of the first life are delivered", LANDS_WITHIN, adopted).await;
    let metrics = probe.metrics().await;
    let recent = probe.recent().await;
    let own = recent.traces.len() - of_the_first_run.len();
    // What is counted was planned by this life. The page is younger than the scrape, so it has at least as many.
    let counted = metrics.sum("traceprobe_e2e_latency_seconds_count", &[]);
    assert!(counted <= own as f64, "{counted} are counted end to end, and {own} were planned by this life");
    for hop in ["tenant_stream", "archive", "transit", "bigquery"] {
        let counted = metrics.sum("traceprobe_hop_latency_seconds_count", &[("stage", hop)]);
        assert!(counted <= own as f64, "{counted} are counted at {hop}, and {own} were planned by this life");
    }
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
    let adopted = metrics.sum("traceprobe_adopted_traces_total", &[("outcome", "delivered")]);
    assert_eq!(adopted, of_the_first_run.len() as f64);
    let ended = metrics.sum("traceprobe_traces_total", &[]);
    assert!(ended <= own as f64, "{ended} outcomes are counted, and {own} were planned by this life");
    probe.land().await;
    let kept = files.kept();
    assert!(kept.values().all(is_delivered), "{kept:?}");
    for id in &of_the_first_run {
        assert_eq!(kept[id].origin, Origin::Adopted, "{id}");
    }
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_cannot_hold_a_store_is_a_fault_of_the_configuration() {
    let scene = Scene::set("no-folder", 1).await;
    std::fs::write(scene.path("file"), "").unwrap();
    let files = scene.files_with_store("probe", "1s", scene.path("file").join("store.db"));
    let mut probe = Probe::spawn(&files);
    let status = probe.ended().await;
    assert_eq!(status.code(), Some(78), "{status}");
    let expected =
        format!("cannot start: store.path: the folder {} does not exist", scene.path("file").display());
    assert_eq!(probe.said().lines().last(), Some(&*expected));
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_it_goes_on_measuring_and_writes_everything_once_there_is_room() {
    let scene = Scene::set("full-disk", 1).await;
    let files = scene.files("probe", "300ms");
    let probe = Probe::start(&files).await;
    probe.until("it is at work", LANDS_WITHIN, |recent| recent.ended("delivered") >= 3).await;
    assert_eq!(probe.metrics().await.sum("traceprobe_store_degraded", &[]), 0.0);
    probe.limit_files_to("1").await;
    let recent = probe.until("it says so", LANDS_WITHIN, |recent| recent.not_kept.is_some()).await;
    let why = recent.not_kept.as_deref().unwrap();
    assert!(why.contains("could not read or write the store"), "{why}");
    let before = recent.ended("delivered");
    probe
        .until("it goes on measuring", LANDS_WITHIN, |recent| recent.ended("delivered") >= before + 10)
        .await;
    assert_eq!(probe.metrics().await.sum("traceprobe_store_degraded", &[]), 1.0);
    probe.limit_files_to("unlimited").await;
    probe.until("it writes again", LANDS_WITHIN, |recent| recent.not_kept.is_none()).await;
    probe.until("it says so", LANDS_WITHIN, |recent| recent.ended("delivered") >= before + 10).await;
    probe.land().await;
    assert_all_delivered(&scene, &files);
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_predecessor_that_holds_the_store_it_measures_and_takes_over_once_that_has_ended() {
    let mut scene = Scene::set("held", 1).await;
    // Longer than it takes until the store is tried again.
    scene.grace = Duration::from_secs(60);
    let files = scene.files("probe", "300ms");
    let old = Probe::start(&files).await;
    old.until("it is at work", LANDS_WITHIN, |recent| recent.ended("delivered") >= 3).await;
    let new = Probe::start(&files).await;
    let recent = new.until("it measures", LANDS_WITHIN, |recent| recent.ended("delivered") >= 3).await;
    let why = recent.not_kept.as_deref().unwrap();
    assert!(why.contains("another process holds the store"), "{why}");
    assert_eq!(new.metrics().await.sum("traceprobe_store_degraded", &[]), 1.0);
    old.kill().await;
    new.until("it took over", LANDS_WITHIN, |recent| recent.not_kept.is_none()).await;
    new.land().await;
    assert_all_delivered(&scene, &files);
    scene.sandbox.stop().await;
}

fn assert_all_delivered(scene: &Scene, files: &Files) {
    let kept = files.kept();
    for (id, record) in scene.truth() {
        let trace = kept.get(&id);
        assert!(trace.is_some_and(is_delivered), "{trace:?}, but in truth {record:?}");
    }
}

fn is_delivered(trace: &Trace) -> bool {
    matches!(trace.ended, Some((Outcome::Delivered, _)))
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
