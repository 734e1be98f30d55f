//! The state of each source.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::sighting::list_drift;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Owner, SourceId};
use crate::domain::tracker::{Drifted, Snapshot, SourceView};
use crate::web::filter::Filter;
use crate::web::words;

/// The state of a source, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    /// It could not be read for `blind_after` while traces wait.
    Blind,
    /// Its last polls failed, but not long enough for it to be blind.
    Failing,
    /// Traces wait there, and no poll has been answered yet.
    Starting,
    /// Traces wait there, and polls are answered.
    Polling,
    /// Nothing waits there, so it is not polled.
    Idle,
}

impl State {
    /// Derives the state of a source.
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

    /// Whether someone has to act.
    #[must_use]
    pub(crate) const fn is_failing(self) -> bool {
        match self {
            Self::Blind | Self::Failing => true,
            Self::Starting | Self::Polling | Self::Idle => false,
        }
    }
}

/// One source.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The stage that it belongs to.
    pub(crate) stage: Arc<str>,
    /// The kind of the stage.
    pub(crate) kind: &'static str,
    /// A tenant's name, or `shared`.
    pub(crate) owner: Arc<str>,
    /// Whether it serves a tenant that matches the filter.
    pub(crate) admitted: bool,
    /// Its state.
    pub(crate) state: State,
    /// Since when it has been blind or failing.
    pub(crate) since: Option<Timestamp>,
    /// Why it fails, or what it waits for; empty if it is read normally.
    pub(crate) reason: String,
    /// The kind of failure of its last polls.
    pub(crate) failure: Option<&'static str>,
    /// Number of polls that failed in a row.
    pub(crate) failed_polls: u64,
    /// Number of canaries that wait here.
    pub(crate) waiting: usize,
    /// Everything that arrived before this has been read.
    pub(crate) watermark: Option<Timestamp>,
    /// How far the watermark is behind now while traces wait here; 0 while none do.
    pub(crate) watermark_age: Duration,
    /// When it last answered.
    pub(crate) last_answer: Option<Timestamp>,
    /// How far behind the newest record the last poll ended, if the service reports it.
    pub(crate) behind: Option<Duration>,
    /// How its schema differs, and since when.
    pub(crate) drifted: Option<Drifted>,
    /// The differences as text.
    pub(crate) drift: Option<String>,
    /// What to set for the stage if the drift is intended.
    pub(crate) drift_remedy: String,
}

impl Source {
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
            reason: reason(view),
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

/// Why it fails, or what it waits for.
fn reason(view: &SourceView) -> String {
    match (&view.failing, State::of(view)) {
        (Some(failing), _) => format!(
            "{}: {} ({} in a row)",
            failing.kind,
            failing.detail,
            words::count(usize::try_from(failing.polls).unwrap_or(usize::MAX), "poll", "polls"),
        ),
        (None, State::Blind) => "no poll has been answered".to_owned(),
        (None, State::Idle) => "nothing waits here, so it is not polled".to_owned(),
        (None, State::Starting) => "the first poll is in progress".to_owned(),
        (None, State::Polling | State::Failing) => String::new(),
    }
}

/// What to set for the stage if the drift is intended.
fn drift_remedy(view: &SourceView) -> String {
    match view.drifted.as_ref().and_then(|drifted| drifted.accept) {
        Some(accept) => format!("schema_accepted = [\"{accept}\"]"),
        None => "schema".to_owned(),
    }
}

/// A tenant's name, or `shared`.
fn owner(snapshot: &Snapshot, source: SourceId) -> Arc<str> {
    match snapshot.topology.source(source).owner {
        Owner::One(tenant) => snapshot.topology.tenant(tenant).name.clone(),
        Owner::Shared => "shared".into(),
    }
}
