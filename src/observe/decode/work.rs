//! Bounds the work on one record or object, whatever is in it.
//!
//! What costs more than a few instructions a byte is counted: tags that are verified, copies that are
//! compared, members and runs of base64 that are opened. Each has a price in *units*, about a nanosecond on a
//! current processor. A record starts with an allowance, and earns more with every byte that arrives and
//! every byte that is inflated, since whoever sends many bytes may expect that they are read. When it is
//! spent, the scan is over and the rest is not read.
//!
//! Units are counted rather than time measured, because two reads of a record must find the same copies. Only
//! what would hold up a poll is ended by the clock: see [`Halt`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::format::Format;

/// Earned by a byte that arrives. Half of what a byte may cost that is not compressed: 50 ms a MB are 50.
const PER_BYTE: u64 = 16;
/// So many inflated bytes earn one unit. Inflating and searching a bomb takes 0.2 ns a byte; what takes longer
/// has more bytes that arrive.
const INFLATED_BYTES: u64 = 32;
/// Units between two checks of [`Halt`]: about a millisecond, and not more than 50 on a quarter of a processor.
const CHECK_EVERY: u64 = 1_000_000;

/// Price of one HMAC.
pub(super) const VERIFY: u64 = 700;
/// Price of a tag that has been verified before.
pub(super) const KNOWN_TAG: u64 = 40;
/// Price of a marker, whatever follows on it.
pub(super) const MARKER: u64 = 10;
/// Price of a byte that may be part of a border between records.
pub(super) const BORDER: u64 = 3;
/// Price of comparing one byte of a copy with what was sent, in the same order.
pub(super) const COMPARE: u64 = 2;
/// Price of comparing one byte in any order.
pub(super) const COMPARE_ALL: u64 = 3;
/// Price of looking whether a byte around a copy repeats what stood before.
pub(super) const GRAM: u64 = 20;
/// Price of making a decoder.
pub(super) const DECODER: u64 = 3_000;
/// Price of making one for zstd.
pub(super) const ZSTD_DECODER: u64 = 16_000;
/// Price of making one for bzip2, which clears memory for a block of 900 KB.
pub(super) const BZIP2_DECODER: u64 = 80_000;
/// Price of a number that is packed by the bit.
pub(super) const NUMBER: u64 = 6;
/// Price of a value of a column that is too short to be searched.
pub(super) const SHORT_VALUE: u64 = 2;
/// Price of one that is put to the others, beyond searching it.
pub(super) const VALUE: u64 = 15;
/// Price of decoding a character of base64.
pub(super) const BASE64_DIGIT: u64 = 1;
/// Price of looking into a record of an aggregate, beyond its steps.
pub(super) const SUB_RECORD: u64 = 100;
/// Price of looking into something else within: a file of an archive, a run of base64.
pub(super) const LAYER: u64 = 400;
/// Price of a run that is the same as the one before.
pub(super) const REPEATED_RUN: u64 = 15;
/// Price of a short run of base64 that holds nothing, beyond that.
pub(super) const IDLE_RUN: u64 = 100;
/// Price of a step that may take a single byte.
pub(super) const STEP: u64 = 25;
/// Price of a byte of text with which a member may begin.
pub(super) const COMPARED: u64 = 10;
/// Price of handing inflated bytes on, however few.
pub(super) const PUSH: u64 = 200;
/// Price of an element of a Snappy block, whose header is read.
pub(super) const ELEMENT: u64 = 4;
/// So many bytes of UTF-16 cost one unit.
pub(super) const UTF16_BYTES: u64 = 2;
/// So many bytes that are searched as they are, and may be so again, cost one unit.
pub(super) const RAW_BYTES: u64 = 8;
/// Price of a byte of the header or footer of a container.
pub(super) const FIELD_BYTE: u64 = 4;

/// Price of making the decoder of a format.
pub(super) const fn decoder(format: Format) -> u64 {
    match format {
        Format::Zstd => ZSTD_DECODER,
        Format::Bzip2 => BZIP2_DECODER,
        _ => DECODER,
    }
}

/// Price of a byte that is held: it is copied, into memory that is often new, and a checksum may be taken.
pub(super) const HELD_BYTE: u64 = 1;

/// Ends a scan from outside; clones end the same scan.
///
/// A scan looks at it at least every 50 ms. It then returns what it found so far, and reports the rest as
/// unreadable.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Ends the scan soon.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the scan is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The work on one record or object.
#[derive(Debug)]
pub(super) struct Work {
    left: u64,
    halt: Halt,
    /// Units since the last check of `halt`.
    unchecked: u64,
    over: bool,
}

impl Work {
    pub(super) const fn new(allowance: u64, halt: Halt) -> Self {
        Self { left: allowance, halt, unchecked: 0, over: false }
    }

    /// Whether the rest is not to be read.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Ends the scan.
    pub(super) const fn end(&mut self) {
        self.over = true;
    }

    /// So many bytes arrived.
    pub(super) fn arrived(&mut self, len: usize) {
        self.left = self.left.saturating_add(len as u64 * PER_BYTE);
        self.count(len as u64);
    }

    /// So many bytes were inflated.
    pub(super) fn inflated(&mut self, len: usize) {
        self.left = self.left.saturating_add(len as u64 / INFLATED_BYTES);
        self.count(len as u64);
    }

    /// Pays for work that is about to be done.
    pub(super) fn spend(&mut self, units: u64) {
        match self.left.checked_sub(units) {
            Some(left) => self.left = left,
            None => self.over = true,
        }
        self.count(units);
    }

    /// Work was done that has no price.
    pub(super) fn count(&mut self, units: u64) {
        self.unchecked += units;
        if self.unchecked >= CHECK_EVERY {
            self.unchecked = 0;
            self.over |= self.halt.is_set();
        }
    }
}
