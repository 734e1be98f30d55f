//! End-to-end latency: the 95th percentile over its thresholds.

use std::time::Duration;

use super::Settings;
use super::cohort::Cohort;
use super::promql::{self, Lookup};
use super::rule::{Alert, Cause, Group, Record};
use super::window;

/// Canaries of the quantile: 5 minutes at an interval of 30 s.
const SHORT: u32 = 10;
/// Canaries of the guard: 15 minutes.
const LONG: u32 = 30;

pub(super) fn group(settings: &Settings, cohort: &Cohort<'_>) -> Group {
    let probe = &cohort.probe;
    let long = cohort.over(LONG);
    let count = "traceprobe_e2e_latency_seconds_count";
    let all = format!("tenant:traceprobe_e2e:increase{long}");
    let over = |name: &str| format!("tenant:traceprobe_e2e_over_{name}:increase{long}");
    let beyond = |name: &str, threshold: Duration| Record {
        comment: String::new(),
        name: over(name),
        expr: format!(
            "{all}{}\n- {}",
            probe.series("", &[]),
            probe.increase(
                "tenant",
                "traceprobe_e2e_latency_seconds_bucket",
                &[&promql::bound(threshold)],
                &long
            )
        ),
    };
    let records = [
        Record {
            comment: "How many canaries were judged, and how many of them took longer than the threshold or are \
                      proven to have exceeded it. A canary enters _count once it is overdue, and a finite bucket \
                      only when it arrives: so the difference also grows while nothing arrives at all."
                .to_owned(),
            expr: probe.increase("tenant", count, &[], &long),
            name: all.clone(),
        },
        beyond("slo", settings.slo),
        beyond("critical", settings.critical),
    ];
    let quantile = format!(
        "histogram_quantile(0.95, sum by (job, instance, tenant, le) (rate({}[{}])))",
        probe.series("traceprobe_e2e_latency_seconds_bucket", &[]),
        cohort.over(SHORT)
    );
    let alerts = [warning(settings, cohort, &quantile, &over("slo"), &all), {
        critical(settings, cohort, &quantile, &over("critical"), &all)
    }];
    let rules = records.map(Into::into).into_iter().chain(alerts.map(Into::into)).collect();
    cohort.group("latency", rules)
}

/// The summary begins with the same words for both.
fn summary(cohort: &Cohort<'_>, all: &str, threshold: Duration) -> String {
    let judged = Lookup { before: "", name: all, matchers: &[], after: "", of: &["instance", "tenant"] };
    format!(
        "{{{{ $labels.tenant }}}}: {{{{ printf \"%.0f\" $value }}}} of {} canaries have not arrived within {}; most \
         were waiting for {}",
        cohort.probe.number(&judged),
        window::seconds(threshold),
        waits_for(cohort, "an unknown stage")
    )
}

/// A template with the stage that most were waiting for.
fn waits_for(cohort: &Cohort<'_>, otherwise: &str) -> String {
    let waits = Lookup {
        before: "max by (stage) (avg_over_time(",
        name: "traceprobe_in_flight_traces",
        matchers: &[],
        after: &format!("[{}]))", cohort.over(SHORT)),
        of: &["instance", "tenant"],
    };
    cohort.probe.largest_stage(&waits, otherwise)
}

fn warning(settings: &Settings, cohort: &Cohort<'_>, quantile: &str, over: &str, all: &str) -> Alert {
    let expr = format!(
        "{over}{} > 1.5\nand on (job, instance, tenant)\n{quantile} > {}",
        cohort.probe.series("", &[]),
        settings.slo.as_secs_f64()
    );
    Alert {
        comment: format!(
            "The P95 is over the target. Among the 10 canaries of its window, one is more than 5 %, and a pipeline \
             that delays 1 % exceeds that by chance in 9.6 % of all windows; two of the 30 in {} in 3.6 %. The \
             comparison is with 1.5, because increase() extrapolates to the edges of its window. The value of the \
             alert is that number and never the quantile, which is not a latency while canaries are overdue.",
            cohort.over(LONG)
        ),
        summary: summary(cohort, all, settings.slo),
        description: format!(
            "Counted over {}; the target is a P95 below {}. The page shows the hop whose bar is long or red: look at \
             what feeds it. If canaries are missing there, it is loss and not slowness.",
            cohort.over(LONG),
            window::seconds(settings.slo)
        ),
        stage: Some(waits_for(cohort, "")),
        ..Alert::warning("TraceprobeLatencyHigh", "slow", Cause::Delivery, expr)
    }
}

fn critical(settings: &Settings, cohort: &Cohort<'_>, quantile: &str, over: &str, all: &str) -> Alert {
    let threshold = settings.critical.as_secs_f64();
    let expr = format!(
        "{over}{} > 2.5\nand on (job, instance, tenant)\n{quantile} > {threshold}\nand on (job, instance, tenant)\n\
         max by (job, instance, tenant) (max_over_time({}[{}])) > {threshold}",
        cohort.probe.series("", &[]),
        cohort.probe.series("traceprobe_oldest_in_flight_seconds", &[]),
        cohort.over(SHORT)
    );
    Alert {
        comment: "Three slow ones, because with 0.1 % of independent losses and 50 tenants two are met by chance many \
                  times a month. A canary that is overdue but has not arrived yet counts as infinitely slow, so in \
                  the first minutes of a slow-down to 45 s the quantile alone would exceed 60 s; hence the last \
                  condition, one has really waited for that long, and `for`, within which those that arrive in time \
                  have arrived. A stall does not wait for it: TraceprobeStuck has told of it."
            .to_owned(),
        hold: Some(settings.critical - settings.slo + 2 * settings.scrape_interval),
        summary: summary(cohort, all, settings.critical),
        description: format!(
            "Counted over {}; a P95 above {} is critical. The first red hop on the page is where they are held up. If \
             it is the same hop for every tenant, the shared part in front of it is down.",
            cohort.over(LONG),
            window::seconds(settings.critical)
        ),
        stage: Some(waits_for(cohort, "")),
        ..Alert::critical("TraceprobeLatencyCritical", "slow", Cause::Delivery, expr)
    }
}
