//! What can be wrong with a table, and the forms that it can have: the end stage says so, or reads it.

use traceprobe::sandbox::{Fault, Stage, StageEffect};

use crate::SOON;
use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::page::{Condition, Recent};
use crate::support::stand::{Stand, delivered, variables};

const TABLE: [(&str, &str); 1] = [("stage", "bigquery")];

fn total(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.sum("traceprobe_traces_total", &[("outcome", outcome)])
}

/// Waits until the end stage is blind, and says why.
async fn until_blind(daemon: &Daemon) -> String {
    let blind = |_: &Recent, metrics: &Metrics| metrics.sum("traceprobe_stage_blind", &TABLE) > 0.0;
    let (recent, _) = daemon.until_seen("the end stage is blind", SOON, blind).await;
    recent
        .sources
        .iter()
        .find_map(|source| source.reason.clone().filter(|_| source.stage == "bigquery"))
        .unwrap()
}

async fn until_delivered(daemon: &Daemon, count: usize) -> Recent {
    daemon.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_tenant_column_blinds_the_stage_and_fails_the_check_with_the_nearest_name() {
    const SENTENCE: &str = "column tennant of demo.logs.events does not exist; did you mean tenant?";
    let stand = Stand::brisk(2).await;
    let keys = [("STAGE_BIGQUERY_TENANT_COLUMN", "tennant"), ("PROBE_GIVE_UP", "60s")];
    let daemon = stand.daemon(&keys).await;
    let reason = until_blind(&daemon).await;
    assert!(reason.contains(SENTENCE), "{reason}");
    assert_eq!(total(&daemon.metrics().await, "lost"), 0.0);

    let config = stand.config();
    let check = tokio::process::Command::new(env!("CARGO_BIN_EXE_traceprobe"))
        .args(["check", "--config", config.to_str().unwrap()])
        .env_clear()
        .envs(variables(&keys))
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, check).await.expect("check does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().any(|line| line.starts_with("FAIL") && line.contains(SENTENCE)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_hides_are_not_lost() {
    let stand = Stand::brisk(2).await;
    let policy = Fault::RowPolicy { visible: vec!["globex".to_owned()] };
    let policy = stand.sandbox.fault(policy).unwrap();
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    let cannot_see = |recent: &Recent, tenant: &str| {
        let of = |it: &&Condition| it.condition == "cannot_see" && it.tenant.as_deref() == Some(tenant);
        recent.conditions.iter().find(of).map(|it| it.text.clone())
    };
    let hides_one = |recent: &Recent| {
        cannot_see(recent, "acme").is_some() && recent.of("globex").any(|it| it.outcome == "delivered")
    };
    let recent = daemon.until("acme's rows cannot be seen, and globex's can", SOON, hides_one).await;
    let text = cannot_see(&recent, "acme").unwrap();
    assert!(text.contains("a row access policy hides rows of `demo.logs.events`"), "{text}");
    assert_eq!(cannot_see(&recent, "globex"), None);
    let metrics = daemon.metrics().await;
    assert_eq!((total(&metrics, "lost"), metrics.sum("traceprobe_missing_hops_total", &[])), (0.0, 0.0));

    let waited: Vec<String> = daemon.recent().await.in_flight().map(|trace| trace.id.clone()).collect();
    stand.sandbox.clear(policy);
    let landed = |recent: &Recent| {
        waited.iter().all(|id| recent.trace(id).is_some_and(|trace| trace.outcome == "delivered"))
    };
    let recent = daemon.until("all that waited are delivered", SOON, landed).await;
    stand.assert_intervals_hold(delivered(&recent));
    assert_eq!(total(&daemon.metrics().await, "lost"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_grants_all_rows_hides_no_loss() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::RowPolicy { visible: vec!["acme".to_owned()] });
    let daemon = stand.daemon(&[]).await;
    until_delivered(&daemon, 3).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Lose { probability: 1.0 }));
    let lost = |_: &Recent, metrics: &Metrics| total(metrics, "lost") >= 2.0;
    let (_, metrics) = daemon.until_seen("losses are told", SOON, lost).await;
    assert_eq!(metrics.sum("traceprobe_stage_blind", &TABLE), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_tenant_column_is_blindness_and_no_leak() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::Masking { column: "tenant".to_owned() });
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    let reason = until_blind(&daemon).await;
    assert!(reason.contains("a data policy masks a column"), "{reason}");
    assert_eq!(daemon.metrics().await.sum("traceprobe_isolation_violations_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_found_inside_a_message() {
    let stand = Stand::brisk(2).await;
    let keys = [("STAGE_BIGQUERY_ID_COLUMN", "message"), ("STAGE_BIGQUERY_ID_MATCH", "contains")];
    let daemon = stand.daemon(&keys).await;
    let recent = until_delivered(&daemon, 6).await;
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 0);
    let metrics = daemon.metrics().await;
    assert_eq!((total(&metrics, "lost"), metrics.sum("traceprobe_duplicates_total", &[])), (0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_found_in_the_table_of_the_day() {
    let stand = Stand::brisk(2).await;
    // It comes to exist with its first row.
    let daemon = stand.daemon(&[("STAGE_BIGQUERY_TABLE", "demo.logs.events_%Y%m%d")]).await;
    let recent = until_delivered(&daemon, 6).await;
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 0);
    assert_eq!(total(&daemon.metrics().await, "lost"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_the_writer_fills_moves_no_arrival() {
    let stand = Stand::brisk(1).await;
    // The sandbox stamps rows as they are inserted; here they seem to have been written seconds before.
    stand.sandbox.fault(Fault::ClockOffset { service: traceprobe::sandbox::Service::Bigquery, ms: -5_000 });
    let daemon = stand.daemon(&[("STAGE_BIGQUERY_TIME_IS", "written")]).await;
    let recent = until_delivered(&daemon, 3).await;
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 0);
    let inversions = daemon.metrics().await.sum("traceprobe_clock_inversions_total", &TABLE);
    assert_eq!(inversions, 0.0);
}
