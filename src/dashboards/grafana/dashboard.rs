//! A dashboard of Grafana around its panels.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::chart::{Chart, Kind};
use super::{TAG, page};
use crate::dashboards::settings::Settings;
use crate::domain::topology::Stage;

/// Width of Grafana's grid.
const GRID: u32 = 24;

/// Panels under a heading.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) title: String,
    /// A row that is closed asks for nothing until somebody opens it.
    pub(super) open: bool,
    /// The variable for each value of which the row is repeated.
    pub(super) repeat: Option<&'static str>,
    pub(super) charts: Vec<Chart>,
}

impl Row {
    pub(super) fn open(title: impl Into<String>, charts: Vec<Chart>) -> Self {
        Self { title: title.into(), open: true, repeat: None, charts }
    }

    pub(super) fn closed(title: impl Into<String>, charts: Vec<Chart>) -> Self {
        Self { title: title.into(), open: false, repeat: None, charts }
    }

    pub(super) fn for_each(self, variable: &'static str) -> Self {
        Self { repeat: Some(variable), ..self }
    }
}

/// A data source that a dashboard asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Prometheus,
    CloudWatch,
    Monitoring,
}

/// Whose series a dashboard shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tenants {
    /// All; there is no variable.
    All,
    /// One at first, chosen above.
    One,
    /// All at first, chosen above.
    Any,
}

pub(super) struct Dashboard<'a> {
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) help: &'static str,
    pub(super) refresh: &'static str,
    pub(super) sources: &'a [Source],
    pub(super) tenants: Tenants,
    pub(super) rows: Vec<Row>,
}

impl Source {
    /// Variable, plugin, name of the plugin, input of the import.
    const fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Prometheus => ("datasource", "prometheus", "Prometheus", "DS_PROMETHEUS"),
            Self::CloudWatch => ("cloudwatch", "cloudwatch", "CloudWatch", "DS_CLOUDWATCH"),
            Self::Monitoring => ("monitoring", "stackdriver", "Google Cloud Monitoring", "DS_MONITORING"),
        }
    }
}

impl Dashboard<'_> {
    pub(super) fn json(&self, settings: &Settings) -> Value {
        let mut list: Vec<Value> = self.sources.iter().map(|source| source_variable(*source)).collect();
        list.extend([job_variable(settings), instance_variable()]);
        list.extend(tenant_variable(self.tenants));
        list.push(probe_variable(settings));
        json!({
            "__inputs": self.sources.iter().map(|source| input(*source)).collect::<Vec<_>>(),
            "__requires": self.requires(),
            "uid": self.uid,
            "title": self.title,
            "description": self.help,
            "tags": [TAG],
            "schemaVersion": 38,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "timezone": "utc",
            "time": { "from": "now-3h", "to": "now" },
            "links": links(),
            "annotations": { "list": annotations() },
            "templating": { "list": list },
            "panels": self.panels(settings.topology.stages()),
        })
    }

    fn requires(&self) -> Value {
        let kinds: BTreeSet<_> =
            self.rows.iter().flat_map(|row| &row.charts).map(|chart| chart.kind.plugin()).collect();
        let grafana = json!({ "type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.4.0" });
        let sources = self.sources.iter().map(|source| {
            let (_, plugin, name, _) = source.names();
            json!({ "type": "datasource", "id": plugin, "name": name, "version": "1.0.0" })
        });
        let panels =
            kinds.iter().map(|kind| json!({ "type": "panel", "id": kind, "name": kind, "version": "" }));
        [grafana].into_iter().chain(sources).chain(panels).collect()
    }

    /// The panels, from left to right and from top to bottom.
    fn panels(&self, stages: &[Stage]) -> Value {
        let (mut panels, mut y, mut id) = (Vec::new(), 0, 0);
        for row in &self.rows {
            id += 1;
            let row_id = id;
            let row_y = y;
            y += 1;
            let (mut inner, mut x, mut height) = (Vec::new(), 0, 0);
            for chart in &row.charts {
                if x + chart.width > GRID {
                    (x, y, height) = (0, y + height, 0);
                }
                id += 1;
                inner.push(chart.json(id, x, y, stages));
                x += chart.width;
                height = height.max(chart.height);
            }
            y += height;
            let mut head = json!({
                "id": row_id,
                "type": "row",
                "title": row.title,
                "collapsed": !row.open,
                "gridPos": { "x": 0, "y": row_y, "w": GRID, "h": 1 },
                "panels": if row.open { Vec::new() } else { inner.clone() },
            });
            if let Some(variable) = row.repeat {
                head["repeat"] = variable.into();
            }
            panels.push(head);
            if row.open {
                panels.extend(inner);
            }
        }
        Value::Array(panels)
    }
}

