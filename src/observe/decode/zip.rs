//! ZIP archives (APPNOTE.TXT 6.3.10), entry by entry as they come.
//!
//! The central directory at the end is only skipped, so nothing is held. What is skipped is searched as it is, since its
//! length may be wrong. Where an entry does not say how long it is, its compressed stream does; a stored one ends where a
//! data descriptor states just the length that it has by then.

use memchr::memmem;

use super::codec::{Codec, End, Gather, Inflate, Output, guarded};
use super::layer::Layer;
use super::part::{Part, Trust};
use super::{Context, Copy, work};
use crate::domain::format::{Format, Shape, UnreadableReason};

const ENTRY: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
/// The end of the central directory, and of the archive.
const DIRECTORY_END: [u8; 4] = *b"PK\x05\x06";
/// What may stand after the last entry: the headers of the central directory, its end, the end in zip64 and where that
/// is, extra data, a signature of the archive.
const DIRECTORY: [Record; 6] = [
    Record { signature: *b"PK\x01\x02", fixed: 46, lens: &[28, 30, 32], width: 2 },
    Record { signature: DIRECTORY_END, fixed: 22, lens: &[20], width: 2 },
    Record { signature: *b"PK\x06\x06", fixed: 12, lens: &[4], width: 8 },
    Record { signature: *b"PK\x06\x07", fixed: 20, lens: &[], width: 0 },
    Record { signature: *b"PK\x06\x08", fixed: 8, lens: &[4], width: 4 },
    Record { signature: *b"PK\x05\x05", fixed: 6, lens: &[4], width: 2 },
];

/// A kind of record after the last entry.
struct Record {
    signature: [u8; 4],
    /// Length of its fixed part, and where in it the lengths stand of what follows on that, as numbers of `width` bytes.
    fixed: usize,
    lens: &'static [usize],
    width: usize,
}

impl Record {
    /// How much follows on the fixed part.
    fn len_of_rest(&self, fixed: &[u8]) -> u64 {
        let len = |at: &usize| {
            let mut number = [0; 8];
            number[..self.width].copy_from_slice(&fixed[*at..*at + self.width]);
            u64::from_le_bytes(number)
        };
        self.lens.iter().map(len).sum()
    }
}

/// The fixed part of an entry's header.
const HEADER: usize = 30;
/// Name and extra fields that are longer are searched.
const MAX_NAME: usize = 128;
/// Longest data descriptor: signature, checksum, two sizes of zip64.
const MAX_DESCRIPTOR: usize = 24;

pub(super) struct Zip {
    depth: usize,
    shape: Shape,
    state: State,
    gather: Gather,
    /// What a step of the codec gives; its memory is used again.
    out: Output,
    copies: Vec<Copy>,
}

enum State {
    Signature,
    /// The length of the header with name and extra fields, once known.
    Header(usize),
    /// What an entry holds, how much of it comes, if that is known, and whether a descriptor follows.
    Entry(Box<Entry>, Option<u64>, bool),
    /// After an entry whose length stands behind it; what came of the descriptor and the next signature.
    Descriptor(Vec<u8>),
    /// After the last entry: a record of the directory, as a row of [`DIRECTORY`].
    Directory(usize),
    /// How much is left of it, whether it is the last, and a search of it.
    DirectoryRest(u64, bool, Box<Part>),
    /// The archive is over.
    Whole,
    Rest(Box<Part>),
}

enum Entry {
    Inflate(Inflate, Layer, bool),
    /// Stored, or in a format that tells itself.
    Plain(Layer),
    /// Stored, until a descriptor fits: how much was handed on, and what was not yet.
    Until(Layer, u64, Vec<u8>),
    Unreadable(Box<Part>),
}

/// What the header of an entry says.
struct Header {
    method: u16,
    encrypted: bool,
    /// Compressed size, if it stands in the header.
    len: Option<u64>,
    descriptor: bool,
}

impl Zip {
    pub(super) fn new(depth: usize, shape: Shape) -> Self {
        Self {
            depth,
            shape,
            state: State::Signature,
            gather: Gather::default(),
            out: Output::default(),
            copies: Vec::new(),
        }
    }

    /// Takes some of `input`; how much. What is left does not belong to the archive.
    pub(super) fn push(&mut self, input: &[u8], context: &mut Context) -> usize {
        let mut rest = input;
        while !rest.is_empty() && !self.is_whole() && !context.work.is_over() {
            context.work.spend(work::STEP);
            if let Err(reason) = self.step(&mut rest, context) {
                self.give_up(reason, context);
            }
        }
        if self.is_whole() { input.len() - rest.len() } else { input.len() }
    }

