//! Panels of Grafana, as values.

use serde_json::{Map, Value, json};

use crate::dashboards::limits::{Bad, Limits};
use crate::domain::topology::Stage;

/// The colours of stages in the order of the configuration. None is one of a threshold.
const STAGE_COLOURS: [&str; 8] =
    ["blue", "purple", "yellow", "light-blue", "light-purple", "dark-yellow", "dark-blue", "dark-purple"];

/// The colours of the services that the probe calls.
const SERVICE_COLOURS: [(&str, &str); 8] = [
    ("bigquery", "blue"),
    ("s3", "purple"),
    ("kinesis", "yellow"),
    ("logs", "light-blue"),
    ("gcs", "dark-purple"),
    ("sqs", "dark-yellow"),
    ("sts", "light-yellow"),
    ("cloudwatch", "dark-blue"),
];

/// How a panel draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Stat,
    Lines,
    /// Each series is a strip of states over time.
    States,
    HeatMap,
    Table,
    Bars,
    Text,
}

impl Kind {
    pub(super) const fn plugin(self) -> &'static str {
        match self {
            Self::Stat => "stat",
            Self::Lines => "timeseries",
            Self::States => "state-timeline",
            Self::HeatMap => "heatmap",
            Self::Table => "table",
            Self::Bars => "bargauge",
            Self::Text => "text",
        }
    }
}

/// A query on Prometheus.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) expr: String,
    pub(super) legend: String,
}

impl Query {
    pub(super) fn new(expr: impl Into<String>, legend: impl Into<String>) -> Self {
        Self { expr: expr.into(), legend: legend.into() }
    }
}

/// A text for a value, and its colour.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) value: i32,
    pub(super) text: String,
    pub(super) colour: &'static str,
}

