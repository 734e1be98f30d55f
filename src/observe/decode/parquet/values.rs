//! Values that are bytes, in the encodings that hold them as they are or nearly so ("Parquet encoding
//! definitions").

/// Numbers that are decoded at a time; a page has thousands of values.
const MAX_VALUES: usize = 4 << 20;

/// Calls `each` with every value behind its length (PLAIN); `None` where they run over the end.
pub(super) fn plain(mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Option<()> {
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        each(value);
        bytes = rest;
    }
    bytes.is_empty().then_some(())
}

/// The lengths first, and then all values together (DELTA_LENGTH_BYTE_ARRAY).
pub(super) fn delta_length(bytes: &[u8], mut each: impl FnMut(&[u8])) -> Option<()> {
    let mut rest = bytes;
    for len in numbers(&mut rest)? {
        let (value, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        each(value);
        rest = after;
    }
    Some(())
}

/// How much each value has in common with the one before, and then the rest of each (DELTA_BYTE_ARRAY).
/// `room` bounds the bytes of all values together: they can be many more than the page has.
pub(super) fn delta(bytes: &[u8], mut room: u64, mut each: impl FnMut(&[u8])) -> Result<(), Delta> {
    let mut rest = bytes;
    let prefixes = numbers(&mut rest).ok_or(Delta::Damaged)?;
    let mut prefixes = prefixes.into_iter();
    let mut value: Vec<u8> = Vec::new();
    let mut over = false;
    let read = delta_length(rest, |suffix| {
        let common = prefixes.next().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        value.truncate(common);
        value.extend_from_slice(suffix);
        over |= room < value.len() as u64;
        room = room.saturating_sub(value.len() as u64);
        if !over {
            each(&value);
        }
    });
    match read {
        _ if over => Err(Delta::OverLimit),
        Some(()) => Ok(()),
        None => Err(Delta::Damaged),
    }
}

/// Why values could not be put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delta {
    Damaged,
    OverLimit,
}

/// Numbers as differences, packed by the bit (DELTA_BINARY_PACKED).
fn numbers(bytes: &mut &[u8]) -> Option<Vec<i64>> {
    let block = usize::try_from(varint(bytes)?).ok()?;
    let minis = usize::try_from(varint(bytes)?).ok()?;
    let count = usize::try_from(varint(bytes)?).ok()?;
    let mut last = zigzag(bytes)?;
    if count > MAX_VALUES || minis == 0 || minis > block || block > MAX_VALUES || !block.is_multiple_of(minis)
    {
        return None;
    }
    let per_mini = block / minis;
    let mut numbers = Vec::new();
    if count > 0 {
        numbers.push(last);
    }
    while numbers.len() < count {
        let least = zigzag(bytes)?;
        let (widths, rest) = bytes.split_at_checked(minis)?;
        *bytes = rest;
        for width in widths {
            if numbers.len() >= count {
                break;
            }
            if *width > 64 {
                return None;
            }
            let (packed, rest) = bytes.split_at_checked((per_mini * usize::from(*width)).div_ceil(8))?;
            *bytes = rest;
            for at in 0..per_mini.min(count - numbers.len()) {
                last = last.wrapping_add(least).wrapping_add(unpack(packed, at, *width).cast_signed());
                numbers.push(last);
            }
        }
    }
    Some(numbers)
}

/// The number at place `at` of numbers of `width` bits, the lowest bit first.
fn unpack(packed: &[u8], at: usize, width: u8) -> u64 {
    let first = at * usize::from(width);
    (0..usize::from(width)).fold(0, |number, bit| {
        let place = first + bit;
        let set = packed.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
        number | u64::from(set) << bit
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let number = varint(bytes)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}
