//! The probe itself: whether it sees, and what it costs.

use serde_json::Value;

use super::chart::{Chart, Kind, State};
use super::dashboard::{Dashboard, Row, Source, Tenants};
use super::query::{Windows, all, increase, owned, probe, quantile, times_the_usual};
use super::verdict;
use crate::dashboards::limits::Limits;
use crate::dashboards::promql::ranked;
use crate::dashboards::settings::Settings;

pub(super) fn dashboard(settings: &Settings) -> Value {
    let windows = Windows::of(settings);
    Dashboard {
        uid: "traceprobe-probe",
        title: "traceprobe: probe",
        help: "Whether the probe sees what it should, and what it takes of quotas, bytes and money. \
            Nothing here is about the pipeline.",
        refresh: "1m",
        sources: &[Source::Prometheus],
        tenants: Tenants::All,
        rows: vec![
            Row::open("Now", now(settings, &windows)),
            Row::open("Does it see", visibility(settings, &windows)),
            Row::open("What it costs", cost(settings, &windows)),
            Row::open("Can its numbers be trusted", trust(&windows)),
            Row::closed("Its process and its port", process()),
        ],
    }
    .json(settings)
}

/// Whether polls of a stage are billed by the byte.
fn is_billed(settings: &Settings) -> bool {
    settings.topology.stages().iter().any(|stage| stage.capabilities.billed_bytes)
}

fn now(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let yes = |value, text: &str, colour| State { value, text: text.to_owned(), colour };
    let blind = format!("sum(max by (tenant, stage) ({}))", all("traceprobe_stage_blind", ""));
    let cost = dollars_a_day("", windows);
    let billed = format!("sum(increase({}[1d]))", probe("traceprobe_bigquery_bytes_billed_total", ""));
    let mut charts = vec![
        Chart::new(Kind::Stat, "Cannot be seen", "Stages that are blind, counted for each tenant.", 4)
            .query(blind, "")
            .limits(Limits::above(1.0)),
        Chart::new(
            Kind::Stat,
            "Store",
            "Degraded: it cannot be written, so a restart would forget what is in flight.",
            4,
        )
        .query(format!("max({})", probe("traceprobe_store_degraded", "")), "")
        .states(vec![yes(0, "kept", "green"), yes(1, "DEGRADED", "red")])
        .limits(Limits::above(1.0)),
        Chart::new(
            Kind::Stat,
            "Clock",
            "As ECS reports it. Without synchronization, latencies to stages that stamp arrivals are \
            not to be trusted.",
            4,
        )
        .query(format!("min({})", probe("traceprobe_clock_synchronized", "")), "")
        .states(vec![yes(1, "synchronized", "green"), yes(0, "NOT SYNCHRONIZED", "red")])
        .limits(Limits::below(1.0)),
        Chart::new(
            Kind::Stat,
            "Cost a day",
            format!("What calls and bytes cost at list prices, at the pace of the last {}.", windows.short),
            4,
        )
        .query(cost, "")
        .unit("currencyUSD"),
        Chart::new(
            Kind::Stat,
            "BigQuery billed, last 24 h",
            "Of the stages together. The limit of each is daily_bytes_billed.",
            4,
        )
        .query(billed, "")
        .unit("bytes"),
        Chart::new(
            Kind::Stat,
            "Last drill",
            "How long ago a drill proved that the pager rings; docs/drill.md.",
            4,
        )
        .query(
            format!("time() - (max({}) > 0)", probe("traceprobe_drill_last_proven_timestamp_seconds", "")),
            "",
        )
        .unit("s"),
    ];
    charts.retain(|chart| is_billed(settings) || !chart.title.starts_with("BigQuery"));
    charts
}

