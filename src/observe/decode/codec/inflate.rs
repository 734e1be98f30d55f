//! Deflate, bare or in gzip or zlib.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Codec, PIECE, Step};

/// Largest window (RFC 1951).
const WINDOW_BITS: u8 = 15;
/// Bytes that are given out at a time once so many were. The library keeps a copy of the last 32 KiB of each
/// piece, so larger ones cost less; but what is on trial must not meet a fault that is far off.
const LARGE_PIECE: usize = 2 * PIECE;

pub(in super::super) struct Inflate(Decompress);

impl Inflate {
    /// One member (RFC 1952).
    pub(in super::super) fn gzip() -> Self {
        Self(Decompress::new_gzip(WINDOW_BITS))
    }

    /// One stream (RFC 1950).
    pub(in super::super) fn zlib() -> Self {
        Self(Decompress::new(true))
    }

    /// Without a header (RFC 1951).
    pub(in super::super) fn raw() -> Self {
        Self(Decompress::new(false))
    }
}

impl Codec for Inflate {
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step {
        let is_on_trial = self.0.total_out() < LARGE_PIECE as u64;
        out.reserve(if is_on_trial { PIECE } else { LARGE_PIECE });
        let before = self.0.total_in();
        let status = self.0.decompress_vec(input, out, FlushDecompress::None);
        let taken = usize::try_from(self.0.total_in() - before).unwrap_or(input.len());
        match status {
            Ok(Status::StreamEnd) => Step::whole(taken),
            Ok(Status::Ok | Status::BufError) => Step::more(taken),
            Err(_) => Step::damaged(taken),
        }
    }
}
