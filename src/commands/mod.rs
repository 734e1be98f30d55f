//! The program: reads its arguments and hands over to a subcommand. One file a subcommand.
//!
//! Part of the library, and used by `src/main.rs` only.

mod check;
#[cfg(feature = "sandbox")]
mod demo;
mod healthcheck;
#[cfg(any(test, not(feature = "sandbox")))]
#[cfg_attr(feature = "sandbox", expect(dead_code, reason = "here for its tests"))]
mod no_demo;
mod run;
mod tag;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[cfg(feature = "sandbox")]
use self::demo::Demo;
#[cfg(not(feature = "sandbox"))]
use self::no_demo::Demo;

/// Measures how long log events take over each hop of a multi-cloud log pipeline, and whether they arrive at all.
///
/// It puts uniquely tagged canary events into the tenants' CloudWatch log groups, looks for them at every stage (Kinesis,
/// S3, CloudWatch Logs, BigQuery), and serves per-hop and end-to-end latencies at /metrics and /traces/recent.
#[cfg_attr(feature = "sandbox", doc = "\n\nStart with `traceprobe demo`, which needs no cloud.")]
#[derive(Debug, Parser)]
#[command(name = "traceprobe", version, max_term_width = 110)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Demo(Demo),
    Healthcheck(healthcheck::Healthcheck),
    Tag(tag::Tag),
}

/// A write to a disk that hangs cannot be cancelled; it must not hold up the end of the process.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Runs the subcommand that the process's arguments name, and returns what the process ends with. Ends the process
/// itself where the arguments are wrong or ask for help.
pub fn run_program() -> ExitCode {
    let command = Program::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match command {
            Command::Run(run) => run.run().await,
            Command::Check(check) => check.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Healthcheck(healthcheck) => healthcheck.run().await,
            Command::Tag(tag) => tag.run(),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN);
    code
}
