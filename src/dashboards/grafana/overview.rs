//! All tenants at a glance: who has a problem, where, since when, and how bad.

use std::time::Duration;

use serde_json::Value;

use super::chart::{Chart, Kind, State};
use super::dashboard::{Dashboard, Row, Source, Tenants, text};
use super::query::{Windows, all, bound_of, cap, increase, latency, probe};
use super::{probe as probe_dashboard, verdict};
use crate::dashboards::limits::Limits;
use crate::dashboards::promql::ranked;
use crate::dashboards::settings::Settings;
use crate::rules::window;

/// Where a tenant's series lead.
pub(super) const TENANT_DASHBOARD: &str =
    "/d/traceprobe-tenant?var-tenant=${__field.labels.tenant}&var-job=${job:queryparam}&${__url_time_range}";
pub(super) const TENANT_PAGE: &str = "${probe}/traces/recent?tenant=${__field.labels.tenant}";

pub(super) fn dashboard(settings: &Settings) -> Value {
    let windows = Windows::of(settings);
    Dashboard {
        uid: "traceprobe-overview",
        title: "traceprobe: overview",
        help: "Which tenants have a problem, at which hop, since when and how bad. Begin with the strips; \
            a strip leads to its tenant.",
        refresh: "30s",
        sources: &[Source::Prometheus],
        tenants: Tenants::All,
        rows: vec![
            Row::open("Now", now(settings, &windows)),
            Row::open("Since when", vec![strips(settings)]),
            Row::open("What is wrong", wrong(settings, &windows)),
            Row::open("How long it takes", durations(settings, &windows)),
            Row::open("What is lost", lost(settings, &windows)),
            Row::closed("About this dashboard", vec![about()]),
        ],
    }
    .json(settings)
}

/// The limits of latencies end to end.
pub(super) fn end_to_end(settings: &Settings) -> Limits {
    Limits::above(settings.slo.as_secs_f64()).critical(settings.critical.as_secs_f64())
}

/// The text of a latency that is capped: more than 5 % have not arrived by then, if they do at all.
pub(super) fn capped(settings: &Settings) -> Vec<State> {
    let cap = Duration::from_secs_f64(cap(settings));
    let text = format!("over {}", window::text(cap));
    let value = i32::try_from(cap.as_secs()).ok().filter(|_| cap.subsec_nanos() == 0);
    value.map(|value| State { value, text, colour: "red" }).into_iter().collect()
}

/// The SLO is a P95: 95 % within it.
pub(super) const ON_TIME: Limits = Limits::below(0.95).critical(0.90);
/// Transfer success: more than 99.5 %, critical below 99 %.
pub(super) const DELIVERED: Limits = Limits::below(0.995).critical(0.99);

fn now(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let (good, judged) = ("traceprobe_slo_good_traces_total", "traceprobe_slo_traces_total");
    let within = format!(
        "{}\n/ {}",
        increase(&all(good, ""), "", "$__range"),
        increase(&all(judged, ""), "", "$__range")
    );
    let buckets = all("traceprobe_e2e_latency_seconds_bucket", "");
    let worst = format!("topk(1, {})", latency(settings, 0.95, &buckets, "tenant", &windows.short));
    let stall = vec![
        State { value: 0, text: "none".to_owned(), colour: "green" },
        State { value: 1, text: "NOTHING ARRIVES".to_owned(), colour: "red" },
    ];
    let blind = format!("sum(max by (tenant, stage) ({}))", all("traceprobe_stage_blind", ""));
    vec![
        Chart::new(
            Kind::Stat,
            "Tenants with a problem",
            "Tenants of which a condition is a problem now. The strips below name them.",
            4,
        )
        .query(verdict::count("tenant"), "")
        .limits(Limits::above(1.0)),
        Chart::new(
            Kind::Stat,
            "Total stall",
            "Whether nothing of any tenant arrives. If so, look at what all have in common: transit, table, \
            export. \"none\" says only that something arrives.",
            3,
        )
        .query(format!("max({})", probe("traceprobe_total_stall", "")), "")
        .states(stall)
        .limits(Limits::above(1.0)),
        Chart::new(
            Kind::Stat,
            "Worst P95, end to end",
            "The tenant whose canaries take longest. What has not arrived counts as longer than the SLO, so \
            this is red in a stall.",
            4,
        )
        .query(worst, "{{tenant}}")
        .unit("s")
        .states(capped(settings))
        .limits(end_to_end(settings))
        .link("This tenant", TENANT_DASHBOARD),
        Chart::new(
            Kind::Stat,
            format!("Arrived within {}", window::seconds(settings.slo)),
            "Of all judged canaries of the time above.",
            4,
        )
        .query(within, "")
        .unit("percentunit")
        .limits(ON_TIME),
        Chart::new(
            Kind::Stat,
            "Delivered",
            "Canaries that arrived at all, in time or late, of those that ended with a verdict. \
            Transfer success.",
            3,
        )
        .query(delivered(), "")
        .unit("percentunit")
        .limits(DELIVERED),
        Chart::new(
            Kind::Stat,
            "Cannot be seen",
            "Stages that the probe cannot read, counted for each tenant. There it knows nothing of the \
            pipeline: see the dashboard of the probe.",
            3,
        )
        .query(blind, "")
        .limits(Limits::above(1.0)),
        Chart::new(Kind::Stat, "The probe's cost", probe_dashboard::COST_HELP, 3)
            .query(probe_dashboard::against_the_usual(windows), "")
            .unit("suffix:× usual")
            .limits(probe_dashboard::COST)
            .link("What it costs", "/d/traceprobe-probe?${__url_time_range}"),
    ]
}

