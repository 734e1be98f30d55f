//! `traceprobe demo`: a pipeline in this process, and the daemon in front of it.
//!
//! The daemon is the one that `run` runs. It reaches the sandbox as it would reach the clouds, through its clients, with
//! endpoints from a configuration that is printed by `--print-config`. What goes wrong in front of it is a
//! [`Scenario`].

mod scenario;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::sandbox::{Access, Sandbox, Settings, Stage};

use self::scenario::Scenario;
use super::run;

/// What wrong arguments end with, as clap does it.
const USAGE: u8 = 2;

/// Watch the probe at work: a sandbox pipeline of several tenants in this process, and the daemon in front of it.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the page and the metrics are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Decides delays and fates; the same seed gives the same run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many tenants the pipeline has.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    tenants: u8,
    /// What goes wrong, a quarter of a minute after the start.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Scenario::Healthy)]
    scenario: Scenario,
    /// Print the daemon's configuration before it starts.
    #[arg(long)]
    print_config: bool,
}

impl Demo {
    /// Runs both until SIGTERM or SIGINT.
    pub async fn run(&self) -> ExitCode {
        let takes = self.scenario.tenants();
        if self.tenants < takes {
            eprintln!("the scenario {} takes at least {takes} tenants", self.scenario);
            return ExitCode::from(USAGE);
        }
        let settings = Settings::demo(self.seed, usize::from(self.tenants));
        let settings = Settings { profile: self.scenario.profile(), ..settings };
        let sandbox = match Sandbox::start(settings).await {
            Ok(sandbox) => sandbox,
            Err(error) => {
                eprintln!("cannot start the sandbox: {error}");
                return ExitCode::FAILURE;
            }
        };
        let text = configuration(&sandbox, self.listen);
        if self.print_config {
            println!("{text}");
        }
        let config = match Config::parse(&text, environment()) {
            Ok(config) => config,
            Err(faults) => {
                eprintln!("{faults}");
                return ExitCode::from(run::EX_CONFIG);
            }
        };
        println!(
            "a pipeline of {} tenants in this process; its switches are at {}/faults",
            self.tenants,
            sandbox.endpoints().admin
        );
        println!("look at http://{}/traces/recent", self.listen);
        let code = tokio::select! {
            code = run::daemon(config) => code,
            never = self.scenario.play(&sandbox) => match never {},
        };
        sandbox.stop().await;
        code
    }
}

/// The daemon's environment: a key for its tags.
fn environment() -> Vec<(String, String)> {
    vec![("TRACEPROBE_TAG_KEY".to_owned(), "the demo's key is no secret".to_owned())]
}

/// The configuration of the daemon.
fn configuration(sandbox: &Sandbox, listen: SocketAddr) -> String {
    let probe = format!(
        r#"listen = "{listen}"
interval = "3s"
give_up = "2m"
grace = "1m"
blind_after = "15s"
stop_grace = "5s""#
    );
    let stages = [
        (Stage::TenantStream, "target = \"1s\""),
        (Stage::Archive, "interval = \"2s\"\ntarget = \"10s\""),
        (Stage::DeadLetter, "interval = \"2s\""),
        (Stage::Transit, "interval = \"2s\"\ntarget = \"10s\""),
        (Stage::Bigquery, "interval = \"2s\"\ntarget = \"5s\""),
    ];
    sandbox.probe_configuration(Access::TenantRoles, &probe, &stages)
}
