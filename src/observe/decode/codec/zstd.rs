//! One frame of zstd.

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{Codec, Gather, Output, PIECE, Step};
use crate::domain::format::UnreadableReason;

/// RFC 8878, section 3.1.1.1.2, recommends that decoders support windows of at least 8 MiB; a frame that asks
/// for more is refused, because nested frames may each ask.
const WINDOW_LOG: u32 = 23;

/// RFC 8878, sections 3.1.1 and 3.1.2. The lowest four bits of the second are free.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// A bit of the descriptor that must be 0 (RFC 8878, section 3.1.1.1.1.4).
const RESERVED: u8 = 0x08;
/// RFC 8878, section 3.1.1.2.
const BLOCK_HEADER: usize = 3;

pub(in super::super) struct Zstd {
    /// Made once the header is complete, because what is no frame after all is found often, and a decoder costs
    /// more than finding out.
    decoder: Option<Decoder<'static>>,
    /// The header, until it is complete. The library gets it at once: where a header is faulty and the same
    /// call begins with a magic of before version 0.8, the library would run its decoder for that version.
    header: Option<Gather>,
    /// How many bytes end the part that is being read. No more is fed at a time, because what one call
    /// inflated is lost when the same call meets a fault.
    rest: usize,
    /// Whether the decoder may hold output for which there was no room.
    holds: bool,
}

impl Default for Zstd {
    fn default() -> Self {
        Self { decoder: None, header: Some(Gather::default()), rest: 1, holds: false }
    }
}

/// `None` when the library has no memory.
fn decoder() -> Option<Decoder<'static>> {
    let mut decoder = Decoder::new().ok()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
    Some(decoder)
}

impl Codec for Zstd {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        if let Some(mut header) = self.header.take() {
            let mut rest = input;
            let step = match gather_header(&mut header, &mut rest) {
                Some(Ok(header)) => self.run(header, out),
                Some(Err(reason)) => Step::fault(0, reason),
                None => {
                    self.header = Some(header);
                    Step::more(0)
                }
            };
            return Step { taken: input.len() - rest.len(), ..step };
        }
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
    fn run(&mut self, part: &[u8], out: &mut Output) -> Step {
        let Some(decoder) = self.decoder.take().or_else(decoder) else {
            return Step::fault(0, UnreadableReason::OverLimit);
        };
        let decoder = self.decoder.insert(decoder);
        let run = |room: &mut [u8]| {
            let step = decoder.run_on_buffers(part, room)?;
            Ok((step.bytes_written, step))
        };
        match out.fill(PIECE, run) {
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

/// Takes the header of a frame; gives it once it is complete.
fn gather_header<'a>(
    header: &'a mut Gather,
    input: &mut &[u8],
) -> Option<Result<&'a [u8], UnreadableReason>> {
    let start = header.take(input, MAGIC.len() + 1)?;
    let (magic, descriptor) = (&start[..MAGIC.len()], start[MAGIC.len()]);
    let skippable = magic[0] & 0xf0 == SKIPPABLE[0] && magic[1..] == SKIPPABLE[1..];
    let is_reserved = !skippable && descriptor & RESERVED != 0;
    if (magic != MAGIC && !skippable) || is_reserved {
        return Some(Err(UnreadableReason::Damaged));
    }
    let len = if skippable { 2 * MAGIC.len() } else { start.len() + fields_len(descriptor) };
    header.take(input, len).map(Ok)
}

/// How long the fields are that follow the descriptor: the window, the id of a dictionary, and the size of the
/// content (RFC 8878, section 3.1.1.1).
fn fields_len(descriptor: u8) -> usize {
    let single_segment = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [usize::from(single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    usize::from(!single_segment) + dictionary + size
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
