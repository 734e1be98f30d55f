//! Bytes in, canaries out.
//!
//! Records are decoded by what they are, not by configuration: what begins like a format that is known is
//! opened, long runs of base64 inside text are opened, and what comes out is looked at in the same way again,
//! down to a bounded depth. `docs/formats.md` lists the formats. Everything else is text, in which the marker
//! is searched as a substring; JSON is never parsed to find a tag, so a line that no parser would take still
//! gives up its canary.
//!
//! What is neither opened nor mostly text is *unreadable*: it is reported with its format, because a canary
//! may be in it, and is searched as it is all the same.
//!
//! It is push-style and works through a small window: an object of hundreds of megabytes takes no more memory
//! than a short one. Only Parquet, KPL aggregates and single Snappy blocks are held, within a limit. The
//! result depends on the bytes alone, never on how they were cut into chunks, because the ordinal of a copy
//! within its record is part of the locator by which two reads of one copy are told from two copies. So the
//! scanner cuts the bytes into pieces of its own.
//!
//! It must never panic on what it is fed, and never give up what was found before a fault.
//!
//! # What counts as one copy
//!
//! A pipeline may write the tag twice for one log event (the raw line beside its parsed fields), and may
//! store two events side by side. Two hits of one trace are **one copy** unless something between them says
//! that another record began:
//!
//! * a line break, or the border of a KPL sub-record: always two;
//! * the end of a JSON object directly before the start of the next (`}{`, `},{`, `}","{`, however escaped),
//!   or an escaped line break (`\n`) that is followed by more than a quote: two if the tags are also at least
//!   the canary's size apart, since a whole canary must fit between them. Within base64 the distance says
//!   nothing, so there the border alone makes two. This tells two `logEvents` of one CloudWatch envelope
//!   apart, and keeps together `[{"k":"trace_id","v":"…"},{"k":"id","v":"…"}]`.
//!
//! All hits of a trace in one Parquet file are one copy, and so are those in a part that was not decoded.

mod avro;
mod base64;
mod block_grammar;
mod codec;
mod digits;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod kpl;
mod layer;
mod magic;
mod parquet;
mod part;
mod repeats;
mod search;
mod tar;
mod text;
mod text_sample;
mod utf16;
mod work;
mod zip;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::domain::canary::Integrity;
use crate::domain::format::{FoundIn, Shape, Unreadable, UnreadableReason};
use crate::domain::tag::{TAG_LEN, Tag, TraceId};

use self::layer::Layer;
use self::part::Trust;
pub use self::work::Halt;
use self::work::Work;
use super::Recognizer;

/// How far decoding goes. What is beyond is reported as unreadable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many wrappers are taken off, one inside the other.
    pub max_depth: usize,
    /// How many bytes decompression may give in all, for one record or object.
    pub max_inflated_bytes: u64,
    /// How many bytes may be held at a time, for one record or object, of formats that are only opened at
    /// their end.
    pub max_held_bytes: usize,
    /// Largest KPL aggregate, in bytes; it is held because its checksum is at its end.
    pub max_kpl_bytes: usize,
    /// How many sub-records of a KPL aggregate are looked into.
    pub max_kpl_records: usize,
    /// How many copies of canaries are reported.
    pub max_copies: usize,
    /// Work that is done in any case, in units of about a nanosecond; every byte adds to it. See `work`.
    pub allowance: u64,
}

impl Limits {
    /// For one record of a stream.
    pub const RECORD: Self = Self {
        max_depth: 8,
        // A CloudWatch Logs subscription fills a record of up to 1 MiB with gzip; well-compressing logs reach
        // 50:1.
        max_inflated_bytes: 128 << 20,
        // A Kinesis record is at most 10 MiB (Kinesis API reference, UpdateMaxRecordSize).
        max_held_bytes: 10 << 20,
        max_kpl_bytes: 10 << 20,
        max_kpl_records: 100_000,
        max_copies: 10_000,
        // Enough to compare a canary of 1 MB that arrives in few bytes.
        allowance: 8_000_000,
    };

