//! How far reported arrivals are from the true ones.

use std::collections::HashMap;

use traceprobe::domain::time::Timestamp;
use traceprobe::sandbox::{Sandbox, Stage};

/// The errors of the latest instants at one stage.
#[derive(Debug, Default)]
pub struct Errors {
    /// How many of the true arrivals are inside the reported intervals.
    pub inside_percent: f64,
    pub median_ms: f64,
    pub p99_ms: f64,
}

/// Compares the arrivals that the daemon's page shows with the sandbox's truth.
pub async fn errors(
    sandbox: &Sandbox,
    client: &reqwest::Client,
    address: &str,
    stage: Stage,
) -> Result<Errors, Box<dyn std::error::Error>> {
    let mut truth = HashMap::new();
    for record in sandbox.truth() {
        if let Some(at) = record.arrived(stage) {
            truth.insert(record.token[5..37].to_owned(), at.0);
        }
    }
    let (mut errors, mut inside) = (Vec::new(), 0_usize);
    for tenant in sandbox.tenants() {
        let url =
            format!("{address}/traces/recent?format=json&outcome=delivered&limit=200&tenant={}", tenant.name);
        let text = client.get(url).send().await?.error_for_status()?.text().await?;
        let page: serde_json::Value = serde_json::from_str(&text)?;
        for trace in page["traces"].as_array().into_iter().flatten() {
            let Some(at) = trace["id"].as_str().and_then(|id| truth.get(id)) else { continue };
            let stages = trace["stages"].as_array().into_iter().flatten();
            for seen in stages.filter(|seen| seen["stage"].as_str() == Some(stage.name())) {
                let instant =
                    |key: &str| Timestamp::parse_rfc3339(seen[key].as_str()?).map(Timestamp::micros);
                if let Some((earliest, latest)) = instant("earliest").zip(instant("latest")) {
                    errors.push(latest - at);
                    inside += usize::from((earliest..=latest).contains(at));
                }
            }
        }
    }
    errors.sort_unstable();
    let quantile = |ratio: f64| {
        let nth = (ratio * errors.len() as f64).ceil() as usize;
        errors.get(nth.saturating_sub(1)).map_or(f64::NAN, |error| *error as f64 / 1e3)
    };
    let inside_percent = 100.0 * inside as f64 / errors.len().max(1) as f64;
    Ok(Errors { inside_percent, median_ms: quantile(0.5), p99_ms: quantile(0.99) })
}
