//! UTF-16, re-coded as UTF-8.

use super::Context;
use super::layer::Layer;
use super::part::Finished;

pub(super) struct Utf16 {
    big_endian: bool,
    /// The first half of a unit.
    half: Option<u8>,
    /// The first half of a character.
    high: Option<u16>,
    inner: Layer,
    text: String,
}

impl Utf16 {
    pub(super) fn new(big_endian: bool, inner: Layer) -> Self {
        Self { big_endian, half: None, high: None, inner, text: String::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], context: &mut Context) {
        for byte in bytes {
            let Some(first) = self.half.take() else {
                self.half = Some(*byte);
                continue;
            };
            let pair = [first, *byte];
            let unit = if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
            self.take(unit);
        }
        self.inner.push(self.text.as_bytes(), context);
        self.text.clear();
    }

    fn take(&mut self, unit: u16) {
        let units = [self.high.take(), Some(unit)];
        if (0xd800..0xdc00).contains(&unit) && units[0].is_none() {
            self.high = Some(unit);
            return;
        }
        let text = char::decode_utf16(units.into_iter().flatten());
        self.text.extend(text.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }

    pub(super) fn finish(self, context: &mut Context) -> Finished {
        self.inner.finish(context)
    }
}
