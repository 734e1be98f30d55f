//! What every page begins and ends with, and how a page becomes an answer.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::app::App;
use super::view::Mark;
use super::words;
use crate::domain::time::Timestamp;

pub(crate) const STYLE: &str = include_str!("templates/page.css");
pub(crate) const SCRIPT: &str = include_str!("templates/live.js");

/// Prints a page.
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

/// A page that says why there is no other.
#[derive(Template)]
#[template(path = "trouble.html")]
pub(crate) struct FailureKind {
    pub(crate) head: Head,
    pub(crate) title: String,
    pub(crate) said: Vec<String>,
}

/// What every page begins and ends with.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) title: String,
    pub(crate) icon: &'static str,
    pub(crate) version: String,
    pub(crate) assets: String,
    /// When the shown state was, and how old it was when the page was made.
    pub(crate) at: String,
    pub(crate) age_millis: u128,
    pub(crate) stale: Option<String>,
}

impl Head {
    pub(crate) fn new(app: &App, title: &str, mark: Mark) -> Self {
        let at = app.snapshot.borrow().at;
        Self::at(app, title, mark, at)
    }

    pub(crate) fn at(app: &App, title: &str, mark: Mark, at: Timestamp) -> Self {
        let age = app.clock.now().since(at);
        Self {
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

/// Changes when the style or the script does, so that browsers fetch them anew then and only then.
static ASSETS: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    (STYLE, SCRIPT).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});
