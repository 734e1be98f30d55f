//! The key, the tenants and the canaries that the corpus was made with.

use std::sync::{Arc, LazyLock};

use traceprobe::domain::canary::Template;
use traceprobe::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::observe::Recognizer;

/// The key of all tags in the corpus.
pub const KEY: &str = "0123456789abcdef";

static RECOGNIZER: LazyLock<Recognizer> = LazyLock::new(|| Recognizer {
    keys: Arc::new(Keyring::new(TagKey::new(KEY).expect("the key is long enough"), Vec::new())),
    templates: ["acme", "globex"].map(|name| (TenantCode::of(name), Template::default())).into(),
});

/// Recognizes the canaries of `acme` and `globex`.
pub fn recognizer() -> &'static Recognizer {
    &RECOGNIZER
}

/// The tag of a canary. All random bytes of its trace id are `n`.
pub fn tag(tenant: &str, n: u8, size: u32) -> Tag {
    let trace = TraceId::new(Timestamp::from_millis(1_795_321_781_123), [n; 10]);
    Tag::new(trace, TenantCode::of(tenant), InstanceCode::of("probe-1"), size, Purpose::Probe)
}
