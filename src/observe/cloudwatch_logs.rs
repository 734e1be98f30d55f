//! Looks for canaries in a log group, with FilterLogEvents.
//!
//! It suits a stage that logs what it handles, such as an export function. Logs Insights would be slower and is paid by
//! the gigabyte scanned; live tail samples and drops. FilterLogEvents has no cursor that survives, so each look reads
//! the window from the oldest waiting canary on, and copies are told apart by their event id. A group that holds more
//! than one look can read is read on where the last one stopped, so each page counts once it is here.
//!
//! It must never take the newest events for complete: they show up late, and so the watermark stays behind the clock.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsOutput;
use aws_sdk_cloudwatchlogs::types::FilteredLogEvent;

use super::aside::aside;
use super::decode::{Limits, scan_record};
use super::sdk_error::explain;
use super::turns::Turns;
use super::unread::Unread;
use super::{Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::sighting::{Locator, Sighting, Stamp, Sweep, Wanted};
use crate::domain::tag::MARKER;
use crate::domain::time::{Timestamp, WallClock};

/// How many events with foreign tags are remembered, so that windows that overlap do not count them twice.
const MAX_FOREIGN: usize = 10_000;

/// Which log group, and how to read it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or ARN; an ARN may lie in an account that shares it with ours.
    pub log_group: String,
    /// What CloudWatch Logs looks for. A plain term matches a whole word only, while a pattern between percent signs
    /// matches anywhere (CloudWatch Logs User Guide, "Supported regular expressions syntax"), and our marker is only
    /// the start of a word.
    pub filter_pattern: String,
    /// How far before the oldest waiting canary the window begins: what a stage's own timestamps may be early by.
    pub lookback: Duration,
    /// How long an event may take to show up in a search. There is no documented bound; 10 s covers what is reported.
    pub settle: Duration,
    /// Whether events are read that were ingested while nothing waited.
    pub gaps: Gaps,
    /// Most pages of a look; a longer window is read on in the next look.
    pub max_pages: usize,
    /// After so long a look asks for no further page, and ends well with what it has. Below the look's timeout by as
    /// much as a page may take.
    pub enough: Duration,
    /// From one call to the next, of all who share `turns`.
    pub pause: Duration,
    /// Who else of ours spends the same quota: FilterLogEvents allows 5 calls a second for an account in some regions,
    /// all its users together (CloudWatch Logs quotas).
    pub turns: Turns,
}

impl Settings {
    /// The usual settings for a log group.
    #[must_use]
    pub fn new(log_group: impl Into<String>) -> Self {
        Self {
            log_group: log_group.into(),
            filter_pattern: format!("%{MARKER}%"),
            lookback: Duration::from_mins(1),
            settle: Duration::from_secs(10),
            gaps: Gaps::Skip,
            max_pages: 20,
            enough: Duration::from_secs(10),
            pause: Duration::from_millis(500),
            turns: Turns::default(),
        }
    }
}

/// Reads one log group.
#[derive(Debug)]
pub struct CloudWatchLogs {
    settings: Settings,
    client: Client,
    recognizer: Recognizer,
    clock: WallClock,
    unfinished: Option<Pass>,
    /// The watermark of the last complete reading.
    covered: Option<Timestamp>,
    /// What was read and not reported yet: a look may be dropped.
    unreported: Findings,
    unread: Unread,
    foreign: HashSet<String>,
}

/// One reading of the window from its start to now, over as many looks as it takes.
#[derive(Clone, Debug)]
struct Pass {
    started: Timestamp,
    from: Timestamp,
    token: Option<String>,
}

impl CloudWatchLogs {
    /// An observer; it makes no call yet. `client` must not retry by itself.
    #[must_use]
    pub fn new(settings: Settings, client: Client, recognizer: Recognizer, clock: WallClock) -> Self {
        let (unreported, unread, foreign) = (Findings::default(), Unread::default(), HashSet::new());
        Self {
            settings,
            client,
            recognizer,
            clock,
            unfinished: None,
            covered: None,
            unreported,
            unread,
            foreign,
        }
    }

