//! The trace tag: the token in a canary that makes it ours, unique, and unforgeable.
//!
//! ```text
//! zqtp 2 01934f0c5a3e7c1a9b2d3e4f5a6b7c8d 0k3v7bc7 17qa 00p0 0 5s8h2n0b1c9d
//! |    | |                                |        |    |    | `- 60 bits of HMAC-SHA-256 over all before it
//! |    | |                                |        |    |    `--- purpose: 0 probe, 1 check, 2 load, 3 drill
//! |    | |                                |        |    `-------- size of the canary in bytes, 20 bits
//! |    | |                                |        `------------- code of the probe instance, 20 bits
//! |    | |                                `---------------------- code of the tenant, 40 bits
//! |    | `------------------------------------------------------- trace id: UUIDv7, 32 hexadecimal digits
//! |    `--------------------------------------------------------- version of this layout
//! `-------------------------------------------------------------- marker, for substring searches
//! ```
//!
//! (Without the blanks.) A tag has only ASCII letters and digits, so JSON does not escape it, log parsers do
//! not split it and URLs do not encode it. It is written in lower case and compared ignoring case, so a stage
//! that changes the case does not hide it. Numbers are hexadecimal or base32hex (RFC 4648, section 7).
//!
//! The tag contains the size so that the copy at any stage can be checked for truncation without remembering
//! what was sent. The purpose is for the tracker, which tracks a canary that it did not plan only if the
//! purpose is `probe`.
//!
//! Version 1 is read and never written: 61 characters, the first 20 bits of the tenant's code, and no
//! purpose, which means `probe`. A [`Tag`] remembers its version, so that it is compared, looked up and
//! stored as it was written. Only [`Tag::new`] makes new tags, always of version 2. The versions sign
//! different texts with the same key, so a tag of one version is never valid in the other. Unknown versions
//! are not read.

mod codes;
mod keyring;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use self::codes::{InstanceCode, Purpose, ReservedPurpose, TenantCode, TenantPrefix, TraceId};
pub use self::keyring::{Keyring, TagKey};

/// The text that a substring search finds, in every version.
///
/// `docs/recipes/filter-canaries.md` promises to clients that every tag begins with it, a digit and the 32
/// hexadecimal digits of the trace id. A new version keeps that.
///
/// Chosen because these letters do not follow each other in any language that logs are written in.
pub const MARKER: &str = "zqtp";

/// Length of a new tag, in ASCII characters.
pub const TAG_LEN: usize = Version::V2.tag_len();

/// Length of the shortest tag that is read, in ASCII characters.
pub const MIN_TAG_LEN: usize = Version::V1.tag_len();

/// Largest size that fits the 20 bits in a tag. It is just above the largest log event that CloudWatch Logs
/// accepts (1,048,576 bytes less 26 of overhead; AWS Logs API reference, PutLogEvents).
pub const MAX_SIZE: u32 = (1 << 20) - 1;

/// Length of the marker and the version, in every version.
pub const HEAD_LEN: usize = VERSION_AT + 1;

const VERSION_AT: usize = MARKER.len();
const ID: Range<usize> = HEAD_LEN..HEAD_LEN + 32;
const INSTANCE_LEN: usize = 4;
const SIZE_LEN: usize = 4;
const MAC_LEN: usize = 12;
/// Position of the purpose in version 2. Version 1 has none.
const PURPOSE: Range<usize> = Version::V2.size().end..Version::V2.mac().start;

/// RFC 4648, section 7: "Base 32 Encoding with Extended Hex Alphabet", in lower case.
const BASE32HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The version of a tag's layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// Read but never written.
    V1,
    /// Read and written.
    V2,
}

impl Version {
    /// All versions that are read.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The digit after the marker.
    #[must_use]
    pub const fn digit(self) -> char {
        match self {
            Self::V1 => '1',
            Self::V2 => '2',
        }
    }