fn delivered() -> String {
    let traces = |outcomes: &str| {
        increase(&all("traceprobe_traces_total", &format!("outcome=~\"{outcomes}\"")), "", "$__range")
    };
    format!("{}\n/ {}", traces("delivered|late"), traces("delivered|late|lost|dead_lettered"))
}

fn strips(settings: &Settings) -> Chart {
    let help = format!(
        "The worst condition of each tenant over time; the {} worst tenants. Red pages somebody, orange does not. What \
         concerns a stage of all tenants, or the probe, is in the strip \"all tenants\".",
        verdict::ROWS
    );
    let named =
        |expr: String| format!("label_replace({expr}, \"tenant\", \"all tenants\", \"tenant\", \"\")");
    Chart::new(Kind::States, "Tenants, worst first", help, 24)
        .query(named(verdict::strips(&settings.topology, "tenant", all)), "{{tenant}}")
        .states(verdict::states())
        .link("This tenant", TENANT_DASHBOARD)
        .link("Its page", TENANT_PAGE)
}

fn wrong(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let problems = |by: &str| {
        let of = if by == "condition" { "tenant, condition" } else { "tenant, condition, stage" };
        format!("count by ({by}) (max by ({of}) ({}) > 0)", all("traceprobe_condition", ""))
    };
    let mut charts = vec![
        Chart::new(
            Kind::Table,
            "What is wrong now, and where",
            "Tenants with each problem at each stage. One row with many tenants is one cause.",
            8,
        )
        .query(format!("topk(20, {})", problems("condition, stage")), "")
        .value_name("tenants"),
        Chart::new(Kind::Lines, "Tenants with each problem", "Nothing is drawn while all is well.", 8)
            .query(problems("condition"), "{{condition}}"),
    ];
    let over = over_target(settings, &windows.short, all);
    if !over.is_empty() {
        let mut chart = Chart::new(
            Kind::Lines,
            "Canaries over the target of a hop",
            "All tenants. The hop whose share rises is the cause. The target of a hop is met if 95 % \
            are within it.",
            8,
        )
        .unit("percentunit")
        .limits(Limits::above(0.05))
        .link("The hop", "/d/traceprobe-hops?${__url_time_range}");
        chart.queries = over;
        charts.push(chart);
    }
    charts
}

/// The share of a hop's canaries that took longer than its target, for each hop that has one.
pub(super) fn over_target(
    settings: &Settings,
    over: &str,
    selector: fn(&str, &str) -> String,
) -> Vec<super::chart::Query> {
    let stages = settings.topology.stages().iter();
    let with_target = stages.filter_map(|stage| Some((&*stage.name, stage.target?)));
    let one = |(name, target)| {
        let within = selector(
            "traceprobe_hop_latency_seconds_bucket",
            &format!("stage=\"{name}\", {}", bound_of(target)),
        );
        let count = selector("traceprobe_hop_latency_seconds_count", &format!("stage=\"{name}\""));
        super::chart::Query::new(
            format!("1 - sum by (stage) (rate({within}[{over}]))\n/ sum by (stage) (rate({count}[{over}]))"),
            format!("{{{{stage}}}} over {}", window::seconds(target)),
        )
    };
    with_target.map(one).collect()
}

