//! Compares two texts of which one may have passed through any number of JSON encoders.
//!
//! Encoders escape, add fields and reorder them; none of that is a change of content. A text that was cut or
//! changed must never be taken for one that was only encoded.

use std::collections::HashSet;

use memchr::memmem;

/// Texts begin alike if so many of their first bytes are the same.
const NEAR: usize = 12;
/// How many bytes are compared at a time.
const CHUNK: usize = 32;
/// So many of the last words are looked for first.
const LAST_WORDS: usize = 8;

/// Iterates over a text without what JSON encoders add, however often: drops backslashes and decodes `\u`
/// escapes. In lower case.
pub(super) struct Plain<'a> {
    bytes: &'a [u8],
    /// Bytes still to come of a character that was escaped as a number.
    character: std::vec::IntoIter<u8>,
}

impl<'a> Plain<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, character: Vec::new().into_iter() }
    }

    /// Reads `u00e9`, what is left of `\u00e9` without its backslashes.
    fn number(&mut self) -> Option<u32> {
        let (digits, rest) =
            self.bytes.strip_prefix(b"u").or(self.bytes.strip_prefix(b"U"))?.split_at_checked(4)?;
        let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        self.bytes = rest;
        Some(number)
    }

    fn skip_backslashes(&mut self) -> bool {
        let count = self.bytes.iter().take_while(|byte| **byte == b'\\').count();
        self.bytes = &self.bytes[count..];
        count > 0
    }
}

impl Iterator for Plain<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let Some(byte) = self.character.next() {
            return Some(byte);
        }
        if self.skip_backslashes() {
            if let Some(mut number) = self.number() {
                // Characters beyond U+FFFF are a surrogate pair (RFC 8259, section 7).
                if let 0xd800..0xdc00 = number
                    && self.skip_backslashes()
                    && let Some(low) = self.number()
                {
                    number = 0x10000 + ((number & 0x3ff) << 10) + (low & 0x3ff);
                }
                let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
                self.character = character.to_string().to_ascii_lowercase().into_bytes().into_iter();
                return self.character.next();
            }
            if let Some(rest) = self.bytes.strip_prefix(b"t") {
                self.bytes = rest;
                return Some(b'\t');
            }
        }
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first.to_ascii_lowercase())
    }
}

/// How far a found text equals what was sent, going away from the tag.
pub(super) struct Likeness {
    /// Equal bytes, up to the first difference.
    pub(super) same: usize,
    /// Length of the sent text, in bytes, as far as it was looked at.
    sent: usize,
    /// From the first difference on, the sent text has only punctuation: an encoder put other fields before
    /// the first or after the last.
    pub(super) framed: bool,
    /// The found text ended before the sent one.
    pub(super) ran_out: bool,
}

impl Likeness {
    /// Compares texts from their start.
    pub(super) fn of_texts(sent: &[u8], found: &[u8]) -> Self {
        // Most are the same for long, and what has no backslashes needs no decoding.
        let chunks = sent.as_chunks::<CHUNK>().0.iter().zip(found.as_chunks::<CHUNK>().0);
        let is_same = |(sent, found): &(&[u8; CHUNK], &[u8; CHUNK])| {
            sent == found && sent.iter().fold(true, |plain, byte| plain & (*byte != b'\\'))
        };
        let same = chunks.take_while(is_same).count() * CHUNK;
        let mut likeness = Self::of(Plain::of(&sent[same..]), Plain::of(&found[same..]));
        likeness.same += same;
        likeness.sent += same;
        likeness
    }

    pub(super) fn of(sent: impl Iterator<Item = u8>, mut found: impl Iterator<Item = u8>) -> Self {
        let mut likeness = Self { same: 0, sent: 0, framed: true, ran_out: false };
        let mut differs = false;
        for byte in sent {
            likeness.sent += 1;
            if !differs {
                let other = found.next();
                differs = other != Some(byte);
                likeness.ran_out = other.is_none();
            }
            if differs {
                likeness.framed &= !is_of_word(byte);
                // Nothing that follows changes the result.
                if !likeness.framed && likeness.sent >= NEAR {
                    break;
                }
            } else {
                likeness.same += 1;
            }
        }
        likeness
    }

    pub(super) fn is_whole(&self) -> bool {
        self.same == self.sent || self.framed && !self.ran_out
    }

    /// Whether it begins like what was sent.
    pub(super) fn is_near(&self) -> bool {
        self.sent > 0 && self.same >= self.sent.min(NEAR)
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Whether `found` contains all words of `parts`, in any order: an encoder that reorders fields keeps its
/// words.
pub(super) fn has_all_words(found: &[u8], parts: &[&[u8]]) -> bool {
    let plain = plain(found);
    let parts: Vec<_> = parts.iter().map(|part| self::plain(part)).collect();
    // What was cut misses the last ones, which is faster to see than that it has all.
    let mut last =
        parts.iter().rev().flat_map(|part| part.rsplit(is_between_words).filter(|word| !word.is_empty()));
    if !last.by_ref().take(LAST_WORDS).all(|word| memmem::find(&plain, word).is_some()) {
        return false;
    }
    let present: HashSet<&[u8]> = words(&plain).collect();
    parts.iter().all(|part| words(part).all(|word| present.contains(word)))
}

fn plain(text: &[u8]) -> Vec<u8> {
    // What has no backslashes needs no decoding.
    if memchr::memchr(b'\\', text).is_none() { text.to_ascii_lowercase() } else { Plain::of(text).collect() }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(is_between_words).filter(|word| !word.is_empty())
}

fn is_between_words(byte: &u8) -> bool {
    !is_of_word(*byte)
}
