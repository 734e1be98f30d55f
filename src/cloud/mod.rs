//! Clients of AWS and Google Cloud: credentials, roles, endpoints, timeouts, retries, and a count of calls.
//!
//! Every call to a cloud goes through here, so that all tenants share one connection pool, one set of
//! timeouts and one counter, and a failed call means the same to every caller. Nothing here knows what a
//! canary is.

pub mod account;
pub mod aws;
pub mod bounded;
pub mod budget;
pub mod calls;
pub mod failure;
pub mod google;
pub mod pending;
pub mod proxy;
mod renewal;
pub mod trust;

/// The cloud that a kind of stage calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Google Cloud, with the service that is called.
    Google(google::Service),
}

/// The clients of both clouds.
#[derive(Clone)]
pub struct Clients {
    /// Makes clients of AWS services.
    pub aws: aws::Aws,
    /// Calls Google services. `None` unless a stage needs it, so that missing credentials of an unused cloud
    /// are no error.
    pub google: Option<google::Google>,
    /// What polls may take of each service.
    pub budgets: budget::Budgets,
}

impl Clients {
    /// Returns the client of Google services.
    ///
    /// # Errors
    ///
    /// [`NoClient`] if it was not built.
    pub fn google(&self) -> Result<&google::Google, NoClient> {
        self.google.as_ref().ok_or(NoClient("Google"))
    }
}

/// A client was requested that had not been built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no client for {0} was built")]
pub struct NoClient(&'static str);

/// Makes aws-lc-rs the TLS provider of the process. Further calls have no effect.
///
/// Without it, `reqwest` and the token client of the BigQuery crate panic at their first TLS connection,
/// because they leave the choice to the process. The AWS SDK selects the same provider itself.
pub fn install_tls() {
    // The only error is that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
