//! Whom an input or an event concerns, so that nothing is counted for what is gone from the topology.

use super::{Event, Input};
use crate::domain::topology::{SourceId, TenantId};

impl Input {
    /// The source that it is about; `None` if it is about none.
    pub(super) const fn source(&self) -> Option<SourceId> {
        match self {
            Self::Polled { source, .. }
            | Self::PollFailed { source, .. }
            | Self::Decoding { source, .. }
            | Self::SchemaRead { source, .. }
            | Self::CopiesChecked { source, .. } => Some(*source),
            Self::Missed { .. }
            | Self::Put { .. }
            | Self::ClockChecked(_)
            | Self::ClockCompared(_)
            | Self::Tick => None,
        }
    }
}

impl Event {
    /// The tenant that it concerns; `None` if it concerns a source, the probe, or a tenant that is not known.
    #[must_use]
    pub const fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Planned { tenant, .. }
            | Self::Full { tenant }
            | Self::Missed { tenant, .. }
            | Self::Accepted { tenant, .. }
            | Self::Ambiguous { tenant, .. }
            | Self::Arrived { tenant, .. }
            | Self::HopMeasured { tenant, .. }
            | Self::HopOverdue { tenant, .. }
            | Self::HopMissing { tenant, .. }
            | Self::HopNeverSeen { tenant, .. }
            | Self::HopUnobserved { tenant, .. }
            | Self::EndToEnd { tenant, .. }
            | Self::Overdue { tenant, .. }
            | Self::GaveUp { tenant, .. }
            | Self::Ended { tenant, .. }
            | Self::LateDiscovery { tenant, .. }
            | Self::LateArrival { tenant, .. }
            | Self::Duplicate { tenant, .. }
            | Self::UnchargedCopy { tenant, .. }
            | Self::Corrupted { tenant, .. }
            | Self::Adopted { tenant, .. }
            | Self::ClockInversion { tenant, .. }
            | Self::FirstSeen { tenant, .. } => Some(*tenant),
            Self::IsolationViolation { tenant, .. } => tenant.known(),
            Self::Stray { tenant, .. } | Self::WentBlind { tenant, .. } | Self::SawAgain { tenant, .. } => {
                *tenant
            }
            Self::ForeignTags { .. }
            | Self::SameName { .. }
            | Self::PollAnswered { .. }
            | Self::PollFailed { .. }
            | Self::Unreadable { .. }
            | Self::SchemaLearned { .. }
            | Self::SchemaDrifted { .. }
            | Self::SchemaRestored { .. }
            | Self::ClockAdrift { .. }
            | Self::ClockInStep { .. } => None,
        }
    }
}
