//! A session that an administrator revokes hours before it expires.
//!
//! The suite waits for canaries. With `TRACEPROBE_SESSIONS=long` ("make sessions"), the session is revoked after 25 s,
//! twice, and what became of the canaries is printed for more than a minute.

use std::time::{Duration, Instant};

use traceprobe::sandbox::{Fault, Service};

use crate::SOON;
use crate::support::daemon::Daemon;
use crate::support::stand::{Stand, delivered};

const REVOKED_AFTER: Duration = Duration::from_secs(25);
/// What the long form allows from a revocation to the next canary that is accepted.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(70);
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// How often the probe has assumed the role of a tenant.
fn assumed(stand: &Stand, tenant: &str) -> u64 {
    let tenants = stand.sandbox.tenants();
    let role = &tenants.iter().find(|one| one.name == tenant).expect("it is one of them").role_arn;
    let calls = stand.sandbox.calls().into_iter();
    let assumed = calls.filter(|call| call.service == Service::Sts && call.operation == "AssumeRole");
    assumed.filter(|call| call.resource == *role).map(|call| call.calls).sum()
}

fn revoke(stand: &Stand, tenant: &str) {
    stand.sandbox.fault(Fault::RevokeSessions { tenant: tenant.to_owned() });
}

async fn injections(daemon: &Daemon, tenant: &str, result: &str) -> f64 {
    daemon.metrics().await.sum("traceprobe_injections_total", &[("tenant", tenant), ("result", result)])
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_revocation_every_canary_is_accepted_for_one_assume_role() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[]).await;
    let started = Instant::now();
    daemon.until("canaries of both are delivered", SOON, |recent| delivered(recent).count() >= 4).await;
    assert_eq!((assumed(&stand, "acme"), assumed(&stand, "globex")), (1, 1));
    if is_long() {
        tokio::time::sleep(REVOKED_AFTER.saturating_sub(started.elapsed())).await;
    }

    let before = daemon.recent().await;
    let newest = before.of("acme").map(|trace| trace.planned_at.clone()).max().expect("there are some");
    let revoked = Instant::now();
    revoke(&stand, "acme");
    let again = |recent: &crate::support::page::Recent| {
        delivered(recent).filter(|trace| trace.tenant == "acme" && trace.planned_at > newest).count() >= 4
    };
    daemon.until("canaries are delivered again", SOON, again).await;
    assert_eq!((assumed(&stand, "acme"), assumed(&stand, "globex")), (2, 1));
    assert_eq!(injections(&daemon, "acme", "refused").await, 0.0);
    let printed = daemon.printed();
    assert!(printed.contains("role/traceprobe-inject were refused; new ones are fetched"), "{printed}");

    if is_long() {
        println!("revoked: four canaries later delivered after {:.1} s", revoked.elapsed().as_secs_f64());
        the_second_revocation_of_a_minute(&stand, &daemon).await;
    }
}

fn is_long() -> bool {
    std::env::var("TRACEPROBE_SESSIONS").is_ok_and(|form| form == "long")
}

/// Within the minute of the first one, so the role is not assumed again at once.
async fn the_second_revocation_of_a_minute(stand: &Stand, daemon: &Daemon) {
    let revoked = Instant::now();
    let accepted = injections(daemon, "acme", "accepted").await;
    revoke(stand, "acme");
    let mut refused = 0.0;
    // One put may have been on its way.
    while injections(daemon, "acme", "accepted").await < accepted + 2.0 {
        assert!(revoked.elapsed() < ACCEPTED_WITHIN, "not accepted, {refused} refused");
        refused = injections(daemon, "acme", "refused").await;
        tokio::time::sleep(WATCH_EVERY).await;
    }
    println!(
        "revoked again: {refused} canaries refused, accepted again after {:.1} s; {} AssumeRole in all",
        revoked.elapsed().as_secs_f64(),
        assumed(stand, "acme")
    );
    assert_eq!(assumed(stand, "acme"), 3);
}
