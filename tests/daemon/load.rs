//! `traceprobe load` in front of the sandbox: what it says of a load must be what happened.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value as Json;
use tokio::process::Command;
use traceprobe::domain::tag::{self, Purpose};
use traceprobe::sandbox::{
    Access, Fault, Pace, Sandbox, Service, ServiceEffect, Settings, Stage, StageEffect,
};

use super::support::client::http;
use super::support::process::{PROGRAM, Printed, Process};
use super::support::stand::{Stand, variables};

/// Far more than any of these runs takes, because the machine may be busy.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// The longest profile takes eight hours.
const LONG: Duration = Duration::from_hours(9);

/// A sandbox, and a configuration that allows to load its tenants.
struct Bench {
    sandbox: Sandbox,
    folder: PathBuf,
}

impl Bench {
    async fn new(name: &str, tenants: usize) -> Bench {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // Fewer objects, because a program that is not optimized takes long to read each.
        let batch = Duration::from_millis(200);
        let pace = Pace { archive_batch: batch, transit_batch: batch, ..Pace::brisk() };
        let sandbox = Sandbox::start(Settings { pace, ..Settings::brisk(7, tenants) }).await.unwrap();
        Bench { sandbox, folder }
    }

    /// Writes a file, and returns its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a configuration with this table `[load]`, and returns its path.
    fn config(&self, load: &str) -> String {
        let probe = "listen = \"127.0.0.1:0\"\ninstance = \"test\"\nslo = \"5s\"\ncritical = \"5s\"\ngive_up = \"8s\"\ngrace = \"4s\"\nblind_after = \"6s\"";
        let stages = [
            (Stage::TenantStream, "interval = \"500ms\"\nsettle = \"100ms\""),
            (Stage::Archive, "interval = \"500ms\""),
            (Stage::DeadLetter, "interval = \"500ms\""),
            (Stage::Transit, "interval = \"500ms\""),
            (Stage::Bigquery, "interval = \"500ms\""),
        ];
        let text = self.sandbox.probe_configuration(Access::TenantRoles, probe, &stages);
        self.file("traceprobe.toml", &format!("{text}\n[load]\n{load}\n"))
    }

    fn spawn(&self, config: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(PROGRAM);
        command.args(["load", "--config", config]).args(arguments).env_clear().envs(variables(&[]));
        Process::spawn(&mut command, Printed::in_memory())
    }

    /// Runs a load to its end. Returns the exit code, the report, and what was printed.
    async fn load(&self, config: &str, arguments: &[&str]) -> (i32, Json, String) {
        let path = self.folder.join("report.json");
        let _none = std::fs::remove_file(&path);
        let out = format!("json={}", path.display());
        let arguments = [&["--out", out.as_str(), "--yes"], arguments].concat();
        let mut load = self.spawn(config, &arguments);
        let within = if std::env::var_os("TRACEPROBE_LOAD").is_some() { LONG } else { ENDS_WITHIN };
        let status = load.ended(within).await;
        let report = std::fs::read_to_string(&path).unwrap_or_default();
        (status.code().unwrap(), serde_json::from_str(&report).unwrap_or_default(), load.printed())
    }

