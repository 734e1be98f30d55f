//! Whether bytes are mostly text.
//!
//! The rule, over a sample of the first KiB and 64 bytes from every 4 KiB after that:
//!
//! * at most 1 byte in 20 is a control character or no valid UTF-8; or
//! * at most 1 byte in 100 is a control character and at least 1 in 4 is printable ASCII: text in a one-byte encoding.
//!
//! Tabs, line breaks, form feeds, backspaces and escapes are no control characters in this sense, and 16 zeros or more
//! in a row are padding, which does not count. Of compressed or encrypted bytes, 1 in 9 is a control character and 1 in
//! 3 is no valid UTF-8. What is shorter than 32 bytes cannot hold a tag in any form and passes as text.

/// Bytes from the start that are all looked at.
const FIRST: u64 = 1 << 10;
/// Distance between windows after that, and their size.
const STEP: u64 = 4 << 10;
const WINDOW: u64 = 64;
/// Zeros in a row that are padding.
const PADDING: usize = 16;
/// Shortest part that can hold a tag: its digits alone stand for more bytes.
const MIN_PART: u64 = 32;
/// Printable characters in a row that random bytes do not have.
const RUN: usize = 8;

/// What was seen of a part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Length of the part so far.
    pub(super) len: u64,
    sampled: u64,
    control: u64,
    invalid: u64,
    printable: u64,
    /// Printable characters that stand in runs.
    in_runs: u64,
}

impl Sample {
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (wanted, len) = if self.len < FIRST {
                (true, FIRST - self.len)
            } else {
                let at = self.len % STEP;
                if at < WINDOW { (true, WINDOW - at) } else { (false, STEP - at) }
            };
            let (piece, rest) =
                bytes.split_at(usize::try_from(len).map_or(bytes.len(), |len| len.min(bytes.len())));
            if wanted {
                self.take_window(piece);
            }
            self.len += piece.len() as u64;
            bytes = rest;
        }
    }

    fn take_window(&mut self, mut piece: &[u8]) {
        // Almost all is plain text.
        if are_plain(piece) {
            let len = piece.len() as u64;
            self.sampled += len;
            self.printable += len;
            self.in_runs += len;
            return;
        }
        while let Some(start) = padding(piece) {
            self.count(&piece[..start]);
            let zeros = piece[start..].iter().take_while(|byte| **byte == 0).count();
            piece = &piece[start + zeros..];
        }
        self.count(piece);
    }

    fn count(&mut self, bytes: &[u8]) {
        self.sampled += bytes.len() as u64;
        self.control += bytes.iter().filter(|byte| is_control(**byte)).count() as u64;
        self.printable += bytes.iter().filter(|byte| is_printable(**byte)).count() as u64;
        if !bytes.is_ascii() {
            self.invalid += invalid(bytes);
        }
        let runs = bytes.split(|byte| !is_printable(*byte)).map(<[u8]>::len);
        self.in_runs += runs.filter(|len| *len >= RUN).sum::<usize>() as u64;
    }

    /// Whether the part is mostly text.
    pub(super) fn is_text(&self) -> bool {
        let utf8 = (self.control + self.invalid) * 20 <= self.sampled;
        let one_byte = self.control * 100 <= self.sampled && self.printable * 4 >= self.sampled;
        self.len < MIN_PART || utf8 || one_byte
    }

    /// Whether there is text among other values: a tenth stands in runs of printable characters.
    pub(super) fn has_text(&self) -> bool {
        self.is_text() || self.in_runs * 10 >= self.sampled
    }
}

/// Whether bytes that are at hand are mostly text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let mut sample = Sample::default();
    sample.take(bytes);
    sample.is_text()
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, 0x08..=0x0d | 0x1b)) || byte == 0x7f
}

/// Whether all are ASCII and no control characters. Without a branch for each byte, so that the compiler can take several
/// at a time.
fn are_plain(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let odd = |bytes: &[u8]| bytes.iter().fold(0, |odd, byte| odd | u8::from(!is_plain(*byte)));
    chunks.iter().fold(0, |all, chunk| all | odd(chunk)) | odd(rest) == 0
}

/// Whether it is ASCII and no control character.
fn is_plain(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) < 0x5f) | (byte.wrapping_sub(0x08) < 6) | (byte == 0x1b)
}

fn is_printable(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte)
}

/// Where padding begins.
fn padding(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr::memchr(0, &bytes[from..]).map(|at| from + at) {
        let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
        if zeros >= PADDING {
            return Some(at);
        }
        from = at + zeros;
    }
    None
}

/// How many bytes are no valid UTF-8. A character that the window cuts in two is none of them.
fn invalid(bytes: &[u8]) -> u64 {
    let cut = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let bytes = &bytes[cut..];
    let all: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    let last = bytes.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
    // An error at the very end that needs more bytes is a cut, too.
    let cut =
        std::str::from_utf8(&bytes[bytes.len() - last..]).is_err_and(|error| error.error_len().is_none());
    (all - if cut { last } else { 0 }) as u64
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
    fn compressed_or_encrypted_bytes_are_no_text() {
        for len in [32, 100, 1_000, 100_000] {
            assert!(!is_text(&noise(len)), "{len}");
        }
        let utf16: Vec<u8> = "a line of text in UTF-16".bytes().flat_map(|byte| [byte, 0]).collect();
        assert!(!is_text(&utf16));
    }

    #[test]
    fn a_little_garbage_in_json_leaves_it_text() {
        let json = [br#"{"level":"info","blob":""#.repeat(30), noise(40), b"\"}".to_vec()].concat();
        assert!(is_text(&json));
    }

    #[test]
    fn padding_with_zeros_does_not_count() {
        assert!(is_text(&[b"a few lines\n".to_vec(), vec![0; 4_000]].concat()));
    }

    #[test]
    fn what_follows_after_the_start_counts_too() {
        assert!(!is_text(&[b"a line\n".repeat(700), noise(1 << 20)].concat()));
    }
}
