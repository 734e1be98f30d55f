//! What a service writes in its errors cannot flood the page or the log, and cannot forge log lines.

use traceprobe::sandbox::{Fault, Service, ServiceEffect};

use crate::SOON;
use crate::support::metrics::Metrics;
use crate::support::page::Recent;
use crate::support::stand::Stand;

/// Of the messages of the services. A WAF's page or a stack trace is as long.
const LONG: ServiceEffect = ServiceEffect::LongError { bytes: 200_000 };

#[tokio::test(flavor = "multi_thread")]
async fn a_service_error_of_200_kb_is_a_few_short_log_lines_and_a_small_page() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let before = daemon.printed().lines().count();
    stand.sandbox.fault(Fault::service(Service::Logs, LONG)).unwrap();
    let refused = |_: &Recent, metrics: &Metrics| {
        metrics.sum("traceprobe_traces_total", &[("outcome", "refused")]) >= 30.0
    };
    // Each of them was a line before.
    daemon.until_seen("30 canaries are refused", SOON, refused).await;
    let printed = daemon.printed();
    let about_it: Vec<_> =
        printed.lines().skip(before).filter(|line| line.contains("The request is wrong.")).collect();
    assert!(!about_it.is_empty() && about_it.len() < 10, "{about_it:#?}");
    for line in printed.lines() {
        assert!(line.chars().count() < 1_500 && !line.starts_with("2026-11-25T21:00:00"), "{line}");
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    }

    for service in [Service::Kinesis, Service::S3, Service::Bigquery, Service::Sts] {
        stand.sandbox.fault(Fault::service(service, LONG)).unwrap();
    }
    let all_fail = |recent: &Recent| {
        let failing = |stage: &str| {
            let reason = recent.source(stage, "shared").reason.as_deref().unwrap_or_default();
            reason.contains("The request is wrong.")
        };
        failing("transit") && failing("bigquery")
    };
    daemon.until("the shared stages fail", SOON, all_fail).await;
    let page = daemon.get("/traces/recent").await;
    assert!(page.len() < 300_000, "{} bytes", page.len());
    // The size of JSON depends on the number of traces; here only the texts may not be long.
    let json = daemon.get("/traces/recent?format=json").await;
    let longest = json.split('"').max_by_key(|text| text.chars().count()).unwrap_or_default();
    assert!(longest.contains("The request is wrong.") && longest.chars().count() < 700, "{longest}");
}
