//! The footer: which columns hold strings, and where their pages are (`parquet.thrift` of parquet-format
//! 2.12).

use std::ops::Range;

use super::super::work::{self, Work};
use super::thrift::{CompactReader, TYPE_BINARY, TYPE_LIST, TYPE_STRUCT};
use crate::domain::format::UnreadableReason;

const MAGIC: &[u8] = b"PAR1";
/// An encrypted footer.
const ENCRYPTED_MAGIC: &[u8] = b"PARE";
/// The length of the footer, and the magic.
pub(super) const TRAILER: usize = 8;
/// `Type.BYTE_ARRAY` and `Type.FIXED_LEN_BYTE_ARRAY`.
const BYTE_ARRAY: i64 = 6;
const FIXED: i64 = 7;

/// How many columns and column chunks are read: an entry may take a single byte of the footer.
const MAX_COLUMNS: usize = 1 << 16;
const MAX_CHUNKS: usize = 1 << 18;
/// How many groups of the schema may stand one inside the other.
const MAX_GROUPS: usize = 256;

/// A column of the schema that has values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaf {
    /// Length of its values, if all have the same; 0 otherwise.
    pub(super) fixed_len: usize,
    /// The `Type` of its values, if it is stated.
    kind: Option<i64>,
    /// Deepest definition and repetition levels.
    pub(super) max_definition: u32,
    pub(super) max_repetition: u32,
}

/// The pages of one column in one row group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub(super) leaf: Leaf,
    /// What it says itself of the type of its values.
    kind: Option<i64>,
    pub(super) codec: i64,
    /// How many values it has, with nulls.
    pub(super) values: u64,
    /// Where its first page stands, and how long all of them are.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) encrypted: bool,
    /// Whether it says that its pages are in another file.
    pub(super) is_elsewhere: bool,
}

impl Chunk {
    /// Whether its values are bytes.
    pub(super) const fn is_bytes(&self) -> bool {
        matches!(self.leaf.kind, Some(BYTE_ARRAY | FIXED)) || matches!(self.kind, Some(BYTE_ARRAY | FIXED))
    }

    /// Whether it contradicts the schema.
    pub(super) fn is_contradictory(&self) -> bool {
        self.kind.is_some() && self.kind != self.leaf.kind
    }

    /// Where in `file` its pages are.
    pub(super) fn range(&self, file: &[u8]) -> Option<Range<usize>> {
        let start = usize::try_from(self.start).ok()?;
        let end = start.checked_add(usize::try_from(self.len).ok()?)?;
        (end <= file.len()).then_some(start..end)
    }
}

/// The column chunks, and where the footer begins.
pub(super) fn read(file: &[u8], work: &mut Work) -> Result<(Vec<Chunk>, usize), UnreadableReason> {
    let (rest, magic) = file.split_at(file.len().saturating_sub(MAGIC.len()));
    if magic == ENCRYPTED_MAGIC {
        return Err(UnreadableReason::Encrypted);
    }
    if magic != MAGIC {
        return Err(UnreadableReason::Truncated);
    }
    let place = || {
        let (rest, len) = rest.split_last_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        rest.len().checked_sub(len).filter(|at| *at >= MAGIC.len())
    };
    let at = place().ok_or(UnreadableReason::Damaged)?;
    let footer = &file[at..file.len() - TRAILER];
    work.spend(footer.len() as u64 * work::FIELD_BYTE);
    if work.is_over() {
        return Err(UnreadableReason::OverLimit);
    }
    let (leaves, chunks) = parse(footer).ok_or(UnreadableReason::Damaged)?;
    let fits = leaves.len() <= MAX_COLUMNS && chunks.len() <= MAX_CHUNKS;
    if fits { Ok((chunks, at)) } else { Err(UnreadableReason::OverLimit) }
}

