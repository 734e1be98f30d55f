//! Text that was written by others: errors of services, bodies of answers, labels of rows, keys of objects,
//! panic messages.
//!
//! Such text ends up in logs, on the page, in JSON and in the store. It may have megabytes, forge log lines
//! with line breaks, drive a terminal with escape sequences, or reverse the text around it. [`ForeignText`]
//! is short and has none of this, and the only ways to make one are here. A field that others fill has this
//! type, so that the compiler finds a place that forgot.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Text from outside, cut to at most [`ForeignText::MAX_CHARS`] characters, on one line and without control,
/// bidirectional and other invisible characters.
///
/// Whatever text it is made from, making it again from its own text changes nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignText(Arc<str>);

impl ForeignText {
    /// A longer text is cut.
    pub const MAX_CHARS: usize = 600;
    /// How much is kept of a text that is cut.
    const KEPT_CHARS: usize = 300;
    /// How much is kept of the names in front of a text that is cut.
    const KEPT_PREFIX: usize = 240;

    /// Cuts and cleans a text. A text that is cut says how long it was: `... (200 KB)`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::cut(text, Self::MAX_CHARS)
    }

    /// Makes the start of an answer that is not an error document.
    #[must_use]
    pub fn of_body(body: &[u8]) -> Self {
        // A character has at most 4 bytes, and so much is read that a body which is too long is noticed.
        let start = &body[..body.len().min(4 * (Self::MAX_CHARS + 1))];
        let text = String::from_utf8_lossy(start);
        if start.len() < body.len() {
            Self(cleaned(&cut_to(&text, Self::KEPT_CHARS, body.len())).into())
        } else {
            Self::new(text.trim())
        }
    }

    /// Makes the name of something: a label, a key. A name that was cut or changed keeps a hash of the
    /// original, so that two different names never become one.
    #[must_use]
    pub fn label(name: &str) -> Self {
        let end = name.char_indices().nth(Self::KEPT_CHARS).map_or(name.len(), |(at, _)| at);
        let clean = cleaned(&name[..end]);
        if clean == name {
            return Self(name.into());
        }
        let hash = Sha256::digest(name.as_bytes());
        let hash = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Self(format!("{clean}...#{hash:08x} ({})", size(name.len())).into())
    }

    /// Puts our own words, such as the name of the call, in front: `GetRecords on logs-acme: AccessDenied`.
    #[must_use]
    pub fn after(&self, what: &str) -> Self {
        let whole = format!("{}: {}", cleaned(what), self.0);
        if within(&whole, Self::MAX_CHARS) {
            return Self(whole.into());
        }
        let what = cleaned(what);
        let what = match what.char_indices().nth(Self::KEPT_PREFIX) {
            Some((end, _)) => format!("{}...", &what[..end]),
            None => what.into_owned(),
        };
        // What was cut already keeps its note.
        let kept = if within(&self.0, Self::MAX_CHARS / 2 + 40) {
            self.0.to_string()
        } else {
            cut_to(&self.0, Self::KEPT_CHARS, self.0.len())
        };
        Self(format!("{what}: {kept}").into())
    }

    /// Whether this is the label that [`Self::label`] makes of `name`.
    #[must_use]
    pub fn is_label(&self, name: &str) -> bool {
        // Every sighting is compared with the label of every tenant, so only a label that may have been cut or
        // changed, which ends like this, is made again.
        if self.0.ends_with(')') { *self == Self::label(name) } else { &*self.0 == name }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn cut(text: &str, max: usize) -> Self {
        if within(text, max) {
            return Self(cleaned(text).into());
        }
        Self(cleaned(&cut_to(text, Self::KEPT_CHARS, text.len())).into())
    }
}

fn within(text: &str, chars: usize) -> bool {
    // Most texts are short; counting the characters of a long one stops at the limit.
    text.len() <= chars || text.chars().nth(chars).is_none()
}

/// The first `chars` characters, and how long the whole is.
fn cut_to(text: &str, chars: usize, bytes: usize) -> String {
    let end = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    format!("{}... ({})", text[..end].trim_end(), size(bytes))
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KB", bytes >> 10),
        _ => format!("{} MB", bytes >> 20),
    }
}

/// Puts one space in place of a line break or tab, and `�` in place of any other character that is not shown
/// but changes how the text around it is: control and format characters, fillers, variation selectors.
#[must_use]
pub fn cleaned(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' | '\u{85}' => {
                if !clean.ends_with(' ') {
                    clean.push(' ');
                }
            }
            c if is_harmful(c) => clean.push(char::REPLACEMENT_CHARACTER),
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

