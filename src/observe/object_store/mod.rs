//! Reads a part of a bucket, whoever's store it is: lists the prefixes in which waiting traces can be, and opens each new
//! object once.
//!
//! An object is opened once for all traces, whatever the rhythm of looks, and streamed through a small window. It
//! counts as known only when it was read whole, together with what was found in it, so a look may be dropped at any
//! `await`. Nothing is inferred from keys but the prefix, and whose an object is where they are
//! made to say so: an archive may write an hour's objects in any order.
//!
//! It must never fetch an object that cannot hold a waiting trace because it is older than all of them; only a stamp that
//! dates from the start of an upload says nothing about that.

mod key_labels;
mod key_template;
mod settings;
mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

pub use self::key_labels::KeyLabels;
pub use self::key_template::KeyTemplate;
pub(super) use self::settings::KEYS;
pub use self::settings::Settings;
pub use self::store::{Body, Listed, NotRead, ObjectStore, Page, Position};
use super::blocking::run_blocking;
use super::decode::{Limits, Scan, Scanner};
use super::unreadable::Unreadable;
use super::{Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::format::FoundIn;
use crate::domain::sighting::{FailureKind, Locator, Poll, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};

/// Objects that are read at the same time.
const CONCURRENCY: usize = 4;
/// Sightings that may wait for the end of a look.
const MAX_SIGHTINGS: usize = 100_000;
/// So often in a row an object is refused before looks go on without it. Rights that were just granted need a while to
/// show, and a deployment may change policy and key one after the other.
const MAX_REFUSALS: u32 = 3;
/// Looks until one that was set aside is tried again, at most; until then each pause is twice the one before.
const MAX_DEFERRED: u64 = 64;

/// Reads one prefix of a bucket.
#[derive(Debug)]
pub struct ObjectObserver<S> {
    settings: Settings,
    store: S,
    /// How keys go on where that says whose an object is. Objects whose keys go on otherwise are left alone.
    labels: Option<KeyLabels>,
    recognizer: Recognizer,
    pub(super) clock: WallClock,
    prefixes: BTreeMap<String, Prefix>,
    /// Counts looks.
    poll_number: u64,
    /// When the last look began that read everything.
    complete_at: Option<Timestamp>,
    /// What was read and not reported yet: a look may be dropped.
    unreported: Findings,
    unreadable: Unreadable,
}

/// What is known of the objects under a prefix.
#[derive(Debug, Default)]
struct Prefix {
    objects: HashMap<String, Known>,
    /// Where keys grow with time: all up to this one were read.
    after: Option<String>,
}

#[derive(Debug)]
struct Known {
    /// What changes when it is overwritten.
    version: String,
    stamp: Stamp,
    state: State,
    /// The look that listed it last.
    poll_number: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Listed, and not read yet; the end of the answer that showed it first.
    Seen(Timestamp),
    /// Listed, and refused to us so often; not asked for again before that look.
    Refused { seen_by: Timestamp, times: u32, again: u64 },
    /// Read as far as the limits go, or for good reason never.
    Read,
}

/// An object that has to be read.
#[derive(Debug)]
struct Object {
    prefix: String,
    key: String,
    version: String,
    stamp: Stamp,
    seen_by: Timestamp,
    /// In bytes, as far as the listing says.
    size: Option<u64>,
    /// Whose it is by its key.
    label: Option<Arc<str>>,
}

impl Object {
    /// By when it had arrived by our own clock, if that of the store and ours are no further apart than that.
    fn arrived_by(&self, slack: Duration) -> Timestamp {
        self.stamp.interval().map_or(self.seen_by, |stamped| self.seen_by.min(stamped.latest + slack))
    }
}

/// What one look came to, apart from what it found.
#[derive(Default)]
struct Progress {
    queue: VecDeque<Object>,
    keys: usize,
    /// Something that was listed is not read.
    short: bool,
    failure: Option<ObserveError>,
}

/// What was found in an object, or in as much of it as is fetched, and how many bytes that were.
struct Opened {
    scan: Scan,
    bytes: u64,
}

impl<S: ObjectStore> ObjectObserver<S> {
    /// An observer of a prefix. The store must not retry: the loop that calls the observer does.
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
            clock,
            prefixes: BTreeMap::new(),
            poll_number: 0,
            complete_at: None,
            unreported: Findings::default(),
            unreadable: Unreadable::default(),
        }
    }

    /// The prefixes in which objects can be that hold what was logged since then; `None` when they are too many.
    fn prefixes_since(&self, since: Timestamp, started: Timestamp) -> Option<Vec<String>> {
        let Settings { key, slack, key_slack, max_prefixes, .. } = &self.settings;
        key.prefixes(since - (*slack).max(*key_slack), started + *slack, *max_prefixes)
    }

    async fn read_source(&mut self, started: Timestamp, oldest: Timestamp) -> Result<Progress, ObserveError> {
        let gap = self.complete_at.filter(|at| self.settings.gaps == Gaps::Read && *at < oldest);
        // After a pause of days its prefixes are too many, and the pause is given up.
        let reaches = gap.into_iter().chain([oldest]);
        let found = reaches.into_iter().find_map(|since| Some((since, self.prefixes_since(since, started)?)));
        let (since, prefixes) = found.ok_or_else(|| {
            let (key, most) = (&self.settings.key, self.settings.max_prefixes);
            let prefix = self.store.uri(&key.to_string());
            let words = format!("listing {prefix}: more than {most} prefixes since {oldest}");
            ObserveError::new(FailureKind::OverBudget, words)
        })?;
        let from = since - self.settings.slack;
        self.poll_number += 1;
        self.prefixes.retain(|prefix, _| prefixes.contains(prefix));
        let mut progress = Progress::default();
        for prefix in prefixes {
            if let Err(failure) = self.list(&prefix, from, &mut progress).await {
                progress.short = true;
                progress.failure.get_or_insert(failure);
                break;
            }
        }
        // Those that were shown first have waited longest.
        progress.queue.make_contiguous().sort_by_key(|object| object.seen_by);
        self.read(&mut progress).await;
        Ok(progress)
    }

    /// Lists one prefix and puts what is new in line.
    async fn list(
        &mut self,
        prefix: &str,
        from: Timestamp,
        progress: &mut Progress,
    ) -> Result<(), ObserveError> {
        let known = self.prefixes.entry(prefix.to_owned()).or_default();
        let mut token: Option<String> = None;
        loop {
            let begin = match (&token, &known.after) {
                (Some(token), _) => Position::Token(token),
                (None, Some(after)) => Position::After(after),
                (None, None) => Position::First,
            };
            let page = self.store.list(prefix, begin).await?;
            let ended = self.clock.now();
            for Listed { key, version, stamp, size } in page.objects {
                progress.keys += 1;
                let label = match &self.labels {
                    None => None,
                    Some(labels) => match labels.of(key.strip_prefix(prefix).unwrap_or_default()) {
                        None => continue,
                        label => label,
                    },
                };
                let entry = known.objects.entry(key.clone()).or_insert_with(|| Known {
                    version: version.clone(),
                    stamp,
                    state: State::Seen(ended),
                    poll_number: self.poll_number,
                });
                entry.poll_number = self.poll_number;
                if entry.version != version {
                    entry.version.clone_from(&version);
                    entry.stamp = stamp;
                    entry.state = State::Seen(ended);
                }
                let seen_by = match entry.state {
                    State::Seen(seen_by) => seen_by,
                    State::Refused { seen_by, again, .. } if again <= self.poll_number => seen_by,
                    State::Refused { .. } | State::Read => continue,
                };
                let too_old = stamp.interval().is_some_and(|stamped| stamped.latest < from);
                if too_old {
                    // It stays unread for the case that an older trace comes to be waited for; where listings move on
                    // with the keys, that case is given up.
                    if self.settings.ordered_keys {
                        entry.state = State::Read;
                    }
                } else if size == Some(0) {
                    entry.state = State::Read;
                } else {
                    let prefix = prefix.to_owned();
                    progress.queue.push_back(Object { prefix, key, version, stamp, seen_by, size, label });
                }
            }
            if progress.keys > self.settings.max_keys_per_poll {
                let limit = self.settings.max_keys_per_poll;
                let prefix = self.store.uri(prefix);
                let words = format!(
                    "listing {prefix}: more than max_keys ({limit}) in one look; raise it, set ordered_keys where keys grow with time, or put a finer time field into key"
                );
                return Err(ObserveError::new(FailureKind::OverBudget, words));
            }
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads what is in line, a few objects at a time.
    async fn read(&mut self, progress: &mut Progress) {
        let mut left = self.settings.max_objects_per_poll;
        let mut opened = FuturesUnordered::new();
        loop {
            while opened.len() < CONCURRENCY && left > 0 && self.unreported.sightings.len() < MAX_SIGHTINGS {
                let Some(object) = progress.queue.pop_front() else {
                    break;
                };
                left -= 1;
                let limits =
                    Limits { max_inflated_bytes: self.settings.max_inflated_bytes, ..Limits::OBJECT };
                let scanner = Scanner::new(self.recognizer.clone(), limits);
                opened.push(open(self.store.clone(), self.settings.max_object_bytes, scanner, object));
            }
            match opened.next().await {
                Some((object, opened)) => self.take(&object, opened, progress),
                None => break,
            }
        }
        progress.short |= !progress.queue.is_empty();
    }

    fn take(&mut self, object: &Object, opened: Result<Opened, NotRead>, progress: &mut Progress) {
        match opened {
            Ok(Opened { scan, bytes }) => self.report(object, scan, bytes),
            Err(NotRead::Vanished) => {}
            Err(NotRead::Replaced) => {
                progress.short = true;
                return;
            }
            Err(NotRead::Refused(refusal)) => {
                if !self.quarantine(object, &refusal) {
                    progress.short = true;
                    progress.failure.get_or_insert(refusal);
                }
                return;
            }
            Err(NotRead::Failed(failure)) => {
                progress.short = true;
                progress.failure.get_or_insert(failure);
                return;
            }
        }
        let prefix = self.prefixes.get_mut(&object.prefix);
        if let Some(known) = prefix.and_then(|prefix| prefix.objects.get_mut(&object.key)) {
            known.state = State::Read;
        }
    }

    /// Counts a refusal, and says whether looks may go on without the object: it then only holds up the proof for traces
    /// that can be in it, and counts as one that could not be decoded.
    fn quarantine(&mut self, object: &Object, refusal: &ObserveError) -> bool {
        let prefix = self.prefixes.get_mut(&object.prefix);
        let Some(known) = prefix.and_then(|prefix| prefix.objects.get_mut(&object.key)) else {
            return false;
        };
        let before = if let State::Refused { times, .. } = known.state { times } else { 0 };
        let times = before + 1;
        let deferred = times >= MAX_REFUSALS;
        let pause = if deferred { 1 << (times - MAX_REFUSALS).min(63) } else { 0 };
        let again = self.poll_number + MAX_DEFERRED.min(pause) + 1;
        known.state = State::Refused { seen_by: object.seen_by, times, again };
        if deferred {
            self.unreadable.refused(object.arrived_by(self.settings.slack), refusal);
        }
        if times == MAX_REFUSALS {
            self.unreported.stats.records += 1;
            self.unreported.stats.decode_errors += 1;
        }
        deferred
    }

    fn report(&mut self, object: &Object, scan: Scan, bytes: u64) {
        let Findings { sightings, stats, .. } = &mut self.unreported;
        stats.records += 1;
        stats.bytes += bytes;
        stats.decode_errors += u64::from(scan.decode_errors > 0);
        stats.foreign_tags += scan.foreign_tags;
        let name = self.store.copy(&object.key, &object.version);
        if scan.cut {
            let Settings { max_object_bytes, max_inflated_bytes, slack, .. } = self.settings;
            self.unreadable.note(object.arrived_by(slack), || {
                format!(
                    "{name} (max_object is {} MB, max_inflated {} MB)",
                    max_object_bytes >> 20,
                    max_inflated_bytes >> 20
                )
            });
        }
        sightings.extend(scan.found.into_iter().map(|found| Sighting {
            tag: found.tag,
            stamp: object.stamp,
            seen_by: object.seen_by,
            locator: Locator::new(format!("{name}#{}", found.place)),
            label: object.label.clone(),
            integrity: found.integrity,
            found_in: FoundIn::default(),
        }));
    }

    /// After a look that listed everything: forgets what is there no more, and moves the start of the next listing up
    /// to the first key that is not read yet, or so young that one that sorts before it may still come, where keys grow
    /// with time.
    fn move_on(&mut self, started: Timestamp) {
        let settled = started - self.settings.key_slack - self.settings.slack;
        for prefix in self.prefixes.values_mut() {
            prefix.objects.retain(|_, known| known.poll_number == self.poll_number);
            if !self.settings.ordered_keys {
                continue;
            }
            let mut keys: Vec<_> = prefix.objects.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let written_before = |stamp: Stamp| stamp.interval().is_some_and(|at| at.earliest < settled);
            let over = |known: &Known| matches!(known.state, State::Read) && written_before(known.stamp);
            let read = keys.iter().take_while(|(_, known)| over(known));
            if let Some(last) = read.last().map(|(key, _)| (*key).clone()) {
                prefix.objects.retain(|key, _| *key > last);
                prefix.after = Some(last);
            }
        }
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
        // Not after a listing that was cut off, which would leave a gap before what it did not show.
        self.move_on(started);
        let watermark = (!progress.short).then_some(started);
        self.complete_at = watermark.or(self.complete_at);
        let watermark = self.unreadable.allows(watermark, wanted, &self.unreported.sightings)?;
        Ok(self.take_unreported().into_poll(wanted, started, self.clock.now(), watermark))
    }

    fn take_unreported(&mut self) -> Findings {
        std::mem::take(&mut self.unreported)
    }
}

/// Fetches an object and sends it through a scanner, up to so many bytes.
async fn open<S: ObjectStore>(
    store: S,
    max_bytes: u64,
    mut scanner: Scanner,
    object: Object,
) -> (Object, Result<Opened, NotRead>) {
    // What comes after the limit is not asked for, so that nobody sends it.
    let first = object.size.filter(|size| *size > max_bytes).map(|_| max_bytes);
    let mut body = match store.get(&object.key, &object.version, first).await {
        Ok(body) => body,
        Err(refusal) => return (object, Err(refusal)),
    };
    let mut bytes = 0;
    let cut = loop {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                let left = usize::try_from(max_bytes - bytes).unwrap_or(usize::MAX);
                run_blocking(chunk.len().min(left), || scanner.push(&chunk[..chunk.len().min(left)]));
                bytes = max_bytes.min(bytes + chunk.len() as u64);
                if chunk.len() > left {
                    break true;
                }
            }
            Ok(None) => break bytes == max_bytes && object.size.is_some_and(|size| size > bytes),
            Err(why) => {
                let name = store.uri(&object.key);
                let words = format!("reading {name}: its body broke off after {bytes} bytes: {why}");
                return (object, Err(NotRead::Failed(ObserveError::new(FailureKind::Unreachable, words))));
            }
        }
    };
    if cut {
        scanner.cut_short();
    }
    // Some formats are held whole and only opened at their end.
    let scan = run_blocking(usize::try_from(bytes).unwrap_or(usize::MAX), || scanner.finish());
    (object, Ok(Opened { scan, bytes }))
}
