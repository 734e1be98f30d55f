//! The panels, in the order of the pipeline.
//!
//! Names of metrics, resources and labels come from Google's lists of metrics; `tests/dashboards/google-metrics.json`
//! has the addresses, and a test compares them.

use super::query::{Filter, Label, Query, Series, Take};
use crate::dashboards::limits::Limits;
use crate::dashboards::panel::{Content, Panel, Section, Unit};
use crate::dashboards::settings::Settings;

const INSERT_ALL: &str = "google.cloud.bigquery.v2.TableDataService.InsertAll";
const APPEND_ROWS: &str = "google.cloud.bigquery.storage.v1.BigQueryWrite.AppendRows";

/// All panels about the part in Google Cloud.
pub(crate) fn sections(settings: &Settings) -> Vec<Section> {
    if settings.pipeline.google_project.is_none() && settings.buckets_gcs.is_empty() {
        let help = "No stage of the configuration is in Google Cloud. With `pipeline.google_project`, there are panels about \
                    BigQuery, VPN, Interconnect and transfers of that project.";
        let none = panel("Google Cloud", Unit::Count, Limits::NONE, help, Content::Text);
        return vec![Section { title: "Google Cloud", panels: vec![none] }];
    }
    vec![bigquery(settings), transit(settings), transfer(settings), storage(settings)]
}

fn panel(title: &'static str, unit: Unit, limits: Limits, help: &str, content: Content) -> Panel {
    Panel { title, help: help.to_owned(), unit, limits, content }
}

fn series(metric: &'static str, resource: &'static str, take: Take) -> Series {
    Series { metric, resource, filters: Vec::new(), take, by: None, what: "" }
}

impl Series {
    fn only(mut self, label: Label, values: &[String]) -> Self {
        if !values.is_empty() {
            self.filters.push(Filter::OneOf(label, values.to_vec()));
        }
        self
    }

    fn but(mut self, label: Label, value: &'static str) -> Self {
        self.filters.push(Filter::Not(label, value));
        self
    }

    const fn by(mut self, label: Label) -> Self {
        self.by = Some(label);
        self
    }

    const fn named(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }
}

/// A panel's queries, or the key of the names that it lacks.
fn drawn(key: &'static str, names: &[String], queries: impl FnOnce() -> Vec<Query>) -> Content {
    if names.is_empty() { Content::Missing(key) } else { Content::Google(queries()) }
}

/// Calls that insert rows, with either interface.
fn inserts(metric: &'static str, take: Take) -> Series {
    let methods = [INSERT_ALL.to_owned(), APPEND_ROWS.to_owned()];
    series(metric, "consumed_api", take).only(Label::Resource("method"), &methods)
}

