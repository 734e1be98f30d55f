//! Counts what became of the traces that were to be exported.

use std::sync::Arc;

use super::connections::reasons;
use super::families::Families;
use super::labels::ExportedTraces;

reasons! {
    /// What became of a trace that was to be exported.
    Exported {
        /// The receiver took it.
        Sent = "sent",
        /// The receiver refused it, or could not be reached for long.
        Failed = "failed",
        /// The queue was full.
        Dropped = "dropped",
    }
}

/// The counter of exported traces. Clones share the same numbers.
#[derive(Clone, Debug)]
pub struct Exports(pub(super) Arc<Families>);

impl Exports {
    /// Counts traces.
    pub fn count(&self, result: Exported, traces: usize) {
        self.0.exported.at(ExportedTraces { result }).inc_by(u64::try_from(traces).unwrap_or(u64::MAX));
    }
}
