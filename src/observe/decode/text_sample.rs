//! Decides whether bytes are mostly text.
//!
//! It counts bytes in a sample: the first KiB, and 64 bytes from every 4 KiB after that. After the first MiB it takes
//! 64 from every 32 KiB and counts them eight times. The bytes are text if at most 1 byte in 100, or a single one, is a
//! control character, and
//!
//! * at most 1 byte in 20 is a control character or not valid UTF-8; or
//! * at least 1 in 4 is printable ASCII, as in text in a one-byte encoding.
//!
//! A bare block of LZ4 is not text, however printable it is: only the first of similar lines can be found in it.
//!
//! Tabs, line breaks, form feeds, backspaces and escapes do not count as control characters here. Sixteen or
//! more zero bytes in a row are padding and are ignored. In compressed or encrypted bytes, 1 in 9 is a
//! control character and 1 in 3 is not valid UTF-8. Anything shorter than 32 bytes cannot hold a tag in any
//! form, and passes as text.

use super::block_grammar::BlockGrammar;

/// Bytes at the start that are all sampled.
const HEAD_LEN: u64 = 1 << 10;
/// Bytes from the start of one window to the start of the next, after the head.
const WINDOW_DISTANCE: u64 = 4 << 10;
/// Bytes sampled from each window.
const WINDOW_LEN: u64 = 64;
/// Length of what is sampled at that distance. Beyond it, this many windows share the sample of one.
const DENSE_LEN: u64 = 1 << 20;
const THINNING: u64 = 8;
/// This many zero bytes in a row are padding.
const MIN_PADDING: usize = 16;
/// Anything shorter cannot hold a tag: the digits of a tag alone encode more bytes.
const MIN_PART: u64 = 32;
/// This many printable characters in a row are a run. Random bytes hardly ever have one.
const MIN_RUN: usize = 8;

/// Counts over the sample of one part: the bytes that come out of one layer of a record, such as gzip or
/// base64. They arrive in pieces. All counts are in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextSample {
    /// Length of the part so far.
    pub(super) len: u64,
    /// Bytes in the sample, without padding.
    sampled: u64,
    /// Control characters.
    control: u64,
    /// Bytes that are not valid UTF-8.
    invalid: u64,
    /// Printable ASCII characters.
    printable: u64,
    /// Printable ASCII characters in runs of at least `MIN_RUN`.
    in_runs: u64,
    block: BlockGrammar,
}

impl TextSample {
    /// Adds the next bytes of the part; only those that belong to the sample are counted.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.block.add(bytes);
        while !bytes.is_empty() {
            let weight = if self.len < DENSE_LEN { 1 } else { THINNING };
            let (is_sampled, len) = if self.len < HEAD_LEN {
                (true, HEAD_LEN - self.len)
            } else {
                let offset = self.len % (WINDOW_DISTANCE * weight);
                if offset < WINDOW_LEN {
                    (true, WINDOW_LEN - offset)
                } else {
                    (false, WINDOW_DISTANCE * weight - offset)
                }
            };
            let (piece, rest) =
                bytes.split_at(usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len())));
            if is_sampled {
                self.add_sampled(piece, weight);
            }
            self.len += piece.len() as u64;
            bytes = rest;
        }
    }

    /// Counts a piece so many times.
    fn add_sampled(&mut self, mut piece: &[u8], weight: u64) {
        // Fast path: almost all input is plain text.
        if are_ascii_text(piece) {
            let len = piece.len() as u64 * weight;
            self.sampled += len;
            self.printable += len;
            self.in_runs += len;
            return;
        }
        while let Some(start) = find_padding(piece) {
            self.count(&piece[..start], weight);
            let zeros = piece[start..].iter().take_while(|byte| **byte == 0).count();
            piece = &piece[start + zeros..];
        }
        self.count(piece, weight);
    }

    fn count(&mut self, bytes: &[u8], weight: u64) {
        self.sampled += weight * bytes.len() as u64;
        self.control += weight * bytes.iter().filter(|byte| is_control(**byte)).count() as u64;
        self.printable += weight * bytes.iter().filter(|byte| is_printable(**byte)).count() as u64;
        if !bytes.is_ascii() {
            self.invalid += weight * invalid_utf8_len(bytes);
        }
        let runs = bytes.split(|byte| !is_printable(*byte)).map(<[u8]>::len);
        self.in_runs += weight * runs.filter(|len| *len >= MIN_RUN).sum::<usize>() as u64;
    }

    /// Whether the part is mostly text, by the rule of the module.
    pub(super) fn is_text(&self) -> bool {
        let has_few_controls = self.control <= 1.max(self.sampled / 100);
        let is_utf8 = (self.control + self.invalid) * 20 <= self.sampled;
        let is_one_byte_encoding = self.printable * 4 >= self.sampled;
        let is_printable = has_few_controls && (is_utf8 || is_one_byte_encoding);
        self.len < MIN_PART || (is_printable && !self.is_block())
    }

    /// Whether the part is a bare block of LZ4, of which some is kept as it is and the rest refers to that.
    pub(super) fn is_block(&self) -> bool {
        self.block.is_whole()
    }

    /// Whether the part contains text among other values: it is text, or at least a tenth of the sample is in
    /// runs of printable characters.
    pub(super) fn has_text(&self) -> bool {
        self.is_text() || self.in_runs * 10 >= self.sampled
    }
}

