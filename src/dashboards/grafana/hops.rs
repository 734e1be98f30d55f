//! Each hop against its target. A row asks for nothing until it is opened.

use serde_json::Value;

use super::chart::{Chart, Kind};
use super::dashboard::{Dashboard, Row, Source, Tenants};
use super::query::{Windows, bounds_around, chosen, increase, latency};
use crate::dashboards::limits::Limits;
use crate::dashboards::promql::ranked;
use crate::dashboards::settings::Settings;
use crate::domain::topology::{Role, Stage};
use crate::rules::window;

const BUCKETS: &str = "traceprobe_hop_latency_seconds_bucket";

pub(super) fn dashboard(settings: &Settings) -> Value {
    let windows = Windows::of(settings);
    let mut rows = vec![Row::open("All hops", all_hops(settings, &windows))];
    let stages = settings.topology.stages().iter().filter(|stage| stage.role != Role::DeadLetter);
    for stage in stages {
        let title = match stage.target {
            Some(target) => format!("{}: target {}", stage.name, window::seconds(target)),
            None => stage.name.to_string(),
        };
        rows.push(Row::closed(title, hop(settings, stage, &windows)));
    }
    Dashboard {
        uid: "traceprobe-hops",
        title: "traceprobe: hops",
        help: "Each hop of the pipeline against its target, for all tenants or for those chosen above.",
        refresh: "30s",
        sources: &[Source::Prometheus],
        tenants: Tenants::Any,
        rows,
    }
    .json(settings)
}

fn all_hops(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let mut over = Chart::new(
        Kind::Lines,
        "Canaries over the target of a hop",
        "A target is met if 95 % are within it.",
        12,
    )
    .unit("percentunit")
    .limits(Limits::above(0.05));
    over.queries = super::overview::over_target(settings, &windows.short, chosen);
    let p95 = latency(settings, 0.95, &chosen(BUCKETS, ""), "stage", &windows.short);
    let p95 = Chart::new(Kind::Lines, "P95 of each hop", "Open a row for target and distribution.", 12)
        .query(format!("topk(20, {p95})"), "{{stage}}")
        .unit("s");
    [p95].into_iter().chain(Some(over).filter(|chart| !chart.queries.is_empty())).collect()
}

fn hop(settings: &Settings, stage: &Stage, windows: &Windows) -> Vec<Chart> {
    let limits = Limits {
        target: stage.target.map(|target| target.as_secs_f64()),
        critical: stage.critical.map(|critical| critical.as_secs_f64()),
        ..Limits::NONE
    };
    let name = &stage.name;
    let matcher = format!("stage=\"{name}\"");
    let around = stage.target.unwrap_or(settings.slo / 10);
    let bounds = format!("{matcher}, {}", bounds_around(settings, around, 19));
    let mut percentiles = Chart::new(
        Kind::Lines,
        format!("{name}: percentiles"),
        "From the arrival at the stage before; all chosen tenants together.",
        12,
    )
    .unit("s")
    .limits(limits);
    for (q, name, window) in
        [(0.5, "P50", &windows.short), (0.95, "P95", &windows.short), (0.99, "P99", &windows.long)]
    {
        percentiles = percentiles.query(latency(settings, q, &chosen(BUCKETS, &matcher), "", window), name);
    }
    let of_tenant = latency(settings, 0.95, &chosen(BUCKETS, &matcher), "tenant", &windows.short);
    // The mean over the range ranks tenants, because it costs little.
    let sum = |name| format!("sum by (tenant) (increase({}[$__range] @ end()))", chosen(name, &matcher));
    let order = format!(
        "{} / {}",
        sum("traceprobe_hop_latency_seconds_sum"),
        sum("traceprobe_hop_latency_seconds_count")
    );
    let missing = increase(&chosen("traceprobe_missing_hops_total", &matcher), "tenant", &windows.long);
    vec![
        Chart::new(
            Kind::HeatMap,
            format!("{name}: latency of the hop"),
            "Dots are exemplars: each links to its trace.",
            12,
        )
        .query(increase(&chosen(BUCKETS, &bounds), "le", "$__rate_interval"), "{{le}}")
        .unit("s"),
        percentiles,
        Chart::new(
            Kind::Lines,
            format!("{name}: P95, the 8 slowest tenants"),
            "Slowest on average over the time above.",
            12,
        )
        .query(ranked(&of_tenant, "tenant", "topk", 8, &order), "{{tenant}}")
        .unit("s")
        .limits(limits)
        .link("This tenant", super::overview::TENANT_DASHBOARD),
        Chart::new(
            Kind::Lines,
            format!("{name}: missing, by tenant"),
            format!("In {}. Nothing is drawn if there are none.", windows.long),
            12,
        )
        .query(format!("topk(10, {missing}) > 0"), "{{tenant}}")
        .limits(Limits::above(0.0))
        .link("This tenant", super::overview::TENANT_DASHBOARD),
    ]
}
