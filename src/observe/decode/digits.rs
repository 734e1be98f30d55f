//! The characters of base64, asked about many at a time.
//!
//! The tests are arithmetic and combined without branches, so that the compiler makes instructions for many
//! bytes of them.

const DIGIT: u8 = 1;
const BACKSLASH: u8 = 2;
const LINE_BREAK: u8 = 3;
/// What each byte can be in a run.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_";
    let mut at = 0;
    while at < digits.len() {
        class[digits[at] as usize] = DIGIT;
        at += 1;
    }
    class[b'\\' as usize] = BACKSLASH;
    class[b'\n' as usize] = LINE_BREAK;
    class[b'\r' as usize] = LINE_BREAK;
    class
};

/// How many bytes are asked about together where only a few are, and where there are many.
pub(super) const CHUNK: usize = 16;
const BLOCK: usize = 64;

/// The same as `DIGIT`.
const fn is_one_of_digits(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26)
        | (byte.wrapping_sub(b'/') < 11)
        | (byte == b'+')
        | (byte == b'-')
        | (byte == b'_')
}

/// The same as a class other than 0.
const fn may_be_in_run(byte: u8) -> bool {
    is_one_of_digits(byte) | (byte == b'\\') | is_line_break(byte)
}

const fn is_line_break(byte: u8) -> bool {
    (byte == b'\n') | (byte == b'\r')
}

const _: () = {
    let mut byte = 0;
    while byte < 256 {
        let class = CLASS[byte];
        assert!(may_be_in_run(byte as u8) == (class != 0), "the two must agree");
        assert!(is_one_of_digits(byte as u8) == (class == DIGIT), "the two must agree");
        byte += 1;
    }
};

fn is_digit(byte: u8) -> bool {
    CLASS[byte as usize] == DIGIT
}

/// Whether a run that holds nothing in itself ends before this byte.
pub(super) fn ends_run(next: u8) -> bool {
    CLASS[next as usize] == 0 && next != b'='
}

/// A digit in the alphabet that is not safe in URLs.
pub(super) const fn plain_digit(digit: u8) -> u8 {
    match digit {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// How many digits the text begins with.
pub(super) fn count_digits(text: &[u8]) -> usize {
    let is_other = |byte: u8| !is_one_of_digits(byte);
    let whole = count_blocks(text, is_other);
    let (chunks, rest) = text[whole..].as_chunks::<CHUNK>();
    for (nth, chunk) in chunks.iter().enumerate() {
        if has_any(chunk, is_other) {
            return whole + nth * CHUNK + first(marks(chunk, is_other));
        }
    }
    whole + chunks.len() * CHUNK + rest.iter().take_while(|byte| is_digit(**byte)).count()
}

/// Whether all of them are hexadecimal.
pub(super) fn are_hex(digits: &[u8]) -> bool {
    let is_hex = |byte: u8| ((byte | 0x20).wrapping_sub(b'a') < 6) | (byte.wrapping_sub(b'0') < 10);
    let (blocks, rest) = digits.as_chunks::<BLOCK>();
    !blocks.iter().any(|block| has_any(block, |byte| !is_hex(byte))) && !has(rest, |byte| !is_hex(byte))
}

/// Whether the last bytes may all be in a run.
pub(super) fn ends_within_run(window: &[u8]) -> bool {
    window.last_chunk::<CHUNK>().is_some_and(|ending| !has_any(ending, is_outside))
}

/// Where the last byte stands that is in no run.
pub(super) fn last_outside(window: &[u8]) -> Option<usize> {
    let (rest, chunks) = window.as_rchunks::<CHUNK>();
    for (nth, chunk) in chunks.iter().enumerate().rev() {
        if has_any(chunk, is_outside) {
            return Some(rest.len() + nth * CHUNK + last(marks(chunk, is_outside)));
        }
    }
    match window.first_chunk::<CHUNK>() {
        // What was looked at already has none.
        Some(chunk) => has_any(chunk, is_outside).then(|| last(marks(chunk, is_outside))),
        None => rest.iter().rposition(|byte| CLASS[usize::from(*byte)] == 0),
    }
}

/// Whether a line break is among them.
pub(super) fn has_line_break(text: &[u8]) -> bool {
    has(text, is_line_break)
}

/// How many bytes at the start are line breaks, in whole blocks.
pub(super) fn empty_lines(text: &[u8]) -> usize {
    count_blocks(text, |byte| !is_line_break(byte))
}

/// Whether a letter, given in lower case, is among them in either case.
pub(super) fn has_letter(text: &[u8], letter: u8) -> bool {
    has(text, |byte| byte | 0x20 == letter)
}

/// Whether a byte is of no run.
pub(super) const fn is_outside(byte: u8) -> bool {
    !may_be_in_run(byte)
}

/// How many bytes at the start are in whole blocks without such a byte.
#[inline]
fn count_blocks(text: &[u8], is: impl Fn(u8) -> bool + Copy) -> usize {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    blocks.iter().take_while(|block| !has_any(block, is)).count() * BLOCK
}

#[inline]
fn has(text: &[u8], is: impl Fn(u8) -> bool + Copy) -> bool {
    let (chunks, rest) = text.as_chunks::<CHUNK>();
    chunks.iter().any(|chunk| has_any(chunk, is)) || rest.iter().any(|byte| is(*byte))
}

#[inline]
fn has_any<const LEN: usize>(chunk: &[u8; LEN], is: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(0, |any, byte| any | u8::from(is(*byte))) != 0
}

/// 1 for each byte that is so, and otherwise 0. An array's `map` would make a branch for each byte.
#[inline]
fn marks(chunk: &[u8; CHUNK], is: impl Fn(u8) -> bool) -> [u8; CHUNK] {
    let mut marks = [0; CHUNK];
    for (mark, byte) in marks.iter_mut().zip(chunk) {
        *mark = u8::from(is(*byte));
    }
    marks
}

const fn first(marks: [u8; CHUNK]) -> usize {
    u128::from_le_bytes(marks).trailing_zeros() as usize / 8
}

const fn last(marks: [u8; CHUNK]) -> usize {
    CHUNK - 1 - u128::from_le_bytes(marks).leading_zeros() as usize / 8
}
