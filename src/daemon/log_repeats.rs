//! Log lines of failures that come again and again: the first is written at once, the others are counted.
//!
//! A service that refuses canaries does so for each canary, and a hundred tenants make a hundred lines a minute
//! of the same. Therefore a failure is one line when it begins, and then one in growing intervals that says how
//! often it came since when. Each occurrence is still written at `debug`, with its trace.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, debug, error, info, warn};

use crate::domain::foreign::ForeignText;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// From the first line of a failure to its first summary. The interval doubles with each summary.
const FIRST_SUMMARY: Duration = Duration::from_secs(60);
/// Longest interval between two summaries of a failure that goes on.
const LAST_SUMMARY: Duration = Duration::from_secs(3_600);
/// A failure that did not come for this long is over; the next one is written at once.
const OVER_AFTER: Duration = Duration::from_secs(300);

/// One occurrence of a failure.
#[derive(Debug)]
pub(super) struct Occurrence {
    pub(super) level: Level,
    /// What happened. With tenant, stage and `found_in`, it tells which occurrences are one failure.
    pub(super) what: &'static str,
    pub(super) tenant: Option<Arc<str>>,
    /// The stage, or the hops.
    pub(super) stage: Option<Arc<str>>,
    /// Where a leaked canary was found: each place is a failure of its own.
    pub(super) found_in: Option<ForeignText>,
    pub(super) trace: Option<TraceId>,
    /// The line, complete by itself.
    pub(super) text: String,
}

/// Most failures that are told apart by where they were found, and by tenants that are not configured. Others
/// are bounded by the number of tenants and stages.
const MAX_APART: usize = 4_096;

type Key = (&'static str, Option<Arc<str>>, Option<Arc<str>>, Option<ForeignText>);

/// The failures that go on.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    ongoing: HashMap<Key, Ongoing>,
}

#[derive(Debug)]
struct Ongoing {
    last: Occurrence,
    since: Timestamp,
    last_at: Timestamp,
    count: u64,
    /// How many of them were told in a line.
    told: u64,
    summary_at: Timestamp,
    interval: Duration,
}

impl Repeats {
    /// Writes an occurrence, or counts it if it is one of a failure that goes on.
    pub(super) fn note(&mut self, occurrence: Occurrence, now: Timestamp) {
        let Occurrence { what, ref tenant, ref stage, ref found_in, .. } = occurrence;
        let mut key = (what, tenant.clone(), stage.clone(), found_in.clone());
        if found_in.is_some() && self.ongoing.len() >= MAX_APART && !self.ongoing.contains_key(&key) {
            key = (what, None, stage.clone(), None);
        }
        match self.ongoing.get_mut(&key) {
            Some(known) if now.since(known.last_at) < OVER_AFTER => {
                write(Level::DEBUG, &occurrence, &occurrence.text);
                known.last = occurrence;
                known.last_at = now;
                known.count += 1;
            }
            known => {
                if let Some(known) = known {
                    known.tell();
                }
                write(occurrence.level, &occurrence, &occurrence.text);
                let new = Ongoing {
                    last: occurrence,
                    since: now,
                    last_at: now,
                    count: 1,
                    told: 1,
                    summary_at: now + FIRST_SUMMARY,
                    interval: FIRST_SUMMARY,
                };
                self.ongoing.insert(key, new);
            }
        }
    }

    /// Writes the summaries that are due.
    pub(super) fn summarise(&mut self, now: Timestamp) {
        self.ongoing.retain(|_, failure| {
            let is_over = now.since(failure.last_at) >= OVER_AFTER;
            if is_over || failure.summary_at <= now {
                failure.tell();
                failure.interval = (failure.interval * 2).min(LAST_SUMMARY);
                failure.summary_at = now + failure.interval;
            }
            !is_over
        });
    }

    /// Writes what was counted and not told, at the end of the run.
    pub(super) fn finish(&mut self) {
        self.ongoing.drain().for_each(|(_, mut failure)| failure.tell());
    }
}

