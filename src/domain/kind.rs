//! The kinds of stages: the services in which a canary can be observed.

use std::fmt;

/// Declares [`Kind`] with its names, each kind once.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The kind of a stage.
        ///
        /// What a kind can do is defined in its folder in `src/observe/`. No other code may match on the
        /// kind: what it needs to know travels as values.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name in the configuration and in JSON, and the name of its folder: `cloudwatch_logs`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A Kinesis data stream.
    Kinesis = "kinesis",
    /// A prefix of an S3 bucket.
    S3 = "s3",
    /// A prefix of a Google Cloud Storage bucket.
    Gcs = "gcs",
    /// A CloudWatch log group.
    CloudWatchLogs = "cloudwatch_logs",
    /// A BigQuery table.
    BigQuery = "bigquery",
    /// A queue of dead letters.
    Sqs = "sqs",
}

/// The part of the pipeline that writes into places of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// The function that reads the tenants' streams.
    Aggregation,
    /// On the main path the function that exports, else the aggregation, which fills the archive.
    AggregationOrExport,
    /// A job that copies objects between clouds.
    Transfer,
    /// No function that has a name in the configuration.
    Unnamed,
}

impl Kind {
    /// What writes into places of this kind.
    #[must_use]
    pub const fn writer(self) -> Writer {
        match self {
            Self::Kinesis => Writer::Aggregation,
            Self::S3 => Writer::AggregationOrExport,
            Self::Gcs => Writer::Transfer,
            Self::CloudWatchLogs | Self::BigQuery | Self::Sqs => Writer::Unnamed,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
