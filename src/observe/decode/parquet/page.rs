//! Parquet pages: reads their headers and decompresses their bytes.

use super::super::Context;
use super::super::codec::{Codec, End, Gzip, Output, PIECE, Zstd, guarded, lz4_block, snappy_block};
use super::super::work;
use super::footer::Leaf;
use super::thrift::{CompactReader, TYPE_STRUCT};
use crate::domain::format::{Format, UnreadableReason};

/// The kind of a page (`PageType` of parquet.thrift).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PageKind {
    Data,
    DataV2 {
        /// Bytes of levels before the values; they are never compressed.
        levels_len: usize,
        /// Whether the values are compressed.
        compressed: bool,
    },
    Dictionary,
    /// Any other page; it contains no values.
    Other,
}

/// How values are encoded (`Encoding` of parquet.thrift).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Plain,
    /// Indexes into the dictionary.
    Dictionary,
    DeltaLengthByteArray,
    DeltaByteArray,
    Other,
}

impl Encoding {
    const fn of(code: i64) -> Self {
        match code {
            0 => Self::Plain,
            2 | 8 => Self::Dictionary,
            6 => Self::DeltaLengthByteArray,
            7 => Self::DeltaByteArray,
            _ => Self::Other,
        }
    }
}

/// The header of a page (`PageHeader` of parquet.thrift).
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: PageKind,
    pub(super) encoding: Encoding,
    pub(super) value_count: usize,
    /// Bytes of the page after decompression.
    pub(super) decompressed_len: usize,
    /// Bytes of the page as stored, after the header.
    pub(super) compressed_len: usize,
    /// Whether the levels have the deprecated encoding BIT_PACKED, in which no length precedes them.
    bit_packed_definition: bool,
    bit_packed_repetition: bool,
}

