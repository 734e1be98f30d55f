//! The keys that sign tags. They come from the environment only, never from the file.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::tag::{Keyring, TagKey};
use crate::keys::fault::{Checked, Collector, Faults};

/// The variable that holds the tag key.
pub const TAG_KEY: &str = "TRACEPROBE_TAG_KEY";
/// The variable with the path of a file that holds the tag key.
pub const TAG_KEY_FILE: &str = "TRACEPROBE_TAG_KEY_FILE";
/// The variable with keys that no longer sign but are still accepted during a rotation, separated by commas.
pub const TAG_KEYS_ACCEPTED: &str = "TRACEPROBE_TAG_KEYS_ACCEPTED";

/// Reads the tag keys from the environment of this process.
///
/// # Errors
///
/// [`Faults`] that name the variables.
pub fn keyring_from_env() -> Result<Keyring, Faults> {
    let mut faults = Collector::default();
    keyring(&super::environment(), &mut faults)
        .map_err(|_| Faults { file: "the environment".to_owned(), list: faults.list() })
}

/// Reads the tag keys. No fault quotes a key.
pub(super) fn keyring(env: &BTreeMap<String, String>, faults: &mut Collector) -> Checked<Keyring> {
    let set = |name: &str| env.get(name).filter(|text| !text.trim().is_empty());
    let signing = match (set(TAG_KEY), set(TAG_KEY_FILE)) {
        (Some(_), Some(_)) => Err(faults.report(
            TAG_KEY_FILE,
            format!("{TAG_KEY} is set as well; set only one of them"),
        )),
        (Some(text), None) => read(TAG_KEY, text, faults),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => read(TAG_KEY_FILE, &text, faults),
            Err(error) => {
                Err(faults.report(TAG_KEY_FILE, format!("cannot read {path}: {error}")))
            }
        },
        (None, None) => Err(faults.report(
            TAG_KEY,
            format!("is not set, so tags cannot be signed; set it to the output of `openssl rand -hex 32`, or set {TAG_KEY_FILE} to the path of a file that holds a key"),
        )),
    };
    let accepted = set(TAG_KEYS_ACCEPTED).map_or("", String::as_str);
    let accepted: Vec<_> = accepted
        .split(',')
        .filter(|text| !text.trim().is_empty())
        .map(|text| read(TAG_KEYS_ACCEPTED, text, faults))
        .collect();
    let accepted: Checked<Vec<TagKey>> = accepted.into_iter().collect();
    Ok(Keyring::new(signing?, accepted?))
}

/// Reads one key: an even number of hexadecimal digits, at least 32, is decoded; other text is used as it is.
fn read(variable: &str, text: &str, faults: &mut Collector) -> Checked<TagKey> {
    // Files and secret stores often end with a line break.
    let text = text.trim();
    let (bytes, form) = match from_hex(text) {
        Some(bytes) => (bytes, Form::Hexadecimal),
        None => (text.as_bytes().to_vec(), Form::Text),
    };
    let length = bytes.len();
    let Some(key) = TagKey::new(bytes) else {
        return Err(faults.report(variable, format!("a key of {length} bytes is too short; {RIGHT_KEY}")));
    };
    let written = match form {
        Form::Hexadecimal => text.to_ascii_lowercase(),
        Form::Text => text.to_owned(),
    };
    let different = written.bytes().collect::<BTreeSet<_>>().len();
    match form {
        Form::Text if different < MIN_DIFFERENT_BYTES => Err(faults.report(
            variable,
            format!("a key with only {different} different characters is too easy to guess; {RIGHT_KEY}"),
        )),
        Form::Hexadecimal if different < MIN_DIFFERENT_DIGITS => Err(faults.report(
            variable,
            format!("a key with only {different} different digits is too easy to guess; {RIGHT_KEY}"),
        )),
        Form::Text | Form::Hexadecimal => Ok(key),
    }
}

/// How a key is written.
#[derive(Clone, Copy)]
enum Form {
    Hexadecimal,
    Text,
}

/// A text that repeats a few characters has far fewer than 128 bits of secret, however long it is.
const MIN_DIFFERENT_BYTES: usize = 16;
/// Of 32 random hexadecimal digits, fewer than 8 are different once in 10^7 keys.
const MIN_DIFFERENT_DIGITS: usize = 8;
/// What would be right.
const RIGHT_KEY: &str = "it must be at least 32 hexadecimal digits, 8 of them different, or text with at least 16 different characters; for example from `openssl rand -hex 32`";

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() < 32 || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| {
            let digit = |b: u8| char::from(b).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fault of a key, or an empty text.
    fn fault(key: &str) -> String {
        let mut faults = Collector::default();
        let _read = read(TAG_KEY, key, &mut faults);
        faults.list().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_key_that_repeats_itself_is_too_easy_to_guess() {
        for weak in
            ["aaaaaaaaaaaaaaaa", "change me change me change me", &"0a".repeat(32), &"abcdefg ".repeat(8)]
        {
            let fault = fault(weak);
            assert!(fault.starts_with("TRACEPROBE_TAG_KEY: a key with only "), "{weak}: {fault}");
            assert!(fault.contains("openssl rand -hex 32") && !fault.contains(weak), "{fault}");
        }
    }

    #[test]
    fn sixteen_different_bytes_or_thirty_two_digits_are_a_key() {
        for key in [
            "0123456789abcdef",
            "AaBbCcDdEeFfGgHh",
            "the benchmark's key is no secret",
            "8f3a6c0d1e5b7294a1c3e5f7092b4d68",
        ] {
            assert_eq!(fault(key), "", "{key}");
        }
    }

    #[test]
    fn hexadecimal_keys_are_decoded_and_other_texts_are_not() {
        assert_eq!(from_hex("000102030405060708090a0b0c0d0e0F"), Some((0..16).collect()));
        assert_eq!(from_hex("0123456789abcdef"), None);
        assert_eq!(from_hex("not hexadecimal, but long enough"), None);
    }
}
