//! Mistakes at the interfaces of the daemon (services, disk, page), tested with the whole daemon in front of
//! the sandbox.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use traceprobe::config::Config;
use traceprobe::daemon::clock;
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::time::Timestamp;
use traceprobe::sandbox::{self, Fault, Service, ServiceEffect, Stage};
use traceprobe::store::{LoadLimits, Store};

use crate::support::SOON;
use crate::support::health::{assert_all_is_well, until_delivered};
use crate::support::stand::{Stand, id_in, variables};

/// Waits until `is_so` is true of the sandbox's truth.
async fn until_true(stand: &Stand, what: &str, is_so: impl Fn(&[sandbox::TruthRecord]) -> bool) {
    let waiting = async {
        while !is_so(&stand.sandbox.truth()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "timed out waiting until {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_not_ready_at_first_event() {
    let stand = Stand::brisk(1).await;
    for service in [Service::Kinesis, Service::S3, Service::Bigquery] {
        stand.sandbox.fault(Fault::service(service, ServiceEffect::Deny));
    }
    let daemon =
        stand.daemon(&[("PROBE_GIVE_UP", "60s"), ("PROBE_SLO", "60s"), ("PROBE_CRITICAL", "60s")]).await;
    until_true(&stand, "three canaries reached the table", |truth| {
        truth.iter().filter(|record| record.arrived(Stage::Bigquery).is_some()).count() >= 3
    })
    .await;
    let unseen: Vec<String> =
        stand.sandbox.truth().iter().map(|record| id_in(&record.token).to_owned()).collect();
    stand.sandbox.clear_all();
    let found = |recent: &crate::support::page::Recent| {
        unseen.iter().all(|id| recent.trace(id).is_some_and(|trace| trace.outcome == "delivered"))
    };
    daemon.until("the canaries that arrived while nothing could be read are delivered", SOON, found).await;
    assert_all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_split_mid_trace() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "100ms"), ("PROBE_GIVE_UP", "20s")]).await;
    for round in 1..=3 {
        until_delivered(&daemon, f64::from(round * 10)).await;
        // From 2 shards to 4 and 8. Then expired iterators make the daemon read records again.
        match round {
            1 | 2 => stand.sandbox.fault(Fault::Reshard { tenant: "acme".to_owned() }),
            _ => stand.sandbox.fault(Fault::ExpireIterators { tenant: None }),
        };
    }
    let before = daemon.recent().await;
    until_delivered(&daemon, 50.0).await;
    let seen = |id: &str, recent: &crate::support::page::Recent| {
        recent.trace(id).is_some_and(|trace| trace.stage("tenant_stream").presence == "seen")
    };
    daemon
        .until("all earlier canaries are seen in the stream", SOON, |recent| {
            before.traces.iter().all(|trace| seen(&trace.id, recent))
        })
        .await;
    assert_all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_without_backing_off() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    until_delivered(&daemon, 3.0).await;
    for (service, operation) in [(Service::Kinesis, "GetRecords"), (Service::S3, "ListObjectsV2")] {
        stand.sandbox.fault(Fault::operation(service, operation, ServiceEffect::Throttle));
    }
    let calls = || -> u64 {
        let calls = stand.sandbox.calls();
        calls.iter().filter(|call| call.operation == "GetRecords").map(|call| call.calls).sum()
    };
    let throttled = [("stage", "tenant_stream"), ("result", "throttled")];
    daemon
        .until_seen("polls are throttled", SOON, |_, metrics| {
            metrics.sum("traceprobe_observer_polls_total", &throttled) >= 2.0
        })
        .await;
    let before = calls();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let count = calls() - before;
    // Without backing off it would be 12: two shards, two polls a second.
    assert!(count <= 8, "{count} calls in 3 s of throttling");
    stand.sandbox.clear_all();
    let metrics = daemon.metrics().await;
    let delivered = metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]);
    until_delivered(&daemon, delivered + 10.0).await;
    daemon
        .until_seen("nothing is blind", SOON, |_, metrics| metrics.sum("traceprobe_stage_blind", &[]) == 0.0)
        .await;
    assert_all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_line_containing_html() {
    const HOSTILE: &str = "<img src=x onerror=alert(1)>";
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "2s"), ("PROBE_GIVE_UP", "60s")]).await;
    until_delivered(&daemon, 1.0).await;
    let token = stand.sandbox.truth()[0].token.clone();
    let folder = clock::system().now().strftime("archive/tenant=acme/dt=%Y-%m-%d/hour=%H");
    let line = format!("{HOSTILE}{token}{HOSTILE}");
    stand.sandbox.put_object(sandbox::ARCHIVE_BUCKET, &format!("{folder}/{HOSTILE}.json"), line.into_bytes());
    let id = id_in(&token);
    let copied = |recent: &crate::support::page::Recent| {
        recent.trace(id).is_some_and(|trace| trace.stage("archive").copies.len() == 2)
    };
    daemon.until("the second copy is seen", SOON, copied).await;
    for path in [format!("/traces/{id}"), "/traces/recent".to_owned()] {
        let page = daemon.get(&path).await;
        assert!(page.contains(id), "{path}");
        assert!(!page.contains("<img"), "{path} does not escape the line");
    }
    let page = daemon.get(&format!("/traces/{id}")).await;
    assert!(page.contains("&#60;img"), "the copy's key is not on the page of its trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_list_without_30() {
    let stand = Stand::brisk(1).await;
    let text = std::fs::read_to_string(stand.config()).unwrap();
    let keys = [("PROBE_SLO", "30s"), ("PROBE_CRITICAL", "60s"), ("PROBE_BUCKETS", "1s,10s,60s,300s,600s")];
    let faults =
        Config::parse(&text, variables(&keys)).expect_err("a bucket list without the SLO was accepted");
    let message = faults.to_string();
    assert!(message.contains("buckets") && message.contains("30s"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_store_write() {
    let mut stand = Stand::brisk(1).await;
    let store = stand.config().with_file_name("store.db");
    stand.configure(&format!("\n[store]\npath = \"{}\"\n", store.display()));
    // So many canaries that it writes to the store all the time.
    let keys = [("PROBE_INTERVAL", "50ms"), ("PROBE_GIVE_UP", "120s"), ("PROBE_STOP_GRACE", "200ms")];
    for run in 1..=5_u64 {
        let daemon = stand.daemon(&keys).await;
        daemon.until("traces are stored", SOON, |recent| recent.traces.len() as u64 >= run).await;
        tokio::time::sleep(Duration::from_millis(run * 37)).await;
        let (status, message) = daemon.terminate(SOON).await;
        assert!(status.success(), "run {run}: {status}: {message}");
        let text = std::fs::read_to_string(stand.config()).unwrap();
        let map = Arc::new(Config::parse(&text, variables(&keys)).unwrap().topology());
        let opened = Store::open(&store, map, clock::system().now()).unwrap();
        assert_eq!(opened.quarantine, None, "run {run}: the store is damaged");
        let mut store = opened.store;
        let all = LoadLimits { since: Timestamp::MIN, max_delivered: usize::MAX, max_of_tenant: usize::MAX };
        let loaded = store.load(all).unwrap();
        assert_eq!(loaded.unreadable, 0, "run {run}");
        let known: BTreeSet<String> = loaded.traces.iter().map(|trace| trace.id().to_string()).collect();
        for record in stand.sandbox.truth() {
            assert!(known.contains(id_in(&record.token)), "run {run}: {} was forgotten", record.token);
        }
        for trace in &loaded.traces {
            let ended = trace.ended.as_ref().map(|(outcome, _)| outcome);
            assert!(matches!(ended, None | Some(Outcome::Delivered)), "run {run}: {trace:?}");
        }
    }
}
