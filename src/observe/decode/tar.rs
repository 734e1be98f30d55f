//! Tar archives (POSIX.1-2017, `pax`, "ustar Interchange Format"; GNU tar's manual, "Basic Tar Format"), file
//! by file.

use super::codec::Gather;
use super::layer::Layer;
use super::part::{Part, Trust};
use super::{Context, Copy, work};
use crate::domain::format::{Shape, UnreadableReason};

pub(super) const BLOCK: usize = 512;
/// How much of an extended header is kept.
const MAX_ATTRIBUTES: usize = 64 << 10;

pub(super) struct Tar {
    depth: usize,
    shape: Shape,
    state: State,
    gather: Gather,
    /// The length of the next file, from an extended header.
    file_len: Option<u64>,
    copies: Vec<Copy>,
}

enum State {
    Header,
    /// A file: how much of it and of the padding after it comes.
    File(Box<Layer>, u64, u64),
    /// Names, attributes and what else is no file; its data is searched, since its length may be wrong, and kept if it may
    /// say how long the next file is.
    Skip(Box<Part>, u64, Option<Vec<u8>>),
    Rest(Box<Part>),
}

impl Tar {
    pub(super) fn new(depth: usize, shape: Shape) -> Self {
        Self {
            depth,
            shape,
            state: State::Header,
            gather: Gather::default(),
            file_len: None,
            copies: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], context: &mut Context) {
        while !input.is_empty() && !context.work.is_over() {
            self.step(&mut input, context);
        }
    }

    pub(super) fn finish(mut self, context: &mut Context) -> Vec<Copy> {
        let header = self.gather.leftover();
        match std::mem::replace(&mut self.state, State::Header) {
            State::Rest(part) => {
                let copies = part.finish(context).copies;
                self.collect(copies, context);
            }
            State::File(layer, left, _) => {
                self.end(*layer, context);
                if left > 0 {
                    context.unreadable(self.shape, UnreadableReason::Truncated);
                }
            }
            State::Header if !header.is_empty() => {
                context.unreadable(self.shape, UnreadableReason::Truncated);
                let mut part = self.rest();
                part.push(&header, context);
                let copies = part.finish(context).copies;
                self.collect(copies, context);
            }
            State::Skip(skipped, ..) => {
                let copies = context.quietly(|context| skipped.finish(context).copies);
                self.collect(copies, context);
                context.unreadable(self.shape, UnreadableReason::Truncated);
            }
            State::Header => {}
        }
        self.copies
    }

    fn collect(&mut self, mut copies: Vec<Copy>, context: &Context) {
        copies.truncate((context.limits.max_copies + 1).saturating_sub(self.copies.len()));
        self.copies.append(&mut copies);
    }

    fn end(&mut self, layer: Layer, context: &mut Context) {
        let copies = layer.finish(context).copies;
        self.collect(copies, context);
    }

    fn step(&mut self, input: &mut &[u8], context: &mut Context) {
        let mut take = |left: &mut u64| {
            let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
            let (taken, rest) = input.split_at(len);
            *input = rest;
            *left -= len as u64;
            taken
        };
        match &mut self.state {
            State::Header => {
                if let Some(header) = self.gather.take(input, BLOCK) {
                    let next = Header::of(header);
                    let block = self.gather.leftover();
                    self.begin(next, context);
                    if let State::Rest(part) = &mut self.state {
                        part.push(&block, context);
                    }
                }
            }
            State::File(layer, left, padding) => {
                if *left > 0 {
                    layer.push(take(left), context);
                } else {
                    take(padding);
                }
                if *left == 0 && *padding == 0 {
                    self.end_file(context);
                }
            }
            State::Skip(skipped, left, attributes) => {
                let data = take(left);
                context.quietly(|context| skipped.push(data, context));
                if let Some(attributes) = attributes {
                    let room = MAX_ATTRIBUTES.saturating_sub(attributes.len());
                    attributes.extend_from_slice(&data[..room.min(data.len())]);
                }
                if *left == 0 {
                    self.end_skip(context);
                }
            }
            State::Rest(part) => {
                part.push(input, context);
                *input = &[];
            }
        }
    }

    fn end_file(&mut self, context: &mut Context) {
        if let State::File(layer, ..) = std::mem::replace(&mut self.state, State::Header) {
            self.end(*layer, context);
        }
    }

