//! Each scenario of `traceprobe demo` shows on the page what it announces, and only for the tenant that it
//! affects.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use futures::future::join_all;

use self::support::daemon::Daemon;
use self::support::metrics::Metrics;
use self::support::page::Recent;

/// A scenario begins after a quarter of a minute, a threshold is half a minute, and many demos share a
/// machine that may be busy.
const WITHIN: Duration = Duration::from_secs(180);

/// A scenario, and what the page must show of it.
struct Expected {
    scenario: &'static str,
    is_shown: fn(&Recent, &Metrics) -> bool,
    /// Whether no other tenant is affected.
    others_are_well: bool,
}

/// What ten pipelines on one busy machine may truly be: slower than they should.
const BUSY: [&str; 3] = ["slow", "hop_over_target", "late_injection"];

/// The tenant that is affected.
const FIRST: &str = "acme";

fn shows(recent: &Recent, condition: &str, place: Option<&str>) -> bool {
    let verdict = recent.verdict(FIRST);
    verdict.condition == condition && verdict.place.as_deref() == place
}

const SCENARIOS: [Expected; 10] = [
    Expected {
        scenario: "healthy",
        is_shown: |recent, _| recent.ended("delivered") >= 10 && shows(recent, "ok", None),
        others_are_well: false,
    },
    Expected {
        scenario: "stall",
        is_shown: |recent, _| shows(recent, "stuck", Some("transit")),
        others_are_well: true,
    },
    Expected {
        scenario: "loss",
        is_shown: |recent, _| shows(recent, "missing", Some("transit")),
        others_are_well: true,
    },
    Expected {
        scenario: "dead-letter",
        is_shown: |recent, _| shows(recent, "losing", Some("dead_letter")),
        others_are_well: true,
    },
    Expected {
        scenario: "leak",
        is_shown: |recent, _| shows(recent, "leaking", Some("tenant_stream")),
        others_are_well: true,
    },
    Expected {
        scenario: "throttled",
        is_shown: |recent, _| shows(recent, "cannot_see", Some("tenant_stream")),
        others_are_well: true,
    },
    Expected {
        scenario: "blind",
        is_shown: |recent, metrics| {
            shows(recent, "cannot_see", Some("bigquery"))
                && metrics.sum("traceprobe_lost_total", &[]) == 0.0
                && metrics.sum("traceprobe_stage_blind", &[("stage", "bigquery")]) >= 2.0
        },
        others_are_well: false,
    },
    Expected {
        scenario: "duplicate",
        is_shown: |recent, metrics| {
            metrics.sum("traceprobe_duplicates_total", &[("tenant", FIRST), ("stage", "bigquery")]) >= 1.0
                && shows(recent, "duplicates", Some("bigquery"))
        },
        others_are_well: true,
    },
    Expected {
        scenario: "slow",
        is_shown: |recent, _| {
            let is_slow =
                |trace: &&support::page::Trace| trace.outcome == "delivered" && trace.judgement == "slow";
            shows(recent, "slow", Some("bigquery")) && recent.of(FIRST).any(|trace| is_slow(&trace))
        },
        others_are_well: true,
    },
    Expected {
        scenario: "not-injecting",
        is_shown: |recent, _| shows(recent, "not_injecting", None),
        others_are_well: true,
    },
];

async fn play(expected: &Expected) {
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--tenants", "2", "--scenario", expected.scenario]
        .map(AsRef::as_ref);
    let demo = Daemon::spawn(&arguments, []).await;
    let what = format!("the page shows scenario {}", expected.scenario);
    let (recent, _) = demo.until_seen(&what, WITHIN, expected.is_shown).await;
    if expected.others_are_well {
        for tenant in recent.tenants.iter().filter(|tenant| tenant.name != FIRST) {
            let verdict = &tenant.verdict;
            let is_well =
                ["ok", "waiting"].contains(&&*verdict.condition) || BUSY.contains(&&*verdict.condition);
            assert!(is_well, "{}: {verdict:?}", expected.scenario);
        }
    }
    // A closed terminal ends a demo, too: it has nothing to read again.
    demo.signal(if expected.scenario == "slow" { "HUP" } else { "TERM" }).await;
    let (status, said) = demo.ended(Duration::from_secs(30)).await;
    assert!(!said.contains("http://127.0.0.1:0"), "{said}");
    assert!(status.success(), "{status}: {said}");
    let told = if expected.scenario == "healthy" { "nothing will be broken" } else { "look for: " };
    assert!(said.contains(told), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_shows_what_it_announces() {
    join_all(SCENARIOS.iter().map(play)).await;
}
