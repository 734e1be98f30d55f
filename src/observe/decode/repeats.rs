//! Whether bytes that were not decoded are compressed.
//!
//! Compressors of the LZ77 family (LZ4, Snappy, LZO, LZF) keep a text as it is up to where something repeats
//! itself. So one canary may stand there whole while the next one is hidden. Formats without compression
//! (MessagePack, protobuf) keep every repetition: the keys, the names of services, the forms of messages.

use std::collections::HashSet;

/// What is shorter than this may have no repetition. A record that holds little more than a canary has
/// nothing that the canary could be hidden by.
const MIN_LEN: usize = 256;
/// Bytes that repeat. These compressors replace repetitions from 3 or 4 bytes on; where they skip ahead in
/// what they cannot compress, they miss some.
const GRAM: usize = 8;
/// Among so many positions, at least one repeats what stood before. In logs more than one in three does, but
/// large canaries, which do not repeat themselves, may stand among them.
const ONE_IN: usize = 16;

/// Whether the surroundings of a canary are long enough to repeat themselves and do not, and how many of their
/// bytes were compared.
pub(super) fn are_missing(before: &[u8], after: &[u8]) -> (bool, u64) {
    // What these compressors write has control characters in it, and bytes beyond ASCII.
    if before.len() + after.len() < MIN_LEN || (is_plain(before) && is_plain(after)) {
        return (false, 0);
    }
    // Only text: what a compressor writes in place of a repetition may repeat itself.
    let is_text = |gram: &&[u8; GRAM]| gram.iter().all(|byte| (b' '..=b'~').contains(byte));
    let grams = || before.array_windows::<GRAM>().chain(after.array_windows::<GRAM>());
    let grams = || grams().filter(is_text).map(|gram| u64::from_le_bytes(*gram));
    let total = grams().count();
    let mut distinct = HashSet::new();
    let mut steps = 0;
    // Ends as soon as enough is repeated; in logs, after a fraction.
    let mut repeated = grams().inspect(|_| steps += 1).filter(|gram| !distinct.insert(*gram));
    (repeated.nth(total / ONE_IN).is_none(), steps)
}

fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: u32, to: u32) -> Vec<u8> {
        let line =
            |n: u32| format!("{{\"level\":\"INFO\",\"took\":{},\"path\":\"/api/{n:x}\"}}\n", n * 7919 % 991);
        (from..to).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn logs_repeat_themselves_and_their_lz4_and_snappy_do_not() {
        // Text alone is not looked into.
        let text = [b"\x82\xa4logs".to_vec(), lines(0, 60)].concat();
        assert!(!are_missing(&text, &[]).0);
        assert!(!are_missing(&text[..900], &text[900..]).0);
        let lz4 = lz4_flex::block::compress(&text);
        assert!(are_missing(&lz4, &[]).0);
        let snappy = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert!(are_missing(&snappy[..snappy.len() / 2], &snappy[snappy.len() / 2..]).0);
    }

    #[test]
    fn a_lone_canary_need_not_have_surroundings() {
        assert!(!are_missing(b"\x82\xa2at\x01\xa4line\xda\x01\x2c", b"\xa5level\x05").0);
    }
}
