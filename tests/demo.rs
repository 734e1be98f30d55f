//! What `traceprobe demo --scenario …` promises a person, the page shows: each bad night under its own name, and only
//! for the tenant that has it.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use futures::future::join_all;

use self::support::daemon::Daemon;
use self::support::metrics::Metrics;
use self::support::page::Recent;

/// All is well for a quarter of a minute, a threshold is half a minute, and many demos share a machine that may be busy.
const WITHIN: Duration = Duration::from_secs(180);

/// A scenario, and whether the page shows what it is about.
struct Promise {
    scenario: &'static str,
    is_kept: fn(&Recent, &Metrics) -> bool,
    /// Whether the other tenants have nothing to do with it.
    others_are_well: bool,
}

/// The tenant that suffers.
const FIRST: &str = "acme";

fn says(recent: &Recent, condition: &str, place: Option<&str>) -> bool {
    let verdict = recent.verdict(FIRST);
    verdict.condition == condition && verdict.place.as_deref() == place
}

const PROMISES: [Promise; 10] = [
    Promise {
        scenario: "healthy",
        is_kept: |recent, _| recent.ended("delivered") >= 10 && says(recent, "ok", None),
        others_are_well: false,
    },
    Promise {
        scenario: "stall",
        is_kept: |recent, _| says(recent, "stuck", Some("transit")),
        others_are_well: true,
    },
    Promise { scenario: "loss", is_kept: |recent, _| says(recent, "slow", None), others_are_well: true },
    Promise {
        scenario: "dead-letter",
        is_kept: |recent, _| says(recent, "losing", Some("dead_letter")),
        others_are_well: true,
    },
    Promise {
        scenario: "leak",
        is_kept: |recent, _| says(recent, "leaking", Some("tenant_stream")),
        others_are_well: true,
    },
    Promise {
        scenario: "throttled",
        is_kept: |recent, _| says(recent, "cannot_see", Some("tenant_stream")),
        others_are_well: true,
    },
    Promise {
        scenario: "blind",
        is_kept: |recent, metrics| {
            says(recent, "cannot_see", Some("bigquery"))
                && metrics.sum("traceprobe_lost_total", &[]) == 0.0
                && metrics.sum("traceprobe_stage_blind", &[("stage", "bigquery")]) >= 2.0
        },
        others_are_well: false,
    },
    Promise {
        scenario: "duplicate",
        is_kept: |recent, metrics| {
            metrics.sum("traceprobe_duplicates_total", &[("tenant", FIRST), ("stage", "bigquery")]) >= 1.0
                && says(recent, "ok", None)
        },
        others_are_well: true,
    },
    Promise {
        scenario: "slow",
        is_kept: |recent, _| {
            let took =
                |trace: &&support::page::Trace| trace.outcome == "delivered" && trace.judgement == "slow";
            says(recent, "slow", None) && recent.of(FIRST).any(|trace| took(&trace))
        },
        others_are_well: true,
    },
    Promise {
        scenario: "not-injecting",
        is_kept: |recent, _| says(recent, "not_injecting", None),
        others_are_well: true,
    },
];

async fn play(promise: &Promise) {
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--tenants", "2", "--scenario", promise.scenario]
        .map(AsRef::as_ref);
    let demo = Daemon::spawn(&arguments, []).await;
    let what = format!("the page shows what scenario {} is about", promise.scenario);
    let (recent, _) = demo.until_seen(&what, WITHIN, promise.is_kept).await;
    if promise.others_are_well {
        for tenant in recent.tenants.iter().filter(|tenant| tenant.name != FIRST) {
            let verdict = &tenant.verdict;
            assert!(["ok", "waiting"].contains(&&*verdict.condition), "{}: {verdict:?}", promise.scenario);
        }
    }
    let (status, said) = demo.terminate(Duration::from_secs(30)).await;
    assert!(status.success(), "{status}: {said}");
    let told = if promise.scenario == "healthy" { "nothing will be broken" } else { "look for: " };
    assert!(said.contains(told), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_shows_what_it_promises() {
    join_all(PROMISES.iter().map(play)).await;
}
