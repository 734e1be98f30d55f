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

use std::fmt;
use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::time::Timestamp;

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

/// Forty bits that stand for a tenant inside a tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantCode(u64);

impl TenantCode {
    const BITS: u32 = 40;

    /// The code of a tenant: the first 40 bits of the SHA-256 of its name. Two tenants whose codes collide cannot be
    /// told apart in a tag, so the configuration refuses them.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(first_bits(name, Self::BITS))
    }

    /// The code with this number, if it is below 2^40: as it came out of a store.
    #[must_use]
    pub const fn from_value(value: u64) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The number behind it, below 2^40.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// What a tag of version 1 holds of it.
    #[must_use]
    pub const fn prefix(self) -> TenantPrefix {
        TenantPrefix((self.0 >> (Self::BITS - TenantPrefix::BITS)) as u32)
    }
}

impl fmt::Display for TenantCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32::<8>(f, self.0)
    }
}

/// The first 20 bits of a tenant's code: all that a tag of version 1 says of its tenant. It may fit two tenants, so it is
/// not a code, and [`Tag::tenant_among`] alone decides whom it names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantPrefix(u32);

impl TenantPrefix {
    const BITS: u32 = 20;

    /// The prefix with this number, if it is below 2^20: as it came out of a store.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The number behind it, below 2^20.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for TenantPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32::<4>(f, u64::from(self.0))
    }
}

/// Twenty bits that stand for an instance of the probe inside a tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceCode(u32);

impl InstanceCode {
    const BITS: u32 = 20;

    /// The code of an instance: the first 20 bits of the SHA-256 of its name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(u32::try_from(first_bits(name, Self::BITS)).expect("20 bits fit into 32"))
    }

    /// The code with this number, if it is below 2^20: as it came out of a store.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The number behind it, below 2^20.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for InstanceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32::<4>(f, u64::from(self.0))
    }
}

/// What a canary was made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// To measure the pipeline: what the daemon sends on schedule.
    Probe,
    /// To try out whether everything works: `traceprobe check`.
    Check,
    /// To load the pipeline.
    Load,
    /// To rehearse a failure.
    Drill,
    /// One that a later release may give a meaning. It is verified like any other, and like any other purpose but
    /// `Probe` it is never followed by a probe that did not plan it.
    Reserved(ReservedPurpose),
}

/// A purpose without a meaning yet. Made by [`Purpose::from_value`] only, so that it never stands for one with a meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReservedPurpose(u8);

impl Purpose {
    const BITS: u32 = 5;

