//! What canaries cost at rising rates: processor time and memory of the daemon's process, ticks it missed, calls it
//! made, and how far the latencies that it reports are from the sandbox's truth. The sandbox is this process, and the
//! daemon one of its own. See `docs/benchmarks.md`.

#[path = "rate/truth.rs"]
mod truth;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use tokio::time::sleep;
use traceprobe::sandbox::{Access, Distribution, Pace, Sandbox, Settings, Stage};

/// The unit of processor time in Linux (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
/// How long the pipeline takes, so that the last canaries of a measurement have arrived.
const DRAIN: Duration = Duration::from_secs(10);

/// Measure what canaries cost at rising rates.
#[derive(Debug, Parser)]
struct Options {
    /// Canaries a second, of all tenants together.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [10, 100, 500, 1_000, 2_000, 5_000])]
    rates: Vec<u32>,
    /// Seconds to measure at each rate.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds before that, in which connections are opened and the pipeline fills.
    #[arg(long, value_name = "N", default_value_t = 15)]
    warm_up: u64,
    /// Tenants.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..))]
    tenants: u8,
    /// Bytes of a canary.
    #[arg(long, value_name = "N", default_value_t = 500)]
    size: u32,
    /// A configuration of the store, such as `path = "/tmp/traces.db"`; without it nothing is stored.
    #[arg(long, value_name = "TOML")]
    store: Option<String>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    // The crate's TLS has no default provider, and the client needs one even for plain HTTP. Fails only if it
    // is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    println!(
        "{} tenants, canaries of {} B, {} s at each rate. Errors: of the latest instant at the last stage.",
        options.tenants, options.size, options.seconds
    );
    println!(
        "{:>7} {:>9} {:>7} {:>9} {:>8} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} | sandbox",
        "asked/s",
        "accepted",
        "missed",
        "lost",
        "refused",
        "ms each",
        "of core",
        "MiB",
        "threads",
        "calls",
        "inside %",
        "p50 ms",
        "p99 ms"
    );
    for rate in &options.rates {
        match measure(&options, *rate).await {
            Ok(row) => println!("{row}"),
            Err(error) => {
                println!("{rate:>7} not measured: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// One row of the table.
async fn measure(options: &Options, rate: u32) -> Result<String, Box<dyn std::error::Error>> {
    let sandbox = Sandbox::start(settings(usize::from(options.tenants))).await?;
    let file = std::env::temp_dir().join(format!("traceprobe-rate-{}.toml", std::process::id()));
    std::fs::write(&file, configuration(&sandbox, options, rate))?;
    let mut daemon = Running(
        Command::new(env!("CARGO_BIN_EXE_traceprobe"))
            .args(["run", "--config"])
            .arg(&file)
            .env("TRACEPROBE_TAG_KEY", "the benchmark's key is no secret")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let id = daemon.0.id();
    let address = address(&mut daemon.0).ok_or("the daemon printed no address")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    sleep(Duration::from_secs(options.warm_up)).await;

    let before = Injections::read(&client, &address).await?;
    let (calls_before, busy_before, own_before) = (calls(&sandbox), busy(id), busy(std::process::id()));
    let seconds = Duration::from_secs(options.seconds);
    sleep(seconds).await;
    let (calls, busy, own) = (calls(&sandbox) - calls_before, busy(id), busy(std::process::id()));
    let (resident, threads) = (status(id, "VmRSS:") / 1_024, status(id, "Threads:"));
    let after = Injections::read(&client, &address).await?;
    let used = busy.zip(busy_before).map(|(after, before)| after - before).ok_or("the daemon has ended")?;
    let own = own.zip(own_before).map_or(0.0, |(after, before)| after - before);

    sleep(DRAIN.min(Duration::from_secs(options.warm_up))).await;
    let errors = truth::errors(&sandbox, &client, &address, Stage::Bigquery).await?;
    drop(daemon);
    let _ = std::fs::remove_file(&file);
    sandbox.stop().await;

    let accepted = after.accepted - before.accepted;
    Ok(format!(
        "{rate:>7} {accepted:>9.0} {:>7.0} {:>9.0} {:>8.0} {:>9.3} {:>8.2} {resident:>8} {threads:>8} {calls:>9} {:>9.2} {:>9.1} {:>9.1} | {:.2} of a core",
        after.missed - before.missed,
        after.undelivered - before.undelivered,
        after.refused - before.refused,
        used / accepted.max(1.0) * 1e3,
        used / seconds.as_secs_f64(),
        errors.inside_percent,
        errors.median_ms,
        errors.p99_ms,
        own / seconds.as_secs_f64(),
    ))
}

/// A calm pipeline that takes 2 to 4 s, and batches as writers of objects do.
fn settings(tenants: usize) -> Settings {
    let pace = Pace {
        forward: Distribution::Fixed { ms: 45.0 },
        archive: Distribution::Fixed { ms: 1_500.0 },
        export: Distribution::Fixed { ms: 1_500.0 },
        transfer: Distribution::Fixed { ms: 500.0 },
        archive_batch: Duration::from_secs(1),
        transit_batch: Duration::from_millis(500),
        query: Distribution::Fixed { ms: 50.0 },
        ..Pace::brisk()
    };
    Settings { pace, ..Settings::brisk(1, tenants) }
}

/// Defaults, except for the rate and what a load needs.
fn configuration(sandbox: &Sandbox, options: &Options, rate: u32) -> String {
    let interval = Duration::from_secs(1) * u32::from(options.tenants) / rate;
    let probe = format!(
        "listen = \"127.0.0.1:0\"\ninterval = \"{}ms\"\nmax_in_flight = 100000\nstop_grace = \"0s\"",
        interval.as_millis()
    );
    let stages =
        [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery].map(|stage| (stage, ""));
    let text = sandbox.probe_configuration(Access::TenantRoles, &probe, &stages);
    let store = options.store.as_ref().map(|keys| format!("\n[store]\n{keys}\n")).unwrap_or_default();
    format!("{text}{store}\n[canary]\nsizes = [\"{}B\"]\n", options.size)
}

/// What became of canaries that were due.
#[derive(Debug, Default)]
struct Injections {
    accepted: f64,
    missed: f64,
    /// Of all that have an outcome: those that were not delivered, although the pipeline delivers everything.
    undelivered: f64,
    refused: f64,
}

impl Injections {
    async fn read(client: &reqwest::Client, address: &str) -> reqwest::Result<Self> {
        let text = client.get(format!("{address}/metrics")).send().await?.error_for_status()?.text().await?;
        let sum = |family: &str, is_of: &dyn Fn(&str) -> bool| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(family) && is_of(line));
            let values = lines.filter_map(|line| line.rsplit(' ').next());
            values.filter_map(|value| value.parse::<f64>().ok()).sum()
        };
        let put = |result: &str| {
            let label = format!("result=\"{result}\"");
            sum("traceprobe_injections_total{", &|line| line.contains(&label))
        };
        Ok(Self {
            accepted: put("accepted"),
            missed: put("missed"),
            undelivered: sum("traceprobe_traces_total{", &|line| !line.contains("outcome=\"delivered\"")),
            refused: put("refused") + put("ambiguous"),
        })
    }
}

/// A process that ends with the measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the address that the daemon prints first.
fn address(daemon: &mut Child) -> Option<String> {
    let line = BufReader::new(daemon.stdout.take()?).lines().next()?.ok()?;
    Some(line.strip_prefix("listening on ")?.to_owned())
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

/// A number in the status of a process (proc(5)).
fn status(process: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
