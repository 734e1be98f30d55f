//! The routes, and the choice between page and JSON.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};

use super::app::{App, RUNBOOK};
use super::filter::{Filter, FilterError};
use super::fold::Fold;
use super::history::HistoryJson;
use super::page::{FailurePage, Head, SCRIPT, STYLE, TO_ROOT, page};
use super::view::{self, Mark, One, Recent};
use super::{accept, compress, detail, drill, history, json, recent, runbook, words};
use crate::metrics::Format;

/// Allows only the page's own resources: no inline script or style, nothing from another origin, no framing.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All routes.
pub fn router(app: App) -> Router {
    Router::new()
        // Relative, so that they work below the path prefix of a proxy.
        .route("/", get(|| async { Redirect::to("traces/recent") }))
        .route("/traces", get(|| async { Redirect::to("traces/recent") }))
        .route("/traces/recent", get(recent_traces))
        .route("/traces/find", get(find_trace))
        .route("/traces/{id}", get(one_trace))
        .route("/history", get(figures_over_time))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route(RUNBOOK, get(|State(app): State<App>| async move { page(&runbook::Page::new(&app)) }))
        .route("/config", get(config))
        .route(drill::BEGIN, post(drill::begin))
        .route(drill::RANG, post(drill::rang))
        .route("/metrics", get(metrics))
        .route("/static/page.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/static/live.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/static/icon/{name}", get(icon))
        .fallback(not_found)
        .layer(map_response(with_headers))
        .layer(from_fn(compress::as_accepted))
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
        Ok(filter) if form == Form::Page => filter.of_page(),
        Ok(filter) => filter,
        Err(error) => return form.refuse(&app, &error),
    };
    let view = Recent::new(&app, &snapshot, &filter);
    match form {
        Form::Json => Json(json::Recent::new(&view)).into_response(),
        Form::Page => {
            let fold = Fold::of(&view);
            let timeline = view::Timeline::new(&app, &snapshot, &view, &fold.lines);
            page(&recent::Page::new(&app, &view, &fold, &timeline))
        }
    }
}

const NOT_AN_ID: &str =
    "That is not a trace id: it must be 32 hexadecimal digits, with or without dashes, or a whole tag.";

/// Leads from the search box to the page of a trace.
async fn find_trace(State(app): State<App>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let given = query.iter().rfind(|(name, _)| name == "id").map_or("", |(_, value)| value.trim());
    match view::read_id(given) {
        Some(id) => Redirect::to(&id.to_string()).into_response(),
        None => {
            let found =
                if given.is_empty() { "Nothing was entered.".to_owned() } else { format!("`{given}`:") };
            let sentences = vec![found, NOT_AN_ID.to_owned()];
            Form::Page.fail(&app, StatusCode::BAD_REQUEST, "Not a trace id", sentences)
        }
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
    let Some(id) = view::read_id(&id) else {
        return form.fail(&app, StatusCode::BAD_REQUEST, "Not a trace id", vec![NOT_AN_ID.to_owned()]);
    };
    match (One::find(&app, &snapshot, id), form) {
        (None, _) => {
            let sentences = view::unknown(&app, &snapshot, id);
            form.fail(&app, StatusCode::NOT_FOUND, "No such trace", sentences)
        }
        (Some(view), Form::Json) => Json(json::One::new(&view)).into_response(),
        (Some(view), Form::Page) => page(&detail::Page::new(&app, &view)),
    }
}

async fn figures_over_time(State(app): State<App>, Query(query): Query<Vec<(String, String)>>) -> Response {
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

/// Folders of an unknown address that links lead out of.
const MAX_DEPTH: usize = 32;
const FOR_A_DAY: &str = "public, max-age=86400";

fn asset(kind: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, FOR_A_DAY)], body).into_response()
}

async fn not_found(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    let sentence = "The pages are /traces/recent, /traces/{id}, /history, /runbook, /metrics, /healthz, /readyz and /config.";
    let root = TO_ROOT.repeat(uri.path().matches('/').count().saturating_sub(1).min(MAX_DEPTH));
    let form = Form::of(&[], &headers);
    form.fail_at(&app, StatusCode::NOT_FOUND, "Not found", vec![sentence.to_owned()], &root)
}

fn accepted(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())
}

/// The form of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// HTML, for a person.
    Page,
    /// JSON, for a program.
    Json,
}

impl Form {
    /// `?format=` decides, otherwise the `Accept` header.
    fn of(query: &[(String, String)], headers: &HeaderMap) -> Self {
        const JSON: &str = "application/json";
        let requested = query.iter().rev().find(|(name, _)| name == "format");
        match requested.map(|(_, value)| value.as_str()) {
            Some("json") => Self::Json,
            Some("html") => Self::Page,
            _ if accept::best(accepted(headers), &["text/html", JSON]) == JSON => Self::Json,
            _ => Self::Page,
        }
    }

    fn refuse(self, app: &App, error: &FilterError) -> Response {
        self.fail(app, StatusCode::BAD_REQUEST, "Invalid request", vec![error.to_string()])
    }

    /// A failure of a page below `/traces/`.
    fn fail(self, app: &App, status: StatusCode, title: &str, sentences: Vec<String>) -> Response {
        self.fail_at(app, status, title, sentences, TO_ROOT)
    }

    fn fail_at(
        self,
        app: &App,
        status: StatusCode,
        title: &str,
        sentences: Vec<String>,
        root: &str,
    ) -> Response {
        let body = match self {
            Self::Json => Json(json::Failure { error: sentences.join(" ") }).into_response(),
            Self::Page => {
                let head = Head::new(app, title, Mark::Pending, root);
                page(&FailurePage { head, title: title.to_owned(), sentences })
            }
        };
        (status, body).into_response()
    }
}
