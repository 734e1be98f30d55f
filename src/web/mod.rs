//! What people and Prometheus see.
//!
//! Pages are pure functions of a snapshot: a view is built from it, a template prints the view. So every state of the
//! page is tested without a server, and a request never waits for the engine. Nothing here changes anything, and
//! nothing here knows who makes the numbers: a scrape, the state of health and the configuration are handed in.
//!
//! Everything that a page shows may have come from outside (a tenant's label, a row, an error text), so templates
//! escape all of it, and a content security policy forbids whatever the page did not bring itself.

mod accept;
mod detail;
mod filter;
mod json;
mod lane;
mod mark;
mod recent;
mod row;
mod runbook;
mod selection;
mod size;
mod source;
mod tenant;
mod waterfall;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Json, Redirect, Response};
use axum::routing::get;
use tokio::sync::watch;

use self::filter::{Filter, FilterError};
use self::mark::Mark;
use crate::domain::evidence::Evidence;
use crate::domain::tag::{Tag, TagText};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tracker::Snapshot;
use crate::domain::verdict::{Condition, Criteria};
use crate::metrics::Format;

const STYLE: &str = include_str!("templates/page.css");
const SCRIPT: &str = include_str!("templates/live.js");

/// Nothing but what the page brings itself: no inline script or style, nothing from elsewhere, no framing.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A question that is answered with yes, or no and why.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// Renders a scrape.
pub type Scraper = Arc<dyn Fn(Format) -> String + Send + Sync>;
/// Writes the tag of a canary again, as it was sent.
pub type Signer = Arc<dyn Fn(&Tag) -> TagText + Send + Sync>;

/// Everything that the pages are made of.
#[derive(Clone)]
pub struct App {
    /// The last state that the engine published.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The wall clock, to say how old that is.
    pub clock: WallClock,
    /// What does not change while the process runs.
    pub settings: Arc<Settings>,
    /// The configuration in force, without secrets.
    pub config: Arc<serde_json::Value>,
    /// Whether every source has been read once or the warm-up is over.
    pub ready: Check,
    /// Whether what happens is being kept for the time after a restart.
    pub kept: Check,
    /// What Prometheus reads.
    pub scrape: Scraper,
    /// For look-ups by tag that the page offers to copy.
    pub sign: Signer,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl App {
    /// How old the snapshot of `at` is, if that is too old: the engine is stuck.
    fn stale(&self, at: Timestamp) -> Option<Duration> {
        let age = self.clock.now().since(at);
        (age > self.settings.stale_after).then_some(age)
    }
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program's version.
    pub version: String,
    /// Address of the runbook, if it is not the probe's own page. Its anchors are the names of the alerts in lower case.
    pub runbook: Option<String>,
    /// How verdicts are reached.
    pub criteria: Criteria,
    /// After this a trace that is proven absent is lost.
    pub give_up: Duration,
    /// How many finished traces are remembered.
    pub remember: usize,
    /// How old the last snapshot may be before the engine counts as stuck.
    pub stale_after: Duration,
    /// How to look up what each source holds, by its id. Sources beyond the end of the list get no look-ups.
    pub evidence: Vec<Arc<dyn Evidence>>,
}

impl Settings {
    /// The runbook's chapter on a condition; nothing where there is nothing to do.
    #[must_use]
    pub fn runbook(&self, condition: &Condition) -> Option<String> {
        condition.profile().chapter.map(|anchor| self.chapter(anchor))
    }

    /// A chapter of the runbook.
    #[must_use]
    pub fn chapter(&self, anchor: &str) -> String {
        format!("{}#{anchor}", self.runbook.as_deref().unwrap_or(runbook::ADDRESS))
    }
}

/// The routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::to("/traces/recent") }))
        .route("/traces", get(|| async { Redirect::to("/traces/recent") }))
        .route("/traces/recent", get(recent_traces))
        .route("/traces/{id}", get(one_trace))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route(runbook::ADDRESS, get(|State(app): State<App>| async move { page(&runbook::Page::new(&app)) }))
        .route("/config", get(config))
        .route("/metrics", get(metrics))
        .route("/static/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/static/live.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/static/icon/{name}", get(icon))
        .fallback(nowhere)
        .layer(map_response(with_headers))
        .with_state(app)
}

async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::REFERRER_POLICY, "no-referrer");
    response
}

async fn recent_traces(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let snapshot = app.snapshot.borrow().clone();
    let form = Form::of(&query, &headers);
    let filter = match Filter::read(&query, &snapshot.topology, snapshot.at) {
        Ok(filter) => filter,
        Err(error) => return form.refuse(&app, &error),
    };
    match form {
        Form::Json => Json(json::Recent::new(&app, &snapshot, &filter)).into_response(),
        Form::Page => page(&recent::Page::new(&app, &snapshot, &filter)),
    }
}

