//! Reads part of a bucket of any provider: lists the prefixes in which waiting traces can be, and reads each
//! new object once.
//!
//! An object is read once for all traces, however often the source is polled, and streamed through a small
//! window. It is marked as read only together with what was found in it, so a poll may be dropped at any
//! `await`. Nothing is inferred from a key except its prefix and, if so configured, its tenant: an archive
//! may write an hour's objects in any order. Where keys turn out to grow with time, and a listing takes several
//! calls, most polls list from the last key on. What they do not list, they do not prove absent: that is left
//! to whole listings, which are made often enough for the stage not to be blind.
//!
//! The observer must never fetch an object that is older than all waiting traces. The exception is an object
//! whose stamp dates from the start of its upload, because it can hold newer records. `stamps` says what is older.

mod growth;
mod key_labels;
mod key_template;
mod likely_form;
mod object_work;
mod proof;
mod refusals;
mod settings;
mod stamps;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use tokio::time::Instant;

use self::growth::{Witness, start_of};
pub use self::key_labels::KeyLabels;
use self::key_labels::KeyOwner;
pub use self::key_template::KeyTemplate;
use self::object_work::{Bounds, Contents, ObjectWork, read_object};
use self::refusals::Refusals;
pub(super) use self::settings::KEYS;
pub use self::settings::Settings;
use self::stamps::{Since, Stamps};
pub use self::store::{Body, GetError, Listed, ObjectStore, Page, Position};
use super::decode::Limits;
use super::pace::Rhythm;
use super::{Decoder, Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::copies::Presence;
use crate::domain::foreign::ForeignText;
use crate::domain::format::{Shape, Unreadable, UnreadableReason};
use crate::domain::sighting::{
    FailureKind, Locator, Poll, RecordOwner, Sighting, Stamp, UnreadableRecord, Wanted,
};
use crate::domain::time::{Timestamp, WallClock};

/// Objects that are read at the same time.
const CONCURRENCY: usize = 4;
/// Most sightings that are held until the end of a poll.
const MAX_SIGHTINGS: usize = 100_000;
/// Refusals of an object in a row after which polls continue without it. Newly granted permissions take a
/// while to take effect, and a deployment may change policy and key one after the other.
const MAX_REFUSALS: u32 = 3;
/// How many pages of listings a poll may request whatever `max_keys` is. A page may be empty although more
/// follow, for instance where many versions were deleted (S3 user guide), and each page is billed.
const MIN_MAX_PAGES: usize = 200;
/// Fewer keys than this on an average page, a quarter of a full one, are not worth more pages.
const KEYS_PER_PAGE: usize = 250;
/// Objects of a prefix that are remembered while its listings fail, in multiples of the keys that a poll lists.
const MOST_KNOWN: usize = 2;
/// Most polls for which a refused object is not requested; the pause doubles up to this.
const MAX_PAUSE: u64 = 64;

/// How much of a poll's timeout is waited for the bytes of one object, at most: 2 of 5 parts, and half as much again if
/// it was too slow before.
const FETCH_PARTS: (u32, u32) = (2, 5);

/// How often an object that does not arrive in time is tried before it is told as not read.
const SLOW_TRIES: u8 = 2;

/// How long listings are whole after a new key sorted before the start of one that was not.
const LATE_KEY_PAUSE: Duration = Duration::from_hours(24);

/// Reads one prefix of a bucket.
#[derive(Debug)]
pub struct ObjectObserver<S> {
    settings: Settings,
    pub(super) store: S,
    /// Set if keys name their tenant. Objects whose keys do not match it are ignored.
    labels: Option<KeyLabels>,
    recognizer: Recognizer,
    decoder: Decoder,
    pub(super) clock: WallClock,
    /// How long a poll may list.
    list_time: Duration,
    /// How long a poll may wait for the bytes of one object.
    fetch_time: Duration,
    /// How old the last whole listing of a prefix may become.
    whole_every: Duration,
    /// When a key was last found that a listing from the last key on would have missed.
    late_key_at: Option<Timestamp>,
    stamps: Stamps,
    prefixes: BTreeMap<String, Prefix>,
    refusals: Refusals,
    /// Counts polls.
    poll_number: u64,
    /// When the last poll began.
    polled_at: Option<Timestamp>,
    /// The start of the last poll that read everything.
    complete_at: Option<Timestamp>,
    /// What was read and not reported yet; a poll may be dropped before its report.
    unreported: Findings,
    /// Bytes of objects that arrived and were not reported yet, also of objects that were not read to their end.
    received: Arc<AtomicU64>,
    /// Prefix and key of the objects that are being fetched. They stay here if the poll is dropped meanwhile.
    in_flight: Vec<(String, String)>,
}

/// The known objects under a prefix.
#[derive(Debug, Default)]
struct Prefix {
    objects: HashMap<String, Known>,
    /// Set if the settings say that keys grow with time: all objects up to this key have been read.
    after: Option<String>,
    /// Set if keys turned out to grow with time: where a listing may begin between whole ones.
    start: Option<Start>,
    /// When the last whole listing began of which every object was read.
    whole_at: Option<Timestamp>,
    /// How many calls it took.
    pages: usize,
    /// How long after the start of its poll it ended.
    took: Duration,
    /// Whether this poll listed it whole.
    is_whole: bool,
    /// Whether local time repeats in its keys, so that they do not grow with time.
    repeats: bool,
}

/// Where a listing may begin that is not whole.
#[derive(Debug)]
struct Start {
    after: String,
    /// Objects before it that are older than this were not read.
    since: Since,
}

#[derive(Debug)]
struct Known {
    /// Changes when the object is overwritten.
    version: String,
    stamp: Stamp,
    /// See [`Listed::is_complete`].
    is_complete: bool,
    state: State,
    /// How many times in a row it had been overwritten when it was requested.
    replaced: u32,
    /// The last poll that listed it.
    poll_number: u64,
    /// How often it did not arrive in time, or not before its poll was dropped.
    slow_tries: u8,
}

impl Known {
    /// By when it was listed, if it is still to be read for traces that need objects `since` then. `None` also if
    /// polls go on without it, which was told.
    fn waits(&self, since: Since) -> Option<Timestamp> {
        match self.state {
            State::Seen(seen_by) => {
                let is_deferred = self.replaced >= MAX_REFUSALS;
                (!is_deferred && !since.is_after(self.stamp, self.is_complete)).then_some(seen_by)
            }
            State::Refused { seen_by, times, .. } => (times < MAX_REFUSALS).then_some(seen_by),
            State::Read => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Listed and not read yet. Holds the end of the answer that first listed it.
    Seen(Timestamp),
    /// Listed and refused this many times. It is not requested again before the poll `retry_at`, which is earlier
    /// than its turn if it `is_hastened`.
    Refused { seen_by: Timestamp, times: u32, retry_at: u64, is_hastened: bool },
    /// Read up to the limits, or never to be read.
    Read,
}

/// An object to be read.
#[derive(Debug)]
struct Object {
    prefix: String,
    key: String,
    version: String,
    stamp: Stamp,
    /// The end of the answer that first listed it.
    seen_by: Timestamp,
    /// In bytes; `None` if the listing does not say.
    size: Option<u64>,
    /// The label of the tenant that its key names; `None` if it may be anybody's.
    label: Option<ForeignText>,
    /// Whether it has been refused before.
    was_refused: bool,
    /// See [`Known::slow_tries`].
    slow_tries: u8,
}

impl Object {
    /// Returns the latest instant by our own clock at which it can have arrived, if the store's clock is off
    /// by at most `slack`.
    fn arrived_by(&self, slack: Duration) -> Timestamp {
        self.stamp.interval().map_or(self.seen_by, |stamped| self.seen_by.min(stamped.latest + slack))
    }
}

/// The state of one poll, apart from what it found.
struct Progress {
    /// Since when objects must have been stamped to be read.
    since: Since,
    /// Set if an object was left out only because stamps are relied on.
    relied: bool,
    queue: VecDeque<Object>,
    keys: usize,
    /// Pages of listings that were answered.
    pages: usize,
    /// How long after this poll the next one comes: about as long as this one after the last.
    pause: Duration,
    /// Set if a prefix was not listed whole: when the oldest of their last whole listings began.
    whole_at: Option<Timestamp>,
    /// Set if a listed object was not read.
    incomplete: bool,
    /// The labels of the objects that were read.
    readable: BTreeSet<Option<ForeignText>>,
    failure: Option<ObserveError>,
}

impl Progress {
    /// Stamps turned out not to be reliable: the next poll reads what this one has left out.
    fn doubt_stamps(&mut self) {
        self.since.widen();
        self.incomplete |= self.relied;
    }
}

impl<S: ObjectStore> ObjectObserver<S> {
    /// Makes an observer of a prefix. The store must not retry: the poll loop does.
    pub(super) fn new(
        settings: Settings,
        store: S,
        labels: Option<KeyLabels>,
        recognizer: Recognizer,
        clock: WallClock,
    ) -> Self {
        Self {
            settings,
            store,
            labels,
            recognizer,
            decoder: Decoder::default(),
            clock,
            list_time: Duration::MAX,
            fetch_time: Duration::MAX,
            whole_every: Duration::ZERO,
            late_key_at: None,
            stamps: Stamps::default(),
            prefixes: BTreeMap::new(),
            refusals: Refusals::default(),
            poll_number: 0,
            polled_at: None,
            complete_at: None,
            unreported: Findings::default(),
            received: Arc::default(),
            in_flight: Vec::new(),
        }
    }

    /// Limits listings to most of the time that a poll may take, and each object to a part of it. A poll that is
    /// dropped at its timeout could not say that the service answered all the time.
    pub(super) fn within(self, rhythm: Rhythm) -> Self {
        let (part, of) = FETCH_PARTS;
        Self {
            list_time: rhythm.timeout * 9 / 10,
            fetch_time: rhythm.timeout * part / of,
            whole_every: rhythm.proof_every,
            ..self
        }
    }

    /// Forgets what listings have shown, as if the next prefix had begun.
    #[cfg(test)]
    pub(super) fn prefixes_forgotten(&mut self) {
        self.prefixes.clear();
    }

    /// How many objects it remembers.
    #[cfg(test)]
    pub(super) fn known_objects(&self) -> usize {
        self.prefixes.values().map(|prefix| prefix.objects.len()).sum()
    }

    /// Returns the prefixes of objects that can hold events since `since`; `None` if they are too many.
    fn prefixes_since(&self, since: Timestamp, started: Timestamp) -> Option<Vec<String>> {
        let Settings { key, slack, key_slack, max_prefixes, .. } = &self.settings;
        key.prefixes(since - (*slack).max(*key_slack), started + *slack, *max_prefixes)
    }

    async fn read_source(&mut self, started: Timestamp, oldest: Timestamp) -> Result<Progress, ObserveError> {
        let gap = self.complete_at.filter(|at| self.settings.gaps == Gaps::Read && *at < oldest);
        // A gap of days has too many prefixes. Then it is skipped.
        let starts = gap.into_iter().chain([oldest]);
        let found = starts.into_iter().find_map(|since| Some((since, self.prefixes_since(since, started)?)));
        let (since, prefixes) = found.ok_or_else(|| {
            let (key, max) = (&self.settings.key, self.settings.max_prefixes);
            let prefix = self.store.uri(&key.to_string());
            let text = format!("listing {prefix}: more than {max} prefixes since {oldest}");
            ObserveError::new(FailureKind::OverBudget, text)
        })?;
        self.poll_number += 1;
        let begun = Instant::now();
        for (prefix, key) in std::mem::take(&mut self.in_flight) {
            self.note_slow(&prefix, &key);
        }
        let pause = self.polled_at.replace(started).map_or(Duration::ZERO, |at| started.since(at));
        self.prefixes.retain(|prefix, _| prefixes.contains(prefix));
        let repeating = self.settings.key.repeating(since, started);
        let mut stamped = self.stamps.since(since, self.settings.slack, started);
        if self.settings.gaps == Gaps::Read {
            stamped.widen();
        }
        let mut progress = Progress {
            since: stamped,
            relied: false,
            queue: VecDeque::new(),
            keys: 0,
            pages: 0,
            pause,
            whole_at: None,
            incomplete: false,
            readable: BTreeSet::new(),
            failure: None,
        };
        for prefix in prefixes {
            self.prefixes.entry(prefix.clone()).or_default().repeats = repeating.contains(&prefix);
            let listed = self.list(&prefix, started, &mut progress).await;
            self.forget_unlisted(&prefix, listed.is_ok(), progress.since);
            if let Err(failure) = listed {
                progress.incomplete = true;
                progress.failure.get_or_insert(failure);
                break;
            }
        }
        // Objects that were listed first have waited longest. One that was too slow needs all the time that there is.
        let order = |object: &Object| (object.slow_tries == 0, object.seen_by);
        progress.queue.make_contiguous().sort_by_key(order);
        self.read(&mut progress, begun).await;
        Ok(progress)
    }

    /// Lists one prefix and queues the objects that are to be read.
    async fn list(
        &mut self,
        prefix: &str,
        started: Timestamp,
        progress: &mut Progress,
    ) -> Result<(), ObserveError> {
        let known = self.prefixes.entry(prefix.to_owned()).or_default();
        let start = known.next_start(progress.since, started, self.whole_every, progress.pause);
        known.is_whole = start.is_none();
        if let Some((_, whole_at)) = &start {
            progress.whole_at = Some(progress.whole_at.map_or(*whole_at, |at| at.min(*whole_at)));
        }
        let after = start.map(|(after, _)| after).or_else(|| known.after.clone());
        let pages_before = progress.pages;
        let mut token: Option<String> = None;
        loop {
            let position = match (&token, &after) {
                (Some(token), _) => Position::Token(token),
                (None, Some(after)) => Position::After(after),
                (None, None) => Position::First,
            };
            let page = self.store.list(prefix, position).await?;
            let ended = self.clock.now();
            progress.pages += 1;
            if !self.stamps.compare(page.date, ended) {
                progress.doubt_stamps();
            }
            for Listed { key, version, stamp, is_complete, size } in page.objects {
                progress.keys += 1;
                let label = match owner(self.labels.as_ref(), prefix, &key) {
                    KeyOwner::Unknown => continue,
                    owner => owner.label(),
                };
                let is_new = !known.objects.contains_key(&key);
                if is_new && known.start.as_ref().is_some_and(|start| key <= start.after) {
                    self.late_key_at = Some(started);
                }
                let absent_at = known.whole_at.filter(|_| is_new && is_complete);
                if absent_at.is_some_and(|at| self.stamps.appeared(stamp, at, started)) {
                    progress.doubt_stamps();
                }
                let entry = known.objects.entry(key.clone()).or_insert_with(|| Known {
                    version: version.clone(),
                    stamp,
                    is_complete,
                    state: State::Seen(ended),
                    replaced: 0,
                    poll_number: self.poll_number,
                    slow_tries: 0,
                });
                entry.poll_number = self.poll_number;
                if entry.version != version {
                    entry.version.clone_from(&version);
                    (entry.stamp, entry.is_complete) = (stamp, is_complete);
                    entry.state = State::Seen(ended);
                }
                let (seen_by, was_refused) = match entry.state {
                    State::Seen(seen_by) => (seen_by, false),
                    State::Refused { seen_by, retry_at, .. } if retry_at <= self.poll_number => {
                        (seen_by, true)
                    }
                    State::Refused { .. } | State::Read => continue,
                };
                progress.relied |= progress.since.is_after_only(stamp, is_complete);
                if progress.since.is_after(stamp, is_complete) {
                    // It is not marked as read, in case an older trace waits later. With ordered keys it is,
                    // so that later listings can start behind it, unless stamps may turn out not to be reliable.
                    if self.settings.ordered_keys && progress.since.is_after(stamp, false) {
                        entry.state = State::Read;
                    }
                } else if size == Some(0) {
                    entry.state = State::Read;
                } else {
                    let prefix = prefix.to_owned();
                    progress.queue.push_back(Object {
                        prefix,
                        key,
                        version,
                        stamp,
                        seen_by,
                        size,
                        label,
                        was_refused,
                        slow_tries: entry.slow_tries,
                    });
                }
            }
            if progress.keys > self.settings.max_keys_per_poll {
                let limit = self.settings.max_keys_per_poll;
                let prefix = self.store.uri(prefix);
                let text = format!(
                    "listing {prefix}: more than max_keys ({limit}) in one poll; raise it, set ordered_keys if keys grow with time, or put a finer time field into key"
                );
                return Err(ObserveError::new(FailureKind::OverBudget, text));
            }
            token = page.next;
            if token.is_none() {
                if known.is_whole {
                    (known.pages, known.took) = (progress.pages - pages_before, ended.since(started));
                }
                return Ok(());
            }
            let max_pages = MIN_MAX_PAGES.max(self.settings.max_keys_per_poll / KEYS_PER_PAGE);
            let took = ended.since(started);
            if progress.pages >= max_pages || took >= self.list_time {
                let (prefix, pages, keys) = (self.store.uri(prefix), progress.pages, progress.keys);
                let secs = took.as_secs();
                let text = format!(
                    "listing {prefix}: answered {pages} pages with {keys} keys in {secs} s, more follow"
                );
                return Err(ObserveError::new(FailureKind::OverBudget, text));
            }
        }
    }

    /// Forgets the objects of a prefix that this poll has not listed: after a whole listing they no longer exist.
    /// After others, this is done only where they would become too many; those that still exist are then new to a
    /// later listing. What was still to be read is told, because it withholds the proof of absence.
    fn forget_unlisted(&mut self, prefix: &str, is_listed: bool, since: Since) {
        let Some(known) = self.prefixes.get_mut(prefix) else { return };
        if !(is_listed && known.is_whole) {
            if known.objects.len() <= self.settings.max_keys_per_poll.saturating_mul(MOST_KNOWN) {
                return;
            }
            (known.start, known.whole_at) = (None, None);
        }
        let unlisted = known.objects.extract_if(|_, known| known.poll_number != self.poll_number);
        let waiting: Vec<_> =
            unlisted.filter_map(|(key, known)| Some((key, known.waits(since)?, known))).collect();
        for (key, seen_by, Known { version, stamp, .. }) in waiting {
            let label = owner(self.labels.as_ref(), prefix, &key).label();
            self.take_vanished(&Object {
                prefix: prefix.to_owned(),
                key,
                version,
                stamp,
                seen_by,
                size: None,
                label,
                was_refused: false,
                slow_tries: 0,
            });
        }
    }

    /// Reads the queued objects, a few at a time, and of those that were too slow before only one. It may take longer,
    /// so a second one begins only while the poll has time for it.
    async fn read(&mut self, progress: &mut Progress, begun: Instant) {
        let slow_time = self.fetch_time.saturating_mul(3) / 2;
        let latest = self.fetch_time / 4 * 3;
        let mut left = self.settings.max_objects_per_poll;
        let mut in_progress = FuturesUnordered::new();
        let (mut has_slow, mut had_slow) = (false, false);
        loop {
            while in_progress.len() < CONCURRENCY
                && left > 0
                && self.unreported.sightings.len() < MAX_SIGHTINGS
            {
                let takes_slow = !has_slow && (!had_slow || begun.elapsed() <= latest);
                let next = progress.queue.iter().position(|object| object.slow_tries == 0 || takes_slow);
                let Some(object) = next.and_then(|at| progress.queue.remove(at)) else {
                    break;
                };
                let is_slow = object.slow_tries > 0;
                (has_slow, had_slow) = (has_slow | is_slow, had_slow | is_slow);
                left -= 1;
                let limits =
                    Limits { max_inflated_bytes: self.settings.max_inflated_bytes, ..Limits::OBJECT };
                let work = ObjectWork::new(self.decoder.clone(), self.recognizer.clone(), limits);
                let bounds = Bounds {
                    max_bytes: self.settings.max_object_bytes,
                    max_wait: if is_slow { slow_time } else { self.fetch_time },
                    received: self.received.clone(),
                };
                self.in_flight.push((object.prefix.clone(), object.key.clone()));
                in_progress.push(read_object(self.store.clone(), bounds, work, object));
            }
            let Some((object, contents)) = in_progress.next().await else {
                break;
            };
            self.in_flight.retain(|(prefix, key)| (prefix, key) != (&object.prefix, &object.key));
            has_slow &= object.slow_tries == 0;
            self.take(&object, contents, progress);
        }
        progress.incomplete |= !progress.queue.is_empty();
        if !self.refusals.is_empty() {
            self.hasten_refused(progress);
        }
    }

    /// Has the next poll request the objects that were refused before others with the same label were read, and none
    /// was refused: the refusals may be over, and what is in them is to be known before anything is proven absent. Each
    /// object is requested out of its turn once, so that one that is refused for good costs one request more. Forgets
    /// the refusals of labels of which no refused object is left.
    fn hasten_refused(&mut self, progress: &mut Progress) {
        let next = self.poll_number + 1;
        let mut refused = BTreeSet::new();
        for (prefix, known) in &mut self.prefixes {
            for (key, known) in &mut known.objects {
                let State::Refused { times, retry_at, is_hastened, .. } = &mut known.state else {
                    continue;
                };
                let label = owner(self.labels.as_ref(), prefix, key).label();
                let may_be_over = progress.readable.contains(&label)
                    && !self.refusals.has_one_in(label.as_ref(), self.poll_number);
                if *times >= MAX_REFUSALS && !*is_hastened && may_be_over {
                    (*retry_at, *is_hastened) = (next, true);
                    progress.incomplete = true;
                }
                refused.insert(label);
            }
        }
        self.refusals.retain(&refused);
    }

    fn take(&mut self, object: &Object, contents: Result<Contents, GetError>, progress: &mut Progress) {
        match contents {
            // It is tried again, with more time.
            Ok(Contents { slow: Some(_), .. }) if object.slow_tries < SLOW_TRIES => {
                self.note_slow(&object.prefix, &object.key);
                progress.incomplete = true;
                return;
            }
            Ok(contents) => {
                self.take_contents(object, contents);
                progress.readable.insert(object.label.clone());
            }
            Err(GetError::Vanished) => self.take_vanished(object),
            Err(GetError::Replaced) => {
                self.take_replaced(object, progress);
                return;
            }
            Err(GetError::Refused(refusal)) => {
                if !self.take_refusal(object, &refusal) {
                    progress.incomplete = true;
                    progress.failure.get_or_insert(refusal);
                }
                return;
            }
            Err(GetError::Failed(failure)) => {
                if failure.kind == FailureKind::Timeout {
                    self.note_slow(&object.prefix, &object.key);
                }
                progress.incomplete = true;
                progress.failure.get_or_insert(failure);
                return;
            }
        }
        let prefix = self.prefixes.get_mut(&object.prefix);
        if let Some(known) = prefix.and_then(|prefix| prefix.objects.get_mut(&object.key)) {
            (known.state, known.replaced) = (State::Read, 0);
        }
    }

    /// An object did not arrive in time.
    fn note_slow(&mut self, prefix: &str, key: &str) {
        let known = self.prefixes.get_mut(prefix).and_then(|prefix| prefix.objects.get_mut(key));
        if let Some(known) = known {
            known.slow_tries = known.slow_tries.saturating_add(1);
        }
    }

    /// An object is not there any more after it had been listed. What was in it will not be known, and may have been
    /// moved.
    fn take_vanished(&mut self, object: &Object) {
        let name = self.store.copy(&object.key, &object.version);
        self.unreported.unreadable.push(UnreadableRecord {
            arrived_by: object.arrived_by(self.settings.slack),
            part: Unreadable { shape: Shape::NONE, reason: UnreadableReason::Deleted },
            count: 1,
            owner: object.label.clone().map(RecordOwner::Label),
            text: format!("{} was deleted before it could be read", ForeignText::label(&name)).into(),
        });
        self.unreported.stats.records += 1;
        self.unreported.stats.decode_errors += 1;
    }

    /// An object was overwritten after it had been listed; the next listing shows what it is then. Once may be chance.
    /// If it goes on, polls continue without the object, as without one that is refused.
    fn take_replaced(&mut self, object: &Object, progress: &mut Progress) {
        let prefix = self.prefixes.get_mut(&object.prefix);
        let Some(known) = prefix.and_then(|prefix| prefix.objects.get_mut(&object.key)) else {
            progress.incomplete = true;
            return;
        };
        known.replaced = known.replaced.saturating_add(1);
        let times = known.replaced;
        let name = ForeignText::label(&self.store.uri(&object.key));
        if times >= MAX_REFUSALS {
            let text = format!("{name} is overwritten faster than it can be read");
            self.defer(object, times == MAX_REFUSALS, text.into());
            return;
        }
        progress.incomplete = true;
        if times > 1 {
            let text = format!("reading {name}: overwritten after it was listed, {times} times in a row");
            progress.failure.get_or_insert(ObserveError::new(FailureKind::Error, text));
        }
    }

    /// Counts a refusal. Returns whether polls may continue without the object. If so, the object only
    /// withholds the watermark while a trace that can be in it is waited for, and counts as undecodable. Where objects
    /// with the same label have been refused for some polls, they may continue without it at once: otherwise a writer
    /// whose every new object is refused would end all polls, those of other tenants as well.
    fn take_refusal(&mut self, object: &Object, refusal: &ObserveError) -> bool {
        let prefix = self.prefixes.get_mut(&object.prefix);
        let Some(known) = prefix.and_then(|prefix| prefix.objects.get_mut(&object.key)) else {
            return false;
        };
        let (before, is_hastened) = match known.state {
            State::Refused { times, is_hastened, .. } => (times, is_hastened),
            State::Seen(_) | State::Read => (0, false),
        };
        let polls = self.refusals.note(object.label.clone(), self.poll_number);
        let before = if polls >= MAX_REFUSALS { before.max(MAX_REFUSALS - 1) } else { before };
        let times = before + 1;
        let deferred = times >= MAX_REFUSALS;
        let pause = if deferred { 1 << (times - MAX_REFUSALS).min(63) } else { 0 };
        let retry_at = self.poll_number + MAX_PAUSE.min(pause) + 1;
        known.state = State::Refused { seen_by: object.seen_by, times, retry_at, is_hastened };
        if deferred {
            self.defer(object, times == MAX_REFUSALS, refusal.detail.clone());
        }
        deferred
    }

    /// Notes that polls continue without an object, which is counted if that `is_new`.
    fn defer(&mut self, object: &Object, is_new: bool, text: ForeignText) {
        self.unreported.unreadable.push(UnreadableRecord {
            arrived_by: object.arrived_by(self.settings.slack),
            part: Unreadable { shape: Shape::NONE, reason: UnreadableReason::Refused },
            count: u64::from(is_new),
            owner: object.label.clone().map(RecordOwner::Label),
            text,
        });
        self.unreported.stats.records += u64::from(is_new);
        self.unreported.stats.decode_errors += u64::from(is_new);
    }

    fn take_contents(&mut self, object: &Object, Contents { scan, slow }: Contents) {
        let Findings { sightings, stats, .. } = &mut self.unreported;
        stats.records += 1;
        stats.decode_errors += u64::from(!scan.unreadable.is_empty());
        stats.foreign_tags += scan.foreign_tags;
        let name = self.store.copy(&object.key, &object.version);
        let (over_limit, exhausted, remark) = (scan.is_over_limit(), scan.exhausted, scan.remark());
        sightings.extend(scan.found.into_iter().map(|found| Sighting {
            tag: found.tag,
            stamp: object.stamp,
            seen_by: object.seen_by,
            locator: Locator::within(&name, found.place),
            label: object.label.clone(),
            integrity: found.integrity,
            found_in: found.found_in,
        }));
        let Settings { max_object_bytes, max_inflated_bytes, slack, .. } = self.settings;
        self.unreported.note_unreadable(
            object.arrived_by(slack),
            &scan.unreadable,
            object.label.as_ref(),
            || {
                if let Some(slow) = &slow {
                    format!("{name} ({slow})")
                } else if exhausted {
                    format!("{name}{remark}")
                } else if over_limit {
                    let (object, inflated) = (max_object_bytes >> 20, max_inflated_bytes >> 20);
                    format!("{name} (max_object is {object} MB, max_inflated {inflated} MB)")
                } else {
                    name.to_string()
                }
            },
        );
    }

    /// Takes what was found, and what was read to find it.
    fn take_findings(&mut self) -> Findings {
        let mut findings = std::mem::take(&mut self.unreported);
        findings.stats.bytes += self.received.swap(0, Ordering::Relaxed);
        findings
    }

    /// Called after a poll that listed everything. If keys grow with time, moves the start of the next listing up to
    /// the first key that was not read, or that is so recent that a smaller key may still be written.
    fn move_on(&mut self, started: Timestamp, since: Since, is_complete: bool) {
        let Settings { slack, key_slack, ordered_keys, .. } = self.settings;
        let settled = started - key_slack - slack;
        let may_skip =
            !ordered_keys && self.late_key_at.is_none_or(|late| started.since(late) >= LATE_KEY_PAUSE);
        for prefix in self.prefixes.values_mut().filter(|prefix| prefix.is_whole) {
            prefix.whole_at = is_complete.then_some(started);
            // A listing of one call can be no shorter. A start needs less room for slow writers than
            // `ordered_keys`, because whole listings follow.
            let has_start = may_skip && !prefix.repeats && prefix.pages > 1;
            let start = if has_start { prefix.start_after(started - slack, since) } else { None };
            prefix.start = start.map(|after| Start { after, since });
            if !ordered_keys || prefix.repeats {
                continue;
            }
            let mut keys: Vec<_> = prefix.objects.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let written_before = |stamp: Stamp| stamp.interval().is_some_and(|at| at.earliest < settled);
            let done = |known: &Known| matches!(known.state, State::Read) && written_before(known.stamp);
            let done_keys = keys.iter().take_while(|(_, known)| done(known));
            if let Some(last) = done_keys.last().map(|(key, _)| (*key).clone()) {
                prefix.objects.retain(|key, _| *key > last);
                prefix.after = Some(last);
            }
        }
    }
}

impl Prefix {
    /// After which key the next listing begins, and when the last whole one did; `None` if it is whole. A whole one
    /// proves something only when it ends, so it begins earlier if the last one took long and the next poll would be
    /// too late.
    fn next_start(
        &self,
        since: Since,
        started: Timestamp,
        whole_every: Duration,
        pause: Duration,
    ) -> Option<(String, Timestamp)> {
        let start = self.start.as_ref().filter(|start| !self.repeats && start.since.covers(since))?;
        // A stage is blind when its proof is twice as old.
        let too_old = whole_every.saturating_mul(9) / 5;
        let is_recent = |at: &Timestamp| {
            let age = started.since(*at);
            age < whole_every && age.saturating_add(pause).saturating_add(self.took) < too_old
        };
        let whole_at = self.whole_at.filter(is_recent)?;
        Some((start.after.clone(), whole_at))
    }

    /// After which key a listing may begin if none that was written before `settled` is missing. Objects that
    /// are older than `since` are not read.
    fn start_after(&self, settled: Timestamp, since: Since) -> Option<String> {
        let witnesses = self.objects.iter().map(|(key, known)| {
            let written = known.stamp.interval();
            let is_done = match known.state {
                State::Read => true,
                State::Seen(_) => since.is_after(known.stamp, known.is_complete),
                State::Refused { .. } => false,
            };
            Witness { key: key.as_str(), written, is_done }
        });
        start_of(witnesses.collect(), settled).map(str::to_owned)
    }
}

impl<S: ObjectStore> Observe for ObjectObserver<S> {
    async fn poll(&mut self, wanted: &Wanted) -> Result<Poll, ObserveError> {
        let started = self.clock.now();
        let oldest = wanted.oldest().unwrap_or(started).min(started);
        let progress = self.read_source(started, oldest).await?;
        if let Some(failure) = progress.failure {
            return Err(failure);
        }
        // Never after an incomplete listing: objects that it did not show would be forgotten or skipped.
        self.move_on(started, progress.since, !progress.incomplete);
        let watermark = (!progress.incomplete).then_some(progress.whole_at.unwrap_or(started));
        self.complete_at = watermark.or(self.complete_at);
        Ok(self.take_findings().into_poll(wanted, started, self.clock.now(), watermark))
    }

    /// Lists each object by its whole key. Not with HeadObject: where the right to list is bound to prefixes,
    /// as in our policies, S3 answers a request for a deleted object with 403.
    async fn check(&mut self, records: &[Arc<str>]) -> Vec<(Arc<str>, Presence)> {
        let checks = stream::iter(records.iter().cloned()).map(|record| {
            let store = self.store.clone();
            async move {
                let presence = presence(&store, &record).await?;
                Some((record, presence))
            }
        });
        checks.buffered(CONCURRENCY).filter_map(std::future::ready).collect().await
    }

    fn take_unreported(&mut self) -> Findings {
        self.take_findings()
    }

    fn decoder(&mut self) -> Option<&mut Decoder> {
        Some(&mut self.decoder)
    }
}

/// Whose an object is, by its key.
fn owner(labels: Option<&KeyLabels>, prefix: &str, key: &str) -> KeyOwner {
    labels.map_or(KeyOwner::Anybody, |labels| labels.of(key.strip_prefix(prefix).unwrap_or_default()))
}

/// Returns whether a stored copy exists; `None` if that could not be determined now.
async fn presence<S: ObjectStore>(store: &S, copy: &str) -> Option<Presence> {
    let Some(key) = store.key(copy) else {
        return Some(Presence::Unknown);
    };
    // Of all keys that begin with this one, it comes first.
    match store.list(key, Position::First).await {
        // A page may be empty although more follow.
        Ok(page) if page.objects.is_empty() && page.next.is_some() => None,
        Ok(page) => {
            let exists = page.objects.iter().any(|object| *store.copy(&object.key, &object.version) == *copy);
            Some(if exists { Presence::There } else { Presence::Gone })
        }
        Err(failure) if failure.kind == FailureKind::Denied => Some(Presence::Unknown),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
