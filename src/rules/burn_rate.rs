//! How fast the error budget is used up.
//!
//! The objective is that of the SLO, a P95: 95 % of canaries within `slo`, so the budget is 5 %. A burn rate of
//! 1 misses exactly 5 %. Each alert needs a long window, which holds enough canaries to be sure, and a short
//! one, so that it ends soon after the fault (Google SRE workbook, chapter 5). They are warnings: what wakes
//! somebody is decided by the P95 of [latency](super::latency), and these tell of what stays below it.

use super::Settings;
use super::cohort::Cohort;
use super::promql::{self, Probe};
use super::rule::{About, Alert, Cause, Group};
use crate::domain::drill::DRILL_TENANT;

/// What the SLO allows to miss it.
const BUDGET: f64 = 0.05;

/// Conditions that alerts of their own tell of.
const TOLD: &str = "stuck|missing|losing|slow";

struct Burn {
    name: &'static str,
    /// How many times faster than allowed the budget is used up.
    rate: f64,
    /// Canaries of the long window and of the short one.
    windows: (u32, u32),
    /// Fewest canaries that missed the SLO in the long window.
    guard: u32,
    /// Whether it is only about what no other alert has told within the short window. The longest alert counts that too:
    /// many short faults make it.
    is_new: bool,
    /// What it means for a budget of 30 days.
    says: &'static str,
}

const FAST: Burn = Burn {
    name: "TraceprobeBurnRateFast",
    rate: 6.0,
    windows: (120, 10),
    guard: 10,
    is_new: true,
    says: "the budget of 30 days would last 5 days",
};
const SLOW: Burn = Burn {
    name: "TraceprobeBurnRateSlow",
    rate: 2.0,
    windows: (720, 60),
    guard: 20,
    is_new: true,
    says: "the budget of 30 days would last 15 days",
};
const STEADY: Burn = Burn {
    name: "TraceprobeBurnRateSteady",
    rate: 1.0,
    windows: (8_640, 720),
    guard: 30,
    is_new: false,
    says: "the SLO was missed over the whole window",
};

/// The burn rates of each tenant.
pub(super) fn group(settings: &Settings, cohort: &Cohort<'_>) -> Group {
    let alert = |burn: &Burn| {
        let windows = (cohort.over(burn.windows.0), cohort.over(burn.windows.1));
        let mut expr = expr(&cohort.probe, "tenant", &[], burn, &windows, cohort.half(burn.windows.0));
        if burn.is_new {
            expr = format!("{expr}\n{}", cohort.probe.unless_it_was(TOLD, &[], &windows.1));
        }
        let (limit, threshold) = (burn.rate * BUDGET * 100.0, super::window::seconds(settings.slo));
        Alert {
            comment: comment(burn, &windows),
            summary: format!(
                "{{{{ $labels.tenant }}}}: {{{{ $value | humanizePercentage }}}} of the canaries of {} took longer than \
                 {threshold} or did not arrive",
                windows.0
            ),
            description: format!("More than {limit} % over {} and over {}: {}.", windows.0, windows.1, burn.says),
            ..Alert::warning(burn.name, "traceprobeburnrate", Cause::Delivery, expr)
        }
        .into()
    };
    let rules = [FAST, SLOW, STEADY].iter().map(alert).collect();
    let interval = Some(cohort.scale().time(2));
    Group { interval, ..cohort.group("burn-rate", rules) }
}

/// The burn rates of all tenants together. Nothing with fewer than three.
pub(super) fn pooled(settings: &Settings, probe: &Probe<'_>, cohorts: &[Cohort<'_>]) -> Option<Group> {
    let tenants: u32 = cohorts.iter().map(|cohort| cohort.size).sum();
    let slowest = cohorts.last().filter(|_| tenants >= 3)?;
    let not_drill = format!("tenant!=\"{DRILL_TENANT}\"");
    let alert = |burn: &Burn, name| {
        let windows = (slowest.over(burn.windows.0), slowest.over(burn.windows.1));
        let mut each = format!("{} > 0.5", bad(probe, "tenant", &[&not_drill], &windows.0));
        if burn.is_new {
            each = format!("{each}\n{}", probe.unless_it_was(TOLD, &[], &windows.1));
        }
        let expr = format!(
            "{}\nand on (job, instance)\ncount by (job, instance) ({each}) >= 3",
            expr(probe, "", &[&not_drill], burn, &windows, slowest.half(burn.windows.0) * tenants)
        );
        Alert {
            comment: format!(
                "{} Of all tenants together; at least three have missed it, otherwise it is theirs.",
                comment(burn, &windows)
            ),
            about: About::Instance,
            summary: format!(
                "all tenants: {{{{ $value | humanizePercentage }}}} of the canaries of {} took longer than {} or did not \
                 arrive",
                windows.0,
                super::window::seconds(settings.slo)
            ),
            description: format!("Over all tenants, {}.", burn.says),
            ..Alert::warning(name, "traceprobeburnrate", Cause::Delivery, expr)
        }
        .into()
    };
    let rules =
        vec![alert(&SLOW, "TraceprobeBurnRateSlowPooled"), alert(&STEADY, "TraceprobeBurnRateSteadyPooled")];
    let interval = Some(slowest.scale().time(2));
    Some(Group { interval, ..Group::new("traceprobe-burn-rate-pooled", rules) })
}

fn comment(burn: &Burn, windows: &(String, String)) -> String {
    format!(
        "{} times the allowed 5 %, over {} and over {}. At least {} have missed it, so that a few of few canaries do not \
         count, and the long window is half full.{}",
        burn.rate,
        windows.0,
        windows.1,
        burn.guard,
        if burn.is_new {
            " What another alert told within the short window would be told again."
        } else {
            ""
        }
    )
}

fn expr(
    probe: &Probe<'_>,
    by: &str,
    matchers: &[&str],
    burn: &Burn,
    windows: &(String, String),
    half: u32,
) -> String {
    let ratio = |window: &str, enough: u32| {
        format!(
            "({}) / ({} > {enough}) > {}",
            bad(probe, by, matchers, window),
            probe.increase(by, "traceprobe_slo_traces_total", matchers, window),
            burn.rate * BUDGET
        )
    };
    let on = promql::labels(by);
    format!(
        "{}\nand on ({on})\n{}\nand on ({on})\n{} > {}",
        ratio(&windows.0, half),
        ratio(&windows.1, 0),
        bad(probe, by, matchers, &windows.0),
        f64::from(burn.guard) - 0.5
    )
}

/// How many canaries missed the SLO.
fn bad(probe: &Probe<'_>, by: &str, matchers: &[&str], window: &str) -> String {
    let of = |name| probe.increase(by, name, matchers, window);
    format!("{} - {}", of("traceprobe_slo_traces_total"), of("traceprobe_slo_good_traces_total"))
}
