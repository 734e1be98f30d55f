//! Parquet pages: reads their headers and decompresses their bytes.

use super::super::codec::{Gzip, Output, Zstd, guarded, inflate_block, lz4_block, snappy_block};
use super::super::work::Work;
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
        let (mut value_count, mut encoding) = (0, -1);
        let (mut bit_packed_definition, mut bit_packed_repetition) = (false, false);
        let (mut levels_len, mut compressed) = (0, true);
        reader.for_each_field(|reader, field_id, type_code| {
            match (field_id, type_code) {
                (1, _) => page_type = reader.integer()?,
                (2, _) => decompressed_len = reader.integer()?,
                (3, _) => compressed_len = reader.integer()?,
                (5, TYPE_STRUCT) => reader.for_each_field(|reader, field_id, _| {
                    match field_id {
                        1 => value_count = reader.integer()?,
                        2 => encoding = reader.integer()?,
                        3 => bit_packed_definition = reader.integer()? == BIT_PACKED,
                        4 => bit_packed_repetition = reader.integer()? == BIT_PACKED,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                (7, TYPE_STRUCT) => reader.for_each_field(|reader, field_id, _| {
                    match field_id {
                        1 => value_count = reader.integer()?,
                        2 => encoding = reader.integer()?,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                (8, TYPE_STRUCT) => reader.for_each_field(|reader, field_id, type_code| {
                    match field_id {
                        1 => value_count = reader.integer()?,
                        4 => encoding = reader.integer()?,
                        5 | 6 => levels_len += usize::try_from(reader.integer()?).ok()?,
                        7 => {
                            compressed = CompactReader::is_true(type_code);
                            return Some(false);
                        }
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        *bytes = reader.0;
        let kind = match page_type {
            0 => PageKind::Data,
            2 => PageKind::Dictionary,
            3 => PageKind::DataV2 { levels_len, compressed },
            _ => PageKind::Other,
        };
        // In dictionary pages, PLAIN_DICTIONARY is the old name of PLAIN.
        let encoding = if kind == PageKind::Dictionary && matches!(encoding, 0 | 2) {
            Encoding::Plain
        } else {
            Encoding::of(encoding)
        };
        Some(Self {
            kind,
            encoding,
            value_count: usize::try_from(value_count).ok()?,
            decompressed_len: usize::try_from(decompressed_len).ok()?,
            compressed_len: usize::try_from(compressed_len).ok()?,
            bit_packed_definition,
            bit_packed_repetition,
        })
    }

    /// Returns the values of a decompressed data page of version 1, in which levels precede them.
    pub(super) fn values_of_v1<'a>(&self, page: &'a [u8], leaf: Leaf) -> Option<&'a [u8]> {
        let mut rest = page;
        for (max_level, is_bit_packed) in [
            (leaf.max_repetition, self.bit_packed_repetition),
            (leaf.max_definition, self.bit_packed_definition),
        ] {
            if max_level == 0 {
                continue;
            }
            let len_bytes = if is_bit_packed {
                let width = (u32::BITS - max_level.leading_zeros()) as usize;
                self.value_count.checked_mul(width)?.div_ceil(8)
            } else {
                let (len, after) = rest.split_first_chunk::<4>()?;
                rest = after;
                usize::try_from(u32::from_le_bytes(*len)).ok()?
            };
            rest = rest.get(len_bytes..)?;
        }
        Some(rest)
    }
}

/// Why a page could not be decompressed.
pub(super) struct DecompressError {
    /// The codec, if it is the reason.
    pub(super) codec: Option<Format>,
    pub(super) reason: UnreadableReason,
}

impl From<UnreadableReason> for DecompressError {
    fn from(reason: UnreadableReason) -> Self {
        Self { codec: None, reason }
    }
}

/// Decompresses a page to exactly `len` bytes; the caller has checked `len` against the limits. `codec` is a
/// `CompressionCodec` of parquet.thrift. What was in `out` is lost.
pub(super) fn decompress(
    codec: i64,
    packed: &[u8],
    len: usize,
    out: &mut Output,
    work: &mut Work,
) -> Result<(), DecompressError> {
    out.clear();
    match codec {
        0 => out.extend(packed),
        // A block that claims to be larger than the page is damaged, not over our limit.
        1 => guarded(|| snappy_block(packed, len, out))?.map_err(|_| UnreadableReason::Damaged)?,
        2 => inflate_block(&mut Gzip::default(), packed, len, out, work)?,
        5 => guarded(|| hadoop_lz4(packed, len, out))??,
        6 => inflate_block(&mut Zstd::default(), packed, len, out, work)?,
        7 => guarded(|| lz4_block(packed, len, out))??,
        other => {
            let format = match other {
                3 => Format::Lzo,
                4 => Format::Brotli,
                _ => Format::Binary,
            };
            return Err(DecompressError { codec: Some(format), reason: UnreadableReason::UnknownFormat });
        }
    }
    if out.len() == len { Ok(()) } else { Err(UnreadableReason::Damaged.into()) }
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
