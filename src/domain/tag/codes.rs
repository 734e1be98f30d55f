//! The fields of a tag: trace id, tenant code, instance code, purpose.

use std::fmt;

use sha2::{Digest, Sha256};

use super::write_base32;
use crate::domain::time::Timestamp;

/// The identity of a trace: a UUIDv7 (RFC 9562), whose first 48 bits are the planned injection in
/// milliseconds.
///
/// As 32 lower-case hexadecimal digits it is also a valid W3C trace id. Ids sort by planned injection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub(super) u128);

impl TraceId {
    /// The id of a canary that is planned for `planned`, cut to milliseconds, with 74 random bits.
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

    /// The planned injection, to the millisecond.
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
        write!(f, "{:032x}", self.0)
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

    /// The first 40 bits of the SHA-256 of the tenant's name. A tag cannot distinguish two tenants whose
    /// codes collide, so the configuration refuses them.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(first_bits(name, Self::BITS))
    }

    /// The code with this value, as a store keeps it; `None` unless it is below 2^40.
    #[must_use]
    pub const fn from_value(value: u64) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The value, below 2^40.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The part of it that a tag of version 1 contains.
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

/// The first 20 bits of a tenant's code: all that a tag of version 1 contains of it. It may match two
/// tenants, so it is not a code; only [`Tag::tenant_among`](super::Tag::tenant_among) decides which tenant it
/// names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantPrefix(pub(super) u32);

impl TenantPrefix {
    const BITS: u32 = 20;

    /// The prefix with this value, as a store keeps it; `None` unless it is below 2^20.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The value, below 2^20.
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

/// Twenty bits that stand for one run of an instance of the probe inside a tag: 12 for its name, 8 for its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceCode(pub(super) u32);

impl InstanceCode {
    const BITS: u32 = 20;
    /// Of these, the bits that depend on the start of the run alone. Two runs have the same ones with a probability of 1 in
    /// 256; two names share the others with 1 in 4096.
    const RUN_BITS: u32 = 8;

    /// The code of a run of an instance.
    #[must_use]
    pub fn of_run(name: &str, began: Timestamp) -> Self {
        let run = first_bits(&format!("{name} {}", began.micros()), Self::RUN_BITS);
        let run = u32::try_from(run).expect("8 bits fit into 32");
        Self(Self::of(name).0 >> Self::RUN_BITS << Self::RUN_BITS | run)
    }

    /// Whether both are runs of an instance of the same name.
    #[must_use]
    pub const fn has_name_of(self, other: Self) -> bool {
        self.0 >> Self::RUN_BITS == other.0 >> Self::RUN_BITS
    }

    /// The first 20 bits of the SHA-256 of a name: what earlier releases took for the code of all runs.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(u32::try_from(first_bits(name, Self::BITS)).expect("20 bits fit into 32"))
    }

    /// The code with this value, as a store keeps it; `None` unless it is below 2^20.
    #[must_use]
    pub const fn from_value(value: u32) -> Option<Self> {
        if value >> Self::BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The value, below 2^20.
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
    /// To measure the pipeline: the daemon's scheduled canaries.
    Probe,
    /// To try out the whole setup: `traceprobe check`.
    Check,
    /// To put load on the pipeline.
    Load,
    /// To rehearse a failure.
    Drill,
    /// No meaning yet; a later release may define one. Its tag is verified like any other. Like every purpose
    /// but `Probe`, a probe does not track such a canary unless it planned it.
    Reserved(ReservedPurpose),
}

/// The value of a purpose without a meaning. Only [`Purpose::from_value`] makes one, so it never has the
/// value of a defined purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReservedPurpose(u8);

impl Purpose {
    const BITS: u32 = 5;

    /// The purpose with this value; `None` unless it is below 32.
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

/// The first `bits` bits of a name's SHA-256, at most 64.
fn first_bits(name: &str, bits: u32) -> u64 {
    let hash = Sha256::digest(name.as_bytes());
    let first = [hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]];
    u64::from_be_bytes(first) >> (u64::BITS - bits)
}
