//! A canary of one tenant found with another is reported everywhere by the first poll that covers it.

use std::collections::BTreeSet;

use traceprobe::sandbox::{Arrival, Fault, Stage, StageEffect};

use crate::SOON;
use crate::support::page::Recent;
use crate::support::stand::{Stand, id_in};

const LEAKING: &str = "acme";
const INTO: &str = "globex";
/// A stream, a prefix, and rows of a shared table, with the owner of the source.
const STAGES: [(Stage, &str); 3] =
    [(Stage::TenantStream, INTO), (Stage::Archive, INTO), (Stage::Bigquery, "shared")];

/// Stage and trace of every copy that truly leaked and that arrived before its source's watermark.
fn covered(stand: &Stand, recent: &Recent) -> BTreeSet<(String, String)> {
    let mut covered = BTreeSet::new();
    for record in stand.sandbox.truth() {
        for (stage, owner) in STAGES {
            let read_up_to = recent.source(stage.name(), owner).watermark.unwrap_or(i64::MIN);
            let leaked = |arrival: &&Arrival| {
                arrival.stage == stage && arrival.tenant != record.tenant && arrival.at.0 < read_up_to
            };
            if record.arrivals.iter().any(|arrival| leaked(&arrival)) {
                covered.insert((stage.name().to_owned(), id_in(&record.token).to_owned()));
            }
        }
    }
    covered
}

fn reported(recent: &Recent) -> BTreeSet<(String, String)> {
    recent.violations.iter().map(|seen| (seen.stage.clone(), seen.trace.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_poll_that_covers_a_leak_reports_it_in_metrics_page_and_log() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "1s")]).await;
    daemon.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 4).await;
    assert_eq!(daemon.metrics().await.sum("traceprobe_isolation_violations_total", &[]), 0.0);
    for (stage, _) in STAGES {
        let leak = StageEffect::Leak { probability: 0.5, into: INTO.to_owned() };
        stand.sandbox.fault(Fault::tenant_stage(LEAKING, stage, leak));
    }

    let mut at_every_stage = BTreeSet::new();
    let poll = async {
        while at_every_stage.len() < STAGES.len() {
            let recent = daemon.recent().await;
            // Log and metrics are read after the page, so they must have everything that it shows.
            let (covered, reported) = (covered(&stand, &recent), reported(&recent));
            let unreported: Vec<_> = covered.difference(&reported).collect();
            assert!(unreported.is_empty(), "read and not reported: {unreported:?}; {:?}", recent.sources);
            let (metrics, printed) = (daemon.metrics().await, daemon.printed());
            // The first of each place is a line at once; further ones are counted.
            for (stage, _) in &reported {
                let of_stage = format!("stage={stage} ");
                let tells = |line: &str| line.contains("was found in") && line.contains(&of_stage);
                assert!(printed.lines().any(tells), "the log does not mention a leak at {stage}: {printed}");
            }
            for (stage, _) in STAGES {
                let of_stage = [("tenant", LEAKING), ("stage", stage.name())];
                let on_page = reported.iter().filter(|(at, _)| *at == *stage.name()).count();
                let counted = metrics.sum("traceprobe_isolation_violations_total", &of_stage);
                assert!(counted >= on_page as f64, "{counted} of {on_page} leaks are counted at {stage}");
                if on_page >= 3 {
                    at_every_stage.insert(stage.name());
                }
            }
        }
    };
    let within = tokio::time::timeout(SOON, poll).await;
    assert!(within.is_ok(), "only {at_every_stage:?} showed leaks; the daemon printed: {}", daemon.printed());

    let (recent, metrics) = (daemon.recent().await, daemon.metrics().await);
    assert_eq!(recent.verdict(LEAKING).condition, "leaking");
    assert_eq!(recent.verdict(INTO).condition, "ok", "{:?}", recent.verdict(INTO));
    assert_eq!(metrics.sum("traceprobe_isolation_violations_total", &[("tenant", INTO)]), 0.0);
    assert!(recent.violations.iter().all(|seen| seen.found_in.contains(INTO)), "{:?}", recent.violations);
    let page = daemon.get("/traces/recent").await;
    let last = &recent.violations[0].trace;
    assert!(page.contains("LEAKING") && page.contains(last), "the page does not mention {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_in_another_tenants_table_is_found_although_not_expected_there() {
    let stand = Stand::brisk(2).await;
    // The sandbox has one table, and both tenants' canaries reach it. With acme's configured elsewhere, it is
    // globex's own.
    let elsewhere =
        [("TENANT_ACME_STAGE_BIGQUERY_TABLE", "demo.logs.no_such_table"), ("PROBE_GIVE_UP", "60s")];
    let daemon = stand.daemon(&elsewhere).await;
    let leaks = [("tenant", "acme"), ("stage", "bigquery")];
    let (recent, metrics) = daemon
        .until_seen("a leak is counted", SOON, |recent, metrics| {
            metrics.sum("traceprobe_isolation_violations_total", &leaks) >= 1.0
                && recent.violations.iter().any(|seen| seen.stage == "bigquery")
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_isolation_violations_total", &[("tenant", "globex")]), 0.0);
    assert!(recent.violations.iter().all(|seen| seen.found_in.contains("demo.logs.events")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_know_the_tenant_reports_its_canary_in_anothers_stream() {
    let stand = Stand::brisk(2).await;
    let keys = [("PROBE_INTERVAL", "1s")];
    let (of_acme, of_globex) = futures::join!(stand.daemon_of(LEAKING, &keys), stand.daemon_of(INTO, &keys));
    let delivered = |recent: &Recent| recent.ended("delivered") >= 2;
    of_globex.until("globex's canaries are delivered", SOON, delivered).await;
    let leak = StageEffect::Leak { probability: 0.5, into: INTO.to_owned() };
    stand.sandbox.fault(Fault::tenant_stage(LEAKING, Stage::TenantStream, leak));
    let (recent, metrics) = of_globex
        .until_seen("a leak of an unknown tenant is reported", SOON, |recent, metrics| {
            let leaks = [("tenant", "unknown"), ("stage", "tenant_stream")];
            metrics.sum("traceprobe_isolation_violations_total", &leaks) >= 1.0
                && !recent.violations.is_empty()
        })
        .await;
    let violation = &recent.violations[0];
    assert!(violation.tenant.starts_with("unknown tenant "), "{violation:?}");
    assert!(violation.found_in.contains(INTO), "{violation:?}");
    assert_eq!(recent.verdict(INTO).condition, "leaking", "{:?}", recent.verdict(INTO));
    // In the shared table, the rows of a tenant that is not configured here are where they belong.
    assert_eq!(
        metrics.sum("traceprobe_isolation_violations_total", &[("stage", "bigquery")]),
        0.0,
        "{:?}",
        recent.violations
    );
    drop(of_acme);
}