    /// How many puts there were.
    fn puts(&self) -> usize {
        let calls = self.sandbox.calls();
        calls.iter().filter(|call| call.operation == "PutLogEvents").map(|call| call.calls as usize).sum()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A folder that remains is below Cargo's folder for tests.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// How many canaries with this purpose the sandbox has got.
fn sent(sandbox: &Sandbox, purpose: Purpose) -> usize {
    let is_of =
        |token: &str| tag::read_unverified(token.as_bytes()).is_ok_and(|tag| tag.purpose() == purpose);
    sandbox.truth().iter().filter(|record| is_of(&record.token)).count()
}

/// Waits until the sandbox has got so many canaries of the load.
async fn until_sent(sandbox: &Sandbox, count: usize, load: &Process) {
    let sent = async {
        while sent(sandbox, Purpose::Load) < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(super::SOON, sent).await;
    assert!(in_time.is_ok(), "nothing is sent: {}", load.printed());
}

/// Waits until the program has printed this.
async fn until_printed(text: &str, load: &Process) {
    let printed = async {
        while !load.printed().contains(text) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(super::SOON, printed).await;
    assert!(in_time.is_ok(), "{text} is not printed: {}", load.printed());
}

const ALLOW: &str = "allow = [\"acme\", \"globex\"]";
/// More than any shipped profile sends.
const CEILINGS: &str = "max_rate = 5000\nmax_events = 10000000\nmax_bytes = \"20GB\"\nmax_dollars = 1000";

/// Twenty events a second for so many seconds, of one size.
fn profile(seconds: u32, more: &str) -> String {
    format!(
        "description = \"A test\"\nsizes = [\"200B\"]\n{more}\n[[phase]]\nrate = 20\nduration = \"{seconds}s\"\n"
    )
}

/// A shipped profile, and the factors of its rates and times. `TRACEPROBE_LOAD=long` sends them in full, or those that
/// `TRACEPROBE_LOAD_PROFILES` names, with the factor `TRACEPROBE_LOAD_TIME` for their times.
const PROFILES: [(&str, &str, &str); 6] = [
    ("baseline", "1", "0.006"),
    ("sustained", "0.2", "0.002"),
    ("spike", "0.1", "0.01"),
    ("large-payload", "0.3", "0.006"),
    ("endurance", "0.3", "0.00012"),
    ("multi-tenant", "0.2", "0.006"),
];

/// The profiles to send, with their factors.
fn chosen() -> Vec<(String, String, String)> {
    let set = |name: &str| std::env::var(format!("TRACEPROBE_LOAD{name}")).ok();
    let owned = |(name, rate, time): (&str, &str, &str)| (name.to_owned(), rate.to_owned(), time.to_owned());
    if set("").is_none_or(|form| form != "long") {
        return PROFILES.into_iter().map(owned).collect();
    }
    let time = set("_TIME").unwrap_or_else(|| "1".to_owned());
    let all = PROFILES.map(|(name, ..)| name).join(",");
    let names = set("_PROFILES").unwrap_or(all);
    names.split(',').map(|name| (name.to_owned(), "1".to_owned(), time.clone())).collect()
}

/// A row about a load that was sent.
fn row(name: &str, report: &Json) -> String {
    let totals = &report["totals"];
    let count = |name: &str| totals[name].to_string();
    let seconds = |percentiles: &Json, name: &str| {
        let end =
            |name: &str| percentiles[name].as_f64().map_or_else(|| "?".to_owned(), |it| format!("{it:.2}"));
        format!("{} to {}", end(&format!("{name}_from")), end(name))
    };
    let end_to_end = &report["end_to_end"];
    format!(
        "| {name} | {:.0} | {} | {} | {} | {} | {} | {:.1} | {} | {} | {} |",
        totals["seconds"].as_f64().unwrap_or_default(),
        count("planned"),
        count("accepted"),
        count("arrived"),
        count("lost"),
        count("unknown"),
        totals["accepted_rate"].as_f64().unwrap_or_default(),
        seconds(end_to_end, "p50"),
        seconds(end_to_end, "p95"),
        report["knee"]["throughput"].as_f64().map_or_else(|| "-".to_owned(), |it| format!("{it:.0}")),
    )
}

#[tokio::test]
async fn every_shipped_profile_is_sent_completely_and_every_canary_is_found() {
    println!(
        "| profile | s | planned | accepted | arrived | lost | unknown | accepted/s | P50 s | P95 s | knee |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let play = async |(name, rate, time): (String, String, String)| {
        let (name, rate, time) = (name.as_str(), rate.as_str(), time.as_str());
        let bench = Bench::new(name, 2).await;
        let config = bench.config(&format!("{ALLOW}\n{CEILINGS}"));
        let (code, report, printed) =
            bench.load(&config, &["--profile", name, "--scale-rate", rate, "--scale-time", time]).await;
        println!("{}", row(name, &report));
        let totals = &report["totals"];
        assert_eq!(code, 0, "{name}: {printed}");
        let counts = ["planned", "accepted", "arrived"].map(|count| totals[count].as_u64().unwrap());
        // A machine that is busy may miss a few, which is told and is below the limit.
        assert!(
            counts[0] >= 30 && counts[2] == counts[1] && counts[1] * 100 >= counts[0] * 99,
            "{name}: {counts:?}"
        );
        assert_eq!((&totals["lost"], &totals["unknown"]), (&0.into(), &0.into()), "{name}: {printed}");
        assert_eq!(report["hops"].as_array().unwrap().len(), 4, "{name}: all but the dead letters");
        // The sandbox knows of every put, those of the warm-up included.
        let sent = bench.sandbox.truth().len() as u64;
        assert!(sent >= counts[1], "{name}: {sent} of {counts:?}");
    };
    futures::stream::iter(chosen()).for_each_concurrent(2, play).await;
}

#[tokio::test]
async fn a_known_knee_is_found() {
    let bench = Bench::new("knee", 1).await;
    bench.sandbox.fault(Fault::stage(Stage::Transit, StageEffect::Limit { per_second: 57.0 }));
    let config = bench.config("allow = [\"acme\"]");
    // A median is known to the half second of a poll, and a machine that is busy moves it by tenths of a second: so
    // growth must be far beyond a second in a trial. Only growth is to break, and no canary is given up in a queue.
    let search = "[search]\nrates = [30, 114]\nhold = \"16s\"\nprecision = 0.48\n";
    let thresholds = "[thresholds]\ngrowth = \"value<0.1\"\nlatency = \"p(95)<1m\"\n";
    let text = format!("sizes = [\"200B\"]\ngive_up = \"40s\"\n{search}{thresholds}");
    let profile = bench.file("knee.toml", &text);
    let (code, report, printed) = bench.load(&config, &["--profile", &profile]).await;
    assert_eq!(code, 0, "{printed}");
    let of = |name: &str| report["knee"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {printed}"));
    let throughput = of("throughput");
    assert!((throughput / 57.0 - 1.0).abs() <= 0.1, "{throughput}: {printed}");
    let (good, bad) = (of("good"), of("bad"));
    assert!(
        (30.0..=80.0).contains(&good) && good < bad && bad <= good * 1.48 + 1e-9,
        "{good} and {bad}: {printed}"
    );
}

#[tokio::test]
async fn losses_break_a_threshold_and_are_told_with_their_place_and_interval() {
    let bench = Bench::new("loss", 1).await;
    bench.sandbox.fault(Fault::stage(Stage::Transit, StageEffect::Lose { probability: 0.2 }));
    let config = bench.config("allow = [\"acme\"]");
    let (html, junit) = (bench.folder.join("report.html"), bench.folder.join("report.xml"));
    let outputs = [format!("html={}", html.display()), format!("junit={}", junit.display())];
    let profile = bench.file("own.toml", &profile(5, ""));
    let arguments = ["--profile", &profile, "--out", &outputs[0], "--out", &outputs[1]];
    let (code, report, printed) = bench.load(&config, &arguments).await;
    assert_eq!(code, 99, "{printed}");
    assert_eq!(report["verdict"], "failed");
    let lost =
        bench.sandbox.truth().iter().filter(|record| record.arrived(Stage::Bigquery).is_none()).count();
    assert!(lost > 0);
    assert_eq!(
        report["losses"],
        serde_json::json!([{ "what": "lost on transit", "count": lost }]),
        "{printed}"
    );
    let loss = &report["totals"]["loss"];
    let [low, high] = ["low", "high"].map(|end| loss[end].as_f64().unwrap());
    assert!(low < 0.2 && 0.2 < high, "{loss}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<h1 class=\"failed\">FAILED") && page.contains("<svg"), "{page}");
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("<script") && !page.contains("src="));
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("loss{hop:transit}") && xml.contains("<failure message="), "{xml}");
}

#[tokio::test]
async fn a_stage_that_cannot_be_read_is_neither_a_success_nor_a_loss() {
    let bench = Bench::new("blind", 1).await;
    bench.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Deny));
    let config = bench.config("allow = [\"acme\"]");
    let profile = bench.file("own.toml", &profile(2, "give_up = \"3s\""));
    let (code, report, printed) = bench.load(&config, &["--profile", &profile]).await;
    assert_eq!((code, &report["verdict"]), (4, &"inconclusive".into()), "{printed}");
    assert_eq!(report["totals"]["lost"], 0);
    let unobserved: u64 =
        report["unobserved"].as_array().unwrap().iter().map(|of| of["count"].as_u64().unwrap()).sum();
    assert_eq!(Some(unobserved), report["totals"]["accepted"].as_u64(), "{printed}");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("bigquery") && reasons.contains("could not be read"), "{reasons}");
}

