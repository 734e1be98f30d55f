//! Records and objects: what decoding finds, and what it takes off on the way.

use std::collections::BTreeSet;

use traceprobe::domain::format::{Format, UnreadableReason};
use traceprobe::domain::tag::TraceId;
use traceprobe::observe::decode::fuzzing::{
    STREAMS, aggregate, inflate, pieces, scan_in_pieces, sub_records,
};
use traceprobe::observe::decode::{Limits, Scan, Scanner, scan_record};

use super::pieces::sizes;
use super::world::recognizer;

/// Small enough that a bomb does not take the time of a thousand other inputs.
const LIMITS: Limits =
    Limits { max_inflated_bytes: 1 << 18, max_held_bytes: 1 << 18, max_kpl_records: 1_000, ..Limits::RECORD };

/// Most bytes that a codec is asked for.
const MAX_OUT: usize = 1 << 18;

/// A record gives the same findings in whatever pieces it comes. Where even the layers get it in these pieces,
/// they find the same canaries unless something is damaged; what is text and how long a member is on trial may
/// turn out otherwise there, because both are judged by larger pieces.
pub fn decode(record: &[u8]) {
    let whole = scan_record(recognizer(), LIMITS, record);
    within_limits(&whole);
    // Joined before anything else happens to them, so a part of the records is enough.
    if record.len().is_multiple_of(4) {
        let mut scanner = Scanner::new(recognizer().clone(), LIMITS);
        for piece in pieces(record, sizes(record)) {
            scanner.push(piece);
        }
        assert_eq!(whole, scanner.finish(), "whole and in pieces");
    }
    // Lower limits change nothing unless they are met, or small records could not be tried without a thread.
    let lower = match record.len() % 4 {
        1 => Some(Limits { max_inflated_bytes: 1 << 12, ..LIMITS.brief() }),
        2 => {
            Some(Limits { max_held_bytes: 1 << 9, max_depth: 3, max_kpl_records: 4, max_copies: 2, ..LIMITS })
        }
        _ => None,
    };
    if let Some(limits) = lower {
        let lower = scan_record(recognizer(), limits, record);
        assert!(lower.is_over_limit() || lower == whole, "with {limits:?}: {lower:?} {whole:?}");
    }
    let pieces = scan_in_pieces(recognizer(), LIMITS, record, sizes(record));
    within_limits(&pieces);
    if !(is_faulty(&whole) || is_faulty(&pieces)) {
        assert_eq!(
            traces(&whole),
            traces(&pieces),
            "whole and in pieces for the layers: {whole:?} {pieces:?}"
        );
    }
}

/// A stream gives the same bytes and the same end whole and in pieces.
pub fn codec<const N: usize>(stream: &[u8]) {
    let format = STREAMS[N];
    let whole = inflate(format, stream, std::iter::empty(), MAX_OUT);
    let pieces = inflate(format, stream, sizes(stream), MAX_OUT);
    // libbz2-rs may notice damage only when more bytes come. Until then the stream looks as if it were cut off,
    // which is a fault as well.
    let noticed_late = format == Format::Bzip2
        && matches!((&whole.1, &pieces.1), (None, Some(Err(_))) | (Some(Err(_)), None));
    assert!(whole.1 == pieces.1 || noticed_late, "the end of {format:?}: {:?}, {:?}", whole.1, pieces.1);
    // What libzstd gives in the call that meets a fault is lost, and the pieces decide how much that is.
    let shared = if format == Format::Zstd && matches!(whole.1, Some(Err(_))) {
        whole.0.len().min(pieces.0.len())
    } else {
        whole.0.len().max(pieces.0.len())
    };
    let same = whole.0.get(..shared).is_some_and(|whole| Some(whole) == pieces.0.get(..shared));
    assert!(same, "{} bytes of {format:?} whole, {} in pieces", whole.0.len(), pieces.0.len());
}

/// The message of a KPL aggregate: no more sub-records than allowed, none larger than the message, and the
/// aggregate gives the same findings whole and in pieces.
pub fn kpl(message: &[u8]) {
    if let Some(records) = sub_records(message, LIMITS.max_kpl_records) {
        assert!(records.len() <= LIMITS.max_kpl_records);
        assert!(records.iter().map(Vec::len).sum::<usize>() <= message.len());
    }
    decode(&aggregate(message));
}

fn traces(scan: &Scan) -> BTreeSet<TraceId> {
    scan.found.iter().map(|found| found.tag.trace).collect()
}

fn is_faulty(scan: &Scan) -> bool {
    let faults = [UnreadableReason::Damaged, UnreadableReason::DecoderPanic, UnreadableReason::OverLimit];
    scan.unreadable.iter().any(|(part, _)| faults.contains(&part.reason))
}

fn within_limits(scan: &Scan) {
    assert!(scan.found.len() <= LIMITS.max_copies);
    assert!(scan.inflated_bytes <= LIMITS.max_inflated_bytes);
}
