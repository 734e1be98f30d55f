//! Making clients: credentials, roles, regions, endpoints, timeouts, retry, and a count of every call they make.
//!
//! Everything that reaches out to AWS or Google goes through here, so that one connection pool, one set of timeouts
//! and one counter serve all tenants, and a failed call means the same to all who make calls. Nothing here knows what a
//! canary is.

pub mod aws;
pub mod calls;
pub mod failure;
pub mod google;

/// Makes aws-lc-rs the TLS provider of the process; once is enough, and more does no harm.
///
/// Without it, `reqwest` and the token client of the BigQuery crate panic at their first TLS connection, because they
/// leave the choice to the process. The AWS SDK names the same provider itself.
pub fn install_tls() {
    // The only error is that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
