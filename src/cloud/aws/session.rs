//! The credentials of one identity, shared by all its clients.
//!
//! The SDK keeps credentials until shortly before they expire, whatever the services say. A session that an
//! administrator revoked would then be used for up to an hour. So each identity has a cache of the SDK that is
//! replaced by an empty one when its credentials are refused.

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::identity::IdentityCache;
use aws_sdk_sts::config::{ConfigBag, RuntimeComponents, SharedIdentityCache};
use aws_smithy_runtime_api::client::identity::{
    IdentityFuture, ResolveCachedIdentity, SharedIdentityResolver,
};

use crate::cloud::renewal::{Begin, Renewal};

/// A cache of credentials that can be emptied. Clones share one cache.
#[derive(Clone, Debug)]
pub(in crate::cloud) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whose credentials these are, for the log.
    holder: String,
    // A mutex, because a refusal on any thread replaces it; held to clone an `Arc`.
    cache: Mutex<SharedIdentityCache>,
    renewal: Renewal,
}

impl Session {
    pub(super) fn new(holder: impl Into<String>) -> Self {
        let cache = Mutex::new(IdentityCache::lazy().build());
        Self(Arc::new(Inner { holder: holder.into(), cache, renewal: Renewal::default() }))
    }

    /// Notes that a service refused the credentials. The next call fetches new ones: at once, then at most once a
    /// minute.
    pub(in crate::cloud) fn refused(&self) {
        let Some(begin) = self.0.renewal.begin() else { return };
        if begin == Begin::First {
            let holder = &self.0.holder;
            tracing::warn!(%holder, "the credentials of {holder} were refused; new ones are fetched");
        }
        *self.0.cache.lock().unwrap_or_else(PoisonError::into_inner) = IdentityCache::lazy().build();
    }

    /// Has the next call fetch new credentials.
    pub(super) fn forget(&self) {
        *self.0.cache.lock().unwrap_or_else(PoisonError::into_inner) = IdentityCache::lazy().build();
    }

    fn cache(&self) -> SharedIdentityCache {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// Without the checks of a configuration that the inner cache has: `aws-config` always sets the time source and the
// timer that it needs.
impl ResolveCachedIdentity for Session {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        IdentityFuture::new(async move {
            let cache = self.cache();
            cache.resolve_cached_identity(resolver, components, config).await
        })
    }
}
