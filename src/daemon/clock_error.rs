//! The error bound of the probe's own clock, as ECS reports it.
//!
//! On Fargate the task metadata (version 4) holds an error bound for the host's clock and whether it is
//! synchronized. Elsewhere the variable that names the metadata endpoint is not set, and this task does not
//! run. It never reads the clock itself. If the metadata cannot be read, the last bound stays in force.

use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::log_events;
use super::supervisor::Task;
use crate::domain::foreign::ForeignText;
use crate::domain::time::{OwnClock, Timestamp};
use crate::domain::tracker::Input;

/// The bound changes slowly: a host's clock drifts by microseconds per second.
const EVERY: Duration = Duration::from_secs(60);
/// The endpoint is on the host, so a slow answer means that it is broken.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Real metadata has a few KB.
const MAX_METADATA: usize = 1 << 20;
/// A larger bound carries no more information, and would make timestamp arithmetic overflow.
const MAX_BOUND: Duration = Duration::from_secs(3_600);

/// Makes the task that polls the metadata endpoint at `base`, the value of `ECS_CONTAINER_METADATA_URI_V4`.
pub(super) fn task(base: &str, inputs: mpsc::Sender<Input>, stop: CancellationToken) -> Task {
    let address = format!("{}/task", base.trim_end_matches('/'));
    Task::new("poll the clock's error bound", watch(address, EVERY, inputs, stop))
}

async fn watch(address: String, every: Duration, inputs: mpsc::Sender<Input>, stop: CancellationToken) {
    let _stopped = stop.run_until_cancelled(query_forever(&address, every, &inputs)).await;
}

async fn query_forever(address: &str, every: Duration, inputs: &mpsc::Sender<Input>) {
    let no_redirect = reqwest::redirect::Policy::none();
    let client = Client::builder().no_proxy().redirect(no_redirect).timeout(TIMEOUT).build();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = true;
    loop {
        ticks.tick().await;
        let answer = match &client {
            Ok(client) => query(client, address).await,
            Err(error) => Err(error.to_string().into()),
        };
        match answer {
            Ok(clock) => {
                known = true;
                if inputs.send(Input::ClockChecked(clock)).await.is_err() {
                    return;
                }
            }
            Err(reason) => {
                // Log once per outage, not every minute.
                if std::mem::take(&mut known) {
                    log_events::clock_unknown(&reason);
                }
            }
        }
    }
}