/// Whether these bytes, a whole part, are mostly text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let mut sample = TextSample::default();
    sample.add(bytes);
    sample.is_text()
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, 0x08..=0x0d | 0x1b)) || byte == 0x7f
}

/// Whether all bytes are ASCII text. It does not branch per byte, so that the compiler can vectorize it.
fn are_ascii_text(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let has_other =
        |bytes: &[u8]| bytes.iter().fold(0, |other, byte| other | u8::from(!is_ascii_text(*byte)));
    chunks.iter().fold(0, |other, chunk| other | has_other(chunk)) | has_other(rest) == 0
}

/// Whether it is ASCII and not a control character; tabs, line breaks and the like count as text.
fn is_ascii_text(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) < 0x5f) | (byte.wrapping_sub(0x08) < 6) | (byte == 0x1b)
}

fn is_printable(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte)
}

/// Returns where the first padding begins.
fn find_padding(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr::memchr(0, &bytes[from..]).map(|at| from + at) {
        let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
        if zeros >= MIN_PADDING {
            return Some(at);
        }
        from = at + zeros;
    }
    None
}

/// Counts the bytes that are not valid UTF-8. A character that the start or end of the bytes cuts in two is
/// valid.
fn invalid_utf8_len(bytes: &[u8]) -> u64 {
    let cut_at_start = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let bytes = &bytes[cut_at_start..];
    let invalid_len: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    let last_len = bytes.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
    // An incomplete character at the very end is cut by the end, not invalid.
    let is_cut_at_end =
        std::str::from_utf8(&bytes[bytes.len() - last_len..]).is_err_and(|error| error.error_len().is_none());
    (invalid_len - if is_cut_at_end { last_len } else { 0 }) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..len).map(|_| rng.u8(..)).collect()
    }

    #[test]
    fn text_in_any_common_encoding_is_text() {
        let latin: Vec<u8> = "Größe überschritten für Schlüssel\n".chars().map(|c| c as u8).collect();
        let cp1251 = b"level=info msg=\"\xcf\xf0\xe8\xe2\xe5\xf2 \xec\xe8\xf0\" id=17\n".to_vec();
        for text in [
            "an ordinary line\n".repeat(9).into_bytes(),
            "строка журнала, одна из многих\n".repeat(9).into_bytes(),
            "日本語のログ\n".repeat(9).into_bytes(),
            "\x1b[31merror\x1b[0m something failed\n".repeat(9).into_bytes(),
            latin.repeat(9),
            cp1251.repeat(9),
        ] {
            assert!(is_text(&text), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn compressed_or_encrypted_bytes_are_not_text() {
        for len in [32, 100, 1_000, 100_000] {
            assert!(!is_text(&noise(len)), "{len}");
        }
        let utf16: Vec<u8> = "a line of text in UTF-16".bytes().flat_map(|byte| [byte, 0]).collect();
        assert!(!is_text(&utf16));
    }

    #[test]
    fn two_log_lines_in_a_bare_lz4_block_are_not_text() {
        let mut rng = fastrand::Rng::with_seed(7);
        for padding in [0, 50, 100, 1_000] {
            let mut line = |n: u32| {
                let text: String = (0..padding).map(|_| rng.alphanumeric()).collect();
                format!(
                    "{{\"time\":\"2026-05-03T10:00:{n}Z\",\"level\":\"INFO\",\"trace_id\":\"{:032x}\",\"logger\":\"canary\",\"message\":\"{text}\"}}\n",
                    rng.u128(..)
                )
            };
            let block = lz4_flex::block::compress((line(10) + &line(12)).as_bytes());
            assert!(!is_text(&block), "{padding}: {}", String::from_utf8_lossy(&block));
        }
    }

    #[test]
    fn json_with_a_little_garbage_is_text() {
        let json = [br#"{"level":"info","blob":""#.repeat(30), noise(40), b"\"}".to_vec()].concat();
        assert!(is_text(&json));
    }

    #[test]
    fn padding_with_zeros_is_ignored() {
        assert!(is_text(&[b"a few lines\n".to_vec(), vec![0; 4_000]].concat()));
    }

    #[test]
    fn what_is_sampled_more_rarely_counts_as_much() {
        let (text, noise) = (b"a line\n".repeat(1_500_000), noise(10 << 20));
        for is_text_first in [true, false] {
            let both = if is_text_first { [&text[..], &noise] } else { [&noise[..], &text] };
            let mut sample = TextSample::default();
            both.concat().chunks(10_007).for_each(|piece| sample.add(piece));
            let (printable, sampled) = (sample.printable as f64, sample.sampled as f64);
            // Of noise, 95 bytes in 256 are printable.
            assert!((printable / sampled - 0.65).abs() < 0.05, "{sample:?}");
            let of_all = WINDOW_DISTANCE as f64 / WINDOW_LEN as f64 * sampled / sample.len as f64;
            assert!((of_all - 1.0).abs() < 0.01, "{sample:?}");
        }
    }

    #[test]
    fn noise_after_a_text_start_is_not_text() {
        assert!(!is_text(&[b"a line\n".repeat(700), noise(1 << 20)].concat()));
    }
}
