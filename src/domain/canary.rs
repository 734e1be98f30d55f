//! The canary: a log line of an exact size that carries a tag and looks like the client's own lines.
//!
//! Its whole text follows from the template, the tag and the size in the tag. So the copy at any stage can be
//! checked for truncation or changes without remembering what was sent.

mod likeness;

use std::fmt;

use self::likeness::{Likeness, Plain, has_all_words};
use super::tag::{TAG_LEN, Tag, TagText, TraceId};

/// Largest message that is sent, in bytes. PutLogEvents accepts 1,048,576 bytes per batch and counts 26 extra
/// bytes per event (AWS Logs API reference).
pub const MAX_MESSAGE_BYTES: usize = 1_048_576 - 26;

/// How many bytes of the padding must be found in a copy before the copy counts as having the padding at all.
const PAD_PROBE: usize = 16;

/// Forms of the default line, the richest first; the first one that fits a size is used. The tag comes first
/// because pipelines truncate at the end.
const DEFAULT_FORMS: [&str; 2] = [
    r#"{"trace_id":"{tag}","level":"INFO","timestamp":"{timestamp}","service":"traceprobe","message":"{pad}"}"#,
    r#"{"trace_id":"{tag}","message":"{pad}"}"#,
];

/// A pattern for log lines with placeholders.
///
/// `{tag}` (required, once), `{pad}` (fills up to the size; appended if absent), `{trace_id}` (32 hexadecimal
/// digits), `{timestamp}` (RFC 3339, planned injection), `{size}` (bytes). All other text is copied as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    forms: Vec<Form>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Tag,
    TraceId,
    Timestamp,
    Size,
    Pad,
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Without a tag the canary cannot be found.
    #[error("does not contain {{tag}}, without which the canary cannot be found; add {{tag}}")]
    NoTag,
    /// Two tags would count as two copies, and two paddings have no defined length.
    #[error("has `{{{0}}}` more than once")]
    Twice(&'static str),
    /// A name in braces that is not a placeholder.
    #[error(
        "has the unknown placeholder `{{{0}}}`; known are {{tag}}, {{pad}}, {{trace_id}}, {{timestamp}}, {{size}}"
    )]
    Unknown(String),
    /// Many pipelines split a message at a line break.
    #[error("has a line break, at which pipelines would split it")]
    LineBreak,
}

impl Default for Template {
    fn default() -> Self {
        let forms = DEFAULT_FORMS.iter().map(|form| Form::parse(form).expect("the default forms are valid"));
        Self { forms: forms.collect() }
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] for the first fault.
    pub fn parse(pattern: &str) -> Result<Self, TemplateError> {
        Ok(Self { forms: vec![Form::parse(pattern)?] })
    }

    /// The smallest size that this template fits with a tag of the current version, in bytes.
    #[must_use]
    pub fn min_size(&self) -> usize {
        self.forms.iter().map(Form::min_size).min().unwrap_or(TAG_LEN)
    }

    /// Renders the line for a tag: exactly `tag.size` bytes if that is at least [`Template::min_size`].
    #[must_use]
    pub fn render(&self, tag: &Tag, text: &TagText) -> String {
        self.render_up_to(tag, text, usize::MAX).0
    }

    /// Renders the line, but ends within its padding if that comes after the tag and is longer than `max_pad`.
    /// Also returns the length of the whole line, in bytes.
    fn render_up_to(&self, tag: &Tag, text: &TagText, max_pad: usize) -> (String, usize) {
        let size = tag.size as usize;
        let fits = |form: &&Form| form.fixed_len(tag.size, text.as_str().len()) <= size;
        let form = self.forms.iter().find(fits).or(self.forms.last());
        form.map(|form| form.render(tag, text, max_pad)).unwrap_or_default()
    }

