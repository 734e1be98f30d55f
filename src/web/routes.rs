//! The routes, and the choice between page and JSON.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::app::{App, Apps, RUNBOOK};
use super::filter::{Filter, FilterError};
use super::history::HistoryJson;
use super::hosts::refuse_other_sites;
use super::live::{self, Address, Drawing, Live, NoPage, Version};
use super::openapi::Description;
use super::page::{self, FailurePage, Head, Root, SCRIPT, STYLE};
use super::permits::{Permits, with_permit};
use super::view::{self, Mark, One, Recent};
use super::{accept, compress, drill, history, json, log_level, openapi, reload, runbook, scrape, words};
use crate::domain::foreign::ForeignText;
use crate::domain::tag::TraceId;
use crate::domain::tracker::Snapshot;

/// Allows only the page's own resources: no inline script or style, nothing from another origin, no framing.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Parameter of a stream: the version of the page that the browser has.
const VERSION: &str = "version";

/// All routes.
pub fn router(apps: impl Into<Apps>) -> Router {
    router_with(apps, Permits::default())
}

pub(super) fn router_with(apps: impl Into<Apps>, permits: Permits) -> Router {
    // To compress takes processor time, too, so it happens under the same permit.
    let bounded =
        bounded().layer(from_fn(compress::as_accepted)).layer(from_fn_with_state(permits, with_permit));
    let unbounded = unbounded().layer(from_fn(compress::as_accepted));
    bounded
        .merge(unbounded)
        .route("/metrics", scrape::route())
        .layer(from_fn(refuse_other_sites))
        .layer(map_response(with_headers))
        .layer(Extension(Arc::<Live>::default()))
        .layer(Extension(Arc::<Description>::default()))
        .with_state(apps.into())
}

/// Those whose answers take processor time, of which few are made at a time.
fn bounded() -> Router<Apps> {
    Router::new()
        .route("/traces/recent", get(recent_traces))
        .route("/traces/{id}", get(one_trace))
        .route("/history", get(figures_over_time))
        .route(RUNBOOK, get(whole_runbook))
        .route("/config", get(config))
        .route(openapi::PATH, get(description))
}

