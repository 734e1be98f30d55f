//! What a configuration comes to: checked values, defaults filled in, names expanded, sources merged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cloud::account::Account;
use crate::domain::canary::Template;
use crate::domain::topology::{StageId, TenantId};
use crate::observe::SourceSettings;
use crate::observe::pace::Rhythm;

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

/// What outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// How long finished traces are kept.
    pub keep: Duration,
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

/// One thing that an observer reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The stage it belongs to.
    pub stage: StageId,
    /// The tenants whose canaries are looked for here; at least one.
    pub tenants: Vec<TenantId>,
    /// For people: `kinesis logs-acme`.
    pub name: Arc<str>,
    /// What is read, and how.
    pub settings: SourceSettings,
    /// How often.
    pub rhythm: Rhythm,
}
