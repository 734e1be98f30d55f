//! A load through the pipeline, compared with what the pipeline itself recorded. `TRACEPROBE_LOAD=long` sends the
//! shipped baseline for five minutes, otherwise it is twenty seconds at half its rate.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use traceprobe::domain::tag::TraceId;

use super::{CLOCK_ALLOWANCE_US, Scene};
use crate::support::pipeline::{Between, Truth};

/// What a report may add to the instant at which a stage with stamps in ms had a canary: the default
/// `clock_allowance` and the millisecond to which the stamp was cut, on both sides.
const STAMPED_S: f64 = 0.110;
/// The same for S3, whose stamps are whole seconds.
const STAMPED_IN_SECONDS_S: f64 = 1.110;
/// Percentiles of reports are exact to 0.4 %.
const EXACT: f64 = 1.005;
/// The table is polled each 2 s and says of a row only when it was written at the earliest.
const WIDEST_S: f64 = 3.5;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_reports_what_the_pipeline_recorded() {
    let is_long = std::env::var("TRACEPROBE_LOAD").is_ok_and(|form| form == "long");
    let (rate, seconds) = if is_long { (10, 300) } else { (5, 20) };
    let scene = Scene::set("load").await;
    let text = std::fs::read_to_string(&scene.config).expect("it was written");
    std::fs::write(&scene.config, format!("{text}\n[load]\nallow = [\"acme\", \"globex\"]\n"))
        .expect("it was written before");

    let report = load(&scene, rate, seconds).await;

    let truth = scene.pipeline.truth();
    let totals = &report["totals"];
    let count = |key: &str| totals[key].as_u64().unwrap_or_else(|| panic!("no {key} in {totals:#}"));
    assert_eq!(count("accepted"), u64::from(rate * seconds), "{totals:#}");
    for key in
        ["missed", "ambiguous", "refused", "lost", "late", "unknown", "duplicates", "leaks", "corrupted"]
    {
        assert_eq!(count(key), 0, "{key}: {totals:#}");
    }
    assert_eq!(truth.at("tenant_stream").len() as u64, count("accepted"), "canaries in the stream");
    assert_eq!(truth.at("bigquery").len() as u64, count("arrived"), "canaries in the table");

    let hops = report["hops"].as_array().expect("it is a list");
    let hop = |name: &str| hops.iter().find(|hop| hop["name"] == name).expect("it is reported");
    println!("{:>14} {:>4} {:>9} {:>9} {:>9} {:>9}", "", "", "recorded", "to", "reported", "to");
    compare("end to end", &report["end_to_end"], &latencies(&truth, "bigquery"), STAMPED_S);
    compare("tenant_stream", hop("tenant_stream"), &latencies(&truth, "tenant_stream"), STAMPED_S);
    compare(
        "archive",
        hop("archive"),
        &hop_latencies(&truth, "tenant_stream", "archive"),
        STAMPED_IN_SECONDS_S,
    );
}

/// Runs the load to its end and returns its report.
async fn load(scene: &Scene, rate: u32, seconds: u32) -> Json {
    let shipped = include_str!("../../config/load/baseline.toml");
    // What is sent during the warm-up is not judged, but is recorded.
    let profile: String = shipped
        .lines()
        .filter(|line| !line.starts_with("warm_up"))
        .map(|line| match line.split(" = ").next() {
            Some("rate") => format!("rate = {rate}\n"),
            Some("duration") => format!("duration = \"{seconds}s\"\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (file, out) = (folder.join("emulators-baseline.toml"), folder.join("emulators-load.json"));
    std::fs::write(&file, profile).expect("cannot write the profile");
    let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_traceprobe"))
        .args(["load", "--yes", "--config"])
        .arg(&scene.config)
        .arg("--profile")
        .arg(&file)
        .arg("--out")
        .arg(format!("json={}", out.display()))
        .env_clear()
        .envs(scene.variables())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(u64::from(seconds) + 120), run).await;
    let output = output.expect("the load does not end").expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    // 99: an emulator need not keep the targets.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 99)), "{code:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    let report = std::fs::read_to_string(&out).expect("the report is written");
    serde_json::from_str(&report).expect("the report is JSON")
}

/// The least and the most seconds from the plan of each canary to its arrival at a stage.
fn latencies(truth: &Truth, stage: &str) -> Vec<(f64, f64)> {
    let since_plan = |(id, at): (&str, Between)| {
        let planned = TraceId::parse(id).expect("it is an id").planned_at().micros();
        (
            seconds(at.before_us - CLOCK_ALLOWANCE_US - planned),
            seconds(at.after_us + CLOCK_ALLOWANCE_US - planned),
        )
    };
    truth.first_at(stage).map(since_plan).collect()
}

/// The same from the stage before.
fn hop_latencies(truth: &Truth, before: &str, stage: &str) -> Vec<(f64, f64)> {
    let since_before = |(id, at): (&str, Between)| {
        let begun = *truth.of(id, before).first()?;
        Some((seconds(at.before_us - begun.after_us), seconds(at.after_us - begun.before_us)))
    };
    truth.first_at(stage).filter_map(since_before).collect()
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// The two ends between which a percentile is reported must hold that of what was recorded, as far as stamps and bins
/// allow.
fn compare(name: &str, reported: &Json, recorded: &[(f64, f64)], stamped: f64) {
    assert_eq!(reported["count"].as_u64(), Some(recorded.len() as u64), "{name}: {reported:#}");
    for (key, level) in [("p50", 0.50), ("p95", 0.95), ("p99", 0.99)] {
        let of = |side: fn(&(f64, f64)) -> f64| {
            let mut sorted: Vec<f64> = recorded.iter().map(side).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[((sorted.len() as f64 * level).ceil() as usize).clamp(1, sorted.len()) - 1]
        };
        let (least, most) = (of(|it| it.0), of(|it| it.1));
        let of =
            |key: &str| reported[key].as_f64().unwrap_or_else(|| panic!("{name} has no {key}: {reported:#}"));
        let (from, to) = (of(&format!("{key}_from")), of(key));
        println!("{name:>14} {key:>4} {least:>9.3} {most:>9.3} {from:>9.3} {to:>9.3}");
        assert!(
            to * EXACT + stamped >= least,
            "{name} {key}: at most {to} s reported, at least {least} s recorded"
        );
        assert!(
            from <= most * EXACT + stamped,
            "{name} {key}: at least {from} s reported, at most {most} s recorded"
        );
        assert!(to - from <= WIDEST_S, "{name} {key}: {from} to {to} s says nothing");
    }
}