    fn end_skip(&mut self, context: &mut Context) {
        if let State::Skip(skipped, _, attributes) = std::mem::replace(&mut self.state, State::Header) {
            self.file_len = attributes.as_deref().and_then(stated_len).or(self.file_len);
            let copies = context.quietly(|context| skipped.finish(context).copies);
            self.collect(copies, context);
        }
    }

    fn begin(&mut self, header: Header, context: &mut Context) {
        context.work.spend(work::LAYER);
        self.state = match header {
            // Two blocks of zeros are the end; there may be more up to the size of a record of the tape.
            Header::Zeros => State::Header,
            Header::Other(0, _) => {
                // A link or a folder has taken it.
                self.file_len = None;
                State::Header
            }
            Header::File(len) => {
                let len = self.file_len.take().unwrap_or(len);
                if len == 0 {
                    self.state = State::Header;
                    return;
                }
                let layer = Layer::new(self.depth + 1, self.shape, Trust::Judge);
                State::File(Box::new(layer), len, padding(len))
            }
            Header::Other(len, is_extended) => {
                let skipped = Part::skipped(self.depth, self.shape);
                let attributes = is_extended.then(Vec::new);
                State::Skip(Box::new(skipped), len.saturating_add(padding(len)), attributes)
            }
            Header::Sparse => {
                context.unreadable(self.shape, UnreadableReason::UnknownFormat);
                State::Rest(self.rest())
            }
            Header::Bad => {
                context.unreadable(self.shape, UnreadableReason::Damaged);
                State::Rest(self.rest())
            }
        };
    }

    /// Searches as it is what is no file.
    fn rest(&self) -> Box<Part> {
        Box::new(Part::skipped(self.depth, self.shape))
    }
}

fn padding(len: u64) -> u64 {
    (BLOCK as u64 - len % BLOCK as u64) % BLOCK as u64
}

enum Header {
    Zeros,
    File(u64),
    /// The length of its data, and whether that is an extended header for the next file.
    Other(u64, bool),
    /// A file with holes, whose map stands elsewhere.
    Sparse,
    Bad,
}

impl Header {
    fn of(block: &[u8]) -> Self {
        if block.iter().all(|byte| *byte == 0) {
            return Self::Zeros;
        }
        let Some(len) = number(&block[124..136]).filter(|_| is_header(block)) else {
            return Self::Bad;
        };
        match block[156] {
            b'S' => Self::Sparse,
            // Links, devices and folders have no data, whatever their size says.
            b'1'..=b'6' => Self::Other(0, false),
            // Attributes, long names, and what GNU has: a label, the names in a folder.
            b'x' => Self::Other(len, true),
            b'g' | b'K' | b'L' | b'V' | b'D' => Self::Other(len, false),
            // Whatever else it is, it is extracted as a file.
            _ => Self::File(len),
        }
    }
}

/// Whether a header stands here: it has the magic, and its checksum is right.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.get(..BLOCK).filter(|block| &block[257..262] == b"ustar") else {
        return false;
    };
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let field: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    // The checksum is taken with blanks in its own field.
    number(&block[148..156]) == Some(sum - field + 8 * u64::from(b' '))
}

/// The length of a file that an extended header states: lines of their own length, a name, `=` and a value.
fn stated_len(attributes: &[u8]) -> Option<u64> {
    let mut rest = attributes;
    let mut stated = None;
    while let Some(blank) = rest.iter().position(|byte| *byte == b' ') {
        let len: usize = std::str::from_utf8(&rest[..blank]).ok()?.parse().ok()?;
        let line = rest.get(blank + 1..len)?;
        if let Some(value) = line.strip_prefix(b"size=") {
            stated = std::str::from_utf8(value).ok()?.trim_end().parse().ok();
        }
        rest = &rest[len..];
    }
    stated
}

/// An octal number, or a binary one whose first bit is set (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let bytes = field.last_chunk::<8>()?;
        return Some(u64::from_be_bytes(*bytes)).filter(|number| i64::try_from(*number).is_ok());
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    let digits: Vec<u8> = digits.take_while(|byte| byte.is_ascii_digit()).copied().collect();
    u64::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()
}
