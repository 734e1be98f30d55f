//! `traceprobe rules`: prints rules for Prometheus, or a configuration for Alertmanager.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::configuration::Configuration;
use super::output::{self, complain};
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
a chapter in the runbook, to which it links: below web.external_url if that is set. Without it and probe.runbook, alerts
that are about no instance, such as that none is up, have no link; a line on stderr says how many.";

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
            if let Some(note) = without_link(&settings) {
                complain!("{note}");
            }
            rules::to_yaml(&settings)
        };
        output::to_file_or_stdout(self.output.as_deref(), &text)
    }
}

/// What to say if alerts have no link that can be followed.
fn without_link(settings: &Settings) -> Option<String> {
    let (alerts, have) = match settings.links.missing(&rules::groups(settings)) {
        0 => return None,
        1 => ("1 alert".to_owned(), "has"),
        count => (format!("{count} alerts"), "have"),
    };
    Some(format!(
        "note: {alerts} {have} no link, only the name of a file in runbook_url: set web.external_url, or probe.runbook"
    ))
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
pub(super) fn job(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("write letters, digits, and any of _ - . / :".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The note on the example with this line in `[probe]` or `[web]`.
    fn note(table: &str, line: &str) -> Option<String> {
        let text = include_str!("../../config/traceprobe.toml").replacen(
            &format!("\n[{table}]\n"),
            &format!("\n[{table}]\n{line}\n"),
            1,
        );
        let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
        let config = Config::parse(&text, key).unwrap_or_else(|faults| panic!("{faults}"));
        without_link(&settings(&config, "traceprobe", Duration::from_secs(15)))
    }

    #[test]
    fn alerts_that_link_to_no_page_are_counted() {
        let shipped = include_str!("../../config/prometheus/rules.yml");
        let without = shipped.lines().filter(|line| line.trim().starts_with("docs/runbook.md#"));
        let note_of_example = note("probe", "").unwrap();
        let begin = format!("note: {} alerts have no link, ", without.count());
        assert!(note_of_example.starts_with(&begin), "{note_of_example}");
        assert_eq!(note("probe", "runbook = \"https://wiki.example.org/traceprobe\""), None);
        assert_eq!(note("web", "external_url = \"https://traceprobe.example.org\""), None);
    }
}
