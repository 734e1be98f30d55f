//! Reads a part of an S3 bucket: lists the prefixes in which waiting traces can be, and opens each new object once.
//!
//! An object is opened once for all traces, whatever the rhythm of looks, and streamed through a small window. It
//! counts as known only when it was read whole, together with what was found in it, so a look may be dropped at any
//! `await`. Nothing is inferred from keys but the prefix, and whose an object is where they are
//! made to say so: an archive may write an hour's objects in any order.
//!
//! It must never fetch an object that cannot hold a waiting trace because it is older than all of them; only a
//! multipart object's stamp says nothing about that, since it dates from the start of the upload.

mod label;
mod template;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::DateTime;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

pub use self::label::KeyLabels;
pub use self::template::KeyTemplate;
use super::aside::aside;
use super::decode::{Limits, Scan, Scanner};
use super::failure::{causes, explain};
use super::unread::Unread;
use super::{Findings, Gaps, Observe, ObserveError, Recognizer};
use crate::domain::sighting::{Locator, Reading, Sighting, Stamp, Sweep, Trouble, Wanted};
use crate::domain::time::{Timestamp, WallClock};

/// Objects that are read at the same time.
const CONCURRENCY: usize = 4;
/// Sightings that may wait for the end of a look.
const MAX_SIGHTINGS: usize = 100_000;
/// So often in a row an object is refused before looks go on without it. Rights that were just granted need a while to
/// show, and a deployment may change policy and key one after the other.
const MAX_REFUSALS: u32 = 3;
/// Looks until one that was set aside is tried again, at most; until then each pause is twice the one before.
const MAX_ASIDE: u64 = 64;

/// What to read, and how much of it at a time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with, by time.
    pub key: KeyTemplate,
    /// How keys go on where that says whose an object is. Objects whose keys go on otherwise are left alone.
    pub labels: Option<KeyLabels>,
    /// How far the clocks of writers, of S3 and our own may be apart.
    pub slack: Duration,
    /// How long before a canary the time in the key of its object may be, where a writer names an object by the oldest
    /// record in it: at least as long as it collects records. Prefixes are listed from so much earlier on.
    pub key_slack: Duration,
    /// Prefixes that are listed in one look.
    pub max_prefixes: usize,
    /// Keys that are listed in one look, and remembered for as long as their prefix is listed.
    pub max_keys_per_sweep: usize,
    /// Objects that are opened in one look; the rest is left to the next.
    pub max_objects_per_sweep: usize,
    /// Most bytes of an object that are fetched. While a canary may lie behind them, none is called absent.
    pub max_object_bytes: u64,
    /// What an object may inflate to, in bytes. While a canary may lie behind them, none is called absent.
    pub max_inflated_bytes: u64,
    /// Whether objects are read that were written while nothing waited, as far as the listed prefixes reach back.
    pub gaps: Gaps,
    /// Within a prefix, keys grow with time, so a listing may begin after keys that were read, as far behind as
    /// `key_slack` and `slack` say: of several writers one may be slow to put an object whose key sorts before others'.
    pub ordered_keys: bool,
}

impl Settings {
    /// The settings for a bucket that nobody has asked to read otherwise.
    #[must_use]
    pub fn new(bucket: impl Into<String>, key: KeyTemplate) -> Self {
        Self {
            bucket: bucket.into(),
            key,
            labels: None,
            slack: Duration::from_secs(60),
            // What Firehose collects unless told otherwise (Firehose developer guide, buffering hints); it names objects
            // by the arrival of their oldest record.
            key_slack: Duration::from_secs(300),
            max_prefixes: 64,
            max_keys_per_sweep: 50_000,
            max_objects_per_sweep: 500,
            max_object_bytes: 512 << 20,
            max_inflated_bytes: Limits::OBJECT.max_inflated_bytes,
            gaps: Gaps::Skip,
            ordered_keys: false,
        }
    }
}

