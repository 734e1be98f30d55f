//! The trace tag: the one token in a canary that makes it ours, unique, and unforgeable.
//!
//! ```text
//! zqtp1 01934f0c5a3e7c1a9b2d3e4f5a6b7c8d 0k3v 17qa 00p0 5s8h2n0b1c9d
//! |   | |                                |    |    |    `- 60 bits of HMAC-SHA-256 over all before it
//! |   | |                                |    |    `------ size of the canary in bytes, 20 bits
//! |   | |                                |    `----------- code of the probe instance, 20 bits
//! |   | |                                `---------------- code of the tenant, 20 bits
//! |   | `------------------------------------------------- trace id: UUIDv7, 32 hexadecimal digits
//! |   `--------------------------------------------------- version of this layout
//! `------------------------------------------------------- marker, for substring searches
//! ```
//!
//! (Written without the blanks.) It is ASCII letters and digits only, so there is nothing in it that JSON would
//! escape, a log parser would split or a URL would encode; and it is compared without regard to case, so a stage that
//! re-cases its input does not hide it. Hexadecimal and base32hex (RFC 4648, section 7) digits, all lower-case.
//!
//! The size travels in the tag so that any stage's copy can be checked for truncation without memory of what was sent.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::time::Timestamp;

/// What a substring search looks for: the marker and the version.
///
/// Chosen because the letters do not occur in a row in any language that logs are written in.
pub const MARKER: &str = "zqtp1";

/// Length of a tag, in ASCII characters: marker 5, id 32, tenant 4, instance 4, size 4, MAC 12.
pub const TAG_LEN: usize = 61;

/// Largest size that a tag can state: 20 bits, which is also just above the largest log event that
/// CloudWatch Logs takes (1,048,576 bytes less 26 of overhead; AWS Logs API reference, PutLogEvents).
pub const MAX_SIZE: u32 = (1 << 20) - 1;

const ID_AT: usize = 5;
const TENANT_AT: usize = 37;
const INSTANCE_AT: usize = 41;
/// Where in a tag the tenant's code stands.
pub const TENANT: std::ops::Range<usize> = TENANT_AT..INSTANCE_AT;
const SIZE_AT: usize = 45;
const MAC_AT: usize = 49;

/// RFC 4648, section 7: "Base 32 Encoding with Extended Hex Alphabet", in lower case.
const BASE32HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The identity of a trace: a UUIDv7 (RFC 9562), whose first 48 bits are the planned injection in milliseconds.
///
/// As 32 lower-case hexadecimal digits it is also a valid W3C trace id. Ids sort by planned injection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The id of a canary that is planned for `planned` (whole milliseconds), with 74 random bits.
    #[must_use]
    pub fn new(planned: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(planned.millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128())
    }

    /// From the 128 bits of a UUID.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits of the UUID.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// When the canary was planned to leave, to the millisecond: the first 48 bits of a UUIDv7.
    #[must_use]
    pub fn planned_at(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0 >> 80).unwrap_or(i64::MAX))
    }

    /// Reads 32 hexadecimal digits in any case, or the form with dashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.as_u128()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Twenty bits that stand for a name inside a tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Code(u32);

impl Code {
    /// The code of a name: the first 20 bits of its SHA-256. Two tenants whose codes collide cannot be told apart in
    /// a tag, so the configuration refuses them.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = Sha256::digest(name.as_bytes());
        Self(u32::from_be_bytes([0, hash[0], hash[1], hash[2]]) >> 4)
    }

    /// The code with this number, if it is below 2^20: as it came out of a tag, or out of a store.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> 20 == 0 { Some(Self(value)) } else { None }
    }

    /// The number behind it, below 2^20.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 4];
        put_base32(&mut digits, u64::from(self.0));
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// What a tag says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    /// Which trace.
    pub trace: TraceId,
    /// Whose canary it is.
    pub tenant: Code,
    /// Which instance of the probe sent it.
    pub instance: Code,
    /// Size of the canary's message, in bytes.
    pub size: u32,
}

/// A tag as it stands in a log line: [`TAG_LEN`] lower-case ASCII letters and digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagText([u8; TAG_LEN]);

