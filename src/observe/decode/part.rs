//! A part that is not compressed: searches it, and decides at its end whether it was read.

use std::collections::HashSet;

use super::magic::{self, Named};
use super::text::Text;
use super::text_sample::TextSample;
use super::{Context, Copy, work};
use crate::domain::canary::Integrity;
use crate::domain::format::{Format, FoundIn, Shape, UnreadableReason};

/// Last bytes that are kept for [`magic::name`].
const ENDING: usize = 8;

/// What is expected of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trust {
    /// It is read if it is mostly text.
    Judge,
    /// It came out of what may not have been base64 at all, so it is reported only where its format is
    /// certain.
    Guess,
    /// It came out of a container of typed values, of which only some are text.
    Values,
}

/// A part that is being searched.
pub(super) struct Part {
    shape: Shape,
    trust: Trust,
    text: Text,
    sample: TextSample,
    opening: [u8; magic::OPENING],
    ending: [u8; ENDING],
    /// It is only searched as it is, and what is found in it has this shape.
    undecoded: Option<Shape>,
    /// What it is if it is not text.
    suspect: Option<(Format, UnreadableReason)>,
}

/// What a part came to.
pub(super) struct Finished {
    pub(super) copies: Vec<Copy>,
    /// Its bytes were not understood, and that was not reported.
    pub(super) unknown: bool,
}

impl Part {
    pub(super) fn new(depth: usize, shape: Shape, trust: Trust) -> Self {
        Self {
            shape,
            trust,
            text: Text::new(depth, shape),
            sample: TextSample::default(),
            opening: [0; magic::OPENING],
            ending: [0; ENDING],
            undecoded: None,
            suspect: None,
        }
    }

    /// What has no data by its format, or is left of a container after a fault. It is searched as it is, and nothing
    /// in it is opened: what only looks like a member would take in what follows on it. A canary in it, even a whole
    /// one, says nothing about others: they may be in the data only.
    pub(super) fn skipped(depth: usize, shape: Shape) -> Self {
        Self { undecoded: Some(shape), ..Self::new(depth, shape, Trust::Guess) }
    }

    /// What is left of `format`, which has been reported. It is searched in the same way.
    pub(super) fn undecoded(mut self, format: Format) -> Self {
        self.undecoded = Some(self.shape.then(format));
        self
    }

    /// It began like `format`.
    pub(super) fn suspect(mut self, format: Format, reason: UnreadableReason) -> Self {
        self.suspect = Some((format, reason));
        self
    }

    pub(super) fn push(&mut self, bytes: &[u8], context: &mut Context) {
        let before = usize::try_from(self.sample.len).unwrap_or(usize::MAX);
        if let Some(opening) = self.opening.get_mut(before..) {
            let len = opening.len().min(bytes.len());
            opening[..len].copy_from_slice(&bytes[..len]);
        }
        let new = &bytes[bytes.len().saturating_sub(ENDING)..];
        self.ending.rotate_left(new.len());
        self.ending[ENDING - new.len()..].copy_from_slice(new);
        self.sample.add(bytes);
        self.text.push(bytes, context);
    }

    pub(super) fn finish(self, context: &mut Context) -> Finished {
        let Self { shape, trust, text, sample, opening, ending, undecoded, suspect } = self;
        let text = text.finish(context);
        let mut copies = text.copies;
        if sample.is_block() {
            copies.iter_mut().for_each(|copy| copy.compressed = true);
        }
        if let Some(shape) = undecoded {
            return Finished { copies: without_credit(copies, shape), unknown: false };
        }
        let is_text = sample.is_text();
        if let Some(Named { format, sure }) = magic::name(&opening, &ending)
            && (sure || !is_text)
        {
            let encrypted = format.is_encryption();
            let reason =
                if encrypted { UnreadableReason::Encrypted } else { UnreadableReason::UnknownFormat };
            let unknown = trust == Trust::Guess && !sure;
            if !unknown {
                context.unreadable(shape.then(format), reason);
            }
            return Finished { copies: by_luck(copies, shape.then(format)), unknown };
        }
        if is_text || (trust == Trust::Values && sample.has_text()) {
            // Most of it is base64 that gave nothing we know.
            if text.unknown_runs * 2 > sample.len {
                context.unreadable(
                    shape.then(Format::Base64).then(Format::Binary),
                    UnreadableReason::UnknownFormat,
                );
            }
            return Finished { copies, unknown: false };
        }
        let unknown = trust == Trust::Guess && suspect.is_none();
        let (format, reason) = suspect.unwrap_or((Format::Binary, UnreadableReason::UnknownFormat));
        if !unknown {
            context.unreadable(shape.then(format), reason);
        }
        Finished { copies: by_luck(copies, shape.then(format)), unknown }
    }
}

/// No tag in any form is shorter.
const MIN_RAW: usize = 32;
/// What is searched as it is comes in pieces of this size.
const RAW_PIECE: usize = 64 << 10;

/// Searches as it is what has no data by its format.
pub(super) fn search_raw(depth: usize, shape: Shape, bytes: &[u8], context: &mut Context) -> Vec<Copy> {
    if bytes.len() < MIN_RAW {
        return Vec::new();
    }
    context.work.spend(bytes.len() as u64 / work::RAW_BYTES);
    context.quietly(|context| {
        let mut part = Part::skipped(depth, shape);
        bytes.chunks(RAW_PIECE).for_each(|piece| part.push(piece, context));
        part.finish(context).copies
    })
}

/// Hits in bytes that were not decoded: a compressor copies some of a text as it is and refers back to the
/// rest, and statistics repeat a value. So they are one copy for each trace, and nothing is known of its
/// integrity. Even a whole canary says nothing about the next one if its surroundings are compressed.
fn by_luck(copies: Vec<Copy>, shape: Shape) -> Vec<Copy> {
    let keeps = shape.innermost().is_some_and(Format::keeps_strings);
    let verbatim =
        copies.iter().filter(|copy| keeps && copy.integrity == Integrity::Intact && !copy.compressed);
    let verbatim: HashSet<_> = verbatim.map(|copy| copy.tag.trace).collect();
    let mut copies = without_credit(copies, shape);
    for copy in &mut copies {
        copy.found_in.verbatim = verbatim.contains(&copy.tag.trace);
    }
    copies
}

/// The first copy of each trace, of which nothing more is known than that it is there.
fn without_credit(copies: Vec<Copy>, shape: Shape) -> Vec<Copy> {
    let mut seen = HashSet::new();
    let first = copies.into_iter().filter(|copy| seen.insert(copy.tag.trace));
    let found_in = FoundIn { shape, decoded: false, verbatim: false };
    first.map(|copy| Copy { integrity: Integrity::Unchecked, found_in, ..copy }).collect()
}
