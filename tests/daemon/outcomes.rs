//! Outcomes: each kind of fault is reported by its name, and only for the tenant that had it.

use traceprobe::sandbox::{Damage, Fault, Rejection, Service, ServiceEffect, Stage, StageEffect};

use crate::SOON;
use crate::support::metrics::Metrics;
use crate::support::stand::{Stand, delivered};

fn of(metrics: &Metrics, name: &str, tenant: &str) -> f64 {
    metrics.sum(name, &[("tenant", tenant)])
}

fn ended(metrics: &Metrics, tenant: &str, outcome: &str) -> f64 {
    metrics.sum("traceprobe_traces_total", &[("tenant", tenant), ("outcome", outcome)])
}

const LOSSY: &str = "acme";
const DOUBLING: &str = "globex";
const LEAKING: &str = "initech";
const DEAD_LETTERED: &str = "umbrella";
const DAMAGED: &str = "hooli";
const HEALTHY: &str = "stark";

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_reported_by_name_for_its_tenant_only() {
    let stand = Stand::brisk(6).await;
    let keys =
        [("PROBE_INTERVAL", "700ms"), ("PROBE_SLO", "2s"), ("PROBE_CRITICAL", "2s"), ("PROBE_GIVE_UP", "3s")];
    let daemon = stand.daemon(&keys).await;
    // A source that has never shown a tenant's canaries proves none of them lost.
    daemon
        .until("every tenant's canaries are delivered", SOON, |recent| {
            let delivered = |tenant: &str| recent.of(tenant).any(|trace| trace.outcome == "delivered");
            [LOSSY, DOUBLING, LEAKING, DEAD_LETTERED, DAMAGED, HEALTHY].into_iter().all(delivered)
        })
        .await;
    let fault = |tenant, stage, effect| stand.sandbox.fault(Fault::tenant_stage(tenant, stage, effect));
    fault(LOSSY, Stage::Transit, StageEffect::Lose { probability: 1.0 });
    fault(DOUBLING, Stage::Archive, StageEffect::Duplicate { probability: 1.0 });
    fault(LEAKING, Stage::Archive, StageEffect::Leak { probability: 1.0, into: HEALTHY.to_owned() });
    fault(DEAD_LETTERED, Stage::Transit, StageEffect::DeadLetter { probability: 1.0 });
    let damage = Damage::Mangle;
    fault(DAMAGED, Stage::Archive, StageEffect::Corrupt { probability: 1.0, damage });
    let (recent, metrics) = daemon
        .until_seen("every fault shows", SOON, |_, metrics| {
            ended(metrics, LOSSY, "lost") >= 3.0
                && of(metrics, "traceprobe_duplicates_total", DOUBLING) >= 3.0
                && of(metrics, "traceprobe_isolation_violations_total", LEAKING) >= 3.0
                && ended(metrics, DEAD_LETTERED, "dead_lettered") >= 3.0
                && of(metrics, "traceprobe_corrupted_total", DAMAGED) >= 3.0
                && ended(metrics, HEALTHY, "delivered") >= 3.0
        })
        .await;

    // Only the hop that lost it is counted.
    let at = |tenant, hop| metrics.sum("traceprobe_lost_total", &[("tenant", tenant), ("stage", hop)]);
    assert_eq!(at(LOSSY, "transit"), of(&metrics, "traceprobe_lost_total", LOSSY));
    let trace = recent.of(LOSSY).find(|trace| trace.outcome == "lost").expect("one is lost");
    assert_eq!(trace.lost_at.as_deref(), Some("transit"));
    assert_eq!(trace.stage("archive").presence, "seen");
    assert_eq!(trace.stage("transit").presence, "never");

    let stage = [("tenant", DOUBLING), ("stage", "archive")];
    assert_eq!(
        metrics.sum("traceprobe_duplicates_total", &stage),
        of(&metrics, "traceprobe_duplicates_total", DOUBLING)
    );
    let twice = recent.of(DOUBLING).filter(|trace| trace.stage("archive").copies.len() == 2).count();
    assert!(twice >= 3, "{twice}");

    let violation = recent.violations.iter().find(|seen| seen.tenant == LEAKING).expect("one leaked");
    assert_eq!(violation.stage, "archive");
    assert!(violation.found_in.contains(HEALTHY), "{violation:?}");
    assert_eq!(recent.verdict(LEAKING).condition, "leaking", "{:?}", recent.verdict(LEAKING));

    let trace = recent
        .of(DEAD_LETTERED)
        .find(|trace| trace.outcome == "dead_lettered")
        .expect("one is dead-lettered");
    assert_eq!(trace.lost_at.as_deref(), Some("dead_letter"));
    assert_eq!(trace.stage("dead_letter").presence, "seen");

    let stage = [("tenant", DAMAGED), ("stage", "archive")];
    assert!(metrics.sum("traceprobe_corrupted_total", &stage) >= 3.0);
    let damaged = |trace: &&crate::support::page::Trace| {
        trace.stage("archive").integrity.as_deref() == Some("corrupted")
    };
    assert!(recent.of(DAMAGED).any(|trace| damaged(&trace)));

    let wrong = [
        ("traceprobe_lost_total", LOSSY),
        ("traceprobe_duplicates_total", DOUBLING),
        ("traceprobe_isolation_violations_total", LEAKING),
        ("traceprobe_corrupted_total", DAMAGED),
    ];
    for (family, culprit) in wrong {
        assert_eq!(metrics.sum(family, &[]), of(&metrics, family, culprit), "{family}: {}", daemon.printed());
    }
    for tenant in [DOUBLING, LEAKING, DAMAGED, HEALTHY] {
        for outcome in ["lost", "late", "dead_lettered", "unobserved", "refused"] {
            assert_eq!(ended(&metrics, tenant, outcome), 0.0, "{tenant} {outcome}");
        }
    }
    assert!(stand.assert_intervals_hold(delivered(&recent)) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_rejected_in_a_200_answer_is_refused_with_the_reason() {
    let stand = Stand::brisk(2).await;
    let reject = Fault::RejectLogEvents { tenant: Some("acme".to_owned()), reason: Rejection::TooOld };
    stand.sandbox.fault(reject);
    let daemon = stand.daemon(&[]).await;
    let (recent, metrics) = daemon
        .until_seen("canaries are refused", SOON, |_, metrics| {
            ended(metrics, "acme", "refused") >= 3.0 && ended(metrics, "globex", "delivered") >= 3.0
        })
        .await;
    let trace = recent.of("acme").find(|trace| trace.outcome == "refused").expect("one is refused");
    assert!(trace.reason.as_deref().is_some_and(|reason| reason.contains("old")), "{trace:?}");
    assert_eq!(recent.verdict("acme").condition, "not_injecting", "{:?}", recent.verdict("acme"));
    assert_eq!(ended(&metrics, "acme", "delivered"), 0.0);
    assert_eq!(ended(&metrics, "globex", "refused"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_from_a_retried_put_is_not_charged_to_the_pipeline() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_GIVE_UP", "60s")]).await;
    // The log stream exists from now on.
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let cut = Fault::operation(Service::Logs, "PutLogEvents", ServiceEffect::CutAfter);
    let fault = stand.sandbox.fault(cut).unwrap();
    let twice = || stand.sandbox.truth().iter().any(|record| record.puts >= 2);
    let until_retried = async {
        while !twice() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, until_retried).await.expect("no put was retried");
    stand.sandbox.clear(fault);

    let (recent, metrics) = daemon
        .until_seen("a doubled canary is delivered", SOON, |recent, metrics| {
            recent.traces.iter().any(|trace| trace.doubled_by_us && trace.outcome == "delivered")
                && metrics.sum_so_far("traceprobe_uncharged_copies_total", &[("tenant", "acme")]) >= 1.0
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0, "a copy was charged to the pipeline");
    assert_eq!(ended(&metrics, "acme", "lost") + ended(&metrics, "acme", "refused"), 0.0);
    stand.assert_intervals_hold(delivered(&recent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_never_answered_is_ambiguous_and_still_delivered() {
    let stand = Stand::brisk(1).await;
    let keys = [
        ("PROBE_INTERVAL", "1s"),
        ("CANARY_SIZES", "100B"),
        ("PROBE_GIVE_UP", "60s"),
        ("PROBE_SLO", "60s"),
        ("PROBE_CRITICAL", "60s"),
    ];
    let daemon = stand.daemon(&keys).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    stand.sandbox.fault(Fault::operation(Service::Logs, "PutLogEvents", ServiceEffect::CutAfter));
    // The injector gives up after 20 s.
    let (recent, metrics) = daemon
        .until_seen("a put is ambiguous and its canary delivered", SOON, |recent, metrics| {
            metrics.sum("traceprobe_injections_total", &[("result", "ambiguous")]) >= 1.0
                && recent.traces.iter().any(|trace| trace.put == "ambiguous" && trace.outcome == "delivered")
        })
        .await;
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0, "a copy was charged to the pipeline");
    assert_eq!(ended(&metrics, "acme", "lost") + ended(&metrics, "acme", "refused"), 0.0);
    stand.assert_intervals_hold(delivered(&recent));
}
