//! The error of the reported arrivals, with changing faults of the pipeline and its services. Exits with 1 if
//! a bound is broken. See `docs/benchmarks.md`.

#[path = "../tests/accuracy/check.rs"]
mod check;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use self::check::Plan;

/// Run the daemon against a sandbox with changing faults, and compare the reported arrivals with the true
/// ones.
#[derive(Debug, Parser)]
struct Options {
    /// Canaries of both rounds together; each is seen at up to five stages.
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(20..=200_000))]
    traces: u32,
    /// Seed of the random delays and faults.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Tenants, each with its own stream.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=50))]
    tenants: u8,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        seed: options.seed,
        tenants: usize::from(options.tenants),
        traces: usize::try_from(options.traces).unwrap_or(usize::MAX),
        interval: Duration::from_millis(500),
    };
    let reports = check::run(plan).await;
    println!("{}", check::head());
    for report in &reports {
        println!("{}", report.row());
    }
    let mut broken = check::broken(&reports);
    broken.extend(check::too_wide(&reports));
    println!("{} sightings", check::sightings(&reports));
    for fault in broken.iter().take(20) {
        println!("BROKEN: {fault}");
    }
    if broken.is_empty() {
        println!("all within their bounds");
        ExitCode::SUCCESS
    } else {
        println!("{} faults", broken.len());
        ExitCode::FAILURE
    }
}
