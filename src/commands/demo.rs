//! `traceprobe demo`: a sandbox pipeline in this process, and the daemon that watches it.
//!
//! The daemon is the one of `traceprobe run`. It reaches the sandbox as it would reach the clouds: through
//! its clients, with endpoints from a configuration (see `--print-config`). A [`Scenario`] breaks the
//! pipeline.

mod scenario;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::domain::count::counted;
use crate::sandbox::{Access, Sandbox, Settings, Stage};

pub use self::scenario::Scenario;
use super::configuration::EX_CONFIG;
use super::output::{complain, say, stdout_is_taken};
use super::run::{self, End};
use super::runtimes::Runtimes;

/// Exit code for wrong arguments, as clap uses it.
const USAGE: u8 = 2;

/// Watch the probe at work on a sandbox pipeline in this process; needs no cloud account.
///
/// Open http://127.0.0.1:9464/traces/recent while it runs. Choose a scenario to see how a failure looks, such
/// as `--scenario stall`. Stop it with Ctrl-C.
#[derive(Debug, Args)]
pub struct Demo {
    /// Address and port of the pages and of /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464", value_parser = address)]
    listen: SocketAddr,
    /// Seed of the random delays and losses; the same seed gives the same run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Number of tenants of the pipeline.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    tenants: u8,
    /// What goes wrong, 15 seconds after the start.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Scenario::Healthy)]
    scenario: Scenario,
    /// Print the daemon's configuration before it starts. Nothing else goes to stdout then, so that it can be redirected
    /// to a file.
    #[arg(long)]
    print_config: bool,
}

impl Demo {
    /// Runs both until SIGTERM, SIGINT or SIGHUP, which a closed terminal sends.
    pub fn run(&self, runtimes: &Runtimes) -> End {
        let needed = self.scenario.tenants_needed();
        if self.tenants < needed {
            complain!("scenario {} needs at least {needed} tenants", self.scenario);
            return End::InOrder(ExitCode::from(USAGE));
        }
        let settings = Settings::demo(self.seed, usize::from(self.tenants));
        let settings = Settings { profile: self.scenario.profile(), ..settings };
        let sandbox = match runtimes.among_tasks(Sandbox::start(settings)) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                complain!("cannot start the sandbox: {error}");
                return End::InOrder(ExitCode::FAILURE);
            }
        };
        let text = configuration(&sandbox, self.listen);
        if self.print_config {
            say!("{text}");
            stdout_is_taken();
        }
        let config = match Config::parse(&text, environment()) {
            Ok(config) => config,
            Err(faults) => {
                complain!("{faults}");
                return End::InOrder(ExitCode::from(EX_CONFIG));
            }
        };
        say!(
            "sandbox pipeline with {}; faults can be switched on and off at {}/faults",
            counted(u64::from(self.tenants), "tenant"),
            sandbox.endpoints().admin
        );
        // The daemon says which one it is given.
        if self.listen.port() != 0 {
            say!("open http://{}/traces/recent", self.listen);
        }
        let end = run::daemon(config, None, runtimes, self.scenario.play(&sandbox));
        match end {
            End::InOrder(_) => runtimes.among_tasks(sandbox.stop()),
            End::AtOnce(_) => {}
        }
        end
    }
}

/// Reads an IP address and a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464".to_owned())
}

/// The environment of the daemon: a key that signs the tags.
fn environment() -> Vec<(String, String)> {
    vec![("TRACEPROBE_TAG_KEY".to_owned(), "the key of the demo is not a secret".to_owned())]
}

/// Returns the configuration of the daemon that watches a sandbox.
#[must_use]
pub fn configuration(sandbox: &Sandbox, listen: SocketAddr) -> String {
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
