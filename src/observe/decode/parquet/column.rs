//! The values of one column chunk, as lines.

use super::super::layer::Layer;
use super::super::magic::{HEAD, Place, begin};
use super::super::part::{Trust, search_raw};
use super::super::{Context, Copy, work};
use super::footer::Leaf;
use super::page::{Header, Page};
use crate::domain::format::{Shape, UnreadableReason};

/// Shortest value that can hold a tag in any form. It is not shorter than what tells what begins ([`HEAD`]).
pub(super) const MIN_VALUE: usize = 32;
/// Values are handed on by so much at a time.
const PIECE: usize = 64 << 10;

pub(super) struct Column {
    depth: usize,
    shape: Shape,
    lines: Layer,
    buffer: Vec<u8>,
    /// The value that comes in pieces.
    open: Option<Open>,
    copies: Vec<Copy>,
}

enum Open {
    Line,
    /// What is compressed or an archive once more.
    Layer(Box<Layer>),
}

impl Column {
    pub(super) fn new(depth: usize, shape: Shape) -> Self {
        Self {
            depth,
            shape,
            lines: Layer::values(depth + 1, shape, Trust::Judge),
            buffer: Vec::new(),
            open: None,
            copies: Vec::new(),
        }
    }

    /// Takes a value of at least [`MIN_VALUE`] bytes.
    pub(super) fn take(&mut self, value: &[u8], context: &mut Context) {
        context.work.spend(work::VALUE);
        if value.len() >= PIECE || begin(&value[..HEAD], Place::Start).is_some() {
            self.take_piece(value, context);
            self.end_value(context);
            return;
        }
        self.buffer.extend_from_slice(value);
        self.buffer.push(b'\n');
        if self.buffer.len() >= PIECE {
            self.flush(context);
        }
    }

    /// Takes a piece of a value; the first must tell what the value is.
    pub(super) fn take_piece(&mut self, piece: &[u8], context: &mut Context) {
        if self.open.is_none() {
            self.flush(context);
            let is_line = begin(&piece[..piece.len().min(HEAD)], Place::Start).is_none();
            let layer = || Layer::new(self.depth + 1, self.shape, Trust::Judge);
            self.open = Some(if is_line { Open::Line } else { Open::Layer(Box::new(layer())) });
        }
        match &mut self.open {
            Some(Open::Layer(layer)) => layer.push(piece, context),
            Some(Open::Line) | None => self.lines.push(piece, context),
        }
    }

    /// Ends the value that came in pieces, if one did.
    pub(super) fn end_value(&mut self, context: &mut Context) {
        match self.open.take() {
            None => {}
            Some(Open::Line) => self.lines.push(b"\n", context),
            Some(Open::Layer(layer)) => {
                let mut copies = layer.finish(context).copies;
                copies.truncate((context.limits.max_copies + 1).saturating_sub(self.copies.len()));
                self.copies.append(&mut copies);
            }
        }
    }

    /// Searches as they are the levels that precede the values in a data page of version 1.
    pub(super) fn search_levels(
        &mut self,
        page: &mut Page<'_>,
        header: &Header,
        leaf: Leaf,
        context: &mut Context,
    ) -> Result<(), UnreadableReason> {
        let (depth, shape) = (self.depth, self.shape);
        page.skip_levels(header, leaf, context, |levels, context| {
            self.copies.extend(search_raw(depth, shape, levels, context));
        })
    }

    fn flush(&mut self, context: &mut Context) {
        self.lines.push(&self.buffer, context);
        self.buffer.clear();
    }

    /// The copies in the lines, and those in what was opened.
    pub(super) fn finish(mut self, context: &mut Context) -> [Vec<Copy>; 2] {
        self.end_value(context);
        self.flush(context);
        [self.lines.finish(context).copies, self.copies]
    }
}