    /// The purpose with this number, if it is below 32.
    #[must_use]
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Probe),
            1 => Some(Self::Check),
            2 => Some(Self::Load),
            3 => Some(Self::Drill),
            _ if value >> Self::BITS == 0 => Some(Self::Reserved(ReservedPurpose(value))),
            _ => None,
        }
    }

    /// The number that stands for it, below 32.
    #[must_use]
    pub const fn value(self) -> u8 {
        match self {
            Self::Probe => 0,
            Self::Check => 1,
            Self::Load => 2,
            Self::Drill => 3,
            Self::Reserved(ReservedPurpose(value)) => value,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe => f.write_str("probe"),
            Self::Check => f.write_str("check"),
            Self::Load => f.write_str("load"),
            Self::Drill => f.write_str("drill"),
            Self::Reserved(ReservedPurpose(value)) => write!(f, "reserved ({value})"),
        }
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

    /// The one of some tenants that the tag names, by their codes. If it fits two, which the 20 bits of version 1 may, it
    /// names neither: a guess could charge one tenant with what another one's canary did.
    pub fn tenant_among<T>(
        &self,
        tenants: impl IntoIterator<Item = T>,
        code: impl Fn(&T) -> TenantCode,
    ) -> Option<T> {
        let fits = |tenant: &T| match self.claim {
            Claim::V1 { tenant: prefix } => code(tenant).prefix() == prefix,
            Claim::V2 { tenant: whole, .. } => code(tenant) == whole,
        };
        let mut named = tenants.into_iter().filter(fits);
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

    /// The signature that belongs to a tag.
    fn mac(&self, text: &TagText) -> u64 {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(text.version.domain());
        mac.update(text.signed());
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

    /// Writes a tag in its own version and signs it: the text that a canary carries, or carried.
    #[must_use]
    pub fn sign(&self, tag: &Tag) -> TagText {
        let version = tag.version();
        let mut text = TagText { version, bytes: [0; TAG_LEN] };
        text.bytes[..VERSION_AT].copy_from_slice(MARKER.as_bytes());
        text.bytes[VERSION_AT] = version.digit() as u8;
        text.bytes[ID].copy_from_slice(tag.trace.to_string().as_bytes());
        match tag.claim {
            Claim::V1 { tenant } => text.put(version.tenant(), u64::from(tenant.0)),
            Claim::V2 { tenant, purpose } => {
                text.put(version.tenant(), tenant.0);
                text.put(PURPOSE, u64::from(purpose.value()));
            }
        }
        text.put(version.instance(), u64::from(tag.instance.0));
        text.put(version.size(), u64::from(tag.size.min(MAX_SIZE)));
        text.put(version.mac(), self.signing.mac(&text));
        text
    }

    /// Reads the tag at the start of `bytes`, in any case, and checks who signed it.
    ///
    /// # Errors
    ///
    /// [`NotOurs`] when it is not a whole tag, or none of our keys signed it.
    pub fn read(&self, bytes: &[u8]) -> Result<Tag, NotOurs> {
        let (tag, text) = parse(bytes).ok_or(NotOurs::Malformed)?;
        let claimed = text.get(text.version.mac()).ok_or(NotOurs::Malformed)?;
        // The comparison need not take constant time: a MAC is shown to nobody who may ask for a second try, and what
        // a forger could win is a line in a log.
        std::iter::once(&self.signing)
            .chain(&self.accepted)
            .any(|key| key.mac(&text) == claimed)
            .then_some(tag)
            .ok_or(NotOurs::Foreign)
    }
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

/// The first bits of a name's SHA-256, at most 64.
fn first_bits(name: &str, bits: u32) -> u64 {
    let hash = Sha256::digest(name.as_bytes());
    let first = [hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]];
    u64::from_be_bytes(first) >> (u64::BITS - bits)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "0123456789abcdef";
    /// `tag(10_240)`, as the last release that wrote version 1 signed it with `KEY`.
    const V1: &str = "zqtp101a201845b8377078707070707070707g8ljaala0a00b85rssvgun8r";
    /// The same in version 2.
    const V2: &str = "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a000lv4o2uhkunem";

    fn ring(secret: &str) -> Keyring {
        Keyring::new(TagKey::new(secret).unwrap(), Vec::new())
    }

    fn read(text: &str) -> Result<Tag, NotOurs> {
        ring(KEY).read(text.as_bytes())
    }

    fn tag(size: u32) -> Tag {
        let trace = TraceId::new(Timestamp::from_millis(1_795_321_781_123), [7; 10]);
        Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("probe-1"), size, Purpose::Probe)
    }

    /// The same canary as a release that wrote version 1 would have tagged it.
    fn old(size: u32) -> Tag {
        let Tag { trace, instance, .. } = tag(size);
        Tag::remembered(trace, Claim::V1 { tenant: TenantCode::of("acme").prefix() }, instance, size)
    }

    #[test]
    fn a_tag_is_one_token_of_fixed_length() {
        let text = ring(KEY).sign(&tag(10_240));
        assert_eq!((text.as_str().len(), TAG_LEN), (66, 66));
        assert!(text.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{text}");
        assert!(text.as_str().starts_with(MARKER));
    }

    #[test]
    fn the_layout_of_both_versions_is_what_it_always_was() {
        assert_eq!(ring(KEY).sign(&tag(10_240)).as_str(), V2);
        assert_eq!(read(V2), Ok(tag(10_240)));
        assert_eq!(ring(KEY).sign(&old(10_240)).as_str(), V1);
        assert_eq!(read(V1), Ok(old(10_240)));
        assert_eq!(ring(KEY).sign(&old(10_240)).signature(), "b85rssvgun8r");
        assert_eq!(ring(KEY).sign(&tag(10_240)).signature(), "lv4o2uhkunem");
    }

    #[test]
    fn every_purpose_has_its_digit_and_those_without_a_meaning_are_kept_as_they_are() {
        for (purpose, text) in [
            (Purpose::Check, "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a001mf1mnpb70df7"),
            (Purpose::Load, "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a002s3shf82fpjv7"),
            (Purpose::Drill, "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a003m1r8jj5gngtt"),
            (
                Purpose::from_value(4).unwrap(),
                "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a00400sh10dnrvfa",
            ),
        ] {
            assert_eq!(read(text).map(|tag| tag.purpose()), Ok(purpose));
            assert_eq!(ring(KEY).sign(&read(text).unwrap()).as_str(), text);
        }
        for value in 0..32 {
            assert_eq!(Purpose::from_value(value).map(Purpose::value), Some(value));
        }
        assert_eq!(Purpose::from_value(32), None);
    }

    #[test]
    fn a_new_tag_is_of_version_2_and_one_of_version_1_has_the_purpose_of_a_probe() {
        assert_eq!((tag(100).version(), old(100).version()), (Version::V2, Version::V1));
        assert_eq!((old(100).purpose(), old(100).tenant_digits()), (Purpose::Probe, "g8lj".to_owned()));
    }

    #[test]
    fn a_tag_of_a_version_that_is_not_known_is_not_read_as_another() {
        for digit in ('0'..='9').chain('a'..='z') {
            for text in [V1, V2] {
                let other = format!("{MARKER}{digit}{}", &text[HEAD_LEN..]);
                if other == text {
                    continue;
                }
                // Cut to the length of version 1, or read on into what follows, a tag of the other version is a wrong one.
                for other in [other.clone(), other + "00000"] {
                    assert!(read(&other).is_err(), "{other}");
                }
            }
            let shape = Shape::of(format!("{MARKER}{digit}").as_bytes());
            assert_eq!(shape == Shape::Unfinished, matches!(digit, '1' | '2'), "{digit}");
        }
    }

    #[test]
    fn a_tag_of_version_2_that_was_cut_is_not_one_of_version_1() {
        for at in 0..V2.len() {
            assert_eq!(read(&V2[..at]), Err(NotOurs::Malformed), "{at}");
            assert_eq!(Shape::of(&V2.as_bytes()[..at]), Shape::Unfinished, "{at}");
        }
        assert_eq!(Shape::of(V2.as_bytes()), Shape::Whole(66));
        assert_eq!(Shape::of(V1.as_bytes()), Shape::Whole(61));
    }

    #[test]
    fn one_bit_that_flipped_anywhere_makes_a_tag_not_ours_unless_it_only_changes_the_case_of_a_letter() {
        for text in [V1, V2] {
            let said = read(text).unwrap();
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut flipped = text.as_bytes().to_vec();
                    flipped[at] ^= 1 << bit;
                    let result = ring(KEY).read(&flipped);
                    if flipped.eq_ignore_ascii_case(text.as_bytes()) {
                        assert_eq!(bit, 5);
                        assert_eq!(result, Ok(said), "{at} {bit}");
                    } else {
                        assert!(result.is_err(), "{at} {bit}: {result:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_tag_of_version_2_names_the_one_tenant_with_its_code() {
        let codes = ["globex", "acme", "initech"].map(TenantCode::of);
        assert_eq!(tag(1).tenant_among(codes, |code| *code), Some(TenantCode::of("acme")));
        let others = ["globex", "initech"].map(TenantCode::of);
        assert_eq!(tag(1).tenant_among(others, |code| *code), None);
        // The same first 20 bits are not enough.
        let near = TenantCode(TenantCode::of("acme").0 ^ 1);
        assert_eq!(tag(1).tenant_among([near], |code| *code), None);
    }

    #[test]
    fn a_tag_of_version_1_that_fits_two_tenants_names_neither() {
        let acme = TenantCode::of("acme");
        let near = TenantCode(acme.0 ^ 1);
        assert_eq!(acme.prefix(), near.prefix());
        assert_eq!(old(1).tenant_among([TenantCode::of("globex"), acme], |code| *code), Some(acme));
        assert_eq!(old(1).tenant_among([acme, near], |code| *code), None);
        assert_eq!(tag(1).tenant_among([acme, near], |code| *code), Some(acme));
    }

    #[test]
    fn the_digits_of_a_code_begin_with_those_of_its_prefix() {
        let code = TenantCode::of("acme");
        assert_eq!((code.to_string(), code.prefix().to_string()), ("g8lj7bc7".to_owned(), "g8lj".to_owned()));
        assert_eq!(InstanceCode::of("probe-1").to_string(), "aala");
    }

    #[test]
    fn numbers_that_are_too_large_are_not_codes() {
        assert_eq!(TenantCode::from_value(1 << 40), None);
        assert_eq!(TenantPrefix::from_value(1 << 20), None);
        assert_eq!(InstanceCode::from_value(1 << 20), None);
        assert_eq!(TenantCode::from_value((1 << 40) - 1).map(TenantCode::value), Some((1 << 40) - 1));
    }

    #[test]
    fn the_id_carries_the_planned_injection_and_is_a_version_7_uuid() {
        let tag = tag(100);
        assert_eq!(tag.trace.planned_at(), Timestamp::from_millis(1_795_321_781_123));
        assert_eq!(uuid::Uuid::from_u128(tag.trace.as_u128()).get_version_num(), 7);
    }

    #[test]
    fn a_tag_signed_with_another_key_is_foreign() {
        for tag in [tag(100), old(100)] {
            let text = ring("another key, sixteen+").sign(&tag);
            assert_eq!(read(text.as_str()), Err(NotOurs::Foreign));
        }
    }

    #[test]
    fn the_signature_of_one_version_is_not_that_of_the_other() {
        let key = TagKey::new(KEY).unwrap();
        let text = ring(KEY).sign(&tag(100));
        assert_ne!(key.mac(&text), key.mac(&TagText { version: Version::V1, ..text }));
    }

    #[test]
    fn a_rotated_key_is_still_accepted() {
        let old = TagKey::new(KEY).unwrap();
        let text = Keyring::new(old.clone(), Vec::new()).sign(&tag(100));
        let rotated = Keyring::new(TagKey::new("fedcba9876543210").unwrap(), vec![old]);
        assert_eq!(rotated.read(text.as_str().as_bytes()), Ok(tag(100)));
        assert_ne!(rotated.sign(&tag(100)), text);
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_ever_printed() {
        assert!(TagKey::new("too short").is_none());
        assert_eq!(format!("{:?}", TagKey::new(KEY).unwrap()), "TagKey(…)");
    }

    fn claim() -> impl Strategy<Value = Claim> {
        let purpose = (0_u8..32).prop_map(|value| Purpose::from_value(value).unwrap());
        let new = (".{0,12}", purpose)
            .prop_map(|(tenant, purpose)| Claim::V2 { tenant: TenantCode::of(&tenant), purpose });
        let old = ".{0,12}".prop_map(|tenant: String| Claim::V1 { tenant: TenantCode::of(&tenant).prefix() });
        prop_oneof![3 => new, 1 => old]
    }

    proptest! {
        #[test]
        fn a_tag_reads_back_in_any_case_whatever_follows(
            millis in 0_i64..(1 << 47), random: [u8; 10], claim in claim(), instance in ".{0,12}",
            size in 0..=MAX_SIZE, upper in prop::collection::vec(any::<bool>(), TAG_LEN), after in ".{0,8}",
        ) {
            let trace = TraceId::new(Timestamp::from_millis(millis), random);
            let tag = Tag::remembered(trace, claim, InstanceCode::of(&instance), size);
            let text = ring(KEY).sign(&tag);
            prop_assert_eq!(text.as_str().len(), tag.version().tag_len());
            let recased: String = text
                .as_str()
                .chars()
                .zip(upper)
                .map(|(letter, upper)| if upper { letter.to_ascii_uppercase() } else { letter })
                .collect();
            prop_assert_eq!(read(&(recased.clone() + &after)), Ok(tag));
            prop_assert_eq!(Shape::of((recased + &after).as_bytes()), Shape::Whole(tag.version().tag_len()));
            prop_assert_eq!(tag.trace.planned_at(), Timestamp::from_millis(millis));
        }

        #[test]
        fn a_tag_with_one_wrong_character_or_cut_short_is_not_ours(
            at in 0..TAG_LEN, with in "[0-9a-z]", size in 0..=MAX_SIZE, is_old: bool,
        ) {
            let text = ring(KEY).sign(&if is_old { old(size) } else { tag(size) }).to_string();
            prop_assume!(at < text.len());
            prop_assert!(read(&text[..at]).is_err());
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &with);
            if wrong != text {
                prop_assert!(read(&wrong).is_err());
            }
        }

        #[test]
        fn the_shape_of_bytes_does_not_depend_on_how_many_of_them_are_at_hand(
            head in prop::sample::select(vec!["", "z", "zqtp", "zqtp1", "ZQTP2", "zqtp3", V1, V2]), cut in 0..=TAG_LEN,
            tail in "[0-9a-v]{0,70}",
        ) {
            let text = format!("{}{tail}", &head[..head.len().min(cut)]);
            let whole = Shape::of(text.as_bytes());
            for at in 0..text.len() {
                let part = Shape::of(&text.as_bytes()[..at]);
                prop_assert!(part == whole || part == Shape::Unfinished, "{text} {at}");
            }
        }
    }
}
