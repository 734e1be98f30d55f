//! The report of a run as one HTML file, which needs nothing from anywhere else.

use std::fmt::Write as _;

use super::junit::escaped;
use super::svg::{Line, chart};
use super::text::{percentile, seconds};
use super::{Percentiles, Report, SliceLine, Verdict};
use crate::load::estimate::short;

const STYLE: &str = include_str!("report.css");

/// Nothing is loaded and nothing runs, whatever the file contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The document.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    let (title, verdict) = (escaped(&format!("Load {}", report.profile)), report.verdict.as_str());
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}: {verdict}</title><style>{STYLE}</style></head><body>\n"
    );
    let _ = write!(
        page,
        "<h1 class=\"{verdict}\">{}: {title}</h1>\n<p>{}</p>\n",
        verdict.to_uppercase(),
        lead(report)
    );
    list(&mut page, &report.reasons);
    thresholds(&mut page, report);
    knee(&mut page, report);
    counts(&mut page, report);
    charts(&mut page, report);
    latencies(&mut page, report);
    costs(&mut page, report);
    calls(&mut page, report);
    let _ = writeln!(
        page,
        "<footer>{} to {}, traceprobe {}. Latencies count from the planned injection to the later end of the interval in which the canary arrived; percentiles are within 0.4 % and 1 ms.</footer></body></html>",
        escaped(&report.began),
        escaped(&report.finished),
        escaped(&report.version)
    );
    page
}

fn lead(report: &Report) -> String {
    let totals = &report.totals;
    let verdict = match report.verdict {
        Verdict::Passed => "Every threshold was kept.",
        Verdict::Failed => "At least one threshold was broken.",
        Verdict::Inconclusive => {
            "It depends on what could not be observed. That is neither a success nor a loss."
        }
    };
    let description = match report.description.trim_end_matches('.') {
        "" => String::new(),
        text => format!("{}. ", escaped(text)),
    };
    format!(
        "{description}{verdict} {} events were due in {}, {}/s; log groups accepted {}/s.",
        totals.planned,
        seconds(totals.seconds),
        short(totals.due_rate),
        short(totals.accepted_rate),
    )
}

fn list(page: &mut String, lines: &[String]) {
    if !lines.is_empty() {
        page.push_str("<ul>");
        lines.iter().for_each(|line| {
            let _ = write!(page, "<li>{}</li>", escaped(line));
        });
        page.push_str("</ul>\n");
    }
}

/// A table; the cells are markup already.
fn table(page: &mut String, heading: &str, columns: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>{heading}</h2><div class=\"wide\"><table><thead><tr>");
    columns.iter().for_each(|column| {
        let _ = write!(page, "<th>{column}</th>");
    });
    page.push_str("</tr></thead><tbody>");
    for row in rows {
        page.push_str("<tr>");
        row.iter().for_each(|cell| {
            let _ = write!(page, "<td>{cell}</td>");
        });
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>\n");
}

fn thresholds(page: &mut String, report: &Report) {
    let rows: Vec<_> = report
        .thresholds
        .iter()
        .map(|line| {
            let judged = escaped(&line.judged);
            vec![
                format!("<span class=\"{judged}\">{judged}</span>"),
                format!("<code>{}</code>", escaped(&line.subject)),
                format!("<code>{}</code>", escaped(&line.expression)),
                escaped(&line.measured),
            ]
        })
        .collect();
    table(page, "Thresholds", &["", "of", "threshold", "measured"], &rows);
}

fn knee(page: &mut String, report: &Report) {
    let Some(knee) = &report.knee else { return };
    let rate =
        |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{}/s", short(rate)));
    let throughput = knee.throughput.map(|throughput| {
        format!(" While too much was sent, about {}/s came out of the end.", short(throughput))
    });
    let _ = writeln!(
        page,
        "<h2>Knee</h2><p>Last good rate: <b>{}</b>. First bad rate: <b>{}</b>.{}</p>",
        rate(knee.good),
        rate(knee.bad),
        throughput.unwrap_or_default()
    );
    let rows: Vec<_> = report
        .trials
        .iter()
        .map(|trial| {
            let judged = escaped(&trial.judged);
            let growth = trial.growth.map_or_else(|| "-".to_owned(), |growth| format!("{growth:.3}"));
            let [p50, p95, p99] = row(&trial.latency);
            let broken: Vec<_> = trial.broken.iter().map(|it| escaped(it)).collect();
            vec![
                format!("{}/s", short(trial.rate)),
                format!("<span class=\"{judged}\">{judged}</span>"),
                format!("{}/s", short(trial.accepted_rate)),
                p50,
                p95,
                p99,
                growth,
                trial.lost.to_string(),
                broken.join("<br>"),
            ]
        })
        .collect();
    let columns = ["rate", "", "accepted", "P50", "P95", "P99", "growth, s/s", "lost", "broken"];
    table(page, "Trials", &columns, &rows);
}

