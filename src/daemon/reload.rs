//! Reads the configuration again while the daemon runs, and puts it in force or refuses it as a whole.
//!
//! Everything that can fail happens first: the file is read and checked, and what it adds is built. Only then is
//! the engine given the change, which it makes between two inputs. What was refused changes nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::info;

use super::engine::{Change, LaneChange};
use super::roster::{Next, Roster};
use super::supervisor::Task;
use super::wire::{self, Common};
use super::{build, log_events};
use crate::config::{Config, Faults};
use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::domain::tracker::Snapshot;
use crate::metrics::Metrics;
use crate::web::App;

/// How the configuration is read again.
#[derive(Clone)]
pub enum Again {
    /// As at the start.
    With(Arc<dyn Fn() -> Result<Config, Faults> + Send + Sync>),
    /// It cannot be, for this reason.
    Cannot(&'static str),
}

/// Requests that may wait; more are answered by those.
const REQUESTS: usize = 4;
/// Tasks that may wait to be started.
const TASKS: usize = 256;
/// Least time between two renewals of credentials for whoever asks over HTTP.
const RENEW_EVERY: Duration = Duration::from_mins(1);
/// How often a change is planned again because a tenant has just left.
const ATTEMPTS: usize = 3;

/// What is known of the configuration that was read last.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Since when and why the configuration in force is not the one that was read last.
    pub failed: Option<(Timestamp, ForeignText)>,
}

/// Asks for the configuration to be read again.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Request>);

type Answer = Result<String, String>;

#[derive(Debug)]
struct Request {
    requester: Requester,
    answer: oneshot::Sender<Answer>,
}

/// Who requests a reload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Requester {
    /// Whoever may signal the process.
    Signal,
    /// Whoever reaches the port.
    Http,
}

impl Reloader {
    /// Asks over HTTP. Returns what changed once the new configuration is in force, or every reason why it is refused.
    ///
    /// # Errors
    ///
    /// The reasons, one a line.
    pub async fn reload(&self) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let request = Request { requester: Requester::Http, answer };
        self.0.try_send(request).map_err(|_| "the configuration is being read already".to_owned())?;
        answered.await.unwrap_or_else(|_| Err("the daemon is stopping".to_owned()))
    }

    /// Asks after a signal, without waiting. The log has the answer.
    pub fn request(&self) {
        // A full queue has one that waits.
        let _full = self.0.try_send(Request { requester: Requester::Signal, answer: oneshot::channel().0 });
    }
}

/// The ends of the channels of the task that reloads.
pub(super) struct Channels {
    requests: mpsc::Receiver<Request>,
    changes: mpsc::Sender<Change>,
    reloads: watch::Sender<Reloads>,
    tasks: mpsc::Sender<Task>,
}

/// The other ends.
pub(super) struct Ends {
    pub(super) reloader: Reloader,
    /// For the engine.
    pub(super) changes: mpsc::Receiver<Change>,
    /// For the engine.
    pub(super) reloads: watch::Receiver<Reloads>,
    /// For the supervisor: what to start.
    pub(super) tasks: mpsc::Receiver<Task>,
}

pub(super) fn channels() -> (Channels, Ends) {
    let (to_task, requests) = mpsc::channel(REQUESTS);
    let (changes, to_engine) = mpsc::channel(1);
    let (reloads, shown) = watch::channel(Reloads::default());
    let (tasks, to_start) = mpsc::channel(TASKS);
    let ends = Ends { reloader: Reloader(to_task), changes: to_engine, reloads: shown, tasks: to_start };
    (Channels { requests, changes, reloads, tasks }, ends)
}

/// Everything that a reload needs.
pub(super) struct Reloading {
    pub(super) again: Again,
    /// In force.
    pub(super) config: Config,
    pub(super) common: Common,
    pub(super) roster: Roster,
    pub(super) metrics: Metrics,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) apps: watch::Sender<App>,
    pub(super) channels: Channels,
    pub(super) renewals: Renewals,
}