/// Asked for when the dashboard is imported by hand.
fn input(source: Source) -> Value {
    let (_, plugin, name, input) = source.names();
    json!({ "name": input, "label": name, "description": "", "type": "datasource", "pluginId": plugin, "pluginName": name })
}

fn source_variable(source: Source) -> Value {
    let (variable, plugin, name, input) = source.names();
    let label = if source == Source::Prometheus { "Data source" } else { name };
    let chosen = format!("${{{input}}}");
    json!({
        "name": variable,
        "label": label,
        "type": "datasource",
        "query": plugin,
        "current": { "text": chosen, "value": chosen },
        "hide": 0,
        "includeAll": false,
        "multi": false,
        "refresh": 1,
        "regex": "",
    })
}

fn query_variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "definition": query,
        "query": { "query": query, "refId": name },
        "current": { "text": "All", "value": "$__all" },
        "includeAll": true,
        "allValue": ".+",
        "multi": true,
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "regex": "",
    })
}

fn job_variable(settings: &Settings) -> Value {
    let mut variable = query_variable("job", "Job", "label_values(traceprobe_build_info, job)");
    variable["current"] = json!({ "text": settings.job, "value": settings.job });
    variable
}

fn instance_variable() -> Value {
    query_variable("instance", "Instance", "label_values(traceprobe_build_info{job=~\"$job\"}, instance)")
}

fn tenant_variable(tenants: Tenants) -> Option<Value> {
    let query = "label_values(traceprobe_injections_total{job=~\"$job\", instance=~\"$instance\", \
        tenant!=\"drill\"}, tenant)";
    let mut variable = query_variable("tenant", "Tenant", query);
    match tenants {
        Tenants::All => return None,
        Tenants::Any => {}
        // Without a current value, Grafana takes the first.
        Tenants::One => variable["current"] = json!({}),
    }
    Some(variable)
}

/// The address of the probe's pages, to which series link.
fn probe_variable(settings: &Settings) -> Value {
    let url = page(settings);
    json!({
        "name": "probe",
        "label": "Page of the probe",
        "type": "textbox",
        "query": url,
        "current": { "text": url, "value": url },
        "options": [{ "text": url, "value": url, "selected": true }],
        "hide": if settings.external_url.is_some() { 2 } else { 0 },
    })
}

fn links() -> Value {
    json!([
        {
            "title": "Dashboards",
            "type": "dashboards",
            "tags": [TAG],
            "icon": "external link",
            "tooltip": "The other dashboards of the probe, with the same time and tenant",
            "asDropdown": false,
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
            "url": "",
        },
        {
            "title": "Page of the probe",
            "type": "link",
            "tags": [],
            "icon": "bolt",
            "tooltip": "Which tenant, which hop, since when",
            "asDropdown": false,
            "includeVars": false,
            "keepTime": false,
            "targetBlank": true,
            "url": "${probe}/traces/recent",
        },
    ])
}

/// Incidents as the probe sees them, and alerts.
fn annotations() -> Vec<Value> {
    let annotation = |name: &str, enable: bool, colour: &str, expr: &str, title: &str| {
        json!({
            "name": name,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "enable": enable,
            "hide": false,
            "iconColor": colour,
            "expr": expr,
            "titleFormat": title,
            "textFormat": "{{tenant}} {{stage}}",
            "step": "30s",
            "useValueForTime": false,
        })
    };
    vec![
        annotation(
            "Incidents",
            true,
            "red",
            "max by (condition, tenant, stage) (traceprobe_condition{job=~\"$job\", \
                instance=~\"$instance\", tenant!=\"drill\"}) > 0",
            "{{condition}}",
        ),
        annotation(
            "Alerts",
            false,
            "orange",
            "ALERTS{alertstate=\"firing\", alertname=~\"Traceprobe.*\", tenant!=\"drill\"}",
            "{{alertname}}",
        ),
    ]
}

/// A panel that is only text.
pub(super) fn text(title: impl Into<String>, markdown: impl Into<String>, width: u32, height: u32) -> Chart {
    Chart::new(Kind::Text, title, markdown, width).height(height)
}
