//! The baseline: k6 injects an event and asks once a second whether it has arrived, at each stage in turn. The stub in
//! front of it answers from memory, so that k6 pays for its own work only.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Running;
use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::StatusCode;
use axum::routing::{get, put};

/// When an event is at tenant stream, archive, transit and BigQuery, after the put.
const ARRIVES_AFTER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(2_000),
    Duration::from_millis(1_800),
    Duration::from_millis(2_300),
];

const SCRIPT: &str = r"
import http from 'k6/http';
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';
const found = new Trend('found', true);
const body = 'x'.repeat(Number(__ENV.SIZE));
export const options = {
  discardResponseBodies: true,
  scenarios: { load: { executor: 'constant-arrival-rate', rate: Number(__ENV.RATE), timeUnit: '1s',
    duration: __ENV.SECONDS + 's', preAllocatedVUs: 50, maxVUs: 20000, gracefulStop: '15s' } },
};
export default function () {
  const id = `${__VU}-${__ITER}`;
  const began = Date.now();
  http.put(`${__ENV.STUB}/events/${id}`, body, { tags: { name: 'put' } });
  for (let stage = 0; stage < 4; stage++) {
    for (;;) {
      const answer = http.get(`${__ENV.STUB}/stages/${stage}/${id}`, {
        tags: { name: 'poll' }, responseCallback: http.expectedStatuses(200, 404) });
      if (answer.status === 200) break;
      sleep(1);
    }
  }
  found.add(Date.now() - began);
}
";

type Events = Arc<Mutex<HashMap<String, Instant>>>;

/// The head of the table.
pub fn head() -> String {
    format!("{:>7} {:>9} {:>9} {:>8} {:>8}", "asked/s", "events", "ms each", "of core", "MiB")
}

/// Runs the script at one rate, and returns its row of the table.
pub async fn run(program: &Path, rate: u32, size: u32, seconds: u64) -> String {
    match measure(program, rate, size, seconds).await {
        Ok(row) => row,
        Err(error) => format!("{rate:>7} not measured: {error}"),
    }
}

async fn measure(
    program: &Path,
    rate: u32,
    size: u32,
    seconds: u64,
) -> Result<String, Box<dyn std::error::Error>> {
    let events = Events::default();
    let app = Router::new()
        .route("/events/{id}", put(store))
        .route("/stages/{stage}/{id}", get(poll))
        .with_state(events.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let stub = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let script = std::env::temp_dir().join(format!("traceprobe-rate-{}.js", std::process::id()));
    std::fs::write(&script, SCRIPT)?;
    let mut child = Running(
        Command::new(program)
            .args(["run", "--quiet", "--no-usage-report"])
            .arg(&script)
            .env("STUB", stub)
            .env("RATE", rate.to_string())
            .env("SIZE", size.to_string())
            .env("SECONDS", seconds.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let id = child.0.id();
    let (mut used, mut resident) = (0.0, 0);
    // Its time can only be read while it runs, so the last reading counts.
    while child.0.try_wait()?.is_none() {
        used = super::busy(id).unwrap_or(used);
        resident = super::status(id, "VmHWM:").max(resident);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    serving.abort();
    let _ = std::fs::remove_file(&script);
    let events = events.lock().unwrap_or_else(PoisonError::into_inner).len();
    Ok(format!(
        "{rate:>7} {events:>9} {:>9.3} {:>8.2} {:>8}",
        used / events.max(1) as f64 * 1e3,
        used / seconds as f64,
        resident / 1_024
    ))
}

async fn store(State(events): State<Events>, InPath(id): InPath<String>) -> StatusCode {
    events.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Instant::now());
    StatusCode::OK
}

async fn poll(State(events): State<Events>, InPath((stage, id)): InPath<(usize, String)>) -> StatusCode {
    let events = events.lock().unwrap_or_else(PoisonError::into_inner);
    let after = ARRIVES_AFTER.get(stage).copied().unwrap_or_default();
    match events.get(&id) {
        Some(put) if put.elapsed() >= after => StatusCode::OK,
        Some(_) | None => StatusCode::NOT_FOUND,
    }
}