    /// Length of a tag, in ASCII characters: marker 4, version 1, id 32, tenant 4 or 8, instance 4, size 4,
    /// purpose 0 or 1, MAC 12.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::V1 => 61,
            Self::V2 => 66,
        }
    }

    /// Position of the tenant's code.
    #[must_use]
    pub const fn tenant(self) -> Range<usize> {
        match self {
            Self::V1 => ID.end..ID.end + 4,
            Self::V2 => ID.end..ID.end + 8,
        }
    }

    const fn instance(self) -> Range<usize> {
        let at = self.tenant().end;
        at..at + INSTANCE_LEN
    }

    const fn size(self) -> Range<usize> {
        let at = self.instance().end;
        at..at + SIZE_LEN
    }

    /// Position of the signature.
    #[must_use]
    pub const fn mac(self) -> Range<usize> {
        self.tag_len() - MAC_LEN..self.tag_len()
    }

    /// Hashed before the tag, so that a text has different signatures in two versions.
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::V1 => b"traceprobe tag 1\0",
            Self::V2 => b"traceprobe tag 2\0",
        }
    }

    /// The version of a text that begins with the marker.
    fn of(text: &[u8]) -> Option<Self> {
        if !text.get(..VERSION_AT)?.eq_ignore_ascii_case(MARKER.as_bytes()) {
            return None;
        }
        let digit = char::from(*text.get(VERSION_AT)?);
        Self::ALL.into_iter().find(|version| version.digit() == digit)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.digit())
    }
}

/// The content of a tag.
///
/// Two tags are equal if they have the same content and version. Which tenant a tag names is decided by
/// [`Tag::tenant_among`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    pub trace: TraceId,
    /// The instance of the probe that sent it.
    pub instance: InstanceCode,
    /// Size of the canary's message, in bytes.
    pub size: u32,
    claim: Claim,
}

/// The fields that depend on the version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Claim {
    /// Version 1, whose purpose is always `probe`.
    V1 {
        /// The beginning of the tenant's code.
        tenant: TenantPrefix,
    },
    /// Version 2.
    V2 {
        /// The tenant whose canary it is.
        tenant: TenantCode,
        /// What the canary was made for.
        purpose: Purpose,
    },
}

impl Tag {
    /// The tag of a new canary, always of version 2.
    #[must_use]
    pub const fn new(
        trace: TraceId,
        tenant: TenantCode,
        instance: InstanceCode,
        size: u32,
        purpose: Purpose,
    ) -> Self {
        Self { trace, instance, size, claim: Claim::V2 { tenant, purpose } }
    }

    /// The tag of an earlier canary, as a store keeps it.
    #[must_use]
    pub const fn remembered(trace: TraceId, claim: Claim, instance: InstanceCode, size: u32) -> Self {
        Self { trace, instance, size, claim }
    }

    /// The fields that depend on the version.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// The version in which it was written.
    #[must_use]
    pub const fn version(&self) -> Version {
        match self.claim {
            Claim::V1 { .. } => Version::V1,
            Claim::V2 { .. } => Version::V2,
        }
    }

    /// What the canary was made for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        match self.claim {
            Claim::V1 { .. } => Purpose::Probe,
            Claim::V2 { purpose, .. } => purpose,
        }
    }

    /// The tenant's code as it is written in the tag: 8 base32hex digits, or the first 4 of them in version
    /// 1.
    #[must_use]
    pub fn tenant_digits(&self) -> String {
        match self.claim {
            Claim::V1 { tenant } => tenant.to_string(),
            Claim::V2 { tenant, .. } => tenant.to_string(),
        }
    }

    /// Whether the tag may be of the tenant with this code. In version 1 it may fit several.
    #[must_use]
    pub fn fits(&self, code: TenantCode) -> bool {
        match self.claim {
            Claim::V1 { tenant: prefix } => code.prefix() == prefix,
            Claim::V2 { tenant: whole, .. } => code == whole,
        }
    }

    /// The one of some tenants that the tag names, by their codes. If it fits two, which the 20 bits of
    /// version 1 may, it names neither: a guess could charge one tenant with what another one's canary did.
    pub fn tenant_among<T>(
        &self,
        tenants: impl IntoIterator<Item = T>,
        code: impl Fn(&T) -> TenantCode,
    ) -> Option<T> {
        let mut named = tenants.into_iter().filter(|tenant| self.fits(code(tenant)));
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }
}

