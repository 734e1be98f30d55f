//! A new configuration while the daemon runs: what is new begins, what is removed ends, and nothing else notices.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use traceprobe::sandbox::{Arrival, Stage};

use crate::SOON;
use crate::support::daemon::Daemon;
use crate::support::page::Recent;
use crate::support::stand::{Stand, variables};

/// The names of the sandbox's first tenants.
fn names(stand: &Stand) -> Vec<String> {
    stand.sandbox.tenants().iter().map(|tenant| tenant.name.clone()).collect()
}

/// The configuration as a file of its own, with these tenants only. `amend` may change the rest.
fn write(stand: &Stand, path: &Path, tenants: &[String], amend: impl Fn(&mut toml::Table)) {
    let text = fs::read_to_string(stand.config()).expect("it was just written");
    let mut config: toml::Table = text.parse().expect("it is TOML");
    let all = config.get_mut("tenant").and_then(toml::Value::as_array_mut).expect("it has tenants");
    let is_kept = |table: &toml::Value| {
        let name = table.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        tenants.iter().any(|tenant| tenant == name)
    };
    all.retain(is_kept);
    amend(&mut config);
    fs::write(path, config.to_string()).expect("cannot write the configuration");
}

fn as_it_is(_: &mut toml::Table) {}

fn file(stand: &Stand) -> PathBuf {
    stand.config().with_file_name("reloaded.toml")
}

async fn start(path: &Path, keys: &[(&str, &str)]) -> Daemon {
    Daemon::start(path, variables(keys)).await
}

async fn reload(daemon: &Daemon) -> (u16, String) {
    daemon.post_without_body("/-/reload").await
}

fn in_force(metrics: &crate::support::metrics::Metrics) -> f64 {
    metrics.sum("traceprobe_config_last_reload_successful", &[])
}

/// When a canary was planned: the first 48 bits of its id (RFC 9562, UUID version 7).
fn planned_millis(id: &str) -> u64 {
    u64::from_str_radix(&id[..12], 16).expect("a trace id is hexadecimal")
}