    async fn page(&mut self, pass: &Pass) -> Result<FilterLogEventsOutput, ObserveError> {
        let group = self.settings.log_group.trim_end_matches(":*");
        let request = self
            .client
            .filter_log_events()
            .filter_pattern(&self.settings.filter_pattern)
            .start_time(pass.from.millis().max(0))
            .set_next_token(pass.token.clone());
        let request = if group.starts_with("arn:") {
            request.log_group_identifier(group)
        } else {
            request.log_group_name(group)
        };
        let answer = request.send().await;
        answer.map_err(|error| {
            // The token may be what is wrong. Throttling, outages and the like say nothing against it.
            if error.code() == Some("InvalidParameterException") {
                self.unfinished = None;
            }
            explain(&format!("FilterLogEvents on `{group}`"), &error)
        })
    }

    fn look_into(&mut self, event: &FilteredLogEvent, seen_by: Timestamp) {
        let Findings { sightings, reading } = &mut self.unreported;
        reading.records += 1;
        let Some((id, message)) = event.event_id().zip(event.message()) else {
            reading.decode_errors += 1;
            return;
        };
        reading.bytes += message.len() as u64;
        let scan = || scan_record(&self.recognizer, Limits::RECORD, message.as_bytes());
        let found = aside(message.len(), scan);
        reading.decode_errors += u64::from(found.decode_errors > 0);
        if found.foreign_tags > 0 && !self.foreign.contains(id) {
            reading.foreign_tags += found.foreign_tags;
            if self.foreign.len() >= MAX_FOREIGN {
                self.foreign.clear();
            }
            self.foreign.insert(id.to_owned());
        }
        let stamp = event
            .ingestion_time()
            .map_or(Stamp::None, |millis| Stamp::Millis(Timestamp::from_millis(millis)));
        if found.cut {
            let by = stamp.interval().map_or(seen_by, |at| seen_by.min(at.latest + self.settings.lookback));
            self.unread.note(by, || format!("event {id} of `{}`", self.settings.log_group));
        }
        sightings.extend(found.found.into_iter().map(|copy| Sighting {
            tag: copy.tag,
            stamp,
            seen_by,
            locator: Locator::new(format!("{id}#{}", copy.place)),
            label: None,
            integrity: copy.integrity,
        }));
    }
}

impl Observe for CloudWatchLogs {
    async fn sweep(&mut self, wanted: &Wanted) -> Result<Sweep, ObserveError> {
        let started = self.clock.now();
        let oldest = wanted.oldest().unwrap_or(started);
        let gap = self.covered.filter(|_| self.settings.gaps == Gaps::Read);
        let from = gap.map_or(oldest, |covered| covered.min(oldest)) - self.settings.lookback;
        let mut pass = match self.unfinished.clone() {
            Some(pass) if pass.from <= from => pass,
            _ => Pass { started, from, token: None },
        };
        let mut watermark = None;
        for asked in 0..self.settings.max_pages.max(1) {
            if asked > 0 && self.clock.now().since(started) >= self.settings.enough {
                break;
            }
            self.settings.turns.take(self.settings.pause).await;
            let page = self.page(&pass).await?;
            let seen_by = self.clock.now();
            for event in page.events() {
                self.look_into(event, seen_by);
            }
            // A page may be empty and still not be the last one. Where to go on is kept together with what was found,
            // so that a look that is dropped or fails neither skips a page nor has to read it again.
            pass.token = page.next_token;
            self.unfinished = pass.token.is_some().then(|| pass.clone());
            if pass.token.is_none() {
                watermark = Some(pass.started - self.settings.settle);
                break;
            }
        }
        self.covered = watermark.or(self.covered);
        if let Some(unread) = self.unread.matters(wanted, &self.unreported.sightings) {
            if self.unreported.sightings.is_empty() {
                return Err(unread);
            }
            watermark = None;
        }
        let Findings { sightings, reading } = self.partial();
        Ok(Sweep {
            revision: wanted.revision,
            started,
            finished: self.clock.now(),
            watermark,
            sightings,
            reading,
        })
    }

    fn partial(&mut self) -> Findings {
        std::mem::take(&mut self.unreported)
    }

    fn rest(&mut self) {
        self.unfinished = None;
        self.foreign.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use aws_sdk_cloudwatchlogs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
    use aws_smithy_http_client::test_util::infallible_client_fn;
    use aws_smithy_types::body::SdkBody;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::canary::{Integrity, Template};
    use crate::domain::sighting::{Trouble, WantedTrace};
    use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};

    const NOW: i64 = 1_795_321_800;

    fn keys(secret: &str) -> Keyring {
        Keyring::new(TagKey::new(secret).unwrap(), Vec::new())
    }