/// A tag as it is written in a log line: lower-case ASCII letters and digits, as many as its version has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagText {
    version: Version,
    /// Padded with zeros if the version is shorter.
    bytes: [u8; TAG_LEN],
}

impl TagText {
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The signature without the rest of the token.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.as_str()[self.version.mac()]
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.version.tag_len()]
    }

    /// The bytes that the signature covers.
    fn signed(&self) -> &[u8] {
        &self.bytes[..self.version.mac().start]
    }

    fn put(&mut self, at: Range<usize>, value: u64) {
        put_base32(&mut self.bytes[at], value);
    }

    fn get(&self, at: Range<usize>) -> Option<u64> {
        get_base32(&self.bytes[at])
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
    /// Truncated, of an unknown version, or with characters that no tag has.
    #[error(
        "not a whole tag: it must begin with `{MARKER}` and a version, and be {} letters and digits long in version 1 or {} in version 2",
        Version::V1.tag_len(),
        Version::V2.tag_len()
    )]
    Malformed,
    /// Well formed, but signed with none of our keys: forged, or from a probe with another key.
    #[error("signed with a key that is not ours")]
    Foreign,
}

/// Parses the tag at the start of `text` without verifying it, to show a person its content.
///
/// # Errors
///
/// [`NotOurs::Malformed`] if it is not a whole tag.
pub fn read_unverified(text: &[u8]) -> Result<Tag, NotOurs> {
    parse(text).map(|(tag, _)| tag).ok_or(NotOurs::Malformed)
}

/// What some bytes begin with, as far as that can be determined without a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A whole tag of this length in bytes, whoever signed it.
    Whole(usize),
    /// Possibly the beginning of a tag, depending on the bytes that follow.
    Unfinished,
    /// Something else.
    Other,
}

impl Shape {
    /// The shape of `bytes`. Unless it is `Unfinished`, more bytes do not change it.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(VERSION_AT)];
        if !head.eq_ignore_ascii_case(&MARKER.as_bytes()[..head.len()]) {
            return Self::Other;
        }
        if bytes.len() <= VERSION_AT {
            return Self::Unfinished;
        }
        match Version::of(bytes) {
            None => Self::Other,
            Some(version) if bytes.len() < version.tag_len() => Self::Unfinished,
            Some(version) => parse(bytes).map_or(Self::Other, |_| Self::Whole(version.tag_len())),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(Tag, TagText)> {
    let version = Version::of(bytes)?;
    let mut text = TagText { version, bytes: [0; TAG_LEN] };
    let len = version.tag_len();
    text.bytes[..len].copy_from_slice(bytes.get(..len)?);
    text.bytes.make_ascii_lowercase();
    let mut id: u128 = 0;
    for &digit in &text.bytes[ID] {
        id = (id << 4) | u128::from(char::from(digit).to_digit(16)?);
    }
    let field = |at| text.get(at).and_then(|value| u32::try_from(value).ok());
    let claim = match version {
        Version::V1 => Claim::V1 { tenant: TenantPrefix(field(version.tenant())?) },
        Version::V2 => Claim::V2 {
            tenant: TenantCode(text.get(version.tenant())?),
            purpose: Purpose::from_value(u8::try_from(field(PURPOSE)?).ok()?)?,
        },
    };
    let instance = InstanceCode(field(version.instance())?);
    let tag = Tag { trace: TraceId(id), instance, size: field(version.size())?, claim };
    text.get(version.mac())?;
    Some((tag, text))
}

fn write_base32<const LEN: usize>(f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
    let mut digits = [0; LEN];
    put_base32(&mut digits, value);
    f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
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
