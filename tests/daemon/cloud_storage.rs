//! A stage in Google Cloud Storage, behind the transit bucket, is followed like any other stage.

use traceprobe::sandbox::{Fault, Stage, StageEffect, TRANSFER_BUCKET};

use crate::SOON;
use crate::support::stand::{Stand, delivered};

const HEALTHY: &str = "acme";
const LOSSY: &str = "globex";
const DOUBLING: &str = "initech";

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_copies_and_absences_in_cloud_storage_match_the_truth() {
    let mut stand = Stand::brisk(3).await;
    stand.configure(&format!(
        r#"
[[stage]]
name = "transfer"
kind = "gcs"
after = "transit"
bucket = "{TRANSFER_BUCKET}"
key = "transfer/%Y/%m/%d/%H/"
target = "1s"
interval = "500ms"
timeout = "5s"
"#
    ));
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "700ms")]).await;
    // A source that has never shown a tenant's canaries proves nothing missing.
    daemon
        .until("every tenant's canaries were found", SOON, |recent| {
            let found = |tenant| recent.of(tenant).any(|trace| trace.stage("transfer").presence == "seen");
            [HEALTHY, LOSSY, DOUBLING].into_iter().all(found)
        })
        .await;
    let fault = |tenant, effect| stand.sandbox.fault(Fault::tenant_stage(tenant, Stage::Transfer, effect));
    fault(LOSSY, StageEffect::Lose { probability: 1.0 });
    fault(DOUBLING, StageEffect::Duplicate { probability: 1.0 });
    let at = |tenant| [("tenant", tenant), ("stage", "transfer")];
    let hop = |tenant| [("tenant", tenant), ("stage", "transfer")];
    let (recent, metrics) = daemon
        .until_seen("lost and duplicated copies are counted", SOON, |_, metrics| {
            metrics.sum("traceprobe_missing_hops_total", &hop(LOSSY)) >= 2.0
                && metrics.sum("traceprobe_duplicates_total", &at(DOUBLING)) >= 3.0
                && metrics.sum("traceprobe_hop_latency_seconds_count", &hop(HEALTHY)) >= 5.0
        })
        .await;

    assert_eq!(metrics.sum("traceprobe_missing_hops_total", &hop(HEALTHY)), 0.0);
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &at(HEALTHY)), 0.0);
    assert_eq!(metrics.sum("traceprobe_corrupted_total", &[("stage", "transfer")]), 0.0);
    assert_eq!(metrics.sum("traceprobe_stage_blind", &[]), 0.0);
    // Canaries reach the table without their copy in this bucket.
    assert_eq!(metrics.sum("traceprobe_lost_total", &[]), 0.0);
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 20);
    let seen =
        recent.of(HEALTHY).find(|trace| trace.stage("transfer").presence == "seen").expect("one arrived");
    assert!(seen.stage("transfer").copies[0].starts_with(&format!("gs://{TRANSFER_BUCKET}/transfer/")));
    let twice = recent.of(DOUBLING).filter(|trace| trace.stage("transfer").copies.len() == 2).count();
    assert!(twice >= 2, "{twice}");
    let page = daemon.get(&format!("/traces/{}", seen.id)).await;
    assert!(page.contains("gcloud storage cat"), "{page}");
    assert!(
        metrics.sum("traceprobe_api_calls_total", &[("service", "gcs"), ("operation", "objects.get")]) > 0.0
    );
    assert!(metrics.sum("traceprobe_estimated_cost_dollars_total", &[("service", "gcs")]) > 0.0);
}