fn durations(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let buckets = all("traceprobe_e2e_latency_seconds_bucket", "");
    let of_tenant = latency(settings, 0.95, &buckets, "tenant", &windows.short);
    // By the share over the whole range: a quantile of it would be as dear as the chart.
    let ratio = format!(
        "{}\n/ {}",
        increase(&all("traceprobe_slo_good_traces_total", ""), "tenant", "$__range"),
        increase(&all("traceprobe_slo_traces_total", ""), "tenant", "$__range")
    );
    let order = ratio.replace("[$__range]", "[$__range] @ end()");
    let hops =
        latency(settings, 0.95, &all("traceprobe_hop_latency_seconds_bucket", ""), "stage", &windows.short);
    vec![
        Chart::new(
            Kind::Lines,
            "P95 end to end, the 8 worst tenants",
            "Those of which the smallest share arrived in time.",
            8,
        )
        .query(ranked(&of_tenant, "tenant", "bottomk", 8, &order), "{{tenant}}")
        .unit("s")
        .limits(end_to_end(settings))
        .link("This tenant", TENANT_DASHBOARD)
        .link("Its page", TENANT_PAGE),
        Chart::new(
            Kind::Bars,
            format!("Arrived within {}, the 10 worst tenants", window::seconds(settings.slo)),
            "Over the time above.",
            8,
        )
        .query(format!("sort(bottomk(10, {ratio}))"), "{{tenant}}")
        .unit("percentunit")
        .limits(ON_TIME)
        .link("This tenant", TENANT_DASHBOARD),
        Chart::new(
            Kind::Lines,
            "P95 of each hop",
            "All tenants together. A hop's target is on the dashboard of hops.",
            8,
        )
        .query(format!("topk(20, {hops})"), "{{stage}}")
        .unit("s"),
    ]
}

fn lost(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let by_stage = |name| increase(&all(name, ""), "stage", &windows.long);
    let total = |name| increase(&all(name, ""), "", &windows.long);
    let drift = format!("sum({})", probe("traceprobe_schema_drift", ""));
    let mut never = Chart::new(
        Kind::Lines,
        "What must not happen",
        format!(
            "Of all tenants, in {}: canaries found with another tenant, stored twice, changed; and columns that a table \
             should not have or lacks.",
            windows.long
        ),
        12,
    )
    .query(format!("{} > 0", total("traceprobe_isolation_violations_total")), "with another tenant")
    .query(format!("{} > 0", total("traceprobe_duplicates_total")), "stored twice")
    .query(format!("{} > 0", total("traceprobe_corrupted_total")), "cut or changed")
    .limits(Limits::above(0.0));
    if settings.topology.stages().iter().any(|stage| stage.capabilities.schema) {
        never = never.query(format!("{drift} > 0"), "columns that differ");
    }
    vec![
        Chart::new(
            Kind::Lines,
            "Missing and lost, by stage",
            format!(
                "Canaries of all tenants in {}. Missing: the stage was read and did not have them. Lost: \
            nor did the end, until the deadline. Nothing is drawn if there are none.",
                windows.long
            ),
            12,
        )
        .query(format!("topk(10, {}) > 0", by_stage("traceprobe_missing_hops_total")), "missing {{stage}}")
        .query(format!("topk(10, {}) > 0", by_stage("traceprobe_lost_total")), "lost {{stage}}")
        .limits(Limits::above(0.0)),
        never,
    ]
}

fn about() -> Chart {
    text(
        "About",
        "Printed by `traceprobe dashboards grafana` from the probe's configuration: print it again after a change of \
         thresholds or stages. Lines across a chart are target and critical value. Incidents are marked where they began, \
         as the probe sees them; the mark \"Alerts\" is off at first. docs/dashboards.md says how to import, and \
         docs/indicators.md which panel shows which indicator.",
        24,
        4,
    )
}
