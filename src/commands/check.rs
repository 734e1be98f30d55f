//! `traceprobe check`: validates a configuration and tries every permission that it needs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cloud::calls::Calls;
use crate::config::Config;
use crate::daemon::build;
use crate::daemon::clock;
use crate::domain::sighting::{Poll, Wanted, WantedTrace};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::WallClock;
use crate::observe::Site;

use super::output::say;
use super::run;

/// Shown below the options of `traceprobe check --help`.
const EXIT_CODES: &str = "\
Exit codes:
   0  everything works
   1  a log group or source cannot be reached; its line says why
  78  the configuration is faulty; every fault is on stderr";

/// Check a configuration, then try every permission that it needs: one line per log group and source.
///
/// Each source is polled once, as the daemon would poll it. No event is put into any log group, but a missing
/// log stream is created, because that needs a permission of its own.
///
/// Needs TRACEPROBE_TAG_KEY in the environment, as `traceprobe run` does.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Check {
    /// Path of the configuration.
    #[arg(long, value_name = "FILE", env = "TRACEPROBE_CONFIG")]
    config: PathBuf,
    /// Only validate the file; make no calls.
    #[arg(long)]
    offline: bool,
}

impl Check {
    /// Prints one line per check; [`EXIT_CODES`] lists what it returns.
    pub async fn run(&self) -> ExitCode {
        let config = match run::load(&self.config) {
            Ok(config) => config,
            Err(code) => return code,
        };
        say!(
            "ok    configuration: {} tenants, {} stages, {} sources",
            config.tenants.len(),
            config.stages.len(),
            config.sources.len()
        );
        config.notes.iter().for_each(|note| say!("note  {note}"));
        if self.offline {
            return ExitCode::SUCCESS;
        }
        crate::cloud::install_tls();
        match try_everything(&config, &clock::system().wall()).await {
            Ok(0) => ExitCode::SUCCESS,
            Ok(failed) => {
                say!("{failed} {} failed", if failed == 1 { "check" } else { "checks" });
                ExitCode::FAILURE
            }
            Err(error) => {
                say!("FAIL  {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Tries every log group and source, and returns how many failed.
async fn try_everything(config: &Config, clock: &WallClock) -> anyhow::Result<usize> {
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await?;
    let topology = config.topology();
    let mut failed = 0;
    for destination in build::destinations(&config.tenants, &clients, clock) {
        let names = destination.tenants.iter().map(|id| &*config.tenants[usize::from(id.0)].name);
        let names: Vec<_> = names.collect();
        let reached = destination.injector.reach().await;
        failed +=
            print_result(&destination.name, &names, reached.map(|()| "the log stream exists".to_owned()));
    }
    let recognizer = build::recognizer(&config.keyring, &topology);
    for (id, source) in topology.source_ids().zip(&config.sources) {
        let names = source.tenants.iter().map(|id| &*config.tenants[usize::from(id.0)].name);
        let names: Vec<_> = names.collect();
        let (topology, clients, recognizer, rhythm) = (&topology, &clients, &recognizer, source.rhythm);
        let site = Site { topology, source: id, rhythm, clients, recognizer, clock };
        let (timeout, wanted) = (source.rhythm.timeout, phantom_canary(config, clock));
        let polled = tokio::time::timeout(timeout, source.settings.poll_once(&site, &wanted)).await;
        let result = match polled {
            Ok(Ok(Ok(poll))) if is_unreadable(&poll) => Err(unreadable(&poll)),
            Ok(Ok(Ok(poll))) => {
                let end = if poll.watermark.is_some() {
                    "read to its end"
                } else {
                    "readable, end not reached yet"
                };
                let took = poll.finished.since(poll.started).as_millis();
                let mut text = format!("{end}, {} bytes in {took} ms", poll.stats.bytes);
                if !poll.unreadable.is_empty() {
                    write!(
                        text,
                        "; {} records could not be read: {}",
                        poll.stats.decode_errors,
                        unreadable(&poll)
                    )?;
                }
                Ok(text)
            }
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
        };
        let stage = &config.stages[usize::from(source.stage.0)].name;
        failed += print_result(&format!("stage {stage}: {}", source.name), &names, result);
    }
    Ok(failed)
}

/// Whether a poll read records and could open none of them completely: canaries would not be found there
/// either.
fn is_unreadable(poll: &Poll) -> bool {
    poll.stats.records > 0 && poll.stats.decode_errors >= poll.stats.records
}

/// What a poll could not read, as text for people.
fn unreadable(poll: &Poll) -> String {
    let records = poll.unreadable.iter().map(|record| &*record.text);
    records.take(3).collect::<Vec<_>>().join("; ")
}

/// Prints the line of one check and returns 1 if it failed, else 0.
fn print_result(what: &str, tenants: &[&str], result: Result<String, String>) -> usize {
    let tenants = tenants.join(", ");
    match result {
        Ok(detail) => {
            say!("ok    {what} ({tenants}): {detail}");
            0
        }
        Err(reason) => {
            say!("FAIL  {what} ({tenants}): {reason}");
            1
        }
    }
}

/// Returns a request for a canary that was never sent, planned a second ago.
fn phantom_canary(config: &Config, clock: &WallClock) -> Wanted {
    let planned_at = clock.now() - Duration::from_secs(1);
    let tenant = config.tenants.first().map_or("", |tenant| &*tenant.name);
    let trace = TraceId::new(planned_at, [0; 10]);
    let instance = InstanceCode::of(&config.probe.instance);
    let tag = Tag::new(trace, TenantCode::of(tenant), instance, 100, Purpose::Check);
    Wanted { revision: 0, waiting: Arc::new([WantedTrace { tag, planned_at }]), ..Wanted::default() }
}
