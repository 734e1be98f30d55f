//! `traceprobe load compare`: whether a pipeline has become better or worse.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueHint};

use super::{BROKEN, INCONCLUSIVE, USAGE};
use crate::commands::output::{complain, say};
use crate::load::compare::{self, Change, Compared, Lost};
use crate::load::ratio::Ratio;
use crate::load::report::Report;
use crate::load::report::text::seconds;

/// Shown below the options of `traceprobe load compare --help`.
const EXIT_CODES: &str = "\
Exit codes:
   0  nothing is worse
   2  a file is not a report
   4  a hop could not be compared: a run is shorter than 8 minutes, P95 never arrived in both, or two searches have no
      good rate in common
  99  at least one hop is worse, or loses more

The P95 of a hop is better or worse if all of the interval of the ratio is beyond the tolerance. The intervals are those
of a bootstrap over blocks of at least a minute, and all of them together are right in 95 of 100 comparisons. What a hop
loses is better or worse if the 95 % intervals of both runs have nothing in common (docs/load.md).";

/// Compare the reports of two runs of one profile, hop by hop.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(super) struct Compare {
    /// The report of the run before, written with --out json=FILE.
    #[arg(value_name = "BEFORE", value_hint = ValueHint::FilePath)]
    before: PathBuf,
    /// The report of the run after.
    #[arg(value_name = "AFTER", value_hint = ValueHint::FilePath)]
    after: PathBuf,
    /// A change of fewer percent is none.
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    tolerance: u8,
}

impl Compare {
    pub(super) fn run(&self) -> ExitCode {
        let (before, after) = match (read(&self.before), read(&self.after)) {
            (Ok(before), Ok(after)) => (before, after),
            (before, after) => {
                [before.err(), after.err()].into_iter().flatten().for_each(|reason| complain!("{reason}"));
                return ExitCode::from(USAGE);
            }
        };
        compare::doubts(&before, &after).iter().for_each(|doubt| complain!("note: {doubt}"));
        let compared = compare::compare(&before, &after, f64::from(self.tolerance) / 100.0);
        let losses = compare::losses(&before, &after);
        say!("{:<20} {:>9} {:>9}  {}", "P95", "before", "after", "after / before (95 % interval of all)");
        compared.iter().for_each(|it| say!("{}", line(it)));
        say!("{:<20} {:>9} {:>9}  {}", "lost", "before", "after", "95 % intervals");
        losses.iter().for_each(|it| say!("{}", loss_line(it)));
        let changes = compared.iter().map(|it| it.change).chain(losses.iter().map(|it| it.change));
        let has = |change: Change| changes.clone().any(|it| it == change);
        ExitCode::from(if has(Change::Worse) {
            BROKEN
        } else if has(Change::Unknown) {
            INCONCLUSIVE
        } else {
            0
        })
    }
}

fn line(compared: &Compared) -> String {
    let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), seconds);
    let ratio = compared.ratio.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}"));
    let (before, after) = (value(compared.before), value(compared.after));
    let why = compared.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{:<20} {before:>9} {after:>9}  {ratio:<34} {}{why}", compared.name, compared.change.as_str())
}

fn loss_line(lost: &Lost) -> String {
    let value = |of: Option<Ratio>| {
        of.map_or_else(|| "-".to_owned(), |Ratio { value, .. }| format!("{:.2} %", value * 100.0))
    };
    let interval = |of: Option<Ratio>| {
        of.map_or_else(
            || "-".to_owned(),
            |Ratio { low, high, .. }| format!("{:.2} to {:.2} %", low * 100.0, high * 100.0),
        )
    };
    let (before, after) = (value(lost.before), value(lost.after));
    let intervals = format!("{}; {}", interval(lost.before), interval(lost.after));
    format!("{:<20} {before:>9} {after:>9}  {intervals:<34} {}", lost.name, lost.change.as_str())
}

fn read(path: &Path) -> Result<Report, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Report::parse(&text).map_err(|reason| format!("{} {reason}", path.display()))
}
