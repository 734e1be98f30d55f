//! The program: reads its arguments and hands over to a subcommand.

#![warn(clippy::unwrap_used)]

mod commands;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measures how long log events take over each hop of a multi-cloud log pipeline, and whether they arrive at all.
///
/// It puts uniquely tagged canary events into the tenants' CloudWatch log groups, looks for them at every stage (Kinesis,
/// S3, CloudWatch Logs, BigQuery), and serves per-hop and end-to-end latencies at /metrics and /traces/recent.
///
/// Start with `traceprobe demo`, which needs no cloud.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(commands::run::Run),
    Check(commands::check::Check),
    Demo(commands::demo::Demo),
    Healthcheck(commands::healthcheck::Healthcheck),
    Tag(commands::tag::Tag),
}

/// A write to a disk that hangs cannot be cancelled; it must not hold up the end of the process.
const SHUTDOWN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
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
