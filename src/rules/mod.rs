//! Prometheus rules and an Alertmanager configuration for one configuration of the probe.
//!
//! Rules that are shipped as a file have thresholds and windows for one interval, know no tenant, and link
//! nowhere. These are made from the configuration: `slo` and `critical`, windows that hold enough canaries of
//! every tenant, links to the probe's own pages, and the names of the tenants, so that one that is no longer
//! measured is missed for as long as it is.
//!
//! Rules are values (`rule`) until `yaml` writes them. Each file holds the rules of one subject. What the
//! probe has judged (`traceprobe_condition`, `traceprobe_total_stall`) is not judged here again: such an alert
//! reads the condition. The others count, over windows that are longer than a condition remembers.
//!
//! Nothing here makes a call or knows a file.

mod alertmanager;
mod burn_rate;
mod cohort;
mod content;
mod injection;
mod isolation;
mod latency;
mod links;
mod loss;
mod probe;
pub(crate) mod promql;
mod rule;
mod stage;
mod stall;
#[cfg(test)]
mod tests;
mod visibility;
pub(crate) mod window;
mod yaml;

use std::time::Duration;

pub use self::links::Links;
use self::promql::Probe;
pub use self::rule::{Alert, Cause, Group, Record, Rule, Severity};
use crate::domain::topology::Topology;

/// What the rules depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the job under which Prometheus scrapes the probe.
    pub job: String,
    /// Time between two scrapes.
    pub scrape_interval: Duration,
    /// End-to-end threshold of a warning.
    pub slo: Duration,
    /// End-to-end threshold of a critical alert.
    pub critical: Duration,
    /// The deadline of a trace.
    pub give_up: Duration,
    /// The window of conditions, which scales all windows; `None` is 15 minutes.
    pub window: Option<Duration>,
    /// Tenants with their intervals, and stages with their targets.
    pub topology: Topology,
    /// Where alerts link to.
    pub links: Links,
}

/// Makes the rules, in groups.
#[must_use]
pub fn groups(settings: &Settings) -> Vec<Group> {
    let probe = Probe { job: &settings.job, tenants: None };
    let cohorts = cohort::all(settings);
    let scale = window::Scale::of(settings);
    let mut groups: Vec<Group> =
        cohorts.last().map(|slowest| stall::total(&probe, slowest)).into_iter().collect();
    groups.extend(cohorts.iter().map(stall::group));
    groups.extend(cohorts.iter().map(|cohort| latency::group(settings, cohort)));
    groups.extend(cohorts.iter().map(|cohort| loss::group(settings, cohort)));
    groups.push(stage::group(&probe));
    groups.extend(cohorts.iter().filter_map(|cohort| stage::critical(settings, cohort)));
    groups.push(content::group(&probe));
    groups.push(isolation::group(settings, &probe, &scale));
    groups.push(visibility::group(settings, &probe, &scale));
    groups.extend(cohorts.iter().map(|cohort| visibility::unobserved(settings, cohort)));
    groups.extend(cohorts.iter().map(|cohort| injection::group(cohort, &scale)));
    groups.push(probe::group(settings, &probe, &scale));
    groups.extend(cohorts.iter().map(|cohort| loss::objectives(settings, cohort)));
    groups.extend(loss::pooled_objectives(settings, &probe, &cohorts));
    groups.extend(cohorts.iter().map(|cohort| burn_rate::group(settings, cohort)));
    groups.extend(burn_rate::pooled(settings, &probe, &cohorts));
    groups
}

/// Writes the rules as a file for Prometheus.
#[must_use]
pub fn to_yaml(settings: &Settings) -> String {
    let heading = "Alerts on what traceprobe measures, for one configuration of it, as `traceprobe rules --config \
                   FILE` prints them. Change the configuration and print them again.";
    yaml::file(heading, &groups(settings), &settings.links)
}

/// Writes the example of an Alertmanager configuration that goes with the rules.
#[must_use]
pub fn to_alertmanager_yaml(settings: &Settings) -> String {
    alertmanager::file(settings)
}