/// Reads one bucket's prefix.
#[derive(Debug)]
pub struct S3 {
    settings: Settings,
    client: Client,
    recognizer: Recognizer,
    clock: WallClock,
    prefixes: BTreeMap<String, Prefix>,
    /// Counts looks.
    turn: u64,
    /// When the last look began that read everything.
    complete_at: Option<Timestamp>,
    /// What was read and not reported yet: a look may be dropped.
    sightings: Vec<Sighting>,
    reading: Reading,
    unread: Unread,
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
    etag: String,
    /// Its LastModified.
    modified: Timestamp,
    state: State,
    /// The look that listed it last.
    turn: u64,
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
    etag: String,
    stamp: Stamp,
    seen_by: Timestamp,
    /// In bytes, as far as the listing says.
    size: Option<u64>,
    /// Whose it is by its key.
    label: Option<Arc<str>>,
}

impl Object {
    /// By when it had arrived by our own clock, if those of S3 and ours are no further apart than that.
    fn arrived_by(&self, slack: Duration) -> Timestamp {
        match self.stamp {
            Stamp::Seconds(at) => self.seen_by.min(at + Duration::from_secs(1) + slack),
            Stamp::NotBefore(_) | Stamp::Millis(_) | Stamp::None => self.seen_by,
        }
    }
}

/// What one look came to, apart from what it found.
#[derive(Default)]
struct Pass {
    queue: VecDeque<Object>,
    keys: usize,
    /// Something that was listed is not read.
    short: bool,
    failure: Option<ObserveError>,
}

enum Opened {
    /// What was found in it, or in as much of it as is fetched, and how many bytes that were.
    Read(Scan, u64),
    /// It vanished between LIST and GET.
    Vanished,
    /// It was overwritten between LIST and GET; the next LIST shows the new one.
    Replaced,
    /// It is there, and we must not have it: another key of KMS, a storage class that has to be restored.
    Refused(ObserveError),
    Failed(ObserveError),
}

impl S3 {
    /// An observer of a bucket's prefix. The client must not retry: the loop that calls the observer does.
    #[must_use]
    pub fn new(settings: Settings, client: Client, recognizer: Recognizer, clock: WallClock) -> Self {
        Self {
            settings,
            client,
            recognizer,
            clock,
            prefixes: BTreeMap::new(),
            turn: 0,
            complete_at: None,
            sightings: Vec::new(),
            reading: Reading::default(),
            unread: Unread::default(),
        }
    }

    /// The prefixes in which objects can be that hold what was logged since then; `None` when they are too many.
    fn prefixes_since(&self, since: Timestamp, started: Timestamp) -> Option<Vec<String>> {
        let Settings { key, slack, key_slack, max_prefixes, .. } = &self.settings;
        key.prefixes(since - (*slack).max(*key_slack), started + *slack, *max_prefixes)
    }

    async fn look(&mut self, started: Timestamp, oldest: Timestamp) -> Result<Pass, ObserveError> {
        let gap = self.complete_at.filter(|at| self.settings.gaps == Gaps::Read && *at < oldest);
        // After a pause of days its prefixes are too many, and the pause is given up.
        let reaches = gap.into_iter().chain([oldest]);
        let found = reaches.into_iter().find_map(|since| Some((since, self.prefixes_since(since, started)?)));
        let (since, prefixes) = found.ok_or_else(|| {
            let words = format!(
                "listing s3://{}/{}: more than {} prefixes since {oldest}",
                self.settings.bucket, self.settings.key, self.settings.max_prefixes
            );
            ObserveError::new(Trouble::OverBudget, words)
        })?;
        let from = since - self.settings.slack;
        self.turn += 1;
        self.prefixes.retain(|prefix, _| prefixes.contains(prefix));
        let mut pass = Pass::default();
        for prefix in prefixes {
            if let Err(failure) = self.list(&prefix, from, &mut pass).await {
                pass.short = true;
                pass.failure.get_or_insert(failure);
                break;
            }
        }
        // Those that were shown first have waited longest.
        pass.queue.make_contiguous().sort_by_key(|object| object.seen_by);
        self.read(&mut pass).await;
        Ok(pass)
    }

