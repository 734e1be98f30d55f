//! What the fuzz targets reach of the decoders besides [`scan_record`](super::scan_record).

use md5::{Digest, Md5};

use super::codec::{Codec, End, Output, codec, guarded};
use super::{Limits, Recognizer, Scan, Scanner, kpl};
use crate::domain::format::{Format, UnreadableReason};

/// The formats that are one stream of compressed bytes.
pub const STREAMS: [Format; 9] = [
    Format::Gzip,
    Format::Zlib,
    Format::Zstd,
    Format::Bzip2,
    Format::Lz4,
    Format::Lz4Legacy,
    Format::SnappyFramed,
    Format::SnappyHadoop,
    Format::SnappyXerial,
];

/// Scans a record whose layers get it in pieces of these sizes. [`Scanner::push`] would join them.
#[must_use]
pub fn scan_in_pieces(
    recognizer: &Recognizer,
    limits: Limits,
    record: &[u8],
    sizes: impl Iterator<Item = usize>,
) -> Scan {
    let mut scanner = Scanner::new(recognizer.clone(), limits);
    for piece in pieces(record, sizes) {
        scanner.layer.push(piece, &mut scanner.context);
    }
    scanner.finish()
}

/// Decompresses at most `limit` bytes of a stream that comes in pieces of these sizes. Returns them, and how
/// the stream ended; `None` if it did not end.
#[must_use]
pub fn inflate(
    format: Format,
    stream: &[u8],
    sizes: impl Iterator<Item = usize>,
    limit: usize,
) -> (Vec<u8>, Option<Result<(), UnreadableReason>>) {
    let Some(mut codec) = codec(format) else {
        return (Vec::new(), None);
    };
    let mut all = Vec::new();
    for piece in pieces(stream, sizes) {
        if let Some(end) = take(&mut *codec, piece, limit, &mut all) {
            let fault = match end {
                End::Whole => Ok(()),
                End::Fault(reason) => Err(reason),
            };
            return (all, Some(fault));
        }
    }
    (all, None)
}

/// Feeds a piece to a codec until it needs more.
fn take(codec: &mut dyn Codec, mut piece: &[u8], limit: usize, all: &mut Vec<u8>) -> Option<End> {
    let mut out = Output::default();
    while all.len() < limit {
        out.clear();
        let step = match guarded(|| codec.step(piece, &mut out)) {
            Ok(step) => step,
            Err(reason) => return Some(End::Fault(reason)),
        };
        all.extend_from_slice(&out);
        piece = &piece[step.taken..];
        if step.end.is_some() && all.len() < limit {
            return step.end;
        }
        if step.taken == 0 && out.is_empty() {
            assert!(piece.is_empty(), "the codec neither takes nor gives");
            break;
        }
    }
    all.truncate(limit);
    None
}

/// The data of the sub-records of a KPL aggregate with this message; `None` if it is malformed.
#[must_use]
pub fn sub_records(message: &[u8], max_records: usize) -> Option<Vec<Vec<u8>>> {
    let aggregate = aggregate(message);
    let records = kpl::open(&aggregate, max_records)?;
    Some(records.data.into_iter().map(<[u8]>::to_vec).collect())
}

/// A KPL aggregate: the magic, the message and its MD5.
#[must_use]
pub fn aggregate(message: &[u8]) -> Vec<u8> {
    [kpl::MAGIC, message, Md5::digest(message).as_slice()].concat()
}

/// Cuts bytes into pieces of these sizes. What is left at the end of the sizes is the last piece.
pub fn pieces(mut bytes: &[u8], mut sizes: impl Iterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = sizes.next().unwrap_or(bytes.len()).clamp(1, bytes.len().max(1));
        let (piece, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some(piece)
    })
}
