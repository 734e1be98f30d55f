//! What is broken is never OK: each fault is named on the page and in the metric, and only for its tenant.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use traceprobe::sandbox::{Damage, Distribution, Fault, Stage, StageEffect};

use crate::SOON;
use crate::support::metrics::Metrics;
use crate::support::page::Recent;
use crate::support::stand::Stand;

const UNARCHIVED: &str = "acme";
const CUT: &str = "globex";
const DOUBLED: &str = "initech";
const SLOW: &str = "umbrella";
const HEALTHY: &str = "hooli";

/// Each tenant with its condition, and where it is.
const EXPECTED: [(&str, &str, &str); 4] = [
    (UNARCHIVED, "missing", "archive"),
    (CUT, "corruption", "transit"),
    (DOUBLED, "duplicates", "bigquery"),
    (SLOW, "hop_over_target", "tenant_stream"),
];

/// Whether the metric, the JSON and its list of conditions all have it as the tenant's worst problem.
fn shows(recent: &Recent, metrics: &Metrics, (tenant, condition, stage): (&str, &str, &str)) -> bool {
    let verdict = recent.verdict(tenant);
    let labels = [("tenant", tenant), ("stage", stage), ("condition", condition)];
    let is_listed = recent.conditions.iter().any(|it| {
        it.condition == condition
            && it.tenant.as_deref() == Some(tenant)
            && it.stage.as_deref() == Some(stage)
            && it.severity != "note"
    });
    verdict.condition == condition
        && verdict.place.as_deref() == Some(stage)
        && is_listed
        && metrics.sum("traceprobe_condition", &labels) == 1.0
}

fn is_well(recent: &Recent, metrics: &Metrics, tenant: &str) -> bool {
    recent.verdict(tenant).condition == "ok"
        && metrics.sum("traceprobe_condition", &[("tenant", tenant)]) == 0.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_fault_is_not_ok_until_it_is_mended() {
    let stand = Stand::brisk(5).await;
    let keys = [
        ("PROBE_INTERVAL", "500ms"),
        ("CANARY_SIZES", "500B"),
        ("STAGE_ARCHIVE_MISSING_AFTER", "1s"),
        // So long that nothing is lost or slow because the machine is busy.
        ("PROBE_SLO", "30s"),
        ("PROBE_CRITICAL", "30s"),
        ("PROBE_GIVE_UP", "60s"),
        ("STAGE_TENANT_STREAM_TARGET", "3s"),
    ];
    let daemon = stand.daemon(&keys).await;
    let well = |recent: &Recent, metrics: &Metrics| {
        EXPECTED.iter().map(|it| it.0).chain([HEALTHY]).all(|tenant| is_well(recent, metrics, tenant))
    };
    daemon.until_seen("all are well", SOON, well).await;

    let fault = |tenant, stage, effect| stand.sandbox.fault(Fault::tenant_stage(tenant, stage, effect));
    let damage = Damage::Truncate { bytes: 300 };
    let delay = Distribution::Fixed { ms: 8_000.0 };
    let faults = [
        fault(UNARCHIVED, Stage::Archive, StageEffect::Lose { probability: 1.0 }),
        fault(CUT, Stage::Transit, StageEffect::Corrupt { probability: 0.78, damage }),
        fault(DOUBLED, Stage::Bigquery, StageEffect::Duplicate { probability: 0.33 }),
        fault(SLOW, Stage::TenantStream, StageEffect::Delay { delay }),
    ];
    daemon
        .until_seen("every fault shows", SOON, |recent, metrics| {
            EXPECTED.into_iter().all(|expected| shows(recent, metrics, expected))
        })
        .await;
    let (recent, metrics) = (daemon.recent().await, daemon.metrics().await);
    assert!(is_well(&recent, &metrics, HEALTHY), "{:?}", recent.verdict(HEALTHY));
    // A row of good canaries by chance ends the condition of a part of them for a while.
    let named = async {
        let texts = ["MISSING", "CORRUPTION", "DUPLICATES", "OVER TARGET", "2 more tenants with a problem"];
        loop {
            let page = daemon.html().await;
            if texts.iter().all(|text| page.contains(text)) {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(SOON, named).await.expect("the page names every fault");

    for fault in faults.into_iter().flatten() {
        assert!(stand.sandbox.clear(fault));
    }
    daemon.until_seen("all are well again", SOON, well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_key_has_a_typo_was_never_seen() {
    let stand = Stand::brisk(1).await;
    let keys = [("STAGE_TRANSIT_KEY", "transti/%Y/%m/%d/%H/"), ("STAGE_TRANSIT_MISSING_AFTER", "1s")];
    let daemon = stand.daemon(&keys).await;
    let expected = ("acme", "never_seen", "transit");
    let (recent, metrics) = daemon
        .until_seen("it shows", SOON, |recent, metrics| {
            shows(recent, metrics, expected) && recent.ended("delivered") >= 5
        })
        .await;
    assert!(recent.verdict("acme").text.contains("format, key, column or pattern wrong"));
    assert_eq!(metrics.sum("traceprobe_condition", &[("tenant", "acme")]), 1.0, "{:?}", recent.conditions);
    assert!(daemon.html().await.contains("acme NEVER SEEN at transit"));
}
