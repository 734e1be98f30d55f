//! What a configuration comes to: checked values, defaults filled in, names expanded, sources merged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;
use crate::domain::canary::Template;
use crate::domain::schema::Fingerprint;
use crate::domain::topology::{Role, StageId, TenantId};

/// The probe itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where pages and metrics are served.
    pub listen: SocketAddr,
    /// Name of this instance, in tags and log streams.
    pub instance: String,
    /// That name is the host's, not one that somebody chose.
    pub instance_is_the_host: bool,
    /// Between two canaries of a tenant, before jitter.
    pub interval: Duration,
    /// End-to-end threshold; a bucket bound.
    pub slo: Duration,
    /// Critical end-to-end threshold; a bucket bound.
    pub critical: Duration,
    /// After this a trace that is proven absent is lost.
    pub give_up: Duration,
    /// How long after that a blind end stage may still come back.
    pub grace: Duration,
    /// A source whose watermark is older than this while traces wait is blind.
    pub blind_after: Duration,
    /// How long after the start the probe may be without a view of every source.
    pub warm_up: Duration,
    /// How long observers go on after SIGTERM.
    pub stop_grace: Duration,
    /// Most traces in flight.
    pub max_in_flight: usize,
    /// Finished traces that are kept for the page.
    pub remember: usize,
    /// Upper bounds of the latency histograms, increasing.
    pub buckets: Vec<Duration>,
    /// What the page links to when something is wrong, if not to its own.
    pub runbook: Option<String>,
}

/// How the probe logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// `info`, or `info,hyper=warn`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What canaries look like where a tenant does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Sizes in bytes, used in turn.
    pub sizes: Vec<u32>,
    /// The line.
    pub template: Template,
}

/// Amazon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The region where nothing else is said; also from `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// Where the services are, if not at Amazon.
    pub endpoints: Endpoints,
    /// As whom to go there.
    pub auth: AwsAuth,
}

/// As whom to go to Amazon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsAuth {
    /// The credentials that the environment, a profile, the container or the instance holds.
    Default,
    /// Fixed ones that mean nothing, for emulators.
    None,
}

/// Endpoint overrides; a general one is already filled in for each service that has none of its own.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// CloudWatch Logs.
    pub logs: Option<String>,
    /// Kinesis Data Streams.
    pub kinesis: Option<String>,
    /// S3.
    pub s3: Option<String>,
    /// STS, for AssumeRole.
    pub sts: Option<String>,
}

/// Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gcp {
    /// Where BigQuery is, if not at Google.
    pub endpoint: Option<String>,
    /// How to get a token.
    pub auth: GcpAuth,
    /// Who pays for the queries; the table's project if `None`.
    pub project: Option<String>,
}

/// What outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// How long finished traces are kept.
    pub keep: Duration,
}

/// How to get a token from Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcpAuth {
    /// Application default credentials.
    Adc,
    /// The key file of a service account.
    ServiceAccount {
        /// Path of the file.
        credentials_file: String,
    },
    /// The probe's AWS identity, which Google trusts as an `external_account` file says.
    WorkloadIdentity {
        /// Path of the file.
        credentials_file: String,
    },
    /// No token, for emulators.
    None,
}

/// Where in AWS something is, and as whom to go there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The region.
    pub region: String,
    /// The role to assume; the probe's own credentials if `None`.
    pub role: Option<AssumeRole>,
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssumeRole {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy asks for.
    pub external_id: Option<Secret>,
}

/// One client, and how canaries are put into its log group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: Arc<str>,
    /// What a row's tenant column says for it.
    pub label: Arc<str>,
    /// Where canaries are put.
    pub log_group: String,
    /// Where in it, `{tenant}` and `{instance}` expanded.
    pub log_stream: String,
    /// Its account.
    pub account: Account,
    /// The line.
    pub template: Template,
    /// Between two canaries, before jitter.
    pub interval: Duration,
    /// Sizes in bytes, used in turn; each holds the template.
    pub sizes: Vec<u32>,
}

/// What kind of place a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Kinesis data stream.
    Kinesis,
    /// A prefix of an S3 bucket.
    S3,
    /// A CloudWatch log group.
    CloudWatchLogs,
    /// A BigQuery table.
    BigQuery,
}

/// One stage. Its sources are in [`Config::sources`](super::Config::sources).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: Arc<str>,
    /// What kind of place it is.
    pub kind: Kind,
    /// The stage it follows; `None` follows injection.
    pub parent: Option<StageId>,
    /// What it is for.
    pub role: Role,
    /// How long its hop may take; a bucket bound.
    pub target: Option<Duration>,
    /// By how much its clock and ours may disagree.
    pub clock_allowance: Duration,
}