fn visibility(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let blind = all("traceprobe_stage_blind", "");
    let by = "tenant, stage";
    let order = format!("sum by ({by}) (sum_over_time({blind}[$__range] @ end())) > 0");
    let blind = ranked(&format!("max by ({by}) ({blind})"), by, "topk", verdict::ROWS, &order);
    let seen = |value, text: &str, colour| State { value, text: text.to_owned(), colour };
    let age = owned("traceprobe_observer_watermark_age_seconds", "");
    let by = "stage, owner";
    let order = format!("max by ({by}) (max_over_time({age}[$__range] @ end()))");
    let age = ranked(&format!("max by ({by}) ({age})"), by, "topk", 10, &order);
    let failed = |labels: &str| {
        let calls = owned("traceprobe_observer_polls_total", "result!=\"ok\"");
        increase(&calls, labels, "$__rate_interval")
    };
    let refused = increase(
        &probe("traceprobe_api_calls_total", "result=\"throttled\""),
        "service, operation",
        "$__rate_interval",
    );
    let unreadable =
        increase(&probe("traceprobe_observer_unreadable_records_total", ""), "stage, reason", &windows.long);
    let mut charts = vec![
        Chart::new(
            Kind::States,
            "Blind stages",
            "Each stage that was blind for a tenant in the time above; nothing if there was none. \
            Permission, throttling or an expired credential.",
            12,
        )
        .query(blind, "{{tenant}} {{stage}}")
        .states(vec![seen(0, "seen", "green"), seen(1, "BLIND", "red")])
        .height(8),
        Chart::new(
            Kind::Lines,
            "Watermark age, the 10 oldest",
            "How far reading is behind now while traces wait at the source; 0 while none do. If it \
            grows, the stage turns blind.",
            12,
        )
        .query(age, "{{owner}} {{stage}}")
        .unit("s"),
        Chart::new(
            Kind::Lines,
            "Polls that failed or were incomplete",
            "By stage and result. Nothing is drawn if there were none.",
            8,
        )
        .query(format!("topk(15, {}) > 0", failed("stage, result")), "{{stage}} {{result}}"),
        Chart::new(
            Kind::Lines,
            "Rate limits: throttled calls",
            "The probe shares quotas with the pipeline and yields to it. Nothing is drawn if there were \
            none.",
            8,
        )
        .query(format!("topk(15, {refused}) > 0"), "{{service}} {{operation}}")
        .limits(Limits::above(0.0)),
        Chart::new(
            Kind::Lines,
            "Unreadable records",
            format!(
                "In {}. A canary may be in them; docs/formats.md. Nothing is drawn if there were none.",
                windows.long
            ),
            8,
        )
        .query(format!("topk(15, {unreadable}) > 0"), "{{stage}} {{reason}}")
        .limits(Limits::above(0.0)),
    ];
    let stages = settings.topology.stages();
    if stages.iter().any(|stage| stage.capabilities.behind) {
        let behind = owned("traceprobe_kinesis_behind_latest_seconds", "");
        charts.push(
            Chart::new(
                Kind::Lines,
                "Behind the tip of a stream",
                "If it stays above 0, reading is throttled, and absence cannot be proven.",
                12,
            )
            .query(format!("topk(10, max by (stage, owner) ({behind})) > 0"), "{{owner}} {{stage}}")
            .unit("s")
            .limits(Limits::above(10.0)),
        );
    }
    if stages.iter().any(|stage| stage.capabilities.queue) {
        let letters = owned("traceprobe_dead_letters", "");
        charts.push(
            Chart::new(
                Kind::Lines,
                "Dead letters waiting",
                "Messages in the queue, as of the last poll.",
                12,
            )
            .query(format!("topk(10, max by (stage, owner) ({letters}))"), "{{owner}} {{stage}}")
            .limits(Limits::above(0.0)),
        );
    }
    charts
}

const DOLLARS: &str = "traceprobe_estimated_cost_dollars_total";

fn dollars_a_day(by: &str, windows: &Windows) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by ({by}) ") };
    format!("sum{by}(rate({}[{}])) * 86400", probe(DOLLARS, ""), windows.short)
}

/// How many times as much the probe costs as usual.
pub(super) fn against_the_usual(windows: &Windows) -> String {
    times_the_usual(&probe(DOLLARS, ""), &windows.short)
}

/// Twice the usual is no chance.
pub(super) const COST: Limits = Limits::above(2.0).critical(10.0);
/// What it means, and what to do.
pub(super) const COST_HELP: &str = "At list prices, compared with the cheapest tenth of the last day. Above 2, something makes the probe poll or read \
    more: see which service it is, and what changed in its source.";

fn cost(settings: &Settings, windows: &Windows) -> Vec<Chart> {
    let rate = |series: String, by: &str| format!("sum by ({by}) (rate({series}[$__rate_interval]))");
    let dollars = dollars_a_day("service", windows);
    let calls = rate(probe("traceprobe_api_calls_total", ""), "service");
    let bytes = rate(probe("traceprobe_observer_bytes_read_total", ""), "stage");
    let records = rate(probe("traceprobe_observer_records_read_total", ""), "stage");
    let billed = rate(probe("traceprobe_bigquery_bytes_billed_total", ""), "stage");
    let mut charts = vec![
        Chart::new(
            Kind::Lines,
            "Dollars a day, by service",
            "At list prices. What rises is explained by calls or bytes beside it; docs/cost.md.",
            8,
        )
        .query(dollars, "{{service}}")
        .unit("currencyUSD"),
        Chart::new(Kind::Lines, "Calls a second, by service", "With those that failed.", 8)
            .query(calls, "{{service}}")
            .unit("cps"),
        Chart::new(
            Kind::Lines,
            "BigQuery bytes billed a second",
            "Each poll bills 10 MB at least. A table that lost its partitioning shows here.",
            8,
        )
        .query(billed, "{{stage}}")
        .unit("Bps"),
        Chart::new(Kind::Lines, "Bytes read a second, by stage", "What polls transferred.", 12)
            .query(format!("topk(20, {bytes})"), "{{stage}}")
            .unit("Bps"),
        Chart::new(
            Kind::Lines,
            "Records read a second, by stage",
            "Records, objects and rows that were scanned for canaries.",
            12,
        )
        .query(format!("topk(20, {records})"), "{{stage}}")
        .unit("cps"),
    ];
    charts.push(
        Chart::new(Kind::Lines, "Cost, times the usual", COST_HELP, 12)
            .query(against_the_usual(windows), "times the usual")
            .limits(COST),
    );
    if settings.has_budgets {
        let used = probe("traceprobe_budget_used_ratio", "");
        charts.push(
            Chart::new(Kind::Lines, "Budgets used today", "At 1, no poll is made until midnight (UTC).", 12)
                .query(format!("max by (service, budget) ({used})"), "{{service}} {{budget}}")
                .unit("percentunit")
                .limits(Limits::above(0.8).critical(1.0)),
        );
    }
    charts.retain(|chart| is_billed(settings) || !chart.title.starts_with("BigQuery"));
    charts
}

