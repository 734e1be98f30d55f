//! Reads Thrift's compact protocol field by field, so that a hostile message cannot make us allocate
//! gigabytes.

/// How deeply values may be nested inside a value that is skipped; a message that nests deeper counts as
/// malformed.
const MAX_SKIP_DEPTH: usize = 16;

// The codes of the types (Thrift compact protocol specification).
const TYPE_BOOL_TRUE: u8 = 1;
const TYPE_BOOL_FALSE: u8 = 2;
const TYPE_BYTE: u8 = 3;
const TYPE_I16: u8 = 4;
const TYPE_I32: u8 = 5;
const TYPE_I64: u8 = 6;
const TYPE_DOUBLE: u8 = 7;
pub(super) const TYPE_BINARY: u8 = 8;
pub(super) const TYPE_LIST: u8 = 9;
const TYPE_SET: u8 = 10;
const TYPE_MAP: u8 = 11;
pub(super) const TYPE_STRUCT: u8 = 12;
const TYPE_UUID: u8 = 13;

/// The part of a message that has not been read yet. Every method returns `None` if the message is malformed.
pub(super) struct CompactReader<'a>(pub(super) &'a [u8]);

impl<'a> CompactReader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for index in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads an integer of any width.
    pub(super) fn integer(&mut self) -> Option<i64> {
        let encoded = self.varint()?;
        Some((encoded >> 1).cast_signed() ^ -(encoded & 1).cast_signed())
    }

    fn bytes(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a struct: calls `read_field` with the id and the type code of each field. It must return whether
    /// it read the value; if not, the value is skipped.
    pub(super) fn for_each_field(
        &mut self,
        mut read_field: impl FnMut(&mut Self, i64, u8) -> Option<bool>,
    ) -> Option<()> {
        let mut field_id = 0;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            field_id = match i64::from(header >> 4) {
                0 => self.integer()?,
                delta => field_id.checked_add(delta)?,
            };
            let type_code = header & 0x0f;
            if !read_field(self, field_id, type_code)? {
                self.skip(type_code, 0)?;
            }
        }
    }

    /// Whether a value of this type is an integer. A field of another type than expected is skipped.
    pub(super) const fn is_integer(type_code: u8) -> bool {
        matches!(type_code, TYPE_BYTE | TYPE_I16 | TYPE_I32 | TYPE_I64)
    }

    /// The value of a boolean field. The type code itself contains it, so there is nothing to read.
    pub(super) const fn is_true(type_code: u8) -> bool {
        type_code == TYPE_BOOL_TRUE
    }

    /// Reads a list of structs: calls `read_struct` at the start of each.
    pub(super) fn for_each_struct(
        &mut self,
        mut read_struct: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let (len, item_type) = self.list_header()?;
        if item_type != TYPE_STRUCT && len > 0 {
            return None;
        }
        (0..len).try_for_each(|_| read_struct(self))
    }

    /// Reads the number of items of a list or set, and their type code.
    fn list_header(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let len = match header >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Some((len, header & 0x0f))
    }

    /// Skips a value of this type.
    fn skip(&mut self, type_code: u8, depth: usize) -> Option<()> {
        if depth > MAX_SKIP_DEPTH {
            return None;
        }
        match type_code {
            // The type code is the value.
            TYPE_BOOL_TRUE | TYPE_BOOL_FALSE => {}
            TYPE_BYTE => {
                self.byte()?;
            }
            TYPE_I16 | TYPE_I32 | TYPE_I64 => {
                self.varint()?;
            }
            TYPE_DOUBLE => {
                self.bytes(8)?;
            }
            TYPE_BINARY => {
                let len = self.varint()?;
                self.bytes(len)?;
            }
            TYPE_LIST | TYPE_SET => {
                let (len, item_type) = self.list_header()?;
                for _ in 0..len {
                    self.skip_item(item_type, depth)?;
                }
            }
            TYPE_MAP => {
                let len = self.varint()?;
                let key_and_value_types = if len > 0 { self.byte()? } else { 0 };
                for _ in 0..len {
                    self.skip_item(key_and_value_types >> 4, depth)?;
                    self.skip_item(key_and_value_types & 0x0f, depth)?;
                }
            }
            TYPE_STRUCT => loop {
                let header = self.byte()?;
                if header == 0 {
                    break;
                }
                if header >> 4 == 0 {
                    self.varint()?;
                }
                self.skip(header & 0x0f, depth + 1)?;
            },
            TYPE_UUID => {
                self.bytes(16)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Skips an item of a list, set or map. In these, unlike in structs, a boolean takes a byte.
    fn skip_item(&mut self, type_code: u8, depth: usize) -> Option<()> {
        match type_code {
            TYPE_BOOL_TRUE | TYPE_BOOL_FALSE => self.byte().map(|_| ()),
            other => self.skip(other, depth + 1),
        }
    }
}
