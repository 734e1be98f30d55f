//! Pages: their headers, and their bytes decompressed.

use super::super::codec::{Inflate, Zstd, guarded, inflate_block, lz4_block, snappy_block};
use super::footer::Leaf;
use super::thrift::{STRUCT, Thrift};
use crate::domain::format::{Format, UnreadableReason};

/// What a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Data,
    DataV2 {
        levels: usize,
        compressed: bool,
    },
    Dictionary,
    /// It holds no values.
    Other,
}

/// How values are encoded (`Encoding` of parquet.thrift).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Plain,
    /// Only places in the dictionary.
    Dictionary,
    DeltaLength,
    Delta,
    Other,
}

impl Encoding {
    const fn of(number: i64) -> Self {
        match number {
            0 => Self::Plain,
            2 | 8 => Self::Dictionary,
            6 => Self::DeltaLength,
            7 => Self::Delta,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    pub(super) values: usize,
    /// Sizes of what follows, decompressed and as it stands.
    pub(super) plain: usize,
    pub(super) packed: usize,
    /// Whether levels are packed in the deprecated way, without a length.
    bare_definition: bool,
    bare_repetition: bool,
}

impl Header {
    /// Reads a header off the start of `bytes`.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        /// The deprecated encoding of levels.
        const BIT_PACKED: i64 = 4;
        let mut thrift = Thrift(bytes);
        let (mut number, mut plain, mut packed) = (-1, -1, -1);
        let (mut values, mut encoding) = (0, -1);
        let (mut bare_definition, mut bare_repetition) = (false, false);
        let (mut levels, mut compressed) = (0, true);
        thrift.fields(|thrift, field, kind| {
            match (field, kind) {
                (1, _) => number = thrift.integer()?,
                (2, _) => plain = thrift.integer()?,
                (3, _) => packed = thrift.integer()?,
                (5, STRUCT) => thrift.fields(|thrift, field, _| {
                    match field {
                        1 => values = thrift.integer()?,
                        2 => encoding = thrift.integer()?,
                        3 => bare_definition = thrift.integer()? == BIT_PACKED,
                        4 => bare_repetition = thrift.integer()? == BIT_PACKED,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                (7, STRUCT) => thrift.fields(|thrift, field, _| {
                    match field {
                        1 => values = thrift.integer()?,
                        2 => encoding = thrift.integer()?,
                        _ => return Some(false),
                    }
                    Some(true)
                })?,
                (8, STRUCT) => thrift.fields(|thrift, field, kind| {
                    match field {
                        1 => values = thrift.integer()?,
                        4 => encoding = thrift.integer()?,
                        5 | 6 => levels += usize::try_from(thrift.integer()?).ok()?,
                        7 => {
                            compressed = Thrift::is_true(kind);
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
        *bytes = thrift.0;
        let kind = match number {
            0 => Kind::Data,
            2 => Kind::Dictionary,
            3 => Kind::DataV2 { levels, compressed },
            _ => Kind::Other,
        };
        // The old name of PLAIN in dictionaries is PLAIN_DICTIONARY.
        let encoding = if kind == Kind::Dictionary && matches!(encoding, 0 | 2) {
            Encoding::Plain
        } else {
            Encoding::of(encoding)
        };
        Some(Self {
            kind,
            encoding,
            values: usize::try_from(values).ok()?,
            plain: usize::try_from(plain).ok()?,
            packed: usize::try_from(packed).ok()?,
            bare_definition,
            bare_repetition,
        })
    }

    /// What of a decompressed page of the first version is values.
    pub(super) fn skip_levels<'a>(&self, page: &'a [u8], leaf: Leaf) -> Option<&'a [u8]> {
        let mut rest = page;
        for (max, bare) in
            [(leaf.max_repetition, self.bare_repetition), (leaf.max_definition, self.bare_definition)]
        {
            if max == 0 {
                continue;
            }
            let len = if bare {
                let width = (u32::BITS - max.leading_zeros()) as usize;
                self.values.checked_mul(width)?.div_ceil(8)
            } else {
                let (len, after) = rest.split_first_chunk::<4>()?;
                rest = after;
                usize::try_from(u32::from_le_bytes(*len)).ok()?
            };
            rest = rest.get(len..)?;
        }
        Some(rest)
    }
}

/// Why a page could not be decompressed.
pub(super) struct NotOpened {
    /// The codec, where that is why.
    pub(super) format: Option<Format>,
    pub(super) reason: UnreadableReason,
}

impl From<UnreadableReason> for NotOpened {
    fn from(reason: UnreadableReason) -> Self {
        Self { format: None, reason }
    }
}

/// Decompresses a page that must have `len` bytes, which were checked against the limits (`CompressionCodec`).
pub(super) fn decompress(codec: i64, packed: &[u8], len: usize) -> Result<Vec<u8>, NotOpened> {
    let mut out = Vec::new();
    match codec {
        0 => out.extend_from_slice(packed),
        // A block that states more than the page is not too large for us, but wrong.
        1 => guarded(|| snappy_block(packed, len, &mut out))?.map_err(|_| UnreadableReason::Damaged)?,
        2 => out = inflate_block(&mut Inflate::gzip(), packed, len)?,
        5 => guarded(|| lz4_of_hadoop(packed, len, &mut out))??,
        6 => {
            let mut zstd = Zstd::new().ok_or(UnreadableReason::OverLimit)?;
            out = inflate_block(&mut zstd, packed, len)?;
        }
        7 => guarded(|| lz4_block(packed, len, &mut out))??,
        other => {
            let format = match other {
                3 => Format::Lzo,
                4 => Format::Brotli,
                _ => Format::Binary,
            };
            return Err(NotOpened { format: Some(format), reason: UnreadableReason::UnknownFormat });
        }
    }
    if out.len() == len { Ok(out) } else { Err(UnreadableReason::Damaged.into()) }
}

/// The deprecated codec LZ4: blocks behind their lengths, as Hadoop writes them; some writers left the lengths out.
fn lz4_of_hadoop(packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), UnreadableReason> {
    let mut rest = packed;
    while let Some((plain, after)) = rest.split_first_chunk::<4>() {
        let Some((size, after)) = after.split_first_chunk::<4>() else {
            break;
        };
        let (plain, size) = (u32::from_be_bytes(*plain) as usize, u32::from_be_bytes(*size) as usize);
        let Some((block, after)) = after.split_at_checked(size) else {
            break;
        };
        if plain > len - out.len() || lz4_block(block, plain, out).is_err() {
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
