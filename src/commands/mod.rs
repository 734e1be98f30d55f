//! The command line: parses the arguments and runs a subcommand. Each subcommand has a file of its own.
//!
//! Part of the library, but used by `src/main.rs` only.

mod check;
mod completions;
mod configuration;
pub mod dashboards;
#[cfg(feature = "sandbox")]
pub mod demo;
mod drill;
mod healthcheck;
mod load;
mod local_daemon;
mod log_fields;
mod man;
#[cfg(any(test, not(feature = "sandbox")))]
#[cfg_attr(feature = "sandbox", expect(dead_code, reason = "compiled for its tests"))]
mod no_demo;
mod output;
mod panics;
pub mod rules;
mod run;
mod runtimes;
mod schema;
mod signals;
mod tag;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(feature = "sandbox")]
use self::demo::Demo;
#[cfg(not(feature = "sandbox"))]
use self::no_demo::Demo;
use self::output::complain;
use self::run::End;
use self::runtimes::Runtimes;

/// Name of the program: as people type it, and of its manual page.
const NAME: &str = "traceprobe";

/// Measures how long log events take over each hop of a multi-cloud log pipeline, and whether they arrive at
/// all.
///
/// It puts uniquely tagged canary events into the tenants' CloudWatch log groups and polls every stage for
/// them (Kinesis, S3, Cloud Storage, CloudWatch Logs, BigQuery). It serves per-hop and end-to-end latencies
/// at /metrics for Prometheus, and the state of every tenant at /traces/recent for people.
#[cfg_attr(feature = "sandbox", doc = "\n\nStart with `traceprobe demo`, which needs no cloud account.")]
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 110, after_long_help = GUIDE)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Demo(Demo),
    Load(load::Load),
    Drill(drill::Drill),
    Healthcheck(healthcheck::Healthcheck),
    Tag(tag::Tag),
    Rules(rules::Rules),
    Dashboards(dashboards::Dashboards),
    Schema(schema::Schema),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Shown below the options of `traceprobe --help`.
const GUIDE: &str = "\
To watch a pipeline of your own:
  1. Write a configuration. config/traceprobe.toml in the repository documents every key; with
     `traceprobe schema`, your editor completes and checks them.
  2. Export TRACEPROBE_TAG_KEY, the secret that signs the tags, for example from `openssl rand -hex 32`.
  3. traceprobe check --config FILE   reports every fault of the file, then tries every permission.
  4. traceprobe run --config FILE     runs the daemon.
  5. traceprobe rules --config FILE   prints the alerts for Prometheus.
  6. traceprobe dashboards grafana --config FILE -o FOLDER
                                      writes dashboards for Grafana, CloudWatch or Google Cloud.

For your shell: `source <(traceprobe completions bash)`, and `traceprobe man | man -l -`.";

/// Runs the subcommand that the arguments of the process name, and returns the exit code. If the arguments
/// are wrong or request help, it prints and ends the process itself.
pub fn run_program() -> ExitCode {
    let command = Program::parse().command;
    let runtimes = match Runtimes::new() {
        Ok(runtimes) => runtimes,
        Err(error) => {
            complain!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let end = match command {
        Command::Run(run) => run.run(&runtimes),
        Command::Demo(demo) => demo.run(&runtimes),
        Command::Check(check) => printed(runtimes.among_tasks(check.run())),
        Command::Load(load) => printed(runtimes.among_tasks(load.run())),
        Command::Drill(drill) => End::InOrder(runtimes.among_tasks(drill.run())),
        Command::Tag(tag) => printed(tag.run()),
        Command::Rules(rules) => printed(rules.run()),
        Command::Dashboards(dashboards) => printed(dashboards.run()),
        Command::Schema(schema) => printed(schema.run()),
        Command::Completions(completions) => printed(completions.run()),
        Command::Man(man) => printed(man.run()),
        Command::Healthcheck(healthcheck) => End::InOrder(runtimes.among_tasks(healthcheck.run())),
    };
    match end {
        End::InOrder(code) => {
            runtimes.shut_down();
            code
        }
        End::AtOnce(code) => {
            runtimes.shut_down_at_once();
            code
        }
    }
}

/// The end of a command whose output is what it is for.
fn printed(code: ExitCode) -> End {
    End::InOrder(if output::was_lost() { ExitCode::FAILURE } else { code })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::config::OTHER_VARIABLES;

    #[test]
    fn the_daemon_knows_every_variable_of_a_command() {
        let program = Program::command();
        let arguments = program.get_subcommands().flat_map(clap::Command::get_arguments);
        let read: BTreeSet<_> = arguments.filter_map(|argument| argument.get_env()?.to_str()).collect();
        assert!(read.len() >= 2, "{read:?}");
        for variable in read {
            assert!(OTHER_VARIABLES.contains(&variable), "`run` refuses {variable} as unknown");
        }
    }
}
