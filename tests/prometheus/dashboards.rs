//! What the dashboards for Grafana ask a Prometheus, asked for a whole range as Grafana does.

use serde_json::Value;
use traceprobe::commands::dashboards::settings;
use traceprobe::config::Config;
use traceprobe::dashboards::{self, MOST_LINES, Target};

use super::server::Prometheus;

/// The range of the queries, in seconds.
const RANGE: f64 = 40.0;

/// A query of a panel.
pub struct PanelQuery {
    pub expr: String,
    pub legend: String,
}

pub struct Panel {
    /// The dashboard and the title.
    pub name: String,
    pub queries: Vec<PanelQuery>,
}

/// The panels on the probe's metrics of a configuration's dashboards.
pub fn panels(config: &Config) -> Vec<Panel> {
    let files = dashboards::files(&settings(config, "traceprobe"), Target::Grafana);
    let json = files.iter().filter(|file| file.name.ends_with(".json"));
    json.flat_map(|file| {
        of_dashboard(file.name, &serde_json::from_str(&file.text).expect("a dashboard is JSON"))
    })
    .collect()
}

fn of_dashboard(file: &str, dashboard: &Value) -> Vec<Panel> {
    let all = list(&dashboard["panels"]);
    let inner = all.iter().flat_map(|panel| list(&panel["panels"])).collect::<Vec<_>>();
    let own = |target: &Value| {
        let expr = target["expr"]
            .as_str()
            .filter(|expr| !expr.contains("aws_") && !expr.contains("stackdriver_"))?;
        let legend = target["legendFormat"].as_str().unwrap_or_default().to_owned();
        Some(PanelQuery { expr: expr.to_owned(), legend })
    };
    let panel = |panel: &Value| Panel {
        name: format!("{file}: {}", panel["title"]),
        queries: list(&panel["targets"]).iter().filter_map(own).collect(),
    };
    let panels = all.iter().chain(&inner).map(panel);
    panels.filter(|panel| !panel.queries.is_empty()).collect()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Asks for every panel. Returns a fault for each query without an answer and for each panel with too many lines.
pub async fn faults(prometheus: &Prometheus, panels: &[Panel], tenant: &str, now: f64) -> Vec<String> {
    let mut faults = Vec::new();
    for panel in panels {
        let mut lines = 0;
        for PanelQuery { expr, .. } in &panel.queries {
            let answer = prometheus.query_range_by(&filled(expr, tenant), now - RANGE, now, 5.0).await;
            lines += answer.len();
            if answer.is_empty() {
                faults.push(format!("{}: no data for {expr}", panel.name));
            }
        }
        if lines > MOST_LINES {
            faults.push(format!("{}: {lines} lines", panel.name));
        }
    }
    faults
}

/// An expression with values in the place of Grafana's variables. What is drawn only above 0 is asked for at 0 as well,
/// because a pipeline that does nothing wrong has no value above it. A result that no call has had is no series yet.
/// Averages are of steps of a second: the test lasts no five minutes.
fn filled(expr: &str, tenant: &str) -> String {
    expr.replace("$job", ".+")
        .replace("$instance", ".+")
        .replace("$tenant", tenant)
        .replace("$__rate_interval", "5s")
        .replace("$__range", &format!("{RANGE}s"))
        .replace("[1h:1m]", "[1h:1s]")
        .replace("[1d:5m]", "[1d:1s]")
        .replace("result=\"throttled\"", "result=~\".+\"")
        .replace(" > 0", " >= 0")
}
