//! A stage that cannot be read is blind. The page gives the reason, no other stage is affected, nothing
//! counts as lost, and it ends with the fault.

use traceprobe::sandbox::{Drift, Fault, Service, ServiceEffect};

use crate::SOON;
use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::page::Recent;
use crate::support::stand::{Stand, delivered};

/// The pairs of tenant and stage that the metrics show as blind.
fn blind(metrics: &Metrics, tenants: &[&str], stages: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for tenant in tenants {
        for stage in stages {
            if metrics.sum("traceprobe_stage_blind", &[("tenant", tenant), ("stage", stage)]) > 0.0 {
                found.push(((*tenant).to_owned(), (*stage).to_owned()));
            }
        }
    }
    found
}

const TENANTS: [&str; 2] = ["acme", "globex"];
const STAGES: [&str; 6] = ["log_group", "tenant_stream", "archive", "dead_letter", "transit", "bigquery"];

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<_> =
        expected.iter().map(|(tenant, stage)| ((*tenant).to_owned(), (*stage).to_owned())).collect();
    all.sort_by_key(|(tenant, stage)| (tenant.clone(), STAGES.iter().position(|name| name == stage)));
    all
}

/// Waits until exactly these pairs of tenant and stage are blind.
async fn until_blind(daemon: &Daemon, expected: &[(&str, &str)]) -> (Recent, Metrics) {
    let expected = pairs(expected);
    let what = format!("exactly {expected:?} are blind");
    daemon.until_seen(&what, SOON, |_, metrics| blind(metrics, &TENANTS, &STAGES) == expected).await
}

/// Waits until `more` canaries of a tenant are delivered, counted from now.
async fn until_more_are_delivered(daemon: &Daemon, tenant: &str, more: usize) {
    let labels = [("tenant", tenant), ("outcome", "delivered")];
    let before = daemon.metrics().await.sum("traceprobe_traces_total", &labels);
    daemon
        .until_seen(&format!("{more} more canaries of {tenant} are delivered"), SOON, |_, metrics| {
            metrics.sum("traceprobe_traces_total", &labels) >= before + more as f64
        })
        .await;
}

