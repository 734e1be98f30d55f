//! Begins drills, and takes Alertmanager's notifications of them.

use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::timeout;

use super::app::App;
use super::server::Peer;
use crate::domain::drill::DRILL_TENANT;

/// Begins a drill.
pub(crate) const BEGIN: &str = "/-/drill";
/// Takes notifications, as a webhook receiver of Alertmanager.
pub(crate) const RANG: &str = "/-/drill/notification";

/// Longest notification that is read.
const MAX_NOTIFICATION: usize = 64 << 10;
/// How long a notification may take to arrive, so that no client holds a connection with a slow one.
const READ_WITHIN: Duration = Duration::from_secs(5);

type Answer = (StatusCode, &'static str);

const NOT_ENABLED: Answer = (StatusCode::NOT_FOUND, "drills are not enabled: set drill.enabled to true\n");

/// Begins a drill for a client on this machine: anyone else could wake whoever is on call.
pub(crate) async fn begin(State(app): State<App>, peer: Option<Extension<Peer>>) -> Answer {
    let Some(drill) = &app.drill else { return NOT_ENABLED };
    if !peer.is_some_and(|Extension(Peer(address))| address.is_loopback()) {
        return (
            StatusCode::FORBIDDEN,
            "a drill can only be begun from the probe's own machine or container\n",
        );
    }
    (drill.begin)();
    (StatusCode::ACCEPTED, "a drill begins, unless one goes on\n")
}

/// The parts of Alertmanager's notification that matter (webhook_config, version 4).
#[derive(Deserialize, JsonSchema)]
pub(super) struct Notification {
    /// The alerts that it is about.
    #[serde(default)]
    alerts: Vec<Alert>,
}

/// An alert.
#[derive(Deserialize, JsonSchema)]
struct Alert {
    /// `firing` or `resolved`.
    #[serde(default)]
    status: String,
    /// Its labels; all but `tenant` are ignored.
    #[serde(default)]
    labels: Labels,
}

/// The labels of an alert.
#[derive(Deserialize, JsonSchema, Default)]
struct Labels {
    /// The tenant that it is about.
    #[serde(default)]
    tenant: String,
}

/// Takes a notification: one of a firing alert of the drill's tenant proves that the chain works.
pub(crate) async fn rang(State(app): State<App>, body: Body) -> Answer {
    let Some(drill) = &app.drill else { return NOT_ENABLED };
    let body = match timeout(READ_WITHIN, to_bytes(body, MAX_NOTIFICATION)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "the notification is longer than 64 KB\n"),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the notification did not arrive within 5 s\n"),
    };
    let Ok(notification) = serde_json::from_slice::<Notification>(&body) else {
        return (
            StatusCode::BAD_REQUEST,
            "that is not a notification of Alertmanager (webhook, version 4)\n",
        );
    };
    let is_drill = |alert: &Alert| alert.status == "firing" && alert.labels.tenant == DRILL_TENANT;
    if notification.alerts.iter().any(is_drill) {
        (drill.rang)();
    }
    (StatusCode::OK, "noted\n")
}
