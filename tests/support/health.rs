//! Checks for a healthy pipeline.

use super::SOON;
use super::daemon::Daemon;
use super::stand::{Stand, delivered};

/// Waits until `count` canaries are delivered.
pub async fn until_delivered(daemon: &Daemon, count: f64) {
    daemon
        .until_seen(&format!("{count} canaries are delivered"), SOON, |_, metrics| {
            metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]) >= count
        })
        .await;
}

/// Fails unless every canary that ended was delivered and was seen once at every stage, when it truly
/// arrived.
pub async fn assert_all_is_well(stand: &Stand, daemon: &Daemon) {
    let metrics = daemon.metrics().await;
    let recent = daemon.recent().await;
    for outcome in ["lost", "late", "dead_lettered", "unobserved", "refused"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for fault in
        ["traceprobe_missing_hops_total", "traceprobe_duplicates_total", "traceprobe_corrupted_total"]
    {
        assert_eq!(metrics.sum(fault, &[]), 0.0, "{fault}: {}", daemon.printed());
    }
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 0);
}
