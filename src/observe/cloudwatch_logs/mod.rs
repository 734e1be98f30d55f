//! Finds canaries in a log group with FilterLogEvents.
//!
//! This kind suits a stage that logs what it handles, such as an export function. Logs Insights is slower and
//! billed by the gigabyte scanned; live tail samples and drops events. FilterLogEvents has no lasting cursor,
//! so each poll reads the window that starts at the oldest waiting canary, and copies are distinguished by
//! their event ids. If a poll cannot read the whole window, the next one continues, and what was read on each
//! page is kept.
//!
//! The observer must never treat the newest events as complete: events become visible late, so the watermark
//! stays behind the clock.

mod settings;

use std::collections::HashSet;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;

pub(super) use self::settings::SPEC;
pub use self::settings::Settings;
use super::blocking::run_blocking;
use super::decode::{Limits, scan_record};
use super::failure::explain;
use super::rate_limit::RateLimit;
use super::{Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::sighting::{Locator, Poll, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};

/// How many events with foreign tags are remembered, so that overlapping windows do not count them twice.
const MAX_FOREIGN: usize = 10_000;

/// Reads one log group.
#[derive(Debug)]
pub struct CloudWatchLogs {
    settings: Settings,
    /// Shared by all observers of one account: in some regions FilterLogEvents allows 5 calls a second for
    /// all users of the account together (CloudWatch Logs quotas).
    rate_limit: RateLimit,
    client: Client,
    recognizer: Recognizer,
    clock: WallClock,
    /// The window that the last poll did not read to its end.
    unfinished: Option<Progress>,
    /// The watermark of the last window that was read completely.
    covered: Option<Timestamp>,
    /// What was read and not reported yet; a poll may be dropped before its report.
    unreported: Findings,
    /// Ids of events whose foreign tags have been counted.
    foreign: HashSet<String>,
}

/// One read of the window, over as many polls as it takes.
#[derive(Clone, Debug)]
struct Progress {
    started: Timestamp,
    from: Timestamp,
    token: Option<String>,
}

impl CloudWatchLogs {
    /// Makes an observer without calling the service. `client` must not retry: the poll loop does.
    #[must_use]
    pub fn new(
        settings: Settings,
        rate_limit: RateLimit,
        client: Client,
        recognizer: Recognizer,
        clock: WallClock,
    ) -> Self {
        let (unreported, foreign) = (Findings::default(), HashSet::new());
        Self {
            settings,
            rate_limit,
            client,
            recognizer,
            clock,
            unfinished: None,
            covered: None,
            unreported,
            foreign,
        }
    }

    async fn page(&mut self, progress: &Progress) -> Result<FilterLogEventsOutput, ObserveError> {
        let group = self.settings.log_group.trim_end_matches(":*");
        let request = self
            .client
            .filter_log_events()
            .filter_pattern(&self.settings.filter_pattern)
            .start_time(progress.from.millis().max(0))
            .set_next_token(progress.token.clone());
        let request = if group.starts_with("arn:") {
            request.log_group_identifier(group)
        } else {
            request.log_group_name(group)
        };
        let answer = request.send().await;
        answer.map_err(|error| {
            // The token may be invalid. Throttling, outages and other failures leave it valid.
            if error.code() == Some("InvalidParameterException") {
                self.unfinished = None;
            }
            explain(&format!("FilterLogEvents on `{group}`"), &error)
        })
    }

    fn scan_event(&mut self, event: &FilteredLogEvent, seen_by: Timestamp) {
        let Findings { sightings, stats, .. } = &mut self.unreported;
        stats.records += 1;
        let Some((id, message)) = event.event_id().zip(event.message()) else {
            stats.decode_errors += 1;
            return;
        };
        stats.bytes += message.len() as u64;
        let scan = || scan_record(&self.recognizer, Limits::RECORD, message.as_bytes());
        let found = run_blocking(message.len(), scan);
        stats.decode_errors += u64::from(!found.unreadable.is_empty());
        if found.foreign_tags > 0 && !self.foreign.contains(id) {
            stats.foreign_tags += found.foreign_tags;
            if self.foreign.len() >= MAX_FOREIGN {
                self.foreign.clear();
            }
            self.foreign.insert(id.to_owned());
        }
        let stamp = event
            .ingestion_time()
            .map_or(Stamp::None, |millis| Stamp::Millis(Timestamp::from_millis(millis)));
        sightings.extend(found.found.into_iter().map(|copy| Sighting {
            tag: copy.tag,
            stamp,
            seen_by,
            locator: Locator::within(id, copy.place),
            label: None,
            integrity: copy.integrity,
            found_in: copy.found_in,
        }));
        let by = stamp.interval().map_or(seen_by, |at| seen_by.min(at.latest + self.settings.lookback));
        let name = || format!("event {id} of `{}`", self.settings.log_group);
        self.unreported.note_unreadable(by, &found.unreadable, None, name);
    }
}

impl Observe for CloudWatchLogs {
    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let started = self.clock.now();
        let oldest = wanted.oldest().unwrap_or(started);
        let gap = self.covered.filter(|_| self.settings.gaps == Gaps::Read);
        let from = gap.map_or(oldest, |covered| covered.min(oldest)) - self.settings.lookback;
        let mut progress = match self.unfinished.clone() {
            Some(progress) if progress.from <= from => progress,
            _ => Progress { started, from, token: None },
        };
        let mut watermark = None;
        for page in 0..self.settings.max_pages.max(1) {
            if page > 0 && self.clock.now().since(started) >= self.settings.enough {
                break;
            }
            self.rate_limit.take(self.settings.pause).await;
            let page = self.page(&progress).await?;
            let seen_by = self.clock.now();
            for event in page.events() {
                self.scan_event(event, seen_by);
            }
            // An empty page need not be the last one. The token is stored together with the findings, so that
            // a poll that is dropped or fails neither skips a page nor reads it twice.
            progress.token = page.next_token;
            self.unfinished = progress.token.is_some().then(|| progress.clone());
            if progress.token.is_none() {
                watermark = Some(progress.started - self.settings.settle);
                break;
            }
        }
        self.covered = watermark.or(self.covered);
        Ok(std::mem::take(&mut self.unreported).into_poll(wanted, started, self.clock.now(), watermark))
    }

    fn take_unreported(&mut self) -> Findings {
        std::mem::take(&mut self.unreported)
    }

    fn on_idle(&mut self) {
        self.unfinished = None;
        self.foreign.clear();
    }
}

#[cfg(test)]
mod tests;
