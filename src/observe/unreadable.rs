//! What could not be read at a source that else can be, and as long as that withholds.
//!
//! Limits on the size and depth of what is decoded keep a bomb from ending the probe, and a single object may be denied to
//! us. But a canary may lie in the part that was left out, so none that was planned before that part arrived is proven
//! absent by any look at its source.
//! The watermark is one instant for all traces of a source; so it is withheld while such a canary is waited for, and
//! no longer: those planned later cannot be in it.

use std::collections::HashSet;
use std::sync::Arc;

use super::ObserveError;
use crate::domain::sighting::{FailureKind, Sighting, Wanted};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// What was left out at one source. Of several parts only the one that arrived last counts: a trace that can be in any
/// of the others can be in that one, too.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreadable(Option<Part>);

#[derive(Clone, Debug)]
struct Part {
    /// By our own clock at the latest.
    arrived_by: Timestamp,
    kind: FailureKind,
    words: Arc<str>,
}

impl Unreadable {
    /// Notes what was left out for a limit, in words such as `the record 17 of stream logs-acme`, and by when it had
    /// arrived.
    pub(super) fn note(&mut self, arrived_by: Timestamp, words: impl FnOnce() -> String) {
        let words = || format!("{} was read in part only, for a limit of the probe's", words());
        self.add(arrived_by, FailureKind::OverBudget, words);
    }

    /// Notes what was refused to us, and by when it had arrived.
    pub(super) fn refused(&mut self, arrived_by: Timestamp, refusal: &ObserveError) {
        self.add(arrived_by, refusal.kind, || refusal.detail.to_string());
    }

    fn add(&mut self, arrived_by: Timestamp, kind: FailureKind, words: impl FnOnce() -> String) {
        if self.0.as_ref().is_none_or(|part| part.arrived_by < arrived_by) {
            self.0 = Some(Part { arrived_by, kind, words: words().into() });
        }
    }

    /// The watermark of a look that found `found`: none while a canary that is not among them may lie in what was left
    /// out.
    ///
    /// # Errors
    ///
    /// Why the look proves nothing, when it found nothing either.
    pub(super) fn allows(
        &self,
        watermark: Option<Timestamp>,
        wanted: &Wanted,
        found: &[Sighting],
    ) -> Result<Option<Timestamp>, ObserveError> {
        match self.withholds(wanted, found) {
            None => Ok(watermark),
            Some(unreadable) if found.is_empty() => Err(unreadable),
            Some(_) => Ok(None),
        }
    }

    /// Why a look that found `found` proves nothing; `None` when all who could lie in what was left out are found.
    fn withholds(&self, wanted: &Wanted, found: &[Sighting]) -> Option<ObserveError> {
        let part = self.0.as_ref()?;
        let found: HashSet<TraceId> = found.iter().map(|sighting| sighting.tag.trace).collect();
        let mut missing = wanted.waiting.iter().filter(|trace| !found.contains(&trace.tag.trace));
        missing.any(|trace| trace.planned_at <= part.arrived_by).then(|| {
            let words = format!(
                "{}; a canary may lie in what was not read, so those planned before {} are not called absent",
                part.words, part.arrived_by
            );
            ObserveError::new(part.kind, words)
        })
    }
}
