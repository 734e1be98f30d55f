//! What a person would be told: a webhook for each receiver of Alertmanager.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::now;

/// What Alertmanager posts (webhook, version 4).
#[derive(Clone, Debug, Deserialize)]
struct Posted {
    alerts: Vec<PostedAlert>,
}

#[derive(Clone, Debug, Deserialize)]
struct PostedAlert {
    status: String,
    labels: BTreeMap<String, String>,
}

/// The labels of an alert that tell it apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    pub name: String,
    pub tenant: Option<String>,
    pub stage: Option<String>,
    pub instance: Option<String>,
}

impl Alert {
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).cloned();
        Self {
            name: label("alertname").unwrap_or_default(),
            tenant: label("tenant"),
            stage: label("stage"),
            instance: label("instance"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Notification {
    /// Seconds since the epoch.
    pub at: f64,
    pub receiver: String,
    pub job: String,
    pub firing: Vec<Alert>,
    #[expect(dead_code, reason = "printed")]
    pub resolved: Vec<Alert>,
}

type Received = Arc<Mutex<Vec<Notification>>>;

pub struct Sink {
    pub address: String,
    received: Received,
    _server: JoinHandle<()>,
}

impl Sink {
    pub async fn start() -> Self {
        let received = Received::default();
        let app = Router::new().route("/{receiver}", post(receive)).with_state(Arc::clone(&received));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let server =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("the webhook serves") });
        Self { address, received, _server: server }
    }

    /// What a job's receivers were told, in order, without the watchdog.
    pub fn of(&self, job: &str) -> Vec<Notification> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|told| told.job == job && told.receiver != "watchdog").cloned().collect()
    }

    /// How often the watchdog was told that a job's alerts arrive.
    pub fn watchdogs(&self, job: &str) -> usize {
        let received = self.received.lock().unwrap();
        received.iter().filter(|told| told.job == job && told.receiver == "watchdog").count()
    }
}

async fn receive(State(received): State<Received>, Path(receiver): Path<String>, Json(posted): Json<Posted>) {
    let with = |status: &str| {
        let alerts = posted.alerts.iter().filter(|alert| alert.status == status);
        alerts.map(|alert| Alert::of(&alert.labels)).collect()
    };
    let job = posted.alerts.first().and_then(|alert| alert.labels.get("job")).cloned().unwrap_or_default();
    let told = Notification { at: now(), receiver, job, firing: with("firing"), resolved: with("resolved") };
    println!("{told:?}");
    received.lock().unwrap().push(told);
}
