//! Avro object container files (Avro 1.11 specification, "Object Container Files").
//!
//! Blocks are decompressed and searched without the schema: strings and bytes stand in them as they are. What
//! is compressed once more within a value is found by its magic, as in text.

use super::codec::{Bzip2, Codec, End, Gather, Inflate, Output, Zstd, guarded, snappy_block};
use super::layer::Layer;
use super::part::{Part, Trust, search_raw};
use super::work::{self, Work};
use super::{Context, Copy};
use crate::domain::format::{Format, Shape, UnreadableReason};

const MAGIC_LEN: usize = 4;
const SYNC_LEN: usize = 16;
/// Most that the header may hold; most of it is the schema.
const MAX_HEADER: usize = 1 << 20;
/// The checksum after a block of Snappy.
const CRC_LEN: usize = 4;
/// What may stand behind the end of a stream in its block: some writers leave zlib's checksum there.
const MAX_TRAILING: u64 = 4;

pub(super) struct Avro {
    depth: usize,
    shape: Shape,
    state: State,
    header: Vec<u8>,
    /// How far the header was read.
    progress: Progress,
    packing: Packing,
    sync: [u8; SYNC_LEN],
    gather: Gather,
    inner: Layer,
    /// What a step of a codec gives; its memory is used again.
    out: Output,
    copies: Vec<Copy>,
}

enum State {
    Header,
    /// The number of values and the size of a block, as far as they came.
    Sizes(Vec<u8>),
    Block {
        left: u64,
        codec: Option<Box<dyn Codec>>,
    },
    /// What a block has behind the end of its stream.
    Trailing(u64),
    Snappy(usize),
    Sync,
    /// What cannot be read is still searched.
    Rest(Box<Part>),
}

#[derive(Clone, Copy)]
enum Packing {
    Null,
    Deflate,
    Snappy,
    Zstd,
    Bzip2,
    Other(Format),
}

impl Avro {
    pub(super) fn new(depth: usize, shape: Shape) -> Self {
        Self {
            depth,
            shape,
            state: State::Header,
            header: Vec::new(),
            progress: Progress::default(),
            out: Output::default(),
            packing: Packing::Null,
            sync: [0; SYNC_LEN],
            gather: Gather::default(),
            inner: Layer::values(depth + 1, shape, Trust::Values),
            copies: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], context: &mut Context) {
        while !input.is_empty() && !context.work.is_over() {
            if let Err(reason) = self.step(&mut input, context) {
                self.give_up(reason, context);
            }
        }
    }

    pub(super) fn finish(mut self, context: &mut Context) -> Vec<Copy> {
        if let State::Snappy(len) = self.state {
            context.release(len);
        }
        match &self.state {
            State::Rest(_) => {}
            State::Sizes(sizes) if sizes.is_empty() => {}
            State::Header
            | State::Sizes(_)
            | State::Block { .. }
            | State::Trailing(_)
            | State::Snappy(_)
            | State::Sync => {
                context.unreadable(self.shape, UnreadableReason::Truncated);
            }
        }
        let mut copies = self.inner.finish(context).copies;
        copies.append(&mut self.copies);
        if let State::Rest(part) = self.state {
            copies.append(&mut part.finish(context).copies);
        } else if matches!(self.state, State::Header) {
            // So short that it need not be Avro at all.
            let mut part = Part::skipped(self.depth, self.shape);
            part.push(&self.header, context);
            copies.append(&mut part.finish(context).copies);
        }
        copies
    }

    fn give_up(&mut self, reason: UnreadableReason, context: &mut Context) {
        let (shape, mut part) = match self.packing {
            Packing::Other(format) if reason == UnreadableReason::UnknownFormat => {
                (self.shape.then(format), Part::new(self.depth, self.shape, Trust::Judge).undecoded(format))
            }
            _ => (self.shape, Part::skipped(self.depth, self.shape)),
        };
        context.unreadable(shape, reason);
        part.push(&std::mem::take(&mut self.header), context);
        self.state = State::Rest(Box::new(part));
    }

