//! SIGTERM: injection ends at once, canaries in flight may still arrive, and those that do not are named.

use std::time::Duration;

use traceprobe::sandbox::{Distribution, Fault, Stage, StageEffect};

use crate::SOON;
use crate::support::page::Recent;
use crate::support::stand::{Stand, delivered};

#[tokio::test(flavor = "multi_thread")]
async fn canaries_in_flight_arrive_after_sigterm_and_no_more_are_sent() {
    let stand = Stand::brisk(2).await;
    let delay = Distribution::Fixed { ms: 1_500.0 };
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Delay { delay }));
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "60s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("canaries are in flight", SOON, |recent| recent.in_flight().count() >= 5).await;
    let (status, printed) = daemon.terminate(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("injection has ended"), "{printed}");
    assert!(printed.contains("stopped with 0 traces in flight"), "{printed}");

    let sent = stand.sandbox.truth();
    let delivered = sent.iter().filter(|record| record.arrived(Stage::Bigquery).is_some()).count();
    assert_eq!(delivered, sent.len(), "it ended before all had arrived");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stand.sandbox.truth().len(), sent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_polled_rarely_is_polled_once_more_before_the_end() {
    let stand = Stand::brisk(1).await;
    let rarely = [("STAGE_BIGQUERY_INTERVAL", "5m"), ("PROBE_BLIND_AFTER", "20m")];
    let keys = [&rarely[..], &[("PROBE_STOP_GRACE", "5s"), ("PROBE_GIVE_UP", "60s")]].concat();
    let daemon = stand.daemon(&keys).await;
    daemon.until("canaries are in flight", SOON, |recent| recent.in_flight().count() >= 5).await;
    let (status, printed) = daemon.terminate(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(printed.contains("stopped with 0 traces in flight"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_stage_still_gets_its_sightings_after_sigterm() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "30s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("the archive has a canary", SOON, |recent| recent.seen_at("archive") >= 1).await;
    let delay = Distribution::Fixed { ms: 3_000.0 };
    stand.sandbox.fault(Fault::stage(Stage::Archive, StageEffect::Delay { delay }));
    let late = |recent: &Recent| delivered(recent).filter(|trace| !trace.is_seen_at("archive")).count() >= 3;
    daemon.until("delivered canaries are not in the archive", SOON, late).await;
    let (status, printed) = daemon.terminate(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(!printed.contains("not yet seen at archive"), "{printed}");
    assert!(printed.contains("stopped with 0 traces in flight"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_that_do_not_arrive_within_the_grace_period_are_named_and_counted_by_tenant() {
    let stand = Stand::brisk(2).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Stall));
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "1s"), ("PROBE_GIVE_UP", "60s")]).await;
    let recent = daemon.until("canaries are in flight", SOON, |recent| recent.in_flight().count() >= 5).await;
    let (status, printed) = daemon.terminate(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
    for trace in recent.in_flight() {
        assert!(printed.contains(&trace.id), "{} is not named in: {printed}", trace.id);
    }
    let last = printed.lines().find(|line| line.contains("stopped with ")).unwrap();
    let sent = stand.sandbox.truth();
    for tenant in sent.iter().map(|record| &record.tenant) {
        let count = sent.iter().filter(|record| record.tenant == *tenant).count();
        assert!(last.contains(&format!("{tenant} {count}")), "{tenant} has {count} in flight: {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_counts_can_still_be_scraped() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "20s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    // Scrapes at a regular interval show the daemon that Prometheus is scraping.
    daemon.metrics().await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        daemon.metrics().await;
    }
    daemon.signal("TERM").await;
    daemon.until_printed("stopped with 0 traces in flight", SOON).await;
    let last = daemon.metrics().await;
    assert_eq!(
        last.sum("traceprobe_traces_total", &[("outcome", "delivered")]),
        stand.sandbox.truth().len() as f64
    );
    let (status, printed) = daemon.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_what_is_in_flight_at_the_end_is_counted_in_the_last_scrape() {
    const SCRAPE_INTERVAL: Duration = Duration::from_secs(2);
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "10s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Stall));
    // As Prometheus does, until the port is closed.
    let mut ticks = tokio::time::interval(SCRAPE_INTERVAL);
    let (mut scrapes, mut last) = (0, None);
    loop {
        ticks.tick().await;
        let Some((_, scraped)) = daemon.poll().await else { break };
        (scrapes, last) = (scrapes + 1, Some(scraped));
        if scrapes == 4 {
            daemon.signal("TERM").await;
        }
    }
    let last = last.unwrap();
    let counted = |outcomes: &[(&str, &str)]| last.sum("traceprobe_traces_total", outcomes);
    let sent = stand.sandbox.truth();
    let arrived = sent.iter().filter(|record| record.arrived(Stage::Bigquery).is_some()).count();
    assert_eq!(counted(&[("outcome", "delivered")]), arrived as f64);
    assert_eq!(counted(&[("outcome", "unobserved")]), (sent.len() - arrived) as f64);
    assert_eq!(counted(&[]), sent.len() as f64);
    let (status, printed) = daemon.ended(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_does_not_delay_the_end() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "1s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    for service in traceprobe::sandbox::Service::ALL {
        stand.sandbox.fault(Fault::service(service, traceprobe::sandbox::ServiceEffect::Hang));
    }
    daemon.until("canaries are in flight", SOON, |recent| recent.in_flight().count() >= 3).await;
    // The grace period, the time that tasks have to end, and a margin for a busy machine.
    let (status, printed) = daemon.terminate(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_daemon_at_once() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Stall));
    let daemon = stand.daemon(&[("PROBE_STOP_GRACE", "110s"), ("PROBE_GIVE_UP", "60s")]).await;
    daemon.until("canaries are in flight", SOON, |recent| recent.in_flight().count() >= 1).await;
    daemon.signal("TERM").await;
    daemon.until_printed("a second signal ends it at once", SOON).await;
    daemon.signal("INT").await;
    let (status, printed) = daemon.ended(SOON).await;
    assert_eq!(status.code(), Some(130), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_canaries_in_flight_ends_early() {
    let stand = Stand::brisk(1).await;
    let keys = [("PROBE_STOP_GRACE", "110s"), ("PROBE_GIVE_UP", "60s"), ("PROBE_INTERVAL", "1h")];
    let daemon = stand.daemon(&keys).await;
    // A person has looked at the metrics twice, which makes no scrape interval.
    daemon.metrics().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon.metrics().await;
    let (status, printed) = daemon.terminate(SOON).await;
    assert_eq!(status.code(), Some(0), "{printed}");
}
