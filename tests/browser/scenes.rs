//! The brief and the short form: pipelines that break quickly.

use traceprobe::sandbox::{Fault, Service, ServiceEffect, Stage, StageEffect, TRANSIT_BUCKET};

use crate::driver::{Driver, Place};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::page::Recent;
use crate::support::stand::Stand;

/// A text that would run a script or end an attribute if a page did not escape it, and that turns the direction of
/// writing.
const HOSTILE: &str =
    "\u{202e}\"'></b></script><script>window.owned=1</script><img src=x onerror=window.owned=1>";

struct Scene {
    /// Stops when it is dropped.
    _stand: Stand,
    daemon: Daemon,
}

/// A pipeline that delivers, and then breaks.
async fn scene(tenants: usize, keys: &[(&str, &str)], faults: &[Fault], is_so: fn(&Recent) -> bool) -> Scene {
    let stand = Stand::brisk(tenants).await;
    let daemon = stand.daemon(keys).await;
    daemon
        .until("every tenant has a canary delivered", SOON, |recent| {
            recent.tenants.iter().all(|tenant| recent.of(&tenant.name).any(|it| it.outcome == "delivered"))
        })
        .await;
    for fault in faults {
        stand.sandbox.fault(fault.clone());
    }
    daemon.until("the fault is shown", SOON, is_so).await;
    Scene { _stand: stand, daemon }
}

fn shows(recent: &Recent, tenant: &str, condition: &str) -> bool {
    recent.verdict(tenant).condition == condition
}

async fn hostile() -> Scene {
    let stand = Stand::brisk(2).await;
    let keys = [("TENANT_ACME_LABEL", HOSTILE), ("PROBE_INTERVAL", "1s"), ("PROBE_GIVE_UP", "60s")];
    let daemon = stand.daemon(&keys).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    // A name that a client may choose, of an object that cannot be read and holds a row that is hostile too.
    #[expect(clippy::disallowed_methods, reason = "the key must carry the hour that the daemon lists")]
    let hour = jiff::Timestamp::now().strftime("%Y/%m/%d/%H").to_string();
    let tag = stand.sandbox.truth()[0].token.clone();
    let row = format!("{{\"message\":\"{tag} {HOSTILE}");
    stand.sandbox.put_object(TRANSIT_BUCKET, &format!("transit/{hour}/{HOSTILE}"), row.clone().into_bytes());
    stand.sandbox.put_object(TRANSIT_BUCKET, &format!("transit/{hour}/{HOSTILE}.gz"), vec![31, 139, 8, 0, 1]);
    stand.sandbox.put_record("globex", row.into_bytes());
    for service in [Service::Kinesis, Service::Bigquery] {
        stand.sandbox.fault(Fault::service(service, ServiceEffect::LongError { bytes: 2_000 }));
    }
    daemon
        .until("the page shows the errors", SOON, |recent| {
            let told = |text: &str| {
                recent.sources.iter().filter_map(|it| it.reason.as_deref()).any(|it| it.contains(text))
            };
            told("<script>")
        })
        .await;
    Scene { _stand: stand, daemon }
}

fn place(name: &'static str, scene: &Scene, path: &str, names: &[&str]) -> Place {
    Place {
        name,
        url: format!("{}{path}", scene.daemon.address()),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// The address of a canary that was lost.
async fn of_a_lost_one(scene: &Scene) -> String {
    let recent = scene.daemon.recent_of("outcome=lost&limit=1").await;
    format!("/traces/{}", recent.traces[0].id)
}

const RECENT: &str = "/traces/recent";
const CALM: [(&str, &str); 2] = [("PROBE_INTERVAL", "1s"), ("PROBE_GIVE_UP", "120s")];
/// Fifty tenants take a processor in an unoptimized build if they are polled as often as three.
const MANY: [(&str, &str); 6] = [
    ("PROBE_INTERVAL", "8s"),
    ("PROBE_GIVE_UP", "120s"),
    ("STAGE_TENANT_STREAM_INTERVAL", "8s"),
    ("STAGE_ARCHIVE_INTERVAL", "8s"),
    ("STAGE_LOG_GROUP_INTERVAL", "20s"),
    ("PROBE_BLIND_AFTER", "60s"),
];

fn stall() -> [Fault; 1] {
    [Fault::tenant_stage("acme", Stage::Transit, StageEffect::Stall)]
}

fn loss_and_leak() -> [Fault; 2] {
    let leak = StageEffect::Leak { into: "initech".to_owned(), probability: 0.5 };
    [
        Fault::tenant_stage("acme", Stage::Transit, StageEffect::Lose { probability: 0.5 }),
        Fault::tenant_stage("globex", Stage::TenantStream, leak),
    ]
}

/// A loaded machine delays a hop before, which looks like a stall for a moment.
fn is_stalled(recent: &Recent) -> bool {
    shows(recent, "acme", "stuck") && recent.verdict("acme").place.as_deref() == Some("transit")
}

async fn stalled() -> Scene {
    scene(3, &CALM, &stall(), is_stalled).await
}

async fn fifty() -> Scene {
    scene(50, &MANY, &stall(), is_stalled).await
}

async fn leaking() -> Scene {
    scene(3, &[("PROBE_INTERVAL", "1s")], &loss_and_leak(), |recent| {
        shows(recent, "globex", "leaking") && recent.ended("lost") >= 1
    })
    .await
}

/// Opens eight pages, each once. That of fifty tenants by itself: on a slow machine they would starve the others, and
/// be starved until their own stages cannot be read.
pub async fn check_briefly(driver: &Driver) {
    {
        let fifty = fifty().await;
        driver.open(&[place("fifty", &fifty, RECENT, &["acme", "transit", "stuck"])]).await;
    }
    let (stalled, leaking, hostile) = tokio::join!(stalled(), leaking(), hostile());
    let places = [
        place("stall", &stalled, RECENT, &["acme", "transit", "stuck"]),
        place("leak", &leaking, RECENT, &["globex", "tenant_stream", "leaking"]),
        place("lost", &leaking, &of_a_lost_one(&leaking).await, &[]),
        place("hostile", &hostile, RECENT, &[]),
    ];
    driver.open(&places).await;
}

/// Opens more pages in three widths, and does with them what a reader does.
pub async fn check(driver: &Driver) {
    let blind = [Fault::service(Service::Bigquery, ServiceEffect::Deny)];
    let (healthy, stalled, leaking, unseen, fifty, hostile) = tokio::join!(
        scene(3, &CALM, &[], |recent| recent.ended("delivered") >= 6),
        stalled(),
        leaking(),
        scene(3, &CALM, &blind, |recent| shows(recent, "acme", "cannot_see")),
        fifty(),
        hostile(),
    );
    let places = [
        place("healthy", &healthy, RECENT, &[]),
        place("stall", &stalled, RECENT, &["acme", "transit", "stuck"]),
        place("leak", &leaking, RECENT, &["globex", "tenant_stream", "leaking"]),
        place("blind", &unseen, RECENT, &["all 3 tenants", "bigquery", "cannot_see"]),
        place("fifty", &fifty, RECENT, &["acme", "transit", "stuck"]),
        place("lost", &leaking, &of_a_lost_one(&leaking).await, &[]),
        place("runbook", &stalled, "/runbook?tenant=acme&stage=transit", &[]),
        place("unknown", &stalled, "/traces/0192f0c1-2233-7445-8667-8899aabbccdd", &[]),
        place("hostile", &hostile, RECENT, &[]),
    ];
    driver.open(&places).await;
}
