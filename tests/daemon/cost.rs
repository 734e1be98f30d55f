//! What looking costs: calls must not depend on how many traces are outstanding.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::sandbox::{Fault, Sandbox, Service, Stage, StageEffect};

use crate::SOON;
use crate::support::page::Recent;
use crate::support::stand::Stand;

const WINDOW: Duration = Duration::from_secs(6);

/// Calls that read, by service and operation.
fn reads(sandbox: &Sandbox) -> BTreeMap<(Service, String), u64> {
    let mut sums = BTreeMap::new();
    for call in sandbox.calls() {
        if !["PutLogEvents", "CreateLogStream", "AssumeRole"].contains(&&*call.operation) {
            *sums.entry((call.service, call.operation)).or_default() += call.calls;
        }
    }
    sums
}

/// Calls within [`WINDOW`] while so many traces wait at every stage but the log group, where they can be seen.
async fn calls_with_outstanding(traces: usize) -> BTreeMap<(Service, String), u64> {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::TenantStream, StageEffect::Stall));
    let most = traces.to_string();
    let daemon = stand
        .daemon(&[
            ("PROBE_MAX_IN_FLIGHT", &most),
            ("PROBE_INTERVAL", "20ms"),
            // No threshold is crossed while calls are counted, so no look comes early.
            ("PROBE_SLO", "60s"),
            ("PROBE_CRITICAL", "60s"),
            ("PROBE_GIVE_UP", "10m"),
            ("STAGE_TENANT_STREAM_TARGET", "60s"),
            ("CANARY_SIZES", "100B"),
        ])
        .await;
    daemon
        .until_seen("as many are outstanding as may be", SOON, |_, metrics| {
            let outstanding = metrics.sum("traceprobe_in_flight_traces", &[]) as usize;
            outstanding == traces
        })
        .await;
    let before = reads(&stand.sandbox);
    tokio::time::sleep(WINDOW).await;
    let mut spent = reads(&stand.sandbox);
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.sum("traceprobe_in_flight_traces", &[]) as usize, traces);
    for (call, count) in &mut spent {
        *count -= before.get(call).copied().unwrap_or(0);
    }
    // Each stage is read with one kind of call; what comes once a while (a list of shards, a table's description) is left out.
    spent.retain(|(_, operation), _| {
        ["GetRecords", "ListObjectsV2", "jobs.query", "FilterLogEvents"].contains(&&**operation)
    });
    spent
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_calls_for_one_trace_as_for_five_hundred() {
    let (one, ten, many) =
        tokio::join!(calls_with_outstanding(1), calls_with_outstanding(10), calls_with_outstanding(500));
    for operation in ["GetRecords", "ListObjectsV2", "jobs.query"] {
        let of = |calls: &BTreeMap<(Service, String), u64>| {
            calls.iter().find(|((_, name), _)| name == operation).map_or(0, |(_, count)| *count)
        };
        let (one, ten, many) = (of(&one), of(&ten), of(&many));
        assert!(one > 0, "no {operation}");
        // A look more or less at the ends of the window, and a busy machine makes fewer.
        assert!(ten * 4 <= one * 5 + 8 && many * 4 <= one * 5 + 8, "{operation}: {one}, {ten}, {many}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outstanding_costs_nothing() {
    let stand = Stand::brisk(2).await;
    // The first canary leaves within the first interval.
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "24h")]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(daemon.recent().await.traces.is_empty(), "a canary left by chance");
    assert!(reads(&stand.sandbox).is_empty(), "{:?}", stand.sandbox.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_end_when_the_last_trace_has_landed() {
    let stand = Stand::brisk(1).await;
    // Canaries leave in the first half of an interval, so there are 10 s at least from one to the next.
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "20s")]).await;
    let at_rest = |recent: &Recent| {
        recent.ended("delivered") == 1 && recent.sources.iter().all(|source| source.state == "idle")
    };
    daemon.until("a canary is delivered and nothing waits", SOON, at_rest).await;
    let before = reads(&stand.sandbox);
    assert!(!before.is_empty());
    tokio::time::sleep(Duration::from_secs(3)).await;
    if daemon.recent().await.traces.len() == 1 {
        assert_eq!(reads(&stand.sandbox), before);
    }
}
