//! A process and its successor side by side: on one store, on two, and without any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use traceprobe::domain::tag::TraceId;
use traceprobe::sandbox::{Distribution, Fault, Stage, StageEffect};

use super::probe::Probe;
use super::scene::{Files, Scene};
use super::support::SOON;
use super::support::client::http;
use super::support::metrics::Metrics;
use super::{assert_all_delivered, is_delivered};

const HELD: &str = "another process holds the store";

/// The senders of each canary, by their instance codes as they stand in tags.
fn senders(scene: &Scene) -> BTreeMap<TraceId, BTreeSet<String>> {
    let mut senders: BTreeMap<TraceId, BTreeSet<String>> = BTreeMap::new();
    for record in scene.sandbox.truth() {
        // The marker and the version take five characters, the id 32, the code of the tenant eight, that of the
        // instance four.
        let id = TraceId::parse(&record.token[5..37]).unwrap();
        senders.entry(id).or_default().insert(record.token[45..49].to_owned());
    }
    senders
}

/// A process has counted canaries, and none but those that it alone has sent. It was the last one that began to send.
fn assert_counts_its_own_only(scene: &Scene, metrics: &Metrics) {
    let senders = senders(scene);
    let last = senders.values().next_back().expect("canaries were sent");
    let own = senders.values().filter(|senders| *senders == last).count();
    let counted = metrics.sum("traceprobe_traces_total", &[]);
    assert!(0.0 < counted && counted <= own as f64, "{counted} are counted, {own} were sent by it alone");
}

async fn until_printed(probe: &Probe, what: &str) -> String {
    let printed = async {
        loop {
            let printed = probe.printed();
            if printed.contains(what) {
                return printed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, printed).await;
    waited.unwrap_or_else(|_| panic!("not printed: {what}, but {}", probe.printed()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_store_answers_health_checks_and_begins_when_the_first_has_ended() {
    let scene = Scene::set("held", 1).await;
    let files = scene.files("probe", "300ms");
    let old = Probe::start(&files).await;
    old.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    let mut new = Probe::spawn(&files.beside("store", ""));
    let printed = until_printed(&new, HELD).await;
    let healthy = printed.split_whitespace().find(|word| word.ends_with("/healthz")).unwrap();
    let get = async |path: &str| http().get(healthy.replace("healthz", path)).send().await.unwrap();
    assert_eq!(get("healthz").await.status(), 200);
    assert_eq!(get("traces/recent").await.status(), 503);
    let scrape = get("metrics").await;
    assert_eq!(scrape.status(), 200, "a target that waits is not down");
    let text = scrape.text().await.unwrap();
    assert!(text.lines().all(|line| line.starts_with("# ")), "it has no series: {text}");
    old.finish().await;
    new.listening().await;
    new.until("the successor delivers canaries", SOON, |recent| recent.ended("delivered") >= 6).await;
    assert_eq!(new.metrics().await.sum("traceprobe_adopted_traces_total", &[]), 0.0);
    new.finish().await;
    assert_all_delivered(&scene, &files);
    let twice: Vec<_> = senders(&scene).into_iter().filter(|(_, senders)| senders.len() > 1).collect();
    assert_eq!(twice, [], "no canary of one store is sent by two processes");
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_whose_store_stays_held_ends_with_76() {
    let scene = Scene::set("stays-held", 1).await;
    let files = scene.files("probe", "300ms");
    let old = Probe::start(&files).await;
    let mut new = Probe::spawn(&files.beside("store", "lock_timeout = \"1s\""));
    let status = new.ended().await;
    assert_eq!(status.code(), Some(76), "{}", new.printed());
    assert!(new.printed().contains("another process has locked the store"), "{}", new.printed());
    old.until("the first goes on", SOON, |recent| recent.ended("delivered") >= 3).await;
    old.finish().await;
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_probes_of_one_key_send_the_same_canaries_and_no_copy_is_charged() {
    let scene = Scene::set("two", 1).await;
    let files = ["one", "other"].map(|name| scene.files(name, "300ms"));
    let probes = [Probe::start(&files[0]).await, Probe::start(&files[1]).await];
    for probe in &probes {
        probe.until("both deliver canaries", SOON, |recent| recent.ended("delivered") >= 20).await;
        let metrics = probe.metrics().await;
        assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
        let copies = metrics.sum_so_far("traceprobe_uncharged_copies_total", &[("reason", "second_sender")]);
        assert!(copies > 0.0);
    }
    join_all(probes.map(Probe::finish)).await;
    let senders = senders(&scene);
    assert!(senders.values().filter(|senders| senders.len() == 2).count() >= 20, "{senders:?}");
    let mut unknown: BTreeSet<TraceId> = senders.into_keys().collect();
    for (id, trace) in files.iter().flat_map(Files::kept) {
        assert!(is_delivered(&trace), "{trace:?}");
        unknown.remove(&id);
    }
    assert_eq!(unknown, BTreeSet::new(), "canaries that no store knows");
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_without_a_store_the_successor_counts_only_what_it_alone_sent() {
    let scene = Scene::set("unkept", 1).await;
    // So that both copies are seen at the first stage before the first of them reaches the end.
    let delay = Distribution::Fixed { ms: 2_500.0 };
    scene.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Delay { delay }));
    let files = scene.files_with_store("probe", "500ms", PathBuf::from("memory"));
    // A predecessor has usually run for longer than that.
    let old = Probe::start(&files.beside("probe", "handover = \"0s\"")).await;
    old.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    let new = Probe::start(&files).await;
    let shared = new.until("both send canaries", SOON, |recent| recent.ended("delivered") >= 12).await;
    assert!(shared.conditions.iter().all(|condition| condition.condition != "same_name"));
    old.finish().await;
    let known = new.recent().await.ended("delivered");
    new.until("the successor goes on", SOON, |recent| recent.ended("delivered") >= known + 12).await;
    let metrics = new.metrics().await;
    assert_counts_its_own_only(&scene, &metrics);
    let adopted = metrics.sum("traceprobe_adopted_traces_total", &[("outcome", "delivered")]);
    assert!(adopted >= 6.0, "{adopted} were sent by both or before it began");
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
    new.finish().await;
    scene.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_a_predecessor_without_a_store_sends_late_is_not_counted_by_its_successor() {
    let scene = Scene::set("late", 1).await;
    let files = scene.files_with_store("probe", "500ms", PathBuf::from("memory"));
    let old = Probe::start(&files.beside("probe", "handover = \"0s\"")).await;
    old.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 3).await;
    let new = Probe::start(&files).await;
    new.until("both send canaries", SOON, |recent| recent.ended("delivered") >= 6).await;
    // It gets no time for longer than a canary takes, and sends what was due meanwhile.
    for _ in 0..10 {
        old.signal("STOP").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        old.signal("CONT").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    old.finish().await;
    let known = new.recent().await.ended("delivered");
    new.until("the successor goes on", SOON, |recent| recent.ended("delivered") >= known + 12).await;
    assert_counts_its_own_only(&scene, &new.metrics().await);
    new.finish().await;
    scene.sandbox.stop().await;
}
