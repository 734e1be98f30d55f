//! The inputs of all pages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::words::percent_encoded;
use crate::domain::aggregates::{History, Selection};
use crate::domain::conditions::Criteria;
use crate::domain::evidence::Evidence;
use crate::domain::pipeline::Pipeline;
use crate::domain::tag::{Tag, TagText};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tool_endpoints::ToolEndpoints;
use crate::domain::topology::{SourceId, TenantId};
use crate::domain::tracker::Snapshot;
use crate::metrics::Format;

/// Path of the runbook that the probe serves.
pub(crate) const RUNBOOK: &str = "/runbook";

/// A check that passes, or fails with a reason.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// Reads figures over time.
pub type HistoryReader = Arc<dyn Fn(&Selection) -> History + Send + Sync>;
/// Renders a scrape.
pub type Scraper = Arc<dyn Fn(Format) -> String + Send + Sync>;
/// Writes the tag of a canary as it was sent.
pub type Signer = Arc<dyn Fn(&Tag) -> TagText + Send + Sync>;

/// The inputs of all pages.
#[derive(Clone)]
pub struct App {
    /// The last snapshot that the engine published.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The probe's clock, to determine the age of the snapshot.
    pub clock: WallClock,
    /// What a new configuration may change.
    pub settings: Arc<Settings>,
    /// The configuration in force, without secrets.
    pub config: Arc<serde_json::Value>,
    /// Passes once every source has been read or the warm-up is over.
    pub ready: Check,
    /// What `/history` selects from.
    pub history: HistoryReader,
    /// What `/metrics` returns.
    pub scrape: Scraper,
    /// For commands that look a canary up by its tag.
    pub sign: Signer,
    /// Begins drills and takes notifications of them; `None` if they are not enabled.
    pub drill: Option<DrillControl>,
    /// Changes the level of the log; `None` if that is not enabled.
    pub log_level: Option<LogLevel>,
    /// Reads the configuration again; `None` if the route is not enabled.
    pub reload: Option<Reload>,
}

/// Reads the configuration again. Returns what changed, or why it is refused.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// The inputs as they are now: a new configuration replaces them.
#[derive(Clone, Debug)]
pub struct Apps(watch::Receiver<App>);

impl Apps {
    /// Those of a process that may read its configuration again.
    #[must_use]
    pub fn new(apps: watch::Receiver<App>) -> Self {
        Self(apps)
    }

    pub(crate) fn now(&self) -> App {
        self.0.borrow().clone()
    }
}

impl From<App> for Apps {
    fn from(app: App) -> Self {
        Self(watch::Sender::new(app).subscribe())
    }
}

impl FromRef<Apps> for App {
    fn from_ref(apps: &Apps) -> Self {
        apps.now()
    }
}

/// Tells the drill what to do. What comes of it shows in later snapshots.
#[derive(Clone)]
pub struct DrillControl {
    /// Begins a drill.
    pub begin: Arc<dyn Fn() + Send + Sync>,
    /// A notification of its alert arrived.
    pub rang: Arc<dyn Fn() + Send + Sync>,
}

/// Sets the level of the log, or says what is wrong with it.
pub type SetLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Reads and sets the level of the log.
#[derive(Clone)]
pub struct LogLevel {
    /// The level in force, as `log.level` is written.
    pub get: Arc<dyn Fn() -> String + Send + Sync>,
    /// Sets it, or says what is wrong with it.
    pub set: SetLevel,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&(self.get)()).finish()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl App {
    /// The age of the snapshot of `at`, if it is so old that the engine must be stuck.
    pub(crate) fn stale(&self, at: Timestamp) -> Option<Duration> {
        let age = self.clock.now().since(at);
        (age > self.settings.stale_after).then_some(age)
    }
}

/// What follows from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program's version.
    pub version: String,
    /// Address of the runbook; `None` for the probe's own page. Its anchors are the names of the conditions, in lower
    /// case and with hyphens.
    pub runbook: Option<String>,
    /// Address of the probe as people reach it, for links in texts that leave the page.
    pub external_url: Option<String>,
    /// The thresholds and windows of verdicts.
    pub criteria: Criteria,
    /// Time from the planned injection to the deadline.
    pub give_up: Duration,
    /// Number of finished traces that are remembered.
    pub remember: usize,
    /// Maximum age of the last snapshot before the engine counts as stuck.
    pub stale_after: Duration,
    /// Names of the parts of the pipeline that are not polled, for commands of the runbook.
    pub pipeline: Pipeline,
    /// What the tools in these commands must be told to reach the services.
    pub endpoints: ToolEndpoints,
    /// Commands that show what each source holds.
    pub evidence: BTreeMap<SourceId, Arc<dyn Evidence>>,
    /// Commands that show what each log group of a tenant holds.
    pub log_groups: BTreeMap<TenantId, Vec<Arc<dyn Evidence>>>,
}

impl Settings {
    /// The address of a chapter of the runbook.
    #[must_use]
    pub fn chapter(&self, anchor: &str) -> String {
        format!("{}#{anchor}", self.runbook.as_deref().unwrap_or(RUNBOOK))
    }

    /// The address of a chapter of the runbook. The probe's own page gets a tenant and a stage, to fill in its
    /// commands.
    #[must_use]
    pub(crate) fn chapter_for(&self, anchor: &str, tenant: Option<&str>, stage: Option<&str>) -> String {
        if self.runbook.is_some() {
            return self.chapter(anchor);
        }
        let given = [("tenant", tenant), ("stage", stage)];
        let query = given
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name}={}", percent_encoded(value))));
        match query.collect::<Vec<_>>().join("&") {
            none if none.is_empty() => self.chapter(anchor),
            query => format!("{RUNBOOK}?{query}#{anchor}"),
        }
    }
}
