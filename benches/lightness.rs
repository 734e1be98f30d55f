//! Processor time and memory of the daemon's process, in front of a sandbox in this process. See
//! `docs/benchmarks.md`.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use tokio::process::Command;
use tokio::time::sleep;
use traceprobe::sandbox::{Access, Sandbox, Settings, Stage};

/// Opening connections, listing shards and the like happen once, so they are not measured.
const WARM_UP: Duration = Duration::from_secs(60);
/// The unit of processor time in Linux (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Measure processor time and memory of the daemon.
#[derive(Debug, Parser)]
struct Options {
    /// Tenants.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..))]
    tenants: u8,
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
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Cargo has built the program");
    let id = daemon.id().expect("it runs");
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
    // Everything has been measured.
    let _ = daemon.kill().await;
    let _ = std::fs::remove_file(&file);
    sandbox.stop().await;
    ExitCode::SUCCESS
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