/// A panel without its place.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) kind: Kind,
    pub(super) title: String,
    /// What it shows, and what to do.
    pub(super) help: String,
    pub(super) unit: &'static str,
    pub(super) limits: Limits,
    pub(super) queries: Vec<Query>,
    /// Queries of other data sources, in place of `queries`.
    pub(super) foreign: Option<Foreign>,
    pub(super) states: Vec<State>,
    /// Where a series leads: title and address.
    pub(super) links: Vec<(&'static str, String)>,
    /// What the column of values of a table is called.
    pub(super) value_name: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Foreign {
    pub(super) plugin: &'static str,
    pub(super) variable: &'static str,
    pub(super) targets: Vec<Value>,
}

impl Chart {
    pub(super) fn new(kind: Kind, title: impl Into<String>, help: impl Into<String>, width: u32) -> Self {
        let height = match kind {
            Kind::Stat => 4,
            Kind::Lines | Kind::Table | Kind::Bars | Kind::HeatMap => 8,
            Kind::States => 10,
            Kind::Text => 3,
        };
        Self {
            kind,
            title: title.into(),
            help: help.into(),
            unit: "short",
            limits: Limits::NONE,
            queries: Vec::new(),
            foreign: None,
            states: Vec::new(),
            links: Vec::new(),
            value_name: "Value",
            width,
            height,
        }
    }

    pub(super) fn query(mut self, expr: impl Into<String>, legend: impl Into<String>) -> Self {
        self.queries.push(Query::new(expr, legend));
        self
    }

    pub(super) fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    pub(super) fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(super) fn states(self, states: Vec<State>) -> Self {
        Self { states, ..self }
    }

    pub(super) fn link(mut self, title: &'static str, url: impl Into<String>) -> Self {
        self.links.push((title, url.into()));
        self
    }

    pub(super) fn value_name(self, value_name: &'static str) -> Self {
        Self { value_name, ..self }
    }

    pub(super) fn height(self, height: u32) -> Self {
        Self { height, ..self }
    }

    /// The panel as JSON, at a place of the grid. A stage has one colour in all panels that draw a line for each.
    pub(super) fn json(&self, id: usize, x: u32, y: u32, stages: &[Stage]) -> Value {
        let mut panel = json!({
            "id": id,
            "type": self.kind.plugin(),
            "title": self.title,
            "description": self.help,
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "options": self.options(),
        });
        if self.kind == Kind::Text {
            return panel;
        }
        panel["datasource"] = self.source();
        panel["fieldConfig"] = json!({ "defaults": self.defaults(), "overrides": self.colours(stages) });
        panel["targets"] = self.targets();
        if self.kind == Kind::Table {
            panel["transformations"] = json!([{
                "id": "organize",
                "options": {
                    "excludeByName": { "Time": true },
                    "indexByName": {},
                    "renameByName": { "Value": self.value_name },
                },
            }]);
        }
        panel
    }

    /// The colour of each stage or service, if each line is that of one.
    fn colours(&self, stages: &[Stage]) -> Value {
        let is_of = |label: &str| {
            let is_of = |query: &Query| {
                query.legend.starts_with(&format!("{{{{{label}}}}}"))
                    && query.legend.matches("{{").count() == 1
            };
            self.kind == Kind::Lines && !self.queries.is_empty() && self.queries.iter().all(is_of)
        };
        let colour = |(name, colour): (&str, &str)| {
            json!({
                "matcher": { "id": "byRegexp", "options": format!("/^{name}( over .*)?$/") },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } }],
            })
        };
        if is_of("stage") {
            let names = stages.iter().map(|stage| &*stage.name);
            names.zip(STAGE_COLOURS.into_iter().cycle()).map(colour).collect()
        } else if is_of("service") {
            SERVICE_COLOURS.into_iter().map(colour).collect()
        } else {
            json!([])
        }
    }

    fn source(&self) -> Value {
        match &self.foreign {
            Some(foreign) => json!({ "type": foreign.plugin, "uid": format!("${{{}}}", foreign.variable) }),
            None => json!({ "type": "prometheus", "uid": "${datasource}" }),
        }
    }

    fn targets(&self) -> Value {
        if let Some(foreign) = &self.foreign {
            return json!(foreign.targets);
        }
        let is_instant = matches!(self.kind, Kind::Stat | Kind::Table | Kind::Bars);
        let format = match self.kind {
            Kind::HeatMap => "heatmap",
            Kind::Table => "table",
            Kind::Stat | Kind::Lines | Kind::States | Kind::Bars | Kind::Text => "time_series",
        };
        let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).unwrap_or(0)).to_string();
        let target = |(number, query): (usize, &Query)| {
            json!({
                "refId": letter(number),
                "datasource": self.source(),
                "expr": query.expr,
                "legendFormat": query.legend,
                "format": format,
                "instant": is_instant,
                "range": !is_instant,
                // Only histograms of latencies have exemplars.
                "exemplar": !is_instant && query.expr.contains("_latency_seconds_bucket"),
            })
        };
        self.queries.iter().enumerate().map(target).collect()
    }

    fn defaults(&self) -> Value {
        let mut defaults =
            json!({ "unit": self.unit, "thresholds": thresholds(self.limits), "mappings": self.mappings() });
        if matches!(self.kind, Kind::Lines | Kind::HeatMap) {
            defaults["color"] = json!({ "mode": "palette-classic" });
        } else {
            defaults["color"] = json!({ "mode": "thresholds" });
        }
        // Growth is extrapolated to the ends of its window, but canaries are whole.
        let is_count = self.queries.iter().any(|it| it.expr.contains("increase("));
        if self.unit == "short" && (self.kind == Kind::Stat || self.kind == Kind::Lines && is_count) {
            defaults["decimals"] = 0.into();
        }
        if self.is_empty_while_all_is_well() {
            // Not "none": nothing is seen either while the probe is not scraped.
            defaults["noValue"] = "none seen".into();
        }
        let links = self.links.iter();
        let links: Vec<_> =
            links.map(|(title, url)| json!({ "title": title, "url": url, "targetBlank": false })).collect();
        if !links.is_empty() {
            defaults["links"] = json!(links);
        }
        defaults["custom"] = match self.kind {
            Kind::Lines => json!({
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 5,
                "showPoints": "auto",
                "spanNulls": 120_000,
                "thresholdsStyle": { "mode": if self.limits.lines().is_empty() { "off" } else { "line" } },
            }),
            Kind::States => json!({ "fillOpacity": 80, "lineWidth": 0 }),
            Kind::Table => json!({ "align": "auto", "filterable": true }),
            Kind::Stat | Kind::HeatMap | Kind::Bars | Kind::Text => return without_custom(defaults),
        };
        defaults
    }

    /// Whether its queries keep only what is above zero.
    fn is_empty_while_all_is_well(&self) -> bool {
        self.kind != Kind::Stat
            && !self.queries.is_empty()
            && self.queries.iter().all(|query| query.expr.contains("> 0"))
    }

    fn mappings(&self) -> Value {
        if self.states.is_empty() {
            return json!([]);
        }
        let entry = |(index, state): (usize, &State)| {
            (state.value.to_string(), json!({ "text": state.text, "color": state.colour, "index": index }))
        };
        let options: Map<String, Value> = self.states.iter().enumerate().map(entry).collect();
        json!([{ "type": "value", "options": options }])
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({
                "colorMode": "background",
                "graphMode": "none",
                "justifyMode": "auto",
                "textMode": if self.queries.iter().any(|it| !it.legend.is_empty()) { "value_and_name" } else { "value" },
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            Kind::Lines => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::States => json!({
                "mergeValues": true,
                "showValue": "auto",
                "alignValue": "left",
                "rowHeight": 0.9,
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false },
                "tooltip": { "mode": "single", "sort": "none" },
            }),
            Kind::HeatMap => json!({
                "calculate": false,
                "cellGap": 1,
                "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64, "reverse": false, "exponent": 0.5, "fill": "dark-orange" },
                "exemplars": { "color": "rgba(31, 120, 193, 0.9)" },
                "filterValues": { "le": 1e-9 },
                "rowsFrame": { "layout": "auto" },
                "yAxis": { "unit": self.unit, "axisPlacement": "left", "reverse": false },
                "legend": { "show": true },
                "tooltip": { "show": true, "yHistogram": false },
            }),
            Kind::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
            Kind::Bars => json!({
                "orientation": "horizontal",
                "displayMode": "basic",
                "showUnfilled": true,
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
            Kind::Text => json!({ "mode": "markdown", "content": self.help }),
        }
    }
}

fn without_custom(mut defaults: Value) -> Value {
    if let Some(fields) = defaults.as_object_mut() {
        fields.remove("custom");
    }
    defaults
}

/// Colours from the first value on: blue without limits; else green, then orange from the target and red from the critical value, or the other way
/// round if low values are bad. A target of which nobody has said what is critical is red.
fn thresholds(limits: Limits) -> Value {
    let step = |value: Option<f64>, colour: &str| json!({ "value": value, "color": colour });
    let steps = match (limits.bad, limits.target, limits.critical) {
        // Neither good nor bad.
        (_, None, None) => vec![step(None, "blue")],
        (Bad::Above, Some(target), Some(critical)) => {
            vec![step(None, "green"), step(Some(target), "orange"), step(Some(critical), "red")]
        }
        (Bad::Above, Some(one), None) | (Bad::Above, None, Some(one)) => {
            vec![step(None, "green"), step(Some(one), "red")]
        }
        (Bad::Below, Some(target), Some(critical)) => {
            vec![step(None, "red"), step(Some(critical), "orange"), step(Some(target), "green")]
        }
        (Bad::Below, Some(one), None) | (Bad::Below, None, Some(one)) => {
            vec![step(None, "red"), step(Some(one), "green")]
        }
    };
    json!({ "mode": "absolute", "steps": steps })
}
