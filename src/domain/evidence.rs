//! How a person finds a stored copy without the probe, to verify what it says.

use std::fmt;

use super::sighting::Locator;
use super::time::Timestamp;

/// A command, and what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// What it does: `fetch the object`.
    pub what: &'static str,
    /// Can be pasted into a shell or a query editor. Everything in it is quoted, because names come from
    /// outside.
    pub command: String,
}

/// The canary to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The copy that was seen; `None` to search for one.
    pub copy: Option<&'a Locator>,
    /// The tag as it is written in the canary.
    pub tag: &'a str,
    /// When it was planned to be injected.
    pub planned_at: Timestamp,
}

/// Renders commands of a cloud's own tools that show what is stored at a source.
pub trait Evidence: fmt::Debug + Send + Sync {
    /// Commands that fetch the copy if there is one, otherwise search for it.
    ///
    /// Locators are parsed leniently: for one that is not understood there is no command.
    fn lookups(&self, question: Question<'_>) -> Vec<Lookup>;

    /// One sentence on how to search the source for tags that match a SQL LIKE pattern; `None` if no query
    /// can.
    fn search(&self, _like: &str) -> Option<String> {
        None
    }
}
