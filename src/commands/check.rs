//! `traceprobe check`: is the configuration sound, and may we do what it asks for?

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cloud::calls::Calls;
use crate::config::Config;
use crate::daemon::build;
use crate::daemon::clock;
use crate::domain::sighting::{Wanted, WantedTrace};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::WallClock;
use crate::observe::Site;

use super::run;

/// Check a configuration, then try each permission it will need: one line a stage and tenant.
///
/// Sources are read once, as the daemon would read them. Nothing is put into any log group, but the log stream is created
/// where it is missing.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "TRACEPROBE_CONFIG")]
    config: PathBuf,
    /// Only read the file; make no calls.
    #[arg(long)]
    offline: bool,
}

impl Check {
    /// Exit code 0 if everything works, 78 if the configuration is faulty, 1 if a permission is missing.
    pub async fn run(&self) -> ExitCode {
        let config = match run::load(&self.config) {
            Ok(config) => config,
            Err(code) => return code,
        };
        println!(
            "ok    configuration: {} tenants, {} stages, {} sources",
            config.tenants.len(),
            config.stages.len(),
            config.sources.len()
        );
        config.notes.iter().for_each(|note| println!("note  {note}"));
        if self.offline {
            return ExitCode::SUCCESS;
        }
        crate::cloud::install_tls();
        match try_everything(&config, &clock::system().wall()).await {
            Ok(0) => ExitCode::SUCCESS,
            Ok(failed) => {
                println!("{failed} of these failed");
                ExitCode::FAILURE
            }
            Err(error) => {
                println!("FAIL  {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Tries every log group and source, and says how many failed.
async fn try_everything(config: &Config, clock: &WallClock) -> anyhow::Result<usize> {
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await?;
    let topology = config.topology();
    let mut failed = 0;
    for destination in build::destinations(&config.tenants, &clients, clock) {
        let names = destination.tenants.iter().map(|id| &*config.tenants[usize::from(id.0)].name);
        let names: Vec<_> = names.collect();
        let reached = destination.injector.reach().await;
        failed += say(&destination.name, &names, reached.map(|()| "the log stream is there".to_owned()));
    }
    let recognizer = build::recognizer(&config.keyring, &topology);
    for (id, source) in topology.source_ids().zip(&config.sources) {
        let names = source.tenants.iter().map(|id| &*config.tenants[usize::from(id.0)].name);
        let names: Vec<_> = names.collect();
        let (topology, clients, recognizer, rhythm) = (&topology, &clients, &recognizer, source.rhythm);
        let site = Site { topology, source: id, rhythm, clients, recognizer, clock };
        let (timeout, wanted) = (source.rhythm.timeout, phantom_canary(config, clock));
        let polled = tokio::time::timeout(timeout, source.settings.poll_once(&site, &wanted)).await;
        let said = match polled {
            Ok(Ok(Ok(poll))) => {
                let end = if poll.watermark.is_some() {
                    "read to its end"
                } else {
                    "readable, end not reached yet"
                };
                let took = poll.finished.since(poll.started).as_millis();
                Ok(format!("{end}, {} bytes in {took} ms", poll.stats.bytes))
            }
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
        };
        let stage = &config.stages[usize::from(source.stage.0)].name;
        failed += say(&format!("stage {stage}: {}", source.name), &names, said);
    }
    Ok(failed)
}

fn say(what: &str, tenants: &[&str], result: Result<String, String>) -> usize {
    let tenants = tenants.join(", ");
    match result {
        Ok(said) => {
            println!("ok    {what} ({tenants}): {said}");
            0
        }
        Err(why) => {
            println!("FAIL  {what} ({tenants}): {why}");
            1
        }
    }
}

/// Asks for a canary that was never sent, planned just now.
fn phantom_canary(config: &Config, clock: &WallClock) -> Wanted {
    let planned_at = clock.now() - Duration::from_secs(1);
    let tenant = config.tenants.first().map_or("", |tenant| &*tenant.name);
    let trace = TraceId::new(planned_at, [0; 10]);
    let instance = InstanceCode::of(&config.probe.instance);
    let tag = Tag::new(trace, TenantCode::of(tenant), instance, 100, Purpose::Check);
    Wanted { revision: 0, waiting: Arc::new([WantedTrace { tag, planned_at }]), ..Wanted::default() }
}