impl Ongoing {
    fn tell(&mut self) {
        if self.count > self.told {
            let (text, count, since) = (&self.last.text, self.count, self.since);
            let at = since.strftime("%Y-%m-%d %H:%M:%S");
            write(
                self.last.level,
                &self.last,
                &format!("{text} ({count} times since {at} UTC; this is the latest)"),
            );
            self.told = self.count;
        }
    }
}

fn write(level: Level, occurrence: &Occurrence, text: &str) {
    let tenant = occurrence.tenant.as_ref().map(tracing::field::display);
    let stage = occurrence.stage.as_ref().map(tracing::field::display);
    let trace = occurrence.trace.map(tracing::field::display);
    // The level of a line is part of its place in the code.
    match level {
        Level::ERROR => error!(tenant, stage, trace, "{text}"),
        Level::WARN => warn!(tenant, stage, trace, "{text}"),
        Level::INFO => info!(tenant, stage, trace, "{text}"),
        _ => debug!(tenant, stage, trace, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::captured_log::CapturedLog;

    /// The lines at `info` and above that `work` writes.
    fn lines_of(work: impl FnOnce(&mut Repeats)) -> Vec<String> {
        let written = CapturedLog::default();
        let to = written.clone();
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, || work(&mut Repeats::default()));
        written.text().lines().map(|line| line.trim().to_owned()).collect()
    }

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_795_321_800 + secs)
    }

    fn refused(tenant: &str, number: i64) -> Occurrence {
        Occurrence {
            level: Level::WARN,
            what: "refused",
            tenant: Some(tenant.into()),
            stage: None,
            found_in: None,
            trace: None,
            text: format!("refused: request {number}"),
        }
    }

    #[test]
    fn a_failure_of_every_canary_is_a_line_at_first_and_then_in_growing_intervals() {
        let lines = lines_of(|repeats| {
            for second in 0..600 {
                repeats.note(refused("acme", second), t(second));
                repeats.summarise(t(second));
            }
        });
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert_eq!(lines[0], r#"WARN refused: request 0 tenant=acme"#);
        assert_eq!(
            lines[1],
            r#"WARN refused: request 60 (61 times since 2026-11-22 04:30:00 UTC; this is the latest) tenant=acme"#
        );
    }

    #[test]
    fn a_failure_of_another_tenant_is_a_line_of_its_own() {
        let lines = lines_of(|repeats| {
            repeats.note(refused("acme", 1), t(0));
            repeats.note(refused("globex", 1), t(0));
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
    }

    #[test]
    fn each_place_of_leaks_is_a_line_of_its_own_up_to_a_bound() {
        let leaked = |place: usize| Occurrence {
            found_in: Some(format!("place {place}").into()),
            ..refused("acme", 1)
        };
        let lines =
            lines_of(|repeats| (0..2 * MAX_APART).for_each(|place| repeats.note(leaked(place), t(0))));
        assert_eq!(lines.len(), MAX_APART + 1);
    }

    #[test]
    fn a_failure_that_comes_once_is_not_summarised() {
        let lines = lines_of(|repeats| {
            repeats.note(refused("acme", 1), t(0));
            (1..4_000).for_each(|second| repeats.summarise(t(second)));
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }

    #[test]
    fn a_failure_that_comes_back_after_it_was_over_is_told_at_once() {
        let lines = lines_of(|repeats| {
            repeats.note(refused("acme", 1), t(0));
            repeats.note(refused("acme", 2), t(10));
            repeats.note(refused("acme", 3), t(400));
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(
            lines[1].contains("request 2 (2 times") && lines[2].contains("request 3 tenant"),
            "{lines:#?}"
        );
    }

    #[test]
    fn what_was_counted_is_told_at_the_end() {
        let lines = lines_of(|repeats| {
            (0..3).for_each(|second| repeats.note(refused("acme", second), t(second)));
            repeats.finish();
        });
        assert!(lines.len() == 2 && lines[1].contains("(3 times"), "{lines:#?}");
    }
}
