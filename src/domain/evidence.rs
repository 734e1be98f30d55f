//! How to find a stored copy without the probe, to verify what the probe reports.

use std::fmt;

use super::sighting::Locator;
use super::time::Timestamp;

/// A command that finds or fetches a copy, and what it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lookup {
    /// What the command does, as the page prints it before the command: `fetch the object`.
    pub what: &'static str,
    /// Can be pasted into a shell or a query editor. All names in it are quoted, because they come from
    /// untrusted input.
    pub command: String,
}

/// A page of the provider's console that shows a copy, or where it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// What it opens, as the page prints it: `object in the S3 console`.
    pub what: &'static str,
    /// Every name in it is percent-encoded, because names come from untrusted input.
    pub url: String,
}

/// The canary to find: the question that [`Evidence::lookups`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// Where a copy was seen; `None` if none was, so that the commands search for one.
    pub copy: Option<&'a Locator>,
    /// The tag exactly as the canary contains it.
    pub tag: &'a str,
    /// When it was planned to be injected.
    pub planned_at: Timestamp,
}

/// A name that stands for a placeholder in the commands of the runbook: `("STREAM", "logs-acme")`.
pub type NamedPlace = (&'static str, String);

/// What a [`Lookup`] does that is no command of a shell, but a query to be pasted into the console.
pub const SAME_QUERY: &str = "the same query, for the console";

/// Anchor of the runbook's section with checks of a log group.
pub const LOG_GROUP_CHECKS: &str = "log-group";

/// Shows people what is stored at one source: renders commands for the cloud's own tools. Each kind of stage
/// implements it for its settings.
pub trait Evidence: fmt::Debug + Send + Sync {
    /// Commands that fetch the copy if the question names one, otherwise commands that search for it.
    ///
    /// A locator that cannot be parsed is not an error; it just yields no command.
    fn lookups(&self, question: Question<'_>) -> Vec<Lookup>;

    /// The names with which the runbook's commands reach the source at this time.
    fn names(&self, _at: Timestamp) -> Vec<NamedPlace> {
        Vec::new()
    }

    /// Anchor of the runbook's section with checks of such a source.
    fn checks(&self) -> &'static str;

    /// Pages of the provider's console. Which partition they are in follows from the region.
    fn consoles(&self, _question: Question<'_>) -> Vec<Link> {
        Vec::new()
    }

    /// One sentence that tells people how to search the source for all tags that match a SQL LIKE pattern;
    /// `None` if the source cannot be searched that way.
    fn search(&self, _like: &str) -> Option<String> {
        None
    }
}
