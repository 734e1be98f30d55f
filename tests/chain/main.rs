//! The whole chain: pipelines that fail, the probe, Prometheus with the rules that `traceprobe rules` prints,
//! Alertmanager with the configuration that it prints, and a webhook.
//!
//! Every scenario of the demo runs beside the others, each under a job of its own, so that no notification mixes two.
//! Of each, the right notification must arrive and no other; it must be resolved after the end of the fault; and page,
//! JSON, metrics and alerts must say the same throughout. Beside them, two services are deployed, of which nobody is
//! told unless a task is late. All times are a tenth of the real ones, unless `TRACEPROBE_CHAIN=real` selects those
//! (`make chain`). `TRACEPROBE_CHAIN_ONLY=rolling` plays what has this in its name. A table is printed at the end.
//!
//! Together they keep two cores busy. On a slower machine, probes and pipelines starve, and alerts rightly say so: what
//! failed while the machine was busy is played once more, a few at a time.

mod alertmanager;
mod expected;
mod form;
mod play;
mod pulse;
mod rolling;
#[path = "../prometheus/server.rs"]
#[expect(dead_code, reason = "the test of the metrics uses the rest")]
mod server;
mod sink;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::{join, join_all};
use serde_json::json;
use traceprobe::daemon::clock;

use self::alertmanager::Alertmanager;
use self::expected::{Break, CASES};
use self::form::Form;
use self::play::{Chain, Row, Scene};
use self::pulse::Pulse;
use self::rolling::{Disk, Service};
use self::server::Prometheus;
use self::sink::Sink;

/// Scenes that a machine bears which does not bear all.
const FEW: usize = 4;

/// Seconds since the epoch.
fn now() -> f64 {
    clock::system().now().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_told_once_and_so_is_its_end() {
    let form = Form::chosen();
    let only = std::env::var("TRACEPROBE_CHAIN_ONLY").unwrap_or_default();
    let (mut faults, late) = play(form, "chain", |name| name.contains(&only)).await;
    if !faults.is_empty() && late > 0 {
        println!("the machine was busy. Once more, a few at a time:");
        for (name, faults) in &faults {
            println!("- {name}: {} faults, the first: {}", faults.len(), faults[0]);
        }
        let failed: Vec<&str> = faults.into_keys().collect();
        faults = Faults::new();
        for few in failed.chunks(FEW) {
            let (again, _) = play(form, "chain-again", |name| few.contains(&name)).await;
            faults.extend(again);
        }
    }
    let faults: Vec<String> = faults.into_values().flatten().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The faults of each scene that has any.
type Faults = BTreeMap<&'static str, Vec<String>>;

/// Plays these scenes beside each other and prints the table. Also returns how often the machine was busy.
async fn play(form: Form, name: &str, is_wanted: impl Fn(&str) -> bool) -> (Faults, usize) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("cannot create the folder of the test");
    let (sink, pulse) = (Sink::start().await, Pulse::start());
    // Alertmanager's configuration is that of the drill.
    let cases = CASES.iter().filter(|case| is_wanted(case.name) || case.breaks == Break::Drill);
    let scenes = join_all(cases.map(|case| Scene::set(case, form, &folder))).await;
    let disks = [Disk::Kept, Disk::Ephemeral].into_iter().filter(|disk| is_wanted(disk.job()));
    let services = join_all(disks.map(|disk| Service::set(disk, form, &folder))).await;
    let drill = scenes.iter().find(|scene| scene.case.breaks == Break::Drill).expect("there is a drill");
    let example = drill.alertmanager_example();
    let configuration = alertmanager::configuration(&example, &sink.address, drill.address());
    let alertmanager = Alertmanager::start(&folder, &configuration).await;
    let every = format!("{}ms", form.scrape().as_millis());
    let jobs = scenes
        .iter()
        .map(|scene| json!({"job_name": scene.case.name, "static_configs": [{"targets": scene.targets()}]}));
    let discovered = services
        .iter()
        .map(|service| json!({"job_name": service.job, "file_sd_configs": [{"files": [service.targets]}]}));
    let rules = scenes.iter().map(|scene| &scene.rules).chain(services.iter().map(|service| &service.rules));
    let rules: Vec<_> = rules.collect();
    let targets = scenes.iter().map(|scene| scene.targets().len()).sum::<usize>() + services.len();
    let mut config = json!({
        "global": {
            "scrape_interval": every,
            "scrape_timeout": every,
            "evaluation_interval": every,
        },
        "scrape_configs": jobs.chain(discovered).collect::<Vec<_>>(),
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}]},
    });
    let prometheus = Prometheus::start(&folder, &config).await;
    // It scrapes seconds after it is ready. With the rules, it would tell until then that no probe is up.
    let up =
        until(form.patience(), async || (prometheus.query("up == 1").await.len() >= targets).then_some(()));
    assert!(up.await.is_some(), "not every probe is scraped");
    config["rule_files"] = json!(rules);
    prometheus.reload(&folder, &config).await;
    let chain = Chain { form, sink: &sink, prometheus: &prometheus, pulse: &pulse, began: now() };
    let names: Vec<&'static str> =
        scenes.iter().map(|scene| scene.case.name).chain(services.iter().map(|it| it.job)).collect();
    let scenes = join_all(scenes.into_iter().map(|scene| chain.play(scene)));
    let services = join_all(services.into_iter().map(|service| chain.deploy(service)));
    let (played, deployed) = join(scenes, services).await;
    let rows: Vec<Vec<Row>> = played.into_iter().chain(deployed).collect();
    println!("{}", Row::HEADING);
    for row in rows.iter().flatten() {
        println!("{row}");
    }
    println!("took {:.0} s; the machine was busy {} times", now() - chain.began, pulse.late());
    let faults: Faults = names
        .into_iter()
        .zip(rows)
        .map(|(name, rows)| (name, rows.into_iter().flat_map(|row| row.faults).collect::<Vec<_>>()))
        .filter(|(_, faults)| !faults.is_empty())
        .collect();
    if faults.is_empty() {
        fs::remove_dir_all(&folder).expect("cannot remove the folder of the test");
    }
    (faults, pulse.late())
}

/// Calls `poll` until it returns a value; `None` if it does not within this time.
async fn until<T>(within: Duration, mut poll: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let polling = async {
        let mut polls = tokio::time::interval(Duration::from_millis(500));
        loop {
            polls.tick().await;
            if let Some(found) = poll().await {
                return found;
            }
        }
    };
    tokio::time::timeout(within, polling).await.ok()
}