    /// Lists one prefix and puts what is new in line.
    async fn list(&mut self, prefix: &str, from: Timestamp, pass: &mut Pass) -> Result<(), ObserveError> {
        let words = format!("ListObjectsV2 on s3://{}/{prefix}", self.settings.bucket);
        let known = self.prefixes.entry(prefix.to_owned()).or_default();
        let mut token = None;
        loop {
            let after = known.after.clone().filter(|_| token.is_none());
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.settings.bucket)
                .prefix(prefix)
                .set_start_after(after)
                .set_continuation_token(token.take())
                .send()
                .await
                .map_err(|error| explain(&words, &error))?;
            let ended = self.clock.now();
            for object in page.contents.unwrap_or_default() {
                let (Some(key), Some(modified)) = (object.key, object.last_modified) else {
                    continue;
                };
                pass.keys += 1;
                let label = match &self.settings.labels {
                    None => None,
                    Some(labels) => match labels.of(key.strip_prefix(prefix).unwrap_or_default()) {
                        None => continue,
                        label => label,
                    },
                };
                let etag = object.e_tag.unwrap_or_default();
                let modified = instant(&modified);
                let size = object.size.and_then(|size| u64::try_from(size).ok());
                let entry = known.objects.entry(key.clone()).or_insert_with(|| Known {
                    etag: etag.clone(),
                    modified,
                    state: State::Seen(ended),
                    turn: self.turn,
                });
                entry.turn = self.turn;
                if entry.etag != etag {
                    entry.etag.clone_from(&etag);
                    entry.modified = modified;
                    entry.state = State::Seen(ended);
                }
                let seen_by = match entry.state {
                    State::Seen(seen_by) => seen_by,
                    State::Refused { seen_by, again, .. } if again <= self.turn => seen_by,
                    State::Refused { .. } | State::Read => continue,
                };
                let stamp =
                    if is_multipart(&etag) { Stamp::NotBefore(modified) } else { Stamp::Seconds(modified) };
                // The stamp is cut off to the second.
                let too_old = matches!(stamp, Stamp::Seconds(_)) && modified + Duration::from_secs(1) < from;
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
                    pass.queue.push_back(Object { prefix, key, etag, stamp, seen_by, size, label });
                }
            }
            if pass.keys > self.settings.max_keys_per_sweep {
                let limit = self.settings.max_keys_per_sweep;
                let words = format!(
                    "{words}: more than max_keys ({limit}) in one look; raise it, set ordered_keys where keys grow with time, or put a finer time field into key"
                );
                return Err(ObserveError::new(Trouble::OverBudget, words));
            }
            token = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads what is in line, a few objects at a time.
    async fn read(&mut self, pass: &mut Pass) {
        let mut left = self.settings.max_objects_per_sweep;
        let mut opened = FuturesUnordered::new();
        loop {
            while opened.len() < CONCURRENCY && left > 0 && self.sightings.len() < MAX_SIGHTINGS {
                let Some(object) = pass.queue.pop_front() else {
                    break;
                };
                left -= 1;
                let limits =
                    Limits { max_inflated_bytes: self.settings.max_inflated_bytes, ..Limits::OBJECT };
                let get = Get {
                    client: self.client.clone(),
                    bucket: self.settings.bucket.clone(),
                    max_bytes: self.settings.max_object_bytes,
                    scanner: Scanner::new(self.recognizer.clone(), limits),
                    object,
                };
                opened.push(get.send());
            }
            match opened.next().await {
                Some((object, opened)) => self.take(&object, opened, pass),
                None => break,
            }
        }
        pass.short |= !pass.queue.is_empty();
    }

