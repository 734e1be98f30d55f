//! How a run goes, on stderr: one line that changes on a terminal, and a line every ten seconds elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use crate::commands::output::complain;
use crate::daemon::load::{Doing, Progress};
use crate::load::estimate::short;
use crate::load::report::text::seconds;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Prints the progress.
pub(super) struct Shown {
    is_terminal: bool,
    /// When the last line was printed, and of what.
    last: Option<(Duration, Doing)>,
}

impl Shown {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), last: None }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let line = line(progress);
        if self.is_terminal {
            // Back to the begin of the line, and what is behind the new text is cleared. If it is lost, the
            // next one comes in a second.
            let _printed = write!(io::stderr(), "\r{line}\x1b[K").and_then(|()| io::stderr().flush());
        } else if self.last.as_ref().is_none_or(|(at, doing)| {
            *doing != progress.doing || progress.elapsed.saturating_sub(*at) >= LINE_EVERY
        }) {
            complain!("{line}");
            self.last = Some((progress.elapsed, progress.doing.clone()));
        }
    }

    /// Ends the line.
    pub(super) fn finish(&self) {
        if self.is_terminal {
            complain!("");
        }
    }
}

fn line(progress: &Progress) -> String {
    let doing = match &progress.doing {
        Doing::WarmUp => "warm-up".to_owned(),
        Doing::Sending => "sending".to_owned(),
        Doing::Trial(rate) => format!("trial of {}/s", short(*rate)),
        Doing::Judging(rate) => format!("judging {}/s", short(*rate)),
        Doing::Recovering => "recovering".to_owned(),
        Doing::Draining => "draining".to_owned(),
    };
    let doing = match &progress.waits_for[..] {
        [] => doing,
        stages => format!("{doing}, waiting for stages: {}", stages.join(", ")),
    };
    let quantile = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), seconds);
    let mut line = format!(
        "{:>5} s  {doing}  due {}/s, accepted {}/s  in flight {}  P50 {} P95 {}  arrived {} of {}",
        progress.elapsed.as_secs(),
        short(progress.due),
        short(progress.accepted),
        progress.in_flight,
        quantile(progress.p50),
        quantile(progress.p95),
        progress.arrived,
        progress.planned,
    );
    let bad = [
        ("lost", progress.lost),
        ("refused", progress.refused),
        ("missed", progress.missed),
        ("unobserved", progress.unobserved),
    ];
    for (what, count) in bad.into_iter().filter(|(_, count)| *count > 0) {
        line += &format!("  {what} {count}");
    }
    if !progress.blind.is_empty() {
        line += &format!("  cannot read {}", progress.blind.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            doing: Doing::Trial(200.0),
            elapsed: Duration::from_secs(61),
            due: 200.0,
            accepted: 198.4,
            in_flight: 412,
            planned: 12_000,
            missed: 0,
            refused: 0,
            arrived: 11_588,
            lost: 0,
            unobserved: 0,
            p50: Some(0.41),
            p95: Some(1.234),
            blind: Vec::new(),
            waits_for: Vec::new(),
        }
    }

    #[test]
    fn a_line_tells_the_phase_the_rates_and_the_percentiles() {
        assert_eq!(
            line(&progress()),
            "   61 s  trial of 200/s  due 200/s, accepted 198/s  in flight 412  P50 410 ms P95 1.23 s  arrived 11588 of 12000"
        );
    }

    #[test]
    fn it_is_told_for_which_stages_a_run_waits() {
        let waits_for = vec!["archive".into(), "cold-copy".into()];
        let line = line(&Progress { doing: Doing::Draining, in_flight: 0, waits_for, ..progress() });
        assert!(
            line.starts_with("   61 s  draining, waiting for stages: archive, cold-copy  due "),
            "{line}"
        );
    }

    #[test]
    fn what_goes_wrong_is_told_only_if_it_does() {
        let progress = Progress {
            lost: 3,
            blind: vec!["kinesis logs-acme".into()],
            p95: Some(f64::INFINITY),
            ..progress()
        };
        let line = line(&progress);
        assert!(line.ends_with("  lost 3  cannot read kinesis logs-acme"), "{line}");
        assert!(line.contains("P95 never") && !line.contains("missed"), "{line}");
    }
}