/// The columns and their chunks; one more than the limit of either, if there are more.
fn parse(footer: &[u8]) -> Option<(Vec<Leaf>, Vec<Chunk>)> {
    let mut leaves = Vec::new();
    let mut chunks = Vec::new();
    CompactReader(footer).for_each_field(|reader, field_id, type_code| match (field_id, type_code) {
        (2, TYPE_LIST) => {
            leaves = schema(reader)?;
            Some(true)
        }
        (4, TYPE_LIST) if leaves.len() <= MAX_COLUMNS => {
            reader.for_each_struct(|group| row_group(group, &leaves, &mut chunks))?;
            Some(true)
        }
        _ => Some(false),
    })?;
    Some((leaves, chunks))
}

/// The leaves of the schema, which is written as a list: each element, and then its children.
fn schema(reader: &mut CompactReader<'_>) -> Option<Vec<Leaf>> {
    let mut leaves = Vec::new();
    // Children that are still to come, and the levels of their parent.
    let mut open: Vec<(i64, u32, u32)> = Vec::new();
    let mut is_root = true;
    reader.for_each_struct(|element| {
        let (mut kind, mut len, mut repetition, mut children) = (None, 0, 0, 0);
        element.for_each_field(|reader, field_id, type_code| {
            match field_id {
                _ if !CompactReader::is_integer(type_code) => return Some(false),
                1 => kind = Some(reader.integer()?),
                2 => len = reader.integer()?,
                3 => repetition = reader.integer()?,
                5 => children = reader.integer()?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        while open.last().is_some_and(|(left, ..)| *left <= 0) {
            open.pop();
        }
        let (mut definition, mut repeated) = (0, 0);
        if let Some((left, of_definition, of_repetition)) = open.last_mut() {
            *left -= 1;
            // OPTIONAL is 1 and REPEATED is 2.
            definition = *of_definition + u32::from(repetition != 0);
            repeated = *of_repetition + u32::from(repetition == 2);
        } else if !is_root {
            return None;
        }
        is_root = false;
        if children > 0 {
            open.push((children, definition, repeated));
            return (open.len() <= MAX_GROUPS).then_some(());
        }
        if leaves.len() <= MAX_COLUMNS {
            leaves.push(Leaf {
                fixed_len: if kind == Some(FIXED) { usize::try_from(len).ok()? } else { 0 },
                kind,
                max_definition: definition,
                max_repetition: repeated,
            });
        }
        Some(())
    })?;
    Some(leaves)
}

fn row_group(reader: &mut CompactReader<'_>, leaves: &[Leaf], chunks: &mut Vec<Chunk>) -> Option<()> {
    reader.for_each_field(|reader, field_id, type_code| {
        if (field_id, type_code) != (1, TYPE_LIST) {
            return Some(false);
        }
        let mut leaves = leaves.iter();
        reader.for_each_struct(|column| {
            let mut chunk = Chunk { leaf: leaves.next().copied()?, ..Chunk::default() };
            column.for_each_field(|reader, field_id, type_code| match (field_id, type_code) {
                (1, TYPE_BINARY) => {
                    chunk.is_elsewhere = true;
                    Some(false)
                }
                (3, TYPE_STRUCT) => metadata(reader, &mut chunk).map(|()| true),
                // The key of the column, or its encrypted metadata.
                (8 | 9, _) => {
                    chunk.encrypted = true;
                    Some(false)
                }
                _ => Some(false),
            })?;
            if chunks.len() <= MAX_CHUNKS {
                chunks.push(chunk);
            }
            Some(())
        })?;
        Some(true)
    })
}

fn metadata(reader: &mut CompactReader<'_>, chunk: &mut Chunk) -> Option<()> {
    let (mut data, mut dictionary) = (0, 0);
    reader.for_each_field(|reader, field_id, type_code| {
        match field_id {
            _ if !CompactReader::is_integer(type_code) => return Some(false),
            1 => chunk.kind = Some(reader.integer()?),
            5 => chunk.values = u64::try_from(reader.integer()?).ok()?,
            4 => chunk.codec = reader.integer()?,
            7 => chunk.len = u64::try_from(reader.integer()?).ok()?,
            9 => data = u64::try_from(reader.integer()?).ok()?,
            11 => dictionary = u64::try_from(reader.integer()?).ok()?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    // Some writers state 0 where there is no dictionary, or no page but it.
    chunk.start = if data > 0 && dictionary > 0 { data.min(dictionary) } else { data.max(dictionary) };
    Some(())
}