fn bigquery(settings: &Settings) -> Section {
    let project = |metric, take| series(metric, "bigquery_project", take);
    // These are of a project as well, but Google measures them of this resource.
    let global = |metric, take| series(metric, "global", take);
    let datasets: Vec<String> = settings.datasets.iter().map(|dataset| dataset.name.clone()).collect();
    let one = |series| Content::Google(vec![Query::Series(series)]);
    let dataset = |metric, take| {
        let of = series(metric, "bigquery_dataset", take);
        of.only(Label::Resource("dataset_id"), &datasets).by(Label::Resource("dataset_id"))
    };
    let calls = || inserts("serviceruntime.googleapis.com/api/request_count", Take::Rate);
    let success = Query::Formula {
        formula: "100 * {A}\n/ {B}",
        series: vec![calls().only(Label::Metric("response_code_class"), &["2xx".to_owned()]), calls()],
        legend: "success",
    };
    let slots = match settings.pipeline.slots {
        None => Content::Missing("slots"),
        Some(_) => one(global("bigquery.googleapis.com/slots/allocated_for_project", Take::Sum)),
    };
    let slot_limits = settings
        .pipeline
        .slots
        .map_or(Limits::NONE, |slots| Limits::above(f64::from(slots) * 0.8).critical(f64::from(slots)));
    let streamed = || project("bigquery.googleapis.com/storage/insertall_inserted_bytes", Take::Rate);
    let loaded = || dataset("bigquery.googleapis.com/storage/uploaded_bytes", Take::Rate);
    // List prices of the US multi-region: 0.01 dollars for 200 MiB streamed, 6.25 for a TiB scanned (BigQuery pricing).
    let cost = Query::Formula {
        formula: "(0.05 * {A} / 1073741824\n+ 6.25 * {B} / 1099511627776)\n/ ({C} / 1073741824)",
        series: vec![
            streamed(),
            global("bigquery.googleapis.com/query/scanned_bytes_billed", Take::Rate),
            streamed(),
        ],
        legend: "dollars per GiB",
    };
    let panels = vec![
        panel(
            "BigQuery: rows inserted",
            Unit::PerSecond,
            Limits::NONE,
            "Rows of streaming inserts each second. None although the transit bucket grows: the \
                transfer has stopped.",
            one(project("bigquery.googleapis.com/storage/insertall_inserted_rows", Take::Rate)),
        ),
        panel(
            "BigQuery: insert success",
            Unit::Percent,
            Limits::below(99.9).critical(99.0),
            "Calls of tabledata.insertAll and AppendRows that were answered with 2xx. insertAll also \
                answers 2xx if it refuses single rows: the probe's loss tells of those.",
            Content::Google(vec![success]),
        ),
        panel(
            "BigQuery: insert latency, P95",
            Unit::Seconds,
            Limits::above(1.0),
            "How long 95 % of the insert calls took at most.",
            one(inserts("serviceruntime.googleapis.com/api/request_latencies", Take::P95)),
        ),
        panel(
            "BigQuery: query time, P95",
            Unit::Seconds,
            Limits::NONE,
            "How long 95 % of the project's queries took at most, those of the probe among them.",
            one(project("bigquery.googleapis.com/query/execution_times", Take::P95)),
        ),
        panel(
            "BigQuery: slots in use",
            Unit::Count,
            slot_limits,
            "Slots that the project's jobs hold. The target is 80 % of pipeline.slots; at all of them, jobs wait.",
            slots,
        ),
        panel(
            "BigQuery: bytes stored",
            Unit::Bytes,
            Limits::NONE,
            "Storage of the datasets whose tables are polled; its growth is billed by the month.",
            one(dataset("bigquery.googleapis.com/storage/stored_bytes", Take::Sum)),
        ),
        panel(
            "BigQuery: bytes inserted",
            Unit::BytesPerSecond,
            Limits::NONE,
            "Streamed, and loaded by jobs.",
            Content::Google(vec![
                Query::Series(streamed().named("streamed")),
                Query::Series(loaded().named("loaded")),
            ]),
        ),
        panel(
            "BigQuery: cost per GiB inserted",
            Unit::Dollars,
            Limits::NONE,
            "Streaming and queries at list prices (0.05 dollars a GiB, 6.25 dollars a TiB scanned), for \
                each GiB that was streamed. Google shows the bytes of queries up to six hours late. Cloud \
                Monitoring has no metric of money; the exact sum is in the billing export.",
            Content::Google(vec![cost]),
        ),
    ];
    Section { title: "BigQuery", panels }
}

