//! Where a person looks a stored copy up without the probe: for whoever does not believe it.

use std::fmt;

use super::sighting::Locator;
use super::time::Timestamp;

/// A command, and what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// What it does: `fetch the object`.
    pub what: &'static str,
    /// To be pasted into a shell or a query editor. Everything in it is quoted, since names come from outside.
    pub command: String,
}

/// The canary that a person looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The copy that was seen; `None` to look for one.
    pub copy: Option<&'a Locator>,
    /// The tag as it stands in the canary.
    pub tag: &'a str,
    /// When it was planned to be injected.
    pub planned_at: Timestamp,
}

/// Knows how the tools of a source's own cloud show what is stored there.
pub trait Evidence: fmt::Debug + Send + Sync {
    /// Commands that fetch the copy if there is one, otherwise look for it.
    ///
    /// Locators are read leniently; one that is not understood only means that no command is offered.
    fn lookups(&self, question: Question<'_>) -> Vec<Lookup>;

    /// One sentence on how to search the source for tags that fit a pattern of SQL's LIKE, where a query can.
    fn search(&self, _like: &str) -> Option<String> {
        None
    }
}
