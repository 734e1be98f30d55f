//! The cost of polling: the number of calls must not depend on how many traces are outstanding.

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

/// Calls within [`WINDOW`] while this many traces wait at every stage but the log group, where they are seen.
async fn calls_with_outstanding(traces: usize) -> BTreeMap<(Service, String), u64> {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::TenantStream, StageEffect::Stall));
    let max_in_flight = traces.to_string();
    let daemon = stand
        .daemon(&[
            ("PROBE_MAX_IN_FLIGHT", &max_in_flight),
            ("PROBE_INTERVAL", "20ms"),
            // No threshold is crossed while calls are counted, which would cause an early poll.
            ("PROBE_SLO", "60s"),
            ("PROBE_CRITICAL", "60s"),
            ("PROBE_GIVE_UP", "10m"),
            ("STAGE_TENANT_STREAM_TARGET", "60s"),
            ("CANARY_SIZES", "100B"),
        ])
        .await;
    daemon
        .until_seen("as many traces are in flight as allowed", SOON, |_, metrics| {
            let outstanding = metrics.sum("traceprobe_in_flight_traces", &[]) as usize;
            outstanding == traces
        })
        .await;
    let before = reads(&stand.sandbox);
    tokio::time::sleep(WINDOW).await;
    let mut calls = reads(&stand.sandbox);
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.sum("traceprobe_in_flight_traces", &[]) as usize, traces);
    for (call, count) in &mut calls {
        *count -= before.get(call).copied().unwrap_or(0);
    }
    // Only the call that each poll makes. Occasional ones (listing shards, describing a table) would blur the
    // comparison.
    calls.retain(|(_, operation), _| {
        ["GetRecords", "ListObjectsV2", "jobs.query", "FilterLogEvents"].contains(&&**operation)
    });
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_traces_take_no_more_calls_than_one() {
    let (one, ten, many) =
        tokio::join!(calls_with_outstanding(1), calls_with_outstanding(10), calls_with_outstanding(500));
    for operation in ["GetRecords", "ListObjectsV2", "jobs.query"] {
        let of = |calls: &BTreeMap<(Service, String), u64>| {
            calls.iter().find(|((_, name), _)| name == operation).map_or(0, |(_, count)| *count)
        };
        let (one, ten, many) = (of(&one), of(&ten), of(&many));
        assert!(one > 0, "no calls of {operation}");
        // The window may cut one poll more or less, and a busy machine makes fewer.
        assert!(ten * 4 <= one * 5 + 8 && many * 4 <= one * 5 + 8, "{operation}: {one}, {ten}, {many}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_calls_are_made_while_nothing_waits() {
    let stand = Stand::brisk(2).await;
    // The first canary leaves at a random time within the first interval.
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "24h")]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(daemon.recent().await.traces.is_empty(), "a canary left by chance");
    assert!(reads(&stand.sandbox).is_empty(), "{:?}", stand.sandbox.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_end_when_the_last_trace_has_arrived() {
    let stand = Stand::brisk(1).await;
    // Canaries leave in the first half of an interval, so at least 10 s pass from one to the next.
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "20s")]).await;
    let is_idle = |recent: &Recent| {
        recent.ended("delivered") == 1 && recent.sources.iter().all(|source| source.state == "idle")
    };
    daemon.until("a canary is delivered and nothing waits", SOON, is_idle).await;
    let before = reads(&stand.sandbox);
    assert!(!before.is_empty());
    tokio::time::sleep(Duration::from_secs(3)).await;
    if daemon.recent().await.traces.len() == 1 {
        assert_eq!(reads(&stand.sandbox), before);
    }
}
