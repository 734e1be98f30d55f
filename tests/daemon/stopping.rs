//! SIGTERM: injection ends at once, what is in flight may land, and what did not is named.

use std::time::Duration;

use traceprobe::sandbox::{Distribution, Fault, Stage, StageEffect};

use crate::SOON;
use crate::support::stand::Stand;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_lands_after_sigterm_and_nothing_more_is_sent() {
    let stand = Stand::brisk(2).await;
    let delay = Distribution::Fixed { ms: 1_500.0 };
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Delay { delay }));
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "60s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("some are in flight", SOON, |recent| recent.in_flight().count() >= 5).await;
    let (status, said) = daemon.terminate(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("injection has ended"), "{said}");
    assert!(said.contains("stopped with 0 traces in flight"), "{said}");

    let sent = stand.sandbox.truth();
    let delivered = sent.iter().filter(|record| record.arrived(Stage::Bigquery).is_some()).count();
    assert_eq!(delivered, sent.len(), "it ended before all had landed");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stand.sandbox.truth().len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_land_within_the_grace_period_is_named() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Stall));
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "1s"), ("PROBE_GIVE_UP", "60s")]).await;
    let recent = daemon.until("some are in flight", SOON, |recent| recent.in_flight().count() >= 5).await;
    let (status, said) = daemon.terminate(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{said}");
    for trace in recent.in_flight() {
        assert!(said.contains(&trace.id), "{} is not named in: {said}", trace.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_last_can_still_be_scraped() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "20s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    // A rhythm, by which the daemon can tell that somebody reads.
    daemon.metrics().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    daemon.metrics().await;
    daemon.signal("TERM").await;
    daemon.until_said("stopped with 0 traces in flight", SOON).await;
    let last = daemon.metrics().await;
    assert_eq!(
        last.sum("traceprobe_traces_total", &[("outcome", "delivered")]),
        stand.sandbox.truth().len() as f64
    );
    let (status, said) = daemon.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_does_not_hold_up_the_end() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "1s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    for service in traceprobe::sandbox::Service::ALL {
        stand.sandbox.fault(Fault::service(service, traceprobe::sandbox::ServiceEffect::Hang));
    }
    daemon.until("some are in flight", SOON, |recent| recent.in_flight().count() >= 3).await;
    // The grace period, the time in which tasks may end, and a busy machine.
    let (status, said) = daemon.terminate(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{said}");
}
