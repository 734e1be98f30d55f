//! What dashboards depend on.

use std::time::Duration;

use crate::domain::pipeline::Pipeline;
use crate::domain::topology::Topology;

/// What dashboards depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the job under which Prometheus scrapes the probe.
    pub job: String,
    /// End-to-end threshold of a warning.
    pub slo: Duration,
    /// End-to-end threshold of a critical alert.
    pub critical: Duration,
    /// Upper bounds of the latency histograms, increasing.
    pub buckets: Vec<Duration>,
    /// Tenants with their intervals, and stages with their targets.
    pub topology: Topology,
    /// Whether any service has a budget for polls.
    pub has_budgets: bool,
    /// The address of the pages as people reach them, without a `/` at its end.
    pub external_url: Option<String>,
    /// Names of what is not polled; those that follow from what is are filled in.
    pub pipeline: Pipeline,
    /// The region of everything in AWS that has none of its own.
    pub region: String,
    /// The tenants' own accounts.
    pub tenants: Vec<TenantPlace>,
    /// The Kinesis streams that are polled.
    pub streams: Vec<Stream>,
    /// The S3 buckets that are polled, those of side stages first.
    pub buckets_s3: Vec<Bucket>,
    /// The Cloud Storage buckets that are polled.
    pub buckets_gcs: Vec<Bucket>,
    /// The datasets of BigQuery whose tables are polled.
    pub datasets: Vec<Dataset>,
}

/// Where a tenant's log group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPlace {
    pub name: String,
    pub region: String,
    /// The number of the AWS account; `None` for the probe's own.
    pub account: Option<String>,
}

/// A Kinesis stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The tenant, or the stage if it is shared.
    pub label: String,
    pub name: String,
    pub region: String,
    pub account: Option<String>,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The stage.
    pub label: String,
    pub name: String,
    /// Empty for Cloud Storage.
    pub region: String,
    pub account: Option<String>,
}

/// A dataset of BigQuery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub project: String,
    pub name: String,
}