/// The numbers of canaries that truly reached the end, by tenant.
fn delivered(stand: &Stand, tenant: &str) -> usize {
    let arrived = |arrival: &Arrival| arrival.stage == Stage::Bigquery;
    let truth = stand.sandbox.truth();
    truth.iter().filter(|record| record.tenant == tenant && record.arrivals.iter().any(arrived)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_come_and_go_under_load_and_no_outcome_is_lost_or_false() {
    let stand = Stand::brisk(15).await;
    let (all, path) = (names(&stand), file(&stand));
    let (stay, leave, come) = (&all[..5], &all[5..10], &all[10..]);
    write(&stand, &path, &all[..10], as_it_is);
    // Long, so that a machine without a free processor is not taken for a loss.
    let keys = [
        ("PROBE_INTERVAL", "2s"),
        ("WEB_RELOAD", "true"),
        ("PROBE_GIVE_UP", "60s"),
        ("PROBE_BLIND_AFTER", "30s"),
        // Nobody was here before, and outcomes are counted at once.
        ("PROBE_HANDOVER", "0s"),
    ];
    let daemon = start(&path, &keys).await;
    daemon.until("canaries of all are delivered", SOON, |recent| recent.ended("delivered") >= 15).await;

    // Broken, mended, and five go as five come.
    fs::write(&path, "[probe]\nintervall = \"1s\"\n[[tenant]]\nname = \"a b\"\n").unwrap();
    let (status, text) = reload(&daemon).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("intervall") && text.contains("tenant") && text.contains("stage"), "{text}");
    let before = daemon.metrics().await;
    assert_eq!(in_force(&before), 0.0);
    daemon
        .until("the page says so", SOON, |recent| {
            recent.conditions.iter().any(|it| it.condition == "reload_failed")
        })
        .await;
    write(&stand, &path, &[stay, come].concat(), as_it_is);
    let (status, text) = reload(&daemon).await;
    assert_eq!(status, 200, "{text}");
    for name in leave.iter().chain(come) {
        assert!(text.contains(name.as_str()), "{text}");
    }

    // Those who came are measured.
    let seen = |recent: &Recent, tenant: &String| recent.of(tenant).any(|trace| trace.outcome == "delivered");
    daemon.until("those who came are delivered", SOON, |recent| come.iter().all(|it| seen(recent, it))).await;
    // What was in flight of those who left has its outcome.
    daemon
        .until("those who left have no open canary", SOON, |recent| {
            recent.in_flight().all(|trace| !leave.contains(&trace.tenant))
        })
        .await;
    let (recent, metrics) = (daemon.recent().await, daemon.metrics().await);
    assert_eq!(in_force(&metrics), 1.0);
    assert!(recent.conditions.iter().all(|it| it.condition != "reload_failed"), "{:?}", recent.conditions);
    for tenant in leave {
        let of = [("tenant", tenant.as_str())];
        let ended = metrics.sum("traceprobe_traces_total", &of);
        let delivered_of = [("tenant", tenant.as_str()), ("outcome", "delivered")];
        let outcomes: Vec<_> = recent.of(tenant).map(|trace| (&trace.outcome, &trace.put)).collect();
        assert_eq!(metrics.sum("traceprobe_traces_total", &delivered_of), ended, "{tenant}: {outcomes:?}");
        assert_eq!(
            delivered(&stand, tenant) as f64,
            ended,
            "{tenant}: every canary that was put has its outcome"
        );
        let taken = [("tenant", tenant.as_str()), ("result", "accepted")];
        assert_eq!(
            metrics.sum("traceprobe_injections_total", &taken),
            ended,
            "{tenant} gets no more canaries"
        );
    }
    for tenant in stay {
        let of = [("tenant", tenant.as_str())];
        for name in ["traceprobe_traces_total", "traceprobe_observer_polls_total"] {
            let labels: &[(&str, &str)] =
                if name.contains("polls") { &[("owner", tenant.as_str())] } else { &of };
            let (now, then) = (metrics.sum(name, labels), before.sum(name, labels));
            assert!(now >= then, "{name} of {tenant} went back from {then} to {now}");
        }
        let missed = [("tenant", tenant.as_str()), ("result", "missed")];
        let (now, then) = (
            metrics.sum("traceprobe_injections_total", &missed),
            before.sum("traceprobe_injections_total", &missed),
        );
        assert_eq!(now, then, "{tenant} missed a canary");
    }
    let bad: Vec<_> = recent
        .traces
        .iter()
        .filter(|trace| !["delivered", "in_flight"].contains(&trace.outcome.as_str()))
        .map(|trace| (&trace.tenant, &trace.outcome))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    // The schedules of the others went on: no two canaries are further apart than two intervals.
    for tenant in stay {
        let mut planned: Vec<u64> = recent.of(tenant).map(|trace| planned_millis(&trace.id)).collect();
        planned.sort_unstable();
        let longest = planned.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest.is_some_and(|gap| gap < 4_000), "{tenant}: {longest:?} ms between two canaries");
    }
    let (status, printed) = daemon.terminate(SOON).await;
    assert!(status.success(), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_comes_and_goes_while_canaries_are_in_flight() {
    let stand = Stand::brisk(2).await;
    let (all, path) = (names(&stand), file(&stand));
    let without_archive = |config: &mut toml::Table| {
        let stages = config.get_mut("stage").and_then(toml::Value::as_array_mut).expect("it has stages");
        stages.retain(|stage| stage.get("name").and_then(toml::Value::as_str) != Some("archive"));
    };
    write(&stand, &path, &all, without_archive);
    let daemon = start(&path, &[("WEB_RELOAD", "true")]).await;
    daemon.until("canaries are delivered", SOON, |recent| recent.ended("delivered") >= 4).await;
    write(&stand, &path, &all, as_it_is);
    let (status, text) = reload(&daemon).await;
    assert_eq!((status, text.trim()), (200, "in force; stages added: archive"));
    daemon.until("canaries are seen there", SOON, |recent| recent.seen_at("archive") >= 4).await;
    write(&stand, &path, &all, without_archive);
    let (status, text) = reload(&daemon).await;
    assert_eq!((status, text.trim()), (200, "in force; stages removed: archive"));
    let ended = daemon.recent().await.ended("delivered");
    let recent =
        daemon.until("more are delivered", SOON, |recent| recent.ended("delivered") > ended + 4).await;
    assert!(recent.traces.iter().all(|trace| ["delivered", "in_flight"].contains(&trace.outcome.as_str())));
    let scrape = daemon.get("/metrics").await;
    assert!(!scrape.contains("stage=\"archive\""), "a stage that is gone has no series");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_refused_by_key_and_a_signal_reloads() {
    let stand = Stand::brisk(2).await;
    let (all, path) = (names(&stand), file(&stand));
    write(&stand, &path, &all[..1], as_it_is);
    let daemon = start(&path, &[]).await;
    let (status, text) = reload(&daemon).await;
    assert_eq!(status, 404, "{text}");
    write(&stand, &path, &all, |config| {
        let probe = config.get_mut("probe").and_then(toml::Value::as_table_mut).expect("it is a table");
        probe.insert("give_up".to_owned(), "6s".into());
    });
    daemon.signal("HUP").await;
    daemon.until_printed("probe.give_up: \"5s\" is in force, the file has \"6s\"", SOON).await;
    assert!(daemon.recent().await.of(&all[1]).next().is_none());
    write(&stand, &path, &all, as_it_is);
    daemon.signal("HUP").await;
    daemon.until("the second tenant is measured", SOON, |recent| recent.of(&all[1]).next().is_some()).await;
    let (status, printed) = daemon.terminate(Duration::from_secs(30)).await;
    assert!(status.success(), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_holds_polls_back_is_on_the_page_until_a_reload_raises_it() {
    let stand = Stand::brisk(1).await;
    let (all, path) = (names(&stand), file(&stand));
    let budget = |calls: i64| {
        move |config: &mut toml::Table| {
            let table = toml::Table::from_iter([("kinesis_calls".to_owned(), toml::Value::Integer(calls))]);
            config.insert("budgets".to_owned(), table.into());
        }
    };
    write(&stand, &path, &all, budget(2));
    let daemon = start(&path, &[("WEB_RELOAD", "true"), ("PROBE_BLIND_AFTER", "60s")]).await;
    let held = |recent: &Recent| {
        recent.conditions.iter().any(|it| it.condition == "over_budget" && it.severity == "warning")
    };
    daemon.until("the page says that polls are held back", SOON, held).await;
    let page = daemon.html().await;
    assert!(page.contains("budgets.kinesis_calls"), "{page}");
    write(&stand, &path, &all, budget(100_000_000));
    let (status, text) = reload(&daemon).await;
    assert_eq!((status, text.trim()), (200, "in force; changed: budgets.kinesis_calls"));
    daemon.until("polls go on", SOON, |recent| !held(recent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_told_by_key_and_the_limit_of_canaries_in_flight_follows() {
    let stand = Stand::brisk(2).await;
    let (all, path) = (names(&stand), file(&stand));
    write(&stand, &path, &all, as_it_is);
    let daemon = start(&path, &[("WEB_RELOAD", "true")]).await;
    // Each is followed for 15 s, and two more are due by then.
    daemon.until_printed("a total stall puts up to 104 canaries in flight", SOON).await;
    write(&stand, &path, &all, |config| {
        let tenants = config.get_mut("tenant").and_then(toml::Value::as_array_mut).expect("it has tenants");
        let first = tenants[0].as_table_mut().expect("it is a table");
        first.insert("interval".to_owned(), "1s".into());
    });
    let (status, text) = reload(&daemon).await;
    assert_eq!((status, text.trim()), (200, &*format!("in force; changed: tenant.{}.interval", all[0])));
    daemon.until_printed("a total stall puts up to 69 canaries in flight", SOON).await;
    let (status, text) = reload(&daemon).await;
    assert_eq!((status, text.trim()), (200, "in force; nothing changed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_in_a_variable_cannot_be_read_again_and_the_daemon_goes_on() {
    let stand = Stand::brisk(1).await;
    let text = fs::read_to_string(stand.config()).expect("it was just written");
    let daemon = Daemon::spawn(&["run".as_ref()], variables(&[("CONFIG_TEXT", text.as_str())])).await;
    daemon.signal("HUP").await;
    let refused = "TRACEPROBE_CONFIG_TEXT, which cannot change while the process runs; restart it";
    daemon.until_printed(refused, SOON).await;
    let ended = daemon.recent().await.ended("delivered");
    daemon.until("canaries are still delivered", SOON, |recent| recent.ended("delivered") >= ended + 3).await;
    let (status, printed) = daemon.terminate(SOON).await;
    assert!(status.success(), "{printed}");
}