impl TagText {
    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for TagText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TagText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text that begins with the marker is not one of our tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotOurs {
    /// Cut short, or with characters that a tag does not have.
    #[error("not a whole tag: it must be {TAG_LEN} letters and digits that begin with `{MARKER}`")]
    Malformed,
    /// Well formed, but signed with none of our keys: forged, or from a probe with another key.
    #[error("signed with a key that is not ours")]
    Foreign,
}

/// A secret that signs tags. Never printed.
#[derive(Clone)]
pub struct TagKey(Vec<u8>);

impl TagKey {
    /// Shortest key that is taken, in bytes: 128 bits, the security level that RFC 2104 gives as a sensible minimum.
    pub const MIN_LEN: usize = 16;

    /// A key from its bytes; `None` when it is shorter than [`TagKey::MIN_LEN`].
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= Self::MIN_LEN).then_some(Self(bytes))
    }

    fn mac(&self, signed: &[u8]) -> u64 {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"traceprobe tag 1\0");
        mac.update(signed);
        let sum = mac.finalize().into_bytes();
        u64::from_be_bytes([sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6], sum[7]]) >> 4
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(…)")
    }
}

/// The keys in force: one that signs, and any number that are still accepted while a rotation is under way.
#[derive(Clone, Debug)]
pub struct Keyring {
    signing: TagKey,
    accepted: Vec<TagKey>,
}

impl Keyring {
    /// A ring that signs with `signing` and also accepts what was signed with `accepted`.
    #[must_use]
    pub fn new(signing: TagKey, accepted: Vec<TagKey>) -> Self {
        Self { signing, accepted }
    }

    /// Writes a tag and signs it.
    #[must_use]
    pub fn sign(&self, tag: &Tag) -> TagText {
        let mut text = [0; TAG_LEN];
        text[..ID_AT].copy_from_slice(MARKER.as_bytes());
        let digits = tag.trace.to_string();
        text[ID_AT..TENANT_AT].copy_from_slice(digits.as_bytes());
        put_base32(&mut text[TENANT_AT..INSTANCE_AT], u64::from(tag.tenant.0));
        put_base32(&mut text[INSTANCE_AT..SIZE_AT], u64::from(tag.instance.0));
        put_base32(&mut text[SIZE_AT..MAC_AT], u64::from(tag.size.min(MAX_SIZE)));
        let mac = self.signing.mac(&text[..MAC_AT]);
        put_base32(&mut text[MAC_AT..], mac);
        TagText(text)
    }

    /// Reads the tag at the start of `bytes`, in any case, and checks who signed it.
    ///
    /// # Errors
    ///
    /// [`NotOurs`] when it is no whole tag, or none of our keys signed it.
    pub fn read(&self, bytes: &[u8]) -> Result<Tag, NotOurs> {
        let (tag, text) = parse(bytes).ok_or(NotOurs::Malformed)?;
        let claimed = get_base32(&text[MAC_AT..]).ok_or(NotOurs::Malformed)?;
        // The comparison need not take constant time: a MAC is shown to nobody who may ask for a second try, and what
        // a forger could win is a line in a log.
        std::iter::once(&self.signing)
            .chain(&self.accepted)
            .any(|key| key.mac(&text[..MAC_AT]) == claimed)
            .then_some(tag)
            .ok_or(NotOurs::Foreign)
    }
}

/// Reads what the tag at the start of `text` says, without any key: for people who ask what a tag says.
///
/// # Errors
///
/// [`NotOurs::Malformed`] when it is no whole tag.
pub fn read_unverified(text: &[u8]) -> Result<Tag, NotOurs> {
    parse(text).map(|(tag, _)| tag).ok_or(NotOurs::Malformed)
}

fn parse(bytes: &[u8]) -> Option<(Tag, [u8; TAG_LEN])> {
    let mut text: [u8; TAG_LEN] = bytes.get(..TAG_LEN)?.try_into().ok()?;
    text.make_ascii_lowercase();
    if !text.starts_with(MARKER.as_bytes()) {
        return None;
    }
    let mut id: u128 = 0;
    for &digit in &text[ID_AT..TENANT_AT] {
        id = (id << 4) | u128::from(char::from(digit).to_digit(16)?);
    }
    let field = |from, to| get_base32(&text[from..to]).and_then(|value| u32::try_from(value).ok());
    let tag = Tag {
        trace: TraceId(id),
        tenant: Code(field(TENANT_AT, INSTANCE_AT)?),
        instance: Code(field(INSTANCE_AT, SIZE_AT)?),
        size: field(SIZE_AT, MAC_AT)?,
    };
    Some((tag, text))
}

