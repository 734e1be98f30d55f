//! The keys that sign tags. They come from the environment only, never from the file.

use std::collections::BTreeMap;

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
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let env = std::env::vars_os().filter_map(text).collect();
    keyring(&env, &mut faults).map_err(|_| Faults { file: "the environment".to_owned(), list: faults.list() })
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
            format!("is not set, so tags cannot be signed; set it to a secret of at least {} bytes, for example from `openssl rand -hex 32`, or set {TAG_KEY_FILE} to the path of a file that holds one", TagKey::MIN_LEN),
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
    let bytes = from_hex(text).unwrap_or_else(|| text.as_bytes().to_vec());
    let length = bytes.len();
    TagKey::new(bytes).ok_or_else(|| {
        faults.report(
            variable,
            format!("a key of {length} bytes is too short; it must have at least {}", TagKey::MIN_LEN),
        )
    })
}

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

    #[test]
    fn hexadecimal_keys_are_decoded_and_other_texts_are_not() {
        assert_eq!(from_hex("000102030405060708090a0b0c0d0e0F"), Some((0..16).collect()));
        assert_eq!(from_hex("0123456789abcdef"), None);
        assert_eq!(from_hex("not hexadecimal, but long enough"), None);
    }
}
