//! The stages of the pipeline and its services, as settings, faults, truth and calls name them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place where a log event is stored. A hop is named by the stage it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The tenant's CloudWatch log group, where PutLogEvents stores.
    LogGroup,
    /// The tenant's Kinesis stream; its hop is the forwarder.
    TenantStream,
    /// The gzip NDJSON archive in S3; its hop is the archive writer.
    Archive,
    /// The transit objects in S3, shared between tenants; its hop is the exporter.
    Transit,
    /// The BigQuery table; its hop is the load.
    Bigquery,
    /// The dead-letter prefix in S3, which only a fault fills.
    DeadLetter,
    /// The copies of the transit objects in Google Cloud Storage, a side stage; its hop is the storage
    /// transfer. It is last because the position of a stage in this list seeds its random numbers.
    Transfer,
}

impl Stage {
    /// The name in JSON, in truth and in tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogGroup => "log_group",
            Self::TenantStream => "tenant_stream",
            Self::Archive => "archive",
            Self::Transit => "transit",
            Self::Bigquery => "bigquery",
            Self::DeadLetter => "dead_letter",
            Self::Transfer => "transfer",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A service with its own listener, clock and faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Logs,
    Kinesis,
    S3,
    Sts,
    Bigquery,
    Gcs,
}

impl Service {
    /// Every service, in the order of [`Service`].
    pub const ALL: [Self; 6] = [Self::Logs, Self::Kinesis, Self::S3, Self::Sts, Self::Bigquery, Self::Gcs];

    /// The name in JSON, in calls and in tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Kinesis => "kinesis",
            Self::S3 => "s3",
            Self::Sts => "sts",
            Self::Bigquery => "bigquery",
            Self::Gcs => "gcs",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