/// The others except scrapes: health checks, what changes something, and what is small.
fn unbounded() -> Router<Apps> {
    Router::new()
        // Relative, as all links.
        .route("/", get(|| async { Redirect::to("traces/recent") }))
        .route("/traces", get(|| async { Redirect::to("traces/recent") }))
        .route("/traces/recent/events", get(recent_events))
        .route("/traces/find", get(find_trace))
        .route("/traces/{id}/events", get(trace_events))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        // As the servers of Prometheus call them.
        .route("/-/healthy", get(healthz))
        .route("/-/ready", get(readyz))
        .route("/-/log-level", get(log_level::show).put(log_level::set))
        .route(drill::BEGIN, post(drill::begin))
        .route(drill::RANG, post(drill::rang))
        .route(reload::PATH, post(reload::reload))
        .route("/static/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/static/live.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/static/icon/{name}", get(icon))
        .fallback(not_found)
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

type Parameters = Query<Vec<(String, String)>>;

async fn recent_traces(
    State(app): State<App>,
    Extension(live): Extension<Arc<Live>>,
    uri: Uri,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let form = Form::of(&query, &headers, &uri);
    if let Form::Page(_) = form {
        return form.draw(&app, &live, Address::Recent(query));
    }
    let snapshot = app.snapshot.borrow().clone();
    match Filter::read(&query, &snapshot.topology, snapshot.at) {
        Ok(filter) => Json(json::Recent::new(&Recent::new(&app, &snapshot, &filter))).into_response(),
        Err(error) => form.refuse(&app, &error),
    }
}

const NOT_AN_ID: &str =
    "That is not a trace id: it must be 32 hexadecimal digits, with or without dashes, or a whole tag.";

/// Leads from the search box to the page of a trace.
async fn find_trace(State(app): State<App>, uri: Uri, Query(query): Parameters) -> Response {
    let given = query.iter().rfind(|(name, _)| name == "id").map_or("", |(_, value)| value.trim());
    match view::read_id(given) {
        Some(id) => Redirect::to(&id.to_string()).into_response(),
        None => {
            let found = if given.is_empty() {
                "Nothing was entered.".to_owned()
            } else {
                format!("`{}`:", ForeignText::new(given))
            };
            let sentences = vec![found, NOT_AN_ID.to_owned()];
            let form = Form::Page(Root::from(uri.path()));
            form.fail(&app, StatusCode::BAD_REQUEST, "Not a trace id", sentences)
        }
    }
}

async fn one_trace(
    State(app): State<App>,
    Extension(live): Extension<Arc<Live>>,
    uri: Uri,
    Path(id): Path<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let form = Form::of(&query, &headers, &uri);
    if let Err(error) = only_format(&query) {
        return form.refuse(&app, &error);
    }
    let Some(id) = view::read_id(&id) else { return form.no_id(&app) };
    if let Form::Page(_) = form {
        return form.draw(&app, &live, Address::One(id));
    }
    let snapshot = app.snapshot.borrow().clone();
    match One::find(&app, &snapshot, id) {
        Some(view) => Json(json::One::new(&view)).into_response(),
        None => form.unknown(&app, &snapshot, id),
    }
}

async fn recent_events(
    State(apps): State<Apps>,
    Extension(live): Extension<Arc<Live>>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let (version, query) = match followed(query, &headers) {
        Ok(followed) => followed,
        Err(error) => return Form::Json.refuse(&apps.now(), &error),
    };
    let app = apps.now();
    let snapshot = app.snapshot.borrow().clone();
    match Filter::read(&query, &snapshot.topology, snapshot.at) {
        Ok(_) => live.events(apps, Address::Recent(query), version).into_response(),
        Err(error) => Form::Json.refuse(&app, &error),
    }
}

async fn trace_events(
    State(apps): State<Apps>,
    Extension(live): Extension<Arc<Live>>,
    Path(id): Path<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let read = followed(query, &headers).and_then(|(version, query)| only_format(&query).map(|()| version));
    match (read, view::read_id(&id)) {
        (Err(error), _) => Form::Json.refuse(&apps.now(), &error),
        (Ok(_), None) => Form::Json.no_id(&apps.now()),
        (Ok(version), Some(id)) => live.events(apps, Address::One(id), version).into_response(),
    }
}

type Followed = (Option<Version>, Vec<(String, String)>);

/// Which version of a page a browser has, and the page's own parameters. What it received since it opened the
/// stream is in a header when it opens it again.
fn followed(query: Vec<(String, String)>, headers: &HeaderMap) -> Result<Followed, FilterError> {
    let (of_stream, own): (Vec<_>, Vec<_>) = query.into_iter().partition(|(name, _)| name == VERSION);
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(Version::parse);
    let given = of_stream.last().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
    let given = given.map(|value| {
        Version::parse(value).ok_or_else(|| FilterError {
            parameter: VERSION.to_owned(),
            value: value.to_owned(),
            should: "must be 16 hexadecimal digits, from the ETag of the page".to_owned(),
        })
    });
    Ok((last.or(given.transpose()?), own))
}

async fn figures_over_time(State(app): State<App>, Query(query): Parameters) -> Response {
    let snapshot = app.snapshot.borrow().clone();
    match history::Query::read(&query, &snapshot.topology, snapshot.at) {
        Ok(query) => Json(HistoryJson::new(&app, &snapshot, &query)).into_response(),
        Err(error) => Form::Json.refuse(&app, &error),
    }
}

/// Reports whether this process works, never whether the pipeline does. Otherwise a pipeline outage would
/// make the orchestrator restart the probe.
async fn healthz(State(app): State<App>) -> Response {
    let stale = app.stale(app.snapshot.borrow().at);
    let answer = stale
        .map_or(Ok(()), |age| Err(format!("the engine has published nothing for {}", words::short(age))));
    check(answer, "the engine runs")
}

async fn readyz(State(app): State<App>) -> Response {
    check((app.ready)(), "ready")
}

fn check(result: Result<(), String>, success: &str) -> Response {
    match result {
        Ok(()) => format!("{success}\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn config(State(app): State<App>) -> Response {
    // Indented, because people read it more often than programs.
    let body = format!("{:#}\n", app.config);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn whole_runbook(
    State(app): State<App>,
    uri: Uri,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    let map = app.snapshot.borrow().topology.clone();
    match runbook::Selection::read(&query, &map) {
        Ok(selection) => page::page(&runbook::Page::new(&app, &map, selection)),
        Err(error) => Form::of(&[], &headers, &uri).refuse(&app, &error),
    }
}

async fn description(
    State(app): State<App>,
    Extension(description): Extension<Arc<Description>>,
) -> Response {
    let map = app.snapshot.borrow().topology.clone();
    ([(header::CONTENT_TYPE, "application/json")], description.of(&map)).into_response()
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

async fn not_found(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    let sentence = "The pages are /traces/recent, /traces/{id}, /history, /runbook, /metrics, /healthz, /readyz, /config and /openapi.json.";
    Form::of(&[], &headers, &uri).fail(&app, StatusCode::NOT_FOUND, "Not found", vec![sentence.to_owned()])
}

fn accepted(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())
}

/// Refuses every parameter but `format`.
fn only_format(query: &[(String, String)]) -> Result<(), FilterError> {
    let refuse = |(name, value): &(String, String), should: &str| {
        Err(FilterError { parameter: name.clone(), value: value.clone(), should: should.to_owned() })
    };
    for given in query.iter().filter(|(_, value)| !value.is_empty()) {
        match (given.0.as_str(), given.1.as_str()) {
            ("format", "html" | "json") => {}
            ("format", _) => return refuse(given, "must be `html` or `json`"),
            _ => return refuse(given, "there is no such parameter; there are `format`"),
        }
    }
    Ok(())
}

/// The form of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Form {
    /// HTML, for a person, with the way to the root.
    Page(Root),
    /// JSON, for a program.
    Json,
}

impl Form {
    /// `?format=` decides, otherwise the `Accept` header.
    fn of(query: &[(String, String)], headers: &HeaderMap, uri: &Uri) -> Self {
        const JSON: &str = "application/json";
        let requested = query.iter().rev().find(|(name, _)| name == "format");
        match requested.map(|(_, value)| value.as_str()) {
            Some("json") => Self::Json,
            Some("html") => Self::Page(Root::from(uri.path())),
            _ if accept::best(accepted(headers), &["text/html", JSON]) == JSON => Self::Json,
            _ => Self::Page(Root::from(uri.path())),
        }
    }

    /// Draws a page, with its version for the stream of its changes.
    fn draw(self, app: &App, live: &Live, address: Address) -> Response {
        let snapshot = app.snapshot.borrow().clone();
        match live::draw(app, &snapshot, &address) {
            Ok(text) => {
                let kept = live.keep(Drawing::of(address, &text));
                // Weak, because the texts of ages are not part of it.
                ([(header::ETAG, format!("W/\"{}\"", kept.version))], page::answer(text)).into_response()
            }
            Err(NoPage::Invalid(error)) => self.refuse(app, &error),
            Err(NoPage::Unknown(id)) => self.unknown(app, &snapshot, id),
            Err(NoPage::Failed(error)) => page::failed(&error),
        }
    }

    fn no_id(self, app: &App) -> Response {
        self.fail(app, StatusCode::BAD_REQUEST, "Not a trace id", vec![NOT_AN_ID.to_owned()])
    }

    fn unknown(self, app: &App, snapshot: &Snapshot, id: TraceId) -> Response {
        self.fail(app, StatusCode::NOT_FOUND, "No such trace", view::unknown(app, snapshot, id))
    }

    fn refuse(self, app: &App, error: &FilterError) -> Response {
        self.fail(app, StatusCode::BAD_REQUEST, "Invalid request", vec![error.to_string()])
    }

    fn fail(self, app: &App, status: StatusCode, title: &str, sentences: Vec<String>) -> Response {
        let body = match self {
            Self::Json => Json(json::Failure { error: sentences.join(" ") }).into_response(),
            Self::Page(root) => {
                let head = Head::new(app, root, title, Mark::Pending);
                page::page(&FailurePage { head, title: title.to_owned(), sentences })
            }
        };
        (status, body).into_response()
    }
}
