//! What a process serves that cannot begin yet, because another one holds its store.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Answers health checks, because the orchestrator must stop the other process and not this one, and refuses
/// everything else with the reason. A scrape finds no series: a target that is red for as long as a deployment may
/// take would be called down.
pub fn waiting(reason: &str) -> Router {
    let reason: Arc<str> = format!("{reason}\n").into();
    let (healthy, scraped) = (reason.clone(), format!("# {reason}"));
    let router = Router::new()
        .route("/healthz", get(|| async move { healthy.to_string() }))
        .route("/metrics", get(|| async move { scraped }));
    router.fallback(|| async move {
        let mut response: Response = (StatusCode::SERVICE_UNAVAILABLE, reason.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}