    /// For one object of a store.
    pub const OBJECT: Self = Self {
        max_inflated_bytes: 1 << 30,
        // Firehose turns at most 128 MiB of JSON into one Parquet file, which is a fraction of that.
        max_held_bytes: 64 << 20,
        max_copies: 100_000,
        allowance: 40_000_000,
        ..Self::RECORD
    };

    /// For a small record on which a few milliseconds are spent at most, whatever is in it: a block of bzip2 is inflated
    /// whole. What is beyond is to be scanned again, with all of these.
    #[must_use]
    pub fn brief(self) -> Self {
        Self {
            max_inflated_bytes: self.max_inflated_bytes.min(256 << 10),
            allowance: self.allowance.min(200_000),
            ..self
        }
    }
}

/// One stored copy of a canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What its tag says; the tag has been verified.
    pub tag: Tag,
    /// How the copy compares with what was sent; unchecked where it was not decoded.
    pub integrity: Integrity,
    /// Where it stood.
    pub found_in: FoundIn,
    /// Which copy in its record or object: the first is `0`. The same in every read of the same bytes.
    pub place: String,
}

/// What a record or object held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    /// The copies, in the order in which they stand.
    pub found: Vec<Found>,
    /// What could not be read, and how many parts of each kind. A canary that was not found may be in them.
    /// At most [`MAX_UNREADABLE`] kinds are told apart.
    pub unreadable: Vec<(Unreadable, u64)>,
    /// Whole tags that none of our keys signed.
    pub foreign_tags: u64,
    /// Bytes that decompression gave.
    pub inflated_bytes: u64,
    /// Whether it took more work than is spent on one record or object. The rest was not read.
    pub exhausted: bool,
}

/// How many kinds of unreadable parts are told apart in one record or object.
pub const MAX_UNREADABLE: usize = 16;

impl Scan {
    /// How many parts could not be read.
    #[must_use]
    pub fn decode_errors(&self) -> u64 {
        self.unreadable.iter().map(|(_, parts)| parts).sum()
    }

    /// Whether a limit of ours ended the search before the end.
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.unreadable.iter().any(|(part, _)| part.reason == UnreadableReason::OverLimit)
    }

    /// What is to be said after the name of the record.
    pub(super) const fn remark(&self) -> &'static str {
        if self.exhausted { " (decoding it takes too much work)" } else { "" }
    }
}

/// Bytes are cut into pieces of this size.
const PIECE: usize = 64 << 10;
/// How many hits of one trace are compared with what was sent, in one record or object. A copy has two where
/// the raw line stands beside its fields.
const MAX_COMPARED: u8 = 16;
/// How many more hits than copies there may be, and how many more for each copy. No pipeline writes a tag so
/// often for one event.
const MAX_REPEATS: u64 = 1_000;
const MAX_REPEATS_OF_COPY: u64 = 16;
/// How many tags are remembered once they were verified, in one record or object: more than fit into the
/// window of gzip, so that repeating them costs no verification.
const MAX_KNOWN_TAGS: usize = 1_000;
/// So many times bytes that look like the start of a member may turn out to be none; then text is only text.
const MAX_TRIALS: u32 = 1_000;

/// Scans one record or object that comes in pieces.
pub struct Scanner {
    context: Context,
    layer: Layer,
    /// The piece that is not full yet.
    held: Vec<u8>,
}

impl Scanner {
    /// A scanner for one record or object.
    #[must_use]
    pub fn new(recognizer: Recognizer, limits: Limits) -> Self {
        Self::until(Halt::default(), recognizer, limits)
    }

    /// A scanner that can be ended from outside.
    #[must_use]
    pub fn until(halt: Halt, recognizer: Recognizer, limits: Limits) -> Self {
        let context = Context {
            recognizer,
            limits,
            work: Work::new(limits.allowance, halt),
            known_tags: HashMap::new(),
            last_tag: None,
            compared: HashMap::new(),
            repeats_left: MAX_REPEATS,
            inflated_bytes: 0,
            held_bytes: 0,
            trials_left: MAX_TRIALS,
            cut_short: false,
            unreadable: BTreeMap::new(),
            foreign_tags: 0,
        };
        Self { context, layer: Layer::new(0, Shape::NONE, Trust::Judge), held: Vec::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_over() {
            let len = bytes.len().min(PIECE - self.held.len());
            let (piece, rest) = bytes.split_at(len);
            bytes = rest;
            if piece.len() == PIECE {
                self.take(piece);
                continue;
            }
            self.held.extend_from_slice(piece);
            if self.held.len() == PIECE {
                let held = std::mem::take(&mut self.held);
                self.take(&held);
            }
        }
    }

    /// Whether the rest would not be read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.context.work.is_over()
    }

