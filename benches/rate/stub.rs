//! A pipeline that only remembers: the stub that k6 puts events into, and asks for them at each stage. It has the
//! delays of the sandbox's pipeline and answers at once, so that k6's own work is measured.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::delays;

/// In answers that have found an event: how long after its put it became visible there.
const TRUTH: &str = "arrived-after-ms";

/// A running stub; dropping it stops it.
pub struct Stub {
    pub address: String,
    world: Arc<World>,
    _serving: JoinSet<std::io::Result<()>>,
}

/// What happened to the events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub calls: u64,
    pub put: u64,
    /// At the last stage.
    pub found: u64,
}

struct World {
    began: Instant,
    /// Taken for one search or insertion at a time.
    state: Mutex<(Counts, HashMap<u64, Duration>)>,
}

impl Stub {
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let world = Arc::new(World { began: Instant::now(), state: Mutex::default() });
        let router = Router::new()
            .route("/events/{id}", post(put))
            .route("/{stage}/{id}", get(find))
            .with_state(Arc::clone(&world));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, world, _serving: serving })
    }

    pub fn counts(&self) -> Counts {
        self.world.lock().0
    }
}

impl World {
    fn lock(&self) -> MutexGuard<'_, (Counts, HashMap<u64, Duration>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn put(State(world): State<Arc<World>>, Path(id): Path<u64>, _event: Bytes) -> StatusCode {
    let now = world.began.elapsed();
    let (counts, events) = &mut *world.lock();
    counts.calls += 1;
    counts.put += 1;
    events.insert(id, now);
    StatusCode::NO_CONTENT
}

async fn find(State(world): State<Arc<World>>, Path((stage, id)): Path<(String, u64)>) -> Response {
    let now = world.began.elapsed();
    let (counts, events) = &mut *world.lock();
    counts.calls += 1;
    let arrival = events.get(&id).and_then(|put| Some((*put, visible(&stage, *put)?)));
    let Some((put, at)) = arrival.filter(|(_, at)| *at <= now) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if stage == "bigquery" {
        counts.found += 1;
        events.remove(&id);
    }
    let after_ms = format!("{:.3}", (at - put).as_secs_f64() * 1e3);
    ([(TRUTH, after_ms)], ()).into_response()
}

/// When an event becomes visible at a stage; all instants since the stub began.
fn visible(stage: &str, put: Duration) -> Option<Duration> {
    let stream = put + delays::FORWARD;
    let archive = batch(stream + delays::ARCHIVE, delays::ARCHIVE_BATCH);
    let transit = batch(stream + delays::EXPORT, delays::TRANSIT_BATCH);
    match stage {
        "tenant_stream" => Some(stream),
        "archive" => Some(archive),
        "transit" => Some(transit),
        "bigquery" => Some(transit + delays::TRANSFER),
        _ => None,
    }
}

/// When the batch is written that is being collected when an event comes. A hop's time includes the batch.
fn batch(latest: Duration, length: Duration) -> Duration {
    let batches = (latest - length).as_nanos().div_ceil(length.as_nanos());
    length * u32::try_from(batches).expect("a run is shorter than years")
}
