//! The metrics agree with the page, and both show what is unknown as unknown.

use std::collections::BTreeSet;
use std::time::Duration;

use traceprobe::daemon::clock;
use traceprobe::domain::time::Timestamp;
use traceprobe::sandbox::{Damage, Fault, Service, ServiceEffect, Stage, StageEffect};

use crate::SOON;
use crate::support::daemon::Daemon;
use crate::support::health::until_delivered;
use crate::support::metrics::Metrics;
use crate::support::page::{self, Recent};
use crate::support::stand::{Stand, variables};

const HOPS: [&str; 4] = ["tenant_stream", "archive", "transit", "bigquery"];

/// The page and the metrics at one instant: nothing was counted while they were fetched.
async fn consistent_snapshot(daemon: &Daemon) -> (Recent, Metrics) {
    let arrivals = |metrics: &Metrics| {
        [
            metrics.sum("traceprobe_detection_delay_seconds_count", &[]),
            metrics.sum("traceprobe_hop_latency_seconds_count", &[]),
            metrics.sum("traceprobe_e2e_latency_seconds_count", &[]),
        ]
    };
    let polling = async {
        loop {
            let before = daemon.metrics().await;
            // The snapshot that the page shows may be a quarter of a second old.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let recent = daemon.recent().await;
            let metrics = daemon.metrics().await;
            if arrivals(&before) == arrivals(&metrics) {
                return (recent, metrics);
            }
        }
    };
    tokio::time::timeout(SOON, polling).await.expect("the metrics never stop changing")
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-3 * one.abs().max(1.0)
}

