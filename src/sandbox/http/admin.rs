//! The admin listener, for people and scripts: truth, calls and faults.
//!
//! ```text
//! curl $ADMIN/truth; curl $ADMIN/calls; curl $ADMIN/faults; curl -X DELETE $ADMIN/faults; curl -X DELETE $ADMIN/faults/3
//! curl $ADMIN/faults -d '{"kind":"stage","stage":"transit","tenant":"acme","effect":"stall","for_ms":60000}'
//! curl $ADMIN/faults -d '{"kind":"stage","stage":"archive","effect":"lose","probability":0.1}'
//! curl $ADMIN/faults -d '{"kind":"stage","stage":"bigquery","tenant":"acme","effect":"leak","into":"globex"}'
//! curl $ADMIN/faults -d '{"kind":"service","service":"kinesis","operation":"GetRecords","effect":"hang"}'
//! curl $ADMIN/faults -d '{"kind":"clock_offset","service":"s3","ms":-2000}'
//! curl $ADMIN/faults -d '{"kind":"reshard","tenant":"acme"}'
//! ```
//!
//! A probe under test must not know its address.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::super::Endpoints;
use super::super::clock;
use super::super::fault::{ActiveFault, Fault};
use super::super::tasks::Tasks;
use super::super::truth::TruthRecord;
use super::super::world::{CallCount, Shared};

/// A fault in a request.
#[derive(Debug, Deserialize)]
struct Posted {
    /// Cleared automatically after this many milliseconds.
    #[serde(default)]
    for_ms: Option<u64>,
    #[serde(flatten)]
    fault: Fault,
}

/// Serves the admin routes on a bound socket until the sandbox stops.
pub(crate) fn serve(tasks: &mut Tasks, listener: TcpListener, shared: &Arc<Shared>, endpoints: Endpoints) {
    let stop = tasks.stop_token();
    let app = Router::new()
        .route("/truth", get(truth))
        .route("/calls", get(calls))
        .route("/faults", get(faults).post(post).delete(clear_all))
        .route("/faults/{id}", delete(clear))
        .with_state(Arc::clone(shared))
        .route("/endpoints", get(move || async move { Json(endpoints) }));
    tasks.start("admin", async move {
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::warn!(%error, "sandbox: the admin listener ended");
        }
    });
}

async fn truth(State(shared): State<Arc<Shared>>) -> Json<Vec<TruthRecord>> {
    Json(shared.lock().truth.all())
}

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Vec<CallCount>> {
    Json(shared.lock().calls())
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Vec<ActiveFault>> {
    Json(shared.lock().faults.list().to_vec())
}

async fn post(State(shared): State<Arc<Shared>>, body: String) -> Response {
    let posted: Posted = match serde_json::from_str(&body) {
        Ok(posted) => posted,
        Err(error) => return refused(&error.to_string()),
    };
    let now = clock::now();
    let until = posted.for_ms.map(|ms| now.after(Duration::from_millis(ms)));
    let done = shared.lock().fault(posted.fault, until, now);
    shared.announce_faults();
    match done {
        Ok(id) => Json(json!({"id": id})).into_response(),
        Err(message) => refused(&message),
    }
}

fn refused(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": message}))).into_response()
}

async fn clear_all(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.lock().faults.clear_all();
    shared.announce_faults();
    StatusCode::NO_CONTENT
}

async fn clear(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> StatusCode {
    let found = shared.lock().faults.clear(id);
    shared.announce_faults();
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_can_be_reached_from_this_machine_only() {
        let (_listener, address) = super::super::bind(0).await.unwrap();
        assert!(address.ip().is_loopback(), "{address}");
    }

    #[test]
    fn the_documented_faults_are_accepted() {
        let documented: Vec<&str> = include_str!("admin.rs")
            .lines()
            .filter(|line| line.starts_with("//! curl"))
            .filter_map(|line| line.split('\'').nth(1))
            .collect();
        assert_eq!(documented.len(), 6);
        for text in documented {
            let posted: Result<Posted, _> = serde_json::from_str(text);
            assert!(posted.is_ok(), "{text}: {posted:?}");
        }
    }
}