#[tokio::test]
async fn a_signal_ends_sending_and_the_report_tells_what_was_sent() {
    // A terminal that is closed sends SIGHUP more than once.
    tokio::join!(ends_at_signals(&["INT"], 130), ends_at_signals(&["HUP", "HUP"], 129));
}

async fn ends_at_signals(signals: &[&str], code: i32) {
    let bench = Bench::new(signals[0], 1).await;
    let config = bench.config("allow = [\"acme\"]");
    let profile = bench.file("own.toml", &profile(600, ""));
    let path = bench.folder.join("report.json");
    let out = format!("json={}", path.display());
    let arguments = ["--profile", &profile, "--yes", "--out", &out, "--metrics", "127.0.0.1:0"];
    let mut load = bench.spawn(&config, &arguments);
    until_sent(&bench.sandbox, 20, &load).await;
    let printed = load.printed();
    let url = printed.lines().find_map(|line| line.strip_prefix("metrics at ")).expect("it tells its port");
    let served = http().get(url).send().await.unwrap().text().await.unwrap();
    assert!(served.contains("traceprobe_load_planned_total"), "{served}");
    for signal in signals {
        load.signal(signal).await;
        until_printed("waiting for canaries in flight", &load).await;
    }
    let status = load.ended(ENDS_WITHIN).await;
    assert_eq!(status.code(), Some(code), "{}", load.printed());
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(report["reasons"][0], "stopped by a signal");
    let totals = &report["totals"];
    // Those in flight at the signal were still followed to their outcomes.
    assert_eq!(
        (&totals["unknown"], &totals["arrived"]),
        (&0.into(), &totals["accepted"]),
        "{}",
        load.printed()
    );
    assert_eq!(totals["accepted"].as_u64(), Some(bench.sandbox.truth().len() as u64));
}

