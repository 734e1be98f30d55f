//! Shows and changes the level of the log while the probe runs.

use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::access::Known;
use super::app::App;
use super::server::Peer;

/// Longest level that is read.
const MAX_LEVEL: usize = 1 << 10;
/// How long it may take to arrive, so that no client holds a connection with a slow one.
const READ_WITHIN: Duration = Duration::from_secs(5);

const NOT_ENABLED: (StatusCode, &str) =
    (StatusCode::NOT_FOUND, "the log level cannot be changed: set web.log_level to true\n");

/// Shows the level.
pub(crate) async fn show(State(app): State<App>) -> Response {
    match &app.log_level {
        Some(level) => format!("{}\n", (level.get)()).into_response(),
        None => NOT_ENABLED.into_response(),
    }
}

/// Sets the level, until the next start, for somebody who has logged in or is on this machine: a log at `trace` costs
/// money.
pub(crate) async fn set(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    known: Option<Extension<Known>>,
    body: Body,
) -> Response {
    let Some(level) = &app.log_level else { return NOT_ENABLED.into_response() };
    let is_local = peer.is_some_and(|Extension(Peer(address))| address.is_loopback());
    if !is_local && !known.is_some_and(|Extension(Known(known))| known) {
        let text =
            "the log level can only be changed after a login, or from the probe's own machine or container\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let body = match timeout(READ_WITHIN, to_bytes(body, MAX_LEVEL)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return (StatusCode::PAYLOAD_TOO_LARGE, "the level is longer than 1 KB\n").into_response();
        }
        Err(_) => {
            return (StatusCode::REQUEST_TIMEOUT, "the level did not arrive within 5 s\n").into_response();
        }
    };
    let text = String::from_utf8_lossy(&body);
    match (level.set)(text.trim()) {
        Ok(()) => format!("{}\n", (level.get)()).into_response(),
        Err(fault) => (StatusCode::BAD_REQUEST, format!("{fault}\n")).into_response(),
    }
}
