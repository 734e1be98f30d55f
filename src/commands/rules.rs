//! `traceprobe rules`: prints rules for Prometheus, or a configuration for Alertmanager.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::configuration::Configuration;
use super::output;
use crate::config::Config;
use crate::rules::{self, Links, Settings};

/// Shown below the options of `traceprobe rules --help`.
const GUIDE: &str = "\
To load them:
  traceprobe rules --config traceprobe.toml -o /etc/prometheus/traceprobe.rules.yml
  promtool check rules /etc/prometheus/traceprobe.rules.yml
  # in prometheus.yml:  rule_files: [traceprobe.rules.yml]
  # then reload: kill -HUP, or POST /-/reload if Prometheus was started with --web.enable-lifecycle
They need Prometheus 2.42 or later. The name of the scrape job must be that of --job.

To notify people, without four notifications for one cause:
  traceprobe rules --config traceprobe.toml --alertmanager -o alertmanager.yml
  amtool check-config alertmanager.yml
  amtool config routes test --config.file=alertmanager.yml severity=critical

To test that an alert fires, take a canary's way: stop the export of one test tenant, and wait two minutes for
TraceprobeStuck. `traceprobe demo --scenario stall` does so without any cloud. TraceprobeWatchdog always fires;
route it to a service that notices when it stops.

Print them again after a change of tenants, stages, intervals, targets, probe.slo or probe.critical. Every alert has
a chapter in the runbook, to which it links: below web.external_url if that is set.";

/// Print Prometheus rules for a configuration: alerts with its thresholds, tenants and links.
///
/// Windows are long enough for the interval of each tenant. No call is made, and TRACEPROBE_TAG_KEY is not
/// needed.
#[derive(Debug, Args)]
#[command(after_long_help = GUIDE)]
pub struct Rules {
    #[command(flatten)]
    configuration: Configuration,
    /// Write to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the scrape job of the probe in Prometheus.
    #[arg(long, value_name = "NAME", default_value = "traceprobe", value_parser = job)]
    job: String,
    /// Time between two scrapes of the probe; windows hold at least four.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    scrape_interval: u64,
    /// Print an example of an Alertmanager configuration for these alerts instead.
    #[arg(long)]
    alertmanager: bool,
}

impl Rules {
    /// Prints the rules.
    pub fn run(&self) -> ExitCode {
        let config = match self.configuration.load_without_key() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let settings = settings(&config, &self.job, Duration::from_secs(self.scrape_interval));
        let text = if self.alertmanager {
            rules::to_alertmanager_yaml(&settings)
        } else {
            rules::to_yaml(&settings)
        };
        output::to_file_or_stdout(self.output.as_deref(), &text)
    }
}

/// What the rules of a configuration depend on.
#[must_use]
pub fn settings(config: &Config, job: &str, scrape_interval: Duration) -> Settings {
    Settings {
        job: job.to_owned(),
        scrape_interval,
        slo: config.probe.slo,
        critical: config.probe.critical,
        give_up: config.probe.give_up,
        window: config.conditions.window,
        topology: config.topology(),
        links: Links {
            external_url: config.web.external_url.clone(),
            runbook: config.probe.runbook.clone(),
            dashboard: config.web.dashboard.clone(),
        },
    }
}

/// Reads a job name. It becomes part of expressions and templates, where quotes and braces would end them.
fn job(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("write letters, digits, and any of _ - . / :".to_owned())
    }
}
