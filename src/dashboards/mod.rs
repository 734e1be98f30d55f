//! Dashboards for Grafana, CloudWatch and Google Cloud Monitoring for one configuration of the probe.
//!
//! Shipped dashboards have thresholds of somebody else, know neither streams nor buckets, and show fifty tenants as
//! fifty lines. These are made from the configuration: thresholds, names of tenants and of what is polled, and from
//! `[pipeline]` the names of what is not. A panel whose name is missing says which key would fill it.
//!
//! `aws` and `google` list the panels about the pipeline's own metrics once, as values. CloudWatch, Cloud
//! Monitoring, Grafana with their data sources, and Grafana with Prometheus exporters are four ways to write them.
//! `grafana` has the panels about the probe's metrics. No panel draws more than `MOST_LINES` lines.
//!
//! Nothing here makes a call or knows a file.

mod aws;
mod exporters;
mod google;
mod grafana;
mod limits;
mod panel;
mod promql;
mod settings;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::settings::{Bucket, Dataset, Settings, Stream, TenantPlace};

/// More lines than this cannot be told apart.
pub const MOST_LINES: usize = 20;

/// What the dashboards are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Grafana: the probe's metrics in Prometheus, and the pipeline's from either cloud or from exporters.
    Grafana,
    /// A dashboard of CloudWatch, as `aws cloudwatch put-dashboard` takes it.
    CloudWatch,
    /// A dashboard of Google Cloud Monitoring, as `gcloud monitoring dashboards create` takes it.
    Google,
    /// Configurations of the exporters that bring the pipeline's metrics to Prometheus.
    Exporters,
}

/// One file of the output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its name: `overview.json`.
    pub name: &'static str,
    pub text: String,
}

impl File {
    fn json(name: &'static str, value: &Value) -> Self {
        Self { name, text: format!("{:#}\n", sorted(value)) }
    }
}

/// The same with the fields in the order of their names, whatever order the library keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<_> = fields.keys().collect();
            names.sort();
            Value::Object(
                names.into_iter().map(|name| (name.clone(), sorted(&fields[name.as_str()]))).collect(),
            )
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

/// Makes the dashboards.
#[must_use]
pub fn files(settings: &Settings, target: Target) -> Vec<File> {
    match target {
        Target::Grafana => grafana::files(settings),
        Target::CloudWatch => vec![File::json("pipeline.json", &aws::dashboard(settings))],
        Target::Google => vec![File::json("pipeline.json", &google::dashboard(settings))],
        Target::Exporters => exporters::files(settings),
    }
}
