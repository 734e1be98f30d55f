//! UTF-16, re-coded as UTF-8.

use super::layer::Layer;
use super::part::{Finished, Part};
use super::{Context, Copy, work};

pub(super) struct Utf16 {
    big_endian: bool,
    /// The first half of a unit.
    half: Option<u8>,
    /// The first half of a character.
    high: Option<u16>,
    inner: Layer,
    /// The same bytes as they are: in the midst of a log, a mark makes characters of what others wrote.
    raw: Part,
    text: String,
}

impl Utf16 {
    pub(super) fn new(big_endian: bool, inner: Layer, raw: Part) -> Self {
        Self { big_endian, half: None, high: None, inner, raw, text: String::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], context: &mut Context) {
        context.work.spend(bytes.len() as u64 / work::UTF16_BYTES);
        context.quietly(|context| self.raw.push(bytes, context));
        let mut rest = bytes;
        if let (Some(first), Some((second, after))) = (self.half, bytes.split_first()) {
            self.half = None;
            self.take([first, *second]);
            rest = after;
        }
        let mut pairs = rest.chunks_exact(2);
        pairs.by_ref().for_each(|pair| self.take([pair[0], pair[1]]));
        self.half = self.half.or(pairs.remainder().first().copied());
        self.inner.push(self.text.as_bytes(), context);
        self.text.clear();
    }

    fn take(&mut self, pair: [u8; 2]) {
        let unit = if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
        if unit < 0x80 && self.high.is_none() {
            self.text.push(char::from(unit as u8));
            return;
        }
        let units = [self.high.take(), Some(unit)];
        if (0xd800..0xdc00).contains(&unit) && units[0].is_none() {
            self.high = Some(unit);
            return;
        }
        let text = char::decode_utf16(units.into_iter().flatten());
        self.text.extend(text.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }

    /// What the characters came to, and the copies in the bytes as they are.
    pub(super) fn finish(self, context: &mut Context) -> (Finished, Vec<Copy>) {
        let finished = self.inner.finish(context);
        (finished, context.quietly(|context| self.raw.finish(context).copies))
    }
}
