//! Recognises a bare block of LZ4, without a frame, also behind the length of what it holds, which libraries for Python
//! and Java write before it.
//!
//! Similar lines in such a block are still printable but for the offsets of what they have in common, so it may
//! pass for text although only its first line can be found in it. Unlike most formats without a magic it has a
//! grammar that text never follows: the offset after the first literals must lie within what was written so far
//! (`lz4_Block_format.md` of the LZ4 project), and two printable characters are an offset beyond 8,000 after at most
//! 7 literals.

/// Shortest match.
const MIN_MATCH: u64 = 4;

/// What the next byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Next {
    #[default]
    Token,
    /// More of the number of literals.
    LiteralCount,
    Literal,
    OffsetLow,
    OffsetHigh(u8),
    /// More of the length of the match.
    MatchLength,
    /// It is no block of LZ4.
    Nothing,
}

/// Looks whether what arrives in pieces is one block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockGrammar {
    bare: Sequences,
    /// The length before the block, little-endian, and how many of its 4 bytes came.
    length: u32,
    length_bytes: u8,
    behind_length: Sequences,
}

impl BlockGrammar {
    /// Takes the next bytes.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.bare.add(bytes);
        while let [byte, rest @ ..] = bytes
            && self.length_bytes < 4
        {
            self.length |= u32::from(*byte) << (8 * self.length_bytes);
            self.length_bytes += 1;
            bytes = rest;
        }
        self.behind_length.add(bytes);
    }

    /// Whether all that came is one block, in which something is repeated.
    pub(super) fn is_whole(&self) -> bool {
        self.bare.is_whole()
            || self.behind_length.is_whole() && self.behind_length.written == u64::from(self.length)
    }
}

/// The sequences of a block: literals, and a match in what was written before.
#[derive(Clone, Copy, Debug, Default)]
struct Sequences {
    next: Next,
    /// Literals that are still to come.
    literals: u64,
    /// Bytes that the block has written so far.
    written: u64,
    /// Of the present match.
    length: u64,
    matches: u64,
}

impl Sequences {
    fn add(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes {
            bytes = match self.next {
                Next::Nothing => return,
                Next::Literal => {
                    let len = usize::try_from(self.literals).map_or(bytes.len(), |len| len.min(bytes.len()));
                    self.take_literals(len as u64);
                    &bytes[len..]
                }
                _ => {
                    self.step(*byte);
                    rest
                }
            };
        }
    }

    const fn is_whole(&self) -> bool {
        // The last sequence ends with its literals.
        matches!(self.next, Next::OffsetLow) && self.matches > 0
    }

    fn step(&mut self, byte: u8) {
        match self.next {
            Next::Token => {
                self.literals = u64::from(byte >> 4);
                self.length = u64::from(byte & 15) + MIN_MATCH;
                self.next = if byte >> 4 == 15 { Next::LiteralCount } else { self.literals_or_offset() };
            }
            Next::LiteralCount => {
                self.literals += u64::from(byte);
                if byte < 255 {
                    self.next = self.literals_or_offset();
                }
            }
            Next::OffsetLow => self.next = Next::OffsetHigh(byte),
            Next::OffsetHigh(low) => {
                let offset = u64::from(u16::from_le_bytes([low, byte]));
                self.next = match offset {
                    1.. if offset <= self.written => self.match_or_more(),
                    _ => Next::Nothing,
                };
            }
            Next::MatchLength => {
                self.length += u64::from(byte);
                if byte < 255 {
                    self.next = self.end_match();
                }
            }
            Next::Literal | Next::Nothing => {}
        }
    }

    const fn literals_or_offset(&self) -> Next {
        if self.literals == 0 { Next::OffsetLow } else { Next::Literal }
    }

    fn take_literals(&mut self, len: u64) {
        self.literals -= len;
        self.written += len;
        if self.literals == 0 {
            self.next = Next::OffsetLow;
        }
    }

    fn match_or_more(&mut self) -> Next {
        if self.length == 15 + MIN_MATCH { Next::MatchLength } else { self.end_match() }
    }

    fn end_match(&mut self) -> Next {
        self.matches += 1;
        self.written += self.length;
        Next::Token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_block(bytes: &[u8]) -> bool {
        let mut grammar = BlockGrammar::default();
        grammar.add(bytes);
        grammar.is_whole()
    }

    #[test]
    fn what_the_library_writes_is_a_block_however_long_the_lines_are() {
        let mut rng = fastrand::Rng::with_seed(3);
        for len in [20, 300, 5_000, 40_000] {
            let line: String = (0..len).map(|_| rng.alphanumeric()).collect();
            let block =
                lz4_flex::block::compress(format!("{line} one\n{line} two\n{line} three\n").as_bytes());
            assert!(is_block(&block), "{len}");
            let sized = lz4_flex::block::compress_prepend_size(
                format!("{line} one\n{line} two\n{line} three\n").as_bytes(),
            );
            assert!(is_block(&sized), "{len}, behind its length");
            for whole in [&block, &sized] {
                let mut grammar = BlockGrammar::default();
                whole.chunks(7).for_each(|piece| grammar.add(piece));
                assert!(grammar.is_whole(), "{len}, in pieces");
            }
        }
    }

    #[test]
    fn a_part_of_a_block_is_none() {
        let block = lz4_flex::block::compress("a line of the log\n".repeat(40).as_bytes());
        assert!(!is_block(&block[..block.len() - 1]));
    }

    #[test]
    fn no_text_is_a_block() {
        let mut rng = fastrand::Rng::with_seed(4);
        for _ in 0..10_000 {
            let text: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(9..127)).collect();
            assert!(!is_block(&text), "{}", String::from_utf8_lossy(&text));
        }
    }
}