impl Header {
    /// Reads a header from the start of `bytes` and advances `bytes` past it.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        /// The deprecated encoding of levels.
        const BIT_PACKED: i64 = 4;
        let mut reader = CompactReader(bytes);
        let (mut page_type, mut decompressed_len, mut compressed_len) = (-1, -1, -1);
        let [mut data, mut dictionary, mut data_v2] = [OfKind::default(); 3];
        reader.for_each_field(|reader, field_id, type_code| {
            match (field_id, type_code) {
                (1, _) if CompactReader::is_integer(type_code) => page_type = reader.integer()?,
                (2, _) if CompactReader::is_integer(type_code) => decompressed_len = reader.integer()?,
                (3, _) if CompactReader::is_integer(type_code) => compressed_len = reader.integer()?,
                (5, TYPE_STRUCT) => reader.for_each_field(|reader, field_id, type_code| {
                    match field_id {
                        _ if !CompactReader::is_integer(type_code) => return Some(false),
                        1 => data.value_count = reader.integer()?,
                        2 => data.encoding = reader.integer()?,
                        3 => data.bit_packed_definition = reader.integer()? == BIT_PACKED,
                        4 => data.bit_packed_repetition = reader.integer()? == BIT_PACKED,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                (7, TYPE_STRUCT) => reader.for_each_field(|reader, field_id, type_code| {
                    match field_id {
                        _ if !CompactReader::is_integer(type_code) => return Some(false),
                        1 => dictionary.value_count = reader.integer()?,
                        2 => dictionary.encoding = reader.integer()?,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                (8, TYPE_STRUCT) => reader.for_each_field(|reader, field_id, type_code| {
                    match field_id {
                        7 => {
                            data_v2.is_plain = !CompactReader::is_true(type_code);
                            return Some(false);
                        }
                        _ if !CompactReader::is_integer(type_code) => return Some(false),
                        1 => data_v2.value_count = reader.integer()?,
                        4 => data_v2.encoding = reader.integer()?,
                        5 => data_v2.levels_len[0] = reader.integer()?,
                        6 => data_v2.levels_len[1] = reader.integer()?,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        *bytes = reader.0;
        let len = |len: i64| usize::try_from(len).ok();
        // The others' fields do not count, whatever they say.
        let (kind, of_kind) = match page_type {
            0 => (PageKind::Data, data),
            2 => (PageKind::Dictionary, dictionary),
            3 => {
                let [definition, repetition] = data_v2.levels_len;
                let levels_len = len(definition)?.checked_add(len(repetition)?)?;
                (PageKind::DataV2 { levels_len, compressed: !data_v2.is_plain }, data_v2)
            }
            _ => (PageKind::Other, OfKind::default()),
        };
        // In dictionary pages, PLAIN_DICTIONARY is the old name of PLAIN.
        let encoding = if kind == PageKind::Dictionary && matches!(of_kind.encoding, 0 | 2) {
            Encoding::Plain
        } else {
            Encoding::of(of_kind.encoding)
        };
        Some(Self {
            kind,
            encoding,
            value_count: len(of_kind.value_count)?,
            decompressed_len: len(decompressed_len)?,
            compressed_len: len(compressed_len)?,
            bit_packed_definition: of_kind.bit_packed_definition,
            bit_packed_repetition: of_kind.bit_packed_repetition,
        })
    }
}

impl Header {
    /// Whether it has no values of its own: those of a dictionary are numbers.
    pub(super) fn has_no_values(&self) -> bool {
        let is_data = matches!(self.kind, PageKind::Data | PageKind::DataV2 { .. });
        self.kind == PageKind::Other || (is_data && self.encoding == Encoding::Dictionary)
    }
}

/// What the header of one kind of page says.
#[derive(Clone, Copy)]
struct OfKind {
    value_count: i64,
    encoding: i64,
    bit_packed_definition: bool,
    bit_packed_repetition: bool,
    /// Of definition and repetition levels.
    levels_len: [i64; 2],
    /// Its values are not compressed.
    is_plain: bool,
}

impl Default for OfKind {
    fn default() -> Self {
        Self {
            value_count: 0,
            encoding: -1,
            bit_packed_definition: false,
            bit_packed_repetition: false,
            levels_len: [0; 2],
            is_plain: false,
        }
    }
}

/// A page that is decompressed while it is read, so that no more of it is held than what is being read.
pub(super) struct Page<'a> {
    source: Source<'a>,
    /// What was decompressed, and up to where it was read.
    window: &'a mut Output,
    read: usize,
}

/// What is still to come of a page.
enum Source<'a> {
    /// Nothing.
    Window,
    Stored(&'a [u8]),
    Stream {
        method: Method,
        codec: Box<dyn Codec>,
        packed: &'a [u8],
        /// Bytes that must still come of it.
        left: usize,
        end: Option<End>,
    },
}

/// The codecs that give a page piece by piece.
#[derive(Clone, Copy)]
enum Method {
    Gzip,
    Zstd,
}

impl Method {
    fn codec(self) -> Box<dyn Codec> {
        match self {
            Self::Gzip => Box::new(Gzip::default()),
            Self::Zstd => Box::new(Zstd::default()),
        }
    }
}

impl<'a> Page<'a> {
    /// Begins a page of exactly `len` bytes; the caller has checked `len` against the limits. `codec` is a
    /// `CompressionCodec` of parquet.thrift. What was in `window` is lost.
    pub(super) fn open(
        codec: i64,
        packed: &'a [u8],
        len: usize,
        window: &'a mut Output,
        context: &mut Context,
    ) -> Result<Self, (Option<Format>, UnreadableReason)> {
        let fault = |reason| (None, reason);
        let damaged = fault(UnreadableReason::Damaged);
        window.clear();
        let stream =
            |method: Method| Source::Stream { method, codec: method.codec(), packed, left: len, end: None };
        let source = match codec {
            0 if packed.len() == len => Source::Stored(packed),
            0 => return Err(damaged),
            2 => stream(Method::Gzip),
            6 => stream(Method::Zstd),
            1 | 5 | 7 => {
                let block = || match codec {
                    // A block that claims to be larger than the page is damaged, not over our limit.
                    1 => snappy_block(packed, len, window).map_err(|_| UnreadableReason::Damaged),
                    5 => hadoop_lz4(packed, len, window),
                    _ => lz4_block(packed, len, window),
                };
                // Also if it fails at the end.
                context.allow_inflated(len);
                guarded(block).and_then(|given| given).map_err(fault)?;
                if window.len() != len {
                    return Err(damaged);
                }
                Source::Window
            }
            other => {
                let format = match other {
                    3 => Format::Lzo,
                    4 => Format::Brotli,
                    _ => Format::Binary,
                };
                return Err((Some(format), UnreadableReason::UnknownFormat));
            }
        };
        Ok(Self { source, window, read: 0 })
    }

    /// What is at hand and was not read.
    pub(super) fn window(&self) -> &[u8] {
        &self.window[self.read..]
    }

    /// So much of the window was read.
    pub(super) fn consume(&mut self, len: usize) {
        self.read += len.min(self.window().len());
    }

    /// Decompresses some more; `false` at the end of the page.
    pub(super) fn more(&mut self, context: &mut Context) -> Result<bool, UnreadableReason> {
        if context.work.is_over() {
            return Err(UnreadableReason::OverLimit);
        }
        self.window.forget(std::mem::take(&mut self.read));
        match &mut self.source {
            Source::Window => Ok(false),
            Source::Stored(rest) => {
                let (piece, after) = rest.split_at(rest.len().min(PIECE));
                *rest = after;
                self.window.extend(piece);
                let is_allowed = context.allow_inflated(piece.len()) == piece.len();
                if is_allowed { Ok(!piece.is_empty()) } else { Err(UnreadableReason::OverLimit) }
            }
            Source::Stream { method, codec, packed, left, end } => loop {
                match end.take() {
                    None => {}
                    Some(End::Fault(reason)) => {
                        *end = Some(End::Fault(reason));
                        return Err(reason);
                    }
                    Some(End::Whole) if packed.is_empty() => {
                        *end = Some(End::Whole);
                        return if *left == 0 { Ok(false) } else { Err(UnreadableReason::Damaged) };
                    }
                    // Pages of several members are to be read ("Parquet compression definitions", GZIP).
                    Some(End::Whole) => {
                        context.work.spend(work::DECODER);
                        *codec = method.codec();
                    }
                }
                context.work.spend(work::STEP);
                let before = self.window.len();
                let step = guarded(|| codec.step(packed, self.window))?;
                *packed = packed.get(step.taken..).unwrap_or_default();
                *end = step.end;
                let given = self.window.len().saturating_sub(before);
                *left = left.checked_sub(given).ok_or(UnreadableReason::Damaged)?;
                if context.allow_inflated(given) < given || context.work.is_over() {
                    return Err(UnreadableReason::OverLimit);
                }
                if given > 0 {
                    return Ok(true);
                }
                if step.taken == 0 && step.end.is_none() {
                    return Err(UnreadableReason::Truncated);
                }
            },
        }
    }

    /// Decompresses until there are at least `len` bytes in the window.
    pub(super) fn fill(&mut self, len: usize, context: &mut Context) -> Result<(), UnreadableReason> {
        while self.window().len() < len {
            if !self.more(context)? {
                return Err(UnreadableReason::Damaged);
            }
        }
        Ok(())
    }

    /// Reads so many bytes.
    pub(super) fn take(&mut self, len: usize, context: &mut Context) -> Result<&[u8], UnreadableReason> {
        self.fill(len, context)?;
        let start = self.read;
        self.read += len;
        Ok(&self.window[start..self.read])
    }

    /// Skips so many bytes.
    pub(super) fn skip(&mut self, mut len: usize, context: &mut Context) -> Result<(), UnreadableReason> {
        while len > self.window().len() {
            len -= self.window().len();
            self.read = self.window.len();
            self.fill(1, context)?;
        }
        self.read += len;
        Ok(())
    }

    /// Reads the end, which says whether the page is what it states, and behind which nothing may follow.
    pub(super) fn end(&mut self, context: &mut Context) -> Result<(), UnreadableReason> {
        let is_over = self.window().is_empty() && !self.more(context)?;
        if is_over { Ok(()) } else { Err(UnreadableReason::Damaged) }
    }

    /// Skips the levels that precede the values in a data page of version 1, and hands them to `each`.
    pub(super) fn skip_levels(
        &mut self,
        header: &Header,
        leaf: Leaf,
        context: &mut Context,
        mut each: impl FnMut(&[u8], &mut Context),
    ) -> Result<(), UnreadableReason> {
        for (max_level, is_bit_packed) in [
            (leaf.max_repetition, header.bit_packed_repetition),
            (leaf.max_definition, header.bit_packed_definition),
        ] {
            if max_level == 0 {
                continue;
            }
            let len = if is_bit_packed {
                let width = (u32::BITS - max_level.leading_zeros()) as usize;
                let bits = header.value_count.checked_mul(width).ok_or(UnreadableReason::Damaged)?;
                bits.div_ceil(8)
            } else {
                let len = self.take(4, context)?;
                u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize
            };
            let mut left = len;
            while left > 0 {
                self.fill(1, context)?;
                let piece = &self.window()[..left.min(self.window().len())];
                let taken = piece.len();
                each(piece, context);
                self.consume(taken);
                left -= taken;
            }
        }
        Ok(())
    }
}

/// The deprecated LZ4 codec: blocks, each preceded by its decompressed and its compressed length, as Hadoop
/// writes them. Some writers omit the lengths.
fn hadoop_lz4(packed: &[u8], len: usize, out: &mut Output) -> Result<(), UnreadableReason> {
    let mut rest = packed;
    while let Some((decompressed_len, after)) = rest.split_first_chunk::<4>() {
        let Some((compressed_len, after)) = after.split_first_chunk::<4>() else {
            break;
        };
        let decompressed_len = u32::from_be_bytes(*decompressed_len) as usize;
        let compressed_len = u32::from_be_bytes(*compressed_len) as usize;
        let Some((block, after)) = after.split_at_checked(compressed_len) else {
            break;
        };
        if decompressed_len > len - out.len() || lz4_block(block, decompressed_len, out).is_err() {
            break;
        }
        rest = after;
    }
    if rest.is_empty() && out.len() == len {
        return Ok(());
    }
    out.clear();
    lz4_block(packed, len, out)
}
