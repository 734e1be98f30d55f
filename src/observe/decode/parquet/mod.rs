//! Parquet: the pages of columns that hold strings or bytes.
//!
//! Only values are searched. Statistics, page indexes and Bloom filters repeat values or parts of them, and
//! pages that refer to a dictionary hold no values at all: the dictionary has each once, however many rows
//! use it. So one trace in one file is one copy, and a file says nothing of copies within it.
//!
//! The file must be held whole, because what its pages are stands at its end. A page is only decompressed if
//! the size that it states is within the limits.

mod footer;
mod page;
mod thrift;
mod values;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use self::footer::{Chunk, TRAILER};
use self::page::{Encoding, Header, PageKind, decompress};
use self::values::Delta;
use super::codec::Output;
use super::layer::Layer;
use super::magic::{HEAD, Place, begin};
use super::part::Trust;
use super::{Context, Copy, work};
use crate::domain::format::{Format, Shape, UnreadableReason};

/// Largest page that is decompressed; writers make them of 1 MiB, and let a dictionary grow to that.
const MAX_PAGE: usize = 64 << 20;
/// Shortest value that can hold a tag in any form.
const MIN_VALUE: usize = 32;
/// Values are handed on by so much at a time.
const PIECE: usize = 64 << 10;

/// Searches a file. `Err` says why none of it could be.
pub(super) fn open(
    file: &[u8],
    depth: usize,
    shape: Shape,
    context: &mut Context,
) -> Result<Vec<Copy>, UnreadableReason> {
    if file.starts_with(b"PARE") {
        return Err(UnreadableReason::Encrypted);
    }
    let chunks = footer::read(file)?;
    let pages = &file[..file.len() - TRAILER];
    let mut found =
        Found { depth, shape, order: Vec::new(), places: HashMap::new(), page: Output::default() };
    for chunk in &chunks {
        context.work.spend(work::LAYER);
        if context.work.is_over() {
            context.unreadable(shape, UnreadableReason::OverLimit);
            break;
        }
        if chunk.encrypted {
            context.unreadable(shape, UnreadableReason::Encrypted);
        } else {
            search_chunk(pages, chunk, &mut found, context);
        }
    }
    Ok(found.order)
}

/// Copies, one for each trace.
struct Found {
    depth: usize,
    shape: Shape,
    order: Vec<Copy>,
    places: HashMap<crate::domain::tag::TraceId, usize>,
    /// The latest page. Its memory is used for the next one, since fresh memory costs more than inflating into
    /// it.
    page: Output,
}

impl Found {
    fn add(&mut self, copies: Vec<Copy>, context: &Context) {
        for copy in copies {
            match self.places.entry(copy.tag.trace) {
                Entry::Occupied(place) => self.order[*place.get()].join(copy.integrity),
                Entry::Vacant(place) if self.order.len() <= context.limits.max_copies => {
                    place.insert(self.order.len());
                    self.order.push(copy);
                }
                Entry::Vacant(_) => {}
            }
        }
    }
}

fn search_chunk(pages: &[u8], chunk: &Chunk, found: &mut Found, context: &mut Context) {
    let range = || {
        let start = usize::try_from(chunk.start).ok()?;
        let end = start.checked_add(usize::try_from(chunk.len).ok()?)?;
        pages.get(start..end)
    };
    let Some(mut rest) = range() else {
        context.unreadable(found.shape, UnreadableReason::Damaged);
        return;
    };
    if chunk.leaf.fixed_len > 0 && chunk.leaf.fixed_len < MIN_VALUE {
        return;
    }
    let mut column = Column::new(found);
    while !rest.is_empty() {
        context.work.spend(work::DECODER);
        if context.work.is_over() {
            context.unreadable(found.shape, UnreadableReason::OverLimit);
            break;
        }
        let opened = Header::read(&mut rest).and_then(|header| {
            let (packed, after) = rest.split_at_checked(header.compressed_len)?;
            rest = after;
            Some((header, packed))
        });
        let Some((header, packed)) = opened else {
            context.unreadable(found.shape, UnreadableReason::Damaged);
            break;
        };
        if let Err((format, reason)) =
            search_page(&header, packed, chunk, &mut found.page, &mut column, context)
        {
            let shape = format.map_or(found.shape, |format| found.shape.then(format));
            context.unreadable(shape, reason);
            if format.is_some() || reason == UnreadableReason::OverLimit {
                break;
            }
        }
    }
    column.finish(found, context);
}