fn transit(settings: &Settings) -> Section {
    let tunnels = &settings.pipeline.google_vpn_tunnels;
    let attachments = &settings.pipeline.interconnect_attachments;
    let vpn = |metric, take| {
        let of = series(metric, "vpn_gateway", take);
        of.only(Label::Metric("tunnel_name"), tunnels).by(Label::Metric("tunnel_name"))
    };
    let vlan = |metric, take| {
        let of = series(metric, "interconnect_attachment", take);
        of.only(Label::Resource("attachment"), attachments).by(Label::Resource("attachment"))
    };
    let loss = Limits::above(0.01);
    let ratio = |dropped: Series, all: Series, legend| Query::Formula {
        formula: "100 * {A}\n/ ({A} + {B})",
        series: vec![dropped, all],
        legend,
    };
    let vpn_loss = || {
        let rate = |metric| vpn(metric, Take::Rate);
        vec![
            ratio(
                rate("vpn.googleapis.com/network/dropped_sent_packets_count"),
                rate("vpn.googleapis.com/network/sent_packets_count"),
                "sent {{tunnel_name}}",
            ),
            ratio(
                rate("vpn.googleapis.com/network/dropped_received_packets_count"),
                rate("vpn.googleapis.com/network/received_packets_count"),
                "received {{tunnel_name}}",
            ),
        ]
    };
    let vlan_loss = || {
        let rate = |metric| vlan(metric, Take::Rate);
        vec![
            ratio(
                rate("interconnect.googleapis.com/network/attachment/egress_dropped_packets_count"),
                rate("interconnect.googleapis.com/network/attachment/sent_packets_count"),
                "sent {{attachment}}",
            ),
            ratio(
                rate("interconnect.googleapis.com/network/attachment/ingress_dropped_packets_count"),
                rate("interconnect.googleapis.com/network/attachment/received_packets_count"),
                "received {{attachment}}",
            ),
        ]
    };
    let two = |queries: [Series; 2]| queries.into_iter().map(Query::Series).collect();
    let wire = series(
        "interconnect.googleapis.com/network/wire_endpoint/inline_probe_latency",
        "wire_endpoint",
        Take::Largest,
    );
    let panels = vec![
        panel(
            "Cloud VPN: tunnels up",
            Unit::State,
            Limits::below(1.0),
            "1 while a tunnel is established.",
            drawn("google_vpn_tunnels", tunnels, || {
                vec![Query::Series(vpn("vpn.googleapis.com/tunnel_established", Take::Least))]
            }),
        ),
        panel(
            "Cloud VPN: traffic",
            Unit::BytesPerSecond,
            Limits::above(125_000_000.0),
            "Through each tunnel. The target is 1 Gbps, which is 125 MB/s.",
            drawn("google_vpn_tunnels", tunnels, || {
                two([
                    vpn("vpn.googleapis.com/network/sent_bytes_count", Take::Rate).named("sent"),
                    vpn("vpn.googleapis.com/network/received_bytes_count", Take::Rate).named("received"),
                ])
            }),
        ),
        panel(
            "Cloud VPN: packet loss",
            Unit::Percent,
            loss,
            "Packets that the gateway dropped, in percent of all.",
            drawn("google_vpn_tunnels", tunnels, vpn_loss),
        ),
        panel(
            "Cloud VPN: latency",
            Unit::Milliseconds,
            Limits::above(50.0),
            "Google measures no latency of a VPN tunnel: the round trips of \
                networking.googleapis.com/vm_flow are those within Google Cloud and to the Internet. What \
                stands in for it is the latency of the hop over the transit, which the probe measures, and \
                the packet loss beside this. For a round trip of 50 ms, probe an address at the other end, \
                for example with blackbox_exporter.",
            Content::Text,
        ),
        panel(
            "Interconnect: traffic",
            Unit::BytesPerSecond,
            Limits::NONE,
            "Through each VLAN attachment.",
            drawn("interconnect_attachments", attachments, || {
                two([
                    vlan("interconnect.googleapis.com/network/attachment/sent_bytes_count", Take::Rate)
                        .named("sent"),
                    vlan("interconnect.googleapis.com/network/attachment/received_bytes_count", Take::Rate)
                        .named("received"),
                ])
            }),
        ),
        panel(
            "Interconnect: packet loss",
            Unit::Percent,
            loss,
            "Packets that an attachment dropped, in percent of all.",
            drawn("interconnect_attachments", attachments, vlan_loss),
        ),
        panel(
            "Interconnect: latency of wires",
            Unit::Milliseconds,
            Limits::above(50.0),
            "Round trip of the probes that Google sends over a wire of Cross-Site Interconnect. VLAN \
                attachments have no metric of latency.",
            drawn("interconnect_attachments", attachments, || vec![Query::Series(wire)]),
        ),
    ];
    Section { title: "Transit from AWS", panels }
}