/// One thing that an observer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The stage it belongs to.
    pub stage: StageId,
    /// The tenants whose canaries are looked for here; at least one.
    pub tenants: Vec<TenantId>,
    /// For people: `kinesis logs-acme`.
    pub name: Arc<str>,
    /// What is read, and how.
    pub kind: SourceKind,
    /// Between two looks.
    pub interval: Duration,
    /// For one look.
    pub timeout: Duration,
    /// How far before its start a look vouches for, for stages that show new events with a delay.
    pub settle: Duration,
}

/// What is read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant holds the settings of its kind")]
pub enum SourceKind {
    Kinesis(Kinesis),
    S3(S3),
    CloudWatchLogs(CloudWatchLogs),
    BigQuery(BigQuery),
}

/// What becomes of what arrives at a source while no canary is waited for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// It is not read.
    Skip,
    /// It is read with the next look.
    Read,
}

/// A Kinesis data stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinesis {
    /// Where it is.
    pub account: Account,
    /// Name or ARN.
    pub stream: String,
    /// Most records of a GetRecords call.
    pub max_records: u32,
    /// What becomes of what arrives while nothing waits.
    pub gaps: Gaps,
    /// Most bytes of records a second that are read of each shard.
    pub max_bytes_per_second: u64,
}

/// A prefix of an S3 bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// Where it is.
    pub account: Account,
    /// The bucket.
    pub bucket: String,
    /// Prefix of the keys, with the time fields `%Y %m %d %j %H %M` (UTC).
    pub key: String,
    /// What follows the tenant's name in a key where that stands after the time fields, right after `key`. The prefix is
    /// then listed once for all tenants, and keys say whose an object is.
    pub after_tenant: Option<String>,
    /// How long before what it holds the time in an object's key may be.
    pub key_slack: Duration,
    /// Keys grow with time inside a prefix, so a list may begin after the last one.
    pub ordered_keys: bool,
    /// Most keys that are listed in one look.
    pub max_keys: u32,
    /// Most bytes of an object that are fetched.
    pub max_object: u64,
    /// Most bytes that an object is inflated to.
    pub max_inflated: u64,
    /// What becomes of what arrives while nothing waits.
    pub gaps: Gaps,
}

/// A CloudWatch log group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudWatchLogs {
    /// Where it is.
    pub account: Account,
    /// Name or ARN.
    pub log_group: String,
    /// What events must match.
    pub filter_pattern: String,
    /// What becomes of what arrives while nothing waits.
    pub gaps: Gaps,
    /// Most FilterLogEvents calls a second, of all sources in the same account and region.
    pub max_calls_per_second: u32,
}

/// A BigQuery table. Its names can stand in a query as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigQuery {
    /// The table.
    pub table: TableName,
    /// The column by which canaries are found.
    pub id_column: String,
    /// What that column holds.
    pub id_is: IdIs,
    /// A server-side stamp of the arrival.
    pub time_column: Option<String>,
    /// Whose row it is.
    pub tenant_column: Option<String>,
    /// The log line, to check it for truncation.
    pub body_column: Option<String>,
    /// Location of the dataset.
    pub location: Option<String>,
    /// How partitions are pruned.
    pub partition: Partition,
    /// Most bytes that a query may bill.
    pub max_bytes_billed: u64,
    /// Most bytes that all queries of a day (UTC) may bill; no bound if `None`.
    pub daily_bytes_billed: Option<u64>,
    /// The columns that it should have; those that are found first if `None`.
    pub schema: Option<Vec<Column>>,
    /// What may take the place of the columns that were found first.
    pub schema_accepted: Vec<Fingerprint>,
    /// How often it is described again, to notice that its columns have changed.
    pub schema_refresh: Duration,
}

/// A column that a table should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, `record.column` inside records.
    pub name: String,
    /// Its type, in capitals.
    pub kind: String,
    /// `NULLABLE`, `REQUIRED` or `REPEATED`.
    pub mode: &'static str,
}

/// `project.dataset.table`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the three parts are named by what they are")]
pub struct TableName {
    pub project: String,
    pub dataset: String,
    pub table: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

/// What the id column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdIs {
    /// The whole tag.
    Tag,
    /// The 32 hexadecimal digits of the trace id.
    TraceId,
}

/// How a query is kept from reading the whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// By what the table says of itself.
    Auto,
    /// Not at all.
    None,
    /// By this predicate.
    Custom(String),
}
