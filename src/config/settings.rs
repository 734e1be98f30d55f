//! The result of reading a configuration: checked values, defaults filled in, names expanded, sources merged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cloud::account::Account;
use crate::domain::canary::Template;
use crate::domain::conditions::Thresholds;
use crate::domain::drill::DrillTime;
use crate::domain::topology::{StageId, TenantId};
use crate::observe::SourceSettings;
use crate::observe::pace::Rhythm;

/// The table `[probe]`: address, schedule and thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Address and port of the pages and of /metrics.
    pub listen: SocketAddr,
    /// Name of this instance, used in tags and log streams.
    pub instance: String,
    /// Whether that name is the host's name, as it is if `instance` is not set.
    pub instance_from_host: bool,
    /// Time between two canaries of a tenant, before jitter; a tenant may override it.
    pub interval: Duration,
    /// End-to-end threshold; a bucket bound.
    pub slo: Duration,
    /// Critical end-to-end threshold; a bucket bound.
    pub critical: Duration,
    /// Time from the planned injection to the deadline. A trace that is proven absent at the deadline is
    /// lost.
    pub give_up: Duration,
    /// How long to wait after the deadline, while the end stage is blind, before a trace counts as
    /// unobserved.
    pub grace: Duration,
    /// A source whose watermark is older than this while traces wait there is blind.
    pub blind_after: Duration,
    /// How long after a second copy was found in objects that may be moved both must still exist to be a
    /// duplicate.
    pub copy_recheck: Duration,
    /// For how long after startup `/readyz` waits until every source has answered a poll. After that, it
    /// reports ready even if some have not.
    pub warm_up: Duration,
    /// How long polls continue after SIGTERM, so that canaries in flight can arrive.
    pub stop_grace: Duration,
    /// How long a process and the one that it replaces may run side by side.
    pub handover: Duration,
    /// Maximum number of traces in flight; while it is reached, no more canaries are sent. `None` is what a
    /// total stall takes.
    pub max_in_flight: Option<usize>,
    /// Number of finished traces that are kept for the page.
    pub remember: usize,
    /// Upper bounds of the latency histograms, increasing.
    pub buckets: Vec<Duration>,
    /// Base URL of the runbook that the page links to; `None` for the probe's own page.
    pub runbook: Option<String>,
}

/// The table `[web]`: what clients of the pages and of /metrics may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Most open connections.
    pub max_connections: usize,
    /// Most open connections of one address; `None` for no such bound.
    pub max_connections_per_peer: Option<usize>,
    /// Names under which the pages may be requested, in lower case; empty for any.
    pub hosts: Vec<String>,
    /// The address of the pages as people reach them, without a `/` at its end.
    pub external_url: Option<String>,
    /// The address of the dashboard in Grafana; may have a query.
    pub dashboard: Option<String>,
    /// Whether the configuration can be read again over HTTP.
    pub reload: bool,
    /// The web configuration file, with TLS and users.
    pub config_file: Option<PathBuf>,
    /// Paths that need neither login nor client certificate; one that ends in `*` stands for all that begin so.
    pub open: Vec<String>,
    /// Whether the level of the log can be changed over HTTP.
    pub log_level: bool,
}

/// The table `[log]`: format and level of the probe's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A filter such as `info` or `info,hyper=warn`.
    pub level: String,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// One JSON object per line, for a log pipeline.
    Json,
}

/// The table `[canary]`: sizes and template for tenants that do not set their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Sizes in bytes, used in rotation.
    pub sizes: Vec<u32>,
    /// Template of the log line.
    pub template: Template,
}

/// The table `[store]`: where state is kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database file; `None` keeps state in memory only.
    pub path: Option<PathBuf>,
    /// How long finished traces and leaks are kept.
    pub keep: Duration,
    /// How long to wait at the start for another process to release the file.
    pub lock_timeout: Duration,
}

/// The table `[load]`: what `traceprobe load` may do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Load {
    /// Names of the tenants that may be loaded; empty for none.
    pub allow: Vec<String>,
    /// Most events in a second, of all tenants together.
    pub max_rate: u32,
    /// Most events of a run.
    pub max_events: u32,
    /// Most bytes that a run puts into log groups.
    pub max_bytes: u64,
    /// Most US dollars that a run may cost, as far as known before.
    pub max_dollars: u32,
    /// Address of a daemon that watches the same pipeline: a run ends when one of its tenants suffers.
    pub guard_url: Option<String>,
}

/// The table `[drill]`: when canaries of a tenant that does not exist are withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// When drills begin; empty if only on request.
    pub schedule: Vec<DrillTime>,
    /// How long canaries are withheld at most.
    pub length: Duration,
}

/// The table `[conditions]`: what is a problem, and what is only a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// How far back canaries count; `None` is 15 minutes, and at least 30 canaries of the tenant.
    pub window: Option<Duration>,
    /// A put that is answered later than this after the planned injection is late.
    pub late_after: Duration,
    /// How long all must have been well before an incident ends.
    pub over_after: Duration,
    /// When each condition that counts canaries is a note or a problem.
    pub thresholds: Thresholds,
}

/// One tenant, and how canaries are put into its log groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Unique name, used in labels, URLs and tags.
    pub name: Arc<str>,
    /// How rows name the tenant's client: the value in a stage's `tenant_column`. The tenant's name unless set.
    /// Tenants with one label are one client.
    pub label: Arc<str>,
    /// Names or ARNs of the log groups into which canaries are put in turn; at least one.
    pub log_groups: Vec<String>,
    /// The log stream for canaries, with `{tenant}` and `{instance}` expanded.
    pub log_stream: String,
    /// How to reach the log groups: their region, and the role to assume, which is usually in the tenant's AWS
    /// account.
    pub account: Account,
    /// Template of the tenant's log line.
    pub template: Template,
    /// Time between two canaries, before jitter.
    pub interval: Duration,
    /// Sizes in bytes, used in rotation; each is large enough for the template.
    pub sizes: Vec<u32>,
}

/// One thing that an observer polls: a stream, prefix, log group or table.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The stage it belongs to.
    pub stage: StageId,
    /// The tenants whose canaries are expected here; at least one.
    pub tenants: Vec<TenantId>,
    /// Whether this source belongs to exactly one tenant: its name contains the tenant, or the other tenants
    /// have sources of their own.
    pub single_tenant: bool,
    /// Display name: `kinesis logs-acme`.
    pub name: Arc<str>,
    /// What is polled, and how.
    pub settings: SourceSettings,
    /// Interval, timeout and settling time of its polls. The settling time is how long the service may take
    /// to make a new record readable.
    pub rhythm: Rhythm,
}
