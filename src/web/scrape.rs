//! What Prometheus reads.
//!
//! Scrapes take processor time, as pages do, but Prometheus must not be refused. So one is made at a time, and whoever
//! comes meanwhile waits for the next one, which all of them get. It begins after they came, so no answer is older than
//! its request.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::yield_now;

use super::accept;
use super::app::{App, Apps};
use super::compress::{self, Coding};
use crate::metrics::Format;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The route. To compress takes processor time, too, so what is shared is compressed.
pub(super) fn route() -> MethodRouter<Apps> {
    get(scrape)
        .route_layer(from_fn(compress::as_accepted))
        .route_layer(from_fn_with_state(Rounds::default(), one_at_a_time))
}

async fn scrape(State(app): State<App>, headers: HeaderMap) -> Response {
    let format = requested(&headers);
    let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
    (headers, (app.scrape)(format)).into_response()
}

fn requested(headers: &HeaderMap) -> Format {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let best = accept::best(accepted, &["text/plain", OPEN_METRICS]);
    if best == OPEN_METRICS { Format::OpenMetrics } else { Format::Text }
}

/// What a request decides of its answer. There are few, however requests are written.
type Form = (Format, Option<Coding>);

/// A scrape for all who came before it began; empty until it has been made.
type Round = Arc<OnceLock<Response<Bytes>>>;

/// The rounds of a port. Clones are of the same port.
#[derive(Clone, Debug, Default)]
struct Rounds {
    /// Those that have not begun, at most one of each form. A mutex, because requests are answered on any thread; held
    /// to find one.
    due: Arc<Mutex<Vec<(Form, Round)>>>,
    /// Held while one is made.
    making: Arc<AsyncMutex<()>>,
}

impl Rounds {
    /// The next round of a form.
    fn next(&self, form: Form) -> Round {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, round)) = due.iter().find(|(other, _)| *other == form) {
            return round.clone();
        }
        let round = Round::default();
        due.push((form, round.clone()));
        round
    }

    /// Begins the next round of a form: who comes from now on gets a later one.
    fn begin(&self, form: Form) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.retain(|(other, _)| *other != form);
    }
}

/// Middleware: makes one scrape at a time.
async fn one_at_a_time(State(rounds): State<Rounds>, request: Request, next: Next) -> Response {
    let form = (requested(request.headers()), Coding::accepted(request.headers()));
    let round = rounds.next(form);
    let making = rounds.making.lock().await;
    if let Some(made) = round.get() {
        return made.clone().map(Body::from);
    }
    rounds.begin(form);
    let (head, body) = next.run(request).await.into_parts();
    // A body that is in memory can always be read.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let made = round.get_or_init(|| Response::from_parts(head, body)).clone();
    // What became ready meanwhile comes before the next one.
    yield_now().await;
    drop(making);
    made.map(Body::from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use futures::FutureExt as _;
    use futures::future::{join, join_all};
    use tower::ServiceExt as _;

    use super::*;
    use crate::web::fixture::{after, app, healthy};
    use crate::web::router;

    /// A probe whose scrapes are as many lines as their number.
    fn probe() -> Router {
        let made = AtomicUsize::new(0);
        let scrape = move |_: Format| "up 1\n".repeat(made.fetch_add(1, Ordering::Relaxed) + 1);
        router(App { scrape: Arc::new(scrape), ..app(after(0, healthy)) })
    }

    async fn answer(router: &Router, accept: &str, coding: &str) -> Response {
        let request = Request::get("/metrics").header(header::ACCEPT, accept);
        let request = request.header(header::ACCEPT_ENCODING, coding).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    /// The number of the scrape that a request gets.
    async fn number(router: &Router) -> usize {
        let body = to_bytes(answer(router, "text/plain", "identity").await.into_body(), usize::MAX);
        body.await.unwrap().split(|byte| *byte == b'\n').count() - 1
    }

    #[tokio::test]
    async fn all_who_come_while_a_scrape_is_made_get_the_next_one() {
        let router = probe();
        let numbers = join_all((0..20).map(|_| number(&router))).await;
        assert_eq!(numbers, [vec![1], vec![2; 19]].concat());
        assert_eq!(number(&router).await, 3, "no answer is older than its request");
    }

    #[tokio::test]
    async fn clients_that_leave_do_not_keep_the_next_scrape_from_being_made() {
        let router = probe();
        assert_eq!(join(number(&router), number(&router)).now_or_never(), None, "one is made, one waits");
        assert_eq!(number(&router).await, 2);
    }

    #[tokio::test]
    async fn each_client_gets_the_form_that_it_prefers() {
        let scrape = |_: Format| "up 1\n".repeat(1_000);
        let router = router(App { scrape: Arc::new(scrape), ..app(after(0, healthy)) });
        let forms = [
            ("text/plain", "identity", Format::Text, None),
            ("text/plain", "gzip", Format::Text, Some("gzip")),
            (OPEN_METRICS, "gzip", Format::OpenMetrics, Some("gzip")),
            (OPEN_METRICS, "zstd", Format::OpenMetrics, Some("zstd")),
        ];
        let forms = forms.repeat(3);
        let answers = join_all(forms.iter().map(|form| answer(&router, form.0, form.1))).await;
        for ((_, _, format, coding), answer) in forms.iter().zip(answers) {
            let headers = answer.headers();
            assert_eq!(headers[header::CONTENT_TYPE], format.content_type());
            let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(encoding, *coding);
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            assert_eq!(body.len() == 5_000, coding.is_none(), "{} bytes", body.len());
        }
    }
}