/// Control characters, which include ESC and line breaks, and the characters that Unicode calls format
/// characters (category Cf, Unicode 16), line separators, fillers and variation selectors: they reverse, hide
/// or reorder text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl Deref for ForeignText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ForeignText {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl PartialEq<str> for ForeignText {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for ForeignText {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl Default for ForeignText {
    fn default() -> Self {
        Self("".into())
    }
}

impl From<&str> for ForeignText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for ForeignText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Arc<str>> for ForeignText {
    fn from(text: Arc<str>) -> Self {
        let is_fit = within(&text, Self::MAX_CHARS) && !text.contains(is_harmful);
        if is_fit { Self(text) } else { Self::new(&text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_kept_as_it_is() {
        for text in ["", "AccessDenied: not yours", "naïve – 日本語 🚰"] {
            assert_eq!(ForeignText::new(text).as_str(), text);
            assert_eq!(ForeignText::label(text).as_str(), text);
        }
    }

    #[test]
    fn a_long_text_says_how_long_it_was() {
        let text = ForeignText::new(&"é".repeat(100 << 10));
        assert!(text.chars().count() < 330 && text.ends_with("é... (200 KB)"), "{text}");
        assert!(ForeignText::new(&"x".repeat(3 << 20)).ends_with("x... (3 MB)"));
        assert!(ForeignText::new(&"x".repeat(700)).ends_with("x... (700 B)"));
    }

    #[test]
    fn a_body_is_cut_by_its_start_alone() {
        let text = ForeignText::of_body(&vec![b'x'; 200 << 10]);
        assert!(text.chars().count() < 330 && text.ends_with("x... (200 KB)"), "{text}");
        assert_eq!(ForeignText::of_body(b" busy\r\n").as_str(), "busy");
        assert_eq!(ForeignText::of_body(b"\xff<\x1b>").as_str(), "\u{fffd}<\u{fffd}>");
    }

    #[test]
    fn line_breaks_escapes_and_bidirectional_characters_are_replaced() {
        let text = ForeignText::new("a\r\n2026 ERROR \u{1b}[31mfake\u{202e}\u{200b}\u{2066}\u{feff}\0\tb");
        assert_eq!(text.as_str(), "a 2026 ERROR \u{fffd}[31mfake\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd} b");
    }

    #[test]
    fn every_character_is_either_shown_or_replaced() {
        for c in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let clean = cleaned(c.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!clean.contains(|c: char| c.is_control() || is_harmful(c)), "{c:?}");
            assert_eq!(clean.chars().count(), 1, "{c:?}");
        }
    }

    #[test]
    fn labels_that_are_cut_or_changed_alike_stay_apart() {
        let start = "a".repeat(5_000);
        let names = [format!("{start}1"), format!("{start}2"), "a\u{202e}".into(), "a\u{200b}".into()];
        let labels = names.each_ref().map(|name| ForeignText::label(name));
        for (at, label) in labels.iter().enumerate() {
            assert!(label.chars().count() < 330, "{label}");
            assert_eq!(labels.iter().position(|other| other == label), Some(at));
            assert!(label.is_label(&names[at]));
            assert!(!label.is_label("acme") && !ForeignText::label("acme").is_label(label));
        }
        assert!(labels[0].ends_with(" (4 KB)"), "{}", labels[0]);
    }

    #[test]
    fn making_a_text_again_changes_nothing() {
        let long = "x\n".repeat(200_000);
        let call = format!("GetObject on s3://archive/{}", "k".repeat(1_024));
        for text in [
            ForeignText::new(&long),
            ForeignText::new("no").after(&call),
            ForeignText::new(&long).after(&call),
        ] {
            assert_eq!(ForeignText::new(&text), text);
        }
        for name in [&long, "a\u{202e}", "plain"] {
            let label = ForeignText::label(name);
            assert_eq!(ForeignText::new(&label), label);
        }
    }

    #[test]
    fn the_call_in_front_leaves_room_for_the_error() {
        let error = ForeignText::new(&format!("AccessDenied: {}", "x".repeat(200 << 10)));
        let call = format!("GetObject on s3://archive/{}", "k".repeat(1_024));
        let text = error.after(&call);
        assert!(
            text.starts_with("GetObject on s3://archive/k") && text.contains("k...: AccessDenied: x"),
            "{text}"
        );
        assert!(text.ends_with("x... (200 KB)") && text.chars().count() <= ForeignText::MAX_CHARS, "{text}");
    }
}
