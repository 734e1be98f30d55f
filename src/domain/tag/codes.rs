//! The fields of a tag: trace id, tenant code, instance code, purpose.

use std::fmt;

use sha2::{Digest, Sha256};

use super::write_base32;
use crate::domain::time::Timestamp;

/// The identity of a trace: a UUIDv7 (RFC 9562). Its first 48 bits are the planned time of injection in
/// milliseconds.
///
/// As 32 lower-case hexadecimal digits it is also a valid W3C trace id. Ids sort by planned injection.
// A u128 is aligned to 16 bytes, which would make a tag 48 bytes long instead of 40, and all lists of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct TraceId(pub(super) u128);

impl TraceId {
    /// Makes the id of a canary planned for `planned`, which is truncated to milliseconds. 74 of the `random`
    /// bits are used.
    #[must_use]
    pub fn new(planned: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(planned.millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128())
    }

    /// Makes an id from the 128 bits of a UUID.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits of the UUID.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The planned time of injection, to the millisecond.
    #[must_use]
    pub fn planned_at(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0 >> 80).unwrap_or(i64::MAX))
    }

    /// Parses 32 hexadecimal digits in any case, or the form with dashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.as_u128()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tenant's code inside a tag, 40 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantCode(pub(super) u64);

impl TenantCode {
    const BITS: u32 = 40;

    /// The code of the tenant with this name: the first 40 bits of the name's SHA-256. A tag cannot
    /// distinguish two tenants whose codes collide, so the configuration refuses them.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(sha256_prefix(name, Self::BITS))
    }

    /// Restores a code from its stored value; `None` if the value is 2^40 or more.
    #[must_use]
    pub const fn from_value(value: u64) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The value to store, below 2^40.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The part of the code that a tag of version 1 contains.
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

/// The first 20 bits of a tenant's code. A tag of version 1 contains only these. Two tenants may have the
/// same prefix, so it does not identify one by itself; [`Tag::tenant_among`](super::Tag::tenant_among)
/// decides which of the known tenants is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantPrefix(pub(super) u32);

impl TenantPrefix {
    const BITS: u32 = 20;

    /// Restores a prefix from its stored value; `None` if the value is 2^20 or more.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The value to store, below 2^20.
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

/// Identifies one run of a probe instance inside a tag, in 20 bits: 12 from the instance's name, 8 from the
/// instance's name and the time when the run started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceCode(pub(super) u32);

impl InstanceCode {
    /// Stands for a run whose code was not kept.
    pub const UNKNOWN: Self = Self(0);
    const BITS: u32 = 20;
    /// How many of the bits, the last ones, differ between the runs of one instance. Two runs get the same
    /// ones with a probability of 1 in 256; two names get the same first 12 bits with a probability of 1 in
    /// 4,096.
    const RUN_BITS: u32 = 8;

    /// The code of the run that the instance `name` started at `started_at`.
    #[must_use]
    pub fn of_run(name: &str, started_at: Timestamp) -> Self {
        let run = sha256_prefix(&format!("{name} {}", started_at.micros()), Self::RUN_BITS);
        let run = u32::try_from(run).expect("8 bits fit into 32");
        Self(Self::of(name).0 >> Self::RUN_BITS << Self::RUN_BITS | run)
    }

    /// Whether both have the same name bits, and so are very probably runs of an instance of the same name.
    /// See `RUN_BITS` for how often two different names have the same ones.
    #[must_use]
    pub const fn has_same_name_bits(self, other: Self) -> bool {
        self.0 >> Self::RUN_BITS == other.0 >> Self::RUN_BITS
    }

    /// The code that earlier releases used for all runs of an instance: the first 20 bits of the name's
    /// SHA-256.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(u32::try_from(sha256_prefix(name, Self::BITS)).expect("20 bits fit into 32"))
    }

    /// Restores a code from its stored value; `None` if the value is 2^20 or more.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The value to store, below 2^20.
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

/// Why a canary was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// To measure the pipeline: the daemon's scheduled canaries.
    Probe,
    /// To test the whole setup: `traceprobe check`.
    Check,
    /// To put load on the pipeline.
    Load,
    /// To rehearse a failure.
    Drill,
    /// A value without a meaning yet; a later release may define one. Such a tag is verified like any other.
    /// As with every purpose except `Probe`, a probe tracks such a canary only if it planned the canary
    /// itself.
    Reserved(ReservedPurpose),
}

/// A value that no defined purpose has. Only [`Purpose::from_value`] can make one, which ensures this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReservedPurpose(u8);

impl Purpose {
    const BITS: u32 = 5;

    /// The purpose with this value; `None` if the value is 32 or more.
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

    /// The value, below 32.
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

/// The first `bits` bits of the SHA-256 of `text`; `bits` is at most 64.
fn sha256_prefix(text: &str, bits: u32) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    let first = [hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]];
    u64::from_be_bytes(first) >> (u64::BITS - bits)
}
