//! What the same canaries cost k6, with a plain script: `k6.js`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::Options;
use super::process::Usage;
use super::stub::Stub;
use super::table::Row;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/rate/k6.js");
/// Virtual users at low rates, and without a rate.
const FEWEST_VUS: u32 = 50;
/// A VU is busy with one event until it has found it at all stages, which takes up to 3.1 s.
const VU_SECONDS: f64 = 3.5;
/// Time for k6 to make its VUs.
const START: Duration = Duration::from_mins(3);

/// Measures k6 at a rate, or without one with so many events as its fewest VUs can follow.
pub async fn measure(
    options: &Options,
    k6: &Path,
    rate: Option<u32>,
) -> Result<Row, Box<dyn std::error::Error>> {
    let stub = Stub::start().await?;
    let api = free_address()?;
    let vus = rate.map_or(0.0, |rate| f64::from(rate) * VU_SECONDS).max(f64::from(FEWEST_VUS));
    let running = Command::new(k6)
        .args(["run", "--quiet", "--no-usage-report", "--log-output=none", "--address", &api, SCRIPT])
        .env("STUB", &stub.address)
        .env("RATE", rate.unwrap_or(0).to_string())
        .env("VUS", vus.to_string())
        .env("SIZE", options.size.to_string())
        .env("SECONDS", (options.warm_up + options.seconds + 1).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", k6.display()))?;
    let id = running.id().ok_or("k6 has ended")?;
    timeout(START, async {
        while stub.counts().put == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .map_err(|_| "k6 has put nothing")?;
    sleep(Duration::from_secs(options.warm_up)).await;

    let before = (stub.counts(), dropped(&api).await?);
    let usage = Usage::measure(id, Duration::from_secs(options.seconds)).await.ok_or("k6 has ended")?;
    let after = (stub.counts(), dropped(&api).await?);

    let output = running.wait_with_output().await?;
    let errors: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let ms = |key: &str| errors[key].as_f64().unwrap_or(f64::NAN);
    let all = stub.counts();
    Ok(Row {
        program: format!("k6, {vus:.0} VUs"),
        planned: rate,
        seconds: options.seconds as f64,
        accepted: (after.0.put - before.0.put) as f64,
        missed: after.1 - before.1,
        untracked: None,
        lost: (all.put - all.found) as f64,
        refused: None,
        usage,
        calls: after.0.calls - before.0.calls,
        inside_percent: None,
        median_ms: ms("med"),
        p99_ms: ms("p(99)"),
    })
}

/// Events that were due while no VU was free.
async fn dropped(api: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(format!("http://{api}/v1/metrics/dropped_iterations")).send().await?;
    // The metric is there from the first on.
    let metric: serde_json::Value = serde_json::from_str(&answer.text().await?)?;
    Ok(metric["data"]["attributes"]["sample"]["count"].as_f64().unwrap_or(0.0))
}

/// Where k6 shall show its metrics. It does not tell which port it took if it is left to choose.
fn free_address() -> std::io::Result<String> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string())
}
