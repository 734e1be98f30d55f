//! One wrapper: looks at how the bytes begin, takes the wrapper off, and hands what is inside to the next layer.

use std::io::Write;

use flate2::write::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use super::text::Text;
use super::{Context, Copy, kpl};

/// RFC 1952, section 2.3.1: two bytes of magic, and deflate, the only method there is.
const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
/// RFC 8878, section 3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Longest of the magics.
const HEAD: usize = 4;
/// RFC 8878, section 3.1.1.1.2, recommends that decoders support windows of at least 8 MiB; a frame that asks for
/// more is refused, because nested frames may each ask.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes that are inflated at a time.
const PIECE: usize = 32 << 10;

pub(super) struct Layer {
    depth: usize,
    kind: Kind,
}

enum Kind {
    /// Too few bytes so far to tell.
    Unknown(Vec<u8>),
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
    Kpl(Vec<u8>),
    Text(Box<Text>),
}

impl Layer {
    pub(super) fn new(depth: usize) -> Self {
        Self { depth, kind: Kind::Unknown(Vec::new()) }
    }

    pub(super) fn push(&mut self, bytes: &[u8], context: &mut Context) {
        match &mut self.kind {
            Kind::Unknown(head) => {
                let (first, rest) = bytes.split_at(bytes.len().min(HEAD - head.len()));
                head.extend_from_slice(first);
                if head.len() == HEAD {
                    self.settle(context);
                    self.push(rest, context);
                }
            }
            Kind::Gzip(gzip) => gzip.push(bytes, context),
            Kind::Zstd(zstd) => zstd.push(bytes, context),
            Kind::Kpl(held) if held.len() + bytes.len() > context.limits.max_kpl_bytes => {
                // Larger than any aggregate that a stream would take.
                let held = std::mem::take(held);
                let mut text = Box::new(Text::new(self.depth));
                text.push(&held, context);
                text.push(bytes, context);
                self.kind = Kind::Text(text);
            }
            Kind::Kpl(held) => held.extend_from_slice(bytes),
            Kind::Text(text) => text.push(bytes, context),
        }
    }

    pub(super) fn finish(mut self, context: &mut Context) -> Vec<Copy> {
        if matches!(self.kind, Kind::Unknown(_)) {
            self.settle(context);
        }
        match self.kind {
            Kind::Unknown(_) => Vec::new(),
            Kind::Gzip(gzip) => gzip.finish(context),
            Kind::Zstd(zstd) => zstd.finish(context),
            Kind::Kpl(held) => finish_kpl(self.depth, &held, context),
            Kind::Text(text) => text.finish(context),
        }
    }

    /// Decides what the head begins.
    fn settle(&mut self, context: &mut Context) {
        let Kind::Unknown(head) = &mut self.kind else {
            return;
        };
        let head = std::mem::take(head);
        let wrapped = head.starts_with(GZIP) || head == ZSTD || head == kpl::MAGIC;
        let too_deep = wrapped && self.depth >= context.limits.max_depth;
        if too_deep {
            context.cut();
        }
        self.kind = if !wrapped || too_deep {
            Kind::Text(Box::new(Text::new(self.depth)))
        } else if head == kpl::MAGIC {
            Kind::Kpl(Vec::new())
        } else if head == ZSTD {
            Kind::Zstd(Box::new(Zstd::new(self.depth)))
        } else {
            Kind::Gzip(Box::new(Gzip::new(self.depth)))
        };
        self.push(&head, context);
    }
}

/// Opens an aggregate; what is none after all is a plain record.
fn finish_kpl(depth: usize, held: &[u8], context: &mut Context) -> Vec<Copy> {
    let Some(records) = kpl::open(held, context.limits.max_kpl_records) else {
        let mut text = Text::new(depth);
        text.push(held, context);
        return text.finish(context);
    };
    if records.more {
        context.cut();
    }
    let mut copies = Vec::new();
    for data in records.data {
        let mut layer = Layer::new(depth + 1);
        layer.push(data, context);
        copies.append(&mut layer.finish(context));
        if copies.len() > context.limits.max_copies {
            break;
        }
    }
    copies
}

/// What some writers put between members or at the end: line breaks, and zeros up to a block.
fn is_filler(byte: u8) -> bool {
    byte == 0 || byte.is_ascii_whitespace()
}

fn skip_filler(bytes: &[u8]) -> &[u8] {
    let filler = bytes.iter().take_while(|byte| is_filler(**byte)).count();
    &bytes[filler..]
}

/// One or several members of gzip, whose contents follow on each other.
struct Gzip {
    member: Option<GzDecoder<Vec<u8>>>,
    inner: Layer,
    over: bool,
}

impl Gzip {
    fn new(depth: usize) -> Self {
        Self { member: None, inner: Layer::new(depth + 1), over: false }
    }