    fn take(&mut self, object: &Object, opened: Opened, pass: &mut Pass) {
        match opened {
            Opened::Read(scan, bytes) => self.report(object, scan, bytes),
            Opened::Vanished => {}
            Opened::Replaced => {
                pass.short = true;
                return;
            }
            Opened::Refused(refusal) => {
                if !self.set_aside(object, &refusal) {
                    pass.short = true;
                    pass.failure.get_or_insert(refusal);
                }
                return;
            }
            Opened::Failed(failure) => {
                pass.short = true;
                pass.failure.get_or_insert(failure);
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
    fn set_aside(&mut self, object: &Object, refusal: &ObserveError) -> bool {
        let prefix = self.prefixes.get_mut(&object.prefix);
        let Some(known) = prefix.and_then(|prefix| prefix.objects.get_mut(&object.key)) else {
            return false;
        };
        let before = if let State::Refused { times, .. } = known.state { times } else { 0 };
        let times = before + 1;
        let aside = times >= MAX_REFUSALS;
        let pause = if aside { 1 << (times - MAX_REFUSALS).min(63) } else { 0 };
        let again = self.turn + MAX_ASIDE.min(pause) + 1;
        known.state = State::Refused { seen_by: object.seen_by, times, again };
        if aside {
            self.unread.refused(object.arrived_by(self.settings.slack), refusal);
        }
        if times == MAX_REFUSALS {
            self.reading.records += 1;
            self.reading.decode_errors += 1;
        }
        aside
    }

    fn report(&mut self, object: &Object, scan: Scan, bytes: u64) {
        self.reading.records += 1;
        self.reading.bytes += bytes;
        self.reading.decode_errors += u64::from(scan.decode_errors > 0);
        self.reading.foreign_tags += scan.foreign_tags;
        let name: Arc<str> = format!("s3://{}/{}", self.settings.bucket, object.key).into();
        if scan.cut {
            let Settings { max_object_bytes, max_inflated_bytes, slack, .. } = self.settings;
            self.unread.note(object.arrived_by(slack), || {
                format!(
                    "{name} (max_object is {} MB, max_inflated {} MB)",
                    max_object_bytes >> 20,
                    max_inflated_bytes >> 20
                )
            });
        }
        self.sightings.extend(scan.found.into_iter().map(|found| Sighting {
            tag: found.tag,
            stamp: object.stamp,
            seen_by: object.seen_by,
            locator: Locator::new(format!("{name}#{}", found.place)),
            label: object.label.clone(),
            integrity: found.integrity,
        }));
    }

    /// After a look that listed everything: forgets what is there no more, and moves the start of the next listing up
    /// to the first key that is not read yet, or so young that one that sorts before it may still come, where keys grow
    /// with time.
    fn move_on(&mut self, started: Timestamp) {
        let settled = started - self.settings.key_slack - self.settings.slack;
        for prefix in self.prefixes.values_mut() {
            prefix.objects.retain(|_, known| known.turn == self.turn);
            if !self.settings.ordered_keys {
                continue;
            }
            let mut keys: Vec<_> = prefix.objects.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let over = |known: &Known| matches!(known.state, State::Read) && known.modified < settled;
            let read = keys.iter().take_while(|(_, known)| over(known));
            if let Some(last) = read.last().map(|(key, _)| (*key).clone()) {
                prefix.objects.retain(|key, _| *key > last);
                prefix.after = Some(last);
            }
        }
    }
}

impl Observe for S3 {
    async fn sweep(&mut self, wanted: &Wanted) -> Result<Sweep, ObserveError> {
        let started = self.clock.now();
        let oldest = wanted.oldest().unwrap_or(started).min(started);
        let pass = self.look(started, oldest).await?;
        if let Some(failure) = pass.failure {
            return Err(failure);
        }
        // Not after a listing that was cut off, which would leave a gap before what it did not show.
        self.move_on(started);
        let mut watermark = (!pass.short).then_some(started);
        self.complete_at = watermark.or(self.complete_at);
        if let Some(unread) = self.unread.matters(wanted, &self.sightings) {
            if self.sightings.is_empty() {
                return Err(unread);
            }
            watermark = None;
        }
        Ok(Sweep {
            revision: wanted.revision,
            started,
            finished: self.clock.now(),
            watermark,
            sightings: std::mem::take(&mut self.sightings),
            reading: std::mem::take(&mut self.reading),
        })
    }

    fn partial(&mut self) -> Findings {
        let sightings = std::mem::take(&mut self.sightings);
        Findings { sightings, reading: std::mem::take(&mut self.reading) }
    }
}

/// One call of GetObject, whose body goes through a scanner.
struct Get {
    client: Client,
    bucket: String,
    max_bytes: u64,
    scanner: Scanner,
    object: Object,
}

impl Get {
    async fn send(self) -> (Object, Opened) {
        let Self { client, bucket, max_bytes, mut scanner, object } = self;
        let words = format!("GetObject on s3://{bucket}/{}", object.key);
        let etag = (!object.etag.is_empty()).then(|| object.etag.clone());
        // What comes after the limit is not asked for, so that nobody sends it.
        let range =
            object.size.filter(|size| *size > max_bytes).map(|_| format!("bytes=0-{}", max_bytes - 1));
        let request = client.get_object().bucket(bucket).key(&object.key).set_range(range);
        let mut body = match request.set_if_match(etag).send().await {
            Ok(answer) => answer.body,
            Err(error) => {
                let opened = match error.code() {
                    Some("NoSuchKey") => Opened::Vanished,
                    Some("PreconditionFailed") => Opened::Replaced,
                    // No word on the service, and so on this object alone.
                    _ if is_refusal(error.raw_response().map_or(0, |raw| raw.status().as_u16())) => {
                        match explain(&words, &error) {
                            error if error.trouble == Trouble::Throttled => Opened::Failed(error),
                            error => Opened::Refused(error),
                        }
                    }
                    _ => Opened::Failed(explain(&words, &error)),
                };
                return (object, opened);
            }
        };
        let mut bytes = 0;
        loop {
            match body.try_next().await {
                Ok(Some(chunk)) => {
                    let left = usize::try_from(max_bytes - bytes).unwrap_or(usize::MAX);
                    aside(chunk.len().min(left), || scanner.push(&chunk[..chunk.len().min(left)]));
                    bytes = max_bytes.min(bytes + chunk.len() as u64);
                    if chunk.len() > left {
                        scanner.cut_short();
                        return (object, Opened::Read(scanned(scanner, bytes), bytes));
                    }
                }
                Ok(None) => {
                    if bytes == max_bytes && object.size.is_some_and(|size| size > bytes) {
                        scanner.cut_short();
                    }
                    return (object, Opened::Read(scanned(scanner, bytes), bytes));
                }
                Err(error) => {
                    let why = causes(&error);
                    let words = format!("{words}: its body broke off after {bytes} bytes: {why}");
                    let failure = ObserveError::new(Trouble::Unreachable, words);
                    return (object, Opened::Failed(failure));
                }
            }
        }
    }
}

/// What is found in an object of so many bytes: some formats are held whole and only opened at their end.
fn scanned(scanner: Scanner, bytes: u64) -> Scan {
    aside(usize::try_from(bytes).unwrap_or(usize::MAX), || scanner.finish())
}

/// A request that S3 understood and turned down; not one that came too often or took too long.
fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 429)
}

/// The ETag of a multipart object ends with the number of its parts: `"…-12"`.
fn is_multipart(etag: &str) -> bool {
    let parts = etag.trim_matches('"').rsplit_once('-');
    parts.is_some_and(|(_, parts)| !parts.is_empty() && parts.bytes().all(|b| b.is_ascii_digit()))
}

fn instant(date: &DateTime) -> Timestamp {
    date.to_millis().map_or(Timestamp::MIN, Timestamp::from_millis)
}

#[cfg(test)]
mod tests;
