//! What no canary may suffer at any rate: that it is found with another tenant, or damaged.
//!
//! A search goes on until a threshold breaks, so a broken one is its result and not its failure. A leak or a damaged
//! canary says nothing of capacity: it fails a search as well, whatever the rate was, and counts also in the warm-up.

use super::{ThresholdLine, of_purpose, shown};
use crate::load::estimate::short;
use crate::load::figures::Harm;
use crate::load::plan::Plan;
use crate::load::record::{Purpose, Record, Window};
use crate::load::search::Search;
use crate::load::threshold::{Judged, Threshold};

/// What was found of canaries of the warm-up.
pub(super) fn of_warm_up(record: &Record) -> Harm {
    let mut all = Harm::default();
    for window in of_purpose(record, Purpose::WarmUp) {
        let Harm { canaries, leaks, corrupted } = window.figures.harm();
        all.canaries += canaries;
        all.leaks += leaks;
        all.corrupted += corrupted;
    }
    all
}

/// That some of what is counted is of the warm-up.
pub(super) fn note(warm_up: Harm) -> Option<String> {
    let Harm { leaks, corrupted, .. } = warm_up;
    (leaks + corrupted > 0).then(|| {
        format!(
            "leaks and corrupted copies of the warm-up are counted, too: {leaks} leaks, {corrupted} corrupted"
        )
    })
}

/// The thresholds of a search that every rate must keep.
pub(super) fn thresholds(
    plan: &Plan,
    record: &Record,
    search: &Search,
    cut_searches: u64,
) -> Vec<ThresholdLine> {
    let harm = plan.thresholds.iter().filter(|threshold| threshold.metric.is_harm());
    harm.map(|threshold| line(threshold, record, search, cut_searches)).collect()
}

/// A threshold in the first window that breaks it. If none does: in the first that leaves it undecided, or in the last.
fn line(threshold: &Threshold, record: &Record, search: &Search, cut_searches: u64) -> ThresholdLine {
    let topology = record.topology();
    let measure = |window: &Window| window.figures.measure(threshold, &window.beside(cut_searches), topology);
    let judge = |window: &Window| threshold.judge(measure(window));
    let (judged, measured) = match record.windows.iter().find(|window| judge(window) == Judged::Broken) {
        Some(window) => {
            let place = match window.purpose {
                Purpose::WarmUp => "in the warm-up".to_owned(),
                Purpose::Judged => format!("at {} events a second", short(window.rate)),
            };
            (Judged::Broken, format!("{} {place}", shown(threshold, measure(window))))
        }
        None => {
            // Of a rate that was too high, canaries may remain in the queue to the end. That says nothing against
            // the rates below.
            let trials =
                search.trials().iter().map(|trial| Some(trial.judged)).chain(std::iter::repeat(None));
            let windows = of_purpose(record, Purpose::Judged).zip(trials);
            let counted: Vec<&Window> = windows
                .filter(|(window, trial)| *trial != Some(Judged::Broken) || judge(window) == Judged::Kept)
                .map(|(window, _)| window)
                .collect();
            let undecided = counted.iter().copied().find(|window| judge(window) != Judged::Kept);
            match undecided.or(counted.last().copied()) {
                Some(window) => (judge(window), shown(threshold, measure(window))),
                None => (Judged::Undecided, shown(threshold, None)),
            }
        }
    };
    ThresholdLine {
        subject: threshold.subject(),
        expression: threshold.expression().to_owned(),
        judged: judged.as_str().to_owned(),
        measured,
    }
}