fn trust(windows: &Windows) -> Vec<Chart> {
    let p95 = |name, over: &str| format!("topk(20, {})", quantile(0.95, &probe(name, ""), "stage", over));
    let rare = |name: &str| format!("{} > 0", increase(&all(name, ""), "", &windows.long));
    let strays = increase(&probe("traceprobe_stray_tags_total", ""), "", &windows.long);
    let foreign = increase(&owned("traceprobe_foreign_tags_total", ""), "", &windows.long);
    vec![
        Chart::new(
            Kind::Lines,
            "Width of arrival intervals, P95",
            "The error of every latency that ends at a stage.",
            8,
        )
        .query(p95("traceprobe_arrival_uncertainty_seconds_bucket", &windows.long), "{{stage}}")
        .unit("s"),
        Chart::new(
            Kind::Lines,
            "Delay of detection, P95",
            "From arrival to the poll that found it. Part of no latency.",
            8,
        )
        .query(p95("traceprobe_detection_delay_seconds_bucket", &windows.long), "{{stage}}")
        .unit("s"),
        Chart::new(
            Kind::Lines,
            "Duration of polls, P95",
            "A poll that takes longer than its interval delays the next.",
            8,
        )
        .query(p95("traceprobe_observer_poll_duration_seconds_bucket", &windows.long), "{{stage}}")
        .unit("s"),
        Chart::new(
            Kind::Lines,
            "Clock: offset and error bound",
            "How far the system clock is ahead of the probe's. Beyond 1.5 s the process ends.",
            12,
        )
        .query(format!("max({})", probe("traceprobe_clock_offset_seconds", "")), "offset")
        .query(format!("max({})", probe("traceprobe_clock_error_bound_seconds", "")), "error bound")
        .unit("s")
        .limits(Limits::above(1.5)),
        Chart::new(
            Kind::Lines,
            "Tags and clocks that do not fit",
            format!(
                "In {}: arrivals that contradict the clocks, tags that none of our keys signed, tags of \
            other runs, and copies that are not the pipeline's doing.",
                windows.long
            ),
            12,
        )
        .query(rare("traceprobe_clock_inversions_total"), "clock inversions")
        .query(format!("{foreign} > 0"), "foreign tags")
        .query(format!("{strays} > 0"), "stray tags")
        .query(rare("traceprobe_uncharged_copies_total"), "copies not charged")
        .query(rare("traceprobe_adopted_traces_total"), "adopted traces")
        .query(rare("traceprobe_unjudged_traces_total"), "unjudged traces"),
    ]
}

fn process() -> Vec<Chart> {
    let each = |name: &str| format!("topk(10, {})", probe(name, ""));
    let cpu = probe("process_cpu_seconds_total", "");
    let closed =
        increase(&probe("traceprobe_web_connections_closed_total", ""), "reason", "$__rate_interval");
    vec![
        Chart::new(Kind::Lines, "Memory", "Resident memory of each instance.", 8)
            .query(each("process_resident_memory_bytes"), "{{instance}}")
            .unit("bytes"),
        Chart::new(Kind::Lines, "Processor", "Cores in use.", 8)
            .query(format!("topk(10, rate({cpu}[$__rate_interval]))"), "{{instance}}"),
        Chart::new(Kind::Lines, "Open files", "Against web.max_connections and the limit of the task.", 8)
            .query(each("process_open_fds"), "{{instance}}"),
        Chart::new(Kind::Lines, "Connections of the port", "Open connections.", 8)
            .query(each("traceprobe_web_connections"), "{{instance}}"),
        Chart::new(
            Kind::Lines,
            "Closed connections, by reason",
            "Many evicted, slow_head or memory: somebody floods the port. Nothing is drawn if there \
            were none.",
            8,
        )
        .query(format!("topk(15, {closed}) > 0"), "{{reason}}"),
        Chart::new(Kind::Table, "Version", "Two versions at once: a deployment is under way.", 8)
            .query(format!("topk(20, {})", probe("traceprobe_build_info", "")), ""),
    ]
}
