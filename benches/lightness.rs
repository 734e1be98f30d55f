//! Processor time and memory of the daemon's process, and what a scrape costs it, in front of a sandbox in this
//! process. See `docs/benchmarks.md`.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::sleep;
use traceprobe::sandbox::{Access, Sandbox, Settings, Stage};

/// Opening connections, listing shards and the like happen once, so they are not measured.
const WARM_UP: Duration = Duration::from_secs(60);
/// The unit of processor time in Linux (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Scrapes in each content coding. With so many, the rest of the daemon's work does not matter.
const SCRAPES: u32 = 200;

/// Measure processor time and memory of the daemon.
#[derive(Debug, Parser)]
struct Options {
    /// Tenants.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    tenants: u16,
    /// Seconds between two canaries of a tenant.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..))]
    interval: u8,
    /// Minutes to measure, after one minute of warm-up.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    minutes: u8,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let sandbox =
        Sandbox::start(Settings::demo(1, usize::from(options.tenants))).await.expect("loopback has ports");
    let file = std::env::temp_dir().join(format!("traceprobe-lightness-{}.toml", std::process::id()));
    std::fs::write(&file, configuration(&sandbox, options.interval))
        .expect("the folder for temporary files can be written");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_traceprobe"))
        .args(["run", "--config"])
        .arg(&file)
        .env("TRACEPROBE_TAG_KEY", "the benchmark's key is no secret")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Cargo has built the program");
    let id = daemon.id().expect("it runs");
    let address = address(&mut daemon).await.expect("it prints its address");
    sleep(WARM_UP).await;
    println!("{} tenants, each with a canary every {} s", options.tenants, options.interval);
    for minute in 1..=options.minutes {
        let (calls, before) = (calls(&sandbox), busy(id));
        sleep(Duration::from_secs(60)).await;
        let (Some(before), Some(after)) = (before, busy(id)) else {
            println!("the daemon has ended");
            return ExitCode::FAILURE;
        };
        println!(
            "minute {minute}: {:.2} s of processor time, {:.0} MiB resident, {} calls",
            after - before,
            resident(id) as f64 / f64::from(1 << 20),
            self::calls(&sandbox) - calls,
        );
    }
    for coding in ["identity", "gzip", "zstd"] {
        let before = busy(id);
        let bytes = scrape(&address, coding).await.expect("scrapes are answered");
        let (Some(before), Some(after)) = (before, busy(id)) else {
            println!("the daemon has ended");
            return ExitCode::FAILURE;
        };
        println!(
            "a scrape as {coding}: {:.1} ms of processor time, {bytes} bytes",
            (after - before) / f64::from(SCRAPES) * 1e3
        );
    }
    // Everything has been measured.
    let _ = daemon.kill().await;
    let _ = std::fs::remove_file(&file);
    sandbox.stop().await;
    ExitCode::SUCCESS
}

/// Reads the address that the daemon prints first.
async fn address(daemon: &mut Child) -> Option<String> {
    let mut lines = BufReader::new(daemon.stdout.take()?).lines();
    let line = lines.next_line().await.ok()??;
    Some(line.strip_prefix("listening on ")?.to_owned())
}

/// Scrapes in this content coding, and returns the bytes of one answer.
async fn scrape(address: &str, coding: &str) -> reqwest::Result<usize> {
    // The crate's TLS has no default provider, and the client needs one even for plain HTTP. Fails only if it
    // is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let request = client.get(format!("{address}/metrics")).header("accept-encoding", coding);
        bytes = request.send().await?.error_for_status()?.bytes().await?.len();
    }
    Ok(bytes)
}

fn calls(sandbox: &Sandbox) -> u64 {
    sandbox.calls().iter().map(|count| count.calls).sum()
}

/// Seconds of processor time that a process has used, in its own code and the kernel's.
fn busy(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name may contain blanks, so fields are counted after it. utime and stime are fields 14
    // and 15 (proc(5)).
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Resident memory of a process in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Defaults, except for the interval.
fn configuration(sandbox: &Sandbox, interval: u8) -> String {
    let probe = format!("listen = \"127.0.0.1:0\"\ninterval = \"{interval}s\"");
    let stages =
        [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery].map(|stage| (stage, ""));
    sandbox.probe_configuration(Access::TenantRoles, &probe, &stages)
}
