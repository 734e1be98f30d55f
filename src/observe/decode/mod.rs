//! Bytes in, canaries out.
//!
//! Records are decoded by what they are, not by configuration: what begins like gzip, zstd or a KPL aggregate is
//! opened, long runs of base64 inside text are opened, and what comes out is looked at in the same way again, down to
//! a bounded depth. Everything else is text, in which the marker is searched as a substring; JSON is never parsed to
//! find a tag, so a line that no parser would take still gives up its canary.
//!
//! It is push-style and works through a small window: an object of hundreds of megabytes takes no more memory than a
//! short one. The result depends on the bytes alone, never on how they were cut into chunks, because the ordinal of
//! a copy within its record is part of the locator by which two reads of one copy are told from two copies.
//!
//! It must never panic on what it is fed, and never give up what was found before a fault.
//!
//! # What counts as one copy
//!
//! A pipeline may write the tag twice for one log event (the raw line beside its parsed fields), and may store two
//! events side by side. Two hits of one trace are **one copy** unless something between them says that another
//! record began:
//!
//! * a line break, or the border of a KPL sub-record: always two;
//! * the end of a JSON object directly before the start of the next (`}{`, `},{`, `}","{`, however escaped), or an
//!   escaped line break (`\n`) that is followed by more than a quote: two if the tags are also at least the canary's
//!   size apart, since a whole canary must fit between them. Within base64 the distance says nothing, so there the
//!   border alone makes two. This tells two `logEvents` of one CloudWatch envelope apart, and keeps together
//!   `[{"k":"trace_id","v":"…"},{"k":"id","v":"…"}]`.

mod base64;
mod kpl;
mod layer;
mod text;

use crate::domain::canary::Integrity;
use crate::domain::tag::Tag;

use self::layer::Layer;
use super::Recognizer;

/// How far decoding goes. What is beyond is counted as a decoding error and skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many wrappers are taken off, one inside the other.
    pub max_depth: usize,
    /// How many bytes gzip and zstd may give in all, for one record or object.
    pub max_inflated_bytes: u64,
    /// Largest KPL aggregate, in bytes; unlike all else it must be held whole, because its checksum is at its end.
    pub max_kpl_bytes: usize,
    /// How many sub-records of a KPL aggregate are looked into.
    pub max_kpl_records: usize,
    /// How many copies of canaries are reported.
    pub max_copies: usize,
}

impl Limits {
    /// For one record of a stream.
    pub const RECORD: Self = Self {
        max_depth: 8,
        // A CloudWatch Logs subscription fills a record of up to 1 MiB with gzip; well-compressing logs reach 50:1.
        max_inflated_bytes: 128 << 20,
        // A Kinesis record is at most 10 MiB (Kinesis API reference, UpdateMaxRecordSize).
        max_kpl_bytes: 10 << 20,
        max_kpl_records: 100_000,
        max_copies: 10_000,
    };

    /// For one object of a store.
    pub const OBJECT: Self = Self { max_inflated_bytes: 1 << 30, max_copies: 100_000, ..Self::RECORD };
}

/// One stored copy of a canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What its tag says; the tag has been verified.
    pub tag: Tag,
    /// How the copy compares with what was sent.
    pub integrity: Integrity,
    /// Which copy in its record or object: the first is `0`. The same in every read of the same bytes.
    pub place: String,
}

/// What a record or object held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    /// The copies, in the order in which they stand.
    pub found: Vec<Found>,
    /// Parts that could not be decoded: garbage, truncated, too deep, too large.
    pub decode_errors: u64,
    /// A limit of ours ended the search before the end, so a canary that was not found may be in it all the same.
    pub cut: bool,
    /// Whole tags that none of our keys signed.
    pub foreign_tags: u64,
    /// Bytes that gzip and zstd gave.
    pub inflated_bytes: u64,
}

/// Scans one record or object that comes in pieces.
pub struct Scanner {
    context: Context,
    layer: Layer,
}

impl Scanner {
    /// A scanner for one record or object.
    #[must_use]
    pub fn new(recognizer: Recognizer, limits: Limits) -> Self {
        let context =
            Context { recognizer, limits, inflated_bytes: 0, decode_errors: 0, cut: false, foreign_tags: 0 };
        Self { context, layer: Layer::new(0) }
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.layer.push(bytes, &mut self.context);
    }

    /// Notes that the rest is not fetched. What was pushed is still searched.
    pub fn cut_short(&mut self) {
        self.context.cut();
    }

    /// Ends the record or object.
    #[must_use]
    pub fn finish(mut self) -> Scan {
        let mut copies = self.layer.finish(&mut self.context);
        self.context.limit_copies(&mut copies);
        let found = copies.into_iter().enumerate().map(|(at, copy)| Found {
            tag: copy.tag,
            integrity: copy.integrity,
            place: at.to_string(),
        });
        Scan {
            found: found.collect(),
            decode_errors: self.context.decode_errors,
            cut: self.context.cut,
            foreign_tags: self.context.foreign_tags,
            inflated_bytes: self.context.inflated_bytes,
        }
    }
}

/// Scans a record that is at hand.
#[must_use]
pub fn scan_record(recognizer: &Recognizer, limits: Limits, record: &[u8]) -> Scan {
    let mut scanner = Scanner::new(recognizer.clone(), limits);
    scanner.push(record);
    scanner.finish()
}

/// What all layers of one record share.
struct Context {
    recognizer: Recognizer,
    limits: Limits,
    inflated_bytes: u64,
    decode_errors: u64,
    cut: bool,
    foreign_tags: u64,
}

impl Context {
    /// Something could not be decoded by anybody.
    fn fault(&mut self) {
        self.decode_errors += 1;
    }

    /// Something was not looked into because of a limit of ours.
    fn cut(&mut self) {
        self.decode_errors += 1;
        self.cut = true;
    }

    /// How many of `len` more inflated bytes are within the limit.
    fn allow_inflated(&mut self, len: usize) -> usize {
        let left = self.limits.max_inflated_bytes.saturating_sub(self.inflated_bytes);
        let allowed = usize::try_from(left).map_or(len, |left| left.min(len));
        self.inflated_bytes += allowed as u64;
        allowed
    }

    fn limit_copies(&mut self, copies: &mut Vec<Copy>) {
        if copies.len() > self.limits.max_copies {
            copies.truncate(self.limits.max_copies);
            self.cut();
        }
    }
}

/// A copy that a layer found.
#[derive(Clone, Copy)]
struct Copy {
    tag: Tag,
    integrity: Integrity,
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
