//! The trace tag: the one token in a canary that makes it ours, unique, and unforgeable.
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
//! (Written without the blanks.) It is ASCII letters and digits only, so there is nothing in it that JSON would
//! escape, a log parser would split or a URL would encode; and it is compared without regard to case, so a stage that
//! re-cases its input does not hide it. Hexadecimal and base32hex (RFC 4648, section 7) digits, all lower-case.
//!
//! The size travels in the tag so that any stage's copy can be checked for truncation without memory of what was sent.
//! The purpose is for the tracker: it follows a canary that it did not plan itself only if the purpose is `probe`.
//!
//! Version 1 is read and never written: 61 characters, the tenant's code cut to its first 20 bits, no purpose, which
//! means `probe`. A [`Tag`] remembers its version, so that it is compared, looked up and stored as it was written;
//! only [`Tag::new`] makes a new one, and always of version 2. The versions sign different texts with the same key, so a
//! tag of one never passes for one of the other. A version that is not known here is not read at all.

mod codes;
mod keyring;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use self::codes::{InstanceCode, Purpose, ReservedPurpose, TenantCode, TenantPrefix, TraceId};
pub use self::keyring::{Keyring, TagKey};

/// What a substring search looks for, whatever the version.
///
/// Chosen because the letters do not occur in a row in any language that logs are written in.
pub const MARKER: &str = "zqtp";

/// Length of a tag that is made now, in ASCII characters.
pub const TAG_LEN: usize = Version::V2.tag_len();

/// Largest size that a tag can state: 20 bits, which is also just above the largest log event that
/// CloudWatch Logs takes (1,048,576 bytes less 26 of overhead; AWS Logs API reference, PutLogEvents).
pub const MAX_SIZE: u32 = (1 << 20) - 1;

/// How many characters the marker and the version have, in every version.
pub const HEAD_LEN: usize = VERSION_AT + 1;

const VERSION_AT: usize = MARKER.len();
const ID: Range<usize> = HEAD_LEN..HEAD_LEN + 32;
const INSTANCE_LEN: usize = 4;
const SIZE_LEN: usize = 4;
const MAC_LEN: usize = 12;
/// Where the purpose stands in version 2. Version 1 has none.
const PURPOSE: Range<usize> = Version::V2.size().end..Version::V2.mac().start;

/// RFC 4648, section 7: "Base 32 Encoding with Extended Hex Alphabet", in lower case.
const BASE32HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The version of a tag's layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// Read only.
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

    /// Length of a tag, in ASCII characters: marker 4, version 1, id 32, tenant 4 or 8, instance 4, size 4, purpose 0
    /// or 1, MAC 12.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::V1 => 61,
            Self::V2 => 66,
        }
    }

    /// Where in a tag the tenant's code stands.
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

    /// Where the signature stands.
    #[must_use]
    pub const fn mac(self) -> Range<usize> {
        self.tag_len() - MAC_LEN..self.tag_len()
    }

    /// What is hashed before the tag, so that no text is signed the same in two versions.
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

/// What a tag says.
///
/// Two tags are equal if they say the same in the same version. Whom a tag names is another question:
/// [`Tag::tenant_among`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    /// Which trace.
    pub trace: TraceId,
    /// Which instance of the probe sent it.
    pub instance: InstanceCode,
    /// Size of the canary's message, in bytes.
    pub size: u32,
    claim: Claim,
}

/// What a tag says that depends on its version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Claim {
    /// Version 1, whose purpose is always `probe`.
    V1 {
        /// What is left of the tenant's code.
        tenant: TenantPrefix,
    },
    /// Version 2.
    V2 {
        /// Whose canary it is.
        tenant: TenantCode,
        /// What it was made for.
        purpose: Purpose,
    },
}

impl Tag {
    /// The tag of a new canary, which is always of version 2.
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

    /// The tag of a canary that was made before, as a store remembers it.
    #[must_use]
    pub const fn remembered(trace: TraceId, claim: Claim, instance: InstanceCode, size: u32) -> Self {
        Self { trace, instance, size, claim }
    }

    /// What it says that depends on its version.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// The version that it was made in.
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

    /// The tenant's code as it stands in the tag: 8 base32hex digits, or the first 4 of them in version 1.
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

    /// The one of some tenants that the tag names, by their codes. If it fits two, which the 20 bits of version 1 may, it
    /// names neither: a guess could charge one tenant with what another one's canary did.
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

/// A tag as it stands in a log line: lower-case ASCII letters and digits, as many as its version has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagText {
    version: Version,
    /// Zeros fill what the version does not use.
    bytes: [u8; TAG_LEN],
}

impl TagText {
    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The signature alone.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.as_str()[self.version.mac()]
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.version.tag_len()]
    }

    /// All that the signature stands for.
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
    /// Cut short, of a version that is not known, or with characters that a tag does not have.
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

/// Reads what the tag at the start of `text` says, without any key: for people who ask what a tag says.
///
/// # Errors
///
/// [`NotOurs::Malformed`] when it is not a whole tag.
pub fn read_unverified(text: &[u8]) -> Result<Tag, NotOurs> {
    parse(text).map(|(tag, _)| tag).ok_or(NotOurs::Malformed)
}

/// What stands at the start of some bytes, as far as that can be told without a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A whole tag of so many bytes, whoever signed it.
    Whole(usize),
    /// The beginning of a tag, perhaps: it depends on the bytes that follow.
    Unfinished,
    /// Something else.
    Other,
}

impl Shape {
    /// The shape of bytes. The answer is the same however few of those that follow are at hand, unless it is
    /// `Unfinished`.
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