fn stages_of<'a>(recent: &'a Recent, stage: &'a str) -> impl Iterator<Item = &'a page::Stage> {
    recent.traces.iter().map(move |trace| trace.stage(stage)).filter(|at| at.presence == "seen")
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_match_the_page() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "2s"), ("PROBE_GIVE_UP", "60s")]).await;
    let everywhere = |recent: &Recent| HOPS.iter().all(|stage| stages_of(recent, stage).count() >= 4);
    daemon.until("four canaries were seen at every stage", SOON, everywhere).await;
    let (recent, metrics) = consistent_snapshot(&daemon).await;
    for stage in HOPS {
        let seen: Vec<_> = stages_of(&recent, stage).collect();
        let of_stage = [("stage", stage)];
        let both = |name: &str, shown: f64| {
            let (count, sum) = (
                metrics.sum(&format!("{name}_count"), &of_stage),
                metrics.sum(&format!("{name}_sum"), &of_stage),
            );
            assert_eq!(count, seen.len() as f64, "{name} of {stage}");
            assert!(close(sum, shown), "{name} of {stage}: {sum}, but the page's values add up to {shown}");
        };
        let width = |at: &&page::Stage| (at.latest.unwrap() - at.earliest.unwrap()) as f64 / 1e6;
        let delay = |at: &&page::Stage| (at.noticed_at.unwrap() - at.latest.unwrap()).max(0) as f64 / 1e6;
        both("traceprobe_arrival_uncertainty_seconds", seen.iter().map(width).sum());
        both("traceprobe_detection_delay_seconds", seen.iter().map(delay).sum());

        let hop = [("stage", stage)];
        let took: Vec<f64> = seen.iter().filter_map(|at| at.hop_latency_seconds).collect();
        assert_eq!(metrics.sum("traceprobe_hop_latency_seconds_count", &hop), took.len() as f64, "{stage}");
        let sum = metrics.sum("traceprobe_hop_latency_seconds_sum", &hop);
        assert!(close(sum, took.iter().sum()), "{stage}: {sum}, {took:?}");
        for bound in ["0.05", "0.25", "1.0", "5.0"] {
            let within = took.iter().filter(|took| **took <= bound.parse().unwrap()).count();
            let bucket = [("stage", stage), ("le", bound)];
            assert_eq!(
                metrics.sum("traceprobe_hop_latency_seconds_bucket", &bucket),
                within as f64,
                "{stage} {bound}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_over_time_match_the_page_and_survive_a_kill() {
    let stand = Stand::brisk(1).await;
    let store = stand.config().with_file_name("store.db");
    let keys = [
        ("PROBE_INTERVAL", "500ms"),
        ("PROBE_GIVE_UP", "60s"),
        ("STORE_PATH", store.to_str().expect("the path is text")),
    ];
    let delivered =
        |recent: &Recent| recent.traces.iter().filter(|trace| trace.outcome == "delivered").count();
    let daemon = stand.daemon(&keys).await;
    daemon.until("five canaries were delivered", SOON, |recent| delivered(recent) >= 5).await;
    let before = history(&daemon).await;
    daemon.signal("KILL").await;
    daemon.ended(SOON).await;

    let daemon = stand.daemon(&keys).await;
    daemon.until("ten canaries were delivered", SOON, |recent| delivered(recent) >= 10).await;
    let agree = async {
        loop {
            let (first, recent, second) =
                (history(&daemon).await, daemon.recent().await, history(&daemon).await);
            if first == second && delivered(&recent) as u64 == first.met {
                return first;
            }
        }
    };
    let after = tokio::time::timeout(SOON, agree).await.expect("the figures are never those of the page");
    assert_eq!(after.known_since, before.known_since);
    assert!(after.canaries >= before.canaries && after.met >= 10, "{before:?}, {after:?}");
}

/// The sum of all minutes, end to end.
#[derive(Debug, PartialEq)]
struct History {
    known_since: String,
    canaries: u64,
    met: u64,
}

async fn history(daemon: &Daemon) -> History {
    let answer = daemon.get("/history?stage=end_to_end").await;
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("the answer is JSON");
    let buckets: Vec<_> = answer["tenants"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|tenant| tenant["buckets"].as_array().into_iter().flatten())
        .collect();
    History {
        known_since: answer["known_since"].as_str().unwrap_or_default().to_owned(),
        canaries: buckets.iter().filter_map(|bucket| bucket["canaries"].as_u64()).sum(),
        met: buckets.iter().filter_map(|bucket| bucket["hops"][0]["met"].as_u64()).sum(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_hop_is_counted_before_the_canary_arrives() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::TenantStream, StageEffect::Stall));
    let keys =
        [("PROBE_INTERVAL", "1s"), ("PROBE_SLO", "60s"), ("PROBE_CRITICAL", "60s"), ("PROBE_GIVE_UP", "5m")];
    let daemon = stand.daemon(&keys).await;
    let hop = [("stage", "tenant_stream")];
    let hops = |recent: &Recent, state: &str| -> BTreeSet<String> {
        let matching = recent.traces.iter().filter(|trace| trace.stage("tenant_stream").hop_state == state);
        matching.map(|trace| trace.id.clone()).collect()
    };
    let (recent, metrics) = daemon
        .until_seen("hops are overdue", SOON, |recent, metrics| {
            let waits = recent.in_flight().any(|trace| trace.next_stage.as_deref() == Some("tenant_stream"));
            let counted = metrics.sum("traceprobe_hop_latency_seconds_count", &hop);
            waits && counted >= 3.0 && hops(recent, "overdue").len() >= 3
        })
        .await;
    // The target is 1 s, and nothing has arrived.
    for bound in ["1.0", "60.0"] {
        let within = [("stage", "tenant_stream"), ("le", bound)];
        assert_eq!(metrics.sum("traceprobe_hop_latency_seconds_bucket", &within), 0.0);
    }
    assert_eq!(metrics.sum("traceprobe_e2e_latency_seconds_count", &[]), 0.0);
    // The oldest is labelled by the hop that it waits for.
    let oldest = metrics.sum("traceprobe_oldest_in_flight_seconds", &[("stage", "tenant_stream")]);
    assert!(oldest >= 1.0, "{oldest}");
    assert_eq!(metrics.sum("traceprobe_oldest_in_flight_seconds", &[("stage", "bigquery")]), 0.0);
    let overdue = hops(&recent, "overdue");

    stand.sandbox.clear_all();
    // The stream has its own poll interval, and on a busy machine is read long after the table that shows
    // them delivered.
    daemon
        .until("the overdue hops are measured", SOON, |recent| overdue.is_subset(&hops(recent, "measured")))
        .await;
    let counted = daemon.metrics().await.sum("traceprobe_hop_latency_seconds_count", &hop);
    let counted_at = clock::system().now();
    // The page may be older than the scrape, so it is polled until it shows as many hops. Canaries planned
    // after the scrape are left out, or they would hide that an earlier one was counted twice.
    let all_shown = |recent: &Recent| {
        let before = |trace: &&page::Trace| {
            Timestamp::parse_rfc3339(&trace.planned_at).expect("planned_at is RFC 3339") <= counted_at
        };
        let made = |trace: &&page::Trace| {
            ["measured", "overdue"].contains(&&*trace.stage("tenant_stream").hop_state)
        };
        recent.traces.iter().filter(before).filter(made).count() as f64 >= counted
    };
    let what = format!("{counted} hops were each counted once");
    let recent = daemon.until(&what, SOON, all_shown).await;
    // A hop is counted before the page shows it.
    let shown = hops(&recent, "measured").len() + hops(&recent, "overdue").len();
    let counted = daemon.metrics().await.sum("traceprobe_hop_latency_seconds_count", &hop);
    assert!(shown as f64 <= counted, "{shown} hops are shown, but only {counted} were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unstamped_arrival_while_the_stage_was_blind_is_unjudged() {
    let stand = Stand::brisk(1).await;
    let path = stand.config();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("time_column = \"ingest_time\"\n", "")).unwrap();
    let keys = variables(&[("PROBE_INTERVAL", "1s"), ("PROBE_GIVE_UP", "60s"), ("PROBE_BLIND_AFTER", "60s")]);
    let daemon = Daemon::start(&path, keys).await;
    until_delivered(&daemon, 2.0).await;
    let blind = stand.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Deny)).unwrap();
    // The threshold is 3 s.
    daemon
        .until_seen("canaries are past the threshold", SOON, |_, metrics| {
            metrics.sum("traceprobe_oldest_in_flight_seconds", &[]) > 6.0
        })
        .await;
    stand.sandbox.clear(blind);
    let unjudged =
        |recent: &Recent| recent.traces.iter().filter(|trace| trace.judgement == "unjudged").count();
    daemon.until("the late arrivals are found", SOON, |recent| unjudged(recent) >= 2).await;
    let (recent, metrics) = consistent_snapshot(&daemon).await;
    assert_eq!(metrics.sum("traceprobe_unjudged_traces_total", &[]), unjudged(&recent) as f64);
    let judged =
        recent.traces.iter().filter(|trace| ["good", "slow", "overdue"].contains(&&*trace.judgement)).count();
    for series in ["traceprobe_e2e_latency_seconds_count", "traceprobe_slo_traces_total"] {
        assert_eq!(metrics.sum(series, &[]), judged as f64, "{series}");
    }
    assert!(recent.traces.iter().all(|trace| !trace.has_ended() || trace.outcome == "delivered"));
    stand.assert_intervals_hold(crate::support::stand::delivered(&recent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_beyond_its_allowance_is_counted_and_changes_no_outcome() {
    let stand = Stand::brisk(1).await;
    // Rows are stamped seconds before the transit object that they came from.
    stand.sandbox.fault(Fault::ClockOffset { service: Service::Bigquery, ms: -5_000 });
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "1s"), ("PROBE_GIVE_UP", "60s")]).await;
    until_delivered(&daemon, 4.0).await;
    let (recent, metrics) = consistent_snapshot(&daemon).await;
    let inversions = metrics.sum("traceprobe_clock_inversions_total", &[("stage", "bigquery")]);
    assert!(inversions >= 4.0, "{inversions}");
    assert_eq!(
        inversions,
        metrics.sum("traceprobe_clock_inversions_total", &[]),
        "an inversion at a stage whose clock is right"
    );
    assert!(recent.traces.iter().all(|trace| !trace.has_ended() || trace.outcome == "delivered"));
    stand.assert_intervals_hold(crate::support::stand::delivered(&recent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_body_is_reported_with_its_intact_length() {
    let stand = Stand::brisk(1).await;
    let damage = Damage::Truncate { bytes: 200 };
    stand.sandbox.fault(Fault::stage(Stage::Archive, StageEffect::Corrupt { probability: 1.0, damage }));
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "1s"), ("CANARY_SIZES", "500B")]).await;
    let cut = |recent: &Recent| {
        stages_of(recent, "archive").filter(|at| at.integrity.as_deref() == Some("corrupted")).count()
    };
    daemon.until("truncated bodies are reported", SOON, |recent| cut(recent) >= 2).await;
    let (recent, metrics) = consistent_snapshot(&daemon).await;
    let corrupted = metrics.sum("traceprobe_corrupted_total", &[("stage", "archive")]);
    assert_eq!(corrupted, cut(&recent) as f64);
    assert_eq!(
        corrupted,
        metrics.sum("traceprobe_corrupted_total", &[]),
        "a corruption at a stage with intact bodies"
    );
    for at in stages_of(&recent, "archive") {
        assert!(at.kept_bytes.is_some_and(|kept| (150..=200).contains(&kept)), "{at:?}");
    }
}
