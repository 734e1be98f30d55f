//! One frame of zstd.

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{Codec, PIECE, Step};
use crate::domain::format::UnreadableReason;

/// RFC 8878, section 3.1.1.1.2, recommends that decoders support windows of at least 8 MiB; a frame that asks
/// for more is refused, because nested frames may each ask.
const WINDOW_LOG: u32 = 23;

/// RFC 8878, section 3.1.1.2.
const BLOCK_HEADER: usize = 3;

pub(in super::super) struct Zstd {
    decoder: Decoder<'static>,
    /// How many bytes end the part that is being read. No more is fed at a time, because what one call
    /// inflated is lost when the same call meets a fault.
    rest: usize,
    /// Whether the decoder may hold output for which there was no room.
    holds: bool,
}

impl Zstd {
    /// `None` when the library has no memory.
    pub(in super::super) fn new() -> Option<Self> {
        let mut decoder = Decoder::new().ok()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
        Some(Self { decoder, rest: 1, holds: false })
    }
}

impl Codec for Zstd {
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step {
        if self.holds {
            // Without input, so that a fault in what follows does not cost what is held.
            let before = out.len();
            let step = self.run(&[], out);
            if step.end.is_some() || out.len() > before {
                return step;
            }
        }
        let part = &input[..input.len().min(self.rest)];
        if part.is_empty() { Step::more(0) } else { self.run(part, out) }
    }
}

impl Zstd {
    fn run(&mut self, part: &[u8], out: &mut Vec<u8>) -> Step {
        let start = out.len();
        out.resize(start + PIECE, 0);
        let result = self.decoder.run_on_buffers(part, &mut out[start..]);
        let written = result.as_ref().map_or(0, |step| step.bytes_written);
        out.truncate(start + written);
        match result {
            Ok(step) => {
                self.holds = step.bytes_written == PIECE;
                // While a block is read, the library also asks for the header of the next one.
                self.rest = match step.remaining {
                    0 => 1,
                    header @ 1..=BLOCK_HEADER => header,
                    more => more - BLOCK_HEADER,
                };
                // Nothing is left of the frame only once all of it was given.
                if step.remaining == 0 { Step::whole(step.bytes_read) } else { Step::more(step.bytes_read) }
            }
            Err(error) => Step::fault(0, reason(&error)),
        }
    }
}

/// Whose fault an error is. A frame whose window is beyond our limit is sound, and one that needs a
/// dictionary could be read by whoever has it. The crate passes on nothing but the library's messages
/// (`ZSTD_error_frameParameter_windowTooLarge`, `ZSTD_error_dictionary_wrong`).
fn reason(error: &std::io::Error) -> UnreadableReason {
    let text = error.to_string();
    if text.contains("too much memory") {
        UnreadableReason::OverLimit
    } else if text.contains("Dictionary") {
        UnreadableReason::UnknownFormat
    } else {
        UnreadableReason::Damaged
    }
}
