//! The frame of every page, and how a page becomes a response.

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

/// Leads from a page below `/traces/` to the root, so that links work below the path prefix of a proxy.
pub(crate) const TO_ROOT: &str = "../";

/// Renders a page as a response.
pub(crate) fn page(template: &impl Template) -> Response {
    let vary = [(header::VARY, "accept")];
    match template.render() {
        Ok(page) => (vary, Html(page)).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the page could not be printed: {error}\n"))
                .into_response()
        }
    }
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
    /// Leads from the page to the root.
    pub(crate) root: String,
    pub(crate) title: String,
    pub(crate) icon: &'static str,
    pub(crate) version: String,
    pub(crate) assets: String,
    /// The instant of the shown snapshot.
    pub(crate) at: String,
    pub(crate) age_millis: u128,
    pub(crate) stale: Option<String>,
}

impl Head {
    /// The header of a page that shows no state, and from which `root` leads to the root.
    pub(crate) fn new(app: &App, title: &str, mark: Mark, root: &str) -> Self {
        let at = app.snapshot.borrow().at;
        Self { root: root.to_owned(), ..Self::at(app, title, mark, at) }
    }

    pub(crate) fn at(app: &App, title: &str, mark: Mark, at: Timestamp) -> Self {
        let age = app.clock.now().since(at);
        Self {
            root: TO_ROOT.to_owned(),
            title: title.to_owned(),
            icon: mark.class(),
            version: app.settings.version.clone(),
            assets: ASSETS.clone(),
            at: at.strftime("%F %T UTC"),
            age_millis: age.as_millis(),
            stale: app.stale(at).map(words::short),
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
        Self { text: words::clock(at, now), iso: at.strftime("%FT%TZ") }
    }
}

/// An address as a link on a page below `/traces/`. Those of the probe's own pages begin at its root.
pub(crate) fn from_page(address: &str) -> String {
    match address.strip_prefix('/') {
        Some(rest) => format!("{TO_ROOT}{rest}"),
        None => address.to_owned(),
    }
}