#[tokio::test]
async fn nothing_is_sent_that_the_configuration_does_not_allow() {
    let bench = Bench::new("refused", 2).await;
    let own = bench.file("own.toml", &profile(5, ""));
    let cases: [(&str, &[&str], &str); 6] = [
        ("", &["--yes"], "load.allow names no tenant"),
        (
            "allow = [\"acme\"]",
            &["--yes", "--tenant", "globex"],
            "load.allow does not name tenant \"globex\"",
        ),
        (
            "allow = [\"acme\"]\nmax_rate = 19",
            &["--yes"],
            "load.max_rate: the run takes up to 20 events a second",
        ),
        (
            "allow = [\"acme\"]\nmax_events = 99",
            &["--yes"],
            "load.max_events: the run takes up to 100 events",
        ),
        ("allow = [\"acme\"]\nmax_bytes = \"1KB\"", &["--yes"], "load.max_bytes"),
        ("allow = [\"acme\"]", &[], "there is no terminal on which to confirm this; add --yes"),
    ];
    for (load, arguments, reason) in cases {
        let config = bench.config(load);
        let mut load = bench.spawn(&config, &[&["--profile", own.as_str()], arguments].concat());
        let status = load.ended(ENDS_WITHIN).await;
        assert_eq!(status.code(), Some(2), "{}", load.printed());
        assert!(load.printed().contains(reason), "{reason}: {}", load.printed());
    }
    let config = bench.config("allow = [\"acme\"]");
    let mut load = bench.spawn(&config, &["--profile", &own, "--dry-run"]);
    assert!(load.ended(ENDS_WITHIN).await.success(), "{}", load.printed());
    assert!(load.printed().contains("events      100"), "{}", load.printed());
    // Nothing answers there: the port was free just now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = bench.config(&format!("allow = [\"acme\"]\nguard_url = \"http://{free}\""));
    let mut load = bench.spawn(&config, &["--profile", &own, "--dry-run"]);
    assert_eq!(load.ended(ENDS_WITHIN).await.code(), Some(2), "{}", load.printed());
    let refused = format!("refused: the daemon at load.guard_url, http://{free}, cannot be read: ");
    assert!(load.printed().contains(&refused), "{}", load.printed());
    assert!(load.printed().contains("onnection refused"), "{}", load.printed());
    assert_eq!(bench.puts(), 0);
}

