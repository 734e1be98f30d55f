//! One tenant: what is wrong with it, how long its canaries take, and where they are lost.

use serde_json::Value;

use super::chart::{Chart, Kind};
use super::dashboard::{Dashboard, Row, Source, Tenants, text};
use super::overview::{DELIVERED, ON_TIME, capped, end_to_end};
use super::query::{Windows, bounds_around, chosen, increase, latency, quantile};
use super::verdict;
use crate::dashboards::limits::Limits;
use crate::dashboards::promql::ranked;
use crate::dashboards::settings::Settings;
use crate::rules::window;

const PAGE: &str = "${probe}/traces/recent?tenant=${tenant}";
const E2E: &str = "traceprobe_e2e_latency_seconds_bucket";

pub(super) fn dashboard(settings: &Settings) -> Value {
    let windows = Windows::of(settings);
    Dashboard {
        uid: "traceprobe-tenant",
        title: "traceprobe: tenant",
        help: "One tenant. Read the strips from the first stage to the last: the first that is not green \
            is the cause.",
        refresh: "30s",
        sources: &[Source::Prometheus],
        tenants: Tenants::One,
        rows: vec![
            Row::open("Now", now(settings, &windows)),
            Row::open("Since when, and where", vec![strips()]),
            Row::open("End to end", end(settings, &windows)),
            Row::open("By stage", stages(settings, &windows)),
            Row::open("Injection, sizes and copies", other(&windows)),
            Row::closed("Each chosen tenant: $tenant", vec![repeated(settings, &windows)]).for_each("tenant"),
        ],
    }
    .json(settings)
}

fn ratio(by: &str, over: &str) -> String {
    format!(
        "{}\n/ {}",
        increase(&chosen("traceprobe_slo_good_traces_total", ""), by, over),
        increase(&chosen("traceprobe_slo_traces_total", ""), by, over)
    )
}

fn now(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let traces = |outcomes: &str| {
        increase(&chosen("traceprobe_traces_total", &format!("outcome=~\"{outcomes}\"")), "", "$__range")
    };
    let count = |name| increase(&chosen(name, ""), "", "$__range");
    let oldest = format!("max({})", chosen("traceprobe_oldest_in_flight_seconds", ""));
    vec![
        Chart::new(Kind::Stat, "State", "The worst condition now.", 4)
            .query(format!("max({})", verdict::worst(&settings.topology, "tenant", chosen)), "")
            .states(verdict::states())
            .limits(Limits::above(1.0).critical(100.0))
            .link("Page of this tenant", PAGE),
        Chart::new(Kind::Stat, "P95, end to end", "What has not arrived counts as longer than the SLO.", 4)
            .query(latency(settings, 0.95, &chosen(E2E, ""), "", &windows.short), "")
            .unit("s")
            .states(capped(settings))
            .limits(end_to_end(settings)),
        Chart::new(
            Kind::Stat,
            format!("Arrived within {}", window::seconds(settings.slo)),
            "Of the judged canaries of the time above.",
            4,
        )
        .query(ratio("", "$__range"), "")
        .unit("percentunit")
        .limits(ON_TIME),
        Chart::new(Kind::Stat, "Delivered", "Of the canaries that ended with a verdict.", 4)
            .query(
                format!("{}\n/ {}", traces("delivered|late"), traces("delivered|late|lost|dead_lettered")),
                "",
            )
            .unit("percentunit")
            .limits(DELIVERED),
        Chart::new(
            Kind::Stat,
            "Missing at a stage",
            "Canaries that reached the stage before and provably never this one, in the time above.",
            4,
        )
        .query(count("traceprobe_missing_hops_total"), "")
        .limits(Limits::above(1.0)),
        Chart::new(Kind::Stat, "Oldest in flight", "If it grows, a hop has stopped.", 4)
            .query(oldest, "")
            .unit("s")
            .limits(end_to_end(settings)),
    ]
}

fn strips() -> Chart {
    let by = "stage, condition";
    let series = chosen("traceprobe_condition", "");
    let order = format!("sum by ({by}) (sum_over_time({series}[$__range] @ end())) > 0");
    let expr = ranked(&format!("max by ({by}) ({series})"), by, "topk", verdict::ROWS, &order);
    let help = "Each condition that was a problem in the time above, with its stage; nothing if there was none. docs/conditions.md \
                says what each means.";
    let states = vec![
        super::chart::State { value: 0, text: "well".to_owned(), colour: "green" },
        super::chart::State { value: 1, text: "PROBLEM".to_owned(), colour: "red" },
    ];
    Chart::new(Kind::States, "Problems by stage and condition", help, 24)
        .query(expr, "{{stage}} {{condition}}")
        .states(states)
        .height(8)
        .link("Page of this tenant", PAGE)
}

fn end(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let bounds = bounds_around(settings, settings.slo, 19);
    let heat = increase(&chosen(E2E, &bounds), "le", "$__rate_interval");
    let mut percentiles = Chart::new(
        Kind::Lines,
        "Percentiles against the targets",
        format!("Over {}, the P99 over {}.", windows.short, windows.long),
        12,
    )
    .unit("s")
    .limits(end_to_end(settings))
    .link("Page of this tenant", PAGE);
    for (q, name, window) in
        [(0.5, "P50", &windows.short), (0.95, "P95", &windows.short), (0.99, "P99", &windows.long)]
    {
        percentiles = percentiles.query(latency(settings, q, &chosen(E2E, ""), "", window), name);
    }
    vec![
        Chart::new(
            Kind::HeatMap,
            "Latency, end to end",
            "Canaries by latency. Dots are exemplars: each links to its trace, if the data source has \
            the destination of datasource.yml.",
            12,
        )
        .query(heat, "{{le}}")
        .unit("s")
        .link("Page of this tenant", PAGE),
        percentiles,
    ]
}

