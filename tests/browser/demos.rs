//! The long forms: every scenario of the demo, an outage of the archive, and fifty tenants.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::driver::{Driver, Place};
use crate::support::client;
use crate::support::daemon::Daemon;
use crate::support::page::{Incident, Recent};

/// A scenario begins after a quarter of a minute, a threshold is half a minute, and an outcome takes three.
const WITHIN: Duration = Duration::from_secs(240);
/// Of demos at the same time.
const GROUP: usize = 4;

/// A demo, and what its page says of the first tenant.
struct Case {
    name: &'static str,
    scenario: &'static str,
    tenants: &'static str,
    condition: &'static str,
    place: Option<&'static str>,
    /// Whom the incident is about.
    who: &'static str,
    /// Whether the archive takes nothing.
    archive: bool,
}

const fn case(name: &'static str, condition: &'static str, place: Option<&'static str>) -> Case {
    Case { name, scenario: name, tenants: "3", condition, place, who: "acme", archive: false }
}

const CASES: [Case; 12] = [
    case("healthy", "ok", None),
    case("stall", "stuck", Some("transit")),
    case("dead-letter", "losing", Some("dead_letter")),
    case("loss", "losing", Some("transit")),
    case("leak", "leaking", Some("tenant_stream")),
    case("throttled", "cannot_see", Some("tenant_stream")),
    Case { who: "all 3 tenants", ..case("blind", "cannot_see", Some("bigquery")) },
    case("duplicate", "duplicates", Some("bigquery")),
    case("slow", "slow", Some("bigquery")),
    case("not-injecting", "not_injecting", None),
    Case {
        scenario: "healthy",
        who: "all 3 tenants",
        archive: true,
        ..case("archive", "missing", Some("archive"))
    },
    Case { scenario: "stall", tenants: "50", ..case("fifty", "stuck", Some("transit")) },
];

impl Case {
    fn is_shown(&self, recent: &Recent) -> bool {
        let verdict = recent.verdict("acme");
        let ended = |outcome| recent.ended(outcome) >= 1;
        // What was stuck is slow for some seconds before its incident is.
        let goes_on = |it: &Incident| it.condition == self.condition && it.state == "ongoing";
        verdict.condition == self.condition
            && verdict.place.as_deref() == self.place
            && (self.condition == "ok" || recent.incidents.iter().any(goes_on))
            && (self.name != "healthy" || recent.ended("delivered") >= 10)
            && (self.name != "dead-letter" || ended("dead_lettered"))
    }

    async fn begin(&self) -> (Daemon, Place) {
        let arguments =
            ["demo", "--listen", "127.0.0.1:0", "--tenants", self.tenants, "--scenario", self.scenario]
                .map(AsRef::as_ref);
        let demo = Daemon::spawn(&arguments, []).await;
        if self.archive {
            demo.until("canaries are delivered", WITHIN, |recent| recent.ended("delivered") >= 6).await;
            let printed = demo.printed();
            let admin = printed.split_whitespace().find(|word| word.ends_with("/faults"));
            let fault = json!({ "kind": "stage", "stage": "archive", "effect": "stall" });
            let request =
                client::http().post(admin.expect("the demo prints where faults are")).body(fault.to_string());
            let answer = request.header("content-type", "application/json").send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        }
        let what = format!("the page shows {}", self.name);
        demo.until(&what, WITHIN, |recent| self.is_shown(recent)).await;
        let names = match self.condition {
            "ok" => Vec::new(),
            condition => [Some(self.who), self.place, Some(condition)]
                .into_iter()
                .flatten()
                .map(|name| name.to_owned())
                .collect(),
        };
        let url = format!("{}/traces/recent", demo.address());
        (demo, Place { name: self.name, url, names })
    }
}

/// Plays all of them, some at a time, and opens their pages. `TRACEPROBE_CASES=slow,loss` plays only these.
pub async fn play(driver: &Driver) {
    let only = std::env::var("TRACEPROBE_CASES").unwrap_or_default();
    let is_wanted = |case: &&Case| only.is_empty() || only.split(',').any(|name| name == case.name);
    let (large, few): (Vec<_>, Vec<_>) =
        CASES.iter().filter(is_wanted).partition(|case| case.tenants.len() > 1);
    // Beside fifty tenants, the others would starve.
    for group in few.chunks(GROUP).chain(large.chunks(1)) {
        let (demos, places): (Vec<_>, Vec<_>) =
            join_all(group.iter().map(|case| case.begin())).await.into_iter().unzip();
        driver.open(&places).await;
        for demo in demos {
            demo.terminate(Duration::from_secs(30)).await;
        }
    }
}
