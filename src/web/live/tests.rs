//! What a browser receives that follows a page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::drawing::without_ages;
use super::patch::tests::{apply, decoded};
use super::{Address, Drawing, Live};
use crate::domain::tracker::Snapshot;
use crate::web::app::App;
use crate::web::fixture::{after, app, stuck};
use crate::web::router;

/// A probe that publishes when it is told to.
struct Probe {
    router: Router,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl Probe {
    fn new(snapshot: Snapshot) -> Self {
        let (publish, receiver) = watch::channel(Arc::new(snapshot.clone()));
        Self { router: router(App { snapshot: receiver, ..app(snapshot) }), publish }
    }

    /// Publishes a later state.
    async fn publish(&self, snapshot: Snapshot) {
        tokio::time::advance(Duration::from_secs(1)).await;
        self.publish.send_replace(Arc::new(snapshot));
    }

    async fn get(&self, path: &str) -> Response {
        self.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    /// A page, and its version.
    async fn page(&self, path: &str) -> (String, String) {
        let response = self.get(path).await;
        let version =
            response.headers()[header::ETAG].to_str().unwrap().trim_matches(['W', '/', '"']).to_owned();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (without_ages(str::from_utf8(&body).unwrap()), version)
    }

    async fn follow(&self, path: &str, version: &str) -> Events {
        let (page, query) = path.split_once('?').unwrap_or((path, ""));
        let response = self.get(&format!("{page}/events?{query}&version={version}")).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Events::of(response)
    }
}

struct Events {
    body: axum::body::BodyDataStream,
}

impl Events {
    fn of(response: Response) -> Self {
        Self { body: response.into_body().into_data_stream() }
    }

    /// Name and data of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            let frame = self.body.next().await?.unwrap();
            let text = str::from_utf8(&frame).unwrap();
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
            if let Some(event) = field("event:") {
                return Some((event.to_owned(), field("data:").unwrap_or_default().to_owned()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_followed_becomes_the_one_that_would_be_fetched() {
    let probe = Probe::new(after(17, stuck));
    for path in ["/traces/recent", "/traces/recent?tenant=acme&limit=5"] {
        let (mut text, version) = probe.page(path).await;
        let mut events = probe.follow(path, &version).await;
        for minutes in [18, 19] {
            probe.publish(after(minutes, stuck)).await;
            let (event, patch) = events.next().await.unwrap();
            assert_eq!(event, "patch");
            text = apply(&text, &decoded(&patch));
            assert_eq!(text, probe.page(path).await.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_remembered_must_be_fetched_again() {
    let probe = Probe::new(after(17, stuck));
    let mut events = probe.follow("/traces/recent", "0123456789abcdef").await;
    assert_eq!(events.next().await.unwrap().0, "reset");
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_is_no_longer_remembered_is_gone() {
    let snapshot = after(17, stuck);
    let path = format!("/traces/{}", snapshot.finished.last().unwrap().id());
    let probe = Probe::new(snapshot);
    let (_, version) = probe.page(&path).await;
    let mut events = probe.follow(&path, &version).await;
    let forgotten = Snapshot { open: Vec::new(), finished: Vec::new(), ..after(18, stuck) };
    probe.publish(forgotten).await;
    assert_eq!(events.next().await.unwrap().0, "gone");
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_patch_waits_like_a_drawing_even_if_the_page_has_just_been_drawn() {
    let (publish, receiver) = watch::channel(Arc::new(after(17, stuck)));
    let app = App { snapshot: receiver, ..app(after(17, stuck)) };
    let (live, address) = (Arc::new(Live::default()), Address::Recent(Vec::new()));
    let draw = |minutes| live.keep(Drawing::new(&app, &after(minutes, stuck), &address).unwrap());
    let held = draw(17);
    let events = live.clone().events(app.clone().into(), address.clone(), Some(held.version));
    let mut events = Events::of(events.into_response());
    // Somebody else fetches the page.
    draw(18);
    publish.send_replace(Arc::new(after(18, stuck)));
    let rested = Instant::now() + Duration::from_secs(10);
    *live.rested.lock().await = rested;
    assert_eq!(events.next().await.unwrap().0, "patch");
    assert!(Instant::now() >= rested, "{:?} too early", rested - Instant::now());
}
