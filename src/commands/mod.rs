//! The command line: parses the arguments and runs a subcommand. Each subcommand has a file of its own.
//!
//! Part of the library, but used by `src/main.rs` only.

mod check;
#[cfg(feature = "sandbox")]
mod demo;
mod healthcheck;
mod log_fields;
#[cfg(any(test, not(feature = "sandbox")))]
#[cfg_attr(feature = "sandbox", expect(dead_code, reason = "compiled for its tests"))]
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

/// Measures how long log events take over each hop of a multi-cloud log pipeline, and whether they arrive at
/// all.
///
/// It puts uniquely tagged canary events into the tenants' CloudWatch log groups and polls every stage for
/// them (Kinesis, S3, Cloud Storage, CloudWatch Logs, BigQuery). It serves per-hop and end-to-end latencies
/// at /metrics for Prometheus, and the state of every tenant at /traces/recent for people.
#[cfg_attr(feature = "sandbox", doc = "\n\nStart with `traceprobe demo`, which needs no cloud account.")]
#[derive(Debug, Parser)]
#[command(name = "traceprobe", version, max_term_width = 110, after_long_help = GUIDE)]
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

/// Shown below the options of `traceprobe --help`.
const GUIDE: &str = "\
To watch a pipeline of your own:
  1. Write a configuration. config/traceprobe.toml in the repository documents every key.
  2. Export TRACEPROBE_TAG_KEY, the secret that signs the tags, for example from `openssl rand -hex 32`.
  3. traceprobe check --config FILE   reports every fault of the file, then tries every permission.
  4. traceprobe run --config FILE     runs the daemon.";

/// How long to wait for blocking tasks at the end. A write to a disk that hangs cannot be cancelled, and must
/// not keep the process alive.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Runs the subcommand that the arguments of the process name, and returns the exit code. If the arguments
/// are wrong or request help, it prints and ends the process itself.
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