    fn tag() -> Tag {
        Tag::new(
            TraceId::new(Timestamp::from_secs(NOW - 5), [3; 10]),
            TenantCode::of("acme"),
            InstanceCode::of("p"),
            100,
            Purpose::Probe,
        )
    }

    fn line(secret: &str) -> String {
        Template::default().render(&tag(), &keys(secret).sign(&tag()))
    }

    fn wanted() -> Wanted {
        Wanted {
            revision: 7,
            waiting: [WantedTrace { tag: tag(), planned_at: Timestamp::from_secs(NOW - 5) }].into(),
            ..Wanted::default()
        }
    }

    type Sent = Arc<Mutex<Vec<Value>>>;

    fn observer(answers: Vec<(u16, Value)>) -> (CloudWatchLogs, Sent) {
        let answers = Mutex::new(VecDeque::from(answers));
        let sent = Sent::default();
        let log = sent.clone();
        let http = infallible_client_fn(move |request| {
            let body = request.body().bytes().unwrap();
            log.lock().unwrap().push(serde_json::from_slice(body).unwrap());
            let (status, body) = answers.lock().unwrap().pop_front().unwrap();
            http::Response::builder().status(status).body(SdkBody::from(body.to_string())).unwrap()
        });
        let config = aws_sdk_cloudwatchlogs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(http)
            .build();
        let recognizer = Recognizer {
            keys: Arc::new(keys("0123456789abcdef")),
            templates: [(TenantCode::of("acme"), Template::default())].into(),
        };
        let start = tokio::time::Instant::now();
        let clock = WallClock::new(move || Timestamp::from_secs(NOW) + start.elapsed());
        let mut settings = Settings::new("/export");
        settings.max_pages = 2;
        let client = Client::from_conf(config);
        (CloudWatchLogs::new(settings, client, recognizer, clock), sent)
    }

    fn event(id: &str, message: &str) -> Value {
        json!({"eventId": id, "ingestionTime": (NOW - 3) * 1_000 + 7, "timestamp": NOW * 1_000, "message": message})
    }