    /// Compares a stage's copy with what was sent.
    ///
    /// `found` is the decoded text around the tag, which begins at `at`. It may have been escaped as a JSON
    /// string any number of times, and its fields may have been split or reordered.
    #[must_use]
    pub fn inspect(&self, tag: &Tag, text: &TagText, found: &[u8], at: usize, start: Start) -> Integrity {
        // A copy that was cut is compared with no more than what it can still have.
        let max_pad = found.len().saturating_add(PAD_PROBE);
        let (sent, sent_bytes) = self.render_up_to(tag, text, max_pad);
        let is_longer = sent.len() < sent_bytes;
        let Some(tag_at) = sent.find(text.as_str()) else {
            return Integrity::Unchecked;
        };
        let tag_len = text.as_str().len();
        let (head, tail) = (&sent.as_bytes()[..tag_at], &sent.as_bytes()[tag_at + tag_len..]);
        let (found_head, found_tail) =
            (&found[..at.min(found.len())], found.get(at + tag_len..).unwrap_or_default());
        let back = |bytes| Plain::of(bytes).collect::<Vec<_>>().into_iter().rev();
        let before = Likeness::of(back(head), back(found_head));
        let mut after = Likeness::of_texts(tail, found_tail);
        // What was not rendered has words in it.
        after.framed &= !is_longer;
        // In a text that was cut out of a longer record, nothing is known about what came before.
        let cut_before = before.ran_out && start == Start::Record;
        if (before.is_whole() || before.ran_out && !cut_before) && after.is_whole() {
            return Integrity::Intact;
        }
        if !cut_before && !after.ran_out && !is_longer && has_all_words(found, &[head, tail]) {
            return Integrity::Intact;
        }
        // The line was passed on unchanged, so all of it must be there.
        let is_unchanged_line = if head.is_empty() { after.is_near() } else { before.is_near() };
        if is_unchanged_line {
            let kept_bytes = before.same + tag_len + after.same;
            return Integrity::Corrupted { kept_bytes, sent_bytes };
        }
        // The fields were split. The padding, if it is there, must still be complete.
        let pad_len = self.pad_len(tag, tag_len);
        let pad = padding(tag.trace, pad_len.min(max_pad));
        if pad.len() < PAD_PROBE {
            return Integrity::Unchecked;
        }
        match memchr::memmem::find(found, &pad.as_bytes()[..PAD_PROBE]) {
            None => Integrity::Unchecked,
            Some(pad_at) => match common_prefix(pad.as_bytes(), &found[pad_at..]) {
                all if all == pad_len => Integrity::Intact,
                intact => Integrity::Corrupted { kept_bytes: sent_bytes - pad_len + intact, sent_bytes },
            },
        }
    }

    fn pad_len(&self, tag: &Tag, tag_len: usize) -> usize {
        let size = tag.size as usize;
        let fixed = self.forms.iter().map(|form| form.fixed_len(tag.size, tag_len)).find(|len| *len <= size);
        fixed.map_or(0, |len| size - len)
    }
}

impl Form {
    fn parse(pattern: &str) -> Result<Self, TemplateError> {
        if pattern.contains(['\n', '\r']) {
            return Err(TemplateError::LineBreak);
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = pattern;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            text.push_str(before);
            let name = from[1..].split('}').next().unwrap_or_default();
            let closed = from.len() > name.len() + 1;
            // Braces of JSON are text; only a bare name in braces is a placeholder.
            if !closed || name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                text.push('{');
                rest = &from[1..];
                continue;
            }
            let part = match name {
                "tag" => Part::Tag,
                "trace_id" => Part::TraceId,
                "timestamp" => Part::Timestamp,
                "size" => Part::Size,
                "pad" => Part::Pad,
                unknown => return Err(TemplateError::Unknown(unknown.to_owned())),
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(part);
            rest = &from[name.len() + 2..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let count = |wanted: &Part| parts.iter().filter(|part| *part == wanted).count();
        match (count(&Part::Tag), count(&Part::Pad)) {
            (0, _) => return Err(TemplateError::NoTag),
            (2.., _) => return Err(TemplateError::Twice("tag")),
            (_, 2..) => return Err(TemplateError::Twice("pad")),
            (1, 0) => parts.push(Part::Pad),
            (1, 1) => {}
        }
        Ok(Self { parts })
    }

    /// The smallest size whose line holds all fixed parts, in bytes.
    fn min_size(&self) -> usize {
        // A larger size may need one more digit for `{size}`, which converges at once.
        (0..8).fold(0, |size, _| self.fixed_len(size, TAG_LEN) as u32) as usize
    }

    /// Length of a line without its padding, in bytes.
    fn fixed_len(&self, size: u32, tag_len: usize) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::Tag => tag_len,
                Part::TraceId => 32,
                Part::Timestamp => "2026-11-22T04:29:41.123Z".len(),
                Part::Size => size.to_string().len(),
                Part::Pad => 0,
            })
            .sum()
    }

    /// See [`Template::render_up_to`].
    fn render(&self, tag: &Tag, text: &TagText, max_pad: usize) -> (String, usize) {
        let size = tag.size as usize;
        let fixed = self.fixed_len(tag.size, text.as_str().len());
        let pad_len = size.saturating_sub(fixed);
        let mut line = String::with_capacity(fixed + pad_len.min(max_pad));
        let mut has_tag = false;
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Tag => {
                    has_tag = true;
                    line.push_str(text.as_str());
                }
                Part::TraceId => line.push_str(&tag.trace.to_string()),
                Part::Timestamp => line.push_str(&tag.trace.planned_at().to_rfc3339()),
                Part::Size => line.push_str(&tag.size.to_string()),
                Part::Pad if has_tag && pad_len > max_pad => {
                    line.push_str(&padding(tag.trace, max_pad));
                    break;
                }
                Part::Pad => line.push_str(&padding(tag.trace, pad_len)),
            }
        }
        (line, fixed + pad_len)
    }
}

