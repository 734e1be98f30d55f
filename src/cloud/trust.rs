//! The certificates of this machine, by which servers are trusted.

use std::fmt::Write as _;

/// No certificate of an authority was found, so no server can be trusted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no certificate of an authority was found{0}; install the package ca-certificates, or name a file of certificates in SSL_CERT_FILE"
)]
pub struct NoRoots(String);

/// Checks that there are any. Without them the AWS SDK panics when its client is built, even if every endpoint is
/// configured as `http://`.
///
/// # Errors
///
/// [`NoRoots`], with what could not be read.
pub fn check_roots() -> Result<(), NoRoots> {
    let found = rustls_native_certs::load_native_certs();
    if !found.certs.is_empty() {
        return Ok(());
    }
    let mut why = String::new();
    for error in found.errors.iter().take(3) {
        // Writing to a text cannot fail.
        let _ = write!(why, " ({error})");
    }
    Err(NoRoots(why))
}
