//! How each source is doing, in a word and a sentence.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::sighting::list_drift;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Owner, SourceId};
use crate::domain::tracker::{Drifted, Snapshot, SourceView};
use crate::web::filter::Filter;
use crate::web::words;

/// The word for how a source is doing, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    /// Nobody can vouch for it any more.
    Blind,
    /// Its last looks failed, but not for so long that it is blind.
    Failing,
    /// Something waits there, and it has not answered yet.
    Starting,
    /// Something waits there, and it answers.
    ReadStats,
    /// Nothing waits there, so it is left alone.
    Idle,
}

impl State {
    /// How a source is doing.
    #[must_use]
    pub(crate) fn of(view: &SourceView) -> Self {
        match view {
            SourceView { blind_since: Some(_), .. } => Self::Blind,
            SourceView { failing: Some(_), .. } => Self::Failing,
            SourceView { waiting: 0, .. } => Self::Idle,
            SourceView { last_answer: None, .. } => Self::Starting,
            SourceView { .. } => Self::ReadStats,
        }
    }

    /// As on the page and in JSON.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Failing => "failing",
            Self::Starting => "starting",
            Self::ReadStats => "reading",
            Self::Idle => "idle",
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub(crate) const fn is_failing(self) -> bool {
        match self {
            Self::Blind | Self::Failing => true,
            Self::Starting | Self::ReadStats | Self::Idle => false,
        }
    }
}

/// One source.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The stage at which it is read.
    pub(crate) stage: Arc<str>,
    /// The kind of the stage.
    pub(crate) kind: &'static str,
    /// Whose it is: a tenant's name, or `shared`.
    pub(crate) owner: Arc<str>,
    /// It serves a tenant that the filter admits.
    pub(crate) admitted: bool,
    /// How it is doing.
    pub(crate) state: State,
    /// Since when it has been blind or failing.
    pub(crate) since: Option<Timestamp>,
    /// Why, or what it is doing, in words; empty where there is nothing to say.
    pub(crate) reason: String,
    /// What kind of failure its last looks were.
    pub(crate) failure: Option<&'static str>,
    /// How many looks failed in a row.
    pub(crate) failed_polls: u64,
    /// How many canaries wait here.
    pub(crate) waiting: usize,
    /// Up to when it has been read.
    pub(crate) watermark: Option<Timestamp>,
    /// How far that is behind now while traces wait here; 0 while nothing waits.
    pub(crate) watermark_age: Duration,
    /// When it last answered.
    pub(crate) last_answer: Option<Timestamp>,
    /// How far it is behind.
    pub(crate) behind: Option<Duration>,
    /// By what its schema differs, and since when.
    pub(crate) drifted: Option<Drifted>,
    /// The same in words.
    pub(crate) drift: Option<String>,
    /// The key that has to be set for the stage if a drift is wanted.
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

/// Why, or what it is doing, in words.
fn reason(view: &SourceView) -> String {
    match (&view.failing, State::of(view)) {
        (Some(failing), _) => format!(
            "{}: {} ({} in a row)",
            failing.kind,
            failing.detail,
            words::count(usize::try_from(failing.polls).unwrap_or(usize::MAX), "look", "looks"),
        ),
        (None, State::Blind) => "no look has been answered".to_owned(),
        (None, State::Idle) => "nothing waits here, so it is not asked".to_owned(),
        (None, State::Starting) => "the first look is under way".to_owned(),
        (None, State::ReadStats | State::Failing) => String::new(),
    }
}

/// The key that has to be set for the stage if a drift is wanted.
fn drift_remedy(view: &SourceView) -> String {
    match view.drifted.as_ref().and_then(|drifted| drifted.accept) {
        Some(accept) => format!("schema_accepted = [\"{accept}\"]"),
        None => "schema".to_owned(),
    }
}

/// Whose it is: a tenant's name, or `shared`.
fn owner(snapshot: &Snapshot, source: SourceId) -> Arc<str> {
    match snapshot.topology.source(source).owner {
        Owner::One(tenant) => snapshot.topology.tenant(tenant).name.clone(),
        Owner::Shared => "shared".into(),
    }
}
