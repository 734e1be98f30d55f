//! Values that are bytes, in the encodings that hold them as they are or nearly so ("Parquet encoding
//! definitions").

use super::super::magic::HEAD;
use super::super::{Context, work};
use super::column::{Column, MIN_VALUE};
use super::page::{Encoding, Page};
use crate::domain::format::UnreadableReason;

/// Values whose lengths are held at a time. Writers make pages of 20,000 rows.
const MAX_NUMBERS: usize = 1 << 20;
/// Packed numbers that are unpacked at a time, so that a page does not have to hold more of them. Eight of them are
/// whole bytes in every width.
const NUMBERS_AT_A_TIME: usize = 1 << 10;
/// Longest value that is held because the next one may begin like it.
const MAX_HELD: usize = 8 << 20;
/// Longer values are handed on as they come.
pub(super) const MAX_WHOLE: usize = 64 << 10;

type Outcome = Result<(), UnreadableReason>;

/// Hands the values of a page on. What was handed on before a fault stays.
pub(super) fn read(
    encoding: Encoding,
    fixed_len: usize,
    page: &mut Page<'_>,
    column: &mut Column,
    context: &mut Context,
) -> Outcome {
    match encoding {
        Encoding::Plain if fixed_len > 0 => fixed(fixed_len, page, column, context),
        Encoding::Plain => plain(page, column, context),
        Encoding::DeltaLengthByteArray => delta_length(page, column, context),
        Encoding::DeltaByteArray => delta(page, column, context),
        // The caller has told them.
        Encoding::Dictionary | Encoding::Other => Ok(()),
    }?;
    page.end(context)
}

/// Values of one length, one behind the other. It is at least [`MIN_VALUE`]; some writers pad a page with less.
fn fixed(len: usize, page: &mut Page<'_>, column: &mut Column, context: &mut Context) -> Outcome {
    loop {
        while page.window().len() < MIN_VALUE && page.more(context)? {}
        let left = page.window().len();
        if left < MIN_VALUE {
            page.consume(left);
            return Ok(());
        }
        value(len, page, column, context)?;
    }
}

/// Each value behind its length (PLAIN).
fn plain(page: &mut Page<'_>, column: &mut Column, context: &mut Context) -> Outcome {
    loop {
        let mut rest = page.window();
        let before = rest.len();
        let mut long = None;
        let mut short = 0;
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = u32::from_le_bytes(*len) as usize;
            let Some((value, after)) = after.split_at_checked(len) else {
                long = (len > MAX_WHOLE).then_some(len);
                break;
            };
            rest = after;
            if len < MIN_VALUE {
                short += 1;
            } else {
                column.take(value, context);
            }
        }
        context.work.spend(short * work::SHORT_VALUE);
        let (left, taken) = (rest.len(), before - rest.len());
        if let Some(len) = long {
            page.consume(taken + 4);
            value(len, page, column, context)?;
            continue;
        }
        page.consume(taken);
        if !page.more(context)? {
            return if left == 0 { Ok(()) } else { Err(UnreadableReason::Damaged) };
        }
    }
}

/// The lengths first, and then all values together (DELTA_LENGTH_BYTE_ARRAY).
fn delta_length(page: &mut Page<'_>, column: &mut Column, context: &mut Context) -> Outcome {
    let (mut short, mut bytes) = (0, 0);
    for len in numbers(page, context)? {
        let len = len as usize;
        if len < MIN_VALUE {
            short += 1;
            bytes += len;
            continue;
        }
        skip_short(std::mem::take(&mut short), std::mem::take(&mut bytes), page, context)?;
        value(len, page, column, context)?;
    }
    skip_short(short, bytes, page, context)
}

/// Skips so many values, which are shorter than [`MIN_VALUE`] and have so many bytes together.
fn skip_short(count: u64, bytes: usize, page: &mut Page<'_>, context: &mut Context) -> Outcome {
    context.work.spend(count * work::SHORT_VALUE);
    page.skip(bytes, context)
}

/// How much each value has in common with the one before, and then the rest of each (DELTA_BYTE_ARRAY). The bytes of
/// all values can be many more than the page has, so what is repeated counts as inflated.
fn delta(page: &mut Page<'_>, column: &mut Column, context: &mut Context) -> Outcome {
    let prefixes = numbers(page, context)?;
    let suffixes = numbers(page, context)?;
    if prefixes.len() != suffixes.len() {
        return Err(UnreadableReason::Damaged);
    }
    let mut value: Vec<u8> = Vec::new();
    for (common, suffix) in prefixes.into_iter().zip(suffixes) {
        let common = common as usize;
        if common > value.len() {
            return Err(UnreadableReason::Damaged);
        }
        value.truncate(common);
        if value.len() + suffix as usize > MAX_HELD || context.allow_inflated(common) < common {
            return Err(UnreadableReason::OverLimit);
        }
        value.extend_from_slice(page.take(suffix as usize, context)?);
        if value.len() < MIN_VALUE {
            context.work.spend(work::VALUE);
        } else {
            column.take(&value, context);
        }
        if context.work.is_over() {
            return Err(UnreadableReason::OverLimit);
        }
    }
    Ok(())
}

