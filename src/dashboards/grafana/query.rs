//! Queries on the probe's metrics.

use std::time::Duration;

use crate::dashboards::settings::Settings;
use crate::rules::promql::bound;
use crate::rules::window;

/// Every series of the probes that are chosen. The tenant of drills does not exist, so it is nowhere.
const PROBE: &str = "job=~\"$job\", instance=~\"$instance\"";
const NO_DRILL: &str = "tenant!=\"drill\"";
/// The tenants that are chosen.
const CHOSEN: &str = "tenant=~\"$tenant\", tenant!=\"drill\"";

/// A selector for a metric without a tenant.
pub(super) fn probe(name: &str, matchers: &str) -> String {
    selector(name, &[matchers])
}

/// A selector for the series of all tenants.
pub(super) fn all(name: &str, matchers: &str) -> String {
    selector(name, &[NO_DRILL, matchers])
}

/// A selector for the series of the chosen tenants.
pub(super) fn chosen(name: &str, matchers: &str) -> String {
    selector(name, &[CHOSEN, matchers])
}

/// A selector for the series of all owners of a source.
pub(super) fn owned(name: &str, matchers: &str) -> String {
    selector(name, &["owner!=\"drill\"", matchers])
}

fn selector(name: &str, matchers: &[&str]) -> String {
    let all: Vec<_> = [PROBE].iter().chain(matchers).copied().filter(|it| !it.is_empty()).collect();
    format!("{name}{{{}}}", all.join(", "))
}

/// A quantile of a histogram.
pub(super) fn quantile(q: f64, buckets: &str, by: &str, window: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(", {by}") };
    format!("histogram_quantile({q}, sum by (le{by}) (rate({buckets}[{window}])))")
}

/// The longest latency that charts distinguish, in seconds. A quantile of canaries that have not arrived is the highest
/// bound of the histogram, beside which everything else would be flat, and which nobody has waited for.
pub(super) fn cap(settings: &Settings) -> f64 {
    2.0 * settings.critical.as_secs_f64()
}

/// A quantile of latencies, at most the cap.
pub(super) fn latency(settings: &Settings, q: f64, buckets: &str, by: &str, window: &str) -> String {
    format!("clamp_max({}, {})", quantile(q, buckets, by, window), cap(settings))
}

/// How many times as fast counters grow, summed up, as in the slowest tenth of the last day. An average would take a rise
/// for usual as soon as it lasts. `rate` sees only a part of the first window of a probe, so nothing of it is usual, and
/// until there is something else, the present is.
pub(super) fn times_the_usual(series: &str, window: &str) -> String {
    let now =
        format!("(sum(rate({series}[{window}])) and on () sum(rate({series}[{window}] offset {window})))");
    let first = format!("sum(rate({series}[{window}]))");
    format!("{now}\n/ on () (quantile_over_time(0.1, {now}[1d:5m]) > 0)\nor {first} / ({first} > 0)")
}

/// How much counters grew, summed up.
pub(super) fn increase(series: &str, by: &str, window: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by ({by}) ") };
    format!("sum{by}(increase({series}[{window}]))")
}

/// Windows that hold enough canaries of the slowest tenant, as those of the rules do.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// For a quantile.
    pub(super) short: String,
    /// For shares and rare events.
    pub(super) long: String,
}

impl Windows {
    pub(super) fn of(settings: &Settings) -> Self {
        let slowest = settings.topology.tenants().iter().map(|tenant| tenant.interval).max();
        let canaries = |count: u32, least: u64| {
            let window = (slowest.unwrap_or_default() * count).max(Duration::from_secs(least));
            window::text(Duration::from_secs(window.as_secs()))
        };
        Self { short: canaries(10, 300), long: canaries(60, 1800) }
    }
}

/// A matcher of at most this many bounds of a histogram, those around a threshold: a heat map draws each as a row.
pub(super) fn bounds_around(settings: &Settings, threshold: Duration, count: usize) -> String {
    let far = |bound: &Duration| (bound.as_secs_f64() / threshold.as_secs_f64()).ln().abs();
    let mut nearest = settings.buckets.clone();
    nearest.sort_by(|one, other| far(one).total_cmp(&far(other)));
    nearest.truncate(count);
    nearest.sort();
    // Each is a matcher of its own in the rules: `le=~"30(\\.0)?"`.
    let patterns = nearest.iter().map(|it| bound(*it));
    let patterns: Vec<_> =
        patterns.filter_map(|it| Some(it.strip_prefix("le=~\"")?.strip_suffix('"')?.to_owned())).collect();
    format!("le=~\"{}|[+]Inf\"", patterns.join("|"))
}

/// A matcher of the bound of a threshold.
pub(super) fn bound_of(threshold: Duration) -> String {
    bound(threshold)
}