/// Returns words of lower-case letters, `len` bytes in total, that depend only on the trace id.
///
/// The blanks keep it from looking like one long base64 string, and letters need no escaping. The generator
/// is SplitMix64 (Steele, Lea, Flood 2014), written out here because a library's generator may change.
fn padding(trace: TraceId, len: usize) -> String {
    let bits = trace.as_u128();
    let mut state = (bits >> 64) as u64 ^ bits as u64;
    let mut pad = Vec::with_capacity(len + 8);
    while pad.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let mut word = z.to_le_bytes().map(|byte| b'a' + byte % 26);
        word[7] = b' ';
        pad.extend_from_slice(&word);
    }
    pad.truncate(len);
    // A parser may trim trailing blanks, which would look like truncation.
    if let Some(last @ b' ') = pad.last_mut() {
        *last = b'x';
    }
    String::from_utf8(pad).expect("letters and blanks are ASCII")
}

/// Counts the bytes of `sent` that `found` begins with, ignoring backslashes. JSON encoders add nothing but
/// backslashes here, however often they escape, because a canary's padding needs no other escaping.
fn common_prefix(sent: &[u8], found: &[u8]) -> usize {
    let mut found = found.iter().filter(|b| **b != b'\\');
    let same = |b: &&u8| **b == b'\\' || found.next().is_some_and(|f| f.eq_ignore_ascii_case(b));
    sent.iter().take_while(same).count()
}

/// Where the text around a found tag begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the beginning of its line or record.
    Record,
    /// Somewhere within the record, because too much text comes before it.
    Within,
}

