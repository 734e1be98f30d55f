//! Writes a dashboard of Google Cloud Monitoring.
//!
//! The format is the schema `Dashboard` of the API `monitoring.v1`.

use serde_json::{Value, json};

use super::panels::sections;
use super::query::{Filter, Names, Query, Series, Take};
use crate::dashboards::panel::{Content, Panel, Unit};
use crate::dashboards::settings::Settings;

/// Columns of the mosaic layout (`MosaicLayout.columns`: 1 to 48).
const COLUMNS: u32 = 48;
const WIDTH: u32 = 16;
const HEIGHT: u32 = 14;
/// Most lines of a query.
const DRAWN: u32 = 10;

/// All panels as one dashboard.
pub(crate) fn dashboard(settings: &Settings) -> Value {
    let mut tiles = vec![tile(0, 0, COLUMNS, 8, &text(&heading(settings)))];
    let mut y = 8;
    for section in sections(settings) {
        let header = json!({ "title": section.title, "sectionHeader": { "dividerBelow": true } });
        tiles.push(tile(0, y, COLUMNS, 4, &header));
        y += 4;
        let mut x = 0;
        for panel in &section.panels {
            if x + WIDTH > COLUMNS {
                (x, y) = (0, y + HEIGHT);
            }
            tiles.push(tile(x, y, WIDTH, HEIGHT, &widget(panel)));
            x += WIDTH;
        }
        y += HEIGHT;
    }
    json!({
        "displayName": "Log pipeline in Google Cloud",
        "labels": { "traceprobe": "" },
        "mosaicLayout": { "columns": COLUMNS, "tiles": tiles },
    })
}

fn heading(settings: &Settings) -> String {
    let page = settings.external_url.as_ref().map_or_else(
        || "the probe's page /traces/recent".to_owned(),
        |url| format!("[the probe's page]({url}/traces/recent)"),
    );
    format!(
        "Printed by `traceprobe dashboards google` from the probe's configuration. A line across a chart is a target or a \
         critical value. Metrics show up to seven minutes late. Which tenant and which hop has a problem, and since when: \
         {page}."
    )
}

fn tile(x: u32, y: u32, width: u32, height: u32, widget: &Value) -> Value {
    json!({ "xPos": x, "yPos": y, "width": width, "height": height, "widget": widget })
}

fn text(markdown: &str) -> Value {
    json!({ "text": { "content": markdown, "format": "MARKDOWN" } })
}

fn widget(panel: &Panel) -> Value {
    let Content::Google(queries) = &panel.content else {
        return text(&panel.text().unwrap_or_else(|| panel.help.clone()));
    };
    let sets: Vec<_> = queries.iter().map(|query| data_set(query, panel.unit)).collect();
    let line = |(label, value)| json!({ "label": label, "value": value, "targetAxis": "Y1" });
    let thresholds: Vec<_> = panel.limits.lines().into_iter().map(line).collect();
    json!({
        "title": panel.title,
        "xyChart": {
            "dataSets": sets,
            "thresholds": thresholds,
            "yAxis": { "label": panel.unit.label(), "scale": "LINEAR" },
            "chartOptions": { "mode": "COLOR" },
        },
    })
}

fn data_set(query: &Query, unit: Unit) -> Value {
    let request = match query {
        Query::Series(series) => json!({ "timeSeriesFilter": filter(series) }),
        Query::Formula { .. } => {
            let unit = if unit == Unit::Percent { "%" } else { "1" };
            json!({ "prometheusQuery": query.promql(Names::Monitoring).0, "unitOverride": unit })
        }
    };
    let mut set = json!({ "timeSeriesQuery": request, "plotType": "LINE", "targetAxis": "Y1" });
    let legend = match query {
        Query::Series(series) => {
            let by = series.by.map(|label| format!("${{{}}}", label.path().replace("label.", "labels.")));
            format!("{} {}", series.what, by.unwrap_or_default()).trim().to_owned()
        }
        Query::Formula { .. } => String::new(),
    };
    if !legend.is_empty() {
        set["legendTemplate"] = legend.into();
    }
    set
}

/// A filter and an aggregation (Cloud Monitoring API, "Monitoring filters", `Aggregation`).
fn filter(series: &Series) -> Value {
    let mut filter = format!("metric.type=\"{}\" AND resource.type=\"{}\"", series.metric, series.resource);
    for one in &series.filters {
        filter += " AND ";
        filter += &match one {
            Filter::OneOf(label, values) => {
                let quoted: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
                match quoted.as_slice() {
                    [one] => format!("{}={one}", label.path()),
                    several => format!("{}=one_of({})", label.path(), several.join(", ")),
                }
            }
            Filter::Not(label, value) => format!("{}!=\"{value}\"", label.path()),
        };
    }
    let (align, reduce) = series.take.aggregation();
    let mut aggregation =
        json!({ "alignmentPeriod": "60s", "perSeriesAligner": align, "crossSeriesReducer": reduce });
    if let Some(by) = series.by {
        aggregation["groupByFields"] = json!([by.path()]);
    }
    let mut request = json!({ "filter": filter, "aggregation": aggregation });
    if series.by.is_some() {
        let (direction, method) =
            if series.take == Take::Least { ("BOTTOM", "METHOD_MIN") } else { ("TOP", "METHOD_MAX") };
        request["pickTimeSeriesFilter"] =
            json!({ "direction": direction, "numTimeSeries": DRAWN, "rankingMethod": method });
    }
    request
}
