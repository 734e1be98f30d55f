//! The sources as the page and JSON show them: the state of each, and why it is so.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::sighting::list_drift;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Owner, SourceId};
use crate::domain::tracker::{Drifted, Snapshot, SourceView};
use crate::web::filter::Filter;
use crate::web::words;

/// The state of a source. The order of the variants is from the worst to the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    /// Traces are waiting, and it has been unreadable for at least `blind_after`.
    Blind,
    /// Its last polls failed, but not for long enough to call it blind.
    Failing,
    /// Traces are waiting, and no poll has been answered yet.
    Starting,
    /// Traces are waiting, and its polls are answered.
    Polling,
    /// No trace is waiting, so it is not polled.
    Idle,
}

impl State {
    /// Derives the state from the tracker's view of a source.
    #[must_use]
    pub(crate) fn of(view: &SourceView) -> Self {
        match view {
            SourceView { blind_since: Some(_), .. } => Self::Blind,
            SourceView { failing: Some(_), .. } => Self::Failing,
            SourceView { waiting: 0, .. } => Self::Idle,
            SourceView { last_answer: None, .. } => Self::Starting,
            SourceView { .. } => Self::Polling,
        }
    }

    /// The name on the page and in JSON.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Failing => "failing",
            Self::Starting => "starting",
            Self::Polling => "polling",
            Self::Idle => "idle",
        }
    }

    /// Whether someone needs to take action.
    #[must_use]
    pub(crate) const fn is_failing(self) -> bool {
        match self {
            Self::Blind | Self::Failing => true,
            Self::Starting | Self::Polling | Self::Idle => false,
        }
    }
}

/// A source, as the page and JSON show it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The name of the stream, prefix, log group or table.
    pub(crate) name: Arc<str>,
    /// The name of the stage that it belongs to.
    pub(crate) stage: Arc<str>,
    /// The name of the stage's kind, such as `s3`.
    pub(crate) kind: &'static str,
    /// The name of the tenant that it belongs to, or `shared`.
    pub(crate) owner: Arc<str>,
    /// Whether it serves a tenant that matches the filter.
    pub(crate) admitted: bool,
    /// Whether it is polled, and whether its polls are answered.
    pub(crate) state: State,
    /// Since when it has been blind or failing.
    pub(crate) since: Option<Timestamp>,
    /// Why its polls fail or why none has been answered, as text; empty if polls are answered.
    pub(crate) reason: String,
    /// How its last polls failed; `None` if they did not.
    pub(crate) failure: Option<&'static str>,
    /// How many polls in a row have failed.
    pub(crate) failed_polls: u64,
    /// How many traces are waiting here.
    pub(crate) waiting: usize,
    /// Everything that arrived before this has been read.
    pub(crate) watermark: Option<Timestamp>,
    /// How far the watermark is behind the clock; 0 while no traces are waiting here.
    pub(crate) watermark_age: Duration,
    /// When a poll was last answered.
    pub(crate) last_answer: Option<Timestamp>,
    /// How far behind the newest record the last poll ended; `None` if the service does not report it.
    pub(crate) behind: Option<Duration>,
    /// How its schema differs from the expected one, and since when.
    pub(crate) drifted: Option<Drifted>,
    /// The differences of the schema as text.
    pub(crate) drift: Option<String>,
    /// The setting of the stage that accepts the changed schema.
    pub(crate) drift_remedy: String,
}

impl Source {
    /// Describes a source at the time of a snapshot.
    pub(crate) fn new(view: &SourceView, snapshot: &Snapshot, filter: &Filter) -> Self {
        let map = &snapshot.topology;
        let spec = map.source(view.source);
        let stage = map.stage(spec.stage);
        Self {
            name: spec.name.clone(),
            stage: stage.name.clone(),
            kind: stage.kind.name(),
            owner: owner(snapshot, view.source),
            admitted: spec.tenants.iter().any(|tenant| filter.tenant.is_none_or(|only| only == *tenant)),
            state: State::of(view),
            since: view.blind_since.or_else(|| view.failing.as_ref().map(|failing| failing.since)),
            reason: reason(view, snapshot.at),
            failure: view.failing.as_ref().map(|failing| failing.kind.as_str()),
            failed_polls: view.failing.as_ref().map_or(0, |failing| failing.polls),
            waiting: view.waiting,
            watermark: view.watermark,
            watermark_age: view.watermark_age(snapshot.at),
            last_answer: view.last_answer,
            behind: view.behind,
            drifted: view.drifted.clone(),
            drift: (!view.drift().is_empty()).then(|| list_drift(view.drift())),
            drift_remedy: drift_remedy(view),
        }
    }
}

/// Returns what is being decoded, why the polls of a source fail or why none has been answered, as text; empty
/// if they are answered.
fn reason(view: &SourceView, now: Timestamp) -> String {
    if let Some(decoding) = &view.decoding {
        return format!("decoding {} for {} s", decoding.name, now.since(decoding.since).as_secs());
    }
    match (&view.failing, State::of(view)) {
        (Some(failing), _) => format!(
            "{}: {} ({} in a row)",
            failing.kind,
            failing.detail,
            words::count(usize::try_from(failing.polls).unwrap_or(usize::MAX), "poll", "polls"),
        ),
        (None, State::Blind) => "no poll has been answered".to_owned(),
        (None, State::Idle) => "nothing waits here, so it is not polled".to_owned(),
        (None, State::Starting) => "no poll has been answered yet".to_owned(),
        (None, State::Polling | State::Failing) => String::new(),
    }
}

/// Returns the setting of the stage that accepts the changed schema.
fn drift_remedy(view: &SourceView) -> String {
    match view.drifted.as_ref().and_then(|drifted| drifted.accept) {
        Some(accept) => format!("schema_accepted = [\"{accept}\"]"),
        None => "schema".to_owned(),
    }
}

/// Returns the name of the tenant that a source belongs to, or `shared`.
fn owner(snapshot: &Snapshot, source: SourceId) -> Arc<str> {
    match snapshot.topology.source(source).owner {
        Owner::One(tenant) => snapshot.topology.tenant(tenant).name.clone(),
        Owner::Shared => "shared".into(),
    }
}