fn transfer(settings: &Settings) -> Section {
    let jobs = &settings.pipeline.transfer_jobs;
    let job =
        |metric| series(metric, "storage_transfer_job", Take::Rate).only(Label::Resource("job_id"), jobs);
    let copied = || job("storagetransfer.googleapis.com/transferjob/copied_objects_count");
    let success = || {
        let status = |value: &str| copied().only(Label::Metric("status"), &[value.to_owned()]);
        vec![Query::Formula {
            formula: "100 * {A}\n/ ({A} + ({B} or 0 * {A}))",
            series: vec![status("succeeded"), status("failed")],
            legend: "success",
        }]
    };
    let key = "transfer_jobs";
    let panels = vec![
        panel(
            "Transfer: objects copied, success",
            Unit::Percent,
            Limits::below(99.5).critical(99.0),
            "Objects that Storage Transfer Service copied, in percent of those that it tried.",
            drawn(key, jobs, success),
        ),
        panel(
            "Transfer: bytes copied",
            Unit::BytesPerSecond,
            Limits::NONE,
            "None although the source grows: the job has stopped or cannot read.",
            drawn(key, jobs, || {
                vec![Query::Series(
                    job("storagetransfer.googleapis.com/transferjob/copied_bytes_count")
                        .by(Label::Metric("status")),
                )]
            }),
        ),
        panel(
            "Transfer: errors",
            Unit::PerSecond,
            Limits::above(0.0),
            "By error code.",
            drawn(key, jobs, || {
                vec![Query::Series(
                    job("storagetransfer.googleapis.com/transferjob/error_count").by(Label::Metric("code")),
                )]
            }),
        ),
    ];
    Section { title: "Storage Transfer Service", panels }
}

fn storage(settings: &Settings) -> Section {
    let buckets: Vec<String> = settings.buckets_gcs.iter().map(|bucket| bucket.name.clone()).collect();
    let of = |metric, take| series(metric, "gcs_bucket", take).only(Label::Resource("bucket_name"), &buckets);
    let content =
        |queries: Vec<Query>| if buckets.is_empty() { Content::Text } else { Content::Google(queries) };
    let requests = || of("storage.googleapis.com/api/request_count", Take::Rate);
    let bucket = Label::Resource("bucket_name");
    let panels = vec![
        panel(
            "Cloud Storage: requests",
            Unit::PerSecond,
            Limits::NONE,
            "By response code. No stage of kind gcs: nothing is shown.",
            content(vec![Query::Series(requests().by(Label::Metric("response_code")))]),
        ),
        panel(
            "Cloud Storage: failed requests",
            Unit::Percent,
            Limits::above(0.5).critical(1.0),
            "Requests that were not answered with OK, in percent of all. The target is a transfer \
                success of 99.5 %. No stage of kind gcs: nothing is shown.",
            content(vec![Query::Formula {
                formula: "100 * {A}\n/ {B}",
                series: vec![requests().but(Label::Metric("response_code"), "OK"), requests()],
                legend: "failed",
            }]),
        ),
        panel(
            "Cloud Storage: bytes received",
            Unit::BytesPerSecond,
            Limits::NONE,
            "What was written to the buckets. No stage of kind gcs: nothing is shown.",
            content(vec![Query::Series(
                of("storage.googleapis.com/network/received_bytes_count", Take::Rate).by(bucket),
            )]),
        ),
    ];
    Section { title: "Cloud Storage", panels }
}
