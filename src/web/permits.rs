//! How many pages and JSON answers are made at a time.
//!
//! They are made by the threads that run the engine and the observers. Clients that ask over hundreds of connections
//! would otherwise keep these threads from everything else, and canaries would be put late. Scrapes and health checks
//! must not wait for pages, so they need no permit. Scrapes and event streams have bounds of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Answers that are made at once.
const AT_ONCE: usize = 2;
/// How long a request waits for a permit. Answers take milliseconds, so hundreds come before it.
const WAIT: Duration = Duration::from_secs(5);

/// The permits to make an answer. Clones have the same ones.
#[derive(Clone, Debug)]
pub(super) struct Permits(Arc<Semaphore>);

impl Default for Permits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Middleware: has a request wait for a permit, and refuses it if that takes too long.
pub(super) async fn with_permit(
    State(Permits(permits)): State<Permits>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(Ok(permit)) = timeout(WAIT, permits.acquire()).await else {
        let text = "the probe is busy with other requests for pages and JSON; ask again soon\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response();
    };
    let response = next.run(request).await;
    // What became ready meanwhile comes before the next answer.
    tokio::task::yield_now().await;
    drop(permit);
    response
}

#[cfg(test)]
impl Permits {
    /// All are taken for good.
    pub(super) fn all_taken() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use futures::future::join;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_while_two_answers_are_made_and_is_then_refused_for_now() {
        let router = Router::new()
            .route("/endless", get(pending::<()>))
            .route("/short", get(|| async {}))
            .layer(from_fn_with_state(Permits::default(), with_permit));
        let send = |path: &str| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let one = async {
            tokio::select! {
                biased;
                _ = send("/endless") => unreachable!("it has no end"),
                response = send("/short") => response.unwrap().status(),
            }
        };
        assert_eq!(one.await, StatusCode::OK);
        let two = tokio::select! {
            biased;
            _ = join(send("/endless"), send("/endless")) => unreachable!("they have no end"),
            response = send("/short") => response.unwrap(),
        };
        assert_eq!(two.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(two.headers()[header::RETRY_AFTER], "1");
        assert_eq!(send("/short").await.unwrap().status(), StatusCode::OK, "permits are given back");
    }
}