    fn take(&mut self, piece: &[u8]) {
        self.context.work.arrived(piece.len());
        self.layer.push(piece, &mut self.context);
    }

    /// Notes that the rest is not fetched. What was pushed is still searched.
    pub fn cut_short(&mut self) {
        self.context.cut_short = true;
        self.context.unreadable(Shape::NONE, UnreadableReason::OverLimit);
    }

    /// Ends the record or object.
    #[must_use]
    pub fn finish(mut self) -> Scan {
        let held = std::mem::take(&mut self.held);
        self.take(&held);
        let mut copies = self.layer.finish(&mut self.context).copies;
        self.context.limit_copies(&mut copies);
        if self.context.work.is_over() && !self.context.is_over_limit() {
            self.context.unreadable(Shape::NONE, UnreadableReason::OverLimit);
        }
        let found = copies.into_iter().enumerate().map(|(at, copy)| Found {
            tag: copy.tag,
            integrity: copy.integrity,
            found_in: copy.found_in,
            place: at.to_string(),
        });
        Scan {
            found: found.collect(),
            exhausted: self.context.work.is_over(),
            unreadable: self.context.unreadable.into_iter().collect(),
            foreign_tags: self.context.foreign_tags,
            inflated_bytes: self.context.inflated_bytes,
        }
    }
}

/// Scans a record that is at hand.
#[must_use]
pub fn scan_record(recognizer: &Recognizer, limits: Limits, record: &[u8]) -> Scan {
    scan_until(&Halt::default(), recognizer, limits, record)
}

/// Scans a record that is at hand, unless it is ended from outside.
#[must_use]
pub fn scan_until(halt: &Halt, recognizer: &Recognizer, limits: Limits, record: &[u8]) -> Scan {
    let mut scanner = Scanner::until(halt.clone(), recognizer.clone(), limits);
    scanner.push(record);
    scanner.finish()
}

/// What all layers of one record share.
struct Context {
    recognizer: Recognizer,
    limits: Limits,
    work: Work,
    /// What was verified: the tag, or `None` if none of our keys signed it.
    known_tags: HashMap<[u8; TAG_LEN], Option<Tag>>,
    /// The one that was verified last. Tags that repeat do so in a row.
    last_tag: Option<([u8; TAG_LEN], Option<Tag>)>,
    /// How many hits of each trace were compared.
    compared: HashMap<TraceId, u8>,
    /// How many more hits may repeat a copy.
    repeats_left: u64,
    inflated_bytes: u64,
    held_bytes: usize,
    trials_left: u32,
    /// What ends too early does so because the rest was not fetched.
    cut_short: bool,
    unreadable: BTreeMap<Unreadable, u64>,
    foreign_tags: u64,
}

impl Context {
    /// A part could not be read.
    fn unreadable(&mut self, shape: Shape, reason: UnreadableReason) {
        let of_ours = (self.cut_short || self.work.is_over()) && reason == UnreadableReason::Truncated;
        let reason = if of_ours { UnreadableReason::OverLimit } else { reason };
        let is_limit = reason == UnreadableReason::OverLimit || self.is_over_limit();
        // The last place is for a limit: whoever may raise it must learn of it.
        let places = if is_limit { MAX_UNREADABLE } else { MAX_UNREADABLE - 1 };
        let is_full = self.unreadable.len() >= places;
        match self.unreadable.entry(Unreadable { shape, reason }) {
            Entry::Occupied(mut parts) => *parts.get_mut() += 1,
            // There is enough to say that this was not read.
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(new) => {
                new.insert(1);
            }
        }
    }

