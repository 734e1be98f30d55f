//! A canary that was found at another tenant.

use std::sync::Arc;

use crate::domain::foreign::ForeignText;
use crate::domain::sighting::Locator;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::tracker::{self, Snapshot};

/// A canary that was found at another tenant.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// When it was noticed.
    pub(crate) at: Timestamp,
    /// The tenant whose canary it is.
    pub(crate) tenant: Arc<str>,
    /// The stage at which it was found.
    pub(crate) stage: Arc<str>,
    /// The canary's trace id.
    pub(crate) trace: TraceId,
    /// The name of the source, which must not hold it.
    pub(crate) found_in: ForeignText,
    /// The copy in that source.
    pub(crate) locator: Locator,
}

impl Violation {
    pub(crate) fn new(seen: &tracker::Violation, snapshot: &Snapshot) -> Self {
        let map = &snapshot.topology;
        Self {
            at: seen.at,
            tenant: seen.tenant.name(map),
            stage: map.stage(seen.stage).name.clone(),
            trace: seen.trace,
            found_in: seen.found_in.clone(),
            locator: seen.locator.clone(),
        }
    }
}