    fn step(&mut self, input: &mut &[u8], context: &mut Context) -> Result<(), UnreadableReason> {
        match &mut self.state {
            State::Rest(part) => {
                part.push(input, context);
                *input = &[];
            }
            State::Header => return self.take_header(input, context),
            State::Sizes(sizes) => {
                sizes.push(input[0]);
                *input = &input[1..];
                let mut rest = sizes.as_slice();
                let known = long(&mut rest).and_then(|_| long(&mut rest));
                match known {
                    None if sizes.len() > 20 => return Err(UnreadableReason::Damaged),
                    None => {}
                    Some(len) => {
                        let len = u64::try_from(len).map_err(|_| UnreadableReason::Damaged)?;
                        self.begin_block(len, context)?;
                    }
                }
            }
            State::Block { .. } => return self.take_block(input, context),
            State::Trailing(left) => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *input = &input[len..];
                *left -= len as u64;
                if *left == 0 {
                    self.end_block(context);
                }
            }
            State::Snappy(len) => {
                let len = *len;
                let Some(block) = self.gather.take(input, len) else {
                    return Ok(());
                };
                let packed = block.len().checked_sub(CRC_LEN).ok_or(UnreadableReason::Damaged)?;
                let room = usize::try_from(context.room()).unwrap_or(usize::MAX);
                let max = room.min(context.limits.max_held_bytes);
                let mut out = Output::default();
                let opened =
                    guarded(|| snappy_block(&block[..packed], max, &mut out)).and_then(|opened| opened);
                self.gather.clear();
                context.release(len);
                opened?;
                context.allow_inflated(out.len());
                self.inner.push(&out, context);
                self.end_block(context);
            }
            State::Sync => {
                let Some(sync) = self.gather.take(input, SYNC_LEN) else {
                    return Ok(());
                };
                let agrees = sync == self.sync;
                self.gather.clear();
                if !agrees {
                    return Err(UnreadableReason::Damaged);
                }
                self.state = State::Sizes(Vec::new());
            }
        }
        Ok(())
    }

    fn take_header(&mut self, input: &mut &[u8], context: &mut Context) -> Result<(), UnreadableReason> {
        let before = self.header.len();
        self.header.extend_from_slice(&input[..input.len().min(MAX_HEADER - before)]);
        match self.progress.read(&self.header, &mut context.work) {
            Some(Err(reason)) => {
                self.header.truncate(before);
                Err(reason)
            }
            Some(Ok(header)) => {
                let read = header.len;
                self.packing = header.packing;
                self.sync = header.sync;
                *input = &input[read - before..];
                let metadata = std::mem::take(&mut self.header);
                let copies = search_raw(self.depth, self.shape, &metadata[..read], context);
                self.copies.extend(copies);
                self.state = State::Sizes(Vec::new());
                Ok(())
            }
            None if self.header.len() == MAX_HEADER => {
                self.header.truncate(before);
                Err(UnreadableReason::OverLimit)
            }
            None => {
                *input = &[];
                Ok(())
            }
        }
    }

    fn begin_block(&mut self, len: u64, context: &mut Context) -> Result<(), UnreadableReason> {
        context.work.spend(work::DECODER);
        let codec: Option<Box<dyn Codec>> = match self.packing {
            Packing::Null => None,
            Packing::Deflate => Some(Box::new(Inflate::raw())),
            Packing::Bzip2 => Some(Box::new(Bzip2::new())),
            Packing::Zstd => Some(Box::new(Zstd::default())),
            Packing::Other(_) => return Err(UnreadableReason::UnknownFormat),
            Packing::Snappy => {
                let len = usize::try_from(len).map_err(|_| UnreadableReason::OverLimit)?;
                if !context.hold(len) {
                    return Err(UnreadableReason::OverLimit);
                }
                self.state = State::Snappy(len);
                return Ok(());
            }
        };
        self.state = State::Block { left: len, codec };
        if len == 0 {
            self.end_block(context);
        }
        Ok(())
    }

    fn take_block(&mut self, input: &mut &[u8], context: &mut Context) -> Result<(), UnreadableReason> {
        let State::Block { left, codec } = &mut self.state else {
            return Ok(());
        };
        let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        let all = *input;
        let (mut block, rest) = all.split_at(len);
        *left -= len as u64;
        *input = rest;
        let Some(codec) = codec else {
            self.inner.push(block, context);
            if *left == 0 {
                self.end_block(context);
            }
            return Ok(());
        };
        let out = &mut self.out;
        let mut ended = false;
        context.work.spend(work::PUSH);
        loop {
            context.work.spend(work::STEP);
            out.clear();
            let step = guarded(|| codec.step(block, out))?;
            block = block.get(step.taken..).unwrap_or_default();
            let allowed = context.allow_inflated(out.len());
            self.inner.push(&out[..allowed], context);
            if allowed < out.len() {
                return Err(UnreadableReason::OverLimit);
            }
            if context.work.is_over() {
                return Ok(());
            }
            match step.end {
                Some(End::Fault(reason)) => {
                    // Searched as it is, like what follows the block.
                    *input = &all[len - block.len()..];
                    return Err(reason);
                }
                Some(End::Whole) => {
                    ended = true;
                    break;
                }
                None if step.taken == 0 && out.is_empty() => break,
                None => {}
            }
        }
        match (ended, *left) {
            (true, _) if block.len() as u64 + *left > MAX_TRAILING => {
                *input = &all[len - block.len()..];
                return Err(UnreadableReason::Damaged);
            }
            (true, 0) => self.end_block(context),
            (true, _) => self.state = State::Trailing(*left),
            (false, 0) => return Err(UnreadableReason::Damaged),
            (false, _) => {}
        }
        Ok(())
    }

    fn end_block(&mut self, context: &mut Context) {
        self.inner.push(b"\n", context);
        self.state = State::Sync;
    }
}

