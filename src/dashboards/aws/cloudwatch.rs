//! Writes a dashboard of CloudWatch.
//!
//! The format is that of `DashboardBody` of PutDashboard (Amazon CloudWatch API Reference, "Dashboard Body Structure
//! and Syntax").

use serde_json::{Value, json};

use super::PERIOD;
use super::panels::sections;
use super::query::{Lines, Meter, Place, Query};
use crate::dashboards::limits::{Bad, Limits};
use crate::dashboards::panel::{Content, Panel};
use crate::dashboards::settings::Settings;

/// Width of the grid (Dashboard Body Structure).
const GRID: u32 = 24;
const WIDTH: u32 = 8;
const HEIGHT: u32 = 6;
/// From this many places on, only the worst are drawn.
pub(super) const DRAWN: usize = 10;

/// All panels as one dashboard.
pub(crate) fn dashboard(settings: &Settings) -> Value {
    let mut widgets = Vec::new();
    let mut y = 0;
    widgets.push(text(0, y, GRID, 3, &heading(settings)));
    y += 3;
    for section in sections(settings) {
        widgets.push(text(0, y, GRID, 1, &format!("## {}", section.title)));
        y += 1;
        let mut x = 0;
        for panel in &section.panels {
            if x + WIDTH > GRID {
                (x, y) = (0, y + HEIGHT);
            }
            widgets.push(widget(panel, settings, x, y));
            x += WIDTH;
        }
        y += HEIGHT;
    }
    json!({ "start": "-PT3H", "periodOverride": "inherit", "widgets": widgets })
}

fn heading(settings: &Settings) -> String {
    let page = settings.external_url.as_ref().map_or_else(
        || "the probe's page /traces/recent".to_owned(),
        |url| format!("[the probe's page]({url}/traces/recent)"),
    );
    format!(
        "# Log pipeline in AWS\nPrinted by `traceprobe dashboards cloudwatch` from the probe's configuration. A red line \
         is a target or a critical value. Which tenant and which hop has a problem, and since when: {page}. Forwarders \
         are in the clients' accounts, so this account must be a monitoring account of theirs (CloudWatch cross-account \
         observability)."
    )
}

fn text(x: u32, y: u32, width: u32, height: u32, markdown: &str) -> Value {
    json!({ "type": "text", "x": x, "y": y, "width": width, "height": height, "properties": { "markdown": markdown } })
}

fn widget(panel: &Panel, settings: &Settings, x: u32, y: u32) -> Value {
    if let Some(markdown) = panel.text() {
        return text(x, y, WIDTH, HEIGHT, &markdown);
    }
    let (kind, properties) = match &panel.content {
        Content::Aws(queries) => ("metric", chart(panel, queries, settings)),
        Content::Alarms(alarms) => ("alarm", json!({ "title": panel.title, "alarms": alarms })),
        Content::Google(_) | Content::Missing(_) | Content::Text => {
            return text(x, y, WIDTH, HEIGHT, &panel.help);
        }
    };
    json!({ "type": kind, "x": x, "y": y, "width": WIDTH, "height": HEIGHT, "properties": properties })
}

fn chart(panel: &Panel, queries: &[Query], settings: &Settings) -> Value {
    let mut metrics = Vec::new();
    for (number, query) in queries.iter().enumerate() {
        match query {
            Query::Lines(lines) => lines_of(lines, number, &settings.region, &mut metrics),
            Query::Search { meter, dimensions, region } => {
                let expression = search(meter, dimensions);
                metrics.push(
                    json!([{ "expression": expression, "id": format!("s{number}"), "region": region }]),
                );
            }
        }
    }
    let mut axis = json!({ "min": 0, "showUnits": false });
    if !panel.unit.label().is_empty() {
        axis["label"] = panel.unit.label().into();
    }
    let period = queries.iter().map(period).max().unwrap_or(PERIOD);
    let mut properties = json!({
        "title": panel.title,
        "view": "timeSeries",
        "stacked": false,
        "region": settings.region,
        "period": period,
        "metrics": metrics,
        "yAxis": { "left": axis },
    });
    let lines = annotations(panel.limits);
    if !lines.is_empty() {
        properties["annotations"] = json!({ "horizontal": lines });
    }
    properties
}

fn period(query: &Query) -> u32 {
    match query {
        Query::Lines(lines) => lines.meters.iter().map(|meter| meter.period).max().unwrap_or(PERIOD),
        Query::Search { meter, .. } => meter.period,
    }
}