/// How a stage's copy of a canary compares with what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Integrity {
    /// Everything around the tag, or the whole padding, is as it was sent.
    Intact,
    /// The stage keeps only the tag, or split the line, so there is nothing to compare.
    Unchecked,
    /// Cut or changed.
    Corrupted {
        /// Bytes of the message that are unchanged.
        kept_bytes: usize,
        /// Length of the message that was sent, in bytes.
        sent_bytes: usize,
    },
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intact => f.write_str("intact"),
            Self::Unchecked => f.write_str("not checked"),
            Self::Corrupted { kept_bytes, sent_bytes } => {
                write!(f, "changed or cut: {kept_bytes} of {sent_bytes} bytes are as they were sent")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tag::{Claim, InstanceCode, Keyring, Purpose, TagKey, TenantCode};
    use super::super::time::Timestamp;
    use super::*;
    use proptest::prelude::*;

    fn signed(size: u32) -> (Tag, TagText) {
        let tag = Tag::new(
            TraceId::new(Timestamp::from_millis(1_795_321_781_123), [9; 10]),
            TenantCode::of("acme"),
            InstanceCode::of("probe-1"),
            size,
            Purpose::Probe,
        );
        (tag, Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new()).sign(&tag))
    }

    #[test]
    fn the_default_line_is_json_of_the_exact_size() {
        for size in [100, 500, 1_024, 5_120, 10_240, 200_000] {
            let (tag, text) = signed(size);
            let line = Template::default().render(&tag, &text);
            assert_eq!(line.len(), size as usize);
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(json["trace_id"], text.as_str());
            assert!(
                line.find(text.as_str()).unwrap() < 39,
                "the whole tag must be within the first 100 bytes"
            );
        }
    }

    #[test]
    fn the_default_line_fits_100_bytes() {
        assert!(Template::default().min_size() <= 100, "{}", Template::default().min_size());
    }

    #[test]
    fn a_template_without_a_tag_or_with_an_unknown_placeholder_is_refused() {
        assert_eq!(Template::parse(r#"{"a":1}"#), Err(TemplateError::NoTag));
        assert_eq!(Template::parse("{tag} {tag}"), Err(TemplateError::Twice("tag")));
        assert_eq!(Template::parse("{tag} {tga}"), Err(TemplateError::Unknown("tga".into())));
        assert_eq!(Template::parse("{tag}\n"), Err(TemplateError::LineBreak));
    }

    #[test]
    fn a_template_of_the_tenant_keeps_its_json_braces_and_has_the_exact_size() {
        let template =
            Template::parse(r#"{"ctx":{"id":"{trace_id}"},"n":{size},"msg":"{tag} {pad}"}"#).unwrap();
        let (tag, text) = signed(300);
        let line = template.render(&tag, &text);
        assert_eq!(line.len(), 300);
        assert!(line.starts_with(&format!(r#"{{"ctx":{{"id":"{}"}}"#, tag.trace)), "{line}");
    }

    #[test]
    fn a_copy_escaped_twice_is_intact() {
        let (tag, text) = signed(500);
        let line = Template::default().render(&tag, &text);
        let once = serde_json::to_string(&line).unwrap();
        let twice = serde_json::to_string(&format!("{{\"m\":{once}}}")).unwrap();
        for found in [line, once, twice] {
            let at = found.find(text.as_str()).unwrap();
            assert_eq!(
                Template::default().inspect(&tag, &text, found.as_bytes(), at, Start::Record),
                Integrity::Intact
            );
        }
    }

    #[test]
    fn a_copy_with_reordered_fields_is_intact_if_its_padding_is_complete() {
        let (tag, text) = signed(500);
        let line = Template::default().render(&tag, &text);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let row = format!(r#"{{"message":{},"service":"traceprobe","id":"{text}"}}"#, json["message"]);
        let at = row.find(text.as_str()).unwrap();
        assert_eq!(
            Template::default().inspect(&tag, &text, row.as_bytes(), at, Start::Record),
            Integrity::Intact
        );
        let cut = row.replace(&json["message"].as_str().unwrap()[40..], "");
        let at = cut.find(text.as_str()).unwrap();
        assert!(matches!(
            Template::default().inspect(&tag, &text, cut.as_bytes(), at, Start::Record),
            Integrity::Corrupted { sent_bytes: 500, .. }
        ));
    }

    fn inspected(template: &Template, found: &str, start: Start) -> Integrity {
        let (tag, text) = signed(500);
        template.inspect(&tag, &text, found.as_bytes(), found.find(text.as_str()).unwrap(), start)
    }

    #[test]
    fn text_before_the_tag_is_compared_too() {
        let (tag, text) = signed(500);
        let template = Template::parse(r#"{"service":"web","message":"{pad} {tag}"#).unwrap();
        let line = template.render(&tag, &text);
        let enveloped = serde_json::json!({"id": "1", "message": line}).to_string();
        for whole in [line.clone(), enveloped.clone()] {
            assert_eq!(inspected(&template, &whole, Start::Record), Integrity::Intact);
        }
        let kept = |found: &str, start| match inspected(&template, found, start) {
            Integrity::Corrupted { kept_bytes, sent_bytes: 500 } => Some(kept_bytes),
            other => panic!("{found}: {other:?}"),
        };
        assert_eq!(kept(&line[300..], Start::Record), Some(200));
        assert_eq!(inspected(&template, &line[300..], Start::Within), Integrity::Intact);
        let changed = [&line[..100], "#", &line[101..]].concat();
        assert_eq!(kept(&changed, Start::Record), Some(399));
        assert_eq!(kept(&enveloped.replace(&line[100..110], ""), Start::Record), Some(390));
        let other = enveloped.replace("web", "wob");
        assert!(
            matches!(inspected(&template, &other, Start::Record), Integrity::Corrupted { .. }),
            "{other}"
        );
        let only_the_tag = format!("id={text}");
        assert_eq!(inspected(&template, &only_the_tag, Start::Record), Integrity::Unchecked);
    }

    #[test]
    fn added_or_reordered_fields_are_not_a_change_but_a_lost_word_is() {
        let (tag, text) = signed(500);
        let line = Template::default().render(&tag, &text);
        let inner = &line[1..line.len() - 1];
        // serde_json sorts the keys.
        let sorted = serde_json::from_str::<serde_json::Value>(&line).unwrap().to_string();
        let added = [format!(r#"{{"n":1,{inner}}}"#), format!(r#"{{{inner},"host":"x"}}"#), sorted];
        for found in &added {
            let escaped = serde_json::to_string(found).unwrap();
            for found in [found, &escaped] {
                assert_eq!(
                    inspected(&Template::default(), found, Start::Record),
                    Integrity::Intact,
                    "{found}"
                );
                let changed = found.replace("INFO", "WARN");
                assert!(
                    matches!(
                        inspected(&Template::default(), &changed, Start::Record),
                        Integrity::Corrupted { sent_bytes: 500, .. }
                    ),
                    "{changed}"
                );
            }
        }
    }

    #[test]
    fn characters_escaped_as_numbers_are_equal() {
        let template = Template::parse("<höher & weiter 😀>\t{tag} \\ {pad}</höher>").unwrap();
        let (tag, text) = signed(500);
        let line = template.render(&tag, &text);
        let mut ascii = String::new();
        for unit in serde_json::to_string(&line).unwrap().encode_utf16() {
            match char::from_u32(u32::from(unit)).filter(|c| c.is_ascii() && !"<>&".contains(*c)) {
                Some(letter) => ascii.push(letter),
                None => ascii += &format!("\\u{unit:04x}"),
            }
        }
        for found in [&line, &ascii, &ascii.to_ascii_uppercase().replace("ZQTP2", "zqtp2")] {
            let found = found.replace(&text.as_str().to_uppercase()[5..], &text.as_str()[5..]);
            assert_eq!(inspected(&template, &found, Start::Record), Integrity::Intact, "{found}");
        }
    }

    #[test]
    fn a_canary_of_version_1_is_compared_with_the_line_of_its_time() {
        let ring = Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new());
        for size in [89, 100, 149, 150, 151, 500] {
            let (Tag { trace, instance, .. }, _) = signed(size);
            let claim = Claim::V1 { tenant: TenantCode::of("acme").prefix() };
            let tag = Tag::remembered(trace, claim, instance, size);
            let text = ring.sign(&tag);
            let line = Template::default().render(&tag, &text);
            assert_eq!(
                line.len(),
                size as usize,
                "a size that was too small for the richer form must stay too small"
            );
            let at = line.find(text.as_str()).unwrap();
            let inspect =
                |found: &str| Template::default().inspect(&tag, &text, found.as_bytes(), at, Start::Record);
            assert_eq!(inspect(&line), Integrity::Intact);
            let sent_bytes = line.len();
            assert_eq!(inspect(&line[..80]), Integrity::Corrupted { kept_bytes: 80, sent_bytes });
        }
    }

    #[test]
    fn a_stage_that_keeps_only_the_tag_is_not_corrupt() {
        let (tag, text) = signed(500);
        let found = format!("id={text}");
        assert_eq!(
            Template::default().inspect(&tag, &text, found.as_bytes(), 3, Start::Record),
            Integrity::Unchecked
        );
    }

    proptest! {
        #[test]
        fn a_line_cut_anywhere_after_its_tag_is_corrupt(size in 100_u32..3_000, cut in 80_usize..2_999) {
            prop_assume!(cut < size as usize);
            let (tag, text) = signed(size);
            let line = Template::default().render(&tag, &text);
            let at = line.find(text.as_str()).unwrap();
            prop_assert_eq!(
                Template::default().inspect(&tag, &text, &line.as_bytes()[..cut], at, Start::Record),
                Integrity::Corrupted { kept_bytes: cut, sent_bytes: size as usize }
            );
        }

        #[test]
        fn every_size_above_the_smallest_is_exact(size in 94_u32..20_000) {
            let (tag, text) = signed(size);
            prop_assert_eq!(Template::default().render(&tag, &text).len(), size as usize);
        }
    }
}
