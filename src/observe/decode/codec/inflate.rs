//! Deflate, bare or in gzip or zlib.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use memchr::memchr;

use super::{Codec, End, Gather, Output, PIECE, Step, has_text};
use crate::domain::format::UnreadableReason;

/// Bytes that are given out at a time once so many were. The library keeps a copy of the last 32 KiB of each
/// piece, so larger ones cost less; but what is on trial must not meet a fault that is far off.
const LARGE_PIECE: usize = 2 * PIECE;

/// A stream of deflate blocks (RFC 1951), or one in zlib (RFC 1950).
pub(in super::super) struct Inflate(Decompress);

impl Inflate {
    /// In zlib.
    pub(in super::super) fn zlib() -> Self {
        Self(Decompress::new(true))
    }

    /// Without a header.
    pub(in super::super) fn raw() -> Self {
        Self(Decompress::new(false))
    }
}

impl Codec for Inflate {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let is_on_trial = self.0.total_out() < LARGE_PIECE as u64;
        out.reserve(if is_on_trial { PIECE } else { LARGE_PIECE });
        let before = self.0.total_in();
        let status = out.append(|memory| self.0.decompress_vec(input, memory, FlushDecompress::None));
        let taken = usize::try_from(self.0.total_in() - before).unwrap_or(input.len());
        match status {
            Ok(Status::StreamEnd) => Step::whole(taken),
            Ok(Status::Ok | Status::BufError) => Step::more(taken),
            Err(_) => Step::damaged(taken),
        }
    }
}

/// One member of gzip (RFC 1952). The library would compute the checksum while it copies, which takes longer than one
/// after the other.
pub(in super::super) struct Gzip {
    part: Part,
    gather: Gather,
    /// Which fields the header has.
    flags: u8,
    /// Length of the field that is being read, and whether a line break is in it.
    field_len: usize,
    has_break: bool,
    header_crc: Crc,
    inflate: Inflate,
    /// Of what was given.
    crc: Crc,
}

/// What is being read.
#[derive(Clone, Copy)]
enum Part {
    Fixed,
    ExtraLen,
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Blocks,
    Trailer,
}

/// RFC 1952, section 2.3: magic and method, and the flags of the fields that follow.
const START: [u8; 3] = [0x1f, 0x8b, 8];
const FIXED: usize = 10;
const HEADER_CRC: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;
/// Longest name or comment in which a line may end. In the midst of a log, a longer one would hide lines of others.
const MAX_FIELD_OF_LINES: usize = 32;
/// Checksum and length of the content.
const TRAILER: usize = 8;

/// The member is damaged.
struct Damaged;

impl Default for Gzip {
    fn default() -> Self {
        Self {
            part: Part::Fixed,
            gather: Gather::default(),
            flags: 0,
            field_len: 0,
            has_break: false,
            header_crc: Crc::new(),
            inflate: Inflate::raw(),
            crc: Crc::new(),
        }
    }
}

impl Gzip {
    /// The next part of the header, or what follows on it.
    fn next(&self) -> Part {
        let fields = [
            (EXTRA, Part::ExtraLen),
            (NAME, Part::Name),
            (COMMENT, Part::Comment),
            (HEADER_CRC, Part::HeaderCrc),
        ];
        let read = match self.part {
            Part::Fixed => 0,
            Part::ExtraLen | Part::Extra(_) => 1,
            Part::Name => 2,
            Part::Comment => 3,
            Part::HeaderCrc | Part::Blocks | Part::Trailer => fields.len(),
        };
        let field = fields[read..].iter().find(|(flag, _)| self.flags & flag != 0);
        field.map_or(Part::Blocks, |(_, part)| *part)
    }

    /// Whether a name or a comment, of which this comes next, has lines in it.
    fn hides_lines(&mut self, text: &[u8]) -> bool {
        let has_ended = text.last() == Some(&0);
        self.field_len += text.len();
        self.has_break |= memchr(b'\n', text).is_some();
        let hides_lines = self.has_break && self.field_len > MAX_FIELD_OF_LINES;
        if has_ended {
            (self.field_len, self.has_break) = (0, false);
        }
        hides_lines
    }

