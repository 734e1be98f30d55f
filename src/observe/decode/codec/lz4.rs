//! LZ4 frames ("LZ4 Frame Format Description" 1.6.2), current and legacy.
//!
//! Checksums are skipped: they would need a hash of their own, and a damaged block does not go unnoticed for
//! long.

use lz4_flex::block::{decompress_into, decompress_into_with_dict};

use super::{Codec, Gather, Output, Step};
use crate::domain::format::UnreadableReason;

const MAGIC_LEN: usize = 4;
/// How far back a block may refer to earlier ones.
const HISTORY: usize = 64 << 10;
/// Every block of a legacy frame but the last has this size.
const LEGACY_BLOCK: usize = 8 << 20;
/// LZ4 makes no more than this of one byte.
const MAX_RATIO: usize = 255;

/// A decoder of LZ4 frames.
#[derive(Debug, Default)]
pub(in super::super) struct Lz4 {
    gather: Gather,
    header: Option<Header>,
    /// The block that is being gathered: its length, and whether it is compressed.
    block: Option<(usize, bool)>,
    history: Vec<u8>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    max_block: usize,
    linked: bool,
    block_checksum: bool,
    content_checksum: bool,
}

impl Header {
    /// Reads FLG and BD. `Err` where the frame is damaged or cannot be read.
    fn of(flags: u8, block: u8) -> Result<Self, UnreadableReason> {
        if flags >> 6 != 1 || flags & 0b10 != 0 || block & 0x8f != 0 {
            return Err(UnreadableReason::Damaged);
        }
        if flags & 1 != 0 {
            // It needs a dictionary that stands elsewhere.
            return Err(UnreadableReason::UnknownFormat);
        }
        let max_block = match block >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(UnreadableReason::Damaged),
        };
        Ok(Self {
            max_block,
            linked: flags & 0x20 == 0,
            block_checksum: flags & 0x10 != 0,
            content_checksum: flags & 0x04 != 0,
        })
    }
}

impl Codec for Lz4 {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let mut rest = input;
        let end = self.go_on(&mut rest, out);
        let taken = input.len() - rest.len();
        match end {
            Ok(false) => Step::more(taken),
            Ok(true) => Step::whole(taken),
            Err(reason) => Step::fault(taken, reason),
        }
    }
}

impl Lz4 {
    /// Reads one header or block; whether the frame has ended.
    fn go_on(&mut self, input: &mut &[u8], out: &mut Output) -> Result<bool, UnreadableReason> {
        let Some(header) = self.header else {
            let Some(start) = self.gather.take(input, MAGIC_LEN + 2) else {
                return Ok(false);
            };
            let flags = start[MAGIC_LEN];
            let header = Header::of(flags, start[MAGIC_LEN + 1])?;
            // The size of the content, if it is stated, and the checksum of the header.
            let len = MAGIC_LEN + 2 + if flags & 0x08 == 0 { 1 } else { 9 };
            if self.gather.take(input, len).is_some() {
                self.header = Some(header);
                self.gather.clear();
            }
            return Ok(false);
        };
        if self.ended {
            return Ok(self.gather.take(input, 4).is_some());
        }
        let Some((len, compressed)) = self.block else {
            let Some(size) = self.gather.take(input, 4) else {
                return Ok(false);
            };
            let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]);
            self.gather.clear();
            if size == 0 {
                self.ended = true;
                return Ok(!header.content_checksum);
            }
            let len = (size & 0x7fff_ffff) as usize;
            if len > header.max_block {
                return Err(UnreadableReason::Damaged);
            }
            // An empty block has nothing to gather, unless its checksum.
            if len > 0 || header.block_checksum {
                self.block = Some((len, size >> 31 == 0));
            }
            return Ok(false);
        };
        let whole = len + if header.block_checksum { 4 } else { 0 };
        let Some(block) = self.gather.take(input, whole) else {
            return Ok(false);
        };
        let block = &block[..len];
        let start = out.len();
        if compressed {
            let size = header.max_block.min(len.saturating_mul(MAX_RATIO));
            let given = out.fill(size, |room| {
                decompress_into_with_dict(block, room, &self.history).map(|len| (len, ()))
            });
            given.map_err(|_| UnreadableReason::Damaged)?;
        } else {
            out.extend(block);
        }
        if header.linked {
            self.history.extend_from_slice(&out[start..]);
            // Not for each block, which may give a single byte.
            if self.history.len() > 2 * HISTORY {
                let old = self.history.len() - HISTORY;
                self.history.drain(..old);
            }
        }
        self.block = None;
        self.gather.clear();
        Ok(false)
    }
}

/// A legacy frame, as `lz4 -l` and the Linux kernel's build write it. It has no end mark.
#[derive(Debug, Default)]
pub(in super::super) struct Lz4Legacy {
    gather: Gather,
    begun: bool,
    block: Option<usize>,
}

impl Codec for Lz4Legacy {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let mut rest = input;
        let result = self.go_on(&mut rest, out);
        let taken = input.len() - rest.len();
        match result {
            Ok(false) => Step::more(taken),
            Ok(true) => Step::whole(taken),
            Err(reason) => Step::fault(taken, reason),
        }
    }

    fn may_end(&self) -> bool {
        self.begun && self.block.is_none()
    }

    fn leftover(&mut self) -> Vec<u8> {
        self.gather.leftover()
    }
}

impl Lz4Legacy {
    /// Takes the length of a block, or a block; whether something else begins here.
    fn go_on(&mut self, input: &mut &[u8], out: &mut Output) -> Result<bool, UnreadableReason> {
        let wanted = self.block.unwrap_or(4);
        let Some(bytes) = self.gather.take(input, wanted) else {
            return Ok(false);
        };
        if self.block.is_some() {
            lz4_block(bytes, LEGACY_BLOCK, out)?;
            self.block = None;
        } else if self.begun {
            let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
            if len == 0 || len > LEGACY_BLOCK + LEGACY_BLOCK / MAX_RATIO + 16 {
                return Ok(true);
            }
            self.block = Some(len);
        } else {
            self.begun = true;
        }
        self.gather.clear();
        Ok(false)
    }
}

/// Decompresses one block of at most `max` bytes.
pub(in super::super) fn lz4_block(
    block: &[u8],
    max: usize,
    out: &mut Output,
) -> Result<(), UnreadableReason> {
    let size = max.min(block.len().saturating_mul(MAX_RATIO));
    let given = out.fill(size, |room| decompress_into(block, room).map(|len| (len, ())));
    given.map_err(|_| UnreadableReason::Damaged)
}