async fn query(client: &Client, address: &str) -> Result<OwnClock, ForeignText> {
    let unreachable = |error: reqwest::Error| ForeignText::from(error.without_url().to_string());
    let mut answer = client.get(address).send().await.map_err(unreachable)?;
    // Any other status than a success, a redirect too.
    if !answer.status().is_success() {
        return Err(format!("the task metadata endpoint answered HTTP {}", answer.status().as_u16()).into());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_METADATA {
            return Err(format!("the task metadata exceeds {MAX_METADATA} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    let task: Metadata = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    task.clock().ok_or_else(|| "the task metadata holds no clock error bound".into())
}

/// The fields of the task metadata that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    /// The documentation puts it into the containers; here it is accepted as well.
    clock_drift: Option<ClockDrift>,
    containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    clock_drift: Option<ClockDrift>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ClockDrift {
    /// Milliseconds.
    clock_error_bound: Option<f64>,
    /// The documentation's samples say `ReferenceTimestamp`, its text says `ReferenceTime`.
    reference_timestamp: Option<String>,
    reference_time: Option<String>,
    clock_synchronization_status: Option<String>,
}

impl Metadata {
    /// All containers share their host's clock; if their entries differ, the worst counts.
    fn clock(&self) -> Option<OwnClock> {
        let containers =
            self.containers.iter().flatten().filter_map(|container| container.clock_drift.as_ref());
        containers.chain(&self.clock_drift).map(ClockDrift::clock).reduce(|one, other| OwnClock {
            error_bound: one.error_bound.max(other.error_bound),
            synchronized: one.synchronized && other.synchronized,
            compared_at: one.compared_at.or(other.compared_at),
        })
    }
}

impl ClockDrift {
    fn clock(&self) -> OwnClock {
        let bound = self.clock_error_bound.filter(|millis| *millis >= 0.0);
        let status = self.clock_synchronization_status.as_deref();
        let compared_at = self.reference_timestamp.as_deref().or(self.reference_time.as_deref());
        OwnClock {
            error_bound: bound.map(|millis| {
                Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or(MAX_BOUND).min(MAX_BOUND)
            }),
            synchronized: status.is_none_or(|status| status.eq_ignore_ascii_case("SYNCHRONIZED")),
            compared_at: compared_at.and_then(Timestamp::parse_rfc3339),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::get;
    use serde_json::{Value, json};

    use super::*;

    fn clock(json: Value) -> Option<OwnClock> {
        serde_json::from_value::<Metadata>(json).unwrap().clock()
    }

    fn reference() -> Option<Timestamp> {
        Timestamp::parse_rfc3339("2026-11-22T04:29:41Z")
    }

    #[test]
    fn both_spellings_and_both_places_are_read() {
        let bound = Some(Duration::from_nanos(545_800));
        let expected = Some(OwnClock { error_bound: bound, synchronized: true, compared_at: reference() });
        let drift = |key: &str| {
            json!({"ClockErrorBound": 0.5458, key: "2026-11-22T04:29:41Z",
                   "ClockSynchronizationStatus": "SYNCHRONIZED"})
        };
        assert_eq!(clock(json!({"Containers": [{"ClockDrift": drift("ReferenceTimestamp")}]})), expected);
        assert_eq!(clock(json!({"Containers": [{}, {"ClockDrift": drift("ReferenceTime")}]})), expected);
        assert_eq!(clock(json!({"ClockDrift": drift("ReferenceTime"), "Containers": null})), expected);
        assert_eq!(clock(json!({"Cluster": "default", "Containers": [{"Name": "probe"}]})), None);
    }

    #[test]
    fn the_worst_container_counts_and_the_bound_is_capped() {
        let container = |bound: f64, status: &str| json!({"ClockDrift": {"ClockErrorBound": bound, "ClockSynchronizationStatus": status}});
        let worst = clock(json!({"Containers": [
            container(2.0, "SYNCHRONIZED"), container(-1.0, "NOT_SYNCHRONIZED"), container(1.0, "SYNCHRONIZED"),
        ]}));
        let bound = Some(Duration::from_millis(2));
        let expected = OwnClock { error_bound: bound, synchronized: false, compared_at: None };
        assert_eq!(worst, Some(expected));
        let absurd = clock(json!({"Containers": [container(1e300, "SYNCHRONIZED")]})).unwrap();
        assert_eq!(absurd.error_bound, Some(MAX_BOUND));
    }

    #[tokio::test]
    async fn the_task_metadata_is_polled_and_a_failed_poll_is_skipped() {
        crate::cloud::install_tls();
        let status = |status: &str| {
            let drift = json!({"ClockErrorBound": 1.5, "ClockSynchronizationStatus": status});
            Some(json!({"Containers": [{"ClockDrift": drift}]}))
        };
        let answers = VecDeque::from([status("SYNCHRONIZED"), None, status("NOT_SYNCHRONIZED")]);
        let answers = Arc::new(Mutex::new(answers));
        let answer = async |State(answers): State<Arc<Mutex<VecDeque<Option<Value>>>>>| match answers
            .lock()
            .unwrap()
            .pop_front()
            .flatten()
        {
            Some(json) => (StatusCode::OK, json.to_string()),
            None => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        };
        let app = Router::new().route("/v4/abc/task", get(answer)).with_state(answers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v4/abc/task", listener.local_addr().unwrap());
        let (inputs, mut received) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let watching = watch(address, Duration::from_millis(10), inputs, stop.clone());
        let stats = async {
            for expected in [true, false] {
                let Some(Input::ClockChecked(clock)) = received.recv().await else { panic!("nothing came") };
                let bound = Some(Duration::from_micros(1_500));
                assert_eq!((clock.error_bound, clock.synchronized), (bound, expected));
            }
            stop.cancel();
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        let (served, (), ()) = tokio::join!(serving.into_future(), watching, stats);
        served.unwrap();
    }
}