fn counts(page: &mut String, report: &Report) {
    let totals = &report.totals;
    let count = |name: &str, count: u64| vec![name.to_owned(), count.to_string()];
    let mut rows = vec![
        count("due", totals.planned),
        count("not sent in time by this machine", totals.missed),
        count("accepted by log groups", totals.accepted),
        count("refused by log groups", totals.refused),
        count("put without an answer", totals.ambiguous),
        count("arrived at the end stage", totals.arrived),
        count("of these, after their deadline", totals.late),
        count("lost", totals.lost),
    ];
    rows.extend(
        report.losses.iter().map(|of| count(&format!("&nbsp;&nbsp;{}", escaped(&of.what)), of.count)),
    );
    rows.push(count("not known", totals.unknown));
    rows.extend(
        report.unobserved.iter().map(|of| count(&format!("&nbsp;&nbsp;{}", escaped(&of.what)), of.count)),
    );
    rows.extend([
        count("given up, and found at the end stage later", totals.found_late),
        count("second stored copies", totals.duplicates),
        count("found with another tenant", totals.leaks),
        count("cut or changed", totals.corrupted),
        count("calls of PutLogEvents", report.put_calls),
        count("of these, throttled", report.throttled),
    ]);
    if let Some(loss) = totals.loss {
        let [value, low, high] =
            [loss.value, loss.low, loss.high].map(|ratio| format!("{:.4} %", ratio * 100.0));
        rows.push(vec![
            "loss, with its 95 % interval (Wilson)".to_owned(),
            format!("{value} ({low} to {high})"),
        ]);
    }
    table(page, "Canaries", &["", "number"], &rows);
    list(page, &report.notes);
}

fn charts(page: &mut String, report: &Report) {
    let slices = &report.slices;
    let line = |name: &str, value: &dyn Fn(&SliceLine) -> Option<f64>| Line {
        name: name.to_owned(),
        points: slices.iter().map(|slice| (slice.from, value(slice))).collect(),
    };
    let rate = |count: u64, slice: &SliceLine| Some(count as f64 / slice.seconds.max(f64::MIN_POSITIVE));
    page.push_str("<h2>Over time</h2>\n<p>By planned injection, in seconds since the first event, warm-up included.</p>\n");
    let rates = [
        line("due", &|slice| rate(slice.due, slice)),
        line("accepted", &|slice| rate(slice.accepted, slice)),
    ];
    page.push_str(&chart("Events per second", "/s", &rates));
    let whole = [
        line("P50", &|slice| slice.end_to_end.p50),
        line("P95", &|slice| slice.end_to_end.p95),
        line("P99", &|slice| slice.end_to_end.p99),
    ];
    page.push_str(&chart("End-to-end latency", "s", &whole));
    let of_hop = |name: &str| line(name, &|slice| slice.hops.get(name)?.p95);
    let hops: Vec<_> = report.hops.iter().map(|hop| of_hop(&hop.name)).collect();
    page.push_str(&chart("P95 of each hop", "s", &hops));
    let of_size = |name: &str| line(name, &|slice| slice.sizes.get(name)?.p95);
    let sizes: Vec<_> = report.sizes.iter().map(|size| of_size(&size.name)).collect();
    if sizes.len() > 1 {
        page.push_str(&chart("End-to-end P95 of each size", "s", &sizes));
    }
    if report.totals.lost > 0 {
        let lost = [line("lost", &|slice| Some(slice.lost as f64))];
        page.push_str(&chart("Lost canaries, by planned injection", "", &lost));
    }
}

fn row(of: &Percentiles) -> [String; 3] {
    [of.p50, of.p95, of.p99].map(|value| percentile(of, value))
}

fn latencies(page: &mut String, report: &Report) {
    let cells = |name: &str, of: &Percentiles, target: Option<f64>| {
        let [p50, p95, p99] = row(of);
        let from = percentile(of, of.p95_from);
        let target = target.map_or_else(|| "-".to_owned(), seconds);
        let (missing, unknown) = (of.missing.to_string(), of.unknown.to_string());
        vec![escaped(name), of.count.to_string(), p50, p95, p99, from, target, missing, unknown]
    };
    let mut rows = vec![cells("end to end", &report.end_to_end, None)];
    rows.extend(
        report.hops.iter().map(|hop| cells(&format!("hop {}", hop.name), &hop.percentiles, hop.target)),
    );
    rows.extend(report.sizes.iter().map(|of| cells(&of.name, &of.percentiles, None)));
    rows.extend(report.tenants.iter().map(|of| cells(&format!("tenant {}", of.name), &of.percentiles, None)));
    let columns = ["", "count", "P50", "P95", "P99", "P95 from", "target", "never arrived", "not known"];
    table(page, "Latencies", &columns, &rows);
}

fn costs(page: &mut String, report: &Report) {
    let dollars =
        |dollars: Option<f64>| dollars.map_or_else(|| "not read".to_owned(), |it| format!("${it:.4}"));
    let rows: Vec<_> = report
        .cost
        .iter()
        .map(|line| {
            let (of, million) = (dollars(line.dollars), dollars(line.dollars_per_million));
            vec![escaped(&line.what), of, million, escaped(&line.formula), escaped(&line.source)]
        })
        .collect();
    let _ = write!(page, "<h2>Cost</h2><p>{}</p>", escaped(&super::text::cost(report)));
    table(page, "Lines of the cost", &["", "of the run", "per million events", "how", "price from"], &rows);
}

fn calls(page: &mut String, report: &Report) {
    let rows: Vec<_> = report.calls.iter().map(|of| vec![escaped(&of.what), of.count.to_string()]).collect();
    table(page, "Calls of the load itself", &["", "number"], &rows);
}
