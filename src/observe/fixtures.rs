//! Shared by the tests of several kinds: one tenant, `acme`, and one instance, `probe-1`.

use std::sync::Arc;

use super::Recognizer;
use crate::domain::canary::Template;
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use crate::domain::time::Timestamp;

/// A recognizer for the canaries of `acme`.
pub fn recognizer() -> Recognizer {
    let key = TagKey::new("0123456789abcdef").unwrap();
    Recognizer {
        keys: Arc::new(Keyring::new(key, Vec::new())),
        templates: Arc::new([(TenantCode::of("acme"), Template::default())]),
    }
}

/// The tag of a canary of 200 bytes. All random bytes of its trace id are `n`.
pub fn tag(n: u8, planned_at: Timestamp) -> Tag {
    let (tenant, instance) = (TenantCode::of("acme"), InstanceCode::of("probe-1"));
    Tag::new(TraceId::new(planned_at, [n; 10]), tenant, instance, 200, Purpose::Probe)
}
