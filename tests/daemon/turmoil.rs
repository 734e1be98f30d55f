//! What the services do to a reader in ordinary operation: nothing of it may cost a canary.

use traceprobe::sandbox::{Fault, Service, ServiceEffect, Stage};

use crate::SOON;
use crate::support::daemon::Daemon;
use crate::support::stand::{Stand, delivered};

async fn until_delivered(daemon: &Daemon, count: f64) {
    daemon
        .until_seen(&format!("{count} are delivered"), SOON, |_, metrics| {
            metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]) >= count
        })
        .await;
}

/// Every canary that ended was delivered, seen once at every stage, when it truly came there.
async fn all_is_well(stand: &Stand, daemon: &Daemon) {
    let metrics = daemon.metrics().await;
    let recent = daemon.recent().await;
    for outcome in ["lost", "late", "dead_lettered", "unobserved", "refused"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for fault in
        ["traceprobe_missing_hops_total", "traceprobe_duplicates_total", "traceprobe_corrupted_total"]
    {
        assert_eq!(metrics.sum(fault, &[]), 0.0, "{fault}: {}", daemon.said());
    }
    assert!(stand.vouches_for(delivered(&recent)) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_resharded_loses_nothing() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "100ms"), ("PROBE_GIVE_UP", "20s")]).await;
    for round in 1..=3 {
        until_delivered(&daemon, f64::from(round * 10)).await;
        // From 2 shards to 4 to 8, and in between all that was read before is given again.
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
        .until("all of before are seen in the stream", SOON, |recent| {
            before.traces.iter().all(|trace| seen(&trace.id, recent))
        })
        .await;
    all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_reads_yield_and_recover() {
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
        .until_seen("it is throttled", SOON, |_, metrics| {
            metrics.sum("traceprobe_observer_sweeps_total", &throttled) >= 2.0
        })
        .await;
    let before = calls();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let asked = calls() - before;
    // Two shards, two looks a second, would be 12.
    assert!(asked <= 8, "{asked} calls in 3 s of throttling");
    stand.sandbox.clear_all();
    let metrics = daemon.metrics().await;
    let so_far = metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]);
    until_delivered(&daemon, so_far + 10.0).await;
    daemon
        .until_seen("nothing is blind", SOON, |_, metrics| metrics.sum("traceprobe_stage_blind", &[]) == 0.0)
        .await;
    all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_objects_with_keys_in_no_order_are_found_when_they_came() {
    let stand = Stand::brisk(2).await;
    for stage in [Stage::Archive, Stage::Transit] {
        stand.sandbox.fault(Fault::Multipart { stage, early_ms: 1_500 });
        stand.sandbox.fault(Fault::UnorderedKeys { stage });
    }
    let daemon = stand.daemon(&[]).await;
    until_delivered(&daemon, 20.0).await;
    all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_off_within_the_allowance_change_no_verdict() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::ClockOffset { service: Service::Kinesis, ms: -40 });
    stand.sandbox.fault(Fault::ClockOffset { service: Service::Bigquery, ms: 40 });
    let daemon = stand.daemon(&[]).await;
    until_delivered(&daemon, 20.0).await;
    all_is_well(&stand, &daemon).await;
}
