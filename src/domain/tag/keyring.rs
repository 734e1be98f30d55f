//! The keys that sign tags and verify that a tag is ours.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    Claim, ID, MARKER, MAX_SIZE, NotOurs, PURPOSE, TAG_LEN, Tag, TagText, TenantCode, VERSION_AT, parse,
};
use crate::domain::plan::Plan;

/// A secret that signs tags. It is never printed. Two are compared only where both are ours.
#[derive(Clone, PartialEq, Eq)]
pub struct TagKey(Vec<u8>);

impl TagKey {
    /// Length of the shortest accepted key, in bytes: 128 bits, the security level that RFC 2104 gives as a
    /// sensible minimum.
    pub const MIN_LEN: usize = 16;

    /// A key from its bytes; `None` if it is shorter than [`TagKey::MIN_LEN`].
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= Self::MIN_LEN).then_some(Self(bytes))
    }

    /// The first 60 bits of the HMAC over a tag's domain and fields.
    pub(super) fn mac(&self, text: &TagText) -> u64 {
        let sum = self.hmac([text.version.domain(), text.signed()]);
        u64::from_be_bytes([sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6], sum[7]]) >> 4
    }

    /// The HMAC over some parts. The first is what it is for, and begins no other use's: what is known of one
    /// use then tells nothing about another.
    pub(in crate::domain) fn hmac<const PARTS: usize>(&self, parts: [&[u8]; PARTS]) -> [u8; 32] {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(…)")
    }
}

/// The keys in force: one that signs, and any number that are still accepted during a rotation.
#[derive(Clone, Debug)]
pub struct Keyring {
    signing: TagKey,
    accepted: Vec<TagKey>,
}

impl Keyring {
    /// A keyring that signs with `signing` and also accepts what `accepted` signed.
    #[must_use]
    pub fn new(signing: TagKey, accepted: Vec<TagKey>) -> Self {
        Self { signing, accepted }
    }

    /// Whether both hold the same keys, and sign with the same one.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.signing == other.signing && self.accepted == other.accepted
    }

    /// The plan of a tenant's canaries under the key that signs them.
    #[must_use]
    pub fn plan(&self, tenant: TenantCode, interval: Duration) -> Plan {
        Plan::new(self.signing.clone(), tenant, interval)
    }

    /// The plans of a tenant's canaries under all keys, of which the first is in force.
    pub fn plans(&self, tenant: TenantCode, interval: Duration) -> impl Iterator<Item = Plan> {
        let keys = std::iter::once(&self.signing).chain(&self.accepted);
        keys.map(move |key| Plan::new(key.clone(), tenant, interval))
    }

    /// Writes a tag in its own version and signs it: the text inside its canary.
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

    /// Parses the tag at the start of `bytes`, in any case, and verifies its signature.
    ///
    /// # Errors
    ///
    /// [`NotOurs`] if it is not a whole tag, or none of our keys signed it.
    pub fn read(&self, bytes: &[u8]) -> Result<Tag, NotOurs> {
        let (tag, text) = parse(bytes).ok_or(NotOurs::Malformed)?;
        let claimed = text.get(text.version.mac()).ok_or(NotOurs::Malformed)?;
        // The comparison need not take constant time: a forger cannot observe it, and could only gain a false
        // canary.
        std::iter::once(&self.signing)
            .chain(&self.accepted)
            .any(|key| key.mac(&text) == claimed)
            .then_some(tag)
            .ok_or(NotOurs::Foreign)
    }
}
