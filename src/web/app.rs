//! What pages are made of, and what does not change while the process runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::evidence::Evidence;
use crate::domain::tag::{Tag, TagText};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tracker::Snapshot;
use crate::domain::verdict::{Condition, Criteria};
use crate::metrics::Format;

/// Where the probe itself serves its runbook.
pub(crate) const RUNBOOK: &str = "/runbook";

/// A question that is answered with yes, or no and why.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// Renders a scrape.
pub type Scraper = Arc<dyn Fn(Format) -> String + Send + Sync>;
/// Writes the tag of a canary again, as it was sent.
pub type Signer = Arc<dyn Fn(&Tag) -> TagText + Send + Sync>;

/// Everything that the pages are made of.
#[derive(Clone)]
pub struct App {
    /// The last state that the engine published.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The wall clock, to say how old that is.
    pub clock: WallClock,
    /// What does not change while the process runs.
    pub settings: Arc<Settings>,
    /// The configuration in force, without secrets.
    pub config: Arc<serde_json::Value>,
    /// Whether every source has been read once or the warm-up is over.
    pub ready: Check,
    /// Whether what happens is being kept for the time after a restart.
    pub kept: Check,
    /// What Prometheus reads.
    pub scrape: Scraper,
    /// For look-ups by tag that the page offers to copy.
    pub sign: Signer,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl App {
    /// How old the snapshot of `at` is, if that is too old: the engine is stuck.
    pub(crate) fn stale(&self, at: Timestamp) -> Option<Duration> {
        let age = self.clock.now().since(at);
        (age > self.settings.stale_after).then_some(age)
    }
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program's version.
    pub version: String,
    /// Address of the runbook, if it is not the probe's own page. Its anchors are the names of the alerts in lower case.
    pub runbook: Option<String>,
    /// How verdicts are reached.
    pub criteria: Criteria,
    /// After this a trace that is proven absent is lost.
    pub give_up: Duration,
    /// How many finished traces are remembered.
    pub remember: usize,
    /// How old the last snapshot may be before the engine counts as stuck.
    pub stale_after: Duration,
    /// How to look up what each source holds, by its id. Sources beyond the end of the list get no look-ups.
    pub evidence: Vec<Arc<dyn Evidence>>,
}

impl Settings {
    /// The runbook's chapter on a condition; nothing where there is nothing to do.
    #[must_use]
    pub fn runbook(&self, condition: &Condition) -> Option<String> {
        condition.profile().chapter.map(|anchor| self.chapter(anchor))
    }

    /// A chapter of the runbook.
    #[must_use]
    pub fn chapter(&self, anchor: &str) -> String {
        format!("{}#{anchor}", self.runbook.as_deref().unwrap_or(RUNBOOK))
    }
}
