//! The pipeline's own metrics beside the probe's: through Grafana's data sources for both clouds, or through exporters
//! for those who have only Prometheus.

use serde_json::Value;

use super::chart::{Chart, Foreign, Kind, Query};
use super::dashboard::{Dashboard, Row, Source, Tenants, text};
use super::query::{Windows, all, latency};
use crate::dashboards::panel::{Content, Panel, Section};
use crate::dashboards::settings::Settings;
use crate::dashboards::{aws, google};

const WIDTH: u32 = 8;

/// Who answers for the clouds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Clouds,
    Exporters,
}

/// Through the data sources of both clouds.
pub(super) fn by_cloud(settings: &Settings) -> Value {
    Dashboard {
        uid: "traceprobe-pipeline",
        title: "traceprobe: pipeline, from both clouds",
        help: "The pipeline's own metrics, in its order: AWS through CloudWatch, Google Cloud through \
            Cloud Monitoring. CloudWatch bills each metric of each refresh, so this dashboard \
            refreshes every five minutes.",
        refresh: "5m",
        sources: &[Source::Prometheus, Source::CloudWatch, Source::Monitoring],
        tenants: Tenants::All,
        rows: rows(settings, By::Clouds),
    }
    .json(settings)
}

/// Through YACE and stackdriver_exporter.
pub(super) fn by_exporters(settings: &Settings) -> Value {
    Dashboard {
        uid: "traceprobe-pipeline-prometheus",
        title: "traceprobe: pipeline, from Prometheus",
        help: "The pipeline's own metrics, in its order, as YACE and stackdriver_exporter export them \
            with the configurations of `traceprobe dashboards exporters`.",
        refresh: "1m",
        sources: &[Source::Prometheus],
        tenants: Tenants::All,
        rows: rows(settings, By::Exporters),
    }
    .json(settings)
}

fn rows(settings: &Settings, by: By) -> Vec<Row> {
    let mut rows = vec![Row::open("As the probe measures it", measured(settings))];
    let sections = aws::sections(settings).into_iter().chain(google::sections(settings));
    rows.extend(sections.map(|section| row(&section, settings, by)));
    rows
}

/// What the probe measures of the hops, as a scale for what follows.
fn measured(settings: &Settings) -> Vec<Chart> {
    let windows = Windows::of(settings);
    let hops =
        latency(settings, 0.95, &all("traceprobe_hop_latency_seconds_bucket", ""), "stage", &windows.short);
    let end = latency(settings, 0.95, &all("traceprobe_e2e_latency_seconds_bucket", ""), "", &windows.short);
    vec![
        Chart::new(
            Kind::Lines,
            "P95 of each hop",
            "All tenants. The hop over the transit stands in for the latency of VPN and Interconnect, \
            which neither cloud measures; the first hop for the time from the subscription filter to \
            Lambda.",
            12,
        )
        .query(format!("topk(20, {hops})"), "{{stage}}")
        .unit("s"),
        Chart::new(Kind::Lines, "P95 end to end", "All tenants together.", 12)
            .query(end, "end to end")
            .unit("s")
            .limits(super::overview::end_to_end(settings)),
    ]
}

fn row(section: &Section, settings: &Settings, by: By) -> Row {
    let charts = section.panels.iter().map(|panel| chart(panel, settings, by)).collect();
    Row::open(section.title, charts)
}

fn chart(panel: &Panel, settings: &Settings, by: By) -> Chart {
    if let Some(markdown) = panel.text() {
        return text(panel.title, markdown, WIDTH, 8);
    }
    let mut chart = Chart::new(Kind::Lines, panel.title, panel.help.as_str(), WIDTH)
        .unit(panel.unit.grafana())
        .limits(panel.limits);
    let project = settings.pipeline.google_project.as_deref().unwrap_or_default();
    match (&panel.content, by) {
        (Content::Aws(queries), By::Clouds) => {
            let targets = aws::grafana_targets(queries);
            chart.foreign = Some(Foreign { plugin: "cloudwatch", variable: "cloudwatch", targets });
        }
        (Content::Google(queries), By::Clouds) => {
            let targets = google::grafana_targets(queries, project);
            chart.foreign = Some(Foreign { plugin: "stackdriver", variable: "monitoring", targets });
        }
        (Content::Aws(queries), By::Exporters) => {
            chart.queries = aws::yace_targets(queries)
                .into_iter()
                .map(|(expr, legend)| Query::new(expr, legend))
                .collect();
        }
        (Content::Google(queries), By::Exporters) => {
            let promql = queries.iter().map(|query| query.promql(google::Names::Exporter));
            chart.queries = promql.map(|(expr, legend)| Query::new(expr, legend)).collect();
        }
        (Content::Alarms(_) | Content::Missing(_) | Content::Text, _) => {
            return text(panel.title, panel.help.as_str(), WIDTH, 8);
        }
    }
    chart
}
