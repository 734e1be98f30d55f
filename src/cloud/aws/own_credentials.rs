//! Where the probe's own credentials come from, which may change while it runs.

use std::sync::{Arc, PoisonError, RwLock};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

/// The provider in force. Clones share it. A lock, because a reload replaces it while calls are signed; held to
/// clone an `Arc`.
#[derive(Clone, Debug)]
pub(super) struct OwnCredentials(Arc<RwLock<Option<SharedCredentialsProvider>>>);

impl OwnCredentials {
    /// `None` if there are none.
    pub(super) fn new(provider: Option<SharedCredentialsProvider>) -> Self {
        Self(Arc::new(RwLock::new(provider)))
    }

    pub(super) fn replace(&self, provider: Option<SharedCredentialsProvider>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = provider;
    }
}

impl ProvideCredentials for OwnCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let provider = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        future::ProvideCredentials::new(async move {
            match provider {
                Some(provider) => provider.provide_credentials().await,
                None => Err(CredentialsError::not_loaded("no provider of credentials was found")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;

    use super::*;

    fn key(id: &str) -> Option<SharedCredentialsProvider> {
        Some(SharedCredentialsProvider::new(Credentials::new(id, "secret", None, None, "test")))
    }

    #[tokio::test]
    async fn every_clone_uses_the_provider_that_replaced_another() {
        let own = OwnCredentials::new(key("first"));
        let clone = own.clone();
        assert_eq!(clone.provide_credentials().await.unwrap().access_key_id(), "first");
        own.replace(key("second"));
        assert_eq!(clone.provide_credentials().await.unwrap().access_key_id(), "second");
        own.replace(None);
        assert!(clone.provide_credentials().await.is_err());
    }
}