/// Hands on the next value, which is as long as this.
fn value(len: usize, page: &mut Page<'_>, column: &mut Column, context: &mut Context) -> Outcome {
    if len < MIN_VALUE {
        return skip_short(1, len, page, context);
    }
    if len <= MAX_WHOLE {
        column.take(page.take(len, context)?, context);
        return Ok(());
    }
    // Its beginning says what it is.
    page.fill(HEAD, context)?;
    let mut left = len;
    while left > 0 {
        page.fill(1, context)?;
        let piece = &page.window()[..left.min(page.window().len())];
        let taken = piece.len();
        column.take_piece(piece, context);
        page.consume(taken);
        left -= taken;
    }
    column.end_value(context);
    Ok(())
}

/// Numbers as differences, packed by the bit (DELTA_BINARY_PACKED). They are lengths, so that others are damage.
fn numbers(page: &mut Page<'_>, context: &mut Context) -> Result<Vec<u32>, UnreadableReason> {
    let damaged = UnreadableReason::Damaged;
    let mut header = || usize::try_from(varint(page, context)?).map_err(|_| damaged);
    let (block, minis, count) = (header()?, header()?, header()?);
    let mut last = zigzag(page, context)?;
    if count > MAX_NUMBERS || block > MAX_NUMBERS {
        return Err(UnreadableReason::OverLimit);
    }
    if minis == 0 || minis > block || !block.is_multiple_of(minis) {
        return Err(damaged);
    }
    let per_mini = block / minis;
    let length = |number: i64| u32::try_from(number).map_err(|_| damaged);
    let mut numbers = Vec::new();
    if count > 0 {
        numbers.push(length(last)?);
    }
    while numbers.len() < count {
        let least = zigzag(page, context)?;
        let widths = page.take(minis, context)?.to_vec();
        for width in widths {
            let here = per_mini.min(count - numbers.len());
            if here == 0 {
                break;
            }
            if width > 64 {
                return Err(damaged);
            }
            context.work.spend(here as u64 * work::NUMBER);
            if context.work.is_over() {
                return Err(UnreadableReason::OverLimit);
            }
            numbers.reserve(here);
            // A miniblock is whole, although only some of its numbers count.
            let mut left = here;
            for first in (0..per_mini).step_by(NUMBERS_AT_A_TIME) {
                let count = NUMBERS_AT_A_TIME.min(per_mini - first);
                let packed = page.take((count * usize::from(width)).div_ceil(8), context)?;
                for at in 0..count.min(left) {
                    last = last.wrapping_add(least).wrapping_add(unpack(packed, at, width).cast_signed());
                    numbers.push(length(last)?);
                }
                left = left.saturating_sub(count);
            }
        }
    }
    Ok(numbers)
}

/// The number at place `at` of numbers of `width` bits, the lowest bit first.
fn unpack(packed: &[u8], at: usize, width: u8) -> u64 {
    let first = at * usize::from(width);
    let bytes = packed.get(first / 8..).unwrap_or_default();
    let word = bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut word = [0; 16];
        word[..bytes.len()].copy_from_slice(bytes);
        word
    });
    let mask = (1_u128 << width) - 1;
    (u128::from_le_bytes(word) >> (first % 8) & mask) as u64
}

fn varint(page: &mut Page<'_>, context: &mut Context) -> Result<u64, UnreadableReason> {
    let mut number = 0;
    for at in 0..10 {
        let byte = page.take(1, context)?[0];
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(UnreadableReason::Damaged)
}

fn zigzag(page: &mut Page<'_>, context: &mut Context) -> Result<i64, UnreadableReason> {
    let number = varint(page, context)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, bit by bit.
    fn by_bits(packed: &[u8], at: usize, width: u8) -> u64 {
        let first = at * usize::from(width);
        (first..first + usize::from(width))
            .enumerate()
            .fold(0, |number, (bit, place)| number | u64::from(packed[place / 8] >> (place % 8) & 1) << bit)
    }

    #[test]
    fn numbers_of_every_width_are_unpacked_from_wherever_they_stand() {
        let packed: Vec<u8> = (0_u32..512).map(|at| (at * at * 31 + at / 3 + 7) as u8).collect();
        for width in 0..=64 {
            for count in 1..=8 {
                let packed = &packed[..(count * usize::from(width)).div_ceil(8)];
                for at in 0..count {
                    assert_eq!(unpack(packed, at, width), by_bits(packed, at, width), "{width}, {at}");
                }
            }
        }
    }
}