async fn assert_nothing_is_lost(daemon: &Daemon) {
    let metrics = daemon.metrics().await;
    for outcome in ["lost", "late", "dead_lettered", "unobserved", "refused"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for fault in ["traceprobe_missing_hops_total", "traceprobe_duplicates_total"] {
        assert_eq!(metrics.sum(fault, &[]), 0.0, "{fault}");
    }
}

fn assert_blind_because(recent: &Recent, stage: &str, owner: &str, fragments: &[&str]) {
    let source = recent.source(stage, owner);
    assert_eq!(source.state, "blind", "{source:?}");
    let reason = source.reason.as_deref().unwrap_or_default().to_lowercase();
    assert!(fragments.iter().all(|part| reason.contains(part)), "{reason:?} does not contain {fragments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_stream_blinds_only_its_tenant() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let denied = Fault::Service {
        service: Service::Kinesis,
        operation: None,
        tenant: Some("acme".to_owned()),
        effect: ServiceEffect::Deny,
    };
    let fault = stand.sandbox.fault(denied).unwrap();
    let (recent, _) = until_blind(&daemon, &[("acme", "tenant_stream")]).await;
    assert_blind_because(&recent, "tenant_stream", "acme", &["not authorized", "logs-acme"]);
    assert_eq!(recent.verdict("acme").condition, "cannot_see", "{:?}", recent.verdict("acme"));
    assert_eq!(recent.verdict("globex").condition, "ok", "{:?}", recent.verdict("globex"));
    // Stages behind the blind one are still read.
    until_more_are_delivered(&daemon, "acme", 3).await;
    until_more_are_delivered(&daemon, "globex", 3).await;

    stand.sandbox.clear(fault);
    let (recent, _) = until_blind(&daemon, &[]).await;
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 0);
    assert_nothing_is_lost(&daemon).await;
    let printed = daemon.printed();
    assert!(
        printed.contains("stage tenant_stream is blind")
            && printed.contains("stage tenant_stream is visible again")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_stage_that_hangs_is_blind_and_its_canaries_are_delivered_later() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s"), ("STAGE_BIGQUERY_TIMEOUT", "1s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let fault = stand.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Hang)).unwrap();
    let (recent, _) = until_blind(&daemon, &[("acme", "bigquery"), ("globex", "bigquery")]).await;
    assert_blind_because(&recent, "bigquery", "shared", &["no answer within 1 s"]);
    // The daemon answers while the service hangs.
    daemon.get("/healthz").await;

    stand.sandbox.clear(fault);
    until_blind(&daemon, &[]).await;
    let waited: Vec<String> = recent.in_flight().map(|trace| trace.id.clone()).collect();
    assert!(!waited.is_empty());
    let all_delivered = |recent: &Recent| {
        waited.iter().all(|id| recent.trace(id).is_some_and(|trace| trace.outcome == "delivered"))
    };
    let recent = daemon.until("all waiting canaries are delivered", SOON, all_delivered).await;
    stand.assert_intervals_hold(delivered(&recent));
    assert_nothing_is_lost(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_and_a_failing_bucket_are_blind_for_different_reasons() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    stand.sandbox.fault(Fault::SchemaDrift { column: "trace_id".to_owned(), change: Drift::Dropped });
    let archive_fails = Fault::service(Service::S3, ServiceEffect::ServerError { status: 503 });
    stand.sandbox.fault(archive_fails);
    let every_tenant = |stages: &[&'static str]| -> Vec<(&'static str, &'static str)> {
        TENANTS.iter().flat_map(|tenant| stages.iter().map(|stage| (*tenant, *stage))).collect()
    };
    let expected = every_tenant(&["archive", "transit", "bigquery"]);
    // The dead letters may be blind too: while the end is blind, every canary waits there.
    let (recent, _) = daemon
        .until_seen("the table and the buckets are blind", SOON, |_, metrics| {
            let blind = blind(metrics, &TENANTS, &STAGES);
            pairs(&expected).iter().all(|pair| blind.contains(pair))
        })
        .await;
    assert_blind_because(&recent, "bigquery", "shared", &["trace_id"]);
    assert_blind_because(&recent, "transit", "shared", &["serviceunavailable"]);
    // Whether something waits there at this moment varies.
    let stream = recent.source("tenant_stream", "acme");
    assert!(!["blind", "failing", "starting"].contains(&&*stream.state), "{stream:?}");

    stand.sandbox.clear_all();
    until_blind(&daemon, &[]).await;
    until_more_are_delivered(&daemon, "globex", 3).await;
    assert_nothing_is_lost(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_exist_blinds_only_its_tenant() {
    let stand = Stand::brisk(2).await;
    let daemon = stand
        .daemon(&[
            ("PROBE_GIVE_UP", "60s"),
            ("TENANT_ACME_STAGE_TENANT_STREAM_STREAM", "no-such-stream"),
            ("TENANT_ACME_STAGE_ARCHIVE_BUCKET", "no-such-bucket"),
            ("TENANT_ACME_STAGE_BIGQUERY_TABLE", "demo.logs.no_such_table"),
            ("TENANT_ACME_STAGE_LOG_GROUP_LOG_GROUP", "/no/such/group"),
        ])
        .await;
    let expected =
        [("acme", "log_group"), ("acme", "tenant_stream"), ("acme", "archive"), ("acme", "bigquery")];
    let (recent, _) = until_blind(&daemon, &expected).await;
    assert_blind_because(&recent, "tenant_stream", "acme", &["no-such-stream", "not found"]);
    assert_blind_because(&recent, "archive", "acme", &["no-such-bucket"]);
    assert_blind_because(&recent, "bigquery", "acme", &["no_such_table", "not found"]);
    assert_blind_because(&recent, "log_group", "acme", &["/no/such/group", "not exist"]);
    until_more_are_delivered(&daemon, "globex", 5).await;
    assert_nothing_is_lost(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_service_is_blindness_and_the_daemon_continues() {
    let stand = Stand::brisk(2).await;
    // Port 1 refuses connections at once.
    let daemon =
        stand.daemon(&[("PROBE_GIVE_UP", "60s"), ("AWS_ENDPOINTS_KINESIS", "http://127.0.0.1:1")]).await;
    let (recent, _) = until_blind(&daemon, &[("acme", "tenant_stream"), ("globex", "tenant_stream")]).await;
    assert_blind_because(&recent, "tenant_stream", "acme", &["connection refused"]);
    until_more_are_delivered(&daemon, "acme", 3).await;
    assert_nothing_is_lost(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_stage_that_stays_blind_makes_traces_unobserved_and_never_lost() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Deny));
    let keys =
        [("PROBE_SLO", "1s"), ("PROBE_CRITICAL", "1s"), ("PROBE_GIVE_UP", "2s"), ("PROBE_GRACE", "1s")];
    let daemon = stand.daemon(&keys).await;
    let (_, metrics) = daemon
        .until_seen("traces are unobserved", SOON, |_, metrics| {
            metrics.sum("traceprobe_traces_total", &[("outcome", "unobserved")]) >= 3.0
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", "lost")]), 0.0);
}