    /// Whether all of the archive was taken.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.state, State::Whole)
    }

    pub(super) fn finish(mut self, context: &mut Context) -> Vec<Copy> {
        match std::mem::replace(&mut self.state, State::Whole) {
            State::Whole => {}
            State::Rest(part) => {
                let copies = part.finish(context).copies;
                self.collect(copies, context);
            }
            State::Signature | State::Header(_) | State::Descriptor(_) | State::Directory(_) => {
                context.unreadable(self.shape, UnreadableReason::Truncated);
            }
            State::DirectoryRest(_, _, skipped) => {
                context.unreadable(self.shape, UnreadableReason::Truncated);
                self.end_skipped(*skipped, context);
            }
            State::Entry(entry, ..) => {
                context.unreadable(self.shape, UnreadableReason::Truncated);
                self.end(*entry, context);
            }
        }
        self.copies
    }

    fn give_up(&mut self, reason: UnreadableReason, context: &mut Context) {
        context.unreadable(self.shape, reason);
        if let State::Entry(entry, ..) = std::mem::replace(&mut self.state, State::Whole) {
            self.end(*entry, context);
        }
        self.rest();
    }

    fn rest(&mut self) {
        self.state = State::Rest(Box::new(Part::skipped(self.depth, self.shape)));
    }

    fn collect(&mut self, mut copies: Vec<Copy>, context: &Context) {
        copies.truncate((context.limits.max_copies + 1).saturating_sub(self.copies.len()));
        self.copies.append(&mut copies);
    }

    fn end(&mut self, entry: Entry, context: &mut Context) {
        let finished = match entry {
            Entry::Inflate(_, layer, _) | Entry::Plain(layer) => layer.finish(context),
            Entry::Until(mut layer, _, held) => {
                layer.push(&held, context);
                layer.finish(context)
            }
            Entry::Unreadable(part) => part.finish(context),
        };
        self.collect(finished.copies, context);
    }

    fn step(&mut self, input: &mut &[u8], context: &mut Context) -> Result<(), UnreadableReason> {
        match &mut self.state {
            State::Whole => {}
            State::Directory(row) => {
                let kind = &DIRECTORY[*row];
                let Some(fixed) = self.gather.take(input, kind.fixed) else {
                    return Ok(());
                };
                let len = kind.len_of_rest(fixed);
                self.gather.clear();
                let is_last = kind.signature == DIRECTORY_END;
                self.state = match len {
                    0 => Self::after_record(is_last),
                    _ => State::DirectoryRest(len, is_last, Box::new(self.skipped(context))),
                };
            }
            State::DirectoryRest(left, is_last, skipped) => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                let (record, rest) = input.split_at(len);
                *input = rest;
                *left -= len as u64;
                context.quietly(|context| skipped.push(record, context));
                if *left == 0 {
                    let next = Self::after_record(*is_last);
                    if let State::DirectoryRest(_, _, skipped) = std::mem::replace(&mut self.state, next) {
                        self.end_skipped(*skipped, context);
                    }
                }
            }
            State::Rest(part) => {
                part.push(input, context);
                *input = &[];
            }
            State::Signature => {
                let Some(signature) = self.gather.take(input, 4) else {
                    return Ok(());
                };
                let signature = [signature[0], signature[1], signature[2], signature[3]];
                self.begin(signature)?;
            }
            State::Header(len) => {
                let len = *len;
                let Some(header) = self.gather.take(input, len) else {
                    return Ok(());
                };
                if len == HEADER {
                    let size = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
                    let all = HEADER + size(26) + size(28);
                    if all > HEADER {
                        self.state = State::Header(all);
                        return Ok(());
                    }
                }
                let header = Header::of(header);
                let names = self.gather.leftover();
                if names.len() > HEADER + MAX_NAME {
                    let mut skipped = self.skipped(context);
                    context.quietly(|context| skipped.push(&names[HEADER..], context));
                    self.end_skipped(skipped, context);
                }
                self.begin_entry(&header, context)?;
            }
            State::Entry(..) => return self.take_entry(input, context),
            State::Descriptor(held) => {
                held.push(input[0]);
                *input = &input[1..];
                let sizes = held.len().checked_sub(4);
                if let Some(sizes) = sizes.filter(|sizes| matches!(sizes, 12 | 16 | 20 | 24)) {
                    let signature = [held[sizes], held[sizes + 1], held[sizes + 2], held[sizes + 3]];
                    if signature == ENTRY || row(signature).is_some() {
                        self.begin(signature)?;
                    } else if sizes == MAX_DESCRIPTOR {
                        return Err(UnreadableReason::Damaged);
                    }
                }
            }
        }
        Ok(())
    }

    /// A signature has been read.
    fn begin(&mut self, signature: [u8; 4]) -> Result<(), UnreadableReason> {
        self.gather.clear();
        self.state = match signature {
            ENTRY => {
                // The header is gathered with its signature.
                let mut again: &[u8] = &ENTRY;
                self.gather.take(&mut again, HEADER);
                State::Header(HEADER)
            }
            // An archive that was meant to be split begins with it.
            DESCRIPTOR => State::Signature,
            _ => {
                let mut again: &[u8] = &signature;
                self.gather.take(&mut again, HEADER);
                State::Directory(row(signature).ok_or(UnreadableReason::Damaged)?)
            }
        };
        Ok(())
    }

    const fn after_record(is_last: bool) -> State {
        if is_last { State::Whole } else { State::Signature }
    }

    /// Searches what is skipped.
    fn skipped(&self, context: &mut Context) -> Part {
        context.work.spend(work::LAYER);
        Part::skipped(self.depth, self.shape)
    }

    fn end_skipped(&mut self, skipped: Part, context: &mut Context) {
        let copies = context.quietly(|context| skipped.finish(context).copies);
        self.collect(copies, context);
    }

    fn begin_entry(&mut self, header: &Header, context: &mut Context) -> Result<(), UnreadableReason> {
        let part = |format| Part::new(self.depth, self.shape, Trust::Judge).undecoded(format);
        let layer = || Layer::new(self.depth + 1, self.shape, Trust::Judge);
        let unreadable = |format, reason, context: &mut Context| {
            context.unreadable(self.shape.then(format), reason);
            Entry::Unreadable(Box::new(part(format)))
        };
        context.work.spend(work::DECODER);
        let entry = match header.method {
            _ if header.encrypted => {
                context.unreadable(self.shape, UnreadableReason::Encrypted);
                Entry::Unreadable(Box::new(part(Format::Binary)))
            }
            0 if header.len.is_none() => Entry::Until(layer(), 0, Vec::new()),
            0 => Entry::Plain(layer()),
            8 => Entry::Inflate(Inflate::raw(), layer(), false),
            // bzip2, zstd and xz stand there with their own headers.
            12 | 93 | 95 if header.len.is_some() => Entry::Plain(layer()),
            9 => unreadable(Format::Deflate64, UnreadableReason::UnknownFormat, context),
            14 => unreadable(Format::Lzma, UnreadableReason::UnknownFormat, context),
            _ => unreadable(Format::Binary, UnreadableReason::UnknownFormat, context),
        };
        if header.len.is_none() && matches!(entry, Entry::Unreadable(_)) {
            // Nobody says where it ends.
            self.rest();
            return Ok(());
        }
        if header.len == Some(0) {
            self.end(entry, context);
            self.state = if header.descriptor { State::Descriptor(Vec::new()) } else { State::Signature };
            return Ok(());
        }
        self.state = State::Entry(Box::new(entry), header.len, header.descriptor);
        Ok(())
    }

    fn take_entry(&mut self, input: &mut &[u8], context: &mut Context) -> Result<(), UnreadableReason> {
        let State::Entry(entry, left, described) = &mut self.state else {
            return Ok(());
        };
        let len = left.map_or(input.len(), |left| {
            usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))
        });
        let (data, rest) = input.split_at(len);
        let mut over = false;
        match &mut **entry {
            Entry::Plain(layer) => {
                layer.push(data, context);
                *input = rest;
            }
            Entry::Unreadable(part) => {
                part.push(data, context);
                *input = rest;
            }
            Entry::Inflate(codec, layer, ended) => {
                let (taken, fault) = if *ended {
                    (0, None)
                } else {
                    inflate(codec, data, layer, &mut self.out, ended, context)
                };
                if let Some(reason) = fault {
                    *input = &input[taken..];
                    return Err(reason);
                }
                if left.is_some() && *ended && taken < data.len() {
                    // It is said to be longer than it is, which would hide what follows.
                    *input = &input[taken..];
                    return Err(UnreadableReason::Damaged);
                }
                // Without a size, what follows on the stream is not of the entry.
                over = *ended && left.is_none();
                *input = if left.is_none() { &input[taken..] } else { rest };
            }
            Entry::Until(layer, given, held) => {
                held.extend_from_slice(data);
                *input = rest;
                if let Some((at, len)) = descriptor(held, *given) {
                    layer.push(&held[..at], context);
                    let again = held.split_off(at + len);
                    held.clear();
                    // What follows stands at the end of the input.
                    *input = &data[data.len().saturating_sub(again.len())..];
                    let ended = std::mem::replace(&mut self.state, State::Signature);
                    if let State::Entry(entry, ..) = ended {
                        self.end(*entry, context);
                    }
                    return Ok(());
                }
                let sure = held.len().saturating_sub(MAX_DESCRIPTOR);
                layer.push(&held[..sure], context);
                *given += sure as u64;
                held.drain(..sure);
                return Ok(());
            }
        }
        if let Some(left) = left {
            *left -= data.len() as u64;
            over = *left == 0;
        }
        if over {
            let whole = !matches!(&**entry, Entry::Inflate(_, _, false));
            let next = if *described { State::Descriptor(Vec::new()) } else { State::Signature };
            if let State::Entry(entry, ..) = std::mem::replace(&mut self.state, next) {
                self.end(*entry, context);
            }
            if !whole {
                return Err(UnreadableReason::Damaged);
            }
        }
        Ok(())
    }
}

