//! A drill: the alert of a tenant that does not exist takes the real way, and nothing else is affected.

use serde_json::json;

use crate::SOON;
use crate::support::stand::Stand;

const KEYS: [(&str, &str); 5] = [
    ("DRILL_ENABLED", "true"),
    ("PROBE_INTERVAL", "500ms"),
    ("PROBE_SLO", "5s"),
    ("PROBE_CRITICAL", "5s"),
    // So long that nothing is given up before the drill ends.
    ("PROBE_GIVE_UP", "2m"),
];

/// What Alertmanager sends of a firing alert of a tenant (webhook, version 4).
fn notification(tenant: &str) -> String {
    let labels = json!({"alertname": "TraceprobeStuck", "tenant": tenant, "severity": "critical"});
    json!({"version": "4", "status": "firing", "alerts": [{"status": "firing", "labels": labels}]})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_raises_the_alert_of_its_tenant_until_the_notification_arrives_and_of_no_other() {
    let stand = Stand::brisk(1).await;
    let store = stand.config().with_file_name("store.db").display().to_string();
    let keys: Vec<_> = KEYS.into_iter().chain([("STORE_PATH", store.as_str())]).collect();
    let daemon = stand.daemon(&keys).await;
    let stuck = [("tenant", "drill"), ("condition", "stuck")];
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    daemon
        .until_seen("one of the drill is", SOON, |_, metrics| {
            metrics.sum("traceprobe_traces_total", &[("tenant", "drill"), ("outcome", "delivered")]) >= 1.0
        })
        .await;
    assert_eq!(daemon.post("/-/drill/notification", notification("drill")).await, 200);
    assert!(daemon.html().await.contains("The pager has not been proven to ring yet"), "no drill went on");

    assert_eq!(daemon.post("/-/drill", String::new()).await, 202);
    daemon
        .until_seen("the alert of the drill fires", SOON, |_, metrics| {
            metrics.sum("traceprobe_condition", &stuck) == 1.0
                && metrics.sum("traceprobe_drill_active", &[]) == 1.0
        })
        .await;
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.sum("traceprobe_condition", &[("tenant", "acme")]), 0.0);
    assert_eq!(daemon.recent().await.verdict("acme").condition, "ok");
    assert!(daemon.recent().await.tenants.iter().all(|tenant| tenant.name != "drill"));

    assert_eq!(daemon.post("/-/drill/notification", notification("acme")).await, 200);
    assert_eq!(
        daemon.metrics().await.sum("traceprobe_drill_active", &[]),
        1.0,
        "acme's alert proves nothing"
    );
    assert_eq!(daemon.post("/-/drill/notification", notification("drill")).await, 200);
    let (_, metrics) = daemon
        .until_seen("the drill is over and all arrives", SOON, |_, metrics| {
            metrics.sum("traceprobe_condition", &stuck) == 0.0
                && metrics.sum("traceprobe_drill_active", &[]) == 0.0
        })
        .await;
    let proven = metrics.sum("traceprobe_drill_last_proven_timestamp_seconds", &[]);
    assert!(proven > 0.0);
    assert!(daemon.html().await.contains("The pager was last proven to ring"));
    assert_eq!(metrics.sum("traceprobe_stage_blind", &[("tenant", "drill")]), 0.0, "its sources can be read");
    assert_eq!(metrics.sum("traceprobe_traces_total", &[("tenant", "drill"), ("outcome", "lost")]), 0.0);

    daemon.terminate(SOON).await;
    let metrics = stand.daemon(&keys).await.metrics().await;
    let kept = metrics.sum("traceprobe_drill_last_proven_timestamp_seconds", &[]);
    assert_eq!(kept, proven, "a restart forgets it");
}