fn put_base32(into: &mut [u8], mut value: u64) {
    for digit in into.iter_mut().rev() {
        *digit = BASE32HEX[(value & 31) as usize];
        value >>= 5;
    }
}

fn get_base32(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, &digit| {
        let bits = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'v' => digit - b'a' + 10,
            _ => return None,
        };
        Some((value << 5) | u64::from(bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(secret: &str) -> Keyring {
        Keyring::new(TagKey::new(secret).unwrap(), Vec::new())
    }

    fn tag(size: u32) -> Tag {
        Tag {
            trace: TraceId::new(Timestamp::from_millis(1_795_321_781_123), [7; 10]),
            tenant: Code::of("acme"),
            instance: Code::of("probe-1"),
            size,
        }
    }

    #[test]
    fn a_tag_is_one_token_of_fixed_length() {
        let text = ring("0123456789abcdef").sign(&tag(10_240));
        assert_eq!(text.as_str().len(), TAG_LEN);
        assert!(text.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{text}");
        assert!(text.as_str().starts_with(MARKER));
    }

    #[test]
    fn the_id_carries_the_planned_injection_and_is_a_version_7_uuid() {
        let tag = tag(100);
        assert_eq!(tag.trace.planned_at(), Timestamp::from_millis(1_795_321_781_123));
        assert_eq!(uuid::Uuid::from_u128(tag.trace.as_u128()).get_version_num(), 7);
    }

    #[test]
    fn a_tag_signed_with_another_key_is_foreign() {
        let text = ring("another key, sixteen+").sign(&tag(100));
        assert_eq!(ring("0123456789abcdef").read(text.as_str().as_bytes()), Err(NotOurs::Foreign));
    }

    #[test]
    fn a_rotated_key_is_still_accepted() {
        let old = TagKey::new("0123456789abcdef").unwrap();
        let text = Keyring::new(old.clone(), Vec::new()).sign(&tag(100));
        let rotated = Keyring::new(TagKey::new("fedcba9876543210").unwrap(), vec![old]);
        assert_eq!(rotated.read(text.as_str().as_bytes()), Ok(tag(100)));
        assert_ne!(rotated.sign(&tag(100)), text);
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_ever_printed() {
        assert!(TagKey::new("too short").is_none());
        assert_eq!(format!("{:?}", TagKey::new("0123456789abcdef").unwrap()), "TagKey(…)");
    }

    proptest! {
        #[test]
        fn a_tag_reads_back_in_any_case(
            millis in 0_i64..(1 << 47), random: [u8; 10], tenant in ".{0,12}", instance in ".{0,12}",
            size in 0..=MAX_SIZE, upper: bool,
        ) {
            let tag = Tag {
                trace: TraceId::new(Timestamp::from_millis(millis), random),
                tenant: Code::of(&tenant),
                instance: Code::of(&instance),
                size,
            };
            let ring = ring("0123456789abcdef");
            let mut text = ring.sign(&tag).as_str().to_owned();
            if upper {
                text.make_ascii_uppercase();
            }
            prop_assert_eq!(ring.read(text.as_bytes()), Ok(tag));
            prop_assert_eq!(tag.trace.planned_at(), Timestamp::from_millis(millis));
        }

        #[test]
        fn a_tag_with_one_wrong_character_or_cut_short_is_not_ours(at in 0..TAG_LEN, with in "[0-9a-z]", size in 0..=MAX_SIZE) {
            let ring = ring("0123456789abcdef");
            let text = ring.sign(&tag(size)).as_str().to_owned();
            prop_assert!(ring.read(&text.as_bytes()[..at]).is_err());
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &with);
            if wrong != text {
                prop_assert!(ring.read(wrong.as_bytes()).is_err());
            }
        }
    }
}
