//! Thrift's compact protocol, walked field by field, so that a hostile message does not become gigabytes of values.

/// Structs within structs that are followed.
const MAX_DEPTH: usize = 16;

pub(super) const BYTES: u8 = 8;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;
const TRUE: u8 = 1;

/// What is left of a message. Every method gives `None` where it is malformed.
pub(super) struct Thrift<'a>(pub(super) &'a [u8]);

impl<'a> Thrift<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..10 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// An integer of any width.
    pub(super) fn integer(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn bytes(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// Calls `field` with the number and type of each field of a struct; it says whether it read the value.
    pub(super) fn fields(&mut self, mut field: impl FnMut(&mut Self, i64, u8) -> Option<bool>) -> Option<()> {
        let mut number = 0;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            number = match i64::from(header >> 4) {
                0 => self.integer()?,
                step => number + step,
            };
            let kind = header & 0x0f;
            if !field(self, number, kind)? {
                self.skip(kind, 0)?;
            }
        }
    }

    /// Whether a field that is a truth value is true: that stands in its type.
    pub(super) const fn is_true(kind: u8) -> bool {
        kind == TRUE
    }

    /// Calls `item` for each item of a list of structs.
    pub(super) fn structs(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let (len, kind) = self.list()?;
        if kind != STRUCT && len > 0 {
            return None;
        }
        (0..len).try_for_each(|_| item(self))
    }

    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let len = match header >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Some((len, header & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => {}
            3 => {
                self.byte()?;
            }
            4..=6 => {
                self.varint()?;
            }
            7 => {
                self.bytes(8)?;
            }
            BYTES => {
                let len = self.varint()?;
                self.bytes(len)?;
            }
            LIST | 10 => {
                let (len, kind) = self.list()?;
                for _ in 0..len {
                    self.skip_item(kind, depth)?;
                }
            }
            11 => {
                let len = self.varint()?;
                let kinds = if len > 0 { self.byte()? } else { 0 };
                for _ in 0..len {
                    self.skip_item(kinds >> 4, depth)?;
                    self.skip_item(kinds & 0x0f, depth)?;
                }
            }
            STRUCT => loop {
                let header = self.byte()?;
                if header == 0 {
                    break;
                }
                if header >> 4 == 0 {
                    self.varint()?;
                }
                self.skip(header & 0x0f, depth + 1)?;
            },
            13 => {
                self.bytes(16)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// An item of a list or map, where a truth value takes a byte.
    fn skip_item(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => self.byte().map(|_| ()),
            other => self.skip(other, depth + 1),
        }
    }
}