/// Which record of the directory begins with this.
fn row(signature: [u8; 4]) -> Option<usize> {
    DIRECTORY.iter().position(|record| record.signature == signature)
}

/// Decompresses; how much was taken, and why it could not go on.
fn inflate(
    codec: &mut Inflate,
    data: &[u8],
    layer: &mut Layer,
    out: &mut Output,
    ended: &mut bool,
    context: &mut Context,
) -> (usize, Option<UnreadableReason>) {
    let mut taken = 0;
    context.work.spend(work::PUSH);
    loop {
        context.work.spend(work::STEP);
        out.clear();
        let step = match guarded(|| codec.step(&data[taken..], out)) {
            Ok(step) => step,
            Err(reason) => return (data.len(), Some(reason)),
        };
        taken += step.taken;
        let allowed = context.allow_inflated(out.len());
        layer.push(&out[..allowed], context);
        if allowed < out.len() {
            return (taken, Some(UnreadableReason::OverLimit));
        }
        match step.end {
            Some(End::Fault(reason)) => return (taken, Some(reason)),
            Some(End::Whole) => {
                *ended = true;
                return (taken, None);
            }
            None if step.taken == 0 && out.is_empty() => return (taken, None),
            None => {}
        }
    }
}

/// Where in `held` a data descriptor stands that states the length of all before it, and how long it is;
/// `given` bytes came before `held`.
fn descriptor(held: &[u8], given: u64) -> Option<(usize, usize)> {
    memmem::find_iter(held, &DESCRIPTOR).find_map(|at| {
        let fields = held.get(at + 8..)?;
        let len = given + at as u64;
        let small = fields.first_chunk().is_some_and(|size| u64::from(u32::from_le_bytes(*size)) == len);
        let large = fields.first_chunk().is_some_and(|size| u64::from_le_bytes(*size) == len);
        // Zip64 has zeros where the other form has the second size, which is the same as the first when
        // stored.
        match (small, large) {
            (_, true) if len > 0 => (held.len() >= at + 24).then_some((at, 24)),
            (true, _) => (held.len() >= at + 16).then_some((at, 16)),
            _ => None,
        }
    })
}

