//! How each source is doing, in a word and a sentence.

use std::sync::Arc;

use super::words;
use crate::domain::sighting::list_drift;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Owner, SourceId};
use crate::domain::tracker::{Snapshot, SourceView};

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
    Reading,
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
            SourceView { .. } => Self::Reading,
        }
    }

    /// As on the page and in JSON.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Failing => "failing",
            Self::Starting => "starting",
            Self::Reading => "reading",
            Self::Idle => "idle",
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub(crate) const fn is_troubled(self) -> bool {
        match self {
            Self::Blind | Self::Failing => true,
            Self::Starting | Self::Reading | Self::Idle => false,
        }
    }
}

/// Since when it has been blind or failing.
#[must_use]
pub(crate) fn since(view: &SourceView) -> Option<Timestamp> {
    view.blind_since.or_else(|| view.failing.as_ref().map(|failing| failing.since))
}

/// Why, or what it is doing, in words.
#[must_use]
pub(crate) fn reason(view: &SourceView) -> String {
    match (&view.failing, State::of(view)) {
        (Some(failing), _) => format!(
            "{}: {} ({} in a row)",
            failing.trouble,
            failing.detail,
            words::count(usize::try_from(failing.looks).unwrap_or(usize::MAX), "look", "looks"),
        ),
        (None, State::Blind) => "no look has been answered".to_owned(),
        (None, State::Idle) => "nothing waits here, so it is not asked".to_owned(),
        (None, State::Starting) => "the first look is under way".to_owned(),
        (None, State::Reading | State::Failing) => String::new(),
    }
}

/// By what its schema differs from what it should be, in words.
#[must_use]
pub(crate) fn drift(view: &SourceView) -> Option<String> {
    (!view.drift().is_empty()).then(|| list_drift(view.drift()))
}

/// The key that has to be set for the stage if a drift is wanted.
#[must_use]
pub(crate) fn drift_remedy(view: &SourceView) -> String {
    match view.drifted.as_ref().and_then(|drifted| drifted.accept) {
        Some(accept) => format!("schema_accepted = [\"{accept}\"]"),
        None => "schema".to_owned(),
    }
}

/// Whose it is: a tenant's name, or `shared`.
#[must_use]
pub(crate) fn owner(snapshot: &Snapshot, source: SourceId) -> Arc<str> {
    match snapshot.topology.source(source).owner {
        Owner::One(tenant) => snapshot.topology.tenant(tenant).name.clone(),
        Owner::Shared => "shared".into(),
    }
}

/// The sources, worst first, otherwise as they stand in the topology.
#[must_use]
pub(crate) fn worst_first(snapshot: &Snapshot) -> Vec<&SourceView> {
    let mut sources: Vec<_> = snapshot.sources.iter().collect();
    sources.sort_by_key(|view| (State::of(view), since(view), view.source));
    sources
}
