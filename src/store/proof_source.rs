//! Which source a proof of absence is about.
//!
//! What polls of one source have proven says nothing about another one that the configuration names in its
//! place. Rows hold a number instead of the name of the source, because they are many.

/// The number that stands for the name of a source in rows. It must never change.
///
/// The 32-bit FNV-1a hash of Fowler, Noll and Vo. Two names with one number only keep a proof, as before
/// there were numbers.
pub(super) fn mark(source: &str) -> u32 {
    source.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_hash() {
        assert_eq!(["", "a", "foobar"].map(mark), [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]);
    }
}