    #[tokio::test(start_paused = true)]
    async fn a_canary_is_seen_on_a_page_after_an_empty_one() {
        let message = line("0123456789abcdef");
        let (mut observer, sent) = observer(vec![
            (200, json!({"events": [], "nextToken": "t1"})),
            (200, json!({"events": [event("e1", &message)]})),
        ]);
        let sweep = observer.sweep(&wanted()).await.unwrap();
        let [sighting] = sweep.sightings.as_slice() else { panic!("{sweep:?}") };
        assert_eq!(sighting.tag, tag());
        assert_eq!(sighting.stamp, Stamp::Millis(Timestamp::from_millis((NOW - 3) * 1_000 + 7)));
        assert_eq!(sighting.integrity, Integrity::Intact);
        assert_eq!(sighting.locator, Locator::new("e1#0"));
        assert_eq!(sweep.watermark, Some(Timestamp::from_secs(NOW - 10)));
        assert_eq!((sweep.revision, sweep.reading.records), (7, 1));
        let sent = sent.lock().unwrap();
        assert_eq!(sent[0]["filterPattern"], "%zqtp%");
        assert_eq!(sent[0]["startTime"], (NOW - 65) * 1_000);
        assert_eq!(sent[1]["nextToken"], "t1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_is_too_long_is_read_on_in_the_next_look() {
        let page = |token| (200, json!({"events": [], "nextToken": token}));
        let (mut observer, sent) = observer(vec![page("t1"), page("t2"), (200, json!({"events": []}))]);
        let first = observer.sweep(&wanted()).await.unwrap();
        assert_eq!(first.watermark, None);
        let second = observer.sweep(&wanted()).await.unwrap();
        assert_eq!(second.watermark, Some(Timestamp::from_secs(NOW - 10)));
        assert_eq!(sent.lock().unwrap()[2]["nextToken"], "t2");
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_a_pause_are_read_only_where_gaps_are() {
        for (gaps, from) in [(Gaps::Skip, NOW + 535), (Gaps::Read, NOW - 70)] {
            let page = (200, json!({"events": []}));
            let (mut observer, sent) = observer(vec![page.clone(), page]);
            observer.settings.gaps = gaps;
            observer.sweep(&wanted()).await.unwrap();
            observer.rest();
            observer.clock = WallClock::new(|| Timestamp::from_secs(NOW + 600));
            let mut later = wanted();
            later.waiting =
                [WantedTrace { planned_at: Timestamp::from_secs(NOW + 595), ..later.waiting[0] }].into();
            observer.sweep(&later).await.unwrap();
            assert_eq!(sent.lock().unwrap()[1]["startTime"], from * 1_000);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_fails_costs_neither_what_was_found_before_nor_the_way_to_it() {
        let message = line("0123456789abcdef");
        let (mut observer, sent) = observer(vec![
            (200, json!({"events": [event("e1", &message)], "nextToken": "t1"})),
            (400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"})),
            (200, json!({"events": []})),
        ]);
        assert_eq!(observer.sweep(&wanted()).await.unwrap_err().trouble, Trouble::Throttled);
        let found = observer.partial();
        assert_eq!((found.sightings.len(), found.reading.records), (1, 1));
        let sweep = observer.sweep(&wanted()).await.unwrap();
        assert_eq!((sweep.sightings.len(), sweep.watermark), (0, Some(Timestamp::from_secs(NOW - 10))));
        let tokens: Vec<_> = sent.lock().unwrap().iter().map(|sent| sent["nextToken"].clone()).collect();
        assert_eq!(tokens, [Value::Null, json!("t1"), json!("t1")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_refused_is_given_up_and_no_other_failure_says_anything_against_one() {
        for (status, code, next) in [
            (503, "ServiceUnavailableException", json!("t1")),
            (400, "InvalidParameterException", Value::Null),
        ] {
            let (mut observer, sent) = observer(vec![
                (200, json!({"events": [], "nextToken": "t1"})),
                (status, json!({"__type": code, "message": "why"})),
                (200, json!({"events": []})),
            ]);
            observer.sweep(&wanted()).await.unwrap_err();
            observer.sweep(&wanted()).await.unwrap();
            assert_eq!(sent.lock().unwrap()[2].get("nextToken").cloned().unwrap_or_default(), next);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_dropped_goes_on_with_the_page_that_it_waited_for() {
        let message = line("0123456789abcdef");
        let (mut observer, sent) = observer(vec![
            (200, json!({"events": [event("e1", &message)], "nextToken": "t1"})),
            (200, json!({"events": []})),
        ]);
        let wanted = wanted();
        let look = tokio::time::timeout(Duration::from_millis(100), observer.sweep(&wanted));
        assert!(look.await.is_err(), "the second page waits for its turn");
        assert_eq!(observer.partial().sightings.len(), 1);
        assert!(observer.sweep(&wanted).await.unwrap().watermark.is_some());
        assert_eq!(sent.lock().unwrap()[1]["nextToken"], "t1");
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_two_a_second_and_a_look_that_took_long_enough_ends_well() {
        let page = |token| (200, json!({"events": [], "nextToken": token}));
        let (mut observer, sent) = observer(vec![page("t1"), page("t2"), page("t3"), page("t4"), page("t5")]);
        observer.settings.max_pages = 100;
        observer.settings.enough = Duration::from_secs(2);
        let start = tokio::time::Instant::now();
        let sweep = observer.sweep(&wanted()).await.unwrap();
        assert_eq!((sweep.watermark, sent.lock().unwrap().len()), (None, 5));
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_foreign_tag_is_counted_once_for_all_windows_that_show_it() {
        let page = (200, json!({"events": [event("e1", &line("another key, sixteen+"))]}));
        let (mut observer, _) = observer(vec![page.clone(), page]);
        let first = observer.sweep(&wanted()).await.unwrap();
        assert_eq!((first.sightings.len(), first.reading.foreign_tags), (0, 1));
        assert_eq!(observer.sweep(&wanted()).await.unwrap().reading.foreign_tags, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_have_their_kind_and_say_what_was_asked() {
        for (status, code, kind) in [
            (400, "ThrottlingException", Trouble::Throttled),
            (400, "AccessDeniedException", Trouble::Denied),
            (400, "ResourceNotFoundException", Trouble::Missing),
            (503, "ServiceUnavailableException", Trouble::Failing),
        ] {
            let (mut observer, _) = observer(vec![(status, json!({"__type": code, "message": "why"}))]);
            let error = observer.sweep(&wanted()).await.unwrap_err();
            assert_eq!(error.trouble, kind);
            assert_eq!(&*error.detail, format!("FilterLogEvents on `/export`: {code}: why"));
        }
    }
}