fn annotations(limits: Limits) -> Vec<Value> {
    let colour = |name| if name == "critical" { "#d62728" } else { "#ff7f0e" };
    let line = |(name, value)| json!({ "label": name, "value": value, "color": colour(name) });
    limits.lines().into_iter().map(line).collect()
}

/// The expression that finds the worst series of a metric (CloudWatch User Guide, search expressions).
pub(super) fn search(meter: &Meter, dimensions: &[&str]) -> String {
    format!(
        "SORT(SEARCH('{{{},{}}} MetricName=\"{}\"', '{}', {}), MAX, DESC, {DRAWN})",
        meter.namespace,
        dimensions.join(","),
        meter.metric,
        meter.stat.as_str(),
        meter.period
    )
}

/// The expression that chooses the worst of the lines with these ids (CloudWatch User Guide, metric math).
pub(super) fn worst(ids: &[String], bad: Bad) -> String {
    let (function, order) = match bad {
        Bad::Above => ("MAX", "DESC"),
        Bad::Below => ("MIN", "ASC"),
    };
    format!("SORT([{}], {function}, {order}, {DRAWN})", ids.join(","))
}

fn lines_of(lines: &Lines, number: usize, region: &str, metrics: &mut Vec<Value>) {
    let draws_all = lines.places.len() <= DRAWN;
    let shown = |entry: &mut Value| {
        if !draws_all {
            entry["visible"] = false.into();
        }
    };
    let shared = shared(lines, number, region, metrics);
    let mut ids = Vec::new();
    for (index, place) in lines.places.iter().enumerate() {
        let id = |letter: usize| match &shared[letter] {
            Some(sum) => sum.clone(),
            None => format!("m{number}x{index}{}", letter_of(letter)),
        };
        for (letter, meter) in lines.meters.iter().enumerate().filter(|(letter, _)| shared[*letter].is_none())
        {
            let mut options =
                json!({ "id": id(letter), "label": lines.label(place), "stat": meter.stat.as_str() });
            if lines.is_plain() {
                shown(&mut options);
            } else {
                options["visible"] = false.into();
            }
            metrics.push(metric(meter, place, options, region));
        }
        if lines.is_plain() {
            ids.push(id(0));
            continue;
        }
        let line = format!("e{number}x{index}");
        let mut options = json!({ "expression": lines.with(id), "id": line, "label": lines.label(place) });
        shown(&mut options);
        metrics.push(json!([options]));
        ids.push(line);
    }
    if !draws_all {
        let expression = worst(&ids, lines.worst);
        metrics.push(json!([{ "expression": expression, "id": format!("w{number}"), "label": "" }]));
    }
}

/// The meters that are measured elsewhere, each summed up: the id of its sum.
fn shared(lines: &Lines, number: usize, region: &str, metrics: &mut Vec<Value>) -> Vec<Option<String>> {
    let mut sums = Vec::new();
    for (letter, meter) in lines.meters.iter().enumerate() {
        if meter.own.is_empty() {
            sums.push(None);
            continue;
        }
        let id = |index: usize| format!("o{number}x{index}{}", letter_of(letter));
        for (index, place) in meter.own.iter().enumerate() {
            let options = json!({ "id": id(index), "stat": meter.stat.as_str(), "visible": false });
            metrics.push(metric(meter, place, options, region));
        }
        let ids: Vec<_> = (0..meter.own.len()).map(id).collect();
        sums.push(Some(if let [one] = ids.as_slice() {
            one.clone()
        } else {
            format!("SUM([{}])", ids.join(","))
        }));
    }
    sums
}

/// `a` for the first meter.
pub(super) fn letter_of(meter: usize) -> char {
    ['a', 'b', 'c'].get(meter).copied().unwrap_or('z')
}

fn metric(meter: &Meter, place: &Place, mut options: Value, region: &str) -> Value {
    if place.region != region {
        options["region"] = place.region.clone().into();
    }
    if let Some(account) = &place.account {
        options["accountId"] = account.clone().into();
    }
    if meter.period != PERIOD {
        options["period"] = meter.period.into();
    }
    let mut entry = vec![json!(meter.namespace), json!(meter.metric)];
    for (name, value) in &place.dimensions {
        entry.extend([json!(name), json!(value)]);
    }
    entry.push(options);
    Value::Array(entry)
}