type Fault = (Option<Format>, UnreadableReason);

fn search_page(
    header: &Header,
    packed: &[u8],
    chunk: &Chunk,
    page: &mut Output,
    column: &mut Column,
    context: &mut Context,
) -> Result<(), Fault> {
    let is_data = matches!(header.kind, PageKind::Data | PageKind::DataV2 { .. });
    if header.kind == PageKind::Other || (is_data && header.encoding == Encoding::Dictionary) {
        return Ok(());
    }
    if header.decompressed_len > MAX_PAGE || header.decompressed_len as u64 > context.room() {
        return Err((None, UnreadableReason::OverLimit));
    }
    let damaged = (None, UnreadableReason::Damaged);
    let (levels_len, compressed) = match header.kind {
        PageKind::DataV2 { levels_len, compressed } => (levels_len, compressed),
        PageKind::Data | PageKind::Dictionary | PageKind::Other => (0, true),
    };
    let packed = packed.get(levels_len..).ok_or(damaged)?;
    let len = header.decompressed_len.checked_sub(levels_len).ok_or(damaged)?;
    // A page of nothing but nulls has no bytes to decompress.
    if len == 0 || packed.is_empty() {
        return Ok(());
    }
    let codec = if compressed { chunk.codec } else { 0 };
    context.allow_inflated(len);
    decompress(codec, packed, len, page, &mut context.work).map_err(|error| (error.codec, error.reason))?;
    let values = match header.kind {
        PageKind::Data => header.values_of_v1(page, chunk.leaf).ok_or(damaged)?,
        PageKind::DataV2 { .. } | PageKind::Dictionary | PageKind::Other => page,
    };
    let each = |value: &[u8]| column.take(value, context);
    let read = match header.encoding {
        Encoding::Plain if chunk.leaf.fixed_len > 0 => {
            values.chunks(chunk.leaf.fixed_len).for_each(each);
            Some(())
        }
        Encoding::Plain => values::plain(values, each),
        Encoding::DeltaLengthByteArray => values::delta_length(values, each),
        Encoding::DeltaByteArray => {
            let room = context.room();
            let mut total = 0;
            let read = values::delta(values, room, |value| {
                total += value.len();
                column.take(value, context);
            });
            context.allow_inflated(total);
            match read {
                Ok(()) => Some(()),
                Err(Delta::Damaged) => None,
                Err(Delta::OverLimit) => return Err((None, UnreadableReason::OverLimit)),
            }
        }
        // BYTE_STREAM_SPLIT tears values apart.
        Encoding::Dictionary | Encoding::Other => {
            return Err((Some(Format::Binary), UnreadableReason::UnknownFormat));
        }
    };
    read.ok_or(damaged)
}

/// The values of one column chunk, as lines.
struct Column {
    depth: usize,
    shape: Shape,
    lines: Layer,
    buffer: Vec<u8>,
    copies: Vec<Copy>,
}

impl Column {
    fn new(found: &Found) -> Self {
        Self {
            depth: found.depth,
            shape: found.shape,
            lines: Layer::values(found.depth + 1, found.shape, Trust::Judge),
            buffer: Vec::new(),
            copies: Vec::new(),
        }
    }

    fn take(&mut self, value: &[u8], context: &mut Context) {
        if value.len() < MIN_VALUE {
            return;
        }
        // What is compressed or an archive once more.
        if begin(&value[..HEAD], Place::Start).is_some() {
            let mut layer = Layer::new(self.depth + 1, self.shape, Trust::Judge);
            layer.push(value, context);
            let mut copies = layer.finish(context).copies;
            copies.truncate((context.limits.max_copies + 1).saturating_sub(self.copies.len()));
            self.copies.append(&mut copies);
            return;
        }
        if value.len() >= PIECE {
            self.flush(context);
            self.lines.push(value, context);
            self.lines.push(b"\n", context);
            return;
        }
        self.buffer.extend_from_slice(value);
        self.buffer.push(b'\n');
        if self.buffer.len() >= PIECE {
            self.flush(context);
        }
    }

    fn flush(&mut self, context: &mut Context) {
        self.lines.push(&self.buffer, context);
        self.buffer.clear();
    }

    fn finish(mut self, found: &mut Found, context: &mut Context) {
        self.flush(context);
        let copies = self.lines.finish(context).copies;
        found.add(copies, context);
        found.add(self.copies, context);
    }
}