async fn one_trace(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let snapshot = app.snapshot.borrow().clone();
    let form = Form::of(&query, &headers);
    let Some(id) = detail::read_id(&id) else {
        let said =
            "That is no trace id: it must be 32 hexadecimal digits, with or without dashes, or a whole tag.";
        return form.fail(&app, StatusCode::BAD_REQUEST, "Not a trace id", vec![said.to_owned()]);
    };
    match (detail::find(&snapshot, id), form) {
        (None, _) => {
            let said = detail::unknown(&app, &snapshot, id);
            form.fail(&app, StatusCode::NOT_FOUND, "No such trace", said)
        }
        (Some(trace), Form::Json) => Json(json::One::new(&app, &snapshot, trace)).into_response(),
        (Some(trace), Form::Page) => page(&detail::Page::new(&app, &snapshot, trace)),
    }
}

/// Says whether this process works, never whether the pipeline does: an orchestrator would kill the witness.
async fn healthz(State(app): State<App>) -> Response {
    let stale = app.stale(app.snapshot.borrow().at);
    let answer = stale
        .map_or(Ok(()), |age| Err(format!("the engine has published nothing for {}", words::short(age))));
    say(answer, "the engine turns")
}

async fn readyz(State(app): State<App>) -> Response {
    say((app.ready)(), "ready")
}

fn say(answer: Result<(), String>, yes: &str) -> Response {
    match answer {
        Ok(()) => format!("{yes}\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn config(State(app): State<App>) -> Response {
    // Printed wide, since people read it more often than programs.
    let body = format!("{:#}\n", app.config);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text";
    let accepted = accept::best(accepted(&headers), &["text/plain", OPEN_METRICS]);
    let format = if accepted == OPEN_METRICS { Format::OpenMetrics } else { Format::Text };
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
    (headers, (app.scrape)(format)).into_response()
}

async fn icon(Path(name): Path<String>) -> Response {
    let colour = match name.trim_end_matches(".svg") {
        "broken" => "#c62828",
        "unknown" => "#7b3fb5",
        "poor" => "#b26a00",
        "well" => "#2e7d32",
        _ => "#6b7280",
    };
    let drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"7\" \
         fill=\"{colour}\"/><path d=\"M4 5h5M6 8h5M8 11h4\" stroke=\"#fff\" stroke-width=\"1.6\"/></svg>"
    );
    ([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, FOR_A_DAY)], drawing).into_response()
}

const FOR_A_DAY: &str = "public, max-age=86400";

fn asset(kind: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, FOR_A_DAY)], body).into_response()
}

async fn nowhere(State(app): State<App>, headers: HeaderMap) -> Response {
    let said = "There are /traces/recent, /traces/{id}, /runbook, /metrics, /healthz, /readyz and /config.";
    Form::of(&[], &headers).fail(&app, StatusCode::NOT_FOUND, "There is nothing here", vec![said.to_owned()])
}

fn accepted(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())
}

fn page(template: &impl Template) -> Response {
    let vary = [(header::VARY, "accept")];
    match template.render() {
        Ok(page) => (vary, Html(page)).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the page could not be printed: {error}\n"))
                .into_response()
        }
    }
}

/// For whom an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// A person.
    Page,
    /// A program.
    Json,
}

impl Form {
    /// `?format=` decides, otherwise the `Accept` header.
    fn of(query: &[(String, String)], headers: &HeaderMap) -> Self {
        const JSON: &str = "application/json";
        let asked = query.iter().rev().find(|(name, _)| name == "format");
        match asked.map(|(_, value)| value.as_str()) {
            Some("json") => Self::Json,
            Some("html") => Self::Page,
            _ if accept::best(accepted(headers), &["text/html", JSON]) == JSON => Self::Json,
            _ => Self::Page,
        }
    }

    fn refuse(self, app: &App, error: &FilterError) -> Response {
        self.fail(app, StatusCode::BAD_REQUEST, "That question makes no sense", vec![error.to_string()])
    }

    fn fail(self, app: &App, status: StatusCode, title: &str, said: Vec<String>) -> Response {
        let body = match self {
            Self::Json => Json(json::Failure { error: said.join(" ") }).into_response(),
            Self::Page => {
                let head = Head::new(app, title, Mark::Pending);
                page(&Trouble { head, title: title.to_owned(), said })
            }
        };
        (status, body).into_response()
    }
}

/// A page that says why there is no other.
#[derive(Template)]
#[template(path = "trouble.html")]
struct Trouble {
    head: Head,
    title: String,
    said: Vec<String>,
}

/// What every page begins and ends with.
#[derive(Clone, Debug)]
struct Head {
    title: String,
    icon: &'static str,
    version: String,
    assets: String,
    /// When the shown state was, and how old it was when the page was made.
    at: String,
    age_millis: u128,
    stale: Option<String>,
}

impl Head {
    fn new(app: &App, title: &str, mark: Mark) -> Self {
        let at = app.snapshot.borrow().at;
        Self::at(app, title, mark, at)
    }

    fn at(app: &App, title: &str, mark: Mark, at: Timestamp) -> Self {
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