    /// Reads a part other than the blocks; `None` if it needs more input.
    fn read(&mut self, input: &mut &[u8]) -> Option<Result<(), Damaged>> {
        let len = match self.part {
            Part::Name | Part::Comment => {
                let end = memchr(0, input);
                let (text, rest) = input.split_at(end.map_or(input.len(), |at| at + 1));
                self.header_crc.update(text);
                *input = rest;
                if self.hides_lines(text) {
                    return Some(Err(Damaged));
                }
                end?;
                self.part = self.next();
                return Some(Ok(()));
            }
            Part::Fixed => FIXED,
            Part::ExtraLen | Part::HeaderCrc => 2,
            Part::Extra(len) => len,
            Part::Blocks => 0,
            Part::Trailer => TRAILER,
        };
        let bytes = self.gather.take(input, len)?;
        let is_extra = matches!(self.part, Part::Extra(_));
        let hides_lines = is_extra && has_text(bytes);
        let number = bytes.first_chunk().map_or(0, |two| u16::from_le_bytes(*two));
        let is_right = match self.part {
            Part::Fixed => {
                self.flags = bytes[START.len()];
                bytes.starts_with(&START) && self.flags & RESERVED == 0
            }
            Part::HeaderCrc => u32::from(number) == self.header_crc.sum() & 0xffff,
            Part::Trailer => {
                let (sum, len) = (self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes());
                *bytes == *[sum, len].as_flattened()
            }
            Part::ExtraLen | Part::Extra(_) | Part::Name | Part::Comment | Part::Blocks => true,
        };
        self.header_crc.update(bytes);
        self.part =
            if let Part::ExtraLen = self.part { Part::Extra(usize::from(number)) } else { self.next() };
        self.gather.clear();
        Some(if is_right && !hides_lines { Ok(()) } else { Err(Damaged) })
    }
}

impl Codec for Gzip {
    fn step(&mut self, input: &[u8], out: &mut Output) -> Step {
        let mut rest = input;
        let end = loop {
            if let Part::Blocks = self.part {
                let before = out.len();
                let step = self.inflate.step(rest, out);
                self.crc.update(&out[before..]);
                rest = rest.get(step.taken..).unwrap_or_default();
                if step.end != Some(End::Whole) {
                    break step.end;
                }
                self.part = Part::Trailer;
            }
            let is_last = matches!(self.part, Part::Trailer);
            match self.read(&mut rest) {
                None => break None,
                Some(Err(Damaged)) => break Some(End::Fault(UnreadableReason::Damaged)),
                Some(Ok(())) if is_last => break Some(End::Whole),
                Some(Ok(())) => {}
            }
        };
        Step { taken: input.len() - rest.len(), end }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, GzBuilder};

    use super::*;

    /// What comes of a member in pieces of this length: the bytes, and whether it is whole; `None` if it is cut short.
    fn ours(member: &[u8], piece: usize) -> (Vec<u8>, Option<bool>) {
        let (mut gzip, mut out, mut all) = (Gzip::default(), Output::default(), Vec::new());
        for mut piece in member.chunks(piece) {
            loop {
                out.clear();
                let step = gzip.step(piece, &mut out);
                all.extend_from_slice(&out);
                piece = &piece[step.taken..];
                match step.end {
                    Some(end) => return (all, Some(end == End::Whole)),
                    None if step.taken == 0 && out.is_empty() => break,
                    None => {}
                }
            }
        }
        (all, None)
    }

    /// The same by the library.
    fn theirs(member: &[u8]) -> (Vec<u8>, Option<bool>) {
        let (mut library, mut all) = (Decompress::new_gzip(15), Vec::with_capacity(1 << 20));
        let status = library.decompress_vec(member, &mut all, FlushDecompress::None);
        let is_whole = match status {
            Ok(Status::StreamEnd) => Some(true),
            Ok(Status::Ok | Status::BufError) => None,
            Err(_) => Some(false),
        };
        (all, is_whole)
    }

    fn member(builder: GzBuilder, content: &[u8]) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// With a checksum of its header, which the library does not write.
    fn with_header_crc(mut member: Vec<u8>, header: usize) -> Vec<u8> {
        member[3] |= HEADER_CRC;
        let mut crc = Crc::new();
        crc.update(&member[..header]);
        member.splice(header..header, (crc.sum() as u16).to_le_bytes());
        member
    }

    #[test]
    fn a_member_is_read_as_the_library_reads_it_whatever_its_header_has_and_whichever_byte_of_it_is_changed()
    {
        let content = b"a line of a log, and another one\n".repeat(40);
        let plain = || member(GzBuilder::new(), &content);
        let full = || member(GzBuilder::new().extra("extra").filename("name").comment("comment"), &content);
        for member in [
            plain(),
            full(),
            member(GzBuilder::new().extra(""), &content),
            member(GzBuilder::new().comment("alone"), b""),
            with_header_crc(plain(), FIXED),
            with_header_crc(full(), FIXED + 7 + 5 + 8),
        ] {
            assert_eq!(theirs(&member).1, Some(true));
            for at in 0..=member.len() {
                let mut changed = member.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 0x40;
                }
                for changed in [&changed[..], &member[..at]] {
                    let theirs = theirs(changed);
                    for piece in [1, 7, changed.len().max(1)] {
                        let ours = ours(changed, piece);
                        assert_eq!(ours.1, theirs.1, "byte {at} of {}, by {piece}", member.len());
                        assert!(theirs.0.starts_with(&ours.0) || ours.0.starts_with(&theirs.0), "byte {at}");
                    }
                }
            }
        }
    }
}
