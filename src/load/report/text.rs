//! The summary of a run, for a terminal.

use super::{Percentiles, Report, TARGETS, Totals, per_million};
use crate::load::estimate::short;

/// Seconds for people.
#[must_use]
pub fn seconds(value: f64) -> String {
    match value {
        value if value.is_infinite() => "never".to_owned(),
        value if value < 1.0 => format!("{:.0} ms", value * 1e3),
        value if value < 10.0 => format!("{value:.2} s"),
        value if value < 100.0 => format!("{value:.1} s"),
        value => format!("{value:.0} s"),
    }
}

/// A percentile: `never` if it falls on a canary that did not arrive, or may fall on one; `-` if nothing is known.
pub(super) fn percentile(of: &Percentiles, value: Option<f64>) -> String {
    value.map_or_else(|| if of.count > 0 { "never".to_owned() } else { "-".to_owned() }, seconds)
}

/// The summary, line by line: the verdict first.
#[must_use]
pub fn summary(report: &Report) -> Vec<String> {
    let Report { totals, .. } = report;
    let mut lines = vec![format!("{}: {}", report.verdict.as_str().to_uppercase(), report.profile)];
    lines.extend(report.reasons.iter().map(|reason| format!("  {reason}")));
    lines.push(String::new());
    for line in &report.thresholds {
        let super::ThresholdLine { subject, expression, judged, measured } = line;
        lines.push(format!("  {judged:<9}  {subject:<28} {expression:<14} {measured}"));
    }
    if let Some(knee) = &report.knee {
        let rate =
            |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{}/s", short(rate)));
        lines.push(format!("  knee: last good rate {}, first bad rate {}", rate(knee.good), rate(knee.bad)));
        lines.extend(knee.throughput.map(|throughput| {
            format!("        while too much was sent, {}/s came out of the end", short(throughput))
        }));
        for trial in &report.trials {
            let p95 = percentile(&trial.latency, trial.latency.p95);
            let growth = trial.growth.map_or_else(|| "-".to_owned(), |growth| format!("{growth:.3}"));
            let broken = trial.broken.join("; ");
            lines.push(format!(
                "  {:<9}  {:>7}/s  P95 {p95:<8} growth {growth:<7} lost {:<6} {broken}",
                trial.judged,
                short(trial.rate),
                trial.lost
            ));
        }
    }
    lines.push(String::new());
    lines.extend(counts(totals));
    lines.push(String::new());
    lines.push(format!(
        "  {:<20} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "latency", "count", "P50", "P95", "P99", "P95 from"
    ));
    let mut row = |name: &str, of: &Percentiles| {
        let [p50, p95, p99, from] = [of.p50, of.p95, of.p99, of.p95_from].map(|value| percentile(of, value));
        lines.push(format!("  {name:<20} {:>9} {p50:>9} {p95:>9} {p99:>9} {from:>9}", of.count));
    };
    row("end to end", &report.end_to_end);
    report.hops.iter().for_each(|of| row(&of.name, &of.percentiles));
    // One size or one tenant is the whole.
    for list in [&report.sizes, &report.tenants].into_iter().filter(|list| list.len() > 1) {
        list.iter().for_each(|of| row(&of.name, &of.percentiles));
    }
    if is_wide(&report.end_to_end) || report.hops.iter().any(|hop| is_wide(&hop.percentiles)) {
        lines.push(
            "  the true P95 lies between \"P95 from\" and P95: arrivals that are not stamped are known to the poll, and \
             canaries that are not known may be the shortest or the longest"
                .to_owned(),
        );
    }
    let counts = report.losses.iter().chain(&report.unobserved);
    lines.extend(counts.map(|of| format!("  {}: {}", of.what, of.count)));
    lines.push(format!("  {}", cost(report)));
    lines.extend(report.notes.iter().map(|note| format!("  note: {note}")));
    lines
}

/// Whether so much is not known that a percentile may be a tenth less than what is told.
fn is_wide(of: &Percentiles) -> bool {
    match (of.p95_from, of.p95) {
        (Some(from), Some(p95)) => from < p95 * 0.9,
        (Some(_), None) => of.count > 0,
        (None, _) => false,
    }
}

fn counts(totals: &Totals) -> Vec<String> {
    let Totals { planned, missed, accepted, refused, ambiguous, arrived, late, lost, unknown, .. } = totals;
    let mut lines = vec![
        format!(
            "  due {planned} events in {} s, {}/s; accepted {accepted}, {}/s; refused {refused}, unanswered {ambiguous}, missed {missed}",
            short(totals.seconds),
            short(totals.due_rate),
            short(totals.accepted_rate),
        ),
        format!("  arrived {arrived}, of them {late} late; lost {lost}; not known {unknown}"),
        format!("  duplicates {}, leaks {}, corrupted {}", totals.duplicates, totals.leaks, totals.corrupted),
    ];
    lines.extend(totals.loss.map(|loss| {
        let [value, low, high] =
            [loss.value, loss.low, loss.high].map(|ratio| format!("{:.4}", ratio * 100.0));
        format!("  loss {value} % (95 % interval: {low} to {high} %)")
    }));
    if totals.found_late > 0 {
        lines.push(format!("  {} were given up and found at the end stage later", totals.found_late));
    }
    lines
}

/// The cost for a million events, as far as it could be read.
#[must_use]
pub fn cost(report: &Report) -> String {
    let (target, critical) = TARGETS;
    let unknown: Vec<_> =
        report.cost.iter().filter(|line| line.dollars.is_none()).map(|line| &*line.what).collect();
    let but = if unknown.is_empty() { String::new() } else { format!(", without {}", unknown.join(", ")) };
    match per_million(&report.cost) {
        Some(dollars) => {
            format!(
                "cost: ${dollars:.2} for a million events{but} (target ${target:.0}, critical ${critical:.0})"
            )
        }
        None => "cost for a million events: not known, because log groups accepted none".to_owned(),
    }
}
