//! Metrics of a run for Prometheus, while it lasts.

use std::fmt::Write as _;
use std::io;
use std::net::TcpListener as Bound;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Doing, Progress};
use crate::daemon::supervisor::Task;

/// Serves the text at `/metrics` of a port that is open already.
///
/// # Errors
///
/// If the port cannot be used.
pub(super) fn serve(
    port: &Bound,
    text: watch::Receiver<String>,
    stop: CancellationToken,
) -> io::Result<Task> {
    let port = port.try_clone()?;
    port.set_nonblocking(true)?;
    let listener = TcpListener::from_std(port)?;
    let metrics = get(move || {
        let text = text.borrow().clone();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    });
    let router = Router::new().route("/metrics", metrics);
    Ok(Task::new("serve metrics", async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        // It only ends when it is told to.
        let _ended = serving.await;
        stop.cancelled().await;
    }))
}

/// One gauge or counter without labels.
fn one(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP traceprobe_load_{name} {help}\n# TYPE traceprobe_load_{name} {kind}");
    let _ = writeln!(text, "traceprobe_load_{name} {value}");
}

/// The text for Prometheus.
pub(super) fn text(progress: &Progress) -> String {
    let mut text = String::new();
    let counter = |text: &mut String, name: &str, help: &str, value: u64| {
        one(text, name, "counter", help, value as f64)
    };
    one(&mut text, "due_rate", "gauge", "Events per second that are due.", progress.due);
    one(&mut text, "accepted_rate", "gauge", "Events per second that log groups accept.", progress.accepted);
    one(&mut text, "in_flight", "gauge", "Canaries without an outcome.", progress.in_flight as f64);
    one(&mut text, "blind_sources", "gauge", "Sources that cannot be read.", progress.blind.len() as f64);
    counter(&mut text, "planned_total", "Events that were due.", progress.planned);
    counter(&mut text, "missed_total", "Events that this machine did not send in time.", progress.missed);
    counter(&mut text, "refused_total", "Events that log groups refused.", progress.refused);
    counter(&mut text, "arrived_total", "Canaries that reached the end stage.", progress.arrived);
    counter(&mut text, "lost_total", "Canaries that are lost or dead-lettered.", progress.lost);
    counter(
        &mut text,
        "unobserved_total",
        "Canaries whose outcome could not be observed.",
        progress.unobserved,
    );
    let help = "End-to-end latency of the present part of the run.";
    // A summary without sum and count, which would begin again with each part.
    let _ = writeln!(
        text,
        "# HELP traceprobe_load_latency_seconds {help}\n# TYPE traceprobe_load_latency_seconds summary"
    );
    for (quantile, value) in [("0.5", progress.p50), ("0.95", progress.p95)] {
        if let Some(value) = value {
            let value = if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() };
            let _ = writeln!(text, "traceprobe_load_latency_seconds{{quantile=\"{quantile}\"}} {value}");
        }
    }
    let help = "What the run does.";
    let _ = writeln!(text, "# HELP traceprobe_load_doing {help}\n# TYPE traceprobe_load_doing gauge");
    let _ = writeln!(text, "traceprobe_load_doing{{what=\"{}\"}} 1", word(&progress.doing));
    text
}

/// What a run does, in one word.
fn word(doing: &Doing) -> &'static str {
    match doing {
        Doing::WarmUp => "warm_up",
        Doing::Sending => "sending",
        Doing::Trial(_) => "trial",
        Doing::Judging(_) => "judging",
        Doing::Recovering => "recovering",
        Doing::Draining => "draining",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_metric_has_a_help_text_and_a_type_before_its_values() {
        let progress = Progress {
            doing: Doing::Trial(200.0),
            elapsed: Duration::from_secs(61),
            due: 200.0,
            accepted: 198.4,
            in_flight: 412,
            planned: 12_000,
            missed: 0,
            refused: 0,
            arrived: 11_588,
            lost: 3,
            unobserved: 0,
            p50: Some(0.41),
            p95: Some(f64::INFINITY),
            blind: Vec::new(),
            waits_for: Vec::new(),
        };
        let text = text(&progress);
        let mut known = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => known.push(rest.split(' ').next().unwrap()),
                None if line.starts_with('#') => {}
                None => {
                    let name = line.split(['{', ' ']).next().unwrap();
                    assert!(known.contains(&name), "{line}");
                    assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
                }
            }
        }
        assert!(text.contains("traceprobe_load_lost_total 3\n"), "{text}");
        // The label quantile is that of a summary; promtool refuses it on a gauge.
        assert!(text.contains("# TYPE traceprobe_load_latency_seconds summary\n"), "{text}");
        assert!(text.contains("traceprobe_load_latency_seconds{quantile=\"0.95\"} +Inf\n"), "{text}");
    }
}