    fn push(&mut self, mut bytes: &[u8], context: &mut Context) {
        while !self.over && !bytes.is_empty() {
            let Some(member) = &mut self.member else {
                bytes = skip_filler(bytes);
                match bytes.first() {
                    None => {}
                    Some(first) if *first == GZIP[0] => {
                        self.member = Some(GzDecoder::new(Vec::with_capacity(PIECE)));
                    }
                    Some(_) => self.give_up(context),
                }
                continue;
            };
            // One call inflates at most one small buffer, so that a bomb is noticed before it has gone off.
            match member.write(bytes) {
                // All of the member, its trailer too, has been read.
                Ok(0) => self.end_member(context),
                Ok(taken) => {
                    bytes = &bytes[taken..];
                    self.pass_on(context);
                }
                Err(_) => {
                    // What was inflated before the fault stands in the decoder's own buffer.
                    let _ = member.try_finish();
                    self.pass_on(context);
                    self.give_up(context);
                }
            }
        }
    }

    fn finish(mut self, context: &mut Context) -> Vec<Copy> {
        if !self.over && self.member.is_some() {
            self.end_member(context);
        }
        self.inner.finish(context)
    }

    /// Checks the length and checksum of a member that ends here.
    fn end_member(&mut self, context: &mut Context) {
        let whole = self.member.as_mut().is_some_and(|member| member.try_finish().is_ok());
        self.pass_on(context);
        self.member = None;
        if !whole && !self.over {
            self.give_up(context);
        }
    }

    fn pass_on(&mut self, context: &mut Context) {
        let Some(member) = &mut self.member else {
            return;
        };
        let inflated = member.get_mut();
        let allowed = context.allow_inflated(inflated.len());
        self.inner.push(&inflated[..allowed], context);
        let bomb = allowed < inflated.len();
        inflated.clear();
        if bomb {
            self.stop(context, Context::cut);
        }
    }

    fn give_up(&mut self, context: &mut Context) {
        self.stop(context, Context::fault);
    }

    fn stop(&mut self, context: &mut Context, note: fn(&mut Context)) {
        if !self.over {
            note(context);
        }
        self.over = true;
        self.member = None;
    }
}

/// One or several frames of zstd, whose contents follow on each other.
struct Zstd {
    decoder: Option<ZstdDecoder<'static>>,
    inflated: Vec<u8>,
    inner: Layer,
    /// Whether a frame has begun and not ended.
    within: bool,
    /// How many bytes end the block that is being read. No more is fed at a time, because what one call inflated is
    /// lost when the same call meets a fault.
    hint: usize,
}

impl Zstd {
    fn new(depth: usize) -> Self {
        let decoder = ZstdDecoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
            Ok(decoder)
        });
        Self {
            decoder: decoder.ok(),
            inflated: vec![0; PIECE],
            inner: Layer::new(depth + 1),
            within: true,
            hint: 1,
        }
    }

    fn push(&mut self, mut bytes: &[u8], context: &mut Context) {
        loop {
            if !self.within {
                bytes = skip_filler(bytes);
            }
            if bytes.is_empty() {
                return;
            }
            let Some(decoder) = &mut self.decoder else {
                return;
            };
            // A call may take nothing in while it gives out what it still holds, so it is repeated until neither.
            let block = &bytes[..bytes.len().min(self.hint)];
            match decoder.run_on_buffers(block, &mut self.inflated) {
                Ok(step) => {
                    bytes = &bytes[step.bytes_read..];
                    self.within = step.remaining != 0;
                    self.hint = step.remaining.max(1);
                    self.pass_on(step.bytes_written, context);
                    if step.bytes_read == 0 && step.bytes_written == 0 && self.within {
                        return self.give_up(context);
                    }
                    if bytes.is_empty() && step.bytes_written == PIECE {
                        self.flush(context);
                    }
                }
                Err(error) => return self.stop(context, reason(&error)),
            }
        }
    }

    /// Fetches what the decoder holds beyond one buffer.
    fn flush(&mut self, context: &mut Context) {
        while let Some(decoder) = &mut self.decoder {
            match decoder.run_on_buffers(&[], &mut self.inflated) {
                Ok(step) => {
                    if step.bytes_written > 0 {
                        self.within = step.remaining != 0;
                        self.hint = step.remaining.max(1);
                    }
                    self.pass_on(step.bytes_written, context);
                    if step.bytes_written < PIECE {
                        return;
                    }
                }
                Err(error) => return self.stop(context, reason(&error)),
            }
        }
    }

    fn finish(mut self, context: &mut Context) -> Vec<Copy> {
        if self.within {
            self.give_up(context);
        }
        self.inner.finish(context)
    }

    fn pass_on(&mut self, len: usize, context: &mut Context) {
        let allowed = context.allow_inflated(len);
        self.inner.push(&self.inflated[..allowed], context);
        if allowed < len {
            self.stop(context, Context::cut);
        }
    }

    fn give_up(&mut self, context: &mut Context) {
        self.stop(context, Context::fault);
    }

    fn stop(&mut self, context: &mut Context, note: fn(&mut Context)) {
        if self.decoder.take().is_some() {
            note(context);
        }
        self.within = false;
    }
}

/// Whose limit an error is: a frame whose window is beyond ours is sound, and anybody else could read it. The crate
/// passes on the library's words only (`ZSTD_error_frameParameter_windowTooLarge`).
fn reason(error: &std::io::Error) -> fn(&mut Context) {
    if error.to_string().contains("too much memory") { Context::cut } else { Context::fault }
}
