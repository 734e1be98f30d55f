//! The frame of every page, and how a page becomes a response.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::app::App;
use super::view::Mark;
use super::words;
use crate::domain::time::Timestamp;

pub(crate) const STYLE: &str =
    concat!(include_str!("templates/page.css"), include_str!("templates/recent.css"));
pub(crate) const SCRIPT: &str = concat!(
    include_str!("templates/live.js"),
    include_str!("templates/copy.js"),
    include_str!("templates/local.js"),
);

/// The way from a page to the root, as the beginning of links, so that they work below any prefix of a reverse
/// proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root(String);

impl Root {
    /// From the page at this path.
    pub(crate) fn from(path: &str) -> Self {
        Self("../".repeat(path.matches('/').count().saturating_sub(1)))
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Renders a page as a response.
pub(crate) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => answer(page),
        Err(error) => failed(&error),
    }
}

/// A page as a response.
pub(crate) fn answer(page: String) -> Response {
    ([(header::VARY, "accept")], Html(page)).into_response()
}

/// The answer if a page could not be printed.
pub(crate) fn failed(error: &askama::Error) -> Response {
    let sentence = format!("the page could not be printed: {error}\n");
    (StatusCode::INTERNAL_SERVER_ERROR, sentence).into_response()
}

/// A page that explains an error.
#[derive(Template)]
#[template(path = "failure.html")]
pub(crate) struct FailurePage {
    pub(crate) head: Head,
    pub(crate) title: String,
    pub(crate) sentences: Vec<String>,
}

/// The header and footer of a page.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) title: String,
    pub(crate) icon: &'static str,
    pub(crate) version: String,
    pub(crate) assets: String,
    /// The instant of the shown snapshot.
    pub(crate) at: String,
    pub(crate) at_rfc3339: String,
    pub(crate) age_millis: u128,
    pub(crate) stale: Option<String>,
    pub(crate) root: Root,
    /// Whether it shows a state, which the browser keeps up to date.
    pub(crate) is_live: bool,
}

impl Head {
    /// Of a page that shows no state.
    pub(crate) fn new(app: &App, root: Root, title: &str, mark: Mark) -> Self {
        let at = app.snapshot.borrow().at;
        Self { root, is_live: false, ..Self::at(app, title, mark, at) }
    }

    /// Of a page below `/traces/` that shows the state of this instant.
    pub(crate) fn at(app: &App, title: &str, mark: Mark, at: Timestamp) -> Self {
        let age = app.clock.now().since(at);
        Self {
            title: title.to_owned(),
            icon: mark.class(),
            version: app.settings.version.clone(),
            assets: ASSETS.clone(),
            at: at.strftime("%F %T UTC"),
            at_rfc3339: at.to_rfc3339(),
            age_millis: age.as_millis(),
            stale: app.stale(at).map(words::short),
            root: Root::from("/traces/"),
            is_live: true,
        }
    }
}

/// Changes when the style or the script does, so that browsers fetch them again exactly then.
static ASSETS: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    (STYLE, SCRIPT).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

/// An instant for people, and for programs that show it in the reader's own time.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// The time of day in UTC, with the date unless it is the day of the page.
    pub(crate) text: String,
    /// RFC 3339.
    pub(crate) iso: String,
}

impl Moment {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { text: words::clock(at, now), iso: iso(at) }
    }
}

/// How long ago something was. The browser counts it on, so all ages of a page are of one instant.
#[derive(Clone, Debug)]
pub(crate) struct Age {
    pub(crate) text: String,
    /// RFC 3339.
    pub(crate) iso: String,
}

impl Age {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { text: words::age(now.since(at)), iso: iso(at) }
    }
}

/// With milliseconds: an age that the browser counts from whole seconds would be up to a second longer.
fn iso(at: Timestamp) -> String {
    at.strftime("%FT%T%.3fZ")
}

/// An address as a link on a page below `/traces/`. Those of the probe's own pages begin at its root.
pub(crate) fn from_page(address: &str) -> String {
    match address.strip_prefix('/') {
        Some(rest) => format!("{}{rest}", Root::from("/traces/")),
        None => address.to_owned(),
    }
}
