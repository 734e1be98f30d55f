//! Tags in the text of others.

use traceprobe::domain::tag::{Shape, read_unverified};

use super::world::recognizer;

/// What reads as a tag is written as it stood, and only what our key signed is ours.
pub fn tag(text: &[u8]) {
    let keys = &recognizer().keys;
    let verified = keys.read(text);
    let Ok(tag) = read_unverified(text) else {
        assert!(verified.is_err(), "verified without being a tag");
        return;
    };
    let signed = keys.sign(&tag);
    let len = signed.as_str().len();
    assert_eq!(Shape::of(text), Shape::Whole(len));
    let stood = text[..len].to_ascii_lowercase();
    let (before_signature, _) = signed.as_str().split_at(len - signed.signature().len());
    assert!(stood.starts_with(before_signature.as_bytes()), "{before_signature} is not what stood there");
    assert_eq!(verified.is_ok(), stood == signed.as_str().as_bytes(), "{signed}");
    assert_eq!(keys.read(signed.as_str().as_bytes()), Ok(tag));
}