impl Header {
    fn of(bytes: &[u8]) -> Self {
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (flags, method) = (short(6), short(8));
        let (packed, plain) = (long(18), long(22));
        let mut len = u64::from(packed);
        if packed == u32::MAX {
            let extra = bytes.get(HEADER + usize::from(short(26))..).unwrap_or_default();
            len = zip64(extra, plain == u32::MAX).unwrap_or(len);
        }
        let descriptor = flags & 0x08 != 0;
        // Method 99 is AES (the specification of WinZip).
        let encrypted = flags & 0x41 != 0 || method == 99;
        Self { method, encrypted, len: (!descriptor || len > 0).then_some(len), descriptor }
    }
}

/// The compressed size in the extra field of zip64, where it stands behind the other size if that is there,
/// too.
fn zip64(mut extra: &[u8], has_plain: bool) -> Option<u64> {
    while let Some((header, rest)) = extra.split_first_chunk::<4>() {
        let len = usize::from(u16::from_le_bytes([header[2], header[3]]));
        let (field, rest) = rest.split_at_checked(len)?;
        if header[..2] == [1, 0] {
            let at = if has_plain { 8 } else { 0 };
            return field.get(at..)?.first_chunk().map(|size| u64::from_le_bytes(*size));
        }
        extra = rest;
    }
    None
}
