//! Second copies: which are charged to the pipeline.

use traceprobe::sandbox::{Fault, Stage, StageEffect};

use crate::SOON;
use crate::support::metrics::Metrics;
use crate::support::stand::{Stand, id_in};

const COMPACTED: &str = "acme";
const DOUBLING: &str = "globex";

fn duplicates(metrics: &Metrics, tenant: &str, stage: &str) -> f64 {
    metrics.sum("traceprobe_duplicates_total", &[("tenant", tenant), ("stage", stage)])
}

fn is_problem(metrics: &Metrics, tenant: &str) -> bool {
    let labels = [("condition", "duplicates"), ("tenant", tenant), ("stage", "archive")];
    metrics.sum("traceprobe_condition", &labels) == 1.0
}

fn uncharged(metrics: &Metrics, tenant: &str, reason: &str) -> f64 {
    metrics.sum_so_far("traceprobe_uncharged_copies_total", &[("tenant", tenant), ("reason", reason)])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_compacted_has_no_duplicates_and_one_that_stores_twice_has() {
    let stand = Stand::brisk(2).await;
    let stage = Stage::Archive;
    let tenant = Some(COMPACTED.to_owned());
    stand.sandbox.fault(Fault::Compaction { stage, tenant, every_ms: 2_000, keep_ms: 1_500 });
    stand.sandbox.fault(Fault::tenant_stage(DOUBLING, stage, StageEffect::Duplicate { probability: 1.0 }));
    let keys = [("PROBE_INTERVAL", "700ms"), ("PROBE_COPY_RECHECK", "4s")];
    let daemon = stand.daemon(&keys).await;
    let (recent, metrics) = daemon
        .until_seen("copies are judged", SOON, |_, metrics| {
            duplicates(metrics, DOUBLING, "archive") >= 5.0
                && uncharged(metrics, COMPACTED, "moved") >= 5.0
                && is_problem(metrics, DOUBLING)
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[("tenant", COMPACTED)]), 0.0);
    assert!(!is_problem(&metrics, COMPACTED));
    assert_eq!(uncharged(&metrics, DOUBLING, "moved"), 0.0);
    assert_eq!(metrics.sum_so_far("traceprobe_uncharged_copies_total", &[("reason", "unknown")]), 0.0);
    assert_eq!(metrics.sum("traceprobe_corrupted_total", &[]), 0.0);
    assert_eq!(metrics.sum("traceprobe_stage_blind", &[]), 0.0);
    let is_moved = |trace: &&crate::support::page::Trace| {
        trace.stage("archive").uncharged_copies.iter().any(|copy| copy.reason == "moved")
    };
    let moved = recent.of(COMPACTED).find(is_moved).expect("a trace has a copy that was moved");
    let page = daemon.get(&format!("/traces/{}", moved.id)).await;
    assert!(page.contains("not charged: moved"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_charged_before_it_was_checked_again() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::tenant_stage(
        COMPACTED,
        Stage::Archive,
        StageEffect::Duplicate { probability: 1.0 },
    ));
    let keys = [("PROBE_INTERVAL", "1s"), ("PROBE_COPY_RECHECK", "300s")];
    let daemon = stand.daemon(&keys).await;
    let is_pending = |trace: &crate::support::page::Trace| {
        trace.stage("archive").uncharged_copies.iter().any(|copy| copy.reason == "pending")
    };
    let (_, metrics) = daemon
        .until_seen("copies are pending", SOON, |recent, _| {
            recent.of(COMPACTED).filter(|trace| is_pending(trace)).count() >= 3
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_repeats_a_tag_in_its_log_raises_neither_duplicates_nor_corruption() {
    let stand = Stand::brisk(1).await;
    let keys = [("PROBE_INTERVAL", "2s"), ("PROBE_GIVE_UP", "60s")];
    let daemon = stand.daemon(&keys).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let token = stand.sandbox.truth()[0].token.clone();
    for number in 0..20 {
        let line = format!("{{\"trace_id\":\"{token}\",\"attempt\":{number}}}");
        stand.sandbox.put_log_event(COMPACTED, &line);
    }
    let (_, metrics) = daemon
        .until_seen("the repeated tags are seen", SOON, |recent, metrics| {
            let trace = recent.trace(id_in(&token));
            trace.is_some_and(|trace| trace.stage("bigquery").copies.len() > 10)
                && uncharged(metrics, COMPACTED, "mention") >= 10.0
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
    assert_eq!(metrics.sum("traceprobe_corrupted_total", &[]), 0.0);
}