/// When a reload has credentials read again. New ones cost calls of the token services, which throttle: an `AssumeRole`
/// for each role. So a client that asks in a loop gets new ones once a minute. A signal always does, and so does a
/// configuration that has other credentials, or needs a Google service for which the present token is not valid.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    last: Option<Instant>,
}

impl Renewals {
    /// Whether credentials are to be read again now, for somebody who asks, or because access to Google changes.
    fn is_due(&self, requester: Requester, access: GoogleAccess) -> bool {
        let had_time = self.last.is_none_or(|last| last.elapsed() >= RENEW_EVERY);
        requester == Requester::Signal || access == GoogleAccess::Changed || had_time
    }

    fn done(&mut self) {
        self.last = Some(Instant::now());
    }
}

/// The Google services that a new configuration uses, and its credentials for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GoogleAccess {
    Same,
    Changed,
}

impl GoogleAccess {
    fn of(before: &Config, next: &Config) -> Self {
        let (before, next) = (&before.google, &next.google);
        let is_same = before.services == next.services && before.auth == next.auth;
        if is_same { Self::Same } else { Self::Changed }
    }
}

/// Why a configuration is refused. Displays as one reason a line.
#[derive(Debug)]
enum Refusal {
    Cannot(&'static str),
    Faults(Faults),
    NeedsRestart(Vec<String>),
    Failed(anyhow::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cannot(reason) => f.write_str(reason),
            Self::Faults(faults) => write!(f, "{faults}"),
            Self::NeedsRestart(keys) => {
                write!(f, "what changed needs a restart:")?;
                keys.iter().try_for_each(|key| write!(f, "\n  {key}"))
            }
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl Reloading {
    /// Answers requests until the daemon ends.
    pub(super) async fn run(mut self) {
        let end = self.common.end.clone();
        // Cancellation drops a reload in progress: the engine has the whole change, or nothing of it.
        let _ended = end.run_until_cancelled(self.answer()).await;
    }

    async fn answer(&mut self) {
        while let Some(Request { requester, answer: waits }) = self.channels.requests.recv().await {
            let result = self.reload(requester).await;
            let now = self.common.clock.now();
            let answer = match result {
                Ok(what) => {
                    log_events::reloaded(&what, &self.config.notes);
                    self.metrics.reloaded(Some(now));
                    self.channels.reloads.send_replace(Reloads::default());
                    Ok(what)
                }
                Err(refusal) => {
                    let why = refusal.to_string();
                    log_events::reload_refused(&why);
                    self.metrics.reloaded(None);
                    let text: ForeignText = why.replace("\n  ", " ").as_str().into();
                    self.channels.reloads.send_modify(|reloads| {
                        let since = reloads.failed.as_ref().map_or(now, |(since, _)| *since);
                        reloads.failed = Some((since, text));
                    });
                    Err(why)
                }
            };
            // Who asked may not wait any more.
            let _told = waits.send(answer);
        }
        std::future::pending().await
    }

    async fn reload(&mut self, requester: Requester) -> Result<String, Refusal> {
        let load = match self.again.clone() {
            Again::With(load) => load,
            Again::Cannot(reason) => return Err(Refusal::Cannot(reason)),
        };
        let read = spawn_blocking(move || load()).await.map_err(|panic| Refusal::Failed(panic.into()))?;
        let config = read.map_err(Refusal::Faults)?;
        let in_force = self.snapshots.borrow().topology.clone();
        let needs = self.config.needs_restart(&config, &in_force);
        if !needs.is_empty() {
            return Err(Refusal::NeedsRestart(needs));
        }
        let what = difference(&self.config, &config);
        let mut common = self.common.clone();
        if self.renewals.is_due(requester, GoogleAccess::of(&self.config, &config)) {
            build::renew(&mut common.clients, &config.google).await.map_err(Refusal::Failed)?;
            self.renewals.done();
        }
        for _ in 0..ATTEMPTS {
            if self.put_in_force(&config, &mut common).await.map_err(Refusal::Failed)? {
                common.clients.budgets.change(&config.budgets);
                let total_stall = config.total_stall();
                if total_stall != self.config.total_stall() {
                    info!("{total_stall}");
                }
                self.config = config;
                self.common = common;
                return Ok(what);
            }
        }
        Err(Refusal::Failed(anyhow::anyhow!("tenants kept leaving meanwhile; reload again")))
    }

    /// Returns false if a tenant left after the change was planned.
    async fn put_in_force(&mut self, config: &Config, common: &mut Common) -> anyhow::Result<bool> {
        let engine = self.snapshots.borrow().topology.clone();
        let same = self.roster.same(config, &engine);
        let successor = engine.succeeded_by(&config.topology(), &same)?;
        common.topology = Arc::new(successor.topology);
        common.recognizer = build::recognizer(&config.keyring, &common.topology);
        let (tenants, sources) = (&successor.tenants, &successor.sources);
        let before = Some((&self.config, &*engine));
        let Next { current, tasks, polled, mut lanes } =
            self.roster.plan(common, config, before, tenants, sources)?;
        lanes.extend(common.topology.drill().map(|drill| (drill, LaneChange::Stays)));
        let schemas = sources.iter().zip(&config.sources);
        let schemas = schemas.map(|(id, source)| (*id, source.settings.expected_schema())).collect();
        let (done, is_done) = oneshot::channel();
        let change = Change {
            topology: common.topology.clone(),
            max_in_flight: config.max_in_flight(),
            stage_costs: build::costs(common.topology.stages(), config).stages,
            lanes,
            polled,
            schemas,
            done,
        };
        self.channels.changes.send(change).await.map_err(|_| anyhow::anyhow!("the daemon is stopping"))?;
        if !is_done.await? {
            return Ok(false);
        }
        self.roster.advance(current);
        for task in tasks {
            self.channels.tasks.send(task).await.map_err(|_| anyhow::anyhow!("the daemon is stopping"))?;
        }
        self.apps.send_modify(|app| {
            app.settings = Arc::new(wire::page_settings(config, &self.roster));
            app.config = Arc::new(config.to_json_without_secrets());
        });
        Ok(true)
    }
}

/// What changed, for people.
fn difference(before: &Config, next: &Config) -> String {
    let tenants = |config: &Config| config.tenants.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let stages = |config: &Config| config.stages.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let of = |what: &str, before: Vec<Arc<str>>, next: Vec<Arc<str>>| {
        let missing = |from: &[Arc<str>], of: &[Arc<str>]| {
            from.iter().filter(|name| !of.contains(name)).map(|name| &**name).collect::<Vec<_>>().join(", ")
        };
        let (added, removed) = (missing(&next, &before), missing(&before, &next));
        let line = |verb: &str, names: String| (!names.is_empty()).then(|| format!("{what} {verb}: {names}"));
        [line("added", added), line("removed", removed)]
    };
    let all = [of("tenants", tenants(before), tenants(next)), of("stages", stages(before), stages(next))];
    let keys = before.changed_keys(next).join(", ");
    let keys = (!keys.is_empty()).then(|| format!("changed: {keys}"));
    let all: Vec<_> = all.into_iter().flatten().flatten().chain(keys).collect();
    if all.is_empty() {
        return "in force; nothing changed".to_owned();
    }
    format!("in force; {}", all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_in_a_loop_renew_credentials_once_a_minute_and_a_signal_always_does() {
        let mut renewals = Renewals::default();
        let mut renewed = 0;
        for _ in 0..180 {
            if renewals.is_due(Requester::Http, GoogleAccess::Same) {
                renewals.done();
                renewed += 1;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(renewed, 3);
        renewals.done();
        assert!(!renewals.is_due(Requester::Http, GoogleAccess::Same));
        assert!(renewals.is_due(Requester::Signal, GoogleAccess::Same));
        assert!(renewals.is_due(Requester::Http, GoogleAccess::Changed));
    }
}