#[tokio::test]
async fn a_load_is_none_of_the_daemons_business_until_a_tenant_suffers() {
    let stand = Stand::brisk(1).await;
    // A busy machine is slow, which is a problem that the guard would see.
    let keys = [
        ("PROBE_SLO", "30s"),
        ("PROBE_CRITICAL", "30s"),
        ("PROBE_GIVE_UP", "60s"),
        ("STAGE_TENANT_STREAM_TARGET", "30s"),
    ];
    let daemon = stand.daemon(&keys).await;
    daemon
        .until_seen("a canary of the daemon is delivered", super::SOON, |recent, _| {
            recent.ended("delivered") >= 3
        })
        .await;
    let bench = Bench::new("guard", 1).await;
    let places = std::fs::read_to_string(stand.config()).unwrap();
    let load = format!("{places}\n[load]\nallow = [\"acme\"]\nguard_url = \"{}\"\n", daemon.address());
    let config = bench.file("guarded.toml", &load);
    let profile = bench.file("own.toml", &profile(600, "give_up = \"4s\""));
    let path = bench.folder.join("report.json");
    let out = format!("json={}", path.display());
    let mut load = bench.spawn(&config, &["--profile", &profile, "--yes", "--out", &out]);
    until_sent(&stand.sandbox, 100, &load).await;
    let (_, metrics) = daemon
        .until_seen("the daemon goes on", super::SOON, |recent, _| recent.ended("delivered") >= 10)
        .await;
    assert!(metrics.sum("traceprobe_stray_tags_total", &[]) == 0.0, "the daemon counts canaries of the load");
    let of_daemon = metrics.sum("traceprobe_slo_traces_total", &[]);
    let probes = sent(&stand.sandbox, Purpose::Probe);
    assert!(of_daemon <= probes as f64, "the daemon counts {of_daemon} canaries and sent {probes}");
    let effect = StageEffect::DeadLetter { probability: 1.0 };
    stand.sandbox.fault(Fault::tenant_stage("acme", Stage::Transit, effect));
    let status = load.ended(ENDS_WITHIN).await;
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("ended by the guard: acme: "), "{status}: {reason}");
    // Dead letters are losses, which is a result of its own.
    assert!(matches!(status.code(), Some(5 | 99)), "{status}: {}", load.printed());
}
