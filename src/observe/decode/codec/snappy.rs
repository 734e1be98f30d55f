//! Snappy: bare blocks, and the three frames that are put around them.

use std::ops::RangeInclusive;

use snap::raw::{Decoder, decompress_len};

use super::super::work::{self, Work};
use super::{Codec, Gather, MAX_BLOCK, Output, Step, has_text};
use crate::domain::format::UnreadableReason;

/// A copy of 64 bytes takes 3, so a block does not grow more than this.
const MAX_RATIO: usize = 22;

/// Decompresses one block of at most `max` bytes, whose stated size is checked first.
pub(in super::super) fn snappy_block(
    block: &[u8],
    max: usize,
    out: &mut Output,
) -> Result<(), UnreadableReason> {
    let len = decompress_len(block).map_err(|_| UnreadableReason::Damaged)?;
    if len > block.len().saturating_mul(MAX_RATIO) {
        return Err(UnreadableReason::Damaged);
    }
    if len > max {
        return Err(UnreadableReason::OverLimit);
    }
    let given = out.fill(len, |room| Decoder::new().decompress(block, room).map(|len| (len, ())));
    given.map_err(|_| UnreadableReason::Damaged)
}

/// The framing format ("Snappy framing format description", 2013-10-25). It has no end mark. Checksums are
/// skipped.
#[derive(Debug, Default)]
pub(in super::super) struct SnappyFramed {
    gather: Gather,
    begun: bool,
    /// The chunk that is being gathered: its type and length.
    chunk: Option<(u8, usize)>,
}

/// The chunk that begins a stream: its type and length, and a name.
const IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// Most that a chunk holds when decompressed.
const FRAMED_BLOCK: usize = 64 << 10;
const CRC_LEN: usize = 4;
/// How long a chunk of data can be.
const FRAMED_CHUNK: RangeInclusive<usize> = CRC_LEN..=CRC_LEN + FRAMED_BLOCK + FRAMED_BLOCK / 6 + 32;

impl Codec for SnappyFramed {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let Some((kind, len)) = self.chunk else {
            let mut rest = input;
            let Some(header) = self.gather.take(&mut rest, 4) else {
                return Step::more(input.len());
            };
            let (kind, len) = (header[0], u32::from_le_bytes([header[1], header[2], header[3], 0]) as usize);
            let taken = input.len() - rest.len();
            // Reserved chunks that may not be skipped; and what is longer than a chunk of data can be is
            // none.
            let too_long = kind < 2 && !FRAMED_CHUNK.contains(&len);
            if (2..0x80).contains(&kind) || too_long {
                return if self.begun { Step::whole(taken) } else { Step::damaged(taken) };
            }
            self.begun = true;
            self.gather.clear();
            // Padding may be empty; then there is nothing to gather.
            self.chunk = (len > 0).then_some((kind, len));
            return Step::more(taken);
        };
        let mut rest = input;
        let Some(chunk) = self.gather.take(&mut rest, len) else {
            return Step::more(input.len());
        };
        let result = match kind {
            0 => snappy_block(&chunk[CRC_LEN..], FRAMED_BLOCK, out),
            1 => {
                out.extend(&chunk[CRC_LEN..]);
                Ok(())
            }
            0xff if *chunk != IDENTIFIER[4..] => Err(UnreadableReason::Damaged),
            // They are padding, or an index; in the midst of a log, one would hide lines of others.
            0x80..0xff if has_text(chunk) => Err(UnreadableReason::UnknownFormat),
            _ => Ok(()),
        };
        self.chunk = None;
        self.gather.clear();
        match result {
            Ok(()) => Step::more(input.len() - rest.len()),
            Err(reason) => Step::fault(input.len() - rest.len(), reason),
        }
    }

    fn may_end(&self) -> bool {
        self.begun && self.chunk.is_none()
    }

    fn leftover(&mut self) -> Vec<u8> {
        self.gather.leftover()
    }
}

/// Bare blocks behind their lengths, as Hadoop (the total before each group) and `snappy-java` (after a
/// header) write them. They have no end mark.
#[derive(Debug)]
pub(in super::super) struct SnappyBlocks {
    gather: Gather,
    state: State,
    hadoop: bool,
    /// How much the group of blocks must still give.
    missing: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The header of xerial: magic, version, compatible version.
    Header,
    /// The size of a group of blocks.
    Total,
    Len,
    Block(usize),
}

/// `\x82SNAPPY\0` and two numbers (`SnappyCodec` of snappy-java).
const XERIAL_HEADER: usize = 16;

impl SnappyBlocks {
    pub(in super::super) fn hadoop() -> Self {
        Self { gather: Gather::default(), state: State::Total, hadoop: true, missing: 0 }
    }

    pub(in super::super) fn xerial() -> Self {
        Self { gather: Gather::default(), state: State::Header, hadoop: false, missing: 0 }
    }

