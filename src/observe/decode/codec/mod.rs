//! Streams of compressed bytes: one step takes some input and gives some output.
//!
//! A codec never holds more than one block of its format, and checks the size that a block states before it
//! makes room for it. What it gave before a fault stays given.

mod bzip2;
mod inflate;
mod lz4;
mod output;
mod snappy;
mod zstd;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) use self::bzip2::Bzip2;
pub(super) use self::inflate::{Gzip, Inflate};
pub(super) use self::lz4::{Lz4, Lz4Legacy, lz4_block};
pub(super) use self::output::Output;
pub(super) use self::snappy::{SnappyBlocks, SnappyFramed, SnappyWalk, snappy_block};
pub(super) use self::zstd::Zstd;
use crate::domain::format::{Format, UnreadableReason};

/// Bytes that are given out at a time, unless a format has larger blocks.
pub(super) const PIECE: usize = 32 << 10;
/// Largest block of the frames that leave it open. Hadoop writes 256 KiB, snappy-java 32 KiB.
const MAX_BLOCK: usize = 4 << 20;

/// A stream that is being decompressed.
pub(super) trait Codec: Send {
    /// Takes some of `input` and appends what it gives to `out`. A step that neither takes nor gives needs
    /// more input.
    ///
    /// It must not give more than one piece or block, so that a bomb is noticed before it has gone off.
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step;

    /// Whether the stream may end here, although it did not say so.
    fn may_end(&self) -> bool {
        false
    }

    /// What was taken after the end of the stream. Some formats have no end mark, so only what follows tells.
    fn leftover(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// How much of the input was taken.
    pub(super) taken: usize,
    /// How the stream ended, if it did.
    pub(super) end: Option<End>,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// All of it was given, and its checksum is right where it is checked.
    Whole,
    /// It could not be read on.
    Fault(UnreadableReason),
}

impl Step {
    pub(super) const fn more(taken: usize) -> Self {
        Self { taken, end: None }
    }

    pub(super) const fn whole(taken: usize) -> Self {
        Self { taken, end: Some(End::Whole) }
    }

    pub(super) const fn fault(taken: usize, reason: UnreadableReason) -> Self {
        Self { taken, end: Some(End::Fault(reason)) }
    }

    pub(super) const fn damaged(taken: usize) -> Self {
        Self::fault(taken, UnreadableReason::Damaged)
    }
}

/// The codec of a format that is one stream; `None` where it is not.
pub(super) fn codec(format: Format) -> Option<Box<dyn Codec>> {
    match format {
        Format::Gzip => Some(Box::<Gzip>::default()),
        Format::Zlib => Some(Box::new(Inflate::zlib())),
        Format::Zstd => Some(Box::new(Zstd::default())),
        Format::Bzip2 => Some(Box::new(Bzip2::new())),
        Format::Lz4 => Some(Box::new(Lz4::default())),
        Format::Lz4Legacy => Some(Box::new(Lz4Legacy::default())),
        Format::SnappyFramed => Some(Box::new(SnappyFramed::default())),
        Format::SnappyHadoop => Some(Box::new(SnappyBlocks::hadoop())),
        Format::SnappyXerial => Some(Box::new(SnappyBlocks::xerial())),
        _ => None,
    }
}

/// Calls a decoder that is not ours, and makes a fault of its panic: whoever can write a record must not end
/// the probe.
pub(super) fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, UnreadableReason> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|_| UnreadableReason::DecoderPanic)
}

/// Printable characters and line breaks in a row that no table of numbers has.
const TEXT_RUN: usize = 32;

/// Whether text stands in what a format skips.
fn has_text(bytes: &[u8]) -> bool {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    bytes.chunk_by(|one, next| is_text(one) && is_text(next)).any(|run| run.len() >= TEXT_RUN)
}

/// Collects the bytes of something whose length is known.
#[derive(Debug, Default)]
pub(super) struct Gather(Vec<u8>);

impl Gather {
    /// Takes from `input` until `len` bytes are at hand; gives them, once they are.
    pub(super) fn take<'a>(&'a mut self, input: &mut &[u8], len: usize) -> Option<&'a [u8]> {
        let missing = len.saturating_sub(self.0.len()).min(input.len());
        let (first, rest) = input.split_at(missing);
        self.0.extend_from_slice(first);
        *input = rest;
        (self.0.len() >= len).then(|| &self.0[..len])
    }

    /// Forgets what was gathered.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives away what was gathered.
    pub(super) fn leftover(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}
