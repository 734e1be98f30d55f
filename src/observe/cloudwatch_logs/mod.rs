//! Finds canaries in a log group with FilterLogEvents.
//!
//! This kind suits a stage that logs what it handles, such as an export function. Logs Insights is slower and
//! billed by the gigabyte scanned; live tail samples and drops events. FilterLogEvents has no lasting cursor,
//! so each poll reads a window of time: from a little before the oldest waiting canary to now. The windows of
//! two polls overlap; the id of an event tells whether two copies are the same. If a poll cannot read the
//! whole window, it keeps what it found, and the next poll continues with the next page.
//!
//! The newest events may be incomplete, because an event becomes visible some time after it arrives. So the
//! watermark must stay behind the clock by the setting `settle`.

mod settings;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;
use tokio::time::Instant;

pub(super) use self::settings::SPEC;
pub use self::settings::Settings;
use super::decode::{Limits, Scan};
use super::failure::explain;
use super::rate_limit::RateLimit;
use super::{Decoder, Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::count::counted;
use crate::domain::sighting::{FailureKind, Locator, Poll, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};

/// Most ids of counted events that are remembered of one window.
const MAX_COUNTED_EVENTS: usize = 100_000;

/// Reads one log group.
#[derive(Debug)]
pub struct CloudWatchLogs {
    settings: Settings,
    /// Shared by all observers of one account and region. In some regions an account may make 5 calls of
    /// FilterLogEvents a second, by all of its users together (CloudWatch Logs quotas).
    rate_limit: RateLimit,
    client: Client,
    recognizer: Recognizer,
    decoder: Decoder,
    clock: WallClock,
    /// The read that the last poll did not finish, if any.
    unfinished: Option<WindowRead>,
    /// The last watermark: everything that arrived before it has been read. `None` until a window was read to
    /// its end.
    covered_until: Option<Timestamp>,
    /// What was found and is not reported yet. It outlives a poll, because a poll may fail or be dropped
    /// before it reports.
    unreported: Findings,
    counted_events: CountedEvents,
    /// Ids of the events of the current page that have been decoded. If a poll ends within the page, the next
    /// one gets the page again, and must not begin again with what took so long.
    decoded_events: HashSet<String>,
}

/// Ids of the events that have been counted, so that overlapping windows count them once. What was not in the last
/// window that was read to its end does not come again, and is forgotten.
#[derive(Debug, Default)]
struct CountedEvents {
    last_window: HashSet<String>,
    this_window: HashSet<String>,
}

impl CountedEvents {
    /// Notes an event. Returns whether it is to be counted.
    fn note(&mut self, id: &str) -> bool {
        if self.this_window.len() >= MAX_COUNTED_EVENTS {
            self.end_window();
        }
        self.this_window.insert(id.to_owned()) && !self.last_window.contains(id)
    }

    fn end_window(&mut self) {
        self.last_window = std::mem::take(&mut self.this_window);
    }
}

/// An event whose answer has all that is needed of it.
#[derive(Debug)]
struct Event {
    id: String,
    message: String,
    stamp: Stamp,
}

impl Event {
    fn of(event: FilteredLogEvent) -> Option<Self> {
        let stamp =
            event.ingestion_time.map_or(Stamp::None, |millis| Stamp::Millis(Timestamp::from_millis(millis)));
        Some(Self { id: event.event_id?, message: event.message?, stamp })
    }
}

/// A read of one window, which may take several polls.
#[derive(Clone, Debug)]
struct WindowRead {
    /// When the read began. Events that arrive later may be missing, so the watermark follows from it.
    started: Timestamp,
    /// Where the window begins. Events with an earlier timestamp are not read.
    from: Timestamp,
    /// The token of the next page; `None` for the first one.
    token: Option<String>,
}

impl CloudWatchLogs {
    /// Makes an observer without calling the service. `client` must not retry, because the poll loop does.
    #[must_use]
    pub fn new(
        settings: Settings,
        rate_limit: RateLimit,
        client: Client,
        recognizer: Recognizer,
        clock: WallClock,
    ) -> Self {
        Self {
            settings,
            rate_limit,
            client,
            recognizer,
            decoder: Decoder::default(),
            clock,
            unfinished: None,
            covered_until: None,
            unreported: Findings::default(),
            counted_events: CountedEvents::default(),
            decoded_events: HashSet::new(),
        }
    }

    /// Requests the next page of a read. If the service refuses the token, the next poll starts a new read.
    async fn fetch_page(&mut self, read: &WindowRead) -> Result<FilterLogEventsOutput, ObserveError> {
        let group = self.group();
        let request = self
            .client
            .filter_log_events()
            .filter_pattern(&self.settings.filter_pattern)
            .start_time(read.from.millis().max(0))
            .set_next_token(read.token.clone());
        let request = if group.starts_with("arn:") {
            request.log_group_identifier(group)
        } else {
            request.log_group_name(group)
        };
        let answer = request.send().await;
        answer.map_err(|error| {
            // The token may be the invalid parameter. After throttling, outages and other failures it is
            // still valid.
            if error.code() == Some("InvalidParameterException") {
                self.unfinished = None;
            }
            explain(&self.call(), &error)
        })
    }

    fn group(&self) -> &str {
        self.settings.log_group.trim_end_matches(":*")
    }

    /// The rate limit, which is our own, left no call to this poll.
    fn crowded(&self) -> ObserveError {
        let (groups, pause) = (self.rate_limit.users(), self.settings.min_call_interval);
        let rate = Duration::from_secs(1).div_duration_f64(pause).round();
        let text = format!(
            "{}: not called; {} of this account and region share max_calls_per_second = {rate}, so a round of polls \
             takes at least {} s: raise it, or interval",
            self.call(),
            counted(groups.into(), "log group"),
            (pause * groups).as_secs().max(1)
        );
        ObserveError::new(FailureKind::OverBudget, text)
    }

    /// Names the call for people.
    fn call(&self) -> String {
        format!("FilterLogEvents on `{}`", self.group())
    }

    /// Scans the events of a page, as many at a time as there is time for.
    async fn scan_events(&mut self, events: Vec<Event>, seen_by: Timestamp) {
        let fresh = |event: &Event| !self.decoded_events.contains(&event.id);
        let mut events: VecDeque<_> = events.into_iter().filter(fresh).collect();
        while !events.is_empty() {
            let name = format!("events of `{}`", self.settings.log_group);
            let messages = events.iter().map(|event| event.message.as_bytes().to_vec()).collect();
            let scans = self.decoder.scan(&name, &self.recognizer, Limits::RECORD, messages).await;
            for scan in scans {
                let Some(event) = events.pop_front() else {
                    break;
                };
                self.take_scan(&event, scan, seen_by);
                self.decoded_events.insert(event.id);
            }
        }
        self.decoded_events.clear();
    }

    /// Adds the canaries in an event, and what of it is unreadable, to the unreported findings.
    fn take_scan(&mut self, event: &Event, scan: Scan, seen_by: Timestamp) {
        let Event { id, message, stamp } = event;
        let remark = scan.remark();
        let Findings { sightings, stats, .. } = &mut self.unreported;
        sightings.extend(scan.found.into_iter().map(|copy| Sighting {
            tag: copy.tag,
            stamp: *stamp,
            seen_by,
            locator: Locator::within(id, copy.place),
            label: None,
            integrity: copy.integrity,
            found_in: copy.found_in,
        }));
        if !self.counted_events.note(id) {
            return;
        }
        stats.records += 1;
        stats.bytes += message.len() as u64;
        stats.decode_errors += u64::from(!scan.unreadable.is_empty());
        stats.foreign_tags += scan.foreign_tags;
        // The stamp is from the clock of the service, which may be behind ours. We assume that
        // they differ by less than `lookback`.
        let arrived_by =
            stamp.interval().map_or(seen_by, |at| seen_by.min(at.latest + self.settings.lookback));
        let name = || format!("event {id} of `{}`{remark}", self.settings.log_group);
        self.unreported.note_unreadable(arrived_by, &scan.unreadable, None, name);
    }
}

impl Observe for CloudWatchLogs {
    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let (started, begun) = (self.clock.now(), Instant::now());
        let oldest = wanted.oldest().unwrap_or(started);
        // Since then, events may have arrived that no poll has read, because nothing waited.
        let gap_start = self.covered_until.filter(|_| self.settings.gaps == Gaps::Read);
        let from = gap_start.map_or(oldest, |start| start.min(oldest)) - self.settings.lookback;
        let mut read = match self.unfinished.clone() {
            Some(unfinished) if unfinished.from <= from => unfinished,
            _ => WindowRead { started, from, token: None },
        };
        let mut watermark = None;
        for page_number in 0..self.settings.max_pages.max(1) {
            if page_number > 0 && self.clock.now().since(started) >= self.settings.poll_time_budget {
                break;
            }
            // Without the first page, nothing is known, so that may wait for longer.
            let budget = self.settings.poll_time_budget;
            let until = begun + if page_number == 0 { budget * 8 / 5 } else { budget };
            if !self.rate_limit.take_until(until, self.settings.min_call_interval).await {
                if page_number == 0 {
                    return Err(self.crowded());
                }
                break;
            }
            let page = self.fetch_page(&read).await?;
            let seen_by = self.clock.now();
            let answered = page.events.unwrap_or_default();
            let count = answered.len();
            let events: Vec<_> = answered.into_iter().filter_map(Event::of).collect();
            let is_garbled = events.len() < count;
            self.scan_events(events, seen_by).await;
            if is_garbled {
                let text = format!("{}: an event has no id or no message", self.call());
                return Err(ObserveError::new(FailureKind::Garbled, text));
            }
            // Only a page without a token is the last one; an empty page need not be. The token and the
            // findings are stored without waiting in between, so a poll that is dropped or fails neither
            // skips a page nor reads it twice.
            read.token = page.next_token;
            self.unfinished = read.token.is_some().then(|| read.clone());
            if read.token.is_none() {
                self.counted_events.end_window();
                watermark = Some(read.started - self.settings.settle);
                break;
            }
        }
        self.covered_until = watermark.or(self.covered_until);
        Ok(std::mem::take(&mut self.unreported).into_poll(wanted, started, self.clock.now(), watermark))
    }

    fn take_unreported(&mut self) -> Findings {
        std::mem::take(&mut self.unreported)
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        Some(&mut self.decoder)
    }

    fn on_idle(&mut self) {
        self.unfinished = None;
    }
}

#[cfg(test)]
mod tests;
