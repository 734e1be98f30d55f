//! Dashboards for Grafana 9.4 or later.
//!
//! They can be imported (`__inputs`) and provisioned: each asks its data sources by a variable. They link to each other
//! by their tag. No link leaves out the tenant that is looked at.

mod chart;
mod dashboard;
mod hops;
mod overview;
mod pipeline;
mod probe;
mod query;
mod tenant;
mod verdict;

use super::{File, Settings};

/// What all dashboards are found by.
const TAG: &str = "traceprobe";

/// All dashboards, and a data source with links from exemplars to their traces.
pub(super) fn files(settings: &Settings) -> Vec<File> {
    vec![
        File::json("overview.json", &overview::dashboard(settings)),
        File::json("tenant.json", &tenant::dashboard(settings)),
        File::json("hops.json", &hops::dashboard(settings)),
        File::json("probe.json", &probe::dashboard(settings)),
        File::json("pipeline.json", &pipeline::by_cloud(settings)),
        File::json("pipeline-prometheus.json", &pipeline::by_exporters(settings)),
        File { name: "datasource.yml", text: data_source(settings) },
    ]
}

/// The address of the probe's pages, or the one that it has on its own machine.
fn page(settings: &Settings) -> &str {
    settings.external_url.as_deref().unwrap_or("http://localhost:9464")
}

/// A file for Grafana's `provisioning/datasources`.
fn data_source(settings: &Settings) -> String {
    format!(
        "# For Grafana's provisioning/datasources. Exemplars, the dots in charts of latencies, link to their trace. Prometheus\n\
         # keeps them with --enable-feature=exemplar-storage. Change the address of Prometheus.\n\
         apiVersion: 1\n\
         datasources:\n  \
           - name: Prometheus\n    \
             type: prometheus\n    \
             access: proxy\n    \
             url: http://prometheus:9090\n    \
             jsonData:\n      \
               timeInterval: 15s\n      \
               exemplarTraceIdDestinations:\n        \
                 - name: trace_id\n          \
                   url: \"{}/traces/$${{__value.raw}}\"\n          \
                   urlDisplayLabel: The trace\n",
        page(settings)
    )
}
