//! The table that the program prints.

use std::fmt::{self, Display, Formatter};

use super::process::Usage;

/// What one program did at one rate.
#[derive(Debug)]
pub struct Row {
    pub program: String,
    /// Canaries a second that it should send; `None` if as many as it can.
    pub planned: Option<u32>,
    pub seconds: f64,
    pub accepted: f64,
    /// Those that were due and not sent.
    pub missed: f64,
    /// Arrivals of canaries that the program does not know any more. `None` here and below: it does not count that.
    pub untracked: Option<f64>,
    /// Those that were not found, although the pipeline delivers everything.
    pub lost: f64,
    pub refused: Option<f64>,
    pub usage: Usage,
    pub calls: u64,
    /// How many of the true arrivals are inside the reported intervals.
    pub inside_percent: Option<f64>,
    pub median_ms: f64,
    pub p99_ms: f64,
}

impl Row {
    /// Processor time for each canary.
    pub fn each_ms(&self) -> f64 {
        self.usage.busy / self.accepted.max(1.0) * 1e3
    }

    /// The names of the columns.
    pub fn head() -> String {
        format!(
            "{:<14} {:>7} {:>9} {:>7} {:>9} {:>6} {:>7} {:>8} {:>7} {:>6} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "program",
            "asked/s",
            "accepted",
            "missed",
            "untracked",
            "lost",
            "refused",
            "ms each",
            "of core",
            "MiB",
            "threads",
            "calls",
            "inside %",
            "p50 ms",
            "p99 ms",
            "pipeline",
        )
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let or_dash = |number: Option<f64>, decimals: usize| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.decimals$}"))
        };
        let planned = or_dash(self.planned.map(f64::from), 0);
        let untracked = or_dash(self.untracked, 0);
        let refused = or_dash(self.refused, 0);
        let inside = or_dash(self.inside_percent, 2);
        write!(
            f,
            "{:<14} {planned:>7} {:>9.0} {:>7.0} {untracked:>9} {:>6.0} {refused:>7} {:>8.3} {:>7.2} {:>6} {:>7} {:>8} {inside:>8} {:>8.1} {:>8.1} {:>8.2}",
            self.program,
            self.accepted,
            self.missed,
            self.lost,
            self.each_ms(),
            self.usage.busy / self.seconds,
            self.usage.resident_mib,
            self.usage.threads,
            self.calls,
            self.median_ms,
            self.p99_ms,
            self.usage.own / self.seconds,
        )
    }
}
