//! Parquet: the pages of columns that hold strings or bytes.
//!
//! Only values are searched. Statistics, page indexes and Bloom filters repeat values or parts of them, and
//! pages that refer to a dictionary hold no values at all: the dictionary has each once, however many rows
//! use it. So one trace in one file is one copy, and a file says nothing of copies within it.
//!
//! The file must be held whole, because what its pages are stands at its end. A page is only decompressed if
//! the size that it states is within the limits, and searched while it is decompressed. What belongs to no such column
//! is searched as it is.

mod column;
mod footer;
mod page;
mod thrift;
mod values;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use self::column::{Column, MIN_VALUE};
use self::footer::{Chunk, TRAILER};
use self::page::{Encoding, Header, Page, PageKind};
use super::codec::Output;
use super::part::search_raw;
use super::{Context, Copy, work};
use crate::domain::format::{Format, Shape, UnreadableReason};

const MAGIC_LEN: usize = 4;
/// Largest page that is decompressed; writers make them of 1 MiB, and let a dictionary grow to that.
const MAX_PAGE: usize = 64 << 20;

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
    let (chunks, footer) = footer::read(file, &mut context.work)?;
    let pages = &file[..file.len() - TRAILER];
    let mut found =
        Found { depth, shape, order: Vec::new(), places: HashMap::new(), window: Output::default() };
    let mut read: Vec<Range<usize>> = Vec::new();
    for chunk in &chunks {
        context.work.spend(work::LAYER);
        if context.work.is_over() {
            context.unreadable(shape, UnreadableReason::OverLimit);
            break;
        }
        if chunk.encrypted && chunk.is_bytes() {
            context.unreadable(shape, UnreadableReason::Encrypted);
        } else if chunk.is_bytes() {
            if chunk.is_contradictory() {
                context.unreadable(shape, UnreadableReason::Damaged);
            }
            match chunk.range(&file[..footer]) {
                Some(range) => {
                    search_chunk(&pages[range.clone()], chunk, &mut found, context);
                    read.push(range);
                }
                None if chunk.is_elsewhere => {}
                None => context.unreadable(shape, UnreadableReason::Damaged),
            }
        }
    }
    // What no such chunk has: numbers, indexes, Bloom filters, the footer; and lines, if that is a forgery.
    read.sort_by_key(|range| range.start);
    let mut at = MAGIC_LEN;
    for range in read.into_iter().chain(std::iter::once(pages.len()..pages.len())) {
        if let Some(gap) = pages.get(at..range.start) {
            found.search_raw(gap, context);
        }
        at = at.max(range.end);
    }
    Ok(found.order)
}

/// Copies, one for each trace.
struct Found {
    depth: usize,
    shape: Shape,
    order: Vec<Copy>,
    places: HashMap<crate::domain::tag::TraceId, usize>,
    /// What was decompressed of the latest page. Its memory is used for the next one, since fresh memory costs more
    /// than inflating into it.
    window: Output,
}

impl Found {
    /// Searches as it is what has no values.
    fn search_raw(&mut self, bytes: &[u8], context: &mut Context) {
        let copies = search_raw(self.depth, self.shape, bytes, context);
        self.add(copies, context);
    }

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
    let mut rest = pages;
    if chunk.leaf.fixed_len > 0 && chunk.leaf.fixed_len < MIN_VALUE {
        found.search_raw(pages, context);
        return;
    }
    let mut column = Column::new(found.depth, found.shape);
    let mut values = 0;
    let mut is_whole = true;
    while !rest.is_empty() {
        context.work.spend(work::DECODER);
        if context.work.is_over() {
            context.unreadable(found.shape, UnreadableReason::OverLimit);
            break;
        }
        let before = rest.len();
        let header = Header::read(&mut rest);
        context.work.spend((before - rest.len()) as u64 * work::FIELD_BYTE);
        let opened = header.and_then(|header| {
            let (packed, after) = rest.split_at_checked(header.compressed_len)?;
            rest = after;
            Some((header, packed))
        });
        let Some((header, packed)) = opened else {
            context.unreadable(found.shape, UnreadableReason::Damaged);
            found.search_raw(rest, context);
            is_whole = false;
            break;
        };
        if matches!(header.kind, PageKind::Data | PageKind::DataV2 { .. }) {
            values = u64::saturating_add(values, header.value_count as u64);
        }
        if let PageKind::DataV2 { levels_len, .. } = header.kind {
            found.search_raw(&packed[..levels_len.min(packed.len())], context);
        }
        if header.has_no_values() {
            found.search_raw(packed, context);
            continue;
        }
        if let Err((format, reason)) =
            search_page(&header, packed, chunk, &mut found.window, &mut column, context)
        {
            is_whole = false;
            let shape = format.map_or(found.shape, |format| found.shape.then(format));
            context.unreadable(shape, reason);
            if format.is_some() || reason == UnreadableReason::OverLimit {
                break;
            }
        }
    }
    if is_whole && values < chunk.values && !context.work.is_over() {
        // It ends before its pages do.
        context.unreadable(found.shape, UnreadableReason::Truncated);
    }
    for copies in column.finish(context) {
        found.add(copies, context);
    }
}

type Fault = (Option<Format>, UnreadableReason);

fn search_page(
    header: &Header,
    packed: &[u8],
    chunk: &Chunk,
    window: &mut Output,
    column: &mut Column,
    context: &mut Context,
) -> Result<(), Fault> {
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
        return if packed.len() < MIN_VALUE { Ok(()) } else { Err(damaged) };
    }
    if matches!(header.encoding, Encoding::Dictionary | Encoding::Other) {
        // BYTE_STREAM_SPLIT tears values apart.
        return Err((Some(Format::Binary), UnreadableReason::UnknownFormat));
    }
    let codec = if compressed { chunk.codec } else { 0 };
    let mut page = Page::open(codec, packed, len, window, context)?;
    let read = (|| {
        if header.kind == PageKind::Data {
            column.search_levels(&mut page, header, chunk.leaf, context)?;
        }
        values::read(header.encoding, chunk.leaf.fixed_len, &mut page, column, context)
    })();
    column.end_value(context);
    read.map_err(|reason| (None, reason))
}
