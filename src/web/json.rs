//! The pages as JSON. Scripts rely on their shape: the comments on the fields are what `/openapi.json` and
//! `docs/api.md` say about them.
//!
//! Instants are RFC 3339 in UTC with microseconds; durations are seconds as numbers. A value that is not
//! known is `null`; a field is never left out.

mod condition;
mod incident;
mod one;
mod recent;
mod source;
mod tenant;
mod trace;
mod values;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use self::one::One;
pub(crate) use self::recent::Recent;
pub(super) use self::tenant::QuantileJson;
use crate::domain::time::Timestamp;

/// Raised whenever a field is renamed, removed or changes its meaning.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The error of a request.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Error")]
pub(crate) struct Failure {
    /// A sentence for people.
    pub(crate) error: String,
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
}