    /// Searches what holds no data by its format, and need not be understood: only limits that it met are told.
    fn quietly<T>(&mut self, search: impl FnOnce(&mut Self) -> T) -> T {
        let told = self.unreadable.clone();
        let found = search(self);
        let limits = std::mem::replace(&mut self.unreadable, told);
        let limits = limits.into_iter().filter(|(part, _)| part.reason == UnreadableReason::OverLimit);
        self.unreadable.extend(limits);
        found
    }

    /// Whether what ends here ends because of a limit.
    fn is_cut_short(&self) -> bool {
        self.cut_short || self.work.is_over() || self.room() == 0
    }

    fn is_over_limit(&self) -> bool {
        self.unreadable.keys().any(|part| part.reason == UnreadableReason::OverLimit)
    }

    /// The tag at the start of `text`, which has the form of one. Foreign tags are counted.
    fn verify(&mut self, text: &[u8]) -> Option<Tag> {
        self.work.spend(work::KNOWN_TAG);
        let mut key = [0; TAG_LEN];
        let len = text.len().min(TAG_LEN);
        key[..len].copy_from_slice(&text[..len]);
        let known = self.last_tag.filter(|(last, _)| *last == key).map(|(_, tag)| tag);
        let known = known.or_else(|| self.known_tags.get(&key).copied());
        let tag = match known {
            Some(tag) => tag,
            None => {
                self.work.spend(work::VERIFY);
                if self.work.is_over() {
                    return None;
                }
                let tag = self.recognizer.keys.read(text).ok();
                if self.known_tags.len() < MAX_KNOWN_TAGS {
                    self.known_tags.insert(key, tag);
                }
                tag
            }
        };
        self.last_tag = Some((key, tag));
        self.foreign_tags += u64::from(tag.is_none());
        tag
    }

    /// A copy was found.
    fn copy_begins(&mut self) {
        self.repeats_left = self.repeats_left.saturating_add(MAX_REPEATS_OF_COPY);
    }

    /// One more hit of a copy was found.
    fn copy_repeats(&mut self) {
        match self.repeats_left.checked_sub(1) {
            Some(left) => self.repeats_left = left,
            None => self.work.end(),
        }
    }

    /// Whether one more hit of a trace may be compared with what was sent.
    fn may_compare(&mut self, tag: &Tag) -> bool {
        let compared = self.compared.entry(tag.trace).or_default();
        let may = *compared < MAX_COMPARED;
        *compared += u8::from(may);
        may
    }

    /// How many more bytes decompression may give.
    fn room(&self) -> u64 {
        if self.work.is_over() {
            return 0;
        }
        self.limits.max_inflated_bytes.saturating_sub(self.inflated_bytes)
    }

    /// How many of `len` more inflated bytes are within the limit.
    fn allow_inflated(&mut self, len: usize) -> usize {
        let allowed = usize::try_from(self.room()).map_or(len, |left| left.min(len));
        self.inflated_bytes += allowed as u64;
        self.work.inflated(allowed);
        allowed
    }

    /// Whether `len` more bytes may be held; they then are, until they are released.
    fn hold(&mut self, len: usize) -> bool {
        let fits = len <= self.limits.max_held_bytes - self.held_bytes;
        if fits {
            self.held_bytes += len;
            self.work.spend(len as u64 * work::HELD_BYTE);
        }
        fits
    }

    fn release(&mut self, len: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(len);
    }

    fn limit_copies(&mut self, copies: &mut Vec<Copy>) {
        if copies.len() > self.limits.max_copies {
            copies.truncate(self.limits.max_copies);
            self.unreadable(Shape::NONE, UnreadableReason::OverLimit);
        }
    }
}

/// A copy that a layer found.
#[derive(Clone, Copy)]
struct Copy {
    tag: Tag,
    integrity: Integrity,
    found_in: FoundIn,
    /// What stands around it does not repeat itself, as if a compressor had taken out what does.
    compressed: bool,
}

impl Copy {
    /// Takes in another hit of the same copy: it is as whole as its best field.
    fn join(&mut self, other: Integrity) {
        self.integrity = match (self.integrity, other) {
            (Integrity::Intact, _) | (_, Integrity::Intact) => Integrity::Intact,
            (Integrity::Unchecked, other) => other,
            (corrupted @ Integrity::Corrupted { .. }, _) => corrupted,
        };
    }
}

#[cfg(test)]
mod tests;
