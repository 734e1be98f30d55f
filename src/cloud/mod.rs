//! Making clients: credentials, roles, regions, endpoints, timeouts, retry, and a count of every call they make.
//!
//! Everything that reaches out to AWS or Google goes through here, so that one connection pool, one set of timeouts
//! and one counter serve all tenants, and a failed call means the same to all who make calls. Nothing here knows what a
//! canary is.

pub mod account;
pub mod aws;
pub mod calls;
pub mod failure;
pub mod google;

/// Whose cloud a part of the pipeline lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Google Cloud, by way of this service.
    Google(google::Service),
}

/// What makes the clients of both clouds.
pub struct Clients {
    /// Amazon's.
    pub aws: aws::Aws,
    /// Google's; only made when something needs it, since credentials for a cloud that is not used must not stop anybody.
    pub google: Option<google::Google>,
}

impl Clients {
    /// Google's.
    ///
    /// # Errors
    ///
    /// [`NoClient`] when it was not made.
    pub fn google(&self) -> Result<&google::Google, NoClient> {
        self.google.as_ref().ok_or(NoClient("Google"))
    }
}

/// A client was asked for that had not been made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no client for {0} was made")]
pub struct NoClient(&'static str);

/// Makes aws-lc-rs the TLS provider of the process; once is enough, and more does no harm.
///
/// Without it, `reqwest` and the token client of the BigQuery crate panic at their first TLS connection, because they
/// leave the choice to the process. The AWS SDK names the same provider itself.
pub fn install_tls() {
    // The only error is that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