    /// Takes one number or block; whether something else begins here.
    fn take(&mut self, input: &mut &[u8], out: &mut Output) -> Result<bool, UnreadableReason> {
        let wanted = match self.state {
            State::Header => XERIAL_HEADER,
            State::Total | State::Len => 4,
            State::Block(len) => len,
        };
        let Some(bytes) = self.gather.take(input, wanted) else {
            return Ok(false);
        };
        let number = || bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four) as usize);
        self.state = match self.state {
            State::Header => State::Len,
            State::Total if number() > MAX_BLOCK => return Ok(true),
            State::Total => {
                self.missing = number();
                // An empty group is how some writers end.
                if self.missing == 0 { State::Total } else { State::Len }
            }
            State::Len if number() > MAX_BLOCK + MAX_BLOCK / 6 + 32 => {
                return if self.hadoop { Err(UnreadableReason::Damaged) } else { Ok(true) };
            }
            State::Len => State::Block(number()),
            State::Block(_) => {
                let start = out.len();
                let max = if self.hadoop { self.missing } else { MAX_BLOCK };
                snappy_block(bytes, max, out)?;
                self.missing = self.missing.saturating_sub(out.len() - start);
                if self.hadoop && self.missing == 0 { State::Total } else { State::Len }
            }
        };
        self.gather.clear();
        Ok(false)
    }
}

impl Codec for SnappyBlocks {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let mut rest = input;
        let result = self.take(&mut rest, out);
        let taken = input.len() - rest.len();
        match result {
            Ok(false) => Step::more(taken),
            Ok(true) => Step::whole(taken),
            Err(reason) => Step::fault(taken, reason),
        }
    }

    fn may_end(&self) -> bool {
        match self.state {
            State::Total => true,
            State::Len => !self.hadoop,
            State::Header | State::Block(_) => false,
        }
    }

    fn leftover(&mut self) -> Vec<u8> {
        self.gather.leftover()
    }
}

/// Checks that bytes which come in pieces are one bare block, without decompressing it. Ordinary text stops
/// being one within its first bytes; what passes to its end is Snappy with near certainty, because every copy
/// must refer to what is there and the sizes must agree.
#[derive(Debug, Default)]
pub(in super::super) struct SnappyWalk {
    /// The header of the element that is being read, as far as it came: no more than five bytes.
    header: [u8; 5],
    header_len: usize,
    /// Stated size.
    total: Option<u64>,
    given: u64,
    /// How many bytes of a literal come next.
    literal: u64,
}

impl SnappyWalk {
    /// Whether these are one block.
    pub(in super::super) fn is_block(mut bytes: &[u8]) -> bool {
        let mut walk = Self::default();
        walk.walk(&mut bytes, &mut 0) && walk.is_whole()
    }

    /// Goes on; `false` when it is none.
    pub(in super::super) fn push(&mut self, mut bytes: &[u8], work: &mut Work) -> bool {
        let mut headers = 0;
        let goes_on = self.walk(&mut bytes, &mut headers);
        work.spend(headers * work::ELEMENT);
        goes_on
    }

    /// Goes on, and counts the bytes of headers.
    fn walk(&mut self, bytes: &mut &[u8], headers: &mut u64) -> bool {
        while let Some(byte) = bytes.first() {
            if self.literal > 0 {
                let skipped = self.literal.min(bytes.len() as u64);
                self.literal -= skipped;
                *bytes = &bytes[usize::try_from(skipped).unwrap_or(bytes.len())..];
                continue;
            }
            let Some(place) = self.header.get_mut(self.header_len) else {
                return false;
            };
            *place = *byte;
            self.header_len += 1;
            *bytes = &bytes[1..];
            *headers += 1;
            let fits = match self.total {
                None => self.preamble(),
                Some(total) => self.element(total),
            };
            if !fits {
                return false;
            }
        }
        true
    }

    /// Whether the block is complete.
    pub(in super::super) fn is_whole(&self) -> bool {
        self.header_len == 0 && self.literal == 0 && self.total.is_some_and(|total| total == self.given)
    }

    fn preamble(&mut self) -> bool {
        let header = &self.header[..self.header_len];
        if header.last().is_some_and(|last| *last < 0x80) {
            let number = header.iter().rev().fold(0, |all, byte| all << 7 | u64::from(byte & 0x7f));
            self.total = Some(number);
            self.header_len = 0;
            return number > 0 && u32::try_from(number).is_ok();
        }
        self.header_len < 5
    }

    fn element(&mut self, total: u64) -> bool {
        let tag = self.header[0];
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let rest = &self.header[1..self.header_len];
        let (len, offset) = match tag & 3 {
            0 => {
                let short = u64::from(tag >> 2);
                let extra = short.saturating_sub(59) as usize;
                if rest.len() < extra {
                    return true;
                }
                let len = if extra == 0 { short + 1 } else { number(rest) + 1 };
                self.literal = len;
                (len, None)
            }
            1 if rest.is_empty() => return true,
            1 => (u64::from(tag >> 2 & 7) + 4, Some(u64::from(tag >> 5) << 8 | number(rest))),
            2 if rest.len() < 2 => return true,
            3 if rest.len() < 4 => return true,
            _ => (u64::from(tag >> 2) + 1, Some(number(rest))),
        };
        if offset.is_some_and(|offset| offset == 0 || offset > self.given) {
            return false;
        }
        self.given += len;
        self.header_len = 0;
        self.given <= total
    }
}