fn stages(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let by_stage = |name| increase(&chosen(name, ""), "stage", &windows.long);
    let hops = latency(
        settings,
        0.95,
        &chosen("traceprobe_hop_latency_seconds_bucket", ""),
        "stage",
        &windows.short,
    );
    let flying = format!("sum by (stage) ({})", chosen("traceprobe_in_flight_traces", ""));
    let oldest = format!("max by (stage) ({})", chosen("traceprobe_oldest_in_flight_seconds", ""));
    let mut over = Chart::new(
        Kind::Lines,
        "Canaries over the target of a hop",
        "The hop whose share rises is the cause.",
        8,
    )
    .unit("percentunit")
    .limits(Limits::above(0.05));
    over.queries = super::overview::over_target(settings, &windows.short, chosen);
    let mut charts = vec![
        Chart::new(Kind::Lines, "P95 of each hop", "From the arrival at the stage before.", 8)
            .query(format!("topk(20, {hops})"), "{{stage}}")
            .unit("s")
            .link("The hop", "/d/traceprobe-hops?var-tenant=${tenant}&${__url_time_range}"),
    ];
    charts.extend(Some(over).filter(|chart| !chart.queries.is_empty()));
    charts.extend([
        Chart::new(
            Kind::Lines,
            "Missing by stage",
            format!("In {}. Nothing is drawn if there are none.", windows.long),
            8,
        )
        .query(format!("topk(20, {}) > 0", by_stage("traceprobe_missing_hops_total")), "{{stage}}")
        .limits(Limits::above(0.0)),
        Chart::new(
            Kind::Lines,
            "Lost by stage",
            format!(
                "In {}; a range of stages if one between was blind. Nothing is drawn if there are none.",
                windows.long
            ),
            8,
        )
        .query(format!("topk(20, {}) > 0", by_stage("traceprobe_lost_total")), "{{stage}}")
        .limits(Limits::above(0.0)),
        Chart::new(
            Kind::Lines,
            "In flight, by the stage they wait for",
            "Steady if the pipeline keeps up.",
            8,
        )
        .query(format!("topk(20, {flying})"), "{{stage}}"),
        Chart::new(
            Kind::Lines,
            "Oldest in flight, by the stage it waits for",
            "If it grows, that hop has stopped, unless its stage is blind.",
            8,
        )
        .query(format!("topk(20, {oldest})"), "{{stage}}")
        .unit("s")
        .limits(end_to_end(settings)),
    ]);
    charts
}

fn other(windows: &Windows) -> Vec<Chart> {
    let by = |name, labels| increase(&chosen(name, ""), labels, &windows.long);
    vec![
        Chart::new(
            Kind::Lines,
            "Injections by result",
            format!("Planned canaries in {}: accepted, refused, ambiguous, missed.", windows.long),
            8,
        )
        .query(by("traceprobe_injections_total", "result"), "{{result}}"),
        Chart::new(Kind::Lines, "Time to inject, P95", "Part of the latency, which counts from the plan.", 8)
            .query(
                quantile(
                    0.95,
                    &chosen("traceprobe_injection_duration_seconds_bucket", ""),
                    "",
                    &windows.long,
                ),
                "P95",
            )
            .unit("s"),
        Chart::new(Kind::Lines, "Outcomes", format!("Canaries that ended in {}.", windows.long), 8)
            .query(format!("{} > 0", by("traceprobe_traces_total", "outcome")), "{{outcome}}"),
        Chart::new(
            Kind::Lines,
            "Copies and changes, by stage",
            format!("In {}. Cut at some sizes only: the page lists sizes.", windows.long),
            12,
        )
        .query(format!("topk(5, {}) > 0", by("traceprobe_duplicates_total", "stage")), "twice {{stage}}")
        .query(format!("topk(5, {}) > 0", by("traceprobe_corrupted_total", "stage")), "changed {{stage}}")
        .query(format!("topk(5, {}) > 0", by("traceprobe_late_arrivals_total", "stage")), "late {{stage}}")
        .query(
            format!("topk(5, {}) > 0", by("traceprobe_isolation_violations_total", "stage")),
            "with another tenant {{stage}}",
        )
        .limits(Limits::above(0.0)),
        text(
            "By size",
            "No metric has the size of a canary as a label, because it would multiply the series. Whether only some sizes are slow, missing \
             or cut is on [the page of this tenant](${probe}/traces/recent?tenant=${tenant}), under \"By size\".",
            12,
            8,
        ),
    ]
}

fn repeated(settings: &Settings, windows: &Windows) -> Chart {
    Chart::new(
        Kind::Lines,
        "P95 end to end: $tenant",
        "Repeated for each chosen tenant; nothing is asked for until the row is opened.",
        24,
    )
    .query(latency(settings, 0.95, &chosen(E2E, ""), "tenant", &windows.short), "{{tenant}}")
    .unit("s")
    .limits(end_to_end(settings))
}