struct Header {
    len: usize,
    packing: Packing,
    sync: [u8; SYNC_LEN],
}

/// How far a header was read that comes in pieces.
struct Progress {
    /// Behind the last whole entry.
    at: usize,
    /// Entries that are left of their block.
    left: u64,
    /// After the last entry.
    is_over: bool,
    packing: Packing,
}

impl Default for Progress {
    fn default() -> Self {
        Self { at: MAGIC_LEN, left: 0, is_over: false, packing: Packing::Null }
    }
}

impl Progress {
    /// Reads on. `None` when more bytes are needed.
    fn read(&mut self, bytes: &[u8], work: &mut Work) -> Option<Result<Header, UnreadableReason>> {
        while !self.is_over {
            let mut rest = bytes.get(self.at..)?;
            work.spend(work::FIELD_BYTE);
            if self.left == 0 {
                let count = long(&mut rest)?;
                if count < 0 {
                    long(&mut rest)?;
                }
                (self.left, self.is_over) = (count.unsigned_abs(), count == 0);
            } else {
                // Each entry takes two bytes at least, so a count that lies ends with the bytes.
                let (key, value) = match string(&mut rest).and_then(|key| Ok((key, string(&mut rest)?))) {
                    Ok((key, value)) => (key?, value?),
                    Err(reason) => return Some(Err(reason)),
                };
                if key == b"avro.codec" {
                    self.packing = Packing::of(value);
                }
                self.left -= 1;
            }
            self.at = bytes.len() - rest.len();
        }
        let sync = *bytes.get(self.at..)?.first_chunk::<SYNC_LEN>()?;
        Some(Ok(Header { len: self.at + SYNC_LEN, packing: self.packing, sync }))
    }
}

impl Packing {
    fn of(name: &[u8]) -> Self {
        match name {
            b"null" => Self::Null,
            b"deflate" => Self::Deflate,
            b"snappy" => Self::Snappy,
            b"zstandard" => Self::Zstd,
            b"bzip2" => Self::Bzip2,
            b"xz" => Self::Other(Format::Xz),
            _ => Self::Other(Format::Binary),
        }
    }
}

/// A number in zigzag and variable length; `None` where it does not end.
fn long(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for at in 0..10 {
        let byte = *bytes.get(at)?;
        number |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(at).ok()?)?;
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

/// A string behind its length; `None` where it does not end.
fn string<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, UnreadableReason> {
    let Some(len) = long(bytes) else {
        return if bytes.len() < 10 { Ok(None) } else { Err(UnreadableReason::Damaged) };
    };
    let len = usize::try_from(len).map_err(|_| UnreadableReason::Damaged)?;
    if len > MAX_HEADER {
        return Err(UnreadableReason::Damaged);
    }
    let Some((string, rest)) = bytes.split_at_checked(len) else {
        return Ok(None);
    };
    *bytes = rest;
    Ok(Some(string))
}
